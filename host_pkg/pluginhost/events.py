"""What happens, told to whoever has asked for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from pluginapi import Event
from pluginhost.errors import Finding, describe, wrong
from pluginhost.interrupts import is_persons

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Listener: TypeAlias = Callable[[Event], object]


class About(NamedTuple):
    """Which plugin something is about: a finding, an event, a line of the log.

    Attributes:
        text: The plugin as a message names it.
        plugin: What it is asked for by.
        distribution: The distribution that registers it.
        version: That distribution's version.
        generation: How many times it has come to run.
    """

    text: str
    plugin: str
    distribution: str
    version: str
    generation: int

    @property
    def fields(self) -> dict[str, object]:
        """All but the text, by name."""
        return {name: getattr(self, name) for name in ABOUT}


ABOUT: Final = {
    "plugin": "what the plugin is asked for by",
    "distribution": "the distribution that registers it",
    "version": "that distribution's version",
    "generation": "how many times it has come to run",
}
"""What each event about one plugin says of it, and each record of the log."""

_STATE: Final = ABOUT | {
    "before": "the state in which it was",
    "error": "why it is refused or failed, with the keys of `Finding.to_dict()`; else `None`",
    "seconds": "how long its start, or its end, has taken so far; 0 when neither is on its way",
}


class Topic(NamedTuple):
    """A kind of event that the host emits.

    Attributes:
        says: What has happened.
        fields: By name, what is to be known of it.
    """

    says: str
    fields: Mapping[str, str]


TOPICS: Final[Mapping[str, Topic]] = {
    "plugin.discovered": Topic("it is to be started anew", _STATE),
    "plugin.refused": Topic("admission said no, or what it requires is not there", _STATE),
    "plugin.disabled": Topic("the settings do not let it run", _STATE),
    "plugin.admitted": Topic("nothing speaks against it; its start begins", _STATE),
    "plugin.loaded": Topic("its module is imported", _STATE),
    "plugin.created": Topic("its factory has made it", _STATE),
    "plugin.running": Topic("its `init` and `validate` are over, and calls are let in", _STATE),
    "plugin.replaced": Topic("another generation of it serves, and calls go to that", _STATE),
    "plugin.draining": Topic("its end begins; no new call is let in", _STATE),
    "plugin.stopped": Topic("its `shutdown` is over", _STATE),
    "plugin.failed": Topic("it could not be started, or its end went wrong", _STATE),
    "plugin.late": Topic(
        "a stage of its start, or a call, takes longer than it may",
        ABOUT
        | {
            "stage": "`import`, `new`, `init`, `validate` or `call`",
            "method": "which method was called; empty when none was",
            "seconds": "how long it may take",
            "where": "the line at which it is",
        },
    ),
    "plugin.breaker": Topic(
        "its calls are refused for a while, or let in again",
        ABOUT | {"state": "`open`, `half-open` or `closed`", "reason": "why"},
    ),
    "configuration.applied": Topic(
        "the manager has another configuration",
        {
            "started": "the names of the plugins that were started for it, a list",
            "replaced": "the names of those that were started anew beside what served, a list",
            "stopped": "the names of those that were stopped, a list",
        },
    ),
}
"""All that the host itself emits, with an empty `source`. Plugins emit what they like."""


class _Entry(NamedTuple):
    topic: str
    listener: Listener
    of: About | None


class Events:
    """The listeners of one manager.

    A listener is called on the thread on which something happens. What it raises is told, and the others are called.
    """

    __slots__ = ("_listeners", "_lock", "_tell")

    def __init__(self, tell: Callable[[Finding, About | None], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._listeners: tuple[_Entry, ...] = ()  # replaced and never changed: others may be reading it

    def subscribe(self, listener: Listener, topic: str = "", of: About | None = None) -> Callable[[], None]:
        """Has a listener called for the events whose topic begins as given, and returns what undoes it.

        Args:
            listener: What is called.
            topic: What the topics begin with.
            of: Whose listener it is; `None` for the application's.

        Raises:
            ConfigurationError: The listener cannot be called, or the topic is no text.
        """
        _require_text("subscribe", topic)
        if not callable(listener):
            raise wrong("subscribe: the listener cannot be called", "give a function of one argument")
        entry = _Entry(topic, listener, of)

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
                whose = f"{of.text}: " if of else ""
                message = f"{whose}a listener for {wanted or 'all events'} raised {describe(exc)} at {topic}"
                self._tell(Finding("listener-failed", message, "mend the listener; the others were told"), of)


def _require_text(what: str, topic: object) -> None:
    if type(topic) is not str:  # a subclass may raise wherever it is compared
        raise wrong(f"{what}: the topic is no text", "give a text, such as `plugin.`")
