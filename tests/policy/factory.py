"""Policies as flat mappings of paths to TOML values, and claims that each of them accepts."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from attestd.binding.keys import KeyAlgorithm
from attestd.claims import PckCa, PckClaims, QeClaims, SgxClaims, TcbClaims, TcbStatus, TdxClaims
from attestd.evidence import Scheme
from attestd.policy import AppraisalPolicy, Check, Facts, KeyFacts, appraise
from attestd.result import Appraisal, Tier
from attestd.validity import Validity

AT = datetime(2026, 3, 5, 10, tzinfo=UTC)
MODEL = b"m" * 32

_SECTION = {
    "trailing_bytes": '"any"',
    "images": '"any"',
    "denied_measurements": '"none"',
    "tcb.denied_advisories": '"none"',
    "tcb.min_evaluation_data_number": '"any"',
    "tcb.statuses.UpToDate.grace_seconds": '"any"',
    "tcb.statuses.UpToDate.advisories": '"any"',
    "platform.pck_ca": '"any"',
    "platform.sgx_types": '"any"',
    "platform.dynamic_platform": '"any"',
    "platform.cached_keys": '"any"',
    "platform.smt_enabled": '"any"',
    "platform.denied_fmspcs": '"none"',
    "platform.ppids": '"any"',
    "platform.denied_ppids": '"none"',
}
_COMMON = {
    "name": '"test"',
    "version": "1",
    "description": '"For tests"',
    "bindings": '"any"',
    "key_algorithms": '"any"',
    "models": '"any"',
    "max_age_seconds": '"any"',
    "max_collateral_age_seconds": '"any"',
    "allow_debug": "false",
}
TDX = _COMMON | {
    **{f"tdx.{name}": value for name, value in _SECTION.items()},
    "tdx.flags": '"none"',
    "tdx.mrseam": '"any"',
    "tdx.mrsignerseam": '"any"',
    "tdx.mrservicetd": '"any"',
    "tdx.xfam_required": '"none"',
    "tdx.xfam_forbidden": '"none"',
    "tdx.event_log": '"any"',
}
SGX = _COMMON | {f"sgx.{name}": value for name, value in _SECTION.items()}


def text(fields: Mapping[str, str], edits: Mapping[str, str | None] | None = None) -> str:
    """Write a policy; an edit of None takes the member out. Dotted keys need no tables."""
    edited = {**fields, **(edits or {})}
    return "\n".join(f"{path} = {value}" for path, value in edited.items() if value is not None)


def load(fields: Mapping[str, str] = TDX, edits: Mapping[str, str | None] | None = None) -> AppraisalPolicy:
    return AppraisalPolicy.load(text(fields, edits).encode())


def status(name: str, *, grace: str = '"any"', advisories: str = '"any"', tee: str = "tdx") -> dict[str, str]:
    path = f"{tee}.tcb.statuses.{name}"
    return {f"{path}.grace_seconds": grace, f"{path}.advisories": advisories}


def image(name: str = "one", *, role: str = '"any"', not_after: str = '"any"', **pins: Any) -> str:
    """Write one image as an inline table; pins are bytes, integers or TOML text."""
    written = {key: f'"{pin.hex()}"' if isinstance(pin, bytes) else str(pin) for key, pin in pins.items()}
    fields = {"name": f'"{name}"', "role": role, "not_after": not_after, **written}
    return "{ " + ", ".join(f"{key} = {value}" for key, value in fields.items()) + " }"


TCB = TcbClaims(
    status=TcbStatus.UP_TO_DATE,
    advisory_ids=(),
    tcb_date=AT - timedelta(days=400),
    tcb_evaluation_data_number=18,
    tcb_info_evaluation_data_number=18,
    qe_identity_evaluation_data_number=19,
    sgx_level_status=TcbStatus.UP_TO_DATE,
    tdx_level_status=TcbStatus.UP_TO_DATE,
    tdx_module_id="TDX_01",
    tdx_module_status=TcbStatus.UP_TO_DATE,
    qe_status=TcbStatus.UP_TO_DATE,
)
PCK = PckClaims(
    fmspc=bytes.fromhex("90c06f000000"),
    pce_id=bytes(2),
    pce_svn=11,
    cpu_svn=bytes(16),
    tcb_components=bytes(16),
    ppid=bytes(range(16)),
    sgx_type="Scalable",
    platform_instance_id=bytes(range(16, 32)),
    dynamic_platform=True,
    cached_keys=True,
    smt_enabled=True,
    pck_ca=PckCa.PLATFORM,
    pck_serial_number=1,
)
_INTEL: dict[str, Any] = {
    "evidence_id": bytes(32),
    "quote_version": 4,
    "user_data": bytes(20),
    "report_data": bytes(64),
    "flags": (),
    "tcb": TCB,
    "pck": PCK,
    "qe": QeClaims(miscselect=bytes(4), attributes=bytes(16), mrsigner=bytes(32), isvprodid=2, isvsvn=8),
    "validity": Validity(not_before=AT - timedelta(days=10), not_after=AT + timedelta(days=20)),
    "endorsement_digests": (),
    "trailing_bytes": 0,
}
TDX_CLAIMS = TdxClaims(
    **_INTEL,
    tee_tcb_svn=bytes(16),
    mrseam=b"s" * 48,
    mrsignerseam=bytes(48),
    seamattributes=bytes(8),
    td_attributes=bytes.fromhex("0000001000000000"),
    xfam=bytes.fromhex("e700060000000000"),
    mrtd=b"t" * 48,
    mrconfigid=b"c" * 48,
    mrowner=b"o" * 48,
    mrownerconfig=b"w" * 48,
    rtmr0=b"0" * 48,
    rtmr1=b"1" * 48,
    rtmr2=b"2" * 48,
    rtmr3=b"3" * 48,
    tee_tcb_svn2=None,
    mrservicetd=None,
    extension=None,
)
SGX_CLAIMS = SgxClaims(
    **_INTEL,
    cpusvn=bytes(16),
    miscselect=bytes(4),
    attributes=bytes(16),
    mrenclave=b"e" * 32,
    mrsigner=b"g" * 32,
    isvprodid=7,
    isvsvn=5,
)
KEY = KeyFacts(
    binding=Scheme.ATTESTD_V1,
    algorithm=KeyAlgorithm.ED25519,
    role=None,
    models=(MODEL,),
    approved_models=frozenset({MODEL}),
)
FACTS = Facts(event_log_replayed=True, collateral_issued_at=AT - timedelta(days=9), key=KEY)

REGISTERS: dict[str, Any] = {
    name: getattr(TDX_CLAIMS, name)
    for name in ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig")
}


def changed(claims: TdxClaims = TDX_CLAIMS, **changes: Any) -> TdxClaims:
    return claims._replace(**changes)


def with_tcb(claims: TdxClaims = TDX_CLAIMS, **changes: Any) -> TdxClaims:
    return claims._replace(tcb=claims.tcb._replace(**changes))


def with_pck(claims: TdxClaims = TDX_CLAIMS, **changes: Any) -> TdxClaims:
    return claims._replace(pck=claims.pck._replace(**changes))


def with_key(**changes: Any) -> Facts:
    return FACTS._replace(key=replace(KEY, **changes))


def verdict(
    policy: AppraisalPolicy,
    claims: TdxClaims | SgxClaims = TDX_CLAIMS,
    facts: Facts = FACTS,
    at: datetime = AT,
) -> Appraisal:
    return appraise(policy, claims, facts, at)


def faults(appraisal: Appraisal) -> dict[str, Tier]:
    """Return the check and outcome of each finding that is not affirming."""
    return {found.check: found.outcome for found in appraisal.findings if found.outcome is not Tier.AFFIRMING}


def finding(appraisal: Appraisal, check: Check) -> Any:
    (found,) = [found for found in appraisal.findings if found.check is check]
    return found
