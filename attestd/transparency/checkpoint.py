"""The checkpoint of an epoch, and what verifiers sign (attestd/chain/contract/schema.tlb, Checkpoint and Signed).

    checkpoint: tag 0x287f43b5:uint32 epoch:uint32 tree_size:uint64 log_root:uint256 map_root:uint256
                policy_digest:uint256 issued_at:uint32 valid_until:uint32
    signed:     tag 0x62a89e96:uint32 global_id:int32 registry:MsgAddressInt checkpoint:^Checkpoint

A signature is Ed25519 over the 32 bytes of the hash of the second cell, so that it holds on one network, for one
registry, for one epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from attestd.errors import NotAuthentic, Reason
from attestd.signature import ed25519_verifies
from attestd.tvm.address import Address
from attestd.tvm.cell import HASH_SIZE, Builder, Cell, Slice, refused

# As many as the contract lets there be verifiers.
MAX_SIGNATURES: Final = 16

_CHECKPOINT: Final = 0x287F43B5
_SIGNED: Final = 0x62A89E96
# What stands for the root of an empty map.
_EMPTY_MAP: Final = bytes(HASH_SIZE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What the registry says at the end of an epoch. Times are in POSIX seconds."""

    epoch: int
    tree_size: int
    log_root: bytes  # 32 bytes, as the two below
    map_root: bytes | None  # None is the empty map, 32 zero bytes in the cell
    policy_digest: bytes
    issued_at: int
    valid_until: int

    def to_cell(self) -> Cell:
        """Return the checkpoint as a cell. Raises `Malformed` (`cell.malformed`) where a field is out of range."""
        return self.store(Builder().uint(_CHECKPOINT, 32)).end()

    def store(self, builder: Builder) -> Builder:
        """Append what follows the tag, as it also stands in the contract's storage. Raises as `to_cell` does."""
        builder.uint(self.epoch, 32).uint(self.tree_size, 64)
        for digest in (self.log_root, self.map_root or _EMPTY_MAP, self.policy_digest):
            if len(digest) != HASH_SIZE:
                raise refused(f"a digest of {len(digest)} bytes", f"{HASH_SIZE} bytes")
            builder.bytes(digest)
        return builder.uint(self.issued_at, 32).uint(self.valid_until, 32)


def load_checkpoint(cell: Cell) -> Checkpoint:
    """Read a checkpoint. Raises `Malformed` (`cell.malformed`), or `NotAuthentic` (`cell.pruned`) if it is left out."""
    fields = cell.slice()
    if (tag := fields.load_uint(32)) != _CHECKPOINT:
        raise refused(f"tag {tag:#010x}", f"{_CHECKPOINT:#010x}, a checkpoint")
    checkpoint = load_fields(fields)
    fields.end()
    return checkpoint


def load_fields(fields: Slice) -> Checkpoint:
    """Read what follows the tag of a checkpoint, as it also stands in the contract's storage. Raises `Malformed`."""
    return Checkpoint(
        epoch=fields.load_uint(32),
        tree_size=fields.load_uint(64),
        log_root=fields.load_bytes(HASH_SIZE),
        map_root=load_map_root(fields.load_bytes(HASH_SIZE)),
        policy_digest=fields.load_bytes(HASH_SIZE),
        issued_at=fields.load_uint(32),
        valid_until=fields.load_uint(32),
    )


def load_map_root(root: bytes) -> bytes | None:
    """Read the root of a map as it stands on chain, where 32 zero bytes are the empty map."""
    return None if root == _EMPTY_MAP else root


def signing_hash(checkpoint: Checkpoint, global_id: int, registry: Address) -> bytes:
    """Return the 32 bytes that verifiers sign: for the network of this id and the registry at this address."""
    signed = Builder().uint(_SIGNED, 32).int(global_id, 32).address(registry).ref(checkpoint.to_cell())
    return signed.end().hash


def verify_signatures(
    checkpoint: Checkpoint,
    signatures: Mapping[int, bytes],
    verifiers: Mapping[int, bytes],
    *,
    threshold: int,
    global_id: int,
    registry: Address,
) -> None:
    """Require that `threshold` verifiers have signed; both mappings are by the index of the verifier.

    Counted are distinct public keys, not indexes: a key that stands twice in the set has one voice. A signature by
    nobody in the set, or of other bytes, has none: after a change of the set, old signatures may stand beside new ones.
    Raises `NotAuthentic` (`checkpoint.signatures`), also with a threshold that nobody would have to meet.
    """
    if len(signatures) > MAX_SIGNATURES or threshold < 1:
        raise NotAuthentic(
            Reason.CHECKPOINT_SIGNATURES,
            found=f"{len(signatures)} signatures for a threshold of {threshold}",
            wanted=f"at most {MAX_SIGNATURES}, and a threshold of 1 or more",
        )
    signed = signing_hash(checkpoint, global_id, registry)
    counted = {
        verifiers[index]
        for index, signature in signatures.items()
        if index in verifiers and ed25519_verifies(verifiers[index], signature, signed)
    }
    if len(counted) < threshold:
        raise NotAuthentic(
            Reason.CHECKPOINT_SIGNATURES, found=f"{len(counted)} signatures that count", wanted=f"at least {threshold}"
        )
