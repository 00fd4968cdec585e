"""Bodies that are far too large, and requests that never end, at a process of its own."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from threading import Event
from time import monotonic
from urllib.parse import urlsplit

import httpx
import pytest

from attestd.api.public import MAX_APPRAISAL_SIZE, MAX_EVIDENCE_SIZE
from attestd.cli.client import Client
from attestd.registry import keys
from attestd.registry.values import KeyPage
from tests.acceptance.processes import Installation, Running
from tests.api.world import Clock, world

MIB = 1024 * 1024
BODY = 200 * MIB
MOST_GROWTH = 64 * MIB
CUT = 'attestd_http_connections_cut_total{cause="deadline"} '


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    installation = Installation.simulated(tmp_path_factory.mktemp("pressure"))
    with installation.started() as running:
        token = installation.register(running, "provider").token
        assert token is not None
        # What it allocates once belongs to no request.
        for _ in range(20):
            assert Client(running.public_url, token).post("/v1/evidence", b"{").status == 400
        yield running, token


def connect(running: Running) -> socket.socket:
    address = urlsplit(running.public_url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def head(path: str, token: str | None, *lines: str) -> bytes:
    authorization = () if token is None else (f"Authorization: Bearer {token}",)
    first = (f"POST {path} HTTP/1.1", "Host: attestd", "Content-Type: application/json")
    return "\r\n".join((*first, *authorization, *lines, "", "")).encode()


def pour(connection: socket.socket, length: int, *, chunked: bool) -> int:
    """Send so many bytes of body, until the peer has had enough; return how many it took."""
    sent, block = 0, b"x" * MIB
    try:
        while sent < length:
            connection.sendall(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            sent += len(block)
    except OSError:
        pass
    return sent


@pytest.mark.parametrize("path", ["/v1/evidence", "/v1/appraisals"])
@pytest.mark.parametrize("known", [True, False], ids=["with an API key", "without"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "announced"])
def test_a_body_of_200_mib(service: tuple[Running, str], path: str, known: bool, chunked: bool) -> None:
    """A03: refused, with at most 64 MiB more of memory than before, and others are served meanwhile."""
    running, token = service
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {BODY}"
    with running.growing_by_at_most(MOST_GROWTH), connect(running) as connection:
        connection.sendall(head(path, token if known else None, length))
        pour(connection, BODY, chunked=chunked)
        try:
            answer = connection.recv(65536)
        except ConnectionError:
            answer = b""  # it closed while we were sending
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 " if known else b"HTTP/1.1 401 ")
    assert Client(running.public_url).get("/healthz/ready").status == 200


@pytest.mark.parametrize("path", ["/v1/evidence", "/v1/appraisals"])
def test_a_small_body_does_not_unfold_into_a_large_one(service: tuple[Running, str], path: str) -> None:
    """A03, A06: as many empty objects as the cap lets in."""
    running, token = service
    caller = Client(running.public_url, token)
    size = MAX_EVIDENCE_SIZE if path == "/v1/evidence" else MAX_APPRAISAL_SIZE
    body = b'{"a":[%b{}]}' % (b"{}," * ((size - 16) // 3))
    with running.growing_by_at_most(MOST_GROWTH):
        answer = caller.post(path, body)
    assert answer.status == 400, answer.body


def test_many_large_bodies_at_once(service: tuple[Running, str]) -> None:
    """F25: twenty at a time take no more than one at a time may."""
    running, token = service

    def send(_: int) -> None:
        with connect(running) as connection:
            connection.sendall(head("/v1/evidence", token, "Transfer-Encoding: chunked"))
            pour(connection, 20 * MIB, chunked=True)

    with running.growing_by_at_most(MOST_GROWTH), ThreadPoolExecutor(20) as pool:
        list(pool.map(send, range(20)))
    assert Client(running.public_url).get("/healthz/ready").status == 200


def test_requests_that_never_end_are_cut_while_others_are_served(service: tuple[Running, str]) -> None:
    """A05: headers and bodies of one byte now and then, and nothing at all, from sixty connections."""
    running, token = service
    starts = [
        b"",
        b"POST /v1/evidence HTTP/1.1\r\nHost: att",
        head("/v1/evidence", token, "Content-Length: 1000") + b"{",
    ]
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(running)) for _ in range(20) for _ in starts]
        began = monotonic()
        for index, connection in enumerate(slow):
            connection.sendall(starts[index % len(starts)])
        served = 0
        open_still = dict(zip(slow, cycle(starts), strict=False))
        while open_still and monotonic() - began < 30:
            assert Client(running.public_url).get("/healthz/ready").status == 200
            served += 1
            for connection, start in list(open_still.items()):
                connection.settimeout(0.001)
                if is_closed(connection, b"x" if start else b""):
                    del open_still[connection]
        took = monotonic() - began
    assert not open_still, f"{len(open_still)} are open after {took:.0f} s"
    assert served > 10
    metrics = Client(running.public_url).get("/metrics").body.decode()
    cut = next(line for line in metrics.splitlines() if line.startswith(CUT))
    # A connection without any request is closed without a word.
    assert float(cut.removeprefix(CUT)) == 40


def is_closed(connection: socket.socket, more: bytes) -> bool:
    """Read what came, send a little more, and tell whether the peer is gone."""
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        pass
    except OSError:
        return True
    else:
        return True
    try:
        connection.send(more)
    except OSError:
        return True
    return False


@pytest.mark.parametrize("path", ["/v1/keys", "/v1/keys?at=2026-12-01T00:00:00Z", "/v1/keys?state=expired&limit=1000"])
def test_a_list_that_takes_long_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """F23: filters may have to look at every key that ever was, and anybody may ask."""
    asked, answered = Event(), Event()

    def page(*_: object, **__: object) -> KeyPage:
        asked.set()
        assert answered.wait(30)
        return KeyPage((), None, 0)

    with world(tmp_path, Clock()) as own, ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(keys, "page", page)
        listing = pool.submit(httpx.get, f"{own.service.public_url}{path}", timeout=30)
        try:
            assert asked.wait(30)
            assert own.public.get("/healthz/live", timeout=5).status_code == 200
        finally:
            answered.set()
        assert listing.result(30).status_code == 200
