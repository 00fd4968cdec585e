"""Configurations that are broken or insecure: the process does not start, and says which setting it is about."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier
from typing import Final

import pytest

from attestd.api import Service
from attestd.errors import ConfigurationRefused
from attestd.settings import Settings, now, shipped
from attestd.simulator import Vendor
from tests.acceptance.processes import START, Installation, outer
from tests.api.world import environment

SECRET = "correct-horse-battery-staple"


@dataclass
class Start:
    """A start that is going to be refused: everything is in order until one thing is changed."""

    directory: Path
    named: dict[str, str]
    arguments: list[str] = field(default_factory=list)

    def set(self, name: str, value: str) -> None:
        self.named[f"ATTESTD_{name.upper()}"] = value

    def file(self, text: str, mode: int = 0o600) -> None:
        config = self.directory / "attestd.toml"
        config.write_text(text)
        config.chmod(mode)
        self.arguments = ["--config", str(config)]

    def policies(self, name: str, text: str) -> None:
        """Start with a folder of policies that has this file beside the ones that are shipped."""
        folder = self.directory / "policies"
        folder.mkdir()
        for file in shipped("policies").glob("*.toml"):
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / name).write_text(text)
        self.set("policies", str(folder))

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def database(self) -> Path:
        """The place of the database, its folder made."""
        self.state.mkdir(mode=0o700)
        return self.state / "attestd.db"


STRICT = (shipped("policies") / "strict-tdx.toml").read_text()


def _genuine_anchors(start: Start) -> None:
    del start.named["ATTESTD_TRUST_ANCHORS"]
    start.set("registry_id", "simulated:registry")


def _open_state(start: Start) -> None:
    start.state.mkdir()
    start.state.chmod(0o755)


def _open_database(start: Start) -> None:
    start.database.write_bytes(b"")
    (start.state / "attestd.db").chmod(0o644)


def _no_database(start: Start) -> None:
    place = start.database
    place.write_bytes(b"this is no database of any kind" * 100)
    place.chmod(0o600)


def _database_of_another(start: Start) -> None:
    installation = Installation(start.directory, Vendor.of(at=now()), start.named)
    assert installation.admin_token
    start.set("registry_id", "simulated:another")


def _same_listener(start: Start) -> None:
    start.set("listen", "127.0.0.1:39871")
    start.set("admin_listen", "127.0.0.1:39871")


def _no_certificate(start: Start) -> None:
    (start.directory / "root.der").write_bytes(b"no certificate")


def _no_roots(start: Start) -> None:
    (start.directory / "roots").mkdir()
    start.set("trust_anchors", str(start.directory / "roots"))


def _mixed_roots(start: Start) -> None:
    roots = start.directory / "mixed"
    roots.mkdir()
    for root in (start.directory / "root.der", shipped("certs") / "intel" / "sgx_root_ca.der"):
        (roots / root.name).write_bytes(root.read_bytes())
    start.set("trust_anchors", str(roots))


def _no_policies(start: Start) -> None:
    (start.directory / "none").mkdir()
    start.set("policies", str(start.directory / "none"))


def _password_for_all(start: Start) -> None:
    start.file(f'database_url = "postgresql://attestd:{SECRET}@localhost/attestd"\nregistry_id = "x"\n', 0o644)


def _port_in_use(start: Start) -> None:
    start.set("listen", f"127.0.0.1:{TAKEN.getsockname()[1]}")


TAKEN = socket.socket()

Change = Callable[[Start], None]


def setting(name: str, value: str) -> Change:
    return lambda start: start.set(name, value)


def file(text: str, mode: int = 0o600) -> Change:
    return lambda start: start.file(text, mode)


# What is changed, and the setting that must be named.
CASES: dict[str, tuple[str, Change]] = {
    "a misspelt setting in the environment": ("listn", setting("listn", "127.0.0.1:1")),
    "a misspelt setting in the file": ("requests_per_secnd", file("requests_per_secnd = 1\n")),
    "a setting that turns a check off": ("insecure", setting("insecure", "1")),
    "a file that is not there": ("config", lambda start: start.arguments.extend(["--config", "/nonexistent.toml"])),
    "a file that is no TOML": ("config", file("listen = \n")),
    "a file that anybody may write": ("config", file("", 0o666)),
    "a number of another type": ("challenge_lifetime", file('challenge_lifetime = "300"\n')),
    "a number out of range": ("challenge_lifetime", setting("challenge_lifetime", "0")),
    "a number that is none": ("endorsements_refresh", setting("endorsements_refresh", "-5")),
    "an unknown level of logs": ("log_level", setting("log_level", "loud")),
    "a listener by name": ("listen", setting("listen", "localhost:8080")),
    "a port that is none": ("listen", setting("listen", "127.0.0.1:65536")),
    "a port that is taken": ("listen", _port_in_use),
    "the operator's listener for everybody": ("admin_listen", setting("admin_listen", "0.0.0.0:0")),
    "one listener for both": ("admin_listen", _same_listener),
    "a danger that is not plainly accepted": (
        "danger_admin_listen_beyond_loopback",
        setting("danger_admin_listen_beyond_loopback", "yes"),
    ),
    "a state directory that others may read": ("state_dir", _open_state),
    "a state directory that cannot be": ("state_dir", setting("state_dir", "/dev/null/state")),
    "a database that others may read": ("database_url", _open_database),
    "a file that is no database": ("database_url", _no_database),
    "a database in memory": ("database_url", setting("database_url", "sqlite:///:memory:")),
    "a database of another kind": ("database_url", setting("database_url", "mysql://localhost/attestd")),
    "the database of another registry": ("database_url", _database_of_another),
    "a server whose name nobody checks": (
        "database_url",
        setting("database_url", f"postgresql://attestd:{SECRET}@database.invalid/attestd"),
    ),
    "a shared database for a registry without a name": (
        "registry_id",
        setting("database_url", "postgresql://attestd@localhost/attestd"),
    ),
    "a password that anybody may read": ("database_url", _password_for_all),
    "a real registry on simulated hardware": ("registry_id", setting("registry_id", "attestd:production")),
    "a simulated registry on real hardware": ("registry_id", _genuine_anchors),
    "a registry's name with a space": ("registry_id", setting("registry_id", "simulated:a b")),
    "anchors that are not there": ("trust_anchors", setting("trust_anchors", "/nonexistent")),
    "an anchor that is no certificate": ("trust_anchors", _no_certificate),
    "a folder without anchors": ("trust_anchors", _no_roots),
    "Intel's own root beside a simulated one": ("trust_anchors", _mixed_roots),
    "endorsements that are not there": ("endorsements", setting("endorsements", "/nonexistent")),
    "no policy": ("policies", _no_policies),
    "a policy that does not load": ("policies", lambda start: start.policies("broken.toml", "name = 1\n")),
    "a policy with a misspelt field": (
        "policies",
        lambda start: start.policies("typo.toml", STRICT.replace("allow_debug", "alow_debug")),
    ),
    "a policy that allows what is revoked": (
        "policies",
        lambda start: start.policies(
            "revoked.toml", STRICT.replace("UpToDate = {", 'Revoked = { grace_seconds = "any", advisories = "any" }\n#')
        ),
    ),
    "one version of a policy with two texts": (
        "policies",
        lambda start: start.policies("twice.toml", STRICT.replace("any image", "any image at all", 1)),
    ),
    "a default policy that nobody wrote": ("default_policy", setting("default_policy", "lenient")),
}


# Those that are shown by a process of their own, at a second each: one of each way in which a start fails. The others
# differ from them in the setting alone.
PROCESSES: Final = (
    "a setting that turns a check off",
    "a file that is no TOML",
    "a file that anybody may write",
    "a port that is taken",
    "the operator's listener for everybody",
    "a state directory that others may read",
    "a database that others may read",
    "a file that is no database",
    "the database of another registry",
    "a server whose name nobody checks",
    "a real registry on simulated hardware",
    "a simulated registry on real hardware",
    "an anchor that is no certificate",
    "endorsements that are not there",
    "a policy that allows what is revoked",
    "a default policy that nobody wrote",
)


@pytest.fixture(scope="module")
def taken() -> Iterator[None]:
    """Take the port that one of the cases wants."""
    with TAKEN:
        TAKEN.bind(("127.0.0.1", 0))
        TAKEN.listen()
        yield


@pytest.fixture(scope="module")
def refusals(taken: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Try all that have a process, a few at a time."""

    directories = {case: tmp_path_factory.mktemp("refused") for case in PROCESSES}

    def attempt(case: str) -> tuple[int, str]:
        start = changed(case, directories[case])
        done = serve(start.named, start.directory, *start.arguments)
        assert done.stdout == ""
        return done.returncode, done.stderr

    with ThreadPoolExecutor(3) as pool:
        return dict(zip(PROCESSES, pool.map(attempt, PROCESSES), strict=True))


def changed(case: str, directory: Path) -> Start:
    start = Start(directory, environment(directory, Vendor.of(at=now())))
    CASES[case][1](start)
    return start


def serve(named: dict[str, str], directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, which comes soon where it does not start."""
    return subprocess.run(
        [sys.executable, "-m", "attestd", "serve", *arguments],
        env=outer() | named,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=START,
        check=False,
    )


@pytest.mark.parametrize("case", PROCESSES)
def test_a_process_does_not_start(refusals: dict[str, tuple[int, str]], case: str) -> None:
    status, said = refusals[case]
    assert status == 1, said
    complaint = said.splitlines()[-1]
    assert CASES[case][0] in complaint, said
    assert complaint.startswith("attestd: "), said
    assert complaint.endswith(("[settings.refused]", "[anchor.unpinned]", "[anchor.missing]")), said
    assert "Traceback" not in said
    assert "listening" not in said
    assert SECRET not in said


@pytest.mark.parametrize("case", CASES)
def test_a_service_does_not_start(taken: None, tmp_path: Path, case: str) -> None:
    start = changed(case, tmp_path)
    config = Path(start.arguments[1]) if start.arguments else None
    with pytest.raises(ConfigurationRefused) as caught, Service.started(Settings.load(config, start.named, now())):
        pass
    assert CASES[case][0] in str(caught.value)
    assert SECRET not in str(caught.value)


def test_what_is_changed_is_all_that_is_wrong(tmp_path: Path) -> None:
    """The same without any change does start."""
    with Installation.simulated(tmp_path).started() as running:
        assert running.process.poll() is None


def test_processes_that_start_at_the_same_time_are_one_registry(tmp_path: Path) -> None:
    """The first start names the registry; whoever starts beside it takes that very name."""
    for attempt in range(20):
        named = {"ATTESTD_STATE_DIR": str(tmp_path / str(attempt))}
        barrier = Barrier(8)

        def load(_: int, named: dict[str, str] = named, barrier: Barrier = barrier) -> str:
            barrier.wait(30)
            return Settings.load(None, named, now()).registry_id

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(load, range(8)))) == 1
        left = sorted(file.name for file in (tmp_path / str(attempt)).iterdir() if file.is_file())
        assert left == ["log-key", "registry-id"]


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    """Nothing is wrong with the configuration: the exit status says that it may help to come again."""
    named = environment(tmp_path, Vendor.of(at=now()), registry_id="simulated:away")
    named["ATTESTD_DATABASE_URL"] = f"postgresql://attestd:{SECRET}@/attestd?host={tmp_path}"
    done = serve(named, tmp_path)
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].endswith("[service.database_unavailable]")
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stderr
