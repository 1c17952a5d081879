"""When a child is started again in place of one that has ended, and when no more.

After Erlang/OTP's supervisors, and their restart intensity: with so many deaths within a time it is given up
(https://www.erlang.org/doc/system/sup_princ.html).
"""

from __future__ import annotations

import random
from collections import deque
from typing import Final

WINDOW_SECONDS: Final = 60.0
"""The time within which deaths are counted."""
DEATHS: Final = 5
"""With so many of them the plugin has failed."""
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 30.0
"""Seconds before the second restart within that time; they double with each, and vary by a quarter."""


class Deaths:
    """The latest deaths of one plugin's children."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque()

    def add(self, now: float) -> int:
        """Counts a death, and returns how many there were lately.

        Args:
            now: By the monotonic clock.
        """
        while self._latest and now - self._latest[0] >= WINDOW_SECONDS:
            self._latest.popleft()
        self._latest.append(now)
        return len(self._latest)


def pause(deaths: int) -> float | None:
    """Returns the seconds until the next child is started; `None` when none is.

    Args:
        deaths: How many there were lately.
    """
    if deaths >= DEATHS:
        return None
    if deaths == 1:
        return 0.0
    return min(FIRST_PAUSE * 2.0 ** (deaths - 2), LONGEST_PAUSE) * random.uniform(0.75, 1.25)
