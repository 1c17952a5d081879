"""What is left of a plugin's generations that were replaced, and who holds it.

An old generation is remembered without being held. What tells its code from the new one's, of the same names, is each
module's spec: an import makes a new one, and the names of a module, which outlive it where a function does, have it.
"""

from __future__ import annotations

import threading
import time
import types
import weakref
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, Final

from pluginhost import identity, leaks
from pluginhost.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_PINNED: Final = 10
"""How many old generations may stay in memory before it is said that there are too many."""

_LOOKS_SECONDS: Final = (0.0, 0.01, 0.1)
"""How long to wait before each look: a thread may be about to leave a call that counts as ended."""

_SPACE: Final = vars(types.ModuleType)["__dict__"]


class Old:
    """A generation that was replaced: weak references to its classes and to the specs of its modules, and its threads.

    Attributes:
        number: Which generation it was.
        text: The plugin as a message names it.
        path: Its distribution's folder of metadata.
    """

    __slots__ = ("_references", "_threads", "number", "path", "text")

    def __init__(
        self,
        number: int,
        text: str,
        path: str,
        references: Iterable[weakref.ref[Any]],
        threads: Iterable[weakref.ref[threading.Thread]],
    ) -> None:
        self.number = number
        self.text = text
        self.path = path
        self._references = tuple(references)
        self._threads = tuple(threads)

    @classmethod
    def of(
        cls,
        number: int,
        text: str,
        path: str,
        plugin: type,
        modules: Mapping[str, object],
        threads: Iterable[threading.Thread],
    ) -> Old:
        """Returns what is remembered of a generation once it was shut down.

        Args:
            number: Which generation it was.
            text: The plugin as a message names it.
            path: Its distribution's folder of metadata.
            plugin: Its class.
            modules: Its own modules by name, which have been taken out of `sys.modules`.
            threads: Those that were begun while it started or shut down.
        """
        parts = (part for name, module in modules.items() for part in _parts(name, module))
        unique = {id(part): weakref.ref(part) for part in (plugin, *parts)}
        return cls(number, text, path, unique.values(), map(weakref.ref, threads))

    def is_gone(self) -> bool:
        """Returns whether nothing of it is there any more; garbage that was not collected yet is there."""
        return not self._left() and not self._running()

    def _left(self) -> list[weakref.ref[Any]]:
        return [reference for reference in self._references if reference() is not None]

    def _running(self) -> list[weakref.ref[threading.Thread]]:
        running = set(map(id, threading.enumerate()))  # and not each thread's own word, whose class may be the plugin's
        return [reference for reference in self._threads if id(reference()) in running]

    def _findings(self) -> Iterator[Finding]:
        holders = leaks.holders(self._left(), self._running())
        if not holders and not self.is_gone():  # it may have gone meanwhile
            holders = ["what holds it cannot be told"]
        for holder in holders:
            yield Finding(
                "leak",
                f"{self.text}: something of generation {self.number} is still there: {holder}",
                "its author takes back in `shutdown` what it gave away, and ends its threads; what the application "
                "holds, it lets go of",
                self.path,
            )


def find(olds: Iterable[Old]) -> list[Finding]:
    """Returns what is left of old generations, each with who holds it, once the garbage is collected.

    Variables of functions that run count as holders: the caller has none that refer to an old generation.

    Args:
        olds: Of any plugins. The search takes up to some seconds for each that is there.
    """
    there = _there(olds)
    return [finding for old in there for finding in old._findings()]


def pinned(olds: Iterable[Old]) -> Finding | None:
    """Returns the finding that many old generations of a plugin are in memory; `None` while they are few.

    Args:
        olds: All that are remembered of one plugin.
    """
    there = [old for old in olds if not old.is_gone()]
    if len(there) >= _PINNED:
        there = _there(there)
    if len(there) < _PINNED:
        return None
    return Finding(
        "generations-pinned",
        f"{there[-1].text}: {len(there)} of its old generations are still in memory",
        'set `isolation = "process"` for it, so that each ends with its process; and tell its author what the findings '
        "of code `leak` name",
        there[-1].path,
    )


def _there(olds: Iterable[Old]) -> list[Old]:
    """Returns those of which something is there, once the garbage is collected."""
    there = [old for old in olds if not old.is_gone()]
    for seconds in _LOOKS_SECONDS:
        if there:
            time.sleep(seconds)
            leaks.collect()
            there = [old for old in there if not old.is_gone()]
    return there


def _parts(name: str, module: object) -> Iterator[Any]:
    """Yields what tells a module's generation: its spec; and its classes, some of which do not refer to the module."""
    if not issubclass(type(module), types.ModuleType):
        return  # a plugin may put what it likes in a module's place
    space = _SPACE.__get__(module)
    spec = space.get("__spec__")
    if issubclass(type(spec), ModuleSpec):
        yield spec
    for value in list(space.values()):
        if issubclass(type(value), type) and identity.module_of(value) == name:
            yield value
