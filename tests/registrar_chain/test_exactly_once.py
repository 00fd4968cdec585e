"""10,000 publications under a plan of faults (F01, F10, F14 to F19): none lost, none doubled, chain and database equal.

Every fault comes from one seed. A process dies at any step of its loop, before it or after it took effect, and another
begins from what is in the database and on chain; or it is held at a step while another takes over, and goes on later.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from attestd.chain.ledger import AccountStatus, SeenTransaction
from attestd.chain.messages import PUBLISH_VALUE, ExitCode, load_publish
from attestd.registry import challenges, epochs, fsck, keys, log, publication, results, sequencing
from attestd.registry.database import Transaction
from attestd.registry.epochs import Terms
from attestd.registry.publication import MessageState
from attestd.registry.values import NewResult
from attestd.transparency.checkpoint import Checkpoint
from attestd.transparency.record import Approve, Record, load_record
from tests.registrar_chain.chain import SECONDS_PER_BLOCK
from tests.registrar_chain.mortal import STEPS, Life
from tests.registrar_chain.world import World, opened
from tests.registry.samples import digest, new_key, new_result

PUBLICATIONS = 10_000
# Of each fault, so that a plan which has lost one does not pass.
AT_LEAST = 50
A_LEASE = 30 // SECONDS_PER_BLOCK + 1
OUT_OF_GAS = -14
FAULTS = {
    "F01": ("killed",),
    "F10": ("held", "fenced off"),
    "F14": ("down", "lie", "behind"),
    "F15": ("lost", "doubled", "late", "overtaken", "delayed", "expired"),
    "F16": ("out of gas", "action fails", "wallet fails", "wallet is empty", "wallet is frozen"),
    "F17": ("race", "race lost"),
    "F18": ("fork", "taken back"),
    "F19": ("deaf", "killed after _stored", "killed before send", "killed after send"),
}
# Faults that last for some rounds: what it is called, the attribute of the chain, what it is set to, how often.
LASTING = (
    ("down", "down", True, 0.01),
    ("deaf", "deaf", True, 0.01),
    ("lie", "lie", 0.2, 0.01),
    ("behind", "behind", 7, 0.01),
    ("out of gas", "refuse_with", OUT_OF_GAS, 0.006),
    ("refused", "refuse_with", ExitCode.VALUE, 0.003),
    ("action fails", "fail_action", True, 0.006),
    ("wallet fails", "fail_wallet", True, 0.006),
)
SOUND = {attribute: None if attribute == "refuse_with" else 0 for _, attribute, _, _ in LASTING}
BALANCE = 10**15


@pytest.mark.slow
def test_10000_publications_under_faults(memory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(memory) as registry:
        plan = Plan(World(registry, threshold=1, seed=1), random.Random(1))
        try:
            asyncio.run(plan.run(PUBLICATIONS))
        finally:
            with capsys.disabled():
                print(f"\n{plan.said()}")
        plan.require()
        plan.require_faults()


class Plan:
    """Decisions on one side, faults on the other, and publishers that have to live with both."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self._chance = chance
        self._number = 0
        self.life = Life(
            world.registry,
            world.chain,
            lambda registry, ledger: world.new_publisher(registry=registry, ledger=ledger),
            self._lease_ends,
            clock=world.clock,
            terms=Terms(SECONDS_PER_BLOCK, 900, lambda size, root: b""),
            chance=chance,
            deaths=0.005,
        )
        self.happened = world.chain.happened

    async def _lease_ends(self) -> None:
        self.world.chain.block(A_LEASE)

    async def run(self, publications: int) -> None:
        world, chain, life = self.world, self.world.chain, self.life
        chain.drop, chain.double, chain.late, chain.delay = 0.05, 0.05, 0.02, 2
        while world.epoch() < publications:
            self._decide()
            self._strike()
            await life.build()
            if life.is_held and self._chance.random() < 0.3:
                await life.go_on()
            elif not life.is_held and self._chance.random() < 0.02:
                await life.hold()
            for _ in range(3):
                await life.round()
                chain.block()
                if not world.waiting():
                    break
        await self._end()

    async def _end(self) -> None:
        """Take the faults away: what is left is published."""
        chain, life = self.world.chain, self.life
        chain.drop = chain.double = chain.late = life.fate.probability = 0.0
        self._heal()
        await life.go_on()
        for _ in range(2000):
            await life.build()
            await life.round()
            chain.block()
            size = self.world.registry.read(log.size)
            if chain.now.checkpoint and chain.now.checkpoint.tree_size == size and not self.world.waiting():
                return
        raise AssertionError("what was left is not published")

    def _decide(self) -> None:
        """Register a key, or change one that is there."""
        at, write = self.world.clock(), self.world.registry.write
        one = digest("key", self._chance.randrange(max(1, self._number)))
        match self._chance.randrange(10):
            case 0 if self._number:
                write(keys.suspend, one, reason="", by="admin", at=at).exception()
            case 1 if self._number:
                write(keys.resume, one, reason="", by="admin", at=at).exception()
            case _:
                self._number += 1
                window = {"valid_from": at, "valid_until": at + timedelta(hours=2)}
                write(registered, new_result(self._number, key=new_key(self._number, **window)), at).result()

    def _strike(self) -> None:
        chain, chance = self.world.chain, self._chance
        if chance.random() < 0.2:
            self._heal()
        for name, attribute, value, probability in LASTING:
            if chance.random() < probability:
                setattr(chain, attribute, value)
                self.happened[name] += 1
        if chance.random() < 0.02:
            chain.race()
        if chance.random() < 0.02:
            before = self.world.on_chain()
            chain.fork(chance.randint(1, 8))
            self.happened["taken back"] += self.world.on_chain() < before
        if chance.random() < 0.006:
            chain.now.wallet = replace(chain.now.wallet, status=AccountStatus.FROZEN)
            self.happened["wallet is frozen"] += 1
        if chance.random() < 0.006:
            chain.now.wallet = replace(chain.now.wallet, balance=PUBLISH_VALUE)
            self.happened["wallet is empty"] += 1
        if chance.random() < 0.006:
            chain.block(seconds=1000)  # what is signed expires
            self.happened["expired"] += 1

    def _heal(self) -> None:
        chain = self.world.chain
        for attribute, value in SOUND.items():
            setattr(chain, attribute, value)
        chain.now.wallet = replace(chain.now.wallet, status=AccountStatus.ACTIVE, balance=BALANCE)

    def require(self) -> None:
        """The chain holds what the database says, and all of it, and none of it twice."""
        self.world.require_equal()
        self.world.registry.read(self._require_all)
        wallet, contract = self.world.chain.wallet_log, self.world.chain.registry_log
        self.world.registry.read(require_once, wallet, contract)
        # Behind a fork both of two messages may land, of which the first had failed before: the contract refuses one.
        assert attempts_again(contract) <= self.happened["taken back"] // 20

    def _require_all(self, transaction: Transaction) -> None:
        registered = Counter(record.key for record in recorded(transaction) if isinstance(record, Approve))
        assert registered == Counter(digest("key", number) for number in range(1, self._number + 1))
        checkpoint, now = self.world.chain.now.checkpoint, sequencing.state(transaction)
        assert checkpoint is not None
        assert (checkpoint.tree_size, checkpoint.log_root) == (log.size(transaction), now.log_root)
        assert checkpoint.map_root == now.map_root
        assert list(fsck.examine(transaction)) == []

    def require_faults(self) -> None:
        """Each fault of the plan has happened, and often."""
        assert self.life.fate.deaths.keys() >= {f"{time} {step}" for time in ("before", "after") for step in STEPS}
        happened = self.happened + self.life.counted()
        assert not {name: happened[name] for names in FAULTS.values() for name in names if happened[name] < AT_LEAST}

    def said(self) -> str:
        chain = self.world.chain
        return (
            f"{self.world.epoch()} epochs, {chain.now.attempts} publishes reached the contract, {chain.sent} sends\n"
            f"{dict(self.happened + self.life.counted())}\n{dict(self.life.stops)}"
        )


def require_once(
    transaction: Transaction, wallet: Sequence[SeenTransaction], contract: Sequence[SeenTransaction]
) -> None:
    """Each epoch took one message that was written down, one transaction of the wallet and one of the contract."""
    assert len({tx.message for tx in wallet}) == len(wallet)
    bearers = {arrival: tx.message for tx in wallet for arrival in tx.sent}
    landed = [(checkpoint, tx) for tx in contract if tx.succeeded and (checkpoint := published(tx))]
    confirmed = [row for row in epochs.all_(transaction) if row.coordinates is not None]
    assert [row.number for row in confirmed] == list(range(1, len(confirmed) + 1))
    for row, (checkpoint, tx) in zip(confirmed, sorted(landed, key=lambda one: one[0].epoch), strict=True):
        assert checkpoint == row.checkpoint
        assert (tx.lt, tx.hash) == (row.coordinates.lt, row.coordinates.hash)  # type: ignore[union-attr]
        states = {one.hash: one.state for one in publication.messages_of(transaction, row.number, row.candidate)}
        assert bearers.pop(tx.message) in states
        assert list(states.values()).count(MessageState.DELIVERED) <= 1


def attempts_again(contract: Sequence[SeenTransaction]) -> int:
    """Count the publications of an epoch that was there already; all of them were refused."""
    reached, count = 0, 0
    for tx in sorted(contract, key=lambda one: one.lt):
        checkpoint = published(tx)
        if checkpoint is not None and tx.succeeded:
            assert checkpoint.epoch == reached + 1
            reached += 1
        elif checkpoint is not None:
            count += checkpoint.epoch <= reached
    return count


def published(transaction: SeenTransaction) -> Checkpoint | None:
    """Return what a transaction of the contract has taken in; null where that was no publication."""
    return load_publish(transaction.body) if transaction.body is not None and transaction.body.bits else None


def recorded(transaction: Transaction) -> Iterator[Record]:
    """Go through the records of the log."""
    for first in range(0, log.size(transaction), 1000):
        yield from map(load_record, log.records(transaction, first, 1000))


def registered(transaction: Transaction, new: NewResult, at: datetime) -> None:
    challenges.issue(transaction, new.challenge, new.provider, expires_at=at + timedelta(hours=1), at=at)
    results.record(transaction, new, at, live_keys_per_platform=16)
