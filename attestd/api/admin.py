"""The routes of the admin listener: what is approved, who may call, what is revoked. Every act is audited."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from attestd.api import bodies, schemas
from attestd.api.access import API_KEY, authenticate
from attestd.api.describe import body_of, problems, toml_body
from attestd.api.exchange import site_of
from attestd.api.intake import TEXT, TOML, media_type, read_body, read_json
from attestd.api.lists import (
    ApiKeyQuery,
    PageQuery,
    export_api_key,
    export_audit,
    export_model,
    export_policy,
    export_provider,
    export_revocation,
    page,
)
from attestd.api.problem import fresh
from attestd.codec import Json, load_digest
from attestd.errors import ConfigurationRefused, Reason
from attestd.evidence import MAX_POLICY_SIZE
from attestd.policy import AppraisalPolicy
from attestd.registrar.documents import dump
from attestd.registry import access, audit, catalogue, revocations
from attestd.registry.values import Image, IssuedApiKey, Model, Page, RevocationKind, Role

DigestPath = Annotated[str, Path(pattern=r"^sha256:[0-9a-f]{64}$")]
Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
ApiKeyId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]

T = TypeVar("T")

router = APIRouter(dependencies=[API_KEY])


async def _admin(request: Request) -> str:
    """Return how the audit trail names the administrator who calls."""
    caller = await authenticate(request, Role.ADMIN)
    return f"api-key:{caller.api_key_id}"


async def _list(
    request: Request, search: Callable[..., Page[T]], query: PageQuery, export: Callable[[T], Json]
) -> Response:
    """Answer with one page of what the operator and auditors may see."""
    await authenticate(request, Role.ADMIN, Role.AUDITOR)
    site = site_of(request)
    found = await site.registrar.search(search, limit=query.limit, cursor=query.cursor)
    return page(map(export, found.items), found.next, site.settings)


@router.put(
    "/v1/models/{digest}",
    responses={200: {"model": schemas.ModelDocument}, **problems(keyed=True, body=True)},
    openapi_extra=body_of(bodies.NewModel),
)
async def approve_model(request: Request, digest: DigestPath) -> Response:
    """Approve a model, or change how it is called."""
    by = await _admin(request)
    body = await read_json(request, bodies.NewModel)
    return await _approve(request, catalogue.approve_model, digest, body, by)


@router.put(
    "/v1/images/{digest}",
    responses={200: {"model": schemas.ImageDocument}, **problems(keyed=True, body=True)},
    openapi_extra=body_of(bodies.NewImage),
)
async def approve_image(request: Request, digest: DigestPath) -> Response:
    """Approve an image for one part of Cocoon or both. What rests on that under a policy is appraised again at once."""
    by = await _admin(request)
    body = await read_json(request, bodies.NewImage)
    approve = partial(catalogue.approve_image, roles=tuple(body.roles))
    answer = await _approve(request, approve, digest, body, by)
    site_of(request).upkeep.soon()
    return answer


async def _approve(
    request: Request,
    approve: Callable[..., Model | Image],
    digest: str,
    body: bodies.NewModel | bodies.NewImage,
    by: str,
) -> Response:
    registrar = site_of(request).registrar
    approved = await registrar.write(
        approve,
        load_digest(digest),
        name=body.name,
        expected_version=body.expected_version,
        by=by,
        at=registrar.now(),
    )
    return fresh(200, dump(export_model(approved)))


@router.put(
    "/v1/policies/{name}",
    responses={200: {"model": schemas.PolicyDocument}, **problems(keyed=True, body=True)},
    openapi_extra=toml_body(),
)
async def approve_policy(request: Request, name: Name) -> Response:
    """Put a policy into force: a higher version than before. What is trusted is appraised again under it at once."""
    by = await _admin(request)
    media_type(request, TOML, TEXT)
    raw = await read_body(request, MAX_POLICY_SIZE)
    policy = AppraisalPolicy.load(raw)
    if policy.name != name:
        raise ConfigurationRefused(
            Reason.POLICY_MALFORMED, found="another name in the file", wanted="the name in the path"
        )
    site = site_of(request)
    recorded = await site.registrar.write(
        catalogue.approve_policy, name, policy.version, raw, by=by, at=site.registrar.now()
    )
    site.upkeep.soon()
    return fresh(200, dump(export_policy(recorded)))


@router.post(
    "/v1/revocations",
    status_code=201,
    responses={201: {"model": schemas.RevocationDocument}, **problems(keyed=True, body=True)},
    openapi_extra=body_of(bodies.NewRevocation),
)
async def revoke(request: Request) -> Response:
    """Revoke a key or whatever keys rest on. It takes effect at once, everywhere, and for good."""
    by = await _admin(request)
    body = (await read_json(request, bodies.NewRevocation)).root
    registrar = site_of(request).registrar
    revocation = await registrar.write(
        revocations.revoke,
        RevocationKind(body.kind),
        body.value.removeprefix("sha256:"),
        reason=body.reason,
        by=by,
        at=registrar.now(),
    )
    # Other processes hear of it within moments; who was told so may rely on it.
    await asyncio.sleep(registrar.registry.delay)
    return fresh(201, dump(export_revocation(revocation)))


@router.get("/v1/revocations", responses={200: {"model": schemas.RevocationPage}, **problems(keyed=True)})
async def list_revocations(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """List what was revoked."""
    return await _list(request, revocations.list_all, query, export_revocation)


@router.post(
    "/v1/providers",
    status_code=201,
    responses={201: {"model": schemas.ProviderDocument}, **problems(keyed=True, body=True)},
    openapi_extra=body_of(bodies.NewProvider),
)
async def register_provider(request: Request) -> Response:
    """Register a provider."""
    by = await _admin(request)
    body = await read_json(request, bodies.NewProvider)
    registrar = site_of(request).registrar
    provider = await registrar.write(access.register_provider, body.id, body.name, by=by, at=registrar.now())
    return fresh(201, dump(export_provider(provider)))


@router.get("/v1/providers", responses={200: {"model": schemas.ProviderPage}, **problems(keyed=True)})
async def list_providers(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """List the providers."""
    return await _list(request, access.list_providers, query, export_provider)


@router.post(
    "/v1/providers/{provider}/api-keys",
    status_code=201,
    responses={201: {"model": schemas.IssuedApiKeyDocument}, **problems(keyed=True, body=True)},
    openapi_extra=body_of(bodies.NewProviderApiKey),
)
async def issue_provider_api_key(request: Request, provider: Name) -> Response:
    """Issue an API key for a provider. The token is shown this once."""
    by = await _admin(request)
    body = await read_json(request, bodies.NewProviderApiKey)
    return await _issue(request, Role.PROVIDER, provider, body, by)


@router.post(
    "/v1/api-keys",
    status_code=201,
    responses={201: {"model": schemas.IssuedApiKeyDocument}, **problems(keyed=True, body=True)},
    openapi_extra=body_of(bodies.NewApiKey),
)
async def issue_api_key(request: Request) -> Response:
    """Issue an API key for an auditor or an administrator. The token is shown this once."""
    by = await _admin(request)
    body = await read_json(request, bodies.NewApiKey)
    return await _issue(request, Role(body.role), None, body, by)


async def _issue(
    request: Request, role: Role, provider: str | None, body: bodies.NewProviderApiKey, by: str
) -> Response:
    registrar = site_of(request).registrar
    at = registrar.now()
    expires_at = at + timedelta(days=body.lifetime_days)
    issued = await registrar.write(access.issue, role, provider, label=body.label, expires_at=expires_at, by=by, at=at)
    return _shown_once(issued)


def _shown_once(issued: IssuedApiKey) -> Response:
    return fresh(201, dump({**export_api_key(issued.api_key), "token": issued.token}))


@router.get("/v1/api-keys", responses={200: {"model": schemas.ApiKeyPage}, **problems(keyed=True)})
async def list_api_keys(request: Request, query: Annotated[ApiKeyQuery, Query()]) -> Response:
    """List the API keys of a provider, or those of auditors and administrators; never their secrets."""
    return await _list(request, partial(access.list_api_keys, provider=query.provider), query, export_api_key)


@router.post(
    "/v1/api-keys/{api_key_id}/rotate",
    status_code=201,
    responses={201: {"model": schemas.IssuedApiKeyDocument}, **problems(keyed=True, body=True)},
    openapi_extra=body_of(bodies.Rotation),
)
async def rotate_api_key(request: Request, api_key_id: ApiKeyId) -> Response:
    """Replace an API key by a new one; the old one ends after the overlap."""
    by = await _admin(request)
    body = await read_json(request, bodies.Rotation)
    registrar = site_of(request).registrar
    at = registrar.now()
    issued = await registrar.write(
        access.rotate,
        api_key_id,
        overlap=timedelta(seconds=body.overlap_seconds),
        expires_at=at + timedelta(days=body.lifetime_days),
        by=by,
        at=at,
    )
    return _shown_once(issued)


@router.delete(
    "/v1/api-keys/{api_key_id}",
    responses={200: {"model": schemas.ApiKeyDocument}, **problems(keyed=True)},
)
async def revoke_api_key(request: Request, api_key_id: ApiKeyId) -> Response:
    """Revoke an API key, at once."""
    by = await _admin(request)
    registrar = site_of(request).registrar
    api_key = await registrar.write(access.revoke_api_key, api_key_id, by=by, at=registrar.now())
    return fresh(200, dump(export_api_key(api_key)))


@router.get("/v1/audit", responses={200: {"model": schemas.AuditPage}, **problems(keyed=True)})
async def list_audit(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """List the audit trail. Each entry's hash covers the one before, so that none can be taken out."""
    return await _list(request, audit.page, query, export_audit)
