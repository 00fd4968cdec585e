"""A devnet whose clock a test holds, and wallets on it."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from pytoniq.liteclient.client import LiteClient

from attestd.chain.account import Account
from attestd.chain.devnet import DEVNET_GLOBAL_ID, Devnet
from attestd.chain.devnet.emulator import Emulator
from attestd.chain.liteservers import Liteservers
from attestd.chain.transactions import Transaction
from attestd.chain.wallet import Transfer, Wallet, WalletVersion
from attestd.errors import Reason, Unavailable
from attestd.signature import ed25519_signing_key
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder, Cell
from tests.refusals import refused

TON = 10**9
NOBODY = Address(0, bytes([0x62]) * 32)


@dataclass
class Clock:
    """POSIX seconds that only a test moves; they start where pytoniq, which reads the system's, believes to be."""

    at: float = field(default_factory=lambda: float(int(time.time())))

    def __call__(self) -> float:
        return self.at


@dataclass
class World:
    net: Devnet
    clock: Clock

    def reader(self, timeout: float = 30.0) -> Liteservers:
        return Liteservers(self.net.network, self.clock, timeout=timeout)

    async def account(self, address: Address) -> Account | None:
        return (await self.reader().account(address)).account.account

    async def present(self, address: Address) -> Account:
        account = await self.account(address)
        assert account is not None
        return account

    async def history(self, address: Address) -> list[Transaction]:
        account = (await self.reader().account(address)).account
        return await self.reader().transactions(address, since=0, last_lt=account.last_lt, last_hash=account.last_hash)

    async def seqno(self, wallet: Wallet) -> int:
        return wallet.seqno(await self.account(wallet.address))

    async def wallet(self, number: int = 1, balance: int = 10 * TON) -> Wallet:
        """Fund and deploy a wallet."""
        wallet = Wallet(
            key=ed25519_signing_key(bytes([number]) * 32), version=WalletVersion.V5R1, global_id=DEVNET_GLOBAL_ID
        )
        await self.net.fund(wallet.address, balance)
        await self.net.chain.send(dump_boc(wallet.sign((), seqno=0, valid_until=int(self.clock()) + 60)))
        return wallet

    def message(
        self, wallet: Wallet, seqno: int, *, to: Address = NOBODY, value: int = TON, body: Cell | None = None
    ) -> bytes:
        transfer = Transfer(to=to, value=value, body=body or Builder().end(), bounce=False)
        return dump_boc(wallet.sign((transfer,), seqno=seqno, valid_until=int(self.clock()) + 60))


class Shared:
    """One event loop and one emulator, which keeps no state, for all tests: a process of Node is slow to start."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.emulator: Emulator | None = None

    async def run(self, scenario: Callable[[World], Awaitable[None]]) -> None:
        if self.emulator is None:
            self.emulator = await Emulator.start(DEVNET_GLOBAL_ID)
        clock = Clock()
        async with Devnet.start(now=clock, every=None, emulator=self.emulator) as net:
            await scenario(World(net, clock))

    def close(self) -> None:
        if self.emulator is not None:
            self.runner.run(self.emulator.close())
        self.runner.close()


SHARED = Shared()


def on_devnet(scenario: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on a devnet of its own, which makes blocks only when it is told to or given a message."""

    @wraps(scenario)
    def test(**given: Any) -> None:
        SHARED.runner.run(SHARED.run(lambda world: scenario(world, **given)))

    # pytest gives what is left of the parameters.
    parameters = list(inspect.signature(scenario).parameters.values())[1:]
    test.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return test


def unavailable(reason: Reason) -> AbstractContextManager[None]:
    """Require that the world is bad, for this reason."""
    return refused(Unavailable, reason)


def client(net: Devnet, level: int = 1, server: int = 0) -> Any:
    """pytoniq's client as it is; most of it has no types."""
    return LiteClient.from_config(net.config, server, trust_level=level, timeout=30)
