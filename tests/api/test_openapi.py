"""The OpenAPI documents of both listeners, put to the proof by schemathesis with all of its checks."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.world import World

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.slow
@pytest.mark.parametrize("listener", ["public", "admin"])
def test_schemathesis(own: World, tmp_path: Path, listener: str) -> None:
    provider = own.provider()
    url, token = {
        "public": (own.service.public_url, provider.token),
        "admin": (own.service.admin_url, own.admin_token),
    }[listener]
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", str(CONFIG)),
        *("run", url + "/openapi.json", "--header", f"Authorization: Bearer {token}"),
        *("--checks", "all", "--max-examples", "20", "--generation-deterministic"),
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-8000:]


def test_every_refusal_is_described(shared: World) -> None:
    """No operation answers in another way than it says: every one has the statuses of its kind, and a default."""
    for client in (shared.public, shared.admin):
        for path, operations in client.get("/openapi.json").json()["paths"].items():
            for method, operation in operations.items():
                if path in ("/metrics", "/healthz/live"):
                    continue
                responses = operation["responses"]
                assert {"400", "404", "429", "503", "default"} <= responses.keys(), path
                assert "application/problem+json" in responses["default"]["content"]
                if operation.get("security"):
                    assert {"401", "403"} <= responses.keys(), path
                if "requestBody" in operation:
                    assert {"409", "413", "415"} <= responses.keys(), path
                assert operation.get("description"), (method, path)


def test_what_needs_a_key_says_so(shared: World) -> None:
    public = shared.public.get("/openapi.json").json()
    keyed = {
        path for path, operations in public["paths"].items() if any("security" in one for one in operations.values())
    }
    assert keyed == {
        "/v1/challenges",
        "/v1/evidence",
        "/v1/evidence/{result_digest}",
        "/v1/appraisals",
        "/v1/results/{result_id}",
    }
    assert public["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    admin = shared.admin.get("/openapi.json").json()
    for path, operations in admin["paths"].items():
        if path.startswith("/v1/"):
            assert all("security" in operation for operation in operations.values()), path
