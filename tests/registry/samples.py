"""Results and keys to record, each a function of its number."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TypeVar

from attestd.registry import Registry, access, challenges, results
from attestd.registry.values import Key, NewKey, NewResult, Recorded
from attestd.result import Tier

T = TypeVar("T")

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=24)
REGISTRY_ID = "attestd:test"


def known(value: T | None) -> T:
    """Return what must be there."""
    assert value is not None
    return value


def digest(*parts: object) -> bytes:
    return sha256(repr(parts).encode()).digest()


def new_key(number: int, **changes: object) -> NewKey:
    fields = {
        "spki": b"spki" + digest("spki", number) * 2,
        "role": None,
        "image": digest("image", number % 3),
        "models": (digest("model", number % 2),),
        "platform": digest("platform", number),
        "product_line": "00806f050000",
        "valid_from": NOW - timedelta(hours=1),
        "valid_until": LATER,
    }
    return NewKey(**fields | changes)  # type: ignore[arg-type]


def new_result(number: int, *, key: NewKey | None = None, tier: Tier = Tier.AFFIRMING, **changes: object) -> NewResult:
    if tier is Tier.AFFIRMING and key is None:
        key = new_key(number)
    fields = {
        "id": f"result-{number:06}",
        "evidence_id": digest("evidence", number),
        "provider": "alice",
        "challenge": digest("challenge", number),
        "tee": "tdx",
        "binding": "attestd/v1",
        "key_id": digest("key", number),
        "tier": tier,
        "policy_name": "strict-tdx",
        "policy_digest": digest("policy"),
        "document": b'{"number":%d}' % number + b" " * 1000,
        "evidence": digest("raw", number) * 200,
        "key": key,
    }
    return NewResult(**fields | changes)  # type: ignore[arg-type]


def prepare(registry: Registry, *providers: str) -> None:
    for name in providers or ("alice",):
        registry.write(access.register_provider, name, name.title(), by="admin", at=NOW).result()


def challenge(registry: Registry, number: int, provider: str = "alice") -> bytes:
    value = digest("challenge", number)
    registry.write(challenges.issue, value, provider, expires_at=LATER, at=NOW).result()
    return value


def record(registry: Registry, new: NewResult, at: datetime = NOW, most: int = 16) -> Recorded:
    return registry.write(results.record, new, at, live_keys_per_platform=most).result()


def register(registry: Registry, number: int, at: datetime = NOW, **changes: object) -> Key:
    """Issue a challenge and record an affirming result that answers it."""
    new = new_result(number, **changes)  # type: ignore[arg-type]
    registry.write(challenges.issue, new.challenge, new.provider, expires_at=LATER, at=NOW).result()
    return known(record(registry, new, at).key)
