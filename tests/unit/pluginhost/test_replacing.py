"""Plugins that run are replaced together, with their state, while calls are inside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from pluginhost import PluginHostError, PluginManager
from waiting import until

from pluginapi import Greeter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pluginapi import Host

WAIT = 60.0
"""Seconds after which a test that would hang has failed."""


class Counting(Greeter):
    """Counts its calls; what a call does before that is the test's."""

    lang = "numbers"

    def __init__(self, act: Callable[[Counting, str], object]) -> None:
        self.count = 0
        self.host: Host
        self._act = act
        self._lock = threading.Lock()

    def init(self, host: Host) -> None:
        self.host = host
        self._act(self, "init")

    def greet(self, name: str) -> str:
        self._act(self, name)
        with self._lock:
            self.count += 1
        return f"{self.host.config.get('version', 1)}"

    def export_state(self) -> int:
        return self.count

    def restore_state(self, state: int) -> None:
        self._act(self, "restore")
        self.count = state


class Scene:
    """Some plugins of an application's own, which are replaced by new settings.

    Attributes:
        manager: Theirs.
        entered: Set by a call that is inside.
        goes_on: What lets it go on.
    """

    def __init__(self) -> None:
        self.manager = PluginManager("pluginhost.none", shutdown_timeout=4 * WAIT)
        self.entered: dict[str, threading.Event] = {}
        self.goes_on = threading.Event()
        self.pool = ThreadPoolExecutor(8)

    def add(self, name: str, act: Callable[[Counting, str], object], kind: type[Counting] = Counting) -> Greeter:
        self.entered[name] = threading.Event()
        self.manager.register(name, lambda: kind(act))
        return self.manager.get(name, Greeter)

    def inside(self, name: str) -> None:
        """Is called by a plugin, in a call that is to be inside while it is replaced."""
        self.entered[name].set()
        assert self.goes_on.wait(WAIT)

    def replace(self, *names: str, **settings: object) -> Future[None]:
        """Begins to replace some plugins."""
        plugins = {name: {"config": {"version": 2}, **settings} for name in names}
        return self.pool.submit(self.manager.apply, {"plugins": plugins})

    def held(self, name: str) -> None:
        """Waits until calls of a plugin wait."""
        until(lambda: self.manager.loaded()[name]._gate is not None)

    def counts(self) -> dict[str, int]:
        return {name: handle.plugin.count for name, handle in self.manager.loaded().items()}


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.goes_on.set()
    made.pool.shutdown()
    made.manager.close()


def test_plugins_that_call_each_other_are_replaced_though_a_call_of_each_is_on_its_way_to_the_other(
    scene: Scene,
) -> None:
    def act(plugin: Counting, name: str) -> None:
        if name == "outer":
            scene.inside(plugin.name)
            plugin.host.get("b" if plugin.name == "a" else "a", Greeter).greet("inner")

    stubs = [scene.add(name, act) for name in "ab"]
    begun = [scene.pool.submit(stub.greet, "outer") for stub in stubs]
    assert all(scene.entered[name].wait(WAIT) for name in "ab")
    replaced = scene.replace("a", "b")
    until(lambda: any(scene.manager.loaded()[name]._gate for name in "ab"))
    scene.goes_on.set()
    assert [each.result(WAIT) for each in begun] == ["1", "1"]
    replaced.result(WAIT)
    assert [stub.greet("") for stub in stubs] == ["2", "2"]
    assert scene.counts() == {"a": 3, "b": 3}


def test_a_call_of_one_that_uses_another_ends_there_before_that_ones_state_is_taken(scene: Scene) -> None:
    """From another thread than the call's, as the host answers a plugin that has a process of its own."""

    def act(plugin: Counting, name: str) -> None:
        if plugin.name == "user" and name == "init":
            plugin.host.get("used", Greeter)
        if name == "outer":
            scene.inside(plugin.name)
            assert scene.pool.submit(plugin.host.get("used", Greeter).greet, "inner").result(WAIT) == "1"

    scene.add("used", act)
    user = scene.add("user", act)
    begun = scene.pool.submit(user.greet, "outer")
    assert scene.entered["user"].wait(WAIT)
    replaced = scene.replace("used", "user")
    scene.held("user")
    scene.goes_on.set()
    assert begun.result(WAIT) == "1"
    replaced.result(WAIT)
    assert scene.counts() == {"used": 1, "user": 1}


def test_a_call_may_come_back_to_the_plugin_that_is_held(scene: Scene) -> None:
    def act(plugin: Counting, name: str) -> None:
        if name == "outer":
            scene.inside(plugin.name)
            assert some.greet("inner") == "1"

    some = scene.add("some", act)
    begun = scene.pool.submit(some.greet, "outer")
    assert scene.entered["some"].wait(WAIT)
    replaced = scene.replace("some")
    scene.held("some")
    scene.goes_on.set()
    assert begun.result(WAIT) == "1"
    replaced.result(WAIT)
    assert some.greet("") == "2"
    assert scene.counts() == {"some": 3}


def test_a_call_that_asks_for_another_plugin_is_not_waited_for_by_who_waits_for_it(scene: Scene) -> None:
    def act(plugin: Counting, name: str) -> None:
        if name == "outer":
            scene.inside(plugin.name)
            plugin.host.get("other", Greeter)

    scene.add("other", act)
    some = scene.add("some", act)
    begun = scene.pool.submit(some.greet, "outer")
    assert scene.entered["some"].wait(WAIT)
    replaced = scene.replace("other", "some")
    scene.held("some")
    scene.goes_on.set()
    assert begun.result(WAIT / 2) == "1"
    replaced.result(WAIT)


def test_calls_from_outside_wait_for_all_that_are_replaced_together(scene: Scene) -> None:
    def act(plugin: Counting, name: str) -> None:
        if name == "outer":
            scene.inside(plugin.name)

    stubs = [scene.add(name, act) for name in "ab"]
    begun = [scene.pool.submit(stub.greet, "outer") for stub in stubs]
    assert all(scene.entered[name].wait(WAIT) for name in "ab")
    replaced = scene.replace("a", "b")
    until(lambda: any(scene.manager.loaded()[name]._gate for name in "ab"))
    held = next(name for name in "ab" if scene.manager.loaded()[name]._gate)
    waiting = scene.pool.submit(stubs["ab".index(held)].greet, "")
    scene.goes_on.set()
    assert waiting.result(WAIT) == "2"
    assert [each.result(WAIT) for each in begun] == ["1", "1"]
    replaced.result(WAIT)


@pytest.mark.parametrize("cold", ["a", "b", ""])
def test_one_that_may_begin_without_its_state_does_not_keep_the_others_from_theirs(cold: str, scene: Scene) -> None:
    def act(plugin: Counting, name: str) -> None:
        if name == "restore" and plugin.name in (cold, "a") and plugin.host.config:
            raise ValueError("not this one")

    for name in "ab":
        scene.add(name, act).greet("")
    replaced = scene.pool.submit(
        scene.manager.apply,
        {"plugins": {name: {"config": {"version": 2}, "cold_start": name == cold} for name in "ab"}},
    )
    if cold == "a":
        replaced.result(WAIT)
        assert scene.counts() == {"a": 0, "b": 1}
        return
    with pytest.raises(PluginHostError) as caught:
        replaced.result(WAIT)
    assert caught.value.finding.code == "state-refused"
    assert scene.counts() == {"a": 1, "b": 1}
    assert [scene.manager.get(name, Greeter).greet("") for name in "ab"] == ["1", "1"]


def test_a_call_that_does_not_return_leaves_what_serves_and_its_state(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(plugin: Counting, name: str) -> None:
        if name == "outer":
            scene.inside(plugin.name)

    some = scene.add("some", act)
    begun = scene.pool.submit(some.greet, "outer")
    assert scene.entered["some"].wait(WAIT)
    with monkeypatch.context() as patch:
        patch.setattr(scene.manager._runner, "share", lambda: 0.1)
        with pytest.raises(PluginHostError) as caught:
            scene.replace("some").result(WAIT)
    assert caught.value.finding.code == "state-failed"
    assert some.greet("") == "1"
    scene.goes_on.set()
    assert begun.result(WAIT) == "1"
    assert scene.counts() == {"some": 2}


def test_a_snapshot_is_taken_while_calls_go_on(scene: Scene) -> None:
    class Snapped(Counting):
        state_snapshot = True

    def act(plugin: Counting, name: str) -> None:
        if name == "outer":
            scene.inside(plugin.name)

    some = scene.add("some", act, Snapped)
    some.greet("")
    begun = scene.pool.submit(some.greet, "outer")
    assert scene.entered["some"].wait(WAIT)
    replaced = scene.replace("some")
    while (serving := scene.manager.loaded()["some"].plugin).host.config.get("version") != 2:
        assert scene.manager.loaded()["some"]._gate is None
    assert (some.greet(""), serving.count) == ("2", 2)
    scene.goes_on.set()
    assert begun.result(WAIT) == "1"
    replaced.result(WAIT)


def test_any_number_of_threads_lose_no_count(scene: Scene) -> None:
    stubs: list[Any] = [scene.add(name, lambda plugin, name: None) for name in "ab"]
    is_over = threading.Event()

    def work(stub: Greeter) -> int:
        number = 0
        while not is_over.is_set():
            stub.greet("")
            number += 1
            time.sleep(0.0001)  # that the others, and the one that replaces, get their turn
        return number

    working = [scene.pool.submit(work, stub) for stub in stubs * 2]
    for version in range(2, 22):
        plugins = {name: {"config": {"version": version}} for name in "ab"}
        scene.manager.apply({"plugins": plugins})
    is_over.set()
    done = [each.result(WAIT) for each in working]
    assert scene.counts() == {"a": done[0] + done[2], "b": done[1] + done[3]}
