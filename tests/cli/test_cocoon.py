"""`attestd cocoon show`, `message` and `sync`."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pytoniq_core.boc.builder import Builder as PeerBuilder
from pytoniq_core.boc.cell import Cell as PeerCell

from attestd.api.server import Service
from attestd.chain.account import Account
from attestd.chain.cocoon import ROOT_ADDRESS, Params, RootState, dump_state
from attestd.chain.ledger import AccountStatus
from attestd.chain.liteservers import Agreed, Liteservers
from attestd.chain.network import Liteserver
from attestd.chain.proof import ProvedAccount
from attestd.chain.tl import BlockId
from attestd.cli.client import Client
from attestd.codec import load_base64, load_base64url
from attestd.errors import Reason, Unavailable
from attestd.registrar import bootstrap_admin
from attestd.settings import Settings, now
from attestd.tvm.address import Address
from attestd.tvm.boc import dump_boc
from attestd.tvm.cell import Builder
from tests.cli.conftest import needs_loopback

Run = Callable[..., tuple[int, Any]]
Terminal = Callable[..., tuple[int, str]]

OWNER = Address.parse("EQDnlslXI2RtI1WhLmtelkb4CVQGxr8E_xSIjl0Hg79jNhNQ")
WORKER, PROXY, BOTH, MODEL = (bytes([number]) * 32 for number in (1, 2, 3, 4))
STATE = RootState(
    owner=OWNER,
    version=87,
    proxy_hashes=frozenset([PROXY, BOTH]),
    proxies={2: b"91.108.4.11:5222 91.108.4.11:8888"},
    last_proxy_seqno=3,
    worker_hashes=frozenset([WORKER, BOTH]),
    model_hashes=frozenset([MODEL]),
    params=Params(
        struct_version=4,
        params_version=17,
        unique_id=239,
        is_test=False,
        price_per_token=20,
        worker_fee_per_token=19,
        proxy_delay_before_close=86400,
        client_delay_before_close=43200,
        worker_code=Builder().uint(1, 8).end(),
    ),
    key_manager=Builder().uint(0, 521).end(),
)
IMAGES = [
    {"digest": f"sha256:{WORKER.hex()}", "roles": ["worker"]},
    {"digest": f"sha256:{PROXY.hex()}", "roles": ["proxy"]},
    {"digest": f"sha256:{BOTH.hex()}", "roles": ["worker", "proxy"]},
]


def write(folder: Path, state: RootState) -> Path:
    path = folder / "state.boc"
    path.write_bytes(dump_boc(dump_state(state)))
    return path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return write(tmp_path, STATE)


def test_a_state_in_a_file_is_shown(attestd: Run, state: Path) -> None:
    status, shown = attestd("cocoon", "show", "--state", state)
    assert status == 0
    assert shown == {
        "proved": False,
        "state_hash": dump_state(STATE).hash.hex(),
        "owner": str(OWNER),
        "version": 87,
        "images": IMAGES,
        "models": [f"sha256:{MODEL.hex()}"],
        "proxies": {"2": "91.108.4.11:5222 91.108.4.11:8888"},
        "last_proxy_seqno": 3,
        "params": {
            "struct_version": 4,
            "params_version": 17,
            "unique_id": 239,
            "is_test": False,
            "price_per_token": 20,
            "worker_fee_per_token": 19,
            "prompt_tokens_price_multiplier": 10000,
            "cached_tokens_price_multiplier": 10000,
            "completion_tokens_price_multiplier": 10000,
            "reasoning_tokens_price_multiplier": 10000,
            "proxy_delay_before_close": 86400,
            "client_delay_before_close": 43200,
            "min_proxy_stake": 10**9,
            "min_client_stake": 10**9,
            "proxy_code": None,
            "worker_code": Builder().uint(1, 8).end().hash.hex(),
            "client_code": None,
        },
        "key_manager": Builder().uint(0, 521).end().hash.hex(),
        "unknown": [],
    }


def test_tables_are_shown_on_a_terminal(on_terminal: Terminal, state: Path) -> None:
    status, shown = on_terminal("cocoon", "show", "--state", state)
    assert status == 0
    assert f"sha256:{WORKER.hex()}  worker\n" in shown
    assert f"sha256:{BOTH.hex()}  worker, proxy\n" in shown
    assert f"model\nsha256:{MODEL.hex()}\n" in shown
    assert "2      91.108.4.11:5222 91.108.4.11:8888\n" in shown
    assert "{" not in shown


def test_what_is_unknown_in_a_state_is_named(attestd: Run, tmp_path: Path) -> None:
    shown = attestd("cocoon", "show", "--state", write(tmp_path, replace(STATE, rest=Builder().uint(1, 1).end())))[1]
    assert shown["unknown"] == ["root"]


def test_nothing_that_an_owner_writes_draws_on_a_terminal(on_terminal: Terminal, tmp_path: Path) -> None:
    path = write(tmp_path, replace(STATE, proxies={2: b"\x1b[2J\xff"}, owner=None))
    status, shown = on_terminal("cocoon", "show", "--state", path)
    assert status == 0
    assert "\x1b" not in shown
    assert "\\u001b[2J\\xff" in shown


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "cell.boc_malformed"),
        (dump_boc(Builder().end()), "cell.malformed"),
        (bytes(4 * 1024 * 1024 + 1), "cocoon.state"),
    ],
)
def test_what_is_no_state_is_malformed(attestd: Run, tmp_path: Path, raw: bytes, reason: str) -> None:
    path = tmp_path / "state.boc"
    path.write_bytes(raw)
    status, complaint = attestd("cocoon", "show", "--state", path)
    assert status == 2
    assert f"[{reason}]" in complaint


SERVER = Liteserver("127.0.0.1", 1, bytes(32))
BLOCK = BlockId(-1, 1 << 63, 7, b"\x0a" * 32, b"\x0b" * 32)
ACCOUNT = Account(
    address=ROOT_ADDRESS,
    status=AccountStatus.ACTIVE,
    balance=10**9,
    code=Builder().uint(7, 8).end(),
    data=dump_state(STATE),
)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "network.json"
    key = "A" * 43 + "="
    path.write_text(
        f'{{"liteservers": [{{"ip": 2130706433, "port": 1, "id": {{"@type": "pub.ed25519", "key": "{key}"}}}}],'
        '"attestd": {"global_id": -217, "agree": 1}}'
    )
    return path


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Callable[[Account | None], list[Address]]:
    """Have the liteservers prove an account, or that there is none; return whom they were asked for."""

    def prove(account: Account | None) -> list[Address]:
        asked: list[Address] = []

        async def answer(_servers: Liteservers, address: Address) -> Agreed:
            asked.append(address)
            proved = ProvedAccount(
                address=address,
                block=BLOCK,
                gen_utime=1_800_000_000,
                shard_block=BLOCK,
                shard_utime=1_800_000_000,
                account=account,
                state_hash=None,
                last_lt=0,
                last_hash=bytes(32),
            )
            return Agreed(account=proved, servers=(SERVER,), others=())

        monkeypatch.setattr(Liteservers, "account", answer)
        return asked

    return prove


def test_a_proved_state_says_as_of_when(attestd: Run, network: Path, chain: Any) -> None:
    asked = chain(ACCOUNT)
    status, shown = attestd("cocoon", "show", "--network", network)
    assert status == 0
    assert asked == [ROOT_ADDRESS]
    assert {name: shown[name] for name in ("proved", "address", "block", "gen_utime", "servers", "code_hash")} == {
        "proved": True,
        "address": str(ROOT_ADDRESS),
        "block": {"seqno": 7, "root_hash": "0a" * 32, "file_hash": "0b" * 32},
        "gen_utime": datetime.fromtimestamp(1_800_000_000, UTC).isoformat().replace("+00:00", "Z"),
        "servers": ["127.0.0.1:1"],
        "code_hash": Builder().uint(7, 8).end().hash.hex(),
    }
    assert (
        shown["images"] == attestd("cocoon", "show", "--network", network, "--address", OWNER.friendly())[1]["images"]
    )
    assert asked == [ROOT_ADDRESS, OWNER]


@pytest.mark.parametrize(
    "account",
    [None, replace(ACCOUNT, status=AccountStatus.FROZEN, code=None, data=None), replace(ACCOUNT, data=None)],
)
def test_an_account_without_a_state_is_an_error(attestd: Run, network: Path, chain: Any, account: Any) -> None:
    chain(account)
    status, complaint = attestd("cocoon", "show", "--network", network)
    assert status == 4
    assert "[chain.account]" in complaint


def test_servers_that_do_not_agree_are_an_error(attestd: Run, network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_servers: Liteservers, _address: Address) -> Agreed:
        raise Unavailable(Reason.CHAIN_DISAGREES, found="two answers", wanted="two alike")

    monkeypatch.setattr(Liteservers, "account", refuse)
    status, complaint = attestd("cocoon", "show", "--network", network)
    assert status == 4
    assert "[chain.disagrees]" in complaint


OPS = {
    "add-worker": 0xE34B1C60,
    "del-worker": 0x8D94A79A,
    "add-model": 0xC146134D,
    "del-model": 0x92B11C18,
    "add-proxy": 0x71860E80,
    "del-proxy": 0x3C41D0B2,
}


@pytest.mark.parametrize("name", OPS)
def test_messages_are_what_the_contract_takes(attestd: Run, name: str) -> None:
    digests = [f"sha256:{digest.hex()}" for digest in (WORKER, MODEL)]
    status, shown = attestd("cocoon", "message", name, *digests, "--query-id", 9)
    assert status == 0
    assert (shown["to"], shown["amount"], shown["query_id"]) == (ROOT_ADDRESS.friendly(), 10_000_000, 9)
    assert [message["hash"] for message in shown["messages"]] == digests
    for digest, message in zip((WORKER, MODEL), shown["messages"], strict=True):
        body = PeerBuilder().store_uint(OPS[name], 32).store_uint(9, 64).store_bytes(digest).end_cell()
        raw = load_base64(message["body_base64"])
        assert PeerCell.one_from_boc(raw).hash == body.hash
        assert message["body_hex"] == raw.hex()
        start, link = f"ton://transfer/{ROOT_ADDRESS.friendly()}?amount=10000000&bin=", message["link"]
        assert link.startswith(start)
        assert load_base64url(link.removeprefix(start)) == raw


def test_messages_are_for_the_contract_that_is_named(attestd: Run, on_terminal: Terminal) -> None:
    arguments = ("cocoon", "message", "add-worker", f"sha256:{WORKER.hex()}", "--address", str(OWNER))
    assert attestd(*arguments, "--amount", 5)[1]["to"] == "EQDnlslXI2RtI1WhLmtelkb4CVQGxr8E_xSIjl0Hg79jNhNQ"
    link = attestd(*arguments)[1]["messages"][0]["link"]
    assert link.startswith(f"ton://transfer/{OWNER.friendly()}?amount=10000000&bin=")
    shown = on_terminal(*arguments, columns=80)[1]
    assert link in shown.splitlines()
    assert "0.01 TON" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("message", "add-worker"),
        ("message", "upgrade", f"sha256:{WORKER.hex()}"),
        ("message", "add-worker", WORKER.hex()),
        ("message", "add-worker", f"sha256:{WORKER.hex()}", "--query-id", 2**64),
        ("message", "add-worker", f"sha256:{WORKER.hex()}", "--address", "EQ"),
        ("show",),
        ("show", "--state", "a", "--network", "b"),
        ("sync", "--state", "a"),
        *(
            ("sync", "--state", "a", "--registry", url)
            for url in (
                "https://127.0.0.1:8080",
                "http://127.0.0.1",
                "http://localhost:8080",
                "http://192.0.2.1:8080",
                "http://127.0.0.1:99999",
                "http://127.0.0.1:8080/",
                "http://127.0.0.1:8080?a",
                "http://192.0.2.1:80@127.0.0.1:8080",
            )
        ),
    ],
)
def test_misuse_is_refused(attestd: Run, arguments: tuple[object, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        attestd("cocoon", *arguments)
    assert caught.value.code == 1


# The registry: a service of its own for each test.


class Registry:
    def __init__(self, service: Service, token: str, folder: Path) -> None:
        self.operator = Client(service.admin_url, token)
        self.public = Client(service.public_url)
        self.token_file = folder / "token"
        self.token_file.write_text(token + "\n")
        self.token_file.chmod(0o600)
        self.compare: list[object] = ["cocoon", "sync", "--registry", service.public_url]
        self.approve: list[object] = [*self.compare, "--approve", service.admin_url, "--token-file", self.token_file]

    def listed(self, shelf: str) -> dict[str, Any]:
        return {item["digest"]: item for item in self.public.get(f"/v1/{shelf}").document["items"]}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    for name in list(os.environ):
        if name.startswith("ATTESTD_"):
            monkeypatch.delenv(name)
    given = {
        "ATTESTD_STATE_DIR": str(tmp_path / "registry"),
        "ATTESTD_LISTEN": "127.0.0.1:0",
        "ATTESTD_ADMIN_LISTEN": "127.0.0.1:0",
        "ATTESTD_LOG_LEVEL": "error",
    }
    settings = Settings.load(None, given, now())
    token = bootstrap_admin(settings, now())
    with Service.started(settings) as service:
        yield Registry(service, token, tmp_path)


def outcomes(shown: Any) -> dict[tuple[str, str], tuple[list[str], str]]:
    return {(row["of"], row["digest"]): (row["roles"], row["registry"]) for row in shown["rows"]}


def key(shelf: str, digest: bytes) -> tuple[str, str]:
    return shelf, f"sha256:{digest.hex()}"


@needs_loopback
def test_what_is_missing_is_approved_only_where_that_is_asked_for(
    attestd: Run, registry: Registry, state: Path
) -> None:
    for outcome, command in (("missing", registry.compare), ("approved", registry.approve), ("same", registry.compare)):
        status, shown = attestd(*command, "--state", state)
        assert status == 0
        assert (shown["proved"], shown["version"]) == (False, 87)
        assert outcomes(shown) == {
            key("images", WORKER): (["worker"], outcome),
            key("images", PROXY): (["proxy"], outcome),
            key("images", BOTH): (["proxy", "worker"], outcome),
            key("models", MODEL): ([], outcome),
        }
        assert len(registry.listed("images")) == (0 if outcome == "missing" else 3)
    image = registry.listed("images")[f"sha256:{BOTH.hex()}"]
    assert (image["name"], sorted(image["roles"])) == ("Cocoon, root version 87", ["proxy", "worker"])
    assert registry.listed("models")[f"sha256:{MODEL.hex()}"]["name"] == "Cocoon, root version 87"


@needs_loopback
def test_what_the_operator_has_said_is_not_undone(
    attestd: Run, on_terminal: Terminal, registry: Registry, state: Path
) -> None:
    other, gone = bytes([9]) * 32, bytes([10]) * 32
    roles = {WORKER: ["worker", "proxy"], BOTH: ["worker"], PROXY: ["proxy"], other: ["proxy"], gone: ["proxy"]}
    for digest, named in roles.items():
        body = {"name": "mine", "roles": named}
        assert registry.operator.put(f"/v1/images/sha256:{digest.hex()}", body).status == 200
    assert registry.operator.put(f"/v1/models/sha256:{MODEL.hex()}", {"name": "mine"}).status == 200
    for kind, digest in (("image", PROXY), ("image", gone), ("model", MODEL)):
        revocation = {"kind": kind, "value": f"sha256:{digest.hex()}", "reason": "leaks"}
        assert registry.operator.post("/v1/revocations", revocation).status == 201
    status, shown = attestd(*registry.approve, "--state", state)
    assert status == 0
    assert outcomes(shown) == {
        key("images", WORKER): (["proxy", "worker"], "same"),
        key("images", BOTH): (["proxy", "worker"], "approved"),
        key("images", PROXY): (["proxy"], "revoked"),
        key("images", other): (["proxy"], "not on chain"),
        key("models", MODEL): ([], "revoked"),
    }
    images = registry.listed("images")
    assert {image["name"] for image in images.values()} == {"mine"}
    assert images[f"sha256:{PROXY.hex()}"]["revoked"]
    assert not images[f"sha256:{other.hex()}"]["revoked"]
    assert "not on chain" in on_terminal(*registry.compare, "--state", state)[1]


@needs_loopback
def test_long_lists_are_read_to_the_end(
    attestd: Run, registry: Registry, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attestd(*registry.approve, "--state", state)
    monkeypatch.setattr("attestd.cli.cocoon_sync._PAGE", 1)
    assert {row["registry"] for row in attestd(*registry.compare, "--state", state)[1]["rows"]} == {"same"}


@needs_loopback
@pytest.mark.parametrize(
    "more", [replace(STATE, rest=Builder().uint(1, 1).end()), replace(STATE, data_rest=Builder().uint(1, 1).end())]
)
def test_a_state_that_says_more_approves_nothing(
    attestd: Run, registry: Registry, tmp_path: Path, more: RootState
) -> None:
    status, complaint = attestd(*registry.approve, "--state", write(tmp_path, more))
    assert status == 2
    assert "[cocoon.unknown]" in complaint
    assert registry.listed("images") == {}


@needs_loopback
@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (b"", 1, "settings.refused"),
        (b"a\nb", 1, "settings.refused"),
        (b"\xff", 1, "settings.refused"),
        (b"attestd_unknown", 4, "cocoon.registry"),
    ],
)
def test_nothing_is_approved_without_an_api_key(
    attestd: Run, registry: Registry, state: Path, raw: bytes, status: int, reason: str
) -> None:
    registry.token_file.write_bytes(raw)
    got, complaint = attestd(*registry.approve, "--state", state)
    assert got == status
    assert f"[{reason}]" in complaint
    assert registry.listed("images") == {}


@needs_loopback
def test_an_api_key_must_be_in_a_file(attestd: Run, registry: Registry, state: Path) -> None:
    status, complaint = attestd(*registry.approve[:-2], "--state", state)
    assert status == 1
    assert "--token-file" in complaint


@needs_loopback
def test_an_api_key_that_others_can_read_is_refused(attestd: Run, registry: Registry, state: Path) -> None:
    registry.token_file.chmod(0o644)
    status, complaint = attestd(*registry.approve, "--state", state)
    assert status == 1
    assert f"--token-file: {registry.token_file}" in complaint
    assert "chmod 600" in complaint
    assert registry.listed("images") == {}


@needs_loopback
def test_a_service_that_is_none_is_an_error(
    attestd: Run, registry: Registry, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*registry.compare, "--state", state]
    answers = {"status 404": (404, b"{}"), "no JSON object": (200, b"[]")}
    for shown, (status, body) in answers.items():
        answer = replace(registry.public.get("/v1/images"), status=status, body=body)
        with monkeypatch.context() as patch:
            patch.setattr(Client, "get", lambda _client, _path, answer=answer: answer)
            code, complaint = attestd(*command)
        assert code == 4
        assert shown in complaint
        assert "[cocoon.registry]" in complaint


def test_a_service_that_does_not_answer_is_an_error(attestd: Run, state: Path) -> None:
    status, complaint = attestd("cocoon", "sync", "--state", state, "--registry", "http://127.0.0.1:1")
    assert status == 4
    assert "[cocoon.registry]" in complaint
