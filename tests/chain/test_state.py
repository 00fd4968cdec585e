"""What the contract stores and is told, written here by hand as contract/schema.tlb has it, and wrong in one thing."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from attestd.chain.messages import (
    cancel_body,
    execute_body,
    load_publish,
    load_published,
    pause_body,
    propose_body,
    publish_body,
)
from attestd.chain.state import (
    Approve,
    Change,
    Governance,
    Proposal,
    RegistryState,
    SetAdmin,
    SetMaxValidity,
    SetTimelock,
    SetVerifiers,
    Unpause,
    Upgrade,
    Withdraw,
    dump_change,
    dump_state,
    load_change,
    load_state,
)
from attestd.errors import Reason
from attestd.transparency.checkpoint import Checkpoint
from attestd.tvm.address import Address
from attestd.tvm.cell import EMPTY, Builder, Cell
from attestd.tvm.dictionary import build
from tests.refusals import malformed

ADMIN, OTHER = Address(0, b"\xad" * 32), Address(-1, b"\xae" * 32)
KEYS = ((0, b"\1" * 32), (255, b"\2" * 32))
SIGNATURES = ((0, b"\3" * 64), (7, b"\4" * 64))
DIGESTS = [bytes([number]) * 32 for number in range(1, 7)]
CODE = Builder().uint(0xC0DE, 16).end()
BIT = Builder().bit(value=True).end()


def indexed(values: tuple[tuple[int, bytes], ...], behind: Cell = EMPTY) -> Cell | None:
    return build({index: Builder().bytes(value).slice(behind).end() for index, value in values}, 8)


def digests(*members: bytes, behind: Cell = EMPTY) -> Cell | None:
    return build({int.from_bytes(member): behind for member in members}, 256)


def begin(kind: int) -> Builder:
    return Builder().uint(kind, 8)


CHANGES: list[tuple[Change, Cell]] = [
    (SetVerifiers(2, KEYS), begin(1).uint(2, 8).maybe_ref(indexed(KEYS)).end()),
    (SetAdmin(OTHER), begin(2).address(OTHER).end()),
    (SetTimelock(2**32 - 1), begin(3).uint(2**32 - 1, 32).end()),
    (SetMaxValidity(3600), begin(4).uint(3600, 32).end()),
    (Unpause(), begin(5).end()),
    (Upgrade(CODE), begin(6).ref(CODE).end()),
    (Approve(2, frozenset(DIGESTS[:2])), begin(7).uint(2, 8).maybe_ref(digests(*DIGESTS[:2])).end()),
    (Withdraw(1, frozenset(DIGESTS[2:])), begin(8).uint(1, 8).maybe_ref(digests(*DIGESTS[2:])).end()),
]
STATE = RegistryState(
    paused=True,
    checkpoint=Checkpoint(
        epoch=7,
        tree_size=2**40,
        log_root=b"\5" * 32,
        map_root=b"\6" * 32,
        policy_digest=b"\7" * 32,
        issued_at=1_800_000_000,
        valid_until=1_800_003_600,
    ),
    signatures=SIGNATURES,
    governance=Governance(
        admin=ADMIN,
        threshold=2,
        timelock=172_800,
        max_validity=86_400,
        next_proposal=20,
        verifiers=KEYS,
        proposals=tuple((10 + at, Proposal(100 + at, 200 + at, change)) for at, (change, _) in enumerate(CHANGES)),
        images=frozenset(DIGESTS[:1]),
        models=frozenset(DIGESTS[1:3]),
        policies=frozenset(DIGESTS[3:]),
    ),
)
ZEROS = {"epoch": 0, "size": 0, "log": bytes(32), "map": bytes(32), "policy": bytes(32), "issued": 0, "until": 0}


def proposal(at: int, change: Cell, behind: Cell = EMPTY) -> Cell:
    return Builder().uint(100 + at, 32).uint(200 + at, 32).ref(change).slice(behind).end()


def governance(**parts: Any) -> Cell:
    values: dict[int, Cell] = {
        10 + at: Builder().ref(proposal(at, change)).end() for at, (_, change) in enumerate(CHANGES)
    }
    sets = Builder().maybe_ref(digests(*DIGESTS[:1])).maybe_ref(digests(*DIGESTS[1:3])).maybe_ref(digests(*DIGESTS[3:]))
    builder = Builder().address(parts.get("admin", ADMIN)).uint(2, 8).uint(172_800, 32).uint(86_400, 32).uint(20, 32)
    builder.maybe_ref(parts.get("verifiers", indexed(KEYS))).maybe_ref(build(values | parts.get("proposals", {}), 32))
    return builder.ref(parts.get("sets", sets.end())).slice(parts.get("behind", EMPTY)).end()


def storage(**parts: Any) -> Cell:
    builder = Builder().uint(parts.get("version", 1), 8).bit(value=True)
    builder.uint(parts.get("epoch", 7), 32).uint(parts.get("size", 2**40), 64)
    builder.bytes(parts.get("log", b"\5" * 32)).bytes(parts.get("map", b"\6" * 32))
    builder.bytes(parts.get("policy", b"\7" * 32)).uint(parts.get("issued", 1_800_000_000), 32)
    builder.uint(parts.get("until", 1_800_003_600), 32).maybe_ref(parts.get("signatures", indexed(SIGNATURES)))
    return builder.ref(parts.get("governance", governance())).slice(parts.get("behind", EMPTY)).end()


def test_by_hand() -> None:
    assert dump_state(STATE) == storage()
    assert load_state(storage()) == STATE


@pytest.mark.parametrize(("change", "cell"), CHANGES, ids=[type(change).__name__ for change, _ in CHANGES])
def test_changes(change: Change, cell: Cell) -> None:
    assert dump_change(change) == cell
    assert load_change(cell) == change
    with malformed(Reason.CELL_MALFORMED):
        load_change(Builder().slice(cell).slice(BIT).end())


def test_before_the_first_publication() -> None:
    before = RegistryState(paused=True, governance=STATE.governance)
    assert (before.epoch, STATE.epoch) == (0, 7)
    assert dump_state(before) == storage(**ZEROS, signatures=None)
    assert load_state(storage(**ZEROS, signatures=None)) == before


@pytest.mark.parametrize(
    "part",
    [
        {"size": 1},
        {"log": DIGESTS[0]},
        {"map": DIGESTS[0]},
        {"policy": DIGESTS[0]},
        {"issued": 1},
        {"until": 1},
        {"signatures": indexed(SIGNATURES)},
    ],
    ids=lambda part: next(iter(part)),
)
def test_before_it_there_is_nothing(part: Mapping[str, Any]) -> None:
    with malformed(Reason.CHAIN_STATE):
        load_state(storage(**{**ZEROS, "signatures": None, **part}))


def proposed(change: Cell) -> Cell:
    return storage(governance=governance(proposals={10: Builder().ref(proposal(0, change)).end()}))


WRONG: dict[str, tuple[Callable[[], Cell], Reason]] = {
    "an older version": (lambda: storage(version=0), Reason.CHAIN_STATE),
    "a later version": (lambda: storage(version=2), Reason.CHAIN_STATE),
    "something behind the storage": (lambda: storage(behind=BIT), Reason.CELL_MALFORMED),
    "no admin": (lambda: storage(governance=governance(admin=None)), Reason.CHAIN_STATE),
    "something behind the governance": (lambda: storage(governance=governance(behind=BIT)), Reason.CELL_MALFORMED),
    "something behind the sets": (
        lambda: storage(governance=governance(sets=Builder().uint(0b0001, 4).end())),
        Reason.CELL_MALFORMED,
    ),
    "a digest with a value": (
        lambda: storage(
            governance=governance(sets=Builder().maybe_ref(digests(DIGESTS[0], behind=BIT)).uint(0, 2).end())
        ),
        Reason.CELL_MALFORMED,
    ),
    "something behind a public key": (
        lambda: storage(governance=governance(verifiers=indexed(KEYS, behind=BIT))),
        Reason.CELL_MALFORMED,
    ),
    "something beside a proposal": (
        lambda: storage(
            governance=governance(proposals={10: Builder().ref(proposal(0, CHANGES[0][1])).slice(BIT).end()})
        ),
        Reason.CELL_MALFORMED,
    ),
    "something behind a proposal": (
        lambda: storage(
            governance=governance(proposals={10: Builder().ref(proposal(0, CHANGES[0][1], behind=BIT)).end()})
        ),
        Reason.CELL_MALFORMED,
    ),
    "a change of no kind": (lambda: proposed(begin(0).end()), Reason.CHAIN_STATE),
    "a change of a later kind": (lambda: proposed(begin(9).end()), Reason.CHAIN_STATE),
    "a change to no admin": (lambda: proposed(begin(2).address(None).end()), Reason.CHAIN_STATE),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_in_one_thing(name: str) -> None:
    cell, reason = WRONG[name]
    with malformed(reason):
        load_state(cell())


@pytest.mark.parametrize("kind", [7, 8])
def test_as_many_digests_as_the_contract_takes(kind: int) -> None:
    def change(count: int) -> Cell:
        return begin(kind).uint(0, 8).maybe_ref(digests(*(number.to_bytes(32) for number in range(count)))).end()

    assert dump_change(load_change(change(48))) == change(48)
    with malformed(Reason.CELL_MALFORMED):
        load_change(change(49))


def test_signatures_with_something_behind_them_are_none() -> None:
    """They stand as the relayer wrote them; the rest of the state says what it says."""
    state = load_state(storage(signatures=indexed(SIGNATURES, behind=BIT)))
    assert (state.signatures, state.checkpoint) == ((), STATE.checkpoint)


# Messages


def body(op: int) -> Builder:
    return Builder().uint(op, 32).uint(2**63 + 5, 64)


PUBLISHED: Any = STATE.checkpoint
PUBLISH = body(0x2B69F9C9).ref(PUBLISHED.to_cell()).maybe_ref(indexed(SIGNATURES)).end()


def test_bodies() -> None:
    number = 2**63 + 5
    assert publish_body(PUBLISHED, dict(SIGNATURES), number) == PUBLISH
    assert propose_body(Unpause(), number) == body(0x4E8E94F0).ref(begin(5).end()).end()
    assert execute_body(7, number) == body(0x456DCDCB).uint(7, 32).end()
    assert cancel_body(7, number) == body(0x77CC1D46).uint(7, 32).end()
    assert pause_body(number) == body(0x6A239751).end()
    assert pause_body() == Builder().uint(0x6A239751, 32).uint(0, 64).end()


def test_what_is_published() -> None:
    assert (load_publish(PUBLISH), load_published(PUBLISH)) == (PUBLISHED, SIGNATURES)
    for other in (EMPTY, Builder().uint(0x2B69F9C9 >> 1, 31).end(), pause_body(), body(0x2B69F9CA).end()):
        assert load_publish(other) is None
    for broken in (Builder().uint(0x2B69F9C9, 32).end(), body(0x2B69F9C9).end(), body(0x2B69F9C9).ref(EMPTY).end()):
        with malformed(Reason.CELL_MALFORMED):
            load_publish(broken)
