"""Dictionaries beside pytoniq-core's, the one writing of labels, and what a hostile tree can try."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.tvm import dictionary
from attestd.tvm.boc import load_boc
from attestd.tvm.cell import Builder, Cell, Slice, pruned_branch
from attestd.tvm.dictionary import Label, dump_label, load_label
from tests.refusals import malformed, not_authentic
from tests.tvm.cells import EMPTY, cell, pytoniq_core, trees

WIDTHS = (1, 2, 3, 7, 8, 15, 16, 32, 256)


@st.composite
def dictionaries(draw: st.DrawFn) -> tuple[int, dict[int, int]]:
    """Draw a key width and values by key; some keys share long prefixes."""
    bits = draw(st.sampled_from(WIDTHS))
    top = (1 << bits) - 1
    near = st.integers(0, min(top, 15))
    keys = st.one_of(st.integers(0, top), near, near.map(lambda key: top - key))
    return bits, draw(st.dictionaries(keys, st.integers(0, 0xFFFF), min_size=1, max_size=24))


def built(bits: int, values: Mapping[int, int]) -> Cell:
    root = dictionary.build({key: cell(value, 16) for key, value in values.items()}, bits)
    assert root is not None
    return root


def theirs(bits: int, values: Mapping[int, int]) -> Any:
    made = pytoniq_core.HashMap(bits, value_serializer=lambda value, builder: builder.store_uint(value, 16))
    for key, value in values.items():
        made.set_int_key(key, value)
    return made.serialize()


@given(dictionaries())
def test_same_root(drawn: tuple[int, dict[int, int]]) -> None:
    bits, values = drawn
    other = theirs(bits, values)
    assert built(bits, values).hash == other.hash
    [root] = load_boc(other.to_boc())
    parsed = dictionary.parse(root, bits)
    assert list(parsed) == sorted(values)
    assert {key: value.load_uint(16) for key, value in parsed.items()} == values


@given(dictionaries(), st.integers(0, (1 << 256) - 1))
def test_lookup(drawn: tuple[int, dict[int, int]], another: int) -> None:
    bits, values = drawn
    root = built(bits, values)
    for key in [*values, another % (1 << bits), 0, (1 << bits) - 1]:
        found = dictionary.lookup(root, key, bits)
        assert (None if found is None else found.load_uint(16)) == values.get(key)


def test_empty() -> None:
    assert dictionary.build({}, 8) is None
    assert dictionary.parse(None, 8) == {}
    assert dictionary.walk(None, 5, 8) == ([], None)


def test_sets() -> None:
    members = frozenset(bytes([number]) * 4 for number in (0, 7, 255))
    root = dictionary.build_set(members, 4)
    assert root == dictionary.build({int.from_bytes(member): EMPTY for member in members}, 32)
    assert dictionary.parse_set(root, 4) == members
    assert dictionary.parse_set(None, 4) == frozenset()
    for other in (bytes(3), bytes(5)):
        with malformed(Reason.CELL_MALFORMED):
            dictionary.build_set([bytes(4), other], 4)
    with malformed(Reason.CELL_MALFORMED):
        dictionary.parse_set(root, 4, most=2)
    with malformed(Reason.CELL_MALFORMED):
        dictionary.parse_set(dictionary.build({5: cell(1, 1)}, 32), 4)


def test_values_may_have_references_and_come_as_slices() -> None:
    value = cell(3, 9, EMPTY, cell(1))
    root = dictionary.build({5: value, 6: value.slice()}, 8)
    found = dictionary.lookup(root, 6, 8)
    assert found is not None
    assert found.to_cell() == value


@pytest.mark.parametrize("key", [-1, 256])
def test_key_out_of_range(key: int) -> None:
    with malformed(Reason.CELL_MALFORMED):
        dictionary.build({key: EMPTY, 1: EMPTY}, 8)
    with malformed(Reason.CELL_MALFORMED):
        dictionary.lookup(None, key, 8)


def test_value_that_does_not_fit() -> None:
    with malformed(Reason.CELL_MALFORMED):
        dictionary.build({5: cell(0, 1015)}, 8)


# Labels


def writings(label: Label, room: int) -> dict[str, str]:
    """Write a label in every way that the scheme has, as bits."""
    size = room.bit_length()
    digits = f"{label.bits:0{label.length}b}" if label.length else ""
    number = f"{label.length:0{size}b}" if size else ""
    written = {"short": "0" + "1" * label.length + "0" + digits, "long": "10" + number + digits}
    if len(set(digits)) < 2:
        written["same"] = "11" + (digits[:1] or "0") + number
    return written


def every_label(room: int) -> list[Label]:
    return [Label(length, bits) for length in range(room + 1) for bits in range(1 << length)]


@pytest.mark.parametrize("room", range(8))
def test_the_shortest_label_is_the_only_one(room: int) -> None:
    for label in every_label(room):
        forms = writings(label, room)
        shortest = min(forms.values(), key=lambda form: (len(form), form))
        size, bits = dump_label(label, room)
        assert f"{bits:0{size}b}" == shortest
        for form in forms.values():
            node = int(form + "1011", 2), len(form) + 4, room
            if form == shortest:
                assert load_label(*node) == (label, size)
            else:
                with malformed(Reason.CELL_MALFORMED):
                    load_label(*node)


@given(st.integers(0, 1023), st.data())
def test_labels(room: int, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, min(room, 500)))
    bits = data.draw(st.one_of(st.integers(0, (1 << length) - 1), st.sampled_from([0, (1 << length) - 1])))
    size, written = dump_label(Label(length, bits), room)
    assert load_label(written, size, room) == ((length, bits), size)
    assert load_label(written << 3 | 5, size + 3, room) == ((length, bits), size)


@given(st.integers(0, 80), st.integers(0, 90), st.data())
def test_no_other_label_is_read(size: int, room: int, data: st.DataObject) -> None:
    node = data.draw(st.integers(0, (1 << size) - 1))
    with suppress(Malformed):
        label, taken = load_label(node, size, room)
        assert label.length <= room
        assert dump_label(label, room) == (taken, node >> (size - taken))


@pytest.mark.parametrize(
    "node", ["", "0", "1", "01", "0111", "01100", "10", "10000", "101000101", "11", "1101", "1100001", "1111111"]
)
def test_no_label(node: str) -> None:
    with malformed(Reason.CELL_MALFORMED):
        load_label(int(node or "0", 2), len(node), 8)


# Nodes


LEAF = cell(0b0110_1 << 8 | 0xAB, 13)
NO_NODES: dict[str, Cell] = {
    "no label": EMPTY,
    "fork without references": cell(0, 2),
    "fork with one reference": cell(0, 2, LEAF),
    "fork with three references": cell(0, 2, LEAF, LEAF, LEAF),
    "fork with data": cell(0, 3, LEAF, LEAF),
    "library": Cell(b"\2" + bytes(32), 264, special=True),
}


@pytest.mark.parametrize("name", NO_NODES)
def test_no_node(name: str) -> None:
    for root in (NO_NODES[name], cell(0, 2, NO_NODES[name], NO_NODES[name])):
        with malformed(Reason.CELL_MALFORMED):
            dictionary.parse(root, 8)
        with malformed(Reason.CELL_MALFORMED):
            dictionary.lookup(root, 0, 8)


def test_pruned_is_not_absent() -> None:
    values = {key: key for key in range(0, 256, 7)}
    root = built(8, values)
    left, right = root.refs
    shown = Cell(root.data, root.bits, (left, pruned_branch(right.hash, right.depth)))
    for key in range(256):
        if key < 128:
            found = dictionary.lookup(shown, key, 8)
            assert (None if found is None else found.load_uint(16)) == values.get(key)
        else:
            with not_authentic(Reason.CELL_PRUNED):
                dictionary.lookup(shown, key, 8)
    with not_authentic(Reason.CELL_PRUNED):
        dictionary.parse(shown, 8)
    with not_authentic(Reason.CELL_PRUNED):
        dictionary.lookup(pruned_branch(root.hash, root.depth), 0, 8)


def test_few_cells_may_hold_many_keys() -> None:
    node = cell(0, 2)
    for _ in range(256):
        node = cell(0, 2, node, node)
    with malformed(Reason.CELL_MALFORMED):
        dictionary.parse(node, 256, most=1000)
    assert dictionary.lookup(node, 12345, 256) is not None


def test_as_many_values_as_allowed() -> None:
    root = built(8, dict.fromkeys(range(10), 1))
    assert len(dictionary.parse(root, 8, most=10)) == 10
    with malformed(Reason.CELL_MALFORMED):
        dictionary.parse(root, 8, most=9)


@given(trees(), st.sampled_from(WIDTHS), st.integers(0, (1 << 256) - 1))
def test_whatever_the_cells_are(root: Cell, bits: int, key: int) -> None:
    with suppress(Malformed, NotAuthentic):
        dictionary.parse(root, bits, most=100)
    with suppress(Malformed, NotAuthentic):
        dictionary.lookup(root, key % (1 << bits), bits)


def long_labels(node: Cell, room: int) -> Cell:
    """Write a dictionary again, every label as hml_long."""
    content = node.slice()
    label, taken = load_label(content.peek(), content.bits_left, room)
    content.skip(taken)
    written = Builder().uint(0b10, 2).uint(label.length, room.bit_length()).uint(label.bits, label.length)
    if label.length == room:
        return written.slice(content).end()
    left, right = (long_labels(content.load_ref(), room - label.length - 1) for _ in range(2))
    return written.ref(left).ref(right).end()


@given(dictionaries())
def test_what_others_wrote_is_read_where_that_is_wanted(drawn: tuple[int, dict[int, int]]) -> None:
    bits, values = drawn
    root = long_labels(built(bits, {0: 5, **values}), bits)
    parsed = dictionary.parse(root, bits, shortest=False)
    assert {key: value.load_uint(16) for key, value in parsed.items()} == {0: 5, **values}


def test_a_longer_writing_is_refused_elsewhere() -> None:
    root = built(8, {0: 5, 1: 6})
    with malformed(Reason.CELL_MALFORMED):
        dictionary.parse(long_labels(root, 8), 8)
    # More bits than the key has left are no label in any writing.
    with malformed(Reason.CELL_MALFORMED):
        dictionary.parse(Builder().uint(0b10, 2).uint(9, 4).uint(0, 9).end(), 8, shortest=False)


# With extra values


def load_sum(node: Slice) -> int:
    return node.load_coins()


def add(left: Cell, right: Cell) -> Cell:
    return Builder().coins(load_sum(left.slice()) + load_sum(right.slice())).end()


@given(dictionaries())
def test_augmented(drawn: tuple[int, dict[int, int]]) -> None:
    bits, values = drawn
    pairs = {key: (Builder().coins(value).end(), cell(value ^ 0xFFFF, 16)) for key, value in values.items()}
    root = dictionary.build_augmented(pairs, bits, add)
    assert root is not None
    parsed = dictionary.parse(root, bits, load_sum)
    assert {key: value.load_uint(16) ^ 0xFFFF for key, value in parsed.items()} == values
    for key in (*values, 0):
        found = dictionary.lookup(root, key, bits, load_sum)
        assert (None if found is None else found.load_uint(16) ^ 0xFFFF) == values.get(key)
    top = root.slice()
    label, taken = load_label(top.peek(), top.bits_left, bits)
    top.skip(taken)
    assert load_sum(top) == sum(values.values())
    assert label.length <= bits
