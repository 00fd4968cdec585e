"""`attestd serve`, `keys bootstrap` and `demo`: the commands that need the service."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from attestd.cli import acts, demo, main
from attestd.cli.client import Answer, Client
from attestd.simulator import CURRENT_SVNS, answers
from tests.cli.conftest import needs_loopback

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]


@contextmanager
def serving(state: Path, config: Path | None = None) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """Run `attestd serve` on free ports; yield what it says of itself, and the process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ATTESTD_")}
    environment |= {"ATTESTD_STATE_DIR": str(state)} if config is None else {}
    environment |= {"ATTESTD_LISTEN": "127.0.0.1:0", "ATTESTD_ADMIN_LISTEN": "127.0.0.1:0"}
    command = [str(Path(sys.executable).with_name("attestd")), "serve", *(["--config", str(config)] if config else [])]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = next((line for line in process.stderr if "listening" in line), None)
            assert said is not None, process.wait()
            yield json.loads(said), process
        finally:
            process.terminate()
            process.stderr.read()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("ATTESTD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ATTESTD_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@needs_loopback
def test_service_runs_until_it_is_told_to_stop(state: Path) -> None:
    with serving(state) as (said, process):
        assert Client(said["public"]).get("/healthz/live").status == 200
        assert Client(said["public"]).get("/.well-known/attestd").document["simulated"] is False
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@needs_loopback
def test_settings_may_be_in_a_file(tmp_path: Path, state: Path) -> None:
    config = tmp_path / "attestd.toml"
    config.write_text(f'state_dir = "{tmp_path / "elsewhere"}"\nlog_level = "info"\n')
    config.chmod(0o600)
    with serving(state, config) as (said, _):
        assert Client(said["public"]).get("/healthz/live").status == 200
    assert (tmp_path / "elsewhere/attestd.db").exists()
    assert not state.exists()


@pytest.mark.parametrize("command", [["serve"], ["keys", "bootstrap"]])
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ATTESTD_LISTEN", "localhost", "settings.refused"),
        ("ATTESTD_ADMIN_LISTEN", "0.0.0.0:8081", "settings.refused"),
        ("ATTESTD_LISTN", "127.0.0.1:1", "settings.refused"),
        ("ATTESTD_TRUST_ANCHORS", "/none", "settings.refused"),
    ],
)
def test_settings_that_are_refused_are_named(
    state: Path, monkeypatch: pytest.MonkeyPatch, attestd: Run, command: list[str], name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    status, complaint = attestd(*command)
    assert status == 1
    assert name.removeprefix("ATTESTD_").lower() in complaint
    assert f"[{reason}]" in complaint


@needs_loopback
def test_first_admin_key_opens_the_admin_listener_and_nothing_else_does(state: Path, attestd: Run) -> None:
    status, issued = attestd("keys", "bootstrap")
    assert status == 0
    assert list(issued) == ["registry_id", "role", "token"]
    with serving(state) as (said, _):
        assert Client(said["admin"], issued["token"]).get("/v1/providers").status == 200
        assert Client(said["admin"]).get("/v1/providers").status == 401
        assert Client(said["public"], issued["token"]).get("/v1/providers").status == 404


def test_token_is_shown_alone_on_a_terminal(state: Path, on_terminal: Terminal) -> None:
    status, shown = on_terminal("keys", "bootstrap")
    assert status == 0
    assert shown.splitlines()[0].startswith("attestd_")
    assert "Shown this once" in shown


@needs_loopback
def test_demo_walks_the_whole_way(run_process: Callable[..., Any], tmp_path: Path) -> None:
    process = run_process("demo", env=os.environ | {"TMPDIR": str(tmp_path), "COLUMNS": "120"})
    assert (process.returncode, process.stderr) == (0, "")
    for shown in (
        "tier: affirming",
        "reason: challenge.used",
        "state: active",
        "reason: tdx.quote_signature",
        "amiss: image",
        "amiss: tcb_status",
        "state: revoked",
        "binding: mutual",
        "reason: binding.report_data",
        "reason: gpu.nonce",
        "amiss: gpu_count",
        'attestd_verification_refusals_total{reason="tdx.quote_signature",tee="tdx"} 1.0',
        "every step gave what it should",
    ):
        assert shown in process.stdout
    assert list(tmp_path.iterdir()) == []


BREAKS: dict[str, tuple[ModuleType, str, Any]] = {
    # What the forger changes is nothing, so that the forgery is accepted.
    "tdx.quote_signature": (acts, "flip", lambda _offset: bytes),
    # Nobody is out of date.
    "403": (acts, "OLDER_SVNS", CURRENT_SVNS),
    # GPUs are asked with a nonce that is of no key.
    "gpu.nonce": (acts, "answers", lambda gpus, _nonce: answers(gpus, bytes(32))),
    # Nothing is shown of what was counted.
    "no metric": (demo, "_SHOWN_METRICS", ("attestd_build_info",)),
}


@needs_loopback
@pytest.mark.parametrize("name", BREAKS)
def test_demo_fails_where_a_step_gives_something_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(*BREAKS[name])
    assert main(["demo"]) == 1
    out, err = capsys.readouterr()
    assert "the demonstration failed" in err
    assert "every step" not in out


@needs_loopback
def test_demo_fails_where_monitoring_does_not_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Client.get
    monkeypatch.setattr(Client, "get", lambda self, path: get(self, path.replace("/metrics", "/nothing")))
    assert main(["demo"]) == 1
    assert "/nothing: 404" in capsys.readouterr().err


@needs_loopback
def test_demo_fails_where_a_revocation_is_not_seen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator's client claims success and asks for nothing."""
    post = Client.post

    def forgetful(self: Client, path: str, document: object = None) -> Answer:
        return Answer(path, 201, b"{}") if path == "/v1/revocations" else post(self, path, document)

    monkeypatch.setattr(Client, "post", forgetful)
    assert main(["demo"]) == 1
    assert "state: active in place of revoked" in capsys.readouterr().err
