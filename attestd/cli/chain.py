"""`attestd chain status`, `get` and `verify`: what the chain says, for who trusts neither a service nor a server."""

import asyncio
from argparse import Namespace
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import HTTPRedirectHandler, build_opener

from attestd.chain.client import Client, Network, Standing
from attestd.chain.reading import MAX_DOCUMENT_SIZE, KeyVerdict, Reading
from attestd.cli.inputs import effective_time
from attestd.cli.screen import NOT_AFFIRMING, VERIFIED, coloured, exit_status, pairs, show, table
from attestd.codec import Json, dump_digest, dump_time
from attestd.errors import Malformed, NotAuthentic, Reason, Unavailable
from attestd.transparency.checkpoint import Checkpoint
from attestd.transparency.entry import Entry

_Document = dict[str, Json]

_TIMEOUT_SECONDS: Final = 20
_OUTCOMES: Final = {Malformed: "malformed", NotAuthentic: "rejected", Unavailable: "unavailable"}


class _Steps:
    """The steps that have passed, in their order."""

    def __init__(self) -> None:
        self.passed: list[tuple[str, str]] = []

    def __call__(self, step: str, found: str) -> None:
        self.passed.append((step, found))


def run(arguments: Namespace) -> int:
    """Read the registry, or the standing of a key in it; print what was found, step by step."""
    at = effective_time(None)
    steps = _Steps()
    client = Client(
        Network.load(arguments.network),
        lambda: effective_time(None).timestamp(),
        registry=arguments.registry,
        told=steps,
    )
    document: _Document = {"outcome": "verified", "reason": None, "detail": "", "at": dump_time(at)}
    try:
        status = asyncio.run(_run(arguments, client, document))
    except (Malformed, NotAuthentic, Unavailable) as error:
        document |= {"outcome": _OUTCOMES[type(error)], "reason": error.reason.value, "detail": str(error)}
        status = exit_status(error)
    document["steps"] = [{"step": step, "found": found} for step, found in steps.passed]
    show(arguments, document, lambda: _lines(document, brief=arguments.action == "get"))
    return status


async def _run(arguments: Namespace, client: Client, document: _Document) -> int:
    if arguments.action == "status":
        reading = await client.read()
        # What is stored is shown whether it is in force or not.
        document |= _registry(reading, client.network)
        client.in_force(reading)
        return VERIFIED
    verdict = await client.key(arguments.key_id, _read(arguments.proof))
    document |= _verdict(verdict, client.network)
    return VERIFIED if verdict.standing is Standing.MEMBER else NOT_AFFIRMING


def _read(source: str) -> bytes:
    """Read a proof from a file or over HTTP; whoever sends it is not believed, so any server will do."""
    if not source.startswith(("http://", "https://")):
        with Path(source).open("rb") as file:
            return file.read(MAX_DOCUMENT_SIZE + 1)
    try:
        with build_opener(_NoRedirects).open(source, timeout=_TIMEOUT_SECONDS) as answer:
            raw: bytes = answer.read(MAX_DOCUMENT_SIZE + 1)
            return raw
    except (URLError, TimeoutError, ConnectionError) as error:
        # URLError keeps its cause as text or as an exception; neither is repeated.
        found = f"HTTP {error.code}" if hasattr(error, "code") else type(error).__name__
        raise Unavailable(Reason.CHAIN_EPOCH, found=found, wanted="the proof of the key") from None


class _NoRedirects(HTTPRedirectHandler):
    """Goes where it was sent, and nowhere else."""

    def redirect_request(self, *_: object) -> None:
        """Refuse."""


def _registry(reading: Reading, network: Network) -> _Document:
    governance, account = reading.state.governance, reading.agreed.account
    return {
        **_head(reading, network),
        "balance": account.account.balance if account.account is not None else 0,
        "paused": reading.state.paused,
        "checkpoint": None if reading.state.checkpoint is None else _checkpoint(reading.state.checkpoint),
        "admin": str(governance.admin),
        "threshold": governance.threshold,
        "verifiers": {str(index): key.hex() for index, key in governance.verifiers},
        "timelock": governance.timelock,
        "max_validity": governance.max_validity,
        "proposals": {
            str(number): f"{type(proposal.change).__name__}, from {_time(proposal.eta)} to {_time(proposal.expires)}"
            for number, proposal in governance.proposals
        },
        "images": [dump_digest(digest) for digest in sorted(governance.images)],
        "models": [dump_digest(digest) for digest in sorted(governance.models)],
        "policies": [dump_digest(digest) for digest in sorted(governance.policies)],
    }


def _verdict(verdict: KeyVerdict, network: Network) -> _Document:
    return {
        "outcome": verdict.standing.value,
        "key_id": verdict.key_id.hex(),
        "entry": None if verdict.entry is None else _entry(verdict.entry),
        **_head(verdict.reading, network),
        "checkpoint": _checkpoint(verdict.checkpoint),
    }


def _head(reading: Reading, network: Network) -> _Document:
    agreed, block = reading.agreed, reading.agreed.account.block
    return {
        "registry": str(reading.address),
        "global_id": network.global_id,
        "block": {"seqno": block.seqno, "root_hash": block.root_hash.hex(), "at": _time(agreed.account.gen_utime)},
        "servers": [str(server) for server in agreed.servers],
        "alone": len(agreed.servers) == 1,
        "dissenting": [
            {"server": str(server), "reason": Reason.CHAIN_DISAGREES.value if error is None else error.reason.value}
            for server, error in agreed.others
        ],
    }


def _checkpoint(checkpoint: Checkpoint) -> _Document:
    return {
        "epoch": checkpoint.epoch,
        "tree_size": checkpoint.tree_size,
        "log_root": checkpoint.log_root.hex(),
        "map_root": None if checkpoint.map_root is None else checkpoint.map_root.hex(),
        "policy_digest": checkpoint.policy_digest.hex(),
        "issued_at": _time(checkpoint.issued_at),
        "valid_until": _time(checkpoint.valid_until),
    }


def _entry(entry: Entry) -> _Document:
    return {
        "tee": entry.tee,
        "image": dump_digest(entry.image),
        "models": dump_digest(entry.models),
        "result": dump_digest(entry.result),
        "not_before": _time(entry.not_before),
        "not_after": _time(entry.not_after),
    }


def _time(seconds: int) -> str:
    return dump_time(datetime.fromtimestamp(seconds, UTC))


def _lines(document: Mapping[str, Json], *, brief: bool) -> Iterator[str]:
    yield coloured(str(document["outcome"]))
    yield ""
    shown = {name: value for name, value in document.items() if name not in ("outcome", "steps") and value != ""}
    yield from pairs(shown)
    if not brief:
        steps = document["steps"]
        rows = (
            [(row["step"], row["found"]) for row in steps if isinstance(row, dict)] if isinstance(steps, list) else []
        )
        yield ""
        yield from table(("step", "passed"), rows)
