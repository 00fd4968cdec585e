"""What the configuration file and the environment name, asked for once and by type."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from attestd.errors import ConfigurationRefused, Reason

# Where tests find evidence and peers; never settings of the service.
_FOR_TESTS: Final = frozenset({"ATTESTD_EVIDENCE", "ATTESTD_PEERS", "ATTESTD_NVIDIA_PEER"})

MAX_TEXT: Final = 1024
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to accept connections; port 0 is any free one."""

    host: IPv4Address | IPv6Address
    port: int

    def overlaps(self, other: "Listener") -> bool:
        """Tell whether one connection could reach both."""
        same_host = self.host == other.host or self.host.is_unspecified or other.host.is_unspecified
        return same_host and self.port == other.port != 0


def refused(name: str, found: str, wanted: str) -> ConfigurationRefused:
    """Return the refusal of a setting (`settings.refused`)."""
    return ConfigurationRefused(Reason.SETTINGS, found=f"{name}: {found}", wanted=wanted)


class Given:
    """All that was named. Questions raise `ConfigurationRefused` (`settings.refused`) for another type or range."""

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
        """Return a text of one line."""
        value = self._take(name, default)
        if isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable():
            return value
        found = "nothing" if value == "" else f"{type(value).__name__}, or unprintable text"
        raise refused(name, found, f"1 to {MAX_TEXT} characters")

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        """Return one of these texts."""
        value = self.text(name, default)
        if value in choices:
            return value
        raise refused(name, "another value", ", ".join(choices))

    def path(self, name: str, default: Path) -> Path:
        """Return a path, made absolute."""
        return Path(self.text(name, str(default))).absolute()

    def optional_path(self, name: str) -> Path | None:
        """Return a path, or None where none is named."""
        return None if self._take(name, None) is None else Path(self.text(name, "")).absolute()

    def optional_text(self, name: str) -> str | None:
        """Return a text, or None where none is named."""
        return None if self._take(name, None) is None else self.text(name, "")

    def needed_path(self, name: str, beside: str, wanted: str) -> Path:
        """Return a path without which another setting, `beside`, means nothing."""
        return Path(self.needed_text(name, beside, wanted)).absolute()

    def needed_text(self, name: str, beside: str, wanted: str) -> str:
        """Return a text without which another setting, `beside`, means nothing."""
        text = self.optional_text(name)
        if text is None:
            raise refused(name, f"nothing, beside {beside}", wanted)
        return text

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        """Return a list of texts, which the environment has with commas between them."""
        value = self._take(name, [])
        if isinstance(value, str):
            value = value.split(",") if value else []
        if (
            isinstance(value, list)
            and len(value) <= most
            and all(isinstance(one, str) and 0 < len(one) <= MAX_TEXT and one.isprintable() for one in value)
        ):
            return tuple(value)
        raise refused(name, "no list of texts, or too many", f"at most {most} texts")

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """Return an integer from `least` to `most`."""
        value = self._take(name, default)
        if name in self._environment and isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:20])
        if type(value) is int and least <= value <= most:
            return value
        raise refused(name, f"{type(value).__name__} or a number out of range", f"{least} to {most}")

    def flag(self, name: str) -> bool:
        """Return true or false; what is not named is false."""
        value = self._take(name, default=False)
        if name in self._environment:
            value = {"true": True, "false": False}.get(self._environment[name])
        if isinstance(value, bool):
            return value
        raise refused(name, "another value", "true or false")

    def listener(self, name: str, default: str) -> Listener:
        """Return an IP address and a port, with a colon between."""
        host, _, digits = self.text(name, default).rpartition(":")
        try:
            address = ip_address(host.removeprefix("[").removesuffix("]"))
            port = int(digits) if digits.isascii() and digits.isdigit() else -1
        except ValueError:
            raise refused(name, "no IP address", "such as 127.0.0.1:8080 or [::1]:8080") from None
        if not 0 <= port <= _MAX_PORT:
            raise refused(name, "no port after the last colon", f"0 to {_MAX_PORT}")
        return Listener(address, port)

    def finish(self) -> None:
        """Refuse what nobody asked for: a misspelt setting is a check that the operator believes in."""
        for source, names in (("the file", self._members), ("the environment", self._environment)):
            if unknown := sorted(names.keys() - self._asked):
                shown = unknown[0][:64].encode("ascii", "replace").decode()
                raise refused(shown, f"an unknown setting in {source}", ", ".join(sorted(self._asked)))
