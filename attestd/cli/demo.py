"""`attestd demo`: the whole way on this machine, with simulated hardware and the real service, over HTTP.

Each step is held against what it should give; the first that gives anything else ends the demonstration with status 1.
"""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from attestd.api import Service
from attestd.binding import quote_of
from attestd.cli.client import Answer, Client
from attestd.cli.report import measurements
from attestd.cli.screen import MISUSE, VERIFIED, coloured, complain, pairs, say, table
from attestd.codec import dump_digest, load_base64url
from attestd.endorsements import write_bundle
from attestd.evidence import Evidence, QuoteEvidence, dump_evidence_json
from attestd.registrar import bootstrap_admin
from attestd.settings import Settings, now, shipped
from attestd.simulator import OLDER_SVNS, Attester, KeyPair, Platform, Registry, TdReport, Vendor, ccel, flip
from attestd.tdx.quote import parse_quote

_POLICY: Final = "demo"
_MODEL: Final = sha256(b"the weights of a model").digest()
_PROVIDER: Final = "demo-provider"
_MRTD_OFFSET: Final = 48 + 136  # in a quote of version 4: behind the header, in the TD report
# Of the metrics: what this demonstration moves.
_SHOWN_METRICS: Final = (
    "attestd_verifications_total",
    "attestd_verification_refusals_total",
    "attestd_registry_entries",
)
_SHOWN_OF_A_KEY: Final = ("key_id", "tee", "image", "models", "provider", "valid_until", "simulated")


class Unexpected(Exception):
    """A step of the demonstration gave something else than it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """Who takes part: the vendor, a machine, and the three who call the service."""

    vendor: Vendor
    attester: Attester
    operator: Client
    provider: Client
    anyone: Client


def run(arguments: Namespace) -> int:  # noqa: ARG001 - every command takes them
    """Walk the whole way; clean up behind."""
    try:
        with TemporaryDirectory(prefix="attestd-demo-") as folder:
            _walk(Path(folder), now().replace(microsecond=0))
    except Unexpected as error:
        complain(f"the demonstration failed: {error}")
        return MISUSE
    say("", coloured("verified") + ": every step gave what it should.")
    return VERIFIED


def _walk(folder: Path, at: datetime) -> None:
    vendor = Vendor.of(at=at)
    settings = _settings(folder, vendor, at)
    admin = bootstrap_admin(settings, at)
    with Service.started(settings) as service:
        _heading("A service that trusts simulated hardware")
        anyone = Client(service.public_url)
        discovery = _expect(anyone.get("/.well-known/attestd"), 200)
        _require("simulated", discovery["simulated"], wanted=True)
        say(f"   public {service.public_url}, admin {service.admin_url}, registry {discovery['registry_id']}")
        operator = Client(service.admin_url, admin)
        provider = Client(service.public_url, _approve(operator, vendor))
        scene = _Scene(vendor=vendor, attester=Attester.of(vendor), operator=operator, provider=provider, anyone=anyone)
        key_id = _register(scene)
        _refuse_forged(scene)
        _refuse_unacceptable(scene)
        _revoke(scene, key_id)
        _show_metrics(scene)


def _settings(folder: Path, vendor: Vendor, at: datetime) -> Settings:
    """Write the vendor's root and collateral to files, and settings that trust them, on ports that are free."""
    (folder / "root.der").write_bytes(vendor.root.der)
    for tee in ("tdx", "sgx"):
        write_bundle(folder / "endorsements" / tee, vendor.collateral(tee))
    environment = {
        "ATTESTD_STATE_DIR": str(folder / "state"),
        "ATTESTD_TRUST_ANCHORS": str(folder / "root.der"),
        "ATTESTD_ENDORSEMENTS": str(folder / "endorsements"),
        "ATTESTD_LISTEN": "127.0.0.1:0",
        "ATTESTD_ADMIN_LISTEN": "127.0.0.1:0",
        "ATTESTD_LOG_LEVEL": "error",
    }
    return Settings.load(None, environment, at)


def _approve(operator: Client, vendor: Vendor) -> str:
    """Approve a policy and a model and register a provider; return the provider's API key."""
    _heading("The operator approves a policy and a model and registers a provider")
    policy = _policy(Attester.of(vendor))
    path = f"/v1/policies/{_POLICY}"
    approved = _expect(operator.put(path, policy, "application/toml"), 200)
    say(f"   policy {approved['name']} version {approved['version']}, {approved['digest']}")
    model = _expect(operator.put(f"/v1/models/{dump_digest(_MODEL)}", {"name": "demo-model"}), 200)
    say(f"   model {model['name']}, {model['digest']}")
    _expect(operator.post("/v1/providers", {"id": _PROVIDER, "name": "A provider"}), 201)
    issued = _expect(operator.post(f"/v1/providers/{_PROVIDER}/api-keys", {"label": "demo"}), 201)
    say(f"   provider {issued['provider']}, API key {issued['id']} (secret shown once)")
    return str(issued["token"])


def _policy(attester: Attester) -> bytes:
    """Take the strict policy that is shipped, and accept one image alone: the one that the simulated machine runs."""
    strict = (shipped("policies") / "strict-tdx.toml").read_text(encoding="utf-8")
    digest = measurements(parse_quote(attester.quote()).body)["image_digest"]
    image = f'{{ name = "demo-image", role = "any", not_after = "any", image_digest = "{bytes(digest).hex()}" }}'
    pinned = strict.replace('images = "any"', f"images = [{image}]", 1)
    return pinned.replace('name = "strict-tdx"', f'name = "{_POLICY}"', 1).encode()


def _register(scene: _Scene) -> str:
    """Register the key of a machine that is in order; return its id."""
    _heading("The machine answers a challenge with a quote over its key and its model")
    key, registry = KeyPair.ed25519("demo"), _challenge(scene)
    evidence = scene.attester.evidence(key, registry, [_MODEL], event_log=ccel())
    result = _expect(_submit(scene, evidence), 201)
    _require("tier", result["tier"], wanted="affirming")
    _require("simulated", result["simulated"], wanted=True)
    _show_findings(result)
    _heading("The same evidence again gives the first result; the challenge serves no other key")
    _require("result", _expect(_submit(scene, evidence), 200)["id"], wanted=result["id"])
    other = KeyPair.ed25519("another")
    problem = _expect(_submit(scene, scene.attester.evidence(other, registry, [_MODEL])), 409)
    _require("reason", problem["reason"], wanted="challenge.used")
    _require_unknown(scene, other)
    _heading("Anybody may ask for the key")
    key_id = sha256(key.spki).hexdigest()
    trusted = _expect(scene.anyone.get(f"/v1/keys/{key_id}"), 200)
    _require("state", trusted["state"], wanted="active")
    say("", *pairs({name: trusted[name] for name in _SHOWN_OF_A_KEY}))
    return key_id


def _refuse_forged(scene: _Scene) -> None:
    _heading("A quote with one bit of MRTD changed is not authentic")
    key = KeyPair.ed25519("forger")
    evidence = scene.attester.evidence(key, _challenge(scene), [_MODEL])
    forged = QuoteEvidence(tee="tdx", quote=flip(_MRTD_OFFSET)(quote_of(evidence.cpu)))
    problem = _expect(_submit(scene, replace(evidence, cpu=forged)), 422)
    _require("reason", problem["reason"], wanted="tdx.quote_signature")
    say(f"   {problem['detail']}")
    _require_unknown(scene, key)


def _refuse_unacceptable(scene: _Scene) -> None:
    _heading("An authentic quote of another image is not acceptable")
    other_image = replace(TdReport(), rtmr2=bytes(48))
    _refuse_with_findings(scene, scene.attester, other_image, "image")
    _heading("Nor is one of a machine whose firmware is out of date")
    old = Attester.of(scene.vendor, Platform(tcb_components=OLDER_SVNS))
    _refuse_with_findings(scene, old, TdReport(), "tcb_status")


def _refuse_with_findings(scene: _Scene, attester: Attester, body: TdReport, check: str) -> None:
    key = KeyPair.ed25519(check)
    evidence = attester.evidence(key, _challenge(scene), [_MODEL], body=body)
    problem = _expect(_submit(scene, evidence), 403)
    _require("reason", problem["reason"], wanted="policy.not_affirming")
    bad = [finding["check"] for finding in _findings(problem["result"]) if finding["outcome"] != "affirming"]
    _require("amiss", ", ".join(bad), wanted=check)
    _show_findings(problem["result"], only_bad=True)
    _require_unknown(scene, key)


def _revoke(scene: _Scene, key_id: str) -> None:
    _heading("The operator revokes the key, and the next who asks is told so")
    revocation = {"kind": "key", "value": key_id, "reason": "the demonstration ends"}
    _expect(scene.operator.post("/v1/revocations", revocation), 201)
    revoked = _expect(scene.anyone.get(f"/v1/keys/{key_id}"), 200)
    _require("state", revoked["state"], wanted="revoked")
    trusted = _expect(scene.anyone.get("/v1/keys"), 200)
    _require("trusted keys", len(trusted["items"]), wanted=0)


def _show_metrics(scene: _Scene) -> None:
    _heading("Monitoring sees all of it")
    answer = scene.anyone.get("/metrics")
    if answer.status != HTTPStatus.OK:
        raise Unexpected(f"{answer.request}: {answer.status}")
    lines = [line for line in answer.body.decode().splitlines() if line.startswith(_SHOWN_METRICS)]
    moved = [line for line in lines if not line.endswith(" 0.0")]
    say("", *moved)
    for outcome in ("affirming", "contraindicated", "rejected"):
        if not any(f'outcome="{outcome}"' in line for line in moved):
            raise Unexpected(f"no metric counts what was {outcome}")


def _challenge(scene: _Scene) -> Registry:
    """Ask for a challenge; return what an attester has to know of the registry."""
    issued = _expect(scene.provider.post("/v1/challenges"), 201)
    return Registry(issued["registry_id"], load_base64url(issued["challenge"]))


def _submit(scene: _Scene, evidence: Evidence) -> Answer:
    return scene.provider.post("/v1/evidence", dump_evidence_json(replace(evidence, policy=_POLICY)))


def _require_unknown(scene: _Scene, key: KeyPair) -> None:
    _expect(scene.anyone.get(f"/v1/keys/{sha256(key.spki).hexdigest()}"), 404)


def _expect(answer: Answer, status: int) -> Any:  # noqa: ANN401 - as the service answered
    """Return the document of an answer that has the status which it should have."""
    if answer.status != status:
        raise Unexpected(f"{answer.request}: {answer.status} in place of {status}: {answer.body[:500]!r}")
    say(f"   {answer.request}: {status}")
    return answer.document


def _require(what: str, got: object, *, wanted: object) -> None:
    if got != wanted:
        raise Unexpected(f"{what}: {got} in place of {wanted}")
    say(f"   {what}: {coloured(str(got))}")


def _heading(text: str) -> None:
    say("", f"== {text}")


def _findings(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(result["appraisal"]["findings"])


def _show_findings(result: Mapping[str, Any], *, only_bad: bool = False) -> None:
    columns = ("check", "outcome", "got", "want")
    rows = [
        [finding[column] for column in columns]
        for finding in _findings(result)
        if not only_bad or finding["outcome"] != "affirming"
    ]
    say("", *table(columns, rows))
