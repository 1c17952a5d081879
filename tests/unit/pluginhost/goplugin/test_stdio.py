"""What is printed is kept for a host that reads, in order and whole; and no host can hold up who prints for ever."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest
from goplugin.ends import SECONDS, connected
from hypothesis import given
from hypothesis import strategies as st
from pluginhost.goplugin.services import STREAM_STDIO, Nothing, Served, StdioData
from pluginhost.goplugin.stdio import CHUNK, Backlog, Stdio

OUT, ERR = StdioData.STDOUT, StdioData.STDERR


async def everything(backlog: Backlog) -> list[tuple[int, bytes]]:
    found = []
    async with asyncio.timeout(SECONDS):
        while piece := await backlog.take():
            found.append(piece)
    return found


def joined(pieces: list[tuple[int, bytes]], channel: int) -> bytes:
    return b"".join(data for each, data in pieces if each == channel)


@given(st.lists(st.tuples(st.sampled_from([OUT, ERR]), st.binary(min_size=1, max_size=40)), max_size=30))
def test_a_host_that_reads_gets_all_in_order(printed: list[tuple[int, bytes]]) -> None:
    backlog = Backlog(limit=50, unread=10, patience=SECONDS)

    def write() -> None:
        for channel, data in printed:
            backlog.put(channel, data)
        backlog.close()

    thread = threading.Thread(target=write)
    thread.start()
    found = asyncio.run(everything(backlog))
    thread.join()
    for channel in (OUT, ERR):
        assert joined(found, channel) == joined(printed, channel)


def test_who_prints_waits_for_a_host_that_reads() -> None:
    backlog = Backlog(limit=10, unread=5, patience=SECONDS)
    backlog.put(OUT, b"0123456789")
    thread = threading.Thread(target=backlog.put, args=(ERR, b"more"))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    assert asyncio.run(backlog.take()) == (OUT, b"0123456789")
    thread.join(SECONDS)
    assert asyncio.run(backlog.take()) == (ERR, b"more")


def test_a_host_that_does_not_read_holds_up_nobody_for_long_and_memory_is_bounded() -> None:
    """It waits once; after that the last is kept, and when the host reads after all, it is told what is missing."""
    backlog = Backlog(limit=1_000, unread=100, patience=0.01)
    for number in range(10_000):
        backlog.put(OUT, f"{number:09}\n".encode())
        assert backlog._size <= 1_000
    backlog.close()
    lost, *rest = asyncio.run(everything(backlog))
    assert lost == (ERR, "\n… 99,900 bytes were printed before this, and nobody read them\n".encode())
    assert joined(rest, OUT) == b"".join(f"{number:09}\n".encode() for number in range(9_990, 10_000))


def test_the_end_wakes_who_waits_to_print_and_who_waits_to_read() -> None:
    backlog = Backlog(limit=10, unread=5, patience=SECONDS)
    backlog.put(OUT, b"0123456789")
    thread = threading.Thread(target=backlog.put, args=(OUT, b"0123456789"))
    thread.start()
    backlog.close()
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert joined(asyncio.run(everything(backlog)), OUT) == b"0123456789" * 2

    async def test() -> None:
        other = Backlog()
        taken = asyncio.create_task(other.take())
        await asyncio.sleep(0)
        other.close()
        assert await taken is None

    asyncio.run(test())


def test_what_could_not_be_sent_is_for_the_next_that_reads() -> None:
    """Messages are of a kilobyte at most; a host that loses the stream asks for another."""

    async def test() -> None:
        stdio = Stdio()
        stdio.backlog.put(OUT, bytes(range(256)) * 40)
        stdio.backlog.close()
        found = b""
        is_broken = True

        async def answer(stream: Any) -> None:
            send, sent = stream.send_message, 0

            async def break_off(message: Any) -> None:
                nonlocal sent
                if is_broken and sent == 3:
                    raise ConnectionError
                sent += 1
                await send(message)

            stream.send_message = break_off
            with contextlib.suppress(ConnectionError):
                await stdio._answer(stream)

        async with connected(Served({STREAM_STDIO: answer})) as channel:
            for expected in (3, 10):
                messages = 0
                async with STREAM_STDIO.open(channel) as stream:
                    await stream.send_message(Nothing())
                    async for message in stream:
                        assert (message.channel, len(message.data) <= CHUNK) == (OUT, True)
                        found += message.data
                        messages += 1
                is_broken = False
                assert messages <= expected
        assert found == bytes(range(256)) * 40

    asyncio.run(test())


@pytest.mark.parametrize("size", [1, CHUNK, CHUNK + 1, 300_000])
def test_any_length_is_sent_whole(size: int) -> None:
    async def test() -> None:
        stdio = Stdio()
        stdio.backlog.put(ERR, b"x" * size)
        stdio.backlog.close()
        async with connected(stdio.service()) as channel, STREAM_STDIO.open(channel, SECONDS) as stream:
            await stream.send_message(Nothing())
            lengths = [len(message.data) async for message in stream]
            assert sum(lengths) == size
            assert max(lengths) <= CHUNK

    asyncio.run(test())
