"""Other verifiers beside attestd, in rounds with it: processes of the environments that `make peers` makes.

Each verifies the same evidence as attestd does, with the same endorsements.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Final

from tests import peers
from tests.bench import gpu, snp, transparency, verification
from tests.bench.measure import Absent, Sample, Scale, Subject, Subjects

_PROGRAM: Final = Path(__file__).with_name("peer_process.py")
# Documents that are binary travel in hex; the others are text.
_BINARY: Final = frozenset({"root_ca_crl", "pck_crl"})


@contextmanager
def subjects(tdx: verification.Case, report: snp.Case, device: gpu.Case, scale: Scale) -> Iterator[Subjects]:
    """Run the peers for as long as the context lasts."""
    with ExitStack() as stack:
        measured: Subjects = {
            "dcap-qvl": stack.enter_context(_subject("dcap-qvl", _quote(tdx), scale)),
            "pymerkle": stack.enter_context(_subject("pymerkle", transparency.task(), scale)),
        }
        if report.genuine:
            measured["tinfoil"] = stack.enter_context(_subject("tinfoil", _report(report), scale))
        else:
            measured["tinfoil"] = Absent("no genuine report is here, and tinfoil takes no other")
        if device.genuine:
            entered = _subject("nv-local-gpu-verifier", _device(device), scale, peers.NVIDIA)
            measured["nv-local-gpu-verifier"] = stack.enter_context(entered)
        else:
            measured["nv-local-gpu-verifier"] = Absent("no genuine GPU is here, and NVIDIA's verifier takes no other")
        yield measured


@contextmanager
def _subject(
    library: str, task: dict[str, Any], scale: Scale, environment: Path = peers.PEERS
) -> Iterator[Subject | Absent]:
    interpreter = peers.python(environment)
    if interpreter is None:
        yield Absent(peers.ABSENT)
        return
    with Popen([interpreter, _PROGRAM, library], stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
        answer = _ask(process, json.dumps(task))
        if answer["verdict"] != task["verdict"]:
            yield Absent(f"{library} says {answer['verdict']} where attestd says {task['verdict']}")
        else:
            yield _measured(process, scale)


def _measured(process: "Popen[str]", scale: Scale) -> Subject:
    def verify(count: int) -> Sample:
        answer = _ask(process, str(count))
        return Sample(answer["cpu"] / count, answer["elapsed"] / count)

    count = max(1, round(scale.seconds / verify(1).elapsed))
    return lambda: verify(count)


def _quote(case: verification.Case) -> dict[str, Any]:
    collateral = {name: raw.hex() if name in _BINARY else raw.decode() for name, raw in case.collateral.items()}
    return {
        "quote": case.quote.hex(),
        "root": case.root.hex(),
        "at": int(case.at.timestamp()),
        "collateral": collateral,
        "verdict": "UpToDate",
    }


def _report(case: snp.Case) -> dict[str, Any]:
    return {"report": case.report.hex(), "vcek": case.vcek.hex(), "verdict": "Genoa"}


def _device(case: gpu.Case) -> dict[str, Any]:
    return {
        "arch": case.evidence.arch,
        "nonce": case.nonce.hex(),
        "at": case.at.isoformat(),
        "report": case.evidence.report.hex(),
        "certificates": case.evidence.certificates.hex(),
        "driver_rim": case.driver_rim.hex(),
        "vbios_rim": case.vbios_rim.hex(),
        "driver_version": case.driver_version,
        "vbios_version": case.vbios_version,
        "verdict": "verified",
    }


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
