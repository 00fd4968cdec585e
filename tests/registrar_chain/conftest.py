from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registrar_chain.world import World, opened


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return a registry of its own, a chain that nothing is wrong with, and a publisher."""
    with opened(tmp_path) as registry:
        yield World(registry)
