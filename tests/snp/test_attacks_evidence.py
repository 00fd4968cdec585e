"""Attacks on whole pieces of evidence (S07 to S34): report, chain, CRL, table and policy, all but one thing right.

What the report alone can have wrong is in test_attacks.py, signed there by a key without a certificate.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA384

from attestd.binding.verify import verify_binding
from attestd.claims import Flag, ProductLine, TcbVersion
from attestd.errors import Reason
from attestd.evidence import AmdEvidence, HclEvidence, SnpEvidence, TpmQuoteEvidence
from attestd.policy import AppraisalPolicy, appraise
from attestd.policy.amd_rules import SNP_REGISTERS
from attestd.result import Tier
from attestd.simulator import (
    AMD_ARC,
    AT,
    BERGAMO,
    GENOA,
    MILAN,
    POLICY,
    TURIN,
    AmdVendor,
    CertificateForm,
    Chip,
    CrlForm,
    HclForm,
    KeyPair,
    Registry,
    Revoked,
    Signing,
    SnpAttester,
    SnpReport,
    TableEntry,
    TpmAttest,
    amd_name,
    basic_constraints,
    certificate_table,
    flip,
    key_usage,
    other_s,
    p384_key,
    put,
    rsa_key,
    rsassa_pss,
    runtime_data,
    sign_pss,
    signing_key,
    spl,
    swap,
    tcb_version,
    vek_extension,
)
from attestd.simulator.certificates import CertificateEdit
from attestd.simulator.certtable import ARK_GUID
from attestd.simulator.der import ia5_string, octets, oid, sequence
from attestd.simulator.snp_report import SNP
from attestd.snp.collateral import SnpEndorsements
from attestd.snp.vek import Vek, authenticate_vek
from attestd.verifier import AmdSubject, Verified, parse_evidence, verify_subject
from attestd.x509 import TrustAnchors
from tests.evidence import ROOT
from tests.policy import factory
from tests.refusals import malformed, misconfigured, not_authentic

VENDORS = {line: AmdVendor.of(line) for line in ProductLine}
VENDOR = VENDORS[ProductLine.GENOA]
ANCHORS = TrustAnchors.load([vendor.ark.der for vendor in VENDORS.values()])
# Somebody with the same names and other keys.
MALLORY = AmdVendor.of(seed="mallory")
ATTESTER = SnpAttester.of(VENDOR)
TURIN_ATTESTER = SnpAttester.of(VENDORS[ProductLine.TURIN])
CLOUD = replace(GENOA, kind="vlek")
CLOUD_ATTESTER = SnpAttester.of(VENDOR, CLOUD)
CRL = VENDOR.crl()
STRICT_TEXT = (ROOT / "policies/strict-snp.toml").read_text()
STRICT = AppraisalPolicy.load(STRICT_TEXT.encode())


@lru_cache(maxsize=64)
def vek_of(vek: bytes, issuer: bytes, anchors: TrustAnchors, at: datetime) -> Vek:
    """Authenticate a key; only successes are kept, as in a service's cache."""
    return authenticate_vek(vek, issuer, anchors, at)


def verified(cpu: AmdEvidence, anchors: TrustAnchors = ANCHORS, at: datetime = AT) -> Verified:
    """Verify evidence from its bytes, with nothing but the pinned roots and what came along."""
    attestation = parse_evidence(cpu)
    assert attestation.tee == "snp"
    nothing = SnpEndorsements()
    vek = vek_of(*nothing.chain(attestation, anchors), anchors, at)
    return verify_subject(AmdSubject(attestation, vek, nothing.crl(attestation, vek, at)), (), at)


def sent(
    attester: SnpAttester = ATTESTER, body: SnpReport = SNP, *, signing: Signing | None = None, crl: bytes | None = CRL
) -> SnpEvidence:
    """Return what an attester sends: a report, with its chain and a CRL in a table."""
    report = attester.report(body, signing=signing or Signing())
    return SnpEvidence(report=report, certificates=attester.certificate_table(crl))


def certified(edit: CertificateEdit, chip: Chip = GENOA, *, signing: Signing | None = None) -> SnpEvidence:
    """Return what a chip sends whose certificate says something else and is signed as such."""
    vendor = VENDORS[chip.line]
    return sent(SnpAttester.of(vendor, chip, edit, signing=signing or Signing()), crl=vendor.crl())


def having(suffix: str, value: bytes) -> CertificateEdit:
    """Put another value into one of AMD's extensions, or add it."""
    return lambda form: form.having(vek_extension(suffix, value))


def named(common_name: str) -> CertificateEdit:
    return lambda form: replace(form, subject=amd_name(common_name))


def test_baselines_are_accepted() -> None:
    for attester in (ATTESTER, CLOUD_ATTESTER, SnpAttester.of(VENDOR, BERGAMO)):
        assert verified(sent(attester)).claims.flags == ()
    for line in (ProductLine.MILAN, ProductLine.TURIN):
        assert verified(sent(SnpAttester.of(VENDORS[line]), crl=VENDORS[line].crl())).claims.flags == ()
    assert failing(sent()) == failing(sent(SnpAttester.of(VENDOR, BERGAMO))) == []
    assert failing(sent(TURIN_ATTESTER, crl=VENDORS[ProductLine.TURIN].crl())) == []


# ---------------------------------------------------------------------------------------------------------------------
# Report


def test_s04_the_other_signature_is_the_same_evidence() -> None:
    assert verified(sent(signing=Signing(after=other_s))) == verified(sent())


def test_report_signed_by_another_chip() -> None:
    for key in (p384_key("forger", "vcek"), CLOUD_ATTESTER.vek.key):
        with not_authentic(Reason.SNP_REPORT_SIGNATURE):
            verified(sent(signing=Signing(key=key)))


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["reserved_04c", "reserved_18b", "reserved_1eb", "reserved_1ef", "reserved_208"])
def test_s07_reserved_fields_that_are_signed(name: str, version: int) -> None:
    reserved: dict[str, Any] = {name: flip(0)(getattr(SNP, name))}
    with malformed(Reason.SNP_RESERVED):
        verified(sent(body=SnpReport(version=version, **reserved)))


@pytest.mark.parametrize(
    "field", [{"cpuid_fam_id": 0x19}, {"cpuid_mod_id": 1}, {"cpuid_step": 1}, {"launch_mit_vector": 1}]
)
def test_s07_fields_of_a_later_version(field: dict[str, Any]) -> None:
    with malformed(Reason.SNP_RESERVED):
        verified(sent(body=SnpReport(version=2, **field)))


def test_s13_signing_key_of_another_kind_than_the_chain() -> None:
    for attester, kind in ((ATTESTER, 1), (CLOUD_ATTESTER, 0)):
        with not_authentic(Reason.SNP_SIGNING_KEY_MISMATCH):
            verified(sent(attester, SnpReport(key_info=signing_key(kind))))
    for kind in range(2, 8):
        with malformed(Reason.SNP_SIGNING_KEY):
            verified(sent(body=SnpReport(key_info=signing_key(kind))))
    with malformed(Reason.SNP_MASK_CHIP_KEY):
        verified(sent(body=SnpReport(key_info=signing_key(0, mask_chip_key=True))))


def test_s33_more_than_a_report() -> None:
    report = ATTESTER.report()
    for raw in (report + report, report + b"\0"):
        with malformed(Reason.SNP_CERT_TABLE):
            verified(SnpEvidence(report=raw))
    with malformed(Reason.SNP_REPORT_SIZE):
        verified(SnpEvidence(report=report[:-1]))


# ---------------------------------------------------------------------------------------------------------------------
# The certificate of the key


def test_s14_issuer_of_another_kind() -> None:
    swapped = replace(VENDOR, ask=VENDOR.asvk, asvk=VENDOR.ask)
    for chip in (GENOA, CLOUD):
        with not_authentic(Reason.SNP_VEK_CHAIN):
            verified(sent(SnpAttester.of(swapped, chip)))


def test_s14_kind_of_another_name() -> None:
    """The extensions are those of a VLEK, the name and the issuer those of a VCEK."""
    with not_authentic(Reason.SNP_VEK_EXTENSION):
        verified(certified(lambda form: replace(form, extensions=CLOUD.extensions())))
    for name in ("SEV-VEK", "VCEK", "SEV-Genoa"):
        with not_authentic(Reason.SNP_VEK_PROFILE):
            verified(certified(named(name)))


def test_s14_leaf_issued_by_the_root() -> None:
    by_root = replace(VENDOR, ask=VENDOR.ark)
    with not_authentic(Reason.SNP_VEK_CHAIN):
        verified(sent(SnpAttester.of(by_root)))


@pytest.mark.parametrize(
    ("hwid", "reason"),
    [
        (None, Reason.SNP_VEK_EXTENSION),
        (b"", Reason.SNP_VEK_EXTENSION),
        (GENOA.hwid[:8], Reason.SNP_VEK_EXTENSION),
        (GENOA.hwid[:63], Reason.SNP_VEK_EXTENSION),
        (GENOA.hwid + b"\0", Reason.SNP_VEK_EXTENSION),
        (octets(octets(GENOA.hwid)), Reason.SNP_VEK_EXTENSION),
        (octets(GENOA.hwid[:62]), Reason.SNP_CHIP_ID_MISMATCH),  # 64 bytes, which are taken as they stand
        (flip(63)(GENOA.hwid), Reason.SNP_CHIP_ID_MISMATCH),
        (octets(flip(0)(GENOA.hwid)), Reason.SNP_CHIP_ID_MISMATCH),
    ],
)
def test_s15_hwid(hwid: bytes | None, reason: Reason) -> None:
    edit = partial(CertificateForm.without, oid=f"{AMD_ARC}.4") if hwid is None else having("4", hwid)
    with not_authentic(reason):
        verified(certified(edit))


def test_s15_hwid_in_an_octet_string_is_that_of_older_certificates() -> None:
    verified(certified(having("4", octets(GENOA.hwid))))


@pytest.mark.parametrize("hwid", [TURIN.hwid + bytes(56), TURIN.hwid[:7], flip(7)(TURIN.hwid)])
def test_s15_hwid_of_turin(hwid: bytes) -> None:
    reason = Reason.SNP_CHIP_ID_MISMATCH if len(hwid) == 8 else Reason.SNP_VEK_EXTENSION
    with not_authentic(reason):
        verified(certified(having("4", hwid), TURIN))


def test_s16_report_of_another_chip() -> None:
    for chip_id in (BERGAMO.hwid, flip(63)(GENOA.hwid), GENOA.hwid[:8] + bytes(56)):
        with not_authentic(Reason.SNP_CHIP_ID_MISMATCH):
            verified(sent(body=SnpReport(chip_id=chip_id)))
    assert verified(sent(body=SnpReport(chip_id=bytes(64)))).claims.flags == (Flag.CHIP_ID_MASKED,)


SPLS = {"1": "bootloader", "2": "tee", "3": "snp", "8": "microcode", "9": "fmc"}


@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("part", SPLS)
def test_s17_levels_of_the_certificate(part: str, step: int) -> None:
    for chip in (GENOA, TURIN):
        level = getattr(chip.tcb, SPLS[part])
        if level is not None and level + step >= 0:
            with not_authentic(Reason.SNP_TCB_MISMATCH):
                verified(certified(having(f"3.{part}", spl(part, level + step).value), chip))


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x00\x05", b"\x01" * 9, b"\x01\x00"])
@pytest.mark.parametrize("part", ["1", "2", "3", "4", "5", "8"])
def test_s18_integers_of_the_certificate(part: str, content: bytes) -> None:
    with not_authentic(Reason.SNP_VEK_EXTENSION):
        verified(certified(having(f"3.{part}", spl(part, content).value)))


def test_s18_extensions_that_are_missing_or_no_integers() -> None:
    for extension in GENOA.extensions():
        with not_authentic(Reason.SNP_VEK_EXTENSION):
            verified(certified(partial(CertificateForm.without, oid=extension.oid)))
    level = spl("3", GENOA.tcb.snp).value
    for value in (level + b"\0", octets(b"\x1b"), b"\x1b"):
        with not_authentic(Reason.SNP_VEK_EXTENSION):
            verified(certified(having("3.3", value)))


def test_s19_layout_of_another_product_line() -> None:
    """Levels that the other layout finds in reserved places, by certificate and by report."""
    tcb = tcb_version(TURIN.tcb, ProductLine.TURIN)
    with malformed(Reason.SNP_RESERVED):
        verified(sent(body=SnpReport(current_tcb=tcb, reported_tcb=tcb, committed_tcb=tcb, launch_tcb=tcb)))
    for chip, suffix in ((GENOA, "3.9"), (TURIN, "3.4")):
        with not_authentic(Reason.SNP_VEK_EXTENSION):
            verified(certified(having(suffix, b"\x02\x01\x00"), chip))
    for chip, version in ((GENOA, b"\x02\x01\x01"), (TURIN, b"\x02\x01\x00")):
        with not_authentic(Reason.SNP_VEK_EXTENSION):
            verified(certified(having("1", version), chip))


def test_s20_chip_of_another_product_line() -> None:
    """Whoever has the ASK of one line vouches for no chip of another one."""
    milan = replace(MILAN, line=ProductLine.GENOA)
    with not_authentic(Reason.SNP_PRODUCT_MISMATCH):
        verified(sent(SnpAttester.of(VENDOR, MILAN)))  # the extension says Milan-B0
    with not_authentic(Reason.SNP_PRODUCT_MISMATCH):
        verified(sent(SnpAttester.of(VENDOR, milan)))  # the processor does
    for name in ("Milan", "Turin"):
        with not_authentic(Reason.SNP_PRODUCT_MISMATCH):
            verified(certified(having("2", ia5_string(name))))


def test_s20_issuer_of_another_product_line() -> None:
    renamed = VENDOR.reissue("ask", named("SEV-Milan"))
    with not_authentic(Reason.SNP_VEK_CHAIN):
        verified(sent(SnpAttester.of(renamed)))
    # The ASK of another line is genuine, and has issued something else.
    with not_authentic(Reason.SNP_VEK_CHAIN):
        verified(sent(replace(ATTESTER, vendor=replace(VENDOR, ask=VENDORS[ProductLine.MILAN].ask))))


def test_windows_of_the_certificates() -> None:
    second = timedelta(seconds=1)
    for chip, years in ((GENOA, 7), (CLOUD, 1)):
        form = VENDOR.issue_vek(chip).form
        assert form.not_after - form.not_before == timedelta(days=365 * years)
        for at, reason in (
            (form.not_before - second, Reason.SNP_VEK_NOT_YET_VALID),
            (form.not_after + second, Reason.SNP_VEK_EXPIRED),
        ):
            with not_authentic(reason):
                verified(sent(SnpAttester.of(VENDOR, chip), crl=None), at=at)
    for role in ("ark", "ask"):
        old = VENDOR.reissue(role, lambda form: replace(form, not_after=AT - second))
        anchors = TrustAnchors.load([old.ark.der])
        with not_authentic(Reason.SNP_VEK_EXPIRED):
            verified(sent(SnpAttester.of(old), crl=None), anchors)


# ---------------------------------------------------------------------------------------------------------------------
# Chains


def without_ark(vendor: AmdVendor, chip: Chip = GENOA) -> bytes:
    entries = SnpAttester.of(vendor, chip).table_entries(CRL)
    return certificate_table(entry for entry in entries if entry.guid != ARK_GUID)


def test_s23_root_of_the_same_name() -> None:
    """The attack on verifiers that let evidence bring its own root: chain, names and signatures are all in order."""
    mallory = sent(SnpAttester.of(MALLORY), crl=MALLORY.crl())
    assert verified(mallory, TrustAnchors.load([MALLORY.ark.der])).claims.flags == ()
    with not_authentic(Reason.SNP_UNTRUSTED_ROOT):
        verified(mallory)
    # Without its root the name leads to the pinned one, which has signed none of it.
    with not_authentic(Reason.SNP_VEK_CHAIN):
        verified(replace(mallory, certificates=without_ark(MALLORY)))


def test_s23_one_signature_of_a_chain_is_somebody_elses() -> None:
    leaf = SnpAttester.of(VENDOR, signing=Signing(key=MALLORY.ask.key))
    ask = SnpAttester.of(VENDOR.reissue("ask", signing=Signing(key=MALLORY.ark.key)))
    root = SnpAttester.of(replace(VENDOR, ark=MALLORY.ark))
    of_another_line = SnpAttester.of(VENDOR.reissue("ask", signing=Signing(key=VENDORS[ProductLine.MILAN].ark.key)))
    for attester, reason in (
        (leaf, Reason.SNP_VEK_CHAIN),
        (ask, Reason.SNP_VEK_CHAIN),
        (of_another_line, Reason.SNP_VEK_CHAIN),
        (root, Reason.SNP_UNTRUSTED_ROOT),
    ):
        with not_authentic(reason):
            verified(sent(attester))


def test_s23_root_that_is_not_self_signed() -> None:
    with misconfigured(Reason.ANCHOR_UNPINNED):
        TrustAnchors.load([VENDOR.reissue("ark", signing=Signing(key=MALLORY.ark.key)).ark.der])
    issued = VENDOR.reissue("ark", lambda form: replace(form, issuer=amd_name("ARK-Milan")))
    with misconfigured(Reason.ANCHOR_UNPINNED):
        TrustAnchors.load([issued.ark.der])


@pytest.mark.parametrize(
    "edit",
    [
        lambda form: form.without("2.5.29.19"),
        lambda form: form.having(basic_constraints(ca=False)),
        lambda form: form.having(key_usage("digital_signature")),
        lambda form: replace(form, spki=rsa_spki(rsa_key("attestd", "vtpm ak", 2048))),
    ],
    ids=["no constraints", "no CA", "no certSign", "RSA-2048"],
)
def test_s23_issuer_that_is_none(edit: CertificateEdit) -> None:
    with not_authentic(Reason.SNP_VEK_CHAIN):
        verified(sent(SnpAttester.of(VENDOR.reissue("ask", edit))))


def rsa_spki(key: RSAPrivateKey) -> bytes:
    return KeyPair(key).spki


def pkcs1(key: RSAPrivateKey) -> Callable[[bytes], bytes]:
    return lambda signed: key.sign(signed, PKCS1v15(), SHA384())


SHA384_WITH_RSA = sequence(oid("1.2.840.113549.1.1.12"), b"\x05\x00")
SCHEMES: Mapping[str, tuple[Any, Callable[[RSAPrivateKey], Callable[[bytes], bytes]]]] = {
    "PKCS1": (SHA384_WITH_RSA, pkcs1),
    "PKCS1 as PSS": (rsassa_pss(), pkcs1),
    "SHA-256": (rsassa_pss("sha256", 32), lambda key: lambda signed: sign_pss(key, signed, "sha256", 32)),
    "SHA-256 as SHA-384": (rsassa_pss(), lambda key: lambda signed: sign_pss(key, signed, "sha256", 48)),
    "salt 32": (rsassa_pss(salt_size=32), lambda key: lambda signed: sign_pss(key, signed, salt_size=32)),
    "salt 32 as 48": (rsassa_pss(), lambda key: lambda signed: sign_pss(key, signed, salt_size=32)),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_s24_signature_schemes(scheme: str) -> None:
    algorithm, maker = SCHEMES[scheme]

    def edit(form: Any) -> Any:
        return replace(form, signature_algorithm=algorithm)

    leaf = certified(edit, signing=Signing(make=maker(VENDOR.ask.key)))
    ask = sent(SnpAttester.of(VENDOR.reissue("ask", edit, signing=Signing(make=maker(VENDOR.ark.key)))))
    for evidence in (leaf, ask):
        with not_authentic(Reason.SNP_VEK_CHAIN):
            verified(evidence)
    crl = VENDOR.crl(edit=edit, signing=Signing(make=maker(VENDOR.ark.key)))
    with not_authentic(Reason.SNP_CRL_SIGNATURE if algorithm == rsassa_pss() else Reason.SNP_CRL_MALFORMED):
        verified(sent(crl=crl))


def test_s24_leaf_key_on_another_curve() -> None:
    with not_authentic(Reason.SNP_VEK_PROFILE):
        verified(certified(lambda form: replace(form, spki=KeyPair.p256().spki)))


# ---------------------------------------------------------------------------------------------------------------------
# Revocation


def test_s25_revoked_issuers() -> None:
    both = VENDOR.crl([VENDOR.ask.serial_number, VENDOR.asvk.serial_number])
    for attester, revoked in ((ATTESTER, VENDOR.ask), (CLOUD_ATTESTER, VENDOR.asvk)):
        for crl in (VENDOR.crl([revoked.serial_number]), both):
            with not_authentic(Reason.SNP_ASK_REVOKED):
                verified(sent(attester, crl=crl))
    # Each kind of key has an issuer of its own.
    verified(sent(ATTESTER, crl=VENDOR.crl([VENDOR.asvk.serial_number])))
    verified(sent(CLOUD_ATTESTER, crl=VENDOR.crl([VENDOR.ask.serial_number])))


def test_s25_leaves_are_not_known_by_their_serial_number() -> None:
    verified(sent(crl=VENDOR.crl([0])))


def dated(this_update: timedelta, next_update: timedelta | None) -> Callable[[CrlForm], CrlForm]:
    until = None if next_update is None else AT + next_update
    return lambda form: replace(form, this_update=AT + this_update, next_update=until)


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (MALLORY.crl, Reason.SNP_CRL_ISSUER),
        (lambda: VENDOR.crl(signing=Signing(key=MALLORY.ark.key)), Reason.SNP_CRL_SIGNATURE),
        (lambda: VENDOR.crl(signing=Signing(key=VENDOR.ask.key)), Reason.SNP_CRL_SIGNATURE),
        (lambda: VENDOR.crl(signing=Signing(after=flip(-1))), Reason.SNP_CRL_SIGNATURE),
        (VENDORS[ProductLine.MILAN].crl, Reason.SNP_CRL_ISSUER),
        (lambda: VENDOR.crl(edit=lambda form: replace(form, issuer=VENDOR.ask.form.subject)), Reason.SNP_CRL_ISSUER),
        (lambda: VENDOR.crl(edit=dated(-2 * DAY, -DAY)), Reason.SNP_CRL_EXPIRED),
        (lambda: VENDOR.crl(edit=dated(DAY, 2 * DAY)), Reason.SNP_CRL_NOT_YET_VALID),
        (lambda: VENDOR.crl(edit=dated(-DAY, None)), Reason.SNP_CRL_MALFORMED),
        (lambda: VENDOR.crl([Revoked(b"", reason=None)]), Reason.SNP_CRL_MALFORMED),
        (lambda: VENDOR.ark.der, Reason.SNP_CRL_MALFORMED),
    ],
)
def test_s25_crl(make: Callable[[], bytes], reason: Reason) -> None:
    with not_authentic(reason):
        verified(sent(crl=make()))


def test_s25_no_crl() -> None:
    assert failing(sent(crl=None)) == ["crl"]
    assert failing(sent(crl=None), strict(('crl = "require"', 'crl = "if-available"'))) == []


# ---------------------------------------------------------------------------------------------------------------------
# Binding, table, Azure


def test_s28_report_data_of_something_else() -> None:
    key, registry = KeyPair.ed25519(), Registry()
    for other in (
        Registry(registry_id="another"),
        Registry(challenge=sha256(b"an earlier challenge").digest()),
    ):
        stale = ATTESTER.evidence(key, other, crl=CRL).cpu
        evidence = replace(ATTESTER.evidence(key, registry), cpu=stale)
        assert isinstance(stale, SnpEvidence)
        with not_authentic(Reason.BINDING_REPORT_DATA):
            verify_binding(
                evidence,
                registry_id=registry.registry_id,
                report_data=verified(stale).report_data,
                gpu_nonces=(),
                at=AT,
            )
    of_another_key = replace(ATTESTER.evidence(key, registry), cpu=ATTESTER.evidence(KeyPair.p256(), registry).cpu)
    assert isinstance(of_another_key.cpu, SnpEvidence)
    with not_authentic(Reason.BINDING_REPORT_DATA):
        verify_binding(
            of_another_key,
            registry_id=registry.registry_id,
            report_data=verified(of_another_key.cpu).report_data,
            gpu_nonces=(),
            at=AT,
        )


ENTRIES = ATTESTER.table_entries(CRL)


@pytest.mark.parametrize(
    "table",
    [
        certificate_table((replace(ENTRIES[0], offset=0), *ENTRIES[1:])),
        certificate_table((replace(ENTRIES[0], offset=120 + len(ENTRIES[0].data)), *ENTRIES[1:])),
        certificate_table((*ENTRIES[:3], replace(ENTRIES[3], length=len(CRL) + 1))),
        certificate_table((*ENTRIES[:3], replace(ENTRIES[3], length=2**32 - 1))),
        certificate_table((*ENTRIES[:3], replace(ENTRIES[3], offset=2**32 - 1, length=2))),
        certificate_table((*ENTRIES, ENTRIES[0])),
        certificate_table(ENTRIES, end=b""),
        certificate_table(ENTRIES, end=bytes(16) + b"\1" + bytes(7)),
        certificate_table((TableEntry(ENTRIES[0].guid, b""), *ENTRIES[1:])),
    ],
    ids=["header", "overlap", "past the end", "4 GiB", "wrap", "twice", "no end", "end with data", "empty"],
)
def test_s31_certificate_tables(table: bytes) -> None:
    for cpu in (
        SnpEvidence(report=ATTESTER.report(), certificates=table),
        SnpEvidence(report=ATTESTER.report() + table),
    ):
        with malformed(Reason.SNP_CERT_TABLE):
            verified(cpu)
    assert verified(SnpEvidence(report=ATTESTER.report() + certificate_table(ENTRIES))) == verified(sent())


def azure(
    form: HclForm | None = None,
    body: SnpReport = SNP,
    *,
    edit: Callable[[bytes], bytes] = bytes,
    quote: TpmQuoteEvidence | None = None,
) -> HclEvidence:
    hcl = edit(ATTESTER.hcl_report(body, form or HclForm()))
    return HclEvidence(
        hcl_report=hcl, tpm_quote=quote or ATTESTER.tpm_quote(b"n" * 32), certificates=ATTESTER.certificate_table(CRL)
    )


def test_s32_azure_is_accepted() -> None:
    result = verified(azure())
    assert result.report_data == b"n" * 32
    assert result.vtpm is not None
    assert result.vtpm.pcrs is not None
    pinned = f'vtpm_pcrs = {{ "4" = ["{result.vtpm.pcrs[4].hex()}"] }}'
    assert failing(azure(), strict(('vtpm_pcrs = "none"', pinned))) == []
    assert failing(azure()) == ["vtpm_pcrs"]


def test_s32_quote_by_a_key_that_the_report_does_not_name() -> None:
    mallory = rsa_key("mallory", "vtpm ak", 2048)
    with not_authentic(Reason.SNP_VTPM_QUOTE_SIGNATURE):
        verified(azure(quote=ATTESTER.tpm_quote(b"n" * 32, signing=Signing(key=mallory))))
    with not_authentic(Reason.SNP_VTPM_QUOTE_SIGNATURE):
        verified(azure(HclForm(runtime_data=runtime_data(mallory))))
    with not_authentic(Reason.SNP_VTPM_QUOTE_SIGNATURE):
        verified(azure(quote=ATTESTER.tpm_quote(b"n" * 32, signing=Signing(after=flip(50)))))


def test_s32_runtime_data_that_the_report_does_not_commit_to() -> None:
    with not_authentic(Reason.SNP_HCL_RUNTIME_HASH):
        verified(azure(edit=swap(b"-4000-8000-", b"-4000-9000-")))


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"report_type": 4}, Reason.SNP_HCL_REPORT_TYPE),
        ({"hash_type": 2}, Reason.SNP_HCL_HASH_TYPE),
        ({"request_type": 1}, Reason.SNP_HCL_REQUEST_TYPE),
        ({"version": 3}, Reason.SNP_HCL_VERSION),
        ({"runtime_data_size": 2**32 - 1}, Reason.SNP_HCL_MALFORMED),
    ],
)
def test_s32_hcl_reports(form: dict[str, Any], reason: Reason) -> None:
    with malformed(reason):
        verified(azure(HclForm(**form)))


def test_s32_report_of_the_guest_itself() -> None:
    with not_authentic(Reason.SNP_VTPM_VMPL):
        verified(azure(body=SnpReport(vmpl=2)))


def test_s32_values_of_registers_that_were_not_quoted() -> None:
    quote = ATTESTER.tpm_quote(b"n" * 32)
    with not_authentic(Reason.SNP_VTPM_PCR_DIGEST):
        verified(azure(quote=replace(quote, pcrs=flip(0)(quote.pcrs or b""))))
    with not_authentic(Reason.SNP_VTPM_PCR_DIGEST):
        verified(azure(quote=ATTESTER.tpm_quote(b"n" * 32, TpmAttest(pcr_digest=bytes(32)))))


# ---------------------------------------------------------------------------------------------------------------------
# Policy


def strict(*edits: tuple[str, str]) -> AppraisalPolicy:
    """Return the strict policy with some lines written otherwise."""
    text = STRICT_TEXT
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return AppraisalPolicy.load(text.encode())


def lax(**rules: str) -> AppraisalPolicy:
    """Return a policy that takes anything, but for these rules."""
    return factory.load(factory.SNP, {f"snp.{name.replace('__', '.')}": rule for name, rule in rules.items()})


def failing(cpu: AmdEvidence, policy: AppraisalPolicy = STRICT) -> list[str]:
    """Return the checks that do not pass for evidence that is authentic."""
    found = verified(cpu)
    facts = factory.BARE._replace(collateral_issued_at=found.collateral_issued_at, vtpm=found.vtpm)
    appraisal = appraise(policy, found.claims, facts, AT)
    return [finding.check for finding in appraisal.findings if finding.outcome is not Tier.AFFIRMING]


def report(**fields: Any) -> SnpEvidence:
    return sent(body=SnpReport(**fields))


def bit(number: int) -> int:
    return 1 << number


def test_s08_debug() -> None:
    assert failing(report(policy=POLICY | bit(19))) == ["debug"]


def test_s09_migration() -> None:
    assert failing(report(policy=POLICY | bit(18))) == ["flags"]
    assert failing(report(report_id_ma=bytes(32))) == ["flags", "report_id_ma"]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("smt", 16),
        ("single_socket", 20),
        ("cxl_allow", 21),
        ("mem_aes_256_xts", 22),
        ("rapl_dis", 23),
        ("ciphertext_hiding_dram", 24),
        ("page_swap_disable", 25),
    ],
)
def test_s11_bits_of_the_guest_policy(name: str, number: int) -> None:
    without, with_it = POLICY & ~bit(number), POLICY | bit(number)
    for rule, good, bad in (("required", with_it, without), ("forbidden", without, with_it)):
        policy = lax(**{f"guest_policy__{rule}": f'["{name}"]'})
        assert failing(report(policy=good), policy) == []
        assert failing(report(policy=bad), policy) == ["guest_policy"]


@pytest.mark.parametrize("vmpl", [1, 2, 3])
def test_s12_vmpl(vmpl: int) -> None:
    assert failing(report(vmpl=vmpl)) == ["vmpl"]
    with malformed(Reason.SNP_VMPL):
        verified(report(vmpl=0xFFFFFFFF))


def test_s16_lists_of_chips() -> None:
    ours, theirs = (f'["{sha256(chip.hwid).hexdigest()}"]' for chip in (GENOA, BERGAMO))
    assert failing(sent(), lax(chip_ids=ours)) == failing(sent(), lax(denied_chip_ids=theirs)) == []
    assert failing(sent(), lax(chip_ids=theirs)) == ["chip_id"]
    assert failing(sent(), lax(denied_chip_ids=ours)) == ["denied_chip_id"]
    masked = SnpReport(chip_id=bytes(64))
    assert failing(sent(body=masked)) == ["flags"]
    # A VCEK names the chip that the report does not; with a VLEK it may be any.
    assert failing(sent(body=masked), lax(flags='"any"', denied_chip_ids=ours)) == ["denied_chip_id"]
    hidden = sent(CLOUD_ATTESTER, masked)
    assert failing(hidden, lax(flags='"any"', chip_ids=ours)) == ["chip_id"]
    assert failing(hidden, lax(flags='"any"', denied_chip_ids=theirs)) == ["denied_chip_id"]


def tcb(**parts: int) -> bytes:
    return tcb_version(GENOA.tcb._replace(**parts), ProductLine.GENOA)


@pytest.mark.parametrize("name", ["launch_tcb", "committed_tcb"])
def test_s21_versions_below_the_floor(name: str) -> None:
    lower = report(**{name: tcb(snp=22)})
    provisional = ["flags"] if name == "committed_tcb" else []
    assert sorted(failing(lower)) == sorted(["tcb_floor", *provisional])


def test_s21_current_version_below_the_floor() -> None:
    old = replace(GENOA, tcb=GENOA.tcb._replace(snp=22))
    assert failing(sent(SnpAttester.of(VENDOR, old))) == ["tcb_floor"]


def test_s22_components_are_compared_one_by_one() -> None:
    """Read as one number this TCB is greater than the floor; one component is not."""
    floors = factory.tcb(factory.floor(bootloader=10, snp=23))
    policy = factory.load(factory.SNP, floors)
    odd = TcbVersion(None, bootloader=9, tee=0, snp=99, microcode=200)
    raw = tcb_version(odd, ProductLine.GENOA)
    assert int.from_bytes(raw, "little") > int.from_bytes(tcb(), "little")
    assert failing(sent(), policy) == []
    assert failing(sent(SnpAttester.of(VENDOR, replace(GENOA, tcb=odd))), policy) == ["tcb_floor"]


@pytest.mark.parametrize("name", SNP_REGISTERS)
def test_s26_s27_what_an_image_pins(name: str) -> None:
    pinned: bytes = getattr(SNP, name)
    pins: dict[str, Any] = dict.fromkeys(SNP_REGISTERS, '"any"') | {name: pinned}
    policy = lax(images=f"[{factory.image(min_guest_svn=0, **pins)}]")
    assert failing(sent(), policy) == []
    for other in (flip(0)(pinned), put(0, b"\xff" * len(pinned))(pinned)):
        assert failing(report(**{name: other}), policy) == ["image"]
    if name == "measurement":
        assert failing(report(measurement=bytes(48)), policy) == ["image"]


def test_s26_keys_that_signed_the_guest() -> None:
    digest = sha256(b"").digest() + bytes(16)
    listed = f'["{digest.hex()}"]'
    assert failing(report(id_key_digest=digest), lax(id_key_digests=listed)) == []
    assert failing(sent(), lax(id_key_digests=listed)) == ["id_key_digest"]
    author = lax(author_key_digests=listed)
    enabled = {"author_key_digest": digest, "key_info": signing_key(0, author_key_en=True)}
    assert failing(report(**enabled), author) == []
    assert failing(report(**enabled | {"author_key_digest": flip(0)(digest)}), author) == ["author_key_digest"]
    # Where no author key is in use the field means nothing.
    assert failing(report(author_key_digest=digest), author) == ["author_key_digest"]


@pytest.mark.parametrize(
    ("name", "number"), [("smt", 0), ("tsme", 1), ("ecc", 2), ("alias_check_complete", 5), ("tio", 7)]
)
def test_s29_platform_info(name: str, number: int) -> None:
    without, with_it = SNP.platform_info & ~bit(number), SNP.platform_info | bit(number)
    for rule, good, bad in (("required", with_it, without), ("forbidden", without, with_it)):
        policy = lax(**{f"platform_info__{rule}": f'["{name}"]'})
        assert failing(report(platform_info=good), policy) == []
        assert failing(report(platform_info=bad), policy) == ["platform_info"]


def test_s29_platform_info_under_the_strict_policy() -> None:
    for number in (2, 5):
        assert failing(report(platform_info=SNP.platform_info & ~bit(number))) == ["platform_info"]
    assert failing(report(platform_info=SNP.platform_info | bit(6))) == []
    unknown = lax(platform_info__unknown='"none"')
    assert failing(report(platform_info=SNP.platform_info | bit(6)), unknown) == ["platform_info"]
    # The bit does not exist in version 2, whatever stands there.
    demanded = lax(platform_info__required='["alias_check_complete"]')
    assert failing(report(version=2), demanded) == ["platform_info"]


@pytest.mark.parametrize("name", ["launch_mit_vector", "current_mit_vector"])
def test_s30_mitigations(name: str) -> None:
    policy = lax(**{name: "[0, 3]"})
    assert failing(sent(), policy) == []
    assert failing(report(**{name: 0b0011}), policy) == [name]
    assert failing(report(version=4), policy) == [name]


def test_s34_product_lines() -> None:
    """Reports of Milan can be made by software alone, for any TCB: no floor helps."""
    milan = sent(SnpAttester.of(VENDORS[ProductLine.MILAN]), crl=VENDORS[ProductLine.MILAN].crl())
    assert failing(milan) == ["product_line"]
    widened = ('product_lines = ["Genoa", "Turin"]', 'product_lines = ["Milan", "Genoa", "Turin"]')
    assert failing(milan, strict(widened)) == []


def test_strict_policy_refuses_older_reports_and_keys_of_clouds() -> None:
    assert sorted(failing(report(version=2))) == ["platform_info", "report_version", "tcb_floor"]
    assert failing(sent(CLOUD_ATTESTER)) == ["signing_key"]
