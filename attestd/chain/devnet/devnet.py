"""A TON network on loopback: one chain over the current TVM, several liteservers, and faults at will."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from attestd.chain.devnet.accounts import frozen, with_balance
from attestd.chain.devnet.adnl import ServerKey
from attestd.chain.devnet.chain import Chain
from attestd.chain.devnet.emulator import Emulator
from attestd.chain.devnet.faults import Plan
from attestd.chain.devnet.liteserver import Liteserver
from attestd.chain.network import Network
from attestd.chain.tl import BlockId
from attestd.settings import now as read_clock
from attestd.tvm.address import Address
from attestd.tvm.cell import Cell

# Neither mainnet's (-239) nor testnet's (-3): what is signed for the devnet is worth nothing there, and vice versa.
DEVNET_GLOBAL_ID: Final = -88
NETWORK_FILE: Final = "devnet.json"


def _clock() -> float:
    return read_clock().timestamp()


@dataclass(slots=True)
class Devnet:
    """A running devnet. `faults` are shared by all liteservers; each has its own besides."""

    chain: Chain
    liteservers: tuple[Liteserver, ...]
    host: str
    faults: Plan = field(default_factory=Plan)

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        folder: Path | None = None,
        *,
        liteservers: int = 3,
        host: str = "127.0.0.1",
        now: Callable[[], float] = _clock,
        every: float | None = 2.0,
        seed: int = 0,
        emulator: Emulator | None = None,
    ) -> AsyncIterator["Devnet"]:
        """Run a devnet, and write its network file into `folder` if that is given.

        Blocks are made whenever a message comes in, and one every `every` seconds besides, unless that is None.
        `now` gives POSIX seconds. An `emulator` may serve several devnets, and is left running.
        Raises `ConfigurationRefused` where Node or the emulator is missing.
        """
        async with AsyncExitStack() as stack:
            if emulator is None:
                emulator = await Emulator.start(DEVNET_GLOBAL_ID)
                stack.push_async_callback(emulator.close)
            chain = await Chain.start(emulator, DEVNET_GLOBAL_ID, now, seed)
            shared = Plan(seed)
            plans = [Plan(seed + number) for number in range(1, liteservers + 1)]
            servers = tuple(Liteserver.of(chain, ServerKey.generate(), plan, shared) for plan in plans)
            for server in servers:
                await server.listen(host)
                stack.push_async_callback(server.close)
            devnet = cls(chain, servers, host, shared)
            if folder is not None:
                devnet.write(folder / NETWORK_FILE)
            if every is not None:
                stack.push_async_callback(_stop, asyncio.create_task(_tick(chain, every)))
            yield devnet

    @property
    def config(self) -> dict[str, Any]:
        """Return the network file: TON's global config form, with the member of attestd's own."""
        zero_state = _named(self.chain.zero_state)
        return {
            "@type": "config.global",
            "liteservers": [
                {
                    "ip": int.from_bytes(IPv4Address(self.host).packed, signed=True),
                    "port": server.port,
                    "id": {"@type": "pub.ed25519", "key": b64encode(server.key.public).decode()},
                }
                for server in self.liteservers
            ],
            "validator": {"@type": "validator.config.global", "zero_state": zero_state, "init_block": zero_state},
            "attestd": {"global_id": self.chain.global_id, "agree": min(2, len(self.liteservers))},
        }

    @property
    def network(self) -> Network:
        """Return the network as attestd's client knows it."""
        return Network.parse(json.dumps(self.config).encode())

    def write(self, file: Path) -> None:
        """Write the network file."""
        file.write_text(json.dumps(self.config, indent=2) + "\n")

    async def fund(self, to: Address, nanoton: int, state_init: Cell | None = None) -> None:
        """Send from the giver to an account, which need not exist; with its state to deploy or to thaw it."""
        await self.chain.fund(to, nanoton, state_init)

    async def advance(self, rounds: int = 1) -> None:
        """Make blocks."""
        await self.chain.advance(rounds)

    async def fork(self, rounds: int) -> None:
        """Let the last rounds of blocks vanish with all that happened in them."""
        await self.chain.fork(rounds)

    async def drain(self, account: Address, nanoton: int = 0) -> None:
        """Leave so much to an account."""
        await self.chain.alter(account, lambda entry: with_balance(entry, nanoton))

    async def freeze(self, account: Address) -> None:
        """Freeze an active account."""
        await self.chain.alter(account, frozen)


async def _tick(chain: Chain, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        await chain.advance()


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _named(block: BlockId) -> dict[str, Any]:
    return {
        "workchain": block.workchain,
        "shard": block.shard - (1 << 64),
        "seqno": block.seqno,
        "root_hash": b64encode(block.root_hash).decode(),
        "file_hash": b64encode(block.file_hash).decode(),
    }
