"""Group commit, on a database that does what a test tells it to do."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import Engine

from attestd.errors import Reason, RequestRefused, Unavailable
from attestd.registry import writer as module
from attestd.registry.database import (
    Changes,
    Connection,
    Database,
    Interrupted,
    Row,
    Statement,
    StatementRefused,
    Transaction,
    Trouble,
)
from attestd.registry.integrity import Field
from attestd.registry.writer import MAX_BATCH, Writer

SOON = 10.0  # a bound for what must happen, never a pause


class Script(Database):
    """Counts what is done to it, and fails or waits where it was told to."""

    embedded = True
    migration_lock = ""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.failures: dict[str, deque[Exception]] = {}
        self.gate = Event()
        self.gate.set()
        self.committing = Event()

    def step(self, name: str) -> None:
        self.done.append(name)
        if failures := self.failures.get(name):
            raise failures.popleft()

    def fail(self, name: str, *errors: Exception) -> None:
        self.failures[name] = deque(errors)

    def connect(self, *, writing: bool) -> Connection:
        self.step("connect")
        return Session(self)

    def engine(self) -> Engine:
        raise NotImplementedError

    def verify(self) -> None:
        raise NotImplementedError

    def watch(self) -> Changes:
        raise NotImplementedError


class Session(Connection):
    def __init__(self, script: Script) -> None:
        self.script = script

    def begin(self) -> None:
        self.announced = False
        self.script.step("begin")

    def roll_back(self) -> None:
        self.script.step("roll back all")

    def savepoint(self) -> None:
        self.script.step("savepoint")

    def release(self) -> None:
        self.script.step("release")

    def roll_back_unit(self) -> None:
        self.script.step("roll back")

    def commit(self) -> None:
        self.script.committing.set()
        assert self.script.gate.wait(SOON)
        self.script.step("commit")

    def close(self) -> None:
        self.script.step("close")

    def all(self, statement: Statement, /, **values: object) -> Sequence[Row]:
        raise NotImplementedError

    def one(self, statement: Statement, /, **values: object) -> Row | None:
        raise NotImplementedError

    def run(self, statement: Statement, /, **values: object) -> int:
        raise NotImplementedError

    def add(self, statement: Statement, /, **values: object) -> Row:
        raise NotImplementedError

    def run_each(self, statement: Statement, rows: Iterable[Mapping[str, Field]], /) -> None:
        raise NotImplementedError


class Count(Changes):
    def __init__(self) -> None:
        self.commits = 0

    def generation(self) -> int:
        return self.commits

    def clock(self) -> None:
        raise NotImplementedError

    def committed(self) -> None:
        self.commits += 1

    def close(self) -> None:
        raise NotImplementedError


Make = Callable[..., Writer]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def changes() -> Count:
    return Count()


@pytest.fixture
def make(script: Script, changes: Count, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.0)
    made: list[Writer] = []

    def make_(queue: int = 1000, wait: float = SOON) -> Writer:
        made.append(Writer(script, changes, queue=queue, wait=wait, cursor_key=b"key"))
        return made[-1]

    yield make_
    script.gate.set()
    for writer in made:
        writer.close()


def say(value: object) -> Callable[[Transaction], object]:
    return lambda _: value


def raising(error: Exception) -> Callable[[Transaction], object]:
    def work(_: Transaction) -> object:
        raise error

    return work


def change(transaction: Transaction) -> None:
    transaction.changed = True


def changing(error: Exception) -> Callable[[Transaction], object]:
    def work(transaction: Transaction) -> object:
        transaction.changed = True
        raise error

    return work


def failure(future: Future[Any]) -> BaseException | None:
    return future.exception(SOON)


def test_a_result_is_told_after_its_commit(script: Script, make: Make) -> None:
    script.gate.clear()
    future = make().submit(say(1))
    refusal = RequestRefused(Reason.CHALLENGE_USED, found="", wanted="")
    assert script.committing.wait(SOON)
    assert script.done == ["connect", "begin"]
    assert not future.done()
    script.gate.set()
    assert future.result(SOON) == 1

    script.gate.clear()
    script.committing.clear()
    refused = make().submit(raising(refusal))
    assert script.committing.wait(SOON)
    assert not refused.done()
    script.gate.set()
    assert failure(refused) is refusal


def test_what_gathers_during_a_commit_is_committed_together(script: Script, make: Make) -> None:
    script.gate.clear()
    writer = make()
    first = writer.submit(say(0))
    assert script.committing.wait(SOON)
    futures = [writer.submit(say(number)) for number in range(10)]
    script.gate.set()
    assert [future.result(SOON) for future in futures] == list(range(10))
    assert first.done()
    assert script.done.count("commit") == 2
    assert script.done.count("savepoint") == 0
    assert script.done.count("connect") == 1


def test_a_batch_is_bounded(script: Script, make: Make) -> None:
    script.gate.clear()
    writer = make()
    writer.submit(say(0))
    assert script.committing.wait(SOON)
    futures = [writer.submit(say(number)) for number in range(MAX_BATCH + 1)]
    script.gate.set()
    wait(futures, SOON)
    assert script.done.count("commit") == 3


@pytest.mark.parametrize(
    "error",
    [RequestRefused(Reason.KEY_OWNED, found="", wanted=""), StatementRefused("NotNullViolation"), KeyError("bug")],
)
def test_a_unit_that_fails_is_undone_alone(script: Script, make: Make, error: Exception) -> None:
    script.gate.clear()
    writer = make()
    writer.submit(say(0))
    assert script.committing.wait(SOON)
    futures = [writer.submit(work) for work in (say(1), changing(error), say(2))]
    script.gate.set()
    assert futures[0].result(SOON) == 1
    assert failure(futures[1]) is error
    assert futures[2].result(SOON) == 2
    # First together, then each by itself.
    apart = ["savepoint", "release", "savepoint", "roll back", "savepoint", "release", "commit"]
    assert script.done[3:] == ["begin", "roll back all", "begin", *apart]


def test_a_unit_that_fails_before_it_writes_leaves_nothing_to_undo(script: Script, make: Make) -> None:
    refusal = RequestRefused(Reason.KEY_OWNED, found="", wanted="")
    script.gate.clear()
    writer = make()
    writer.submit(change)
    assert script.committing.wait(SOON)
    futures = [writer.submit(work) for work in (change, raising(refusal), change)]
    script.gate.set()
    assert [futures[0].result(SOON), failure(futures[1]), futures[2].result(SOON)] == [None, refusal, None]
    assert script.done[3:] == ["begin", "commit"]


def test_a_statement_that_was_refused_may_have_ended_the_transaction(script: Script, make: Make) -> None:
    refused = StatementRefused("NotNullViolation")
    assert failure(make().submit(raising(refused))) is refused
    assert script.done[2:] == ["roll back all", "begin", "savepoint", "roll back", "commit"]


def test_a_full_queue_refuses_at_once(script: Script, make: Make) -> None:
    script.gate.clear()
    writer = make(queue=3)
    writer.submit(say(0))
    assert script.committing.wait(SOON)
    waiting = [writer.submit(say(number)) for number in range(3)]
    with pytest.raises(Unavailable) as caught:
        writer.submit(say(4))
    assert caught.value.reason is Reason.OVERLOADED
    script.gate.set()
    assert [future.result(SOON) for future in waiting] == [0, 1, 2]
    assert writer.submit(say(5)).result(SOON) == 5


def test_closing_finishes_what_was_queued_and_takes_no_more(script: Script, make: Make) -> None:
    script.gate.clear()
    writer = make()
    futures = [writer.submit(say(number)) for number in range(MAX_BATCH + 5)]
    closing = Thread(target=writer.close)
    closing.start()
    script.gate.set()
    closing.join(SOON)
    assert [future.result(0) for future in futures] == list(range(MAX_BATCH + 5))
    assert script.done[-1] == "close"
    with pytest.raises(Unavailable) as caught:
        writer.submit(say(1))
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
    writer.close()


@pytest.mark.parametrize("step", ["connect", "begin", "commit"])
def test_what_was_interrupted_is_tried_again_as_a_whole(script: Script, make: Make, step: str) -> None:
    script.fail(step, Interrupted("one"), Interrupted("two"))
    assert make().submit(say(1)).result(SOON) == 1
    assert script.done.count("connect") == 3
    assert script.done[-1] == "commit"


@pytest.mark.parametrize("step", ["roll back all", "savepoint", "release", "roll back"])
def test_what_was_interrupted_while_units_ran_apart_is_tried_again(script: Script, make: Make, step: str) -> None:
    script.gate.clear()
    writer = make()
    writer.submit(say(0))
    assert script.committing.wait(SOON)
    script.fail(step, Interrupted("one"))
    mistake = KeyError("bug")
    futures = [writer.submit(work) for work in (say(1), changing(mistake))]
    script.gate.set()
    assert (futures[0].result(SOON), failure(futures[1])) == (1, mistake)
    assert script.done.count("connect") == 2
    assert script.done[-1] == "commit"


def test_a_unit_interrupted_by_the_database_is_tried_again(script: Script, make: Make) -> None:
    attempts = iter([Interrupted("SerializationFailure"), None])

    def work(_: Transaction) -> str:
        if error := next(attempts):
            raise error
        return "done"

    assert make().submit(work).result(SOON) == "done"
    assert script.done.count("close") == 1


@pytest.mark.parametrize("step", ["connect", "begin", "commit"])
def test_it_is_tried_a_bounded_number_of_times(script: Script, make: Make, step: str) -> None:
    script.fail(step, *(Interrupted("again") for _ in range(100)))
    error = failure(make().submit(say(1)))
    assert isinstance(error, Interrupted)
    assert error.reason is Reason.DATABASE_UNAVAILABLE
    assert len(script.failures[step]) == 100 - 5


def test_it_is_not_tried_again_when_time_is_up(script: Script, make: Make) -> None:
    script.fail("begin", *(Interrupted("again") for _ in range(100)))
    assert isinstance(failure(make(wait=0.0).submit(say(1))), Interrupted)
    assert len(script.failures["begin"]) == 99


def test_nobody_waits_for_a_unit_whose_time_is_up(script: Script, make: Make) -> None:
    ran: list[object] = []
    error = failure(make(wait=-1.0).submit(ran.append))
    assert isinstance(error, Trouble)
    assert (error.found, ran) == ("no time left", [])


@pytest.mark.parametrize("step", ["roll back all", "savepoint", "roll back"])
def test_other_trouble_while_units_run_apart_ends_the_batch(script: Script, make: Make, step: str) -> None:
    trouble = Trouble("SQLITE_FULL")
    script.fail(step, trouble)
    writer = make()
    assert failure(writer.submit(changing(KeyError("bug")))) is trouble
    assert script.done[-1] == "close"
    assert writer.submit(say(2)).result(SOON) == 2


@pytest.mark.parametrize("step", ["connect", "begin", "commit"])
@pytest.mark.parametrize("error", [Trouble("SQLITE_FULL"), MemoryError()])
def test_other_trouble_ends_the_batch_and_not_the_writer(
    script: Script, make: Make, step: str, error: Exception
) -> None:
    script.fail(step, error)
    writer = make()
    assert failure(writer.submit(say(1))) is error
    assert script.done.count(step) == 1
    assert writer.submit(say(2)).result(SOON) == 2
    assert script.done.count("connect") == 2


def test_trouble_with_the_database_inside_of_a_unit_ends_the_batch(script: Script, make: Make) -> None:
    script.gate.clear()
    writer = make()
    writer.submit(say(0))
    assert script.committing.wait(SOON)
    futures = [writer.submit(work) for work in (say(1), raising(Trouble("SQLITE_IOERR")), say(2))]
    script.gate.set()
    for future in futures:
        assert isinstance(failure(future), Trouble)
    assert script.done.count("commit") == 1
    assert "roll back" not in script.done


def test_what_its_caller_gave_up_is_not_done(script: Script, make: Make) -> None:
    script.gate.clear()
    writer = make()
    writer.submit(say(0))
    assert script.committing.wait(SOON)
    ran: list[object] = []
    given_up = writer.submit(ran.append)
    assert given_up.cancel()
    kept = writer.submit(say(1))
    script.gate.set()
    assert kept.result(SOON) == 1
    assert ran == []


def test_changes_are_made_known_before_they_are_acknowledged(script: Script, changes: Count, make: Make) -> None:
    writer = make()
    assert writer.submit(say(1)).result(SOON) == 1
    assert changes.commits == 0
    assert writer.submit(lambda transaction: transaction.announce()).result(SOON) is None
    assert changes.commits == 1
    assert writer.submit(say(1)).result(SOON) == 1
    assert changes.commits == 1


def test_a_unit_may_authenticate_cursors(make: Make) -> None:
    assert make().submit(lambda transaction: transaction.cursor_key).result(SOON) == b"key"
