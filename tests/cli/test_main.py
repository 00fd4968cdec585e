import errno
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import attestd.cli
from attestd import __version__
from attestd.cli import main
from attestd.cli.arguments import parser
from tests.cli.conftest import Files, subcommands
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


def commands(command: ArgumentParser, name: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], ArgumentParser]]:
    yield name, command
    for inner, made in subcommands(command).items():
        yield from commands(made, (*name, inner))


COMMANDS = dict(commands(parser()))


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_every_command_says_what_it_is_for(name: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*name, "--help"])
    assert end.value.code == 0
    assert f"usage: {' '.join(['attestd', *name])}" in capsys.readouterr().out
    command = COMMANDS[name]
    assert subcommands(command) or command.get_default("module"), "nothing runs it"
    # Options are explained; what stands alone and cannot be left out is explained by its name.
    assert not [action.option_strings for action in command._actions if action.option_strings and not action.help]


def test_help_says_what_the_exit_status_means(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "4  endorsements missing or unavailable; chain or service unavailable" in capsys.readouterr().out


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


def test_whoever_interrupts_is_told_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(attestd.cli, "import_module", interrupted)
    assert main(["chain", "status", "--network", "n"]) == 130
    assert capsys.readouterr().err == "attestd: interrupted\n"
