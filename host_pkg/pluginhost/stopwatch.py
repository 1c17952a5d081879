"""The process in which one plugin is measured: it takes the way that an application's manager has it take.

The host starts it as `profile` says, under `-X importtime`. What the host itself needs is imported before, so that it
does not count as the plugin's. Nor does what the plugin requires, or starts itself: those are plugins of their own with
figures of their own. Between what Python writes to standard error of imports stand lines that say whose time begins.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import sys
import threading
import time
from typing import TYPE_CHECKING

from pluginhost import factories, identity, loading, stubs
from pluginhost.entries import wheel_of
from pluginhost.errors import PluginHostError
from pluginhost.interrupts import Interrupted
from pluginhost.manager import PluginManager
from pluginhost.parent import Parent

# What a survey needs when the index does not answer; whether it does shall make no difference.
from pluginhost import admission, discovery, plugin_dirs, runner  # noqa: F401  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, NoReturn, TypedDict

    from pluginapi import Event
    from pluginhost.settings import Configuration, PluginSettings
    from pluginhost.survey import Row

    class Job(TypedDict):
        """What the host asks for.

        Attributes:
            path: The host's `sys.path`.
            nonce: What every answer must carry, and every line that says whose time begins.
            configuration: What is set, pickled: the host's own word.
            plugin: The plugin's name, and its distribution's.
            until: When the place is told where the plugin is held up, by `time.monotonic`, the same for all processes.
        """

        path: list[str]
        nonce: str
        configuration: bytes
        plugin: tuple[str, str]
        until: float


_ENDS: Final = {"plugin.running", "plugin.failed"}


def main(job: Job) -> NoReturn:
    """Does the job, answers, and ends the process."""
    parent = Parent(job["nonce"])
    parent.tell_place(job["until"])
    configuration: Configuration = pickle.loads(job["configuration"])
    api = configuration.api
    for contract in identity.import_contracts(api).values():
        stubs.stub_class((contract,))  # it is made once for each, and is the host's
    name, distribution = job["plugin"]
    watch = _Watch(name, distribution, job["nonce"], parent)
    sys.addaudithook(watch.audited)
    findings = []
    with _manager(configuration) as manager:
        try:
            if api is None:
                _find(manager.row(f"{name}@{distribution}"), manager, watch)
            else:
                manager.subscribe(watch.heard, "plugin.")
                manager.handle(f"{name}@{distribution}")
        except PluginHostError as exc:
            findings = [exc.finding, *exc.more]
        except Interrupted:  # in a session of its own, nobody else sends that signal
            os._exit(1)
        finally:
            watch.turn("")
        parent.send(
            reached=watch.reached,
            is_last=True,
            findings=[each.to_plain() for each in findings],
            nanoseconds=watch.nanoseconds,
            modules=len(watch.modules),
        )
        if api is None:
            os._exit(0)  # nothing was started that could be shut down
    sys.exit(0)


def _manager(configuration: Configuration) -> PluginManager:
    """Returns a manager as it was configured, but that it tries no plugin in yet another process."""
    of = configuration
    return PluginManager(
        of.group, of.api, plugin_dirs=of.plugin_dirs, capabilities=of.capabilities, probe="never",
        plugins={name: _set(settings) for name, settings in of.plugins.items()},
        instances={name: _set(settings) for name, settings in of.instances.items()},
        shutdown_timeout=of.shutdown_timeout,
    )  # fmt: skip


def _set(settings: PluginSettings) -> dict[str, object]:
    """Returns what is set for a plugin or an instance, as it was written; a process of its own is this one.

    That of an instance from a wheel is not: it could not have both versions.
    """
    default = {each.name: each.default for each in dataclasses.fields(settings)}
    of_process = set() if wheel_of(settings) else {"isolation", "limits", "critical"}
    found = {name: getattr(settings, name) for name in default if name not in of_process}
    return {name: value for name, value in found.items() if value != default[name]}


def _find(row: Row, manager: PluginManager, watch: _Watch) -> None:
    """Imports what a plugin of a group without an API names, and calls nothing: it may be anything."""
    from pluginhost import store

    row.require_ready()
    if manager.path:
        store.put_on_path(manager.path, row.candidate)
    loading.find(row.candidate)


class _Watch:
    """The time of one plugin, stage by stage.

    Attributes:
        nanoseconds: What each stage has taken.
        modules: The modules that were brought in.
        reached: The stage in which the plugin is or was last; empty when it came to none.
    """

    def __init__(self, name: str, distribution: str, nonce: str, parent: Parent) -> None:
        self.nanoseconds = dict.fromkeys(("import", "new", "init"), 0)
        self.modules: set[str] = set()
        self.reached = ""
        self._is = name, distribution
        self._nonce = nonce
        self._parent = parent
        self._thread = threading.get_ident()
        self._others: list[tuple[object, object]] = []
        self._stage = ""  # whose time runs; empty while it is nobody's
        self._known: set[str] = set()
        self._since = 0
        self._clock: Callable[[], int] = time.perf_counter_ns

    def audited(self, event: str, args: tuple[object, ...]) -> None:
        """Takes notice of the plugin's import and of its `New()`, at the beginning and at the end of each."""
        if event == factories.STAGE:
            now = self._clock()
            name, stage = args
            if name == self._is[0] and not self._others and threading.get_ident() == self._thread:
                self.turn(str(stage), now)

    def heard(self, event: Event) -> None:
        """Takes notice of a plugin's next state."""
        now = self._clock()
        if threading.get_ident() != self._thread:
            return
        whose = event.fields["plugin"], event.fields["distribution"]
        if whose != self._is:
            self._other(whose, event.topic, now)
        elif event.topic == "plugin.created":
            self.turn("init", now)
        elif event.topic in _ENDS:
            self.turn("", now)

    def turn(self, stage: str, now: int | None = None) -> None:
        """Ends the time that runs, and begins a stage's; an empty one is nobody's."""
        self._end(self._clock() if now is None else now)
        self._begin(stage)

    def _other(self, whose: tuple[object, object], topic: str, now: int) -> None:
        """Stops the time while another plugin is started from within a stage."""
        if topic == "plugin.admitted":
            if not self._others:
                self._end(now)
            self._others.append(whose)
        elif topic in _ENDS and whose in self._others:
            self._others.remove(whose)
            if not self._others:
                self._begin(self._stage)

    def _end(self, now: int) -> None:
        if self._stage and not self._others:
            self.nanoseconds[self._stage] += now - self._since
            self.modules |= sys.modules.keys() - self._known
            self._mark("other")

    def _begin(self, stage: str) -> None:
        self._stage = stage
        if stage:
            self.reached = stage
            self._parent.send(reached=stage)
            self._mark(stage)
            self._known = set(sys.modules)
            self._since = self._clock()

    def _mark(self, stage: str) -> None:
        """Writes whose time begins among what Python writes of imports."""
        try:
            os.write(2, f"\n{self._nonce} {stage}\n".encode())
        except OSError:
            pass  # the plugin closed it
