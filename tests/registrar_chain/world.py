"""A registry, a chain in memory and a publisher between them, each of which may be killed and made anew."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attestd.chain.ledger import Ledger
from attestd.errors import AttestdError, Reason, Unavailable
from attestd.metrics import Metrics
from attestd.registrar.cosigning import Cosigner, OwnKey
from attestd.registrar.orders import Orders
from attestd.registrar.publisher import Publisher
from attestd.registry import Registry, epochs, publication
from attestd.registry.epochs import Candidate, EpochState, Signature, Terms
from attestd.signature import ed25519_public_key, ed25519_signing_key
from tests.registrar_chain.chain import ADMIN, GLOBAL_ID, REGISTRY, FakeWallet, FaultChain
from tests.registry.samples import NOW, REGISTRY_ID, digest, prepare

INTERVAL, VALIDITY = 60, 3600
KEYS = [ed25519_signing_key(digest("verifier", number)) for number in range(3)]
VERIFIERS = [ed25519_public_key(key) for key in KEYS]


class Killed(BaseException):
    """What a process that dies says: nothing, to anybody."""


class Clock:
    """The time of the service, which goes with the chain's unless it is set."""

    def __init__(self, chain: FaultChain) -> None:
        self._chain = chain
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self._chain.now.utime, UTC) + self.ahead


class MaySign:
    """A co-signer of another, which refuses while it is told to."""

    def __init__(self, number: int) -> None:
        self._own = OwnKey(KEYS[number], GLOBAL_ID, REGISTRY)
        self.refuses = False
        self.asked: list[tuple[int, int]] = []

    async def sign(self, candidate: Candidate) -> Signature:
        if self.refuses:
            raise Unavailable(Reason.CHAIN_UNAVAILABLE, found="nobody", wanted="a co-signer")
        self.asked.append((candidate.number, candidate.candidate))
        return await self._own.sign(candidate)


class World:
    """All of it. Time goes by with the blocks of the chain."""

    def __init__(self, registry: Registry, *, threshold: int = 1, seed: int = 0) -> None:
        self.registry = registry
        self.chain = FaultChain(VERIFIERS, threshold, int(NOW.timestamp()), seed=seed)
        self.clock = Clock(self.chain)
        self.terms = Terms(INTERVAL, VALIDITY, lambda size, root: b"%d %s" % (size, root.hex().encode()))
        self.others = [MaySign(1), MaySign(2)]
        self.cap = 10**18
        self.metrics = Metrics("1", simulated=True)
        self.stops: list[Reason] = []
        self.publisher = self.new_publisher()

    def orders(self) -> Orders:
        verifiers = tuple(enumerate(VERIFIERS))
        return Orders(REGISTRY, GLOBAL_ID, self.cap, verifiers, self.chain.threshold, ADMIN)

    def new_publisher(
        self, tag: int = 0, registry: Registry | None = None, ledger: Ledger | None = None, **changes: Any
    ) -> Publisher:
        cosigners: list[Cosigner] = [OwnKey(KEYS[0], GLOBAL_ID, REGISTRY), *self.others]
        arguments: dict[str, Any] = {
            "orders": self.orders(),
            "metrics": self.metrics,
            "clock": self.clock,
        }
        ends = registry or self.registry, ledger or self.chain
        return Publisher(*ends, FakeWallet(tag), cosigners, **arguments | changes)

    def build(self) -> Candidate | None:
        return self.registry.write(epochs.build, self.clock(), self.terms).result()

    async def round(self, publisher: Publisher | None = None) -> Reason | None:
        """Do one round and say why it stopped, if it did."""
        try:
            await (publisher or self.publisher).once()
        except AttestdError as error:
            self.stops.append(error.reason)
            return error.reason
        return None

    async def publish(self, rounds: int = 40) -> int:
        """Go on until what is built is on chain; return the epoch that is."""
        self.build()
        for _ in range(rounds):
            await self.round()
            self.chain.block()
            await self.round()
            if not self.waiting():
                return self.epoch()
        raise AssertionError(f"not published: {self.stops[-3:]}")

    def waiting(self) -> bool:
        read = self.registry.read
        return any(read(find) is not None for find in (epochs.live, epochs.unsigned))

    def epoch(self) -> int:
        confirmed = self.registry.read(epochs.confirmed)
        return 0 if confirmed is None else confirmed.number

    def on_chain(self) -> int:
        checkpoint = self.chain.now.checkpoint
        return 0 if checkpoint is None else checkpoint.epoch

    def require_equal(self) -> None:
        """The database says what the chain holds, number for number, each of them there once."""
        landed = [tx for tx in self.chain.registry_log if tx.succeeded]
        rows = [row for row in self.registry.read(lambda t: list(epochs.all_(t))) if row.state is EpochState.CONFIRMED]
        assert [row.number for row in rows] == list(range(1, len(landed) + 1))
        places = [(row.coordinates.lt, row.coordinates.hash) for row in rows if row.coordinates]
        assert places == [(tx.lt, tx.hash) for tx in landed]
        assert rows[-1].checkpoint == self.chain.now.checkpoint


def run(world: World, story: Callable[[World], Any]) -> None:
    asyncio.run(story(world))


@contextmanager
def opened(folder: Path) -> Iterator[Registry]:
    registry = Registry.open(f"sqlite:///{folder}/attestd.db", registry_id=REGISTRY_ID, at=NOW)
    try:
        prepare(registry)
        yield registry
    finally:
        registry.close()


__all__ = ["INTERVAL", "VALIDITY", "Killed", "World", "opened", "publication", "run"]
