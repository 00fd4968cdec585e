"""One request and its answer, as the edge and the routes know it; and the service that they belong to."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.requests import Request

from attestd.api.keys import KeyAnswers
from attestd.api.limits import RateLimit
from attestd.errors import Reason, Unavailable
from attestd.metrics import Metrics
from attestd.registrar import Registrar, Upkeep
from attestd.registry.values import Caller
from attestd.settings import Settings

# Under which key of the ASGI scope the exchange travels.
EXCHANGE: Final = "attestd"
# Forty of the largest pieces of evidence, or some ten thousand of the usual size.
MAX_HELD: Final = 64 * 1024 * 1024


class Bodies:
    """How much memory the bodies of all requests take that are being served."""

    def __init__(self) -> None:
        """Start with none."""
        self._held = 0

    def hold(self, size: int) -> None:
        """Count bytes in. Raises `Unavailable` (`service.overloaded`), and counts nothing, where they are too many."""
        if self._held + size > MAX_HELD:
            raise Unavailable(
                Reason.OVERLOADED, found="larger requests than fit at once", wanted="fewer or smaller ones at a time"
            )
        self._held += size

    def release(self, size: int) -> None:
        """Count bytes out."""
        self._held -= size


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all requests to one service share."""

    settings: Settings
    registrar: Registrar
    upkeep: Upkeep
    metrics: Metrics
    per_key: RateLimit
    per_address: RateLimit
    answers: KeyAnswers
    bodies: Bodies
    clock: Callable[[], datetime]


@dataclass(slots=True)
class Exchange:
    """What is known of one request: the routes add to it, and the edge logs it in the end."""

    site: Site
    request_id: str
    caller: Caller | None = None
    reason: Reason | None = None
    evidence: str | None = None  # its digest, never itself
    held: int = 0

    def hold(self, size: int) -> None:
        """Count bytes of the body that are in memory until the request is answered."""
        self.site.bodies.hold(size)
        self.held += size

    def release(self) -> None:
        """The request is answered."""
        self.site.bodies.release(self.held)


def exchange_of(request: Request) -> Exchange:
    """Return the exchange that a request belongs to."""
    exchange: Exchange = request.scope[EXCHANGE]
    return exchange


def site_of(request: Request) -> Site:
    """Return the service that a request came to."""
    return exchange_of(request).site
