"""The map: the same dictionary as everybody's, changed step by step, and proofs that say nothing of other keys."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.errors import AttestdError, NotAuthentic, Reason, Unavailable
from attestd.transparency import keymap
from attestd.transparency.entry import Entry
from attestd.tvm import dictionary
from attestd.tvm.boc import dump_boc, load_boc
from attestd.tvm.cell import Builder, Cell, Kind, pruned_branch
from attestd.tvm.proof import merkle_proof, prove
from tests.refusals import malformed, not_authentic, refused
from tests.transparency.samples import digest, entry
from tests.tvm.cells import EMPTY, cell, pytoniq_core

NOTHING: dict[bytes, bytes] = {}


class Map:
    """A map with its stored nodes."""

    def __init__(self) -> None:
        self.root: bytes | None = None
        self.nodes: dict[bytes, bytes] = {}
        self.entries: dict[bytes, Entry] = {}

    def update(self, changes: Mapping[bytes, Entry | None]) -> keymap.Updated:
        updated = keymap.update(self.root, changes, self.nodes.__getitem__)
        assert not updated.created.keys() & updated.retired
        assert not updated.created.keys() & self.nodes.keys()
        assert updated.retired <= self.nodes.keys()
        self.root = updated.root
        self.nodes = {digest: row for digest, row in self.nodes.items() if digest not in updated.retired}
        self.nodes |= updated.created
        self.entries |= {key: each for key, each in changes.items() if each is not None}
        for key in (key for key, each in changes.items() if each is None):
            self.entries.pop(key, None)
        return updated

    def prove(self, key: bytes) -> Cell | None:
        return keymap.prove(self.root, key, self.nodes.__getitem__)


def full_build(entries: Mapping[bytes, Entry]) -> bytes | None:
    """Return the root by way of cells."""
    values = {int.from_bytes(key): Builder().ref(each.to_cell()).end() for key, each in entries.items()}
    root = dictionary.build(values, 256)
    return None if root is None else root.hash


def theirs(entries: Mapping[bytes, Entry]) -> bytes:
    """Return the root as pytoniq-core makes it."""
    made = pytoniq_core.HashMap(256, value_serializer=lambda value, builder: builder.store_ref(value))
    for key, each in entries.items():
        made.set_int_key(int.from_bytes(key), pytoniq_core.Cell.one_from_boc(dump_boc(each.to_cell())))
    root = made.serialize().hash
    assert isinstance(root, bytes)
    return root


# Digests, as key ids are, and others that share long prefixes and suffixes.
POOL = [digest(number) for number in range(24)]
POOL += [bytes(31) + bytes((number,)) for number in range(8)]
POOL += [b"\xff" * 31 + bytes((0xFF - number,)) for number in range(3)]
POOL += [POOL[0][:31] + bytes((POOL[0][31] ^ 1,)), POOL[0][:16] + bytes(16)]
STEPS = st.lists(
    st.dictionaries(st.sampled_from(POOL), st.one_of(st.none(), st.integers(0, 2**40)), max_size=12),
    min_size=1,
    max_size=8,
)


@given(STEPS)
def test_update_is_a_full_build(steps: list[dict[bytes, int | None]]) -> None:
    made = Map()
    for step in steps:
        # No two places hold the same leaf, since every key has another result.
        made.update(
            {key: None if number is None else entry(POOL.index(key) << 41 | number) for key, number in step.items()}
        )
        assert made.root == full_build(made.entries) == keymap.root_of(made.entries)
        fresh = keymap.update(None, made.entries, NOTHING.__getitem__)
        assert (fresh.root, fresh.created, fresh.retired) == (made.root, made.nodes, frozenset())
        for key in POOL[::5]:
            assert keymap.lookup(made.prove(key), made.root, key) == made.entries.get(key)


@given(st.sets(st.sampled_from(POOL), min_size=1))
def test_same_root_as_another_library(keys: set[bytes]) -> None:
    entries = {key: entry(number) for number, key in enumerate(sorted(keys))}
    assert keymap.update(None, entries, NOTHING.__getitem__).root == theirs(entries)


FULL = Map()
FULL.update({digest(number): entry(number) for number in range(200)})


def test_a_change_rewrites_its_way_alone() -> None:
    made = Map()
    made.update(FULL.entries)
    read: list[bytes] = []
    keymap.update(made.root, {digest(7): entry(1000)}, lambda stored: read.append(stored) or made.nodes[stored])  # type: ignore[func-returns-value, redundant-expr]
    updated = made.update({digest(7): entry(1000)})
    assert 3 < len(updated.created) == len(updated.retired) < 20
    assert sorted(read) == sorted(updated.retired)  # and nothing beside it is read
    updated = made.update({digest(7): None, digest(5000): entry(5)})
    assert len(updated.created) < 30


def test_nothing_changes() -> None:
    made = Map()
    assert made.update({}) == (None, {}, frozenset())
    assert made.update({digest(1): None}) == (None, {}, frozenset())
    made.update({digest(number): entry(number) for number in range(9)})
    for changes in ({}, {digest(1): entry(1)}, {digest(100): None}, {digest(number): None for number in range(50, 90)}):
        assert made.update(changes) == (made.root, {}, frozenset())


def test_the_last_key_goes() -> None:
    made = Map()
    made.update({digest(1): entry()})
    assert len(made.nodes) == 1
    assert made.update({digest(1): None}).root is None
    assert made.nodes == {}


def test_a_neighbour_is_read_when_it_moves_up() -> None:
    made = Map()
    made.update({bytes((number,)) + bytes(31): entry(number) for number in (0, 1, 128)})
    updated = made.update({bytes((128,)) + bytes(31): None})
    assert len(updated.created) == 1  # the fork of the two others has a longer label now
    assert len(updated.retired) == 3


def test_the_deepest_map() -> None:
    """One fork for each bit of a key."""
    made = Map()
    keys = [(((1 << number) - 1) << (256 - number)).to_bytes(32) for number in range(257)]
    made.update({key: entry(number) for number, key in enumerate(keys)})
    assert made.root == full_build(made.entries)
    made.update({key: entry(number + 1000) for number, key in enumerate(keys[::2])})
    assert made.root == full_build(made.entries)
    for key in (keys[0], keys[128], keys[-1]):
        assert keymap.lookup(made.prove(key), made.root, key) == made.entries[key]
    made.update(dict.fromkeys(keys[1:]))
    assert made.root == full_build({keys[0]: made.entries[keys[0]]})


def test_key_ids_have_32_bytes() -> None:
    for key in (b"", bytes(31), bytes(33)):
        with malformed(Reason.CELL_MALFORMED):
            keymap.update(None, {key: entry()}, NOTHING.__getitem__)
        with malformed(Reason.CELL_MALFORMED):
            FULL.prove(key)


# What is stored


def test_rows_are_preimages() -> None:
    leaves = 0
    for stored, row in FULL.nodes.items():
        if row[0] == 1:
            leaves += 1
            assert row.endswith(row[-108 - 2 : -108] + row[-108:])
            assert sha256(row[:-110]).digest() == stored
        else:
            assert sha256(row).digest() == stored
    assert leaves == 200
    assert len(FULL.nodes) == 399


@pytest.mark.parametrize("number", [0, 3])
def test_every_bit_of_every_row_on_a_way(number: int) -> None:
    key = digest(number)
    seen: list[bytes] = []

    def read(stored: bytes) -> bytes:
        seen.append(stored)
        return FULL.nodes[stored]

    keymap.prove(FULL.root, key, read)
    for stored in seen:
        row = FULL.nodes[stored]
        for bit in range(8 * len(row)):
            wrong = bytearray(row)
            wrong[bit // 8] ^= 1 << bit % 8
            nodes = FULL.nodes | {stored: bytes(wrong)}
            with refused(Unavailable, Reason.REGISTRY_INTEGRITY):
                keymap.prove(FULL.root, key, nodes.__getitem__)
            with refused(Unavailable, Reason.REGISTRY_INTEGRITY):
                keymap.update(FULL.root, {key: None}, nodes.__getitem__)


OTHER_ROWS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda row: b"",
    "one byte": lambda row: row[:1],
    "cut short": lambda row: row[:-1],
    "longer": lambda row: row + b"\0",
    "of another node": lambda row: next(other for other in FULL.nodes.values() if other != row),
}


@pytest.mark.parametrize("name", OTHER_ROWS)
def test_altered_rows(name: str) -> None:
    for key in (digest(0), digest(5000)):
        seen: list[bytes] = []
        keymap.prove(FULL.root, key, lambda stored, seen=seen: seen.append(stored) or FULL.nodes[stored])  # type: ignore[misc]
        for stored in seen:
            nodes = FULL.nodes | {stored: OTHER_ROWS[name](FULL.nodes[stored])}
            with refused(Unavailable, Reason.REGISTRY_INTEGRITY):
                keymap.prove(FULL.root, key, nodes.__getitem__)


@given(st.binary(max_size=200))
def test_whatever_a_row_is(row: bytes) -> None:
    with suppress(Unavailable):
        keymap.prove(digest(0), digest(1), lambda _: row)


def test_what_reading_raises_comes_through() -> None:
    with pytest.raises(KeyError):
        keymap.prove(digest(1), digest(1), NOTHING.__getitem__)


# What a reader is shown


def shown(key: bytes) -> Cell:
    proof = FULL.prove(key)
    assert proof is not None
    return proof


@pytest.mark.parametrize("number", [0, 1, 99, 199, 200, 5000])
def test_a_proof_for_one_key(number: int) -> None:
    key = digest(number)
    [proof] = load_boc(dump_boc(shown(key)))
    assert keymap.lookup(proof, FULL.root, key) == FULL.entries.get(key)
    others = 0
    for other in range(220):
        if other != number:
            # It may show by the way that another key is absent; never that a key is, which it leaves out.
            try:
                said = keymap.lookup(proof, FULL.root, digest(other))
            except NotAuthentic as error:
                others += error.reason is Reason.MAP_PROOF
            else:
                assert said is None
                assert digest(other) not in FULL.entries
    assert others >= 199


def test_an_entry_is_shown_for_its_own_key_alone() -> None:
    """What a proof of absence ends at is the label of another key, whose entry is pruned."""
    absent = shown(digest(5000))
    entries = {each.to_cell().hash for each in FULL.entries.values()}
    pending, ordinary = [absent], 0
    while pending:
        each = pending.pop()
        if each.kind is Kind.ORDINARY:
            ordinary += 1
            assert each.hash not in entries
        pending += each.refs
    assert ordinary > 5


@pytest.mark.parametrize("number", [11, *range(5000, 5016)])
def test_a_proof_is_what_a_tree_of_cells_gives(number: int) -> None:
    """And nothing beside it, of a key that is in the map and of others that are not."""
    values = {int.from_bytes(key): Builder().ref(each.to_cell()).end() for key, each in FULL.entries.items()}
    root = dictionary.build(values, 256)
    assert root is not None
    key = digest(number)
    visited = {each.hash for each in dictionary.walk(root, int.from_bytes(key), 256).path}
    if key in FULL.entries:
        visited.add(FULL.entries[key].to_cell().hash)
    assert prove(root, visited) == shown(key)


@pytest.mark.parametrize("number", [0, 5000])
def test_every_bit_of_a_proof(number: int) -> None:
    key = digest(number)
    raw = dump_boc(shown(key), crc=False)
    for bit in range(8 * len(raw)):
        wrong = bytearray(raw)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AttestdError):
            keymap.lookup(load_boc(bytes(wrong))[0], FULL.root, key)


def below(value: Cell) -> Cell:
    """Return a map of this key alone, with any value."""
    root = dictionary.build({int.from_bytes(digest(1)): value}, 256)
    assert root is not None
    return root


ENTRY = entry().to_cell()
NO_PROOFS: dict[str, Cell] = {
    "the entry is no cell of its own": below(cell(0x0101, 16)),
    "no entry": below(EMPTY),
    "something beside the entry": below(cell(1, 1, ENTRY)),
    "two entries": below(cell(0, 0, ENTRY, ENTRY)),
    "a pruned entry": below(cell(0, 0, pruned_branch(ENTRY.hash, 0))),
    "another state": below(cell(0, 0, Cell(b"\2" + ENTRY.data[1:], ENTRY.bits))),
    "something behind the entry": below(cell(0, 0, Cell(ENTRY.data + b"\0", ENTRY.bits + 8))),
    "no dictionary": EMPTY,
    "pruned at the root": pruned_branch(digest(1), 3),
}


@pytest.mark.parametrize("name", NO_PROOFS)
def test_no_proof(name: str) -> None:
    tree = NO_PROOFS[name]
    with not_authentic(Reason.MAP_PROOF):
        keymap.lookup(merkle_proof(tree), tree.hash_at(0), digest(1))


def test_right_but_for_those() -> None:
    tree = below(cell(0, 0, ENTRY))
    assert keymap.lookup(merkle_proof(tree), tree.hash, digest(1)) == entry()
    assert keymap.lookup(merkle_proof(tree), tree.hash, digest(2)) is None


def test_another_map() -> None:
    proof = shown(digest(1))
    root = FULL.root
    assert root is not None
    refusals: list[tuple[Cell | None, bytes | None, bytes]] = [
        (proof, digest(1), digest(1)),
        (proof, None, digest(1)),
        (None, root, digest(1)),
        (proof.refs[0], root, digest(1)),
        (EMPTY, root, digest(1)),
        (proof, root, digest(1)[:31]),
    ]
    for given_proof, of, key in refusals:
        with not_authentic(Reason.MAP_PROOF):
            keymap.lookup(given_proof, of, key)


def test_empty_map() -> None:
    assert keymap.prove(None, digest(1), NOTHING.__getitem__) is None
    assert keymap.lookup(None, None, digest(1)) is None
