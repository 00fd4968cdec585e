"""How to do one thing wrong: edits of bytes, and how something is signed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from attestd.simulator.keys import P256_ORDER, SigningKey, ecdsa_sig_value, sign, sign_p256, sign_p384, sign_pkcs1

Edit: TypeAlias = Callable[[bytes], bytes]


def unchanged(raw: bytes) -> bytes:
    """Leave the bytes as they are."""
    return raw


@dataclass(frozen=True, kw_only=True)
class Signing:
    """How a thing gets signed; without arguments as the genuine signer does it.

    `before` edits what is signed, so that everything else stays right; `after` edits the finished thing (certificate,
    CRL, JSON document, quote; QE report with its signature), and no signature is made again.
    """

    key: SigningKey | None = None  # signs instead of the genuine one
    before: Edit = unchanged
    after: Edit = unchanged
    signature: bytes | None = None  # r ‖ s that stands in place of any signature
    make: Callable[[bytes], bytes] | None = None  # of what is signed: the signature value of a certificate, CRL or RIM

    def p256(self, key: EllipticCurvePrivateKey, message: bytes) -> bytes:
        """Return r ‖ s over `message`, by `key` unless told otherwise."""
        return sign_p256(self._signer(key), message) if self.signature is None else self.signature

    def p384(self, key: EllipticCurvePrivateKey, message: bytes) -> bytes:
        """Return r ‖ s over `message`, by `key` unless told otherwise."""
        if self.make is not None:
            return self.make(message)
        return sign_p384(self._signer(key), message) if self.signature is None else self.signature

    def _signer(self, key: EllipticCurvePrivateKey) -> EllipticCurvePrivateKey:
        signer = self.key or key
        if not isinstance(signer, EllipticCurvePrivateKey):
            raise TypeError("quotes, reports and JSON documents are signed with an ECDSA key")
        return signer

    def pkcs1(self, key: RSAPrivateKey, message: bytes) -> bytes:
        """Return a TPM's signature over `message`, by `key` unless told otherwise."""
        signer = self.key or key
        if not isinstance(signer, RSAPrivateKey):
            raise TypeError("TPM quotes are signed with an RSA key")
        return sign_pkcs1(signer, message)

    def der(self, key: SigningKey, message: bytes) -> bytes:
        """Return the signature value of a certificate or CRL over `message`, by `key` unless told otherwise."""
        if self.make is not None:
            return self.make(message)
        return sign(self.key or key, message) if self.signature is None else ecdsa_sig_value(self.signature)


GENUINE: Final = Signing()


def flip(offset: int, bit: int = 0) -> Edit:
    """Flip one bit of the byte at `offset`."""
    return lambda raw: put(offset, bytes((raw[offset] ^ 1 << bit,)))(raw)


def put(offset: int, replacement: bytes) -> Edit:
    """Write `replacement` over what stands at `offset`; a negative one counts from the end."""

    def edit(raw: bytes) -> bytes:
        start = offset % len(raw)
        return _changed(raw, raw[:start] + replacement + raw[start + len(replacement) :], len(raw))

    return edit


def swap(old: bytes, new: bytes) -> Edit:
    """Write `new` in place of the first `old`."""
    return lambda raw: _changed(raw, raw.replace(old, new, 1))


def cut(size: int) -> Edit:
    """Keep the first `size` bytes only."""
    return lambda raw: _changed(raw, raw[:size])


def append(tail: bytes) -> Edit:
    """Add bytes at the end."""
    return lambda raw: _changed(raw, raw + tail)


def negate_s(offset: int) -> Edit:
    """Replace s by n - s in the signature r ‖ s at `offset`: another signature that verifies (ECDSA is malleable)."""
    start, stop = offset + 32, offset + 64
    return lambda raw: put(start, (P256_ORDER - int.from_bytes(raw[start:stop])).to_bytes(32))(raw)


def _changed(raw: bytes, edited: bytes, size: int | None = None) -> bytes:
    """Return `edited`; an edit without effect would make a negative test pass for no reason."""
    if edited == raw or (size is not None and len(edited) != size):
        raise ValueError("the edit does not change what it was meant to change")
    return edited
