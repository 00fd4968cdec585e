"""One message by hand: when it is sent at all, and by which transactions it is known what became of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from attestd.chain.account import Account
from attestd.chain.ledger import AccountStatus
from attestd.chain.sending import FEES, VALIDITY, Delivery, deliver
from attestd.chain.transactions import Transaction, load_message, load_transaction
from attestd.chain.wallet import Transfer, Wallet, WalletVersion
from attestd.errors import Reason, Unavailable
from attestd.tvm.address import Address
from attestd.tvm.boc import load_boc
from attestd.tvm.cell import Builder, Cell
from tests.chain.histories import external_in, internal, transaction
from tests.chain.registries import HERE, SIGNERS
from tests.chain.worlds import GLOBAL_ID, NOW

WALLET = Wallet(key=SIGNERS[0], version=WalletVersion.V5R1, global_id=GLOBAL_ID)
BODY, OTHER = Builder().uint(7, 32).end(), Builder().uint(8, 32).end()
TRANSFER = Transfer(to=HERE, value=10**9, body=BODY)
PASSED = internal(WALLET.address, HERE, BODY)
NO_HASH = bytes(32)

Made = Callable[[Cell], Cell | None]


@dataclass
class Scripted:
    """A network in which time passes with each question, and the message arrives where and as a test says."""

    balance: int = TRANSFER.value + FEES
    deployed: bool = True
    took: Made = lambda body: external_in(WALLET.address, body, fee=5)
    passed: tuple[Cell, ...] = (PASSED,)
    received: Made = lambda _: PASSED
    later: int = 0  # for so many questions nothing happens
    step: int = 1  # seconds between two questions
    clock: float = NOW
    sent: list[bytes] = field(default_factory=list)
    asked: list[Address] = field(default_factory=list)

    async def account(self, address: Address) -> Any:
        self.asked.append(address)
        self.clock += self.step
        account = None
        if address == WALLET.address and self.deployed:
            data = WALLET.state_init.refs[1]
            account = Account(address=address, status=AccountStatus.ACTIVE, balance=self.balance, code=BODY, data=data)
        return SimpleNamespace(
            account=SimpleNamespace(account=account, last_lt=90, last_hash=NO_HASH, gen_utime=int(self.clock))
        )

    async def send(self, message: bytes) -> int:
        self.sent.append(message)
        return 1

    async def transactions(self, of: Address, *, since: int, last_lt: int, last_hash: bytes) -> list[Transaction]:
        assert (since, last_lt, last_hash) == (90, 90, NO_HASH)
        if self.later:
            self.later -= 1
            return []
        (message,) = load_boc(self.sent[0])
        body = load_message(message).body
        cell = self.took(body) if of == WALLET.address else self.received(body)
        stranger = transaction(of, 100, message=internal(HERE, of, OTHER))
        sent = self.passed if of == WALLET.address else ()
        ours = transaction(of, 110, message=cell, sent=sent, previous=stranger)
        # One without a message, and one of somebody else, come before ours.
        return [load_transaction(item.cell) for item in (transaction(of, 95), stranger, ours)]


def delivered(network: Scripted) -> Delivery:
    return asyncio.run(deliver(network, WALLET, TRANSFER, lambda: network.clock, every=0))  # type: ignore[arg-type]


def refusal(network: Scripted) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        delivered(network)
    assert caught.value.reason is Reason.CHAIN_WALLET
    return caught.value


@pytest.mark.parametrize("later", [0, 3, 30])
def test_a_message_is_followed_to_its_end(later: int) -> None:
    network = Scripted(later=later)
    delivery = delivered(network)
    assert (delivery.sent.lt, delivery.received.lt) == (110, 110)
    assert (delivery.sent.account, delivery.received.account) == (WALLET.address.hash, HERE.hash)
    assert len(network.sent) == 1


def test_a_wallet_must_have_the_value_and_the_fees() -> None:
    network = Scripted(balance=TRANSFER.value + FEES - 1)
    assert "1.03 TON" in refusal(network).wanted
    assert network.sent == []


def test_a_wallet_that_is_not_there_has_nothing() -> None:
    network = Scripted(deployed=False)
    assert refusal(network).found.startswith("0 TON")
    assert network.sent == []


def test_the_wallets_transaction_is_the_one_with_our_message() -> None:
    never = Scripted(took=lambda _: external_in(WALLET.address, OTHER))
    assert refusal(never).found.startswith(f"no such transaction of {WALLET.address}")


def test_the_receivers_transaction_is_the_one_with_what_the_wallet_passed_on() -> None:
    never = Scripted(received=lambda _: internal(WALLET.address, HERE, OTHER))
    assert refusal(never).found.startswith(f"no such transaction of {HERE}")


def test_a_wallet_that_took_the_message_and_passed_nothing_on() -> None:
    assert "passed nothing on" in refusal(Scripted(passed=())).found


def test_nobody_waits_beyond_the_messages_own_time() -> None:
    network = Scripted(took=lambda _: None, step=10)
    refusal(network)
    # Two questions before it was sent; and the last block that may still take it is as old as it says.
    assert len(network.asked) - 2 == VALIDITY // 10 + 1


def test_what_was_passed_on_has_as_much_time_again() -> None:
    network = Scripted(received=lambda _: None, step=10)
    refusal(network)
    assert network.asked.count(HERE) - 1 == 2 * VALIDITY // 10
