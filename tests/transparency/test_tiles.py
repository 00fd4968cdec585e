"""The log as static files: one way to write a path, and a reader of another make that finds its way."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.errors import Malformed, Reason
from attestd.signature import ed25519_public_key, ed25519_signing_key
from attestd.transparency.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from attestd.transparency.note import NoteKey, dump_checkpoint_body, sign
from attestd.transparency.tiles import (
    Tile,
    dump_entries,
    entries_path,
    load_entries,
    load_tile,
    parse_path,
    tile_hashes,
    tile_path,
    tile_width,
)
from tests.refusals import malformed
from tests.transparency import reader
from tests.transparency.logs import leaf

ORIGIN = "attestd.example/log"
KEY = ed25519_signing_key(bytes(range(32)))
VKEY = str(NoteKey(ORIGIN, ed25519_public_key(KEY)))


def test_paths() -> None:
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path(1, 0, 1) == "tile/1/000.p/1"
    assert entries_path(273, 112) == "tile/entries/273.p/112"
    assert parse_path("tile/entries/273.p/112") == Tile(None, 273, 112)
    assert parse_path("tile/7/x999/000") == Tile(7, 999_000)


@given(st.one_of(st.none(), st.integers(0, 7)), st.integers(0, 10**21 - 1), st.integers(1, 256))
def test_paths_are_read_as_they_are_written(level: int | None, index: int, width: int) -> None:
    path = entries_path(index, width) if level is None else tile_path(level, index, width)
    assert parse_path(path) == Tile(level, index, width)
    ending = "" if width == 256 else f".p/{width}"
    assert path == f"tile/{'entries' if level is None else level}/{reader.tile_index(index)}{ending}"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "tile/8/000",
        "tile/00/000",
        "tile/-1/000",
        "tile/0/x000/000",
        "tile/0/x00/000",
        "tile/0/000/000",
        "tile/0/001/x000",
        "tile/0/x001",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/1/",
        "tile/0/000 ",
        "tile/0/000\n",
        "/tile/0/000",
        "tile/data/000",
        "tile/entries/../000",
        "tile/0/\u0660\u0660\u0660",
        "tile/0/" + "x001/" * 7 + "000",
    ],
)
def test_no_path(path: str) -> None:
    with malformed(Reason.LOG_MALFORMED):
        parse_path(path)


def test_widths() -> None:
    size = 256 * 256 + 300
    assert [tile_width(0, index, size) for index in (0, 256, 257, 258, 10**9)] == [256, 256, 44, 0, 0]
    assert [tile_width(1, index, size) for index in (0, 1, 2)] == [256, 1, 0]
    assert [tile_width(2, index, size) for index in (0, 1)] == [1, 0]
    assert tile_width(3, 0, size) == tile_width(0, 0, 0) == 0


@given(st.lists(st.binary(max_size=40), max_size=256))
def test_bundles(records: list[bytes]) -> None:
    raw = dump_entries(records)
    assert load_entries(raw, len(records)) == records
    for width in (len(records) - 1, len(records) + 1):
        if width >= 0:
            with malformed(Reason.LOG_MALFORMED):
                load_entries(raw, width)


@given(st.binary(max_size=40), st.integers(0, 4))
def test_whatever_a_bundle_is(raw: bytes, width: int) -> None:
    with suppress(Malformed):
        assert dump_entries(load_entries(raw, width)) == raw


def test_longest_record() -> None:
    assert load_entries(dump_entries([bytes(65535)]), 1) == [bytes(65535)]
    with malformed(Reason.LOG_MALFORMED):
        dump_entries([bytes(65536)])


def test_tiles_of_another_width() -> None:
    assert load_tile(bytes(64), 2) == [bytes(32)] * 2
    for raw in (b"", bytes(63), bytes(32), bytes(96)):
        with malformed(Reason.LOG_MALFORMED):
            load_tile(raw, 2)


# A log of some size, published


def published(size: int) -> tuple[dict[str, bytes], bytes, Frontier]:
    """Return all files of a log, its signed checkpoint, and the tree."""
    leaves = [leaf(index) for index in range(size)]
    tree = Frontier()
    tree.extend(leaf_hash(each) for each in leaves)
    files = {}
    for level in range(3):
        _, row = tree.held(8 * level)
        for index in range(size // 256 + 1):
            if width := tile_width(level, index, size):
                files[tile_path(level, index, width)] = row[32 * 256 * index :][: 32 * width]
    for index in range(size // 256 + 1):
        if width := tile_width(0, index, size):
            files[entries_path(index, width)] = dump_entries(leaves[256 * index : 256 * index + width])
    body = dump_checkpoint_body(ORIGIN, size, tree.root())
    return files, sign(body, ORIGIN, KEY).encode(), tree


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 700])
def test_another_reader(size: int) -> None:
    files, note, _ = published(size)
    assert reader.audit(files, note, VKEY) == [leaf(index) for index in range(size)]


def test_proofs_from_tiles() -> None:
    size = 700
    files, _, tree = published(size)

    def read(level: int, index: int) -> bytes:
        return files[tile_path(level, index, tile_width(level, index, size))]

    hashes = tile_hashes(read)
    assert root(size, hashes) == tree.root()
    for index in (0, 1, 255, 256, 511, 512, 698, 699):
        verify_inclusion(leaf_hash(leaf(index)), index, size, inclusion_proof(index, size, hashes), tree.root())
    for old in (1, 255, 256, 257, 512, 699):
        before = root(old, hashes)
        assert before == root(old, tree.hash_at)
        verify_consistency(old, before, size, tree.root(), consistency_proof(old, size, hashes))
    for level, index in ((0, 700), (2, 175), (8, 2), (9, 1)):
        with malformed(Reason.LOG_MALFORMED):
            hashes(level, index)
