"""What the application or the operator sets, checked."""

from __future__ import annotations

from pluginhost.errors import ConfigurationError, Finding

# `typing` is not imported on the road of a survey; type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class PluginSettings:
    """What is set for one plugin.

    Attributes:
        enabled: Whether the plugin may run.
        config: What the plugin's `init` finds in `host.config`.
    """

    __slots__ = ("config", "enabled")

    def __init__(self, enabled: bool = True, config: Mapping[str, object] | None = None) -> None:
        self.enabled = enabled
        self.config = dict(config or {})


def plugin_settings(plugins: Mapping[str, Mapping[str, object]]) -> dict[str, PluginSettings]:
    """Returns the settings of each plugin by its name.

    Args:
        plugins: By plugin name, `enabled` (true or false) and `config` (a table for the plugin).

    Raises:
        ConfigurationError: A key is unknown, or a value is of the wrong type; the message names its path.
    """
    known: dict[str, tuple[type, str]] = {"enabled": (bool, "true or false"), "config": (dict, "a table")}
    checked = {}
    for name, settings in plugins.items():
        for key, value in settings.items():
            kind, wanted = known.get(key, (object, ""))
            if key not in known:
                raise _wrong(f"plugins.{name}.{key} is not a setting", f"a plugin has: {', '.join(sorted(known))}")
            if not isinstance(value, kind):
                raise _wrong(f"plugins.{name}.{key} is {value!r}", f"write {wanted}")
        checked[name] = PluginSettings(**settings)  # type: ignore[arg-type] - checked above
    return checked


def _wrong(message: str, hint: str) -> ConfigurationError:
    return ConfigurationError(Finding("configuration-wrong", message, hint))
