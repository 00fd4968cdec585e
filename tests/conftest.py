"""For all tests: hypothesis draws the same examples each time, and what needs loopback says so where there is none."""

import socket
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("attestd", derandomize=True, database=None, deadline=None, print_blob=True)
settings.load_profile("attestd")

# What talks to a running service. Everything else passes with networking removed.
SERVICES = tuple(Path(__file__).parent / name for name in ("acceptance", "api", "bench"))


def loopback_is_up() -> bool:
    """Whether anything can listen on 127.0.0.1 and be reached there."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=1).close()
    except OSError:
        return False
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not loopback_is_up():
        skip = pytest.mark.skip(reason="needs the loopback interface")
        for item in items:
            if any(folder in item.path.parents for folder in SERVICES):
                item.add_marker(skip)
