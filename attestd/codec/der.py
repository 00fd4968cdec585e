"""Reading DER (X.690): elements in a row, whole trees, and the few primitive types that are decoded here."""

from datetime import datetime
from functools import cache
from typing import Final, NamedTuple

from attestd.errors import Malformed, Reason

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
ENUMERATED: Final = 0x0A
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31

# A certificate nests eight deep; the constraints on names of a sub-CA might add some.
MAX_DER_DEPTH: Final = 16

_CONSTRUCTED: Final = 0x20
_CONTEXT_SPECIFIC: Final = 0x80
_LONG_TAG: Final = 0x1F
_LONG_LENGTH: Final = 0x80


class DerElement(NamedTuple):
    """One DER element: its tag, its content, and the whole of it as it is encoded."""

    tag: int
    content: bytes
    encoded: bytes


def load_der_sequence(raw: bytes, reason: Reason) -> list[DerElement]:
    """Return the elements that `raw` consists of, in DER: definite, minimal lengths (X.690, 10.1).

    Tags are one octet, as in every structure read here. Raises `Malformed` with `reason`.
    """
    elements = []
    start, end = 0, len(raw)
    while start < end:
        content = start + 2
        if content > end:
            raise _beyond(start, end, reason)
        tag, stop = raw[start], content + raw[start + 1]
        if stop - content >= _LONG_LENGTH:
            content, stop = _long_bounds(raw, content, reason)
        if stop > end or tag & _LONG_TAG == _LONG_TAG:
            raise _beyond(start, end, reason)
        # What DerElement(…) does, in two thirds of its time: a certificate has over a hundred.
        elements.append(tuple.__new__(DerElement, (tag, raw[content:stop], raw[start:stop])))
        start = stop
    return elements


def require_der(raw: bytes, reason: Reason, *, above: int = 0) -> None:
    """Refuse bytes that are not DER elements down to the last one, at most `MAX_DER_DEPTH` deep.

    `above` says how many elements they are taken out of. What primitive elements hold is not looked at. Raises
    `Malformed` with `reason`.
    """
    _require_der(raw, 0, len(raw), MAX_DER_DEPTH - above, reason)


def _require_der(raw: bytes, start: int, end: int, depth: int, reason: Reason) -> None:
    while start < end:
        content = start + 2
        if content > end:
            raise _beyond(start, end, reason)
        tag, stop = raw[start], content + raw[start + 1]
        if stop - content >= _LONG_LENGTH:
            content, stop = _long_bounds(raw, content, reason)
        if stop > end or tag & _LONG_TAG == _LONG_TAG:
            raise _beyond(start, end, reason)
        if tag & _CONSTRUCTED:
            # Of the universal types only SEQUENCE and SET consist of elements; pieces of strings are BER (X.690, 10.2).
            if not depth or (tag < _CONTEXT_SPECIFIC and tag not in (SEQUENCE, SET)):
                raise Malformed(reason, found=f"a constructed element with tag {tag:#04x}", wanted="DER, not so deep")
            _require_der(raw, content, stop, depth - 1, reason)
        start = stop


def _beyond(start: int, end: int, reason: Reason) -> Malformed:
    return Malformed(
        reason, found=f"an element at {start} that ends behind {end}, or a longer tag", wanted="nested elements in DER"
    )


def _long_bounds(raw: bytes, content: int, reason: Reason) -> tuple[int, int]:
    octets = raw[content : content + (raw[content - 1] & ~_LONG_LENGTH)]
    size = int.from_bytes(octets, "big")
    content += len(octets)
    # Three octets of length reach 16 MiB, more than any structure may have here.
    if not 0 < len(octets) <= 3 or octets[0] == 0 or size < _LONG_LENGTH:  # noqa: PLR2004
        raise Malformed(reason, found="a length that is not minimal, indefinite or cut short", wanted="DER")
    return content, content + size


def load_der_unsigned(content: bytes, reason: Reason, *, most: int) -> int:
    """Decode the content of a DER INTEGER from 0 to `most`, minimally encoded. Raises `Malformed` with `reason`."""
    value = int.from_bytes(content, "big", signed=True) if content else -1
    minimal = len(content) == 1 or content[:1] != b"\0" or content[1] & 0x80
    if minimal and 0 <= value <= most:
        return value
    raise Malformed(reason, found=f"an integer of {len(content)} octets", wanted=f"0 to {most}, minimally encoded")


@cache
def dump_oid(dotted: str) -> bytes:
    """Encode the content of an OBJECT IDENTIFIER, such as 2.5.29.19 (X.690, 8.19). For identifiers that code names."""
    first, second, *rest = map(int, dotted.split("."))
    content = bytearray()
    for arc in (40 * first + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        content += bytes(reversed(groups))
    return bytes(content)


def load_der_time(element: DerElement, reason: Reason) -> datetime:
    """Decode a time as certificates write it, in UTC to the second.

    RFC 5280, 4.1.2.5 has UTCTime until 2049; two of NVIDIA's CAs for RIMs have GeneralizedTime before that, which says
    the same. Raises `Malformed` with `reason`.
    """
    digits = element.content[:-1].decode("ascii", "replace")
    if element.tag == UTC_TIME:
        digits = ("19" if digits >= "5" else "20") + digits
    elif element.tag != GENERALIZED_TIME:
        digits = ""
    if element.content[-1:] == b"Z" and len(digits) == 14 and digits.isdigit():  # noqa: PLR2004 - YYYYMMDDhhmmss
        try:
            return datetime.fromisoformat(f"{digits[:8]}T{digits[8:]}Z")
        except ValueError:
            pass
    raise Malformed(reason, found=f"a time of {len(element.content)} octets", wanted="a time as RFC 5280 writes it")
