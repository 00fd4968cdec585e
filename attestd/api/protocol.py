"""HTTP/1.1 connections with deadlines and bounds: uvicorn's protocol, closed where it leaves things open.

uvicorn bounds neither the time that a request may take to arrive, nor the size and number of its headers, nor how long
a peer may leave an answer unread (attacks.md, A05, A11). Here a request has `DEADLINE` seconds from its first byte to
its last, an answer as long to be taken, and a body that nobody wants is read on, and dropped, for `LINGER` seconds, so
that its sender gets to see why.
"""

import asyncio
from typing import Any, Final, NoReturn, TypeAlias

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from attestd.api.keys import KeyAnswers, matches
from attestd.api.problem import Headers, head_of, refusal
from attestd.errors import AttestdError, Malformed, Reason, RequestRefused
from attestd.metrics import CutCause, Metrics

DEADLINE: Final = 10.0
LINGER: Final = 2.0
# A bearer key, a path and what libraries add: real requests have less than 2 KiB and 20 headers.
MAX_HEAD_SIZE: Final = 16 * 1024
MAX_HEADERS: Final = 64
# Requests that wait behind one that is being answered. uvicorn keeps any number, and reads on after every answer.
MAX_PIPELINED: Final = 16
# Each costs a few KiB; a thousand slow ones leave room for everybody else.
MAX_CONNECTIONS: Final = 4096

_Fault: TypeAlias = tuple[AttestdError, CutCause]


class _Stop(Exception):
    """What the parser wraps into an error of its own; uvicorn then calls `send_400_response`."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection; `bounded` makes the class that uvicorn instantiates."""

    metrics: Metrics
    marks: Headers
    answers: KeyAnswers | None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Take what uvicorn gives to its own protocol."""
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._fault: _Fault = _NOT_HTTP
        self._refused = False
        self._from_memory: tuple[bytes, bytes] | None = None  # the answer to the request that is being read
        self._open = False  # a request has begun and is not complete
        self._in_head = False
        self._began = False  # in the data that is being parsed
        self._read = 0  # size of that data
        self._framing = 0  # bytes of the request that are not body: head, chunk sizes, trailers

    # What the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock: a connection without a request is a slow one."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._cut(CutCause.TOO_MANY)
        else:
            self._arm(DEADLINE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._disarm()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and bound what it keeps in silence: unfinished headers, chunk sizes and trailers.

        What comes in one read with the start of a request is not counted here; the transport bounds a read.
        """
        if self._refused:
            return
        self._began = False
        self._read = len(data)
        super().data_received(data)
        if not self._open or self._refused:  # as a rule, a request comes in one piece
            return
        if self._deadline is None:
            self._arm(DEADLINE)
        if not self._began:
            self._framing += len(data)
            if self._framing > MAX_HEAD_SIZE:
                self._fault = _TOO_LARGE
                self._refuse()

    def pause_writing(self) -> None:
        """Start the clock for a peer that does not take its answer."""
        super().pause_writing()
        self._unread = self.loop.call_later(DEADLINE, self._cut, CutCause.SLOW_READER)

    def resume_writing(self) -> None:
        """Stop it."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    # What the parser calls

    def on_message_begin(self) -> None:
        """Begin to count anew."""
        super().on_message_begin()
        self._open = self._in_head = self._began = True
        self._framing = 0

    def on_headers_complete(self) -> None:
        """Judge the head, then let uvicorn start the application."""
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            self._fail(_NOT_HTTP)
        if len(self.pipeline) >= MAX_PIPELINED:
            self._fail(_TOO_MANY)
        if len(self.headers) > MAX_HEADERS or self._head_size() > MAX_HEAD_SIZE:
            self._fail(_TOO_LARGE)
        self._in_head = False
        self._from_memory = self._find()
        if self._from_memory is None:
            super().on_headers_complete()
        # The application has the list as it is now; what the parser adds to this one are trailers.
        self.headers = []

    def _head_size(self) -> int:
        if self._framing + self._read <= MAX_HEAD_SIZE:  # the head is a part of what came
            return 0
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        """Take body off the count of framing: once for itself, once for the chunk sizes that it may cost."""
        self._framing -= 2 * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the clock: from here on the time is the service's own. Trailers are refused: nobody would read them."""
        if self.headers:
            self._fail(_TOO_LARGE)
        self._open = False
        if self._deadline is not None:
            self._disarm()
        if self._from_memory is None:
            super().on_message_complete()
        else:
            self._answer(*self._from_memory)

    # What needs no application

    def _find(self) -> tuple[bytes, bytes] | None:
        """Return status line and answer for a plain GET of what is kept; whatever is unusual takes the usual way."""
        kept = None if self.answers is None else self.answers.find(self.url)
        if kept is None or self._answering() or self.pipeline or self.flow.write_paused:
            return None
        if self.parser.get_method() != b"GET" or not self.parser.should_keep_alive():
            return None
        found = STATUS_LINE[200], kept.whole
        for name, value in self.headers:
            if name in _UNUSUAL:
                return None
            if name == b"if-none-match" and matches(value, kept.etag):
                found = STATUS_LINE[304], kept.unchanged
        return found

    def _answer(self, status: bytes, answer: bytes) -> None:
        dated = [name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers]
        self.metrics.from_memory.inc()
        self.transport.write(b"".join((status, *dated, answer)))
        self.on_response_complete()

    # What uvicorn calls

    def on_response_complete(self) -> None:
        """Give the sender of a body that nobody wanted a moment to see the answer."""
        super().on_response_complete()
        if self._deadline is not None:
            self._arm(LINGER)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words; there are better ones
        """Answer what is not HTTP, or too much of it."""
        self._refuse()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one whose last answer still waits to be taken is not idle but stuck."""
        if self.transport.get_write_buffer_size():
            self._cut(CutCause.SLOW_READER)
        else:
            super().timeout_keep_alive_handler()

    # The clock

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        if self._answering() and self.flow.read_paused:
            # It is the service that does not read on.
            self._arm(DEADLINE)
        elif self._answering() or self._in_head:
            self._fault = _TOO_SLOW
            self._refuse()
        else:  # nothing ever came, or a body whose answer was given long ago
            self._disarm()
            self.transport.close()

    # Ends

    def _fail(self, fault: _Fault) -> NoReturn:
        self._fault = fault
        raise _Stop

    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _refuse(self) -> None:
        """Answer in place of the application, and close when the peer had its moment to see it."""
        error, cause = self._fault
        self._refused = True
        self._disarm()
        self.metrics.connections_cut.labels(cause).inc()
        if self.pipeline:  # an answer between those that are still to come would be taken for one of them
            self.transport.abort()
            return
        if self._answering():
            started = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if started:
                self.transport.abort()
                return
        self.transport.write(_raw(error, self.marks))
        self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.abort)

    def _cut(self, cause: CutCause) -> None:
        self.metrics.connections_cut.labels(cause).inc()
        self.transport.abort()


# What changes how a request is read or answered.
_UNUSUAL: Final = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})

_NOT_HTTP: Final[_Fault] = (
    Malformed(Reason.REQUEST_MALFORMED, found="bytes that are no HTTP/1.1", wanted="an HTTP/1.1 request"),
    CutCause.NOT_HTTP,
)
_TOO_LARGE: Final[_Fault] = (
    Malformed(
        Reason.REQUEST_MALFORMED,
        found="too much besides the body",
        wanted=f"at most {MAX_HEADERS} headers and {MAX_HEAD_SIZE} bytes of them, and no trailers",
    ),
    CutCause.HEAD_SIZE,
)
_TOO_MANY: Final[_Fault] = (
    Malformed(Reason.REQUEST_MALFORMED, found="too many requests at once", wanted=f"at most {MAX_PIPELINED} in line"),
    CutCause.PIPELINED,
)
_TOO_SLOW: Final[_Fault] = (
    RequestRefused(Reason.REQUEST_TIMEOUT, found="a part of a request", wanted=f"all of it within {DEADLINE:.0f} s"),
    CutCause.DEADLINE,
)


def _raw(error: AttestdError, marks: Headers) -> bytes:
    answer = refusal(error, headers=[(b"connection", b"close"), *marks])
    return STATUS_LINE[answer.status_code] + head_of(answer.raw_headers) + bytes(answer.body)


def bounded(metrics: Metrics, marks: Headers, answers: KeyAnswers | None = None) -> type[BoundedProtocol]:
    """Return the protocol class of one listener.

    It counts into `metrics`, its own answers carry `marks`, as all others do, and it sends `answers` itself.
    """
    return type("BoundedProtocol", (BoundedProtocol,), {"metrics": metrics, "marks": marks, "answers": answers})
