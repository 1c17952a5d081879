"""How many calls at once a plugin takes."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Limit:
    """Lets so many calls in at once; the others wait.

    A call that comes back to its plugin on the way of another one is part of that one: it would wait for itself.
    """

    __slots__ = ("_free", "_is_inside")

    def __init__(self, calls: int) -> None:
        # A semaphore is written in Python, and takes thrice as long as a lock.
        self._free = threading.Lock() if calls == 1 else threading.Semaphore(calls)
        self._is_inside = contextvars.ContextVar("is_inside", default=False)

    def hold(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function that waits for its turn."""

        def call(*args: Any, **named: Any) -> Any:
            if self._is_inside.get():
                return function(*args, **named)
            with self._free:
                entered = self._is_inside.set(True)
                try:
                    return function(*args, **named)
                finally:
                    self._is_inside.reset(entered)

        return call

    def hold_async(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a coroutine function that waits for its turn, without holding up its event loop."""

        async def call(*args: Any, **named: Any) -> Any:
            if self._is_inside.get():
                return await function(*args, **named)
            await self._acquire()
            entered = self._is_inside.set(True)
            try:
                return await function(*args, **named)
            finally:
                self._is_inside.reset(entered)
                self._free.release()

        return call

    async def _acquire(self) -> None:
        # An asyncio.Semaphore belongs to one loop; a plugin may be called from several, and from threads without one.
        if self._free.acquire(blocking=False):
            return
        waiting = asyncio.get_running_loop().run_in_executor(None, self._free.acquire)
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            waiting.add_done_callback(lambda done: self._free.release())
            raise
