"""Each fault has the effect that it is there for, on attestd's own reading and on pytoniq's."""

import asyncio

import pytest
from pytoniq.liteclient.client import LiteServerError
from pytoniq_core.boc.address import Address as TheirAddress
from pytoniq_core.proof.check_proof import ProofError

from attestd.chain.devnet import GIVER, Devnet, Fault, Plan
from attestd.chain.devnet.accounts import with_data
from attestd.chain.devnet.blocks import ShardAccount
from attestd.errors import Reason
from attestd.tvm.address import Address
from attestd.tvm.boc import load_boc
from attestd.tvm.cell import Builder
from tests.chain.devnet.world import NOBODY, TON, Clock, World, client, on_devnet, unavailable

SUPPLY = 5_000_000_000 * TON

# Long for a server that answers, short to wait for one that does not.
SILENCE = 3.0

# What all servers do, and what attestd says of it.
REFUSED = {
    Fault.OTHER_NETWORK: Reason.CHAIN_PROOF,
    Fault.FORGED_STATE: Reason.CHAIN_PROOF,
    Fault.ABSENT: Reason.CHAIN_PROOF,
    Fault.WRONG_ACCOUNT: Reason.CHAIN_PROOF,
    Fault.TRUNCATED: Reason.CHAIN_PROOF,
    Fault.CYCLIC: Reason.CHAIN_PROOF,
    Fault.HUGE: Reason.CHAIN_PROOF,
    Fault.CUT: Reason.CHAIN_UNAVAILABLE,
    Fault.SILENT: Reason.CHAIN_UNAVAILABLE,
}


@pytest.mark.parametrize(("fault", "reason"), REFUSED.items())
@on_devnet
async def test_what_all_servers_answer_wrongly_is_refused(world: World, fault: Fault, reason: Reason) -> None:
    await world.net.fund(NOBODY, TON)
    world.net.faults.set(fault)
    with unavailable(reason):
        await (world.reader(SILENCE) if fault is Fault.SILENT else world.reader()).account(GIVER)
    world.net.faults.clear(fault)
    assert (await world.present(GIVER)).balance == SUPPLY - TON


@pytest.mark.parametrize("fault", REFUSED)
@on_devnet
async def test_one_server_of_three_changes_nothing(world: World, fault: Fault) -> None:
    await world.net.fund(NOBODY, TON)
    world.net.liteservers[0].faults.set(fault)
    agreed = await (world.reader(SILENCE) if fault is Fault.SILENT else world.reader()).account(GIVER)
    assert agreed.account.account is not None
    assert agreed.account.account.balance == SUPPLY - TON


@on_devnet
async def test_a_stale_head_is_old_and_its_server_waits_for_newer_ones(world: World) -> None:
    world.clock.at += 100
    await world.net.advance()
    world.net.faults.set(Fault.STALE, count=1)
    with unavailable(Reason.CHAIN_STALE):
        await world.account(GIVER)
    async with client(world.net) as connected:
        assert connected.last_mc_block.seqno == 1
        with pytest.raises(LiteServerError, match="timeout"):
            await connected.wait_masterchain_seqno(2, 1, "getMasterchainInfo")
        await world.net.advance()
        assert (await connected.wait_masterchain_seqno(2, 1, "getMasterchainInfo"))["last"]["seqno"] == 2


@on_devnet
async def test_a_forged_block_is_sound_in_itself_and_only_other_servers_contradict(world: World) -> None:
    world.net.liteservers[0].faults.set(Fault.FORGED_BLOCK)
    async with client(world.net) as deceived, client(world.net, server=1) as honest:
        for connected, balance in ((deceived, SUPPLY + TON), (honest, SUPPLY)):
            assert (await connected.get_account_state(str(GIVER))).balance == balance
            # The header of the named block, of the shard's too.
            (shard,) = await connected.get_all_shards_info()
            assert (await connected.raw_get_block_header(shard)).info.seqno == 4
    assert (await world.present(GIVER)).balance == SUPPLY
    world.net.faults.set(Fault.FORGED_BLOCK)
    assert (await world.present(GIVER)).balance == SUPPLY + TON


@on_devnet
async def test_what_is_forged_is_for_the_test_to_say(world: World) -> None:
    wallet = await world.wallet()
    data = Builder().uint(7, 8).end()

    def forge(address: Address, entry: ShardAccount) -> ShardAccount:
        return with_data(entry, data) if address == wallet.address else entry

    for server in world.net.liteservers:
        server.answers.forge = forge
    world.net.faults.set(Fault.FORGED_BLOCK)
    forged = await world.present(wallet.address)
    assert forged.data == data
    world.net.faults.clear()
    genuine = await world.present(wallet.address)
    assert genuine.data != data
    assert (forged.code, forged.balance, forged.address) == (genuine.code, genuine.balance, genuine.address)


@pytest.mark.parametrize("level", [1, 2])
@on_devnet
async def test_what_pytoniq_says(world: World, level: int) -> None:
    faults = world.net.faults
    await world.net.fund(NOBODY, TON)
    async with client(world.net, level) as connected:
        giver = TheirAddress(str(GIVER))
        # It takes an empty state for an absent account, whatever the proof shows.
        faults.set(Fault.ABSENT)
        assert await connected.raw_get_account_state(giver) == (None, None)
        faults.clear()
        faults.set(Fault.FORGED_STATE)
        with pytest.raises(ProofError):
            await connected.get_account_state(giver)
        faults.clear()
        faults.set(Fault.WRONG_ACCOUNT)
        with pytest.raises(KeyError):
            await connected.get_account_state(giver)
        faults.clear()


@on_devnet
async def test_a_get_method_lies_while_the_state_does_not(world: World) -> None:
    wallet = await world.wallet()
    async with client(world.net) as connected:
        assert await connected.run_get_method(str(wallet.address), "seqno", []) == [1]
        world.net.faults.set(Fault.LYING_METHOD)
        assert await connected.run_get_method(str(wallet.address), "seqno", []) == [-1]
    assert await world.seqno(wallet) == 1


@on_devnet
async def test_a_lost_message_is_answered_like_any_other(world: World) -> None:
    wallet = await world.wallet()
    message = world.message(wallet, 1)
    world.net.faults.set(Fault.LOSE, times=3)
    assert await world.reader().send(message) == 3
    await world.net.advance(3)
    assert await world.seqno(wallet) == 1
    assert await world.reader().send(message) == 3
    assert await world.seqno(wallet) == 2


@on_devnet
async def test_a_delayed_message_comes_rounds_later(world: World) -> None:
    wallet = await world.wallet()
    world.net.faults.set(Fault.DELAY, count=2)
    async with client(world.net) as connected:
        with pytest.raises(LiteServerError, match="not well-formed"):
            await connected.raw_send_message(b"")
    assert await world.reader().send(world.message(wallet, 1)) == 3
    for _ in range(3):
        assert await world.seqno(wallet) == 1
        await world.net.advance()
    assert await world.seqno(wallet) == 2


@on_devnet
async def test_a_duplicated_message_has_one_effect(world: World) -> None:
    wallet = await world.wallet()
    world.net.faults.set(Fault.DUPLICATE, count=10)
    await world.reader().send(world.message(wallet, 1))
    await world.net.advance(12)
    assert await world.seqno(wallet) == 2
    assert len(await world.history(NOBODY)) == 1


@on_devnet
async def test_a_dropped_answer_leaves_the_effect(world: World) -> None:
    wallet = await world.wallet()
    world.net.faults.set(Fault.DROP_ANSWER)
    with unavailable(Reason.CHAIN_UNAVAILABLE):
        await world.reader().send(world.message(wallet, 1))
    assert await world.seqno(wallet) == 2


@on_devnet
async def test_a_huge_account_is_few_cells(world: World) -> None:
    world.net.faults.set(Fault.HUGE)
    async with client(world.net) as connected:
        block = connected.last_mc_block.to_dict()
        account = {"workchain": 0, "id": GIVER.hash.hex()}
        answer = await connected.liteserver_request("getAccountState", {"id": block, "account": account})
    (cell,) = load_boc(answer["state"])
    assert (cell.depth, len(answer["state"]) < 20_000) == (1000, True)


def test_when_the_emulator_is_gone_every_call_says_so() -> None:
    async def run() -> None:
        clock = Clock()
        async with Devnet.start(now=clock, every=None) as net:
            world = World(net, clock)
            wallet = await world.wallet()
            await net.chain.emulator.close()
            with unavailable(Reason.CHAIN_UNAVAILABLE):
                await net.fund(NOBODY, TON)
            async with client(net) as connected:
                for call in (
                    connected.raw_send_message(world.message(wallet, 1)),
                    connected.run_get_method(str(wallet.address), "seqno", []),
                ):
                    with pytest.raises(LiteServerError, match="the emulator has ended"):
                        await call
            assert await world.seqno(wallet) == 1

    asyncio.run(run())


def test_the_dice_of_a_plan_are_seeded() -> None:
    plans = [Plan(seed).set(Fault.CUT, probability=0.5, count=3) for seed in (1, 1, 2)]
    thrown = [[plan.strikes(Fault.CUT) for _ in range(100)] for plan in plans]
    assert thrown[0] == thrown[1] != thrown[2]
    assert set(thrown[0]) == {0, 3}


def test_a_fault_happens_as_often_as_was_said() -> None:
    plan = Plan().set(Fault.CUT, times=2)
    assert [plan.strikes(Fault.CUT) for _ in range(4)] == [1, 1, 0, 0]
    assert plan.strikes(Fault.LOSE) == 0
    assert plan.struck == {Fault.CUT: 2}
    plan.set(Fault.LOSE).set(Fault.CUT).clear()
    assert plan.strikes(Fault.LOSE) == plan.strikes(Fault.CUT) == 0
