"""The example applications do what their documentation says, over the installed plugins."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from forge import GREETER, ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from forge import Forge


def run(example: str, *words: str, path: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", ROOT / "examples" / f"{example}.py", *words]
    environment = os.environ | {"PYTHONPATH": str(path or ""), "LC_ALL": "C.UTF-8"} | env
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ([], "Hello, World! Nice to meet you.\n"),
        (["spanish", "--name", "Ada"], "¡Hola, Ada! Mucho gusto.\n"),
        (["persian"], "سلام، World! خوشوقتم.\n"),
        (
            ["--all"],
            "[English] Hello, World! Nice to meet you.\n[فارسی] سلام، World! خوشوقتم.\n[Español] ¡Hola, World! Mucho gusto.\n",
        ),
    ],
)
def test_greeter(words: list[str], printed: str) -> None:
    done = run("greeter", *words)
    assert (done.stdout, done.stderr, done.returncode) == (printed, "", 0)


def test_greeter_says_which_languages_there_are_and_exits_1() -> None:
    done = run("greeter", "klingon")
    assert done.returncode == 1
    assert done.stderr == "no greeter speaks 'klingon'; there are: english, persian, spanish\n"


def test_greeter_goes_on_without_a_broken_plugin_and_says_so(forge: Forge) -> None:
    site = forge.plugin("broken", f"1 / 0\n{GREETER}")
    done = run("greeter", "--all", path=site)
    assert done.returncode == 0
    assert "[English] Hello" in done.stdout
    assert "[import-failed]" in done.stderr
    assert "hint: " in done.stderr


def test_greeter_is_escaped_where_the_terminal_is_ascii() -> None:
    done = run("greeter", "persian", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0
    assert done.stdout.startswith("\\u0633")


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["10", "+", "5"], "add(10, 5) = 15.00\n"),
        (["10 - 5"], "subtract(10, 5) = 5.00\n"),
        (["10", "*", "5"], "multiply(10, 5) = 50.00\n"),
        (["10", "/", "4"], "divide(10, 4) = 2.50\n"),
    ],
)
def test_calculator(words: list[str], printed: str) -> None:
    assert run("calculator", *words).stdout == printed


def test_calculator_tells_what_is_wrong() -> None:
    for words, told in [
        (["1", "/", "0"], "divide(1, 0): division by zero\n"),
        (["1", "^", "2"], "usage: calculator.py A SYMBOL B, where SYMBOL is one of + / * -\n"),
        (["one", "+", "2"], "usage: calculator.py A SYMBOL B, where SYMBOL is one of + / * -\n"),
    ]:
        done = run("calculator", *words)
        assert (done.returncode, done.stderr) == (1, told)


def test_pipeline_hands_each_body_on_and_ends_at_the_first_refusal() -> None:
    done = run("pipeline", "some text")
    assert (done.stdout, done.returncode) == ("filter: 200 some text\ntransform: 200 SOME TEXT\n", 0)
    done = run("pipeline", "forbidden text", "transform", "filter")
    assert (done.stdout, done.returncode) == ("transform: 200 FORBIDDEN TEXT\nfilter: 200 FORBIDDEN TEXT\n", 0)
    done = run("pipeline", "forbidden text")
    assert (done.stdout, done.returncode) == ("filter: 403 blocked\n", 1)
    done = run("pipeline", "text", "no-such")
    assert done.returncode == 1
    assert "[plugin-unknown]" in done.stderr
