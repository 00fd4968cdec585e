"""Entries: the one cell that each has."""

from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given

from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.transparency.entry import NO_MODELS, Entry, load_entry, models_digest
from attestd.tvm.cell import Builder, Cell, pruned_branch
from tests.refusals import malformed, not_authentic
from tests.transparency.samples import ENTRIES, digest, entry
from tests.tvm.cells import EMPTY, pytoniq_core, trees


@given(ENTRIES)
def test_round_trip(each: Entry) -> None:
    cell = each.to_cell()
    assert load_entry(cell) == each
    builder = pytoniq_core.begin_cell().store_uint(1, 8).store_uint({"tdx": 1, "sgx": 2, "snp": 3}[each.tee], 8)
    builder.store_bytes(each.image + each.models + each.result)
    assert builder.store_uint(each.not_before, 32).store_uint(each.not_after, 32).end_cell().hash == cell.hash
    assert cell.bits == 848


CELL = entry().to_cell()


def altered(at: int, value: int) -> Cell:
    return Cell(CELL.data[:at] + bytes((value,)) + CELL.data[at + 1 :], CELL.bits)


@pytest.mark.parametrize(
    "cell",
    [
        EMPTY,
        altered(0, 0),
        altered(0, 2),
        altered(1, 0),
        altered(1, 4),
        Cell(CELL.data[:-1], CELL.bits - 8),
        Cell(CELL.data + b"\0", CELL.bits + 1),
        Cell(CELL.data, CELL.bits, (EMPTY,)),
    ],
)
def test_no_entry(cell: Cell) -> None:
    with malformed(Reason.CELL_MALFORMED):
        load_entry(cell)


def test_pruned() -> None:
    with not_authentic(Reason.CELL_PRUNED):
        load_entry(pruned_branch(CELL.hash, 0))


@pytest.mark.parametrize(
    "fields",
    [
        {"image": bytes(31)},
        {"models": bytes(33)},
        {"result": b""},
        {"not_before": -1},
        {"not_before": 2**32},
        {"not_after": 2**32},
    ],
)
def test_fields_that_do_not_fit(fields: dict[str, Any]) -> None:
    with malformed(Reason.CELL_MALFORMED):
        replace(entry(), **fields).to_cell()


def test_models() -> None:
    one, two = sorted((digest(1), digest(2)))
    assert models_digest([]) == NO_MODELS == bytes(32)
    assert models_digest([one]) == models_digest([one, one]) == one
    expected = sha256(b"attestd/models/v1\0" + one + two).digest()
    assert models_digest([one, two]) == models_digest((two, one, two)) == expected


@given(trees())
def test_whatever_the_cell_is(cell: Cell) -> None:
    with suppress(Malformed, NotAuthentic):
        assert load_entry(cell).to_cell() == cell
    with suppress(Malformed, NotAuthentic):
        load_entry(Builder().uint(0x0101, 16).slice(cell).end())
