"""Merkle proofs: they keep the root's hash, and show what was visited and nothing else."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.errors import AttestdError, NotAuthentic, Reason
from attestd.tvm import dictionary
from attestd.tvm.boc import dump_boc, load_boc
from attestd.tvm.cell import Cell, Kind, pruned_branch
from attestd.tvm.proof import merkle_proof, open_proof, prove
from tests.refusals import malformed, not_authentic
from tests.tvm.cells import EMPTY, cell, chain, theirs, trees
from tests.tvm.test_dictionary import built


def below(root: Cell) -> Iterator[Cell]:
    """Yield each cell of a tree once."""
    seen: set[bytes] = set()
    pending = [root]
    while pending:
        each = pending.pop()
        if each.hash not in seen:
            seen.add(each.hash)
            yield each
            pending += each.refs


@given(trees(), st.data())
def test_proofs(root: Cell, data: st.DataObject) -> None:
    hashes = sorted(each.hash for each in below(root))
    visited = data.draw(st.sets(st.sampled_from(hashes)))
    proof = prove(root, visited)
    assert load_boc(dump_boc(proof)) == [proof]
    assert theirs(proof).hash == proof.hash
    shown = open_proof(proof, root.hash)
    assert (shown.hash_at(0), shown.depth_at(0)) == (root.hash, root.depth)
    kept = {each.hash_at(0) for each in below(shown) if each.kind is Kind.ORDINARY}
    assert kept <= visited
    if root.hash in visited:
        assert root.hash in kept


def test_all_or_nothing() -> None:
    root = cell(1, 8, cell(2), chain(4))
    assert open_proof(prove(root, {each.hash for each in below(root)}), root.hash) == root
    assert open_proof(prove(root, set()), root.hash).kind is Kind.PRUNED_BRANCH


def test_shared_cells() -> None:
    root = EMPTY
    for _ in range(200):
        root = cell(1, 1, root, root, root)
    everything = {each.hash for each in below(root)}
    assert open_proof(prove(root, everything), root.hash) == root


def test_special_cells_are_kept_whole() -> None:
    inner = prove(chain(3), {chain(3).hash})
    root = cell(1, 8, inner)
    assert open_proof(prove(root, {root.hash, inner.hash}), root.hash).refs == (inner,)
    assert open_proof(prove(root, {root.hash}), root.hash).refs[0].kind is Kind.PRUNED_BRANCH


def test_nothing_pruned_can_be_proved_from() -> None:
    with malformed(Reason.CELL_MALFORMED):
        prove(cell(1, 8, pruned_branch(bytes(32), 1)), set())


def test_another_root() -> None:
    proof = prove(cell(1), {cell(1).hash})
    for wanted in (cell(2).hash, bytes(32), b"", proof.hash):
        with not_authentic(Reason.CELL_PROOF):
            open_proof(proof, wanted)


LEVEL_2 = pruned_branch(bytes(32), 1)
TWICE = Cell(bytes((1, 3)) + bytes(64) + b"\0\1\0\1", 8 * 70, special=True)
NO_PROOFS = {
    "ordinary": cell(1, 8, cell(2)),
    "pruned": LEVEL_2,
    "of a level of its own": merkle_proof(cell(1, 8, TWICE)),
    "in an ordinary cell": cell(1, 8, prove(cell(1), {cell(1).hash})),
}


@pytest.mark.parametrize("name", NO_PROOFS)
def test_no_proof(name: str) -> None:
    for wanted in (NO_PROOFS[name].hash, *(ref.hash_at(0) for ref in NO_PROOFS[name].refs)):
        with malformed(Reason.CELL_MALFORMED):
            open_proof(NO_PROOFS[name], wanted)


VALUES = {key: key ^ 0x55 for key in range(0, 256, 5)}
ROOT = built(8, VALUES)


def said(proof: Cell, key: int) -> int | None:
    value = dictionary.lookup(open_proof(proof, ROOT.hash), key, 8)
    return None if value is None else value.load_uint(16)


@pytest.mark.parametrize("key", [0, 1, 85, 86, 250, 255])
def test_a_proof_for_one_key(key: int) -> None:
    """It says the truth of every key that it shows, and nothing of any other."""
    proof = prove(ROOT, {each.hash for each in dictionary.walk(ROOT, key, 8).path})
    assert said(proof, key) == VALUES.get(key)
    silent = []
    for other in range(256):
        try:
            assert said(proof, other) == VALUES.get(other)
        except NotAuthentic as error:
            silent.append(error.reason)
    assert set(silent) == {Reason.CELL_PRUNED}
    assert len(silent) > 200


@pytest.mark.parametrize("key", [85, 86])
def test_every_bit_of_a_proof(key: int) -> None:
    """No altered proof says anything but the truth; altered are what it shows, prunes and commits to."""
    raw = dump_boc(prove(ROOT, {each.hash for each in dictionary.walk(ROOT, key, 8).path}), crc=False)
    for bit in range(8 * len(raw)):
        wrong = bytearray(raw)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AttestdError):
            said(load_boc(bytes(wrong))[0], key)
