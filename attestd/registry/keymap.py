"""The map of the keys that are trusted now, in the database: nodes by their hash, and which no map has any more.

The map is a function of the log (`transparency.record`): nothing else changes it. A node is read only if it is what its
hash says.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import bindparam, delete, insert, select
from sqlmodel import col

from attestd.registry.database import Statement, Transaction
from attestd.registry.integrity import damaged
from attestd.registry.tables import MapNodeRow, MapRetiredRow
from attestd.transparency import keymap
from attestd.transparency.entry import Entry
from attestd.transparency.keymap import Read
from attestd.tvm.cell import Cell

# The root of a map without keys, as the chain has it.
NO_KEYS: Final = bytes(32)
# An epoch leaves about 20 nodes behind for each key that it changes.
PRUNED_AT_ONCE: Final = 2_000

_NODE: Final = Statement(select(col(MapNodeRow.node)).where(col(MapNodeRow.hash) == bindparam("of_hash")))
_DROP: Final = Statement(delete(MapNodeRow).where(col(MapNodeRow.hash) == bindparam("of_hash")))
_ADD: Final = Statement(insert(MapNodeRow))
_REVIVE: Final = Statement(delete(MapRetiredRow).where(col(MapRetiredRow.hash) == bindparam("of_hash")))
_RETIRE: Final = Statement(insert(MapRetiredRow))
_PRUNABLE: Final = Statement(
    select(col(MapRetiredRow.hash)).where(col(MapRetiredRow.epoch) <= bindparam("last")).limit(bindparam("most"))
)


def apply(transaction: Transaction, epoch: int, root: bytes, changes: Mapping[bytes, Entry | None]) -> bytes:
    """Put entries into the map of a root, or remove them where null; return the new root.

    Nodes that are left behind go with `prune`. Raises `Unavailable` (`registry.integrity`) for an altered node.
    """
    updated = keymap.update(_optional(root), changes, reader(transaction))
    transaction.run_each(_RETIRE, [{"hash": hash_, "epoch": epoch} for hash_ in updated.retired])
    store(transaction, updated.created)
    return updated.root or NO_KEYS


def root_with(transaction: Transaction, root: bytes, changes: Mapping[bytes, Entry | None]) -> bytes:
    """Return the root that `apply` would return, and change nothing. Raises as it does."""
    return keymap.update(_optional(root), changes, reader(transaction)).root or NO_KEYS


def store(transaction: Transaction, nodes: Mapping[bytes, bytes]) -> None:
    """Write nodes that a map has from now on, in place of whatever was there; they may have been retired before."""
    named = [{"of_hash": hash_} for hash_ in nodes]
    transaction.run_each(_REVIVE, named)
    transaction.run_each(_DROP, named)
    transaction.run_each(_ADD, [{"hash": hash_, "node": node} for hash_, node in nodes.items()])


def prove(transaction: Transaction, root: bytes, key_id: bytes) -> Cell | None:
    """Return the Merkle proof that a key is in the map of a root, or that it is not; null where that has no keys.

    Raises `Unavailable` (`registry.integrity`) where that map was pruned, or a node altered.
    """
    return keymap.prove(_optional(root), key_id, reader(transaction))


def prune(transaction: Transaction, before_epoch: int, *, most: int = PRUNED_AT_ONCE) -> int:
    """Forget at most so many nodes that only maps of epochs before `before_epoch` have; return how many those were."""
    rows = transaction.all(_PRUNABLE, last=before_epoch, most=most)
    named = [{"of_hash": row[0]} for row in rows]
    transaction.run_each(_DROP, named)
    transaction.run_each(_REVIVE, named)
    return len(rows)


def reader(transaction: Transaction) -> Read:
    """Return what reads nodes by their hash, which `transparency.keymap` holds them against."""

    def read(hash_: bytes) -> bytes:
        row = transaction.one(_NODE, of_hash=hash_)
        if row is None or not isinstance(row[0], bytes):
            raise damaged(f"the node {hash_.hex()} of the map")
        return row[0]

    return read


def _optional(root: bytes) -> bytes | None:
    return None if root == NO_KEYS else root
