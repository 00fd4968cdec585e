"""Every decision is a leaf of the log, written with it; and the log makes the map that the keys make."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from attestd.errors import RequestRefused
from attestd.registry import Registry, catalogue, challenges, decisions, keymap, keys, log, revocations, sequencing
from attestd.registry.values import Key, KeyFilters, KeyState, RevocationKind
from attestd.result import Tier
from attestd.transparency import keymap as nodes
from attestd.transparency import merkle, record
from attestd.transparency.entry import Entry
from attestd.transparency.record import Record, RecordedEntry, load_record
from tests.registry.alter import outside
from tests.registry.samples import (
    LATER,
    NOW,
    REGISTRY_ID,
    challenge,
    digest,
    new_key,
    new_result,
    prepare,
    register,
)
from tests.registry.samples import record as record_result
from tests.transparency.files import fold

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
KEY = digest("key", 1)


def said(registry: Registry, first: int = 0) -> list[Record]:
    """Return the records from an index on, of which there are no more than a thousand."""
    return [load_record(raw) for raw in registry.read(log.records, first, 1000)]


def result_digest(number: int) -> bytes:
    return sha256(new_result(number).document).digest()


def entry(number: int, **changes: Any) -> RecordedEntry:
    key = new_key(number)
    fields: dict[str, Any] = {
        "tee": "tdx",
        "image": key.image,
        "models": key.models,
        "not_before": int(key.valid_from.timestamp()),
        "not_after": int(key.valid_until.timestamp()),
    }
    return RecordedEntry(**fields | changes)


def suspend(registry: Registry, key_id: bytes = KEY, at: datetime = NOW) -> None:
    registry.write(keys.suspend, key_id, reason="doubt", by="admin", at=at).result()


def resume(registry: Registry, key_id: bytes = KEY, at: datetime = NOW) -> None:
    registry.write(keys.resume, key_id, reason="clear", by="admin", at=at).result()


def revoke(registry: Registry, kind: RevocationKind, value: str, at: datetime = NOW) -> None:
    registry.write(revocations.revoke, kind, value, reason="lost", by="admin", at=at).result()


def expire(registry: Registry, at: datetime, most: int = 1000) -> int:
    return registry.write(keys.expire, at, most=most).result()


def renew(registry: Registry, number: int, key_id: bytes = KEY, at: datetime = NOW, **changes: Any) -> None:
    register(registry, number, at, key_id=key_id, key=new_key(1, **changes))


def test_a_key_is_approved(registry: Registry) -> None:
    register(registry, 1)
    assert said(registry) == [record.Approve(at=NOW, key=KEY, result=result_digest(1), entry=entry(1))]
    assert registry.read(log.find, KEY) == (0,)


def test_recording_says_where_the_log_says_it(registry: Registry) -> None:
    register(registry, 1)
    challenge(registry, 2)
    recorded = record_result(registry, new_result(2))
    assert recorded.index == 1
    assert said(registry)[1] == record.Approve(at=NOW, key=digest("key", 2), result=result_digest(2), entry=entry(2))
    assert record_result(registry, new_result(2)).index is None
    assert registry.read(log.size) == 2


@pytest.mark.parametrize("tier", [Tier.WARNING, Tier.CONTRAINDICATED])
def test_of_a_result_that_registers_no_key_its_digest_alone_is_said(registry: Registry, tier: Tier) -> None:
    challenge(registry, 1)
    assert record_result(registry, new_result(1, tier=tier)).index == 0
    assert said(registry) == [record.Refuse(at=NOW, result=result_digest(1))]
    assert registry.read(log.find, result_digest(1)) == (0,)


def test_nothing_is_said_of_what_was_not_recorded(registry: Registry) -> None:
    with pytest.raises(RequestRefused):
        record_result(registry, new_result(1))  # no such challenge
    assert registry.read(log.size) == 0


def test_no_leaf_names_a_provider_or_a_machine(registry: Registry) -> None:
    """Attack A12."""
    register(registry, 1)
    challenge(registry, 2)
    record_result(registry, new_result(2, tier=Tier.WARNING))
    revoke(registry, RevocationKind.PLATFORM, digest("platform", 1).hex())
    for secret in (b"alice", digest("platform", 1).hex().encode(), b"result-000001", b"00806f050000"):
        assert not any(secret in raw for raw in registry.read(log.records, 0, 10))


def test_a_window_is_never_longer_in_the_log(registry: Registry) -> None:
    moment = timedelta(microseconds=1)
    register(registry, 1, key=new_key(1, valid_from=NOW + moment, valid_until=LATER - moment))
    start, end = int(NOW.timestamp()), int(LATER.timestamp())
    (approved,) = said(registry)
    assert isinstance(approved, record.Approve)
    assert approved.entry == entry(1, not_before=start + 1, not_after=end - 1)


def test_a_key_is_renewed(registry: Registry) -> None:
    register(registry, 1)
    renew(registry, 2, at=NOW + HOUR)
    assert said(registry, 1) == [record.Renew(at=NOW + HOUR, key=KEY, result=result_digest(2), entry=entry(1))]


def test_a_key_is_suspended_and_resumed(registry: Registry) -> None:
    register(registry, 1)
    suspend(registry)
    suspend(registry)
    resume(registry)
    resume(registry)
    resumed = record.Resume(at=NOW, key=KEY, result=result_digest(1), entry=entry(1))
    assert said(registry, 1) == [record.Suspend(at=NOW, key=KEY), resumed]


def test_a_suspended_key_stays_so_when_it_is_renewed(registry: Registry) -> None:
    register(registry, 1)
    suspend(registry)
    renew(registry, 2)
    renewed = record.Renew(at=NOW, key=KEY, result=result_digest(2), entry=entry(1))
    assert said(registry, 2) == [renewed, record.Suspend(at=NOW, key=KEY)]
    assert fold(said(registry)) == {}
    resume(registry)
    resumed = record.Resume(at=NOW, key=KEY, result=result_digest(2), entry=entry(1))
    assert said(registry, 4) == [resumed]


def test_a_key_is_shortened(registry: Registry) -> None:
    register(registry, 1)
    until = NOW + HOUR
    registry.write(keys.shorten, KEY, result_id="result-000001", valid_until=until, by="attestd", at=NOW).result()
    shorter = entry(1, not_after=int(until.timestamp()))
    assert said(registry, 1) == [record.Renew(at=NOW, key=KEY, result=result_digest(1), entry=shorter)]


OF_KEY_1 = {
    RevocationKind.KEY: KEY.hex(),
    RevocationKind.PLATFORM: digest("platform", 1).hex(),
    RevocationKind.IMAGE: digest("image", 1).hex(),
    RevocationKind.MODEL: digest("model", 1).hex(),
    RevocationKind.PROVIDER: "alice",
    RevocationKind.PRODUCT_LINE: "00806f050000",
}


@pytest.mark.parametrize("kind", list(RevocationKind))
def test_each_key_that_falls_is_said_to_be_revoked(registry: Registry, kind: RevocationKind) -> None:
    prepare(registry, "bob")
    register(registry, 1)
    register(registry, 4, key=new_key(1), key_id=digest("key", 4))  # on the same machine
    other = new_key(2, product_line="milan")
    register(registry, 2, provider="bob", key=other)
    suspend(registry, digest("key", 4))
    before = registry.read(log.size)
    revoke(registry, kind, OF_KEY_1[kind])
    fallen = [KEY] if kind is RevocationKind.KEY else sorted([KEY, digest("key", 4)])
    revoked: list[Record] = [record.Revoke(at=NOW, key=key_id) for key_id in fallen]
    if kind in (RevocationKind.IMAGE, RevocationKind.MODEL):
        make = record.Image if kind is RevocationKind.IMAGE else record.Model
        revoked.append(make(at=NOW, digest=bytes.fromhex(OF_KEY_1[kind]), state="withdrawn"))
    assert said(registry, before) == revoked
    revoke(registry, kind, OF_KEY_1[kind])
    assert registry.read(log.size) == before + len(revoked)


def test_a_key_that_nobody_has_seen_is_said_to_be_revoked(registry: Registry) -> None:
    revoke(registry, RevocationKind.KEY, KEY.hex())
    assert said(registry) == [record.Revoke(at=NOW, key=KEY)]


def test_a_key_whose_row_was_altered_leaves_the_map_when_it_is_revoked(registry: Registry, url: str) -> None:
    register(registry, 1)
    with outside(url).begin() as connection:
        connection.execute(text(f"UPDATE keys SET valid_until = {2**62}"))
    revoke(registry, RevocationKind.PROVIDER, "alice")
    assert said(registry, 1) == [record.Revoke(at=NOW, key=KEY)]
    assert fold(said(registry)) == {}
    assert expire(registry, LATER + HOUR) == 0


def test_models_and_images_are_approved_and_withdrawn(registry: Registry) -> None:
    model, image = digest("model", 1), digest("image", 1)
    for _ in range(2):
        registry.write(catalogue.approve_model, model, name="m", by="admin", at=NOW).result()
        registry.write(catalogue.approve_image, image, name="i", roles=("worker",), by="admin", at=NOW).result()
    revoke(registry, RevocationKind.MODEL, model.hex())
    registry.write(catalogue.approve_model, model, name="another name", by="admin", at=NOW).result()
    registry.write(catalogue.approve_image, image, name="i", roles=("proxy",), by="admin", at=NOW).result()
    assert said(registry) == [
        record.Model(at=NOW, digest=model, state="approved"),
        record.Image(at=NOW, digest=image, state="approved"),
        record.Model(at=NOW, digest=model, state="withdrawn"),
        record.Model(at=NOW, digest=model, state="withdrawn"),  # what is revoked stays so
        record.Image(at=NOW, digest=image, state="approved"),
    ]
    assert registry.read(log.find, model) == (0, 2, 3)


def test_policies_come_into_force(registry: Registry) -> None:
    for version in (1, 1, 3):
        registry.write(catalogue.approve_policy, "p", version, b"%d" % version, by="admin", at=NOW).result()
    assert said(registry) == [
        record.Policy(at=NOW, name="p", policy_version=version, digest=sha256(b"%d" % version).digest())
        for version in (1, 3)
    ]


# Keys that expire


def test_each_key_is_said_to_have_expired_once(registry: Registry) -> None:
    for number in (1, 2, 3):
        register(registry, number, key=new_key(number, valid_until=NOW + number * HOUR))
    assert expire(registry, NOW + HOUR) == 0  # the last moment of the first
    assert expire(registry, NOW + 2 * HOUR + SECOND, most=1) == 1
    assert expire(registry, NOW + 2 * HOUR + SECOND, most=1) == 1
    assert expire(registry, NOW + 2 * HOUR + SECOND, most=1) == 0
    at = NOW + 2 * HOUR + SECOND
    assert said(registry, 3) == [record.Expire(at=at, key=digest("key", number)) for number in (1, 2)]
    assert set(fold(said(registry))) == {digest("key", 3)}


def test_what_left_the_map_before_does_not_expire(registry: Registry) -> None:
    register(registry, 1)
    register(registry, 2)
    suspend(registry)
    revoke(registry, RevocationKind.KEY, digest("key", 2).hex())
    assert expire(registry, LATER + HOUR) == 0


def test_a_key_expires_again_after_it_was_renewed_or_resumed(registry: Registry) -> None:
    register(registry, 1, key=new_key(1, valid_until=NOW + HOUR))
    over = NOW + 2 * HOUR
    assert expire(registry, over) == 1
    renew(registry, 2, at=over, valid_until=over + HOUR)
    assert set(fold(said(registry))) == {KEY}
    suspend(registry, at=over)
    over += 2 * HOUR
    assert expire(registry, over) == 0
    resume(registry, at=over)  # which does not make it live
    assert expire(registry, over) == 1
    assert fold(said(registry)) == {}


@pytest.mark.parametrize("moved", [-(10**12), 10**12])
def test_when_a_key_expires_is_said_by_its_sealed_row(registry: Registry, url: str, moved: int) -> None:
    """Attack R02: `listed_until` is not sealed."""
    register(registry, 1)
    with outside(url).begin() as connection:
        connection.execute(text(f"UPDATE keys SET listed_until = listed_until + {moved}"))
    assert expire(registry, NOW) == (1 if moved < 0 else 0)
    assert registry.read(log.size) == 1  # nobody is told that it has expired
    if moved < 0:
        assert expire(registry, NOW) == 0  # and it is put right
        assert expire(registry, LATER + SECOND) == 1


def test_of_a_key_that_is_suspended_nothing_is_said_when_it_seems_listed(registry: Registry, url: str) -> None:
    register(registry, 1)
    suspend(registry)
    with outside(url).begin() as connection:
        connection.execute(text("UPDATE keys SET listed_until = 1"))
    assert expire(registry, LATER + HOUR) == 1
    assert expire(registry, LATER + HOUR) == 0
    assert registry.read(log.size) == 2


def test_a_key_whose_row_was_altered_leaves_the_map(registry: Registry, url: str) -> None:
    register(registry, 1)
    with outside(url).begin() as connection:
        connection.execute(text(f"UPDATE keys SET valid_until = {2**62}"))
    assert expire(registry, LATER + SECOND) == 1
    assert fold(said(registry)) == {}


# The log, folded, is the keys


Step = Callable[[Registry, datetime, int], object]
KEYS = 4


def _register(registry: Registry, at: datetime, number: int) -> None:
    """Register or renew a key; what was revoked is refused."""
    which = number % KEYS
    window = {"valid_from": at + (number % 5 - 2) * HOUR, "valid_until": at + (number % 7 + 1) * HOUR}
    new = new_result(number, key_id=digest("key", which), key=new_key(which, **window))
    registry.write(challenge_at, new.challenge, at).result()
    record_result(registry, new, at)


def challenge_at(transaction: Any, value: bytes, at: datetime) -> None:
    challenges.issue(transaction, value, "alice", expires_at=at + HOUR, at=at)


def _shorten(registry: Registry, at: datetime, number: int) -> None:
    key = registry.read(keys.find, digest("key", number % KEYS), at)
    if key is not None:
        until = at + (number % 3) * HOUR
        registry.write(keys.shorten, key.id, result_id=key.result_id, valid_until=until, by="attestd", at=at).result()


STEPS: list[Step] = [
    _register,
    _shorten,
    lambda registry, at, number: suspend(registry, digest("key", number % KEYS), at),
    lambda registry, at, number: resume(registry, digest("key", number % KEYS), at),
    lambda registry, at, number: expire(registry, at, most=1 + number % 2),
    lambda registry, at, number: registry.write(sequencing.advance, number, most=2 + number % 2).result(),
    lambda registry, at, number: revoke(registry, RevocationKind.KEY, digest("key", number % KEYS).hex(), at),
    lambda registry, at, number: revoke(registry, RevocationKind.IMAGE, digest("image", number % 3).hex(), at),
]
# Most of what happens happens to keys that live.
CHOICES = st.sampled_from([0, 0, 0, 0, 0, 1, 2, 2, 3, 3, 4, 5, 5, 6, 7])
PLANS = st.lists(st.tuples(CHOICES, st.integers(0, 200), st.integers(0, 3)), max_size=25)


def live(registry: Registry, plan: list[tuple[int, int, int]]) -> datetime:
    """Let all of that happen, each some time after the one before, and return when it was over."""
    at = NOW
    for place, (step, number, hours) in enumerate(plan):
        at += hours * HOUR
        with suppress(RequestRefused):
            STEPS[step](registry, at, number + 1000 * place * (step == 0))
    return at


def require_one_truth(registry: Registry, at: datetime) -> None:
    """Require that keys, log, tiles and map say the same."""
    members = fold(said(registry))
    listed = {key.id: key for key in all_keys(registry, at) if is_listed(registry, key)}
    assert members == {key_id: as_entry(key) for key_id, key in listed.items()}
    while expire(registry, at, most=2):
        pass
    now = registry.read(sequencing.state)
    while now.size < registry.read(log.size):
        now = registry.write(sequencing.advance, now.epoch + 1, most=3).result()
    trusted = {key.id: as_entry(key) for key in all_keys(registry, at) if key.state in TRUSTED}
    assert fold(said(registry)) == trusted
    raw = registry.read(log.records, 0, 1000)
    frontier = merkle.Frontier()
    frontier.extend(map(merkle.leaf_hash, raw))
    assert (now.size, now.log_root) == (len(raw), frontier.root())
    root = nodes.update(None, trusted, dict[bytes, bytes]().__getitem__).root
    assert now.map_root == (root or keymap.NO_KEYS)
    for number in range(KEYS):
        proof = registry.read(keymap.prove, now.map_root, digest("key", number))
        assert nodes.lookup(proof, root, digest("key", number)) == trusted.get(digest("key", number))


TRUSTED = {KeyState.ACTIVE, KeyState.PENDING}


def all_keys(registry: Registry, at: datetime) -> tuple[Key, ...]:
    return registry.read(keys.page, KeyFilters(), at).items


def is_listed(registry: Registry, key: Key) -> bool:
    """Whether a key is in the map as far as it was decided: not suspended, not revoked, not said to have expired."""
    index = registry.read(log.find, key.id)[-1]
    return key.decided is KeyState.ACTIVE and not isinstance(said(registry, index)[0], record.Expire)


def as_entry(key: Key) -> Entry:
    return record.Approve(at=NOW, key=key.id, result=key.result_digest, entry=decisions.entry(key)).listed()


@settings(max_examples=40, deadline=None)
@given(PLANS)
def test_the_log_makes_the_map_that_the_keys_make(plan: list[tuple[int, int, int]]) -> None:
    with TemporaryDirectory() as folder:
        registry = Registry.open(f"sqlite:///{Path(folder)}/attestd.db", registry_id=REGISTRY_ID, at=NOW)
        try:
            prepare(registry)
            require_one_truth(registry, live(registry, plan))
        finally:
            registry.close()


PLAN = [
    (0, 0, 0), (0, 1, 0), (5, 1, 0), (0, 2, 1), (2, 0, 0), (0, 0, 0), (5, 2, 0), (3, 0, 1), (1, 1, 1), (4, 1, 3),
    (0, 5, 0), (2, 1, 0), (4, 1, 3), (3, 1, 2), (5, 3, 0), (0, 3, 0), (7, 2, 0), (6, 3, 0), (0, 9, 1), (4, 0, 3),
]  # fmt: skip


def test_the_same_on_either_back_end(registry: Registry) -> None:
    require_one_truth(registry, live(registry, PLAN))
