"""Liteservers: several are asked, none is believed, and an answer counts when enough of them prove the same.

pytoniq carries the bytes (ADNL over TCP: handshake, encryption, packets) and nothing else of it is used: its proof
checks take an empty state for an absent account, ask for no freshness and count one validator's signature as often as
it comes; its task that follows the masterchain ends unnoticed; get-methods come without proof. Here questions and
answers are written and read in `tl.py` and proved in `proof.py`, and each operation has connections of its own, so that
no task and no connection can have died unseen.
"""

import asyncio
import logging
import os
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any, Final, TypeAlias, TypeVar

from pytoniq.liteclient.client import LiteClient

from attestd.chain import tl
from attestd.chain.ledger import MAX_HISTORY
from attestd.chain.network import Liteserver, Network
from attestd.chain.proof import MASTERCHAIN, WHOLE_SHARD, ProvedAccount, prove_account
from attestd.chain.tl import BlockId, ServerError
from attestd.chain.transactions import Transaction, load_transaction
from attestd.codec import dump_base64
from attestd.errors import Malformed, NotAuthentic, Reason, Unavailable
from attestd.tvm.address import Address
from attestd.tvm.boc import load_boc

# The account of a registry or of a wallet is small, and proofs have about a thousand cells.
MAX_ANSWER_SIZE: Final = 4 * 1024 * 1024
# How far from the clock the last block may be, either way. The masterchain has one every few seconds.
MAX_AGE: Final = 60
TIMEOUT: Final = 10.0

# Transactions in one answer: so many fit into it and into a bag of cells (tvm/boc.py) also where anybody has filled the
# messages to this account with all that they may have, 8192 cells and 256 KiB (config 43).
_PAGE: Final = 7
_QUERY_ID_SIZE: Final = 32
_NONCE_SIZE: Final = 32
_ACCEPTED: Final = 1
# Below the timeout of the whole, so that a server which waits in vain still says so.
_WAIT_SHARE: Final = 0.5
# Seconds between two looks of the library for a question that was asked meanwhile: an answer lies there for as long.
_IDLE: Final = 0.002
# What ends an operation from outside. Everything else that comes out of the library is the server's fault, also what is
# no `Exception`: its ContractError derives from BaseException.
_ENDINGS: Final = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)
# Of several refusals the one that says most.
_SEVERITY: Final = (Reason.CHAIN_UNAVAILABLE, Reason.CHAIN_STALE, Reason.CHAIN_DISAGREES, Reason.CHAIN_PROOF)

_T = TypeVar("_T")
_Answers: TypeAlias = list[tuple[Liteserver, _T | Unavailable]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """What enough servers have proved alike, which they were, and what is the matter with the others."""

    account: ProvedAccount
    servers: tuple[Liteserver, ...]
    others: tuple[tuple[Liteserver, Unavailable | None], ...]  # null: it proved something else


class Liteservers:
    """The servers of a network. `clock` returns POSIX seconds; it is read when an answer has come."""

    def __init__(self, network: Network, clock: Callable[[], float], *, timeout: float = TIMEOUT) -> None:
        """Keep whom to ask; nothing is opened yet."""
        self.network: Final = network
        self._clock = clock
        self._timeout = timeout

    async def account(self, address: Address) -> Agreed:
        """Return an account, or its proved absence, as of a recent block of the masterchain.

        Raises `Unavailable`: `chain.disagrees` where enough servers answer, but not the same; else the gravest of
        `chain.proof`, `chain.disagrees`, `chain.stale` and `chain.unavailable` that too few are left for.
        """
        async with _sessions(self.network.liteservers, self._timeout) as sessions:
            heads = await _gather(sessions, _head)
            refusal = _refusal(heads, self.network.agree)
            for block in _candidates(heads, self.network.agree):

                async def ask(session: _Session, block: BlockId = block) -> ProvedAccount:
                    return self._fresh(await _account(session, block, address, self.network.global_id))

                answers = await _gather(sessions, ask)
                if agreed := _agreed(answers, self.network.agree):
                    return agreed
                refusal = _refusal(answers, self.network.agree)
            raise refusal

    async def transactions(
        self, address: Address, *, since: int, last_lt: int, last_hash: bytes, most: int = MAX_HISTORY
    ) -> list[Transaction]:
        """Return the transactions after the logical time `since`, newest first, from the one of `last_lt` on.

        Each is known by the hash which the account, or the transaction after it, names: one honest server is enough.
        At most `most` are returned. Raises `Unavailable`: `chain.unavailable`, `chain.proof`.
        """
        found: list[Transaction] = []
        async with _sessions(self.network.liteservers, self._timeout) as sessions:
            while last_lt > since and len(found) < most:

                async def ask(session: _Session, lt: int = last_lt, digest: bytes = last_hash) -> list[Transaction]:
                    return await _page(session, address, lt, digest)

                found += await _first(sessions, ask)
                last_lt, last_hash = found[-1].previous_lt, found[-1].previous_hash
        return [transaction for transaction in found if transaction.lt > since][:most]

    async def send(self, message: bytes) -> int:
        """Hand an external message (BoC) to all servers; return how many took it, which says nothing of its fate.

        Raises `Unavailable` where none did; it may have been carried on all the same.
        """

        async def ask(session: _Session) -> None:
            status = tl.load_status(await session.ask(tl.send_message(message)))
            if status != _ACCEPTED:
                raise _unavailable(f"status {status}", f"{_ACCEPTED}: the message is taken")

        async with _sessions(self.network.liteservers, self._timeout) as sessions:
            answers = await _gather(sessions, ask)
        if taken := sum(answer is None for _, answer in answers):
            return taken
        raise _refusal(answers, 1)

    def _fresh(self, proved: ProvedAccount) -> ProvedAccount:
        """Require that the block is of now: an old one is as well proved, and knows nothing of what was revoked."""
        now = int(self._clock())
        if abs(now - proved.gen_utime) > MAX_AGE:
            raise Unavailable(
                Reason.CHAIN_STALE,
                found=f"block {proved.block.seqno}, {now - proved.gen_utime} s old",
                wanted=f"one of {MAX_AGE} s at most, and of no other time than now",
            )
        return proved


def _candidates(heads: _Answers[BlockId], agree: int) -> list[BlockId]:
    """Return the blocks to ask about: what at least `agree` servers say to have reached, the newest first.

    A server that is ahead of the others, in truth or not, so has the others asked about what they know. One that names
    a block which none but itself knows is passed over for the next.
    """
    blocks = sorted((head for _, head in heads if isinstance(head, BlockId)), key=lambda block: -block.seqno)
    return list(dict.fromkeys(blocks[agree - 1 :]))


def _agreed(answers: _Answers[ProvedAccount], agree: int) -> Agreed | None:
    """Return what at least `agree` servers have proved alike, and more than contradict them.

    A server that knows nothing of the block contradicts it, too: a few that have a chain of their own would else be
    believed beside many that have another.
    """
    alike: defaultdict[ProvedAccount, list[Liteserver]] = defaultdict(list)
    for server, answer in answers:
        if not isinstance(answer, Unavailable):
            alike[answer].append(server)
    for account, servers in alike.items():
        others = [
            (server, answer if isinstance(answer, Unavailable) else None)
            for server, answer in answers
            if server not in servers
        ]
        against = sum(error is None or error.reason is not Reason.CHAIN_UNAVAILABLE for _, error in others)
        if len(servers) >= agree and len(servers) > against:
            return Agreed(account=account, servers=tuple(servers), others=tuple(others))
    return None


def _refusal(answers: Sequence[tuple[Liteserver, object]], agree: int) -> Unavailable:
    """Say why these answers are not enough."""
    errors = [(server, answer) for server, answer in answers if isinstance(answer, Unavailable)]
    good = len(answers) - len(errors)
    if good >= agree:
        return Unavailable(
            Reason.CHAIN_DISAGREES,
            found=f"{good} good answers from {len(answers)} servers, no {agree} alike and more than the others",
            wanted=f"{agree} alike, against fewer",
        )
    server, worst = max(errors, key=lambda pair: _SEVERITY.index(pair[1].reason))
    return Unavailable(
        worst.reason,
        found=f"{good} good answers from {len(answers)} servers; {server}: {worst.found}",
        wanted=f"{agree} good answers; {worst.wanted}",
    )


class _Session:
    """One connection to one server for the time of one operation, opened when it is first used.

    Whoever was silent once is not waited for again: the others' answers grow old meanwhile.
    """

    def __init__(self, server: Liteserver, timeout: float) -> None:
        self.server = server
        self.timeout = timeout
        self._connection: _Connection | None = None
        self._failure: Unavailable | None = None

    async def ask(self, query: bytes) -> bytes:
        """Send a question and return the answer. Raises `Unavailable` (`chain.unavailable`)."""
        if self._failure is not None:
            raise self._failure
        try:
            async with asyncio.timeout(self.timeout):
                if self._connection is None:
                    self._connection = _Connection(self.server, self.timeout)
                    await self._connection.connect()
                return await self._connection.ask(query)
        except _ENDINGS:
            raise
        except BaseException as error:  # noqa: BLE001 - see _ENDINGS
            self._failure = _unavailable(type(error).__name__, "a connection and an answer in time")
            raise self._failure from None

    async def close(self) -> None:
        """Close what is open, whatever state it is in."""
        if self._connection is not None:
            try:
                await self._connection.close()
            except _ENDINGS:
                raise
            except BaseException:  # noqa: BLE001, S110 - it is of no use any more
                pass


class _Connection(LiteClient):
    """pytoniq's client, as a carrier of bytes: it follows no chain, pings nobody and takes no answer apart."""

    def __init__(self, server: Liteserver, timeout: float) -> None:
        # None of the library's schemas is used, and to read them takes longer than all the rest of a connection.
        key = dump_base64(server.key)
        super().__init__(
            server.host, server.port, key, timeout=ceil(timeout), trust_level=2, tl_schemas_path=os.devnull
        )
        self.delta = _IDLE
        self.logger = _SILENT

    async def ask(self, query: bytes) -> bytes:
        """Send liteServer.query and return the bytes of the answer."""
        query_id = secrets.token_bytes(_QUERY_ID_SIZE)
        packet = self.serialize_packet(tl.adnl_query(query_id, query))
        answer: bytes = await (await self.send_and_encrypt(packet, query_id.hex()))
        return answer

    def deserialize_adnl_query(self, data: bytes) -> dict[str, Any]:
        """Take a packet apart: empty behind its nonce after the handshake, else an answer.

        The library would read any type of its schemas here, and copy what is left of the packet for each element of a
        vector: one packet of one server would keep the process busy for minutes.
        """
        packet = data[_NONCE_SIZE:]
        if not packet:
            return {}
        query_id, answer = tl.load_adnl_answer(packet)
        return {"query_id": query_id.hex(), "answer": answer}

    async def receive(self, data_len: int) -> bytes:
        """Read from the server, within bounds."""
        if data_len > MAX_ANSWER_SIZE:
            await self.close()
            raise ConnectionResetError
        return await super().receive(data_len)

    async def update_last_blocks(self) -> None:
        """Do nothing: which block counts is not decided by one server."""

    async def block_updater(self) -> None:
        """Do nothing."""

    async def ping(self) -> None:
        """Do nothing: the connection does not live that long."""


# What goes wrong on a connection is raised, so nothing is logged beside it: part of it would be the server's words.
_SILENT: Final = logging.getLogger("attestd.chain.adnl")
_SILENT.disabled = True


@asynccontextmanager
async def _sessions(servers: Sequence[Liteserver], seconds: float) -> AsyncIterator[list[_Session]]:
    sessions = [_Session(server, seconds) for server in servers]
    try:
        yield sessions
    finally:
        await asyncio.gather(*(session.close() for session in sessions))


async def _gather(sessions: Sequence[_Session], ask: Callable[[_Session], Coroutine[Any, Any, _T]]) -> _Answers[_T]:
    """Ask all servers at once."""

    async def answer(session: _Session) -> tuple[Liteserver, _T | Unavailable]:
        try:
            return session.server, await ask(session)
        except Unavailable as error:
            return session.server, error
        except ServerError as error:
            return session.server, _unavailable(str(error), "an answer")
        except (Malformed, NotAuthentic) as error:
            return session.server, Unavailable(Reason.CHAIN_PROOF, found=error.found, wanted=error.wanted)

    return await asyncio.gather(*map(answer, sessions))


async def _first(sessions: Sequence[_Session], ask: Callable[[_Session], Coroutine[Any, Any, _T]]) -> _T:
    """Return the first good answer, asking one server after the other."""
    answers: _Answers[_T] = []
    for session in sessions:
        ((server, answer),) = await _gather((session,), ask)
        if not isinstance(answer, Unavailable):
            return answer
        answers.append((server, answer))
    raise _refusal(answers, 1)


async def _head(session: _Session) -> BlockId:
    block = tl.load_masterchain_info(await session.ask(tl.masterchain_info()))
    if (block.workchain, block.shard) != (MASTERCHAIN, WHOLE_SHARD):
        raise Malformed(Reason.CHAIN_PROOF, found=f"block {block} as the last one", wanted="one of the masterchain")
    return block


async def _account(session: _Session, block: BlockId, address: Address, global_id: int) -> ProvedAccount:
    query = tl.account_state(block, address, wait_ms=int(1000 * _WAIT_SHARE * session.timeout))
    try:
        answer = tl.load_account_state(await session.ask(query))
    except ServerError as error:
        raise Unavailable(
            Reason.CHAIN_DISAGREES, found=f"{error} about block {block}", wanted="a block that all of them know"
        ) from None
    return prove_account(answer, block, address, global_id)


async def _page(session: _Session, address: Address, lt: int, digest: bytes) -> list[Transaction]:
    """Ask for a transaction and some before it, and require that each is the one whose hash is known."""
    answer = tl.load_transactions(await session.ask(tl.transactions(address, lt, digest, _PAGE)))
    page: list[Transaction] = []
    for cell in load_boc(answer, roots=None):  # one at least
        transaction = load_transaction(cell)
        if (transaction.account, transaction.lt, transaction.hash) != (address.hash, lt, digest):
            raise Malformed(Reason.CHAIN_PROOF, found=f"another transaction at {lt}", wanted=digest.hex())
        page.append(transaction)
        lt, digest = transaction.previous_lt, transaction.previous_hash
    return page


def _unavailable(found: str, wanted: str) -> Unavailable:
    return Unavailable(Reason.CHAIN_UNAVAILABLE, found=found, wanted=wanted)
