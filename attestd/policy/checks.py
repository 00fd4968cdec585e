"""Checks: what each is called, what they look at beside the claims, and those that every TEE has.

A policy is compiled once, when it is loaded, to closures over prepared tables. Each looks at one matter and returns
its finding. Passing findings are prepared too, where the values that pass are known; nothing is formatted here.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar

from attestd.binding.keys import KeyAlgorithm
from attestd.binding.verify import BindingGrade
from attestd.claims import CpuClaims, Flag, GpuClaims
from attestd.evidence import Role, Scheme
from attestd.nvgpu.topology import Topology
from attestd.result import Finding, Shown, Tier
from attestd.snp.vtpm import VtpmClaims

# A finding shows so many of the values that would have been accepted, and counts the others.
MAX_LISTED: Final = 8


class Check(StrEnum):
    """The name of every check; a finding carries one of them."""

    TEE = "tee"
    BINDING = "binding"
    KEY_ALGORITHM = "key_algorithm"
    MODELS = "models"
    COLLATERAL_AGE = "collateral_age"
    DEBUG = "debug"
    FLAGS = "flags"
    TCB_STATUS = "tcb_status"
    TCB_GRACE = "tcb_grace"
    TCB_ADVISORIES = "tcb_advisories"
    DENIED_ADVISORIES = "denied_advisories"
    TCB_EVALUATION_DATA_NUMBER = "tcb_evaluation_data_number"
    PCK_CA = "pck_ca"
    SGX_TYPE = "sgx_type"
    DYNAMIC_PLATFORM = "dynamic_platform"
    CACHED_KEYS = "cached_keys"
    SMT_ENABLED = "smt_enabled"
    DENIED_FMSPC = "denied_fmspc"
    PPID = "ppid"
    DENIED_PPID = "denied_ppid"
    TRAILING_BYTES = "trailing_bytes"
    MRSEAM = "mrseam"
    MRSIGNERSEAM = "mrsignerseam"
    MRSERVICETD = "mrservicetd"
    XFAM = "xfam"
    EVENT_LOG = "event_log"
    IMAGE = "image"
    IMAGE_ROLE = "image_role"
    IMAGE_NOT_AFTER = "image_not_after"
    ISVSVN = "isvsvn"
    DENIED_MEASUREMENT = "denied_measurement"
    # SEV-SNP
    REPORT_VERSION = "report_version"
    PRODUCT_LINE = "product_line"
    SIGNING_KEY = "signing_key"
    CSP_ID = "csp_id"
    CRL = "crl"
    CHIP_ID = "chip_id"
    DENIED_CHIP_ID = "denied_chip_id"
    TCB_FLOOR = "tcb_floor"
    CURRENT_VERSION = "current_version"
    COMMITTED_VERSION = "committed_version"
    LAUNCH_MIT_VECTOR = "launch_mit_vector"
    CURRENT_MIT_VECTOR = "current_mit_vector"
    PLATFORM_INFO = "platform_info"
    GUEST_POLICY = "guest_policy"
    GUEST_ABI = "guest_abi"
    VMPL = "vmpl"
    REPORT_ID_MA = "report_id_ma"
    ID_KEY_DIGEST = "id_key_digest"
    AUTHOR_KEY_DIGEST = "author_key_digest"
    VTPM_PCRS = "vtpm_pcrs"
    GUEST_SVN = "guest_svn"
    # NVIDIA
    GPU = "gpu"
    GPU_COUNT = "gpu_count"
    GPU_SWITCHES = "gpu_switches"
    GPU_TOPOLOGY = "gpu_topology"
    GPU_MODE = "gpu_mode"
    GPU_ARCHITECTURE = "gpu_architecture"
    GPU_DEVICE_ID = "gpu_device_id"
    GPU_DENIED_DEVICE_ID = "gpu_denied_device_id"
    GPU_DENIED_HWMODEL = "gpu_denied_hwmodel"
    GPU_REVOCATION = "gpu_revocation"
    GPU_DRIVER_VERSION = "gpu_driver_version"
    GPU_VBIOS_VERSION = "gpu_vbios_version"
    GPU_FWID = "gpu_fwid"
    GPU_NVDEC0 = "gpu_nvdec0"
    GPU_RIM_AGE = "gpu_rim_age"
    GPU_DENIED_RIM = "gpu_denied_rim"
    GPU_RIM_REVOCATION = "gpu_rim_revocation"
    GPU_GRADE = "gpu_grade"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """What was verified of the key that the evidence is bound to."""

    binding: Scheme
    algorithm: KeyAlgorithm
    role: Role | None  # as the attester claims it
    models: tuple[bytes, ...]  # SHA-256 digests
    approved_models: frozenset[bytes]  # those that the registry has approved


class Facts(NamedTuple):
    """What an appraisal rests on beside the claims of the CPU."""

    event_log_replayed: bool  # a log came with the evidence and replays to the quoted RTMR0 to RTMR2
    # The earlier issueDate of TCB Info and QE Identity; of AMD thisUpdate of the CRL, None where there was none.
    collateral_issued_at: datetime | None
    approved_images: Mapping[bytes, frozenset[str]]  # by image digest, for which roles; at least the one at hand
    key: KeyFacts | None  # None: the evidence is judged by itself, and no key may be registered from it
    vtpm: VtpmClaims | None  # None: the report did not come through Azure's vTPM
    gpus: tuple[GpuClaims, ...]  # NVSwitches among them, in the order of the evidence
    topology: Topology | None  # None: there are no GPUs
    grade: BindingGrade  # how the GPUs belong to the key


Models: TypeAlias = frozenset[bytes] | Literal["registered"] | None

_C = TypeVar("_C")
_V = TypeVar("_V", bound=bytes | str | int | None)
_Rank = TypeVar("_Rank", int, tuple[int, ...])
_Bit = TypeVar("_Bit", int, str)

# A finding, and until when it holds (None: as long as what it is about).
Outcome: TypeAlias = tuple[Finding, datetime | None]
ClaimsCheck: TypeAlias = Callable[[_C, Facts, datetime], Outcome]
KeyCheck: TypeAlias = Callable[[KeyFacts], Finding]


def passed(check: Check, got: Shown, want: Shown) -> Finding:
    """Return an affirming finding."""
    return Finding(check, Tier.AFFIRMING, got, want)


def failed(check: Check, got: Shown, want: Shown) -> Finding:
    """Return a contraindicated finding."""
    return Finding(check, Tier.CONTRAINDICATED, got, want)


def until(check: Check, at: datetime, end: datetime, got: Shown) -> Outcome:
    """Affirm what is accepted up to `end`, that moment included."""
    outcome = Tier.AFFIRMING if at <= end else Tier.CONTRAINDICATED
    return Finding(check, outcome, got, ("accepted until", end)), end


def saturated(at: datetime, span: timedelta) -> datetime:
    """Add, but stop at the end of the calendar."""
    try:
        return at + span
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def listed(values: Iterable[bytes | str | int | None]) -> tuple[Shown, ...]:
    """Show a few of the values, in an order that does not depend on the run, and count the others."""
    known = (value for value in values if value is not None)
    ordered = sorted(known, key=lambda value: value.hex() if isinstance(value, bytes) else str(value))
    left = len(ordered) - MAX_LISTED
    return (*ordered[:MAX_LISTED], f"and {left} more") if left > 0 else tuple(ordered)


def allow(
    check: Check, value: Callable[[_C], _V], accepted: Collection[_V] | None, want: Shown = None
) -> Iterator[ClaimsCheck[_C]]:
    """Compile an allow-list, where there is one."""
    if accepted is None:
        return
    wanted = listed(accepted) if want is None else want
    passing: dict[_V, Outcome] = {got: (passed(check, got, wanted), None) for got in accepted}

    def examine(claims: _C, _facts: Facts, _at: datetime) -> Outcome:
        got = value(claims)
        return passing.get(got) or (failed(check, got, wanted), None)

    yield examine


def deny(check: Check, value: Callable[[_C], _V], denied: frozenset[_V], want: Shown) -> Iterator[ClaimsCheck[_C]]:
    """Compile a deny-list, where it is not empty. What another list allows stays denied: the worst tier wins."""

    def examine(claims: _C, _facts: Facts, _at: datetime) -> Outcome:
        got = value(claims)
        return Finding(check, Tier.CONTRAINDICATED if got in denied else Tier.AFFIRMING, got, want), None

    if denied:
        yield examine


def at_least(check: Check, value: Callable[[_C], _Rank], least: _Rank | None) -> Iterator[ClaimsCheck[_C]]:
    """Compile a lowest number or version, where there is one."""
    if least is None:
        return
    want = ("at least", least)

    def examine(claims: _C, _facts: Facts, _at: datetime) -> Outcome:
        got = value(claims)
        outcome = Tier.AFFIRMING if got >= least else Tier.CONTRAINDICATED
        return Finding(check, outcome, got, want), None

    yield examine


def bits(
    check: Check, value: Callable[[_C], int | None], required: Iterable[int], forbidden: Iterable[int], want: Shown
) -> Iterator[ClaimsCheck[_C]]:
    """Compile which bits must be set and which may not be, where any are; evidence without the field meets neither."""
    wanted_bits = sum(1 << bit for bit in required)
    examined_bits = wanted_bits | sum(1 << bit for bit in forbidden)

    def examine(claims: _C, _facts: Facts, _at: datetime) -> Outcome:
        field = value(claims)
        if field is None:
            return failed(check, None, want), None
        outcome = Tier.AFFIRMING if field & examined_bits == wanted_bits else Tier.CONTRAINDICATED
        return Finding(check, outcome, f"{field:#x}", want), None

    if examined_bits:
        yield examine


def bits_wanted(required: Iterable[_Bit], forbidden: Iterable[_Bit]) -> tuple[Shown, ...]:
    """Show which bits are wanted, by number or name, in an order that does not depend on the run."""
    return ("bits that are set", *sorted(required)), ("bits that are not", *sorted(forbidden))


def flags(accepted: frozenset[Flag] | None) -> Iterator[ClaimsCheck[CpuClaims]]:
    """Compile which facts about the evidence are accepted. Debug is judged by itself."""
    if accepted is None:
        return
    want = listed(accepted)
    no_flags: Outcome = passed(Check.FLAGS, (), want), None

    def examine(claims: CpuClaims, _facts: Facts, _at: datetime) -> Outcome:
        if not claims.flags:
            return no_flags
        unwanted = tuple(flag for flag in claims.flags if flag not in accepted and flag is not Flag.DEBUG)
        return failed(Check.FLAGS, unwanted, want) if unwanted else passed(Check.FLAGS, claims.flags, want), None

    yield examine


def denied_measurements(names: tuple[str, ...], denied: frozenset[bytes]) -> Iterator[ClaimsCheck[CpuClaims]]:
    """Compile a deny-list that several claims are held against, where it is not empty."""
    measurements = attrgetter(*names)
    want = ("none of", *listed(denied))
    nothing: Outcome = passed(Check.DENIED_MEASUREMENT, (), want), None

    def examine(claims: CpuClaims, _facts: Facts, _at: datetime) -> Outcome:
        found = denied.intersection(measurements(claims))
        return (failed(Check.DENIED_MEASUREMENT, listed(found), want), None) if found else nothing

    if denied:
        yield examine


def no_section(tee: str, sections: tuple[str, ...]) -> ClaimsCheck[CpuClaims]:
    """Compile the absence of a section: none of that evidence is accepted."""
    outcome: Outcome = failed(Check.TEE, tee, sections), None
    return lambda _claims, _facts, _at: outcome


def no_cpu(sections: tuple[str, ...]) -> ClaimsCheck[object]:
    """Compile what GPUs by themselves are: no CPU TEE vouches for whoever talks to them, so they are never enough."""
    outcome: Outcome = failed(Check.TEE, "GPUs alone", sections), None
    return lambda _claims, _facts, _at: outcome


def common_checks(max_collateral_age: timedelta | None, *, allow_debug: bool) -> Iterator[ClaimsCheck[CpuClaims]]:
    """Compile what is examined of the evidence of every TEE."""
    yield _debug(allowed=allow_debug)
    if max_collateral_age is not None:
        yield _collateral_age(max_collateral_age)


def _debug(*, allowed: bool) -> ClaimsCheck[CpuClaims]:
    """Judge the one thing that no policy can affirm: whoever runs a debug TD or enclave can read its memory."""
    off: Outcome = passed(Check.DEBUG, "off", "off"), None
    found: Outcome = Finding(Check.DEBUG, Tier.WARNING if allowed else Tier.CONTRAINDICATED, "on", "off"), None
    return lambda claims, _facts, _at: found if Flag.DEBUG in claims.flags else off


def _collateral_age(most: timedelta) -> ClaimsCheck[CpuClaims]:
    """Judge how long ago the vendor issued the collateral, whatever its own nextUpdate allows."""
    missing: Outcome = failed(Check.COLLATERAL_AGE, None, "collateral that says when it was issued"), None

    def examine(_claims: CpuClaims, facts: Facts, at: datetime) -> Outcome:
        issued = facts.collateral_issued_at
        if issued is None:
            return missing
        return until(Check.COLLATERAL_AGE, at, saturated(issued, most), issued)

    return examine


def key_checks(
    bindings: frozenset[Scheme] | None, algorithms: frozenset[KeyAlgorithm] | None, models: Models
) -> Iterator[KeyCheck]:
    """Compile what a policy says of the key, of how it is bound, and of the models that it vouches for."""
    if bindings is not None:
        yield _key_one_of(Check.BINDING, lambda key: key.binding, bindings)
    if algorithms is not None:
        yield _key_one_of(Check.KEY_ALGORITHM, lambda key: key.algorithm, algorithms)
    if models == "registered":
        yield _approved_models
    elif models is not None:
        yield _listed_models(models)


def _key_one_of(check: Check, value: Callable[[KeyFacts], str], accepted: frozenset[str]) -> KeyCheck:
    want = listed(accepted)
    passing = {got: passed(check, got, want) for got in accepted}

    def examine(key: KeyFacts) -> Finding:
        got = value(key)
        return passing.get(got) or failed(check, got, want)

    return examine


def _approved_models(key: KeyFacts) -> Finding:
    """Accept evidence that names no model as well: its key vouches for none."""
    unknown = tuple(model for model in key.models if model not in key.approved_models)
    want = "models that the registry has approved"
    return failed(Check.MODELS, unknown, want) if unknown else passed(Check.MODELS, key.models, want)


def _listed_models(accepted: frozenset[bytes]) -> KeyCheck:
    """Accept models of the list alone; a policy that pins models is not met by silence about them."""
    want = listed(accepted)

    def examine(key: KeyFacts) -> Finding:
        fits = bool(key.models) and accepted.issuperset(key.models)
        return passed(Check.MODELS, key.models, want) if fits else failed(Check.MODELS, key.models, want)

    return examine
