"""TL as a liteserver reads and writes it; lite_api.tl and ton_api.tl have the schema of each constructor.

A constructor's number is the CRC-32 of its line in the schema; `attestd.chain.tl` has how the rest is written.
"""

from enum import IntEnum

from attestd.chain import tl
from attestd.chain.tl import BlockId, int32, text, uint32
from attestd.errors import Malformed
from attestd.tvm.address import Address
from attestd.tvm.cell import HASH_SIZE


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


class Reader(tl.Reader):
    """Reads a query from the front. Raises `QueryError` beyond the end."""

    __slots__ = ()

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        try:
            return super().take(size)
        except Malformed:
            raise QueryError(ErrorCode.PROTOCOL_VIOLATION, "the query ends too early") from None

    def call(self) -> Call:
        """Return a constructor that a client sends."""
        number = self.u32()
        try:
            return Call(number)
        except ValueError:
            raise QueryError(ErrorCode.PROTOCOL_VIOLATION, f"the devnet does not serve {number:08x}") from None

    def account_id(self) -> Address:
        """Return a liteServer.accountId."""
        workchain = self.i32()
        if workchain not in (0, -1):
            raise QueryError(ErrorCode.PROTOCOL_VIOLATION, f"there is no workchain {workchain}")
        return Address(workchain, self.take(HASH_SIZE))


def zero_state_id(block: BlockId) -> bytes:
    """Write a tonNode.zeroStateIdExt."""
    return int32(block.workchain) + block.root_hash + block.file_hash


def error(raised: QueryError) -> bytes:
    """Write a liteServer.error."""
    return uint32(Answer.ERROR) + int32(raised.code) + text(str(raised).encode())
