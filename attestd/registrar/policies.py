"""Policies in force: the registry keeps their text, the folder of the settings brings new versions at start."""

import logging
from datetime import datetime
from pathlib import Path
from typing import Final

from attestd.errors import ConfigurationRefused, Reason, RequestRefused
from attestd.policy import AppraisalPolicy
from attestd.registrar.authentic import Recent
from attestd.registry import Registry, catalogue
from attestd.registry.database import Transaction
from attestd.registry.values import Policy

_log: Final = logging.getLogger(__name__)

# Policies in force at the same time, and those that they replaced a moment ago.
_COMPILED: Final = 64
_MAX_POLICIES: Final = 1000

_ACTOR: Final = "settings"


class Policies:
    """Policies by their text, compiled once."""

    def __init__(self) -> None:
        """Start with none."""
        self._compiled: Recent[bytes, AppraisalPolicy] = Recent(_COMPILED)

    def in_force(self, transaction: Transaction, name: str) -> AppraisalPolicy:
        """Return the version of a policy that is in force, ready to appraise with; its text is read once.

        Raises `RequestRefused` (`policy.unknown`) and `ConfigurationRefused` (`policy.malformed`).
        """
        digest = catalogue.policy_digest(transaction, name)
        compiled = None if digest is None else self._compiled.find(digest)
        return compiled or self._compile(catalogue.find_policy(transaction, name))

    def _compile(self, policy: Policy | None) -> AppraisalPolicy:
        if policy is None:
            raise RequestRefused(Reason.POLICY_UNKNOWN, found="another name", wanted="the name of a policy in force")
        return self._compiled.get(policy.digest, lambda: AppraisalPolicy.load(policy.text))


class PolicyCopies:
    """Policies of a folder without a registry: the copies that a verifier judges by, read again each time."""

    def __init__(self, path: Path) -> None:
        """Name one policy, or a folder of them."""
        self._path = path
        self._compiled: Recent[bytes, AppraisalPolicy] = Recent(_COMPILED)

    def load(self) -> dict[str, AppraisalPolicy]:
        """Return them by name. Raises `ConfigurationRefused`."""
        policies = [self._load(file, text) for file, text in _texts(self._path).items()]
        if len({policy.name for policy in policies}) != len(policies):
            raise _refused(f"{self._path}: two policies of one name", "each once")
        return {policy.name: policy for policy in policies}

    def _load(self, file: Path, text: bytes) -> AppraisalPolicy:
        return self._compiled.get(text, lambda: _loaded(file, text))


def import_policies(registry: Registry, path: Path, default: str, at: datetime) -> None:
    """Put one policy, or those of a folder, into force, and make sure that all that are in force can be used.

    A file whose version is lower than the one in force is passed over: that one came by the API. Raises
    `ConfigurationRefused` for anything that is not as the operator must believe it to be.
    """
    for file, text in _texts(path).items():
        _import(registry, file, text, at)
    recorded = registry.read(catalogue.list_policies, limit=_MAX_POLICIES).items
    for policy in recorded:
        AppraisalPolicy.load(policy.text)
    if default not in {policy.name for policy in recorded}:
        raise ConfigurationRefused(
            Reason.SETTINGS, found="default_policy: no policy of that name", wanted="the name of a policy in force"
        )


def _texts(path: Path) -> dict[Path, bytes]:
    try:
        files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
        texts = {file: file.read_bytes() for file in files}
    except OSError as error:
        raise _refused(f"{path}: {error.strerror}", "a file or folder that can be read") from None
    if not texts:
        raise _refused(f"{path}: no policy", "at least one file *.toml")
    return texts


def _loaded(file: Path, text: bytes) -> AppraisalPolicy:
    try:
        return AppraisalPolicy.load(text)
    except ConfigurationRefused as error:
        raise _refused(f"{file}: {error.found}", error.wanted) from None


def _import(registry: Registry, file: Path, text: bytes, at: datetime) -> None:
    policy = _loaded(file, text)
    current = registry.read(catalogue.find_policy, policy.name)
    if current is not None and current.version > policy.version:
        _log.warning("%s is version %d, and version %d is in force", file, policy.version, current.version)
        return
    if current is not None and current.version == policy.version and current.digest != policy.digest:
        raise _refused(f"{file}: version {policy.version} was another text", "a higher version for every change")
    registry.write(catalogue.approve_policy, policy.name, policy.version, text, by=_ACTOR, at=at).result()


def _refused(found: str, wanted: str) -> ConfigurationRefused:
    return ConfigurationRefused(Reason.SETTINGS, found=f"policies: {found}", wanted=wanted)
