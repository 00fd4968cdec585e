"""The map in the database: what is proved from it, what is forgotten, and nothing read that was altered."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlmodel import col

from attestd.errors import Reason, Unavailable
from attestd.registry import Registry, keymap
from attestd.registry.database import Connection, Statement
from attestd.registry.registry import _database
from attestd.registry.tables import MapNodeRow
from attestd.transparency import keymap as nodes
from attestd.transparency.entry import Entry
from tests.registry.alter import alter, outside
from tests.registry.samples import NOW, REGISTRY_ID, digest

ENTRY = Entry(tee="tdx", image=digest("image"), models=bytes(32), result=digest("result"), not_before=1, not_after=2)
OTHER = Entry(tee="snp", image=digest("image"), models=bytes(32), result=digest("other"), not_before=1, not_after=2)


def key(number: int) -> bytes:
    return digest("key", number)


def put(registry: Registry, epoch: int, root: bytes, **changes: Entry | None) -> bytes:
    """Apply changes, where k1 stands for the key of number 1."""
    named = {key(int(name[1:])): entry for name, entry in changes.items()}
    return registry.write(keymap.apply, epoch, root, named).result()


def members(registry: Registry, root: bytes, count: int = 40) -> set[int]:
    """Return which of the keys from 0 on are in the map of a root, each with its proof."""
    known = None if root == keymap.NO_KEYS else root
    proofs = {number: registry.read(keymap.prove, root, key(number)) for number in range(count)}
    return {number for number, proof in proofs.items() if nodes.lookup(proof, known, key(number)) is not None}


def stored(url: str, table: str = "map_nodes") -> set[bytes]:
    with outside(url).connect() as connection:
        return {bytes(row[0]) for row in connection.execute(text(f"SELECT hash FROM {table}"))}


def test_keys_come_and_go(registry: Registry, url: str) -> None:
    assert members(registry, keymap.NO_KEYS) == set()
    one = put(registry, 1, keymap.NO_KEYS, k1=ENTRY, k2=ENTRY, k3=OTHER)
    assert members(registry, one) == {1, 2, 3}
    two = put(registry, 2, one, k2=None, k4=ENTRY)
    assert members(registry, two) == {1, 3, 4}
    assert members(registry, one) == {1, 2, 3}  # as long as it is not forgotten
    assert put(registry, 3, two) == two
    none = put(registry, 4, two, k1=None, k3=None, k4=None)
    assert none == keymap.NO_KEYS
    assert stored(url) == stored(url, "map_retired")


def test_a_map_that_comes_back_is_not_forgotten(registry: Registry, url: str) -> None:
    one = put(registry, 1, keymap.NO_KEYS, k1=ENTRY, k2=ENTRY)
    two = put(registry, 2, one, k2=OTHER)
    assert put(registry, 3, two, k2=ENTRY) == one
    registry.write(keymap.prune, 100).result()
    assert members(registry, one) == {1, 2}
    assert stored(url, "map_retired") == set()
    with pytest.raises(Unavailable):
        registry.read(keymap.prove, two, key(1))


def test_old_maps_are_forgotten_step_by_step(registry: Registry, url: str) -> None:
    roots = [keymap.NO_KEYS]
    for epoch in range(1, 5):
        roots.append(put(registry, epoch, roots[-1], **{f"k{epoch}": ENTRY}))
    assert registry.write(keymap.prune, 1).result() == 0
    retired = len(stored(url, "map_retired"))
    steps: list[int] = []
    while not steps or steps[-1]:
        steps.append(registry.write(keymap.prune, 3, most=1).result())
    assert steps == [1] * (len(steps) - 1) + [0]
    assert len(steps) - 1 < retired  # those of epoch 4 are needed for the map of epoch 3
    for epoch in (3, 4):
        assert members(registry, roots[epoch]) == set(range(1, epoch + 1))
    for epoch in (1, 2):
        with pytest.raises(Unavailable) as caught:
            registry.read(keymap.prove, roots[epoch], key(1))
        assert caught.value.reason is Reason.REGISTRY_INTEGRITY


@pytest.mark.parametrize("column", ["node", "hash"])
def test_an_altered_node_is_found_out(registry: Registry, url: str, column: str) -> None:
    """Attack R02, fault F22."""
    root = put(registry, 1, keymap.NO_KEYS, k1=ENTRY, k2=ENTRY, k3=OTHER)
    for hash_ in stored(url):
        literal = f"x'{hash_.hex()}'" if url.startswith("sqlite") else f"'\\x{hash_.hex()}'"
        with alter(url, "map_nodes", column, f"hash = {literal}"):
            with pytest.raises(Unavailable) as caught:
                members(registry, root, 4)
            assert caught.value.reason is Reason.REGISTRY_INTEGRITY
            with pytest.raises(Unavailable):
                put(registry, 2, root, k1=None, k2=None, k3=None)
    assert members(registry, root, 4) == {1, 2, 3}


def test_a_node_that_comes_back_is_written_anew(registry: Registry, url: str) -> None:
    one = put(registry, 1, keymap.NO_KEYS, k1=ENTRY)
    put(registry, 2, one, k1=None)
    with outside(url).begin() as connection:
        connection.execute(text("UPDATE map_nodes SET node = :node"), {"node": b"x"})
    assert put(registry, 3, keymap.NO_KEYS, k1=ENTRY) == one
    assert members(registry, one) == {1}


NUMBERS = st.integers(0, 39)
CHANGES = st.lists(st.dictionaries(NUMBERS, st.sampled_from([ENTRY, OTHER, None]), max_size=8), max_size=8)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    url = f"sqlite:///{tmp_path_factory.mktemp('keymap')}/attestd.db"
    Registry.open(url, registry_id=REGISTRY_ID, at=NOW).close()
    connection = _database(url, 10.0).connect(writing=True)
    yield connection
    connection.close()


@settings(max_examples=100, deadline=None)
@given(plan=CHANGES, before=st.integers(0, 8))
def test_any_changes_leave_the_map_that_they_describe(
    session: Connection, plan: list[dict[int, Entry | None]], before: int
) -> None:
    session.begin()
    try:
        told: dict[bytes, Entry] = {}
        roots = [keymap.NO_KEYS]
        for epoch, changes in enumerate(plan, 1):
            named = {key(number): entry for number, entry in changes.items()}
            roots.append(keymap.apply(session, epoch, roots[-1], named))
            told = {name: entry for name, entry in (told | named).items() if entry is not None}
            assert roots[-1] == (whole(told).root or keymap.NO_KEYS)
        keymap.prune(session, before)
        for root in roots[before:]:
            for number in range(5):
                keymap.prove(session, root, key(number))
        keymap.prune(session, len(plan) + 1)
        assert {row[0] for row in session.all(HASHES)} == set(whole(told).created)
    finally:
        session.roll_back()


HASHES = Statement(select(col(MapNodeRow.hash)))


def whole(told: dict[bytes, Entry]) -> nodes.Updated:
    """Make a map all at once."""
    return nodes.update(None, told, dict[bytes, bytes]().__getitem__)
