"""Connections and requests that are hostile below the level of bodies."""

import contextlib
import select
import socket
from collections.abc import Iterator

import pytest

from attestd.api import protocol
from tests.api.world import Provider, Start, World, raw_exchange, reason_of

GET = b"GET /v1/keys HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def status(answer: bytes) -> bytes:
    return answer.split(b" ", 2)[1] if answer else b""


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        [
            "/nothing",
            "/V1/keys",
            "/v1/Keys",
            "//v1/keys",
            "/v1//keys",
            "/v1/keys/",
            "/v1/keys//",
            "/v1/%6beys",
            "/v1%2fkeys",
            "/v1/%2e%2e/v1/keys",
            "/v1/keys/%2e%2e",
            "/v1/./keys",
            "/v1/../v1/keys",
            "/v1/keys/..%2f..%2fetc%2fpasswd",
            "/v1/keys/../../etc/passwd",
            "/v1/keys/zz",
            "/v1/keys/" + "00" * 31,
            "/v1/keys/" + "AB" * 32,
            "/v1/keys/" + "00" * 32,
            "/v1/keys/%00",
            "/v1/policies/..%2fstrict-tdx",
            "/v1/policies/unknown",
            "/openapi.yaml",
            "/redoc",
        ],
    )
    def test_nothing_is_found_by_another_spelling(self, shared: World, path: str) -> None:
        """A02, A11, A15."""
        answer = raw_exchange(
            shared.service.public_url, b"GET " + path.encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert status(answer) == b"404", answer
        assert b'"reason":"request.not_found"' in answer

    def test_other_methods_are_named(self, shared: World) -> None:
        for method, path, allowed in (
            ("DELETE", "/v1/keys", "GET"),
            ("PUT", "/v1/evidence", "POST"),
            ("POST", "/healthz", "GET"),
            ("TRACE", "/v1/keys", "GET"),
        ):
            answer = shared.public.request(method, path)
            assert (answer.status_code, reason_of(answer)) == (405, "request.method")
            assert answer.headers["allow"] == allowed
        answer = shared.admin.put("/v1/providers")
        assert answer.headers["allow"] == "GET, POST"

    @pytest.mark.parametrize(
        "query",
        [
            "limit=0",
            "limit=-1",
            "limit=1001",
            "limit=9223372036854775808",
            "limit=ten",
            "limit=1&limit=2",
            "cursor=forged",
            "cursor=%27%3B%20DROP%20TABLE%20keys",
            "cursor=",
            "state=trusted",
            "tee=any",
            "tee=SNP",
            "image=sha256:00",
            "model=" + "00" * 32,
            "provider=A%27%20OR%201=1",
            "binding=other",
            "published=maybe",
            "at=yesterday",
            "at=2026-12-01T00:00:00",
            "at=2999-01-01T00:00:00Z",
            "unknown=1",
            "Limit=1",
        ],
    )
    def test_parameters(self, shared: World, query: str) -> None:
        """A14."""
        answer = shared.public.get("/v1/keys?" + query)
        assert answer.status_code == 400
        assert reason_of(answer) in ("json.schema", "request.malformed")

    @pytest.mark.parametrize("path", ["/healthz", "/metrics", "/.well-known/attestd", "/v1/policies/strict-tdx"])
    def test_a_parameter_that_nothing_takes(self, shared: World, path: str) -> None:
        answer = shared.public.get(path + "?x=1")
        assert (answer.status_code, reason_of(answer)) == (400, "request.malformed")

    def test_a_parameter_on_a_call_that_the_edge_answers(self, provider: Provider) -> None:
        answer = provider.http.post("/v1/challenges?x=1")
        assert (answer.status_code, reason_of(answer)) == (400, "request.malformed")


class TestHeads:
    @pytest.mark.parametrize(
        "sent",
        [
            b"\r\n\r\nnonsense\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /v1/keys\r\n\r\n",
            b"GET /v1/keys HTTP/0.9\r\n\r\n",
            b"GET /v1/keys HTTP/2.0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /v1/keys\0 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /v1/keys HTTP/1.1\r\nHost: x\0\r\n\r\n",
            b"GET /v1/keys HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET /v1/keys HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            b"GET /v1/keys HTTP/1.1\nHost: x\n\n",
            b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /v1/keys HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST /v1/evidence HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
            b"POST /v1/evidence HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            b"POST /v1/evidence HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET /v1/keys HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
            b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /v1/keys HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 10_000 + b"\r\n",
            b"GET /v1/keys HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * protocol.MAX_HEADERS + b"\r\n",
        ],
        ids=lambda sent: sent[:40].decode("latin-1"),
    )
    def test_what_is_not_http_is_refused_and_closed(self, shared: World, sent: bytes) -> None:
        """A11."""
        answer = raw_exchange(shared.service.public_url, sent, timeout=14)
        assert status(answer) in (b"400", b"405", b"408"), answer
        assert len(answer) < 4096
        assert b"application/problem+json" in answer

    def test_trailers_are_refused(self, shared: World, provider: Provider) -> None:
        """They would reach the application's list of headers after it was read."""
        head = (
            f"POST /v1/evidence HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {provider.token}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        answer = raw_exchange(shared.service.public_url, head.encode() + b"2\r\n{}\r\n0\r\nX: y\r\n\r\n")
        assert status(answer) == b"400"
        assert b"trailers" in answer

    def test_the_largest_head_that_is_taken(self, shared: World) -> None:
        filler = {f"x-{number}": "a" * 200 for number in range(50)}
        assert shared.public.get("/v1/keys", headers=filler).status_code == 200

    def test_requests_in_a_row_on_one_connection(self, shared: World) -> None:
        with _connection(shared) as peer:
            for _ in range(3):
                peer.sendall(GET.replace(b"Connection: close\r\n", b""))
                assert status(peer.recv(65536)) == b"200"

    def test_pipelined_requests(self, shared: World) -> None:
        answer = raw_exchange(shared.service.public_url, GET.replace(b"Connection: close\r\n", b"") * 2 + GET)
        assert answer.count(b"HTTP/1.1 200 OK") == 3

    def test_an_upgrade_is_not_made(self, shared: World) -> None:
        sent = GET.replace(b"Connection: close", b"Connection: close, Upgrade\r\nUpgrade: websocket")
        assert status(raw_exchange(shared.service.public_url, sent)) == b"200"


class TestOrigins:
    """A16."""

    def test_preflights_get_nothing(self, shared: World) -> None:
        headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        answer = shared.public.options("/v1/keys", headers=headers)
        assert answer.status_code == 405
        assert not [name for name in answer.headers if name.startswith("access-control")]
        answer = shared.public.get("/v1/keys", headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]

    def test_answers_do_not_depend_on_who_we_are_told_to_be(self, shared: World, provider: Provider) -> None:
        plain = shared.public.get("/.well-known/attestd")
        told = shared.public.get(
            "/.well-known/attestd",
            headers={"host": "evil.example", "x-forwarded-host": "evil.example", "x-forwarded-proto": "gopher"},
        )
        assert told.content == plain.content
        answer = provider.post(provider.evidence(), host="evil.example")
        assert answer.headers["location"].startswith("/v1/results/")

    def test_a_forwarded_address_is_not_believed(self, start: Start) -> None:
        world = start(requests_per_second_per_address="1")
        statuses = [
            world.public.get("/v1/keys", headers={"x-forwarded-for": f"10.0.0.{number}"}).status_code
            for number in range(50)
        ]
        assert 429 in statuses


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make deadlines short: what they do is shown here, how long they are is shown below."""
    monkeypatch.setattr(protocol, "DEADLINE", 0.5)
    monkeypatch.setattr(protocol, "LINGER", 0.2)


@contextlib.contextmanager
def _connection(world: World) -> Iterator[socket.socket]:
    host, port = world.service.public_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=15) as peer:
        yield peer


def _rest(peer: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := peer.recv(65536):
            received += chunk
    return received


@pytest.mark.usefixtures("impatient")
class TestCuts:
    def test_a_connection_without_a_request(self, own: World) -> None:
        with _connection(own) as peer:
            assert _rest(peer) == b""

    @pytest.mark.parametrize("sent", [b"G", b"GET /v1/keys HTTP/1.1\r\nHost: x\r\nX: "])
    def test_half_a_head(self, own: World, sent: bytes) -> None:
        with _connection(own) as peer:
            peer.sendall(sent)
            answer = _rest(peer)
        assert status(answer) == b"408"
        assert b'"reason":"request.timeout"' in answer

    def test_half_a_body(self, own: World) -> None:
        provider = own.provider()
        head = f"POST /v1/evidence HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {provider.token}\r\n"
        with _connection(own) as peer:
            peer.sendall(head.encode() + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
            answer = _rest(peer)
        assert status(answer) == b"408"
        assert own.metric("attestd_http_connections_cut_total", cause="deadline") == 1

    def test_an_answer_that_nobody_takes(self, own: World) -> None:
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            host, port = own.service.public_url.removeprefix("http://").split(":")
            peer.connect((host, int(port)))
            answered = 0.0
            while not own.metric("attestd_http_connections_cut_total", cause="slow_reader"):
                # The next ones only when those before were answered, until an answer does not fit anywhere any more.
                if own.metric("attestd_http_requests_total", route="/openapi.json", status="2xx") == answered:
                    with contextlib.suppress(OSError):  # cut since
                        peer.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
                    answered += 1
        assert own.metric("attestd_http_connections_cut_total", cause="slow_reader") == 1

    def test_requests_that_nobody_can_answer_so_fast(self, own: World) -> None:
        """uvicorn would keep them all, at some 2 KiB each, and read on after every answer."""
        with _connection(own) as peer:
            with contextlib.suppress(OSError):
                for _ in range(100):
                    peer.sendall(GET.replace(b"Connection: close\r\n", b"") * 1000)
            _rest(peer)
        assert own.metric("attestd_http_connections_cut_total", cause="pipelined") == 1

    def test_chunk_extensions_without_end(self, own: World) -> None:
        """What the parser keeps without telling is bounded, too."""
        provider = own.provider()
        head = f"POST /v1/evidence HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {provider.token}\r\n"
        with _connection(own) as peer:
            peer.sendall(head.encode() + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            peer.sendall(b"1;")
            with contextlib.suppress(OSError):
                for _ in range(100):
                    peer.sendall(b"a" * 65536)
            answer = _rest(peer)
        assert status(answer) in (b"400", b"")
        assert own.metric("attestd_http_connections_cut_total", cause="head_size") == 1

    def test_too_many_connections(self, own: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 2)
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(_connection(own)) for _ in range(4)]
            assert _rest(peers[3]) == b""
        assert own.metric("attestd_http_connections_cut_total", cause="too_many") >= 1

    def test_fifty_slow_ones_are_cut_while_others_are_served(self, own: World) -> None:
        """A05, F24: heads and bodies that come byte by byte, each in time for an idle limit, none for the deadline."""
        provider = own.provider()
        slow_head = b"GET /v1/keys HTTP/1.1\r\nHost: x\r\nX: "
        slow_body = (
            f"POST /v1/evidence HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {provider.token}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
        ).encode()
        with contextlib.ExitStack() as stack:
            slow = [stack.enter_context(_connection(own)) for _ in range(50)]
            for number, peer in enumerate(slow):
                peer.sendall(slow_body if number % 2 else slow_head)
            served = 0
            while slow:
                readable, _, _ = select.select(slow, [], [], 0.01)
                for peer in readable:
                    assert status(_rest(peer)) == b"408"
                    slow.remove(peer)
                for peer in slow:
                    with contextlib.suppress(OSError):  # cut since
                        peer.sendall(b" ")
                assert own.public.get("/v1/keys").status_code == 200
                served += 1
        assert served > 1
        assert own.metric("attestd_http_connections_cut_total", cause="deadline") == 50


def test_the_deadline_is_ten_seconds() -> None:
    assert protocol.DEADLINE == 10
