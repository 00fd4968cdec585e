"""Epochs: what the log and the map were at one moment, and which of those moments is on chain.

An epoch has a number, and the contract takes numbers in order. For one number there may be several candidates, one
after the other, of which at most one lands:

    built       nobody has seen it: another may take its place at any time
    signed      our signature exists, so that it may land: it is live until it is confirmed or cannot land any more
    confirmed   proved to be what the contract holds, or held before the numbers after it
    lapsed      can never land: it was replaced before it was signed, or its `valid_until` has passed on chain

Blocks vanish in forks: then what was confirmed in them is signed again, and lands once more as it is, or lapses.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import bindparam, delete, func, insert, null, or_, select, tuple_, update
from sqlmodel import col

from attestd.registry import catalogue, keys, log, sequencing
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.decided import keys_distrusted, keys_trusted, require_decided
from attestd.registry.instants import from_micros, to_micros
from attestd.registry.integrity import damaged, intact, seal
from attestd.registry.sequencing import Sequenced
from attestd.registry.tables import EpochRow, EpochSignatureRow, MessageRow, columns
from attestd.transparency.checkpoint import Checkpoint, load_map_root

_DOMAIN: Final = "attestd/epoch/v1"
_EMPTY_MAP: Final = bytes(32)
# So many records are looked at for one that takes trust from a key; more of them are reason enough.
_LOOKED_AT: Final = 1000
# What is done at once before an epoch is built: a fraction of a second, for which other writers wait.
_PREPARED_AT_ONCE: Final = 500


class EpochState(StrEnum):
    """Where a candidate is in its life."""

    BUILT = "built"
    SIGNED = "signed"
    CONFIRMED = "confirmed"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where on chain something was seen: the block, and the transaction that put it there."""

    block: int
    block_utime: int
    lt: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A checkpoint that is, was or may be the next one on chain."""

    candidate: int  # of this number, from 1
    checkpoint: Checkpoint
    note: bytes  # the log's signed note
    built_at: datetime
    state: EpochState
    coordinates: Coordinates | None  # exactly where it is confirmed

    @property
    def number(self) -> int:
        """The number of its epoch."""
        return self.checkpoint.epoch


@dataclass(frozen=True, slots=True)
class Signature:
    """A verifier's signature, and the Ed25519 public key of that verifier."""

    verifier: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Terms:
    """How often epochs are built, and for how long each of them is to be believed; seconds."""

    interval: int
    validity: int
    note: Callable[[int, bytes], bytes]  # signs a size and a root as the log's own
    is_published: bool = True  # without a chain, what was signed for one is given up when it has expired
    void: Callable[[], int | None] = lambda: None  # number of the epoch on chain, where readers refuse it


_ROW: Final = columns(EpochRow)
_SEALED: Final = tuple(EpochRow.model_fields)[:10]
_PLACE: Final = ("block", "block_utime", "lt", "hash")
_NOWHERE: Final = dict.fromkeys(_PLACE, null())
_NAMED: Final = (col(EpochRow.number) == bindparam("of_number"), col(EpochRow.candidate) == bindparam("of_candidate"))

_OF_STATE: Final = Statement(
    select(*_ROW).where(col(EpochRow.state) == bindparam("of_state")).order_by(col(EpochRow.number)).limit(1)
)
_CONFIRMED: Final = Statement(
    select(*_ROW)
    .where(col(EpochRow.state) == EpochState.CONFIRMED.value, col(EpochRow.number) <= bindparam("most"))
    .order_by(col(EpochRow.number).desc())
    .limit(1)
)
_OF_NUMBER: Final = Statement(
    select(*_ROW).where(col(EpochRow.number) == bindparam("of_number")).order_by(col(EpochRow.candidate))
)
_LAST: Final = Statement(
    select(*_ROW)
    .where(col(EpochRow.number) == bindparam("of_number"))
    .order_by(col(EpochRow.candidate).desc())
    .limit(1)
)
_CONFIRMED_SIZE: Final = Statement(
    select(col(EpochRow.tree_size)).where(
        col(EpochRow.number) == bindparam("of_number"), col(EpochRow.state) == EpochState.CONFIRMED.value
    )
)
_AFTER: Final = Statement(
    select(*_ROW)
    .where(
        (col(EpochRow.number) > bindparam("after_number"))
        | ((col(EpochRow.number) == bindparam("after_number")) & (col(EpochRow.candidate) > bindparam("after")))
    )
    .order_by(col(EpochRow.number), col(EpochRow.candidate))
    .limit(_LOOKED_AT)
)
_CANDIDATES: Final = Statement(
    select(func.coalesce(func.max(col(EpochRow.candidate)), 0)).where(col(EpochRow.number) == bindparam("of_number"))
)
_SIGNED: Final = tuple_(col(EpochRow.number), col(EpochRow.candidate)).in_(
    select(col(EpochSignatureRow.number), col(EpochSignatureRow.candidate)).where(
        col(EpochSignatureRow.number) >= bindparam("from_number")
    )
)
_LAST_ISSUED: Final = Statement(
    select(func.coalesce(func.max(col(EpochRow.issued_at)), 0))
    .where(col(EpochRow.number) >= bindparam("from_number"))
    .where(or_(col(EpochRow.state) == EpochState.CONFIRMED.value, _SIGNED))
)
_HIGHEST: Final = Statement(select(func.coalesce(func.max(col(EpochRow.number)), 0)))
_INSERT: Final = Statement(insert(EpochRow))
_LAPSE: Final = Statement(
    update(EpochRow)
    .where(or_(col(EpochRow.state) == EpochState.BUILT.value, col(EpochRow.state) == EpochState.SIGNED.value))
    .where(col(EpochRow.number) >= bindparam("from_number"))
    .values(state=EpochState.LAPSED.value)
)
_LAPSE_OTHERS: Final = Statement(
    update(EpochRow)
    .where(col(EpochRow.number) == bindparam("of_number"), col(EpochRow.candidate) != bindparam("of_candidate"))
    .values(state=EpochState.LAPSED.value, **_NOWHERE)
)
_SHOW: Final = Statement(
    update(EpochRow).where(*_NAMED, col(EpochRow.state) == EpochState.BUILT.value).values(state=EpochState.SIGNED.value)
)
_CONFIRM: Final = Statement(
    update(EpochRow)
    .where(*_NAMED)
    .values({"state": EpochState.CONFIRMED.value} | {name: bindparam(name) for name in _PLACE})
)
_UNCONFIRM: Final = Statement(
    update(EpochRow)
    .where(col(EpochRow.state) == EpochState.CONFIRMED.value, col(EpochRow.number) > bindparam("above"))
    .values(state=EpochState.SIGNED.value, **_NOWHERE)
)
_SIGNATURES: Final = Statement(
    select(*columns(EpochSignatureRow, without=("number", "candidate")))
    .where(
        col(EpochSignatureRow.number) == bindparam("of_number"),
        col(EpochSignatureRow.candidate) == bindparam("of_candidate"),
    )
    .order_by(col(EpochSignatureRow.verifier))
)
_SIGN: Final = Statement(insert(EpochSignatureRow))
_ABOVE: Final = select(col(EpochRow.number), col(EpochRow.candidate)).where(
    col(EpochRow.tree_size) > bindparam("above")
)
_FORGET: Final = tuple(
    Statement(delete(table).where(tuple_(col(table.number), col(table.candidate)).in_(_ABOVE)))
    for table in (MessageRow, EpochSignatureRow, EpochRow)
)


@intact("an epoch")
def _candidate(row: Row) -> Candidate:
    named = dict(zip(EpochRow.model_fields, row, strict=True))
    if seal(_DOMAIN, row[: len(_SEALED)]) != named["seal"]:
        raise damaged("an epoch")
    state = EpochState(named["state"])
    checkpoint = Checkpoint(
        epoch=named["number"],
        tree_size=named["tree_size"],
        log_root=named["log_root"],
        map_root=load_map_root(named["map_root"]),
        policy_digest=named["policy_digest"],
        issued_at=named["issued_at"],
        valid_until=named["valid_until"],
    )
    return Candidate(
        candidate=named["candidate"],
        checkpoint=checkpoint,
        note=named["note"],
        built_at=from_micros(named["built_at"]),
        state=state,
        coordinates=Coordinates(*row[-4:]) if state is EpochState.CONFIRMED else None,
    )


def _first(row: Row | None) -> Candidate | None:
    return _candidate(row) if row else None


def live(transaction: Transaction) -> Candidate | None:
    """Return the candidate that lands next, if any is signed: the one of the lowest number.

    Raises `Unavailable` (`registry.integrity`) where its row was altered, as all of these do.
    """
    return _first(transaction.one(_OF_STATE, of_state=EpochState.SIGNED.value))


def unsigned(transaction: Transaction) -> Candidate | None:
    """Return the candidate that nobody has seen, if there is one."""
    return _first(transaction.one(_OF_STATE, of_state=EpochState.BUILT.value))


def confirmed(transaction: Transaction, most: int = 2**32) -> Candidate | None:
    """Return what is on chain as far as is known, or was when `most` was the highest number there."""
    return _first(transaction.one(_CONFIRMED, most=most))


def newest(transaction: Transaction) -> Candidate | None:
    """Return the candidate that was built last: what the log and the map are by now, on chain or not.

    While the next one is prepared, that is the one before it.
    """
    number = sequencing.state(transaction).epoch
    return last_of_number(transaction, number) or last_of_number(transaction, number - 1)


def last_of_number(transaction: Transaction, number: int) -> Candidate | None:
    """Return the candidate of a number that is on chain, or else the one that was built last."""
    known = confirmed(transaction, number)
    if known is not None and known.number == number:
        return known
    return _first(transaction.one(_LAST, of_number=number))


def first_with(transaction: Transaction, index: int) -> Candidate | None:
    """Return the first epoch on chain in which the log had a record of this index, if there is one by now.

    Sizes never shrink, and there is one confirmed candidate of each number up to the last.
    """
    top = confirmed(transaction)
    if top is None or top.checkpoint.tree_size <= index:
        return None

    def size(number: int) -> int:
        row = transaction.one(_CONFIRMED_SIZE, of_number=number)
        return int(row[0]) if row else 0

    before = bisect_right(range(1, top.number + 1), index, key=size)
    return confirmed(transaction, before + 1)


def of_number(transaction: Transaction, number: int) -> tuple[Candidate, ...]:
    """Return every candidate that there was of one number, in the order in which they were built."""
    return tuple(map(_candidate, transaction.all(_OF_NUMBER, of_number=number)))


def all_(transaction: Transaction) -> Iterator[Candidate]:
    """Go through every candidate of every number, in order."""
    number = candidate = 0
    while rows := transaction.all(_AFTER, after_number=number, after=candidate):
        yield from map(_candidate, rows)
        number, candidate = rows[-1][:2]


def signatures(transaction: Transaction, candidate: Candidate) -> tuple[Signature, ...]:
    """Return the signatures over a candidate that were collected."""
    rows = transaction.all(_SIGNATURES, of_number=candidate.number, of_candidate=candidate.candidate)
    return tuple(Signature(*row) for row in rows)


def require_sound(transaction: Transaction) -> None:
    """Look at the end of the log as `sequencing.require_sound` does, and whether it goes on from what is on chain.

    Raises `Unavailable` (`registry.integrity`).
    """
    sequencing.require_sound(transaction)
    known = confirmed(transaction)
    if known is not None and log.root(transaction, known.checkpoint.tree_size) != known.checkpoint.log_root:
        raise damaged(f"the log of epoch {known.number}")


def prepare(transaction: Transaction, at: datetime, terms: Terms, end: int = 0) -> int | None:
    """Do a part of what `build` would do at once, which could take long: the writes of others come between the parts.

    Returns null when the rest is for `build`, and before that what to call it with as `end` the next time: where the
    log ended when this began, because it may grow as fast as it is sequenced. Raises as `build` does.
    """
    if _stands(transaction, at, terms):
        return None
    if keys.expire(transaction, at, most=_PREPARED_AT_ONCE) == _PREPARED_AT_ONCE:
        return end
    end, before = end or log.size(transaction), sequencing.state(transaction).size
    if end - before <= _PREPARED_AT_ONCE:
        return None
    number = _due(transaction, at, terms)
    if number is None:
        return None
    _advance(transaction, number, at, most=_PREPARED_AT_ONCE)
    return end


def build(transaction: Transaction, at: datetime, terms: Terms) -> Candidate | None:
    """Build the next candidate where one is due; null where one is live or nothing asks for another.

    (1) Nothing takes the place of a candidate that may still land.
    (2) What has expired leaves the map.
    (3) An epoch is due at once where trust was taken from a key, another policy came into force or other verifiers did,
        after the interval where anything else was decided, and otherwise in time before the last one expires.
    (4) Every new record rests on what the registry holds: `require_decided`.
    (5) The log is sequenced and the map brought up to date; the candidate states both.

    Raises `Unavailable` (`registry.integrity`) where a record, or what it rests on, is not what was decided. Then
    nothing is built until that is repaired.
    """
    if _stands(transaction, at, terms):  # (1)
        return None
    while keys.expire(transaction, at, most=_PREPARED_AT_ONCE) == _PREPARED_AT_ONCE:  # (2)
        pass
    number = _due(transaction, at, terms)
    if number is None:  # (3)
        return None
    sequenced = _advance(transaction, number, at)  # (4), (5)
    # Not before what is on chain, or may be for a while. What nobody has signed may be of a clock that was wrong.
    ((issued,),) = transaction.all(_LAST_ISSUED, from_number=number - 1)
    issued_at = max(int(at.timestamp()), issued)
    checkpoint = Checkpoint(
        epoch=number,
        tree_size=sequenced.size,
        log_root=sequenced.log_root,
        map_root=load_map_root(sequenced.map_root),
        policy_digest=catalogue.policies_digest(transaction),
        issued_at=issued_at,
        valid_until=issued_at + terms.validity,
    )
    transaction.run(_LAPSE, from_number=number)
    return _insert(transaction, checkpoint, terms.note(sequenced.size, sequenced.log_root), at)


def _stands(transaction: Transaction, at: datetime, terms: Terms) -> bool:
    """Tell whether there is a candidate that may still land."""
    standing = live(transaction)
    return standing is not None and (terms.is_published or at.timestamp() <= standing.checkpoint.valid_until)


def _due(transaction: Transaction, at: datetime, terms: Terms) -> int | None:
    """Return the number of the epoch that is due, if one is."""
    below = confirmed(transaction)
    last = unsigned(transaction) or below
    if last is not None and not _is_over(transaction, last, at, terms):
        return None
    return 1 if below is None else below.number + 1


def _advance(transaction: Transaction, number: int, at: datetime, *, most: int = sequencing.MOST) -> Sequenced:
    """Sequence for an epoch what rests on what was decided; where something does not, that is undone with it."""
    before = sequencing.state(transaction).size
    sequenced = sequencing.advance(transaction, number, most=most)
    require_decided(transaction, before, sequenced.size, at)
    return sequenced


def _is_over(transaction: Transaction, last: Candidate, at: datetime, terms: Terms) -> bool:
    """Tell whether another has to come after the last one."""
    if last.number == terms.void() or catalogue.policies_digest(transaction) != last.checkpoint.policy_digest:
        return True
    waiting = log.size(transaction) - last.checkpoint.tree_size
    age = abs((at - last.built_at).total_seconds())  # a clock that was set back must not stop everything
    if waiting and (age >= terms.interval or waiting > _LOOKED_AT):
        return True
    if age >= terms.validity / 2:
        return True
    return bool(keys_distrusted(transaction, last.checkpoint.tree_size, last.checkpoint.tree_size + waiting))


def _insert(transaction: Transaction, checkpoint: Checkpoint, note: bytes, at: datetime) -> Candidate:
    ((others,),) = transaction.all(_CANDIDATES, of_number=checkpoint.epoch)
    sealed = {
        "number": checkpoint.epoch,
        "candidate": others + 1,
        "tree_size": checkpoint.tree_size,
        "log_root": checkpoint.log_root,
        "map_root": checkpoint.map_root or _EMPTY_MAP,
        "policy_digest": checkpoint.policy_digest,
        "issued_at": checkpoint.issued_at,
        "valid_until": checkpoint.valid_until,
        "note": note,
        "built_at": to_micros(at),
    }
    own = seal(_DOMAIN, sealed.values())
    transaction.run(_INSERT, **sealed, seal=own, state=EpochState.BUILT.value, **dict.fromkeys(_PLACE))
    return Candidate(
        candidate=others + 1,
        checkpoint=checkpoint,
        note=note,
        built_at=at,
        state=EpochState.BUILT,
        coordinates=None,
    )


def sign(transaction: Transaction, candidate: Candidate, new: Sequence[Signature]) -> bool:
    """Keep signatures over a candidate; the first of them make it live.

    False, and nothing kept, where another has taken its place, it has lapsed, or, before the first signature, it is
    outdated: then another takes its place at once, and not when it has expired.
    """
    if live(transaction) is None and not is_outdated(transaction, candidate):
        transaction.run(_SHOW, **_name(candidate))
    standing = live(transaction)
    if standing is None or _name(standing) != _name(candidate):
        return False
    _keep(transaction, candidate, new)
    return True


def _keep(transaction: Transaction, candidate: Candidate, new: Sequence[Signature]) -> None:
    known = {signature.verifier for signature in signatures(transaction, candidate)}
    for one in new:
        if one.verifier not in known:
            transaction.run(_SIGN, number=candidate.number, candidate=candidate.candidate, **asdict(one))


def adopt(
    transaction: Transaction, checkpoint: Checkpoint, note: bytes, new: Sequence[Signature], at: datetime
) -> Candidate:
    """Keep a candidate that was built elsewhere, or here and forgotten, with signatures over it that make it live."""
    found = (one for one in of_number(transaction, checkpoint.epoch) if one.checkpoint == checkpoint)
    candidate = next(found, None) or _insert(transaction, checkpoint, note, at)
    transaction.run(_SHOW, **_name(candidate))
    _keep(transaction, candidate, new)
    return candidate


def confirm(transaction: Transaction, candidate: Candidate, coordinates: Coordinates) -> None:
    """Take down where a candidate is on chain; no other of its number is there."""
    below = confirmed(transaction, candidate.number - 1)
    place = dict(zip(_PLACE, astuple(coordinates), strict=True))
    transaction.run(_LAPSE_OTHERS, **_name(candidate))
    transaction.run(_CONFIRM, **_name(candidate), **place)
    # An answer about a key tells the first epoch that covers its last record: it is the same after one without records.
    if below is None or below.checkpoint.tree_size < candidate.checkpoint.tree_size:
        transaction.announce()


def unconfirm(transaction: Transaction, above: int) -> int:
    """Make what was on chain live again, because the chain has no number above this one any more; return how many."""
    count = transaction.run(_UNCONFIRM, above=above)
    if count:
        transaction.announce()
    return count


def lapse(transaction: Transaction, number: int) -> int:
    """Give up a number's candidates, which can land no more, and those of higher numbers; return how many were live.

    The higher ones had landed, in blocks that are gone, after one that will never be there again. They cannot land
    after its successor either, because they were issued before it.
    """
    return transaction.run(_LAPSE, from_number=number)


def forget(transaction: Transaction, size: int) -> None:
    """Forget every candidate with more records than so many, and what was to bring it to the chain.

    They state a log that there is not, because others have the indexes of its records.
    """
    for statement in _FORGET:
        transaction.run(statement, above=size)


def highest(transaction: Transaction) -> int:
    """Return the highest number that there ever was a candidate of; 0 where there was none."""
    ((number,),) = transaction.all(_HIGHEST)
    return int(number)


def is_outdated(transaction: Transaction, candidate: Candidate) -> bool:
    """Tell whether publishing a candidate would have a key trusted that is not to be trusted any more.

    That is a key that comes with it and fell since; or any that comes with it, if other policies are in force now. What
    is on chain already is not made worse by it, and the epoch after it follows at once.
    """
    own, size = candidate.checkpoint, log.size(transaction)
    is_judged_anew = catalogue.policies_digest(transaction) != own.policy_digest
    fallen = keys_distrusted(transaction, own.tree_size, size)
    if not fallen and not is_judged_anew:
        return False
    below = confirmed(transaction, own.epoch - 1)
    added = keys_trusted(transaction, 0 if below is None else below.checkpoint.tree_size, own.tree_size)
    return bool(added) if is_judged_anew else not added.isdisjoint(fallen)


def _name(candidate: Candidate) -> dict[str, int]:
    return {"of_number": candidate.number, "of_candidate": candidate.candidate}
