"""Calls on threads of their own, so that a caller can go on when a plugin does not return."""

from __future__ import annotations

import _thread
import contextvars
import queue
import sys
import threading
from collections import deque
from functools import wraps
from typing import TYPE_CHECKING, Any

from pluginhost import forks
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


class Expired(Exception):
    """The time of a call is over, and its thread is given up.

    Attributes:
        given_up: How many threads are given up and still run, this one included.
        frame: Where its thread is.
    """

    def __init__(self, given_up: int, frame: FrameType | None) -> None:
        super().__init__(given_up)
        self.given_up = given_up
        self.frame = frame


class _GivenUp(Exception):
    """A call's turn has come when nobody waits for it any more."""


class _Job:
    """One call that another thread is to make."""

    __slots__ = ("done", "is_given_up", "is_over", "make", "raised", "returned", "thread")

    def __init__(self, make: Callable[[_Job], object]) -> None:
        self.make = make
        self.done = _thread.allocate_lock()
        self.done.acquire()
        self.is_given_up = self.is_over = False
        self.returned: object = None
        self.raised: BaseException | None = None
        self.thread = 0


_JOB: contextvars.ContextVar[_Job | None] = contextvars.ContextVar("job", default=None)


class Worker(HostThread):
    """A thread on which a plugin's calls run: it may want what the plugin's own threads may."""


class Workers:
    """The threads on which one plugin is called. One that returns in time is kept for the next call."""

    __slots__ = ("__weakref__", "_idle", "_is_closed", "_lock", "_name", "given_up")

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._idle: deque[queue.SimpleQueue[_Job | None]] = deque()
        self._is_closed = False
        self.given_up = 0
        forks.tell(self)

    def hold(self, function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        """Returns a function that calls another on a thread of its own, and waits for so long.

        The thread has its caller's context variables. The function raises `Expired` when the time is over.
        """

        def call(*args: Any, **named: Any) -> Any:
            context = contextvars.copy_context()
            job = _Job(lambda job: context.run(_begin, job, function, args, named))
            try:
                self._hand_over(job)
            except RuntimeError:  # no more threads, or none any more while the interpreter ends
                return function(*args, **named)
            try:
                is_done = job.done.acquire(timeout=seconds)
            except BaseException:  # Ctrl-C
                self._give_up(job)
                raise
            if not is_done and self._give_up(job):
                raise Expired(self.given_up, sys._current_frames().get(job.thread))
            if job.raised is not None:
                try:
                    raise job.raised
                finally:
                    del job  # the traceback holds this frame
            return job.returned

        return call

    def close(self) -> None:
        """Has all threads end, those that are given up as soon as the plugin returns."""
        with self._lock:
            self._is_closed = True
            for inbox in self._idle:
                inbox.put(None)
            self._idle.clear()

    def forked(self) -> None:
        """Forgets the threads, of which this copy of their process has none."""
        self._lock, self._idle, self.given_up = threading.Lock(), deque(), 0

    def _hand_over(self, job: _Job) -> None:
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = queue.SimpleQueue()
            Worker(target=self._work, args=(inbox,), name=f"calls of {self._name}", daemon=True).start()
        inbox.put(job)

    def _work(self, inbox: queue.SimpleQueue[_Job | None]) -> None:
        while (job := inbox.get()) is not None:
            job.thread = threading.get_ident()
            try:
                job.returned = job.make(job)
            except BaseException as exc:
                job.raised = exc
            with self._lock:
                job.is_over = True
                is_kept = not job.is_given_up and not self._is_closed
                if job.is_given_up:
                    self.given_up -= 1
                elif is_kept:
                    self._idle.append(inbox)
            job.done.release()
            del job
            if not is_kept:
                return

    def _give_up(self, job: _Job) -> bool:
        """Gives a thread up, and returns whether that was needed: it may have returned at this moment."""
        with self._lock:
            if job.is_over:
                return False
            job.is_given_up = True
            self.given_up += 1
            return True


def unless_given_up(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that does nothing for a caller that has gone on while the call waited for its turn."""

    @wraps(function, updated=())
    def call(*args: Any, **named: Any) -> Any:
        job = _JOB.get()
        if job is not None and job.is_given_up:
            raise _GivenUp
        return function(*args, **named)

    return call


def _begin(job: _Job, function: Callable[..., Any], args: Any, named: Any) -> Any:
    _JOB.set(job)
    return function(*args, **named)
