"""10,000 publications under a plan of faults (F01, F10, F14 to F19): none lost, none doubled, chain and database equal.

Every fault comes from one seed. A process dies at any step of its loop, before it or after it took effect, and another
begins from what is in the database and on chain.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from attestd.chain.ledger import AccountStatus
from attestd.errors import AttestdError
from attestd.registrar.publisher import Publisher
from attestd.registry import challenges, fsck, keys, log, results, sequencing
from attestd.registry.database import Transaction
from attestd.registry.epochs import Terms
from attestd.registry.values import NewResult
from tests.registrar_chain.chain import SECONDS_PER_BLOCK
from tests.registrar_chain.mortal import Fate, MortalLedger, MortalRegistry
from tests.registrar_chain.world import Killed, World, opened
from tests.registry.samples import digest, new_key, new_result

PUBLICATIONS = 10_000
MEMORY = Path("/dev/shm")
A_LEASE = 30 // SECONDS_PER_BLOCK + 1
# Faults that last for some rounds: the attribute of the chain, what it is set to, how often.
LASTING = (
    ("down", True, 0.01),
    ("deaf", True, 0.01),
    ("fail_action", True, 0.003),
    ("fail_wallet", True, 0.003),
    ("refuse_with", 440, 0.003),
)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory where there is one: these deaths leave the disk as it is, and a flush costs most."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.mark.slow
def test_10000_publications_under_faults(memory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(memory) as registry:
        plan = Plan(World(registry, threshold=1, seed=1), random.Random(1))
        asyncio.run(plan.run(PUBLICATIONS))
        plan.require()
        with capsys.disabled():
            print(f"\n{plan.said()}")


class Plan:
    """Decisions on one side, faults on the other, and a publisher that has to live with both."""

    def __init__(self, world: World, chance: random.Random, deaths: float = 0.004) -> None:
        self.world = world
        self.world.terms = Terms(SECONDS_PER_BLOCK, 900, lambda size, root: b"")
        self._chance = chance
        self._number = 0
        self.fate = Fate(chance, deaths)
        self.faults: Counter[str] = Counter()
        self.dead = 0
        self.publisher = self._born()

    async def run(self, publications: int) -> None:
        world, chain = self.world, self.world.chain
        chain.drop, chain.double, chain.delay = 0.05, 0.05, 2
        while world.epoch() < publications:
            self._decide()
            self._strike()
            world.build()
            for _ in range(3):
                await self._round()
                chain.block()
                if not world.waiting():
                    break
        await self._end()

    async def _end(self) -> None:
        """Take the faults away: what is left is published."""
        chain = self.world.chain
        chain.drop = chain.double = self.fate.probability = 0.0
        self._heal()
        for _ in range(2000):
            self.world.build()
            await self._round()
            chain.block()
            size = self.world.registry.read(log.size)
            if chain.now.checkpoint and chain.now.checkpoint.tree_size == size and not self.world.waiting():
                return
        raise AssertionError("what was left is not published")

    async def _round(self) -> None:
        try:
            await self.publisher.once()
        except AttestdError as error:
            self.faults[error.reason.value] += 1
        except Killed:
            self.dead += 1
            self.world.chain.block(A_LEASE)
            self.publisher = self._born()

    def _born(self) -> Publisher:
        world = self.world
        registry, ledger = MortalRegistry(world.registry, self.fate), MortalLedger(world.chain, self.fate)
        return world.new_publisher(registry=registry, ledger=ledger)  # type: ignore[arg-type]

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
        for name, value, probability in LASTING:
            if chance.random() < probability:
                setattr(chain, name, value)
                self.faults[name] += 1
        if chance.random() < 0.02:
            chain.use_wallet()
            self.faults["use_wallet"] += 1
        if chance.random() < 0.02:
            chain.fork(chance.randint(1, 8))
            self.faults["fork"] += 1
        if chance.random() < 0.002:
            chain.now.wallet = replace(chain.now.wallet, status=AccountStatus.FROZEN)
            self.faults["frozen"] += 1
        if chance.random() < 0.002:
            chain.block(seconds=1000)  # what is signed expires
            self.faults["late"] += 1

    def _heal(self) -> None:
        chain = self.world.chain
        chain.down = chain.deaf = chain.fail_action = chain.fail_wallet = False
        chain.refuse_with = None
        chain.now.wallet = replace(chain.now.wallet, status=AccountStatus.ACTIVE)

    def require(self) -> None:
        """The chain holds what the database says, and all of it."""
        self.world.require_equal()
        self.world.registry.read(self._require)

    def _require(self, transaction: Transaction) -> None:
        checkpoint, now = self.world.chain.now.checkpoint, sequencing.state(transaction)
        assert checkpoint is not None
        assert (checkpoint.tree_size, checkpoint.log_root) == (log.size(transaction), now.log_root)
        assert checkpoint.map_root == now.map_root
        assert list(fsck.examine(transaction)) == []

    def said(self) -> str:
        chain = self.world.chain.now
        return (
            f"{self.world.epoch()} epochs, {chain.attempts} publishes reached the contract, "
            f"{self.world.chain.sent} sends, {self.dead} deaths at {len(self.fate.deaths)} steps, {dict(self.faults)}"
        )


def registered(transaction: Transaction, new: NewResult, at: datetime) -> None:
    challenges.issue(transaction, new.challenge, new.provider, expires_at=at + timedelta(hours=1), at=at)
    results.record(transaction, new, at, live_keys_per_platform=16)
