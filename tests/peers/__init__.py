"""Other implementations that attestd is held against, in environments of their own, which `make peers` makes.

A program of theirs imports them and the standard library, and nothing of attestd; it is asked on its standard input.
"""

import subprocess
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[2]
# dcap-qvl, pymerkle and tinfoil (peers.in).
PEERS: Final = _ROOT / ".venv-peers"
# NVIDIA's verifier pins what it needs, so it can live beside no other (nvidia.in).
NVIDIA: Final = _ROOT / ".venv-nvidia"
ABSENT: Final = "`make peers` was not run"


def python(environment: Path) -> Path | None:
    """Return the Python of an environment, or nothing where it was not made, or not to its end."""
    return environment / "bin" / "python" if (environment / ".installed").exists() else None


def said(environment: Path, program: Path, task: str) -> str:
    """Run a program of an environment to its end and return what it has printed, or skip."""
    interpreter = python(environment)
    if interpreter is None:
        pytest.skip(ABSENT)
    return subprocess.run([interpreter, program], input=task, capture_output=True, text=True, check=True).stdout
