"""The road of a plugin from a row of the survey to a handle that runs, and back."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import pluginapi
from pluginhost import dependencies, exits, factories, identity, intact, journal, lifecycle, loading, places, telemetry
from pluginhost.containment import Containment
from pluginhost.errors import (
    ConfigurationError,
    Finding,
    ManagerClosed,
    PluginHostError,
    PluginRefused,
    PluginRequirementError,
)
from pluginhost.events import About
from pluginhost.generations import Generation, add_to
from pluginhost.host import PluginHost, Services, user_folder
from pluginhost.interrupts import told_apart
from pluginhost.registry import Registry
from pluginhost.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path
    from types import ModuleType

    from typing_extensions import TypeForm

    from pluginhost.entries import Entry
    from pluginhost.events import Events
    from pluginhost.goplugin.looping import LoopThread
    from pluginhost.host import Kind
    from pluginhost.isolation.spawning import Nursery
    from pluginhost.isolation.supervision import Reports
    from pluginhost.lifecycle import Handle
    from pluginhost.loading import Loaded
    from pluginhost.registered import Registered
    from pluginhost.settings import Configuration
    from pluginhost.status import State
    from pluginhost.survey import Candidate, Row, Survey
    from pluginhost.tally import Tally

P = TypeVar("P", bound=pluginapi.Plugin)


class Beside(NamedTuple):
    """A plugin that was started beside what serves.

    Attributes:
        handle: The plugin's.
        generation: What was started.
        needs: The handles of the plugins that it uses.
    """

    handle: Handle
    generation: Generation
    needs: list[Handle]


@dataclass(slots=True)
class _Made:
    """A plugin of one version, as far as its containment knows it."""

    name: str
    candidate: Candidate
    tally: Tally
    events: Events
    about: About

    def emit(self, topic: str, fields: Mapping[str, object]) -> None:
        self.events.emit(topic, "", {**self.about.fields, **fields})

    def __str__(self) -> str:
        return self.about.text


class Manager(Protocol):
    """What the runner knows of its manager: the settings, and what is installed."""

    group: str
    api: str | None
    folder: Callable[[Kind], Path] | None
    path: list[str]

    @property
    def configuration(self) -> Configuration:
        """All that is set."""

    @property
    def registered(self) -> Mapping[str, Registered]:
        """The application's own plugins, by name."""

    def survey(self) -> Survey:
        """Returns a row for each plugin."""

    def row(self, name: str) -> Row:
        """Returns a plugin's row."""

    def handle(self, name: str) -> Handle:
        """Returns the handle of a plugin, which runs."""

    def entries(self) -> Iterator[Entry]:
        """Yields all that is run."""

    def watcher(self, registry: Registry) -> Watcher:
        """Returns what reloads plugins when their files change."""

    def tell(self, finding: Finding, about: About | None = None) -> None:
        """Tells of what goes wrong, and with which plugin."""


class Watcher(Protocol):
    """What the runner knows of who reloads plugins when their files change."""

    def begin(self) -> None:
        """Begins to watch."""

    def close(self, seconds: float) -> None:
        """Watches nothing any more."""


class Runner:
    """Starts and stops the plugins of one manager.

    Attributes:
        registry: Their handles.
        is_closed: Whether nothing is started any more.
    """

    def __init__(self, manager: Manager) -> None:
        self.registry = Registry(manager.tell)
        self.is_closed = False
        self._of = manager
        self._watchdog = Watchdog()
        self._packages: set[str] = set()
        self._guard: exits.Guard | None = None
        self._deadline: float | None = None
        self._nursery: Nursery | None = None
        self._loop: LoopThread | None = None
        self._watcher: Watcher | None = None
        self._lock = threading.Lock()
        journal.keep(self.registry.events)

    @property
    def api(self) -> str | None:
        """The import name of the API package."""
        return self._of.api

    @property
    def path(self) -> list[str]:
        """The folders of unpacked wheels."""
        return self._of.path

    def tell(self, finding: Finding, about: About) -> None:
        """Tells of what goes wrong with a plugin."""
        self._of.tell(finding, about)

    def require_open(self) -> None:
        """Returns if plugins may be started.

        Raises:
            ManagerClosed: The manager has shut down.
        """
        if self.is_closed:
            raise ManagerClosed(Finding("manager-closed", "the manager has shut down", "make a new PluginManager"))

    def close(self) -> None:
        """Stops what runs within `shutdown_timeout`, in the reverse order of its start, and starts nothing any more."""
        self.is_closed = True
        self._deadline = time.monotonic() + self._of.configuration.shutdown_timeout
        with self._lock:
            watcher = self._watcher
        if watcher:
            watcher.close(self.share())
        with told_apart():
            for handle in reversed(self.registry.started()):
                self.stop(handle)
        self._watchdog.close(self.share())
        if self._nursery:
            self._nursery.close()
        if self._loop:
            self._loop.close()

    def share(self) -> float:
        """Returns the seconds that the end of one plugin may take.

        It is half of what is left for all of them, so that one that hangs leaves some to the others.
        """
        left = self._of.configuration.shutdown_timeout if self._deadline is None else self._deadline - time.monotonic()
        return max(0.0, left) / 2

    def serving(
        self, contract: TypeForm[P], requires: Collection[str], without: Handle | None = None
    ) -> Iterator[Handle]:
        """Yields the plugins of a contract that have some capabilities, each started when it is its turn."""
        self.require_open()
        contracts, wanted = identity.import_contracts(self._of.api), set(requires)
        cls = identity.contract_class(contract)
        for entry in self._of.entries():
            row = entry.row
            if entry.barred or not dependencies.may_implement(row, cls, contracts):
                continue
            if without is not None and without.candidate.name == row.name and without.name == entry.name:
                continue
            if row.built_against and not wanted.issubset(row.capabilities):
                continue
            try:
                handle = self.serve(entry)
            except PluginRequirementError as exc:
                about = self.registry.of(entry).about
                self._of.tell(exc.finding, about)  # that it waits for whoever asks is nowhere else told
                continue
            except PluginHostError:
                continue  # logged where it arose
            if handle.implements(contract) and wanted <= handle.capabilities:
                yield handle

    def serve(self, entry: Entry, *, anew: bool = False) -> Handle:
        """Returns a handle that runs, started if it must be: by one thread, while others wait for it."""
        self.require_open()
        while True:
            handle = self.registry.of(entry)
            if handle in self.registry.started():  # whoever has its turn may be waiting for the call that asks for it
                entry.require_ready()  # it may go by another's name, too, which settles nothing
                return handle
            with self.registry.turn(handle):
                if self.registry.find(entry) is not handle:
                    continue  # it was unloaded while this thread waited
                if (anew and handle.state in ("stopped", "failed")) or _has_failed_elsewhere(handle, entry):
                    handle.move("discovered")
                if handle.state == "running":
                    entry.require_ready()
                else:
                    handle.require_startable()
                    with telemetry.operation("pluginhost.start", _about(handle, entry)):
                        self._start(handle, entry)
            break
        if self.is_closed:  # meanwhile
            self.stop(handle)
            self.require_open()
        return handle

    def _start(self, handle: Handle, entry: Entry) -> None:
        """Takes a plugin the whole way: admitted, tried, loaded, initialised, let in."""
        try:
            with told_apart():
                self._look_after(entry)
                contracts = identity.import_contracts(self._of.api)
                self._admit(handle, entry, contracts)
                generation, told = self._make(handle, entry, handle.needs, contracts, handle.move)
                self._let_in(handle, generation, contracts)
        except BaseException as exc:
            error = exc if isinstance(exc, PluginHostError) else None
            handle.give_up(error)
            for finding in (error.finding, *error.more) if error else ():
                self._of.tell(finding, handle.about)
            raise
        self.registry.note_started(handle)
        _keep(generation)
        for finding in told:
            self._of.tell(finding, handle.about)

    def _look_after(self, entry: Entry) -> None:
        """Has the files of a plugin watched if it is to be reloaded when they change.

        Raises:
            ConfigurationError: What watches files is not installed.
            ManagerClosed: The manager has shut down.
        """
        if entry.settings.reload != "watch" or entry.barred or _is_thrown_away():
            return
        with self._lock:
            self.require_open()
            if self._watcher is None:
                self._watcher = self._of.watcher(self.registry)
        self._watcher.begin()

    def _make(
        self,
        handle: Handle,
        entry: Entry,
        needs: list[Handle],
        contracts: dict[str, type],
        reached: Callable[[State], None],
    ) -> tuple[Generation, list[Finding]]:
        """Returns an admitted plugin, started, and what is told of it."""
        # A process of its own keeps its calls' deadlines itself: what is late there holds no thread of this one's.
        isolated = entry.settings.isolation == "process"
        watched = replace(entry.settings, call_timeout=None) if isolated else entry.settings
        about = _about(handle, entry)  # and not the handle's: another version may serve
        made = _Made(handle.name, entry.row.candidate, handle.tally, self.registry.events, about)
        held = Containment(made, watched, self._watchdog, lambda finding: self._of.tell(finding, about))
        made_of = "" if _is_thrown_away() else intact.content(entry.row.candidate.distribution)
        if handle.serving is None:
            handle.made_of = made_of  # also where it does not come to run
        loaded, told = self._load(handle, entry, contracts, lambda: reached("loaded"), held.stage)
        reached("created")
        host = self._host_for(handle, entry, needs)
        host.undo.callback(loaded.end)
        generation = Generation(
            handle.name, lifecycle.titled(handle.name, entry.row.candidate), loaded, host, entry.settings, held
        )
        generation.start(self.share())
        generation.made_of = made_of
        self._claim(generation)
        return generation, told

    def beside(self, handle: Handle, entry: Entry) -> Beside:
        """Returns a plugin that was started anew, beside what serves; it takes no calls yet.

        Raises:
            PluginHostError: As for a start.
        """
        self.require_open()
        with telemetry.operation("pluginhost.start", _about(handle, entry)), told_apart():
            self._look_after(entry)
            contracts = identity.import_contracts(self._of.api)
            entry.require_ready()
            needs = self._required(entry.row, contracts)
            generation, told = self._make(handle, entry, needs, contracts, lambda state: None)
            _keep(generation)
            try:
                lifecycle.require_fit(generation, contracts.values())  # now, since a swap must not fail
                lifecycle.require_kept(generation, handle)
            except PluginHostError as exc:
                add_to(exc, generation.shutdown(self.share()))
                raise
        for finding in told:
            self._of.tell(finding, generation.host.about)
        return Beside(handle, generation, needs)

    def retire(self, generation: Generation) -> None:
        """Ends a generation that takes no calls any more; what fails is logged."""
        about = generation.host.about
        with telemetry.operation("pluginhost.stop", about) as fail:
            for finding in generation.end(self.share())[0]:
                self._of.tell(finding, about)
                fail(finding)
        self._claim(generation)

    def _let_in(self, handle: Handle, generation: Generation, contracts: dict[str, type]) -> None:
        try:
            handle.begin(generation, contracts.values())
        except PluginHostError as exc:
            add_to(exc, generation.shutdown(self.share()))
            raise

    def _admit(self, handle: Handle, entry: Entry, contracts: dict[str, type]) -> None:
        """Admits a plugin once all that it requires runs."""
        try:
            entry.require_ready()
            handle.needs = self._required(entry.row, contracts)
        except PluginRefused as exc:
            handle.refuse("disabled" if entry.barred else "refused", exc)
            raise
        handle.candidate, handle.settings = entry.row.candidate, entry.settings
        handle.move("admitted")

    def _required(self, row: Row, contracts: dict[str, type]) -> list[Handle]:
        """Returns the handles of the plugins that one requires, all started."""
        if not row.requires:
            return []
        needs = []
        offered = self._of.configuration.capabilities
        for requirement in dependencies.requirements(row, self._of.survey(), contracts, offered):
            served, errors = [], []
            for name in requirement.providers:
                try:
                    served.append(self._of.handle(name))
                except PluginHostError as exc:
                    errors.append(exc)
            if not served:
                raise dependencies.unmet(row, requirement, errors)
            needs += served
        return needs

    def _load(
        self,
        handle: Handle,
        entry: Entry,
        contracts: dict[str, type],
        reached: Callable[[], None],
        watched: loading.Watched,
    ) -> tuple[Loaded, list[Finding]]:
        """Returns an admitted plugin, made and not yet initialised, and what is told of it."""
        row = entry.row
        if self._of.path:
            from pluginhost import store

            store.put_on_path(self._of.path, row.candidate)
        wanted, version = dependencies.wanted(row, contracts), identity.api_version(self._of.api)
        builtin = self._builtin(row.candidate)
        source = loading.Source(row.built_against, row.stamped, builtin.factory if builtin else None)
        if row.candidate.program or entry.settings.isolation == "process":
            is_older = identity.is_older(source.built_against, version)
            if row.candidate.program:
                return self._program(handle, entry, [*wanted.values()], source, reached, is_older=is_older), []
            return self._isolated(handle, entry, [*wanted], contracts, source, reached, watched, is_older=is_older), []
        told = [] if builtin else self._probed(row, wanted)
        with loading.SERIAL:
            self._watch_end(row.candidate)
            known = [*contracts.values()]

            def imported(module: ModuleType) -> None:
                reached()
                if builtin is None:
                    factories.require_config(module, entry.settings.config, entry.path, row.candidate)

            loaded = loading.load(row.candidate, [*wanted.values()], known, version, source, imported, watched)
        for other in self.registry.started():
            lifecycle.require_own(loaded, other)
        return loaded, [*told, *loaded.findings]

    def _isolated(
        self,
        handle: Handle,
        entry: Entry,
        wanted: list[str],
        contracts: dict[str, type],
        source: loading.Source,
        reached: Callable[[], None],
        watched: loading.Watched,
        *,
        is_older: bool,
    ) -> Loaded:
        """Returns an admitted plugin, made in a process of its own and not yet initialised."""
        from pluginhost.isolation import loading as isolation  # most hosts do without
        from pluginhost.isolation.spawning import Nursery

        self._watch_end(entry.row.candidate)
        with self._lock:
            if self._nursery is None:
                self._nursery = Nursery()
        return isolation.load(
            entry.row.candidate, wanted, contracts, self._of.api, source, entry.settings, entry.path,
            is_older=is_older, nursery=self._nursery, dog=self._watchdog,
            hear=partial(journal.hear, self._of.group, _about(handle, entry)), reports=self._reports(handle, entry),
            reached=reached, watched=watched,
        )  # fmt: skip

    def _program(
        self,
        handle: Handle,
        entry: Entry,
        wanted: list[type],
        source: loading.Source,
        reached: Callable[[], None],
        *,
        is_older: bool,
    ) -> Loaded:
        """Returns an admitted plugin that a program serves, started and not yet initialised.

        Raises:
            ConfigurationError: It was to run in this process; or what speaks with it is not installed.
        """
        candidate = entry.row.candidate
        if entry.settings.isolation != "process":
            what = f"{candidate} is a program, and has a process of its own"
            hint = f'take `isolation = "none"` away from {entry.name}'
            raise ConfigurationError(Finding("isolation-impossible", what, hint, candidate.distribution.info))
        from pluginhost.goplugin import require  # most hosts do without, and without these

        require(f"{candidate}, a program,")
        from pluginhost.goplugin import loading as goplugin
        from pluginhost.goplugin.looping import LoopThread

        self._watch_end(candidate)
        with self._lock:
            if self._loop is None or self._loop.is_closed:  # as it is in a copy of this process
                self._loop = LoopThread()
        reports = self._reports(handle, entry)
        return goplugin.load(
            candidate, wanted, self._of.api, source, entry.settings,
            is_older=is_older, loop=self._loop, dog=self._watchdog, reports=reports,
            log=journal.voice(self._of.group, reports.about), reached=reached,
        )  # fmt: skip

    def _reports(self, handle: Handle, entry: Entry) -> Reports:
        """Returns who is told what of a plugin that has a process of its own."""
        from pluginhost.isolation.supervision import Reports  # most hosts do without

        about = _about(handle, entry)
        return Reports(
            about,
            lambda finding: self._of.tell(finding, about),
            handle.emit,
            partial(self._give_up, handle),
        )

    def _give_up(self, handle: Handle, supervised: object, error: PluginHostError) -> None:
        """Has a plugin failed whose process ends again and again."""
        with self.registry.turn(handle, self.share()) as got_it:
            if got_it and handle.serving and handle.serving.loaded.end == supervised:
                for finding in handle.end(self.share(), error):
                    self._of.tell(finding, handle.about)

    def _host_for(self, handle: Handle, entry: Entry, needs: list[Handle]) -> PluginHost:
        def use(other: Handle) -> Handle:
            if other not in needs:
                needs.append(other)
            return other

        def get(name: str, contract: TypeForm[P]) -> P:
            found = self.registry.by_name().get(name) if self.is_closed else None  # what it uses ends after it
            with self.registry.asking(handle):
                return use(found or self._of.handle(name)).require(contract)

        def all(contract: TypeForm[P], requires: Collection[str]) -> dict[str, P]:
            found = self.serving(contract, requires, without=handle)
            with self.registry.asking(handle):
                return {other.name: use(other).require(contract) for other in found}

        def load(
            namespace: str,
            configuration: Mapping[str, Mapping[str, object]],
            contract: TypeForm[P],
            undo: Callable[[Callable[[], None]], object],
        ) -> dict[str, P]:
            guests = {}
            for key, config in configuration.items():
                entry = self.registry.guest_of(handle, self._of.row(f"{namespace}.{key}"), config)
                undo(partial(self._dismiss, self.registry.of(entry)))
                with self.registry.asking(handle):
                    guests[key] = use(self.serve(entry)).require(contract)
            return guests

        offered, folder = self._of.configuration.capabilities, self._of.folder or user_folder
        about = _about(handle, entry)
        services = Services(about, get, all, load, offered, self.registry.events, folder, entry.path)
        return PluginHost(self._of.group, handle.name, entry.settings.config, services)

    def stop(self, handle: Handle, ending: tuple[Handle, ...] = (), *, forgets: bool = False) -> None:
        """Stops a plugin after those that use it; what fails is logged.

        Args:
            handle: The plugin's.
            ending: Those that are being stopped already, since they use it or are used by it.
            forgets: Whether its handle is forgotten, before another thread can start it again.
        """
        for user in self.registry.users(handle):
            if user not in ending:
                self.stop(user, (*ending, handle))
        with self.registry.turn(handle, self.share()) as got_it:
            if got_it and (generation := handle.serving):
                with telemetry.operation("pluginhost.stop", handle.about) as fail:
                    for finding in handle.end(self.share()):
                        self._of.tell(finding, handle.about)
                        fail(finding)
                self._claim(generation)
            if got_it and forgets:
                self.registry.drop(handle)

    def _builtin(self, candidate: Candidate) -> Registered | None:
        """Returns the application's own plugin that a candidate stands for."""
        found = self._of.registered.get(candidate.name)
        return found if found and found.candidate is candidate else None

    def _watch_end(self, candidate: Candidate) -> None:
        """Has the process's end not held up by a plugin, from before its import on."""
        if not self._builtin(candidate) and not candidate.program:
            self._packages.add(places.own_package(candidate.module))
        if self._guard is None and not _is_thrown_away():
            runner, packages = weakref.ref(self), self._packages  # the guard outlives both, and holds none

            def close() -> None:
                if (found := runner()) is not None:
                    found.close()

            def is_of_plugin(module: str) -> bool:
                return any(places.is_within(module, package) for package in list(packages))

            def tell(text: str) -> None:
                if (found := runner()) is not None:
                    hint = "a plugin ends its threads in `shutdown`; tell its author"
                    found._of.tell(Finding("exit-held", text, hint))

            self._guard = exits.guard(close, is_of_plugin, tell)

    def _claim(self, generation: Generation) -> None:
        """Has the threads that a plugin began, and left, end with the process."""
        if self._guard:
            self._guard.claim(generation.threads, generation.text)

    def _dismiss(self, guest: Handle) -> None:
        """Stops a guest, and forgets it: it was made for one plugin."""
        try:
            self.stop(guest, forgets=True)
        except PluginHostError as exc:  # it stops at this very moment, and waits for this thread
            self._of.tell(exc.finding, guest.about)

    def _probed(self, row: Row, wanted: Collection[str]) -> list[Finding]:
        """Returns what a plugin's first load, in a process that may be lost, tells of it."""
        # A plugin that has a host of its own would be loaded by the throw-away process of a throw-away process.
        configuration = self._of.configuration
        if configuration.probe == "never" or _is_thrown_away():
            return []
        from pluginhost import verdicts

        made_of = verdicts.content(row.candidate.distribution)
        found = verdicts.recall(row.candidate, made_of) if configuration.probe == "new" else None
        if found is None:
            from pluginhost import probe  # a known plugin does without

            seconds = configuration.probe_timeout
            found = probe.verdict(row.candidate, made_of, self._of.api, wanted, seconds=seconds)
        verdicts.require_harmless(found)
        return found


def _about(handle: Handle, entry: Entry) -> About:
    """Returns which plugin it is that is being started: of this very version, and its next generation."""
    text = lifecycle.titled(handle.name, entry.row.candidate)
    return About(text, handle.name, entry.row.distribution, entry.row.version, handle.generation + 1)


def _keep(generation: Generation) -> None:
    """Has a copy of what runs now in the store, to which a reload can be undone."""
    copy = intact.copy_of(generation.made_of)
    if copy is None:
        from pluginhost import kept  # most are there

        copy = kept.keep(generation.loaded.candidate, generation.made_of)
    generation.kept = copy


def _has_failed_elsewhere(handle: Handle, entry: Entry) -> bool:
    """Returns whether a plugin has failed in another process than that in which it is to run now."""
    settings = handle.settings
    return handle.state == "failed" and settings is not None and settings.isolation != entry.settings.isolation


def _is_thrown_away() -> bool:
    """Returns whether this is the process of a first load: its end is watched from outside."""
    return "pluginhost.throwaway" in "".join(sys.orig_argv[-1:])
