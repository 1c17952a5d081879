"""GRPCBroker: connections beside the first, each way, so that a plugin can call back what its host gives it.

Whoever serves something chooses a number, listens, and tells over one stream where; the other side, which got the
number in a call of the application's own, waits for that and connects. Both sides are alike but for who begins the
stream. Each connection has the same certificates as the first.

Not done is go-plugin's multiplexing, where all connections go over one and each is asked for by a knock.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from grpclib.exceptions import GRPCError, StreamTerminatedError

from pluginhost.errors import Finding, GoPluginError, describe, escape, wrong
from pluginhost.goplugin.channel import Channel
from pluginhost.goplugin.handshake import Line, is_address
from pluginhost.goplugin.listening import Server
from pluginhost.goplugin.services import START_STREAM, ConnInfo, Served

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection
    from typing import Final

    from grpclib import client, server

    from pluginhost.goplugin.listening import Listener
    from pluginhost.goplugin.services import Service

PATIENCE: Final = 5.0
"""Seconds that one waits to be told where to connect to, and that what was told is kept; as in Go."""
_MOST: Final = 1_000
"""How many places are kept that nobody asked for yet."""


class Security(NamedTuple):
    """What the two ways of connecting need for AutoMTLS.

    Attributes:
        accepting: For who listens.
        dialing: For who connects.
    """

    accepting: ssl.SSLContext
    dialing: ssl.SSLContext


class Broker:
    """One side's end of the broker. All of it is for one event loop."""

    def __init__(
        self,
        listen: Callable[[], Listener],
        security: Security | None = None,
        heard: Callable[[str, str], object] | None = None,
    ) -> None:
        """Makes an end; it does something once there is a stream.

        Args:
            listen: Returns a new listener.
            security: The certificates of AutoMTLS; `None` for connections in the clear.
            heard: Called with each network and address at which the other side serves something.
        """
        self._listen = listen
        self._heard = heard
        self._security = security
        self._ids = itertools.count(1)
        self._told: asyncio.Queue[Any] = asyncio.Queue()
        self._places: dict[int, asyncio.Future[tuple[str, str]]] = {}
        self._servers: dict[int, Server] = {}
        self._channels: list[Channel] = []
        self._is_over = False

    def next_id(self) -> int:
        """Returns a number under which nothing was served yet from this side."""
        return next(self._ids)

    async def serve(self, service_id: int, services: Collection[Service]) -> None:
        """Begins to serve something for the other side, and tells it where.

        Args:
            service_id: What it goes by: a number of `next_id`, which the other side gets in a call of its own.
            services: As a grpclib server takes them.

        Raises:
            ConfigurationError: Something is served under that number.
            OSError: There is no socket for it.
        """
        if service_id in self._servers:
            raise wrong(f"the broker serves {service_id} already", "take a number of `next_id()` for each")
        listener = self._listen()
        served = Server(listener, services, self._security and self._security.accepting)
        self._servers[service_id] = served
        try:
            await served.begin()
        except BaseException:
            self.stop(service_id)
            raise
        self._told.put_nowait(ConnInfo(service_id=service_id, network=listener.network, address=listener.address))

    def stop(self, service_id: int) -> None:
        """Ends what is served under a number, and the connections to it."""
        if served := self._servers.pop(service_id, None):
            served.close()

    async def dial(self, service_id: int) -> Channel:
        """Returns a channel to what the other side serves under a number. It is closed by its user, or with the broker.

        Raises:
            GoPluginError: The other side does not say where, or nobody answers there.
        """
        if self._is_over:
            raise _failed(service_id, "the connection has ended")
        place = self._place(service_id)
        try:
            await asyncio.wait([place], timeout=PATIENCE)
        finally:
            self._forget(service_id, place)
        if not place.done():
            raise _failed(service_id, f"the other side did not say for {PATIENCE:g} seconds where it is")
        channel = None
        try:
            channel = _channel(*place.result(), self._security and self._security.dialing)
            async with asyncio.timeout(PATIENCE):
                await channel.__connect__()
        except (OSError, ValueError) as exc:  # of which TimeoutError is one
            raise _failed(service_id, f"it cannot be reached ({escape(describe(exc))})") from exc
        finally:
            if channel and not channel._connected:
                channel.close()
        self._keep(channel)
        return channel

    def _keep(self, channel: Channel) -> None:
        for each in self._channels:
            if not each._connected:
                each.close()
        self._channels = [*(each for each in self._channels if each._connected), channel]

    def service(self) -> Served:
        """Returns what a plugin serves for its host to begin the stream."""
        return Served({START_STREAM: self._talk})

    async def run(self, channel: client.Channel) -> None:
        """Begins the stream, as a host does, and returns when it has ended."""
        with contextlib.suppress(GRPCError, StreamTerminatedError, OSError):  # the plugin has ended, or has no broker
            async with START_STREAM.open(channel) as stream:
                await stream.send_request()
                await self._talk(stream)
        self._end()

    def close(self) -> None:
        """Ends all that is served, and all connections."""
        self._end()
        for service_id in list(self._servers):
            self.stop(service_id)
        for channel in self._channels:
            channel.close()

    def _end(self) -> None:
        self._is_over = True
        for place in self._places.values():
            if not place.done():
                place.set_exception(ConnectionError("the connection has ended"))
                place.exception()  # somebody may wait for it, or nobody

    async def _talk(self, stream: client.Stream[Any, Any] | server.Stream[Any, Any]) -> None:
        telling = asyncio.create_task(self._tell(stream))
        try:
            async for info in stream:
                self._hear(info)
        finally:
            telling.cancel()

    async def _tell(self, stream: client.Stream[Any, Any] | server.Stream[Any, Any]) -> None:
        with contextlib.suppress(GRPCError, StreamTerminatedError, OSError):  # who hears sees the same
            while True:
                await stream.send_message(await self._told.get())

    def _hear(self, info: Any) -> None:
        # A knock is of multiplexing, which was not agreed upon.
        if info.HasField("knock") or (info.service_id not in self._places and len(self._places) >= _MOST):
            return
        if self._heard is not None:
            self._heard(info.network, info.address)
        place = self._place(info.service_id)
        if not place.done():
            place.set_result((info.network, info.address))
            asyncio.get_running_loop().call_later(PATIENCE, self._forget, info.service_id, place)

    def _place(self, service_id: int) -> asyncio.Future[tuple[str, str]]:
        if service_id not in self._places:
            self._places[service_id] = asyncio.get_running_loop().create_future()
        return self._places[service_id]

    def _forget(self, service_id: int, place: asyncio.Future[tuple[str, str]]) -> None:
        if self._places.get(service_id) is place:
            del self._places[service_id]


def _channel(network: str, address: str, tls: ssl.SSLContext | None) -> Channel:
    """Returns a channel to an address, which connects when it is used.

    Raises:
        ValueError: It is no address.
    """
    if not is_address(network, address):
        raise ValueError(f"{network} {address!r} is no address of this machine")
    return Channel(Line(0, "unix" if network == "unix" else "tcp", address), tls)


def _failed(service_id: int, what: str) -> GoPluginError:
    message = f"what the other side serves as {service_id} was to be called through the broker: {what}"
    hint = "whoever serves it does so before, or at once after, it tells the number; once told, it is kept 5 seconds"
    return GoPluginError(Finding("peer-failed", message, hint))
