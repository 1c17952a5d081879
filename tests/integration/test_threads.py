"""Threads that call, ask for, start, stop and unload plugins all at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluginhost
import pytest
from pluginhost import PluginHostError, PluginManager, PluginStopped
from waiting import until

import pluginapi
from pluginapi import Greeter, Plugin

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge import Forge

    from pluginapi import Host

THREADS = 8
SECONDS = 60
"""After which a thread that has not ended is taken for one that never will."""


def together(*jobs: Callable[[], object]) -> None:
    """Runs jobs in threads until all have ended; what one raises is raised."""
    raised: list[BaseException] = []

    def run(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as exc:
            raised.append(exc)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    end = time.monotonic() + SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    frames = sys._current_frames()
    stuck = [str(frames.get(thread.ident or 0)) for thread in threads if thread.is_alive()]
    assert not stuck, f"these threads do not end: {stuck}"
    if raised:
        raise raised[0]


class Counts:
    """What the plugins of one test note: each thread in a place of its own, so that no count is lost."""

    def __init__(self) -> None:
        self.answered: dict[int, int] = defaultdict(int)
        self.wrong: list[str] = []
        self.began = self.ended = 0


class Adding(Greeter):
    lang = "Adding"

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._inside: dict[int, bool] = {}
        self._state = "made"

    def _goes(self, before: str, state: str) -> None:
        if self._state != before:
            self._counts.wrong.append(f"{state} while it was {self._state}")
        self._state = state

    def init(self, host: Host) -> None:
        self._goes("made", "begun")
        self._counts.began += 1
        if self._counts.began != self._counts.ended + 1:
            self._counts.wrong.append("two run at once")

    def shutdown(self) -> None:
        if any(self._inside.values()):
            self._counts.wrong.append("it was shut down under a call")
        self._goes("begun", "ended")
        self._counts.ended += 1

    def greet(self, name: str) -> str:
        me = threading.get_ident()
        self._inside[me] = True
        if self._state != "begun":
            self._counts.wrong.append(f"it was called while it was {self._state}")
        if name == "7":
            time.sleep(0)  # lets others in while it is inside
            if self._state != "begun":
                self._counts.wrong.append(f"it was {self._state} under a call")
        self._counts.answered[me] += 1
        self._inside[me] = False
        return name


def test_no_call_is_lost_or_comes_too_late_while_plugins_start_stop_and_unload() -> None:
    """800,000 calls: each is answered or refused, and those that were answered are as many as the plugin answered."""
    calls, counts, got, cycles = 100_000, Counts(), [], [0, 0]
    runs = threading.Event()
    manager = PluginManager(probe="never")
    manager.register("adding", lambda: Adding(counts))
    manager.subscribe(lambda event: runs.set(), "plugin.running")
    manager.subscribe(lambda event: runs.clear(), "plugin.draining")
    working, ahead = [THREADS], set()

    def call() -> None:
        stub, answered, refused = manager.get("adding", Greeter), 0, 0
        texts = [str(number) for number in range(100)]
        try:
            for number in range(calls):
                if number % 5_000 == 0:  # none gets so far ahead that the plugin has no time to stop under it
                    ahead.add(threading.get_ident())
                    while cycles[0] < number // 5_000:
                        time.sleep(0.001)
                    ahead.discard(threading.get_ident())
                text = texts[number % 100]
                try:
                    if stub.greet(text) != text:
                        counts.wrong.append("another call's answer")
                    answered += 1
                except PluginStopped:
                    refused += 1
                    runs.wait(SECONDS)
                    try:
                        stub = manager.get("adding", Greeter)  # another one after it was unloaded
                    except PluginStopped:
                        pass
        finally:
            got.append((answered, refused))
            working[0] -= 1

    def control() -> None:
        while working[0] > 0:
            before = sum(list(counts.answered.values()))
            while working[0] > 0 and not ahead and sum(list(counts.answered.values())) < before + 5_000:
                time.sleep(0.001)
            manager.stop("adding")
            if cycles[0] % 3 == 0:
                manager.unload("adding")
                cycles[1] += 1
            manager.start("adding")
            cycles[0] += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        manager.get("adding", Greeter)
        together(*[call] * THREADS, control)
    finally:
        sys.setswitchinterval(interval)
        manager.close()
    assert counts.wrong == []
    assert counts.began == counts.ended
    answered, refused = map(sum, zip(*got, strict=True))
    assert answered + refused == THREADS * calls
    assert answered == sum(counts.answered.values())
    assert refused
    assert cycles[0] >= 19
    assert cycles[1] >= 6


def test_eight_threads_that_ask_for_one_plugin_at_once_get_one_instance() -> None:
    rounds, made, got = 50, defaultdict(int), defaultdict(set)
    barrier = threading.Barrier(THREADS)

    class Made(Plugin):
        def init(self, host: Host) -> None:
            made[self.name] += 1

    with PluginManager(probe="never") as manager:
        for number in range(rounds):
            manager.register(f"p{number}", Made)

        def ask() -> None:
            for number in range(rounds):
                barrier.wait(SECONDS)
                got[number].add(id(manager.get(f"p{number}", Plugin)))

        together(*[ask] * THREADS)
        assert dict(made) == {f"p{number}": 1 for number in range(rounds)}
        assert {len(ids) for ids in got.values()} == {1}


def test_a_slow_init_holds_up_only_those_who_ask_for_that_plugin() -> None:
    entered, go_on, got = threading.Event(), threading.Event(), []

    class Slow(Plugin):
        def init(self, host: Host) -> None:
            entered.set()
            assert go_on.wait(SECONDS)

    class Quick(Plugin):
        pass

    with PluginManager(probe="never") as manager:
        manager.register("slow", Slow)
        manager.register("quick", Quick)
        manager.register("quick-too", Quick)

        def ask() -> None:
            got.append(manager.get("slow", Plugin))

        def others() -> None:
            assert entered.wait(SECONDS)
            try:
                manager.get("quick", Plugin)
                assert "quick-too" in {row.name for row in manager.survey()}
                manager.stop("quick")
                manager.start("quick")
                assert list(manager.loaded()) == ["quick"]
                assert got == []
            finally:
                go_on.set()

        together(ask, ask, others)
        assert got[0] is got[1]


class Asking(Plugin):
    """Asks for another plugin while that one asks for it."""

    def __init__(self, other: str, barrier: threading.Barrier, catches: bool) -> None:
        self._other, self._barrier, self._catches = other, barrier, catches
        self.caught = ""

    def init(self, host: Host) -> None:
        self._barrier.wait(SECONDS)
        try:
            host.get(self._other, Plugin)
        except PluginHostError as exc:
            if not self._catches:
                raise
            self.caught = str(exc)


@pytest.mark.parametrize("catches", [False, True])
def test_threads_whose_plugins_wait_for_each_other_are_told_of_the_cycle(catches: bool) -> None:
    """One of them is; the other waits for what then comes of that one's plugin. None waits for ever."""
    barrier, told, made = threading.Barrier(2), [], []
    manager = PluginManager(probe="never")
    for name, other in (("a", "b"), ("b", "a")):
        manager.register(name, lambda other=other: made.append(Asking(other, barrier, catches)) or made[-1])

    def ask(name: str) -> None:
        try:
            manager.get(name, Plugin)
        except PluginHostError as exc:
            told.append(str(exc))

    together(lambda: ask("a"), lambda: ask("b"))
    texts = [plugin.caught for plugin in made] if catches else told
    cycles = [text for text in texts if "[requirement-cycle]" in text]
    assert cycles
    assert any("a -> b -> a" in text or "b -> a -> b" in text for text in cycles)
    assert len(told) == (0 if catches else 2)
    assert sorted(manager.loaded()) == (["a", "b"] if catches else [])
    together(manager.close)


def test_a_start_that_waits_for_an_unload_starts_what_is_known_afterwards() -> None:
    """One that was unloaded is not started behind its manager's back: two would run by one name."""
    ending, go_on, made = threading.Event(), threading.Event(), []

    class Slow(Plugin):
        def init(self, host: Host) -> None:
            made.append("init")

        def shutdown(self) -> None:
            made.append("shutdown")
            ending.set()
            assert go_on.wait(SECONDS)

    with PluginManager(probe="never", shutdown_timeout=SECONDS) as manager:
        manager.register("slow", Slow)
        manager.get("slow", Plugin)
        registry = manager._runner.registry

        def start() -> None:
            assert ending.wait(SECONDS)
            manager.start("slow")

        def let_go() -> None:
            until(lambda: registry._waits)
            go_on.set()

        together(lambda: manager.unload("slow"), start, let_go)
        assert manager.loaded()["slow"] is manager.handle("slow")
        assert registry.started() == [handle for handle in registry.known() if handle.state == "running"]
        assert made == ["init", "shutdown", "init"]


def test_a_plugin_that_asks_for_another_as_it_is_made_waits_for_whoever_starts_that() -> None:
    """Both are to be made one after the other, and the first cannot be before the second is."""
    inside = threading.Event()

    class Other(Greeter):
        lang = "Other"

        def greet(self, name: str) -> str:
            return name

    class Leaning(Other):
        def __init__(self) -> None:
            inside.set()
            until(lambda: len(manager._runner.registry._turns) == 2)  # the other thread has that of the other plugin
            assert manager.get("other", Greeter).greet("Ada") == "Ada"

    with PluginManager(probe="never") as manager:
        manager.register("leaning", Leaning)
        manager.register("other", Other)
        together(
            lambda: manager.get("leaning", Greeter),
            lambda: (inside.wait(SECONDS), manager.get("other", Greeter)),
        )
        assert manager.loaded().keys() == {"leaning", "other"}


def test_plugins_are_imported_one_after_the_other_whatever_managers_there_are(
    forge: Forge, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: Any = ModuleType("zoo_shared")
    shared.inside, shared.most, shared.other_came = [], [], threading.Event()
    monkeypatch.setitem(sys.modules, "zoo_shared", shared)
    source = """
import zoo_shared
zoo_shared.inside.append(__name__)
zoo_shared.most.append(len(zoo_shared.inside))
if len(zoo_shared.inside) > 1:
    zoo_shared.other_came.set()
zoo_shared.other_came.wait(0.3)  # so long has the other one time to come in
zoo_shared.inside.remove(__name__)
from pluginapi import Plugin
class New(Plugin):
    pass
"""
    for name in ("one", "two"):
        forge.plugin(name, source)
    barrier = threading.Barrier(2)

    def load(name: str) -> None:
        with PluginManager(probe="never") as manager:
            manager.survey()
            barrier.wait(SECONDS)
            manager.get(name, Plugin)

    together(lambda: load("one"), lambda: load("two"))
    assert shared.most == [1, 1]


SCRIPT = """
import sys, threading, time, types
sys.path.insert(0, sys.argv[1])
from pluginapi import Greeter
from pluginhost.errors import PluginStopped
from pluginhost.events import Events
from pluginhost.generations import Generation
from pluginhost.lifecycle import Handle
from pluginhost.containment import Containment
from pluginhost.settings import PluginSettings
from pluginhost.watchdog import Watchdog
from pluginhost.survey import Candidate, Distribution

foreign = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names
assert foreign <= {"pluginapi", "pluginhost", "__main__"}, foreign

class Some(Greeter):
    lang = "Some"
    def __init__(self):
        self.answered, self.inside, self.is_over = {}, {}, False
    def shutdown(self):
        if any(self.inside.values()) or self.is_over:
            wrong.append("shutdown under a call, or twice")
        self.is_over = True
    def greet(self, name):
        me = threading.get_ident()
        self.inside[me] = True
        if self.is_over:
            wrong.append("called after its shutdown")
        self.answered[me] = self.answered.get(me, 0) + 1
        if self.answered[me] % 100 == 0:
            time.sleep(0)  # lets others in while it is inside
        self.inside[me] = False
        return name

candidate = Candidate("g", "some", "some:New", Distribution("some", "1", "", ""))
handle = Handle("some", candidate, Events(print))
made, wrong, got = [], [], []

def begin():
    if handle.state == "stopped":
        handle.move("discovered")
    for state in ("admitted", "loaded", "created"):
        handle.move(state)
    made.append(Some())
    loaded = types.SimpleNamespace(plugin=made[-1], module=types.ModuleType("some"), candidate=candidate, built_against="", capabilities=frozenset())
    generation = Generation("some", "some", loaded, types.SimpleNamespace(revoke=lambda: None), PluginSettings(), Containment(handle, PluginSettings(), Watchdog(), print))
    generation.start(5)
    handle.begin(generation, [Greeter])

sys.setswitchinterval(0.0005)
begin()
stub = handle.require(Greeter)
running = threading.Event(); running.set()
def call():
    answered = refused = 0
    for _ in range(50_000):
        try:
            assert stub.greet("a") == "a"
            answered += 1
        except PluginStopped:
            refused += 1
            running.wait(1)
    got.append((answered, refused))

threads = [threading.Thread(target=call, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
cycles = 0
while any(thread.is_alive() for thread in threads):
    running.clear()
    assert handle.end(10) == []
    begin()
    running.set()
    cycles += 1
    before = sum(list(made[-1].answered.values()))
    while any(thread.is_alive() for thread in threads) and sum(list(made[-1].answered.values())) < 2_000:
        threads[0].join(0.001)
handle.end(10)
assert wrong == [], wrong
assert len(got) == 8
assert sum(answered + refused for answered, refused in got) == 400_000
assert sum(answered for answered, _ in got) == sum(sum(each.answered.values()) for each in made)
assert cycles > 3
print("free-threaded" if not getattr(sys, "_is_gil_enabled", lambda: True)() else "GIL", cycles)
"""


def free_threaded() -> str | None:
    """Returns a free-threaded Python, if there is one."""
    candidates = [sys.executable, *filter(None, map(shutil.which, ("python3.14t", "python3.13t")))]
    code = "import sys; sys.exit(getattr(sys, '_is_gil_enabled', lambda: True)())"
    runs = (each for each in candidates if subprocess.run([each, "-c", code], check=False).returncode == 0)
    return next(runs, None)


@pytest.mark.parametrize("kind", ["this", "free-threaded"])
def test_calls_enter_and_are_drained_with_nothing_installed_beside_the_host(kind: str, tmp_path: Path) -> None:
    """A free-threaded Python, which has few packages, can run the heart of the host alone."""
    python = sys.executable if kind == "this" else free_threaded()
    if python is None:
        pytest.skip("there is no free-threaded Python on PATH: python3.13t or python3.14t")
    for package in (pluginapi, pluginhost):
        folder = Path(str(package.__file__)).parent
        shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [python, "-I", "-S", "-W", "error", "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("GIL" if kind == "this" else "free-threaded")
