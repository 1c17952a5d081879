"""The event loop in which a plugin's coroutines run: always the same, so that the plugin may keep sessions.

A channel's thread has the loop do what a call asks for, and waits. While it waits, the loop looks whether the channel's
other side is gone: nobody wants the result then, and the coroutine is cancelled, as it would be by a caller nearby.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pluginhost.errors import describe
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Generator

    from pluginhost.isolation.channel import Channel


class LoopThread:
    """An event loop on a thread of its own, which begins with the first call.

    What a coroutine raises ends its own call and no more, be it `SystemExit`. Should the plugin end the loop all the
    same, each call that waits fails, and the next has another loop.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._jobs: set[_Job] = set()
        self._loop: _Loop | None = None
        self._thread: HostThread | None = None

    def run(self, awaitable: Awaitable[Any], channel: Channel) -> Any:
        """Returns what a coroutine returns; raises what it raises.

        Args:
            awaitable: The coroutine.
            channel: Where the call came from. When its other side is gone, the coroutine is cancelled.
        """
        job = _Job(channel)
        try:
            self._do(job, awaitable)
            return job.result()
        finally:
            self._jobs.discard(job)

    def items(self, iterable: AsyncIterable[Any], channel: Channel) -> Generator[Any, None, None]:
        """Yields the items of an asynchronous stream, each stepped to when it is asked for, all of them in one task.

        It is to be closed by its user, which closes the stream.

        Args:
            iterable: The stream.
            channel: As for `run`; it is looked at while an item is waited for.
        """
        job = _Job(channel)
        try:
            self._do(job, job.hand_out(iterable))
            while not job.is_over:
                yield job.result()
                job.step(goes_on=True)
            job.result()
        finally:
            try:
                if not job.is_over:
                    job.step(goes_on=False)
                    job.result()
            finally:
                self._jobs.discard(job)

    def close(self, timeout: float) -> None:
        """Cancels what still runs, ends the loop, and waits so many seconds for that."""
        with self._turn:
            loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            loop.may_stop = True
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout)
            self._fail(loop, "the event loop was ended, and the coroutine went on")

    def _do(self, job: _Job, work: Awaitable[Any]) -> None:
        """Has the loop begin a job, and waits for its first step."""
        try:
            with self._turn:
                self._jobs.add(job)
                loop = self._loop or self._begin()
                loop.call_soon_threadsafe(job.begin, loop, work)
        except BaseException as exc:
            if asyncio.iscoroutine(work):
                work.close()
            job.fail(exc)
        job.wait()

    def _begin(self) -> _Loop:
        loop = _Loop()
        thread = HostThread(target=self._serve, args=(loop,), name="pluginhost: coroutines", daemon=True)
        try:
            thread.start()
        except BaseException:
            loop.close()
            raise
        self._loop, self._thread = loop, thread
        return loop

    def _serve(self, loop: _Loop) -> None:
        why = "the event loop was ended"
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:  # at its end it cancels what still runs
                runner.get_loop()
                try:
                    while not loop.may_stop:
                        with suppress(SystemExit, KeyboardInterrupt):  # of a task that the plugin began
                            loop.run_forever()
                finally:
                    loop.may_stop = True
                    loop.set_task_factory(None)  # the plugin's may fail
        except BaseException as exc:  # the plugin closed it, or what it needs
            why = f"the plugin broke the event loop: {describe(exc)}"
        self._fail(loop, why)

    def _fail(self, loop: _Loop, why: str) -> None:
        """Has each call fail that waits for a loop, and the next begin another."""
        with self._turn:
            if self._loop is not loop:
                return
            self._loop = self._thread = None
            jobs, self._jobs = self._jobs, set()
        for job in jobs:
            job.fail(RuntimeError(why))


class _Loop(asyncio.SelectorEventLoop):
    """A loop that a plugin's coroutine cannot stop, since others run in it."""

    may_stop = False

    def stop(self) -> None:
        """Stops it."""
        if not self.may_stop:
            raise RuntimeError("a plugin may not stop the event loop in which it is called")
        super().stop()


class _Job:
    """What the loop does for one call, in a task of its own, while the channel's thread waits.

    Attributes:
        is_over: Whether there is no further step.
    """

    _loop: asyncio.AbstractEventLoop
    _task: asyncio.Task[None]
    _asked: asyncio.Future[bool]

    def __init__(self, channel: Channel) -> None:
        self.is_over = False
        self._channel = channel
        self._watched = -1
        self._context = contextvars.copy_context()
        self._value: Any = None
        self._raised: BaseException | None = None
        # Taken by the thread that waits, and given back by the loop's; so nothing has to be reset between two steps.
        self._done = threading.Lock()
        self._done.acquire()

    def wait(self) -> None:
        """Waits until a step is done; for the channel's thread, as are `result` and `step`."""
        self._done.acquire()

    def result(self) -> Any:
        """Returns what the step gave, or raises what it raised."""
        raised, self._raised = self._raised, None
        value, self._value = self._value, None
        if raised is None:
            return value
        try:
            raise raised
        finally:
            del self, raised  # the traceback holds this frame

    def step(self, *, goes_on: bool) -> None:
        """Has a stream make its next step, or its last, and waits until it is done."""
        try:
            self._loop.call_soon_threadsafe(self._resume, goes_on)
        except RuntimeError as exc:  # the plugin closed the loop
            self.fail(exc)
        self.wait()

    def fail(self, why: BaseException) -> None:
        """Ends it because its loop has ended; in any thread."""
        if not self.is_over:
            self._raised, self.is_over = why, True
        self._wake()

    def begin(self, loop: asyncio.AbstractEventLoop, work: Awaitable[Any]) -> None:
        """Begins what is to be done; in the loop, as is what follows."""
        self._loop = loop
        # Not by the loop's method: the plugin may have set a factory of tasks.
        self._task = asyncio.Task(self._keep(work), loop=loop, context=self._context)
        self._task.add_done_callback(self._end)
        self._watch()

    async def hand_out(self, iterable: AsyncIterable[Any]) -> None:
        """Goes through a stream, an item for each step that is asked for, and closes it."""
        items = aiter(iterable)
        try:
            async for item in items:
                self._value, self._asked = item, self._loop.create_future()
                self._release()
                if not await self._asked:
                    return
        finally:
            if close := getattr(items, "aclose", None):
                await close()

    async def _keep(self, work: Awaitable[Any]) -> None:
        """Does something, and keeps what comes of it."""
        try:
            self._value = await work
        except BaseException as exc:  # a `SystemExit` would end the loop
            self._raised = exc

    def _resume(self, goes_on: bool) -> None:
        if not self.is_over and not self._asked.done():
            self._asked.set_result(goes_on)
            if self._channel.is_open:
                self._watch()

    def _end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before its first step
            self._raised = asyncio.CancelledError()
        self.is_over = True
        self._release()

    def _watch(self) -> None:
        try:
            self._watched = self._channel.fileno()
            self._loop.add_reader(self._watched, self._gone)
        except Exception:  # the plugin closed it, or what the loop waits with
            self._gone()

    def _gone(self) -> None:
        """Gives up; nothing but the channel's end can come while the other side waits for an answer."""
        self._unwatch()
        self._channel.cut()
        self._loop.call_soon(self._task.cancel)  # after its first step: it would never know that it was called

    def _unwatch(self) -> None:
        if self._watched >= 0:
            with suppress(Exception):  # the plugin closed the loop
                self._loop.remove_reader(self._watched)
            self._watched = -1

    def _release(self) -> None:
        self._unwatch()
        self._wake()

    def _wake(self) -> None:
        """Has the thread go on that waits."""
        with suppress(RuntimeError):  # it has not waited yet since it was woken
            self._done.release()
