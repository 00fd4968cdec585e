"""What a relying party learns from the chain alone, and what nobody can make it believe."""

import asyncio
import json
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from attestd.chain.client import Client, Standing
from attestd.chain.proof import prove_account
from attestd.chain.reading import MAX_DOCUMENT_SIZE, KeyVerdict, decode_state
from attestd.chain.state import CODE, Proposal, SetAdmin, Unpause, dump_change, dump_state, load_state
from attestd.errors import AttestdError, Malformed, NotAuthentic, Reason, Unavailable
from attestd.signature import ed25519_public_key
from attestd.transparency.record import Approve, Image, Record, RecordedEntry, Revoke, dump_record
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder, Cell
from tests.chain.registries import ABSENT, ADMIN, HERE, LAPSED, MEMBER, OTHER, SIGNERS, VERIFIERS, Registry, entry
from tests.chain.servers import Server, serving
from tests.chain.worlds import NOW, Stored, World, account_cell
from tests.refusals import malformed, misconfigured, refused
from tests.tvm.test_dictionary import long_labels

REGISTRY = Registry()
LYING = Address(0, bytes.fromhex("a6" * 32))


def verify(
    chain: Registry | World = REGISTRY,
    key_id: bytes = MEMBER,
    *,
    document: bytes | None = None,
    at: float = NOW,
    registry: Address | None = HERE,
    told: list[str] | None = None,
    **pinned: Any,
) -> KeyVerdict:
    """Ask two honest servers over a chain about a key."""
    world = chain.world() if isinstance(chain, Registry) else chain
    raw = REGISTRY.document(key_id) if document is None else document
    steps = [] if told is None else told

    async def run() -> KeyVerdict:
        async with serving(Server(world, HERE), Server(world, HERE)) as network:
            client = Client(
                replace(network, **pinned),
                lambda: at,
                registry=registry,
                told=lambda step, _: steps.append(step),
            )
            return await client.key(key_id, raw)

    return asyncio.run(run())


def refusal(kind: type[AttestdError], reason: Reason, *args: Any, **kwargs: Any) -> list[str]:
    """Require the refusal; return the steps that had passed."""
    told: list[str] = []
    with pytest.raises(AttestdError) as caught:
        verify(*args, told=told, **kwargs)
    assert (type(caught.value), caught.value.reason) == (kind, reason), caught.value
    return told


def test_a_member() -> None:
    told: list[str] = []
    verdict = verify(told=told)
    assert verdict.standing is Standing.MEMBER
    assert verdict.entry == entry()
    assert verdict.checkpoint == REGISTRY.checkpoint
    assert verdict.reading.state == REGISTRY.state
    assert told == ["account", "code", "storage", "operation", "freshness", "signatures", "map", "key"]


def test_an_absent_key() -> None:
    verdict = verify(key_id=ABSENT)
    assert (verdict.standing, verdict.entry) == (Standing.ABSENT, None)


@pytest.mark.parametrize(
    ("window", "standing"),
    [
        ((NOW, NOW), Standing.MEMBER),
        ((NOW - 10, NOW - 1), Standing.LAPSED),
        ((NOW + 1, NOW + 10), Standing.LAPSED),
    ],
)
def test_the_window_of_an_entry(window: tuple[int, int], standing: Standing) -> None:
    registry = REGISTRY.but(entries={MEMBER: entry(*window), OTHER: entry()})
    assert verify(registry, document=registry.document(MEMBER)).standing is standing


def test_a_key_whose_window_has_passed() -> None:
    assert verify(key_id=LAPSED).standing is Standing.LAPSED


def test_the_empty_map_has_no_key() -> None:
    empty = REGISTRY.but(entries={})
    assert json.loads(empty.document(MEMBER))["proof"] is None
    assert verify(empty, document=empty.document(MEMBER)).standing is Standing.ABSENT
    with_proof = empty.document(MEMBER, proof=b64encode(dump_boc(Builder().end())).decode())
    refusal(NotAuthentic, Reason.MAP_PROOF, empty, document=with_proof)


# The dictionary of signatures stands in the state as the relayer wrote it


def relayed(signatures: Cell) -> Registry:
    """The registry after a publication whose relayer wrote the dictionary of signatures like this."""
    data = dump_state(REGISTRY.state)
    return REGISTRY.but(data=Cell(data.data, data.bits, (signatures, data.refs[1])))


def test_a_relayer_who_writes_labels_in_another_way() -> None:
    signatures = dump_state(REGISTRY.state).refs[0]
    longer = long_labels(signatures, 8)
    assert longer != signatures
    assert verify(relayed(longer)).standing is Standing.MEMBER


def test_a_relayer_who_refers_to_a_library() -> None:
    """The TVM puts the cell in its place, and a reader has not got it: the checkpoint counts for nobody, and that is
    all that is lost. The publisher goes on."""
    signatures = dump_state(REGISTRY.state).refs[0]
    library = Cell(b"\2" + signatures.hash, 264, special=True)
    told = refusal(NotAuthentic, Reason.CHECKPOINT_SIGNATURES, relayed(library))
    assert told == ["account", "code", "storage", "operation", "freshness"]
    told = refusal(Unavailable, Reason.CHAIN_STATE, REGISTRY.but(data=Cell(library.data, 264, special=True)))
    assert told == ["account", "code"]


# The document: nothing that it says is believed


# The record

AT = datetime(2026, 11, 1, tzinfo=UTC)
SAID = RecordedEntry(tee="tdx", image=b"\1" * 32, models=(b"\2" * 32,), not_before=NOW - 3600, not_after=NOW + 3600)
RECORDS: Final[tuple[Record, ...]] = (
    Approve(at=AT, key=MEMBER, result=b"\3" * 32, entry=SAID),
    Approve(at=AT, key=OTHER, result=b"\3" * 32, entry=SAID),
    Approve(at=AT, key=MEMBER, result=b"\4" * 32, entry=SAID),  # another result
    Revoke(at=AT, key=MEMBER),
    Revoke(at=AT, key=ABSENT),
    Image(at=AT, digest=ABSENT, state="withdrawn"),
)
LOGGED = REGISTRY.but(leaves=tuple(map(dump_record, RECORDS)))


@pytest.mark.parametrize(("key_id", "index"), [(MEMBER, 0), (ABSENT, 4), (ABSENT, 5)])
def test_r06_the_record_behind_the_map(key_id: bytes, index: int) -> None:
    told: list[str] = []
    document = LOGGED.document(key_id, **LOGGED.logged(index))
    verdict = verify(LOGGED, key_id, document=document, told=told)
    assert verdict.record is not None
    assert (verdict.record.index, verdict.record.leaf) == (index, LOGGED.leaves[index])
    assert told[-2:] == ["key", "record"]


@pytest.mark.parametrize(
    ("key_id", "index"),
    [(MEMBER, 2), (MEMBER, 1), (MEMBER, 3), (MEMBER, 5), (ABSENT, 3)],
    ids=["another result", "another key", "revoked", "not about a key", "absent, of another key"],
)
def test_r06_a_record_that_is_not_behind_the_map(key_id: bytes, index: int) -> None:
    document = LOGGED.document(key_id, **LOGGED.logged(index))
    assert refusal(NotAuthentic, Reason.LOG_INCLUSION, LOGGED, key_id, document=document)[-1] == "key"


def test_r06_a_record_that_is_not_in_the_log() -> None:
    shown = LOGGED.logged(0)
    forged = dump_record(replace(RECORDS[0], at=AT + timedelta(seconds=1))).decode()
    for changes in (
        {"record": forged},
        {"inclusion": shown["inclusion"] | {"log_index": 1}},
        {"inclusion": shown["inclusion"] | {"hashes": shown["inclusion"]["hashes"][:-1]}},
    ):
        document = LOGGED.document(MEMBER, **shown | changes)
        assert refusal(NotAuthentic, Reason.LOG_INCLUSION, LOGGED, document=document)[-1] == "key"


def test_a_leaf_that_is_no_record() -> None:
    odd = REGISTRY.but(leaves=(b"{}",))
    refusal(Malformed, Reason.LOG_RECORD, odd, document=odd.document(MEMBER, **odd.logged(0)))


def test_a_record_comes_with_its_path() -> None:
    refusal(Malformed, Reason.JSON_SCHEMA, document=REGISTRY.document(MEMBER, record="{}"))


def test_what_the_document_says_of_itself_is_not_read() -> None:
    lying = REGISTRY.document(MEMBER, entry={"tee": "snp"}, signatures={"0": "00"}, member=True, epoch=10**9)
    verdict = verify(document=lying)
    assert verdict.entry == entry()


def test_r06_a_proof_of_another_map() -> None:
    """Whatever the service has done to its own map, the chain's root is another."""
    forged = REGISTRY.but(entries={**REGISTRY.entries, ABSENT: entry()})
    claimed = json.loads(REGISTRY.document(ABSENT))["checkpoint"]
    refusal(NotAuthentic, Reason.MAP_PROOF, key_id=ABSENT, document=forged.document(ABSENT, checkpoint=claimed))
    emptied = REGISTRY.but(entries={OTHER: entry()})
    refusal(NotAuthentic, Reason.MAP_PROOF, document=emptied.document(MEMBER, checkpoint=claimed))


def test_r06_no_proof_is_no_absence() -> None:
    refusal(NotAuthentic, Reason.MAP_PROOF, document=REGISTRY.document(MEMBER, proof=None))


def test_r06_the_proof_of_another_key_shows_nothing_of_this_one() -> None:
    other = json.loads(REGISTRY.document(OTHER))["proof"]
    refusal(NotAuthentic, Reason.MAP_PROOF, document=REGISTRY.document(MEMBER, proof=other))


@pytest.mark.parametrize("byte", range(0, 90, 5))
def test_r06_a_proof_with_another_byte(byte: int) -> None:
    proof = REGISTRY.proof(MEMBER)
    assert proof is not None
    raw = bytearray(dump_boc(proof, crc=False))
    raw[len(raw) * byte // 90] ^= 0x20
    document = REGISTRY.document(MEMBER, proof=b64encode(bytes(raw)).decode())
    with pytest.raises((NotAuthentic, Malformed)):
        verify(document=document)


def test_r06_a_checkpoint_by_another_key() -> None:
    """The contract would not have taken it; a forged state, proved or not, ends here."""
    for signers in ({0: 3, 2: 2}, {0: 0}, {}, {0: 0, 2: 0}, {3: 3, 0: 0}):
        told = refusal(NotAuthentic, Reason.CHECKPOINT_SIGNATURES, REGISTRY.but(signers=signers))
        assert told[-1] == "freshness"


def test_r06_one_key_under_two_indexes_is_one() -> None:
    twice = REGISTRY.governance.verifiers[:1] * 2
    doubled = replace(REGISTRY.governance, verifiers=((0, twice[0][1]), (1, twice[0][1])))
    refusal(NotAuthentic, Reason.CHECKPOINT_SIGNATURES, REGISTRY.but(governance=doubled, signers={0: 0, 1: 0}))


def test_r08_a_verifier_that_was_rotated_out() -> None:
    """From the change on, its signature counts no more, neither by its own index nor by the new one's."""
    rotated = REGISTRY.but(
        governance=replace(REGISTRY.governance, verifiers=(*VERIFIERS[:2], (3, ed25519_public_key(SIGNERS[3]))))
    )
    for signers in ({0: 0, 2: 2}, {0: 0, 3: 2}, {2: 2, 3: 3}):
        refusal(NotAuthentic, Reason.CHECKPOINT_SIGNATURES, rotated.but(signers=signers))
    assert verify(rotated.but(signers={0: 0, 3: 3})).standing is Standing.MEMBER


def test_r06_a_checkpoint_signed_for_another_registry_or_network() -> None:
    refusal(NotAuthentic, Reason.CHECKPOINT_SIGNATURES, REGISTRY.but(signed_for=LYING))
    refusal(NotAuthentic, Reason.CHECKPOINT_SIGNATURES, REGISTRY.but(signed_network=-239))


def test_r06_an_old_checkpoint_is_no_answer() -> None:
    older = REGISTRY.but(epoch=6, entries={MEMBER: entry(), ABSENT: entry()})
    assert refusal(Unavailable, Reason.CHAIN_EPOCH, key_id=ABSENT, document=older.document(ABSENT))[-1] == "signatures"


def test_r06_an_old_state_of_the_contract_expires() -> None:
    """What a server withholds and replays ends with the checkpoint, however fresh its blocks are."""
    assert verify(at=REGISTRY.valid_until - 590).standing is Standing.MEMBER
    old = REGISTRY.but(valid_until=NOW - 1)
    assert refusal(Unavailable, Reason.CHAIN_EXPIRED, old, document=old.document(MEMBER))[-1] == "operation"
    last = REGISTRY.but(valid_until=NOW)
    assert verify(last, document=last.document(MEMBER)).standing is Standing.MEMBER


def test_r07_two_views_of_one_epoch() -> None:
    """A service that shows one client another map signs it with the same keys; the chain has only one."""
    split = REGISTRY.but(entries={**REGISTRY.entries, ABSENT: entry()})
    assert split.checkpoint.epoch == REGISTRY.checkpoint.epoch
    refusal(Unavailable, Reason.CHAIN_EPOCH, key_id=ABSENT, document=split.document(ABSENT))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", Reason.JSON_MALFORMED),
        (b"[]", Reason.JSON_SCHEMA),
        (b"{}", Reason.JSON_SCHEMA),
        (b" " * (MAX_DOCUMENT_SIZE + 1), Reason.JSON_SCHEMA),
        (REGISTRY.document(MEMBER, key_id=OTHER.hex()), Reason.JSON_SCHEMA),
        (REGISTRY.document(MEMBER, key_id="00"), Reason.HEX_MALFORMED),
        (REGISTRY.document(MEMBER, checkpoint="!"), Reason.BASE64_MALFORMED),
        (REGISTRY.document(MEMBER, checkpoint="AAAA"), Reason.BOC_MALFORMED),
        (REGISTRY.document(MEMBER, checkpoint=b64encode(dump_boc(Builder().end())).decode()), Reason.CELL_MALFORMED),
        (REGISTRY.document(MEMBER, proof=7), Reason.JSON_SCHEMA),
        (REGISTRY.document(MEMBER, proof="AAAA"), Reason.BOC_MALFORMED),
    ],
)
def test_a_document_that_is_none(raw: bytes, reason: Reason) -> None:
    assert refusal(Malformed, reason, document=raw) == []


def tree(cells: int) -> bytes:
    """Write a bag of so many cells, all different."""
    made: list[Cell] = []
    for number in reversed(range(cells)):
        below = [made[cells - 1 - child] for child in range(4 * number + 1, min(4 * number + 5, cells))]
        made.append(Cell(number.to_bytes(2), 16, tuple(below)))
    return dump_boc(made[-1])


def test_a_proof_of_as_many_cells_as_allowed() -> None:
    of_2048, of_2049 = (REGISTRY.document(MEMBER, proof=b64encode(tree(cells)).decode()) for cells in (2048, 2049))
    assert len(of_2049) < MAX_DOCUMENT_SIZE
    refusal(NotAuthentic, Reason.MAP_PROOF, document=of_2048)
    refusal(Malformed, Reason.BOC_MALFORMED, document=of_2049)


# The contract


def test_a_paused_registry_trusts_no_key() -> None:
    assert refusal(Unavailable, Reason.CHAIN_PAUSED, REGISTRY.but(paused=True))[-1] == "storage"


def test_a_registry_that_has_not_published() -> None:
    refusal(Unavailable, Reason.CHAIN_UNPUBLISHED, REGISTRY.but(published=False))


def test_b09_another_code_at_the_address() -> None:
    other = Builder().uint(0xBAD, 32).end()
    assert refusal(Unavailable, Reason.CHAIN_CODE, REGISTRY.but(code=other)) == ["account"]


def test_b09_another_admin_than_the_pinned_one() -> None:
    assert verify(admin=ADMIN).standing is Standing.MEMBER
    assert refusal(Unavailable, Reason.CHAIN_OWNER, admin=LYING) == ["account", "code"]


def test_b09_other_verifiers_than_the_pinned_ones() -> None:
    assert verify(verifiers=VERIFIERS, threshold=2).standing is Standing.MEMBER
    for verifiers, threshold in ((VERIFIERS[:2], 2), (VERIFIERS, 1), ((*VERIFIERS[:2], (2, bytes(32))), 2)):
        refusal(Unavailable, Reason.CHAIN_OWNER, verifiers=verifiers, threshold=threshold)


def test_b11_the_same_contract_at_another_address() -> None:
    """A copy of the registry, code and storage: its signatures are for the original."""
    copy = REGISTRY.world(LYING)
    assert refusal(NotAuthentic, Reason.CHECKPOINT_SIGNATURES, copy, registry=LYING)[-1] == "freshness"


def test_b11_an_address_that_differs_in_one_bit_is_another() -> None:
    near = Address(0, bytes([HERE.hash[0] ^ 1]) + HERE.hash[1:])
    refusal(Unavailable, Reason.CHAIN_ACCOUNT, registry=near)


@pytest.mark.parametrize(
    "cell",
    [
        account_cell(HERE),
        account_cell(HERE, frozen=True),
        account_cell(HERE, code=Builder().end()),
        account_cell(HERE, data=Builder().end()),
    ],
    ids=["uninit", "frozen", "no data", "no code"],
)
def test_an_account_that_is_no_contract(cell: Any) -> None:
    refusal(Unavailable, Reason.CHAIN_ACCOUNT, World(accounts={HERE: Stored(cell)}))
    refusal(Unavailable, Reason.CHAIN_ACCOUNT, World())


def test_no_storage_is_no_registrys() -> None:
    """Also for who has not looked for the code."""
    for accounts in ({}, {HERE: Stored(account_cell(HERE, code=CODE))}):
        world = World(accounts=accounts)
        proved = prove_account(world.answer(HERE), world.head(HERE), HERE, world.global_id)
        with refused(Unavailable, Reason.CHAIN_ACCOUNT):
            decode_state(proved)


def test_a_storage_that_is_none_of_a_registrys() -> None:
    for data in (Builder().end(), Builder().uint(2, 8).end(), dump_change(SetAdmin(ADMIN))):
        assert refusal(Unavailable, Reason.CHAIN_STATE, REGISTRY.but(data=data))[-1] == "code"


@pytest.mark.parametrize("count", [1, 2])
def test_one_server_alone_says_so(count: int) -> None:
    told: list[tuple[str, str]] = []

    async def run() -> KeyVerdict:
        async with serving(*(Server(REGISTRY.world(), HERE) for _ in range(count)), agree=count) as network:
            client = Client(network, lambda: NOW, registry=HERE, told=lambda *step: told.append(step))
            return await client.key(MEMBER, REGISTRY.document(MEMBER))

    assert len(asyncio.run(run()).reading.agreed.servers) == count
    assert ("alone" in told[0][1]) is (count == 1)


def test_which_registry_it_is_has_to_be_said_and_said_alike() -> None:
    def read(pinned: Address | None, given: Address | None) -> None:
        async def run() -> None:
            world = REGISTRY.world()
            async with serving(Server(world, HERE), Server(world, HERE)) as network:
                await Client(replace(network, registry=pinned), lambda: NOW, registry=given).read()

        asyncio.run(run())

    read(HERE, None)
    read(HERE, HERE)
    for pinned, given in ((None, None), (LYING, HERE)):
        with misconfigured(Reason.CHAIN_NETWORK):
            read(pinned, given)


def governed(**changes: Any) -> Cell:
    return dump_state(REGISTRY.but(governance=replace(REGISTRY.governance, **changes), published=False).state)


def test_no_more_is_read_than_the_contract_can_hold() -> None:
    """Cells may be shared: some hundred of them would claim 2^16 proposals."""
    waiting = Proposal(NOW, NOW + 1, Unpause())
    assert len(load_state(governed(proposals=tuple((n, waiting) for n in range(16)))).governance.proposals) == 16
    with malformed(Reason.CELL_MALFORMED):
        load_state(governed(proposals=tuple((n, waiting) for n in range(17))))
