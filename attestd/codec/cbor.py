"""CBOR, strictly: definite lengths, no tags, nothing that JSON could not say but byte strings."""

from typing import Final

import cbor2

from attestd.codec.reader import Reader
from attestd.errors import Malformed, Reason

# The evidence body is nested four deep and has some thirty members and at most 64 models; there is no other CBOR.
MAX_CBOR_DEPTH: Final = 8
MAX_CBOR_ITEMS: Final = 512

# Major types (RFC 8949, 3.1); negative integers (1) and tags (6) have no use here.
_CBOR_UNSIGNED: Final = 0
_CBOR_BYTES: Final = 2
_CBOR_TEXT: Final = 3
_CBOR_ARRAY: Final = 4
_CBOR_MAP: Final = 5
# Up to 23 the argument is in the first byte; else this says in how many bytes, and from what value on.
_CBOR_FIRST_SIZE: Final = 24
_CBOR_SIZES: Final = {24: (1, 24), 25: (2, 1 << 8), 26: (4, 1 << 16), 27: (8, 1 << 32)}
_CBOR_CONSTANTS: Final = {(7, 20), (7, 21), (7, 22)}  # false, true, null


def load_cbor(raw: bytes) -> object:
    """Decode one CBOR item (RFC 8949) of what JSON can hold, with byte strings beside text.

    Refused beyond the grammar: indefinite lengths, lengths and integers that are not in their shortest form (4.1),
    tags, negative integers, floating-point numbers, simple values but false, true and null, keys that are not text,
    duplicate keys, NUL characters, bytes after the item, and more than `MAX_CBOR_DEPTH` levels or `MAX_CBOR_ITEMS`
    items. Raises `Malformed` (`cbor.malformed`).
    """
    _scan_cbor(Reader(raw, Reason.CBOR_MALFORMED))
    try:
        value: object = cbor2.loads(
            raw,
            max_depth=MAX_CBOR_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except cbor2.CBORError:  # what the scan leaves to the library
        raise _not_cbor("text that is no UTF-8, a key twice or too many levels") from None
    return value


def _not_cbor(found: str) -> Malformed:
    return Malformed(Reason.CBOR_MALFORMED, found=found, wanted="one plain item of definite length")


def _scan_cbor(reader: Reader) -> None:
    """Walk over the heads, so that the library behind `load_cbor` never meets a tag or a length that lies."""
    wanted = [(False, 1)]  # for each unfinished container: whether it is a map, and how many items it still wants
    for _ in range(MAX_CBOR_ITEMS):
        is_map, count = wanted.pop()
        if count > 1:
            wanted.append((is_map, count - 1))
        kind, argument = _cbor_head(reader)
        if is_map and count % 2 == 0 and kind != _CBOR_TEXT:
            raise _not_cbor("a key that is not text")
        if kind in {_CBOR_ARRAY, _CBOR_MAP}:
            if argument:
                wanted.append((kind == _CBOR_MAP, 2 * argument if kind == _CBOR_MAP else argument))
        elif kind in {_CBOR_BYTES, _CBOR_TEXT}:
            if b"\0" in reader.take(argument) and kind == _CBOR_TEXT:
                raise _not_cbor("a NUL in a text")
        elif kind != _CBOR_UNSIGNED and (kind, argument) not in _CBOR_CONSTANTS:
            raise _not_cbor("a tag, a negative integer, a floating-point number or another simple value")
        if not wanted:
            return reader.finish()
    raise _not_cbor(f"more than {MAX_CBOR_ITEMS} items")


def _cbor_head(reader: Reader) -> tuple[int, int]:
    """Return the major type and the argument of the next item (RFC 8949, 3)."""
    first = reader.u8()
    kind, argument = first >> 5, first & 0x1F
    if argument < _CBOR_FIRST_SIZE:
        return kind, argument
    if argument not in _CBOR_SIZES:
        raise _not_cbor("an indefinite or reserved length")
    size, least = _CBOR_SIZES[argument]
    argument = int.from_bytes(reader.take(size), "big")
    if argument < least:
        raise _not_cbor("a length or integer that is not in its shortest form")
    return kind, argument
