"""Appraisal of SEV-SNP: each check alone, and what is particular to AMD."""

from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from attestd.claims import FirmwareVersion, Flag, ProductLine, SnpClaims, TcbVersion
from attestd.policy import Check, Facts
from attestd.policy.amd_rules import GUEST_POLICY_BITS, PLATFORM_INFO_BITS, TCB_COMPONENTS, TCB_VERSIONS
from attestd.result import Tier
from tests.policy.factory import (
    AT,
    FACTS,
    GENOA_TCB,
    SNP,
    SNP_CLAIMS,
    TDX,
    TDX_CLAIMS,
    VLEK_CLAIMS,
    VTPM,
    Case,
    digest_of,
    faults,
    finding,
    floor,
    image,
    load,
    pcr_rule,
    require_one_finding,
    tcb,
    verdict,
    with_key,
    with_pcrs,
)
from tests.policy.test_appraise import CASES
from tests.policy.test_appraise_gpu import GPU_CASES

OTHER = b"x" * 48
MASKED = bytes(64)


def with_vek(claims: SnpClaims = SNP_CLAIMS, **changes: Any) -> SnpClaims:
    return claims._replace(vek=claims.vek._replace(**changes))


def with_report(claims: SnpClaims = SNP_CLAIMS, **changes: Any) -> SnpClaims:
    return claims._replace(**changes)


def masked(claims: SnpClaims) -> SnpClaims:
    return claims._replace(chip_id=MASKED, flags=(Flag.CHIP_ID_MASKED,))


def case(
    check: Check,
    rule: Mapping[str, str | None],
    good: SnpClaims = SNP_CLAIMS,
    *,
    claims: SnpClaims | None = None,
    **changes: Any,
) -> Case:
    """Take claims that are good but for `changes`, or others."""
    return Case(check, rule, claims or good._replace(**changes), good=good, fields=SNP)


def through_vtpm(rule: Mapping[str, str | None], *, good: Facts, bad: Facts) -> Case:
    return Case(Check.VTPM_PCRS, rule, SNP_CLAIMS, bad, good=SNP_CLAIMS, good_facts=good, fields=SNP)


def hexed(*digests: bytes) -> str:
    return "[" + ", ".join(f'"{digest.hex()}"' for digest in digests) + "]"


IMAGE = image(
    measurement=SNP_CLAIMS.measurement,
    host_data=SNP_CLAIMS.host_data,
    family_id=SNP_CLAIMS.family_id,
    image_id=SNP_CLAIMS.image_id,
    min_guest_svn=5,
)
ONE = image(image_digest=SNP_CLAIMS.image_digest, min_guest_svn=0)
CSP = '["CN=cc-us-east-2.amazonaws.com"]'
UNKNOWN = {"snp.platform_info.unknown": '"none"'}
ALIAS = {"snp.platform_info.required": '["alias_check_complete"]'}
PCRS = VTPM.pcrs or ()
PCR_4 = pcr_rule({4: (PCRS[4],)})
LINE = floor({"product_line": '"Genoa"'}, snp=23)
WITHOUT_CPUID: dict[str, Any] = {"version": 2, "cpuid_fam_id": None, "cpuid_mod_id": None, "cpuid_step": None}
V2 = SNP_CLAIMS._replace(**WITHOUT_CPUID, launch_mit_vector=None, current_mit_vector=None)

SNP_CASES = {
    "report version": case(Check.REPORT_VERSION, {"snp.versions": "[4, 5]"}, version=3),
    "product line": case(
        Check.PRODUCT_LINE,
        {"snp.product_lines": '["Genoa", "Turin"]'},
        claims=with_vek(product_line=ProductLine.MILAN),
    ),
    "signing key": case(Check.SIGNING_KEY, {"snp.signing_keys": '["vcek"]'}, claims=VLEK_CLAIMS),
    "cloud provider": case(
        Check.CSP_ID, {"snp.csp_ids": CSP}, VLEK_CLAIMS, claims=with_vek(VLEK_CLAIMS, csp_id="CN=another")
    ),
    "crl": case(Check.CRL, {"snp.crl": '"require"'}, crl_checked=False),
    "debug": case(Check.DEBUG, {}, flags=(Flag.DEBUG,)),
    "migration": case(Check.FLAGS, {}, flags=(Flag.MIGRATE_MA,)),
    "provisional firmware": case(
        Check.FLAGS, {"snp.flags": '["migrate_ma", "chip_id_masked"]'}, flags=(Flag.PROVISIONAL_FIRMWARE,)
    ),
    "masked chip id": case(
        Check.FLAGS, {"snp.flags": '["migrate_ma", "provisional_firmware"]'}, claims=masked(SNP_CLAIMS)
    ),
    "chip": case(
        Check.CHIP_ID,
        {"snp.chip_ids": digest_of(SNP_CLAIMS.chip_id)},
        claims=with_vek(hwid=bytes(63) + b"x"),
    ),
    "chip of a vlek": case(
        Check.CHIP_ID, {"snp.chip_ids": digest_of(VLEK_CLAIMS.chip_id)}, VLEK_CLAIMS, chip_id=bytes(63) + b"x"
    ),
    "unknown chip of a list": case(
        Check.CHIP_ID,
        {"snp.chip_ids": digest_of(VLEK_CLAIMS.chip_id), "snp.flags": '["chip_id_masked"]'},
        VLEK_CLAIMS,
        claims=masked(VLEK_CLAIMS),
    ),
    "denied chip": case(
        Check.DENIED_CHIP_ID,
        {"snp.denied_chip_ids": digest_of(OTHER + bytes(16))},
        claims=with_vek(hwid=OTHER + bytes(16)),
    ),
    "denied chip that is masked": case(
        Check.DENIED_CHIP_ID,
        {"snp.denied_chip_ids": digest_of(OTHER + bytes(16)), "snp.flags": '["chip_id_masked"]'},
        masked(SNP_CLAIMS),
        claims=masked(with_vek(hwid=OTHER + bytes(16))),
    ),
    "unknown chip that may be a denied one": case(
        Check.DENIED_CHIP_ID,
        {"snp.denied_chip_ids": digest_of(OTHER), "snp.flags": '["chip_id_masked"]'},
        VLEK_CLAIMS,
        claims=masked(VLEK_CLAIMS),
    ),
    "processor without a floor": case(Check.TCB_FLOOR, tcb(), cpuid_mod_id=0x20),
    "family without a floor": case(Check.TCB_FLOOR, tcb(), cpuid_fam_id=0x1A),
    "processor that is not told": case(Check.TCB_FLOOR, tcb(), claims=V2),
    "floor of a product line": case(Check.TCB_FLOOR, tcb(LINE), V2, launch_tcb=GENOA_TCB._replace(snp=22)),
    "product line without a floor": case(
        Check.TCB_FLOOR, tcb(LINE), V2, claims=with_vek(V2, product_line=ProductLine.MILAN)
    ),
    "floor of a product line where the model is told": case(Check.TCB_FLOOR, tcb(LINE), V2, claims=SNP_CLAIMS),
    "current version": case(
        Check.CURRENT_VERSION, {"snp.min_current_version": '"1.55.40"'}, current_version=FirmwareVersion(1, 55, 39)
    ),
    "committed version": case(
        Check.COMMITTED_VERSION,
        {"snp.min_committed_version": '"1.55.40"'},
        committed_version=FirmwareVersion(1, 54, 99),
    ),
    "launch mitigations": case(Check.LAUNCH_MIT_VECTOR, {"snp.launch_mit_vector": "[0, 3]"}, launch_mit_vector=0x3),
    "current mitigations": case(Check.CURRENT_MIT_VECTOR, {"snp.current_mit_vector": "[0, 3]"}, current_mit_vector=0xA),
    "launch mitigations that are not told": case(
        Check.LAUNCH_MIT_VECTOR, {"snp.launch_mit_vector": "[0]"}, launch_mit_vector=None
    ),
    "current mitigations that are not told": case(
        Check.CURRENT_MIT_VECTOR, {"snp.current_mit_vector": "[0]"}, current_mit_vector=None
    ),
    "alias check": case(Check.PLATFORM_INFO, ALIAS, platform_info=0x05),
    "alias check where it is not defined": case(Check.PLATFORM_INFO, ALIAS, version=2),
    "unknown bit of the platform": case(Check.PLATFORM_INFO, UNKNOWN, platform_info=0x65),
    "last bit of the platform": case(Check.PLATFORM_INFO, UNKNOWN, platform_info=1 << 63),
    "guest abi": case(Check.GUEST_ABI, {"snp.guest_policy.min_abi": '"0.31"'}, policy=0x3001E),
    "vmpl": case(Check.VMPL, {"snp.vmpl": "[0, 2]"}, vmpl=1),
    "migration agent": case(Check.REPORT_ID_MA, {"snp.report_id_ma": '"none"'}, report_id_ma=bytes(32)),
    "another migration agent": case(
        Check.REPORT_ID_MA,
        {"snp.report_id_ma": hexed(OTHER[:32])},
        SNP_CLAIMS._replace(report_id_ma=OTHER[:32]),
        report_id_ma=b"\xff" * 32,
    ),
    "id key": case(Check.ID_KEY_DIGEST, {"snp.id_key_digests": hexed(OTHER, b"k" * 48)}, id_key_digest=bytes(48)),
    "author key": case(Check.AUTHOR_KEY_DIGEST, {"snp.author_key_digests": hexed(b"a" * 48)}, author_key_digest=OTHER),
    "author key that is not in use": case(
        Check.AUTHOR_KEY_DIGEST, {"snp.author_key_digests": hexed(b"a" * 48)}, author_key_en=False
    ),
    "measurement": case(Check.IMAGE, {"snp.images": f"[{IMAGE}]"}, measurement=bytes(48)),
    "host data": case(Check.IMAGE, {"snp.images": f"[{IMAGE}]"}, host_data=bytes(32)),
    "family id": case(Check.IMAGE, {"snp.images": f"[{IMAGE}]"}, family_id=bytes(16)),
    "image id": case(Check.IMAGE, {"snp.images": f"[{IMAGE}]"}, image_id=bytes(16)),
    "image digest": case(Check.IMAGE, {"snp.images": f"[{ONE}]"}, measurement=OTHER),
    "guest svn": case(Check.GUEST_SVN, {"snp.images": f"[{IMAGE}]"}, guest_svn=4),
    "image that is not approved": case(Check.IMAGE, {"snp.images": '"registered"'}, measurement=OTHER),
    "vtpm where none is accepted": through_vtpm({"snp.vtpm_pcrs": '"none"'}, good=FACTS, bad=with_pcrs({})),
    "no vtpm where one is demanded": through_vtpm(PCR_4, good=with_pcrs({}), bad=FACTS),
    "pcr": through_vtpm(PCR_4, good=with_pcrs({}), bad=with_pcrs({4: OTHER[:32]})),
    "pcr with the value of another": through_vtpm(PCR_4, good=with_pcrs({}), bad=with_pcrs({4: PCRS[5], 5: PCRS[4]})),
    "pcrs that are not told": through_vtpm(PCR_4, good=with_pcrs({}), bad=with_pcrs(None)),
    "no snp section": Case(Check.TEE, {}, SNP_CLAIMS, fields=TDX),
    "snp section alone": Case(Check.TEE, {}, TDX_CLAIMS, good=SNP_CLAIMS, fields=SNP),
}


@pytest.mark.parametrize("found", SNP_CASES.values(), ids=SNP_CASES)
def test_one_thing_wrong_is_one_finding(found: Case) -> None:
    """S08, S09, S12, S16, S21, S22, S25-S27, S29, S30, S34."""
    require_one_finding(found)


def test_every_check_has_a_case() -> None:
    bits = {Check.GUEST_POLICY, Check.DENIED_MEASUREMENT}
    cases = (*CASES.values(), *SNP_CASES.values(), *GPU_CASES.values())
    assert {found.check for found in cases} | bits == set(Check)


@pytest.mark.parametrize("name", GUEST_POLICY_BITS)
def test_each_bit_of_the_guest_policy_can_be_required_and_forbidden(name: str) -> None:
    """S11."""
    bit = 1 << GUEST_POLICY_BITS[name]
    unset, set_ = SNP_CLAIMS._replace(policy=0x2001F), SNP_CLAIMS._replace(policy=0x2001F | bit)
    require_one_finding(case(Check.GUEST_POLICY, {"snp.guest_policy.required": f'["{name}"]'}, set_, claims=unset))
    require_one_finding(case(Check.GUEST_POLICY, {"snp.guest_policy.forbidden": f'["{name}"]'}, unset, claims=set_))


@pytest.mark.parametrize("name", PLATFORM_INFO_BITS)
def test_each_bit_of_the_platform_can_be_required_and_forbidden(name: str) -> None:
    """S29."""
    bit = 1 << PLATFORM_INFO_BITS[name]
    unset, set_ = SNP_CLAIMS._replace(platform_info=0), SNP_CLAIMS._replace(platform_info=bit)
    require_one_finding(case(Check.PLATFORM_INFO, {"snp.platform_info.required": f'["{name}"]'}, set_, claims=unset))
    require_one_finding(case(Check.PLATFORM_INFO, {"snp.platform_info.forbidden": f'["{name}"]'}, unset, claims=set_))


def test_every_bit_with_a_name_is_known() -> None:
    everything = SNP_CLAIMS._replace(platform_info=sum(1 << bit for bit in PLATFORM_INFO_BITS.values()))
    assert verdict(load(SNP, UNKNOWN), everything).tier is Tier.AFFIRMING
    assert verdict(load(SNP), SNP_CLAIMS._replace(platform_info=2**64 - 1)).tier is Tier.AFFIRMING


@pytest.mark.parametrize("name", ["image_digest", "measurement", "host_data", "id_key_digest", "author_key_digest"])
def test_what_can_be_denied(name: str) -> None:
    value: bytes = getattr(SNP_CLAIMS, name)
    another: dict[str, Any] = {"measurement" if name == "image_digest" else name: OTHER[: len(value)]}
    good = with_report(**another)
    rule = {"snp.denied_measurements": hexed(value)}
    require_one_finding(case(Check.DENIED_MEASUREMENT, rule, good, claims=SNP_CLAIMS))


# Collateral


def test_the_age_of_collateral_is_that_of_the_crl() -> None:
    policy = load(SNP, {"max_collateral_age_seconds": str(9 * 86400)})
    assert verdict(policy, SNP_CLAIMS).not_after == AT
    late = FACTS._replace(collateral_issued_at=AT - timedelta(days=9, seconds=1))
    assert faults(verdict(policy, SNP_CLAIMS, late)) == {Check.COLLATERAL_AGE: Tier.CONTRAINDICATED}


def test_no_collateral_is_not_young() -> None:
    policy = load(SNP, {"max_collateral_age_seconds": "315360000"})
    assert verdict(policy, SNP_CLAIMS).tier is Tier.AFFIRMING
    bad = verdict(policy, SNP_CLAIMS._replace(crl_checked=False), FACTS._replace(collateral_issued_at=None))
    assert faults(bad) == {Check.COLLATERAL_AGE: Tier.CONTRAINDICATED}
    assert finding(bad, Check.COLLATERAL_AGE).got is None


def test_a_policy_tells_whether_it_takes_a_crl() -> None:
    assert load(SNP, {"snp.crl": '"require"'}).requires_crl
    assert not load(SNP).requires_crl
    assert not load(TDX).requires_crl


def test_debug_is_never_affirming() -> None:
    debug = verdict(load(SNP, {"allow_debug": "true"}), SNP_CLAIMS._replace(flags=(Flag.DEBUG,)))
    assert (debug.tier, faults(debug)) == (Tier.WARNING, {Check.DEBUG: Tier.WARNING})


def test_a_vcek_is_of_no_cloud_provider() -> None:
    assert verdict(load(SNP, {"snp.csp_ids": CSP}), SNP_CLAIMS).tier is Tier.AFFIRMING


def test_masking_does_not_hide_the_chip_that_a_vcek_is_of() -> None:
    policy = load(SNP, {"snp.chip_ids": digest_of(SNP_CLAIMS.chip_id), "snp.flags": '["chip_id_masked"]'})
    assert verdict(policy, masked(SNP_CLAIMS)).tier is Tier.AFFIRMING


def test_the_chip_id_of_turin_is_padded_as_in_the_report() -> None:
    hwid = bytes(range(1, 9))
    turin = with_vek(SNP_CLAIMS._replace(chip_id=hwid + bytes(56)), hwid=hwid)
    accepted = verdict(load(SNP, {"snp.chip_ids": digest_of(hwid + bytes(56))}), turin)
    assert accepted.tier is Tier.AFFIRMING
    shown = finding(accepted, Check.CHIP_ID)
    assert shown.got == sha256(hwid + bytes(56)).digest()
    assert isinstance(shown.want, str)


# TCB floors


@pytest.mark.parametrize("version", TCB_VERSIONS)
@pytest.mark.parametrize("component", TCB_COMPONENTS)
def test_each_component_of_each_version_has_a_floor_of_its_own(component: str, version: str) -> None:
    """S22: as an integer, a version with a higher microcode level and a lower bootloader is the greater one."""
    full = TcbVersion(fmc=9, bootloader=9, tee=9, snp=9, microcode=9)
    mixed = full._replace(**{name: 10 for name in TCB_COMPONENTS if name != component}, **{component: 8})
    versions: dict[str, Any] = {f"{name}_tcb": full for name in TCB_VERSIONS}
    levels: dict[str, Any] = dict.fromkeys(TCB_COMPONENTS, 9)
    rule = tcb(floor(**levels), versions=f'["{version}"]')
    good, low = with_report(**versions), {f"{version}_tcb": mixed}
    require_one_finding(case(Check.TCB_FLOOR, rule, good, claims=with_report(**{**versions, **low})))
    others = dict.fromkeys(versions, mixed) | {f"{version}_tcb": full}
    assert verdict(load(SNP, rule), with_report(**{**versions, **others})).tier is Tier.AFFIRMING


def test_a_missing_component_reaches_no_floor() -> None:
    bad = verdict(load(SNP, tcb(floor(fmc=1), versions='["launch"]')), SNP_CLAIMS)
    assert finding(bad, Check.TCB_FLOOR).got == ("out_of_date", ("launch", "fmc", None), ("open", "AMD-SB-3019"))


def test_a_finding_tells_what_is_too_low_and_which_advisories_are_open() -> None:
    floors = (
        floor(snp=23),
        floor(snp=27, advisories='["AMD-SB-3023"]'),
        floor(bootloader=11, advisories='"none"'),
        floor(microcode=85, advisories='["AMD-SB-3034", "AMD-SB-3023"]'),
        floor({"family": 0x19, "first_model": 0xA0, "last_model": 0xAF}, snp=99),
    )
    policy = load(SNP, tcb(*floors, versions='["reported", "launch"]'))
    bad = finding(verdict(policy, SNP_CLAIMS._replace(launch_tcb=GENOA_TCB._replace(microcode=85))), Check.TCB_FLOOR)
    assert bad.got == (
        "out_of_date",
        ("launch", "snp", 23),
        ("launch", "bootloader", 10),
        ("reported", "snp", 23),
        ("reported", "bootloader", 10),
        ("reported", "microcode", 84),
        ("open", "AMD-SB-3023", "AMD-SB-3034"),
    )
    assert bad.want == (
        "test 1",
        ("at least", "bootloader", 11),
        ("at least", "snp", 27),
        ("at least", "microcode", 85),
    )
    new = TcbVersion(fmc=None, bootloader=11, tee=0, snp=27, microcode=85)
    good = finding(verdict(policy, SNP_CLAIMS._replace(reported_tcb=new, launch_tcb=new)), Check.TCB_FLOOR)
    assert (good.outcome, good.got, good.want) == (Tier.AFFIRMING, "up_to_date", bad.want)


@pytest.mark.parametrize(("model", "known"), [(0x0F, False), (0x10, True), (0x1F, True), (0x20, False)])
def test_a_range_of_models_includes_both_ends(model: int, known: bool) -> None:
    found = finding(verdict(load(SNP, tcb()), SNP_CLAIMS._replace(cpuid_mod_id=model)), Check.TCB_FLOOR)
    assert found.got == ("up_to_date" if known else ("unknown", (0x19, model)))


# Firmware, guest


@pytest.mark.parametrize("version", [FirmwareVersion(1, 55, 40), FirmwareVersion(1, 56, 0), FirmwareVersion(2, 0, 0)])
def test_firmware_versions_compare_from_the_left(version: FirmwareVersion) -> None:
    policy = load(SNP, {"snp.min_current_version": '"1.55.40"'})
    assert verdict(policy, SNP_CLAIMS._replace(current_version=version)).tier is Tier.AFFIRMING


@pytest.mark.parametrize("abi", [0x001F, 0x0020, 0x0100])
def test_the_guest_may_demand_a_newer_abi(abi: int) -> None:
    policy = load(SNP, {"snp.guest_policy.min_abi": '"0.31"'})
    assert verdict(policy, SNP_CLAIMS._replace(policy=0x30000 | abi)).tier is Tier.AFFIRMING


def test_fields_are_shown_in_hex() -> None:
    found = finding(verdict(load(SNP, ALIAS), SNP_CLAIMS), Check.PLATFORM_INFO)
    assert (found.got, found.want) == (
        "0x25",
        (("bits that are set", "alias_check_complete"), ("bits that are not",)),
    )


# vTPM


@pytest.mark.parametrize("number", range(24))
def test_each_pcr_can_be_pinned(number: int) -> None:
    """S32: what the guest of a paravisor runs."""
    rule = pcr_rule({number: (OTHER[:32], PCRS[number])})
    require_one_finding(through_vtpm(rule, good=with_pcrs({}), bad=with_pcrs({number: bytes(31) + b"x"})))
    others = {other: OTHER[:32] for other in range(24) if other != number}
    for facts in (with_pcrs(others), with_pcrs({number: OTHER[:32]})):
        assert verdict(load(SNP, rule), SNP_CLAIMS, facts).tier is Tier.AFFIRMING


def test_a_finding_tells_which_pcrs_are_others() -> None:
    ten = tuple(bytes([value]) * 32 for value in range(100, 110))
    policy = load(SNP, pcr_rule({11: (PCRS[11],), 7: ten, 4: (PCRS[4],)}))
    bad = finding(verdict(policy, SNP_CLAIMS, with_pcrs({11: OTHER[:32]})), Check.VTPM_PCRS)
    assert bad.got == (("PCR 7", PCRS[7]), ("PCR 11", OTHER[:32]))
    assert bad.want == (("PCR 4", PCRS[4]), ("PCR 7", *ten[:8], "and 2 more"), ("PCR 11", PCRS[11]))
    good = finding(verdict(policy, SNP_CLAIMS, with_pcrs({7: ten[9]})), Check.VTPM_PCRS)
    assert (good.outcome, good.want) == (Tier.AFFIRMING, bad.want)
    assert good.got == (("PCR 4", PCRS[4]), ("PCR 7", ten[9]), ("PCR 11", PCRS[11]))


@pytest.mark.parametrize(
    ("rule", "facts", "got"),
    [
        (PCR_4, FACTS, "no vTPM"),
        (PCR_4, with_pcrs(None), "a vTPM, without the values of its PCRs"),
        ({"snp.vtpm_pcrs": '"none"'}, FACTS, "no vTPM"),
        ({"snp.vtpm_pcrs": '"none"'}, with_pcrs(None), "a vTPM"),
    ],
)
def test_a_finding_tells_whether_there_is_a_vtpm(rule: Mapping[str, str | None], facts: Facts, got: str) -> None:
    assert finding(verdict(load(SNP, rule), SNP_CLAIMS, facts), Check.VTPM_PCRS).got == got


@pytest.mark.parametrize("facts", [FACTS, with_pcrs({}), with_pcrs(None)])
def test_any_pcrs_are_not_looked_at(facts: Facts) -> None:
    judged = verdict(load(SNP, {"snp.vtpm_pcrs": '"any"'}), SNP_CLAIMS, facts)
    assert judged.tier is Tier.AFFIRMING
    assert Check.VTPM_PCRS not in {found.check for found in judged.findings}


# Images


def test_an_image_may_leave_the_rest_open() -> None:
    rest = dict.fromkeys(("host_data", "family_id", "image_id"), '"any"')
    policy = load(SNP, {"snp.images": f"[{image(measurement=SNP_CLAIMS.measurement, **rest, min_guest_svn=0)}]"})
    assert verdict(policy, SNP_CLAIMS._replace(host_data=bytes(32), image_id=bytes(16))).tier is Tier.AFFIRMING


def test_an_approved_image_has_a_role() -> None:
    policy = load(SNP, {"snp.images": '"registered"'})
    assert verdict(policy, SNP_CLAIMS, with_key(role="worker")).tier is Tier.AFFIRMING
    other = verdict(policy, SNP_CLAIMS, with_key(role="proxy"))
    assert faults(other) == {Check.IMAGE_ROLE: Tier.CONTRAINDICATED}


def test_another_image_is_shown_by_how_it_differs() -> None:
    found = finding(
        verdict(load(SNP, {"snp.images": f"[{IMAGE}]"}), SNP_CLAIMS._replace(host_data=bytes(32))), Check.IMAGE
    )
    assert found.got == (("host_data", bytes(32)),)
    assert found.want == ("one", ("host_data", SNP_CLAIMS.host_data))
