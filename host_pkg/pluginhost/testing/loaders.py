"""Plugins that are not installed, in place of those that are."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import pluginapi
from pluginhost.catalogue import CODES
from pluginhost.errors import (
    Finding,
    PluginFactoryError,
    PluginHostError,
    PluginImportError,
    PluginInitError,
    PluginLoadError,
    PluginLookupError,
    PluginProbeError,
    PluginRefused,
    PluginTypeError,
    wrong,
)
from pluginhost.manager import PluginManager
from pluginhost.runner import Runner
from pluginhost.survey import Survey
from pluginhost.testing.folders import Folder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from os import PathLike
    from typing import Final

    from typing_extensions import TypeForm

    from pluginhost.entries import Entry
    from pluginhost.host import PluginHost
    from pluginhost.lifecycle import Handle
    from pluginhost.loading import Loaded, Watched
    from pluginhost.survey import Row

P = TypeVar("P", bound=pluginapi.Plugin)

_ERRORS: Final[Mapping[str, type[PluginHostError]]] = {
    "admission": PluginRefused,
    "probe": PluginProbeError,
    "import": PluginImportError,
    "lookup": PluginLookupError,
    "new": PluginFactoryError,
    "type": PluginTypeError,
    "init": PluginInitError,
}
"""What is raised by stage; at later ones nothing is raised that a class of the test's own could not."""

_NOT_AT_START: Final = {
    "config-wrong",
    "disabled",
    "not-allowed",
    "safe-mode",
    "wheel-replaced",
    "symbol-type",
    "capability-missing",
}

CAN_FAIL: Final = frozenset(
    code for code, of in CODES.items() if of.stage in _ERRORS and of.severity == "error" and code not in _NOT_AT_START
)
"""The codes that `FakeLoader.fail` takes: those with which a plugin does not come to run."""


class FakeLoader:
    """Plugins of a test's own, for whoever tests an application.

    Its managers find these and no other, and take them all the way that plugins go: states, events, `init`, stubs,
    `shutdown`. What the plugins keep in their folders goes with the loader.
    """

    def __init__(self, folder: str | PathLike[str] | None = None) -> None:
        """Makes a loader.

        Args:
            folder: In which the plugins' folders are made; else in one that goes with the loader.
        """
        self._folder = Folder(folder)
        self._added: dict[str, tuple[Callable[[], pluginapi.Plugin], Collection[str]]] = {}
        self._codes: dict[str, str] = {}
        self._managers: list[PluginManager] = []

    def add(self, name: str, factory: Callable[[], pluginapi.Plugin], *, capabilities: Collection[str] = ()) -> None:
        """Adds a plugin to what managers find that are made from then on.

        Args:
            name: What it is asked for by.
            factory: What makes it: its class, or a function, as a plugin's `New`.
            capabilities: What it can do beyond its contracts.
        """
        self._added[name] = factory, capabilities

    def fail(self, name: str, code: str) -> None:
        """Has a plugin fail whenever it is started: in the state, and with the error, that go with a code.

        Args:
            name: One that was added; else one of that name is.
            code: Such as `import-failed`, `wrong-type`, `init-failed` or `pin-unsatisfied`.

        Raises:
            ConfigurationError: It is no code with which plugins fail to start.
        """
        if code not in CAN_FAIL:
            hint = f"add a class that does so, or choose one of {', '.join(sorted(CAN_FAIL))}"
            raise wrong(f"fail: no plugin fails to start with {code!r}", hint)
        self._codes[name] = code
        self._added.setdefault(name, (_make_nothing, ()))

    def manager(
        self, group: str = "pluginhost.plugins", api: str | None = "pluginapi", **options: Any
    ) -> PluginManager:
        """Returns a manager that finds what was added; `PluginManager` tells its arguments.

        A test may put this method in the place of an application's `PluginManager`.
        """
        manager = _FakeManager(dict(self._codes), group, api, **options)
        manager.folder = self._folder
        for name, (factory, capabilities) in self._added.items():
            manager.register(name, factory, capabilities=capabilities)
        self._managers.append(manager)
        return manager

    def close(self) -> None:
        """Closes the managers that it made, the last first."""
        for manager in reversed(self._managers):
            manager.close()


@contextlib.contextmanager
def started(
    factory: Callable[[], pluginapi.Plugin],
    contract: TypeForm[P],
    config: Mapping[str, object] | None = None,
    **options: Any,
) -> Iterator[P]:
    """Yields what stands for a plugin that the host has started, after all of its checks, and shuts it down.

    Args:
        factory: The plugin's `New`.
        contract: The contract that it must implement.
        config: What the plugin finds in `host.config`.
        options: What `PluginManager` takes, such as `api` and `capabilities`.

    Raises:
        PluginHostError: It could not be made or started, or its `shutdown` failed.
    """
    loader = FakeLoader()
    loader.add("plugin", factory)
    with loader.manager(plugins={"plugin": {"config": dict(config or {})}}, **options) as manager:
        handle = manager.handle("plugin")
        yield handle.require(contract)
    if handle.error:
        raise handle.error


class _FakeManager(PluginManager):
    """A manager in whose environment nothing is installed, and some of whose plugins fail."""

    def __init__(self, codes: Mapping[str, str], group: str, api: str | None, **options: Any) -> None:
        super().__init__(group, api, **options)
        self._codes = codes

    def survey(self) -> Survey:
        survey = super().survey()
        for row in survey:
            code = self._codes.get(row.name, "")
            if code and CODES[code].stage == "admission":
                row.findings.append(_finding(row, code))
            elif code.startswith("requirement-"):
                row.requires = {"plugins": [row.name if code == "requirement-cycle" else f"{row.name}.missing"]}
        return survey

    def _installed(self) -> Survey:
        return Survey([], [])

    def _make_runner(self) -> Runner:
        return _FakeRunner(self, self._codes)


class _FakeRunner(Runner):
    """Starts plugins, but for those that fail."""

    def __init__(self, manager: _FakeManager, codes: Mapping[str, str]) -> None:
        super().__init__(manager)
        self._codes = codes

    def _load(
        self, handle: Handle, entry: Entry, contracts: dict[str, type], reached: Callable[[], None], watched: Watched
    ) -> tuple[Loaded, list[Finding]]:
        error = self._error_of(entry.row)
        if not isinstance(error, PluginLoadError):
            return super()._load(handle, entry, contracts, reached, watched)
        if isinstance(error, PluginTypeError) or error.finding.code == "factory-failed":
            reached()
        raise error

    def _host_for(self, handle: Handle, entry: Entry, needs: list[Handle]) -> PluginHost:
        if error := self._error_of(entry.row):
            raise error
        return super()._host_for(handle, entry, needs)

    def _error_of(self, row: Row) -> PluginHostError | None:
        code = self._codes.get(row.name)
        return _ERRORS[CODES[code].stage](_finding(row, code)) if code else None


def _finding(row: Row, code: str) -> Finding:
    return Finding(code, f"{row.candidate} fails because a test wants it to. {CODES[code].meaning}", CODES[code].mend)


def _make_nothing() -> pluginapi.Plugin:
    """Stands for the factory of a plugin that fails."""
    return _Nothing()


class _Nothing(pluginapi.Plugin):
    """What is made before a plugin fails."""
