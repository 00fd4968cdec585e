"""Reading binary structures: little-endian fields, and DER."""

from collections.abc import Iterator
from typing import NamedTuple, NoReturn, Self

from attestd.errors import Malformed, Reason


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
