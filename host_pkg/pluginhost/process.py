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
        self._values = {name: read() for name, read, _ in _watched()}

    def restore(self) -> Iterator[str]:
        """Yields what has changed since, each with whether it is now as it was."""
        for name, read, write in _watched():
            before = self._values[name]
            if (after := read()) == before:
                continue
            with contextlib.suppress(Exception):
                write(before)
            yield f"{name} ({_difference(before, after)}), " + ("undone" if read() == before else "which stays so")


def _watched() -> Iterator[tuple[str, Read, Write]]:
    """Yields everything that is watched: its name, how it is read, how it is put back."""
    yield "sys.path", lambda: list(sys.path), lambda value: sys.path.__setitem__(slice(None), value)
    yield "sys.path_hooks", lambda: list(sys.path_hooks), lambda value: sys.path_hooks.__setitem__(slice(None), value)
    yield "sys.meta_path", lambda: list(sys.meta_path), _keep_added_finders
    yield "os.environ", lambda: dict(os.environ), _set_environment
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


def _keep_added_finders(before: list[Any]) -> None:
    """Puts removed finders back; those that were added stay, since modules of a library may hang on them."""
    sys.meta_path[:] = [*before, *(finder for finder in sys.meta_path if finder not in before)]


def _set_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


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
        changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        return ", ".join(changed)
    if isinstance(before, list) and isinstance(after, list):
        added = [item for item in after if item not in before]
        removed = [item for item in before if item not in after]
        return (
            "; ".join(
                f"{what} {', '.join(map(str, items))}"
                for what, items in (("added", added), ("removed", removed))
                if items
            )
            or "in another order"
        )
    return f"{before} to {after}"
