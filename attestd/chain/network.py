"""Which chain: the network file, in the form of TON's global config.

What TON publishes for testnet and mainnet can be used as it is. attestd's own member says what that form has no place
for; everything but `agree` in it pins what is otherwise taken from the proved state of the contract:

    {"liteservers": [{"ip": int32, "port": …, "id": {"@type": "pub.ed25519", "key": "<base64>"}}, …],
     "validator": {"zero_state": {"root_hash": "<base64>", …}, …},
     "attestd": {"global_id": -239, "agree": 2, "registry": "0:…",
                 "verifiers": {"0": "<hex>", …}, "threshold": 2, "admin": "0:…"}}
"""

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, Self

from attestd.codec import Fields, load_json
from attestd.errors import ConfigurationRefused, Malformed, Reason
from attestd.tvm.address import Address

# What TON publishes has about 30 KiB, most of it DHT nodes.
_MAX_FILE_SIZE: Final = 1024 * 1024
_MAX_LITESERVERS: Final = 64
_MAX_PORT: Final = 65535
_MAX_VERIFIERS: Final = 256
_KEY_SIZE: Final = 32
_INT32: Final = 2**31 - 1

# One server alone can show an old state; two must lie alike. One alone counts only where the file asks for that.
_AGREE: Final = 2

# The zero state is what tells the networks apart, before anything has been read of them. Config parameter 19 of each.
_GLOBAL_IDS: Final = {
    "F6OpKZKqvqeFp6CQmFomXNMfMj2EnaUSOXN+Mh+wVWk=": -239,  # mainnet
    "gj+B8wb/AmlPk1z1AhVI484rhrUpgSr2oSFIh56VoSg=": -3,  # testnet
}


@dataclass(frozen=True, slots=True)
class Liteserver:
    """One server, and the Ed25519 key (32 bytes) that it proves to have in the handshake."""

    host: str
    port: int
    key: bytes

    def __str__(self) -> str:
        """Name the server as people know it."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network: whom to ask, how many must say the same, and what is pinned of the registry."""

    liteservers: tuple[Liteserver, ...]
    global_id: int
    agree: int = _AGREE
    registry: Address | None = None
    verifiers: tuple[tuple[int, bytes], ...] = ()  # index and Ed25519 public key; none are pinned where it is empty
    threshold: int = 0
    admin: Address | None = None

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read a network file. Raises `ConfigurationRefused` (`chain.network`), and `OSError` for what cannot be read.

        The registry pinned in it is checked by whoever reads; an address named elsewhere must be the same.
        """
        with file.open("rb") as opened:
            return cls.parse(opened.read(_MAX_FILE_SIZE + 1))

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read what a network file holds. Raises `ConfigurationRefused` (`chain.network`)."""
        if len(raw) > _MAX_FILE_SIZE:
            raise _refused("a larger file", f"at most {_MAX_FILE_SIZE} bytes")
        try:
            top = Fields(load_json(raw))
            own = top.fields("attestd") if top.given("attestd") else Fields({})
            return cls._load(top, own.only("global_id", "agree", "registry", "verifiers", "threshold", "admin"))
        except Malformed as error:
            raise _refused(error.found, error.wanted) from None

    @classmethod
    def _load(cls, top: Fields, own: Fields) -> Self:
        network = cls(
            liteservers=tuple(map(_liteserver, top.array("liteservers", most=_MAX_LITESERVERS))),
            global_id=own.integer("global_id", _INT32, least=~_INT32) if own.given("global_id") else _global_id(top),
            agree=own.integer("agree", _MAX_LITESERVERS) if own.given("agree") else _AGREE,
            registry=_address(own, "registry"),
            verifiers=_verifiers(own.fields("verifiers")) if own.given("verifiers") else (),
            threshold=own.integer("threshold", _MAX_VERIFIERS) if own.given("threshold") else 0,
            admin=_address(own, "admin"),
        )
        network._require_consistent()
        return network

    def _require_consistent(self) -> None:
        if len(set(self.liteservers)) != len(self.liteservers):
            raise _refused("one liteserver twice", "each liteserver once: they are counted")
        if len({server.key for server in self.liteservers}) != len(self.liteservers):
            raise _refused("two liteservers with one key", "servers of different operators: they are counted")
        if not 1 <= self.agree <= len(self.liteservers):
            raise _refused(
                f"{len(self.liteservers)} liteservers, of which {self.agree} must agree",
                'more liteservers, or "agree": 1 in the member attestd, to believe one alone',
            )
        if len({key for _, key in self.verifiers}) != len(self.verifiers):
            raise _refused("one verifier's key twice", "each key once: they are counted")
        if bool(self.verifiers) != bool(self.threshold) or self.threshold > len(self.verifiers):
            raise _refused(
                f"{len(self.verifiers)} verifiers with the threshold {self.threshold}",
                "both or neither, and a threshold that they can reach",
            )


def _liteserver(fields: Fields) -> Liteserver:
    # The file has the address as an int32; some write it without its sign.
    host = IPv4Address(fields.integer("ip", 2 * _INT32 + 1, least=~_INT32) & (2 * _INT32 + 1))
    identity = fields.fields("id")
    if identity.text("@type") != "pub.ed25519":
        raise identity.refuse("@type", "pub.ed25519")
    key = identity.binary("key")
    if len(key) != _KEY_SIZE:
        raise identity.refuse("key", f"{_KEY_SIZE} bytes in base64")
    return Liteserver(str(host), fields.integer("port", _MAX_PORT, least=1), key)


def _global_id(top: Fields) -> int:
    zero_state = top.fields("validator").fields("zero_state")
    try:
        return _GLOBAL_IDS[zero_state.text("root_hash")]
    except KeyError:
        raise _refused("a network that is neither mainnet nor testnet", "its global_id in the member attestd") from None


def _address(own: Fields, name: str) -> Address | None:
    return Address.parse(own.text(name)) if own.given(name) else None


def _verifiers(keys: Fields) -> tuple[tuple[int, bytes], ...]:
    indexes = range(_MAX_VERIFIERS)
    keys.only(*map(str, indexes))
    return tuple((index, keys.hexadecimal(str(index), _KEY_SIZE)) for index in indexes if str(index) in keys)


def _refused(found: str, wanted: str) -> ConfigurationRefused:
    return ConfigurationRefused(Reason.CHAIN_NETWORK, found=found, wanted=wanted)
