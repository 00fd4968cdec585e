"""The whole log as a service shows it, read by anybody: its records make the roots of log and map that are on chain.

A map that says anything which the log does not say is found out by whoever reads the log; so is a record that was
changed, left out or added.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from attestd.errors import Malformed, NotAuthentic, Reason, Unavailable
from attestd.transparency import keymap
from attestd.transparency.checkpoint import Checkpoint
from attestd.transparency.entry import Entry
from attestd.transparency.merkle import Frontier, leaf_hash
from attestd.transparency.record import MAX_RECORD_SIZE, Record, changes, load_record
from attestd.transparency.tiles import TILE_WIDTH, entries_path, load_entries, load_tile, tile_path, tile_width

# The largest file of a log: a bundle of records, each behind its length.
MAX_FILE_SIZE: Final = TILE_WIDTH * (MAX_RECORD_SIZE + 2)
# The map is in memory, half a KiB for each key.
MAX_KEYS: Final = 8_000_000


class Bundle(NamedTuple):
    """Records of a log that stand in one file, and their leaf hashes."""

    hashes: list[bytes]
    records: list[Record]


def read_bundle(index: int, size: int, fetch: Callable[[str], bytes]) -> Bundle:
    """Read a bundle of a log of `size` records, each of which is what the tile says; `fetch` returns a file by path.

    Raises `NotAuthentic` (`log.inclusion`) for the first that is not, `Malformed`: `log.record` for the first that is
    none, `log.malformed` for what is no tile or bundle of this size; and what `fetch` does.
    """
    width, first = tile_width(0, index, size), index * TILE_WIDTH
    tile = load_tile(fetch(tile_path(0, index, width)), width)
    records = []
    for number, raw, wanted in zip(
        range(width), load_entries(fetch(entries_path(index, width)), width), tile, strict=True
    ):
        if (found := leaf_hash(raw)) != wanted:
            raise NotAuthentic(
                Reason.LOG_INCLUSION,
                found=f"record {first + number} of hash {found.hex()}",
                wanted=f"{wanted.hex()}, as its tile says",
            )
        try:
            records.append(load_record(raw))
        except Malformed as error:
            raise Malformed(
                error.reason, found=f"record {first + number}: {error.found}", wanted=error.wanted
            ) from None
    return Bundle(tile, records)


def read_log(checkpoint: Checkpoint, fetch: Callable[[str], bytes], told: Callable[[int], None]) -> dict[bytes, Entry]:
    """Read all records of the log whose root is in a checkpoint; return what they make the map, by key id.

    `told` hears how many records were read.
    Raises `NotAuthentic` (`log.consistency`) where they lead to another root; `Unavailable` (`log.size`) where there
    are more than `MAX_KEYS` keys in the map; and what `read_bundle` does.
    """
    size, frontier, entries = checkpoint.tree_size, Frontier(), dict[bytes, Entry]()
    for index in range(-(-size // TILE_WIDTH)):
        bundle = read_bundle(index, size, fetch)
        frontier.extend(bundle.hashes)
        # Of what is complete, no more is kept than the root is made of.
        frontier = Frontier(frontier.size, frontier.hash_at)
        _apply(entries, bundle.records)
        told(frontier.size)
    if (found := frontier.root()) != checkpoint.log_root:
        raise NotAuthentic(
            Reason.LOG_CONSISTENCY,
            found=f"{size} records that lead to {found.hex()}",
            wanted=f"{checkpoint.log_root.hex()}, the root on chain",
        )
    return entries


def require_map(entries: Mapping[bytes, Entry], checkpoint: Checkpoint) -> None:
    """Require that the map of a checkpoint has these entries and no others. Raises `NotAuthentic` (`log.map`)."""
    if (root := keymap.root_of(entries)) != checkpoint.map_root:
        raise NotAuthentic(
            Reason.LOG_MAP,
            found=f"the root {_shown(checkpoint.map_root)} on chain",
            wanted=f"{_shown(root)}, as the records make it",
        )


def _apply(entries: dict[bytes, Entry], records: list[Record]) -> None:
    for key, entry in changes(records).items():
        if entry is None:
            entries.pop(key, None)
        else:
            entries[key] = entry
    if len(entries) > MAX_KEYS:
        raise Unavailable(Reason.LOG_SIZE, found=f"more than {MAX_KEYS} keys", wanted=f"at most {MAX_KEYS}")


def _shown(root: bytes | None) -> str:
    return "of the empty map" if root is None else root.hex()
