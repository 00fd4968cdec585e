"""What the log says of a key last, whether the chain has that by now, and the proof of it.

A key is trusted by its state and its window alone. What is on chain follows some time later, and says the same to those
who do not ask here: `published` tells how far that is. It changes when the key's own decisions do, or land on chain,
and not with every epoch.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from attestd.errors import Reason, Unavailable
from attestd.registry import epochs, keymap, keys, log
from attestd.registry.database import Transaction
from attestd.registry.epochs import Candidate, Signature
from attestd.registry.values import Key, KeyFilters, KeyPage
from attestd.transparency.record import Approve, Renew, Resume, load_record
from attestd.tvm.cell import Cell


class PublicationState(StrEnum):
    """How far a decision about a key is on its way to the chain."""

    PENDING = "pending"  # to be trusted, which the chain does not say yet
    PUBLISHED = "published"
    REMOVING = "removing"  # not to be trusted any more, while the chain may still have it
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Publication:
    """Where the last record about a key is; `epoch` is the first on chain that covers it, null while there is none."""

    state: PublicationState
    log_index: int
    epoch: Candidate | None


@dataclass(frozen=True, slots=True)
class Found:
    """A key, and its publication: null where nothing is published."""

    key: Key
    publication: Publication | None


@dataclass(frozen=True, slots=True)
class Proof:
    """What an epoch says of a key, and what proves it."""

    candidate: Candidate
    signatures: tuple[Signature, ...]
    map_proof: Cell | None  # of membership or of absence; null where the map is empty
    leaf: log.Leaf | None  # the last record about the key in the log of that size
    inclusion: tuple[bytes, ...]  # of that record


def find(transaction: Transaction, key_id: bytes, at: datetime, *, is_published: bool) -> Found | None:
    """Return a key as it stands, with its publication; `is_published` says that there is a chain to publish to.

    Raises as `keys.find` and `publication` do.
    """
    key = keys.find(transaction, key_id, at)
    return None if key is None else Found(key, publication(transaction, key_id, is_published=is_published))


def publication(transaction: Transaction, key_id: bytes, *, is_published: bool) -> Publication | None:
    """Return how far the last decision about a key is.

    Raises `Unavailable` (`registry.integrity`) where its record or an epoch was altered.
    """
    if not is_published and epochs.confirmed(transaction) is None:
        return None
    leaf = log.last(transaction, key_id)
    if leaf is None:
        return None
    epoch = epochs.first_with(transaction, leaf.index)
    if isinstance(load_record(leaf.record), Approve | Renew | Resume):
        state = PublicationState.PENDING if epoch is None else PublicationState.PUBLISHED
    else:
        state = PublicationState.REMOVING if epoch is None else PublicationState.REMOVED
    return Publication(state, leaf.index, epoch)


def page(
    transaction: Transaction,
    filters: KeyFilters,
    at: datetime,
    *,
    past: bool,
    limit: int,
    cursor: str | None,
    is_published: bool,
) -> tuple[KeyPage, tuple[Publication | None, ...]]:
    """List keys as `keys.page` does, and the publication of each."""
    known = epochs.confirmed(transaction)
    if known is None and filters.published:
        return KeyPage((), None, 0), ()
    if known is None:
        covered, filters = 0, replace(filters, published=None)
    else:
        covered = known.checkpoint.tree_size
    found = keys.page(transaction, filters, at, past=past, limit=limit, cursor=cursor, covered=covered)
    if past:
        return found, (None,) * len(found.items)
    return found, tuple(publication(transaction, key.id, is_published=is_published) for key in found.items)


def prove(transaction: Transaction, key_id: bytes, *, is_published: bool) -> Proof:
    """Prove of a key what the last epoch on chain says of it; where nothing is published, the one that was built last.

    Raises `Unavailable`: `chain.unpublished` where there is none, `registry.integrity` for what was altered.
    """
    candidate = _provable(transaction, is_published=is_published)
    try:
        return _proof(transaction, key_id, candidate)
    except Unavailable:
        # Its map may have been pruned meanwhile, because another epoch has taken its place.
        if (other := _provable(transaction, is_published=is_published)) == candidate:
            raise
        return _proof(transaction, key_id, other)


def _provable(transaction: Transaction, *, is_published: bool) -> Candidate:
    found = epochs.confirmed(transaction)
    if found is None and not is_published:
        found = epochs.newest(transaction)
    if found is None:
        raise Unavailable(Reason.CHAIN_UNPUBLISHED, found="epoch 0", wanted="epoch 1 or later")
    return found


def _proof(transaction: Transaction, key_id: bytes, candidate: Candidate) -> Proof:
    checkpoint = candidate.checkpoint
    leaf = log.last(transaction, key_id, checkpoint.tree_size)
    path = [] if leaf is None else log.inclusion_proof(transaction, leaf.index, checkpoint.tree_size)
    return Proof(
        candidate=candidate,
        signatures=epochs.signatures(transaction, candidate),
        map_proof=keymap.prove(transaction, checkpoint.map_root or keymap.NO_KEYS, key_id),
        leaf=leaf,
        inclusion=tuple(path),
    )
