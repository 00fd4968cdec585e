"""R07: two clients that are shown two logs find out, because there is one root on chain."""

from collections.abc import Callable
from hashlib import sha256

import pytest

from attestd.errors import Malformed, NotAuthentic, Reason
from attestd.transparency.anchor import require_anchored, require_growth
from attestd.transparency.checkpoint import Checkpoint
from attestd.transparency.merkle import leaf_hash
from attestd.transparency.note import TreeHead
from tests.transparency.logs import leaf, tree_hash


def head(leaves: list[bytes]) -> TreeHead:
    return TreeHead("a log", len(leaves), tree_hash(leaves))


def on_chain(leaves: list[bytes]) -> Checkpoint:
    return Checkpoint(
        epoch=1,
        tree_size=len(leaves),
        log_root=tree_hash(leaves),
        map_root=None,
        policy_digest=bytes(32),
        issued_at=1,
        valid_until=2,
    )


class Served:
    """The tiles of one log, as a service has them: level 0, and level 1 for what is full."""

    def __init__(self, leaves: list[bytes]) -> None:
        hashes = [leaf_hash(one) for one in leaves]
        full = [tree_hash(leaves[at : at + 256]) for at in range(0, len(leaves) - 255, 256)]
        self.rows = {0: hashes, 1: full}
        self.asked: list[str] = []

    def __call__(self, path: str) -> bytes:
        self.asked.append(path)
        _, level, name = path.split("/", 2)
        name, _, width = name.partition(".p/")
        start = 256 * int(name)
        return b"".join(self.rows[int(level)][start : start + int(width or 256)])


LOG = [leaf(index) for index in range(700)]
OTHER = [*LOG[:300], b"another", *LOG[301:]]


@pytest.mark.parametrize(
    ("shown", "anchored"), [(700, 700), (700, 1), (700, 256), (300, 700), (699, 700), (512, 300), (0, 5), (5, 0)]
)
def test_one_log_at_two_sizes(shown: int, anchored: int) -> None:
    require_anchored(head(LOG[:shown]), on_chain(LOG[:anchored]), Served(LOG))


def test_tiles_are_asked_for_as_wide_as_the_larger_size_has_them() -> None:
    served = Served(LOG)
    require_anchored(head(LOG[:600]), on_chain(LOG), served)
    assert set(served.asked) <= {"tile/0/000", "tile/0/001", "tile/0/002.p/188", "tile/1/000.p/2"}


@pytest.mark.parametrize(("shown", "anchored"), [(700, 700), (700, 400), (400, 700), (301, 700)])
@pytest.mark.parametrize("tiles", [LOG, OTHER], ids=["tiles of one", "tiles of the other"])
def test_another_log_is_found_out(shown: int, anchored: int, tiles: list[bytes]) -> None:
    """Whichever tiles the service sends along."""
    with pytest.raises(NotAuthentic) as caught:
        require_anchored(head(OTHER[:shown]), on_chain(LOG[:anchored]), Served(tiles))
    assert caught.value.reason is Reason.LOG_CONSISTENCY


def test_the_other_log_is_one_until_it_differs() -> None:
    require_anchored(head(OTHER[:300]), on_chain(LOG[:300]), Served(LOG))


def test_a_root_of_no_log_is_found_out() -> None:
    with pytest.raises(NotAuthentic) as caught:
        require_anchored(TreeHead("a log", 600, sha256(b"").digest()), on_chain(LOG), Served(LOG))
    assert caught.value.reason is Reason.LOG_CONSISTENCY


@pytest.mark.parametrize("change", [lambda _: b"", lambda raw: raw[:-32], lambda raw: raw + bytes(32)])
def test_what_is_no_tile_is_refused(change: Callable[[bytes], bytes]) -> None:
    served = Served(LOG)
    with pytest.raises(Malformed) as caught:
        require_anchored(head(LOG[:600]), on_chain(LOG), lambda path: change(served(path)))
    assert caught.value.reason is Reason.LOG_MALFORMED


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 700), (1, 700), (255, 257), (512, 700), (700, 700)])
def test_a_log_that_goes_on(old: int, new: int) -> None:
    served = Served(LOG)
    require_growth(head(LOG[:old]), head(LOG[:new]), served)
    assert len(served.asked) == len(set(served.asked))


@pytest.mark.parametrize(
    ("old", "new"),
    [(LOG, LOG[:699]), (LOG[:1], LOG[:0]), (OTHER, LOG), (OTHER[:400], LOG), (LOG[:400], OTHER), (LOG[:256], LOG[1:])],
    ids=["taken back", "all taken back", "changed", "changed before", "changed after", "without its beginning"],
)
@pytest.mark.parametrize("tiles", [LOG, OTHER], ids=["tiles of one", "tiles of the other"])
def test_a_log_that_was_rewritten(old: list[bytes], new: list[bytes], tiles: list[bytes]) -> None:
    with pytest.raises(NotAuthentic) as caught:
        require_growth(head(old), head(new), Served(tiles))
    assert caught.value.reason is Reason.LOG_CONSISTENCY
