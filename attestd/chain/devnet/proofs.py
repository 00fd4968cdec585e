"""The proofs that a liteserver of the devnet gives: each keeps the cells on the way to its answer, no others."""

from typing import Final

from attestd.chain.account import skip_depth_balance
from attestd.chain.devnet.blocks import Block, file
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder, Cell
from attestd.tvm.dictionary import walk
from attestd.tvm.proof import prove

_INFO: Final = 0
_STATE_UPDATE: Final = 2
_MC_EXTRA: Final = 3
# References of McStateExtra, which has at least one shard.
_SHARD_HASHES: Final = 0
_CONFIG: Final = 1
_KEPT: Final = 2


def block_data(block: Block) -> bytes:
    """Return a whole block (BoC)."""
    return file(block.cell)


def header_proof(block: Block) -> bytes:
    """Prove the header of a block, and the state to which it leads (BoC)."""
    return dump_boc(_header_proof(block), crc=False)


def account_proof(block: Block, account: bytes) -> bytes:
    """Prove an account, or that there is none, from the block in whose state it would be (BoC of two roots)."""
    path: list[Cell] = [block.state, block.accounts]
    root = block.accounts.slice().load_maybe_ref()
    path += walk(root, int.from_bytes(account), 256, skip_depth_balance).path
    return _state_proof(block, {cell.hash for cell in path})


def shards_proof(master: Block) -> bytes:
    """Prove which blocks a block of the masterchain names (BoC of two roots)."""
    extra = master.state.refs[_MC_EXTRA]
    return _state_proof(master, _extra(master) | _below(extra.refs[_SHARD_HASHES]))


def config_proof(master: Block) -> bytes:
    """Prove all of the config as of a block of the masterchain (BoC of one root: the state's proof)."""
    extra = master.state.refs[_MC_EXTRA]
    visited = _extra(master) | _below(extra.refs[_SHARD_HASHES]) | _below(extra.refs[_CONFIG])
    return dump_boc(prove(master.state, visited), crc=False)


def shard_hashes(master: Block) -> bytes:
    """Return ShardHashes as of a block of the masterchain (BoC)."""
    extra = master.state.refs[_MC_EXTRA].slice()
    extra.skip(16)
    root = extra.load_maybe_ref()
    return dump_boc(Builder().maybe_ref(root).end(), crc=False)


def shard_descriptor(master: Block) -> bytes:
    """Return the leaf of the basechain in ShardHashes (BoC): BinTree ShardDescr."""
    root = master.state.refs[_MC_EXTRA].refs[_SHARD_HASHES]
    return dump_boc(root.refs[0], crc=False)


def whole(cell: Cell) -> bytes:
    """Prove a cell with all that is below it (BoC)."""
    return dump_boc(prove(cell, _below(cell)), crc=False)


def _header_proof(block: Block) -> Cell:
    visited = {block.cell.hash, block.cell.refs[_STATE_UPDATE].hash} | _below(block.cell.refs[_INFO])
    return prove(block.cell, visited)


def _state_proof(block: Block, visited: set[bytes]) -> bytes:
    return dump_boc(_header_proof(block), prove(block.state, visited), crc=False)


def _extra(master: Block) -> set[bytes]:
    """Visit the way to McStateExtra, and what clients unpack with it."""
    extra = master.state.refs[_MC_EXTRA]
    return {master.state.hash, extra.hash, extra.refs[_KEPT].hash}


def _below(cell: Cell) -> set[bytes]:
    visited: set[bytes] = set()
    pending = [cell]
    while pending:
        if (found := pending.pop()).hash not in visited:
            visited.add(found.hash)
            pending += found.refs
    return visited
