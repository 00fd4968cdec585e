from datetime import datetime, timedelta
from typing import Any

import pytest

from attestd.errors import Reason, RequestRefused, Unavailable
from attestd.registry import Registry, challenges, keys, results, revocations
from attestd.registry.values import KeyState, NewResult, RevocationKind
from attestd.result import Tier
from tests.registry.alter import alter
from tests.registry.samples import (
    LATER,
    NOW,
    challenge,
    digest,
    known,
    new_key,
    new_result,
    prepare,
    record,
    register,
)

SECOND = timedelta(seconds=1)


def refused(registry: Registry, new: NewResult, at: datetime = NOW, most: int = 16) -> Reason:
    """Record in vain, and see that nothing was left behind."""
    with pytest.raises(RequestRefused) as caught:
        record(registry, new, at, most)
    assert registry.read(results.find, new.id) is None
    key = registry.read(keys.find, new.key_id, NOW)
    assert key is None or key.result_id != new.id
    return caught.value.reason


def still_good(registry: Registry, value: bytes, provider: str = "alice") -> bool:
    return registry.read(challenges.require, value, provider, NOW).consumed_at is None


def test_an_affirming_result_is_recorded_with_everything_that_follows(registry: Registry) -> None:
    value = challenge(registry, 1)
    new = new_result(1)
    recorded = record(registry, new)
    assert recorded.created

    result = known(registry.read(results.find, new.id))
    assert result == recorded.result
    assert (result.document, result.evidence_id, result.provider) == (new.document, new.evidence_id, "alice")
    assert (result.tier, result.recorded_at, result.policy_digest) == (Tier.AFFIRMING, NOW, new.policy_digest)
    assert registry.read(results.evidence, new.id) == new.evidence
    assert registry.read(results.find_by_evidence, "alice", new.evidence_id) == result

    key, fresh = known(registry.read(keys.find, new.key_id, NOW)), known(new.key)
    assert key == recorded.key
    assert (key.state, key.decided, key.version) == (KeyState.ACTIVE, KeyState.ACTIVE, 1)
    assert (key.spki, key.image, key.models, key.platform) == (
        fresh.spki,
        fresh.image,
        fresh.models,
        fresh.platform,
    )
    assert (key.result_id, key.result_digest, key.registered_at) == (new.id, result.digest, NOW)
    with pytest.raises(RequestRefused) as caught:
        registry.read(challenges.require, value, "alice", NOW)
    assert caught.value.reason is Reason.CHALLENGE_USED


def test_what_was_never_recorded_is_not_found(registry: Registry) -> None:
    assert registry.read(results.find, "result-000001") is None
    assert registry.read(results.evidence, "result-000001") is None
    assert registry.read(results.find_by_evidence, "alice", digest("evidence", 1)) is None
    assert registry.read(keys.find, digest("key", 1), NOW) is None


@pytest.mark.parametrize("tier", [Tier.WARNING, Tier.CONTRAINDICATED])
def test_a_result_that_is_not_affirming_registers_no_key(registry: Registry, tier: Tier) -> None:
    value = challenge(registry, 1)
    new = new_result(1, tier=tier)
    recorded = record(registry, new)
    assert (recorded.created, recorded.key, recorded.result.tier) == (True, None, tier)
    assert registry.read(results.find, new.id) == recorded.result
    assert registry.read(keys.find, new.key_id, NOW) is None
    with pytest.raises(RequestRefused):
        registry.read(challenges.require, value, "alice", NOW)
    # … and lays no claim to its platform.
    prepare(registry, "bob")
    register(registry, 2, provider="bob", key=new_key(2, platform=new_key(1).platform))


@pytest.mark.parametrize("tier", list(Tier))
def test_key_and_tier_must_fit(tier: Tier) -> None:
    with pytest.raises(ValueError, match="to register"):
        new_result(1, tier=Tier.WARNING, key=new_key(1)) if tier is not Tier.AFFIRMING else NewResult(
            **{name: getattr(new_result(1), name) for name in NewResult.__slots__} | {"key": None}
        )


def test_the_same_evidence_again_is_answered_with_the_first_result(registry: Registry) -> None:
    first = register(registry, 1)
    challenge(registry, 2)
    again = new_result(1, id="another", challenge=digest("challenge", 2), document=b"{}")
    recorded = record(registry, again, NOW + SECOND)
    assert (recorded.created, recorded.result.id, recorded.key) == (False, "result-000001", first)
    assert registry.read(results.find, "another") is None
    assert still_good(registry, digest("challenge", 2))

    challenge(registry, 3)
    record(registry, new_result(3, tier=Tier.WARNING))
    recorded = record(registry, new_result(3, id="another", tier=Tier.WARNING))
    assert (recorded.created, recorded.result.id, recorded.key) == (False, "result-000003", None)


def test_the_same_evidence_from_another_provider_needs_its_own_challenge(registry: Registry) -> None:
    prepare(registry, "bob")
    register(registry, 1)
    assert refused(registry, new_result(1, id="bobs", provider="bob")) is Reason.CHALLENGE_UNKNOWN


def test_a_challenge_is_answered_once_by_its_provider_in_its_time(registry: Registry) -> None:
    prepare(registry, "bob")
    challenge(registry, 1)
    assert refused(registry, new_result(2)) is Reason.CHALLENGE_UNKNOWN
    other = new_result(2, provider="bob", challenge=digest("challenge", 1))
    assert refused(registry, other) is Reason.CHALLENGE_UNKNOWN
    late = LATER + timedelta(microseconds=1)
    assert refused(registry, new_result(1), at=late) is Reason.CHALLENGE_EXPIRED
    assert record(registry, new_result(1), at=LATER).created
    assert refused(registry, new_result(2, challenge=digest("challenge", 1))) is Reason.CHALLENGE_USED


def test_a_key_belongs_to_one_provider(registry: Registry) -> None:
    prepare(registry, "bob")
    register(registry, 1)
    value = challenge(registry, 2, "bob")
    other = new_result(2, provider="bob", key_id=digest("key", 1))
    assert refused(registry, other) is Reason.KEY_OWNED
    assert still_good(registry, value, "bob")


def test_a_platform_belongs_to_one_provider(registry: Registry) -> None:
    prepare(registry, "bob")
    register(registry, 1)
    value = challenge(registry, 2, "bob")
    other = new_result(2, provider="bob", key=new_key(2, platform=new_key(1).platform))
    assert refused(registry, other) is Reason.PLATFORM_CONFLICT
    assert still_good(registry, value, "bob")
    register(registry, 3, key=new_key(3, platform=new_key(1).platform))


def test_a_gpu_belongs_to_one_provider(registry: Registry) -> None:
    prepare(registry, "bob")
    one, two, three = (digest("gpu", number) for number in range(3))
    register(registry, 1, key=new_key(1, devices=(one, two)))
    value = challenge(registry, 2, "bob")
    for devices in ((two,), (three, one), (one, two)):
        lent = new_result(2, provider="bob", key=new_key(2, devices=devices))
        assert refused(registry, lent) is Reason.PLATFORM_CONFLICT
    assert still_good(registry, value, "bob")
    # The one that was refused beside it is nobody's; those that are claimed go from machine to machine.
    assert record(registry, new_result(2, provider="bob", key=new_key(2, devices=(three,)))).created
    register(registry, 3, key=new_key(3, devices=(two, digest("gpu", 4), one)))
    challenge(registry, 4)
    assert refused(registry, new_result(4, key=new_key(4, devices=(digest("gpu", 4), three)))) is (
        Reason.PLATFORM_CONFLICT
    )


def test_a_gpu_without_a_key_is_nobody_s(registry: Registry) -> None:
    prepare(registry, "bob")
    challenge(registry, 1)
    assert record(registry, new_result(1, tier=Tier.CONTRAINDICATED)).created
    challenge(registry, 2, "bob")
    assert record(registry, new_result(2, provider="bob", key=new_key(2, devices=(digest("gpu", 1),)))).created


def test_a_platform_has_a_bounded_number_of_live_keys(registry: Registry) -> None:
    platform = digest("one platform")
    for number in (1, 2):
        register(registry, number, key=new_key(number, platform=platform))
    value = challenge(registry, 3)
    third = new_result(3, key=new_key(3, platform=platform))
    assert refused(registry, third, most=2) is Reason.PLATFORM_KEYS
    assert still_good(registry, value)

    challenge(registry, 4)
    renewal = new_result(4, key_id=digest("key", 1), key=new_key(1, platform=platform))
    assert known(record(registry, renewal, most=2).key).version == 2

    registry.write(
        revocations.revoke, RevocationKind.KEY, digest("key", 2).hex(), reason="", by="admin", at=NOW
    ).result()
    assert record(registry, third, most=2).created

    registry.write(
        challenges.issue, digest("later"), "alice", expires_at=LATER + 2 * SECOND, at=LATER + SECOND
    ).result()
    fifth = new_result(5, challenge=digest("later"), key=new_key(5, platform=platform))
    assert record(registry, fifth, LATER + SECOND, most=1).created  # the others have expired


def test_a_key_that_comes_to_a_platform_or_back_to_life_counts(registry: Registry) -> None:
    platform = digest("one platform")
    register(registry, 1, key=new_key(1, platform=platform, valid_until=NOW))
    register(registry, 2)
    challenge(registry, 3)
    moved = new_result(3, key_id=digest("key", 2), key=new_key(2, platform=platform))
    assert refused(registry, moved, most=1) is Reason.PLATFORM_KEYS
    assert record(registry, moved, NOW + SECOND, most=1).created  # the first has expired
    challenge(registry, 4)
    back = new_result(4, key_id=digest("key", 1), key=new_key(1, platform=platform))
    assert refused(registry, back, NOW + SECOND, most=1) is Reason.PLATFORM_KEYS
    assert known(record(registry, back, NOW + SECOND, most=2).key).version == 2


def test_what_is_wrong_is_told_in_a_fixed_order(registry: Registry) -> None:
    """A caller without a challenge learns nothing of platforms and keys of others."""
    prepare(registry, "bob")
    register(registry, 1)
    wrong: dict[str, Any] = {
        "provider": "bob",
        "key_id": digest("key", 1),
        "key": new_key(2, platform=new_key(1).platform),
    }
    assert refused(registry, new_result(2, **wrong)) is Reason.CHALLENGE_UNKNOWN
    challenge(registry, 2, "bob")
    assert refused(registry, new_result(2, **wrong), most=1) is Reason.PLATFORM_CONFLICT
    wrong["key"] = new_key(2)
    assert refused(registry, new_result(2, **wrong)) is Reason.KEY_OWNED
    image = new_key(2).image.hex()
    registry.write(revocations.revoke, RevocationKind.IMAGE, image, reason="", by="admin", at=NOW).result()
    assert refused(registry, new_result(3, **wrong)) is Reason.KEY_REVOKED


def test_new_evidence_renews_a_key(registry: Registry) -> None:
    register(registry, 1)
    challenge(registry, 2)
    until = LATER + timedelta(hours=1)
    fresh = new_key(2, valid_until=until, models=(digest("z"), digest("a"), digest("z")))
    renewed = known(record(registry, new_result(2, key_id=digest("key", 1), key=fresh), NOW + SECOND).key)
    assert (renewed.version, renewed.valid_until, renewed.result_id) == (2, until, "result-000002")
    assert (renewed.registered_at, renewed.changed_at) == (NOW, NOW + SECOND)
    assert renewed.models == tuple(sorted({digest("a"), digest("z")}))
    assert registry.read(keys.find, digest("key", 1), NOW + SECOND) == renewed


def test_a_clock_that_goes_back_does_not_reorder_the_history(registry: Registry) -> None:
    register(registry, 1, at=NOW + SECOND)
    challenge(registry, 2)
    renewed = known(record(registry, new_result(2, key_id=digest("key", 1), key=new_key(1)), NOW).key)
    assert renewed.changed_at == NOW + SECOND
    assert known(registry.read(keys.find_past, digest("key", 1), NOW + SECOND)).version == 2
    assert registry.read(keys.find_past, digest("key", 1), NOW) is None


def test_a_suspension_outlives_a_renewal(registry: Registry) -> None:
    register(registry, 1)
    registry.write(keys.suspend, digest("key", 1), reason="", by="admin", at=NOW).result()
    challenge(registry, 2)
    renewed = known(record(registry, new_result(2, key_id=digest("key", 1), key=new_key(1))).key)
    assert (renewed.state, renewed.result_id) == (KeyState.SUSPENDED, "result-000002")


def test_an_altered_result_is_found_out(registry: Registry, url: str) -> None:
    register(registry, 1)
    for column in ("document", "tier", "provider", "policy_digest", "recorded_at", "digest", "seal"):
        with alter(url, "results", column):
            for function, arguments in (
                (results.find, ("result-000001",)),
                (results.find_by_evidence, (altered_provider(column), digest("evidence", 1))),
            ):
                with pytest.raises(Unavailable) as caught:
                    registry.read(function, *arguments)
                assert caught.value.reason is Reason.REGISTRY_INTEGRITY
        assert registry.read(results.find, "result-000001") is not None


def altered_provider(column: str) -> str:
    return "`lice" if column == "provider" else "alice"
