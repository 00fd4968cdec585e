"""Revocations: for good, at once, and for whatever is submitted later.

A value is 64 lower-case hex digits for a key, platform, image or model, the id of a provider, or the name of a product
line as `NewKey.product_line` has it.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

from sqlalchemy import and_, bindparam, insert, literal, or_, select
from sqlmodel import col

from attestd.errors import Reason, RequestRefused
from attestd.registry import access, audit, keys
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.instants import from_micros, to_micros
from attestd.registry.integrity import Field, intact
from attestd.registry.pages import Listing
from attestd.registry.tables import RevocationRow, columns
from attestd.registry.values import NewKey, NewResult, Page, Revocation, RevocationKind

_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAMED: Final = (RevocationKind.PROVIDER, RevocationKind.PRODUCT_LINE)

_ROW: Final = columns(RevocationRow)
_PLACE: Final = col(RevocationRow.kind) + literal(":") + col(RevocationRow.value)

_FIND: Final = Statement(
    select(*_ROW).where(
        col(RevocationRow.kind) == bindparam("of_kind"), col(RevocationRow.value) == bindparam("of_value")
    )
)
_LIST: Final = Statement(
    select(_PLACE, *_ROW).where(_PLACE.__gt__(bindparam("after"))).order_by(_PLACE).limit(bindparam("most"))
)
_OF_KIND: Final = Statement(select(col(RevocationRow.value)).where(col(RevocationRow.kind) == bindparam("of_kind")))
_INSERT: Final = Statement(insert(RevocationRow))


@intact("a revocation")
def _revocation(row: Row) -> Revocation:
    kind, value, reason, revoked_by, revoked_at, number = row
    return Revocation(
        kind=RevocationKind(kind),
        value=value,
        reason=reason,
        revoked_by=revoked_by,
        revoked_at=from_micros(revoked_at),
        keys=number,
    )


_REVOCATIONS: Final = Listing("revocations", _LIST, "", lambda row: _revocation(row[1:]))


def revoke(
    transaction: Transaction, kind: RevocationKind, value: str, *, reason: str, by: str, at: datetime
) -> Revocation:
    """Revoke something and every key that rests on it; the same again is answered with the first.

    What was never seen can be revoked, too. Raises `RequestRefused` (`request.malformed`) for a value that is not of
    the form of its kind.
    """
    if kind not in _NAMED and not _SHA256.fullmatch(value):
        raise RequestRefused(Reason.REQUEST_MALFORMED, found="another value", wanted="64 lower-case hex digits")
    known = find(transaction, kind, value)
    if known is not None:
        return known
    fallen = keys.revoke_all(transaction, kind, value, at)
    if kind is RevocationKind.PROVIDER:
        access.revoke_api_keys_of(transaction, value, at)
    transaction.run(
        _INSERT, kind=kind.value, value=value, reason=reason, revoked_by=by, revoked_at=to_micros(at), keys=fallen
    )
    transaction.announce()
    audit.append(
        transaction,
        actor=by,
        action="revocation.add",
        subject=f"{kind}:{value}",
        detail={"reason": reason, "keys": fallen},
        at=at,
    )
    return Revocation(kind=kind, value=value, reason=reason, revoked_by=by, revoked_at=at, keys=fallen)


def find(transaction: Transaction, kind: RevocationKind, value: str) -> Revocation | None:
    """Return the revocation of something, if it was revoked."""
    row = transaction.one(_FIND, of_kind=kind.value, of_value=value)
    return _revocation(row) if row else None


def list_all(transaction: Transaction, *, limit: int = 100, cursor: str | None = None) -> Page[Revocation]:
    """List revocations by kind and value. Raises `RequestRefused` (`request.malformed`) for a bad limit or cursor."""
    return _REVOCATIONS.page(transaction, limit, cursor)


def values_of(transaction: Transaction, kind: RevocationKind) -> frozenset[str]:
    """Return all that was revoked of one kind."""
    return frozenset(row[0] for row in transaction.all(_OF_KIND, of_kind=kind.value))


def refuse_revoked(transaction: Transaction, new: NewResult, key: NewKey) -> None:
    """Refuse a key that rests on anything revoked: `RequestRefused` (`key.revoked`)."""
    named = [
        (RevocationKind.KEY, new.key_id.hex()),
        (RevocationKind.PROVIDER, new.provider),
        (RevocationKind.PLATFORM, key.platform.hex()),
        (RevocationKind.IMAGE, key.image.hex()),
        (RevocationKind.PRODUCT_LINE, key.product_line),
        *((RevocationKind.MODEL, model.hex()) for model in key.models),
    ]
    values: dict[str, Field] = {f"value_{index}": value for index, (_, value) in enumerate(named)}
    row = transaction.one(_among(tuple(kind for kind, _ in named)), **values)
    if row is not None:
        raise RequestRefused(
            Reason.KEY_REVOKED, found=f"a {row[0].replace('_', ' ')} that was revoked", wanted="nothing revoked"
        )


@lru_cache(maxsize=64)
def _among(kinds: Sequence[RevocationKind]) -> Statement:
    return Statement(
        select(col(RevocationRow.kind))
        .where(
            or_(
                *(
                    and_(col(RevocationRow.kind) == kind.value, col(RevocationRow.value) == bindparam(f"value_{index}"))
                    for index, kind in enumerate(kinds)
                )
            )
        )
        .limit(1)
    )
