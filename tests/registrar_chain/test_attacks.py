"""What others do to the chain, or to what is read of it, is told and changes nothing: B01, B07, B11, R01, R08."""

from dataclasses import replace
from datetime import timedelta

import pytest

from attestd.chain.ledger import AccountStatus, SeenTransaction
from attestd.chain.messages import ExitCode
from attestd.errors import Reason, Unavailable
from attestd.registry import keymap, log
from attestd.registry.publication import MessageState
from attestd.transparency.keymap import lookup
from tests.registrar_chain.test_publisher import candidates, checkpoint, messages, publish, states, told
from tests.registrar_chain.world import INTERVAL, VERIFIERS, MaySign, World
from tests.registry.samples import digest, new_key, register


@pytest.mark.parametrize(
    "reason", [Reason.CHAIN_PROOF, Reason.CHAIN_STALE, Reason.CHAIN_DISAGREES, Reason.CHAIN_UNAVAILABLE]
)
@pytest.mark.parametrize("question", ["registry", "wallet", "transactions"])
def test_b01_what_is_not_proved_changes_nothing_here(
    world: World, reason: Reason, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked in a round, and at whichever question the lie comes."""

    async def lie(*_: object, **__: object) -> None:
        raise Unavailable(reason, found="a lie", wanted="what is proved")

    async def story() -> None:
        register(world.registry, 1)
        world.build()
        await world.round()
        world.chain.block()
        before = candidates(world), messages(world), world.chain.sent
        with monkeypatch.context() as patched:
            patched.setattr(world.chain, question, lie)
            assert await world.round() is reason
        assert (candidates(world), messages(world), world.chain.sent) == before
        assert await world.publish() == 1

    told(story)
    world.require_equal()
    assert world.chain.now.attempts == 1


def test_b07_out_of_gas(world: World) -> None:
    """F16."""

    async def story() -> None:
        register(world.registry, 1)
        world.build()
        world.chain.refuse_with = -14
        await world.round()
        world.chain.block()
        assert await world.round() is Reason.CHAIN_REFUSED
        assert "-14" in messages(world)[0].outcome
        world.chain.refuse_with = None
        world.chain.block(20)
        assert await world.publish() == 1

    told(story)
    world.require_equal()
    assert states(world) == [MessageState.REFUSED, MessageState.DELIVERED]


def test_b07_a_message_that_bounces(world: World) -> None:
    """The contract froze while the message was on its way: it does not run, and the wallet has its value back."""

    async def story() -> None:
        register(world.registry, 1)
        world.build()
        await world.round()
        sound = world.chain.now.registry
        world.chain.now.registry = replace(sound, status=AccountStatus.FROZEN)
        world.chain.block()
        assert await world.round() is Reason.CHAIN_FROZEN
        world.chain.now.registry = replace(world.chain.now.registry, status=AccountStatus.ACTIVE)
        assert await world.round() is Reason.CHAIN_REFUSED
        assert messages(world)[0].outcome == "the contract: not run, no actions"
        world.chain.block(20)
        assert await world.publish() == 1

    told(story)
    world.require_equal()
    assert states(world) == [MessageState.REFUSED, MessageState.DELIVERED]


def test_b11_what_anybody_sends_to_the_contract_confirms_nothing(world: World) -> None:
    """Refused by the contract, or bounced to it: with our own epoch, or with another of its number."""

    async def story() -> None:
        register(world.registry, 1)
        ours = world.build()
        assert ours is not None
        world.chain.drop = 1.0
        await world.round()
        world.chain.refuse_with = ExitCode.TOO_FEW_SIGNATURES
        for one in (ours.checkpoint, replace(ours.checkpoint, map_root=digest("another map"))):
            world.chain.relay(publish(one))
        world.chain.block()
        world.chain.refuse_with = None
        # What bounced runs well, and is no request of anybody's: `OnChain` gives it no body.
        last = world.chain.registry_log[-1]
        bounced = SeenTransaction(**{name: getattr(last, name) for name in last.__dataclass_fields__} | {"body": None})
        world.chain.registry_log[-1] = replace(bounced, compute=0, action=0)
        assert await world.round() is None
        assert (world.epoch(), world.on_chain(), states(world)) == (0, 0, [MessageState.WAITING])
        world.chain.drop = 0.0
        assert await world.publish() == 1

    told(story)
    assert checkpoint(world).map_root is not None


def test_r01_a_record_that_has_expired_is_not_published(world: World) -> None:
    """Registered, and over before it was anybody's turn: it never is in a map that is on chain."""

    async def story() -> None:
        at = world.clock()
        key = new_key(1, valid_from=at, valid_until=at + timedelta(seconds=20))
        register(world.registry, 1, key=key)
        register(world.registry, 2)
        world.chain.block(seconds=INTERVAL)
        assert await world.publish() == 1

    told(story)
    root = checkpoint(world).map_root
    assert root is not None
    for number, is_there in ((1, False), (2, True)):
        proof = world.registry.read(keymap.prove, root, digest("key", number))
        assert (lookup(proof, root, digest("key", number)) is not None) is is_there
    assert world.registry.read(log.size) == 3  # approved twice, expired once


def test_r08_a_verifier_that_was_rotated_out_mid_flight(world: World) -> None:
    """Signed before the change, and sent again after it: refused by the contract, and by us not counted any more."""
    world.chain.threshold = 2
    world.publisher = world.new_publisher()

    async def story() -> None:
        register(world.registry, 1)
        world.build()
        world.chain.drop = 1.0
        await world.round()
        assert world.others[0].asked == [(1, 1)]  # KEYS[1] has signed
        world.chain.verifiers = ((0, VERIFIERS[0]), (2, VERIFIERS[2]))
        # The operator names the new ones, too: until then nothing is sent.
        assert await world.round() is Reason.CHAIN_OWNER
        orders = replace(world.orders(), verifiers=world.chain.verifiers)
        world.publisher = world.new_publisher(orders=orders)
        world.chain.block(11)  # the lease of the one before ends
        world.chain.drop = 0.0
        await world.round()
        world.chain.block()
        await world.round()
        assert str(int(ExitCode.UNKNOWN_SIGNER)) in messages(world)[0].outcome
        assert states(world) == [MessageState.REFUSED, MessageState.WAITING]
        assert await world.publish() == 1

    told(story)
    world.require_equal()
    assert states(world) == [MessageState.REFUSED, MessageState.DELIVERED]
    assert isinstance(world.others[1], MaySign)
    assert world.others[1].asked == [(1, 1)]


def test_r08_who_is_no_verifier_any_more_is_not_counted(world: World) -> None:
    world.chain.threshold = 2
    world.chain.verifiers = ((0, VERIFIERS[0]), (2, VERIFIERS[2]))
    world.others = [MaySign(1)]
    world.publisher = world.new_publisher(orders=replace(world.orders(), verifiers=world.chain.verifiers))

    async def story() -> None:
        register(world.registry, 1)
        world.build()
        assert await world.round() is Reason.CHAIN_QUORUM
        assert world.chain.sent == 0

    told(story)
