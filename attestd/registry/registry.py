"""The registry as the rest of the service sees it: open, read, write, close."""

from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from secrets import token_bytes
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

from sqlalchemy import insert, select
from sqlmodel import col

from attestd.errors import ConfigurationRefused, Reason
from attestd.registry.database import Changes, Connection, Database, Readers, Statement, Transaction
from attestd.registry.instants import to_micros
from attestd.registry.migration import migrate
from attestd.registry.postgresql import PostgresDatabase
from attestd.registry.sqlite import SqliteDatabase
from attestd.registry.tables import RegistryRow
from attestd.registry.writer import Writer

P = ParamSpec("P")
T = TypeVar("T")

# Seconds that a caller waits at most for a commit, or for an answer, before it hears that there is none.
WAIT: Final = 10.0
# Units of work that wait at most; more would wait longer than anybody listens.
QUEUE: Final = 1024
_READERS: Final = 8

_IDENTITY: Final = Statement(select(col(RegistryRow.registry_id), col(RegistryRow.cursor_key)))
_CREATE: Final = Statement(insert(RegistryRow))


class Registry:
    """One registry in one database. Safe to use from any thread."""

    def __init__(self, database: Database, cursor_key: bytes, *, wait: float, queue: int) -> None:
        """Take a database whose tables are those of this version; `open` makes sure of it."""
        self.embedded = database.embedded
        self._readers = Readers(database, size=_READERS, wait=wait, cursor_key=cursor_key)
        self._changes: Changes = database.watch()
        self._writer = Writer(database, self._changes, queue=queue, wait=wait, cursor_key=cursor_key)

    @classmethod
    def open(cls, url: str, *, registry_id: str, at: datetime, wait: float = WAIT, queue: int = QUEUE) -> Self:
        """Open `sqlite:///relative`, `sqlite:////absolute` or `postgresql://…`; create or migrate what is there.

        Raises `ConfigurationRefused` where the database is not ours, of a later version, of another registry, open to
        others or not durable; `Unavailable` where it does not answer.
        """
        database = _database(url, wait)
        database.verify()
        migrate(database)
        return cls(database, _identify(database, registry_id, at), wait=wait, queue=queue)

    def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one of the reading functions of this package.

        Raises what it raises, and `Unavailable` where the database does not answer in time. On the embedded back end it
        takes microseconds; on a server it belongs into a thread of its own.
        """
        return self._readers.read(lambda transaction: function(transaction, *args, **kwargs))

    def write(
        self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> "Future[T]":
        """Queue one of the writing functions of this package; its future ends once its outcome is durable.

        Raises `Unavailable` at once where too much is waiting; the future raises what the function raises, and
        `Unavailable` where the database does not commit in time.
        """
        return self._writer.submit(lambda transaction: function(transaction, *args, **kwargs))

    def generation(self) -> int | None:
        """Return a number that differs once a public answer or an API key may differ, by whichever process; about 3 µs.

        Take it before reading what is to be kept, and compare for equality within this process only. Null means that
        nobody knows: keep nothing, use nothing kept. That a key expires is no change.
        """
        return self._changes.generation()

    def clock(self) -> float | None:
        """Return the time by the clock that all processes share, POSIX seconds; null where it is this machine's."""
        return self._changes.clock()

    @property
    def delay(self) -> float:
        """How many seconds after a commit no process keeps an answer any more that it has changed."""
        return self._changes.delay

    def close(self) -> None:
        """Commit what was queued, then let go of the database. Idempotent."""
        self._writer.close()
        self._changes.close()
        self._readers.close()


def _database(url: str, wait: float) -> Database:
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite" and path not in ("", ":memory:") and not {"?", "#"} & set(path):
        return SqliteDatabase(Path(path), wait)
    if url.startswith("postgresql://"):
        return PostgresDatabase(url, wait)
    raise _refused("another form", "sqlite:///<path> or postgresql://…")


def _identify(database: Database, registry_id: str, at: datetime) -> bytes:
    """Give a new database its name, or refuse one of another name. Returns the key that authenticates cursors."""
    connection = database.connect(writing=True)
    try:
        connection.begin()
        row = connection.one(_IDENTITY)
        if row is None:
            row = (registry_id, token_bytes(32))
            _create(connection, *row, at)
        connection.commit()
    finally:
        connection.close()
    if row[0] != registry_id:
        raise _refused("the database of another registry_id", "the registry_id that it was made with")
    key: bytes = row[1]
    return key


def _create(connection: Connection, registry_id: str, cursor_key: bytes, at: datetime) -> None:
    connection.run(
        _CREATE,
        id=1,
        registry_id=registry_id,
        created_at=to_micros(at),
        cursor_key=cursor_key,
        generation=0,
    )


def _refused(found: str, wanted: str) -> ConfigurationRefused:
    return ConfigurationRefused(Reason.SETTINGS, found=f"database_url: {found}", wanted=wanted)
