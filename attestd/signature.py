"""The seam to ECDSA: raw keys and raw signatures as the vendors' hardware writes them."""

from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from attestd.errors import NotAuthentic, Reason

# What is opaque to everybody above: only this module and x509 know the library behind it.
PublicKey: TypeAlias = EllipticCurvePublicKey

_P256: Final = SECP256R1()
_ECDSA_SHA256: Final = ECDSA(SHA256())


def p256_public_key(point: bytes) -> PublicKey:
    """Load a P-256 key from x ‖ y, 32 bytes each, big-endian.

    Raises `NotAuthentic` (`tdx.attestation_key`) where it is not a point of the curve (SEC 1, 3.2.2.1).
    """
    try:
        return EllipticCurvePublicKey.from_encoded_point(_P256, b"\x04" + point)
    except ValueError:
        raise NotAuthentic(
            Reason.TDX_ATTESTATION_KEY, found="a value that is no point of P-256", wanted="x ‖ y of a P-256 point"
        ) from None


def verify_p256(
    key: PublicKey, signature: bytes, signed: bytes, reason: Reason, kind: type[NotAuthentic] = NotAuthentic
) -> None:
    """Verify ECDSA P-256 with SHA-256 over `signed`; `signature` is r ‖ s, 32 bytes each, big-endian.

    Raises `kind` with `reason`. Both s and n - s are accepted, as FIPS 186-5 has it: identity of evidence never
    rests on signature bytes.
    """
    try:
        key.verify(_der(signature), signed, _ECDSA_SHA256)
    except InvalidSignature:
        raise kind(
            reason, found="a signature that does not verify", wanted="ECDSA P-256 with SHA-256 by the key above it"
        ) from None


def _der(signature: bytes) -> bytes:
    """Write r ‖ s as an ECDSA-Sig-Value (RFC 3279, 2.2.3); about half the time of the library's two-step way."""
    integers = _der_integer(signature[:32]) + _der_integer(signature[32:])
    return b"\x30" + bytes((len(integers),)) + integers


def _der_integer(unsigned: bytes) -> bytes:
    stripped = unsigned.lstrip(b"\0") or b"\0"
    if stripped[0] & 0x80:
        stripped = b"\0" + stripped
    return b"\x02" + bytes((len(stripped),)) + stripped
