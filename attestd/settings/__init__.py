"""The configuration: one frozen `Settings`, read once from a TOML file and from ATTESTD_* in the environment.

Every setting has one name: `listen` in the file is ATTESTD_LISTEN in the environment, which wins. Unknown names, wrong
types and insecure combinations are refused with the name of the setting (`ConfigurationRefused`, `settings.refused`).
No setting turns a check off; the one that widens an exposure says so in its name (`danger_…`).

Also here, because everything below takes the time as an argument: the clock of the service, and the time of the build.

    given.py    what the file and the environment name, by type
    files.py    the files that settings name: whose they are, and what is in them
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

from attestd.codec import load_hex
from attestd.errors import ConfigurationRefused, Malformed, Reason
from attestd.settings.files import (
    load_anchors,
    open_to_others,
    own_directory,
    read_file,
    read_secret,
    shipped,
    write_once,
)
from attestd.settings.given import Given, Listener, refused
from attestd.x509 import TrustAnchors

__all__ = [
    "BUILT",
    "LOG_LEVELS",
    "SIMULATED",
    "ChainSettings",
    "CosignSettings",
    "Listener",
    "Settings",
    "load_anchors",
    "now",
    "read_secret",
    "shipped",
]

# When this release was built. A clock that shows less is wrong, and every window of validity with it (attacks.md, C47).
BUILT: Final = datetime(2026, 11, 23, tzinfo=UTC)

# What a registry of simulated hardware is called. Its evidence can never be mistaken for another registry's, because
# the registry's name is part of what report data commits to (binding.md).
SIMULATED: Final = "simulated:"

LOG_LEVELS: Final = ("debug", "info", "warning", "error")

_MAX_REGISTRY_ID: Final = 128
# What libpq calls a connection whose server is who it says, or one that is plainly open.
_SSL_MODES: Final = ("verify-full", "verify-ca", "disable")
_MAX_COSIGNERS: Final = 16
_VERIFIER_SIZE: Final = 32
_WALLETS: Final = ("v5r1", "v4r2")


def now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSettings:
    """Where epochs are published, and who pays. Without these, nothing is; log and map go on all the same."""

    network: Path  # TON's global config, with attestd's own member
    registry: str | None  # the contract's address; null where the network file has it
    wallet_key: Path
    wallet_version: str  # v5r1 or v4r2
    verifier_key: Path  # signs checkpoints
    cosigners: tuple[str, ...]  # URLs of other verifiers
    spending_cap: int  # TON per day


@dataclass(frozen=True, slots=True, kw_only=True)
class CosignSettings:
    """Whose epochs are co-signed. Whoever has these is a verifier, and no registry of its own."""

    leader: str  # URL of its public listener
    token: Path  # file with an auditor's API key there
    log_key: str  # signs its log's checkpoints: name, key id and key, as in its /.well-known/attestd
    verifier: bytes  # its own verifier's Ed25519 public key, which has signed every candidate first
    network: Path
    registry: str | None
    verifier_key: Path  # signs what was verified


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator decided. Times are in seconds."""

    registry_id: str  # names the registry that keys are meant for (binding.md)
    state_dir: Path  # 0700; holds what the embedded defaults need
    database_url: str = field(repr=False)  # sqlite:///… or postgresql://…; may carry a password
    listen: Listener  # everybody's
    admin_listen: Listener  # for the operator alone
    trust_anchors: TrustAnchors = field(repr=False)
    endorsements: Path  # folder of vendor collateral
    endorsements_refresh: int
    policies: Path  # a TOML file or a folder of them, imported at start: what evidence may name
    default_policy: str
    challenge_lifetime: int
    live_keys_per_platform: int
    requests_per_second_per_key: int
    requests_per_second_per_address: int
    log_key: Path  # signs the log's own checkpoints
    epoch_interval: int
    checkpoint_validity: int
    chain: ChainSettings | None
    cosign: CosignSettings | None
    log_level: str

    @property
    def simulated(self) -> bool:
        """Whether other hardware than the vendors' own is trusted here; every answer says so."""
        return not self.trust_anchors.genuine

    @classmethod
    def load(cls, file: Path | None, environment: Mapping[str, str], at: datetime) -> Self:
        """Read the file, if there is one, then the environment; `at` is the time now.

        Creates the state directory, and the name of an embedded registry in it. Raises `ConfigurationRefused`.
        """
        if at < BUILT:
            raise ConfigurationRefused(Reason.CLOCK, found=f"{at:%Y-%m-%d}", wanted=f"{BUILT:%Y-%m-%d} or later")
        members = {} if file is None else read_file(file)
        given = Given(members, environment)
        state_dir = own_directory("state_dir", given.path("state_dir", Path("attestd-data")))
        database_url = given.text("database_url", f"sqlite:///{state_dir / 'attestd.db'}")
        _refuse_open_database(database_url)
        if file is not None and _has_password(members.get("database_url")) and open_to_others(file):
            raise refused("database_url", "a password in a file that others can read", f"chmod 600 {file}")
        anchors = load_anchors(given.optional_path("trust_anchors"))
        cosign = _cosign(given)
        settings = cls(
            registry_id=_registry_id(given, state_dir, anchors, database_url),
            state_dir=state_dir,
            database_url=database_url,
            listen=given.listener("listen", "127.0.0.1:8080"),
            admin_listen=given.listener("admin_listen", "127.0.0.1:8081"),
            trust_anchors=anchors,
            endorsements=_endorsements(given, state_dir),
            endorsements_refresh=given.integer("endorsements_refresh", 30, 1, 3600),
            # Not the whole folder: providers choose among the policies in force, and a shipped one takes any image.
            policies=given.path("policies", shipped("policies") / "cocoon-tdx.toml"),
            default_policy=given.text("default_policy", "cocoon-tdx"),
            challenge_lifetime=given.integer("challenge_lifetime", 300, 10, 3600),
            live_keys_per_platform=given.integer("live_keys_per_platform", 16, 1, 1024),
            requests_per_second_per_key=given.integer("requests_per_second_per_key", 100, 1, 100_000),
            requests_per_second_per_address=given.integer("requests_per_second_per_address", 500, 1, 1_000_000),
            # A verifier signs no log, whatever database it has.
            log_key=_log_key(given, state_dir, shared=cosign is None and not database_url.startswith("sqlite:")),
            epoch_interval=given.integer("epoch_interval", 60, 1, 86_400),
            checkpoint_validity=given.integer("checkpoint_validity", 900, 60, 604_800),
            chain=_chain(given) if cosign is None else None,
            cosign=cosign,
            log_level=given.choice("log_level", "info", LOG_LEVELS),
        )
        danger = given.flag("danger_admin_listen_beyond_loopback")
        given.finish()
        _refuse_exposed(settings.listen, settings.admin_listen, danger=danger)
        return settings


def _refuse_open_database(url: str) -> None:
    """Refuse other databases, and connections to whoever answers; the registry looks at the files of SQLite."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise refused("database_url", "no URL", "sqlite:///<path> or postgresql://…") from None
    match parts.scheme:
        case "postgresql":
            _refuse_open_connection(parts.hostname, parse_qs(parts.query))
        case "sqlite":
            pass
        case _:
            raise refused("database_url", "another kind of database", "sqlite:///<path> or postgresql://…")


def _has_password(url: object) -> bool:
    return isinstance(url, str) and urlsplit(url).password is not None


def _refuse_open_connection(host: str | None, options: Mapping[str, list[str]]) -> None:
    """Refuse what trusts whoever answers, as libpq does by default: a connection off the machine says what it wants."""
    named = options.get("host", [host or ""])[-1]
    if named.startswith("/") or named in ("", "localhost", "127.0.0.1", "::1"):
        return
    if options.get("sslmode", [""])[-1] not in _SSL_MODES:
        raise refused("database_url", "no sslmode that names its server", "sslmode=" + ", ".join(_SSL_MODES))


def _registry_id(given: Given, state_dir: Path, anchors: TrustAnchors, database_url: str) -> str:
    named = given.text("registry_id", _embedded_registry_id(state_dir, anchors, database_url))
    if not named.isascii() or len(named) > _MAX_REGISTRY_ID or " " in named:
        raise refused("registry_id", "other characters, or too many", f"at most {_MAX_REGISTRY_ID} of ASCII, no space")
    if named.startswith(SIMULATED) == anchors.genuine:
        # A real chain or a real registry must never stand on test roots, nor the other way round (attacks.md, A20).
        hardware, prefix = ("the vendors' own", "no") if anchors.genuine else ("simulated", "the")
        raise refused("registry_id", f"it does not fit {hardware} trust anchors", f"{prefix} prefix {SIMULATED}")
    return named


def _embedded_registry_id(state_dir: Path, anchors: TrustAnchors, database_url: str) -> str:
    """Return the name that an embedded registry gives itself, once; a database that is shared must be given one."""
    if not database_url.startswith("sqlite:"):
        return ""
    file = state_dir / "registry-id"
    try:
        if not file.exists():
            prefix = "attestd:" if anchors.genuine else SIMULATED
            write_once(file, prefix + secrets.token_hex(16))
        return file.read_text(encoding="ascii")
    except (OSError, ValueError):
        raise refused("state_dir", f"{file} cannot be read or written", "a directory of the service's own") from None


def _endorsements(given: Given, state_dir: Path) -> Path:
    default = state_dir / "endorsements"
    path = given.path("endorsements", default)
    return own_directory("endorsements", path) if path == default else path


def _log_key(given: Given, state_dir: Path, *, shared: bool) -> Path:
    """Return where the log's key lies. An embedded registry makes its own, once; others share theirs."""
    default = state_dir / "log-key"
    path = given.path("log_key", default)
    if path == default and not shared:
        try:
            if not path.exists():
                write_once(path, secrets.token_hex(32))
        except OSError:
            raise refused("log_key", f"{path} cannot be written", "a directory of the service's own") from None
    return path


def _cosign(given: Given) -> CosignSettings | None:
    """Return whose epochs are co-signed, all that is needed or nothing of it."""
    leader = given.optional_text("cosign_of")
    if leader is None:
        if any(given.optional_text(name) for name in ("cosign_token", "cosign_log_key", "cosign_leader")):
            raise refused("cosign_of", "nothing, beside other settings of co-signing", "the URL of the registry")
        return None
    beside, wanted = "cosign_of", "all that co-signing needs: see the README"
    token = given.needed_path("cosign_token", beside, wanted)
    log_key = given.needed_text("cosign_log_key", beside, wanted)
    verifier = given.needed_text("cosign_leader", beside, wanted)
    network = given.needed_path("chain_network", beside, wanted)
    verifier_key = given.needed_path("chain_verifier_key", beside, wanted)
    try:
        public_key = load_hex(verifier, size=_VERIFIER_SIZE)
    except Malformed as error:
        raise refused("cosign_leader", error.found, f"{_VERIFIER_SIZE} bytes in hex") from None
    return CosignSettings(
        leader=leader,
        token=token,
        log_key=log_key,
        verifier=public_key,
        network=network,
        registry=given.optional_text("chain_registry"),
        verifier_key=verifier_key,
    )


def _chain(given: Given) -> ChainSettings | None:
    """Return what is set of the chain, all that is needed or nothing of it."""
    network, registry = given.optional_path("chain_network"), given.optional_text("chain_registry")
    wallet_version = given.choice("chain_wallet_version", "v5r1", _WALLETS)
    cosigners = given.texts("chain_cosigners", _MAX_COSIGNERS)
    spending_cap = given.integer("chain_spending_cap", 20, 1, 1_000_000)
    if network is None:
        keys = [given.optional_text(name) for name in ("chain_wallet_key", "chain_verifier_key")]
        if registry or cosigners or any(keys):
            raise refused("chain_network", "nothing, beside other settings of the chain", "a network file")
        return None
    return ChainSettings(
        network=network,
        registry=registry,
        wallet_key=given.needed_path("chain_wallet_key", "chain_network", "the key file of the wallet that pays"),
        wallet_version=wallet_version,
        verifier_key=given.needed_path("chain_verifier_key", "chain_network", "the key file that signs checkpoints"),
        cosigners=cosigners,
        spending_cap=spending_cap,
    )


def _refuse_exposed(listen: Listener, admin: Listener, *, danger: bool) -> None:
    if listen.overlaps(admin):
        raise refused("admin_listen", "the same as listen", "a listener of its own")
    if not admin.host.is_loopback and not danger:
        raise refused(
            "admin_listen", "an address beyond loopback", "loopback, or danger_admin_listen_beyond_loopback = true"
        )
