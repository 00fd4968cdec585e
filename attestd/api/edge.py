"""The edge: what stands between a connection and the routes, as plain ASGI.

It names each request, calls the routes that carry the load without a framework in between, makes a problem of every
error, counts, and logs. Nothing that is answered depends on Host or X-Forwarded-*, which are never read; there is
no CORS, because no page of another origin is a client.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from itertools import count
from time import monotonic, perf_counter
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attestd.api.access import rate_refusal
from attestd.api.exchange import EXCHANGE, Exchange, Site
from attestd.api.intake import Disconnected
from attestd.api.keys import marks
from attestd.api.logs import FIELDS
from attestd.api.problem import NO_SNIFFING, Answer, Headers, internal_failure, refusal
from attestd.codec import Json
from attestd.errors import AttestdError, Reason, RequestRefused
from attestd.metrics import LimitScope

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

_log: Final = logging.getLogger(__name__)

_UNMATCHED: Final = "unmatched"
# Probes come from few addresses, and must not be told to wait; what they cost is bounded otherwise (limits.py).
_UNLIMITED: Final = frozenset({"/healthz", "/healthz/live", "/healthz/ready", "/metrics"})
_REFUSED: Final = 400
_DISCONNECTED: Final = 499  # as nginx counts it; never sent


class Edge:
    """One listener: the ASGI application that uvicorn runs."""

    def __init__(self, site: Site, app: ASGIApp, direct: Mapping[tuple[str, str], Endpoint] | None = None) -> None:
        """Take the application behind the edge, and which of its routes are called without it.

        `direct` maps method and path to the very function that the application documents as that route.
        """
        self.metrics = site.metrics
        self.marks = marks(site.settings)
        self._site = site
        self._app = app
        self._direct = direct or {}
        self._prefix = secrets.token_hex(6)
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = perf_counter()
        exchange = scope[EXCHANGE] = Exchange(self._site, f"{self._prefix}-{next(self._numbers):x}")
        endpoint = None if scope["query_string"] else self._direct.get((scope["method"], scope["path"]))

        def tell(status: int) -> None:
            route = _template(scope) if endpoint is None else scope["path"]
            seconds = perf_counter() - started
            self.metrics.answered(route, status, seconds)
            _log_request(scope, exchange, route, status, seconds)

        outgoing = _Outgoing(send, exchange.request_id, self.marks, tell)
        try:
            self._admit(scope)
            if endpoint is None:
                await self._app(scope, receive, outgoing)
            else:
                response = await endpoint(Request(scope, receive))
                await response(scope, receive, outgoing)
        except AttestdError as error:
            await refuse(exchange, error)(scope, receive, outgoing)
        except Disconnected:
            tell(_DISCONNECTED)
        except Exception:  # noqa: BLE001 - whatever it is, the peer gets a problem and the log the rest
            _log.exception("request failed", extra={FIELDS: {"request": exchange.request_id}})
            exchange.reason = Reason.INTERNAL
            if not outgoing.started:
                await internal_failure()(scope, receive, outgoing)
        finally:
            exchange.release()

    def _admit(self, scope: Scope) -> None:
        """Refuse a path that is written in another way than ours, and too many requests from one address."""
        # Only a colon is ever escaped by clients of ours; any other escape hides something (attacks.md, A02, A11).
        if b"%" in scope["raw_path"].replace(b"%3A", b"").replace(b"%3a", b""):
            raise RequestRefused(Reason.REQUEST_PATH, found="an escaped path", wanted="a path of the API reference")
        if scope["path"] not in _UNLIMITED and self._site.per_address.wait(address_of(scope), monotonic()):
            raise rate_refusal(self._site, LimitScope.ADDRESS)


class _Outgoing:
    """Where an answer goes: names the request in it, and tells of it before the peer can know."""

    def __init__(self, send: Send, request_id: str, marks: Headers, tell: Callable[[int], None]) -> None:
        self.started = False
        self._send = send
        self._headers = [NO_SNIFFING, (b"x-request-id", request_id.encode()), *marks]
        self._tell = tell

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self._tell(message["status"])
            message["headers"] = [*message["headers"], *self._headers]
        await self._send(message)


def refuse(exchange: Exchange, error: AttestdError) -> Answer:
    """Return the answer to an error, and remember the reason for the log."""
    exchange.reason = error.reason
    return refusal(error)


def _template(scope: Scope) -> str:
    route = scope.get("route")
    return _UNMATCHED if route is None else str(route.path_format)


def address_of(scope: Scope) -> str:
    """Return whom to count: one IPv4 address, or the network of an IPv6 address, which one customer has whole."""
    host = str(scope["client"][0]) if scope["client"] else ""
    if ":" not in host:
        return host
    return str(int(ip_address(host.partition("%")[0])) >> 64)


def _log_request(scope: Scope, exchange: Exchange, route: str, status: int, seconds: float) -> None:
    """Log a request. Reads that go well are counted only: who asks for which key is nobody's business."""
    level = logging.DEBUG if scope["method"] == "GET" and status < _REFUSED else logging.INFO
    if not _log.isEnabledFor(level):
        return
    caller = exchange.caller
    fields: dict[str, Json] = {
        "request": exchange.request_id,
        "method": scope["method"],
        "route": route,
        "status": status,
        "milliseconds": round(seconds * 1000),
        "address": scope["client"][0] if scope["client"] else None,
        "api_key": None if caller is None else caller.api_key_id,
        "provider": None if caller is None else caller.provider,
        "reason": None if exchange.reason is None else exchange.reason.value,
        "evidence": exchange.evidence,
    }
    _log.log(level, "request", extra={FIELDS: fields})
