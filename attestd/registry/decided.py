"""What the records of the log rest on, and what they do to the trust in keys.

A row of the log is not believed because it is there: before an epoch states it, every record that would have a key
trusted is held against the version of the key and the result that the registry keeps, seals and digests included
(attacks.md, R01 and R02).
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select
from sqlmodel import col

from attestd.registry import decisions, keys, log, results
from attestd.registry.database import Statement, Transaction
from attestd.registry.integrity import damaged
from attestd.registry.tables import KeyHistoryRow, columns
from attestd.registry.values import Key
from attestd.result import Tier
from attestd.transparency.record import Approve, Record, Renew, Resume, Revoke, Suspend, load_record

_AT_ONCE: Final = 1000
_VERSION: Final = Statement(
    select(*columns(KeyHistoryRow)).where(
        col(KeyHistoryRow.id) == bindparam("of_id"), col(KeyHistoryRow.version) == bindparam("of_version")
    )
)


def require_decided(transaction: Transaction, first: int, end: int, at: datetime) -> None:
    """Require of the records from `first` up to `end` that have a key trusted that this was decided.

    Raises `Unavailable` (`registry.integrity`) for the first that rests on nothing, or on something else.
    """
    for leaf in _leaves(transaction, first, end):
        match load_record(leaf.record):
            case Approve() | Renew() | Resume() as said:
                key = _version(transaction, said.key, leaf.version, at)
                if key is None or not _says(said, key) or not _rests_on_result(transaction, key):
                    raise damaged(f"the record {leaf.index} of the log, or what it rests on,")
            case _:
                pass  # takes trust, or speaks of no key


def keys_trusted(transaction: Transaction, first: int, end: int) -> frozenset[bytes]:
    """Return the keys that the records from `first` up to `end` put into the map."""
    return frozenset(
        said.key for said in _records(transaction, first, end) if isinstance(said, Approve | Renew | Resume)
    )


def keys_distrusted(transaction: Transaction, first: int, end: int) -> frozenset[bytes]:
    """Return the keys from which those records take trust before their time; that a key expires is in its entry."""
    return frozenset(said.key for said in _records(transaction, first, end) if isinstance(said, Suspend | Revoke))


def _leaves(transaction: Transaction, first: int, end: int) -> Iterator[log.Leaf]:
    for start in range(first, end, _AT_ONCE):
        yield from log.leaves(transaction, start, min(_AT_ONCE, end - start))


def _records(transaction: Transaction, first: int, end: int) -> Iterator[Record]:
    return (load_record(leaf.record) for leaf in _leaves(transaction, first, end))


def _version(transaction: Transaction, key_id: bytes, version: int | None, at: datetime) -> Key | None:
    row = transaction.one(_VERSION, of_id=key_id, of_version=version)
    return keys.loaded(row, at) if row else None


def _says(said: Approve | Renew | Resume, key: Key) -> bool:
    return (said.result, said.entry) == (key.result_digest, decisions.entry(key))


def _rests_on_result(transaction: Transaction, key: Key) -> bool:
    """Tell whether the result of a key is there as it was recorded, affirming, and of this very key."""
    result = results.find(transaction, key.result_id)
    return (
        result is not None
        and result.tier is Tier.AFFIRMING
        and (result.key_id, result.digest, result.provider) == (key.id, key.result_digest, key.provider)
    )
