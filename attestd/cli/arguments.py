"""The command line as argparse knows it: commands, options and the types of their values."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from datetime import datetime
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Final, Never
from urllib.parse import urlsplit

from attestd import __version__
from attestd.cli.screen import MISUSE, complain
from attestd.codec import load_digest, load_hex, load_time
from attestd.errors import Malformed
from attestd.tvm.address import Address

_DESCRIPTION: Final = "Verifies confidential computing evidence and registers the keys that it proves."
_EXIT_STATUS: Final = """\
exit status:
  0  verified; with a policy, affirming; from the chain, a member
  1  misuse
  2  malformed
  3  not authentic
  4  endorsements missing or unavailable; chain or service unavailable
  5  warning or contraindicated; absent from the chain; refused by the contract
"""
_TEES: Final = ("tdx", "sgx", "snp", "nvidia")
# What the contract takes at most, in seconds.
_MONTH: Final = 30 * 24 * 3600


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
    _add_cocoon(commands.add_parser("cocoon", help="read Cocoon's root contract; write messages for its owner"))
    _add_chain(commands.add_parser("chain", help="the registry on TON"))
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
    parser.add_argument(
        "--policy",
        type=Path,
        metavar="FILE",
        help="appraise under this policy; nvidia: the section [gpu] alone, which is never affirming without a CPU",
    )
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
    measure.add_argument("--initrd", type=Path, metavar="FILE", help="likewise, beside the kernel")
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


def _add_cocoon(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    shown = _command(actions.add_parser, "show", "cocoon", "show which images and models its owner has approved")
    prose = "compare what its owner has approved with a registry, or approve it there"
    sync = _command(actions.add_parser, "sync", "cocoon_sync", prose)
    for action in (shown, sync):
        source = action.add_mutually_exclusive_group(required=True)
        source.add_argument("--network", type=Path, metavar="FILE", help="the chain's network file: read with proof")
        source.add_argument(
            "--state", type=Path, metavar="FILE", help="the contract's data as a bag of cells, unproved"
        )
    sync.add_argument("--registry", required=True, type=loopback, metavar="URL", help="the service's public listener")
    sync.add_argument("--approve", type=loopback, metavar="URL", help="the admin listener: approve what is missing")
    sync.add_argument(
        "--token-file", type=Path, metavar="FILE", help="the API key of an administrator, mode 0600, with --approve"
    )
    message = _command(
        actions.add_parser, "message", "cocoon_message", "write what its owner would have to send; nothing is sent"
    )
    message.add_argument(
        "message", choices=("add-worker", "del-worker", "add-model", "del-model", "add-proxy", "del-proxy")
    )
    message.add_argument("hash", nargs="+", type=digest, metavar="sha256:HEX", help="an image digest, or a model hash")
    _add_query_id(message)
    message.add_argument(
        "--amount",
        type=number(1, 10**12),
        default=10_000_000,
        metavar="NANOTON",
        help="what the message carries; 0.01 TON by default, of which the contract returns the excess",
    )
    for action in (shown, sync, message):
        action.add_argument(
            "--address", type=address, help="the root contract; that of Cocoon's distribution by default"
        )
        _add_json(action)


def _add_chain(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    status = _action(actions.add_parser, "status", "chain", "show what the registry's contract stores, proved")
    verify = _action(actions.add_parser, "verify", "chain", "verify a key from the chain alone, step by step")
    got = _action(actions.add_parser, "get", "chain", "show what the chain says of a key")
    for action in (verify, got):
        action.add_argument("key_id", type=key_id, metavar="KEY_ID", help="SHA-256 of the key's SPKI, in hex")
        action.add_argument(
            "--proof",
            required=True,
            metavar="FILE|URL",
            help="what any service answers on /v1/proofs/KEY_ID; not believed",
        )
    _add_wallet(actions.add_parser("wallet", help="the wallet that pays"))
    _add_wallet_options(_add_deploy(_action(actions.add_parser, "deploy", "chain_admin", "deploy a registry")))
    for action in (status, verify, got, *_add_government(actions.add_parser)):
        action.add_argument("--registry", type=address, metavar="ADDRESS", help="unless the network file pins it")
        _add_network(action)
    _add_devnet(_command(actions.add_parser, "devnet", "chain_devnet", "run a simulated TON network on this machine"))


def _action(add: Callable[..., ArgumentParser], name: str, module: str, prose: str) -> ArgumentParser:
    """Add a command whose module runs others, too, and has to know which one it is."""
    parser = _command(add, name, module, prose)
    parser.set_defaults(action=name)
    return parser


def _add_network(parser: ArgumentParser) -> None:
    parser.add_argument("--network", required=True, type=Path, metavar="FILE", help="in TON's global config form")
    _add_json(parser)


def _add_wallet(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    made = _action(actions.add_parser, "new", "chain_wallet", "make a key file; print the wallet's address")
    shown = _action(actions.add_parser, "show", "chain_wallet", "print the wallet's address, and its balance, proved")
    for action in (made, shown):
        prose = "32 bytes in hex, mode 0600" + ("; must not exist yet" if action is made else "")
        action.add_argument("--wallet-key", required=True, type=Path, metavar="FILE", help=prose)
        _add_wallet_version(action)
        _add_network(action)


def _add_wallet_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--wallet-key", type=Path, metavar="FILE", help="send with the wallet of this key; else print a link to send"
    )
    _add_wallet_version(parser)


def _add_wallet_version(parser: ArgumentParser) -> None:
    parser.add_argument("--wallet-version", choices=("v5r1", "v4r2"), default="v5r1", help="v5r1 by default")


def _add_deploy(parser: ArgumentParser) -> ArgumentParser:
    parser.add_argument("--admin", type=address, metavar="ADDRESS", help="a multisig; the wallet itself by default")
    parser.add_argument(
        "--timelock",
        type=number(0, _MONTH),
        default=48 * 3600,
        metavar="SECONDS",
        help="how long proposals wait; 48 hours by default, 30 days at most",
    )
    parser.add_argument(
        "--max-validity",
        type=number(1, _MONTH),
        default=24 * 3600,
        metavar="SECONDS",
        help="for how long a checkpoint may hold; 24 hours by default, 30 days at most",
    )
    _add_verifiers(parser)
    _add_network(parser)
    return parser


def _add_verifiers(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--verifier",
        action="append",
        required=True,
        type=hexadecimal(32),
        metavar="HEX",
        help="an Ed25519 public key that signs checkpoints; may be repeated, and is numbered from 0",
    )
    parser.add_argument("--threshold", required=True, type=number(1, 16), metavar="K", help="how many have to sign")


def _add_government(add: Callable[..., ArgumentParser]) -> list[ArgumentParser]:
    """Add what only the admin can do; without the key of a wallet it is written, not sent."""
    pause = _action(add, "pause", "chain_admin", "stop publication and every answer of the contract, at once")
    actions = [pause, *_add_proposals(add("propose", help="propose a change, which waits for the timelock"))]
    for name, prose in (("execute", "execute a proposal whose time has come"), ("cancel", "drop a proposal")):
        actions.append(_action(add, name, "chain_admin", prose))
        actions[-1].add_argument("proposal", type=number(0, 2**32 - 1), metavar="NUMBER", help="see chain status")
    for action in actions:
        _add_wallet_options(action)
        _add_query_id(action)
    return actions


def _add_proposals(parser: ArgumentParser) -> list[ArgumentParser]:
    changes = parser.add_subparsers(metavar="CHANGE", required=True, dest="change")

    def change(name: str, prose: str) -> ArgumentParser:
        made = _command(changes.add_parser, name, "chain_admin", prose)
        made.set_defaults(action="propose")
        return made

    verifiers, admin = change("verifiers", "who signs checkpoints"), change("admin", "who governs")
    _add_verifiers(verifiers)
    admin.add_argument("address", type=address, metavar="ADDRESS")
    timelock = change("timelock", "how long proposals wait")
    validity = change("max-validity", "for how long a checkpoint may hold")
    for action, least in ((timelock, 0), (validity, 1)):
        action.add_argument("seconds", type=number(least, _MONTH), metavar="SECONDS")
    upgrade = change("upgrade", "another code for the contract")
    upgrade.add_argument("code", type=Path, metavar="FILE", help="a bag of cells")
    sets = change("approve", "add digests to a set"), change("withdraw", "take digests out of a set")
    for action in sets:
        action.add_argument("set", choices=("image", "model", "policy"))
        action.add_argument("digest", nargs="+", type=digest, metavar="sha256:HEX")
    return [verifiers, admin, timelock, validity, change("unpause", "operate again"), upgrade, *sets]


def _add_query_id(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--query-id",
        type=number(0, 2**64 - 1),
        default=0,
        metavar="N",
        help="stands in the message and in what comes back; 0 by default",
    )


def _add_devnet(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--listen", type=IPv4Address, default=IPv4Address("127.0.0.1"), metavar="IP", help="127.0.0.1 by default"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="where its network file goes; devnet.json by default")
    parser.add_argument(
        "--fund", action="append", default=[], type=address, metavar="ADDRESS", help="give it 1000 TON; may be repeated"
    )
    parser.add_argument(
        "--wallet-key",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="give 1000 TON to the wallet of this key, which is made if there is no such file; may be repeated",
    )
    _add_wallet_version(parser)
    _add_json(parser)


def _add_service(add: Callable[..., ArgumentParser]) -> None:
    serve = _command(add, "serve", "serve", "run the service")
    cosign = _command(add, "cosign", "cosign", "verify and sign what another registry would publish")
    keys = add("keys", help="make API keys where the service cannot be asked yet")
    bootstrap = _command(
        keys.add_subparsers(metavar="ACTION", required=True).add_parser,
        "bootstrap",
        "keys",
        "create the first admin API key in the database and print it once",
    )
    _add_json(bootstrap)
    logs = _add_log(add("log", help="the log of a database, or of a service"))
    for parser in (serve, cosign, bootstrap, *logs):
        parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML; ATTESTD_* overrides them")
    _command(add, "demo", "demo", "walk the whole way on this machine, with simulated hardware")


def _add_log(parser: ArgumentParser) -> tuple[ArgumentParser, ...]:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    prose = "hold tiles, epochs, map and keys against the records"
    fsck = _action(actions.add_parser, "fsck", "log", prose)
    fsck.add_argument(
        "--repair",
        action="store_true",
        help="make tiles and map again, if nothing else is wrong; records are never changed",
    )
    shown = _action(actions.add_parser, "show", "log", "show how many records there are, and both roots")
    proof = _action(actions.add_parser, "prove", "log", "show a record, and that it is in the log")
    proof.add_argument("index", type=number(0, 2**63 - 1), metavar="INDEX")
    for action in (fsck, shown, proof):
        _add_json(action)
    _add_log_verify(_command(actions.add_parser, "verify", "log_verify", "hold the log of a service against the chain"))
    prose = "after a backup was restored, go on from the log that was published before"
    recovery = _command(actions.add_parser, "recover", "log_recover", prose)
    recovery.add_argument(
        "--from", dest="source", required=True, metavar="URL|FOLDER", help="a co-signer, or files of the log"
    )
    recovery.add_argument("--dry-run", action="store_true", help="show what it would do, and do nothing")
    _add_json(recovery)
    return fsck, shown, proof, recovery


def _add_log_verify(parser: ArgumentParser) -> None:
    parser.add_argument("--from", dest="url", required=True, metavar="URL", help="a service that serves the log")
    parser.add_argument("--registry", type=address, metavar="ADDRESS", help="unless the network file pins it")
    parser.add_argument("--key", metavar="KEY", help="of the log; else as remembered, or as the service says itself")
    parser.add_argument("--state", type=Path, metavar="FILE", help="remembers key and log from one run to the next")
    parser.add_argument("--all", action="store_true", help="read every record; make the root and the map of the chain")
    _add_network(parser)


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


def address(text: str) -> Address:
    """Take an address on TON, in either form."""
    try:
        return Address.parse(text)
    except Malformed as error:
        raise ArgumentTypeError(f"found {error.found}, wanted {error.wanted}") from None


def key_id(text: str) -> bytes:
    """Take the id of a key, with or without the name of its hash."""
    return hexadecimal(32)(text.removeprefix("sha256:"))


def loopback(text: str) -> str:
    """Take the URL of a listener on this machine: API keys and approvals are not sent in the clear any further."""
    host = text.removeprefix("http://")
    try:
        parts = urlsplit(f"http://{host}")
        local = ip_address(parts.hostname or "").is_loopback and parts.port is not None
    except ValueError:
        local = False
    # Nothing before or behind host and port, which would have them mean something else.
    if not local or host == text or any(mark in host for mark in "@/?#"):
        raise ArgumentTypeError("wanted http://<loopback address>:<port>, such as http://127.0.0.1:8081")
    return text


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
