"""One log for everybody: what a service shows of its log is held against the root that is on chain.

A service could show each client another log, each with its signature and consistent in itself (attacks.md, R07). On
chain there is one root per epoch; a log that is not the beginning of that one, nor begins with it, is another log.
"""

from collections.abc import Callable

from attestd.transparency.checkpoint import Checkpoint
from attestd.transparency.merkle import consistency_proof, verify_consistency
from attestd.transparency.note import TreeHead
from attestd.transparency.tiles import tile_hashes, tile_path, tile_width


def require_anchored(head: TreeHead, checkpoint: Checkpoint, fetch: Callable[[str], bytes]) -> None:
    """Require that the log of a note and the log of a checkpoint on chain are one: that one begins with the other.

    `fetch` returns a tile of the service by its path, such as tile/0/000.p/7. The tiles need not be believed: what they
    lead to is compared with both roots.
    Raises `NotAuthentic` (`log.consistency`), `Malformed` (`log.malformed`) for what is no tile, and what `fetch` does.
    """
    on_chain = checkpoint.tree_size, checkpoint.log_root
    (old, old_root), (new, new_root) = sorted([(head.size, head.root), on_chain])

    def read(level: int, index: int) -> bytes:
        return fetch(tile_path(level, index, tile_width(level, index, new)))

    verify_consistency(old, old_root, new, new_root, consistency_proof(old, new, tile_hashes(read)))
