"""`make bench ARGS=scale`: log and map with more and more keys in one SQLite file, and durable appends beside a peer.

What is measured with so many keys: an epoch of 1,000 changes, sequenced and committed; the proof that a key is in the
map, or is not; the proof that a record is in the log; the most memory that the process ever had. Keys are as random as
digests are.
"""

import random
import resource
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import median
from subprocess import run
from time import perf_counter, process_time
from typing import Final, NamedTuple, TypeVar

from attestd.registry import Registry, keymap, log, sequencing
from attestd.registry.database import Connection, Transaction
from attestd.registry.registry import _database
from attestd.transparency import record
from attestd.transparency.record import Record, RecordedEntry
from attestd.tvm.boc import dump_boc
from tests import peers

T = TypeVar("T")

SIZES: Final = (10_000, 100_000, 1_000_000)
_CHANGES: Final = 1000
_EPOCHS: Final = 5
_PROOFS: Final = 1000
# With the most keys; milliseconds, and MiB.
_EPOCH_GOAL: Final = 2000
_PROOF_GOAL: Final = 5
_MEMORY_GOAL: Final = 1024
_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_PEER: Final = """
import sys, time
from pymerkle import SqliteTree
tree = SqliteTree(sys.argv[1], algorithm="sha256")
entries = [bytes.fromhex(line) for line in sys.stdin.read().split()]
started = time.perf_counter()
for entry in entries:
    tree.append_entry(entry)
print((time.perf_counter() - started) / len(entries))
"""


class Line(NamedTuple):
    """What was measured with so many keys; times in milliseconds."""

    keys: int
    epoch: float
    epoch_cpu: float
    prove_p50: float
    prove_p99: float
    inclusion_p50: float
    inclusion_p99: float
    memory: float  # MiB
    database: float  # MiB


_HEAD: Final = (
    "keys",
    "epoch of 1,000 ms",
    "of it CPU ms",
    "map proof p50",
    "p99",
    "log proof p50",
    "p99",
    "peak MiB",
    "database MiB",
)


def lines(folder: Path, sizes: tuple[int, ...] = SIZES) -> Iterator[Line]:
    """Let one database grow and measure it at each of the sizes."""
    url = f"sqlite:///{folder / 'scale.db'}"
    Registry.open(url, registry_id="bench", at=_AT).close()
    writer, reader = (_database(url, 10.0).connect(writing=writing) for writing in (True, False))
    chance = random.Random(1)
    there = 0
    for size in sizes:
        for first in range(there, size, sequencing.MOST):
            _sequence(writer, [_put(number) for number in range(first, min(first + sequencing.MOST, size))])
        there = size
        yield _line(folder, writer, reader, chance, size)
    writer.close()
    reader.close()


def _line(folder: Path, writer: Connection, reader: Connection, chance: random.Random, size: int) -> Line:
    epochs = [_epoch(writer, _changes(chance, size, number)) for number in range(_EPOCHS)]
    now = sequencing.state(reader)
    known = [_key(chance.randrange(2 * size)) for _ in range(_PROOFS)]  # half of them are in no map
    places = [chance.randrange(now.size) for _ in range(_PROOFS)]
    elapsed, cpu = (1000 * median(column) for column in zip(*epochs, strict=True))
    return Line(
        size,
        elapsed,
        cpu,
        *_times(lambda key_id: _prove(reader, now.map_root, key_id), known),
        *_times(lambda index: log.inclusion_proof(reader, index, now.size), places),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        sum(path.stat().st_size for path in folder.glob("scale.db*")) / 2**20,
    )


def _changes(chance: random.Random, size: int, epoch: int) -> list[Record]:
    """Return some new keys, some that are renewed and some that fall."""
    fresh = (_put(10**9 + size * 10 + epoch * _CHANGES + number) for number in range(_CHANGES // 2))
    renewed = (_put(chance.randrange(size), epoch + 1) for _ in range(_CHANGES // 4))
    fallen = (record.Revoke(at=_AT, key=_key(chance.randrange(size))) for _ in range(_CHANGES // 4))
    return [*fresh, *renewed, *fallen]


def _key(number: int) -> bytes:
    return sha256(b"key %d" % number).digest()


def _put(number: int, version: int = 0) -> Record:
    image, model = (sha256(b"%b %d" % (what, number % 10)).digest() for what in (b"image", b"model"))
    entry = RecordedEntry(tee="tdx", image=image, models=(model,), not_before=1_800_000_000, not_after=1_900_000_000)
    result = sha256(b"result %d %d" % (number, version)).digest()
    return record.Approve(at=_AT, key=_key(number), result=result, entry=entry)


def _sequence(writer: Connection, said: list[Record]) -> None:
    writer.begin()
    _append(writer, said)
    sequencing.advance(writer, 1)
    # As a service does, where the maps of older epochs are not asked for any more.
    while keymap.prune(writer, 1):
        pass
    writer.commit()


def _append(transaction: Transaction, said: list[Record]) -> None:
    for one in said:
        log.append(transaction, one)


def _epoch(writer: Connection, said: list[Record]) -> tuple[float, float]:
    """Record changes, then sequence them: return the seconds of the latter, by the clock and of the processor."""
    writer.begin()
    _append(writer, said)
    writer.commit()
    started, cpu = perf_counter(), process_time()
    writer.begin()
    sequencing.advance(writer, 2)
    writer.commit()
    return perf_counter() - started, process_time() - cpu


def _prove(reader: Connection, root: bytes, key_id: bytes) -> bytes:
    proof = keymap.prove(reader, root, key_id)
    assert proof is not None
    return dump_boc(proof)


def _times(work: Callable[[T], object], on: Sequence[T]) -> tuple[float, float]:
    """Return the milliseconds within which half of the calls, and 99 of 100, were done."""
    times = []
    for one in on:
        started = perf_counter()
        work(one)
        times.append(1000 * (perf_counter() - started))
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def appends(folder: Path, records: int) -> Iterator[str]:
    """Append to a log on the disk, each record durable before it is acknowledged."""
    said = [_put(number) for number in range(records)]
    registry = Registry.open(f"sqlite:///{folder / 'appends.db'}", registry_id="bench", at=_AT)
    started = perf_counter()
    for one in said:
        registry.write(log.append, one).result()
    alone = (perf_counter() - started) / records
    started = perf_counter()
    for future in [registry.write(log.append, one) for one in said]:
        future.result()
    together = (perf_counter() - started) / records
    registry.close()
    yield f"attestd, one after the other: {1000 * alone:.3f} ms; from many callers: {1000 * together:.3f} ms"
    peer = _pymerkle(folder, said)
    if isinstance(peer, str):
        yield f"pymerkle's SqliteTree: not measured: {peer}"
    else:
        times = f"{peer / alone:.1f} and {peer / together:.1f} times that"
        yield f"pymerkle's SqliteTree: {1000 * peer:.3f} ms, which is {times}"


def _pymerkle(folder: Path, said: list[Record]) -> float | str:
    interpreter = peers.python(peers.PEERS)
    if interpreter is None:
        return peers.ABSENT
    task = "\n".join(record.dump_record(one).hex() for one in said)
    command = [str(interpreter), "-c", _PEER, str(folder / "pymerkle.db")]
    return float(run(command, input=task, text=True, capture_output=True, check=True).stdout)


def show(folder: Path, sizes: tuple[int, ...] = SIZES, records: int = 512) -> None:
    """Print a line for each size as soon as it is measured, then the appends."""
    layout = "".join(f"{{:>{len(name) + 2}}}" for name in _HEAD)
    say = partial(print, flush=True)
    say(layout.format(*_HEAD))
    for line in lines(folder, sizes):
        say(layout.format(f"{line.keys:,}", *(f"{value:.2f}" for value in line[1:])))
    proof = f"≤ {_PROOF_GOAL}"
    say(layout.format("goal", f"≤ {_EPOCH_GOAL}", "", "", proof, "", proof, f"< {_MEMORY_GOAL}", ""))
    say()
    for text in appends(folder, records):
        say(f"{records} durable appends, each: {text}")
