"""What became of a message: both phases, and every form that a transaction can have."""

from importlib import import_module
from typing import Any

import pytest

from attestd.chain.transactions import Transaction, load_message, load_transaction
from attestd.errors import Malformed, Reason
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder, Cell
from tests.chain.histories import (
    BOUNCE_NEGATIVE,
    BOUNCE_NO_FUNDS,
    BOUNCE_OK,
    SKIPPED,
    SUSPENDED,
    WALLET,
    Item,
    action_phase,
    compute_phase,
    description,
    external_in,
    external_out,
    history,
    internal,
    transaction,
)
from tests.chain.worlds import NOW
from tests.refusals import malformed

# The oracle; its types say little.
theirs_core: Any = import_module("pytoniq_core")

HERE = Address(0, bytes.fromhex("a5" * 32))
BODY = Builder().uint(0x2B69F9C9, 32).uint(7, 64).end()


def read(item: Item) -> Transaction:
    """Read it; another library takes it, too, and finds the same."""
    found = load_transaction(item.cell)
    theirs = theirs_core.Transaction.deserialize(theirs_core.Cell.one_from_boc(dump_boc(item.cell)).begin_parse())
    assert (theirs.account_addr, theirs.lt, theirs.now) == (found.account, found.lt, found.utime)
    assert (theirs.prev_trans_lt, theirs.prev_trans_hash) == (found.previous_lt, found.previous_hash)
    assert theirs.total_fees.grams == found.fees
    assert [message.body.hash for message in theirs.out_msgs] == [message.body.hash for message in found.sent]
    assert theirs.description.aborted is found.aborted
    if found.compute is not None:
        phase = theirs.description.compute_ph
        assert (phase.success, phase.exit_code, phase.gas_used) == (
            found.compute.success,
            found.compute.exit_code,
            found.compute.gas_used,
        )
    if found.action is not None:
        action = theirs.description.action
        assert (action.success, action.result_code) == (found.action.success, found.action.result_code)
        assert (action.msgs_created, action.skipped_actions) == (found.action.messages, found.action.skipped)
    return found


def done(compute: Cell, action: Cell | None, *, aborted: bool = False, bounce: Cell | None = None) -> Transaction:
    described = description(compute, action, aborted=aborted, bounce=bounce)
    return read(transaction(HERE, 1000, message=internal(WALLET, HERE, BODY), described=described))


def test_a_transaction_that_did_what_was_asked() -> None:
    first = transaction(HERE, 990)
    sent = internal(HERE, WALLET, BODY), external_out(HERE, BODY)
    incoming = internal(WALLET, HERE, BODY)
    found = read(transaction(HERE, 1000, previous=first, message=incoming, sent=sent))
    assert found.succeeded
    assert (found.account, found.lt, found.utime) == (HERE.hash, 1000, NOW)
    assert (found.previous_lt, found.previous_hash) == (990, first.cell.hash)
    assert found.message is not None
    assert (found.message.source, found.message.destination, found.message.value) == (WALLET, HERE, 10**9)
    assert (found.message.hash, found.message.body) == (incoming.hash, BODY)
    assert [message.hash for message in found.sent] == [cell.hash for cell in sent]
    assert (found.sent[0].fee, found.sent[1].destination, found.sent[1].body) == (266_669, None, BODY)
    assert found.fees == 5_000_000


def test_a_failed_action_phase_is_no_success_though_the_code_ended_well() -> None:
    found = done(compute_phase(), action_phase(success=False, result_code=50), aborted=True)
    assert found.compute is not None
    assert (found.compute.exit_code, found.compute.success) == (0, True)
    assert found.action is not None
    assert found.action.result_code == 50
    assert not found.succeeded


@pytest.mark.parametrize(
    ("compute", "action", "aborted"),
    [
        (compute_phase(success=False, exit_code=413), None, True),
        (compute_phase(success=False, exit_code=-14), None, True),
        (compute_phase(exit_code=5), action_phase(), False),
        (compute_phase(success=False), action_phase(), False),
        (compute_phase(), None, False),
        (compute_phase(), action_phase(success=False), False),
        (compute_phase(), action_phase(result_code=37), False),
        (compute_phase(), action_phase(), True),
        (SKIPPED, None, True),
        (SUSPENDED, None, True),
    ],
)
def test_no_success(compute: Cell, action: Cell | None, aborted: bool) -> None:
    assert not done(compute, action, aborted=aborted).succeeded


def test_exit_code_1_ends_well() -> None:
    assert done(compute_phase(exit_code=1), action_phase(skipped=1)).succeeded


@pytest.mark.parametrize("bounce", [BOUNCE_OK, BOUNCE_NO_FUNDS, BOUNCE_NEGATIVE])
def test_what_bounces(bounce: Cell) -> None:
    assert done(compute_phase(success=False, exit_code=405), None, aborted=True, bounce=bounce).aborted


def test_b11_a_bounced_message_is_known_as_one() -> None:
    assert load_message(internal(WALLET, HERE, BODY, bounced=True)).bounced
    assert not load_message(internal(WALLET, HERE, BODY)).bounced


def test_an_external_message_is_known_by_its_normalized_hash() -> None:
    plain = load_message(external_in(HERE, BODY))
    relayed = [external_in(HERE, BODY, source=True), external_in(HERE, BODY, fee=7), external_in(HERE, BODY, init=True)]
    assert plain.hash == plain.normalized_hash
    assert {load_message(cell).normalized_hash for cell in relayed} == {plain.hash}
    assert plain.hash not in {cell.hash for cell in relayed}
    assert load_message(external_in(HERE, Builder().end())).normalized_hash != plain.normalized_hash


def test_a_transaction_without_a_message() -> None:
    assert read(transaction(HERE, 5)).message is None


@pytest.mark.parametrize(
    "cell",
    [
        transaction(HERE, 5, tag=0b0110).cell,
        transaction(HERE, 5, described=description(compute_phase(), None, tag=0b0001)).cell,
        transaction(HERE, 5, count=1).cell,
        transaction(HERE, 5, sent=(BODY,), count=0).cell,
        Builder().slice(transaction(HERE, 5).cell).uint(0, 1).end(),
        transaction(HERE, 5, described=Builder().slice(description(SKIPPED, None)).uint(0, 1).end()).cell,
        Builder().end(),
    ],
    ids=["tag", "tick", "too few out", "too many out", "longer", "longer description", "empty"],
)
def test_what_is_no_ordinary_transaction(cell: Cell) -> None:
    with malformed(Reason.CHAIN_PROOF, Reason.CELL_MALFORMED):
        load_transaction(cell)


def longer(cell: Cell, *way: int) -> Cell:
    """Put a bit behind the cell to which these references lead."""
    if not way:
        return Builder().slice(cell).uint(0, 1).end()
    refs = list(cell.refs)
    refs[way[0]] = longer(refs[way[0]], *way[1:])
    return Cell(cell.data, cell.bits, tuple(refs))


@pytest.mark.parametrize(
    "way",
    [(), (0,), (0, 0), (0, 1), (2,), (2, 0), (2, 1)],
    ids=["transaction", "messages", "message", "message out", "description", "compute", "action"],
)
def test_nothing_stands_behind_what_is_read(way: tuple[int, ...]) -> None:
    incoming, sent = internal(WALLET, HERE, BODY), internal(HERE, WALLET, BODY)
    cell = transaction(HERE, 1000, message=incoming, sent=(sent,)).cell
    assert load_transaction(cell).succeeded
    with malformed(Reason.CELL_MALFORMED):
        load_transaction(longer(cell, *way))


def test_every_cut_of_a_transaction_is_refused() -> None:
    cell = history(HERE, 2)[0].cell
    for bits in range(cell.bits):
        data = (int.from_bytes(cell.data) >> (8 * len(cell.data) - bits)) << (-bits % 8)
        with pytest.raises(Malformed):
            load_transaction(Cell(data.to_bytes((bits + 7) // 8), bits, cell.refs))
