"""From a module's name to what its factory made: each step fails with its own code.

The host takes these steps, and so does the process of an isolated plugin, which must start fast: stevedore, logging and
importlib.metadata are not imported here.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import shlex  # noqa: F401 - with these two, a plugin after which nothing can be imported can be told of
import sys
from typing import TYPE_CHECKING

import pluginhost.catalogue  # noqa: F401
from pluginhost import identity, places, symbols
from pluginhost.errors import ConfigurationError, Finding, PluginFactoryError, PluginImportError
from pluginhost.interrupts import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType
    from typing import Final

    from pluginhost.survey import Candidate

STAGE: Final = "pluginhost.stage"
"""The audit event when a plugin's own code begins to run and when it has: its name, and `import`, `new` or nothing."""


def import_module(candidate: Candidate, restore: Callable[[], None] = lambda: None) -> ModuleType:
    """Returns a candidate's module, imported.

    Args:
        candidate: What was admitted.
        restore: Called when the plugin's code has run, also when it failed, before anything is told of that.

    Raises:
        PluginImportError: It cannot be imported.
    """
    try:
        try:
            audit(STAGE, candidate.name, "import")
            return importlib.import_module(candidate.module)
        finally:
            audit(STAGE, candidate.name, "")
            restore()
    except Interrupted:
        raise
    except ModuleNotFoundError as exc:
        name = vars(ImportError)["name"].__get__(exc)  # past what the exception's class may say
        own = type(name) is str and places.is_within(candidate.module, name)
        if not own:
            raise PluginImportError(_raised("import-failed", candidate, f"import {candidate.module}", exc)) from exc
        raise PluginImportError(
            Finding(
                "module-missing",
                f"{candidate}: there is no module {name!r}, and its entry point names {candidate.module!r}",
                f"reinstall {candidate.distribution.name}; if that does not help, its author corrects the entry point",
                candidate.distribution.info,
            )
        ) from exc
    except BaseException as exc:
        raise PluginImportError(_raised("import-failed", candidate, f"import {candidate.module}", exc)) from exc


def find(module: ModuleType, candidate: Candidate) -> Callable[[], object]:
    """Returns a candidate's factory, which is not called yet.

    Raises:
        PluginLookupError: Its module does not have it.
        PluginFactoryError: It cannot be called, or not without arguments.
    """
    return require_factory(symbols.find(module, candidate.factory, candidate), module, candidate)


def require_factory(found: object, module: ModuleType, candidate: Candidate) -> Callable[[], object]:
    """Returns what should be a candidate's factory, if it can be called as the host does.

    Args:
        found: What the module has in the factory's place, or what the application gave.
        module: Where it is from.
        candidate: The plugin, for the message.

    Raises:
        PluginFactoryError: It cannot be called, or not without arguments.
    """
    if not callable(found):
        raise PluginFactoryError(
            Finding(
                "factory-not-callable",
                f"{candidate}: {candidate.factory} is a {identity.class_name(found)}, not a factory",
                f"write `def {candidate.factory}():` in {candidate.module}, returning the plugin",
                symbols.file_of(module),
            )
        )
    _require_no_arguments(found, module, candidate)
    return found


def make(factory: Callable[[], object], candidate: Candidate, restore: Callable[[], None] = lambda: None) -> object:
    """Returns what a candidate's factory makes; it may be anything.

    Args:
        factory: What `find` returned.
        candidate: What was admitted.
        restore: Called when the plugin's code has run, also when it failed, before anything is told of that.

    Raises:
        PluginFactoryError: It raised.
    """
    try:
        try:
            audit(STAGE, candidate.name, "new")
            return factory()
        finally:
            audit(STAGE, candidate.name, "")
            restore()
    except Interrupted:
        raise
    except BaseException as exc:
        raise PluginFactoryError(_raised("factory-failed", candidate, f"{candidate.factory}()", exc)) from exc


def require_config(module: ModuleType, config: Mapping[str, object], path: str, candidate: Candidate) -> None:
    """Returns if a configuration is of the type that a plugin's module declares as `Config`, where it declares one.

    Raises:
        ConfigurationError: It is not; the error has every fault.
    """
    declared = symbols.config_type(module)
    if declared is None:
        return
    from pluginhost import validation  # most plugins declare none

    found = [fault.finding() for fault in validation.faults(config, declared, path)]
    if found:
        raise ConfigurationError(
            *(Finding("config-wrong", f"{candidate}: {each.message}", each.hint, each.path) for each in found)
        )


def audit(event: str, *args: str) -> None:
    """Raises an audit event of the host's; what a plugin's hook raises is passed over."""
    with contextlib.suppress(BaseException):
        sys.audit(event, *args)


def _require_no_arguments(factory: Callable[..., object], module: ModuleType, candidate: Candidate) -> None:
    """Returns if a factory can be called as the host does; one whose signature is not known is tried."""
    try:
        if inspect.getattr_static(factory, "__signature__", None) is not None:
            return  # what it states there need not be so
        signature = inspect.signature(factory, follow_wrapped=False)
    except Interrupted:
        raise
    except BaseException:  # a built-in without one, or a signature of the plugin's own making
        return
    try:
        signature.bind()
    except TypeError as exc:
        raise PluginFactoryError(
            Finding(
                "factory-arguments",
                f"{candidate}: {candidate.factory} cannot be called without arguments: {exc}",
                f"its author writes `def {candidate.factory}():`, which takes none; configuration comes with `init`",
                symbols.file_of(module),
            )
        ) from exc


def _raised(code: str, candidate: Candidate, what: str, exc: BaseException) -> Finding:
    _, last = places.places(exc, candidate.module)
    after = "; next: pip check" if issubclass(type(exc), ImportError) else candidate.without  # it tells what is missing
    return Finding(
        code,
        f"{candidate}: {what} {places.raised(exc, candidate.module)}",
        f"tell the author of {candidate.distribution.name}; --traceback shows more{after}",
        last.file if last else candidate.distribution.info,
    )
