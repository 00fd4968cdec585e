"""The streams of changes that are open: how many of them there may be, and what wakes them.

One look at the registry a second serves all of them; each reads for itself what it has not sent, as fast as its client
takes it. Who does not take it is cut by the connection (protocol.py); who waits for something to happen gets a comment
now and then.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from attestd.errors import AttestdError, Reason, RequestRefused, Unavailable
from attestd.metrics import LimitScope, Metrics
from attestd.registrar import Registrar
from attestd.registry import log, sequencing
from attestd.registry.log import Leaf
from attestd.transparency.record import load_record

_log: Final = logging.getLogger(__name__)

# A stream is a connection and some KiB; the rest of the connections (protocol.py) stay for who asks and goes.
MAX_STREAMS: Final = 512
MAX_STREAMS_OF_ONE: Final = 8
# Less than proxies let a connection be idle, which is a minute as a rule.
HEARTBEAT: Final = 15.0
# Seconds between two looks; epochs are further apart.
EVERY: Final = 1.0

# Records that are read at once: a tile's worth.
_BATCH: Final = 256
# When a client whose connection is lost comes again, in milliseconds.
_HELLO: Final = b"retry: 5000\n\n"
_ALIVE: Final = b":\n\n"
_STOPPED: Final = b": this service stops; come again\n\n"
_FAILED: Final = b": the log cannot be read now; come again\n\n"


class Streams:
    """All streams of one service."""

    def __init__(self, registrar: Registrar, metrics: Metrics) -> None:
        """Start with none."""
        self._registrar = registrar
        self._metrics = metrics
        self._open: Counter[str] = Counter()  # by address
        self._size = 0  # of the log, as far as it is sequenced
        self._closed = False
        self._moved = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @contextmanager
    def opened(self, address: str) -> Iterator[None]:
        """Count a stream while it lasts.

        Raises `RequestRefused` (`request.rate`) for one too many of an address, `Unavailable` (`service.overloaded`)
        for one too many of all.
        """
        if self._open[address] >= MAX_STREAMS_OF_ONE:
            self._metrics.rate_limited.labels(LimitScope.ADDRESS).inc()
            raise RequestRefused(
                Reason.REQUEST_RATE, found="more streams of one address", wanted=f"at most {MAX_STREAMS_OF_ONE}"
            )
        if self._open.total() >= MAX_STREAMS or self._closed:
            raise Unavailable(Reason.OVERLOADED, found="more streams than there may be", wanted="fewer of them")
        self._open[address] += 1
        self._metrics.change_streams.inc()
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self._metrics.change_streams.dec()
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
            if not self._open:
                self._watching.cancel()
                self._watching = None

    async def events(self, index: int) -> AsyncIterator[bytes]:
        """Go through the records from an index on, as they are sequenced, until the service stops."""
        yield _HELLO
        while not self._closed:
            if index >= self._size:
                if not await self._moves():
                    yield _ALIVE
                continue
            leaves = await self._read(index, min(_BATCH, self._size - index))
            if not leaves:
                yield _FAILED
                return
            yield b"".join(map(_event, leaves))
            index += len(leaves)
        yield _STOPPED

    def close(self) -> None:
        """Let every stream come to its end, and no other begin."""
        self._closed = True
        self._wake()

    async def _read(self, index: int, count: int) -> tuple[Leaf, ...]:
        try:
            return await self._registrar.search(log.leaves, index, count)
        except AttestdError as error:
            _log.warning("a stream of changes ends at record %d: %s", index, error)
            return ()

    async def _watch(self) -> None:
        while True:
            with suppress(AttestdError):  # the next look may know more
                size = (await self._registrar.read(sequencing.state)).size
                if size != self._size:
                    self._size = size
                    self._wake()
            await asyncio.sleep(EVERY)

    async def _moves(self) -> bool:
        """Wait until something happens; false where nothing does for a while."""
        try:
            async with asyncio.timeout(HEARTBEAT):
                await self._moved.wait()
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


def _event(leaf: Leaf) -> bytes:
    """Write a record as an event. It is one line of ASCII, so that nothing in it can end the event."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (leaf.index, load_record(leaf.record).decision.encode(), leaf.record)
