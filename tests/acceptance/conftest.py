import pytest

from tests.cli.conftest import needs_loopback
from tests.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a service: without a loopback interface it is skipped, and says so."""
    for item in items:
        if item.path.parent.name == "acceptance":
            item.add_marker(needs_loopback)
