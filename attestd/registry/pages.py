"""Lists in pages. A cursor says where the next page begins; it is authenticated, and good for its own list alone."""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Generic, TypeVar

from attestd.codec import dump_base64url, load_base64url
from attestd.errors import Malformed, Reason, RequestRefused
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.integrity import Field, seal
from attestd.registry.values import Page

T = TypeVar("T")

MAX_LIMIT: Final = 1000
_TAG: Final = 16
_MAX_CURSOR: Final = 512


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A list that is sorted by its first column.

    The statement takes `after` and `most`, and whatever else narrows the list down. `start` sorts before every entry.
    """

    name: str
    statement: Statement
    start: str | bytes | int
    entry: Callable[[Row], T]

    def page(self, transaction: Transaction, limit: int, cursor: str | None, **narrowed: Field) -> Page[T]:
        """Return one page. Raises `RequestRefused` (`request.malformed`) for a bad limit or cursor."""
        rows, following = self.rows(transaction, limit, cursor, tuple(narrowed.values()), **narrowed)
        return Page(tuple(map(self.entry, rows)), following)

    def rows(
        self, transaction: Transaction, limit: int, cursor: str | None, scope: tuple[Field, ...], **values: Field
    ) -> tuple[Sequence[Row], str | None]:
        """Return the rows of one page and the cursor of the next, which is bound to `scope`."""
        require_limit(limit)
        key, scope = transaction.cursor_key, (self.name, *scope)
        after = self.start if cursor is None else self._position(load_cursor(key, cursor, scope))
        rows = transaction.all(self.statement, after=after, most=limit + 1, **values)
        if len(rows) <= limit:
            return rows, None
        return rows[:limit], make_cursor(key, _encoded(rows[limit - 1][0]), scope)

    def _position(self, last: bytes) -> str | bytes | int:
        match self.start:
            case bytes():
                return last
            case str():
                return last.decode()
            case int():
                return int(last)


def _encoded(position: str | bytes | int) -> bytes:
    return position if isinstance(position, bytes) else str(position).encode()


def require_limit(limit: int) -> None:
    """Refuse a page of no entry or of more than `MAX_LIMIT` (`request.malformed`)."""
    if not 1 <= limit <= MAX_LIMIT:
        raise RequestRefused(Reason.REQUEST_MALFORMED, found="a limit out of range", wanted=f"1 to {MAX_LIMIT}")


def make_cursor(key: bytes, last: bytes, scope: tuple[Field, ...]) -> str:
    """Return the cursor after the entry that sorts as `last`, in the list that `scope` describes."""
    return dump_base64url(_tag(key, last, scope) + last)


def load_cursor(key: bytes, cursor: str, scope: tuple[Field, ...]) -> bytes:
    """Return after which entry to go on.

    Raises `RequestRefused` (`request.malformed`) for a cursor that this list did not give.
    """
    try:
        raw = load_base64url(cursor[: _MAX_CURSOR + 1])
    except Malformed:
        raw = b""
    tag, last = raw[:_TAG], raw[_TAG:]
    if len(cursor) > _MAX_CURSOR or not hmac.compare_digest(tag, _tag(key, last, scope)):
        raise RequestRefused(
            Reason.REQUEST_MALFORMED, found="a cursor not of this list", wanted="the cursor of the page before"
        )
    return last


def _tag(key: bytes, last: bytes, scope: tuple[Field, ...]) -> bytes:
    return hmac.digest(key, seal("attestd/cursor", (last, *scope)), sha256)[:_TAG]
