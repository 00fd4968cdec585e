"""Results: recorded once per evidence, together with everything that follows from them."""

from datetime import datetime
from hashlib import sha256
from typing import Final

from sqlalchemy import bindparam, insert, select
from sqlmodel import col

from attestd.errors import Reason, RequestRefused
from attestd.registry import challenges, keys, revocations
from attestd.registry.database import Row, Statement, Transaction
from attestd.registry.instants import from_micros, to_micros
from attestd.registry.integrity import Field, damaged, intact, seal
from attestd.registry.tables import PlatformRow, ResultRow, columns
from attestd.registry.values import Key, KeyState, NewKey, NewResult, Recorded, Result
from attestd.result import Tier

_SEALED: Final = columns(ResultRow, without=("seal", "document", "evidence"))
_DOMAIN: Final = "attestd/result/v1"
_NAMES: Final = tuple(column.name for column in _SEALED)
_ROW: Final = (*_SEALED, col(ResultRow.seal), col(ResultRow.document))

_FIND: Final = Statement(select(*_ROW).where(col(ResultRow.id) == bindparam("of_id")))
_FIND_BY_EVIDENCE: Final = Statement(
    select(*_ROW).where(
        col(ResultRow.provider) == bindparam("of_provider"), col(ResultRow.evidence_id) == bindparam("of_evidence")
    )
)
_EVIDENCE: Final = Statement(select(col(ResultRow.evidence)).where(col(ResultRow.id) == bindparam("of_id")))
_INSERT: Final = Statement(insert(ResultRow))
_OWNER: Final = Statement(select(col(PlatformRow.provider)).where(col(PlatformRow.id) == bindparam("of_id")))
_CLAIM: Final = Statement(insert(PlatformRow))


def record(transaction: Transaction, new: NewResult, at: datetime, *, live_keys_per_platform: int) -> Recorded:
    """Record what authentic evidence led to, all of it or nothing.

    (1) The same evidence from the same provider is answered with its first result.
    (2) Nothing that was revoked comes back: `key.revoked`.
    (3) The challenge is consumed: `challenge.unknown`, `challenge.expired`, `challenge.used`.
    (4) The result is written, with the evidence.
    (5) An affirming one registers its key: `key.owned`, `platform.conflict`, `platform.keys`.

    All refusals are `RequestRefused`; after any of them nothing has changed.
    """
    first = find_by_evidence(transaction, new.provider, new.evidence_id)  # (1)
    if new.key is not None:
        revocations.refuse_revoked(transaction, new, new.key)  # (2)
    if first is not None:
        return Recorded(first, created=False, key=_standing(transaction, first, at))
    challenges.consume(transaction, new.challenge, new.provider, at)  # (3)
    result = _insert(transaction, new, at)  # (4)
    if new.key is None:
        return Recorded(result, created=True, key=None)
    _claim_platform(transaction, new.key.platform, new.provider, at)  # (5)
    _refuse_crowd(transaction, new.key.platform, new.key_id, at, live_keys_per_platform)
    key = _registered(new, new.key, result, keys.load(transaction, new.key_id, at), at)
    keys.store(transaction, key)
    return Recorded(result, created=True, key=key)


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


def _standing(transaction: Transaction, first: Result, at: datetime) -> Key | None:
    """Return how the key of an earlier result stands now; it may rest on a later one, and must not be revoked."""
    key = keys.load(transaction, first.key_id, at) if first.tier is Tier.AFFIRMING else None
    if key is not None:
        _refuse_lost(key, first.provider)
    return key


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


def _claim_platform(transaction: Transaction, platform: bytes, provider: str, at: datetime) -> None:
    row = transaction.one(_OWNER, of_id=platform)
    if row is None:
        transaction.run(_CLAIM, id=platform, provider=provider, claimed_at=to_micros(at))
    elif row[0] != provider:
        raise RequestRefused(Reason.PLATFORM_CONFLICT, found="another provider's platform", wanted="one of your own")


def _refuse_crowd(transaction: Transaction, platform: bytes, key_id: bytes, at: datetime, most: int) -> None:
    """Refuse more keys than one machine needs: a stolen attestation key would show as a burst of them."""
    living = keys.count_on_platform(transaction, platform, key_id, at)
    if living >= most:
        raise RequestRefused(Reason.PLATFORM_KEYS, found=f"{living} other live keys", wanted=f"at most {most} in all")


def _refuse_lost(key: Key, provider: str) -> None:
    if key.provider != provider:
        raise RequestRefused(Reason.KEY_OWNED, found="another provider's key", wanted="a key of your own")
    if key.decided is KeyState.REVOKED:
        raise RequestRefused(Reason.KEY_REVOKED, found="a key that was revoked", wanted="a new key")


def _registered(new: NewResult, fresh: NewKey, result: Result, known: Key | None, at: datetime) -> Key:
    """Return the key as it stands after the result: new, or renewed. A suspension outlives the renewal."""
    if known is not None:
        _refuse_lost(known, new.provider)
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
