"""Enclave keys: which are acceptable, and proof of possession.

A key comes as DER SubjectPublicKeyInfo, in the one encoding that each kind has:

    Ed25519, X25519   RFC 8410, 4
    P-256, P-384      RFC 5480, 2: id-ecPublicKey, the named curve, the uncompressed point
    RSA               RFC 3279, 2.3.1: rsaEncryption, a modulus of 3072 to 8192 bits, the exponent 65537

A proof of possession is a signature over the context (attestd/binding/transcript.py):

    Ed25519   RFC 8032, 64 bytes
    P-256     ECDSA with SHA-256, as DER Ecdsa-Sig-Value (RFC 3279, 2.2.3)
    P-384     ECDSA with SHA-384, likewise
    RSA       RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes (RFC 8017, 8.1)
    X25519    none: it cannot sign
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias, assert_never

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from attestd.errors import Malformed, NotAuthentic, Reason

# 128 bits of strength (NIST SP 800-57 part 1, table 2); beyond 8192 bits a verification costs more than a quote's.
MIN_RSA_BITS: Final = 3072
MAX_RSA_BITS: Final = 8192
RSA_EXPONENT: Final = 65537

# The ordinate of the points whose order divides the cofactor 8 (RFC 8032, 5.1); 1 is the identity's.
_PRIME: Final = 2**255 - 19
_ORDER_8: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
SMALL_ORDER_Y: Final = frozenset({0, 1, _PRIME - 1, _ORDER_8, _PRIME - _ORDER_8})
# The abscissa of the same points on the Montgomery curve and its twist (RFC 7748, 6.1: they give a shared secret of 0).
SMALL_ORDER_U: Final = frozenset(
    {
        0,
        1,
        _PRIME - 1,
        0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
        0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
    }
)

_ECDSA_SHA256: Final = ECDSA(SHA256())
_ECDSA_SHA384: Final = ECDSA(SHA384())
_PSS_SHA256: Final = PSS(MGF1(SHA256()), salt_length=32)

_Key: TypeAlias = Ed25519PublicKey | X25519PublicKey | EllipticCurvePublicKey | RSAPublicKey


class KeyAlgorithm(StrEnum):
    """The kinds of enclave keys."""

    ED25519 = "Ed25519"
    X25519 = "X25519"
    P256 = "P-256"
    P384 = "P-384"
    RSA = "RSA"


@dataclass(frozen=True, slots=True)
class EnclaveKey:
    """An acceptable key, loaded."""

    algorithm: KeyAlgorithm
    spki: bytes  # DER
    public: _Key

    @property
    def can_sign(self) -> bool:
        """Whether there are proofs of possession of this kind of key."""
        return self.algorithm is not KeyAlgorithm.X25519


def load_key(spki: bytes) -> EnclaveKey:
    """Load an enclave key from DER SubjectPublicKeyInfo.

    Raises `Malformed` (`binding.key`) where it is not the encoding of a key of one of the five kinds (a point that is
    not on its curve has none), and `NotAuthentic` (`binding.key`) where the key is weak.
    """
    try:
        public = load_der_public_key(spki)
    except (ValueError, TypeError, UnsupportedAlgorithm, Warning):  # some kinds of keys warn of themselves
        raise _not_a_key("bytes that are no key of a known kind") from None
    match public:
        case Ed25519PublicKey():
            _refuse_small_order(public.public_bytes_raw(), sign_bit=True, small_order=SMALL_ORDER_Y)
            key = EnclaveKey(KeyAlgorithm.ED25519, spki, public)
        case X25519PublicKey():
            _refuse_small_order(public.public_bytes_raw(), sign_bit=False, small_order=SMALL_ORDER_U)
            key = EnclaveKey(KeyAlgorithm.X25519, spki, public)
        case EllipticCurvePublicKey(curve=SECP256R1()):
            key = EnclaveKey(KeyAlgorithm.P256, spki, public)
        case EllipticCurvePublicKey(curve=SECP384R1()):
            key = EnclaveKey(KeyAlgorithm.P384, spki, public)
        case RSAPublicKey():
            _refuse_weak_rsa(public)
            key = EnclaveKey(KeyAlgorithm.RSA, spki, public)
        case _:
            raise _not_a_key("a key of another kind")
    if key.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != spki:
        # The key id is a digest of these bytes: one key must not have two.
        raise _not_a_key("another encoding of a key")
    return key


def verify_possession(key: EnclaveKey, proof: bytes | None, context: bytes) -> None:
    """Verify that the holder of `key` signed `context`; a key that cannot sign must come without a proof.

    Raises `NotAuthentic` (`binding.proof`).
    """
    if proof is None and key.can_sign:
        raise _not_proven("no proof", f"a signature by the {key.algorithm} key over the context")
    if proof is None:
        return
    try:
        _verify(key.public, proof, context)
    except InvalidSignature:
        raise _not_proven(
            "a signature that does not verify", f"one by the {key.algorithm} key over the context"
        ) from None


def _verify(key: _Key, signature: bytes, signed: bytes) -> None:
    match key:
        case Ed25519PublicKey():
            key.verify(signature, signed)
        case EllipticCurvePublicKey(curve=SECP256R1()):
            key.verify(signature, signed, _ECDSA_SHA256)
        case EllipticCurvePublicKey():
            key.verify(signature, signed, _ECDSA_SHA384)
        case RSAPublicKey():
            key.verify(signature, signed, _PSS_SHA256, SHA256())
        case X25519PublicKey():
            raise _not_proven("a proof by a key that cannot sign", "null with an X25519 key")
        case _:
            assert_never(key)


def _refuse_small_order(raw: bytes, *, sign_bit: bool, small_order: frozenset[int]) -> None:
    """Refuse a coordinate that is not reduced, and one of a point that multiplies everything into eight points."""
    coordinate = int.from_bytes(raw, "little")
    if sign_bit:  # of the abscissa, which the ordinate of these points does not need
        coordinate &= (1 << 255) - 1
    if coordinate >= _PRIME or coordinate in small_order:
        raise _weak("a point of small order, or a coordinate that is not reduced", "a point of the prime-order group")


def _refuse_weak_rsa(key: RSAPublicKey) -> None:
    numbers = key.public_numbers()
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS or numbers.n % 2 == 0 or numbers.e != RSA_EXPONENT:
        raise _weak(
            f"RSA with {key.key_size} bits and an exponent of {numbers.e.bit_length()} bits",
            f"an odd modulus of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits and the exponent {RSA_EXPONENT}",
        )


def _not_a_key(found: str) -> Malformed:
    return Malformed(Reason.BINDING_KEY, found=found, wanted="a DER SubjectPublicKeyInfo in its one encoding")


def _weak(found: str, wanted: str) -> NotAuthentic:
    return NotAuthentic(Reason.BINDING_KEY, found=found, wanted=wanted)


def _not_proven(found: str, wanted: str) -> NotAuthentic:
    return NotAuthentic(Reason.BINDING_PROOF, found=found, wanted=wanted)
