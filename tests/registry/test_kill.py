"""Kill -9 under load: what was acknowledged is there and whole, and what was not is there whole or not at all.

Faults F01 and F09. A process records as fast as it can and says which records were acknowledged; it is killed at a
random moment, sometimes while it still makes its tables. The moments come from a seed.
"""

import multiprocessing
import random
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from time import sleep

import pytest
from sqlalchemy import Connection, inspect, text

from attestd.registry import fsck, keys, results
from attestd.registry.registry import _database
from attestd.registry.values import KeyState
from tests.postgres import Postgres
from tests.registry.alter import outside
from tests.registry.recorder import record_until_killed, small_result
from tests.registry.samples import NOW, known

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.registry.test_migration", "tests.registry.recorder"])
# One database is used for so many deaths, so that the next process always finds what a dead one left.
DEATHS_EACH = 10
SECONDS_LOADED = 0.03
SECONDS_STARTING = 0.25

# Everything that one record writes, or nothing of it.
TORN = (
    "SELECT count(*) FROM results WHERE id NOT IN (SELECT result_id FROM keys)",
    "SELECT count(*) FROM keys k WHERE NOT EXISTS (SELECT 1 FROM results r WHERE r.id = k.result_id)",
    "SELECT count(*) FROM keys k WHERE NOT EXISTS (SELECT 1 FROM key_history h WHERE h.id = k.id AND h.version = 1)",
    "SELECT count(*) FROM keys k WHERE NOT EXISTS (SELECT 1 FROM key_models m WHERE m.id = k.id AND m.version = 1)",
    "SELECT count(*) FROM keys k WHERE NOT EXISTS (SELECT 1 FROM platforms p WHERE p.id = k.platform)",
    "SELECT (SELECT count(*) FROM challenges WHERE consumed_at IS NOT NULL) - (SELECT count(*) FROM results)",
    "SELECT count(*) FROM keys k WHERE (SELECT count(*) FROM log l WHERE l.subject = k.id) <> 1",
    "SELECT (SELECT count(*) FROM log) - (SELECT count(*) FROM results)",
)


@pytest.fixture
def chance() -> random.Random:
    return random.Random(20261201)


@pytest.mark.slow
def test_sqlite_200_times(tmp_path: Path, chance: random.Random) -> None:
    def check_file(connection: Connection) -> None:
        assert connection.execute(text("PRAGMA integrity_check")).all() == [("ok",)]
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []

    urls = (f"sqlite:///{tmp_path}/{number}.db" for number in range(200 // DEATHS_EACH))
    die(urls, chance, check_file)


@pytest.mark.slow
def test_postgresql_50_times(postgres: Postgres, chance: random.Random) -> None:
    def nothing_more(_: Connection) -> None:
        pass

    die((postgres.create() for _ in range(50 // DEATHS_EACH)), chance, nothing_more)


def die(urls: Iterable[str], chance: random.Random, check: Callable[[Connection], None]) -> None:
    deaths = acknowledged = recorded = 0
    for url in urls:
        promised: list[int] = []
        for death in range(DEATHS_EACH):
            # The first one dies while it makes its tables, or shortly after.
            promised += record_and_kill(url, 10_000 * death, chance, loaded=death > 0)
            deaths += 1
            recorded += verify(url, promised, check)
        acknowledged += len(promised)
    print(f"{deaths} x kill -9: {acknowledged} acknowledged, 0 lost, 0 torn ({recorded} looked at)")
    assert acknowledged > 5 * deaths


def record_and_kill(url: str, start: int, chance: random.Random, *, loaded: bool) -> list[int]:
    """Let a process record until it is killed, and return what it said was recorded."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=record_until_killed, args=(url, theirs, start))
    process.start()
    theirs.close()
    heard = [int(ours.recv_bytes())] if loaded else []
    sleep(chance.uniform(0, SECONDS_LOADED if loaded else SECONDS_STARTING))  # the moment of death
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with suppress(EOFError):
        while True:
            heard.append(int(ours.recv_bytes()))
    ours.close()
    return heard


def verify(url: str, promised: list[int], check: Callable[[Connection], None]) -> int:
    """Look at everything as a process would that comes after; return how many records there are."""
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        assert not promised  # it died before it had made the file
        return 0
    with outside(url).connect() as connection:
        check(connection)
        if not inspect(connection).has_table("results"):
            assert not promised
            return 0
        assert [connection.execute(text(torn)).scalar_one() for torn in TORN] == [0] * len(TORN)
        count = connection.execute(text("SELECT count(*) FROM results")).scalar_one()
    session = _database(url, 10.0).connect(writing=False)
    for number in promised:
        new = small_result(number)
        result, key = known(results.find(session, new.id)), known(keys.find(session, new.key_id, NOW))
        assert (result.document, result.evidence_id) == (new.document, new.evidence_id)
        assert results.evidence(session, new.id) == new.evidence
        assert (key.state, key.result_id, key.version) == (KeyState.ACTIVE, new.id, 1)
    assert list(fsck.examine(session)) == []
    session.close()
    assert count >= len(promised)
    return int(count)
