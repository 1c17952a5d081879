"""One generation of a plugin: what its factory made, from `init` to `shutdown`, and the calls that are inside."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import sys
import threading
import time
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

import pluginapi
from pluginhost import hints, identity, places, telemetry
from pluginhost.blame import Blame
from pluginhost.errors import Finding, PluginHostError, PluginInitError, PluginTypeError, describe
from pluginhost.exits import BrokenOff
from pluginhost.interrupts import Interrupted
from pluginhost.limits import Limit
from pluginhost.telemetry import Telemetry
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from pluginhost.containment import Containment
    from pluginhost.errors import PluginCallError
    from pluginhost.host import PluginHost
    from pluginhost.loading import Loaded
    from pluginhost.settings import PluginSettings
    from pluginhost.stubs import Calls, StubClass

_FIRST_POLL_SECONDS: Final = 0.0005
_POLL_SECONDS: Final = 0.01


class Generation:
    """One generation of a plugin.

    Attributes:
        blame: Whose fault it is what its calls raise.
        name: The plugin's name.
        text: The plugin as a message names it.
        loaded: What `loading.load` returned.
        host: What its `init` receives.
        settings: What is set for the plugin.
        containment: What it is held to.
        kept: Its copy in the store; empty when there is none.
        made_of: What its distribution is made of; empty when that is not known.
        threads: The threads that were begun while it started or shut down; also daemons, whose pool the end waits for.
    """

    __slots__ = (
        "_calls", "_limit", "_telemetry", "blame", "containment", "host", "kept", "loaded", "made_of", "name",
        "settings", "text", "threads",
    )  # fmt: skip

    def __init__(
        self, name: str, text: str, loaded: Loaded, host: PluginHost, settings: PluginSettings, containment: Containment
    ) -> None:
        self.blame = Blame(name, text, loaded)
        self.name = name
        self.loaded = loaded
        self.host = host
        self.settings = settings
        self.containment = containment
        self.threads: list[threading.Thread] = []
        self.text = text
        self.kept = self.made_of = ""
        self._limit: Limit | None = None
        self._telemetry = Telemetry(host.about) if telemetry.is_used() else None
        self._calls: dict[StubClass, Calls] = {}

    @property
    def is_plugin(self) -> bool:
        """Whether it is a `Plugin`, and no object of a group without an API."""
        return identity.is_a(self.loaded.plugin, pluginapi.Plugin)

    def start(self, seconds: float) -> None:
        """Names the plugin, calls its `init`, and then its `validate`; what fails is unwound.

        Args:
            seconds: What its `shutdown` may take if `validate` says no, or either takes too long.

        Raises:
            PluginInitError: `init` or `validate` raised, or took too long.
            PluginTypeError: Its `concurrency` is no number of calls.
        """
        plugin: Any = self.loaded.plugin
        if not self.is_plugin:
            return
        # By the slot's descriptor: the class may refuse attributes, or have a `name` of its own.
        pluginapi.Plugin.__dict__["name"].__set__(plugin, self.name)
        before = threading.enumerate()
        try:
            self._limit = self._find_limit()
            has_begun = False
            try:
                with self.containment.stage("init"):
                    self._call("init", lambda: plugin.init(self.host))
                    has_begun = True
                with self.containment.stage("validate"):
                    self._call("validate", lambda: plugin.validate())
            except BaseException as exc:
                if has_begun:
                    add_to(exc, self.shutdown(seconds))
                raise
        except BaseException as exc:
            add_to(exc, self._revoke())
            raise
        finally:
            self._note_threads(before)

    def calls(self, kind: StubClass) -> Calls:
        """Returns where the calls of a stub of some contracts go while this generation serves."""
        if kind not in self._calls:
            calls = kind.to(lambda name: self._find(name, kind), self._read, self._write, self._judge(kind))
            self.containment.begin(kind, calls)
            self._calls[kind] = calls
        return self._calls[kind]

    def _judge(self, kind: StubClass) -> Callable[[str, BaseException], None]:
        return lambda name, exc: self.blame.judge(name, exc, waits=name in kind.waiting)

    def drain(self, seconds: float) -> int:
        """Waits until no call is inside, and returns how many still are at the deadline."""
        deadline, pause = time.monotonic() + seconds, _FIRST_POLL_SECONDS
        while (inside := sum(len(calls.inside) for calls in self.all_calls())) and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(2 * pause, _POLL_SECONDS)
        return inside

    def all_calls(self) -> list[Calls]:
        """Returns where the calls of all its stubs go."""
        return list(self._calls.values())

    def end(self, seconds: float) -> tuple[list[Finding], PluginHostError | None]:
        """Waits for the calls that are inside, calls `shutdown`, and takes back what the plugin was given.

        Args:
            seconds: The deadline of all that; the calls have half of it, and `shutdown` at least the other.

        Returns:
            All that went wrong, and what went wrong with its shutdown.
        """
        deadline = time.monotonic() + seconds
        try:
            inside = self.drain(seconds / 2)
        finally:  # Ctrl-C ends the waiting
            error = self.shutdown(max(deadline - time.monotonic(), seconds / 2))
        told = [error.finding, *error.more] if error else []
        return [self._not_drained(inside, seconds / 2), *told] if inside else told, error

    def _not_drained(self, inside: int, seconds: float) -> Finding:
        what = f"{inside} of its calls did not return within {seconds:.1f} s, and it was shut down under them"
        hint = f"tell the author of {self._of.name}: calls end, or have a time limit"
        return self._finding("drain-timeout", what, hint)

    def shutdown(self, seconds: float) -> PluginHostError | None:
        """Calls `shutdown` on a thread of its own, takes back what the plugin was given, and returns what went wrong.

        Args:
            seconds: The deadline; then the thread is given up.
        """
        error = self._shut_down(min(seconds, self.settings.shutdown_timeout or seconds)) if self.is_plugin else None
        self.containment.end()
        left = self._revoke()
        if error is None:
            return left
        add_to(error, left)
        return error

    def _revoke(self) -> PluginHostError | None:
        """Takes back what the plugin was given, and returns what went wrong."""
        try:
            self.host.revoke()
        except Interrupted:
            raise
        except BaseException as exc:
            hint = f"something of it may be left behind; tell the author of {self._of.name}"
            what = f"what its host gave it was not all taken back: {describe(exc)}"
            error = PluginHostError(self._finding("shutdown-failed", what, hint))
            error.__cause__ = exc
            return error
        return None

    def _shut_down(self, seconds: float) -> PluginHostError | None:
        plugin: Any = self.loaded.plugin
        raised: list[BaseException] = []
        returned: list[object] = []
        begun, over = threading.Event(), threading.Event()  # not the thread's own word, which is in the plugin's hands
        before = threading.enumerate()

        def run() -> None:
            begun.wait()  # until then `start` waits for the thread's own word
            try:
                returned.append(plugin.shutdown())
            except BaseException as exc:
                raised.append(exc)
            finally:
                over.set()

        # A daemon, as are the threads that it starts: none of them keeps the process from ending.
        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(run,), name=f"shutdown of {self.name}", daemon=True
        )
        try:
            try:
                thread.start()
            finally:  # also where Ctrl-C came into it: the thread has begun all the same
                begun.set()
        except RuntimeError:  # while the interpreter ends, where what hangs here is broken off
            run()
        else:
            if over.wait(max(0.0, seconds)):
                with contextlib.suppress(RuntimeError):
                    thread.join(_POLL_SECONDS)
        self._note_threads([*before, thread])
        if returned:
            return None if returned[0] is None else PluginHostError(self._not_none("shutdown", returned[0]))
        if not raised or issubclass(type(raised[0]), BrokenOff):
            return self._late(thread, seconds)
        if issubclass(type(raised[0]), Interrupted):
            raise raised[0]
        hint = f"what it held may be left behind; tell the author of {self._of.name}"
        what = f"shutdown {places.raised(raised[0], self.loaded.candidate.module)}"
        error = PluginHostError(self._finding("shutdown-failed", what, hint))
        error.__cause__ = raised[0]
        return error

    def _late(self, thread: threading.Thread, seconds: float) -> PluginHostError:
        where = self.containment.place(sys._current_frames().get(thread.ident or 0))
        hint = f"its thread is given up, and ends with the process; tell the author of {self._of.name}"
        what = f"shutdown did not end within {seconds:.1f} s{where}"
        return PluginHostError(self._finding("shutdown-timeout", what, hint))

    @property
    def _of(self) -> Any:
        return self.loaded.candidate.distribution

    def _finding(self, code: str, what: str, hint: str) -> Finding:
        return Finding(code, f"{self.text}: {what}", hint, self._of.info)

    def _call(self, name: str, call: Callable[[], object]) -> None:
        """Calls `init` or `validate`, which return nothing."""
        try:
            returned = call()
        except Interrupted:
            raise
        except BaseException as exc:
            candidate = self.loaded.candidate
            hint = f"check the configuration of {self.name}, or tell the author of {self._of.name}{candidate.without}"
            why = places.raised(exc, candidate.module)
            if issubclass(type(exc), pluginapi.PluginError):  # its own word, as of its configuration: no fault in it
                why = f"raised {describe(exc)}"
            if issubclass(type(exc), PluginHostError):  # it asked its host for what is not to be had
                finding = cast("PluginHostError", exc).finding
                why = f"raised [{finding.code}] {finding.message}"
            raise PluginInitError(self._finding(f"{name}-failed", f"{name} {why}", hint)) from exc
        if returned is not None:
            raise PluginInitError(self._not_none(name, returned))

    def _not_none(self, name: str, returned: object) -> Finding:
        if type(returned) is CoroutineType and inspect.getcoroutinestate(returned) == inspect.CORO_CREATED:
            returned.close()  # else Python complains that nobody awaited it; of one that has begun it would run more
        hint = f"its author has {name} raise what is wrong, and return nothing; it is no `async def`"
        return self._finding(f"{name}-failed", f"{name} returned a {identity.class_name(returned)}", hint)

    def _find_limit(self) -> Limit | None:
        concurrency = self.settings.concurrency or identity.stated(self.loaded.plugin, "concurrency")
        if concurrency is None:
            return None
        if type(concurrency) is not int or concurrency < 1:
            what = f"its concurrency is a {identity.class_name(concurrency)}, not a number of calls from 1 on"
            hint = f"its author writes `concurrency = 1`, or leaves it out; tell the author of {self._of.name}"
            raise PluginTypeError(self._finding("contract-broken", what, hint))
        return Limit(concurrency)

    def _find(self, name: str, kind: StubClass) -> Callable[..., Any]:
        plugin = self.loaded.plugin
        try:
            found: Callable[..., Any] = getattr(plugin, name)
        except BaseException:  # told when it is called; others may never be

            def found(*args: Any, **named: Any) -> Any:
                return getattr(plugin, name)(*args, **named)

        if self.settings.check_replies:
            found = self._checked(found, name, kind)
        if name not in kind.generators:
            found = self.containment.hold(name, found, self._limit, is_coroutine=name in kind.coroutines)
        if self._telemetry:  # outermost: it has what the caller has
            found = self._telemetry.wrap(name, kind, found, self.containment.owning(self._judge(kind)))
        return found

    def _checked(self, found: Callable[..., Any], name: str, kind: StubClass) -> Callable[..., Any]:
        from pluginhost import replies  # only where it is asked for

        def refuse(fault: str) -> PluginCallError:
            hint = f"its author has {name} return what the contract says; {self.blame.way_out()}"
            error = self.blame.error("reply-wrong", name, f"{name} returned {fault}", hint)
            return self.containment.own(error)

        said = kind.returns(name)
        if said is hints.UNSAID:
            return found
        check = replies.Check(said, refuse)
        if name in kind.generators:
            return check.hold_items(found)
        return check.hold_async(found) if name in kind.coroutines else check.hold(found)

    def _read(self, name: str) -> object:
        return getattr(self.loaded.plugin, name)

    def _write(self, name: str, value: object) -> None:
        setattr(self.loaded.plugin, name, value)

    def _note_threads(self, before: list[threading.Thread]) -> None:
        known = set(map(id, (*before, *self.threads)))  # a plugin's subclass may raise when it is compared, or asked
        began = [thread for thread in threading.enumerate() if id(thread) not in known]
        self.threads += [thread for thread in began if not issubclass(type(thread), HostThread)]


def add_to(exc: BaseException, error: PluginHostError | None) -> None:
    """Has one error tell of another, too, that came of it."""
    if error is not None and isinstance(exc, PluginHostError):
        exc.more += (error.finding, *error.more)
