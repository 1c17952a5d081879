"""A plugin's life once it is made: `init`, the handle that holds it, `shutdown`."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluginapi
from pluginhost import identity
from pluginhost.errors import Finding, PluginHostError, PluginInitError, PluginTypeError, describe
from pluginhost.interrupts import Interrupted
from pluginhost.symbols import Symbol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import TypeForm

    from pluginhost.loading import Loaded
    from pluginhost.survey import Candidate

P = TypeVar("P", bound=pluginapi.Plugin)
T = TypeVar("T")


class PluginHost(pluginapi.Host):
    """What one plugin's `init` receives."""

    __slots__ = ("_config", "_logger")

    def __init__(self, candidate: Candidate, config: Mapping[str, object]) -> None:
        self._logger = logging.getLogger(f"{candidate.group}.{candidate.name}")
        self._config = MappingProxyType(dict(config))

    @property
    def logger(self) -> logging.Logger:
        return self._logger

    @property
    def config(self) -> Mapping[str, object]:
        return self._config


class Handle:
    """A running plugin as the manager holds it.

    Attributes:
        candidate: What was admitted.
        plugin: What its factory returned; of some contract, which `require` asserts.
    """

    __slots__ = ("_module", "candidate", "plugin")

    def __init__(self, loaded: Loaded) -> None:
        self.candidate = loaded.candidate
        self.plugin: Any = loaded.plugin
        self._module = loaded.module

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.candidate.name

    def implements(self, contract: TypeForm[P]) -> bool:
        """Returns whether the plugin's class derives from a contract."""
        return identity.is_a(self.plugin, contract)

    def require(self, contract: TypeForm[P]) -> P:
        """Returns the plugin as a contract.

        Raises:
            PluginTypeError: It does not implement it.
        """
        if not self.implements(contract):
            raise identity.wrong_contract(self.plugin, cast("type", contract), self.candidate)
        return cast("P", self.plugin)

    def lookup(self, symbol: str, type: TypeForm[T]) -> Symbol[T]:
        """Returns a symbol of the plugin's module, as Go's `plugin.Lookup` does.

        Args:
            symbol: The module attribute's name.
            type: The type that it must have, such as `int` or `Callable[[], int]`.

        Raises:
            PluginLookupError: There is no such symbol, or it is of another type.
        """
        return Symbol(self._module, symbol, type, self.candidate)

    def stop(self) -> None:
        """Shuts the plugin down.

        Raises:
            PluginHostError: `shutdown` raised.
        """
        if not identity.is_a(self.plugin, pluginapi.Plugin):
            return
        try:
            self.plugin.shutdown()
        except Interrupted:
            raise
        except BaseException as exc:
            raise PluginHostError(
                Finding(
                    "shutdown-failed",
                    f"{self.candidate}: shutdown raised {describe(exc)}",
                    f"what it held may be left behind; tell the author of {self.candidate.distribution.name}",
                    self.candidate.distribution.info,
                )
            ) from exc


def require_own(loaded: Loaded, other: Handle) -> None:
    """Returns if a plugin is not the object that another plugin's factory returned.

    Raises:
        PluginTypeError: It is; the host would name it twice, and shut it down twice.
    """
    if loaded.plugin is other.plugin:
        candidate = loaded.candidate
        raise PluginTypeError(
            Finding(
                "wrong-type",
                f"{candidate}: {candidate.factory}() returned the object that serves as {other.candidate}",
                f"{candidate.factory}() returns a new object at each call",
                candidate.distribution.info,
            )
        )


def start(loaded: Loaded, config: Mapping[str, object]) -> Handle:
    """Returns the handle of a plugin that was named and initialised.

    Args:
        loaded: What `loading.load` returned.
        config: The plugin's configuration.

    Raises:
        PluginInitError: `init` raised.
    """
    candidate, plugin = loaded.candidate, loaded.plugin
    if identity.is_a(plugin, pluginapi.Plugin):
        # By the slot's descriptor: the class may refuse attributes, or have a `name` of its own.
        pluginapi.Plugin.__dict__["name"].__set__(plugin, candidate.name)
        try:
            cast("pluginapi.Plugin", plugin).init(PluginHost(candidate, config))
        except Interrupted:
            raise
        except BaseException as exc:
            raise PluginInitError(
                Finding(
                    "init-failed",
                    f"{candidate}: init raised {describe(exc)}",
                    f"check plugins.{candidate.name}.config, or tell the author of {candidate.distribution.name}",
                    candidate.distribution.info,
                )
            ) from exc
    return Handle(loaded)
