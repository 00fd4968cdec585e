"""Samples, rounds, and what is made of them.

Everything is measured interleaved: one sample of each subject, then the next round. A ratio is taken within a round,
so that what slows the machine down for a second slows both sides; the median over the rounds is what counts.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import nan
from statistics import median
from time import perf_counter_ns, thread_time_ns
from typing import NamedTuple, TypeAlias

_NANO = 1e-9


class Sample(NamedTuple):
    """One sample of a subject; all in seconds per operation."""

    cpu: float  # of whoever does the work: this thread, or a server with all of its threads and children
    elapsed: float  # waiting included; one over the rate
    p50: float = nan  # from request to answer, of those in the sample
    p99: float = nan


@dataclass(frozen=True, slots=True)
class Absent:
    """A subject that cannot be measured here, and why."""

    why: str


Subject: TypeAlias = Callable[[], Sample]
Subjects: TypeAlias = dict[str, Subject | Absent]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    rounds: int
    seconds: float  # that one sample of something short takes, about
    requests: int  # in one sample of a server
    records: int  # in one sample of a database


@dataclass(frozen=True, slots=True)
class Goal:
    """What the median has to reach."""

    sign: str  # ≤ or ≥
    bound: float

    def met(self, value: float) -> bool:
        return value <= self.bound if self.sign == "≤" else value >= self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: `value` takes a sample of each of `needs`, in their order, from one and the same round."""

    name: str
    over: str
    under: str | None = None  # None: a plain quantity
    needs: tuple[str, ...]
    value: Callable[..., float]
    goal: Goal | None = None
    unit: str | None = None  # None: a ratio


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a row: values of every round, or why there are none."""

    row: Row
    values: tuple[float, ...]
    not_measured: str | None

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def met(self) -> bool | None:
        if self.row.goal is None or self.not_measured:
            return None
        return self.row.goal.met(self.median)


def timed(operation: Callable[[], object], scale: Scale) -> Subject:
    """Measure something short in this thread, so many times in a row that a sample takes `scale.seconds`.

    The garbage collector stays on: it runs in the service as well, and what it costs is caused by what is measured.
    """
    operation()  # what is kept after the first time is kept
    count = 1
    while (once := _time(operation, count).elapsed * count) < scale.seconds / 10:
        count *= 2
    count = max(1, round(count * scale.seconds / once))
    return lambda: _time(operation, count)


def _time(operation: Callable[[], object], count: int) -> Sample:
    started, cpu = perf_counter_ns(), thread_time_ns()
    for _ in range(count):
        operation()
    cpu, elapsed = thread_time_ns() - cpu, perf_counter_ns() - started
    return Sample(cpu * _NANO / count, elapsed * _NANO / count)


def rounds(subjects: Subjects, count: int) -> Iterator[Mapping[str, Sample]]:
    """Yield one sample of every subject that can be measured, `count` times."""
    for _ in range(count):
        yield {name: subject() for name, subject in subjects.items() if not isinstance(subject, Absent)}


def evaluate(row: Row, subjects: Subjects, measured: list[Mapping[str, Sample]]) -> Outcome:
    """Divide within each round."""
    absent = [subject.why for name in row.needs if isinstance(subject := subjects[name], Absent)]
    if absent:
        return Outcome(row, (), absent[0])
    return Outcome(row, tuple(row.value(*(samples[name] for name in row.needs)) for samples in measured), None)
