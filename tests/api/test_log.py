"""The log over HTTP: read as any client of the C2SP specifications does, strict in its paths, silent about people."""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping

import httpx
import pytest

from attestd.errors import NotAuthentic, Reason
from attestd.registry import epochs
from attestd.simulator import TdReport
from attestd.transparency.anchor import require_anchored
from attestd.transparency.note import load_checkpoint_body, load_note_key, open_note
from attestd.transparency.record import Approve, Refuse, load_record
from tests.api.epochs import build, land
from tests.api.world import Clock, Start, World, raw_exchange, reason_of
from tests.transparency import reader

DEBUG = (1).to_bytes(8, "little")


OTHER_PATHS = [
    "tile/0/0.p/1",
    "tile/0/0000.p/1",
    "tile/0/x000/000.p/1",
    "tile/00/000.p/1",
    "tile/8/000.p/1",
    "tile/-1/000.p/1",
    "tile/0/000.p/01",
    "tile/0/000.p/0",
    "tile/0/000.p/256",
    "tile/0/000.p/257",
    "tile/0/000.p/1/",
    "tile/0/000.p/",
    "tile/0/../0/000.p/1",
    "tile/0/000%2ep/1",
    "tile/0/x999/x999/x999/x999/x999/x999/999",
    "tile/entries/000.p/0",
    "tile/entries/x000/000.p/1",
    "tile/entries/",
    "tile/entries",
    "tile",
    "checkpoint/",
]


class Files(Mapping[str, bytes]):
    """What a log serves, by path."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def __getitem__(self, path: str) -> bytes:
        answer = self.client.get("/v1/log/" + path)
        assert answer.status_code == 200, (path, answer.text)
        assert answer.headers["content-type"] == "application/octet-stream"
        return answer.content

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


def get(world: World, path: str) -> bytes:
    """Ask for a path as it is: clients tidy some of them up."""
    request = f"GET /v1/log/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    return raw_exchange(world.service.public_url, request.encode())


def checkpoint(world: World) -> bytes:
    answer = world.public.get("/v1/log/checkpoint")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    return answer.content


def vkey(world: World) -> str:
    return str(world.public.get("/.well-known/attestd").json()["log"]["key"])


def alter(world: World, statement: str) -> None:
    """Change the database behind the back of the service."""
    with contextlib.closing(sqlite3.connect(world.settings.database_url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute(statement).rowcount > 0
        connection.commit()


def approve(world: World, count: int) -> None:
    """Record decisions that cost little."""
    for number in range(count):
        digest = number.to_bytes(32)
        assert world.admin.put(f"/v1/models/sha256:{digest.hex()}", json={"name": "m"}).status_code in (200, 201)


class TestReading:
    def test_a_reader_written_from_the_specification(self, own: World, clock: Clock) -> None:
        """Notes, tiles and bundles, over more than one tile, and once more when the log has grown."""
        first = own.provider().register()
        approve(own, 280)
        build(own, clock)
        leaves = reader.audit(Files(own.public), checkpoint(own), vkey(own))
        assert len(leaves) > 281
        own.provider().register()
        build(own, clock)
        later = reader.audit(Files(own.public), checkpoint(own), vkey(own))
        assert later[: len(leaves)] == leaves
        assert len(later) == len(leaves) + 1
        said = [record for record in map(load_record, later) if isinstance(record, Approve)]
        assert said[0].key.hex() == first["key"]["key_id"]

    def test_the_key_and_the_origin_are_told(self, own: World, clock: Clock) -> None:
        build(own, clock)
        log = own.public.get("/.well-known/attestd").json()["log"]
        key = load_note_key(log["key"])
        head = load_checkpoint_body(open_note(checkpoint(own), [key]))
        assert log["origin"] == key.name == head.origin == own.settings.registry_id

    def test_before_the_first_epoch_there_is_nothing(self, own: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(epochs, "newest", lambda _: None)
        for path in ("checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1"):
            answer = own.public.get("/v1/log/" + path)
            assert (answer.status_code, reason_of(answer)) == (404, "request.not_found")

    def test_only_what_a_checkpoint_covers(self, own: World, clock: Clock) -> None:
        size = build(own, clock).checkpoint.tree_size
        own.provider().register()
        for path in ("0/000", "entries/000"):
            assert own.public.get(f"/v1/log/tile/{path}.p/{size}").status_code == 200
            answer = own.public.get(f"/v1/log/tile/{path}.p/{size + 1}")
            assert (answer.status_code, reason_of(answer)) == (404, "request.not_found")
            assert own.public.get(f"/v1/log/tile/{path}").status_code == 404

    def test_what_never_changes_may_be_kept_for_good(self, own: World, clock: Clock) -> None:
        approve(own, 256)
        build(own, clock)
        for path, kept in (
            ("tile/0/000", "public, max-age=31536000, immutable"),
            ("tile/entries/000", "public, max-age=31536000, immutable"),
            ("tile/0/000.p/5", "public, max-age=10"),
            ("tile/entries/000.p/5", "public, max-age=10"),
            ("tile/1/000.p/1", "public, max-age=10"),
            ("checkpoint", "public, max-age=10"),
        ):
            assert own.public.get("/v1/log/" + path).headers["cache-control"] == kept, path

    def test_one_way_to_write_a_path(self, own: World, clock: Clock) -> None:
        build(own, clock)
        assert get(own, "tile/0/000.p/1").startswith(b"HTTP/1.1 200 ")
        for path in OTHER_PATHS:
            answer = get(own, path)
            assert answer.startswith(b"HTTP/1.1 404 "), path
            assert b'"reason":"request.not_found"' in answer

    def test_a_log_that_was_altered_is_not_served(self, own: World, clock: Clock) -> None:
        """R02, R03."""
        size = build(own, clock).checkpoint.tree_size
        alter(own, "UPDATE log SET record = CAST(replace(record, 'strict-tdx', 'strict-tdy') AS BLOB)")
        answer = own.public.get(f"/v1/log/tile/entries/000.p/{size}")
        assert (answer.status_code, reason_of(answer)) == (503, "registry.integrity")
        alter(own, "UPDATE log_tiles SET hashes = zeroblob(length(hashes))")
        answer = own.public.get("/v1/log/tile/0/000.p/1")
        assert (answer.status_code, reason_of(answer)) == (503, "registry.integrity")


class TestPrivacy:
    def test_of_what_was_refused_the_digest_of_the_result_alone(self, own: World, clock: Clock) -> None:
        """A12: neither whose it was, nor of which machine, nor why."""
        provider = own.provider()
        approved = provider.register()
        refused = provider.post(provider.evidence(body=TdReport(td_attributes=DEBUG)))
        assert (refused.status_code, refused.json()["reason"]) == (403, "policy.not_affirming")
        build(own, clock)
        leaves = reader.audit(Files(own.public), checkpoint(own), vkey(own))
        (said,) = [record for record in map(load_record, leaves) if isinstance(record, Refuse)]
        assert set(load_members(leaves[-1])) == {"v", "at", "decision", "result"}
        assert said.result
        result, pck = refused.json()["result"], approved["claims"]["pck"]
        text = b"".join(leaves).decode()
        for secret in (
            provider.id,
            approved["id"],
            result["id"],
            result["key"]["key_id"],
            result["evidence_id"].removeprefix("sha256:"),
            approved["platform"],
            pck["ppid"],
        ):
            assert secret not in text, secret


def load_members(leaf: bytes) -> dict[str, object]:
    members: dict[str, object] = httpx.Response(200, content=leaf).json()
    return members


class TestSplitView:
    def test_another_log_under_the_same_key_is_found_out(self, start: Start, clock: Clock) -> None:
        """R07: each of two clients sees a log that is sound in itself; the root on chain tells which one is not."""
        own = start()
        key = load_note_key(vkey(own))
        own.provider().register()
        on_chain = land(own, clock).checkpoint
        own.provider().register()
        build(own, clock)
        head = load_checkpoint_body(open_note(checkpoint(own), [key]))
        require_anchored(head, on_chain, Files(own.public).__getitem__)
        # The same service signs another log for the second client: so much of it, and then something else.
        sign = own.service.site.publishing.sequencer._terms.note
        forged = load_checkpoint_body(open_note(sign(on_chain.tree_size, bytes(32)), [key]))
        assert (forged.origin, forged.size) == (head.origin, on_chain.tree_size)
        for size in (on_chain.tree_size, on_chain.tree_size + 1):
            forged = load_checkpoint_body(open_note(sign(size, bytes(32)), [key]))
            with pytest.raises(NotAuthentic) as caught:
                require_anchored(forged, on_chain, Files(own.public).__getitem__)
            assert caught.value.reason is Reason.LOG_CONSISTENCY
