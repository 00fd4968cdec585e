"""Policy documents: TOML 1.0, read so strictly that a document which loads says what its author meant.

Every member of a table must be there, no other may be, and each has one exact type. Whatever is wrong becomes
`ConfigurationRefused` (`policy.malformed`), which names the member, what was found and what was wanted.
"""

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Generic, Never, TypeVar

from attestd.codec import load_digest, load_hex
from attestd.errors import ConfigurationRefused, Malformed, Reason
from attestd.evidence import MAX_POLICY_SIZE

# tomllib takes time and memory by the square of the number of names that dots join; no policy joins more than three.
MAX_DOTS: Final = 16

# What may be shown of a document: short, and without characters that could draw on a terminal or break a log line.
_PLAIN: Final = re.compile(r"[A-Za-z0-9 ,.:'()_=/+*-]{1,80}")
_MAX_SHOWN_INTEGER: Final = 10**12

_T = TypeVar("_T")
_W = TypeVar("_W")
_E = TypeVar("_E", bound=StrEnum)
_T_co = TypeVar("_T_co", covariant=True)

# Words that may stand in place of a value or a list, and what each of them means.
ANY: Final[Mapping[str, None]] = {"any": None}
NONE: Final[Mapping[str, frozenset[Never]]] = {"none": frozenset()}
ANY_OR_NONE: Final[Mapping[str, frozenset[Never] | None]] = {"any": None, "none": frozenset()}
NO_WORD: Final[Mapping[str, Never]] = {}


def parse(raw: bytes) -> dict[str, object]:
    """Decode TOML in UTF-8. Raises `ConfigurationRefused`; so do repeated names, which TOML itself forbids."""
    if len(raw) > MAX_POLICY_SIZE:
        raise refusal("the document", f"{len(raw)} bytes", f"at most {MAX_POLICY_SIZE} bytes")
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.count(b".") > MAX_DOTS:
            raise refusal(f"line {number}", "too many dots", f"at most {MAX_DOTS} on a line")
    try:
        return tomllib.loads(raw.decode())
    except UnicodeDecodeError as error:
        raise refusal(f"byte {error.start}", "other bytes", "UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise refusal("the document", _syntax_error(error), "TOML 1.0") from None


def _syntax_error(error: Exception) -> str:
    """Keep the parser's own words where they echo nothing but plain characters, else the place alone."""
    text = str(error) if isinstance(error, tomllib.TOMLDecodeError) else ""
    if _PLAIN.fullmatch(text):
        return f"a syntax error: {text}"
    place = re.search(r"\(at (line \d+, column \d+|end of document)\)$", text)
    return f"a syntax error at {place[1]}" if place else "a syntax error"


def refusal(place: str, found: str, wanted: str) -> ConfigurationRefused:
    """Make the one error of this package; `place` is the path of a member."""
    return ConfigurationRefused(Reason.POLICY_MALFORMED, found=f"{found} at {place}", wanted=wanted)


def shown(value: object) -> str:
    """Describe a value of a document for a person, in bounded length and a plain alphabet."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value) if abs(value) < _MAX_SHOWN_INTEGER else "a huge integer"
        case str():
            return f'"{value}"' if _PLAIN.fullmatch(value) else f"a string of {len(value)} characters"
        case list():
            return f"a list of {len(value)}" if value else "an empty list"
        case dict():
            return "a table"
        case _:
            return f"a {type(value).__name__}"


@dataclass(frozen=True, slots=True)
class Kind(Generic[_T_co]):
    """A kind of value: its name for people, and a decoder that returns None for everything else."""

    wanted: str
    decode: Callable[[object], _T_co | None]


def integer(least: int, most: int) -> Kind[int]:
    """Take an integer from `least` to `most`; a boolean, a float and a string of digits are none."""
    return Kind(
        f"an integer from {least} to {most}",
        lambda value: value if type(value) is int and least <= value <= most else None,
    )


BOOLEAN: Final[Kind[bool]] = Kind("true or false", lambda value: value if isinstance(value, bool) else None)


def pattern(wanted: str, expression: str) -> Kind[str]:
    """Take a string that the regular expression describes from end to end."""
    compiled = re.compile(expression, re.ASCII)
    return Kind(wanted, lambda value: value if isinstance(value, str) and compiled.fullmatch(value) else None)


def line(most: int) -> Kind[str]:
    """Take one line of printable text."""
    return Kind(
        f"one line of 1 to {most} printable characters",
        lambda value: value if isinstance(value, str) and 0 < len(value) <= most and value.isprintable() else None,
    )


def one_of(words: Mapping[str, _T]) -> Kind[_T]:
    """Take one of the given words, spelt exactly so."""
    return Kind(", ".join(words), lambda value: words.get(value) if isinstance(value, str) else None)


def members(enumeration: type[_E], *, without: Collection[_E] = ()) -> Kind[_E]:
    """Take the value of a member of the enumeration."""
    return one_of({member.value: member for member in enumeration if member not in without})


def hexadecimal(*sizes: int) -> Kind[bytes]:
    """Take bytes of one of the sizes, in hex of either case without prefix or spaces."""

    def decode(value: object) -> bytes | None:
        try:
            raw = load_hex(value) if isinstance(value, str) else b""
        except Malformed:
            return None
        return raw if len(raw) in sizes else None

    return Kind(f"{' or '.join(map(str, sizes))} bytes in hex", decode)


def _decode_digest(value: object) -> bytes | None:
    try:
        return load_digest(value) if isinstance(value, str) else None
    except Malformed:
        return None


def _decode_time(value: object) -> datetime | None:
    try:
        return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else None
    except OverflowError:
        return None


DIGEST: Final = Kind("sha256:<64 hex digits in lower case>", _decode_digest)
TIME: Final = Kind("a time with an offset, unquoted: 2027-01-31T12:00:00Z", _decode_time)


class Table:
    """Typed access to one table, all of whose members are known to be there, and no others."""

    __slots__ = ("_members", "path")

    def __init__(self, value: object, path: str, names: Collection[str], optional: Collection[str] = ()) -> None:
        """Refuse a value that is no table, a member of another name and a name that has no member."""
        self.path = path
        if not isinstance(value, dict):
            raise refusal(path, shown(value), "a table")
        for name in value:
            if name not in names and name not in optional:
                wanted = ", ".join((*names, *optional))
                raise refusal(path or "the top level", f"the unknown member {shown(name)}", wanted)
        for name in names:
            if name not in value:
                raise refusal(self._at(name), "nothing", "a value; what does not matter is written as a word for that")
        self._members: Mapping[str, object] = value

    def __contains__(self, name: str) -> bool:
        """Tell whether an optional member is there."""
        return name in self._members

    def one(self, name: str, kind: Kind[_T], words: Mapping[str, _W]) -> _T | _W:
        """Return the member's value, or what the word means that stands in its place."""
        value = self._members[name]
        if isinstance(value, str) and value in words:
            return words[value]
        return self._decoded(self._at(name), value, kind, words)

    def many(self, name: str, kind: Kind[_T], words: Mapping[str, _W]) -> frozenset[_T] | _W:
        """Return the member's list, of at least one value and none twice, or what the word in its place means."""
        value = self._members[name]
        path = self._at(name)
        if isinstance(value, str) and value in words:
            return words[value]
        if not isinstance(value, list) or not value:
            raise refusal(path, shown(value), _alternatives(f"a list with at least one of: {kind.wanted}", words))
        decoded = [self._decoded(f"{path}[{index}]", inner, kind, NO_WORD) for index, inner in enumerate(value)]
        if len(unique := frozenset(decoded)) != len(decoded):
            raise refusal(path, "a value that is listed twice", "each value once")
        return unique

    def table(self, name: str, names: Collection[str]) -> "Table":
        """Return the member, a table of exactly these names."""
        return Table(self._members[name], self._at(name), names)

    def table_or(
        self, name: str, names: Collection[str], words: Mapping[str, _W], optional: Collection[str] = ()
    ) -> "Table | _W":
        """Return the member, a table of these names and some optional ones, or what the word in its place means."""
        value, path = self._members[name], self._at(name)
        if isinstance(value, str) and value in words:
            return words[value]
        if not isinstance(value, dict):
            raise refusal(path, shown(value), _alternatives("a table", words))
        return Table(value, path, names, optional)

    def entries(self, name: str, kind: Kind[_T]) -> list[tuple[_T, object, str]]:
        """Return name, value and path of each member of a table whose names are of a kind; there is at least one."""
        value, path = self._members[name], self._at(name)
        if not isinstance(value, dict) or not value:
            raise refusal(path, "an empty table" if value == {} else shown(value), "a table with at least one member")
        return [(self._decoded(path, inner, kind, NO_WORD), value[inner], f"{path}.{inner}") for inner in value]

    def tables(self, name: str, words: Mapping[str, _W]) -> list[tuple[dict[str, object], str]] | _W:
        """Return each table of the list with its path, or what the word in its place means; there is at least one."""
        value, path = self._members[name], self._at(name)
        if isinstance(value, str) and value in words:
            return words[value]
        if not isinstance(value, list) or not value or not all(isinstance(inner, dict) for inner in value):
            raise refusal(path, shown(value), _alternatives("a list of tables", words))
        return [(inner, f"{path}[{index}]") for index, inner in enumerate(value)]

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _decoded(self, path: str, value: object, kind: Kind[_T], words: Mapping[str, _W]) -> _T:
        decoded = kind.decode(value)
        if decoded is None:
            raise refusal(path, shown(value), _alternatives(kind.wanted, words))
        return decoded


def _alternatives(wanted: str, words: Mapping[str, object]) -> str:
    return "; or ".join((wanted, *(f'"{word}"' for word in words)))
