"""`attestd chain devnet`, `deploy`, `propose`, `execute`, `cancel` and `pause`, as an operator gives them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from attestd.chain.messages import ADMIN_VALUE, DEPLOY_VALUE, pause_body, propose_body
from attestd.chain.reading import read_registry
from attestd.chain.state import Governance, SetVerifiers, Upgrade, state_init
from attestd.cli import chain_admin, main
from attestd.codec import load_base64url
from attestd.errors import Reason, Unavailable
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc, load_boc
from attestd.tvm.cell import Builder
from tests.chain.devnet.conftest import missing
from tests.chain.registries import ADMIN, HERE, VERIFIERS

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]

KEYS = [key.hex() for _, key in VERIFIERS]
needs_devnet = pytest.mark.skipif(missing() is not None, reason=f"needs {missing()}")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Name a server where nothing listens: what is written asks nobody."""
    path = tmp_path / "network.json"
    server = {"ip": 2130706433, "port": 1, "id": {"@type": "pub.ed25519", "key": "A" * 43 + "="}}
    path.write_text(json.dumps({"liteservers": [server], "attestd": {"global_id": -777, "agree": 1}}))
    return path


def verifiers(*keys: str, threshold: int) -> list[object]:
    return [*(part for key in keys for part in ("--verifier", key)), "--threshold", threshold]


# Without the key of a wallet: a message for the admin, and nothing sent


def test_a_pause_for_the_multisig(attestd: Run, on_terminal: Terminal, network: Path) -> None:
    order = ("chain", "pause", "--network", network, "--registry", HERE, "--query-id", 7)
    status, written = attestd(*order)
    assert (status, written["outcome"], written["registry"]) == (0, "written", str(HERE))
    link = urlsplit(written["link"])
    asked = parse_qs(link.query)
    assert (link.scheme, link.netloc, link.path) == ("ton", "transfer", f"/{HERE.friendly()}")
    assert asked["amount"] == [str(ADMIN_VALUE)] == [str(written["amount"])]
    assert load_boc(load_base64url(asked["bin"][0])) == [pause_body(7)]
    # The link stands in one piece, however narrow the terminal is.
    shown = on_terminal(*order, columns=80)[1]
    assert written["link"] in shown.splitlines()
    assert "0.05 TON" in shown
    assert "Nothing was sent" in shown


def test_an_upgrade_for_the_multisig(attestd: Run, network: Path, tmp_path: Path) -> None:
    code = Builder().uint(1, 8).end()
    (tmp_path / "code.boc").write_bytes(dump_boc(code))
    order = ("chain", "propose", "upgrade", tmp_path / "code.boc", "--network", network, "--registry", HERE)
    written = attestd(*order)[1]
    asked = parse_qs(urlsplit(written["link"]).query)
    assert load_boc(load_base64url(asked["bin"][0])) == [propose_body(Upgrade(code))]
    (tmp_path / "code.boc").write_bytes(b"no cells")
    status, complaint = attestd(*order)
    assert status == 2
    assert "[cell.boc_malformed]" in complaint


def test_a_deployment_for_the_multisig(attestd: Run, network: Path) -> None:
    order = ("chain", "deploy", "--network", network, *verifiers(*KEYS, threshold=2))
    status, written = attestd(*order, "--admin", ADMIN)
    governance = Governance(admin=ADMIN, threshold=2, timelock=172_800, max_validity=86_400, verifiers=VERIFIERS)
    init = state_init(governance)
    registry = Address(0, init.hash)
    asked = parse_qs(urlsplit(written["link"]).query)
    assert (status, written["registry"], written["amount"]) == (0, str(registry), DEPLOY_VALUE)
    assert load_boc(load_base64url(asked["init"][0])) == [init]
    assert f"/{registry.friendly(bounceable=False)}?" in written["link"]
    status, complaint = attestd(*order)
    assert status == 1
    assert "--admin" in complaint
    assert "[chain.order]" in complaint


@pytest.mark.parametrize(
    "given",
    [
        verifiers(*KEYS, threshold=4),
        verifiers(KEYS[0], KEYS[0], threshold=1),
        verifiers("00" * 32, threshold=1),
        verifiers(*(f"{number:064x}" for number in range(1, 18)), threshold=1),
    ],
)
def test_verifiers_that_the_contract_would_refuse(attestd: Run, network: Path, given: list[object]) -> None:
    for order in (("deploy", "--admin", ADMIN), ("propose", "verifiers", "--registry", HERE)):
        status, complaint = attestd("chain", *order, "--network", network, *given)
        assert status == 1
        assert "a threshold that they can reach" in complaint
        assert "[chain.order]" in complaint
    good = verifiers(*KEYS, threshold=3)
    written = attestd("chain", "propose", "verifiers", "--registry", HERE, "--network", network, *good)[1]
    asked = parse_qs(urlsplit(written["link"]).query)
    assert load_boc(load_base64url(asked["bin"][0])) == [propose_body(SetVerifiers(3, VERIFIERS))]


def test_nobody_answers(attestd: Run, network: Path, tmp_path: Path) -> None:
    key = ("--network", network, "--wallet-key", tmp_path / "wallet.key")
    assert attestd("chain", "wallet", "new", *key)[0] == 0
    for order in (("pause", "--registry", HERE), ("deploy", *verifiers(*KEYS, threshold=2))):
        status, complaint = attestd("chain", *order, *key)
        assert status == 4
        assert "[chain.unavailable]" in complaint


# On a devnet


@dataclass
class Net:
    """A devnet that runs as a process of its own, and the key of a wallet that it has funded."""

    process: subprocess.Popen[str]
    said: dict[str, Any]
    network: Path
    key: Path

    @property
    def paying(self) -> tuple[object, ...]:
        return "--network", self.network, "--wallet-key", self.key


def started(folder: Path, *arguments: object) -> Net:
    """Run `attestd chain devnet` until it has said where it is."""
    net, key = folder / "devnet.json", folder / "wallet.key"
    command = ["-m", "attestd", "chain", "devnet", "--out", net, "--wallet-key", key, *arguments]
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
    return Net(process, said, net, key)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = started(tmp_path_factory.mktemp("devnet"))
    yield made
    made.process.send_signal(signal.SIGINT)
    assert made.process.wait(30) == 0
    assert made.process.stdout is not None
    made.process.stdout.close()


@needs_devnet
@pytest.mark.slow
def test_the_devnet_funds_a_wallet_whose_key_it_makes(net: Net, attestd: Run) -> None:
    shown = attestd("chain", "wallet", "show", *net.paying)[1]
    assert net.said["funded"] == [shown["address"]]
    assert net.said["network_file"] == str(net.network)
    assert net.key.stat().st_mode & 0o777 == 0o600
    assert shown["servers"] == net.said["liteservers"]
    assert shown["balance"] > 900 * 10**9


@needs_devnet
@pytest.mark.slow
def test_a_registry_is_deployed_and_governed(net: Net, attestd: Run, on_terminal: Terminal) -> None:
    order = ("chain", "deploy", *net.paying, *verifiers(*KEYS, threshold=2), "--timelock", 0)
    status, deployed = attestd(*order)
    assert (status, deployed["outcome"], deployed["reason"]) == (0, "done", None)
    registry = ("--registry", deployed["registry"])
    status, complaint = attestd(*order)
    assert status == 1
    assert f"a contract at {deployed['registry']}" in complaint

    def propose(*change: object) -> Any:
        status, proposed = attestd("chain", "propose", *change, *net.paying, *registry)
        assert (status, proposed["outcome"]) == (0, "done")
        return proposed["proposal"]

    def state() -> Any:
        return attestd("chain", "status", "--network", net.network, *registry)[1]

    # The proposal's number is what `execute` wants.
    proposal = propose("verifiers", *verifiers(KEYS[2], threshold=1))
    assert (proposal["number"], proposal["verifiers"], proposal["threshold"]) == (0, {"0": KEYS[2]}, 1)
    assert {"number": 0, **state()["proposals"]["0"]} == proposal
    assert attestd("chain", "execute", 0, *net.paying, *registry)[1]["outcome"] == "done"
    assert (state()["verifiers"], state()["threshold"]) == ({"0": KEYS[2]}, 1)
    # What does not wait, or not yet, is refused before it costs anything.
    status, complaint = attestd("chain", "execute", 0, *net.paying, *registry)
    assert (status, "no proposal 0; wanted one that waits: there is none" in complaint) == (1, True)
    propose("timelock", 3600)
    assert attestd("chain", "execute", 1, *net.paying, *registry)[0] == 0
    later = propose("max-validity", 60)
    status, complaint = attestd("chain", "execute", 2, *net.paying, *registry)
    assert status == 1
    assert f"proposal 2 from {later['from']} to {later['to']}" in complaint
    assert "on chain" in complaint
    assert attestd("chain", "cancel", 2, *net.paying, *registry)[0] == 0
    assert state()["proposals"] == {}
    # A pause is for the admin alone, and at once.
    other = ("--network", net.network, "--wallet-key", net.key.with_name("other.key"))
    attestd("chain", "wallet", "new", *other)
    status, complaint = attestd("chain", "pause", *other, *registry)
    assert status == 1
    assert "wanted the admin" in complaint
    status, shown = on_terminal("chain", "pause", *net.paying, *registry)
    assert (status, shown.splitlines()[0]) == (0, "done")
    assert " TON" in shown
    assert (state()["paused"], state()["reason"]) == (True, "chain.paused")


@needs_devnet
@pytest.mark.slow
def test_what_the_contract_refuses_is_named(net: Net, attestd: Run, on_terminal: Terminal) -> None:
    deployed = attestd("chain", "deploy", *net.paying, *verifiers(KEYS[0], threshold=1))[1]
    digests = [f"sha256:{number:064x}" for number in range(49)]
    order = ("chain", "propose", "approve", "model", *digests, *net.paying, "--registry", deployed["registry"])
    status, refused = attestd(*order)
    assert (status, refused["outcome"]) == (5, "refused")
    assert refused["reason"] == "exit code 423, malformed change"
    assert [one["succeeded"] for one in refused["transactions"]] == [True, False]
    assert "proposal" not in refused
    assert "exit code 423, malformed change" in on_terminal(*order)[1]


@needs_devnet
@pytest.mark.slow
def test_a_proposal_that_cannot_be_read_back_was_made_all_the_same(
    net: Net, attestd: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed = attestd("chain", "deploy", *net.paying, *verifiers(KEYS[2], threshold=1))[1]
    readings: list[Any] = []

    async def once(*where: Any) -> Any:
        if readings:
            raise Unavailable(Reason.CHAIN_UNAVAILABLE, found="nobody", wanted="liteservers")
        readings.append(await read_registry(*where))
        return readings[0]

    monkeypatch.setattr(chain_admin, "read_registry", once)
    order = ("chain", "propose", "timelock", 7, *net.paying, "--registry", deployed["registry"])
    status, proposed = attestd(*order)
    assert (status, proposed["outcome"], proposed["proposal"]) == (0, "done", None)


@needs_devnet
@pytest.mark.slow
def test_a_wallet_without_ton(net: Net, attestd: Run, tmp_path: Path) -> None:
    poor = ("--network", net.network, "--wallet-key", tmp_path / "poor.key")
    address = attestd("chain", "wallet", "new", *poor)[1]["address"]
    status, complaint = attestd("chain", "deploy", *poor, *verifiers(KEYS[0], threshold=1))
    assert status == 4
    assert f"found 0 TON at {address}; wanted 0.13 TON, fees included" in complaint
    assert "[chain.wallet]" in complaint


@needs_devnet
@pytest.mark.slow
def test_who_interrupts_an_order_is_told_that_it_may_be_carried_out(
    net: Net, attestd: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def interrupted(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)

    monkeypatch.setattr(chain_admin, "deliver", interrupted)
    order = ["chain", "deploy", *map(str, net.paying), *map(str, verifiers(KEYS[1], threshold=1))]
    assert main(order) == 130
    assert capsys.readouterr().err.splitlines() == [
        "attestd: what was sent may still be carried out, for 60 s: see `attestd chain status`",
        "attestd: interrupted",
    ]


@needs_devnet
def test_a_devnet_cannot_listen_where_this_machine_is_not(attestd: Run, tmp_path: Path) -> None:
    status, complaint = attestd("chain", "devnet", "--listen", "192.0.2.1", "--out", tmp_path / "devnet.json")
    assert status == 1
    assert "192.0.2.1" in complaint
    assert not (tmp_path / "devnet.json").exists()
