"""The log's tree (RFC 6962, section 2.1) over SHA-256: its root, and proofs that a leaf is in it and that it only grew.

Everything rests on the hashes of *complete* subtrees, which never change: `hashes(level, index)` is that of the leaves
from index · 2^level on, 2^level of them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final, TypeAlias

from attestd.errors import NotAuthentic, Reason

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()

Hashes: TypeAlias = Callable[[int, int], bytes]

_LEAF: Final = b"\0"
_NODE: Final = b"\1"
_PAIR: Final = 2 * HASH_SIZE


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(_LEAF + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node."""
    return sha256(_NODE + left + right).digest()


def root(size: int, hashes: Hashes) -> bytes:
    """Return the root of the tree of the first `size` leaves."""
    return _range_hash(0, size, hashes) if size else EMPTY_ROOT


def _range_hash(start: int, stop: int, hashes: Hashes) -> bytes:
    """Return the hash over some leaves, which are what a node of the tree is over."""
    subtrees = list(_subtrees(start, stop))
    digest = hashes(*subtrees.pop())
    while subtrees:
        digest = node_hash(hashes(*subtrees.pop()), digest)
    return digest


def _subtrees(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut leaves into complete subtrees, level and index, from the largest, which stands first, to the smallest."""
    while start < stop:
        level = (stop - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def inclusion_proof(index: int, size: int, hashes: Hashes) -> list[bytes]:
    """Return the audit path of a leaf in the tree of the first `size` leaves, 0 <= index < size (RFC 6962, 2.1.1)."""
    path: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(_range_hash(middle, stop, hashes))
            stop = middle
        else:
            path.append(_range_hash(start, middle, hashes))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, hashes: Hashes) -> list[bytes]:
    """Return what shows that the tree of `new` leaves begins with that of `old`, 0 <= old <= new (RFC 6962, 2.1.2).

    Empty where there is nothing to show: for the same size, and for a tree that was empty.
    """
    if old in {0, new}:
        return []
    path: list[bytes] = []
    start, stop = 0, new
    while stop != old:
        middle = start + _split(stop - start)
        if old <= middle:
            path.append(_range_hash(middle, stop, hashes))
            stop = middle
        else:
            path.append(_range_hash(start, middle, hashes))
            start = middle
    if start:  # the verifier knows the old tree itself
        path.append(_range_hash(start, stop, hashes))
    return path[::-1]


def _split(count: int) -> int:
    """Return the largest power of two below a number of leaves."""
    return 1 << (count - 1).bit_length() - 1


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root_hash: bytes) -> None:
    """Require that the leaf of this hash is the one at `index` in the tree of `size` leaves (RFC 9162, 2.1.3.2).

    Raises `NotAuthentic` (`log.inclusion`).
    """
    if not 0 <= index < size:
        raise _not_included(f"index {index} in a tree of {size}", "an index below the size")
    node, last, digest = index, size - 1, leaf
    for sibling in proof:
        if not last:
            break
        if node & 1 or node == last:
            digest = node_hash(sibling, digest)
            node, last = _left_of_edge(node, last)
        else:
            digest = node_hash(digest, sibling)
        node, last = node >> 1, last >> 1
    else:
        if not last and digest == root_hash:
            return
    raise _not_included(f"{len(proof)} hashes that lead elsewhere", "the audit path to the root of the checkpoint")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Require that the tree of `new` leaves begins with the tree of `old` leaves (RFC 9162, 2.1.4.2).

    Raises `NotAuthentic` (`log.consistency`).
    """
    if not 0 <= old <= new:
        raise _not_consistent(f"{new} leaves after {old}", "a log that does not shrink")
    if old in {0, new}:
        expected = EMPTY_ROOT if old == 0 else new_root
        if proof or old_root != expected:
            raise _not_consistent(f"{len(proof)} hashes, or another root", "no proof, and the one root")
        return
    # A complete old tree is a node of the new one: its root begins the path.
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    first, *rest = path or [b""]
    older = newer = first
    for sibling in rest:
        if not last:
            break
        if node & 1 or node == last:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            node, last = _left_of_edge(node, last)
        else:
            newer = node_hash(newer, sibling)
        node, last = node >> 1, last >> 1
    else:
        if not last and (older, newer) == (old_root, new_root):
            return
    raise _not_consistent(f"{len(proof)} hashes that lead elsewhere", "the consistency proof of these two sizes")


def _left_of_edge(node: int, last: int) -> tuple[int, int]:
    """Skip the levels at which a node on the right edge, never the first of its level, has no sibling."""
    while not node & 1:
        node, last = node >> 1, last >> 1
    return node, last


def _not_included(found: str, wanted: str) -> NotAuthentic:
    return NotAuthentic(Reason.LOG_INCLUSION, found=found, wanted=wanted)


def _not_consistent(found: str, wanted: str) -> NotAuthentic:
    return NotAuthentic(Reason.LOG_CONSISTENCY, found=found, wanted=wanted)


class Frontier:
    """The right edge of a tree, to which leaves are appended, many at a time.

    It holds the hashes of the complete subtrees that were added since it was made, and of those that still wait for
    their right sibling.
    """

    __slots__ = ("_firsts", "_levels", "size")

    def __init__(self, size: int = 0, hashes: Hashes | None = None) -> None:
        """Begin empty, or go on from a tree of `size` leaves, of which no more is read than its root is made of."""
        self.size = size
        # Of each level the hashes that are held, one behind the other, and the index of the first of them.
        self._levels: list[bytearray] = []
        self._firsts: list[int] = []
        for level in range(size.bit_length()):
            waiting = size >> level & 1
            self._firsts.append((size >> level) - waiting)
            held = hashes(level, (size >> level) - 1) if waiting and hashes is not None else b""
            self._levels.append(bytearray(held))

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Append leaves by their hashes."""
        added = b"".join(leaf_hashes)
        self.size += len(added) // HASH_SIZE
        level = 0
        while added:
            added = self._extend_level(level, added)
            level += 1

    def _extend_level(self, level: int, added: bytes) -> bytes:
        """Append hashes to a level; return those of the level above that are complete now."""
        if level == len(self._levels):
            self._levels.append(bytearray())
            self._firsts.append(0)
        held = self._levels[level]
        # A subtree that waits stands last, and begins the first pair.
        start = len(held) - HASH_SIZE * ((self._firsts[level] + len(held) // HASH_SIZE) & 1)
        held += added
        pairs = bytes(held[start:])
        stop = len(pairs) // _PAIR * _PAIR
        return b"".join([sha256(_NODE + pairs[at : at + _PAIR]).digest() for at in range(0, stop, _PAIR)])

    def hash_at(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree that is held (`Hashes`). Raises `IndexError` for any other."""
        first, held = self._firsts[level], self._levels[level]
        start = HASH_SIZE * (index - first)
        if not 0 <= start < len(held):
            message = f"subtree {index} of level {level} is not held"
            raise IndexError(message)
        return bytes(held[start : start + HASH_SIZE])

    def held(self, level: int) -> tuple[int, bytes]:
        """Return the index of the first subtree of a level that is held, and all their hashes."""
        return (self._firsts[level], bytes(self._levels[level])) if level < len(self._levels) else (0, b"")

    def root(self) -> bytes:
        """Return the root of the tree."""
        return root(self.size, self.hash_at)
