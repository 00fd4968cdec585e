"""What goes wrong on purpose: a plan of faults, kept by each liteserver, and by the devnet for all of them.

Faults of the chain itself are methods of `Devnet`: `fork`, `drain`, `freeze`. Gas runs out, actions fail and accounts
freeze by the rules of the TVM alone, once an account has too little.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self


class Fault(StrEnum):
    """One way to fail. What `count` means is said where it means anything."""

    # Messages that are sent
    LOSE = "lose"  # taken, and forgotten
    DELAY = "delay"  # taken, and put into a round only after `count` others
    DUPLICATE = "duplicate"  # put into rounds `count` times more
    DROP_ANSWER = "drop_answer"  # taken, and the connection is cut in place of the answer

    # What is read
    STALE = "stale"  # the head is `count` rounds behind
    OTHER_NETWORK = "other_network"  # the head is of another global id
    FORGED_BLOCK = "forged_block"  # the head has changed accounts, with proofs that hold together
    FORGED_STATE = "forged_state"  # the account is changed, the proof is of the genuine one
    ABSENT = "absent"  # an account that is there is said not to be
    WRONG_ACCOUNT = "wrong_account"  # the answer is about another account
    TRUNCATED = "truncated"  # the proof ends too early
    CYCLIC = "cyclic"  # the proof is a BoC with a cell that refers to itself
    HUGE = "huge"  # the account is a BoC of few cells and, as a tree, of 4^1000
    LYING_METHOD = "lying_method"  # get-methods end well and return -1, whatever they are

    # Connections
    CUT = "cut"  # closed at a query
    SILENT = "silent"  # no query is answered


@dataclass(slots=True)
class _Planned:
    probability: float
    times: int | None
    count: int


@dataclass(slots=True)
class Plan:
    """Which faults happen, how often and to what extent. With the same seed and the same queries, the same ones do."""

    seed: int = 0
    struck: Counter[Fault] = field(default_factory=Counter)  # how often each of them has happened
    _planned: dict[Fault, _Planned] = field(default_factory=dict)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        """Seed the dice."""
        self._random = random.Random(self.seed)  # noqa: S311 - tests want the same again

    def set(self, fault: Fault, *, probability: float = 1.0, times: int | None = None, count: int = 1) -> Self:
        """Let a fault happen from now on: with a probability, and at most so many times."""
        self._planned[fault] = _Planned(probability, times, count)
        return self

    def clear(self, *faults: Fault) -> None:
        """Let these happen no more, or none at all."""
        for fault in faults or tuple(self._planned):
            self._planned.pop(fault, None)

    def strikes(self, fault: Fault) -> int:
        """Throw the dice: return the count of the fault if it happens now, and 0 if not."""
        planned = self._planned.get(fault)
        if planned is None or planned.times == 0 or self._random.random() >= planned.probability:
            return 0
        if planned.times is not None:
            planned.times -= 1
        self.struck[fault] += 1
        return planned.count
