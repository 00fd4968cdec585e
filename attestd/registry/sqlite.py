"""SQLite: one file beside the service, the embedded default.

Write-ahead log with `synchronous=FULL`: a commit is on the disk before it returns, and readers never wait for writers
(https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from functools import wraps
from pathlib import Path
from threading import Lock
from typing import Final, ParamSpec, TypeVar

from sqlalchemy import Engine, NullPool, create_engine, select, update
from sqlmodel import col

from attestd.errors import ConfigurationRefused, Reason
from attestd.registry.database import (
    LOCK_PART,
    Changes,
    Connection,
    Database,
    Row,
    Statement,
    StatementRefused,
    Trouble,
)
from attestd.registry.integrity import Field
from attestd.registry.tables import RegistryRow

P = ParamSpec("P")
T = TypeVar("T")

# Enough for every statement of this package, so that none is prepared twice.
_CACHED_STATEMENTS: Final = 512
# Digests are random keys: a batch touches pages all over the file, more than the 2 MiB of cache that are the default.
_TO_WRITE: Final = "PRAGMA cache_size = -32768"
_TO_READ: Final = "PRAGMA query_only = ON"
# What sqlite3 raises; where a damaged file makes SQLite quote it in a message, that may be no text.
_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

_GENERATION: Final = Statement(select(col(RegistryRow.generation))).sqlite[0]
_ADVANCE: Final = Statement(update(RegistryRow).values(generation=col(RegistryRow.generation) + 1))


def _trouble(error: Exception) -> Trouble:
    # What was busy was waited for already: nothing of SQLite's is worth an immediate second try.
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    refused = isinstance(error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.ProgrammingError)
    return StatementRefused(name) if refused else Trouble(name)


def _translated(method: Callable[P, T]) -> Callable[P, T]:
    """Let a method raise `Trouble` for what sqlite3 raises, be it while it asks or while it fetches."""

    @wraps(method)
    def translated(*arguments: P.args, **values: P.kwargs) -> T:
        try:
            return method(*arguments, **values)
        except _ERRORS as error:
            raise _trouble(error) from error

    return translated


class SqliteDatabase(Database):
    """A database in one file, which several processes of this machine may share."""

    embedded = True
    migration_lock = "BEGIN IMMEDIATE"

    def __init__(self, path: Path, wait: float) -> None:
        """Take the path of the file; `wait` is the longest that a caller waits, in seconds."""
        self._path = path
        self._busy_timeout = wait * LOCK_PART

    def verify(self) -> None:
        """Create the file for its owner alone, or refuse one that is not a database or that others can use."""
        try:
            # Its write-ahead log gets the same mode from SQLite.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            mode = stat.S_IMODE(self._path.stat().st_mode)
        except OSError as error:
            raise _refused(f"{self._path}: {error.strerror}", "a file that can be created or written") from None
        if mode & _OTHERS:
            raise _refused(f"{self._path} with mode {mode:04o}, open to others", f"chmod 600 {self._path}")
        try:
            with closing(self._open()) as driver:
                # Kept in the file from now on. A file system without shared memory has no such log.
                journal = driver.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            raise _trouble(error) from error
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            raise _refused(f"{self._path}, which is no SQLite database", "a database of attestd") from None
        if journal != "wal":
            raise _refused(f"a file system that cannot hold {self._path}", "a local disk")

    def engine(self) -> Engine:
        """Return an engine whose transactions this package begins itself, so that they hold definitions, too."""
        return create_engine("sqlite://", creator=self._open, poolclass=NullPool)

    def connect(self, *, writing: bool) -> Connection:
        """Open the file."""
        return SqliteConnection(self._connect(_TO_WRITE if writing else _TO_READ))

    @_translated
    def _connect(self, purpose: str) -> sqlite3.Connection:
        driver = self._open()
        driver.execute(purpose)
        return driver

    def watch(self) -> Changes:
        """Watch the file."""
        return SqliteChanges(self._connect(_TO_READ))

    def _open(self) -> sqlite3.Connection:
        driver = sqlite3.connect(
            self._path,
            timeout=self._busy_timeout,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
        )
        try:
            driver.execute("PRAGMA synchronous = FULL")
            driver.execute("PRAGMA foreign_keys = ON")
            # 32 MiB of log between two checkpoints, each of which flushes twice; cut back to twice that after a burst.
            driver.execute("PRAGMA wal_autocheckpoint = 8000")
            driver.execute("PRAGMA journal_size_limit = 67108864")
        except _ERRORS:
            driver.close()
            raise
        return driver


class SqliteConnection(Connection):
    """One sqlite3 connection."""

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver

    @_translated
    def all(self, statement: Statement, /, **values: Field) -> Sequence[Row]:
        """Return every row."""
        text, arrange = statement.sqlite
        return self._driver.execute(text, arrange(values)).fetchall()

    @_translated
    def one(self, statement: Statement, /, **values: Field) -> Row | None:
        """Return the first row, if there is any."""
        text, arrange = statement.sqlite
        row: Row | None = self._driver.execute(text, arrange(values)).fetchone()
        return row

    @_translated
    def run(self, statement: Statement, /, **values: Field) -> int:
        """Change rows and return how many were changed."""
        text, arrange = statement.sqlite
        count = self._driver.execute(text, arrange(values)).rowcount
        self.changed = self.changed or count != 0
        return count

    @_translated
    def add(self, statement: Statement, /, **values: Field) -> Row:
        """Add one row."""
        text, arrange = statement.sqlite
        self.changed = True
        row: Row
        # The statement ends, and the row is there, when there is nothing more to fetch.
        (row,) = self._driver.execute(text, arrange(values)).fetchall()
        return row

    @_translated
    def run_each(self, statement: Statement, rows: Iterable[Mapping[str, Field]], /) -> None:
        """Run a statement that was prepared once."""
        text, arrange = statement.sqlite
        self.changed = True
        self._driver.executemany(text, map(arrange, rows))

    def begin(self) -> None:
        """Take the write lock of the file, waiting for other processes."""
        self.announced = False
        self._command("BEGIN IMMEDIATE")

    def roll_back(self) -> None:
        """Undo everything."""
        self._command("ROLLBACK")

    def savepoint(self) -> None:
        """Begin a unit of work."""
        self._command("SAVEPOINT unit")

    def release(self) -> None:
        """Keep the unit of work."""
        self._command("RELEASE unit")

    def roll_back_unit(self) -> None:
        """Undo the unit of work."""
        self._command("ROLLBACK TO unit")
        self._command("RELEASE unit")

    def commit(self) -> None:
        """Write and flush the log. Readers in all processes see the generation change with what changed it."""
        if self.announced:
            self.run(_ADVANCE)
        self._command("COMMIT")

    def close(self) -> None:
        """Close; SQLite undoes what was not committed."""
        with suppress(*_ERRORS):
            self._driver.close()

    @_translated
    def _command(self, text: str) -> None:
        self._driver.execute(text)


class SqliteChanges(Changes):
    """Asks SQLite itself: its counter of commits costs no read, ours is read only when that has moved."""

    delay = 0.0

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver
        self._lock = Lock()
        self._data_version = -1
        self._generation: int | None = None

    def generation(self) -> int | None:
        """Return the generation that is committed now; null where the file cannot be read."""
        with self._lock:
            try:
                # Differs once any other connection has committed anything, and the writer is another connection.
                version = self._driver.execute("PRAGMA data_version").fetchone()[0]
                if version != self._data_version:
                    row = self._driver.execute(_GENERATION).fetchone()
                    # A commit between the two moves the counter again, and is found by the next call.
                    self._generation, self._data_version = (row[0] if row else None), version
            except _ERRORS:
                self._data_version, self._generation = -1, None
            return self._generation

    def clock(self) -> float | None:
        """Return null: a file is shared on one machine only."""
        return None

    def committed(self) -> None:
        """Nothing to do: SQLite counts."""

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._driver.close()


def _refused(found: str, wanted: str) -> ConfigurationRefused:
    return ConfigurationRefused(Reason.SETTINGS, found=f"database_url: {found}", wanted=wanted)
