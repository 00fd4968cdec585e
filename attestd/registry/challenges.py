"""Challenges: issued to one provider, answered once, within their time. `results.record` consumes them."""

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, insert, select, update
from sqlmodel import col

from attestd.errors import Reason, RequestRefused
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.instants import from_micros, from_optional_micros, to_micros
from attestd.registry.integrity import intact
from attestd.registry.tables import ChallengeRow
from attestd.registry.values import Challenge

SIZE: Final = 32

_ISSUE: Final = Statement(insert(ChallengeRow))
_FIND: Final = Statement(
    select(
        col(ChallengeRow.provider),
        col(ChallengeRow.issued_at),
        col(ChallengeRow.expires_at),
        col(ChallengeRow.consumed_at),
    ).where(col(ChallengeRow.value) == bindparam("value"))
)
_CONSUME: Final = Statement(
    update(ChallengeRow)
    .where(col(ChallengeRow.value) == bindparam("of_value"), col(ChallengeRow.provider) == bindparam("of_provider"))
    .where(col(ChallengeRow.expires_at) >= bindparam("at"), col(ChallengeRow.consumed_at).is_(None))
    .values(consumed_at=bindparam("at"))
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
    """Write down a challenge of `SIZE` random bytes that was made for a provider."""
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
    known = _find(transaction, value)
    if known is None or known.provider != provider or known.consumed_at is not None or known.expires_at < at:
        raise _refusal(known, provider)
    return known


def consume(transaction: Transaction, value: bytes, provider: str, at: datetime) -> None:
    """Answer a challenge, once. Raises as `require` does."""
    if transaction.run(_CONSUME, of_value=value, of_provider=provider, at=to_micros(at)) != 1:
        raise _refusal(_find(transaction, value), provider)


def prune(transaction: Transaction, before: datetime, most: int = 500) -> int:
    """Forget at most `most` challenges that expired before that time, and return how many those were."""
    return transaction.run(_PRUNE, before=to_micros(before), most=most)


def _find(transaction: Transaction, value: bytes) -> Challenge | None:
    row = transaction.one(_FIND, value=value)
    return _challenge((value, *row)) if row else None


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
