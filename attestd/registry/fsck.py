"""Looks at everything that the log says: each record, tile, epoch, node of the map and key, against the records.

All but the records follows from them: tiles, map and how far both went can be made again (`rebuild`), and nothing ever
changes a record. It may run beside a service: what is added meanwhile is left for the next time.
"""

from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from sqlalchemy import bindparam, delete, func, select
from sqlmodel import col

from attestd.errors import Unavailable
from attestd.registry import epochs, keymap, log, sequencing
from attestd.registry.database import Statement, Transaction
from attestd.registry.integrity import damaged
from attestd.registry.tables import KeyRow, LogTileRow, MapNodeRow, MapRetiredRow, SequencedRow
from attestd.transparency import keymap as nodes_of
from attestd.transparency import merkle
from attestd.transparency.merkle import HASH_SIZE
from attestd.transparency.record import Record, changes
from attestd.transparency.tiles import TILE_HEIGHT, TILE_WIDTH

_BATCH: Final = 1000
_TILE_SIZE: Final = TILE_WIDTH * HASH_SIZE

_TILES: Final = Statement(select(func.count()).select_from(LogTileRow))
_NODE: Final = Statement(select(col(MapNodeRow.node)).where(col(MapNodeRow.hash) == bindparam("of_hash")))
_RETIRED: Final = Statement(select(col(MapRetiredRow.epoch)).where(col(MapRetiredRow.hash) == bindparam("of_hash")))
_KEYS: Final = Statement(
    select(col(KeyRow.id), col(KeyRow.listed_until))
    .where(col(KeyRow.id) > bindparam("after"))
    .order_by(col(KeyRow.id))
    .limit(_BATCH)
)
_FORGET: Final = tuple(Statement(delete(table)) for table in (LogTileRow, MapNodeRow, MapRetiredRow, SequencedRow))


class Part(StrEnum):
    """What a fault is in. Records, epochs and keys are never repaired: a copy of the database has to be."""

    RECORD = "record"
    EPOCH = "epoch"
    KEY = "key"
    TILE = "tile"
    NODE = "node"
    SEQUENCED = "sequenced"


DERIVED: Final = frozenset({Part.TILE, Part.NODE, Part.SEQUENCED})


class Fault(NamedTuple):
    """Something that is not what the records say."""

    part: Part
    place: str  # index of a record, level/index of a tile, number of an epoch, hash of a node, id of a key
    found: str


class _Mark(NamedTuple):
    """What was said of one size of the log."""

    part: Part
    epoch: int
    size: int
    log_root: bytes
    map_root: bytes


def examine(transaction: Transaction, *, is_copy: bool = False) -> Iterator[Fault]:
    """Go through all of it and yield what is wrong, the records first. Nothing is changed.

    A verifier's copy of another registry's log (`cosigned`) has no keys beside it.
    """
    marks, faults = _marks(transaction)
    yield from faults
    examination = _Examination(transaction, marks)
    yield from examination.records()
    yield from examination.tiles()
    yield from examination.nodes()
    if not is_copy:
        yield from examination.keys()


def rebuild(transaction: Transaction) -> int:
    """Make tiles and map again from the records, up to the size that they had; return that size.

    Raises `Unavailable` (`registry.integrity`) where they come out otherwise than an epoch said: then the records are
    not those that others have seen, and nothing is changed.
    """
    marks, faults = _marks(transaction)
    for fault in faults:
        if fault.part not in DERIVED:
            raise damaged(f"{fault.part} {fault.place}")
    for forget in _FORGET:
        transaction.run(forget)
    now = sequencing.state(transaction)
    if marks and log.size(transaction) < marks[-1].size:
        raise damaged("the log, which is shorter than it was,")
    for mark in marks:
        while now.size < mark.size:
            now = sequencing.advance(transaction, mark.epoch, most=min(sequencing.MOST, mark.size - now.size))
        if mark.part is Part.EPOCH and (now.log_root, now.map_root) != mark[-2:]:
            raise damaged(f"the log or the map of epoch {mark.epoch}")
    return now.size


def _marks(transaction: Transaction) -> tuple[list[_Mark], list[Fault]]:
    """Return what was said of the log, by size, and which of that cannot be read."""
    marks, faults = [], []
    try:
        for candidate in epochs.all_(transaction):
            said = candidate.checkpoint
            marks.append(_Mark(Part.EPOCH, said.epoch, said.tree_size, said.log_root, said.map_root or keymap.NO_KEYS))
    except Unavailable as error:
        faults.append(Fault(Part.EPOCH, str(marks[-1].epoch + 1 if marks else 1), error.found))
    try:
        now = sequencing.state(transaction)
        marks.append(_Mark(Part.SEQUENCED, now.epoch, now.size, now.log_root, now.map_root))
    except Unavailable as error:
        faults.append(Fault(Part.SEQUENCED, "", error.found))
    return sorted(marks, key=lambda mark: mark.size), faults


class _Examination:
    """One walk along the records, with the tree and the map as they have to be."""

    def __init__(self, transaction: Transaction, marks: list[_Mark]) -> None:
        self._transaction = transaction
        self._marks = deque(marks)
        self._sequenced = marks[-1].size if marks else 0
        self._count = 0  # of the records that were looked at
        self._frontier = merkle.Frontier()
        self._waiting: list[Record] = []
        self._members: set[bytes] = set()
        self._is_readable = True
        self._root: bytes | None = None
        self._nodes: dict[bytes, bytes] = {}

    def records(self) -> Iterator[Fault]:
        """Look at every record, and at tiles and epochs on the way."""
        yield from self._reached(0)
        while leaves := log.stored(self._transaction, self._count, _BATCH):
            for leaf in leaves:
                if leaf.index != self._count:
                    yield Fault(Part.RECORD, str(self._count), "none")
                    self._is_readable = False
                    return
                yield from self._record(leaf)
                self._count += 1
                yield from self._reached(self._count)
        for mark in self._marks:
            yield Fault(mark.part, str(mark.epoch), f"{mark.size} records, of which {self._count} are there")

    def _record(self, leaf: log.Leaf) -> Iterator[Fault]:
        """Look at one record. Where it does not fit its hash, the tile says which of them was altered."""
        own = merkle.leaf_hash(leaf.record)
        if own != leaf.hash:
            tile, place = divmod(leaf.index, TILE_WIDTH)
            said = log.stored_tile(self._transaction, 0, tile).hashes[place * HASH_SIZE : (place + 1) * HASH_SIZE]
            yield Fault(Part.RECORD, str(leaf.index), "an altered hash of it" if said == own else "an altered record")
            self._is_readable &= said == own
            own = own if said == own else leaf.hash
        if leaf.index < self._sequenced:
            self._frontier.extend((own,))
        if self._is_readable:
            yield from self._take(leaf)

    def _take(self, leaf: log.Leaf) -> Iterator[Fault]:
        """Let a record change the map."""
        try:
            said = leaf.said()
        except Unavailable:
            yield Fault(Part.RECORD, str(leaf.index), "another form, or another subject beside it")
            self._is_readable = False
            return
        self._waiting.append(said)
        for key_id, entry in changes([said]).items():
            (self._members.discard if entry is None else self._members.add)(key_id)

    def _reached(self, size: int) -> Iterator[Fault]:
        """Compare with what was said of the log at this size."""
        while self._marks and self._marks[0].size == size:
            mark = self._marks.popleft()
            self._bring_up_to_date()
            if self._frontier.root() != mark.log_root:
                yield Fault(mark.part, str(mark.epoch), "another root of the log than that of the records")
            if self._is_readable and (self._root or keymap.NO_KEYS) != mark.map_root:
                yield Fault(mark.part, str(mark.epoch), "another root of the map than that of the records")

    def _bring_up_to_date(self) -> None:
        updated = nodes_of.update(self._root, changes(self._waiting), self._nodes.__getitem__)
        self._waiting.clear()
        self._root = updated.root
        self._nodes |= updated.created
        for hash_ in updated.retired:
            del self._nodes[hash_]

    def tiles(self) -> Iterator[Fault]:
        """Look at every tile, and for others."""
        size, level, count = self._frontier.size, 0, 0
        while size >> TILE_HEIGHT * level:
            _, hashes = self._frontier.held(TILE_HEIGHT * level)
            for index in range(-(-len(hashes) // _TILE_SIZE)):
                wanted = hashes[index * _TILE_SIZE : (index + 1) * _TILE_SIZE]
                tile = log.stored_tile(self._transaction, level, index)
                if not tile.is_sealed or tile.hashes[: len(wanted)] != wanted:
                    yield Fault(Part.TILE, f"{level}/{index}", "other hashes than those of the records")
                count += 1
            level += 1
        ((there,),) = self._transaction.all(_TILES)
        if there != count and self._is_all():
            yield Fault(Part.TILE, "", f"{there} tiles, where {count} are wanted")

    def nodes(self) -> Iterator[Fault]:
        """Look at every node of the map at the end."""
        for hash_, node in self._nodes.items() if self._is_readable else ():
            row = self._transaction.one(_NODE, of_hash=hash_)
            if row is None or row[0] != node:
                yield Fault(Part.NODE, hash_.hex(), "none" if row is None else "an altered node")
            elif self._transaction.one(_RETIRED, of_hash=hash_) is not None and self._is_all():
                yield Fault(Part.NODE, hash_.hex(), "a node that is going to be forgotten")

    def keys(self) -> Iterator[Fault]:
        """Look at which keys say that they are in the map."""
        after = b""
        while self._is_readable and (rows := self._transaction.all(_KEYS, after=after)):
            for key_id, until in rows:
                is_member = key_id in self._members
                self._members.discard(key_id)
                if is_member is (until is None) and not self._is_newer(key_id):
                    yield Fault(Part.KEY, key_id.hex(), "another state than in the log")
            after = rows[-1][0]
        for key_id in sorted(self._members) if self._is_readable else ():
            yield Fault(Part.KEY, key_id.hex(), "none")

    def _is_newer(self, key_id: bytes) -> bool:
        """Tell whether something was decided about a key since the walk along the records."""
        return max(log.find(self._transaction, key_id), default=-1) >= self._count

    def _is_all(self) -> bool:
        """Tell whether nothing was sequenced since."""
        try:
            return sequencing.state(self._transaction).size == self._frontier.size
        except Unavailable:
            return True
