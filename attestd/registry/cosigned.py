"""What a verifier keeps of another registry: its log and map as a whole, and the candidates that it has signed.

The records are written by the functions that write a registry's own, in the same tables, so that the replica is
guarded, read and served as those are. All that comes of one candidate is written in one transaction, and the signature
with it: nobody has seen it before that is durable.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attestd.errors import NotAuthentic, Reason, RequestRefused, Unavailable
from attestd.registry import epochs, keymap, log, sequencing
from attestd.registry.database import Transaction
from attestd.registry.epochs import Signature
from attestd.registry.integrity import damaged
from attestd.transparency.checkpoint import Checkpoint
from attestd.transparency.record import Approve, Image, Model, Record, Renew, Resume

# The contract's clock may be behind ours by so many seconds, and may be taken to be by as many.
_SKEW: Final = 60


def signed(transaction: Transaction, checkpoint: Checkpoint, verifier: bytes, at: datetime) -> Signature | None:
    """Return the signature over this very candidate, if there is one.

    Raises `RequestRefused` (`cosign.conflict`) where another one of its number was signed and may still land.
    """
    for known in epochs.of_number(transaction, checkpoint.epoch):
        if known.checkpoint == checkpoint:
            own = (one for one in epochs.signatures(transaction, known) if one.verifier == verifier)
            return next(own, None)
        if known.checkpoint.valid_until + _SKEW >= at.timestamp():
            raise RequestRefused(
                Reason.COSIGN_CONFLICT,
                found=f"epoch {checkpoint.epoch}, of which candidate {known.checkpoint.to_cell().hash.hex()} is signed",
                wanted=f"that one, or another when {known.checkpoint.valid_until + _SKEW} has passed",
            )
    return None


def adopt(
    transaction: Transaction,
    held: int,
    records: Sequence[Record],
    checkpoint: Checkpoint,
    note: bytes,
    signature: Signature,
    at: datetime,
) -> Signature:
    """Write down the records behind the first `held` that lead to a candidate, the candidate, and its signature.

    All of it or nothing; returns the signature that counts. Raises as `signed` does; `NotAuthentic` (`cosign.history`,
    `cosign.map`) where the records do not lead there; `Unavailable` where somebody else has written meanwhile.
    """
    known = signed(transaction, checkpoint, signature.verifier, at)
    if known is not None:
        return known
    before = sequencing.state(transaction)
    if not before.size == log.size(transaction) == held:
        raise Unavailable(Reason.VERSION_CONFLICT, found="a log that has grown meanwhile", wanted="the same again")
    for record in records:
        log.append(transaction, record)
    now = sequencing.advance(transaction, checkpoint.epoch)
    while now.size < checkpoint.tree_size:
        now = sequencing.advance(transaction, checkpoint.epoch)
    if now.log_root != checkpoint.log_root:
        raise NotAuthentic(Reason.COSIGN_HISTORY, found=now.log_root.hex(), wanted=checkpoint.log_root.hex())
    if now.map_root != (checkpoint.map_root or keymap.NO_KEYS):
        raise NotAuthentic(Reason.COSIGN_MAP, found=now.map_root.hex(), wanted=(checkpoint.map_root or b"").hex())
    while keymap.prune(transaction, checkpoint.epoch) == keymap.PRUNED_AT_ONCE:
        pass
    epochs.adopt(transaction, checkpoint, note, [signature], at)
    return signature


def is_approved(transaction: Transaction, digest: bytes, kind: type[Model | Image], new: Sequence[Record]) -> bool:
    """Tell whether a model or an image is approved by the log's last word on it: of `new` records, or of those held."""
    for record in reversed(new):
        if isinstance(record, Model | Image) and record.digest == digest and isinstance(record, kind):
            return record.state == "approved"
    leaf = log.last(transaction, digest)
    if leaf is None:
        return False
    said = leaf.said()
    return isinstance(said, kind) and said.digest == digest and said.state == "approved"


def said_before(transaction: Transaction, key: bytes) -> list[Record]:
    """Return what the log held here says of a key, oldest first; where the key is in the map, the last of it alone.

    It came there past a look at all of it.
    """
    last = log.last(transaction, key)
    if last is None:
        return []
    if isinstance(said := last.said(), Approve | Renew | Resume):
        return [said]
    return [leaf.said() for index in log.find(transaction, key) for leaf in log.leaves(transaction, index, 1)]


def state(transaction: Transaction) -> sequencing.Sequenced:
    """Return how far the replica is. Raises `Unavailable` (`registry.integrity`) where something else wrote to it."""
    now = sequencing.state(transaction)
    if now.size != log.size(transaction):
        raise damaged("a replica with records of its own, which a verifier has none of,")
    return now
