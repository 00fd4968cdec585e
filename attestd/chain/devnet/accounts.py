"""Accounts, messages and transactions: what the devnet reads of their cells, and how it makes accounts (block.tlb)."""

from dataclasses import dataclass
from typing import Final

from attestd.chain.account import load_account, load_currencies, skip_storage_info
from attestd.chain.devnet.blocks import ShardAccount
from attestd.chain.ledger import AccountStatus
from attestd.errors import Malformed, Reason
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc, load_boc
from attestd.tvm.cell import HASH_SIZE, Builder, Cell, Slice
from attestd.tvm.dictionary import parse

# Limits of the network for external messages (config 43).
_MAX_MESSAGE_SIZE: Final = 65535
_MAX_MESSAGE_DEPTH: Final = 512

_TRANSACTION: Final = 0b0111
_EXT_IN: Final = 0b10
_UNINIT: Final = 0b00
_FROZEN: Final = 0b01
_ABSENT: Final = Builder().uint(0, 1).end()  # account_none


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction of one account: its cell, and what has to be known of it to go on."""

    cell: Cell
    lt: int
    end_lt: int  # the first logical time that neither it nor its messages have
    previous_lt: int
    sent: tuple[Cell, ...]


def absent() -> ShardAccount:
    """Return the entry that stands for no account: it is given to the emulator, and never part of a state."""
    return shard_account(_ABSENT, bytes(HASH_SIZE), 0, 0)


def shard_account(account: Cell, last_hash: bytes, last_lt: int, balance: int) -> ShardAccount:
    """Return the entry of an account with its last transaction."""
    cell = Builder().ref(account).bytes(last_hash).uint(last_lt, 64).end()
    return ShardAccount(cell, dump_boc(cell, crc=False), balance)


def load_shard_account(boc: bytes) -> ShardAccount | None:
    """Read the entry that a transaction left; null where it left no account."""
    (cell,) = load_boc(boc)
    account = cell.refs[0]
    if account == _ABSENT:
        return None
    return ShardAccount(cell, boc, load_account(account).balance)


def uninit(address: Address, balance: int, at: int) -> ShardAccount:
    """Return an account that has TON and no code. `at` is when it last paid for its storage."""
    head = Builder().uint(1, 1).address(address).uint(0, 3 + 3 + 3).uint(at, 32).uint(0, 1)
    account = head.uint(0, 64).coins(balance).maybe_ref(None).uint(_UNINIT, 2).end()
    return shard_account(account, bytes(HASH_SIZE), 0, balance)


def with_balance(entry: ShardAccount, balance: int) -> ShardAccount:
    """Return the account with another balance, as no transaction could have left it."""
    head, tail = _split(entry)
    return _remade(entry, head.coins(balance).maybe_ref(None).slice(tail).end(), balance)


def frozen(entry: ShardAccount) -> ShardAccount:
    """Return the account as it is when it owed too much for its storage: the hash of its state is left of it."""
    if load_account(entry.cell.refs[0]).status is not AccountStatus.ACTIVE:
        raise Malformed(Reason.CHAIN_ACCOUNT, found="an account without state", wanted="an active one")
    head, tail = _split(entry)
    tail.skip(1)  # account_active$1
    account = head.coins(entry.balance).maybe_ref(None).uint(_FROZEN, 2).bytes(tail.to_cell().hash).end()
    return _remade(entry, account, entry.balance)


def with_data(entry: ShardAccount, data: Cell) -> ShardAccount:
    """Return an active account with other data: a forgery. Any other account has none, and stays as it is."""
    if load_account(entry.cell.refs[0]).status is not AccountStatus.ACTIVE:
        return entry
    head, tail = _split(entry)
    state = Builder().uint(tail.load_uint(3), 3)  # account_active$1, split_depth, special
    state.maybe_ref(tail.load_maybe_ref())
    tail.load_maybe_ref()
    state.maybe_ref(data).slice(tail)
    account = head.coins(entry.balance).maybe_ref(None).slice(state.end()).end()
    return _remade(entry, account, entry.balance)


def _split(entry: ShardAccount) -> tuple[Builder, Slice]:
    """Return all of an account in front of its balance, and all behind."""
    account = entry.cell.refs[0]
    rest = account.slice()
    rest.skip(1)
    rest.load_address()
    skip_storage_info(rest)
    rest.skip(64)  # last_trans_lt
    size = account.bits - rest.bits_left
    head = Builder().uint(account.slice().load_uint(size), size)
    load_currencies(rest)
    return head, rest


def _remade(entry: ShardAccount, account: Cell, balance: int) -> ShardAccount:
    last = entry.cell.slice()
    return shard_account(account, last.load_bytes(HASH_SIZE), last.load_uint(64), balance)


def load_external(boc: bytes) -> tuple[Cell, Address]:
    """Read an external message for a contract; return it with its destination. Raises `Malformed`."""
    if len(boc) > _MAX_MESSAGE_SIZE:
        raise _refused(f"a message of {len(boc)} bytes", f"at most {_MAX_MESSAGE_SIZE}")
    (cell,) = load_boc(boc)
    if cell.depth > _MAX_MESSAGE_DEPTH or cell.level_mask:
        raise _refused(f"a message of depth {cell.depth}", f"at most {_MAX_MESSAGE_DEPTH}")
    header = cell.slice()
    if header.load_uint(2) != _EXT_IN:
        raise _refused("another kind of message", "ext_in_msg_info$10")
    header.load_address()
    destination = header.load_address()
    if destination is None:
        raise _refused("a message to nobody", "a destination")
    return cell, destination


def destination(message: Cell) -> Address | None:
    """Return whom a contract's message is for; null where it leaves the chain (ext_out_msg_info$11)."""
    header = message.slice()
    if header.load_bit():
        return None
    header.skip(3)
    header.load_address()
    return header.load_address()


def internal(source: Address, to: Address, value: int, *, lt: int, at: int, state_init: Cell | None = None) -> Cell:
    """Return an internal message without a body that does not bounce, as if the source had sent it."""
    message = Builder().uint(0b0100, 4).address(source).address(to).coins(value).maybe_ref(None)
    message.coins(0).coins(0).uint(lt, 64).uint(at, 32)
    if state_init is None:
        message.uint(0, 1)
    else:
        message.uint(0b11, 2).ref(state_init)
    return message.uint(0, 1).end()


def load_transaction(boc: bytes) -> Transaction:
    """Read a transaction that the emulator made."""
    (cell,) = load_boc(boc)
    head = cell.slice()
    if head.load_uint(4) != _TRANSACTION:
        raise _refused("another cell", "transaction$0111")
    head.skip(256)
    lt = head.load_uint(64)
    head.skip(256)
    previous_lt = head.load_uint(64)
    head.skip(32)
    count = head.load_uint(15)
    messages = head.load_ref().slice()
    messages.load_maybe_ref()
    sent = parse(messages.load_maybe_ref(), 15)
    return Transaction(cell, lt, lt + 1 + count, previous_lt, tuple(value.load_ref() for value in sent.values()))


def _refused(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.CELL_MALFORMED, found=found, wanted=wanted)
