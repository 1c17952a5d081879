"""Who notices on time that a plugin is late: one thread of a manager, which sleeps until something can be."""

from __future__ import annotations

import contextlib
import math
import queue
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Protocol

from pluginhost import forks
from pluginhost.exits import module_of
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Final

_IDLE_SECONDS: Final = 1.0
"""For how long the thread waits for something to watch before it ends."""


class Watched(Protocol):
    """Something that may be late."""

    def look(self, now: float) -> float:
        """Tells what is late, and returns when to look again, by the monotonic clock."""

    def forked(self) -> None:
        """Forgets what other threads do: this is a child of fork, in which there are none."""


class Watchdog:
    """The thread that notices who is late.

    It begins when there is something to watch. It does not look every so often: it sleeps until the time that it was
    told. Nothing holds it but its manager, and it holds no manager while it sleeps.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._watched: list[Watched] = []
        self._thread: HostThread | None = None
        self._is_closed = False
        self._wakes = math.inf

    def watch(self, watched: Watched, due: float) -> Callable[[], None]:
        """Has something watched from now on, and returns what ends it.

        Args:
            watched: What may be late.
            due: When to look at first, by the monotonic clock.
        """

        def end() -> None:
            with self._lock:
                self._watched = [each for each in self._watched if each is not watched]
                if not self._watched and self._wakes > time.monotonic() + _IDLE_SECONDS:
                    self._bell.put(None)  # else it would not end before

        with self._lock:
            self._watched.append(watched)
            if self._thread is None:
                self._start()
            elif due < self._wakes:
                self._bell.put(None)
        return end

    def close(self, seconds: float) -> None:
        """Watches nothing any more, and returns once the thread has ended.

        One that wakes while the interpreter is taken down reads what is no longer there: the process would crash.

        Args:
            seconds: How long to wait for the thread, which may be telling somebody what is late.
        """
        with self._lock:
            self._is_closed = True
            self._watched.clear()
            thread = self._thread
        self._bell.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    @contextlib.contextmanager
    def stage(self, seconds: float, late: Callable[[int], None]) -> Iterator[Callable[[], float]]:
        """Watches what the `with` block does.

        Args:
            seconds: How long it may take.
            late: Called once with the thread's identifier if it takes longer, while it still does.

        Yields:
            What returns how many seconds it has taken.
        """
        begun = time.monotonic()
        end = self.watch(_Stage(begun + seconds, late), begun + seconds)
        try:
            yield lambda: time.monotonic() - begun
        finally:
            end()

    def _start(self) -> None:
        if self._is_closed:
            return
        bell = self._bell
        # A SimpleQueue's `put` takes no lock. An Event's `set` does, which a thread may hold for ever that was killed
        # at the interpreter's end, where what is left is collected, and this is called.
        own = weakref.ref(self, lambda _: bell.put(None))
        forks.tell(self)
        self._wakes = math.inf
        self._thread = HostThread(target=_run, args=(own, bell), name="pluginhost watchdog", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # while the interpreter ends, or there are no more threads
            self._thread = None

    def _look(self) -> float | None:
        """Tells what is late, and returns when to look again; `None` for not at all."""
        with self._lock:
            self._wakes = math.inf  # it must look again at what comes meanwhile
            watched = list(self._watched)
            if self._is_closed:
                return None
        due = math.inf
        for each in watched:
            then = time.monotonic() + _IDLE_SECONDS
            with contextlib.suppress(BaseException):  # of a handler of logs, say; others are watched
                then = each.look(time.monotonic())
            due = min(due, then)
        with self._lock:
            self._wakes = due if due < math.inf else time.monotonic() + _IDLE_SECONDS
            return self._wakes

    def _ends(self) -> bool:
        """Ends the thread if there is nothing to watch any more, and returns whether it did."""
        with self._lock:
            if self._watched:
                return False
            self._thread = None
            return True

    def forked(self) -> None:
        self._lock, self._bell, self._thread = threading.Lock(), queue.SimpleQueue(), None
        for each in self._watched:
            each.forked()
        if self._watched:
            with self._lock:
                self._start()


class _Stage:
    """One thing that a thread does, watched until it has ended."""

    def __init__(self, due: float, late: Callable[[int], None]) -> None:
        self._due = due
        self._late = late
        self._thread = threading.get_ident()

    def look(self, now: float) -> float:
        if now >= self._due:
            self._due = math.inf
            self._late(self._thread)
        return self._due

    def forked(self) -> None:
        self._due = math.inf if self._thread != threading.get_ident() else self._due


def _run(own: weakref.ref[Watchdog], bell: queue.SimpleQueue[None]) -> None:
    while True:
        with contextlib.suppress(queue.Empty):
            while True:
                bell.get_nowait()  # what has rung by now is looked at
        watchdog = own()
        due = watchdog._look() if watchdog else None
        del watchdog
        if due is None:
            return
        with contextlib.suppress(queue.Empty):
            bell.get(timeout=min(max(0.0, due - time.monotonic()), threading.TIMEOUT_MAX))
            continue
        watchdog = own()
        if watchdog is None or watchdog._ends():
            return
        del watchdog


def place(frame: FrameType | None, package: str) -> str:
    """Returns where a thread is, as a message ends: in the plugin's innermost line, or what is nearest to it.

    Args:
        frame: The thread's innermost frame.
        package: The plugin's package.

    Returns:
        Nothing when the thread is gone, or waits in the host.
    """
    inner = frame
    while frame is not None and not f"{module_of(frame)}.".startswith(f"{package}."):
        frame = frame.f_back
    if frame is None:  # it runs what others called, or nothing of the plugin's yet
        frame = inner
        while frame and frame.f_back and module_of(frame).partition(".")[0] in sys.stdlib_module_names:
            frame = frame.f_back
    if frame is None or module_of(frame).partition(".")[0] == __name__.partition(".")[0]:
        return ""
    return f", in {frame.f_code.co_filename}, line {frame.f_lineno}"
