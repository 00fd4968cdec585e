"""Who calls, and what they may do."""

from time import monotonic
from typing import Final

from fastapi import Security
from fastapi.security import HTTPBearer
from starlette.requests import Request

from attestd.api.exchange import Site, exchange_of
from attestd.api.intake import bearer_token
from attestd.errors import Reason, RequestRefused
from attestd.metrics import LimitScope
from attestd.registry import access
from attestd.registry.values import Caller, Role

# For the OpenAPI document alone: `authenticate` reads the header.
API_KEY: Final = Security(HTTPBearer(scheme_name="ApiKey", bearerFormat="attestd_<id>_<secret>", auto_error=False))


async def authenticate(request: Request, *roles: Role) -> Caller:
    """Return who calls.

    Raises `RequestRefused`: `access.unauthenticated`, one and the same whatever is wrong with the key;
    `access.forbidden` for another role; `request.rate`.
    """
    exchange = exchange_of(request)
    site = exchange.site
    token = bearer_token(request)
    caller = await site.registrar.read(access.authenticate, token, site.registrar.now())
    exchange.caller = caller
    if caller.role not in roles:
        raise RequestRefused(Reason.FORBIDDEN, found=f"a key of the role {caller.role}", wanted=" or ".join(roles))
    if site.per_key.wait(caller.api_key_id, monotonic()):
        raise rate_refusal(site, LimitScope.KEY)
    return caller


def rate_refusal(site: Site, scope: LimitScope) -> RequestRefused:
    """Count and return the refusal of one request too many."""
    site.metrics.rate_limited.labels(scope).inc()
    return RequestRefused(Reason.REQUEST_RATE, found=f"more requests of one {scope}", wanted="fewer of them")


def provider_of(caller: Caller) -> str:
    """Return the provider of a caller whose role is provider."""
    if caller.provider is None:
        raise RequestRefused(Reason.FORBIDDEN, found="a key of no provider", wanted="a provider's key")
    return caller.provider
