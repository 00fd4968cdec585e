"""The tree of RFC 6962 as its section 2.1 defines it, slowly, and pymerkle beside it."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests import peers


def leaf(index: int) -> bytes:
    return b"record %d" % index


def split(leaves: Sequence[bytes]) -> int:
    """Return the largest power of two below the number of leaves."""
    middle = 1
    while 2 * middle < len(leaves):
        middle *= 2
    return middle


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """Return MTH(D[n])."""
    if len(leaves) < 2:
        return sha256(b"".join(b"\0" + one for one in leaves)).digest()
    middle = split(leaves)
    return sha256(b"\1" + tree_hash(leaves[:middle]) + tree_hash(leaves[middle:])).digest()


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return PATH(m, D[n])."""
    if len(leaves) == 1:
        return []
    middle = split(leaves)
    if index < middle:
        return [*path(index, leaves[:middle]), tree_hash(leaves[middle:])]
    return [*path(index - middle, leaves[middle:]), tree_hash(leaves[:middle])]


def subproof(size: int, leaves: Sequence[bytes], known: bool) -> list[bytes]:
    """Return SUBPROOF(m, D[n], b)."""
    if size == len(leaves):
        return [] if known else [tree_hash(leaves)]
    middle = split(leaves)
    if size <= middle:
        return [*subproof(size, leaves[:middle], known), tree_hash(leaves[middle:])]
    return [*subproof(size - middle, leaves[middle:], known=False), tree_hash(leaves[:middle])]


def pymerkle(count: int) -> Any:
    """Return what pymerkle 7.0.0 says of a log of `count` leaves, or skip."""
    leaves = json.dumps([leaf(index).hex() for index in range(count)])
    return json.loads(peers.said(peers.PEERS, Path(__file__).with_name("peer_log.py"), leaves))
