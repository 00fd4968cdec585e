"""`attestd chain devnet`: a TON network on this machine until it is told to stop. Nothing of it is kept."""

import asyncio
import signal
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from attestd.chain.devnet import NETWORK_FILE, Devnet
from attestd.cli.screen import VERIFIED, show
from attestd.codec import Json

# What each account is funded with, in nanoton.
_FUNDS: Final = 1000 * 10**9


def run(arguments: Namespace) -> int:
    """Run the devnet, and say where it is."""
    asyncio.run(_run(arguments))
    return VERIFIED


async def _run(arguments: Namespace) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    file = arguments.out or Path(NETWORK_FILE)
    async with Devnet.start(host=str(arguments.listen)) as devnet:
        for account in arguments.fund:
            await devnet.fund(account, _FUNDS)
        devnet.write(file)
        document: Mapping[str, Json] = {
            "network_file": str(file),
            "global_id": devnet.chain.global_id,
            "liteservers": [f"{devnet.host}:{server.port}" for server in devnet.liteservers],
        }
        show(arguments, document, lambda: _lines(file, devnet))
        await stopped.wait()


def _lines(file: Path, devnet: Devnet) -> Iterator[str]:
    yield f"A simulated TON network, global id {devnet.chain.global_id}: its TON are worth nothing."
    for server in devnet.liteservers:
        yield f"liteserver  {devnet.host}:{server.port}"
    yield f"network file  {file}"
    yield "Ends with Ctrl-C."
