"""`attestd demo`: the whole way on this machine, with simulated hardware and a TON devnet, and the real service.

Each step is held against what it should give; the first that gives anything else ends the demonstration with status 1.
"""

import re
from argparse import Namespace
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

from attestd.api import Service
from attestd.claims import image_digest
from attestd.cli import acts
from attestd.cli.client import Client
from attestd.cli.demo_chain import Deployed, deployed, read_absent, read_member
from attestd.cli.report import measurements
from attestd.cli.scene import Scene, Unexpected, expect, heading, require
from attestd.cli.screen import MISUSE, VERIFIED, coloured, complain, say
from attestd.codec import dump_digest
from attestd.endorsements import write_bundle, write_files
from attestd.registrar import bootstrap_admin
from attestd.settings import Settings, now, shipped
from attestd.simulator import (
    AmdVendor,
    Attester,
    GpuAttester,
    SnpAttester,
    SnpReport,
    Vendor,
    gpu_endorsements,
    gpu_set,
)
from attestd.tdx.quote import parse_quote

_PROVIDER: Final = "demo-provider"
_IMAGE_DIGEST: Final = re.compile(r'^image_digest = "[0-9a-f]{64}"$', re.MULTILINE)
# Of the metrics: what this demonstration moves.
_SHOWN_METRICS: Final = (
    "attestd_verifications_total",
    "attestd_verification_refusals_total",
    "attestd_registry_entries",
    "attestd_log_records",
    "attestd_map_keys",
)


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


@dataclass(frozen=True, slots=True)
class _Hardware:
    """The vendors of this demonstration, and the GPUs of one machine, with one that is in another."""

    intel: Vendor
    amd: AmdVendor
    gpus: tuple[GpuAttester, ...]
    stranger: GpuAttester

    @classmethod
    def of(cls, at: datetime) -> Self:
        *gpus, stranger = gpu_set(3, at=at)
        return cls(Vendor.of(at=at), AmdVendor.of(at=at), tuple(gpus), stranger)


def _walk(folder: Path, at: datetime) -> None:
    hardware = _Hardware.of(at)
    with deployed(folder) as chain:
        settings = _settings(folder, hardware, chain, at)
        _serve(settings, bootstrap_admin(settings, at), hardware, chain)


def _serve(settings: Settings, admin: str, hardware: _Hardware, chain: Deployed) -> None:
    with Service.started(settings) as service:
        service.until_ready()
        heading("A service that trusts simulated hardware")
        anyone = Client(service.public_url)
        discovery = expect(anyone.get("/.well-known/attestd"), 200)
        require("simulated", discovery["simulated"], wanted=True)
        say(f"   public {service.public_url}, admin {service.admin_url}, registry {discovery['registry_id']}")
        operator = Client(service.admin_url, admin)
        token = _approve(operator, Attester.of(hardware.intel), SnpAttester.of(hardware.amd))
        _play(Scene(operator=operator, provider=Client(service.public_url, token), anyone=anyone), hardware, chain)


def _play(scene: Scene, hardware: _Hardware, chain: Deployed) -> None:
    with_tdx = acts.register_tdx(scene, Attester.of(hardware.intel))
    acts.refuse_tdx(scene, hardware.intel)
    with_snp = acts.register_snp(scene, SnpAttester.of(hardware.amd))
    acts.refuse_snp(scene, hardware.amd)
    with_gpus = acts.register_gpus(scene, Attester.of(hardware.intel), hardware.gpus)
    acts.refuse_gpus(scene, Attester.of(hardware.intel), hardware.gpus, hardware.stranger)
    read_member(scene, chain, with_tdx)
    _revoke(scene, with_tdx, left={with_snp, with_gpus})
    read_absent(scene, chain, with_tdx)
    _show_metrics(scene)


def _settings(folder: Path, hardware: _Hardware, chain: Deployed, at: datetime) -> Settings:
    """Write the vendors' roots and endorsements to files, and settings that trust them, on ports that are free."""
    intel, amd, nvidia = hardware.intel, hardware.amd, hardware.stranger.vendor
    roots = {
        "intel.der": intel.root.der,
        "amd.der": amd.ark.der,
        "nvidia_devices.der": nvidia.root.der,
        "nvidia_rims.der": nvidia.rim_root.der,
    }
    write_files(folder / "roots", roots)
    for tee in ("tdx", "sgx"):
        write_bundle(folder / "endorsements" / tee, intel.collateral(tee))
    write_files(folder / "endorsements" / "amd", {"ask.der": amd.ask.der, "crl.der": amd.crl()})
    write_files(folder / "endorsements" / "nvidia", gpu_endorsements((*hardware.gpus, hardware.stranger)))
    environment = {
        "ATTESTD_STATE_DIR": str(folder / "state"),
        "ATTESTD_TRUST_ANCHORS": str(folder / "roots"),
        "ATTESTD_ENDORSEMENTS": str(folder / "endorsements"),
        "ATTESTD_LISTEN": "127.0.0.1:0",
        "ATTESTD_ADMIN_LISTEN": "127.0.0.1:0",
        "ATTESTD_LOG_LEVEL": "error",
        **chain.settings(),
    }
    return Settings.load(None, environment, at)


def _approve(operator: Client, tdx: Attester, snp: SnpAttester) -> str:
    """Approve policies and a model and register a provider; return the provider's API key."""
    heading("The operator approves policies and a model and registers a provider")
    td, guest = parse_quote(tdx.quote()).body, image_digest(SnpReport().of(snp.chip).measurement)
    td_digest = bytes(measurements(td)["image_digest"])
    policies = {
        acts.TDX_POLICY: ("strict-tdx", td_digest),
        acts.SNP_POLICY: ("strict-snp", guest),
        acts.GPU_POLICY: ("cocoon-tdx-h100", td_digest),
    }
    for name, (basis, digest) in policies.items():
        approved = expect(operator.put(f"/v1/policies/{name}", _policy(name, basis, digest), "application/toml"), 200)
        say(f"   policy {approved['name']} version {approved['version']}, {approved['digest']}")
    model = expect(operator.put(f"/v1/models/{dump_digest(acts.MODEL)}", {"name": "demo-model"}), 200)
    say(f"   model {model['name']}, {model['digest']}")
    expect(operator.post("/v1/providers", {"id": _PROVIDER, "name": "A provider"}), 201)
    issued = expect(operator.post(f"/v1/providers/{_PROVIDER}/api-keys", {"label": "demo"}), 201)
    say(f"   provider {issued['provider']}, API key {issued['id']} (secret shown once)")
    return str(issued["token"])


def _policy(name: str, basis: str, digest: bytes) -> bytes:
    """Take a policy that is shipped, and accept one image alone: the one that the simulated machine runs."""
    text = (shipped("policies") / f"{basis}.toml").read_text(encoding="utf-8")
    more = ", min_guest_svn = 0" if basis == "strict-snp" else ""
    image = f'{{ name = "demo-image", role = "any", not_after = "any", image_digest = "{digest.hex()}"{more} }}'
    text = text.replace('images = "any"', f"images = [{image}]", 1)
    text = _IMAGE_DIGEST.sub(f'image_digest = "{digest.hex()}"', text)
    return text.replace(f'"{basis}"', f'"{name}"', 1).encode()


def _revoke(scene: Scene, revoked_id: str, *, left: set[str]) -> None:
    heading("The operator revokes a key, and the next who asks is told so; the others stay")
    revocation = {"kind": "key", "value": revoked_id, "reason": "the demonstration ends"}
    expect(scene.operator.post("/v1/revocations", revocation), 201)
    revoked = expect(scene.anyone.get(f"/v1/keys/{revoked_id}"), 200)
    require("state", revoked["state"], wanted="revoked")
    trusted = expect(scene.anyone.get("/v1/keys"), 200)
    require("trusted keys", sorted(key["key_id"] for key in trusted["items"]), wanted=sorted(left))


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
