"""What must not keep a revocation from the chain: another process, a co-signer, a relayer, a clock, an empty wallet."""

import asyncio
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attestd.chain.ledger import SeenRegistry, SeenWallet
from attestd.chain.messages import PUBLISH_VALUE
from attestd.errors import Reason, Unavailable
from attestd.registrar import cosigning, leading
from attestd.registrar.cosigning import OwnKey
from attestd.registry import publication
from attestd.registry.epochs import Candidate, EpochState, Signature
from attestd.registry.publication import MessageState
from attestd.tvm.cell import pruned_branch
from tests.registrar_chain.test_publisher import candidates, is_trusted_on_chain, publish, revoke, states, told
from tests.registrar_chain.world import INTERVAL, World, opened
from tests.registry.samples import digest, register

A_DAY = timedelta(days=1)


class Blind:
    """A chain that is not of this process's time, or that it does not reach; it sees again when it is told to."""

    def __init__(self, world: World) -> None:
        self._chain = world.chain
        self.sees = False

    async def registry(self) -> SeenRegistry:
        if not self.sees:
            raise Unavailable(Reason.CHAIN_STALE, found="a block of ten minutes ago", wanted="one of now")
        return await self._chain.registry()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)


class Silent:
    """A co-signer that never answers."""

    def __init__(self) -> None:
        self.asked = 0

    async def sign(self, candidate: Candidate) -> Signature:
        self.asked += 1
        await asyncio.Event().wait()
        raise AssertionError


@pytest.fixture
def quorum(tmp_path: Path) -> Iterator[World]:
    """Return a world in which two signatures are wanted."""
    with opened(tmp_path) as registry:
        yield World(registry, threshold=2)


class TestProcesses:
    def test_who_cannot_read_the_chain_does_not_lead(self, world: World) -> None:
        """Such as one whose clock is ahead: by it, every lease of another is over."""

        def ahead() -> Any:
            return world.clock() + timedelta(minutes=10)

        async def story() -> None:
            blind = world.new_publisher(ledger=Blind(world), clock=ahead)
            register(world.registry, 1)
            world.build()
            assert await world.round(blind) is Reason.CHAIN_STALE
            assert await world.round() is None
            assert await world.round(blind) is Reason.CHAIN_STALE
            world.chain.block()
            assert await world.round() is None
            assert world.epoch() == 1

        told(story)
        world.require_equal()

    def test_a_leader_that_cannot_read_it_any_more_gives_the_lease_back(self, world: World) -> None:
        async def story() -> None:
            ledger = Blind(world)
            blind = world.new_publisher(ledger=ledger)
            ledger.sees = True
            assert await blind.once()
            assert not await world.publisher.once()
            ledger.sees = False
            assert await world.round(blind) is Reason.CHAIN_STALE
            assert await world.publisher.once()

        told(story)

    def test_who_pins_another_contract_does_not_keep_the_lease(self, world: World) -> None:
        async def story() -> None:
            old = world.new_publisher(orders=replace(world.orders(), threshold=3))
            register(world.registry, 1)
            world.build()
            assert await world.round(old) is Reason.CHAIN_OWNER
            assert await world.publisher.once()

        told(story)

    def test_a_round_that_takes_longer_than_a_lease_keeps_it(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where liteservers are waited for in vain, two processes would take it from each other for ever."""
        monkeypatch.setattr(leading, "_KEPT_EVERY", 0)
        read, other = world.chain.wallet, world.new_publisher()

        async def wallet() -> SeenWallet:
            for _ in range(3):
                before = world.registry.read(publication.held)
                world.chain.block(seconds=25)
                while world.registry.read(publication.held) == before:  # noqa: ASYNC110 - the writer is a thread
                    await asyncio.sleep(0)
            assert not await other.once()
            return await read()

        async def story() -> None:
            register(world.registry, 1)
            world.build()
            monkeypatch.setattr(world.chain, "wallet", wallet)
            assert await world.round() is None
            assert states(world) == [MessageState.WAITING]

        told(story)

    def test_a_clock_that_was_ahead_for_a_moment(self, world: World) -> None:
        """F20: what was built then nobody has signed, and what comes after it need not be of later."""

        async def story() -> None:
            register(world.registry, 1)
            world.clock.ahead = A_DAY
            world.build()
            world.clock.ahead = timedelta()
            assert await world.publish() == 1

        told(story)
        world.require_equal()


class TestCosigners:
    def test_one_that_never_answers(self, quorum: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cosigning, "_SLOW", 0)
        silent = Silent()
        quorum.others.insert(0, silent)  # type: ignore[arg-type]
        quorum.publisher = quorum.new_publisher()

        async def story() -> None:
            register(quorum.registry, 1)
            assert await quorum.publish() == 1
            register(quorum.registry, 2)
            quorum.chain.block(seconds=INTERVAL)
            assert await quorum.publish() == 2

        told(story)
        quorum.require_equal()
        assert silent.asked == 1  # not once more while it may still answer

    def test_none_of_them_answers(self, quorum: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cosigning, "_PATIENCE", 0)
        quorum.others[:] = [Silent()]  # type: ignore[list-item]
        quorum.publisher = quorum.new_publisher()

        async def story() -> None:
            register(quorum.registry, 1)
            quorum.build()
            assert await quorum.round() is Reason.CHAIN_QUORUM

        told(story)

    def test_all_that_are_left_are_asked_when_one_refuses(self, quorum: World) -> None:
        first, second = quorum.others
        first.refuses = True

        async def story() -> None:
            register(quorum.registry, 1)
            assert await quorum.publish() == 1

        told(story)
        assert (first.asked, second.asked) == ([], [(1, 1)])
        assert not quorum.stops

    def test_nobody_is_asked_to_sign_what_is_held_back(self, quorum: World) -> None:
        first, second = quorum.others
        first.refuses = second.refuses = True

        async def story() -> None:
            register(quorum.registry, 1)
            quorum.build()
            assert await quorum.round() is Reason.CHAIN_QUORUM
            revoke(quorum, 1)
            first.refuses = False
            assert await quorum.round() is Reason.CHAIN_OUTDATED

        told(story)
        assert first.asked == []

    def test_a_signature_that_was_altered_is_asked_for_again(self, quorum: World, tmp_path: Path) -> None:
        """R02: with one that is not good, the contract refuses all of them (exit code 405)."""

        async def story() -> None:
            register(quorum.registry, 1)
            quorum.build()
            quorum.chain.drop = 1.0
            quorum.chain.now.wallet.balance = 10**15
            for other in quorum.others:
                other.refuses = True
            assert await quorum.round() is Reason.CHAIN_QUORUM
            with sqlite3.connect(tmp_path / "attestd.db") as connection:
                connection.execute("UPDATE epoch_signatures SET signature = zeroblob(64)")
            for other in quorum.others:
                other.refuses = False
            quorum.chain.drop = 0.0
            assert await quorum.publish() == 1

        told(story)
        quorum.require_equal()


class TestRevocations:
    def test_one_that_comes_while_it_is_signed(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """R10: what was signed would be held back until it has expired, and all that comes after it."""
        sign = OwnKey.sign

        async def late(own: OwnKey, candidate: Candidate) -> Signature:
            if candidate.checkpoint.map_root is not None:
                revoke(world, 1)
            return await sign(own, candidate)

        monkeypatch.setattr(OwnKey, "sign", late)

        async def story() -> None:
            register(world.registry, 1)
            world.build()
            assert await world.round() is Reason.CHAIN_OUTDATED
            assert candidates(world) == [(1, 1, EpochState.BUILT)]
            assert await world.publish() == 1

        told(story)
        assert not is_trusted_on_chain(world, 1)


class TestRelayers:
    def test_what_they_have_brought_is_not_waited_for_again(self, world: World) -> None:
        """Our own message for it may come later: it is refused then, and costs, and no more."""

        async def story() -> None:
            register(world.registry, 1)
            ours = world.build()
            assert ours is not None
            world.chain.drop = 1.0
            await world.round()
            world.chain.drop = 0.0
            world.chain.relay(publish(ours.checkpoint))
            world.chain.block()
            await world.round()
            revoke(world, 1)
            world.build()
            await world.round()
            world.chain.block()
            await world.round()
            assert world.epoch() == 2

        told(story)
        world.require_equal()
        assert states(world) == [MessageState.TAKEN]
        assert not is_trusted_on_chain(world, 1)

    def test_a_message_with_a_special_cell(self, world: World) -> None:
        async def story() -> None:
            await world.publish()
            body = pruned_branch(digest("body"), 1)
            world.chain._record(world.chain.now.registry, digest("message"), body=body)
            register(world.registry, 1)
            world.chain.block(seconds=INTERVAL)
            assert await world.publish() == 2

        told(story)


class TestMoney:
    """What cannot be sent is not signed, so that it does not stand in the way of what comes after it."""

    @pytest.mark.parametrize("reason", [Reason.CHAIN_BALANCE, Reason.CHAIN_SPENDING_CAP])
    def test_without_it_nothing_is_signed(self, world: World, reason: Reason) -> None:
        balance = world.chain.now.wallet.balance
        if reason is Reason.CHAIN_BALANCE:
            world.chain.now.wallet.balance = PUBLISH_VALUE
        else:
            world.cap = PUBLISH_VALUE
            world.publisher = world.new_publisher()

        async def story() -> None:
            register(world.registry, 1)
            world.build()
            assert await world.round() is reason
            assert candidates(world) == [(1, 1, EpochState.BUILT)]
            revoke(world, 1)
            world.build()
            world.chain.now.wallet.balance, world.cap = balance, 10**18
            await world.publisher.resign()
            world.publisher = world.new_publisher()
            await world.round()
            world.chain.block()
            await world.round()
            assert world.epoch() == 1

        told(story)
        assert not is_trusted_on_chain(world, 1)
