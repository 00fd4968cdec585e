"""How the commands speak: one JSON object into a pipe, tables on a terminal, complaints on standard error."""

import json
import os
import shutil
import sys
import textwrap
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Final

from attestd.codec import Json
from attestd.errors import AttestdError, Malformed, NotAuthentic, Unavailable

VERIFIED: Final = 0
MISUSE: Final = 1
MALFORMED: Final = 2
NOT_AUTHENTIC: Final = 3
UNAVAILABLE: Final = 4
NOT_AFFIRMING: Final = 5
# As shells count a program that SIGINT ended.
INTERRUPTED: Final = 130

_GAP: Final = 2
# Members that are amounts in nanoton.
_AMOUNTS: Final = ("amount", "balance", "fees")
_TON: Final = 10**9
_NARROWEST: Final = 16

_GREEN, _YELLOW, _RED = "32", "33", "31"
_COLOURS: Final = {
    "verified": _GREEN,
    "affirming": _GREEN,
    "member": _GREEN,
    "done": _GREEN,
    "UpToDate": _GREEN,
    "ok": _GREEN,
    "same": _GREEN,
    "warning": _YELLOW,
    "unverified": _YELLOW,
    "lapsed": _YELLOW,
    "unavailable": _RED,
    "absent": _RED,
    "rejected": _RED,
    "malformed": _RED,
    "contraindicated": _RED,
    "differs": _RED,
    "refused": _RED,
}


def exit_status(error: AttestdError) -> int:
    """Return the exit status that says what kind of refusal it is."""
    match error:
        case Malformed():
            return MALFORMED
        case NotAuthentic():
            return NOT_AUTHENTIC
        case Unavailable():
            return UNAVAILABLE
        case _:
            return MISUSE


def complain(message: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(f"attestd: {message}\n")


def show(arguments: Namespace, document: Mapping[str, Json], lines: Callable[[], Iterable[str]]) -> None:
    """Write the document as JSON if that was asked for or if nobody is looking; else the lines."""
    if arguments.json or not sys.stdout.isatty():
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.write("".join(line + "\n" for line in lines()))
    sys.stdout.flush()


def say(*lines: str) -> None:
    """Write lines for people, at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def coloured(word: str) -> str:
    """Return a word of the vocabulary of outcomes in its colour, on a terminal that wants colours (no-color.org)."""
    if word not in _COLOURS or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return word
    return f"\x1b[{_COLOURS[word]}m{word}\x1b[0m"


def spread(rows: Mapping[str, Json]) -> dict[str, Json]:
    """Give each value a row: what stands in objects under names such as `checkpoint.epoch`, and amounts in TON."""
    found: dict[str, Json] = {}
    for name, value in rows.items():
        if isinstance(value, dict) and value:
            found |= spread({f"{name}.{inner}": one for inner, one in value.items()})
        else:
            found[name] = f"{value / _TON:.9g} TON" if name in _AMOUNTS and isinstance(value, int) else value
    return found


def pairs(rows: Mapping[str, Json]) -> list[str]:
    """Lay out names and values; a value that is too long for the terminal goes on below itself."""
    return _layout([[name, shown(value)] for name, value in rows.items()], kept=1) if rows else []


def table(head: Sequence[str], rows: Iterable[Sequence[Json]]) -> list[str]:
    """Lay out rows under a head; where the terminal is too narrow, long cells go on below themselves."""
    return _layout([list(head), *([shown(cell) for cell in row] for row in rows)], kept=0) if head else []


def _layout(rows: Sequence[Sequence[str]], *, kept: int) -> list[str]:
    """Fit the columns to the terminal, the widest first; the first `kept` ones stay as wide as they are."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    space = shutil.get_terminal_size().columns - _GAP * (len(widths) - 1)
    while sum(widths) > space and max(widths[kept:]) > _NARROWEST:
        widths[widths.index(max(widths[kept:]), kept)] -= 1
    return [line for row in rows for line in _row(row, widths)]


def _row(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    wrapped = [
        textwrap.wrap(cell, width, break_on_hyphens=False) or [""] for cell, width in zip(cells, widths, strict=True)
    ]
    for line in zip_longest(*wrapped, fillvalue=""):
        # Colours come after the widths, which they would upset.
        padded = [coloured(part) + " " * (width - len(part)) for part, width in zip(line, widths, strict=True)]
        yield (" " * _GAP).join(padded).rstrip()


def _shown_within(value: Json) -> str:
    """Write what stands in a list: of a list in it the first says what the others are."""
    match value:
        case [str(name), *rest]:
            return f"{shown(name)}: {shown(rest)}"
        case _:
            return shown(value)


def shown(value: Json) -> str:
    """Write a value for people."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            between = "; " if any(isinstance(inner, list) for inner in value) else ", "
            return between.join(map(_shown_within, value)) or "none"
        case dict():
            return ", ".join(f"{name} {shown(inner)}" for name, inner in value.items()) or "none"
        case _:
            # What a file says must not move the cursor, nor look like the next line.
            return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in str(value))
