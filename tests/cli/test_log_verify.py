"""`attestd log verify`: an honest log passes; each lie of a service, or of its verifiers, is found out by anybody."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from attestd.signature import SigningKey, ed25519_public_key, ed25519_signing_key
from attestd.transparency.checkpoint import Checkpoint
from attestd.transparency.keymap import root_of
from attestd.transparency.note import NoteKey, dump_checkpoint_body, sign
from attestd.transparency.record import Approve, Record, Revoke, dump_record
from tests.chain.background import Chain, chain
from tests.chain.registries import HERE, VERIFIERS, Registry
from tests.chain.worlds import NOW
from tests.cli.conftest import Terminal, needs_loopback
from tests.transparency.files import LogFiles, fold
from tests.transparency.samples import AT, RECORDED, RESULT, digest, entry

pytestmark = needs_loopback

Run = Callable[..., tuple[int, Any]]

ORIGIN = "attestd:a-registry"
KEY, OTHER_KEY = ed25519_signing_key(bytes(32)), ed25519_signing_key(bytes([1]) * 32)
VKEY = str(NoteKey(ORIGIN, ed25519_public_key(KEY)))


def approve(number: int) -> Approve:
    return Approve(at=AT, key=digest(number), result=RESULT, entry=RECORDED)


LOG: list[Record] = [*map(approve, range(300)), Revoke(at=AT, key=digest(5)), *map(approve, range(400, 499))]
FORK: list[Record] = [*LOG[:290], approve(1000), *LOG[291:]]
STEPS = ["account", "code", "storage", "operation", "freshness", "signatures", "key", "note", "history", "anchor"]


@dataclass(frozen=True)
class Published(Registry):
    """A registry that has published this."""

    said: Checkpoint = Registry().checkpoint

    @property
    def checkpoint(self) -> Checkpoint:
        return self.said


def published(records: list[Record], **changed: Any) -> Published:
    """Return the registry of these records; `changed` are members of its checkpoint."""
    made: dict[str, Any] = {
        "tree_size": len(records),
        "log_root": LogFiles(records).head().root,
        "map_root": root_of(fold(records)),
    }
    return Published(said=replace(Registry().checkpoint, **made | changed))


@dataclass
class Service:
    """What serves a log. Every part of it can be made to lie."""

    url: str = ""
    records: list[Record] = field(default_factory=lambda: list(LOG))
    size: int | None = None  # what the note is of: by default all of it
    signer: SigningKey = KEY
    origin: str = ORIGIN
    named: str = VKEY
    lie: Callable[[str, bytes], bytes] = lambda _, raw: raw
    files: LogFiles | None = None
    asked: list[str] = field(default_factory=list)

    def note(self) -> bytes:
        head = (self.files or LogFiles(self.records)).head(self.size)
        return sign(dump_checkpoint_body(self.origin, head.size, head.root), self.origin, self.signer).encode()

    def answer(self, path: str) -> bytes:
        self.asked.append(path)
        if path == "/.well-known/attestd":
            return json.dumps({"name": "attestd", "log": {"origin": self.origin, "key": self.named}}).encode()
        if path == "/v1/log/checkpoint":
            return self.note()
        return (self.files or LogFiles(self.records))(path.removeprefix("/v1/log/"))


class Listener(ThreadingHTTPServer):
    """A server that says nothing of clients who have had enough and hang up."""

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def serving(service: Service) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = service.lie(self.path, service.answer(self.path))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with Listener(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        service.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@dataclass
class World:
    """A service, a chain, and somebody who believes neither."""

    service: Service
    chain: Chain
    run: Run
    state: Path

    def publish(self, registry: Registry) -> None:
        self.chain.show(registry.world())

    def arguments(self, *more: object) -> list[object]:
        named = ["--from", self.service.url, "--network", self.chain.file, "--registry", HERE]
        return ["log", "verify", *named, *more]

    def verified(self, *more: object) -> Any:
        status, document = self.run(*self.arguments(*more))
        assert (status, document["outcome"], document["reason"]) == (0, "verified", None), document
        return document

    def refused(self, status: int, reason: str, *more: object, passed: int | None = None) -> Any:
        """Require the refusal after so many steps, and that nothing of it is remembered."""
        before = self.state.read_bytes() if self.state.exists() else None
        found, document = self.run(*self.arguments(*more))
        assert (found, document["reason"]) == (status, reason), document
        if passed is not None:
            assert [one["step"] for one in document["steps"]] == STEPS[:passed]
        assert before == (self.state.read_bytes() if self.state.exists() else None)
        return document

    def misused(self, *more: object) -> str:
        status, complaint = self.run(*self.arguments(*more))
        assert status == 1, complaint
        return str(complaint)


@pytest.fixture
def world(attestd: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Return an honest service, whose log is on chain as a whole."""
    for module in ("log_verify", "proved"):
        monkeypatch.setattr(f"attestd.cli.{module}.effective_time", lambda _: datetime.fromtimestamp(NOW, UTC))
    service = Service()
    with chain(published(LOG).world(), HERE, tmp_path / "network.json") as shown, serving(service):
        yield World(service, shown, attestd, tmp_path / "state.json")


class TestHonest:
    def test_once(self, world: World) -> None:
        document = world.verified()
        assert [one["step"] for one in document["steps"]] == STEPS
        head = LogFiles(LOG).head()
        assert document["log"] == {"key": VKEY, "origin": ORIGIN, "size": 400, "root": head.root.hex()}
        assert document["note"] == world.service.note().decode()
        assert document["checkpoint"]["tree_size"] == 400
        # Without a pin or a memory, that is said.
        found = {one["step"]: one["found"] for one in document["steps"]}
        assert found["key"] == f"{VKEY}, as the service says itself: it is pinned by nothing"
        assert found["history"] == "nothing is remembered that it would have to go on from"

    def test_all_of_it(self, world: World) -> None:
        document = world.verified("--all")
        assert [one["step"] for one in document["steps"]] == [*STEPS, "records", "map"]
        assert document["audited"] == {"records": 400, "keys": 398}

    def test_a_named_key_is_the_one(self, world: World) -> None:
        world.service.named = "not asked for"
        document = world.verified("--key", VKEY)
        assert {"step": "key", "found": f"{VKEY}, as named"} in document["steps"]
        assert "/.well-known/attestd" not in world.service.asked

    def test_from_one_run_to_the_next(self, world: World) -> None:
        """The log grows, on both sides or on one; a note that somebody has kept may be older than what is on chain."""
        key, document = {}, {}
        for shown, on_chain in ((270, 270), (300, 300), (300, 310), (400, 310), (400, 400)):
            world.service.size = shown
            world.publish(published(LOG[:on_chain]))
            document = world.verified("--state", world.state, "--all")
            key[shown] = next(one["found"] for one in document["steps"] if one["step"] == "key")
            assert json.loads(world.state.read_bytes())["note"] == document["note"]
        assert key[270] == f"{VKEY}, as the service says itself: from now on it is the only one"
        assert key[300] == key[400] == f"{VKEY}, as remembered"
        assert world.service.asked.count("/.well-known/attestd") == 1
        assert document["remembered"]["size"] == 400
        assert [file.name for file in world.state.parent.iterdir() if "state" in file.name] == ["state.json"]

    def test_an_empty_log(self, world: World) -> None:
        world.service.records = []
        world.publish(published([]))
        assert world.verified("--state", world.state, "--all")["audited"] == {"records": 0, "keys": 0}

    def test_the_network_file_may_pin_the_registry(self, world: World) -> None:
        pinned = {
            "registry": str(HERE),
            "threshold": 2,
            "verifiers": {str(index): key.hex() for index, key in VERIFIERS},
        }
        world.chain.write(**pinned)
        named = ["--from", world.service.url, "--network", world.chain.file]
        status, document = world.run("log", "verify", *named)
        assert (status, document["outcome"]) == (0, "verified")


class TestKey:
    def test_another_signs(self, world: World) -> None:
        world.service.signer = OTHER_KEY
        world.refused(3, "note.signature", passed=7)
        world.refused(3, "note.signature", "--key", VKEY, passed=7)

    def test_another_than_is_named(self, world: World) -> None:
        other = str(NoteKey(ORIGIN, ed25519_public_key(OTHER_KEY)))
        world.refused(3, "note.signature", "--key", other, "--state", world.state, passed=7)
        assert not world.state.exists()

    def test_another_than_is_remembered(self, world: World) -> None:
        """A service that says so itself, and signs with the key that it names."""
        world.verified("--state", world.state)
        world.service.signer, world.service.named = OTHER_KEY, str(NoteKey(ORIGIN, ed25519_public_key(OTHER_KEY)))
        world.verified()
        world.refused(3, "note.signature", "--state", world.state, passed=7)

    def test_a_note_of_another_log(self, world: World) -> None:
        note = sign(dump_checkpoint_body("attestd:another", 400, LogFiles(LOG).head().root), ORIGIN, KEY).encode()
        world.service.lie = lambda path, raw: note if path.endswith("/checkpoint") else raw
        world.refused(3, "note.signature", passed=7)

    def test_what_is_no_note(self, world: World) -> None:
        world.service.lie = lambda path, raw: raw[:-1] if path.endswith("/checkpoint") else raw
        world.refused(2, "note.malformed", passed=7)

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [(b"", "json.malformed"), (b"{}", "json.schema"), (b'{"log":{"key":"x"}}', "note.malformed")],
    )
    def test_a_service_that_names_none(self, world: World, answer: bytes, reason: str) -> None:
        world.service.lie = lambda path, raw: answer if path.startswith("/.well-known") else raw
        world.refused(2, reason, passed=6)


class TestHistory:
    @pytest.fixture(autouse=True)
    def remembered(self, world: World) -> None:
        """A run that has passed; and nothing says that the chain is not on the liar's side."""
        world.verified("--state", world.state)

    def test_taken_back(self, world: World) -> None:
        world.service.size = 399
        world.publish(published(LOG[:399]))
        world.verified()
        document = world.refused(3, "log.consistency", "--state", world.state, passed=8)
        assert "399 leaves after 400" in document["detail"]
        # Both notes are there, to be shown to others.
        assert document["note"] == world.service.note().decode()
        assert document["remembered_note"] == json.loads(world.state.read_bytes())["note"]

    @pytest.mark.parametrize("more", [0, 1, 112])
    def test_rewritten(self, world: World, more: int) -> None:
        forked = [*FORK, *map(approve, range(2000, 2000 + more))]
        world.service.records = forked
        world.publish(published(forked))
        world.verified("--all")
        world.refused(3, "log.consistency", "--state", world.state, passed=8)

    def test_begun_anew(self, world: World) -> None:
        world.service.records = []
        world.publish(published([]))
        world.verified("--all")
        world.refused(3, "log.consistency", "--state", world.state, passed=8)


class TestSplitView:
    """R07: each of two clients sees a log that is sound in itself."""

    @pytest.mark.parametrize(("shown", "on_chain"), [(400, 400), (400, 300), (300, 400), (291, 400)])
    def test_another_log_than_the_one_on_chain(self, world: World, shown: int, on_chain: int) -> None:
        world.service.records, world.service.size = FORK, shown
        world.publish(published(LOG[:on_chain]))
        world.refused(3, "log.consistency", "--state", world.state, passed=9)

    def test_it_is_one_until_it_differs(self, world: World) -> None:
        world.service.records, world.service.size = FORK, 290
        world.publish(published(LOG[:290]))
        world.verified("--all")

    def test_a_root_of_no_log(self, world: World) -> None:
        world.publish(published(LOG, log_root=bytes(32)))
        world.refused(3, "log.consistency", passed=9)

    def test_the_chain_does_not_hold(self, world: World) -> None:
        """What is shown has to be in force, and signed."""
        world.publish(published(LOG, valid_until=NOW - 1))
        world.refused(4, "chain.expired", passed=4)
        world.publish(published(LOG).but(signers={0: 0}))
        world.refused(3, "checkpoint.signatures", passed=5)
        assert world.service.asked == []


class TestFiles:
    @pytest.mark.parametrize("change", [lambda raw: raw[:-32], lambda raw: raw + bytes(32), lambda _: b""])
    def test_a_tile_that_is_cut_or_longer(self, world: World, change: Callable[[bytes], bytes]) -> None:
        world.service.size = 300
        world.service.lie = lambda path, raw: change(raw) if "/tile/" in path else raw
        world.refused(2, "log.malformed", passed=9)

    def test_more_than_any_file_has(self, world: World) -> None:
        world.service.lie = lambda path, raw: raw + bytes(2**22) if "/tile/entries" in path else raw
        world.refused(4, "log.service", "--all", passed=10)
        world.service.lie = lambda path, raw: raw + bytes(2**17) if path.endswith("/checkpoint") else raw
        world.refused(4, "log.service", passed=7)
        world.service.lie = lambda path, raw: raw + b" " * 2**19
        world.refused(4, "log.service", passed=6)

    def test_a_record_that_is_not_in_the_log(self, world: World) -> None:
        """Who reads tiles alone does not see it; who reads records does."""
        forged = LogFiles([*LOG[:350], approve(5000), *LOG[351:]], [dump_record(one) for one in LOG])
        world.service.files = forged
        world.verified("--state", world.state)
        document = world.refused(3, "log.inclusion", "--state", world.state, "--all", passed=10)
        assert "record 350 " in document["detail"]

    def test_tiles_and_records_of_another_log_below_the_tiles_that_prove_it(self, world: World) -> None:
        """A proof has few hashes; what they are made of is seen by who reads all of it."""
        honest = LogFiles(LOG)
        world.service.files = LogFiles(FORK)
        world.service.size = 300
        world.service.lie = lambda path, raw: honest(path.removeprefix("/v1/log/")) if "/tile/1/" in path else raw
        world.service.lie = _both(
            world.service.lie, lambda path, raw: _head(300) if path.endswith("/checkpoint") else raw
        )
        world.publish(published(LOG[:300]))
        world.verified()
        world.refused(3, "log.consistency", "--all", passed=10)

    def test_nobody_answers(self, world: World) -> None:
        gone = world.service.url
        world.service.url = "http://127.0.0.1:9"
        world.refused(4, "log.service", passed=6)
        world.service.url = gone.replace("127.0.0.1", "192.0.2.1")
        assert "[settings.refused]" in world.misused()


def _head(size: int) -> bytes:
    head = LogFiles(LOG).head(size)
    return sign(dump_checkpoint_body(ORIGIN, head.size, head.root), ORIGIN, KEY).encode()


Lie = Callable[[str, bytes], bytes]


def _both(one: Lie, other: Lie) -> Lie:
    return lambda path, raw: other(path, one(path, raw))


class TestMap:
    """The verifiers have signed a map that says what the log does not: nothing but reading all of it tells."""

    def lie(self, world: World, map_root: bytes | None) -> None:
        world.publish(published(LOG, map_root=map_root))
        world.verified("--state", world.state)
        document = world.refused(3, "log.map", "--state", world.state, "--all")
        assert [one["step"] for one in document["steps"]] == [*STEPS, "records"]

    def test_one_more_key(self, world: World) -> None:
        self.lie(world, root_of(fold(LOG) | {digest(9999): entry()}))

    def test_a_key_that_was_revoked(self, world: World) -> None:
        self.lie(world, root_of(fold([one for one in LOG if not isinstance(one, Revoke)])))

    def test_none(self, world: World) -> None:
        self.lie(world, None)


class TestState:
    def test_of_another_key(self, world: World) -> None:
        world.verified("--state", world.state)
        other = str(NoteKey(ORIGIN, ed25519_public_key(OTHER_KEY)))
        assert "[log.state]" in world.misused("--state", world.state, "--key", other)

    def test_of_another_registry_or_network(self, world: World) -> None:
        world.verified("--state", world.state)
        kept = json.loads(world.state.read_bytes())
        for name, value in (("registry", "0:" + "11" * 32), ("global_id", -3)):
            world.state.write_text(json.dumps(kept | {name: value}))
            assert "[log.state]" in world.misused("--state", world.state)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda _: b"",
            lambda raw: raw[:-3],
            lambda raw: raw.replace(b'"v": 1', b'"v": 2'),
            lambda raw: raw.replace(b'"note"', b'"notes"'),
            lambda raw: raw.replace(b"\\n400\\n", b"\\n399\\n"),
        ],
        ids=["empty", "cut", "of another version", "without a note", "another note"],
    )
    def test_that_was_damaged_is_never_begun_anew(self, world: World, damage: Callable[[bytes], bytes]) -> None:
        world.verified("--state", world.state)
        damaged = damage(world.state.read_bytes())
        world.state.write_bytes(damaged)
        assert "[log.state]" in world.misused("--state", world.state)
        assert world.state.read_bytes() == damaged

    def test_a_key_that_is_none(self, world: World) -> None:
        status, complaint = world.run(*world.arguments("--key", "attestd:a-registry"))
        assert (status, "[note.malformed]" in complaint) == (2, True)


def test_on_a_terminal(
    world: World, on_terminal: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = Terminal()
    monkeypatch.setattr(sys, "stderr", errors)
    status, screen = on_terminal(*world.arguments("--all"))
    lines = screen.splitlines()
    assert (status, lines[0]) == (0, "verified")
    assert any(line.startswith("map  ") and line.endswith("they make the map on chain, of 398 keys") for line in lines)
    assert "\u2014" not in screen  # notes are for programs
    assert errors.getvalue() == "\r256 of 400 records\r400 of 400 records\n"
