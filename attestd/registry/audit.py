"""The audit trail: who did what, each entry chained to the one before by its hash.

The hash of an entry is `integrity.seal` in the domain `attestd/audit/v1` over seq, at (microseconds), actor, action,
subject, detail and the previous hash; the first one follows 32 zero bytes. Whoever kept a head can tell whether
anything before it was changed or left out.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, insert, select
from sqlmodel import col

from attestd.codec import Json
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.instants import from_micros, to_micros
from attestd.registry.integrity import Field, damaged, intact, seal
from attestd.registry.pages import MAX_LIMIT, Listing
from attestd.registry.tables import AuditRow, columns
from attestd.registry.values import AuditEntry, AuditHead, Page

_BEGINNING: Final = AuditHead(0, bytes(32))
_HEAD: Final = Statement(select(col(AuditRow.seq), col(AuditRow.hash)).order_by(col(AuditRow.seq).desc()).limit(1))
_PAGE: Final = Statement(
    select(*columns(AuditRow))
    .where(col(AuditRow.seq) > bindparam("after"))
    .order_by(col(AuditRow.seq))
    .limit(bindparam("most"))
)
_APPEND: Final = Statement(insert(AuditRow))


@intact("an audit entry")
def _entry(row: Row) -> AuditEntry:
    seq, at, *rest = row
    actor, action, subject, detail, previous, own = rest
    return AuditEntry(
        seq=seq,
        at=from_micros(at),
        actor=actor,
        action=action,
        subject=subject,
        detail=detail,
        previous=previous,
        hash=own,
    )


_ENTRIES: Final = Listing("audit", _PAGE, 0, _entry)


def append(
    transaction: Transaction, *, actor: str, action: str, subject: str, detail: Mapping[str, Json], at: datetime
) -> AuditEntry:
    """Add an entry at the end."""
    head = _head(transaction)
    text = json.dumps(detail, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    fields = (head.seq + 1, to_micros(at), actor, action, subject, text, head.hash)
    row = (*fields, seal("attestd/audit/v1", fields))
    named: dict[str, Field] = dict(zip(AuditRow.model_fields, row, strict=True))
    transaction.run(_APPEND, **named)
    return _entry(row)


def page(transaction: Transaction, *, limit: int = 100, cursor: str | None = None) -> Page[AuditEntry]:
    """List entries, oldest first. Raises `RequestRefused` (`request.malformed`) for a bad limit or cursor."""
    return _ENTRIES.page(transaction, limit, cursor)


def verify(transaction: Transaction) -> AuditHead:
    """Follow the whole chain and return its head.

    Raises `Unavailable` (`registry.integrity`) naming the first entry that is missing or is not what was recorded.
    """
    head = _BEGINNING
    while rows := transaction.all(_PAGE, after=head.seq, most=MAX_LIMIT):
        for row in rows:
            expected = seal("attestd/audit/v1", row[:-1])
            if row[0] != head.seq + 1 or row[6] != head.hash or row[7] != expected:
                raise damaged(f"the audit entry {head.seq + 1}")
            head = AuditHead(row[0], row[7])
    return head


def _head(transaction: Transaction) -> AuditHead:
    row = transaction.one(_HEAD)
    return AuditHead(*row) if row else _BEGINNING
