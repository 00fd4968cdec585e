"""Sequencing: what was decided goes into the tiles of the log and into the map, in the order of the log.

Records are durable and have their index before that; nobody outside is promised anything about them until an epoch
names a size and both roots. Tiles, map and the row that says how far both went change in one transaction.
"""

from dataclasses import astuple, dataclass
from typing import Final

from sqlalchemy import bindparam, insert, select, update

from attestd.registry import keymap, log
from attestd.registry.database import Statement, Transaction
from attestd.registry.integrity import damaged, seal
from attestd.registry.tables import SequencedRow, columns
from attestd.transparency import merkle
from attestd.transparency.record import changes
from attestd.transparency.tiles import TILE_WIDTH

# What is done at once, while nobody else writes: about a second of work.
MOST: Final = 4096
_DOMAIN: Final = "attestd/sequenced/v1"

_STATE: Final = Statement(select(*columns(SequencedRow, without=("id",))))
_BEGIN: Final = Statement(insert(SequencedRow))
_ADVANCE: Final = Statement(
    update(SequencedRow).values({name: bindparam(name) for name in SequencedRow.model_fields if name != "id"})
)


@dataclass(frozen=True, slots=True)
class Sequenced:
    """How far the log went into tiles and map."""

    epoch: int
    size: int
    log_root: bytes
    map_root: bytes


_BEGINNING: Final = Sequenced(0, 0, merkle.EMPTY_ROOT, keymap.NO_KEYS)


def state(transaction: Transaction) -> Sequenced:
    """Return how far it went. Raises `Unavailable` (`registry.integrity`), as all of these do, for an altered row."""
    row = transaction.one(_STATE)
    if row is None:
        return _BEGINNING
    if seal(_DOMAIN, row[:-1]) != row[-1]:
        raise damaged("the row that says how far the log is sequenced")
    return Sequenced(*row[:-1])


def advance(transaction: Transaction, epoch: int, *, most: int = MOST) -> Sequenced:
    """Sequence what was recorded since, at most so many records, for an epoch; return how far it is then.

    What one transaction has decided about a key is never divided.
    """
    before = state(transaction)
    leaves = log.leaves(transaction, before.size, most + 1)
    if len(leaves) > most:
        leaves = leaves[: _undivided(leaves)]
    log_root = log.extend(transaction, before.size, [leaf.hash for leaf in leaves])
    changed = changes(leaf.said() for leaf in leaves)
    map_root = keymap.apply(transaction, epoch, before.map_root, changed)
    after = Sequenced(epoch, before.size + len(leaves), log_root, map_root)
    store(transaction, after)
    return after


def rewind(transaction: Transaction, size: int) -> None:
    """Let tiles and map be what they were when so many records were sequenced. Raises as `advance` does."""
    now = state(transaction)
    if size == now.size:
        return
    undone = {}
    for key_id in changes(leaf.said() for leaf in log.leaves(transaction, size, now.size - size)):
        last = log.last(transaction, key_id, size)
        undone[key_id] = None if last is None else changes([last.said()])[key_id]
    map_root = keymap.apply(transaction, now.epoch, now.map_root, undone)
    log.narrow(transaction, size)
    store(transaction, Sequenced(now.epoch, size, log.root(transaction, size), map_root))


def store(transaction: Transaction, after: Sequenced) -> None:
    """Write how far it went."""
    said = dict(zip(SequencedRow.model_fields, (1, *astuple(after)), strict=False))
    said["seal"] = seal(_DOMAIN, astuple(after))
    if transaction.run(_ADVANCE, **said) == 0:
        transaction.run(_BEGIN, **said)


def require_sound(transaction: Transaction) -> None:
    """Look at the end of the log: the roots are those of the tiles and of a node, the last tile is that of the records.

    What this does not look at is looked at when it is read; `fsck` looks at everything.
    """
    now = state(transaction)
    if log.size(transaction) < now.size:
        raise damaged("the log, which is shorter than it was sequenced,")
    if log.root(transaction, now.size) != now.log_root:
        raise damaged("the root of the log")
    if now.size:
        last = (now.size - 1) // TILE_WIDTH
        log.entries(transaction, last, now.size - last * TILE_WIDTH)
    keymap.prove(transaction, now.map_root, bytes(32))


def _undivided(leaves: tuple[log.Leaf, ...]) -> int:
    """Return how many of the leaves come before the last one that does not go on with the decision before it."""
    count = len(leaves) - 1
    while count > 1 and _goes_on(leaves[count], leaves[count - 1]):
        count -= 1
    return count


def _goes_on(leaf: log.Leaf, before: log.Leaf) -> bool:
    return leaf.version is not None and (leaf.subject, leaf.version) == (before.subject, before.version)
