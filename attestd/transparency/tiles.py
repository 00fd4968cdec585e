"""The log as static files (C2SP tlog-tiles): hashes in tiles 256 wide and eight levels high, and bundles of records.

    tile/<level>/<index>[.p/<width>]      hashes of the tree's level 8 · <level>, from <index> · 256 on, 32 bytes each
    tile/entries/<index>[.p/<width>]      records, each behind its length, two bytes big-endian

An index is written in groups of three digits, all but the last behind an x: 1234067 is x001/x234/067. The ending names
the width of a tile that is not full yet.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from attestd.codec import Reader
from attestd.errors import Malformed, Reason
from attestd.transparency.merkle import HASH_SIZE, Hashes, node_hash

TILE_WIDTH: Final = 256
TILE_HEIGHT: Final = 8

_MAX_ENTRY_SIZE: Final = 0xFFFF
# Levels end at 7: a size has 64 bits, a tile eight levels.
_PATH: Final = re.compile(r"tile/(?:([0-7])|entries)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tile:
    """Which tile: of hashes at a tile level, or of records, where the level is None."""

    level: int | None
    index: int
    width: int = TILE_WIDTH


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of a tile of hashes."""
    return f"tile/{level}/{_number_path(index)}{_ending(width)}"


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of a bundle of records."""
    return f"tile/entries/{_number_path(index)}{_ending(width)}"


def _number_path(index: int) -> str:
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03}")
    return "/".join(reversed(groups))


def _ending(width: int) -> str:
    return "" if width == TILE_WIDTH else f".p/{width}"


def parse_path(path: str) -> Tile:
    """Read the path of a tile. Raises `Malformed` (`log.malformed`) on all but the one way to write it."""
    match = _PATH.fullmatch(path)
    if match is not None:
        level, index, width = match.groups()
        number = int(index.replace("x", "").replace("/", ""))
        tile = Tile(None if level is None else int(level), number, int(width or TILE_WIDTH))
        written = entries_path(number, tile.width) if level is None else tile_path(int(level), number, tile.width)
        if tile.width <= TILE_WIDTH and written == path:
            return tile
    raise _refused(f"a path of {len(path)} other characters", "tile/<level>/<index> or tile/entries/<index>")


def tile_width(level: int, index: int, size: int) -> int:
    """Return how many hashes of a tile a log of `size` records has; level 0 is also for records."""
    return max(0, min(TILE_WIDTH, (size >> TILE_HEIGHT * level) - index * TILE_WIDTH))


def load_tile(raw: bytes, width: int = TILE_WIDTH) -> list[bytes]:
    """Read the hashes of a tile. Raises `Malformed` (`log.malformed`) where there are more or fewer than `width`."""
    if len(raw) != HASH_SIZE * width:
        raise _refused(f"a tile of {len(raw)} bytes", f"{width} hashes of {HASH_SIZE} bytes")
    return [raw[at : at + HASH_SIZE] for at in range(0, len(raw), HASH_SIZE)]


def dump_entries(records: Iterable[bytes]) -> bytes:
    """Write a bundle of records. Raises `Malformed` (`log.malformed`) where one has more than 65535 bytes."""
    bundle: list[bytes] = []
    for record in records:
        if len(record) > _MAX_ENTRY_SIZE:
            raise _refused(f"a record of {len(record)} bytes", f"at most {_MAX_ENTRY_SIZE}")
        bundle += len(record).to_bytes(2), record
    return b"".join(bundle)


def load_entries(raw: bytes, width: int = TILE_WIDTH) -> list[bytes]:
    """Read a bundle of exactly `width` records. Raises `Malformed` (`log.malformed`)."""
    reader = Reader(raw, Reason.LOG_MALFORMED)
    records = [reader.take(int.from_bytes(reader.take(2))) for _ in range(width)]
    reader.finish()
    return records


def tile_hashes(read: Callable[[int, int], bytes]) -> Hashes:
    """Return the hashes of complete subtrees from tiles; `read(level, index)` is the tile, as wide as it is by now.

    What is returned raises `Malformed` (`log.malformed`) where a tile is too narrow, and whatever `read` raises.
    """

    def hashes(level: int, index: int) -> bytes:
        tile_level, height = divmod(level, TILE_HEIGHT)
        tile_index, place = divmod(index << height, TILE_WIDTH)
        stop = HASH_SIZE * (place + (1 << height))
        row = load_tile(read(tile_level, tile_index)[HASH_SIZE * place : stop], 1 << height)
        while len(row) > 1:
            row = [node_hash(*row[at : at + 2]) for at in range(0, len(row), 2)]
        return row[0]

    return hashes


def _refused(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.LOG_MALFORMED, found=found, wanted=wanted)
