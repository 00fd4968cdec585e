"""A log as files, made of records: what an honest service serves, by path."""

from collections.abc import Iterable, Sequence

from attestd.transparency.entry import Entry
from attestd.transparency.merkle import HASH_SIZE, Frontier, leaf_hash
from attestd.transparency.note import TreeHead
from attestd.transparency.record import Record, changes, dump_record
from attestd.transparency.tiles import TILE_HEIGHT, TILE_WIDTH, dump_entries, parse_path


def fold(records: Iterable[Record]) -> dict[bytes, Entry]:
    """Return the map that the whole log makes, by key id."""
    return {key: entry for key, entry in changes(records).items() if entry is not None}


class LogFiles:
    """The files of a log of these records; the hashes in its tiles may be told to be those of other leaves."""

    def __init__(self, records: Sequence[Record], hashed: Sequence[bytes] | None = None) -> None:
        self.raw = [dump_record(record) for record in records]
        self._tree = Frontier()
        self._tree.extend(map(leaf_hash, self.raw if hashed is None else hashed))

    def __call__(self, path: str) -> bytes:
        """Return a file, as wide as it is asked for and the log has it."""
        tile = parse_path(path)
        first, stop = tile.index * TILE_WIDTH, tile.index * TILE_WIDTH + tile.width
        if tile.level is None:
            return dump_entries(self.raw[first:stop])
        start, row = self._tree.held(TILE_HEIGHT * tile.level)
        assert start == 0
        return row[HASH_SIZE * first : HASH_SIZE * stop]

    def head(self, size: int | None = None) -> TreeHead:
        """Return the head of the log, or of its beginning."""
        beginning = Frontier()
        beginning.extend([self._tree.hash_at(0, index) for index in range(self._tree.size if size is None else size)])
        return TreeHead("a log", beginning.size, beginning.root())
