"""What a verifier refuses to start with, and what it does not serve."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from attestd.api import Service
from attestd.cli import main
from attestd.codec import dump_base64, load_base64
from attestd.errors import Reason
from attestd.settings import Settings
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder
from tests.api.world import NOW, new_key, reason_of
from tests.cosigning.world import Leader, leader, verifier, verifier_settings, write_key
from tests.refusals import misconfigured
from tests.registrar_chain.chain import FaultChain
from tests.registrar_chain.world import VERIFIERS, Clock
from tests.registry.samples import digest


@pytest.fixture(scope="module")
def lead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Leader]:
    chain = FaultChain(VERIFIERS, 2, int(NOW.timestamp()))
    with leader(tmp_path_factory.mktemp("settings") / "leader", chain) as running:
        yield running


def refused(tmp_path: Path, lead: Leader, **settings: str) -> None:
    clock = Clock(lead.chain)
    named = verifier_settings(tmp_path / "verifier", 1, lead, clock, **settings)
    with misconfigured(Reason.SETTINGS), Service.started(Settings.load(None, named, clock()), clock=clock):
        pass


def test_a_verifier_serves_signatures_and_its_copy_of_the_log_alone(tmp_path: Path, lead: Leader) -> None:
    with (
        verifier(tmp_path, 1, lead, Clock(lead.chain)) as running,
        httpx.Client(base_url=running.service.public_url) as client,
    ):
        assert client.get("/healthz/ready").status_code == 200
        assert "attestd_cosignatures_total" in client.get("/metrics").text
        assert "/v1/cosignatures" in client.get("/openapi.json").json()["paths"]
        for path in ("/v1/keys", "/v1/chain", "/.well-known/attestd", "/v1/evidence", "/v1/log/checkpoint"):
            assert client.get(path).status_code == 404, path
        candidate = lead.build()
        running.sign(candidate)
        assert client.get("/v1/log/checkpoint").content == candidate.note
        assert reason_of(client.post("/v1/cosignatures", json={})) == "json.schema"
        checkpoint = candidate.checkpoint.to_cell()
        for boc in (bytes(3), dump_boc(checkpoint, Builder().ref(checkpoint).end())):  # no more than there has to be
            document = {"checkpoint": dump_base64(boc), "note": "note", "signature": "AAAA"}
            assert reason_of(client.post("/v1/cosignatures", json=document)) == "cell.boc_malformed"


@pytest.mark.parametrize(
    "settings",
    [
        {"registry_id": "simulated:another"},
        {"cosign_log_key": "no key"},
        {"cosign_leader": "00"},
        {"cosign_leader": VERIFIERS[1].hex()},
        {"cosign_of": "http://192.0.2.1"},
        {"cosign_token": "/nowhere"},
        {"chain_network": "/nowhere"},
        {"chain_registry": str(Address(0, digest("another")))},
        {"chain_wallet_key": "/nowhere"},
        {"policies": "/nowhere"},
    ],
    ids=lambda settings: "-".join((*settings, next(iter(settings.values()))[:10])),
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, lead: Leader, settings: dict[str, str]) -> None:
    refused(tmp_path, lead, **settings)


@pytest.mark.parametrize(
    "name", ["cosign_of", "cosign_token", "cosign_log_key", "cosign_leader", "chain_network", "chain_verifier_key"]
)
def test_nothing_may_be_left_out(tmp_path: Path, lead: Leader, name: str) -> None:
    clock = Clock(lead.chain)
    named = verifier_settings(tmp_path / "verifier", 1, lead, clock)
    del named[f"ATTESTD_{name.upper()}"]
    with misconfigured(Reason.SETTINGS):
        Settings.load(None, named, clock())


def test_a_key_that_is_no_verifier_of_the_network_file(tmp_path: Path, lead: Leader) -> None:
    refused(tmp_path, lead, chain_verifier_key=write_key(tmp_path / "key", digest("another key")))


def test_a_network_file_that_pins_no_verifiers(tmp_path: Path, lead: Leader) -> None:
    clock = Clock(lead.chain)
    named = verifier_settings(tmp_path / "verifier", 1, lead, clock)
    file = Path(named["ATTESTD_CHAIN_NETWORK"])
    network = json.loads(file.read_text())
    del network["attestd"]["verifiers"], network["attestd"]["threshold"]
    file.write_text(json.dumps(network))
    named["ATTESTD_CHAIN_VERIFIER_KEY"] = write_key(tmp_path / "key", digest("another key"))
    with Service.started(Settings.load(None, named, clock()), clock=clock):
        pass


@pytest.mark.parametrize(("text", "mode"), [("token", 0o640), ("two words", 0o600), ("", 0o600), ("x" * 2000, 0o600)])
def test_a_token_in_another_form_or_that_others_can_read(tmp_path: Path, lead: Leader, text: str, mode: int) -> None:
    token = tmp_path / "token"
    token.write_text(text)
    token.chmod(mode)
    refused(tmp_path, lead, cosign_token=str(token))


def test_a_policy_twice(tmp_path: Path, lead: Leader) -> None:
    folder, (policy,) = tmp_path / "policies", lead.world.settings.policies.glob("strict-tdx.toml")
    folder.mkdir()
    for name in ("a.toml", "b.toml"):
        (folder / name).write_bytes(policy.read_bytes())
    refused(tmp_path, lead, policies=str(folder))


def test_serve_and_cosign_are_told_apart(
    tmp_path: Path, lead: Leader, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in verifier_settings(tmp_path / "verifier", 1, lead, Clock(lead.chain)).items():
        monkeypatch.setenv(name, value)
    assert main(["serve"]) != 0
    assert "attestd cosign" in capsys.readouterr().err
    monkeypatch.delenv("ATTESTD_COSIGN_OF")
    for name in ("TOKEN", "LOG_KEY", "LEADER"):
        monkeypatch.delenv(f"ATTESTD_COSIGN_{name}")
    for name in ("NETWORK", "VERIFIER_KEY"):
        monkeypatch.delenv(f"ATTESTD_CHAIN_{name}")
    assert main(["cosign"]) != 0
    assert "cosign_of" in capsys.readouterr().err


def test_evidence_is_for_auditors_alone(lead: Leader) -> None:
    evidence = lead.provider.evidence(new_key())
    result = lead.provider.post(evidence)
    path = f"/v1/evidence/{sha256(result.content).hexdigest()}"
    auditor = lead.world.auditor()
    found = auditor.get(path)
    assert found.headers["cache-control"] == "no-store"
    assert load_base64(found.json()["result"]) == result.content
    sent = load_base64(found.json()["evidence"])
    assert sent == result.request.content
    for client in (lead.world.public, lead.provider.http, lead.world.client(lead.world.service.public_url, "x")):
        answer = client.get(path)
        assert (answer.status_code, reason_of(answer)) == (404, "request.not_found")
    assert auditor.get(f"/v1/evidence/{'00' * 32}").status_code == 404


def test_the_copy_of_a_verifier_is_examined_as_a_copy(
    tmp_path: Path, lead: Leader, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(lead.chain)
    lead.register()
    with verifier(tmp_path / "verifier", 1, lead, clock) as running:
        running.sign(lead.build())
    for name, value in verifier_settings(tmp_path / "verifier", 1, lead, clock).items():
        monkeypatch.setenv(name, value)
    assert main(["log", "fsck", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["records"] > 0, document["faults"]) == (True, [])
