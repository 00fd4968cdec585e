"""Cells: up to 1023 bits and four references, known by their hash (TON Blockchain, 3.1; TVM, 3.1.4 to 3.1.7).

A cell has one hash for each level up to its own; its level is above 0 where a pruned branch is below it, and the hash
at a lower level is what the hash would be if nothing had been pruned. Bits are big-endian, as are all integers.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256
from typing import Final, Self

from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.tvm.address import Address

MAX_BITS: Final = 1023
MAX_REFS: Final = 4
# The TVM hashes and unpacks no deeper trees (TVM, 3.1.4; CellTraits::max_depth).
MAX_DEPTH: Final = 1024
MAX_LEVEL: Final = 3
HASH_SIZE: Final = 32
_DEPTH_SIZE: Final = 2
_COINS_LENGTH_BITS: Final = 4
# addr_std$10 with anycast:(Maybe Anycast) absent, and addr_none$00 (block.tlb, MsgAddress).
_ADDR_STD: Final = 0b100
_SPECIAL: Final = 8


class Kind(IntEnum):
    """What a cell is; special cells say so in their first byte (TVM, 3.1.7)."""

    ORDINARY = 0
    PRUNED_BRANCH = 1
    LIBRARY = 2
    MERKLE_PROOF = 3
    MERKLE_UPDATE = 4


# Bits and references of each special kind; those of a pruned branch grow with its levels.
_SHAPES: Final = {Kind.LIBRARY: (8 + 256, 0), Kind.MERKLE_PROOF: (8 + 272, 1), Kind.MERKLE_UPDATE: (8 + 2 * 272, 2)}


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A cell, which is one that the TVM would take: its constructor raises `Malformed` (`cell.malformed`) otherwise.

    Bits of `data` beyond the first `bits` are zero. Cells are equal where their hashes are.
    """

    data: bytes
    bits: int
    refs: tuple["Cell", ...] = field(default=(), repr=False)  # shared ones would be shown again and again
    special: bool = False
    kind: Kind = field(init=False)
    level_mask: int = field(init=False)
    # By level, 0 to `level` at least: the last is the one by which others refer to this cell.
    _hashes: tuple[bytes, ...] = field(init=False, repr=False)
    _depths: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Require the form of the kind, then hash, which bounds the depth."""
        _require_form(self.data, self.bits, self.refs)
        kind = _kind(self.data, self.bits, self.refs) if self.special else Kind.ORDINARY
        mask = _level_mask(kind, self.data, self.refs)
        keep = object.__setattr__
        keep(self, "kind", kind)
        keep(self, "level_mask", mask)
        hashes, depths = _digest(self)
        keep(self, "_hashes", hashes)
        keep(self, "_depths", depths)

    @property
    def level(self) -> int:
        """Return how many levels of Merkle proofs this cell needs around it; 0 is a cell that stands alone."""
        return self.level_mask.bit_length()

    @property
    def hash(self) -> bytes:
        """Return the representation hash, at the cell's own level."""
        return self._hashes[-1]

    @property
    def depth(self) -> int:
        """Return the depth of the tree below, at the cell's own level; a cell without references has 0."""
        return self._depths[-1]

    def hash_at(self, level: int) -> bytes:
        """Return the hash at a level: at 0 it is that of the tree before anything was pruned."""
        return self._hashes[min(level, len(self._hashes) - 1)]

    def depth_at(self, level: int) -> int:
        """Return the depth at a level."""
        return self._depths[min(level, len(self._depths) - 1)]

    @property
    def descriptor(self) -> bytes:
        """Return d1 and d2, as they stand in the representation and in a bag of cells."""
        return _descriptor(self, self.level_mask)

    @property
    def content(self) -> bytes:
        """Return the data with the completion tag: a one and zeros, where the bits fill no whole bytes."""
        spare = -self.bits % 8
        return self.data[:-1] + bytes((self.data[-1] | 1 << (spare - 1),)) if spare else self.data

    def slice(self) -> "Slice":
        """Begin to read. A special cell is not read as if it were data.

        Raises `NotAuthentic` (`cell.pruned`) on a pruned branch, since what it stands for is unknown, and `Malformed`
        (`cell.malformed`) on any other special cell.
        """
        if self.kind is Kind.PRUNED_BRANCH:
            raise NotAuthentic(Reason.CELL_PRUNED, found="a pruned branch", wanted="the cell that it stands for")
        if self.special:
            raise refused(f"a special cell of kind {self.kind}", "an ordinary cell")
        return Slice(self)

    def __eq__(self, other: object) -> bool:
        """Compare by hash."""
        return isinstance(other, Cell) and self.hash == other.hash

    def __hash__(self) -> int:
        """Hash the hash."""
        return hash(self.hash)


def _require_form(data: bytes, bits: int, refs: tuple[Cell, ...]) -> None:
    if not 0 <= bits <= MAX_BITS or len(refs) > MAX_REFS:
        raise refused(f"{bits} bits and {len(refs)} references", f"at most {MAX_BITS} and {MAX_REFS}")
    if len(data) != (bits + 7) // 8 or (bits % 8 and data[-1] & (0xFF >> bits % 8)):
        raise refused(f"{len(data)} bytes for {bits} bits", "as many as the bits fill, with zeros behind them")


def _kind(data: bytes, bits: int, refs: tuple[Cell, ...]) -> Kind:
    """Tell the kind of a special cell, and require its form (TVM, 3.1.7; DataCell::create)."""
    try:
        kind = Kind(data[0] if data else 0)
    except ValueError:
        kind = Kind.ORDINARY
    if kind is Kind.ORDINARY:
        raise refused("a special cell of no known kind", "a kind from 1 to 4")
    if kind is Kind.PRUNED_BRANCH:
        mask = data[1] if len(data) > 1 else 0
        fits = 0 < mask < 1 << MAX_LEVEL and (bits, len(refs)) == (16 + 272 * mask.bit_count(), 0)
    else:
        fits = (bits, len(refs)) == _SHAPES[kind]
    if not fits:
        raise refused(f"{bits} bits and {len(refs)} references", f"the form of the special cell of kind {kind}")
    if commitments(data, 1, len(refs)) != [(child.hash_at(0), child.depth_at(0)) for child in refs]:
        raise refused("a Merkle cell that does not commit to what is below it", "its hash and depth at level 0")
    return kind


def commitments(data: bytes, offset: int, count: int) -> list[tuple[bytes, int]]:
    """Read `count` hashes and then as many depths: what pruned branches and Merkle cells hold behind their kind."""
    depths = offset + HASH_SIZE * count
    return [
        (
            data[offset + HASH_SIZE * at : offset + HASH_SIZE * (at + 1)],
            int.from_bytes(data[depths + _DEPTH_SIZE * at : depths + _DEPTH_SIZE * (at + 1)]),
        )
        for at in range(count)
    ]


def _level_mask(kind: Kind, data: bytes, refs: tuple[Cell, ...]) -> int:
    """Return the levels at which the cell has a hash of its own (TVM, 3.1.5: a Merkle cell takes one away)."""
    if kind is Kind.PRUNED_BRANCH:
        return data[1]
    mask = 0
    for child in refs:
        mask |= child.level_mask
    return mask >> 1 if kind in {Kind.MERKLE_PROOF, Kind.MERKLE_UPDATE} else mask


def _digest(cell: Cell) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
    """Hash a cell whose children are hashed, at each of its levels (TVM, 3.1.5 and 3.1.6)."""
    mask = cell.level_mask
    if cell.kind is Kind.PRUNED_BRANCH:
        stored = commitments(cell.data, 2, mask.bit_count())
        stored.append((sha256(_descriptor(cell, mask) + cell.content).digest(), 0))
        _require_depth(depth for _, depth in stored)
        levels = [stored[(mask & ((1 << level) - 1)).bit_count()] for level in range(mask.bit_length() + 1)]
        return tuple(digest for digest, _ in levels), tuple(depth for _, depth in levels)
    below = 1 if cell.kind in {Kind.MERKLE_PROOF, Kind.MERKLE_UPDATE} else 0
    hashes: list[bytes] = []
    depths: list[int] = []
    for level in range(mask.bit_length() + 1):
        if level and not mask >> (level - 1) & 1:
            hashes.append(hashes[-1])
            depths.append(depths[-1])
            continue
        child_depths = [child.depth_at(level + below) for child in cell.refs]
        preimage = [_descriptor(cell, mask & ((1 << level) - 1)), hashes[-1] if hashes else cell.content]
        preimage += [depth.to_bytes(_DEPTH_SIZE) for depth in child_depths]
        preimage += [child.hash_at(level + below) for child in cell.refs]
        hashes.append(sha256(b"".join(preimage)).digest())
        depths.append(max(child_depths) + 1 if child_depths else 0)
    _require_depth(depths)
    return tuple(hashes), tuple(depths)


def _require_depth(depths: Iterable[int]) -> None:
    if (deepest := max(depths)) > MAX_DEPTH:
        raise refused(f"a depth of {deepest}", f"at most {MAX_DEPTH}")


def _descriptor(cell: Cell, mask: int) -> bytes:
    return bytes((len(cell.refs) + _SPECIAL * cell.special + (mask << 5), cell.bits // 8 + (cell.bits + 7) // 8))


def pruned_branch(digest: bytes, depth: int) -> Cell:
    """Return what stands, at level 1, for a cell of level 0 with this hash and depth."""
    return Cell(bytes((Kind.PRUNED_BRANCH, 1)) + digest + depth.to_bytes(_DEPTH_SIZE), 16 + 272, special=True)


def refused(found: str, wanted: str) -> Malformed:
    """Return the refusal of cells that are not what they have to be."""
    return Malformed(Reason.CELL_MALFORMED, found=found, wanted=wanted)


class Slice:
    """What is left to read of an ordinary cell. Every read raises `Malformed` (`cell.malformed`) beyond the end."""

    __slots__ = ("_refs", "_value", "bits_left")

    def __init__(self, cell: Cell) -> None:
        """Read from the start; `Cell.slice` refuses special cells before."""
        self._value = int.from_bytes(cell.data) >> (-cell.bits % 8)
        self.bits_left = cell.bits
        self._refs = cell.refs

    @property
    def refs_left(self) -> int:
        """Return how many references are left."""
        return len(self._refs)

    def load_uint(self, bits: int) -> int:
        """Return the next bits as an unsigned integer."""
        left = self.bits_left - bits
        if left < 0 or bits < 0:
            raise refused(f"{self.bits_left} bits left", f"{bits} bits")
        value = self._value >> left
        self._value &= (1 << left) - 1
        self.bits_left = left
        return value

    def load_int(self, bits: int) -> int:
        """Return the next bits as a signed integer, two's complement."""
        value = self.load_uint(bits)
        return value - (1 << bits) if bits and value >> (bits - 1) else value

    def load_bit(self) -> bool:
        """Return the next bit."""
        return self.load_uint(1) == 1

    def load_bytes(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        return self.load_uint(8 * size).to_bytes(size)

    def load_var_uint(self, length_bits: int) -> int:
        """Return a VarUInteger: its length in bytes in `length_bits` bits, then the value."""
        return self.load_uint(8 * self.load_uint(length_bits))

    def load_coins(self) -> int:
        """Return an amount in nanotons (VarUInteger 16)."""
        return self.load_var_uint(_COINS_LENGTH_BITS)

    def load_address(self) -> Address | None:
        """Return an addr_std without anycast, or None for addr_none (block.tlb, MsgAddress)."""
        if not self.load_bit():
            if self.load_bit():
                raise refused("an external address", "addr_std or addr_none")
            return None
        if self.load_uint(2) != _ADDR_STD & 3:
            raise refused("addr_var, or an anycast", "addr_std without anycast, or addr_none")
        return Address(self.load_int(8), self.load_bytes(HASH_SIZE))

    def load_ref(self) -> Cell:
        """Return the next reference."""
        if not self._refs:
            raise refused("no reference left", "a reference")
        child, self._refs = self._refs[0], self._refs[1:]
        return child

    def load_maybe_ref(self) -> Cell | None:
        """Return a reference where the next bit says that there is one (Maybe ^Cell, HashmapE)."""
        return self.load_ref() if self.load_bit() else None

    def peek(self) -> int:
        """Return all bits that are left as an unsigned integer, without reading them."""
        return self._value

    def skip(self, bits: int) -> None:
        """Leave out the next bits."""
        self.load_uint(bits)

    def to_cell(self) -> Cell:
        """Return what is left as an ordinary cell, without reading it."""
        spare = -self.bits_left % 8
        return Cell((self._value << spare).to_bytes((self.bits_left + 7) // 8), self.bits_left, self._refs)

    def end(self) -> None:
        """Refuse what nothing has read."""
        if self.bits_left or self._refs:
            raise refused(f"{self.bits_left} bits and {len(self._refs)} references too many", "nothing after it")


class Builder:
    """A cell in the making; every step returns the builder.

    Raises `Malformed` (`cell.malformed`) where a value or the cell overflows.
    """

    __slots__ = ("_bits", "_refs", "_value")

    def __init__(self) -> None:
        """Begin an empty cell."""
        self._value = 0
        self._bits = 0
        self._refs: list[Cell] = []

    def uint(self, value: int, bits: int) -> Self:
        """Append an unsigned integer of so many bits."""
        if bits < 0 or value >> bits:  # of a negative value that is negative, too
            raise refused("an integer out of range", f"an unsigned integer of {bits} bits")
        if self._bits + bits > MAX_BITS:
            raise refused(f"{self._bits + bits} bits", f"at most {MAX_BITS}")
        self._value = self._value << bits | value
        self._bits += bits
        return self

    def bit(self, value: bool) -> Self:  # noqa: FBT001 - the bit itself
        """Append one bit."""
        return self.uint(int(value), 1)

    def var_uint(self, value: int, length_bits: int) -> Self:
        """Append a VarUInteger, as short as it can be."""
        size = (value.bit_length() + 7) // 8
        return self.uint(size, length_bits).uint(value, 8 * size)

    def coins(self, value: int) -> Self:
        """Append an amount in nanotons (VarUInteger 16)."""
        return self.var_uint(value, _COINS_LENGTH_BITS)

    def address(self, value: Address | None) -> Self:
        """Append an addr_std without anycast, or addr_none for None."""
        if value is None:
            return self.uint(0, 2)
        return self.uint(_ADDR_STD, 3).int(value.workchain, 8).bytes(value.hash)

    def ref(self, cell: Cell) -> Self:
        """Append a reference."""
        if len(self._refs) == MAX_REFS:
            raise refused("one reference more", f"at most {MAX_REFS}")
        self._refs.append(cell)
        return self

    def maybe_ref(self, cell: Cell | None) -> Self:
        """Append a bit, and where it is one a reference (Maybe ^Cell, HashmapE)."""
        return self.bit(value=False) if cell is None else self.bit(value=True).ref(cell)

    def slice(self, value: Slice | Cell) -> Self:
        """Append the bits and references that a slice has left, or all of an ordinary cell's; the slice stays."""
        rest = value.slice() if isinstance(value, Cell) else value
        self.uint(rest._value, rest.bits_left)  # noqa: SLF001 - reader and writer are one pair
        for child in rest._refs:  # noqa: SLF001
            self.ref(child)
        return self

    def end(self) -> Cell:
        """Return the ordinary cell."""
        spare = -self._bits % 8
        return Cell((self._value << spare).to_bytes((self._bits + 7) // 8), self._bits, tuple(self._refs))

    # Last, since they hide the types of the same names from what follows in this class.

    def int(self, value: int, bits: int) -> Self:
        """Append a signed integer of so many bits, two's complement."""
        if not bits or not -1 << (bits - 1) <= value < 1 << (bits - 1):
            raise refused("an integer out of range", f"a signed integer of {bits} bits")
        return self.uint(value & ((1 << bits) - 1), bits)

    def bytes(self, value: bytes) -> Self:
        """Append bytes."""
        return self.uint(int.from_bytes(value), 8 * len(value))


# Neither bits nor references.
EMPTY: Final = Builder().end()
