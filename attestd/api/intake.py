"""What a route takes from a request: who calls, and a body of bounded size and known type."""

from collections.abc import Sequence
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from attestd.api.exchange import exchange_of
from attestd.codec import load_json
from attestd.errors import Malformed, Reason, RequestRefused

JSON: Final = "application/json"
CBOR: Final = "application/cbor"
TOML: Final = "application/toml"
TEXT: Final = "text/plain"  # what tools call TOML that do not know it
# Every JSON body but evidence is a handful of short members.
MAX_JSON_SIZE: Final = 64 * 1024

ModelT = TypeVar("ModelT", bound=BaseModel)


class Disconnected(Exception):
    """The peer went away, or was answered by the protocol, before its request was complete."""


def bearer_token(request: Request) -> str:
    """Return the API key that came along, unjudged. Raises `RequestRefused` (`access.unauthenticated`)."""
    headers = request.headers.getlist("authorization")
    scheme, _, token = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token:
        raise RequestRefused(
            Reason.UNAUTHENTICATED, found="no bearer API key", wanted="one header Authorization: Bearer <API key>"
        )
    return token


def media_type(request: Request, *accepted: str) -> str:
    """Return the type of the body. Raises `RequestRefused` (`request.media_type`) for others, and for any coding."""
    named = request.headers.get("content-type", "")
    kind, _, parameters = named.partition(";")
    kind = kind.strip().lower()
    plain = parameters.strip().lower() in ("", "charset=utf-8")
    if kind not in accepted or not plain:
        raise RequestRefused(Reason.REQUEST_TYPE, found="another media type", wanted=" or ".join(accepted))
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        # What is compressed is of unknown size until it is too late.
        raise RequestRefused(Reason.REQUEST_TYPE, found="an encoded body", wanted="no Content-Encoding")
    return kind


async def read_body(request: Request, most: int) -> bytes:
    """Read the body, never holding more than `most` bytes and what one read adds.

    Raises `RequestRefused` (`request.size`), before anything is read where the length is announced. Where the bodies of
    all requests together take more memory than they may, `Unavailable` (`service.overloaded`); where those that came
    with one API key do, `RequestRefused` (`request.rate`).
    """
    exchange = exchange_of(request)
    announced = request.headers.get("content-length", "0")
    if not announced.isdigit() or len(announced) > len(str(most)) or int(announced) > most:
        raise _too_large(most)
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise Disconnected
        part = message["body"]
        size += len(part)
        if size > most:
            raise _too_large(most)
        exchange.hold(len(part))
        parts.append(part)
        more = message["more_body"]
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(most: int) -> RequestRefused:
    return RequestRefused(Reason.REQUEST_SIZE, found="a larger body", wanted=f"at most {most} bytes")


async def read_json(request: Request, model: type[ModelT]) -> ModelT:
    """Read a strict JSON body of the shape of `model`.

    Raises `Malformed` (`json.*`), and what `media_type` and `read_body` raise. Nothing of the input is named but the
    members that the model has.
    """
    media_type(request, JSON)
    raw = await read_body(request, MAX_JSON_SIZE)
    load_json(raw)  # duplicates, depth, numbers and surrogates, which pydantic lets pass
    try:
        return model.model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise unfit(error.errors(include_url=False, include_context=False, include_input=False)) from None


def unfit(errors: Sequence[ErrorDetails]) -> Malformed:
    """Return the refusal of members or parameters that do not fit; their names and values are not echoed."""
    return Malformed(
        Reason.JSON_SCHEMA,
        found=f"{len(errors)} members or parameters that do not fit, the first: {errors[0]['type']}",
        wanted="those in the API reference at /docs",
    )


def require_plain_query(request: Request) -> None:
    """Refuse parameters that the route does not take, and any that is given twice (attacks.md, A07)."""
    names = [name for name, _ in request.query_params.multi_items()]
    takes_any = bool(request.scope["route"].dependant.query_params)
    if (names and not takes_any) or len(names) != len(set(names)):
        raise Malformed(
            Reason.REQUEST_MALFORMED, found="an unknown or repeated parameter", wanted="those of the API reference"
        )
