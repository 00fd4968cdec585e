from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from tests.cli.conftest import Files
from tests.evidence import ROOT

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]

SHIPPED = sorted((ROOT / "policies").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_policy(attestd: Run, path: Any) -> None:
    status, shown = attestd("policy", "check", path)
    assert status == 0
    assert shown["name"] == path.stem
    assert shown["digest"] == f"sha256:{sha256(path.read_bytes()).hexdigest()}"
    assert path.stem.split("-")[1] in shown["tees"]


def test_lax_policy_is_warned_of(attestd: Run, on_terminal: Terminal, files: Files) -> None:
    text = (ROOT / "policies/strict-tdx.toml").read_text().replace("allow_debug = false", "allow_debug = true")
    path = files.put("lax.toml", text.encode())
    status, shown = attestd("policy", "check", path)
    assert status == 0
    assert any("debug" in warning for warning in shown["warnings"])
    assert "warning: " in on_terminal("policy", "check", path)[1]


@pytest.mark.parametrize("raw", [b"", b"name = ", bytes(64 * 1024 + 1)])
def test_what_does_not_load_is_refused(attestd: Run, files: Files, raw: bytes) -> None:
    status, complaint = attestd("policy", "check", files.put("bad.toml", raw))
    assert status == 1
    assert "[policy.malformed]" in complaint
