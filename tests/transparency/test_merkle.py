"""The log's tree: as RFC 6962 defines it, as pymerkle has it, and every proof that is not quite one."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.errors import NotAuthentic, Reason
from attestd.transparency.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from tests.refusals import not_authentic
from tests.transparency.logs import leaf, path, pymerkle, subproof, tree_hash

COUNT = 40
LEAVES = [leaf(index) for index in range(COUNT)]
HASHES = [leaf_hash(each) for each in LEAVES]
ROOTS = [tree_hash(LEAVES[:size]) for size in range(COUNT + 1)]

LOG = Frontier()
LOG.extend(HASHES)

SIZES = st.integers(1, COUNT)
PAIRS = [(old, new) for new in range(COUNT + 1) for old in range(new + 1)]


def test_hashes() -> None:
    assert sha256(b"").digest() == EMPTY_ROOT == ROOTS[0]
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert node_hash(HASHES[0], HASHES[1]) == ROOTS[2]


def test_roots() -> None:
    assert [root(size, LOG.hash_at) for size in range(COUNT + 1)] == ROOTS
    assert LOG.root() == ROOTS[-1]
    assert Frontier().root() == EMPTY_ROOT


def test_every_inclusion_proof() -> None:
    for size in range(1, COUNT + 1):
        for index in range(size):
            proof = inclusion_proof(index, size, LOG.hash_at)
            assert proof == path(index, LEAVES[:size])
            verify_inclusion(HASHES[index], index, size, proof, ROOTS[size])


def test_every_consistency_proof() -> None:
    for old, new in PAIRS:
        proof = consistency_proof(old, new, LOG.hash_at)
        assert proof == (subproof(old, LEAVES[:new], known=True) if old else [])
        verify_consistency(old, ROOTS[old], new, ROOTS[new], proof)


def test_pymerkle() -> None:
    """Its proofs of consistency are of another form than RFC 6962 has."""
    said = pymerkle(COUNT)
    assert said["roots"] == [each.hex() for each in ROOTS[1:]]
    for index in range(COUNT):
        ours = [each.hex() for each in inclusion_proof(index, COUNT, LOG.hash_at)]
        theirs = said["inclusion"][index]
        theirs.remove(HASHES[index].hex())  # which it puts into the path itself
        assert ours == theirs


def alter(draw: st.DataObject, proof: list[bytes]) -> list[bytes]:
    """Return another list of hashes."""
    changed = list(proof)
    at = draw.draw(st.integers(0, len(proof)))
    how = draw.draw(st.sampled_from(["insert", "append", *(["drop", "flip", "cut"] if proof else [])]))
    if how in {"insert", "append"}:
        changed.insert(at if how == "insert" else len(proof), draw.draw(st.sampled_from([b"", *HASHES, *ROOTS])))
    elif how == "drop":
        changed.pop(at - 1)
    else:
        one = bytearray(changed[at - 1])
        if how == "flip":
            one[draw.draw(st.integers(0, 31))] ^= 1 << draw.draw(st.integers(0, 7))
        changed[at - 1] = bytes(one if how == "flip" else one[:-1])
    return changed


@given(SIZES, st.data())
def test_altered_inclusion_proof(size: int, data: st.DataObject) -> None:
    """R06."""
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, LOG.hash_at)
    with not_authentic(Reason.LOG_INCLUSION):
        verify_inclusion(HASHES[index], index, size, alter(data, proof), ROOTS[size])


@given(st.sampled_from(PAIRS), st.data())
def test_altered_consistency_proof(sizes: tuple[int, int], data: st.DataObject) -> None:
    """R06."""
    old, new = sizes
    proof = consistency_proof(old, new, LOG.hash_at)
    with not_authentic(Reason.LOG_CONSISTENCY):
        verify_consistency(old, ROOTS[old], new, ROOTS[new], alter(data, proof))


def test_inclusion_of_anything_else() -> None:
    size = 11
    for index in range(size):
        proof = inclusion_proof(index, size, LOG.hash_at)
        others = [
            (HASHES[index + 1], index, size, ROOTS[size]),
            (LEAVES[index], index, size, ROOTS[size]),
            *((HASHES[index], other, size, ROOTS[size]) for other in range(-1, size + 2) if other != index),
            (HASHES[index], index, size, ROOTS[size + 1]),
            (HASHES[index], index, 0, ROOTS[0]),
            (HASHES[index], index, -1, ROOTS[size]),
        ]
        for leaf_of, at, count, of in others:
            with not_authentic(Reason.LOG_INCLUSION):
                verify_inclusion(leaf_of, at, count, proof, of)


def test_inclusion_at_one_place_alone() -> None:
    """The path of a leaf is also that of an index beyond the tree, whose lower bits are the same."""
    for size in range(1, 18):
        for index in range(size):
            proof = inclusion_proof(index, size, LOG.hash_at)
            for other in (*range(-size - 1, index), *range(index + 1, 70)):
                with not_authentic(Reason.LOG_INCLUSION):
                    verify_inclusion(HASHES[index], other, size, proof, ROOTS[size])


def test_inclusion_in_a_tree_that_is_less_deep() -> None:
    """The root is that of the leaf and the path, which has a hash too many for the size."""
    for size in range(2, COUNT + 1):
        proof = inclusion_proof(0, size, LOG.hash_at)
        for smaller in range(1, 1 + (1 << len(proof) - 1)):
            with not_authentic(Reason.LOG_INCLUSION):
                verify_inclusion(HASHES[0], 0, smaller, proof, ROOTS[size])


def test_a_node_is_no_leaf() -> None:
    """Two hashes that make up a node are not a leaf with the same hash."""
    fake = HASHES[0] + HASHES[1]
    with not_authentic(Reason.LOG_INCLUSION):
        verify_inclusion(leaf_hash(fake), 0, 2, [ROOTS[4]], ROOTS[4])
    # Of a tree with fewer leaves the proof would be right: its size is the checkpoint's to say.
    verify_inclusion(node_hash(HASHES[0], HASHES[1]), 0, 2, [node_hash(HASHES[2], HASHES[3])], ROOTS[4])


def test_consistency_of_anything_else() -> None:
    for old, new in PAIRS:
        proof = consistency_proof(old, new, LOG.hash_at)
        others = [
            (old, sha256(ROOTS[old]).digest(), new, ROOTS[new]),
            *([(old, ROOTS[old], new, sha256(ROOTS[new]).digest())] if old else []),
            (new + 1, ROOTS[old], new, ROOTS[new]),
            (-1, ROOTS[old], new, ROOTS[new]),
        ]
        for size, before, count, after in others:
            with not_authentic(Reason.LOG_CONSISTENCY):
                verify_consistency(size, before, count, after, proof)


def test_consistency_of_other_sizes() -> None:
    """Everything leads to both roots, but the proof is one for other sizes."""
    for old, new in ((old, new) for old, new in PAIRS if 0 < old < new):
        proof = consistency_proof(old, new, LOG.hash_at)
        deeper = 1 << (new - 1).bit_length()
        for larger in range(deeper + 1, 4 * deeper):
            with not_authentic(Reason.LOG_CONSISTENCY):
                verify_consistency(old, ROOTS[old], larger, ROOTS[new], proof)
        left = deeper >> 1
        if left < old < new:
            with not_authentic(Reason.LOG_CONSISTENCY):
                verify_consistency(old - left, ROOTS[old], new - left, ROOTS[new], proof)


def test_a_rewritten_log() -> None:
    """Both trees are trees, but the second does not begin with the first."""
    other = Frontier()
    other.extend([*HASHES[:6], leaf_hash(b"rewritten"), *HASHES[7:]])
    for new in range(8, COUNT + 1):
        for old in range(7, new + 1):
            proof = consistency_proof(old, new, other.hash_at)
            with not_authentic(Reason.LOG_CONSISTENCY):
                verify_consistency(old, ROOTS[old], new, root(new, other.hash_at), proof)
        verify_consistency(6, ROOTS[6], new, root(new, other.hash_at), consistency_proof(6, new, other.hash_at))


@given(
    st.integers(-1, 70),
    st.integers(-1, 70),
    st.lists(st.one_of(st.sampled_from(HASHES[:8]), st.binary(max_size=33)), max_size=9),
)
def test_whatever_the_proof_is(first: int, second: int, proof: list[bytes]) -> None:
    with pytest.raises(NotAuthentic):
        verify_inclusion(HASHES[0], first, second, proof, bytes(32))
    with pytest.raises(NotAuthentic):
        verify_consistency(first, bytes(32), second, b"", proof)


@given(SIZES, st.lists(st.integers(0, 9), max_size=8))
def test_appending_in_any_portions(size: int, portions: list[int]) -> None:
    frontier = Frontier(size, LOG.hash_at)
    for portion in portions:
        frontier.extend(HASHES[frontier.size : frontier.size + portion])
        assert frontier.root() == ROOTS[frontier.size]
    levels = frontier.size.bit_length()
    for level in range(levels + 1):
        first, held = frontier.held(level)
        hashes = [held[at : at + 32] for at in range(0, len(held), 32)]
        stop = first + len(hashes)
        assert stop == frontier.size >> level or not hashes
        assert hashes == [LOG.hash_at(level, index) for index in range(first, stop)]
        assert first <= size >> level


def test_only_what_is_held() -> None:
    frontier = Frontier(5, LOG.hash_at)
    assert frontier.held(0) == (4, HASHES[4])
    assert frontier.held(1) == (2, b"")
    assert frontier.held(2) == (0, ROOTS[4])
    assert frontier.held(3) == (0, b"")
    for level, index in ((0, 3), (0, 5), (1, 0), (3, 0)):
        with pytest.raises(IndexError):
            frontier.hash_at(level, index)
