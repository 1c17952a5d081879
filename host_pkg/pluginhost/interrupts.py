"""A person's Ctrl-C, told apart from a KeyboardInterrupt that a plugin raises."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
import threading
from opcode import opmap
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType, TracebackType
    from typing import Final

_RAISES: Final = [bytes([opmap[name]]) for name in ("RAISE_VARARGS", "RERAISE")]
_LONGEST: Final = 100
"""How many exceptions that led to another are looked at; a plugin may chain any number, and in a circle."""


class Interrupted(KeyboardInterrupt):
    """The process really got SIGINT."""


class _Handler:
    """What raises `Interrupted` where the handler that was there before raises KeyboardInterrupt."""

    def __init__(self, before: Callable[[int, FrameType | None], object]) -> None:
        self._before = before

    def __call__(self, number: int, frame: FrameType | None) -> None:
        try:
            self._before(number, frame)
        except KeyboardInterrupt as exc:
            raise Interrupted from exc


def is_persons(exc: BaseException) -> bool:
    """Returns whether it is a person's Ctrl-C, and no KeyboardInterrupt that a plugin raises of its own accord.

    Only the main thread gets signals. There, a person's comes out of whatever the thread just does, or a handler raises
    it; where any other code did, by a `raise`, that was its own decision. Whoever cleans up after a person's Ctrl-C may
    raise a new one.
    """
    if not issubclass(type(exc), KeyboardInterrupt) or issubclass(type(exc), Interrupted):
        return issubclass(type(exc), Interrupted)
    if threading.current_thread() is not threading.main_thread():
        return False
    handler = _handler()
    chain = [each for each in led_to(exc) if issubclass(type(each), KeyboardInterrupt)]
    if type(handler) is _Handler:
        return any(issubclass(type(each), Interrupted) for each in chain)
    return any(not is_raised(each) or _was_handlers(each, handler) for each in chain)


def is_raised(exc: BaseException) -> bool:
    """Returns whether an exception began with a `raise`, and did not come over the code that ran."""
    entries = _entries(exc)
    if not entries:
        return True
    at = entries[-1].tb_lasti
    found = entries[-1].tb_frame.f_code.co_code[at : at + 1]
    return not found or found in _RAISES  # there is nothing where a plugin made the traceback


def led_to(exc: BaseException) -> list[BaseException]:
    """Returns an exception and those that it was raised from, or while they were handled; the nearest first."""
    found: list[BaseException] = []
    todo = [exc]
    while todo and len(found) < _LONGEST:
        each = todo.pop(0)
        if not any(each is other for other in found):
            found.append(each)
            before = (vars(BaseException)[name].__get__(each) for name in ("__cause__", "__context__"))
            todo += [other for other in before if other is not None]
    return found


def _entries(exc: BaseException) -> list[TracebackType]:
    entries, entry = [], vars(BaseException)["__traceback__"].__get__(exc)
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    return entries


def _was_handlers(exc: BaseException, handler: object) -> bool:
    """Returns whether it was raised because SIGINT has come: by the handler, or by one that is gone by now."""
    codes = [entry.tb_frame.f_code for entry in _entries(exc)]
    # asyncio cancels the main task; it raises when that has ended, and takes its handler away.
    runner: Any = getattr(sys.modules.get("asyncio.runners"), "Runner", None)
    gone = [_Handler.__call__, *([runner.run, runner._on_sigint] if runner else [])]
    own = _code_of(handler)
    return any(codes[-1:] == [each.__code__] for each in gone) or any(code is own for code in codes)


def _code_of(handler: object) -> CodeType | None:
    """Returns the code of a handler, which may be a plugin's: nothing of it is asked that it could answer itself."""
    while type(handler) is functools.partial:
        handler = handler.func
    if type(handler) is MethodType:
        handler = handler.__func__
    if type(handler) is not FunctionType:
        classes = type.__dict__["__mro__"].__get__(type(handler))
        names = (type.__dict__["__dict__"].__get__(cls) for cls in classes)
        handler = next((each["__call__"] for each in names if "__call__" in each), None)
    return handler.__code__ if type(handler) is FunctionType else None


def _handler() -> object:
    try:
        return signal.getsignal(signal.SIGINT)
    except BaseException:  # it compares the handler, which may raise
        return None


@contextlib.contextmanager
def told_apart() -> Iterator[None]:
    """While it lasts, a SIGINT raises `Interrupted`; outside it is KeyboardInterrupt again.

    Whatever else raises KeyboardInterrupt meanwhile is a plugin's doing. Only the main thread gets signals; elsewhere
    there is nothing to do.
    """
    before = _handler()
    is_told = type(before) is _Handler  # a start within a start
    if is_told or threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    signal.signal(signal.SIGINT, _Handler(before))
    try:
        yield
    except Interrupted as exc:
        # Not as a subclass: only for the very class does Python end the process as by the signal.
        raise KeyboardInterrupt().with_traceback(exc.__traceback__) from None
    finally:
        signal.signal(signal.SIGINT, before)
