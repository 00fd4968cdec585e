"""One log for everybody: what a service shows of its log is held against what it showed before, and against the chain.

A service could show each client another log, each with its signature and consistent in itself (attacks.md, R07). On
chain there is one root per epoch; a log that is not the beginning of that one, nor begins with it, is another log.
"""

from collections.abc import Callable
from functools import cache

from attestd.transparency.checkpoint import Checkpoint
from attestd.transparency.merkle import consistency_proof, verify_consistency
from attestd.transparency.note import TreeHead
from attestd.transparency.tiles import load_tile, tile_hashes, tile_path, tile_width


def require_growth(old: TreeHead, new: TreeHead, fetch: Callable[[str], bytes]) -> None:
    """Require that the log of `new` goes on from that of `old`: that nothing of it was changed, or taken back.

    `fetch` returns a tile of the service by its path, such as tile/0/000.p/7. The tiles need not be believed: what they
    lead to is compared with both roots.
    Raises `NotAuthentic` (`log.consistency`), `Malformed` (`log.malformed`) for what is no tile, and what `fetch` does.
    """

    @cache
    def read(level: int, index: int) -> bytes:
        width = tile_width(level, index, new.size)
        return b"".join(load_tile(fetch(tile_path(level, index, width)), width))

    proof = consistency_proof(old.size, new.size, tile_hashes(read)) if old.size < new.size else []
    verify_consistency(old.size, old.root, new.size, new.root, proof)


def require_anchored(head: TreeHead, checkpoint: Checkpoint, fetch: Callable[[str], bytes]) -> None:
    """Require that the log of a note and the log of a checkpoint on chain are one: that one begins with the other.

    Raises as `require_growth` does.
    """
    on_chain = TreeHead(head.origin, checkpoint.tree_size, checkpoint.log_root)
    old, new = sorted((head, on_chain), key=lambda one: one.size)
    require_growth(old, new, fetch)
