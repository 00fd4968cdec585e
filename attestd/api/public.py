"""The routes of the public listener, but for monitoring."""

import hashlib
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from attestd.api import bodies, chain, changes, log_files, schemas
from attestd.api.access import API_KEY, authenticate, provider_of
from attestd.api.describe import body_of, problems, reference
from attestd.api.edge import Endpoint
from attestd.api.exchange import exchange_of, site_of
from attestd.api.intake import CBOR, JSON, TOML, media_type, read_body
from attestd.api.keys import KEY_ROUTE, cache_control, entity_tag, key_answer, key_document, matches
from attestd.api.lists import KeyQuery, OneKeyQuery, PageQuery, export_model, export_policy, page, page_document
from attestd.api.problem import JSON_HEADER, Answer, Headers, fresh, nothing_here, problem, refused
from attestd.codec import Json, dump_base64, dump_base64url, dump_digest, dump_time
from attestd.errors import AttestdError, Reason, RequestRefused
from attestd.registrar.documents import dump
from attestd.registry import catalogue, keys, published, results
from attestd.registry.values import KeyState, Recorded, Role
from attestd.result import Tier

# A quote of 64 KiB and an event log of 1 MiB in base64 (attestd/evidence.py), and a little for the rest.
MAX_EVIDENCE_SIZE: Final = 1536 * 1024
# The same with Intel's seven documents, which together have less than 128 KiB, room for CRLs to grow, and a policy.
MAX_APPRAISAL_SIZE: Final = 4 * 1024 * 1024

ResultDigest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
ResultId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{22}$")]
PolicyName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]

router = APIRouter()


@router.post(
    "/v1/challenges",
    status_code=201,
    responses={201: {"model": schemas.IssuedChallenge}, **problems(keyed=True)},
    dependencies=[API_KEY],
)
async def issue_challenge(request: Request) -> Response:
    """Issue a challenge: 32 random bytes that one piece of evidence of this provider may answer, soon and once."""
    caller = await authenticate(request, Role.PROVIDER)
    site = site_of(request)
    challenge = await site.registrar.issue_challenge(provider_of(caller))
    document: Json = {
        "challenge": dump_base64url(challenge.value),
        "registry_id": site.settings.registry_id,
        "expires_at": dump_time(challenge.expires_at),
        "simulated": site.settings.simulated,
    }
    return fresh(201, dump(document))


@router.post(
    "/v1/evidence",
    status_code=201,
    responses={
        200: {"model": schemas.ResultDocument, "description": "The same evidence again: the first result"},
        201: {"model": schemas.ResultDocument},
        **problems(keyed=True, body=True, more=(422,)),
        403: reference(schemas.NotAffirming, "Not yours; or not affirming, with the whole result"),
    },
    openapi_extra=body_of(bodies.EvidenceBody, cbor=True),
    dependencies=[API_KEY],
)
async def submit_evidence(request: Request) -> Response:
    """Verify evidence, appraise it, and register its key."""
    caller = await authenticate(request, Role.PROVIDER)
    provider = provider_of(caller)
    kind = media_type(request, JSON, CBOR)
    raw = await read_body(request, MAX_EVIDENCE_SIZE)
    exchange = exchange_of(request)
    try:
        recorded = await exchange.site.registrar.submit(raw, provider, cbor=kind == CBOR)
    except AttestdError:
        exchange.evidence = dump_digest(hashlib.sha256(raw).digest())
        raise
    exchange.evidence = dump_digest(recorded.result.evidence_id)
    if recorded.result.tier is not Tier.AFFIRMING:
        exchange.reason = Reason.NOT_AFFIRMING
        return _not_affirming(recorded)
    location = f"/v1/results/{recorded.result.id}".encode()
    return fresh(201 if recorded.created else 200, recorded.result.document, (b"location", location))


def _not_affirming(recorded: Recorded) -> Answer:
    """Refuse with the whole result, so that whoever runs the machine sees every finding."""
    error = RequestRefused(
        Reason.NOT_AFFIRMING, found=f"a result that is {recorded.result.tier}", wanted=f"one that is {Tier.AFFIRMING}"
    )
    members = dump(problem(error, 403))
    body = members[:-1] + b',"result":' + recorded.result.document + b"}"
    return refused(403, body, Reason.NOT_AFFIRMING)


@router.post(
    "/v1/appraisals",
    responses={200: {"model": schemas.ResultDocument}, **problems(keyed=True, body=True, more=(422,))},
    openapi_extra=body_of(bodies.AppraisalBody, cbor=True),
    dependencies=[API_KEY],
)
async def appraise(request: Request) -> Response:
    """Verify and appraise evidence without registering anything, at the caller's time and with its collateral."""
    await authenticate(request, *Role)
    kind = media_type(request, JSON, CBOR)
    raw = await read_body(request, MAX_APPRAISAL_SIZE)
    document = await site_of(request).registrar.dry_run(raw, cbor=kind == CBOR)
    return fresh(200, document)


@router.get(
    "/v1/results/{result_id}",
    responses={200: {"model": schemas.ResultDocument}, **problems(keyed=True)},
    dependencies=[API_KEY],
)
async def get_result(request: Request, result_id: ResultId) -> Response:
    """Return a result with all findings: to its provider, and to auditors."""
    caller = await authenticate(request, Role.PROVIDER, Role.AUDITOR)
    result = await site_of(request).registrar.read(results.find, result_id)
    if result is None:
        raise nothing_here()
    if caller.role is Role.PROVIDER and caller.provider != result.provider:
        raise RequestRefused(Reason.FORBIDDEN, found="another provider's result", wanted="a result of your own")
    return fresh(200, result.document)


@router.get(
    "/v1/evidence/{result_digest}",
    responses={200: {"model": schemas.EvidenceDocument}, **problems(keyed=True)},
    dependencies=[API_KEY],
)
async def get_evidence(request: Request, result_digest: ResultDigest) -> Response:
    """Return what a record of the log rests on, so that it can be verified again: to auditors.

    To anybody else there is nothing here, whether there is or not: evidence tells machines apart.
    """
    try:
        await authenticate(request, Role.AUDITOR)
    except RequestRefused as error:
        if error.reason in (Reason.UNAUTHENTICATED, Reason.FORBIDDEN):
            raise nothing_here() from None
        raise
    found = await site_of(request).registrar.read(results.behind, bytes.fromhex(result_digest))
    if found is None:
        raise nothing_here()
    result, evidence = found
    return fresh(200, dump({"result": dump_base64(result.document), "evidence": dump_base64(evidence)}))


@router.get("/v1/keys", responses={200: {"model": schemas.KeyPage}, **problems()})
async def list_keys(request: Request, query: Annotated[KeyQuery, Query()]) -> Response:
    """List keys: those that are trusted now, or whatever is asked for."""
    site = site_of(request)
    at = site.registrar.now()
    as_of = _as_of(query.at, at)
    if query.at is not None and query.published is not None:
        raise _of_the_past("published")
    found, publications = await site.registrar.search(
        published.page,
        query.filters(),
        as_of,
        past=query.at is not None,
        limit=query.limit,
        cursor=query.cursor,
        is_published=site.is_published,
    )
    site.registrar.report_damage(found.damaged)
    items = [key_document(key, one, site.settings) for key, one in zip(found.items, publications, strict=True)]
    body = page_document(items, found.next, site.settings)
    until = min((key.valid_until for key in found.items), default=at)
    kept = query.state is KeyState.ACTIVE and query.at is None
    return _cacheable(request, body, cache_control(until, at, kept=kept))


@router.get(
    KEY_ROUTE,
    responses={200: {"model": schemas.KeyDocument | schemas.ProvedKeyDocument}, **problems()},
)
async def get_key(request: Request, key_id: chain.KeyId, query: Annotated[OneKeyQuery, Query()]) -> Response:
    """Return one key in whatever state it is: only `active` is trusted, and until `valid_until`.

    With `proof=true`, also what `/v1/proofs/{key_id}` answers, which has a proof for keys that are not here, too.
    """
    site = site_of(request)
    at = site.registrar.now()
    if query.at is not None:
        return await _past_key(request, bytes.fromhex(key_id), query, at)
    generation = site.registrar.registry.generation()
    found = await site.registrar.read(published.find, bytes.fromhex(key_id), at, is_published=site.is_published)
    if found is None:
        raise nothing_here()
    if query.proof == "true":
        proof = await site.registrar.search(published.prove, found.key.id, is_published=site.is_published)
        document = key_document(found.key, found.publication, site.settings) | chain.export_proof(proof)
        return _cacheable(request, dump(document), cache_control(at, at, kept=False))
    answer = key_answer(found.key, found.publication, site.settings)
    site.answers.keep(request.scope["raw_path"], answer, generation)
    return answer.answer(at, _if_none_match(request))


async def _past_key(request: Request, key_id: bytes, query: OneKeyQuery, at: datetime) -> Answer:
    if query.proof == "true":
        raise _of_the_past("proof")
    site = site_of(request)
    key = await site.registrar.read(keys.find_past, key_id, _as_of(query.at, at))
    if key is None:
        raise nothing_here()
    return _cacheable(request, dump(key_document(key, None, site.settings)), cache_control(at, at, kept=False))


def _of_the_past(name: str) -> RequestRefused:
    return RequestRefused(
        Reason.REQUEST_MALFORMED, found=f"{name} of the past", wanted=f"either at or {name}: the log has the past"
    )


def _as_of(asked: datetime | None, at: datetime) -> datetime:
    if asked is not None and asked > at:
        raise RequestRefused(Reason.REQUEST_MALFORMED, found="a time that is still ahead", wanted="at: now or earlier")
    return asked or at


def _cacheable(request: Request, body: bytes, caching: tuple[bytes, bytes]) -> Answer:
    etag = entity_tag(body)
    headers: Headers = [JSON_HEADER, (b"etag", etag), caching]
    if matches(_if_none_match(request), etag):
        return Answer(304, b"", headers)
    return Answer(200, body, headers)


def _if_none_match(request: Request) -> bytes | None:
    value = request.headers.get("if-none-match")
    return None if value is None else value.encode("latin-1")


@router.get("/v1/models", responses={200: {"model": schemas.ModelPage}, **problems()})
async def list_models(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """List the models that are approved: by whom, since when."""
    site = site_of(request)
    found = await site.registrar.search(catalogue.list_models, limit=query.limit, cursor=query.cursor)
    return page(map(export_model, found.items), found.next, site.settings)


@router.get("/v1/images", responses={200: {"model": schemas.ImagePage}, **problems()})
async def list_images(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """List the images that are approved."""
    site = site_of(request)
    found = await site.registrar.search(catalogue.list_images, limit=query.limit, cursor=query.cursor)
    return page(map(export_model, found.items), found.next, site.settings)


@router.get("/v1/policies", responses={200: {"model": schemas.PolicyPage}, **problems()})
async def list_policies(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """List the policies in force."""
    site = site_of(request)
    found = await site.registrar.search(catalogue.list_policies, limit=query.limit, cursor=query.cursor)
    return page(map(export_policy, found.items), found.next, site.settings)


@router.get(
    "/v1/policies/{name}",
    responses={200: {"description": "The file", "content": {TOML: {"schema": {"type": "string"}}}}, **problems()},
)
async def get_policy(request: Request, name: PolicyName) -> Response:
    """Return the policy of a name as its author wrote it: the digest is over these bytes."""
    policy = await site_of(request).registrar.read(catalogue.find_policy, name)
    if policy is None:
        raise nothing_here()
    return Answer(200, policy.text, [(b"content-type", TOML.encode()), (b"cache-control", b"no-cache")])


for part in (log_files, chain, changes):
    router.include_router(part.router)

# What the edge calls itself, without the framework in between.
DIRECT: Final[dict[tuple[str, str], Endpoint]] = {
    ("POST", "/v1/evidence"): submit_evidence,
    ("POST", "/v1/challenges"): issue_challenge,
}
