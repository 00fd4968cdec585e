"""Test keys, derived from a seed that anybody may know, and the signatures that they make.

The same seed and name always give the same key, and ECDSA signatures are deterministic (RFC 6979), so that whatever the
simulator makes is the same bytes each time. Where OpenSSL is older than 3.2 it signs with random nonces instead:
`REPRODUCIBLE` then is false, and everything but the signature bytes stays as it was.
"""

from dataclasses import dataclass
from functools import cache
from hashlib import sha512
from typing import Final, Self, TypeAlias, assert_never

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    SECP384R1,
    EllipticCurve,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestd.simulator.rsa import sign_pss

SigningKey: TypeAlias = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey
PrivateKey: TypeAlias = SigningKey | X25519PrivateKey

# The orders of the curves (SEC 2, 2.4.2 and 2.5.1): s and n - s are both signatures of the same message.
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P384_ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
)


def secret(seed: str, name: str, size: int) -> bytes:
    """Return `size` bytes (at most 64) that look random and depend on nothing but the arguments."""
    return sha512(f"attestd simulator\0{seed}\0{name}".encode()).digest()[:size]


@cache
def p256_key(seed: str, name: str) -> EllipticCurvePrivateKey:
    """Return the P-256 key of that name."""
    return _ec_key(seed, name, SECP256R1())


@cache
def p384_key(seed: str, name: str) -> EllipticCurvePrivateKey:
    """Return the P-384 key of that name."""
    return _ec_key(seed, name, SECP384R1())


def _ec_key(seed: str, name: str, curve: EllipticCurve) -> EllipticCurvePrivateKey:
    # Two to the (bits - 8) is below the order of both curves, and adding one keeps it from being zero.
    return derive_private_key(1 + int.from_bytes(secret(seed, name, curve.key_size // 8 - 1)), curve)


def _signs_deterministically() -> bool:
    try:
        p256_key("", "").sign(b"", ECDSA(SHA256(), deterministic_signing=True))
    except UnsupportedAlgorithm:
        return False
    return True


REPRODUCIBLE: Final = _signs_deterministically()
_ECDSA_SHA256: Final = ECDSA(SHA256(), deterministic_signing=REPRODUCIBLE)
_ECDSA_SHA384: Final = ECDSA(SHA384(), deterministic_signing=REPRODUCIBLE)


def sign(key: SigningKey, message: bytes) -> bytes:
    """Sign as X.509 has it: ECDSA-Sig-Value with the digest of the curve's size, Ed25519, or RSASSA-PSS as AMD does."""
    match key:
        case EllipticCurvePrivateKey():
            return key.sign(message, _ECDSA_SHA384 if key.key_size > 256 else _ECDSA_SHA256)  # noqa: PLR2004 - bits
        case Ed25519PrivateKey():
            return key.sign(message)
        case RSAPrivateKey():
            return sign_pss(key, message)
        case _:
            assert_never(key)


def sign_p256(key: EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Sign with SHA-256 as Intel has it in quotes and JSON documents: r ‖ s, 32 bytes each, big-endian."""
    r, s = decode_dss_signature(key.sign(message, _ECDSA_SHA256))
    return r.to_bytes(32) + s.to_bytes(32)


def sign_p384(key: EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Sign with SHA-384: r ‖ s, 48 bytes each, big-endian."""
    r, s = decode_dss_signature(key.sign(message, _ECDSA_SHA384))
    return r.to_bytes(48) + s.to_bytes(48)


def sign_pkcs1(key: RSAPrivateKey, message: bytes) -> bytes:
    """Sign with RSASSA-PKCS1-v1_5 and SHA-256, as TPMs do."""
    return key.sign(message, PKCS1v15(), SHA256())


def ecdsa_sig_value(signature: bytes) -> bytes:
    """Rewrite r ‖ s as the DER that certificates and CRLs carry (RFC 3279, 2.2.3)."""
    return encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))


def spki(key: PrivateKey) -> bytes:
    """Return the public key as SubjectPublicKeyInfo in DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def point(key: EllipticCurvePublicKey) -> bytes:
    """Return x ‖ y, big-endian, as quotes carry public keys."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


@dataclass(frozen=True)
class KeyPair:
    """A key that an enclave made, for which it asks trust."""

    private: PrivateKey

    @classmethod
    def ed25519(cls, name: str = "enclave") -> Self:
        """Return the Ed25519 key of that name."""
        return cls(Ed25519PrivateKey.from_private_bytes(secret("enclave", name, 32)))

    @classmethod
    def x25519(cls, name: str = "enclave") -> Self:
        """Return the X25519 key of that name."""
        return cls(X25519PrivateKey.from_private_bytes(secret("enclave", name, 32)))

    @classmethod
    def p256(cls, name: str = "enclave") -> Self:
        """Return the P-256 key of that name."""
        return cls(p256_key("enclave", name))

    @classmethod
    def p384(cls, name: str = "enclave") -> Self:
        """Return the P-384 key of that name."""
        return cls(p384_key("enclave", name))

    @classmethod
    def rsa(cls, bits: int = 3072) -> Self:
        """Return a new RSA key, the only one here that no seed gives: to look for its primes takes seconds."""
        return cls(generate_private_key(65537, bits))

    @property
    def spki(self) -> bytes:
        """The public key as SubjectPublicKeyInfo in DER."""
        return spki(self.private)

    @property
    def raw(self) -> bytes:
        """The 32 bytes of an Ed25519 or X25519 public key."""
        return self.spki[-32:]

    def sign(self, message: bytes) -> bytes | None:
        """Return a proof of possession in the form of attestd/binding/keys.py; a key-agreement key has none."""
        match self.private:
            case X25519PrivateKey():
                return None
            case RSAPrivateKey():
                return self.private.sign(message, PSS(MGF1(SHA256()), 32), SHA256())
            case _:
                return sign(self.private, message)
