"""The command line as argparse knows it: commands, options and the types of their values."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, Never

from attestd import __version__
from attestd.cli.screen import MISUSE, complain
from attestd.codec import load_hex, load_time
from attestd.errors import Malformed

_DESCRIPTION: Final = "Verifies confidential computing evidence and registers the keys that it proves."
_EXIT_STATUS: Final = """\
exit status:
  0  verified; with a policy, affirming    3  not authentic
  1  misuse                                4  endorsements missing or unavailable
  2  malformed                             5  warning or contraindicated under the policy
"""
_TEES: Final = ("tdx", "sgx")


class _Parser(ArgumentParser):
    """Exits with the status of misuse; argparse's own, 2, means malformed evidence here."""

    def error(self, message: str) -> Never:
        self.print_usage(sys.stderr)
        complain(f"{message}. See {self.prog} --help.")
        sys.exit(MISUSE)


def parser() -> ArgumentParser:
    """Make the parser of the whole command line; each command names the module that runs it."""
    top = _Parser(
        prog="attestd", description=_DESCRIPTION, epilog=_EXIT_STATUS, formatter_class=RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"attestd {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _add_verify(_command(commands.add_parser, "verify", "verify", "verify evidence in files, without a service"))
    _add_inspect(_command(commands.add_parser, "inspect", "inspect", "show what a file says; nothing is verified"))
    _add_diff(_command(commands.add_parser, "diff", "diff", "show which registers differ from which accepted image"))
    _add_policy(commands.add_parser("policy", help="look at policies"))
    _add_endorsements(commands.add_parser("endorsements", help="bring vendor collateral to where it is used"))
    _add_service(commands.add_parser)
    return top


def _command(add: Callable[..., ArgumentParser], name: str, module: str, prose: str) -> ArgumentParser:
    parser = add(name, help=prose, description=prose[0].upper() + prose[1:] + ".")
    parser.set_defaults(module=module)
    return parser


def _add_verify(parser: ArgumentParser) -> None:
    parser.add_argument("--tee", required=True, choices=_TEES, help="which TEE made the evidence")
    parser.add_argument(
        "--evidence", required=True, type=Path, metavar="FILE", help="a quote, as the driver returned it"
    )
    parser.add_argument(
        "--endorsements",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="collateral: folders, archives or single files; may be repeated",
    )
    parser.add_argument(
        "--report-data", type=hexadecimal(64), metavar="HEX", help="64 bytes that the report must carry"
    )
    parser.add_argument("--event-log", type=Path, metavar="FILE", help="a CCEL or dstack log that must replay")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="appraise under this policy")
    _add_anchors_and_time(parser)
    _add_json(parser)


def _add_inspect(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a quote, a Cocoon RA-TLS certificate, an event log or Intel's JSON"
    )
    _add_json(parser)


def _add_diff(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a quote or a Cocoon RA-TLS certificate")
    parser.add_argument("--policy", required=True, type=Path, metavar="FILE", help="whose images to compare with")
    _add_json(parser)


def _add_policy(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = _command(actions.add_parser, "check", "policy", "read a policy strictly; print its digest and what is lax")
    check.add_argument("file", type=Path, metavar="FILE")
    _add_json(check)


def _add_endorsements(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    incoming = _command(actions.add_parser, "import", "endorsements", "authenticate collateral and copy it to a folder")
    incoming.add_argument("source", type=Path, metavar="ARCHIVE|FOLDER")
    incoming.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="the folder that the service reads")
    incoming.set_defaults(action="import")
    listing = _command(actions.add_parser, "list", "endorsements", "show what a folder endorses, and until when")
    listing.add_argument("source", type=Path, metavar="FOLDER")
    listing.set_defaults(action="list")
    for action in (incoming, listing):
        _add_anchors_and_time(action)
        _add_json(action)


def _add_service(add: Callable[..., ArgumentParser]) -> None:
    serve = _command(add, "serve", "serve", "run the service")
    keys = add("keys", help="make API keys where the service cannot be asked yet")
    bootstrap = _command(
        keys.add_subparsers(metavar="ACTION", required=True).add_parser,
        "bootstrap",
        "keys",
        "create the first admin API key in the database and print it once",
    )
    _add_json(bootstrap)
    for parser in (serve, bootstrap):
        parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML; ATTESTD_* overrides them")
    _command(add, "demo", "demo", "walk the whole way on this machine, with simulated hardware")


def _add_anchors_and_time(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--trust-anchors", type=Path, metavar="PATH", help="root certificates, DER or PEM, in place of the pinned ones"
    )
    parser.add_argument("--at", type=time, metavar="RFC3339", help="the time to verify at; now, if it is left out")


def _add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object, as is done into a pipe")


def time(text: str) -> datetime:
    """Take a time with an offset."""
    try:
        return load_time(text)
    except Malformed as error:
        raise ArgumentTypeError(f"not an RFC 3339 time such as {error.wanted}") from None


def hexadecimal(size: int) -> Callable[[str], bytes]:
    """Make what takes `size` bytes in hex."""

    def load(text: str) -> bytes:
        try:
            return load_hex(text, size=size)
        except Malformed as error:
            raise ArgumentTypeError(f"found {error.found}, wanted {size} bytes in hex") from None

    return load
