"""What the application or the operator sets, checked."""

from __future__ import annotations

import os

from pluginhost.errors import ConfigurationError, Finding

# `typing` is not imported on the road of a survey; type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal, TypeAlias

    When: TypeAlias = Literal["never", "new", "always"]


PROBE = ("never", "new", "always")
"""When a plugin's first load is tried in a process that may be lost."""


class PluginSettings:
    """What is set for one plugin.

    Attributes:
        enabled: Whether the plugin may run.
        distribution: Which distribution's plugin is meant, where several share the name; empty when any.
        config: What the plugin's `init` finds in `host.config`.
    """

    __slots__ = ("config", "distribution", "enabled")

    def __init__(
        self, enabled: bool = True, config: Mapping[str, object] | None = None, distribution: str = ""
    ) -> None:
        self.enabled = enabled
        self.distribution = distribution
        self.config = config or {}


def folders(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Returns the paths of plugin folders as text.

    Raises:
        ConfigurationError: It is one path instead of several, or not a path.
    """
    if isinstance(paths, (str, bytes, os.PathLike)):
        raise _wrong(f"plugin_dirs is {paths!r}", f"write a list: plugin_dirs=[{paths!r}]")
    try:
        return [os.fsdecode(path) for path in paths]
    except TypeError as exc:
        raise _wrong(f"plugin_dirs is {paths!r}: {exc}", "write a list of paths") from exc


def plugin_settings(plugins: Mapping[str, Mapping[str, object]]) -> dict[str, PluginSettings]:
    """Returns the settings of each plugin by its name.

    Args:
        plugins: By plugin name, `enabled` (true or false) and `config` (a table for the plugin).

    Raises:
        ConfigurationError: A key is unknown, or a value is of the wrong type; the message names its path.
    """
    return {name: _settings(f"plugins.{name}", settings) for name, settings in plugins.items()}


def require_probe(when: str, seconds: float) -> None:
    """Returns if it is said rightly when and how long first loads are tried.

    Raises:
        ConfigurationError: `when` is none of the three words, or the time is none.
    """
    if when not in PROBE:
        raise _wrong(f"probe is {when!r}", f"write {', '.join(PROBE)}")
    if not isinstance(seconds, int | float) or not 0 < seconds < 86_400:
        raise _wrong(f"probe_timeout is {seconds!r}", "write seconds, more than 0 and less than a day's")


def _settings(path: str, settings: Mapping[str, object]) -> PluginSettings:
    for key in settings:
        if key not in PluginSettings.__slots__:
            raise _wrong(f"{path}.{key} is not a setting", f"a plugin has: {', '.join(PluginSettings.__slots__)}")
    enabled, config = settings.get("enabled", True), settings.get("config", {})
    if not isinstance(enabled, bool):
        raise _wrong(f"{path}.enabled is {enabled!r}", "write true or false")
    if not isinstance(config, dict):
        raise _wrong(f"{path}.config is {config!r}", "write a table")
    distribution = settings.get("distribution", "")
    if not isinstance(distribution, str):
        raise _wrong(f"{path}.distribution is {distribution!r}", "write the name of a distribution")
    return PluginSettings(enabled, config, distribution)


def _wrong(message: str, hint: str) -> ConfigurationError:
    return ConfigurationError(Finding("configuration-wrong", message, hint))
