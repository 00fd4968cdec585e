"""The two applications behind the edge, the public one and the operator's, made of the same parts."""

from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from attestd import __version__
from attestd.api import admin, cosignatures, log_files, monitoring, public, reference
from attestd.api.describe import openapi
from attestd.api.edge import Edge, refuse
from attestd.api.exchange import Site, exchange_of
from attestd.api.intake import require_plain_query, unfit
from attestd.api.problem import JSON_HEADER, Answer, internal_failure, nothing_here, refusal
from attestd.errors import AttestdError, Malformed, Reason, RequestRefused
from attestd.registrar.documents import dump

_METHOD_NOT_ALLOWED: Final = 405
_NOT_FOUND: Final = 404
# FastAPI would export what fails, messages and all, to wherever an environment variable says.
_NO_TELEMETRY: Final[Any] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


def public_edge(site: Site) -> Edge:
    """Return what the public listener serves."""
    app = _app(
        "attestd",
        "Verifies confidential computing evidence and registers the keys that it proves.",
        monitoring.described,
        public.router,
    )
    return Edge(site, app, public.DIRECT)


def admin_edge(site: Site) -> Edge:
    """Return what the admin listener serves: nothing of it is on the public one."""
    app = _app(
        "attestd, for its operator",
        "Approvals, providers, API keys, revocations and the audit trail.",
        monitoring.described,
        admin.router,
    )
    return Edge(site, app)


def cosigner_edge(site: Site) -> Edge:
    """Return what a verifier of another registry serves: signatures, and its copy of the log."""
    app = _app(
        "attestd, as a verifier of another registry",
        "Verifies what a registry would publish, and signs it.",
        cosignatures.router,
        log_files.router,
    )
    return Edge(site, app)


def _app(title: str, description: str, *routers: APIRouter) -> FastAPI:
    app = FastAPI(
        title=title,
        description=description,
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        dependencies=[Depends(require_plain_query)],
    )
    parts = (monitoring.router, *routers)
    for part in parts:
        app.include_router(part)
    _add_reference(app)
    _add_refusals(app, [route for part in parts for route in part.routes])
    return app


def _add_reference(app: FastAPI) -> None:
    async def document(request: Request) -> Response:  # noqa: ARG001 - every route takes it
        return Answer(200, dump(openapi(app)), [JSON_HEADER, (b"cache-control", b"no-cache")])

    async def docs(request: Request) -> Response:  # noqa: ARG001 - every route takes it
        return Answer(200, reference.page(openapi(app)), reference.HEADERS)

    app.add_api_route("/openapi.json", document, include_in_schema=False)
    app.add_api_route("/docs", docs, include_in_schema=False)


def _add_refusals(app: FastAPI, routes: list[Any]) -> None:
    """Make a problem of everything that FastAPI and Starlette refuse by themselves."""
    table = [(route.path_regex, route.methods or set()) for route in routes if isinstance(route, APIRoute)]

    async def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, AttestdError):
            return refuse(exchange_of(request), error)
        if isinstance(error, RequestValidationError):
            return refuse(exchange_of(request), _bad_parameters(error))
        if isinstance(error, HTTPException) and error.status_code == _METHOD_NOT_ALLOWED:
            allowed = {method for regex, methods in table if regex.match(request.url.path) for method in methods}
            return _wrong_method(request, sorted(allowed))
        if isinstance(error, HTTPException) and error.status_code == _NOT_FOUND:
            return refuse(exchange_of(request), nothing_here())
        return refuse(
            exchange_of(request), Malformed(Reason.REQUEST_MALFORMED, found="another request", wanted="one of the API")
        )

    async def failed(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the edge logs it
        exchange_of(request).reason = Reason.INTERNAL
        return internal_failure()

    for kind in (AttestdError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, refused)
    app.add_exception_handler(Exception, failed)


def _bad_parameters(error: RequestValidationError) -> AttestdError:
    errors = error.errors()
    if any(one["loc"][0] == "path" for one in errors):
        return nothing_here()
    return unfit(errors)


def _wrong_method(request: Request, allowed: list[str]) -> Answer:
    error = RequestRefused(Reason.REQUEST_METHOD, found="another method", wanted=" or ".join(allowed))
    exchange_of(request).reason = error.reason
    return refusal(error, headers=[(b"allow", ", ".join(allowed).encode())])
