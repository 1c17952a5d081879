"""This process as a go-plugin plugin: `serve`.

```python
from pluginhost.goplugin import HandshakeConfig, serve

serve([Greeter()], HandshakeConfig("GREETER_PLUGIN", "f4a51ac0-96c2-4d1e-8d0e-5ee6a3b3d0d1"))
```
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import ssl
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from pluginhost.errors import escape, wrong
from pluginhost.goplugin import handshake as names
from pluginhost.goplugin import hclog, listening
from pluginhost.goplugin.broker import Broker, Security
from pluginhost.goplugin.certificates import Certificate, client_context, server_context
from pluginhost.goplugin.channel import quiet_wire
from pluginhost.goplugin.handshake import Line, chosen_version, offered_versions
from pluginhost.goplugin.life import end_with_host
from pluginhost.goplugin.listening import Server
from pluginhost.goplugin.services import SHUTDOWN, Empty, Served, health
from pluginhost.goplugin.stdio import Stdio

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from typing import Final, TypeAlias

    from grpclib import server

    from pluginhost.goplugin.handshake import HandshakeConfig
    from pluginhost.goplugin.listening import Listener
    from pluginhost.goplugin.services import Service

    Services: TypeAlias = Collection[Service] | Callable[[Broker], Collection[Service]]

_TO_READ: Final = 2.0
"""Seconds that a host, when it ends the plugin, may leave unread what was printed, and then what was sent last.

As long as it gives a plugin to end: a busy machine may well hold it up for one of them.
"""


def serve(
    services: Services,
    handshake: HandshakeConfig,
    *,
    versions: Mapping[int, Services] | None = None,
    logger: logging.Logger | None = None,
) -> None:
    """Serves this process as a plugin, and returns when its host has ended it, or was itself ended.

    It is to be called in the main thread, once, and before anything is printed. SIGINT, which a terminal sends to the
    host's plugins too, is the host's to act upon. What the process prints from then on goes to the host, and so do log
    records. If the host dies, the process ends within some seconds.

    Args:
        services: What is served, as a grpclib server takes it: instances of the base classes that
            `protoc --grpclib_python_out` makes. Or a function that is called with the broker and returns them, in the
            event loop, for services which call their host back.
        handshake: What was agreed upon with the host.
        versions: The services of protocol versions for which they are others than `services`.
        logger: Whose records are the plugin's log; all when `None`.

    Raises:
        SystemExit: It was not started by its host; who did is told.
        ConfigurationError: `versions` has one that is not in `handshake`, or there can be no socket.
        GoPluginError: The certificate that the host sent is none.
    """
    require_host(handshake)
    asked = _Asked.take()
    if unknown := set(versions or ()) - set(handshake.versions):
        what = f"there are services of protocol version {min(unknown)}, which the handshake does not have"
        raise wrong(what, "name each in `protocol_versions`")
    version = chosen_version(handshake.versions, asked.versions)
    plugin = _Plugin(asked, version)
    stdout = os.dup(1)
    with _undisturbed(), _logging(logger or logging.getLogger()):
        try:
            asyncio.run(plugin.run((versions or {}).get(version, services), stdout))
        finally:
            os.close(stdout)


class _Asked(NamedTuple):
    """What the host said in variables.

    Attributes:
        versions: The protocol versions that it takes.
        certificate: Its certificate, as PEM; empty for connections in the clear.
        is_multiplexed: Whether it wants all connections to go over one.
        folder: Where sockets are to be.
        group: Who may connect besides.
        ports: The least and the greatest port.
    """

    versions: tuple[int, ...]
    certificate: str
    is_multiplexed: bool
    folder: str
    group: str
    ports: tuple[int, int]

    @classmethod
    def take(cls) -> _Asked:
        """Returns what it said, and removes it: what this process starts may be a host, or a plugin, itself."""
        said = {name: os.environ.pop(name, "") for name in _VARIABLES}
        least, greatest = (said[name] for name in (names.LEAST_PORT, names.GREATEST_PORT))
        if not all(port.isdecimal() or not port for port in (least, greatest)):
            raise wrong(f"the host gives the ports {least!r} to {greatest!r}", "it is to give two numbers")
        return cls(
            offered_versions(said[names.VERSIONS]),
            said[names.CLIENT_CERTIFICATE],
            bool(said[names.MULTIPLEX]),
            said[names.SOCKET_FOLDER],
            said[names.SOCKET_GROUP],
            (int(least or 0), int(greatest or 0)),
        )


_VARIABLES: Final = (
    names.VERSIONS, names.CLIENT_CERTIFICATE, names.MULTIPLEX, names.LEAST_PORT, names.GREATEST_PORT,
    names.SOCKET_FOLDER, names.SOCKET_GROUP,
)  # fmt: skip


class _Plugin:
    """What is there while a plugin serves."""

    def __init__(self, asked: _Asked, version: int) -> None:
        self._asked = asked
        self._version = version
        self._listeners: list[Listener] = []
        self._certificate = b""
        self._security = self._secure() if asked.certificate else None

    async def run(self, services: Services, stdout: int) -> None:
        """Serves until the host has had enough.

        Args:
            services: What is served.
            stdout: Where the host reads the handshake.
        """
        loop, self._stdio, self._ended = asyncio.get_running_loop(), Stdio(), asyncio.Event()
        broker = Broker(self._listen, self._security)
        with contextlib.ExitStack() as undo:
            self._stdio.take_over()
            undo.callback(self._stdio.close)
            undo.callback(broker.close)
            served = [*(services(broker) if callable(services) else services), *self._fixed(broker)]
            listener = self._listen()
            own = Server(listener, served, self._security and self._security.accepting)
            undo.callback(own.close)
            await own.begin()
            end_with_host(lambda: _call(loop, self._ended.set), self._remove)
            _on_sigterm(loop, self._ended.set)
            os.write(stdout, f"{self._line(listener)}\n".encode())
            await self._ended.wait()
        await own.until_closed(_TO_READ)

    def _secure(self) -> Security:
        own, host = Certificate.make(), self._asked.certificate
        self._certificate = own.der
        accepting = server_context(own, host)  # which says what is wrong with the host's
        return Security(accepting, client_context(own, ssl.PEM_cert_to_DER_cert(host)))

    def _fixed(self, broker: Broker) -> list[Service]:
        return [Served({SHUTDOWN: self._shut_down}), self._stdio.service(), broker.service(), health()]

    def _listen(self) -> Listener:
        made = listening.listen(self._asked.folder, self._asked.group, self._asked.ports)
        self._listeners.append(made)
        return made

    def _line(self, at: Listener) -> Line:
        # Who asks for multiplexing is to know that there is none; who does not ask may be too old for the answer.
        multiplexed = False if self._asked.is_multiplexed else None
        return Line(self._version, at.network, at.address, self._certificate, multiplexed)

    def _remove(self) -> None:
        for listener in self._listeners:
            listener.remove()

    async def _shut_down(self, stream: server.Stream[Any, Any]) -> None:
        await stream.recv_message()
        try:
            await self._stdio.end(_TO_READ)
            await stream.send_message(Empty())
            await stream.send_trailing_metadata()
        finally:  # the host may have set a deadline
            self._ended.set()


def require_host(handshake: HandshakeConfig, name: str = "") -> None:
    """Returns if it was a host that started this process.

    Args:
        handshake: What was agreed upon with the host.
        name: What a person is told that it is; the program's name when empty.

    Raises:
        SystemExit: It was a person, it seems.
    """
    if os.environ.get(handshake.cookie_key) != handshake.cookie_value:
        shown = escape(name or os.path.basename(sys.argv[0]) or "this program")
        print(
            f"{shown} is a plugin, and not meant to be executed directly.\n"
            "Start the program that uses it: that loads its plugins by itself.",
            file=sys.stderr,
        )
        raise SystemExit(1)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """While it lasts, SIGINT does nothing here; what this process starts gets it as ever."""
    if threading.current_thread() is not threading.main_thread():  # no other may set a handler
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _on_sigterm(loop: asyncio.AbstractEventLoop, end: Callable[[], object]) -> None:
    """Has the first SIGTERM end the plugin in an orderly way; a second ends it as ever."""

    def ended() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        end()

    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # Windows; not the main thread
        loop.add_signal_handler(signal.SIGTERM, ended)


@contextlib.contextmanager
def _logging(logger: logging.Logger) -> Iterator[None]:
    """While it lasts, records go to the host, as hclog writes them."""
    stderr = os.dup(2)
    handler = hclog.Handler(lambda line: _write(stderr, line))
    logger.addHandler(handler)
    quiet_wire()
    try:
        yield
    finally:
        logger.removeHandler(handler)
        os.close(stderr)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # it is closed: the plugin is ending
        loop.call_soon_threadsafe(function)
