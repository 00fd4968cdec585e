"""Faults of the disk and of other processes on it (attacks.md, section 4: F03, F07, F22)."""

import random
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from attestd.errors import AttestdError, Reason, Unavailable
from attestd.registry import Transaction, access, keys, results, sqlite
from attestd.registry.sqlite import SqliteDatabase
from attestd.registry.values import Key, KeyFilters
from tests.registry.alter import outside
from tests.registry.conftest import Opener
from tests.registry.samples import NOW, challenge, digest, new_result, prepare, record, register


def unavailable(error: BaseException | None, found: str) -> None:
    assert isinstance(error, Unavailable)
    assert (error.reason, error.found) == (Reason.DATABASE_UNAVAILABLE, found)


def test_a_full_disk_refuses_writes_answers_reads_and_recovers(
    sqlite_url: str, opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = opener(sqlite_url)
    prepare(registry)
    first = register(registry, 1)
    registry.close()

    monkeypatch.setattr(sqlite, "_TO_WRITE", "PRAGMA max_page_count = 90")
    registry = opener(sqlite_url)
    acknowledged = []
    for number in range(2, 100):
        try:
            acknowledged.append(register(registry, number))
        except Unavailable as error:
            unavailable(error, "SQLITE_FULL")
            break
    else:
        pytest.fail("the disk was never full")
    assert acknowledged
    refused = number
    for key in [first, *acknowledged]:
        assert registry.read(keys.find, key.id, NOW) == key
    assert registry.read(results.find, new_result(refused).id) is None

    monkeypatch.setattr(sqlite, "_TO_WRITE", "PRAGMA cache_size = -2000")
    register(registry, refused + 1)


def test_a_lock_held_by_another_is_waited_for_a_bounded_time(sqlite_url: str, opener: Opener) -> None:
    registry = opener(sqlite_url, wait=0.3)
    prepare(registry)
    challenge(registry, 1)
    with outside(sqlite_url).connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        future = registry.write(results.record, new_result(1), NOW, live_keys_per_platform=1)
        unavailable(future.exception(10.0), "SQLITE_BUSY")
        assert registry.read(access.find_provider, "alice") is not None
    assert record(registry, new_result(1)).created


def test_a_file_that_is_gone_is_reported(sqlite_url: str, opener: Opener, tmp_path: Path) -> None:
    registry = opener(sqlite_url)
    registry.close()
    shutil.rmtree(tmp_path)
    database = SqliteDatabase(tmp_path / "attestd.db", 1.0)
    for writing in (True, False):
        with pytest.raises(Unavailable) as caught:
            database.connect(writing=writing)
        unavailable(caught.value, "SQLITE_CANTOPEN")


def test_a_directory_that_cannot_be_written_is_reported(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = SqliteDatabase(Path(sqlite_url.removeprefix("sqlite:///")), 1.0)

    def fail(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(sqlite3, "connect", fail)
    with pytest.raises(Unavailable):
        database.verify()


def test_a_file_system_without_shared_memory_is_refused(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoLog(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            return super().execute(sql.replace("journal_mode = WAL", "journal_mode"), *parameters)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=NoLog, **k))
    with pytest.raises(AttestdError) as caught:
        SqliteDatabase(Path(sqlite_url.removeprefix("sqlite:///")), 1.0).verify()
    assert (caught.value.reason, "file system" in caught.value.found) == (Reason.SETTINGS, True)


def test_a_flipped_bit_of_the_file_is_found_out_or_changes_nothing(
    sqlite_url: str, opener: Opener, tmp_path: Path
) -> None:
    """Fault F22: whatever is served of a damaged file is what was recorded."""
    registry = opener(sqlite_url)
    prepare(registry)
    recorded = {key.id: key for key in (register(registry, number) for number in range(8))}
    registry.close()
    with sqlite3.connect(tmp_path / "attestd.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    whole = (tmp_path / "attestd.db").read_bytes()

    chance = random.Random(20261201)
    damaged = tmp_path / "damaged.db"
    outcomes = {"served": 0, "missing": 0, "refused": 0}
    for _ in range(400):
        position, bit = chance.randrange(len(whole)), chance.randrange(8)
        changed = bytearray(whole)
        changed[position] ^= 1 << bit
        damaged.write_bytes(changed)
        for key in served(damaged, list(recorded), outcomes):
            assert key == recorded[key.id]
    print(outcomes)
    assert outcomes["served"] > outcomes["refused"] > 0


def served(file: Path, ids: list[bytes], outcomes: dict[str, int]) -> list[Key]:
    """Return every key that a damaged file gives out, one by one and in a list."""
    found: list[Key] = []
    try:
        connection = SqliteDatabase(file, 1.0).connect(writing=False)
    except Unavailable:
        outcomes["refused"] += 1
        return found
    reads: list[Callable[[], Sequence[Key | None]]] = [
        lambda: keys.page(connection, KeyFilters(), NOW).items,
        *(partial(one, connection, key_id) for key_id in ids),
    ]
    for read in reads:
        try:
            answer = [key for key in read() if key is not None]
        except Unavailable:
            outcomes["refused"] += 1
        else:
            outcomes["served" if answer else "missing"] += 1
            found += answer
    connection.close()
    return found


def one(connection: Transaction, key_id: bytes) -> list[Key | None]:
    return [keys.find(connection, key_id, NOW)]


def test_an_acknowledged_record_is_on_the_disk(sqlite_url: str, opener: Opener, tmp_path: Path) -> None:
    """What another process reads from a copy of the files, taken right after the acknowledgement."""
    registry = opener(sqlite_url)
    prepare(registry)
    copy = tmp_path / "copy"
    for number in range(5):
        key = register(registry, number)
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for name in ("attestd.db", "attestd.db-wal"):
            shutil.copy(tmp_path / name, copy / name)
        connection = SqliteDatabase(copy / "attestd.db", 1.0).connect(writing=False)
        assert keys.find(connection, digest("key", number), NOW) == key
        connection.close()
