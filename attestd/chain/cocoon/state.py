"""The state of Cocoon's root contract, struct versions 0 to 4 (utils.fc, CocoonRoot.ts).

    root:    owner:MsgAddress version:uint32 ^data ^params, from struct version 4 on ^key_manager
    data:    proxy_hashes:(HashmapE 256 {}) proxies:(HashmapE 32 ProxyInfo) last_proxy_seqno:uint32
             worker_hashes:(HashmapE 256 {}) model_hashes:(HashmapE 256 {})
    params:  struct_version:uint8, then the fields of `_PARAMS`, each from its struct version on

What follows these fields is kept and written back bit for bit, so that nothing is lost in a contract that goes ahead of
this module; but what it means nobody here knows, and `RootState.unknown` says so. A struct version above 4 is refused
altogether: it governs the order of all that follows it.

The cell of the key manager is kept likewise. Two published versions of the contract lay it out in two ways, with and
without an image hash, and the same struct version; nothing here rests on it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from attestd.chain.cocoon.fields import (
    ADDRESS,
    BOOL,
    COINS,
    ENDPOINT,
    MAYBE_CELL,
    UINT8,
    UINT32,
    Field,
    require_hash,
)
from attestd.errors import Malformed, Reason
from attestd.tvm import dictionary
from attestd.tvm.address import Address
from attestd.tvm.cell import EMPTY, HASH_SIZE, Builder, Cell, Slice

# Where Cocoon's own distribution looks (registry.md).
ROOT_ADDRESS: Final = Address.parse("EQCns7bYSp0igFvS1wpb5wsZjCKCV19MD5AVzI4EyxsnU73k")

NEWEST_STRUCT_VERSION: Final = 4

_SEQNO_BITS: Final = 32
_SINGLE_PRICE: Final = 10_000  # multipliers are in units of 0.0001
_TON: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What the contracts of Cocoon go by. Prices and stakes are nanotons, delays seconds, multipliers 0.0001.

    Fields that a struct version does not have are what the contract takes in their place.
    """

    struct_version: int
    params_version: int
    unique_id: int
    is_test: bool
    price_per_token: int
    worker_fee_per_token: int
    prompt_tokens_price_multiplier: int = _SINGLE_PRICE
    cached_tokens_price_multiplier: int = _SINGLE_PRICE
    completion_tokens_price_multiplier: int = _SINGLE_PRICE
    reasoning_tokens_price_multiplier: int = _SINGLE_PRICE
    proxy_delay_before_close: int
    client_delay_before_close: int
    min_proxy_stake: int = _TON
    min_client_stake: int = _TON
    proxy_code: Cell | None = None
    worker_code: Cell | None = None
    client_code: Cell | None = None
    rest: Cell = EMPTY


# Name, kind, and the struct version from which on a field is there, in the order of the cell.
_PARAMS: Final[tuple[tuple[str, Field[Any], int], ...]] = (
    ("params_version", UINT32, 0),
    ("unique_id", UINT32, 0),
    ("is_test", BOOL, 0),
    ("price_per_token", COINS, 0),
    ("worker_fee_per_token", COINS, 0),
    ("prompt_tokens_price_multiplier", UINT32, 3),
    ("cached_tokens_price_multiplier", UINT32, 2),
    ("completion_tokens_price_multiplier", UINT32, 3),
    ("reasoning_tokens_price_multiplier", UINT32, 2),
    ("proxy_delay_before_close", UINT32, 0),
    ("client_delay_before_close", UINT32, 0),
    ("min_proxy_stake", COINS, 1),
    ("min_client_stake", COINS, 1),
    ("proxy_code", MAYBE_CELL, 0),
    ("worker_code", MAYBE_CELL, 0),
    ("client_code", MAYBE_CELL, 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootState:
    """What the contract holds. Hashes are 32 bytes: of images the image digest, of models SHA-256 of the name."""

    owner: Address | None  # None: nobody can change it any more
    version: int
    proxy_hashes: frozenset[bytes]
    proxies: Mapping[int, bytes]  # endpoints by seqno
    last_proxy_seqno: int
    worker_hashes: frozenset[bytes]
    model_hashes: frozenset[bytes]
    params: Params
    key_manager: Cell | None = None  # from struct version 4 on
    data_rest: Cell = EMPTY
    rest: Cell = EMPTY

    @property
    def unknown(self) -> tuple[str, ...]:
        """Name the cells that hold more than is known here: what the rest means may depend on that."""
        rests = {"root": self.rest, "data": self.data_rest, "params": self.params.rest}
        return tuple(name for name, rest in rests.items() if rest != EMPTY)


def load_state(root: Cell) -> RootState:
    """Read the state cell.

    Raises `Malformed`: `cocoon.struct_version` for a struct version above 4, `cocoon.state` for fields that the
    contract does not write so, `cell.malformed` for cells that end too early and for dictionaries of another kind; and
    `NotAuthentic` (`cell.pruned`) where a part was left out.
    """
    source = root.slice()
    owner, version = ADDRESS.load(source), UINT32.load(source)
    data, params = source.load_ref().slice(), _load_params(source.load_ref().slice())
    has_manager = params.struct_version >= NEWEST_STRUCT_VERSION
    if has_manager and not source.refs_left:
        raise _refused("struct version 4 without a third reference", "the cell of the key manager")
    return RootState(
        owner=owner,
        version=version,
        params=params,
        key_manager=source.load_ref() if has_manager else None,
        rest=source.to_cell(),
        proxy_hashes=_load_hashes(data),
        proxies=_load_proxies(data),
        last_proxy_seqno=UINT32.load(data),
        worker_hashes=_load_hashes(data),
        model_hashes=_load_hashes(data),
        data_rest=data.to_cell(),
    )


def dump_state(state: RootState) -> Cell:
    """Write the state cell: of what `load_state` has read the same bits.

    Raises `Malformed` for what the struct version cannot say, or a cell cannot hold.
    """
    has_manager = state.params.struct_version >= NEWEST_STRUCT_VERSION
    if has_manager != (state.key_manager is not None):
        raise _refused("a key manager in another struct version than 4, or none in that", "it there, and only there")
    data = Builder()
    _store_hashes(data, state.proxy_hashes)
    proxies = {seqno: _endpoint(endpoint) for seqno, endpoint in state.proxies.items()}
    data.maybe_ref(dictionary.build(proxies, _SEQNO_BITS)).uint(state.last_proxy_seqno, 32)
    _store_hashes(data, state.worker_hashes)
    _store_hashes(data, state.model_hashes)
    root = Builder().address(state.owner).uint(state.version, 32)
    root.ref(data.slice(state.data_rest).end()).ref(_dump_params(state.params))
    if state.key_manager is not None:
        root.ref(state.key_manager)
    return root.slice(state.rest).end()


def _load_params(source: Slice) -> Params:
    version = _require_known(UINT8.load(source))
    found = {name: field.load(source) for name, field, since in _PARAMS if since <= version}
    return Params(struct_version=version, **found, rest=source.to_cell())


def _dump_params(params: Params) -> Cell:
    version = _require_known(params.struct_version)
    target = Builder().uint(version, 8)
    for name, field, since in _PARAMS:
        value = getattr(params, name)
        if since <= version:
            field.store(target, value)
        elif value != Params.__dataclass_fields__[name].default:
            raise _refused(f"{name} in struct version {version}", f"struct version {since}")
    return target.slice(params.rest).end()


def _require_known(version: int) -> int:
    if not 0 <= version <= NEWEST_STRUCT_VERSION:
        raise Malformed(
            Reason.COCOON_STRUCT_VERSION,
            found=f"struct version {version}",
            wanted=f"at most {NEWEST_STRUCT_VERSION}",
        )
    return version


def _load_hashes(source: Slice) -> frozenset[bytes]:
    return dictionary.parse_set(source.load_maybe_ref(), HASH_SIZE)


def _store_hashes(target: Builder, hashes: Iterable[bytes]) -> None:
    target.maybe_ref(dictionary.build_set(map(require_hash, hashes), HASH_SIZE))


def _load_proxies(source: Slice) -> dict[int, bytes]:
    found = dictionary.parse(source.load_maybe_ref(), _SEQNO_BITS)
    proxies = {seqno: ENDPOINT.load(value) for seqno, value in found.items()}
    for value in found.values():
        value.end()
    return proxies


def _endpoint(endpoint: bytes) -> Cell:
    target = Builder()
    ENDPOINT.store(target, endpoint)
    return target.end()


def _refused(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.COCOON_STATE, found=found, wanted=wanted)
