"""One message from a wallet, by hand: sent, and followed until it is known what became of it.

For an operator who deploys and governs. What publishes day after day keeps what it signs and survives being killed
(`registry/publication.py`); here whoever waits sees the end, or asks the chain again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from attestd.chain.liteservers import Liteservers
from attestd.chain.transactions import Transaction, load_message
from attestd.chain.wallet import Transfer, Wallet
from attestd.errors import Reason, Unavailable
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc

# For how many seconds the network may take the message.
VALIDITY: Final = 60
_TON: Final = 10**9
# What the wallet needs beside the value: gas, storage and forwarding of a transfer cost about a tenth.
FEES: Final = 30_000_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message: the wallet's transaction, and that of the account which received it."""

    sent: Transaction
    received: Transaction


async def deliver(
    servers: Liteservers, wallet: Wallet, transfer: Transfer, clock: Callable[[], float], *, every: float = 1.0
) -> Delivery:
    """Send one message and wait for what comes of it; asks every so many seconds.

    Raises `Unavailable` (`chain.wallet`) where the wallet cannot pay, where the message was not taken in its time, and
    where the wallet did not pass it on; and what reading raises.
    """
    before = (await servers.account(wallet.address)).account
    seqno = wallet.seqno(before.account)
    balance = 0 if before.account is None else before.account.balance
    if balance < transfer.value + FEES:
        found = f"{balance / _TON:.9g} TON at {wallet.address}"
        raise _refused(found, f"{(transfer.value + FEES) / _TON:.9g} TON, fees included")
    receiver = (await servers.account(transfer.to)).account.last_lt
    until = int(clock()) + VALIDITY
    message = wallet.sign((transfer,), seqno=seqno, valid_until=until)
    await servers.send(dump_boc(message))
    known = load_message(message).normalized_hash
    sent = await _wait(servers, wallet.address, before.last_lt, lambda found: _took(found, known), until, every)
    if not sent.sent:
        raise _refused("a wallet that took the message and passed nothing on", "TON for the value and the fees")
    (passed,) = sent.sent
    # It is on its way now, whatever its own time was.
    received = await _wait(
        servers, transfer.to, receiver, lambda found: _received(found, passed.hash), until + VALIDITY, every
    )
    return Delivery(sent, received)


async def _wait(
    servers: Liteservers,
    address: Address,
    since: int,
    wanted: Callable[[Transaction], bool],
    until: int,
    every: float,
) -> Transaction:
    """Ask for the transactions of an account until the wanted one is there, or cannot come any more."""
    while True:
        proved = (await servers.account(address)).account
        found = await servers.transactions(address, since=since, last_lt=proved.last_lt, last_hash=proved.last_hash)
        for transaction in found:
            if wanted(transaction):
                return transaction
        if proved.gen_utime > until:
            raise _refused(f"no such transaction of {address} by {proved.gen_utime}", f"one by {until}")
        await asyncio.sleep(every)


def _took(transaction: Transaction, normalized: bytes) -> bool:
    return transaction.message is not None and transaction.message.normalized_hash == normalized


def _received(transaction: Transaction, message: bytes) -> bool:
    return transaction.message is not None and transaction.message.hash == message


def _refused(found: str, wanted: str) -> Unavailable:
    return Unavailable(Reason.CHAIN_WALLET, found=found, wanted=wanted)
