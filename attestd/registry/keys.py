"""Keys: their state at any time, their lists, and every change to them.

What is stored is what was decided: active, suspended or revoked. That a key is pending or expired follows from its
window and the time of asking, so that it needs nobody to happen. Every change adds a version to the history.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any, Final, TypeAlias, assert_never

from sqlalchemy import ColumnElement, Select, bindparam, case, exists, func, insert, or_, select, update
from sqlalchemy.orm import aliased
from sqlmodel import col

from attestd.codec import dump_time
from attestd.errors import Reason, RequestRefused
from attestd.registry import audit, decisions, log
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.instants import from_micros, to_micros
from attestd.registry.integrity import Field, damaged, intact, seal
from attestd.registry.pages import Listing
from attestd.registry.tables import KeyHistoryRow, KeyModelRow, KeyRow, LogRow, ResultDeviceRow, ResultRow, columns
from attestd.registry.values import Key, KeyFilters, KeyPage, KeyState, RevocationKind

_Table: TypeAlias = type[KeyRow] | type[KeyHistoryRow]

_DOMAIN: Final = "attestd/key/v1"
# What a row consists of besides its seal, which comes last.
_NAMES: Final = tuple(name for name in KeyHistoryRow.model_fields if name != "seal")
# What is not the key's own.
_ASIDE: Final = ("listed_until",)
ROW: Final = columns(KeyRow, without=_ASIDE)
_DIGEST: Final = 32
# In which states a key is in the map.
_LISTED: Final = frozenset({KeyState.ACTIVE, KeyState.PENDING})
_BATCH: Final = 500


def _state(table: _Table) -> ColumnElement[str]:
    """Say in SQL what `state_at` says in Python."""
    return case(
        (col(table.state) == KeyState.REVOKED.value, KeyState.REVOKED.value),
        (col(table.valid_until) < bindparam("at"), KeyState.EXPIRED.value),
        (col(table.state) == KeyState.SUSPENDED.value, KeyState.SUSPENDED.value),
        (col(table.valid_from) > bindparam("at"), KeyState.PENDING.value),
        else_=KeyState.ACTIVE.value,
    )


_RESULT: Final = (col(ResultRow.digest), col(ResultRow.document))

_LOAD: Final = Statement(select(*ROW).where(col(KeyRow.id) == bindparam("of_id")))
_FIND: Final = Statement(
    select(*ROW, *_RESULT)
    .outerjoin(ResultRow, col(ResultRow.id) == col(KeyRow.result_id))
    .where(col(KeyRow.id) == bindparam("of_id"))
)
_FIND_PAST: Final = Statement(
    select(*columns(KeyHistoryRow), *_RESULT)
    .outerjoin(ResultRow, col(ResultRow.id) == col(KeyHistoryRow.result_id))
    .where(col(KeyHistoryRow.id) == bindparam("of_id"), col(KeyHistoryRow.changed_at) <= bindparam("at"))
    .order_by(col(KeyHistoryRow.version).desc())
    .limit(1)
)
_COUNT: Final = Statement(select(_state(KeyRow).label("now"), func.count()).group_by("now"))
_NEXT_EXPIRY: Final = Statement(
    select(func.min(col(KeyRow.valid_until))).where(_state(KeyRow) == KeyState.ACTIVE.value)
)
_DUE: Final = Statement(
    select(*ROW)
    .where(col(KeyRow.listed_until) < bindparam("at"))
    .order_by(col(KeyRow.listed_until))
    .limit(bindparam("most"))
)
_LIST: Final = Statement(
    update(KeyRow).where(col(KeyRow.id) == bindparam("of_id")).values(listed_until=bindparam("until"))
)
_LISTED_NOW: Final = Statement(select(func.count()).select_from(KeyRow).where(col(KeyRow.listed_until).is_not(None)))
_INSERT: Final = Statement(insert(KeyRow))
_ADD_VERSION: Final = Statement(
    insert(KeyHistoryRow).from_select(
        list(KeyHistoryRow.model_fields), select(*ROW).where(col(KeyRow.id) == bindparam("of_id"))
    )
)
_ADD_MODEL: Final = Statement(insert(KeyModelRow))


def find(transaction: Transaction, key_id: bytes, at: datetime) -> Key | None:
    """Return a key as it stands, its state as of `at`.

    Raises `Unavailable` (`registry.integrity`) where its row, or the result that it rests on, was altered.
    """
    return _verified(transaction.one(_FIND, of_id=key_id), at)


def find_past(transaction: Transaction, key_id: bytes, at: datetime) -> Key | None:
    """Return a key as it stood at a time in the past. Raises as `find` does."""
    return _verified(transaction.one(_FIND_PAST, of_id=key_id, at=to_micros(at)), at)


def page(
    transaction: Transaction,
    filters: KeyFilters,
    at: datetime,
    *,
    past: bool = False,
    limit: int = 100,
    cursor: str | None = None,
    covered: int = 0,
) -> KeyPage:
    """List keys by id, as they stand or as they stood at `at`. Altered rows are left out and counted.

    So many records of the log are `covered` by what is on chain: the filter `published` goes by them.

    Raises `RequestRefused` (`request.malformed`) for a bad limit or cursor.
    """
    wanted: dict[str, Field] = {
        "of_tee": filters.tee,
        "of_image": filters.image,
        "of_model": filters.model,
        "of_provider": filters.provider,
        "of_binding": filters.binding,
        "of_state": filters.state and filters.state.value,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    moment = to_micros(at)
    # A list of the past is one list per moment; that of the present goes on while time passes, and epochs do.
    scope = (*wanted.values(), filters.published, moment if past else None)
    if filters.published is not None:
        given["published" if filters.published else "unpublished"] = covered
    listing = _listing(KeyHistoryRow if past else KeyRow, frozenset(given))
    rows, following = listing.rows(transaction, limit, cursor, scope, at=moment, **given)
    sound = tuple(_key(row, at) for row in rows if _is_sound(row))
    return KeyPage(sound, following, len(rows) - len(sound))


def count(transaction: Transaction, at: datetime) -> dict[KeyState, int]:
    """Return how many keys are in each state."""
    counts = dict.fromkeys(KeyState, 0)
    counts.update((KeyState(state), number) for state, number in transaction.all(_COUNT, at=to_micros(at)))
    return counts


def listed(transaction: Transaction) -> int:
    """Return how many keys are in the map, as far as the log says."""
    ((number,),) = transaction.all(_LISTED_NOW)
    return int(number)


def next_expiry(transaction: Transaction, at: datetime) -> datetime | None:
    """Return when the next of the active keys expires, if there is any."""
    row = transaction.one(_NEXT_EXPIRY, at=to_micros(at))
    return from_micros(row[0]) if row and row[0] is not None else None


def suspend(transaction: Transaction, key_id: bytes, *, reason: str, by: str, at: datetime) -> Key:
    """Take a key out of trust until it is resumed; its evidence may be renewed meanwhile.

    Raises `RequestRefused`: `request.not_found` where there is none, `key.revoked` where it was revoked.
    """
    return _decide(transaction, key_id, KeyState.SUSPENDED, reason=reason, by=by, at=at)


def resume(transaction: Transaction, key_id: bytes, *, reason: str, by: str, at: datetime) -> Key:
    """End a suspension. Raises as `suspend` does."""
    return _decide(transaction, key_id, KeyState.ACTIVE, reason=reason, by=by, at=at)


def shorten(
    transaction: Transaction, key_id: bytes, *, result_id: str, valid_until: datetime, by: str, at: datetime
) -> None:
    """End a key earlier than its result said, if it still rests on that result and does not end before."""
    key = load(transaction, key_id, at)
    if key is None or key.result_id != result_id or key.valid_until <= valid_until:
        return
    store(transaction, _changed(replace(key, valid_until=valid_until), key.decided, at), key)
    detail = {"valid_until": dump_time(valid_until)}
    audit.append(transaction, actor=by, action="key.shorten", subject=key_id.hex(), detail=detail, at=at)


def load(transaction: Transaction, key_id: bytes, at: datetime) -> Key | None:
    """Return a key to be changed, without its result. Raises `Unavailable` (`registry.integrity`) as `find` does."""
    row = transaction.one(_LOAD, of_id=key_id)
    return loaded(row, at) if row else None


def loaded(row: Row, at: datetime) -> Key:
    """Return the key of a row that was read to change it. Raises as `load` does."""
    if not _is_sound(row):
        raise damaged("a key")
    return _key(row, at)


def store(transaction: Transaction, key: Key, before: Key | None) -> int:
    """Write the first version of a key, or the one after `before`; return the index in the log of what was decided."""
    row = _row(key)
    row["seal"] = seal(_DOMAIN, row.values())
    row["listed_until"] = row["valid_until"] if key.decided is KeyState.ACTIVE else None
    if before is None:
        transaction.run(_INSERT, **row)
    else:
        old = _row(before)
        transaction.run(_update(tuple(name for name in row if name not in old or row[name] != old[name])), **row)
    transaction.run(_ADD_VERSION, of_id=key.id)
    for model in key.models:
        transaction.run(_ADD_MODEL, model=model, id=key.id, version=key.version)
    transaction.announce()
    first, *_ = [log.append(transaction, said, version=key.version) for said in decisions.on_key(key, before)]
    return first


@lru_cache(maxsize=64)
def _update(names: tuple[str, ...]) -> Statement:
    """Write what is new alone: SQLite rewrites every index, and looks up every reference, of a column that is named."""
    return Statement(
        update(KeyRow).where(col(KeyRow.id) == bindparam("id")).values({name: bindparam(name) for name in names})
    )


def state_at(decided: KeyState, valid_from: datetime, valid_until: datetime, at: datetime) -> KeyState:
    """Return the state of a key at a time; both ends of its window belong to it."""
    if decided is KeyState.REVOKED:
        return KeyState.REVOKED
    if valid_until < at:
        return KeyState.EXPIRED
    if decided is KeyState.SUSPENDED:
        return KeyState.SUSPENDED
    return KeyState.PENDING if valid_from > at else KeyState.ACTIVE


def _changed(key: Key, decided: KeyState, at: datetime) -> Key:
    """Return the next version of a key. Its time never goes back, whatever the clocks do."""
    state = state_at(decided, key.valid_from, key.valid_until, at)
    changed_at = max(at, key.changed_at)
    return replace(key, decided=decided, state=state, changed_at=changed_at, version=key.version + 1)


def revoke_all(transaction: Transaction, kind: RevocationKind, value: str, at: datetime) -> int:
    """Revoke every key that rests on what was revoked, expired ones too, and return how many those were."""
    statement = _resting_on(kind)
    fallen, after = 0, b""
    named: Field = value if kind in (RevocationKind.PROVIDER, RevocationKind.PRODUCT_LINE) else bytes.fromhex(value)
    while rows := transaction.all(statement, named=named, after=after, most=_BATCH):
        # A row that was altered is never served, and must not keep the others from falling.
        sound = [_key(row, at) for row in rows if _is_sound(row)]
        for key in sound:
            store(transaction, _changed(key, KeyState.REVOKED, at), key)
        for row in rows:
            if not _is_sound(row):
                log.append(transaction, decisions.revoked(row[0], at))
                transaction.run(_LIST, of_id=row[0], until=None)
        fallen, after = fallen + len(sound), rows[-1][0]
    return fallen


def expire(transaction: Transaction, at: datetime, *, most: int) -> int:
    """Say in the log of at most so many keys that they have expired, of each once; return how many those were.

    Nobody trusts an expired key, whether this runs or not: it keeps the map from growing.
    """
    due = transaction.all(_DUE, at=to_micros(at), most=most)
    for row in due:
        key = _key(row, at) if _is_sound(row) else None
        until = to_micros(key.valid_until) if key and key.state in _LISTED else None
        if until is None and (key is None or key.decided is KeyState.ACTIVE):
            # A key whose row was altered is never served, whatever it says now.
            log.append(transaction, decisions.expired(row[0], at))
        transaction.run(_LIST, of_id=row[0], until=until)
    return len(due)


@cache
def _resting_on(kind: RevocationKind) -> Statement:
    match kind:
        case RevocationKind.KEY:
            condition = col(KeyRow.id) == bindparam("named")
        case RevocationKind.PLATFORM:
            condition = or_(
                col(KeyRow.platform) == bindparam("named"),
                exists().where(
                    col(ResultDeviceRow.device) == bindparam("named"),
                    col(ResultDeviceRow.result_id) == col(KeyRow.result_id),
                ),
            )
        case RevocationKind.IMAGE:
            condition = col(KeyRow.image) == bindparam("named")
        case RevocationKind.MODEL:
            condition = _rests_on_model(KeyRow, "named")
        case RevocationKind.PROVIDER:
            condition = col(KeyRow.provider) == bindparam("named")
        case RevocationKind.PRODUCT_LINE:
            condition = col(KeyRow.product_line) == bindparam("named")
        case _:
            assert_never(kind)
    return Statement(
        select(*ROW)
        .where(condition, col(KeyRow.state) != KeyState.REVOKED.value, col(KeyRow.id) > bindparam("after"))
        .order_by(col(KeyRow.id))
        .limit(bindparam("most"))
    )


@cache
def _listing(table: _Table, given: frozenset[str]) -> Listing[Row]:
    conditions: dict[str, ColumnElement[bool]] = {
        "of_tee": col(table.tee) == bindparam("of_tee"),
        "of_image": col(table.image) == bindparam("of_image"),
        "of_model": _rests_on_model(table, "of_model"),
        "of_provider": col(table.provider) == bindparam("of_provider"),
        "of_binding": col(table.binding) == bindparam("of_binding"),
        "of_state": _state(table) == bindparam("of_state"),
        "published": col(table.id).not_in(_spoken_of_since("published")),
        "unpublished": col(table.id).in_(_spoken_of_since("unpublished")),
    }
    wanted = (col(table.id) > bindparam("after"), *(conditions[name] for name in sorted(given)))
    statement = select(*columns(table, without=_ASIDE)).order_by(col(table.id)).limit(bindparam("most"))
    if table is KeyRow:
        # First which, then what they are: an index alone tells the state, and most keys have expired sooner or later.
        which = select(col(KeyRow.id)).where(*wanted).order_by(col(KeyRow.id)).limit(bindparam("most")).correlate(None)
        statement = statement.where(col(table.id).in_(which))
    else:
        statement = statement.where(*wanted)
        later = aliased(KeyHistoryRow)
        statement = statement.where(
            col(KeyHistoryRow.changed_at) <= bindparam("at"),
            ~exists().where(
                col(later.id) == col(KeyHistoryRow.id),
                col(later.version) == col(KeyHistoryRow.version) + 1,
                col(later.changed_at) <= bindparam("at"),
            ),
        )
    return Listing("keys", Statement(statement), b"", tuple)


def _spoken_of_since(name: str) -> Select[bytes | None]:
    """Select the subjects of all records from an index on: of those there are few."""
    return select(col(LogRow.subject)).where(col(LogRow.index) >= bindparam(name), col(LogRow.subject).is_not(None))


def _rests_on_model(table: _Table, name: str) -> ColumnElement[bool]:
    return exists().where(
        col(KeyModelRow.model) == bindparam(name),
        col(KeyModelRow.id) == col(table.id),
        col(KeyModelRow.version) == col(table.version),
    )


def _decide(transaction: Transaction, key_id: bytes, state: KeyState, *, reason: str, by: str, at: datetime) -> Key:
    key = load(transaction, key_id, at)
    if key is None:
        raise RequestRefused(Reason.REQUEST_PATH, found="no such key", wanted="the id of one")
    if key.decided is KeyState.REVOKED:
        raise RequestRefused(Reason.KEY_REVOKED, found="a key that was revoked", wanted="one that was not")
    if key.decided is not state:
        known, key = key, _changed(key, state, at)
        store(transaction, key, known)
        action = "key.suspend" if state is KeyState.SUSPENDED else "key.resume"
        audit.append(transaction, actor=by, action=action, subject=key_id.hex(), detail={"reason": reason}, at=at)
    return key


def _verified(row: Row | None, at: datetime) -> Key | None:
    return _key_with_result((row, at)) if row else None


@intact("a key")
def _key_with_result(found: tuple[Row, datetime]) -> Key:
    (*own, digest, document), at = found
    if not _is_sound(own):
        raise damaged("a key")
    key = _key(own, at)
    if key.result_digest != digest or sha256(document).digest() != digest:
        raise damaged("the result of a key")
    return key


def _is_sound(row: Sequence[Field]) -> bool:
    return seal(_DOMAIN, row[:-1]) == row[-1]


def _row(key: Key) -> dict[str, Field]:
    return {
        "id": key.id,
        "version": key.version,
        "spki": key.spki,
        "provider": key.provider,
        "state": key.decided.value,
        "tee": key.tee,
        "binding": key.binding,
        "role": key.role,
        "image": key.image,
        "models": b"".join(key.models),
        "platform": key.platform,
        "product_line": key.product_line,
        "policy_name": key.policy_name,
        "policy_digest": key.policy_digest,
        "result_id": key.result_id,
        "result_digest": key.result_digest,
        "valid_from": to_micros(key.valid_from),
        "valid_until": to_micros(key.valid_until),
        "registered_at": to_micros(key.registered_at),
        "changed_at": to_micros(key.changed_at),
    }


def _key(row: Sequence[Any], at: datetime) -> Key:
    fields = dict(zip(_NAMES, row, strict=False))
    decided, models = KeyState(fields["state"]), fields["models"]
    fields["models"] = tuple(models[start : start + _DIGEST] for start in range(0, len(models), _DIGEST))
    for name in ("valid_from", "valid_until", "registered_at", "changed_at"):
        fields[name] = from_micros(fields[name])
    fields["state"] = state_at(decided, fields["valid_from"], fields["valid_until"], at)
    return Key(**fields, decided=decided)
