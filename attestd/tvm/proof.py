"""Merkle proofs: trees of cells, less all that a question does not need (TVM, 3.1.7; TON Blockchain, 5.2)."""

from collections.abc import Set as AbstractSet

from attestd.errors import NotAuthentic, Reason
from attestd.tvm.cell import Cell, Kind, pruned_branch, refused


def open_proof(proof: Cell, root_hash: bytes) -> Cell:
    """Return the root of the tree that a Merkle proof shows, as far as it shows it.

    The proof commits to that tree as every Merkle proof cell must, else there were no such `Cell`. Below the root,
    `Cell.slice` refuses what was pruned.
    Raises `Malformed` (`cell.malformed`) where the cell is no Merkle proof that stands alone, `NotAuthentic`
    (`cell.proof`) where it is of another root than `root_hash`.
    """
    if proof.kind is not Kind.MERKLE_PROOF or proof.level_mask:
        raise refused(f"a cell of kind {proof.kind} and level {proof.level}", "a Merkle proof of level 0")
    (root,) = proof.refs
    if root.hash_at(0) != root_hash:
        raise NotAuthentic(Reason.CELL_PROOF, found="a proof of another root", wanted=root_hash.hex())
    return root


def prove(root: Cell, visited: AbstractSet[bytes]) -> Cell:
    """Return the Merkle proof cell that keeps the cells whose hashes are in `visited`, and prunes what is below them.

    A cell that is reached through kept cells alone is kept. Special cells are kept whole or not at all.
    Raises `Malformed` (`cell.malformed`) where the tree is of a level of its own.
    """
    if root.level_mask:
        raise refused(f"a tree of level {root.level}", "a tree in which nothing is pruned")
    shown: dict[bytes, Cell] = {}
    pending = [root]
    while pending:
        cell = pending[-1]
        below = [] if cell.special or cell.hash not in visited else cell.refs
        if missing := [child for child in below if child.hash not in shown]:
            pending += missing
            continue
        shown[pending.pop().hash] = _shown(cell, visited, shown)
    return merkle_proof(shown[root.hash])


def _shown(cell: Cell, visited: AbstractSet[bytes], shown: dict[bytes, Cell]) -> Cell:
    if cell.hash not in visited:
        return pruned_branch(cell.hash, cell.depth)
    if cell.special:
        return cell
    return Cell(cell.data, cell.bits, tuple(shown[child.hash] for child in cell.refs))


def merkle_proof(root: Cell) -> Cell:
    """Return the Merkle proof cell over a tree of level 1 at most."""
    data = bytes((Kind.MERKLE_PROOF,)) + root.hash_at(0) + root.depth_at(0).to_bytes(2)
    return Cell(data, 8 * len(data), (root,), special=True)
