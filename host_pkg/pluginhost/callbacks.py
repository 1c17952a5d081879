"""What Python itself calls at some time, and no module shows: exit functions, signal handlers, codecs."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import atexit
import codecs
import functools
import gc
import signal
from encodings import search_function
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from pluginhost.interrupts import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator


def known() -> Iterator[tuple[str, object]]:
    """Yields each object that Python calls, after what it is in words."""
    for function in exit_functions():
        yield f"the exit function {name_of(function)}", function
    for number in signal.valid_signals():
        handler = _signal.getsignal(number)  # the other one compares the handler, whose class may be a plugin's
        if handler is not None and type(handler) is not int:
            yield f"the handler of signal {int(number)}, {name_of(handler)}", handler
    for searched in gc.get_referrers(search_function):
        if type(searched) is list and searched[0] is search_function:
            yield from ((f"the codecs' search function {name_of(each)}", each) for each in searched[1:])
    strict = codecs.lookup_error("strict")
    for handlers in gc.get_referrers(strict):
        if type(handlers) is dict and dict.get(handlers, "strict") is strict:
            yield from ((f"the codecs' error handler {name!s}", each) for name, each in handlers.items())


def exit_functions() -> list[object]:
    """Returns the functions that wait for the process's end, all of which go on to wait.

    Python does not list them. It compares each with one that is to be taken back, though.
    """
    probe = _Probe()
    try:
        atexit.unregister(probe)  # type: ignore[arg-type]
    except Interrupted:
        raise
    except BaseException:  # an object that is called at the end may say itself what it is equal to
        pass
    return probe.compared


class _Probe:
    """What is equal to nothing, and notes what it is compared with."""

    __slots__ = ("compared",)

    def __init__(self) -> None:
        self.compared: list[object] = []

    def __eq__(self, other: object) -> bool:
        self.compared.append(other)
        return False

    __hash__ = None  # type: ignore[assignment]


def name_of(called: Any) -> str:
    """Returns a function's module and name, or its class's where it is no function; nothing of it is asked."""
    while True:
        if issubclass(type(called), functools.partial):
            called = vars(functools.partial)["func"].__get__(called)
        elif type(called) is MethodType:
            called = called.__func__
        else:
            break
    if type(called) is FunctionType:
        module = called.__globals__.get("__name__")
        return f"{module}.{called.__code__.co_qualname}" if type(module) is str else called.__code__.co_qualname
    if type(called) is BuiltinFunctionType:
        return called.__qualname__
    cls = called if issubclass(type(called), type) else type(called)
    module, name = (vars(type)[part].__get__(cls) for part in ("__module__", "__qualname__"))
    return f"{module}.{name}" if type(module) is str and module != "builtins" else f"{name}"
