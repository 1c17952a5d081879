"""What keeps one generation's failures and delays from spreading: its deadlines, its breaker, its count."""

from __future__ import annotations

import contextlib
import math
import sys
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from pluginhost import stubs, watchdog
from pluginhost.abandon import Expired, Workers, unless_given_up
from pluginhost.breaker import Breaker
from pluginhost.errors import (
    Finding,
    PluginCallError,
    PluginFactoryError,
    PluginHostError,
    PluginImportError,
    PluginInitError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType
    from typing import Final, Literal, TypeAlias

    from pluginhost.breaker import BreakerState
    from pluginhost.limits import Limit
    from pluginhost.settings import PluginSettings
    from pluginhost.stubs import Blame, Calls, StubClass
    from pluginhost.survey import Candidate
    from pluginhost.tally import Tally
    from pluginhost.watchdog import Watchdog

    Stage: TypeAlias = Literal["import", "new", "init", "validate"]

_ERRORS: Final[dict[str, type[PluginHostError]]] = {
    "import": PluginImportError,
    "new": PluginFactoryError,
    "init": PluginInitError,
    "validate": PluginInitError,
}


class Contained(Protocol):
    """A plugin, as far as its containment knows it.

    Attributes:
        name: What it is asked for by.
        candidate: What was discovered.
        tally: How its calls went.
    """

    name: str
    candidate: Candidate
    tally: Tally

    def emit(self, topic: str, fields: Mapping[str, object]) -> None:
        """Tells of what happens to it."""


class Containment:
    """What one generation of a plugin is held to, from its import to its end.

    It has no part in a call that succeeds, but for one that runs on a thread of its own or is awaited with a deadline:
    it exchanges the functions that calls go to while the breaker is open, and looks at what calls have written down.
    """

    def __init__(self, of: Contained, settings: PluginSettings, dog: Watchdog, tell: Callable[[Finding], None]) -> None:
        """Makes that of a generation which is about to be made.

        Args:
            of: The plugin.
            settings: What is set for the plugin.
            dog: Who notices what is late.
            tell: Is told of it.
        """
        self._of = of
        self._settings = settings
        self._dog = dog
        self._tell = tell
        self._tally = of.tally
        self._running: dict[int, float] = {}  # since when, by the number of the call
        self._late: set[int] = set()
        self._gone: set[int] = set()  # of other threads than this one, before a fork
        self._own: weakref.WeakSet[PluginCallError] = weakref.WeakSet()
        self._calls: list[tuple[Calls, dict[str, Callable[..., Any]], dict[str, Callable[..., Any]]]] = []
        self._unwatch: Callable[[], object] = int
        self._workers = Workers(of.name)
        self._breaker = Breaker(
            settings.breaker_failures,
            settings.breaker_seconds,
            lambda: self._tally.succeeded(self._inside),
            switch=self._switch,
            tell=self._tell_of_breaker,
            waits=lambda: any(number in self._running for number in self._late),
        )

    @property
    def breaker(self) -> BreakerState:
        """Whether calls are let through."""
        return self._breaker.state

    @property
    def abandoned(self) -> int:
        """How many threads are given up and still run."""
        return self._workers.given_up

    @contextlib.contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Watches one stage of the plugin's start, which the `with` block takes it through.

        Raises:
            PluginHostError: It returned, later than it may.
        """
        code = f"{'init' if name == 'validate' else name}-timeout"
        what = {"import": f"the import of {self._of.candidate.module}", "new": f"{self._of.candidate.factory}()"}
        text, seconds = what.get(name, name), getattr(self._settings, code.replace("-", "_"))

        def late(thread: int) -> None:
            where = self.place(sys._current_frames().get(thread))
            hint = f"it is waited for, and its start fails then; else end the process, and disable {self._of.name}"
            message = f"{text} has not ended within {seconds:g} s{where}"
            self._tell(self._finding(code, message, hint, is_warning=True))
            self._emit_late(stage=name, seconds=seconds, where=where)

        with self._dog.stage(seconds, late) as taken:
            yield
        if (took := taken()) > seconds:
            hint = f"set {code.replace('-', '_')} for {self._of.name}, or tell the author of {self._author}"
            message = f"{text} took {took:.1f} s, and may take {seconds:g} s"
            raise _ERRORS[name](self._finding(code, message, hint))

    def hold(
        self, name: str, function: Callable[..., Any], limit: Limit | None, *, is_coroutine: bool
    ) -> Callable[..., Any]:
        """Returns what stands for one of the plugin's methods: with a deadline of its own, and after its turn.

        Args:
            name: The method's name.
            function: The method.
            limit: How many calls at once there may be.
            is_coroutine: Whether it is `async def`.
        """
        seconds = self._settings.call_timeout
        if is_coroutine:
            held = limit.hold_async(function) if limit else function
            return self._in_time(name, held, seconds) if seconds else held
        if not seconds or self._settings.on_timeout == "report":
            return limit.hold(function) if limit else function
        held = limit.hold(unless_given_up(function)) if limit else function
        return self._or_given_up(name, self._workers.hold(held, seconds), seconds)

    def begin(self, kind: StubClass, calls: Calls) -> None:
        """Has calls counted, watched, and refused while the breaker is open.

        Args:
            kind: The class of the stubs from which they come.
            calls: Where they go.
        """
        seconds = self._settings.call_timeout
        blame, calls.blame = calls.blame, self._judging(calls.blame)
        calls.running = self._running
        self._tally.begin(calls, is_numbered=bool(seconds))
        through = kind.roads(calls)
        refusing: dict[str, Callable[..., Any]] = {}
        for road, (name, function) in through.items():
            make = self._refusing
            if name in kind.coroutines:
                make = self._refusing_async
            elif name in kind.generators:
                make = self._refusing_stream
            refusing[road] = make(name, function, blame)
        if seconds and not self._calls:
            self._unwatch = self._dog.watch(self, time.monotonic() + seconds)

        def enlist(lets_through: bool) -> None:
            functions = {road: function for road, (_, function) in through.items()}
            self._calls.append((calls, functions, refusing))
            self._switch(lets_through)

        self._breaker.locked(enlist)

    def end(self) -> None:
        """Watches no more, and has the plugin's own threads end."""
        self._unwatch()
        self._workers.close()
        for calls, _, _ in self._calls:
            self._tally.end(calls)
        self._calls = []

    def own(self, error: PluginCallError) -> PluginCallError:
        """Returns an error that is this plugin's failure: the call from which it comes out counts as failed."""
        self._own.add(error)
        return error

    def owning(self, blame: Blame) -> Blame:
        """Returns what says whose fault it is before the stub does; what it raises is this plugin's failure."""

        def judge(name: str, exc: BaseException) -> None:
            try:
                blame(name, exc)
            except PluginCallError as error:
                self.own(error)
                raise

        return judge

    def look(self, now: float) -> float:
        """Tells of the calls that are late, and returns when to look again."""
        seconds = self._settings.call_timeout or math.inf
        if self._settings.on_timeout == "abandon":
            seconds += stubs.GRACE  # these have deadlines of their own; what they do not reach is told here
        due = now + seconds
        for number, since in list(self._running.items()):
            if number in self._late or number in self._gone:
                continue
            if now < since + seconds:
                due = min(due, since + seconds)
            else:
                self._overrun(number)
        return due

    def forked(self) -> None:
        """Forgets the calls of other threads, which are not in this process."""
        self._gone = set(self._running)
        self._late = set()

    def _overrun(self, number: int) -> None:
        method, frame = _call(number, self._running)
        where = self.place(frame)
        del frame
        if number not in self._running:
            return  # at this moment
        self._late = {each for each in self._late if each in self._running} | {number}
        self._tally.fail()
        reason = f"{method or 'a call'} has not returned within {self._settings.call_timeout:g} s{where}"
        self._breaker.trip(reason)
        hint = "no thread can be ended from outside"
        hint += "" if self._settings.on_timeout == "abandon" else '; with on_timeout = "abandon" its callers may go on'
        message = f"{reason}; it is waited for, and other calls are refused meanwhile"
        self._tell(self._finding("call-timeout", message, f"{hint}; tell the author of {self._author}"))
        self._emit_late(method=method, seconds=self._settings.call_timeout, where=where)

    def _in_time(self, name: str, function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        async def call(*args: Any, **named: Any) -> Any:
            asyncio: Any = sys.modules.get("asyncio")
            if asyncio is None or not asyncio._get_running_loop():  # another library's loop: it is told, no more
                return await function(*args, **named)
            try:
                async with asyncio.timeout(seconds) as scope:
                    return await function(*args, **named)
            except TimeoutError as exc:
                if not scope.expired():
                    raise  # the plugin's own
                hint = f"tell the author of {self._author}, or set call_timeout for {self._of.name}"
                what = f"{name} did not return within {seconds:g} s, and was cancelled"
                self._emit_late(method=name, seconds=seconds, where="")
                raise self._failed(name, self._finding("call-timeout", what, hint)) from exc

        return call

    def _or_given_up(self, name: str, function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            try:
                return function(*args, **named)
            except Expired as exc:
                where, threads = self.place(exc.frame), exc.given_up
            many = f"{threads} threads of this plugin are" if threads > 1 else "one thread of this plugin is"
            what = f"{name} did not return within {seconds:g} s{where}; {many} given up and still run"
            what += "" if threads > 1 else "s"
            hint = f"a thread ends when the plugin returns, or with the process; tell the author of {self._author}"
            finding = self._finding("call-timeout", what, hint)
            self._tell(finding)
            self._emit_late(method=name, seconds=seconds, where=where)
            raise self._failed(name, finding)

        return call

    def _judging(self, blame: Blame) -> Blame:
        """Returns what says whose fault it is, and counts what is the plugin's."""

        def judge(name: str, exc: BaseException) -> None:
            try:
                blame(name, exc)
            except PluginCallError as error:
                self._fail(self.own(error))
                raise
            if self._is_own(exc):
                self._fail(exc)

        return judge

    def _fail(self, error: BaseException) -> None:
        if self._late and self._is_late():
            return  # counted when it became late
        if isinstance(error, PluginCallError) and error.finding.code == "channel-lost":
            self._tally.fail()  # its process has ended: who looks after that has a measure of its own
            return
        number = self._settings.breaker_failures
        reason = self._reason(error)
        self._breaker.fail(f"{number} of them failed in a row, the last: {reason}" if number > 1 else reason)
        self._tally.fail()

    def _is_own(self, exc: BaseException) -> bool:
        return type(exc) is PluginCallError and exc in self._own  # a plugin's subclass may raise when it is compared

    def _is_late(self) -> bool:
        """Returns whether the call in which this thread is has been told to be late."""
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if (number := _number(frame, self._running)) is not None:
                return number in self._late
            frame = frame.f_back
        return False

    def _refusing(self, name: str, function: Callable[..., Any], blame: Blame) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            trial = self._admit(name or args[0])
            if not trial:
                return function(*args, **named)
            try:
                returned = function(*args, **named)
            except BaseException as exc:
                self._settle(trial, partial(blame, name or args[0]), exc)
                raise
            self._breaker.settle(trial)
            return returned

        return call

    def _refusing_async(self, name: str, function: Callable[..., Any], blame: Blame) -> Callable[..., Any]:
        async def call(*args: Any, **named: Any) -> Any:
            trial = self._admit(name)
            if not trial:
                return await function(*args, **named)
            try:
                returned = await function(*args, **named)
            except BaseException as exc:
                self._settle(trial, partial(blame, name), exc)
                raise
            self._breaker.settle(trial)
            return returned

        return call

    def _refusing_stream(self, name: str, function: Callable[..., Any], blame: Blame) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            if trial := self._admit(name):
                self._breaker.close(trial)  # nobody knows when its consumer will have done
            return function(*args, **named)

        return call

    def _admit(self, method: str) -> int:
        """Returns the number of the trial that a call is; 0 when all calls may pass.

        Raises:
            PluginCallError: The breaker is open.
        """
        trial = self._breaker.admit()
        if trial is not None:
            return trial
        self._tally.refuse()
        left, reason = self._breaker.left, self._breaker.reason
        when = f"for {left:.1f} s more" if left else "until that has returned"
        if self._breaker.state == "half-open":
            when = "until the one that is let through has returned"
        hint = f"it is tried again then; if it goes on like this: manager.stop({self._of.name!r})"
        raise self._error(method, self._finding("breaker-open", f"calls are refused {when}: {reason}", hint))

    def _failed(self, method: str, finding: Finding) -> PluginCallError:
        return self.own(self._error(method, finding))

    def _error(self, method: str, finding: Finding) -> PluginCallError:
        version = self._of.candidate.distribution.version
        return PluginCallError(finding, plugin=self._of.name, version=version, method=method)

    def _settle(self, trial: int, blame: Callable[[BaseException], None], exc: BaseException) -> None:
        """Tells the breaker how the trial went; raises what the caller is told."""
        try:
            blame(exc)
        except PluginCallError as error:
            self.own(error)
            self._breaker.settle(trial, f"the one that was let through failed: {self._reason(error)}")
            raise
        if self._is_own(exc):
            self._breaker.settle(trial, f"the one that was let through failed: {self._reason(exc)}")
        elif issubclass(type(exc), Exception):
            self._breaker.settle(trial)
        else:  # its caller has gone away
            self._breaker.release(trial)

    def _switch(self, lets_through: bool) -> None:
        for calls, through, refusing in self._calls:
            for road, function in (through if lets_through else refusing).items():
                setattr(calls, road, function)

    def _inside(self) -> int:
        return sum(len(calls.inside) for calls, _, _ in self._calls)

    def _tell_of_breaker(self, state: BreakerState, reason: str) -> None:
        self._of.emit("plugin.breaker", {"state": state, "reason": reason})

    def _emit_late(self, *, stage: str = "", method: str = "", seconds: float | None, where: str) -> None:
        fields = {"stage": stage or "call", "method": method, "seconds": seconds, "where": where.removeprefix(", in ")}
        self._of.emit("plugin.late", fields)

    def place(self, frame: FrameType | None) -> str:
        """Returns where a thread is in the plugin, as a message ends."""
        package = self._of.candidate.module.partition(".")[0]
        return watchdog.place(frame, package)

    def _reason(self, error: BaseException) -> str:
        return error.finding.message.removeprefix(f"{self._of}: ") if isinstance(error, PluginHostError) else ""

    @property
    def _author(self) -> str:
        return self._of.candidate.distribution.name

    def _finding(self, code: str, what: str, hint: str, *, is_warning: bool = False) -> Finding:
        path = self._of.candidate.distribution.info
        return Finding(code, f"{self._of}: {what}", hint, path, "warning" if is_warning else None)


def _number(frame: FrameType, running: dict[int, float]) -> int | None:
    """Returns the number of the call that a frame is of, if it is a stub's and these are its calls."""
    if not frame.f_code.co_filename.startswith(stubs.FILE):
        return None
    names = frame.f_locals
    return names.get("_number") if names.get("_running") is running else None


def _call(number: int, running: dict[int, float]) -> tuple[str, FrameType | None]:
    """Returns the method and the innermost frame of a call; neither, of a coroutine that just waits."""
    for inner in sys._current_frames().values():
        frame: FrameType | None = inner
        while frame is not None:
            if _number(frame, running) == number:
                return frame.f_code.co_name, inner
            frame = frame.f_back
    return "", None
