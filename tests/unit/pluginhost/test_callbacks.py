from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import atexit, functools, sys
from pluginhost.callbacks import exit_functions, name_of

class Own:
    def end(self, text):
        print(text)

class Hostile:
    __eq__ = __repr__ = lambda self, *_: sys.exit("asked")
    __hash__ = None
    def __call__(self):
        print("fifth")

first = Own().end
fourth = functools.partial(functools.partial(first), "fourth")
others = len(exit_functions())
atexit.register(fourth)
atexit.register(print, "third")
atexit.register(first, "second")
atexit.register(first, "first")
assert exit_functions()[others:] == [fourth, print, first, first]
print(*map(name_of, exit_functions()[others:]))
atexit.register(Hostile())
assert exit_functions()[others:] == [fourth, print, first, first]
print(name_of(Hostile()), name_of(Hostile))
"""


@pytest.fixture(scope="module")
def lines() -> list[str]:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_exit_functions_are_listed_by_name(lines: list[str]) -> None:
    assert lines[:2] == [
        "__main__.Own.end print __main__.Own.end __main__.Own.end",
        "__main__.Hostile __main__.Hostile",
    ]


def test_exit_functions_that_were_listed_are_called_at_the_end(lines: list[str]) -> None:
    assert lines[2:] == ["fifth", "first", "second", "third", "fourth"]
