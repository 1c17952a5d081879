"""What may be set: for the host, for a plugin, for an instance of one. Each has its default."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - whoever checks a file against these types reads their annotations
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

When: TypeAlias = Literal["never", "new", "always"]
"""When a plugin's first load is tried in a process that may be lost."""

OnTimeout: TypeAlias = Literal["report", "abandon"]
"""What becomes of a call whose time is over: it is told and waited for, or its caller gets an error on time."""

Isolation: TypeAlias = Literal["none", "process"]
"""Where a plugin runs: in the application's process, or in one of its own."""


Reload: TypeAlias = Literal["ask", "watch"]
"""When a plugin that runs is reloaded: when it is asked for, or also when its files change."""


class Range(NamedTuple):
    """What a number must be within.

    Attributes:
        low: It is more than this, or for whole numbers at least this.
        high: It is less than this.
        is_closed: Whether it may be one of these.
    """

    low: float
    high: float
    is_closed: bool = False


DAY: Final = 86_400.0
Seconds: TypeAlias = Annotated[float, Range(0, DAY)]
Percent: TypeAlias = Annotated[float, Range(0, 100, is_closed=True)]
Number: TypeAlias = Annotated[int, Range(1, 1_000_000_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the process of an isolated plugin may use; `None` for what the application's own may.

    Attributes:
        memory: MiB of memory that it may write to; what it asks for beyond that, it does not get.
        cpu: Seconds of processor time; then it is ended.
        files: How many files and sockets it may have open; the host's channels are among them.
    """

    memory: Number | None = None
    cpu: Number | None = None
    files: Number | None = None


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
        isolation: Where it runs; `None` for the application's process, but for programs, which have one of their own.
        limits: What its process may use, where it has one.
        critical: Whether a second process stands by, to take over should its own end.
        reload: When it is reloaded.
        cold_start: Whether a new generation that cannot take the state of the one before begins without it.
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
    isolation: Isolation | None = None
    limits: Limits = Limits()
    critical: bool = False
    reload: Reload = "ask"
    cold_start: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSettings(PluginSettings):
    """What is set for one instance of a plugin: what may be set for a plugin, but for the distribution.

    Attributes:
        plugin: Which plugin it is an instance of, as `get` takes its name: `NAME@DISTRIBUTION` names one of several.
        wheel: The wheel that it comes from, absolute, where that is not what is installed; empty where it is.
    """

    plugin: str
    wheel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Who serves the calls of some callers.

    Attributes:
        when: By the name of a value of the context, the texts of which it must be one.
        use: The plugin that serves; empty for the default, but for the shares.
        weights: Shares of these calls that go to others, in percent.
    """

    when: Mapping[str, list[str]] = field(default_factory=dict)
    use: str = ""
    weights: Mapping[str, Percent] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanarySettings:
    """How another plugin, or another version of one, is tried on a share of the calls.

    Attributes:
        plugin: The plugin, or instance, that is tried.
        share: How many percent of the calls go to it.
        calls: How many calls each of the two has at least before it is promoted.
        failures: By how many percentage points more often it may fail than what served so far.
        slower: How many times as long as theirs its calls may take.
    """

    plugin: str
    share: Percent = 5.0
    calls: Number = 500
    failures: Percent = 2.0
    slower: Annotated[float, Range(1, 1000)] = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """What is set for one route: which plugin serves it.

    Attributes:
        default: Who serves where nothing else decides; empty for the first of `order`, and else the first by name.
        order: Who is asked next when the one that was chosen fails.
        capabilities: What all must have.
        key: The value of the context by which shares stick.
        rules: Who serves some callers; the first that fits decides.
        flag: The feature flag whose text names the plugin; empty for none.
        weights: Shares of the calls that go to others than the default, in percent.
        off: Who serves nobody.
        canary: Who is tried on a share of the calls; `None` for nobody.
        static: By method, what is returned when all have failed.
    """

    default: str = ""
    order: list[str] = field(default_factory=list)
    capabilities: frozenset[str] = frozenset()
    key: str = "key"
    rules: list[Rule] = field(default_factory=list)
    flag: str = ""
    weights: Mapping[str, Percent] = field(default_factory=dict)
    off: frozenset[str] = frozenset()
    canary: CanarySettings | None = None
    static: Mapping[str, object] = field(default_factory=dict)


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
        routes: What is set for routes, by name.
        control: Whether operators may act on the running application, through a socket of this user's alone.
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
    routes: Mapping[str, RouteSettings] = field(default_factory=dict)
    control: bool = False
