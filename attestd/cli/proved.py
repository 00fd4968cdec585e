"""What the commands show of what the chain proves: the steps that have passed, the reading, the checkpoint."""

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, TypeAlias

from attestd.chain.client import Network
from attestd.chain.reading import Reading, Told
from attestd.cli.inputs import effective_time
from attestd.cli.screen import coloured, exit_status, pairs, show, spread, table
from attestd.codec import Json, dump_time
from attestd.errors import Malformed, NotAuthentic, Reason, Unavailable
from attestd.transparency.checkpoint import Checkpoint

Document: TypeAlias = dict[str, Json]

_OUTCOMES: Final = {Malformed: "malformed", NotAuthentic: "rejected", Unavailable: "unavailable"}
# Outcome and steps have places of their own; notes are to be kept, not to be read.
_UNLISTED: Final = ("outcome", "steps", "note", "remembered_note")


def follow(arguments: Namespace, work: Callable[[Told, Document], int], *, brief: bool = False) -> int:
    """Do the work; show what it has put into the document, each step that it tells of, and why it went no further."""
    document: Document = {"outcome": "verified", "reason": None, "detail": "", "at": dump_time(effective_time(None))}
    steps: list[Json] = []
    try:
        status = work(lambda step, found: steps.append({"step": step, "found": found}), document)
    except (Malformed, NotAuthentic, Unavailable) as error:
        document |= {"outcome": _OUTCOMES[type(error)], "reason": error.reason.value, "detail": str(error)}
        status = exit_status(error)
    document["steps"] = steps
    show(arguments, document, lambda: _lines(document, brief=brief))
    return status


def _lines(document: Mapping[str, Json], *, brief: bool) -> Iterator[str]:
    yield coloured(str(document["outcome"]))
    yield ""
    unsaid = _UNLISTED if document["reason"] else (*_UNLISTED, "reason", "detail")
    yield from pairs(spread({name: value for name, value in document.items() if name not in unsaid}))
    steps = document["steps"]
    if steps and not brief and isinstance(steps, list):
        yield ""
        yield from table(("step", "passed"), [(row["step"], row["found"]) for row in steps if isinstance(row, dict)])


def export_reading(reading: Reading, network: Network) -> Document:
    """Return where and from whom something was read."""
    agreed, block = reading.agreed, reading.agreed.account.block
    return {
        "registry": str(reading.address),
        "global_id": network.global_id,
        "block": {"seqno": block.seqno, "root_hash": block.root_hash.hex(), "at": posix(agreed.account.gen_utime)},
        "servers": [str(server) for server in agreed.servers],
        "alone": len(agreed.servers) == 1,
        "dissenting": [
            {"server": str(server), "reason": Reason.CHAIN_DISAGREES.value if error is None else error.reason.value}
            for server, error in agreed.others
        ],
    }


def export_checkpoint(checkpoint: Checkpoint) -> Document:
    """Return a checkpoint as it is shown."""
    return {
        "epoch": checkpoint.epoch,
        "tree_size": checkpoint.tree_size,
        "log_root": checkpoint.log_root.hex(),
        "map_root": None if checkpoint.map_root is None else checkpoint.map_root.hex(),
        "policy_digest": checkpoint.policy_digest.hex(),
        "issued_at": posix(checkpoint.issued_at),
        "valid_until": posix(checkpoint.valid_until),
    }


def posix(seconds: int) -> str:
    """Write a time in POSIX seconds."""
    return dump_time(datetime.fromtimestamp(seconds, UTC))
