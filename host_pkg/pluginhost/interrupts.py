"""A person's Ctrl-C, told apart from a KeyboardInterrupt that a plugin raises."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class Interrupted(KeyboardInterrupt):
    """The process really got SIGINT."""


def is_persons(exc: BaseException) -> bool:
    """Returns whether it is a person's Ctrl-C; where these are not told apart, whether it may be."""
    if issubclass(type(exc), Interrupted) or not issubclass(type(exc), KeyboardInterrupt):
        return issubclass(type(exc), Interrupted)
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and not getattr(signal.getsignal(signal.SIGINT), "tells_apart", False)


@contextlib.contextmanager
def told_apart() -> Iterator[None]:
    """While it lasts, a SIGINT raises `Interrupted`; outside it is KeyboardInterrupt again.

    Whatever else raises KeyboardInterrupt meanwhile is a plugin's doing. Only the main thread gets signals; elsewhere
    there is nothing to do.
    """
    before = signal.getsignal(signal.SIGINT)
    is_told = getattr(before, "tells_apart", False)  # a start within a start
    if is_told or threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        try:
            before(number, frame)
        except KeyboardInterrupt as exc:
            raise Interrupted from exc

    interrupt.tells_apart = True  # type: ignore[attr-defined]
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Interrupted as exc:
        # Not as a subclass: only for the very class does Python end the process as by the signal.
        raise KeyboardInterrupt().with_traceback(exc.__traceback__) from None
    finally:
        signal.signal(signal.SIGINT, before)
