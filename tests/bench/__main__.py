"""`make bench`: measure everything in one run, and print the table with the goals, those that are missed too."""

import argparse
import os
import platform
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import cryptography
from cryptography.hazmat.backends.openssl import backend

from tests.bench import gpu, peer, recording, report, service, snp, transparency, verification
from tests.bench import scale as growth
from tests.bench.measure import Outcome, Scale, Subjects, evaluate, rounds
from tests.bench.rows import ROWS

_FULL = Scale(rounds=15, seconds=0.02, requests=200, records=256)
QUICK = Scale(rounds=1, seconds=0.001, requests=16, records=16)


def measure(scale: Scale, tdx: verification.Case, amd: snp.Case, device: gpu.Case, folder: Path) -> list[Outcome]:
    """Measure every row; what is written goes below `folder`."""
    with ExitStack() as stack:
        subjects: Subjects = verification.subjects(tdx, scale) | snp.subjects(amd, scale)
        subjects |= gpu.subjects(device, scale) | transparency.subjects(scale)
        subjects |= stack.enter_context(peer.subjects(tdx, amd, device, scale))
        subjects |= stack.enter_context(service.subjects(folder, scale))
        subjects |= stack.enter_context(recording.subjects(folder, scale))
        measured = list(rounds(subjects, scale.rounds))
    return [evaluate(row, subjects, measured) for row in ROWS]


def conditions(scale: Scale, tdx: verification.Case, amd: snp.Case, device: gpu.Case, folder: Path) -> dict[str, str]:
    """Say what the figures depend on."""
    openssl = backend.openssl_version_text()
    return {
        "Python": f"{platform.python_version()}, cryptography {cryptography.__version__}, {openssl}",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f} at the end",
        "TDX": f"{tdx.name}, appraised under {verification.POLICY}",
        "SEV-SNP": f"{amd.name} cold, a simulated one warm, appraised under {snp.POLICY}",
        "GPU": f"{device.name} cold, a simulated one warm",
        "database": f"SQLite below {folder}",
        "method": f"one run of {scale.rounds} rounds, every subject once in each; median, least and greatest of the "
        "ratios within a round",
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help=f"how often everything is measured (default: {_FULL.rounds})")
    parser.add_argument("--quick", action="store_true", help="tiny samples: shows that it runs, and nothing else")
    parser.add_argument("--directory", help="where the databases are, for a disk of your choice (default: temporary)")
    parser.add_argument("--json", action="store_true", help="print JSON, with the value of every round")
    parser.add_argument("part", nargs="?", choices=("scale",), help="only log and map, with up to a million keys")
    arguments = parser.parse_args()
    if arguments.part == "scale":
        with TemporaryDirectory(dir=arguments.directory, prefix="attestd-bench-") as folder:
            growth.show(Path(folder))
        return
    scale = QUICK if arguments.quick else _FULL
    if arguments.rounds:
        scale = Scale(arguments.rounds, scale.seconds, scale.requests, scale.records)
    tdx, amd = verification.genuine_or_simulated(), snp.genuine_or_simulated()
    device = gpu.genuine_or_simulated()
    with TemporaryDirectory(dir=arguments.directory, prefix="attestd-bench-") as folder:
        outcomes = measure(scale, tdx, amd, device, Path(folder))
        said = conditions(scale, tdx, amd, device, Path(folder))
    show = report.document if arguments.json else report.table
    sys.stdout.write(show(outcomes, said) + "\n")


if __name__ == "__main__":
    main()
