"""The policies that are shipped, and what the evidence cases expect of the strict one."""

import tomllib
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from attestd import verifier
from attestd.binding.verify import BindingGrade
from attestd.claims import Flag, GpuArch, GpuMode, ProductLine, RevocationState, SgxClaims, TcbStatus, TdxClaims
from attestd.evidence import HclEvidence, Scheme, TpmQuoteEvidence
from attestd.nvgpu.topology import Topology
from attestd.policy import AppraisalPolicy, Check, Facts, appraise, lint
from attestd.policy.amd_rules import TCB_VERSIONS
from attestd.result import Appraisal, Tier
from attestd.snp.attestation import parse_attestation
from attestd.validity import Validity
from tests.evidence import IntelCase, intel_case, intel_cases, snp_case, snp_cases
from tests.policy.factory import (
    AT,
    FACTS,
    GENOA_TCB,
    GPU_CLAIMS,
    REGISTERS,
    SGX_CLAIMS,
    SNP,
    SNP_CLAIMS,
    SWITCH_CLAIMS,
    TDX_CLAIMS,
    TOPOLOGY,
    changed,
    faults,
    finding,
    image,
    load,
    pcr_rule,
    verdict,
    with_gpu,
    with_key,
    with_pcrs,
    with_tcb,
)
from tests.snp.baseline import vek_of, verified_case

ROOT = Path(__file__).parents[2]
COCOON_IMAGE = bytes.fromhex("04b3afd931d28680af91a15b09d672c40ad6b141f7f9089a8d67d595220f7436")
# The flags that the strict policy accepts, as the evidence defines `strict_policy_accepts`.
HARMLESS = {Flag.PKS, Flag.KEY_LOCKER, Flag.PERFMON, Flag.LASS, Flag.ICSSD, Flag.TPA}


@cache
def shipped(name: str) -> AppraisalPolicy:
    return AppraisalPolicy.load((ROOT / "policies" / f"{name}.toml").read_bytes())


@pytest.mark.parametrize("path", sorted((ROOT / "policies").glob("*.toml")), ids=lambda path: path.stem)
def test_a_policy_is_named_after_its_file(path: Path) -> None:
    assert AppraisalPolicy.load(path.read_bytes()).name == path.stem


def test_what_is_remarked_of_the_shipped_policies_is_meant() -> None:
    assert [remark.partition(":")[0] for remark in lint(shipped("strict-tdx"))] == [
        "tdx.tcb.min_evaluation_data_number",
        "tdx.images",
        "sgx.tcb.min_evaluation_data_number",
        "sgx.images",
    ]
    for tee in ("tdx", "snp"):
        assert [remark.partition(":")[0] for remark in lint(shipped(f"cocoon-{tee}"))] == [f"{tee}.images"]
        with_gpus = [remark.partition(":")[0] for remark in lint(shipped(f"cocoon-{tee}-h100"))]
        assert with_gpus == [f"{tee}.images", "gpu.min_vbios_version"]
    assert [remark.partition(":")[0] for remark in lint(shipped("strict-snp"))] == ["snp.images"]


@pytest.mark.parametrize("flag", Flag)
def test_strict_accepts_harmless_flags_and_no_other(flag: Flag) -> None:
    flagged = verdict(shipped("strict-tdx"), TDX_CLAIMS._replace(flags=(flag,)))
    assert (flagged.tier is Tier.AFFIRMING) == (flag in HARMLESS)


@pytest.mark.parametrize("claims", [TDX_CLAIMS, SGX_CLAIMS], ids=["tdx", "sgx"])
@pytest.mark.parametrize("status", TcbStatus)
def test_strict_accepts_up_to_date_and_no_other(status: TcbStatus, claims: TdxClaims | SgxClaims) -> None:
    judged = verdict(shipped("strict-tdx"), claims._replace(tcb=claims.tcb._replace(status=status)))
    assert (judged.tier is Tier.AFFIRMING) == (status is TcbStatus.UP_TO_DATE)


@pytest.mark.parametrize("case", intel_cases(quotes=True))
def test_strict_says_what_the_evidence_expects(case: IntelCase) -> None:
    """Claims are made of what the case expects, so that this is about the policy alone."""
    document, expected = case.document, case.expected
    if expected["reject_stage"]:
        assert not expected["strict_policy_accepts"]  # verification refuses it before any policy is asked
        return
    body = {
        name: document["body"][name] for name in ("mrsignerseam", "xfam", "mrservicetd") if name in document["body"]
    }
    changes: dict[str, Any] = {
        **{name: bytes.fromhex(value) for name, value in body.items()},
        "flags": tuple(map(Flag, expected["policy_flags"])),
        "validity": Validity(not_before=case.at, not_after=case.at + timedelta(days=1)),
        "trailing_bytes": document["trailing_bytes"],
        "tcb": TDX_CLAIMS.tcb._replace(
            status=TcbStatus(expected["tcb_status"]),
            advisory_ids=tuple(expected["advisory_ids"]),
            tcb_date=datetime.fromisoformat(expected["tcb_level_date"]),
        ),
    }
    claims: TdxClaims | SgxClaims = TDX_CLAIMS if document["tee"] == "TDX" else SGX_CLAIMS
    judged = appraise(shipped("strict-tdx"), claims._replace(**changes), FACTS._replace(key=None), case.at)
    assert (judged.tier is Tier.AFFIRMING) == expected["strict_policy_accepts"]


def cocoon() -> AppraisalPolicy:
    """Return the shipped policy with the image of these tests in place of the listed one."""
    raw = (ROOT / "policies" / "cocoon-tdx.toml").read_text()
    assert raw.count(COCOON_IMAGE.hex()) == 1
    return AppraisalPolicy.load(raw.replace(COCOON_IMAGE.hex(), TDX_CLAIMS.image_digest.hex()).encode())


COCOON = with_key(binding=Scheme.COCOON, role="worker", models=())


def test_cocoon_accepts_its_worker_image() -> None:
    judged = verdict(cocoon(), TDX_CLAIMS, COCOON)
    assert (judged.tier, faults(judged)) == (Tier.AFFIRMING, {})
    assert judged.not_after == AT + timedelta(days=1)


def test_cocoon_accepts_no_other_image_role_binding_or_tee() -> None:
    assert set(faults(verdict(shipped("cocoon-tdx"), TDX_CLAIMS, COCOON))) == {Check.IMAGE}
    policy = cocoon()
    assert set(faults(verdict(policy, TDX_CLAIMS, with_key(binding=Scheme.COCOON, role="proxy")))) == {Check.IMAGE_ROLE}
    assert set(faults(verdict(policy, TDX_CLAIMS, with_key(binding=Scheme.SPKI_SHA256)))) == {Check.BINDING}
    assert set(faults(verdict(policy, SGX_CLAIMS, COCOON))) == {Check.TEE}


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"flags": (Flag.DEBUG,)}, Check.DEBUG),
        ({"flags": (Flag.MIGRATABLE,)}, Check.FLAGS),
        ({"mrservicetd": b"x" * 48}, Check.MRSERVICETD),
        ({"mrsignerseam": b"x" * 48}, Check.MRSIGNERSEAM),
        ({"xfam": bytes(8)}, Check.XFAM),
        ({"tcb": with_tcb(status=TcbStatus.OUT_OF_DATE).tcb}, Check.TCB_STATUS),
        ({"tcb": with_tcb(tcb_evaluation_data_number=17).tcb}, Check.TCB_EVALUATION_DATA_NUMBER),
    ],
)
def test_cocoon_demands_what_the_image_digest_leaves_out(change: dict[str, Any], check: Check) -> None:
    """tdx.md, section 5, weak points: a debug or migratable TD may have the same registers."""
    assert set(faults(verdict(cocoon(), changed(**change), COCOON))) == {check}


def test_cocoon_accepts_the_image_of_the_real_quote() -> None:
    body = intel_case("real/tdx-v4-90c06f-cocoon").document["body"]
    registers: dict[str, Any] = {name: bytes.fromhex(body[name]) for name in REGISTERS}
    claims = changed(**registers)
    assert claims.image_digest == COCOON_IMAGE
    assert verdict(shipped("cocoon-tdx"), claims, COCOON).tier is Tier.AFFIRMING


# SEV-SNP

SNP_POLICIES = ("strict-snp", "cocoon-snp")
NEW_TCB: dict[str, Any] = {f"{version}_tcb": GENOA_TCB._replace(snp=27) for version in TCB_VERSIONS}
GOOD = SNP_CLAIMS._replace(**NEW_TCB)
MILAN = {Check.PRODUCT_LINE, Check.TCB_FLOOR}
OLD = MILAN | {Check.REPORT_VERSION, Check.PLATFORM_INFO}
# What the strict policy finds in the genuine reports, most of which were made before the last advisory of the table.
FOUND: dict[str, set[Check]] = {
    "genoa-v3-aci": {Check.TCB_FLOOR},
    "genoa-v3-azure-hcl": {Check.TCB_FLOOR},
    "genoa-v3-model-a0": {Check.TCB_FLOOR},
    "genoa-v5-model-a0": set(),
    "milan-v2-azure-idblock": OLD | {Check.FLAGS},
    "milan-v2-debug": OLD | {Check.DEBUG},
    "milan-v2-plain": OLD,
    "milan-v3-aci": MILAN,
    "milan-v3-azure-hcl": MILAN,
    "milan-v3-reported-below-current": MILAN,
    "milan-v3-vlek-aws": MILAN | {Check.SIGNING_KEY, Check.FLAGS, Check.VMPL},
    "milan-v5-gcp": {Check.PRODUCT_LINE},
    "turin-v5-aci": set(),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_strict_finds_in_genuine_reports(name: str) -> None:
    case = snp_case(f"real/{name}")
    claims = verified_case(case)._replace(crl_checked=True)
    judged = appraise(shipped("strict-snp"), claims, FACTS._replace(key=None), case.at)
    assert set(faults(judged)) == FOUND[name]


def test_no_genuine_report_is_left_out() -> None:
    cases = [case.values[0] for case in snp_cases("real")]
    if cases[0] is None:
        pytest.skip("no evidence")
    assert {case.folder.name for case in cases if case.document["verdict"] == "accept"} == set(FOUND)


@pytest.mark.parametrize("name", SNP_POLICIES)
@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"crl_checked": False}, Check.CRL),
        ({"flags": (Flag.DEBUG,)}, Check.DEBUG),
        ({"flags": (Flag.MIGRATE_MA,)}, Check.FLAGS),
        ({"flags": (Flag.PROVISIONAL_FIRMWARE,)}, Check.FLAGS),
        ({"flags": (Flag.CHIP_ID_MASKED,)}, Check.FLAGS),
        ({"vmpl": 1}, Check.VMPL),
        ({"report_id_ma": bytes(32)}, Check.REPORT_ID_MA),
        ({"signing_key": "vlek"}, Check.SIGNING_KEY),
        ({"version": 2}, Check.REPORT_VERSION),
        ({"platform_info": 0x05}, Check.PLATFORM_INFO),
        ({"platform_info": 0x21}, Check.PLATFORM_INFO),
        ({"policy": 0x23001F}, Check.GUEST_POLICY),
        ({"cpuid_mod_id": 0x20}, Check.TCB_FLOOR),
        ({"vek": GOOD.vek._replace(product_line=ProductLine.MILAN)}, Check.PRODUCT_LINE),
        *(({f"{version}_tcb": GENOA_TCB._replace(snp=26)}, Check.TCB_FLOOR) for version in TCB_VERSIONS),
    ],
)
def test_what_a_shipped_policy_refuses(name: str, changes: dict[str, Any], check: Check) -> None:
    """S08, S09, S11, S12, S16, S21, S25, S29, S34."""
    good = verdict(shipped(name), GOOD)
    assert (good.tier, faults(good)) == (Tier.AFFIRMING, {})
    bad = GOOD._replace(**changes)
    found = set(faults(verdict(shipped(name), bad)))
    # A report of version 2 has no bit for the alias check either.
    assert found == ({check, Check.PLATFORM_INFO} if bad.version == 2 else {check})


@pytest.mark.parametrize("name", SNP_POLICIES)
@pytest.mark.parametrize("facts", [with_pcrs({}), with_pcrs(None)])
def test_a_shipped_policy_takes_no_measurement_for_that_of_what_runs_below_it(name: str, facts: Facts) -> None:
    """S32."""
    assert set(faults(verdict(shipped(name), GOOD, facts))) == {Check.VTPM_PCRS}


def azure(policy: AppraisalPolicy) -> Appraisal:
    """Appraise what a genuine machine of Azure has sent."""
    case = snp_case("azure-hcl/milan-v3-quote")
    pcrs = b"".join(map(bytes.fromhex, case.document["pcrs_sha256"]))
    quote = TpmQuoteEvidence(message=case.read("tpm_quote.msg"), signature=case.read("tpm_quote.sig"), pcrs=pcrs)
    cpu = HclEvidence(hcl_report=case.read("hcl_report.bin"), tpm_quote=quote)
    vek = vek_of(case.vek or b"", case.issuer, case.anchors, case.at)
    result = verifier.appraise(
        verifier.AmdSubject(parse_attestation(cpu), vek, None),
        gpus=(),
        evidence=None,
        policy=policy,
        registry_id="test",
        approved_models=frozenset(),
        approved_images={},
        at=case.at,
    )
    return result.appraisal


def test_a_genuine_machine_of_azure() -> None:
    """What the README has for an example are its measurement and two of its PCRs."""
    (example,) = [tomllib.loads(text)["snp"] for text in readme_examples() if "vtpm_pcrs" in text]
    paravisor, pcrs = example["images"][0], {int(number): values for number, values in example["vtpm_pcrs"].items()}
    pins = {name: f'"{paravisor[name]}"' for name in ("measurement", "host_data", "family_id", "image_id")}
    images = {"snp.images": f"[{image(**pins, min_guest_svn=paravisor['min_guest_svn'])}]"}
    accepted = {number: tuple(map(bytes.fromhex, values)) for number, values in pcrs.items()}
    assert len(accepted) == 2
    assert azure(load(SNP, {**images, **pcr_rule(accepted)})).tier is Tier.AFFIRMING
    for number, (value,) in accepted.items():
        other = azure(load(SNP, {**images, **pcr_rule({**accepted, number: (bytes(32),)})}))
        assert set(faults(other)) == {Check.VTPM_PCRS}
        assert finding(other, Check.VTPM_PCRS).got == ((f"PCR {number}", value),)
    assert set(faults(azure(load(SNP, {**images, "snp.vtpm_pcrs": '"none"'})))) == {Check.VTPM_PCRS}
    for name in SNP_POLICIES:
        assert faults(azure(shipped(name)))[Check.VTPM_PCRS] is Tier.CONTRAINDICATED


def test_cocoon_accepts_approved_images_alone() -> None:
    other = GOOD._replace(measurement=b"x" * 48)
    assert set(faults(verdict(shipped("cocoon-snp"), other))) == {Check.IMAGE}
    assert set(faults(verdict(shipped("cocoon-snp"), GOOD, with_key(role="proxy")))) == {Check.IMAGE_ROLE}
    assert set(faults(verdict(shipped("cocoon-snp"), TDX_CLAIMS))) == {Check.TEE}
    assert verdict(shipped("strict-snp"), other).tier is Tier.AFFIRMING


# GPUs

H100_POLICIES = ("cocoon-tdx-h100", "cocoon-snp-h100")
EIGHT = tuple(GPU_CLAIMS._replace(device_id=bytes([number]) * 32, skipped=(35,)) for number in range(8))
FOUR = tuple(SWITCH_CLAIMS._replace(device_id=bytes([number]) * 32) for number in range(8, 12))
ONE = EIGHT[:1]
ALONE = Topology(GpuArch.HOPPER, GpuMode.SPT, (b"0" * 8,), (), ())
WORKER = with_key(role="worker")._replace(gpus=ONE, topology=ALONE, grade=BindingGrade.MUTUAL)
WHOLE = WORKER._replace(gpus=(*EIGHT, *FOUR), topology=TOPOLOGY)


def with_h100(name: str, facts: Facts) -> Appraisal:
    """Appraise GPUs beside a CPU whose evidence is right in every respect."""
    if name == "cocoon-snp-h100":
        return verdict(shipped(name), GOOD, facts)
    raw = (ROOT / "policies" / f"{name}.toml").read_text()
    policy = AppraisalPolicy.load(raw.replace(COCOON_IMAGE.hex(), TDX_CLAIMS.image_digest.hex()).encode())
    return verdict(policy, TDX_CLAIMS, facts)


@pytest.mark.parametrize("name", H100_POLICIES)
@pytest.mark.parametrize("facts", [WORKER, WHOLE], ids=["one", "eight"])
def test_h100_accepts_one_gpu_and_a_whole_machine(name: str, facts: Facts) -> None:
    judged = with_h100(name, facts)
    assert (judged.tier, faults(judged)) == (Tier.AFFIRMING, {})


@pytest.mark.parametrize("name", H100_POLICIES)
@pytest.mark.parametrize(
    ("facts", "check"),
    [
        (WORKER._replace(gpus=(), topology=None), Check.GPU_COUNT),
        (WHOLE._replace(gpus=(*EIGHT, GPU_CLAIMS, *FOUR)), Check.GPU_COUNT),
        (WHOLE._replace(gpus=(*EIGHT, *FOUR[:3])), Check.GPU_SWITCHES),
        (
            WHOLE._replace(gpus=EIGHT, topology=TOPOLOGY._replace(absent_switches=(b"s" * 8,))),
            Check.GPU_TOPOLOGY,
        ),
        (WORKER._replace(topology=ALONE._replace(mode=None)), Check.GPU_MODE),
        (WORKER._replace(topology=ALONE._replace(mode=GpuMode.MPT)), Check.GPU_MODE),
        (with_gpu(0, WORKER, driver_version="575.57.08"), Check.GPU_DRIVER_VERSION),
        (with_gpu(0, WORKER, fwid="absent"), Check.GPU_FWID),
        (WORKER._replace(grade=BindingGrade.NONE), Check.GPU_GRADE),
        (WORKER._replace(grade=BindingGrade.KEY_BOUND), Check.GPU_GRADE),
        *(
            (with_gpu(0, WORKER, chain=GPU_CLAIMS.chain._replace(revocation=(state,))), Check.GPU_REVOCATION)
            for state in RevocationState
            if state is not RevocationState.GOOD
        ),
    ],
)
def test_what_h100_refuses(name: str, facts: Facts, check: Check) -> None:
    """N09, N25, X01, X02, X03."""
    found = set(faults(with_h100(name, facts)))
    assert found == {check}


@pytest.mark.parametrize("name", H100_POLICIES)
def test_h100_accepts_no_other_architecture(name: str) -> None:
    facts = with_gpu(0, WORKER, arch=GpuArch.BLACKWELL)
    # Nor is there a floor of its driver.
    assert set(faults(with_h100(name, facts))) == {Check.GPU_ARCHITECTURE, Check.GPU_DRIVER_VERSION}


@pytest.mark.parametrize("tee", ["tdx", "snp"])
def test_h100_says_of_the_cpu_what_the_policy_without_gpus_says(tee: str) -> None:
    plain, with_gpus = (
        tomllib.loads((ROOT / "policies" / f"cocoon-{tee}{suffix}.toml").read_text()) for suffix in ("", "-h100")
    )
    assert with_gpus[tee] == plain[tee]
    changed_members = {name for name in plain if plain[name] != with_gpus[name]}
    assert changed_members <= {"name", "description", "bindings"}
    assert with_gpus["bindings"] == ["attestd/v1"]


@pytest.mark.parametrize("name", ["strict-tdx", "cocoon-tdx", "strict-snp", "cocoon-snp"])
def test_a_policy_of_cpus_accepts_no_gpus(name: str) -> None:
    """X04."""
    claims = TDX_CLAIMS if "tdx" in name else GOOD
    assert faults(verdict(shipped(name), claims, WORKER))[Check.GPU] is Tier.CONTRAINDICATED


def floor_table() -> dict[str, Any]:
    return tomllib.loads((ROOT / "policies/tables/snp-tcb-floors.toml").read_text())


@pytest.mark.parametrize("name", [*SNP_POLICIES, "cocoon-snp-h100"])
def test_a_shipped_policy_has_the_floors_of_the_table(name: str) -> None:
    table, policy = floor_table(), tomllib.loads((ROOT / "policies" / f"{name}.toml").read_text())
    assert policy["snp"]["tcb"]["table"] == f"{table['name']} {table['version']}"
    assert policy["snp"]["tcb"]["floors"] == table["floors"]


@pytest.mark.parametrize(
    ("processor", "snp", "open_"),
    [
        ((0x19, 0x01), 23, ("AMD-SB-3019", "AMD-SB-3023")),
        ((0x19, 0x0F), 24, ("AMD-SB-3023",)),
        ((0x19, 0x11), 22, ("AMD-SB-3019", "AMD-SB-3023")),
        ((0x19, 0xA0), 23, ("AMD-SB-3023",)),
        ((0x1A, 0x02), 3, ("AMD-SB-3023",)),
    ],
)
def test_the_table_tells_which_advisories_are_open(
    processor: tuple[int, int], snp: int, open_: tuple[str, ...]
) -> None:
    """snp.md, 5.2."""
    family, model = processor
    claims = GOOD._replace(cpuid_fam_id=family, cpuid_mod_id=model, launch_tcb=GENOA_TCB._replace(snp=snp))
    (found,) = [found for found in verdict(shipped("strict-snp"), claims).findings if found.check == Check.TCB_FLOOR]
    assert found.got == ("out_of_date", ("launch", "snp", snp), ("open", *open_))


def readme_examples() -> list[str]:
    parts = (ROOT / "policies" / "README.md").read_text().split("```toml\n")[1:]
    return [part.partition("```")[0] for part in parts]


def test_the_examples_in_the_readme_are_toml() -> None:
    assert len([tomllib.loads(example) for example in readme_examples()]) == 9
