"""A host for the tests of one plugin, without a manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pluginapi
from pluginhost import config as settings
from pluginhost import identity, journal
from pluginhost.errors import Finding, PluginNotFound
from pluginhost.events import About, Events
from pluginhost.host import PluginHost, Services
from pluginhost.survey import Candidate, Distribution
from pluginhost.testing.folders import Folder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from os import PathLike
    from typing import Final

    from typing_extensions import TypeForm

P = TypeVar("P", bound=pluginapi.Plugin)

_GROUP: Final = "pluginhost.plugins"


class FakeHost(PluginHost):
    """What a plugin's `init` receives, made by a test.

    It is the host that plugins get from a manager, but for what it gives: folders that go with it, and the plugins that
    the test hands over.

    Attributes:
        events: What was emitted, in that order.
    """

    def __init__(
        self,
        name: str = "plugin",
        config: Mapping[str, object] | None = None,
        capabilities: Collection[str] = (),
        plugins: Mapping[str, pluginapi.Plugin] | None = None,
        folder: str | PathLike[str] | None = None,
    ) -> None:
        """Makes a host.

        Args:
            name: The name of the plugin that it is for.
            config: What the plugin finds in `host.config`.
            capabilities: What the application offers.
            plugins: What `get`, `all` and `load` return, by name (`http.handlers.rate` for a guest); it is neither
                started nor given a configuration, and has every capability that is asked for.
            folder: In which the plugin's folders are made; else in one that goes with the host.
        """
        self.events: list[pluginapi.Event] = []
        events = Events(journal.tell)
        events.subscribe(self.events.append)
        self._folder = Folder(folder)  # held beyond `revoke`
        self._plugins = dict(plugins or {})
        offered = settings.configuration({"capabilities": capabilities}).capabilities
        about = About(name, name, "", "", 1)
        services = Services(about, self._get, self._all, self._load, offered, events, self._folder)
        super().__init__(_GROUP, name, config or {}, services)

    def _get(self, name: str, contract: TypeForm[P]) -> P:
        if name not in self._plugins:
            there = f"it has {', '.join(sorted(self._plugins)) or 'none'}"
            hint = f"FakeHost(plugins={{{name!r}: …}}) has it"
            message = f"the FakeHost of {self.name} has no plugin called {name!r}: {there}"
            raise PluginNotFound(Finding("plugin-unknown", message, hint))
        plugin = self._plugins[name]
        if not identity.is_a(plugin, contract):
            cls = type(plugin)
            made_by = Candidate(_GROUP, name, f"{cls.__module__}:{cls.__qualname__}", Distribution("fake", "", "", ""))
            raise identity.wrong_contract(plugin, contract, made_by)  # type: ignore[arg-type]
        return plugin  # type: ignore[return-value]

    def _all(self, contract: TypeForm[P], requires: Collection[str]) -> dict[str, P]:
        return {
            name: self._get(name, contract) for name, plugin in self._plugins.items() if identity.is_a(plugin, contract)
        }

    def _load(
        self,
        namespace: str,
        configuration: Mapping[str, Mapping[str, object]],
        contract: TypeForm[P],
        undo: Callable[[Callable[[], None]], object],
    ) -> dict[str, P]:
        return {key: self._get(f"{namespace}.{key}", contract) for key in configuration}
