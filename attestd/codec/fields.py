"""Typed access to decoded documents."""

from datetime import datetime
from typing import Final, Self

from attestd.codec.text import load_base64, load_base64url, load_hex, load_time
from attestd.errors import Malformed, Reason

# An entry in an array of strings is an identifier: an advisory, a digest.
MAX_ENTRY_CHARACTERS: Final = 256


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

    def integer(self, name: str, most: int, *, least: int = 0) -> int:
        """Return an integer from `least` to `most`; a boolean is none."""
        value = self._members.get(name)
        if type(value) is int and least <= value <= most:
            return value
        raise self._refuse(name, value, f"an integer from {least} to {most}")

    def boolean(self, name: str) -> bool:
        """Return true or false; a number is neither."""
        value = self._members.get(name)
        if isinstance(value, bool):
            return value
        raise self._refuse(name, value, "true or false")

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

    def binaries(self, name: str, *, most: int) -> tuple[bytes, ...]:
        """Return an array of at most `most` byte strings, as `binary` has them."""
        values = {str(index): value for index, value in enumerate(self._array(name, most=most))}
        entries = type(self)(values, self._reason, f"{self._path}.{name}")
        return tuple(entries.binary(index) for index in values)

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
