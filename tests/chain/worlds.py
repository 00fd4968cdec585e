"""A chain of one masterchain block and one shard block, made by hand: what a liteserver would answer about it.

Every part can be made wrong by itself. Nothing of attestd.chain makes these cells, so nothing checks what it made.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from attestd.chain.tl import AccountAnswer, BlockId
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import EMPTY, Builder, Cell, Slice, pruned_branch
from attestd.tvm.dictionary import build, build_augmented, walk
from attestd.tvm.proof import prove

GLOBAL_ID = -777
NOW = 1_800_000_000
WHOLE = 1 << 63
SHARD_AGE = 4  # by how much the block of the shard is older than that of the masterchain


@dataclass(frozen=True)
class Stored:
    """An account as a shard state has it."""

    cell: Cell
    last_hash: bytes = bytes(range(32))
    last_lt: int = 41
    behind: Cell = EMPTY  # what stands behind that, where nothing may


def account_cell(
    address: Address,
    *,
    code: Cell | None = None,
    data: Cell | None = None,
    balance: int = 10**9,
    frozen: bool = False,
    full: bool = False,
) -> Cell:
    """Write an account: active where there is code or data, else frozen or uninit; `full` has all that there can be."""
    more = EMPTY if full else None  # stands for dictionaries that nobody reads
    cell = Builder().bit(True).address(address)
    cell.var_uint(3, 3).var_uint(700, 3)
    if full:
        cell.uint(0b001, 3).bytes(bytes(range(32))).uint(NOW - 5, 32).bit(True).coins(12345)
    else:
        cell.uint(0, 3).uint(NOW - 5, 32).bit(False)
    cell.uint(42, 64).coins(balance).maybe_ref(more)
    if code is not None or data is not None:
        cell.bit(True).uint(0b1_10101_1_11 if full else 0, 9 if full else 2)
        return cell.maybe_ref(code).maybe_ref(data).maybe_ref(more).end()
    return cell.uint(0b01, 2).bytes(bytes(32)).end() if frozen else cell.uint(0b00, 2).end()


def balance_extra(coins: int = 0) -> Cell:
    """Write a DepthBalanceInfo."""
    return Builder().uint(0, 5).coins(coins).bit(False).end()


def shard_accounts(accounts: Mapping[Address, Stored]) -> Cell:
    """Write ShardAccounts."""
    values: dict[int, tuple[Cell, Cell]] = {
        int.from_bytes(address.hash): (
            balance_extra(7),
            Builder().ref(stored.cell).bytes(stored.last_hash).uint(stored.last_lt, 64).slice(stored.behind).end(),
        )
        for address, stored in accounts.items()
    }
    root = build_augmented(values, 256, lambda _left, _right: balance_extra(14))
    return Builder().maybe_ref(root).slice(balance_extra(14)).end()


def shard_ident(builder: Builder, workchain: int, shard: int) -> Builder:
    """Append a ShardIdent."""
    bits = 63 - ((shard & -shard).bit_length() - 1)
    return builder.uint(0, 2).uint(bits, 6).int(workchain, 32).uint(shard & (shard - 1), 64)


@dataclass(frozen=True)
class Made:
    """A block and the state after it."""

    id: BlockId
    block: Cell
    state: Cell

    def proofs(self, *shown: Cell) -> bytes:
        """Prove header and state, and of the state also the cells that are named."""
        info, _, *update = self.block.refs[:3]
        header = prove(self.block, {cell.hash for cell in (self.block, info, *update)})
        return dump_boc(header, prove(self.state, {self.state.hash, *(cell.hash for cell in shown)}))


@dataclass(frozen=True, kw_only=True)
class World:
    """One moment of a chain. Accounts of the shard by address; the tree of shards has `split` levels."""

    accounts: Mapping[Address, Stored] = field(default_factory=dict)
    global_id: int = GLOBAL_ID
    seqno: int = 100
    shard_seqno: int = 200
    utime: int = NOW
    split: int = 0
    salt: bytes = b""
    # What is wrong with a part: block, info, state or accounts, of master or shard, or extra, or leaf.
    spoil: Mapping[str, Callable[[Cell], Cell]] = field(default_factory=dict)

    def but(self, **changes: Any) -> "World":
        """Return another world."""
        return replace(self, **changes)

    def shard_of(self, address: Address) -> int:
        """Return the shard in which an account lives."""
        prefix, lowest = int.from_bytes(address.hash[:8]), WHOLE >> self.split
        return prefix & ~(2 * lowest - 1) & (2**64 - 1) | lowest

    def shard_block(self, address: Address) -> Made:
        """Make the last block of the account's shard."""
        return self._block(0, self.shard_of(address), self.shard_seqno, shard_accounts(self.accounts), None)

    def master_block(self, address: Address) -> Made:
        """Make the last block of the masterchain, which names that block and, beside it, others."""
        return self._block(-1, WHOLE, self.seqno, shard_accounts(self.accounts), self.extra(address))

    def extra(self, address: Address) -> Cell:
        """Write McStateExtra with the tree of shards of the basechain."""
        leaf = self.leaf(self.shard_block(address).id)
        tree = Builder().bit(False).slice(leaf).end()
        for level in reversed(range(self.split)):
            other = Builder().bit(False).slice(self.leaf(BlockId(0, 0, 1, bytes(32), bytes(32)))).end()
            right = int.from_bytes(address.hash) >> (255 - level) & 1
            pair = (other, tree) if right else (tree, other)
            tree = Builder().bit(True).ref(pair[0]).ref(pair[1]).end()
        shards = build({0: Builder().ref(tree).end()}, 32)
        extra = Builder().uint(0xCC26, 16).maybe_ref(shards).bytes(bytes(32)).ref(Builder().end())
        return self._spoilt("extra", extra.end())

    def leaf(self, block: BlockId) -> Cell:
        """Write the beginning of a ShardDescr; nobody reads on."""
        cell = Builder().uint(0xA, 4).uint(block.seqno, 32).uint(self.seqno, 32).uint(0, 128)
        return self._spoilt("leaf", cell.bytes(block.root_hash).bytes(block.file_hash).uint(0, 8).end())

    def _spoilt(self, part: str, cell: Cell) -> Cell:
        spoil = self.spoil.get(part)
        return cell if spoil is None else spoil(cell)

    def _block(self, workchain: int, shard: int, seqno: int, accounts: Cell, custom: Cell | None) -> Made:
        chain, utime = ("shard", self.utime - SHARD_AGE) if custom is None else ("master", self.utime)
        state = Builder().uint(0x9023AFE2, 32).int(self.global_id, 32)
        shard_ident(state, workchain, shard).uint(seqno, 32).uint(0, 32).uint(utime, 32).uint(9, 64)
        state.uint(0, 32).ref(Builder().bytes(self.salt).end()).bit(False)
        state.ref(self._spoilt(f"{chain} accounts", accounts))
        made = self._spoilt(f"{chain} state", state.ref(Builder().uint(1, 8).end()).maybe_ref(custom).end())
        info = Builder().uint(0x9BC7A987, 32).uint(0, 32).uint(0, 16).uint(seqno, 32).uint(0, 32)
        shard_ident(info, workchain, shard).uint(utime, 32).uint(1, 64).uint(2, 64)
        update = merkle_update(Builder().uint(0, 8).end(), made)
        block = Builder().uint(0x11EF55AA, 32).int(self.global_id, 32)
        block.ref(self._spoilt(f"{chain} info", info.end())).ref(Builder().end())
        root = self._spoilt(f"{chain} block", block.ref(update).ref(Builder().uint(3, 8).end()).end())
        file_hash = sha256(root.hash).digest()
        return Made(BlockId(workchain, shard, seqno, root.hash, file_hash), root, made)

    def head(self, address: Address) -> BlockId:
        """Return the last block of the masterchain."""
        return self.master_block(address).id

    def answer(self, address: Address) -> AccountAnswer:
        """Answer truthfully about an account of the basechain, or of the masterchain."""
        master = self.master_block(address)
        made = master if address.workchain == -1 else self.shard_block(address)
        stored = self.accounts.get(address)
        return AccountAnswer(
            block=master.id,
            shard_block=made.id,
            shard_proof=b"" if made is master else master.proofs(*shard_path(master.state)),
            proof=made.proofs(*account_path(made.state, address)),
            state=b"" if stored is None else dump_boc(stored.cell),
        )


def merkle_update(old: Cell, new: Cell) -> Cell:
    """Write a Merkle update that shows neither state."""
    data = b"\x04" + old.hash + new.hash + old.depth.to_bytes(2) + new.depth.to_bytes(2)
    refs = (pruned_branch(old.hash, old.depth), pruned_branch(new.hash, new.depth))
    return Cell(data, 8 * len(data), refs, special=True)


def below(cell: Cell) -> list[Cell]:
    """Return a cell and all below it."""
    return [cell, *(found for child in cell.refs for found in below(child))]


def shard_path(state: Cell) -> list[Cell]:
    """Return what a proof of the tree of shards shows."""
    return below(state.refs[3])


def account_path(state: Cell, address: Address) -> list[Cell]:
    """Return what a proof about an account shows: the dictionary of accounts, and no account."""
    accounts = state.refs[1]
    root = accounts.slice().load_maybe_ref()
    return [accounts, *walk(root, int.from_bytes(address.hash), 256, skip_extra).path]


def skip_extra(node: Slice) -> None:
    """Pass over a DepthBalanceInfo."""
    node.skip(5)
    node.load_coins()
    node.load_maybe_ref()
