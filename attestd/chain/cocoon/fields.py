"""The fields of Cocoon's cells: each with how it is read, and how it is written back to the same bits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from attestd.errors import Malformed, Reason
from attestd.tvm.cell import HASH_SIZE, Builder, Slice

_T = TypeVar("_T")

_COINS_LENGTH_BITS: Final = 4
_LENGTH_BITS: Final = 7


@dataclass(frozen=True, slots=True)
class Field(Generic[_T]):
    """One kind of field. Both sides raise `Malformed`: reading for what is not there, writing for what has no room."""

    load: Callable[[Slice], _T]
    store: Callable[[Builder, _T], object]


def _unsigned(bits: int) -> Field[int]:
    return Field(lambda source: source.load_uint(bits), lambda target, value: target.uint(value, bits))


def _load_coins(source: Slice) -> int:
    """Read an amount as the contract writes it: a leading zero byte would not be written back."""
    size = source.load_uint(_COINS_LENGTH_BITS)
    value = source.load_uint(8 * size)
    if value.bit_length() <= 8 * (size - 1):
        raise Malformed(Reason.COCOON_STATE, found="an amount with a leading zero byte", wanted="its shortest form")
    return value


def _store_hash(target: Builder, value: bytes) -> None:
    target.bytes(require_hash(value))


def require_hash(value: bytes) -> bytes:
    """Return what is a hash. Raises `Malformed` (`cocoon.state`)."""
    if len(value) != HASH_SIZE:
        raise Malformed(Reason.COCOON_STATE, found=f"{len(value)} bytes", wanted=f"a hash of {HASH_SIZE} bytes")
    return value


def _load_endpoint(source: Slice) -> bytes:
    if source.load_bit():
        raise Malformed(Reason.COCOON_STATE, found="an endpoint of kind 1", wanted="kind 0, a length and a text")
    return source.load_bytes(source.load_uint(_LENGTH_BITS))


def _store_endpoint(target: Builder, value: bytes) -> None:
    target.bit(value=False).uint(len(value), _LENGTH_BITS).bytes(value)


UINT8: Final = _unsigned(8)
UINT32: Final = _unsigned(32)
BOOL: Final = Field(Slice.load_bit, Builder.bit)
COINS: Final = Field(_load_coins, Builder.coins)  # nanotons
HASH: Final = Field(lambda source: source.load_bytes(HASH_SIZE), _store_hash)
ADDRESS: Final = Field(Slice.load_address, Builder.address)
CELL: Final = Field(Slice.load_ref, Builder.ref)
MAYBE_CELL: Final = Field(Slice.load_maybe_ref, Builder.maybe_ref)
# ProxyInfo: uint1 that is 0, uint7 length, text. Written "ip:port", or "ip:port ip:port" for workers and for clients.
ENDPOINT: Final = Field(_load_endpoint, _store_endpoint)
