"""Cells to test with, and pytoniq-core's view of them."""

from importlib import import_module
from typing import Any

from hypothesis import strategies as st

from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder, Cell

# Its types do not bear a strict look.
pytoniq_core: Any = import_module("pytoniq_core")

EMPTY = Builder().end()


def cell(value: int = 0, bits: int = 8, *refs: Cell) -> Cell:
    """Return an ordinary cell."""
    builder = Builder().uint(value, bits)
    for ref in refs:
        builder.ref(ref)
    return builder.end()


def chain(length: int) -> Cell:
    """Return a cell of this depth."""
    made = EMPTY
    for _ in range(length):
        made = cell(1, 1, made)
    return made


def contents(bits: int) -> st.SearchStrategy[Builder]:
    return st.integers(0, (1 << bits) - 1).map(lambda value: Builder().uint(value, bits))


@st.composite
def trees(draw: st.DrawFn) -> Cell:
    """Draw a tree whose cells may be shared."""
    made: list[Cell] = []
    for _ in range(draw(st.integers(1, 12))):
        builder = draw(st.integers(0, 1023).flatmap(contents))
        for ref in draw(st.lists(st.sampled_from(made), max_size=4)) if made else []:
            builder.ref(ref)
        made.append(builder.end())
    return made[-1]


def theirs(root: Cell) -> Any:
    """Return the same cell as pytoniq-core reads it."""
    return pytoniq_core.Cell.one_from_boc(dump_boc(root))
