"""The devnet listens on loopback and needs Node with the emulator's package."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from attestd.chain.devnet import emulator
from attestd.errors import ConfigurationRefused
from tests.chain.devnet.world import SHARED
from tests.conftest import loopback_is_up

HERE = Path(__file__).parent


def missing() -> str | None:
    try:
        emulator._node()
    except ConfigurationRefused as error:
        return error.wanted
    if not (emulator._PACKAGES / "node_modules").is_dir():
        return "`make node`"
    return None if loopback_is_up() else "the loopback interface"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if needed := missing():
        skip = pytest.mark.skip(reason=f"needs {needed}")
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(skip)


@pytest.fixture(autouse=True, scope="session")
def _closed() -> Iterator[None]:
    """End what the tests have shared."""
    yield
    SHARED.close()
