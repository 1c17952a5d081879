"""A connection to the other side: grpclib's channel, on which generated stubs work, and calls without stubs.

A plugin's connections end with its process. Nobody is looked for at its address afterwards: whoever listens there then
is not the plugin.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import grpclib.client
import h2.exceptions
from google.protobuf.message import DecodeError
from grpclib.config import Configuration
from grpclib.const import Cardinality, Status
from grpclib.encoding.base import CodecBase
from grpclib.encoding.proto import ProtoCodec, ProtoStatusDetailsCodec
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.metadata import Deadline
from grpclib.protocol import H2Protocol
from h2.errors import ErrorCodes
from h2.events import StreamEnded, StreamReset
from multidict import MultiDict

from pluginhost.goplugin.certificates import NAME

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
    from typing import Final, Literal

    from grpclib.client import Handler
    from grpclib.protocol import Stream
    from h2.config import H2Configuration

    from pluginhost.goplugin.handshake import Line


class Channel(grpclib.client.Channel):
    """A channel to one address."""

    def __init__(self, line: Line, tls: ssl.SSLContext | None, limit: int | None = None) -> None:
        """Makes a channel; it connects when it is used.

        Args:
            line: Where to.
            tls: What is needed for AutoMTLS; `None` for a connection in the clear.
            limit: Bytes of the largest message that is taken; `None` for any.
        """
        quiet_wire()
        config = Configuration(ssl_target_name_override=NAME, http2_connection_window_size=WINDOW)
        codecs: Any = {"codec": _Proto(), "status_details_codec": ProtoStatusDetailsCodec()}
        if line.network == "unix":
            super().__init__(path=line.address, ssl=tls, config=config, **codecs)
        else:
            super().__init__(*line.endpoint, ssl=tls, config=config, **codecs)
        self.limit = limit
        self._over = ""
        self._broke: BaseException | None = None

    @property
    def broke(self) -> BaseException | None:
        """What broke the last connection; `None` where that is not known, or nothing did."""
        return self._broke

    def end(self, why: str) -> None:
        """Closes it for good.

        Args:
            why: What a call is told that comes too late.
        """
        self._over = self._over or why
        self.close()

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: Any,
        reply_type: Any,
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: Any = None,
    ) -> Call:
        """Returns a call that has not begun, as generated stubs ask for it."""
        if timeout is not None:
            given = Deadline.from_timeout(timeout)
            deadline = min(given, deadline) if deadline else given
        return Call(
            self,
            name,
            cast("Any", MultiDict(metadata or ())),
            cardinality,
            request_type,
            reply_type,
            codec=_BYTES if request_type is bytes else self._codec,
            status_details_codec=self._status_details_codec,
            dispatch=self.__dispatch__,
            deadline=deadline,
        )

    async def _create_connection(self) -> H2Protocol:
        if self._over:
            raise ConnectionError(self._over)
        made = await super()._create_connection()
        if self._over:  # meanwhile: nobody else would close it
            made.processor.close()
            raise ConnectionError(self._over)
        return made

    def _protocol_factory(self) -> H2Protocol:
        return _Protocol(self._lose, grpclib.client.Handler(), self._config, self._h2_config)

    def _lose(self, why: BaseException | None) -> None:
        self._broke = why


def quiet_wire() -> None:
    """Has what encodes headers not log each step of it, unless the application has said how much it is to log.

    Where all is logged, that is two dozen lines a call, and double its time.
    """
    wire = logging.getLogger("hpack")
    if wire.level == logging.NOTSET:
        wire.setLevel(logging.INFO)


class Aborted(Exception):
    """What the application was to send ended with an exception.

    Attributes:
        error: That.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Call(grpclib.client.Stream[Any, Any]):
    """A call on a channel: an asynchronous context manager."""

    _taken = 0

    async def send_request(self, *, end: bool = False) -> None:
        try:
            await super().send_request(end=end)
        except (AttributeError, h2.exceptions.ProtocolError) as exc:  # which it is to grpclib when it is closed already
            raise ConnectionError("the other side has closed the connection") from exc
        if limit := cast("Channel", self._channel).limit:
            self._stream.recv_data = _bounded(self._stream.recv_data, limit)  # type: ignore[method-assign, assignment]

    async def recv_message(self) -> Any:
        self._taken += 1
        if not self._taken % _TURN:  # what has come already is taken without a pause
            await asyncio.sleep(0)
        return await super().recv_message()

    def fail(self, why: Exception) -> None:
        """Has whoever waits for a reply get an exception."""
        self._wrapper.cancel(why)

    async def finish(self) -> None:
        """Takes the status, though the other side may not have wanted all that was to be sent.

        Raises:
            GRPCError: It is none of success.
        """
        self._end_done = True  # it may not be told: it has closed its side
        await self.recv_trailing_metadata()


async def call(
    channel: Channel, method: str, request: bytes, timeout: float | None, metadata: Mapping[str, str | bytes] | None
) -> bytes:
    """Returns the reply to one request.

    Args:
        channel: Where the other side is.
        method: `/package.Service/Method`.
        request: A message, encoded.
        timeout: Seconds that the call may take; the other side is told.
        metadata: What goes beside.

    Raises:
        GRPCError: The other side says that it failed.
        TimeoutError: It takes too long.
    """
    async with channel.request(
        method, Cardinality.UNARY_UNARY, bytes, bytes, timeout=timeout, metadata=metadata
    ) as begun:
        await begun.send_message(request, end=True)
        reply = await begun.recv_message()
    if reply is None:
        raise GRPCError(Status.UNKNOWN, f"{method} was answered by nothing")
    return cast("bytes", reply)


async def stream(
    channel: Channel,
    method: str,
    requests: bytes | AsyncIterable[bytes],
    timeout: float | None,
    metadata: Mapping[str, str | bytes] | None,
) -> AsyncGenerator[bytes, None]:
    """Yields replies as they come, while requests are sent as they come.

    Args:
        channel: As for `call`, as are the others.
        method: It may take one request or a stream, and answer with either.
        requests: One request, or a stream of them.
        timeout: Seconds that all of it may take.
        metadata: What goes beside.

    Raises:
        Aborted: The requests ended with an exception.
        GRPCError: The other side says that it failed.
        TimeoutError: It takes too long.
    """
    begun = channel.request(method, Cardinality.STREAM_STREAM, bytes, bytes, timeout=timeout, metadata=metadata)
    async with begun:
        sending = None
        if isinstance(requests, bytes):
            await begun.send_message(requests, end=True)
        else:
            await begun.send_request()
            sending = asyncio.create_task(_send(begun, requests))
        try:
            async for reply in begun:
                yield reply
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.wait([sending])
        await begun.finish()


async def _send(begun: Call, requests: AsyncIterable[bytes]) -> None:
    try:
        async for request in requests:
            try:
                await begun.send_message(request)
            except Exception:  # the other side wants no more, or is gone; who waits for its replies is told which
                return
        with contextlib.suppress(Exception):
            await begun.end()
    except Exception as exc:
        begun.fail(Aborted(exc))


def _bounded(receive: Callable[[int], Any], limit: int) -> Callable[[int], Any]:
    async def bounded(size: int) -> bytes:
        if size > limit:  # said before any of it has come, so that no memory is taken for it
            what = f"a message of {size:,} bytes came, and {limit:,} are the most that is taken"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, what)
        return cast("bytes", await receive(size))

    return bounded


class _Proto(ProtoCodec):
    """Messages; one that cannot be read is a failure of the call, as gRPC has it."""

    def decode(self, data: bytes, message_type: Any) -> Any:
        try:
            return super().decode(data, message_type)
        except DecodeError as exc:
            raise GRPCError(Status.INTERNAL, f"a message came that cannot be read ({exc})") from exc


class _Bytes(CodecBase):
    """What is encoded already."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


def tame(protocol: H2Protocol) -> None:
    """Has a connection that was just made pass over what it does not know, and whoever sends much give others a turn.

    HTTP/2 may be extended (RFC 9113, 5.5); what grpclib does not know is an exception in the event loop to it.
    """
    protocol.processor.processors = _Events(protocol.processor.processors)
    protocol.connection.write_ready = _Turns()
    protocol.connection.write_ready.set()
    acknowledge = protocol.connection.ack

    def ack(stream_id: int, size: int) -> None:
        if not protocol.connection.is_closing():  # what came can be read after the end
            acknowledge(stream_id, size)

    vars(protocol.connection)["ack"] = ack


class _Events(dict[Any, Any]):
    """What heeds which event of a connection."""

    def __missing__(self, event: Any) -> Callable[[Any], None]:
        return lambda _: None


class _Turns(asyncio.Event):
    """Whether there is room to write. As long as there is, grpclib sends on and on, and the event loop does no more."""

    _waited = 0

    async def wait(self) -> Literal[True]:
        while await super().wait():
            self._waited += 1
            if self._waited % _TURN:
                break
            await asyncio.sleep(0)
        return True


class _Protocol(H2Protocol):
    """A connection that keeps what broke it, and all that came before the other side wanted no more."""

    def __init__(
        self, lose: Callable[[BaseException | None], None], handler: Handler, config: Any, h2_config: H2Configuration
    ) -> None:
        super().__init__(handler, config, h2_config)
        self._lose = lose
        self._speaks = False
        self._made: weakref.WeakSet[Stream] = weakref.WeakSet()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        tame(self)
        self._end: Callable[[StreamReset], None] = self.processor.processors[StreamReset]  # type: ignore[assignment]
        self.processor.processors[StreamReset] = self._reset
        self._mark: Callable[[StreamEnded], None] = self.processor.processors[StreamEnded]  # type: ignore[assignment]
        self.processor.processors[StreamEnded] = self._finish
        vars(self.connection)["create_stream"] = partial(self._make, self.connection.create_stream)
        vars(self.processor)["close"] = partial(self._close, self.processor.close)

    def data_received(self, data: bytes) -> None:
        if not self._speaks:
            self._speaks = data[3:4] in (b"", _SETTINGS)
            if not self._speaks:  # else what it says is waited for as a frame of megabytes
                self.processor.close("it does not speak HTTP/2")
                return
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._lose(exc)
        for stream in self.processor.streams.values():
            if stream.trailers is not None:  # it has ended well, and who reads it has not come to its end yet
                stream.wrapper = None
        super().connection_lost(exc)

    def _make(self, make: Callable[..., Stream], **named: Any) -> Stream:
        stream = make(**named)
        self._made.add(stream)
        return stream

    def _close(self, close: Callable[[str], None], reason: str = "Connection closed") -> None:
        """Ends the connection, also for a call that waits for room to begin: grpclib does not know of that one yet."""
        close(reason)
        for stream in self._made:
            if stream.id is None:
                stream.__terminated__(reason)
        self.connection.write_ready.set()

    def _finish(self, event: StreamEnded) -> None:
        """Marks the end of a stream, also for who waits for a status that the other side has not sent."""
        self._mark(event)
        known = self.processor.streams.get(event.stream_id)
        if known is not None and known.trailers is None and "grpc-status" not in dict(known.headers or ()):
            known.trailers = []
            known.trailers_received.set()

    def _reset(self, event: StreamReset) -> None:
        """Ends a stream, but for one that has ended well.

        A server that has replied in full may say so when the client still sends; Go's does. To grpclib it would have
        failed, and what came of it and was not read yet would be lost (RFC 9113, 8.1).
        """
        known = self.processor.streams.get(event.stream_id)
        if event.error_code != ErrorCodes.NO_ERROR or known is None or known.trailers is None:
            self._end(event)


WINDOW: Final = (1 << 31) - 1
"""Bytes that may come over a connection and not be read: the most that there can be. A stream has a window of its own,
of 4 MiB. Were this one no larger, a stream that nobody reads would hold up every other call (RFC 9113, 5.2.2)."""
_TURN: Final = 64
"""After how many messages others have a turn."""
_BYTES: Final = _Bytes()
_SETTINGS: Final = b"\4"
"""The type of the frame with which each side of HTTP/2 begins, in its fourth byte."""
LOST: Final = (StreamTerminatedError, OSError, AssertionError, NotImplementedError, ValueError)
"""What grpclib raises when the other side is gone, or does not speak gRPC."""
