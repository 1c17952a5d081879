"""What happens, told to whoever has asked for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pluginapi import Event
from pluginhost.errors import Finding, describe, wrong
from pluginhost.interrupts import is_persons

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Listener: TypeAlias = Callable[[Event], object]
    _Entry: TypeAlias = tuple[str, Listener, str]


class Events:
    """The listeners of one manager.

    A listener is called on the thread on which something happens. What it raises is told, and the others are called.
    """

    __slots__ = ("_listeners", "_lock", "_tell")

    def __init__(self, tell: Callable[[Finding], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._listeners: tuple[_Entry, ...] = ()  # replaced and never changed: others may be reading it

    def subscribe(self, listener: Listener, topic: str = "", of: str = "") -> Callable[[], None]:
        """Has a listener called for the events whose topic begins as given, and returns what undoes it.

        Args:
            listener: What is called.
            topic: What the topics begin with.
            of: Whose listener it is, for a message; empty for the application's.

        Raises:
            ConfigurationError: The listener cannot be called, or the topic is no text.
        """
        _require_text("subscribe", topic)
        if not callable(listener):
            raise wrong("subscribe: the listener cannot be called", "give a function of one argument")
        entry = topic, listener, of

        def undo() -> None:
            with self._lock:
                self._listeners = tuple(each for each in self._listeners if each is not entry)

        with self._lock:
            self._listeners += (entry,)
        return undo

    def emit(self, topic: str, source: str, fields: Mapping[str, object]) -> None:
        """Tells all who have asked for such a topic.

        Raises:
            ConfigurationError: The topic is no text.
        """
        _require_text("emit", topic)
        event = Event(topic, source, fields)
        for wanted, listener, of in self._listeners:
            if not topic.startswith(wanted):
                continue
            try:
                listener(event)
            except BaseException as exc:  # a plugin's listener, as likely as the application's
                if is_persons(exc):
                    raise
                message = f"{of and f'{of}: '}a listener for {wanted or 'all events'} raised {describe(exc)} at {topic}"
                self._tell(Finding("listener-failed", message, "mend the listener; the others were told"))


def _require_text(what: str, topic: object) -> None:
    if type(topic) is not str:  # a subclass may raise wherever it is compared
        raise wrong(f"{what}: the topic is no text", "give a text, such as `plugin.`")
