"""`attestd log`: the log of a database, without a service."""

import os
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from attestd.registry import Registry, keys, sequencing
from attestd.settings import Settings
from attestd.transparency import merkle
from tests.registry.alter import outside
from tests.registry.samples import NOW, digest, prepare, register

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of the settings' database, in which four records are, and three of them are sequenced."""
    for name in list(os.environ):
        if name.startswith("ATTESTD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ATTESTD_STATE_DIR", str(tmp_path))
    settings = Settings.load(None, os.environ, NOW)
    registry = Registry.open(settings.database_url, registry_id=settings.registry_id, at=NOW)
    prepare(registry)
    register(registry, 1)
    register(registry, 2)
    registry.write(keys.suspend, digest("key", 1), reason="", by="admin", at=NOW).result()
    registry.write(sequencing.advance, 1).result()
    register(registry, 3)
    registry.close()
    return settings.database_url


def damage(url: str, statement: str) -> None:
    with outside(url).begin() as connection:
        assert connection.execute(text(statement)).rowcount == 1


def test_nothing_is_wrong(url: str, attestd: Run, on_terminal: Terminal) -> None:
    assert attestd("log", "fsck") == (0, {"records": 4, "faults": [], "more": False, "repaired": []})
    assert on_terminal("log", "fsck") == (0, "Nothing is wrong.\n")


def test_what_can_be_made_again_is_repaired_when_asked_for(url: str, attestd: Run, on_terminal: Terminal) -> None:
    """Fault F21."""
    tile = {"part": "tile", "place": "0/0", "found": "other hashes than those of the records"}
    damage(url, "UPDATE log_tiles SET hashes = seal")
    status, shown = attestd("log", "fsck")
    assert (status, shown["faults"], shown["repaired"]) == (3, [tile], [])
    status, shown = attestd("log", "fsck", "--repair")
    assert (status, shown["faults"], shown["repaired"]) == (0, [], [tile])
    damage(url, "UPDATE sequenced SET size = 2")
    status, lines = on_terminal("log", "fsck", "--repair")
    assert status == 0
    assert lines.splitlines()[0].split() == ["repaired", "where", "found"]
    assert lines.splitlines()[-1] == "Nothing is wrong."


def test_records_are_never_repaired(url: str, attestd: Run, on_terminal: Terminal) -> None:
    damage(url, "UPDATE log_tiles SET seal = hashes")
    damage(url, 'UPDATE log SET record = subject WHERE "index" = 1')
    status, shown = attestd("log", "fsck", "--repair")
    assert status == 3
    assert {"part": "record", "place": "1", "found": "an altered record"} in shown["faults"]
    assert shown["repaired"] == []
    status, lines = on_terminal("log", "fsck")
    assert status == 3
    assert lines.splitlines()[0].split() == ["fault", "in", "where", "found"]


def test_a_record_is_proved(url: str, attestd: Run) -> None:
    status, shown = attestd("log", "show")
    assert (status, shown["records"], shown["sequenced"], shown["epoch"]) == (0, 4, 3, 1)
    status, proof = attestd("log", "prove", 1)
    assert status == 0
    assert (proof["tree_size"], proof["log_root"]) == (3, shown["log_root"])
    leaf = merkle.leaf_hash(b64decode(proof["record"]))
    path = [bytes.fromhex(hash_) for hash_ in proof["proof"]]
    merkle.verify_inclusion(leaf, 1, 3, path, bytes.fromhex(proof["log_root"]))


def test_what_is_not_sequenced_is_not_proved(url: str, attestd: Run) -> None:
    status, complaint = attestd("log", "prove", 3)
    assert status == 1
    assert "[request.not_found]" in complaint
