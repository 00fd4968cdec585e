"""Transactions made by hand, in the layout of block.tlb, each naming the one before it."""

from dataclasses import dataclass

from attestd.tvm.address import Address
from attestd.tvm.cell import Builder, Cell
from attestd.tvm.dictionary import build
from tests.chain.worlds import NOW

WALLET = Address(0, bytes.fromhex("77" * 32))


@dataclass(frozen=True)
class Item:
    """A transaction, and its logical time."""

    lt: int
    cell: Cell


def external_in(to: Address, body: Cell, *, source: bool = False, fee: int = 0, init: bool = False) -> Cell:
    """Write a message from outside; relays may add a source and an import fee."""
    message = Builder().uint(0b10, 2)
    if source:
        message.uint(1, 2).uint(8, 9).uint(0xAB, 8)
    else:
        message.uint(0, 2)
    message.address(to).coins(fee)
    if init:
        message.uint(0b10, 2).uint(0, 2).maybe_ref(Builder().end()).maybe_ref(None).bit(False)
    else:
        message.bit(False)
    return message.bit(True).ref(body).end()


def external_out(source: Address, body: Cell) -> Cell:
    """Write a message to outside, its body inline."""
    message = Builder().uint(0b11, 2).address(source).uint(0, 2).uint(9, 64).uint(NOW, 32).bit(False)
    return message.bit(False).slice(body).end()


def internal(source: Address, to: Address, body: Cell, *, value: int = 10**9, bounced: bool = False) -> Cell:
    """Write a message between accounts."""
    message = Builder().uint(0b01, 2).bit(True).bit(bounced).address(source).address(to).coins(value).bit(False)
    return message.coins(0).coins(266_669).uint(7, 64).uint(NOW, 32).bit(False).bit(True).ref(body).end()


def compute_phase(*, success: bool = True, exit_code: int = 0, gas: int = 5924) -> Cell:
    """Write a compute phase that ran."""
    rest = Builder().var_uint(gas, 3).var_uint(10**6, 3).bit(True).var_uint(10_000, 2).int(0, 8).int(exit_code, 32)
    rest.bit(True).int(-1, 32).uint(77, 32).bytes(bytes(64))
    return Builder().bit(True).bit(success).uint(0, 2).coins(400 * gas).ref(rest.end()).end()


SKIPPED = Builder().bit(False).uint(0b10, 2).end()
SUSPENDED = Builder().bit(False).uint(0b110, 3).end()


def action_phase(*, success: bool = True, result_code: int = 0, skipped: int = 0, messages: int = 1) -> Cell:
    """Write an action phase."""
    phase = Builder().bit(success).bit(True).bit(False).uint(0b10, 2).bit(True).coins(400_000).bit(False)
    phase.int(result_code, 32).bit(True).int(3, 32).uint(1, 16).uint(0, 16).uint(skipped, 16).uint(messages, 16)
    return phase.bytes(bytes(32)).var_uint(1, 3).var_uint(500, 3).end()


BOUNCE_OK = Builder().bit(True).var_uint(1, 3).var_uint(5, 3).coins(1).coins(2).end()
BOUNCE_NO_FUNDS = Builder().uint(0b01, 2).var_uint(1, 3).var_uint(5, 3).coins(9).end()
BOUNCE_NEGATIVE = Builder().uint(0b00, 2).end()


def description(
    compute: Cell, action: Cell | None, *, aborted: bool = False, bounce: Cell | None = None, tag: int = 0
) -> Cell:
    """Write what an ordinary transaction did."""
    described = Builder().uint(tag, 4).bit(False)
    described.bit(True).coins(3).bit(True).coins(1).bit(False)  # storage
    described.bit(True).bit(True).coins(2).coins(10**9).bit(False)  # credit
    described.slice(compute).maybe_ref(action).bit(aborted)
    if bounce is None:
        described.bit(False)
    else:
        described.bit(True).slice(bounce)
    return described.bit(False).end()


DONE = description(compute_phase(), action_phase())


def transaction(
    account: Address,
    lt: int,
    *,
    previous: Item | None = None,
    message: Cell | None = None,
    sent: tuple[Cell, ...] = (),
    described: Cell = DONE,
    tag: int = 0b0111,
    count: int | None = None,
) -> Item:
    """Write a transaction."""
    out = build({number: Builder().ref(cell).end() for number, cell in enumerate(sent)}, 15)
    cell = Builder().uint(tag, 4).bytes(account.hash).uint(lt, 64)
    if previous is None:
        cell.bytes(bytes(32)).uint(0, 64)
    else:
        cell.bytes(previous.cell.hash).uint(previous.lt, 64)
    cell.uint(NOW, 32).uint(len(sent) if count is None else count, 15).uint(0b1010, 4)
    cell.ref(Builder().maybe_ref(message).maybe_ref(out).end()).coins(5_000_000).bit(False)
    update = Builder().uint(0x72, 8).bytes(bytes(64)).end()
    return Item(lt, cell.ref(update).ref(described).end())


def history(account: Address, length: int) -> list[Item]:
    """Write that many transactions, the newest first."""
    items: list[Item] = []
    for number in range(length):
        body = Builder().uint(number, 32).end()
        message = internal(WALLET, account, body)
        previous = items[-1] if items else None
        items.append(transaction(account, 1000 + 10 * number, previous=previous, message=message))
    return items[::-1]
