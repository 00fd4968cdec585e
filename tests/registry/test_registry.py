import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import text

from attestd.errors import ConfigurationRefused, Reason, RequestRefused, Unavailable
from attestd.registry import Registry, access, challenges, keys, results
from attestd.registry.database import Interrupted, Readers, Statement, Transaction, Trouble
from tests.registry.alter import outside
from tests.registry.conftest import Opener
from tests.registry.samples import LATER, NOW, REGISTRY_ID, digest, new_result, prepare, register

SOON = 10.0


def refused(url: str, registry_id: str = REGISTRY_ID) -> ConfigurationRefused:
    with pytest.raises(ConfigurationRefused) as caught:
        Registry.open(url, registry_id=registry_id, at=NOW)
    assert caught.value.reason is Reason.SETTINGS
    return caught.value


@pytest.mark.parametrize(
    "url",
    [
        "",
        "attestd.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://host/attestd.db",
        "sqlite:///attestd.db?mode=ro",
        "sqlite+pysqlcipher:///attestd.db",
        "mysql://localhost/attestd",
        "postgresql+psycopg2://localhost/attestd",
        "postgresql:///attestd?nonsense=1",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    assert "database_url" in refused(url).found


def test_what_was_recorded_is_there_when_it_is_opened_again(registry: Registry, url: str, opener: Opener) -> None:
    key = register(registry, 1)
    registry.close()
    again = opener(url)
    assert again.read(keys.find, key.id, NOW) == key
    assert again.embedded == url.startswith("sqlite")


def test_a_database_belongs_to_one_registry(registry: Registry, url: str, opener: Opener) -> None:
    registry.close()
    assert "another registry_id" in refused(url, registry_id="simulated:demo").found
    opener(url)


def test_a_cursor_outlives_a_restart_and_is_good_in_other_processes(
    registry: Registry, url: str, opener: Opener
) -> None:
    prepare(registry, "bob")
    cursor = registry.read(access.list_providers, limit=1).next
    registry.close()
    assert [provider.id for provider in opener(url).read(access.list_providers, cursor=cursor).items] == ["bob"]


def test_a_reading_function_cannot_write(registry: Registry) -> None:
    with pytest.raises(Unavailable):
        registry.read(access.register_provider, "bob", "Bob", by="admin", at=NOW)
    with pytest.raises(Unavailable):
        registry.read(challenges.prune, LATER)
    assert registry.read(access.find_provider, "bob") is None


def test_a_refusal_leaves_the_connection_usable(registry: Registry) -> None:
    for _ in range(20):
        with pytest.raises(RequestRefused):
            registry.read(challenges.require, b"", "alice", NOW)
    assert registry.read(access.find_provider, "alice") is not None


def test_a_closed_registry_says_so(registry: Registry) -> None:
    registry.close()
    registry.close()
    for attempt in (
        lambda: registry.read(access.find_provider, "alice"),
        lambda: registry.write(access.register_provider, "bob", "Bob", by="admin", at=NOW),
    ):
        with pytest.raises(Unavailable) as caught:
            attempt()
        assert "closed" in caught.value.found


def test_a_mistake_of_ours_is_not_hidden(registry: Registry) -> None:
    def work(transaction: Transaction) -> None:
        transaction.run(Statement(text("INSERT INTO providers (id) VALUES ('x')")))

    error = registry.write(work).exception(SOON)
    assert isinstance(error, Unavailable)
    assert error.reason is Reason.DATABASE_UNAVAILABLE
    assert registry.read(access.find_provider, "x") is None


def test_units_of_one_batch_see_each_other_and_fail_alone(registry: Registry) -> None:
    started, released = Event(), Event()

    def hold(_: Transaction) -> None:
        started.set()
        assert released.wait(SOON)

    registry.write(hold)
    assert started.wait(SOON)
    value = digest("challenge", 1)
    registry.write(challenges.issue, value, "alice", expires_at=LATER, at=NOW)
    first = registry.write(results.record, new_result(1), NOW, live_keys_per_platform=1)
    used = registry.write(results.record, new_result(2, challenge=value), NOW, live_keys_per_platform=1)
    mistake = registry.write(challenges.issue, value, "alice", expires_at=LATER, at=NOW)
    same = registry.write(results.record, new_result(1, id="same"), NOW, live_keys_per_platform=1)
    released.set()
    assert first.result(SOON).created
    refusal = used.exception(SOON)
    assert isinstance(refusal, RequestRefused)
    assert refusal.reason is Reason.CHALLENGE_USED
    assert isinstance(mistake.exception(SOON), Unavailable)
    assert not same.result(SOON).created


# Readers


def test_readers_wait_a_bounded_time_for_a_connection(registry: Registry) -> None:
    readers = registry._readers
    readers._wait = 0.01
    with pytest.raises(Trouble) as caught:
        nest(readers, 9)
    assert caught.value.found == "every connection in use"
    assert nest(readers, 8) == 0


def nest(readers: Readers, depth: int) -> int:
    """Hold a connection, then take another."""
    return readers.read(lambda _: nest(readers, depth - 1)) if depth else 0


@pytest.mark.parametrize("times", [1, 2])
def test_a_read_is_tried_once_more_on_a_new_connection(registry: Registry, times: int) -> None:
    used: list[Transaction] = []

    def work(transaction: Transaction) -> str:
        used.append(transaction)
        if len(used) <= times:
            raise Interrupted("lost")
        return "answer"

    if times == 1:
        assert registry.read(work) == "answer"
    else:
        with pytest.raises(Interrupted):
            registry.read(work)
    assert len(set(map(id, used))) == len(used) == 2
    assert registry.read(access.find_provider, "alice") is not None


def test_a_read_that_ends_after_closing_closes_its_connection(registry: Registry) -> None:
    started, released = Event(), Event()

    def work(transaction: Transaction) -> None:
        started.set()
        assert released.wait(SOON)

    thread = Thread(target=registry.read, args=(work,))
    thread.start()
    assert started.wait(SOON)
    registry.close()
    released.set()
    thread.join(SOON)
    assert registry._readers._idle.empty()


# The file


def test_the_file_and_its_log_are_its_owners_alone(sqlite_url: str, opener: Opener, tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        registry = opener(sqlite_url)
        prepare(registry)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(mask)
    assert modes == {"attestd.db": 0o600, "attestd.db-wal": 0o600, "attestd.db-shm": 0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_open_to_others_is_refused(sqlite_url: str, opener: Opener, tmp_path: Path, mode: int) -> None:
    opener(sqlite_url).close()
    (tmp_path / "attestd.db").chmod(mode)
    assert f"{mode:04o}" in refused(sqlite_url).found
    (tmp_path / "attestd.db").chmod(0o600)
    opener(sqlite_url)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("These are not the pages you are looking for. " * 100)
    file.chmod(0o600)
    assert "no SQLite database" in refused(f"sqlite:///{file}").found
    assert "directory" in refused(f"sqlite:///{tmp_path}").found
    assert "No such file" in refused(f"sqlite:///{tmp_path}/missing/attestd.db").found


def test_commits_are_flushed(registry: Registry, url: str) -> None:
    def settings(transaction: Transaction) -> list[object]:
        names = ["PRAGMA synchronous", "PRAGMA journal_mode", "PRAGMA foreign_keys"]
        if not url.startswith("sqlite"):
            names = ["SHOW synchronous_commit", "SHOW fsync", "SHOW default_transaction_isolation"]
        return [row[0] for name in names if (row := transaction.one(Statement(text(name))))]

    expected = [2, "wal", 1] if url.startswith("sqlite") else ["on", "on", "read committed"]
    assert registry.write(settings).result(SOON) == expected


def test_a_path_with_special_characters(tmp_path: Path, opener: Opener) -> None:
    directory = tmp_path / "a%b c"
    directory.mkdir()
    url = f"sqlite:///{directory}/attestd.db"
    prepare(opener(url))
    with closing(sqlite3.connect(directory / "attestd.db")) as connection:
        assert connection.execute("SELECT id FROM providers").fetchall() == [("alice",)]


def test_nothing_sees_what_is_not_committed(registry: Registry, url: str) -> None:
    seen: list[int] = []

    def work(transaction: Transaction) -> None:
        access.register_provider(transaction, "bob", "Bob", by="admin", at=NOW)
        with outside(url).connect() as connection:
            seen.append(connection.execute(text("SELECT count(*) FROM providers")).scalar_one())
        assert registry.read(access.find_provider, "bob") is None

    registry.write(work).result(SOON)
    assert seen == [1]
    assert registry.read(access.find_provider, "bob") is not None
