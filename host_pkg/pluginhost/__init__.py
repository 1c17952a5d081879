"""A plugin host: separately installed wheels extend an application.

Imports point down, from the command to the ground:

```
cli/                       the command
manager                    PluginManager
lifecycle                  init, the handle, shutdown
loading                    import, look up, New(), assert the type
identity      symbols      one copy of the API; what a module offers
admission                  may it run
discovery                  what is installed, from metadata alone
errors        config       the codes and the settings
```
"""

from __future__ import annotations

# Nothing is imported before it is asked for: a survey must not pay for what loads plugins.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pluginhost.admission import Row, Survey
    from pluginhost.errors import (
        ConfigurationError,
        Finding,
        ManagerClosed,
        PluginCallError,
        PluginFactoryError,
        PluginHostError,
        PluginImportError,
        PluginInitError,
        PluginLoadError,
        PluginLookupError,
        PluginNotFound,
        PluginRefused,
        PluginTypeError,
    )
    from pluginhost.lifecycle import Handle
    from pluginhost.manager import PluginManager
    from pluginhost.symbols import Symbol

__all__ = [
    "ConfigurationError",
    "Finding",
    "Handle",
    "ManagerClosed",
    "PluginCallError",
    "PluginFactoryError",
    "PluginHostError",
    "PluginImportError",
    "PluginInitError",
    "PluginLoadError",
    "PluginLookupError",
    "PluginManager",
    "PluginNotFound",
    "PluginRefused",
    "PluginTypeError",
    "Row",
    "Survey",
    "Symbol",
]

_ELSEWHERE = {
    "Handle": "lifecycle",
    "PluginManager": "manager",
    "Row": "admission",
    "Survey": "admission",
    "Symbol": "symbols",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
