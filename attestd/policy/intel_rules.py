"""The sections `[tdx]` and `[sgx]` of a policy as frozen values.

policies/README.md explains each member; the reasons for them are in the steps of Intel's quote verification library and
what it leaves to its callers (tdx.md, steps 12-14 and sections 5, 6).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from attestd.claims import Flag, PckCa, TcbStatus
from attestd.policy import document
from attestd.policy.document import (
    ANY,
    ANY_OR_NONE,
    BOOLEAN,
    NONE,
    Kind,
    Table,
    hexadecimal,
    integer,
)
from attestd.policy.rules import (
    DENIED_MEASUREMENT,
    SHA256,
    SHA384,
    TDX_FLAGS,
    Images,
    Pin,
    load_images,
    require_disjoint,
    seconds,
)

_U16: Final = integer(0, 2**16 - 1)
# Of TD 1.0 reports, MRSERVICETD is not a member: nothing is bound that the report could show.
_ZERO_OR_ANY: Final[Mapping[str, frozenset[bytes | None] | None]] = {
    "zero": frozenset({bytes(48), None}),
    "any": None,
}
_SGX_TYPES: Final = ("Standard", "Scalable", "ScalableWithIntegrity")
_NO_BYTES: Final = document.one_of({"none": frozenset({0})})
_ADVISORY: Final = document.pattern("an advisory such as INTEL-SA-00960", r"INTEL-(?:SA|DOC)-\d{5}")

# What an image may pin, under the names of the claims.
TDX_REGISTERS: Final[Mapping[str, Kind[Pin]]] = dict.fromkeys(
    ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig"), SHA384
)
SGX_REGISTERS: Final[Mapping[str, Kind[Pin]]] = {"mrenclave": SHA256, "mrsigner": SHA256, "isvprodid": _U16}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRule:
    """What goes with one accepted TCB status."""

    grace: timedelta | None  # from the TCB date of the matched level
    advisories: frozenset[str] | None  # the only ones that may be open


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbRules:
    """Which states of Intel's trusted computing base are accepted."""

    statuses: Mapping[TcbStatus, StatusRule]
    denied_advisories: frozenset[str]
    min_evaluation_data_number: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformRules:
    """Which Intel platforms are accepted, by what their PCK certificates say."""

    pck_cas: frozenset[PckCa] | None
    sgx_types: frozenset[str] | None
    dynamic_platform: frozenset[bool | None] | None  # None as a value: the Processor CA does not say
    cached_keys: frozenset[bool | None] | None
    smt_enabled: frozenset[bool | None] | None
    denied_fmspcs: frozenset[bytes]
    ppids: frozenset[bytes] | None  # SHA-256 of each: a policy is public, a PPID identifies one processor for good
    denied_ppids: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class SgxRules:
    """The section `[sgx]`: enclaves."""

    tcb: TcbRules
    platform: PlatformRules
    trailing_bytes: frozenset[int] | None  # how many may follow the quote
    images: Images
    denied_measurements: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxRules:
    """The section `[tdx]`: trust domains."""

    tcb: TcbRules
    platform: PlatformRules
    trailing_bytes: frozenset[int] | None  # how many may follow the quote
    images: Images
    denied_measurements: frozenset[bytes]
    flags: frozenset[Flag] | None
    mrseam: frozenset[bytes] | None
    mrsignerseam: frozenset[bytes | None] | None
    mrservicetd: frozenset[bytes | None] | None
    xfam_required: frozenset[int]
    xfam_forbidden: frozenset[int]
    event_log_required: bool


_INTEL: Final = ("tcb", "platform", "trailing_bytes", "images", "denied_measurements")
_TDX: Final = ("flags", "mrseam", "mrsignerseam", "mrservicetd", "xfam_required", "xfam_forbidden", "event_log")


def load_sgx(policy: Table) -> SgxRules:
    """Read the section `[sgx]`. Raises `ConfigurationRefused` (`policy.malformed`)."""
    table = policy.table("sgx", _INTEL)
    return SgxRules(
        tcb=_tcb(table),
        platform=_platform(table),
        trailing_bytes=table.one("trailing_bytes", _NO_BYTES, ANY),
        images=load_images(table, SGX_REGISTERS, ("isvsvn", _U16)),
        denied_measurements=table.many("denied_measurements", SHA256, NONE),
    )


def load_tdx(policy: Table) -> TdxRules:
    """Read the section `[tdx]`. Raises `ConfigurationRefused` (`policy.malformed`)."""
    table = policy.table("tdx", (*_INTEL, *_TDX))
    xfam_bit = integer(0, 63)
    rules = TdxRules(
        tcb=_tcb(table),
        platform=_platform(table),
        trailing_bytes=table.one("trailing_bytes", _NO_BYTES, ANY),
        images=load_images(table, TDX_REGISTERS),
        denied_measurements=table.many("denied_measurements", DENIED_MEASUREMENT, NONE),
        flags=table.many("flags", document.one_of({flag.value: flag for flag in TDX_FLAGS}), ANY_OR_NONE),
        mrseam=table.many("mrseam", SHA384, ANY),
        mrsignerseam=table.many("mrsignerseam", SHA384, _ZERO_OR_ANY),
        mrservicetd=table.many("mrservicetd", SHA384, _ZERO_OR_ANY),
        xfam_required=table.many("xfam_required", xfam_bit, NONE),
        xfam_forbidden=table.many("xfam_forbidden", xfam_bit, NONE),
        event_log_required=table.one("event_log", document.one_of({"required": True}), {"any": False}),
    )
    require_disjoint("tdx.xfam_forbidden", rules.xfam_required, rules.xfam_forbidden)
    return rules


def _tcb(section: Table) -> TcbRules:
    table = section.table("tcb", ("statuses", "denied_advisories", "min_evaluation_data_number"))
    # A revoked TCB is refused before any policy is asked; one that lists it does not mean what it says.
    statuses = table.entries("statuses", document.members(TcbStatus, without=(TcbStatus.REVOKED,)))
    return TcbRules(
        statuses={status: _status_rule(value, path) for status, value, path in statuses},
        denied_advisories=table.many("denied_advisories", _ADVISORY, NONE),
        min_evaluation_data_number=table.one("min_evaluation_data_number", integer(1, 2**31 - 1), ANY),
    )


def _status_rule(value: object, path: str) -> StatusRule:
    table = Table(value, path, ("grace_seconds", "advisories"))
    return StatusRule(
        grace=seconds(table, "grace_seconds"), advisories=table.many("advisories", _ADVISORY, ANY_OR_NONE)
    )


def _platform(section: Table) -> PlatformRules:
    flags = ("dynamic_platform", "cached_keys", "smt_enabled")
    table = section.table("platform", ("pck_ca", "sgx_types", *flags, "denied_fmspcs", "ppids", "denied_ppids"))
    return PlatformRules(
        pck_cas=table.many("pck_ca", document.members(PckCa), ANY),
        sgx_types=table.many("sgx_types", document.one_of({name: name for name in _SGX_TYPES}), ANY),
        dynamic_platform=_demand(table, "dynamic_platform"),
        cached_keys=_demand(table, "cached_keys"),
        smt_enabled=_demand(table, "smt_enabled"),
        denied_fmspcs=table.many("denied_fmspcs", hexadecimal(6), NONE),
        ppids=table.many("ppids", SHA256, ANY),
        denied_ppids=table.many("denied_ppids", SHA256, NONE),
    )


def _demand(table: Table, name: str) -> frozenset[bool | None] | None:
    wanted = table.one(name, BOOLEAN, ANY)
    return None if wanted is None else frozenset({wanted})
