"""One request and its answer, as the edge and the routes know it; and the service that they belong to."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.requests import Request

from attestd.api.keys import KeyAnswers
from attestd.api.limits import RateLimit
from attestd.errors import Reason
from attestd.metrics import Metrics
from attestd.registrar import Registrar, Upkeep
from attestd.registry.values import Caller
from attestd.settings import Settings

# Under which key of the ASGI scope the exchange travels.
EXCHANGE: Final = "attestd"


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
    clock: Callable[[], datetime]


@dataclass(slots=True)
class Exchange:
    """What is known of one request: the routes add to it, and the edge logs it in the end."""

    site: Site
    request_id: str
    caller: Caller | None = None
    reason: Reason | None = None
    evidence: str | None = None  # its digest, never itself


def exchange_of(request: Request) -> Exchange:
    """Return the exchange that a request belongs to."""
    exchange: Exchange = request.scope[EXCHANGE]
    return exchange


def site_of(request: Request) -> Site:
    """Return the service that a request came to."""
    return exchange_of(request).site
