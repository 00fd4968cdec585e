"""What the log says of what the registry decides. Nothing of it tells a provider or a machine (attacks.md, A12)."""

from datetime import datetime
from typing import Final

from attestd.registry.instants import to_micros
from attestd.registry.values import Key, KeyState, Result, RevocationKind
from attestd.transparency import record
from attestd.transparency.entry import Tee
from attestd.transparency.record import Record, RecordedEntry

_SECOND: Final = 1_000_000
_LAST_SECOND: Final = 2**32 - 1
_TEES: Final[dict[str, Tee]] = {"tdx": "tdx", "sgx": "sgx", "snp": "snp"}


def on_key(key: Key, before: Key | None) -> tuple[Record, ...]:
    """Return what was decided where a key came to stand as it does.

    A suspended key may be renewed: it got another result, and stays suspended.
    """
    at = key.changed_at
    if key.decided is KeyState.REVOKED:
        return (revoked(key.id, at),)
    suspended = (record.Suspend(at=at, key=key.id),) if key.decided is KeyState.SUSPENDED else ()
    if before is None:
        make: type[record.Approve | record.Renew | record.Resume] = record.Approve
    elif key.decided is before.decided:
        make = record.Renew
    elif suspended:
        return suspended
    else:
        make = record.Resume
    return (make(at=at, key=key.id, result=key.result_digest, entry=entry(key)), *suspended)


def entry(key: Key) -> RecordedEntry:
    """Return what the log says of a key. Whole seconds: never a moment longer than the key is trusted."""
    return RecordedEntry(
        tee=_TEES[key.tee],
        image=key.image,
        models=key.models,
        not_before=min(-(-to_micros(key.valid_from) // _SECOND), _LAST_SECOND),
        not_after=min(to_micros(key.valid_until) // _SECOND, _LAST_SECOND),
    )


def revoked(key_id: bytes, at: datetime) -> Record:
    """Return that a key was revoked."""
    return record.Revoke(at=at, key=key_id)


def expired(key_id: bytes, at: datetime) -> Record:
    """Return that the window of a key is over."""
    return record.Expire(at=at, key=key_id)


def refused(result: Result) -> Record:
    """Return that a result registered no key; not whose."""
    return record.Refuse(at=result.recorded_at, result=result.digest)


def approved(digest: bytes, kind: RevocationKind, at: datetime, *, revoked: bool) -> Record:
    """Return that a model or an image was approved, which changes nothing where it is revoked."""
    state: record.State = "withdrawn" if revoked else "approved"
    make = record.Model if kind is RevocationKind.MODEL else record.Image
    return make(at=at, digest=digest, state=state)


def on_revocation(kind: RevocationKind, value: str, fallen: int, at: datetime) -> tuple[Record, ...]:
    """Return what was decided where something was revoked, besides about the keys that fell with it.

    A key that is not there, or not any more, may still be in the map.
    """
    if kind in (RevocationKind.MODEL, RevocationKind.IMAGE):
        return (approved(bytes.fromhex(value), kind, at, revoked=True),)
    if kind is RevocationKind.KEY and not fallen:
        return (revoked(bytes.fromhex(value), at),)
    return ()


def put_in_force(name: str, version: int, digest: bytes, at: datetime) -> Record:
    """Return that a version of a policy came into force."""
    return record.Policy(at=at, name=name, policy_version=version, digest=digest)


def subject(said: Record) -> bytes | None:
    """Return what a record is found under in the log."""
    match said:
        case record.Refuse():
            return said.result
        case record.Model() | record.Image():
            return said.digest
        case record.Policy():
            return None
        case _:
            return said.key
