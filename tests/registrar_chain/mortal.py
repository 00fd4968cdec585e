"""What a publisher works with, in a process that may die at any of its steps: before one, or after it took effect."""

import random
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from attestd.chain.ledger import Ledger
from attestd.registry import Registry
from attestd.tvm.address import Address
from tests.registrar_chain.world import Killed

T = TypeVar("T")


class Fate:
    """Decides where a process dies."""

    def __init__(self, chance: random.Random, probability: float) -> None:
        self._chance = chance
        self.probability = probability
        self.deaths: dict[str, int] = {}

    def __call__(self, step: str) -> None:
        if self._chance.random() < self.probability:
            self.deaths[step] = self.deaths.get(step, 0) + 1
            raise Killed


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
    """Likewise, a chain."""

    def __init__(self, chain: Ledger, fate: Fate) -> None:
        self._chain = chain
        self._fate = fate

    async def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        self._fate(f"before {name}")
        asked: Awaitable[Any] = getattr(self._chain, name)(*args, **kwargs)
        answer = await asked
        self._fate(f"after {name}")
        return answer

    async def registry(self) -> Any:
        return await self._ask("registry")

    async def wallet(self) -> Any:
        return await self._ask("wallet")

    async def transactions(self, of: Address, **which: Any) -> Any:
        return await self._ask("transactions", of, **which)

    async def send(self, message: bytes) -> None:
        await self._ask("send", message)
