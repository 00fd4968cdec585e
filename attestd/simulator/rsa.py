"""RSA test keys from a seed, and RSASSA-PSS signatures that are the same bytes each time.

OpenSSL makes no RSA key from a seed, and lets nobody choose the salt of a PSS signature, so both are done here. What
this leaks through time does not matter: everybody can derive these keys.
"""

import hashlib
from functools import cache
from itertools import count
from math import gcd, prod
from typing import Final, Literal, TypeAlias

from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPrivateNumbers,
    RSAPublicNumbers,
    rsa_crt_dmp1,
    rsa_crt_dmq1,
    rsa_crt_iqmp,
)

from attestd.simulator import der

Digest: TypeAlias = Literal["sha256", "sha384"]

RSASSA_PSS: Final = "1.2.840.113549.1.1.10"
_MGF1: Final = "1.2.840.113549.1.1.8"
_DIGESTS: Final[dict[Digest, str]] = {"sha256": "2.16.840.1.101.3.4.2.1", "sha384": "2.16.840.1.101.3.4.2.2"}
_DEFAULT_TRAILER: Final = 1

_EXPONENT: Final = 65537
# Most numbers that are not prime have a small factor, which is found sooner than Fermat's test is done.
_SMALL_FACTORS: Final = prod(range(3, 1000, 2))

# How far the primes of a key lie above the numbers that its seed and name give. Each is found again in a second or two
# where it is not listed; that they are right a test says.
_STEPS: Final = {
    ("attestd", "ark Milan", 4096): (338, 1056),
    ("attestd", "ask Milan", 4096): (100, 2690),
    ("attestd", "asvk Milan", 4096): (2460, 2548),
    ("attestd", "ark Genoa", 4096): (2326, 286),
    ("attestd", "ask Genoa", 4096): (624, 584),
    ("attestd", "asvk Genoa", 4096): (80, 806),
    ("attestd", "ark Turin", 4096): (1416, 566),
    ("attestd", "ask Turin", 4096): (266, 1200),
    ("attestd", "asvk Turin", 4096): (5648, 974),
    ("mallory", "ark Genoa", 4096): (1386, 2850),
    ("mallory", "ask Genoa", 4096): (1704, 628),
    ("mallory", "asvk Genoa", 4096): (2170, 1740),
    ("attestd", "vtpm ak", 2048): (284, 64),
    ("mallory", "vtpm ak", 2048): (706, 26),
}


@cache
def rsa_key(seed: str, name: str, bits: int = 4096) -> RSAPrivateKey:
    """Return the RSA key of that name."""
    steps = _STEPS.get((seed, name, bits), (None, None))
    p, q = (_prime(seed, f"{name} {which}", bits // 2, step) for which, step in zip("pq", steps, strict=True))
    d = pow(_EXPONENT, -1, (p - 1) * (q - 1))
    numbers = RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa_crt_dmp1(d, p),
        dmq1=rsa_crt_dmq1(d, q),
        iqmp=rsa_crt_iqmp(p, q),
        public_numbers=RSAPublicNumbers(_EXPONENT, p * q),
    )
    # Validation would test both primes each time.
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _prime(seed: str, name: str, bits: int, step: int | None) -> int:
    digest = hashlib.shake_256(f"attestd simulator\0{seed}\0{name}".encode()).digest(bits // 8)
    # With the two highest bits set the product of two has no bit less than both together.
    start = int.from_bytes(digest) | 0b11 << (bits - 2) | 1
    return start + (next(even for even in count(0, 2) if _is_prime(start + even)) if step is None else step)


def _is_prime(number: int) -> bool:
    """Fermat's test, which of numbers that nobody chose passes none that is not prime."""
    return gcd(number, _SMALL_FACTORS) == 1 and number % _EXPONENT != 1 and pow(2, number - 1, number) == 1


@cache
def sign_pss(key: RSAPrivateKey, message: bytes, digest: Digest = "sha384", salt_size: int = 48) -> bytes:
    """Sign with RSASSA-PSS (RFC 8017, 8.1.1) and MGF1 of the same digest; the salt comes from the message."""
    numbers = key.private_numbers()
    encoded = int.from_bytes(_encode_pss(message, digest, salt_size, key.key_size))
    modulo_q = pow(encoded, numbers.dmq1, numbers.q)
    factor = (pow(encoded, numbers.dmp1, numbers.p) - modulo_q) * numbers.iqmp % numbers.p
    return (modulo_q + factor * numbers.q).to_bytes(key.key_size // 8)


def _encode_pss(message: bytes, digest: Digest, salt_size: int, bits: int) -> bytes:
    """EMSA-PSS-ENCODE (RFC 8017, 9.1.1) for a modulus of `bits`, a multiple of eight."""
    hashed = hashlib.new(digest, message).digest()
    salt = hashlib.shake_256(b"attestd simulator\0salt\0" + hashed).digest(salt_size)
    seed = hashlib.new(digest, bytes(8) + hashed + salt).digest()
    block = (b"\1" + salt).rjust(bits // 8 - len(seed) - 1, b"\0")
    masked = bytes(a ^ b for a, b in zip(block, _mgf1(seed, digest, len(block)), strict=True))
    return bytes((masked[0] & 0x7F,)) + masked[1:] + seed + b"\xbc"


def _mgf1(seed: bytes, digest: Digest, size: int) -> bytes:
    blocks = (hashlib.new(digest, seed + number.to_bytes(4)).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def rsassa_pss(digest: Digest = "sha384", salt_size: int = 48, *, trailer: bool = False) -> bytes:
    """Return the AlgorithmIdentifier (RFC 4055, 3.1); `trailer` writes out the trailer field, which DER leaves out."""
    hashed = der.sequence(der.oid(_DIGESTS[digest]), der.null())
    parameters = (
        der.explicit(0, hashed),
        der.explicit(1, der.sequence(der.oid(_MGF1), hashed)),
        der.explicit(2, der.integer(salt_size)),
        der.explicit(3, der.integer(_DEFAULT_TRAILER)) if trailer else b"",
    )
    return der.sequence(der.oid(RSASSA_PSS), der.sequence(*parameters))
