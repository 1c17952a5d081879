from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from goplugin.ends import channel_to, close
from grpclib.const import Cardinality, Handler
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from pluginhost.errors import ConfigurationError
from pluginhost.goplugin import channel as channels
from pluginhost.goplugin import listening, services
from waiting import until_async

if TYPE_CHECKING:
    from grpclib.server import Stream
    from pluginhost.goplugin.channel import Channel


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


def test_a_socket_is_the_owners_and_its_file_goes_with_it(folder: Path) -> None:
    one, other = listening.listen(str(folder)), listening.listen(str(folder))
    assert one.network == "unix"
    assert one.address != other.address
    assert Path(one.address).name.startswith("plugin")
    assert stat.S_IMODE(os.stat(one.address).st_mode) == 0o600
    one.close()
    assert [str(path) for path in folder.iterdir()] == [other.address]
    other.close()
    other.close()
    assert not list(folder.iterdir())


def test_without_a_folder_it_is_in_the_temporary_one(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    listener = listening.listen()
    assert Path(listener.address).parent == folder
    listener.close()


@pytest.mark.parametrize("is_number", [True, False])
def test_a_group_may_connect_too(folder: Path, is_number: bool) -> None:
    group = os.getgid()
    listener = listening.listen(str(folder), str(group) if is_number else grp.getgrgid(group).gr_name)
    status = os.stat(listener.address)
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, group)
    listener.close()


def test_what_is_not_possible_is_told_and_leaves_nothing(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="no group 'nobody-has-it'"):
        listening.listen(str(folder), "nobody-has-it")
    long = folder / ("x" * 100)
    long.mkdir()
    with pytest.raises(ConfigurationError, match="set TMPDIR to a shorter one"):
        listening.listen(str(long))
    with pytest.raises(OSError, match="No such file"):
        listening.listen(str(folder / "not-there"))
    with pytest.raises(ConfigurationError, match="no ports from 2 to 1"):
        listening.listen_on_port(2, 1)
    assert list(folder.iterdir()) == [long]


def test_a_port_is_the_first_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")  # where it is the only way
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listener = listening.listen(ports=(port, min(port + 200, 65535)))
        assert listener.network == "tcp"
        assert int(listener.address.rpartition(":")[2]) > port
        listener.close()
        with pytest.raises(OSError, match="in use"):
            listening.listen(ports=(port, port))


def test_a_server_that_closes_ends_its_connections_too() -> None:
    async def test() -> None:
        server = listening.Server(listening.listen_on_port(0, 0), [services.health()], None)
        await server.begin()
        channel = channel_to("tcp", server._listener.address)
        assert await services.is_serving(channel)
        server.close()
        await until_async(lambda: not channel._connected)
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await services.is_serving(channel)
        channel.close()

    asyncio.run(test())


def test_requests_that_nobody_reads_hold_up_no_other_call() -> None:
    class Unread:
        received = 0

        async def __call__(self, stream: Stream[Any, Any]) -> None:
            while True:
                self.received = stream._stream.connection.data_received
                await asyncio.sleep(0.001)

        def __mapping__(self) -> dict[str, Handler]:
            return {"/unread.Unread/Ask": Handler(self, Cardinality.STREAM_UNARY, bytes, bytes)}

    async def send(channel: Channel) -> None:
        async with channel.request("/unread.Unread/Ask", Cardinality.STREAM_UNARY, bytes, bytes) as stream:
            while True:
                await stream.send_message(bytes(1 << 20))

    async def test() -> None:
        unread = Unread()
        server = listening.Server(listening.listen_on_port(0, 0), [services.health(), unread], None)
        await server.begin()
        channel = channel_to("tcp", server._listener.address)
        sending = asyncio.create_task(send(channel))
        await until_async(lambda: unread.received >= 4 << 20, "its window is full")
        assert await services.is_serving(channel, 60)
        sending.cancel()
        await asyncio.wait([sending])
        await close(channel)
        server.close()

    asyncio.run(test())


def test_a_server_may_be_closed_before_it_began() -> None:
    async def test() -> None:
        listening.Server(listening.listen_on_port(0, 0), [], None).close()

    asyncio.run(test())


class Hang:
    """Answers nothing."""

    begun = 0

    async def __call__(self, stream: Stream[Any, Any]) -> None:
        await stream.recv_message()
        self.begun += 1
        await asyncio.Event().wait()

    def __mapping__(self) -> dict[str, Handler]:
        return {"/hang.Hang/Ask": Handler(self, Cardinality.UNARY_UNARY, services.Empty, services.Empty)}


def test_any_number_of_calls_that_take_long_holds_up_no_other() -> None:
    async def test() -> None:
        hang = Hang()
        server = listening.Server(listening.listen_on_port(0, 0), [services.health(), hang], None)
        await server.begin()
        channel = channel_to("tcp", server._listener.address)
        assert await services.is_serving(channel)  # what the server allows has come
        calls = [asyncio.create_task(channels.call(channel, "/hang.Hang/Ask", b"", None, None)) for _ in range(110)]
        await until_async(lambda: hang.begun == 110)
        assert await services.is_serving(channel, 60)
        await close(channel)
        await asyncio.wait(calls)
        assert all(isinstance(each.exception(), channels.LOST) for each in calls)
        server.close()
        await server.until_closed(60)

    asyncio.run(test())


def test_calls_that_are_given_up_at_once_leave_nothing() -> None:
    async def test() -> None:
        hang = Hang()
        server = listening.Server(listening.listen_on_port(0, 0), [hang], None)
        await server.begin()
        host, _, port = server._listener.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        wire = H2Connection(H2Configuration(client_side=True))
        wire.initiate_connection()
        names = {":method": "POST", ":scheme": "http", ":path": "/hang.Hang/Ask", ":authority": "x", "te": "trailers"}
        names["content-type"] = "application/grpc"
        for is_last in (False,) * 20 + (True,):
            stream = wire.get_next_available_stream_id()
            wire.send_headers(stream, [*names.items()])
            wire.send_data(stream, bytes(5))
            if not is_last:
                wire.reset_stream(stream, ErrorCodes.CANCEL)
        writer.write(wire.data_to_send())  # the server reads it in one go
        await until_async(lambda: hang.begun)
        (connection,) = server._connections
        assert [*connection.processor.streams] == [stream]
        writer.close()
        server.close()
        await server.until_closed(60)

    asyncio.run(test())


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "closed"])
def test_one_that_is_closed_while_it_begins_leaves_its_sockets_number_to_others(is_cancelled: bool) -> None:
    async def test() -> None:
        server = listening.Server(listening.listen_on_port(0, 0), [], None)
        number = server._listener.sock.fileno()
        beginning = asyncio.create_task(server.begin())
        await asyncio.sleep(0)  # it listens, and does not know it yet
        if is_cancelled:
            beginning.cancel()
            await asyncio.wait([beginning])
        server.close()
        await asyncio.wait([beginning])
        assert is_cancelled == beginning.cancelled()
        assert is_cancelled or isinstance(beginning.exception(), ConnectionError)
        one, other = socket.socketpair()
        if (given := one.detach()) != number:
            os.dup2(given, number)
            os.close(given)
        with other:
            reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=number))
            other.send(b"hello")
            assert await asyncio.wait_for(reader.read(5), 60) == b"hello"
            writer.close()
            await writer.wait_closed()

    asyncio.run(test())


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # asyncio's: it drops what it has accepted
@pytest.mark.parametrize("turns", range(6))
def test_a_connection_is_closed_however_little_there_is_of_it_when_its_server_closes(turns: int) -> None:
    async def test() -> None:
        server = listening.Server(listening.listen_on_port(0, 0), [], None)
        await server.begin()
        host, _, port = server._listener.address.rpartition(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.setblocking(False)
            for _ in range(turns):
                await asyncio.sleep(0)
            server.close()
            with contextlib.suppress(ConnectionError):
                while await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1000), 60):
                    pass
        assert not server._connections

    asyncio.run(test())
