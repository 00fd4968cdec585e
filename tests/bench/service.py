"""The service as it runs, beside the least that can answer over HTTP: both processes of their own, on loopback."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from itertools import cycle, islice
from pathlib import Path
from statistics import quantiles
from subprocess import DEVNULL, PIPE, Popen
from time import clock_gettime_ns, monotonic, perf_counter, sleep
from typing import Any, Final
from urllib.parse import urlsplit

from attestd.codec import load_base64url
from attestd.evidence import dump_evidence_json
from attestd.registrar import bootstrap_admin
from attestd.settings import Settings, now, shipped
from attestd.simulator import Attester, KeyPair, Registry, Vendor, collateral_files
from tests.bench import client
from tests.bench.client import Answer
from tests.bench.measure import Sample, Scale, Subjects
from tests.bench.verification import ROOT

_PROVIDER: Final = "bench"
# Keys that attest again and again, as enclaves do before their keys expire.
_KEYS: Final = 16
_STARTED_WITHIN: Final = 30.0
_SERVERS: Final = slice(0, 1)
_CLIENT: Final = slice(1, None)
_EVIDENCE_PATH: Final = "/v1/evidence"


@dataclass(frozen=True, slots=True)
class _Server:
    """A server of ours."""

    process: "Popen[str]"
    port: int

    def cpu(self) -> float:
        """Return the seconds of CPU that the process and its threads have used.

        This is the clock behind /proc/<pid>/stat, which shows it in hundredths of a second only. Neither server starts
        other processes.
        """
        # MAKE_PROCESS_CPUCLOCK of Linux, include/linux/posix-timers_types.h, with CPUCLOCK_SCHED.
        return clock_gettime_ns((~self.process.pid << 3) | 2) * 1e-9

    def ask(self, expected: int, *requests: bytes) -> list[Answer]:
        """Send requests; every answer must have the status that is expected."""
        answers = client.send(self.port, requests)
        for answer in answers:
            if answer.status != expected:
                message = f"{answer.status} where {expected} was expected: {answer.body[:500].decode()}"
                raise RuntimeError(message)
        return answers

    def sample(self, expected: int, requests: list[bytes]) -> Sample:
        """Measure what the server spends on these requests."""
        with _on(_CLIENT):
            cpu, started = self.cpu(), perf_counter()
            answers = self.ask(expected, *requests)
            elapsed, cpu = perf_counter() - started, self.cpu() - cpu
        percentiles = quantiles([answer.seconds for answer in answers], n=100, method="inclusive")
        return Sample(cpu / len(requests), elapsed / len(requests), percentiles[49], percentiles[98])


@contextmanager
def _on(some: slice) -> Iterator[None]:
    """Run this thread, and the processes that it starts, on some of the CPUs: the servers on the first, the client not.

    On one and the same CPU each answer would wake the client in the server's place, and the server would pay for it.
    """
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[some] or cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


@contextmanager
def subjects(folder: Path, scale: Scale) -> Iterator[Subjects]:
    """Start both servers and register a key; what the service answered is what the raw application answers."""
    with ExitStack() as stack:
        vendor = Vendor.of(at=now())
        settings, environment = _settings(folder, vendor)
        admin = bootstrap_admin(settings, now())
        service, admin_port = stack.enter_context(_service(folder, environment))
        provider = _Provider(service, _token(_Server(service.process, admin_port), admin), vendor)
        (posted,) = service.ask(201, *provider.evidence(1))
        get = client.request("GET", f"/v1/keys/{json.loads(posted.body)['key']['key_id']}")
        service.ask(200, get)
        (got,) = service.ask(200, get)  # the first answer is made, this one is kept
        raw = stack.enter_context(_raw(folder, {"GET": _described(got), "POST": _described(posted)}))
        gets = [get] * (scale.requests * 10)
        yield {
            "get": partial(service.sample, 200, gets),
            "raw_get": partial(raw.sample, 200, gets),
            "post": lambda: service.sample(201, provider.evidence(scale.requests)),
            "raw_post": partial(raw.sample, 201, provider.evidence(scale.requests)),
        }


class _Provider:
    """Makes requests with evidence, each answering a challenge of its own."""

    def __init__(self, service: _Server, token: str, vendor: Vendor) -> None:
        self._service = service
        self._token = token
        self._attester = Attester.of(vendor)
        self._keys = cycle([KeyPair.ed25519(f"bench {number}") for number in range(_KEYS)])

    def evidence(self, count: int) -> list[bytes]:
        ask = client.request("POST", "/v1/challenges", token=self._token)
        issued = [json.loads(answer.body) for answer in self._service.ask(201, *[ask] * count)]
        return [self._request(one, key) for one, key in zip(issued, islice(self._keys, count), strict=True)]

    def _request(self, issued: dict[str, Any], key: KeyPair) -> bytes:
        registry = Registry(issued["registry_id"], load_base64url(issued["challenge"]))
        body = dump_evidence_json(self._attester.evidence(key, registry))
        return client.request("POST", _EVIDENCE_PATH, token=self._token, body=body)


def _settings(folder: Path, vendor: Vendor) -> tuple[Settings, dict[str, str]]:
    """Trust the simulated vendor, and take as many requests as come; everything else is as shipped."""
    endorsements = folder / "endorsements"
    endorsements.mkdir(mode=0o700)
    for name, raw in collateral_files(vendor.collateral()).items():
        (endorsements / name).write_bytes(raw)
    root = folder / "root.der"
    root.write_bytes(vendor.root.der)
    environment = {
        "ATTESTD_STATE_DIR": str(folder / "state"),
        "ATTESTD_TRUST_ANCHORS": str(root),
        "ATTESTD_ENDORSEMENTS": str(endorsements),
        "ATTESTD_POLICIES": str(shipped("policies")),
        "ATTESTD_DEFAULT_POLICY": "strict-tdx",
        "ATTESTD_LISTEN": "127.0.0.1:0",
        "ATTESTD_ADMIN_LISTEN": "127.0.0.1:0",
        "ATTESTD_REQUESTS_PER_SECOND_PER_KEY": "100000",
        "ATTESTD_REQUESTS_PER_SECOND_PER_ADDRESS": "1000000",
    }
    return Settings.load(None, environment, now()), environment


@contextmanager
def _service(folder: Path, environment: dict[str, str]) -> Iterator[tuple[_Server, int]]:
    """Run `attestd serve`; it says in its log where it listens."""
    path = folder / "log"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ATTESTD_")}
    with path.open("wb") as log, _on(_SERVERS):
        command = [sys.executable, "-m", "attestd", "serve"]
        process = Popen(command, env=inherited | environment, cwd=ROOT, stdout=DEVNULL, stderr=log, text=True)
    with _ended(process):
        listening = _listening(process, path)
        ports = [urlsplit(listening[name]).port or 0 for name in ("public", "admin")]
        service = _Server(process, ports[0])
        _wait_until_ready(service)
        yield service, ports[1]


def _listening(process: "Popen[str]", log: Path) -> dict[str, Any]:
    until = monotonic() + _STARTED_WITHIN
    while process.poll() is None and monotonic() < until:
        lines = [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        for line in lines:
            if line["message"] == "listening":
                return dict(line)
        sleep(0.05)
    message = f"the service did not start:\n{log.read_text()}"
    raise RuntimeError(message)


def _wait_until_ready(service: _Server) -> None:
    until, ready = monotonic() + _STARTED_WITHIN, client.request("GET", "/healthz/ready")
    while client.send(service.port, [ready])[0].status != HTTPStatus.OK:
        if monotonic() > until:
            raise RuntimeError("the service does not become ready")
        sleep(0.05)


@contextmanager
def _raw(folder: Path, answers: dict[str, Any]) -> Iterator[_Server]:
    file = folder / "answers.json"
    file.write_text(json.dumps(answers))
    command = [sys.executable, "-m", "tests.bench.raw_process", str(file)]
    with _on(_SERVERS):
        process = Popen(command, cwd=ROOT, stdout=PIPE, text=True)
    with process, _ended(process):
        assert process.stdout is not None
        yield _Server(process, int(process.stdout.readline()))


@contextmanager
def _ended(process: "Popen[str]") -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(_STARTED_WITHIN)


def _token(admin: _Server, admin_token: str) -> str:
    """Register a provider and return an API key of its."""
    call: Callable[..., bytes] = partial(client.request, "POST", token=admin_token)
    admin.ask(201, call("/v1/providers", body=json.dumps({"id": _PROVIDER, "name": "Bench"}).encode()))
    (issued,) = admin.ask(
        201, call(f"/v1/providers/{_PROVIDER}/api-keys", body=json.dumps({"label": "bench"}).encode())
    )
    token: str = json.loads(issued.body)["token"]
    return token


def _described(answer: Answer) -> dict[str, Any]:
    """Return an answer as the raw application wants it: uvicorn itself adds the date."""
    lines = answer.head.decode("latin-1").split("\r\n")[1:]
    headers = [tuple(line.split(": ", 1)) for line in lines]
    return {
        "status": answer.status,
        "headers": [header for header in headers if header[0].lower() != "date"],
        "body": answer.body.decode(),
    }
