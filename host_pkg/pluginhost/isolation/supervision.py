"""Who looks after a plugin in processes of its own: child after child, so that its callers find one that serves."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from pluginhost import forks
from pluginhost.errors import Finding, PluginCallError, PluginHostError, RemoteFailure, describe
from pluginhost.isolation import restarts
from pluginhost.isolation.restarts import Deaths
from pluginhost.settings import DAY
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pluginhost.events import About
    from pluginhost.host import PluginHost
    from pluginhost.loading import Watched
    from pluginhost.settings import PluginSettings
    from pluginhost.survey import Candidate
    from pluginhost.watchdog import Watchdog

T = TypeVar("T")


class Reports(NamedTuple):
    """Who is told what of a plugin that has a process of its own.

    Attributes:
        about: Which plugin it is, or which instance of one.
        tell: Of what goes wrong.
        emit: Of what happens, by topic.
        give_up: When it has failed for good: what ends it, and the reason.
    """

    about: About
    tell: Callable[[Finding], None]
    emit: Callable[[str, Mapping[str, object]], None]
    give_up: Callable[[Callable[[], None], PluginHostError], None]


class Pulse(Protocol):
    """Whether a child gives signs of life; the manager's watchdog looks."""

    def look(self, now: float) -> float:
        """Kills it if it gave none for long, and returns when to look again."""

    def forked(self) -> None:
        """Looks no more: the child is the other process's."""

    def close(self) -> None:
        """Gives back what it holds; for when nobody looks any more."""


class Child(Protocol):
    """A process that has made a plugin, as it is looked after; its wire is its own affair, and that of its callers.

    Attributes:
        pid: Its process id.
        peer: What it is called in errors.
        ended: Set once it has ended, and what became of it is known.
        reason: What became of it; empty while it runs.
    """

    @property
    def pid(self) -> int: ...

    peer: str
    ended: threading.Event
    reason: str

    def init(self, host: PluginHost, seconds: float) -> None:
        """Calls the plugin's `init`, for which it has a host of its own.

        Raises:
            RemoteFailure: It did not return in time, or raised what is of the other side alone.
        """

    def validate(self, seconds: float) -> None:
        """Calls the plugin's `validate`; likewise."""

    def shutdown(self, seconds: float) -> None:
        """Calls the plugin's `shutdown`; likewise."""

    def call(self, method: Any, message: Any, timeout: float | None) -> Any:
        """Returns the reply to a call.

        Raises:
            PluginCallError: None came: `channel-lost` when it is gone, `call-timeout` when it takes too long.
        """

    def stream(
        self, method: Any, message: Any, timeout: float | None, failed: Callable[[PluginCallError], Exception]
    ) -> Any:
        """Returns the reply to a call that is a stream.

        Args:
            method: What is called.
            message: Its arguments.
            timeout: Seconds that each item may take.
            failed: Returns what the stream's reader is told of an item that did not come.
        """

    async def call_async(self, method: Any, message: Any, timeout: float | None) -> Any:
        """Returns the reply to a call, awaited."""

    async def stream_async(
        self, method: Any, message: Any, timeout: float | None, failed: Callable[[PluginCallError], Any]
    ) -> Any:
        """Returns the reply to a call that is a stream, awaited; so is what `failed` returns."""

    def is_callers_doing(self, message: Any, exc: PluginCallError) -> bool:
        """Returns whether a call failed by what it was to bring, and did not reach the plugin."""

    def told(self, exc: PluginCallError) -> PluginCallError:
        """Returns what a caller is told: where the child is gone, what became of it."""

    def pulse(self, flag: Callable[[float], None]) -> Pulse:
        """Returns what sees whether it gives signs of life.

        Args:
            flag: Called with the seconds for which it has given none.

        Raises:
            PluginCallError: It is gone.
        """

    def on_end(self, let_go: Callable[[], None], act: Callable[[], None]) -> None:
        """Has something done once it has ended.

        Args:
            let_go: Called before any caller is told of the end, so that what is called next goes elsewhere.
            act: Called then, on a thread that has nothing else to do.
        """

    def kill(self, why: str) -> None:
        """Ends it and its group at once."""

    def end(self) -> None:
        """Asks it to end, waits, and kills what is left of it and its group."""


C = TypeVar("C", bound=Child)
C_co = TypeVar("C_co", bound=Child, covariant=True)


class Begin(Protocol[C_co]):
    """How a child comes to be."""

    def __call__(
        self, born: Callable[[Any], None], watched: Watched | None = None, reached: Callable[[], object] = int
    ) -> C_co:
        """Returns a child that has made the plugin.

        Args:
            born: Told of the child as soon as there is one.
            watched: Called with `import` and with `new`, where there is such a thing: returns what watches how long it
                takes.
            reached: Called between the two.

        Raises:
            PluginHostError: It did not come to serve, and has ended.
        """


class Supervisor(Generic[C]):
    """A plugin's children, one after the other; it is what the plugin's object in the host calls.

    Attributes:
        known: The exceptions that arrive as themselves: those of the API.
        is_judged: As `remote.Peer` has it.
    """

    def __init__(
        self,
        candidate: Candidate,
        settings: PluginSettings,
        reports: Reports,
        dog: Watchdog,
        begin: Begin[C],
        known: tuple[type[BaseException], ...] = (),
    ) -> None:
        """Makes it; `load` starts the first child.

        Args:
            candidate: What was admitted.
            settings: What is set for the plugin.
            reports: Who is told what of it.
            dog: Who looks whether children live.
            begin: How each of them comes to be.
            known: The exceptions that arrive as themselves.
        """
        self.known, self.is_judged = known, True
        self._of = reports
        self._candidate, self._settings, self._dog, self._begin = candidate, settings, dog, begin
        self._timeout = settings.call_timeout
        self._host: PluginHost | None = None
        self._child: C | None = None  # the one that serves
        self._spare: C | None = None
        self._changed = threading.Condition()
        self._deaths = Deaths()
        self._refusal: Finding | None = None  # why calls are refused for the time being, or for good
        self._is_over = False
        self._late = 0  # calls that took too long, one after the other
        self._children: set[C] = set()  # all that live: what serves, what stands by, what is being made
        self._undo: dict[C, contextlib.ExitStack] = {}
        self._menders: set[int] = set()  # the threads that start the next child
        self._left: tuple[object, ...] = ()
        forks.tell(self)

    def load(self, watched: Watched | None = None, reached: Callable[[], object] = int) -> None:
        """Starts the first child and has it make the plugin.

        Args:
            watched: As for `Begin`.
            reached: As for `Begin`.

        Raises:
            PluginHostError: It cannot be started, is not of the host's kind, or the plugin could not be made.
        """
        self._child = self._begin(self._born, watched, reached)

    def init(self, host: PluginHost) -> None:
        """Calls the plugin's `init` in the child; its host's services answer the child from then on."""
        self._host = host
        assert self._child is not None
        self._initialise(self._child, host.again())

    def validate(self) -> None:
        """Calls the plugin's `validate` in the child, which is looked after from then on."""
        child, seconds = self._child, self._settings.init_timeout
        assert child is not None
        if self._stage(child, child.validate, "validate", seconds):
            self._attend(child)
            self._stand_by()

    def shutdown(self) -> None:
        """Calls the plugin's `shutdown` in the child; where none lives, there is nothing to shut down."""
        with self._changed:
            self._is_over = True
            child = self._child
            self._changed.notify_all()
        if child is not None and not child.ended.is_set():
            self._stage(child, child.shutdown, "shutdown", DAY)

    def end(self) -> None:
        """Ends what children there are; done twice, it does nothing more."""
        with self._changed:
            self._is_over = True
            serving, children = self._child, set(self._children)
            self._child = self._spare = None
            hint = f"manager.start({self._of.about.plugin!r})"
            self._refusal = Finding("plugin-stopped", f"{self._of.about.text} does not run", hint)
            self._changed.notify_all()
        for child in children:
            if child is not serving:
                child.kill("it is not needed any more")
        for child in children:
            self._end(child)

    def call(self, method: Any, message: Any) -> Any:
        """Returns the reply to a call."""
        child = self._child or self._serving()
        try:
            reply = child.call(method, message, self._timeout)
        except PluginCallError as exc:
            error = self._failed(child, message, exc)
            if not _may_be_repeated(method, exc):
                raise error from exc
            again = self._serving()
            with self._translated(again, message):
                return again.call(method, message, self._timeout)
        if self._late:
            self._late = 0
        return reply

    def stream(self, method: Any, message: Any) -> Any:
        """Returns the reply to a call that is a stream."""
        child = self._child or self._serving()
        with self._translated(child, message):
            return child.stream(method, message, self._timeout, lambda exc: self._failed(child, message, exc))

    async def call_async(self, method: Any, message: Any) -> Any:
        """Returns the reply to a call, awaited."""
        child = await self._serving_async()
        try:
            reply = await child.call_async(method, message, self._timeout)
        except PluginCallError as exc:
            error = await _elsewhere(self._failed, child, message, exc)
            if not _may_be_repeated(method, exc):
                raise error from exc
            again = await self._serving_async()
            try:
                return await again.call_async(method, message, self._timeout)
            except PluginCallError as last:
                raise await _elsewhere(self._failed, again, message, last) from last
        self._late = 0
        return reply

    async def stream_async(self, method: Any, message: Any) -> Any:
        """Returns the reply to a call that is a stream, awaited."""
        child = await self._serving_async()

        def failed(exc: PluginCallError) -> Any:
            return _elsewhere(self._failed, child, message, exc)

        try:
            return await child.stream_async(method, message, self._timeout, failed)
        except PluginCallError as exc:
            raise await failed(exc) from exc

    def serving(self) -> C:
        """Returns the child that serves, once there is one.

        Raises:
            PluginCallError: There is none, and for how long.
        """
        return self._child or self._serving()

    async def _serving_async(self) -> C:
        child = self._child
        return await _elsewhere(self._serving) if child is None else child

    def forked(self) -> None:
        """Leaves the children alone: this process is a copy of their host, and they answer the other one."""
        # Nothing of them is closed here, nor collected: that would end what the other process uses, too.
        self._left = self._child, self._spare, self._children, self._undo
        self._changed = threading.Condition()
        self._child, self._spare, self._children, self._undo = None, None, set(), {}
        self._is_over = True
        of = self._of.about
        what = f"{of.text}: its process belongs to the process {os.getppid()}, from which this one was forked"
        self._refusal = Finding("plugin-stopped", what, "make a PluginManager in each process, after the fork")

    def _born(self, child: C) -> None:
        """Takes down that a child lives, which is ended when the plugin is."""
        with self._changed:
            self._children = {each for each in self._children if not each.ended.is_set()} | {child}
            if self._is_over:
                child.kill("it is not needed any more")

    def _initialise(self, child: C, host: PluginHost) -> None:
        """Gives a child its host, and calls the plugin's `init` there."""
        undo = self._undo[child] = contextlib.ExitStack()
        undo.callback(host.revoke)
        self._stage(child, lambda seconds: child.init(host, seconds), "init", self._settings.init_timeout)

    def _stage(self, child: C, call: Callable[[float], None], name: str, seconds: float) -> bool:
        """Has a child call `init`, `validate` or `shutdown`, and returns whether it did in time.

        One that takes too long is killed; who watches the stage tells of that.
        """
        try:
            call(seconds)
        except RemoteFailure as exc:
            if exc.code != "call-timeout":
                raise
            child.kill(f"{name} took longer than {seconds:g} s")
            child.ended.wait()
            return False
        return True

    def _attend(self, child: C) -> None:
        """Lets calls go to a child, and looks after it from now on."""
        undo = self._undo.get(child) or contextlib.ExitStack()  # of one that is ended at this moment there is none
        with contextlib.suppress(PluginCallError):  # it has ended: of that is told below
            pulse = child.pulse(lambda silent: self._flag(child, silent))
            undo.callback(pulse.close)
            undo.callback(self._dog.watch(pulse, time.monotonic()))
        with self._changed:
            if not self._is_over:
                self._child, self._refusal = child, None
                self._changed.notify_all()
        if self._is_over:
            undo.close()
            return
        child.on_end(lambda: self._let_go(child), lambda: self._bury(child))

    def _flag(self, child: C, silent: float) -> None:
        hint = "it holds the interpreter, is stopped, or the machine is overloaded"
        message = f"{child.peer} has given no sign of life for {silent:.1f} s; it is killed when it gives none for 10 s"
        self._of.tell(Finding("child-silent", message, hint, severity="warning"))

    def _let_go(self, child: C) -> None:
        """Has calls wait for the next child, before anybody is told that this one has ended."""
        with self._changed:
            if not self._is_over and self._child is child:
                self._child = None

    def _bury(self, child: C) -> None:
        """Starts another child in place of one that has ended; called on a thread that has nothing else to do."""
        self._let_go(child)  # it may have ended before anybody was to be told
        if self._child is child:
            return  # it ended while the plugin was being stopped
        self._tidy(child)
        self._menders.add(me := threading.get_ident())
        try:
            self._mend(child.reason)
        finally:
            self._menders.discard(me)

    def _mend(self, reason: str) -> None:
        """Starts another child in place of one that has ended for some reason."""
        while not self._is_over and self._is_counted(reason):
            try:
                fresh = self._next()
            except Exception as exc:
                reason = f"the next could not be made: {why(exc)}"
                continue
            self._attend(fresh)
            if self._is_over:
                self._end(fresh)
                return
            _told(self._of.emit, "plugin.restarted", {"pid": fresh.pid, "reason": reason})
            self._stand_by()
            return

    def _is_counted(self, reason: str) -> bool:
        """Counts a death, and returns whether another child is to be started: now, the pause being over."""
        of, path = self._of, self._candidate.distribution.info
        deaths = self._deaths.add(time.monotonic())
        _told(of.emit, "plugin.died", {"reason": reason, "deaths": deaths})
        pause = restarts.pause(deaths)
        if pause is None:
            often = f"{deaths} times within {restarts.WINDOW_SECONDS:.0f} s"
            what = f"{of.about.text}: its process ended {often}, the last time: {reason}"
            author = self._candidate.distribution.name
            hint = f"mend it, then: manager.start({of.about.plugin!r}); tell the author of {author}"
            error = PluginCallError(Finding("child-failing", what, hint, path))
            self._refuse(error.finding)
            of.give_up(self.end, error)
            return False
        when = f"in {pause:.1f} s" if pause else "at once"
        what = f"{of.about.text}: {reason}; it is started again {when}"
        _told(of.tell, Finding("child-died", what, "nothing, unless it goes on like this", path))
        if pause:
            self._refuse(Finding("child-restarting", what, "call again then", path))
        with self._changed:
            self._changed.wait_for(lambda: self._is_over, pause)
            if not self._is_over:
                self._refusal = None
            return not self._is_over

    def _next(self) -> C:
        """Returns a child that is ready to serve."""
        spare, self._spare = self._spare, None
        fresh = spare if spare is not None and not spare.ended.is_set() else self._begin(self._born)
        try:
            assert self._host is not None
            self._initialise(fresh, self._host.again())
            self._stage(fresh, fresh.validate, "validate", self._settings.init_timeout)
        except BaseException:
            self._end(fresh)
            raise
        return fresh

    def _stand_by(self) -> None:
        """Has a second child made, where the plugin is critical: it makes the plugin, and waits."""
        if not self._settings.critical or self._is_over:
            return

        def make() -> None:
            try:
                spare = self._begin(self._born)
            except Exception as exc:  # the next death is mended without one
                if not self._is_over:
                    self._of.tell(self._no_spare(exc))
                return
            with self._changed:
                if not self._is_over and self._spare is None:
                    self._spare = spare
                    return
            self._end(spare)

        HostThread(target=make, name=f"pluginhost: a spare for {self._of.about.text}", daemon=True).start()

    def _serving(self) -> C:
        """Returns the child that serves, once there is one.

        Raises:
            PluginCallError: There is none, and for how long.
        """
        until = None if self._timeout is None else time.monotonic() + self._timeout
        with self._changed:
            while (child := self._child) is None:
                if self._refusal is not None:
                    raise self._error(self._refusal)
                if threading.get_ident() in self._menders:  # a listener of the death would wait for itself
                    what = f"{self._of.about.text}: its process is started again once its listeners have heard"
                    raise self._error(Finding("child-restarting", what, "call it later, or from another thread"))
                if not self._changed.wait(None if until is None else until - time.monotonic()):
                    what = f"{self._of.about.text}: its process has not started again within {self._timeout:g} s"
                    raise self._error(Finding("child-restarting", what, "call again later"))
        return child

    @contextlib.contextmanager
    def _translated(self, child: C, message: Any) -> Iterator[None]:
        try:
            yield
        except PluginCallError as exc:
            raise self._failed(child, message, exc) from exc

    def _failed(self, child: C, message: Any, exc: PluginCallError) -> Exception:
        """Returns what is told of a call that brought no reply."""
        code = exc.finding.code
        if child.is_callers_doing(message, exc):
            return exc
        if code == "call-timeout":
            self._late += 1
            if self._late >= self._settings.breaker_failures:
                child.kill(f"{self._late} calls in a row took longer than {self._timeout:g} s")
                self._late = 0
            hint = "its process goes on with it, and nobody hears what comes of it"
            return RemoteFailure(code, f"did not return within {self._timeout:g} s", hint)
        told = child.told(exc).finding
        return RemoteFailure(code, f"did not return: {told.message}", told.hint)

    def _refuse(self, finding: Finding) -> None:
        with self._changed:
            self._refusal = finding
            self._changed.notify_all()

    def _error(self, finding: Finding) -> PluginCallError:
        of = self._of.about
        return PluginCallError(finding, plugin=of.plugin, version=of.version)

    def _end(self, child: C) -> None:
        child.end()
        self._tidy(child)

    def _tidy(self, child: C) -> None:
        """Takes back what a child was given."""
        with self._changed:
            self._children.discard(child)
            undo = self._undo.pop(child, None)
        if undo:
            undo.close()

    def _no_spare(self, exc: Exception) -> Finding:
        what = f"{self._of.about.text}: no second process stands by: {why(exc)}"
        hint = "it is tried again after the next death"
        return Finding("child-failed", what, hint, self._candidate.distribution.info, "warning")


async def _elsewhere(function: Callable[..., T], *arguments: object) -> T:
    """Returns what a function returns that waits, without holding up the event loop.

    Not in the loop's executor: all its threads may wait for what is awaited here.
    """
    import asyncio  # whoever awaits has it

    made: Future[T] = Future()
    made.set_running_or_notify_cancel()  # who waits no longer does not end the thread

    def run() -> None:
        try:
            made.set_result(function(*arguments))
        except BaseException as exc:
            made.set_exception(exc)

    HostThread(target=run, name="pluginhost: waits for a child", daemon=True).start()
    return await asyncio.wrap_future(made)


def _told(tell: Callable[..., object], *what: object) -> None:
    """Tells, and goes on whatever comes of it: of a filter of the application's log, say."""
    with contextlib.suppress(BaseException):
        tell(*what)


def _may_be_repeated(method: Any, exc: PluginCallError) -> bool:
    """Returns whether a call that was lost is made once more: its contract says that twice is as good as once."""
    return method.is_idempotent and exc.finding.code == "channel-lost"


def why(exc: Exception) -> str:
    """Returns what a message says of what failed in a child, or on the way to it."""
    if isinstance(exc, RemoteFailure):
        return exc.what
    return exc.finding.message if isinstance(exc, PluginHostError) else describe(exc)
