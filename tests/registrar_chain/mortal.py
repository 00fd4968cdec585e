"""Processes that publish, one after the other, and what they work with: each may die at any of its steps, or be held.

A step is a write to the registry or a question to the chain. A process dies before it, or after it took effect.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Any, TypeVar

from attestd.chain.ledger import Ledger
from attestd.errors import AttestdError, Reason
from attestd.registrar.publisher import Publisher
from attestd.registry import Registry, epochs
from attestd.registry.epochs import Terms
from attestd.tvm.address import Address
from tests.registrar_chain.world import Killed

T = TypeVar("T")

# All steps that there are: writes, some of them as the leader, and questions.
STEPS = (
    "build",
    "resign",
    "lead",
    "lapse",
    "sign",
    "_reconciled",
    "_stored",
    "settle",
    "registry",
    "wallet",
    "transactions",
    "send",
)

# Processes take few of these steps: they die at one so much more often.
RARE = {"lapse": 20, "resign": 5, "_stored": 8, "send": 4}


class Fate:
    """Decides where a process dies."""

    def __init__(self, chance: random.Random, probability: float) -> None:
        self._chance = chance
        self.probability = probability
        self.deaths: Counter[str] = Counter()

    def __call__(self, step: str) -> None:
        probability = self.probability * RARE.get(step.split()[1], 1)
        if self._chance.random() < probability:
            self.deaths[step] += 1
            raise Killed


class Pause:
    """Holds a process at one of its steps, as SIGSTOP does, until it may go on."""

    def __init__(self, steps: int) -> None:
        self._left = steps
        self.reached = asyncio.Event()
        self.over = asyncio.Event()

    async def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.reached.set()
            await self.over.wait()


class MortalRegistry:
    """A registry whose process dies before a write, or after it is durable and before it is told so."""

    embedded = True

    def __init__(self, registry: Registry, fate: Fate) -> None:
        self._registry = registry
        self._fate = fate

    def read(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        return self._registry.read(function, *args, **kwargs)

    def write(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        led = args[1].__name__ if function.__name__ == "led" else function.__name__
        self._fate(f"before {led}")
        future = self._registry.write(function, *args, **kwargs)
        future.exception()
        self._fate(f"after {led}")
        return future


class MortalLedger:
    """Likewise, a chain. Before a question and after its answer the process may also be held."""

    def __init__(self, chain: Ledger, fate: Fate) -> None:
        self._chain = chain
        self._fate = fate
        self.pause: Pause | None = None

    async def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        await self._step(f"before {name}")
        asked: Awaitable[Any] = getattr(self._chain, name)(*args, **kwargs)
        answer = await asked
        await self._step(f"after {name}")
        return answer

    async def _step(self, name: str) -> None:
        self._fate(name)
        if self.pause is not None:
            await self.pause()

    async def registry(self) -> Any:
        return await self._ask("registry")

    async def wallet(self) -> Any:
        return await self._ask("wallet")

    async def transactions(self, of: Address, **which: Any) -> Any:
        return await self._ask("transactions", of, **which)

    async def send(self, message: bytes) -> None:
        await self._ask("send", message)


class Life:
    """One process that publishes at a time, and at most one before it that is held and does not know it.

    `born` makes a publisher of both ends, `lease_ends` lets as much time go by as a lease lasts.
    """

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        born: Callable[[Any, MortalLedger], Publisher],
        lease_ends: Callable[[], Awaitable[None]],
        *,
        clock: Callable[[], datetime],
        terms: Terms,
        chance: random.Random,
        deaths: float,
    ) -> None:
        self.fate = Fate(chance, deaths)
        self.happened: Counter[str] = Counter()
        self.stops: Counter[Reason] = Counter()
        self._ends = registry, ledger
        self._born = born
        self._lease_ends = lease_ends
        self._clock = clock
        self._terms = terms
        self._chance = chance
        self._held: tuple[Pause, asyncio.Task[bool]] | None = None
        self._begin()

    def _begin(self) -> None:
        registry, ledger = self._ends
        self._registry, self._ledger = MortalRegistry(registry, self.fate), MortalLedger(ledger, self.fate)
        self._publisher = self._born(self._registry, self._ledger)

    async def _another(self, what: str) -> None:
        """Let another process take over."""
        self.happened[what] += 1
        await self._lease_ends()
        self._begin()

    async def build(self) -> None:
        try:
            self._registry.write(epochs.build, self._clock(), self._terms).result()
        except AttestdError as error:
            self.stops[error.reason] += 1
        except Killed:
            await self._another("killed")

    async def round(self) -> None:
        await self._end(self._publisher.once())

    async def _end(self, round_: Awaitable[bool]) -> None:
        try:
            await round_
        except AttestdError as error:
            self.stops[error.reason] += 1
        except Killed:
            await self._another("killed")

    async def hold(self) -> None:
        """Begin a round and hold the process in the middle of it (SIGSTOP), while another takes over."""
        pause = self._ledger.pause = Pause(self._chance.randint(1, 8))
        round_, reached = asyncio.create_task(self._publisher.once()), asyncio.create_task(pause.reached.wait())
        await asyncio.wait((round_, reached), return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        self._ledger.pause = None
        if not pause.reached.is_set():  # the round was a short one
            await self._end(round_)
            return
        self._held = pause, round_
        await self._another("held")

    @property
    def is_held(self) -> bool:
        return self._held is not None

    async def go_on(self) -> None:
        """Let the one that is held go on, though another has been leading for long."""
        if self._held is None:
            return
        (pause, round_), self._held = self._held, None
        pause.over.set()
        try:
            await round_
        except AttestdError as error:
            self.happened["fenced off"] += error.reason is Reason.LEASE_LOST
        except Killed:
            self.happened["killed"] += 1

    def counted(self) -> Counter[str]:
        """Return what happened, by name."""
        return self.happened + Counter({f"killed {step}": count for step, count in self.fate.deaths.items()})
