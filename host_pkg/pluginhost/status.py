"""How a plugin is at a moment, for whoever operates the application."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

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

    def to_dict(self) -> dict[str, str | int | float | None]:
        """Returns its fields, for JSON."""
        return asdict(self)
