"""How a plugin, or a route, is at a moment, for whoever operates the application."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pluginhost.settings import CanarySettings, Rule  # noqa: TC001 - who reads a status as JSON needs the annotations

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from pluginhost.breaker import BreakerState

    State: TypeAlias = Literal[
        "discovered", "refused", "disabled", "admitted", "loaded", "created", "running", "draining", "stopped", "failed"
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a plugin is, and how its calls went since it was first asked for, over all its generations.

    Attributes:
        plugin: The plugin's name, or the instance's.
        distribution: Its distribution.
        version: The distribution's version.
        state: Where it is in its life.
        generation: How many times it has come to run.
        calls: How many calls have come to it; a call that the breaker refused has not. Reading or binding an attribute
            is a call, too.
        failures: How many of them failed: raised what is no `pluginapi.PluginError`, or were late.
        p50: Half of the calls took no longer, in seconds; `None` when none was timed. It is a sample, as are the next
            two: the latest 512 that were timed, which are the first call, and of those with a deadline one in 16, of
            others many at first and then one in 128.
        p99: 99 of 100 took no longer.
        max: The longest of the sample.
        breaker: Whether its calls are let through: `closed` when they are, `open` when not, `half-open` when one is.
        abandoned: How many threads were given up with a call that did not return, and still run.
        error: Why it failed, or may not run; `None` in every other state.
        reload_seconds: How long the last reload took until calls went to the new generation; `None` before the first.
        reload_error: Why the last reload left the generation before in place; `None` when it did not.
    """

    plugin: str
    distribution: str
    version: str
    state: State
    generation: int
    calls: int
    failures: int
    p50: float | None
    p99: float | None
    max: float | None
    breaker: BreakerState
    abandoned: int
    error: str | None
    reload_seconds: float | None
    reload_error: str | None

    def to_dict(self) -> dict[str, str | int | float | None]:
        """Returns its fields, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegStatus:
    """How the calls went that one route sent to one plugin.

    Attributes:
        plugin: The plugin's name.
        calls: How many there were.
        failures: How many of them failed.
        p50: Half of them took no longer, in seconds; as `Status` has it, of a sample.
        p99: 99 of 100 took no longer.
    """

    plugin: str
    calls: int
    failures: int
    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SideStatus:
    """How the calls went of one of the two that a trial compares.

    Attributes:
        calls: How many there were.
        failures: How many of them failed.
        p50: Half of those that did not fail took no longer, in seconds, to 6 %; `None` when there were none.
        p95: 95 of 100 of them took no longer.
    """

    calls: int
    failures: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryStatus:
    """How a route's canary does.

    Attributes:
        settings: What is set for it.
        tried: Its calls so far.
        baseline: Those that it is held against.
    """

    settings: CanarySettings
    tried: SideStatus
    baseline: SideStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteStatus:
    """How a route decides, and how its calls went.

    Attributes:
        route: The route's name.
        contract: Its contract.
        default: Who serves where nothing else decides; empty while that is not known.
        order: Who is asked next.
        capabilities: What all must have.
        key: The value of the context by which shares stick.
        rules: Who serves some callers.
        weights: Shares of the calls that go to others, in percent.
        off: Who serves nobody.
        flag: The feature flag that decides; empty for none.
        canary: How the canary does; `None` where there is none.
        verdict: What became of the last canary; empty before.
        fallbacks: How many times another, or a static value, stood in.
        plugins: Those that have been called.
    """

    route: str
    contract: str
    default: str
    order: list[str]
    capabilities: list[str]
    key: str
    rules: list[Rule]
    weights: dict[str, float]
    off: list[str]
    flag: str
    canary: CanaryStatus | None
    verdict: str
    fallbacks: int
    plugins: list[LegStatus]

    def to_dict(self) -> dict[str, object]:
        """Returns its fields, for JSON."""
        return asdict(self)
