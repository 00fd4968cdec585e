"""Challenges: issued to one provider, answered once, within their time. `results.record` consumes them."""

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlmodel import col

from attestd.errors import Reason, RequestRefused
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.instants import from_micros, from_optional_micros, to_micros
from attestd.registry.integrity import intact
from attestd.registry.tables import ChallengeRow, columns
from attestd.registry.values import Challenge

# That one provider may have open at a time: as many machines attest at once, and a table cannot be filled.
MOST: Final = 1000

# What `answerable` takes.
STATE: Final = columns(ChallengeRow, without=("value",))

_OPEN: Final = Statement(
    select(func.count())
    .select_from(ChallengeRow)
    .where(col(ChallengeRow.provider) == bindparam("of_provider"), col(ChallengeRow.expires_at) >= bindparam("at"))
    .where(col(ChallengeRow.consumed_at).is_(None))
)
_ISSUE: Final = Statement(insert(ChallengeRow))
_FIND: Final = Statement(select(*STATE).where(col(ChallengeRow.value) == bindparam("value")))
_CONSUME: Final = Statement(
    update(ChallengeRow).where(col(ChallengeRow.value) == bindparam("of_value")).values(consumed_at=bindparam("at"))
)
_CUT_OFF: Final = Statement(
    update(ChallengeRow).where(col(ChallengeRow.consumed_at).is_(None)).values(consumed_at=bindparam("at"))
)
_PRUNE: Final = Statement(
    delete(ChallengeRow).where(
        col(ChallengeRow.value).in_(
            select(col(ChallengeRow.value))
            .where(col(ChallengeRow.expires_at) < bindparam("before"))
            .order_by(col(ChallengeRow.expires_at))
            .limit(bindparam("most"))
        )
    )
)


def issue(transaction: Transaction, value: bytes, provider: str, *, expires_at: datetime, at: datetime) -> Challenge:
    """Write down a challenge of random bytes that was made for a provider.

    Raises `RequestRefused` (`challenge.limit`) where `MOST` others of that provider can still be answered.
    """
    ((waiting,),) = transaction.all(_OPEN, of_provider=provider, at=to_micros(at))
    if waiting >= MOST:
        found, wanted = f"{waiting} challenges without an answer", f"at most {MOST} at a time"
        raise RequestRefused(Reason.CHALLENGE_LIMIT, found=found, wanted=wanted)
    transaction.run(
        _ISSUE,
        value=value,
        provider=provider,
        issued_at=to_micros(at),
        expires_at=to_micros(expires_at),
        consumed_at=None,
    )
    return Challenge(value=value, provider=provider, issued_at=at, expires_at=expires_at, consumed_at=None)


def require(transaction: Transaction, value: bytes, provider: str, at: datetime) -> Challenge:
    """Return a challenge that this provider may still answer; it stays unanswered.

    Raises `RequestRefused` (`challenge.unknown`, `challenge.used`, `challenge.expired`).
    """
    return answerable(value, transaction.one(_FIND, value=value), provider, at)


def answerable(value: bytes, state: Row | None, provider: str, at: datetime) -> Challenge:
    """Return a challenge of which `STATE` was read, nulls or none where it is unknown. Raises as `require` does."""
    known = _challenge((value, *state)) if state and state[0] is not None else None
    if known is None or known.provider != provider or known.consumed_at is not None or known.expires_at < at:
        raise _refusal(known, provider)
    return known


def consume(transaction: Transaction, value: bytes, at: datetime) -> None:
    """Answer a challenge that is `answerable`."""
    transaction.run(_CONSUME, of_value=value, at=to_micros(at))


def cut_off(transaction: Transaction, at: datetime) -> None:
    """Take every challenge that was issued for answered, because nobody knows any more which of them were."""
    transaction.run(_CUT_OFF, at=to_micros(at))


def prune(transaction: Transaction, before: datetime, most: int = 500) -> int:
    """Forget at most `most` challenges that expired before that time, and return how many those were."""
    return transaction.run(_PRUNE, before=to_micros(before), most=most)


@intact("a challenge")
def _challenge(row: Row) -> Challenge:
    value, provider, issued_at, expires_at, consumed_at = row
    return Challenge(
        value=value,
        provider=provider,
        issued_at=from_micros(issued_at),
        expires_at=from_micros(expires_at),
        consumed_at=from_optional_micros(consumed_at),
    )


def _refusal(known: Challenge | None, provider: str) -> RequestRefused:
    """Say what is wrong with a challenge that cannot be answered."""
    if known is None or known.provider != provider:
        # Whether another provider holds it is nobody's business.
        reason, found = Reason.CHALLENGE_UNKNOWN, "one that was not issued to this caller"
    elif known.consumed_at is not None:
        reason, found = Reason.CHALLENGE_USED, "one that was answered"
    else:
        reason, found = Reason.CHALLENGE_EXPIRED, "one whose time has passed"
    return RequestRefused(reason, found=found, wanted="a challenge that this caller was issued and has not answered")
