"""Recovery after a backup was restored: what `registry.recovery` goes by, from a copy of the log and from the chain.

    (1) chain   the contract as it is pinned, its checkpoint, and every publication since the last that is known here
    (2) note    of the copy, signed with the log's own key, and of no fewer records than are on chain
    (3) copy    each record from that epoch on is what its tile says
    (4) apply   all of it or nothing, in the registry

A copy is a co-signer, any other service that serves the log, or a folder with the files of one (C2SP tlog-tiles).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias

from attestd.chain.ledger import Ledger
from attestd.errors import Reason, Unavailable
from attestd.peer import Peer
from attestd.registrar.leading import Leader
from attestd.registrar.orders import Orders
from attestd.registrar.publishing import notary
from attestd.registrar.reconciling import Published, Reconciler
from attestd.registry import Registry, recovery
from attestd.registry.database import Transaction
from attestd.registry.epochs import Coordinates, Signature
from attestd.registry.recovery import Copy, Landed, Recovery
from attestd.signature import SigningKey, ed25519_public_key, ed25519_verifies
from attestd.transparency.audit import MAX_FILE_SIZE, read_bundle
from attestd.transparency.checkpoint import signing_hash
from attestd.transparency.note import MAX_NOTE_SIZE, NoteKey, TreeHead, open_head
from attestd.transparency.record import Record
from attestd.transparency.tiles import TILE_WIDTH
from attestd.tvm.address import Address

# Returns a file of the log by its path, such as checkpoint or tile/0/000.
Fetch: TypeAlias = Callable[[str], bytes]

_NOTE: Final = "checkpoint"


@dataclass(frozen=True, slots=True)
class Log:
    """Which log: the name of the registry, and the key that signs its notes."""

    origin: str
    key: SigningKey

    def head(self, note: bytes) -> TreeHead:
        """Open a note of this log. Raises `Malformed`, `NotAuthentic` (`note.signature`)."""
        return open_head(note, NoteKey(self.origin, ed25519_public_key(self.key)))


@dataclass(frozen=True, slots=True)
class Chain:
    """Where the log's epochs are published."""

    ledger: Ledger
    wallet: Address
    orders: Orders


class _Rehearsed(Exception):
    """Undoes what was only to be shown."""

    def __init__(self, shown: Recovery) -> None:
        super().__init__()
        self.shown = shown


async def recover(
    registry: Registry, log: Log, chain: Chain | None, fetch: Fetch, at: datetime, *, rehearse: bool = False
) -> Recovery:
    """Let a registry go on from what was published before its database was lost; `rehearse` undoes it again.

    Raises as `registry.recovery.recover` and the parts that the story above names; `Unavailable` (`log.behind`) where
    the copy lacks records. After any refusal nothing has changed.
    """
    first, landed = (0, []) if chain is None else await _landed(registry, chain)  # (1)
    head = log.head(fetch(_NOTE))  # (2)
    on_chain = landed[-1].checkpoint.tree_size if landed else first
    if head.size < on_chain:
        raise Unavailable(Reason.LOG_BEHIND, found=f"{head.size} records", wanted=f"{on_chain} or more")
    hashes: list[bytes] = []
    records: list[Record] = []
    for index in range(first // TILE_WIDTH, -(-head.size // TILE_WIDTH)):  # (3)
        bundle, known = read_bundle(index, head.size, fetch), max(0, first - index * TILE_WIDTH)
        hashes += bundle.hashes[known:]
        records += bundle.records[known:]
    copy = Copy(first, records, hashes, head.root, landed)
    work = _rehearsed if rehearse else recovery.recover
    try:
        return registry.write(work, copy, notary(log.key, log.origin), at).result()  # (4)
    except _Rehearsed as rehearsed:
        return rehearsed.shown


def folder(path: Path) -> Fetch:
    """Return what reads the files of a copy in a folder; raises `OSError` where one cannot be read."""

    def fetch(name: str) -> bytes:
        with (path / name).open("rb") as file:
            return file.read(MAX_FILE_SIZE + 1)  # one that is larger has another size than it must have

    return fetch


def service(peer: Peer) -> Fetch:
    """Return what reads them from a service. Raises `Unavailable`."""
    return lambda name: peer.read(f"/v1/log/{name}", MAX_NOTE_SIZE if name == _NOTE else MAX_FILE_SIZE)


async def _landed(registry: Registry, chain: Chain) -> tuple[int, list[Landed]]:
    """Return how long the log is in the last epoch that is confirmed here, and the epochs after it on chain."""
    seen = await chain.ledger.registry()
    reconciler = Reconciler(Leader(registry), chain.ledger, chain.wallet, chain.orders)
    reconciler.require_pinned(seen)
    below, published = await reconciler.history(seen)
    verifiers, place = dict(seen.verifiers), (seen.account.seqno, seen.account.utime)
    landed = [
        Landed(one.checkpoint, _signatures(one, verifiers, chain.orders), Coordinates(*place, one.lt, one.hash))
        for one in published
    ]
    return 0 if below is None else below.checkpoint.tree_size, landed


def _signatures(one: Published, verifiers: dict[int, bytes], orders: Orders) -> tuple[Signature, ...]:
    """Return the signatures that brought an epoch to the chain, by those who are verifiers still."""
    signed = signing_hash(one.checkpoint, orders.global_id, orders.registry)
    return tuple(
        Signature(verifiers[index], signature)
        for index, signature in one.signatures
        if index in verifiers and ed25519_verifies(verifiers[index], signature, signed)
    )


def _rehearsed(transaction: Transaction, copy: Copy, note: Callable[[int, bytes], bytes], at: datetime) -> Recovery:
    raise _Rehearsed(recovery.recover(transaction, copy, note, at))
