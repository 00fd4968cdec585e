"""What the registry's contract stores, and how it begins: the cells of contract/schema.tlb, read and written.

Reading is strict: tags, order of dictionaries, no bit left over. A cell that is read and written again is the same
cell, so a state that attestd does not understand to its last bit is one that it does not act on. The one exception are
the signatures, whose dictionary stands as the relayer wrote it: anyone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, TypeAlias, assert_never

from attestd.chain.account import dump_state_init
from attestd.codec import load_base64
from attestd.errors import Malformed, Reason
from attestd.transparency.checkpoint import Checkpoint, load_fields
from attestd.tvm.address import Address
from attestd.tvm.boc import load_boc
from attestd.tvm.cell import HASH_SIZE, Builder, Cell, Slice
from attestd.tvm.dictionary import build, build_set, parse, parse_set

_VERSION: Final = 1
_SIGNATURE_SIZE: Final = 64
_INDEX_BITS: Final = 8
_PROPOSAL_BITS: Final = 32
# The contract holds no more (governance.tolk). Cells may be shared, so a small state could claim billions.
_MAX_PROPOSALS: Final = 16
_MAX_DIGESTS: Final = 48

_BUILT: Final = json.loads(files("attestd.chain").joinpath("contract", "registry.json").read_text(encoding="utf-8"))
(CODE,) = load_boc(load_base64(_BUILT["code"]))
CODE_HASH: Final = CODE.hash


@dataclass(frozen=True, slots=True)
class SetVerifiers:
    """Who signs checkpoints, by index, and how many of them have to."""

    threshold: int
    verifiers: tuple[tuple[int, bytes], ...]  # index and Ed25519 public key (32 bytes), by index


@dataclass(frozen=True, slots=True)
class SetAdmin:
    """Who governs: the address of a multisig, or of a wallet."""

    admin: Address


@dataclass(frozen=True, slots=True)
class SetTimelock:
    """How many seconds a proposal waits."""

    timelock: int


@dataclass(frozen=True, slots=True)
class SetMaxValidity:
    """For how many seconds a checkpoint can hold at most."""

    max_validity: int


@dataclass(frozen=True, slots=True)
class Unpause:
    """Let checkpoints be published again."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Another code for the same storage."""

    code: Cell


@dataclass(frozen=True, slots=True)
class Approve:
    """Digests (32 bytes) to add to a set: 0 images, 1 models, 2 policies."""

    set: int
    digests: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Digests to take out of a set."""

    set: int
    digests: frozenset[bytes]


Change: TypeAlias = SetVerifiers | SetAdmin | SetTimelock | SetMaxValidity | Unpause | Upgrade | Approve | Withdraw


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that waits: executable from `eta` until `expires`, POSIX seconds."""

    eta: int
    expires: int
    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Governance:
    """Who decides, how slowly, and what was decided."""

    admin: Address
    threshold: int
    timelock: int  # seconds, as the next
    max_validity: int
    next_proposal: int = 0  # the number that the next one gets
    verifiers: tuple[tuple[int, bytes], ...] = ()  # as in `SetVerifiers`
    proposals: tuple[tuple[int, Proposal], ...] = ()  # by number
    images: frozenset[bytes] = frozenset()  # digests of 32 bytes, as the two below
    models: frozenset[bytes] = frozenset()
    policies: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryState:
    """The storage of the contract. Before the first publication there is no checkpoint: epoch and all else are zero."""

    governance: Governance
    paused: bool = False
    checkpoint: Checkpoint | None = None
    signatures: tuple[tuple[int, bytes], ...] = ()  # index of the verifier and its Ed25519 signature

    @property
    def epoch(self) -> int:
        """The last epoch that was published; 0 before the first."""
        return 0 if self.checkpoint is None else self.checkpoint.epoch


_NOTHING: Final = Checkpoint(
    epoch=0,
    tree_size=0,
    log_root=bytes(HASH_SIZE),
    map_root=None,
    policy_digest=bytes(HASH_SIZE),
    issued_at=0,
    valid_until=0,
)


def load_state(cell: Cell) -> RegistryState:
    """Read the storage cell. Raises `Malformed` (`chain.state`, `cell.malformed`)."""
    slice_ = cell.slice()
    if (version := slice_.load_uint(8)) != _VERSION:
        raise _refused(f"a storage of version {version}", f"version {_VERSION}")
    paused = slice_.load_bit()
    checkpoint = load_fields(slice_)
    signatures = load_signatures(slice_.load_maybe_ref())
    governance = _load_governance(slice_.load_ref().slice())
    slice_.end()
    if checkpoint.epoch == 0 and (checkpoint != _NOTHING or signatures):
        raise _refused("a checkpoint of epoch 0", "zeros before the first publication")
    return RegistryState(
        governance=governance,
        paused=paused,
        checkpoint=checkpoint if checkpoint.epoch else None,
        signatures=signatures,
    )


def dump_state(state: RegistryState) -> Cell:
    """Write the storage cell. Raises `Malformed` (`cell.malformed`) where a number does not fit."""
    builder = (state.checkpoint or _NOTHING).store(Builder().uint(_VERSION, 8).bit(state.paused))
    builder.maybe_ref(dump_indexed(dict(state.signatures)))
    return builder.ref(_dump_governance(state.governance)).end()


def state_init(governance: Governance, code: Cell = CODE) -> Cell:
    """Return the StateInit of a registry that begins under this governance; its hash is the address."""
    return dump_state_init(code, dump_state(RegistryState(governance=governance)))


def _load_governance(slice_: Slice) -> Governance:
    admin = slice_.load_address()
    if admin is None:
        raise _refused("no admin", "an address")
    threshold, timelock, max_validity = slice_.load_uint(8), slice_.load_uint(32), slice_.load_uint(32)
    next_proposal = slice_.load_uint(_PROPOSAL_BITS)
    verifiers = _load_indexed(slice_.load_maybe_ref(), HASH_SIZE)
    proposals = parse(slice_.load_maybe_ref(), _PROPOSAL_BITS, most=_MAX_PROPOSALS)
    sets = slice_.load_ref().slice()
    slice_.end()
    images, models, policies = (parse_set(sets.load_maybe_ref(), HASH_SIZE) for _ in range(3))
    sets.end()
    return Governance(
        admin=admin,
        threshold=threshold,
        timelock=timelock,
        max_validity=max_validity,
        next_proposal=next_proposal,
        verifiers=verifiers,
        proposals=tuple((number, _load_proposal(value)) for number, value in sorted(proposals.items())),
        images=images,
        models=models,
        policies=policies,
    )


def _dump_governance(governance: Governance) -> Cell:
    proposals = {number: Builder().ref(_dump_proposal(proposal)).end() for number, proposal in governance.proposals}
    sets = Builder()
    for digests in (governance.images, governance.models, governance.policies):
        sets.maybe_ref(build_set(digests, HASH_SIZE))
    return (
        Builder()
        .address(governance.admin)
        .uint(governance.threshold, 8)
        .uint(governance.timelock, 32)
        .uint(governance.max_validity, 32)
        .uint(governance.next_proposal, _PROPOSAL_BITS)
        .maybe_ref(dump_indexed(dict(governance.verifiers)))
        .maybe_ref(build(proposals, _PROPOSAL_BITS))
        .ref(sets.end())
        .end()
    )


def _load_proposal(value: Slice) -> Proposal:
    slice_ = value.load_ref().slice()
    value.end()
    proposal = Proposal(slice_.load_uint(32), slice_.load_uint(32), load_change(slice_.load_ref()))
    slice_.end()
    return proposal


def _dump_proposal(proposal: Proposal) -> Cell:
    return Builder().uint(proposal.eta, 32).uint(proposal.expires, 32).ref(dump_change(proposal.change)).end()


def load_change(cell: Cell) -> Change:
    """Read a change. Raises `Malformed` (`chain.state`, `cell.malformed`)."""
    slice_ = cell.slice()
    change = _load_change(slice_.load_uint(8), slice_)
    slice_.end()
    return change


def _load_change(kind: int, slice_: Slice) -> Change:
    match kind:
        case 1:
            return SetVerifiers(slice_.load_uint(8), _load_indexed(slice_.load_maybe_ref(), HASH_SIZE))
        case 2:
            admin = slice_.load_address()
            if admin is None:
                raise _refused("no admin", "an address")
            return SetAdmin(admin)
        case 3:
            return SetTimelock(slice_.load_uint(32))
        case 4:
            return SetMaxValidity(slice_.load_uint(32))
        case 5:
            return Unpause()
        case 6:
            return Upgrade(slice_.load_ref())
        case 7:
            return Approve(slice_.load_uint(8), parse_set(slice_.load_maybe_ref(), HASH_SIZE, most=_MAX_DIGESTS))
        case 8:
            return Withdraw(slice_.load_uint(8), parse_set(slice_.load_maybe_ref(), HASH_SIZE, most=_MAX_DIGESTS))
        case _:
            raise _refused(f"a change of kind {kind}", "1 to 8")


def dump_change(change: Change) -> Cell:
    """Write a change. Raises `Malformed` (`cell.malformed`) where a number does not fit."""
    builder = Builder()
    match change:
        case SetVerifiers(threshold, verifiers):
            builder.uint(1, 8).uint(threshold, 8).maybe_ref(dump_indexed(dict(verifiers)))
        case SetAdmin(admin):
            builder.uint(2, 8).address(admin)
        case SetTimelock(seconds):
            builder.uint(3, 8).uint(seconds, 32)
        case SetMaxValidity(seconds):
            builder.uint(4, 8).uint(seconds, 32)
        case Unpause():
            builder.uint(5, 8)
        case Upgrade(code):
            builder.uint(6, 8).ref(code)
        case Approve(which, digests):
            builder.uint(7, 8).uint(which, 8).maybe_ref(build_set(digests, HASH_SIZE))
        case Withdraw(which, digests):
            builder.uint(8, 8).uint(which, 8).maybe_ref(build_set(digests, HASH_SIZE))
        case _:
            assert_never(change)
    return builder.end()


def load_signatures(root: Cell | None) -> tuple[tuple[int, bytes], ...]:
    """Read the signatures as the relayer wrote them; none where they cannot be read.

    The contract takes what the TVM reads: labels in any writing, and references to libraries in place of nodes. Were
    that refused here, one relayer could stop everybody, the publisher of the next epoch included. Without signatures
    the checkpoint counts for nobody, and the rest of the state says what it says.
    """
    try:
        return _load_indexed(root, _SIGNATURE_SIZE, shortest=False)
    except Malformed:
        return ()


def _load_indexed(root: Cell | None, size: int, *, shortest: bool = True) -> tuple[tuple[int, bytes], ...]:
    """Read a HashmapE 8 of `size` bytes each, by index."""
    found = []
    for index, value in sorted(parse(root, _INDEX_BITS, shortest=shortest).items()):
        found.append((index, value.load_bytes(size)))
        value.end()
    return tuple(found)


def dump_indexed(values: Mapping[int, bytes]) -> Cell | None:
    """Write a HashmapE 8 of bytes, the value inline: public keys or signatures by the index of their verifier."""
    return build({index: Builder().bytes(value).end() for index, value in values.items()}, _INDEX_BITS)


def _refused(found: str, wanted: str) -> Malformed:
    return Malformed(Reason.CHAIN_STATE, found=found, wanted=wanted)
