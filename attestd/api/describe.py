"""The OpenAPI document: what FastAPI finds in the routes, with bodies and problems as they really are."""

from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from attestd import __version__
from attestd.api.intake import CBOR, JSON, TEXT, TOML
from attestd.api.schemas import Problem

_REFERENCE: Final = "#/components/schemas/{model}"
_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}

_MEANINGS: Final = {
    400: "Malformed",
    401: "No API key that is known and in force",
    403: "Not yours, or not affirming",
    404: "There is nothing here",
    409: "Used, expired, another's, or changed meanwhile",
    413: "Too large",
    415: "Another media type",
    422: "Parsed, but not authentic",
    429: "Too many requests",
    503: "Endorsements or database unavailable; nothing was recorded",
}
_READS: Final = (400, 404, 429, 503)
_KEYED: Final = (401, 403)
_WRITES: Final = (409, 413, 415)

# Bodies are parsed by the routes themselves, so FastAPI does not see these.
_bodies: list[type[BaseModel]] = []


def problems(*, keyed: bool = False, body: bool = False, more: Sequence[int] = ()) -> dict[int | str, dict[str, Any]]:
    """Return the refusals of a route, all of one shape."""
    statuses = sorted({*_READS, *(_KEYED if keyed else ()), *(_WRITES if body else ()), *more})
    described: dict[int | str, dict[str, Any]] = {
        status: {"description": _MEANINGS[status], "content": _PROBLEM} for status in statuses
    }
    described["default"] = {"description": "Any other refusal", "content": _PROBLEM}
    return described


def reference(model: type[BaseModel], description: str) -> dict[str, Any]:
    """Return a refusal that may carry more than the members of a problem."""
    _bodies.append(model)
    either = [{"$ref": _REFERENCE.format(model=name)} for name in (model.__name__, Problem.__name__)]
    return {"description": description, "content": {"application/problem+json": {"schema": {"anyOf": either}}}}


def body_of(model: type[BaseModel], *, cbor: bool = False) -> dict[str, Any]:
    """Return how the body of a route is described."""
    _bodies.append(model)
    content: dict[str, Any] = {JSON: {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}}
    if cbor:
        content[CBOR] = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": True, "content": content}}


def toml_body() -> dict[str, Any]:
    """Return how a policy is described: the file as it is, so that its digest is the digest of the body."""
    text: dict[str, Any] = {"schema": {"type": "string", "minLength": 1}}
    return {"requestBody": {"required": True, "content": {TOML: text, TEXT: text}}}


def openapi(app: FastAPI) -> dict[str, Any]:
    """Return the document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=__version__, description=app.description, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        models = [(model, "validation") for model in (*_bodies, Problem)]
        _, definitions = models_json_schema(models, ref_template=_REFERENCE)  # type: ignore[arg-type]
        schemas.update(definitions.get("$defs", {}))
        # FastAPI's own refusal of parameters, which is never sent.
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for operations in document["paths"].values():
            for operation in operations.values():
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        app.openapi_schema = document
    return app.openapi_schema
