"""Revocations: for good, at once, and for whatever is submitted later.

A value is 64 lower-case hex digits for a key, platform, image or model, the id of a provider, or a product line as
`NewKey.product_line` has it: Intel's FMSPC in 12 lower-case hex digits, or AMD's name in lower case. A platform is a
machine, or a GPU or NVSwitch of one.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Select, and_, bindparam, false, insert, literal, or_, select
from sqlmodel import col

from attestd.claims import ProductLine
from attestd.errors import Reason, RequestRefused
from attestd.registry import access, audit, decisions, keys, log
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.instants import from_micros, to_micros
from attestd.registry.integrity import intact
from attestd.registry.pages import Listing
from attestd.registry.tables import RevocationRow, columns
from attestd.registry.values import NewKey, NewResult, Page, Revocation, RevocationKind

_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
# A name that no platform has would revoke nothing, and look as if it did.
_PRODUCT_LINE: Final = re.compile("|".join(("[0-9a-f]{12}", *(line.lower() for line in ProductLine))), re.ASCII)

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
    _require_form(kind, value)
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
    for said in decisions.on_revocation(kind, value, fallen, at):
        log.append(transaction, said)
    audit.append(
        transaction,
        actor=by,
        action="revocation.add",
        subject=f"{kind}:{value}",
        detail={"reason": reason, "keys": fallen},
        at=at,
    )
    return Revocation(kind=kind, value=value, reason=reason, revoked_by=by, revoked_at=at, keys=fallen)


def _require_form(kind: RevocationKind, value: str) -> None:
    match kind:
        case RevocationKind.PROVIDER:
            return  # any of the ids that providers have, and have not yet
        case RevocationKind.PRODUCT_LINE:
            form, wanted = _PRODUCT_LINE, "12 lower-case hex digits (FMSPC), or milan, genoa or turin"
        case _:
            form, wanted = _SHA256, "64 lower-case hex digits"
    if not form.fullmatch(value):
        raise RequestRefused(Reason.REQUEST_MALFORMED, found="another value", wanted=wanted)


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


def bases(new: NewResult, key: NewKey) -> tuple[tuple[RevocationKind, str], ...]:
    """Return all that a new key rests on, as it would be revoked."""
    return (
        (RevocationKind.KEY, new.key_id.hex()),
        (RevocationKind.PROVIDER, new.provider),
        *((RevocationKind.PLATFORM, platform.hex()) for platform in (key.platform, *key.devices)),
        (RevocationKind.IMAGE, key.image.hex()),
        (RevocationKind.PRODUCT_LINE, key.product_line),
        *((RevocationKind.MODEL, model.hex()) for model in key.models),
    )


def among(kinds: Sequence[RevocationKind]) -> Select[str]:
    """Ask for the kind of one that was revoked, if any was, of so many values that are bound to `value_0` and so on."""
    return (
        select(col(RevocationRow.kind))
        .where(
            or_(
                false(),
                *(
                    and_(col(RevocationRow.kind) == kind.value, col(RevocationRow.value) == bindparam(f"value_{index}"))
                    for index, kind in enumerate(kinds)
                ),
            )
        )
        .limit(1)
    )
