"""A registry with three verifiers of which two must sign, and a map of three keys: as chain and service have it."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from attestd.chain.state import CODE, Governance, RegistryState, dump_state
from attestd.signature import ed25519_public_key, ed25519_signing_key, sign_ed25519
from attestd.transparency.checkpoint import Checkpoint, signing_hash
from attestd.transparency.entry import Entry
from attestd.transparency.keymap import prove, update
from attestd.transparency.merkle import Frontier, inclusion_proof, leaf_hash
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Cell
from tests.chain.worlds import GLOBAL_ID, NOW, Stored, World, account_cell

HERE = Address(0, bytes.fromhex("a5" * 32))
ADMIN = Address(0, bytes.fromhex("ad" * 32))
SIGNERS = {index: ed25519_signing_key(bytes([index + 1]) * 32) for index in range(4)}
VERIFIERS = tuple((index, ed25519_public_key(SIGNERS[index])) for index in range(3))
MEMBER, LAPSED, ABSENT, OTHER = (sha256(name.encode()).digest() for name in ("member", "lapsed", "absent", "other"))


def entry(not_before: int = NOW - 3600, not_after: int = NOW + 3600) -> Entry:
    return Entry(
        tee="tdx", image=b"\1" * 32, models=b"\2" * 32, result=b"\3" * 32, not_before=not_before, not_after=not_after
    )


GOVERNANCE = Governance(admin=ADMIN, threshold=2, timelock=3600, max_validity=3600, verifiers=VERIFIERS)
# What an update begins from.
NO_NODES: dict[bytes, bytes] = {}
ENTRIES: Mapping[bytes, Entry] = {MEMBER: entry(), LAPSED: entry(not_after=NOW - 1), OTHER: entry()}


@dataclass(frozen=True)
class Registry:
    """A registry in one epoch; every part can be made wrong."""

    entries: Mapping[bytes, Entry] = field(default_factory=lambda: dict(ENTRIES))
    epoch: int = 7
    valid_until: int = NOW + 600
    paused: bool = False
    published: bool = True
    signers: Mapping[int, int] = field(default_factory=lambda: {0: 0, 2: 2})  # index claimed: index of the key
    signed_for: Address = HERE
    signed_network: int = GLOBAL_ID
    governance: Governance = GOVERNANCE
    code: Cell = CODE
    leaves: tuple[bytes, ...] = ()  # of the log; without any its root is made up
    data: Cell | None = None

    def but(self, **changes: Any) -> "Registry":
        return replace(self, **changes)

    @property
    def stored(self) -> tuple[bytes | None, dict[bytes, bytes]]:
        """The root of the map, and its nodes."""
        updated = update(None, self.entries, NO_NODES.__getitem__)
        return updated.root, updated.created

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            epoch=self.epoch,
            tree_size=len(self.leaves) or 40,
            log_root=self.log.root() if self.leaves else b"\4" * 32,
            map_root=self.stored[0],
            policy_digest=b"\5" * 32,
            issued_at=NOW - 60,
            valid_until=self.valid_until,
        )

    @property
    def log(self) -> Frontier:
        made = Frontier()
        made.extend([leaf_hash(leaf) for leaf in self.leaves])
        return made

    def logged(self, index: int) -> dict[str, Any]:
        """Write the members of a document that show a record of the log."""
        path = inclusion_proof(index, len(self.leaves), self.log.hash_at)
        hashes = [b64encode(one).decode() for one in path]
        return {"record": self.leaves[index].decode(), "inclusion": {"log_index": index, "hashes": hashes}}

    @property
    def signatures(self) -> dict[int, bytes]:
        signed = signing_hash(self.checkpoint, self.signed_network, self.signed_for)
        return {index: sign_ed25519(SIGNERS[key], signed) for index, key in self.signers.items()}

    @property
    def state(self) -> RegistryState:
        if not self.published:
            return RegistryState(governance=self.governance, paused=self.paused)
        return RegistryState(
            governance=self.governance,
            paused=self.paused,
            checkpoint=self.checkpoint,
            signatures=tuple(sorted(self.signatures.items())),
        )

    def world(self, address: Address = HERE) -> World:
        data = dump_state(self.state) if self.data is None else self.data
        return World(accounts={address: Stored(account_cell(address, code=self.code, data=data))})

    def proof(self, key_id: bytes) -> Cell | None:
        root, nodes = self.stored
        return prove(root, key_id, nodes.__getitem__)

    def document(self, key: bytes, /, **changes: Any) -> bytes:
        """Write what the service answers with about a key."""
        proof = self.proof(key)
        document = {
            "key_id": key.hex(),
            "checkpoint": b64encode(dump_boc(self.checkpoint.to_cell())).decode(),
            "signatures": {str(index): signature.hex() for index, signature in self.signatures.items()},
            "proof": None if proof is None else b64encode(dump_boc(proof)).decode(),
            "entry": {"whatever": "it says"},
        }
        return json.dumps(document | changes).encode()
