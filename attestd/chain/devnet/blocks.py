"""Blocks and states of the devnet, as cells (block.tlb): one basechain shard, and a masterchain that names its blocks.

Headers, states, accounts, shard hashes and config are there in full, and each block commits to its state, so that
every proof a liteserver gives about an account can be made and verified. What nobody reads to verify an account is
empty: message descriptions and queues, account blocks, the list of old masterchain blocks. No block is signed. Whoever
wants signatures of validators (trust level 0 of pytoniq) finds none here; attestd's own reading never relies on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from attestd.chain.proof import WHOLE_SHARD
from attestd.chain.tl import BlockId
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder, Cell, Kind, Slice, pruned_branch
from attestd.tvm.dictionary import build, build_augmented

BASECHAIN: Final = 0

_BLOCK: Final = 0x11EF55AA
_BLOCK_INFO: Final = 0x9BC7A987
_VALUE_FLOW: Final = 0xB8E48DFB
_BLOCK_EXTRA: Final = 0x4A33F6FD
_MC_BLOCK_EXTRA: Final = 0xCCA5
_SHARD_STATE: Final = 0x9023AFE2
_MC_STATE_EXTRA: Final = 0xCC26
_SHARD_DESCR: Final = 0xA
_CAPABILITIES: Final = 0xC4
# The version of the TVM that the emulator's config asks for, and what config parameter 8 has beside it on mainnet.
_GLOBAL_VERSION: Final = 12
_GLOBAL_CAPABILITIES: Final = 0x1EE
# capabilities of gen_software are there.
_WITH_SOFTWARE: Final = 1
_CONFIG_ADDRESS: Final = bytes([0x55]) * 32
_SPLIT_DEPTH_BITS: Final = 5


@dataclass(frozen=True, slots=True)
class Header:
    """What a block says of itself. Times are POSIX seconds; `seed` makes blocks of the same content different."""

    global_id: int
    workchain: int
    seqno: int
    gen_utime: int
    start_lt: int
    end_lt: int
    seed: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """A block, the state after it, and its name. The zero state has no block: its own cell stands for it."""

    id: BlockId
    header: Header
    cell: Cell
    state: Cell
    accounts: Cell  # root of ShardAccounts, within the state
    balance: int  # of all accounts


@dataclass(frozen=True, slots=True)
class ShardAccount:
    """An entry of ShardAccounts: its cell, the same as BoC, and the account's balance."""

    cell: Cell
    boc: bytes
    balance: int


def zero(header: Header, accounts: Mapping[bytes, ShardAccount], extra: Cell | None = None) -> Block:
    """Return the zero state of a workchain, which is named by its own hashes (zerostate, in place of block 0)."""
    state, root, balance = _state(header, accounts, None, extra)
    return Block(_name(header, state), header, state, state, root, balance)


def shard_block(header: Header, previous: Block, master: Block, accounts: Mapping[bytes, ShardAccount]) -> Block:
    """Return the block of the basechain that leads from the state of `previous` to these accounts, by account hash."""
    state, root, balance = _state(header, accounts, master, None)
    cell = _block(header, previous, master, state, balance, None)
    return Block(_name(header, cell), header, cell, state, root, balance)


def master_block(header: Header, previous: Block, shard: Block, config: Cell) -> Block:
    """Return the block of the masterchain that names `shard` as the last of the basechain. It has no accounts."""
    hashes = _shard_hashes(shard, header.seqno)
    state, root, balance = _state(header, {}, None, mc_state_extra(hashes, config, header.end_lt, shard.balance))
    cell = _block(header, previous, None, state, balance, _mc_block_extra(hashes))
    return Block(_name(header, cell), header, cell, state, root, balance)


def mc_state_extra(shard_hashes: Cell | None, config: Cell, end_lt: int, balance: int) -> Cell:
    """Return McStateExtra: the shards, the config (Hashmap 32 ^Cell) and what the masterchain keeps of itself."""
    kept = (
        Builder()
        .uint(0, 16)  # flags: without BlockCreateStats
        .uint(0, 32 + 32 + 1)  # ValidatorInfo
        .uint(0, 1).uint(0, 1).uint(end_lt, 64)  # OldMcBlocksInfo: none, and KeyMaxLt
        .uint(0, 1 + 1)  # after_key_block, last_key_block
        .end()
    )  # fmt: skip
    return (
        Builder()
        .uint(_MC_STATE_EXTRA, 16)
        .maybe_ref(shard_hashes)
        .bytes(_CONFIG_ADDRESS)
        .ref(config)
        .ref(kept)
        .slice(_currencies(balance))
        .end()
    )


def _shard_hashes(shard: Block, seqno: int) -> Cell:
    """Return ShardHashes with one undivided basechain (HashmapE 32 ^(BinTree ShardDescr))."""
    header = shard.header
    leaf = (
        Builder()
        .uint(0, 1)  # bt_leaf
        .uint(_SHARD_DESCR, 4)
        .uint(header.seqno, 32).uint(seqno, 32)
        .uint(header.start_lt, 64).uint(header.end_lt, 64)
        .bytes(shard.id.root_hash).bytes(shard.id.file_hash)
        .uint(0, 5 + 3)  # before_split, before_merge, want_split, want_merge, nx_cc_updated, flags
        .uint(0, 32)  # next_catchain_seqno
        .uint(WHOLE_SHARD, 64)  # next_validator_shard
        .uint(seqno - 1, 32)  # min_ref_mc_seqno
        .uint(header.gen_utime, 32)
        .uint(0, 1)  # fsm_none
        .ref(Builder().slice(_currencies(0)).slice(_currencies(0)).end())  # fees_collected, funds_created
        .end()
    )  # fmt: skip
    hashes = build({BASECHAIN: Builder().ref(leaf).end()}, 32)
    if hashes is None:  # pragma: no cover - one entry was given
        raise AssertionError(hashes)
    return hashes


def _state(
    header: Header, accounts: Mapping[bytes, ShardAccount], master: Block | None, extra: Cell | None
) -> tuple[Cell, Cell, int]:
    """Return ShardStateUnsplit, the ShardAccounts in it, and the balance of them all."""
    root, balance = _shard_accounts(accounts)
    sums = (
        Builder()
        .uint(0, 64 + 64)  # overload_history, underload_history
        .slice(_currencies(balance))
        .slice(_currencies(0))  # total_validator_fees
        .maybe_ref(None)  # libraries
        .bit(master is not None)
    )
    if master is not None:
        sums.slice(_reference(master))
    state = (
        Builder()
        .uint(_SHARD_STATE, 32)
        .int(header.global_id, 32)
        .slice(_shard_ident(header.workchain))
        .uint(header.seqno, 32)
        .uint(0, 32)  # vert_seq_no
        .uint(header.gen_utime, 32)
        .uint(header.end_lt, 64)
        .uint(max(header.seqno - 1, 0), 32)  # min_ref_mc_seqno
        .ref(Builder().uint(0, 1 + 64 + 1 + 1).end())  # OutMsgQueueInfo: three empty dictionaries, one with an extra
        .uint(0, 1)  # before_split
        .ref(root)
        .ref(sums.end())
        .maybe_ref(extra)
        .end()
    )
    return state, root, balance


def _shard_accounts(accounts: Mapping[bytes, ShardAccount]) -> tuple[Cell, int]:
    """Return ShardAccounts (HashmapAugE 256 ShardAccount DepthBalanceInfo), and what its root sums up."""
    leaves = {int.from_bytes(key): (_depth_balance(entry.balance), entry.cell) for key, entry in accounts.items()}
    root = build_augmented(leaves, 256, _joined_balance)
    balance = sum(entry.balance for entry in accounts.values())
    return Builder().maybe_ref(root).slice(_depth_balance(balance)).end(), balance


def _depth_balance(balance: int) -> Cell:
    return Builder().uint(0, _SPLIT_DEPTH_BITS).slice(_currencies(balance)).end()


def _joined_balance(left: Cell, right: Cell) -> Cell:
    return _depth_balance(sum(_balance(side.slice()) for side in (left, right)))


def _balance(extra: Slice) -> int:
    extra.skip(_SPLIT_DEPTH_BITS)
    return extra.load_coins()


def _block(
    header: Header, previous: Block, master: Block | None, state: Cell, balance: int, extra: Cell | None
) -> Cell:
    return (
        Builder()
        .uint(_BLOCK, 32)
        .int(header.global_id, 32)
        .ref(_block_info(header, previous, master))
        .ref(_value_flow(previous.balance, balance))
        .ref(_state_update(previous.state, state))
        .ref(_block_extra(header, extra))
        .end()
    )


def _block_info(header: Header, previous: Block, master: Block | None) -> Cell:
    info = (
        Builder()
        .uint(_BLOCK_INFO, 32)
        .uint(0, 32)  # version
        .bit(master is not None)
        .uint(0, 7)  # after_merge, before_split, after_split, want_split, want_merge, key_block, vert_seqno_incr
        .uint(_WITH_SOFTWARE, 8)
        .uint(header.seqno, 32)
        .uint(0, 32)  # vert_seq_no
        .slice(_shard_ident(header.workchain))
        .uint(header.gen_utime, 32)
        .uint(header.start_lt, 64)
        .uint(header.end_lt, 64)
        .uint(0, 32 + 32)  # gen_validator_list_hash_short, gen_catchain_seqno
        .uint((master or previous).header.seqno, 32)  # min_ref_mc_seqno
        .uint(0, 32)  # prev_key_block_seqno
        .uint(_CAPABILITIES, 8)
        .uint(_GLOBAL_VERSION, 32)
        .uint(_GLOBAL_CAPABILITIES, 64)
    )
    if master is not None:
        info.ref(_reference(master))
    return info.ref(_reference(previous)).end()


def _value_flow(before: int, after: int) -> Cell:
    """Return what was there before and after; what is lost between the two are fees, which nobody collects."""
    moved = Builder()
    for amount in (before, after, 0, 0):  # from_prev_blk, to_next_blk, imported, exported
        moved.slice(_currencies(amount))
    rest = Builder()
    for _ in range(4):  # fees_imported, recovered, created, minted
        rest.slice(_currencies(0))
    fees = _currencies(max(before - after, 0))
    return Builder().uint(_VALUE_FLOW, 32).ref(moved.end()).slice(fees).ref(rest.end()).end()


def _state_update(old: Cell, new: Cell) -> Cell:
    """Return the Merkle update from one state to the next, with both pruned at their roots."""
    data = bytes((Kind.MERKLE_UPDATE,)) + old.hash + new.hash + old.depth.to_bytes(2) + new.depth.to_bytes(2)
    sides = pruned_branch(old.hash, old.depth), pruned_branch(new.hash, new.depth)
    return Cell(data, 8 * len(data), sides, special=True)


def _block_extra(header: Header, extra: Cell | None) -> Cell:
    no_currencies = _currencies(0)
    return (
        Builder()
        .uint(_BLOCK_EXTRA, 32)
        .ref(Builder().uint(0, 1).coins(0).slice(no_currencies).end())  # InMsgDescr: none, and ImportFees
        .ref(Builder().uint(0, 1).slice(no_currencies).end())  # OutMsgDescr
        .ref(Builder().uint(0, 1).slice(no_currencies).end())  # ShardAccountBlocks
        .bytes(header.seed)
        .bytes(bytes(32))  # created_by
        .maybe_ref(extra)
        .end()
    )


def _mc_block_extra(shard_hashes: Cell) -> Cell:
    return (
        Builder()
        .uint(_MC_BLOCK_EXTRA, 16)
        .uint(0, 1)  # key_block
        .maybe_ref(shard_hashes)
        .uint(0, 1).slice(_currencies(0)).slice(_currencies(0))  # ShardFees: none, and their sum
        .ref(Builder().uint(0, 3).end())  # prev_blk_signatures, recover_create_msg, mint_msg
        .end()
    )  # fmt: skip


def _reference(block: Block) -> Cell:
    """Return ExtBlkRef."""
    head = Builder().uint(block.header.end_lt, 64).uint(block.id.seqno, 32)
    return head.bytes(block.id.root_hash).bytes(block.id.file_hash).end()


def _shard_ident(workchain: int) -> Cell:
    return Builder().uint(0, 2 + 6).int(workchain, 32).uint(0, 64).end()


def _currencies(amount: int) -> Cell:
    return Builder().coins(amount).maybe_ref(None).end()


def _name(header: Header, cell: Cell) -> BlockId:
    return BlockId(header.workchain, WHOLE_SHARD, header.seqno, cell.hash, sha256(file(cell)).digest())


def file(cell: Cell) -> bytes:
    """Return a block or a state as the BoC that its file hash is of."""
    return dump_boc(cell, crc=False)
