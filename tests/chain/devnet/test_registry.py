"""The registry on the devnet: deployed, published to, read back with proof, as the publisher and a third party do."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from attestd.chain.client import Client, Standing
from attestd.chain.devnet import DEVNET_GLOBAL_ID, Fault
from attestd.chain.devnet.accounts import with_data
from attestd.chain.ledger import AccountStatus
from attestd.chain.messages import ADMIN_VALUE, DEPLOY_VALUE, PUBLISH_VALUE, Op, pause_body, propose_body, publish_body
from attestd.chain.onchain import OnChain
from attestd.chain.sending import Delivery, deliver
from attestd.chain.state import Approve, Governance, dump_indexed, dump_state, state_init
from attestd.chain.wallet import Transfer, Wallet
from attestd.errors import Reason
from attestd.signature import sign_ed25519
from attestd.transparency.checkpoint import Checkpoint, signing_hash
from attestd.transparency.entry import Entry
from attestd.transparency.keymap import prove, update
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder, Cell
from attestd.tvm.dictionary import build
from tests.chain.devnet.world import NOBODY, TON, World, on_devnet, unavailable
from tests.chain.registries import ABSENT, MEMBER, NO_NODES, OTHER, SIGNERS, VERIFIERS
from tests.refusals import not_authentic
from tests.tvm.test_dictionary import long_labels

_T = TypeVar("_T")


@dataclass
class Deployed:
    """A registry on a devnet, and the service behind it."""

    world: World
    wallet: Wallet
    address: Address
    epoch: int = 0

    @classmethod
    async def deploy(cls, world: World) -> "Deployed":
        wallet = await world.wallet()
        governance = Governance(
            admin=wallet.address, threshold=2, timelock=3600, max_validity=3600, verifiers=VERIFIERS
        )
        init = state_init(governance)
        address = Address(0, init.hash)
        transfer = Transfer(to=address, value=DEPLOY_VALUE, body=Builder().end(), state_init=init, bounce=False)
        delivery = await delivered(world, wallet, transfer)
        assert delivery.received.account == address.hash
        return cls(world, wallet, address)

    @property
    def ledger(self) -> OnChain:
        return OnChain(self.world.reader(), self.address, self.wallet)

    def client(self) -> Client:
        return Client(self.world.net.network, self.world.clock, registry=self.address)

    def checkpoint(self, root: bytes | None) -> Checkpoint:
        now = int(self.world.clock())
        return Checkpoint(
            epoch=self.epoch + 1,
            tree_size=self.epoch + 1,
            log_root=b"\1" * 32,
            map_root=root,
            policy_digest=b"\2" * 32,
            issued_at=now,
            valid_until=now + 600,
        )

    async def publish(self, entries: Mapping[bytes, Entry]) -> Callable[[bytes], bytes]:
        """Publish a map; return what makes the documents that the service hands out."""
        root, nodes, _ = update(None, entries, NO_NODES.__getitem__)
        checkpoint = self.checkpoint(root)
        signed = signing_hash(checkpoint, DEVNET_GLOBAL_ID, self.address)
        signatures = {index: sign_ed25519(SIGNERS[index], signed) for index in (0, 2)}
        delivery = await self.send(publish_body(checkpoint, signatures), PUBLISH_VALUE)
        assert delivery.received.succeeded
        self.epoch += 1

        def document(key_id: bytes) -> bytes:
            proof = prove(root, key_id, nodes.__getitem__)
            return json.dumps(
                {
                    "key_id": key_id.hex(),
                    "checkpoint": b64encode(dump_boc(checkpoint.to_cell())).decode(),
                    "proof": None if proof is None else b64encode(dump_boc(proof)).decode(),
                }
            ).encode()

        return document

    async def send(self, body: Cell, value: int = ADMIN_VALUE) -> Delivery:
        return await delivered(self.world, self.wallet, Transfer(to=self.address, value=value, body=body))

    async def standing(self, key_id: bytes, document: Callable[[bytes], bytes]) -> Standing:
        return (await self.client().key(key_id, document(key_id))).standing


async def delivered(world: World, wallet: Wallet, transfer: Transfer) -> Delivery:
    """Send and wait, while blocks are made."""
    return await while_blocks_are_made(world, deliver(world.reader(), wallet, transfer, world.clock, every=0))


async def while_blocks_are_made(world: World, wanted: Awaitable[_T]) -> _T:
    waiting = asyncio.ensure_future(wanted)
    while not waiting.done():
        await world.net.advance()
        await asyncio.wait([waiting], timeout=0.05)
    return waiting.result()


def entry(world: World) -> Entry:
    now = int(world.clock())
    return Entry(tee="tdx", image=b"\1" * 32, models=bytes(32), result=b"\3" * 32, not_before=now, not_after=now + 999)


@on_devnet
async def test_a_key_is_published_verified_and_revoked(world: World) -> None:
    registry = await Deployed.deploy(world)
    with unavailable(Reason.CHAIN_UNPUBLISHED):
        client = registry.client()
        client.in_force(await client.read())
    trusted = await registry.publish({MEMBER: entry(world), OTHER: entry(world)})
    assert await registry.standing(MEMBER, trusted) is Standing.MEMBER
    assert await registry.standing(ABSENT, trusted) is Standing.ABSENT
    revoked = await registry.publish({OTHER: entry(world)})
    assert await registry.standing(MEMBER, revoked) is Standing.ABSENT
    with unavailable(Reason.CHAIN_EPOCH):
        await registry.standing(MEMBER, trusted)
    emptied = await registry.publish({})
    assert await registry.standing(OTHER, emptied) is Standing.ABSENT
    # Nothing lasts longer than its checkpoint, however alive the chain is.
    world.clock.at += 601
    await world.net.advance()
    with unavailable(Reason.CHAIN_EXPIRED):
        await registry.standing(OTHER, emptied)


@on_devnet
async def test_b01_an_old_head_does_not_bring_a_revoked_key_back(world: World) -> None:
    registry = await Deployed.deploy(world)
    trusted = await registry.publish({MEMBER: entry(world), OTHER: entry(world)})
    old = (await registry.client().read()).agreed.account.block.seqno
    world.clock.at += 90
    revoked = await registry.publish({OTHER: entry(world)})
    new = (await registry.client().read()).agreed.account.block.seqno
    # The head of 90 s ago, from every server alike.
    world.net.faults.set(Fault.STALE, count=new - old)
    with unavailable(Reason.CHAIN_STALE):
        await registry.standing(MEMBER, trusted)
    world.net.faults.clear()
    assert await registry.standing(MEMBER, revoked) is Standing.ABSENT


@on_devnet
async def test_b01_forged_by_all_servers_and_still_not_signed(world: World) -> None:
    """All servers forge a chain in which the key is trusted; the verifiers' keys are what they lack."""
    registry = await Deployed.deploy(world)
    revoked = await registry.publish({OTHER: entry(world)})
    root, nodes, _ = update(None, {MEMBER: entry(world)}, NO_NODES.__getitem__)
    state = (await registry.client().read()).state
    assert state.checkpoint is not None
    checkpoint = replace(state.checkpoint, map_root=root)
    forged = replace(state, checkpoint=checkpoint)
    for server in world.net.liteservers:
        server.answers.forge = lambda _, account: with_data(account, dump_state(forged))
        server.faults.set(Fault.FORGED_BLOCK)
    proof = prove(root, MEMBER, nodes.__getitem__)
    assert proof is not None
    document = {
        "key_id": MEMBER.hex(),
        "checkpoint": b64encode(dump_boc(checkpoint.to_cell())).decode(),
        "proof": b64encode(dump_boc(proof)).decode(),
    }
    with not_authentic(Reason.CHECKPOINT_SIGNATURES):
        await registry.client().key(MEMBER, json.dumps(document).encode())
    for server in world.net.liteservers:
        server.faults.clear()
    assert await registry.standing(MEMBER, revoked) is Standing.ABSENT


@on_devnet
async def test_b02_what_a_get_method_says_does_not_matter(world: World) -> None:
    registry = await Deployed.deploy(world)
    trusted = await registry.publish({OTHER: entry(world)})
    world.net.faults.set(Fault.LYING_METHOD)
    assert await registry.standing(MEMBER, trusted) is Standing.ABSENT


@on_devnet
async def test_the_ledger_sees_what_the_publisher_needs(world: World) -> None:
    registry = await Deployed.deploy(world)
    ledger = registry.ledger
    before = await ledger.registry()
    assert (before.account.status, before.checkpoint, before.paused) == (AccountStatus.ACTIVE, None, False)
    assert (before.admin, before.threshold, before.verifiers) == (registry.wallet.address, 2, VERIFIERS)
    assert before.max_validity == 3600
    await registry.publish({MEMBER: entry(world)})
    after = await ledger.registry()
    assert after.checkpoint is not None
    assert after.checkpoint.epoch == 1
    found = await ledger.transactions(
        registry.address,
        since=before.account.last_lt,
        last_lt=after.account.last_lt,
        last_hash=after.account.last_hash,
    )
    assert [transaction.succeeded for transaction in found] == [True]
    assert found[0].body is not None
    assert found[0].fees > 0
    wallet = await ledger.wallet()
    (sent, *_) = [
        transaction
        for transaction in await ledger.transactions(
            registry.wallet.address, since=0, last_lt=wallet.account.last_lt, last_hash=wallet.account.last_hash
        )
        if transaction.sent
    ]
    assert sent.sent == (found[0].message,)
    assert wallet.seqno == 3
    assert wallet.account.balance > 9 * TON


@on_devnet
async def test_the_ledger_of_what_is_not_there(world: World) -> None:
    wallet = await world.wallet()
    ledger = OnChain(world.reader(), NOBODY, wallet)
    found = await ledger.registry()
    assert (found.account.status, found.account.balance, found.checkpoint) == (AccountStatus.ABSENT, 0, None)
    assert (found.account.last_lt, found.account.last_hash) == (0, bytes(32))
    other = OnChain(world.reader(), wallet.address, wallet)
    assert (await other.registry()).admin is None
    with unavailable(Reason.CHAIN_UNAVAILABLE):
        await ledger.send(b"no message")


@on_devnet
async def test_b09_a_pinned_code_that_is_not_there_stops_the_ledger(world: World) -> None:
    registry = await Deployed.deploy(world)
    found = await OnChain(world.reader(), registry.address, registry.wallet, code_hash=bytes(32)).registry()
    assert (found.account.status, found.admin) == (AccountStatus.ACTIVE, None)
    assert found.account.code_hash not in (None, bytes(32))


@on_devnet
async def test_the_admin_governs_and_nobody_else(world: World) -> None:
    registry = await Deployed.deploy(world)
    proposed = await registry.send(propose_body(Approve(1, frozenset({b"\7" * 32}))))
    assert proposed.received.succeeded
    ((number, proposal),) = (await registry.client().read()).state.governance.proposals
    assert (number, proposal.change) == (0, Approve(1, frozenset({b"\7" * 32})))
    stranger = await world.wallet(2)
    refused = await delivered(world, stranger, Transfer(to=registry.address, value=ADMIN_VALUE, body=pause_body()))
    assert refused.received.compute is not None
    assert (refused.received.compute.exit_code, refused.received.succeeded) == (401, False)
    trusted = await registry.publish({MEMBER: entry(world)})
    assert (await registry.send(pause_body())).received.succeeded
    with unavailable(Reason.CHAIN_PAUSED):
        await registry.standing(MEMBER, trusted)


@on_devnet
async def test_a_wallet_that_cannot_pay(world: World) -> None:
    wallet = await world.wallet(balance=TON // 20)
    with unavailable(Reason.CHAIN_WALLET):
        await delivered(world, wallet, Transfer(to=NOBODY, value=TON, body=Builder().end()))


@on_devnet
async def test_a_message_that_was_lost_is_known_to_be(world: World) -> None:
    wallet = await world.wallet()
    world.net.faults.set(Fault.LOSE)
    sending = asyncio.ensure_future(
        deliver(world.reader(), wallet, Transfer(to=NOBODY, value=1, body=Builder().end()), world.clock, every=0)
    )
    # In steps, each as long as a reading takes: one that begins before a step of a minute would find a stale block.
    while not sending.done():
        await world.seqno(wallet)
        world.clock.at += 16
        await world.net.advance()
    with unavailable(Reason.CHAIN_WALLET):
        sending.result()
    assert await world.seqno(wallet) == 1


@on_devnet
async def test_a_relayer_writes_the_signatures_in_its_own_way(world: World) -> None:
    """The contract takes what the TVM reads; that stops neither readers nor the publisher of the next epoch."""
    registry = await Deployed.deploy(world)
    checkpoint = registry.checkpoint(None)
    signed = signing_hash(checkpoint, DEVNET_GLOBAL_ID, registry.address)
    signatures = dump_indexed({index: sign_ed25519(SIGNERS[index], signed) for index in (0, 2)})
    assert signatures is not None
    body = Builder().uint(Op.PUBLISH, 32).uint(0, 64).ref(checkpoint.to_cell())
    delivery = await registry.send(body.maybe_ref(long_labels(signatures, 8)).end(), PUBLISH_VALUE)
    assert delivery.received.succeeded
    client = registry.client()
    assert client.in_force(await client.read()) == checkpoint
    # A library that came with the message: whoever reads the state later has not got it.
    registry.epoch = 1
    checkpoint = registry.checkpoint(None)
    signed = signing_hash(checkpoint, DEVNET_GLOBAL_ID, registry.address)
    signatures = dump_indexed({index: sign_ed25519(SIGNERS[index], signed) for index in (0, 2)})
    assert signatures is not None
    libraries = build({int.from_bytes(signatures.hash): Builder().bit(value=True).ref(signatures).end()}, 256)
    body = Builder().uint(Op.PUBLISH, 32).uint(0, 64).ref(checkpoint.to_cell())
    transfer = Transfer(
        to=registry.address,
        value=PUBLISH_VALUE,
        body=body.maybe_ref(Cell(b"\2" + signatures.hash, 264, special=True)).end(),
        state_init=Builder().uint(0, 4).maybe_ref(libraries).end(),
    )
    delivery = await delivered(world, registry.wallet, transfer)
    assert delivery.received.succeeded
    assert (await registry.ledger.registry()).checkpoint == checkpoint
    reading = await client.read()
    with not_authentic(Reason.CHECKPOINT_SIGNATURES):
        client.in_force(reading)
    registry.epoch = 2
    await registry.publish({})
    assert await registry.standing(MEMBER, await registry.publish({})) is Standing.ABSENT
