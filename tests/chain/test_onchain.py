"""The chain as its publisher sees it: what is stored, who pays, and what became of messages."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from attestd.chain.ledger import AccountStatus, SeenAccount, SeenRegistry, SeenTransaction
from attestd.chain.liteservers import Agreed
from attestd.chain.network import Liteserver, Network
from attestd.chain.onchain import OnChain
from attestd.chain.proof import prove_account
from attestd.chain.state import CODE_HASH, dump_state
from attestd.chain.transactions import Transaction, load_message, load_transaction
from attestd.chain.wallet import Wallet, WalletVersion
from attestd.tvm.address import Address
from attestd.tvm.cell import Builder, Cell
from tests.chain.histories import (
    SKIPPED,
    Item,
    action_phase,
    compute_phase,
    description,
    external_in,
    external_out,
    internal,
    transaction,
)
from tests.chain.registries import GOVERNANCE, HERE, SIGNERS, VERIFIERS, Registry
from tests.chain.worlds import GLOBAL_ID, NOW, SHARD_AGE, Stored, World, account_cell

SERVER = Liteserver("127.0.0.1", 1, bytes(32))
WALLET = Wallet(key=SIGNERS[0], version=WalletVersion.V5R1, global_id=GLOBAL_ID)
ROTATED = replace(GOVERNANCE, verifiers=VERIFIERS[1:])


NETWORK = Network(liteservers=(SERVER,), global_id=GLOBAL_ID, agree=1)


@dataclass
class Proving:
    """Liteservers that prove one world, know one history, and take every message."""

    world: World
    history: Sequence[Item] = ()
    network: Network = NETWORK
    taken: list[bytes] = field(default_factory=list)

    async def account(self, address: Address) -> Agreed:
        proved = prove_account(self.world.answer(address), self.world.head(address), address, GLOBAL_ID)
        return Agreed(account=proved, servers=(SERVER,), others=())

    async def transactions(self, of: Address, *, since: int, last_lt: int, last_hash: bytes) -> list[Transaction]:
        assert (of, since, last_lt, last_hash) == (HERE, 7, self.history[0].lt, self.history[0].cell.hash)
        return [load_transaction(item.cell) for item in self.history]

    async def send(self, message: bytes) -> int:
        self.taken.append(message)
        return 1


def ledger(world: World, history: Sequence[Item] = (), taken: list[bytes] | None = None) -> OnChain:
    servers = Proving(world, history, taken=[] if taken is None else taken)
    return OnChain(servers, HERE, WALLET)  # type: ignore[arg-type]  # all that is asked


@pytest.mark.parametrize(
    ("changes", "is_signed"),
    [
        ({}, True),
        ({"published": False}, True),
        ({"signers": {0: 0}}, False),
        # Signed by verifiers 0 and 2, of whom the first has left.
        ({"governance": ROTATED}, False),
        ({"governance": replace(ROTATED, threshold=1)}, True),
        ({"governance": replace(GOVERNANCE, threshold=3)}, False),
    ],
)
def test_signatures_are_judged_as_by_readers(changes: Mapping[str, object], is_signed: bool) -> None:
    made = Registry().but(**changes)
    seen = asyncio.run(ledger(made.world()).registry())
    assert (seen.is_signed, seen.threshold) == (is_signed, made.governance.threshold)


OTHER_CODE = Builder().uint(1, 8).end()
DATA = dump_state(Registry().state)
ONE_TON = 10**9


def test_what_a_registry_has_stored() -> None:
    made = Registry().but(paused=True)
    seen = asyncio.run(ledger(made.world()).registry())
    assert seen == SeenRegistry(
        account=SeenAccount(
            seqno=200,
            utime=NOW - SHARD_AGE,
            status=AccountStatus.ACTIVE,
            balance=ONE_TON,
            code_hash=CODE_HASH,
            last_lt=41,
            last_hash=bytes(range(32)),
        ),
        paused=True,
        checkpoint=made.checkpoint,
        admin=GOVERNANCE.admin,
        threshold=2,
        verifiers=VERIFIERS,
        max_validity=GOVERNANCE.max_validity,
        is_signed=True,
    )


@pytest.mark.parametrize(
    ("cell", "status", "balance", "code_hash"),
    [
        (None, AccountStatus.ABSENT, 0, None),
        (account_cell(HERE, balance=3), AccountStatus.UNINIT, 3, None),
        (account_cell(HERE, frozen=True, balance=4), AccountStatus.FROZEN, 4, None),
        (account_cell(HERE, data=DATA, balance=5), AccountStatus.ACTIVE, 5, None),
        # What stands in it would be read, if its code were not looked at.
        (account_cell(HERE, code=OTHER_CODE, data=DATA, balance=6), AccountStatus.ACTIVE, 6, OTHER_CODE.hash),
    ],
)
def test_nothing_is_read_of_what_is_no_registry_of_ours(
    cell: Cell | None, status: AccountStatus, balance: int, code_hash: bytes | None
) -> None:
    world = World(accounts={} if cell is None else {HERE: Stored(cell)})
    account = asyncio.run(ledger(world).registry())
    assert account == SeenRegistry(account=account.account)
    assert (account.account.status, account.account.balance, account.account.code_hash) == (status, balance, code_hash)


def test_the_wallet() -> None:
    stored = WALLET.state_init.refs
    world = World(
        accounts={WALLET.address: Stored(account_cell(WALLET.address, code=stored[0], data=stored[1], balance=9))}
    )
    seen = asyncio.run(ledger(world).wallet())
    assert (seen.seqno, seen.account.status, seen.account.balance) == (0, AccountStatus.ACTIVE, 9)
    assert seen.account.code_hash == stored[0].hash


BODY = Builder().uint(7, 32).end()
NO_HASH = bytes(32)


def read(**made: Any) -> SeenTransaction:
    item = transaction(HERE, 1000, **made)
    (seen,) = asyncio.run(ledger(World(), [item]).transactions(HERE, since=7, last_lt=1000, last_hash=item.cell.hash))
    assert (seen.lt, seen.hash, seen.utime) == (1000, item.cell.hash, NOW)
    return seen


def test_a_request_that_was_done() -> None:
    message, sent = internal(WALLET.address, HERE, BODY), internal(HERE, WALLET.address, BODY)
    seen = read(message=message, sent=(sent, external_out(HERE, BODY)))
    assert (seen.message, seen.body) == (message.hash, BODY)
    assert (seen.compute, seen.action, seen.succeeded) == (0, 0, True)
    assert seen.sent == (sent.hash, external_out(HERE, BODY).hash)
    assert seen.fees == 5_000_000 + 266_669


def test_what_came_from_outside_is_known_by_what_relays_cannot_change() -> None:
    messages = [external_in(HERE, BODY), external_in(HERE, BODY, source=True, fee=7, init=True)]
    assert messages[0].hash != messages[1].hash
    assert {read(message=message).message for message in messages} == {load_message(messages[0]).normalized_hash}


def test_what_bounced_is_no_request() -> None:
    bounced = internal(WALLET.address, HERE, BODY, bounced=True)
    assert (read(message=bounced).message, read(message=bounced).body) == (bounced.hash, None)


def test_a_transaction_without_a_message() -> None:
    assert (read().message, read().body) == (NO_HASH, None)


@pytest.mark.parametrize(
    ("phase", "acted", "compute", "action"),
    [
        (SKIPPED, None, None, None),
        (compute_phase(success=False, exit_code=9), None, 9, None),
        (compute_phase(), None, 0, None),
        (compute_phase(), action_phase(success=False, result_code=37), 0, 37),
    ],
)
def test_what_was_not_done(phase: Cell, acted: Cell | None, compute: int | None, action: int | None) -> None:
    seen = read(message=internal(WALLET.address, HERE, BODY), described=description(phase, acted, aborted=True))
    assert (seen.compute, seen.action, seen.succeeded) == (compute, action, False)


def test_a_message_is_handed_over() -> None:
    taken: list[bytes] = []
    asyncio.run(ledger(World(), taken=taken).send(b"a message"))
    assert taken == [b"a message"]
