"""What a plugin's `init` receives: the host as one plugin sees it, until its shutdown."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast
from urllib.parse import quote

import pluginapi
from pluginhost.errors import revoked

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Literal, TypeAlias

    from typing_extensions import TypeForm

    from pluginhost.errors import Finding
    from pluginhost.events import About, Events, Listener

    Kind: TypeAlias = Literal["data", "cache"]

P = TypeVar("P", bound=pluginapi.Plugin)
T = TypeVar("T")


def user_folder(kind: Kind) -> Path:
    """Returns the user's folder in which plugins have theirs: for what must last, or for what can be made anew."""
    import platformdirs  # most plugins never ask

    if kind == "data":
        return platformdirs.user_data_path("pluginhost", appauthor=False)
    return platformdirs.user_cache_path("pluginhost", appauthor=False) / "plugins"


class Services(NamedTuple):
    """What a host does for one plugin.

    Attributes:
        about: Which plugin it is.
        get: Returns another plugin by name and contract.
        all: Returns the other plugins of a contract that have some capabilities.
        load: Returns guests by namespace, configuration and contract, and is told where to leave what undoes it.
        capabilities: What the application offers.
        events: The listeners of all.
        folder: Returns the folder in which plugins have theirs.
        path: Where its configuration is set, for a message.
    """

    about: About
    get: Callable[[str, Any], Any]
    all: Callable[[Any, Collection[str]], Any]
    load: Callable[[str, Mapping[str, Mapping[str, object]], Any, Callable[[Callable[[], None]], object]], Any]
    capabilities: frozenset[str]
    events: Events
    folder: Callable[[Kind], Path]
    path: str = "config"


class PluginHost(pluginapi.Host):
    """The host of one plugin.

    Attributes:
        about: Which plugin it is for.
        group: That plugin's group.
        name: Its name.
        undo: What is undone when it is revoked, the last first: whatever gives something to the plugin adds to it.
    """

    __slots__ = ("_config", "_logger", "_services", "about", "group", "name", "undo")

    def __init__(self, group: str, name: str, config: Mapping[str, object], services: Services) -> None:
        self.about = services.about
        self.undo = contextlib.ExitStack()
        self.group = group
        self.name = name
        self._config = MappingProxyType({key: _copied(value) for key, value in config.items()})
        self._logger = logging.getLogger(f"{group}.{name}")
        named = _Named(services.about)
        self._logger.addFilter(named)
        self.undo.callback(self._logger.removeFilter, named)
        self._services: Services | None = services

    @property
    def logger(self) -> logging.Logger:
        self._require_open()
        return self._logger

    @property
    def config(self) -> Mapping[str, object]:
        self._require_open()
        return self._config

    @property
    def path(self) -> str:
        """Where the plugin's configuration is set, for a message."""
        return self._require_open().path

    def config_as(self, type: TypeForm[T]) -> T:
        from pluginhost import validation  # most plugins take it as it is

        found: T = validation.require(dict(self.config), cast("Any", type), self.path)
        return found

    @property
    def capabilities(self) -> frozenset[str]:
        return self._require_open().capabilities

    @property
    def data_folder(self) -> Path:
        return self._own("data")

    @property
    def cache_folder(self) -> Path:
        return self._own("cache")

    def get(self, name: str, contract: TypeForm[P]) -> P:
        found: P = self._require_open().get(name, contract)
        return found

    def all(self, contract: TypeForm[P], requires: Collection[str] = ()) -> dict[str, P]:
        found: dict[str, P] = self._require_open().all(contract, requires)
        return found

    def load(
        self, namespace: str, configuration: Mapping[str, Mapping[str, object]], contract: object = None
    ) -> dict[str, Any]:
        load, wanted = self._require_open().load, contract or pluginapi.Plugin
        found: dict[str, Any] = load(namespace, configuration, wanted, self.undo.callback)
        return found

    def subscribe(self, listener: Listener, topic: str = "") -> Callable[[], None]:
        services = self._require_open()
        undo = services.events.subscribe(listener, topic, services.about)
        self.undo.callback(undo)
        return undo

    def emit(self, topic: str, **fields: object) -> None:
        self._require_open().events.emit(topic, self.name, fields)

    def tell(self, finding: Finding) -> None:
        """Tells of what goes wrong on the way between the plugin and its host, as long as it has one."""
        if (services := self._services) is not None:
            services.events.tell(finding, self.about)

    def again(self) -> PluginHost:
        """Returns another host of the same plugin: what that one gives is taken back apart from what this one gives.

        For a child process, which has one of its own each time it is started.
        """
        return PluginHost(self.group, self.name, self._config, self._require_open())

    def revoke(self) -> None:
        """Ends the plugin's use of its host, and takes back what it was given."""
        self._services = None
        self.undo.close()

    def _require_open(self) -> Services:
        services = self._services
        if services is None:
            raise revoked(self.about.text)
        return services

    def _own(self, kind: Kind) -> Path:
        """Returns the plugin's folder of a kind; the names of group and plugin are no paths there."""
        folder = self._require_open().folder(kind)
        for part in ("", quote(self.group, safe=""), quote(self.name, safe="@#")):
            folder = folder / part
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(os.path.abspath(folder))


class _Named(logging.Filter):
    """Adds to each record of a plugin's logger which plugin it is; a `LoggerAdapter` would be no `Logger`."""

    def __init__(self, about: About) -> None:
        super().__init__()
        self._fields = about.fields

    def filter(self, record: logging.LogRecord) -> bool:
        vars(record).update({"code": "", "stage": ""} | vars(record) | self._fields)
        return True


def _copied(value: object) -> object:
    """Returns lists and tables anew, so that what a plugin changes in them does not stay."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
