"""The log as files: checkpoint, tiles, bundles of records, as any client of C2SP tlog-tiles reads them.

Nothing is served beyond the last checkpoint: what it does not cover, nobody has been promised.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from attestd.api.describe import problems
from attestd.api.exchange import site_of
from attestd.api.keys import MAX_AGE
from attestd.api.problem import Answer, nothing_here
from attestd.errors import Malformed
from attestd.registry import epochs, log
from attestd.registry.database import Transaction
from attestd.transparency.tiles import TILE_WIDTH, Tile, parse_path, tile_width

_SHORT: Final = (b"cache-control", b"public, max-age=%d" % MAX_AGE)
# A full tile never changes, nor does what is below it.
_FOR_GOOD: Final = (b"cache-control", b"public, max-age=31536000, immutable")
_BYTES: Final = (b"content-type", b"application/octet-stream")
_NOTE: Final = (b"content-type", b"text/plain; charset=utf-8")

TileLevel = Annotated[str, Path(pattern=r"^[0-7]$")]
TilePath = Annotated[
    str,
    Path(
        pattern=r"^(?:x[0-9]{3}/){0,6}[0-9]{3}(?:\.p/[1-9][0-9]{0,2})?$",
        description="Groups of three digits, all but the last behind an x; .p/ and the width where it is not full",
    ),
]


def _content(kind: str, schema: dict[str, Any], description: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": description, "content": {kind: {"schema": schema}}}, **problems()}


def _octets(description: str) -> dict[int | str, dict[str, Any]]:
    return _content("application/octet-stream", {"type": "string", "format": "binary"}, description)


router = APIRouter()


@router.get("/v1/log/checkpoint", responses=_content("text/plain", {"type": "string"}, "A signed note"))
async def get_checkpoint(request: Request) -> Response:
    """Return the last checkpoint of the log: origin, size and root, signed by the log's own key (C2SP tlog-checkpoint).

    The key is in `/.well-known/attestd`. There is none in the first moments of a new registry.
    """
    newest = await site_of(request).registrar.read(epochs.newest)
    if newest is None:
        raise nothing_here()
    return Answer(200, newest.note, [_NOTE, _SHORT])


@router.get("/v1/log/tile/entries/{index:path}", responses=_octets("Records, each behind its length of two bytes"))
async def get_entries(request: Request, index: TilePath) -> Response:
    """Return a bundle of records below a tile (C2SP tlog-tiles, Log Entries)."""
    return await _serve(request, f"tile/entries/{index}")


@router.get("/v1/log/tile/{level}/{index:path}", responses=_octets("Hashes of 32 bytes"))
async def get_tile(request: Request, level: TileLevel, index: TilePath) -> Response:
    """Return a tile of hashes (C2SP tlog-tiles, Merkle Tree)."""
    return await _serve(request, f"tile/{level}/{index}")


async def _serve(request: Request, path: str) -> Answer:
    try:
        tile = parse_path(path)
    except Malformed:
        raise nothing_here() from None
    body = await site_of(request).registrar.search(_read, tile)
    if body is None:
        raise nothing_here()
    return Answer(200, body, [_BYTES, _FOR_GOOD if tile.width == TILE_WIDTH else _SHORT])


def _read(transaction: Transaction, tile: Tile) -> bytes | None:
    newest = epochs.newest(transaction)
    if newest is None or tile.width > tile_width(tile.level or 0, tile.index, newest.checkpoint.tree_size):
        return None
    if tile.level is None:
        return log.entries(transaction, tile.index, tile.width)
    return log.tile(transaction, tile.level, tile.index, tile.width)
