"""A disk that has a part of what was written, and no more (attacks.md, section 4: F02, F04)."""

import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attestd.errors import Reason, Unavailable
from attestd.registry import Registry, fsck, keys, log, results
from attestd.registry.values import Key
from tests.registry.conftest import Opener
from tests.registry.samples import NOW, new_result, prepare, register

# In the write-ahead log, behind its end; a commit is some tens of thousands of bytes.
PLACES = range(0, 120_000, 1999)


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Let the kernel cut writes short there, and refuse what is behind it (setrlimit(2), RLIMIT_FSIZE; EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def attempt(registry: Registry, number: int, size: int) -> Key | Unavailable:
    with no_file_longer_than(size):
        try:
            return register(registry, number)
        except Unavailable as error:
            return error


def test_a_write_that_is_cut_short(sqlite_url: str, opener: Opener) -> None:
    """F04. Wherever it is: nothing of it is acknowledged, nothing is there of it, reads and the next write go on."""
    registry = opener(sqlite_url)
    prepare(registry)
    kept = [register(registry, number) for number in range(100)]
    files = [Path(sqlite_url.removeprefix("sqlite:///") + tail) for tail in ("", "-wal", "-shm")]
    refused = 0
    for number, place in enumerate(PLACES, 1000):
        outcome = attempt(registry, number, max(file.stat().st_size for file in files) + place)
        if isinstance(outcome, Unavailable):
            assert outcome.reason is Reason.DATABASE_UNAVAILABLE
            assert registry.read(results.find, new_result(number).id) is None
            refused += 1
        else:
            kept.append(outcome)
        assert registry.read(keys.find, kept[-1].id, NOW) == kept[-1]
        kept.append(register(registry, 2 * number))
    assert len(PLACES) > refused > 5
    for one in kept:
        assert registry.read(keys.find, one.id, NOW) == one
    assert registry.read(lambda transaction: list(fsck.examine(transaction))) == []
    registry.close()
    again = opener(sqlite_url)
    assert [again.read(keys.find, one.id, NOW) for one in kept] == kept


def test_a_log_that_ends_where_the_power_failed(sqlite_url: str, opener: Opener, tmp_path: Path) -> None:
    """F02. Wherever the write-ahead log ends: what was acknowledged before is there, and no part of anything else.

    That what is acknowledged has been flushed, too, is `PRAGMA synchronous` (test_registry.py).
    """
    registry = opener(sqlite_url)
    prepare(registry)
    registry.close()  # the write-ahead log begins anew
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    whole = file.read_bytes()
    registry = opener(sqlite_url)
    kept = [(register(registry, number), file.with_name(file.name + "-wal").stat().st_size) for number in range(20)]
    written = file.with_name(file.name + "-wal").read_bytes()
    assert file.read_bytes() == whole
    chance = random.Random(2)
    for number in range(60):
        copy = tmp_path / f"{number}.db"
        copy.write_bytes(whole)
        copy.chmod(0o600)
        end = chance.randrange(len(written) + 1)
        copy.with_name(copy.name + "-wal").write_bytes(written[:end])
        survivor = opener(f"sqlite:///{copy}")
        durable = [key for key, size in kept if size <= end]
        assert [survivor.read(keys.find, key.id, NOW) for key in durable] == durable
        assert survivor.read(log.size) in (len(durable), len(durable) + 1)  # a commit ends before its last padding
        assert survivor.read(lambda transaction: list(fsck.examine(transaction))) == []
        register(survivor, 1000)
        survivor.close()
