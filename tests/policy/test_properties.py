"""Whatever the document, loading refuses or returns; whatever the claims, appraising returns a verdict."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from attestd.binding.keys import KeyAlgorithm
from attestd.binding.verify import BindingGrade
from attestd.claims import (
    CpuClaims,
    FirmwareVersion,
    Flag,
    GpuArch,
    GpuMode,
    PckCa,
    ProductLine,
    RevocationState,
    TcbStatus,
    TcbVersion,
)
from attestd.errors import ConfigurationRefused, Reason
from attestd.evidence import Scheme
from attestd.policy import AppraisalPolicy, Check, Facts, KeyFacts, appraise, lint
from attestd.result import Tier
from attestd.validity import Validity
from tests.policy.factory import (
    GPU,
    GPU_CLAIMS,
    PCK,
    SGX,
    SGX_CLAIMS,
    SNP,
    SNP_CLAIMS,
    TCB,
    TDX,
    TDX_CLAIMS,
    TOPOLOGY,
    VTPM,
    floor,
    image,
    load,
    pcr_rule,
    status,
    tcb,
    text,
)

SHIPPED = [path.read_bytes() for path in sorted((Path(__file__).parents[2] / "policies").glob("*.toml"))]

scraps = st.sampled_from(
    ['"any"', '"none"', "[]", "[[", "{", "}", "'", '"', "=", ".", "\n", "\0", "é", "0x", "1e9", "["]
)
literals = st.one_of(
    scraps,
    st.integers().map(str),
    st.booleans().map(lambda value: str(value).lower()),
    st.floats().map(str),
    st.datetimes().map(datetime.isoformat),
    st.text(max_size=20).map(repr),
    st.lists(st.binary(max_size=50).map(lambda raw: f'"{raw.hex()}"'), max_size=3).map(
        lambda one: f"[{', '.join(one)}]"
    ),
)


def load_or_refuse(raw: bytes) -> None:
    """Anything but a policy or `ConfigurationRefused` fails the test."""
    refused = None
    try:
        lint(AppraisalPolicy.load(raw))
    except ConfigurationRefused as error:
        refused = error
    if refused:
        assert refused.reason is Reason.POLICY_MALFORMED
        assert str(refused).isprintable()
        assert len(str(refused)) < 1000


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_loaded(raw: bytes) -> None:
    load_or_refuse(raw)


@given(st.sampled_from(SHIPPED), st.data())
def test_a_shipped_policy_with_one_edit_is_refused_or_loaded(raw: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(raw)))
    stop = data.draw(st.integers(start, min(len(raw), start + 40)))
    load_or_refuse(raw[:start] + data.draw(st.one_of(st.binary(max_size=4), scraps.map(str.encode))) + raw[stop:])


@given(st.sampled_from([TDX, SGX, SNP, GPU]), st.data(), literals)
def test_a_policy_with_one_other_value_is_refused_or_loaded(
    fields: dict[str, str], data: st.DataObject, literal: str
) -> None:
    path = data.draw(st.sampled_from(sorted(fields)))
    load_or_refuse(text(fields, {path: literal}).encode(errors="surrogatepass"))


times = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=23)), timezone(timedelta(hours=-23))]))
registers = st.sampled_from([bytes(48), b"t" * 48, b"x" * 48])
advisories = st.lists(st.sampled_from(["INTEL-SA-00960", "INTEL-DOC-10001", ""]), max_size=3).map(tuple)
flags = st.lists(st.sampled_from(Flag), max_size=4).map(tuple)
unsure = st.sampled_from([None, False, True])


@st.composite
def intel(draw: st.DrawFn) -> dict[str, Any]:
    number = draw(st.integers(0, 2**31))
    tcb = TCB._replace(
        status=draw(st.sampled_from(TcbStatus)),
        advisory_ids=draw(advisories),
        tcb_date=draw(times),
        tcb_evaluation_data_number=number,
    )
    pck = PCK._replace(
        fmspc=draw(st.binary(min_size=6, max_size=6)),
        ppid=draw(st.binary(min_size=16, max_size=16)),
        sgx_type=draw(st.sampled_from(["Standard", "Scalable", "Else"])),
        pck_ca=draw(st.sampled_from(PckCa)),
        dynamic_platform=draw(unsure),
        cached_keys=draw(unsure),
        smt_enabled=draw(unsure),
    )
    validity = Validity(not_before=draw(times), not_after=draw(times))
    return {
        "tcb": tcb,
        "pck": pck,
        "validity": validity,
        "flags": draw(flags),
        "trailing_bytes": draw(st.integers(0, 2**32)),
    }


tdx_claims = st.builds(
    lambda common, measured: TDX_CLAIMS._replace(**common, **measured),
    intel(),
    st.fixed_dictionaries(
        {
            **dict.fromkeys(["mrtd", "rtmr0", "rtmr3", "mrseam", "mrsignerseam"], registers),
            "mrservicetd": st.one_of(st.none(), registers),
            "xfam": st.binary(min_size=8, max_size=8),
        }
    ),
)
sgx_claims = st.builds(
    lambda common, svn: SGX_CLAIMS._replace(**common, isvsvn=svn), intel(), st.integers(0, 2**16 - 1)
)
spl = st.integers(0, 255)
tcbs = st.builds(TcbVersion, fmc=st.one_of(st.none(), spl), bootloader=spl, tee=spl, snp=spl, microcode=spl)
vectors = st.one_of(st.none(), st.integers(0, 2**64 - 1))
firmware = st.builds(FirmwareVersion, major=spl, minor=spl, build=spl)
chip_ids = st.sampled_from([bytes(64), b"c" * 64])
snp_claims = st.builds(
    lambda report, line, hwid, csp_id, validity: SNP_CLAIMS._replace(
        **report, vek=SNP_CLAIMS.vek._replace(product_line=line, hwid=hwid, csp_id=csp_id), validity=Validity(*validity)
    ),
    st.fixed_dictionaries(
        {
            "version": st.integers(2, 5),
            "policy": st.integers(0, 2**64 - 1),
            "platform_info": st.integers(0, 2**64 - 1),
            "vmpl": st.integers(0, 3),
            "guest_svn": st.integers(0, 2**32 - 1),
            "signing_key": st.sampled_from(["vcek", "vlek"]),
            "author_key_en": st.booleans(),
            "crl_checked": st.booleans(),
            "measurement": registers,
            "chip_id": chip_ids,
            "cpuid_fam_id": st.sampled_from([None, 0x19, 0x1A]),
            "cpuid_mod_id": st.one_of(st.none(), spl),
            "flags": flags,
            **dict.fromkeys(["launch_mit_vector", "current_mit_vector"], vectors),
            **dict.fromkeys(["current_version", "committed_version"], firmware),
            **dict.fromkeys(["current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"], tcbs),
        }
    ),
    st.sampled_from(ProductLine),
    st.sampled_from([None, b"c" * 64, b"c" * 8]),
    st.sampled_from([None, "CN=cc-us-east-2.amazonaws.com"]),
    st.tuples(times, times),
)
keys = st.builds(
    KeyFacts,
    binding=st.sampled_from(Scheme),
    algorithm=st.sampled_from(KeyAlgorithm),
    role=st.sampled_from([None, "worker", "proxy"]),
    models=st.lists(st.binary(min_size=32, max_size=32), max_size=2).map(tuple),
    approved_models=st.frozensets(st.binary(min_size=32, max_size=32), max_size=2),
)
states = st.lists(st.sampled_from(RevocationState), max_size=2).map(tuple)
chains = states.map(lambda found: GPU_CLAIMS.chain._replace(revocation=found))
rims = st.builds(
    lambda digest, signed_from, chain: GPU_CLAIMS.vbios_rim._replace(
        sha256=digest, signed_from=signed_from, chain=chain
    ),
    st.sampled_from([b"v" * 32, b"\xab" * 32]),
    times,
    chains,
)
versions = st.one_of(st.none(), st.sampled_from(["580.95.05", "545.00", "0"]), st.text(max_size=4))
gpus = st.builds(
    lambda driver, vbios, claims: GPU_CLAIMS._replace(
        opaque=GPU_CLAIMS.opaque._replace(driver_version=driver, vbios_version=vbios or ""), **claims
    ),
    versions,
    versions,
    st.fixed_dictionaries(
        {
            "arch": st.sampled_from(GpuArch),
            "device_id": st.sampled_from([bytes(32), b"\xab" * 32]),
            "fwid": st.sampled_from(["match", "absent"]),
            "skipped": st.sampled_from([(), (35,)]),
            "chain": chains,
            "driver_rim": st.one_of(st.none(), rims),
            "vbios_rim": rims,
        }
    ),
)
topologies = st.builds(
    lambda mode, absent: TOPOLOGY._replace(mode=mode, absent_switches=absent),
    st.one_of(st.none(), st.sampled_from(GpuMode)),
    st.sampled_from([(), (bytes(8),)]),
)
image_roles = st.frozensets(st.sampled_from(["worker", "proxy"]))
facts = st.builds(
    Facts,
    event_log_replayed=st.booleans(),
    collateral_issued_at=st.one_of(st.none(), times),
    approved_images=st.dictionaries(
        st.sampled_from([TDX_CLAIMS.image_digest, SGX_CLAIMS.image_digest, SNP_CLAIMS.image_digest]),
        image_roles,
        max_size=2,
    ),
    key=st.one_of(st.none(), keys),
    vtpm=st.sampled_from([None, VTPM, VTPM._replace(pcrs=None)]),
    gpus=st.lists(gpus, max_size=3).map(tuple),
    topology=st.one_of(st.none(), topologies),
    grade=st.sampled_from(BindingGrade),
)


STRICT = {
    "bindings": '["cocoon"]',
    "key_algorithms": '["RSA"]',
    "models": '"registered"',
    "max_age_seconds": "60",
    "max_collateral_age_seconds": "60",
    "allow_debug": "true",
}


def everything(section: str, images: str) -> dict[str, str]:
    """Switch every check on."""
    digest = f'["{"ab" * 32}"]'
    return {
        **STRICT,
        **status("OutOfDate", grace="60", advisories='"none"', tee=section),
        f"{section}.images": images,
        f"{section}.denied_measurements": digest,
        f"{section}.trailing_bytes": '"none"',
        f"{section}.tcb.denied_advisories": '["INTEL-SA-00960"]',
        f"{section}.tcb.min_evaluation_data_number": "18",
        f"{section}.platform.pck_ca": '["platform"]',
        f"{section}.platform.sgx_types": '["Scalable"]',
        f"{section}.platform.dynamic_platform": "true",
        f"{section}.platform.cached_keys": "true",
        f"{section}.platform.smt_enabled": "true",
        f"{section}.platform.denied_fmspcs": '["000000000000"]',
        f"{section}.platform.ppids": digest,
        f"{section}.platform.denied_ppids": digest,
    }


END = "9999-12-31T23:59:59Z"
TDX_IMAGES = f"[{image(not_after=END, role=chr(34) + 'worker' + chr(34), image_digest=TDX_CLAIMS.image_digest)}]"
SGX_IMAGES = f"[{image(not_after=END, image_digest=SGX_CLAIMS.image_digest, min_isvsvn=9)}]"
CHIP = f'["{"ab" * 32}"]'
KEY_DIGEST = f'["{"00" * 48}"]'
EVERYTHING_OF_SNP = {
    **STRICT,
    **tcb(floor(snp=23), floor({"product_line": '"Milan"'}, microcode=3)),
    "snp.versions": "[2, 5]",
    "snp.product_lines": '["Genoa"]',
    "snp.signing_keys": '["vcek"]',
    "snp.csp_ids": '["CN=other"]',
    "snp.crl": '"require"',
    "snp.chip_ids": CHIP,
    "snp.denied_chip_ids": CHIP,
    "snp.min_current_version": '"1.55.40"',
    "snp.min_committed_version": '"1.55.40"',
    "snp.launch_mit_vector": "[0]",
    "snp.current_mit_vector": "[0]",
    "snp.platform_info.required": '["ecc", "alias_check_complete"]',
    "snp.platform_info.forbidden": '["smt"]',
    "snp.platform_info.unknown": '"none"',
    "snp.guest_policy.required": '["single_socket"]',
    "snp.guest_policy.forbidden": '["smt"]',
    "snp.guest_policy.min_abi": '"0.31"',
    "snp.vmpl": "[0]",
    "snp.report_id_ma": '"none"',
    "snp.id_key_digests": KEY_DIGEST,
    "snp.author_key_digests": KEY_DIGEST,
    **pcr_rule({0: (bytes(32), b"x" * 32), 23: (b"\x17" * 32,)}),
    "snp.denied_measurements": CHIP,
    "snp.images": f"[{image(not_after=END, image_digest=SNP_CLAIMS.image_digest, min_guest_svn=9)}]",
}
EVERYTHING_OF_GPUS: dict[str, str | None] = {
    **STRICT,
    "gpu.min_count": "1",
    "gpu.max_count": "2",
    "gpu.switches": '"none"',
    "gpu.topology": '"required"',
    "gpu.architectures": '["HOPPER"]',
    "gpu.modes": '["PPCIE", "unstated"]',
    "gpu.min_driver_version": '{ HOPPER = "580.0" }',
    "gpu.min_vbios_version": '{ HOPPER = "96.00.9F.00.01" }',
    "gpu.fwid": '"required"',
    "gpu.nvdec0_measurement": '"required"',
    "gpu.device_ids": CHIP,
    "gpu.denied_device_ids": CHIP,
    "gpu.denied_hwmodels": '["GH100 A01 GSP BROM"]',
    "gpu.max_rim_age_seconds": "60",
    "gpu.denied_rims": CHIP,
    "gpu.revocation.rims": '["good", "stale"]',
    "gpu.min_grade": '"key-bound"',
}
POLICIES = [
    load(
        TDX,
        {
            **everything("tdx", TDX_IMAGES),
            "tdx.mrseam": f'["{"00" * 48}"]',
            "tdx.mrsignerseam": '"zero"',
            "tdx.mrservicetd": '"zero"',
            "tdx.xfam_required": "[0]",
            "tdx.xfam_forbidden": "[1]",
            "tdx.event_log": '"required"',
        },
    ),
    load(SGX, everything("sgx", SGX_IMAGES)),
    load(SNP, EVERYTHING_OF_SNP),
    load(SNP, {**EVERYTHING_OF_SNP, "snp.images": '"registered"'}),
    load(SNP, {"snp.vtpm_pcrs": '"none"'}),
    load(TDX, everything("tdx", '"registered"')),
    load(GPU, EVERYTHING_OF_GPUS),
    load(GPU, {"gpu.boot_gate": "true"}),
    load(SGX, everything("sgx", '"registered"')),
    *map(AppraisalPolicy.load, SHIPPED),
]


@given(st.sampled_from(POLICIES), st.one_of(tdx_claims, sgx_claims, snp_claims), facts, times)
def test_appraisal_is_total(policy: AppraisalPolicy, claims: CpuClaims, facts: Facts, at: datetime) -> None:
    appraisal = appraise(policy, claims, facts, at)
    checks = [found.check for found in appraisal.findings]
    assert len(set(checks)) == len(checks) > 0
    assert set(checks) <= set(Check)
    assert appraisal.tier is max((found.outcome for found in appraisal.findings), key=lambda tier: tier.rank)
    assert appraisal.not_after <= claims.validity.not_after
    assert not (Flag.DEBUG in claims.flags and appraisal.tier is Tier.AFFIRMING)
    assert not (facts.gpus and policy.gpu is None and appraisal.tier is Tier.AFFIRMING)
