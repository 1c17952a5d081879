"""What happens, and what goes wrong, as lines of the log: one for each operation that is over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pluginhost.errors import escape
from pluginhost.events import ABOUT

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from pluginapi import Event
    from pluginhost.errors import Finding
    from pluginhost.events import About, Events

_NOTHING = dict.fromkeys(ABOUT, "") | {"generation": 0, "code": "", "stage": ""}
"""Each record has all the fields, so that one format does for all of them."""


def keep(events: Events) -> None:
    """Writes a line for each operation that ends well; what goes wrong is a finding, and told as such."""
    logger = logging.getLogger("pluginhost")
    if not logger.handlers:  # a library prints nothing unless the application sets logging up
        logger.addHandler(logging.NullHandler())  # now: later it would look like some plugin's doing
    events.subscribe(_on_event)


def tell(finding: Finding, about: About | None = None) -> None:
    """Writes a finding.

    Args:
        finding: What is told.
        about: Which plugin's it is, where that is known.
    """
    level = logging.ERROR if finding.severity == "error" else logging.WARNING
    _write(level, finding, (about.fields if about else {}) | {"code": finding.code, "stage": finding.stage})


def hear(group: str, about: About, is_error: bool, line: str) -> None:
    """Writes what the process of an isolated plugin has written, under the plugin's own logger.

    Args:
        group: The entry-point group.
        about: Which plugin's process it is.
        is_error: Whether it wrote to standard error.
        line: The line.
    """
    logger = logging.getLogger(f"{group}.{about.plugin}")
    logger.log(logging.WARNING if is_error else logging.INFO, "%s", line, extra={**_NOTHING, **about.fields})


def voice(group: str, about: About) -> logging.LoggerAdapter[logging.Logger]:
    """Returns the log of a plugin whose process says of each line how grave it is, under the plugin's own logger.

    Args:
        group: As for `hear`.
        about: As for `hear`.
    """
    return _Voice(logging.getLogger(f"{group}.{about.plugin}"), {**_NOTHING, **about.fields})


class _Voice(logging.LoggerAdapter[logging.Logger] if TYPE_CHECKING else logging.LoggerAdapter):  # type: ignore[misc]
    """A logger whose records say, beside what is said of each, which plugin's they are."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": {**(self.extra or {}), **kwargs.get("extra", {})}}


def _on_event(event: Event) -> None:
    fields: Mapping[str, Any] = event.fields
    if not event.source and (line := _line(event.topic, fields)):  # a plugin may emit under any topic
        _write(logging.INFO, escape(line), {name: fields[name] for name in ABOUT if name in fields})


def _line(topic: str, fields: Mapping[str, Any]) -> str:
    of = " ".join(str(fields[name]) for name in ("distribution", "version") if fields.get(name))
    who = f"{fields.get('plugin')} ({of})"
    match topic:
        case "plugin.running":
            return f"{who} started in {fields['seconds']:.3f} s"
        case "plugin.replaced":
            return f"{who} serves in place of the generation before it"
        case "plugin.stopped":
            return f"{who} stopped in {fields['seconds']:.3f} s"
        case "plugin.restarted":
            return f"{who} has another process, {fields['pid']}"
        case "plugin.breaker" if fields["state"] == "closed":
            return f"{who} has its calls let in again"
        case "route.promoted" | "route.rolled_back":
            became = "is promoted" if topic == "route.promoted" else "is rolled back"
            return f"route {fields['route']}: {fields['plugin']} {became}: {fields['reason']}"
        case "route.changed":
            return f"route {fields['route']} is changed: {', '.join(fields['changed'])}"
        case "configuration.applied":
            done = [
                f"{what} {', '.join(names)}" for what in ("started", "replaced", "stopped") if (names := fields[what])
            ]
            return f"the configuration is applied: {'; '.join(done) or 'nothing had to be started or stopped'}"
    return ""


def _write(level: int, what: object, fields: Mapping[str, object]) -> None:
    logging.getLogger("pluginhost").log(level, "%s", what, extra={**_NOTHING, **fields})
