"""What the publisher does when the chain does what it should not: attacks.md B03 to B12, R01 to R11, F10, F14 to F18
and F33.

The rules of the contract are those of `chain.FaultChain`; the registry is the real one.
"""

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from attestd.chain.ledger import AccountStatus
from attestd.chain.messages import PUBLISH_VALUE, ExitCode, publish_body
from attestd.errors import Reason, Unavailable
from attestd.registrar.publisher import Publisher
from attestd.registry import catalogue, epochs, keymap, keys, log, publication, revocations
from attestd.registry.epochs import EpochState
from attestd.registry.publication import Message, MessageState
from attestd.registry.values import RevocationKind
from attestd.signature import sign_ed25519
from attestd.transparency import merkle
from attestd.transparency.checkpoint import Checkpoint, signing_hash
from attestd.transparency.keymap import lookup
from attestd.tvm.cell import Cell
from tests.registrar_chain.chain import ADMIN, GLOBAL_ID, REGISTRY, SECONDS_PER_BLOCK
from tests.registrar_chain.world import INTERVAL, KEYS, VALIDITY, World, opened
from tests.registry.samples import digest, register

A_MINUTE = 60 // SECONDS_PER_BLOCK + 1


def messages(world: World, number: int = 1, candidate: int = 1) -> tuple[Message, ...]:
    return world.registry.read(publication.messages_of, number, candidate)


def states(world: World, number: int = 1, candidate: int = 1) -> list[MessageState]:
    return [message.state for message in messages(world, number, candidate)]


def candidates(world: World) -> list[tuple[int, int, EpochState]]:
    rows = world.registry.read(lambda transaction: list(epochs.all_(transaction)))
    return [(row.number, row.candidate, row.state) for row in rows]


def revoke(world: World, number: int) -> None:
    key = digest("key", number).hex()
    world.registry.write(
        revocations.revoke, RevocationKind.KEY, key, reason="stolen", by="admin", at=world.clock()
    ).result()


def is_trusted_on_chain(world: World, number: int) -> bool:
    """Look the key up in the map of the checkpoint on chain, as a reader does."""
    checkpoint = world.chain.now.checkpoint
    if checkpoint is None or checkpoint.map_root is None:
        return False
    proof = world.registry.read(keymap.prove, checkpoint.map_root, digest("key", number))
    assert proof is not None
    return lookup(proof, checkpoint.map_root, digest("key", number)) is not None


def told(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


def test_an_epoch_is_published_with_its_coordinates(world: World) -> None:
    register(world.registry, 1)

    async def story() -> None:
        assert await world.publish() == 1

    told(story)
    world.require_equal()
    row = world.registry.read(epochs.confirmed)
    assert row is not None
    assert row.coordinates is not None
    assert row.coordinates.lt == world.chain.registry_log[-1].lt
    assert (world.stops, states(world)) == ([], [MessageState.DELIVERED])
    assert is_trusted_on_chain(world, 1)
    assert not is_trusted_on_chain(world, 2)


def test_without_changes_an_epoch_is_renewed_before_it_expires(world: World) -> None:
    async def story() -> None:
        await world.publish()
        first = world.chain.now.checkpoint
        world.chain.block(seconds=VALIDITY // 2 - 30)
        assert world.build() is None
        world.chain.block(seconds=60)
        assert await world.publish() == 2
        assert first is not None
        assert world.chain.now.checkpoint is not None
        assert world.chain.now.checkpoint.valid_until > first.valid_until
        assert world.chain.now.checkpoint.map_root == first.map_root

    told(story)
    world.require_equal()


def test_nothing_is_built_before_the_interval_but_for_a_revocation(world: World) -> None:
    async def story() -> None:
        register(world.registry, 1)
        register(world.registry, 2)
        await world.publish()
        register(world.registry, 3)
        assert world.build() is None
        revoke(world, 1)
        assert world.build() is not None

    told(story)


def test_b03_a_lost_message_is_sent_again_and_then_anew(world: World) -> None:
    """F15."""

    async def story() -> None:
        world.chain.drop = 1.0
        register(world.registry, 1)
        world.build()
        for _ in range(5):
            await world.round()
            world.chain.block()
        (first,) = messages(world)
        assert world.chain.sent == 5  # the same one, again and again
        world.chain.block(A_MINUTE)
        world.chain.drop = 0.0
        await world.round()
        assert states(world) == [MessageState.LAPSED, MessageState.WAITING]
        assert messages(world)[1].wallet_seqno == first.wallet_seqno
        assert await world.publish() == 1

    told(story)
    world.require_equal()
    assert world.chain.now.attempts == 1


def test_b04_a_message_that_landed_unheard_is_found_before_anything_is_sent(world: World) -> None:
    async def story() -> None:
        register(world.registry, 1)
        world.build()
        world.chain.deaf = True
        assert await world.round() is Reason.CHAIN_UNAVAILABLE
        world.chain.block()
        sent = world.chain.sent
        world.publisher = world.new_publisher()
        world.chain.block(11)  # the lease of the one before ends
        await world.round()
        assert (world.epoch(), world.chain.sent) == (1, sent)

    told(story)
    world.require_equal()


def test_b05_ten_broadcasts_have_one_effect(world: World) -> None:
    """F15."""

    async def story() -> None:
        world.chain.double = 1.0
        for number in range(3):
            register(world.registry, number)
            world.chain.block(seconds=INTERVAL)
            await world.publish()

    told(story)
    world.require_equal()
    assert (world.chain.now.attempts, world.chain.now.wallet_seqno) == (3, 3)


def test_b06_a_seqno_that_somebody_else_used_is_read_again(world: World) -> None:
    async def story() -> None:
        register(world.registry, 1)
        world.build()
        world.chain.drop = 1.0
        await world.round()
        world.chain.drop = 0.0
        world.chain.use_wallet()
        world.chain.block()
        await world.round()
        assert states(world) == [MessageState.TAKEN, MessageState.WAITING]
        assert [message.wallet_seqno for message in messages(world)] == [0, 1]
        assert await world.publish() == 1

    told(story)
    world.require_equal()
    assert world.chain.now.attempts == 1


@pytest.mark.parametrize("fault", ["refuse_with", "fail_action", "fail_wallet"])
def test_b07_a_failure_keeps_it_pending_and_a_later_success_publishes_once(world: World, fault: str) -> None:
    """F16."""

    async def story() -> None:
        register(world.registry, 1)
        world.build()
        setattr(world.chain, fault, ExitCode.VALUE if fault == "refuse_with" else True)
        await world.round()
        world.chain.block()
        # The exit code is 0 where the action phase fails; that is no success.
        assert await world.round() is Reason.CHAIN_REFUSED
        assert (states(world), world.epoch()) == ([MessageState.REFUSED], 0)
        assert "37" in messages(world)[0].outcome or str(int(ExitCode.VALUE)) in messages(world)[0].outcome
        world.chain.block(20)
        await world.round()  # tried again, now and then
        world.chain.block()
        assert await world.round() is Reason.CHAIN_REFUSED
        setattr(world.chain, fault, None if fault == "refuse_with" else False)
        world.chain.block(20)
        assert await world.publish() == 1

    told(story)
    world.require_equal()
    assert states(world) == [MessageState.REFUSED] * 2 + [MessageState.DELIVERED]


@pytest.mark.parametrize(
    ("account", "change", "reason"),
    [
        ("wallet", {"balance": PUBLISH_VALUE}, Reason.CHAIN_BALANCE),
        ("wallet", {"status": AccountStatus.FROZEN}, Reason.CHAIN_FROZEN),
        ("registry", {"status": AccountStatus.FROZEN}, Reason.CHAIN_FROZEN),
        ("registry", {"status": AccountStatus.ABSENT}, Reason.CHAIN_ACCOUNT),
    ],
)
def test_b07_accounts_that_cannot_pay_or_are_not_there(
    world: World, account: str, change: dict[str, object], reason: Reason
) -> None:
    async def story() -> None:
        register(world.registry, 1)
        world.build()
        sound = getattr(world.chain.now, account)
        setattr(world.chain.now, account, replace(sound, **change))
        assert await world.round() is reason
        assert world.chain.sent == 0
        setattr(world.chain.now, account, sound)
        assert await world.publish() == 1

    told(story)
    world.require_equal()


def test_a_message_between_the_accounts_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.chain.delay = 5
    monkeypatch.setattr(world.chain.chance, "randint", lambda _, most: most)

    async def story() -> None:
        register(world.registry, 1)
        world.build()
        await world.round()
        world.chain.block()
        await world.round()
        assert states(world) == [MessageState.LANDED]
        world.chain.block(A_MINUTE)  # the wallet's message could not land any more; that of the wallet does
        await world.round()
        assert (world.epoch(), states(world)) == (1, [MessageState.DELIVERED])

    told(story)
    world.require_equal()


def test_a_message_between_the_accounts_that_never_arrives(world: World) -> None:
    async def story() -> None:
        register(world.registry, 1)
        world.build()
        world.chain.delay = 10**6
        await world.round()
        world.chain.block()
        await world.round()
        world.chain.now.on_the_way = ()
        world.chain.delay = 0
        world.chain.block(seconds=700)
        await world.round()
        assert states(world) == [MessageState.REFUSED, MessageState.WAITING]
        assert await world.publish() == 1

    told(story)
    world.require_equal()


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_b08_what_a_fork_took_back_is_published_again_and_once(tmp_path: Path, depth: int, seed: int) -> None:
    """F18."""
    with opened(tmp_path) as registry:
        world = World(registry, seed=seed)

        async def story() -> None:
            for number in range(4):
                register(registry, number)
                world.chain.block(seconds=INTERVAL)
                await world.publish()
            before = {row.number: row.checkpoint for row in registry.read(lambda t: list(epochs.all_(t)))}
            world.chain.fork(depth)
            await world.round()
            assert world.epoch() == world.on_chain() < 4
            for _ in range(40):
                world.chain.block()
                await world.round()
            assert world.epoch() == 4
            # Nothing had expired: each lands as it was signed.
            assert all(row.checkpoint == before[row.number] for row in registry.read(lambda t: list(epochs.all_(t))))

        told(story)
        world.require_equal()


def test_b08_what_has_expired_since_is_built_anew(world: World) -> None:
    async def story() -> None:
        for number in range(3):
            register(world.registry, number)
            world.chain.block(seconds=INTERVAL)
            await world.publish()
        world.chain.fork(6)
        world.chain.pool.clear()
        assert (gone := world.on_chain() + 1) <= 3
        assert states(world, gone) == [MessageState.DELIVERED]
        world.chain.block(seconds=VALIDITY + 60)
        await world.round()
        assert world.registry.read(epochs.live) is None
        assert states(world, gone) == [MessageState.LAPSED]  # its blocks are gone, and it lands no more
        assert await world.publish() == world.on_chain()

    told(story)
    world.require_equal()
    assert is_trusted_on_chain(world, 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"code_hash": bytes(32)}, Reason.CHAIN_CODE),
        ({"admin": REGISTRY}, Reason.CHAIN_OWNER),
        ({"threshold": 2}, Reason.CHAIN_OWNER),
        ({"verifiers": ((0, digest("another")),)}, Reason.CHAIN_OWNER),
    ],
)
def test_b09_another_contract_is_not_published_to(world: World, change: dict[str, object], reason: Reason) -> None:
    async def story() -> None:
        register(world.registry, 1)
        world.build()
        for name, value in change.items():
            setattr(world.chain, name, value)
        assert await world.round() is reason
        assert (world.chain.sent, candidates(world)) == (0, [(1, 1, EpochState.BUILT)])

    told(story)


def test_what_verifiers_signed_who_have_left_is_replaced_at_once(world: World) -> None:
    async def story() -> None:
        register(world.registry, 1)
        assert await world.publish() == 1
        world.terms = replace(world.terms, void=lambda: world.publisher.void)
        assert world.build() is None
        world.chain.is_signed = False
        await world.round()
        # One for the epoch that readers refuse, and no more of them until it has landed.
        assert world.build() is not None
        assert world.build() is None
        world.chain.is_signed = True
        assert await world.publish() == 2
        assert world.build() is None

    told(story)
    world.require_equal()


def test_where_nobody_is_pinned_the_contract_may_be_governed_by_anybody(world: World) -> None:
    async def story() -> None:
        orders = replace(world.orders(), verifiers=(), threshold=0, admin=None)
        world.publisher = world.new_publisher(orders=orders)
        register(world.registry, 1)
        world.build()
        assert await world.publish() == 1

    told(story)
    world.require_equal()


def test_b09_it_goes_on_when_the_contract_is_the_right_one_again(world: World) -> None:
    async def story() -> None:
        register(world.registry, 1)
        world.build()
        world.chain.admin = REGISTRY
        assert await world.round() is Reason.CHAIN_OWNER
        world.chain.admin = ADMIN
        assert await world.publish() == 1

    told(story)


def test_b10_f33_a_restored_backup_stops_and_overwrites_nothing(tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    with opened(tmp_path) as registry:
        world = World(registry)

        async def story() -> None:
            for number in range(5):
                register(registry, number)
                world.chain.block(seconds=INTERVAL)
                await world.publish()
                if number == 2:
                    with sqlite3.connect(tmp_path / "attestd.db") as one, sqlite3.connect(backup) as other:
                        one.backup(other)

        told(story)
    for file in tmp_path.glob("attestd.db*"):
        file.unlink()
    backup.chmod(0o600)
    backup.rename(tmp_path / "attestd.db")
    with opened(tmp_path) as registry:
        world.registry = registry
        world.publisher = world.new_publisher()
        world.chain.block(seconds=INTERVAL)

        async def restored() -> None:
            # What it builds now has the number, but not the content, of what is on chain.
            for number in range(3):
                register(registry, 100 + number)
                world.build()
                world.chain.block(seconds=INTERVAL)
                assert await world.round() is Reason.CHAIN_AHEAD
            assert (world.epoch(), world.on_chain()) == (3, 5)

        sent = world.chain.sent
        told(restored)
        assert world.chain.sent == sent


def test_b10_another_epoch_of_our_own_number_is_not_ours(world: World) -> None:
    """Enough verifiers have signed something else: theirs is on chain, and nothing of ours is made to fit it."""

    async def story() -> None:
        register(world.registry, 1)
        ours = world.build()
        assert ours is not None
        theirs = replace(ours.checkpoint, map_root=digest("another map"))
        world.chain.relay(publish(theirs))
        world.chain.block()
        assert await world.round() is Reason.CHAIN_AHEAD
        assert (world.on_chain(), world.epoch(), world.chain.sent) == (1, 0, 0)

    told(story)


def test_a_candidate_that_somebody_else_relayed_is_confirmed(world: World) -> None:
    async def story() -> None:
        register(world.registry, 1)
        ours = world.build()
        assert ours is not None
        world.chain.drop = 1.0
        await world.round()
        world.chain.relay(publish(ours.checkpoint))
        world.chain.block()
        await world.round()
        assert world.epoch() == 1

    told(story)
    world.require_equal()


def publish(checkpoint: Checkpoint) -> Cell:
    return publish_body(checkpoint, {0: sign_ed25519(KEYS[0], signing_hash(checkpoint, GLOBAL_ID, REGISTRY))})


def test_b12_fees_a_hundred_times_as_high_stop_at_the_cap(world: World) -> None:
    async def story() -> None:
        world.chain.fee_factor = 100  # 0.7 TON a time
        world.publisher = world.new_publisher(orders=replace(world.orders(), spending_cap=3 * 10**9))
        for number in range(8):
            register(world.registry, number)
            world.chain.block(seconds=INTERVAL)
            world.build()
            for _ in range(4):
                await world.round()
                world.chain.block()
        assert world.stops[-1] is Reason.CHAIN_SPENDING_CAP
        assert 2 * 10**9 < world.chain.now.spent <= 3 * 10**9
        epoch = world.epoch()
        world.chain.block(seconds=86_400)
        for _ in range(6):  # what was signed has expired meanwhile
            await world.round()
            world.build()
            world.chain.block()
        assert world.epoch() > epoch
        assert checkpoint(world).tree_size == world.registry.read(log.size)  # the queue was kept

    told(story)
    world.require_equal()


def test_paused_and_unpaused(world: World) -> None:
    async def story() -> None:
        register(world.registry, 1)
        world.build()
        world.chain.now.paused = True
        assert await world.round() is Reason.CHAIN_PAUSED
        assert world.chain.sent == 0
        world.chain.now.paused = False
        assert await world.publish() == 1

    told(story)


def test_f14_a_chain_that_is_down_loses_nothing(world: World) -> None:
    async def story() -> None:
        world.chain.down = True
        for number in range(5):
            register(world.registry, number)
            world.chain.block(seconds=INTERVAL)
            world.build()
            assert await world.round() is Reason.CHAIN_UNAVAILABLE
        # Nobody has seen them: each took the place of the one before.
        assert [state for _, _, state in candidates(world)] == [EpochState.LAPSED] * 4 + [EpochState.BUILT]
        world.chain.down = False
        assert await world.publish() == 1

    told(story)
    world.require_equal()
    assert all(is_trusted_on_chain(world, number) for number in range(5))


def test_too_few_cosigners_and_then_enough(tmp_path: Path) -> None:
    with opened(tmp_path) as registry:
        world = World(registry, threshold=3)

        async def story() -> None:
            register(registry, 1)
            world.build()
            world.others[1].refuses = True
            assert await world.round() is Reason.CHAIN_QUORUM
            world.others[1].refuses = False
            assert await world.publish() == 1
            # Nobody was asked again who had signed.
            assert world.others[0].asked == [(1, 1)]

        told(story)
        world.require_equal()


def test_a_cosigner_that_signs_something_else_does_not_count(tmp_path: Path) -> None:
    with opened(tmp_path) as registry:
        world = World(registry, threshold=2)

        class Liar:
            async def sign(self, candidate: epochs.Candidate) -> epochs.Signature:
                return epochs.Signature(world.chain.verifiers[1][1], bytes(64))

        world.others = [Liar()]  # type: ignore[list-item]
        world.publisher = world.new_publisher()

        async def story() -> None:
            register(registry, 1)
            world.build()
            assert await world.round() is Reason.CHAIN_QUORUM
            candidate = registry.read(epochs.live)
            assert candidate is not None
            assert len(registry.read(epochs.signatures, candidate)) == 1

        told(story)


def test_r01_a_record_that_nobody_decided_is_not_published(world: World, tmp_path: Path) -> None:
    register(world.registry, 1)
    told(world.publish)  # type: ignore[arg-type]
    register(world.registry, 2)
    with sqlite3.connect(tmp_path / "attestd.db") as connection:
        (raw, leaf) = connection.execute('SELECT record, leaf FROM log WHERE "index" = 1').fetchone()
        forged = raw.replace(digest("key", 2).hex().encode(), digest("key", 3).hex().encode())
        connection.execute(
            'INSERT INTO log ("index", subject, version, leaf, record) VALUES (2, ?, 1, ?, ?)',
            (digest("key", 3), merkle.leaf_hash(forged), forged),
        )
    world.chain.block(seconds=INTERVAL)
    with pytest.raises(Unavailable) as refused:
        world.build()
    assert refused.value.reason is Reason.REGISTRY_INTEGRITY
    assert leaf
    with sqlite3.connect(tmp_path / "attestd.db") as connection:
        connection.execute('DELETE FROM log WHERE "index" = 2')
    assert world.build() is not None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE key_history SET provider = 'bob' WHERE version = 1",
        "UPDATE results SET tier = 'warning'",
        "DELETE FROM results",
    ],
)
def test_r01_what_a_record_rests_on_was_altered(world: World, tmp_path: Path, change: str) -> None:
    register(world.registry, 1)
    with sqlite3.connect(tmp_path / "attestd.db") as connection:
        connection.execute(change)
    with pytest.raises(Unavailable) as refused:
        world.build()
    assert refused.value.reason is Reason.REGISTRY_INTEGRITY
    assert world.registry.read(epochs.unsigned) is None


def test_r04_two_that_both_think_they_lead_make_one_sequence(tmp_path: Path) -> None:
    with opened(tmp_path) as registry, opened(tmp_path) as other:
        world = World(registry)
        second = world.new_publisher(1, other)

        async def story() -> None:
            chance = random.Random(4)
            for number in range(40):
                register(registry, number)
                world.chain.block(seconds=INTERVAL)  # either lease has ended by now
                world.build()
                for _ in range(6):
                    await asyncio.gather(*(world.round(one) for one in chance.sample([world.publisher, second], 2)))
                    world.chain.block(chance.randint(0, 12))
            for _ in range(20):
                await world.round()
                world.chain.block()

        told(story)
        world.require_equal()
        assert world.epoch() == 40
        # One sequence: no two checkpoints of one size with different roots, signed or not.
        heads = {
            (row.checkpoint.tree_size, row.checkpoint.log_root) for row in registry.read(lambda t: list(epochs.all_(t)))
        }
        assert len(heads) == len({size for size, _ in heads})
        assert set(world.stops) <= {Reason.LEASE_LOST, Reason.CHAIN_OUTDATED}


def test_f10_a_leader_that_was_paused_writes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as registry:
        world = World(registry)

        async def story() -> None:
            register(registry, 1)
            world.build()
            paused, resume = asyncio.Event(), asyncio.Event()
            read = world.chain.wallet

            async def wallet() -> object:
                seen = await read()
                paused.set()
                await resume.wait()
                return seen

            stale = world.new_publisher()
            world.chain.wallet = wallet  # type: ignore[method-assign, assignment]
            round_ = asyncio.create_task(world.round(stale))
            await paused.wait()
            world.chain.wallet = read  # type: ignore[method-assign]
            world.chain.block(seconds=60)
            assert await world.round() is None  # another leads, and publishes
            world.chain.block()
            before = candidates(world), messages(world), world.chain.sent
            resume.set()
            assert await round_ is Reason.LEASE_LOST
            assert (candidates(world), messages(world), world.chain.sent) == before
            assert await world.publish() == 1

        told(story)
        world.require_equal()
        assert world.chain.now.attempts == 1


def test_a_lease_that_is_given_back_need_not_run_out(tmp_path: Path) -> None:
    with opened(tmp_path) as registry:
        world = World(registry)
        other = world.new_publisher()

        async def story() -> None:
            assert await world.publisher.once()
            assert not await other.once()
            await world.publisher.resign()
            assert await other.once()
            assert not await world.publisher.once()

        told(story)


def test_r05_a_policy_that_was_replaced_is_not_published(world: World) -> None:
    """What was judged by a policy that is no longer in force waits for what the new one says of it."""

    async def story() -> None:
        register(world.registry, 1)
        world.build()
        world.chain.drop = 1.0
        await world.round()
        world.registry.write(
            catalogue.approve_policy, "strict-tdx", 2, b"version = 2", by="admin", at=world.clock()
        ).result()
        world.chain.drop = 0.0
        assert await world.round() is Reason.CHAIN_OUTDATED
        world.chain.block(seconds=VALIDITY + 1)
        assert await world.round() is None
        assert await world.publish() == 1
        assert world.chain.now.checkpoint is not None
        assert world.chain.now.checkpoint.policy_digest == world.registry.read(catalogue.policies_digest)

    told(story)
    world.require_equal()


def test_r05_a_key_that_fell_since_it_was_signed_is_not_published(world: World) -> None:
    async def story() -> None:
        register(world.registry, 1)
        world.build()
        world.chain.drop = 1.0
        await world.round()
        world.registry.write(
            keys.suspend, digest("key", 1), reason="out of date", by="attestd", at=world.clock()
        ).result()
        world.chain.drop = 0.0
        assert await world.round() is Reason.CHAIN_OUTDATED
        world.chain.block()
        assert await world.round() is Reason.CHAIN_OUTDATED
        assert world.on_chain() == 0
        world.chain.block(seconds=VALIDITY + 1)
        assert await world.round() is None
        assert await world.publish() == 1
        assert not is_trusted_on_chain(world, 1)

    told(story)


def test_r05_a_key_that_is_on_chain_and_fell_is_gone_with_the_epoch_after_next(world: World) -> None:
    """Holding back what is signed would keep the key on chain for longer, not shorter."""

    async def story() -> None:
        register(world.registry, 1)
        await world.publish()
        register(world.registry, 2)
        world.chain.block(seconds=INTERVAL)
        world.build()
        world.chain.drop = 1.0
        await world.round()
        revoke(world, 1)
        world.chain.drop = 0.0
        assert await world.round() is None
        world.chain.block()
        await world.round()
        assert world.epoch() == 2
        assert await world.publish() == 3
        assert not is_trusted_on_chain(world, 1)
        assert is_trusted_on_chain(world, 2)

    told(story)


@pytest.mark.slow
def test_r10_a_revocation_racing_with_publication_1000_times(tmp_path: Path) -> None:
    with opened(tmp_path) as registry:
        world = World(registry)
        chance = random.Random(10)

        async def story() -> None:
            for number in range(1000):
                register(registry, number)
                world.chain.block(seconds=INTERVAL)
                moment = chance.randrange(8)
                world.chain.drop = chance.choice((0.0, 0.5))
                for step in range(8):
                    if step == moment:
                        revoke(world, number)
                    if step % 4 == 0:
                        world.build()
                    elif step % 4 == 2:
                        world.chain.block()
                    else:
                        await world.round()
                for _ in range(200):
                    world.build()
                    await world.round()
                    world.chain.block(seconds=SECONDS_PER_BLOCK if world.waiting() else INTERVAL)
                    if not world.waiting() and world.build() is None:
                        break
                    if world.stops and world.stops[-1] is Reason.CHAIN_OUTDATED:
                        world.stops.pop()
                        world.chain.block(seconds=VALIDITY)
                assert not is_trusted_on_chain(world, number), number

        told(story)
        world.require_equal()
        assert not world.stops


def test_r11_a_clock_that_is_behind_publishes_nothing_that_has_expired(world: World) -> None:
    """A replica ten minutes behind: what it builds expires ten minutes earlier, never later, on the chain's clock."""

    async def story() -> None:
        world.clock.ahead = -timedelta(minutes=10)
        register(world.registry, 1)
        await world.publish()
        checkpoint = world.chain.now.checkpoint
        assert checkpoint is not None
        assert checkpoint.valid_until <= world.chain.now.utime + VALIDITY - 600 + SECONDS_PER_BLOCK

    told(story)


def test_r11_a_clock_that_is_ahead_signs_nothing(world: World) -> None:
    async def story() -> None:
        world.clock.ahead = timedelta(minutes=10)
        register(world.registry, 1)
        world.build()
        assert await world.round() is Reason.CHAIN_CLOCK
        assert candidates(world) == [(1, 1, EpochState.BUILT)]
        world.clock.ahead = timedelta()
        world.chain.block(seconds=700)
        assert await world.publish() == 1

    told(story)


def test_r11_checkpoints_for_longer_than_the_contract_takes_are_not_signed(world: World) -> None:
    async def story() -> None:
        world.chain.max_validity = VALIDITY - 1
        register(world.registry, 1)
        world.build()
        assert await world.round() is Reason.CHAIN_CLOCK
        assert candidates(world) == [(1, 1, EpochState.BUILT)]

    told(story)


def test_f17_another_process_uses_the_wallet(world: World) -> None:
    """One effect of each message, none lost, whether the other is faster or first (two of ours: `test_devnet`)."""

    async def story() -> None:
        chance = random.Random(17)
        for number in range(60):
            register(world.registry, number)
            world.chain.block(seconds=INTERVAL)
            world.build()
            for _ in range(6):
                await world.round()
                if chance.random() < 0.4:
                    chance.choice((world.chain.use_wallet, world.chain.race))()
                world.chain.block()
        for _ in range(20):
            await world.round()
            world.chain.block()

    told(story)
    world.require_equal()
    assert world.epoch() == world.chain.now.attempts
    assert checkpoint(world).tree_size == 60
    assert world.chain.happened["race lost"] < world.chain.happened["race"]


def test_a_history_longer_than_one_answer_is_read_to_its_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attestd.registrar.reconciling.MAX_HISTORY", 3)
    read = world.chain.transactions

    async def a_page(*of: object, **named: object) -> object:
        return (await read(*of, **named))[:3]  # type: ignore[arg-type]

    monkeypatch.setattr(world.chain, "transactions", a_page)

    async def story() -> None:
        register(world.registry, 1)
        await world.publish()
        register(world.registry, 2)
        world.chain.block(seconds=INTERVAL)
        world.build()
        await world.round()
        world.chain.block()
        for _ in range(10):  # what anybody may send to the contract
            world.chain.relay(publish(replace(checkpoint(world), epoch=99)))
        world.chain.block()
        await world.round()
        assert world.epoch() == 2

    told(story)
    world.require_equal()


def checkpoint(world: World) -> Checkpoint:
    assert world.chain.now.checkpoint is not None
    return world.chain.now.checkpoint


def test_run_goes_on_after_what_goes_wrong_and_resigns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attestd.registrar.publisher._EVERY", 0)
    monkeypatch.setattr("attestd.registrar.publisher._IDLE", 0)
    rounds = 0

    async def story() -> None:
        register(world.registry, 1)
        world.build()
        world.chain.now.paused = True
        done = asyncio.Event()
        once = world.publisher.once

        async def counted() -> bool:
            nonlocal rounds
            rounds += 1
            if rounds == 2:
                assert world.publisher.trouble is not None
                assert world.publisher.trouble.reason is Reason.CHAIN_PAUSED
                world.chain.now.paused = False
            if rounds == 3:
                raise RuntimeError("a mistake")
            if rounds == 4:
                assert world.publisher.trouble is not None
                assert world.publisher.trouble.reason is Reason.INTERNAL
            if rounds > 3:
                world.chain.block()
            if world.epoch():
                done.set()
            return await once()

        monkeypatch.setattr(world.publisher, "once", counted)
        task = asyncio.create_task(world.publisher.run())
        await done.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        other: Publisher = world.new_publisher()
        assert await other.once()

    told(story)
    text = world.metrics.exposition().decode()
    assert 'attestd_publication_failures_total{reason="chain.paused"} 1.0' in text
    assert 'attestd_publication_failures_total{reason="service.internal"} 1.0' in text
    assert "attestd_publication_stopped 0.0" in text
