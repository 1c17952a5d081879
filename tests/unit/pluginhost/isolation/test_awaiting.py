from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from answering import ECHO, RAISE, STREAM, WAIT, Answering
from isolated import holdings
from pluginhost.errors import PluginCallError
from pluginhost.isolation import frames
from pluginhost.isolation.arena import Arena
from pluginhost.isolation.awaiting import AsyncPool
from pluginhost.isolation.channel import Channel
from pluginhost.isolation.frames import EMPTY, FAILED, LIMIT, PING, Frame, Message
from pluginhost.isolation.lines import LinuxLine
from pluginhost.isolation.serving import answer_all
from pluginhost.isolation.system import Ends
from waiting import until, until_async

T = TypeVar("T")


class Child(Answering):
    """What a child does, on threads of this process.

    Attributes:
        channels: How many were opened.
        closed: How many of them have ended since.
        may_open: Whether channels can be opened; whoever opens one waits until it is so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.channels = self.closed = 0
        self.has_arenas = False
        self.may_open = threading.Event()
        self.may_open.set()

    def open(self, timeout: float | None) -> Ends:
        self.may_open.wait(60)
        ours, theirs = socket.socketpair()
        arenas: list[Arena | None] = [None, None]
        if self.has_arenas:
            arena = Arena.make(LIMIT)
            arenas = [arena, Arena(os.dup(arena.fd), LIMIT)]
        self.channels += 1
        served = Channel(LinuxLine(theirs), arenas[1], "the host")
        threading.Thread(target=self._serve, args=(served,), daemon=True).start()
        return Ends(LinuxLine(ours), arenas[0])

    def _serve(self, channel: Channel) -> None:
        answer_all(channel, self.answer)
        self.closed += 1


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    before = holdings()
    yield child
    child.may_go_on.set()
    child.may_open.set()
    until(lambda: child.closed == child.channels, "the end of its channels")
    until(lambda: holdings() <= before, "no more than was there before")  # what earlier tests left may end meanwhile


@pytest.fixture
def pool(child: Child) -> Iterator[AsyncPool]:
    pool = AsyncPool(child.open, "the child", most=3)
    yield pool
    pool.end("the test is over")


def said(text: str) -> Message:
    return Message(0, text.encode(), b"")


def run(main: Coroutine[object, object, T]) -> T:
    async def in_time() -> T:
        async with asyncio.timeout(60):
            return await main

    return asyncio.run(in_time())


async def refusal(call: Awaitable[object]) -> PluginCallError:
    with pytest.raises(PluginCallError) as raised:
        await call
    return raised.value


async def echo(pool: AsyncPool, text: str) -> str:
    return (await pool.call(ECHO, said(text), 60.0)).meta.decode()


def test_one_channel_serves_one_call_after_the_other(child: Child, pool: AsyncPool) -> None:
    async def main() -> None:
        for number in range(50):
            assert await echo(pool, str(number)) == str(number)
        assert (await pool.call(PING, EMPTY, 60.0)).flags == 0
        frame = await pool.call(RAISE, said("no"), 60.0)
        assert frame.flags & FAILED
        assert b"ValueError: no" in frame.meta

    run(main())
    assert child.channels == 1


@pytest.mark.parametrize("has_arenas", [False, True])
def test_bodies_of_all_sizes_cross(child: Child, pool: AsyncPool, has_arenas: bool) -> None:
    child.has_arenas = has_arenas

    async def main() -> None:
        for size in (0, 1, 5000, 70_000, 1 << 20, LIMIT):
            body = os.urandom(1 << 10) * (size >> 10) + b"x" * (size & 1023)
            frame = await pool.call(ECHO, Message(0, b"meta", body), 60.0)
            assert (frame.meta, frame.flags) == (b"meta", 0)
            assert frame.body == body
        refused = await refusal(pool.call(ECHO, Message(0, b"", bytes(LIMIT + 1)), 60.0))
        assert refused.finding.code == "frame-too-large"
        assert await echo(pool, "still there") == "still there"

    run(main())
    assert child.channels == 1


def test_each_of_many_callers_gets_its_own_reply(child: Child, pool: AsyncPool) -> None:
    async def main() -> None:
        texts = [str(number) for number in range(100)]
        assert await asyncio.gather(*[echo(pool, text) for text in texts]) == texts

    run(main())
    assert child.channels == 3


def test_whoever_waits_longest_has_the_next_turn(child: Child, pool: AsyncPool) -> None:
    async def main() -> None:
        served: list[int] = []

        async def call(number: int) -> None:
            await pool.call(ECHO, EMPTY, 60.0)
            served.append(number)

        held = [asyncio.create_task(pool.call(WAIT, EMPTY, 60.0)) for _ in range(3)]
        await until_async(lambda: child.waiting == 3)
        calls = []
        for number in range(6):
            calls.append(asyncio.create_task(call(number)))
            await asyncio.sleep(0)
        calls[2].cancel()
        # One channel is lost with its caller: its place is for the next in turn, as its channel would be.
        held[0].cancel()
        await until_async(lambda: 5 in served)
        assert served == [0, 1, 3, 4, 5]
        child.may_go_on.set()
        await asyncio.gather(*held[1:])

    run(main())
    assert child.channels == 4


def test_a_turn_that_comes_to_a_caller_that_is_cancelled_is_the_nexts(child: Child, pool: AsyncPool) -> None:
    async def main() -> None:
        held = [asyncio.create_task(pool.call(WAIT, EMPTY, 60.0)) for _ in range(3)]
        await until_async(lambda: child.waiting == 3)
        first, second = [asyncio.create_task(echo(pool, text)) for text in ("first", "second")]
        await asyncio.sleep(0)
        channels = next(iter(pool._loops.values()))
        pass_on = channels._pass_on

        def pass_on_and_cancel(channel: object) -> None:
            channels._pass_on = pass_on  # type: ignore[method-assign]
            pass_on(channel)  # type: ignore[arg-type]
            first.cancel()  # it has the channel then, and does not know yet

        channels._pass_on = pass_on_and_cancel  # type: ignore[method-assign]
        child.may_go_on.set()
        assert await second == "second"
        with pytest.raises(asyncio.CancelledError):
            await first
        await asyncio.gather(*held)
        assert await asyncio.gather(*[echo(pool, "x") for _ in range(6)]) == ["x"] * 6

    run(main())
    assert child.channels == 3


def test_whoever_waits_in_vain_is_told_when_its_time_is_over(child: Child, pool: AsyncPool) -> None:
    async def main() -> None:
        held = [asyncio.create_task(pool.call(WAIT, EMPTY, 60.0)) for _ in range(3)]
        await until_async(lambda: child.waiting == 3)
        told = await refusal(pool.call(ECHO, said("x"), 0.01))
        assert told.finding.message == "the child: all 3 channels were in use for 0.01 s"
        child.may_go_on.set()
        await asyncio.gather(*held)
        assert await echo(pool, "x") == "x"

    run(main())


def test_a_late_reply_is_not_taken_for_the_next(child: Child, pool: AsyncPool) -> None:
    async def main() -> None:
        await echo(pool, "x")  # a call whose channel is yet to be opened may be late with that
        for number in range(3):
            told = await refusal(pool.call(WAIT, said("late"), 0.005))
            assert told.finding.code == "call-timeout"
            assert "did not answer within 0.005 s" in told.finding.message
            assert await echo(pool, str(number)) == str(number)
        child.may_go_on.set()
        assert await echo(pool, "x") == "x"

    run(main())


def test_a_caller_that_is_cancelled_costs_its_channel(child: Child, pool: AsyncPool) -> None:
    """The child sees its end, and nobody gets the reply."""

    async def main() -> None:
        call = asyncio.create_task(pool.call(WAIT, said("late"), 60.0))
        await until_async(lambda: child.waiting == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        child.may_go_on.set()
        await until_async(lambda: child.closed == 1)
        assert await echo(pool, "x") == "x"

    run(main())
    assert child.channels == 2


def test_when_the_child_ends_all_calls_fail_with_why(child: Child, pool: AsyncPool) -> None:
    async def main() -> None:
        calls = [asyncio.create_task(refusal(pool.call(WAIT, EMPTY))) for _ in range(2)]
        stream = await pool.stream(STREAM, EMPTY)
        await anext(stream)
        await until_async(lambda: child.waiting == 2)
        calls += [asyncio.create_task(refusal(pool.call(WAIT, EMPTY))) for _ in range(2)]  # which wait for a turn
        await asyncio.sleep(0)
        threading.Thread(target=pool.end, args=("killed by SIGSEGV",)).start()
        calls.append(asyncio.create_task(refusal(anext(stream))))
        for told in await asyncio.gather(*calls):
            assert told.finding.code == "channel-lost"
            assert told.finding.message == "the child is gone: killed by SIGSEGV"
        assert [frame async for frame in stream] == []
        pool.end("of something else")
        for later in (pool.call(ECHO, EMPTY), pool.stream(STREAM, EMPTY)):
            assert "SIGSEGV" in (await refusal(later)).finding.message

    run(main())
    assert "SIGSEGV" in run(refusal(pool.call(ECHO, EMPTY))).finding.message  # in another loop


@pytest.mark.parametrize("how", ["cancelled", "late", "ended"])
def test_a_channel_that_is_opened_for_nobody_is_closed(child: Child, pool: AsyncPool, how: str) -> None:
    """Its caller does not wait for the thread that opens it; the fixture sees that no descriptor is left."""

    async def main() -> None:
        child.may_open.clear()
        call = asyncio.create_task(pool.call(ECHO, EMPTY, 0.01 if how == "late" else 60.0))
        await asyncio.sleep(0)
        if how == "late":
            assert "took no channel within 0.01 s" in (await refusal(call)).finding.message
        elif how == "ended":
            await asyncio.sleep(0)
            pool.end("killed")
            assert "killed" in (await refusal(call)).finding.message
        else:
            await asyncio.sleep(0.001)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        child.may_open.set()
        await until_async(lambda: child.closed == child.channels == 1)
        if how != "ended":
            assert await echo(pool, "x") == "x"

    run(main())


def test_a_channel_that_was_opened_when_the_child_ended_is_closed(child: Child, pool: AsyncPool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        connect = loop.create_connection

        async def connect_late(*args: object, **named: object) -> object:
            connected = await connect(*args, **named)  # type: ignore[call-overload]
            pool.end("killed")
            await asyncio.sleep(0.001)
            return connected

        loop.create_connection = connect_late  # type: ignore[assignment, method-assign]
        assert "killed" in (await refusal(pool.call(WAIT, EMPTY))).finding.message

    run(main())
    assert not child.waiting


def test_a_channel_that_cannot_be_opened_leaves_room_for_another(child: Child) -> None:
    def failing(timeout: float | None) -> Ends:
        raise OSError("no descriptors")

    async def main() -> None:
        pool = AsyncPool(failing, "the child", most=1)
        for _ in range(3):
            with pytest.raises(OSError, match="no descriptors"):
                await pool.call(ECHO, EMPTY)
        pool.open = child.open
        assert await echo(pool, "x") == "x"

    run(main())


def test_a_channel_is_opened_although_all_threads_of_the_loop_wait_for_what_comes_over_it(pool: AsyncPool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        assert await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(echo(pool, "x"), loop).result()) == "x"

    run(main())


def test_each_loop_has_channels_of_its_own_and_gives_them_back(child: Child, pool: AsyncPool) -> None:
    before = holdings()
    wrong: list[object] = []

    async def main(name: int) -> None:
        texts = [f"{name} {number}" for number in range(50)]
        if (replies := await asyncio.gather(*[echo(pool, text) for text in texts])) != texts:
            wrong.append(replies)

    def in_thread(name: int) -> None:
        run(main(name))

    threads = [threading.Thread(target=in_thread, args=(name,)) for name in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert child.channels == 6
    until(lambda: child.closed == 6 and holdings() <= before)


def test_the_channels_of_a_loop_that_was_just_closed_go_when_the_next_begins(child: Child, pool: AsyncPool) -> None:
    """What asyncio would be told of at the end of `asyncio.run` is not told of a loop that is closed by hand."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(echo(pool, "x"))
    loop.close()
    run(echo(pool, "x"))
    until(lambda: child.closed == 2)
    del loop
    pool.end("")
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        gc.collect()


def test_a_stream_has_its_items_when_they_are_asked_for(child: Child, pool: AsyncPool) -> None:
    async def main() -> None:
        stream = await pool.stream(STREAM, EMPTY, 60.0)
        assert [(await anext(stream)).meta for _ in range(2)] == [b"\0", b"\1"]
        assert await echo(pool, "x") == "x"
        *items, failure = [frame async for frame in stream]
        assert [item.meta for item in items] == [b"\2", b"\3"]
        assert failure.flags & FAILED
        assert [frame async for frame in stream] == []
        await stream.aclose()
        stream = await pool.stream(RAISE, said("no"), 60.0)
        assert stream.first.flags & FAILED
        assert [frame async for frame in stream] == []

    run(main())
    assert (child.channels, child.ended) == (2, 1)


@pytest.mark.parametrize("how", ["closed", "dropped", "cancelled"])
def test_a_stream_that_is_left_is_ended_in_the_child(how: str, child: Child, pool: AsyncPool) -> None:
    async def main() -> None:
        stream = await pool.stream(STREAM, EMPTY, 60.0)
        await anext(stream)
        if how == "closed":
            await stream.aclose()
            await stream.aclose()
        elif how == "dropped":
            del stream
            gc.collect()
        else:
            item = asyncio.create_task(anext(stream))
            await asyncio.sleep(0)
            item.cancel()
            with pytest.raises(asyncio.CancelledError):
                await item
            assert [frame async for frame in stream] == []
        await until_async(lambda: child.ended == 1)
        assert await echo(pool, "x") == "x"

    run(main())
    assert child.channels == (1 if how == "closed" else 2)


def test_a_stream_that_asyncio_closes_with_its_loop_is_ended_in_the_child(child: Child, pool: AsyncPool) -> None:
    """Although the loop's channels are closed then, too."""
    closed: list[bool] = []

    async def items() -> AsyncIterator[Frame]:
        stream = await pool.stream(STREAM, EMPTY, 60.0)
        try:
            async for frame in stream:
                yield frame
        finally:
            await stream.aclose()
            closed.append(child.ended == 1)

    async def main() -> AsyncIterator[Frame]:
        await echo(pool, "x")
        left = items()
        await anext(left)
        return left

    run(main())
    assert closed == [True]
    until(lambda: child.closed == child.channels)


def reply(sequence: int = 1, operation: int = ECHO, meta: bytes = b"a reply", body: bytes = b"") -> bytes:
    return frames.encode(operation, sequence, 0, meta, body)


HEAD_OF_TOO_MUCH = struct.pack("<IIIHH", 0, LIMIT + 1, 1, ECHO, 0)


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([reply(sequence=2)], "frame-malformed"),
        ([reply(operation=WAIT)], "frame-malformed"),
        ([reply() * 2], "frame-malformed"),
        ([struct.pack("<IIIHH", 0, 0, 1, ECHO, 1 << 9)], "frame-malformed"),
        ([struct.pack("<IIIHH", 0, 9000, 1, ECHO, frames.IN_ARENA)], "frame-malformed"),
        ([HEAD_OF_TOO_MUCH], "frame-too-large"),
        ([HEAD_OF_TOO_MUCH[:7], HEAD_OF_TOO_MUCH[7:]], "frame-too-large"),
        ([reply(body=b"x" * 100)[:50], reply(body=b"x" * 100)[50:] + b"y"], "frame-malformed"),
        ([], "channel-lost"),
        ([reply()[:9]], "channel-lost"),
        ([reply(body=b"x" * 100)[:50]], "channel-lost"),
    ],
)
def test_what_is_no_reply_fails_the_call_with_its_code_and_ends_the_channel(pieces: list[bytes], code: str) -> None:
    async def main(pool: AsyncPool, theirs: socket.socket) -> None:
        call = asyncio.create_task(refusal(pool.call(ECHO, EMPTY, 60.0)))
        await until_async(lambda: is_readable(theirs))
        for piece in pieces:
            theirs.sendall(piece)
            await asyncio.sleep(0.002)
        if code == "channel-lost":
            theirs.shutdown(socket.SHUT_WR)
        assert (await call).finding.code == code
        theirs.settimeout(60)
        while theirs.recv(1 << 16):
            pass

    with_a_peer(main)


def test_a_reply_may_come_in_the_smallest_parts() -> None:
    data = reply(meta=b"m" * 40, body=b"b" * 90)

    async def main(pool: AsyncPool, theirs: socket.socket) -> None:
        for cut in (1, 7, len(data)):
            call = asyncio.create_task(pool.call(ECHO, EMPTY, 60.0))
            await until_async(lambda: is_readable(theirs))
            sequence = frames.decode(theirs.recv(1 << 16)).sequence  # type: ignore[union-attr]
            data_now = reply(sequence, meta=b"m" * 40, body=b"b" * 90)
            for start in range(0, len(data_now), cut):
                theirs.sendall(data_now[start : start + cut])
                for _ in range(2):
                    await asyncio.sleep(0)
            frame = await call
            assert (frame.meta, frame.body) == (b"m" * 40, b"b" * 90)

    with_a_peer(main)


@pytest.mark.parametrize(("late", "code"), [(reply(), "frame-malformed"), (b"", "channel-lost")])
def test_what_comes_unasked_fails_the_next_call(late: bytes, code: str) -> None:
    """As it does on a channel of threads: a second reply is told, not passed over."""

    async def main(pool: AsyncPool, theirs: socket.socket) -> None:
        call = asyncio.create_task(pool.call(ECHO, EMPTY, 60.0))
        await until_async(lambda: is_readable(theirs))
        theirs.sendall(reply())
        await call
        if late:
            theirs.sendall(late)
        else:
            theirs.close()
        await asyncio.sleep(0.01)
        assert (await refusal(pool.call(ECHO, EMPTY, 60.0))).finding.code == code

    with_a_peer(main)


def is_readable(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


def with_a_peer(main: Callable[[AsyncPool, socket.socket], Coroutine[object, object, None]]) -> None:
    """Runs a test with a pool whose one channel has its other end in the test's hands."""
    before = holdings()
    ours, theirs = socket.socketpair()
    with theirs:
        run(main(AsyncPool(lambda timeout: Ends(LinuxLine(ours), None), "the child", most=1), theirs))
    assert holdings() <= before


def test_asyncio_is_imported_for_those_who_await_and_for_nobody_else() -> None:
    code = (
        "import sys, pluginhost.isolation.pool, pluginhost.isolation.remote, pluginhost.isolation.serving; "
        "print('asyncio' in sys.modules); import pluginhost.isolation.awaiting; print('asyncio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
