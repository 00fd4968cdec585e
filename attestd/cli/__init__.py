"""The command line.

`attestd verify`, `inspect`, `diff`, `policy`, `endorsements`, `cocoon`, `chain`, `serve`, `cosign`, `keys`, `log` and
`demo`.

Each command is a module of this package and is imported only when it is the one that was asked for: verifying a file
loads neither the service nor the database.

    arguments.py    commands and options        screen.py    output and exit status
    inputs.py       files, anchors, the time    report.py    what a file says, unverified, with amd.py, nvidia.py
    proved.py       what the chain proves       scene.py     the demonstration, with acts.py, demo_chain.py, client.py
"""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module

from attestd.cli.arguments import parser
from attestd.cli.screen import INTERRUPTED, MISUSE, complain, exit_status
from attestd.errors import AttestdError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    arguments = parser().parse_args(argv)
    try:
        run: Callable[[Namespace], int] = import_module(f"attestd.cli.{arguments.module}").run
        return run(arguments)
    except AttestdError as error:
        complain(f"{error} [{error.reason}]")
        return exit_status(error)
    except BrokenPipeError:
        # Whoever read the output has seen enough; the interpreter must not complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return MISUSE
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except OSError as error:
        complain(f"{error.filename or 'input'}: {error.strerror or error}")
        return MISUSE
