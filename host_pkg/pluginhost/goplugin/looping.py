"""An event loop on a thread of its own, for those who do not await."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeVar

from pluginhost import forks
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future
    from typing import Final

T = TypeVar("T")

_END_SECONDS: Final = 5.0


class LoopThread:
    """An event loop on a thread of its own, which begins with the first coroutine, until it is closed.

    In a copy of this process that fork makes it is closed: it has no thread there, and its connections are the other's.

    Attributes:
        is_closed: Whether it runs nothing any more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: HostThread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left: list[object] = []
        self.is_closed = False
        forks.tell(self)

    @property
    def is_here(self) -> bool:
        """Whether this is its own thread, which would wait for itself."""
        return threading.current_thread() is self._thread

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Returns what there will be of a coroutine; when the loop ends before it, it is cancelled.

        Raises:
            CancelledError: The loop is closed.
            OSError: There are no more threads or descriptors.
        """
        with self._lock:  # what comes before the end is seen by what ends it, so that nobody waits for ever
            if self.is_closed:
                coroutine.close()
                raise CancelledError("the event loop is closed")
            try:
                loop = self._running()
            except BaseException:
                coroutine.close()
                raise
            return asyncio.run_coroutine_threadsafe(coroutine, loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Returns what a coroutine returns; raises what it raises.

        Raises:
            CancelledError: The loop is closed, or ended before the coroutine.
        """
        return result(self.begin(coroutine))

    def close(self) -> None:
        """Ends the thread; what still runs there is cancelled."""
        with self._lock:
            self.is_closed = True
            loop, thread = self._loop, self._thread
            if loop is None or thread is None:
                return
            self._loop = None
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(loop.stop)
        thread.join(_END_SECONDS)

    def forked(self) -> None:
        """Leaves the loop alone: this process is a copy of the one that has its thread."""
        self._left += [self._loop, self._thread]  # collected, it would close what the other one uses
        self._lock, self._loop, self._thread, self.is_closed = threading.Lock(), None, None, True

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = asyncio.new_event_loop()
            thread = HostThread(target=self._serve, args=(loop,), name="pluginhost: go-plugin", daemon=True)
            try:
                thread.start()
            except RuntimeError as exc:
                loop.close()
                raise OSError(f"no event loop can run: {exc}") from exc
            self._loop, self._thread = loop, thread
        return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:  # at its end it cancels what still runs
            runner.get_loop()
            is_over = False
            while not is_over:
                with contextlib.suppress(SystemExit, KeyboardInterrupt):  # of the application's, in a task or callback
                    loop.run_forever()
                    is_over = self.is_closed


def result(future: Future[T]) -> T:
    """Returns what a coroutine returns that runs on another thread; when this one is interrupted, it is cancelled."""
    try:
        return future.result()
    except BaseException:  # Ctrl-C, or what the coroutine raised
        future.cancel()
        raise
