"""What a liteserver of the devnet answers, and how it lies where its plan says so (lite_api.tl has every query)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Final, TypeAlias

from attestd.chain.account import load_account
from attestd.chain.devnet import proofs
from attestd.chain.devnet.accounts import with_balance
from attestd.chain.devnet.blocks import BASECHAIN, Block, Header, ShardAccount
from attestd.chain.devnet.chain import GIVER, Chain, NotAccepted, Round
from attestd.chain.devnet.emulator import MethodResult
from attestd.chain.devnet.faults import Fault
from attestd.chain.devnet.wire import (
    Answer,
    Call,
    ErrorCode,
    QueryError,
    Reader,
    zero_state_id,
)
from attestd.chain.ledger import AccountStatus
from attestd.chain.proof import MASTERCHAIN
from attestd.chain.tl import MAX_TRANSACTIONS, BlockId, block_id, int32, text, uint32, uint64
from attestd.errors import Malformed, Unavailable
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder, Cell

# liteServer.version: 1.1, and what mainnet's servers can do.
_VERSION: Final = 0x101
_CAPABILITIES: Final = 7
_BY_LT: Final = 2
_BY_UTIME: Final = 4
_WITH_PROOF, _WITH_STATE_PROOF, _WITH_RESULT = 1, 2, 4
# What a liteserver says of a get-method of an account that is not active.
_NOT_ACTIVE: Final = -0x100
_NO_STACK: Final = Builder().uint(0, 24).end()
# VmStack of one vm_stk_tinyint.
_TRUE: Final = Builder().uint(1, 24).ref(Builder().end()).uint(1, 8).int(-1, 64).end()
# A root that is its own reference: magic, sizes, one cell, one root, none absent, 3 bytes, root 0; the cell.
_CYCLIC: Final = bytes.fromhex("b5ee9c72 01 01 01 01 00 03 00 010000")
_HUGE_DEPTH: Final = 1000

Forge: TypeAlias = Callable[[Address, ShardAccount], ShardAccount]


def richer(_: Address, entry: ShardAccount) -> ShardAccount:
    """Forge an account: it has one TON more."""
    return with_balance(entry, entry.balance + 10**9)


@dataclass(slots=True)
class Answers:
    """Answers the queries of one liteserver. `forge` is what FORGED_BLOCK and FORGED_STATE do to accounts."""

    chain: Chain
    strikes: Callable[[Fault], int]
    forge: Forge = richer
    _forged: dict[tuple[BlockId, Fault], Round] = field(default_factory=dict)

    async def answer(self, call: Call, query: Reader) -> bytes:  # noqa: C901, PLR0911, PLR0912 - a case for each query
        """Answer one query. Raises `QueryError`."""
        match call:
            case Call.GET_MASTERCHAIN_INFO | Call.GET_MASTERCHAIN_INFO_EXT:
                return self._masterchain_info(query, extended=call is Call.GET_MASTERCHAIN_INFO_EXT)
            case Call.GET_TIME:
                return uint32(Answer.CURRENT_TIME) + uint32(int(self.chain.now()))
            case Call.GET_VERSION:
                return uint32(Answer.VERSION) + uint32(0) + self._version() + uint32(int(self.chain.now()))
            case Call.GET_BLOCK:
                block = self._block(query.block_id())
                return uint32(Answer.BLOCK_DATA) + block_id(block.id) + text(proofs.block_data(block))
            case Call.GET_BLOCK_HEADER:
                return _block_header(self._block(query.block_id()))
            case Call.LOOKUP_BLOCK:
                return self._lookup_block(query)
            case Call.SEND_MESSAGE:
                return await self._send_message(query)
            case Call.GET_ACCOUNT_STATE:
                return self._account_state(query)
            case Call.RUN_SMC_METHOD:
                return await self._run_method(query)
            case Call.GET_SHARD_INFO:
                return self._shard_info(query)
            case Call.GET_ALL_SHARDS_INFO:
                master = self._round(query.block_id()).master
                parts = text(proofs.shards_proof(master)) + text(proofs.shard_hashes(master))
                return uint32(Answer.ALL_SHARDS_INFO) + block_id(master.id) + parts
            case Call.GET_TRANSACTIONS:
                return self._transactions(query)
            case Call.GET_CONFIG_ALL | Call.GET_CONFIG_PARAMS:
                # With the parameters that were asked for come all the others.
                mode, master = query.u32(), self._round(query.block_id()).master
                parts = text(proofs.header_proof(master)) + text(proofs.config_proof(master))
                return uint32(Answer.CONFIG_INFO) + uint32(mode) + block_id(master.id) + parts
            case _:
                raise QueryError(ErrorCode.PROTOCOL_VIOLATION, f"{call.name} is no query")

    async def wait(self, seqno: int) -> None:
        """Wait for a block of the masterchain; a server that is behind waits longer."""
        await self.chain.reached(seqno + self.strikes(Fault.STALE))

    def _head(self) -> Round:
        head = self.chain.head
        if behind := self.strikes(Fault.STALE):
            head = self.chain.round(head.seqno - behind) or head
        for fault in (Fault.OTHER_NETWORK, Fault.FORGED_BLOCK):
            if self.strikes(fault):
                return self._forge(head, fault)
        return head

    def _forge(self, head: Round, fault: Fault) -> Round:
        key = head.master.id, fault
        if key not in self._forged:
            other = fault is Fault.OTHER_NETWORK
            self._forged[key] = self.chain.forged(
                head,
                global_id=self.chain.global_id + other,
                change=(lambda _, entry: entry) if other else self.forge,
            )
        return self._forged[key]

    def _round(self, named: BlockId) -> Round:
        """Find what a block of the masterchain belongs to."""
        for forged in self._forged.values():
            if forged.master.id == named:
                return forged
        found = self.chain.round(named.seqno)
        if found is None or found.master.id != named or found.seqno > self._head().seqno:
            raise _unknown(named)
        return found

    def _block(self, named: BlockId) -> Block:
        if named.workchain == MASTERCHAIN:
            return self._round(named).master
        for found in (self.chain.by_shard(named.seqno), *self._forged.values()):
            if found is not None and found.shard.id == named:
                return found.shard
        raise _unknown(named)

    def _masterchain_info(self, query: Reader, *, extended: bool) -> bytes:
        master = self._head().master
        tail = master.state.hash + zero_state_id(self.chain.zero_state)
        if not extended:
            return uint32(Answer.MASTERCHAIN_INFO) + block_id(master.id) + tail
        times = uint32(master.header.gen_utime) + uint32(int(self.chain.now()))
        head = uint32(Answer.MASTERCHAIN_INFO_EXT) + uint32(query.u32())
        return head + self._version() + block_id(master.id) + times + tail

    def _version(self) -> bytes:
        return uint32(_VERSION) + uint64(_CAPABILITIES)

    def _lookup_block(self, query: Reader) -> bytes:
        mode, workchain, _, seqno = query.u32(), query.i32(), query.u64(), query.u32()
        lt = query.u64() if mode & _BY_LT else 0
        utime = query.u32() if mode & _BY_UTIME else 0

        def wanted(header: Header) -> bool:
            if mode & _BY_LT:
                return header.end_lt >= lt
            return header.gen_utime >= utime if mode & _BY_UTIME else header.seqno == seqno

        for found in self.chain.kept():
            block = found.master if workchain == MASTERCHAIN else found.shard
            if wanted(block.header):
                return _block_header(block)
        raise QueryError(ErrorCode.NOT_READY, "block is not found")

    async def _send_message(self, query: Reader) -> bytes:
        try:
            await self._take(query.text())
        except NotAccepted as error:
            message = f"cannot apply external message to current state : External message was not accepted\n{error}"
            raise QueryError(ErrorCode.REJECTED, message) from None
        except Malformed as error:
            raise QueryError(ErrorCode.REJECTED, f"external message is not well-formed: {error.found}") from None
        except Unavailable as error:
            raise QueryError(ErrorCode.NOT_READY, str(error.found)) from None
        return uint32(Answer.SEND_MSG_STATUS) + uint32(1)

    async def _take(self, boc: bytes) -> None:
        if self.strikes(Fault.LOSE):
            return
        if rounds := self.strikes(Fault.DELAY):
            self.chain.send_later(boc, rounds)
            return
        for copy in range(self.strikes(Fault.DUPLICATE)):
            self.chain.send_later(boc, copy)
        await self.chain.send(boc)

    def _account_state(self, query: Reader) -> bytes:
        found, account = self._round(query.block_id()), query.account_id()
        if self.strikes(Fault.WRONG_ACCOUNT):
            account = Address(BASECHAIN, next((key for key in found.accounts if key != account.hash), GIVER.hash))
        block, shard_proof = _shard(found, account)
        proof = proofs.account_proof(block, account.hash)
        entry = _entry(found, account)
        if entry is not None and self.strikes(Fault.FORGED_STATE):
            entry = self.forge(account, entry)
        state = b"" if entry is None or self.strikes(Fault.ABSENT) else dump_boc(entry.cell.refs[0], crc=False)
        if self.strikes(Fault.HUGE):
            state = _huge()
        if self.strikes(Fault.CYCLIC):
            proof = _CYCLIC
        if self.strikes(Fault.TRUNCATED):
            proof = proof[: len(proof) // 2]
        ids = block_id(found.master.id) + block_id(block.id)
        return uint32(Answer.ACCOUNT_STATE) + ids + text(shard_proof) + text(proof) + text(state)

    async def _run_method(self, query: Reader) -> bytes:
        mode, found, account = query.u32(), self._round(query.block_id()), query.account_id()
        method, stack = query.u64(), query.text()
        block, shard_proof = _shard(found, account)
        entry = _entry(found, account)
        answer = uint32(Answer.RUN_METHOD_RESULT) + uint32(mode) + block_id(found.master.id) + block_id(block.id)
        if mode & _WITH_PROOF:
            answer += text(shard_proof) + text(proofs.account_proof(block, account.hash))
        if mode & _WITH_STATE_PROOF:
            answer += text(b"" if entry is None else proofs.whole(entry.cell.refs[0]))
        outcome = await self._method(entry, method, stack or dump_boc(_NO_STACK), block.header.gen_utime)
        return answer + int32(outcome.exit_code) + (text(outcome.stack) if mode & _WITH_RESULT else b"")

    async def _method(self, entry: ShardAccount | None, method: int, stack: bytes, now: int) -> MethodResult:
        if self.strikes(Fault.LYING_METHOD):
            return MethodResult(0, dump_boc(_TRUE))
        account = None if entry is None else load_account(entry.cell.refs[0])
        if (
            account is None
            or account.status is not AccountStatus.ACTIVE
            or account.code is None
            or account.data is None
        ):
            return MethodResult(_NOT_ACTIVE, b"")
        try:
            return await self.chain.get_method(
                account.code,
                account.data,
                address=account.address,
                method=method,
                stack=stack,
                balance=account.balance,
                now=now,
            )
        except Unavailable as error:
            raise QueryError(ErrorCode.NOT_READY, str(error.found)) from None

    def _shard_info(self, query: Reader) -> bytes:
        found = self._round(query.block_id())
        if query.i32() != BASECHAIN:
            raise QueryError(ErrorCode.PROTOCOL_VIOLATION, "the devnet has one shard, of the basechain")
        ids = block_id(found.master.id) + block_id(found.shard.id)
        proof, descriptor = proofs.shards_proof(found.master), proofs.shard_descriptor(found.master)
        return uint32(Answer.SHARD_INFO) + ids + text(proof) + text(descriptor)

    def _transactions(self, query: Reader) -> bytes:
        count, account, lt = min(query.u32(), MAX_TRANSACTIONS), query.account_id(), query.u64()
        wanted = query.take(32)
        blocks: list[BlockId] = []
        cells: list[Cell] = []
        while lt and len(cells) < count and (found := self.chain.transaction(account.hash, lt)) is not None:
            transaction, block = found
            if not cells and transaction.cell.hash != wanted:
                break
            blocks.append(block)
            cells.append(transaction.cell)
            lt = transaction.previous_lt
        if not cells:
            raise QueryError(ErrorCode.NOT_READY, "cannot locate transaction in block with specified logical time")
        ids = uint32(len(blocks)) + b"".join(map(block_id, blocks))
        return uint32(Answer.TRANSACTION_LIST) + ids + text(dump_boc(*cells, crc=False))


def _shard(found: Round, account: Address) -> tuple[Block, bytes]:
    """Return the block in whose state an account is, and the link to it from the masterchain."""
    if account.workchain == MASTERCHAIN:
        return found.master, b""
    return found.shard, proofs.shards_proof(found.master)


def _entry(found: Round, account: Address) -> ShardAccount | None:
    return found.accounts.get(account.hash) if account.workchain == BASECHAIN else None


def _block_header(block: Block) -> bytes:
    return uint32(Answer.BLOCK_HEADER) + block_id(block.id) + uint32(0) + text(proofs.header_proof(block))


def _unknown(named: BlockId) -> QueryError:
    return QueryError(ErrorCode.NOT_READY, f"block {named} is not in db")


@cache
def _huge() -> bytes:
    cell = Builder().uint(1, 1).end()
    for _ in range(_HUGE_DEPTH):
        cell = Cell(b"", 0, (cell,) * 4)
    return dump_boc(cell)
