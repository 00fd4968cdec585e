"""Looking at everything: each kind of fault is found where it is, and what follows from the records is made again."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from attestd.errors import Reason, Unavailable
from attestd.registry import Registry, epochs, fsck, keymap, keys, log, sequencing
from attestd.registry.database import Transaction
from attestd.registry.fsck import Fault, Part
from attestd.transparency import merkle, record
from attestd.transparency.tiles import TILE_WIDTH
from tests.refusals import refused
from tests.registry.alter import alter, outside
from tests.registry.conftest import Opener
from tests.registry.samples import NOW, digest, prepare, register

HOUR = timedelta(hours=1)
TERMS = epochs.Terms(interval=0, validity=3600, note=lambda size, root: b"note", is_published=False)
FILLER = TILE_WIDTH


def examine(registry: Registry) -> list[Fault]:
    return registry.read(lambda transaction: list(fsck.examine(transaction)))


def rebuild(registry: Registry) -> int:
    return registry.write(fsck.rebuild).result()


def fill(transaction: Transaction) -> None:
    for number in range(FILLER):
        log.append(transaction, record.Refuse(at=NOW, result=digest("result", number)))


@pytest.fixture
def lived(registry: Registry) -> Registry:
    """Return a registry with three epochs, and records that are in none."""
    for number in range(1, 6):
        register(registry, number)
    registry.write(epochs.build, NOW, TERMS).result()
    registry.write(fill).result()
    registry.write(keys.suspend, digest("key", 1), reason="", by="admin", at=NOW).result()
    registry.write(epochs.build, NOW + HOUR, TERMS).result()
    register(registry, 6)
    registry.write(epochs.build, NOW + 2 * HOUR, TERMS).result()
    register(registry, 7)
    assert examine(registry) == []
    return registry


def test_there_is_nothing_to_find_in_nothing(registry: Registry) -> None:
    assert examine(registry) == []
    assert rebuild(registry) == 0


def test_before_the_first_epoch(registry: Registry) -> None:
    register(registry, 1)
    assert examine(registry) == []
    assert rebuild(registry) == 0


def test_an_altered_row_before_the_first_epoch(registry: Registry, url: str) -> None:
    register(registry, 1)
    registry.write(sequencing.advance, 1).result()
    damage(url, "UPDATE sequenced SET size = size + 1")
    assert examine(registry)[0][:2] == (Part.SEQUENCED, "")
    assert rebuild(registry) == 0
    assert examine(registry) == []


def test_an_epoch_without_keys(registry: Registry) -> None:
    registry.write(fill).result()
    registry.write(epochs.build, NOW, TERMS).result()
    assert examine(registry) == []
    assert rebuild(registry) == FILLER


@pytest.mark.parametrize("index", [0, 3, FILLER + 5, FILLER + 7])
def test_an_altered_record(lived: Registry, url: str, index: int) -> None:
    """Attack R02: the place is named, and nothing is made of it."""
    with alter(url, "log", "record", f'"index" = {index}'):
        assert examine(lived) == [Fault(Part.RECORD, str(index), "an altered record")]
        with refused(Unavailable, Reason.REGISTRY_INTEGRITY):
            rebuild(lived)
    assert examine(lived) == []


def test_an_altered_hash_of_a_record(lived: Registry, url: str) -> None:
    with alter(url, "log", "leaf", '"index" = 3'):
        assert examine(lived) == [Fault(Part.RECORD, "3", "an altered hash of it")]


def test_a_record_in_place_of_another(lived: Registry, url: str) -> None:
    """Attack R01: the record fits its hash, and not what was said of the log since."""
    raw = record.dump_record(record.Refuse(at=NOW, result=digest("another")))
    with outside(url).begin() as connection:
        forged = {"raw": raw, "leaf": merkle.leaf_hash(raw), "subject": digest("another")}
        connection.execute(
            text('UPDATE log SET record = :raw, leaf = :leaf, subject = :subject WHERE "index" = 9'), forged
        )
    faults = examine(lived)
    assert {(fault.part, fault.place) for fault in faults} == {
        (Part.EPOCH, "1"),  # of the second and third candidate: nothing was ever confirmed
        (Part.SEQUENCED, "1"),
        (Part.TILE, "0/0"),
        (Part.TILE, "1/0"),
    }
    with pytest.raises(Unavailable) as caught:
        rebuild(lived)
    assert caught.value.reason is Reason.REGISTRY_INTEGRITY
    assert examine(lived) == faults


def test_a_record_under_another_name(lived: Registry, url: str) -> None:
    with alter(url, "log", "subject", '"index" = 3'):
        assert examine(lived) == [Fault(Part.RECORD, "3", "another form, or another subject beside it")]


def test_a_record_that_is_gone(lived: Registry, url: str) -> None:
    with outside(url).begin() as connection:
        connection.execute(text('DELETE FROM log WHERE "index" = 3'))
    faults = examine(lived)
    assert faults[0] == Fault(Part.RECORD, "3", "none")
    assert not {Part.NODE, Part.KEY} & {fault.part for fault in faults}  # of which nothing can be said


def test_a_log_that_was_cut_off(lived: Registry, url: str) -> None:
    """Fault F33."""
    with outside(url).begin() as connection:
        connection.execute(text('DELETE FROM log WHERE "index" > 99'))
    sizes = [fault.found for fault in examine(lived) if fault.part is Part.EPOCH]
    assert sizes == [f"{FILLER + 6} records, of which 100 are there", f"{FILLER + 7} records, of which 100 are there"]
    with refused(Unavailable, Reason.REGISTRY_INTEGRITY):
        rebuild(lived)


def damage(url: str, statement: str) -> None:
    with outside(url).begin() as connection:
        assert connection.execute(text(statement)).rowcount


DERIVED = [
    ('UPDATE log_tiles SET hashes = seal WHERE level = 0 AND "index" = 0', Part.TILE, "0/0"),
    ('UPDATE log_tiles SET seal = hashes WHERE level = 0 AND "index" = 1', Part.TILE, "0/1"),
    ("UPDATE log_tiles SET hashes = seal WHERE level = 1", Part.TILE, "1/0"),
    ("UPDATE sequenced SET seal = map_root", Part.SEQUENCED, ""),
    ("UPDATE sequenced SET size = size + 1", Part.SEQUENCED, ""),
]


@pytest.mark.parametrize(("statement", "part", "place"), DERIVED)
def test_what_follows_from_the_records_is_made_again(
    lived: Registry, url: str, statement: str, part: Part, place: str
) -> None:
    """Fault F21."""
    now = lived.read(sequencing.state)
    damage(url, statement)
    assert [(fault.part, fault.place) for fault in examine(lived)] == [(part, place)]
    assert rebuild(lived) == now.size
    assert examine(lived) == []
    assert lived.read(sequencing.state) == now


def test_tiles_that_are_missing_or_too_many(lived: Registry, url: str) -> None:
    damage(url, "INSERT INTO log_tiles SELECT 3, 7, hashes, seal FROM log_tiles WHERE level = 1")
    assert examine(lived) == [Fault(Part.TILE, "", "4 tiles, where 3 are wanted")]
    damage(url, "DELETE FROM log_tiles WHERE level = 0")
    assert [(fault.part, fault.place) for fault in examine(lived)] == [
        (Part.TILE, "0/0"),
        (Part.TILE, "0/1"),
        (Part.TILE, ""),
    ]
    rebuild(lived)
    assert examine(lived) == []


def test_nodes_of_the_map(lived: Registry, url: str) -> None:
    root = lived.read(sequencing.state).map_root
    live = live_nodes(lived, root)
    damage(url, "UPDATE map_nodes SET node = hash")
    assert examine(lived) == [Fault(Part.NODE, hash_, "an altered node") for hash_ in live]
    damage(url, "DELETE FROM map_nodes")
    assert examine(lived) == [Fault(Part.NODE, hash_, "none") for hash_ in live]
    rebuild(lived)
    assert examine(lived) == []
    assert lived.read(keymap.prove, root, digest("key", 6)) is not None


def test_a_node_that_would_be_forgotten(lived: Registry, url: str) -> None:
    live = live_nodes(lived, lived.read(sequencing.state).map_root)
    damage(url, "DELETE FROM map_retired")
    damage(url, "INSERT INTO map_retired SELECT hash, 1 FROM map_nodes")
    assert examine(lived) == [Fault(Part.NODE, hash_, "a node that is going to be forgotten") for hash_ in live]
    rebuild(lived)
    assert examine(lived) == []


def live_nodes(registry: Registry, root: bytes) -> list[str]:
    """Return what nodes the map has, in the order in which they are looked at."""
    examination = fsck._Examination(*registry.read(lambda transaction: (transaction, fsck._marks(transaction)[0])))
    registry.read(lambda transaction: list(examination.records()))
    assert examination._root == root
    return [hash_.hex() for hash_ in examination._nodes]


READS: list[tuple[str, Callable[[Registry], object]]] = [
    ("log SET record", lambda registry: registry.read(log.records, 0, 1)),
    ("log_tiles SET hashes", lambda registry: registry.read(log.tile, 0, 0, 1)),
    (
        "map_nodes SET node",
        lambda registry: registry.read(keymap.prove, registry.read(sequencing.state).map_root, digest("key", 1)),
    ),
]


@pytest.mark.parametrize(("statement", "read"), READS)
@pytest.mark.parametrize("value", ["7", "'x'"])
def test_what_is_no_bytes_at_all(
    tmp_path: Path, opener: Opener, statement: str, read: Callable[[Registry], object], value: str
) -> None:
    """SQLite takes anything into any column."""
    url = f"sqlite:///{tmp_path}/attestd.db"
    registry = opener(url)
    prepare(registry)
    register(registry, 1)
    registry.write(sequencing.advance, 1).result()
    read(registry)
    damage(url, f"UPDATE {statement} = {value}")
    assert len(examine(registry)) == 1
    with pytest.raises(Unavailable) as caught:
        read(registry)
    assert caught.value.reason is Reason.REGISTRY_INTEGRITY


def test_how_far_another_log_was_sequenced(lived: Registry) -> None:
    now = lived.read(sequencing.state)
    lived.write(sequencing.store, replace(now, map_root=digest("root"))).result()
    assert examine(lived) == [Fault(Part.SEQUENCED, "1", "another root of the map than that of the records")]
    assert rebuild(lived) == now.size
    assert lived.read(sequencing.state) == now


@pytest.mark.parametrize(("above", "first"), [(5, "2"), (0, "1")])
def test_an_epoch_that_was_altered(lived: Registry, url: str, above: int, first: str) -> None:
    damage(url, f"UPDATE epochs SET map_root = log_root WHERE tree_size > {above}")
    assert [(fault.part, fault.place) for fault in examine(lived)] == [(Part.EPOCH, first)]
    with refused(Unavailable, Reason.REGISTRY_INTEGRITY):
        rebuild(lived)


@pytest.mark.parametrize("statement", ["listed_until = NULL", "listed_until = 1"])
def test_a_key_in_another_state_than_in_the_log(lived: Registry, url: str, statement: str) -> None:
    damage(url, f"UPDATE keys SET {statement} WHERE listed_until IS {'NOT ' * ('= NULL' in statement)}NULL")
    wanted = [2, 3, 4, 5, 6, 7] if "= NULL" in statement else [1]
    places = sorted(digest("key", number).hex() for number in wanted)
    assert examine(lived) == [Fault(Part.KEY, place, "another state than in the log") for place in places]


def test_a_key_that_is_in_the_log_alone(lived: Registry, url: str) -> None:
    for table, column in (("key_models", "id"), ("key_history", "id"), ("keys", "id")):
        with outside(url).begin() as connection:
            connection.execute(text(f"DELETE FROM {table} WHERE {column} = :id"), {"id": digest("key", 2)})
    assert examine(lived) == [Fault(Part.KEY, digest("key", 2).hex(), "none")]


def test_it_may_run_while_something_is_decided(lived: Registry) -> None:
    def decide_meanwhile(transaction: Transaction) -> list[Fault]:
        marks, _ = fsck._marks(transaction)
        examination = fsck._Examination(transaction, marks)
        faults = list(examination.records())
        register(lived, 8)
        lived.write(fill).result()  # more than fits into the last tile
        lived.write(keys.suspend, digest("key", 2), reason="", by="admin", at=NOW).result()
        lived.write(epochs.build, NOW + 3 * HOUR, TERMS).result()
        return [*faults, *examination.tiles(), *examination.nodes(), *examination.keys()]

    assert lived.read(decide_meanwhile) == []
