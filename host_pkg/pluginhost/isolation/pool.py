"""The channels of one side: whoever calls takes one that is free, and another is opened when there is none."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING

from pluginhost.errors import PluginCallError
from pluginhost.isolation.channel import Channel, lost
from pluginhost.isolation.frames import BACK, CLOSE, EMPTY, MORE, NEXT, OPEN, error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextvars import Context
    from typing import Final

    from pluginhost.isolation.frames import Frame, Message
    from pluginhost.isolation.system import Door, Ends

MOST: Final = 64
"""Channels of one child at most, each of which is a thread in it; whoever finds none free waits."""


MOST_BACK: Final = 2 * MOST
"""Channels over which one child calls at most: for its threads so many, and for its loops."""


class Control:
    """The host's end of a child's control channel. What goes over it is told, not asked, so no caller waits there.

    Args:
        door: Where the child's channels come from, once its process is started.
        peer: What the child is called in errors.
        timeout: Seconds that the child may take to come.

    Raises:
        PluginCallError: It does not come.
    """

    def __init__(self, door: Door, peer: str, timeout: float) -> None:
        self._door, self._peer = door, peer
        self._turn = threading.Lock()
        self._back: set[Channel] = set()
        try:
            self._channel = Channel(door.admit(timeout), None, peer)
        except TimeoutError as exc:
            hint = "see what its process last said"
            raise error("call-timeout", f"{peer} did not connect within {timeout} s", hint) from exc

    def tell(self, operation: int, timeout: float | None = None) -> None:
        """Tells the child something that has no more to it than its number.

        Raises:
            PluginCallError: The child is gone, or takes nothing.
        """
        with self._taken(timeout):
            self._channel.tell(operation, EMPTY, timeout)

    def open(self, timeout: float | None = None) -> Channel:
        """Returns another channel; other than that as `ends`."""
        return Channel(*self.ends(timeout, in_packets=True), self._peer)

    def ends(self, timeout: float | None = None, *, in_packets: bool = False) -> Ends:
        """Returns the host's end of another channel.

        Args:
            timeout: Seconds that the child may take to come.
            in_packets: As `Door.open` has it.

        Raises:
            PluginCallError: The child is gone, or takes too long; or there are no descriptors left.
        """
        with self._taken(timeout):
            return self._opened(OPEN, timeout, in_packets=in_packets)

    def back(self, answer: Callable[[Channel], object], timeout: float | None = None) -> None:
        """Has the child take a channel over which it is the child that calls.

        Args:
            answer: Called with the channel, on a thread of its own: it answers what comes, until that is closed.
            timeout: Seconds that the child may take to come.

        Raises:
            PluginCallError: As for `open`; or the child has more of them than its callers need.
        """
        from pluginhost.watched import HostThread  # a child, which has a pool too, does without

        with self._taken(timeout):
            if len(self._back) >= MOST_BACK:
                hint = "its threads wait for the host's answers; tell the plugin's author"
                raise error("call-timeout", f"{self._peer}: all {MOST_BACK} channels to its host are in use", hint)
            channel = Channel(*self._opened(BACK, timeout, in_packets=False), self._peer)
            self._back.add(channel)

        def run() -> None:
            try:
                answer(channel)
            finally:
                channel.close()
                self._back.discard(channel)

        try:
            HostThread(target=run, name="pluginhost: a child's calls", daemon=True).start()
        except RuntimeError as exc:  # no thread can be started
            channel.close()
            self._back.discard(channel)
            raise lost(self._peer, f"its calls cannot be answered: {exc}") from exc

    def _opened(self, operation: int, timeout: float | None, *, in_packets: bool) -> Ends:
        try:
            return self._door.open(
                operation, lambda: self._channel.tell(operation, EMPTY, timeout), timeout, in_packets=in_packets
            )
        except TimeoutError as exc:
            raise busy(self._peer, timeout) from exc
        except OSError as exc:
            raise unopened(self._peer, exc) from exc

    @contextmanager
    def _taken(self, timeout: float | None) -> Iterator[None]:
        if not self._turn.acquire(timeout=-1 if timeout is None else max(timeout, 0)):
            raise busy(self._peer, timeout)
        try:
            yield
        finally:
            self._turn.release()

    def close(self) -> None:
        """Closes it, which ends the child's serving, and what the child calls is not answered any more."""
        self._channel.cut()
        with self._turn:
            self._channel.close()
            self._door.close()
            for channel in list(self._back):
                channel.cut()


class Pool:
    """The channels of one child, for any thread.

    Args:
        open: Opens another channel, within so many seconds.
        peer: What the child is called in errors.
        most: How many there are at once, at most.
    """

    def __init__(self, open: Callable[[float | None], Channel], peer: str, most: int = MOST) -> None:
        self._open, self._peer, self._most = open, peer, most
        self._free: deque[Channel] = deque()
        self._all: set[Channel] = set()
        self._ended: str | None = None
        self._changed = threading.Condition()
        self._number = self._waiting = 0

    def call(self, operation: int, message: Message, timeout: float | None = None) -> Frame:
        """Returns the reply to a message; other than that as `Channel.call`."""
        try:
            channel = self._free.pop()
        except IndexError:
            channel = self._another(timeout)
        channel.context = copy_context()
        try:
            return channel.call(operation, message, timeout)
        except Exception as exc:
            raise self._told(exc) from exc.__cause__
        finally:
            self._give_back(channel)

    def stream(self, operation: int, message: Message, timeout: float | None = None) -> Stream:
        """Returns the frames of a stream, which has a channel of its own until it ends.

        Args:
            operation: As for `call`.
            message: As for `call`.
            timeout: Seconds that each item may take.

        Raises:
            PluginCallError: As for `call`.
        """
        try:
            channel = self._free.pop()
        except IndexError:
            channel = self._another(timeout)
        channel.context = copy_context()
        try:
            return Stream(self, channel, channel.call(operation, message, timeout), timeout)
        except BaseException as exc:
            self._give_back(channel)
            raise self._told(exc) from exc.__cause__

    def context_of(self, name: int) -> Context | None:
        """Returns the context variables of the call that is on its way over a channel; `None` when there is none.

        What the other side calls, to answer that call, is part of it.

        Args:
            name: The channel's; 0 for none.
        """
        with self._changed:
            found = next((channel for channel in self._all if name and channel.name == name), None)
        return found.context if found else None

    def end(self, why: str) -> None:
        """Has every call fail, those that wait at once and those that come.

        Args:
            why: What has become of the child.
        """
        with self._changed:
            if self._ended is None:
                self._ended = why
            self._changed.notify_all()
            channels = list(self._all)
        for channel in channels:
            channel.cut()
        self._close_free()

    def _another(self, timeout: float | None) -> Channel:
        """Returns a channel that is free or new; waits when there are as many as may be."""
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._waiting += 1
            try:
                while True:
                    if self._ended is not None:
                        raise lost(self._peer, self._ended)
                    try:
                        return self._free.pop()
                    except IndexError:
                        pass
                    if self._number < self._most:
                        self._number += 1
                        break
                    if not self._changed.wait(None if until is None else until - time.monotonic()):
                        raise crowded(self._peer, self._most, timeout)
            except BaseException:
                self._changed.notify()  # who was woken as its time was over leaves what came to the next
                raise
            finally:
                self._waiting -= 1
        try:
            channel = self._open(timeout)
        except BaseException as exc:
            self._drop(None)
            raise self._told(exc) from exc.__cause__
        with self._changed:
            self._all.add(channel)
            has_ended = self._ended is not None
        if has_ended:
            channel.cut()
        return channel

    def _give_back(self, channel: Channel) -> None:
        channel.context = None
        if not channel.is_open:
            self._drop(channel)
            return
        self._free.append(channel)
        if self._waiting:  # whoever waits has said so before looking at what is free
            with self._changed:
                self._changed.notify()
        if self._ended is not None:
            self._close_free()

    def _drop(self, channel: Channel | None) -> None:
        with self._changed:
            self._number -= 1
            if channel:
                self._all.discard(channel)
            self._changed.notify()

    def _close_free(self) -> None:
        while self._free:
            try:
                channel = self._free.pop()
            except IndexError:  # somebody else does the same
                return
            channel.close()
            self._drop(channel)

    def _told(self, exc: BaseException) -> BaseException:
        return told(exc, self._peer, self._ended)


class Stream:
    """The items of a stream, each fetched when it is asked for, so that the child is never ahead of its reader.

    Attributes:
        first: What answered the call itself: the stream's beginning, or a failure.
        failed: Returns what the stream's reader is told of an item that did not come, where the caller knows more.
    """

    def __init__(self, pool: Pool, channel: Channel, first: Frame, timeout: float | None) -> None:
        self.first = first
        self.failed: Callable[[PluginCallError], Exception] | None = None
        self._pool, self._timeout = pool, timeout
        self._channel: Channel | None = channel
        if not first.flags & MORE:
            self._end()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Frame:
        """Returns the next item, or the failure with which the stream ends."""
        if self._channel is None:
            raise StopIteration
        try:
            frame = self._channel.call(NEXT, EMPTY, self._timeout)
        except BaseException as exc:
            self._end()
            raise self._told(exc) from exc.__cause__
        if frame.flags & MORE:
            return frame
        self._end()
        if frame.flags:
            return frame
        raise StopIteration

    def close(self) -> None:
        """Ends it before its time; done twice, it does nothing more."""
        if self._channel is None:
            return
        try:
            if self._channel.is_open:
                self._channel.call(CLOSE, EMPTY, self._timeout)
        except BaseException as exc:
            raise self._told(exc) from exc.__cause__
        finally:
            self._end()

    def __del__(self) -> None:
        # Wherever the collector runs, nobody waits for the child there: it sees that the channel is closed.
        if self._channel is not None:
            self._channel.close()
            self._end()

    def _told(self, exc: BaseException) -> BaseException:
        if self.failed is not None and isinstance(exc, PluginCallError):
            return self.failed(exc)
        return self._pool._told(exc)

    def _end(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            self._pool._give_back(channel)


def told(exc: BaseException, peer: str, ended: str | None) -> BaseException:
    """Returns what a caller is told: of a child whose end is known, that end."""
    finding = getattr(exc, "finding", None)
    if ended is not None and finding is not None and finding.code == "channel-lost":
        return lost(peer, ended)
    return exc


def busy(peer: str, timeout: float | None) -> PluginCallError:
    """Returns the error that a child did not take a channel in time."""
    return error("call-timeout", f"{peer} took no channel within {timeout} s", "its process is busy or held up")


def crowded(peer: str, most: int, timeout: float | None) -> PluginCallError:
    """Returns the error that no channel was free in time."""
    hint = "lower the plugin's `concurrency`, or give its calls more time"
    return error("call-timeout", f"{peer}: all {most} channels were in use for {timeout} s", hint)


def unopened(peer: str, exc: Exception) -> PluginCallError:
    """Returns the error that a channel cannot be opened."""
    return lost(peer, f"no channel can be opened: {exc}")
