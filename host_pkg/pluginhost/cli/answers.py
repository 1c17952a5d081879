"""What the hosts that run answer, as a command reads it; `status` and `control` have what they are made of."""

from __future__ import annotations

import msgspec

from pluginhost.status import RouteStatus  # noqa: TC001 - msgspec reads the annotations


class Plugin(msgspec.Struct):
    """A plugin of a running host: a `Status`, and where it runs, which is `None` while it does not."""

    plugin: str
    distribution: str
    version: str
    state: str
    generation: int
    isolation: str | None
    calls: int
    failures: int
    p50: float | None
    p99: float | None
    max: float | None
    breaker: str
    abandoned: int
    error: str | None
    reload_seconds: float | None
    reload_error: str | None

    def goes_by(self, name: str) -> bool:
        """Returns whether it is meant by a name; `NAME@DISTRIBUTION` names each."""
        return name in (self.plugin, f"{self.plugin}@{self.distribution}")


class State(msgspec.Struct):
    """How a host is at a moment.

    Attributes:
        pid: Its process.
        title: What the process was started as.
        group: The entry-point group of its plugins.
        since: When it began to offer the socket, in seconds since 1970.
        plugins: Those that were asked for.
        routes: The routes that were asked for.
    """

    pid: int
    title: str
    group: str
    since: float
    plugins: list[Plugin]
    routes: list[RouteStatus]


class Change(msgspec.Struct):
    """What became of a plugin; `before` is its version before, `None` if it was not known then."""

    plugin: str
    before: str | None
    version: str
    generation: int
    state: str


class Done(msgspec.Struct):
    """What a host did; its findings are as `Finding.to_dict` has them."""

    plugins: list[Change]
    seconds: float
    findings: list[dict[str, str]]
