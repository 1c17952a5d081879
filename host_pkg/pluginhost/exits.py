"""The process's end is bounded even when a plugin hangs in it, and keeps the application's exit code.

Once the main thread has run out, Python (1) calls what `threading._register_atexit` was given, which is where
`concurrent.futures` joins its workers, (2) joins all other threads that are no daemons and (3) calls what `atexit` was
given. A plugin can hang each of them. The application may take hours there, and is never broken off:

- A thread, or a function on the main thread's stack, is a plugin's if the outermost frame that is neither of Python's
  library nor of this package is the plugin's. What the application calls of a plugin is the application's.
- A join is broken off only when all threads that it can still wait for are plugins'.

Plugins are shut down when the end begins, or as soon as the application's own threads, which may need them, are over.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pluginhost.errors import describe, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

_POLL: Final = 0.05
_TRIES: Final = 3
_NO_NEW_THREADS: Final = (3, 12) <= sys.version_info < (3, 12, 2)
"""Whether Python refuses to start a thread as soon as its end begins, rather than once the threads are joined."""


class BrokenOff(BaseException):
    """What a plugin did in the process's end took too long."""


class _Hang(NamedTuple):
    within: FrameType  # the very call that does not return
    what: str
    guard: Guard
    is_join: bool


class Guard:
    """What one manager has to do with the process's end; it is held until then.

    Attributes:
        closes: Shuts down the manager's plugins; a second call does nothing.
        is_of_plugin: Whether a module, by its name, is a plugin's. It must stay true after `closes`.
        tell: Is given what was broken off.
        grace: How long a plugin may take, in seconds.
    """

    __slots__ = ("_claimed", "closes", "grace", "is_of_plugin", "tell")

    def __init__(
        self,
        closes: Callable[[], None],
        is_of_plugin: Callable[[str], bool],
        tell: Callable[[str], None],
        grace: float,
    ) -> None:
        self.closes = closes
        self.is_of_plugin = is_of_plugin
        self.tell = tell
        self.grace = grace
        self._claimed: list[tuple[threading.Thread, str]] = []

    def claim(self, threads: Iterable[threading.Thread], of: str) -> None:
        """These threads are a plugin's, unless they run what is the application's: it may have begun one meanwhile."""
        _THE_END.come_first()  # before what the plugin registered meanwhile
        alive = set(map(id, threading.enumerate()))
        claimed = [*self._claimed, *((thread, of) for thread in threads)]
        self._claimed = [(thread, plugin) for thread, plugin in claimed if id(thread) in alive]

    def claimed_for(self, thread: threading.Thread) -> str:
        """Returns the plugin for which the thread was claimed; empty when it was not."""
        return next((plugin for claimed, plugin in self._claimed if thread is claimed), "")


class _End:
    """The process's one end, watched for all guards."""

    def __init__(self) -> None:
        self._guards: list[Guard] = []
        self._process = 0
        self._begun = threading.Event()
        self._is_closing = self._is_closed = False
        self._due: FrameType | None = None  # what the next signal may break off
        self._was_dropped = self._was_told = False
        self._tries = 0
        self._broken_off = 0
        self._main = 0
        self._signal: int | None = None
        self._handler_before: object = None

    def add(self, guard: Guard) -> None:
        """From now on the guard takes part."""
        process, self._process = self._process, os.getpid()
        if process != self._process:
            self._guards.clear()  # in a child of fork: these are its parent's
        self._guards.append(guard)
        if process == self._process:
            return
        if not process:
            with contextlib.suppress(RuntimeError):  # the end has begun
                # It joins its workers in a function of its own, and what was registered last is called first.
                import concurrent.futures.thread  # noqa: F401

                self.come_first()
            atexit.register(self._close)
        if _NO_NEW_THREADS:
            self._start()

    def come_first(self) -> None:
        """Begins with the end before what has been registered up to now; of several beginnings the first counts."""
        registered = getattr(threading, "_threading_atexits", [])
        if registered and getattr(registered[-1], "func", None) == self._begin:
            return
        with contextlib.suppress(RuntimeError):  # the end has begun
            getattr(threading, "_register_atexit", atexit.register)(self._begin)

    def _start(self) -> None:
        # Not as a `Thread`: where it must begin early, it is none of those that an application counts.
        with contextlib.suppress(RuntimeError):  # no threads in this interpreter, or no more of them
            _thread.start_new_thread(self._watch, ())

    def _begin(self) -> None:
        if self._process != os.getpid() or self._begun.is_set():
            return  # a child of fork: the plugins are its parent's, and multiprocessing ends it without atexit
        if threading.current_thread() is threading.main_thread():
            self._arm()  # before the plugins' shutdown, which may run in this very thread
        if not any(self._is_busy_application(thread) for thread in _joined()):
            self._close()

    def _arm(self) -> None:
        """Begins to watch the main thread."""
        if hasattr(signal, "pthread_kill"):
            try:
                self._handler_before = signal.signal(signal.SIGURG, self._on_signal)
            except ValueError:  # of a subinterpreter, whose end is not the process's
                return
            self._signal = signal.SIGURG
        # Not by what `threading` says, which a library for green threads replaces.
        here = sys._getframe()
        self._main = next((ident for ident, frame in sys._current_frames().items() if frame is here), 0)
        unraisable_before = sys.unraisablehook

        def unraisable(what: sys.UnraisableHookArgs) -> None:
            if what.exc_type is BrokenOff:
                self._was_dropped = True
            else:
                unraisable_before(what)

        sys.unraisablehook = unraisable
        self._begun.set()
        if not _NO_NEW_THREADS:
            self._start()

    def _close(self) -> None:
        if self._is_closing or self._is_closed or self._process != os.getpid():
            return
        self._is_closing = True
        for guard in reversed(self._guards):
            try:
                guard.closes()
            except BaseException as exc:  # else Python would join no thread of the application
                self._tell(guard, f"plugins could not be shut down: {describe(exc)}")
        self._is_closing, self._is_closed = False, True

    def _watch(self) -> None:
        self._begun.wait()
        within: FrameType | None = None
        since = 0.0
        while True:
            time.sleep(_POLL)
            hang = self._hang(sys._current_frames().get(self._main))
            now, grace = time.monotonic(), self._grace()
            if hang is None or hang.within is not within or self._was_dropped:
                within, since = hang.within if hang else None, now
                self._was_dropped, self._was_told, self._due, self._tries = False, False, None, 0
            if hang is not None and hang.is_join and not self._is_closed:
                since = now  # its threads may end when the plugin is shut down
                self._send() if self._signal else self._close()
            elif hang is not None and now - since >= grace:
                if self._tries == _TRIES or not self._signal:
                    self._tell(hang.guard, f"{hang.what} cannot be broken off: the process is ended at once")
                    _end_at_once()
                self._tries += 1
                since = now - grace + min(grace, 1.0)  # the next try is sooner
                self._due = within
                self._send()

    def _grace(self) -> float:
        """Returns how long the next hang may take: half of what the one before had, so that all have a bound."""
        return max(guard.grace for guard in self._guards) / float(1 << min(self._broken_off, 5))

    def _send(self) -> None:
        if self._signal and self._main:
            signal.pthread_kill(self._main, self._signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # The main thread may have come on since the signal was sent.
        hang = self._hang(frame)
        if hang is None:
            if callable(self._handler_before):
                self._handler_before(number, frame)
        elif hang.is_join and not self._is_closed:
            self._close()
        elif hang.within is self._due:
            self._due = None
            if not self._was_told:  # the first signal may have been sent a while ago
                self._was_told = True
                self._tell(
                    hang.guard, f"{hang.what} held up the process's end for {self._grace():g} s: it is broken off"
                )
                self._broken_off += 1
            else:
                _raise_at_next_line(frame)  # it catches everything
            raise BrokenOff

    def _tell(self, guard: Guard, text: str) -> None:
        with contextlib.suppress(BaseException):  # of the application; it must not change how the process ends
            guard.tell(escape(text, limit=700))

    def _hang(self, frame: FrameType | None) -> _Hang | None:
        """Returns what of a plugin the main thread waits for, if it waits for nothing else."""
        stack = _stack(frame)
        for module, each in stack:
            if guard := self._owner(module):
                what = f"the function {each.f_code.co_qualname} of {module}"
                return _Hang(each, what, guard, is_join=False)
            if not _is_transparent(module):
                return None
        if self._is_closing or not stack or not _is(stack[0], "threading", "_shutdown"):
            return None
        threads = [(thread, self._owner_of(thread)) for thread in _joined()]
        owners = [guard for _, guard in threads if guard]
        if not threads or len(owners) < len(threads):
            return None
        names = ", ".join(self._described(thread) for thread, _ in threads)
        return _Hang(stack[0][1], f"a plugin's thread {names}", owners[0], is_join=True)

    def _owner(self, module: str) -> Guard | None:
        with contextlib.suppress(Exception):  # it would come out of what the main thread just does
            return next((guard for guard in self._guards if guard.is_of_plugin(module)), None) if module else None
        return None

    def _owner_of(self, thread: threading.Thread) -> Guard | None:
        claimed = next((guard for guard in self._guards if guard.claimed_for(thread)), None)
        stack = _stack_of(thread)
        # While it is read the thread runs on, and a frame that it left knows no longer who called it.
        if not stack or not _is(stack[0], "threading", "_bootstrap"):
            return claimed
        outermost = next((module for module, _ in stack if self._owner(module) or not _is_transparent(module)), "")
        return self._owner(outermost) if outermost else claimed

    def _is_busy_application(self, thread: threading.Thread) -> bool:
        if self._owner_of(thread):
            return False
        stack = _stack_of(thread)
        return not stack or not _is(stack[-1], "concurrent.futures.thread", "_worker")  # that one waits for its end

    def _described(self, thread: threading.Thread) -> str:
        stack = _stack_of(thread)
        at = next(((module, frame) for module, frame in stack if self._owner(module)), stack[-1] if stack else None)
        name = getattr(thread, "_name", "")  # not what a subclass says
        plugin = next((plugin for guard in self._guards if (plugin := guard.claimed_for(thread))), "")
        name += plugin and f" of {plugin}"
        return f"{name} (in {at[1].f_code.co_qualname} of {at[0]})" if at else name


_THE_END: Final = _End()  # of the process, of which there is one however many managers there are


def guard(
    closes: Callable[[], None], is_of_plugin: Callable[[str], bool], tell: Callable[[str], None], grace: float = 2.0
) -> Guard:
    """Returns what guards the process's end from now on; the arguments are the guard's attributes."""
    made = Guard(closes, is_of_plugin, tell, grace)
    _THE_END.add(made)
    return made


def _raise_at_next_line(frame: FrameType | None) -> None:
    """What catches an exception in these frames gets another where it goes on."""

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            raise BrokenOff
        return trace

    while frame is not None:
        frame.f_trace = trace
        frame = frame.f_back
    sys.settrace(trace)  # Python takes it away when it has raised


def _end_at_once() -> None:
    """Ends the process past what hangs; Python keeps the exit code to itself, so it is as good as can be known."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(1 if getattr(sys, "last_exc", getattr(sys, "last_value", None)) is not None else 0)


def _joined() -> list[threading.Thread]:
    """Returns the threads that Python waits for before it ends."""
    aside = (threading.main_thread(), threading.current_thread())
    return [thread for thread in threading.enumerate() if not any(thread is each for each in aside) and _waits(thread)]


def _waits(thread: threading.Thread) -> bool:
    try:
        if not thread.daemon:
            return True
    except Exception:  # a plugin's subclass says anything
        return True
    stack = _stack_of(thread)  # of a pool the workers are joined even if they are daemons, as a daemon's pool has them
    return any(_is(entry, "concurrent.futures.thread", "_worker") for entry in stack)


def module_of(frame: FrameType) -> str:
    """Returns the name of the module whose code a frame runs; a plugin's may have anything there, and then nothing."""
    name = dict.get(frame.f_globals, "__name__")
    return name if type(name) is str else ""


def _stack(frame: FrameType | None) -> list[tuple[str, FrameType]]:
    """Returns each frame with its module's name, the outermost first."""
    stack = []
    while frame is not None:
        stack.append((module_of(frame), frame))
        frame = frame.f_back
    return stack[::-1]


def _stack_of(thread: threading.Thread) -> list[tuple[str, FrameType]]:
    ident = getattr(thread, "_ident", None)
    return _stack(sys._current_frames().get(ident)) if type(ident) is int else []


def _is(entry: tuple[str, FrameType], module: str, function: str) -> bool:
    return entry[0] == module and entry[1].f_code.co_name == function


def _is_transparent(module: str) -> bool:
    """Returns whether a module only calls what others gave it."""
    top = module.partition(".")[0]
    return top in sys.stdlib_module_names or top == __name__.partition(".")[0]
