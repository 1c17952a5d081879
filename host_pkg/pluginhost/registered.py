"""Plugins of the application's own, which are not installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluginhost import identity, names
from pluginhost.errors import Finding, wrong
from pluginhost.survey import Candidate, Distribution, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pluginhost.survey import Survey


class Registered:
    """A plugin of the application's own.

    Attributes:
        candidate: What stands for it beside those that were discovered.
        factory: What makes it, as a plugin's `New` does.
    """

    def __init__(self, group: str, name: str, factory: Callable[[], object], capabilities: Collection[str]) -> None:
        where = f"{getattr(factory, '__module__', '')}:{getattr(factory, '__qualname__', 'New')}"
        self.candidate = Candidate(group, name, where, Distribution("built-in", "", "", ""))
        self.factory = factory
        self._capabilities = sorted(capabilities)
        for finding in names.check_name(self.candidate):
            raise wrong(f"register: {finding.message}", finding.hint)
        if not callable(factory):
            message = f"register: the factory of {name!r} is a {identity.class_name(factory)}, which cannot be called"
            raise wrong(message, "give its class, or a function")

    def join(self, survey: Survey, api: str | None) -> None:
        """Adds the plugin's row to a survey; installed ones of the same name are refused from there on."""
        for row in survey:
            if row.name == self.candidate.name:
                hint = f"name the one you mean: {row.name}@{row.distribution}"
                message = f"{row.candidate} has the name of a plugin that the application brings itself"
                row.findings.append(Finding("name-clash", message, hint, row.candidate.distribution.info))
        contracts = None
        if isinstance(self.factory, type):
            known = identity.import_contracts(api)
            contracts = [name for name, cls in known.items() if cls in self.factory.__mro__ and name != "Plugin"]
        row = Row(self.candidate, "", contracts, self._capabilities, [])
        # Before those that it hides, whatever their distributions are called.
        survey.plugins = sorted(
            [row, *survey.plugins], key=lambda each: (each.name, each is not row, each.distribution)
        )
