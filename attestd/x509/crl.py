"""Revocation lists, authenticated (RFC 5280, section 5)."""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from attestd.codec import DerElement, load_der_sequence
from attestd.errors import EndorsementRejected, Reason
from attestd.validity import Validity
from attestd.x509.certificate import Certificate
from attestd.x509.profile import Profile

# Intel's largest CRL has 44 entries in 4 KiB; 4 MiB hold more than 80,000.
MAX_CRL_SIZE: Final = 4 * 1024 * 1024

_CRITICAL: Final = b"\x01\x01\xff"  # BOOLEAN TRUE in DER
# What the library raises where bytes are not what they should be; not all of it is a ValueError.
BAD_BYTES: Final = (
    ValueError,
    TypeError,
    Warning,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


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
    digest: bytes  # SHA-256 of it as it came

    def speaks_for(self, issuer: Certificate) -> bool:
        """Whether certificates issued by `issuer` are looked up here: the name and the key must be the same."""
        return self.issuer == issuer.subject and self.issuer_spki == issuer.spki

    def with_revoked_of(self, older: Self) -> Self:
        """Return this list with all that an older one of the same issuer revokes."""
        return type(self)(
            issuer=self.issuer,
            issuer_spki=self.issuer_spki,
            number=self.number,
            validity=self.validity,
            revoked=self.revoked | older.revoked,
            digest=self.digest,
        )


def authenticate_crl(
    raw: bytes, issuer: Certificate, at: datetime, reasons: CrlReasons, profile: Profile
) -> RevocationList:
    """Parse a CRL and verify that `issuer` signed it, and that it is in force at the time `at`.

    Raises `EndorsementRejected`, as `authenticate_crl_of_any_time` does.
    """
    crl = authenticate_crl_of_any_time(raw, issuer, reasons, profile)
    require_window(crl.validity, at, reasons.expired, reasons.not_yet_valid)
    return crl


def authenticate_crl_of_any_time(
    raw: bytes, issuer: Certificate, reasons: CrlReasons, profile: Profile
) -> RevocationList:
    """Parse a CRL (DER, PEM or DER in hex: caching services differ) and verify that `issuer` signed it.

    Only full, direct CRLs are taken: a CRL number and an authority key identifier, and no other extension, for each
    other one that exists narrows or redirects what the list says (RFC 5280, 5.2). Each listed serial number is revoked,
    whatever its reason. Raises `EndorsementRejected`.
    """
    crl, der = _load_crl(raw, reasons)
    signed, algorithm, signature = _elements(der)
    # The library has compared the algorithm inside with the one outside.
    _, _, name = _elements(signed.encoded)[:3]
    if name.content != issuer.subject:
        raise EndorsementRejected(
            reasons.issuer, found="a CRL of another issuer", wanted=f"a CRL of {issuer.common_name!r}"
        )
    number, key_identifier = _crl_extensions(crl, reasons, profile)
    if key_identifier != issuer.subject_key_identifier:
        raise EndorsementRejected(
            reasons.issuer, found="another authority key identifier", wanted="the key identifier of the issuer"
        )
    if not issuer.may_sign_crls:
        raise EndorsementRejected(reasons.issuer, found="an issuer that may not", wanted="a key usage with cRLSign")
    if algorithm.encoded not in profile.algorithms:
        raise EndorsementRejected(reasons.malformed, found="another algorithm", wanted="the vendor's")
    if not profile.has_signed(issuer, signature.content.removeprefix(b"\0"), signed.encoded):
        raise EndorsementRejected(
            reasons.signature, found="a signature that does not verify", wanted=f"one by {issuer.common_name!r}"
        )
    return RevocationList(
        issuer=issuer.subject,
        issuer_spki=issuer.spki,
        number=number,
        validity=_crl_window(crl, reasons),
        revoked=_revoked(crl, signed.content, reasons),
        digest=sha256(raw).digest(),
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
        return x509.load_der_x509_crl(der), der
    except BAD_BYTES:
        raise _not_crl(reasons) from None


def _elements(sequence: bytes) -> list[DerElement]:
    """Return the elements within a DER SEQUENCE that the library has parsed."""
    (outer,) = load_der_sequence(sequence, Reason.DER_MALFORMED)
    return load_der_sequence(outer.content, Reason.DER_MALFORMED)


def _not_crl(reasons: CrlReasons) -> EndorsementRejected:
    return EndorsementRejected(
        reasons.malformed, found="bytes that are no CRL", wanted="one full, direct X.509 CRL in DER, PEM or hex"
    )


def _crl_extensions(
    crl: x509.CertificateRevocationList, reasons: CrlReasons, profile: Profile
) -> tuple[int, bytes | None]:
    """Return the CRL number and the key identifier, which RFC 5280, 5.2.1 demands of those who follow it."""
    try:
        extensions = {extension.oid: extension.value for extension in crl.extensions}
    except BAD_BYTES:
        raise _not_crl(reasons) from None
    number = extensions.pop(x509.CRLNumber.oid, None)
    issuer = extensions.pop(x509.AuthorityKeyIdentifier.oid, None)
    if extensions or not isinstance(number, x509.CRLNumber) or (issuer is None and profile.strict):
        raise EndorsementRejected(
            reasons.malformed,
            found="other extensions",
            wanted="a CRL number and an authority key identifier, and no other extension",
        )
    return number.crl_number, issuer.key_identifier if isinstance(issuer, x509.AuthorityKeyIdentifier) else None


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
    except BAD_BYTES:
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
