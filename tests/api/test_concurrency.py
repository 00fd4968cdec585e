"""Many at once: one challenge, one key, two processes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from attestd.codec import load_base64url
from attestd.evidence import dump_evidence_json
from attestd.registrar import bootstrap_admin
from attestd.settings import Settings, now
from attestd.simulator import Attester, Registry, Vendor
from tests.acceptance.processes import until
from tests.api.world import Provider, World, environment, new_key, world
from tests.evidence import ROOT

POSTS = 100


def post_all(urls: list[str], token: str, bodies: list[bytes]) -> list[httpx.Response]:
    """Post all bodies at the same time, in turn to each of the services."""

    async def post() -> list[httpx.Response]:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(headers=headers, limits=limits, timeout=60) as client:
            return await asyncio.gather(
                *(
                    client.post(urls[number % len(urls)] + "/v1/evidence", content=body)
                    for number, body in enumerate(bodies)
                )
            )

    return asyncio.run(post())


def test_a_challenge_is_accepted_once(shared: World, provider: Provider) -> None:
    """X08: a hundred different pieces of good evidence for one challenge."""
    registry = provider.challenge()
    bodies = [dump_evidence_json(provider.attester.evidence(new_key(), registry)) for _ in range(POSTS)]
    answers = post_all([shared.service.public_url], provider.token, bodies)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: POSTS - 1}
    assert {answer.json()["reason"] for answer in answers if answer.status_code == 409} == {"challenge.used"}
    keys = shared.public.get("/v1/keys", params={"provider": provider.id}).json()["items"]
    assert len(keys) == 1


def test_the_same_evidence_at_once_is_recorded_once(shared: World, provider: Provider) -> None:
    body = dump_evidence_json(provider.evidence())
    answers = post_all([shared.service.public_url], provider.token, [body] * POSTS)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: POSTS - 1}
    assert len({answer.content for answer in answers}) == 1


@dataclass
class Process:
    """A service in a process of its own."""

    public_url: str
    admin_url: str
    process: subprocess.Popen


SERVE = """
import os, sys
from attestd.api import serve
from attestd.settings import Settings, now
serve(Settings.load(None, os.environ, now()))
"""


@contextmanager
def process(directory: Path, vendor: Vendor, **settings: str) -> Iterator[Process]:
    variables = {**os.environ, **environment(directory, vendor, **settings)}
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], env=variables, cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stderr is not None
            for line in running.stderr:
                entry = json.loads(line)
                if entry["message"] == "listening":
                    break
            else:
                pytest.fail("the service did not start")
            until("it does not become ready", lambda: httpx.get(entry["public"] + "/healthz/ready").status_code == 200)
            yield Process(entry["public"], entry["admin"], running)
        finally:
            running.send_signal(signal.SIGTERM)
            running.communicate()
            assert running.wait(timeout=40) == 0


@pytest.fixture
def vendor() -> Vendor:
    return Vendor.of(seed="attestd", at=now())


def admin_of(directory: Path, vendor: Vendor, **settings: str) -> str:
    return bootstrap_admin(Settings.load(None, environment(directory, vendor, **settings), now()), now())


def test_two_processes_on_one_database(tmp_path: Path, postgres_url: str, vendor: Vendor) -> None:
    """X08 with two replicas; and what one of them revokes, the other does not serve any more."""
    shared = {"database_url": postgres_url, "registry_id": "simulated:shared"}
    directories = [tmp_path / "one", tmp_path / "two"]
    for directory in directories:
        directory.mkdir(mode=0o700)
    token = admin_of(directories[0], vendor, **shared)
    with ExitStack() as stack:
        one, two = (stack.enter_context(process(directory, vendor, **shared)) for directory in directories)
        admin = stack.enter_context(
            httpx.Client(base_url=one.admin_url, headers={"authorization": f"Bearer {token}"}, timeout=30)
        )
        admin.post("/v1/providers", json={"id": "acme", "name": "Acme"})
        key = admin.post("/v1/providers/acme/api-keys", json={"label": "x"}).json()["token"]
        bearer = {"authorization": f"Bearer {key}"}
        challenge = httpx.post(two.public_url + "/v1/challenges", headers=bearer).json()
        registry = Registry(registry_id=challenge["registry_id"], challenge=load_base64url(challenge["challenge"]))
        attester = Attester.of(vendor)
        bodies = [dump_evidence_json(attester.evidence(new_key(), registry)) for _ in range(POSTS)]
        answers = post_all([one.public_url, two.public_url], key, bodies)
        assert Counter(answer.status_code for answer in answers) == {201: 1, 409: POSTS - 1}

        (accepted,) = (answer.json() for answer in answers if answer.status_code == 201)
        path = f"/v1/keys/{accepted['key']['key_id']}"
        for service in (one, two, one, two):
            assert httpx.get(service.public_url + path).json()["state"] == "active"
        admin.post("/v1/revocations", json={"kind": "key", "value": accepted["key"]["key_id"], "reason": "x"})
        # The other process hears of it from the database, not from us: ask until it has.
        while httpx.get(two.public_url + path).json()["state"] == "active":
            pass
        assert httpx.get(two.public_url + path).json()["state"] == "revoked"


@pytest.mark.parametrize("apart", [-600.0, 600.0], ids=["behind", "ahead"])
def test_r11_a_clock_that_is_not_the_databases(tmp_path: Path, postgres_url: str, apart: float) -> None:
    """A process that takes another time for the present says nothing of keys, and decides nothing, until it is set."""
    offset = [0.0]

    def clock() -> datetime:
        return now() + timedelta(seconds=offset[0])

    with world(tmp_path, clock, database_url=postgres_url, registry_id="simulated:clock") as one:
        provider = one.provider()
        offset[0] = apart / 30  # 20 s: by so much clocks may differ
        evidence = provider.evidence()
        path = f"/v1/keys/{provider.register()['key']['key_id']}"
        assert one.public.get(path).json()["state"] == "active"
        offset[0] = apart
        for answer in (one.public.get(path), one.public.get("/healthz/ready"), provider.post(evidence)):
            assert (answer.status_code, answer.json().get("reason")) == (503, "clock.database"), answer.text
        assert ("behind" if apart < 0 else "ahead of") in one.public.get(path).json()["detail"]
        offset[0] = apart / 30
        assert one.public.get(path).json()["state"] == "active"
        assert provider.post(evidence).status_code == 201


class TestProcess:
    def test_a_stop_finishes_what_was_begun(self, tmp_path: Path, vendor: Vendor) -> None:
        """F30: every post that was sent is answered, and what was answered 201 is there after the next start."""
        tmp_path.chmod(0o700)
        token = admin_of(tmp_path, vendor)
        with process(tmp_path, vendor) as running:
            with httpx.Client(base_url=running.admin_url, headers={"authorization": f"Bearer {token}"}) as admin:
                admin.post("/v1/providers", json={"id": "acme", "name": "Acme"})
                key = admin.post("/v1/providers/acme/api-keys", json={"label": "x"}).json()["token"]
            bearer = {"authorization": f"Bearer {key}"}
            attester = Attester.of(vendor)
            accepted = []
            with httpx.Client(base_url=running.public_url, headers=bearer) as client:
                while True:
                    try:
                        issued = client.post("/v1/challenges").json()
                        registry = Registry(
                            registry_id=issued["registry_id"], challenge=load_base64url(issued["challenge"])
                        )
                        body = dump_evidence_json(attester.evidence(new_key(), registry))
                        answer = client.post("/v1/evidence", content=body, headers={"content-type": "application/json"})
                    except httpx.TransportError:
                        break
                    assert answer.status_code in (201, 409), answer.text
                    if answer.status_code == 201:
                        accepted.append(answer.json()["key"]["key_id"])
                    if len(accepted) == 5:
                        running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(timeout=40) == 0
        assert len(accepted) >= 5
        with process(tmp_path, vendor) as again:
            for key_id in accepted:
                assert httpx.get(f"{again.public_url}/v1/keys/{key_id}").json()["state"] == "active"

    def test_logs_are_json_without_secrets(self, tmp_path: Path, vendor: Vendor) -> None:
        """A13, and every request with its id."""
        tmp_path.chmod(0o700)
        token = admin_of(tmp_path, vendor)
        variables = {**os.environ, **environment(tmp_path, vendor, log_level="debug")}
        with subprocess.Popen(
            [sys.executable, "-c", SERVE], env=variables, cwd=ROOT, stderr=subprocess.PIPE, text=True
        ) as running:
            assert running.stderr is not None
            lines = []
            for line in running.stderr:
                lines.append(line)
                if '"listening"' in line:
                    break
            url = json.loads(lines[-1])["public"]
            hostile = {"authorization": f"Bearer {token}", "x-request-id": "forged", "user-agent": "forged"}
            answers = [
                httpx.post(url + "/v1/evidence", headers=hostile, content=b"secret-evidence"),
                httpx.get(url + "/v1/keys/%0d%0a{}", headers=hostile),
                httpx.get(url + "/v1/keys", headers=hostile),
            ]
            running.send_signal(signal.SIGTERM)
            lines += running.stderr.read().splitlines()
            assert running.wait(timeout=40) == 0
        entries = [json.loads(line) for line in lines]
        by_request = {entry.get("request"): entry for entry in entries}
        for answer in answers:
            assert by_request[answer.headers["x-request-id"]]["status"] == answer.status_code
        refused = by_request[answers[0].headers["x-request-id"]]
        assert (refused["reason"], refused["route"], refused["method"]) == ("access.forbidden", "/v1/evidence", "POST")
        text = "\n".join(lines)
        for secret in (token, token.split("_", 2)[2], "secret-evidence", "forged"):
            assert secret not in text
