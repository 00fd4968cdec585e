"""Liteservers in a thread of their own, for commands that run a loop themselves."""

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from attestd.chain.network import Liteserver, Network
from attestd.tvm.address import Address
from tests.chain.servers import Server, serving
from tests.chain.worlds import World


@dataclass
class Chain:
    """Two honest servers over one world, which may go on, and the network file that names them."""

    servers: tuple[Server, ...]
    file: Path
    network: Network = field(init=False)

    def show(self, world: World) -> None:
        """Go on to another moment."""
        for server in self.servers:
            server.world = world

    def write(self, **own: object) -> None:
        """Write the network file; `own` are members of attestd's own member."""
        named = {"global_id": self.network.global_id, "agree": self.network.agree} | own
        document = {"liteservers": list(map(_export, self.network.liteservers)), "attestd": named}
        self.file.write_text(json.dumps(document))


@contextmanager
def chain(world: World, about: Address, file: Path) -> Iterator[Chain]:
    """Serve until the block ends."""
    made = Chain((Server(world, about), Server(world, about)), file)
    loop, stop, started = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def run() -> None:
        async with serving(*made.servers) as network:
            made.network = network
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert started.wait(60)
        made.write(global_id=world.global_id)
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def _export(server: Liteserver) -> dict[str, object]:
    identity = {"@type": "pub.ed25519", "key": b64encode(server.key).decode()}
    return {"ip": int(IPv4Address(server.host)), "port": server.port, "id": identity}
