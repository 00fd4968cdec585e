"""`attestd demo`: the whole way on this machine, with simulated hardware and the real service, over HTTP.

Each step is held against what it should give; the first that gives anything else ends the demonstration with status 1.
"""

from argparse import Namespace
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from attestd.api import Service
from attestd.claims import image_digest
from attestd.cli.client import Client
from attestd.cli.report import measurements
from attestd.cli.scene import Scene, Unexpected, expect, heading, key_id, require, show_findings
from attestd.cli.screen import MISUSE, VERIFIED, coloured, complain, pairs, say
from attestd.codec import dump_digest
from attestd.endorsements import write_bundle, write_files
from attestd.evidence import QuoteEvidence, SnpEvidence
from attestd.registrar import bootstrap_admin
from attestd.settings import Settings, now, shipped
from attestd.simulator import (
    OLDER_SVNS,
    AmdVendor,
    Attester,
    KeyPair,
    Platform,
    SnpAttester,
    SnpReport,
    TdReport,
    Vendor,
    ccel,
    flip,
)
from attestd.simulator.vek import GENOA
from attestd.tdx.quote import parse_quote

_TDX_POLICY: Final = "demo-tdx"
_SNP_POLICY: Final = "demo-snp"
_MODEL: Final = sha256(b"the weights of a model").digest()
_PROVIDER: Final = "demo-provider"
_MRTD_OFFSET: Final = 48 + 136  # in a quote of version 4: behind the header, in the TD report
_MEASUREMENT_OFFSET: Final = 0x90
_OLD_SNP: Final = 22  # below all floors (policies/tables/snp-tcb-floors.toml)
# Of the metrics: what this demonstration moves.
_SHOWN_METRICS: Final = (
    "attestd_verifications_total",
    "attestd_verification_refusals_total",
    "attestd_registry_entries",
)
_SHOWN_OF_A_KEY: Final = ("key_id", "tee", "image", "models", "provider", "valid_until", "simulated")


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
    intel, amd = Vendor.of(at=at), AmdVendor.of(at=at)
    settings = _settings(folder, intel, amd, at)
    admin = bootstrap_admin(settings, at)
    with Service.started(settings) as service:
        service.until_ready()
        heading("A service that trusts simulated hardware")
        anyone = Client(service.public_url)
        discovery = expect(anyone.get("/.well-known/attestd"), 200)
        require("simulated", discovery["simulated"], wanted=True)
        say(f"   public {service.public_url}, admin {service.admin_url}, registry {discovery['registry_id']}")
        operator = Client(service.admin_url, admin)
        token = _approve(operator, Attester.of(intel), SnpAttester.of(amd))
        scene = Scene(operator=operator, provider=Client(service.public_url, token), anyone=anyone)
        with_tdx = _register_tdx(scene, Attester.of(intel))
        _refuse_tdx(scene, intel)
        with_snp = _register_snp(scene, SnpAttester.of(amd))
        _refuse_snp(scene, amd)
        _revoke(scene, with_tdx, left=with_snp)
        _show_metrics(scene)


def _settings(folder: Path, intel: Vendor, amd: AmdVendor, at: datetime) -> Settings:
    """Write the vendors' roots and endorsements to files, and settings that trust them, on ports that are free."""
    write_files(folder / "roots", {"intel.der": intel.root.der, "amd.der": amd.ark.der})
    for tee in ("tdx", "sgx"):
        write_bundle(folder / "endorsements" / tee, intel.collateral(tee))
    write_files(folder / "endorsements" / "amd", {"ask.der": amd.ask.der, "crl.der": amd.crl()})
    environment = {
        "ATTESTD_STATE_DIR": str(folder / "state"),
        "ATTESTD_TRUST_ANCHORS": str(folder / "roots"),
        "ATTESTD_ENDORSEMENTS": str(folder / "endorsements"),
        "ATTESTD_LISTEN": "127.0.0.1:0",
        "ATTESTD_ADMIN_LISTEN": "127.0.0.1:0",
        "ATTESTD_LOG_LEVEL": "error",
    }
    return Settings.load(None, environment, at)


def _approve(operator: Client, tdx: Attester, snp: SnpAttester) -> str:
    """Approve policies and a model and register a provider; return the provider's API key."""
    heading("The operator approves policies and a model and registers a provider")
    td_report, guest = parse_quote(tdx.quote()).body, image_digest(SnpReport().of(snp.chip).measurement)
    images = {
        _TDX_POLICY: ("strict-tdx", bytes(measurements(td_report)["image_digest"])),
        _SNP_POLICY: ("strict-snp", guest),
    }
    for name, (strict, digest) in images.items():
        approved = expect(operator.put(f"/v1/policies/{name}", _policy(name, strict, digest), "application/toml"), 200)
        say(f"   policy {approved['name']} version {approved['version']}, {approved['digest']}")
    model = expect(operator.put(f"/v1/models/{dump_digest(_MODEL)}", {"name": "demo-model"}), 200)
    say(f"   model {model['name']}, {model['digest']}")
    expect(operator.post("/v1/providers", {"id": _PROVIDER, "name": "A provider"}), 201)
    issued = expect(operator.post(f"/v1/providers/{_PROVIDER}/api-keys", {"label": "demo"}), 201)
    say(f"   provider {issued['provider']}, API key {issued['id']} (secret shown once)")
    return str(issued["token"])


def _policy(name: str, strict: str, digest: bytes) -> bytes:
    """Take a strict policy that is shipped, and accept one image alone: the one that the simulated machine runs."""
    text = (shipped("policies") / f"{strict}.toml").read_text(encoding="utf-8")
    more = ", min_guest_svn = 0" if strict == "strict-snp" else ""
    image = f'{{ name = "demo-image", role = "any", not_after = "any", image_digest = "{digest.hex()}"{more} }}'
    return text.replace('images = "any"', f"images = [{image}]", 1).replace(f'"{strict}"', f'"{name}"', 1).encode()


def _register_tdx(scene: Scene, attester: Attester) -> str:
    """Register the key of a machine that is in order; return its id."""
    heading("A machine with Intel TDX answers a challenge with a quote over its key and its model")
    key, registry = KeyPair.ed25519("demo"), scene.challenge()
    evidence = attester.evidence(key, registry, [_MODEL], event_log=ccel())
    result = expect(scene.submit(evidence, _TDX_POLICY), 201)
    require("tier", result["tier"], wanted="affirming")
    require("simulated", result["simulated"], wanted=True)
    show_findings(result)
    heading("The same evidence again gives the first result; the challenge serves no other key")
    require("result", expect(scene.submit(evidence, _TDX_POLICY), 200)["id"], wanted=result["id"])
    other = KeyPair.ed25519("another")
    problem = expect(scene.submit(attester.evidence(other, registry, [_MODEL]), _TDX_POLICY), 409)
    require("reason", problem["reason"], wanted="challenge.used")
    scene.require_unknown(other)
    return _ask_for(scene, key)


def _ask_for(scene: Scene, key: KeyPair) -> str:
    heading("Anybody may ask for the key")
    trusted = expect(scene.anyone.get(f"/v1/keys/{key_id(key)}"), 200)
    require("state", trusted["state"], wanted="active")
    say("", *pairs({name: trusted[name] for name in _SHOWN_OF_A_KEY}))
    return key_id(key)


def _refuse_tdx(scene: Scene, vendor: Vendor) -> None:
    heading("A quote with one bit of MRTD changed is not authentic")
    attester = Attester.of(vendor)
    key, registry = KeyPair.ed25519("forger"), scene.challenge()
    quote = attester.quote(TdReport(report_data=registry.report_data(key, [_MODEL])))
    forged = QuoteEvidence(tee="tdx", quote=flip(_MRTD_OFFSET)(quote))
    evidence = replace(attester.evidence(key, registry, [_MODEL]), cpu=forged)
    scene.refuse_forged(evidence, _TDX_POLICY, key, "tdx.quote_signature")
    heading("An authentic quote of another image is not acceptable")
    other_image = attester.evidence(key, scene.challenge(), [_MODEL], body=replace(TdReport(), rtmr2=bytes(48)))
    scene.refuse_unacceptable(other_image, _TDX_POLICY, key, "image")
    heading("Nor is one of a machine whose firmware is out of date")
    old = Attester.of(vendor, Platform(tcb_components=OLDER_SVNS))
    scene.refuse_unacceptable(old.evidence(key, scene.challenge(), [_MODEL]), _TDX_POLICY, key, "tcb_status")


def _register_snp(scene: Scene, attester: SnpAttester) -> str:
    """Register the key of a machine of the other vendor; return its id."""
    heading("A machine with AMD SEV-SNP brings a report over its key, and the certificates of its chip")
    key = KeyPair.ed25519("demo snp")
    result = expect(scene.submit(attester.evidence(key, scene.challenge(), [_MODEL]), _SNP_POLICY), 201)
    require("tier", result["tier"], wanted="affirming")
    show_findings(result)
    return _ask_for(scene, key)


def _refuse_snp(scene: Scene, vendor: AmdVendor) -> None:
    heading("A report with one bit of MEASUREMENT changed is not authentic")
    attester = SnpAttester.of(vendor)
    key, registry = KeyPair.ed25519("snp forger"), scene.challenge()
    report = attester.report(SnpReport(report_data=registry.report_data(key, [_MODEL])))
    forged = SnpEvidence(report=flip(_MEASUREMENT_OFFSET)(report), certificates=attester.certificate_table())
    evidence = replace(attester.evidence(key, registry, [_MODEL]), cpu=forged)
    scene.refuse_forged(evidence, _SNP_POLICY, key, "snp.report_signature")
    heading("Firmware with open advisories is not acceptable")
    old = SnpAttester.of(vendor, replace(GENOA, tcb=GENOA.tcb._replace(snp=_OLD_SNP)))
    scene.refuse_unacceptable(old.evidence(key, scene.challenge(), [_MODEL]), _SNP_POLICY, key, "tcb_floor")


def _revoke(scene: Scene, revoked_id: str, *, left: str) -> None:
    heading("The operator revokes a key, and the next who asks is told so; the other one stays")
    revocation = {"kind": "key", "value": revoked_id, "reason": "the demonstration ends"}
    expect(scene.operator.post("/v1/revocations", revocation), 201)
    revoked = expect(scene.anyone.get(f"/v1/keys/{revoked_id}"), 200)
    require("state", revoked["state"], wanted="revoked")
    trusted = expect(scene.anyone.get("/v1/keys"), 200)
    require("trusted keys", [key["key_id"] for key in trusted["items"]], wanted=[left])


def _show_metrics(scene: Scene) -> None:
    heading("Monitoring sees all of it")
    answer = scene.anyone.get("/metrics")
    if answer.status != HTTPStatus.OK:
        raise Unexpected(f"{answer.request}: {answer.status}")
    lines = [line for line in answer.body.decode().splitlines() if line.startswith(_SHOWN_METRICS)]
    moved = [line for line in lines if not line.endswith(" 0.0")]
    say("", *moved)
    for outcome in ("affirming", "contraindicated", "rejected"):
        if not any(f'outcome="{outcome}"' in line for line in moved):
            raise Unexpected(f"no metric counts what was {outcome}")
