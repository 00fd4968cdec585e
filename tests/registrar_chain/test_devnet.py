"""The same over the devnet: liteservers that fail, proofs, the real contract and a real wallet."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from attestd.chain.devnet import DEVNET_GLOBAL_ID, Fault
from attestd.chain.ledger import Ledger
from attestd.chain.messages import DEPLOY_VALUE
from attestd.chain.onchain import OnChain
from attestd.chain.state import Governance, state_init
from attestd.chain.wallet import Transfer
from attestd.errors import AttestdError, Reason
from attestd.metrics import Metrics
from attestd.registrar.cosigning import OwnKey
from attestd.registrar.orders import Orders
from attestd.registrar.publisher import Publisher
from attestd.registry import Registry, epochs, fsck, log
from attestd.registry.epochs import Terms
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder
from tests.chain.devnet.world import TON, World, on_devnet
from tests.registrar_chain.mortal import Fate, MortalLedger, MortalRegistry
from tests.registrar_chain.test_exactly_once import A_LEASE, registered
from tests.registrar_chain.world import KEYS, VERIFIERS, Killed, opened
from tests.registry.samples import new_key, new_result

PUBLICATIONS = 60
SENDING = {Fault.LOSE: 0.1, Fault.DUPLICATE: 0.1, Fault.DELAY: 0.05, Fault.DROP_ANSWER: 0.05}
READING = {Fault.STALE: 0.01, Fault.ABSENT: 0.02, Fault.TRUNCATED: 0.02, Fault.WRONG_ACCOUNT: 0.02, Fault.CUT: 0.02}


class Service:
    """A registry on one side, its contract on the other, and who publishes."""

    def __init__(self, world: World, registry: Registry, chance: random.Random) -> None:
        self.world = world
        self.registry = registry
        self.fate = Fate(chance, 0.004)
        self.terms = Terms(5, 900, lambda size, root: b"")
        self.reasons: set[Reason] = set()
        self.dead = 0

    async def deploy(self) -> None:
        self.wallet = await self.world.wallet(balance=1000 * TON)
        admin = Address(0, bytes(32))
        self.governance = Governance(
            admin=admin, threshold=2, timelock=3600, max_validity=3600, verifiers=tuple(enumerate(VERIFIERS))
        )
        init = state_init(self.governance)
        self.address = Address(0, init.hash)
        transfer = Transfer(to=self.address, value=DEPLOY_VALUE, body=Builder().end(), state_init=init, bounce=False)
        seqno, until = await self.world.seqno(self.wallet), int(self.world.clock()) + 60
        await self.world.net.chain.send(dump_boc(self.wallet.sign((transfer,), seqno=seqno, valid_until=until)))
        await self.world.net.advance(2)
        self.ledger: Ledger = OnChain(self.world.reader(timeout=1.0), self.address, self.wallet)
        self.publisher = self.born()

    def born(self) -> Publisher:
        own = [OwnKey(key, DEVNET_GLOBAL_ID, self.address) for key in KEYS[:2]]
        return Publisher(
            MortalRegistry(self.registry, self.fate),  # type: ignore[arg-type]
            MortalLedger(self.ledger, self.fate),
            self.wallet,
            own,
            orders=Orders(
                self.address,
                DEVNET_GLOBAL_ID,
                10**13,
                self.governance.verifiers,
                self.governance.threshold,
                self.governance.admin,
            ),
            metrics=Metrics("1", simulated=True),
            clock=self.now,
        )

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.world.clock(), UTC)

    def decide(self, number: int) -> None:
        at = self.now()
        key = new_key(number, valid_from=at, valid_until=at + timedelta(hours=10))
        self.registry.write(registered, new_result(number, key=key), at).result()

    async def round(self) -> None:
        self.registry.write(epochs.build, self.now(), self.terms).result()
        try:
            await self.publisher.once()
        except AttestdError as error:
            self.reasons.add(error.reason)
        except Killed:
            self.dead += 1
            self.world.clock.at += 3 * A_LEASE
            self.publisher = self.born()
        self.world.clock.at += 3
        await self.world.net.advance()

    def epoch(self) -> int:
        confirmed = self.registry.read(epochs.confirmed)
        return 0 if confirmed is None else confirmed.number

    def is_done(self) -> bool:
        read = self.registry.read
        confirmed, waiting = read(epochs.confirmed), (read(epochs.live), read(epochs.unsigned))
        return confirmed is not None and waiting == (None, None) and confirmed.checkpoint.tree_size == read(log.size)

    async def require_equal(self) -> None:
        """Read the whole history of the contract: each epoch is there once, where the database says."""
        seen = await self.ledger.registry()
        found = await self.ledger.transactions(
            self.address, since=0, last_lt=seen.account.last_lt, last_hash=seen.account.last_hash
        )
        landed = [(tx.lt, tx.hash) for tx in reversed(found) if tx.succeeded and tx.body is not None and tx.body.bits]
        rows = [row for row in self.registry.read(lambda t: list(epochs.all_(t))) if row.coordinates is not None]
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
        assert [(row.coordinates.lt, row.coordinates.hash) for row in rows if row.coordinates] == landed
        assert rows[-1].checkpoint == seen.checkpoint
        assert rows[-1].checkpoint.tree_size == self.registry.read(log.size)
        assert self.registry.read(lambda t: list(fsck.examine(t))) == []


@pytest.mark.slow
@on_devnet
async def test_publications_under_faults_of_liteservers_and_chain(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(3)
    with opened(tmp_path) as registry:
        service = Service(world, registry, chance)
        await service.deploy()
        for server in world.net.liteservers:
            for fault, probability in (SENDING | READING).items():
                server.faults.set(fault, probability=probability, count=2)
        number = 0
        while service.epoch() < PUBLICATIONS:
            number += 1
            service.decide(number)
            if chance.random() < 0.03:
                await world.net.fork(chance.randint(1, 4))
            await service.round()
            await service.round()
        for server in world.net.liteservers:
            server.faults.clear()
        service.fate.probability = 0
        while not service.is_done():
            await service.round()
        await service.require_equal()
        with capsys.disabled():
            print(f"\n{service.epoch()} epochs, {service.dead} deaths, {sorted(service.reasons)}")
