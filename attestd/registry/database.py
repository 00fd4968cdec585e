"""What the registry needs of a database, whichever it is: statements, transactions, connections.

Statements are written with SQLAlchemy over the SQLModel tables and compiled once per back end; they run on the driver
itself, because the layers between cost many times the statement (a look-up by primary key: 4 µs with sqlite3, 22 with
SQLAlchemy's core, 170 with a session). Two back ends implement `Database` and `Connection`: `sqlite`, `postgresql`.

One writer at a time: a transaction that writes takes the write lock of the whole registry first (`BEGIN IMMEDIATE`, or
an advisory lock), in every process. What it has read cannot change before it commits, on either back end.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from operator import itemgetter
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import Engine, make_url
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import Compiled

from attestd.errors import Reason, Unavailable
from attestd.registry.integrity import Field

# What a driver returns is typed by the statement, which the checker cannot see.
Row: TypeAlias = tuple[Any, ...]

T = TypeVar("T")

# Every limit is a part of the longest wait that a caller is promised, so that they fit into each other.
LOCK_PART: Final = 0.3
STATEMENT_PART: Final = 0.4
ANSWER_PART: Final = 0.5


class Trouble(Unavailable):
    """The database did not do what it was asked; nothing was recorded."""

    def __init__(self, found: str) -> None:
        """Take what the driver calls the error: a name, never a message, which may quote data."""
        super().__init__(Reason.DATABASE_UNAVAILABLE, found=found, wanted="a database that answers")


class Interrupted(Trouble):
    """The connection was lost or the transaction lost a race: the same again may succeed."""


class StatementRefused(Trouble):
    """One statement was refused; the transaction around its savepoint goes on."""


class Statement:
    """One SQL statement for every back end."""

    def __init__(self, expression: ClauseElement) -> None:
        """Take an expression whose parameters are bound by name."""
        self._expression = expression

    @cached_property
    def sqlite(self) -> tuple[str, Callable[[Mapping[str, Field]], Sequence[Field]]]:
        """The text for sqlite3, and what puts named values into the order of its places."""
        dialect = SQLiteDialect_pysqlite(paramstyle="qmark")
        compiled = dialect.statement_compiler(dialect, self._expression)
        return str(compiled), _arrangement(compiled.positiontup or (), _constants(compiled))

    @cached_property
    def postgresql(self) -> tuple[str, dict[str, Field]]:
        """The text for psycopg and the values of the constants in it."""
        compiled = self._expression.compile(dialect=make_url("postgresql+psycopg://").get_dialect()())
        return str(compiled), _constants(compiled)


def _constants(compiled: Compiled) -> dict[str, Field]:
    return {name: value for name, value in compiled.params.items() if value is not None}


def _arrangement(
    places: Sequence[str], constants: dict[str, Field]
) -> Callable[[Mapping[str, Field]], Sequence[Field]]:
    def arrange(values: Mapping[str, Field]) -> Sequence[Field]:
        named = {**constants, **values}
        return [named[name] for name in places]

    # Of a single name, this would return no sequence.
    return itemgetter(*places) if len(places) > 1 and not constants else arrange


class Transaction(ABC):
    """What functions over the tables are given: to read with, and to write with where they run in the writer."""

    cursor_key: bytes = b""
    announced: bool = False
    changed: bool = False  # set by `run` where it changes anything

    @abstractmethod
    def all(self, statement: Statement, /, **values: Field) -> Sequence[Row]:
        """Return every row. Raises `Trouble`, as all of these do."""

    @abstractmethod
    def one(self, statement: Statement, /, **values: Field) -> Row | None:
        """Return the first row, if there is any."""

    @abstractmethod
    def run(self, statement: Statement, /, **values: Field) -> int:
        """Change rows and return how many were changed."""

    @abstractmethod
    def add(self, statement: Statement, /, **values: Field) -> Row:
        """Add one row and return what the statement says of it."""

    @abstractmethod
    def run_each(self, statement: Statement, rows: Iterable[Mapping[str, Field]], /) -> None:
        """Run a statement once for each of the rows: many at once cost less than one after the other."""

    def announce(self) -> None:
        """Say that public answers differ once this is committed (`Registry.generation`)."""
        self.announced = True


class Connection(Transaction):
    """One connection with its transactions; used by one thread at a time."""

    @abstractmethod
    def begin(self) -> None:
        """Begin to write, alone in all processes. Waits a bounded time for the others."""

    @abstractmethod
    def roll_back(self) -> None:
        """Undo everything since `begin`."""

    @abstractmethod
    def savepoint(self) -> None:
        """Begin a unit of work, to be ended by `release` or `roll_back_unit`."""

    @abstractmethod
    def release(self) -> None:
        """Keep the unit of work as part of the transaction."""

    @abstractmethod
    def roll_back_unit(self) -> None:
        """Undo the unit of work alone."""

    @abstractmethod
    def commit(self) -> None:
        """Make the transaction durable; tells other processes if anything was announced.

        Raises `Interrupted` only where it is certain that nothing was committed; any other `Trouble` leaves it open.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the connection up, with whatever was not committed. Never raises."""


class Changes(ABC):
    """Tells when public answers may have changed, in any process."""

    delay: float  # seconds after a commit from which on no process relies on what it knew before

    @abstractmethod
    def generation(self) -> int | None:
        """Return a number that differs once anything announced has been committed; null while that is not known."""

    @abstractmethod
    def clock(self) -> float | None:
        """Return the time by the clock that all processes share, POSIX seconds; null where it is this machine's."""

    @abstractmethod
    def committed(self) -> None:
        """Take note that this process committed something announced, before anybody is told so."""

    @abstractmethod
    def close(self) -> None:
        """Stop."""


class Database(ABC):
    """One database of one back end."""

    embedded: bool  # answers within microseconds, from a file
    migration_lock: str  # SQL that gives the lock of writers to a transaction that migrates

    @abstractmethod
    def engine(self) -> Engine:
        """Return SQLAlchemy's view of it, for migrations. Its transactions hold definitions, too."""

    @abstractmethod
    def verify(self) -> None:
        """Raise `ConfigurationRefused` where what is committed there would not be durable or not be ours."""

    @abstractmethod
    def connect(self, *, writing: bool) -> Connection:
        """Open a connection. Raises `Trouble`."""

    @abstractmethod
    def watch(self) -> Changes:
        """Watch for changes from now on."""


class Readers:
    """A bounded number of connections that only read, opened when they are first needed."""

    def __init__(self, database: Database, *, size: int, wait: float, cursor_key: bytes) -> None:
        """Let a caller wait at most `wait` seconds for a connection that is free."""
        self._database = database
        self._wait = wait
        self._cursor_key = cursor_key
        self._closed = False
        self._idle: SimpleQueue[Connection | None] = SimpleQueue()
        for _ in range(size):
            self._idle.put(None)

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`; once more on a new connection where the old one turns out to be lost. Raises `Trouble`."""
        connection = self._take()
        try:
            connection = connection or self._connect()
            try:
                return work(connection)
            except Interrupted:
                connection.close()
                connection = self._connect()
                return work(connection)
        except Trouble:
            if connection is not None:
                connection.close()
                connection = None
            raise
        finally:
            self._idle.put(connection)
            if self._closed:
                self.close()

    def close(self) -> None:
        """Close what is idle now, and what is in use when it comes back. Idempotent."""
        self._closed = True
        with suppress(Empty):
            while True:
                connection = self._idle.get_nowait()
                if connection is not None:
                    connection.close()

    def _take(self) -> Connection | None:
        if self._closed:
            raise Trouble("a registry that is closed")
        try:
            return self._idle.get(timeout=self._wait)
        except Empty:
            raise Trouble("every connection in use") from None

    def _connect(self) -> Connection:
        connection = self._database.connect(writing=False)
        connection.cursor_key = self._cursor_key
        return connection
