"""When a plugin that fails again and again is left alone for a while."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, TypeAlias

    BreakerState: TypeAlias = Literal["closed", "open", "half-open"]


class Breaker:
    """Lets calls through while it is closed, none while it is open, and one, which decides, while it is half-open.

    It has no part in a call that succeeds: it asks how many did when one fails.

    Attributes:
        state: What it lets through.
        reason: Why it opened last; empty when it never did.
    """

    __slots__ = (
        "_failures", "_limit", "_lock", "_now", "_seconds", "_succeeded", "_succeeded_before", "_switch", "_tell",
        "_trial", "_until", "_waits", "reason", "state",
    )  # fmt: skip

    def __init__(
        self,
        failures: int,
        seconds: float,
        succeeded: Callable[[], int],
        *,
        switch: Callable[[bool], None] = lambda lets_through: None,
        tell: Callable[[BreakerState, str], None] = lambda state, reason: None,
        waits: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes one that is closed.

        Args:
            failures: After how many failures in a row it opens.
            seconds: For how long.
            succeeded: Returns how many calls have succeeded; it may be behind, and never ahead.
            switch: Called with whether all calls are let through, each time that this changes; nothing else changes
                meanwhile.
            tell: Called with a new state and why it opened.
            waits: Whether there still is what it stays open for, however long that takes.
            now: The clock.
        """
        self._limit = failures
        self._seconds = seconds
        self._succeeded = succeeded
        self._switch = switch
        self._tell = tell
        self._waits = waits
        self._now = now
        self._lock = threading.RLock()
        self._succeeded_before = succeeded()
        self._failures = self._trial = 0
        self._until = 0.0
        self.state: BreakerState = "closed"
        self.reason = ""

    def fail(self, reason: str) -> None:
        """Takes down a failure, before it is counted: so many in a row open it."""
        with self._lock:
            if self.state != "closed":
                return  # of a call that came in before
            if (succeeded := self._succeeded()) > self._succeeded_before:
                self._succeeded_before, self._failures = succeeded, 0
            self._failures += 1
            if self._failures < self._limit:
                return
            self._open(reason)
        self._tell("open", reason)

    def trip(self, reason: str) -> None:
        """Opens it at once; one that is open stays so for the whole time anew."""
        with self._lock:
            was_open = self.state == "open"
            self._open(reason)
        if not was_open:
            self._tell("open", reason)

    def admit(self) -> int | None:
        """Returns whether a call may pass: 0 if all may, the number of the trial if this call is it, else `None`.

        The outcome of a trial must be told by `settle`, `release` or `close`.
        """
        with self._lock:
            if self.state == "closed":
                return 0
            if self.state == "half-open" or self.left > 0 or self._waits():
                return None
            self._trial += 1
            trial = self._trial
            self.state = "half-open"
        try:
            self._tell("half-open", self.reason)
        except BaseException:  # Ctrl-C: there will be no outcome
            self.release(trial)
            raise
        return trial

    def settle(self, trial: int, failure: str = "") -> None:
        """Closes it after a trial that succeeded, and opens it after one that failed.

        Args:
            trial: Its number; one that has been overtaken settles nothing.
            failure: What it failed with.
        """
        with self._lock:
            if not self._is_on(trial):
                return
            if failure:
                self._open(failure)
            else:
                self._close(0)
        self._tell("open" if failure else "closed", self.reason)

    def release(self, trial: int) -> None:
        """Has the next call be the trial: this one was given up by its caller."""
        with self._lock:
            if not self._is_on(trial):
                return
            self.state, self._until = "open", self._now()
        self._tell("open", self.reason)

    def close(self, trial: int) -> None:
        """Closes it without waiting for a trial's outcome: the next failure opens it again."""
        with self._lock:
            if not self._is_on(trial):
                return
            self._close(self._limit - 1)
        self._tell("closed", self.reason)

    def locked(self, do: Callable[[bool], None]) -> None:
        """Calls something with whether all calls are let through, which does not change meanwhile."""
        with self._lock:
            do(self.state == "closed")

    @property
    def left(self) -> float:
        """For how many seconds it stays open at least."""
        return max(0.0, self._until - self._now())

    def _is_on(self, trial: int) -> bool:
        return self.state == "half-open" and trial == self._trial

    def _open(self, reason: str) -> None:
        was_closed = self.state == "closed"
        self.state, self.reason, self._until = "open", reason, self._now() + self._seconds
        if was_closed:
            self._switch(False)

    def _close(self, failures: int) -> None:
        self.state, self._failures, self._succeeded_before = "closed", failures, self._succeeded()
        self._switch(True)
