"""The whole life of a key, through two processes on one database: whatever one does, the other knows at once."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, Final

import httpx
import pytest

from attestd.cli.client import Client
from attestd.codec import load_base64url
from attestd.evidence import Evidence, QuoteEvidence, dump_evidence_json
from attestd.simulator import Attester, KeyPair, Registry, TdReport, append, negate_s
from tests.acceptance.processes import Installation, Running, at, until
from tests.api.world import Provider, new_key, write_collateral

_numbers = count(1)

# The product line of a test of its own; every other machine is of the one that the simulator makes.
PRODUCT_LINE: Final = b"\xf0\x51\x6e\x00\x00\x01"


@dataclass
class Pair:
    """Two processes, and what both rest on."""

    installation: Installation
    one: Running
    other: Running

    @property
    def admin(self) -> Client:
        return self.installation.admin(self.one)

    @contextmanager
    def provider(self) -> Iterator[Provider]:
        with self.installation.provider(self.one, f"life-{next(_numbers)}") as provider:
            yield provider

    def seen(self, key_id: str) -> list[dict[str, Any]]:
        """Return how each process answers for a key."""
        answers = [Client(running.public_url).get(f"/v1/keys/{key_id}") for running in (self.one, self.other)]
        assert {answer.status for answer in answers} == {200}
        return [answer.document for answer in answers]

    def states(self, key_id: str) -> set[str]:
        return {document["state"] for document in self.seen(key_id)}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    installation = Installation.simulated(tmp_path_factory.mktemp("pair"), endorsements_refresh="1")
    endorse(installation, PRODUCT_LINE)
    with installation.started() as one, installation.started() as other:
        yield Pair(installation, one, other)


@pytest.fixture
def provider(pair: Pair) -> Iterator[Provider]:
    with pair.provider() as provider:
        yield provider


def key_id_of(result: dict[str, Any]) -> str:
    return str(result["key"]["key_id"])


def reason_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, str(answer.json()["reason"])


def test_the_journey_of_a_key(pair: Pair, provider: Provider) -> None:
    """Provider, API key, challenge, evidence, result, key: begun at one process and read at the other."""
    issued = at(provider, pair.other).post("/v1/challenges").document
    registry = Registry(registry_id=issued["registry_id"], challenge=load_base64url(issued["challenge"]))
    key = new_key()
    answer = provider.post(provider.attester.evidence(key, registry))
    assert answer.status_code == 201
    result = answer.json()
    assert result["tier"] == "affirming"

    elsewhere = at(provider, pair.other).get(f"/v1/results/{result['id']}")
    assert (elsewhere.status, elsewhere.body) == (200, answer.content)

    one, other = pair.seen(hashlib.sha256(key.spki).hexdigest())
    assert one == other
    assert (one["state"], one["result_id"], one["valid_until"]) == ("active", result["id"], result["valid_until"])
    assert one["result_digest"] == "sha256:" + hashlib.sha256(answer.content).hexdigest()
    listed = Client(pair.other.public_url).get(f"/v1/keys?provider={provider.id}").document["items"]
    assert listed == [one]


def test_an_answer_that_has_not_changed_is_not_sent_again(pair: Pair, provider: Provider) -> None:
    key_id = key_id_of(provider.register())
    url = f"{pair.other.public_url}/v1/keys/{key_id}"
    first = httpx.get(url)
    again = httpx.get(url, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    revoked = pair.admin.post("/v1/revocations", {"kind": "key", "value": key_id, "reason": "test"})
    assert revoked.status == 201
    changed = httpx.get(url, headers={"if-none-match": first.headers["etag"]})
    assert (changed.status_code, changed.json()["state"]) == (200, "revoked")
    assert changed.headers["etag"] != first.headers["etag"]
    assert changed.headers["cache-control"] == "no-cache"


def test_what_is_public_tells_no_machine_from_another(pair: Pair, provider: Provider) -> None:
    """A12: neither PPID nor platform id, in hex or base64, in anything that anybody may read."""
    result = provider.register()
    pck = result["claims"]["pck"]
    secrets = [result["platform"], pck["ppid"], pck["platform_instance_id"]]
    assert all(len(secret) >= 32 for secret in secrets)
    key_id = key_id_of(result)
    for path in (
        f"/v1/keys/{key_id}",
        f"/v1/keys/{key_id}?at={result['at']}",
        "/v1/keys",
        "/v1/models",
        "/v1/images",
        "/v1/policies",
        "/metrics",
        "/.well-known/attestd",
        "/healthz/ready",
    ):
        answer = Client(pair.one.public_url).get(path)
        assert answer.status == 200, path
        for secret in secrets:
            assert secret.encode() not in answer.body.lower(), path


# Revocation


@dataclass
class Subject:
    """A key, what it rests on, and how to make another that rests on the same."""

    provider: Provider
    key: KeyPair
    attester: Attester
    body: TdReport
    models: tuple[bytes, ...]
    evidence: Evidence
    result: dict[str, Any]

    def again(self) -> Evidence:
        """Make new evidence for the same key, on the same machine with the same image and models."""
        registry = self.provider.challenge()
        return self.attester.evidence(self.key, registry, self.models, body=self.body)


def subject_of(pair: Pair, provider: Provider, **platform: Any) -> Subject:
    """Register a key that shares nothing with any other but the service, and the product line unless told otherwise."""
    number = next(_numbers)
    model = hashlib.sha256(b"model %d" % number).digest()
    assert pair.admin.put(f"/v1/models/sha256:{model.hex()}", {"name": f"model {number}"}).status == 200
    attester, key = provider.machine(f"machine {number}", **platform), new_key()
    body = TdReport(rtmr2=hashlib.sha384(b"%d" % number).digest())
    evidence = attester.evidence(key, provider.challenge(), (model,), body=body)
    answer = provider.post(evidence)
    assert answer.status_code == 201, answer.text
    return Subject(provider, key, attester, body, (model,), evidence, answer.json())


def endorse(installation: Installation, fmspc: bytes) -> None:
    """Put the collateral of another product line into the folder."""
    tcb_info = installation.vendor.tcb_info(lambda document: document.update(fmspc=fmspc.hex().upper()))
    raw = installation.vendor.collateral(tcb_info=tcb_info)
    write_collateral(installation.directory / "endorsements" / fmspc.hex(), raw)


def value_of(kind: str, subject: Subject) -> str:
    match kind:
        case "key":
            return key_id_of(subject.result)
        case "platform":
            return str(subject.result["platform"])
        case "image":
            return f"sha256:{subject.result['claims']['image_digest']}"
        case "model":
            return "sha256:" + subject.models[0].hex()
        case "provider":
            return subject.provider.id
        case "product_line":
            return str(subject.result["claims"]["pck"]["fmspc"])
        case _:
            raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["key", "platform", "image", "model", "provider", "product_line"])
def test_a_revocation_takes_effect_at_once_and_for_good(pair: Pair, provider: Provider, kind: str) -> None:
    """R09, and what is kept in memory by either process."""
    subject = subject_of(pair, provider, **({"fmspc": PRODUCT_LINE} if kind == "product_line" else {}))
    key_id = key_id_of(subject.result)
    with pair.provider() as bystander:
        control = key_id_of(subject_of(pair, bystander).result)
        before = pair.seen(key_id)
        for _ in range(2):
            assert pair.states(key_id) == pair.states(control) == {"active"}

        prepared = subject.again()
        revocation = {"kind": kind, "value": value_of(kind, subject), "reason": "test"}
        revoked = pair.admin.post("/v1/revocations", revocation)
        assert (revoked.status, revoked.document["keys"]) == (201, 1)

        assert pair.states(key_id) == {"revoked"}
        assert pair.states(control) == {"active"}
        for running in (pair.one, pair.other):
            anyone = Client(running.public_url)
            assert anyone.get(f"/v1/keys?provider={provider.id}").document["items"] == []
            assert [
                item["key_id"]
                for item in anyone.get(f"/v1/keys?provider={provider.id}&state=revoked").document["items"]
            ] == [key_id]
            refusals = [
                at(provider, running).post("/v1/evidence", dump_evidence_json(evidence))
                for evidence in (subject.evidence, prepared)
            ]
            match kind:
                case "provider":
                    expected = [(401, "access.unauthenticated")] * 2
                case "model":
                    expected = [(403, "key.revoked"), (403, "policy.not_affirming")]
                case _:
                    expected = [(403, "key.revoked")] * 2
            assert [(answer.status, answer.document["reason"]) for answer in refusals] == expected
            if kind == "model":
                break  # the second piece of evidence has its result now
        assert pair.states(key_id) == {"revoked"}
        # That it had been trusted before is not rewritten.
        past = Client(pair.other.public_url).get(f"/v1/keys/{key_id}?at={before[0]['registered_at']}")
        assert (past.status, past.document) == (200, before[0])
        again = pair.admin.post("/v1/revocations", revocation)
        assert (again.status, again.document) == (201, revoked.document)
        subject_named = f"{kind}:{revocation['value'].removeprefix('sha256:')}"
        audited = pair.admin.get("/v1/audit?limit=1000").document["items"]
        assert [entry["action"] for entry in audited if entry["subject"] == subject_named] == ["revocation.add"]


def test_a_key_that_rests_on_what_was_revoked_is_not_taken_later(pair: Pair, provider: Provider) -> None:
    """A new key on a revoked machine."""
    subject = subject_of(pair, provider)
    revocation = {"kind": "platform", "value": subject.result["platform"], "reason": "test"}
    assert pair.admin.post("/v1/revocations", revocation).status == 201
    answer = provider.post(subject.attester.evidence(new_key(), provider.challenge(), body=subject.body))
    assert reason_of(answer) == (403, "key.revoked")


@pytest.mark.slow
def test_a_revocation_that_races_with_renewals_wins(pair: Pair, provider: Provider) -> None:
    """R10: each key is renewed by one process while the other revokes it."""
    for _ in range(60):
        key = new_key()
        key_id = key_id_of(provider.register(key))
        renewal = dump_evidence_json(provider.evidence(key))
        barrier = Barrier(2)
        statuses: list[int] = []

        def renew(renewal: bytes = renewal, barrier: Barrier = barrier, statuses: list[int] = statuses) -> None:
            barrier.wait(10)
            statuses.append(at(provider, pair.other).post("/v1/evidence", renewal).status)

        thread = Thread(target=renew)
        thread.start()
        barrier.wait(10)
        revoked = pair.admin.post("/v1/revocations", {"kind": "key", "value": key_id, "reason": "race"})
        assert revoked.status == 201
        assert pair.states(key_id) == {"revoked"}
        thread.join(30)
        assert statuses in ([201], [403])
        assert pair.states(key_id) == {"revoked"}


# Replays


def test_replays_at_another_process(pair: Pair, provider: Provider) -> None:
    """X05, X06: the first result, whoever is asked, and never a second record."""
    evidence = provider.evidence()
    first = provider.post(evidence)
    assert first.status_code == 201
    assert isinstance(evidence.cpu, QuoteEvidence)
    for edit in (append(b"\0" * 40), negate_s(636)):
        replayed = replace(evidence, cpu=replace(evidence.cpu, quote=edit(evidence.cpu.quote)))
        again = at(provider, pair.other).post("/v1/evidence", dump_evidence_json(replayed))
        assert (again.status, again.body) == (200, first.content)


def test_a_challenge_serves_one_key_at_all_processes(pair: Pair, provider: Provider) -> None:
    """X07, X08."""
    registry = provider.challenge()
    assert provider.post(provider.attester.evidence(new_key(), registry)).status_code == 201
    second = dump_evidence_json(provider.attester.evidence(new_key(), registry))
    answer = at(provider, pair.other).post("/v1/evidence", second)
    assert (answer.status, answer.document["reason"]) == (409, "challenge.used")


def test_a_challenge_of_another_provider_at_another_process(pair: Pair, provider: Provider) -> None:
    """X07, X09."""
    with pair.provider() as other:
        evidence = dump_evidence_json(other.attester.evidence(new_key(), provider.challenge()))
        answer = at(other, pair.other).post("/v1/evidence", evidence)
        assert (answer.status, answer.document["reason"]) == (409, "challenge.unknown")


def test_a_key_belongs_to_one_provider_at_all_processes(pair: Pair, provider: Provider) -> None:
    """X10, X11."""
    key = new_key()
    provider.register(key)
    with pair.provider() as other:
        owned = at(other, pair.other).post("/v1/evidence", dump_evidence_json(other.evidence(key)))
        assert (owned.status, owned.document["reason"]) == (409, "key.owned")
        taken = other.evidence(attester=provider.attester)
        conflict = at(other, pair.other).post("/v1/evidence", dump_evidence_json(taken))
        assert (conflict.status, conflict.document["reason"]) == (409, "platform.conflict")
        # Nothing of either refusal is left behind: the same machine serves its owner as before.
        provider.register()


# Collateral that comes while the service runs


def accepted(provider: Provider, evidence: Evidence) -> httpx.Response | None:
    """Post evidence; while it cannot be judged, nothing is recorded."""
    answer = provider.post(evidence)
    if answer.status_code == 503:
        return None
    assert answer.status_code == 201, answer.text
    return answer


def test_missing_collateral_is_named_and_then_taken_from_the_folder(pair: Pair, provider: Provider) -> None:
    fmspc = b"\xf0\x51\x6f\x00\x00\x01"
    attester = provider.machine("new", fmspc=fmspc)
    key = new_key()
    evidence = attester.evidence(key, provider.challenge())
    answer = provider.post(evidence)
    assert reason_of(answer) == (503, "tdx.endorsements_missing")
    assert int(answer.headers["retry-after"]) > 0
    assert "TCB Info of TDX FMSPC f0516f000001" in answer.json()["detail"]
    assert Client(pair.one.public_url).get(f"/v1/keys/{hashlib.sha256(key.spki).hexdigest()}").status == 404
    endorse(pair.installation, fmspc)
    # Nothing was recorded, so that the very same evidence is good as soon as it can be judged.
    taken = until("new collateral is not taken", lambda: accepted(provider, evidence))
    assert pair.states(key_id_of(taken.json())) == {"active"}


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """X07: challenges, used or not, results and keys are there after a process was killed."""
    installation = Installation.simulated(tmp_path)
    first = installation.start()
    try:
        with installation.provider(first, "restarted") as provider:
            evidence, prepared = provider.evidence(), provider.evidence()
            recorded = provider.post(evidence)
            second = replace(provider.evidence(), challenge=evidence.challenge)
            assert recorded.status_code == 201
    finally:
        first.kill()
    with installation.started() as running:
        caller = at(provider, running)
        again = caller.post("/v1/evidence", dump_evidence_json(evidence))
        assert (again.status, again.body) == (200, recorded.content)
        assert caller.post("/v1/evidence", dump_evidence_json(prepared)).status == 201
        used = provider.attester.evidence(
            new_key(), Registry(registry_id=recorded.json()["registry_id"], challenge=second.challenge)
        )
        refused = caller.post("/v1/evidence", dump_evidence_json(used))
        assert (refused.status, refused.document["reason"]) == (409, "challenge.used")
