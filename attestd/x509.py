"""Trust anchors, certificate paths and revocation lists, with explicit time: the only importer of OpenSSL.

OpenSSL builds and checks the path. What it leaves open is closed here: which root is pinned (the DER, not a name), that
an end-entity certificate is no CA, that a time without a zone is none, that a CRL comes from the issuer of the
certificate that is looked up in it, and that a signer has the role it signs in.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto

from attestd.codec import DerElement, load_der_sequence
from attestd.errors import ConfigurationRefused, EndorsementRejected, Malformed, NotAuthentic, Reason
from attestd.signature import PublicKey
from attestd.validity import Validity

# SHA-256 of the DER of Intel SGX Root CA; certs/README.md has the source.
INTEL_SGX_ROOT_CA: Final = bytes.fromhex("44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3")

# Genuine PCK certificates have about 1,270 bytes.
MAX_CERTIFICATE_SIZE: Final = 8 * 1024
# Intel's largest CRL has 44 entries in 4 KiB; 4 MiB hold more than 80,000.
MAX_CRL_SIZE: Final = 4 * 1024 * 1024

_COMMON_NAME: Final = bytes.fromhex("0603550403")  # OBJECT IDENTIFIER 2.5.4.3; tag, length and text follow
# AlgorithmIdentifier ecdsa-with-SHA256, without parameters (RFC 5758, 3.2)
_ECDSA_WITH_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")
_CERT_NOT_YET_VALID: Final = 9  # X509_V_ERR_CERT_NOT_YET_VALID
_CERT_HAS_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_CRITICAL: Final = b"\x01\x01\xff"  # BOOLEAN TRUE in DER
# What the libraries raise where bytes are not what they should be; not all of it is a ValueError.
_BAD_BYTES: Final = (
    ValueError,
    TypeError,
    Warning,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    crypto.Error,
)
_CRL_EXTENSIONS: Final = frozenset({x509.CRLNumber.oid, x509.AuthorityKeyIdentifier.oid})


class Certificate:
    """One X.509 certificate, strictly parsed; nothing about it is trusted yet."""

    def __init__(self, der: bytes) -> None:
        """Parse DER. Raises `Malformed` (`der.malformed`)."""
        if len(der) > MAX_CERTIFICATE_SIZE:
            raise Malformed(
                Reason.DER_MALFORMED, found=f"{len(der)} bytes", wanted=f"at most {MAX_CERTIFICATE_SIZE} bytes"
            )
        self.der = der
        try:
            self._parsed = x509.load_der_x509_certificate(der)
            # The library only warns of a serial number that RFC 5280, 4.1.2.2 forbids.
            if self._parsed.serial_number <= 0 or self._parsed.version is not x509.Version.v3:
                raise _not_der("a serial number that is not positive, or not version 3")
        except _BAD_BYTES:
            raise _not_der("bytes that are not one certificate") from None

    def __eq__(self, other: object) -> bool:
        """Two certificates are the same when their bytes are."""
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        """Hash the bytes."""
        return hash(self.der)

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the DER."""
        return hashlib.sha256(self.der).digest()

    @cached_property
    def _fields(self) -> list[bytes]:
        """The contents of the TBSCertificate's fields (RFC 5280, 4.1), which the library has found to be well-formed.

        Read from the bytes: the library's objects for names are slow, and names are compared as they stand.
        """
        (certificate,) = _elements(self.der, 1)
        return [element.content for element in _elements(certificate.encoded, 7)]

    @property
    def issuer(self) -> bytes:
        """The issuer's name: the content of its DER."""
        return self._fields[3]

    @property
    def subject(self) -> bytes:
        """The subject's name: the content of its DER."""
        return self._fields[5]

    @cached_property
    def serial_number(self) -> int:
        """The serial number as an integer: revocation compares numbers, not encodings."""
        return self._parsed.serial_number

    @cached_property
    def common_name(self) -> str:
        """The one common name of the subject, or an empty string."""
        parts = self.subject.split(_COMMON_NAME)
        if len(parts) != 2:  # noqa: PLR2004 - before and after the one common name
            return ""
        return parts[1][2 : 2 + parts[1][1]].decode("utf-8", "replace")

    @cached_property
    def validity(self) -> Validity:
        """The window of the certificate alone."""
        return Validity(not_before=self._parsed.not_valid_before_utc, not_after=self._parsed.not_valid_after_utc)

    @cached_property
    def p256_public_key(self) -> PublicKey:
        """The subject's key. Raises `Malformed` (`der.malformed`) where it is not on P-256."""
        try:
            key = self._parsed.public_key()
        except _BAD_BYTES:
            raise _not_der("a public key that does not load") from None
        if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
            return key
        raise _not_der("a key of another kind", "a P-256 key")

    @property
    def spki(self) -> bytes:
        """The subject's key: the content of its SubjectPublicKeyInfo."""
        return self._fields[6]

    @cached_property
    def is_ca(self) -> bool:
        """Whether the basic constraints say that it may issue certificates."""
        constraints = self._extension(x509.BasicConstraints)
        return isinstance(constraints, x509.BasicConstraints) and constraints.ca

    @cached_property
    def subject_key_identifier(self) -> bytes | None:
        """The key identifier that the issuer gave to the subject's key."""
        identifier = self._extension(x509.SubjectKeyIdentifier)
        return identifier.digest if isinstance(identifier, x509.SubjectKeyIdentifier) else None

    def extension_bytes(self, oid: str) -> bytes | None:
        """Return the DER inside an extension that the library does not know, or None where it is absent."""
        try:
            value = self._parsed.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid)).value
        except x509.ExtensionNotFound:
            return None
        except _BAD_BYTES:
            raise _not_der("extensions that do not parse or that are doubled") from None
        return value.value if isinstance(value, x509.UnrecognizedExtension) else None

    def _extension(self, kind: type[x509.ExtensionType]) -> x509.ExtensionType | None:
        try:
            return self._parsed.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None
        except _BAD_BYTES:
            raise _not_der("extensions that do not parse or that are doubled") from None

    def is_signed_again(self, root: "Certificate") -> bool:
        """Whether this is the very statement of `root`, signed once more with the same key.

        ECDSA signatures are random, so a vendor that signs its root anew gets other bytes that say the same.
        """
        return _elements(self.der, 1) == _elements(root.der, 1) and _is_signed(self.der, root)

    @cached_property
    def openssl(self) -> crypto.X509:
        """The same certificate for OpenSSL. Raises `Malformed` (`der.malformed`): it parses names and keys as well."""
        try:
            return crypto.X509.from_cryptography(self._parsed)
        except _BAD_BYTES:
            raise _not_der("a certificate that OpenSSL does not parse") from None


def _elements(sequence: bytes, count: int) -> list[DerElement]:
    """Return the first `count` elements within one DER SEQUENCE."""
    (outer,) = load_der_sequence(sequence, Reason.DER_MALFORMED)
    return list(islice(load_der_sequence(outer.content, Reason.DER_MALFORMED), count))


def _is_signed(der: bytes, issuer: Certificate) -> bool:
    """Whether `issuer` signed a certificate or a CRL with ECDSA P-256 and SHA-256 (RFC 5280, 4.1 and 5.1)."""
    signed, algorithm, signature = _elements(der, 3)
    try:
        # A BIT STRING begins with how many bits are unused: none of a signature, which with another octet is not one.
        issuer.p256_public_key.verify(signature.content.removeprefix(b"\0"), signed.encoded, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return algorithm.encoded == _ECDSA_WITH_SHA256


def _not_der(found: str, wanted: str = "one X.509 v3 certificate in DER") -> Malformed:
    return Malformed(Reason.DER_MALFORMED, found=found, wanted=wanted)


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """The pinned roots of one vendor. A path ends in one of them, byte for byte, or it is no path."""

    roots: tuple[Certificate, ...]

    @classmethod
    def load(cls, ders: Iterable[bytes]) -> Self:
        """Load self-signed roots from DER.

        Raises `ConfigurationRefused` (`anchor.missing`, `anchor.unpinned`): an empty set trusts nobody, and says so.
        """
        try:
            roots = tuple(Certificate(der) for der in ders)
            for root in roots:
                _verify_self_signed(root)
        except (Malformed, crypto.X509StoreContextError):
            raise ConfigurationRefused(
                Reason.ANCHOR_UNPINNED, found="a file that is no self-signed CA certificate", wanted="root certificates"
            ) from None
        if not roots:
            raise ConfigurationRefused(Reason.ANCHOR_MISSING, found="none", wanted="at least one root certificate")
        return cls(roots)

    @classmethod
    def intel(cls, der: bytes) -> Self:
        """Load Intel SGX Root CA. Raises `ConfigurationRefused` (`anchor.unpinned`) for any other bytes."""
        fingerprint = hashlib.sha256(der).digest()
        if fingerprint != INTEL_SGX_ROOT_CA:
            raise ConfigurationRefused(
                Reason.ANCHOR_UNPINNED, found=f"SHA-256 {fingerprint.hex()}", wanted=f"{INTEL_SGX_ROOT_CA.hex()}"
            )
        return cls.load([der])

    @property
    def are_intel(self) -> bool:
        """Whether these are Intel's own: everything else is test hardware and is marked so."""
        return {root.fingerprint for root in self.roots} == {INTEL_SGX_ROOT_CA}

    def named(self, subject: bytes) -> Certificate | None:
        """Return the root of that name."""
        return next((root for root in self.roots if root.subject == subject), None)


def _verify_self_signed(root: Certificate) -> None:
    if not root.is_ca or root.subject != root.issuer:
        raise _not_der("a certificate that is no root")
    root.p256_public_key  # noqa: B018 - it must load
    store = crypto.X509Store()
    store.add_cert(root.openssl)
    # Of a certificate that it is told to trust OpenSSL does not look at the signature unless it is asked to.
    store.set_flags(crypto.X509StoreFlags.X509_STRICT | crypto.X509StoreFlags.CHECK_SS_SIGNATURE)
    store.set_time(root.validity.not_before)
    crypto.X509StoreContext(store, root.openssl).verify_certificate()


@dataclass(frozen=True, slots=True, kw_only=True)
class PathReasons:
    """How the caller's refusals are named."""

    chain: Reason
    untrusted_root: Reason
    expired: Reason
    not_yet_valid: Reason
    kind: type[NotAuthentic]


def verify_path(
    chain: Sequence[Certificate], anchors: TrustAnchors, at: datetime, reasons: PathReasons, *, ca: bool = False
) -> Certificate:
    """Verify `chain` (target first; a root may close it) to a pinned root at the time `at`; return that root.

    `ca` says whether the target must be a CA (the issuer of a CRL) or must not be one (everything else).
    Raises `reasons.kind` (RFC 5280, section 6; tdx.md, step 2).
    """
    path, root = _anchored(chain, anchors, reasons)
    if path[0].is_ca is not ca:
        raise reasons.kind(
            reasons.chain,
            found="a CA certificate" if path[0].is_ca else "an end-entity certificate",
            wanted="a CA certificate" if ca else "an end-entity certificate",
        )
    store = crypto.X509Store()
    store.add_cert(root.openssl)
    store.set_flags(crypto.X509StoreFlags.X509_STRICT)
    store.set_time(aware(at))
    context = crypto.X509StoreContext(store, path[0].openssl, [certificate.openssl for certificate in path[1:]])
    try:
        verified = context.get_verified_chain()
    except crypto.X509StoreContextError as error:
        raise _path_refusal(error, chain, at, reasons) from None
    # OpenSSL takes what it needs in any order. Here the second certificate is the issuer of the first, by whose CRL it
    # is judged, so the path that OpenSSL has found must be the very chain that came.
    if [crypto.dump_certificate(crypto.FILETYPE_ASN1, used) for used in verified[:-1]] != [one.der for one in path]:
        raise reasons.kind(
            reasons.chain, found="certificates beside the path or in another order", wanted="each issued by the next"
        )
    return root


def _anchored(
    chain: Sequence[Certificate], anchors: TrustAnchors, reasons: PathReasons
) -> tuple[Sequence[Certificate], Certificate]:
    """Split the chain into what leads to a root and the pinned root, to which alone the path is then built.

    A root that came along leads nowhere by itself, but must be the pinned one: a forged root is not passed over.
    """
    last = chain[-1]
    root, path = anchors.named(last.issuer), chain
    if last.subject == last.issuer:
        path = chain[:-1]
        if root is not None and last != root and not last.is_signed_again(root):
            root = None
    if root is None:
        raise reasons.kind(
            reasons.untrusted_root, found="another root or none", wanted="the pinned root certificate, byte for byte"
        )
    if not path:
        raise reasons.kind(reasons.chain, found="a root alone", wanted="a chain below the root")
    return path, root


def _path_refusal(
    error: crypto.X509StoreContextError, chain: Sequence[Certificate], at: datetime, reasons: PathReasons
) -> NotAuthentic:
    code, depth, prose = error.errors[:3]
    if code in (_CERT_HAS_EXPIRED, _CERT_NOT_YET_VALID):
        window = chain[min(depth, len(chain) - 1)].validity
        return reasons.kind(
            reasons.expired if code == _CERT_HAS_EXPIRED else reasons.not_yet_valid,
            found=f"certificate {depth} valid from {window.not_before:%Y-%m-%d} to {window.not_after:%Y-%m-%d}",
            wanted=f"one valid at {at:%Y-%m-%dT%H:%M:%SZ}",
        )
    return reasons.kind(
        reasons.chain, found=f"OpenSSL error {code} at certificate {depth}: {prose}", wanted="a path that verifies"
    )


def aware(at: datetime) -> datetime:
    """Return `at` in UTC. A naive datetime is a programming error: OpenSSL would take it for UTC in silence."""
    if at.tzinfo is None:
        raise TypeError("a time without a zone")
    return at.astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlReasons:
    """How the refusals of one kind of CRL are named."""

    malformed: Reason
    issuer: Reason
    signature: Reason
    expired: Reason
    not_yet_valid: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationList:
    """An authenticated CRL: whose it is, what it revokes, until when it speaks."""

    issuer: bytes  # the issuer's name, as in a certificate's subject
    issuer_spki: bytes  # the key that signed it, as in a certificate
    number: int
    validity: Validity
    revoked: frozenset[int]  # serial numbers

    def speaks_for(self, issuer: Certificate) -> bool:
        """Whether certificates issued by `issuer` are looked up here: the name and the key must be the same."""
        return self.issuer == issuer.subject and self.issuer_spki == issuer.spki


def authenticate_crl(raw: bytes, issuer: Certificate, at: datetime, reasons: CrlReasons) -> RevocationList:
    """Parse a CRL (DER, PEM or DER in hex: caching services differ) and verify that `issuer` signed it.

    Only full, direct CRLs are taken: a CRL number and an authority key identifier, and no other extension, for each
    other one that exists narrows or redirects what the list says (RFC 5280, 5.2). Each listed serial number is revoked,
    whatever its reason. Raises `EndorsementRejected`.
    """
    crl, der = _load_crl(raw, reasons)
    (signed,) = _elements(der, 1)
    _, algorithm, name = _elements(signed.encoded, 3)
    if name.content != issuer.subject:
        raise EndorsementRejected(
            reasons.issuer, found="a CRL of another issuer", wanted=f"a CRL of {issuer.common_name!r}"
        )
    number, key_identifier = _crl_extensions(crl, reasons)
    if key_identifier != issuer.subject_key_identifier:
        raise EndorsementRejected(
            reasons.issuer, found="another authority key identifier", wanted="the key identifier of the issuer"
        )
    if algorithm.encoded != _ECDSA_WITH_SHA256:
        raise EndorsementRejected(reasons.malformed, found="another algorithm", wanted="ECDSA with SHA-256")
    if not _is_signed(der, issuer):
        raise EndorsementRejected(
            reasons.signature, found="a signature that does not verify", wanted=f"one by {issuer.common_name!r}"
        )
    return RevocationList(
        issuer=issuer.subject,
        issuer_spki=issuer.spki,
        number=number,
        validity=require_window(_crl_window(crl, reasons), at, reasons.expired, reasons.not_yet_valid),
        revoked=_revoked(crl, signed.content, reasons),
    )


def _load_crl(raw: bytes, reasons: CrlReasons) -> tuple[x509.CertificateRevocationList, bytes]:
    if len(raw) > MAX_CRL_SIZE:
        raise EndorsementRejected(reasons.malformed, found=f"{len(raw)} bytes", wanted=f"at most {MAX_CRL_SIZE} bytes")
    try:
        der = raw
        if raw.startswith(b"-----BEGIN X509 CRL-----"):
            der = x509.load_pem_x509_crl(raw).public_bytes(Encoding.DER)
        elif not raw.startswith(b"\x30"):
            der = bytes.fromhex(raw.decode("ascii").strip())
        # A whole element of definite length and nothing behind it: the library reads the same bytes as `_elements`.
        _elements(der, 2)
        return x509.load_der_x509_crl(der), der
    except (*_BAD_BYTES, Malformed):
        raise _not_crl(reasons) from None


def _not_crl(reasons: CrlReasons) -> EndorsementRejected:
    return EndorsementRejected(
        reasons.malformed, found="bytes that are no CRL", wanted="one full, direct X.509 CRL in DER, PEM or hex"
    )


def _crl_extensions(crl: x509.CertificateRevocationList, reasons: CrlReasons) -> tuple[int, bytes | None]:
    try:
        extensions = crl.extensions
    except _BAD_BYTES:
        raise _not_crl(reasons) from None
    if {extension.oid for extension in extensions} != _CRL_EXTENSIONS:
        raise EndorsementRejected(
            reasons.malformed,
            found=f"{len(extensions)} extensions",
            wanted="a CRL number and an authority key identifier, and no other extension",
        )
    number = extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    return number, extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier


def _crl_window(crl: x509.CertificateRevocationList, reasons: CrlReasons) -> Validity:
    if crl.next_update_utc is None:
        raise EndorsementRejected(reasons.malformed, found="no nextUpdate", wanted="a CRL with an end")
    return Validity(not_before=crl.last_update_utc, not_after=crl.next_update_utc)


def _revoked(crl: x509.CertificateRevocationList, signed: bytes, reasons: CrlReasons) -> frozenset[int]:
    try:
        # An entry's critical extension may say that it is about another issuer's certificate (RFC 5280, 5.3.3). Looking
        # at each entry is dear, and a list without the bytes of a critical flag has none.
        if _CRITICAL in signed and any(extension.critical for entry in crl for extension in entry.extensions):
            raise _not_crl(reasons)
        return frozenset(entry.serial_number for entry in crl)
    except _BAD_BYTES:
        raise _not_crl(reasons) from None


def require_window(window: Validity, at: datetime, expired: Reason, not_yet_valid: Reason) -> Validity:
    """Return `window` if `at` lies in it, both ends included; else raise `EndorsementRejected`."""
    if at > window.not_after:
        raise EndorsementRejected(
            expired, found=f"nextUpdate {window.not_after:%Y-%m-%dT%H:%M:%SZ}", wanted=f"one current at {_shown(at)}"
        )
    if at < window.not_before:
        raise EndorsementRejected(
            not_yet_valid,
            found=f"issued at {window.not_before:%Y-%m-%dT%H:%M:%SZ}",
            wanted=f"one issued before {_shown(at)}",
        )
    return window


def _shown(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
