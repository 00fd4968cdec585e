"""A chain in memory that follows the contract's rules, and breaks at will: lost, late, doubled, forked, refused.

Blocks are made one by one, by `block`. What is outside of them (messages that wait, faults that are due) is decided by
a seeded generator, so that a run can be repeated.
"""

import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from attestd.chain.ledger import AccountStatus, SeenAccount, SeenRegistry, SeenTransaction, SeenWallet
from attestd.chain.messages import ExitCode, load_publish
from attestd.chain.state import CODE_HASH
from attestd.errors import Reason, Unavailable
from attestd.signature import ed25519_verifies
from attestd.transparency.checkpoint import Checkpoint, signing_hash
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc, load_boc
from attestd.tvm.cell import Builder, Cell
from attestd.tvm.dictionary import parse

GLOBAL_ID = -777
REGISTRY = Address(0, sha256(b"registry").digest())
WALLET = Address(0, sha256(b"wallet").digest())
ADMIN = Address(0, sha256(b"admin").digest())
# As on a real network.
LT_PER_BLOCK = 1_000_000
SECONDS_PER_BLOCK = 3
_WALLET_GAS, _REGISTRY_GAS = 3_000_000, 4_000_000
_NOWHERE = bytes(32)


class FakeWallet:
    """A sender whose message is a cell of its own: seqno, valid_until, value, a tag, body."""

    address = WALLET

    def __init__(self, tag: int = 0) -> None:
        """Tell messages of two processes that share one wallet apart by a tag."""
        self._tag = tag

    def message(self, *, seqno: int, valid_until: int, to: Address, value: int, body: Cell) -> Cell:
        assert to == REGISTRY
        return Builder().uint(seqno, 32).uint(valid_until, 32).uint(value, 64).uint(self._tag, 32).maybe_ref(body).end()

    def hash_of(self, message: Cell) -> bytes:
        return message.hash


@dataclass
class Account:
    balance: int
    status: AccountStatus = AccountStatus.ACTIVE
    last_lt: int = 0
    last_hash: bytes = _NOWHERE


@dataclass
class State:
    """Everything that a fork takes back."""

    seqno: int = 0
    utime: int = 0
    wallet: Account = field(default_factory=lambda: Account(10**15))
    registry: Account = field(default_factory=lambda: Account(10**9))
    wallet_seqno: int = 0
    paused: bool = False
    checkpoint: Checkpoint | None = None
    spent: int = 0
    attempts: int = 0  # publishes that reached the contract
    on_the_way: tuple[tuple[int, bytes, Cell], ...] = ()  # due block, hash, body


class FaultChain:
    """A `Ledger`, and the controls of its faults."""

    def __init__(self, verifiers: Sequence[bytes], threshold: int, at: int, *, seed: int = 0) -> None:
        self.verifiers = tuple(enumerate(verifiers))
        self.is_signed = True
        self.threshold = threshold
        self.admin = ADMIN
        self.code_hash = CODE_HASH
        self.max_validity = 86400
        self.fee_factor = 1
        self.refuse_with: int | None = None  # an exit code of the contract, whatever comes
        self.fail_action = False
        self.fail_wallet = False
        self.drop = 0.0  # part of the messages that are lost
        self.double = 0.0  # part of them that are broadcast ten times
        self.late = 0.0  # part of them that come so much later that others overtake them, or their time has passed
        self.delay = 0  # blocks until a message between the accounts arrives, at most
        self.down = False
        self.deaf = False  # a message is taken and its sender told that it was not
        self.lie = 0.0  # part of the answers that prove nothing, differ from server to server, or are too old
        self.behind = 0  # blocks that answers are old, without being too old
        self.happened: Counter[str] = Counter()  # what really happened, by name
        self.chance = random.Random(seed)
        self.now = State(utime=at)
        self._history: deque[State] = deque([copy(self.now)], maxlen=32)
        self.wallet_log: list[SeenTransaction] = []
        self.registry_log: list[SeenTransaction] = []
        self.pool: list[bytes] = []
        self._late: list[tuple[int, bytes]] = []  # block in which it comes, message
        self._last_sent = b""
        self._known: dict[bytes, bytes] = {}  # messages by their hash
        self.sent = 0
        self.branch = 0

    # What the publisher sees

    async def registry(self) -> SeenRegistry:
        now = self._answer()
        account = self._account(now, now.registry)
        if account.status is not AccountStatus.ACTIVE:
            return SeenRegistry(account=account)
        return SeenRegistry(
            account=replace(account, code_hash=self.code_hash),
            paused=now.paused,
            checkpoint=now.checkpoint,
            admin=self.admin,
            threshold=self.threshold,
            verifiers=self.verifiers,
            max_validity=self.max_validity,
            is_signed=self.is_signed,
        )

    async def wallet(self) -> SeenWallet:
        now = self._answer()
        return SeenWallet(account=self._account(now, now.wallet), seqno=now.wallet_seqno)

    async def transactions(
        self, of: Address, *, since: int, last_lt: int, last_hash: bytes
    ) -> Sequence[SeenTransaction]:
        self._answer()
        log = self.registry_log if of == REGISTRY else self.wallet_log
        found = []
        for transaction in reversed(log):
            if transaction.lt <= since:
                break
            if transaction.lt <= last_lt:
                found.append(transaction)
        assert not found or found[0].hash == last_hash
        return found

    async def send(self, message: bytes) -> None:
        self._answer()
        self.sent += 1
        self._last_sent = message
        if self.chance.random() < self.drop:
            self.happened["lost"] += 1
        elif self.chance.random() < self.late:
            self.happened["late"] += 1
            self._late.append((self.now.seqno + self.chance.randint(2, 40), message))
        elif self.chance.random() < self.double:
            self.happened["doubled"] += 1
            self.pool.extend([message] * 10)
        else:
            self.pool.append(message)
        if self.deaf:
            self.happened["deaf"] += 1
            raise Unavailable(Reason.CHAIN_UNAVAILABLE, found="a connection that was cut", wanted="an answer")

    def _answer(self) -> State:
        """Return the state that an answer is about, if there is one."""
        if self.down:
            self.happened["down"] += 1
            raise Unavailable(Reason.CHAIN_UNAVAILABLE, found="nobody", wanted="a liteserver")
        if self.lie and self.chance.random() < self.lie:
            self.happened["lie"] += 1
            reason = self.chance.choice((Reason.CHAIN_PROOF, Reason.CHAIN_DISAGREES, Reason.CHAIN_STALE))
            raise Unavailable(reason, found="a lie", wanted="what is proved, of now, and the same from all")
        if not self.behind:
            return self.now
        self.happened["behind"] += 1
        return self._history[-min(self.behind + 1, len(self._history))]

    def _account(self, now: State, account: Account) -> SeenAccount:
        return SeenAccount(
            seqno=now.seqno,
            utime=now.utime,
            status=account.status,
            balance=account.balance,
            code_hash=None,
            last_lt=account.last_lt,
            last_hash=account.last_hash,
        )

    # What happens

    def block(self, count: int = 1, seconds: int = SECONDS_PER_BLOCK) -> None:
        for _ in range(count):
            before = self.now
            self.now = now = copy(before)
            now.wallet, now.registry = copy(before.wallet), copy(before.registry)
            now.seqno += 1
            now.utime += seconds
            self._include()
            self._deliver()
            self._history.append(now)

    def fork(self, depth: int) -> None:
        """Drop the last blocks; what was in them is gone, and every other message to the wallet is forgotten."""
        self.happened["fork"] += 1
        depth = min(depth, len(self._history) - 1)
        utime = self.now.utime
        for _ in range(depth):
            self._history.pop()
        self.now = copy(self._history[-1])
        self.now.wallet, self.now.registry = copy(self.now.wallet), copy(self.now.registry)
        self.now.utime = utime
        self.branch += 1
        for log, account in ((self.wallet_log, self.now.wallet), (self.registry_log, self.now.registry)):
            while log and log[-1].lt > account.last_lt:
                message = self._known.get(log.pop().message)
                if message is not None and self.chance.random() < 0.5:
                    self.pool.append(message)

    def use_wallet(self) -> None:
        """Let another process spend a seqno."""
        self._record(self.now.wallet, self.chance.randbytes(32), sent=(self.chance.randbytes(32),))
        self.now.wallet_seqno += 1

    def race(self) -> None:
        """Let another process send a message with the seqno that is next: the first of them that is included counts."""
        head = Builder().uint(self.now.wallet_seqno, 32).uint(self.now.utime + 60, 32)
        self.pool.append(dump_boc(head.uint(10**7, 64).uint(self.chance.getrandbits(32), 32).maybe_ref(None).end()))
        self.happened["race"] += 1

    def relay(self, body: Cell) -> None:
        """Let somebody else bring a body to the contract."""
        self.now.on_the_way = (*self.now.on_the_way, (0, self.chance.randbytes(32), body))

    def _include(self) -> None:
        arrived = [message for due, message in self._late if due <= self.now.seqno]
        self._late = [one for one in self._late if one[0] > self.now.seqno]
        self.happened["overtaken"] += sum(message != self._last_sent for message in arrived)
        pool, self.pool = self.pool + arrived, []
        self.chance.shuffle(pool)
        for message in pool:
            (cell,) = load_boc(message)
            slice_ = cell.slice()
            seqno, valid_until, value = slice_.load_uint(32), slice_.load_uint(32), slice_.load_uint(64)
            now = self.now
            if seqno > now.wallet_seqno and now.utime <= valid_until:
                self.pool.append(message)  # stays with a validator until its turn
            if seqno != now.wallet_seqno or now.utime > valid_until or now.wallet.status is not AccountStatus.ACTIVE:
                continue
            self._known[cell.hash] = message
            self._wallet_takes(cell, value)

    def _wallet_takes(self, cell: Cell, value: int) -> None:
        now, fees = self.now, _WALLET_GAS * self.fee_factor
        now.wallet_seqno += 1
        if self.fail_wallet or now.wallet.balance < value + fees:
            self._record(now.wallet, cell.hash, fees=fees, action=37)
            return
        sent = sha256(cell.hash + now.utime.to_bytes(8) + self.branch.to_bytes(4)).digest()
        self._record(now.wallet, cell.hash, fees=fees, sent=(sent,))
        if not cell.refs:
            self.happened["race lost"] += 1
            return
        delay = self.chance.randint(0, self.delay)
        self.happened["delayed"] += delay > 0
        now.on_the_way = (*now.on_the_way, (now.seqno + delay, sent, cell.refs[0]))

    def _deliver(self) -> None:
        now = self.now
        due = [one for one in now.on_the_way if one[0] <= now.seqno]
        now.on_the_way = tuple(one for one in now.on_the_way if one[0] > now.seqno)
        for _, digest, body in due:
            is_active = now.registry.status is AccountStatus.ACTIVE
            compute = self._judge(body) if is_active else None  # the message bounces
            action = None if compute or not is_active else 37 if self.fail_action else 0
            fees = _REGISTRY_GAS * self.fee_factor
            self._record(now.registry, digest, fees=fees, body=body, compute=compute, action=action)
            now.attempts += 1
            if compute == action == 0:
                now.checkpoint = load_publish(body)

    def _judge(self, body: Cell) -> int:
        """Say what the contract says (contract/registry.tolk)."""
        now = self.now
        if self.refuse_with is not None:
            return self.refuse_with
        checkpoint = load_publish(body)
        assert checkpoint is not None
        last = now.checkpoint
        if now.paused:
            return ExitCode.PAUSED
        if checkpoint.epoch != (0 if last is None else last.epoch) + 1:
            return ExitCode.EPOCH
        if last is not None and checkpoint.tree_size < last.tree_size:
            return ExitCode.TREE_SHRINKS
        if not now.utime < checkpoint.valid_until <= now.utime + self.max_validity:
            return ExitCode.VALID_UNTIL
        if checkpoint.issued_at > now.utime + 60 or (last is not None and checkpoint.issued_at < last.issued_at):
            return ExitCode.ISSUED_AT
        return self._judge_signatures(body, checkpoint)

    def _judge_signatures(self, body: Cell, checkpoint: Checkpoint) -> int:
        slice_ = body.slice()
        slice_.load_uint(96)
        slice_.load_ref()
        signatures = {index: one.load_bytes(64) for index, one in parse(slice_.load_maybe_ref(), 8).items()}
        signed = signing_hash(checkpoint, GLOBAL_ID, REGISTRY)
        known: Mapping[int, bytes] = dict(self.verifiers)
        if not signatures.keys() <= known.keys():
            return ExitCode.UNKNOWN_SIGNER
        if not all(ed25519_verifies(known[index], one, signed) for index, one in signatures.items()):
            return ExitCode.BAD_SIGNATURE
        return 0 if len(signatures) >= self.threshold else ExitCode.TOO_FEW_SIGNATURES

    def _record(
        self, account: Account, message: bytes, *, fees: int = 0, body: Cell | None = None, **said: Any
    ) -> None:
        """Add a transaction to an account; `said` is what both phases came to, and what was sent."""
        now, log = self.now, self.registry_log if account is self.now.registry else self.wallet_log
        lt = max(now.seqno * LT_PER_BLOCK, account.last_lt + 1)
        digest = sha256(account.last_hash + message + lt.to_bytes(8) + self.branch.to_bytes(4)).digest()
        account.last_lt, account.last_hash = lt, digest
        outcome: dict[str, Any] = {"compute": 0, "action": 0, "sent": ()} | said
        now.wallet.balance -= fees  # whoever is paid, it is out of what the wallet has sent
        now.spent += fees
        log.append(
            SeenTransaction(
                lt=lt,
                hash=digest,
                utime=now.utime,
                message=message,
                body=body,
                fees=fees,
                **outcome,
            )
        )
