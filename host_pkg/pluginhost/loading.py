"""The way from an admitted candidate to an object: import, look up, `New()`, assert the type.

The stages fail apart and are told apart, as `plugin.Open`, `Lookup` and the checked type assertion are in Go.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, NamedTuple

from stevedore.named import NamedExtensionManager

from pluginhost import factories, identity, places, reimport, symbols
from pluginhost.errors import Finding, PluginLoadError
from pluginhost.process import Change, Modules, ProcessState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from contextlib import AbstractContextManager
    from types import ModuleType
    from typing import Final, Literal, TypeAlias

    from stevedore.extension import ExtensionManager

    from pluginhost.survey import Candidate

    Watched: TypeAlias = Callable[[Literal["import", "new"]], AbstractContextManager[None]]


class Loaded:
    """A plugin that was made and is what it should be.

    Attributes:
        candidate: What was admitted.
        module: Its module; `None` when it is in another process.
        plugin: What its factory returned.
        findings: What it changed of the process while it was imported and made.
        capabilities: What it says it can do beyond its contracts.
        built_against: The API version that its wheel was built against, where it is older than the host's; else empty.
        end: Gives back what it holds, once it is shut down.
    """

    __slots__ = ("built_against", "candidate", "capabilities", "end", "findings", "module", "plugin")

    def __init__(
        self, candidate: Candidate, module: ModuleType | None, plugin: object, findings: list[Finding]
    ) -> None:
        self.candidate = candidate
        self.module = module
        self.plugin = plugin
        self.findings = findings
        self.capabilities: frozenset[str] = frozenset()
        self.built_against = ""
        self.end: Callable[[], object] = int


class Source(NamedTuple):
    """What is known of a plugin beside its entry point.

    Attributes:
        built_against: The API version that its wheel was built against; empty when that is not known.
        capabilities: What its manifest says it can do; `None` when it has none.
        factory: What makes it in place of an entry point: the application's own.
    """

    built_against: str = ""
    capabilities: list[str] | None = None
    factory: Callable[[], object] | None = None


IMPORTED: Final = "pluginhost.imported"
"""The audit event between a plugin's import and its `New()`; its argument is the plugin's name."""


def load(
    candidate: Candidate,
    contracts: list[type],
    known: list[type],
    version: str | None = None,
    source: Source | None = None,
    reached: Callable[[ModuleType], None] = lambda module: None,
    watched: Watched | None = None,
) -> Loaded:
    """Returns an admitted candidate's plugin, new and not yet initialised.

    Args:
        candidate: What was admitted.
        contracts: The host's contracts that it must implement.
        known: All of the host's contracts; those that it implements it must keep.
        version: The API's version; `None` when it does not tell.
        source: What else is known of it.
        reached: Called with its module between its import and its `New()`.
        watched: Called with `import` and with `new`: returns what watches how long it takes.

    Raises:
        PluginImportError: Its module cannot be imported.
        PluginLookupError: Its module does not have the factory.
        PluginFactoryError: The factory cannot be called, or raised.
        PluginTypeError: What it returned is not the contract.
        PluginHostError: What `reached` raised.
    """
    source = source or Source()
    state, api, modules = ProcessState(), identity.HeldApi(known), Modules()
    extensions = _Extensions(_AdmittedEntryPoint(candidate, modules, source.factory, reached, watched or _unwatched))
    replaced = [name for name in modules.changed if api.has(name)]
    findings = _restored(candidate, state, set(modules.changed) - set(replaced))
    try:
        identity.require_held([*replaced, *api.restore()], candidate)
        plugin = extensions.only()
        is_older = identity.is_older(source.built_against, version)
        identity.require_contracts(plugin, contracts, candidate, known, is_older=is_older)
        identity.require_version(plugin, extensions.module(), version, candidate, source.built_against)
        capabilities = identity.require_capabilities(extensions.module(), source.capabilities, candidate)
    except PluginLoadError as exc:
        exc.more += tuple(findings)
        raise
    finally:  # reading an attribute runs the plugin's code once more
        findings += [each for each in _restored(candidate, state, ()) if each not in findings]
    loaded = Loaded(candidate, extensions.module(), plugin, findings)
    loaded.capabilities = capabilities
    loaded.built_against = source.built_against if is_older else ""
    return loaded


def find(candidate: Candidate) -> list[Finding]:
    """Returns what finding a candidate's object changed of the process; the object is not called.

    Args:
        candidate: Of any group: what it names may be anything, or a module alone.

    Raises:
        PluginImportError: Its module cannot be imported.
        PluginLookupError: Its module does not have what it names.
    """
    state, modules = ProcessState(), Modules()
    try:
        module = factories.import_module(candidate, modules.restore)
        if ":" in candidate.value:
            symbols.find(module, candidate.factory, candidate)
    except PluginLoadError as exc:
        exc.more += tuple(_restored(candidate, state, modules.changed))
        raise
    return _restored(candidate, state, modules.changed)


def _restored(candidate: Candidate, state: ProcessState, modules: Collection[str]) -> list[Finding]:
    """Returns what is told of a candidate after the process was put back, its modules being so already."""
    changes = list(state.restore())
    if modules:
        changes.append(Change(f"sys.modules ({', '.join(sorted(modules))}), undone", is_grave=False))
    return [_changed(candidate, change) for change in changes]


class _Extensions(NamedExtensionManager[Any]):
    """stevedore's loading loop over the one entry point that was admitted.

    stevedore's own discovery is not used: its entry points do not know their distribution, and its check runs after the
    import.
    """

    def __init__(self, entry_point: _AdmittedEntryPoint) -> None:
        self._entry_point = entry_point
        self._failure: BaseException | None = None
        super().__init__(
            entry_point.group,
            [entry_point.name],
            invoke_on_load=True,
            on_load_failure_callback=type(self)._failed,
            on_missing_entrypoints_callback=None,  # it would log what the manager logs, without code or hint
        )

    def list_entry_points(self) -> list[EntryPoint]:
        return [self._entry_point]

    # stevedore calls it with the manager first, so it is handed over unbound.
    def _failed(self: ExtensionManager[Any], entry_point: EntryPoint, exc: BaseException) -> None:
        assert isinstance(self, _Extensions)
        self._failure = exc

    def only(self) -> object:
        if self._failure is not None:
            raise self._failure
        return self.extensions[0].obj

    def module(self) -> ModuleType:
        module: ModuleType = vars(self.extensions[0].entry_point)["loaded"]
        return module


class _AdmittedEntryPoint(EntryPoint):
    """An entry point whose `load()` raises nothing but our errors.

    stevedore hands `Exception` to its callback, and lets AssertionError and BaseException through; a plugin may raise
    either.
    """

    def __init__(
        self,
        candidate: Candidate,
        modules: Modules,
        factory: Callable[[], object] | None,
        reached: Callable[[ModuleType], None],
        watched: Watched,
    ) -> None:
        super().__init__(candidate.name, candidate.value, candidate.group)
        # Entry points refuse attributes.
        vars(self).update(candidate=candidate, modules=modules, factory=factory, reached=reached, watched=watched)

    def load(self) -> Callable[[], object]:
        candidate: Candidate = vars(self)["candidate"]
        modules: Modules = vars(self)["modules"]
        own: Callable[[], object] | None = vars(self)["factory"]
        watched: Watched = vars(self)["watched"]
        if own is None:
            with watched("import"):
                module = vars(self)["loaded"] = factories.import_module(candidate, modules.restore)
            factory = factories.find(module, candidate)
        else:
            module = vars(self)["loaded"] = _module_of(own)
            factory = factories.require_factory(own, module, candidate)
        factories.audit(IMPORTED, candidate.name)
        vars(self)["reached"](module)

        def new() -> object:
            with watched("new"):
                return factories.make(factory, candidate, modules.restore)

        return new


def _unwatched(stage: str) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def _module_of(factory: object) -> ModuleType:
    """Returns the module of an application's own factory."""
    name = getattr(factory, "__module__", None) or type(factory).__module__
    return sys.modules.get(name) or sys.modules["__main__"]


def _changed(candidate: Candidate, change: Change) -> Finding:
    return Finding(
        "process-unsafe" if change.is_grave else "process-changed",
        f"{candidate}: importing {candidate.module} and calling {candidate.factory}() changed {change.what}",
        f"tell the author of {candidate.distribution.name}: a plugin leaves the process as it found it",
        candidate.distribution.info,
        "warning",  # what is grave refuses a plugin at first sight; this is told of one that runs all the same
        "import",
    )


SERIAL: Final = threading.RLock()
"""Held while a plugin is imported and made: one at a time in a process, whatever managers there are.

`sys.modules` and what else the process shares are looked at before and after; and two imports that wait for each
other's modules cannot arise.
"""


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Lets other threads import and make plugins meanwhile, if this one does: it waits for one of those.

    What they load is then told of as if this thread had loaded it itself, on the way.
    """
    times = 0
    with contextlib.suppress(RuntimeError):  # this thread holds it no more
        while True:
            SERIAL.release()
            times += 1
    interrupt: BaseException | None = None
    try:
        yield
    finally:
        while times:
            try:
                SERIAL.acquire()
                times -= 1
            except BaseException as exc:  # Ctrl-C: the `with` blocks around will give up what they took all the same
                interrupt = exc
        if interrupt is not None:
            raise interrupt


def forget(candidate: Candidate, others: Iterable[Candidate]) -> list[str]:
    """Drops a plugin's modules, so that its next load imports them anew; returns who shares them, if they must stay.

    Args:
        candidate: A plugin that is stopped.
        others: Those that are held.
    """
    own = places.own_package(candidate.module)
    sharing = [str(other) for other in others if places.is_within(other.module, own)]
    if not sharing:
        with SERIAL:
            for name in [name for name in sys.modules if places.is_within(name, own)]:
                del sys.modules[name]
            reimport.release(own)
            parent, _, child = own.rpartition(".")
            if parent in sys.modules:
                vars(sys.modules[parent]).pop(child, None)
            importlib.invalidate_caches()
    return sharing
