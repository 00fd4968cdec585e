"""The log in the database: indexes without gaps, tiles that only grow, and nothing served that was altered."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from attestd.errors import Malformed, Reason, RequestRefused, Unavailable
from attestd.registry import Registry, keymap, keys, log, sequencing
from attestd.registry.database import Transaction
from attestd.transparency import merkle, record
from attestd.transparency.record import load_record
from attestd.transparency.tiles import TILE_WIDTH, load_entries, tile_width
from tests.registry.alter import alter, outside
from tests.registry.conftest import Opener
from tests.registry.samples import NOW, digest, register

# Three levels of tiles take 65,536 records; two are enough for every case.
MANY = 3 * TILE_WIDTH + 7


def refusal(key: int) -> record.Record:
    return record.Refuse(at=NOW, result=digest("result", key))


def append_all(transaction: Transaction, first: int, end: int) -> list[int]:
    return [log.append(transaction, refusal(number)) for number in range(first, end)]


def fill(registry: Registry, size: int) -> None:
    registry.write(append_all, registry.read(log.size), size).result()


def advance(registry: Registry, epoch: int = 1, most: int = sequencing.MOST) -> sequencing.Sequenced:
    return registry.write(sequencing.advance, epoch, most=most).result()


def whole_tree(registry: Registry, size: int) -> merkle.Frontier:
    frontier = merkle.Frontier()
    frontier.extend(merkle.leaf_hash(raw) for raw in registry.read(log.records, 0, size))
    assert frontier.size == size
    return frontier


def test_every_record_has_its_index(registry: Registry) -> None:
    assert registry.write(append_all, 0, 3).result() == [0, 1, 2]
    assert registry.read(log.size) == 3
    assert [load_record(raw) for raw in registry.read(log.records, 1, 10)] == [refusal(1), refusal(2)]
    assert registry.read(log.records, 3, 10) == ()
    assert registry.read(log.find, digest("result", 1)) == (1,)
    assert registry.read(log.find, digest("result", 3)) == ()


def test_what_is_undone_leaves_no_gap(registry: Registry) -> None:
    def append_and_fail(transaction: Transaction) -> None:
        append_all(transaction, 0, 2)
        raise RequestRefused(Reason.KEY_REVOKED, found="", wanted="")

    fill(registry, 1)
    futures: list[Future[Any]] = [
        registry.write(append_and_fail),
        registry.write(append_all, 1, 2),
        registry.write(append_and_fail),
    ]
    with pytest.raises(RequestRefused):
        futures[0].result()
    assert futures[1].result() == [1]
    with pytest.raises(RequestRefused):
        futures[2].result()
    assert registry.read(log.size) == 2


def test_processes_that_write_together_give_each_index_once(url: str, opener: Opener) -> None:
    """Attack R04."""
    first, second = opener(url), opener(url)
    given_: list[int] = []

    def append_through(registry: Registry) -> None:
        for number in range(50):
            given_.extend(registry.write(append_all, number, number + 1).result())

    threads = [threading.Thread(target=append_through, args=(registry,)) for registry in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given_) == list(range(100))
    assert len(first.read(log.records, 0, 200)) == 100


@pytest.mark.parametrize(
    "said",
    [
        record.Model(at=NOW, digest=b"short", state="approved"),
        record.Revoke(at=NOW, key=b"short"),
        record.Policy(at=NOW, name="", policy_version=1, digest=digest("p")),
        record.Policy(at=NOW, name="p", policy_version=2**63, digest=digest("p")),
    ],
)
def test_what_could_not_be_read_again_is_not_written(registry: Registry, said: record.Record) -> None:
    with pytest.raises(Malformed) as caught:
        registry.write(log.append, said).result()
    assert caught.value.reason is Reason.LOG_RECORD
    assert registry.read(log.size) == 0


# Sequencing


def test_nothing_is_sequenced_at_first(registry: Registry) -> None:
    fill(registry, 2)
    assert registry.read(sequencing.state) == sequencing.Sequenced(0, 0, merkle.EMPTY_ROOT, keymap.NO_KEYS)
    assert registry.read(log.tile, 0, 0, 1) is None
    assert registry.read(log.entries, 0, 1) is None
    registry.read(sequencing.require_sound)


def test_an_epoch_without_anything_new(registry: Registry) -> None:
    assert advance(registry, 4) == sequencing.Sequenced(4, 0, merkle.EMPTY_ROOT, keymap.NO_KEYS)
    fill(registry, 2)
    after = advance(registry, 5)
    assert advance(registry, 6) == sequencing.Sequenced(6, 2, after.log_root, after.map_root)
    assert registry.read(sequencing.state).epoch == 6


@pytest.mark.parametrize("steps", [(1, 2, 255, 256, 257, 512, MANY), (MANY,), (256, 512), (300, 301)])
def test_the_tree_of_every_size_stays_as_it_was(registry: Registry, steps: tuple[int, ...]) -> None:
    roots = {0: merkle.EMPTY_ROOT}
    for size in steps:
        fill(registry, size)
        roots[size] = advance(registry).log_root
        registry.read(sequencing.require_sound)
    frontier = whole_tree(registry, steps[-1])
    for size, root in roots.items():
        assert root == registry.read(log.root, size) == merkle.root(size, frontier.hash_at)
    for old, new in pairwise(sorted(roots)):
        proof = registry.read(log.consistency_proof, old, new)
        merkle.verify_consistency(old, roots[old], new, roots[new], proof)
        raw = registry.read(log.records, new - 1, 1)[0]
        path = registry.read(log.inclusion_proof, new - 1, new)
        merkle.verify_inclusion(merkle.leaf_hash(raw), new - 1, new, path, roots[new])


def test_tiles_and_bundles_are_those_of_every_width(registry: Registry) -> None:
    fill(registry, MANY)
    advance(registry)
    frontier = whole_tree(registry, MANY)
    raw = registry.read(log.records, 0, MANY)
    for level, index in ((0, 0), (0, 2), (0, 3), (1, 0)):
        _, hashes = frontier.held(8 * level)
        there = tile_width(level, index, MANY)
        for width in {1, there // 2, there} - {0}:
            start = index * TILE_WIDTH
            assert registry.read(log.tile, level, index, width) == hashes[start * 32 : (start + width) * 32]
            if level == 0:
                bundle = registry.read(log.entries, index, width)
                assert bundle is not None
                assert load_entries(bundle, width) == list(raw[start : start + width])
        if there < TILE_WIDTH:
            assert registry.read(log.tile, level, index, there + 1) is None
    assert registry.read(log.tile, 2, 0, 1) is None
    assert registry.read(log.entries, 4, 1) is None


@settings(max_examples=200)
@given(st.lists(st.booleans(), max_size=30), st.integers(2, 5))
def test_a_decision_is_never_divided(pairs: list[bool], most: int) -> None:
    leaves: list[log.Leaf] = []
    for version, is_pair in enumerate(pairs):
        for _ in range(1 + is_pair):
            leaves.append(log.Leaf(len(leaves), b"key", version, b"", b""))
    while len(leaves) > most:
        count = sequencing._undivided(tuple(leaves[: most + 1]))
        assert 0 < count <= most
        assert leaves[count - 1].version != leaves[count].version
        leaves = leaves[count:]


def test_of_many_records_some_are_sequenced_at_once(registry: Registry) -> None:
    register(registry, 1)
    registry.write(keys.suspend, digest("key", 1), reason="", by="admin", at=NOW).result()
    register(registry, 2, key_id=digest("key", 1))  # renew and suspend
    register(registry, 3)
    sizes: list[int] = []
    while not sizes or sizes[-1] < registry.read(log.size):
        sizes.append(advance(registry, most=3).size)
    assert sizes == [2, 5]


# What was altered


@pytest.mark.parametrize("column", ["record", "leaf"])
def test_an_altered_record_is_neither_served_nor_sequenced(registry: Registry, url: str, column: str) -> None:
    """Attacks R02 and R03."""
    fill(registry, 3)
    reads: list[Callable[[], Any]] = [
        lambda: registry.read(log.records, 0, 3),
        lambda: advance(registry),
    ]
    with alter(url, "log", column, '"index" = 1'):
        for read in reads:
            require_damage(read, "record 1")
    advance(registry)
    with alter(url, "log", column, '"index" = 1'):
        require_damage(lambda: registry.read(log.entries, 0, 3), "record 1")
        require_damage(lambda: registry.read(sequencing.require_sound), "record 1")
    registry.read(sequencing.require_sound)


def test_a_record_in_place_of_another_is_found_out(registry: Registry, url: str) -> None:
    """Attack R01: a record that was decided by nobody, with its own right hash."""
    fill(registry, 3)
    advance(registry)
    raw = record.dump_record(refusal(7))
    with outside(url).begin() as connection:
        forged = {"raw": raw, "leaf": merkle.leaf_hash(raw)}
        connection.execute(text('UPDATE log SET record = :raw, leaf = :leaf WHERE "index" = 1'), forged)
    require_damage(lambda: registry.read(log.entries, 0, 3), "tiles")
    require_damage(lambda: registry.read(sequencing.require_sound), "tiles")


def test_a_record_that_is_gone_is_found_out(registry: Registry, url: str) -> None:
    fill(registry, 3)
    with outside(url).begin() as connection:
        connection.execute(text('DELETE FROM log WHERE "index" = 1'))
    require_damage(lambda: registry.read(log.records, 0, 3), "record 1")
    require_damage(lambda: advance(registry), "record 1")


def test_a_log_that_was_cut_off_is_found_out(registry: Registry, url: str) -> None:
    """Fault F33: the records are older than the tiles."""
    fill(registry, 3)
    advance(registry)
    with outside(url).begin() as connection:
        connection.execute(text('DELETE FROM log WHERE "index" > 0'))
    require_damage(lambda: registry.read(sequencing.require_sound), "shorter")


@pytest.mark.parametrize("column", ["hashes", "seal"])
@pytest.mark.parametrize("level", [0, 1])
def test_an_altered_tile_is_found_out(registry: Registry, url: str, column: str, level: int) -> None:
    """Attack R03, fault F21."""
    size = TILE_WIDTH + 3
    fill(registry, size)
    advance(registry)
    fill(registry, 2 * TILE_WIDTH)
    index = 1 - level
    with alter(url, "log_tiles", column, f'level = {level} AND "index" = {index}'):
        place = f"tile {index} of level {level}"
        require_damage(lambda: registry.read(log.tile, level, index, 1), place)
        require_damage(lambda: registry.read(log.inclusion_proof, size - 2, size), place)
        require_damage(lambda: registry.read(sequencing.require_sound), place)
        require_damage(lambda: advance(registry), place)
    assert advance(registry).size == 2 * TILE_WIDTH


def test_a_tile_that_is_gone_or_too_long_is_found_out(registry: Registry, url: str) -> None:
    size = TILE_WIDTH + 3
    fill(registry, size)
    advance(registry)
    with outside(url).begin() as connection:
        connection.execute(text('UPDATE log_tiles SET "index" = 2 WHERE level = 0 AND "index" = 1'))
    for read in (
        lambda: registry.read(log.root, size),
        lambda: registry.read(log.consistency_proof, 7, size),
        lambda: registry.read(sequencing.require_sound),
    ):
        require_damage(read, "tile 1 of level 0")
    fill(registry, size + 1)
    require_damage(lambda: advance(registry), "tile 1 of level 0")


@pytest.mark.parametrize("column", ["epoch", "size", "log_root", "map_root", "seal"])
def test_how_far_the_log_is_sequenced_is_sealed(registry: Registry, url: str, column: str) -> None:
    fill(registry, 3)
    advance(registry)
    with alter(url, "sequenced", column):
        for read in (
            lambda: registry.read(sequencing.state),
            lambda: registry.read(sequencing.require_sound),
            lambda: advance(registry),
        ):
            require_damage(read, "how far")
    registry.read(sequencing.state)


def test_an_older_row_of_how_far_it_went_is_found_out(registry: Registry, url: str) -> None:
    """Fault F33: a part of the database is older than the rest."""
    fill(registry, 3)
    advance(registry)
    with outside(url).begin() as connection:
        old = connection.execute(text("SELECT * FROM sequenced")).mappings().one()
    fill(registry, 6)
    advance(registry)
    with outside(url).begin() as connection:
        parts = ", ".join(f"{name} = :{name}" for name in old)
        connection.execute(text(f"UPDATE sequenced SET {parts}"), dict(old))
    fill(registry, 7)
    require_damage(lambda: advance(registry), "tile 0 of level 0")


@pytest.mark.parametrize(("part", "what"), [("log_root", "root of the log"), ("map_root", "node")])
def test_roots_of_another_log_are_found_out(registry: Registry, part: str, what: str) -> None:
    """Fault F33: the row is sealed, and of another copy of the database."""
    fill(registry, 3)
    changed: dict[str, Any] = {part: digest("root")}
    other = replace(advance(registry), **changed)
    registry.write(sequencing.store, other).result()
    require_damage(lambda: registry.read(sequencing.require_sound), what)


def test_a_record_in_another_form_is_never_sequenced(registry: Registry, url: str) -> None:
    fill(registry, 1)
    raw = record.dump_record(refusal(7)).replace(b",", b", ")
    with outside(url).begin() as connection:
        forged = {"raw": raw, "leaf": merkle.leaf_hash(raw)}
        connection.execute(text("UPDATE log SET record = :raw, leaf = :leaf"), forged)
    require_damage(lambda: advance(registry), "record 0")


def test_a_record_under_another_name_is_never_sequenced(registry: Registry, url: str) -> None:
    fill(registry, 1)
    with alter(url, "log", "subject"):
        require_damage(lambda: advance(registry), "record 0")
    assert advance(registry).size == 1


def require_damage(read: Callable[[], Any], what: str) -> None:
    with pytest.raises(Unavailable) as caught:
        read()
    assert caught.value.reason is Reason.REGISTRY_INTEGRITY
    assert what in caught.value.found
