"""What bounds the work that callers cause: token buckets, one per caller, and answers that many callers share."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Final

# A table whose size an attacker cannot choose, at some 200 bytes each: beyond it the bucket that was asked for longest
# ago is forgotten, which is also the fullest.
_MAX_BUCKETS: Final = 16_384
# How many seconds' worth of requests may come at once.
_BURST_SECONDS: Final = 2.0


class RateLimit:
    """So many requests a second for each caller, with a burst of two seconds' worth."""

    def __init__(self, per_second: int) -> None:
        """Start with every bucket full."""
        self._rate = float(per_second)
        self._capacity = per_second * _BURST_SECONDS
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait(self, caller: Hashable, now: float) -> float:
        """Take one token and return 0, or return in how many seconds there will be one. `now` is monotonic."""
        tokens, then = self._buckets.get(caller, (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - then) * self._rate)
        granted = tokens >= 1.0
        self._buckets[caller] = (tokens - granted, now)
        self._buckets.move_to_end(caller)
        if len(self._buckets) > _MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0 if granted else (1.0 - tokens) / self._rate


class Spared:
    """A text that takes milliseconds to write, and so is written some times a second at most.

    Whoever asks more often gets the last one: monitoring is not told to wait, and keeps nobody waiting.
    """

    def __init__(self, write: Callable[[], bytes], per_second: int) -> None:
        """Write it when it is first asked for."""
        self._write = write
        self._limit = RateLimit(per_second)
        self._last = b""

    def text(self, now: float) -> bytes:
        """Return it. `now` is monotonic."""
        if not self._limit.wait(None, now):
            self._last = self._write()
        return self._last


class Shared:
    """A look at something slow, which all share who ask while it takes."""

    def __init__(self, look: Callable[[], Coroutine[None, None, object]]) -> None:
        """Look when somebody asks."""
        self._look = look
        self._looking: asyncio.Task[object] | None = None

    async def wait(self) -> None:
        """Wait for a look that is not over yet. Raises what looking raises."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)
