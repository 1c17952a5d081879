"""What may be set: for the host, for a plugin, for an instance of one. Each has its default."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - whoever checks a file against these types reads their annotations
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

When: TypeAlias = Literal["never", "new", "always"]
"""When a plugin's first load is tried in a process that may be lost."""

OnTimeout: TypeAlias = Literal["report", "abandon"]
"""What becomes of a call whose time is over: it is told and waited for, or its caller gets an error on time."""


class Range(NamedTuple):
    """What a number must be within.

    Attributes:
        low: It is more than this, or for whole numbers at least this.
        high: It is less than this.
    """

    low: float
    high: float


DAY: Final = 86_400.0
Seconds: TypeAlias = Annotated[float, Range(0, DAY)]
Number: TypeAlias = Annotated[int, Range(1, 1_000_000_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSettings:
    """What is set for one plugin.

    Attributes:
        enabled: Whether the plugin may run.
        distribution: Which distribution's plugin is meant, where several share the name; empty when any.
        config: What the plugin's `init` finds in `host.config`.
        concurrency: How many calls at once it takes; `None` for what its class says.
        import_timeout: Seconds that the import of its module may take.
        new_timeout: Seconds that its `New()` may take.
        init_timeout: Seconds that its `init` and its `validate` may take, each.
        call_timeout: Seconds that a call may take; `None` for as long as it takes.
        shutdown_timeout: Seconds that its shutdown may take; `None` for its share of the manager's.
        on_timeout: What becomes of a call whose time is over.
        breaker_failures: After how many failures in a row its calls are refused for a while.
        breaker_seconds: For how long; then one call is let through, which decides.
        check_replies: Whether what its methods return is checked against the contract's annotations.
    """

    enabled: bool = True
    distribution: str = ""
    config: Mapping[str, object] = field(default_factory=dict)
    concurrency: Number | None = None
    import_timeout: Seconds = 60.0
    new_timeout: Seconds = 60.0
    init_timeout: Seconds = 60.0
    call_timeout: Seconds | None = None
    shutdown_timeout: Seconds | None = None
    on_timeout: OnTimeout = "report"
    breaker_failures: Number = 5
    breaker_seconds: Seconds = 30.0
    check_replies: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSettings(PluginSettings):
    """What is set for one instance of a plugin: what may be set for a plugin, but for the distribution.

    Attributes:
        plugin: Which plugin it is an instance of, as `get` takes its name: `NAME@DISTRIBUTION` names one of several.
    """

    plugin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """All that is set for one manager.

    Attributes:
        group: The entry-point group under which plugins register.
        api: The import name of the API package that host and plugins share; `None` for a group that has none.
        plugin_dirs: Folders of wheels, absolute.
        capabilities: What the application offers to plugins.
        probe: When a plugin's first load is tried in a process that may be lost.
        probe_timeout: Seconds that such a first load may take.
        shutdown_timeout: Seconds that the shutdown of all plugins may take.
        safe_mode: Whether no installed plugin is started.
        allow: The plugins that may run, as `NAME` or `NAME@DISTRIBUTION`; `None` when all may.
        plugins: What is set for plugins, by name.
        instances: What is set for instances, by name.
    """

    group: str = "pluginhost.plugins"
    api: str | None = "pluginapi"
    plugin_dirs: list[str] = field(default_factory=list)
    capabilities: frozenset[str] = frozenset()
    probe: When = "new"
    probe_timeout: Seconds = 20.0
    shutdown_timeout: Seconds = 10.0
    safe_mode: bool = False
    allow: frozenset[str] | None = None
    plugins: Mapping[str, PluginSettings] = field(default_factory=dict)
    instances: Mapping[str, InstanceSettings] = field(default_factory=dict)
