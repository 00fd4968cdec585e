"""pytoniq's client, unmodified, on the devnet: what it verifies at trust levels 1 and 2 holds."""

import asyncio
from typing import Any

import pytest
from pytoniq.contract.wallets.wallet import WalletV4R2
from pytoniq.liteclient.client import LiteServerError
from pytoniq_core.boc.address import Address as TheirAddress
from pytoniq_core.boc.slice import Slice as TheirSlice
from pytoniq_core.tl.block import BlockIdExt
from pytoniq_core.tlb.block import Block as TheirBlock

from attestd.chain.devnet import DEVNET_GLOBAL_ID, GIVER
from attestd.chain.devnet.blocks import file
from attestd.chain.devnet.wire import Answer, Call
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder
from tests.chain.devnet.world import NOBODY, TON, World, client, on_devnet

LEVELS = pytest.mark.parametrize("level", [1, 2])
SUPPLY = 5_000_000_000 * TON
SEED_AND_KEY = bytes(range(32)) + bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")


def theirs(address: Address) -> TheirAddress:
    return TheirAddress((address.workchain, address.hash))


async def wallet_on(world: World, connected: Any) -> Any:
    """Fund a wallet of pytoniq's, and deploy it."""
    wallet = await WalletV4R2.from_private_key(connected, SEED_AND_KEY, version="v4r2")
    await world.net.fund(Address(0, wallet.address.hash_part), 10 * TON)
    assert await wallet.send_init_external() == 1
    await connected.update_last_blocks()
    await wallet.update()
    return wallet


@LEVELS
@on_devnet
async def test_it_connects_and_reads_proved_accounts(world: World, level: int) -> None:
    async with client(world.net, level) as connected:
        assert (await connected.get_account_state(theirs(GIVER))).balance == SUPPLY
        absent = await connected.raw_get_account_state(theirs(NOBODY))
        assert absent == (None, None)
        # It is proved, which pytoniq does not look at.
        assert await world.account(NOBODY) is None
        assert await world.account(Address(-1, NOBODY.hash)) is None


@LEVELS
@on_devnet
async def test_its_wallet_deploys_and_transfers_and_its_transactions_are_a_chain(world: World, level: int) -> None:
    async with client(world.net, level) as connected:
        wallet = await wallet_on(world, connected)
        assert wallet.is_active
        assert await wallet.get_seqno() == 1

        assert await wallet.transfer(theirs(NOBODY), TON) == 1
        await connected.update_last_blocks()
        await wallet.update()
        assert wallet.seqno == 2
        assert 8 * TON < wallet.balance < 9 * TON
        received = await connected.get_account_state(theirs(NOBODY))
        assert TON * 99 // 100 < received.balance <= TON

        transactions = await connected.get_transactions(wallet.address, 10)
        assert [found.outmsg_cnt for found in transactions] == [1, 0, 0]
        assert [found.prev_trans_hash for found in transactions[:-1]] == [found.cell.hash for found in transactions[1:]]


@on_devnet
async def test_a_message_that_no_contract_accepts_is_an_error_and_does_nothing(world: World) -> None:
    async with client(world.net) as connected:
        wallet = await wallet_on(world, connected)
        before = world.net.chain.head.accounts[wallet.address.hash_part]
        stale = wallet.raw_create_transfer_msg(SEED_AND_KEY, 0, wallet.wallet_id, [])
        with pytest.raises(LiteServerError, match=r"not accepted\n.*exitcode=33"):
            await wallet.send_external(body=stale)
        assert world.net.chain.head.accounts[wallet.address.hash_part] is before
        for wrong in (b"", b"\xb5\xee\x9c\x72", dump_boc(Builder().end()), bytes(65536)):
            with pytest.raises(LiteServerError, match="not well-formed"):
                await connected.raw_send_message(wrong)


@LEVELS
@on_devnet
async def test_it_reads_blocks(world: World, level: int) -> None:
    async with client(world.net, level) as connected:
        world.clock.at += 5
        await world.net.advance(2)
        await connected.update_last_blocks()
        last = connected.last_mc_block
        assert last.seqno == world.net.chain.head.seqno == 3

        header = await connected.raw_get_block_header(last)
        assert (header.info.seqno, header.info.gen_utime) == (3, int(world.clock()))
        block = await connected.raw_get_block(last)
        assert block.global_id == DEVNET_GLOBAL_ID
        assert await connected.lookup_block(-1, -(1 << 63), seqno=2)
        for named in ({"lt": header.info.start_lt}, {"utime": int(world.clock())}):
            found, _ = await connected.lookup_block(-1, -(1 << 63), **named)
            assert found.seqno == (3 if "lt" in named else 2)
        with pytest.raises(LiteServerError, match="not found"):
            await connected.lookup_block(-1, -(1 << 63), seqno=4)

        (shard,) = await connected.get_all_shards_info()
        assert (shard.workchain, shard.seqno) == (0, 6)
        assert (await connected.raw_get_shard_info()).seq_no == 6
        assert (await connected.raw_get_block_header(shard)).info.seqno == 6
        assert (await connected.raw_get_block(shard)).info.master_ref.master.seqno == 2


@on_devnet
async def test_blocks_follow_one_another(world: World) -> None:
    await world.net.advance(2)
    for before, after in zip(*[list(world.net.chain.kept())[at:] for at in (0, 1)], strict=False):
        for previous, block in ((before.master, after.master), (before.shard, after.shard)):
            parsed = TheirBlock.deserialize(TheirSlice.one_from_boc(file(block.cell)))
            assert parsed.info.prev_ref.prev.root_hash == previous.id.root_hash
            assert parsed.info.prev_ref.prev.file_hash == previous.id.file_hash
            assert parsed.info.prev_ref.prev.end_lt <= parsed.info.start_lt < parsed.info.end_lt
            assert parsed.state_update.old_hash == previous.state.hash
            assert parsed.state_update.new_hash == block.state.hash


@LEVELS
@on_devnet
async def test_it_reads_the_config(world: World, level: int) -> None:
    async with client(world.net, level) as connected:
        for config in (await connected.get_config_all(), await connected.get_config_params([19])):
            assert config[19].load_int(32) == DEVNET_GLOBAL_ID


@on_devnet
async def test_it_waits_for_the_next_block(world: World) -> None:
    async with client(world.net) as connected:
        waiting = asyncio.create_task(connected.wait_masterchain_seqno(2, 5000, "getMasterchainInfo"))
        assert (await connected.get_time())["now"] == int(world.clock())
        assert not waiting.done()
        await world.net.advance()
        assert (await waiting)["last"]["seqno"] == 2
        with pytest.raises(LiteServerError, match="timeout"):
            await connected.wait_masterchain_seqno(9, 1, "getMasterchainInfo")


@on_devnet
async def test_it_asks_for_the_time_and_the_version(world: World) -> None:
    async with client(world.net) as connected:
        assert (await connected.get_version())["version"] == 0x101
        extended = await connected.get_masterchain_info_ext()
        assert extended["last_utime"] == extended["now"] == int(world.clock())
        assert extended["state_root_hash"] == world.net.chain.head.master.state.hash.hex()


@on_devnet
async def test_what_it_does_not_serve_is_an_error(world: World) -> None:
    async with client(world.net) as connected:
        for refused in (
            connected.get_libraries([bytes(32)]),
            connected.get_one_transaction(theirs(GIVER), 1, connected.last_mc_block),
            connected.raw_get_block_transactions(connected.last_mc_block),
        ):
            with pytest.raises(LiteServerError, match="does not serve"):
                await refused
        nowhere = BlockIdExt(-1, None, 1, bytes(32), bytes(32))
        for unknown in (
            nowhere,
            BlockIdExt(0, None, 4, bytes(32), bytes(32)),
            BlockIdExt(-1, None, 0, bytes(32), bytes(32)),
        ):
            with pytest.raises(LiteServerError, match="not in db"):
                await connected.raw_get_block_header(unknown)
        with pytest.raises(LiteServerError, match="cannot locate"):
            await connected.raw_get_transactions(theirs(GIVER), 1, 1, bytes(32))


@on_devnet
async def test_get_methods_of_accounts_without_code(world: World) -> None:
    async with client(world.net) as connected:
        for address in (GIVER, NOBODY):
            with pytest.raises(Exception, match="-256"):
                await connected.run_get_method(theirs(address), "seqno", [])


@on_devnet
async def test_the_numbers_of_constructors_are_those_of_the_schema(world: World) -> None:
    schemas = client(world.net).schemas
    for number, known in [(call, schemas.get_by_id(call, "big")) for call in (*Call, *Answer)]:
        assert known is not None, number
        name = known.name.split(".")[-1].lower()
        assert name == number.name.replace("_", "").lower() or number in (
            Call.PING,
            Call.QUERY,
            Call.LITE_QUERY,
            Answer.PONG,
            Answer.ANSWER,
        )
