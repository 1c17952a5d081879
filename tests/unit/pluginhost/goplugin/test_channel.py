"""Calls without stubs, against a server in the same loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import StreamEnded
from h2.settings import SettingCodes
from pluginhost.goplugin import channel as channels
from pluginhost.goplugin.channel import Aborted, Channel
from pluginhost.goplugin.handshake import Line
from waiting import until_async

UNARY, STREAM = Cardinality.UNARY_UNARY, Cardinality.STREAM_STREAM


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="plugin-") as folder:
        yield Path(folder) / "socket"


class Echo:
    """Answers each message with itself, and after `enough` with no more."""

    async def __call__(self, stream: Stream[Any, Any]) -> None:
        async for message in stream:
            if message == b"fail":
                raise GRPCError(Status.NOT_FOUND, "it failed")
            if message == b"flood":
                while True:
                    await stream.send_message(bytes(1 << 20))
            if message == b"hang":
                await asyncio.Event().wait()
            await stream.send_message(message * 2)
            if message == b"enough":  # as a server in Go ends a call whose requests have not
                await stream.send_trailing_metadata()
                stream._stream.reset_nowait(ErrorCodes.NO_ERROR)
                return

    def __mapping__(self) -> dict[str, Handler]:
        return {
            f"/echo.Echo/{name}": Handler(self, kind, bytes, bytes) for name, kind in (("One", UNARY), ("Many", STREAM))
        }


def with_channel(path: Path, act: Callable[[Channel], Awaitable[None]], limit: int | None = None) -> None:
    """Does something with a channel to a server."""

    async def run() -> None:
        server = Server([Echo()], codec=channels._BYTES)
        await server.start(path=str(path))
        channel = Channel(Line(1, "unix", str(path)), None, limit)
        try:
            async with asyncio.timeout(60):
                await act(channel)
        finally:
            channel.end("the test is over")
            server.close()
            await server.wait_closed()

    asyncio.run(run())


async def given(*requests: bytes) -> AsyncIterator[bytes]:
    for request in requests:
        yield request


async def replies(channel: Channel, requests: bytes | AsyncIterator[bytes]) -> list[bytes]:
    return [each async for each in channels.stream(channel, "/echo.Echo/Many", requests, None, None)]


def test_bytes_go_and_come_one_by_one_or_as_streams(path: Path) -> None:
    async def act(channel: Channel) -> None:
        assert await channels.call(channel, "/echo.Echo/One", b"ab", None, {"key": "value"}) == b"abab"
        assert await channels.call(channel, "/echo.Echo/One", b"", None, None) == b""
        assert await replies(channel, b"x") == [b"xx"]
        assert await replies(channel, given(b"x", b"y")) == [b"xx", b"yy"]
        assert await replies(channel, given()) == []

    with_channel(path, act)


def test_what_the_other_side_says_of_a_failure_is_raised(path: Path) -> None:
    async def act(channel: Channel) -> None:
        for attempt in (
            channels.call(channel, "/echo.Echo/One", b"fail", None, None),
            replies(channel, b"fail"),
            replies(channel, given(b"x", b"fail", b"y")),
        ):
            with pytest.raises(GRPCError, match="it failed"):
                await attempt
        with pytest.raises(GRPCError):
            await channels.call(channel, "/echo.Echo/Two", b"", None, None)

    with_channel(path, act)


def test_all_that_came_is_read_when_the_other_side_wants_no_more(path: Path) -> None:
    """It says so by a reset of the stream, which is no failure."""

    async def for_ever() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"enough"
        await asyncio.Event().wait()

    async def act(channel: Channel) -> None:
        for _ in range(20):
            assert await replies(channel, for_ever()) == [b"aa", b"enoughenough"]
            assert await channels.call(channel, "/echo.Echo/One", b"x", None, None) == b"xx"

    with_channel(path, act)


def test_what_the_applications_requests_raise_ends_the_call(path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise KeyError("mine")

    async def act(channel: Channel) -> None:
        with pytest.raises(Aborted) as caught:
            await replies(channel, broken())
        assert isinstance(caught.value.error, KeyError)
        assert await replies(channel, b"x") == [b"xx"]

    with_channel(path, act)


def test_a_call_ends_in_time(path: Path) -> None:
    async def act(channel: Channel) -> None:
        with pytest.raises(TimeoutError):
            await channels.call(channel, "/echo.Echo/One", b"hang", 0.05, None)
        with pytest.raises((TimeoutError, GRPCError)):
            [each async for each in channels.stream(channel, "/echo.Echo/Many", b"hang", 0.05, None)]

    with_channel(path, act)


def test_a_message_beyond_the_limit_is_refused_and_the_next_is_taken(path: Path) -> None:
    async def act(channel: Channel) -> None:
        assert await channels.call(channel, "/echo.Echo/One", b"12345", None, None) == b"1234512345"
        with pytest.raises(GRPCError, match="a message of 12 bytes came, and 10 are the most") as caught:
            await channels.call(channel, "/echo.Echo/One", b"123456", None, None)
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        assert await channels.call(channel, "/echo.Echo/One", b"1", None, None) == b"11"

    with_channel(path, act, limit=10)


def test_a_large_message_crosses(path: Path) -> None:
    async def act(channel: Channel) -> None:
        assert len(await channels.call(channel, "/echo.Echo/One", bytes(5_000_000), None, None)) == 10_000_000

    with_channel(path, act)


def test_a_stream_that_nobody_reads_holds_up_no_other_call(path: Path) -> None:
    async def act(channel: Channel) -> None:
        async with channel.request("/echo.Echo/Many", STREAM, bytes, bytes) as stream:
            await stream.send_message(b"flood", end=True)
            await stream.recv_message()
            connection = channel._protocol.connection  # type: ignore[union-attr]
            await until_async(lambda: connection.data_received >= 4 << 20, "its window is full")
            assert await channels.call(channel, "/echo.Echo/One", bytes(99_999), 60, None) == bytes(199_998)
            await stream.cancel()

    with_channel(path, act)


def test_a_port_does_as_well_as_a_path() -> None:
    async def run() -> None:
        server = Server([Echo()], codec=channels._BYTES)
        with socket.create_server(("127.0.0.1", 0)) as sock:
            await server.start(sock=sock)
            channel = Channel(Line(1, "tcp", f"127.0.0.1:{sock.getsockname()[1]}"), None)
            assert await channels.call(channel, "/echo.Echo/One", b"x", 60, None) == b"xx"
            channel.end("")
            server.close()
            await server.wait_closed()

    asyncio.run(run())


def test_a_channel_that_has_ended_connects_to_nobody(path: Path) -> None:
    """Somebody else may listen there by now."""

    async def act(channel: Channel) -> None:
        assert await channels.call(channel, "/echo.Echo/One", b"x", None, None) == b"xx"
        channel.end("its plugin has ended")
        with pytest.raises(ConnectionError, match="its plugin has ended"):
            await channels.call(channel, "/echo.Echo/One", b"x", None, None)

    with_channel(path, act)


def test_what_is_not_grpc_breaks_the_call_and_nothing_else(path: Path) -> None:
    async def run() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)
            writer.close()

        async with await asyncio.start_unix_server(answer, str(path)):
            channel = Channel(Line(1, "unix", str(path)), None)
            with pytest.raises(channels.LOST):
                await channels.call(channel, "/echo.Echo/One", b"x", None, None)
            channel.end("")

    asyncio.run(run())


def test_a_connection_that_comes_after_the_end_is_closed(path: Path) -> None:
    async def run() -> None:
        gone = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            gone.set()
            writer.close()

        async with await asyncio.start_unix_server(serve, path):
            channel = Channel(Line(0, "unix", str(path)), None)
            connecting = asyncio.create_task(channel.__connect__())
            await asyncio.sleep(0)  # it has begun
            channel.end("it is over")
            with pytest.raises(ConnectionError, match="it is over"):
                await connecting
            await asyncio.wait_for(gone.wait(), 60)

    asyncio.run(run())


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "ended"])
def test_calls_that_wait_until_others_have_ended_end_with_the_connection(path: Path, is_lost: bool) -> None:
    async def act(channel: Channel) -> None:
        await channels.call(channel, "/echo.Echo/One", b"x", None, None)  # it knows how many calls there may be
        calls = [asyncio.create_task(channels.call(channel, "/echo.Echo/One", b"hang", None, None)) for _ in range(110)]
        connection = channel._protocol.connection  # type: ignore[union-attr]
        await until_async(lambda: len(connection.stream_close_waiter._waiters) == 10)  # type: ignore[attr-defined]
        if is_lost:
            connection._transport.abort()
        else:
            channel.end("it is over")
        await all_fail(calls)

    with_channel(path, act)


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "ended"])
def test_calls_that_wait_until_others_are_read_end_with_the_connection(path: Path, is_lost: bool) -> None:
    async def run() -> None:
        over, gone = asyncio.Event(), asyncio.Event()

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            wire = H2Connection(H2Configuration(client_side=False))
            wire.initiate_connection()
            wire.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 30})
            wire.increment_flow_control_window(1 << 30)
            writer.write(wire.data_to_send())
            await over.wait()
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            gone.set()

        async with await asyncio.start_unix_server(serve, path):
            channel = Channel(Line(0, "unix", str(path)), None)
            connection = (await channel.__connect__()).connection
            transport = connection._transport
            await until_async(lambda: connection._connection.remote_settings.initial_window_size == 1 << 30)
            calls = []
            for size, waiting in (9_000_000, 1), (1, 2), (1, 3):
                work = channels.call(channel, "/echo.Echo/One", bytes(size), None, None)
                calls.append(asyncio.create_task(work))
                await until_async(lambda most=waiting: len(connection.write_ready._waiters) == most)  # type: ignore[attr-defined]
            if is_lost:
                over.set()
            else:
                channel.end("it is over")
            await all_fail(calls)
            over.set()
            await asyncio.wait_for(gone.wait(), 60)
            channel.end("")
            transport.abort()
            await asyncio.sleep(0)  # which ends it

    asyncio.run(run())


def test_an_answer_without_a_status_is_none(path: Path) -> None:
    async def run() -> None:
        gone = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            wire = H2Connection(H2Configuration(client_side=False))
            wire.initiate_connection()
            while data := await reader.read(1 << 16):
                for event in wire.receive_data(data):
                    if isinstance(event, StreamEnded):
                        headers = [(":status", "200"), ("content-type", "application/grpc")]
                        wire.send_headers(event.stream_id, headers)
                        wire.send_data(event.stream_id, bytes(5), end_stream=True)
                writer.write(wire.data_to_send())
            writer.close()
            await writer.wait_closed()
            gone.set()

        async with await asyncio.start_unix_server(serve, path):
            channel = Channel(Line(0, "unix", str(path)), None)
            with pytest.raises(GRPCError, match="grpc-status"):
                await asyncio.wait_for(channels.call(channel, "/echo.Echo/One", b"x", None, None), 60)
            with pytest.raises(GRPCError, match="grpc-status"):
                await asyncio.wait_for(replies(channel, given(b"x")), 60)
            channel.end("")
            await asyncio.wait_for(gone.wait(), 60)

    asyncio.run(run())


async def all_fail(calls: list[asyncio.Task[bytes]]) -> None:
    await until_async(lambda: all(each.done() for each in calls), "the end of all")
    assert all(isinstance(each.exception(), channels.LOST) for each in calls)
