"""The command line as argparse knows it: commands, options and the types of their values."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, Never

from attestd import __version__
from attestd.cli.screen import MISUSE, complain
from attestd.codec import load_digest, load_hex, load_time
from attestd.errors import Malformed

_DESCRIPTION: Final = "Verifies confidential computing evidence and registers the keys that it proves."
_EXIT_STATUS: Final = """\
exit status:
  0  verified; with a policy, affirming    3  not authentic
  1  misuse                                4  endorsements missing or unavailable
  2  malformed                             5  warning or contraindicated under the policy
"""
_TEES: Final = ("tdx", "sgx", "snp", "nvidia")


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
        "--evidence",
        required=True,
        type=Path,
        metavar="FILE",
        help="a quote or a report, as the driver returned it; for snp also with its certificate table, or Azure's; for "
        "nvidia also a JSON list of several devices",
    )
    parser.add_argument(
        "--certificates",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="what came beside the report; snp: a certificate table, or VCEK or VLEK, ASK and ARK; nvidia: the chain "
        "in PEM; may be repeated",
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
    parser.add_argument("--tpm-quote", type=Path, metavar="FILE", help="snp on Azure: the TPMS_ATTEST of its vTPM")
    parser.add_argument("--tpm-signature", type=Path, metavar="FILE", help="snp on Azure: the signature of that quote")
    parser.add_argument("--tpm-pcrs", type=Path, metavar="FILE", help="snp on Azure: PCR 0 to 23, 32 bytes each")
    parser.add_argument(
        "--nonce",
        type=hexadecimal(None),
        metavar="HEX",
        help="snp on Azure: what that quote must carry (extraData); nvidia: what the devices were asked with",
    )
    parser.add_argument("--event-log", type=Path, metavar="FILE", help="a CCEL or dstack log that must replay")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="appraise under this policy (not nvidia)")
    parser.add_argument(
        "--approved-image",
        action="append",
        default=[],
        type=digest,
        metavar="sha256:HEX",
        help="an image that counts as registered, where the policy asks for that; may be repeated",
    )
    _add_anchors_and_time(parser)
    _add_json(parser)


def _add_inspect(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a quote or report, a Cocoon RA-TLS certificate, an event log, Intel's JSON, AMD's certificates or a CRL, "
        "a GPU's report or chain, a list of devices, a RIM or an OCSP answer",
    )
    _add_json(parser)


def _add_diff(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a quote or report, or a Cocoon RA-TLS certificate")
    parser.add_argument("--policy", required=True, type=Path, metavar="FILE", help="whose images to compare with")
    _add_json(parser)


def _add_policy(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = _command(actions.add_parser, "check", "policy", "read a policy strictly; print its digest and what is lax")
    check.add_argument("file", type=Path, metavar="FILE")
    _add_json(check)
    measure = _command(actions.add_parser, "measure-snp", "measure", "compute the launch measurement of an SNP machine")
    measure.add_argument("--ovmf", required=True, type=Path, metavar="FILE", help="the firmware, built for SEV-SNP")
    measure.add_argument("--kernel", type=Path, metavar="FILE", help="where kernel hashes are measured")
    measure.add_argument("--initrd", type=Path, metavar="FILE")
    measure.add_argument("--append", metavar="TEXT", help="the kernel's command line")
    measure.add_argument("--vcpus", required=True, type=number(1, 4096), metavar="N", help="how many vCPUs")
    measure.add_argument("--vcpu-type", metavar="NAME", help="the CPU model of QEMU, such as EPYC-Genoa")
    measure.add_argument(
        "--vmm", choices=("qemu", "ec2", "gce"), default="qemu", help="what starts it; qemu by default"
    )
    measure.add_argument(
        "--guest-features",
        type=number(0, 2**64 - 1),
        default=1,
        metavar="N",
        help="SEV_FEATURES of the VMSA, as 0x1 (SNP alone), which is the default",
    )
    _add_json(measure)


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


def digest(text: str) -> bytes:
    """Take a SHA-256 digest."""
    try:
        return load_digest(text)
    except Malformed:
        raise ArgumentTypeError("wanted sha256:<64 hex digits in lower case>") from None


def number(least: int, most: int) -> Callable[[str], int]:
    """Make what takes an integer from `least` to `most`, decimal or with 0x."""

    def load(text: str) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            value = -1
        if least <= value <= most:
            return value
        raise ArgumentTypeError(f"wanted an integer from {least} to {most}")

    return load


def hexadecimal(size: int | None) -> Callable[[str], bytes]:
    """Make what takes `size` bytes in hex, or any number of them."""

    def load(text: str) -> bytes:
        try:
            return load_hex(text, size=size)
        except Malformed as error:
            wanted = "bytes" if size is None else f"{size} bytes"
            raise ArgumentTypeError(f"found {error.found}, wanted {wanted} in hex") from None

    return load
