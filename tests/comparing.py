"""How a test compares much data: pytest's own account of a difference of megabytes takes it hours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, count
from operator import ne


def same(found: Sequence[object], expected: Sequence[object]) -> None:
    """Fails with the first place where the two differ, if they do."""
    __tracebackhide__ = True  # pytest shows the line that compares
    if len(found) == len(expected) and found == expected:
        return
    place = next(compress(count(), map(ne, found, expected)), min(len(found), len(expected)))
    here = slice(max(place - 40, 0), place + 40)
    raise AssertionError(
        f"of {len(found):,} and {len(expected):,} items those at {place:,} differ:"
        f" {found[here]!r} was found, {expected[here]!r} expected"
    )
