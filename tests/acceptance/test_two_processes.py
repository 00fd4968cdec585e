"""Two processes on one PostgreSQL are one registry."""

import hashlib
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import psycopg
import pytest

from attestd.cli.client import Answer, Client
from attestd.evidence import dump_evidence_json
from tests.acceptance.processes import Installation, Running, at, until
from tests.api.world import Provider, new_key
from tests.postgres import Postgres

POSTS = 100


@dataclass
class Pair:
    installation: Installation
    one: Running
    other: Running
    provider: Provider
    url: str


@pytest.fixture(scope="module")
def pair(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    url = postgres.create()
    installation = Installation.simulated(
        tmp_path_factory.mktemp("postgresql"),
        database_url=url,
        registry_id="simulated:two-processes",
        live_keys_per_platform="1024",
    )
    with (
        installation.started() as one,
        installation.started() as other,
        installation.provider(one, "provider") as provider,
    ):
        yield Pair(installation, one, other, provider, url)


def post_all(pair: Pair, bodies: list[bytes]) -> list[Answer]:
    """Post all of it at the same moment, every second piece to the other process."""
    barrier = Barrier(len(bodies))
    callers = [at(pair.provider, pair.one), at(pair.provider, pair.other)]

    def post(index: int, body: bytes) -> Answer:
        barrier.wait(60)
        return callers[index % 2].post("/v1/evidence", body)

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(post, range(len(bodies)), bodies))


def test_one_challenge_for_a_hundred_keys_is_accepted_once(pair: Pair) -> None:
    """X08."""
    registry = pair.provider.challenge()
    keys = [new_key() for _ in range(POSTS)]
    bodies = [dump_evidence_json(pair.provider.attester.evidence(key, registry)) for key in keys]
    answers = post_all(pair, bodies)
    counts = Counter((answer.status, answer.document.get("reason")) for answer in answers)
    assert counts == {(201, None): 1, (409, "challenge.used"): POSTS - 1}
    winner = next(answer.document["key"]["key_id"] for answer in answers if answer.status == 201)
    known = [
        key_id
        for key_id in (hashlib.sha256(key.spki).hexdigest() for key in keys)
        if Client(pair.other.public_url).get(f"/v1/keys/{key_id}").status == 200
    ]
    assert known == [winner]
    with psycopg.connect(pair.url) as database:
        statement = "SELECT count(*) FROM results WHERE key_id = ANY(%s)"
        ids = [hashlib.sha256(key.spki).digest() for key in keys]
        assert database.execute(statement, (ids,)).fetchone() == (1,)


def test_one_piece_of_evidence_a_hundred_times_is_one_result(pair: Pair) -> None:
    """X05."""
    body = dump_evidence_json(pair.provider.evidence())
    answers = post_all(pair, [body] * POSTS)
    assert Counter(answer.status for answer in answers) == {201: 1, 200: POSTS - 1}
    assert len({answer.body for answer in answers}) == 1


def test_a_revocation_is_seen_by_the_other_process_at_once(pair: Pair) -> None:
    """By the first request after it was acknowledged, though the other process had kept the answer in memory."""
    ids = [pair.provider.register()["key"]["key_id"] for _ in range(12)]
    admin, elsewhere = pair.installation.admin(pair.one), Client(pair.other.public_url)

    def revoke(key_id: str) -> tuple[str, str]:
        elsewhere.get(f"/v1/keys/{key_id}")
        before = elsewhere.get(f"/v1/keys/{key_id}").document["state"]
        revoked = admin.post("/v1/revocations", {"kind": "key", "value": key_id, "reason": "test"})
        assert revoked.status == 201
        return before, elsewhere.get(f"/v1/keys/{key_id}").document["state"]

    with ThreadPoolExecutor(4) as pool:
        seen = Counter(pool.map(revoke, ids))
    assert seen == {("active", "revoked"): len(ids)}


def test_both_processes_answer_alike(pair: Pair) -> None:
    pair.provider.register()
    lists = [Client(running.public_url).get("/v1/keys?limit=1000") for running in (pair.one, pair.other)]
    assert lists[0].body == lists[1].body
    heads = [pair.installation.admin(running).get("/v1/audit?limit=1000") for running in (pair.one, pair.other)]
    assert heads[0].body == heads[1].body


@pytest.mark.slow
def test_a_server_that_has_stopped_makes_nobody_wait_for_long(pair: Pair, postgres: Postgres) -> None:
    """F07: however many wait, each hears within the time that callers give an answer; then all goes on."""
    anyone = Client(pair.one.public_url)

    def get(number: int) -> Answer:
        return anyone.get(f"/v1/keys/{number:064x}")

    with ThreadPoolExecutor(POSTS) as pool:
        postgres.signal(signal.SIGSTOP)
        try:
            answers = list(pool.map(get, range(POSTS)))
        finally:
            postgres.signal(signal.SIGCONT)
    assert {answer.status for answer in answers} == {503}
    assert anyone.get("/healthz/live").status == 200
    until("it does not come back", lambda: get(1).status == 404)


@pytest.mark.slow
def test_a_killed_process_leaves_the_other_at_work(postgres: Postgres, tmp_path: Path) -> None:
    """F09: neither the lock of writers nor a challenge is lost with it."""
    installation = Installation.simulated(
        tmp_path, database_url=postgres.create(), registry_id="simulated:killed", live_keys_per_platform="1024"
    )
    with installation.started() as staying, installation.provider(staying, "provider") as provider:
        for _ in range(3):
            going = installation.start()
            try:
                caller = at(provider, going)
                bodies = [dump_evidence_json(provider.evidence()) for _ in range(6)]
                with ThreadPoolExecutor(6) as pool:
                    posts = [pool.submit(caller.post, "/v1/evidence", body) for body in bodies]
                    next(iter(posts)).exception(30)
                    going.kill()
                    acknowledged = [post.result() for post in posts if post.exception(30) is None]
            finally:
                going.kill()
            again = [at(provider, staying).post("/v1/evidence", body) for body in bodies]
            assert {answer.status for answer in again} <= {200, 201}
            documents = {answer.body for answer in again}
            assert {answer.body for answer in acknowledged if answer.status == 201} <= documents
            assert len(documents) == len(bodies)
