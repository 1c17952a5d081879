"""Each call is counted once, whoever calls and whoever reads; some are timed."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest
from pluginhost.tally import Tally
from standins import Stage

from pluginapi import Greeter, PluginError


class Some(Greeter):
    lang = "Some"

    def greet(self, name: str) -> str:
        if name == "plugin's":
            raise PluginError(name)
        return str({"Ada": 1}[name])


def in_threads(number: int, work: Any) -> None:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("settings", [{}, {"call_timeout": 60.0}])
def test_eight_threads_count_each_call_while_others_read(settings: dict[str, Any]) -> None:
    stage = Stage(**settings)
    stub = stage.run(Some(), [Greeter]).require(Greeter)
    reads = []
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            reads.append(stage.handle.status().calls)

    reader = threading.Thread(target=read)
    reader.start()
    in_threads(8, lambda: [stub.greet("Ada") for _ in range(2_000)])
    is_over.set()
    reader.join()
    assert stage.handle.status().calls == 16_000
    assert reads == sorted(reads)
    stage.handle.end(5)
    assert stage.handle.status().calls == 16_000
    stage.watchdog.close(60)


@pytest.mark.parametrize("settings", [{}, {"call_timeout": 60.0}])
def test_calls_and_failures_go_on_over_generations(settings: dict[str, Any]) -> None:
    stage = Stage(**settings)
    for calls in (3, 6, 9):
        stub: Any = stage.run(Some(), [Greeter]).require(Greeter)
        assert stub.greet("Ada") == "1"
        with pytest.raises(PluginError):
            stub.greet("plugin's")  # its word to its caller
        with pytest.raises(Exception, match="call-failed"):
            stub.greet("Bob")
        status = stage.handle.status()
        assert (status.calls, status.failures, status.generation) == (calls, calls / 3, calls / 3)
        stage.handle.end(5)
    assert (stage.handle.status().calls, stage.handle.status().failures) == (9, 3)
    stage.watchdog.close(60)


def test_reading_an_attribute_is_a_call() -> None:
    stage = Stage()
    stub: Any = stage.run(Some(), [Greeter]).require(Greeter)
    assert stub.lang == "Some"
    assert stage.handle.status().calls == 1


@pytest.mark.parametrize("settings", [{}, {"call_timeout": 60.0}])
def test_the_first_call_is_timed_and_then_ever_fewer(settings: dict[str, Any]) -> None:
    stage = Stage(**settings)
    stub: Any = stage.run(Some(), [Greeter]).require(Greeter)
    assert stage.handle.status().p50 is stage.handle.status().max is None
    stub.greet("Ada")
    status = stage.handle.status()
    assert status.p50 == status.p99 == status.max
    assert 0 < (status.max or 0) < 60
    taken: list[float] = []
    calls = stub._pluginhost_calls
    calls.took = taken.append
    for _ in range(999):
        stub.greet("Ada")
    assert len(taken) == (62 if settings else 12)
    stage.handle.end(5)
    stage.watchdog.close(60)


def test_latency_is_of_the_latest_that_were_timed() -> None:
    tally, stage = Tally(), Stage()
    calls = Stage().run(Some(), [Greeter]).require(Greeter)._pluginhost_calls  # type: ignore[attr-defined]
    assert stage.handle.tally.latency is None
    tally.begin(calls, is_numbered=True)
    for number in itertools.chain([10_000.0] * 600, map(float, range(512, 0, -1))):
        calls.took(number)
    assert tally.latency == (256.0, 507.0, 512.0)


def test_succeeded_is_never_ahead_of_what_has() -> None:
    """A call is inside before it is counted, and until its failure is: at no moment it looks like a success."""
    stage = Stage(breaker_failures=1_000_000_000)
    handle = stage.run(Some(), [Greeter])
    stub: Any = handle.require(Greeter)
    inside = stub._pluginhost_calls.inside
    seen, is_over = [], threading.Event()

    def read() -> None:
        while not is_over.is_set():
            seen.append(handle.tally.succeeded(lambda: len(inside)))

    def fail() -> None:
        for _ in range(500):
            with pytest.raises(Exception, match="call-failed"):
                stub.greet("Bob")

    reader = threading.Thread(target=read)
    reader.start()
    in_threads(4, fail)
    is_over.set()
    reader.join()
    assert max(seen) == 0
    assert handle.tally.succeeded(lambda: len(inside)) == 0
    stub.greet("Ada")
    assert handle.tally.succeeded(lambda: len(inside)) == 1
