from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.api.world import Clock, Provider, Start, World, world
from tests.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a service that tests share: each with a provider of its own, and none changes what others rest on."""
    with world(tmp_path_factory.mktemp("shared"), Clock()) as running:
        yield running


@pytest.fixture
def provider(shared: World) -> Provider:
    return shared.provider()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(tmp_path: Path, clock: Clock) -> Iterator[Start]:
    """Start services of the test's own."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(world(tmp_path, clock, **settings))


@pytest.fixture
def own(start: Start) -> World:
    return start()
