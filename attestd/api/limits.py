"""Token buckets, one per caller, in a table whose size an attacker cannot choose."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

# At some 200 bytes each; beyond it the bucket that was asked for longest ago is forgotten, which is also the fullest.
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
