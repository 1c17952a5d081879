"""How often a plugin is called, how often it fails, and how long its calls take."""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from operator import length_hint
from typing import TYPE_CHECKING, NamedTuple

from pluginhost.stubs import TIMED

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from pluginhost.stubs import Calls

RARELY: Final = 127
"""How many calls go on without being timed before one is again, in the end. At first every other call is timed."""
_KEPT: Final = 512
"""How many times are kept: the latest."""


class Latency(NamedTuple):
    """How long the calls took that were timed, in seconds.

    Attributes:
        p50: Half of them took no longer.
        p99: 99 of 100 took no longer.
        max: The longest.
    """

    p50: float
    p99: float
    max: float


class Tally:
    """The calls of one plugin, from its first generation on.

    Nothing of it is a lock or a function of Python's on the way of a call. That takes one item of an iterator, which is
    atomic. Where calls have deadlines it counts: each item is the call's number. Where they have none it yields `None`
    so many times; the call that finds it at its end is timed, and puts another there. What the iterators have left
    tells how many calls there were.
    """

    __slots__ = ("_calls", "_failures", "_handed_out", "_lock", "_numbers", "_reads", "_refusals", "_seconds")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(TIMED)
        self._reads = TIMED
        self._handed_out = 0
        self._calls: list[Calls] = []
        self._failures = self._refusals = 0
        self._seconds: deque[float] = deque(maxlen=_KEPT)

    def begin(self, calls: Calls, *, is_numbered: bool) -> None:
        """Has calls counted that go there.

        Args:
            calls: Where they go.
            is_numbered: Whether each of them has a number, by which it can be watched.
        """
        calls.took = self._seconds.append
        calls.renew = lambda: self._renew(calls)
        with self._lock:
            if is_numbered:
                calls.turns = self._numbers
            else:
                calls.turns = itertools.repeat(None, 0)  # the first is timed
                self._calls.append(calls)

    def end(self, calls: Calls) -> None:
        """Has no more calls counted that go there: they are other generations' from now on."""
        with self._lock:
            if any(each is calls for each in self._calls):
                self._calls = [each for each in self._calls if each is not calls]
                self._handed_out -= length_hint(calls.turns)
                calls.turns = itertools.repeat(None)
        calls.renew = int

    def fail(self) -> None:
        """Counts a call that failed."""
        with self._lock:
            self._failures += 1

    def refuse(self) -> None:
        """Counts a call that was kept from the plugin; it is none of its calls."""
        with self._lock:
            self._refusals += 1

    @property
    def calls(self) -> int:
        """How many calls have come to the plugin."""
        with self._lock:
            return self._entered() - self._refusals

    @property
    def failures(self) -> int:
        """How many of them failed."""
        return self._failures

    def succeeded(self, inside: Callable[[], int]) -> int:
        """Returns how many calls have succeeded, or fewer while some are just beginning or failing.

        Args:
            inside: Returns how many are inside. Each call is among them before it is counted here, and until it has
                been counted as a failure or a refusal.
        """
        with self._lock:
            entered = self._entered()
        return entered - inside() - self._failures - self._refusals  # in this order: it is never too many

    @property
    def latency(self) -> Latency | None:
        """How long calls took, of the last that were timed; `None` when there was none.

        It is a sample: the longest that is told is not the longest that there was.
        """
        taken = sorted(self._seconds.copy())
        if not taken:
            return None
        return Latency(*(taken[math.ceil(len(taken) * part) - 1] for part in (0.5, 0.99, 1)))

    def _entered(self) -> int:
        numbered = next(self._numbers) - self._reads  # which takes a number itself
        for _ in range(1, TIMED):  # and does not shift which calls are timed
            next(self._numbers)
        self._reads += TIMED
        return numbered + self._handed_out - sum(length_hint(calls.turns) for calls in self._calls)

    def _renew(self, calls: Calls) -> int:
        """Returns the number of a call that is timed, and lets as many others as there may be go on without."""
        with self._lock:
            if not length_hint(calls.turns, 1):  # no other thread has, and nobody waits for what the old one has left
                calls.pause = min(2 * calls.pause + 1, RARELY)
                self._handed_out += calls.pause
                calls.turns = itertools.repeat(None, calls.pause)
        return next(self._numbers) * TIMED
