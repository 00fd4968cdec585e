"""Recovery: a database that was restored from a backup goes on from the log that was published before it was lost.

The records that it lacks come from a copy of the log. Nothing of that is believed but what leads to the roots of the
epochs on chain, and to the root that the log's own key has signed. In one transaction:

    (1) fork        the record is found from which on the copy says something else than what was decided here since
    (2) back        tiles and map are what they were at that record, and what comes after it is set aside
    (3) forward     the lost records are appended, and lead to both roots of each epoch; the epochs are confirmed
    (4) again       what was set aside follows them
    (5) fallen      what they withdrew is withdrawn; keys that they speak of and that are not known here are revoked
    (6) said        for every key of theirs the log says what the registry does, and that is the lesser trust of both
    (7) challenges  none that was issued before can be answered: it may have been, in what is lost (attacks.md, F33)

What no record tells is lost for good: results and evidence, API keys, and revocations of machines and providers, of
which the log has the keys that fell with them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from attestd.codec import Json
from attestd.errors import NotAuthentic, Reason
from attestd.registry import audit, catalogue, challenges, decisions, epochs, keymap, keys, log, revocations, sequencing
from attestd.registry.database import Transaction
from attestd.registry.epochs import Coordinates, Signature
from attestd.registry.values import KeyState, RevocationKind
from attestd.transparency.checkpoint import Checkpoint
from attestd.transparency.record import (
    Approve,
    Expire,
    Image,
    Model,
    Policy,
    Record,
    Renew,
    Resume,
    Revoke,
    Suspend,
)

_ACTOR: Final = "operator"
_REASON: Final = "decided in the part of the log that was lost with the database"
_AT_ONCE: Final = 1000
# In which states a key is in the map.
_LISTED: Final = (KeyState.ACTIVE, KeyState.PENDING)
_REMOVED: Final[dict[KeyState, type[Suspend | Revoke | Expire]]] = {
    KeyState.SUSPENDED: Suspend,
    KeyState.EXPIRED: Expire,
}
_PUT: Final = (Approve, Renew, Resume)
_OF_KEYS: Final = (*_PUT, Suspend, Revoke, Expire)


@dataclass(frozen=True, slots=True)
class Landed:
    """An epoch that is on chain, with the signatures that brought it there."""

    checkpoint: Checkpoint
    signatures: tuple[Signature, ...]
    coordinates: Coordinates


@dataclass(frozen=True, slots=True)
class Copy:
    """The end of the log as another has it, and the epochs on chain that are not confirmed here."""

    first: int  # the index of the first of these records
    records: Sequence[Record]
    hashes: Sequence[bytes]
    root: bytes  # of the log with all of them, signed by its own key
    landed: Sequence[Landed]

    @property
    def size(self) -> int:
        """How long the log is with all of them."""
        return self.first + len(self.records)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was done."""

    first: int  # the index from which on records were lost
    records: int  # that were lost
    again: int  # that were decided here since, and follow them now
    epochs: tuple[int, ...]  # that are confirmed by it
    revoked: tuple[bytes, ...]  # keys that are not known here
    changed: tuple[bytes, ...]  # keys that are, and are trusted less now
    approvals: tuple[Record, ...]  # that are lost: of models, images and policies


def recover(transaction: Transaction, copy: Copy, note: Callable[[int, bytes], bytes], at: datetime) -> Recovery:
    """Do all of it, or nothing where nothing is missing.

    Raises `NotAuthentic`: `log.consistency` where the copy is of another log, `log.map` where an epoch on chain has
    another map than its records make; `Unavailable` (`registry.integrity`) where what is held here was altered.
    """
    _require_root(copy.root, log.root_with(transaction, copy.first, copy.hashes), f"{copy.size} records")
    fork = copy.first + _common(transaction, copy)
    lost = copy.records[fork - copy.first :]
    if not lost and not copy.landed:
        return Recovery(fork, 0, 0, (), (), (), ())
    aside = log.leaves(transaction, fork, log.size(transaction) - fork) if lost else ()  # (1)
    sizes = (one.checkpoint.tree_size for one in copy.landed)
    sequencing.rewind(transaction, min(fork, sequencing.state(transaction).size, *sizes))  # (2)
    if aside:
        epochs.forget(transaction, fork)
        log.cut(transaction, fork)
    _follow(transaction, copy, lost, note, at)  # (3)
    for leaf in aside:  # (4)
        log.append(transaction, leaf.said(), version=leaf.version)
    revoked, changed = _settle(transaction, lost, at)
    recovery = Recovery(
        first=fork,
        records=len(lost),
        again=len(aside),
        epochs=tuple(one.checkpoint.epoch for one in copy.landed),
        revoked=revoked,
        changed=changed,
        approvals=_approvals(transaction, lost),
    )
    challenges.cut_off(transaction, at)  # (7)
    _note(transaction, recovery, at)
    return recovery


def _common(transaction: Transaction, copy: Copy) -> int:
    """Return how many records of the copy are held here, too."""
    count = 0
    while leaves := log.leaves(transaction, copy.first + count, _AT_ONCE):
        for leaf in leaves:
            if count == len(copy.hashes) or leaf.hash != copy.hashes[count]:
                return count
            count += 1
    return count


def _follow(
    transaction: Transaction, copy: Copy, lost: Sequence[Record], note: Callable[[int, bytes], bytes], at: datetime
) -> None:
    """Append the lost records, sequence everything that the copy has, and confirm the epochs on chain."""
    for record in lost:
        log.append(transaction, record)
    known = epochs.confirmed(transaction)
    number = 0 if known is None else known.number
    for one in copy.landed:
        checkpoint, number = one.checkpoint, one.checkpoint.epoch
        now = _advanced(transaction, number, checkpoint.tree_size)
        _require_root(checkpoint.log_root, now.log_root, f"{now.size} records, of epoch {number},")
        if now.map_root != (checkpoint.map_root or keymap.NO_KEYS):
            raise NotAuthentic(
                Reason.LOG_MAP, found=f"epoch {number} with another map", wanted=f"{now.map_root.hex()}, of its records"
            )
        own = note(checkpoint.tree_size, checkpoint.log_root)
        candidate = epochs.adopt(transaction, checkpoint, own, one.signatures, at)
        epochs.confirm(transaction, candidate, one.coordinates)
    _advanced(transaction, number + 1, copy.size)


def _require_root(wanted: bytes, found: bytes, what: str) -> None:
    if found != wanted:
        raise NotAuthentic(
            Reason.LOG_CONSISTENCY,
            found=f"{what} that lead to {found.hex()}",
            wanted=f"{wanted.hex()}, a copy of this very log",
        )


def _advanced(transaction: Transaction, number: int, size: int) -> sequencing.Sequenced:
    """Sequence so many records for an epoch; what they rest on is lost, and they are on chain or signed."""
    now = sequencing.state(transaction)
    while now.size < size:
        now = sequencing.advance(transaction, number, most=min(sequencing.MOST, size - now.size))
    return now


def _approvals(transaction: Transaction, lost: Sequence[Record]) -> tuple[Record, ...]:
    """Return what the lost records approved last and the registry knows nothing of."""
    last: dict[object, Record] = {}
    for record in lost:
        match record:
            case Model() | Image():
                last[record.digest] = record
            case Policy():
                last[record.name] = record
            case _:
                pass
    return tuple(record for record in last.values() if not _is_approved(transaction, record))


def _is_approved(transaction: Transaction, said: Record) -> bool:
    match said:
        case Model(state="approved"):
            return catalogue.find_model(transaction, said.digest) is not None
        case Image(state="approved"):
            return catalogue.find_image(transaction, said.digest) is not None
        case Policy():
            policy = catalogue.find_policy(transaction, said.name)
            return policy is not None and policy.version >= said.policy_version
        case _:
            return True


def _settle(transaction: Transaction, lost: Sequence[Record], at: datetime) -> tuple[tuple[bytes, ...], ...]:
    """Take the trust that the lost records took; return which keys were revoked unknown, and which stand otherwise."""
    said = {subject: record for record in lost if (subject := decisions.subject(record)) is not None}
    known = {subject: keys.load(transaction, subject, at) for subject, one in said.items() if isinstance(one, _OF_KEYS)}
    for subject, record in said.items():  # (5)
        match record:
            case Model(state="withdrawn"):
                _revoke(transaction, RevocationKind.MODEL, subject, at)
            case Image(state="withdrawn"):
                _revoke(transaction, RevocationKind.IMAGE, subject, at)
            case Revoke():
                _revoke(transaction, RevocationKind.KEY, subject, at)
            case Approve() | Renew() | Resume() | Suspend() if known[subject] is None:
                _revoke(transaction, RevocationKind.KEY, subject, at)
            case Approve() | Renew() | Resume() | Suspend() | Expire():
                _lessen(transaction, record, at)
            case _:
                pass
    while keys.expire(transaction, at, most=_AT_ONCE) == _AT_ONCE:
        pass
    for subject in known:  # (6)
        _restate(transaction, subject, at)
    unknown = (subject for subject, key in known.items() if key is None and not isinstance(said[subject], Expire))
    versions = ((key, keys.load(transaction, key.id, at)) for key in known.values() if key is not None)
    return tuple(unknown), tuple(before.id for before, now in versions if now != before)


def _revoke(transaction: Transaction, kind: RevocationKind, value: bytes, at: datetime) -> None:
    revocations.revoke(transaction, kind, value.hex(), reason=_REASON, by=_ACTOR, at=at)


def _lessen(transaction: Transaction, said: Approve | Renew | Resume | Suspend | Expire, at: datetime) -> None:
    """Let a key be trusted no more than the lost record says, unless it is only about evidence that is older by now."""
    key = keys.load(transaction, said.key, at)
    if key is None or key.decided is KeyState.REVOKED:
        return
    is_newer = key.changed_at > said.at
    if isinstance(said, Suspend) or (isinstance(said, Expire) and key.state in _LISTED and not is_newer):
        keys.suspend(transaction, key.id, reason=_REASON, by=_ACTOR, at=at)
    elif isinstance(said, _PUT) and said.entry.not_after < decisions.entry(key).not_after and not is_newer:
        until = datetime.fromtimestamp(said.entry.not_after, UTC)
        keys.shorten(transaction, key.id, result_id=key.result_id, valid_until=until, by=_ACTOR, at=at)


def _restate(transaction: Transaction, key_id: bytes, at: datetime) -> None:
    """Let the log say of a key what the registry says, where it says otherwise."""
    leaf, key = log.last(transaction, key_id), keys.load(transaction, key_id, at)
    said = None if leaf is None else leaf.said()
    if key is not None and key.state in _LISTED:
        entry = decisions.entry(key)
        if not isinstance(said, _PUT) or (said.result, said.entry) != (key.result_digest, entry):
            renewed = Renew(at=at, key=key_id, result=key.result_digest, entry=entry)
            log.append(transaction, renewed, version=key.version)
    elif isinstance(said, _PUT):
        make = Revoke if key is None else _REMOVED.get(key.state, Revoke)
        log.append(transaction, make(at=at, key=key_id))


def _note(transaction: Transaction, recovery: Recovery, at: datetime) -> None:
    detail: dict[str, Json] = {
        "records": recovery.records,
        "again": recovery.again,
        "epochs": [*recovery.epochs],
        "revoked": len(recovery.revoked),
        "changed": len(recovery.changed),
    }
    subject = str(recovery.first)
    audit.append(transaction, actor=_ACTOR, action="log.recover", subject=subject, detail=detail, at=at)
    transaction.announce()
