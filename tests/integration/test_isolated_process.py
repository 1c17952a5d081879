"""What an isolated plugin's process is given, is held to, and outlives; and the way into it and back while it is called."""

from __future__ import annotations

import importlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from pluginhost import ConfigurationError, PluginCallError, PluginHostError, PluginManager, handover
from pluginhost.handover import Stated
from pluginhost.isolation import system
from waiting import is_alive, until

from pluginapi import Transformer

if TYPE_CHECKING:
    from forge import Command, Forge
    from pluginhost import Handle
    from pluginhost.survey import Candidate

SYSTEMS = ["best", "portable"]
EVAL = """
import os
from pluginapi import Transformer

class Some(Transformer):
    def transform(self, text: str) -> str:
        return str(eval(text))

def New() -> Some:
    return Some()
"""


@pytest.fixture
def evaluates(forge: Forge, site: pathlib.Path) -> Iterator[Callable[..., Transformer]]:
    """Returns a plugin that evaluates texts in a process of its own."""
    forge.plugin("eval", EVAL)
    managers: list[PluginManager] = []

    def make(**settings: Any) -> Transformer:
        plugins = {"eval": {"isolation": "process", **settings}}
        managers.append(PluginManager(plugins=plugins, probe="never"))
        return managers[-1].get("eval", Transformer)

    yield make
    for manager in managers:
        manager.close()


@pytest.fixture(params=SYSTEMS)
def on(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has children served by the way of this system, and by the portable one."""
    if request.param == "portable":
        monkeypatch.setattr(system, "best", lambda: system.PORTABLE)


def failed(call: Callable[[], object]) -> PluginCallError:
    with pytest.raises(PluginCallError) as raised:
        call()
    return raised.value


# -- what it is given


@pytest.mark.usefixtures("on")
def test_a_child_has_a_session_of_its_own_and_no_secrets(
    evaluates: Callable[..., Transformer], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "SOME_TOKEN", "LC_SOME"):
        monkeypatch.setenv(name, "x")
    held = os.open(tmp_path / "held", os.O_CREAT)
    os.set_inheritable(held, True)  # as a careless library does
    do = evaluates().transform
    names = do("' '.join(os.environ)").split()
    assert not {"AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "SOME_TOKEN"} & set(names)
    assert {"PATH", "LC_SOME"} <= set(names)
    assert do("os.environ['PATH']") == os.environ["PATH"]
    assert do("os.getsid(0) == os.getpgid(0) == os.getpid()") == "True"
    links = do("' '.join(os.readlink(f'/proc/self/fd/{each}') for each in range(64) if os.path.exists("
               "f'/proc/self/fd/{each}'))")  # fmt: skip
    assert str(tmp_path) not in links
    assert do("os.read(0, 1)") == "b''"
    os.close(held)


def test_a_child_may_use_no_more_memory_than_it_is_given(evaluates: Callable[..., Transformer]) -> None:
    """It goes on; another without a limit takes as much as it likes."""
    do = evaluates(limits={"memory": 300}).transform
    before = do("os.getpid()")
    exc = failed(lambda: do("len(bytearray(400 << 20))"))
    assert exc.finding.code == "call-failed"
    assert "MemoryError" in exc.finding.message
    assert do("len(bytearray(50 << 20))") == str(50 << 20)
    assert do("os.getpid()") == before


def test_a_child_may_open_no_more_files_than_it_is_given(evaluates: Callable[..., Transformer]) -> None:
    do = evaluates(limits={"files": 40}).transform
    exc = failed(lambda: do("[open(os.devnull) for _ in range(64)]"))
    assert (exc.finding.code, "Too many open files" in exc.finding.message) == ("call-failed", True)
    assert do("1 + 1") == "2"


def test_a_child_whose_processor_time_is_over_is_ended_and_another_serves(
    evaluates: Callable[..., Transformer],
) -> None:
    do = evaluates(limits={"cpu": 1}).transform
    before = do("os.getpid()")
    exc = failed(lambda: do("any(iter(int, 1))"))
    assert exc.finding.code == "channel-lost"
    assert "it was ended by SIG" in exc.finding.message
    assert do("os.getpid()") != before


HOST = """
import sys, time
from pluginhost import PluginManager
from pluginhost.isolation import system
from pluginapi import Transformer
if sys.argv[1] == "portable":
    system.best = lambda: system.PORTABLE
manager = PluginManager(plugins={"eval": {"isolation": "process", "critical": True}}, probe="never")
print(manager.get("eval", Transformer).transform("os.getpid()"), flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("way", SYSTEMS)
def test_a_host_that_is_killed_leaves_no_child(forge: Forge, way: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(forge.plugin("eval", EVAL))}
    with subprocess.Popen([sys.executable, "-c", HOST, way], env=environment, stdout=subprocess.PIPE) as host:
        assert host.stdout
        pid = int(host.stdout.readline())
        children = pathlib.Path(f"/proc/{host.pid}/task")
        until(lambda: len(pids := children_of(children)) == 2 and pid in pids)
        pids = children_of(children)
        if way == "best":  # whatever a child does at that time: the kernel ends it
            os.kill(pid, signal.SIGSTOP)
        host.send_signal(signal.SIGKILL)
    until(lambda: not any(map(is_alive, pids)))


def children_of(tasks: pathlib.Path) -> list[int]:
    return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


# -- the way into it and back


@pytest.mark.usefixtures("on")
def test_isolation_is_switched_on_and_off_under_callers(forge: Forge, site: pathlib.Path) -> None:
    """No call fails, and calls are answered here and there."""
    forge.plugin("eval", EVAL)
    with PluginManager(probe="never") as manager:
        plugin = manager.get("eval", Transformer)
        pids: set[str] = set()
        errors: list[BaseException] = []
        is_over = threading.Event()

        def call() -> None:
            try:
                while not is_over.is_set():
                    pids.add(plugin.transform("os.getpid()"))
            except BaseException as exc:
                errors.append(exc)

        threads = [threading.Thread(target=call) for _ in range(2)]
        for thread in threads:
            thread.start()
        for isolation in ("process", "none", "process"):
            manager.apply({"plugins": {"eval": {"isolation": isolation}}})
            here = plugin.transform("os.getpid()")
            assert (here == str(os.getpid())) == (isolation == "none")
            assert errors == []
        until(lambda: len(pids) == 3)
        is_over.set()
        for thread in threads:
            thread.join(60)
        assert errors == []
        assert str(os.getpid()) in pids
        last = int(here)
    assert not is_alive(last)


# -- its state

STATED = """
import os, time
from pluginapi import Transformer

class Counter(Transformer):
    state_version = 3
    state_accepts = (2, 3)
    state_snapshot = True

    def __init__(self):
        self.state = {"count": 0}

    def transform(self, text: str) -> str:
        exec(text)
        return str(self.state)[:99]

    def export_state(self):
        if callable(self.state):
            return self.state()
        return self.state

    def restore_state(self, state):
        if state == "bad":
            raise ValueError("not that one")
        if state == "back":
            return state
        self.state = state

def New() -> Counter:
    return Counter()
"""


@pytest.fixture
def counters(forge: Forge, site: pathlib.Path) -> Iterator[Callable[..., Handle]]:
    """Returns a plugin with a state, anew each time."""
    forge.plugin("tally", STATED)
    managers: list[PluginManager] = []

    def make(isolation: str = "process", **settings: Any) -> Handle:
        managers.append(PluginManager(plugins={"tally": {"isolation": isolation, **settings}}, probe="never"))
        return managers[-1].handle("tally")

    yield make
    for manager in managers:
        manager.close()


def of(handle: Handle) -> tuple[Any, Candidate]:
    return handle.plugin, handle.candidate


@pytest.mark.usefixtures("on")
def test_a_state_goes_from_child_to_child_and_into_this_process(counters: Callable[..., Handle]) -> None:
    """Of any size that crosses. Once a child has crashed, the next begins without."""
    states = [{"count": 7, "of": [None, 1.5, b"x"]}, {"x": "y" * 1000}, {"x": b"y" * 300_000}, {"x": "y" * (15 << 20)}]
    handles = [counters(isolation) for isolation in ("process", "process", "none")]
    assert [handover.stated(*of(each)) for each in handles] == [Stated(True, True, 3, frozenset({2, 3}), True)] * 3
    for state in states:
        data = msgspec.msgpack.encode(state)
        for handle in handles:
            handover.restore(of(handle)[0], data, of(handle)[1])
            data = handover.export(*of(handle))
        assert msgspec.msgpack.decode(data) == state
    plugin: Any = handles[0].plugin
    failed(lambda: handles[0].require(Transformer).transform("os._exit(3)"))
    until(lambda: plugin.export_state() == {"count": 0})


def test_a_plugin_without_a_state_has_none_in_a_child(forge: Forge, site: pathlib.Path) -> None:
    forge.plugin("eval", EVAL)
    with PluginManager(plugins={"eval": {"isolation": "process"}}, probe="never") as manager:
        assert handover.stated(*of(manager.handle("eval"))) == Stated()


FAILING = {
    "raise": ("self.state = lambda: 1 / 0", "export_state raised ZeroDivisionError: division by zero, in "),
    "not plain": ("self.state = self", "returned a Counter that is no plain data"),
    "large": ("self.state = 'x' * (17 << 20)", "and 16,777,216 may cross"),
    "deep": ("self.state = 0\nfor _ in range(99): self.state = [self.state]", "nested deeper than 64"),
    "exit": ("self.state = lambda: os._exit(3)", "it ended with exit status 3"),
    "late": ("self.state = lambda: time.sleep(60)", "export_state did not return within 1.2 s"),
}


def test_a_state_that_cannot_be_had_of_a_child_is_told_and_the_plugin_serves_on(
    counters: Callable[..., Handle],
) -> None:
    handles = {1.2: counters(init_timeout=1.2), 60.0: counters()}  # what is not to be late has time for it
    for name, (text, said) in FAILING.items():
        handle = handles[1.2 if name == "late" else 60.0]
        do = handle.require(Transformer).transform
        do(text)
        with pytest.raises(PluginHostError) as raised:
            handover.export(*of(handle))
        assert (name, raised.value.finding.code, said in raised.value.finding.message) == (name, "state-failed", True)
        if name == "raise":
            assert "in export_state\n" in str(raised.value.__cause__)
        assert do("") or name
    failed(lambda: do("os._exit(3)"))  # what is late still sleeps, and its end would be waited for


@pytest.mark.parametrize("isolation", ["process", "none"])
def test_a_state_that_a_plugin_does_not_take_is_refused(counters: Callable[..., Handle], isolation: str) -> None:
    handle = counters(isolation)
    given = {
        b"\xa3bad": "restore_state raised ValueError: not that one, in ",
        b"\xa4back": "restore_state returned a str, and is to return nothing; it is no `async def`",
    }
    if isolation == "process":
        given[msgspec.msgpack.encode(b"x" * (17 << 20))] = (
            "restore_state was not called: a message's body has 17,825,797"
        )
    for state, said in given.items():
        with pytest.raises(PluginHostError) as raised:
            handover.restore(handle.plugin, state, handle.candidate)
        assert (raised.value.finding.code, said in raised.value.finding.message) == ("state-refused", True)
    assert handle.require(Transformer).transform("") == "{'count': 0}"


# -- contracts that do not cross

API = """
import io
from abc import abstractmethod
from collections.abc import Callable
from typing import IO
from pluginapi import Plugin

class Calls(Plugin):
    @abstractmethod
    def each(self, then: Callable[[int], int]) -> int: ...

class Writes(Plugin):
    @abstractmethod
    def write(self, text: str, file: IO[str]) -> None: ...

class Bare(Plugin):
    @abstractmethod
    def bare(self, x) -> int: ...

class Unsaid(Plugin):
    @abstractmethod
    def unsaid(self, x: int): ...

class Live(Plugin):
    made: io.StringIO
"""
PLUGINS = """
import io
import live_api

class Calls(live_api.Calls):
    def each(self, then): return then(3)

class Writes(live_api.Writes):
    def write(self, text, file): file.write(text)

class Bare(live_api.Bare):
    def bare(self, x): return x

class Unsaid(live_api.Unsaid):
    def unsaid(self, x): return x

class Live(live_api.Live):
    def __init__(self): self.made = io.StringIO("live")
"""
UNCROSSABLE = {
    "Calls": (
        "each",
        "its then is collections.abc.Callable[[int], int]",
        lambda plugin: plugin.each(lambda x: x * 2) == 6,
    ),
    "Writes": ("write", "its file is ", lambda plugin: plugin.write("text", sys.stderr) is None),
    "Bare": ("bare", "its x has no annotation", lambda plugin: plugin.bare(plugin) is plugin),
    "Unsaid": ("unsaid", "what it returns has no annotation", lambda plugin: plugin.unsaid(3) == 3),
    "Live": ("made", "_io.StringIO", lambda plugin: plugin.made.read() == "live"),
}


def test_a_contract_that_cannot_cross_is_refused_when_isolation_is_asked_for(forge: Forge, site: pathlib.Path) -> None:
    """Naming its method and the type; in this process it serves, before and after."""
    forge.install(
        forge.wheel(
            "zoo-live-api", {"live_api/__init__.py": API}, hook=True, settings='[tool.pluginapi]\nprovides = "live_api"'
        )
    )
    lines = "\n".join(f'{name.lower()} = "live_plugins:{name}"' for name in UNCROSSABLE)
    project = f'[project.entry-points."live.plugins"]\n{lines}'
    forge.install(
        forge.wheel("zoo-live", {"live_plugins.py": PLUGINS}, project=project, dependencies=("zoo-live-api~=1.0",))
    )
    with PluginManager("live.plugins", "live_api", probe="never") as manager:
        for name, (method, why, is_right) in UNCROSSABLE.items():
            contract = getattr(importlib.import_module("live_api"), name)
            plugin = name.lower()
            with pytest.raises(ConfigurationError) as raised:
                manager.get(plugin, contract, isolation="process")
            found = raised.value.finding
            assert found.code == "contract-uncrossable"
            assert found.message.startswith(f"live_api.{name}.{method} cannot cross to another process: ")
            assert why in found.message
            assert is_right(manager.get(plugin, contract, isolation="none"))


# -- the command


@pytest.mark.parametrize("words", [["english", "greet", "Ada"], ["add", "execute", "1", "2.5", "--json"]])
def test_call_prints_the_same_for_an_isolated_plugin(command: Command, words: list[str]) -> None:
    here, there = command("call", *words), command("call", "--isolation", "process", *words)
    assert (there.stdout, there.stderr, there.returncode) == (here.stdout, b"", 0)


def test_call_tells_how_an_isolated_plugin_ended(command: Command, forge: Forge) -> None:
    forge.plugin("eval", EVAL)
    done = command("call", "--isolation", "process", "eval", "transform", "__import__('ctypes').string_at(0)")
    assert (done.stdout, done.returncode) == (b"", 1)
    said = done.stderr.decode()
    assert "[channel-lost] eval (zoo-eval 1.0.0): transform did not return: " in said
    assert "it was ended by SIGSEGV after " in said
    assert "Traceback" not in said.partition("hint: ")[2]


def test_the_commands_isolation_is_completed_and_explained(command: Command) -> None:
    completed = command(
        env={"_PLUGINHOST_COMPLETE": "bash_complete", "COMP_WORDS": "pluginhost call --isolation ", "COMP_CWORD": "3"}
    )
    assert completed.stdout.split() == [b"plain,none", b"plain,process"]
    shown = command("call", "--help").stdout.decode()
    assert "--isolation [none|process]" in shown
