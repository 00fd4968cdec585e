"""Several servers, of which enough must prove the same: what one of them can do, and what it cannot."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from pytoniq.contract.contract import ContractError
from pytoniq_core.tl.generator import TlSchemas

from attestd.chain import liteservers
from attestd.chain.devnet.adnl import Connection, ServerKey
from attestd.chain.liteservers import MAX_AGE, MAX_ANSWER_SIZE, Agreed, Liteservers
from attestd.chain.network import Liteserver, Network
from attestd.chain.tl import AccountAnswer, BlockId
from attestd.chain.transactions import Transaction
from attestd.errors import Reason, Unavailable
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder, pruned_branch
from tests.chain.histories import history
from tests.chain.servers import NOT_READY, Server, nobody, serving
from tests.chain.worlds import NOW, Stored, World, account_cell

HERE = Address(0, bytes.fromhex("a5" * 32))
CODE, DATA = Builder().uint(1, 8).end(), Builder().uint(2, 8).end()
WORLD = World(accounts={HERE: Stored(account_cell(HERE, code=CODE, data=DATA))})
FORGED = WORLD.but(accounts={HERE: Stored(account_cell(HERE, code=CODE, data=CODE))})


def honest() -> Server:
    return Server(WORLD, HERE)


def lying() -> Server:
    """A server that has a whole chain of its own."""
    return Server(FORGED, HERE)


def joined_by(network: Network, dead: int) -> Network:
    """Add servers that are not there."""
    more = tuple(nobody(ServerKey.generate()) for _ in range(dead))
    return replace(network, liteservers=network.liteservers + more)


def ask(*servers: Server, agree: int = 2, at: float = NOW, timeout: float = 5.0, dead: int = 0) -> Agreed:
    async def run() -> Agreed:
        async with serving(*servers, agree=agree) as network:
            return await Liteservers(joined_by(network, dead), lambda: at, timeout=timeout).account(HERE)

    return asyncio.run(run())


def refusal(*servers: Server, agree: int = 2, at: float = NOW, timeout: float = 5.0, dead: int = 0) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        ask(*servers, agree=agree, at=at, timeout=timeout, dead=dead)
    return caught.value


def data_of(agreed: Agreed) -> bytes:
    account = agreed.account.account
    assert account is not None
    assert account.data is not None
    return account.data.hash


def test_two_that_agree() -> None:
    agreed = ask(honest(), honest())
    assert data_of(agreed) == DATA.hash
    assert len(agreed.servers) == 2
    assert agreed.others == ()


def test_one_alone_is_not_enough_unless_the_file_says_so() -> None:
    agreed = ask(honest(), agree=1)
    assert len(agreed.servers) == 1
    error = refusal(honest(), dead=1)
    assert error.reason is Reason.CHAIN_UNAVAILABLE
    assert error.found.startswith("1 good answers from 2 servers")


def test_one_that_proves_and_others_that_fall_silent_are_not_enough() -> None:
    def too_much(found: AccountAnswer) -> AccountAnswer:
        return replace(found, proof=bytes(MAX_ANSWER_SIZE))

    silent = Server(WORLD, HERE, answer=too_much)
    assert data_of(ask(honest(), honest(), silent)) == DATA.hash
    error = refusal(honest(), silent)
    assert error.reason is Reason.CHAIN_UNAVAILABLE
    assert error.found.startswith("1 good answers from 2 servers")


def test_servers_that_are_down_do_not_matter_where_enough_are_left() -> None:
    agreed = ask(honest(), honest(), dead=2)
    assert [type(error) for _, error in agreed.others] == [Unavailable, Unavailable]


def test_the_gravest_refusal_is_told() -> None:
    spoilt = Server(WORLD, HERE, answer=lambda found: replace(found, proof=found.proof[:-9]))
    for servers in ([spoilt, ignorant(), honest()], [ignorant(), honest(), spoilt]):
        error = refusal(*servers, agree=3, dead=1)
        assert error.reason is Reason.CHAIN_PROOF
    assert refusal(honest(), ignorant(), dead=1).reason is Reason.CHAIN_DISAGREES


def ignorant() -> Server:
    """A server that reached a block and has not got it."""
    return Server(WORLD, HERE, answer=lambda _: NOT_READY)


def test_the_newest_block_is_asked_about_first_that_enough_have_reached() -> None:
    def head(seqno: int) -> tuple[Liteserver, BlockId]:
        return nobody(ServerKey.generate()), WORLD.but(seqno=seqno).head(HERE)

    heads: list[tuple[Liteserver, BlockId | Unavailable]] = [*map(head, (90, 100, 95, 100))]
    heads.append((heads[0][0], Unavailable(Reason.CHAIN_UNAVAILABLE, found="nothing", wanted="a block")))
    for agree, expected in ((1, [100, 95, 90]), (2, [100, 95, 90]), (3, [95, 90]), (4, [90]), (5, [])):
        assert [block.seqno for block in liteservers._candidates(heads, agree)] == expected


def test_nobody_answers() -> None:
    assert refusal(dead=3).reason is Reason.CHAIN_UNAVAILABLE


def test_b01_one_forged_chain_among_honest_servers_changes_nothing() -> None:
    for servers in ([lying(), honest(), honest()], [honest(), lying(), honest()], [honest(), honest(), lying()]):
        agreed = ask(*servers)
        assert data_of(agreed) == DATA.hash
        assert len(agreed.others) == 1


@pytest.mark.parametrize("seqno", [1, 99, 101, 2**31 - 1])
def test_b01_a_server_that_names_a_block_which_nobody_knows(seqno: int) -> None:
    liar = Server(FORGED.but(seqno=seqno), HERE)
    assert data_of(ask(liar, honest(), honest())) == DATA.hash


def test_b01_a_block_number_that_the_question_cannot_hold() -> None:
    """A seqno is an int32 on the wire, and a hostile server can send any 32 bits as its last block's."""
    liar = Server(WORLD, HERE, head=lambda block: replace(block, seqno=2**31))
    assert refusal(liar, agree=1).reason is Reason.CHAIN_DISAGREES


def test_the_library_takes_no_packet_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """It copies the rest of the packet for each element of a vector: one packet would stop the process for minutes."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(TlSchemas, "deserialize", never)
    assert data_of(ask(honest(), honest())) == DATA.hash


def test_a_packet_that_nobody_asked_for() -> None:
    async def chatter(connection: Connection) -> None:
        await connection.send(bytes.fromhex("0dbf5a1d") + (1 << 16).to_bytes(4, "little") + bytes(1 << 16))

    agreed = ask(honest(), honest(), Server(WORLD, HERE, before=chatter))
    assert data_of(agreed) == DATA.hash
    assert [type(error) for _, error in agreed.others] == [Unavailable]


def test_a_server_that_failed_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    connection = liteservers._Connection
    real = connection.ask

    async def counted(self: Any, query: bytes) -> bytes:
        asked.append(self.server.host)
        return await real(self, query)

    monkeypatch.setattr(connection, "ask", counted)
    ask(honest(), honest(), dead=2)
    assert len(asked) == 4


@pytest.mark.parametrize("seqno", [99, 100, 101])
def test_b01_two_of_five_have_a_chain_of_their_own(seqno: int) -> None:
    """Enough to agree, and fewer than those who know nothing of it: wherever they stand in the file."""

    def two() -> list[Server]:
        return [Server(FORGED.but(seqno=seqno), HERE) for _ in range(2)]

    def three() -> list[Server]:
        return [honest() for _ in range(3)]

    for servers in (two() + three(), three() + two()):
        agreed = ask(*servers)
        assert data_of(agreed) == DATA.hash
        assert len(agreed.servers) == 3
    assert refusal(*two(), honest(), honest()).reason is Reason.CHAIN_DISAGREES


def test_b01_two_chains_and_no_majority() -> None:
    assert refusal(honest(), lying()).reason is Reason.CHAIN_DISAGREES


def test_answers_that_are_proved_but_differ() -> None:
    """Three of which two must agree, each with a chain of its own at the same height."""
    third = Server(WORLD.but(salt=b"third"), HERE)
    assert refusal(honest(), lying(), third).reason is Reason.CHAIN_DISAGREES


@pytest.mark.parametrize("age", [MAX_AGE + 1, 3600, -MAX_AGE - 1])
def test_b01_a_stale_block_is_refused_however_well_it_is_proved(age: int) -> None:
    error = refusal(honest(), honest(), at=NOW + age)
    assert error.reason is Reason.CHAIN_STALE
    assert f"{age} s old" in error.found


@pytest.mark.parametrize("age", [MAX_AGE, 0, -MAX_AGE])
def test_a_block_of_this_minute(age: int) -> None:
    assert ask(honest(), honest(), at=NOW + age + 0.9 * (age < 0)).account.gen_utime == NOW


def test_b01_a_stale_server_does_not_drag_the_others_back() -> None:
    old = Server(WORLD.but(seqno=90, utime=NOW - 3600), HERE)
    agreed = ask(old, honest(), honest())
    assert agreed.account.block.seqno == 100


def test_b01_a_bad_proof() -> None:
    spoilt = Server(WORLD, HERE, answer=lambda found: replace(found, proof=found.proof[:-9]))
    error = refusal(spoilt, honest())
    assert error.reason is Reason.CHAIN_PROOF
    assert data_of(ask(spoilt, honest(), honest())) == DATA.hash


def test_b01_an_empty_state_is_no_absence() -> None:
    silent = Server(WORLD, HERE, answer=lambda found: replace(found, state=b"", proof=b"", shard_proof=b""))
    assert refusal(silent, silent2()).reason is Reason.CHAIN_PROOF


def silent2() -> Server:
    return Server(WORLD, HERE, answer=lambda found: replace(found, state=b""))


def test_a_last_block_that_is_none_of_the_masterchain() -> None:
    def basechain(block: BlockId) -> BlockId:
        return replace(block, workchain=0)

    assert refusal(Server(WORLD, HERE, head=basechain), honest()).reason is Reason.CHAIN_PROOF


def test_an_error_of_a_server_is_told_by_its_code_alone() -> None:
    error = refusal(Server(WORLD, HERE, answer=lambda _: NOT_READY), honest())
    assert error.reason is Reason.CHAIN_DISAGREES
    assert "error 651" in error.found
    assert "\x1b" not in str(error)
    assert len(str(error)) < 500
    assert refusal(Server(WORLD, HERE, raw=lambda _: NOT_READY), honest()).reason is Reason.CHAIN_UNAVAILABLE


@pytest.mark.parametrize(
    "raw",
    [
        lambda _: b"",
        lambda _: b"\0" * 4,
        lambda found: found[:-1],
        lambda found: found + b"\0\0\0\0",
        lambda found: found[:4] + b"\xff" * 200,
    ],
    ids=["empty", "another type", "short", "long", "garbage"],
)
def test_b01_an_answer_that_is_none(raw: Callable[[bytes], bytes]) -> None:
    spoilt = Server(WORLD, HERE, raw=raw)
    assert refusal(spoilt, honest()).reason is Reason.CHAIN_PROOF


async def hang(_: Connection) -> None:
    await asyncio.Event().wait()


async def hang_up(connection: Connection) -> None:
    connection._writer.close()


async def flood(connection: Connection) -> None:
    """Announce a packet of 4 GiB."""
    connection._writer.write(connection._outgoing.update((2**32 - 1).to_bytes(4, "little")) + bytes(4096))


async def garbage(connection: Connection) -> None:
    connection._writer.write(bytes(4096))


async def nonsense(connection: Connection) -> None:
    """Send well-formed packets that nobody asked for."""
    await connection.send(b"\x01\x02\x03\x04" * 10)


@pytest.mark.parametrize("before", [hang, hang_up, flood, garbage, nonsense])
def test_b01_a_connection_that_leads_nowhere(before: Callable[[Connection], Awaitable[None]]) -> None:
    broken = Server(WORLD, HERE, before=before)
    error = refusal(broken, honest(), timeout=0.5)
    assert error.reason is Reason.CHAIN_UNAVAILABLE


def test_no_answer_is_read_beyond_its_bound() -> None:
    big = Server(WORLD, HERE, raw=lambda _: bytes(MAX_ANSWER_SIZE))
    assert refusal(big, honest()).reason is Reason.CHAIN_UNAVAILABLE


@pytest.mark.parametrize(
    "raised", [ContractError("of BaseException"), AssertionError(), KeyError("x"), MemoryError(), TimeoutError()]
)
def test_whatever_the_library_raises_is_the_servers_fault(
    raised: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(_: object) -> None:
        raise raised

    monkeypatch.setattr(liteservers._Connection, "connect", connect)
    assert refusal(honest(), honest()).reason is Reason.CHAIN_UNAVAILABLE


def test_whatever_closing_raises_is_of_no_use_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    close = liteservers._Connection.close

    async def fail(self: Any) -> None:
        await close(self)
        raise ContractError

    monkeypatch.setattr(liteservers._Connection, "close", fail)
    assert data_of(ask(honest(), honest())) == DATA.hash


def test_who_ends_the_operation_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(liteservers._Connection, "connect", connect)
    with pytest.raises(asyncio.CancelledError):
        ask(honest(), honest())


def test_b02_no_get_method_is_ever_asked() -> None:
    """What a server computes is not proved, so what it would say does not matter: nothing but state is asked for."""
    answers: list[bytes] = []

    def note(answer: bytes) -> bytes:
        answers.append(answer[:4])
        return answer

    ask(Server(WORLD, HERE, raw=note), honest())
    assert answers == [(0x85832881).to_bytes(4, "little"), (0x7079C751).to_bytes(4, "little")]


def test_nothing_follows_the_chain_in_the_background() -> None:
    async def run() -> set[str]:
        async with serving(honest(), honest()) as network:
            await Liteservers(network, lambda: NOW).account(HERE)
            return {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}

    names = asyncio.run(run())
    assert len(names) <= 2 * 1  # the two servers' own, of connections that they have not seen closed


# What is sent, and what became of it


def send(*servers: Server, dead: int = 0) -> int:
    async def run() -> int:
        async with serving(*servers) as network:
            return await Liteservers(joined_by(network, dead), lambda: NOW).send(b"\xb5\xee\x9c\x72 a message")

    return asyncio.run(run())


def test_a_message_goes_to_all() -> None:
    servers = honest(), honest(), Server(WORLD, HERE, status=0), Server(WORLD, HERE, status=2)
    assert send(*servers, dead=1) == 2
    assert [server.sent for server in servers] == 4 * [[b"\xb5\xee\x9c\x72 a message"]]


def test_a_message_that_nobody_took() -> None:
    for servers in ([Server(WORLD, HERE, raw=lambda _: NOT_READY)], [Server(WORLD, HERE, status=0)], []):
        with pytest.raises(Unavailable) as caught:
            send(*servers, dead=1)
        assert caught.value.reason is Reason.CHAIN_UNAVAILABLE
        assert caught.value.wanted.startswith("1 good answers")


HISTORY = history(HERE, 5)


def walk(*servers: Server, since: int = 0, most: int = 1024) -> list[Transaction]:
    async def run() -> list[Transaction]:
        async with serving(*servers) as network:
            last = HISTORY[0]
            return await Liteservers(network, lambda: NOW).transactions(
                HERE, since=since, last_lt=last.lt, last_hash=last.cell.hash, most=most
            )

    return asyncio.run(run())


def paged(*pages: bytes) -> Server:
    """Answer with one page after the other."""
    return Server(WORLD, HERE, pages=list(pages))


def test_a_server_that_failed_is_not_waited_for_at_each_page() -> None:
    """Nor is a connection made for each: a busy account has many pages between two epochs."""
    connections: list[str] = []

    def named(name: str, *pages: bytes) -> Server:
        async def connected(connection: Connection) -> None:
            connections.append(name)
            if name == "broken":
                await hang_up(connection)

        return Server(WORLD, HERE, pages=list(pages), before=connected)

    assert len(walk(named("broken"), named("sound", page_of(0, 1), page_of(2, 3), page_of(4)))) == 5
    assert connections == ["broken", "sound"]


def page_of(*items: int) -> bytes:
    return dump_boc(*(HISTORY[item].cell for item in items))


def test_the_transactions_of_an_account() -> None:
    whole = page_of(0, 1, 2, 3, 4)
    assert [found.lt for found in walk(paged(whole))] == [item.lt for item in HISTORY]
    assert [found.lt for found in walk(paged(page_of(0, 1), page_of(2, 3, 4)))] == [item.lt for item in HISTORY]
    assert [found.lt for found in walk(paged(whole), since=HISTORY[2].lt)] == [HISTORY[0].lt, HISTORY[1].lt]
    assert [found.lt for found in walk(paged(whole), most=1)] == [HISTORY[0].lt]
    assert walk(paged(whole), since=HISTORY[0].lt) == []
    # What nobody wants is not asked for.
    server = paged(page_of(0, 1), page_of(2, 3, 4))
    assert len(walk(server, most=2)) == 2
    assert server.asked == 1


@pytest.mark.parametrize("items", [(1, 2), (0, 2), (0, 0), (0, 1, 4), ()], ids=str)
def test_a_transaction_whose_hash_nobody_named(items: tuple[int, ...]) -> None:
    raw = page_of(*items) if items else dump_boc(Builder().end())
    refuse_page(raw)


def test_a_pruned_transaction_has_the_hash_and_nothing_else() -> None:
    cell = HISTORY[0].cell
    refuse_page(dump_boc(pruned_branch(cell.hash, cell.depth)))


def refuse_page(raw: bytes) -> None:
    with pytest.raises(Unavailable) as caught:
        walk(paged(raw))
    assert caught.value.reason is Reason.CHAIN_PROOF
    # The next server is asked, and one honest one is enough.
    assert len(walk(paged(raw), paged(page_of(0, 1, 2, 3, 4)))) == 5


def test_b11_transactions_of_another_account_are_none_of_this_one() -> None:
    other = history(Address(0, bytes(32)), 1)[0]

    async def run() -> None:
        async with serving(paged(dump_boc(other.cell))) as network:
            await Liteservers(network, lambda: NOW).transactions(
                HERE, since=0, last_lt=other.lt, last_hash=other.cell.hash
            )

    with pytest.raises(Unavailable) as caught:
        asyncio.run(run())
    assert caught.value.reason is Reason.CHAIN_PROOF
