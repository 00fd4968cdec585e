"""The seam to ECDSA, RSA and Ed25519: raw keys and raw signatures as hardware and the chain write them.

OpenSSL verifies, through `cryptography`. On P-384 AWS-LC takes less than half of the time: where the extra `aws-lc` is
installed it verifies these in OpenSSL's place, and never the one after the other has failed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha384
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from attestd.errors import Malformed, NotAuthentic, Reason

try:
    from awscrt.crypto import EC
except ModuleNotFoundError as error:
    # To leave it out is a choice; installed and broken is neither library.
    if error.name != "awscrt":
        raise
    EC = None

# What is opaque to everybody above: only this module and x509 know the library behind it.
PublicKey: TypeAlias = EllipticCurvePublicKey
RsaPublicKey: TypeAlias = RSAPublicKey
SigningKey: TypeAlias = Ed25519PrivateKey

_P256: Final = SECP256R1()
_P384: Final = SECP384R1()
_ECDSA_SHA256: Final = ECDSA(SHA256())
_ECDSA_SHA384: Final = ECDSA(SHA384())
_RSA_EXPONENT: Final = 65537
_ED25519_KEY_SIZE: Final = 32
# SubjectPublicKeyInfo (RFC 5480) of an uncompressed point of P-384, up to that point.
_P384_SPKI: Final = bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004")

# The y of every point of Ed25519 whose order divides eight, sign bit aside, the two that are not reduced included
# (RFC 8032, 5.1.3 and 8.9). Under such a key one signature can hold for many messages, without a private key.
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(y)
    for y in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


class P384Library(StrEnum):
    """What verifies on P-384."""

    OPENSSL = "OpenSSL"
    AWS_LC = "AWS-LC"


P384_LIBRARY: Final = P384Library.OPENSSL if EC is None else P384Library.AWS_LC


@dataclass(frozen=True, slots=True)
class P384PublicKey:
    """A point of the curve, and what tells whether an ECDSA-Sig-Value in DER is this key's, over which bytes.

    That is the library's own answer; where it has none it raises whatever it raises, which is no verdict.
    """

    point: bytes  # x ‖ y
    verifies: Callable[[bytes, bytes], bool] = field(repr=False, compare=False)


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
        key.verify(_der(signature, 32), signed, _ECDSA_SHA256)
    except InvalidSignature:
        raise kind(
            reason, found="a signature that does not verify", wanted="ECDSA P-256 with SHA-256 by the key above it"
        ) from None


def p384_public_key(point: bytes, library: P384Library = P384_LIBRARY) -> P384PublicKey:
    """Load a P-384 key from x ‖ y, 48 bytes each, big-endian.

    Raises `Malformed` (`der.malformed`) where it is not a point of the curve: such keys come in certificates. OpenSSL
    says so of either library's keys, so that both take the same.
    """
    try:
        key = EllipticCurvePublicKey.from_encoded_point(_P384, b"\x04" + point)
    except ValueError:
        raise Malformed(
            Reason.DER_MALFORMED, found="a value that is no point of P-384", wanted="x ‖ y of a P-384 point"
        ) from None
    return P384PublicKey(point, _by_openssl(key) if library is P384Library.OPENSSL else _by_aws_lc(point))


def _by_openssl(key: EllipticCurvePublicKey) -> Callable[[bytes, bytes], bool]:
    verify = key.verify

    def verifies(der: bytes, signed: bytes) -> bool:
        try:
            verify(der, signed, _ECDSA_SHA384)
        except InvalidSignature:
            return False
        return True

    return verifies


def _by_aws_lc(point: bytes) -> Callable[[bytes, bytes], bool]:
    verify: Callable[[bytes, bytes], bool] = EC.new_key_from_der_data(_P384_SPKI + point).verify
    return lambda der, signed: verify(sha384(signed).digest(), der)


def verify_p384(key: P384PublicKey, signature: bytes, signed: bytes, reason: Reason) -> None:
    """Verify ECDSA P-384 with SHA-384 over `signed`; `signature` is r ‖ s, 48 bytes each, big-endian.

    Raises `NotAuthentic` with `reason`. Both s and n - s are accepted, as with P-256.
    """
    if not key.verifies(_der(signature, 48), signed):
        raise NotAuthentic(
            reason, found="a signature that does not verify", wanted="ECDSA P-384 with SHA-384 by the key above it"
        )


def rsa_public_key(modulus: bytes) -> RsaPublicKey:
    """Load an RSA key with the exponent 65537; the modulus is big-endian, odd, and has at least 2048 bits."""
    return RSAPublicNumbers(_RSA_EXPONENT, int.from_bytes(modulus, "big")).public_key()


def verify_rsa_pkcs1_sha256(key: RsaPublicKey, signature: bytes, signed: bytes, reason: Reason) -> None:
    """Verify RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2) over `signed`; `signature` is as long as the modulus.

    Raises `NotAuthentic` with `reason`.
    """
    try:
        key.verify(signature, signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise NotAuthentic(
            reason, found="a signature that does not verify", wanted="RSASSA-PKCS1-v1_5, SHA-256, by the key above it"
        ) from None


def ed25519_signing_key(seed: bytes) -> SigningKey:
    """Load a private key from its 32 bytes (RFC 8032, 5.1.5). Raises `ValueError` where there are more or fewer."""
    return Ed25519PrivateKey.from_private_bytes(seed)


def ed25519_public_key(key: SigningKey) -> bytes:
    """Return the 32 bytes of the public key (RFC 8032, 5.1.2)."""
    return key.public_key().public_bytes_raw()


def sign_ed25519(key: SigningKey, signed: bytes) -> bytes:
    """Sign with Ed25519; the signature is R ‖ S, 64 bytes (RFC 8032, 5.1.6)."""
    return key.sign(signed)


def ed25519_verifies(key: bytes, signature: bytes, signed: bytes) -> bool:
    """Tell whether 64 bytes are the signature over `signed` by a key of 32 bytes (RFC 8032, 5.1.7).

    Never by a key of small order, nor by what is no key: nobody holds the private half of either.
    """
    if len(key) != _ED25519_KEY_SIZE or key[:-1] + bytes((key[-1] & 0x7F,)) in _SMALL_ORDER:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _der(signature: bytes, size: int) -> bytes:
    """Write r ‖ s as an ECDSA-Sig-Value (RFC 3279, 2.2.3); about half the time of the library's two-step way."""
    r, s = _der_integer(signature[:size]), _der_integer(signature[size:])
    return b"\x30%c\x02%c%b\x02%c%b" % (4 + len(r) + len(s), len(r), r, len(s), s)


def _der_integer(unsigned: bytes) -> bytes:
    """Write the content of an INTEGER: no zeros in front but the one that keeps it from being negative."""
    stripped = unsigned.lstrip(b"\0")
    return stripped if stripped and stripped[0] < 0x80 else b"\0" + stripped  # noqa: PLR2004 - the sign
