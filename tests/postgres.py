"""A private PostgreSQL server for tests: in a directory of its own, on a Unix socket, gone at the end.

Import the fixtures where they are wanted: `from tests.postgres import postgres, postgres_url`. Without PostgreSQL's
programs, or without a user other than root to run them, those tests are skipped, and say so.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

# Where packages put what they do not put into the path.
_PLACES = ["/usr/local/bin", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)]
_PORT = 5432  # names the socket; nothing listens on TCP
_ROOM = 2 * 1024**3
_numbers = count(1)


class Postgres:
    """A server that can be stopped and started."""

    def __init__(self, directory: Path, programs: Path, user: str | None) -> None:
        self.directory = directory
        self._programs = programs
        self._user = user

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.directory}&port={_PORT}"

    def create(self) -> str:
        """Make an empty database and return its URL."""
        name = f"attestd_{next(_numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        return self.url(name)

    def initialise(self) -> None:
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")

    def start(self) -> None:
        options = f"-k {self.directory} -h '' -p {_PORT} -c max_connections=100 -c deadlock_timeout=100ms"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", f"{self.directory}/log", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; `immediate` is a crash."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", mode, "stop")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the server."""
        postmaster = int((Path(self._data) / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for process in (postmaster, *map(int, children)):
            os.kill(process, number)

    @property
    def _data(self) -> str:
        return f"{self.directory}/data"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            user=self._user,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )


def _in_memory() -> str | None:
    """Return where to keep the files, if there is room in memory: flushing thousands of them is not what is tested."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > _ROOM else None


def _programs() -> Path | None:
    found = shutil.which("initdb", path=os.pathsep.join([os.environ.get("PATH", ""), *_PLACES]))
    return Path(found).parent if found else None


def _user() -> str | None:
    """Return whom to run it as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs, user = _programs(), _user()
    if programs is None:
        pytest.skip("no PostgreSQL on this machine (initdb was not found)")
    # Short: the path of a Unix socket has at most 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="attestd-pg-", dir=_in_memory()))
    try:
        if user is not None:
            shutil.chown(directory, user)
        server = Postgres(directory, programs, user)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """Return the URL of a database of one's own."""
    return postgres.create()
