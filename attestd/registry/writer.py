"""The writer: one thread that turns many units of work into one durable commit.

Each unit succeeds or is undone alone; what came of it, success or refusal, is told only after the commit that it is
part of, because a refusal, too, may rest on what the units before it wrote. While one batch is being flushed to the
disk, the next one gathers. What the database lost or broke off is tried again as a whole, a bounded number of times and
never beyond the time that the callers were promised.

Units refuse before they write, so that a refusal leaves nothing to undo. Where one fails later than that, its batch is
undone and run once more with a savepoint around every unit: a savepoint makes SQLite keep a copy of every page that a
unit touches, and costs a round trip to a server, which is too much to pay for each of them.
"""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import Any, Final, NamedTuple, TypeVar

from attestd.errors import Reason, Unavailable
from attestd.registry.database import (
    Changes,
    Connection,
    Database,
    Interrupted,
    StatementRefused,
    Transaction,
    Trouble,
)

T = TypeVar("T")

# Beyond some hundred units the flush is a small part of a batch, and its first unit has waited long enough.
MAX_BATCH: Final = 256
_ATTEMPTS: Final = 5
_FIRST_PAUSE: Final = 0.05


class _Unit(NamedTuple):
    work: Callable[[Transaction], Any]
    until: float  # monotonic; nobody waits for it any longer
    future: "Future[Any]"


class _Outcome(NamedTuple):
    result: Any
    error: Exception | None


class Writer:
    """Runs units of work in the order in which they were given. Functions given to it may run more than once."""

    def __init__(self, database: Database, changes: Changes, *, queue: int, wait: float, cursor_key: bytes) -> None:
        """Keep at most `queue` units, each for at most `wait` seconds."""
        self._database = database
        self._changes = changes
        self._room = queue
        self._wait = wait
        self._cursor_key = cursor_key
        self._connection: Connection | None = None
        self._units: SimpleQueue[_Unit | None] = SimpleQueue()
        self._admission = Lock()
        self._closing = Event()
        self._thread = Thread(target=self._run, name="attestd-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Transaction], T]) -> "Future[T]":
        """Queue a unit of work; its future ends after the commit. Never waits.

        Raises `Unavailable`: `service.overloaded` where the queue is full, else where the writer is closing.
        """
        future: Future[T] = Future()
        with self._admission:
            if self._closing.is_set():
                raise Trouble("a registry that is closed")
            if self._units.qsize() >= self._room:
                raise Unavailable(
                    Reason.OVERLOADED, found=f"{self._room} writes waiting", wanted="fewer writes at a time"
                )
            self._units.put(_Unit(work, monotonic() + self._wait, future))
        return future

    def close(self) -> None:
        """Finish what was queued, then stop. Idempotent."""
        with self._admission:
            if not self._closing.is_set():
                self._closing.set()
                self._units.put(None)
        self._thread.join()

    def _run(self) -> None:
        while batch := self._gather():
            outcomes = self._commit(batch)
            for unit, outcome in zip(batch, outcomes, strict=True):
                if outcome.error is None:
                    unit.future.set_result(outcome.result)
                else:
                    unit.future.set_exception(outcome.error)
        self._disconnect()

    def _gather(self) -> list[_Unit]:
        """Wait for a unit and take those that wait behind it; none where the writer is to stop."""
        batch: list[_Unit] = []
        while not batch or (len(batch) < MAX_BATCH and not self._units.empty()):
            unit = self._units.get()
            if unit is None:
                self._units.put(None)  # the last in the queue: found again when the batch is done
                break
            if unit.future.set_running_or_notify_cancel():
                batch.append(unit)
        return batch

    def _commit(self, batch: list[_Unit]) -> list[_Outcome]:
        """Try the batch until it is committed. Whatever goes wrong, every unit gets its outcome."""
        trouble: Exception = Trouble("no time left")
        for attempt in range(_ATTEMPTS):
            try:
                return self._attempt(batch)
            except Interrupted as error:
                trouble = error
            except Exception as error:  # noqa: BLE001  (the thread must outlive it, and the callers must hear of it)
                self._disconnect()
                trouble = error
                break
            self._disconnect()
            if monotonic() > batch[-1].until:
                break
            sleep(_FIRST_PAUSE * 2**attempt)
        return [_Outcome(None, trouble)] * len(batch)

    def _attempt(self, batch: list[_Unit]) -> list[_Outcome]:
        connection = self._connected()
        connection.begin()
        outcomes = _together(connection, batch)
        if outcomes is None:
            connection.roll_back()
            connection.begin()
            outcomes = [_apart(connection, unit) for unit in batch]
        connection.commit()
        if connection.announced:
            self._changes.committed()
        return outcomes

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._database.connect(writing=True)
            self._connection.cursor_key = self._cursor_key
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _together(connection: Connection, batch: list[_Unit]) -> list[_Outcome] | None:
    """Run the units one after the other; null where one has failed that cannot be undone alone."""
    outcomes = []
    for unit in batch:
        connection.changed = False
        outcome = _perform(connection, unit)
        # PostgreSQL does nothing more in a transaction of which it has refused a statement.
        if outcome.error is not None and (connection.changed or isinstance(outcome.error, StatementRefused)):
            return None
        outcomes.append(outcome)
    return outcomes


def _apart(connection: Connection, unit: _Unit) -> _Outcome:
    """Run one unit: kept, or undone without a trace."""
    connection.savepoint()
    outcome = _perform(connection, unit)
    if outcome.error is None:
        connection.release()
    else:
        connection.roll_back_unit()
    return outcome


def _perform(connection: Connection, unit: _Unit) -> _Outcome:
    """Return what comes of a unit. Raises `Trouble` where the transaction cannot go on."""
    if monotonic() > unit.until:
        return _Outcome(None, Trouble("no time left"))
    try:
        return _Outcome(unit.work(connection), None)
    except Trouble as error:
        if not isinstance(error, StatementRefused):
            raise
        return _Outcome(None, error)
    except Exception as error:  # noqa: BLE001  (a refusal, or a mistake of ours: either way this unit's alone)
        return _Outcome(None, error)
