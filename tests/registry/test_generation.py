"""Whoever keeps an answer hears when it may no longer hold, in every process."""

import signal
from collections.abc import Callable
from time import monotonic, sleep

import psycopg
import pytest

from attestd.registry import Registry, access, audit, catalogue, challenges, high_water, keys, results, revocations
from attestd.registry.sqlite import SqliteChanges
from attestd.registry.values import Mark, RevocationKind, Role
from attestd.result import Tier
from tests.postgres import Postgres
from tests.registry.conftest import Opener
from tests.registry.samples import LATER, NOW, challenge, digest, new_result, prepare, record, register

SOON = 15.0


def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds that will hold, and fail where it never does."""
    end = monotonic() + SOON
    while not condition():
        assert monotonic() < end
        sleep(0.01)


def revoke(registry: Registry, number: int = 1) -> None:
    value = digest("key", number).hex()
    registry.write(revocations.revoke, RevocationKind.KEY, value, reason="", by="admin", at=NOW).result()


def approve(registry: Registry) -> None:
    registry.write(catalogue.approve_model, digest("model"), name="m", by="admin", at=NOW).result()


def suspend(registry: Registry) -> None:
    registry.write(keys.suspend, digest("key", 1), reason="", by="admin", at=NOW).result()


CHANGES: list[Callable[[Registry], object]] = [
    lambda registry: register(registry, 2),
    revoke,
    suspend,
    approve,
    lambda registry: registry.write(
        catalogue.approve_image, digest("i"), name="i", roles=("worker",), by="admin", at=NOW
    ).result(),
    lambda registry: registry.write(catalogue.approve_policy, "p", 1, b"", by="admin", at=NOW).result(),
    lambda registry: registry.write(
        access.issue, Role.ADMIN, None, label="", expires_at=LATER, by="admin", at=NOW
    ).result(),
    lambda registry: registry.write(high_water.observe, [Mark("crl", "root", 1)], NOW).result(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_a_public_answer_shows_in_all_processes(
    registry: Registry, url: str, opener: Opener, change: Callable[[Registry], object]
) -> None:
    register(registry, 1)
    other = opener(url)
    until(lambda: other.generation() is not None and registry.generation() is not None)
    mine, theirs = registry.generation(), other.generation()
    change(registry)
    assert registry.generation() != mine  # at once, where it was acknowledged
    until(lambda: other.generation() != theirs)
    assert other.generation() is not None


def test_what_is_not_public_changes_nothing(sqlite_url: str, opener: Opener) -> None:
    registry = opener(sqlite_url)
    before = registry.generation()
    prepare(registry)
    challenge(registry, 1)
    challenge(registry, 2)
    record(registry, new_result(1, tier=Tier.WARNING))
    registry.write(challenges.prune, LATER).result()
    registry.write(audit.append, actor="a", action="b", subject="c", detail={}, at=NOW).result()
    assert registry.generation() == before
    record(registry, new_result(2))
    assert registry.generation() != before


def test_a_refused_change_is_no_change(sqlite_url: str, opener: Opener) -> None:
    registry = opener(sqlite_url)
    prepare(registry)
    register(registry, 1)
    before = registry.generation()
    late = registry.write(results.record, new_result(2), NOW, live_keys_per_platform=1).exception()
    assert late is not None
    revoke(registry)
    after = registry.generation()
    assert after != before
    revoke(registry)
    assert registry.generation() == after


def test_nothing_is_known_of_a_file_that_cannot_be_read(sqlite_url: str, opener: Opener) -> None:
    registry = opener(sqlite_url)
    changes = registry._changes
    assert isinstance(changes, SqliteChanges)
    assert registry.generation() is not None
    changes.close()
    assert registry.generation() is None


def backends(postgres_url: str, condition: str) -> list[int]:
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'attestd' AND datname = current_database()"
            f" AND {condition}"
        ).fetchall()
    return [row[0] for row in rows]


def test_a_listener_that_was_cut_off_relies_on_nothing_it_may_have_missed(postgres_url: str, opener: Opener) -> None:
    registry, other = opener(postgres_url), opener(postgres_url)
    prepare(registry)
    register(registry, 1)
    until(lambda: None not in (registry.generation(), other.generation()))
    before = other.generation()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        listeners = backends(postgres_url, "query LIKE ANY ('{LISTEN %, %clock_timestamp()%}')")
        assert len(listeners) == 2
        for process in listeners:
            connection.execute("SELECT pg_terminate_backend(%s)", (process,))
    until(lambda: other.generation() not in (None, before))
    after = other.generation()
    revoke(registry)
    until(lambda: other.generation() != after)


def test_nothing_is_known_while_the_server_stands_still(postgres: Postgres, postgres_url: str, opener: Opener) -> None:
    registry = opener(postgres_url)
    until(lambda: registry.generation() is not None)
    before = registry.generation()
    postgres.signal(signal.SIGSTOP)
    try:
        until(lambda: registry.generation() is None)
    finally:
        postgres.signal(signal.SIGCONT)
    until(lambda: registry.generation() is not None)
    assert registry.generation() is not None
    assert before is not None


def test_nothing_is_known_while_there_is_no_server(postgres: Postgres, postgres_url: str, opener: Opener) -> None:
    registry = opener(postgres_url)
    until(lambda: registry.generation() is not None)
    before = registry.generation()
    postgres.stop("immediate")
    try:
        until(lambda: registry.generation() is None)
    finally:
        postgres.start()
    until(lambda: registry.generation() not in (None, before))
    assert registry.read(access.find_provider, "alice") is None
