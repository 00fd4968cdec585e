"""Who publishes, of all processes on one registry: the lease, and the writes that are made under its token."""

import asyncio
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Concatenate, Final, ParamSpec, TypeVar

from attestd.errors import Reason, Unavailable
from attestd.registry import Registry, publication
from attestd.registry.database import Transaction
from attestd.registry.publication import Lease

P = ParamSpec("P")
T = TypeVar("T")

# Longer than a round takes, and short enough that another process is not missed for long.
_LEASE: Final = 30


class Leader:
    """One process's claim to lead, and its way to the registry."""

    def __init__(self, registry: Registry) -> None:
        """Lead nothing yet."""
        self._registry = registry
        self._holder = secrets.token_hex(8)
        self._lease: Lease | None = None

    async def leads(self, at: datetime) -> bool:
        """Take the lease, or keep it for longer when a third of it is over."""
        lease = self._lease
        if lease is None or not _LEASE * 2 / 3 < (lease.expires_at - at).total_seconds() <= _LEASE:
            self._lease = await self._write(publication.lead, self._holder, at, seconds=_LEASE)
        return self._lease is not None

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
            raise ValueError("a write without a lease")
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
