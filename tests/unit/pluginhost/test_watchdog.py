"""What takes too long is told on time, with its place, and what follows from it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import math
import os
import threading
import time
import traceback
import weakref
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from forking import forks, holds_in_copy
from pluginhost import PluginCallError, PluginHostError, PluginManager, stubs
from pluginhost.abandon import Worker, Workers
from pluginhost.watchdog import Watchdog
from pluginhost.watched import HostThread
from standins import Stage
from waiting import until

from pluginapi import Event, Greeter, Plugin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pluginhost import Finding

NOTE: contextvars.ContextVar[str] = contextvars.ContextVar("note", default="none")


class Slow(Greeter):
    """Waits where it is told to, until it is let go."""

    lang = "Slow"

    def __init__(self, at: str = "") -> None:
        self.at = at
        self.go = threading.Event()
        self.is_down = False

    def wait(self, where: str) -> None:
        if where == self.at:
            assert self.go.wait(60)

    def init(self, host: object) -> None:
        self.wait("init")

    def validate(self) -> None:
        self.wait("validate")

    def shutdown(self) -> None:
        self.wait("shutdown")
        self.is_down = True

    def greet(self, name: str) -> str:
        self.wait(name)
        if name == "raise":
            raise ValueError(name)
        if name == "thread":
            return threading.current_thread().name
        if name == "note":
            return NOTE.get()
        return name


class Away(Plugin):
    """A contract whose calls are awaited."""

    @abstractmethod
    async def fetch(self, name: str) -> str: ...


class AwayOne(Away):
    """Returns at once, or as it is told to.

    Attributes:
        may_end: Whether what does not heed its cancellation may return.
    """

    def __init__(self, may_end: Callable[[], object] = bool) -> None:
        self.may_end = may_end

    async def fetch(self, name: str) -> str:
        if name == "block":
            until(self.may_end)
        elif name == "deaf":
            while not self.may_end():
                try:
                    await asyncio.sleep(0.01)
                except asyncio.CancelledError:
                    continue
        elif name == "its own":
            raise TimeoutError(name)
        elif name:
            await asyncio.sleep(1000)
        return name


class Told:
    """A manager, and what it tells."""

    def __init__(self, plugin: Any, **settings: Any) -> None:
        self.manager = PluginManager("zoo.watchdog", plugins={"some": settings}, shutdown_timeout=5)
        self.manager.register("some", plugin if callable(plugin) else lambda: plugin)
        self.findings: list[Finding] = []
        self.manager.tell = lambda finding, *about: self.findings.append(finding)  # type: ignore[method-assign]
        self.events: list[Event] = []
        self.manager.subscribe(self.events.append, "plugin.late")

    @property
    def codes(self) -> list[str]:
        return [finding.code for finding in self.findings]

    def get(self, contract: Any = Greeter) -> Any:
        return self.manager.get("some", contract)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.enumerate()
    yield
    until(lambda: not [each for each in threading.enumerate() if each not in before])


@pytest.fixture
def _the_caller_is_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has nobody else tell of a call that is given up, although on a busy machine its caller may wake late."""
    monkeypatch.setattr(stubs, "GRACE", 60.0)


def code(call: Callable[[], object]) -> str:
    try:
        call()
    except PluginHostError as exc:
        return exc.finding.code
    return ""


@pytest.mark.parametrize("at", ["init", "validate", "new"])
def test_a_start_that_takes_too_long_is_told_while_it_does_and_fails_when_it_returns(at: str) -> None:
    plugin = Slow(at)

    def New() -> Slow:
        plugin.wait("new")
        return plugin

    # What the others take is not to be late, too, on a busy machine.
    told = Told(
        New, **{"init_timeout": 60.0, "new_timeout": 60.0} | {"new_timeout" if at == "new" else "init_timeout": 0.25}
    )
    expected = "new-timeout" if at == "new" else "init-timeout"
    got: list[str] = []
    starter = threading.Thread(target=lambda: got.append(code(told.get)))
    starter.start()
    until(lambda: told.codes == [expected])
    assert told.findings[0].severity == "warning"
    what = "New()" if at == "new" else at
    assert f"{what} has not ended within 0.25 s, in {__file__}, line " in told.findings[0].message
    until(lambda: told.events)
    fields = dict(told.events[0].fields)
    assert str(fields.pop("where")).startswith(__file__)
    assert fields == {
        "plugin": "some", "distribution": "built-in", "version": "", "generation": 1,
        "stage": at, "method": "", "seconds": 0.25,
    }  # fmt: skip
    plugin.go.set()
    starter.join()
    assert got == [expected]
    assert told.codes == [expected] * 2
    assert told.manager.status()["some"].state == "failed"
    assert expected in (told.manager.status()["some"].error or "")
    assert plugin.is_down == (at != "new")
    told.manager.close()


def test_one_plugins_shutdown_may_be_bound_beside_its_share_of_the_managers() -> None:
    plugin = Slow("shutdown")
    told = Told(plugin, shutdown_timeout=0.05)
    told.get()
    told.manager.close()
    assert told.codes == ["shutdown-timeout"]
    assert f"did not end within 0.1 s, in {__file__}" in told.findings[0].message
    plugin.go.set()


def test_a_call_that_hangs_is_told_on_time_and_others_are_refused_until_it_has_returned() -> None:
    plugin = Slow("hang")
    told = Told(plugin, call_timeout=0.25, breaker_seconds=0.05)
    stub = told.get()
    got: list[str] = []
    caller = threading.Thread(target=lambda: got.append(stub.greet("hang")))
    begun = time.monotonic()
    caller.start()
    until(lambda: told.codes == ["call-timeout"])
    assert 0.25 <= time.monotonic() - begun < 60
    assert told.findings[0].severity == "error"
    assert f"greet has not returned within 0.25 s, in {__file__}, line " in told.findings[0].message
    time.sleep(0.06)
    with pytest.raises(PluginCallError, match="refused until that has returned: greet has"):
        stub.greet("Ada")
    assert code(lambda: stub.lang) == "breaker-open"
    status = told.manager.status()["some"]
    assert (status.calls, status.failures, status.breaker) == (1, 1, "open")
    plugin.go.set()
    caller.join()
    assert got == ["hang"]
    assert stub.greet("Ada") == "Ada"
    status = told.manager.status()["some"]
    assert (status.calls, status.failures, status.breaker) == (2, 1, "closed")
    assert [(event.fields["stage"], event.fields["method"]) for event in told.events] == [("call", "greet")]
    told.manager.close()


def test_a_late_call_that_raises_has_failed_once() -> None:
    class Late(Slow):
        def greet(self, name: str) -> str:
            assert self.go.wait(60)
            raise ValueError(name)

    plugin = Late()
    told = Told(plugin, call_timeout=0.25)
    stub = told.get()
    got: list[str] = []
    caller = threading.Thread(target=lambda: got.append(code(lambda: stub.greet("Ada"))))
    caller.start()
    until(lambda: told.codes)
    plugin.go.set()
    caller.join()
    assert got == ["call-failed"]
    assert (told.manager.status()["some"].calls, told.manager.status()["some"].failures) == (1, 1)
    told.manager.close()


def test_many_calls_at_once_are_each_held_to_their_own_deadline() -> None:
    plugin = Slow("hang")
    told = Told(plugin, call_timeout=3.0)  # so long that all have begun before the first is late
    stub = told.get()
    callers = [threading.Thread(target=stub.greet, args=("hang",)) for _ in range(3)]
    for caller in callers:
        caller.start()
        time.sleep(0.02)
    until(lambda: len(told.codes) == 3)
    plugin.go.set()
    for caller in callers:
        caller.join()
    assert told.manager.status()["some"].failures == 3
    told.manager.close()


@pytest.mark.usefixtures("_the_caller_is_first")
@pytest.mark.parametrize("on_timeout", ["report", "abandon"])
def test_who_awaits_a_call_gets_an_error_on_time(on_timeout: str) -> None:
    class Patient(Away):
        """A contract of this test alone, whose stubs are made as the fixture has it."""

    class PatientOne(AwayOne, Patient):
        pass

    told = Told(PatientOne(), call_timeout=0.5, on_timeout=on_timeout)
    stub = told.get(Patient)

    async def run() -> None:
        assert await stub.fetch("") == ""
        with pytest.raises(PluginCallError, match=r"fetch did not return within .* and was cancelled") as caught:
            await asyncio.wait_for(stub.fetch("wait"), 60)
        assert caught.value.finding.code == "call-timeout"
        with pytest.raises(PluginCallError) as caught:
            await stub.fetch("its own")
        assert caught.value.finding.code == "call-failed"

    asyncio.run(run())
    status = told.manager.status()["some"]
    assert (status.calls, status.failures, status.breaker) == (3, 2, "closed")
    assert told.codes == []
    told.manager.close()


@pytest.mark.parametrize(("how", "where"), [("block", f", in {__file__}"), ("deaf", "")], ids=["blocks", "deaf"])
def test_a_coroutine_that_cannot_be_cancelled_is_told_as_other_calls_are(how: str, where: str) -> None:
    told = Told(AwayOne(lambda: told.codes), call_timeout=0.25)
    stub = told.get(Away)

    async def run() -> None:
        assert await stub.fetch(how) == how

    asyncio.run(run())
    assert told.codes == ["call-timeout"]
    assert f"has not returned within 0.25 s{where}" in told.findings[0].message
    assert told.manager.status()["some"].breaker == "open"
    told.manager.close()


@pytest.mark.usefixtures("_the_caller_is_first")
def test_a_caller_goes_on_without_a_call_that_may_be_abandoned() -> None:
    plugin = Slow("hang")
    told = Told(plugin, call_timeout=0.4, on_timeout="abandon", breaker_failures=3)
    stub = told.get()
    for number, many in ((1, "one thread of this plugin is"), (2, "2 threads of this plugin are")):
        begun = time.monotonic()
        with pytest.raises(
            PluginCallError, match=rf"within 0\.4 s, in {__file__}, line \d+; {many} given up"
        ) as caught:
            stub.greet("hang")
        assert caught.value.finding.code == "call-timeout"
        assert 0.4 <= time.monotonic() - begun < 60
        assert told.manager.status()["some"].abandoned == number
    assert told.codes == ["call-timeout"] * 2
    assert stub.greet("Ada") == "Ada"  # three in a row, it takes
    for _ in range(3):
        assert code(lambda: stub.greet("hang")) == "call-timeout"
    assert code(lambda: stub.greet("Ada")) == "breaker-open"
    status = told.manager.status()["some"]
    assert (status.calls, status.failures, status.breaker, status.abandoned) == (6, 5, "open", 5)
    plugin.go.set()
    until(lambda: told.manager.status()["some"].abandoned == 0)
    told.manager.close()


def test_a_call_on_a_thread_of_its_own_is_like_any_other() -> None:
    told = Told(Slow(), call_timeout=60, on_timeout="abandon")
    stub = told.get()
    NOTE.set("the caller's")
    assert stub.greet("note") == "the caller's"
    threads = {stub.greet("thread") for _ in range(20)}
    assert threads == {"calls of some"}
    assert sum(type(thread) is Worker and thread.name == "calls of some" for thread in threading.enumerate()) == 1
    with pytest.raises(PluginCallError) as caught:
        stub.greet("raise")
    assert caught.value.finding.code == "call-failed"
    assert "raise ValueError(name)" in "".join(traceback.format_exception(caught.value))
    told.manager.close()


@pytest.mark.usefixtures("_the_caller_is_first")
def test_a_call_that_is_given_up_while_it_waits_for_its_turn_is_never_made() -> None:
    plugin = Slow("hang")
    made: list[str] = []
    plugin.wait = lambda where: made.append(where) or plugin.go.wait(60)  # type: ignore[method-assign,func-returns-value]
    told = Told(plugin, call_timeout=0.5, on_timeout="abandon", concurrency=1, init_timeout=60)
    plugin.go.set()
    stub = told.get()
    plugin.go.clear()
    made.clear()
    assert [code(partial(stub.greet, name)) for name in ("one", "two")] == ["call-timeout"] * 2
    plugin.go.set()
    until(lambda: told.manager.status()["some"].abandoned == 0)
    assert made == ["one"]
    assert stub.greet("three") == "three"
    told.manager.close()


def test_how_many_calls_at_once_may_be_set_over_what_the_class_says() -> None:
    class Counting(Slow):
        concurrency = 8

    plugin, inside, most = Counting(), [], []

    def wait(where: str) -> None:
        inside.append(where)
        most.append(len(inside))
        time.sleep(0.002)
        inside.pop()

    told = Told(plugin, concurrency=1)
    stub = told.get()
    plugin.wait = wait  # type: ignore[method-assign]
    callers = [threading.Thread(target=stub.greet, args=("Ada",)) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert max(most) == 1
    plugin.wait = lambda where: None  # type: ignore[method-assign]
    told.manager.close()


def test_the_thread_begins_when_there_is_something_to_watch_and_ends_when_there_is_nothing() -> None:
    dog = Watchdog()
    assert dog._thread is None
    with dog.stage(60, lambda thread: None) as taken:
        thread = dog._thread
        assert thread is not None
        assert thread.daemon
        until(lambda: 50 < dog._wakes - time.monotonic() < math.inf)  # it sleeps until then
    assert 0 <= taken() < 60
    until(lambda: not thread.is_alive())
    with dog.stage(60, lambda thread: None):
        assert dog._thread is not thread
    dog.close(60)
    assert dog._thread is None or not dog._thread.is_alive()


def test_a_thread_that_watches_holds_no_manager() -> None:
    told = Told(Slow(), call_timeout=60)
    told.get().greet("Ada")
    gone = weakref.ref(told.manager._runner)
    told.manager.registered.clear()
    del told

    def is_gone() -> bool:
        gc.collect()
        return gone() is None

    until(is_gone)  # the thread may be looking at this moment


def test_a_thread_of_the_host_that_begins_meanwhile_is_none_of_the_plugins() -> None:
    stage = Stage()
    generation = stage.generation(Slow())
    generation.start(5)
    assert [type(thread) for thread in threading.enumerate() if "watchdog" in thread.name] == [HostThread]
    assert generation.threads == []
    stage.watchdog.close(60)


@forks
def test_a_child_of_fork_watches_its_own_calls_and_none_of_its_parents() -> None:
    plugin = Slow("hang")
    told = Told(plugin, call_timeout=1.0)  # so long the parent's call is not late, which would have others refused
    stub = told.get()
    caller = threading.Thread(target=stub.greet, args=("hang",))
    caller.start()
    until(lambda: stub._pluginhost_calls.running)

    def watches_its_own() -> bool:
        plugin.go = threading.Event()
        threading.Thread(target=lambda: (until(lambda: told.codes), plugin.go.set())).start()
        return stub.greet("hang") == "hang" and told.codes == ["call-timeout"]

    assert holds_in_copy(watches_its_own)
    plugin.go.set()
    caller.join()
    told.manager.close()


@forks
def test_a_child_of_fork_calls_on_threads_of_its_own() -> None:
    workers = Workers("some")
    call = workers.hold(os.getpid, 10.0)
    assert call() == os.getpid()
    assert holds_in_copy(lambda: call() == os.getpid())
    workers.close()
