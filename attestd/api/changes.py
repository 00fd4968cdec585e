"""`GET /v1/changes`: the records of the log as they are sequenced, as server-sent events (HTML, section 9.2)."""

from typing import Annotated, Final

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from attestd.api.describe import problems
from attestd.api.edge import address_of
from attestd.api.exchange import site_of
from attestd.api.streams import Streams
from attestd.errors import Reason, RequestRefused
from attestd.registry import sequencing

_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
_DESCRIBED: Final = {
    "description": "Events: `id` is the index of a record, `event` its decision, `data` the record itself",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}

EventId = Annotated[str | None, Header(alias="Last-Event-ID", pattern=r"^(?:0|[1-9][0-9]{0,17})$")]

router = APIRouter()


class ChangesQuery(BaseModel):
    """From which record on: those of the past, too."""

    model_config = ConfigDict(extra="forbid")

    since: Annotated[int, Field(ge=0, lt=10**18)] | None = None


@router.get("/v1/changes", responses={200: _DESCRIBED, **problems()})
async def get_changes(
    request: Request, query: Annotated[ChangesQuery, Query()], last_event_id: EventId = None
) -> Response:
    """Return every decision as it is sequenced, as server-sent events, until either side has enough.

    Without more, from now on. `since` is the index of the first record that is wanted; `Last-Event-ID`, which clients
    send when they come back, that of the last one that they have, and goes before `since`.
    """
    site = site_of(request)
    size = (await site.registrar.read(sequencing.state)).size
    first = size if query.since is None else query.since
    if last_event_id is not None:
        first = int(last_event_id) + 1
    if first > size:
        raise RequestRefused(
            Reason.REQUEST_MALFORMED, found=f"an index beyond the {size} records of this log", wanted="one of its own"
        )
    return _Stream(site.streams, address_of(request.scope), first)


class _Stream(StreamingResponse):
    """A stream, counted as long as it is being sent."""

    def __init__(self, streams: Streams, address: str, first: int) -> None:
        super().__init__(streams.events(first), headers=_HEADERS, media_type="text/event-stream")
        self._streams = streams
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.opened(self._address):
            await super().__call__(scope, receive, send)
