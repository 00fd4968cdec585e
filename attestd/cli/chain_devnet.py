"""`attestd chain devnet`: a TON network on this machine until it is told to stop. Nothing of it is kept."""

import asyncio
import signal
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attestd.chain.devnet import DEVNET_GLOBAL_ID, NETWORK_FILE, Devnet
from attestd.chain.wallet import Wallet, WalletVersion, new_key_file
from attestd.cli.screen import VERIFIED, show
from attestd.codec import Json
from attestd.tvm.address import Address

# What each account is funded with, in nanoton.
_FUNDS: Final = 1000 * 10**9


def run(arguments: Namespace) -> int:
    """Run the devnet, and say where it is."""
    version = WalletVersion(arguments.wallet_version)
    funded = [*arguments.fund, *(_wallet(file, version) for file in arguments.wallet_key)]
    asyncio.run(_run(arguments, funded))
    return VERIFIED


def _wallet(file: Path, version: WalletVersion) -> Address:
    """Return the address of a wallet whose key is made where there is none: its address rests on the network, too."""
    if not file.exists():
        new_key_file(file)
    return Wallet.load(file, version, DEVNET_GLOBAL_ID).address


async def _run(arguments: Namespace, funded: list[Address]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    file = arguments.out or Path(NETWORK_FILE)
    async with Devnet.start(host=str(arguments.listen)) as devnet:
        for account in funded:
            await devnet.fund(account, _FUNDS)
        devnet.write(file)
        document: dict[str, Json] = {
            "network_file": str(file),
            "global_id": devnet.chain.global_id,
            "liteservers": [f"{devnet.host}:{server.port}" for server in devnet.liteservers],
            "funded": [str(account) for account in funded],
        }
        show(arguments, document, lambda: _lines(file, devnet, funded))
        await stopped.wait()


def _lines(file: Path, devnet: Devnet, funded: list[Address]) -> Iterator[str]:
    yield f"A simulated TON network, global id {devnet.chain.global_id}: its TON are worth nothing."
    for server in devnet.liteservers:
        yield f"liteserver    {devnet.host}:{server.port}"
    for account in funded:
        yield f"1000 TON      {account}"
    yield f"network file  {file}"
    yield "Ends with Ctrl-C."
