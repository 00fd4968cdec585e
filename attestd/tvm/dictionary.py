"""Dictionaries: HashmapE n X, and HashmapAugE n X Y, whose every node also has an extra value (TVM, 3.3; hashmap.tlb).

A node is an edge: a label, the key's next bits, and then a value where the key is whole, or two references, for a next
bit of 0 and of 1. A label has three writings, of which the TVM writes the shortest; it reads the others, too, but none
is read here, so that one dictionary has one root hash, unless a caller has to read what others wrote. Keys are unsigned
integers.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import zip_longest
from typing import Final, NamedTuple, TypeAlias

from attestd.tvm.cell import EMPTY, Builder, Cell, Slice, refused

# As many as the keys of the largest account state; cells may be shared, so a small tree can hold more keys than atoms.
MAX_ENTRIES: Final = 65536

# Takes the extra value of a node away from its front.
LoadExtra: TypeAlias = Callable[[Slice], object]


# The first two bits of a label, unless it is hml_short$0; no label has fewer.
_LONG: Final = 0b10
_SAME: Final = 0b11
_FORM_BITS: Final = 2


def no_extra(_: Slice) -> None:
    """Take nothing away: the nodes of a plain dictionary have no extra value."""


class Label(NamedTuple):
    """The bits of a key on one edge."""

    length: int
    bits: int


def dump_label(label: Label, room: int) -> tuple[int, int]:
    """Write a label where `room` bits of the key are left; return how many bits that takes, and these (HmLabel).

    Of hml_short, hml_long and hml_same it is the shortest, and of equally short ones hml_short.
    """
    length, bits = label
    size = room.bit_length()
    if size < 2 * length - 1 and bits in {0, (1 << length) - 1}:
        return 3 + size, (_SAME << 1 | bits & 1) << size | length
    if size < length:
        return 2 + size + length, (_LONG << size | length) << length | bits
    return 2 * length + 2, ((1 << length) - 1) << (length + 1) | bits


def load_label(node: int, size: int, room: int, *, shortest: bool = True) -> tuple[Label, int]:
    """Read the label in front of a node of `size` bits where `room` bits of the key are left; return it and its size.

    Raises `Malformed` (`cell.malformed`) where there is none, or, with `shortest`, where it is not written as
    `dump_label` does.
    """
    number = room.bit_length()
    if size < _FORM_BITS:
        raise refused(f"a node of {size} bits", "a label")
    form = node >> (size - _FORM_BITS)
    if form < _LONG:  # a zero, as many ones as the label has bits, a zero, the label
        length = size - 1 - (node ^ ((1 << size - 1) - 1)).bit_length()
        taken = 2 * length + 2
    else:  # which of the two, for hml_same its bit, the number, for hml_long the label
        head = 3 if form == _SAME else 2
        length = (node >> max(0, size - head - number)) & ((1 << number) - 1)
        taken = head + number + (length if form == _LONG else 0)
    if length > room or taken > size:
        raise refused(f"a label of {length} bits", f"at most {room} bits, all in the node")
    mask = (1 << length) - 1
    same = form == _SAME
    bits = mask * (node >> (size - 3) & 1) if same else node >> (size - taken) & mask
    label = Label(length, bits)
    if shortest and dump_label(label, room) != (taken, node >> (size - taken)):
        raise refused("a label in a longer writing", "the shortest one")
    return label, taken


class Walk(NamedTuple):
    """The way from the root of a dictionary to a key."""

    path: list[Cell]
    value: Slice | None  # None where the dictionary shows that the key is absent


def walk(root: Cell | None, key: int, bits: int, extra: LoadExtra = no_extra) -> Walk:
    """Go from the root to the value of a key of so many bits, or as far as it takes to see that there is none.

    Raises `NotAuthentic` (`cell.pruned`) where the way leads to a pruned branch, which shows neither, and `Malformed`
    (`cell.malformed`) where a node on the way is none.
    """
    if not 0 <= key < 1 << bits:
        raise refused("a key out of range", f"an unsigned integer of {bits} bits")
    path: list[Cell] = []
    room, cell = bits, root
    while cell is not None:
        path.append(cell)
        node, label = _open(cell, room)
        room -= label.length
        if key >> room & ((1 << label.length) - 1) != label.bits:
            break
        if room == 0:
            extra(node)
            return Walk(path, node)
        room -= 1
        cell = _fork(node, extra)[key >> room & 1]
    return Walk(path, None)


def lookup(root: Cell | None, key: int, bits: int, extra: LoadExtra = no_extra) -> Slice | None:
    """Return the value of a key, or None where the dictionary shows that it is absent. Raises as `walk` does."""
    return walk(root, key, bits, extra).value


def parse(
    root: Cell | None, bits: int, extra: LoadExtra = no_extra, *, most: int = MAX_ENTRIES, shortest: bool = True
) -> dict[int, Slice]:
    """Return all values by their keys of so many bits, in the order of the keys.

    Without `shortest` labels may stand in any of their writings, as the TVM takes them.
    Raises `Malformed` (`cell.malformed`) where a node is none or there are more than `most` values, and `NotAuthentic`
    (`cell.pruned`) where one is left out.
    """
    values: dict[int, Slice] = {}
    pending = [] if root is None else [(root, 0, bits)]
    while pending:
        cell, prefix, room = pending.pop()
        node, label = _open(cell, room, shortest=shortest)
        room -= label.length
        prefix = prefix << label.length | label.bits
        if room:
            left, right = _fork(node, extra)
            pending += (right, prefix << 1 | 1, room - 1), (left, prefix << 1, room - 1)
            continue
        if len(values) == most:
            raise refused("more values", f"at most {most}")
        extra(node)
        values[prefix] = node
    return values


def parse_set(root: Cell | None, size: int, *, most: int = MAX_ENTRIES) -> frozenset[bytes]:
    """Return the keys, of so many bytes each, of a dictionary without values. Raises as `parse` does."""
    found = parse(root, 8 * size, most=most)
    for value in found.values():
        value.end()
    return frozenset(key.to_bytes(size) for key in found)


def _open(cell: Cell, room: int, *, shortest: bool = True) -> tuple[Slice, Label]:
    node = cell.slice()
    label, taken = load_label(node.peek(), node.bits_left, room, shortest=shortest)
    node.skip(taken)
    return node, label


def _fork(node: Slice, extra: LoadExtra) -> tuple[Cell, Cell]:
    left, right = node.load_ref(), node.load_ref()
    extra(node)
    node.end()
    return left, right


def build(values: Mapping[int, Cell | Slice], bits: int) -> Cell | None:
    """Return the root of HashmapE with these values, whose bits and references stand in the leaves; None without any.

    Raises `Malformed` (`cell.malformed`) where a key is out of range or a value does not fit beside its label.
    """
    return build_augmented({key: (EMPTY, value) for key, value in values.items()}, bits, lambda left, _: left)


def build_set(members: Iterable[bytes], size: int) -> Cell | None:
    """Return the root of a dictionary without values, whose keys have so many bytes each.

    Raises `Malformed` (`cell.malformed`) where one has more or fewer.
    """
    keys = list(members)
    if any(len(key) != size for key in keys):
        raise refused("a key of another size", f"{size} bytes")
    return build({int.from_bytes(key): EMPTY for key in keys}, 8 * size)


def build_augmented(
    values: Mapping[int, tuple[Cell, Cell | Slice]], bits: int, combine: Callable[[Cell, Cell], Cell]
) -> Cell | None:
    """Return the root of HashmapAugE with these extra values and values; `combine` makes the extra value of a fork.

    Raises as `build` does.
    """
    keys = sorted(values)
    if not keys:
        return None
    if not 0 <= keys[0] <= keys[-1] < 1 << bits:
        raise refused("a key out of range", f"unsigned integers of {bits} bits")
    waiting: list[tuple[int, _Unlabelled]] = []  # left sides, each with the bit at which the next key leaves it
    for key, following in zip_longest(keys, keys[1:]):
        extra, value = values[key]
        node = _Unlabelled(key, bits, extra, Builder().slice(extra).slice(value))
        leaves = -1 if following is None else bits - (key ^ following).bit_length()
        while waiting and waiting[-1][0] > leaves:
            at, left = waiting.pop()
            node = _joined(at, left, node, bits, combine)
        waiting.append((leaves, node))
    return _labelled(waiting[0][1], 0, bits)


class _Unlabelled(NamedTuple):
    """A node whose label begins where nobody knows yet; it ends in front of bit `end` of `key`."""

    key: int
    end: int
    extra: Cell
    content: Builder


def _joined(
    at: int, left: _Unlabelled, right: _Unlabelled, bits: int, combine: Callable[[Cell, Cell], Cell]
) -> _Unlabelled:
    extra = combine(left.extra, right.extra)
    content = Builder().ref(_labelled(left, at + 1, bits)).ref(_labelled(right, at + 1, bits)).slice(extra)
    return _Unlabelled(left.key, at, extra, content)


def _labelled(node: _Unlabelled, start: int, bits: int) -> Cell:
    length = node.end - start
    label = Label(length, node.key >> (bits - node.end) & ((1 << length) - 1))
    size, written = dump_label(label, bits - start)
    return Builder().uint(written, size).slice(node.content.end()).end()
