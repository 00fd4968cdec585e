"""AMD's certificates on the same paths: RSA-PSS, serial numbers of zero, leaves without the extensions of RFC 5280."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from attestd.codec import load_pem
from attestd.errors import NotAuthentic, Reason
from attestd.signature import p384_public_key
from attestd.simulator import (
    AT,
    Attester,
    CertificateForm,
    CrlForm,
    Extension,
    Revoked,
    Vendor,
    basic_constraints,
    flip,
    key_usage,
    p256_key,
    p384_key,
    rsa_key,
    rsassa_pss,
)
from attestd.simulator.certificates import (
    authority_key_identifier,
    crl_number,
    distinguished_name,
    key_identifier,
)
from attestd.simulator.der import bits, octets, sequence
from attestd.simulator.keys import point, sign, spki
from attestd.x509 import (
    AMD,
    AMD_ARK_GENOA,
    INTEL,
    Certificate,
    CrlReasons,
    PathReasons,
    Profile,
    RevocationList,
    TrustAnchors,
    authenticate_crl,
    verify_path,
)
from tests.evidence import EVIDENCE, ROOT
from tests.refusals import malformed, misconfigured, not_authentic, rejected

PATH: Final = PathReasons(
    chain=Reason.TDX_PCK_CHAIN,
    untrusted_root=Reason.TDX_UNTRUSTED_ROOT,
    expired=Reason.TDX_PCK_EXPIRED,
    not_yet_valid=Reason.TDX_PCK_NOT_YET_VALID,
    kind=NotAuthentic,
)
CRL: Final = CrlReasons(
    malformed=Reason.TDX_PCK_CRL_MALFORMED,
    issuer=Reason.TDX_PCK_CRL_ISSUER,
    signature=Reason.TDX_PCK_CRL_SIGNATURE,
    expired=Reason.TDX_PCK_CRL_EXPIRED,
    not_yet_valid=Reason.TDX_PCK_CRL_NOT_YET_VALID,
)
SECOND: Final = timedelta(seconds=1)
YEAR: Final = timedelta(days=365)

_OID_PSS: Final = "06092a864886f70d01010a"
_HASH_SHA384, _HASH_SHA256 = "300d06096086480165030402020500", "300d06096086480165030402010500"


def pss(digest: str = _HASH_SHA384, mgf: str = _HASH_SHA384, salt: int = 48, trailer: str = "") -> bytes:
    """Write RSASSA-PSS in whatever form; what genuine certificates have comes from the simulator."""
    parameters = sequence(
        bytes.fromhex(f"a00f{digest}a11c301a06092a864886f70d010108{mgf}a2030201{salt:02x}{trailer}"),
    )
    return sequence(bytes.fromhex(_OID_PSS), parameters)


SHORT, EXPLICIT = rsassa_pss(), rsassa_pss(trailer=True)
PKCS1: Final = bytes.fromhex("300d06092a864886f70d01010c0500")
ECDSA_SHA384: Final = bytes.fromhex("300a06082a8648ce3d040303")

Key = RSAPrivateKey | EllipticCurvePrivateKey
Padding = PSS | PKCS1v15
PSS_48: Final = PSS(MGF1(SHA384()), 48)


ARK_KEY, ASK_KEY, BETWEEN_KEY = (rsa_key("attestd", f"{role} Genoa") for role in ("ark", "ask", "asvk"))
MALLORY_KEY: Final = rsa_key("mallory", "ark Genoa")


@cache
def other_rsa_key(size: int, exponent: int = 65537) -> RSAPrivateKey:
    return generate_private_key(exponent, size)


def sealed(
    form: CertificateForm | CrlForm,
    key: Key,
    algorithm: bytes = SHORT,
    padding: Padding = PSS_48,
    digest: SHA256 | SHA384 = SHA384(),  # noqa: B008 - has no state
    outside: bytes | None = None,
) -> bytes:
    """Sign a form with OpenSSL's RSA, which is not the simulator's, and in ways that are not AMD's, too."""
    signed = replace(form, signature_algorithm=algorithm).encode()
    raw = key.sign(signed, padding, digest) if isinstance(key, RSAPrivateKey) else sign(key, signed)
    return sequence(signed, outside or algorithm, bits(raw))


def name(common_name: str) -> bytes:
    return distinguished_name(country_name="US", organization_name="Simulated Micro Devices", common_name=common_name)


ARK: Final = CertificateForm(
    subject=name("ARK-Genoa"),
    issuer=name("ARK-Genoa"),
    serial_number=0x20000,
    not_before=AT - 3 * YEAR,
    not_after=AT + 20 * YEAR,
    spki=spki(ARK_KEY),
    extensions=(key_usage("key_cert_sign", "crl_sign"), basic_constraints(ca=True)),
)
ASK: Final = replace(
    ARK,
    subject=name("SEV-Genoa"),
    serial_number=0x20002,
    spki=spki(ASK_KEY),
    extensions=(basic_constraints(ca=True, path_length=0), key_usage("key_cert_sign")),
)
VEK_KEY: Final = p384_key("tests", "vcek")
HWID: Final = Extension("1.3.6.1.4.1.3704.1.4", bytes(range(64)))
VEK: Final = replace(
    ASK,
    subject=name("SEV-VCEK"),
    issuer=ASK.subject,
    serial_number=0,
    not_before=AT - YEAR,
    not_after=AT + YEAR,
    spki=spki(VEK_KEY),
    extensions=(HWID,),
)


def ark(edit: Callable[[CertificateForm], CertificateForm] = lambda form: form, **sealing: Any) -> Certificate:
    return Certificate(sealed(edit(ARK), **{"key": ARK_KEY} | sealing))


def ask(edit: Callable[[CertificateForm], CertificateForm] = lambda form: form, **sealing: Any) -> Certificate:
    return Certificate(sealed(edit(ASK), **{"key": ARK_KEY} | sealing))


def vek(edit: Callable[[CertificateForm], CertificateForm] = lambda form: form, **sealing: Any) -> Certificate:
    return Certificate(sealed(edit(VEK), **{"key": ASK_KEY} | sealing))


ROOT_CA, CA, LEAF = ark(), ask(), vek()
ANCHORS: Final = TrustAnchors.load([ROOT_CA.der])


def path(
    *chain: Certificate,
    anchors: TrustAnchors = ANCHORS,
    at: datetime = AT,
    profile: Profile = AMD,
    ca: bool = False,
) -> Certificate:
    return verify_path(chain, anchors, at, PATH, profile, ca=ca)


# ---------------------------------------------------------------------------------------------------------------------
# Paths


def test_path_with_and_without_the_root() -> None:
    assert path(LEAF, CA, ROOT_CA) == path(LEAF, CA) == ROOT_CA
    assert path(CA, ca=True) == ROOT_CA
    assert (LEAF.serial_number, LEAF.is_ca, LEAF.path_length, CA.path_length) == (0, False, None, 0)
    assert (LEAF.subject_key_identifier, LEAF.common_name) == (None, "SEV-VCEK")
    assert LEAF.extension_bytes("1.3.6.1.4.1.3704.1.4") == bytes(range(64))
    assert LEAF.p384_public_key == p384_public_key(point(VEK_KEY.public_key()))


def test_trailer_field_may_be_written() -> None:
    root = ark(algorithm=EXPLICIT)
    anchors = TrustAnchors.load([root.der])
    assert path(vek(algorithm=EXPLICIT), ask(algorithm=EXPLICIT), anchors=anchors) == root
    assert path(vek(), ask(algorithm=EXPLICIT), anchors=anchors) == root


@pytest.mark.parametrize(
    "sealing",
    [
        {"algorithm": PKCS1, "padding": PKCS1v15()},
        {"algorithm": pss(salt=32), "padding": PSS(MGF1(SHA384()), 32)},
        {"algorithm": pss(mgf=_HASH_SHA256), "padding": PSS(MGF1(SHA256()), 48)},
        {"algorithm": pss(_HASH_SHA256, _HASH_SHA256, 32), "padding": PSS(MGF1(SHA256()), 32), "digest": SHA256()},
        {"algorithm": pss(trailer="a303020102")},
    ],
    ids=["PKCS #1", "salt of 32", "MGF1 with SHA-256", "SHA-256", "another trailer field"],
)
@pytest.mark.parametrize("position", [0, 1])
def test_signature_algorithm(sealing: dict[str, Any], position: int) -> None:
    chain = (vek(**sealing), CA) if position == 0 else (LEAF, ask(**sealing))
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(*chain)


def test_signature_algorithm_is_named_twice_in_the_same_way() -> None:
    with malformed(Reason.DER_MALFORMED):
        vek(outside=EXPLICIT)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (other_rsa_key(2048), SHORT),
        (other_rsa_key(4224), SHORT),
        (other_rsa_key(4096, 3), SHORT),
        (p384_key("tests", "ask"), ECDSA_SHA384),
        (p256_key("tests", "ask"), ECDSA_SHA384),
    ],
    ids=["2048 bits", "4224 bits", "exponent 3", "P-384", "P-256"],
)
def test_kind_of_key_of_a_ca(key: Key, algorithm: bytes) -> None:
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(vek(key=key, algorithm=algorithm), ask(lambda form: replace(form, spki=spki(key))))
    root = ark(lambda form: replace(form, spki=spki(key)), key=key, algorithm=algorithm).der
    if key == p384_key("tests", "ask"):
        # A root of NVIDIA's kind, to which nothing of AMD's leads.
        with not_authentic(Reason.TDX_UNTRUSTED_ROOT):
            path(LEAF, CA, anchors=TrustAnchors.load([root]))
    else:
        with misconfigured(Reason.ANCHOR_UNPINNED):
            TrustAnchors.load([root])


@pytest.mark.parametrize(
    "edit",
    [
        lambda form: form.having(basic_constraints(ca=False)),
        lambda form: form.without("2.5.29.19"),
        lambda form: form.without("2.5.29.15"),
        lambda form: form.having(key_usage("crl_sign")),
        lambda form: form.having(Extension("2.5.29.15", bits(b""), critical=True)),
        lambda form: form.having(Extension("1.2.3.4", b"\5\0", critical=True)),
        lambda form: replace(form, extensions=()),
    ],
    ids=[
        "CA:FALSE",
        "no basic constraints",
        "no key usage",
        "no keyCertSign",
        "a key usage without bits",
        "unknown critical",
        "none",
    ],
)
def test_issuers_say_that_they_are(edit: Callable[[CertificateForm], CertificateForm]) -> None:
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(LEAF, ask(edit))
    with misconfigured(Reason.ANCHOR_UNPINNED):
        TrustAnchors.load([ark(edit).der])


def test_leaf_is_no_ca() -> None:
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(vek(lambda form: form.having(basic_constraints(ca=True))), CA)
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(CA)
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(LEAF, CA, ca=True)


def test_path_length() -> None:
    between = Certificate(
        sealed(replace(ASK, subject=name("Between"), issuer=ASK.subject, spki=spki(BETWEEN_KEY)), ASK_KEY)
    )
    below = vek(lambda form: replace(form, issuer=name("Between")), key=BETWEEN_KEY)
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(below, between, CA)
    assert path(below, between, ask(lambda form: form.having(basic_constraints(ca=True, path_length=1)))) == ROOT_CA


def test_unknown_critical_extension() -> None:
    critical = Extension("1.2.3.4", b"\5\0", critical=True)
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(vek(lambda form: form.having(critical)), CA)
    assert path(vek(lambda form: form.having(replace(critical, critical=False))), CA) == ROOT_CA


def test_names_are_compared_as_they_stand() -> None:
    # OpenSSL folds case and spaces.
    for other in map(name, ("SEV-GENOA", "SEV-Genoa ", "SEV-Milan")):
        with not_authentic(Reason.TDX_PCK_CHAIN):
            path(Certificate(sealed(replace(VEK, issuer=other), ASK_KEY)), CA)


def test_forged_signatures() -> None:
    for chain in ((vek(key=MALLORY_KEY), CA), (LEAF, ask(key=MALLORY_KEY))):
        with not_authentic(Reason.TDX_PCK_CHAIN):
            path(*chain)
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(Certificate(flip(len(LEAF.der) - 1)(LEAF.der)), CA)


@pytest.mark.parametrize("role", ["vek", "ask", "ark"])
def test_every_certificate_must_be_of_its_time(role: str) -> None:
    start, end = AT - timedelta(days=1), AT + timedelta(days=1)

    def dated(form: CertificateForm) -> CertificateForm:
        return replace(form, not_before=start, not_after=end)

    root = ark(dated) if role == "ark" else ROOT_CA
    chain = (vek(dated) if role == "vek" else LEAF, ask(dated) if role == "ask" else CA)
    anchors = TrustAnchors.load([root.der])
    assert path(*chain, anchors=anchors, at=start) == path(*chain, anchors=anchors, at=end) == root
    with not_authentic(Reason.TDX_PCK_NOT_YET_VALID):
        path(*chain, anchors=anchors, at=start - SECOND)
    with not_authentic(Reason.TDX_PCK_EXPIRED):
        path(*chain, anchors=anchors, at=end + SECOND)


def test_chain_must_be_the_path() -> None:
    for chain in ((LEAF, LEAF, CA), (LEAF, CA, CA), (LEAF, ROOT_CA), (LEAF, CA, LEAF)):
        with not_authentic(Reason.TDX_PCK_CHAIN, Reason.TDX_UNTRUSTED_ROOT):
            path(*chain)


# ---------------------------------------------------------------------------------------------------------------------
# Anchors of several vendors

INTEL_VENDOR: Final = Vendor.of()
BOTH: Final = TrustAnchors.load([INTEL_VENDOR.root.der, ROOT_CA.der])
PCK_CHAIN: Final = tuple(Certificate(der) for der in Attester.of(INTEL_VENDOR).pck_chain)


def test_a_root_serves_paths_of_its_own_vendor() -> None:
    assert path(LEAF, CA, anchors=BOTH) == ROOT_CA
    assert path(*PCK_CHAIN, anchors=BOTH, profile=INTEL) == BOTH.roots[0]
    with not_authentic(Reason.TDX_UNTRUSTED_ROOT):
        path(*PCK_CHAIN, anchors=BOTH)
    with not_authentic(Reason.TDX_UNTRUSTED_ROOT):
        path(vek(lambda form: replace(form, serial_number=1)), CA, anchors=BOTH, profile=INTEL)
    with malformed(Reason.DER_MALFORMED):
        path(LEAF, CA, anchors=BOTH, profile=INTEL)


def test_root_that_is_signed_again() -> None:
    again = ark()
    assert again != ROOT_CA  # the salt is another
    assert path(LEAF, CA, again) == ROOT_CA
    for other in (ark(lambda form: replace(form, serial_number=1)), ark(key=MALLORY_KEY)):
        with not_authentic(Reason.TDX_UNTRUSTED_ROOT):
            path(LEAF, CA, other)


def test_chain_of_the_same_names_below_another_root() -> None:
    mallory = ark(lambda form: replace(form, spki=spki(MALLORY_KEY)), key=MALLORY_KEY)
    theirs = (LEAF, ask(key=MALLORY_KEY))
    assert path(*theirs, anchors=TrustAnchors.load([mallory.der])) == mallory
    with not_authentic(Reason.TDX_PCK_CHAIN):
        path(*theirs)
    with not_authentic(Reason.TDX_UNTRUSTED_ROOT):
        path(*theirs, mallory)


def test_anchors_are_self_signed() -> None:
    for der in (
        CA.der,
        LEAF.der,
        ark(key=MALLORY_KEY).der,
        ark(lambda form: replace(form, issuer=name("Another"))).der,
        ark(algorithm=PKCS1, padding=PKCS1v15()).der,
    ):
        with misconfigured(Reason.ANCHOR_UNPINNED):
            TrustAnchors.load([INTEL_VENDOR.root.der, der])


def test_one_root_of_each_name() -> None:
    assert TrustAnchors.load([ROOT_CA.der, ROOT_CA.der]).roots == (ROOT_CA,)
    with misconfigured(Reason.ANCHOR_UNPINNED):
        TrustAnchors.load([ROOT_CA.der, ark().der])


SHIPPED: Final = {
    f"{file.parent.name}/{file.name}": file.read_bytes()
    for vendor in ("intel", "amd")
    for file in (ROOT / "certs" / vendor).iterdir()
}


def test_shipped_roots_are_genuine() -> None:
    anchors = TrustAnchors.load_genuine(SHIPPED.values())
    assert anchors.genuine
    assert sorted(root.common_name for root in anchors.roots) == [
        "ARK-Genoa",
        "ARK-Milan",
        "ARK-Turin",
        "Intel SGX Root CA",
    ]
    assert AMD_ARK_GENOA in {root.fingerprint for root in anchors.roots}
    assert TrustAnchors.load([SHIPPED["amd/ark_milan.der"]]).genuine
    assert not TrustAnchors.load([SHIPPED["amd/ark_milan.der"], ROOT_CA.der]).genuine
    assert not BOTH.genuine
    assert not TrustAnchors(()).genuine


# ---------------------------------------------------------------------------------------------------------------------
# Keys and revocation lists


def test_kinds_of_keys() -> None:
    assert CA.rsa4096_public_key.key_size == 4096
    for certificate, key in (
        (LEAF, "p256_public_key"),
        (LEAF, "rsa4096_public_key"),
        (CA, "p384_public_key"),
        (CA, "p256_public_key"),
        (ask(lambda form: replace(form, spki=spki(other_rsa_key(2048)))), "rsa4096_public_key"),
        (vek(lambda form: replace(form, spki=spki(p256_key("tests", "vcek")))), "p384_public_key"),
        (vek(lambda form: replace(form, spki=flip(len(form.spki) - 1)(form.spki))), "p384_public_key"),
    ):
        with malformed(Reason.DER_MALFORMED):
            getattr(certificate, key)


LISTING: Final = CrlForm(
    issuer=ARK.subject,
    this_update=AT - timedelta(days=1),
    next_update=AT + timedelta(days=1),
    revoked=(Revoked(0x20001),),
    extensions=(crl_number(4),),
)


def crl(
    edit: Callable[[CrlForm], CrlForm] = lambda form: form,
    *,
    at: datetime = AT,
    issuer: Certificate = ROOT_CA,
    **sealing: Any,
) -> RevocationList:
    raw = sealed(edit(LISTING), **{"key": ARK_KEY} | sealing)
    return authenticate_crl(raw, issuer, at, CRL, AMD)


def test_revocation_list_of_the_root() -> None:
    listing = crl()
    assert (listing.number, listing.revoked, listing.issuer) == (4, frozenset({0x20001}), ROOT_CA.subject)
    assert listing.speaks_for(ROOT_CA)
    assert not listing.speaks_for(CA)
    assert crl(algorithm=EXPLICIT).revoked == {0x20001}
    assert crl(lambda form: replace(form, revoked=())).revoked == frozenset()


def test_key_identifiers_of_a_list_and_its_issuer() -> None:
    named = ark(lambda form: form.having(Extension("2.5.29.14", octets(key_identifier(ARK_KEY)))))

    def naming(key: RSAPrivateKey) -> Callable[[CrlForm], CrlForm]:
        return lambda form: replace(form, extensions=(*form.extensions, authority_key_identifier(key)))

    assert crl(naming(ARK_KEY), issuer=named).speaks_for(named)
    for edit, issuer in ((naming(ASK_KEY), named), (naming(ARK_KEY), ROOT_CA), (lambda form: form, named)):
        with rejected(Reason.TDX_PCK_CRL_ISSUER):
            crl(edit, issuer=issuer)


def test_issuer_of_a_list_may_sign_it() -> None:
    for uses in (key_usage("key_cert_sign"), key_usage("digital_signature")):
        issuer = Certificate(sealed(ARK.having(uses), ARK_KEY))
        with rejected(Reason.TDX_PCK_CRL_ISSUER):
            crl(issuer=issuer)
    with rejected(Reason.TDX_PCK_CRL_ISSUER):
        crl(issuer=CA)
    with rejected(Reason.TDX_PCK_CRL_ISSUER):
        crl(lambda form: replace(form, issuer=ASK.subject), key=ASK_KEY)


def test_signature_of_a_list() -> None:
    with rejected(Reason.TDX_PCK_CRL_SIGNATURE):
        crl(key=ASK_KEY)
    for sealing in (
        {"outside": EXPLICIT},
        {"algorithm": PKCS1, "padding": PKCS1v15()},
        {"algorithm": pss(salt=32), "padding": PSS(MGF1(SHA384()), 32)},
    ):
        with rejected(Reason.TDX_PCK_CRL_MALFORMED):
            crl(**sealing)


@pytest.mark.parametrize(
    "extensions",
    [
        (),
        (authority_key_identifier(ARK_KEY),),
        (crl_number(4), Extension("1.2.3.4", b"\5\0")),
        (crl_number(4), crl_number(4)),
        (crl_number(4), Extension("2.5.29.27", b"\2\1\1", critical=True)),
    ],
    ids=["none", "no number", "unknown", "twice", "delta"],
)
def test_list_of_another_kind(extensions: tuple[Extension, ...]) -> None:
    with rejected(Reason.TDX_PCK_CRL_MALFORMED):
        crl(lambda form: replace(form, extensions=extensions))


def test_window_of_a_list() -> None:
    assert crl(at=LISTING.next_update or AT).validity == crl(at=LISTING.this_update).validity == crl().validity
    with rejected(Reason.TDX_PCK_CRL_EXPIRED):
        crl(at=(LISTING.next_update or AT) + SECOND)
    with rejected(Reason.TDX_PCK_CRL_NOT_YET_VALID):
        crl(at=LISTING.this_update - SECOND)


# ---------------------------------------------------------------------------------------------------------------------
# What AMD issued

SNP: Final = EVIDENCE / "snp"


def amd(file: str) -> bytes:
    if not (SNP / "roots" / file).is_file():
        pytest.skip(f"no evidence at {EVIDENCE}: {file} not seen")
    return (SNP / "roots" / file).read_bytes()


@pytest.mark.parametrize("line", ["milan", "genoa", "turin"])
@pytest.mark.parametrize("kind", ["ask", "asvk"])
def test_amd_s_intermediates(line: str, kind: str) -> None:
    certificate = Certificate(load_pem(amd(f"{line}_{kind}.pem"))[0])
    root = path(certificate, anchors=TrustAnchors.load_genuine(SHIPPED.values()), ca=True)
    assert root.common_name == f"ARK-{line.title()}"
    assert certificate.path_length == 0


@pytest.mark.parametrize(
    ("file", "at", "revoked"),
    [
        ("genoa_vcek_crl_20241023.der", "2025-01-01T00:00:00+00:00", {0x20001}),
        ("milan_vcek_crl_20250506.der", "2025-06-01T00:00:00+00:00", set()),
    ],
)
def test_amd_s_lists(file: str, at: str, revoked: set[int]) -> None:
    root = Certificate(SHIPPED[f"amd/ark_{file.split('_', maxsplit=1)[0]}.der"])
    listing = authenticate_crl(amd(file), root, datetime.fromisoformat(at), CRL, AMD)
    assert listing.revoked == revoked
    assert listing.speaks_for(root)


def test_amd_s_leaves() -> None:
    amd("roots.json")
    anchors = TrustAnchors.load_genuine(SHIPPED.values())
    issuers = {
        issuer.subject: issuer
        for issuer in (Certificate(load_pem(file.read_bytes())[0]) for file in (SNP / "roots").glob("*_as*k.pem"))
    }
    files = sorted((SNP / "real").glob("*/v?ek.der"))
    assert len(files) > 10
    for file in files:
        document = json.loads((file.parent / "expected.json").read_bytes())
        leaf = Certificate(file.read_bytes())
        at = document.get("verification_time", "2026-06-01T00:00:00+00:00")
        at = datetime.fromisoformat(at) if isinstance(at, str) else datetime.fromtimestamp(at).astimezone()
        root = path(leaf, issuers[leaf.issuer], anchors=anchors, at=at)
        assert root.common_name.removeprefix("ARK-") in issuers[leaf.issuer].common_name
        assert leaf.spki.endswith(leaf.p384_public_key.point)
