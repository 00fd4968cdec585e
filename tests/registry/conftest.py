from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from attestd.registry import Registry
from attestd.registry.tables import METADATA
from tests.postgres import Postgres, postgres, postgres_url
from tests.registry.samples import NOW, REGISTRY_ID, prepare

__all__ = ["postgres", "postgres_url"]

Opener = Callable[..., Registry]


@pytest.fixture(scope="session")
def emptied_url(postgres: Postgres) -> str:
    """Return the URL of the one database on a server that most tests share, one after the other."""
    url = postgres.create()
    Registry.open(url, registry_id=REGISTRY_ID, at=NOW).close()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database of each back end in which there is nothing."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/attestd.db"
    url = str(request.getfixturevalue("emptied_url"))
    with psycopg.connect(url) as connection:
        connection.execute(f"TRUNCATE {', '.join(METADATA.tables)}")
    return url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/attestd.db"


@pytest.fixture
def opener() -> Iterator[Opener]:
    """Open registries that are closed at the end; several on one database stand for several processes."""
    opened: list[Registry] = []

    def open_(url: str, **changes: object) -> Registry:
        arguments: dict = {"registry_id": REGISTRY_ID, "at": NOW} | changes
        opened.append(Registry.open(url, **arguments))
        return opened[-1]

    yield open_
    for registry in opened:
        registry.close()


@pytest.fixture
def registry(url: str, opener: Opener) -> Registry:
    """Return a registry with one provider, alice."""
    registry = opener(url)
    prepare(registry)
    return registry
