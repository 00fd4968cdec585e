"""A registry, verifiers of it that are services of their own, and a registry that lies to them."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from attestd.api import Service
from attestd.chain.wallet import load_key
from attestd.codec import dump_base64
from attestd.metrics import Metrics
from attestd.peer import Peer
from attestd.registrar.cosigning import Elsewhere, OwnKey
from attestd.registrar.orders import Orders
from attestd.registrar.publisher import Publisher
from attestd.registry import Registry, epochs, log, results, sequencing
from attestd.registry import keymap as registry_keymap
from attestd.registry.epochs import Candidate, Signature
from attestd.registry.sequencing import Sequenced
from attestd.settings import Settings
from attestd.signature import SigningKey
from attestd.simulator import NvidiaVendor, Vendor
from attestd.transparency import keymap, note
from attestd.transparency.checkpoint import Checkpoint
from attestd.transparency.merkle import Frontier, leaf_hash
from attestd.transparency.record import Record, changes, dump_record, load_record
from attestd.transparency.tiles import TILE_WIDTH, dump_entries, parse_path
from attestd.tvm.address import Address
from tests.api.world import Provider, World, amd_vendors, environment, world, write_anchors
from tests.registrar_chain.chain import ADMIN, GLOBAL_ID, REGISTRY, FakeWallet, FaultChain
from tests.registrar_chain.world import KEYS, VERIFIERS, Clock
from tests.registry.samples import digest

THRESHOLD = 2
RATE = json.dumps({"reason": "request.rate", "detail": "Slowly."}).encode()
SEEDS = [digest("verifier", number) for number in range(3)]


def write_key(file: Path, seed: bytes) -> str:
    file.write_text(seed.hex())
    file.chmod(0o600)
    return str(file)


def network_file(folder: Path, registry: Address = REGISTRY, global_id: int = GLOBAL_ID) -> str:
    """Write a network file; nobody asks the liteservers in it."""
    servers = [
        {"ip": 2130706433, "port": port, "id": {"@type": "pub.ed25519", "key": dump_base64(bytes([port]) * 32)}}
        for port in (1, 2)
    ]
    own = {
        "global_id": global_id,
        "registry": str(registry),
        "verifiers": {str(index): key.hex() for index, key in enumerate(VERIFIERS)},
        "threshold": THRESHOLD,
    }
    file = folder / "network.json"
    file.write_text(json.dumps({"liteservers": servers, "attestd": own}))
    return str(file)


@dataclass
class Leader:
    """The registry that is co-signed, with the key of its log and an API key for its verifiers."""

    world: World
    provider: Provider
    auditor: str
    chain: FaultChain  # whose time it has

    @property
    def registry(self) -> Registry:
        return self.world.service.site.registrar.registry

    @property
    def log_key(self) -> SigningKey:
        return load_key(self.world.settings.log_key)

    def build(self) -> Candidate:
        """Have an epoch built of everything that was recorded, and return it."""
        self.chain.block()  # an epoch is due a second after the last one
        sequencer = self.world.service.site.publishing.sequencer
        asyncio.run_coroutine_threadsafe(sequencer.once(), self.world.service.loop).result()
        newest = self.registry.read(epochs.newest)
        assert newest is not None
        return newest

    def is_trusted(self, key: bytes, candidate: Candidate) -> bool:
        """Tell whether the map of an epoch has a key."""
        root = candidate.checkpoint.map_root
        proof = self.registry.read(registry_keymap.prove, root or bytes(32), key)
        return keymap.lookup(proof, root, key) is not None

    def register(self, **how: Any) -> bytes:
        """Register a new key and return its id."""
        return bytes.fromhex(self.provider.register(**how)["key"]["key_id"])


@contextmanager
def leader(directory: Path, chain: FaultChain) -> Iterator[Leader]:
    """Run a registry without a chain of its own: a test brings its epochs to the one in memory."""
    directory.mkdir(mode=0o700, exist_ok=True)
    with world(directory, Clock(chain), epoch_interval="1") as running:
        issued = running.admin.post("/v1/api-keys", json={"role": "auditor", "label": "verifier"})
        yield Leader(running, running.provider(), issued.json()["token"], chain)


@dataclass
class Verifier:
    """A service that co-signs."""

    service: Service
    settings: Settings

    @property
    def registry(self) -> Registry:
        return self.service.site.registrar.registry

    def held(self) -> Sequenced:
        """How far its copy of log and map is."""
        return self.registry.read(sequencing.state)

    def metric(self, name: str, **labels: str) -> float:
        return self.service.site.metrics.registry.get_sample_value(name, labels) or 0.0

    def sign(self, candidate: Candidate, own: OwnKey | None = None) -> Signature:
        """Ask it as the registry does."""
        return asyncio.run(elsewhere(self.service.public_url, own).sign(candidate))


def elsewhere(url: str, own: OwnKey | None = None) -> Elsewhere:
    return Elsewhere(Peer("chain_cosigners", url), own or OwnKey(KEYS[0], GLOBAL_ID, REGISTRY))


def verifier_settings(
    directory: Path, number: int, lead: Leader, clock: Callable[[], datetime], **settings: str
) -> dict[str, str]:
    """Return the environment of a verifier in a folder of its own."""
    directory.mkdir(mode=0o700, exist_ok=True)
    at = clock()
    vendor, amd = Vendor.of(seed="attestd", at=at), amd_vendors(at)
    token = directory / "token"
    token.write_text(lead.auditor + "\n")
    token.chmod(0o600)
    named = {
        "trust_anchors": write_anchors(directory / "anchors", vendor, amd, NvidiaVendor.of(at=at)),
        "registry_id": lead.world.settings.registry_id,
        "cosign_of": lead.world.service.public_url,
        "cosign_token": str(token),
        "cosign_log_key": str(lead.world.service.site.publishing.log_key),
        "cosign_leader": VERIFIERS[0].hex(),
        "chain_network": network_file(directory),
        "chain_verifier_key": write_key(directory / "verifier-key", SEEDS[number]),
    }
    return environment(directory, vendor, **named | settings)


@contextmanager
def verifier(
    directory: Path, number: int, lead: Leader, clock: Callable[[], datetime], **settings: str
) -> Iterator[Verifier]:
    """Run a verifier."""
    loaded = Settings.load(None, verifier_settings(directory, number, lead, clock, **settings), clock())
    with Service.started(loaded, clock=clock) as service:
        service.until_ready()
        yield Verifier(service, loaded)


class Publishing:
    """What brings the epochs of a registry to a chain in memory, with signatures of others."""

    def __init__(self, lead: Leader, chain: FaultChain, clock: Callable[[], datetime], urls: list[str]) -> None:
        self.lead = lead
        self.chain = chain
        self.metrics = Metrics("1", simulated=True)
        own = OwnKey(KEYS[0], GLOBAL_ID, REGISTRY)
        self.publisher = Publisher(
            lead.registry,
            chain,
            FakeWallet(),
            [own, *(elsewhere(url, own) for url in urls)],
            orders=Orders(REGISTRY, GLOBAL_ID, 10**18, tuple(enumerate(VERIFIERS)), THRESHOLD, ADMIN),
            metrics=self.metrics,
            clock=clock,
        )

    def publish(self, rounds: int = 20) -> int:
        """Go on until what is built is on chain; return the epoch that is."""
        self.lead.build()
        for _ in range(rounds):
            self.round()
            self.chain.block()
            self.round()
            if self.lead.registry.read(epochs.live) is None and self.lead.registry.read(epochs.unsigned) is None:
                return self.on_chain()
        raise AssertionError("not published")

    def round(self) -> None:
        asyncio.run(self.publisher.once())

    def on_chain(self) -> int:
        return 0 if self.chain.now.checkpoint is None else self.chain.now.checkpoint.epoch

    def failures(self, reason: str) -> float:
        name = "attestd_cosigner_failures_total"
        return self.metrics.registry.get_sample_value(name, {"reason": reason}) or 0.0


class Liar:
    """A registry that has the keys of an honest one, and says what a test has it say.

    Whatever is changed, all that follows from it is made right again: roots, note, signature. So a test that changes
    one thing changes nothing else.
    """

    def __init__(self, lead: Leader) -> None:
        self._lead = lead
        self.reset()

    def reset(self) -> None:
        """Say the truth, as it is now."""
        lead = self._lead
        self.honest = lead.build()
        size = self.honest.checkpoint.tree_size
        self.records: list[Record] = [load_record(raw) for raw in lead.registry.read(log.records, 0, size)]
        self.grounds: dict[bytes, tuple[bytes, bytes]] = {}
        for record in self.records:
            if (named := getattr(record, "result", None)) is not None:
                found = lead.registry.read(results.behind, named)
                assert found is not None
                self.grounds[named] = found[0].document, found[1]
        self.down = False
        self.busy = 0  # answers that it is asked too often, so many times
        self.written: dict[int, bytes] = {}  # records that are written in another way than theirs
        self.shown: Callable[[list[bytes]], list[bytes]] = lambda bundle: bundle
        self.asked: list[str] = []

    def candidate(self, **changed: Any) -> Candidate:
        """Build an epoch of the records as they are now; `changed` are members of the checkpoint."""
        raw = self._raw()
        frontier = Frontier()
        frontier.extend(map(leaf_hash, raw))
        nodes: dict[bytes, bytes] = {}
        made: dict[str, Any] = {
            "tree_size": len(raw),
            "log_root": frontier.root(),
            "map_root": keymap.update(None, changes(self.records), nodes.__getitem__).root,
        }
        checkpoint = replace(self.honest.checkpoint, **made | changed)
        return self.noted(checkpoint)

    def noted(self, checkpoint: Checkpoint, **changed: Any) -> Candidate:
        """Return a candidate with the note of its log; `changed` are members of the note."""
        said: dict[str, Any] = {
            "origin": self._lead.world.settings.registry_id,
            "size": checkpoint.tree_size,
            "root": checkpoint.log_root,
        } | changed
        signed = note.sign(note.dump_checkpoint_body(**said), said["origin"], self._lead.log_key)
        return replace(self.honest, checkpoint=checkpoint, note=signed.encode())

    def _raw(self) -> list[bytes]:
        return [self.written.get(index) or dump_record(record) for index, record in enumerate(self.records)]

    def answer(self, path: str) -> bytes:
        self.asked.append(path)
        kind, _, rest = path.removeprefix("/v1/").partition("/")
        if kind == "evidence":
            document, evidence = self.grounds[bytes.fromhex(rest)]
            return json.dumps({"result": dump_base64(document), "evidence": dump_base64(evidence)}).encode()
        tile = parse_path(rest)
        start = tile.index * TILE_WIDTH
        raw = self._raw()[start : start + tile.width]
        assert (len(raw), tile.level or 0) == (tile.width, 0)
        return dump_entries(self.shown(raw)) if tile.level is None else b"".join(map(leaf_hash, raw))

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Answer verifiers until the block ends."""
        liar = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = (500, b"") if liar.down else (429, RATE) if liar.busy else (200, liar.answer(self.path))
                liar.busy -= status == 429
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()
