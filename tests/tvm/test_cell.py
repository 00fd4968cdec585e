"""Cells: what is one, its hashes and depths beside pytoniq-core's, and what is written is what is read."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.errors import Reason
from attestd.tvm.address import Address
from attestd.tvm.cell import Builder, Cell, Kind, Slice, pruned_branch
from attestd.tvm.proof import merkle_proof
from tests.refusals import malformed, not_authentic
from tests.tvm.cells import EMPTY, cell, chain, theirs, trees

ADDRESS = Address(-1, bytes(range(32)))
DIGEST = bytes(range(32))


def special(kind: int, rest: bytes, *refs: Cell) -> Cell:
    data = bytes((kind,)) + rest
    return Cell(data, 8 * len(data), refs, special=True)


def merkle_update(old: Cell, new: Cell) -> Cell:
    depths = (side.depth_at(0).to_bytes(2) for side in (old, new))
    return special(4, old.hash_at(0) + new.hash_at(0) + b"".join(depths), old, new)


def test_empty_cell() -> None:
    assert EMPTY.hash.hex() == "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
    assert (EMPTY.depth, EMPTY.level, EMPTY.kind) == (0, 0, Kind.ORDINARY)


@given(trees())
def test_hash_and_depth(root: Cell) -> None:
    other = theirs(root)
    assert root.hash == other.hash
    assert root.depth == other.get_depth(0)
    assert root.level == 0
    assert (root.hash_at(3), root.depth_at(3)) == (root.hash, root.depth)


PRUNED = {
    mask: special(1, bytes((mask,)) + DIGEST * mask.bit_count() + b"".join((n + 5).to_bytes(2) for n in range(levels)))
    for mask in range(1, 8)
    if (levels := mask.bit_count())
}


def over_pruned(mask: int) -> list[Cell]:
    """Return trees over a pruned branch; Merkle cells take a level away."""
    pruned = PRUNED[mask]
    over = cell(5, 9, pruned, cell(1), PRUNED[1])
    proof = merkle_proof(over)
    update = merkle_update(over, cell(2, 2, pruned))
    return [pruned, over, proof, update, cell(3, 3, update, proof)]


# pytoniq-core takes no pruned branch of levels 2 and 3.
@pytest.mark.parametrize("mask", [1, 2, 3, 4, 5, 7])
def test_levels(mask: int) -> None:
    for tree in over_pruned(mask):
        other = theirs(tree)
        assert tree.level_mask == other.level_mask.mask
        assert [tree.hash_at(at) for at in range(4)] == [other.get_hash(at) for at in range(4)]
        assert [tree.depth_at(at) for at in range(4)] == [other.get_depth(at) for at in range(4)]
    below = mask.bit_length()
    assert [tree.level for tree in over_pruned(mask)] == [below, below, *[max(0, below - 1)] * 3]
    assert [tree.kind for tree in over_pruned(mask)] == [
        Kind.PRUNED_BRANCH,
        0,
        Kind.MERKLE_PROOF,
        Kind.MERKLE_UPDATE,
        0,
    ]


def test_pruned_at_the_two_upper_levels() -> None:
    hashes = [bytes(32), DIGEST]
    pruned = special(1, b"\x06" + b"".join(hashes) + b"\0\7\0\3")
    assert [pruned.hash_at(level) for level in range(3)] == [hashes[0], hashes[0], hashes[1]]
    assert [pruned.depth_at(level) for level in range(4)] == [7, 7, 3, 0]
    assert pruned.hash == pruned.hash_at(3) == sha256(b"\xc8\x8c" + pruned.data).digest()
    # Over it the hash at levels 0 and 1 is that of a tree over the first, at 2 one over that, with the second below.
    over = cell(5, 8, pruned)
    lowest = sha256(b"\1\2\5\0\7" + hashes[0]).digest()
    middle = sha256(b"\x41\2" + lowest + b"\0\3" + hashes[1]).digest()
    highest = sha256(b"\xc1\2" + middle + b"\0\0" + pruned.hash).digest()
    assert [over.hash_at(level) for level in range(4)] == [lowest, lowest, middle, highest]


def test_pruned_branch_stands_for_its_cell() -> None:
    left, right = cell(1), chain(3)
    whole = cell(7, 8, left, right)
    shown = cell(7, 8, left, pruned_branch(right.hash, right.depth))
    assert (shown.hash_at(0), shown.depth_at(0)) == (whole.hash, whole.depth)
    assert shown.hash != whole.hash
    assert shown != whole


def test_library() -> None:
    library = special(2, DIGEST)
    assert (library.kind, library.level) == (Kind.LIBRARY, 0)
    assert library.hash == theirs(library).hash


PROVED = cell(1, 8, pruned_branch(DIGEST, 4))
COMMITMENT = PROVED.hash_at(0) + PROVED.depth_at(0).to_bytes(2)

NO_CELLS: dict[str, Callable[[], Cell]] = {
    "more bits than fit": lambda: Cell(bytes(128), 1024),
    "fewer bits than none": lambda: Cell(b"", -1),
    "five references": lambda: Cell(b"", 0, (EMPTY,) * 5),
    "too many bytes": lambda: Cell(bytes(2), 8),
    "too few bytes": lambda: Cell(bytes(1), 9),
    "bits behind the last": lambda: Cell(b"\x01", 7),
    "special without a kind": lambda: Cell(b"", 0, special=True),
    "kind 0": lambda: special(0, DIGEST),
    "kind 5": lambda: special(5, DIGEST),
    "pruned, nothing more": lambda: special(1, b""),
    "pruned at no level": lambda: special(1, b"\0"),
    "pruned at level 4": lambda: special(1, b"\x08" + DIGEST + bytes(2)),
    "pruned, too short": lambda: special(1, b"\x01" + DIGEST + bytes(1)),
    "pruned, too long": lambda: special(1, b"\x01" + DIGEST + bytes(3)),
    "pruned, with a reference": lambda: special(1, b"\x01" + DIGEST + bytes(2), EMPTY),
    "pruned, too deep": lambda: pruned_branch(DIGEST, 1025),
    "library, too short": lambda: special(2, DIGEST[1:]),
    "library, with a reference": lambda: special(2, DIGEST, EMPTY),
    "proof of nothing": lambda: special(3, COMMITMENT),
    "proof of two": lambda: special(3, COMMITMENT, PROVED, PROVED),
    "proof, too long": lambda: special(3, COMMITMENT + b"\0", PROVED),
    "proof of another cell": lambda: special(3, COMMITMENT, EMPTY),
    "proof of another depth": lambda: special(3, COMMITMENT[:-1] + b"\x06", PROVED),
    "proof with the hash at another level": lambda: special(3, PROVED.hash + COMMITMENT[32:], PROVED),
    "update of one": lambda: special(4, COMMITMENT[:32] * 2 + COMMITMENT[32:] * 2, PROVED),
    "update of another cell": lambda: special(4, COMMITMENT[:32] * 2 + COMMITMENT[32:] * 2, PROVED, EMPTY),
    "too deep": lambda: cell(0, 0, chain(1024)),
    "too deep before it was pruned": lambda: cell(0, 0, pruned_branch(DIGEST, 1024)),
}


@pytest.mark.parametrize("name", NO_CELLS)
def test_no_cell(name: str) -> None:
    with malformed(Reason.CELL_MALFORMED):
        NO_CELLS[name]()


def test_deepest() -> None:
    assert chain(1024).depth == 1024
    assert (merkle_update(PROVED, PROVED).depth, PROVED.depth, PROVED.depth_at(0)) == (2, 1, 5)


def test_special_cells_are_not_read_as_data() -> None:
    with not_authentic(Reason.CELL_PRUNED):
        PRUNED[1].slice()
    for other in (special(2, DIGEST), merkle_proof(PROVED)):
        with malformed(Reason.CELL_MALFORMED):
            other.slice()


def test_shared_cells_are_shown_once() -> None:
    root = EMPTY
    for _ in range(100):
        root = cell(1, 1, root, root)
    assert len(repr(root)) < 200


def test_equality() -> None:
    assert cell(1) == cell(1)
    assert cell(1) != cell(2)
    assert cell(1) != "cell"
    assert len({cell(1), cell(1), cell(2)}) == 2


# What a builder writes, how a slice reads it, and pytoniq-core's writer of the same.
FIELDS: dict[str, tuple[Callable[[Builder], Builder], Callable[[Slice], Any], Any, str, tuple[Any, ...]]] = {
    "uint": (lambda b: b.uint(5, 9), lambda s: s.load_uint(9), 5, "store_uint", (5, 9)),
    "int": (lambda b: b.int(-3, 9), lambda s: s.load_int(9), -3, "store_int", (-3, 9)),
    "positive int": (lambda b: b.int(3, 9), lambda s: s.load_int(9), 3, "store_int", (3, 9)),
    "bit": (lambda b: b.bit(value=True), lambda s: s.load_bit(), True, "store_bit", (1,)),
    "bytes": (lambda b: b.bytes(b"abc"), lambda s: s.load_bytes(3), b"abc", "store_bytes", (b"abc",)),
    "coins": (lambda b: b.coins(10**9), lambda s: s.load_coins(), 10**9, "store_coins", (10**9,)),
    "no coins": (lambda b: b.coins(0), lambda s: s.load_coins(), 0, "store_coins", (0,)),
    "var_uint": (lambda b: b.var_uint(256, 3), lambda s: s.load_var_uint(3), 256, "store_var_uint", (256, 3)),
    "address": (
        lambda b: b.address(ADDRESS),
        lambda s: s.load_address(),
        ADDRESS,
        "store_address",
        (str(ADDRESS),),
    ),
    "no address": (lambda b: b.address(None), lambda s: s.load_address(), None, "store_address", (None,)),
    "no maybe_ref": (lambda b: b.maybe_ref(None), lambda s: s.load_maybe_ref(), None, "store_maybe_ref", (None,)),
}


@pytest.mark.parametrize("name", FIELDS)
def test_fields(name: str) -> None:
    write, read, value, method, arguments = FIELDS[name]
    written = write(Builder().uint(1, 3)).end()
    other = theirs(cell(1, 3)).to_builder()
    assert getattr(other, method)(*arguments).end_cell().hash == written.hash
    fields = written.slice()
    fields.skip(3)
    assert read(fields) == value
    fields.end()


def test_references() -> None:
    fields = Builder().ref(cell(1)).maybe_ref(cell(2)).slice(cell(3, 5, cell(4))).slice(cell(6).slice()).end().slice()
    assert (fields.bits_left, fields.refs_left) == (1 + 5 + 8, 3)
    assert [fields.load_ref(), fields.load_maybe_ref()] == [cell(1), cell(2)]
    assert fields.peek() == 3 << 8 | 6
    assert fields.to_cell() == Builder().uint(3, 5).uint(6, 8).ref(cell(4)).end()
    with malformed(Reason.CELL_MALFORMED):
        fields.end()
    fields.skip(13)
    with malformed(Reason.CELL_MALFORMED):
        fields.end()
    assert fields.load_ref() == cell(4)
    fields.end()


@pytest.mark.parametrize("bits", range(18))
def test_what_a_slice_has_left(bits: int) -> None:
    left = cell((1 << bits) - 1, bits, cell(4))
    fields = Builder().uint(0, 3).slice(left).end().slice()
    fields.skip(3)
    assert fields.to_cell() == left


TOO_MUCH: dict[str, Callable[[], object]] = {
    "read": lambda: cell(1).slice().load_uint(9),
    "read backwards": lambda: cell(1).slice().load_uint(-1),
    "reference": lambda: cell(1).slice().load_ref(),
    "coins cut short": lambda: cell(0x2F, 8).slice().load_coins(),
    "external address": lambda: cell(0b01, 2).slice().load_address(),
    "variable address": lambda: cell(0b110, 3).slice().load_address(),
    "anycast": lambda: cell(0b101, 3).slice().load_address(),
    "address cut short": lambda: cell(0b100, 3).slice().load_address(),
    "unsigned": lambda: Builder().uint(256, 8),
    "negative": lambda: Builder().uint(-1, 8),
    "negative bits": lambda: Builder().uint(0, -1),
    "signed": lambda: Builder().int(128, 8),
    "signed below": lambda: Builder().int(-129, 8),
    "signed of no bits": lambda: Builder().int(0, 0),
    "coins": lambda: Builder().coins(1 << 120),
    "negative coins": lambda: Builder().coins(-1),
    "bits": lambda: Builder().uint(0, 1000).uint(0, 24),
    "references": lambda: Builder().slice(cell(0, 0, *[EMPTY] * 4)).ref(EMPTY),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_beyond_the_end(name: str) -> None:
    with malformed(Reason.CELL_MALFORMED):
        TOO_MUCH[name]()


@given(st.integers(-(1 << 40), (1 << 40) - 1), st.integers(0, 20))
def test_signed_integers(value: int, before: int) -> None:
    fields = Builder().uint(0, before).int(value, 41).end().slice()
    fields.skip(before)
    assert fields.load_int(41) == value
    assert cell(0, 0).slice().load_int(0) == 0
