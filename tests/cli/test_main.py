import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attestd import __version__
from attestd.cli import main
from tests.cli.conftest import Files
from tests.evidence import ROOT

Process = Callable[..., Any]


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["verify"], ["inspect"], ["policy"], ["endorsements", "import", "x"], ["keys"], ["--fast"]],
)
def test_misuse_has_its_own_status(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: attestd" in err
    assert "--help" in err


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["verify"],
        ["inspect"],
        ["diff"],
        ["policy", "check"],
        ["endorsements", "import"],
        ["endorsements", "list"],
        ["serve"],
        ["keys", "bootstrap"],
        ["demo"],
    ],
)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    assert f"usage: {' '.join(['attestd', *command])}" in capsys.readouterr().out


def test_help_says_what_the_exit_status_means(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "4  endorsements missing or unavailable" in capsys.readouterr().out


def test_version(run_process: Process) -> None:
    process = run_process("--version")
    assert (process.returncode, process.stdout) == (0, f"attestd {__version__}\n")


def test_module_is_the_command(files: Files) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "attestd", "inspect", str(files.quote)], capture_output=True, check=False, timeout=60
    )
    assert process.returncode == 0
    assert process.stdout.startswith(b"{")


IMPORTED = """
import sys
from attestd.cli import main
try:
    main(sys.argv[1:])
finally:
    print(*sorted(name.partition(".")[0] for name in sys.modules), file=sys.stderr)
"""
SERVICE = {"fastapi", "starlette", "uvicorn", "uvloop", "sqlmodel", "sqlalchemy", "alembic", "psycopg", "pydantic"}
SERVICE |= {"prometheus_client", "asyncio", "ssl", "http"}


@pytest.mark.parametrize("command", ["verify", "inspect", "policy"])
def test_files_are_looked_at_without_loading_the_service(files: Files, command: str) -> None:
    arguments = {
        "verify": [str(argument) for argument in files.verify()],
        "inspect": ["inspect", str(files.quote)],
        "policy": ["policy", "check", str(ROOT / "policies/strict-tdx.toml")],
    }[command]
    process = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert process.returncode == 0
    loaded = set(process.stderr.split())
    assert "attestd" in loaded
    assert loaded & SERVICE == set()


def test_reader_that_has_seen_enough(files: Files) -> None:
    command = f"{sys.executable} -m attestd inspect {files.quote} | true"
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert process.stderr == ""


@pytest.mark.parametrize("name", ["none", "folder"])
def test_file_that_cannot_be_read_is_misuse(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "folder").mkdir()
    assert main(["inspect", str(tmp_path / name)]) == 1
    assert name in capsys.readouterr().err


def test_error_without_a_file_is_told(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)
    assert main(["inspect", str(files.quote)]) == 1
    assert "input: Input/output error" in capsys.readouterr().err
