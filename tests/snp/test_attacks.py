"""Attacks on reports, by the rows of the catalogue (S04 to S27): everything else is right and signed again.

S01 to S03 and S33 are in test_sweeps.py, S06, S07, S10 and S12 to the bit in test_report.py, S15, S17 and S18 by their
bytes in test_vek.py, S31 in test_certtable.py. Forged chains (S23, S24) are cases of the evidence.
"""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from attestd.claims import Flag, ProductLine, SnpClaims, TcbVersion, VekClaims, export
from attestd.errors import Reason
from attestd.snp.report import SIGNED_SIZE, parse_report
from attestd.snp.vek import Vek
from attestd.validity import Validity
from attestd.x509 import Certificate
from tests.evidence import ROOT
from tests.refusals import malformed, not_authentic, rejected
from tests.snp.baseline import (
    AT,
    CHIP_ID,
    CRL,
    DAY,
    KEY,
    REPORT,
    TURIN,
    TURIN_CHIP_ID,
    TURIN_VEK,
    VEK,
    VLEK,
    N,
    put,
    report,
    signed,
    tcb,
    turin_tcb,
    unsigned,
    verified,
    with_signature,
)

BASELINE = verified()


def turin(**fields: int | bytes) -> bytes:
    return report(**{**TURIN, **fields})


def signature_of(raw: bytes) -> tuple[int, int]:
    return int.from_bytes(raw[0x2A0:0x2E8], "little"), int.from_bytes(raw[0x2E8:0x330], "little")


def vek(base: Vek = VEK, **claims: object) -> Vek:
    """Return the key with a certificate that says something else."""
    return replace(base, claims=base.claims._replace(**claims))  # type: ignore[arg-type]


def test_baselines_are_accepted() -> None:
    assert (BASELINE.flags, BASELINE.crl_checked, BASELINE.tee) == ((), True, "snp")
    assert BASELINE.vek == VEK.claims
    assert verified(turin(), TURIN_VEK).reported_tcb == TURIN_VEK.claims.tcb
    assert verified(report(key_info=4), VLEK).vek.csp_id == "CN=cloud.example"
    for version in (2, 3, 4):
        assert verified(report(version=version)).version == version


def test_claims_are_the_report_s_and_the_key_s() -> None:
    body = parse_report(REPORT).body
    assert BASELINE[: len(body)] == body
    assert BASELINE.evidence_id == parse_report(REPORT).evidence_id
    assert BASELINE.validity == Validity(AT - DAY, AT + DAY / 2)  # the CRL ends first
    assert BASELINE.endorsement_digests == (b"v" * 32, b"a" * 32, b"c" * 32)


# ---------------------------------------------------------------------------------------------------------------------
# Signature


def test_s04_malleable_signature() -> None:
    r, s = signature_of(REPORT)
    raw = with_signature(REPORT, r, N - s)
    assert raw != REPORT
    assert verified(raw) == BASELINE


@pytest.mark.parametrize("value", [0, N, N + 1, 2**384 - 1])
def test_s04_integers_out_of_range(value: int) -> None:
    r, s = signature_of(REPORT)
    for mutant in (with_signature(REPORT, value, s), with_signature(REPORT, r, value)):
        with not_authentic(Reason.SNP_REPORT_SIGNATURE):
            verified(mutant)


def test_s04_integers_past_the_order() -> None:
    r, s = signature_of(REPORT)
    for mutant in (with_signature(REPORT, r + N, s), with_signature(REPORT, r, s + N)):
        # The sum may need more than 48 bytes, which the layout refuses.
        padded = any(mutant[0x2D0:0x2E8]) or any(mutant[0x318:0x330])
        with (malformed if padded else not_authentic)(Reason.SNP_REPORT_SIGNATURE):
            verified(mutant)


def test_s05_signature_in_another_form() -> None:
    r, s = signature_of(REPORT)
    big_endian = put(REPORT, SIGNED_SIZE, b"".join(value.to_bytes(48, "big") + bytes(24) for value in (r, s)))
    swapped = with_signature(REPORT, s, r)
    for mutant in (big_endian, swapped):
        with not_authentic(Reason.SNP_REPORT_SIGNATURE):
            verified(mutant)
    right_aligned = put(REPORT, SIGNED_SIZE, b"".join(value.to_bytes(72, "big") for value in (r, s)))
    der = put(REPORT, SIGNED_SIZE, KEY.sign(REPORT[:SIGNED_SIZE], ECDSA(SHA384())).ljust(144, b"\0"))
    for mutant in (right_aligned, der):
        with malformed(Reason.SNP_REPORT_SIGNATURE):
            verified(mutant)


def test_signature_by_another_key_or_over_other_bytes() -> None:
    other = derive_private_key(7, SECP384R1())
    attempts = (
        (other, REPORT[:SIGNED_SIZE], SHA384()),
        (KEY, REPORT, SHA384()),
        (KEY, REPORT[: SIGNED_SIZE - 1], SHA384()),
        (KEY, REPORT[:SIGNED_SIZE], SHA256()),
    )
    for key, over, digest in attempts:
        with not_authentic(Reason.SNP_REPORT_SIGNATURE):
            verified(with_signature(REPORT, *decode_dss_signature(key.sign(over, ECDSA(digest)))))


# ---------------------------------------------------------------------------------------------------------------------
# Layout, signed again


@pytest.mark.parametrize("algorithm", [0, 2, 0xFFFFFFFF])
def test_s06_signature_algorithm(algorithm: int) -> None:
    with malformed(Reason.SNP_SIGNATURE_ALGORITHM):
        verified(report(signature_algo=algorithm))


@pytest.mark.parametrize("version", [0, 1, 6, 0x80000002])
def test_s07_version(version: int) -> None:
    with malformed(Reason.SNP_REPORT_VERSION):
        verified(report(version=version))


def test_s07_body_of_another_version() -> None:
    for raw in (unsigned(), unsigned(launch_mit_vector=0, current_mit_vector=0)):
        with malformed(Reason.SNP_RESERVED):
            verified(signed(put(raw, 0, b"\x02")))
    with malformed(Reason.SNP_RESERVED):
        verified(signed(put(unsigned(), 0, b"\x03")))
    with malformed(Reason.SNP_CPUID):
        verified(signed(put(unsigned(version=2), 0, b"\x05")))


# What a policy decides on is told by a flag or by the field itself.
def test_s08_debug() -> None:
    assert verified(report(policy=0x30000 | 1 << 19)).flags == (Flag.DEBUG,)


def test_s09_migration_agent() -> None:
    assert verified(report(policy=0x30000 | 1 << 18)).flags == (Flag.MIGRATE_MA,)
    assert verified(report(report_id_ma=b"\xff" * 31 + b"\xfe")).flags == (Flag.MIGRATE_MA,)


@pytest.mark.parametrize("policy", [0x10000, 0x30000 | 1 << 26, 0x30000 | 1 << 63])
def test_s10_reserved_policy_bits(policy: int) -> None:
    with malformed(Reason.SNP_POLICY_RESERVED):
        verified(report(policy=policy))


def test_s11_other_policy_bits() -> None:
    for bit in (16, 20, 21, 22, 23, 24, 25):
        policy = 1 << 17 | 1 << bit
        claims = verified(report(policy=policy))
        assert (claims.policy, claims.flags) == (policy, ())


def test_s12_vmpl() -> None:
    assert [verified(report(vmpl=vmpl)).vmpl for vmpl in (1, 2, 3)] == [1, 2, 3]
    with malformed(Reason.SNP_VMPL):
        verified(report(vmpl=0xFFFFFFFF))


@pytest.mark.parametrize("signing_key", range(2, 8))
def test_s13_signing_key_that_is_none(signing_key: int) -> None:
    with malformed(Reason.SNP_SIGNING_KEY):
        verified(report(key_info=signing_key << 2))


def test_s13_s14_signing_key_and_certificate_of_another_kind() -> None:
    for raw, key in ((report(key_info=4), VEK), (REPORT, VLEK)):
        with not_authentic(Reason.SNP_SIGNING_KEY_MISMATCH):
            verified(raw, key)


# ---------------------------------------------------------------------------------------------------------------------
# Report against certificate


@pytest.mark.parametrize("chip_id", [CHIP_ID[:-1] + b"\x00", b"\x01" + CHIP_ID[1:], CHIP_ID[:8] + bytes(56)])
def test_s16_chip_id(chip_id: bytes) -> None:
    with not_authentic(Reason.SNP_CHIP_ID_MISMATCH):
        verified(report(chip_id=chip_id))


@pytest.mark.parametrize("chip_id", [b"\x02" + TURIN_CHIP_ID[1:], TURIN_CHIP_ID[:-1] + b"\x01", TURIN_CHIP_ID[:8] * 8])
def test_s16_chip_id_of_turin(chip_id: bytes) -> None:
    with not_authentic(Reason.SNP_CHIP_ID_MISMATCH):
        verified(turin(chip_id=chip_id), TURIN_VEK)


def test_s16_masked_chip_id() -> None:
    assert verified(report(chip_id=bytes(64))).flags == (Flag.CHIP_ID_MASKED,)
    assert verified(turin(chip_id=bytes(64)), TURIN_VEK).flags == (Flag.CHIP_ID_MASKED,)
    assert verified(report(chip_id=bytes(64), key_info=4), VLEK).flags == (Flag.CHIP_ID_MASKED,)
    # A masked chip id is not a masked chip key: with that the firmware signs nothing.
    with malformed(Reason.SNP_MASK_CHIP_KEY):
        verified(report(chip_id=bytes(64), key_info=2))


def test_s16_a_vlek_is_not_about_a_chip() -> None:
    assert verified(report(chip_id=b"\x07" * 64, key_info=4), VLEK).chip_id == b"\x07" * 64


@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("part", ["bootloader", "tee", "snp", "microcode", "fmc"])
def test_s17_tcb_of_the_certificate(part: str, step: int) -> None:
    for raw, key in ((REPORT, VEK), (turin(), TURIN_VEK)):
        level = getattr(key.claims.tcb, part)
        if level is not None and level + step >= 0:
            with not_authentic(Reason.SNP_TCB_MISMATCH):
                verified(raw, vek(key, tcb=key.claims.tcb._replace(**{part: level + step})))


def test_s17_the_reported_tcb_is_what_counts() -> None:
    """A certificate for the current, the committed or the launch TCB is none for the reported one (V21)."""
    lower = tcb(microcode=80)
    raw = report(reported_tcb=lower)
    with not_authentic(Reason.SNP_TCB_MISMATCH):
        verified(raw)
    assert verified(raw, vek(tcb=VEK.claims.tcb._replace(microcode=80))).reported_tcb.microcode == 80


TCBS = ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb")


def test_s19_layout_of_another_product_line() -> None:
    """Where one has a component the other has a reserved byte."""
    with malformed(Reason.SNP_RESERVED):
        verified(turin(**dict.fromkeys(TCBS, tcb())), TURIN_VEK)
    with malformed(Reason.SNP_RESERVED):
        verified(report(**dict.fromkeys(TCBS, turin_tcb())))


def test_s19_bytes_that_mean_something_in_both_layouts() -> None:
    raw = dict.fromkeys(TCBS, bytes((1, 2, 0, 0, 0, 0, 0, 81)))
    as_genoa, as_turin = TcbVersion(None, 1, 2, 0, 81), TcbVersion(1, 2, 0, 0, 81)
    assert verified(report(**raw), vek(tcb=as_genoa)).launch_tcb == as_genoa
    assert verified(turin(**raw), vek(TURIN_VEK, tcb=as_turin)).launch_tcb == as_turin
    with not_authentic(Reason.SNP_TCB_MISMATCH):
        verified(report(**raw), vek(tcb=as_turin))
    with not_authentic(Reason.SNP_TCB_MISMATCH):
        verified(turin(**raw), vek(TURIN_VEK, tcb=as_genoa))


@pytest.mark.parametrize("name", ["reported_tcb", "current_tcb", "committed_tcb", "launch_tcb"])
def test_s19_reserved_bytes_of_a_tcb_version(name: str) -> None:
    with malformed(Reason.SNP_RESERVED):
        verified(report(**{name: put(tcb(), 3, b"\x01")}))
    with malformed(Reason.SNP_RESERVED):
        verified(turin(**{name: put(turin_tcb(), 5, b"\x01")}), TURIN_VEK)


def test_s19_version_2_has_the_layout_of_the_certificate() -> None:
    """It does not name the processor, and the chip id, which may be masked, does not tell the layout."""
    older = {**TURIN, "version": 2, "cpuid_fam_id": 0, "cpuid_mod_id": 0, "chip_id": bytes(64)}
    assert verified(report(**older), TURIN_VEK).reported_tcb == TURIN_VEK.claims.tcb
    with malformed(Reason.SNP_RESERVED):
        verified(report(**older))


@pytest.mark.parametrize(("family", "model"), [(0x19, 0x01), (0x1A, 0x02)])
def test_s20_product_line(family: int, model: int) -> None:
    with not_authentic(Reason.SNP_PRODUCT_MISMATCH):
        verified(report(cpuid_fam_id=family, cpuid_mod_id=model))
    with not_authentic(Reason.SNP_PRODUCT_MISMATCH):
        verified(REPORT, vek(product_line=ProductLine.MILAN))


@pytest.mark.parametrize("name", ["committed_tcb", "reported_tcb"])
@pytest.mark.parametrize("part", ["bootloader", "tee", "snp", "microcode"])
def test_s21_tcb_order(name: str, part: str) -> None:
    """One part ahead of the current version, with all others far behind it."""
    behind = {"bootloader": 1, "tee": 1, "snp": 1, "microcode": 1}
    ahead = tcb(**{**behind, part: 99})
    certified = VEK.claims.tcb._replace(**behind)._replace(**{part: 99}) if name == "reported_tcb" else VEK.claims.tcb
    with not_authentic(Reason.SNP_TCB_ORDER):
        verified(report(**{"current_tcb": tcb(50, 50, 50, 90), name: ahead}), vek(tcb=certified))


def test_s21_fmc_order() -> None:
    with not_authentic(Reason.SNP_TCB_ORDER):
        verified(turin(committed_tcb=turin_tcb(fmc=2)), TURIN_VEK)


def test_s21_what_may_differ() -> None:
    assert verified(report(committed_tcb=tcb(snp=22))).flags == (Flag.PROVISIONAL_FIRMWARE,)
    assert verified(report(committed_build=53)).flags == (Flag.PROVISIONAL_FIRMWARE,)
    # Firmware may go back to what is committed while the guest runs.
    assert verified(report(launch_tcb=tcb(snp=24))).launch_tcb.snp == 24


# ---------------------------------------------------------------------------------------------------------------------
# Certificate and CRL


def test_window_of_the_chain() -> None:
    for at, reason in (
        (AT - DAY - timedelta(seconds=1), Reason.SNP_VEK_NOT_YET_VALID),
        (AT + DAY + timedelta(seconds=1), Reason.SNP_VEK_EXPIRED),
    ):
        with not_authentic(reason):
            verified(crl=None, at=at)
    for at in VEK.validity:
        verified(crl=None, at=at)


def test_s25_revoked_issuer() -> None:
    with not_authentic(Reason.SNP_ASK_REVOKED):
        verified(crl=replace(CRL, revoked=frozenset({VEK.issuer.serial_number})))


def test_s25_a_leaf_is_not_known_by_its_serial_number() -> None:
    """All leaves have the serial number 0, so a list that has it says nothing of this one."""
    assert verified(crl=replace(CRL, revoked=frozenset({0, 2}))) == BASELINE


def test_s25_crl_of_another_root() -> None:
    turin_root = Certificate((ROOT / "certs/amd/ark_turin.der").read_bytes())
    for other in ({"issuer": turin_root.subject}, {"issuer_spki": turin_root.spki}):
        with rejected(Reason.SNP_CRL_ISSUER):
            verified(crl=replace(CRL, **other))  # type: ignore[arg-type]


def test_s25_window_of_the_crl() -> None:
    with rejected(Reason.SNP_CRL_EXPIRED):
        verified(at=CRL.validity.not_after + timedelta(seconds=1))
    with rejected(Reason.SNP_CRL_NOT_YET_VALID):
        verified(crl=replace(CRL, validity=Validity(AT + timedelta(seconds=1), AT + DAY)))


def test_s25_no_crl() -> None:
    claims = verified(crl=None)
    assert (claims.crl_checked, claims.validity, claims.endorsement_digests) == (False, VEK.validity, VEK.digests)


@pytest.mark.parametrize(
    "name", ["host_data", "id_key_digest", "author_key_digest", "family_id", "image_id", "measurement", "report_data"]
)
def test_s26_s27_fields_are_shown_as_they_are(name: str) -> None:
    value = getattr(BASELINE, name)
    claims = verified(report(**{name: bytes(len(value) - 1) + b"\x01"}))
    assert getattr(claims, name) != value
    assert claims.evidence_id != BASELINE.evidence_id


# ---------------------------------------------------------------------------------------------------------------------
# As it is shown


def test_export() -> None:
    exported = export(verified(report(platform_info=2**63 + 1)))
    apart = {"evidence_id", "flags", "validity", "endorsement_digests"}
    assert exported.keys() == set(SnpClaims._fields) - apart | {"image_digest"}
    # As text: JSON readers lose the digits of 64-bit integers.
    assert (exported["policy"], exported["platform_info"]) == ("0x30000", "0x8000000000000001")
    assert (exported["current_version"], exported["launch_mit_vector"]) == ("1.55.54", "0xb")
    assert exported["reported_tcb"] == {"bootloader": 10, "tee": 0, "snp": 23, "microcode": 84}
    assert exported["measurement"] == "6d" * 48
    assert exported["image_digest"] == BASELINE.image_digest.hex()
    found = exported["vek"]
    assert isinstance(found, dict)
    assert found.keys() == set(VekClaims._fields)
    assert (found["kind"], found["product_line"], found["hwid"]) == ("vcek", "Genoa", CHIP_ID.hex())


def test_export_of_turin_and_of_version_2() -> None:
    launch_tcb = {"fmc": 1, "bootloader": 1, "tee": 1, "snp": 4, "microcode": 81}
    assert export(verified(turin(), TURIN_VEK))["launch_tcb"] == launch_tcb
    exported = export(verified(report(version=2)))
    assert (exported["launch_mit_vector"], exported["cpuid_fam_id"]) == (None, None)
