"""High-water marks: the newest signed document that was ever seen of each kind, so that none older is taken again.

Intel signs collateral for 30 days, so that a source may serve an older TCB Info, QE Identity or CRL, still signed and
still in its window, long after a newer one said that a platform is broken (attacks.md, C19, C34, C40).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, insert, select, update
from sqlmodel import col

from attestd.errors import EndorsementRejected, Reason
from attestd.registry.database import Statement, Transaction
from attestd.registry.instants import to_micros
from attestd.registry.tables import HighWaterRow
from attestd.registry.values import Mark

_SIZE: Final = 20

_KEY: Final = (col(HighWaterRow.kind) == bindparam("of_kind"), col(HighWaterRow.id) == bindparam("of_id"))
_HIGHEST: Final = Statement(select(col(HighWaterRow.value)).where(*_KEY))
_INSERT: Final = Statement(insert(HighWaterRow))
_RAISE: Final = Statement(
    update(HighWaterRow).where(*_KEY).values(value=bindparam("value"), seen_at=bindparam("seen_at"))
)


def highest(transaction: Transaction, kind: str, id_: str) -> int | None:
    """Return the highest value that was seen, if any was."""
    row = transaction.one(_HIGHEST, of_kind=kind, of_id=id_)
    return int.from_bytes(row[0]) if row else None


def require(transaction: Transaction, marks: Iterable[Mark]) -> None:
    """Refuse collateral of which any part is older than was seen: `EndorsementRejected` (`tdx.collateral_rollback`)."""
    for mark in marks:
        seen = highest(transaction, mark.kind, mark.id)
        if seen is not None and mark.value < seen:
            raise EndorsementRejected(
                Reason.TDX_ROLLBACK, found=f"{mark.kind} {mark.value}", wanted=f"{seen} or higher, as was seen before"
            )


def observe(transaction: Transaction, marks: Iterable[Mark], at: datetime) -> None:
    """Raise the marks to what authenticated collateral says: all of them, or none and `EndorsementRejected`."""
    kept = tuple(marks)
    require(transaction, kept)
    for mark in kept:
        seen = highest(transaction, mark.kind, mark.id)
        value, seen_at = mark.value.to_bytes(_SIZE), to_micros(at)
        if seen is None:
            transaction.run(_INSERT, kind=mark.kind, id=mark.id, value=value, seen_at=seen_at)
        elif mark.value > seen:
            transaction.run(_RAISE, of_kind=mark.kind, of_id=mark.id, value=value, seen_at=seen_at)
        else:
            continue
        transaction.announce()
