"""What a recording rests on: all that decides over it, asked in one statement.

It is asked before every recording; one statement is one walk through SQLite, and one round trip to a server.
"""

from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from sqlalchemy import bindparam, func, literal_column, select
from sqlalchemy.orm import aliased
from sqlmodel import col

from attestd.registry import challenges, keys, revocations
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.instants import to_micros
from attestd.registry.integrity import Field
from attestd.registry.tables import ChallengeRow, KeyRow, PlatformRow, ResultRow
from attestd.registry.values import KeyState, NewResult, RevocationKind

_FIRST: Final = (
    select(col(ResultRow.id))
    .where(col(ResultRow.provider) == bindparam("of_provider"), col(ResultRow.evidence_id) == bindparam("of_evidence"))
    .scalar_subquery()
)
_OWNER: Final = (
    select(col(PlatformRow.provider)).where(col(PlatformRow.id) == bindparam("of_platform")).scalar_subquery()
)
_ANY: Final = aliased(KeyRow)
_LIVING: Final = (
    select(func.count())
    .select_from(_ANY)
    .where(col(_ANY.platform) == bindparam("of_platform"), col(_ANY.valid_until) >= bindparam("at"))
    .where(col(_ANY.state) != KeyState.REVOKED.value)
    .scalar_subquery()
)
# Where the columns of the challenge begin, and those of the key.
_STATE: Final = 4
_KEY: Final = _STATE + len(challenges.STATE)


class Ground(NamedTuple):
    """What the registry knows where a result is to be recorded. A row is of nulls where there is none."""

    first: str | None  # the id of the result that the same evidence led to before
    revoked: str | None  # the kind of something that was revoked, of all that the new key rests on
    owner: str | None  # the provider whose platform it is
    living: int  # how many keys of the platform are in force, or will be; the one that is renewed among them
    challenge: Row  # `challenges.STATE`
    key: Row  # `KeyRow`


def survey(transaction: Transaction, new: NewResult, at: datetime) -> Ground:
    """Look up what decides over a result. One that registers no key rests on nothing that can be revoked."""
    fresh = new.key
    bases = revocations.bases(new, fresh) if fresh else ()
    values: dict[str, Field] = {
        "of_provider": new.provider,
        "of_evidence": new.evidence_id,
        "of_challenge": new.challenge,
        "of_key": new.key_id if fresh else None,
        "of_platform": fresh.platform if fresh else None,
        "at": to_micros(at),
    }
    values |= {f"value_{index}": value for index, (_, value) in enumerate(bases)}
    (row,) = transaction.all(_statement(tuple(kind for kind, _ in bases)), **values)
    first, revoked, owner, living = row[:_STATE]
    return Ground(first, revoked, owner, living, challenge=row[_STATE:_KEY], key=row[_KEY:])


@lru_cache(maxsize=128)  # one for each number of models, and one without a key
def _statement(kinds: tuple[RevocationKind, ...]) -> Statement:
    # Joined to one row that is always there, so that there is an answer whatever is missing.
    always = select(literal_column("1")).subquery()
    revoked = revocations.among(kinds).scalar_subquery()
    return Statement(
        select(_FIRST, revoked, _OWNER, _LIVING, *challenges.STATE, *keys.ROW)
        .select_from(always)
        .outerjoin(ChallengeRow, col(ChallengeRow.value) == bindparam("of_challenge"))
        .outerjoin(KeyRow, col(KeyRow.id) == bindparam("of_key"))
    )
