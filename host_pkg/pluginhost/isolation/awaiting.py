"""A child's channels for coroutines: the same wire, read by asyncio itself, with no thread between.

A channel belongs to one event loop, and each loop that calls has channels of its own. What a call waits for is set as
a result, be it an error: the error of a call that was cancelled meanwhile is nobody's, and asyncio would complain.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar, cast

from pluginhost.errors import PluginCallError
from pluginhost.isolation import frames
from pluginhost.isolation.channel import encoded, late, lost, mistaken, with_body
from pluginhost.isolation.frames import CLOSE, EMPTY, HEAD, IN_ARENA, MORE, NEXT, SEQUENCES, Frame, malformed
from pluginhost.isolation.pool import MOST, busy, crowded, told, unopened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import TypeAlias

    from pluginhost.isolation.frames import Message
    from pluginhost.isolation.system import Ends

    Open: TypeAlias = Callable[[float | None], Ends]

T = TypeVar("T")

_LOOK: Final = 1 << 18
"""Bytes that one look at a socket asks for; what they need of memory is taken when so many come."""


class AsyncPool:
    """The channels of one child, for coroutines of any event loop in any thread.

    Args:
        open: Opens another channel, within so many seconds; called on a thread.
        peer: What the child is called in errors.
        most: How many each loop has at once, at most.

    Attributes:
        ended: What has become of the child; `None` while it is there.
    """

    def __init__(self, open: Open, peer: str, most: int = MOST) -> None:
        self.open, self.peer, self.most = open, peer, most
        self.ended: str | None = None
        self._turn = threading.Lock()
        self._loops: dict[asyncio.AbstractEventLoop, _Channels] = {}

    async def call(self, operation: int, message: Message, timeout: float | None = None) -> Frame:
        """Returns the reply to a message.

        The channel of a caller that is cancelled is closed: the child sees that, and no late reply is taken for that
        of the next call.

        Args:
            operation: What is asked for.
            message: What is said.
            timeout: Seconds that it may take.

        Raises:
            PluginCallError: As `Pool.call`.
        """
        channels = self._loops.get(asyncio.get_running_loop()) or await self._begin()
        channel = await channels.take(timeout)
        try:
            return await channel.call(operation, message, timeout)
        except PluginCallError as exc:
            raise self.told(exc) from exc.__cause__
        finally:
            channels.give_back(channel)

    async def stream(self, operation: int, message: Message, timeout: float | None = None) -> AsyncStream:
        """Returns the frames of a stream, which has a channel of its own until it ends.

        Args:
            operation: As for `call`.
            message: As for `call`.
            timeout: Seconds that each item may take.

        Raises:
            PluginCallError: As for `call`.
        """
        channels = self._loops.get(asyncio.get_running_loop()) or await self._begin()
        channel = await channels.take(timeout)
        try:
            return AsyncStream(channels, channel, await channel.call(operation, message, timeout), timeout)
        except BaseException as exc:
            channels.give_back(channel)
            raise self.told(exc) from exc.__cause__

    def end(self, why: str) -> None:
        """Has every call fail, those that wait at once and those that come; for any thread.

        Args:
            why: What has become of the child.
        """
        with self._turn:
            if self.ended is None:
                self.ended = why
            loops = list(self._loops.values())
        for channels in loops:
            channels.end_from_outside()

    def told(self, exc: BaseException) -> BaseException:
        """Returns what a caller is told: of a child whose end is known, that end."""
        return told(exc, self.peer, self.ended)

    async def _begin(self) -> _Channels:
        """Returns the channels of a loop that calls for the first time."""
        channels = _Channels(self, loop := asyncio.get_running_loop())
        with self._turn:
            if self.ended is not None:
                raise lost(self.peer, self.ended)
            closed = [self._loops.pop(each) for each in list(self._loops) if each.is_closed()]
            self._loops[loop] = channels
        for each in closed:
            each.discard()
        await anext(channels.guard)
        return channels


class _Channels:
    """The channels of one event loop, for its own thread unless a method says otherwise.

    Attributes:
        guard: Is begun with the first call, and so ended by asyncio before it closes the loop.
    """

    def __init__(self, pool: AsyncPool, loop: asyncio.AbstractEventLoop) -> None:
        self._pool, self._loop = pool, loop
        self._free: list[_Channel] = []
        self._all: set[_Channel] = set()
        self._number = 0
        self._turns: deque[asyncio.Future[_Channel | Exception | None]] = deque()
        self._waits: set[asyncio.Future[object]] = set()
        self._is_ending = False
        self.guard = self._until_the_loop_ends()

    async def take(self, timeout: float | None) -> _Channel:
        """Returns a channel that is free or new; waits for its turn when there are as many as may be."""
        if self._pool.ended is not None:
            raise lost(self._pool.peer, self._pool.ended)
        if self._free:
            return self._free.pop()
        if self._number < self._pool.most:
            self._number += 1
        else:
            turn: asyncio.Future[_Channel | Exception | None] = self._loop.create_future()
            self._turns.append(turn)
            peer, most = self._pool.peer, self._pool.most
            if channel := await self._within(timeout, turn, lambda: crowded(peer, most, timeout), self._pass_on):
                return channel
        try:
            return await self._another(timeout)
        except BaseException as exc:
            self._pass_on(None)
            raise self._pool.told(exc) from exc.__cause__

    def give_back(self, channel: _Channel) -> None:
        """Has a channel serve whoever waits, or be free; one that is closed makes room for another."""
        if channel.is_open:
            self._pass_on(channel)
        else:
            self._all.discard(channel)
            self._pass_on(None)

    def give_up(self, channel: _Channel) -> None:
        """Closes a channel that is in use, and gives it back; from any thread."""

        def close() -> None:
            channel.close()
            self.give_back(channel)

        try:
            self._loop.call_soon_threadsafe(close)
        except RuntimeError:  # the loop is closed
            channel.discard()

    def end_from_outside(self) -> None:
        """Has all calls fail that wait, in the loop and as soon as it runs; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._end)
        except RuntimeError:  # the loop is closed
            self.discard()

    def discard(self) -> None:
        """Closes what the loop left open, which is closed itself; from any thread."""
        for channel in list(self._all):
            channel.discard()

    def _end(self) -> None:
        for wait in list(self._waits):
            _settle(wait, lost(self._pool.peer, self._pool.ended or ""))
        for channel in list(self._all):
            channel.close()  # the pool tells its caller why
        while self._free:
            self.give_back(self._free.pop())

    def _pass_on(self, channel: _Channel | None) -> None:
        """Gives a channel, or the place of one, to whoever has waited longest."""
        while self._turns:
            if not (turn := self._turns.popleft()).done():
                return turn.set_result(channel)
        if channel is not None and not self._is_ending:
            return self._free.append(channel)
        self._number -= 1
        if channel is not None:
            channel.close()
            self._all.discard(channel)
        return None

    async def _another(self, timeout: float | None) -> _Channel:
        opened: asyncio.Future[Ends | Exception] = self._loop.create_future()

        def open() -> None:
            got: Ends | Exception
            try:
                got = self._pool.open(timeout)
            except Exception as exc:
                got = exc
            try:
                self._loop.call_soon_threadsafe(hand_over, got)
            except RuntimeError:  # the loop is closed
                _close_unused(got)

        def hand_over(got: Ends | Exception) -> None:
            if opened.done():  # nobody waits any more
                _close_unused(got)
            else:
                opened.set_result(got)

        from pluginhost.watched import HostThread  # a child, which has a pool too, does without, unless it awaits

        try:  # not in the loop's executor: all its threads may wait for what is awaited here
            HostThread(target=open, name="pluginhost: opens a channel", daemon=True).start()
        except RuntimeError as exc:  # no more threads
            raise unopened(self._pool.peer, exc) from exc
        ends = await self._within(timeout, opened, lambda: busy(self._pool.peer, timeout), _close_unused)
        channel = _Channel(ends, self._pool.peer, self._loop)
        try:
            await self._loop.create_connection(lambda: channel, sock=ends.line.sock)
        except BaseException:
            _close_unused(ends)
            raise
        if self._pool.ended is not None:
            channel.close()
            raise lost(self._pool.peer, self._pool.ended)
        self._all.add(channel)
        return channel

    async def _within(
        self,
        timeout: float | None,
        wait: asyncio.Future[T | Exception],
        late: Callable[[], PluginCallError],
        undo: Callable[[T], object],
    ) -> T:
        """Returns what a future has in time; it is undone when its waiter is cancelled at the same moment."""
        self._waits.add(cast("asyncio.Future[object]", wait))
        timer = None if timeout is None else self._loop.call_later(timeout, lambda: _settle(wait, late()))
        try:
            got = await wait
        except BaseException:
            if not wait.cancelled() and not isinstance(got := wait.result(), Exception):
                undo(got)
            raise
        finally:
            self._waits.discard(cast("asyncio.Future[object]", wait))
            if timer:
                timer.cancel()
        if isinstance(got, Exception):
            raise got
        return got

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            # Whoever still has a channel, to end a stream, may do so.
            self._is_ending = True
            while self._free:
                self._pass_on(self._free.pop())
            await asyncio.sleep(0)  # asyncio closes their sockets in its next turn


class AsyncStream:
    """The items of a stream, each fetched when it is asked for; for one task at a time.

    Attributes:
        first: What answered the call itself: the stream's beginning, or a failure.
        failed: Returns what the stream's reader is told of an item that did not come, where the caller knows more.
    """

    def __init__(self, channels: _Channels, channel: _Channel, first: Frame, timeout: float | None) -> None:
        self.first = first
        self.failed: Callable[[PluginCallError], Awaitable[Exception]] | None = None
        self._channels, self._timeout = channels, timeout
        self._channel: _Channel | None = channel
        if not first.flags & MORE:
            self._end()

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> Frame:
        """Returns the next item, or the failure with which the stream ends."""
        if self._channel is None:
            raise StopAsyncIteration
        try:
            frame = await self._channel.call(NEXT, EMPTY, self._timeout)
        except BaseException as exc:
            self._end()
            raise await self._told(exc) from exc.__cause__
        if frame.flags & MORE:
            return frame
        self._end()
        if frame.flags:
            return frame
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends it before its time; done twice, it does nothing more."""
        if self._channel is None:
            return
        try:
            if self._channel.is_open:
                await self._channel.call(CLOSE, EMPTY, self._timeout)
        except BaseException as exc:
            raise await self._told(exc) from exc.__cause__
        finally:
            self._end()

    def __del__(self) -> None:
        # Wherever the collector runs, nobody waits for the child there: it sees that the channel is closed.
        if self._channel is not None:
            self._channels.give_up(self._channel)

    async def _told(self, exc: BaseException) -> BaseException:
        if self.failed is not None and isinstance(exc, PluginCallError):
            return await self.failed(exc)
        return self._channels._pool.told(exc)

    def _end(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            self._channels.give_back(channel)


class _Channel(asyncio.BufferedProtocol):
    """The calling end of a channel in an event loop: as `Channel`, for one task at a time."""

    def __init__(self, ends: Ends, peer: str, loop: asyncio.AbstractEventLoop) -> None:
        self._ends, self._arena, self._peer, self._loop = ends, ends.arena, peer, loop
        self._transport: asyncio.Transport | None = None
        self._sequence = self._operation = 0
        self._reply: asyncio.Future[Frame | PluginCallError] | None = None
        self._why: PluginCallError | None = None
        # Its own: asyncio would take one anew for each look, which costs more than the look.
        self._buffer = memoryview(bytearray(_LOOK))
        # A frame that comes in parts: what came of it first, what came then, and how many bytes of it are missing.
        self._begun, self._more, self._missing = b"", bytearray(), 0

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._why is None

    async def call(self, operation: int, message: Message, timeout: float | None) -> Frame:
        """Returns the reply to a message; raises as `Channel.call`, and when cancelled closes the channel."""
        if self._why is not None:
            raise self._why
        assert self._transport is not None
        sequence = (self._sequence + 1) % SEQUENCES
        data = encoded(operation, sequence, message, self._arena)
        self._sequence, self._operation = sequence, operation
        reply = self._reply = self._loop.create_future()
        timer = None if timeout is None else self._loop.call_later(timeout, self._expire, timeout)
        try:
            self._transport.write(data)
            frame = await reply
        except BaseException:
            self.close()
            raise
        finally:
            if timer:
                timer.cancel()
        if type(frame) is Frame:
            return frame
        raise cast("PluginCallError", frame)

    def end(self, why: PluginCallError) -> None:
        """Closes it, and has a call that waits fail."""
        if self._why is None:
            self._why = why
            if self._transport is not None:
                self._transport.abort()
            if self._arena:
                self._arena.close()
        reply, self._reply = self._reply, None
        if reply is not None:
            _settle(reply, self._why)

    def close(self) -> None:
        """Closes it."""
        self.end(lost(self._peer, "the channel was given up"))

    def discard(self) -> None:
        """Closes it without its loop, which is closed."""
        _close_unused(self._ends)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Is told of the socket."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Returns where what comes is put."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Is told that something came."""
        try:
            if self._reply is None:
                raise malformed("it came unasked")
            if (frame := self._frame(bytes(self._buffer[:nbytes]))) is None:
                return
            if frame.sequence != self._sequence or frame.operation != self._operation:
                raise mistaken(frame, self._operation, self._sequence)
        except PluginCallError as exc:
            self.end(exc)
            return
        reply, self._reply = self._reply, None
        _settle(reply, frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Is told that the other side is gone."""
        self.end(lost(self._peer, str(exc or "the channel was closed" + (" within a frame" if self._begun else ""))))

    def _frame(self, data: bytes) -> Frame | None:
        """Returns the frame whose last bytes have come; `None` when more must."""
        if self._missing:
            self._more += data  # however small the pieces are, they take no more memory than the frame
            self._missing -= len(data)
            if self._missing > 0:
                return None
            data = self._begun
            frame = frames.decode(data, cast("tuple[bytes]", (self._more,)))
        else:
            data = self._begun + data
            frame = frames.decode(data)
        if isinstance(frame, int):
            self._begun = data
            self._missing = frame if len(data) >= HEAD else 0
            return None
        if self._begun:
            self._begun, self._more, self._missing = b"", bytearray(), 0
        return with_body(frame, data, self._arena) if frame.flags & IN_ARENA else frame

    def _expire(self, timeout: float) -> None:
        self.end(late(self._peer, timeout))


def _settle(wait: asyncio.Future[T], result: T) -> None:
    if not wait.done():  # or else its waiter was cancelled
        wait.set_result(result)


def _close_unused(ends: Ends | Exception) -> None:
    if not isinstance(ends, Exception):
        ends.line.close()
        if ends.arena:
            ends.arena.close()
