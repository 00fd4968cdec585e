from collections.abc import Callable

import pytest

from attestd.cli.screen import coloured, exit_status, pairs, shown, table
from attestd.codec import Json
from attestd.errors import (
    AttestdError,
    ConfigurationRefused,
    EndorsementRejected,
    Malformed,
    NotAuthentic,
    Reason,
    RequestRefused,
    Unavailable,
)
from tests.cli.conftest import Files
from tests.evidence import ROOT

Terminal = Callable[..., tuple[int, str]]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ConfigurationRefused, 1),
        (RequestRefused, 1),
        (Malformed, 2),
        (NotAuthentic, 3),
        (EndorsementRejected, 3),
        (Unavailable, 4),
    ],
)
def test_exit_status(kind: type[AttestdError], status: int) -> None:
    assert exit_status(kind(Reason.SETTINGS, found="", wanted="")) == status


def test_colours_are_for_terminals_that_want_them(
    on_terminal: Terminal, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b[32mverified\x1b[0m" in on_terminal(*files.verify(), colours=True)[1]
    assert "\x1b" not in on_terminal(*files.verify())[1]
    monkeypatch.undo()
    assert coloured("verified") == "verified"


def test_table_lines_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[list[Json]] = [["x", None, "four " * 8], ["yyyy", True, []]]
    monkeypatch.setenv("COLUMNS", "41")
    assert table(("a", "long head", "last"), rows) == [
        "a     long head  last",
        "x     -          four four four four four",
        "                 four four four",
        "yyyy  yes        none",
    ]


def test_wide_columns_share_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "42")
    assert table(("name", "got", "want"), [["x", "a" * 40, "b" * 20]]) == [
        f"name  {'got':<17}  want",
        f"x     {'a' * 17}  {'b' * 17}",
        f"      {'a' * 17}  {'b' * 3}",
        f"      {'a' * 6}",
    ]


def test_colours_do_not_move_columns(on_terminal: Terminal, files: Files) -> None:
    quote = files.put("short", b"")
    plain = on_terminal(*files.verify(), "--policy", str(ROOT / "policies/strict-tdx.toml"))[1]
    bright = on_terminal(*files.verify(), "--policy", str(ROOT / "policies/strict-tdx.toml"), colours=True)[1]
    for colour in ("32", "33", "31"):
        bright = bright.replace(f"\x1b[{colour}m", "")
    assert bright.replace("\x1b[0m", "") == plain
    assert quote.exists()


def test_nothing_is_laid_out_as_nothing() -> None:
    assert pairs({}) == []
    assert table((), [[], []]) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (False, "no"),
        (7, "7"),
        ("", ""),
        (["a", 1], "a, 1"),
        (["a", ["b", 1, 2], ["c"], [3], []], "a; b: 1, 2; c: none; 3; none"),
        ({"a": 1, "b": None}, "a 1, b -"),
        ({}, "none"),
        ("a\x1b[2J\n\u202e", "a\\u001b[2J\\u000a\\u202e"),
    ],
)
def test_values_for_people(value: object, text: str) -> None:
    assert shown(value) == text  # type: ignore[arg-type]


def test_narrow_terminals_keep_every_digit(on_terminal: Terminal, files: Files) -> None:
    _, wide = on_terminal("inspect", files.quote)
    _, narrow = on_terminal("inspect", files.quote, columns=20)
    assert "".join(narrow.split()) == "".join(wide.split())
