"""The table on a terminal, and the same as JSON."""

import json
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from tests.bench.measure import Outcome

_WIDTH = 120
_COLUMNS = ("median", "min", "max", "goal", "met", "what is divided by what")
_LAYOUT = "{:>9}  {:>9}  {:>9}  {:>7}  {:<4}  {}"
_INDENT = len(_LAYOUT.format(*[""] * 6))


def table(outcomes: Sequence[Outcome], conditions: Mapping[str, Any]) -> str:
    """Lay out every row; values are of the rounds, so that min and max show how far to trust the median."""
    lines = ["attestd bench", *(f"  {name}: {value}" for name, value in conditions.items()), ""]
    lines += [_LAYOUT.format(*_COLUMNS), "-" * _WIDTH]
    for outcome in outcomes:
        lines += [*_row(outcome), ""]
    return "\n".join(lines[:-1])


def _row(outcome: Outcome) -> list[str]:
    row = outcome.row
    goal = "" if row.goal is None else f"{row.goal.sign} {row.goal.bound:g}"
    if outcome.not_measured is None:
        numbers = [_number(value, row.unit) for value in (outcome.median, min(outcome.values), max(outcome.values))]
        met = {True: "yes", False: "NO", None: "-"}[outcome.met]
    else:
        numbers, met = ["-"] * 3, "-"
    text = [*_wrapped(row.over), *(_wrapped(row.under, "÷ ") if row.under else [])]
    if outcome.not_measured is not None:
        text += _wrapped(outcome.not_measured, "not measured: ")
    first = _LAYOUT.format(*numbers, goal, met, text[0])
    return [first, *(" " * _INDENT + line for line in text[1:])]


def _wrapped(text: str, mark: str = "") -> list[str]:
    return wrap(text, _WIDTH - _INDENT, initial_indent=mark, subsequent_indent=" " * len(mark))


def _number(value: float, unit: str | None) -> str:
    if unit is None:
        return f"{value:.2f}"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.2f} {unit}"


def document(outcomes: Sequence[Outcome], conditions: Mapping[str, Any]) -> str:
    """Write the same for programs, with the value of every round."""
    return json.dumps({"conditions": dict(conditions), "rows": [_object(outcome) for outcome in outcomes]}, indent=1)


def _object(outcome: Outcome) -> dict[str, Any]:
    row, goal = outcome.row, outcome.row.goal
    measured = outcome.not_measured is None
    return {
        "name": row.name,
        "over": row.over,
        "under": row.under,
        "unit": row.unit or "ratio",
        "median": outcome.median if measured else None,
        "min": min(outcome.values) if measured else None,
        "max": max(outcome.values) if measured else None,
        "goal": None if goal is None else f"{goal.sign} {goal.bound:g}",
        "met": outcome.met,
        "not_measured": outcome.not_measured,
        "rounds": list(outcome.values),
    }
