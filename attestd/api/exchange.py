"""One request and its answer, as the edge and the routes know it; and the service that they belong to."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.requests import Request

from attestd.api.keys import KeyAnswers
from attestd.api.limits import RateLimit, Shared, Spared
from attestd.api.streams import Streams
from attestd.errors import Reason, RequestRefused, Unavailable
from attestd.metrics import Metrics
from attestd.registrar import CosigningService, Publishing, Registrar, Upkeep
from attestd.registry.values import Caller
from attestd.settings import Settings

# Under which key of the ASGI scope the exchange travels.
EXCHANGE: Final = "attestd"
# Forty of the largest pieces of evidence, or some ten thousand of the usual size.
MAX_HELD: Final = 64 * 1024 * 1024
# So that nobody's half-sent requests keep everybody else's out.
MAX_HELD_OF_ONE: Final = MAX_HELD // 4


class Bodies:
    """How much memory the bodies of all requests take that are being served, and those of each API key."""

    def __init__(self) -> None:
        """Start with none."""
        self._held = 0
        self._held_of: Counter[str] = Counter()

    def hold(self, caller: str, size: int) -> None:
        """Count bytes in, or count nothing where they are too many.

        Raises `RequestRefused` (`request.rate`) for too many of one caller, `Unavailable` (`service.overloaded`) for
        too many of all.
        """
        wanted = "fewer or smaller ones at a time"
        if self._held_of[caller] + size > MAX_HELD_OF_ONE:
            raise RequestRefused(
                Reason.REQUEST_RATE, found="larger requests of one API key than it may have at once", wanted=wanted
            )
        if self._held + size > MAX_HELD:
            raise Unavailable(Reason.OVERLOADED, found="larger requests than fit at once", wanted=wanted)
        self._held += size
        self._held_of[caller] += size

    def release(self, caller: str, size: int) -> None:
        """Count bytes out."""
        self._held -= size
        self._held_of[caller] -= size
        if not self._held_of[caller]:
            del self._held_of[caller]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all requests to one service share."""

    settings: Settings
    registrar: Registrar
    upkeep: Upkeep
    publishing: Publishing
    cosigning: (
        CosigningService | None
    )  # of a verifier, which serves that and its copy of the log, and publishes nothing
    metrics: Metrics
    per_key: RateLimit
    per_address: RateLimit
    answers: KeyAnswers
    streams: Streams
    bodies: Bodies
    exposition: Spared  # of the metrics
    database: Shared  # whether it answers
    clock: Callable[[], datetime]

    @property
    def is_published(self) -> bool:
        """Whether there is a chain that epochs are published to."""
        return self.settings.chain is not None


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
        """Count bytes of the body that are in memory until the request is answered. Raises as `Bodies.hold` does."""
        self.site.bodies.hold(self._payer, size)
        self.held += size

    def release(self) -> None:
        """The request is answered."""
        if self.held:
            self.site.bodies.release(self._payer, self.held)

    @property
    def _payer(self) -> str:
        """On whose account the body is: nobody's is read before its API key is known."""
        return self.caller.api_key_id if self.caller else ""


def exchange_of(request: Request) -> Exchange:
    """Return the exchange that a request belongs to."""
    exchange: Exchange = request.scope[EXCHANGE]
    return exchange


def site_of(request: Request) -> Site:
    """Return the service that a request came to."""
    return exchange_of(request).site
