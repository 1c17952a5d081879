"""What of the process a plugin must leave as it found it: a change is told, and undone where it can be."""

from __future__ import annotations

import builtins
import contextlib
import os
import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[], Any]
    Write = Callable[[Any], object]

try:
    import resource
except ImportError:  # Windows has no limits of this kind
    resource = None  # type: ignore[assignment]

_HOOKS = {
    "sys.excepthook": (sys, "excepthook"),
    "sys.displayhook": (sys, "displayhook"),
    "sys.unraisablehook": (sys, "unraisablehook"),
    "sys.breakpointhook": (sys, "breakpointhook"),
    "sys.stdin": (sys, "stdin"),
    "sys.stdout": (sys, "stdout"),
    "sys.stderr": (sys, "stderr"),
    "threading.excepthook": (threading, "excepthook"),
    "builtins.__import__": (builtins, "__import__"),
    "builtins.open": (builtins, "open"),
}


class ProcessState:
    """What the process was like when this was made."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values = {name: _value(read) for name, read, _ in _watched()}

    def restore(self) -> Iterator[str]:
        """Yields what has changed since, each with whether it is now as it was."""
        for name, read, write in _watched():
            before = self._values[name]
            if _is_same(before, after := _value(read)):
                continue
            with contextlib.suppress(BaseException):  # what a plugin put there may raise even while it is replaced
                write(before)
            undone = _is_same(before, _value(read))
            yield f"{name} ({_difference(before, after)}), " + ("undone" if undone else "which stays so")


class Modules:
    """The modules that were imported when this was made.

    Attributes:
        changed: The names of those that were removed or replaced since, and put back.
    """

    __slots__ = ("_held", "_modules", "changed")

    def __init__(self) -> None:
        self.changed: list[str] = []
        self._modules = sys.modules
        self._held = dict(sys.modules)

    def restore(self) -> None:
        """Puts back what was removed or replaced; the host's own next import may hang on it."""
        found = sys.modules
        changed = [name for name, module in self._held.items() if found.get(name, self) is not module]
        if found is not self._modules:
            self._modules.update({name: module for name, module in found.items() if type(name) is str})
            sys.modules = self._modules
        self._modules.update({name: self._held[name] for name in changed})
        self.changed += changed


def _watched() -> Iterator[tuple[str, Read, Write]]:
    """Yields everything that is watched: its name, how it is read, how it is put back."""
    for name, write in (("path", _set_list), ("path_hooks", _set_list), ("meta_path", _keep_added_finders)):
        yield f"sys.{name}", partial(_list, name), partial(write, name)
    yield "os.environ", _environment, _set_environment
    yield "the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit
    yield "sys.setprofile", sys.getprofile, sys.setprofile
    yield "sys.settrace", sys.gettrace, sys.settrace
    yield "the working folder", _working_folder, os.chdir
    yield "the umask", _umask, os.umask
    for name, (owner, attribute) in _HOOKS.items():
        yield name, partial(getattr, owner, attribute, None), partial(setattr, owner, attribute)
    if threading.current_thread() is threading.main_thread():  # no other may set a handler
        for number in sorted(signal.valid_signals()):
            yield (
                f"the handler of signal {int(number)}",
                partial(signal.getsignal, number),
                partial(signal.signal, number),
            )
    if hasattr(signal, "setitimer"):
        for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            yield f"interval timer {int(which)}", partial(_is_running, which), partial(_stop, which)
    if resource is not None:
        for limit in sorted(name for name in dir(resource) if name.startswith("RLIMIT_")):
            number = getattr(resource, limit)
            yield limit, partial(resource.getrlimit, number), partial(resource.setrlimit, number)


def _is_running(timer: int) -> bool:
    return signal.getitimer(timer)[0] > 0


def _stop(timer: int, _: bool) -> None:
    signal.setitimer(timer, 0)


def _value(read: Read) -> Any:
    try:
        return read()
    except BaseException as exc:  # signal.getsignal compares the handler, which may raise
        return exc


def _list(name: str) -> list[Any]:
    """Returns a list of `sys` and, first, which object it is."""
    found = getattr(sys, name, None)
    return [_Object(found), *(found if type(found) is list else ())]


def _set_list(name: str, before: list[Any]) -> None:
    before[0].value[:] = before[1:]
    setattr(sys, name, before[0].value)


def _keep_added_finders(name: str, before: list[Any]) -> None:
    """Puts removed finders back; those that were added stay, since modules of a library may hang on them."""
    added = [finder for finder in _list(name)[1:] if not any(finder is own for own in before)]
    _set_list(name, [*before, *added])


class _Object:
    """An object, by identity."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _environment() -> dict[Any, Any]:
    """Returns the environment and, under no name, which object it is."""
    found = os.environ
    return {None: _Object(found)} | (dict(found) if isinstance(found, os._Environ) else {})


def _set_environment(before: dict[Any, Any]) -> None:
    os.environ = before[None].value  # noqa: B003 - a plugin put another object in its place
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if name is not None})


def _is_same(before: object, after: object) -> bool:
    """Returns whether two values are the same, asking none of them but those of Python's own types."""
    if before is after:
        return True
    if type(before) is not type(after):
        return False
    if isinstance(before, _Object) and isinstance(after, _Object):
        return before.value is after.value
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        return len(before) == len(after) and all(map(_is_same, before, after))
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(_is_same(before[key], after[key]) for key in before)
    return type(before) in _PLAIN and before == after


_PLAIN = (str, bytes, int, float, bool, signal.Handlers)


def _shown(value: object) -> str:
    try:
        return str.__str__(str(value))
    except BaseException:  # what a plugin put there may raise
        return f"a {type(value).__name__} that cannot be printed"


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _umask() -> int:
    value = os.umask(0o077)  # there is no way to ask without setting it
    os.umask(value)
    return value


def _difference(before: object, after: object) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in before.keys() | after.keys() if not _is_same(before.get(key), after.get(key))]
        return ", ".join(sorted("another object" if key is None else key for key in keys))
    if isinstance(before, list) and isinstance(after, list):
        if not _is_same(before[0], after[0]):
            return "another object"
        added = [item for item in after if not any(_is_same(item, other) for other in before)]
        removed = [item for item in before if not any(_is_same(item, other) for other in after)]
        return (
            "; ".join(
                f"{what} {', '.join(map(_shown, items))}"
                for what, items in (("added", added), ("removed", removed))
                if items
            )
            or "in another order"
        )
    return f"{_shown(before)} to {_shown(after)}"
