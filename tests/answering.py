"""What a child answers in tests of channels, on threads of the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pluginhost.isolation.frames import CALLS, Frame, Message

if TYPE_CHECKING:
    from pluginhost.isolation.channel import Channel

ECHO, WAIT, STREAM, RAISE, LATE = range(CALLS, CALLS + 5)


class Answering:
    """Echoes what is said; waits, fails, or yields four items and fails, where it is asked to.

    Attributes:
        may_go_on: Set once those that are to wait have waited.
        waiting: How many were to wait.
        ended: How many streams were ended.
    """

    def __init__(self) -> None:
        self.waiting = self.ended = 0
        self.may_go_on = threading.Event()

    def answer(self, frame: Frame, _: Channel) -> Message | Iterator[Message]:
        if frame.operation == WAIT:
            self.waiting += 1
            self.may_go_on.wait(60)
        elif frame.operation == STREAM:
            return self._items()
        elif frame.operation == RAISE:
            raise ValueError(frame.meta.decode())
        return Message(0, frame.meta, frame.body)

    def _items(self) -> Iterator[Message]:
        try:
            for number in range(4):
                yield Message(0, bytes([number]), b"")
            raise LookupError("no more")
        finally:
            self.ended += 1
