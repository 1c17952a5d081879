"""A plugin that fails again and again is left alone for a while, and then asked once."""

from __future__ import annotations

import asyncio
import threading
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pluginhost import PluginCallError, PluginManager
from pluginhost.breaker import Breaker
from standins import Stage
from waiting import until

from pluginapi import Event, Greeter, Plugin, PluginError

LIMIT, SECONDS = 3, 10


class Machine(RuleBasedStateMachine):
    """A breaker and a model of it, by a clock of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.succeeded = 0
        self.hangs = False
        self.lets_through = True
        self.told: list[str] = []
        self.breaker = Breaker(
            LIMIT,
            SECONDS,
            lambda: self.succeeded,
            switch=lambda lets_through: setattr(self, "lets_through", lets_through),
            tell=lambda state, reason: self.told.append(state),
            waits=lambda: self.hangs,
            now=lambda: self.now,
        )
        self.state, self.row, self.until, self.trial = "closed", 0, 0.0, 0

    def _opens(self) -> None:
        self.state, self.until = "open", self.now + SECONDS

    @rule(seconds=st.sampled_from([1, 5, SECONDS]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: self.state == "closed")
    @rule()
    def succeed(self) -> None:
        self.succeeded += 1
        self.row = 0

    @rule()
    def fail(self) -> None:
        self.breaker.fail("fault")
        if self.state == "closed":
            self.row += 1
            if self.row >= LIMIT:
                self._opens()

    @rule()
    def trip(self) -> None:
        self.breaker.trip("late")
        self._opens()

    @rule(hangs=st.booleans())
    def hang(self, hangs: bool) -> None:
        self.hangs = hangs

    @rule()
    def ask(self) -> None:
        expected = {"closed": 0, "half-open": None}.get(self.state)
        if self.state == "open" and self.now >= self.until and not self.hangs:
            self.state, expected = "half-open", self.trial + 1
            self.trial += 1
        assert self.breaker.admit() == expected

    @rule(is_stale=st.booleans(), outcome=st.sampled_from(["succeeds", "fails", "is given up", "is a stream"]))
    def trial_ends(self, is_stale: bool, outcome: str) -> None:
        trial = self.trial - is_stale
        is_on = self.state == "half-open" and not is_stale
        if outcome == "fails":
            self.breaker.settle(trial, "fault")
            if is_on:
                self._opens()
        elif outcome == "is given up":
            self.breaker.release(trial)
            if is_on:
                self.state, self.until = "open", self.now
        else:
            close = self.breaker.settle if outcome == "succeeds" else self.breaker.close
            close(trial)
            if is_on:
                self.state, self.row = "closed", 0 if outcome == "succeeds" else LIMIT - 1

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        assert self.breaker.state == self.state
        assert self.lets_through == (self.state == "closed")
        assert self.breaker.left == max(0, self.until - self.now)

    @invariant()
    def each_change_is_told_once(self) -> None:
        assert (["closed", *self.told])[-1] == self.state
        assert all(before != after for before, after in zip(["closed", *self.told], self.told, strict=False))


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=30, database=None)


class Moody(Greeter):
    """Fails as long as it is told to; and can be held up in a call."""

    lang = "Moody"

    def __init__(self) -> None:
        self.faults = 0
        self.calls = 0
        self.held = threading.Event()
        self.is_held = threading.Event()

    def greet(self, name: str) -> str:
        self.calls += 1
        if name == "hold":
            self.is_held.set()
            assert self.held.wait(60)
        if name == "plugin's":
            raise PluginError(name)
        if self.faults:
            self.faults -= 1
            raise ValueError(name)
        return name


class Named(Greeter):
    """A contract that is none of the API's."""


class NamedMoody(Moody, Named):
    pass


class Away(Plugin):
    """A contract whose calls are awaited."""

    @abstractmethod
    async def fetch(self, name: str) -> str: ...

    @abstractmethod
    async def stream(self, name: str) -> AsyncIterator[str]:
        yield name


class AwayOne(Away):
    def __init__(self) -> None:
        self.is_broken = True

    async def fetch(self, name: str) -> str:
        await asyncio.sleep(60 if name == "wait" else 0)
        if self.is_broken:
            raise ValueError(name)
        return name

    async def stream(self, name: str) -> AsyncIterator[str]:
        yield name
        if self.is_broken:
            raise ValueError(name)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def managed(plugin: Any, **settings: Any) -> tuple[PluginManager, Any, Clock]:
    """Returns a manager, a stub in it, and the clock of its breaker."""
    manager = PluginManager("zoo.breaker", plugins={"some": settings})
    manager.register("some", lambda: plugin)
    stub = manager.get("some", Greeter if isinstance(plugin, Greeter) else Away)
    clock = Clock()
    manager.handle("some").containment._breaker._now = clock
    return manager, stub, clock


def code(call: Any) -> str:
    try:
        call()
    except PluginCallError as exc:
        return exc.finding.code
    except PluginError:
        return "its word"
    return ""


def codes(stub: Any, number: int, name: str = "Ada") -> list[str]:
    return [code(lambda: stub.greet(name)) for _ in range(number)]


def test_after_five_failures_in_a_row_calls_are_refused_for_half_a_minute_and_then_one_decides() -> None:
    plugin = Moody()
    manager, stub, clock = managed(plugin)
    events: list[Event] = []
    manager.subscribe(events.append, "plugin.breaker")
    with manager:
        plugin.faults = 6
        assert codes(stub, 7) == ["call-failed"] * 5 + ["breaker-open"] * 2
        assert plugin.calls == 5
        assert code(lambda: stub.lang) == "breaker-open"
        clock.now = 10
        with pytest.raises(
            PluginCallError, match=r"refused for 20.0 s more: 5 of them .*, the last: .*ValueError: Ada"
        ):
            stub.greet("Ada")
        clock.now = 30
        assert codes(stub, 2) == ["call-failed", "breaker-open"]  # for the whole time again
        clock.now = 59
        assert codes(stub, 1) == ["breaker-open"]
        clock.now = 60
        assert codes(stub, 2) == ["", ""]
        assert (stub.lang, manager.status()["some"].breaker) == ("Moody", "closed")
        plugin.faults = 5
        assert codes(stub, 6) == ["call-failed"] * 5 + ["breaker-open"]
        status = manager.status()["some"]
        assert (status.calls, status.failures, status.breaker) == (14, 11, "open")
    told = [event.fields["state"] for event in events]
    assert told == ["open", "half-open", "open", "half-open", "closed", "open"]
    fields = dict(events[0].fields)
    assert "the last: greet raised ValueError: Ada, in " in fields.pop("reason")
    assert fields == {
        "plugin": "some", "distribution": "built-in", "version": "", "generation": 1, "state": "open",
    }  # fmt: skip


@pytest.mark.parametrize("between", ["Ada", "plugin's"])
def test_a_success_or_the_plugins_word_begins_the_row_anew(between: str) -> None:
    plugin = Moody()
    manager, stub, _ = managed(plugin)
    with manager:
        for _ in range(3):
            plugin.faults = 4
            assert codes(stub, 4) == ["call-failed"] * 4
            assert code(lambda: stub.greet(between)) == ("its word" if between != "Ada" else "")
        plugin.faults = 5
        assert codes(stub, 6)[-2:] == ["call-failed", "breaker-open"]


def test_a_failure_of_another_plugin_is_not_this_ones() -> None:
    inner, outer = Moody(), Moody()
    manager = PluginManager("zoo.breaker")
    manager.register("inner", lambda: inner)
    manager.register("outer", lambda: outer)
    with manager:
        inner_stub, outer_stub = manager.get("inner", Greeter), manager.get("outer", Greeter)
        outer.greet = inner_stub.greet  # type: ignore[method-assign]
        manager.stop("outer")
        manager.start("outer")
        inner.faults = 5
        assert codes(outer_stub, 6) == ["call-failed"] * 5 + ["breaker-open"]
        status = manager.status()
        assert (status["inner"].breaker, status["outer"].breaker) == ("open", "closed")
        assert (status["inner"].failures, status["outer"].failures) == (5, 0)


def test_while_one_is_let_through_others_are_refused() -> None:
    plugin = Moody()
    manager, stub, clock = managed(plugin, breaker_failures=1)
    with manager:
        plugin.faults = 1
        assert codes(stub, 1) == ["call-failed"]
        clock.now = 30
        trial = threading.Thread(target=codes, args=(stub, 1, "hold"))
        trial.start()
        assert plugin.is_held.wait(60)
        assert manager.status()["some"].breaker == "half-open"
        with pytest.raises(PluginCallError, match="until the one that is let through has returned"):
            stub.greet("Ada")
        plugin.held.set()
        trial.join()
        assert codes(stub, 1) == [""]


def test_a_stop_and_a_start_close_it() -> None:
    plugin = Moody()
    manager, stub, _ = managed(plugin, breaker_failures=1)
    with manager:
        plugin.faults = 1
        assert codes(stub, 2) == ["call-failed", "breaker-open"]
        manager.stop("some")
        manager.start("some")
        assert codes(stub, 1) == [""]
        assert manager.status()["some"].breaker == "closed"


def test_a_stub_that_is_made_while_it_is_open_refuses_too() -> None:
    plugin = NamedMoody()
    manager, stub, _ = managed(plugin, breaker_failures=1)
    with manager:
        plugin.faults = 1
        assert codes(stub, 1) == ["call-failed"]
        other: Any = manager.handle("some").require(Named)
        assert code(lambda: other.greet("Ada")) == "breaker-open"


def test_calls_that_are_awaited_are_refused_and_tried_likewise() -> None:
    plugin = AwayOne()
    manager, stub, clock = managed(plugin, breaker_failures=2)

    async def fetch(name: str = "Ada") -> str:
        try:
            return await stub.fetch(name)
        except PluginCallError as exc:
            return exc.finding.code

    async def run() -> None:
        assert [await fetch() for _ in range(3)] == ["call-failed", "call-failed", "breaker-open"]
        clock.now = 30
        given_up = asyncio.ensure_future(fetch("wait"))
        await asyncio.sleep(0)
        assert await fetch() == "breaker-open"
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert [await fetch(), await fetch()] == ["call-failed", "breaker-open"]  # the next decides
        clock.now = 60
        plugin.is_broken = False
        assert [await fetch(), await fetch()] == ["Ada", "Ada"]

    with manager:
        asyncio.run(run())


def test_a_stream_is_let_through_and_its_next_failure_opens_again() -> None:
    plugin = AwayOne()
    manager, stub, clock = managed(plugin, breaker_failures=2)

    async def consume() -> str:
        try:
            return "".join([item async for item in stub.stream("Ada")])
        except PluginCallError as exc:
            return exc.finding.code

    async def run() -> None:
        assert [await consume() for _ in range(3)] == ["call-failed", "call-failed", "breaker-open"]
        clock.now = 30
        assert [await consume(), await consume()] == ["call-failed", "breaker-open"]
        clock.now = 60
        plugin.is_broken = False
        assert [await consume(), await consume()] == ["Ada", "Ada"]

    with manager:
        asyncio.run(run())


def test_a_refusal_takes_less_than_a_millisecond() -> None:
    plugin = Moody()
    manager, stub, _ = managed(plugin, breaker_failures=1)
    with manager:
        plugin.faults = 1
        codes(stub, 2)
        begun = time.process_time()
        assert codes(stub, 1_000) == ["breaker-open"] * 1_000
        assert time.process_time() - begun < 1  # it is 7 µs; a machine that is busy counts no time of ours


def test_eight_threads_that_call_while_it_opens_and_closes_are_each_answered_or_refused() -> None:
    class Flaky(Moody):
        def greet(self, name: str) -> str:
            if self.is_held.is_set():
                raise ValueError(name)
            return name

    plugin = Flaky()
    stage = Stage(breaker_failures=3, breaker_seconds=0.002)
    handle = stage.run(plugin, [Greeter])
    stub = handle.require(Greeter)
    counts: dict[str, int] = {}
    lock, is_over = threading.Lock(), threading.Event()

    def work() -> None:
        own: dict[str, int] = {}
        while not is_over.is_set():
            got = code(lambda: stub.greet("Ada"))
            own[got] = own.get(got, 0) + 1
        with lock:
            for each, number in own.items():
                counts[each] = counts.get(each, 0) + number

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        (plugin.is_held.clear if plugin.is_held.is_set() else plugin.is_held.set)()
        time.sleep(0.01)
    plugin.is_held.clear()
    is_over.set()
    for thread in threads:
        thread.join()
    assert set(counts) == {"", "call-failed", "breaker-open"}
    status = handle.status()
    assert (status.calls, status.failures) == (counts[""] + counts["call-failed"], counts["call-failed"])
    until(lambda: not code(lambda: stub.greet("Ada")))
    assert handle.status().breaker == "closed"


def test_ctrl_c_in_a_listener_as_the_trial_begins_leaves_the_next_call_to_be_it() -> None:
    def tell(state: str, reason: str) -> None:
        if state == "half-open" and not interrupted:
            interrupted.append(state)
            raise KeyboardInterrupt

    interrupted: list[str] = []
    breaker = Breaker(1, 0.0, lambda: 0, tell=tell)
    breaker.fail("it failed")
    with pytest.raises(KeyboardInterrupt):
        breaker.admit()
    assert breaker.admit()
