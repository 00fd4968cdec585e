"""TL, as far as it is spoken with liteservers: four questions, their answers, and the wait in front of one.

Integers are little-endian. `bytes` are one length byte, or 0xfe and three, then the bytes, padded with zeros to four.
Constructor numbers are the CRC-32 of the schema line in lite_api.tl and ton_api.tl.
"""

from dataclasses import dataclass
from typing import Final, NoReturn

from attestd.errors import Malformed, Reason
from attestd.tvm.address import Address

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

_HASH_SIZE: Final = 32
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
    return _query(_uint32(_GET_MASTERCHAIN_INFO))


def account_state(block: BlockId, account: Address, *, wait_ms: int) -> bytes:
    """Ask for an account as of a block of the masterchain, for which the server may have to wait."""
    wait = _uint32(_WAIT_MASTERCHAIN_SEQNO) + _uint32(block.seqno) + _int32(wait_ms)
    return _query(wait + _uint32(_GET_ACCOUNT_STATE) + _block_id(block) + _account_id(account))


def transactions(account: Address, lt: int, transaction_hash: bytes, count: int) -> bytes:
    """Ask for a transaction of an account and those before it."""
    return _query(
        _uint32(_GET_TRANSACTIONS) + _uint32(count) + _account_id(account) + lt.to_bytes(8, "little") + transaction_hash
    )


def send_message(message: bytes) -> bytes:
    """Ask to forward an external message (BoC)."""
    return _query(_uint32(_SEND_MESSAGE) + _bytes(message))


def adnl_query(query_id: bytes, query: bytes) -> bytes:
    """Wrap a question as the transport wants it (adnl.message.query)."""
    return _uint32(_ADNL_QUERY) + query_id + _bytes(query)


def load_adnl_answer(packet: bytes) -> tuple[bytes, bytes]:
    """Unwrap what the transport carries (adnl.message.answer): the id of the question, and the answer.

    Raises `Malformed` (`chain.proof`), `ServerError`.
    """
    reader = _Reader(packet, _ADNL_ANSWER)
    found = reader.take(_HASH_SIZE), reader.bytes()
    reader.end()
    return found


def load_masterchain_info(answer: bytes) -> BlockId:
    """Read the last block of the masterchain. Raises `Malformed` (`chain.proof`), `ServerError`."""
    reader = _Reader(answer, _MASTERCHAIN_INFO)
    block = reader.block_id()
    reader.take(_HASH_SIZE + _ZERO_STATE_SIZE)  # state_root_hash and init, which nothing proves
    reader.end()
    return block


def load_account_state(answer: bytes) -> AccountAnswer:
    """Read the answer about an account. Raises `Malformed` (`chain.proof`), `ServerError`."""
    reader = _Reader(answer, _ACCOUNT_STATE)
    found = AccountAnswer(reader.block_id(), reader.block_id(), reader.bytes(), reader.bytes(), reader.bytes())
    reader.end()
    return found


def load_transactions(answer: bytes) -> bytes:
    """Read a list of transactions (BoC of as many roots). Raises `Malformed` (`chain.proof`), `ServerError`."""
    reader = _Reader(answer, _TRANSACTION_LIST)
    count = reader.uint32()
    if count > MAX_TRANSACTIONS:
        _refuse(f"{count} transactions", f"at most {MAX_TRANSACTIONS}")
    for _ in range(count):
        reader.block_id()  # which block each is in; nothing proves it
    boc = reader.bytes()
    reader.end()
    return boc


def load_status(answer: bytes) -> int:
    """Read whether a message was taken; 1 where it was. Raises `Malformed` (`chain.proof`), `ServerError`."""
    reader = _Reader(answer, _SEND_MSG_STATUS)
    status = reader.uint32()
    reader.end()
    return status


class _Reader:
    """Reads one boxed answer from front to end."""

    def __init__(self, raw: bytes, constructor: int) -> None:
        self._raw = raw
        self._position = 0
        found = self.uint32()
        if found == _ERROR:
            raise ServerError(int.from_bytes(self.take(4), "little", signed=True))
        if found != constructor:
            _refuse(f"an answer of type {found:08x}", f"{constructor:08x}")

    def take(self, count: int) -> bytes:
        stop = self._position + count
        if stop > len(self._raw):
            _refuse(f"an answer that ends after {len(self._raw)} bytes", f"{stop} or more")
        taken = self._raw[self._position : stop]
        self._position = stop
        return taken

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def block_id(self) -> BlockId:
        workchain = int.from_bytes(self.take(4), "little", signed=True)
        shard = int.from_bytes(self.take(8), "little")
        return BlockId(workchain, shard, self.uint32(), self.take(_HASH_SIZE), self.take(_HASH_SIZE))

    def bytes(self) -> bytes:
        first = self.take(1)[0]
        head, size = (4, int.from_bytes(self.take(3), "little")) if first == _LONG else (1, first)
        found = self.take(size)
        self.take(-(head + size) % 4)
        return found

    def end(self) -> None:
        if self._position != len(self._raw):
            _refuse(f"{len(self._raw) - self._position} bytes behind the answer", "nothing")


def _query(data: bytes) -> bytes:
    return _uint32(_QUERY) + _bytes(data)


def _uint32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def _int32(value: int) -> bytes:
    return value.to_bytes(4, "little", signed=True)


def _bytes(value: bytes) -> bytes:
    size = len(value)
    head = bytes([size]) if size <= _SHORT_MOST else bytes([_LONG]) + size.to_bytes(3, "little")
    return head + value + bytes(-(len(head) + size) % 4)


def _block_id(block: BlockId) -> bytes:
    return (
        _int32(block.workchain)
        + block.shard.to_bytes(8, "little")
        + _uint32(block.seqno)
        + block.root_hash
        + block.file_hash
    )


def _account_id(account: Address) -> bytes:
    return _int32(account.workchain) + account.hash


def _refuse(found: str, wanted: str) -> NoReturn:
    raise Malformed(Reason.CHAIN_PROOF, found=found, wanted=wanted)
