"""Strict loaders: a bounds-checked reader, JSON, CBOR, base64, hex, PEM, digests and RFC 3339 times.

One loader per encoding for the whole program. Each takes bytes of unknown origin and returns a value or raises
`Malformed` with a stable reason; none echoes what it was given. No cryptography here.
"""

import binascii
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple, NoReturn, Self, TypeAlias, TypeVar

import cbor2

from attestd.errors import Malformed, Reason

# Deeper than any vendor's document (TCB Info: 5) and far from the interpreter's recursion limit.
MAX_JSON_DEPTH: Final = 16
# A signed document is an object of two members, the body and the signature over it.
MAX_JSON_MEMBERS: Final = 16
# A chain of a leaf, an intermediate and a root, as every vendor sends it; NVIDIA sends five.
MAX_PEM_CERTIFICATES: Final = 10
# An entry in an array of strings is an identifier: an advisory, a digest.
MAX_ENTRY_CHARACTERS: Final = 256
# The evidence body is nested four deep and has some thirty members and at most 64 models; there is no other CBOR.
MAX_CBOR_DEPTH: Final = 8
MAX_CBOR_ITEMS: Final = 512

# A string that nothing closes is taken to the end: a match that failed there would begin anew at each quote inside.
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))
_SQUARE_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_UNSAFE_TEXT: Final = re.compile("[\0\ud800-\udfff]")
_PEM_BLOCK: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----\n((?:[A-Za-z0-9+/=]{1,76}\n)+)-----END CERTIFICATE-----(?:\n|\Z)"
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)


class Reader:
    """Reads little-endian fields from the front of a buffer and never past its end.

    Every read raises `Malformed` with the reason given at construction.
    """

    __slots__ = ("_data", "_end", "_reason", "offset")

    def __init__(self, data: bytes, reason: Reason, *, offset: int = 0, end: int | None = None) -> None:
        """Read `data[offset:end]`; `end` must lie within the buffer."""
        self._data = data
        self._reason = reason
        self.offset = offset
        self._end = len(data) if end is None else end
        if not 0 <= offset <= self._end <= len(data):
            self._refuse(self._end - offset)

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        start, stop = self.offset, self.offset + size
        if size < 0 or stop > self._end:
            self._refuse(size)
        self.offset = stop
        return self._data[start:stop]

    def u8(self) -> int:
        """Return the next byte as an unsigned integer."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Return the next two bytes as an unsigned little-endian integer."""
        return int.from_bytes(self.take(2), "little")

    def u32(self) -> int:
        """Return the next four bytes as an unsigned little-endian integer."""
        return int.from_bytes(self.take(4), "little")

    def nested(self, size: int) -> Self:
        """Return a reader over the next `size` bytes, which this one skips."""
        start = self.offset
        self.take(size)
        return type(self)(self._data, self._reason, offset=start, end=start + size)

    def remaining(self) -> int:
        """Return how many bytes are left."""
        return self._end - self.offset

    def finish(self) -> None:
        """Refuse bytes that nothing has read."""
        if self.offset != self._end:
            raise Malformed(
                self._reason, found=f"{self.remaining()} bytes too many at {self.offset}", wanted="nothing after it"
            )

    def _refuse(self, size: int) -> NoReturn:
        raise Malformed(
            self._reason, found=f"{self.remaining()} bytes left at offset {self.offset}", wanted=f"{size} bytes"
        )


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

    Nothing may stand before, between or after the blocks, but for one final NUL, which Intel's quoting library adds.
    Raises `Malformed` (`pem.malformed`).
    """
    text = raw.removesuffix(b"\0")
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
    if not blocks:
        raise _not_pem("no certificate")
    return tuple(blocks)


def _not_pem(found: str) -> Malformed:
    return Malformed(
        Reason.PEM_MALFORMED, found=found, wanted=f"1 to {MAX_PEM_CERTIFICATES} CERTIFICATE blocks and nothing else"
    )


class DerElement(NamedTuple):
    """One DER element: its tag, its content, and the whole of it as it is encoded."""

    tag: int
    content: bytes
    encoded: bytes


def load_der_sequence(raw: bytes, reason: Reason) -> Iterator[DerElement]:
    """Yield the elements that `raw` consists of, in DER: definite, minimal lengths (X.690, 10.1).

    Tags are one octet, as in every structure read here. Raises `Malformed` with `reason`.
    """
    position = 0
    while position < len(raw):
        start = position
        tag, size, position = _der_head(raw, position, reason)
        stop = position + size
        if stop > len(raw):
            raise Malformed(reason, found=f"{len(raw) - position} octets left", wanted=f"{size} octets")
        yield DerElement(tag, raw[position:stop], raw[start:stop])
        position = stop


def _der_head(raw: bytes, position: int, reason: Reason) -> tuple[int, int, int]:
    """Read tag and length; return them with the position of the content."""
    head = raw[position : position + 2]
    if len(head) == 2 and head[1] < 0x80:  # noqa: PLR2004 - tag and short length
        return head[0], head[1], position + 2
    count = head[-1] & 0x7F if len(head) == 2 else 0  # noqa: PLR2004
    octets = raw[position + 2 : position + 2 + count]
    size = int.from_bytes(octets, "big")
    # Three octets of length reach 16 MiB, more than any structure may have here.
    if not 0 < len(octets) <= 3 or octets[0] == 0 or size < 0x80:  # noqa: PLR2004
        raise Malformed(reason, found="a length that is not minimal, indefinite or cut short", wanted="DER")
    return head[0], size, position + 2 + count


def load_der_unsigned(content: bytes, reason: Reason, *, most: int) -> int:
    """Decode the content of a DER INTEGER from 0 to `most`, minimally encoded. Raises `Malformed` with `reason`."""
    value = int.from_bytes(content, "big", signed=True) if content else -1
    minimal = len(content) == 1 or content[:1] != b"\0" or content[1] & 0x80
    if minimal and 0 <= value <= most:
        return value
    raise Malformed(reason, found=f"an integer of {len(content)} octets", wanted=f"0 to {most}, minimally encoded")


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


_T = TypeVar("_T")
_V = TypeVar("_V")
_JSON_SPACE: Final = frozenset(" \t\n\r")

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | bool | None"


def load_json(raw: bytes) -> Json:
    """Decode one JSON document (RFC 8259) in UTF-8.

    Refused beyond the grammar: a byte order mark, duplicate members, NaN and infinities, any number that is not an
    integer, lone surrogates, NUL characters, nesting deeper than `MAX_JSON_DEPTH`.
    Raises `Malformed` with `json.malformed`, `json.duplicate_member`, `json.number` or `json.depth`.
    """
    value: Json = _strict(raw, _DECODER.decode)
    return value


class Member(NamedTuple):
    """A member of a JSON object: its value, and the exact bytes that it was written in."""

    value: Json
    raw: bytes


def load_json_members(raw: bytes) -> dict[str, Member]:
    """Decode one JSON object and keep the exact bytes of each member's value.

    A signature over a member is checked against these bytes, never against a re-serialisation (tdx.md, steps 4, 5).
    Raises as `load_json` does.
    """
    return _strict(raw, _decode_members)


def _strict(raw: bytes, decode: Callable[[str], _T]) -> _T:
    _refuse_depth(raw)
    try:
        value = decode(raw.decode())
    except UnicodeDecodeError as error:
        raise Malformed(Reason.JSON_MALFORMED, found=f"no UTF-8 at byte {error.start}", wanted="UTF-8") from None
    except json.JSONDecodeError as error:
        raise Malformed(
            Reason.JSON_MALFORMED, found=f"a syntax error at character {error.pos}", wanted="strict JSON"
        ) from None
    except ValueError:  # the interpreter's own limit on the digits of an integer
        raise _not_integer("an integer of thousands of digits") from None
    # Only an escape can smuggle in what UTF-8 cannot carry, so the walk is for documents with escapes.
    if b"\\" in raw:
        _refuse_unsafe_text(value)
    return value


def _decode_members(text: str) -> dict[str, Member]:
    """Walk the outermost object; everything below its members is the library's to parse."""
    members: list[tuple[str, Member]] = []
    position, mark = _expect(text, 0, "{")
    while mark != "}":
        name, position = _DECODER.raw_decode(text, _skip_space(text, position))
        if not isinstance(name, str):
            raise json.JSONDecodeError("member name", text, position)
        start = _skip_space(text, _expect(text, position, ":")[0])
        value, stop = _DECODER.raw_decode(text, start)
        members.append((name, Member(value, text[start:stop].encode())))
        if len(members) > MAX_JSON_MEMBERS:
            raise Malformed(Reason.JSON_SCHEMA, found="more members", wanted=f"at most {MAX_JSON_MEMBERS}")
        position, mark = _expect(text, stop, ",}")
    if _skip_space(text, position) != len(text):
        raise json.JSONDecodeError("trailing data", text, position)
    return _unique_members(members)


def _expect(text: str, position: int, marks: str) -> tuple[int, str]:
    """Skip white space and one of `marks`; return where it ends and which it was."""
    position = _skip_space(text, position)
    mark = text[position : position + 1]
    if not mark or mark not in marks:
        raise json.JSONDecodeError("punctuation", text, position)
    return position + 1, mark


def _skip_space(text: str, position: int) -> int:
    while text[position : position + 1] in _JSON_SPACE:
        position += 1
    return position


def _unique_members(pairs: list[tuple[str, _V]]) -> dict[str, _V]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed(
            Reason.JSON_DUPLICATE_MEMBER, found=f"{len(pairs) - len(members)} repeated names", wanted="each name once"
        )
    return members


def _not_integer(found: str) -> Malformed:
    return Malformed(Reason.JSON_NUMBER, found=found, wanted="an integer")


def _refuse_number(text: str) -> NoReturn:
    raise _not_integer(f"a number of {len(text)} characters that is no integer")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique_members, parse_float=_refuse_number, parse_constant=_refuse_number
)


def _refuse_depth(raw: bytes) -> None:
    """Strip one level of brackets per round; whatever is left after the allowed rounds was nested deeper."""
    left = _strip_levels(raw)
    if left and b'"' in raw:  # brackets inside of strings do not nest: look again without the strings
        left = _strip_levels(_STRING.sub(b"", raw))
    # What never closes is a syntax error, which the parser will name unless it is deep enough to exhaust the stack.
    if b"[]" in left or left.count(b"[") > MAX_JSON_DEPTH:
        raise Malformed(Reason.JSON_DEPTH, found="deeper nesting", wanted=f"at most {MAX_JSON_DEPTH} levels")


def _strip_levels(raw: bytes) -> bytes:
    brackets = raw.translate(_SQUARE_BRACKETS, _NOT_BRACKETS)
    for _ in range(MAX_JSON_DEPTH):
        if b"[]" not in brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    return brackets


def _refuse_unsafe_text(value: object) -> None:
    for text in _texts(value):
        if _UNSAFE_TEXT.search(text):
            raise Malformed(Reason.JSON_MALFORMED, found="a NUL or a lone surrogate", wanted="Unicode text")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list | Member):
        for inner in value:
            yield from _texts(inner)


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


class Fields:
    """Typed access to the members of a decoded JSON object; anything missing or of another type is `Malformed`."""

    __slots__ = ("_members", "_path", "_reason")

    _members: dict[str, object]

    def __init__(self, value: object, reason: Reason = Reason.JSON_SCHEMA, path: str = "document") -> None:
        """Take a value that must be an object; `path` names it in what a person reads."""
        if not isinstance(value, dict):
            raise Malformed(reason, found=f"{_kind(value)} at {path}", wanted="an object")
        self._members = value
        self._reason = reason
        self._path = path

    def only(self, *names: str) -> Self:
        """Refuse members of other names; their names are not echoed."""
        if unknown := [name for name in self._members if name not in names]:
            raise Malformed(
                self._reason, found=f"{len(unknown)} unknown members in {self._path}", wanted=", ".join(names)
            )
        return self

    def __contains__(self, name: str) -> bool:
        """Tell whether the member is there, null included."""
        return name in self._members

    def given(self, name: str) -> bool:
        """Tell whether the member is there and not null: for members that may be left out."""
        return self._members.get(name) is not None

    def text(self, name: str, *, most: int = 256, least: int = 1) -> str:
        """Return a string of `least` to `most` characters."""
        value = self._members.get(name)
        if isinstance(value, str) and least <= len(value) <= most:
            return value
        raise self._refuse(name, value, f"a string of {least} to {most} characters")

    def integer(self, name: str, most: int) -> int:
        """Return an integer from 0 to `most`; a boolean is none."""
        value = self._members.get(name)
        if type(value) is int and 0 <= value <= most:
            return value
        raise self._refuse(name, value, f"an integer from 0 to {most}")

    def hexadecimal(self, name: str, size: int) -> bytes:
        """Return `size` bytes written in hex of either case."""
        text = self.text(name, most=2 * size)
        try:
            return load_hex(text, size=size)
        except Malformed:
            raise self._refuse(name, text, f"{size} bytes in hex") from None

    def binary(self, name: str, *, url: bool = False) -> bytes:
        """Return a byte string, which in JSON is base64 (RFC 4648, 4), or base64url without padding (RFC 4648, 5).

        Raises `Malformed` (`base64.malformed`) where it is not canonical.
        """
        text = self._members.get(name)
        if not isinstance(text, str):
            raise self._refuse(name, text, "a string of base64")
        try:
            return load_base64url(text) if url else load_base64(text)
        except Malformed as error:
            raise Malformed(error.reason, found=f"{error.found} at {self._path}.{name}", wanted=error.wanted) from None

    def time(self, name: str) -> datetime:
        """Return an RFC 3339 time in UTC."""
        text = self.text(name)
        try:
            return load_time(text)
        except Malformed:
            raise self._refuse(name, text, "an RFC 3339 time") from None

    def texts(self, name: str, *, most: int = 256) -> tuple[str, ...]:
        """Return an array of at most `most` strings of 1 to 256 characters; an absent member is an empty one."""
        values = self._array(name, default_empty=True, most=most)
        if not all(isinstance(value, str) and 0 < len(value) <= MAX_ENTRY_CHARACTERS for value in values):
            raise self._refuse(name, values, "an array of strings")
        return tuple(str(value) for value in values)

    def fields(self, name: str) -> Self:
        """Return a member that is an object."""
        return type(self)(self._members.get(name), self._reason, f"{self._path}.{name}")

    def array(self, name: str, *, most: int = 256, least: int = 1) -> list[Self]:
        """Return an array of `least` to `most` objects."""
        values = self._array(name, default_empty=least == 0, most=most)
        if len(values) < least:
            raise self._refuse(name, values, f"at least {least} entries")
        return [type(self)(value, self._reason, f"{self._path}.{name}[{index}]") for index, value in enumerate(values)]

    def integers(self, name: str, member: str, *, count: int, most: int) -> list[int]:
        """Return `member`, an integer from 0 to `most`, of each of exactly `count` objects."""
        values = [entry.get(member) if isinstance(entry, dict) else None for entry in self._array(name, most=count)]
        integers = [value for value in values if type(value) is int and 0 <= value <= most]
        if len(values) == len(integers) == count:
            return integers
        raise self.refuse(name, f"{count} objects with an integer {member} from 0 to {most}")

    def _array(self, name: str, *, most: int, default_empty: bool = False) -> list[object]:
        value = self._members.get(name, [] if default_empty else None)
        if isinstance(value, list) and len(value) <= most:
            return value
        raise self._refuse(name, value, f"an array of at most {most}")

    def refuse(self, name: str, wanted: str) -> Malformed:
        """Return the refusal of a member that does not fit for a reason that only the caller knows."""
        return self._refuse(name, self._members.get(name), wanted)

    def _refuse(self, name: str, value: object, wanted: str) -> Malformed:
        found = "nothing" if name not in self._members else _kind(value)
        return Malformed(self._reason, found=f"{found} at {self._path}.{name}", wanted=wanted)


class CborFields(Fields):
    """The same for a decoded CBOR map, where byte strings stand for themselves."""

    __slots__ = ()

    def binary(self, name: str, *, url: bool = False) -> bytes:  # noqa: ARG002 - there is nothing to tell apart
        """Return a byte string; base64 in a text string is none."""
        value = self._members.get(name)
        if isinstance(value, bytes):
            return value
        raise self._refuse(name, value, "a byte string")


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer" if -1 < value < 2**64 else "an integer out of range"
        case str():
            return f"a string of {len(value)} characters"
        case bytes():
            return f"{len(value)} bytes"
        case list():
            return f"an array of {len(value)}"
        case _:
            return "an object"
