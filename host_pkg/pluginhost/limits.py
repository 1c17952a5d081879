"""How many calls at once a plugin takes."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from pluginhost import forks

if TYPE_CHECKING:
    from collections.abc import Callable


class Limit:
    """Lets so many calls in at once; the others wait.

    A call that comes back to its plugin on the way of another one is part of that one: it would wait for itself.
    """

    __slots__ = ("__weakref__", "_calls", "_free", "_is_inside", "_lock", "_waiting")

    def __init__(self, calls: int) -> None:
        self._calls = self._free = calls
        self._lock = threading.Lock()
        self._waiting: deque[Future[None]] = deque()
        self._is_inside = contextvars.ContextVar("is_inside", default=False)
        forks.tell(self)

    def hold(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function that waits for its turn."""

        def call(*args: Any, **named: Any) -> Any:
            if self._is_inside.get():
                return function(*args, **named)
            if turn := self._take():
                try:
                    turn.result()
                except BaseException:  # Ctrl-C
                    self._give_up(turn)
                    raise
            try:
                entered = self._is_inside.set(True)
                try:
                    return function(*args, **named)
                finally:
                    self._is_inside.reset(entered)
            finally:
                self._leave()

        return call

    def hold_async(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a coroutine function that waits for its turn, without holding up its event loop."""

        async def call(*args: Any, **named: Any) -> Any:
            if self._is_inside.get():
                return await function(*args, **named)
            if turn := self._take():
                import asyncio  # whoever calls a coroutine function has it

                # An asyncio.Semaphore belongs to one loop; a plugin may be called from several, and from threads
                # without one. And no thread of the loop's waits: there are few, which the call inside may need.
                try:
                    await asyncio.wrap_future(turn)
                except BaseException:
                    self._give_up(turn)
                    raise
            try:
                entered = self._is_inside.set(True)
                try:
                    return await function(*args, **named)
                finally:
                    self._is_inside.reset(entered)
            finally:
                self._leave()

        return call

    def forked(self) -> None:
        """Gives back the places of other threads' calls, which are not in this copy of their process."""
        self._lock, self._free = threading.Lock(), self._calls - self._is_inside.get()
        self._waiting.clear()

    def _take(self) -> Future[None] | None:
        """Takes a place if one is free, else returns what will be done when the caller has one."""
        with self._lock:
            if self._free:
                self._free -= 1
                return None
            turn: Future[None] = Future()
            self._waiting.append(turn)
            return turn

    def _leave(self) -> None:
        """Hands a place to the one that has waited longest."""
        with self._lock:
            while self._waiting:
                turn = self._waiting.popleft()
                if turn.set_running_or_notify_cancel():
                    break
            else:
                self._free += 1
                return
        turn.set_result(None)

    def _give_up(self, turn: Future[None]) -> None:
        """Waits no longer; a place that came meanwhile goes on to the next."""
        if not turn.cancel():
            self._leave()
