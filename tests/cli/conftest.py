import json
import subprocess
import sys
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from attestd.cli import main
from attestd.endorsements import write_bundle
from attestd.simulator import AT, Attester, Vendor
from tests.conftest import loopback_is_up

needs_loopback = pytest.mark.skipif(not loopback_is_up(), reason="no loopback interface: the service was not seen")


def subcommands(command: ArgumentParser) -> dict[str, ArgumentParser]:
    """Return the commands below a command by their names."""
    groups = [action for action in command._actions if isinstance(action, _SubParsersAction)]
    return {name: made for group in groups for name, made in group.choices.items()}


class Terminal(StringIO):
    """Standard output that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run a command on a terminal without colours; return its status and what it shows."""

    def run(*arguments: object, colours: bool = False, columns: int = 200) -> tuple[int, str]:
        screen = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", screen)
            patch.setenv("COLUMNS", str(columns))
            patch.setenv("NO_COLOR", "" if colours else "1")
            status = main([str(argument) for argument in arguments])
        return status, screen.getvalue()

    return run


@pytest.fixture
def attestd(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    """Run a command into a pipe; return its status and the object that it prints, or its complaint."""

    def run(*arguments: object) -> tuple[int, Any]:
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, json.loads(out) if out.startswith("{") else out + err

    return run


class Files:
    """A simulated quote and all that goes with it, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vendor = Vendor.of()
        self.attester = Attester.of(self.vendor)
        self.at = AT.isoformat().replace("+00:00", "Z")
        self.roots = self.put("root.der", self.vendor.root.der)
        self.quote = self.put("quote.bin", self.attester.quote())
        self.collateral = folder / "collateral"
        write_bundle(self.collateral, self.vendor.collateral())

    def put(self, name: str, raw: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(raw)
        return path

    def verify(self, quote: Path | None = None, tee: str = "tdx") -> list[object]:
        """Return the arguments of a verification that succeeds."""
        return [
            *("verify", "--tee", tee, "--evidence", quote or self.quote, "--endorsements", self.collateral),
            *("--at", self.at, "--trust-anchors", self.roots),
        ]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def run_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the installed command in a process of its own."""

    def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("attestd")), *(str(argument) for argument in arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)

    return run
