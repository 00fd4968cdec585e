"""The chain of the devnet: rounds of one basechain block and one masterchain block, made when there is something to do.

A round takes the internal messages that the round before left, then the external ones that have come in. What contracts
send in it is for the next round, and rounds follow until nothing is left to deliver. A wallet has therefore counted on
before the contract has heard from it, as on any network. The masterchain has no accounts: messages to it are lost.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Self

from attestd.chain.devnet.accounts import (
    Transaction,
    absent,
    destination,
    internal,
    load_external,
    load_shard_account,
    load_transaction,
    uninit,
    with_balance,
)
from attestd.chain.devnet.blocks import (
    BASECHAIN,
    Block,
    Header,
    ShardAccount,
    master_block,
    mc_state_extra,
    shard_block,
    zero,
)
from attestd.chain.devnet.emulator import Emulator, MethodResult, Rejected
from attestd.chain.proof import MASTERCHAIN
from attestd.chain.tl import BlockId
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc, load_boc
from attestd.tvm.cell import Cell

# Holds every account's TON at first, and is nobody's: `Chain.fund` moves it.
GIVER: Final = Address(BASECHAIN, bytes([0x61]) * 32)
_SUPPLY: Final = 5_000_000_000 * 10**9

# Logical times of one block, as on mainnet (block::ConfigParams::get_lt_align).
_LT_ALIGN: Final = 1_000_000
# The basechain is ahead by so many blocks, lest anybody take the one sequence number for the other.
_AHEAD: Final = 3
# States are kept for so many rounds; transactions for ever.
_KEPT: Final = 2048


class NotAccepted(Exception):
    """An external message that no contract accepted: nothing has happened."""


@dataclass(frozen=True, slots=True)
class Round:
    """One block of the masterchain, and the last of the basechain that it names, with the accounts after them."""

    master: Block
    shard: Block
    accounts: Mapping[bytes, ShardAccount]  # of the basechain, by the hash in their address
    queue: tuple[Cell, ...]  # internal messages for the next round
    transactions: tuple[tuple[bytes, int], ...]  # made in it: account and logical time

    @property
    def seqno(self) -> int:
        """Return the number of the masterchain's block."""
        return self.master.id.seqno


@dataclass(slots=True)
class _Work:
    """A round in the making."""

    at: int
    lt: int
    accounts: dict[bytes, ShardAccount]
    transactions: list[tuple[bytes, Transaction]] = field(default_factory=list)
    sent: list[Cell] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Sent:
    """An external message that waits for its round."""

    cell: Cell
    to: Address
    outcome: asyncio.Future[str | None]  # why it was not accepted


@dataclass(slots=True)
class Chain:
    """Accounts and blocks. Rounds are made one at a time; messages that come in meanwhile share the next."""

    global_id: int
    emulator: Emulator
    now: Callable[[], float]
    config: Cell
    zero_state: BlockId
    _rounds: dict[int, Round]
    _random: random.Random
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _incoming: list[_Sent] = field(default_factory=list)
    _later: list[tuple[int, Cell, Address]] = field(default_factory=list)
    _transactions: dict[tuple[bytes, int], tuple[Transaction, BlockId]] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    async def start(cls, emulator: Emulator, global_id: int, now: Callable[[], float], seed: int) -> Self:
        """Make the zero states, in which the giver has everything, and the first round."""
        (config,) = load_boc(emulator.config)
        at = int(now())
        accounts = {GIVER.hash: uninit(GIVER, _SUPPLY, at)}
        shard = zero(Header(global_id, BASECHAIN, 0, at, 0, 0, bytes(32)), accounts)
        extra = mc_state_extra(None, config, 0, shard.balance)
        master = zero(Header(global_id, MASTERCHAIN, 0, at, 0, 0, bytes(32)), {}, extra)
        for seqno in range(1, _AHEAD + 1):
            lt = seqno * _LT_ALIGN
            header = Header(global_id, BASECHAIN, seqno, at, lt, lt + 1, bytes(32))
            shard = shard_block(header, shard, master, accounts)
        chain = cls(
            global_id=global_id,
            emulator=emulator,
            now=now,
            config=config,
            zero_state=master.id,
            _rounds={0: Round(master, shard, MappingProxyType(accounts), (), ())},
            _random=random.Random(seed),  # noqa: S311 - nothing here is secret, and tests want the same again
        )
        await chain.advance()
        return chain

    @property
    def head(self) -> Round:
        """Return the last round."""
        return next(reversed(self._rounds.values()))

    def round(self, seqno: int) -> Round | None:
        """Return a round by the number of its masterchain block, as long as it is kept; the zero state is none."""
        return self._rounds.get(seqno) if seqno else None

    def by_shard(self, seqno: int) -> Round | None:
        """Return a round by the number of its basechain block, as long as it is kept."""
        return self.round(seqno - _AHEAD)

    def kept(self) -> Iterator[Round]:
        """Return the rounds that are kept, oldest first."""
        return (found for seqno, found in self._rounds.items() if seqno)

    def transaction(self, account: bytes, lt: int) -> tuple[Transaction, BlockId] | None:
        """Return a transaction of an account of the basechain, and the block in which it is."""
        return self._transactions.get((account, lt))

    async def reached(self, seqno: int) -> None:
        """Wait until a masterchain block of this number is there."""
        while self.head.seqno < seqno:
            await self._changed.wait()

    async def advance(self, rounds: int = 1) -> None:
        """Make so many rounds, and those that it takes to deliver what was sent."""
        async with self._turn:
            for _ in range(rounds):
                await self._make()
            await self._deliver()

    async def send(self, boc: bytes) -> None:
        """Put an external message into the next round. Raises `NotAccepted`, `Malformed`."""
        cell, to = load_external(boc)
        if to.workchain != BASECHAIN:
            raise NotAccepted(f"no accounts in workchain {to.workchain}")
        sent = next((waiting for waiting in self._incoming if waiting.cell == cell), None)
        if sent is None:  # a node takes the same message from several servers for one
            sent = _Sent(cell, to, asyncio.get_running_loop().create_future())
            self._incoming.append(sent)
        async with self._turn:
            # Whoever had the turn may have made the round already, for all who were waiting.
            if not sent.outcome.done():
                await self._make()
                await self._deliver()
        if (why := sent.outcome.result()) is not None:
            raise NotAccepted(why)

    def send_later(self, boc: bytes, rounds: int) -> None:
        """Put an external message into the round after so many others; nobody learns whether it was accepted.

        Raises `Malformed`.
        """
        self._later.append((self.head.seqno + rounds, *load_external(boc)))

    async def fund(self, to: Address, value: int, state_init: Cell | None = None) -> None:
        """Have the giver send an amount (nanoton), perhaps with the account's state; the message does not bounce."""
        async with self._turn:
            giver = self.head.accounts[GIVER.hash]
            lt, at = self.head.shard.header.end_lt, int(self.now())
            message = internal(GIVER, to, value, lt=lt, at=at, state_init=state_init)
            await self._make({GIVER: with_balance(giver, giver.balance - value)}, (message,))
            await self._deliver()

    async def alter(self, account: Address, change: Callable[[ShardAccount], ShardAccount]) -> None:
        """Make a round in which an account changes as no transaction would have it. Raises `KeyError` for none."""
        async with self._turn:
            await self._make({account: change(self.head.accounts[account.hash])})

    async def fork(self, rounds: int) -> None:
        """Let the last rounds vanish, as if the chain had gone on another way from before them.

        Their transactions are undone; external messages in them are lost, internal ones from before are delivered anew.
        """
        async with self._turn:
            if self.round(self.head.seqno - rounds) is None:
                raise ValueError(f"there are no {rounds} rounds to undo")
            for _ in range(rounds):
                _, gone = self._rounds.popitem()
                for key in gone.transactions:
                    del self._transactions[key]

    def forged(self, of: Round, *, global_id: int, change: Callable[[Address, ShardAccount], ShardAccount]) -> Round:
        """Return a round that was never made: that one with other accounts, or of another network, sound in itself."""
        before = self._rounds[of.seqno - 1]
        accounts = {key: change(Address(BASECHAIN, key), entry) for key, entry in of.accounts.items()}
        master, shard = self._blocks(before, of.shard.header, of.master.header, accounts, global_id)
        return Round(master, shard, MappingProxyType(accounts), (), ())

    async def get_method(
        self, code: Cell, data: Cell, *, address: Address, method: int, stack: bytes, balance: int, now: int
    ) -> MethodResult:
        """Run a get-method on code and data. `stack` is a BoC."""
        return await self.emulator.get_method(
            dump_boc(code, crc=False),
            dump_boc(data, crc=False),
            address=str(address),
            method=method,
            stack=stack,
            balance=balance,
            now=now,
            seed=self._random.randbytes(32),
        )

    async def _deliver(self) -> None:
        while self.head.queue:
            await self._make()

    async def _make(self, altered: Mapping[Address, ShardAccount] | None = None, put: tuple[Cell, ...] = ()) -> None:
        """Make one round of what waits. Whatever fails on the way, nothing of it has happened."""
        head = self.head
        at = max(int(self.now()), head.master.header.gen_utime)
        work = _Work(at, (head.shard.header.seqno + 1) * _LT_ALIGN + 1, dict(head.accounts))
        work.accounts |= {address.hash: entry for address, entry in (altered or {}).items()}
        for message in head.queue:
            await self._run(work, message, destination(message))
        outcomes = await self._take_in(work)
        self._commit(head, work, put)
        for sent, why in outcomes:
            sent.outcome.set_result(why)
        self._incoming = [sent for sent in self._incoming if not sent.outcome.done()]

    async def _take_in(self, work: _Work) -> list[tuple[_Sent, str | None]]:
        outcomes = [(sent, await self._run(work, sent.cell, sent.to)) for sent in tuple(self._incoming)]
        for due, cell, to in tuple(self._later):
            if due <= self.head.seqno:
                await self._run(work, cell, to)
        return outcomes

    async def _run(self, work: _Work, message: Cell, to: Address | None) -> str | None:
        """Run one message on its account; return why it was not accepted."""
        if to is None or to.workchain != BASECHAIN:
            return None
        entry = work.accounts.get(to.hash) or absent()
        outcome = await self.emulator.transaction(
            entry.boc, dump_boc(message, crc=False), now=work.at, lt=work.lt, seed=self._random.randbytes(32)
        )
        if isinstance(outcome, Rejected):
            return f"{outcome.why}: exitcode={outcome.exit_code}"
        transaction = load_transaction(outcome.transaction)
        work.lt = transaction.end_lt
        work.transactions.append((to.hash, transaction))
        work.sent += (cell for cell in transaction.sent if destination(cell) is not None)
        if (left := load_shard_account(outcome.account)) is None:
            work.accounts.pop(to.hash, None)
        else:
            work.accounts[to.hash] = left
        return None

    def _commit(self, head: Round, work: _Work, put: tuple[Cell, ...]) -> None:
        seqno = head.shard.header.seqno + 1
        start_lt = seqno * _LT_ALIGN
        end_lt = max(work.lt, start_lt + 1)
        shard_header = Header(self.global_id, BASECHAIN, seqno, work.at, start_lt, end_lt, self._random.randbytes(32))
        master_header = Header(
            self.global_id, MASTERCHAIN, head.seqno + 1, work.at, start_lt, end_lt + 1, self._random.randbytes(32)
        )
        master, shard = self._blocks(head, shard_header, master_header, work.accounts, self.global_id)
        keys = tuple((account, transaction.lt) for account, transaction in work.transactions)
        self._transactions |= {(account, made.lt): (made, shard.id) for account, made in work.transactions}
        self._later = [later for later in self._later if later[0] > head.seqno]
        queue = (*work.sent, *put)
        self._rounds[master.id.seqno] = Round(master, shard, MappingProxyType(work.accounts), queue, keys)
        self._rounds.pop(master.id.seqno - _KEPT, None)
        self._changed.set()
        self._changed = asyncio.Event()

    def _blocks(
        self, before: Round, shard: Header, master: Header, accounts: Mapping[bytes, ShardAccount], global_id: int
    ) -> tuple[Block, Block]:
        made = shard_block(replace(shard, global_id=global_id), before.shard, before.master, accounts)
        return master_block(replace(master, global_id=global_id), before.master, made, self.config), made
