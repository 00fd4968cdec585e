"""The map of trusted keys: a TVM dictionary from key id to a reference to its `Entry`, kept by nodes.

A key id is SHA-256 over the SubjectPublicKeyInfo. What is stored of a node, under its hash, is its representation: the
very bytes that the hash is over (TVM, 3.1.5), so no altered row goes unnoticed.

    fork    d1 d2 label ‖ depth, depth ‖ hash, hash
    leaf    d1 d2 label ‖ depth ‖ hash ‖ length:uint16 ‖ representation of the entry

The map of no keys has no root. A change rewrites the nodes on its way alone, and many changes share theirs. No two
places of a map hold the same node: its labels are parts of digests, so a node that is rewritten can be forgotten.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

from attestd.errors import Malformed, NotAuthentic, Reason, Unavailable
from attestd.transparency.entry import Entry, load_entry
from attestd.tvm.cell import HASH_SIZE, Builder, Cell, pruned_branch, refused
from attestd.tvm.dictionary import Label, dump_label, load_label
from attestd.tvm.dictionary import lookup as lookup_key
from attestd.tvm.proof import merkle_proof, open_proof

KEY_BITS: Final = 256

_REF_SIZE: Final = 2 + HASH_SIZE  # depth and hash
_FORK: Final = 2

# What is stored under the hash of a node; raises where there is nothing.
Read: TypeAlias = Callable[[bytes], bytes]


class Updated(NamedTuple):
    """A map after changes, and what that means for its stored nodes."""

    root: bytes | None
    created: dict[bytes, bytes]  # by hash
    retired: frozenset[bytes]


class _Stored(NamedTuple):
    """A node with the label that it has in its place."""

    hash: bytes
    depth: int


class _Edge(NamedTuple):
    """A node without its label, which depends on where its parent forks; it ends in front of bit `end` of `key`."""

    key: int  # any one below the node
    end: int
    depth: int
    below: bytes  # depths, then hashes of what it refers to
    tail: bytes  # of a leaf: its entry

    @property
    def refs(self) -> int:
        """Return how many cells it refers to: one if it is a leaf, two if it is a fork."""
        return len(self.below) // _REF_SIZE

    def child(self, at: int) -> _Stored:
        """Return what it refers to: one of the nodes below a fork, or the entry of a leaf."""
        start = 2 * self.refs + HASH_SIZE * at
        return _Stored(self.below[start : start + HASH_SIZE], int.from_bytes(self.below[2 * at : 2 * at + 2]))


def update(root: bytes | None, changes: Mapping[bytes, Entry | None], read: Read) -> Updated:
    """Put entries into the map under their key ids, and take out those keys whose entry is None.

    Raises `Unavailable` (`registry.integrity`) where a stored node is not what its hash says, `Malformed`
    (`cell.malformed`) where an entry or a key id is out of range, and whatever `read` raises.
    """
    if not changes:
        return Updated(root, {}, frozenset())
    return _Update(changes, read).run(root)


def root_of(entries: Mapping[bytes, Entry]) -> bytes | None:
    """Return the root of the map of these entries, by key id; no node of it is kept. Raises `Malformed` as `update`."""
    nodes = _Forgotten()
    return _Update(entries, nodes.__getitem__, created=nodes).run(None).root


class _Forgotten(dict[bytes, bytes]):
    """Nodes of which nobody wants more than the root."""

    def __setitem__(self, _hash: bytes, _stored: bytes) -> None:
        """Keep nothing."""


@dataclass(slots=True)
class _Update:
    """One descent for all changes, in the order of their keys."""

    changes: Mapping[bytes, Entry | None]
    read: Read
    keys: list[int] = field(init=False)
    entries: list[Entry | None] = field(init=False)
    created: dict[bytes, bytes] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)

    def run(self, root: bytes | None) -> Updated:
        """Apply the changes to the map of this root."""
        pairs = sorted(((_number(key_id), entry) for key_id, entry in self.changes.items()), key=itemgetter(0))
        self.keys = [key for key, _ in pairs]
        self.entries = [entry for _, entry in pairs]
        merged = self.merge(None if root is None else self.open(root, 0, 0), 0, len(pairs))
        new_root = None if merged is None else self.store(merged, 0).hash
        # What was read and then written again as it was has neither come nor gone.
        kept = self.seen & self.created.keys()
        created = {digest: row for digest, row in self.created.items() if digest not in kept}
        return Updated(new_root, created, frozenset(self.seen - kept))

    def merge(self, edge: _Edge | None, low: int, high: int) -> _Edge | None:
        """Apply the changes from `low` up to `high` to a node and what is below it; they share the bits before it."""
        if low == high:
            return edge
        first, last = self.keys[low], self.keys[high - 1]
        at = _shared(first, last) if edge is None else min(edge.end, _shared(edge.key, first), _shared(edge.key, last))
        if at == KEY_BITS:
            return _leaf(first, self.entries[low])
        middle = bisect_left(self.keys, _side(first, at, 1), low, high)
        if edge is not None and edge.end == at:
            return self.join(first, at, self.descend(edge, 0, low, middle), self.descend(edge, 1, middle, high))
        side = None if edge is None else _bit(edge.key, at)
        left = self.merge(edge if side == 0 else None, low, middle)
        return self.join(first, at, left, self.merge(edge if side == 1 else None, middle, high))

    def descend(self, edge: _Edge, bit: int, low: int, high: int) -> _Edge | _Stored | None:
        """Apply changes below one side of a fork, which stays unread where there are none."""
        child = edge.child(bit)
        return child if low == high else self.merge(self.open_child(child, edge.key, edge.end, bit), low, high)

    def join(self, key: int, at: int, left: _Edge | _Stored | None, right: _Edge | _Stored | None) -> _Edge | None:
        """Return the fork in front of bit `at`, or what is left where one of its sides has gone."""
        if left is not None and right is not None:
            zero, one = self.store(left, at + 1), self.store(right, at + 1)
            below = zero.depth.to_bytes(2) + one.depth.to_bytes(2) + zero.hash + one.hash
            return _Edge(key, at, 1 + max(zero.depth, one.depth), below, b"")
        only = right if left is None else left
        return self.open_child(only, key, at, int(left is None)) if isinstance(only, _Stored) else only

    def store(self, node: _Edge | _Stored, start: int) -> _Stored:
        """Write a node whose label begins at bit `start`."""
        if isinstance(node, _Stored):
            return node
        representation = _representation(node, start)
        digest = sha256(representation).digest()
        self.created[digest] = representation + node.tail
        return _Stored(digest, node.depth)

    def open_child(self, child: _Stored, key: int, at: int, bit: int) -> _Edge:
        """Read the node on one side of a fork in front of bit `at` of `key`."""
        return self.open(child.hash, _side(key, at, bit), at + 1)

    def open(self, digest: bytes, prefix: int, start: int) -> _Edge:
        """Read a node whose label begins at bit `start`, behind the first bits of `prefix`."""
        self.seen.add(digest)
        return _open(digest, self.read(digest), prefix, start)


def _number(key_id: bytes) -> int:
    if len(key_id) != HASH_SIZE:
        raise refused(f"a key id of {len(key_id)} bytes", f"{HASH_SIZE} bytes")
    return int.from_bytes(key_id)


def _shared(one: int, other: int) -> int:
    """Return how many bits two keys share from their first on."""
    return KEY_BITS - (one ^ other).bit_length()


def _bit(key: int, at: int) -> int:
    return key >> (KEY_BITS - 1 - at) & 1


def _side(key: int, at: int, bit: int) -> int:
    """Return the first key that shares the bits in front of bit `at`, and has this bit there."""
    return ((key >> (KEY_BITS - at)) << 1 | bit) << (KEY_BITS - 1 - at)


def _leaf(key: int, entry: Entry | None) -> _Edge | None:
    if entry is None:
        return None
    cell = entry.to_cell()
    representation = cell.descriptor + cell.content
    return _Edge(key, KEY_BITS, 1, bytes(2) + cell.hash, len(representation).to_bytes(2) + representation)


def _label(node: _Edge, start: int) -> tuple[int, int]:
    length = node.end - start
    return dump_label(Label(length, node.key >> (KEY_BITS - node.end) & ((1 << length) - 1)), KEY_BITS - start)


def _representation(node: _Edge, start: int) -> bytes:
    """Write what the hash of a node is over, as `Cell` has it, without making one: thousands change in an epoch."""
    size, bits = _label(node, start)
    whole, rest = divmod(size, 8)
    if rest:
        bits = (bits << 1 | 1) << (7 - rest)
    content = bits.to_bytes(whole + bool(rest))
    return bytes((node.refs, whole + len(content))) + content + node.below


def _divided(row: bytes) -> tuple[bytes, int, int]:
    """Return the hash of a stored node, where its label ends, and where its representation ends.

    Raises `Unavailable` (`registry.integrity`) where what is behind that is not the entry that it refers to.
    """
    refs, descriptor = row[:2].ljust(2, b"\0")
    middle = 2 + (descriptor + 1) // 2
    stop = middle + _REF_SIZE * refs
    entry = row[stop + 2 :]
    if refs == _FORK:
        whole = len(row) == stop
    else:
        whole = row[stop : stop + 2] == len(entry).to_bytes(2) and sha256(entry).digest() == row[middle + 2 : stop]
    if not whole:
        raise _altered()
    return sha256(row[:stop]).digest(), middle, stop


def _altered() -> Unavailable:
    return Unavailable(
        Reason.REGISTRY_INTEGRITY, found="a node of the map that was altered", wanted="what its hash is over"
    )


def _open(digest: bytes, row: bytes, prefix: int, start: int) -> _Edge:
    """Read a stored node whose label begins at bit `start`, and find out whether it is what its hash says."""
    found, middle, stop = _divided(row)
    if found != digest:
        raise _altered()
    below = row[middle:stop]
    # What is behind the label is its completion tag.
    label, _ = load_label(int.from_bytes(row[2:middle]), 8 * (middle - 2), KEY_BITS - start)
    end = start + label.length
    depth = 1 + max(int.from_bytes(below[2 * at : 2 * at + 2]) for at in range(row[0]))
    return _Edge(prefix | label.bits << (KEY_BITS - end), end, depth, below, row[stop:])


def prove(root: bytes | None, key_id: bytes, read: Read) -> Cell | None:
    """Return the Merkle proof that a key is in the map, with its entry, or that it is not; the empty map needs none.

    Raises as `update` does.
    """
    if root is None:
        return None
    key = _number(key_id)
    edge, start = _open(root, read(root), 0, 0), 0
    way: list[tuple[_Edge, int]] = []
    while edge.end < min(KEY_BITS, 1 + _shared(edge.key, key)):
        way.append((edge, start))
        bit = _bit(key, edge.end)
        child, start = edge.child(bit), edge.end + 1
        edge = _open(child.hash, read(child.hash), _side(key, edge.end, bit), start)
    shown = _shown(edge, start, _entry_cell(edge) if edge.key == key else None)
    for edge, start in reversed(way):
        shown = _shown(edge, start, shown, _bit(key, edge.end))
    return merkle_proof(shown)


def _shown(edge: _Edge, start: int, child: Cell | None, side: int = 0) -> Cell:
    """Return a node as a proof shows it: with one child at most, and what stands for the others."""
    size, bits = _label(edge, start)
    builder = Builder().uint(bits, size)
    for at in range(edge.refs):
        builder.ref(child if child is not None and at == side else pruned_branch(*edge.child(at)))
    return builder.end()


def _entry_cell(leaf: _Edge) -> Cell:
    content = leaf.tail[4:]  # behind the length, d1 and d2
    return Builder().bytes(content).end()


def lookup(proof: Cell | None, root: bytes | None, key_id: bytes) -> Entry | None:
    """Return the entry of a key in the map of this root, or None where the proof shows that it has none.

    Raises `NotAuthentic` (`map.proof`) on everything else: a proof of another map, one that leads to another key, one
    that is cut off on the way, an entry that is none. Absence is never concluded from what a proof leaves out.
    """
    if root is None and proof is None:
        return None
    try:
        if root is None or proof is None:
            raise refused("a proof of the empty map, or none of another", "no proof of the empty map alone")
        value = lookup_key(open_proof(proof, root), _number(key_id), KEY_BITS)
        if value is None:
            return None
        entry = load_entry(value.load_ref())
        value.end()
    except (Malformed, NotAuthentic) as error:
        raise NotAuthentic(Reason.MAP_PROOF, found=error.found, wanted=error.wanted) from None
    return entry
