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


_CANARY: Final = {
    "route": "the route's name",
    "plugin": "who was tried",
    "was": "who served all others; empty where none was set",
    "reason": "why, with the figures",
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
    "plugin.died": Topic(
        "its process has ended by itself, or was killed since it did not answer",
        ABOUT | {"reason": "what became of it", "deaths": "how many times that was within a minute"},
    ),
    "plugin.restarted": Topic(
        "another process of it serves in place of one that has died",
        ABOUT | {"reason": "what became of the one before", "pid": "the number of the new one"},
    ),
    "plugin.reloaded": Topic(
        "what is installed now serves in its place, or what did before",
        ABOUT
        | {
            "seconds": "how long it took until calls went there",
            "was": "the version that served until then",
        },
    ),
    "plugin.reload_failed": Topic(
        "it was to be reloaded, and what serves goes on",
        ABOUT | {"error": "why, with the keys of `Finding.to_dict()`"},
    ),
    "route.fallback": Topic(
        "a plugin did not answer a call of a route, and another one is asked, or a static value stands in",
        {
            "route": "the route's name",
            "plugin": "who did not answer",
            "method": "what was called; empty for an attribute",
            "to": "who is asked; empty for the static value",
            "error": "why, with the keys of `Finding.to_dict()`",
        },
    ),
    "route.promoted": Topic("a route's canary serves all of its calls", _CANARY),
    "route.rolled_back": Topic("a route's canary serves none of its calls any more", _CANARY),
    "route.changed": Topic(
        "an operator, or the application, has a route decide otherwise",
        {"route": "the route's name", "changed": "what was set, a list of names"},
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

    Attributes:
        tell: Tells of a finding, and of which plugin's it is.
    """

    __slots__ = ("_listeners", "_lock", "tell")

    def __init__(self, tell: Callable[[Finding, About | None], None]) -> None:
        self.tell = tell
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
        require_listener(listener, topic)
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
        require_text("emit", topic)
        event = Event(topic, source, fields)
        for wanted, listener, of in self._listeners:
            if not topic.startswith(wanted):
                continue
            try:
                listener(event)
            except BaseException as exc:  # a plugin's listener, as likely as the application's
                if is_persons(exc):
                    raise
                self.tell(failed_listener(of.text if of else "", wanted, describe(exc), topic), of)


def failed_listener(of: str, wanted: str, raised: str, topic: str) -> Finding:
    """Returns the finding that a listener raised.

    Args:
        of: Whose it is, as a message names the plugin; empty for the application's.
        wanted: What it has subscribed to.
        raised: What it raised.
        topic: What it was told of.
    """
    message = f"{of and f'{of}: '}a listener for {wanted or 'all events'} raised {raised} at {topic}"
    return Finding("listener-failed", message, "mend the listener; the others were told")


def require_listener(listener: object, topic: object) -> None:
    """Returns if something can be subscribed to a topic.

    Raises:
        ConfigurationError: It cannot be called, or the topic is no text.
    """
    require_text("subscribe", topic)
    if not callable(listener):
        raise wrong("subscribe: the listener cannot be called", "give a function of one argument")


def require_text(what: str, topic: object) -> None:
    """Returns if a topic is a text.

    Raises:
        ConfigurationError: It is none.
    """
    if type(topic) is not str:  # a subclass may raise wherever it is compared
        raise wrong(f"{what}: the topic is no text", "give a text, such as `plugin.`")
