"""Services as an operator runs them: processes of their own, killed and restarted, sharing a database or not."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, TypeVar

import httpx

from attestd.cli.client import Client
from attestd.registrar import bootstrap_admin
from attestd.settings import Settings, now
from attestd.simulator import Vendor
from tests.api.world import Provider, environment, new_key

T = TypeVar("T")

START: Final = 60  # seconds that a process may take to start or to stop on a machine that is busy


def until(what: str, look: Callable[[], T | None], seconds: float = 30) -> T:
    """Return what `look` finds, and fail where it finds nothing in time."""
    deadline = monotonic() + seconds
    while not (found := look()):
        assert monotonic() < deadline, what
        sleep(0.02)
    return found


class Running:
    """A process that serves, until it is stopped or killed."""

    def __init__(self, named: dict[str, str], directory: Path) -> None:
        self.log = directory / "log"
        with self.log.open("ab") as log:
            begin = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "attestd", "serve"],
                env=outer() | named,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        said = until("it does not start", lambda: self._said(begin), START)
        self.public_url, self.admin_url = str(said["public"]), str(said["admin"])
        until("it does not become ready", lambda: Client(self.public_url).get("/healthz/ready").status == 200, START)

    def _said(self, begin: int) -> dict[str, Any] | None:
        with self.log.open("rb") as log:
            log.seek(begin)
            lines = log.read().splitlines(keepends=True)
        assert self.process.poll() is None, lines
        found = (json.loads(line) for line in lines if line.endswith(b"\n") and b'"listening"' in line)
        return next(found, None)

    def stop(self) -> None:
        """Stop as an operator does; nothing that it logged may be a failure of its own."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(START) == 0
        assert b'"failure"' not in self.log.read_bytes()

    def kill(self) -> None:
        """Kill it where it stands."""
        self.process.kill()
        self.process.wait(START)

    @contextmanager
    def growing_by_at_most(self, size: int) -> Iterator[None]:
        """Require that the block makes it hold at most so many bytes more than before, at any time."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text(
            "5"
        )  # the highest mark begins anew (man 5 proc_pid_clear_refs)
        before = self._memory("VmRSS")
        yield
        assert self._memory("VmHWM") - before <= size

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024


@dataclass
class Installation:
    """What an operator has set up; its processes share folders and database."""

    directory: Path
    vendor: Vendor
    named: dict[str, str]

    @classmethod
    def simulated(cls, directory: Path, **settings: str) -> "Installation":
        """Set up a service that trusts a simulated vendor."""
        vendor = Vendor.of(at=now())
        return cls(directory, vendor, environment(directory, vendor, **settings))

    @classmethod
    def genuine(cls, directory: Path, **settings: str) -> "Installation":
        """Set up a service that trusts Intel alone; the vendor is one that it does not know."""
        return cls(directory, Vendor.of(at=now()), environment(directory, None, **settings))

    @cached_property
    def settings(self) -> Settings:
        return Settings.load(None, self.named, now())

    @cached_property
    def admin_token(self) -> str:
        return bootstrap_admin(self.settings, now())

    def start(self) -> Running:
        """Start one more process."""
        return Running(self.named, self.directory)

    @contextmanager
    def started(self) -> Iterator[Running]:
        """Run a process, and look at the end that it stops in order."""
        running = self.start()
        try:
            yield running
            running.stop()
        finally:
            running.kill()

    def admin(self, running: Running) -> Client:
        return Client(running.admin_url, self.admin_token)

    def register(self, running: Running, name: str) -> Client:
        """Register a provider, and return it as a caller."""
        admin = self.admin(running)
        assert admin.post("/v1/providers", {"id": name, "name": "A provider"}).status == 201
        issued = admin.post(f"/v1/providers/{name}/api-keys", {"label": "test"})
        assert issued.status == 201
        return Client(running.public_url, issued.document["token"])

    @contextmanager
    def provider(self, running: Running, name: str) -> Iterator[Provider]:
        """Register a provider that has machines."""
        caller = self.register(running, name)
        assert caller.token is not None
        with connected(running.public_url, caller.token) as http:
            yield Provider(name, caller.token, self.vendor, http)


@contextmanager
def connected(url: str, token: str) -> Iterator[httpx.Client]:
    """Return a client that keeps its connection."""
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=30, verify=False) as http:
        yield http


def at(provider: Provider, running: Running) -> Client:
    """Return the same provider as a caller of another process."""
    return Client(running.public_url, provider.token)


def outer() -> dict[str, str]:
    """Return this environment without anything that is meant for a service."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ATTESTD_")}


__all__ = ["Installation", "Running", "at", "connected", "new_key", "outer", "until"]
