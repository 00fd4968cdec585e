"""Binary values and times as text: hex, base64, digests, PEM, RFC 3339."""

import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from attestd.errors import Malformed, Reason

# A chain of a leaf, an intermediate and a root, as every vendor sends it; NVIDIA sends five.
MAX_PEM_CERTIFICATES: Final = 10

_PEM_LINE: Final = 64
_PEM_BLOCK: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----\n((?:[A-Za-z0-9+/=]{1,76}\n)+)-----END CERTIFICATE-----(?:\n|\Z)"
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)


def load_hex(text: str, *, size: int | None = None) -> bytes:
    """Decode hexadecimal of either case, without prefix, spaces or an odd digit.

    Raises `Malformed` (`hex.malformed`), also where the result is not of `size` bytes.
    """
    try:
        raw = binascii.unhexlify(text)
    except ValueError:
        raise Malformed(Reason.HEX_MALFORMED, found=f"{len(text)} other characters", wanted="hex digits") from None
    if size is not None and len(raw) != size:
        raise Malformed(Reason.HEX_MALFORMED, found=f"{len(raw)} bytes", wanted=f"{size} bytes")
    return raw


def load_digest(text: str) -> bytes:
    """Decode `sha256:` and 64 lower-case hex digits. Raises `Malformed` (`hex.malformed`)."""
    if not _DIGEST.fullmatch(text):
        raise Malformed(Reason.HEX_MALFORMED, found=f"{len(text)} other characters", wanted="sha256:<64 hex digits>")
    return bytes.fromhex(text[7:])


def dump_digest(digest: bytes) -> str:
    """Encode a SHA-256 digest as `sha256:` and lower-case hex."""
    return f"sha256:{digest.hex()}"


def load_base64(text: str) -> bytes:
    """Decode standard base64 with padding (RFC 4648, 4); only the canonical encoding of a value is taken.

    Raises `Malformed` (`base64.malformed`).
    """
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise _not_base64(text) from None
    # binascii ignores the unused bits of the last digit; two texts must not mean one value.
    if binascii.b2a_base64(raw[(len(raw) - 1) // 3 * 3 :], newline=False) != text[-4:].encode():
        raise _not_base64(text)
    return raw


def dump_base64(raw: bytes) -> str:
    """Encode as standard base64 with padding."""
    return binascii.b2a_base64(raw, newline=False).decode()


def load_base64url(text: str) -> bytes:
    """Decode base64url without padding (RFC 4648, 5). Raises `Malformed` (`base64.malformed`)."""
    if "+" in text or "/" in text or "=" in text:
        raise _not_base64(text)
    return load_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))


def dump_base64url(raw: bytes) -> str:
    """Encode as base64url without padding."""
    return dump_base64(raw).rstrip("=").replace("+", "-").replace("/", "_")


def _not_base64(text: str) -> Malformed:
    return Malformed(
        Reason.BASE64_MALFORMED, found=f"{len(text)} characters that are not it", wanted="canonical base64"
    )


def load_pem(raw: bytes) -> tuple[bytes, ...]:
    r"""Decode a list of PEM certificates (RFC 7468, strict form) to DER, in the order of the text.

    Nothing may stand before, between or after the blocks, but for empty lines and one NUL at the end, which quoting
    services add.
    Raises `Malformed` (`pem.malformed`).
    """
    text = raw.removesuffix(b"\0").rstrip(b"\n") + b"\n"
    blocks: list[bytes] = []
    position = 0
    while position < len(text):
        block = _PEM_BLOCK.match(text, position)
        if block is None or len(blocks) == MAX_PEM_CERTIFICATES:
            raise _not_pem(f"other text or too many blocks after {len(blocks)} certificates")
        position = block.end()
        try:
            blocks.append(load_base64(block[1].replace(b"\n", b"").decode("ascii")))
        except Malformed:
            raise _not_pem(f"bad base64 in certificate {len(blocks) + 1}") from None
    return tuple(blocks)


def dump_pem(*ders: bytes) -> bytes:
    """Encode certificates as PEM (RFC 7468, section 5.1)."""
    return b"".join(
        b"-----BEGIN CERTIFICATE-----\n%b\n-----END CERTIFICATE-----\n" % b"\n".join(_lines(dump_base64(der).encode()))
        for der in ders
    )


def _lines(text: bytes) -> Iterator[bytes]:
    return (text[at : at + _PEM_LINE] for at in range(0, len(text), _PEM_LINE))


def _not_pem(found: str) -> Malformed:
    return Malformed(
        Reason.PEM_MALFORMED, found=found, wanted=f"1 to {MAX_PEM_CERTIFICATES} CERTIFICATE blocks and nothing else"
    )


def load_time(text: str) -> datetime:
    """Decode an RFC 3339 time with an offset to an aware datetime in UTC. Raises `Malformed` (`time.malformed`)."""
    if _RFC3339.fullmatch(text):
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise Malformed(Reason.TIME_MALFORMED, found=f"{len(text)} characters", wanted="2026-01-31T12:00:00Z")


def dump_time(at: datetime) -> str:
    """Encode an aware datetime as RFC 3339 in UTC with the suffix Z; fractions only where there are any."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
