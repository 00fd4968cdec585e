"""What a service takes from another: bounded, from nobody else, and with the reason that it gives."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from attestd import peer
from attestd.errors import Reason, Unavailable
from attestd.peer import Peer
from tests.refusals import misconfigured, refused


class Answering:
    """A server that answers one thing, as bytes on the wire."""

    def __init__(self) -> None:
        self.head = "HTTP/1.1 200 OK"
        self.headers: dict[str, str] = {}
        self.body = b"body"
        self.first = b""  # what comes before
        self.endless = b""  # what comes in the place of an answer, again and again
        self.hangs_up = False  # after each answer, without having said so
        self.seen: list[Any] = []
        self.connections = 0


@contextmanager
def serving(said: Answering) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            said.connections += 1
            super().setup()

        def do_GET(self) -> None:
            said.seen.append((self.command, self.path, dict(self.headers.items())))
            self.rfile.read(int(self.headers.get("content-length", 0)))
            with suppress(OSError):
                self.wfile.write(said.first)
                while said.endless:
                    self.wfile.write(said.endless)
            headers = {"content-length": str(len(said.body))} | said.headers
            lines = [said.head, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
            self.wfile.write("\r\n".join(lines).encode() + said.body)
            self.close_connection = said.hangs_up or headers["content-length"] != str(len(said.body))

        def do_POST(self) -> None:
            self.do_GET()

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


@pytest.fixture
def said() -> Answering:
    return Answering()


@pytest.fixture
def asked(said: Answering) -> Iterator[Peer]:
    with serving(said) as url:
        made = Peer("a_setting", url, "a-token")
        yield made
        made.close()


def test_answers_come_over_one_connection_with_the_key(said: Answering, asked: Peer) -> None:
    assert [asked.get("/first", 4), asked.get("/second", 4)] == [b"body", b"body"]
    assert said.connections == 1
    assert [(method, path) for method, path, _ in said.seen] == [("GET", "/first"), ("GET", "/second")]
    assert {headers["Authorization"] for _, _, headers in said.seen} == {"Bearer a-token"}


def test_a_post_does_not_rest_on_a_connection_that_the_other_side_may_have_closed(said: Answering, asked: Peer) -> None:
    assert [asked.post("/", b"{}", 4), asked.post("/", b"{}", 4)] == [b"body", b"body"]
    assert said.connections == 2


def test_an_answer_that_is_too_long(asked: Peer) -> None:
    with refused(Unavailable, Reason.COSIGN_PEER):
        asked.get("/", 3)


def test_an_answer_without_its_end(said: Answering, asked: Peer) -> None:
    said.headers["content-length"] = "5"
    with refused(Unavailable, Reason.COSIGN_PEER):
        asked.get("/", 5)


def test_an_answer_that_never_ends(said: Answering, asked: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "_CALL_SECONDS", -1)
    with refused(Unavailable, Reason.COSIGN_PEER):
        asked.get("/", 4)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"trailer: x\r\n"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b"x"),
    ],
    ids=["continue", "trailers", "body"],
)
def test_an_answer_of_which_something_comes_all_the_time(
    said: Answering, asked: Peer, monkeypatch: pytest.MonkeyPatch, first: bytes, again: bytes
) -> None:
    """A co-signer that keeps the connection busy would keep the registry from asking anybody else."""
    monkeypatch.setattr(peer, "_CALL_SECONDS", 0.2)
    said.first, said.endless = first, again
    with refused(Unavailable, Reason.COSIGN_PEER):
        asked.get("/", 1_000_000)


def test_a_connection_that_the_other_side_has_closed_meanwhile(said: Answering, asked: Peer) -> None:
    """As it does with one that is idle for some seconds, while here evidence is appraised."""
    said.hangs_up = True
    assert [asked.get("/first", 4), asked.get("/second", 4)] == [b"body", b"body"]
    assert said.connections == 2


def test_a_connection_that_is_closed_before_any_answer(said: Answering, asked: Peer) -> None:
    said.head, said.body, said.headers["content-length"] = "", b"", "0"
    with refused(Unavailable, Reason.COSIGN_PEER):
        asked.get("/", 4)


def test_nobody_is_there() -> None:
    with serving(Answering()) as url:
        gone = url
    with refused(Unavailable, Reason.COSIGN_PEER):
        Peer("a_setting", gone).get("/", 4)


def test_something_else_than_http(said: Answering, asked: Peer) -> None:
    said.head = "SSH-2.0"
    with refused(Unavailable, Reason.COSIGN_PEER):
        asked.get("/", 4)


def test_a_redirect_is_not_followed(said: Answering, asked: Peer) -> None:
    with serving(elsewhere := Answering()) as url:
        said.head, said.headers["location"] = "HTTP/1.1 307 Temporary Redirect", url + "/"
        with refused(Unavailable, Reason.COSIGN_PEER):
            asked.get("/", 4)
    assert elsewhere.seen == []


def test_the_reason_of_the_other_side_is_told(said: Answering, asked: Peer) -> None:
    said.head = "HTTP/1.1 422 Unprocessable"
    said.body = json.dumps({"reason": "cosign.map", "detail": "Found \u001b[2J a root" + "." * 1000}).encode()
    with pytest.raises(Unavailable) as refusal:
        asked.get("/", 4)
    assert refusal.value.reason is Reason.COSIGN_MAP
    assert re.match(r"status 422 of 127\.0\.0\.1:\d+: Found \?\[2J a root", refusal.value.found)
    assert len(refusal.value.found) < 400


@pytest.mark.parametrize("body", [b"no JSON", b"{}", b'{"reason":"no.such","detail":"x"}'])
def test_a_refusal_without_a_reason_of_ours(said: Answering, asked: Peer, body: bytes) -> None:
    said.head, said.body = "HTTP/1.1 500 Oops", body
    with refused(Unavailable, Reason.COSIGN_PEER):
        asked.get("/", 4)


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1",
        "http://registry.example",
        "ftp://127.0.0.1",
        "127.0.0.1:80",
        "https://",
        "https://registry.example/path",
        "https://registry.example?query",
        "https://user@registry.example",
        "https://registry.example:99999",
    ],
)
def test_urls_that_do_not_say_who_answers(url: str) -> None:
    with misconfigured(Reason.SETTINGS):
        Peer("a_setting", url)


@pytest.mark.parametrize("url", ["https://registry.example", "https://192.0.2.1:8443/", "http://localhost:1"])
def test_urls_that_do(url: str) -> None:
    Peer("a_setting", url)


def test_a_server_whose_certificate_nobody_vouches_for() -> None:
    """TLS is verified: a listener without it, or with another's certificate, hears no request."""
    with serving(said := Answering()) as url:
        with refused(Unavailable, Reason.COSIGN_PEER):
            Peer("a_setting", url.replace("http:", "https:"), "a-token").get("/", 4)
        assert said.seen == []
