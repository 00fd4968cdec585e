"""TL, as far as it is spoken with liteservers: four questions, their answers, and the wait in front of one.

Integers are little-endian. `bytes` are one length byte, or 0xfe and three, then the bytes, padded with zeros to four.
Constructor numbers are the CRC-32 of the schema line in lite_api.tl and ton_api.tl.
"""

from dataclasses import dataclass
from typing import Final

from attestd import codec
from attestd.errors import Malformed, Reason
from attestd.tvm.address import Address
from attestd.tvm.cell import HASH_SIZE

# What a liteserver gives at most per call.
MAX_TRANSACTIONS: Final = 16

_ADNL_QUERY: Final = 0xB48BF97A
_ADNL_ANSWER: Final = 0x0FAC8416
_QUERY: Final = 0x798C06DF
_GET_MASTERCHAIN_INFO: Final = 0x89B5E62E
_MASTERCHAIN_INFO: Final = 0x85832881
_WAIT_MASTERCHAIN_SEQNO: Final = 0xBAEAB892
_GET_ACCOUNT_STATE: Final = 0x6B890E25
_ACCOUNT_STATE: Final = 0x7079C751
_GET_TRANSACTIONS: Final = 0x1C40E7A1
_TRANSACTION_LIST: Final = 0x6F26C60B
_SEND_MESSAGE: Final = 0x690AD482
_SEND_MSG_STATUS: Final = 0x3950E597
_ERROR: Final = 0xBBA9E148

_ZERO_STATE_SIZE: Final = 68
_LONG: Final = 0xFE
_SHORT_MOST: Final = 253


class ServerError(Exception):
    """A liteserver's own refusal. Its text is anybody's; the code is kept."""

    def __init__(self, code: int) -> None:
        super().__init__(f"error {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class BlockId:
    """tonNode.blockIdExt: a block by name and by what it is. `shard` is unsigned; the masterchain's is 2^63."""

    workchain: int
    shard: int
    seqno: int
    root_hash: bytes
    file_hash: bytes

    def __str__(self) -> str:
        """Write it as explorers do."""
        return f"({self.workchain},{self.shard:016x},{self.seqno})"


@dataclass(frozen=True, slots=True)
class AccountAnswer:
    """liteServer.accountState: four BoCs, of which `state` is empty where the account is said not to exist."""

    block: BlockId
    shard_block: BlockId
    shard_proof: bytes
    proof: bytes
    state: bytes


def masterchain_info() -> bytes:
    """Ask for the last block of the masterchain."""
    return _query(uint32(_GET_MASTERCHAIN_INFO))


def account_state(block: BlockId, account: Address, *, wait_ms: int) -> bytes:
    """Ask for an account as of a block of the masterchain, for which the server may have to wait."""
    wait = uint32(_WAIT_MASTERCHAIN_SEQNO) + uint32(block.seqno) + int32(wait_ms)
    return _query(wait + uint32(_GET_ACCOUNT_STATE) + block_id(block) + _account_id(account))


def transactions(account: Address, lt: int, transaction_hash: bytes, count: int) -> bytes:
    """Ask for a transaction of an account and those before it."""
    return _query(uint32(_GET_TRANSACTIONS) + uint32(count) + _account_id(account) + uint64(lt) + transaction_hash)


def send_message(message: bytes) -> bytes:
    """Ask to forward an external message (BoC)."""
    return _query(uint32(_SEND_MESSAGE) + text(message))


def adnl_query(query_id: bytes, query: bytes) -> bytes:
    """Wrap a question as the transport wants it (adnl.message.query)."""
    return uint32(_ADNL_QUERY) + query_id + text(query)


def load_adnl_answer(packet: bytes) -> tuple[bytes, bytes]:
    """Unwrap what the transport carries (adnl.message.answer): the id of the question, and the answer.

    Raises `Malformed` (`chain.proof`), `ServerError`.
    """
    reader = _opened(packet, _ADNL_ANSWER)
    found = reader.take(HASH_SIZE), reader.text()
    reader.finish()
    return found


def load_masterchain_info(answer: bytes) -> BlockId:
    """Read the last block of the masterchain. Raises `Malformed` (`chain.proof`), `ServerError`."""
    reader = _opened(answer, _MASTERCHAIN_INFO)
    block = reader.block_id()
    reader.take(HASH_SIZE + _ZERO_STATE_SIZE)  # state_root_hash and init, which nothing proves
    reader.finish()
    return block


def load_account_state(answer: bytes) -> AccountAnswer:
    """Read the answer about an account. Raises `Malformed` (`chain.proof`), `ServerError`."""
    reader = _opened(answer, _ACCOUNT_STATE)
    found = AccountAnswer(reader.block_id(), reader.block_id(), reader.text(), reader.text(), reader.text())
    reader.finish()
    return found


def load_transactions(answer: bytes) -> bytes:
    """Read a list of transactions (BoC of as many roots). Raises `Malformed` (`chain.proof`), `ServerError`."""
    reader = _opened(answer, _TRANSACTION_LIST)
    count = reader.u32()
    if count > MAX_TRANSACTIONS:
        raise _refused(f"{count} transactions", f"at most {MAX_TRANSACTIONS}")
    for _ in range(count):
        reader.block_id()  # which block each is in; nothing proves it
    boc = reader.text()
    reader.finish()
    return boc


def load_status(answer: bytes) -> int:
    """Read whether a message was taken; 1 where it was. Raises `Malformed` (`chain.proof`), `ServerError`."""
    reader = _opened(answer, _SEND_MSG_STATUS)
    status = reader.u32()
    reader.finish()
    return status


class Reader(codec.Reader):
    """Reads TL from front to end. Raises `Malformed` beyond it."""

    __slots__ = ()

    def __init__(
        self, data: bytes, reason: Reason = Reason.CHAIN_PROOF, *, offset: int = 0, end: int | None = None
    ) -> None:
        """Read `data[offset:end]`."""
        super().__init__(data, reason, offset=offset, end=end)

    def i32(self) -> int:
        """Return an `int`."""
        return int.from_bytes(self.take(4), "little", signed=True)

    def u64(self) -> int:
        """Return a `long`, without its sign."""
        return int.from_bytes(self.take(8), "little")

    def block_id(self) -> BlockId:
        """Return a tonNode.blockIdExt."""
        return BlockId(self.i32(), self.u64(), self.u32(), self.take(HASH_SIZE), self.take(HASH_SIZE))

    def text(self) -> bytes:
        """Return `bytes` or a `string`."""
        first = self.u8()
        head, size = (4, int.from_bytes(self.take(3), "little")) if first == _LONG else (1, first)
        found = self.take(size)
        self.take(-(head + size) % 4)
        return found


def _opened(answer: bytes, constructor: int) -> Reader:
    """Begin to read a boxed answer of this constructor. Raises `Malformed` (`chain.proof`), `ServerError`."""
    reader = Reader(answer)
    found = reader.u32()
    if found == _ERROR:
        raise ServerError(reader.i32())
    if found != constructor:
        raise _refused(f"an answer of type {found:08x}", f"{constructor:08x}")
    return reader


def uint32(value: int) -> bytes:
    """Write a `#` or a constructor."""
    return value.to_bytes(4, "little")


def int32(value: int) -> bytes:
    """Write an `int`."""
    return value.to_bytes(4, "little", signed=True)


def uint64(value: int) -> bytes:
    """Write a `long` that is not negative."""
    return value.to_bytes(8, "little")


def text(value: bytes) -> bytes:
    """Write `bytes` or a `string`."""
    size = len(value)
    head = bytes((size,)) if size <= _SHORT_MOST else bytes((_LONG,)) + size.to_bytes(3, "little")
    return head + value + bytes(-(len(head) + size) % 4)


def block_id(block: BlockId) -> bytes:
    """Write a tonNode.blockIdExt."""
    return int32(block.workchain) + uint64(block.shard) + uint32(block.seqno) + block.root_hash + block.file_hash


def _account_id(account: Address) -> bytes:
    return int32(account.workchain) + account.hash


def _query(data: bytes) -> bytes:
    return uint32(_QUERY) + text(data)


def _refused(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.CHAIN_PROOF, found=found, wanted=wanted)
