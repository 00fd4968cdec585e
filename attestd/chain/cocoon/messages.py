"""Bodies of the messages that Cocoon's root contract takes from its owner.

A body is op:uint32 query_id:uint64 and the fields of the message, nothing after. What the contract does with it
(cocoon_root.fc, recv_internal):

- an empty body and a bounced message change nothing, nor does do_not_process, whoever sends it;
- of everything else the sender must be the owner in the state, to the bit, or it exits with 1010. There is no quorum,
  no delay, no sequence number: what the owner's wallet signs takes effect in that transaction;
- an op that it does not know exits with 1012, bits or references left over with 9;
- `version` of the state rises by 1, but for `Upgrade` and `UpgradeFull`; `params_version` also, with `ChangeFees`,
  `ChangeParams` and `UpgradeContracts`;
- adding what is there and deleting what is not are no errors: only the state tells what came of a message;
- what is left of the value goes back to the sender as excesses, 0x2565934c query_id:uint64.

The contract has ops of its key manager, too (0xb01c0fe9, 0x6e5a646a, 0x9e0e1821), of which two published versions
differ; they are none of attestd's business, and unknown here.
"""

from dataclasses import dataclass
from dataclasses import fields as members
from typing import Any, Final, NamedTuple, TypeAlias

from attestd.chain.cocoon.fields import (
    ADDRESS,
    CELL,
    COINS,
    ENDPOINT,
    HASH,
    UINT32,
    Field,
)
from attestd.errors import Malformed, Reason
from attestd.tvm.address import Address
from attestd.tvm.cell import Builder, Cell

_OP_BITS: Final = 32
_QUERY_ID_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class AddWorkerType:
    """Approve an image for workers."""

    worker_hash: bytes


@dataclass(frozen=True, slots=True)
class DelWorkerType:
    """Withdraw that."""

    worker_hash: bytes


@dataclass(frozen=True, slots=True)
class AddModelType:
    """Approve a model, by SHA-256 of its name up to the "@"."""

    model_hash: bytes


@dataclass(frozen=True, slots=True)
class DelModelType:
    """Withdraw that."""

    model_hash: bytes


@dataclass(frozen=True, slots=True)
class AddProxyType:
    """Approve an image for proxies."""

    proxy_hash: bytes


@dataclass(frozen=True, slots=True)
class DelProxyType:
    """Withdraw that."""

    proxy_hash: bytes


@dataclass(frozen=True, slots=True)
class RegisterProxy:
    """Announce a proxy under the next seqno."""

    endpoint: bytes


@dataclass(frozen=True, slots=True)
class UnregisterProxy:
    """Take a proxy off the list."""

    seqno: int


@dataclass(frozen=True, slots=True)
class UpdateProxy:
    """Announce other endpoints of a proxy; one that is not on the list exits with 2000."""

    seqno: int
    endpoint: bytes


@dataclass(frozen=True, slots=True)
class ChangeFees:
    """Set the fees, in nanotons."""

    price_per_token: int
    worker_fee_per_token: int


@dataclass(frozen=True, slots=True)
class ChangeParams:
    """Set the fees and the stakes, in nanotons, and the delays, in seconds."""

    price_per_token: int
    worker_fee_per_token: int
    proxy_delay_before_close: int
    client_delay_before_close: int
    min_proxy_stake: int
    min_client_stake: int


@dataclass(frozen=True, slots=True)
class UpgradeContracts:
    """Set the code of contracts that are made from now on."""

    proxy_code: Cell
    worker_code: Cell
    client_code: Cell


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Replace the code of the root contract."""

    code: Cell


@dataclass(frozen=True, slots=True)
class Reset:
    """Empty all three sets of hashes and the list of proxies."""


@dataclass(frozen=True, slots=True)
class UpgradeFull:
    """Replace the root contract: its state and its code."""

    data: Cell
    code: Cell


@dataclass(frozen=True, slots=True)
class ChangeOwner:
    """Give the contract to another owner; None leaves it without one, for good."""

    owner: Address | None


@dataclass(frozen=True, slots=True)
class DoNotProcess:
    """Say nothing."""


Message: TypeAlias = (
    AddWorkerType
    | DelWorkerType
    | AddModelType
    | DelModelType
    | AddProxyType
    | DelProxyType
    | RegisterProxy
    | UnregisterProxy
    | UpdateProxy
    | ChangeFees
    | ChangeParams
    | UpgradeContracts
    | Upgrade
    | Reset
    | UpgradeFull
    | ChangeOwner
    | DoNotProcess
)


class _Layout(NamedTuple):
    op: int
    fields: tuple[Field[Any], ...]  # in the order of the members


_LAYOUTS: Final[dict[type[Message], _Layout]] = {
    AddWorkerType: _Layout(0xE34B1C60, (HASH,)),
    DelWorkerType: _Layout(0x8D94A79A, (HASH,)),
    AddModelType: _Layout(0xC146134D, (HASH,)),
    DelModelType: _Layout(0x92B11C18, (HASH,)),
    AddProxyType: _Layout(0x71860E80, (HASH,)),
    DelProxyType: _Layout(0x3C41D0B2, (HASH,)),
    RegisterProxy: _Layout(0x927C7CB5, (ENDPOINT,)),
    UnregisterProxy: _Layout(0x6D49EAF2, (UINT32,)),
    UpdateProxy: _Layout(0x9C7924BA, (UINT32, ENDPOINT)),
    ChangeFees: _Layout(0xC52ED8D4, (COINS, COINS)),
    ChangeParams: _Layout(0x022FA189, (COINS, COINS, UINT32, UINT32, COINS, COINS)),
    UpgradeContracts: _Layout(0xA2370F61, (CELL, CELL, CELL)),
    Upgrade: _Layout(0x11AEFD51, (CELL,)),
    Reset: _Layout(0x563C1D96, ()),
    UpgradeFull: _Layout(0x4F7C5789, (CELL, CELL)),
    ChangeOwner: _Layout(0xC4A1AE54, (ADDRESS,)),
    DoNotProcess: _Layout(0x9A1247C0, ()),
}
_KINDS: Final = {layout.op: kind for kind, layout in _LAYOUTS.items()}


def dump_message(message: Message, query_id: int = 0) -> Cell:
    """Return the body of a message. Raises `Malformed` for a value that its field cannot hold."""
    layout = _LAYOUTS[type(message)]
    body = Builder().uint(layout.op, _OP_BITS).uint(query_id, _QUERY_ID_BITS)
    for field, member in zip(layout.fields, members(message), strict=True):
        field.store(body, getattr(message, member.name))
    return body.end()


def load_message(body: Cell) -> tuple[Message, int]:
    """Return the message of a body, and its query id.

    Raises `Malformed`: `cocoon.message` for an op that is unknown, `cell.malformed` for a body that ends too early or
    goes on after its fields.
    """
    source = body.slice()
    op = source.load_uint(_OP_BITS)
    kind = _KINDS.get(op)
    if kind is None:
        raise Malformed(Reason.COCOON_MESSAGE, found=f"op {op:#010x}", wanted="an op of the root contract's owner")
    query_id = source.load_uint(_QUERY_ID_BITS)
    message = kind(*(field.load(source) for field in _LAYOUTS[kind].fields))
    source.end()
    return message, query_id
