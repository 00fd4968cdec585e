"""The contract in the sandbox: its own tests, in JavaScript, and random sequences of messages against a model."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.model import START, Registry, Step
from tests.contract.sequences import Number, step

HERE: Final = Path(__file__).parent
MODULES: Final = HERE.parents[1] / "attestd" / "chain" / "node" / "node_modules"
NODE: Final = shutil.which("node", path=f"{sys.prefix}/bin{os.pathsep}{os.environ.get('PATH', '')}")
README: Final = MODULES.parents[1] / "contract" / "README.md"
SUITES: Final = {"P": "publication", "G": "governance", "L": "lookup", "M": "money"}
SEQUENCES: Final = 5000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NODE is None or not (MODULES / ".installed").exists(), reason="needs Node: run `make node`"),
]


@cache
def ran(file: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a file, once."""
    command = [str(NODE), "--test", "--test-reporter=tap", str(HERE / file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("file", sorted(path.name for path in HERE.glob("*.test.mjs")))
def test_in_the_sandbox(file: str) -> None:
    done = ran(file)
    assert done.returncode == 0, done.stdout + done.stderr


def threats() -> dict[str, str]:
    """Return what the table of threats names for each attack."""
    table = README.read_text().partition("| attack | how it is met | tests |\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[1:]]
    return {attack: tests for attack, _, tests in rows}


@pytest.mark.parametrize("attack", threats())
def test_the_tests_that_the_table_of_threats_names(attack: str) -> None:
    """Each title that is quoted, and each exit code, is that of tests which pass, in each of the files named."""
    for part in threats()[attack].split(";"):
        named, texts = re.sub('"[^"]*"', "", part), re.findall('"([^"]*)"', part)
        texts += [f"{code}: " for code in re.findall(r"\b\d+\b", named)]
        files = [f"{SUITES[letter]}.test.mjs" for letter in re.findall(r"\b[PGLM]\b", named)]
        files += re.findall(r"`(\w+\.test\.mjs)`", named)
        assert files or re.search(r"\bS\b", named) or named.strip() == "-", part
        assert all(texts) if files else not texts, part
        for file in files:
            titles = re.findall(r"^ok \d+ - (.*)$", ran(file).stdout, re.MULTILINE)
            assert titles
            for text in texts:
                assert any(text in title for title in titles), f"no test of {file} is called {text}"


@dataclass(frozen=True)
class Machine:
    """The contract, played by machine.mjs."""

    process: subprocess.Popen[str]
    keys: list[str]

    def play(self, registry: Registry, steps: list[Step]) -> list[Any]:
        keys = sorted(registry.verifiers.items())
        governance = {
            "threshold": registry.threshold,
            "timelock": registry.timelock,
            "maxValidity": registry.max_validity,
            "keys": keys,
        }
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"governance": governance, "steps": steps}) + "\n")
        self.process.stdin.flush()
        outcomes: list[Any] = json.loads(self.process.stdout.readline())
        return outcomes

    def shown(self, registry: Registry) -> dict[str, Any]:
        """The model's state in the words of machine.mjs."""
        return {
            "version": 1,
            "paused": registry.paused,
            "epoch": registry.epoch,
            "treeSize": registry.tree_size,
            "issuedAt": registry.issued_at,
            "validUntil": registry.valid_until,
            "signatures": registry.signatures,
            "admin": registry.admin,
            "threshold": registry.threshold,
            "timelock": registry.timelock,
            "maxValidity": registry.max_validity,
            "nextProposal": registry.next_proposal,
            "verifiers": [[index, self.keys[key]] for index, key in registry.verifiers.items() if key is not None],
            "proposals": [[id_, [eta, expires]] for id_, (eta, expires, _) in registry.proposals.items()],
            "sets": [sorted(one) for one in registry.sets],
        }


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    command = [str(NODE), str(HERE / "machine.mjs")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        keys: list[str] = json.loads(process.stdout.readline())
        yield Machine(process, keys)
        assert process.stdin
        process.stdin.close()
        assert process.wait(timeout=30) == 0


GOVERNED: Final = ("admin", "threshold", "timelock", "maxValidity", "verifiers", "sets")
STATED: Final = ("epoch", "treeSize", "issuedAt", "validUntil", "signatures")


def require_invariants(message: Step, before: dict[str, Any], after: dict[str, Any], proposed: dict[int, int]) -> None:
    """What holds whatever the model says. `proposed`: the proposals and when each may be executed."""
    assert after["epoch"] - before["epoch"] in (0, 1)
    assert after["treeSize"] >= before["treeSize"]
    if any(before[name] != after[name] for name in STATED):
        assert message["op"] == "publish"
        assert not before["paused"]
        assert after["epoch"] == before["epoch"] + 1
    if any(before[name] != after[name] for name in GOVERNED) or (before["paused"] and not after["paused"]):
        assert message["op"] == "execute"
        assert message["from"] == before["admin"]
        assert message["at"] >= proposed[message["proposal"]]


@settings(max_examples=SEQUENCES, suppress_health_check=list(HealthCheck))
@given(numbers=st.lists(st.integers(0, 2**96 - 1), min_size=1, max_size=6))
def test_a_sequence_of_messages(machine: Machine, numbers: list[int]) -> None:
    registry, at = Registry(), START
    start = machine.shown(registry)
    steps, expected, etas = [], [], []
    for number in numbers:
        message = step(Number(number), registry, at)
        at = message["at"]
        etas.append({id_: eta for id_, (eta, _, _) in registry.proposals.items()})
        expected.append((registry.receive(message), machine.shown(registry)))
        steps.append(message)
    before = start
    for message, outcome, (exit_code, state), proposed in zip(
        steps, machine.play(Registry(), steps), expected, etas, strict=True
    ):
        assert outcome["exitCode"] == exit_code, message
        assert outcome["state"] == state, message
        assert outcome["action"] in (0, None)
        assert outcome["gained"] >= 0, "no message makes the registry poorer"
        require_invariants(message, before, outcome["state"], proposed)
        before = outcome["state"]
