"""PostgreSQL 13 or newer, for several processes that share one registry.

Sessions bound every wait on the server (`lock_timeout`, `statement_timeout`, `idle_in_transaction_session_timeout`:
PostgreSQL documentation, 20.11.1); the client bounds its own, should the server be gone or stopped. Changes reach the
other processes through LISTEN and NOTIFY, so connect to the server itself, or through a pool that keeps sessions.
"""

import selectors
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from threading import Event, Lock, Thread
from time import monotonic
from typing import Final, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from sqlalchemy import Engine, NullPool, create_engine

from attestd.errors import ConfigurationRefused, Reason
from attestd.registry.database import (
    ANSWER_PART,
    LOCK_PART,
    STATEMENT_PART,
    Changes,
    Connection,
    Database,
    Interrupted,
    Row,
    Statement,
    StatementRefused,
    Trouble,
)
from attestd.registry.integrity import Field

T = TypeVar("T")

# pg_current_xact_id, pg_xact_status.
_OLDEST: Final = 130000
# What has to be on for a commit to outlive the power.
_DURABLE: Final = ("fsync", "full_page_writes")
# Any numbers, but always the same: the lock of writers in this database, and the channel on which they speak.
_LOCK: Final = "SELECT pg_advisory_xact_lock(7021808217410001253)"
_CHANNEL: Final = "attestd_changes"

# How often the listener makes sure that it still hears, and after what silence nobody may rely on it; in seconds.
_BEAT: Final = 0.25
_SILENCE: Final = 1.0
# A migration may wait for another process's, and may take as long as it takes.
_MIGRATION_WAIT: Final = 60.0

# Errors after which the same transaction may well succeed.
_PASSING: Final = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.FeatureNotSupported,  # a plan that a migration by another process made obsolete
)


class _Driver(psycopg.Connection[Row]):
    """A connection that waits for no answer longer than `limit` seconds."""

    limit: float | None = None

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        return super().wait(gen, interval, self.limit if timeout is None else timeout)


class PostgresDatabase(Database):
    """A database on a server."""

    embedded = False
    migration_lock = _LOCK

    def __init__(self, url: str, wait: float) -> None:
        """Take the URL as libpq reads it; `wait` is the longest that a caller waits, in seconds."""
        self._url = url
        self._wait = wait

    def verify(self) -> None:
        """Refuse a server that is too old, that does not flush what it commits, or that stores another encoding."""
        try:
            driver = self._open()
        except psycopg.ProgrammingError:
            raise _refused("no URL of PostgreSQL", "postgresql://user@host/database") from None
        except psycopg.Error as error:
            raise _trouble(error, lost=True) from error
        with closing(driver):
            if driver.info.server_version < _OLDEST:
                raise _refused(f"server version {driver.info.server_version}", f"{_OLDEST} or newer")
            encoding = driver.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise _refused(f"a database in {encoding}", "a database in UTF8")
            for setting in _DURABLE:
                row = driver.execute("SELECT current_setting(%s)", (setting,)).fetchone()
                if row != ("on",):
                    raise _refused(f"a server that loses what it commits ({setting} is off)", f"{setting} = on")

    def engine(self) -> Engine:
        """Return an engine."""
        return create_engine("postgresql+psycopg://", creator=self._open_for_migration, poolclass=NullPool)

    def connect(self, *, writing: bool) -> Connection:
        """Open a session."""
        try:
            driver = self._open()
            driver.execute(self._session(writing=writing))
        except psycopg.Error as error:
            # A server that is starting refuses connections for a while.
            raise _trouble(error, lost=not isinstance(error, errors.ConnectionTimeout)) from error
        return PostgresConnection(driver, self)

    def watch(self) -> Changes:
        """Listen."""
        return PostgresChanges(self)

    def listen(self) -> psycopg.Connection[Row]:
        """Open a session that hears of changes."""
        driver = self._open()
        driver.execute(f"LISTEN {_CHANNEL}")
        return driver

    def was_committed(self, transaction: str) -> bool:
        """Find out what became of a transaction whose commit was not answered. Raises `Trouble` if that stays open."""
        until = monotonic() + self._wait * ANSWER_PART
        pause = Event()
        while monotonic() < until:
            with suppress(psycopg.Error), closing(self._open()) as driver:
                row = driver.execute("SELECT pg_xact_status(%s::xid8)", (transaction,)).fetchone()
                if row in (("committed",), ("aborted",)):
                    return row == ("committed",)
            pause.wait(0.05)
        raise Trouble("a commit whose outcome is unknown")

    def _open(self) -> _Driver:
        driver = _Driver.connect(
            self._url,
            autocommit=True,
            connect_timeout=max(2, int(self._wait * LOCK_PART)),
            application_name="attestd",
            prepare_threshold=2,
        )
        driver.limit = self._wait * ANSWER_PART
        return driver

    def _open_for_migration(self) -> _Driver:
        driver = self._open()
        driver.limit = None
        driver.execute(f"SET lock_timeout = '{_MIGRATION_WAIT}s'")
        driver.autocommit = False
        return driver

    def _session(self, *, writing: bool) -> str:
        lock, statement = int(self._wait * LOCK_PART * 1000), int(self._wait * STATEMENT_PART * 1000)
        return (
            f"SET lock_timeout = {lock}; SET statement_timeout = {statement};"
            # A process that stops in the middle of a transaction must not hold up the others.
            f"SET idle_in_transaction_session_timeout = {statement};"
            f"SET default_transaction_read_only = {'off' if writing else 'on'};"
            "SET default_transaction_isolation = 'read committed';"
            # Never weaker than the disk of the server; stronger where the server says so.
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )


class PostgresConnection(Connection):
    """One psycopg connection."""

    def __init__(self, driver: psycopg.Connection[Row], database: PostgresDatabase) -> None:
        self._driver = driver
        self._database = database
        self._kept = False  # a unit of work whose savepoint is still there

    def all(self, statement: Statement, /, **values: Field) -> Sequence[Row]:
        """Return every row."""
        return self._execute(statement, values).fetchall()

    def one(self, statement: Statement, /, **values: Field) -> Row | None:
        """Return the first row, if there is any."""
        return self._execute(statement, values).fetchone()

    def run(self, statement: Statement, /, **values: Field) -> int:
        """Change rows and return how many were changed."""
        count = self._execute(statement, values).rowcount
        self.changed = self.changed or count != 0
        return count

    def add(self, statement: Statement, /, **values: Field) -> Row:
        """Add one row."""
        self.changed = True
        (row,) = self._execute(statement, values).fetchall()
        return row

    def run_each(self, statement: Statement, rows: Iterable[Mapping[str, Field]], /) -> None:
        """Send all of them before the first answer is awaited (psycopg's executemany is a pipeline)."""
        text, constants = statement.postgresql
        self.changed = True
        try:
            with self._driver.cursor() as cursor:
                cursor.executemany(text, [{**constants, **row} for row in rows])
        except psycopg.Error as error:
            raise _trouble(error, lost=self._driver.closed) from error

    def begin(self) -> None:
        """Take the lock of writers, waiting for other processes."""
        self.announced = False
        self._kept = False
        self._command(f"BEGIN; {_LOCK}")

    def roll_back(self) -> None:
        """Undo everything."""
        self._command("ROLLBACK")

    def savepoint(self) -> None:
        """Begin a unit of work, and let go of the savepoint of the one before in the same round trip."""
        self._command("RELEASE unit; SAVEPOINT unit" if self._kept else "SAVEPOINT unit")

    def release(self) -> None:
        """Keep the unit of work."""
        self._kept = True

    def roll_back_unit(self) -> None:
        """Undo the unit of work."""
        self._kept = False
        self._command("ROLLBACK TO unit; RELEASE unit")

    def commit(self) -> None:
        """Commit, and find out whether it happened where the answer was lost on the way."""
        notify = f", pg_notify('{_CHANNEL}', '')" if self.announced else ""
        row = self._command(f"SELECT pg_current_xact_id_if_assigned()::text{notify}").fetchone()
        try:
            self._command("COMMIT")
        except Trouble:
            self.close()
            transaction = row[0] if row else None
            if transaction is None or not self._database.was_committed(transaction):
                raise

    def close(self) -> None:
        """Close; the server undoes what was not committed."""
        with suppress(psycopg.Error):
            self._driver.close()

    def _execute(self, statement: Statement, values: dict[str, Field]) -> psycopg.Cursor[Row]:
        text, constants = statement.postgresql
        try:
            return self._driver.execute(text, {**constants, **values}, binary=True)
        except psycopg.Error as error:
            raise _trouble(error, lost=self._driver.closed) from error

    def _command(self, text: str) -> psycopg.Cursor[Row]:
        try:
            return self._driver.execute(text)
        except psycopg.Error as error:
            raise _trouble(error, lost=self._driver.closed) from error


class PostgresChanges(Changes):
    """A thread with a session of its own that listens; what it has not heard of for a while, nobody relies on."""

    delay = _SILENCE

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._lock = Lock()
        self._generation = 0
        self._heard = float("-inf")
        self._ahead: float | None = None  # the server's clock, beyond the monotonic one
        self._stopped = Event()
        self._woken, self._waker = socket.socketpair()
        self._thread = Thread(target=self._run, name="attestd-changes", daemon=True)
        self._thread.start()

    def generation(self) -> int | None:
        """Return how many changes were heard of; null while the listener may have missed one."""
        return self._generation if monotonic() - self._heard < _SILENCE else None

    def clock(self) -> float | None:
        """Return the server's time, wrong by as much as its last answer took; null until it has answered once."""
        return None if self._ahead is None else monotonic() + self._ahead

    def committed(self) -> None:
        """Count this process's own change before it is acknowledged, not when its echo arrives."""
        with self._lock:
            self._generation += 1

    def close(self) -> None:
        """Stop listening."""
        self._stopped.set()
        self._waker.close()
        self._thread.join()
        self._woken.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            with suppress(psycopg.Error), closing(self._database.listen()) as driver:
                driver.add_notify_handler(lambda _: self.committed())
                # Nobody knows what happened before somebody listened.
                self.committed()
                self._listen(driver)
            self._heard = float("-inf")
            self._stopped.wait(_BEAT)

    def _listen(self, driver: psycopg.Connection[Row]) -> None:
        with selectors.DefaultSelector() as selector:
            for end in (driver, self._woken):
                selector.register(end, selectors.EVENT_READ)
            self._follow(driver, selector)

    def _follow(self, driver: psycopg.Connection[Row], selector: selectors.BaseSelector) -> None:
        while not self._stopped.is_set():
            asked = monotonic()
            # The answer follows every notification that was committed before the question.
            row = driver.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
            if row is not None:
                self._ahead = row[0] - monotonic()
            while driver.pgconn.notifies():  # those that came together with the end of the answer
                self.committed()
            self._heard = asked
            selector.select(_BEAT)


def _trouble(error: psycopg.Error, *, lost: bool) -> Trouble:
    name = type(error).__name__
    if lost or isinstance(error, _PASSING):
        return Interrupted(name)
    if isinstance(error, psycopg.IntegrityError | psycopg.DataError | psycopg.ProgrammingError):
        return StatementRefused(name)
    return Trouble(name)


def _refused(found: str, wanted: str) -> ConfigurationRefused:
    return ConfigurationRefused(Reason.SETTINGS, found=f"database_url: {found}", wanted=wanted)
