"""The sequencer with a long backlog, in a process that dies, and on a log that was altered: attacks.md R03 and F21."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from attestd.errors import Reason, Unavailable
from attestd.metrics import Metrics
from attestd.registrar import sequencer as sequencing_task
from attestd.registrar.sequencer import Sequencer
from attestd.registry import Registry, epochs, fsck, keymap, keys, log, sequencing
from attestd.registry.database import Statement, Transaction
from attestd.registry.epochs import Coordinates, Terms
from attestd.registry.integrity import Field
from attestd.registry.tables import MapRetiredRow
from attestd.transparency.record import Approve, Model, RecordedEntry
from tests.refusals import refused
from tests.registrar_chain.world import Killed, opened
from tests.registry.alter import alter
from tests.registry.samples import NOW, REGISTRY_ID, digest, known, new_key, register

PART = 5
TERMS = Terms(60, 3600, lambda size, root: b"%d" % size)
METRICS = Metrics("1", simulated=True)


class Hand:
    """What a sequencer needs of a registrar; `after` happens after each of its writes."""

    def __init__(self, registry: Registry, after: Callable[[str], object] = lambda name: None) -> None:
        self.registry = registry
        self.at = NOW
        self.after = after

    def now(self) -> datetime:
        return self.at

    async def search(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.registry.read(function, *args)

    async def write(self, function: Callable[..., Any], *args: Any) -> Any:
        written = self.registry.write(function, *args).result()
        self.after(function.__name__)
        return written


def sequencer(hand: Hand, terms: Terms = TERMS) -> Sequencer:
    return Sequencer(hand, METRICS, terms)  # type: ignore[arg-type]


def once(hand: Hand, terms: Terms = TERMS) -> Any:
    return asyncio.run(sequencer(hand, terms).once())


def model(number: int) -> Model:
    return Model(at=NOW, digest=digest("model", number), state="approved")


def decide(registry: Registry, count: int, *, first: int = 0) -> None:
    def all_of_them(transaction: Transaction) -> None:
        for number in range(first, first + count):
            log.append(transaction, model(number))

    registry.write(all_of_them).result()


def is_whole(registry: Registry) -> bool:
    return registry.read(lambda transaction: list(fsck.examine(transaction))) == []


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Return a registry that does little at once."""
    monkeypatch.setattr(epochs, "_PREPARED_AT_ONCE", PART)
    with opened(tmp_path) as made:
        yield made


def test_others_write_while_a_backlog_is_sequenced(registry: Registry, tmp_path: Path) -> None:
    decide(registry, 40)
    other = Registry.open(f"sqlite:///{tmp_path}/attestd.db", registry_id=REGISTRY_ID, at=NOW)
    sizes: list[int] = []

    def another(name: str) -> None:
        """Another process writes as fast as this one sequences."""
        if name == "prepare":
            decide(other, PART, first=1000 * (1 + len(sizes)))
            sizes.append(registry.read(sequencing.state).size)

    try:
        candidate = once(Hand(registry, another))
    finally:
        other.close()
    assert sizes == [*range(PART, 40, PART), 35]  # the last time, the rest is left for the epoch
    assert candidate.checkpoint.tree_size == registry.read(log.size) == 40 + PART * len(sizes)
    assert is_whole(registry)


@pytest.mark.parametrize("writes", range(1, 5))
def test_a_process_that_dies_between_the_parts_has_lost_nothing(registry: Registry, writes: int) -> None:
    decide(registry, 3)
    first = known(once(Hand(registry)))
    register(registry, 1)
    decide(registry, 20, first=10)
    left = iter(range(writes - 1))

    def dies(name: str) -> None:
        assert name == "prepare"
        if next(left, None) is None:
            raise Killed

    hand = Hand(registry, dies)
    hand.at = NOW + timedelta(seconds=60)
    with pytest.raises(Killed):
        once(hand)
    assert registry.read(sequencing.state).size == 3 + PART * writes
    assert registry.read(epochs.newest) == first  # what is served until the next one is there
    hand.after = lambda name: None
    candidate = known(once(hand))
    assert (candidate.number, candidate.checkpoint.tree_size) == (1, registry.read(log.size))
    assert is_whole(registry)


def test_the_next_number_is_prepared_while_the_last_one_is_served(registry: Registry) -> None:
    decide(registry, 1)
    first = known(once(Hand(registry)))
    registry.write(epochs.confirm, first, Coordinates(1, 1, 1, digest("transaction"))).result()
    decide(registry, 20, first=10)

    def looks(name: str) -> None:
        if name == "prepare":
            assert known(registry.read(epochs.newest)).checkpoint == first.checkpoint

    hand = Hand(registry, looks)
    hand.at = NOW + timedelta(seconds=60)
    assert known(once(hand)).number == 2
    assert known(registry.read(epochs.newest)).number == 2


def test_nothing_is_prepared_before_an_epoch_is_due(registry: Registry) -> None:
    known(once(Hand(registry)))
    decide(registry, 20)
    assert once(Hand(registry)) is None
    assert registry.read(sequencing.state).size == 0


def test_a_record_that_rests_on_nothing_stops_it_where_it_is(registry: Registry) -> None:
    entry = RecordedEntry(tee="tdx", image=bytes(32), models=(), not_before=0, not_after=1)
    decide(registry, 7)
    registry.write(log.append, Approve(at=NOW, key=bytes(32), result=bytes(32), entry=entry)).result()
    decide(registry, 20, first=10)
    for _ in range(2):
        with refused(Unavailable, Reason.REGISTRY_INTEGRITY):
            once(Hand(registry))
        assert registry.read(sequencing.state).size == PART
        assert registry.read(epochs.newest) is None


def test_keys_that_expire_together_do_so_in_parts(registry: Registry) -> None:
    for number in range(2 * PART + 1):
        register(registry, number, key=new_key(number, valid_until=NOW + timedelta(seconds=1)))
    parts: list[int] = []
    hand = Hand(registry, lambda name: parts.append(registry.read(keys.listed)))
    hand.at = NOW + timedelta(seconds=2)
    assert known(once(hand)).checkpoint.map_root is None
    assert parts[:4] == [PART + 1, 1, 0, 0]
    assert is_whole(registry)


_LEFT = Statement(select(func.count()).select_from(MapRetiredRow))
_RETIRE = Statement(insert(MapRetiredRow))


def test_all_that_no_map_has_is_forgotten(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3 * keymap.PRUNED_AT_ONCE + 1
    retired: list[dict[str, Field]] = [{"hash": digest("node", number), "epoch": 1} for number in range(count)]
    registry.write(lambda transaction: transaction.run_each(_RETIRE, retired)).result()
    monkeypatch.setattr(sequencing_task, "_PRUNINGS", 2)

    def left() -> int:
        return int(registry.read(lambda transaction: transaction.all(_LEFT))[0][0])

    decide(registry, 1)
    alone = Terms(60, 3600, TERMS.note, is_published=False)
    task = sequencer(Hand(registry), alone)
    assert asyncio.run(task.once()) is not None
    assert left() == keymap.PRUNED_AT_ONCE + 1
    assert asyncio.run(task.once()) is None  # nothing is due, and it goes on
    assert left() == 0


@pytest.mark.parametrize("place", [("log_tiles", "hashes"), ("sequenced", "map_root"), ("log", "record")])
def test_r03_nothing_is_built_on_a_log_that_was_altered(
    registry: Registry, tmp_path: Path, place: tuple[str, str]
) -> None:
    register(registry, 1)
    built = known(once(Hand(registry)))
    served = registry.read(log.records, 0, 1)
    hand = Hand(registry)
    hand.at = NOW + timedelta(seconds=60)
    task = sequencer(hand)  # another process
    with alter(f"sqlite:///{tmp_path}/attestd.db", *place):
        register(registry, 2)
        for _ in range(2):
            with refused(Unavailable, Reason.REGISTRY_INTEGRITY):
                asyncio.run(task.once())
        assert registry.read(epochs.of_number, 1) == (built,)
        assert registry.read(keys.find, digest("key", 1), NOW) is not None  # reads go on
    assert registry.read(log.records, 0, 1) == served
    assert known(asyncio.run(task.once())).checkpoint.tree_size == 2


def test_r03_nothing_is_built_on_another_log_than_is_on_chain(registry: Registry) -> None:
    decide(registry, 2)
    first = known(once(Hand(registry)))
    registry.write(epochs.confirm, first, Coordinates(1, 1, 1, digest("transaction"))).result()

    def rewrite(transaction: Transaction) -> None:
        sequencing.rewind(transaction, 1)
        log.cut(transaction, 1)
        for number in (1, 2):
            log.append(transaction, model(100 + number))
        sequencing.advance(transaction, 2)

    registry.write(rewrite).result()
    registry.read(sequencing.require_sound)  # sound in itself
    hand = Hand(registry)
    hand.at = NOW + timedelta(seconds=60)
    with refused(Unavailable, Reason.REGISTRY_INTEGRITY):
        once(hand)
    assert known(registry.read(epochs.newest)).number == 1
