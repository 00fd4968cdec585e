"""`attestd log verify`: the log of a service, held against itself, its past and the chain by anybody.

(1) chain      the checkpoint in force of the registry, proved, and signed by its verifiers (`chain/reading.py`)
(2) key        the log's own: named, or remembered, or else taken from the service this once
(3) note       size and root of the log, signed with that key
(4) history    the log goes on from the one that is remembered: nothing of it was changed or taken back
(5) anchor     it is the log whose root is on chain, as everybody else sees it, too
(6) records    with --all: each is what its tile says, and together they make the root on chain
(7) map        they make the map on chain, so that it has no key that the log does not speak of, and misses none

What has passed is remembered for the next time. Nothing that the service says of itself is believed after the first.
"""

import asyncio
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Final, Self

from attestd.chain.client import Client, Network
from attestd.chain.reading import Told, registry_address
from attestd.cli.inputs import effective_time
from attestd.cli.proved import Document, export_checkpoint, export_reading, follow
from attestd.cli.screen import VERIFIED
from attestd.codec import Fields, load_json
from attestd.endorsements import write_files
from attestd.errors import ConfigurationRefused, Malformed, NotAuthentic, Reason
from attestd.peer import Peer
from attestd.transparency.anchor import require_anchored, require_growth
from attestd.transparency.audit import MAX_FILE_SIZE, read_log, require_map
from attestd.transparency.checkpoint import Checkpoint
from attestd.transparency.note import MAX_NOTE_SIZE, NoteKey, TreeHead, load_note_key, open_head
from attestd.tvm.address import Address

_MAX_DISCOVERY_SIZE: Final = 256 * 1024
# A note in JSON, and a little for the rest.
_MAX_STATE_SIZE: Final = 8 * MAX_NOTE_SIZE
_MAX_KEY_CHARACTERS: Final = 512
_INT32: Final = 2**31 - 1
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class _Log:
    """Which log: its key, and the contract that anchors it."""

    key: NoteKey
    registry: Address
    global_id: int


@dataclass(frozen=True, slots=True)
class _Remembered:
    """What has passed the last time."""

    log: _Log
    note: bytes
    head: TreeHead

    @classmethod
    def load(cls, file: Path) -> Self | None:
        """Read the file, if there is one. Raises `ConfigurationRefused` (`log.state`): it is never begun anew."""
        try:
            with file.open("rb") as opened:
                raw = opened.read(_MAX_STATE_SIZE + 1)
        except FileNotFoundError:
            return None
        try:
            fields = Fields(load_json(raw)).only("v", "key", "registry", "global_id", "note")
            fields.integer("v", _VERSION, least=_VERSION)
            log = _Log(
                load_note_key(fields.text("key", most=_MAX_KEY_CHARACTERS)),
                Address.parse(fields.text("registry")),
                fields.integer("global_id", _INT32, least=~_INT32),
            )
            note = fields.text("note", most=MAX_NOTE_SIZE).encode()
            return cls(log, note, open_head(note, log.key))
        except (Malformed, NotAuthentic) as error:
            raise _another(f"{file}: {error.found}", error.wanted) from None

    def save(self, file: Path) -> None:
        """Write it in place of what was there; whoever reads sees the old file or the new one."""
        document = {
            "v": _VERSION,
            "key": str(self.log.key),
            "registry": str(self.log.registry),
            "global_id": self.log.global_id,
            "note": self.note.decode(),
        }
        write_files(file.parent, {file.name: dumps(document, indent=2).encode() + b"\n"})


def run(arguments: Namespace) -> int:
    """Verify the log; print what was found, step by step."""
    network = Network.load(arguments.network)
    named = None if arguments.key is None else load_note_key(arguments.key)
    remembered = None if arguments.state is None else _Remembered.load(arguments.state)
    if remembered is not None:
        _require_same(remembered.log, named, registry_address(network, arguments.registry), network.global_id)
        named = remembered.log.key
    with closing(Peer("--from", arguments.url, unfit=Reason.LOG_SERVICE)) as service:
        verification = _Verification(arguments, network, named, remembered, service)
        return follow(arguments, verification.run)


def _require_same(known: _Log, named: NoteKey | None, registry: Address, global_id: int) -> None:
    if named not in (None, known.key):
        raise _another(f"the key {known.key}", f"{named}, which is named")
    if (known.registry, known.global_id) != (registry, global_id):
        raise _another(f"{known.registry} on {known.global_id}", f"{registry} on {global_id}")


@dataclass(frozen=True, slots=True)
class _Verification:
    """One run, by what was given."""

    arguments: Namespace
    network: Network
    key: NoteKey | None  # named or remembered
    remembered: _Remembered | None
    service: Peer

    def run(self, told: Told, document: Document) -> int:
        """Do all steps. Raises what they do."""
        # (1) The chain
        client = Client(self.network, _now, registry=self.arguments.registry, told=told)
        reading = asyncio.run(client.read())
        document |= export_reading(reading, self.network)
        checkpoint = client.in_force(reading)
        document["checkpoint"] = export_checkpoint(checkpoint)
        # (2) The key
        log = _Log(self._key(told), reading.address, self.network.global_id)
        # (3) The note
        note = self.service.read("/v1/log/checkpoint", MAX_NOTE_SIZE)
        head = open_head(note, log.key)
        document |= {"log": {"key": str(log.key), **_export_head(head)}, "note": note.decode()}
        told("note", f"{head.size} records, root {head.root.hex()}")
        # (4) Its history
        self._require_history(head, told, document)
        # (5) One log for everybody
        require_anchored(head, checkpoint, self._fetch)
        told("anchor", f"one log with the {checkpoint.tree_size} records of epoch {checkpoint.epoch} on chain")
        if self.arguments.all:
            self._require_records(checkpoint, told, document)
        if self.arguments.state is not None:
            _Remembered(log, note, head).save(self.arguments.state)
        return VERIFIED

    def _key(self, told: Told) -> NoteKey:
        if self.key is not None:
            told("key", f"{self.key}, {'as named' if self.remembered is None else 'as remembered'}")
            return self.key
        fields = Fields(load_json(self.service.read("/.well-known/attestd", _MAX_DISCOVERY_SIZE)))
        key = load_note_key(fields.fields("log").text("key", most=_MAX_KEY_CHARACTERS))
        kept = "it is pinned by nothing" if self.arguments.state is None else "from now on it is the only one"
        told("key", f"{key}, as the service says itself: {kept}")
        return key

    def _require_history(self, head: TreeHead, told: Told, document: Document) -> None:
        if self.remembered is None:
            told("history", "nothing is remembered that it would have to go on from")
            return
        known = self.remembered.head
        document |= {"remembered": _export_head(known), "remembered_note": self.remembered.note.decode()}
        require_growth(known, head, self._fetch)
        told("history", f"it goes on from the {known.size} records that were remembered")

    def _require_records(self, checkpoint: Checkpoint, told: Told, document: Document) -> None:
        # (6) The records
        entries = read_log(checkpoint, self._fetch, _progress(checkpoint.tree_size))
        told("records", f"{checkpoint.tree_size} records make the root on chain")
        # (7) The map
        require_map(entries, checkpoint)
        told("map", f"they make the map on chain, of {len(entries)} keys")
        document["audited"] = {"records": checkpoint.tree_size, "keys": len(entries)}

    def _fetch(self, path: str) -> bytes:
        return self.service.read(f"/v1/log/{path}", MAX_FILE_SIZE)


def _now() -> float:
    return effective_time(None).timestamp()


def _progress(size: int) -> Callable[[int], None]:
    """Return what says how far it is, to somebody who looks."""

    def told(done: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done:,} of {size:,} records" + ("\n" if done == size else ""))
            sys.stderr.flush()

    return told


def _export_head(head: TreeHead) -> Document:
    return {"origin": head.origin, "size": head.size, "root": head.root.hex()}


def _another(found: str, wanted: str) -> ConfigurationRefused:
    return ConfigurationRefused(Reason.LOG_STATE, found=found, wanted=wanted)
