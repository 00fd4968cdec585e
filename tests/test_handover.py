"""The way from the event loop to the writer: what goes together, what waits, and who hears of what."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

import pytest

from attestd.errors import Reason, Unavailable
from attestd.registrar import handover
from attestd.registrar.handover import Handover
from attestd.registry import Registry


class FakeRegistry:
    """Takes what is written, and returns it when it is told to."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.futures: list[Future[str]] = []
        self.refuses: set[str] = set()

    def write(self, function: Callable[[object, str], str], name: str) -> Future[str]:
        if name in self.refuses:
            raise Unavailable(Reason.OVERLOADED, found="1 write waiting", wanted="none")
        self.taken.append(function(None, name))
        self.futures.append(Future())
        return self.futures[-1]

    def finish(self) -> None:
        """Return everything that is open, in order, as the writer does."""
        for name, future in zip(self.taken, self.futures, strict=True):
            if not future.done():
                future.set_result(f"{name} is durable")


def unit(_transaction: object, name: str) -> str:
    return name


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def way(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> Handover:
    # For good, but in the test of it.
    monkeypatch.setattr(handover, "_PATIENCE", 1e6)
    return Handover(cast(Registry, registry))


def begin(way: Handover, *names: str) -> list["asyncio.Task[str]"]:
    return [asyncio.create_task(way.write(cast(Any, unit), name)) for name in names]


def test_what_is_begun_together_goes_together(way: Handover, registry: FakeRegistry) -> None:
    async def run() -> None:
        writes = begin(way, "a", "b")
        await asyncio.sleep(0)
        assert registry.taken == []  # the loop may have begun more
        await turns()
        assert registry.taken == ["a", "b"]
        registry.finish()
        assert await asyncio.gather(*writes) == ["a is durable", "b is durable"]

    asyncio.run(run())


def test_what_comes_while_the_writer_is_busy_goes_when_it_returns(way: Handover, registry: FakeRegistry) -> None:
    async def run() -> None:
        writes = begin(way, "a")
        await turns()
        writes += begin(way, "b", "c")
        await turns()
        assert registry.taken == ["a"]
        registry.finish()
        await turns()
        assert registry.taken == ["a", "b", "c"]
        registry.finish()
        await asyncio.gather(*writes)
        writes = begin(way, "d")  # and it is free again
        await turns()
        assert registry.taken[3:] == ["d"]
        registry.finish()
        await asyncio.gather(*writes)

    asyncio.run(run())


@pytest.mark.parametrize("waiting", [True, False])
def test_a_writer_in_trouble_is_not_waited_for(
    way: Handover, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, *, waiting: bool
) -> None:
    """Neither by what waits when patience ends, nor by what comes after."""
    monkeypatch.setattr(handover, "_PATIENCE", 0)

    async def run() -> None:
        writes = begin(way, "a")
        await turns(2 if waiting else 4)
        assert registry.taken == ["a"]
        writes += begin(way, "b")
        await turns()
        assert registry.taken == ["a", "b"]
        registry.finish()
        assert await asyncio.gather(*writes) == ["a is durable", "b is durable"]

    asyncio.run(run())


def test_each_hears_of_its_own_outcome(way: Handover, registry: FakeRegistry) -> None:
    async def run() -> None:
        registry.refuses = {"b"}
        writes = begin(way, "a", "b", "c")
        await turns()
        failure = Unavailable(Reason.DATABASE_UNAVAILABLE, found="SQLITE_FULL", wanted="a database that answers")
        registry.futures[0].set_exception(failure)
        registry.finish()
        a, b, c = await asyncio.gather(*writes, return_exceptions=True)
        assert a is failure
        assert isinstance(b, Unavailable)
        assert b.reason is Reason.OVERLOADED
        assert c == "c is durable"

    asyncio.run(run())


def test_where_all_are_refused_the_next_goes(way: Handover, registry: FakeRegistry) -> None:
    async def run() -> None:
        registry.refuses = {"a"}
        (refused,) = await asyncio.gather(*begin(way, "a"), return_exceptions=True)
        assert isinstance(refused, Unavailable)
        writes = begin(way, "b")
        await turns()
        registry.finish()
        assert await asyncio.gather(*writes) == ["b is durable"]

    asyncio.run(run())


def test_what_nobody_waits_for_any_longer(way: Handover, registry: FakeRegistry) -> None:
    """Before it is handed over it is left out; afterwards it happens, and the others hear of theirs."""

    async def run() -> None:
        early, stays = begin(way, "a", "b")
        await asyncio.sleep(0)
        early.cancel()
        await turns()
        assert registry.taken == ["b"]
        late, last = begin(way, "c", "d")
        await turns()
        registry.finish()
        await turns()
        assert registry.taken == ["b", "c", "d"]
        late.cancel()
        await turns()
        registry.finish()
        assert list(await asyncio.gather(stays, last)) == ["b is durable", "d is durable"]

    asyncio.run(run())
