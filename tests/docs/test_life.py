"""The page on a plugin's life draws and names every state and every transition that there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from pluginhost.lifecycle import TRANSITIONS

DOCS = Path(__file__).parent.parent.parent / "docs"
STATES = (DOCS / "life.md").read_text("utf-8").partition("## The states\n")[2].partition("\n## ")[0]
DRAWING = STATES.partition("```text\n")[2].partition("\n```")[0].splitlines()

# The directions in which a line runs, as rows and columns, and how it and its head are drawn.
UP, DOWN, LEFT, RIGHT = (-1, 0), (1, 0), (0, -1), (0, 1)
HEADS = {UP: "^", DOWN: "v", LEFT: "<", RIGHT: ">"}
LINES = {UP: "|", DOWN: "|", LEFT: "-", RIGHT: "-"}


def _at(row: int, column: int) -> str:
    return DRAWING[row][column] if 0 <= row < len(DRAWING) and 0 <= column < len(DRAWING[row]) else " "


def _state_at(row: int, column: int) -> str:
    """Returns the state whose word covers a place."""
    words = re.finditer(r"[a-z]{3,}", DRAWING[row]) if 0 <= row < len(DRAWING) else ()
    return next((word[0] for word in words if word.start() <= column < word.end()), "")


def _drawn() -> set[tuple[str, str]]:
    """Returns the ways that the drawing's lines go, each from a word to an arrow's head beside a word."""
    ways = set()
    for row, line in enumerate(DRAWING):
        for word in re.finditer(r"[a-z]{3,}", line):
            edges = [(row + step[0], column, step) for column in range(*word.span()) for step in (UP, DOWN)]
            edges += [(row, word.end() + 1, RIGHT), (row, word.start() - 2, LEFT)]
            for start in edges:
                ways |= {(word[0], end) for end in _ends(*start, set())}
    return ways


def _ends(row: int, column: int, step: tuple[int, int], seen: set[tuple[int, int, tuple[int, int]]]) -> set[str]:
    """Returns the states to which a line leads that begins at a place and runs in a direction.

    At a `+` it goes on to every side where there is a line, but the one that it came from. At another line it crosses.
    """
    character = _at(row, column)
    if (row, column, step) in seen:
        return set()
    seen.add((row, column, step))
    ahead = row + step[0], column + step[1]
    if character == HEADS[step]:
        beside = _state_at(*ahead) or _state_at(row + 2 * step[0], column + 2 * step[1])
        return {beside} if beside else _ends(*ahead, step, seen)
    if character == "+":
        back = (-step[0], -step[1])
        nexts = {turn: (row + turn[0], column + turn[1]) for turn in HEADS if turn != back}
        turns = [turn for turn, to in nexts.items() if _at(*to) in {LINES[turn], HEADS[turn], "+"}]
        return set().union(*(_ends(*nexts[turn], turn, seen) for turn in turns))
    backwards = HEADS[-step[0], -step[1]]  # of a line with a head at either end
    return _ends(*ahead, step, seen) if character in {"-", "|", backwards} else set()


def _ways() -> set[tuple[str, str]]:
    return {(state, to) for state, nexts in TRANSITIONS.items() for to in nexts}


def test_the_table_has_every_transition_once() -> None:
    rows = re.findall(r"^\| (\w+) \| (\w+) \| .+ \|$", STATES, re.MULTILINE)
    assert sorted(row for row in rows if row != ("from", "to")) == sorted(_ways())


def test_the_drawing_has_every_state_once() -> None:
    assert sorted(re.findall(r"[a-z]{3,}", "\n".join(DRAWING))) == sorted(TRANSITIONS)


def test_the_lines_of_the_drawing_are_the_transitions() -> None:
    assert _drawn() == _ways()


def test_the_host_that_embeds_the_manager_has_at_most_30_lines() -> None:
    page = (DOCS / "embed.md").read_text("utf-8")
    host = page.partition("`inkwell.py`:\n\n```python\n")[2].partition("```")[0]
    assert 0 < len(host.splitlines()) <= 30
