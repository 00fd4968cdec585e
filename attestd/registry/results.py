"""Results: recorded once per evidence, together with everything that follows from them."""

from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final

from sqlalchemy import bindparam, insert, or_, select
from sqlmodel import col

from attestd.errors import Reason, RequestRefused
from attestd.registry import challenges, decisions, keys, log
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.ground import Ground, survey
from attestd.registry.instants import from_micros, to_micros
from attestd.registry.integrity import Field, damaged, intact, seal
from attestd.registry.tables import PlatformRow, ResultDeviceRow, ResultRow, columns
from attestd.registry.values import Key, KeyState, NewKey, NewResult, Recorded, Result
from attestd.result import Tier

_SEALED: Final = columns(ResultRow, without=("seal", "document", "evidence"))
_DOMAIN: Final = "attestd/result/v1"
_NAMES: Final = tuple(column.name for column in _SEALED)
_ROW: Final = (*_SEALED, col(ResultRow.seal), col(ResultRow.document))

_FIND: Final = Statement(select(*_ROW).where(col(ResultRow.id) == bindparam("of_id")))
_BY_DIGEST: Final = Statement(
    select(*_ROW, col(ResultRow.evidence)).where(col(ResultRow.digest) == bindparam("of_digest"))
)
_FIND_BY_EVIDENCE: Final = Statement(
    select(*_ROW).where(
        col(ResultRow.provider) == bindparam("of_provider"), col(ResultRow.evidence_id) == bindparam("of_evidence")
    )
)
_EVIDENCE: Final = Statement(select(col(ResultRow.evidence)).where(col(ResultRow.id) == bindparam("of_id")))
_INSERT: Final = Statement(insert(ResultRow))
_CLAIM: Final = Statement(insert(PlatformRow))
_REST: Final = Statement(insert(ResultDeviceRow))


def record(transaction: Transaction, new: NewResult, at: datetime, *, live_keys_per_platform: int) -> Recorded:
    """Record what authentic evidence led to, all of it or nothing.

    (1) Nothing that was revoked comes back: `key.revoked`.
    (2) The same evidence from the same provider is answered with its first result.
    (3) The challenge can be answered: `challenge.unknown`, `challenge.expired`, `challenge.used`.
    (4) The key of an affirming result can be registered: `platform.conflict`, `platform.keys`, `key.owned`.
    (5) Challenge, result, evidence, platform and key are written, and a leaf of the log.

    All refusals are `RequestRefused`; after any of them nothing has changed.
    """
    ground = survey(transaction, new, at)
    _refuse_revoked(ground)  # (1)
    if ground.first is not None:
        return _again(transaction, ground.first, at)  # (2)
    challenges.answerable(new.challenge, ground.challenge, new.provider, at)  # (3)
    known = _renewable(new.provider, new.key.platform, ground, at, live_keys_per_platform) if new.key else None  # (4)
    unclaimed = _unclaimed(transaction, new.provider, new.key.devices) if new.key else ()
    challenges.consume(transaction, new.challenge, at)  # (5)
    result = _insert(transaction, new, at)
    if new.key is None:
        return Recorded(result, created=True, key=None, index=log.append(transaction, decisions.refused(result)))
    for platform in unclaimed if ground.owner else (new.key.platform, *unclaimed):
        transaction.run(_CLAIM, id=platform, provider=new.provider, claimed_at=to_micros(at))
    for device in new.key.devices:
        transaction.run(_REST, device=device, result_id=new.id)
    key = _registered(new, new.key, result, known, at)
    index = keys.store(transaction, key, known)
    return Recorded(result, created=True, key=key, index=index)


def find(transaction: Transaction, id_: str) -> Result | None:
    """Return a result. Raises `Unavailable` (`registry.integrity`) where it is not what was recorded."""
    return _verified(transaction.one(_FIND, of_id=id_))


def find_by_evidence(transaction: Transaction, provider: str, evidence_id: bytes) -> Result | None:
    """Return the result of evidence that a provider sent before. Raises as `find` does."""
    return _verified(transaction.one(_FIND_BY_EVIDENCE, of_provider=provider, of_evidence=evidence_id))


def evidence(transaction: Transaction, id_: str) -> bytes | None:
    """Return the evidence of a result, as it was sent."""
    row = transaction.one(_EVIDENCE, of_id=id_)
    return row[0] if row else None


def behind(transaction: Transaction, digest: bytes) -> tuple[Result, bytes] | None:
    """Return the result that a record of the log names by its digest, and its evidence. Raises as `find` does."""
    row = transaction.one(_BY_DIGEST, of_digest=digest)
    return None if row is None else (_result(row[:-1]), row[-1])


def _refuse_revoked(ground: Ground) -> None:
    if ground.revoked is not None:
        kind = ground.revoked.replace("_", " ")
        raise RequestRefused(Reason.KEY_REVOKED, found=f"a {kind} that was revoked", wanted="nothing revoked")


def _again(transaction: Transaction, first: str, at: datetime) -> Recorded:
    """Return an earlier result and how its key stands now; that may rest on a later one, and must not be revoked."""
    (row,) = transaction.all(_FIND, of_id=first)
    result = _result(row)
    key = keys.load(transaction, result.key_id, at) if result.tier is Tier.AFFIRMING else None
    if key is not None:
        _refuse_lost(key, result.provider)
    return Recorded(result, created=False, key=key)


def _renewable(provider: str, platform: bytes, ground: Ground, at: datetime, most: int) -> Key | None:
    """Return the key that is to be renewed, or null where it is new; refuse what cannot be registered.

    More keys than one machine needs are refused: a stolen attestation key would show as a burst of them.
    """
    if ground.owner not in (None, provider):
        raise RequestRefused(Reason.PLATFORM_CONFLICT, found="another provider's platform", wanted="one of your own")
    known = keys.loaded(ground.key, at) if ground.key[0] is not None else None
    others = ground.living - (known is not None and _lives_on(known, platform, at))
    if others >= most:
        raise RequestRefused(Reason.PLATFORM_KEYS, found=f"{others} other live keys", wanted=f"at most {most} in all")
    if known is not None:
        _refuse_lost(known, provider)
    return known


def _unclaimed(transaction: Transaction, provider: str, devices: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the devices that are nobody's yet; refuse those of others, which would be lent out."""
    if not devices:
        return ()
    values = {f"device_{number}": device for number, device in enumerate(devices)}
    owners = {row[0]: row[1] for row in transaction.all(_owners(len(devices)), **values)}
    if not set(owners.values()) <= {provider}:
        raise RequestRefused(Reason.PLATFORM_CONFLICT, found="another provider's GPU", wanted="those of your own")
    return tuple(device for device in devices if device not in owners)


@lru_cache(maxsize=64)
def _owners(count: int) -> Statement:
    any_of = or_(*(col(PlatformRow.id) == bindparam(f"device_{number}") for number in range(count)))
    return Statement(select(col(PlatformRow.id), col(PlatformRow.provider)).where(any_of))


def _lives_on(key: Key, platform: bytes, at: datetime) -> bool:
    return key.platform == platform and key.decided is not KeyState.REVOKED and key.valid_until >= at


def _insert(transaction: Transaction, new: NewResult, at: datetime) -> Result:
    result = Result(
        id=new.id,
        evidence_id=new.evidence_id,
        provider=new.provider,
        tee=new.tee,
        binding=new.binding,
        key_id=new.key_id,
        tier=new.tier,
        policy_name=new.policy_name,
        policy_digest=new.policy_digest,
        recorded_at=at,
        document=new.document,
        digest=sha256(new.document).digest(),
    )
    row = _row(result)
    own = seal(_DOMAIN, row.values())
    transaction.run(_INSERT, **row, seal=own, document=new.document, evidence=new.evidence)
    return result


def _refuse_lost(key: Key, provider: str) -> None:
    if key.provider != provider:
        raise RequestRefused(Reason.KEY_OWNED, found="another provider's key", wanted="a key of your own")
    if key.decided is KeyState.REVOKED:
        raise RequestRefused(Reason.KEY_REVOKED, found="a key that was revoked", wanted="a new key")


def _registered(new: NewResult, fresh: NewKey, result: Result, known: Key | None, at: datetime) -> Key:
    """Return the key as it stands after the result: new, or renewed. A suspension outlives the renewal."""
    decided = known.decided if known else KeyState.ACTIVE
    return Key(
        id=new.key_id,
        spki=fresh.spki,
        provider=new.provider,
        tee=new.tee,
        binding=new.binding,
        role=fresh.role,
        image=fresh.image,
        models=tuple(sorted(set(fresh.models))),
        platform=fresh.platform,
        product_line=fresh.product_line,
        policy_name=new.policy_name,
        policy_digest=new.policy_digest,
        result_id=new.id,
        result_digest=result.digest,
        valid_from=fresh.valid_from,
        valid_until=fresh.valid_until,
        registered_at=known.registered_at if known else at,
        changed_at=max(at, known.changed_at) if known else at,
        version=known.version + 1 if known else 1,
        decided=decided,
        state=keys.state_at(decided, fresh.valid_from, fresh.valid_until, at),
    )


def _row(result: Result) -> dict[str, Field]:
    return {
        "id": result.id,
        "evidence_id": result.evidence_id,
        "provider": result.provider,
        "tee": result.tee,
        "binding": result.binding,
        "key_id": result.key_id,
        "tier": result.tier.value,
        "policy_name": result.policy_name,
        "policy_digest": result.policy_digest,
        "recorded_at": to_micros(result.recorded_at),
        "digest": result.digest,
    }


def _verified(row: Row | None) -> Result | None:
    return _result(row) if row else None


@intact("a result")
def _result(row: Row) -> Result:
    *sealed, own, document = row
    fields = dict(zip(_NAMES, sealed, strict=True))
    if seal(_DOMAIN, sealed) != own or sha256(document).digest() != fields["digest"]:
        raise damaged("a result")
    fields |= {"tier": Tier(fields["tier"]), "recorded_at": from_micros(fields["recorded_at"])}
    return Result(**fields, document=document)
