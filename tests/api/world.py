"""A whole service on loopback with a simulated vendor, and those who call it."""

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256, shake_256
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from attestd.api import Service
from attestd.claims import ProductLine
from attestd.codec import load_base64url
from attestd.evidence import Evidence, dump_evidence_json
from attestd.registrar import bootstrap_admin
from attestd.settings import BUILT, Settings, shipped
from attestd.simulator import (
    ASKED_ROLES,
    CHIPS,
    H100,
    AmdVendor,
    Attester,
    Gpu,
    GpuAttester,
    KeyPair,
    NvidiaVendor,
    Platform,
    Registry,
    SnpAttester,
    Vendor,
    answers,
    collateral_files,
)
from attestd.simulator.ocsp import State
from attestd.tdx.collateral import RawCollateral

# Well after the build, so that every window around it can be tested, and the same in every run.
NOW = BUILT.replace(hour=12) + timedelta(days=30)

_numbers = count(1)

# A vendor of SEV-SNP for each product line.
AmdVendors: TypeAlias = Mapping[ProductLine, AmdVendor]


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def advance(self, **parts: float) -> None:
        self.at += timedelta(**parts)


@dataclass
class Provider:
    """One provider: its API key, and machines of its own."""

    id: str
    token: str
    vendor: Vendor
    http: httpx.Client
    amd: AmdVendors = field(default_factory=dict)
    nvidia: NvidiaVendor = field(default_factory=NvidiaVendor.of)
    attester: Attester = field(init=False)

    def __post_init__(self) -> None:
        self.attester = self.machine("first")

    def machine(self, name: str, **platform: Any) -> Attester:
        """Make a machine that nobody else has."""
        ppid = sha256(f"{self.id} {name}".encode()).digest()[:16]
        return Attester.of(self.vendor, Platform(ppid=ppid, **platform))

    def snp_machine(self, name: str = "first", line: ProductLine = ProductLine.GENOA, **chip: Any) -> SnpAttester:
        """Make a machine with SEV-SNP that nobody else has."""
        usual = CHIPS[line]
        hwid = shake_256(f"{self.id} {name}".encode()).digest(len(usual.hwid))
        return SnpAttester.of(self.amd[line], replace(usual, **{"hwid": hwid, **chip}))

    def gpus(self, count: int = 2, name: str = "first", gpu: Gpu = H100) -> tuple[GpuAttester, ...]:
        """Make GPUs that nobody else has."""
        pdis = [sha256(f"{self.id} {name} {number}".encode()).digest()[:8] for number in range(count)]
        return tuple(GpuAttester.of(self.nvidia, replace(gpu, pdi=pdi)) for pdi in pdis)

    def challenge(self) -> Registry:
        """Ask for a challenge."""
        issued = self.http.post("/v1/challenges")
        assert issued.status_code == 201, issued.text
        return Registry(registry_id=issued.json()["registry_id"], challenge=load_base64url(issued.json()["challenge"]))

    def evidence(
        self, key: KeyPair | None = None, *, attester: Attester | SnpAttester | None = None, **how: Any
    ) -> Evidence:
        """Make evidence that is good, for a new challenge; for a new key unless one is given."""
        key = key or new_key()
        return (attester or self.attester).evidence(key, self.challenge(), **how)

    def composite(
        self,
        gpus: Iterable[GpuAttester],
        key: KeyPair | None = None,
        *,
        attester: Attester | SnpAttester | None = None,
        models: Iterable[bytes] = (),
        **how: Any,
    ) -> Evidence:
        """Make evidence of a machine with GPUs that is good, likewise."""
        key, registry, models = key or new_key(), self.challenge(), tuple(models)
        said = answers(gpus, registry.gpu_nonce(key, models))
        return (attester or self.attester).evidence(key, registry, models, gpus=said, **how)

    def post(self, evidence: Evidence | bytes, **headers: str) -> httpx.Response:
        """Post evidence."""
        raw = evidence if isinstance(evidence, bytes) else dump_evidence_json(evidence)
        return self.http.post("/v1/evidence", content=raw, headers={"content-type": "application/json", **headers})

    def register(self, key: KeyPair | None = None, **how: Any) -> dict[str, Any]:
        """Register a key, and return the result."""
        answer = self.post(self.evidence(key, **how))
        assert answer.status_code == 201, answer.text
        result: dict[str, Any] = answer.json()
        return result


@dataclass
class World:
    """A running service and whoever acts on it."""

    service: Service
    settings: Settings
    vendor: Vendor
    amd: AmdVendors
    nvidia: NvidiaVendor
    clock: Callable[[], datetime]
    admin_token: str
    stack: ExitStack
    admin: httpx.Client = field(init=False)
    public: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.admin = self.client(self.service.admin_url, self.admin_token)
        self.public = self.client(self.service.public_url)

    def client(self, url: str, token: str | None = None) -> httpx.Client:
        """Return a client that is closed with the world."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return self.stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=30))

    def provider(self) -> Provider:
        """Register a new provider."""
        name = f"provider-{next(_numbers)}"
        made = self.admin.post("/v1/providers", json={"id": name, "name": "A provider"})
        assert made.status_code == 201, made.text
        token = self.token(name)
        return Provider(name, token, self.vendor, self.client(self.service.public_url, token), self.amd, self.nvidia)

    def token(self, provider: str) -> str:
        """Issue an API key for a provider."""
        issued = self.admin.post(f"/v1/providers/{provider}/api-keys", json={"label": "test"})
        assert issued.status_code == 201, issued.text
        return str(issued.json()["token"])

    def auditor(self) -> httpx.Client:
        """Return a client with an auditor's API key for the public listener."""
        issued = self.admin.post("/v1/api-keys", json={"role": "auditor", "label": "test"})
        return self.client(self.service.public_url, issued.json()["token"])

    def key(self, key_id: str, **query: str) -> dict[str, Any]:
        """Return what everybody sees of a key."""
        answer = self.public.get(f"/v1/keys/{key_id}", params=query)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def metric(self, name: str, **labels: str) -> float:
        """Return one sample."""
        value = self.service.site.metrics.registry.get_sample_value(name, labels)
        return value or 0.0

    def supply(self, raw: RawCollateral, folder: str = "platform") -> None:
        """Put collateral into the endorsements folder, and have it noticed."""
        write_collateral(self.settings.endorsements / folder, raw)
        self.service.keep_up()

    def supply_amd(self, **documents: bytes) -> None:
        """Put documents of AMD's into the endorsements folder, each in a file of that name, and have them noticed."""
        write_amd(self.settings.endorsements, documents)
        self.service.keep_up()

    def supply_nvidia(self, files: Mapping[str, bytes]) -> None:
        """Put RIMs or OCSP answers into the endorsements folder, and have them noticed."""
        write_nvidia(self.settings.endorsements, files)
        self.service.keep_up()

    def supply_gpus(self, gpus: Iterable[GpuAttester], state: State = "good") -> None:
        """Have NVIDIA say of the certificates of devices that they are good, or something else."""
        self.supply_nvidia({f"brom_{gpu.gpu.pdi.hex()}.ocsp": gpu.ocsp("brom", state) for gpu in gpus})


def reason_of(answer: httpx.Response) -> str:
    """Return the reason of a refusal, which has the form of every refusal."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert len(answer.content) <= 4096
    document = answer.json()
    assert set(document) == {"type", "title", "status", "detail", "reason", "stage", "hint"}
    assert document["type"] == f"urn:attestd:reason:{document['reason']}"
    assert document["status"] == answer.status_code
    return str(document["reason"])


def new_key() -> KeyPair:
    return KeyPair.ed25519(f"key {next(_numbers)}")


def write_collateral(folder: Path, raw: RawCollateral) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in collateral_files(raw).items():
        (folder / name).write_bytes(content)


def write_amd(endorsements: Path, documents: Mapping[str, bytes]) -> None:
    """Write certificates and CRLs in DER into a folder of endorsements."""
    folder = endorsements / "amd"
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, raw in documents.items():
        (folder / f"{name}.der").write_bytes(raw)


def write_nvidia(endorsements: Path, files: Mapping[str, bytes]) -> None:
    """Write RIMs and OCSP answers into a folder of endorsements."""
    folder = endorsements / "nvidia"
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)


@cache
def _nvidia_files(at: datetime) -> dict[str, bytes]:
    """Return what is the same for every H100: its RIMs, and answers about who issued its certificates and theirs."""
    gpu = GpuAttester.of(NvidiaVendor.of(at=at))
    answered = {f"{role}.ocsp": gpu.ocsp(role) for role in ASKED_ROLES if role != "brom"}
    return answered | {f"{rim_id}.swidtag": raw for rim_id, raw in gpu.rims().items()}


@cache
def amd_vendors(at: datetime) -> AmdVendors:
    """Return the simulated vendor of every product line."""
    return {line: AmdVendor.of(line, at=at) for line in ProductLine}


@cache
def _amd_documents(at: datetime) -> dict[str, bytes]:
    """Return what is the same for every machine: who issues VCEKs and VLEKs, and the CRLs."""
    found: dict[str, bytes] = {}
    for line, vendor in amd_vendors(at).items():
        name = line.lower()
        found |= {f"{name}_ask": vendor.ask.der, f"{name}_asvk": vendor.asvk.der, f"{name}_crl": vendor.crl()}
    return found


def write_anchors(folder: Path, vendor: Vendor, amd: AmdVendors, nvidia: NvidiaVendor | None = None) -> str:
    """Write the roots of the vendors, and return where they are."""
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "intel.der").write_bytes(vendor.root.der)
    for line, of_line in amd.items():
        (folder / f"ark_{line.lower()}.der").write_bytes(of_line.ark.der)
    if nvidia is not None:
        (folder / "nvidia_devices.der").write_bytes(nvidia.root.der)
        (folder / "nvidia_rims.der").write_bytes(nvidia.rim_root.der)
    return str(folder)


def environment(directory: Path, vendor: Vendor | None, **settings: str) -> dict[str, str]:
    """Return the environment of a service that keeps everything below `directory`, with collateral in place."""
    directory.chmod(0o700)
    (directory / "endorsements").mkdir(mode=0o700, exist_ok=True)
    named = {
        "state_dir": str(directory / "state"),
        "endorsements": str(directory / "endorsements"),
        "policies": str(shipped("policies")),
        "default_policy": "strict-tdx",
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "requests_per_second_per_key": "100000",
        "requests_per_second_per_address": "1000000",
    }
    if settings.get("database_url", "").startswith("postgresql:"):
        # One log has one key; only an embedded registry makes its own.
        key = directory / "log-key"
        key.write_text(sha256(b"the key of the log").hexdigest())
        key.chmod(0o600)
        named["log_key"] = str(key)
    if vendor is not None:
        (directory / "root.der").write_bytes(vendor.root.der)
        named["trust_anchors"] = str(directory / "root.der")
        write_collateral(directory / "endorsements" / "platform", vendor.collateral())
    return {f"ATTESTD_{name.upper()}": value for name, value in (named | settings).items()}


# Starts a service with these settings.
Start: TypeAlias = Callable[..., World]


@contextmanager
def world(
    directory: Path,
    clock: Callable[[], datetime],
    *,
    ready: bool = True,
    amd_documents: bool = True,
    nvidia_files: bool = False,
    **settings: str,
) -> Iterator[World]:
    """Run a service whose vendors are simulated; unless told otherwise, wait until it is ready."""
    vendor, amd = Vendor.of(seed="attestd", at=clock()), amd_vendors(clock())
    nvidia = NvidiaVendor.of(at=clock())
    settings = {"trust_anchors": write_anchors(directory / "anchors", vendor, amd, nvidia)} | settings
    named = environment(directory, vendor, **settings)
    if amd_documents:
        write_amd(directory / "endorsements", _amd_documents(clock()))
    if nvidia_files:
        write_nvidia(directory / "endorsements", _nvidia_files(clock()))
    loaded = Settings.load(None, named, clock())
    token = bootstrap_admin(loaded, clock())
    with Service.started(loaded, clock=clock) as service, ExitStack() as stack:
        if ready:
            service.until_ready()
        yield World(service, loaded, vendor, amd, nvidia, clock, token, stack)


def raw_exchange(url: str, sent: bytes, *, timeout: float = 15) -> bytes:
    """Send bytes as they are, and return everything that comes until the peer closes."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        connection.sendall(sent)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def rss() -> int:
    """Return the memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
