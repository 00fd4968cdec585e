"""What counts as proof of an account, and what does not: everything right but one thing."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from attestd.chain.ledger import AccountStatus
from attestd.chain.proof import ProvedAccount, prove_account
from attestd.chain.tl import AccountAnswer, BlockId
from attestd.errors import Reason, Unavailable
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc, load_boc
from attestd.tvm.cell import Builder, Cell, pruned_branch
from attestd.tvm.proof import merkle_proof, open_proof, prove
from tests.chain.worlds import GLOBAL_ID, NOW, SHARD_AGE, WHOLE, Stored, World, account_cell, account_path, shard_path

HERE = Address(0, bytes.fromhex("a5" * 32))
NEIGHBOUR = Address(0, bytes.fromhex("a4" * 32))
NOBODY = Address(0, bytes.fromhex("5a" * 32))
MASTER = Address(-1, bytes.fromhex("33" * 32))
CODE, DATA = Builder().uint(1, 8).end(), Builder().uint(2, 8).end()
WORLD = World(
    accounts={
        HERE: Stored(account_cell(HERE, code=CODE, data=DATA, balance=5_000_000_000)),
        NEIGHBOUR: Stored(account_cell(NEIGHBOUR)),
        MASTER: Stored(account_cell(MASTER, frozen=True)),
    }
)


def proved(
    answer: AccountAnswer, address: Address = HERE, block: BlockId | None = None, global_id: int = GLOBAL_ID
) -> ProvedAccount:
    return prove_account(answer, block or answer.block, address, global_id)


def unproved(
    answer: AccountAnswer, address: Address = HERE, block: BlockId | None = None, global_id: int = GLOBAL_ID
) -> str:
    with pytest.raises(Unavailable) as caught:
        proved(answer, address, block, global_id)
    assert caught.value.reason is Reason.CHAIN_PROOF
    return caught.value.found


def test_an_account_that_is_there() -> None:
    found = proved(WORLD.answer(HERE))
    assert found.account is not None
    assert (found.account.code, found.account.data) == (CODE, DATA)
    # Beyond 32 bits, in which a client library keeps it.
    assert found.account.balance == 5_000_000_000 > 2**32
    assert found.account.status is AccountStatus.ACTIVE
    assert (found.gen_utime, found.shard_utime, found.block.seqno, found.shard_block.seqno) == (
        NOW,
        NOW - SHARD_AGE,
        100,
        200,
    )
    assert (found.last_lt, found.last_hash) == (41, bytes(range(32)))


def test_accounts_that_are_not_active() -> None:
    neighbour, master = proved(WORLD.answer(NEIGHBOUR), NEIGHBOUR).account, proved(WORLD.answer(MASTER), MASTER)
    assert neighbour is not None
    assert neighbour.status is AccountStatus.UNINIT
    assert neighbour.code is None
    assert master.account is not None
    assert master.account.status is AccountStatus.FROZEN
    assert master.shard_block == master.block


def test_an_account_that_is_proved_to_be_absent() -> None:
    found = proved(WORLD.answer(NOBODY), NOBODY)
    assert (found.account, found.state_hash, found.last_lt) == (None, None, 0)
    assert proved(World().answer(NOBODY), NOBODY).account is None


def test_b01_an_empty_answer_is_no_absence() -> None:
    """The defect by which a server can claim that the registry does not exist."""
    assert unproved(replace(WORLD.answer(HERE), state=b"")) == "no account"
    bare = replace(WORLD.answer(HERE), state=b"", proof=b"", shard_proof=b"")
    assert unproved(bare)


def test_absence_is_not_shown_by_a_proof_that_prunes_the_way() -> None:
    answer, other = WORLD.answer(HERE), WORLD.shard_block(HERE)
    accounts = other.state.refs[1]
    assert unproved(replace(answer, state=b"", proof=other.proofs(accounts))) == "a pruned branch"
    assert unproved(replace(answer, state=b"", proof=other.proofs())) == "a pruned branch"


def test_absence_of_another_account_is_none_of_this_one() -> None:
    # A proof that nobody is at NOBODY shows of HERE only that it was pruned.
    assert unproved(replace(WORLD.answer(NOBODY), state=b"")) == "a pruned branch"


def test_an_account_where_there_is_none() -> None:
    assert unproved(replace(WORLD.answer(NOBODY), state=dump_boc(WORLD.accounts[HERE].cell)), NOBODY) == "an account"


def test_b01_a_forged_state_has_no_proof() -> None:
    forged = dump_boc(account_cell(HERE, code=CODE, data=Builder().uint(3, 8).end()))
    assert "another account" in unproved(replace(WORLD.answer(HERE), state=forged))


def test_b01_the_account_of_another_address_under_this_one() -> None:
    swapped = WORLD.but(accounts={HERE: WORLD.accounts[NEIGHBOUR]})
    assert unproved(swapped.answer(HERE)) == f"the account {NEIGHBOUR}"


def test_b01_another_network() -> None:
    assert unproved(WORLD.but(global_id=-3).answer(HERE)) == "a block of the network -3"
    assert unproved(WORLD.answer(HERE), global_id=-239) == f"a block of the network {GLOBAL_ID}"


def test_another_block_than_the_one_asked_for() -> None:
    later = WORLD.but(seqno=101)
    assert unproved(later.answer(HERE), block=WORLD.head(HERE)) == f"an answer about block {later.head(HERE)}"


def forged_ids() -> list[BlockId]:
    good = WORLD.head(HERE)
    return [
        replace(good, seqno=101),
        replace(good, workchain=0),
        replace(good, shard=WHOLE >> 1),
        replace(good, root_hash=bytes(32)),
    ]


@pytest.mark.parametrize("named", forged_ids(), ids=["seqno", "workchain", "shard", "root_hash"])
def test_a_masterchain_block_that_is_not_what_it_is_called(named: BlockId) -> None:
    assert unproved(replace(WORLD.answer(HERE), block=named))


def test_a_shard_block_which_the_masterchain_does_not_name() -> None:
    other = WORLD.but(salt=b"another").answer(HERE)
    answer = replace(WORLD.answer(HERE), shard_block=other.shard_block, proof=other.proof, state=other.state)
    assert "an answer from shard block" in unproved(answer)


def test_the_way_from_the_masterchain_to_the_shard_is_needed() -> None:
    assert unproved(replace(WORLD.answer(HERE), shard_proof=b""))
    master = WORLD.master_block(HERE)
    assert unproved(replace(WORLD.answer(HERE), shard_proof=master.proofs())) == "a pruned branch"


def test_a_state_that_is_not_the_one_after_the_block() -> None:
    block, other = WORLD.shard_block(HERE), WORLD.but(salt=b"another").shard_block(HERE)
    header, _ = load_boc(block.proofs(), roots=2)
    state = prove(other.state, {other.state.hash, *(cell.hash for cell in account_path(other.state, HERE))})
    assert unproved(replace(WORLD.answer(HERE), proof=dump_boc(header, state))) == "a proof of another root"


def test_a_header_without_its_state_update() -> None:
    made = WORLD.shard_block(HERE)
    header = prove(made.block, {made.block.hash, made.block.refs[0].hash})
    _, state = load_boc(made.proofs(*account_path(made.state, HERE)), roots=2)
    assert unproved(replace(WORLD.answer(HERE), proof=dump_boc(header, state))) == "no Merkle update"


@pytest.mark.parametrize("split", [1, 2, 5])
def test_a_workchain_that_is_split(split: int) -> None:
    world = WORLD.but(split=split)
    assert proved(world.answer(HERE)).account is not None
    assert proved(world.answer(NOBODY), NOBODY).account is None


def test_a_block_of_another_shard_proves_no_absence() -> None:
    """Split once, HERE lives on the right; the left shard has never heard of it, and its block is genuine."""
    world = WORLD.but(split=1)
    left = world.shard_block(NOBODY)
    master = world.master_block(NOBODY)
    answer = AccountAnswer(
        block=master.id,
        shard_block=left.id,
        shard_proof=master.proofs(*shard_path(master.state)),
        proof=left.proofs(*account_path(left.state, NOBODY)),
        state=b"",
    )
    assert proved(answer, NOBODY).account is None
    assert "an answer from shard block" in unproved(answer, HERE)


def test_an_account_of_the_masterchain_comes_from_its_own_block() -> None:
    answer = WORLD.answer(MASTER)
    shard = WORLD.shard_block(HERE)
    assert "an account of the masterchain" in unproved(replace(answer, shard_block=shard.id), MASTER)


@pytest.mark.parametrize("workchain", [5, -2])
def test_no_such_workchain(workchain: int) -> None:
    elsewhere = Address(workchain, HERE.hash)
    assert unproved(WORLD.answer(HERE), elsewhere) == f"no workchain {workchain}"


def test_as_deep_a_tree_of_shards_as_there_is() -> None:
    assert proved(WORLD.but(split=60).answer(HERE)).account is not None
    assert unproved(WORLD.but(split=61).answer(HERE)) == "a deeper tree of shards"


def put(at: int, value: int, bits: int) -> Callable[[Cell], Cell]:
    """Write other bits into a cell."""

    def spoil(cell: Cell) -> Cell:
        spare, shift = -cell.bits % 8, cell.bits - at - bits
        whole = int.from_bytes(cell.data) >> spare & ~((1 << bits) - 1 << shift) | value % (1 << bits) << shift
        return Cell((whole << spare).to_bytes(len(cell.data)), cell.bits, cell.refs)

    return spoil


# Where things stand: tag, network, ShardIdent (tag, bits, workchain, prefix) and seqno in a state; in a header tag,
# version and flags, seqno, vert_seq_no and ShardIdent.
SPOILT_BLOCKS: dict[str, tuple[str, Callable[[Cell], Cell], str]] = {
    "tag of the block": ("block", put(0, 0x11EF55AB, 32), "tag 11ef55ab"),
    "network of the block": ("block", put(32, -3, 32), "a block of the network -3"),
    "no state update": ("block", lambda cell: Cell(cell.data, cell.bits, cell.refs[:2]), "a block without a state"),
    "tag of the header": ("info", put(0, 0x9BC7A988, 32), "tag 9bc7a988"),
    "seqno of the header": ("info", put(80, 999, 32), "a header or state of"),
    "tag of the header's shard": ("info", put(144, 1, 2), "tag 1"),
    "prefix of the header's shard": ("info", put(146, 1, 6), "a header or state of"),
    "workchain of the header": ("info", put(152, 7, 32), "a header or state of (7,"),
    "tag of the state": ("state", put(0, 0x9023AFE3, 32), "tag 9023afe3"),
    "network of the state": ("state", put(32, -3, 32), "a block of the network -3"),
    "tag of the state's shard": ("state", put(64, 1, 2), "tag 1"),
    "prefix of the state's shard": ("state", put(66, 1, 6), "a header or state of"),
    "prefix beyond 60 bits": ("state", put(66, 61, 6), "a shard prefix of 61 bits"),
    "workchain of the state": ("state", put(72, 7, 32), "a header or state of (7,"),
    "seqno of the state": ("state", put(168, 999, 32), "a header or state of"),
}


@pytest.mark.parametrize("chain", ["master", "shard"])
@pytest.mark.parametrize("name", SPOILT_BLOCKS)
def test_a_block_of_which_one_thing_is_wrong(name: str, chain: str) -> None:
    """Its hashes are those of what it is, and the block that was asked for is this one."""
    part, spoil, found = SPOILT_BLOCKS[name]
    assert found in unproved(WORLD.but(spoil={f"{chain} {part}": spoil}).answer(HERE))


@pytest.mark.parametrize(
    ("part", "spoil", "found"),
    [("extra", put(0, 0xCC27, 16), "tag cc27"), ("leaf", put(0, 0xC, 4), "tag c of a shard descriptor")],
)
def test_a_masterchain_state_of_which_one_thing_is_wrong(part: str, spoil: Callable[[Cell], Cell], found: str) -> None:
    assert found in unproved(WORLD.but(spoil={part: spoil}).answer(HERE))


@pytest.mark.parametrize(
    ("chain", "refs", "found"),
    [("master", 3, "a state without McStateExtra"), ("shard", 1, "a state without accounts")],
)
def test_a_state_that_lacks_something(chain: str, refs: int, found: str) -> None:
    world = WORLD.but(spoil={f"{chain} state": lambda cell: Cell(cell.data, cell.bits, cell.refs[:refs])})
    master, shard = world.master_block(HERE), world.shard_block(HERE)
    assert unproved(
        AccountAnswer(
            block=master.id,
            shard_block=shard.id,
            shard_proof=master.proofs(*(shard_path(master.state) if chain == "shard" else ())),
            proof=shard.proofs(*(account_path(shard.state, HERE) if chain == "master" else ())),
            state=dump_boc(WORLD.accounts[HERE].cell),
        )
    ).startswith(found)


def spoilt(answer: AccountAnswer, part: str, raw: bytes) -> AccountAnswer:
    """Replace one bag of cells."""
    parts = {"shard_proof": answer.shard_proof, "proof": answer.proof, "state": answer.state} | {part: raw}
    return replace(answer, shard_proof=parts["shard_proof"], proof=parts["proof"], state=parts["state"])


def cyclic() -> bytes:
    """Write a bag of one cell that refers to itself."""
    return bytes.fromhex("b5ee9c7201010101000300010000")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw + b"\0",
        lambda _: b"\xb5\xee\x9c\x72" + b"\x04\x08" + b"\xff" * 40,
        lambda _: cyclic(),
        lambda _: b"not a bag of cells",
        lambda _: dump_boc(Builder().end()),
        lambda _: dump_boc(Builder().end(), Builder().uint(1, 1).end()),
    ],
    ids=["truncated", "half", "trailing", "huge", "cyclic", "text", "one root", "no proofs"],
)
@pytest.mark.parametrize("part", ["shard_proof", "proof", "state"])
def test_b01_a_bag_of_cells_that_is_none(part: str, spoil: Callable[[bytes], bytes]) -> None:
    answer = WORLD.answer(HERE)
    assert unproved(spoilt(answer, part, spoil(getattr(answer, part))))


@pytest.mark.parametrize("bit", range(0, 32 * 8, 7))
def test_no_bit_of_the_proof_can_be_another(bit: int) -> None:
    """Wherever a bit of the bag of cells is flipped, nothing is proved."""
    answer = WORLD.answer(HERE)
    for part in ("shard_proof", "proof"):
        raw = bytearray(dump_boc(*load_boc(getattr(answer, part), roots=2), crc=False))
        at = len(raw) * 8 * bit // 256
        raw[at // 8] ^= 1 << at % 8
        assert unproved(spoilt(answer, part, bytes(raw)))


def pruned_again(cell: Cell) -> Cell:
    """Prune a cell below a Merkle update in a proof: two levels down, beside what is pruned there already."""
    levels = [level for level in (1, 2) if level == 2 or cell.level_mask & 1]
    hashes = b"".join(cell.hash_at(level - 1) for level in levels)
    depths = b"".join(cell.depth_at(level - 1).to_bytes(2) for level in levels)
    data = bytes((1, sum(1 << (level - 1) for level in levels))) + hashes + depths
    return Cell(data, 8 * len(data), special=True)


def test_a_state_update_that_is_pruned_within() -> None:
    """As servers do: the states in the update are pruned at the second level, where the update had pruned parts of them
    at the first."""
    made = WORLD.master_block(MASTER)
    info, other, _, extra = made.block.refs
    partly = open_proof(prove(made.state, {made.state.hash}), made.state.hash)
    old = Builder().uint(7, 8).end()
    depths = old.depth.to_bytes(2) + made.state.depth.to_bytes(2)
    data = b"\4" + old.hash + made.state.hash + depths
    block = Cell(made.block.data, made.block.bits, (info, other, Cell(data, 8 * len(data), (old, partly), True), extra))
    shown = Cell(data, 8 * len(data), (pruned_again(old), pruned_again(partly)), special=True)
    assert [child.level_mask for child in shown.refs] == [2, 3]
    beside = [pruned_branch(cell.hash, cell.depth) for cell in (other, extra)]
    header = merkle_proof(Cell(block.data, block.bits, (info, beside[0], shown, beside[1])))
    _, state = load_boc(made.proofs(*account_path(made.state, MASTER)), roots=2)
    named = replace(made.id, root_hash=block.hash)
    answer = replace(WORLD.answer(MASTER), block=named, shard_block=named, proof=dump_boc(header, state))
    assert proved(answer, MASTER).account is not None


def test_the_older_form_of_a_shard_descriptor() -> None:
    """shard_descr#b, beside shard_descr_new#a."""

    class Older(World):
        def leaf(self, block: BlockId) -> Cell:
            rest = super().leaf(block).slice()
            rest.skip(4)
            return Builder().uint(0xB, 4).slice(rest).end()

    assert proved(Older(accounts=WORLD.accounts).answer(HERE)).account is not None


def test_an_account_and_nothing_behind_it() -> None:
    """Nor behind the dictionary, nor behind the account's place in it."""
    right, more = WORLD.accounts[HERE], Builder().bit(value=True).end()
    longer = Builder().slice(right.cell).bit(value=True).end()
    for world in (
        WORLD.but(accounts={HERE: replace(right, cell=longer)}),
        WORLD.but(accounts={HERE: replace(right, behind=more)}),
        WORLD.but(spoil={"shard accounts": lambda cell: Builder().slice(cell).slice(more).end()}),
    ):
        assert unproved(world.answer(HERE)) == "1 bits and 0 references too many"


def test_an_account_without_an_address() -> None:
    nowhere = Builder().bit(value=True).address(None).end()
    assert unproved(WORLD.but(accounts={HERE: Stored(nowhere)}).answer(HERE)) == "an account without an address"


def test_an_account_with_all_that_an_account_can_have() -> None:
    """storage_extra_info, due_payment, other currencies, fixed_prefix_length, special and library."""
    cell = account_cell(HERE, code=CODE, data=DATA, balance=5_000_000_000, full=True)
    assert proved(WORLD.but(accounts={HERE: Stored(cell)}).answer(HERE)).account == proved(WORLD.answer(HERE)).account


@pytest.mark.parametrize("extra", [0b010, 0b111])
def test_a_storage_extra_that_nobody_knows(extra: int) -> None:
    cell = WORLD.accounts[HERE].cell
    spare = 1 + 267 + 2 * 3 + 8 + 16
    bits = int.from_bytes(cell.data) >> (-cell.bits % 8)
    assert bits >> (cell.bits - spare - 3) & 7 == 0
    changed = (bits | extra << (cell.bits - spare - 3)) << (-cell.bits % 8)
    unknown = Cell(changed.to_bytes(len(cell.data)), cell.bits, cell.refs)
    assert "storage extra" in unproved(WORLD.but(accounts={HERE: Stored(unknown)}).answer(HERE))
