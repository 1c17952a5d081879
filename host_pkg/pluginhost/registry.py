"""The handles of one manager: whose turn it is, who waits for whom, who uses whom."""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import TYPE_CHECKING

from pluginhost import dependencies, loading
from pluginhost.entries import Entry
from pluginhost.events import Events
from pluginhost.lifecycle import Handle
from pluginhost.settings import PluginSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pluginhost.entries import Key
    from pluginhost.errors import Finding
    from pluginhost.events import About
    from pluginhost.survey import Row


class Registry:
    """The handles of one manager, by name and distribution.

    One thread at a time has the turn of a handle, and alone takes it from state to state. A thread that wants a turn
    while others wait for its own gets an error in place of a deadlock.

    Attributes:
        events: The listeners.
    """

    def __init__(self, tell: Callable[[Finding, About | None], None]) -> None:
        self.events = Events(tell)
        self._handles: dict[Key, Handle] = {}
        self._started: list[Handle] = []
        self._change = threading.Condition()
        self._turns: dict[int, list[Handle]] = {}  # by thread, in the order in which it took them
        self._waits: dict[int, Handle] = {}  # by thread, whose turn it waits for
        self._asks: dict[int, list[Handle]] = {}  # by thread, for which plugins it asks their host

    def of(self, entry: Entry) -> Handle:
        """Returns the handle of an entry, made when it is first asked for."""
        with self._change:
            if entry.key not in self._handles:
                self._handles[entry.key] = Handle(entry.name, entry.row.candidate, self.events)
            return self._handles[entry.key]

    def find(self, entry: Entry) -> Handle | None:
        """Returns the handle of an entry if there is one."""
        return self._handles.get(entry.key)

    def guest_of(self, owner: Handle, row: Row, config: Mapping[str, object]) -> Entry:
        """Returns the entry of a plugin's own guest, under a name that no other has."""
        names = {handle.name for handle in self.known()}
        own = f"{owner.name}/{row.name}"
        numbered = (f"{own}#{number}" for number in itertools.count(2))
        name = next(name for name in itertools.chain([own], numbered) if name not in names)
        return Entry(name, row, PluginSettings(config=config))

    def known(self) -> list[Handle]:
        """Returns every handle, in the order in which they were asked for."""
        with self._change:
            return list(self._handles.values())

    def started(self) -> list[Handle]:
        """Returns the handles that run, in the order in which they came to."""
        with self._change:
            self._started = [handle for handle in self._started if handle.state == "running"]
            return list(self._started)

    def by_name(self) -> dict[str, Handle]:
        """Returns the handles that run, by name; by `NAME@DISTRIBUTION` where another has the same name."""
        return _by_name(self.started())

    def named(self) -> dict[str, Handle]:
        """Returns every handle, likewise: those that run first."""
        started = self.started()
        return _by_name([*started, *(handle for handle in self.known() if handle not in started)])

    def note_started(self, handle: Handle) -> None:
        """Takes down that a handle has come to run."""
        with self._change:
            self._started = [other for other in self._started if other is not handle] + [handle]

    def users(self, handle: Handle) -> list[Handle]:
        """Returns the running handles that use another, those first that started last."""
        return [other for other in reversed(self.started()) if handle in other.needs]

    def drop(self, handle: Handle) -> None:
        """Forgets a handle."""
        with self._change:
            self._handles = {key: other for key, other in self._handles.items() if other is not handle}

    @contextlib.contextmanager
    def turn(self, handle: Handle, seconds: float | None = None) -> Iterator[bool]:
        """Gives a thread the turn of a handle.

        Args:
            handle: Which one.
            seconds: How long to wait for it; `None` without end.

        Yields:
            Whether it got the turn in that time.

        Raises:
            PluginRequirementError: It would wait for itself.
        """
        me = threading.get_ident()
        got = False
        try:
            if not (got := self._take(handle, me, 0)):
                with loading.aside():  # it may be held by a thread that is about to import the plugin
                    got = self._take(handle, me, seconds)
            yield got
        finally:
            if got:
                with self._change:
                    self._turns[me].remove(handle)
                    if not self._turns[me]:
                        del self._turns[me]
                    self._change.notify_all()

    @contextlib.contextmanager
    def asking(self, handle: Handle) -> Iterator[None]:
        """Takes down that a thread asks for other plugins on behalf of one.

        It may be another thread than that which starts the plugin, and which waits for this one then: a plugin in a
        process of its own is answered by a thread of its own, and any may have threads.
        """
        me = threading.get_ident()
        with self._change:
            self._asks.setdefault(me, []).append(handle)
        try:
            yield
        finally:
            with self._change:
                self._asks[me].remove(handle)
                if not self._asks[me]:
                    del self._asks[me]

    def _take(self, handle: Handle, me: int, seconds: float | None) -> bool:
        """Waits until a handle's turn is free, and returns whether the thread has it now."""
        with self._change:
            if path := self._cycle(handle, me):
                raise dependencies.cycle(path)
            self._waits[me] = handle
            try:
                got = self._change.wait_for(lambda: self._owner(handle) is None, seconds)
            finally:
                del self._waits[me]
            if got:
                self._turns.setdefault(me, []).append(handle)
            return got

    def _owner(self, handle: Handle) -> int | None:
        return next((thread for thread, held in self._turns.items() if handle in held), None)

    def _cycle(self, handle: Handle, me: int) -> list[str]:
        """Returns who would wait for whom if a thread waited for a handle: from the handle back to it; else nothing."""
        todo: list[tuple[Handle, list[str]]] = [(handle, [])]
        seen = set()
        while todo:
            wanted, path = todo.pop()
            owner = self._owner(wanted)
            if owner is None or owner in seen:
                continue
            seen.add(owner)
            held = self._turns[owner]
            path = [*path, *(other.name for other in held[held.index(wanted) :])]
            if owner == me:
                return [*path, handle.name]
            if owner in self._waits:
                todo.append((self._waits[owner], path))
            for thread in [thread for thread, asks in self._asks.items() if any(other in held for other in asks)]:
                begun = self._turns.get(thread, [])
                if thread == me:
                    return [*path, *(other.name for other in begun), handle.name]
                todo += [
                    (other, path) for other in (*begun[:1], *([self._waits[thread]] if thread in self._waits else []))
                ]
        return []


def _by_name(handles: list[Handle]) -> dict[str, Handle]:
    named: dict[str, Handle] = {}
    for handle in handles:
        name = f"{handle.name}@{handle.candidate.distribution.name}" if handle.name in named else handle.name
        named[name] = handle
    return named
