"""`attestd chain devnet`, as a process."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from attestd.chain.devnet import DEVNET_GLOBAL_ID
from attestd.chain.liteservers import Liteservers
from attestd.chain.network import Network
from attestd.settings import now
from tests.chain.devnet.world import NOBODY, TON


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "attestd", "chain", "devnet", *arguments]


@pytest.mark.slow
def test_it_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    file = tmp_path / "network.json"
    with subprocess.Popen(command("--out", str(file), "--fund", str(NOBODY)), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            said = json.loads(b"".join(iter(process.stdout.readline, b"}\n")) + b"}")
            network = Network.load(file)
            assert said == {
                "network_file": str(file),
                "global_id": DEVNET_GLOBAL_ID,
                "liteservers": [str(server) for server in network.liteservers],
                "funded": [str(NOBODY)],
            }
            reader = Liteservers(network, lambda: now().timestamp())
            account = asyncio.run(reader.account(NOBODY)).account.account
            assert account is not None
            assert account.balance == 1000 * TON
        finally:
            process.terminate()  # what fails above is to be seen, not waited for
        assert process.wait() == 0


def test_it_needs_an_address_to_listen_on() -> None:
    done = subprocess.run(command("--listen", "example.org"), capture_output=True, check=False)
    assert done.returncode == 1
    assert b"--listen" in done.stderr
