"""`attestd chain status`, `get` and `verify`: what the chain says, for who trusts neither a service nor a server."""

import asyncio
from argparse import Namespace
from http.client import HTTPException
from pathlib import Path
from typing import Final, assert_never
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, build_opener

from attestd.chain.client import Client, Network, Standing
from attestd.chain.reading import MAX_DOCUMENT_SIZE, KeyVerdict, Logged, Reading, Told
from attestd.chain.state import (
    Approve,
    Change,
    SetAdmin,
    SetMaxValidity,
    SetTimelock,
    SetVerifiers,
    Unpause,
    Upgrade,
    Withdraw,
)
from attestd.cli.inputs import effective_time
from attestd.cli.proved import Document, export_checkpoint, export_reading, follow, posix
from attestd.cli.screen import NOT_AFFIRMING, VERIFIED
from attestd.codec import dump_digest, dump_time
from attestd.errors import Reason, Unavailable
from attestd.transparency.entry import Entry
from attestd.transparency.record import load_record

# The contract's sets by their number.
SETS: Final = ("image", "model", "policy")
_TIMEOUT_SECONDS: Final = 20


def run(arguments: Namespace) -> int:
    """Read the registry, or the standing of a key in it; print what was found, step by step."""
    network = Network.load(arguments.network)

    def work(told: Told, document: Document) -> int:
        client = Client(network, lambda: effective_time(None).timestamp(), registry=arguments.registry, told=told)
        return asyncio.run(_run(arguments, client, document))

    return follow(arguments, work, brief=arguments.action == "get")


async def _run(arguments: Namespace, client: Client, document: Document) -> int:
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
    except (OSError, HTTPException, ValueError) as error:
        # Of what the other side says nothing is repeated; urllib takes what is no URL for a ValueError.
        cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
        found = f"status {error.code}" if isinstance(error, HTTPError) else type(cause).__name__
        raise Unavailable(Reason.CHAIN_KEY_PROOF, found=found, wanted="the proof of the key") from None


class _NoRedirects(HTTPRedirectHandler):
    """Goes where it was sent, and nowhere else."""

    def redirect_request(self, *_: object) -> None:
        """Refuse."""


def _registry(reading: Reading, network: Network) -> Document:
    governance, account = reading.state.governance, reading.agreed.account
    return {
        **export_reading(reading, network),
        "balance": account.account.balance if account.account is not None else 0,
        "paused": reading.state.paused,
        "checkpoint": None if reading.state.checkpoint is None else export_checkpoint(reading.state.checkpoint),
        "admin": str(governance.admin),
        "threshold": governance.threshold,
        "verifiers": {str(index): key.hex() for index, key in governance.verifiers},
        "timelock": governance.timelock,
        "max_validity": governance.max_validity,
        "proposals": {
            str(number): {**export_change(proposal.change), "from": posix(proposal.eta), "to": posix(proposal.expires)}
            for number, proposal in governance.proposals
        },
        "images": [dump_digest(digest) for digest in sorted(governance.images)],
        "models": [dump_digest(digest) for digest in sorted(governance.models)],
        "policies": [dump_digest(digest) for digest in sorted(governance.policies)],
    }


def export_change(change: Change) -> Document:
    """Return a change as it is shown, by the names of `attestd chain propose`."""
    match change:
        case SetVerifiers(threshold, verifiers):
            keys: Document = {str(index): key.hex() for index, key in verifiers}
            return {"change": "verifiers", "threshold": threshold, "verifiers": keys}
        case SetAdmin(admin):
            return {"change": "admin", "admin": str(admin)}
        case SetTimelock(timelock):
            return {"change": "timelock", "seconds": timelock}
        case SetMaxValidity(max_validity):
            return {"change": "max-validity", "seconds": max_validity}
        case Unpause():
            return {"change": "unpause"}
        case Upgrade(code):
            return {"change": "upgrade", "code_hash": code.hash.hex()}
        case Approve(kind, digests):
            return {"change": "approve", "set": SETS[kind], "digests": [*map(dump_digest, sorted(digests))]}
        case Withdraw(kind, digests):
            return {"change": "withdraw", "set": SETS[kind], "digests": [*map(dump_digest, sorted(digests))]}
        case _:
            assert_never(change)


def _verdict(verdict: KeyVerdict, network: Network) -> Document:
    return {
        "outcome": verdict.standing.value,
        "key_id": verdict.key_id.hex(),
        "entry": None if verdict.entry is None else _entry(verdict.entry),
        "record": None if verdict.record is None else _record(verdict.record),
        **export_reading(verdict.reading, network),
        "checkpoint": export_checkpoint(verdict.checkpoint),
    }


def _record(record: Logged) -> Document:
    said = load_record(record.leaf)
    return {"log_index": record.index, "decision": said.decision, "at": dump_time(said.at)}


def _entry(entry: Entry) -> Document:
    return {
        "tee": entry.tee,
        "image": dump_digest(entry.image),
        "models": dump_digest(entry.models),
        "result": dump_digest(entry.result),
        "not_before": posix(entry.not_before),
        "not_after": posix(entry.not_after),
    }
