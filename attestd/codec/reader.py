"""Reading binary structures of little-endian fields."""

from struct import Struct
from typing import Any, NoReturn, Self

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

    def unpack(self, layout: Struct) -> tuple[Any, ...]:
        """Return the fields of a layout (little-endian, as all of them), whose size it skips."""
        start, stop = self.offset, self.offset + layout.size
        if stop > self._end:
            self._refuse(layout.size)
        self.offset = stop
        return layout.unpack_from(self._data, start)

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
