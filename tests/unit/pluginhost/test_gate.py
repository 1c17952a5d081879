"""Calls that are made while a plugin's state is handed over: each waits, and goes to whoever serves then."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from pluginhost import PluginCallError, PluginStopped, stubs
from standins import Stage
from waiting import until, until_async

from pluginapi import Plugin

if TYPE_CHECKING:
    from pluginhost.generations import Generation

WAIT = 60.0
"""Seconds after which a test that would hang has failed."""


class Wide(Plugin):
    """A contract with a method of each kind, and an attribute."""

    title: str

    @abstractmethod
    def plain(self, number: int) -> str: ...

    @abstractmethod
    def stream(self, number: int) -> Iterator[str]: ...

    @abstractmethod
    async def later(self, number: int) -> str: ...

    @abstractmethod
    async def stream_later(self, number: int) -> AsyncIterator[str]:
        yield ""


class Made(Wide):
    def __init__(self, title: str, call: Callable[[], object] = lambda: None) -> None:
        self.title = title
        self.call = call

    def plain(self, number: int) -> str:
        self.call()
        return f"{self.title} {number}"

    def stream(self, number: int) -> Iterator[str]:
        for each in range(number):
            yield f"{self.title} {each}"

    async def later(self, number: int) -> str:
        if found := self.call():
            await found  # type: ignore[misc]
        return f"{self.title} {number}"

    async def stream_later(self, number: int) -> AsyncIterator[str]:
        for each in range(number):
            yield f"{self.title} {each}"


class Running:
    """A plugin that runs, and may be held and replaced."""

    def __init__(self, title: str = "first", call: Callable[[], object] = lambda: None) -> None:
        self._stage = Stage()
        self.handle = self._stage.run(Made(title, call), [Wide])
        self.stub = self.handle.require(Wide)

    @property
    def serving(self) -> Generation:
        assert self.handle.serving is not None
        return self.handle.serving

    def replace(self, title: str = "second") -> Generation:
        return self.handle.replace(self._stage.generation(Made(title)), [Wide], [])

    def hold(self) -> None:
        self.handle.hold([])

    def waits(self) -> int:
        """Returns how many calls wait at the gate."""
        calls: stubs.Calls = self.stub._pluginhost_calls  # type: ignore[attr-defined]
        return len(calls.inside)


async def collected(stub: Wide, number: int) -> str:
    async with aclosing(stub.stream_later(number)) as items:  # type: ignore[type-var]
        return [item async for item in items][-1]


CALLS: dict[str, Callable[[Wide], str]] = {
    "a call": lambda stub: stub.plain(2),
    "a stream": lambda stub: list(stub.stream(3))[-1],
    "a coroutine": lambda stub: asyncio.run(stub.later(2)),  # type: ignore[arg-type]
    "an asynchronous generator": lambda stub: asyncio.run(collected(stub, 3)),
    "an attribute that is read": lambda stub: f"{stub.title} 2",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_call_at_a_shut_gate_waits_and_goes_to_whoever_serves_then(
    call: Callable[[Wide], str], is_replaced: bool
) -> None:
    running = Running()
    assert call(running.stub) == "first 2"
    running.hold()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(call, running.stub)
        until(running.waits)
        assert not asked.done()
        if is_replaced:
            running.replace()
        else:
            running.handle.resume()
        assert asked.result(WAIT) == ("second 2" if is_replaced else "first 2")


def test_an_attribute_that_is_bound_is_bound_on_whoever_serves_then() -> None:
    running = Running()
    first = running.serving.loaded.plugin
    running.hold()
    with ThreadPoolExecutor(1) as pool:
        bound = pool.submit(setattr, running.stub, "title", "bound")
        until(running.waits)
        running.replace()
        bound.result(WAIT)
    assert (first.title, running.stub.title) == ("first", "bound")


def test_what_waits_lets_its_event_loop_go_on() -> None:
    running = Running()
    running.hold()

    async def main() -> str:
        asked = asyncio.ensure_future(running.stub.later(2))  # type: ignore[arg-type]
        await until_async(running.waits)
        running.replace()
        return await asyncio.wait_for(asked, WAIT)

    assert asyncio.run(main()) == "second 2"


def test_a_call_that_is_cancelled_while_it_waits_is_gone() -> None:
    running = Running()
    running.hold()

    async def main() -> None:
        asked = asyncio.ensure_future(running.stub.later(2))  # type: ignore[arg-type]
        await until_async(running.waits)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert not running.waits()

    asyncio.run(main())


def test_a_plugin_that_ends_while_it_is_held_says_so_to_who_waits() -> None:
    running = Running()
    running.hold()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(running.stub.plain, 2)
        until(running.waits)
        running.handle.end(1)
        with pytest.raises(PluginStopped):
            asked.result(WAIT)


def test_what_a_call_raises_after_its_wait_is_blamed_once() -> None:
    def fail() -> None:
        raise ValueError("its fault")

    running = Running(call=fail)
    running.hold()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(running.stub.plain, 2)
        until(running.waits)
        running.handle.resume()
        with pytest.raises(PluginCallError, match="its fault") as caught:
            asked.result(WAIT)
    assert caught.value.finding.code == "call-failed"
    assert running.handle.tally.failures == 1


@pytest.mark.parametrize("kind", ["plain", "later"])
def test_what_a_call_that_must_return_first_calls_does_not_wait(kind: str) -> None:
    entered, goes_on = threading.Event(), threading.Event()
    other = Running("other")

    def call() -> object:
        entered.set()
        assert goes_on.wait(WAIT)
        return getattr(other.stub, kind)(1)

    running = Running(call=call)
    with ThreadPoolExecutor(2) as pool:
        begun = pool.submit(CALLS["a call" if kind == "plain" else "a coroutine"], running.stub)
        assert entered.wait(WAIT)
        inside = [*running.serving.all_calls(), *other.serving.all_calls()]
        for each in (running, other):
            each.handle.hold(inside)
        outside = pool.submit(other.stub.plain, 2)
        until(other.waits)
        goes_on.set()
        assert begun.result(WAIT) == "first 2"
        assert running.serving.drain(WAIT) == 0
        assert not outside.done()
        other.replace("another")
        assert outside.result(WAIT) == "another 2"


def test_what_a_stream_calls_as_it_hands_out_an_item_does_not_wait() -> None:
    other = Running("other")

    class Asking(Made):
        def stream(self, number: int) -> Iterator[str]:
            for each in range(number):
                yield other.stub.plain(each)

    stage = Stage()
    handle = stage.run(Asking("asking"), [Wide])
    items = handle.require(Wide).stream(2)
    assert next(items) == "other 0"
    assert handle.serving
    inside = [*handle.serving.all_calls(), *other.serving.all_calls()]
    other.handle.hold(inside)
    assert list(items) == ["other 1"]
    other.handle.resume()


def test_who_waited_holds_nothing_of_what_was_replaced() -> None:
    """Else an old generation would be there for as long as a call of the new one takes."""
    entered, goes_on = threading.Event(), threading.Event()

    def call() -> None:
        entered.set()
        assert goes_on.wait(WAIT)

    running = Running()
    running.hold()
    gate = running.handle._gate
    assert gate is not None
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(running.stub.plain, 2)
        until(running.waits)
        running.handle.replace(running._stage.generation(Made("second", call)), [Wide], [])
        assert entered.wait(WAIT)
        assert (gate._passing, gate._inside) == ({}, ())
        goes_on.set()
        assert asked.result(WAIT) == "second 2"


class Holding(RuleBasedStateMachine):
    """A plugin that is held, resumed and replaced while threads call it."""

    @initialize()
    def begin(self) -> None:
        self.running = Running("0")
        self.number = 0  # of the generation that serves
        self.is_held = False
        self.pool = ThreadPoolExecutor(8)
        self.asked: list[tuple[int, Any]] = []
        self.answers: Counter[str] = Counter()

    @rule(kind=st.sampled_from(sorted(CALLS)))
    def call(self, kind: str) -> None:
        asked = self.pool.submit(CALLS[kind], self.running.stub)
        if self.is_held:
            if len(self.asked) < 7:  # a thread is left for those who do not wait
                until(lambda: self.running.waits() > len(self.asked))
                self.asked.append((self.number, asked))
            else:
                self.asked.append((self.number, asked))
                self.open(is_replaced=False)
        else:
            assert asked.result(WAIT) == f"{self.number} 2"

    @rule()
    def hold(self) -> None:
        if not self.is_held:
            self.running.hold()
            self.is_held = True

    @rule(is_replaced=st.booleans())
    def open(self, is_replaced: bool) -> None:
        before = self.running.serving
        if is_replaced:
            self.number += 1
            assert self.running.replace(str(self.number)) is before
        else:
            self.running.handle.resume()
        self.is_held = False
        for _, asked in self.asked:
            assert asked.result(WAIT) == f"{self.number} 2"
        self.asked = []
        if is_replaced:
            assert before.drain(0) == 0

    @invariant()
    def who_waits_is_not_answered(self) -> None:
        assert not any(asked.done() for _, asked in getattr(self, "asked", ()))

    def teardown(self) -> None:
        if hasattr(self, "running"):
            self.open(is_replaced=False)
            self.pool.shutdown()


def test_no_call_is_lost_however_a_plugin_is_held_resumed_and_replaced() -> None:
    run_state_machine_as_test(Holding, settings=settings(max_examples=30, stateful_step_count=20))


def test_threads_that_call_all_the_time_are_answered_by_whoever_serves() -> None:
    running = Running("0")
    is_over = threading.Event()
    least = [0]

    def work(call: Callable[[Wide], str]) -> int:
        number = 0
        while not is_over.is_set():
            since = least[0]
            assert int(call(running.stub).partition(" ")[0]) >= since
            number += 1
        return number

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(work, CALLS[kind]) for kind in ("a call", "a stream", "a coroutine", "a call")]
        for number in range(1, 100):
            running.hold()
            before = running.serving
            assert before.drain(WAIT) == 0
            if number % 3:
                running.replace(str(number))
                least[0] = number
            else:
                running.handle.resume()
        is_over.set()
        assert all(each.result(WAIT) for each in working)
