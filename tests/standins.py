"""Plugins without a wheel, taken by hand to where a manager would take them."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from pluginhost.containment import Containment
from pluginhost.events import Events
from pluginhost.generations import Generation
from pluginhost.host import PluginHost, Services
from pluginhost.lifecycle import Handle
from pluginhost.loading import Loaded
from pluginhost.settings import PluginSettings
from pluginhost.survey import Candidate, Distribution
from pluginhost.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Collection

    from pluginhost.errors import Finding

CANDIDATE = Candidate("pluginhost.plugins", "some", "zoo_some:New", Distribution("zoo-some", "1.2", "", ""))


class Stage:
    """A handle and what a manager has beside it.

    Attributes:
        handle: The handle.
        told: What a manager would have logged.
        events: The topics and the earlier states of what was told to listeners.
        settings: What is set for the plugin.
        watchdog: Who notices what is late.
    """

    def __init__(self, name: str = "some", **settings: Any) -> None:
        self.told: list[Finding] = []
        self.events: list[tuple[str, object]] = []
        self._events = Events(lambda finding, about: self.told.append(finding))
        self._events.subscribe(lambda event: self.events.append((event.topic, event.fields.get("before"))), "plugin.")
        self.handle = Handle(name, CANDIDATE, self._events)
        self.settings = PluginSettings(**settings)
        self.watchdog = Watchdog()

    def generation(self, plugin: object, built_against: str = "", module: str = "zoo_some") -> Generation:
        """Returns a generation that is not started."""
        candidate = Candidate(CANDIDATE.group, CANDIDATE.name, f"{module}:New", CANDIDATE.distribution)
        loaded = Loaded(candidate, ModuleType(module), plugin, [])
        loaded.built_against = built_against
        services: Any = Services(self.handle.about, None, None, None, frozenset(), self._events, None)  # type: ignore[arg-type]
        host = PluginHost("group", "some", {}, services)
        held = Containment(self.handle, self.settings, self.watchdog, self.told.append)
        return Generation(self.handle.name, str(self.handle), loaded, host, self.settings, held)

    def run(self, plugin: object, contracts: Collection[type] = (), **options: Any) -> Handle:
        """Returns the handle once the plugin runs: also another one, after that before it was stopped."""
        generation = self.generation(plugin, **options)
        if self.handle.state in ("stopped", "failed"):
            self.handle.move("discovered")
        for state in ("admitted", "loaded", "created"):
            self.handle.move(state)  # type: ignore[arg-type]
        generation.start(5)
        self.handle.begin(generation, contracts)
        return self.handle


def stub_of(plugin: Any, *contracts: type, **options: Any) -> Any:
    """Returns a stub of a plugin that runs, of all the contracts."""
    return Stage().run(plugin, contracts, **options).require(contracts[0])
