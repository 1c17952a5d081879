from __future__ import annotations

import asyncio
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
from pluginhost.errors import ConfigurationError
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
