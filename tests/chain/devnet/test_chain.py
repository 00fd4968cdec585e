"""The chain: what happens to messages and accounts, in which order, and what a fork undoes."""

import asyncio
from pathlib import Path

import pytest
from nacl.signing import SigningKey
from pytoniq.contract.wallets.wallet import WalletV4R2
from pytoniq_core.boc.address import Address as TheirAddress

from attestd.chain.account import dump_state_init
from attestd.chain.devnet import DEVNET_GLOBAL_ID, GIVER, NETWORK_FILE, Devnet, NotAccepted
from attestd.chain.ledger import AccountStatus
from attestd.chain.network import Network
from attestd.chain.wallet import Wallet, WalletVersion
from attestd.errors import Malformed, Reason
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc, load_boc
from attestd.tvm.cell import Builder, Cell
from tests.chain.devnet.world import NOBODY, TON, Clock, World, client, on_devnet
from tests.refusals import malformed

# Ends well with its method id dropped, and the global id in its place: DROP, GLOBALID (TVM v4).
GLOBAL_ID_CODE = Builder().bytes(bytes.fromhex("30f835")).end()


@on_devnet
async def test_a_wallet_has_counted_before_the_receiver_has_heard(world: World) -> None:
    wallet = await world.wallet()
    before = world.net.chain.head.seqno
    await world.net.chain.send(world.message(wallet, 1))
    assert world.net.chain.head.seqno == before + 2
    between = world.net.chain.round(before + 1)
    assert between is not None
    assert NOBODY.hash not in between.accounts
    assert len(between.queue) == 1
    assert NOBODY.hash in world.net.chain.head.accounts
    sent, *_ = await world.history(wallet.address)
    (received,) = await world.history(NOBODY)
    assert sent.succeeded
    assert received.message is not None
    assert sent.sent[0].hash == received.message.hash
    assert received.lt > sent.lt


@on_devnet
async def test_messages_that_come_in_together_share_a_round(world: World) -> None:
    wallets = [await world.wallet(number) for number in range(1, 5)]
    before = world.net.chain.head.seqno
    same = world.message(wallets[0], 1)
    await asyncio.gather(
        *(world.net.chain.send(world.message(wallet, 1)) for wallet in wallets), world.net.chain.send(same)
    )
    # The first has a round of its own, since nobody else was there when it came; the receiver needs one, too.
    assert world.net.chain.head.seqno <= before + 4
    assert [await world.seqno(wallet) for wallet in wallets] == [2] * 4


@on_devnet
async def test_the_second_of_two_messages_with_one_sequence_number_is_not_accepted(world: World) -> None:
    wallet = await world.wallet()
    rivals = [world.net.chain.send(world.message(wallet, 1, value=value)) for value in (TON, 2 * TON)]
    outcomes = await asyncio.gather(*rivals, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), NotAccepted]
    assert await world.seqno(wallet) == 2


@on_devnet
async def test_a_sender_that_gives_up_has_sent_nevertheless(world: World) -> None:
    wallet = await world.wallet()
    sending = asyncio.create_task(world.net.chain.send(world.message(wallet, 1)))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await world.net.advance()
    assert await world.seqno(wallet) == 2


@on_devnet
async def test_only_external_messages_to_the_basechain_are_taken(world: World) -> None:
    wallet = await world.wallet()
    (message,) = load_boc(world.message(wallet, 1))
    elsewhere = Builder().uint(0b1000, 4).address(Address(-1, bytes(32))).coins(0).uint(0, 2).end()
    with pytest.raises(NotAccepted):
        await world.net.chain.send(dump_boc(elsewhere))
    internal = Builder().uint(0, 1).slice(message).end()
    nowhere = Builder().uint(0b1000, 4).address(None).coins(0).uint(0, 2).end()
    deep = Cell(b"", 0)
    for _ in range(513):
        deep = Cell(b"", 0, (deep,))
    for wrong in (internal, nowhere, deep):
        with malformed(Reason.CELL_MALFORMED):
            await world.net.chain.send(dump_boc(wrong))
    with pytest.raises(Malformed):
        await world.net.chain.send(bytes(65536))


async def sent_with_mode(world: World, mode: int, balance: int) -> Address:
    """Have a wallet of pytoniq's, which lets one choose the mode, send one TON when it has so much left."""
    async with client(world.net) as connected:
        key = SigningKey(bytes([9]) * 32)
        wallet = await WalletV4R2.from_private_key(connected, bytes(key) + bytes(key.verify_key), version="v4r2")
        address = Address(0, wallet.address.hash_part)
        await world.net.fund(address, 10 * TON)
        await wallet.send_init_external()
        await world.net.drain(address, balance)
        await connected.update_last_blocks()
        message = wallet.create_wallet_internal_message(TheirAddress(str(NOBODY)), mode, TON)
        await wallet.raw_transfer([message])
        return address


@on_devnet
async def test_an_account_that_sends_all_it_has_is_gone(world: World) -> None:
    address = await sent_with_mode(world, 128 + 32, 10 * TON)
    assert await world.account(address) is None
    assert (await world.present(NOBODY)).balance > 9 * TON


@on_devnet
async def test_a_drained_wallet_fails_in_its_action_phase(world: World) -> None:
    address = await sent_with_mode(world, 1, TON // 2)
    assert 0 < (await world.present(address)).balance < TON // 2
    last, *_ = await world.history(address)
    assert last.compute is not None
    assert last.action is not None
    assert (last.compute.exit_code, last.action.success, last.action.result_code) == (0, False, 37)
    assert not last.succeeded
    assert await world.account(NOBODY) is None


@on_devnet
async def test_an_empty_wallet_accepts_nothing(world: World) -> None:
    wallet = await world.wallet()
    await world.net.drain(wallet.address)
    with pytest.raises(NotAccepted):
        await world.net.chain.send(world.message(wallet, 1))


@on_devnet
async def test_a_frozen_account_accepts_nothing_until_it_is_given_its_state_again(world: World) -> None:
    wallet = await world.wallet()
    active = await world.present(wallet.address)
    assert active.code is not None
    assert active.data is not None
    state = dump_state_init(active.code, active.data)
    await world.net.freeze(wallet.address)
    assert (await world.present(wallet.address)).status is AccountStatus.FROZEN
    async with client(world.net) as connected:
        assert (await connected.get_account_state(str(wallet.address))).is_frozen()
    with pytest.raises(NotAccepted):
        await world.net.chain.send(world.message(wallet, 1))
    with malformed(Reason.CHAIN_ACCOUNT):
        await world.net.freeze(wallet.address)
    with pytest.raises(KeyError):
        await world.net.freeze(Address(0, bytes(32)))
    await world.net.fund(wallet.address, TON, state)
    await world.net.chain.send(world.message(wallet, 1))
    assert await world.seqno(wallet) == 2


@on_devnet
async def test_a_fork_undoes_what_was_in_it_once(world: World) -> None:
    wallet = await world.wallet()
    before = world.net.chain.head
    message = world.message(wallet, 1)
    await world.net.chain.send(message)
    undone = world.net.chain.head
    transactions = await world.history(wallet.address)
    await world.net.fork(2)
    assert world.net.chain.head is before
    assert await world.seqno(wallet) == 1
    assert await world.history(wallet.address) == transactions[1:]
    assert world.net.chain.transaction(wallet.address.hash, transactions[0].lt) is None

    await world.net.chain.send(message)
    assert await world.seqno(wallet) == 2
    assert world.net.chain.head.master.id.seqno == undone.seqno
    assert world.net.chain.head.master.id != undone.master.id
    with pytest.raises(NotAccepted):
        await world.net.chain.send(message)


@on_devnet
async def test_a_fork_delivers_again_what_was_on_its_way(world: World) -> None:
    wallet = await world.wallet()
    await world.net.chain.send(world.message(wallet, 1))
    await world.net.fork(1)
    assert await world.seqno(wallet) == 2
    assert await world.account(NOBODY) is None
    await world.net.advance()
    assert (await world.present(NOBODY)).balance > 0


@on_devnet
async def test_no_fork_goes_back_behind_the_first_block(world: World) -> None:
    with pytest.raises(ValueError, match="no 1 rounds"):
        await world.net.fork(1)
    await world.net.advance(2)
    await world.net.fork(2)
    assert world.net.chain.head.seqno == 1


@on_devnet
async def test_the_clock_may_stand_still_or_go_back_but_blocks_do_not(world: World) -> None:
    await world.net.advance()
    first = world.net.chain.head.master
    world.clock.at -= 100
    await world.net.advance()
    last = world.net.chain.head.master
    assert last.header.gen_utime == first.header.gen_utime
    assert last.header.start_lt > first.header.end_lt


@on_devnet
async def test_contracts_see_the_global_id_of_the_devnet(world: World) -> None:
    result = await world.net.chain.get_method(
        GLOBAL_ID_CODE,
        Builder().end(),
        address=NOBODY,
        method=0,
        stack=dump_boc(Builder().uint(0, 24).end()),
        balance=TON,
        now=int(world.clock()),
    )
    (stack,) = load_boc(result.stack)
    values = stack.slice()
    assert (result.exit_code, values.load_uint(24), values.load_uint(8)) == (0, 1, 1)
    assert values.load_int(64) == DEVNET_GLOBAL_ID


@on_devnet
async def test_a_wallet_of_another_network_is_another_one(world: World) -> None:
    wallet = await world.wallet()
    foreign = Wallet(key=wallet.key, version=WalletVersion.V5R1, global_id=-239)
    assert foreign.address != wallet.address


@on_devnet
async def test_old_states_are_forgotten_and_transactions_are_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attestd.chain.devnet.chain._KEPT", 4)
    wallet = await world.wallet()
    await world.net.advance(6)
    assert [found.seqno for found in world.net.chain.kept()] == [world.net.chain.head.seqno - 3 + at for at in range(4)]
    assert len(await world.history(wallet.address)) == 2


def test_the_same_seed_and_clock_make_the_same_chain() -> None:
    async def head() -> object:
        async with Devnet.start(now=Clock(at=1_800_000_000.0), every=None, seed=7) as net:
            await net.fund(NOBODY, TON)
            return net.chain.head.master.id

    assert asyncio.run(head()) == asyncio.run(head())


def test_it_makes_blocks_by_itself_and_writes_its_network_file(tmp_path: Path) -> None:
    async def run() -> None:
        async with Devnet.start(tmp_path, liteservers=2, every=0.001) as net:
            await net.chain.reached(3)
            network = Network.load(tmp_path / NETWORK_FILE)
            assert network == net.network
            assert (len(network.liteservers), network.global_id, network.agree) == (2, DEVNET_GLOBAL_ID, 2)

    asyncio.run(run())


@on_devnet
async def test_the_giver_pays(world: World) -> None:
    before = (await world.present(GIVER)).balance
    await world.net.fund(NOBODY, TON)
    assert (await world.present(GIVER)).balance == before - TON
