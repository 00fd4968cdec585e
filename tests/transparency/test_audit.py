"""Whoever reads the whole log finds out each record that is another, and what the map says that the log does not."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from attestd.errors import Reason, Unavailable
from attestd.transparency import audit
from attestd.transparency.audit import read_log, require_map
from attestd.transparency.checkpoint import Checkpoint
from attestd.transparency.keymap import root_of
from attestd.transparency.record import Approve, Record, Renew, Revoke, dump_record
from attestd.transparency.tiles import TILE_WIDTH, dump_entries, load_entries
from tests.refusals import malformed, not_authentic, refused
from tests.transparency.files import LogFiles, fold
from tests.transparency.samples import AT, CHECKPOINT, RECORDED, RECORDS, RESULT, digest, entry


def approve(number: int) -> Approve:
    return Approve(at=AT, key=digest(100 + number), result=RESULT, entry=RECORDED)


# Of three keys one goes again; the others stay, and come in another bundle once more.
LOG: list[Record] = [approve(number % 300) for number in range(600)]
LOG[290:300] = RECORDS
LOG[510] = Revoke(at=AT, key=approve(7).key)
FILES = LogFiles(LOG)


def on_chain(size: int = len(LOG)) -> Checkpoint:
    """Return what a registry publishes of so many of these records."""
    return replace(CHECKPOINT, tree_size=size, log_root=FILES.head(size).root, map_root=root_of(fold(LOG[:size])))


def read(checkpoint: Checkpoint, files: Callable[[str], bytes] = FILES) -> None:
    """Read a log, and hold the map against it."""
    require_map(read_log(checkpoint, files, lambda _: None), checkpoint)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, 600])
def test_the_records_make_log_and_map(size: int) -> None:
    told: list[int] = []
    entries = read_log(on_chain(size), FILES, told.append)
    assert entries == fold(LOG[:size])
    assert told == [*range(TILE_WIDTH, size, TILE_WIDTH), *([size] if size else [])]
    require_map(entries, on_chain(size))


def test_a_map_with_one_more_key() -> None:
    more = root_of(fold(LOG) | {digest(9): entry()})
    with not_authentic(Reason.LOG_MAP):
        read(replace(on_chain(), map_root=more))


def test_a_map_with_one_key_less() -> None:
    with not_authentic(Reason.LOG_MAP):
        read(replace(on_chain(), map_root=root_of(fold([*LOG, Revoke(at=AT, key=approve(8).key)]))))


def test_a_map_that_says_more_of_a_key() -> None:
    longer = replace(RECORDED, not_after=RECORDED.not_after + 1)
    with not_authentic(Reason.LOG_MAP):
        read(replace(on_chain(), map_root=root_of(fold([*LOG, replace(approve(8), entry=longer)]))))


@pytest.mark.parametrize(("size", "root"), [(600, None), (0, root_of({digest(9): entry()}))])
def test_a_map_that_is_empty_or_is_not(size: int, root: bytes | None) -> None:
    with not_authentic(Reason.LOG_MAP):
        read(replace(on_chain(size), map_root=root))


@pytest.mark.parametrize("place", [0, 255, 256, 599])
def test_a_record_that_is_not_what_its_tile_says(place: int) -> None:
    """The tiles lead to the root on chain, and the record would not be missed in the map."""
    forged = [*LOG]
    forged[place] = replace(approve(place % 300), result=digest(9))
    with not_authentic(Reason.LOG_INCLUSION):
        read(on_chain(), LogFiles(forged, [dump_record(one) for one in LOG]))


def test_another_log() -> None:
    """Each record is what its tile says, and they make the map; but they lead elsewhere."""
    said = approve(299)
    assert said == LOG[-1]
    renewed = Renew(at=AT, key=said.key, result=said.result, entry=said.entry)
    with not_authentic(Reason.LOG_CONSISTENCY):
        read(on_chain(), LogFiles([*LOG[:-1], renewed]))


def test_what_is_no_record() -> None:
    """A log may hold it, and its root be on chain: nobody can say what it does to the map."""
    files = LogFiles(LOG)
    files.raw[5] = b"{}"
    tiles = LogFiles(LOG, files.raw)
    with malformed(Reason.LOG_RECORD):
        read(
            replace(on_chain(), log_root=tiles.head().root), lambda path: (files if "entries" in path else tiles)(path)
        )


@pytest.mark.parametrize("kind", ["tile/0/", "tile/entries/"])
@pytest.mark.parametrize("change", [lambda raw: raw[:-1], lambda raw: raw + b"\0", lambda _: b""])
def test_a_file_that_is_cut_or_longer(kind: str, change: Callable[[bytes], bytes]) -> None:
    with malformed(Reason.LOG_MALFORMED):
        read(on_chain(), lambda path: change(FILES(path)) if path.startswith(kind) else FILES(path))


def test_a_bundle_with_one_record_less() -> None:
    def fewer(path: str) -> bytes:
        raw = FILES(path)
        return dump_entries(load_entries(raw, 88)[:-1]) if path == "tile/entries/002.p/88" else raw

    with malformed(Reason.LOG_MALFORMED):
        read(on_chain(), fewer)


def test_more_keys_than_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_KEYS", len(fold(LOG)))
    read(on_chain())
    monkeypatch.setattr(audit, "MAX_KEYS", len(fold(LOG)) - 1)
    with refused(Unavailable, Reason.LOG_SIZE):
        read(on_chain())
