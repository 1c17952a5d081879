"""Where one side waits for the other: a unix socket of the owner's, or a port of 127.0.0.1 where there are none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import sys
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Any

import grpclib.server
from grpclib.config import Configuration
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol
from h2.settings import SettingCodes

from pluginhost.errors import wrong
from pluginhost.goplugin.channel import WINDOW, tame

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection
    from typing import Final

    from grpclib.protocol import Stream

    from pluginhost.goplugin.handshake import Network
    from pluginhost.goplugin.services import Service

LOCALHOST: Final = "127.0.0.1"
LONGEST_PATH: Final = 107
"""Bytes of a socket's path, which the system takes."""
_BACKLOG: Final = 100
_MOST_STREAMS: Final = (1 << 31) - 1
"""Calls at once on a connection: the most that can be told."""
_OWNERS: Final = 0o600
_GROUPS: Final = 0o660


class Listener:
    """A socket that waits for connections, and how the other side is told of it.

    Attributes:
        network: What the address is of.
        address: A socket's path, or a host and a port.
        sock: The socket.
    """

    def __init__(self, network: Network, address: str, sock: socket.socket) -> None:
        self.network = network
        self.address = address
        self.sock = sock

    def close(self) -> None:
        """Closes the socket; its file is gone then."""
        self.sock.close()
        self.remove()

    def remove(self) -> None:
        """Removes the socket's file, where it has one."""
        if self.network == "unix":
            with contextlib.suppress(OSError):
                os.unlink(self.address)


def listen(folder: str = "", group: str = "", ports: tuple[int, int] = (0, 0)) -> Listener:
    """Returns a new listener of what this system does best.

    Args:
        folder: Where the socket's file is to be; the temporary folder when empty.
        group: A group, by name or number, whose members may connect too; none when empty.
        ports: The least and the greatest port, where there are no unix sockets; any when they are 0.

    Raises:
        ConfigurationError: The folder's path is too long for a socket, or there is no such group.
        OSError: It cannot be made.
    """
    if sys.platform == "win32" or not hasattr(socket, "AF_UNIX"):
        return listen_on_port(*ports)
    return _listen_on_path(folder or tempfile.gettempdir(), group)


def listen_on_port(least: int, greatest: int) -> Listener:
    """Returns a listener at the first free port.

    Raises:
        OSError: None is free.
    """
    for port in range(least, greatest + 1):
        try:
            sock = socket.create_server((LOCALHOST, port), backlog=_BACKLOG)
        except OSError:
            if port == greatest:
                raise
            continue
        return Listener("tcp", f"{LOCALHOST}:{sock.getsockname()[1]}", sock)
    raise wrong(f"there are no ports from {least} to {greatest}", "give the lesser port first")


def _listen_on_path(folder: str, group: str) -> Listener:
    path = os.path.join(folder, f"plugin{secrets.token_hex(8)}")
    if len(os.fsencode(path)) > LONGEST_PATH:
        what = f"the folder {folder!r} is too long for the path of a socket, which has {LONGEST_PATH} bytes at most"
        raise wrong(what, "set TMPDIR to a shorter one")
    with contextlib.ExitStack() as undo:
        sock = socket.socket(socket.AF_UNIX)
        listener = Listener("unix", path, sock)
        undo.callback(listener.close)
        sock.bind(path)
        # Nobody can connect before it listens, so the file is never anybody's.
        os.chmod(path, _GROUPS if group else _OWNERS)
        if group:
            try:
                shutil.chown(path, group=int(group) if group.isdigit() else group)
            except LookupError as exc:
                raise wrong(f"there is no group {group!r} to share the socket with", "name a group there is") from exc
        sock.listen(_BACKLOG)
        undo.pop_all()
    return listener


class _Methods(dict[str, Handler]):
    """What answers which path.

    grpclib's own answer to an unknown one has no content type, without which a client in Go does not look at its
    status, and takes a service that is not there for a failure.
    """

    def get(self, path: str, default: object = None) -> Handler:
        return self[path] if path in self else Handler(_unknown, Cardinality.STREAM_STREAM, bytes, bytes)


async def _unknown(stream: grpclib.server.Stream[Any, Any]) -> None:
    raise GRPCError(Status.UNIMPLEMENTED, "unknown method")


class Server(grpclib.server.Server):
    """A grpclib server on a listener, which closes its connections too when it closes."""

    def __init__(self, listener: Listener, services: Collection[Service], tls: ssl.SSLContext | None) -> None:
        """Makes a server; it begins with `begin`.

        Args:
            listener: Where it listens.
            services: What it serves.
            tls: Who may connect; everybody who can when `None`.
        """
        super().__init__(services, config=Configuration(http2_connection_window_size=WINDOW))
        self._mapping = _Methods(self._mapping)
        self._listener = listener
        self._tls = tls
        self._connections: set[_Connection] = set()

    @property
    def is_closed(self) -> bool:
        """Whether it serves nobody any more."""
        return self._listener.sock.fileno() < 0

    async def begin(self) -> None:
        """Begins to serve.

        Raises:
            ConnectionError: It was closed meanwhile.
        """
        await self.start(sock=self._listener.sock, ssl=self._tls)
        if self.is_closed:
            with contextlib.suppress(ValueError):  # its socket has no number any more
                super().close()
            raise ConnectionError("the server was closed before it had begun")

    def close(self) -> None:
        """Ends what it does, and its connections; none is left."""
        if self._server is not None:
            super().close()
        elif not self.is_closed:  # it may have begun to listen, and the next socket may get its number
            with contextlib.suppress(RuntimeError):  # the loop has ended, or has no readers
                self._loop.remove_reader(self._listener.sock)
        for connection in list(self._connections):
            connection.processor.close()
        self._listener.close()

    async def until_closed(self, seconds: float) -> None:
        """Waits until the other sides have what was sent to them.

        Args:
            seconds: How long they may take.
        """
        if ends := [connection.lost for connection in self._connections]:
            await asyncio.wait(ends, timeout=seconds)

    def _protocol_factory(self) -> H2Protocol:
        if self.is_closed:  # since it was accepted; asyncio would keep the socket until it is collected
            raise ConnectionError("the server is closed")
        return _Connection(super()._protocol_factory(), self, self._connections)


class _Connection(H2Protocol):
    """A connection of a server's.

    Attributes:
        lost: Done when there is nothing left of it.
    """

    def __init__(self, made: H2Protocol, server: Server, kept: set[_Connection]) -> None:
        super().__init__(made.handler, made.config, made.h2_config)
        self._server, self._kept = server, kept
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        tame(self)
        # Of 100 calls that take long, the next would wait, be it whether the plugin is in health.
        self.connection._connection.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: _MOST_STREAMS})
        self.connection.flush()
        vars(self.handler)["accept"] = partial(self._accept, self.handler.accept)
        self._kept.add(self)
        if self._server.is_closed:  # since it was accepted
            self.processor.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._kept.discard(self)
        if not self.lost.done():
            self.lost.set_result(None)

    def _accept(
        self, accept: Callable[..., None], stream: Stream, headers: Any, release_stream: Callable[[], None]
    ) -> None:
        """Begins to answer a call; one that is cancelled before its first step is given back here."""

        def release(_: object) -> None:
            if stream.id in self.processor.streams:
                release_stream()

        accept(stream, headers, release_stream)
        tasks: dict[Stream, asyncio.Task[None]] = vars(self.handler)["_tasks"]
        tasks[stream].add_done_callback(release)
