from __future__ import annotations

import asyncio
import contextvars
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from isolated import holdings, threads
from pluginhost.isolation.channel import Channel
from pluginhost.isolation.lines import LinuxLine
from pluginhost.isolation.looping import LoopThread
from waiting import until


class Side:
    """A channel, and the socket at its other side."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.channel = Channel(LinuxLine(ours), None, "the host")

    def close(self) -> None:
        self.channel.close()
        self.theirs.close()


@pytest.fixture
def side() -> Iterator[Side]:
    side = Side()
    yield side
    side.close()


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    before, running = holdings(), threads()
    loop = LoopThread()
    yield loop
    loop.close(60.0)
    assert threads() <= running
    assert holdings() <= before
    assert not loop._jobs


def beside(call: Callable[[], object]) -> tuple[threading.Thread, list[Any]]:
    """Returns a thread on which something is called, and the list that gets what that returns or raises."""
    got: list[Any] = []

    def run() -> None:
        try:
            got.append(call())
        except BaseException as exc:
            got.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, got


def test_coroutines_run_side_by_side_and_always_in_the_same_loop(loop: LoopThread, side: Side) -> None:
    met = asyncio.Event()

    async def wait() -> object:
        await met.wait()
        return asyncio.get_running_loop()

    async def come() -> object:
        met.set()
        return asyncio.get_running_loop()

    other = Side()
    thread, got = beside(lambda: loop.run(wait(), other.channel))
    until(lambda: bool(met._waiters))
    here = loop.run(come(), side.channel)
    thread.join(60)
    assert got == [here]
    assert loop.run(come(), side.channel) is here
    other.close()


def test_a_coroutine_has_the_context_of_its_channels_thread(loop: LoopThread, side: Side) -> None:
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose")

    async def read() -> str:
        return whose.get()

    whose.set("this call's")
    assert loop.run(read(), side.channel) == "this call's"


class Hostile(BaseException):
    pass


RAISED = [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, Hostile]


@pytest.mark.parametrize("kind", RAISED)
def test_what_a_coroutine_raises_is_its_own_calls(loop: LoopThread, side: Side, kind: type[BaseException]) -> None:
    async def wait(may_end: asyncio.Event) -> str:
        await may_end.wait()
        return "went on"

    async def fail() -> None:
        await asyncio.sleep(0)
        raise kind

    async def let_go(may_end: asyncio.Event) -> None:
        may_end.set()

    other, may_end = Side(), asyncio.Event()
    thread, got = beside(lambda: loop.run(wait(may_end), other.channel))
    until(lambda: bool(may_end._waiters))
    with pytest.raises(kind):
        loop.run(fail(), side.channel)
    loop.run(let_go(may_end), side.channel)
    thread.join(60)
    assert got == ["went on"]
    other.close()


async def cancel_itself() -> None:
    task = asyncio.current_task()
    assert task
    task.cancel()
    await asyncio.sleep(0)


async def stop() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)


async def close() -> None:
    asyncio.get_running_loop().close()


async def exit_beside() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    await asyncio.create_task(leave())


async def close_what_it_waits_with() -> None:
    asyncio.get_running_loop()._selector.close()  # type: ignore[attr-defined]
    await asyncio.sleep(10)


async def mark_as_closed() -> None:
    asyncio.get_running_loop()._closed = True  # type: ignore[attr-defined]
    asyncio.SelectorEventLoop.stop(asyncio.get_running_loop())  # type: ignore[arg-type]
    await asyncio.sleep(10)


async def set_a_factory_that_fails() -> None:
    asyncio.get_running_loop().set_task_factory(lambda *_, **__: 1 / 0)  # type: ignore[arg-type, return-value]
    raise RuntimeError


@pytest.mark.parametrize(
    ("deed", "raised"),
    [
        (cancel_itself, asyncio.CancelledError),
        (stop, RuntimeError),
        (close, RuntimeError),
        (exit_beside, SystemExit),
        (set_a_factory_that_fails, RuntimeError),
    ],
)
def test_what_is_done_to_the_loop_fails_that_call_and_no_other(
    loop: LoopThread, side: Side, deed: Callable[[], Awaitable[None]], raised: type[BaseException]
) -> None:
    async def which() -> object:
        return asyncio.get_running_loop()

    before = loop.run(which(), side.channel)
    with pytest.raises(raised):
        loop.run(deed(), side.channel)
    assert loop.run(which(), side.channel) is before


@pytest.mark.filterwarnings("ignore:coroutine", "ignore::pytest.PytestUnraisableExceptionWarning")  # asyncio's own
@pytest.mark.parametrize("deed", [close_what_it_waits_with, mark_as_closed])
def test_a_loop_that_is_broken_fails_all_that_wait_for_it_and_the_next_call_has_another(
    deed: Callable[[], Awaitable[None]],
) -> None:
    loop, sides = LoopThread(), [Side(), Side()]
    begun: list[Any] = []

    async def wait() -> None:
        begun.append(asyncio.get_running_loop())
        await asyncio.sleep(10)

    thread, got = beside(lambda: loop.run(wait(), sides[0].channel))
    until(lambda: bool(begun))
    with pytest.raises(RuntimeError, match=r"broke the event loop|loop is closed"):
        loop.run(deed(), sides[1].channel)
    thread.join(60)
    assert "broke the event loop" in str(got[0])

    async def again() -> str:
        return "again"

    assert loop.run(again(), sides[1].channel) == "again"
    loop.close(60.0)
    for side in sides:
        side.close()
    broken = begun[0]  # asyncio cannot close it
    for each in (broken._ssock, broken._csock, broken._selector):
        each.close()
    broken._closed = True


def test_stopping_it_by_another_way_changes_nothing(loop: LoopThread, side: Side) -> None:
    async def deed() -> str:
        asyncio.SelectorEventLoop.stop(asyncio.get_running_loop())  # type: ignore[arg-type]
        await asyncio.sleep(0.001)
        return "went on"

    assert loop.run(deed(), side.channel) == "went on"


def test_what_is_no_coroutine_is_told(loop: LoopThread, side: Side) -> None:
    with pytest.raises(TypeError, match="await"):
        loop.run(3, side.channel)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="async"):
        next(loop.items(3, side.channel))  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["closed", "says something"])
def test_the_end_of_the_channel_cancels_the_coroutine(loop: LoopThread, side: Side, how: str) -> None:
    """So does what comes over it while the other side should wait: it is no caller of ours."""
    steps: list[str] = []

    async def wait() -> None:
        try:
            steps.append("begun")
            await asyncio.sleep(20)
        finally:
            await asyncio.sleep(0.001)
            steps.append("ended")

    thread, got = beside(lambda: loop.run(wait(), side.channel))
    until(lambda: bool(steps))
    if how == "closed":
        side.theirs.close()
    else:
        side.theirs.sendall(b"x")
    thread.join(60)
    assert [type(each) for each in got] == [asyncio.CancelledError]
    assert steps == ["begun", "ended"]
    assert side.channel.listen() is None
    if how != "closed":
        side.theirs.settimeout(60)
        assert side.theirs.recv(1) == b""


def test_a_call_over_a_channel_that_is_closed_already_is_cancelled(loop: LoopThread, side: Side) -> None:
    async def wait() -> None:
        await asyncio.sleep(20)

    side.channel.close()
    with pytest.raises(asyncio.CancelledError):
        loop.run(wait(), side.channel)


class Stream:
    """What a stream has done."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    async def items(self, to: int, then: BaseException | None = None, last: BaseException | None = None) -> Any:
        try:
            async with asyncio.timeout(60):  # which is of the task that it began in
                for number in range(to):
                    self.steps.append(f"made {number}")
                    await asyncio.sleep(0)
                    yield number
                if then:
                    raise then
        finally:
            self.steps.append("closed")
            if last:
                raise last


def test_an_item_is_made_when_it_is_asked_for(loop: LoopThread, side: Side) -> None:
    stream = Stream()
    items = loop.items(stream.items(3), side.channel)
    assert stream.steps == []
    assert next(items) == 0
    side.theirs.sendall(b"x")  # what comes between two items is for the channel's thread to read
    assert side.channel._line.receive(1) == b"x"
    time.sleep(0.002)
    assert stream.steps == ["made 0"]
    assert list(items) == [1, 2]
    assert stream.steps == ["made 0", "made 1", "made 2", "closed"]


def test_a_stream_that_is_left_is_closed(loop: LoopThread, side: Side) -> None:
    stream = Stream()
    loop.items(stream.items(3), side.channel).close()
    assert stream.steps == []
    items = loop.items(stream.items(3), side.channel)
    next(items)
    items.close()
    assert stream.steps == ["made 0", "closed"]
    items = loop.items(stream.items(3, last=LookupError()), side.channel)
    next(items)
    side.channel.close()
    with pytest.raises(LookupError):
        items.close()


@pytest.mark.parametrize("kind", RAISED)
def test_a_stream_ends_with_what_it_raises(loop: LoopThread, side: Side, kind: type[BaseException]) -> None:
    items = loop.items(Stream().items(1, then=kind()), side.channel)
    assert next(items) == 0
    with pytest.raises(kind):
        next(items)
    assert list(items) == []


def test_an_iterator_without_an_end_of_its_own_is_a_stream_too(loop: LoopThread, side: Side) -> None:
    class Two:
        def __init__(self) -> None:
            self.left = 2

        def __aiter__(self) -> AsyncIterator[int]:
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    assert list(loop.items(Two(), side.channel)) == [1, 0]


def test_the_end_of_the_channel_cancels_the_item_that_is_made(loop: LoopThread, side: Side) -> None:
    steps: list[str] = []

    async def made() -> AsyncIterator[int]:
        try:
            yield 0
            steps.append("begun")
            await asyncio.sleep(20)
        finally:
            steps.append("ended")

    items = loop.items(made(), side.channel)
    assert next(items) == 0
    thread, got = beside(lambda: next(items))
    until(lambda: bool(steps))
    side.theirs.close()
    thread.join(60)
    assert [type(each) for each in got] == [asyncio.CancelledError]
    assert steps == ["begun", "ended"]


def test_a_stream_that_the_plugin_cancels_between_two_items_fails(loop: LoopThread, side: Side) -> None:
    async def cancel_all() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    stream, other = Stream(), Side()
    items = loop.items(stream.items(3), side.channel)
    next(items)
    loop.run(cancel_all(), other.channel)
    with pytest.raises(asyncio.CancelledError):
        next(items)
    assert stream.steps == ["made 0", "closed"]
    other.close()


def test_closing_cancels_what_runs(side: Side) -> None:
    loop, steps = LoopThread(), []

    async def wait() -> None:
        try:
            steps.append("begun")
            await asyncio.sleep(20)
        finally:
            steps.append("ended")

    thread, got = beside(lambda: loop.run(wait(), side.channel))
    until(lambda: bool(steps))
    loop.close(60.0)
    thread.join(60)
    assert [type(each) for each in got] == [asyncio.CancelledError]
    assert steps == ["begun", "ended"]
    loop.close(60.0)


def test_closing_waits_no_longer_than_it_is_told(side: Side) -> None:
    loop, begun, may_end = LoopThread(), threading.Event(), threading.Event()

    async def hang() -> None:
        begun.set()
        may_end.wait(60)

    thread, got = beside(lambda: loop.run(hang(), side.channel))
    assert begun.wait(60)
    serving = loop._thread
    loop.close(0.01)
    thread.join(60)
    assert "went on" in str(got[0])
    may_end.set()
    assert serving
    serving.join(60)
    assert not serving.is_alive()
