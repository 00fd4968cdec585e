"""Faults of a server and on the way to it (attacks.md, section 4: F06 to F10)."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from time import monotonic, sleep

import psycopg
import pytest
from sqlalchemy import text

from attestd.errors import ConfigurationRefused, Reason, Unavailable
from attestd.registry import Registry, access, keys, postgresql, results
from attestd.registry.database import Interrupted, Row, Statement, Transaction, Trouble
from attestd.registry.postgresql import PostgresConnection, PostgresDatabase
from attestd.registry.values import Recorded
from tests.postgres import Postgres
from tests.registry.conftest import Opener
from tests.registry.samples import NOW, REGISTRY_ID, challenge, digest, known, new_result, prepare, record, register

SOON = 20.0
HURRIED = 1.0

TERMINATE = Statement(text("SELECT pg_terminate_backend(pg_backend_pid())"))
SLEEP = Statement(text("SELECT pg_sleep(30)"))


def until(condition: Callable[[], bool]) -> None:
    end = monotonic() + SOON
    while not condition():
        assert monotonic() < end
        sleep(0.01)


@pytest.fixture
def prepared(postgres_url: str, opener: Opener) -> Registry:
    registry = opener(postgres_url)
    prepare(registry)
    return registry


@pytest.fixture
def hurried(postgres_url: str, opener: Opener) -> Registry:
    """Return a registry that waits for nothing longer than a second."""
    registry = opener(postgres_url, wait=HURRIED)
    prepare(registry)
    return registry


@contextmanager
def holding(url: str, statement: str) -> Iterator[psycopg.Connection]:
    """Hold what a statement locks, as a session of the operator's might."""
    with psycopg.connect(url) as connection:
        connection.execute(statement)
        yield connection
        connection.rollback()


def recording(registry: Registry, number: int = 1) -> Future[Recorded]:
    challenge(registry, number)
    return registry.write(results.record, new_result(number), NOW, live_keys_per_platform=1)


def unavailable(error: BaseException | None) -> str:
    assert isinstance(error, Unavailable)
    assert error.reason is Reason.DATABASE_UNAVAILABLE
    return error.found


def raise_code(code: str) -> Statement:
    return Statement(text(f"DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{code}'; END $$"))


# F08


@pytest.mark.parametrize("code", ["40001", "40P01", "57P01", "0A000"])
def test_a_lost_race_is_run_again_and_happens_once(prepared: Registry, code: str) -> None:
    first = [raise_code(code)]

    def work(transaction: Transaction) -> str:
        access.register_provider(transaction, "bob", "Bob", by="admin", at=NOW)
        if first:
            transaction.run(first.pop())
        return "done"

    assert prepared.write(work).result(SOON) == "done"
    assert len(prepared.read(access.list_providers).items) == 2


def test_a_deadlock_with_another_session_is_resolved(prepared: Registry, postgres_url: str) -> None:
    """The operator's session locks a table, then asks for the writers' lock; the writer goes the other way round."""
    challenge(prepared, 1)
    with psycopg.connect(postgres_url) as operator:
        # The server looks for deadlocks from the side that waits the shorter time: the writer's.
        operator.execute("SET deadlock_timeout = '30s'")
        operator.execute("LOCK TABLE challenges")
        future = prepared.write(results.record, new_result(1), NOW, live_keys_per_platform=1)
        with psycopg.connect(postgres_url, autocommit=True) as onlooker:
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'challenges'::regclass"
            until(lambda: onlooker.execute(waiting).fetchone() == (1,))
        operator.execute(postgresql._LOCK)
    assert future.result(SOON).created


# F07


def test_a_lock_that_is_held_too_long_is_given_up(hurried: Registry, postgres_url: str) -> None:
    with holding(postgres_url, postgresql._LOCK):
        future = hurried.write(access.register_provider, "bob", "Bob", by="admin", at=NOW)
        assert unavailable(future.exception(SOON)) == "LockNotAvailable"
    assert hurried.write(access.register_provider, "bob", "Bob", by="admin", at=NOW).result(SOON).id == "bob"


def test_a_table_that_is_locked_too_long_is_given_up(hurried: Registry, postgres_url: str) -> None:
    challenge(hurried, 1)
    with holding(postgres_url, "LOCK TABLE keys"):
        future = hurried.write(results.record, new_result(1), NOW, live_keys_per_platform=1)
        assert unavailable(future.exception(SOON)) == "LockNotAvailable"
        with pytest.raises(Unavailable):
            hurried.read(keys.find, digest("key", 1), NOW)
    assert record(hurried, new_result(1)).created


def test_a_statement_that_takes_too_long_is_given_up(hurried: Registry) -> None:
    assert unavailable(hurried.write(lambda transaction: transaction.one(SLEEP)).exception(SOON)) == "QueryCanceled"
    with pytest.raises(Unavailable) as caught:
        hurried.read(lambda transaction: transaction.one(SLEEP))
    assert caught.value.found == "QueryCanceled"
    assert hurried.read(access.find_provider, "alice") is not None


def test_a_server_that_stands_still_is_given_up(hurried: Registry, postgres: Postgres) -> None:
    register(hurried, 1)
    challenge(hurried, 2)
    postgres.signal(signal.SIGSTOP)
    try:
        future = hurried.write(results.record, new_result(2), NOW, live_keys_per_platform=1)
        with pytest.raises(Unavailable):
            hurried.read(keys.find, digest("key", 1), NOW)
        unavailable(future.exception(SOON))
    finally:
        postgres.signal(signal.SIGCONT)
    assert hurried.read(keys.find, digest("key", 1), NOW) is not None
    assert record(hurried, new_result(2)).result.id == new_result(2).id


# F06


def test_a_server_that_restarts_loses_nothing(prepared: Registry, postgres: Postgres) -> None:
    acknowledged = {}
    for restart in range(3):
        futures = {number: recording(prepared, number) for number in range(100 * restart, 100 * restart + 20)}
        postgres.stop("immediate")
        for number, future in futures.items():
            if future.exception(SOON) is None:
                acknowledged[number] = future.result()
            else:
                unavailable(future.exception())
        postgres.start()
        # The first that comes is served: by a new connection, not by an old one that is dead.
        assert prepared.read(access.find_provider, "alice") is not None
        acknowledged[100 * restart + 50] = recording(prepared, 100 * restart + 50).result(SOON)
    for recorded in acknowledged.values():
        assert prepared.read(results.find, recorded.result.id) == recorded.result
        assert prepared.read(keys.find, recorded.result.key_id, NOW) == recorded.key
    assert len(acknowledged) >= 3


def test_without_a_server_everything_says_so_at_once(prepared: Registry, postgres: Postgres, postgres_url: str) -> None:
    postgres.stop()
    try:
        with pytest.raises(Unavailable):
            prepared.read(access.find_provider, "alice")
        unavailable(prepared.write(access.register_provider, "bob", "Bob", by="admin", at=NOW).exception(SOON))
        with pytest.raises(Unavailable):
            Registry.open(postgres_url, registry_id=REGISTRY_ID, at=NOW)
    finally:
        postgres.start()
    assert prepared.read(access.find_provider, "bob") is None


def test_a_session_that_was_ended_is_replaced(prepared: Registry) -> None:
    attempts: list[Transaction] = []

    def work(transaction: Transaction) -> str:
        access.register_provider(transaction, "bob", "Bob", by="admin", at=NOW)
        attempts.append(transaction)
        if len(attempts) == 1:
            transaction.one(TERMINATE)
        return "done"

    assert prepared.write(work).result(SOON) == "done"
    assert len(attempts) == 2
    with pytest.raises(Interrupted):
        prepared.read(lambda transaction: transaction.one(TERMINATE))
    assert prepared.read(access.find_provider, "bob") is not None


# A commit whose answer does not arrive


@pytest.mark.parametrize("arrived", [True, False])
def test_a_commit_without_an_answer_happens_once(
    prepared: Registry, monkeypatch: pytest.MonkeyPatch, arrived: bool
) -> None:
    """The connection breaks before the server hears of the commit, or before we hear of it."""
    challenge(prepared, 1)
    command, breaks = PostgresConnection._command, [True]

    def break_once(connection: PostgresConnection, words: str) -> psycopg.Cursor[Row]:
        if words == "COMMIT" and breaks:
            breaks.pop()
            if arrived:
                command(connection, words)
            connection._driver.close()
        return command(connection, words)

    monkeypatch.setattr(PostgresConnection, "_command", break_once)
    recorded = record(prepared, new_result(1))
    assert not breaks
    # Had a commit that happened been tried again, this would be the answer to a repetition.
    assert recorded.created
    assert known(prepared.read(keys.find, digest("key", 1), NOW)).version == 1


def test_a_commit_that_nobody_can_ask_about_is_no_success(
    hurried: Registry, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    challenge(hurried, 1)
    command = PostgresConnection._command

    def stop_server(connection: PostgresConnection, words: str) -> psycopg.Cursor[Row]:
        if words == "COMMIT":
            command(connection, words)
            postgres.stop("immediate")
        return command(connection, words)

    monkeypatch.setattr(PostgresConnection, "_command", stop_server)
    future = hurried.write(results.record, new_result(1), NOW, live_keys_per_platform=1)
    try:
        assert unavailable(future.exception(SOON)) == "a commit whose outcome is unknown"
    finally:
        monkeypatch.undo()
        postgres.start()
    # It did happen; whoever sends the evidence again gets that result.
    until(lambda: not isinstance(future_exception(hurried), Unavailable))
    again = record(hurried, new_result(1, id="again"))
    assert (again.created, again.result.id) == (False, new_result(1).id)


def future_exception(registry: Registry) -> BaseException | None:
    return registry.write(access.register_provider, "alice", "Alice", by="admin", at=NOW).exception(SOON)


def test_what_became_of_a_transaction_is_asked_until_it_is_known(postgres_url: str) -> None:
    database = PostgresDatabase(postgres_url, 0.2)
    with psycopg.connect(postgres_url) as connection:
        (transaction,) = known(connection.execute("SELECT pg_current_xact_id()::text").fetchone())
        with pytest.raises(Trouble) as caught:
            database.was_committed(transaction)
        assert caught.value.found == "a commit whose outcome is unknown"
        connection.commit()
        assert database.was_committed(transaction)
        (transaction,) = known(connection.execute("SELECT pg_current_xact_id()::text").fetchone())
        connection.rollback()
        assert not database.was_committed(transaction)


def test_a_commit_of_nothing_needs_no_answer(prepared: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    command, breaks = PostgresConnection._command, [True]

    def break_once(connection: PostgresConnection, words: str) -> psycopg.Cursor[Row]:
        if words == "COMMIT" and breaks:
            breaks.pop()
            connection._driver.close()
        return command(connection, words)

    monkeypatch.setattr(PostgresConnection, "_command", break_once)
    assert prepared.write(lambda _: "done").result(SOON) == "done"


# F10


def test_a_writer_that_stands_still_does_not_hold_up_the_others(
    hurried: Registry, postgres_url: str, opener: Opener
) -> None:
    """A process stops in the middle of a transaction: the server ends its session, and it starts over when it wakes."""
    other = opener(postgres_url)
    sessions: list[int] = []

    def work(transaction: Transaction) -> int:
        (session,) = known(transaction.one(Statement(text("SELECT pg_backend_pid()"))))
        access.register_provider(transaction, "bob", "Bob", by="admin", at=NOW)
        sessions.append(session)
        if len(sessions) == 1:
            with psycopg.connect(postgres_url, autocommit=True) as onlooker:
                alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
                until(lambda: onlooker.execute(alive, (session,)).fetchone() == (0,))
        return len(sessions)

    future = hurried.write(work)
    until(lambda: bool(sessions))
    assert other.write(access.register_provider, "carol", "Carol", by="admin", at=NOW).result(SOON).id == "carol"
    error = future.exception(SOON)
    # By then its time may be up; either way there is one bob or none.
    assert error is None or isinstance(error, Unavailable)
    found = other.read(access.find_provider, "bob")
    assert (found is not None) == (error is None)


# What is refused at the start


def test_a_server_that_does_not_flush_is_refused(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "_DURABLE", ("fsync", "enable_seqscan"))
    refused(postgres_url + "&options=-c%20enable_seqscan%3Doff", "enable_seqscan is off")


def test_an_old_server_is_refused(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "_OLDEST", 990000)
    refused(postgres_url, "server version")


def test_another_encoding_is_refused(postgres: Postgres, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS other_encoding")
        connection.execute("CREATE DATABASE other_encoding TEMPLATE template0 ENCODING 'SQL_ASCII'")
    refused(postgres.url("other_encoding"), "SQL_ASCII")


def refused(url: str, found: str) -> None:
    with pytest.raises(ConfigurationRefused) as caught:
        Registry.open(url, registry_id=REGISTRY_ID, at=NOW)
    assert caught.value.reason is Reason.SETTINGS
    assert found in caught.value.found


def test_commits_are_flushed_where_the_role_is_set_otherwise(postgres_url: str, opener: Opener) -> None:
    url = postgres_url + "&options=-c%20synchronous_commit%3Doff"
    show = Statement(text("SHOW synchronous_commit"))
    assert opener(url).write(lambda transaction: transaction.one(show)).result(SOON) == ("on",)
    stronger = postgres_url + "&options=-c%20synchronous_commit%3Dremote_apply"
    assert opener(stronger).write(lambda transaction: transaction.one(show)).result(SOON) == ("remote_apply",)


def test_no_message_carries_a_password(postgres: Postgres) -> None:
    url = f"postgresql://postgres:hunter2@/missing?host={postgres.directory}"
    with pytest.raises(Unavailable) as caught:
        Registry.open(url, registry_id=REGISTRY_ID, at=NOW)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(Trouble):
        PostgresDatabase(url, HURRIED).connect(writing=True)
