"""Whether what a liteserver says of an account follows from a block of the masterchain (liteServer.accountState).

(1) The answer is about the block that was asked for.
(2) That block names the last block of the shard in which the account lives: header and state of the masterchain.
(3) That shard block leads to its state, and the state to the account, or to the place where it would be.
(4) The account that came is the one whose hash stands there; none came exactly where none stands there.

The root hash of the block in (1) is what everything hangs on. That it is the chain's follows from nothing here:
`liteservers.py` has several servers say so, and the registry's verifiers have signed what is read in the end.

Structures and tags: block.tlb (Block, BlockInfo, ShardStateUnsplit, McStateExtra, ShardDescr, ShardAccounts).
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from attestd.chain.account import Account, load_account, skip_depth_balance
from attestd.chain.tl import AccountAnswer, BlockId
from attestd.errors import Malformed, NotAuthentic, Reason, Unavailable
from attestd.tvm.address import Address
from attestd.tvm.boc import load_boc
from attestd.tvm.cell import HASH_SIZE, Cell, Kind, Slice
from attestd.tvm.dictionary import lookup
from attestd.tvm.proof import open_proof

MASTERCHAIN: Final = -1
WHOLE_SHARD: Final = 1 << 63

_BLOCK: Final = 0x11EF55AA
_BLOCK_INFO: Final = 0x9BC7A987
_SHARD_STATE: Final = 0x9023AFE2
_MC_STATE_EXTRA: Final = 0xCC26
_SHARD_DESCR: Final = (0xA, 0xB)
_STATE_UPDATE: Final = 2
_ACCOUNTS: Final = 1
_MC_EXTRA: Final = 3
_MAX_SPLIT: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedAccount:
    """An account as a block of the masterchain has it; `account` is null where the block proves that there is none."""

    address: Address
    block: BlockId  # of the masterchain
    gen_utime: int  # POSIX seconds at which that block was made
    shard_block: BlockId  # equal to `block` where the account lives in the masterchain
    shard_utime: int
    account: Account | None
    state_hash: bytes | None  # of the account's cell, all of which servers must agree in
    last_lt: int  # of its last transaction; 0 and zeros where there is none
    last_hash: bytes


class _Header(NamedTuple):
    """What the header of a block says."""

    gen_utime: int
    state_hash: bytes


def prove_account(answer: AccountAnswer, block: BlockId, address: Address, global_id: int) -> ProvedAccount:
    """Return what is proved of the account as of `block`.

    Raises `Unavailable` (`chain.proof`) where the answer does not follow from the block, or is of another network.
    """
    try:
        return _prove_account(answer, block, address, global_id)
    except (Malformed, NotAuthentic) as error:
        raise Unavailable(Reason.CHAIN_PROOF, found=error.found, wanted=error.wanted) from None


def _prove_account(answer: AccountAnswer, block: BlockId, address: Address, global_id: int) -> ProvedAccount:
    # (1) The block that was asked for
    _require(answer.block == block, f"an answer about block {answer.block}", f"one about {block}")
    # (2) From it to the shard
    master = _shard_top(answer, address, global_id)
    # (3) From the shard to the account
    header_proof, state_proof = load_boc(answer.proof, roots=2)
    shard = _header(header_proof, answer.shard_block, global_id)
    state = _state(state_proof, shard, answer.shard_block, global_id)
    entry = lookup(_accounts(state), int.from_bytes(address.hash), 256, skip_depth_balance)
    # (4) The account itself, or none
    account, state_hash, last_hash, last_lt = _account(entry, answer.state, address)
    return ProvedAccount(
        address=address,
        block=block,
        gen_utime=(master or shard).gen_utime,
        shard_block=answer.shard_block,
        shard_utime=shard.gen_utime,
        account=account,
        state_hash=state_hash,
        last_lt=last_lt,
        last_hash=last_hash,
    )


def _shard_top(answer: AccountAnswer, address: Address, global_id: int) -> _Header | None:
    """Require that the masterchain block names the shard block; an account of the masterchain needs no such link."""
    block, top = answer.block, answer.shard_block
    if address.workchain == MASTERCHAIN:
        _require(top == block, f"an account of the masterchain in block {top}", f"it in {block}")
        return None
    header_proof, state_proof = load_boc(answer.shard_proof, roots=2)
    header = _header(header_proof, block, global_id)
    extra = _state(state_proof, header, block, global_id).refs[_MC_EXTRA:]
    _require(len(extra) == 1, "a state without McStateExtra", "the state of the masterchain")
    named = _shard_block(extra[0].slice(), address)
    _require(named == top, f"an answer from shard block {top}", f"{named}, which the masterchain names")
    return header


def _header(proof: Cell, block: BlockId, global_id: int) -> _Header:
    """Read the header of a block, which hashes to what the block is called."""
    root = open_proof(proof, block.root_hash)
    slice_ = root.slice()
    _require_tag(slice_.load_uint(32), _BLOCK, "block")
    _require_network(slice_.load_int(32), global_id)
    info = slice_.load_ref().slice()
    _require_tag(info.load_uint(32), _BLOCK_INFO, "block info")
    info.skip(32 + 8 + 8)  # version, eight flags, flags
    seqno = info.load_uint(32)
    info.skip(32)  # vert_seq_no
    _require_shard(_load_shard(info), seqno, block)
    gen_utime = info.load_uint(32)
    _require(len(root.refs) > _STATE_UPDATE, "a block without a state update", "its header and its state update")
    update = root.refs[_STATE_UPDATE]
    # Its second hash is that of the state after the block; a cell of this kind was not made unless it commits to it.
    _require(update.kind is Kind.MERKLE_UPDATE, "no Merkle update", "the state update of the block")
    return _Header(gen_utime, update.refs[1].hash_at(0))


def _state(proof: Cell, header: _Header, block: BlockId, global_id: int) -> Cell:
    """Open the proof of a state, which has to be the one that the block leads to."""
    root = open_proof(proof, header.state_hash)
    slice_ = root.slice()
    _require_tag(slice_.load_uint(32), _SHARD_STATE, "shard state")
    _require_network(slice_.load_int(32), global_id)
    shard = _load_shard(slice_)
    _require_shard(shard, slice_.load_uint(32), block)
    return root


def _load_shard(slice_: Slice) -> tuple[int, int]:
    """Read a ShardIdent; returns workchain and shard, which is the prefix with a one behind it."""
    _require_tag(slice_.load_uint(2), 0, "shard ident")
    bits = slice_.load_uint(6)
    _require(bits <= _MAX_SPLIT, f"a shard prefix of {bits} bits", f"at most {_MAX_SPLIT}")
    return slice_.load_int(32), slice_.load_uint(64) | WHOLE_SHARD >> bits


def _require_shard(shard: tuple[int, int], seqno: int, block: BlockId) -> None:
    _require(
        (*shard, seqno) == (block.workchain, block.shard, block.seqno),
        f"a header or state of ({shard[0]},{shard[1]:016x},{seqno})",
        str(block),
    )


def _shard_block(extra: Slice, address: Address) -> BlockId:
    """Find the last block of the account's shard in the state of the masterchain (ShardHashes)."""
    _require_tag(extra.load_uint(16), _MC_STATE_EXTRA, "masterchain state extra")
    tree = lookup(extra.load_maybe_ref(), address.workchain % (1 << 32), 32)
    if tree is None:
        raise NotAuthentic(
            Reason.CHAIN_PROOF, found=f"no workchain {address.workchain}", wanted="the account's workchain"
        )
    node = tree.load_ref().slice()
    prefix, path = int.from_bytes(address.hash[:8]), 0
    while node.load_bit():  # BinTree: bt_fork$1 left right, along the bits of the account
        _require(path < _MAX_SPLIT, "a deeper tree of shards", f"at most {_MAX_SPLIT} levels")
        children = node.load_ref(), node.load_ref()
        node = children[prefix >> (63 - path) & 1].slice()
        path += 1
    tag = node.load_uint(4)
    _require(tag in _SHARD_DESCR, f"tag {tag:x} of a shard descriptor", "a or b")
    seqno = node.load_uint(32)
    node.skip(32 + 64 + 64)  # reg_mc_seqno, start_lt, end_lt
    shard = WHOLE_SHARD >> path
    return BlockId(
        address.workchain,
        prefix & ~(2 * shard - 1) | shard,
        seqno,
        node.load_bytes(HASH_SIZE),
        node.load_bytes(HASH_SIZE),
    )


def _accounts(state: Cell) -> Cell | None:
    """Return the root of the dictionary of accounts; null where there are none (HashmapAugE)."""
    _require(len(state.refs) > _ACCOUNTS, "a state without accounts", "ShardAccounts")
    slice_ = state.refs[_ACCOUNTS].slice()
    root = slice_.load_maybe_ref()
    skip_depth_balance(slice_)
    slice_.end()
    return root


def _account(entry: Slice | None, state: bytes, address: Address) -> tuple[Account | None, bytes | None, bytes, int]:
    """Require that what came is what stands in the state (ShardAccount), and that it is of this address."""
    if entry is None:
        _require(not state, "an account", "none, since the state proves that there is none")
        return None, None, bytes(HASH_SIZE), 0
    # An empty answer alone would have revoked nothing and hidden everything: absence, too, has to be proved.
    _require(bool(state), "no account", "the one which the state proves to be there")
    wanted = entry.load_ref().hash_at(0)
    last_hash, last_lt = entry.load_bytes(HASH_SIZE), entry.load_uint(64)
    entry.end()
    (cell,) = load_boc(state)
    _require(cell.hash == wanted, "another account, or another state of it", "the one whose hash the state has")
    account = load_account(cell)
    _require(account.address == address, f"the account {account.address}", str(address))
    return account, cell.hash, last_hash, last_lt


def _require_tag(found: int, wanted: int, kind: str) -> None:
    _require(found == wanted, f"tag {found:x}", f"{wanted:x} of a {kind}")


def _require_network(found: int, wanted: int) -> None:
    _require(found == wanted, f"a block of the network {found}", f"the network {wanted}")


def _require(holds: bool, found: str, wanted: str) -> None:  # noqa: FBT001 - the condition itself
    if not holds:
        raise NotAuthentic(Reason.CHAIN_PROOF, found=found, wanted=wanted)
