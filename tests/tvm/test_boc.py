"""Bags of cells: round trips through pytoniq-core, and every way in which a bag is not strict."""

from base64 import b64decode
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attestd.errors import Malformed, Reason
from attestd.tvm.boc import MAX_CELLS, crc32c, dump_boc, load_boc
from attestd.tvm.cell import MAX_DEPTH, Builder, Cell, pruned_branch
from attestd.tvm.proof import merkle_proof
from tests.refusals import malformed
from tests.tvm.cells import EMPTY, cell, chain, pytoniq_core, theirs, trees

MAGIC = bytes.fromhex("b5ee9c72")
# Two cells: 0 refers to 1. One byte for numbers and offsets, one root.
HEADER = MAGIC + bytes((1, 1, 2, 1, 0, 8, 0))
ROOT = bytes((1, 2, 0xAA, 1))
LEAF = bytes((0, 3, 0xBB, 0x80 | 0x08))
BAG = HEADER + ROOT + LEAF


def bag(*cells: bytes, roots: bytes = b"\0", flags: int = 0, absent: int = 0) -> bytes:
    body = b"".join(cells)
    return MAGIC + bytes((flags | 1, 1, len(cells), len(roots), absent, len(body))) + roots + body


def test_crc32c() -> None:
    # RFC 3720, B.4: 32 bytes of zeros.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"123456789") == 0xE3069283


def test_by_hand() -> None:
    [root] = load_boc(BAG)
    assert root == cell(0xAA, 8, cell(0xBB8, 12))
    assert dump_boc(root, crc=False) == BAG


def test_code_of_a_wallet() -> None:
    """The code of wallet v3r2, whose hash explorers name."""
    code = (
        "te6cckEBAQEAcQAA3v8AIN0gggFMl7ohggEznLqxn3Gw7UTQ0x/THzHXC//jBOCk8mCDCNcYINMf0x/TH/gjE7vyY+1E0NMf0x/T/9FRMrryoV"
        "FEuvKiBPkBVBBV+RDyo/gAkyDXSpbTB9QC+wDo0QGkyMsfyx/L/8ntVBC9ba0="
    )
    [root] = load_boc(b64decode(code))
    assert root.hash.hex() == "84dafa449f98a6987789ba232358072bc0f76dc4524002a5d0918b9a75d2d599"


@given(trees(), st.booleans())
def test_round_trips(root: Cell, crc: bool) -> None:
    raw = dump_boc(root, crc=crc)
    assert load_boc(raw) == [root]
    other = pytoniq_core.Cell.one_from_boc(raw)
    assert other.hash == root.hash
    assert load_boc(other.to_boc(hash_crc32=crc)) == [root]


def test_special_cells_travel() -> None:
    proof = merkle_proof(cell(1, 8, pruned_branch(bytes(32), 7)))
    assert load_boc(dump_boc(proof)) == [proof]
    assert theirs(proof).hash == proof.hash


def test_several_roots() -> None:
    shared = cell(1)
    roots = [cell(2, 8, shared), cell(3, 8, shared), shared]
    assert load_boc(dump_boc(*roots), roots=None) == roots
    assert load_boc(dump_boc(*roots), roots=3) == roots
    for count in (1, 2, 4):
        with malformed(Reason.BOC_MALFORMED):
            load_boc(dump_boc(*roots), roots=count)


def test_shared_cells_are_written_once() -> None:
    root = EMPTY
    for _ in range(100):
        root = cell(1, 1, root, root, root, root)
    raw = dump_boc(root)
    assert len(raw) < 101 * 10
    assert load_boc(raw) == [root]


def test_many_cells() -> None:
    root = chain(300)
    assert load_boc(dump_boc(root)) == [root]
    assert load_boc(dump_boc(root), max_cells=301) == [root]
    with malformed(Reason.BOC_MALFORMED):
        load_boc(dump_boc(root), max_cells=300)


@pytest.mark.parametrize(
    ("root", "sizes"),
    [
        (cell(0, 8 * 98), b"\1\1"),
        (cell(0, 8 * 125, cell(0, 8 * 125)), b"\1\1"),
        (cell(0, 8 * 126, cell(0, 8 * 125)), b"\1\2"),
        (chain(254), b"\1\2"),
        (chain(255), b"\2\2"),
    ],
    ids=["100 bytes", "255 bytes", "256 bytes", "255 cells", "256 cells"],
)
def test_numbers_and_offsets_are_as_short_as_they_can_be(root: Cell, sizes: bytes) -> None:
    raw = dump_boc(root, crc=False)
    assert raw[4:6] == sizes
    assert load_boc(raw) == [root]


def test_deepest() -> None:
    root = chain(MAX_DEPTH)
    assert load_boc(dump_boc(root)) == [root]
    head = MAGIC + bytes((2, 2)) + (MAX_DEPTH + 2).to_bytes(2) + b"\0\1\0\0"
    body = (
        bytes((1, 0, 0, 1))
        + b"".join(bytes((1, 1, 0xC0)) + (at + 2).to_bytes(2) for at in range(MAX_DEPTH))
        + bytes((0, 0))
    )
    with malformed(Reason.CELL_MALFORMED):
        load_boc(head + len(body).to_bytes(2) + b"\0\0" + body)


def test_index() -> None:
    ends = bytes((len(ROOT), len(ROOT + LEAF)))
    head = MAGIC + bytes((0x81, 1, 2, 1, 0, 8, 0))
    assert load_boc(head + ends + ROOT + LEAF) == load_boc(BAG)
    cached = MAGIC + bytes((0xA1,)) + head[5:] + bytes((2 * ends[0] + 1, 2 * ends[1]))
    assert load_boc(cached + ROOT + LEAF) == load_boc(BAG)
    for wrong in (bytes((0, 4)), bytes((4, 9)), bytes((5, 8))):
        with malformed(Reason.BOC_MALFORMED):
            load_boc(head + wrong + ROOT + LEAF)


LONE = bytes((0, 2, 0xAA))
NOT_STRICT: dict[str, bytes] = {
    "nothing": b"",
    "another magic": bytes.fromhex("68ff65f3") + BAG[4:],
    "flags that are reserved": MAGIC + bytes((BAG[4] | 0x08,)) + BAG[5:],
    "cache bits without an index": MAGIC + bytes((BAG[4] | 0x20,)) + BAG[5:],
    "numbers of no bytes": MAGIC + b"\0" + BAG[5:],
    "offsets of no bytes": BAG[:5] + b"\0" + BAG[6:],
    "no root": MAGIC + bytes((1, 1, 1, 0, 0, len(LONE))) + LONE,
    "more roots than cells": bag(LONE, roots=b"\0\0"),
    "an absent cell is announced": bag(LONE, absent=1),
    "a root that is not there": bag(LONE, roots=b"\1"),
    "a root that is not there beside one": bag(ROOT, LEAF, roots=b"\0\2"),
    "trailing bytes": BAG + b"\0",
    "a cell too many in the body": BAG[:9] + bytes((9,)) + BAG[10:] + b"\0",
    "a body that ends early": BAG[:9] + bytes((7,)) + BAG[10:-1],
    "a checksum that is not there": MAGIC + bytes((BAG[4] | 0x40,)) + BAG[5:],
    "another checksum": dump_boc(load_boc(BAG)[0])[:-1] + b"\0",
    "five references": bag(bytes((5, 2, 0xAA, 1, 1, 1, 1, 1)), LEAF),
    "an absent cell": bag(bytes((7, 0)), LEAF),
    "stored hashes": bag(bytes((0x10, 2, 0xAA))),
    "a reference to itself": bag(bytes((1, 2, 0xAA, 0)), roots=b"\0"),
    "a reference backwards": bag(ROOT, bytes((1, 2, 0xAA, 0)), roots=b"\0"),
    "a reference beyond the end": bag(bytes((2, 2, 0xAA, 1, 2)), LEAF),
    "a cell that nothing refers to": bag(LONE, LONE),
    "no completion tag": bag(bytes((0, 1, 0x00))),
    "a completion tag in front of whole bytes": bag(bytes((0, 3, 0xAA, 0x80))),
    "another level": bag(bytes((0x20, 2, 0xAA))),
}


@pytest.mark.parametrize("name", NOT_STRICT)
def test_not_strict(name: str) -> None:
    with malformed(Reason.BOC_MALFORMED):
        load_boc(NOT_STRICT[name], roots=None)


def test_no_cells_in_a_strict_bag() -> None:
    with malformed(Reason.CELL_MALFORMED):
        load_boc(bag(bytes((8, 2, 0xAA))))


def sized(numbers: int, offsets: int) -> bytes:
    """Write BAG with numbers and offsets of so many bytes."""
    body = ROOT[:-1] + (1).to_bytes(numbers) + LEAF
    counts = b"".join(count.to_bytes(numbers) for count in (2, 1, 0))
    return MAGIC + bytes((numbers, offsets)) + counts + len(body).to_bytes(offsets) + bytes(numbers) + body


@pytest.mark.parametrize(("numbers", "offsets"), [(1, 8), (2, 2), (4, 1), (4, 8)])
def test_numbers_and_offsets_of_any_size_that_there_is(numbers: int, offsets: int) -> None:
    assert load_boc(sized(numbers, offsets)) == load_boc(BAG)


@pytest.mark.parametrize(("numbers", "offsets"), [(5, 1), (7, 1), (1, 9), (1, 255)])
def test_numbers_and_offsets_that_are_larger(numbers: int, offsets: int) -> None:
    with malformed(Reason.BOC_MALFORMED):
        load_boc(sized(numbers, offsets))


def test_a_bag_may_claim_four_thousand_million_cells() -> None:
    with malformed(Reason.BOC_MALFORMED):
        load_boc(MAGIC + b"\x04\x08" + b"\xff" * 64)
    with malformed(Reason.BOC_MALFORMED):
        load_boc(MAGIC + b"\x04\x08" + MAX_CELLS.to_bytes(4) + b"\0\0\0\1" + bytes(4) + bytes(8) + bytes(4))


@pytest.mark.parametrize("size", range(len(BAG)))
def test_cut_short(size: int) -> None:
    with malformed(Reason.BOC_MALFORMED):
        load_boc(BAG[:size])


@st.composite
def altered(draw: st.DrawFn) -> bytes:
    raw = dump_boc(draw(trees()), crc=False)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        stop = draw(st.integers(start, min(start + 4, len(raw))))
        raw = raw[:start] + draw(st.binary(max_size=4)) + raw[stop:]
    return raw


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=80).map(lambda tail: MAGIC + tail), altered()))
@example(MAGIC + b"\x01\x01\x01\x01\x00\x01\x00\x00")
def test_whatever_the_bytes_are(raw: bytes) -> None:
    with suppress(Malformed):
        for root in load_boc(raw, roots=None):
            assert load_boc(dump_boc(root)) == [root]


def test_every_bit_of_a_bag_with_checksum() -> None:
    raw = dump_boc(cell(0xAA, 8, Builder().uint(3, 5).ref(cell(1)).end()))
    for bit in range(8 * len(raw)):
        wrong = bytearray(raw)
        wrong[bit // 8] ^= 1 << bit % 8
        with malformed(Reason.BOC_MALFORMED, Reason.CELL_MALFORMED):
            load_boc(bytes(wrong))
