"""Certificates, CRLs and documents: genuine ones verify, and each override reaches the bytes."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from attestd.claims import PckCa
from attestd.simulator import (
    AT,
    OLDER_SVNS,
    SGX_EXTENSION,
    Attester,
    Authority,
    CertificateForm,
    Extension,
    Platform,
    Revoked,
    Signing,
    Vendor,
    append,
    basic_constraints,
    key_usage,
    p256_key,
    p384_key,
    pem,
    subject_name,
    swap,
)
from attestd.simulator.collateral import DocumentEdit
from tests.simulator.evidence import certificates

VENDOR = Vendor.of()
MALLORY = Vendor.of("mallory")
BASIC_CONSTRAINTS = "2.5.29.19"


def parsed(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


def certified(authority: Authority, issuer: Authority) -> bool:
    try:
        parsed(authority.der).verify_directly_issued_by(parsed(issuer.der))
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("ca", list(PckCa))
def test_chains_verify(ca: PckCa) -> None:
    leaf = VENDOR.issue_pck(Platform(ca=ca))
    assert certified(leaf, VENDOR.pck_ca(ca))
    assert certified(VENDOR.pck_ca(ca), VENDOR.root)
    assert certified(VENDOR.tcb_signing, VENDOR.root)
    assert certified(VENDOR.root, VENDOR.root)
    assert certificates(VENDOR.pck_ca_chain(ca)) == [parsed(VENDOR.pck_ca(ca).der), parsed(VENDOR.root.der)]


def test_names_tell_the_role_and_that_it_is_simulated() -> None:
    names = {
        role: parsed(getattr(VENDOR, role).der).subject.rfc4514_string()
        for role in ("root", "processor_ca", "platform_ca", "tcb_signing")
    }
    assert "SGX Root CA" in names["root"]
    assert "SGX PCK Processor CA" in names["processor_ca"]
    assert "SGX PCK Platform CA" in names["platform_ca"]
    assert "SGX TCB Signing" in names["tcb_signing"]
    assert "SGX PCK Certificate" in parsed(VENDOR.issue_pck(Platform()).der).subject.rfc4514_string()
    assert all("Simulated" in name and "Intel" not in name for name in names.values())


def test_the_seed_alone_makes_the_certificates() -> None:
    later = Vendor.of(at=datetime(2031, 1, 1, tzinfo=UTC))
    assert later.root.der == VENDOR.root.der
    assert Attester.of(later).pck.der == Attester.of(VENDOR).pck.der
    assert MALLORY.root.der != VENDOR.root.der
    assert MALLORY.root.form.subject == VENDOR.root.form.subject


def test_platforms_have_keys_of_their_own() -> None:
    one, other = Attester.of(VENDOR), Attester.of(VENDOR, Platform(ppid=bytes(16)))
    assert one.pck.serial_number != other.pck.serial_number
    assert one.qe_report_data() != other.qe_report_data()


def test_every_field_of_a_platform_reaches_the_extension() -> None:
    def value(platform: Platform) -> bytes:
        extension = parsed(VENDOR.issue_pck(platform).der).extensions.get_extension_for_oid(
            x509.ObjectIdentifier(SGX_EXTENSION)
        )
        return extension.value.public_bytes()

    changes: dict[str, Any] = {
        "ca": PckCa.PROCESSOR,
        "ppid": bytes(16),
        "tcb_components": OLDER_SVNS,
        "pce_svn": 12,
        "cpu_svn": bytes(16),
        "pce_id": b"\x01\x00",
        "fmspc": bytes(6),
        "sgx_type": 2,
        "platform_instance_id": bytes(16),
        "dynamic_platform": False,
        "cached_keys": False,
        "smt_enabled": False,
        "edit": lambda items: [*items, items[0]],
        "sgx_extension": b"\x30\x00",
    }
    assert changes.keys() == asdict(Platform()).keys()
    made = {name: value(replace(Platform(), **{name: change})) for name, change in changes.items()}
    assert len({*made.values(), value(Platform())}) == len(changes) + 1
    assert made["sgx_extension"] == b"\x30\x00"
    assert len(made["edit"]) == len(value(Platform())) + 32


def test_numbers_that_no_platform_has() -> None:
    negative = Platform(tcb_components=(-1, 256) + (0,) * 15, pce_svn=65536).extension().value
    assert b"\x02\x01\xff" in negative
    assert b"\x02\x02\x01\x00" in negative
    assert b"\x02\x03\x01\x00\x00" in negative


FORMS: list[tuple[Callable[[CertificateForm], CertificateForm], Callable[[x509.Certificate], object], object]] = [
    (lambda f: replace(f, serial_number=-5), lambda c: c.serial_number, -5),
    (lambda f: replace(f, serial_number=b"\0\0\5"), lambda c: c.serial_number, None),
    (lambda f: replace(f, subject=subject_name("Other")), lambda c: c.subject.public_bytes(), subject_name("Other")),
    (lambda f: replace(f, issuer=subject_name("Other")), lambda c: c.issuer.public_bytes(), subject_name("Other")),
    (lambda f: replace(f, not_after=AT), lambda c: c.not_valid_after_utc, AT),
    (lambda f: replace(f, not_before=AT), lambda c: c.not_valid_before_utc, AT),
    (
        lambda f: replace(f, not_after=datetime(2050, 1, 1, tzinfo=UTC)),
        lambda c: c.not_valid_after_utc,
        datetime(2050, 1, 1, tzinfo=UTC),
    ),
    (lambda f: f.without(BASIC_CONSTRAINTS), lambda c: len(c.extensions), 4),
    (
        lambda f: f.having(basic_constraints(ca=True, path_length=7)),
        lambda c: c.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length,
        7,
    ),
    (
        lambda f: f.having(key_usage("digital_signature")),
        lambda c: c.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign,
        False,
    ),
    (lambda f: f.having(Extension("1.2.3.4", b"\5\0", critical=True)), lambda c: len(c.extensions), 6),
    (lambda f: replace(f, version=1, extensions=()), lambda c: c.version, x509.Version.v1),
]


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize(("edit", "look", "wanted"), FORMS)
def test_reissued_certificates(
    edit: Callable[[CertificateForm], CertificateForm], look: Callable[[x509.Certificate], object], wanted: object
) -> None:
    made = VENDOR.reissue("platform_ca", edit).platform_ca
    if wanted is None:  # no parser takes it: the encoding of a number is not the shortest
        assert b"\x02\x03\0\0\5" in made.der
        assert made.serial_number == 5
        return
    assert look(parsed(made.der)) == wanted
    signature, tbs = parsed(made.der).signature, parsed(made.der).tbs_certificate_bytes
    VENDOR.root.key.public_key().verify(signature, tbs, ECDSA(SHA256()))


def test_doubled_extensions() -> None:
    doubled = VENDOR.reissue("platform_ca", lambda f: replace(f, extensions=f.extensions * 2)).platform_ca
    with pytest.raises(x509.DuplicateExtension):
        _ = parsed(doubled.der).extensions


@pytest.mark.parametrize("role", ["root", "processor_ca", "platform_ca", "tcb_signing"])
def test_reissue_changes_one_role(role: Any) -> None:
    other = VENDOR.reissue(role, key=p256_key("other", role))
    assert [name for name in asdict(VENDOR) if getattr(VENDOR, name) != getattr(other, name)] == [role]
    made: Authority = getattr(other, role)
    assert certified(made, made if role == "root" else VENDOR.root)
    identifier = parsed(made.der).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert made.serial_number == int.from_bytes(identifier)


def test_an_issuer_of_another_curve() -> None:
    vendor = VENDOR.reissue("platform_ca", key=p384_key("other", "ca"))
    assert certified(vendor.issue_pck(Platform()), vendor.platform_ca)
    assert x509.load_der_x509_crl(vendor.pck_crl()).signature_hash_algorithm is not None


def test_pck_certificates_may_be_forged() -> None:
    attester = Attester.of(VENDOR, signing=Signing(key=MALLORY.platform_ca.key))
    assert not certified(attester.pck, VENDOR.platform_ca)
    assert certified(Attester.of(VENDOR, edit=lambda form: form.without(SGX_EXTENSION)).pck, VENDOR.platform_ca)
    assert Attester.of(VENDOR, signing=Signing(after=append(b"\0"))).pck.der == Attester.of(VENDOR).pck.der + b"\0"
    broken = Signing(signature=b"\1" * 64)
    assert not certified(Attester.of(VENDOR, signing=broken).pck, VENDOR.platform_ca)


def test_pem_takes_what_is_no_certificate() -> None:
    assert pem(b"\0" * 49).splitlines()[1:3] == [b"A" * 64, b"AA=="]


def crl(raw: bytes) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(raw)


def test_crls_verify() -> None:
    pairs = [
        (VENDOR.root_ca_crl(), VENDOR.root),
        (VENDOR.pck_crl(), VENDOR.platform_ca),
        (VENDOR.pck_crl(ca=PckCa.PROCESSOR), VENDOR.processor_ca),
    ]
    for raw, issuer in pairs:
        assert crl(raw).is_signature_valid(issuer.key.public_key())
        assert crl(raw).issuer.public_bytes() == issuer.form.subject
        assert (crl(raw).last_update_utc, crl(raw).next_update_utc) == (VENDOR.issued, VENDOR.next_update)
        assert len(crl(raw)) == 0


def test_revoked() -> None:
    odd = Revoked(b"\0\0\7", at=AT, reason=None)
    extended = Revoked(-9, reason=8, extensions=(Extension("2.5.29.29", b"\x30\0", critical=True),))
    raw = VENDOR.pck_crl([5, odd, extended])
    assert b"\x02\x03\0\0\7" in raw
    assert b"\x02\x01\xf7" in raw
    assert [(e.serial_number, len(e.extensions)) for e in crl(VENDOR.pck_crl([5, Revoked(6, reason=None)]))] == [
        (5, 1),
        (6, 0),
    ]


def test_forms_of_crls() -> None:
    assert crl(VENDOR.pck_crl(edit=lambda form: replace(form, next_update=None))).next_update_utc is None
    assert crl(VENDOR.root_ca_crl(edit=lambda form: replace(form, this_update=AT))).last_update_utc == AT
    numbered = crl(VENDOR.pck_crl(edit=lambda form: form.numbered(7)))
    assert numbered.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    without = crl(VENDOR.pck_crl(edit=lambda form: form.without("2.5.29.20")))
    assert [e.oid.dotted_string for e in without.extensions] == ["2.5.29.35"]
    other = crl(VENDOR.pck_crl(edit=lambda form: replace(form, issuer=VENDOR.root.form.subject)))
    assert other.issuer.public_bytes() == VENDOR.root.form.subject
    forged = crl(VENDOR.pck_crl(signing=Signing(key=MALLORY.platform_ca.key)))
    assert not forged.is_signature_valid(VENDOR.platform_ca.key.public_key())


def signed_part(document: bytes) -> tuple[bytes, bytes]:
    """The bytes of the inner object, from its { to its }, and the signature."""
    start, stop = document.index(b":") + 1, document.rindex(b',"signature":"')
    return document[start:stop], bytes.fromhex(document[stop + 14 : -2].decode())


def verify_document(document: bytes, key: EllipticCurvePublicKey) -> None:
    inner, signature = signed_part(document)
    der = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    key.verify(der, inner, ECDSA(SHA256()))


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_documents_verify(tee: Any) -> None:
    key = VENDOR.tcb_signing.key.public_key()
    for document in (VENDOR.tcb_info(tee=tee), VENDOR.qe_identity(tee=tee)):
        verify_document(document, key)
        inner = json.loads(signed_part(document)[0])
        assert (inner["issueDate"], inner["nextUpdate"]) == ("2026-05-25T00:00:00Z", "2026-06-24T00:00:00Z")


EDITS: list[DocumentEdit] = [
    lambda d: d.update(tcbEvaluationDataNumber=17),
    lambda d: d["tcbLevels"][0].update(tcbStatus="Fine"),
    lambda d: d.pop("version"),
    lambda d: d.update(nextUpdate="2026-06-01T12:00:00Z"),
    lambda d: d["tcbLevels"].reverse(),
    lambda d: d.update(unknown=[{"member": None}]),
]


@pytest.mark.parametrize("edit", EDITS)
def test_edited_documents_are_signed_again(edit: DocumentEdit) -> None:
    for make in (VENDOR.tcb_info, VENDOR.qe_identity):
        document = make(edit)
        verify_document(document, VENDOR.tcb_signing.key.public_key())
        inner = json.loads(signed_part(make())[0])
        edit(inner)
        assert json.loads(signed_part(document)[0]) == inner
        assert document != make()


def test_raw_edits_of_documents() -> None:
    twice = swap(b'"version":3', b'"version":3,"version":3')
    verify_document(VENDOR.tcb_info(signing=Signing(before=twice)), VENDOR.tcb_signing.key.public_key())
    altered = VENDOR.tcb_info(signing=Signing(after=swap(b"UpToDate", b"OutOfDat")))
    with pytest.raises(InvalidSignature):
        verify_document(altered, VENDOR.tcb_signing.key.public_key())
    assert signed_part(VENDOR.qe_identity(signing=Signing(signature=bytes(64))))[1] == bytes(64)
    forged = VENDOR.qe_identity(signing=Signing(key=MALLORY.tcb_signing.key))
    verify_document(forged, MALLORY.tcb_signing.key.public_key())


def test_levels_stand_best_first() -> None:
    for tee in ("sgx", "tdx"):
        levels = json.loads(VENDOR.tcb_info(tee="tdx" if tee == "tdx" else "sgx"))["tcbInfo"]["tcbLevels"]
        for better, worse in pairwise(levels):
            assert [c["svn"] for c in better["tcb"]["sgxtcbcomponents"]] >= [
                c["svn"] for c in worse["tcb"]["sgxtcbcomponents"]
            ]
        assert [level["tcbStatus"] for level in levels] == ["UpToDate", "OutOfDate", "Revoked"]


def test_collateral_takes_what_it_is_given() -> None:
    given = VENDOR.collateral(tcb_info=b"1", qe_identity=b"2", root_ca_crl=b"3", pck_crl=b"4")
    assert (given.tcb_info, given.qe_identity, given.root_ca_crl, given.pck_crl) == (b"1", b"2", b"3", b"4")
    empty = VENDOR.collateral(root_ca_crl=b"")
    assert empty == replace(VENDOR.collateral(), root_ca_crl=b"")
    processor = VENDOR.collateral("sgx", PckCa.PROCESSOR)
    assert processor.pck_crl == VENDOR.pck_crl(ca=PckCa.PROCESSOR)
    assert processor.pck_crl_issuer_chain == VENDOR.pck_ca_chain(PckCa.PROCESSOR)


def test_a_signer_with_the_right_name_below_the_wrong_ca() -> None:
    look_alike = VENDOR.issue_pck(Platform(), lambda form: replace(form, subject=VENDOR.tcb_signing.form.subject))
    collateral = replace(VENDOR, tcb_signing=look_alike).collateral()
    verify_document(collateral.tcb_info, look_alike.key.public_key())
    assert certificates(collateral.tcb_info_issuer_chain)[0].issuer.public_bytes() == VENDOR.platform_ca.form.subject


def test_times_follow_the_vendor() -> None:
    later = Vendor.of(at=datetime(2027, 3, 1, 23, 59, tzinfo=UTC))
    assert (later.issued, later.next_update) == (datetime(2027, 2, 22, tzinfo=UTC), datetime(2027, 3, 24, tzinfo=UTC))
    assert b'"issueDate":"2027-02-22T00:00:00Z"' in later.tcb_info()
