"""`attestd log recover`: from files, without a chain. From a co-signer, and with one: tests/cosigning."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attestd.chain.wallet import load_key
from attestd.registrar.publishing import notary
from attestd.registry import catalogue, keys, log, sequencing
from attestd.registry.registry import Registry
from attestd.settings import Settings
from attestd.transparency.tiles import entries_path, tile_path
from tests.registry.samples import NOW, digest, prepare, register

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]


def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in list(os.environ):
        if name.startswith("ATTESTD_"):
            monkeypatch.delenv(name)
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("ATTESTD_STATE_DIR", str(folder))
    monkeypatch.setattr("attestd.cli.log_recover.now", lambda: NOW)
    return Settings.load(None, os.environ, NOW)


def opened(folder: Settings) -> Registry:
    registry = Registry.open(folder.database_url, registry_id=folder.registry_id, at=NOW)
    prepare(registry)
    return registry


def lose(lost: Settings, copy: Path) -> None:
    """Write the log of a registry to files, and forget the registry."""
    registry = opened(lost)
    register(registry, 1)
    registry.write(catalogue.approve_model, digest("model"), name="m", by="admin", at=NOW).result()
    registry.write(catalogue.approve_policy, "p", 1, b"text", by="admin", at=NOW).result()
    registry.write(sequencing.advance, 1).result()
    size = registry.read(log.size)
    files = {
        "checkpoint": notary(load_key(lost.log_key), lost.registry_id)(size, registry.read(log.root, size)),
        tile_path(0, 0, size): registry.read(log.tile, 0, 0, size),
        entries_path(0, size): registry.read(log.entries, 0, size),
    }
    registry.close()
    for name, content in files.items():
        assert content is not None
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(content)
    for file in lost.state_dir.glob("attestd.db*"):
        file.unlink()


def test_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attestd: Run, on_terminal: Terminal) -> None:
    own, copy = settings(tmp_path / "state", monkeypatch), tmp_path / "copy"
    lose(own, copy)
    expected = {
        "dry_run": True,
        "first": 0,
        "recovered": 3,
        "appended_again": 0,
        "epochs": [],
        "revoked": [digest("key", 1).hex()],
        "changed": [],
        "to_approve_again": [
            f"model {digest('model').hex()}",
            "policy p version 1, 982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1",
        ],
    }
    assert attestd("log", "recover", "--from", copy, "--dry-run") == (0, expected)
    status, lines = on_terminal("log", "recover", "--from", copy)
    assert status == 0
    assert [line.split()[:2] for line in lines.splitlines()][:3] == [
        ["dry_run", "no"],
        ["first", "0"],
        ["recovered", "3"],
    ]
    registry = opened(own)
    assert registry.read(log.size) == 4  # the revocation of the key is the last
    assert registry.read(keys.find, digest("key", 1), NOW) is None
    registry.close()
    assert attestd("log", "fsck")[0] == 0


def test_a_copy_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attestd: Run) -> None:
    settings(tmp_path / "state", monkeypatch)
    status, said = attestd("log", "recover", "--from", tmp_path)
    assert status == 1
    assert said == f"attestd: {tmp_path}/checkpoint: No such file or directory\n"


def test_a_cosigner_recovers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attestd: Run) -> None:
    settings(tmp_path / "state", monkeypatch)
    named = Settings.load(None, os.environ, NOW)
    monkeypatch.setattr(Settings, "load", lambda *_: named)
    object.__setattr__(named, "cosign", object())
    status, said = attestd("log", "recover", "--from", tmp_path)
    assert status == 1
    assert "cosign_of, which makes a co-signer of it" in said
