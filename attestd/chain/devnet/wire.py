"""TL as a liteserver reads and writes it; lite_api.tl and ton_api.tl have the schema of each constructor.

Integers are little-endian. `bytes` are one length byte, or 0xfe and three, then the bytes, padded with zeros to four.
A constructor's number is the CRC-32 of its line in the schema.
"""

from enum import IntEnum
from typing import Final

from attestd.chain.tl import BlockId
from attestd.tvm.address import Address

_HASH_SIZE: Final = 32
_LONG: Final = 0xFE
_SHORT_MOST: Final = 253


class Call(IntEnum):
    """What a client sends: the functions of a liteserver, and what they are wrapped into."""

    PING = 0x4D082B9A
    QUERY = 0xB48BF97A
    LITE_QUERY = 0x798C06DF
    WAIT_MASTERCHAIN_SEQNO = 0xBAEAB892
    GET_MASTERCHAIN_INFO = 0x89B5E62E
    GET_MASTERCHAIN_INFO_EXT = 0x70A671DF
    GET_TIME = 0x16AD5A34
    GET_VERSION = 0x232B940B
    GET_BLOCK = 0x6377CF0D
    GET_BLOCK_HEADER = 0x21EC069E
    LOOKUP_BLOCK = 0xFAC8F71E
    SEND_MESSAGE = 0x690AD482
    GET_ACCOUNT_STATE = 0x6B890E25
    RUN_SMC_METHOD = 0x5CC65DD2
    GET_SHARD_INFO = 0x46A2F425
    GET_ALL_SHARDS_INFO = 0x74D3FD6B
    GET_TRANSACTIONS = 0x1C40E7A1
    GET_CONFIG_ALL = 0x911B26B7
    GET_CONFIG_PARAMS = 0x2A111C19


class Answer(IntEnum):
    """What a liteserver sends."""

    PONG = 0xDC69FB03
    ANSWER = 0x0FAC8416
    ERROR = 0xBBA9E148
    MASTERCHAIN_INFO = 0x85832881
    MASTERCHAIN_INFO_EXT = 0xA8CCE0F5
    CURRENT_TIME = 0xE953000D
    VERSION = 0x5A0491E5
    BLOCK_DATA = 0xA574ED6C
    BLOCK_HEADER = 0x752D8219
    SEND_MSG_STATUS = 0x3950E597
    ACCOUNT_STATE = 0x7079C751
    RUN_METHOD_RESULT = 0xA39A616B
    SHARD_INFO = 0x9FE6CD84
    ALL_SHARDS_INFO = 0x098FE72D
    TRANSACTION_LIST = 0x6F26C60B
    CONFIG_INFO = 0xAE7B272F


class ErrorCode(IntEnum):
    """The codes that a node's liteserver uses (common/errorcode.h)."""

    REJECTED = 0
    PROTOCOL_VIOLATION = 621
    NOT_READY = 651
    TIMEOUT = 652


class QueryError(Exception):
    """A query that is answered with liteServer.error."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Reader:
    """Reads from the front. Raises `QueryError` beyond the end."""

    def __init__(self, raw: bytes) -> None:
        """Read `raw`."""
        self._raw = raw

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        if size > len(self._raw):
            raise QueryError(ErrorCode.PROTOCOL_VIOLATION, "the query ends too early")
        taken, self._raw = self._raw[:size], self._raw[size:]
        return taken

    def uint32(self) -> int:
        """Return a `#`."""
        return int.from_bytes(self.take(4), "little")

    def int32(self) -> int:
        """Return an `int`."""
        return int.from_bytes(self.take(4), "little", signed=True)

    def uint64(self) -> int:
        """Return a `long`, without its sign."""
        return int.from_bytes(self.take(8), "little")

    def bytes(self) -> bytes:
        """Return `bytes`."""
        first = self.take(1)[0]
        head, size = (4, int.from_bytes(self.take(3), "little")) if first == _LONG else (1, first)
        found = self.take(size)
        self.take(-(head + size) % 4)
        return found

    def call(self) -> Call:
        """Return a constructor that a client sends."""
        number = self.uint32()
        try:
            return Call(number)
        except ValueError:
            raise QueryError(ErrorCode.PROTOCOL_VIOLATION, f"the devnet does not serve {number:08x}") from None

    def block_id(self) -> BlockId:
        """Return a tonNode.blockIdExt."""
        return BlockId(self.int32(), self.uint64(), self.uint32(), self.take(_HASH_SIZE), self.take(_HASH_SIZE))

    def account_id(self) -> Address:
        """Return a liteServer.accountId."""
        workchain = self.int32()
        if workchain not in (0, -1):
            raise QueryError(ErrorCode.PROTOCOL_VIOLATION, f"there is no workchain {workchain}")
        return Address(workchain, self.take(_HASH_SIZE))


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


def zero_state_id(block: BlockId) -> bytes:
    """Write a tonNode.zeroStateIdExt."""
    return int32(block.workchain) + block.root_hash + block.file_hash


def error(raised: QueryError) -> bytes:
    """Write a liteServer.error."""
    return uint32(Answer.ERROR) + int32(raised.code) + text(str(raised).encode())
