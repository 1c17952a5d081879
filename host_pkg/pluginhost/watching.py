"""Who reloads plugins when their files change: one thread of a manager, which is told of changes by the system.

An installer takes its time, and says nowhere that it has come to its end. So a change says no more than that it is time
to look: what is installed is surveyed, and what has another content than what serves is reloaded once it is whole.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import weakref
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from pluginhost import forks, intact
from pluginhost.discovery import normalize
from pluginhost.errors import Finding, ManagerClosed, PluginHostError, PluginRefused, describe, wrong
from pluginhost.index import search_path
from pluginhost.loading import SERIAL
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

    from watchfiles import Change
    from watchfiles.main import FileChange

    from pluginapi import Event
    from pluginhost.entries import Entry
    from pluginhost.events import About
    from pluginhost.lifecycle import Handle
    from pluginhost.registry import Registry
    from pluginhost.settings import Configuration
    from pluginhost.survey import Distribution, Row, Survey

_STEP_MS: Final = 100
"""How often watchfiles looks whether the system has told it anything, and for how long nothing more must come then."""
_BURST_MS: Final = 1_000
_FIRST_SECONDS: Final = 0.05
_LAST_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 10.0

_INFO: Final = (".dist-info", ".egg-info")
_TOPICS: Final = ("plugin.running", "plugin.replaced", "plugin.failed", "plugin.refused", "configuration.applied")
_STATES: Final = ("running", "failed", "refused")
"""In which a plugin is looked after; in the others it was stopped, may not run, or is on its way to another."""


class Manager(Protocol):
    """What the watcher knows of its manager."""

    @property
    def configuration(self) -> Configuration:
        """All that is set."""

    def survey(self) -> Survey:
        """Returns a row for each plugin."""

    def entry(self, name: str) -> Entry:
        """Returns what goes by a name."""

    def reload(self, name: str, *others: str) -> object:
        """Starts plugins anew beside what serves, and lets calls into that."""

    def tell(self, finding: Finding, about: About | None = None) -> None:
        """Tells of what goes wrong, and with which plugin."""


class Watcher:
    """Reloads the plugins that are set to be, when their files change.

    Nothing holds it but its manager, and its thread holds no manager while it waits.
    """

    def __init__(self, manager: Manager, registry: Registry) -> None:
        """Makes a watcher; nothing is watched before `begin`.

        Args:
            manager: What reloads plugins.
            registry: Its plugins.

        Raises:
            ConfigurationError: watchfiles is not installed.
        """
        if find_spec("watchfiles") is None:
            raise wrong('reload = "watch" needs watchfiles', "pip install 'pluginhost[watch]'")
        self._manager = manager
        self._registry = registry
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: HostThread | None = None
        self._paths: frozenset[str] = frozenset()
        self._installs: set[str] = set()  # the folders with distributions; also when the last of them is gone
        self._dealt_with: weakref.WeakKeyDictionary[Handle, str] = weakref.WeakKeyDictionary()
        self._due = math.inf
        self._changed_at = time.monotonic()
        self._delay = _FIRST_SECONDS
        self._undo = registry.events.subscribe(_listener(weakref.ref(self)))
        forks.tell(self)

    def begin(self) -> None:
        """Begins to watch, unless it does already."""
        with self._lock:
            if self._thread is None and not self._over.is_set():
                given = (weakref.ref(self), self._over)
                thread = HostThread(target=_run, args=given, name="pluginhost watcher", daemon=True)
                with contextlib.suppress(RuntimeError):  # while the interpreter ends, or there are no more threads
                    thread.start()
                    self._thread = thread

    def close(self, seconds: float) -> None:
        """Watches nothing any more.

        Args:
            seconds: How long it waits for a reload that goes on at this moment.
        """
        self._over.set()
        self._undo()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def is_due(self) -> bool:
        """Returns whether it is time to look although nothing has changed."""
        return time.monotonic() >= self._due

    def ask(self) -> None:
        """Has it look soon, although nothing has changed."""
        self._due = 0

    def look(self, *, has_changed: bool) -> frozenset[str]:
        """Reloads what is not any more what it was made of, and returns the paths to watch from now on.

        Args:
            has_changed: Whether files have changed since it looked last.
        """
        self._due = math.inf
        if has_changed:
            self._changed_at, self._delay = time.monotonic(), _FIRST_SECONDS
        try:
            survey = self._manager.survey()
            rows = {(row.name, row.distribution): row for row in survey}
            handles = list(filter(self._is_watched, self._registry.known()))
            watched = {handle: rows.get((handle.candidate.name, _of(handle).name)) for handle in handles}
            watched |= {handle: self._version(handle) for handle in handles if self._wheel(handle)}
            self._reload_changed(watched, survey)
            self._paths = self._paths_of(watched)
        except ManagerClosed:
            self._over.set()
        except BaseException as exc:  # whatever it is, later changes are looked at
            self.tell_failure(exc)
            self._due = time.monotonic() + _PAUSE_SECONDS
        return self._paths

    def tell_failure(self, exc: BaseException) -> None:
        """Tells that something of the watching itself failed."""
        message = f"the files of plugins are not watched at this moment: {describe(exc)}"
        finding = Finding("watch-failed", message, "until it is mended, reload by hand: manager.reload(NAME)")
        with contextlib.suppress(BaseException):  # of a handler of logs, say
            self._manager.tell(finding)

    def _is_watched(self, handle: Handle) -> bool:
        """Returns whether a plugin is to be reloaded when its files change, as it is set now."""
        if handle.candidate.is_builtin or handle.state not in _STATES:
            return False
        of = self._manager.configuration
        settings = of.instances.get(handle.name) or of.plugins.get(handle.name)
        return settings is not None and settings.reload == "watch"

    def _wheel(self, handle: Handle) -> str:
        """Returns the wheel that an instance comes from; nothing for what is installed."""
        settings = self._manager.configuration.instances.get(handle.name)
        return settings.wheel if settings else ""

    def _version(self, handle: Handle) -> Row | None:
        """Returns the row of an instance from a wheel; `None` while that is copied, or not there."""
        row = self._manager.entry(handle.name).row
        return None if {"wheel-settling", "wheel-unreadable"} & {each.code for each in row.findings} else row

    def _reload_changed(self, watched: dict[Handle, Row | None], survey: Survey) -> None:
        changed: dict[Handle, str] = {}
        incomplete = []
        is_missed = False
        for handle, row in watched.items():
            content = intact.content(row.candidate.distribution) if row else ""
            before = self._dealt_with.get(handle, handle.made_of)
            is_unknown = not before and handle.state == "running"
            if is_unknown or (content and content in (before, handle.made_of)):
                self._deal_with(handle, content)
            elif row is None:
                is_missed = True  # what serves goes on: it was uninstalled, or is between two versions
            else:
                try:
                    changed[handle] = intact.require_whole(row.candidate.distribution)
                except PluginRefused as exc:
                    incomplete.append((handle, exc.finding))
        if (incomplete or is_missed) and self._may_wait():
            self._look_again()
            if incomplete:  # what is installed together is reloaded as one
                return
        for handle, finding in incomplete:
            self._manager.tell(finding, handle.about)
        for handle, content in changed.items():
            self._deal_with(handle, content)
        if changed:
            self._reload({self._name(handle, survey): handle for handle in changed})

    def _deal_with(self, handle: Handle, content: str) -> None:
        """Notes the content that a plugin is installed with: it is not tried again before that is another."""
        if content:
            self._dealt_with[handle] = content

    def _reload(self, named: dict[str, Handle]) -> None:
        """Reloads plugins as one, or each by itself when that fails: what is broken does not keep others back."""
        name, *others = named
        try:
            self._manager.reload(name, *others)
        except ManagerClosed:
            raise
        except PluginHostError as exc:
            if others:
                for each in named:
                    self._reload({each: named[each]})
                return
            handle = named[name]
            if exc.finding.code == "distribution-incomplete" and self._may_wait():  # the next install has begun
                self._dealt_with[handle] = exc.finding.message  # which is no content
                self._look_again()
                return
            for finding in (exc.finding, *exc.more):
                self._manager.tell(finding, handle.about)

    def _name(self, handle: Handle, survey: Survey) -> str:
        """Returns what a plugin is asked for by, so that no other of that name is meant."""
        is_alone = sum(row.name == handle.name for row in survey) == 1
        if is_alone or handle.name in self._manager.configuration.instances:
            return handle.name
        return f"{handle.name}@{_of(handle).name}"

    def _may_wait(self) -> bool:
        return time.monotonic() < self._changed_at + _PATIENCE_SECONDS

    def _look_again(self) -> None:
        self._due = time.monotonic() + self._delay
        self._delay = min(self._delay * 2, _LAST_SECONDS)

    def _paths_of(self, watched: dict[Handle, Row | None]) -> frozenset[str]:
        """Returns the folders, and the archives, in which plugins change; nothing when none is watched."""
        if not watched:
            return frozenset()
        paths = set(filter(os.path.isdir, self._manager.configuration.plugin_dirs))
        names = {normalize(_of(handle).name) for handle in watched}
        for folder in search_path():
            infos = [name for name in _listed(folder) if name.lower().endswith(_INFO)]
            if infos:
                self._installs.add(folder)
            # Also that of the next version, which an installer is writing.
            paths.update(os.path.join(folder, info) for info in infos if _name_of(info) in names)
        paths.update(filter(os.path.isdir, self._installs))
        for handle, row in watched.items():
            if wheel := self._wheel(handle):
                paths.update(filter(os.path.isdir, [os.path.dirname(wheel)]))
                continue
            place = intact.loose(row.candidate.distribution if row else _of(handle))
            if os.path.isfile(place):
                paths.add(place)
            elif place:
                paths.update(folder for folder, _ in intact.folders(place))
        return frozenset(map(os.path.realpath, paths))

    def forked(self) -> None:
        was_running, self._lock, self._thread = self._thread is not None, threading.Lock(), None
        if was_running:
            self.begin()


def _run(own: weakref.ref[Watcher], over: threading.Event) -> None:
    try:
        with SERIAL:  # what it changes while a plugin is imported would be taken for that plugin's doing
            import watchfiles  # hosts without such plugins do without
    except BaseException as exc:  # it is damaged
        if watcher := own():
            watcher.tell_failure(exc)
        return
    paths: frozenset[str] | None = None
    while (watcher := own()) and not over.is_set():
        if paths is None:
            paths = watcher.look(has_changed=False)
        del watcher
        try:
            changes = watchfiles.watch(
                *paths,
                watch_filter=_Filter(paths),
                debounce=_BURST_MS,
                step=_STEP_MS,
                rust_timeout=1,  # each step comes here: whether all this is over, only we know
                yield_on_timeout=True,
                recursive=False,
                raise_interrupt=False,
                ignore_permission_denied=True,
            )
            with contextlib.closing(changes):
                paths = _watch(own, over, changes, paths)
        except FileNotFoundError:  # a folder went before it could be watched
            paths = None
            over.wait(_STEP_MS / 1_000)
        except Exception as exc:  # the system watches no more for this user, say
            if watcher := own():
                watcher.tell_failure(exc)
                del watcher
            paths = None
            over.wait(_PAUSE_SECONDS)


def _watch(
    own: weakref.ref[Watcher], over: threading.Event, changes: Iterator[set[FileChange]], paths: frozenset[str]
) -> frozenset[str]:
    """Returns what to watch, once that is something else."""
    is_first = True  # what changed before the system was asked, nobody was told of
    for found in changes:
        watcher = own()
        if watcher is None or over.is_set():
            break
        if found or is_first or watcher.is_due():
            now = watcher.look(has_changed=bool(found))
            if now != paths:
                return now
        is_first = False
        del watcher
    return paths


class _Filter:
    """Whether a change may be of a distribution: of its metadata, a wheel, a source, or what is watched itself."""

    def __init__(self, paths: frozenset[str]) -> None:
        self._paths = paths

    def __call__(self, change: Change, path: str) -> bool:
        folder, name = os.path.split(path.lower())
        if path in self._paths or folder.endswith(_INFO) or name.endswith((*_INFO, ".whl", *intact.SOURCES)):
            return True
        return "." not in name and name != "__pycache__" and os.path.isdir(path)  # there may be sources in it


def _listener(own: weakref.ref[Watcher]) -> Callable[[Event], None]:
    """Returns a listener that has a watcher look when there is something else to watch."""

    def hear(event: Event) -> None:
        if event.topic in _TOPICS and not event.source and (watcher := own()):
            watcher.ask()

    return hear


def _of(handle: Handle) -> Distribution:
    return handle.candidate.distribution


def _name_of(info: str) -> str:
    return normalize(info.lower().rpartition(".")[0].partition("-")[0])


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
