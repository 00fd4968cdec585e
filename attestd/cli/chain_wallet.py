"""`attestd chain wallet`: a key for the wallet that pays, and what the chain says of the wallet."""

import asyncio
from argparse import Namespace
from typing import Final

from attestd.chain.liteservers import Liteservers
from attestd.chain.network import Network
from attestd.chain.wallet import Wallet, WalletVersion, new_key_file
from attestd.cli.inputs import effective_time
from attestd.cli.screen import VERIFIED, pairs, show, spread
from attestd.codec import Json

_MAINNET: Final = -239


def run(arguments: Namespace) -> int:
    """Make a key file if that is asked for; print the wallet's address, and its balance if the chain is to be asked."""
    network = Network.load(arguments.network)
    if arguments.action == "new":
        new_key_file(arguments.wallet_key)
    wallet = Wallet.load(arguments.wallet_key, WalletVersion(arguments.wallet_version), network.global_id)
    document: dict[str, Json] = {
        "address": str(wallet.address),
        # A wallet that is not deployed cannot send anything back, so it is funded under this form.
        "fund": wallet.address.friendly(bounceable=False, testnet=network.global_id != _MAINNET),
        "version": wallet.version.value,
        "public_key": wallet.public_key.hex(),
    }
    if arguments.action == "show":
        document |= asyncio.run(_account(network, wallet))
    show(arguments, document, lambda: pairs(spread(document)))
    return VERIFIED


async def _account(network: Network, wallet: Wallet) -> dict[str, Json]:
    agreed = await Liteservers(network, lambda: effective_time(None).timestamp()).account(wallet.address)
    account = agreed.account.account
    return {
        "status": "absent" if account is None else account.status.value,
        "balance": 0 if account is None else account.balance,
        "seqno": wallet.seqno(account),
        "servers": [str(server) for server in agreed.servers],
    }
