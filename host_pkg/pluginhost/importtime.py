"""What `python -X importtime` writes, read as a tree of modules with the place of each in time.

Python writes a line when an import ends, so children stand before their parent, and says how long it took and not when
it began. Imports that follow each other under one parent are therefore placed one after the other from its beginning
on; what the parent did itself comes last.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Final

# Anywhere in a line: what somebody wrote before it may not have ended with a line break.
_LINE: Final = re.compile(rb"import time: +(-?\d{1,15}) \| +(-?\d{1,15}) \| ( {0,2000})([^\s|][^\r\n]*)")
_NAME_LIMIT: Final = 200


class Module(NamedTuple):
    """One import.

    Attributes:
        name: The module's name.
        depth: How many imports it is within.
        start: Microseconds from the beginning of the first import to its own.
        cumulative: Microseconds that it took.
        own: Microseconds of these that no import within it took.
    """

    name: str
    depth: int
    start: int
    cumulative: int
    own: int

    def to_dict(self) -> dict[str, object]:
        """Returns the import, for JSON."""
        return {
            "name": self.name,
            "depth": self.depth,
            "start_us": self.start,
            "cumulative_us": self.cumulative,
            "self_us": self.own,
        }


class _Import:
    """A line, and those of the imports within."""

    __slots__ = ("children", "cumulative", "level", "name", "own")

    def __init__(self, own: int, cumulative: int, level: int, name: str) -> None:
        self.own = max(0, own)
        self.cumulative = max(0, cumulative)
        self.level = level
        self.name = name
        self.children: list[_Import] = []


def read(text: bytes, within: str = "", microseconds: int = 0) -> list[Module]:
    """Returns the imports that are told of, each before those within it; whatever else stands there is passed over.

    Args:
        text: What was written to standard error, of one stretch of time.
        within: The module whose import all others are part of: of one that is imported by `importlib.import_module`
            Python says nothing. Empty when there is none, or none of them is its part.
        microseconds: What that one took.
    """
    pending: list[_Import] = []
    for match in _LINE.finditer(text):
        own, cumulative, indent, name = match.groups()
        found = _Import(int(own), int(cumulative), len(indent) // 2, _shown(name))
        first = len(pending)
        while first and pending[first - 1].level > found.level:
            first -= 1
        found.children = pending[first:]
        pending[first:] = [found]
    if within:
        top = _Import(microseconds - sum(each.cumulative for each in pending), microseconds, 0, within)
        top.children, pending = pending, [top]
    return _placed(pending)


def _placed(roots: list[_Import]) -> list[Module]:
    """Returns trees as a list; not recursive, for a plugin may have forged a deep one."""
    modules = []
    todo = list(reversed(_following(roots, 0, 0)))
    while todo:
        each, depth, start = todo.pop()
        modules.append(Module(each.name, depth, start, each.cumulative, each.own))
        todo.extend(reversed(_following(each.children, depth + 1, start)))
    return modules


def _following(imports: list[_Import], depth: int, start: int) -> list[tuple[_Import, int, int]]:
    """Returns imports with their depth and place, one after the other."""
    placed = []
    for each in imports:
        placed.append((each, depth, start))
        start += each.cumulative
    return placed


def without(text: bytes) -> bytes:
    """Returns what else was written to standard error."""
    return _LINE.sub(b"", text)


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace").strip()[:_NAME_LIMIT]
