"""Bodies of the messages that the registry's contract takes (contract/schema.tlb), each op:uint32 query_id:uint64 ….

`publish` is taken from anyone, since what counts are the signatures in it; `check_key` from any contract; the others
only from the admin, whose wallet or multisig has to send them. What is left of their value comes back as excesses.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from attestd.chain.state import Change, dump_change, dump_indexed, load_signatures
from attestd.transparency.checkpoint import Checkpoint, load_checkpoint
from attestd.tvm.cell import Builder, Cell

# What a message is worth sending with, in nanoton; the rest comes back. Gas and forwarding are measured (registry.md).
PUBLISH_VALUE: Final = 50_000_000
ADMIN_VALUE: Final = 50_000_000
# The storage reserve of a contract that lives for years, and the gas of its first message.
DEPLOY_VALUE: Final = 100_000_000

_OP_BITS: Final = 32


class Op(IntEnum):
    """The first 32 bits of a body that is sent from here."""

    PUBLISH = 0x2B69F9C9
    PROPOSE = 0x4E8E94F0
    EXECUTE = 0x456DCDCB
    CANCEL = 0x77CC1D46
    PAUSE = 0x6A239751


class ExitCode(IntEnum):
    """Why the contract refused a message (compute phase)."""

    NOT_ADMIN = 401
    PAUSED = 402
    TOO_FEW_SIGNATURES = 403
    UNKNOWN_SIGNER = 404
    BAD_SIGNATURE = 405
    MALFORMED_CHECKPOINT = 410
    TREE_SHRINKS = 411
    VALID_UNTIL = 412
    EPOCH = 413
    ISSUED_AT = 414
    NO_SUCH_PROPOSAL = 420
    TOO_EARLY = 421
    PROPOSAL_EXPIRED = 422
    MALFORMED_CHANGE = 423
    TOO_MANY_PROPOSALS = 424
    VERIFIERS = 425
    PROOF = 430
    NO_CHECKPOINT = 431
    VALUE = 440
    UNKNOWN_OP = 0xFFFF


def publish_body(checkpoint: Checkpoint, signatures: Mapping[int, bytes], query_id: int = 0) -> Cell:
    """Publish a checkpoint; signatures (64 bytes) by the index of their verifier."""
    return _body(Op.PUBLISH, query_id).ref(checkpoint.to_cell()).maybe_ref(dump_indexed(signatures)).end()


def load_publish(body: Cell) -> Checkpoint | None:
    """Return the checkpoint that a body publishes; null where it is another message. Raises `Malformed`."""
    slice_ = body.slice()
    if slice_.bits_left < _OP_BITS or slice_.load_uint(_OP_BITS) != Op.PUBLISH:
        return None
    slice_.load_uint(64)
    return load_checkpoint(slice_.load_ref())


def load_published(body: Cell) -> tuple[tuple[int, bytes], ...]:
    """Return the signatures in a body that `load_publish` has read, by index; none where they cannot be read."""
    slice_ = body.slice()
    slice_.skip(_OP_BITS + 64)
    slice_.load_ref()
    return load_signatures(slice_.load_maybe_ref())


def propose_body(change: Change, query_id: int = 0) -> Cell:
    """Propose a change, which waits for the timelock."""
    return _body(Op.PROPOSE, query_id).ref(dump_change(change)).end()


def execute_body(proposal: int, query_id: int = 0) -> Cell:
    """Execute a proposal whose time has come."""
    return _body(Op.EXECUTE, query_id).uint(proposal, 32).end()


def cancel_body(proposal: int, query_id: int = 0) -> Cell:
    """Drop a proposal."""
    return _body(Op.CANCEL, query_id).uint(proposal, 32).end()


def pause_body(query_id: int = 0) -> Cell:
    """Stop publication and every answer of `check_key`, at once."""
    return _body(Op.PAUSE, query_id).end()


def _body(op: Op, query_id: int) -> Builder:
    return Builder().uint(op, 32).uint(query_id, 64)
