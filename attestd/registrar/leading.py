"""Who publishes, of all processes on one registry: the lease, and the writes that are made under its token."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Concatenate, Final, ParamSpec, TypeVar

from attestd.errors import Reason, Unavailable
from attestd.registry import Registry, publication
from attestd.registry.database import Transaction
from attestd.registry.publication import Lease

P = ParamSpec("P")
T = TypeVar("T")

# Seconds: short enough that a process which is gone is not missed for long. A round that takes longer keeps it.
_LEASE: Final = 30
_KEPT_EVERY: Final = 10


class Leader:
    """One process's claim to lead, and its way to the registry."""

    def __init__(self, registry: Registry) -> None:
        """Lead nothing yet."""
        self._registry = registry
        self._holder = secrets.token_hex(8)
        self._lease: Lease | None = None

    @property
    def has_lease(self) -> bool:
        """Whether this process has led so far, and has not heard of another."""
        return self._lease is not None

    async def may_lead(self, at: datetime) -> bool:
        """Tell whether the lease could be taken, or kept."""
        return self.has_lease or await self.read(publication.is_free, self._holder, at)

    async def leads(self, at: datetime) -> bool:
        """Take the lease, or keep it for longer when a third of it is over."""
        lease = self._lease
        if lease is None or not _LEASE * 2 / 3 < (lease.expires_at - at).total_seconds() <= _LEASE:
            self._lease = await self._write(publication.lead, self._holder, at, seconds=_LEASE)
        return self._lease is not None

    @asynccontextmanager
    async def kept(self, clock: Callable[[], datetime]) -> AsyncIterator[None]:
        """Keep the lease until the block ends, however long others are waited for.

        It is never taken anew: what was read before another had led would be acted upon.
        """
        keeping = asyncio.create_task(self._keep(clock))
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)  # the next write says what went wrong

    async def _keep(self, clock: Callable[[], datetime]) -> None:
        while True:
            await asyncio.sleep(_KEPT_EVERY)
            self._lease = await self.write(publication.lead, self._holder, clock(), seconds=_LEASE)

    async def resign(self, at: datetime) -> None:
        """Let another process lead at once."""
        lease, self._lease = self._lease, None
        if lease is not None:
            await self._write(publication.resign, lease, at)

    async def write(
        self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Write as the leader that this process believes itself to be. Raises `Unavailable` (`chain.lease_lost`)."""
        if self._lease is None:
            raise Unavailable(Reason.LEASE_LOST, found="no lease", wanted="the lease that was taken")
        try:
            return await self._write(publication.led, self._lease, function, *args, **kwargs)
        except Unavailable as error:
            if error.reason is Reason.LEASE_LOST:
                self._lease = None
            raise

    async def read(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Read from the registry."""
        if self._registry.embedded:
            return self._registry.read(function, *args, **kwargs)
        return await asyncio.to_thread(self._registry.read, function, *args, **kwargs)

    async def _write(
        self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await asyncio.wrap_future(self._registry.write(function, *args, **kwargs))
