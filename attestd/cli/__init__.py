"""The command line.

`attestd verify`, `inspect`, `diff`, `policy`, `endorsements`, `cocoon`, `serve`, `cosign`, `keys`, `log` and `demo`.

Each command is a module of this package and is imported only when it is the one that was asked for: verifying a file
loads neither the service nor the database.

    arguments.py    commands and options           screen.py    output and exit status
    inputs.py       files, anchors, the time       report.py    what a file says, unverified
"""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module

from attestd.cli.arguments import parser
from attestd.cli.screen import MISUSE, complain, exit_status
from attestd.errors import AttestdError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    arguments = parser().parse_args(argv)
    run: Callable[[Namespace], int] = import_module(f"attestd.cli.{arguments.module}").run
    try:
        return run(arguments)
    except AttestdError as error:
        complain(f"{error} [{error.reason}]")
        return exit_status(error)
    except BrokenPipeError:
        # Whoever read the output has seen enough; the interpreter must not complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return MISUSE
    except OSError as error:
        complain(f"{error.filename or 'input'}: {error.strerror or error}")
        return MISUSE
