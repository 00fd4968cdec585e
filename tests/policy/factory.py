"""Policies as flat mappings of paths to TOML values, and claims that each of them accepts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from attestd.binding.keys import KeyAlgorithm
from attestd.binding.verify import BindingGrade
from attestd.claims import (
    CpuClaims,
    FirmwareVersion,
    GpuArch,
    GpuClaims,
    GpuMode,
    NvidiaChainClaims,
    OpaqueFields,
    PckCa,
    PckClaims,
    ProductLine,
    QeClaims,
    RevocationState,
    RimClaims,
    SgxClaims,
    SnpClaims,
    TcbClaims,
    TcbStatus,
    TcbVersion,
    TdxClaims,
    VekClaims,
)
from attestd.evidence import Scheme
from attestd.nvgpu.topology import Topology
from attestd.policy import AppraisalPolicy, Check, Facts, KeyFacts, appraise
from attestd.result import Appraisal, Tier
from attestd.snp.hcl import VmConfiguration
from attestd.snp.vtpm import VtpmClaims
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
SNP = _COMMON | {
    "snp.versions": '"any"',
    "snp.product_lines": '"any"',
    "snp.signing_keys": '"any"',
    "snp.csp_ids": '"any"',
    "snp.crl": '"if-available"',
    "snp.flags": '"none"',
    "snp.chip_ids": '"any"',
    "snp.denied_chip_ids": '"none"',
    "snp.tcb": '"any"',
    "snp.min_current_version": '"any"',
    "snp.min_committed_version": '"any"',
    "snp.launch_mit_vector": '"none"',
    "snp.current_mit_vector": '"none"',
    "snp.platform_info.required": '"none"',
    "snp.platform_info.forbidden": '"none"',
    "snp.platform_info.unknown": '"any"',
    "snp.guest_policy.required": '"none"',
    "snp.guest_policy.forbidden": '"none"',
    "snp.guest_policy.min_abi": '"any"',
    "snp.vmpl": '"any"',
    "snp.report_id_ma": '"any"',
    "snp.id_key_digests": '"any"',
    "snp.author_key_digests": '"any"',
    "snp.vtpm_pcrs": '"any"',
    "snp.images": '"any"',
    "snp.denied_measurements": '"none"',
}
# Beside TDX; with NVSwitches and without, of any firmware, bound or not.
GPU = TDX | {
    "gpu.min_count": '"any"',
    "gpu.max_count": '"any"',
    "gpu.switches": '"any"',
    "gpu.topology": '"any"',
    "gpu.architectures": '"any"',
    "gpu.modes": '"any"',
    "gpu.min_driver_version": '"any"',
    "gpu.min_vbios_version": '"any"',
    "gpu.fwid": '"any"',
    "gpu.nvdec0_measurement": '"any"',
    "gpu.device_ids": '"any"',
    "gpu.denied_device_ids": '"none"',
    "gpu.denied_hwmodels": '"none"',
    "gpu.max_rim_age_seconds": '"any"',
    "gpu.denied_rims": '"none"',
    "gpu.revocation.device": '["good"]',
    "gpu.revocation.rims": '["good"]',
    "gpu.min_grade": '"none"',
    "gpu.boot_gate": "false",
}


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


_GENOA: dict[str, object] = {"family": 0x19, "first_model": 0x10, "last_model": 0x1F}
_NO_LEVELS: dict[str, object] = dict.fromkeys(("fmc", "bootloader", "tee", "snp", "microcode"), '"any"')


def floor(where: Mapping[str, object] = _GENOA, *, advisories: str = '["AMD-SB-3019"]', **levels: object) -> str:
    """Write one floor as an inline table, of the processors of `SNP_CLAIMS` unless others are given."""
    fields = {**where, **_NO_LEVELS, **levels, "advisories": advisories}
    return "{ " + ", ".join(f"{key} = {value}" for key, value in fields.items()) + " }"


def tcb(*floors: str, versions: str = '["reported", "committed", "current", "launch"]') -> dict[str, str | None]:
    """Put floors in place of `snp.tcb = "any"`."""
    return {
        "snp.tcb": None,
        "snp.tcb.table": '"test 1"',
        "snp.tcb.versions": versions,
        "snp.tcb.floors": f"[{', '.join(floors or (floor(snp=23),))}]",
    }


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
GENOA_TCB = TcbVersion(fmc=None, bootloader=10, tee=0, snp=23, microcode=84)
SNP_CLAIMS = SnpClaims(
    version=5,
    guest_svn=5,
    policy=0x3001F,
    family_id=b"f" * 16,
    image_id=b"i" * 16,
    vmpl=0,
    platform_info=0x25,
    author_key_en=True,
    signing_key="vcek",
    report_data=bytes(64),
    measurement=b"m" * 48,
    host_data=b"h" * 32,
    id_key_digest=b"k" * 48,
    author_key_digest=b"a" * 48,
    report_id=b"r" * 32,
    report_id_ma=b"\xff" * 32,
    cpuid_fam_id=0x19,
    cpuid_mod_id=0x11,
    cpuid_step=1,
    chip_id=bytes(range(64)),
    current_version=FirmwareVersion(1, 55, 40),
    committed_version=FirmwareVersion(1, 55, 40),
    launch_mit_vector=0xB,
    current_mit_vector=0xB,
    current_tcb=GENOA_TCB,
    reported_tcb=GENOA_TCB,
    committed_tcb=GENOA_TCB,
    launch_tcb=GENOA_TCB,
    evidence_id=bytes(32),
    flags=(),
    vek=VekClaims(
        kind="vcek",
        product_line=ProductLine.GENOA,
        product_name="Genoa",
        tcb=GENOA_TCB,
        hwid=bytes(range(64)),
        csp_id=None,
    ),
    crl_checked=True,
    validity=Validity(not_before=AT - timedelta(days=10), not_after=AT + timedelta(days=20)),
    endorsement_digests=(),
)
VLEK_CLAIMS = SNP_CLAIMS._replace(
    signing_key="vlek", vek=SNP_CLAIMS.vek._replace(kind="vlek", hwid=None, csp_id="CN=cc-us-east-2.amazonaws.com")
)
KEY = KeyFacts(
    binding=Scheme.ATTESTD_V1,
    algorithm=KeyAlgorithm.ED25519,
    role=None,
    models=(MODEL,),
    approved_models=frozenset({MODEL}),
)
FACTS = Facts(
    event_log_replayed=True,
    collateral_issued_at=AT - timedelta(days=9),
    approved_images={claims.image_digest: frozenset({"worker"}) for claims in (TDX_CLAIMS, SGX_CLAIMS, SNP_CLAIMS)},
    key=KEY,
    vtpm=None,
    gpus=(),
    topology=None,
    grade=BindingGrade.NONE,
)
# Of evidence that is judged by itself.
BARE = FACTS._replace(event_log_replayed=False, approved_images={}, key=None)
VTPM = VtpmClaims(
    ak_thumbprint=b"k" * 32,
    extra_data=bytes(32),
    clock=0,
    reset_count=0,
    restart_count=0,
    safe=True,
    firmware_version=bytes(8),
    qualified_signer=bytes(34),
    pcr_digest=b"d" * 32,
    pcrs=tuple(bytes([number]) * 32 for number in range(24)),
    hcl_version=1,
    vm_configuration=VmConfiguration(*(None,) * len(VmConfiguration._fields)),
    user_data=None,
    evidence_id=b"v" * 32,
)
_VALIDITY = Validity(not_before=AT - timedelta(days=10), not_after=AT + timedelta(days=20))
_CHAIN = NvidiaChainClaims(validity=_VALIDITY, window=_VALIDITY, revocation=(RevocationState.GOOD,))
GPU_CLAIMS = GpuClaims(
    arch=GpuArch.HOPPER,
    hwmodel="GH100 A01 GSP BROM",
    ueid=1,
    device_id=b"0" * 32,
    pdi=b"0" * 8,
    spdm_device_id="NVIDIA:GH100:48B02D92494BADF4",
    nonce=bytes(32),
    opaque=OpaqueFields(
        vbios_version="96.00.9F.00.01",
        driver_version="580.95.05",
        project="1010",
        project_sku="0200",
        chip_sku="882",
        nvdec0_status=False,
        chip_info=None,
        board_id=None,
        fwid=b"f" * 48,
        protected_pcie_status=True,
        feature_flag=GpuMode.PPCIE,
        switch_pdis=(),
        gpu_pdis=(),
        opaque_version=1,
        unknown_types=(),
    ),
    fwid="match",
    compared=tuple(range(35)),
    skipped=(),
    evidence_id=bytes(32),
    chain=_CHAIN,
    driver_rim=RimClaims(
        id="NV_GPU_DRIVER_GH100_580.95.05", sha256=b"d" * 32, signed_from=AT - timedelta(days=300), chain=_CHAIN
    ),
    vbios_rim=RimClaims(
        id="NV_GPU_VBIOS_1010_0200_882_96009F0001", sha256=b"v" * 32, signed_from=AT - timedelta(days=400), chain=_CHAIN
    ),
    validity=_VALIDITY,
    endorsement_digests=(),
)
SWITCH_CLAIMS = GPU_CLAIMS._replace(
    arch=GpuArch.LS10,
    hwmodel="LS_10 A01 FSP BROM",
    device_id=b"s" * 32,
    pdi=b"s" * 8,
    opaque=GPU_CLAIMS.opaque._replace(
        vbios_version="96.10.73.00.01", driver_version=None, fwid=None, protected_pcie_status=None, feature_flag=None
    ),
    fwid="absent",
    driver_rim=None,
    vbios_rim=RimClaims(
        id="NV_SWITCH_BIOS_5612_0002_890_9610730001",
        sha256=b"b" * 32,
        signed_from=AT - timedelta(days=350),
        chain=_CHAIN,
    ),
)
TOPOLOGY = Topology(GpuArch.HOPPER, GpuMode.PPCIE, (b"0" * 8, b"1" * 8), (b"s" * 8,), ())
# Two GPUs and the switch between them.
GPUS = (GPU_CLAIMS, GPU_CLAIMS._replace(device_id=b"1" * 32, pdi=b"1" * 8), SWITCH_CLAIMS)
GPU_FACTS = FACTS._replace(gpus=GPUS, topology=TOPOLOGY, grade=BindingGrade.MUTUAL)

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
    claims: CpuClaims = TDX_CLAIMS,
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


@dataclass(frozen=True)
class Case:
    """A rule, evidence that meets it in every respect, and the one thing about other evidence that does not."""

    check: Check
    rule: Mapping[str, str | None]
    claims: CpuClaims = TDX_CLAIMS
    facts: Facts = FACTS
    at: datetime = AT
    good: CpuClaims = TDX_CLAIMS
    good_facts: Facts = FACTS
    fields: Mapping[str, str] = field(default_factory=lambda: TDX)


def with_gpu(number: int = 1, facts: Facts = GPU_FACTS, **changes: Any) -> Facts:
    """Return the facts of a machine one of whose devices is another one; what a report says goes by its name, too."""
    gpu = facts.gpus[number]
    opaque = {name: changes.pop(name) for name in tuple(changes) if name in OpaqueFields._fields and name != "fwid"}
    other = gpu._replace(opaque=gpu.opaque._replace(**opaque), **changes)
    return facts._replace(gpus=(*facts.gpus[:number], other, *facts.gpus[number + 1 :]))


def with_pcrs(pcrs: Mapping[int, bytes] | None) -> Facts:
    """Return the facts of evidence through a vTPM, some of whose PCRs have other values, or are not told."""
    plain = VTPM.pcrs or ()
    values = None if pcrs is None else tuple(pcrs.get(number, value) for number, value in enumerate(plain))
    return FACTS._replace(vtpm=VTPM._replace(pcrs=values))


def pcr_rule(accepted: Mapping[int, tuple[bytes, ...]]) -> dict[str, str | None]:
    """Put a table in place of `snp.vtpm_pcrs = "any"`."""
    written = {number: ", ".join(f'"{value.hex()}"' for value in values) for number, values in accepted.items()}
    return {"snp.vtpm_pcrs": None, **{f'snp.vtpm_pcrs."{number}"': f"[{values}]" for number, values in written.items()}}


def digest_of(raw: bytes) -> str:
    return f'["{sha256(raw).hexdigest()}"]'


def require_one_finding(case: Case) -> None:
    """Show that everything else is right, and that only what is wrong is found."""
    policy = load(case.fields, case.rule)
    good = verdict(policy, case.good, case.good_facts)
    assert (good.tier, faults(good)) == (Tier.AFFIRMING, {})
    bad = verdict(policy, case.claims, case.facts, case.at)
    assert faults(bad) == {case.check: Tier.CONTRAINDICATED}
    assert bad.tier is Tier.CONTRAINDICATED
