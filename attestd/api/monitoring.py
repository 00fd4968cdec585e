"""What monitoring and newcomers ask for: metrics, health, discovery."""

from time import monotonic
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from attestd import __version__
from attestd.api import schemas
from attestd.api.chain import chain_reference
from attestd.api.describe import problems
from attestd.api.exchange import Site, site_of
from attestd.api.lists import export_policy
from attestd.api.problem import JSON_HEADER, Answer, fresh
from attestd.codec import Json
from attestd.errors import Reason, Unavailable
from attestd.evidence import TEES, Scheme
from attestd.metrics import CONTENT_TYPE
from attestd.registrar.documents import dump
from attestd.registry import catalogue
from attestd.x509 import GENUINE_ROOTS

_MAX_POLICIES: Final = 1000

router = APIRouter()
# Of a registry alone.
described = APIRouter()


@router.get(
    "/metrics", responses={200: {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}}
)
async def metrics(request: Request) -> Response:
    """Return all metrics in Prometheus' text format; who asks many times a second gets some of them twice."""
    body = site_of(request).exposition.text(monotonic())
    return Answer(200, body, [(b"content-type", CONTENT_TYPE.encode()), (b"cache-control", b"no-store")])


@router.get("/healthz/live", responses={200: {"model": schemas.Health}})
async def live(request: Request) -> Response:  # noqa: ARG001 - every route takes it
    """Tell that the process answers."""
    return fresh(200, dump({"status": "up"}))


@router.get("/healthz", responses={200: {"model": schemas.Health}, **problems()})
@router.get("/healthz/ready", responses={200: {"model": schemas.Health}, **problems()})
async def ready(request: Request) -> Response:
    """Tell whether the clock is right, the database answers, some endorsements are in force, and the start is over.

    Where those of one vendor alone have lapsed, the evidence of others is still verified, and keys are answered for.
    """
    site = site_of(request)
    registrar = site.registrar
    at = registrar.now()
    await site.database.wait()
    lapsed = registrar.collateral.lapsed(at)
    if lapsed and not registrar.collateral.in_force(at):
        found = f"endorsements of {' and of '.join(lapsed)} that have all expired"
        raise Unavailable(Reason.ENDORSEMENTS_EXPIRED, found=found, wanted="some that are in force")
    if site.upkeep.is_behind:
        raise Unavailable(
            Reason.STARTING,
            found="collateral and keys that are being looked at for the first time",
            wanted="the end of that",
        )
    return fresh(200, dump({"status": "ready"}))


@described.get("/.well-known/attestd", responses={200: {"model": schemas.Discovery}, **problems()})
async def discovery(request: Request) -> Response:
    """Tell what this service is, whom it trusts and under which policies."""
    site = site_of(request)
    policies = await site.registrar.search(catalogue.list_policies, limit=_MAX_POLICIES)
    document: Json = {
        "name": "attestd",
        "version": __version__,
        "registry_id": site.settings.registry_id,
        "simulated": site.settings.simulated,
        "tees": list(TEES),
        "bindings": [scheme.value for scheme in Scheme],
        "trust_anchors": _trust_anchors(site),
        "policies": [
            {name: value for name, value in export_policy(policy).items() if name in ("name", "version", "digest")}
            for policy in policies.items
        ],
        "default_policy": site.settings.default_policy,
        "challenge_lifetime_seconds": site.settings.challenge_lifetime,
        "log": {"origin": site.publishing.log_key.name, "key": str(site.publishing.log_key)},
        "chain": chain_reference(site),
        "endpoints": {
            "challenges": "/v1/challenges",
            "evidence": "/v1/evidence",
            "appraisals": "/v1/appraisals",
            "keys": "/v1/keys",
            "proofs": "/v1/proofs",
            "results": "/v1/results",
            "models": "/v1/models",
            "images": "/v1/images",
            "policies": "/v1/policies",
            "log": "/v1/log",
            "changes": "/v1/changes",
            "chain": "/v1/chain",
            "epochs": "/v1/epochs",
            "metrics": "/metrics",
            "openapi": "/openapi.json",
        },
    }
    return Answer(200, dump(document), [JSON_HEADER, (b"cache-control", b"no-cache")])


def _trust_anchors(site: Site) -> list[Json]:
    return [
        {"vendor": GENUINE_ROOTS.get(root.fingerprint, "simulated"), "sha256": root.fingerprint.hex()}
        for root in site.settings.trust_anchors.roots
    ]
