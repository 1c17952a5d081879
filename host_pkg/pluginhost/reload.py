"""A plugin's next generation, from what is installed now: verified, tried, started beside what serves, swapped in.

What fails before the swap leaves what serves as it is, and its modules with it.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from pluginhost import intact, leaks, leftovers, loading, places, reimport
from pluginhost.entries import Entry, wheel_of
from pluginhost.errors import Finding, PluginHostError, PluginNotFound, PluginRefused
from pluginhost.interrupts import told_apart
from pluginhost.leftovers import Old
from pluginhost.reimport import Renewal
from pluginhost.replacing import Replacement, entry_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from types import ModuleType

    from pluginhost.entries import Entries
    from pluginhost.generations import Generation
    from pluginhost.lifecycle import Handle
    from pluginhost.runner import Runner
    from pluginhost.survey import Candidate, Distribution


class Reloaded(NamedTuple):
    """What was reloaded.

    Attributes:
        plugins: The names of those that were reloaded as one, those first that others use.
        seconds: How long it took until calls went to the new generations.
        findings: What of the old generations is left.
    """

    plugins: list[str]
    seconds: float
    findings: list[Finding]


class Reload:
    """The reload of some plugins of a manager.

    Args:
        runner: Of the manager.
        entries: All that is run, as it is installed now.
    """

    def __init__(self, runner: Runner, entries: Entries) -> None:
        self._runner = runner
        self._entries = entries
        self._began = time.monotonic()
        self._swapped = 0.0
        self._findings: list[Finding] = []

    def run(self, names: Sequence[str]) -> Reloaded:
        """Reloads plugins from what is installed, and starts those of them that do not run."""
        wanted = [self._wanted(name) for name in dict.fromkeys(names)]
        plan = self._together(wanted)
        idle = [entry for entry in wanted if all(entry is not other and entry.key != other.key for _, other in plan)]
        return self._telling(plan, lambda: self._reload(plan, idle, {}))

    def back(self, name: str) -> Reloaded:
        """Reloads a plugin from the copy of what it was made of before its last reload."""
        from pluginhost import kept  # few return

        wanted = self._wanted(name)
        plan = self._together([wanted])
        copies = {}
        for number, (handle, entry) in enumerate(plan):
            if _source(entry) != _source(wanted):
                continue
            candidate, copy = handle.before or (handle.candidate, "")
            if not copy:
                raise _unknown(handle)
            row = kept.row(copy, candidate, self._runner.api, self._runner.path)
            copies[row.candidate.distribution.info] = copy
            plan[number] = handle, Entry(entry.name, row, entry.settings, entry.barred)
        if not plan:
            raise _unknown(None, wanted)
        return self._telling(plan, lambda: self._reload(plan, [], copies))

    def _wanted(self, name: str) -> Entry:
        """Returns what goes by a name, once nobody else starts or stops it.

        Raises:
            PluginNotFound: Nothing does, or does any more.
        """
        try:
            entry = self._entries.find(name)
        except PluginNotFound:
            handle = self._runner.registry.by_name().get(name)
            if handle is None:
                raise
            what = f"{handle} is not installed any more, or in part only"
            hint = f"install it again, or manager.stop({name!r})"
            gone = PluginNotFound(Finding("plugin-unknown", what, hint, handle.candidate.distribution.info))
            self._tell([handle], gone)
            raise gone from None
        if (known := self._runner.registry.find(entry)) is not None:
            with self._runner.registry.turn(known):
                pass
        return entry

    def _together(self, wanted: Sequence[Entry]) -> list[tuple[Handle, Entry]]:
        """Returns the plugins that run and are reloaded with some, those first that others use, each as it is to be."""
        running = self._runner.registry.started()
        asked = {entry.key for entry in wanted}
        chosen = [self._runner.registry.of(entry) for entry in wanted]
        wheels = {handle: wheel_of(handle.settings) for handle in running}
        wheels |= {handle: wheel_of(entry.settings) for handle, entry in zip(chosen, wanted, strict=True)}

        def goes_with(one: Handle, other: Handle) -> bool:
            return other in one.needs or (wheels[one] == wheels[other] and _is_of_same(one, other))

        while more := [one for one in running if one not in chosen and any(goes_with(one, each) for each in chosen)]:
            chosen += more
        known = {entry.key: entry for entry in wanted}
        found = []
        for handle in (handle for handle in running if handle in chosen):
            entry = known.get((handle.name, handle.candidate.distribution.name)) or entry_of(handle, self._entries)
            if entry and (entry.key in asked or not entry.row.candidate.is_builtin):
                found.append((handle, entry))  # a guest has none: its owner makes another
        return found

    def _telling(self, plan: list[tuple[Handle, Entry]], reload: Callable[[], Reloaded]) -> Reloaded:
        try:
            with told_apart():
                return reload()
        except PluginHostError as exc:
            self._tell([handle for handle, _ in plan], exc)
            raise

    def _tell(self, handles: Iterable[Handle], error: PluginHostError) -> None:
        for handle in handles:
            handle.reload_error = error
            handle.emit("plugin.reload_failed", {"error": error.finding.to_dict()})
            for finding in (error.finding, *error.more):
                self._runner.tell(finding, handle.about)

    def _reload(self, plan: list[tuple[Handle, Entry]], idle: list[Entry], copies: Mapping[str, str]) -> Reloaded:
        """Reloads plugins.

        Args:
            plan: Those that run.
            idle: Those that do not.
            copies: The folders of the store from which distributions are to be imported, by metadata folder.
        """
        entries = [entry for _, entry in plan] + idle
        for entry in entries:
            entry.require_ready()
            _require_installed(entry)
        distributions = {entry.row.candidate.distribution.info: entry.row.candidate.distribution for entry in entries}
        made_of = {info: intact.require_whole(distribution) for info, distribution in distributions.items()}
        with loading.SERIAL:
            renewal = Renewal(self._packages(plan, idle, copies))
            leaks.clear_caches()  # else the new modules' annotations could mean the old classes
        replacement = Replacement(self._runner, plan)
        started: list[Handle] = []
        try:
            replacement.start()
            for entry in idle:
                started.append(self._runner.serve(entry, anew=True))  # noqa: PERF401 - known when the next one fails
            for info, content in made_of.items():
                _require_unchanged(distributions[info], content)
            before = {handle: handle.generation for handle, _ in plan}
            ended = replacement.swap(self._note_swap)
        except BaseException:
            if self._swapped:  # Ctrl-C, while what served was waited for
                raise
            try:
                replacement.undo()
                for handle in reversed(started):
                    self._runner.stop(handle)
            finally:
                with loading.SERIAL:
                    renewal.undo()
            raise
        reloaded = self._settled(ended, renewal.old, before, is_back=bool(copies))
        del ended, renewal, replacement  # these hold what is to go
        self._look_for_leaks(handle for handle in reloaded if handle.old)
        return Reloaded([handle.name for handle in reloaded + started], self._swapped - self._began, self._findings)

    def _note_swap(self) -> None:
        self._swapped = time.monotonic()

    def _packages(
        self, plan: list[tuple[Handle, Entry]], idle: list[Entry], copies: Mapping[str, str]
    ) -> dict[str, str]:
        """Returns which modules are imported anew, and from where.

        Raises:
            PluginHostError: One of them cannot be.
        """
        here: list[tuple[Candidate, Candidate | None]] = [
            (entry.row.candidate, handle.candidate)
            for handle, entry in plan
            if entry.settings.isolation == "none" and handle.serving and handle.serving.loaded.module
        ]
        here += [(entry.row.candidate, None) for entry in idle if entry.settings.isolation == "none"]
        packages: dict[str, str] = {}
        for candidate, before in here:
            copy = copies.get(candidate.distribution.info, "")
            names = {places.own_package(each.module) for each in (candidate, before) if each}
            names |= {name for name in intact.top_level(candidate.distribution) if _is_of_one(name)}
            _require_python(candidate, names, self._runner.api)
            packages |= dict.fromkeys(sorted(names), copy)
        return packages

    def _settled(
        self,
        ended: list[tuple[Handle, Generation]],
        modules: Mapping[str, ModuleType],
        numbers: Mapping[Handle, int],
        *,
        is_back: bool,
    ) -> list[Handle]:
        """Returns what was reloaded, once it is noted how that went."""
        for handle, generation in ended:
            self._settle(handle, generation, modules, numbers[handle], is_back=is_back)
        return [handle for handle, _ in ended]

    def _settle(
        self, handle: Handle, ended: Generation, modules: Mapping[str, ModuleType], number: int, *, is_back: bool
    ) -> None:
        loaded, seconds = ended.loaded, self._swapped - self._began
        handle.before = loaded.candidate, ended.kept
        handle.reload_seconds, handle.reload_error = seconds, None
        if is_back and (installed := entry_of(handle, self._entries)):
            handle.made_of = intact.content(installed.row.candidate.distribution)
        if loaded.module is not None:
            own = {name: module for name, module in modules.items() if _is_own(name, loaded.candidate)}
            path = loaded.candidate.distribution.info
            handle.old.append(Old.of(number, ended.text, path, type(loaded.plugin), own, ended.threads))
        handle.emit("plugin.reloaded", {"seconds": seconds, "was": loaded.candidate.distribution.version})

    def _look_for_leaks(self, handles: Iterable[Handle]) -> None:
        """Tells of what is left of the generations that were replaced, and of too many older ones."""
        for handle in handles:
            found = leftovers.find(handle.old[-1:])
            handle.old = [old for old in handle.old if not old.is_gone()]
            if many := leftovers.pinned(handle.old):
                found.append(many)
            self._findings += found
            for finding in found:
                self._runner.tell(finding, handle.about)


def _is_of_same(handle: Handle, other: Handle) -> bool:
    """Returns whether two plugins are of the same distribution or package."""
    own, of = places.own_package(handle.candidate.module), places.own_package(other.candidate.module)
    is_same = handle.candidate.distribution.name == other.candidate.distribution.name
    return is_same or places.is_within(own, of) or places.is_within(of, own)


def _source(entry: Entry) -> tuple[str, str]:
    """Returns what a plugin comes from, as far as its next version comes from the same."""
    return entry.row.distribution, wheel_of(entry.settings)


def _is_own(module: str, candidate: Candidate) -> bool:
    return places.is_within(module, places.own_package(candidate.module))


def _is_of_one(name: str) -> bool:
    """Returns whether a package is of one distribution alone, and no namespace."""
    return bool(getattr(sys.modules.get(name), "__file__", None))


def _require_installed(entry: Entry) -> None:
    if entry.row.candidate.is_builtin:
        what = f"{entry.row.candidate} is the application's own"
        raise PluginRefused(Finding("reload-impossible", what, "start the application anew"))


def _require_python(candidate: Candidate, packages: Collection[str], api: str | None) -> None:
    of, hint = candidate.distribution, 'set isolation = "process" for it'
    shared = {"pluginapi", "pluginhost", api}
    if held := [name for name in packages if name.partition(".")[0] in shared]:
        what = f"{candidate} is in the package {held[0]}, of which a process has one copy"
        raise PluginRefused(Finding("reload-impossible", what, "start the application anew", of.info))
    if found := reimport.compiled(packages):
        what = f"{candidate}: {', '.join(found[:3])} is a compiled module, which a process loads once"
        raise PluginRefused(Finding("reload-impossible", what, hint, of.info))


def _require_unchanged(distribution: Distribution, content: str) -> None:
    if intact.require_whole(distribution) != content:
        what = f"{distribution}: its files changed while they were loaded"
        hint = "let the installer end, and reload again"
        raise PluginRefused(Finding("distribution-incomplete", what, hint, distribution.info))


def _unknown(handle: Handle | None, entry: Entry | None = None) -> PluginRefused:
    what = f"{handle or (entry and entry.row.candidate)} has nothing to return to"
    return PluginRefused(Finding("rollback-unknown", what, "install the version that you want, and reload"))
