"""Files that settings name: what ships with a release, what the service keeps for itself, roots and secrets."""

import os
import secrets
import stat
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Final

from attestd.codec import load_pem
from attestd.errors import ConfigurationRefused, Malformed, Reason
from attestd.settings.given import MAX_TEXT, refused
from attestd.x509 import GENUINE_ROOTS, TrustAnchors

# Mode bits of everybody but the owner.
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH

_MAX_CONFIG_SIZE: Final = 64 * 1024
# Folders of certs/ whose roots are in use.
_VENDORS: Final = ("intel", "amd", "nvidia")


def shipped(name: str) -> Path:
    """Return where `certs` or `policies` lie: inside of an installed package, or on top of a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "_data" / name
    return inside if inside.is_dir() else package.parent / name


def read_file(file: Path) -> dict[str, object]:
    """Read the configuration (TOML), which nobody else may write. Raises `ConfigurationRefused`."""
    try:
        if not file.is_file() or file.stat().st_size > _MAX_CONFIG_SIZE:
            raise refused("config", f"{file} is no file, or too large", f"at most {_MAX_CONFIG_SIZE} bytes of TOML")
        if _mode(file) & _OTHERS_WRITE:
            raise refused("config", f"{file} can be written by others", f"chmod go-w {file}")
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise refused("config", f"{file}: {error.strerror}", "a file that can be read") from None
    except ValueError as error:  # tomllib's own, and text that is not UTF-8
        raise refused("config", f"{file}: {error}", "TOML") from None


def open_to_others(path: Path) -> bool:
    """Tell whether anybody but the owner may read or write it."""
    return bool(_mode(path) & _OTHERS)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def own_directory(name: str, path: Path) -> Path:
    """Make the directory of a setting, or find it made, of this user alone. Raises `ConfigurationRefused`."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        raise refused(name, f"{path}: {error.strerror}", "a directory that can be made or used") from None
    if status.st_uid != os.geteuid():
        raise refused(name, f"{path} belongs to another user", "a directory of the service's own")
    if stat.S_IMODE(status.st_mode) & _OTHERS:
        raise refused(name, f"{path} has mode {stat.S_IMODE(status.st_mode):04o}", f"chmod 700 {path}")
    return path


def write_once(file: Path, text: str) -> None:
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


def read_secret(name: str, file: Path) -> str:
    """Read an API key from the file that a setting names, of one line; nobody else may read it.

    Raises `ConfigurationRefused`.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
            raise refused(name, f"{file}: no file of the service's own", f"a regular file: chmod 600 {file}")
        text = file.read_text(encoding="ascii").strip() if status.st_size <= MAX_TEXT else ""
    except (OSError, UnicodeDecodeError):
        raise refused(name, f"{file} cannot be read", "a file with one line") from None
    if not text or not text.isprintable() or " " in text:
        raise refused(name, f"{file} has another form", "one line with an API key")
    return text


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
        raise refused("trust_anchors", f"{path}: {error.strerror}", "root certificates, DER or PEM") from None
    except Malformed as error:
        raise refused("trust_anchors", f"{path}: {error.found}", error.wanted) from None
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
