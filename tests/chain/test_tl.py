"""TL against another implementation's schemas, and every answer that is not quite one."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import pytest

from attestd.chain import tl
from attestd.chain.tl import AccountAnswer, BlockId, ServerError
from attestd.errors import Reason
from attestd.tvm.address import Address
from tests.refusals import malformed

# The oracle; its types say little.
SCHEMAS: Final[Any] = import_module("pytoniq_core.tl.generator").TlGenerator.with_default_schemas().generate()

HERE = Address(-1, bytes(range(32)))
BLOCK = BlockId(-1, 1 << 63, 2**31 - 1, b"\x11" * 32, b"\x22" * 32)
SHARD = BlockId(0, 0xA << 60, 7, b"\x33" * 32, b"\x44" * 32)
QUERY_ID = bytes(range(100, 132))


def theirs(name: str, **values: object) -> bytes:
    written: bytes = SCHEMAS.serialize(SCHEMAS.get_by_name(name), values)
    return written


def block_of(block: BlockId) -> dict[str, object]:
    return {
        "workchain": block.workchain,
        "shard": block.shard - ((block.shard >> 63) << 64),
        "seqno": block.seqno,
        "root_hash": block.root_hash.hex(),
        "file_hash": block.file_hash.hex(),
    }


def asked(name: str, wait: bytes = b"", **values: object) -> bytes:
    return theirs("liteServer.query", data=wait + theirs(f"liteServer.{name}", **values))


def test_questions() -> None:
    account = {"workchain": -1, "id": HERE.hash.hex()}
    wait = theirs("liteServer.waitMasterchainSeqno", seqno=BLOCK.seqno, timeout_ms=2500)
    assert tl.masterchain_info() == asked("getMasterchainInfo")
    assert tl.account_state(BLOCK, HERE, wait_ms=2500) == asked(
        "getAccountState", wait, id=block_of(BLOCK), account=account
    )
    assert tl.transactions(HERE, 2**63 - 1, QUERY_ID, 7) == asked(
        "getTransactions", count=7, account=account, lt=2**63 - 1, hash=QUERY_ID.hex()
    )
    assert tl.send_message(b"message") == asked("sendMessage", body=b"message")
    assert tl.adnl_query(QUERY_ID, b"question") == theirs(
        "adnl.message.query", query_id=QUERY_ID.hex(), query=b"question"
    )


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 252, 253, 254, 255, 256, 65535, 65536, 100_001])
def test_bytes_of_every_length(size: int) -> None:
    value = b"\xfe" * size
    assert tl.send_message(value) == asked("sendMessage", body=value)
    reader = tl.Reader(tl.text(value) + b"end!")
    assert (reader.text(), reader.take(4)) == (value, b"end!")
    reader.finish()


def test_the_long_form_is_read_for_few_bytes_too() -> None:
    reader = tl.Reader(b"\xfe\x01\x00\x00A\x00\x00\x00")
    assert reader.text() == b"A"
    reader.finish()


ACCOUNT = AccountAnswer(BLOCK, SHARD, b"shards", b"proof" * 60, b"")
ANSWERS: dict[str, tuple[Callable[[bytes], object], bytes, object]] = {
    "masterchainInfo": (
        tl.load_masterchain_info,
        theirs(
            "liteServer.masterchainInfo",
            last=block_of(BLOCK),
            state_root_hash="55" * 32,
            init={"workchain": -1, "root_hash": "66" * 32, "file_hash": "77" * 32},
        ),
        BLOCK,
    ),
    "accountState": (
        tl.load_account_state,
        theirs(
            "liteServer.accountState",
            id=block_of(BLOCK),
            shardblk=block_of(SHARD),
            shard_proof=ACCOUNT.shard_proof,
            proof=ACCOUNT.proof,
            state=ACCOUNT.state,
        ),
        ACCOUNT,
    ),
    "transactionList": (
        tl.load_transactions,
        tl.uint32(0x6F26C60B) + tl.uint32(16) + 16 * tl.block_id(SHARD) + tl.text(b"transactions"),
        b"transactions",
    ),
    "sendMsgStatus": (tl.load_status, theirs("liteServer.sendMsgStatus", status=1), 1),
    "answer": (
        tl.load_adnl_answer,
        theirs("adnl.message.answer", query_id=QUERY_ID.hex(), answer=b"an answer"),
        (QUERY_ID, b"an answer"),
    ),
}
EACH: Final = pytest.mark.parametrize("name", ANSWERS)


@EACH
def test_answers(name: str) -> None:
    load, raw, expected = ANSWERS[name]
    assert load(raw) == expected


@EACH
def test_nothing_is_missing_and_nothing_follows(name: str) -> None:
    load, raw, _ = ANSWERS[name]
    for size in range(len(raw)):
        with malformed(Reason.CHAIN_PROOF):
            load(raw[:size])
    for more in (b"\0", bytes(4)):
        with malformed(Reason.CHAIN_PROOF):
            load(raw + more)


@EACH
@pytest.mark.parametrize("change", [-1, 1, 1 << 24])
def test_an_answer_of_another_type(name: str, change: int) -> None:
    load, raw, _ = ANSWERS[name]
    constructor = int.from_bytes(raw[:4], "little") + change
    with malformed(Reason.CHAIN_PROOF):
        load(tl.uint32(constructor % (1 << 32)) + raw[4:])


@EACH
def test_an_error_in_place_of_an_answer(name: str) -> None:
    with pytest.raises(ServerError) as caught:
        ANSWERS[name][0](theirs("liteServer.error", code=-400, message="anything"))
    assert caught.value.code == -400


def test_more_transactions_than_a_server_gives() -> None:
    with malformed(Reason.CHAIN_PROOF):
        tl.load_transactions(tl.uint32(0x6F26C60B) + tl.uint32(17) + 17 * tl.block_id(SHARD) + tl.text(b""))
