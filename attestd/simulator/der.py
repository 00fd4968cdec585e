"""DER, written piece by piece: certificates and CRLs here must be able to hold what no builder would let through."""

from datetime import UTC, datetime
from typing import Final

from asn1crypto import core, parser

_SEQUENCE: Final = 16
_ENUMERATED: Final = 10
# From 2050 on times have four digits of the year (RFC 5280, 4.1.2.5).
_LAST_UTC_TIME_YEAR: Final = 2049


def sequence(*parts: bytes) -> bytes:
    """Return SEQUENCE { parts }."""
    return bytes(parser.emit(0, 1, _SEQUENCE, b"".join(parts)))


def explicit(tag: int, value: bytes) -> bytes:
    """Return [tag] EXPLICIT value."""
    return bytes(parser.emit(2, 1, tag, value))


def implicit(tag: int, content: bytes) -> bytes:
    """Return [tag] IMPLICIT of a primitive type with that content."""
    return bytes(parser.emit(2, 0, tag, content))


def integer(value: int | bytes) -> bytes:
    """Return INTEGER; bytes are its contents as they stand, however DER would write that number."""
    return bytes((core.Integer(contents=value) if isinstance(value, bytes) else core.Integer(value)).dump())


def oid(dotted: str) -> bytes:
    """Return OBJECT IDENTIFIER."""
    return bytes(core.ObjectIdentifier(dotted).dump())


def octets(value: bytes) -> bytes:
    """Return OCTET STRING."""
    return bytes(core.OctetString(value).dump())


def bits(value: bytes) -> bytes:
    """Return BIT STRING of whole bytes."""
    return bytes(core.OctetBitString(value).dump())


def boolean(*, value: bool) -> bytes:
    """Return BOOLEAN."""
    return bytes(core.Boolean(value).dump())


def null() -> bytes:
    """Return NULL."""
    return bytes(core.Null().dump())


def ia5_string(text: str) -> bytes:
    """Return IA5String."""
    return bytes(core.IA5String(text).dump())


def utf8_string(text: str) -> bytes:
    """Return UTF8String."""
    return bytes(core.UTF8String(text).dump())


def enumerated(value: int) -> bytes:
    """Return ENUMERATED."""
    return bytes(parser.emit(0, 0, _ENUMERATED, value.to_bytes(1)))


def time(at: datetime) -> bytes:
    """Return UTCTime up to 2049 and GeneralizedTime afterwards; fractions of a second are cut off."""
    utc = at.astimezone(UTC).replace(microsecond=0)
    return bytes(core.UTCTime(utc).dump()) if utc.year <= _LAST_UTC_TIME_YEAR else generalized_time(at)


def generalized_time(at: datetime) -> bytes:
    """Return GeneralizedTime; fractions of a second are cut off."""
    return bytes(core.GeneralizedTime(at.astimezone(UTC).replace(microsecond=0)).dump())
