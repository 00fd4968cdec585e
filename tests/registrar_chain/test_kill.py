"""Kill -9 of the process that publishes (F01, F19): another goes on, and each epoch is on chain once.

The chain lives here and answers over a pipe; the process is killed at a random moment around one of its questions.
"""

import asyncio
import multiprocessing
import random
import signal
from collections import Counter
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from attestd.errors import AttestdError
from attestd.metrics import Metrics
from attestd.registrar.cosigning import OwnKey
from attestd.registrar.orders import Orders
from attestd.registrar.publisher import Publisher
from attestd.registry import Registry, epochs, log
from attestd.registry.epochs import Terms
from attestd.tvm.address import Address
from tests.registrar_chain.chain import GLOBAL_ID, REGISTRY, FakeWallet
from tests.registrar_chain.test_exactly_once import A_LEASE, registered
from tests.registrar_chain.world import KEYS, World, opened
from tests.registry.samples import NOW, REGISTRY_ID, new_key, new_result

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.registrar_chain.test_kill"])
DEATHS = 150


class Asked:
    """The chain at the other end of a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def ask(self, *question: Any) -> Any:
        self._pipe.send(question)
        return self._pipe.recv()

    async def registry(self) -> Any:
        return self.ask("registry")

    async def wallet(self) -> Any:
        return self.ask("wallet")

    async def transactions(self, of: Address, **which: Any) -> Any:
        return self.ask("transactions", of, which)

    async def send(self, message: bytes) -> None:
        self.ask("send", message)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.ask("now"), UTC)


def publish_until_killed(url: str, pipe: Connection) -> None:
    """Build and publish whatever there is."""
    registry = Registry.open(url, registry_id=REGISTRY_ID, at=NOW)
    chain = Asked(pipe)
    publisher = Publisher(
        registry,
        chain,
        FakeWallet(),
        [OwnKey(KEYS[0], GLOBAL_ID, REGISTRY)],
        orders=Orders(REGISTRY, GLOBAL_ID, 10**18),
        metrics=Metrics("1", simulated=True),
        clock=chain.now,
    )
    while True:
        registry.write(epochs.build, chain.now(), Terms(3, 900, lambda size, root: b"")).result()
        try:
            asyncio.run(publisher.once())
        except AttestdError as error:
            chain.ask("stopped", error.reason)


@pytest.mark.slow
def test_kill_9_of_the_publisher(tmp_path: Path) -> None:
    chance = random.Random(9)
    with opened(tmp_path) as registry:
        world = World(registry)
        for _ in range(DEATHS):
            live_and_die(world, f"sqlite:///{tmp_path}/attestd.db", chance)
        asyncio.run(world.publish())
        for _ in range(3):
            world.chain.block(A_LEASE)
            asyncio.run(world.publish())
        world.require_equal()
        checkpoint = world.chain.now.checkpoint
        assert checkpoint is not None
        assert checkpoint.tree_size == registry.read(log.size) >= DEATHS
        print(f"{world.epoch()} epochs, {DEATHS} x kill -9, {world.chain.now.attempts} publishes reached the contract")
        assert world.epoch() > DEATHS / 4, Counter(world.stops)


def live_and_die(world: World, url: str, chance: random.Random) -> None:
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=publish_until_killed, args=(url, there), daemon=True)
    process.start()
    there.close()
    for _ in range(chance.randint(1, 40)):
        answer(world, here, chance)
    sleep(chance.random() * 0.004)
    assert process.pid is not None
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    here.close()
    world.chain.block(A_LEASE)


def answer(world: World, pipe: Connection, chance: random.Random) -> None:
    """Answer one question; sometimes a block is made before, or something is decided."""
    if chance.random() < 0.2:
        world.chain.block()
    if chance.random() < 0.1:
        decide(world)
    name, *arguments = pipe.recv()
    if name == "now":
        pipe.send(world.chain.now.utime)
    elif name == "stopped":
        world.stops.append(*arguments)
        pipe.send(None)
    elif name == "transactions":
        pipe.send(asyncio.run(world.chain.transactions(arguments[0], **arguments[1])))
    else:
        pipe.send(asyncio.run(getattr(world.chain, name)(*arguments)))


def decide(world: World) -> None:
    number, at = world.registry.read(log.size) + 1, world.clock()
    key = new_key(number, valid_from=at, valid_until=at.replace(year=2027))
    world.registry.write(registered, new_result(number, key=key), at).result()
