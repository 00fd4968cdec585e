"""The registry as its publisher sees it: whether readers take what is on chain."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from attestd.chain.liteservers import Agreed
from attestd.chain.network import Liteserver, Network
from attestd.chain.onchain import OnChain
from attestd.chain.proof import prove_account
from attestd.chain.wallet import Wallet, WalletVersion
from attestd.tvm.address import Address
from tests.chain.registries import GOVERNANCE, HERE, SIGNERS, VERIFIERS, Registry
from tests.chain.worlds import GLOBAL_ID

SERVER = Liteserver("127.0.0.1", 1, bytes(32))
WALLET = Wallet(key=SIGNERS[0], version=WalletVersion.V5R1, global_id=GLOBAL_ID)
ROTATED = replace(GOVERNANCE, verifiers=VERIFIERS[1:])


NETWORK = Network(liteservers=(SERVER,), global_id=GLOBAL_ID, agree=1)


@dataclass
class Proving:
    """Liteservers that prove one registry."""

    made: Registry
    network: Network = NETWORK

    async def account(self, address: Address) -> Agreed:
        world = self.made.world()
        proved = prove_account(world.answer(address), world.head(address), address, GLOBAL_ID)
        return Agreed(account=proved, servers=(SERVER,), others=())


@pytest.mark.parametrize(
    ("changes", "is_signed"),
    [
        ({}, True),
        ({"published": False}, True),
        ({"signers": {0: 0}}, False),
        # Signed by verifiers 0 and 2, of whom the first has left.
        ({"governance": ROTATED}, False),
        ({"governance": replace(ROTATED, threshold=1)}, True),
        ({"governance": replace(GOVERNANCE, threshold=3)}, False),
    ],
)
def test_signatures_are_judged_as_by_readers(changes: Mapping[str, object], is_signed: bool) -> None:
    made = Registry().but(**changes)
    seen = asyncio.run(OnChain(Proving(made), HERE, WALLET).registry())  # type: ignore[arg-type]  # all that is asked
    assert (seen.is_signed, seen.threshold) == (is_signed, made.governance.threshold)
