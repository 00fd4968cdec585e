"""Transactions of an account, read from their cells: what became of a message (block.tlb: Transaction).

A transaction is authentic by its hash, which the account's proved state or the next transaction names. Success is that
of both phases: where the action phase fails, the compute phase has still ended with exit code 0.
"""

from dataclasses import dataclass
from typing import Final

from attestd.chain.account import load_currencies, load_state_init
from attestd.errors import Malformed, Reason
from attestd.tvm.address import Address
from attestd.tvm.cell import Builder, Cell, Slice
from attestd.tvm.dictionary import parse

_TRANSACTION: Final = 0b0111
_ORDINARY: Final = 0b0000
# cskip_suspended$110; the three other reasons have two bits.
_SUSPENDED: Final = 0b11
_HASH_SIZE: Final = 32
_OUT_MESSAGE_BITS: Final = 15
# Exit codes at which the TVM ends well (TVM, 4.5.7).
_SUCCESS: Final = (0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as it stands in a transaction: from nowhere where it came from outside, to nowhere where it left.

    Amounts are in nanoton. A bounced message is what another contract refused: it is nobody's request.
    """

    hash: bytes
    source: Address | None
    destination: Address | None
    value: int
    fee: int  # for forwarding, beside the value
    bounced: bool
    body: Cell

    @property
    def normalized_hash(self) -> bytes:
        """The hash by which an external message is known whatever relays have made of its envelope (TEP-467)."""
        envelope = Builder().uint(0b10, 2).address(None).address(self.destination).coins(0)
        return envelope.bit(value=False).bit(value=True).ref(self.body).end().hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """The compute phase, which ran."""

    success: bool
    exit_code: int
    gas_used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """The action phase: result code 0 where all went well; how many messages it made, how many it passed over."""

    success: bool
    result_code: int
    messages: int
    skipped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """An ordinary transaction; `compute` is null where the phase was skipped, `action` where there was none."""

    account: bytes  # the hash part of its address
    hash: bytes
    lt: int
    utime: int
    previous_hash: bytes  # of the account's transaction before; zeros for the first
    previous_lt: int
    fees: int
    message: Message | None
    sent: tuple[Message, ...]
    compute: Compute | None
    action: Action | None
    aborted: bool

    @property
    def succeeded(self) -> bool:
        """Whether the message did what it asked for: both phases, and nothing rolled back."""
        return (
            self.compute is not None
            and self.compute.success
            and self.compute.exit_code in _SUCCESS
            and self.action is not None
            and self.action.success
            and self.action.result_code == 0
            and not self.aborted
        )


def load_transaction(cell: Cell) -> Transaction:
    """Read a transaction to its last bit. Raises `Malformed` (`chain.proof`, `cell.malformed`).

    Ordinary ones alone: ticks, splits and merges happen to no account of ours.
    """
    slice_ = cell.slice()
    _require_tag(slice_.load_uint(4), _TRANSACTION)
    account, lt = slice_.load_bytes(_HASH_SIZE), slice_.load_uint(64)
    previous_hash, previous_lt = slice_.load_bytes(_HASH_SIZE), slice_.load_uint(64)
    utime, count = slice_.load_uint(32), slice_.load_uint(_OUT_MESSAGE_BITS)
    slice_.skip(4)  # status before and after
    message, sent = _load_messages(slice_.load_ref().slice(), count)
    fees = load_currencies(slice_)
    slice_.load_ref()  # HASH_UPDATE of the account
    compute, action, aborted = _load_description(slice_.load_ref().slice())
    slice_.end()
    return Transaction(
        account=account,
        hash=cell.hash,
        lt=lt,
        utime=utime,
        previous_hash=previous_hash,
        previous_lt=previous_lt,
        fees=fees,
        message=message,
        sent=sent,
        compute=compute,
        action=action,
        aborted=aborted,
    )


def _load_messages(slice_: Slice, count: int) -> tuple[Message | None, tuple[Message, ...]]:
    incoming = slice_.load_maybe_ref()
    outgoing = parse(slice_.load_maybe_ref(), _OUT_MESSAGE_BITS)
    slice_.end()
    if sorted(outgoing) != list(range(count)):
        raise _refused(f"{len(outgoing)} messages out", f"{count}, numbered from 0")
    sent = []
    for _, value in sorted(outgoing.items()):
        sent.append(load_message(value.load_ref()))
        value.end()
    return None if incoming is None else load_message(incoming), tuple(sent)


def load_message(cell: Cell) -> Message:
    """Read a message of any kind. Raises `Malformed` (`chain.proof`, `cell.malformed`)."""
    slice_ = cell.slice()
    source = destination = None
    value, fee, bounced = 0, 0, False
    if not slice_.load_bit():  # int_msg_info$0
        slice_.skip(2)  # ihr_disabled, bounce
        bounced = slice_.load_bit()
        source, destination = slice_.load_address(), slice_.load_address()
        value = load_currencies(slice_)
        slice_.load_coins()  # ihr_fee once, extra flags now
        fee = slice_.load_coins()
        slice_.skip(64 + 32)  # created_lt, created_at
    elif not slice_.load_bit():  # ext_in_msg_info$10
        _skip_external(slice_)
        destination = slice_.load_address()
        slice_.load_coins()  # import_fee
    else:  # ext_out_msg_info$11
        source = slice_.load_address()
        _skip_external(slice_)
        slice_.skip(64 + 32)
    if slice_.load_bit():  # init:(Maybe (Either StateInit ^StateInit))
        load_state_init(slice_.load_ref().slice() if slice_.load_bit() else slice_)
    body = slice_.load_ref() if slice_.load_bit() else _rest(slice_)
    slice_.end()
    return Message(
        hash=cell.hash, source=source, destination=destination, value=value, fee=fee, bounced=bounced, body=body
    )


def _rest(slice_: Slice) -> Cell:
    """Take a body that stands in the message itself."""
    body = slice_.to_cell()
    slice_.skip(slice_.bits_left)
    for _ in range(slice_.refs_left):
        slice_.load_ref()
    return body


def _skip_external(slice_: Slice) -> None:
    """Pass over a MsgAddressExt: addr_none$00, or addr_extern$01 with up to 511 bits of anything."""
    if slice_.load_uint(2) == 1:
        slice_.skip(slice_.load_uint(9))


def _load_description(slice_: Slice) -> tuple[Compute | None, Action | None, bool]:
    """Read trans_ord: storage, credit, compute, action, bounce."""
    _require_tag(slice_.load_uint(4), _ORDINARY)
    slice_.skip(1)  # credit_first
    if slice_.load_bit():
        _skip_storage_phase(slice_)
    if slice_.load_bit():
        _skip_credit_phase(slice_)
    compute = _load_compute(slice_)
    described = slice_.load_maybe_ref()
    action = None if described is None else _load_action(described.slice())
    aborted = slice_.load_bit()
    if slice_.load_bit():
        _skip_bounce_phase(slice_)
    slice_.skip(1)  # destroyed
    slice_.end()
    return compute, action, aborted


def _skip_storage_phase(slice_: Slice) -> None:
    slice_.load_coins()
    _skip_maybe_coins(slice_)
    _skip_status_change(slice_)


def _skip_credit_phase(slice_: Slice) -> None:
    _skip_maybe_coins(slice_)
    load_currencies(slice_)


def _load_compute(slice_: Slice) -> Compute | None:
    if not slice_.load_bit():  # tr_phase_compute_skipped$0
        if slice_.load_uint(2) == _SUSPENDED:
            slice_.skip(1)
        return None
    success = slice_.load_bit()
    slice_.skip(2)  # msg_state_used, account_activated
    slice_.load_coins()  # gas_fees
    rest = slice_.load_ref().slice()
    gas_used = rest.load_var_uint(3)
    rest.load_var_uint(3)  # gas_limit
    if rest.load_bit():
        rest.load_var_uint(2)  # gas_credit
    rest.skip(8)  # mode
    exit_code = rest.load_int(32)
    if rest.load_bit():
        rest.skip(32)  # exit_arg
    rest.skip(32 + 2 * 256)  # vm_steps, states before and after
    rest.end()
    return Compute(success=success, exit_code=exit_code, gas_used=gas_used)


def _load_action(slice_: Slice) -> Action:
    success = slice_.load_bit()
    slice_.skip(2)  # valid, no_funds
    _skip_status_change(slice_)
    _skip_maybe_coins(slice_)  # total_fwd_fees
    _skip_maybe_coins(slice_)  # total_action_fees
    result_code = slice_.load_int(32)
    if slice_.load_bit():
        slice_.skip(32)  # result_arg
    slice_.skip(2 * 16)  # tot_actions, spec_actions
    skipped, messages = slice_.load_uint(16), slice_.load_uint(16)
    slice_.skip(256)  # action_list_hash
    _skip_storage_used(slice_)
    slice_.end()
    return Action(success=success, result_code=result_code, messages=messages, skipped=skipped)


def _skip_bounce_phase(slice_: Slice) -> None:
    if slice_.load_bit():  # tr_phase_bounce_ok$1
        _skip_storage_used(slice_)
        slice_.load_coins()
        slice_.load_coins()
    elif slice_.load_bit():  # tr_phase_bounce_nofunds$01
        _skip_storage_used(slice_)
        slice_.load_coins()


def _skip_storage_used(slice_: Slice) -> None:
    for _ in ("cells", "bits"):
        slice_.load_var_uint(3)


def _skip_status_change(slice_: Slice) -> None:
    if slice_.load_bit():  # acst_unchanged$0, else acst_frozen$10 or acst_deleted$11
        slice_.skip(1)


def _skip_maybe_coins(slice_: Slice) -> None:
    if slice_.load_bit():
        slice_.load_coins()


def _require_tag(found: int, wanted: int) -> None:
    if found != wanted:
        raise _refused(f"tag {found:04b}", f"{wanted:04b} of an ordinary transaction")


def _refused(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.CHAIN_PROOF, found=found, wanted=wanted)
