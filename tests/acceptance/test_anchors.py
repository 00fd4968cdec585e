"""Real and simulated hardware never meet (attacks.md, A20)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attestd.cli.client import Client
from attestd.codec import dump_base64, load_base64url
from attestd.settings import now
from attestd.simulator import Registry, TdReport, bits
from tests.acceptance.processes import Installation, Running, new_key
from tests.api.world import write_collateral


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Running]]:
    installation = Installation.simulated(tmp_path_factory.mktemp("simulated"))
    with installation.started() as running:
        yield installation, running


def test_a_service_with_intels_anchors_refuses_simulated_evidence(tmp_path: Path) -> None:
    """However complete it is: with its collateral in the folder of the service, too."""
    installation = Installation.genuine(tmp_path)
    write_collateral(tmp_path / "endorsements/simulated", installation.vendor.collateral())
    with installation.started() as running, installation.provider(running, "simulated") as provider:
        discovery = Client(running.public_url).get("/.well-known/attestd").document
        assert (discovery["simulated"], discovery["registry_id"][:8]) == (False, "attestd:")
        vendors = sorted(anchor["vendor"] for anchor in discovery["trust_anchors"])
        assert vendors == ["amd", "amd", "amd", "intel", "nvidia", "nvidia"]
        answer = provider.post(provider.evidence())
        assert (answer.status_code, answer.json()["reason"]) == (422, "tdx.untrusted_root")
        dry = provider.http.post(
            "/v1/appraisals", json={"cpu": {"tee": "tdx", "quote": dump_base64(provider.attester.quote())}}
        )
        assert (dry.status_code, dry.json()["reason"]) == (422, "tdx.untrusted_root")
        assert Client(running.public_url).get("/v1/keys").document["items"] == []
        assert b"\nattestd_simulated 0.0\n" in Client(running.public_url).get("/metrics").body


def test_every_answer_of_a_simulated_service_says_so(simulated: tuple[Installation, Running]) -> None:
    installation, running = simulated
    anyone, admin = Client(running.public_url), installation.admin(running)
    with installation.provider(running, "marked") as provider:
        issued = provider.http.post("/v1/challenges").json()
        key = new_key()
        registry = Registry(issued["registry_id"], load_base64url(issued["challenge"]))
        result = provider.post(provider.attester.evidence(key, registry)).json()
        debug = provider.post(provider.evidence(body=TdReport(td_attributes=bits(0, 28))))
        assert debug.status_code == 403
        key_id = result["key"]["key_id"]
        answers: dict[str, dict[str, Any]] = {
            "challenge": issued,
            "result": result,
            "refused": debug.json()["result"],
            "result again": provider.http.get(f"/v1/results/{result['id']}").json(),
            "discovery": anyone.get("/.well-known/attestd").document,
            "key": anyone.get(f"/v1/keys/{key_id}").document,
            "keys": anyone.get("/v1/keys").document,
            "models": anyone.get("/v1/models").document,
            "images": anyone.get("/v1/images").document,
            "policies": anyone.get("/v1/policies").document,
            "providers": admin.get("/v1/providers").document,
            "revocations": admin.get("/v1/revocations").document,
            "audit": admin.get("/v1/audit").document,
        }
    assert {name for name, document in answers.items() if document.get("simulated") is not True} == set()
    assert all(document.get("registry_id", "simulated:").startswith("simulated:") for document in answers.values())
    assert b"\nattestd_simulated 1.0\n" in anyone.get("/metrics").body


def test_a_registry_keeps_its_hardware(tmp_path: Path) -> None:
    """A database that real hardware was registered in is never served with simulated anchors, nor the reverse."""
    installation = Installation.simulated(tmp_path)
    assert installation.admin_token
    genuine = dict(installation.named)
    del genuine["ATTESTD_TRUST_ANCHORS"]
    with pytest.raises(AssertionError, match="registry_id"):
        Running(genuine, tmp_path)
    genuine["ATTESTD_REGISTRY_ID"] = "attestd:production"
    with pytest.raises(AssertionError, match="the database of another registry_id"):
        Running(genuine, tmp_path)
    assert now() > installation.vendor.issued
