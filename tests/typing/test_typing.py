"""Both type checkers accept what a host may write, and reject what it may not: `nox -s types` runs this."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MARK = re.compile(r"# rejected: (?P<mypy>[\w-]+), (?P<pyright>\w+)$", re.MULTILINE)

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("mypy", "pyright"))), reason="mypy and pyright are of `nox -s types`"
)


def mypy(file: Path) -> dict[int, set[str]]:
    """Returns mypy's errors: by line, their codes."""
    command = [sys.executable, "-m", "mypy", "--strict", "--output", "json", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent.parent)
    assert done.returncode in (0, 1), done.stderr
    told = [
        each for each in map(json.loads, re.findall(r"^\{.*", done.stdout, re.MULTILINE)) if each["severity"] == "error"
    ]
    return by_line([(each["line"], each["code"]) for each in told])


def pyright(file: Path) -> dict[int, set[str]]:
    """Returns pyright's errors: by line, their rules."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, file]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent.parent)
    assert done.returncode in (0, 1), done.stderr
    told = [each for each in json.loads(done.stdout)["generalDiagnostics"] if each["severity"] == "error"]
    return by_line([(each["range"]["start"]["line"] + 1, each.get("rule", "")) for each in told])


def by_line(told: list[tuple[int, str]]) -> dict[int, set[str]]:
    return {line: {code for other, code in told if other == line} for line, _ in told}


@pytest.mark.parametrize("check", [mypy, pyright])
def test_a_sound_host_is_accepted(check: Callable[[Path], dict[int, set[str]]]) -> None:
    assert check(HERE / "host.py") == {}


@pytest.mark.parametrize("check", [mypy, pyright])
def test_each_marked_line_and_no_other_is_rejected(check: Callable[[Path], dict[int, set[str]]]) -> None:
    lines = (HERE / "rejected.py").read_text("utf-8").splitlines()
    marks = {number: match for number, line in enumerate(lines, 1) if (match := MARK.search(line))}
    assert len(marks) > 15
    expected = {number: {match[check.__name__]} for number, match in marks.items()}
    assert check(HERE / "rejected.py") == expected
