"""`attestd chain status`, `get`, `verify` and `wallet`: what they show of a proved account, and how they refuse."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from http.client import HTTPException, InvalidURL
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import OpenerDirector

import pytest

from attestd.chain.ledger import AccountStatus
from attestd.chain.liteservers import Agreed, Liteservers
from attestd.chain.network import Liteserver
from attestd.chain.proof import prove_account
from attestd.chain.state import (
    Approve,
    Change,
    Proposal,
    SetAdmin,
    SetMaxValidity,
    SetTimelock,
    SetVerifiers,
    Unpause,
    Upgrade,
    Withdraw,
)
from attestd.cli import inputs, main
from attestd.cli.arguments import parser
from attestd.cli.chain import SETS, export_change
from attestd.tvm.address import Address
from attestd.tvm.cell import Builder
from tests.chain.registries import ABSENT, ADMIN, GOVERNANCE, HERE, LAPSED, MEMBER, Registry
from tests.chain.worlds import GLOBAL_ID, NOW
from tests.cli.conftest import subcommands

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]

REGISTRY = Registry()
SERVER = Liteserver("127.0.0.1", 1, bytes(32))
AT = datetime.fromtimestamp(NOW, UTC)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "network.json"
    server = {"ip": 2130706433, "port": 1, "id": {"@type": "pub.ed25519", "key": "A" * 43 + "="}}
    path.write_text(json.dumps({"liteservers": [server], "attestd": {"global_id": GLOBAL_ID, "agree": 1}}))
    return path


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Callable[[Registry], None]:
    """Have one liteserver prove what is on chain, at the time for which the registries of the tests are made."""
    monkeypatch.setattr(inputs, "now", lambda: AT)

    def prove(registry: Registry) -> None:
        world = registry.world()

        async def answer(_servers: Liteservers, address: Address) -> Agreed:
            proved = prove_account(world.answer(address), world.head(address), address, GLOBAL_ID)
            return Agreed(account=proved, servers=(SERVER,), others=())

        monkeypatch.setattr(Liteservers, "account", answer)

    prove(REGISTRY)
    return prove


@pytest.fixture
def on_chain(network: Path, chain: object) -> tuple[object, ...]:
    return "--network", network, "--registry", HERE


@pytest.fixture
def proof(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(key: bytes) -> Path:
        path = tmp_path / "key.json"
        path.write_bytes(REGISTRY.document(key))
        return path

    return write


@pytest.mark.parametrize(
    ("key", "status", "outcome"), [(MEMBER, 0, "member"), (ABSENT, 5, "absent"), (LAPSED, 5, "lapsed")]
)
def test_what_the_chain_says_of_a_key(
    attestd: Run, on_chain: tuple[object, ...], proof: Callable[[bytes], Path], key: bytes, status: int, outcome: str
) -> None:
    for action in ("verify", "get"):
        found, shown = attestd("chain", action, key.hex(), *on_chain, "--proof", proof(key))
        assert (found, shown["outcome"], shown["reason"]) == (status, outcome, None)
        assert (shown["registry"], shown["key_id"], shown["checkpoint"]["epoch"]) == (str(HERE), key.hex(), 7)
        assert (shown["entry"] is None) == (outcome == "absent")
        assert [step["step"] for step in shown["steps"]][-3:] == ["signatures", "map", "key"]


def test_a_terminal_of_80_columns_is_wide_enough(
    on_terminal: Terminal, on_chain: tuple[object, ...], proof: Callable[[bytes], Path]
) -> None:
    of_key = (MEMBER.hex(), *on_chain, "--proof", proof(MEMBER))
    status, shown = on_terminal("chain", "status", *on_chain, columns=80)
    assert (status, max(map(len, shown.splitlines())) <= 80) == (0, True)
    status, shown = on_terminal("chain", "get", *of_key, columns=80)
    assert (status, max(map(len, shown.splitlines())) <= 80) == (0, True)
    rows = [line.split()[0] for line in shown.splitlines() if line[:1].strip()]
    assert rows[0] == "member"
    assert {"entry.image", "checkpoint.valid_until", "block.seqno"} < {*rows}
    # Nothing stands in the way, and steps are for `verify`.
    assert not {"reason", "detail", "step"} & {*rows}
    assert "signatures" in on_terminal("chain", "verify", *of_key)[1]


CHANGES: dict[str, tuple[Change, dict[str, Any]]] = {
    "verifiers": (SetVerifiers(1, ((3, b"\7" * 32),)), {"threshold": 1, "verifiers": {"3": "07" * 32}}),
    "admin": (SetAdmin(HERE), {"admin": str(HERE)}),
    "timelock": (SetTimelock(7), {"seconds": 7}),
    "max-validity": (SetMaxValidity(8), {"seconds": 8}),
    "unpause": (Unpause(), {}),
    "upgrade": (Upgrade(Builder().uint(1, 8).end()), {"code_hash": Builder().uint(1, 8).end().hash.hex()}),
    "approve": (Approve(1, frozenset([b"\2" * 32])), {"set": "model", "digests": ["sha256:" + "02" * 32]}),
    "withdraw": (Withdraw(0, frozenset([b"\1" * 32])), {"set": "image", "digests": ["sha256:" + "01" * 32]}),
}


def test_proposals_say_what_would_change(
    attestd: Run, on_terminal: Terminal, on_chain: tuple[object, ...], chain: Callable[[Registry], None]
) -> None:
    proposals = tuple(
        (number, Proposal(NOW + 5, NOW + 9, change)) for number, (change, _) in enumerate(CHANGES.values())
    )
    chain(REGISTRY.but(governance=replace(GOVERNANCE, proposals=proposals)))
    status, shown = attestd("chain", "status", *on_chain)
    window = {"from": "2027-01-15T08:00:05Z", "to": "2027-01-15T08:00:09Z"}
    assert status == 0
    assert [*shown["proposals"].values()] == [
        {"change": name, **wanted, **window} for name, (_, wanted) in CHANGES.items()
    ]
    assert "proposals.6.digests" in on_terminal("chain", "status", *on_chain)[1]


def test_names_of_changes_and_sets_are_those_of_the_command_line() -> None:
    """`propose` takes what `status` shows."""
    changes = subcommands(subcommands(subcommands(parser())["chain"])["propose"])
    assert [export_change(change)["change"] for change, _ in CHANGES.values()] == [*CHANGES]
    assert changes.keys() == CHANGES.keys()
    choices = next(action.choices for action in changes["approve"]._actions if action.dest == "set")
    assert choices == SETS


@pytest.mark.parametrize(
    ("registry", "reason"),
    [
        (REGISTRY.but(paused=True), "chain.paused"),
        (REGISTRY.but(published=False), "chain.unpublished"),
        (REGISTRY.but(valid_until=NOW - 1), "chain.expired"),
    ],
)
def test_what_is_stored_is_shown_though_it_is_not_in_force(
    attestd: Run, on_chain: tuple[object, ...], chain: Callable[[Registry], None], registry: Registry, reason: str
) -> None:
    chain(registry)
    status, shown = attestd("chain", "status", *on_chain)
    assert (status, shown["outcome"], shown["reason"]) == (4, "unavailable", reason)
    assert (shown["admin"], shown["paused"]) == (str(ADMIN), registry.paused)


def test_too_few_signatures_are_not_authentic(
    attestd: Run, on_chain: tuple[object, ...], chain: Callable[[Registry], None]
) -> None:
    chain(REGISTRY.but(signers={0: 0}))
    status, shown = attestd("chain", "status", *on_chain)
    assert (status, shown["outcome"], shown["reason"]) == (3, "rejected", "checkpoint.signatures")


def test_the_registry_has_to_be_named_once(attestd: Run, network: Path, chain: object) -> None:
    status, complaint = attestd("chain", "status", "--network", network)
    assert status == 1
    assert "[chain.network]" in complaint
    pinned = json.loads(network.read_text())
    pinned["attestd"]["registry"] = str(HERE)
    network.write_text(json.dumps(pinned))
    assert attestd("chain", "status", "--network", network)[0] == 0
    status, complaint = attestd("chain", "status", "--network", network, "--registry", ADMIN)
    assert status == 1
    assert "which is pinned" in complaint


def test_an_account_that_is_no_registry(attestd: Run, network: Path, chain: object) -> None:
    status, shown = attestd("chain", "status", "--network", network, "--registry", ADMIN)
    assert (status, shown["reason"]) == (4, "chain.account")


# Where the proof comes from


def answered(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


REFUSED = HTTPError("http://h/", 404, "not here \x1b[31m", {}, BytesIO())  # type: ignore[arg-type]  # no headers


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (REFUSED, "status 404"),
        (URLError(ConnectionRefusedError(111, "refused")), "ConnectionRefusedError"),
        (URLError("no host given"), "URLError"),
        (TimeoutError("timed out"), "TimeoutError"),
        (HTTPException("line too long"), "HTTPException"),
        (InvalidURL("nonnumeric port"), "InvalidURL"),
        (ValueError("Invalid IPv6 URL"), "ValueError"),
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"), "UnicodeEncodeError"),
    ],
)
def test_a_proof_that_cannot_be_had(
    attestd: Run, on_chain: tuple[object, ...], monkeypatch: pytest.MonkeyPatch, error: Exception, found: str
) -> None:
    monkeypatch.setattr(OpenerDirector, "open", answered(error))
    status, shown = attestd("chain", "get", MEMBER.hex(), *on_chain, "--proof", "http://example.org/")
    assert (status, shown["outcome"], shown["reason"]) == (4, "unavailable", "chain.key_proof")
    assert f"found {found};" in shown["detail"]


def test_a_url_that_is_none(attestd: Run, on_chain: tuple[object, ...]) -> None:
    status, shown = attestd("chain", "get", MEMBER.hex(), *on_chain, "--proof", "http://[x/")
    assert (status, shown["reason"]) == (4, "chain.key_proof")


def test_a_proof_over_http(attestd: Run, on_chain: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenerDirector, "open", lambda *_, **__: BytesIO(REGISTRY.document(MEMBER)))
    assert attestd("chain", "get", MEMBER.hex(), *on_chain, "--proof", "https://example.org/key")[0] == 0


def test_a_proof_of_another_key_or_of_another_epoch(
    attestd: Run, on_chain: tuple[object, ...], proof: Callable[[bytes], Path], chain: Callable[[Registry], None]
) -> None:
    file = proof(MEMBER)
    status, shown = attestd("chain", "get", ABSENT.hex(), *on_chain, "--proof", file)
    assert (status, shown["outcome"], shown["reason"]) == (2, "malformed", "json.schema")
    chain(REGISTRY.but(epoch=8))
    status, shown = attestd("chain", "get", MEMBER.hex(), *on_chain, "--proof", file)
    assert (status, shown["reason"]) == (4, "chain.epoch")


def test_no_file_with_a_proof(attestd: Run, on_chain: tuple[object, ...]) -> None:
    status, complaint = attestd("chain", "get", MEMBER.hex(), *on_chain, "--proof", "absent.json")
    assert (status, complaint) == (1, "attestd: absent.json: No such file or directory\n")


# Wallets


def test_a_new_wallet(attestd: Run, on_terminal: Terminal, network: Path, tmp_path: Path) -> None:
    key = tmp_path / "wallet.key"
    status, made = attestd("chain", "wallet", "new", "--network", network, "--wallet-key", key)
    assert status == 0
    assert key.stat().st_mode & 0o777 == 0o600
    assert made["version"] == "v5r1"
    assert Address.parse(made["fund"]) == Address.parse(made["address"])
    # One key is never written over another.
    status, complaint = attestd("chain", "wallet", "new", "--network", network, "--wallet-key", key)
    assert (status, complaint) == (1, f"attestd: {key}: File exists\n")
    other = ("--wallet-version", "v4r2", "--network", network, "--wallet-key", tmp_path / "other.key")
    assert "v4r2" in on_terminal("chain", "wallet", "new", *other)[1]


def test_no_key_is_made_for_a_network_that_is_none(attestd: Run, tmp_path: Path) -> None:
    key = tmp_path / "wallet.key"
    status, complaint = attestd("chain", "wallet", "new", "--network", tmp_path / "none.json", "--wallet-key", key)
    assert status == 1
    assert "none.json" in complaint
    assert not key.exists()


def test_a_key_file_that_others_can_read_is_refused_by_all(
    attestd: Run, on_chain: tuple[object, ...], tmp_path: Path
) -> None:
    key = tmp_path / "wallet.key"
    key.write_text("11" * 32)
    key.chmod(0o644)
    for command in (
        ("wallet", "show", *on_chain[:2]),
        ("pause", *on_chain),
        ("deploy", *on_chain[:2], "--verifier", "22" * 32, "--threshold", 1),
    ):
        status, complaint = attestd("chain", *command, "--wallet-key", key)
        assert status == 1
        assert "chmod 600" in complaint
        assert "[chain.wallet_key]" in complaint


def test_a_balance(
    attestd: Run, on_terminal: Terminal, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "wallet.key"
    fresh = attestd("chain", "wallet", "new", "--network", network, "--wallet-key", key)[1]
    account = None
    world = REGISTRY.world()
    proved = prove_account(world.answer(HERE), world.head(HERE), HERE, GLOBAL_ID)

    async def answer(_servers: Liteservers, address: Address) -> Agreed:
        found = replace(proved, address=address, account=account)
        return Agreed(account=found, servers=(SERVER,), others=())

    monkeypatch.setattr(Liteservers, "account", answer)
    shown = attestd("chain", "wallet", "show", "--network", network, "--wallet-key", key)
    assert shown == (0, {**fresh, "status": "absent", "balance": 0, "seqno": 0, "servers": ["127.0.0.1:1"]})
    assert proved.account is not None
    account = replace(proved.account, status=AccountStatus.UNINIT, code=None, data=None, balance=1_234_567_890)
    status, lines = on_terminal("chain", "wallet", "show", "--network", network, "--wallet-key", key)
    assert status == 0
    assert "balance     1.23456789 TON" in lines


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("status", "--network", "n", "--registry", "somewhere"),
        ("get", "12", "--network", "n", "--proof", "p"),
        ("get", MEMBER.hex(), "--network", "n"),
        ("wallet", "new", "--network", "n"),
        ("wallet", "show", "--network", "n", "--wallet-key", "k", "--wallet-version", "v3r2"),
        ("deploy", "--network", "n", "--threshold", "1"),
        ("deploy", "--network", "n", "--threshold", "17", "--verifier", "11" * 32),
        ("deploy", "--network", "n", "--threshold", "1", "--verifier", "11"),
        ("deploy", "--network", "n", "--threshold", "1", "--verifier", "11" * 32, "--timelock", "2592001"),
        ("propose", "timelock", "2592001", "--network", "n"),
        ("propose", "max-validity", "0", "--network", "n"),
        ("propose", "admin", "me", "--network", "n"),
        ("propose", "approve", "key", "sha256:" + "11" * 32, "--network", "n"),
        ("execute", "first", "--network", "n"),
        ("cancel", "-1", "--network", "n"),
        ("devnet", "--fund", "me"),
    ],
)
def test_misuse_is_refused_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["chain", *arguments])
    assert end.value.code == 1
    assert "--help" in capsys.readouterr().err
