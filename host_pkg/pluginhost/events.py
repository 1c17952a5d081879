"""What happens, told to whoever has asked for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pluginapi import Event
from pluginhost.errors import Finding, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Listener: TypeAlias = Callable[[Event], object]


class Events:
    """The listeners of one manager.

    A listener is called on the thread on which something happens. What it raises is told, and the others are called.
    """

    __slots__ = ("_listeners", "_lock", "_tell")

    def __init__(self, tell: Callable[[Finding], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._listeners: tuple[tuple[str, Listener], ...] = ()  # replaced and never changed: others may be reading it

    def subscribe(self, listener: Listener, topic: str = "") -> Callable[[], None]:
        """Has a listener called for the events whose topic begins as given, and returns what undoes it."""
        entry = topic, listener

        def undo() -> None:
            with self._lock:
                self._listeners = tuple(each for each in self._listeners if each is not entry)

        with self._lock:
            self._listeners += (entry,)
        return undo

    def emit(self, topic: str, source: str, fields: Mapping[str, object]) -> None:
        """Tells all who have asked for such a topic."""
        event = Event(topic, source, fields)
        for wanted, listener in self._listeners:
            if not topic.startswith(wanted):
                continue
            try:
                listener(event)
            except KeyboardInterrupt:
                raise
            except BaseException as exc:  # a plugin's listener, as likely as the application's
                message = f"a listener for {wanted or 'all events'} raised {describe(exc)} at {topic}"
                self._tell(Finding("listener-failed", message, "mend the listener; the others were told"))
