"""dcap-qvl beside attestd, in rounds with it: a process of the environment that ATTESTD_PEERS names the Python of."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Final

from tests.bench.measure import Absent, Sample, Scale, Subject
from tests.bench.verification import Case

_PROGRAM: Final = Path(__file__).with_name("peer_process.py")
# Documents that are binary travel in hex; the others are text.
_BINARY: Final = frozenset({"root_ca_crl", "pck_crl"})


@contextmanager
def subject(case: Case, scale: Scale) -> Iterator[Subject | Absent]:
    """Run the peer for as long as the context lasts, with the quote, the collateral, the root and the time of ours."""
    interpreter = os.environ.get("ATTESTD_PEERS")
    if not interpreter:
        yield Absent("ATTESTD_PEERS names no Python that has dcap-qvl installed")
        return
    try:
        process = Popen([interpreter, str(_PROGRAM)], stdin=PIPE, stdout=PIPE, text=True, bufsize=1)
    except OSError as error:
        yield Absent(f"ATTESTD_PEERS: {interpreter}: {error.strerror}")
        return
    with process:
        answer = _ask(process, _task(case))
        if "absent" in answer:
            yield Absent(f"ATTESTD_PEERS: {interpreter}: {answer['absent']}")
        elif answer["status"] != "UpToDate":
            yield Absent(f"dcap-qvl says {answer['status']} where attestd says UpToDate")
        else:
            yield _subject(process, scale)


def _subject(process: "Popen[str]", scale: Scale) -> Subject:
    def verify(count: int) -> Sample:
        answer = _ask(process, str(count))
        return Sample(answer["cpu"] / count, answer["elapsed"] / count)

    count = max(1, round(scale.seconds / verify(1).elapsed))
    return lambda: verify(count)


def _task(case: Case) -> str:
    return json.dumps(
        {
            "quote": case.quote.hex(),
            "root": case.root.hex(),
            "at": int(case.at.timestamp()),
            "collateral": {
                name: raw.hex() if name in _BINARY else raw.decode() for name, raw in case.collateral.items()
            },
        }
    )


def _ask(process: "Popen[str]", line: str) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        message = "the peer's process ended; what it said is above"
        raise RuntimeError(message)
    return dict(json.loads(answer))
