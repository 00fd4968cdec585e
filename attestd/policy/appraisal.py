"""A policy, and what it says of verified claims."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, Literal, Self, TypeVar, assert_never

from attestd.binding.keys import KeyAlgorithm
from attestd.binding.verify import BindingGrade
from attestd.claims import CpuClaims, GpuClaims, SgxClaims, SnpClaims, TdxClaims
from attestd.evidence import Scheme
from attestd.nvgpu.topology import Topology
from attestd.policy import amd, intel, nvidia
from attestd.policy.amd_rules import SnpRules, load_snp
from attestd.policy.checks import (
    ClaimsCheck,
    Facts,
    KeyCheck,
    Models,
    common_checks,
    key_checks,
    no_cpu,
    no_section,
    saturated,
)
from attestd.policy.document import (
    ANY,
    BOOLEAN,
    DIGEST,
    NO_WORD,
    Table,
    integer,
    line,
    members,
    parse,
    pattern,
    refusal,
)
from attestd.policy.intel_rules import SgxRules, TdxRules, load_sgx, load_tdx
from attestd.policy.nvidia import GpuCheck
from attestd.policy.nvidia_rules import GpuRules, load_gpu
from attestd.policy.rules import seconds
from attestd.result import Appraisal, Tier

_COMMON: Final = (
    "name",
    "version",
    "description",
    "bindings",
    "key_algorithms",
    "models",
    "max_age_seconds",
    "max_collateral_age_seconds",
    "allow_debug",
)
_SECTIONS: Final = ("tdx", "sgx", "snp")
_MODELS: Final[Mapping[str, Literal["registered"] | None]] = {"registered": "registered", "any": None}
_NAME: Final = pattern("1 to 64 of a-z, 0-9 and -, a letter or digit first", r"[a-z0-9][a-z0-9-]{0,63}")

_AFFIRMING: Final = Tier.AFFIRMING

_C = TypeVar("_C")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppraisalPolicy:
    """One policy file: what it says, and its checks, compiled. `None` is what the file writes as "any"."""

    digest: bytes  # SHA-256 of the file
    name: str
    version: int  # rises with every change; a registry takes no lower one
    description: str
    bindings: frozenset[Scheme] | None
    key_algorithms: frozenset[KeyAlgorithm] | None
    models: Models
    max_age: timedelta | None  # of a verdict
    max_collateral_age: timedelta | None
    allow_debug: bool
    tdx: TdxRules | None  # no section: no such evidence is accepted
    sgx: SgxRules | None
    snp: SnpRules | None
    gpu: GpuRules | None  # no section: no GPUs are accepted
    for_key: tuple[KeyCheck, ...] = field(repr=False, compare=False)
    for_tdx: tuple[ClaimsCheck[TdxClaims], ...] = field(repr=False, compare=False)
    for_sgx: tuple[ClaimsCheck[SgxClaims], ...] = field(repr=False, compare=False)
    for_snp: tuple[ClaimsCheck[SnpClaims], ...] = field(repr=False, compare=False)
    for_gpus: tuple[GpuCheck, ...] = field(repr=False, compare=False)  # by themselves

    @classmethod
    def load(cls, raw: bytes) -> Self:
        """Read a policy file (policies/README.md). Raises `ConfigurationRefused` (`policy.malformed`)."""
        table = Table(parse(raw), "", _COMMON, optional=(*_SECTIONS, "gpu"))
        tees = tuple(section for section in _SECTIONS if section in table)
        if not tees:
            raise refusal("the top level", "no section for any TEE", "at least one of [tdx], [sgx], [snp]")
        bindings = table.many("bindings", members(Scheme), ANY)
        key_algorithms = table.many("key_algorithms", members(KeyAlgorithm), ANY)
        models: Models = table.many("models", DIGEST, _MODELS)
        max_collateral_age = seconds(table, "max_collateral_age_seconds")
        allow_debug = table.one("allow_debug", BOOLEAN, NO_WORD)
        tdx = load_tdx(table) if "tdx" in tees else None
        sgx = load_sgx(table) if "sgx" in tees else None
        snp = load_snp(table) if "snp" in tees else None
        gpu = load_gpu(table) if "gpu" in table else None
        common = tuple(common_checks(max_collateral_age, allow_debug=allow_debug))
        for_gpus = tuple(nvidia.gpu_checks(gpu))
        return cls(
            digest=sha256(raw).digest(),
            name=table.one("name", _NAME, NO_WORD),
            version=table.one("version", integer(1, 2**31 - 1), NO_WORD),
            description=table.one("description", line(500), NO_WORD),
            bindings=bindings,
            key_algorithms=key_algorithms,
            models=models,
            max_age=seconds(table, "max_age_seconds"),
            max_collateral_age=max_collateral_age,
            allow_debug=allow_debug,
            tdx=tdx,
            sgx=sgx,
            snp=snp,
            gpu=gpu,
            for_key=tuple(key_checks(bindings, key_algorithms, models)),
            for_tdx=(*common, *intel.tdx_checks(tdx), *for_gpus) if tdx else (no_section("tdx", tees),),
            for_sgx=(*common, *intel.sgx_checks(sgx), *for_gpus) if sgx else (no_section("sgx", tees),),
            for_snp=(*common, *amd.snp_checks(snp), *for_gpus) if snp else (no_section("snp", tees),),
            for_gpus=(no_cpu(tees), *for_gpus),
        )

    @property
    def tees(self) -> tuple[str, ...]:
        """Return the TEEs whose evidence may be accepted."""
        sections = zip(_SECTIONS, (self.tdx, self.sgx, self.snp), strict=True)
        return tuple(tee for tee, section in sections if section)

    @property
    def requires_crl(self) -> bool:
        """Whether SEV-SNP evidence is accepted only where the CRL of its product line's root was looked up."""
        return self.snp is not None and self.snp.crl_required

    @property
    def takes_registered_images(self) -> bool:
        """Whether images are accepted that the registry approves: where not, nobody has to ask it."""
        return any(rules is not None and rules.images == "registered" for rules in (self.tdx, self.sgx, self.snp))


def appraise(policy: AppraisalPolicy, claims: CpuClaims, facts: Facts, at: datetime) -> Appraisal:
    """Appraise verified claims at a moment (aware): every finding, and the worst tier of them all.

    The verdict ends with whatever it rests on ends first: the claims themselves, the maximum ages, a period of grace,
    an image's `not_after`. A contraindicated one may thus have ended before `at`.
    """
    not_after = claims.validity.not_after
    match claims:
        case TdxClaims():
            return _appraise(policy, policy.for_tdx, claims, facts, at, not_after)
        case SgxClaims():
            return _appraise(policy, policy.for_sgx, claims, facts, at, not_after)
        case SnpClaims():
            return _appraise(policy, policy.for_snp, claims, facts, at, not_after)
        case _:
            assert_never(claims)


def appraise_gpus(
    policy: AppraisalPolicy, gpus: tuple[GpuClaims, ...], topology: Topology | None, at: datetime
) -> Appraisal:
    """Appraise GPUs and NVSwitches without a CPU: what the section `[gpu]` says of them, and that they are not enough.

    They vouch for no image and no key, so the verdict is `contraindicated` (check `tee`) whatever else is found.
    """
    facts = Facts(False, None, {}, None, None, gpus, topology, BindingGrade.NONE)  # noqa: FBT003 - there is no log
    not_after = min(gpu.validity.not_after for gpu in gpus)
    return _appraise(policy, policy.for_gpus, None, facts, at, not_after)


def _appraise(
    policy: AppraisalPolicy,
    checks: tuple[ClaimsCheck[_C], ...],
    claims: _C,
    facts: Facts,
    at: datetime,
    not_after: datetime,
) -> Appraisal:
    findings = [] if facts.key is None else [check(facts.key) for check in policy.for_key]
    if policy.max_age is not None:
        not_after = min(not_after, saturated(at, policy.max_age))
    for check in checks:
        finding, end = check(claims, facts, at)
        findings.append(finding)
        if end is not None and end < not_after:
            not_after = end
    lower = [finding.outcome for finding in findings if finding.outcome is not _AFFIRMING]
    tier = max(lower, key=lambda outcome: outcome.rank) if lower else _AFFIRMING
    return Appraisal(policy.digest, tier, tuple(findings), not_after)
