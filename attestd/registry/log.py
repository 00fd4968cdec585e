"""The log: every decision is a leaf, written by the transaction that decides, and never changed.

`append` gives the next index; `extend` puts leaves into the tiles of the Merkle tree (RFC 6962, C2SP tlog-tiles) when
`sequencing` has its turn. A tile of a smaller tree is the beginning of the same tile of a larger one, so that each is
stored once, as wide as it is by now, and serves every size. Nothing is answered from a row that does not fit its hash.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlmodel import col

from attestd.errors import Malformed
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.decisions import subject
from attestd.registry.integrity import damaged, seal
from attestd.registry.tables import LogRow, LogTileRow, columns
from attestd.transparency import merkle
from attestd.transparency.merkle import HASH_SIZE
from attestd.transparency.record import Approve, Record, Refuse, Renew, dump_record, load_record
from attestd.transparency.tiles import TILE_HEIGHT, TILE_WIDTH, dump_entries, tile_hashes, tile_width

_TILE_SIZE: Final = TILE_WIDTH * HASH_SIZE
_DOMAIN: Final = "attestd/log-tile/v1"
# What follows from evidence: every part of it was read before, in its one form, and it is most of the log.
_RECORDED: Final = (Approve, Renew, Refuse)
_NO_END: Final = 2**63 - 1

_NEXT: Final = select(func.coalesce(func.max(col(LogRow.index)) + 1, 0)).scalar_subquery()
_APPEND: Final = Statement(
    insert(LogRow)
    .from_select(
        list(LogRow.model_fields),
        select(_NEXT, *(bindparam(column.name, type_=column.type) for column in columns(LogRow)[1:])),
    )
    .returning(col(LogRow.index))
)
_SIZE: Final = Statement(select(_NEXT))
_LEAVES: Final = Statement(
    select(*columns(LogRow))
    .where(col(LogRow.index) >= bindparam("first"))
    .order_by(col(LogRow.index))
    .limit(bindparam("most"))
)
_FIND: Final = Statement(
    select(col(LogRow.index)).where(col(LogRow.subject) == bindparam("of_subject")).order_by(col(LogRow.index))
)
_LAST: Final = Statement(
    select(*columns(LogRow))
    .where(col(LogRow.subject) == bindparam("of_subject"), col(LogRow.index) < bindparam("before"))
    .order_by(col(LogRow.index).desc())
    .limit(1)
)
_PLACE: Final = (col(LogTileRow.level) == bindparam("of_level"), col(LogTileRow.index) == bindparam("of_index"))
_TILE: Final = Statement(select(col(LogTileRow.hashes), col(LogTileRow.seal)).where(*_PLACE))
_ADD_TILE: Final = Statement(insert(LogTileRow))
_CUT: Final = Statement(delete(LogRow).where(col(LogRow.index) >= bindparam("first")))
_DROP_TILES: Final = Statement(
    delete(LogTileRow).where(
        col(LogTileRow.level) == bindparam("of_level"), col(LogTileRow.index) >= bindparam("first")
    )
)
_WIDEN: Final = Statement(update(LogTileRow).where(*_PLACE).values(hashes=bindparam("hashes"), seal=bindparam("seal")))


@dataclass(frozen=True, slots=True)
class Leaf:
    """A row of the log."""

    index: int
    subject: bytes | None
    version: int | None
    hash: bytes
    record: bytes

    def said(self) -> Record:
        """Return what was decided. Raises `Unavailable` (`registry.integrity`) where it is found under another name."""
        try:
            said = load_record(self.record)
        except Malformed:
            raise damaged(f"the record {self.index} of the log") from None
        if subject(said) != self.subject:
            raise damaged(f"the record {self.index} of the log")
        return said


class Tile(NamedTuple):
    """A row of tiles, and whether it is as it was written."""

    hashes: bytes
    is_sealed: bool


def append(transaction: Transaction, said: Record, *, version: int | None = None) -> int:
    """Write what was decided at the end and return its index; `version` is that of the key, where it is about one.

    Whoever writes holds the lock of writers, so that an index is given once, and none is left out. Raises `Malformed`
    (`log.record`) where the record could not be read again.
    """
    raw = dump_record(said)
    if not isinstance(said, _RECORDED):
        load_record(raw)  # what nobody could read would stop the log for good
    row = transaction.add(_APPEND, subject=subject(said), version=version, leaf=merkle.leaf_hash(raw), record=raw)
    index: int = row[0]
    return index


def size(transaction: Transaction) -> int:
    """Return how many records there are, sequenced or not."""
    (row,) = transaction.all(_SIZE)
    return int(row[0])


def leaves(transaction: Transaction, first: int, count: int) -> tuple[Leaf, ...]:
    """Return at most so many rows from an index on.

    Raises `Unavailable` (`registry.integrity`) where one is missing, or is not what its hash says.
    """
    rows = transaction.all(_LEAVES, first=first, most=count)
    return tuple(_leaf(row, first + place) for place, row in enumerate(rows))


def records(transaction: Transaction, first: int, count: int) -> tuple[bytes, ...]:
    """Return at most so many records from an index on. Raises as `leaves` does."""
    return tuple(leaf.record for leaf in leaves(transaction, first, count))


def find(transaction: Transaction, subject: bytes) -> tuple[int, ...]:
    """Return where the log speaks of a key id, a refused result, a model or an image; oldest first."""
    return tuple(row[0] for row in transaction.all(_FIND, of_subject=subject))


def last(transaction: Transaction, subject: bytes, before: int = _NO_END) -> Leaf | None:
    """Return what the log said last of one of those, among its first `before` records. Raises as `leaves` does."""
    row = transaction.one(_LAST, of_subject=subject, before=before)
    return None if row is None else _leaf(row, row[0])


def extend(transaction: Transaction, old: int, hashes: Sequence[bytes]) -> bytes:
    """Add leaf hashes to a tree of `old` leaves, and return the root of the larger one.

    Raises `Unavailable` (`registry.integrity`) where the tiles are not those of a tree of that size.
    """
    level, first, added = 0, old, b"".join(hashes)
    while added:
        added = _widen(transaction, level, first, added)
        level, first = level + 1, first // TILE_WIDTH
    return root(transaction, old + len(hashes))


def narrow(transaction: Transaction, size_: int) -> None:
    """Leave no more in the tiles than the tree of the first so many leaves. Raises as `extend` does."""
    level = 0
    while _sound_tile(transaction, level, 0):
        last, width = divmod(size_ >> TILE_HEIGHT * level, TILE_WIDTH)
        kept = _sound_tile(transaction, level, last)[: width * HASH_SIZE]
        transaction.run(_DROP_TILES, of_level=level, first=last)
        if kept:
            transaction.run(_ADD_TILE, level=level, index=last, hashes=kept, seal=_seal(level, last, kept))
        level += 1


def cut(transaction: Transaction, size_: int) -> None:
    """Remove all but the first so many records, none of which is sequenced: only where others have their indexes."""
    transaction.run(_CUT, first=size_)


def root_with(transaction: Transaction, old: int, hashes: Iterable[bytes]) -> bytes:
    """Return the root that `extend` would return, and add nothing. Raises as it does."""
    frontier = merkle.Frontier(old, _subtrees(transaction, old))
    frontier.extend(hashes)
    return frontier.root()


def root(transaction: Transaction, size_: int) -> bytes:
    """Return the root of the tree of the first so many leaves, all of which were sequenced.

    Raises `Unavailable` (`registry.integrity`), as all of these do, where a tile is missing or altered.
    """
    return merkle.root(size_, _subtrees(transaction, size_))


def inclusion_proof(transaction: Transaction, index: int, size_: int) -> list[bytes]:
    """Return the audit path of a leaf in the tree of a size (RFC 6962, 2.1.1)."""
    return merkle.inclusion_proof(index, size_, _subtrees(transaction, size_))


def consistency_proof(transaction: Transaction, old: int, new: int) -> list[bytes]:
    """Return the proof that a tree is the beginning of a larger one (RFC 6962, 2.1.2)."""
    return merkle.consistency_proof(old, new, _subtrees(transaction, new))


def tile(transaction: Transaction, level: int, index: int, width: int = TILE_WIDTH) -> bytes | None:
    """Return the first hashes of a tile; null where the log is not sequenced as far."""
    hashes = _sound_tile(transaction, level, index)[: width * HASH_SIZE]
    return hashes if len(hashes) == width * HASH_SIZE else None


def entries(transaction: Transaction, index: int, width: int = TILE_WIDTH) -> bytes | None:
    """Return the bundle of the records below a tile of level 0 (C2SP tlog-tiles, Log entries); null as for the tile."""
    hashes = tile(transaction, 0, index, width)
    if hashes is None:
        return None
    found = leaves(transaction, index * TILE_WIDTH, width)
    if b"".join(leaf.hash for leaf in found) != hashes:
        raise damaged("the log, which is not what its tiles say,")
    return dump_entries(leaf.record for leaf in found)


def stored(transaction: Transaction, first: int, count: int) -> tuple[Leaf, ...]:
    """Return at most so many rows from an index on, as they are, for who looks for what was altered."""
    return tuple(map(_stored_leaf, transaction.all(_LEAVES, first=first, most=count)))


def stored_tile(transaction: Transaction, level: int, index: int) -> Tile:
    """Return a tile as it is, likewise; without hashes where there is none."""
    row = transaction.one(_TILE, of_level=level, of_index=index)
    if row is None or not isinstance(row[0], bytes):
        return Tile(b"", is_sealed=row is None)
    return Tile(row[0], is_sealed=_seal(level, index, row[0]) == row[1])


def _sound_tile(transaction: Transaction, level: int, index: int) -> bytes:
    hashes, is_sealed = stored_tile(transaction, level, index)
    if not is_sealed:
        raise damaged(f"tile {index} of level {level}")
    return hashes


def _subtrees(transaction: Transaction, size_: int) -> merkle.Hashes:
    """Return what looks up complete subtrees of the tree of a size, each tile once."""

    @cache
    def read(level: int, index: int) -> bytes:
        hashes = _sound_tile(transaction, level, index)
        if len(hashes) < tile_width(level, index, size_) * HASH_SIZE:
            raise damaged(f"tile {index} of level {level}")
        return hashes

    return tile_hashes(read)


def _widen(transaction: Transaction, level: int, first: int, added: bytes) -> bytes:
    """Add hashes to a level that has `first` of them; return the roots of the tiles that are full now."""
    index, width = divmod(first, TILE_WIDTH)
    before = _sound_tile(transaction, level, index)
    if len(before) != width * HASH_SIZE:
        raise damaged(f"tile {index} of level {level}")
    hashes, full = before + added, []
    for start in range(0, len(hashes), _TILE_SIZE):
        part = hashes[start : start + _TILE_SIZE]
        own = _seal(level, index, part)
        if start == 0 and before:
            transaction.run(_WIDEN, of_level=level, of_index=index, hashes=part, seal=own)
        else:
            transaction.run(_ADD_TILE, level=level, index=index, hashes=part, seal=own)
        if len(part) == _TILE_SIZE:
            full.append(_top(part))
        index += 1
    return b"".join(full)


def _top(hashes: bytes) -> bytes:
    frontier = merkle.Frontier()
    frontier.extend((hashes,))
    return frontier.root()


def _leaf(row: Row, index: int) -> Leaf:
    leaf = _stored_leaf(row)
    if leaf.index != index or merkle.leaf_hash(leaf.record) != leaf.hash:
        raise damaged(f"the record {index} of the log")
    return leaf


def _stored_leaf(row: Row) -> Leaf:
    """Take a row as it is. SQLite keeps what is no bytes in any column; no record is empty."""
    index, subject_, version, own, raw = row
    return Leaf(index, subject_, version, own, raw if isinstance(raw, bytes) else b"")


def _seal(level: int, index: int, hashes: bytes) -> bytes:
    return seal(_DOMAIN, (level, index, hashes))
