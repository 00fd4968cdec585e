"""A process that is killed under load loses nothing that it acknowledged, and tears nothing."""

import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from threading import Event
from time import sleep
from typing import Any

import pytest

from attestd.cli.client import Client
from attestd.codec import load_base64url
from attestd.evidence import dump_evidence_json
from attestd.registry import Registry as Database
from attestd.registry import audit
from attestd.settings import now
from attestd.simulator import Attester, Platform, Registry
from tests.acceptance.processes import Installation, new_key

KILLS = 20
CALLERS = 3

Acknowledged = dict[str, bytes]  # the result's id and its document, as they were answered


@contextmanager
def load(caller: Client, attester: Attester, acknowledged: Acknowledged) -> Iterator[None]:
    """Register one key after the other until the block ends; whatever is not answered counts for nothing."""
    stopped = Event()

    def register() -> None:
        while not stopped.is_set():
            try:
                issued = caller.post("/v1/challenges").document
                registry = Registry(issued["registry_id"], load_base64url(issued["challenge"]))
                answer = caller.post("/v1/evidence", dump_evidence_json(attester.evidence(new_key(), registry)))
            except (OSError, HTTPException):
                return
            assert answer.status == 201, answer.body
            acknowledged[answer.document["id"]] = answer.body

    with ThreadPoolExecutor(CALLERS) as pool:
        callers = [pool.submit(register) for _ in range(CALLERS)]
        try:
            yield
        finally:
            stopped.set()
        for one in callers:
            one.result()


def all_keys(url: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    query = "?limit=1000"
    while query:
        page = Client(url).get(f"/v1/keys{query}").document
        items += page["items"]
        query = f"?limit=1000&cursor={page['next']}" if page["next"] else ""
    return items


@pytest.mark.slow
def test_killed_twenty_times_under_load(tmp_path: Path) -> None:
    installation = Installation.simulated(tmp_path, live_keys_per_platform="1024")
    chance = random.Random(20)
    acknowledged: Acknowledged = {}
    fresh: Acknowledged = {}
    token = None
    for kill in range(KILLS):
        running = installation.start()
        try:
            if token is None:
                token = installation.register(running, "killed").token
            caller = Client(running.public_url, token)
            require_all(caller, fresh)
            acknowledged |= fresh
            fresh = {}
            # A machine of its own for each round, so that none has too many keys.
            machine = Attester.of(installation.vendor, Platform(ppid=kill.to_bytes(16)))
            with load(caller, machine, fresh):
                sleep(chance.uniform(0.02, 0.3))
                running.kill()
        finally:
            running.kill()
    with installation.started() as running:
        caller = Client(running.public_url, token)
        acknowledged |= fresh
        require_all(caller, acknowledged)
        keys = all_keys(running.public_url)
        by_result = {key["result_id"]: key for key in keys}
        # What was acknowledged is trusted; what was not is there as a whole or not at all.
        assert by_result.keys() >= acknowledged.keys()
        for result_id, key in by_result.items():
            document = caller.get(f"/v1/results/{result_id}").body
            assert key["result_digest"] == "sha256:" + hashlib.sha256(document).hexdigest()
    assert len(acknowledged) >= KILLS
    database = Database.open(
        installation.settings.database_url, registry_id=installation.settings.registry_id, at=now()
    )
    try:
        assert database.read(audit.verify).seq > 0
    finally:
        database.close()


def require_all(caller: Client, acknowledged: Acknowledged) -> None:
    """Read back everything that was acknowledged, byte for byte."""
    for result_id, document in acknowledged.items():
        answer = caller.get(f"/v1/results/{result_id}")
        assert (answer.status, answer.body) == (200, document)
