"""Events on their way to a child, so that nobody who emits one waits for it."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from pluginhost.isolation.frames import LIMIT
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from pluginhost.isolation.frames import Message

    Send = Callable[[Message], object]

MOST: Final = 1_000
"""Events that wait for one child at most; and no more bytes than a frame may have."""


class Outbox:
    """What waits to be sent to one child, in the order in which it came, and the thread that sends it."""

    def __init__(self, send: Send, dropped: Callable[[], object]) -> None:
        """Begins to send.

        Args:
            send: Returns when the child has an event; raises when it is gone.
            dropped: Called when an event is dropped for the first time, since there was no room for it.
        """
        self._send, self._dropped = send, dropped
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._is_open, self._has_dropped = True, False
        self._changed = threading.Condition()
        HostThread(target=self._run, name="pluginhost: a child's events", daemon=True).start()

    def put(self, message: Message) -> None:
        """Has a message sent, if there is room for it."""
        size = len(message.meta) + len(message.body)
        with self._changed:
            if not self._is_open:
                return
            has_room = len(self._waiting) < MOST and self._bytes + size <= LIMIT
            if has_room:
                self._waiting.append(message)
                self._bytes += size
                self._changed.notify()
            is_first = not has_room and not self._has_dropped
            self._has_dropped |= not has_room
        if is_first:
            self._dropped()

    def close(self) -> None:
        """Sends nothing any more."""
        with self._changed:
            self._is_open = False
            self._waiting.clear()
            self._changed.notify()

    def _run(self) -> None:
        try:
            while message := self._next():
                self._send(message)
        except Exception:  # the child is gone, and whoever started it has told so
            self.close()

    def _next(self) -> Message | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._is_open)
            if not self._is_open:
                return None
            message = self._waiting.popleft()
            self._bytes -= len(message.meta) + len(message.body)
            return message
