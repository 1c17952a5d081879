"""The child's end of the channels over which it is the child that calls.

The host opens the first one. Over it the child asks for each that it needs besides, and for nothing else: so whoever
asks is answered, however many calls wait for one another.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from pluginhost.isolation.channel import Channel, lost
from pluginhost.isolation.codec import codec_of
from pluginhost.isolation.failures import Failure
from pluginhost.isolation.frames import FAILED
from pluginhost.isolation.services import Services, within

if TYPE_CHECKING:
    from typing import Final

    from pluginhost.isolation.system import Ends

HOST: Final = "the host"
_SECONDS: Final = 10.0
"""How long a channel may take to come that the host has opened; it comes at once, or the child cannot take it."""


class Back:
    """Where the channels come from over which a child calls its host."""

    def __init__(self) -> None:
        self._came: deque[Ends] = deque()
        self._number = threading.Semaphore(0)  # of them; with it a queue, whose module costs as much as this one
        self._turn = threading.Lock()
        self._asking: Channel | None = None

    def take(self, ends: Ends) -> None:
        """Takes what came over the control channel."""
        self._came.append(ends)
        self._number.release()

    def open(self, timeout: float | None = None) -> Channel:
        """Returns another channel."""
        ends = self.ends(timeout)
        return Channel(ends.line, ends.arena, HOST)

    def ends(self, timeout: float | None = None) -> Ends:
        """Returns the child's end of another channel.

        Raises:
            PluginHostError: The host is gone, or opens no more.
        """
        more = codec_of(Services).methods["more"]
        with self._turn:
            if self._asking is None:
                first = self._next()
                self._asking = Channel(first.line, first.arena, HOST)
            frame = self._asking.call(more.operation, within(0, more.pack_call((), {})), timeout)
            if frame.flags & FAILED:
                raise Failure.unpack(frame).host_error()
            return self._next()

    def _next(self) -> Ends:
        if not self._number.acquire(timeout=_SECONDS):
            raise lost(HOST, f"no channel to it came within {_SECONDS:.0f} s")
        return self._came.popleft()
