"""What anybody may do on a chain to the accounts of a registry, over the devnet: whoever publishes reads on."""

import itertools
from collections.abc import Iterator

import pytest

from attestd.chain.onchain import OnChain
from attestd.chain.wallet import Transfer
from attestd.tvm.boc import MAX_CELLS, dump_boc, load_boc
from attestd.tvm.cell import Builder, Cell
from tests.chain.devnet.world import NOBODY, TON, World, on_devnet

# A message may have 8192 (config 43, max_msg_cells), and one from outside 64 KiB.
CELLS = 8000


def tree(cells: int, numbers: Iterator[int]) -> Cell:
    """Return as many cells, no two of them alike."""
    below = cells - 1
    shares = [below // 4 + (place < below % 4) for place in range(4)]
    builder = Builder().uint(next(numbers), 32)
    for share in filter(None, shares):
        builder.ref(tree(share, numbers))
    return builder.end()


@on_devnet
async def test_a_message_in_another_envelope_is_still_ours(world: World) -> None:
    """Whoever passes it on may name a fee; what it costs has to be found under the hash that was written down."""
    wallet = await world.wallet()
    ledger = OnChain(world.reader(), NOBODY, wallet)
    seqno = (await ledger.wallet()).seqno
    (message,) = load_boc(world.message(wallet, seqno))
    (body,) = message.refs
    other = Builder().uint(0b10, 2).address(None).address(wallet.address).coins(1).bit(value=False)
    relayed = other.bit(value=True).ref(body).end()
    assert relayed.hash != message.hash
    await ledger.send(dump_boc(relayed))
    account = (await ledger.wallet()).account
    found = await ledger.transactions(wallet.address, since=0, last_lt=account.last_lt, last_hash=account.last_hash)
    assert found[0].message == wallet.hash_of(message)
    assert found[0].sent


@pytest.mark.slow
@on_devnet
async def test_messages_as_large_as_they_may_be_do_not_end_the_history(world: World) -> None:
    """A page of them would have more cells and bytes than one answer may."""
    stranger = await world.wallet(balance=1000 * TON)
    servers = world.reader()
    count = MAX_CELLS // CELLS + 1
    numbers = itertools.count()
    for _ in range(count):
        body = tree(CELLS, numbers)
        seqno = stranger.seqno(await world.account(stranger.address))
        transfer = Transfer(to=NOBODY, value=10 * TON, body=body, bounce=False)
        until = int(world.clock()) + 60
        await world.net.chain.send(dump_boc(stranger.sign((transfer,), seqno=seqno, valid_until=until)))
        await world.net.advance()
    account = (await servers.account(NOBODY)).account
    found = await servers.transactions(NOBODY, since=0, last_lt=account.last_lt, last_hash=account.last_hash)
    assert len(found) == count
