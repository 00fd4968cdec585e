"""Reconciliation: what the chain holds, and what became of what was sent to it, taken down in the registry.

The chain is right, and the registry follows: an epoch that is there is confirmed, one that is not there any more is
live again, and one that was not built here stops everything before anything is overwritten (attacks.md, B04, B08, B10).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from attestd.chain.ledger import (
    MAX_HISTORY,
    AccountStatus,
    Ledger,
    SeenAccount,
    SeenRegistry,
    SeenTransaction,
    SeenWallet,
)
from attestd.chain.messages import load_publish, load_published
from attestd.chain.state import CODE_HASH
from attestd.errors import Malformed, NotAuthentic, Reason, Unavailable
from attestd.registrar.leading import Leader
from attestd.registrar.orders import Orders, Stopped
from attestd.registry import epochs, publication
from attestd.registry.database import Transaction
from attestd.registry.epochs import Candidate, Coordinates
from attestd.registry.publication import Message, MessageState
from attestd.transparency.checkpoint import Checkpoint
from attestd.tvm.address import Address

_log: Final = logging.getLogger(__name__)

# A message between two contracts takes some blocks; one that took this long is not on its way any more.
_NEVER: Final = 600
# Logical time grows by about a million per block; after a fork a transaction may be found a little earlier than before.
_LT_MARGIN: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint that a transaction of the contract has put there."""

    checkpoint: Checkpoint
    signatures: tuple[tuple[int, bytes], ...]  # by the index that a verifier had then
    lt: int
    hash: bytes


class Reconciler:
    """Follows one contract, and the wallet that pays."""

    def __init__(self, leader: Leader, ledger: Ledger, wallet: Address, orders: Orders) -> None:
        """Remember nothing of the chain yet."""
        self._leader = leader
        self._ledger = ledger
        self._wallet = wallet
        self._orders = orders
        self._looked_at: tuple[int, bytes] | None = None  # last transaction of the contract that was reconciled

    def require_pinned(self, registry: SeenRegistry) -> None:
        """Require the contract that is meant, under those who are to govern it. Raises `Stopped`."""
        account, orders = registry.account, self._orders
        if account.status is AccountStatus.FROZEN:
            raise Stopped(Reason.CHAIN_FROZEN, found="a frozen registry", wanted="TON for its storage")
        if account.status is not AccountStatus.ACTIVE:
            raise Stopped(Reason.CHAIN_ACCOUNT, found=f"{account.status} where the registry should be", wanted="it")
        if account.code_hash != CODE_HASH:
            raise Stopped(Reason.CHAIN_CODE, found=_hex(account.code_hash), wanted=CODE_HASH.hex())
        for name, found, wanted in (
            ("admin", registry.admin, orders.admin),
            ("verifiers", registry.verifiers, orders.verifiers),
            ("threshold", registry.threshold, orders.threshold),
        ):
            if wanted and found != wanted:
                raise Stopped(Reason.CHAIN_OWNER, found=f"another {name}", wanted=f"the {name} of the network file")

    async def reconcile(self, registry: SeenRegistry) -> None:
        """Bring what the database says is on chain up to what is, in one transaction, or stop."""
        account, seen = registry.account, registry.checkpoint
        last = (account.last_lt, account.last_hash)
        epoch = 0 if seen is None else seen.epoch
        known = await self._leader.read(epochs.confirmed)
        if self._looked_at == last and (0 if known is None else known.number) == epoch:
            return
        if epoch > await self._leader.read(epochs.highest):
            raise await self._not_ours(seen)
        below, published = await self.history(registry)
        reached = 0 if below is None else below.number
        ours = [await self._ours(one, reached + place) for place, one in enumerate(published, 1)]
        place = (account.seqno, account.utime)
        landed = [(one, Coordinates(*place, tx.lt, tx.hash)) for one, tx in zip(ours, published, strict=True)]
        await self._leader.write(_reconciled, epoch, landed)
        self._looked_at = last

    async def settle(self, registry: SeenRegistry, wallet: SeenWallet) -> None:
        """Take down what became of the messages that were sent."""
        for message in await self._leader.read(publication.open_messages):
            state, cost, outcome = await self._outcome(message, registry, wallet)
            if (state, cost) != (message.state, message.cost):
                await self._leader.write(publication.settle, message, state, cost=cost, outcome=outcome)

    async def history(self, registry: SeenRegistry) -> tuple[Candidate | None, list[Published]]:
        """Return the last epoch that is where it was confirmed, and all that was published after it.

        Raises `Unavailable` (`chain.proof`) where that does not lead to what the contract stores.
        """
        account, seen = registry.account, registry.checkpoint
        epoch = 0 if seen is None else seen.epoch
        below = await self._leader.read(epochs.confirmed, epoch)
        while True:
            since = 0 if below is None or below.coordinates is None else below.coordinates.lt - 1
            found = await self._transactions(self._orders.registry, account, since)
            if below is None or any(tx.hash == below.coordinates.hash for tx in found if below.coordinates):
                break
            below = await self._leader.read(epochs.confirmed, below.number - 1)
        reached = 0 if below is None else below.number
        published = [one for tx in reversed(found) if (one := _published(tx)) is not None]
        published = [one for one in published if one.checkpoint.epoch > reached]
        if seen is not None and (published[-1].checkpoint if published else below and below.checkpoint) != seen:
            # What the contract stores is proved; a history without it is only incomplete.
            raise Unavailable(Reason.CHAIN_PROOF, found=f"no transaction for epoch {epoch}", wanted="all of them")
        return below, published

    async def _ours(self, published: Published, number: int) -> Candidate:
        """Return the candidate that was published. Raises `Stopped` where it is none of ours (attacks.md, B10)."""
        checkpoint = published.checkpoint
        if checkpoint.epoch == number:
            for candidate in await self._leader.read(epochs.of_number, number):
                if candidate.checkpoint == checkpoint:
                    return candidate
        raise await self._not_ours(checkpoint)

    async def _not_ours(self, seen: Checkpoint | None) -> Stopped:
        found = "none" if seen is None else f"epoch {seen.epoch} of {seen.tree_size} records"
        wanted = f"one of the {await self._leader.read(epochs.highest)} that were built here"
        return Stopped(Reason.CHAIN_AHEAD, found=found, wanted=wanted)

    async def _outcome(
        self, message: Message, registry: SeenRegistry, wallet: SeenWallet
    ) -> tuple[MessageState, int, str]:
        """Return what became of a message so far, what it cost, and what the chain said to it."""
        since = max(0, message.since - _LT_MARGIN)
        if wallet.seqno <= message.wallet_seqno:
            if wallet.account.utime > message.valid_until:
                return MessageState.LAPSED, 0, ""
            return MessageState.WAITING, message.cost, ""
        found = await self._transactions(self._wallet, wallet.account, since)
        own = next((tx for tx in found if tx.message == message.hash), None)
        if own is None:
            return MessageState.TAKEN, 0, "another message with its seqno"
        if not own.succeeded or not own.sent:
            return MessageState.REFUSED, own.fees, _said("the wallet", own)
        arrived = await self._transactions(self._orders.registry, registry.account, since)
        there = next((tx for tx in arrived if tx.message in own.sent), None)
        if there is not None:
            state = MessageState.DELIVERED if there.succeeded else MessageState.REFUSED
            return state, own.fees + there.fees, _said("the contract", there)
        if registry.account.utime > message.valid_until + _NEVER:
            return MessageState.REFUSED, message.cost, "it never arrived"
        return MessageState.LANDED, message.cost, ""

    async def _transactions(self, of: Address, account: SeenAccount, since: int) -> Sequence[SeenTransaction]:
        """Return all transactions after a logical time, newest first."""
        found: list[SeenTransaction] = []
        last = (account.last_lt, account.last_hash)
        while last[0] > since:
            page = await self._ledger.transactions(of, since=since, last_lt=last[0], last_hash=last[1])
            found += page[1:] if found else page
            if len(page) < MAX_HISTORY:
                break
            last = (page[-1].lt, page[-1].hash)
        return found


def _reconciled(transaction: Transaction, epoch: int, landed: Sequence[tuple[Candidate, Coordinates]]) -> None:
    """Take down what the chain holds, and nothing above it."""
    if epochs.unconfirm(transaction, epoch):
        _log.warning("the chain is back at epoch %d: what was published after it is published again", epoch)
        publication.reopen(transaction, epoch)
    for candidate, coordinates in landed:
        epochs.confirm(transaction, candidate, coordinates)


def _published(transaction: SeenTransaction) -> Published | None:
    """Return what a transaction of the contract has published, if that is what it did."""
    if transaction.body is None or not transaction.succeeded:
        return None
    try:
        checkpoint = load_publish(transaction.body)
        if checkpoint is None:
            return None
        return Published(checkpoint, load_published(transaction.body), transaction.lt, transaction.hash)
    except (Malformed, NotAuthentic):  # anybody may send anything, a pruned branch included
        return None


def _said(who: str, transaction: SeenTransaction) -> str:
    compute = "not run" if transaction.compute is None else f"exit code {transaction.compute}"
    action = "no actions" if transaction.action is None else f"action result {transaction.action}"
    return f"{who}: {compute}, {action}"


def _hex(digest: bytes | None) -> str:
    return "no code" if digest is None else digest.hex()
