"""What the chain says: of the registry, and through it of one key. For relying parties; nothing of a server is needed.

(1) Enough liteservers prove the account alike, as of a block of this minute (`liteservers.py`, `proof.py`).
(2) The account is an active contract with the pinned code.
(3) Its storage is a registry's, to the last bit, and governed by whom the network file pins, if it pins anybody.
(4) It is not paused, and has published.
(5) Its checkpoint is in force at the time of reading.
(6) Enough of its verifiers have signed that checkpoint, for this network and this very address.
(7) The proof that came with the key is of the map whose root is in that checkpoint.
(8) In the map the key has an entry, or has none; and the entry's own window contains the time of reading.
(9) The record of the log that came with the key, if one came, is in the log whose root is in that checkpoint, and it is
    what makes the map say so.

Whoever sends the proof is not believed in anything: what it says of epochs, entries and signatures is compared with the
chain and never used. After (6) it takes k of the verifiers' keys to lie, if the network file pins the verifiers. Who
they are is otherwise what the servers of (1) say, and as many of these as must agree, in a majority, can make them up.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from attestd.chain.ledger import AccountStatus
from attestd.chain.liteservers import Agreed, Liteservers
from attestd.chain.network import Network
from attestd.chain.proof import ProvedAccount
from attestd.chain.state import CODE_HASH, RegistryState, load_state
from attestd.codec import Fields, load_base64, load_hex, load_json
from attestd.errors import ConfigurationRefused, Malformed, NotAuthentic, Reason, Unavailable
from attestd.transparency.checkpoint import Checkpoint, load_checkpoint, verify_signatures
from attestd.transparency.entry import Entry
from attestd.transparency.keymap import lookup
from attestd.transparency.merkle import leaf_hash, verify_inclusion
from attestd.transparency.record import MAX_RECORD_SIZE, changes, load_record
from attestd.tvm.address import Address
from attestd.tvm.boc import load_boc
from attestd.tvm.cell import Cell

# A proof of one key in a million has about 40 cells, a document around it a few more members.
MAX_DOCUMENT_SIZE: Final = 64 * 1024
_MAX_PROOF_CELLS: Final = 2048
_MAX_PATH: Final = 63

# Told of each step that has passed: its name, and what was found.
Told: TypeAlias = Callable[[str, str], None]


class Standing(StrEnum):
    """What the chain says of a key."""

    MEMBER = "member"
    ABSENT = "absent"
    LAPSED = "lapsed"  # in the map, but the window of its entry does not contain the time of reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A registry as the chain has it: proved, pinned and decoded. Whether its checkpoint holds is not yet said."""

    address: Address
    agreed: Agreed
    state: RegistryState


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A leaf of the log, `index` of it, and the audit path to the root (RFC 6962, section 2.1.1)."""

    leaf: bytes
    index: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyProof:
    """What a service hands out with a key. `proof` is null where the map is empty, `record` where the log has none."""

    key_id: bytes
    checkpoint: Checkpoint
    proof: Cell | None
    record: Logged | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyVerdict:
    """The verdict on a key, with the checkpoint that it rests on; made from steps that have passed, and last."""

    key_id: bytes
    standing: Standing
    entry: Entry | None  # null where the key is absent
    record: Logged | None  # the decision behind it
    checkpoint: Checkpoint
    reading: Reading


def silent(_step: str, _found: str) -> None:
    """Tell nobody."""


async def read_registry(
    servers: Liteservers, registry: Address | None = None, code_hash: bytes = CODE_HASH, told: Told = silent
) -> Reading:
    """Read the registry's contract: steps (1) to (3). Without an address, the one that the network file pins.

    Raises `Unavailable`: what `Liteservers.account` raises, and `chain.account`, `chain.code`, `chain.state`,
    `chain.owner`; `ConfigurationRefused` (`chain.network`) where no address is known, or another one is pinned.
    """
    address = registry_address(servers.network, registry)
    # (1) The account
    agreed = await servers.account(address)
    told("account", _servers(agreed))
    # (2) Its code
    told("code", f"sha256:{require_code(agreed.account, code_hash).hex()}")
    # (3) Its storage, and who governs
    state = decode_state(agreed.account)
    require_owner(state, servers.network)
    told("storage", f"epoch {state.epoch}, admin {state.governance.admin}")
    return Reading(address=address, agreed=agreed, state=state)


def registry_address(network: Network, given: Address | None) -> Address:
    """Return the registry's address: the one given, the one pinned, or both where they are the same."""
    pinned = network.registry
    if given is None:
        if pinned is None:
            raise ConfigurationRefused(
                Reason.CHAIN_NETWORK, found="no address", wanted="the registry's, by itself or in the network file"
            )
        return pinned
    if pinned not in (None, given):
        raise ConfigurationRefused(
            Reason.CHAIN_NETWORK, found=f"the address {given}", wanted=f"{pinned}, which is pinned"
        )
    return given


def require_code(proved: ProvedAccount, code_hash: bytes = CODE_HASH) -> bytes:
    """Require an active contract of this code; return its hash. Raises `Unavailable`: `chain.account`, `chain.code`."""
    account = proved.account
    if account is None or account.code is None or account.data is None:
        status = AccountStatus.ABSENT if account is None else account.status
        raise Unavailable(Reason.CHAIN_ACCOUNT, found=f"{proved.address}: {status}", wanted="an active contract")
    if account.code.hash != code_hash:
        raise Unavailable(Reason.CHAIN_CODE, found=account.code.hash.hex(), wanted=code_hash.hex())
    return code_hash


def decode_state(proved: ProvedAccount) -> RegistryState:
    """Decode the contract's storage. Raises `Unavailable` (`chain.account`, `chain.state`)."""
    if proved.account is None or proved.account.data is None:
        raise Unavailable(Reason.CHAIN_ACCOUNT, found=f"{proved.address}: no data", wanted="an active contract")
    try:
        return load_state(proved.account.data)
    except (Malformed, NotAuthentic) as error:
        raise Unavailable(Reason.CHAIN_STATE, found=error.found, wanted=error.wanted) from None


def require_owner(state: RegistryState, network: Network) -> None:
    """Require the admin, the verifiers and the threshold that are pinned. Raises `Unavailable` (`chain.owner`)."""
    governance = state.governance
    if network.admin not in (None, governance.admin):
        raise Unavailable(Reason.CHAIN_OWNER, found=f"the admin {governance.admin}", wanted=str(network.admin))
    if network.verifiers and (governance.verifiers, governance.threshold) != (network.verifiers, network.threshold):
        raise Unavailable(
            Reason.CHAIN_OWNER,
            found=f"{governance.threshold} of {_keys(governance.verifiers)}",
            wanted=f"{network.threshold} of {_keys(network.verifiers)}",
        )


def checkpoint_in_force(reading: Reading, network: Network, at: int, told: Told = silent) -> Checkpoint:
    """Return the checkpoint that holds at the time `at`, POSIX seconds: steps (4) to (6).

    Raises `Unavailable`: `chain.paused`, `chain.unpublished`, `chain.expired`; `NotAuthentic`
    (`checkpoint.signatures`).
    """
    state, governance = reading.state, reading.state.governance
    # (4) In operation
    if state.paused:
        raise Unavailable(Reason.CHAIN_PAUSED, found=f"paused in epoch {state.epoch}", wanted="a registry in operation")
    checkpoint = state.checkpoint
    if checkpoint is None:
        raise Unavailable(Reason.CHAIN_UNPUBLISHED, found="epoch 0", wanted="epoch 1 or later")
    told("operation", f"not paused, epoch {checkpoint.epoch}")
    # (5) In force
    if at > checkpoint.valid_until:
        raise Unavailable(
            Reason.CHAIN_EXPIRED,
            found=f"epoch {checkpoint.epoch}, {at - checkpoint.valid_until} s beyond its end",
            wanted="a checkpoint in force",
        )
    told("freshness", f"issued {at - checkpoint.issued_at} s ago, valid for {checkpoint.valid_until - at} s more")
    # (6) Signed
    verify_signatures(
        checkpoint,
        dict(state.signatures),
        dict(governance.verifiers),
        threshold=governance.threshold,
        global_id=network.global_id,
        registry=reading.address,
    )
    told("signatures", f"{governance.threshold} or more of {len(governance.verifiers)} verifiers")
    return checkpoint


def judge_key(reading: Reading, checkpoint: Checkpoint, proof: KeyProof, at: int, told: Told = silent) -> KeyVerdict:
    """Judge a key by the checkpoint in force: steps (7) to (9).

    Raises `Unavailable` (`chain.epoch`) where the service's proof is of another checkpoint than the one on chain, which
    happens for a moment after each publication; `NotAuthentic`: `map.proof` where it is none,
    `log.inclusion` for a record that is not in the log, or not behind the entry; `Malformed` (`log.record`).
    """
    # (7) The proof
    if proof.checkpoint != checkpoint:
        raise Unavailable(
            Reason.CHAIN_EPOCH, found=f"a proof for epoch {proof.checkpoint.epoch}", wanted=f"{checkpoint.epoch}"
        )
    entry = lookup(proof.proof, checkpoint.map_root, proof.key_id)
    told("map", f"proved under {checkpoint.map_root.hex() if checkpoint.map_root else 'the empty map'}")
    # (8) The entry
    standing = _standing(entry, at)
    told("key", standing)
    # (9) The record
    if (record := proof.record) is not None:
        _require_record(record, proof.key_id, entry, checkpoint)
        told("record", f"number {record.index} of the log's {checkpoint.tree_size}")
    return KeyVerdict(
        key_id=proof.key_id,
        standing=standing,
        entry=entry,
        record=record,
        checkpoint=checkpoint,
        reading=reading,
    )


def _require_record(record: Logged, key_id: bytes, entry: Entry | None, checkpoint: Checkpoint) -> None:
    verify_inclusion(leaf_hash(record.leaf), record.index, checkpoint.tree_size, record.path, checkpoint.log_root)
    # A record about no key changes nothing in the map, and one about another key says nothing of this one.
    made = changes([load_record(record.leaf)])
    if made.get(key_id) != entry or made.keys() - {key_id}:
        raise NotAuthentic(
            Reason.LOG_INCLUSION, found=f"a record that leaves {_said(made, key_id)}", wanted="the one behind the map"
        )


def _said(made: Mapping[bytes, Entry | None], key_id: bytes) -> str:
    if key_id not in made:
        return "the key as it was"
    return "no entry" if made[key_id] is None else "another entry"


def load_key_proof(raw: bytes, key_id: bytes) -> KeyProof:
    """Read the document that a service hands out with a key: its id, the checkpoint and a Merkle proof, BoCs in base64.

    The last `record` about the key and its `inclusion` may be there. What else it says is for people, and left aside.
    Raises `Malformed`.
    """
    if len(raw) > MAX_DOCUMENT_SIZE:
        raise Malformed(Reason.JSON_SCHEMA, found="a larger document", wanted=f"at most {MAX_DOCUMENT_SIZE} bytes")
    fields = Fields(load_json(raw))
    if load_hex(fields.text("key_id").removeprefix("sha256:"), size=len(key_id)) != key_id:
        raise fields.refuse("key_id", f"the proof of {key_id.hex()}")
    (checkpoint,) = load_boc(load_base64(fields.text("checkpoint", most=MAX_DOCUMENT_SIZE)))
    return KeyProof(
        key_id=key_id,
        checkpoint=load_checkpoint(checkpoint),
        proof=_load_proof(fields) if fields.given("proof") else None,
        record=_load_logged(fields) if fields.given("record") else None,
    )


def _load_logged(fields: Fields) -> Logged:
    inclusion = fields.fields("inclusion")
    return Logged(
        leaf=fields.text("record", most=MAX_RECORD_SIZE).encode(),
        index=inclusion.integer("log_index", 2**63 - 1),
        path=inclusion.binaries("hashes", most=_MAX_PATH),
    )


def _load_proof(fields: Fields) -> Cell:
    text = fields.text("proof", most=MAX_DOCUMENT_SIZE)
    (proof,) = load_boc(load_base64(text), max_cells=_MAX_PROOF_CELLS)
    return proof


def _standing(entry: Entry | None, at: int) -> Standing:
    if entry is None:
        return Standing.ABSENT
    return Standing.MEMBER if entry.not_before <= at <= entry.not_after else Standing.LAPSED


def _servers(agreed: Agreed) -> str:
    names = ", ".join(map(str, agreed.servers))
    alone = " alone, since the network file asks for no second" if len(agreed.servers) == 1 else ""
    return f"proved by {names}{alone}, in block {agreed.account.block.seqno}"


def _keys(verifiers: tuple[tuple[int, bytes], ...]) -> str:
    return ", ".join(f"{index}:{key.hex()[:8]}" for index, key in verifiers) or "nobody"
