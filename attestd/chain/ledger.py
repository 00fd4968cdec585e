"""What publishing needs of a chain: two accounts with their proofs, one way to send, what happened since.

Two implement `Ledger`: the liteservers (`liteservers.py`), and the chain that tests break at will. Amounts are nanoton,
times POSIX seconds, hashes raw bytes of 32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from attestd.transparency.checkpoint import Checkpoint
from attestd.tvm.address import Address
from attestd.tvm.cell import Cell

# A transaction is a few seconds apart from the next at least; who is further behind asks on from where an answer ends.
MAX_HISTORY: Final = 1024


class AccountStatus(StrEnum):
    """What an account is: `AccountState` of block.tlb, and the absence of any."""

    ABSENT = "absent"
    UNINIT = "uninit"
    FROZEN = "frozen"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenAccount:
    """An account as one block has it, present or absent, proved to belong to that block."""

    seqno: int  # of the shard block, which a masterchain block refers to
    utime: int  # of the same block
    status: AccountStatus
    balance: int
    code_hash: bytes | None  # where it is active
    last_lt: int  # of the account's last transaction; 0 and zeros before the first
    last_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRegistry:
    """The contract as one block has it. What it stores is there exactly where it is active and its code is pinned."""

    account: SeenAccount
    paused: bool = False
    checkpoint: Checkpoint | None = None  # null before the first publication, too
    admin: Address | None = None
    threshold: int = 0
    verifiers: tuple[tuple[int, bytes], ...] = ()  # index and Ed25519 public key, by index
    max_validity: int = 0
    is_signed: bool = True  # the checkpoint, if there is one, by enough of these verifiers: readers want that


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenWallet:
    """The wallet as one block has it."""

    account: SeenAccount
    seqno: int  # that its next message must carry; 0 before it is deployed


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTransaction:
    """A transaction of one account, part of the hash chain that ends in its proved last one."""

    lt: int
    hash: bytes
    utime: int
    message: bytes  # hash of the message that it took in, normalized if from outside; zeros where it took none
    body: Cell | None  # of that message
    compute: int | None  # exit code; null where the compute phase was skipped
    action: int | None  # result code; null where there was no action phase
    sent: tuple[bytes, ...]  # hashes of the messages that it sent
    fees: int  # everything that it cost: gas, storage, actions, forwarding

    @property
    def succeeded(self) -> bool:
        """Whether both phases did: after a failure in the action phase the exit code alone looks well."""
        return self.compute in (0, 1) and self.action == 0


class Ledger(Protocol):
    """A chain as the publisher sees it.

    Reading raises `Unavailable` where servers do not answer, disagree, are behind or prove nothing. What it returns may
    still vanish with its block: a later answer may know less than an earlier one.
    """

    async def registry(self) -> SeenRegistry:
        """Return the contract as of a recent block."""

    async def wallet(self) -> SeenWallet:
        """Return the wallet as of a recent block."""

    async def transactions(
        self, of: Address, *, since: int, last_lt: int, last_hash: bytes
    ) -> Sequence[SeenTransaction]:
        """Return the transactions of an account after the logical time `since`, newest first, from its last one on.

        At most `MAX_HISTORY` of them; then asking again from the last of these on returns it and those before it.
        """

    async def send(self, message: bytes) -> None:
        """Hand an external message (BoC) over. That it returns says nothing; that it raises `Unavailable` neither."""


class Sender(Protocol):
    """The wallet that pays: what its key signs, and nothing that is sent."""

    @property
    def address(self) -> Address:
        """Where it lives."""

    def message(self, *, seqno: int, valid_until: int, to: Address, value: int, body: Cell) -> Cell:
        """Return the signed external message that has the wallet send one internal one; fees come apart from `value`.

        With its state where seqno is 0. Bounceable; after a failure the wallet has its value back.
        """

    def hash_of(self, message: Cell) -> bytes:
        """Return the hash by which a transaction knows such a message, in whatever envelope others have sent it."""
