"""`python -m attestd.simulator DIRECTORY` writes the fixtures; nothing else in the directory is touched."""

import argparse
import sys
from pathlib import Path

from attestd.simulator.fixtures import files
from attestd.simulator.keys import REPRODUCIBLE


def main(arguments: list[str] | None = None) -> int:
    """Write every file; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m attestd.simulator", description="Write simulated evidence.")
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args(arguments).directory
    if not REPRODUCIBLE:
        sys.stderr.write("OpenSSL is older than 3.2 and cannot sign deterministically: nothing was written.\n")
        return 1
    for path, raw in files().items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(raw)
    return 0


if __name__ == "__main__":
    sys.exit(main())
