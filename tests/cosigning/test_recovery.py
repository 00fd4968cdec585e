"""`attestd log recover` from a co-signer, which goes on signing then: attacks.md B10 and F33."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from attestd.registrar.orders import Orders
from attestd.registry import epochs, keys
from attestd.simulator import Vendor
from tests.api.world import NOW, environment
from tests.cli.conftest import attestd
from tests.cosigning.world import SEEDS, THRESHOLD, Publishing, leader, network_file, verifier, write_key
from tests.registrar_chain.chain import ADMIN, GLOBAL_ID, REGISTRY, FakeWallet, FaultChain
from tests.registrar_chain.world import VERIFIERS, Clock
from tests.registry.samples import known

__all__ = ["attestd"]


@pytest.fixture
def chain() -> FaultChain:
    return FaultChain(VERIFIERS, THRESHOLD, int(NOW.timestamp()))


@pytest.fixture
def command(tmp_path: Path, chain: FaultChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give commands the settings of the registry, and the chain in memory."""
    clock = Clock(chain)
    folder = tmp_path / "leader"
    folder.mkdir(mode=0o700)
    for name in list(os.environ):
        if name.startswith("ATTESTD_"):
            monkeypatch.delenv(name)
    named = environment(
        folder,
        Vendor.of(seed="attestd", at=clock()),
        chain_network=network_file(tmp_path),
        chain_wallet_key=write_key(tmp_path / "wallet-key", SEEDS[2]),
        chain_verifier_key=write_key(tmp_path / "verifier-key", SEEDS[0]),
    )
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    orders = Orders(REGISTRY, GLOBAL_ID, 10**18, tuple(enumerate(VERIFIERS)), THRESHOLD, ADMIN)
    monkeypatch.setattr("attestd.cli.log_recover.on_chain", lambda *_: (chain, FakeWallet(), orders))
    monkeypatch.setattr("attestd.cli.log_recover.now", clock)


def copied(source: Path, target: Path) -> None:
    with sqlite3.connect(source) as one, sqlite3.connect(target) as other:
        one.backup(other)


@pytest.mark.usefixtures("command")
def test_from_a_cosigner(tmp_path: Path, chain: FaultChain, attestd: Iterator[None]) -> None:
    clock, folder = Clock(chain), tmp_path / "leader"
    database, backup = folder / "state" / "attestd.db", tmp_path / "backup"
    with ExitStack() as stack:
        with leader(folder, chain) as lead:
            cosigner = stack.enter_context(verifier(tmp_path / "verifier", 1, lead, clock))
            url = cosigner.service.public_url
            publishing = Publishing(lead, chain, clock, [url])
            kept = lead.register()
            assert publishing.publish() == 1
            copied(database, backup)
            lost = lead.register()
            assert publishing.publish() == 2
            records = cosigner.held().size
        database.unlink()
        copied(backup, database)
        database.chmod(0o600)

        status, shown = attestd("log", "recover", "--from", url, "--dry-run")  # type: ignore[operator]
        assert (status, shown["dry_run"]) == (0, True)
        status, done = attestd("log", "recover", "--from", url)  # type: ignore[operator]
        assert (status, done) == (0, shown | {"dry_run": False})
        assert (done["epochs"], done["revoked"], done["first"] + done["recovered"]) == ([2], [lost.hex()], records)
        status, again = attestd("log", "recover", "--from", url)  # type: ignore[operator]
        assert (status, again["recovered"], again["epochs"]) == (0, 0, [])

        stack.close()
        with leader(folder, chain) as lead, verifier(tmp_path / "verifier", 1, lead, clock) as cosigner:
            assert cosigner.held().size == records
            assert Publishing(lead, chain, clock, [cosigner.service.public_url]).publish() == 3
            assert cosigner.held().size > records
            candidate = known(lead.registry.read(epochs.confirmed))
            assert candidate.checkpoint == chain.now.checkpoint
            assert lead.is_trusted(kept, candidate)
            assert not lead.is_trusted(lost, candidate)
            assert lead.registry.read(keys.find, lost, clock()) is None
