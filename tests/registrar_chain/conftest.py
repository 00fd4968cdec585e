from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.registrar_chain.world import World, opened

MEMORY = Path("/dev/shm")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return a registry of its own, a chain that nothing is wrong with, and a publisher."""
    with opened(tmp_path) as registry:
        yield World(registry)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory where there is one: these deaths leave the disk as it is, and a flush costs most."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)
