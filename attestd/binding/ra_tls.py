"""Cocoon's RA-TLS certificate: self-signed with the Ed25519 key of the enclave, with the quote over that key inside.

Source: tdx.md, section 5. The two extensions hold raw bytes, not a further layer of DER.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import SignatureAlgorithmOID

from attestd.codec import dump_time
from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.validity import Validity

QUOTE_OID: Final = x509.ObjectIdentifier("1.3.6.1.4.1.12345.1")
USER_CLAIMS_OID: Final = x509.ObjectIdentifier("1.3.6.1.4.1.12345.2")
# As Cocoon's own verifier caps it.
MAX_QUOTE_EXTENSION_SIZE: Final = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RaTlsCertificate:
    """What a certificate says; `authenticate` verifies that its key said so, and that it holds."""

    quote: bytes
    user_claims: bytes | None
    spki: bytes  # DER
    raw_key: bytes  # the 32 bytes of the Ed25519 key
    validity: Validity
    signed: bytes
    signature: bytes

    def authenticate(self, at: datetime) -> None:
        """Verify the window, both ends included, the user claims and the self-signature.

        Raises `NotAuthentic` (`binding.certificate`).
        """
        window = self.validity
        if not window.not_before <= at <= window.not_after:
            span = f"{dump_time(window.not_before)} to {dump_time(window.not_after)}"
            raise _not_authentic(f"a certificate for {span}", f"one that holds at {dump_time(at)}")
        # Cocoon's verifier takes the key from the certificate; a second statement of it must not differ.
        if self.user_claims not in {None, self.raw_key}:
            raise _not_authentic("user claims of another key", "the 32 bytes of the certificate's key")
        try:
            Ed25519PublicKey.from_public_bytes(self.raw_key).verify(self.signature, self.signed)
        except InvalidSignature:
            raise _not_authentic("a signature that does not verify", "a certificate signed by its own key") from None


def parse_ra_tls(der: bytes) -> RaTlsCertificate:
    """Parse one RA-TLS certificate strictly; nothing of it is verified.

    Raises `Malformed` (`binding.certificate`): anything but one DER certificate of version 3 with an Ed25519 key and
    signature, issued by its subject, which is no CA and may sign, without critical extensions that nobody here reads,
    and with a quote of at most `MAX_QUOTE_EXTENSION_SIZE` bytes.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        public_key, extensions = certificate.public_key(), certificate.extensions
        self_issued = certificate.issuer == certificate.subject
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension, Warning):
        raise _malformed("bytes that are no certificate", "one DER certificate") from None
    if certificate.version is not x509.Version.v3 or certificate.serial_number <= 0 or not self_issued:
        raise _malformed("a certificate of another issuer, version or numbering", "a self-issued one of version 3")
    if (
        not isinstance(public_key, Ed25519PublicKey)
        or certificate.signature_algorithm_oid != SignatureAlgorithmOID.ED25519
    ):
        raise _malformed("a key or signature of another kind", "Ed25519")
    private = _private_extensions(extensions)
    _refuse_role(extensions)
    return RaTlsCertificate(
        quote=_quote(private),
        user_claims=private.get(USER_CLAIMS_OID),
        spki=public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        raw_key=public_key.public_bytes_raw(),
        validity=Validity(not_before=certificate.not_valid_before_utc, not_after=certificate.not_valid_after_utc),
        signed=certificate.tbs_certificate_bytes,
        signature=certificate.signature,
    )


def _private_extensions(extensions: x509.Extensions) -> dict[x509.ObjectIdentifier, bytes]:
    """Return Cocoon's own extensions; RFC 5280, 4.2, refuses critical ones that nobody reads."""
    private: dict[x509.ObjectIdentifier, bytes] = {}
    for extension in extensions:
        value = extension.value
        if extension.oid in {QUOTE_OID, USER_CLAIMS_OID} and isinstance(value, x509.UnrecognizedExtension):
            private[extension.oid] = value.value
        elif extension.critical and not isinstance(value, _READ_EXTENSIONS):
            raise _malformed("another critical extension", "the quote and the user claims alone")
    return private


def _refuse_role(extensions: x509.Extensions) -> None:
    for extension in extensions:
        match extension.value:
            case x509.BasicConstraints(ca=True):
                raise _malformed("a CA", "an end-entity certificate")
            case x509.KeyUsage(digital_signature=False):
                raise _malformed("a key usage without digitalSignature", "a key that may sign")
            case _:
                pass


def _quote(private: dict[x509.ObjectIdentifier, bytes]) -> bytes:
    quote = private.get(QUOTE_OID)
    if quote is None or not 0 < len(quote) <= MAX_QUOTE_EXTENSION_SIZE:
        found = "no quote" if quote is None else f"a quote of {len(quote)} bytes"
        raise _malformed(found, f"an extension {QUOTE_OID.dotted_string} of 1 to {MAX_QUOTE_EXTENSION_SIZE} bytes")
    return quote


# What Cocoon marks critical, and what is read here or says nothing against the certificate.
_READ_EXTENSIONS: Final = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)


def _malformed(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.BINDING_CERTIFICATE, found=found, wanted=wanted)


def _not_authentic(found: str, wanted: str) -> NotAuthentic:
    return NotAuthentic(Reason.BINDING_CERTIFICATE, found=found, wanted=wanted)
