"""What the application or the operator sets, checked."""

from __future__ import annotations

import os

from pluginhost.errors import wrong
from pluginhost.settings import Configuration, InstanceSettings, PluginSettings

# `typing` is not imported on the road of a survey; type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any, Literal, TypeAlias

    When: TypeAlias = Literal["never", "new", "always"]


PROBE = ("never", "new", "always")
"""When a plugin's first load is tried in a process that may be lost."""


def configuration(given: Mapping[str, Any], file: Any) -> Configuration:
    """Returns all that is set."""
    made = dict(file or {}) | dict(given)
    for name, check in (("plugins", plugin_settings), ("instances", instance_settings), ("plugin_dirs", folders),
                        ("capabilities", capabilities), ("allow", frozenset)):  # fmt: skip
        if name in made:
            made[name] = check(made[name])
    require_probe(made.get("probe", "new"), made.get("probe_timeout", 20.0))
    require_seconds("shutdown_timeout", made.get("shutdown_timeout", 10.0))
    return Configuration(**made)


def folders(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Returns the paths of plugin folders as text.

    Raises:
        ConfigurationError: It is one path instead of several, or not a path.
    """
    if isinstance(paths, (str, bytes, os.PathLike)):
        raise wrong(f"plugin_dirs is {paths!r}", f"write a list: plugin_dirs=[{paths!r}]")
    try:
        return [os.fsdecode(path) for path in paths]
    except TypeError as exc:
        raise wrong(f"plugin_dirs is {paths!r}: {exc}", "write a list of paths") from exc


def plugin_settings(plugins: Mapping[str, Mapping[str, object]]) -> dict[str, PluginSettings]:
    """Returns the settings of each plugin by its name.

    Args:
        plugins: By plugin name, `enabled` (true or false) and `config` (a table for the plugin).

    Raises:
        ConfigurationError: A key is unknown, or a value is of the wrong type; the message names its path.
    """
    return {name: _settings(f"plugins.{name}", settings) for name, settings in plugins.items()}


def instance_settings(instances: Mapping[str, Mapping[str, object]]) -> dict[str, InstanceSettings]:
    """Returns the settings of each instance by its name.

    Args:
        instances: By instance name, `plugin` (its name), `enabled` and `config`.

    Raises:
        ConfigurationError: A name is not plain, a key is unknown or missing, or a value is of the wrong type.
    """
    return {name: _instance(name, dict(settings)) for name, settings in instances.items()}


def capabilities(names: Collection[str]) -> frozenset[str]:
    """Returns what an application offers.

    Raises:
        ConfigurationError: It is one text instead of several, or not of text.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise wrong(f"capabilities is {names!r}", 'write a set of texts, such as {"streaming"}')
    return frozenset(names)


def require_seconds(name: str, seconds: float) -> None:
    """Returns if a time is one.

    Raises:
        ConfigurationError: It is not more than nothing and less than a day's.
    """
    if not isinstance(seconds, int | float) or not 0 < seconds < 86_400:
        raise wrong(f"{name} is {seconds!r}", "write seconds, more than 0 and less than a day's")


def name_taken(path: str, name: str) -> Exception:
    """Returns the error that a name is another plugin's."""
    return wrong(f"{path}: there is a plugin called {name!r} already", "choose another name")


def require_probe(when: str, seconds: float) -> None:
    """Returns if it is said rightly when and how long first loads are tried.

    Raises:
        ConfigurationError: `when` is none of the three words, or the time is none.
    """
    if when not in PROBE:
        raise wrong(f"probe is {when!r}", f"write {', '.join(PROBE)}")
    require_seconds("probe_timeout", seconds)


def _instance(name: str, settings: dict[str, object]) -> InstanceSettings:
    path = f"instances.{name}"
    if not (name.isascii() and name.replace("-", "").replace("_", "").replace(".", "").isalnum()):
        raise wrong(f"{path[:100]!a} is not a name", "use ASCII letters, digits, `-`, `_` and dots")
    if not isinstance(plugin := settings.pop("plugin", None), str):
        raise wrong(f"{path}.plugin is {plugin!r}", "write the name of the plugin that it is an instance of")
    if "distribution" in settings:
        raise wrong(f"{path}.distribution is not a setting", f'write plugin = "{plugin}@{settings["distribution"]}"')
    common = _settings(path, settings)
    return InstanceSettings(plugin=plugin, enabled=common.enabled, config=common.config)


def _settings(path: str, settings: Mapping[str, object]) -> PluginSettings:
    for key in settings:
        if key not in PluginSettings.__slots__:
            raise wrong(f"{path}.{key} is not a setting", f"a plugin has: {', '.join(PluginSettings.__slots__)}")
    enabled, config = settings.get("enabled", True), settings.get("config", {})
    if not isinstance(enabled, bool):
        raise wrong(f"{path}.enabled is {enabled!r}", "write true or false")
    if not isinstance(config, dict):
        raise wrong(f"{path}.config is {config!r}", "write a table")
    distribution = settings.get("distribution", "")
    if not isinstance(distribution, str):
        raise wrong(f"{path}.distribution is {distribution!r}", "write the name of a distribution")
    made: Any = {**settings, "enabled": enabled, "config": config, "distribution": distribution}
    return PluginSettings(**made)
