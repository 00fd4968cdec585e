"""An HTTP client that costs little: keep-alive connections, whole requests as bytes, one at a time on each of them."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import uvloop

CONNECTIONS: Final = 16

_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length:"
# Nothing that is asked for here takes longer, so that a server that hangs ends the run.
_TIMEOUT: Final = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, with how long it took from the first byte that was sent to the last that came."""

    status: int
    head: bytes
    body: bytes
    seconds: float


def request(method: str, path: str, *, token: str | None = None, body: bytes = b"", kind: str = "json") -> bytes:
    """Write a request."""
    lines = [f"{method} {path} HTTP/1.1", "host: bench"]
    if token is not None:
        lines.append(f"authorization: Bearer {token}")
    if body:
        lines += [f"content-type: application/{kind}", f"content-length: {len(body)}"]
    return "\r\n".join(lines).encode() + _END_OF_HEAD + body


def send(port: int, requests: Sequence[bytes]) -> list[Answer]:
    """Send every request once, over `CONNECTIONS` connections; return the answers in no particular order."""
    return uvloop.run(_send(port, requests))


async def _send(port: int, requests: Sequence[bytes]) -> list[Answer]:
    loop = asyncio.get_running_loop()
    left, answers = iter(requests), list[Answer]()
    connections = [_Connection(left, answers, loop) for _ in range(min(CONNECTIONS, len(requests)))]
    async with asyncio.timeout(_TIMEOUT):
        for connection in connections:
            await loop.create_connection(lambda connection=connection: connection, "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.gather(*(connection.done for connection in connections))
    return answers


class _Connection(asyncio.Protocol):
    """Sends the next request when the last one has been answered, until there are no more."""

    def __init__(self, left: Iterator[bytes], answers: list[Answer], loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self._left = left
        self._answers = answers
        self._transport: asyncio.Transport
        self._received = b""
        self._started = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(_END_OF_HEAD)
        if not found or len(body) < _length(head):
            return
        self._received = b""
        self._answers.append(Answer(int(head[9:12]), head, body, perf_counter() - self._started))
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed a connection in the middle of a run"))

    def _next(self) -> None:
        request = next(self._left, None)
        if request is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._started = perf_counter()
        self._transport.write(request)


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(_LENGTH)
    return int(rest.partition(b"\r\n")[0]) if found else 0
