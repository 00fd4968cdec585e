"""The configuration: one frozen `Settings`, read once from a TOML file and from ATTESTD_* in the environment.

Every setting has one name: `listen` in the file is ATTESTD_LISTEN in the environment, which wins. Unknown names, wrong
types and insecure combinations are refused with the name of the setting (`ConfigurationRefused`, `settings.refused`).
No setting turns a check off; the one that widens an exposure says so in its name (`danger_…`).

Also here, because everything below takes the time as an argument: the clock of the service, and the time of the build.
"""

import os
import secrets
import stat
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

from attestd.codec import load_hex, load_pem
from attestd.errors import ConfigurationRefused, Malformed, Reason
from attestd.x509 import GENUINE_ROOTS, TrustAnchors

# When this release was built. A clock that shows less is wrong, and every window of validity with it (attacks.md, C47).
BUILT: Final = datetime(2026, 11, 23, tzinfo=UTC)

# What a registry of simulated hardware is called. Its evidence can never be mistaken for another registry's, because
# the registry's name is part of what report data commits to (binding.md).
SIMULATED: Final = "simulated:"

LOG_LEVELS: Final = ("debug", "info", "warning", "error")

# Where tests find evidence and peers; never settings of the service.
_FOR_TESTS: Final = frozenset({"ATTESTD_EVIDENCE", "ATTESTD_PEERS", "ATTESTD_NVIDIA_PEER"})

_MAX_CONFIG_SIZE: Final = 64 * 1024
_MAX_TEXT: Final = 1024
_MAX_REGISTRY_ID: Final = 128
_MAX_PORT: Final = 65535
# Folders of certs/ whose roots are in use.
_VENDORS: Final = ("intel", "amd", "nvidia")
# What libpq calls a connection whose server is who it says, or one that is plainly open.
_SSL_MODES: Final = ("verify-full", "verify-ca", "disable")
_MAX_COSIGNERS: Final = 16
_VERIFIER_SIZE: Final = 32
_WALLETS: Final = ("v5r1", "v4r2")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


def shipped(name: str) -> Path:
    """Return where `certs` or `policies` lie: inside of an installed package, or on top of a checkout."""
    package = Path(__file__).parent
    inside = package / "_data" / name
    return inside if inside.is_dir() else package.parent / name


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to accept connections; port 0 is any free one."""

    host: IPv4Address | IPv6Address
    port: int

    def overlaps(self, other: "Listener") -> bool:
        """Tell whether one connection could reach both."""
        same_host = self.host == other.host or self.host.is_unspecified or other.host.is_unspecified
        return same_host and self.port == other.port != 0


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
        members = {} if file is None else _read_file(file)
        given = _Given(members, environment)
        state_dir = _own_directory("state_dir", given.path("state_dir", Path("attestd-data")))
        database_url = given.text("database_url", f"sqlite:///{state_dir / 'attestd.db'}")
        _refuse_open_database(database_url)
        if file is not None and _has_password(members.get("database_url")) and _mode(file) & _OTHERS:
            raise _refused("database_url", "a password in a file that others can read", f"chmod 600 {file}")
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
            log_key=_log_key(given, state_dir, database_url),
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


def _refused(name: str, found: str, wanted: str) -> ConfigurationRefused:
    return ConfigurationRefused(Reason.SETTINGS, found=f"{name}: {found}", wanted=wanted)


class _Given:
    """What the file and the environment name, each asked for once and by type."""

    def __init__(self, members: dict[str, object], environment: Mapping[str, str]) -> None:
        self._members = members
        self._environment = {
            name.removeprefix("ATTESTD_").lower(): text
            for name, text in environment.items()
            if name.startswith("ATTESTD_") and name not in _FOR_TESTS
        }
        self._asked: set[str] = set()

    def _take(self, name: str, default: object) -> object:
        self._asked.add(name)
        return self._environment.get(name, self._members.get(name, default))

    def text(self, name: str, default: str) -> str:
        value = self._take(name, default)
        if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and value.isprintable():
            return value
        found = "nothing" if value == "" else f"{type(value).__name__}, or unprintable text"
        raise _refused(name, found, f"1 to {_MAX_TEXT} characters")

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value in choices:
            return value
        raise _refused(name, "another value", ", ".join(choices))

    def path(self, name: str, default: Path) -> Path:
        return Path(self.text(name, str(default))).absolute()

    def optional_path(self, name: str) -> Path | None:
        return None if self._take(name, None) is None else Path(self.text(name, "")).absolute()

    def optional_text(self, name: str) -> str | None:
        return None if self._take(name, None) is None else self.text(name, "")

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        """Return a list of texts, which the environment has with commas between them."""
        value = self._take(name, [])
        if isinstance(value, str):
            value = value.split(",") if value else []
        if (
            isinstance(value, list)
            and len(value) <= most
            and all(isinstance(one, str) and 0 < len(one) <= _MAX_TEXT and one.isprintable() for one in value)
        ):
            return tuple(value)
        raise _refused(name, "no list of texts, or too many", f"at most {most} texts")

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        value = self._take(name, default)
        if name in self._environment and isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:20])
        if type(value) is int and least <= value <= most:
            return value
        raise _refused(name, f"{type(value).__name__} or a number out of range", f"{least} to {most}")

    def flag(self, name: str) -> bool:
        value = self._take(name, default=False)
        if name in self._environment:
            value = {"true": True, "false": False}.get(self._environment[name])
        if isinstance(value, bool):
            return value
        raise _refused(name, "another value", "true or false")

    def listener(self, name: str, default: str) -> Listener:
        host, _, digits = self.text(name, default).rpartition(":")
        try:
            address = ip_address(host.removeprefix("[").removesuffix("]"))
            port = int(digits) if digits.isascii() and digits.isdigit() else -1
        except ValueError:
            raise _refused(name, "no IP address", "such as 127.0.0.1:8080 or [::1]:8080") from None
        if not 0 <= port <= _MAX_PORT:
            raise _refused(name, "no port after the last colon", f"0 to {_MAX_PORT}")
        return Listener(address, port)

    def finish(self) -> None:
        """Refuse what nobody asked for: a misspelt setting is a check that the operator believes in."""
        for source, names in (("the file", self._members), ("the environment", self._environment)):
            if unknown := sorted(names.keys() - self._asked):
                shown = unknown[0][:64].encode("ascii", "replace").decode()
                raise _refused(shown, f"an unknown setting in {source}", ", ".join(sorted(self._asked)))


def _read_file(file: Path) -> dict[str, object]:
    try:
        if not file.is_file() or file.stat().st_size > _MAX_CONFIG_SIZE:
            raise _refused("config", f"{file} is no file, or too large", f"at most {_MAX_CONFIG_SIZE} bytes of TOML")
        if _mode(file) & _OTHERS_WRITE:
            raise _refused("config", f"{file} can be written by others", f"chmod go-w {file}")
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise _refused("config", f"{file}: {error.strerror}", "a file that can be read") from None
    except ValueError as error:  # tomllib's own, and text that is not UTF-8
        raise _refused("config", f"{file}: {error}", "TOML") from None


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _own_directory(name: str, path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        raise _refused(name, f"{path}: {error.strerror}", "a directory that can be made or used") from None
    if status.st_uid != os.geteuid():
        raise _refused(name, f"{path} belongs to another user", "a directory of the service's own")
    if stat.S_IMODE(status.st_mode) & _OTHERS:
        raise _refused(name, f"{path} has mode {stat.S_IMODE(status.st_mode):04o}", f"chmod 700 {path}")
    return path


def _refuse_open_database(url: str) -> None:
    """Refuse other databases, and connections to whoever answers; the registry looks at the files of SQLite."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _refused("database_url", "no URL", "sqlite:///<path> or postgresql://…") from None
    match parts.scheme:
        case "postgresql":
            _refuse_open_connection(parts.hostname, parse_qs(parts.query))
        case "sqlite":
            pass
        case _:
            raise _refused("database_url", "another kind of database", "sqlite:///<path> or postgresql://…")


def _has_password(url: object) -> bool:
    return isinstance(url, str) and urlsplit(url).password is not None


def _refuse_open_connection(host: str | None, options: Mapping[str, list[str]]) -> None:
    """Refuse what trusts whoever answers, as libpq does by default: a connection off the machine says what it wants."""
    named = options.get("host", [host or ""])[-1]
    if named.startswith("/") or named in ("", "localhost", "127.0.0.1", "::1"):
        return
    if options.get("sslmode", [""])[-1] not in _SSL_MODES:
        raise _refused("database_url", "no sslmode that names its server", "sslmode=" + ", ".join(_SSL_MODES))


def load_anchors(path: Path | None) -> TrustAnchors:
    """Load the roots in a file or folder, DER or PEM, or the vendors' own that are shipped where none is named.

    Raises `ConfigurationRefused`; for vendors' own beside others with `anchor.mixed` (attacks.md, A20).
    """
    try:
        if path is None:
            folders = [shipped("certs") / vendor for vendor in _VENDORS]
            return TrustAnchors.load_genuine(file.read_bytes() for folder in folders for file in _files(folder))
        anchors = TrustAnchors.load([der for file in _files(path) for der in _certificates(file.read_bytes())])
        _refuse_mixed(anchors)
        return anchors
    except OSError as error:
        raise _refused("trust_anchors", f"{path}: {error.strerror}", "root certificates, DER or PEM") from None
    except Malformed as error:
        raise _refused("trust_anchors", f"{path}: {error.found}", error.wanted) from None
    except ConfigurationRefused as error:
        found = f"trust_anchors: {path or shipped('certs')}: {error.found}"
        raise ConfigurationRefused(error.reason, found=found, wanted=error.wanted) from None


def _refuse_mixed(anchors: TrustAnchors) -> None:
    """Refuse a registry in which some keys would be of real hardware, and others of simulated hardware."""
    vendors = sorted({GENUINE_ROOTS[root.fingerprint] for root in anchors.roots if root.fingerprint in GENUINE_ROOTS})
    others = [root.fingerprint.hex() for root in anchors.roots if root.fingerprint not in GENUINE_ROOTS]
    if vendors and others:
        raise ConfigurationRefused(
            Reason.ANCHOR_MIXED,
            found=f"roots of {', '.join(vendors)} beside SHA-256 {', '.join(others)}",
            wanted="vendors' own roots alone, or none of them",
        )


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _certificates(raw: bytes) -> tuple[bytes, ...]:
    return load_pem(raw) if raw.startswith(b"-----BEGIN") else (raw,)


def _registry_id(given: _Given, state_dir: Path, anchors: TrustAnchors, database_url: str) -> str:
    named = given.text("registry_id", _embedded_registry_id(state_dir, anchors, database_url))
    if not named.isascii() or len(named) > _MAX_REGISTRY_ID or " " in named:
        raise _refused("registry_id", "other characters, or too many", f"at most {_MAX_REGISTRY_ID} of ASCII, no space")
    if named.startswith(SIMULATED) == anchors.genuine:
        # A real chain or a real registry must never stand on test roots, nor the other way round (attacks.md, A20).
        hardware, prefix = ("the vendors' own", "no") if anchors.genuine else ("simulated", "the")
        raise _refused("registry_id", f"it does not fit {hardware} trust anchors", f"{prefix} prefix {SIMULATED}")
    return named


def _embedded_registry_id(state_dir: Path, anchors: TrustAnchors, database_url: str) -> str:
    """Return the name that an embedded registry gives itself, once; a database that is shared must be given one."""
    if not database_url.startswith("sqlite:"):
        return ""
    file = state_dir / "registry-id"
    try:
        if not file.exists():
            prefix = "attestd:" if anchors.genuine else SIMULATED
            _write_once(file, prefix + secrets.token_hex(16))
        return file.read_text(encoding="ascii")
    except (OSError, ValueError):
        raise _refused("state_dir", f"{file} cannot be read or written", "a directory of the service's own") from None


def _write_once(file: Path, text: str) -> None:
    """Write a file as a whole and for good, or leave the one that another process was faster to write."""
    draft = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
    try:
        with draft.open("x", encoding="ascii") as opened:
            os.fchmod(opened.fileno(), stat.S_IRUSR | stat.S_IWUSR)
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        with suppress(FileExistsError):
            file.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


def _endorsements(given: _Given, state_dir: Path) -> Path:
    default = state_dir / "endorsements"
    path = given.path("endorsements", default)
    return _own_directory("endorsements", path) if path == default else path


def _log_key(given: _Given, state_dir: Path, database_url: str) -> Path:
    """Return where the log's key lies. An embedded registry makes its own, once; others share theirs."""
    default = state_dir / "log-key"
    path = given.path("log_key", default)
    if path == default and database_url.startswith("sqlite:"):
        try:
            if not path.exists():
                _write_once(path, secrets.token_hex(32))
        except OSError:
            raise _refused("log_key", f"{path} cannot be written", "a directory of the service's own") from None
    return path


def _cosign(given: _Given) -> CosignSettings | None:
    """Return whose epochs are co-signed, all that is needed or nothing of it."""
    leader = given.optional_text("cosign_of")
    token, log_key = given.optional_path("cosign_token"), given.optional_text("cosign_log_key")
    verifier = given.optional_text("cosign_leader")
    if leader is None:
        if token or log_key or verifier:
            raise _refused("cosign_of", "nothing, beside other settings of co-signing", "the URL of the registry")
        return None
    network, verifier_key = given.optional_path("chain_network"), given.optional_path("chain_verifier_key")
    for name, value in (
        ("cosign_token", token),
        ("cosign_log_key", log_key),
        ("cosign_leader", verifier),
        ("chain_network", network),
        ("chain_verifier_key", verifier_key),
    ):
        if value is None:
            raise _refused(name, "nothing, beside cosign_of", "all that co-signing needs: see the README")
    try:
        public_key = load_hex(verifier or "", size=_VERIFIER_SIZE)
    except Malformed as error:
        raise _refused("cosign_leader", error.found, f"{_VERIFIER_SIZE} bytes in hex") from None
    return CosignSettings(
        leader=leader,
        token=token or Path(),
        log_key=log_key or "",
        verifier=public_key,
        network=network or Path(),
        registry=given.optional_text("chain_registry"),
        verifier_key=verifier_key or Path(),
    )


def _chain(given: _Given) -> ChainSettings | None:
    """Return what is set of the chain, all that is needed or nothing of it."""
    network, registry = given.optional_path("chain_network"), given.optional_text("chain_registry")
    wallet_key, verifier_key = given.optional_path("chain_wallet_key"), given.optional_path("chain_verifier_key")
    wallet_version = given.choice("chain_wallet_version", "v5r1", _WALLETS)
    cosigners = given.texts("chain_cosigners", _MAX_COSIGNERS)
    spending_cap = given.integer("chain_spending_cap", 20, 1, 1_000_000)
    if network is None:
        if registry or wallet_key or verifier_key or cosigners:
            raise _refused("chain_network", "nothing, beside other settings of the chain", "a network file")
        return None
    if wallet_key is None:
        raise _refused("chain_wallet_key", "nothing, beside chain_network", "the key file of the wallet that pays")
    if verifier_key is None:
        raise _refused("chain_verifier_key", "nothing, beside chain_network", "the key file that signs checkpoints")
    return ChainSettings(
        network=network,
        registry=registry,
        wallet_key=wallet_key,
        wallet_version=wallet_version,
        verifier_key=verifier_key,
        cosigners=cosigners,
        spending_cap=spending_cap,
    )


def read_secret(name: str, file: Path) -> str:
    """Read an API key from the file that a setting names, of one line; nobody else may read it.

    Raises `ConfigurationRefused`.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
            raise _refused(name, f"{file}: no file of the service's own", f"a regular file: chmod 600 {file}")
        text = file.read_text(encoding="ascii").strip() if status.st_size <= _MAX_TEXT else ""
    except (OSError, UnicodeDecodeError):
        raise _refused(name, f"{file} cannot be read", "a file with one line") from None
    if not text or not text.isprintable() or " " in text:
        raise _refused(name, f"{file} has another form", "one line with an API key")
    return text


def _refuse_exposed(listen: Listener, admin: Listener, *, danger: bool) -> None:
    if listen.overlaps(admin):
        raise _refused("admin_listen", "the same as listen", "a listener of its own")
    if not admin.host.is_loopback and not danger:
        raise _refused(
            "admin_listen", "an address beyond loopback", "loopback, or danger_admin_listen_beyond_loopback = true"
        )
