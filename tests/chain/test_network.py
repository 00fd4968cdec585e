"""Network files: TON's own as they are, what may be pinned beside, and what would let one server be counted twice."""

import json
from base64 import b64encode
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import pytest

from attestd.chain.network import Liteserver, Network
from attestd.errors import ConfigurationRefused, Reason
from attestd.tvm.address import Address
from tests.refusals import misconfigured

MAINNET, TESTNET = "F6OpKZKqvqeFp6CQmFomXNMfMj2EnaUSOXN+Mh+wVWk=", "gj+B8wb/AmlPk1z1AhVI484rhrUpgSr2oSFIh56VoSg="
REGISTRY, ADMIN = Address(0, b"\x11" * 32), Address(-1, b"\x22" * 32)
MAX_FILE_SIZE: Final = 1024 * 1024

File = dict[str, Any]


def server(number: int, **members: object) -> File:
    key = {"@type": "pub.ed25519", "key": b64encode(bytes([number]) * 32).decode()}
    return {"ip": number, "port": 4000 + number, "id": key} | members


def published(zero_state: str = MAINNET, servers: int = 3) -> File:
    """Return a file as TON publishes it; members that attestd does not need are in it, too."""
    return {
        "@type": "config.global",
        "dht": {"@type": "dht.config.global", "k": 6},
        "liteservers": [server(number) for number in range(servers)],
        "validator": {"@type": "validator.config.global", "zero_state": {"seqno": 0, "root_hash": zero_state}},
    }


def pinned(**own: object) -> File:
    verifiers = {"0": "aa" * 32, "2": "bb" * 32, "255": "cc" * 32}
    pins = {"global_id": -239, "agree": 3, "registry": str(REGISTRY), "admin": str(ADMIN)}
    return published() | {"attestd": pins | {"verifiers": verifiers, "threshold": 2} | own}


def parse(file: object) -> Network:
    return Network.parse(json.dumps(file).encode())


@pytest.mark.parametrize(("zero_state", "global_id"), [(MAINNET, -239), (TESTNET, -3)])
def test_what_ton_publishes(zero_state: str, global_id: int) -> None:
    network = parse(published(zero_state))
    assert network == Network(
        liteservers=tuple(Liteserver(f"0.0.0.{number}", 4000 + number, bytes([number]) * 32) for number in range(3)),
        global_id=global_id,
        agree=2,
    )


def test_what_may_be_pinned() -> None:
    network = parse(pinned())
    assert (network.global_id, network.agree, network.threshold) == (-239, 3, 2)
    assert (network.registry, network.admin) == (REGISTRY, ADMIN)
    assert network.verifiers == ((0, b"\xaa" * 32), (2, b"\xbb" * 32), (255, b"\xcc" * 32))


def test_a_network_of_ones_own_names_its_number() -> None:
    own = published("A" * 43 + "=")
    with misconfigured(Reason.CHAIN_NETWORK):
        parse(own)
    for number in (-(2**31), 0, 2**31 - 1):
        assert parse(own | {"attestd": {"global_id": number}}).global_id == number
        # What the file says goes before what its zero state says.
        assert parse(published() | {"attestd": {"global_id": number}}).global_id == number


def test_one_server_is_believed_only_where_the_file_says_so() -> None:
    one = published(servers=1)
    with misconfigured(Reason.CHAIN_NETWORK):
        parse(one)
    assert parse(one | {"attestd": {"agree": 1}}).agree == 1


@pytest.mark.parametrize(
    ("ip", "host"), [(-1, "255.255.255.255"), (-(2**31), "128.0.0.0"), (2**32 - 1, "255.255.255.255")]
)
def test_an_address_with_its_sign_and_without(ip: int, host: str) -> None:
    file = published()
    file["liteservers"][0]["ip"] = ip
    assert parse(file).liteservers[0].host == host


@pytest.mark.parametrize("port", [1, 65535])
def test_a_port(port: int) -> None:
    file = published()
    file["liteservers"][0]["port"] = port
    assert parse(file).liteservers[0].port == port


def put(name: str, value: object) -> Callable[[File], None]:
    """Change the first server."""
    return lambda file: file["liteservers"][0].__setitem__(name, value)


def identity(name: str, value: object) -> Callable[[File], None]:
    return lambda file: file["liteservers"][0]["id"].__setitem__(name, value)


def own(name: str, value: object) -> Callable[[File], None]:
    return lambda file: file["attestd"].__setitem__(name, value)


def whole(name: str, value: object) -> Callable[[File], None]:
    return lambda file: file.__setitem__(name, value)


def again(**members: object) -> Callable[[File], None]:
    """Name the first server once more, or one that differs from it in this."""
    return lambda file: file["liteservers"].append(file["liteservers"][0] | members)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (again(), "one liteserver twice"),
        (again(port=9), "two liteservers with one key"),
        (again(ip=9), "two liteservers with one key"),
        (whole("liteservers", []), "document.liteservers"),
        (whole("liteservers", None), "document.liteservers"),
        (whole("liteservers", [server(number) for number in range(65)]), "document.liteservers"),
        (put("ip", 2**32), "ip"),
        (put("ip", -(2**31) - 1), "ip"),
        (put("ip", "127.0.0.1"), "ip"),
        (put("port", 0), "port"),
        (put("port", 65536), "port"),
        (put("id", None), "id"),
        (identity("@type", "pub.aes"), "@type"),
        (identity("key", b64encode(bytes(31)).decode()), "key"),
        (identity("key", b64encode(bytes(33)).decode()), "key"),
        (own("agree", 0), "3 liteservers, of which 0 must agree"),
        (own("agree", 4), "3 liteservers, of which 4 must agree"),
        (own("agree", True), "agree"),
        (own("global_id", 2**31), "global_id"),
        (own("global_id", -(2**31) - 1), "global_id"),
        (own("registry", "somewhere"), "9 other characters"),
        (own("admin", ""), "admin"),
        (own("verifiers", {"0": "aa" * 32, "1": "aa" * 32}), "one verifier's key twice"),
        (own("verifiers", {"256": "aa" * 32}), "unknown members"),
        (own("verifiers", {"00": "aa" * 32}), "unknown members"),
        (own("verifiers", {"0": "aa" * 31}), "0"),
        (own("verifiers", {}), "0 verifiers with the threshold 2"),
        (own("threshold", 0), "3 verifiers with the threshold 0"),
        (own("threshold", 4), "3 verifiers with the threshold 4"),
        (own("threshold", -1), "threshold"),
        (own("agreed", 2), "unknown members"),
        (whole("attestd", []), "attestd"),
    ],
)
def test_what_is_refused(change: Callable[[File], None], found: str) -> None:
    file = deepcopy(pinned())
    parse(file)
    change(file)
    with pytest.raises(ConfigurationRefused) as caught:
        parse(file)
    assert caught.value.reason is Reason.CHAIN_NETWORK
    assert found in f"{caught.value.found} {caught.value.wanted}"


def test_every_verifier_may_be_needed() -> None:
    assert parse(pinned(threshold=3)).threshold == 3


def test_as_many_servers_as_may_be_named() -> None:
    assert len(parse(published(servers=64)).liteservers) == 64


def test_the_size_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    raw = json.dumps(published()).encode()
    path.write_bytes(raw + b" " * (MAX_FILE_SIZE - len(raw)))
    assert Network.load(path) == parse(published())
    path.write_bytes(raw + b" " * (MAX_FILE_SIZE - len(raw) + 1))
    with pytest.raises(ConfigurationRefused, match="a larger file"):
        Network.load(path)
    with pytest.raises(FileNotFoundError):
        Network.load(tmp_path / "absent.json")


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b'{"liteservers": [], "liteservers": []}', b"\xff"])
def test_what_is_no_file_of_this_form(raw: bytes) -> None:
    with misconfigured(Reason.CHAIN_NETWORK):
        Network.parse(raw)
