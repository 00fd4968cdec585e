"""The same over the devnet: liteservers that fail, proofs, the real contract and a real wallet.

There are PUBLICATIONS of them, or as many as ATTESTD_PUBLICATIONS says: each takes about a fifth of a second.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attestd.chain.account import Account, dump_state_init, load_account
from attestd.chain.devnet import DEVNET_GLOBAL_ID, Fault, NotAccepted
from attestd.chain.ledger import SeenTransaction
from attestd.chain.messages import DEPLOY_VALUE
from attestd.chain.onchain import OnChain
from attestd.chain.state import Governance, state_init
from attestd.chain.wallet import Transfer, Wallet
from attestd.metrics import Metrics
from attestd.registrar.cosigning import OwnKey
from attestd.registrar.orders import Orders
from attestd.registrar.publisher import Publisher
from attestd.registry import Registry, epochs, fsck, log
from attestd.registry.epochs import Terms
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder, Cell
from tests.chain.devnet.conftest import missing
from tests.chain.devnet.world import TON, World, on_devnet
from tests.registrar_chain.mortal import Life, MortalLedger
from tests.registrar_chain.test_exactly_once import OUT_OF_GAS, attempts_again, registered, require_once
from tests.registrar_chain.world import KEYS, VERIFIERS, opened
from tests.registry.samples import new_key, new_result

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=f"needs {missing()}")]

PUBLICATIONS = int(os.environ.get("ATTESTD_PUBLICATIONS", "400"))
# Of each fault, so that a plan which has lost one does not pass.
AT_LEAST = PUBLICATIONS // 200
A_ROUND, A_LEASE = 3, 31  # seconds
BALANCE = 1000 * TON
# What one of three servers does at any question.
OF_ONE = (Fault.LOSE, Fault.DUPLICATE, Fault.DELAY, Fault.DROP_ANSWER, Fault.ABSENT, Fault.TRUNCATED, Fault.CUT)
# What all of them do for a round: how often, and to what extent.
OF_ALL = {
    Fault.CUT: (0.02, 1),
    Fault.STALE: (0.02, 5),
    Fault.FORGED_STATE: (0.02, 1),
    Fault.ABSENT: (0.02, 1),
    Fault.OTHER_NETWORK: (0.02, 1),
    Fault.LOSE: (0.06, 1),
    Fault.DELAY: (0.04, 4),
    Fault.DUPLICATE: (0.06, 3),
    Fault.DROP_ANSWER: (0.03, 1),
}
# What is left of a publication's value where gas is dear: it does not pay for two signatures.
TOO_LITTLE = 2_000_000
FAULTS = {
    "F01": ("killed",),
    "F10": ("held", "fenced off"),
    "F14": ("cut", "stale", "forged_state", "absent", "truncated", "other_network"),
    "F15": ("lose", "duplicate", "delay", "drop_answer", "expired"),
    "F16": ("out of gas", "wallet is empty", "wallet is frozen"),
    "F17": ("race", "race lost"),
    "F18": ("fork", "taken back"),
    "F19": ("killed around a sending",),
}


class Chain(OnChain):
    """The chain as one service sees it; others use its wallet at the worst moment, and gas may be dear."""

    def __init__(self, world: World, registry: Address, wallet: Wallet) -> None:
        super().__init__(world.reader(timeout=1.0), registry, wallet)
        self.address = wallet.address
        self.is_raced = self.is_dear = False
        self.happened: Counter[str] = Counter()
        self._world, self._purse = world, wallet

    def message(self, *, seqno: int, valid_until: int, to: Address, value: int, body: Cell) -> Cell:
        if self.is_dear:
            value = TOO_LITTLE
        return self._purse.message(seqno=seqno, valid_until=valid_until, to=to, value=value, body=body)

    def hash_of(self, message: Cell) -> bytes:
        return self._purse.hash_of(message)

    async def send(self, message: bytes) -> None:
        if self.is_raced:
            self.is_raced = False
            await self._race()
        await super().send(message)

    async def _race(self) -> None:
        """Let another process's message with the same seqno come first."""
        self.happened["race"] += 1
        seqno = self._purse.seqno(account(self._world, self.address))
        try:
            await self._world.net.chain.send(self._world.message(self._purse, seqno, value=1000))
            self.happened["race lost"] += 1
        except NotAccepted:
            pass


class Service:
    """A registry on one side, its contract on the other, and who publishes."""

    def __init__(
        self, world: World, registry: Registry, wallet: Wallet, chance: random.Random, number: int = 0
    ) -> None:
        self.world = world
        self.registry = registry
        self.wallet = wallet
        self.chance = chance
        self.decided = 0
        self.governance = Governance(
            admin=Address(0, bytes(32)),
            threshold=2,
            timelock=3600 + number,
            max_validity=3600,
            verifiers=tuple(enumerate(VERIFIERS)),
        )
        self.init = state_init(self.governance)
        self.address = Address(0, self.init.hash)
        self.chain = Chain(world, self.address, wallet)
        self.life = Life(
            registry,
            self.chain,
            self._born,
            self._lease_ends,
            clock=self.now,
            terms=Terms(5, 900, lambda size, root: b""),
            chance=chance,
            deaths=0.004,
        )

    async def deploy(self) -> None:
        net, until = self.world.net, int(self.world.clock()) + 60
        transfer = Transfer(
            to=self.address, value=DEPLOY_VALUE, body=Builder().end(), state_init=self.init, bounce=False
        )
        seqno = self.wallet.seqno(account(self.world, self.wallet.address))
        await net.chain.send(dump_boc(self.wallet.sign((transfer,), seqno=seqno, valid_until=until)))
        await net.advance(2)

    def _born(self, registry: Any, ledger: MortalLedger) -> Publisher:
        governance = self.governance
        return Publisher(
            registry,
            ledger,
            self.chain,
            [OwnKey(key, DEVNET_GLOBAL_ID, self.address) for key in KEYS[:2]],
            orders=Orders(
                self.address,
                DEVNET_GLOBAL_ID,
                10**13,
                governance.verifiers,
                governance.threshold,
                governance.admin,
            ),
            metrics=Metrics("1", simulated=True),
            clock=self.now,
        )

    async def _lease_ends(self) -> None:
        self.world.clock.at += A_LEASE
        await self.world.net.advance()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.world.clock(), UTC)

    def decide(self) -> None:
        self.decided += 1
        at = self.now()
        key = new_key(self.decided, valid_from=at, valid_until=at + timedelta(days=30))
        self.registry.write(registered, new_result(self.decided, key=key), at).result()

    async def round(self) -> None:
        await self.life.build()
        await self.life.round()

    def epoch(self) -> int:
        confirmed = self.registry.read(epochs.confirmed)
        return 0 if confirmed is None else confirmed.number

    def is_done(self) -> bool:
        read = self.registry.read
        confirmed, waiting = read(epochs.confirmed), (read(epochs.live), read(epochs.unsigned))
        return confirmed is not None and waiting == (None, None) and confirmed.checkpoint.tree_size == read(log.size)

    async def require(self, again: int = 0) -> None:
        """All that was decided is on chain, as the database says, and nothing is there twice.

        At most `again` messages came, behind a fork, for an epoch that was there already.
        """
        assert self.registry.read(log.size) == self.decided
        seen = await self.chain.registry()
        newest = self.registry.read(epochs.confirmed)
        assert newest is not None
        assert newest.checkpoint == seen.checkpoint
        assert newest.checkpoint.tree_size == self.decided
        contract = await self._history(self.address)
        self.registry.read(require_once, await self._history(self.wallet.address), contract)
        assert attempts_again(contract) <= again
        assert self.registry.read(lambda t: list(fsck.examine(t))) == []

    async def _history(self, of: Address) -> Sequence[SeenTransaction]:
        """Return all transactions of an account, newest first."""
        proved = (await self.world.reader().account(of)).account
        found: list[SeenTransaction] = []
        last = proved.last_lt, proved.last_hash
        while page := await self.chain.transactions(of, since=0, last_lt=last[0], last_hash=last[1]):
            found += page[bool(found) :]
            if last == (page[-1].lt, page[-1].hash):
                break
            last = page[-1].lt, page[-1].hash
        return found


class Plan:
    """What goes wrong, besides processes that die."""

    def __init__(self, service: Service, chance: random.Random) -> None:
        self._service = service
        self._net = service.world.net
        self._chance = chance
        self._state: Cell | None = None  # of the wallet, while it is frozen
        self.happened = service.chain.happened
        for server in self._net.liteservers:
            for fault in OF_ONE:
                server.faults.set(fault, probability=0.02)

    async def strike(self) -> None:
        """Let things go wrong for a round, or for as long as they last."""
        net, service, chance = self._net, self._service, self._chance
        net.faults.clear()
        for fault, (probability, extent) in OF_ALL.items():
            if chance.random() < probability:
                net.faults.set(fault, count=extent)
        service.chain.is_raced |= chance.random() < 0.03
        service.chain.is_dear = chance.random() < 0.1
        if chance.random() < 0.03:
            await self._fork()
        if chance.random() < 0.01:
            service.world.clock.at += 1000  # what is signed expires
            await net.advance()
            self.happened["expired"] += 1
        wallet = account(service.world, service.wallet.address)
        if wallet.code is None or wallet.data is None:
            if chance.random() < 0.3:
                await self.heal()
        elif chance.random() < 0.02:
            self._state = dump_state_init(wallet.code, wallet.data)
            await net.freeze(service.wallet.address)
            self.happened["wallet is frozen"] += 1
        elif chance.random() < 0.02:
            await net.drain(service.wallet.address, TOO_LITTLE)
            self.happened["wallet is empty"] += 1
        elif chance.random() < 0.3:
            await self.heal()

    async def _fork(self) -> None:
        before = account(self._service.world, self._service.address)
        await self._net.fork(self._chance.randint(1, 4))
        self.happened["fork"] += 1
        self.happened["taken back"] += before != account(self._service.world, self._service.address)

    async def heal(self) -> None:
        """Fill the wallet, and thaw it."""
        wallet = account(self._service.world, self._service.wallet.address)
        if wallet.data is None:
            await self._net.fund(wallet.address, BALANCE, self._state)
        elif wallet.balance < BALANCE / 2:
            await self._net.fund(wallet.address, BALANCE)

    async def end(self) -> None:
        """Let nothing go wrong any more."""
        for server in self._net.liteservers:
            server.faults.clear()
        self._net.faults.clear()
        self._service.chain.is_raced = self._service.chain.is_dear = False
        self._service.life.fate.probability = 0
        await self.heal()
        await self._service.life.go_on()

    async def counted(self) -> Counter[str]:
        """Return what happened, by name."""
        plans = (self._net.faults, *(server.faults for server in self._net.liteservers))
        struck = sum((plan.struck for plan in plans), Counter[str]())
        contract = await self._service._history(self._service.address)
        deaths = self._service.life.fate.deaths
        sums = {
            "out of gas": sum(tx.compute == OUT_OF_GAS for tx in contract),
            "killed around a sending": sum(deaths[step] for step in ("after _stored", "before send", "after send")),
        }
        return self.happened + self._service.life.counted() + struck + Counter(sums)


def account(world: World, address: Address) -> Account:
    """Return an account as the chain itself has it, whatever its liteservers say."""
    return load_account(world.net.chain.head.accounts[address.hash].cell.refs[0])


@on_devnet
async def test_publications_under_faults_of_liteservers_and_chain(
    world: World, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """F01, F10, F14 to F19."""
    chance = random.Random(3)
    with opened(memory) as registry:
        service = Service(world, registry, await world.wallet(balance=BALANCE), chance)
        await service.deploy()
        plan, life = Plan(service, chance), service.life
        while service.epoch() < PUBLICATIONS:
            service.decide()
            for _ in range(2):
                await plan.strike()
                if life.is_held and chance.random() < 0.3:
                    await life.go_on()
                elif not life.is_held and chance.random() < 0.02:
                    await life.hold()
                await service.round()
                world.clock.at += A_ROUND
                await world.net.advance()
        await plan.end()
        while not service.is_done():
            await service.round()
            world.clock.at += A_ROUND
            await world.net.advance()
        counted = await plan.counted()
        with capsys.disabled():
            print(f"\n{service.epoch()} epochs, {dict(counted)}\n{dict(life.stops)}")
        await service.require(again=counted["taken back"] // 4)
        assert not {name: counted[name] for names in FAULTS.values() for name in names if counted[name] < AT_LEAST}


@on_devnet
async def test_f17_two_services_that_share_a_wallet(world: World, tmp_path: Path) -> None:
    """Each with its own contract: one effect of each message, and none of either lost."""
    for name in "ab":
        (tmp_path / name).mkdir()
    with opened(tmp_path / "a") as one, opened(tmp_path / "b") as other:
        wallet, chance = await world.wallet(balance=BALANCE), random.Random(17)
        services = [Service(world, registry, wallet, chance, number) for number, registry in enumerate((one, other))]
        for service in services:
            service.life.fate.probability = 0
            await service.deploy()
        while not all(service.decided == 20 and service.is_done() for service in services):
            for service in services:
                if service.decided < 20:
                    service.decide()
            await asyncio.gather(*(service.round() for service in services))
            world.clock.at += A_ROUND
            await world.net.advance()
        for service in services:
            await service.require()
