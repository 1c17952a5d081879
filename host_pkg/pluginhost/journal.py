"""What happens, and what goes wrong, as lines of the log: one for each operation that is over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pluginhost.errors import escape
from pluginhost.events import ABOUT

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        case "plugin.breaker" if fields["state"] == "closed":
            return f"{who} has its calls let in again"
        case "configuration.applied":
            done = [
                f"{what} {', '.join(names)}" for what in ("started", "replaced", "stopped") if (names := fields[what])
            ]
            return f"the configuration is applied: {'; '.join(done) or 'nothing had to be started or stopped'}"
    return ""


def _write(level: int, what: object, fields: Mapping[str, object]) -> None:
    logging.getLogger("pluginhost").log(level, "%s", what, extra={**_NOTHING, **fields})
