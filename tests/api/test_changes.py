"""The stream of changes: what it sends, how it goes on, who is cut off, and how it ends."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from attestd.api import protocol, streams
from attestd.api.edge import address_of
from attestd.registry import sequencing
from attestd.transparency.record import load_record
from tests.api.epochs import build
from tests.api.test_log import alter, approve
from tests.api.world import Clock, Start, World, reason_of, world


@dataclass
class Event:
    id: int
    event: str
    data: str


class Stream:
    """A client of server-sent events, as the HTML standard has it (9.2.6); comments are told, too."""

    def __init__(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        self.lines = answer.iter_lines()
        assert next(self.lines) == "retry: 5000"
        assert next(self.lines) == ""

    def next(self) -> Event | str:
        """Return the next event, or the next comment."""
        fields: dict[str, str] = {}
        for line in self.lines:
            if line.startswith(":"):
                assert next(self.lines) == ""
                return line
            if not line:
                return Event(int(fields["id"]), fields["event"], fields["data"])
            name, _, value = line.partition(": ")
            fields[name] = value
        raise EOFError

    def events(self, count: int) -> list[Event]:
        """Return so many events, whatever stands between them."""
        found: list[Event] = []
        while len(found) < count:
            if isinstance(one := self.next(), Event):
                found.append(one)
        return found


@contextlib.contextmanager
def stream(world: World, last: int | None = None, **query: int) -> Iterator[Stream]:
    headers = {} if last is None else {"last-event-id": str(last)}
    with world.public.stream("GET", "/v1/changes", params=query, headers=headers) as answer:
        if answer.status_code != 200:
            answer.read()
        following = Stream(answer)  # kept until the end: without it, its connection would be closed
        yield following


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that happens in another thread, and fail where it does not."""
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def size(world: World) -> int:
    return int(world.service.site.registrar.registry.read(sequencing.state).size)


class TestRecords:
    def test_every_record_once_and_in_order(self, own: World, clock: Clock) -> None:
        approve(own, 300)
        end = build(own, clock).checkpoint.tree_size
        with stream(own, since=0) as following:
            events = following.events(end)
        assert [one.id for one in events] == list(range(end))
        assert all(load_record(one.data.encode()).decision == one.event for one in events)

    def test_from_now_on_what_is_sequenced(self, own: World, clock: Clock) -> None:
        before = build(own, clock).checkpoint.tree_size
        with stream(own) as following:
            key_id = own.provider().register()["key"]["key_id"]
            assert size(own) == before
            build(own, clock)
            (event,) = following.events(1)
        assert (event.id, event.event) == (before, "approve")
        assert key_id in event.data

    def test_it_goes_on_where_it_was(self, own: World, clock: Clock) -> None:
        end = build(own, clock).checkpoint.tree_size
        with stream(own, since=0) as following:
            first = following.events(2)
        with stream(own, last=first[-1].id, since=0) as following:
            rest = following.events(end - 2)
        assert [one.id for one in first + rest] == list(range(end))
        with stream(own, last=end - 1) as following:
            approve(own, 1)
            build(own, clock)
            assert following.events(1)[0].id == end

    @pytest.mark.parametrize("text", ["-1", "x", "01", "1.0", "", "9" * 19, "1\x85", "9" * 17])
    def test_an_id_that_is_none_of_ours(self, own: World, clock: Clock, text: str) -> None:
        build(own, clock)
        headers = {b"last-event-id": text.encode("latin-1")}
        answer = own.public.get("/v1/changes", headers=headers)
        assert (answer.status_code, reason_of(answer)) in [(400, "json.schema"), (400, "request.malformed")]

    def test_an_index_of_another_log(self, own: World, clock: Clock) -> None:
        """Such as after a restored backup: the client must hear of it."""
        end = build(own, clock).checkpoint.tree_size
        for query, headers in (({"since": end + 1}, {}), ({}, {"last-event-id": str(end)})):
            answer = own.public.get("/v1/changes", params=query, headers=headers)
            assert (answer.status_code, reason_of(answer)) == (400, "request.malformed")

    @pytest.mark.parametrize("query", ["since=-1", "since=x", "since=1&since=2", "from=1", "since=1e3"])
    def test_other_parameters(self, own: World, query: str) -> None:
        answer = own.public.get(f"/v1/changes?{query}")
        assert answer.status_code == 400

    def test_an_altered_record_is_not_sent(self, own: World, clock: Clock) -> None:
        """R02: nor what comes after it; the stream ends."""
        build(own, clock)
        alter(own, "UPDATE log SET record = record || x'20' WHERE \"index\" = 1")
        with stream(own, since=0) as following:
            assert following.next() == ": the log cannot be read now; come again"
            with pytest.raises(EOFError):
                following.next()


class TestEnds:
    def test_who_waits_gets_a_comment_and_is_not_cut(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        """The deadlines of connections are for those who do not take what they asked for."""
        monkeypatch.setattr(protocol, "DEADLINE", 0.2)
        monkeypatch.setattr(streams, "HEARTBEAT", 0.1)
        own = start()
        with stream(own) as following:
            for _ in range(8):
                assert following.next() == ":"
        assert own.metric("attestd_http_connections_cut_total", cause="slow_reader") == 0
        assert own.metric("attestd_http_connections_cut_total", cause="deadline") == 0

    def test_who_does_not_read_is_cut(self, start: Start, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        """A05."""
        monkeypatch.setattr(protocol, "DEADLINE", 0.3)
        own = start()
        build(own, clock)
        hello = b":" + bytes(1024).replace(b"\0", b"x") + b"\n\n"
        monkeypatch.setattr(streams, "HEARTBEAT", 0.0)
        monkeypatch.setattr(streams, "_ALIVE", hello * 64)  # comments that come as fast as they are taken
        host, port = own.service.public_url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=15) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(b"GET /v1/changes HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda: own.metric("attestd_http_connections_cut_total", cause="slow_reader") == 1)
        until(lambda: own.metric("attestd_change_streams") == 0)

    def test_no_more_than_so_many(self, own: World, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "MAX_STREAMS_OF_ONE", 2)
        build(own, clock)
        with stream(own), stream(own):
            assert own.metric("attestd_change_streams") == 2
            answer = own.public.get("/v1/changes")
            assert (answer.status_code, reason_of(answer)) == (429, "request.rate")
            monkeypatch.setattr(streams, "MAX_STREAMS_OF_ONE", 9)
            monkeypatch.setattr(streams, "MAX_STREAMS", 2)
            answer = own.public.get("/v1/changes")
            assert (answer.status_code, reason_of(answer)) == (503, "service.overloaded")
            assert answer.headers["retry-after"] == "1"
        until(lambda: own.metric("attestd_change_streams") == 0)
        with stream(own, since=0) as following:  # there is room again, and somebody looks again
            following.events(1)

    def test_whose_they_are_is_told_by_the_network(self) -> None:
        """A customer has 2^64 addresses of IPv6, and one of IPv4."""

        def of(host: str) -> str:
            return address_of({"client": (host, 1)})

        assert of("2001:db8::1") == of("2001:db8::ffff:ffff:ffff:ffff") != of("2001:db8:0:1::1")
        assert of("192.0.2.1") != of("192.0.2.2")

    def test_a_stop_ends_them_in_good_order(self, own: World, clock: Clock) -> None:
        build(own, clock)
        said: list[object] = []

        def follow(opened: threading.Event) -> None:
            with stream(own) as following:
                opened.set()
                with contextlib.suppress(EOFError):
                    while True:
                        said.append(following.next())
                said.append("the end")

        opened = threading.Event()
        thread = threading.Thread(target=follow, args=(opened,))
        thread.start()
        assert opened.wait(15)
        own.service.loop.call_soon_threadsafe(own.service.site.streams.close)
        thread.join(15)
        assert said == [": this service stops; come again", "the end"]
        answer = own.public.get("/v1/changes")
        assert (answer.status_code, reason_of(answer)) == (503, "service.overloaded")

    def test_a_service_with_open_streams_stops(self, tmp_path: Path, clock: Clock) -> None:
        """And says so, before the time for requests under way is over and they are cut."""
        with contextlib.ExitStack() as stack:
            with world(tmp_path, clock) as own:
                build(own, clock)
                following = stack.enter_context(stream(own))
                own.stack.pop_all()  # who listens does not go first
            assert following.next() == ": this service stops; come again"
