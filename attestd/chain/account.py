"""Accounts as TON stores them (block.tlb: Account, AccountStorage, StateInit), read from cells."""

from dataclasses import dataclass
from typing import Final

from attestd.chain.ledger import AccountStatus
from attestd.errors import Malformed, Reason
from attestd.tvm.address import Address
from attestd.tvm.cell import Builder, Cell, Slice

_STORAGE_EXTRA_NONE: Final = 0b000
_STORAGE_EXTRA_INFO: Final = 0b001


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account that exists; code and data are there exactly where it is active. The balance is in nanoton."""

    address: Address
    status: AccountStatus
    balance: int
    code: Cell | None = None
    data: Cell | None = None


def load_account(cell: Cell) -> Account:
    """Read the cell of an account, to its last bit. Raises `Malformed` (`cell.malformed`, `chain.proof`)."""
    slice_ = cell.slice()
    if not slice_.load_bit():
        raise _refused("account_none in place of an account", "account$1")
    address = slice_.load_address()
    if address is None:
        raise _refused("an account without an address", "addr_std")
    skip_storage_info(slice_)
    slice_.skip(64)  # last_trans_lt of the storage: that of the last transaction, plus its messages
    balance = load_currencies(slice_)
    status, code, data = _load_state(slice_)
    slice_.end()
    return Account(address=address, status=status, balance=balance, code=code, data=data)


def skip_storage_info(slice_: Slice) -> None:
    """Pass over a StorageInfo: how large the account is, and when it last paid for that."""
    for _ in ("cells", "bits"):
        slice_.load_var_uint(3)  # VarUInteger 7
    extra = slice_.load_uint(3)
    if extra == _STORAGE_EXTRA_INFO:
        slice_.skip(256)
    elif extra != _STORAGE_EXTRA_NONE:
        raise _refused(f"storage extra {extra:03b}", "storage_extra_none$000 or storage_extra_info$001")
    slice_.skip(32)  # last_paid
    if slice_.load_bit():
        slice_.load_coins()  # due_payment


def load_currencies(slice_: Slice) -> int:
    """Read a CurrencyCollection; currencies beside TON are passed over. Returns nanoton."""
    grams = slice_.load_coins()
    slice_.load_maybe_ref()
    return grams


def skip_depth_balance(slice_: Slice) -> None:
    """Pass over a DepthBalanceInfo: what ShardAccounts sum up at each node."""
    slice_.skip(5)  # split_depth
    load_currencies(slice_)


def _load_state(slice_: Slice) -> tuple[AccountStatus, Cell | None, Cell | None]:
    if slice_.load_bit():
        code, data = load_state_init(slice_)
        return AccountStatus.ACTIVE, code, data
    if slice_.load_bit():
        slice_.skip(256)  # hash of the state that was frozen
        return AccountStatus.FROZEN, None, None
    return AccountStatus.UNINIT, None, None


def load_state_init(slice_: Slice) -> tuple[Cell | None, Cell | None]:
    """Read a StateInit; returns code and data. A library or a fixed prefix is none of ours, but allowed."""
    if slice_.load_bit():
        slice_.skip(5)  # fixed_prefix_length
    if slice_.load_bit():
        slice_.skip(2)  # special: tick and tock
    code, data = slice_.load_maybe_ref(), slice_.load_maybe_ref()
    slice_.load_maybe_ref()  # library
    return code, data


def dump_state_init(code: Cell, data: Cell) -> Cell:
    """Return the StateInit of a contract: its hash is the account's part of the address."""
    return Builder().uint(0, 2).maybe_ref(code).maybe_ref(data).maybe_ref(None).end()


def _refused(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.CHAIN_PROOF, found=found, wanted=wanted)
