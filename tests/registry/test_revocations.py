from datetime import datetime
from itertools import product

import pytest
from sqlalchemy import text

from attestd.errors import Reason, RequestRefused
from attestd.registry import Registry, audit, challenges, keys, results, revocations
from attestd.registry.values import KeyFilters, KeyState, Revocation, RevocationKind
from attestd.result import Tier
from tests.registry.alter import outside
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

# What takes down key 1, but not key 2.
VALUES = {
    RevocationKind.KEY: digest("key", 1).hex(),
    RevocationKind.PLATFORM: digest("platform", 1).hex(),
    RevocationKind.IMAGE: digest("image", 1).hex(),
    RevocationKind.MODEL: digest("model", 1).hex(),
    RevocationKind.PROVIDER: "alice",
    RevocationKind.PRODUCT_LINE: "00806f050000",
}


def revoke(registry: Registry, kind: RevocationKind, value: str, at: datetime = NOW, by: str = "admin") -> Revocation:
    return registry.write(revocations.revoke, kind, value, reason="broken", by=by, at=at).result()


def two_keys(registry: Registry) -> None:
    prepare(registry, "bob")
    register(registry, 1)
    register(registry, 2, provider="bob", key=new_key(2, product_line="other"))


def test_every_kind_is_covered() -> None:
    assert set(VALUES) == set(RevocationKind)


@pytest.mark.parametrize("kind", list(RevocationKind))
def test_what_rests_on_it_falls_at_once_and_nothing_else(registry: Registry, kind: RevocationKind) -> None:
    two_keys(registry)
    assert revoke(registry, kind, VALUES[kind], NOW).keys == 1
    assert known(registry.read(keys.find, digest("key", 1), NOW)).state is KeyState.REVOKED
    assert known(registry.read(keys.find, digest("key", 2), NOW)).state is KeyState.ACTIVE
    assert known(registry.read(keys.find_past, digest("key", 1), NOW)).version == 2
    assert [key.id for key in registry.read(keys.page, KeyFilters(state=KeyState.ACTIVE), NOW).items] == [
        digest("key", 2)
    ]


@pytest.mark.parametrize("kind", list(RevocationKind))
def test_what_was_revoked_does_not_come_back(registry: Registry, kind: RevocationKind) -> None:
    """Attacks R09: revoke, then submit again: the same evidence, and new evidence of the same."""
    two_keys(registry)
    revoke(registry, kind, VALUES[kind])
    with pytest.raises(RequestRefused) as caught:
        record(registry, new_result(1))
    assert caught.value.reason is Reason.KEY_REVOKED

    value = challenge(registry, 3)
    with pytest.raises(RequestRefused) as caught:
        record(registry, new_result(3, key_id=digest("key", 1), key=new_key(1)))
    assert caught.value.reason is Reason.KEY_REVOKED
    assert registry.read(results.find, "result-000003") is None
    assert registry.read(challenges.require, value, "alice", NOW).consumed_at is None


@pytest.mark.parametrize("kind", list(RevocationKind))
def test_what_was_revoked_before_it_was_seen_does_not_come_in(registry: Registry, kind: RevocationKind) -> None:
    assert revoke(registry, kind, VALUES[kind]).keys == 0
    challenge(registry, 1)
    with pytest.raises(RequestRefused) as caught:
        record(registry, new_result(1))
    assert caught.value.reason is Reason.KEY_REVOKED


def test_a_key_of_one_revoked_model_among_others_falls(registry: Registry) -> None:
    models = tuple(digest("model", number) for number in (7, 8, 9))
    register(registry, 1, key=new_key(1, models=models))
    assert revoke(registry, RevocationKind.MODEL, digest("model", 8).hex()).keys == 1
    challenge(registry, 2)
    with pytest.raises(RequestRefused) as caught:
        record(registry, new_result(2, key=new_key(2, models=models)))
    assert caught.value.reason is Reason.KEY_REVOKED


@pytest.mark.parametrize("place", [0, 1])
def test_a_key_falls_with_a_gpu_of_its_machine(registry: Registry, place: int) -> None:
    devices = (digest("gpu", 1), digest("gpu", 2))
    register(registry, 1, key=new_key(1, devices=devices))
    register(registry, 2, key=new_key(2, devices=(digest("gpu", 3),)))
    assert revoke(registry, RevocationKind.PLATFORM, devices[place].hex()).keys == 1
    states = [known(registry.read(keys.find, digest("key", number), NOW)).state for number in (1, 2)]
    assert states == [KeyState.REVOKED, KeyState.ACTIVE]
    # Whoever has it: another key, on another machine.
    challenge(registry, 3)
    with pytest.raises(RequestRefused) as caught:
        record(registry, new_result(3, key=new_key(3, devices=(digest("gpu", 4), devices[place]))))
    assert caught.value.reason is Reason.KEY_REVOKED
    assert register(registry, 4, key=new_key(4, devices=(devices[1 - place],))).state is KeyState.ACTIVE


def test_a_gpu_is_revoked_of_the_key_as_it_stands(registry: Registry) -> None:
    """A key rests on the devices of its last result, whatever was decided of it since."""
    first, second = digest("gpu", 1), digest("gpu", 2)
    register(registry, 1, key=new_key(1, devices=(first,)))
    register(registry, 2, key_id=digest("key", 1), key=new_key(1, devices=(second,)))
    registry.write(keys.suspend, digest("key", 1), reason="a test", by="admin", at=NOW).result()
    assert revoke(registry, RevocationKind.PLATFORM, first.hex()).keys == 0
    assert known(registry.read(keys.find, digest("key", 1), NOW)).state is KeyState.SUSPENDED
    assert revoke(registry, RevocationKind.PLATFORM, second.hex()).keys == 1
    assert known(registry.read(keys.find, digest("key", 1), NOW)).state is KeyState.REVOKED


def test_a_key_that_fell_with_a_platform_stays_down_on_another(registry: Registry) -> None:
    register(registry, 1)
    revoke(registry, RevocationKind.PLATFORM, VALUES[RevocationKind.PLATFORM])
    challenge(registry, 2)
    moved = new_result(2, key_id=digest("key", 1), key=new_key(1, platform=digest("elsewhere")))
    with pytest.raises(RequestRefused) as caught:
        record(registry, moved)
    assert caught.value.reason is Reason.KEY_REVOKED


def test_the_same_evidence_of_a_revoked_key_is_refused_even_where_it_no_longer_affirms(registry: Registry) -> None:
    register(registry, 1)
    revoke(registry, RevocationKind.KEY, VALUES[RevocationKind.KEY])
    with pytest.raises(RequestRefused) as caught:
        record(registry, new_result(1, tier=Tier.WARNING))
    assert caught.value.reason is Reason.KEY_REVOKED


def test_what_does_not_affirm_is_recorded_whatever_was_revoked(registry: Registry) -> None:
    for kind, value in VALUES.items():
        revoke(registry, kind, value)
    challenge(registry, 1)
    assert record(registry, new_result(1, tier=Tier.CONTRAINDICATED)).created


def test_expired_and_suspended_keys_fall_too(registry: Registry) -> None:
    register(registry, 1)
    register(registry, 3)
    registry.write(keys.suspend, digest("key", 3), reason="", by="admin", at=NOW).result()
    assert revoke(registry, RevocationKind.PROVIDER, "alice", LATER + (LATER - NOW)).keys == 2
    assert registry.read(keys.count, NOW)[KeyState.REVOKED] == 2


def test_more_keys_than_one_batch_fall_together(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_BATCH", 2)
    for number in range(5):
        register(registry, number)
    assert revoke(registry, RevocationKind.PROVIDER, "alice").keys == 5
    assert registry.read(keys.count, NOW)[KeyState.REVOKED] == 5


def test_a_damaged_key_does_not_keep_the_others_from_falling(registry: Registry, url: str) -> None:
    register(registry, 1)
    register(registry, 2)
    with outside(url).begin() as connection:
        damage = text(f"UPDATE keys SET valid_until = {2**62} WHERE id = :id")
        connection.execute(damage, {"id": digest("key", 1)})
    assert revoke(registry, RevocationKind.PROVIDER, "alice").keys == 1
    assert known(registry.read(keys.find, digest("key", 2), NOW)).state is KeyState.REVOKED
    page = registry.read(keys.page, KeyFilters(), NOW)
    assert (len(page.items), page.damaged) == (1, 1)


def test_revoking_again_is_answered_with_the_first(registry: Registry) -> None:
    register(registry, 1)
    first = revoke(registry, RevocationKind.KEY, VALUES[RevocationKind.KEY])
    assert revoke(registry, RevocationKind.KEY, VALUES[RevocationKind.KEY], LATER, by="other") == first
    assert registry.read(revocations.find, RevocationKind.KEY, VALUES[RevocationKind.KEY]) == first
    assert registry.read(revocations.find, RevocationKind.PLATFORM, VALUES[RevocationKind.KEY]) is None
    assert [entry.action for entry in registry.read(audit.page).items] == ["provider.register", "revocation.add"]


@pytest.mark.parametrize("line", ["00806f050000", "milan", "genoa", "turin"])
def test_product_lines_of_both_vendors(registry: Registry, line: str) -> None:
    prepare(registry, "bob")
    register(registry, 1, key=new_key(1, product_line=line))
    assert revoke(registry, RevocationKind.PRODUCT_LINE, line).keys == 1


@pytest.mark.parametrize(
    "value", ["", "Milan", "milan ", "naples", "milan-b0", "00806F050000", "00806f05", "00806f0500000", "alice"]
)
def test_a_product_line_that_there_is_not(registry: Registry, value: str) -> None:
    """It would revoke nothing, and nobody would notice."""
    with pytest.raises(RequestRefused) as caught:
        revoke(registry, RevocationKind.PRODUCT_LINE, value)
    assert caught.value.reason is Reason.REQUEST_MALFORMED


def test_a_digest_has_one_form(registry: Registry) -> None:
    digests = [kind for kind, value in VALUES.items() if len(value) == 64]
    others = ["", "ab", "A" * 64, "g" * 64, "0" * 65, "0" * 64 + "\n", "sha256:" + "0" * 64]
    for kind, value in product(digests, others):
        with pytest.raises(RequestRefused) as caught:
            revoke(registry, kind, value)
        assert caught.value.reason is Reason.REQUEST_MALFORMED
    assert len(digests) == 4


def test_revocations_are_listed(registry: Registry) -> None:
    made = [revoke(registry, kind, value) for kind, value in VALUES.items()]
    seen: list[Revocation] = []
    cursor = None
    for _ in range(3):
        page = registry.read(revocations.list_all, limit=2, cursor=cursor)
        seen += page.items
        cursor = page.next
    assert cursor is None
    assert seen == sorted(made, key=lambda revocation: (revocation.kind, revocation.value))
