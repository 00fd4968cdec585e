"""JSON, strictly: what two readers could take for two things is refused."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, NoReturn, TypeAlias, TypeVar

from attestd.errors import Malformed, Reason

# Deeper than any vendor's document (TCB Info: 5) and far from the interpreter's recursion limit.
MAX_JSON_DEPTH: Final = 16
# More than an event log of 1 MiB has. Empty objects take thirty times the room in memory that they take in the text.
MAX_JSON_ITEMS: Final = 100_000
# A signed document is an object of two members, the body and the signature over it.
MAX_JSON_MEMBERS: Final = 16

# A string that nothing closes is taken to the end: a match that failed there would begin anew at each quote inside.
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))
_SQUARE_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_UNSAFE_TEXT: Final = re.compile("[\0\ud800-\udfff]")

_T = TypeVar("_T")
_V = TypeVar("_V")
_JSON_SPACE: Final = frozenset(" \t\n\r")

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | bool | None"


def load_json(raw: bytes) -> Json:
    """Decode one JSON document (RFC 8259) in UTF-8.

    Refused beyond the grammar: a byte order mark, duplicate members, NaN and infinities, any number that is not an
    integer, lone surrogates, NUL characters, nesting deeper than `MAX_JSON_DEPTH`, more than `MAX_JSON_ITEMS` values.
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
    _refuse_crowd(raw)
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
    if text.startswith("}", _skip_space(text, position)):
        position, mark = _expect(text, position, "}")
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


def _refuse_crowd(raw: bytes) -> None:
    """Count values before any is made: each follows a comma, or is the first in what a bracket opens.

    The marks inside of strings count, too: no text that is sent to us comes near the limit with them. There are no more
    marks than bytes.
    """
    if len(raw) > MAX_JSON_ITEMS and raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_JSON_ITEMS:
        raise Malformed(Reason.JSON_MALFORMED, found="more values", wanted=f"at most {MAX_JSON_ITEMS}")


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
