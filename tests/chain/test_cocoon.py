"""Cocoon's root contract: what another TON library builds is read, and written back to the same hash."""

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytoniq_core.boc.address import Address as PeerAddress
from pytoniq_core.boc.builder import Builder as PeerBuilder
from pytoniq_core.boc.cell import Cell as PeerCell
from pytoniq_core.boc.hashmap.hashmap import HashMap

from attestd.chain import cocoon
from attestd.chain.cocoon import Message, Params, RootState, dump_message, dump_state, load_message, load_state
from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.tvm.address import Address
from attestd.tvm.boc import load_boc
from attestd.tvm.cell import Builder, Cell, pruned_branch
from tests.refusals import malformed, not_authentic

OWNER = "EQDnlslXI2RtI1WhLmtelkb4CVQGxr8E_xSIjl0Hg79jNhNQ"
TON = 10**9
VERSIONS = (0, 1, 2, 3, 4)


def ours(cell: PeerCell) -> Cell:
    raw: bytes = cell.to_boc()  # type: ignore[no-untyped-call]
    (found,) = load_boc(raw)
    assert found.hash == cell.hash
    return found


def peer_set(hashes: list[int]) -> PeerCell | None:
    return HashMap(256, value_serializer=lambda src, dest: dest, map_=dict.fromkeys(hashes, 0)).serialize()


def peer_endpoint(builder: PeerBuilder, text: str) -> PeerBuilder:
    written: PeerBuilder = builder.store_bit(0).store_uint(len(text), 7).store_bytes(text.encode())
    return written


def peer_proxies(proxies: dict[int, str]) -> PeerCell | None:
    return HashMap(32, value_serializer=lambda src, dest: peer_endpoint(dest, src), map_=proxies).serialize()


def peer_code(number: int) -> PeerCell:
    cell: PeerCell = PeerBuilder().store_uint(number, 16).end_cell()
    return cell


# The values of the state that registry.md (4.1) describes; of the hashes only their number is known.
PROXIES = [0x10, 0x20, 0x30, 2**256 - 1]
WORKERS = [0, 1, 2, 2**255, 0x04B3AFD931D28680AF91A15B09D672C40AD6B141F7F9089A8D67D595220F7436]
MODELS = [7, 8, 9, 10]
ENDPOINTS = "91.108.4.11:5222 91.108.4.11:8888"


def peer_data(*, empty: bool = False, tail: Callable[[PeerBuilder], PeerBuilder] = lambda builder: builder) -> PeerCell:
    builder = (
        PeerBuilder()
        .store_dict(None if empty else peer_set(PROXIES))
        .store_dict(None if empty else peer_proxies({2: ENDPOINTS}))
        .store_uint(0 if empty else 3, 32)
        .store_dict(None if empty else peer_set(WORKERS))
        .store_dict(None if empty else peer_set(MODELS))
    )
    return tail(builder).end_cell()


def peer_params(
    version: int, *, codes: bool = True, tail: Callable[[PeerBuilder], PeerBuilder] = lambda builder: builder
) -> PeerCell:
    builder = PeerBuilder().store_uint(version, 8).store_uint(17, 32).store_uint(239, 32).store_bit(0)
    builder.store_coins(20).store_coins(19)
    if version >= 3:
        builder.store_uint(10000, 32)
    if version >= 2:
        builder.store_uint(1000, 32)
    if version >= 3:
        builder.store_uint(80000, 32)
    if version >= 2:
        builder.store_uint(80000, 32)
    builder.store_uint(86400, 32).store_uint(43200, 32)
    if version >= 1:
        builder.store_coins(15 * TON).store_coins(15 * TON)
    for number in (1, 2, 3):
        builder.store_maybe_ref(peer_code(number) if codes else None)
    return tail(builder).end_cell()


def peer_root(
    version: int,
    *,
    data: PeerCell | None = None,
    params: PeerCell | None = None,
    manager: PeerCell | None = None,
    tail: Callable[[PeerBuilder], PeerBuilder] = lambda builder: builder,
) -> PeerCell:
    builder = PeerBuilder().store_address(PeerAddress(OWNER)).store_uint(87, 32)
    builder.store_ref(data or peer_data()).store_ref(params or peer_params(version))
    if version >= 4:
        builder.store_ref(manager or PeerBuilder().store_uint(0, 521).end_cell())
    return tail(builder).end_cell()


def digest(number: int) -> bytes:
    return number.to_bytes(32)


def test_the_state_of_struct_version_4() -> None:
    root = ours(peer_root(4))
    assert (root.bits, len(root.refs)) == (299, 3)
    state = load_state(root)
    assert state.owner == Address.parse(OWNER)
    assert state.version == 87
    assert state.proxy_hashes == set(map(digest, PROXIES))
    assert state.worker_hashes == set(map(digest, WORKERS))
    assert state.model_hashes == set(map(digest, MODELS))
    assert state.proxies == {2: ENDPOINTS.encode()}
    assert state.last_proxy_seqno == 3
    assert state.params == Params(
        struct_version=4,
        params_version=17,
        unique_id=239,
        is_test=False,
        price_per_token=20,
        worker_fee_per_token=19,
        prompt_tokens_price_multiplier=10000,
        cached_tokens_price_multiplier=1000,
        completion_tokens_price_multiplier=80000,
        reasoning_tokens_price_multiplier=80000,
        proxy_delay_before_close=86400,
        client_delay_before_close=43200,
        min_proxy_stake=15 * TON,
        min_client_stake=15 * TON,
        proxy_code=ours(peer_code(1)),
        worker_code=ours(peer_code(2)),
        client_code=ours(peer_code(3)),
    )
    assert state.key_manager == Builder().uint(0, 521).end()
    assert state.unknown == ()
    assert dump_state(state) == root


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("codes", [False, True])
def test_every_struct_version_round_trips(version: int, empty: bool, codes: bool) -> None:
    params = peer_params(version, codes=codes)
    root = ours(peer_root(version, data=peer_data(empty=empty), params=params))
    state = load_state(root)
    assert dump_state(state) == root
    assert state.unknown == ()
    assert state.params.struct_version == version
    assert len(state.worker_hashes) == (0 if empty else 5)
    assert (state.params.proxy_code is None) is not codes
    # What a version does not have is what the contract takes in its place.
    assert state.params.prompt_tokens_price_multiplier == 10000
    assert state.params.cached_tokens_price_multiplier == (1000 if version >= 2 else 10000)
    assert state.params.completion_tokens_price_multiplier == (80000 if version >= 3 else 10000)
    assert state.params.min_client_stake == (15 * TON if version >= 1 else TON)


def test_a_contract_without_owner_is_read() -> None:
    state = replace(load_state(ours(peer_root(4))), owner=None)
    assert load_state(dump_state(state)) == state


TAILS: dict[str, Callable[[PeerBuilder], PeerBuilder]] = {
    "one bit": lambda builder: builder.store_bit(0),
    "bits": lambda builder: builder.store_uint(0b1011, 4),
    "a reference": lambda builder: builder.store_ref(peer_code(9)),
    "both": lambda builder: builder.store_uint(5, 9).store_ref(peer_code(8)),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("where", ["root", "data", "params"])
@pytest.mark.parametrize("tail", TAILS)
def test_what_is_unknown_is_kept_and_named(version: int, where: str, tail: str) -> None:
    added = TAILS[tail]
    root = ours(
        peer_root(
            version,
            # A data cell with all four dictionaries has no room for a reference more.
            data=peer_data(empty=True, tail=added) if where == "data" else None,
            params=peer_params(version, tail=added) if where == "params" else None,
            tail=added if where == "root" else lambda builder: builder,
        )
    )
    state = load_state(root)
    assert state.unknown == (where,)
    assert dump_state(state) == root
    assert dump_state(replace(state, version=88)) != root


def test_a_key_manager_is_kept_whatever_it_holds() -> None:
    manager = PeerBuilder().store_uint(1, 77).store_ref(peer_code(4)).end_cell()
    root = ours(peer_root(4, manager=manager))
    assert load_state(root).unknown == ()
    assert dump_state(load_state(root)) == root


@pytest.mark.parametrize("version", [5, 6, 255])
def test_a_later_struct_version_is_refused(version: int) -> None:
    with malformed(Reason.COCOON_STRUCT_VERSION):
        load_state(ours(peer_root(4, params=peer_params(version))))
    state = load_state(ours(peer_root(4)))
    with malformed(Reason.COCOON_STRUCT_VERSION):
        dump_state(replace(state, params=replace(state.params, struct_version=version)))


def with_data(data: PeerBuilder) -> PeerCell:
    return peer_root(4, data=data.end_cell())


def with_proxies(proxies: PeerCell | None) -> PeerCell:
    rest = PeerBuilder().store_dict(None).store_dict(proxies).store_uint(3, 32).store_dict(None).store_dict(None)
    return with_data(rest)


def proxies_of(value: Callable[[PeerBuilder], PeerBuilder]) -> PeerCell | None:
    return HashMap(32, value_serializer=lambda src, dest: value(dest), map_={2: 0}).serialize()


def with_workers(workers: PeerCell | None) -> PeerCell:
    return with_data(
        PeerBuilder().store_dict(None).store_dict(None).store_uint(3, 32).store_dict(workers).store_dict(None)
    )


def full_set(bits: int, value: Callable[[PeerBuilder], PeerBuilder]) -> PeerCell | None:
    return HashMap(bits, value_serializer=lambda src, dest: value(dest), map_={1: 0, 2: 0}).serialize()


CELL, STATE = Reason.CELL_MALFORMED, Reason.COCOON_STATE
WRONG: dict[str, tuple[Reason, Callable[[], PeerCell]]] = {
    "an empty root": (CELL, lambda: PeerBuilder().end_cell()),
    "an external owner": (CELL, lambda: PeerBuilder().store_uint(0b01, 2).store_uint(0, 297).end_cell()),
    "an owner with anycast": (
        CELL,
        lambda: (
            PeerBuilder()
            .store_uint(0b101, 3)
            .store_uint(0, 296)
            .store_ref(peer_data())
            .store_ref(peer_params(3))
            .end_cell()
        ),
    ),
    "no version": (
        CELL,
        lambda: (
            PeerBuilder()
            .store_address(PeerAddress(OWNER))
            .store_uint(87, 31)
            .store_ref(peer_data())
            .store_ref(peer_params(3))
            .end_cell()
        ),
    ),
    "no params": (
        CELL,
        lambda: PeerBuilder().store_address(PeerAddress(OWNER)).store_uint(87, 32).store_ref(peer_data()).end_cell(),
    ),
    "params in place of data": (CELL, lambda: peer_root(3, data=peer_params(3, codes=False))),
    "no key manager": (
        STATE,
        lambda: (
            PeerBuilder()
            .store_address(PeerAddress(OWNER))
            .store_uint(87, 32)
            .store_ref(peer_data())
            .store_ref(peer_params(4))
            .end_cell()
        ),
    ),
    "params that end too early": (CELL, lambda: peer_root(3, params=PeerBuilder().store_uint(3, 8).end_cell())),
    "params of a higher version": (
        CELL,
        lambda: peer_root(4, params=PeerBuilder().store_uint(3, 8).store_uint(0, 100).end_cell()),
    ),
    "an amount with a leading zero": (
        STATE,
        lambda: peer_root(
            0,
            params=PeerBuilder()
            .store_uint(0, 8 + 32 + 32 + 1)
            .store_uint(2, 4)
            .store_uint(20, 16)
            .store_coins(19)
            .store_uint(0, 32 + 32 + 3)
            .end_cell(),
        ),
    ),
    "a hash with a value": (CELL, lambda: with_workers(full_set(256, lambda value: value.store_bit(1)))),
    "a hash with a reference": (CELL, lambda: with_workers(full_set(256, lambda value: value.store_ref(peer_code(1))))),
    "hashes of 255 bits": (CELL, lambda: with_workers(full_set(255, lambda value: value))),
    "hashes of 257 bits": (CELL, lambda: with_workers(full_set(257, lambda value: value))),
    "a dictionary that is none": (CELL, lambda: with_workers(peer_code(1))),
    "an endpoint of kind 1": (STATE, lambda: with_proxies(proxies_of(lambda value: value.store_uint(0x80, 8)))),
    "a longer endpoint": (
        CELL,
        lambda: with_proxies(proxies_of(lambda value: peer_endpoint(value, "a:1").store_uint(0, 8))),
    ),
    "a shorter endpoint": (
        CELL,
        lambda: with_proxies(proxies_of(lambda value: value.store_uint(4, 8).store_bytes(b"a:1"))),
    ),
    "an endpoint with a reference": (
        CELL,
        lambda: with_proxies(proxies_of(lambda value: peer_endpoint(value, "a:1").store_ref(peer_code(1)))),
    ),
    "no last seqno": (CELL, lambda: with_data(PeerBuilder().store_dict(None).store_dict(None).store_uint(3, 31))),
    "no model hashes": (
        CELL,
        lambda: with_data(PeerBuilder().store_dict(None).store_dict(None).store_uint(3, 32).store_dict(None)),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_the_contract_does_not_write_is_refused(case: str) -> None:
    reason, root = WRONG[case]
    with malformed(reason):
        load_state(ours(root()))


@pytest.mark.parametrize("index", [0, 1])
def test_a_pruned_part_is_never_taken_for_an_empty_one(index: int) -> None:
    root = ours(peer_root(4))
    pruned = pruned_branch(root.refs[index].hash, root.refs[index].depth)
    refs = tuple(pruned if at == index else ref for at, ref in enumerate(root.refs))
    with not_authentic(Reason.CELL_PRUNED):
        load_state(Cell(root.data, root.bits, refs))


STATE_4 = load_state(ours(peer_root(4)))
UNSAYABLE: dict[str, tuple[Reason, Callable[[], RootState]]] = {
    "no key manager": (STATE, lambda: replace(STATE_4, key_manager=None)),
    "a key manager before its time": (
        STATE,
        lambda: replace(STATE_4, params=replace(STATE_4.params, struct_version=3)),
    ),
    "a multiplier before its time": (
        STATE,
        lambda: replace(STATE_4, key_manager=None, params=replace(STATE_4.params, struct_version=1)),
    ),
    "a stake before its time": (
        STATE,
        lambda: replace(
            STATE_4,
            key_manager=None,
            params=replace(
                STATE_4.params,
                struct_version=0,
                cached_tokens_price_multiplier=10000,
                completion_tokens_price_multiplier=10000,
                reasoning_tokens_price_multiplier=10000,
            ),
        ),
    ),
    "a short hash": (STATE, lambda: replace(STATE_4, model_hashes=frozenset([bytes(31)]))),
    "a long hash": (STATE, lambda: replace(STATE_4, proxy_hashes=frozenset([bytes(33)]))),
    "a version of 33 bits": (CELL, lambda: replace(STATE_4, version=2**32)),
    "a negative seqno": (CELL, lambda: replace(STATE_4, last_proxy_seqno=-1)),
    "an endpoint of 128 bytes": (CELL, lambda: replace(STATE_4, proxies={1: bytes(128)})),
}


@pytest.mark.parametrize("case", UNSAYABLE)
def test_what_has_no_room_is_not_written(case: str) -> None:
    reason, state = UNSAYABLE[case]
    with malformed(reason):
        dump_state(state())


# Messages: the body that another library builds of the op and the fields.
HASH = 0x04B3AFD931D28680AF91A15B09D672C40AD6B141F7F9089A8D67D595220F7436
CODE_1, CODE_2, CODE_3 = (ours(peer_code(number)) for number in (1, 2, 3))
MESSAGES: list[tuple[int, Message, Callable[[PeerBuilder], PeerBuilder]]] = [
    (0xE34B1C60, cocoon.AddWorkerType(digest(HASH)), lambda body: body.store_uint(HASH, 256)),
    (0x8D94A79A, cocoon.DelWorkerType(digest(HASH)), lambda body: body.store_uint(HASH, 256)),
    (0xC146134D, cocoon.AddModelType(digest(HASH)), lambda body: body.store_uint(HASH, 256)),
    (0x92B11C18, cocoon.DelModelType(digest(HASH)), lambda body: body.store_uint(HASH, 256)),
    (0x71860E80, cocoon.AddProxyType(digest(HASH)), lambda body: body.store_uint(HASH, 256)),
    (0x3C41D0B2, cocoon.DelProxyType(digest(HASH)), lambda body: body.store_uint(HASH, 256)),
    (0x927C7CB5, cocoon.RegisterProxy(b"1.2.3.4:5"), lambda body: peer_endpoint(body, "1.2.3.4:5")),
    (0x6D49EAF2, cocoon.UnregisterProxy(2), lambda body: body.store_uint(2, 32)),
    (0x9C7924BA, cocoon.UpdateProxy(2, b"a:1 b:2"), lambda body: peer_endpoint(body.store_uint(2, 32), "a:1 b:2")),
    (0xC52ED8D4, cocoon.ChangeFees(20, 0), lambda body: body.store_coins(20).store_coins(0)),
    (
        0x022FA189,
        cocoon.ChangeParams(20, 19, 86400, 43200, 15 * TON, 16 * TON),
        lambda body: (
            body.store_coins(20)
            .store_coins(19)
            .store_uint(86400, 32)
            .store_uint(43200, 32)
            .store_coins(15 * TON)
            .store_coins(16 * TON)
        ),
    ),
    (
        0xA2370F61,
        cocoon.UpgradeContracts(CODE_1, CODE_2, CODE_3),
        lambda body: body.store_ref(peer_code(1)).store_ref(peer_code(2)).store_ref(peer_code(3)),
    ),
    (0x11AEFD51, cocoon.Upgrade(CODE_1), lambda body: body.store_ref(peer_code(1))),
    (0x563C1D96, cocoon.Reset(), lambda body: body),
    (
        0x4F7C5789,
        cocoon.UpgradeFull(CODE_1, CODE_2),
        lambda body: body.store_ref(peer_code(1)).store_ref(peer_code(2)),
    ),
    (
        0xC4A1AE54,
        cocoon.ChangeOwner(Address.parse(OWNER)),
        lambda body: body.store_address(PeerAddress(OWNER)),
    ),
    (0x9A1247C0, cocoon.DoNotProcess(), lambda body: body),
]
IDS = [type(message).__name__ for _, message, _ in MESSAGES]


def body_of(op: int, fields: Callable[[PeerBuilder], PeerBuilder], query_id: int = 5) -> PeerBuilder:
    return fields(PeerBuilder().store_uint(op, 32).store_uint(query_id, 64))


@pytest.mark.parametrize(("op", "message", "fields"), MESSAGES, ids=IDS)
def test_bodies_are_those_of_another_library(op: int, message: Message, fields: Any) -> None:
    body = ours(body_of(op, fields).end_cell())
    assert dump_message(message, 5) == body
    assert load_message(body) == (message, 5)


@pytest.mark.parametrize(("op", "message", "fields"), MESSAGES, ids=IDS)
def test_a_body_ends_with_its_fields(op: int, message: Message, fields: Any) -> None:
    for body in (body_of(op, fields).store_bit(0), PeerBuilder().store_uint(op, 32).store_uint(5, 63)):
        with malformed(Reason.CELL_MALFORMED):
            load_message(ours(body.end_cell()))


@pytest.mark.parametrize("op", [0, 0x2565934C, 0xB01C0FE9, 0x6E5A646A, 0xE34B1C61])
def test_an_op_of_somebody_else_is_refused(op: int) -> None:
    with malformed(Reason.COCOON_MESSAGE):
        load_message(ours(PeerBuilder().store_uint(op, 32).store_uint(0, 64).store_uint(HASH, 256).end_cell()))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (cocoon.AddModelType(bytes(31)), STATE),
        (cocoon.AddModelType(bytes(33)), STATE),
        (cocoon.UnregisterProxy(2**32), CELL),
        (cocoon.ChangeFees(-1, 0), CELL),
        (cocoon.ChangeFees(2**120, 0), CELL),
        (cocoon.RegisterProxy(bytes(115)), CELL),
    ],
)
def test_a_message_that_has_no_room_is_not_written(message: Message, reason: Reason) -> None:
    with malformed(reason):
        dump_message(message)


def test_query_ids_are_unsigned() -> None:
    assert load_message(dump_message(cocoon.Reset(), 2**64 - 1)) == (cocoon.Reset(), 2**64 - 1)
    with malformed(Reason.CELL_MALFORMED):
        dump_message(cocoon.Reset(), 2**64)


# Whatever is not refused is understood to the last bit: it is written back to the same hash.


def leaf(bits: str) -> Cell:
    return reduce(lambda builder, bit: builder.uint(int(bit), 1), bits, Builder()).end()


def cells() -> st.SearchStrategy[Cell]:
    bits = st.text("01", max_size=400)
    return st.recursive(
        bits.map(leaf),
        lambda below: st.builds(
            lambda cell, refs: Cell(cell.data, cell.bits, tuple(refs)), bits.map(leaf), st.lists(below, max_size=4)
        ),
        max_leaves=8,
    )


def altered(cell: Cell, path: list[int], bit: int) -> Cell:
    """Turn one bit of a cell that is found along a path."""
    if path and cell.refs:
        index = path[0] % len(cell.refs)
        refs = [altered(ref, path[1:], bit) if at == index else ref for at, ref in enumerate(cell.refs)]
        return Cell(cell.data, cell.bits, tuple(refs))
    if not cell.bits:
        return cell
    position = bit % cell.bits
    data = bytearray(cell.data)
    data[position // 8] ^= 0x80 >> position % 8
    return Cell(bytes(data), cell.bits, cell.refs)


def understood(read: Callable[[Cell], object], write: Callable[[Any], Cell], cell: Cell) -> None:
    try:
        found = read(cell)
    except (Malformed, NotAuthentic):
        return
    assert write(found) == cell


@given(cells())
def test_hostile_cells_are_malformed(cell: Cell) -> None:
    understood(load_state, dump_state, cell)
    understood(load_message, lambda found: dump_message(*found), cell)


@settings(max_examples=300)
@given(st.sampled_from(VERSIONS), st.lists(st.integers(0, 3), max_size=9), st.integers(0, 1022))
def test_altered_states_are_refused_or_understood(version: int, path: list[int], bit: int) -> None:
    understood(load_state, dump_state, altered(ours(peer_root(version)), path, bit))


@given(st.sampled_from(MESSAGES), st.lists(st.integers(0, 3), max_size=2), st.integers(0, 1022))
def test_altered_messages_are_refused_or_understood(case: Any, path: list[int], bit: int) -> None:
    op, _, fields = case
    body = altered(ours(body_of(op, fields).end_cell()), path, bit)
    understood(load_message, lambda found: dump_message(*found), body)
