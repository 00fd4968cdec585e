"""Writes on their way from the event loop to the registry's writer: handed over together, returned together.

The loop and the writer's thread share one interpreter. A write that is handed over by itself wakes the writer in the
middle of the next request, so that both take turns over every statement, and is committed by itself. So a write waits
until the loop has done what it had begun and, while the writer is busy, until that returns. This costs it next to
nothing: what is durable sooner is not answered sooner, because it is the loop that answers.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, TypeAlias, TypeVar

from attestd.errors import Unavailable
from attestd.registry import Registry
from attestd.registry.database import Transaction

P = ParamSpec("P")
T = TypeVar("T")

_Handed: TypeAlias = list[tuple["asyncio.Future[Any]", "Future[Any]"]]

# Seconds after which the writer is not busy but in trouble. What waits goes into its queue then, which is bounded, and
# where the time runs after which nobody is kept waiting.
_PATIENCE: Final = 0.1


class Handover:
    """Between one event loop and one registry."""

    def __init__(self, registry: Registry) -> None:
        """Start with nothing on its way."""
        self._registry = registry
        self._waiting: list[tuple[asyncio.Future[Any], Callable[[], Future[Any]]]] = []
        self._patience: asyncio.TimerHandle | None = None  # while the writer is busy

    async def write(
        self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Write to the registry; returns when it is durable. Raises what `Registry.write` and its future raise."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        if not self._waiting and self._patience is None:
            loop.call_soon(self._hand_over)
        self._waiting.append((outcome, partial(self._registry.write, function, *args, **kwargs)))
        return await outcome

    def _hand_over(self) -> None:
        loop = asyncio.get_running_loop()
        waiting, self._waiting = self._waiting, []
        handed: _Handed = []
        for outcome, write in waiting:
            if outcome.cancelled():
                continue
            try:
                handed.append((outcome, write()))
            except Unavailable as error:
                outcome.set_exception(error)
        if handed:
            self._patience = loop.call_later(_PATIENCE, self._lose_patience)
            # The writer keeps the order: when the last has returned, all have.
            handed[-1][1].add_done_callback(lambda _: loop.call_soon_threadsafe(self._return, handed))

    def _return(self, handed: _Handed) -> None:
        for outcome, written in handed:
            if outcome.cancelled():
                continue
            error = written.exception()
            if error is None:
                outcome.set_result(written.result())
            else:
                outcome.set_exception(error)
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._hand_over)

    def _lose_patience(self) -> None:
        self._patience = None
        if self._waiting:
            self._hand_over()
