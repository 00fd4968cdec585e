"""The publisher: brings one epoch after the other to the chain, each of them exactly once (registry.md, 6).

Each round, whatever the last one came to:

    (1) lease       one process publishes, of those that can read the chain; it writes under its token
    (2) read        the contract and the wallet, with proofs
    (3) require     the contract is the one that is pinned, governed by those who are
    (4) reconcile   what is on chain is confirmed; what is no longer there is live again; what is not ours stops all
    (5) settle      what became of the messages that were sent
    (6) sign        the next candidate, by our own key and by co-signers, until the contract's threshold
    (7) send        the message that is waiting, again; or a new one, written down first, if none can land any more

Nothing is remembered between rounds but what the database and the chain hold, so that a round may end anywhere. What
stops publishing is raised as `Stopped` and tried again in the next round: it goes on by itself when the cause is gone.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from time import monotonic
from typing import Final, ParamSpec, TypeVar

from attestd.chain.ledger import (
    AccountStatus,
    Ledger,
    SeenRegistry,
    SeenWallet,
    Sender,
)
from attestd.chain.messages import PUBLISH_VALUE, publish_body
from attestd.errors import AttestdError, Reason, Unavailable
from attestd.metrics import Metrics
from attestd.registrar.cosigning import Cosigner, Quorum
from attestd.registrar.leading import Leader
from attestd.registrar.orders import Orders, Stopped
from attestd.registrar.reconciling import Reconciler
from attestd.registry import Registry, epochs, publication
from attestd.registry.database import Transaction
from attestd.registry.epochs import Candidate
from attestd.registry.publication import Message, MessageState
from attestd.tvm.boc import dump_boc

P = ParamSpec("P")
T = TypeVar("T")

_log: Final = logging.getLogger(__name__)

# Seconds between rounds while something is under way, which is about a block; and while nothing is.
_EVERY: Final = 3
_IDLE: Final = 20
# For how long a message may land: some blocks, so that what was lost is soon sent anew.
_MESSAGE: Final = 60
_TON: Final = 1_000_000_000
# The wallet's own fees, at most, in nanoton: it costs 3 million (registry.md, Measured costs).
_FEES: Final = 20_000_000
_COST: Final = PUBLISH_VALUE + _FEES
# What stays in the wallet for its storage.
_RESERVE: Final = 10_000_000
_DAY: Final = timedelta(days=1)
# The contract takes no checkpoint that was issued later than this after its block (exit code 414).
_AHEAD: Final = 60
# After a refusal: twice as long each time.
_FIRST_PAUSE: Final = 15
_LONGEST_PAUSE: Final = 900


class Publisher:
    """One process's part in publishing: it leads, or waits until it may."""

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        sender: Sender,
        cosigners: Sequence[Cosigner],
        *,
        orders: Orders,
        metrics: Metrics,
        clock: Callable[[], datetime],
    ) -> None:
        """Take both sides; `cosigners` begin with our own key."""
        self._metrics = metrics
        self._leader = Leader(registry)
        self._reconciler = Reconciler(self._leader, ledger, sender.address, orders)
        self._quorum = Quorum(self._leader, cosigners, orders, metrics)
        self._ledger = ledger
        self._sender = sender
        self._orders = orders
        self._clock = clock
        self.wallet: SeenWallet | None = None
        self.trouble: AttestdError | None = None  # of the last round
        self.seen: SeenRegistry | None = None  # of the last round

    @property
    def orders(self) -> Orders:
        """What the operator has decided."""
        return self._orders

    @property
    def void(self) -> int | None:
        """The epoch on chain, where too few of the verifiers in force have signed it."""
        seen = self.seen
        return None if seen is None or seen.checkpoint is None or seen.is_signed else seen.checkpoint.epoch

    async def once(self) -> bool:
        """Do one round; false while another process leads.

        Raises `Stopped`; `Unavailable` where the chain, a co-signer or the database does not answer, or the lease was
        lost. In any case the next round goes on from what is written and what is on chain.
        """
        at = self._clock()
        if not await self._leader.may_lead(at):  # (1)
            return False
        if not self._leader.has_lease:
            await self._ledger.registry()  # whose clock is wrong, or who reaches no liteserver, keeps nobody from it
        if not await self._leader.leads(at):
            return False
        async with self._leader.kept(self._clock):
            await self._lead(at)
        return True

    async def _lead(self, at: datetime) -> None:
        registry, wallet = await self._read(at)
        await self._reconciler.reconcile(registry)  # (4)
        self.seen = registry
        await self._reconciler.settle(registry, wallet)  # (5)
        candidate = await self._next(registry, wallet, at)
        if candidate is not None:
            collected = await self._quorum.collect(candidate, registry)  # (6)
            await self._send(candidate, collected, registry, wallet, at)  # (7)

    async def _read(self, at: datetime) -> tuple[SeenRegistry, SeenWallet]:
        try:
            registry, self.wallet = await self._ledger.registry(), await self._ledger.wallet()  # (2)
            self._reconciler.require_pinned(registry)  # (3)
        except Unavailable:
            await self._leader.resign(at)  # another process may see more, or have other pins
            raise
        return registry, self.wallet

    async def run(self) -> None:
        """Run until cancelled, then give the lease back. What goes wrong is logged and counted, and tried again."""
        looked = -float(_IDLE)
        try:
            while True:
                if await self._is_waited_for() or monotonic() - looked >= _IDLE:
                    await self._round()
                    looked = monotonic()
                await asyncio.sleep(_EVERY)
        finally:
            with suppress(AttestdError):
                await self.resign()

    async def _round(self) -> None:
        trouble: AttestdError | None = None
        try:
            await self.once()
        except AttestdError as error:
            trouble = error
            if str(error) != str(self.trouble):
                _log.log(logging.ERROR if isinstance(error, Stopped) else logging.WARNING, "not published: %s", error)
        except Exception as error:  # noqa: BLE001 - it is logged, and must not end what has to go on
            trouble = Unavailable(Reason.INTERNAL, found=type(error).__name__, wanted="a round of the publisher")
            _log.exception("the publisher failed")
        if trouble is not None:
            self._metrics.publication_failures.labels(trouble.reason.value).inc()
        self.trouble = trouble
        self._metrics.publication_stopped.set(isinstance(trouble, Stopped))
        if self.wallet is not None:
            self._metrics.wallet_balance.set(self.wallet.account.balance / _TON)

    async def _is_waited_for(self) -> bool:
        try:
            return await self._leader.read(_is_waited_for)
        except AttestdError:
            return True  # the round says why

    async def resign(self) -> None:
        """Let another process lead at once."""
        await self._leader.resign(self._clock())

    async def _next(self, registry: SeenRegistry, wallet: SeenWallet, at: datetime) -> Candidate | None:
        """Return the candidate that is to land next, if there is one."""
        seen, utime = registry.checkpoint, registry.account.utime
        epoch = 0 if seen is None else seen.epoch
        live = await self._leader.read(epochs.live)
        if live is not None and live.checkpoint.valid_until < utime:
            await self._leader.write(epochs.lapse, live.number)
            return None
        candidate = live or await self._leader.read(epochs.unsigned)
        if candidate is None or candidate.number != epoch + 1:
            return None
        if live is not None:
            await self._leader.read(_require_current, live)  # what is held back goes to nobody else
        else:
            await self._require_acceptable(candidate, registry)
            self._require_funds(wallet)
            await self._leader.read(_require_spendable, at, cap=self._orders.spending_cap)
            if candidate.checkpoint.valid_until <= utime or await self._leader.read(epochs.is_outdated, candidate):
                return None  # nobody has seen it: another takes its place
        return candidate

    async def _require_acceptable(self, candidate: Candidate, registry: SeenRegistry) -> None:
        """Require what the contract would take: what is signed stands in the way of the next until it has expired."""
        checkpoint, utime = candidate.checkpoint, registry.account.utime
        if registry.paused:
            raise Stopped(Reason.CHAIN_PAUSED, found="a paused registry", wanted="one that takes checkpoints")
        if checkpoint.issued_at > utime + _AHEAD:
            found = f"a clock {checkpoint.issued_at - utime} s ahead"
            raise Stopped(Reason.CHAIN_CLOCK, found=found, wanted="the chain's time")
        if checkpoint.valid_until > utime + registry.max_validity:
            raise Stopped(
                Reason.CHAIN_CLOCK,
                found=f"a checkpoint for {checkpoint.valid_until - utime} s",
                wanted=f"a lower checkpoint_validity: the contract takes {registry.max_validity} s",
            )

    async def _send(
        self,
        candidate: Candidate,
        collected: Mapping[int, bytes],
        registry: SeenRegistry,
        wallet: SeenWallet,
        at: datetime,
    ) -> None:
        if registry.paused:
            raise Stopped(Reason.CHAIN_PAUSED, found="a paused registry", wanted="one that takes checkpoints")
        opened = await self._leader.read(publication.open_messages)
        # Whoever relayed an earlier epoch was faster than our message for it, which changes nothing any more.
        waiting = [message for message in opened if message.number >= candidate.number]
        if not waiting:
            self._require_funds(wallet)
            waiting = [await self._write_down(candidate, collected, wallet, at)]
        for message in waiting:
            # One for another candidate may land, and then only costs: it is not helped along.
            if message.state is MessageState.WAITING and (message.number, message.candidate) == _name(candidate):
                await self._leader.read(_require_current, candidate)
                await self._ledger.send(message.boc)

    async def _write_down(
        self, candidate: Candidate, collected: Mapping[int, bytes], wallet: SeenWallet, at: datetime
    ) -> Message:
        """Make a message and store it: the only one that can land, until its time has passed on chain."""
        valid_until = min(candidate.checkpoint.valid_until, wallet.account.utime + _MESSAGE)
        cell = self._sender.message(
            seqno=wallet.seqno,
            valid_until=valid_until,
            to=self._orders.registry,
            value=PUBLISH_VALUE,
            body=publish_body(candidate.checkpoint, collected, query_id=candidate.number),
        )
        message = Message(
            hash=self._sender.hash_of(cell),
            number=candidate.number,
            candidate=candidate.candidate,
            wallet_seqno=wallet.seqno,
            since=wallet.account.last_lt,
            valid_until=valid_until,
            boc=dump_boc(cell),
            created_at=at,
            cost=_COST,
        )
        await self._leader.write(_stored, message, candidate, cap=self._orders.spending_cap)
        return message

    def _require_funds(self, wallet: SeenWallet) -> None:
        account = wallet.account
        if account.status is AccountStatus.FROZEN:
            raise Stopped(Reason.CHAIN_FROZEN, found="a frozen wallet", wanted="TON for its storage")
        least = _COST + _RESERVE
        if account.balance < least:
            raise Stopped(Reason.CHAIN_BALANCE, found=f"{account.balance} nanoton", wanted=f"{least} or more")


def _is_waited_for(transaction: Transaction) -> bool:
    """Tell whether anything is to be published, or anything that was sent is not accounted for."""
    found = epochs.live(transaction), epochs.unsigned(transaction)
    return any(candidate is not None for candidate in found) or bool(publication.open_messages(transaction))


def _stored(transaction: Transaction, message: Message, candidate: Candidate, *, cap: int) -> None:
    """Store a message where the candidate may still be published, and what it may cost can be spent."""
    _require_current(transaction, candidate)
    _require_spendable(transaction, message.created_at, cap=cap)
    failed = [
        one
        for one in publication.messages_of(transaction, candidate.number, candidate.candidate)
        if one.state is MessageState.REFUSED
    ]
    if failed:
        pause = min(_FIRST_PAUSE * 2 ** (len(failed) - 1), _LONGEST_PAUSE)
        if abs((message.created_at - failed[-1].created_at).total_seconds()) < pause:
            raise Stopped(Reason.CHAIN_REFUSED, found=failed[-1].outcome, wanted="exit code 0 in both phases")
    publication.store(transaction, message)


def _require_spendable(transaction: Transaction, at: datetime, *, cap: int) -> None:
    spent = publication.spent(transaction, at - _DAY)
    next_one = max(_COST, publication.last_cost(transaction))
    if spent + next_one > cap:
        raise Stopped(
            Reason.CHAIN_SPENDING_CAP, found=f"{spent} nanoton within a day, {next_one} to come", wanted=f"{cap} in all"
        )


def _require_current(transaction: Transaction, candidate: Candidate) -> None:
    """Look once more, last of all, at what a candidate rests on: policies and revocations (attacks.md, section 7)."""
    live = epochs.live(transaction)
    if live is None or _name(live) != _name(candidate) or epochs.is_outdated(transaction, candidate):
        raise Stopped(
            Reason.CHAIN_OUTDATED,
            found=f"epoch {candidate.number} with a key that fell",
            wanted="the candidate after it, when this one has expired",
        )


def _name(candidate: Candidate) -> tuple[int, int]:
    return candidate.number, candidate.candidate
