"""`attestd log fsck`, `show` and `prove`: the log in the database of the settings, without a service."""

import os
from argparse import Namespace
from collections.abc import Mapping
from itertools import islice
from typing import Final

from attestd.cli.screen import NOT_AUTHENTIC, VERIFIED, pairs, show, table
from attestd.codec import Json, dump_base64
from attestd.errors import Reason, RequestRefused
from attestd.registry import Registry, fsck, log, sequencing
from attestd.registry.database import Transaction
from attestd.settings import Settings, now

# A database that is all wrong has as many faults as rows.
_MOST: Final = 1000


def run(arguments: Namespace) -> int:
    """Open the registry and do what was asked for."""
    at = now()
    settings = Settings.load(arguments.config, os.environ, at)
    registry = Registry.open(settings.database_url, registry_id=settings.registry_id, at=at)
    try:
        match arguments.action:
            case "fsck":
                return _fsck(registry, arguments, is_copy=settings.cosign is not None)
            case "prove":
                proof = registry.read(_prove, arguments.index)
                show(arguments, proof, lambda: pairs(proof))
            case _:
                shown = registry.read(_show)
                show(arguments, shown, lambda: pairs(shown))
        return VERIFIED
    finally:
        registry.close()


def _fsck(registry: Registry, arguments: Namespace, *, is_copy: bool) -> int:
    """Look for faults; what follows from the records is made again where that was asked for and is all that is wrong.

    The status is that of what is not authentic where anything is wrong in the end.
    """
    faults = registry.read(_faults, is_copy=is_copy)
    repaired: list[fsck.Fault] = []
    if arguments.repair and faults and all(fault.part in fsck.DERIVED for fault in faults):
        registry.write(fsck.rebuild).result()
        repaired, faults = faults, registry.read(_faults, is_copy=is_copy)
    document: dict[str, Json] = {
        "records": registry.read(log.size),
        "faults": [fault._asdict() for fault in faults[:_MOST]],
        "more": len(faults) > _MOST,
        "repaired": [fault._asdict() for fault in repaired[:_MOST]],
    }
    show(arguments, document, lambda: _lines(faults, repaired))
    return NOT_AUTHENTIC if faults else VERIFIED


def _faults(transaction: Transaction, *, is_copy: bool) -> list[fsck.Fault]:
    return list(islice(fsck.examine(transaction, is_copy=is_copy), _MOST + 1))


def _lines(faults: list[fsck.Fault], repaired: list[fsck.Fault]) -> list[str]:
    lines = [*table(["repaired", "where", "found"], repaired), ""] if repaired else []
    return [*lines, *(table(["fault in", "where", "found"], faults) if faults else ["Nothing is wrong."])]


def _show(transaction: Transaction) -> Mapping[str, Json]:
    said = sequencing.state(transaction)
    return {
        "records": log.size(transaction),
        "sequenced": said.size,
        "epoch": said.epoch,
        "log_root": said.log_root.hex(),
        "map_root": said.map_root.hex(),
    }


def _prove(transaction: Transaction, index: int) -> Mapping[str, Json]:
    """Return a record with its audit path in the tree of all that is sequenced."""
    said = sequencing.state(transaction)
    if index >= said.size:
        raise RequestRefused(
            Reason.REQUEST_PATH, found=f"index {index} of a log of {said.size}", wanted="one that is sequenced"
        )
    (leaf,) = log.leaves(transaction, index, 1)
    path = log.inclusion_proof(transaction, index, said.size)
    return {
        "index": index,
        "record": dump_base64(leaf.record),
        "leaf_hash": leaf.hash.hex(),
        "tree_size": said.size,
        "log_root": said.log_root.hex(),
        "proof": [hash_.hex() for hash_ in path],
    }
