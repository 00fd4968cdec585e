"""Checkpoints: the cells that they are, and how many verifiers have signed."""

from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given

from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.signature import ed25519_public_key, ed25519_signing_key, sign_ed25519
from attestd.transparency.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_map_root,
    signing_hash,
    verify_signatures,
)
from attestd.tvm.address import Address
from attestd.tvm.cell import Cell, pruned_branch
from tests.refusals import malformed, not_authentic
from tests.transparency.samples import CHECKPOINT, digest
from tests.tvm.cells import EMPTY, pytoniq_core, trees

MAINNET, TESTNET = -239, -3
REGISTRY = Address(0, digest(50))
KEYS = [ed25519_signing_key(digest(60 + index)) for index in range(20)]
VERIFIERS = {index: ed25519_public_key(key) for index, key in enumerate(KEYS[:5])}
SIGNED = signing_hash(CHECKPOINT, MAINNET, REGISTRY)
SIGNATURES = {index: sign_ed25519(KEYS[index], SIGNED) for index in range(5)}


def verify(signatures: dict[int, bytes], **changed: Any) -> None:
    given: dict[str, Any] = {
        "checkpoint": CHECKPOINT,
        "verifiers": VERIFIERS,
        "threshold": 3,
        "global_id": MAINNET,
        "registry": REGISTRY,
    }
    verify_signatures(signatures=signatures, **given | changed)


def some(*indexes: int) -> dict[int, bytes]:
    return {index: SIGNATURES[index] for index in indexes}


def test_cells() -> None:
    builder = pytoniq_core.begin_cell().store_uint(0x287F43B5, 32).store_uint(7, 32).store_uint(1_234_567, 64)
    builder.store_bytes(digest(7) + digest(8) + digest(9)).store_uint(1_769_860_800, 32).store_uint(1_769_861_100, 32)
    checkpoint = builder.end_cell()
    assert CHECKPOINT.to_cell().hash == checkpoint.hash
    signed = pytoniq_core.begin_cell().store_uint(0x62A89E96, 32).store_int(MAINNET, 32).store_address(str(REGISTRY))
    assert signed.store_ref(checkpoint).end_cell().hash == SIGNED
    assert load_checkpoint(CHECKPOINT.to_cell()) == CHECKPOINT


def test_empty_map() -> None:
    empty = replace(CHECKPOINT, map_root=None)
    assert load_checkpoint(empty.to_cell()) == empty
    assert empty.to_cell().data[48:80] == bytes(32)
    assert load_map_root(bytes(32)) is None
    assert load_map_root(digest(1)) == digest(1)


CELL = CHECKPOINT.to_cell()


@pytest.mark.parametrize(
    "cell",
    [
        EMPTY,
        Cell(b"\x28\x7f\x43\xb4" + CELL.data[4:], CELL.bits),
        Cell(b"\x28\x7f\x43\xb6" + CELL.data[4:], CELL.bits),
        Cell(CELL.data[:-1], CELL.bits - 8),
        Cell(CELL.data + b"\0", CELL.bits + 1),
        Cell(CELL.data, CELL.bits, (EMPTY,)),
    ],
)
def test_no_checkpoint(cell: Cell) -> None:
    with malformed(Reason.CELL_MALFORMED):
        load_checkpoint(cell)


def test_pruned() -> None:
    with not_authentic(Reason.CELL_PRUNED):
        load_checkpoint(pruned_branch(CELL.hash, 0))


@given(trees())
def test_whatever_the_cell_is(cell: Cell) -> None:
    with suppress(Malformed, NotAuthentic):
        assert load_checkpoint(cell).to_cell() == cell


@pytest.mark.parametrize(
    "fields",
    [
        {"epoch": 2**32},
        {"tree_size": 2**64},
        {"tree_size": -1},
        {"log_root": bytes(31)},
        {"map_root": bytes(33)},
        {"policy_digest": b""},
        {"issued_at": 2**32},
        {"valid_until": -1},
    ],
)
def test_fields_that_do_not_fit(fields: dict[str, Any]) -> None:
    with malformed(Reason.CELL_MALFORMED):
        replace(CHECKPOINT, **fields).to_cell()


def test_enough_signatures() -> None:
    verify(some(0, 1, 2))
    verify(some(0, 2, 4))
    verify(SIGNATURES)
    verify(some(3), threshold=1)
    verify(SIGNATURES, threshold=5)


def test_signed_with_another_library() -> None:
    seed = digest(60)
    signature = import_module("pytoniq_core.crypto.signature").sign_message(SIGNED, seed + VERIFIERS[0])
    assert signature == SIGNATURES[0]
    verify({0: signature}, threshold=1)


OTHER_KEY = sign_ed25519(KEYS[9], SIGNED)
TOO_FEW: dict[str, tuple[dict[int, bytes], dict[str, Any]]] = {
    "none": ({}, {}),
    "two of three": (some(0, 1), {}),
    "a third of no verifier": ({**some(0, 1), 9: OTHER_KEY}, {}),
    "a third by another key": ({**some(0, 1), 2: OTHER_KEY}, {}),
    "a third under another's index": ({**some(0, 1), 2: SIGNATURES[3]}, {}),
    "a third that is cut short": ({**some(0, 1), 2: SIGNATURES[2][:-1]}, {}),
    "a third that is empty": ({**some(0, 1), 2: b""}, {}),
    "one signature three times": (dict.fromkeys(range(3), SIGNATURES[0]), {}),
    "a key that has three indexes": (
        dict.fromkeys(range(3), SIGNATURES[0]),
        {"verifiers": dict.fromkeys(range(3), VERIFIERS[0])},
    ),
    "another network": (SIGNATURES, {"global_id": TESTNET}),
    "another registry": (SIGNATURES, {"registry": Address(0, digest(51))}),
    "the registry on another workchain": (SIGNATURES, {"registry": Address(-1, REGISTRY.hash)}),
    "no verifiers": (SIGNATURES, {"verifiers": {}}),
    "a threshold of none": (SIGNATURES, {"threshold": 0}),
    "a threshold below none": ({}, {"threshold": -1}),
    "a threshold beyond the verifiers": (SIGNATURES, {"threshold": 6}),
    "zero keys": (
        {index: b"\1" + bytes(63) for index in range(3)},
        {"verifiers": {index: bytes(32) for index in range(3)}},
    ),
    "identity keys": (
        {index: b"\1" + bytes(63) for index in range(3)},
        {"verifiers": {index: b"\1" + bytes(31) for index in range(3)}},
    ),
}


@pytest.mark.parametrize("name", TOO_FEW)
def test_too_few_signatures(name: str) -> None:
    signatures, changed = TOO_FEW[name]
    with not_authentic(Reason.CHECKPOINT_SIGNATURES):
        verify(signatures, **changed)


@pytest.mark.parametrize(
    "fields",
    [
        {"epoch": 8},
        {"tree_size": 1},
        {"log_root": digest(1)},
        {"map_root": None},
        {"policy_digest": digest(1)},
        {"issued_at": 1},
        {"valid_until": 2**32 - 1},
    ],
)
def test_another_checkpoint(fields: dict[str, Any]) -> None:
    other: Checkpoint = replace(CHECKPOINT, **fields)
    with not_authentic(Reason.CHECKPOINT_SIGNATURES):
        verify(SIGNATURES, checkpoint=other, threshold=1)


def test_as_many_signatures_as_allowed() -> None:
    verifiers = {index: ed25519_public_key(key) for index, key in enumerate(KEYS)}
    signatures = {index: sign_ed25519(key, SIGNED) for index, key in enumerate(KEYS)}
    verify(dict(list(signatures.items())[:16]), verifiers=verifiers, threshold=16)
    with not_authentic(Reason.CHECKPOINT_SIGNATURES):
        verify(dict(list(signatures.items())[:17]), verifiers=verifiers)
