from __future__ import annotations

import io

import msgspec
import pytest
from click.testing import CliRunner
from pluginhost.cli import route
from pluginhost.cli.answers import State
from pluginhost.status import RouteStatus
from rich.console import Console

ROUTE = {
    "route": "Greeter", "contract": "pluginapi.contracts.Greeter", "default": "english", "order": ["persian"],
    "capabilities": [], "key": "key", "rules": [{"when": {"tenant": ["a", "b"]}, "use": "", "weights": {}}],
    "weights": {"persian": 12.5, "gone": 0, "spanish": 5}, "off": ["spanish", "german"], "flag": "", "verdict": "",
    "canary": {
        "settings": {"plugin": "english-next", "share": 5},
        "tried": {"calls": 24, "failures": 3, "p50": 0.0011, "p95": 0.0022},
        "baseline": {"calls": 480, "failures": 0, "p50": 0.001, "p95": 0.002},
    },
    "fallbacks": 3, "plugins": [],
}  # fmt: skip


def rows(**other: object) -> list[tuple[str, ...]]:
    found = msgspec.convert({**ROUTE, **other}, RouteStatus)
    return route.rows("1234567-1", State(1234567, "", "", 0.0, [], [found]))


def shown(width: int, **other: object) -> str:
    """Returns what a terminal shows."""
    file = io.StringIO()
    Console(file=file, width=width).print(route.view(rows(**other)))
    return file.getvalue()


def test_a_row_has_a_cell_without_blanks_for_each_column_but_the_last() -> None:
    assert rows() == [(
        "1234567-1", "Greeter", "Greeter", "english", "persian=12.5,spanish=5", "spanish,german", "english-next=5",
        "3/24", "0/480", "3", "",
    )]  # fmt: skip
    assert rows(canary=None, weights={}, off=[], verdict="a b was promoted") == [
        ("1234567-1", "Greeter", "Greeter", "english", "", "", "", "", "", "3", "a b was promoted")
    ]


def test_a_terminal_of_80_columns_shows_all_of_it() -> None:
    text = shown(80)
    table, _, below = text.partition("\n\n")
    for name in ("FALLBACKS", "1234567-1", "Greeter", "english", "persian=12.5", "spanish=5", "german"):
        assert name in table or name in "".join(table.split())
    assert "…" not in text
    assert all(len(line) <= 80 for line in text.splitlines())
    said = "Greeter: so far english-next failed 3 of 24 calls, what it is held against 0 of 480"
    assert " ".join(below.split()) == said


def test_what_a_plugin_is_called_cannot_write_to_the_terminal() -> None:
    assert "\x1b" not in shown(120, canary=None, default="a\x1b[2J", verdict="b\x1b[2J was promoted")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--off", "a"], "Name the route"),
        (["some", "--promote", "--roll-back"], "go with no other change"),
        (["some", "--promote", "--off", "a"], "go with no other change"),
        (["some", "--on", "a", "--off", "a"], "a cannot be both"),
        (["some", "--share", "a"], "'a' is not a plugin and its percent"),
        (["some", "--share", "=5"], "'=5' is not a plugin and its percent"),
        (["some", "--share", "a=b"], "'a=b' is not a plugin and its percent"),
        (["some", "--share", "a=1", "--share", "a=2"], "'a' has two shares"),
    ],
)
def test_a_wrong_command_line_is_told_before_any_host_is_asked(words: list[str], said: str) -> None:
    done = CliRunner().invoke(route.route, words)
    assert (done.exit_code, said in done.output) == (2, True), done.output
