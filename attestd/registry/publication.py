"""Publication: who of all processes sends, and what was sent.

One leads at a time, by a lease. Its token grows whenever the lease changes hands, and every write of a leader is made
under its token (`led`): one that was paused, and does not know that it was replaced, writes nothing (attacks.md, F10).

A message to the wallet is written down before it is sent, so that whoever leads next knows what may still land:

    waiting     it may land, and is sent again until its own time has passed
    landed      the wallet took it in, and what came of it at the contract is not known yet
    delivered   the contract took the checkpoint
    refused     the wallet or the contract failed on it
    taken       another message landed with the same seqno, so that it never will
    lapsed      its time has passed on chain
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import bindparam, func, insert, or_, select, update
from sqlmodel import col

from attestd.errors import Reason, Unavailable
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.instants import from_micros, to_micros
from attestd.registry.integrity import intact
from attestd.registry.tables import LeaseRow, MessageRow, columns

P = ParamSpec("P")
T = TypeVar("T")

_NAME: Final = "publisher"


class MessageState(StrEnum):
    """What became of a message."""

    WAITING = "waiting"
    LANDED = "landed"
    DELIVERED = "delivered"
    REFUSED = "refused"
    TAKEN = "taken"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to publish until `expires_at`, and the token that every write is made under."""

    holder: str
    token: int
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An external message to the wallet that carries one candidate."""

    hash: bytes
    number: int
    candidate: int
    wallet_seqno: int
    since: int  # logical time of the wallet's last transaction before it
    valid_until: int  # POSIX seconds
    boc: bytes
    created_at: datetime
    state: MessageState = MessageState.WAITING
    cost: int  # nanoton: the most that it may cost until it is settled, then what it did cost
    outcome: str = ""


_LEASE: Final = Statement(
    select(*columns(LeaseRow, without=("name",))).where(col(LeaseRow.name) == bindparam("of_name"))
)
_FIRST: Final = Statement(insert(LeaseRow))
_TAKE: Final = Statement(
    update(LeaseRow)
    .where(col(LeaseRow.name) == bindparam("of_name"))
    .values({name: bindparam(name) for name in ("holder", "token", "expires_at")})
)

_ROW: Final = columns(MessageRow)
_OPEN: Final = Statement(
    select(*_ROW)
    .where(or_(*(col(MessageRow.state) == state.value for state in (MessageState.WAITING, MessageState.LANDED))))
    .order_by(col(MessageRow.created_at), col(MessageRow.hash))
)
_OF_CANDIDATE: Final = Statement(
    select(*_ROW)
    .where(col(MessageRow.number) == bindparam("of_number"), col(MessageRow.candidate) == bindparam("of_candidate"))
    .order_by(col(MessageRow.created_at), col(MessageRow.hash))
)
_STORE: Final = Statement(insert(MessageRow))
_SETTLE: Final = Statement(
    update(MessageRow)
    .where(col(MessageRow.hash) == bindparam("of_hash"))
    .values({name: bindparam(name) for name in ("state", "cost", "outcome")})
)
_REOPEN: Final = Statement(
    update(MessageRow)
    .where(col(MessageRow.number) > bindparam("above"))
    .where(col(MessageRow.state) != MessageState.WAITING.value)
    .values(state=MessageState.WAITING.value)
)
_SPENT: Final = Statement(
    select(func.coalesce(func.sum(col(MessageRow.cost)), 0)).where(col(MessageRow.created_at) > bindparam("after"))
)
_LAST_COST: Final = Statement(
    select(col(MessageRow.cost))
    .where(or_(*(col(MessageRow.state) == state.value for state in (MessageState.DELIVERED, MessageState.REFUSED))))
    .order_by(col(MessageRow.created_at).desc(), col(MessageRow.hash))
    .limit(1)
)


def held(transaction: Transaction) -> Lease | None:
    """Return the lease that was taken last, whether it is over or not."""
    row = transaction.one(_LEASE, of_name=_NAME)
    return _lease(row) if row else None


def is_free(transaction: Transaction, holder: str, at: datetime) -> bool:
    """Tell whether a process could take the lease now."""
    known = held(transaction)
    return known is None or known.holder == holder or known.expires_at <= at


def lead(transaction: Transaction, holder: str, at: datetime, *, seconds: int) -> Lease | None:
    """Take the lease, or keep it for longer; null while another holds it."""
    if not is_free(transaction, holder, at):
        return None
    known = held(transaction)
    token = 1 if known is None else known.token + (known.holder != holder)
    lease = Lease(holder, token, at + timedelta(seconds=seconds))
    statement = _FIRST if known is None else _TAKE
    name = {"name" if known is None else "of_name": _NAME}
    transaction.run(statement, **name, holder=holder, token=token, expires_at=to_micros(lease.expires_at))
    return lease


def led(
    transaction: Transaction,
    lease: Lease,
    function: Callable[Concatenate[Transaction, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Do what only the leader may. Raises `Unavailable` (`chain.lease_lost`) where that is another by now."""
    known = held(transaction)
    if known is None or (known.holder, known.token) != (lease.holder, lease.token):
        raise Unavailable(Reason.LEASE_LOST, found="the lease of another process", wanted="the lease that was taken")
    return function(transaction, *args, **kwargs)


def resign(transaction: Transaction, lease: Lease, at: datetime) -> None:
    """Give the lease back, so that another need not wait for its end."""
    known = held(transaction)
    if known is not None and (known.holder, known.token) == (lease.holder, lease.token):
        # The token stays where it is: the next holder's is another.
        transaction.run(_TAKE, of_name=_NAME, holder="", token=lease.token, expires_at=to_micros(at))


def store(transaction: Transaction, message: Message) -> None:
    """Write a message down, before it is sent for the first time."""
    transaction.run(
        _STORE,
        hash=message.hash,
        number=message.number,
        candidate=message.candidate,
        wallet_seqno=message.wallet_seqno,
        since=message.since,
        valid_until=message.valid_until,
        boc=message.boc,
        created_at=to_micros(message.created_at),
        state=message.state.value,
        cost=message.cost,
        outcome=message.outcome,
    )


def settle(transaction: Transaction, message: Message, state: MessageState, *, cost: int, outcome: str) -> None:
    """Take down what became of a message and what it cost."""
    transaction.run(_SETTLE, of_hash=message.hash, state=state.value, cost=cost, outcome=outcome)


def reopen(transaction: Transaction, above: int) -> int:
    """Let messages for numbers above wait again: blocks are gone, and what comes of them is found out anew."""
    return transaction.run(_REOPEN, above=above)


def open_messages(transaction: Transaction) -> tuple[Message, ...]:
    """Return the messages of which it is not known what becomes of them, oldest first."""
    return tuple(map(_message, transaction.all(_OPEN)))


def messages_of(transaction: Transaction, number: int, candidate: int) -> tuple[Message, ...]:
    """Return every message that carried a candidate, oldest first."""
    return tuple(map(_message, transaction.all(_OF_CANDIDATE, of_number=number, of_candidate=candidate)))


def spent(transaction: Transaction, after: datetime) -> int:
    """Return what the messages written since then cost, or may still cost, in nanoton."""
    ((cost,),) = transaction.all(_SPENT, after=to_micros(after))
    return int(cost)


def last_cost(transaction: Transaction) -> int:
    """Return what the last message that landed did cost, in nanoton; 0 before the first."""
    row = transaction.one(_LAST_COST)
    return int(row[0]) if row else 0


@intact("a lease")
def _lease(row: Row) -> Lease:
    holder, token, expires_at = row
    return Lease(holder, token, from_micros(expires_at))


@intact("a message")
def _message(row: Row) -> Message:
    named = dict(zip(MessageRow.model_fields, row, strict=True))
    named |= {"created_at": from_micros(named["created_at"]), "state": MessageState(named["state"])}
    return Message(**named)
