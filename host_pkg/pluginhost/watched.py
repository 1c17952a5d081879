"""What of the process is watched while a plugin is imported and made: how it is read, and how it is put back.

Changes are of two kinds. Real libraries register exit functions, filter warnings or add finders when they are
imported: such is told. What takes the process out of its application's hands (signals, the environment, the working
folder, streams, hooks, limits, functions of the standard library) is grave, and refuses a plugin at first sight.
"""

from __future__ import annotations

import _locale
import atexit
import builtins
import faulthandler
import gc
import operator
import os
import signal
import sys
import threading
import warnings
from functools import partial
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[], Any]
    Write = Callable[[Any], object]

try:
    import resource
except ImportError:  # Windows has no limits of this kind
    resource = None  # type: ignore[assignment]


class HostThread(threading.Thread):
    """A thread that the host begins on behalf of plugins, and that is none of theirs."""


_HOOKS = {
    "sys.excepthook": (sys, "excepthook"),
    "sys.displayhook": (sys, "displayhook"),
    "sys.unraisablehook": (sys, "unraisablehook"),
    "sys.breakpointhook": (sys, "breakpointhook"),
    "threading.excepthook": (threading, "excepthook"),
}


_GUARDED = (
    "builtins", "importlib", "inspect", "io", "json", "logging", "ntpath", "os", "pathlib", "pickle", "posixpath",
    "socket", "subprocess", "sys", "threading", "time", "_frozen_importlib", "_frozen_importlib_external",
)  # fmt: skip
"""Modules whose functions everybody calls; those of them that are imported are watched, and the host's own."""


_CLASSES = ("Thread", "Path", "Logger", "PathFinder", "FileFinder", "SourceFileLoader", "Popen")
"""Classes of theirs whose methods are watched."""


_OBEYED = ("PYTHON", "LD_", "DYLD_", "LC_", "LANG", "PATH", "HOME", "TMPDIR", "TZ", "XDG_")
"""How the names of variables begin by which the interpreter, the loader or the system is steered."""


class Watched(NamedTuple):
    """Something that is watched: how it is read, how it is put back, and whether a change of it is grave."""

    name: str
    read: Read
    write: Write
    is_grave: Callable[[Any, Any], bool]


def everything() -> Iterator[Watched]:
    """Yields everything that is watched."""
    lists = {"path": _set_list, "argv": _set_list, "path_hooks": _set_list, "meta_path": _keep_added_finders}
    for name, write in lists.items():
        yield Watched(f"sys.{name}", partial(_list, name), partial(write, name), _never)
    yield Watched("os.environ", _environment, _set_environment, _is_obeyed)
    yield Watched("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit, _never)
    yield Watched("sys.setprofile", sys.getprofile, sys.setprofile, _always)
    yield Watched("sys.settrace", sys.gettrace, sys.settrace, _always)
    if hasattr(sys, "monitoring"):  # where cProfile of later Pythons is to be seen
        yield Watched("sys.monitoring", _monitors, _set_monitors, _always)
    yield Watched("threading.setprofile", threading.getprofile, threading.setprofile, _always)
    yield Watched("threading.settrace", threading.gettrace, threading.settrace, _always)
    if hasattr(os, "nice"):
        yield Watched("the priority", partial(os.nice, 0), _nothing, _always)
    yield Watched("the working folder", _working_folder, os.chdir, _always)
    yield Watched("the umask", _umask, os.umask, _always)
    for name, (owner, attribute) in _HOOKS.items():
        read, write = partial(getattr, owner, attribute, None), partial(setattr, owner, attribute)
        yield Watched(name, read, write, _always)
    for name in ("stdin", "stdout", "stderr"):
        yield Watched(f"sys.{name}", partial(getattr, sys, name, None), partial(setattr, sys, name), _never)
        yield Watched(f"whether sys.{name} is closed", partial(_is_closed, name), _nothing, _always)
    yield Watched("Python's own functions", Functions, _set_functions, _always)
    yield from _signals()
    yield from _limits()
    yield from _settings()


def _signals() -> Iterator[Watched]:
    if threading.current_thread() is threading.main_thread():  # no other may set a handler
        for number in sorted(signal.valid_signals()):
            read, write = partial(signal.getsignal, number), partial(signal.signal, number)
            yield Watched(f"the handler of signal {int(number)}", read, write, _always)
    if hasattr(signal, "pthread_sigmask"):
        yield Watched("the blocked signals", _blocked_signals, _block_signals, _always)
    if hasattr(signal, "setitimer"):
        for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            yield Watched(f"interval timer {int(which)}", partial(_is_running, which), partial(_stop, which), _always)


def _limits() -> Iterator[Watched]:
    if resource is not None:
        limits = {getattr(resource, name): name for name in reversed(dir(resource)) if name.startswith("RLIMIT_")}
        for number, limit in limits.items():  # one has two names
            yield Watched(limit, partial(resource.getrlimit, number), partial(resource.setrlimit, number), _always)


def _settings() -> Iterator[Watched]:
    """Yields settings of the interpreter and of modules that are imported, as real libraries change them too."""
    yield Watched("the warnings filters", _filters, _keep_added_filters, _never)
    yield Watched("exit functions", _exit_functions, _nothing, _fewer)
    yield Watched("the names of builtins", _builtins, _nothing, _never)
    yield Watched("the threads' stack size", threading.stack_size, threading.stack_size, _never)
    yield Watched("the locale", partial(_locale.setlocale, _locale.LC_ALL), _set_locale, _never)
    yield Watched("garbage collection", gc.isenabled, _switch(gc.enable, gc.disable), _never)
    yield Watched("its thresholds", gc.get_threshold, lambda before: gc.set_threshold(*before), _never)
    yield Watched("its callbacks", lambda: [Held(gc.callbacks), *gc.callbacks], _set_callbacks, _never)
    yield Watched("the switch interval", sys.getswitchinterval, sys.setswitchinterval, _never)
    yield Watched("the digits of an int", sys.get_int_max_str_digits, sys.set_int_max_str_digits, _never)
    for name in ("dont_write_bytecode", "pycache_prefix", "executable"):
        yield Watched(f"sys.{name}", partial(getattr, sys, name, None), partial(setattr, sys, name), _never)
    yield Watched("faulthandler", faulthandler.is_enabled, _switch(faulthandler.enable, faulthandler.disable), _never)
    if module := sys.modules.get("_tracemalloc"):
        yield Watched("tracemalloc", module.is_tracing, _switch(module.start, module.stop), _never)
    if module := sys.modules.get("_socket"):
        read, write = module.getdefaulttimeout, module.setdefaulttimeout
        yield Watched("the sockets' timeout", read, write, _never)
    module = sys.modules.get("random")
    others = [thread for thread in threading.enumerate() if type(thread) is not HostThread]
    if module and len(others) == 1:  # other threads may want numbers meanwhile
        yield Watched("the random numbers' state", partial(Hidden.of, module.getstate), module.setstate, _never)
    if module := sys.modules.get("decimal"):
        read, write = partial(_decimal, module), partial(_set_decimal, module)
        yield Watched("the decimal context", read, write, _never)
    if module := sys.modules.get("logging"):
        for name in ("", "pluginhost"):
            read, write = partial(_logger, module, name), partial(_set_logger, module, name)
            yield Watched(f"the {name or 'root'} logger", read, write, _never)


def _always(before: Any, after: Any) -> bool:
    return True


def _never(before: Any, after: Any) -> bool:
    return False


def _fewer(before: Any, after: Any) -> bool:
    return type(after) is int and after < before


def _nothing(before: Any) -> None:
    """What cannot be undone stays."""


def _switch(on: Callable[[], object], off: Callable[[], object]) -> Write:
    return lambda was_on: on() if was_on else off()


def _is_running(timer: int) -> bool:
    return signal.getitimer(timer)[0] > 0


def _stop(timer: int, _: bool) -> None:
    signal.setitimer(timer, 0)


def _monitors() -> list[Any]:
    return [None, *(name for number in range(6) if (name := sys.monitoring.get_tool(number)))]  # type: ignore[attr-defined]


def _set_monitors(before: list[Any]) -> None:
    for number in range(6):
        if sys.monitoring.get_tool(number) not in (None, *before):  # type: ignore[attr-defined]
            sys.monitoring.set_events(number, 0)  # type: ignore[attr-defined]
            sys.monitoring.free_tool_id(number)  # type: ignore[attr-defined]


def _is_closed(stream: str) -> bool:
    return getattr(getattr(sys, stream, None), "closed", False) is True


def _owners() -> Iterator[tuple[str, Any]]:
    """Yields the guarded modules that are imported, and the classes of theirs whose methods are watched."""
    for name in (*_GUARDED, *(name for name in list(sys.modules) if type(name) is str and name[:10] == "pluginhost")):
        module = sys.modules.get(name)
        if type(module) is ModuleType:
            yield name, module
            yield from ((f"{name}.{key}", cls) for key in _CLASSES if type(cls := vars(module).get(key)) is type)


def _set_functions(before: Functions) -> None:
    for _, owner, key, value in before.changed_in(Functions()):
        setattr(owner, key, value)
    for function, code in before.codes.items():
        if function.__code__ is not code:
            function.__code__ = code


# Watched apart; and the last result of an interactive interpreter.
_NOT_FUNCTIONS = {name.rpartition(".")[2] for name in _HOOKS} | {"_"}


def _exit_functions() -> int:
    """Returns how many functions wait for the process's end, without those that the standard library registers."""
    known = ("logging", "multiprocessing.util")
    weak = getattr(sys.modules.get("weakref"), "finalize", None)
    own = sum(name in sys.modules for name in known) + bool(getattr(weak, "_registered_with_atexit", False))
    own += bool(getattr(sys.modules.get("rlcompleter"), "_readline_available", False))
    return atexit._ncallbacks() - own


def _builtins() -> tuple[str, ...]:
    return tuple(sorted(vars(builtins)))


def _blocked_signals() -> list[Any]:
    return [None, *sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))]


def _block_signals(before: list[Any]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, before[1:])


def _list(name: str) -> list[Any]:
    """Returns a list of `sys` and, first, which object it is."""
    found = getattr(sys, name, None)
    return [Held(found), *(found if type(found) is list else ())]


def _set_list(name: str, before: list[Any]) -> None:
    before[0].value[:] = before[1:]
    setattr(sys, name, before[0].value)


def _keep_added_finders(name: str, before: list[Any]) -> None:
    """Puts removed finders back; those that were added stay, since modules of a library may hang on them."""
    added = [finder for finder in _list(name)[1:] if not any(finder is own for own in before)]
    _set_list(name, [*before, *added])


def _filters() -> list[Any]:
    """Returns the filters of warnings and, first, the list that holds them."""
    return [Held(warnings.filters), *warnings.filters]


def _keep_added_filters(before: list[Any]) -> None:
    """Puts removed filters back; added ones stay, for a library's sake, but not those for all warnings."""
    own = before[1:]
    added = [each for each in list(warnings.filters) if each not in own and each[1:4] != (None, Warning, None)]
    filters: list[Any] = before[0].value
    filters[:] = [*added, *own]
    warnings.filters = filters
    with warnings.catch_warnings():  # on leaving it, what was cached by the filters is forgotten
        pass


def _set_callbacks(before: list[Any]) -> None:
    gc.callbacks[:] = before[1:]


def _set_locale(before: str) -> None:
    _locale.setlocale(_locale.LC_ALL, before)


def _decimal(module: Any) -> str:
    return repr(module.getcontext())


def _set_decimal(module: Any, before: str) -> None:
    module.setcontext(eval(before, {**vars(module)}))  # its repr is the call that makes it


def _logger(module: Any, name: str) -> list[Any]:
    logger = module.getLogger(name)
    what = [logger.level, logger.disabled, logger.propagate, module.root.manager.disable, tuple(logger.filters)]
    return [Held(logger.handlers), *what, *logger.handlers]


def _set_logger(module: Any, name: str, before: list[Any]) -> None:
    logger = module.getLogger(name)
    handlers, level, logger.disabled, logger.propagate, module.root.manager.disable, filters, *own = before
    logger.filters[:] = filters
    logger.handlers = handlers.value
    logger.handlers[:] = own
    logger.setLevel(level)  # what each logger holds for enabled is forgotten


class Held:
    """An object, by identity."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Functions:
    """The functions and classes of guarded modules, their methods, and the code of each, at one time.

    What comes with an import later is no change.

    Attributes:
        names: What each owner named, by the owner's name.
        codes: The code of each function in Python.
    """

    __slots__ = ("codes", "names")

    def __init__(self) -> None:
        self.names = {name: (owner, dict(vars(owner))) for name, owner in _owners()}
        self.codes = {
            value: value.__code__
            for _, names in self.names.values()
            for value in names.values()
            if type(value) is FunctionType
        }

    def changed_in(self, after: Functions) -> Iterator[tuple[str, Any, str, Any]]:
        """Yields what an owner names otherwise later: the owner's name, the owner, the name, and what it was."""
        for name, (owner, names) in self.names.items():
            _, now = after.names.get(name, (owner, {}))
            if _are_held(names, now):
                continue
            for key, value in names.items():
                if now.get(key, self) is not value and _is_function(value) and key not in _NOT_FUNCTIONS:
                    if key not in now and _is_taken_over(key):
                        continue
                    yield name, owner, key, value

    def replaced_in(self, after: Functions) -> list[str]:
        """Returns the names of those that are others later, or have another code."""
        is_recoded = not _are_held(self.codes, after.codes)
        recoded = (function for function, code in self.codes.items() if after.codes.get(function, code) is not code)
        names = [f"{function.__module__}.{function.__qualname__}" for function in recoded] if is_recoded else []
        return names + [f"{name}.{key}" for name, _, key, _ in self.changed_in(after)]


def _are_held(before: dict[Any, Any], after: dict[Any, Any]) -> bool:
    """Returns whether each value is the same object still, without a step of Python's for each of thousands."""
    return all(map(operator.is_, before.values(), map(after.get, before)))


def _is_taken_over(name: str) -> bool:
    """Returns whether a function is gone because `importlib_metadata`, when it was imported, brought its own."""
    finders = sys.meta_path if name == "find_distributions" else ()
    return any(type(finder).__name__ == "MetadataPathFinder" for finder in finders)


def _is_function(value: object) -> bool:
    return callable(value) or type(value) in (classmethod, staticmethod)


class Hidden(tuple[Any, ...]):
    """A value of Python's own that is too long to be shown."""

    __slots__ = ()

    @classmethod
    def of(cls, read: Read) -> Hidden:
        return cls(read())

    def __str__(self) -> str:
        return "another"


def _environment() -> dict[Any, Any]:
    """Returns the environment and, under no name, which object it is."""
    found = os.environ
    return {None: Held(found)} | (dict(found) if isinstance(found, os._Environ) else {})


def _set_environment(before: dict[Any, Any]) -> None:
    os.environ = before[None].value  # noqa: B003 - a plugin put another object in its place
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if name is not None})


def _is_obeyed(before: Any, after: Any) -> bool:
    """Returns whether more has changed than that variables were added which steer only their own library."""
    if type(before) is not dict or type(after) is not dict:
        return True
    keys = [key for key in before.keys() | after.keys() if not is_same(before.get(key), after.get(key))]
    return any(key in before or key is None or str(key).startswith(_OBEYED) for key in keys)


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _umask() -> int:
    value = os.umask(0o077)  # there is no way to ask without setting it
    os.umask(value)
    return value


def is_same(before: object, after: object) -> bool:
    """Returns whether two values are the same, asking none of them but those of Python's own types."""
    if before is after:
        return True
    if type(before) is not type(after):
        return False
    if isinstance(before, Held) and isinstance(after, Held):
        return before.value is after.value
    if isinstance(before, Functions) and isinstance(after, Functions):
        return not before.replaced_in(after)
    if isinstance(before, Hidden):
        return before == after
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        return len(before) == len(after) and all(map(is_same, before, after))
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(is_same(before[key], after[key]) for key in before)
    return type(before) in _PLAIN and before == after


_PLAIN = (str, bytes, int, float, bool, signal.Handlers, signal.Signals)
