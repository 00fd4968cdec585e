"""What lost records do to the keys of a registry that was restored: attacks.md B10. The rest is in registrar_chain."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from attestd.registry import Registry, catalogue, challenges, decisions, epochs, fsck, keys, log, recovery, revocations
from attestd.registry.epochs import Terms
from attestd.registry.recovery import Copy, Recovery
from attestd.registry.values import Key, KeyState, RevocationKind
from attestd.transparency import merkle
from attestd.transparency.record import (
    Approve,
    Expire,
    Image,
    Model,
    Policy,
    Record,
    Renew,
    Resume,
    Revoke,
    Suspend,
    dump_record,
)
from tests.registry.samples import LATER, NOW, digest, known, new_key, new_result, record, register

AT = NOW + timedelta(hours=1)
LOST = NOW + timedelta(minutes=30)  # when the lost records were decided
KEY = digest("key", 1)
TERMS = Terms(60, 3600, lambda size, root: b"note", is_published=False)


def recover(registry: Registry, *lost: Record, held: int | None = None, at: datetime = AT) -> Recovery:
    """Recover records behind the first `held` of the registry: behind all, where nothing was decided since."""
    size = registry.read(log.size) if held is None else held
    leaves = registry.read(log.leaves, 0, size)
    records = [*(leaf.said() for leaf in leaves), *lost]
    hashes = [merkle.leaf_hash(dump_record(said)) for said in records]
    frontier = merkle.Frontier()
    frontier.extend(hashes)
    copy = Copy(0, records, hashes, frontier.root(), ())
    return registry.write(recovery.recover, copy, lambda size, root: b"note", at).result()


def key(registry: Registry, at: datetime = AT) -> Key:
    return known(registry.read(keys.find, KEY, at))


def unknown(registry: Registry) -> Key:
    """Return a key that the registry does not know: another one under this id."""
    other = registry.read(keys.load, digest("key", 2), AT) or register(registry, 2)
    return replace(other, id=KEY)


def put(make: type[Approve | Renew | Resume], of: Key, *, until: timedelta | None = None) -> Approve | Renew | Resume:
    """Say of a key what is known of it; `until` is another end, counted from now."""
    entry = decisions.entry(of)
    if until is not None:
        entry = replace(entry, not_after=int((NOW + until).timestamp()))
    return make(at=LOST, key=of.id, result=of.result_digest, entry=entry)


def says(registry: Registry) -> Record:
    return known(registry.read(log.last, KEY)).said()


def require_whole(registry: Registry, at: datetime = AT) -> None:
    """What is recovered can be published: it rests on what is known, and nothing is wrong."""
    assert registry.read(lambda transaction: list(fsck.examine(transaction))) == []
    assert known(registry.write(epochs.build, at, TERMS).result()).checkpoint.tree_size == registry.read(log.size)
    assert registry.read(lambda transaction: list(fsck.examine(transaction))) == []


def suspended(registry: Registry) -> None:
    registry.write(keys.suspend, KEY, reason="", by="admin", at=NOW).result()


def revoked(registry: Registry) -> None:
    registry.write(revocations.revoke, RevocationKind.KEY, KEY.hex(), reason="", by="admin", at=NOW).result()


def nothing(registry: Registry) -> None:
    pass


Before = Callable[[Registry], None]
Said = Callable[[Key], Record]
RENEWED = digest("a result that is lost")


@pytest.mark.parametrize(
    ("before", "said", "state", "last"),
    [
        (nothing, lambda of: Suspend(at=LOST, key=of.id), KeyState.SUSPENDED, Suspend),
        (nothing, lambda of: Revoke(at=LOST, key=of.id), KeyState.REVOKED, Revoke),
        (suspended, lambda of: Revoke(at=LOST, key=of.id), KeyState.REVOKED, Revoke),
        # It expired before its time, as it is known here: it had been shortened.
        (nothing, lambda of: Expire(at=LOST, key=of.id), KeyState.SUSPENDED, Suspend),
        (suspended, lambda of: put(Resume, of), KeyState.SUSPENDED, Suspend),
        (suspended, lambda of: Expire(at=LOST, key=of.id), KeyState.SUSPENDED, Expire),
        (revoked, lambda of: put(Approve, of), KeyState.REVOKED, Revoke),
        (revoked, lambda of: Suspend(at=LOST, key=of.id), KeyState.REVOKED, Suspend),
        (nothing, lambda of: put(Renew, of, until=timedelta(hours=2)), KeyState.ACTIVE, Renew),
        (nothing, lambda of: put(Renew, of, until=timedelta(minutes=40)), KeyState.EXPIRED, Expire),
        (nothing, lambda of: put(Renew, of, until=timedelta(hours=48)), KeyState.ACTIVE, Renew),
        (nothing, lambda of: put(Resume, of), KeyState.ACTIVE, Resume),
    ],
)
def test_a_known_key_is_trusted_no_more_than_before_the_loss(
    registry: Registry, before: Before, said: Said, state: KeyState, last: type[Record]
) -> None:
    register(registry, 1)
    before(registry)
    known_before = key(registry)
    recovered = recover(registry, lost := said(known_before))
    assert (key(registry).state, type(says(registry)), recovered.revoked) == (state, last, ())
    if state is KeyState.ACTIVE:
        assert key(registry).valid_until == min(
            known_before.valid_until,
            datetime.fromtimestamp(lost.entry.not_after, NOW.tzinfo),  # type: ignore[union-attr]
        )
        assert says(registry).entry == decisions.entry(key(registry))  # type: ignore[union-attr]
    require_whole(registry)


def test_a_key_is_trusted_on_what_is_known_of_it(registry: Registry) -> None:
    """It was renewed on a result that is lost."""
    register(registry, 1)
    renewed = replace(put(Renew, key(registry), until=timedelta(hours=48)), result=RENEWED)
    assert recover(registry, renewed).changed == ()
    assert says(registry) == replace(put(Renew, key(registry)), at=AT)
    require_whole(registry)


def test_a_key_that_expired_as_it_is_known_leaves_the_map(registry: Registry) -> None:
    register(registry, 1)
    renewed = replace(put(Renew, key(registry), until=timedelta(hours=72)), result=RENEWED)
    late = LATER + timedelta(hours=1)
    registry.write(keys.expire, late, most=10).result()
    recover(registry, replace(renewed, at=late), at=late)
    assert says(registry) == Expire(at=late, key=KEY)
    require_whole(registry, late)


def test_a_key_that_has_expired_is_not_suspended(registry: Registry) -> None:
    register(registry, 1)
    late = LATER + timedelta(hours=1)
    assert recover(registry, Expire(at=late, key=KEY), at=late).changed == ()
    assert key(registry, late).decided is KeyState.ACTIVE
    require_whole(registry, late)


@pytest.mark.parametrize(
    "said",
    [
        lambda of: put(Approve, of),
        lambda of: Suspend(at=LOST, key=of.id),
        lambda of: Revoke(at=LOST, key=of.id),
    ],
)
def test_a_key_that_is_not_known_is_revoked(registry: Registry, said: Said) -> None:
    recovered = recover(registry, put(Approve, unknown(registry)), said(unknown(registry)))
    assert (recovered.revoked, recovered.changed, type(says(registry))) == ((KEY,), (), Revoke)
    assert registry.read(revocations.find, RevocationKind.KEY, KEY.hex()) is not None
    require_whole(registry)


def test_one_that_was_revoked_before_it_was_known_leaves_the_map(registry: Registry) -> None:
    revoked(registry)
    recover(registry, put(Approve, unknown(registry)))
    assert says(registry) == Revoke(at=AT, key=KEY)
    require_whole(registry)


def test_one_that_has_expired_needs_no_revocation(registry: Registry) -> None:
    assert recover(registry, put(Approve, unknown(registry)), Expire(at=LOST, key=KEY)).revoked == ()
    assert registry.read(revocations.find, RevocationKind.KEY, KEY.hex()) is None
    require_whole(registry)


@pytest.mark.parametrize(
    "said", [lambda of: Expire(at=LOST, key=of.id), lambda of: put(Renew, of, until=timedelta(hours=2))]
)
def test_newer_evidence_outweighs_what_was_said_of_the_older(registry: Registry, said: Said) -> None:
    register(registry, 1)
    lost, held = said(key(registry)), registry.read(log.size)
    renewed = new_result(101, key_id=KEY, key=new_key(1))
    registry.write(challenges.issue, renewed.challenge, "alice", expires_at=LATER, at=NOW).result()
    record(registry, renewed, LOST + timedelta(minutes=1))
    recovered = recover(registry, lost, held=held)
    assert (recovered.again, recovered.changed, key(registry).state) == (1, (), KeyState.ACTIVE)
    assert key(registry).valid_until == LATER
    require_whole(registry)


def test_a_suspension_outlives_newer_evidence(registry: Registry) -> None:
    register(registry, 1)
    held = registry.read(log.size)
    renewed = new_result(101, key_id=KEY, key=new_key(1))
    registry.write(challenges.issue, renewed.challenge, "alice", expires_at=LATER, at=NOW).result()
    record(registry, renewed, LOST + timedelta(minutes=1))
    assert recover(registry, Suspend(at=LOST, key=KEY), held=held).changed == (KEY,)
    assert key(registry).state is KeyState.SUSPENDED
    require_whole(registry)


@pytest.mark.parametrize(
    ("make", "of", "kind"),
    [(Model, digest("model", 1), RevocationKind.MODEL), (Image, digest("image", 1), RevocationKind.IMAGE)],
)
def test_what_was_withdrawn_takes_its_keys_along(
    registry: Registry, make: type[Model | Image], of: bytes, kind: RevocationKind
) -> None:
    register(registry, 1)
    recover(registry, make(at=LOST, digest=of, state="withdrawn"))
    assert registry.read(revocations.find, kind, of.hex()) is not None
    assert key(registry).state is KeyState.REVOKED
    require_whole(registry)


def test_approvals_that_are_lost_are_named(registry: Registry) -> None:
    write = registry.write
    write(catalogue.approve_model, digest("model"), name="m", by="admin", at=NOW).result()
    write(catalogue.approve_image, digest("image"), name="i", roles=("worker",), by="admin", at=NOW).result()
    write(catalogue.approve_policy, "known", 2, b"text", by="admin", at=NOW).result()
    lost: list[Record] = [
        Model(at=LOST, digest=digest("lost"), state="approved"),
        Image(at=LOST, digest=digest("lost image"), state="approved"),
        Policy(at=LOST, name="known", policy_version=3, digest=digest("policy")),
        Policy(at=LOST, name="unknown", policy_version=1, digest=digest("policy")),
    ]
    there: list[Record] = [
        Model(at=LOST, digest=digest("model"), state="approved"),
        Image(at=LOST, digest=digest("image"), state="approved"),
        Image(at=LOST, digest=digest("withdrawn"), state="withdrawn"),
    ]
    assert recover(registry, *lost, *there).approvals == tuple(lost)
    require_whole(registry)


def test_a_copy_that_ends_before_this_log_changes_nothing(registry: Registry) -> None:
    register(registry, 1)
    register(registry, 2)
    done = recover(registry, held=1)
    assert (done.records, done.epochs) == (0, ())
    assert registry.read(log.size) == 2
