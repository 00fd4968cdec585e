"""Trust anchors, paths and revocation lists: what OpenSSL leaves open is closed, and every edge is where it is said."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any, NamedTuple, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

import attestd.x509.certificate
import attestd.x509.crl
from attestd.codec import MAX_DER_DEPTH, dump_time, load_der_sequence, load_pem, load_time
from attestd.errors import AttestdError, EndorsementRejected, NotAuthentic, Reason
from attestd.simulator import (
    AT,
    Attester,
    CertificateForm,
    CrlForm,
    Extension,
    KeyPair,
    Revoked,
    Signing,
    Vendor,
    basic_constraints,
    flip,
    key_usage,
    p256_key,
    p384_key,
    put,
    subject_name,
)
from attestd.simulator.certificates import distinguished_name
from attestd.simulator.der import explicit, octets, sequence
from attestd.simulator.keys import P256_ORDER, spki
from attestd.simulator.vendor import Role
from attestd.validity import Validity
from attestd.x509 import (
    INTEL,
    INTEL_SGX_ROOT_CA,
    MAX_CERTIFICATE_SIZE,
    MAX_CRL_SIZE,
    Certificate,
    CrlReasons,
    PathReasons,
    RevocationList,
    TrustAnchors,
    authenticate_crl,
    aware,
    require_window,
    verify_path,
)
from tests.evidence import EVIDENCE, ROOT
from tests.refusals import malformed, misconfigured, not_authentic, rejected

VENDOR = Vendor.of()
ANCHORS = TrustAnchors.load([VENDOR.root.der])
ATTESTER = Attester.of(VENDOR)
LEAF, CA, ROOT_CA = (Certificate(der) for der in ATTESTER.pck_chain)
INTEL_ROOT = (ROOT / "certs/intel/sgx_root_ca.der").read_bytes()
SECOND = timedelta(seconds=1)

PATH = PathReasons(
    chain=Reason.TDX_PCK_CHAIN,
    untrusted_root=Reason.TDX_UNTRUSTED_ROOT,
    expired=Reason.TDX_PCK_EXPIRED,
    not_yet_valid=Reason.TDX_PCK_NOT_YET_VALID,
    kind=NotAuthentic,
)
CRL = CrlReasons(
    malformed=Reason.TDX_PCK_CRL_MALFORMED,
    issuer=Reason.TDX_PCK_CRL_ISSUER,
    signature=Reason.TDX_PCK_CRL_SIGNATURE,
    expired=Reason.TDX_PCK_CRL_EXPIRED,
    not_yet_valid=Reason.TDX_PCK_CRL_NOT_YET_VALID,
)

CertificateEdit = Callable[[CertificateForm], CertificateForm]


def leaf(edit: CertificateEdit, **signing: Any) -> Certificate:
    """Return the PCK certificate with one field filled in otherwise, signed as such."""
    return Certificate(Attester.of(VENDOR, edit=edit, signing=Signing(**signing)).pck.der)


def path(*chain: Certificate, anchors: TrustAnchors = ANCHORS, at: datetime = AT, ca: bool = False) -> Certificate:
    return verify_path(chain, anchors, at, PATH, INTEL, ca=ca)


# ---------------------------------------------------------------------------------------------------------------------
# Trust anchors


def test_intel_is_pinned_by_its_bytes() -> None:
    anchors = TrustAnchors.load_genuine([INTEL_ROOT])
    assert anchors.genuine
    assert anchors.roots[0].fingerprint == INTEL_SGX_ROOT_CA
    assert not ANCHORS.genuine
    assert not TrustAnchors.load([INTEL_ROOT, VENDOR.root.der]).genuine


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"root",
        VENDOR.root.der,
        INTEL_ROOT + b"\0",
        INTEL_ROOT[:-1],
        flip(len(INTEL_ROOT) - 1)(INTEL_ROOT),
    ],
)
def test_nothing_else_is_genuine(der: bytes) -> None:
    with misconfigured(Reason.ANCHOR_UNPINNED):
        TrustAnchors.load_genuine([INTEL_ROOT, der])


def test_no_anchor_is_a_mistake() -> None:
    with misconfigured(Reason.ANCHOR_MISSING):
        TrustAnchors.load([])
    # However it came about, nobody is trusted then.
    with not_authentic(Reason.TDX_UNTRUSTED_ROOT):
        path(LEAF, CA, ROOT_CA, anchors=TrustAnchors(()))


def root(edit: CertificateEdit, **signing: Any) -> bytes:
    return VENDOR.reissue("root", edit, signing=Signing(**signing)).root.der


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----",
        LEAF.der,
        CA.der,
        VENDOR.tcb_signing.der,
        ROOT_CA.der + b"\0",
        root(lambda form: form.having(basic_constraints(ca=False))),
        root(lambda form: form.without("2.5.29.19")),
        root(lambda form: form.having(key_usage("crl_sign"))),
        root(lambda form: form.having(Extension("1.2.3.4", b"\5\0", critical=True))),
        root(lambda form: form, key=p256_key("mallory", "root")),
        root(lambda form: form, after=put(-1, b"\xaa")),
        root(lambda form: replace(form, spki=spki(p384_key("mallory", "root")))),
        root(lambda form: replace(form, spki=spki(p256_key("mallory", "root")))),
    ],
    ids=[
        "empty",
        "PEM",
        "leaf",
        "intermediate CA",
        "signer",
        "trailing byte",
        "CA:FALSE",
        "no basic constraints",
        "no keyCertSign",
        "unknown critical extension",
        "signed by another key",
        "signature changed",
        "P-384",
        "another key than that which signed",
    ],
)
def test_anchors_are_self_signed_cas(der: bytes) -> None:
    with misconfigured(Reason.ANCHOR_UNPINNED):
        TrustAnchors.load([INTEL_ROOT, der])


ALGORITHM = bytes.fromhex("2a8648ce3d040302")  # ecdsa-with-SHA256


def negated(der: bytes) -> bytes:
    """Sign a certificate once more: (r, n - s) is another signature of the same statement by the same key."""
    r, s = ecdsa_numbers(der)
    return root(lambda form: form, signature=r.to_bytes(32) + (P256_ORDER - s).to_bytes(32))


def ecdsa_numbers(der: bytes) -> tuple[int, int]:
    return decode_dss_signature(x509.load_der_x509_certificate(der).signature)


def test_root_that_is_signed_again() -> None:
    again = Certificate(negated(VENDOR.root.der))
    assert again != ROOT_CA
    assert len({again, ROOT_CA, Certificate(VENDOR.root.der)}) == 2
    assert path(LEAF, CA, again) == ROOT_CA
    # Another statement of that name, signed by that very key, is not the root that was pinned.
    for other in (
        root(lambda form: replace(form, serial_number=5)),
        root(lambda form: replace(form, not_after=form.not_after + SECOND)),
        root(lambda form: form, signature=bytes(63) + b"\1"),
        root(lambda form: form, key=p256_key("mallory", "root")),
        root(lambda form: replace(form, signature_algorithm="1.2.840.10045.4.3.3")),
    ):
        with not_authentic(Reason.TDX_UNTRUSTED_ROOT):
            path(LEAF, CA, Certificate(other))


def test_every_byte_of_a_root_counts() -> None:
    for position in range(8 * len(VENDOR.root.der)):
        changed = flip(position // 8, position % 8)(VENDOR.root.der)
        with pytest.raises(AttestdError) as caught:
            path(LEAF, CA, Certificate(changed))
        assert caught.value.reason in (Reason.DER_MALFORMED, Reason.TDX_UNTRUSTED_ROOT, Reason.TDX_PCK_CHAIN)


def test_two_anchors() -> None:
    other = Vendor.of("other").reissue(
        "root", lambda form: replace(form, subject=subject_name("Other CA"), issuer=subject_name("Other CA"))
    )
    anchors = TrustAnchors.load([other.root.der, VENDOR.root.der])
    assert path(LEAF, CA, anchors=anchors) == ROOT_CA
    assert anchors.named(other.root.form.subject[2:]) == anchors.roots[0]
    assert anchors.named(CA.subject) is None


# ---------------------------------------------------------------------------------------------------------------------
# Certificates


def test_fields() -> None:
    form = ATTESTER.pck.form
    assert LEAF.serial_number == form.serial_number
    assert LEAF.validity == Validity(not_before=form.not_before, not_after=form.not_after)
    assert form.subject.endswith(LEAF.subject)
    assert form.issuer.endswith(LEAF.issuer)
    assert form.spki.endswith(LEAF.spki)
    assert LEAF.common_name == "attestd Simulated SGX PCK Certificate"
    assert LEAF.issuer_common_name == CA.common_name
    assert (LEAF.is_ca, CA.is_ca, ROOT_CA.is_ca) == (False, True, True)
    assert LEAF.extension_bytes("1.2.840.113741.1.13.1") is not None
    assert LEAF.extension_bytes("1.2.3.4") is None
    assert LEAF.extension_bytes("2.5.29.19") == basic_constraints(ca=False).value
    assert LEAF.der != LEAF


@pytest.mark.parametrize(
    ("subject", "common_name"),
    [
        (subject_name("one"), "one"),
        (distinguished_name(country_name="ZZ"), ""),
        (sequence(*[subject_name("one")[2:]] * 2), ""),
        (distinguished_name(common_name="Ünïcode"), "Ünïcode"),
        (sequence(), ""),
    ],
    ids=["one", "none", "two", "UTF-8", "no name at all"],
)
def test_common_name_is_the_only_one(subject: bytes, common_name: str) -> None:
    assert leaf(lambda form: replace(form, subject=subject)).common_name == common_name


def test_identifiers_of_keys() -> None:
    assert ROOT_CA.subject_key_identifier == VENDOR.root.serial_number.to_bytes(20)
    assert leaf(lambda form: form.without("2.5.29.14")).subject_key_identifier is None


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"\0",
        LEAF.der[:-1],
        LEAF.der + b"\0",
        LEAF.der + LEAF.der,
        b"\x30\x83\0" + LEAF.der[2:],
        b"\x30\x80" + LEAF.der[4:] + b"\0\0",
        sequence(),
        sequence(sequence(), sequence(), b""),
        LEAF.der + bytes(MAX_CERTIFICATE_SIZE),
    ],
)
def test_der(der: bytes) -> None:
    with malformed(Reason.DER_MALFORMED):
        Certificate(der)


@pytest.mark.parametrize(
    "edit",
    [
        lambda form: replace(form, serial_number=-1),
        lambda form: replace(form, serial_number=b"\0\0\5"),
        lambda form: replace(form, serial_number=2**160),
        lambda form: replace(form, version=1, extensions=()),
        lambda form: replace(form, version=2, extensions=()),
        lambda form: replace(form, version=4),
    ],
)
def test_certificates_are_of_version_3_with_a_serial_number_that_is_not_negative(edit: CertificateEdit) -> None:
    with malformed(Reason.DER_MALFORMED):
        leaf(edit)


def nested(depth: int) -> bytes:
    return sequence() if depth == 1 else sequence(nested(depth - 1))


@pytest.mark.parametrize(
    "subject",
    [
        b"\x30\x81\x0f" + distinguished_name(country_name="ZZ")[2:],
        sequence(b"\x31\x81\x0d" + distinguished_name(country_name="ZZ")[4:]),
        sequence(b"\x31\x0d\x30\x09" + distinguished_name(country_name="ZZ")[6:]),
        sequence(b"\x31\x80" + distinguished_name(country_name="ZZ")[4:] + b"\0\0"),
        distinguished_name(country_name="ZZ").replace(b"\x13\2ZZ", b"\x13\3ZZ"),
        sequence(b"\x2c\4\x0c\2ZZ"),
        sequence(b"\x1f\x81\1\0"),
        nested(MAX_DER_DEPTH),
    ],
    ids=["name", "set", "attribute", "indefinite", "cut", "string in pieces", "long tag", "deep"],
)
def test_der_all_the_way_down(subject: bytes) -> None:
    with malformed(Reason.DER_MALFORMED):
        leaf(lambda form: replace(form, subject=subject))


@pytest.mark.parametrize(
    "subject",
    [sequence(b"\x31\2\x30\0"), sequence(b"\x31\3\2\1\1"), sequence(b"\x31\7\x30\5\6\3\x55\4\3")],
    ids=["no attribute", "no SEQUENCE", "no value"],
)
def test_names_of_another_form(subject: bytes) -> None:
    with malformed(Reason.DER_MALFORMED):
        _ = leaf(lambda form: replace(form, subject=subject)).common_name


def test_common_name_is_not_looked_for_in_other_attributes() -> None:
    other = distinguished_name(
        organization_name="\x06\x03\x55\x04\x03\x0c\x04Fake", locality_name="\x06\x03\x55\x04\x03"
    )
    assert leaf(lambda form: replace(form, subject=other)).common_name == ""


def test_fields_of_another_form() -> None:
    """Unique identifiers, a second set of extensions, none at all."""

    def sealed(*fields: bytes, tail: bytes = b"") -> bytes:
        _, algorithm, signature = load_der_sequence(LEAF.der[4:], Reason.DER_MALFORMED)
        return sequence(sequence(*fields), algorithm.encoded, signature.encoded, tail)

    fields = [field.encoded for field in load_der_sequence(LEAF.signed[4:], Reason.DER_MALFORMED)]
    assert Certificate(sealed(*fields)) == LEAF
    assert Certificate(sealed(*fields[:-1])).extension_bytes("2.5.29.19") is None
    for other in (
        [*fields[:-1], b"\x81\2\0\1", fields[-1]],
        [*fields, fields[-1]],
        [*fields, b"\5\0"],
        fields[:-2],
        fields[1:],
        [fields[0], fields[2], fields[1], *fields[3:]],
        [*fields[:4], sequence(load_der_sequence(fields[4], Reason.DER_MALFORMED)[0].content[:15]), *fields[5:]],
    ):
        with malformed(Reason.DER_MALFORMED):
            Certificate(sealed(*other))
    with malformed(Reason.DER_MALFORMED):
        Certificate(sealed(*fields, tail=b"\5\0"))


def test_serial_number_of_zero() -> None:
    """Only AMD has it; Intel's follow RFC 5280."""
    zero = leaf(lambda form: replace(form, serial_number=0))
    assert zero.serial_number == 0
    with malformed(Reason.DER_MALFORMED):
        path(zero, CA, ROOT_CA)
    with misconfigured(Reason.ANCHOR_UNPINNED):
        TrustAnchors.load([root(lambda form: replace(form, serial_number=0))])


def test_size_of_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attestd.x509.certificate, "MAX_CERTIFICATE_SIZE", len(LEAF.der))
    assert Certificate(LEAF.der) == LEAF
    monkeypatch.setattr(attestd.x509.certificate, "MAX_CERTIFICATE_SIZE", len(LEAF.der) - 1)
    with malformed(Reason.DER_MALFORMED):
        Certificate(LEAF.der)


def test_longest_serial_number() -> None:
    assert leaf(lambda form: replace(form, serial_number=2**159 + 1)).serial_number == 2**159 + 1


def unusual(value: bytes) -> CertificateEdit:
    """Put the TLV `value` where the extensions are."""
    return lambda form: replace(form, extensions=(cast("Extension", Raw(value)),))


class Raw(NamedTuple):
    encoded: bytes

    def encode(self) -> bytes:
        return self.encoded


OID, FALSE, NUMBER = bytes.fromhex("0603551d13"), b"\1\1\0", b"\2\1\1"


@pytest.mark.parametrize(
    "edit",
    [
        lambda form: replace(form, extensions=(basic_constraints(ca=False),) * 2),
        lambda form: form.having(Extension("2.5.29.19", b"no DER")),
        lambda form: form.having(Extension("2.5.29.19", sequence() + b"\0")),
        lambda form: form.having(Extension("2.5.29.19", b"")),
        lambda form: form.having(Extension("2.5.29.37", b"no DER")),
        lambda form: form.having(Extension("2.5.29.19", sequence(b"\1\1\1"))),
        lambda form: form.having(Extension("2.5.29.19", sequence(FALSE))),
        lambda form: form.having(Extension("2.5.29.19", sequence(NUMBER))),
        lambda form: form.having(Extension("2.5.29.19", sequence(b"\1\1\xff", b"\2\1\xff"))),
        lambda form: form.having(Extension("2.5.29.19", sequence(b"\1\1\xff", b"\2\2\0\1"))),
        unusual(sequence(OID, FALSE, octets(sequence()))),
        unusual(sequence(OID, b"\1\1\1", octets(sequence()))),
        unusual(sequence(OID)),
        unusual(sequence(octets(sequence()), OID)),
        unusual(sequence(OID, octets(sequence()), octets(sequence()))),
        unusual(explicit(1, OID + octets(sequence()))),
        unusual(OID),
    ],
    ids=[
        "twice",
        "no DER",
        "something behind it",
        "nothing",
        "no DER where nobody looks",
        "BOOLEAN that is not DER",
        "BOOLEAN that is the default",
        "no CA, but a path length",
        "negative path length",
        "path length that is not minimal",
        "critical flag that is the default",
        "critical flag that is not DER",
        "no value",
        "another order",
        "two values",
        "no SEQUENCE",
        "an element alone",
    ],
)
def test_extensions_that_do_not_parse(edit: CertificateEdit) -> None:
    with malformed(Reason.DER_MALFORMED):
        path(leaf(edit), CA)


def test_extension_that_openssl_does_not_take() -> None:
    # An x400Address as the name of the issuer that issued the issuer.
    x400 = Extension("2.5.29.35", sequence(explicit(1, explicit(3, NUMBER))))
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(leaf(lambda form: form.having(x400)), CA)


@pytest.mark.parametrize(
    "key",
    [
        spki(p384_key("attestd", "p384")),
        sequence(sequence(bytes.fromhex("06032a0304")), bytes.fromhex("030200") + b"\0"),
        flip(80)(spki(p256_key("attestd", "off the curve"))),
        spki(KeyPair.ed25519().private),
    ],
    ids=["P-384", "unknown algorithm", "no point of the curve", "Ed25519"],
)
def test_key_of_another_kind(key: bytes) -> None:
    certificate = leaf(lambda form: replace(form, spki=key))
    with malformed(Reason.DER_MALFORMED):
        _ = certificate.p256_public_key


def test_what_openssl_does_not_parse_is_malformed() -> None:
    # Text in the name that is no UTF-8: the library behind `Certificate` does not look, OpenSSL does.
    broken = leaf(lambda form: replace(form, subject=form.subject.replace(b"Nowhere", b"Now\xffere")))
    with malformed(Reason.DER_MALFORMED):
        path(broken, CA)


# ---------------------------------------------------------------------------------------------------------------------
# Paths


def test_path_with_and_without_the_root() -> None:
    assert path(LEAF, CA, ROOT_CA) == path(LEAF, CA) == ROOT_CA
    assert path(CA, ROOT_CA, ca=True) == path(CA, ca=True) == ROOT_CA


def test_ca_as_leaf_and_leaf_as_ca() -> None:
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(CA, ROOT_CA)
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(LEAF, CA, ROOT_CA, ca=True)


def test_root_alone() -> None:
    for ca in (False, True):
        with not_authentic(Reason.TDX_PCK_CHAIN):
            path(ROOT_CA, ca=ca)


PROCESSOR_CA = Certificate(VENDOR.processor_ca.der)


@pytest.mark.parametrize(
    "chain",
    [(LEAF, CA, PROCESSOR_CA), (LEAF, PROCESSOR_CA, CA), (LEAF, LEAF, CA), (LEAF, CA, CA), (LEAF, PROCESSOR_CA)],
    ids=["one beside the path", "issuer second", "leaf twice", "issuer twice", "other issuer"],
)
def test_chain_must_be_the_path(chain: tuple[Certificate, ...]) -> None:
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(*chain)


def test_forged_signature() -> None:
    forged = leaf(lambda form: form, key=p256_key("mallory", "platform_ca"))
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(forged, CA, ROOT_CA)


def test_unknown_critical_extension() -> None:
    critical = Extension("1.2.3.4", b"\5\0", critical=True)
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(leaf(lambda form: form.having(critical)), CA)
    assert path(leaf(lambda form: form.having(replace(critical, critical=False))), CA) == ROOT_CA


@pytest.mark.parametrize(
    ("of_leaf", "of_ca"),
    [
        (lambda form: form.without("2.5.29.35"), None),
        (None, lambda form: form.without("2.5.29.14")),
        (None, lambda form: form.without("2.5.29.15")),
    ],
    ids=["leaf names no key of its issuer", "CA names no key", "CA has no key usage"],
)
def test_profile_of_rfc_5280(of_leaf: CertificateEdit | None, of_ca: CertificateEdit | None) -> None:
    vendor = VENDOR.reissue("platform_ca", of_ca) if of_ca else VENDOR
    attester = Attester.of(vendor, edit=of_leaf) if of_leaf else Attester.of(vendor)
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(*(Certificate(der) for der in attester.pck_chain))


def test_both_ends_of_a_certificate_are_included() -> None:
    start, end = AT - timedelta(days=1), AT + timedelta(days=1)
    dated = leaf(lambda form: replace(form, not_before=start, not_after=end))
    assert path(dated, CA, at=start) == path(dated, CA, at=end) == ROOT_CA
    with not_authentic(Reason.TDX_PCK_NOT_YET_VALID):
        path(dated, CA, at=start - SECOND)
    with not_authentic(Reason.TDX_PCK_EXPIRED):
        path(dated, CA, at=end + SECOND)


@pytest.mark.parametrize("role", ["platform_ca", "root"])
def test_every_certificate_must_be_of_its_time(role: Role) -> None:
    vendor = VENDOR.reissue(role, lambda form: replace(form, not_after=AT))
    anchors = TrustAnchors.load([vendor.root.der])
    chain = [Certificate(der) for der in Attester.of(vendor).pck_chain]
    assert path(*chain, anchors=anchors) == chain[-1]
    for given in (chain, chain[:2]):
        with not_authentic(Reason.TDX_PCK_EXPIRED):
            path(*given, anchors=anchors, at=AT + SECOND)


def test_times_have_zones() -> None:
    with pytest.raises(TypeError):
        path(LEAF, CA, ROOT_CA, at=datetime(2026, 6, 1))  # noqa: DTZ001
    with pytest.raises(TypeError):
        aware(datetime(2026, 6, 1))  # noqa: DTZ001
    eastern = AT.astimezone(timezone(timedelta(hours=-11)))
    assert (aware(eastern), aware(eastern).tzinfo) == (AT, UTC)
    # An end in UTC is that moment everywhere.
    dated = leaf(lambda form: replace(form, not_after=AT))
    assert path(dated, CA, at=eastern) == ROOT_CA
    with not_authentic(Reason.TDX_PCK_EXPIRED):
        path(dated, CA, at=eastern + SECOND)


# ---------------------------------------------------------------------------------------------------------------------
# Revocation lists


def crl(raw: bytes, at: datetime = AT, issuer: Certificate = CA) -> RevocationList:
    return authenticate_crl(raw, issuer, at, CRL, INTEL)


LISTING = VENDOR.pck_crl([5, 2**159 + 7])


def pem_crl(der: bytes) -> bytes:
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    "encode",
    [
        lambda der: der,
        lambda der: der.hex().encode(),
        lambda der: der.hex().upper().encode(),
        lambda der: der.hex().encode() + b"\n",
        pem_crl,
    ],
    ids=["DER", "hex", "hex in upper case", "hex with a line end", "PEM"],
)
def test_encodings_of_crls(encode: Callable[[bytes], bytes]) -> None:
    authentic = crl(encode(LISTING))
    assert authentic.revoked == {5, 2**159 + 7}
    assert authentic.digest == sha256(encode(LISTING)).digest()
    assert replace(authentic, digest=crl(LISTING).digest) == crl(LISTING)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x30",
        LISTING[:-1],
        LISTING + b"\0",
        LISTING + LISTING,
        b"\x30\x83\0" + LISTING[2:],
        LISTING.hex().encode()[:-1],
        b"0x" + LISTING.hex().encode(),
        LISTING.hex().encode() + b"zz",
        "Ü".encode(),
        b"\xff\xfe",
        pem_crl(LISTING)[:200],
        pem_crl(LISTING).replace(b"X509 CRL", b"CERTIFICATE"),
        LEAF.der,
        sequence(),
        b"\x30" + bytes(MAX_CRL_SIZE),
    ],
)
def test_no_crl(raw: bytes) -> None:
    with rejected(Reason.TDX_PCK_CRL_MALFORMED):
        crl(raw)


def test_size_of_a_crl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attestd.x509.crl, "MAX_CRL_SIZE", len(LISTING))
    assert crl(LISTING).number == 1
    monkeypatch.setattr(attestd.x509.crl, "MAX_CRL_SIZE", len(LISTING) - 1)
    with rejected(Reason.TDX_PCK_CRL_MALFORMED):
        crl(LISTING)


def test_name_and_key_of_the_issuer_must_both_be_right() -> None:
    def issued_by(other: str) -> bytes:
        return VENDOR.pck_crl(edit=lambda form: replace(form, issuer=subject_name(other)))

    # Signed by the right key, which the key identifier names, under the name of another CA.
    with rejected(Reason.TDX_PCK_CRL_ISSUER):
        crl(issued_by("attestd Simulated SGX PCK Processor CA"))
    assert crl(issued_by("attestd Simulated SGX PCK Platform CA")).speaks_for(CA)


def test_issuer_of_a_crl() -> None:
    for issuer in (ROOT_CA, PROCESSOR_CA, LEAF, Certificate(Vendor.of("mallory").platform_ca.der)):
        with rejected(Reason.TDX_PCK_CRL_ISSUER):
            crl(LISTING, issuer=issuer)
    listing = crl(LISTING)
    assert listing.speaks_for(CA)
    assert not listing.speaks_for(PROCESSOR_CA)
    # Neither the name nor the key alone.
    renamed = VENDOR.reissue("platform_ca", lambda form: replace(form, subject=subject_name("Other CA")))
    rekeyed = VENDOR.reissue("platform_ca", key=p256_key("attestd", "platform CA, renewed"))
    renewed = VENDOR.reissue("platform_ca", lambda form: replace(form, serial_number=5))
    assert not listing.speaks_for(Certificate(renamed.platform_ca.der))
    assert not listing.speaks_for(Certificate(rekeyed.platform_ca.der))
    assert listing.speaks_for(Certificate(renewed.platform_ca.der))


def test_signature_of_a_crl() -> None:
    for signing in (
        Signing(key=p256_key("mallory", "platform_ca")),
        Signing(signature=bytes(63) + b"\1"),
        Signing(after=put(-1, bytes((LISTING[-1] ^ 1,)))),
    ):
        with rejected(Reason.TDX_PCK_CRL_SIGNATURE):
            crl(VENDOR.pck_crl([5, 2**159 + 7], signing=signing))


def test_every_bit_of_a_crl_counts() -> None:
    for position in range(8 * len(LISTING)):
        with pytest.raises(EndorsementRejected):
            crl(flip(position // 8, position % 8)(LISTING))


def test_algorithm_of_a_crl() -> None:
    sha384 = VENDOR.pck_crl(edit=lambda form: replace(form, signature_algorithm="1.2.840.10045.4.3.3"))
    with rejected(Reason.TDX_PCK_CRL_MALFORMED):
        crl(sha384)
    # Named differently inside and outside of what is signed.
    with rejected(Reason.TDX_PCK_CRL_MALFORMED):
        crl(put(LISTING.rindex(ALGORITHM) + 7, b"\3")(LISTING))


def extended(*extensions: Extension) -> Callable[[CrlForm], CrlForm]:
    return lambda form: replace(form, extensions=(*form.extensions, *extensions))


@pytest.mark.parametrize(
    "edit",
    [
        extended(Extension("1.2.3.4", b"\5\0", critical=True)),
        extended(Extension("1.2.3.4", b"\5\0")),
        extended(Extension("2.5.29.28", bytes.fromhex("30038401ff"), critical=True)),
        extended(Extension("2.5.29.27", b"\2\1\1", critical=True)),
        extended(Extension("2.5.29.28", b"no DER", critical=True)),
        lambda form: form.without("2.5.29.20"),
        lambda form: form.without("2.5.29.35"),
        lambda form: replace(form, extensions=()),
        lambda form: replace(form, extensions=(*form.extensions, form.extensions[0])),
        lambda form: replace(form, next_update=None),
    ],
    ids=[
        "unknown critical",
        "unknown",
        "indirect",
        "delta",
        "broken",
        "no number",
        "no key identifier",
        "none",
        "twice",
        "no nextUpdate",
    ],
)
def test_crl_of_another_kind(edit: Callable[[CrlForm], CrlForm]) -> None:
    with rejected(Reason.TDX_PCK_CRL_MALFORMED):
        crl(VENDOR.pck_crl(edit=edit))


@pytest.mark.parametrize(
    "extensions",
    [
        (Extension("2.5.29.29", sequence(explicit(4, subject_name("Another CA"))), critical=True),),
        (Extension("1.2.3.4", b"\5\0", critical=True),),
        (Extension("1.2.3.4", b"\5\0", critical=True),) * 2,
        (Extension("2.5.29.29", b"no DER", critical=True),),
    ],
    ids=["certificate issuer", "unknown", "twice", "broken"],
)
def test_critical_extensions_of_entries(extensions: tuple[Extension, ...]) -> None:
    with rejected(Reason.TDX_PCK_CRL_MALFORMED):
        crl(VENDOR.pck_crl([5, Revoked(6, extensions=extensions)]))


def test_bytes_of_a_critical_flag_elsewhere() -> None:
    # The serial number looks like one; no extension is critical.
    serial = int.from_bytes(b"\1\1\xff")
    assert crl(VENDOR.pck_crl([serial])).revoked == {serial}


def test_window_of_a_crl() -> None:
    dated = VENDOR.pck_crl(edit=lambda form: replace(form, this_update=AT, next_update=AT + SECOND))
    assert crl(dated, AT).validity == Validity(not_before=AT, not_after=AT + SECOND)
    assert crl(dated, AT + SECOND) == crl(dated, AT)
    with rejected(Reason.TDX_PCK_CRL_NOT_YET_VALID):
        crl(dated, AT - SECOND)
    with rejected(Reason.TDX_PCK_CRL_EXPIRED):
        crl(dated, AT + 2 * SECOND)
    with pytest.raises(TypeError):
        crl(dated, datetime(2026, 6, 1))  # noqa: DTZ001


def test_window() -> None:
    window = Validity(not_before=AT, not_after=AT + SECOND)
    assert require_window(window, AT, CRL.expired, CRL.not_yet_valid) is window
    assert window.narrowed(Validity(not_before=AT - SECOND, not_after=AT)) == Validity(not_before=AT, not_after=AT)


def test_root_in_its_own_list() -> None:
    own = authenticate_crl(VENDOR.root_ca_crl([VENDOR.root.serial_number]), ROOT_CA, AT, CRL, INTEL)
    assert ROOT_CA.serial_number in own.revoked


@pytest.mark.parametrize("issuer", ["platform", "processor", "root"])
def test_intel_s_lists(issuer: str) -> None:
    folder = EVIDENCE / "tdx/roots"
    if not folder.is_dir():
        pytest.skip(f"no evidence at {EVIDENCE}: CRLs of the {issuer} CA not seen")
    name = "intel_sgx_root_ca.der" if issuer == "root" else f"intel_pck_{issuer}_ca.pem"
    raw = (folder / name).read_bytes()
    certificate = Certificate(load_pem(raw)[0] if name.endswith("pem") else raw)
    listings = sorted((folder / "crl").glob(f"{issuer}_*.der"))
    assert listings
    for listing in listings:
        expected = next(
            row
            for row in json.loads((folder / "index.json").read_bytes())["crls"]
            if row["file"].endswith(listing.name)
        )
        at = load_time(expected["this_update"])
        authentic = crl(listing.read_bytes(), at, certificate)
        assert len(authentic.revoked) == expected["revoked_entries"]
        assert dump_time(authentic.validity.not_after) == expected["next_update"]
