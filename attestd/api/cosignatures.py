"""The one route of a verifier of another registry: what that would publish comes in, a signature or a reason goes out.

No API key is asked for: nothing is done before it is known that the registry's own verifier has signed what comes.
"""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from attestd.api import bodies, schemas
from attestd.api.describe import body_of, problems
from attestd.api.exchange import site_of
from attestd.api.intake import read_json
from attestd.api.problem import fresh, nothing_here
from attestd.codec import dump_base64, load_base64
from attestd.registrar.cosigner import Asked
from attestd.registrar.documents import dump
from attestd.transparency.checkpoint import load_checkpoint
from attestd.tvm.boc import load_boc

router = APIRouter()


@router.post(
    "/v1/cosignatures",
    responses={200: {"model": schemas.Cosignature}, **problems(body=True, more=(422,))},
    openapi_extra=body_of(bodies.CosignatureBody),
)
async def cosign(request: Request) -> Response:
    """Sign a candidate for the next epoch, once everything in it was verified; the same one again is answered alike."""
    body = await read_json(request, bodies.CosignatureBody)
    (cell,) = load_boc(load_base64(body.checkpoint), max_cells=1)
    asked = Asked(load_checkpoint(cell), body.note.encode(), load_base64(body.signature))
    cosigning = site_of(request).cosigning
    if cosigning is None:
        raise nothing_here()
    signature = await cosigning.sign(asked)
    return fresh(200, dump({"verifier": signature.verifier.hex(), "signature": dump_base64(signature.signature)}))
