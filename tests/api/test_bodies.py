"""Bodies that are hostile or broken: 4xx with a reason of their own, small, without an echo, and nothing is stored."""

import base64
import gzip
import json
import socket
from contextlib import suppress

import cbor2
import httpx
import pytest

from attestd.api import exchange
from attestd.api.public import MAX_EVIDENCE_SIZE
from attestd.evidence import dump_evidence_json
from tests.acceptance.processes import until
from tests.api.world import Provider, World, raw_exchange, reason_of, rss

CANARY = "canary-7f3a"


@pytest.fixture
def good(provider: Provider) -> dict:
    return dict(json.loads(dump_evidence_json(provider.evidence())))


def refused(answer: httpx.Response, status: int, reason: str) -> None:
    assert (answer.status_code, reason_of(answer)) == (status, reason)
    assert CANARY not in answer.text


# A06: what Python's own parser takes, or dies of.
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "json.malformed"),
        (b" ", "json.malformed"),
        (b"{", "json.malformed"),
        (b"nul", "json.malformed"),
        (b"[1,]", "json.malformed"),
        (b'{"a":1,}', "json.malformed"),
        (b"{'a':1}", "json.malformed"),
        (b'{"a":1}x', "json.malformed"),
        (b"\xef\xbb\xbf{}", "json.malformed"),
        (b'{"a":"\xff"}', "json.malformed"),
        (b'{"a":"\\ud800"}', "json.malformed"),
        (b'{"a":"\\u0000"}', "json.malformed"),
        (b'{"a":"\n"}', "json.malformed"),
        (b"NaN", "json.number"),
        (b'{"a":Infinity}', "json.number"),
        (b'{"a":-Infinity}', "json.number"),
        (b'{"a":1e999}', "json.number"),
        (b'{"a":1.5}', "json.number"),
        (b'{"a":' + b"1" * 5000 + b"}", "json.number"),
        (b"[" * 100_000, "json.depth"),
        (b'{"a":' * 100_000, "json.depth"),
        (b'{"a":1,"a":2}', "json.duplicate_member"),
        (b"[]", "json.schema"),
        (b'"text"', "json.schema"),
        (b"null", "json.schema"),
        (b"{}", "json.schema"),
    ],
)
def test_json_that_is_not_strict(provider: Provider, text: bytes, reason: str) -> None:
    refused(provider.post(text), 400, reason)


def test_members_are_taken_once_and_by_their_very_name(provider: Provider, good: dict) -> None:
    """A07: twice, in another case, with a NUL, with a letter that looks alike, unknown."""
    text = json.dumps(good)
    twice = text.replace('"gpus"', '"challenge": "AAAA", "gpus"').encode()
    refused(provider.post(twice), 400, "json.duplicate_member")
    for name in ("Challenge", "\N{CYRILLIC SMALL LETTER ES}hallenge", "challenge ", CANARY):
        other = json.dumps(good | {name: good["challenge"]}).encode()
        refused(provider.post(other), 400, "json.schema")
    assert provider.post(text.encode()).status_code == 201


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("challenge", 1),
        ("challenge", None),
        ("challenge", "AAAA"),
        ("key", []),
        ("key", {}),
        ("models", "sha256:00"),
        ("policy", 1),
        ("policy", ""),
        ("cpu", None),
        ("cpu", {"tee": "tdx"}),
        ("cpu", {"tee": "tdx", "quote": {}}),
        ("gpus", {}),
    ],
)
def test_wrong_types(provider: Provider, good: dict, member: str, value: object) -> None:
    refused(provider.post(json.dumps(good | {member: value}).encode()), 400, "json.schema")


def test_a_member_is_missing(provider: Provider, good: dict) -> None:
    for member in ("challenge", "binding", "key", "cpu"):
        less = {name: value for name, value in good.items() if name != member}
        refused(provider.post(json.dumps(less).encode()), 400, "json.schema")


@pytest.mark.parametrize(
    "junk",
    ["!", " ", "\n", "-", "_", "=", "A", "AA", "AAA", "AB==", "AAAAA===", "QUJD\n", "=" * 1000],
)
def test_base64_that_is_not_canonical(provider: Provider, good: dict, junk: str) -> None:
    """A08, T47: one encoding per field, one text per value."""
    good["cpu"]["quote"] = good["cpu"]["quote"].rstrip("=")[:4096] + junk
    refused(provider.post(json.dumps(good).encode()), 400, "base64.malformed")


def test_a_wall_of_padding(provider: Provider, good: dict) -> None:
    """A08."""
    good["cpu"]["quote"] = "=" * 1_000_000
    refused(provider.post(json.dumps(good).encode()), 400, "base64.malformed")


def test_an_oversized_quote(provider: Provider, good: dict) -> None:
    """T43: 64 KiB and one byte."""
    good["cpu"]["quote"] = base64.b64encode(bytes(64 * 1024 + 1)).decode()
    refused(provider.post(json.dumps(good).encode()), 413, "evidence.size")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xa0trailing",
        b"\xbf\xff",  # of indefinite length
        b"\x9f" * 1000,
        b"\x81" * 100_000,  # deep
        cbor2.dumps({"a": 1})[:-1],
        b"\xa2\x61a\x01\x61a\x02",  # a key twice
        b"\xa1\xd8\x23\x78\x0d(a+)+$aaaaaaa!\x01",  # tag 35: a regular expression
        b"\xd8\x1c\x81\xd8\x1d\x00",  # tags 28 and 29: a cycle
        b"\xc2\x5a\x00\x10\x00\x00" + bytes(1 << 20),  # tag 2: a huge integer
        b"\xa1\x80\x01",  # a key that is an array
        b"\x1b" + b"\xff" * 8,
        b"\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    ],
)
def test_cbor_that_is_not_strict(provider: Provider, raw: bytes) -> None:
    """A09."""
    answer = provider.post(raw, **{"content-type": "application/cbor"})
    assert answer.status_code == 400
    assert reason_of(answer) in ("cbor.malformed", "cbor.schema")


@pytest.mark.parametrize(
    "kind",
    [
        "text/json",
        "application/xml",
        "application/json; charset=utf-16",
        "application/json, text/plain",
        "multipart/form-data",
        "",
    ],
)
def test_other_media_types(provider: Provider, good: dict, kind: str) -> None:
    refused(provider.post(json.dumps(good).encode(), **{"content-type": kind}), 415, "request.media_type")


def test_media_types_are_compared_as_http_does(provider: Provider, good: dict) -> None:
    answer = provider.post(json.dumps(good).encode(), **{"content-type": "Application/JSON; charset=UTF-8"})
    assert answer.status_code == 201


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "identity, gzip"])
def test_encoded_bodies_are_not_decoded(provider: Provider, good: dict, coding: str) -> None:
    """A03: a gzip bomb is not even opened."""
    bomb = gzip.compress(bytes(10 << 20))
    answer = provider.post(bomb, **{"content-encoding": coding})
    refused(answer, 415, "request.media_type")


def connection(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=15)


def head(provider: Provider, *lines: str) -> bytes:
    named = (f"Authorization: Bearer {provider.token}", "Content-Type: application/json", "Host: x", *lines)
    return "\r\n".join(("POST /v1/evidence HTTP/1.1", *named, "", "")).encode()


class TestSize:
    def test_the_cap_itself_is_read(self, provider: Provider) -> None:
        refused(provider.post(b" " * MAX_EVIDENCE_SIZE), 400, "json.malformed")

    def test_one_byte_more_is_not(self, provider: Provider) -> None:
        refused(provider.post(b" " * (MAX_EVIDENCE_SIZE + 1)), 413, "request.size")

    def test_a_stream_without_a_length_is_cut_at_the_cap(self, shared: World, provider: Provider) -> None:
        """A03: chunked, 200 MiB, and never more than the cap of it in memory."""
        before = rss()
        chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
        with connection(shared.service.public_url) as peer:
            peer.sendall(head(provider, "Transfer-Encoding: chunked"))
            sent = 0
            with suppress(OSError):  # cut
                while sent < 200:
                    peer.sendall(chunk)
                    sent += 1
            answer = peer.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"reason":"request.size"' in answer
        assert rss() - before < 64 << 20

    def test_a_length_beyond_the_cap_is_refused_before_a_byte_is_read(self, shared: World, provider: Provider) -> None:
        """A03: 200 MiB that were announced."""
        with connection(shared.service.public_url) as peer:
            peer.sendall(head(provider, f"Content-Length: {200 << 20}"))
            answer = peer.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")

    def test_whoever_is_not_known_is_refused_before_a_byte_is_read(self, shared: World) -> None:
        with connection(shared.service.public_url) as peer:
            peer.sendall(b"POST /v1/evidence HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            answer = peer.recv(65536)
        assert answer.startswith(b"HTTP/1.1 401 ")

    @pytest.mark.parametrize("length", ["-1", "+5", "1e3", "0x10", "5, 5", "99999999999999999999999"])
    def test_a_length_that_is_none(self, shared: World, provider: Provider, length: str) -> None:
        """A11: the parser refuses most of them, the cap the rest."""
        sent = head(provider, "Connection: close", f"Content-Length: {length}") + b"abcde"
        answer = raw_exchange(shared.service.public_url, sent)
        assert answer.split(b" ")[1] in (b"400", b"413"), answer


def test_half_a_body_is_on_the_account_of_its_sender(own: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A03: whoever holds an API key and never ends a request keeps itself out, and nobody else."""
    slow, other = own.provider(), own.provider()
    evidence = dump_evidence_json(slow.evidence())
    monkeypatch.setattr(exchange, "MAX_HELD_OF_ONE", len(evidence) + 500)
    bodies = own.service.site.bodies
    with connection(own.service.public_url) as peer:
        peer.sendall(head(slow, "Content-Length: 1000") + b" " * 600)
        until("it is not read", lambda: bodies._held == 600)
        answer = slow.post(evidence)
        refused(answer, 429, "request.rate")
        assert answer.headers["retry-after"] == "1"
        assert other.post(other.evidence()).status_code == 201
        peer.sendall(b" " * 400)
        assert peer.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert slow.post(evidence).status_code == 201
    until("something is still held", lambda: (bodies._held, bodies._held_of) == (0, {}))


def test_a_huge_field_is_not_echoed(provider: Provider, good: dict) -> None:
    """A04."""
    good["policy"] = CANARY * 10_000
    answer = provider.post(json.dumps(good).encode())
    refused(answer, 400, "json.schema")
    assert len(answer.content) <= 4096


def test_nothing_of_it_is_recorded(shared: World, provider: Provider, good: dict) -> None:
    before = shared.metric("attestd_challenges_total", event="consumed")
    for body in (b"{}", b"\xff", json.dumps(good | {"binding": CANARY}).encode()):
        assert provider.post(body).status_code == 400
    assert shared.metric("attestd_challenges_total", event="consumed") == before
    assert shared.public.get("/v1/keys", params={"provider": provider.id}).json()["items"] == []
    assert provider.post(json.dumps(good).encode()).status_code == 201
