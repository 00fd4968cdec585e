"""High-water marks: the newest signed document that was ever seen of each kind, so that none older is taken again.

Intel signs collateral for 30 days, so that a source may serve an older TCB Info, QE Identity or CRL, still signed and
still in its window, long after a newer one said that a platform is broken (attacks.md, C19, C34, C40). AMD's
CRLs last for months, NVIDIA's RIMs for years.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Final

from sqlalchemy import and_, bindparam, false, insert, or_, select, update
from sqlmodel import col

from attestd.errors import EndorsementRejected, Reason
from attestd.registry.database import Statement, Transaction
from attestd.registry.instants import to_micros
from attestd.registry.tables import HighWaterRow, columns
from attestd.registry.values import Mark

_SIZE: Final = 20
# By kind; all others are Intel's collateral.
_ROLLBACKS: Final = {"ark_crl": Reason.SNP_CRL_ROLLBACK, "gpu_rim": Reason.GPU_RIM_ROLLBACK}

_KEY: Final = (col(HighWaterRow.kind) == bindparam("of_kind"), col(HighWaterRow.id) == bindparam("of_id"))
_INSERT: Final = Statement(insert(HighWaterRow))
_RAISE: Final = Statement(
    update(HighWaterRow).where(*_KEY).values(value=bindparam("value"), seen_at=bindparam("seen_at"))
)


def highest(transaction: Transaction, kind: str, id_: str) -> int | None:
    """Return the highest value that was seen, if any was."""
    return _highest(transaction, [Mark(kind, id_, 0)]).get((kind, id_))


def require(transaction: Transaction, marks: Sequence[Mark]) -> None:
    """Refuse collateral of which any part is older than was seen.

    Raises `EndorsementRejected` (`tdx.collateral_rollback`, `snp.crl_rollback`, `gpu.rim_rollback`).
    """
    highest = _highest(transaction, marks)
    for mark in marks:
        seen = highest.get((mark.kind, mark.id))
        if seen is not None and mark.value < seen:
            raise EndorsementRejected(
                _ROLLBACKS.get(mark.kind, Reason.TDX_ROLLBACK),
                found=f"{mark.kind} {mark.value}",
                wanted=f"{seen} or higher, as was seen before",
            )


def _highest(transaction: Transaction, marks: Sequence[Mark]) -> dict[tuple[str, str], int]:
    """Look all of them up at once: every recording does."""
    values = {f"kind_{index}": mark.kind for index, mark in enumerate(marks)}
    values |= {f"id_{index}": mark.id for index, mark in enumerate(marks)}
    rows = transaction.all(_seen(len(marks)), **values)
    return {(kind, id_): int.from_bytes(value) for kind, id_, value in rows}


@cache
def _seen(count: int) -> Statement:
    named = (
        and_(col(HighWaterRow.kind) == bindparam(f"kind_{index}"), col(HighWaterRow.id) == bindparam(f"id_{index}"))
        for index in range(count)
    )
    return Statement(select(*columns(HighWaterRow, without=("seen_at",))).where(or_(false(), *named)))


def observe(transaction: Transaction, marks: Sequence[Mark], at: datetime) -> None:
    """Raise the marks to what authenticated collateral says: all of them, or none and `EndorsementRejected`.

    Each kind and id stands among them once.
    """
    require(transaction, marks)
    highest = _highest(transaction, marks)
    for mark in marks:
        seen = highest.get((mark.kind, mark.id))
        value, seen_at = mark.value.to_bytes(_SIZE), to_micros(at)
        if seen is None:
            transaction.run(_INSERT, kind=mark.kind, id=mark.id, value=value, seen_at=seen_at)
        elif mark.value > seen:
            transaction.run(_RAISE, of_kind=mark.kind, of_id=mark.id, value=value, seen_at=seen_at)
        else:
            continue
        transaction.announce()


def observe_each(transaction: Transaction, marks: Sequence[Mark], at: datetime) -> frozenset[str]:
    """Raise each of the marks, of one kind, that may rise; return the ids of those that are older than was seen."""
    highest = _highest(transaction, marks)
    older = {mark.id for mark in marks if mark.value < highest.get((mark.kind, mark.id), 0)}
    observe(transaction, [mark for mark in marks if mark.id not in older], at)
    return frozenset(older)
