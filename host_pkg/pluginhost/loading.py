"""The way from an admitted candidate to an object: import, look up, `New()`, assert the type.

The stages fail apart and are told apart, as `plugin.Open`, `Lookup` and the checked type assertion are in Go.
"""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

from stevedore.named import NamedExtensionManager

from pluginhost import identity, symbols
from pluginhost.errors import Finding, PluginFactoryError, PluginImportError, describe
from pluginhost.process import ProcessState

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from stevedore.extension import ExtensionManager

    from pluginhost.survey import Candidate


class Loaded:
    """A plugin that was made and is what it should be.

    Attributes:
        candidate: What was admitted.
        module: Its module.
        plugin: What its factory returned.
        findings: What it changed of the process while it was imported and made.
    """

    __slots__ = ("candidate", "findings", "module", "plugin")

    def __init__(self, candidate: Candidate, module: ModuleType, plugin: object, findings: list[Finding]) -> None:
        self.candidate = candidate
        self.module = module
        self.plugin = plugin
        self.findings = findings


def load(candidate: Candidate, contracts: list[type]) -> Loaded:
    """Returns an admitted candidate's plugin, new and not yet initialised.

    Args:
        candidate: What was admitted.
        contracts: The host's contracts that it must implement.

    Raises:
        PluginImportError: Its module cannot be imported.
        PluginLookupError: Its module does not have the factory.
        PluginFactoryError: The factory cannot be called, or raised.
        PluginTypeError: What it returned is not the contract.
    """
    state, api = ProcessState(), identity.held_modules(contracts)
    try:
        plugin = _Extensions(candidate).only()
    finally:
        changes = [_changed(candidate, change) for change in state.restore()]
        identity.require_held(api, candidate)
    identity.require_contracts(plugin, contracts, candidate)
    return Loaded(candidate, sys.modules[candidate.module], plugin, changes)


class _Extensions(NamedExtensionManager[Any]):
    """stevedore's loading loop over the one entry point that was admitted.

    stevedore's own discovery is not used: its entry points do not know their distribution, and its check runs after the
    import.
    """

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate
        self._failure: BaseException | None = None
        super().__init__(
            candidate.group,
            [candidate.name],
            invoke_on_load=True,
            on_load_failure_callback=type(self)._failed,
            on_missing_entrypoints_callback=None,  # it would log what the manager logs, without code or hint
        )

    def list_entry_points(self) -> list[EntryPoint]:
        return [_AdmittedEntryPoint(self._candidate)]

    # stevedore calls it with the manager first, so it is handed over unbound.
    def _failed(self: ExtensionManager[Any], entry_point: EntryPoint, exc: BaseException) -> None:
        assert isinstance(self, _Extensions)
        self._failure = exc

    def only(self) -> object:
        if self._failure is not None:
            raise self._failure
        return self.extensions[0].obj


class _AdmittedEntryPoint(EntryPoint):
    """An entry point whose `load()` raises nothing but our errors.

    stevedore hands `Exception` to its callback, and lets AssertionError and BaseException through; a plugin may raise
    either.
    """

    def __init__(self, candidate: Candidate) -> None:
        super().__init__(candidate.name, candidate.value, candidate.group)
        vars(self)["candidate"] = candidate  # entry points refuse attributes

    def load(self) -> Callable[[], object]:
        candidate: Candidate = vars(self)["candidate"]
        module = _import(candidate)
        factory = symbols.find(module, candidate.factory, candidate)
        if not callable(factory):
            raise PluginFactoryError(
                Finding(
                    "factory-not-callable",
                    f"{candidate}: {candidate.factory} is a {type(factory).__name__}, not a factory",
                    f"write `def {candidate.factory}():` in {candidate.module}, returning the plugin",
                    symbols.file_of(module),
                )
            )

        def new() -> object:
            try:
                return factory()
            except KeyboardInterrupt:
                raise
            except BaseException as exc:
                raise PluginFactoryError(_raised("factory-failed", candidate, f"{candidate.factory}()", exc)) from exc

        return new


def _import(candidate: Candidate) -> ModuleType:
    try:
        return importlib.import_module(candidate.module)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as exc:
        own = exc.name is not None and f"{candidate.module}.".startswith(f"{exc.name}.")
        if not own:
            raise PluginImportError(_raised("import-failed", candidate, f"import {candidate.module}", exc)) from exc
        raise PluginImportError(
            Finding(
                "module-missing",
                f"{candidate}: there is no module {exc.name!r}, and its entry point names {candidate.module!r}",
                f"reinstall {candidate.distribution.name}; if that does not help, its author corrects the entry point",
                candidate.distribution.info,
            )
        ) from exc
    except BaseException as exc:
        raise PluginImportError(_raised("import-failed", candidate, f"import {candidate.module}", exc)) from exc


def _changed(candidate: Candidate, change: str) -> Finding:
    return Finding(
        "process-changed",
        f"{candidate}: importing {candidate.module} and calling {candidate.factory}() changed {change}",
        f"tell the author of {candidate.distribution.name}: a plugin leaves the process as it found it",
        candidate.distribution.info,
    )


def _raised(code: str, candidate: Candidate, what: str, exc: BaseException) -> Finding:
    return Finding(
        code,
        f"{candidate}: {what} raised {describe(exc)}",
        ("pip check tells what is missing; else " if isinstance(exc, ImportError) else "")
        + f"tell the author of {candidate.distribution.name}; --traceback shows where",
        _where(exc),
    )


def _where(exc: BaseException) -> str:
    """Returns the file where an exception was raised."""
    file = ""
    traceback = exc.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        traceback = traceback.tb_next
    return file
