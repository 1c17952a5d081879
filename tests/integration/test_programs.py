"""Programs as plugins: they are listed, called, looked after and replaced as plugins in Python are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forge import Command, Forge
from pluginhost import (
    ConfigurationError,
    PluginCallError,
    PluginHostError,
    PluginInitError,
    PluginLoadError,
    PluginManager,
    PluginStopped,
)
from pluginhost.goplugin import programs
from pluginhost.isolation import children, restarts, system
from waiting import is_alive, stop, until

from pluginapi import Greeter, PluginError

SECONDS = 30
API = """
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from pluginapi import Plugin, idempotent

class Asked(Plugin):
    @abstractmethod
    def do(self, text: str) -> str: ...

    @abstractmethod
    @idempotent
    def again(self, text: str) -> str: ...

    @abstractmethod
    def count(self, to: int, pause: float = 0.0) -> Iterator[int]: ...

    @abstractmethod
    async def do_well(self, text: str) -> str: ...

    @abstractmethod
    async def count_well(self, to: int) -> AsyncIterator[int]:
        yield 0

class Other(Plugin):
    pass
"""
PROGRAM = """#!{python} -I
import sys
sys.path.insert(0, {site!r})
{before}
import logging, os, signal, threading, time
from collections.abc import AsyncIterator, Iterator
from programs_api import Asked, Other
from pluginapi import PluginError
from pluginhost.goplugin import HandshakeConfig, serve
from pluginhost.goplugin import offering, proto

class Mine(Asked):
    given = None

    def do(self, text: str) -> str:
        return str(eval(text))

    again = do

    def count(self, to: int, pause: float = 0.0) -> Iterator[int]:
        for number in range(to):
            yield number
            time.sleep(pause)

    async def do_well(self, text: str) -> str:
        return str(eval(text))

    async def count_well(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

def fail(why):
    raise PluginError(why)

def begin(config, capabilities):
    Mine.given = config, capabilities
    if "wrong" in config:
        fail(config["wrong"])
    if "hang" in config:
        time.sleep(1000)

ended = threading.Event()
mine = Mine()
offer = offering.Offer("asked", {{{contract}: mine}}, {capabilities}, begin=begin)
{change}
serve([offering.Offering([offer])], HandshakeConfig("PLUGINHOST_PLUGIN", {value!r}))
"""
TABLE = '[tool.pluginapi]\napi = "programs_api"\n[tool.pluginapi.plugins."pluginhost.plugins".asked]\ncontracts = ["Asked"]\nprogram = "zoo_asked/asked"\n'


def source(forge: Forge, before: str = "", change: str = "", **said: Any) -> str:
    """Returns a program that evaluates texts."""
    names = {"contract": "Asked", "capabilities": (), "value": "programs_api", **said}
    return PROGRAM.format(python=sys.executable, site=str(forge.site), before=before, change=change, **names)


def wheel(forge: Forge, version: str = "1.0.0") -> Path:
    """Returns a wheel with it."""
    return forge.wheel(
        "zoo-asked", {"zoo_asked/asked": source(forge)}, 'asked = "zoo_asked"', version=version, hook=True,
        dependencies=("programs-api~=1.0",), settings=TABLE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """A folder in which a program is installed that evaluates texts, and its API."""
    forge = Forge(tmp_path_factory.mktemp("programs"))
    api = {"hook": True, "settings": '[tool.pluginapi]\nprovides = "programs_api"'}
    forge.install(forge.wheel("programs-api", {"programs_api/__init__.py": API}, **api))  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(forge.site))
        forge.install(wheel(forge))
        yield forge
        for name in [name for name in sys.modules if name.startswith("programs_api")]:
            del sys.modules[name]


@pytest.fixture
def file(made: Forge) -> Iterator[Path]:
    """The program's file, for a test that changes it; it is put back."""
    path = made.site / "zoo_asked" / "asked"
    text = path.read_text("utf-8")
    yield path
    path.write_text(text, "utf-8")
    path.chmod(0o755)


@contextlib.contextmanager
def managed(**settings: Any) -> Iterator[PluginManager]:
    """Yields a manager of the program, with what is set for it."""
    with PluginManager(api="programs_api", plugins={"asked": settings}) as manager:
        yield manager


def asked(manager: PluginManager) -> Any:
    from programs_api import Asked  # type: ignore[import-not-found]

    return manager.get("asked", Asked)


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(PluginHostError) as raised:
        call()
    return raised.value.finding.code


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temporary folder of this process's programs, whose path is short enough for their sockets."""
    with tempfile.TemporaryDirectory(prefix="gp-") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


def test_a_program_is_called_as_any_plugin_and_leaves_nothing(
    made: Forge, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "x")
    threads = set(threading.enumerate())
    with managed(config={"lang": "Go", "deep": {"er": [1]}}) as manager:
        stub = asked(manager)
        assert stub.name == "asked"
        assert stub.do("'a' + 'b'") == "ab"
        assert list(stub.count(3)) == [0, 1, 2]
        assert next(iter(stub.count(1000))) == 0
        assert stub.do("Mine.given[0]") == "{'lang': 'Go', 'deep': {'er': [1]}}"
        assert stub.do("'SOME_TOKEN' in os.environ") == "False"

        async def wells() -> tuple[str, list[int]]:
            return await stub.do_well("1 + 1"), [each async for each in stub.count_well(3)]

        for _ in range(2):  # in another event loop, too
            assert asyncio.run(wells()) == ("2", [0, 1, 2])
        with pytest.raises(PluginError, match=r"^not like this$"):
            stub.do("fail('not like this')")
        with pytest.raises(PluginCallError, match=r"asked.*zoo-asked 1\.0\.0.*UNKNOWN: ZeroDivisionError") as raised:
            stub.do("1 / 0")
        assert (raised.value.finding.code, raised.value.plugin, raised.value.method) == ("call-failed", "asked", "do")
        handle = manager.handle("asked")
        assert handle.settings
        assert handle.settings.isolation == "process"
        assert code_of(lambda: handle.lookup("New", int)) == "lookup-isolated"
        pid = int(stub.do("os.getpid()"))
    assert not is_alive(pid)
    until(lambda: list(folder.iterdir()) == [])
    until(lambda: {each for each in threading.enumerate() if "watchdog" not in each.name} <= threads)
    assert code_of(lambda: stub.do("1")) == "plugin-stopped"


def test_the_commands_know_it(made: Forge, command: Command) -> None:
    api = {"PYTHONPATH": str(made.site)}
    listed = subprocess.run(
        [sys.executable, "-m", "pluginhost", "list", "--api", "programs_api"], env=os.environ | api,
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "asked" in listed
    said = subprocess.run(
        [sys.executable, "-m", "pluginhost", "call", "--api", "programs_api", "asked", "do", "6 * 7"],
        env=os.environ | api, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said == "42\n"


def test_the_doctor_starts_it_with_load_alone_and_leaves_nothing(made: Forge, file: Path, folder: Path) -> None:
    def verdict(*words: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "pluginhost", "doctor", "--api", "programs_api", "--json", *words],
            env=os.environ | {"PYTHONPATH": str(made.site), "TMPDIR": str(folder)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = json.loads(done.stdout)
        assert [each["extent"] for each in said["checks"] if each["title"] == "programs"] == ["1 program"]
        assert not list(folder.iterdir())
        return next((each for each in said["plugins"] if each["name"] == "asked"), {})

    started = folder.parent / f"{folder.name}.started"
    file.write_text(source(made, before=f"open({str(started)!r}, 'w').close()"), "utf-8")
    assert verdict() == {}
    assert not started.exists()
    found = verdict("--load")
    assert (found["reached"], found["state"], started.exists()) == ("usable", "ok", True)
    started.unlink()
    for changed, code in ((source(made, contract="Other"), "contract-unserved"), ("#!/bin/false", "program-died")):
        file.write_text(changed, "utf-8")
        found = verdict("--load")
        assert (found["reached"], found["state"]) == ("registered", "error")
        assert [each["code"] for each in found["findings"]] == [code]


def test_where_it_runs_is_settled(made: Forge) -> None:
    with managed() as manager:
        with pytest.raises(ConfigurationError, match="asked is a program, and needs a process of its own"):
            manager.get("asked", Greeter, isolation="none")
        assert manager.handle("asked", isolation="process").state == "running"
    with managed(isolation="none") as manager:
        assert code_of(lambda: asked(manager)) == "isolation-impossible"


def test_a_program_that_is_killed_is_started_again_and_the_next_call_is_answered(made: Forge) -> None:
    with managed() as manager:
        events: list[Any] = []
        manager.subscribe(events.append, "plugin.")
        stub = asked(manager)
        with pytest.raises(PluginCallError) as raised:
            stub.do("os.kill(os.getpid(), signal.SIGKILL)")
        assert raised.value.finding.code == "channel-lost"
        assert "the signal SIGKILL" in str(raised.value)
        assert stub.do("1") == "1"
        assert [each.topic for each in events if each.topic in ("plugin.died", "plugin.restarted")] == [
            "plugin.died", "plugin.restarted",
        ]  # fmt: skip


def test_what_was_inside_when_it_died_is_lost_unless_twice_is_as_good_as_once(made: Forge, tmp_path: Path) -> None:
    note = str(tmp_path / "died")
    with managed() as manager:
        assert asked(manager).again(f"os.path.exists({note!r}) or [open({note!r}, 'w'), os._exit(3)]") == "True"
    with managed() as manager, pytest.raises(PluginCallError, match="exit status 3"):
        list(_killing(asked(manager)))


def _killing(stub: Any) -> Iterator[int]:
    for number in stub.count(1000, 0.001):
        if number == 1:
            with contextlib.suppress(PluginCallError):
                stub.do("os._exit(3)")
        yield number


def test_a_program_that_dies_again_and_again_has_failed(made: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(restarts, "DEATHS", 2)
    with managed() as manager:
        stub = asked(manager)
        for _ in range(2):
            with contextlib.suppress(PluginCallError):
                stub.do("os._exit(1)")
        until(lambda: manager.status()["asked"].state == "failed")
        with pytest.raises(PluginStopped, match="ended 2 times within 60 s"):
            stub.do("1")


def test_calls_end_on_time_and_many_late_ones_end_the_program(made: Forge) -> None:
    with managed(call_timeout=2.5, breaker_failures=2, breaker_seconds=0.05) as manager:
        stub = asked(manager)
        pid = int(stub.do("os.getpid()"))
        assert list(stub.count(6, 0.5)) == [*range(6)]  # it is each item that must be on time
        assert code_of(lambda: stub.do("time.sleep(100)")) == "call-timeout"
        assert code_of(lambda: list(stub.count(2, 100.0))) == "call-timeout"
        until(lambda: not is_alive(pid))
        until(lambda: _answers(stub))


def _answers(stub: Any) -> bool:
    with contextlib.suppress(PluginCallError):
        return bool(stub.do("1") == "1")
    return False


def test_a_program_that_gives_no_sign_of_life_is_told_of_and_killed(
    made: Forge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(children, "FLAG_SECONDS", 0.3)
    monkeypatch.setattr(
        children, "KILL_SECONDS", 2.5
    )  # a second more than a busy machine may keep one silent that is well
    with managed() as manager:
        stub = asked(manager)
        stop(int(stub.do("os.getpid()")))
        with pytest.raises(PluginCallError, match="it gave no sign of life"):
            stub.do("1")
        assert stub.do("1") == "1"
    assert "[child-silent]" in caplog.text


def test_a_spare_takes_over(made: Forge) -> None:
    with managed(critical=True) as manager:
        stub = asked(manager)
        of: Any = manager.handle("asked").plugin
        until(lambda: of._pluginhost_peer._spare)
        spare = of._pluginhost_peer._spare.pid
        with contextlib.suppress(PluginCallError):
            stub.do("os._exit(1)")
        assert stub.do("os.getpid()") == str(spare)
        assert stub.do("Mine.given is not None") == "True"


def test_what_it_writes_is_the_plugins_log(made: Forge, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From its start on; each line has the level that it says it has."""
    file.write_text(source(made, before="print('begun', file=sys.stderr, flush=True)"), "utf-8")
    caplog.set_level(0)
    with managed() as manager:
        stub = asked(manager)
        stub.do("print('printed', flush=True)")
        stub.do("logging.getLogger('mine').error('logged %s', 'well')")
        until(lambda: {"begun", "printed", "logged well"} <= {_text(each) for each in caplog.records})
    said = {_text(each): each for each in caplog.records}
    for text, level in (("begun", "DEBUG"), ("printed", "INFO"), ("logged well", "ERROR")):
        record: Any = said[text]
        assert (record.name, record.levelname) == ("pluginhost.plugins.asked", level)
        assert (record.plugin, record.distribution, record.generation) == ("asked", "zoo-asked", 1)


def _text(record: Any) -> str:
    return "logged well" if "logged well" in record.getMessage() else str(record.getMessage())


@pytest.mark.skipif(system.best() is system.PORTABLE, reason="only Linux limits another process")
def test_it_is_held_to_limits(made: Forge) -> None:
    with managed(limits={"files": 64, "cpu": 1000}) as manager:
        read = "__import__('resource').getrlimit(__import__('resource').{})[0]"
        stub = asked(manager)
        assert stub.do(read.format("RLIMIT_NOFILE")) == "64"
        assert stub.do(read.format("RLIMIT_CPU")) == "1000"


def test_a_system_that_cannot_limit_it_says_so(
    made: Forge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(system, "best", lambda: system.PORTABLE)
    with managed(limits={"files": 64}) as manager:
        assert asked(manager).do("1") == "1"
    assert "its limits are not held" in caplog.text


STARTS = {
    "dies": ({"before": "print('no licence', file=sys.stderr); sys.exit(3)"}, "program-died", "exit status 3.*no licence"),
    "prints": ({"before": "print('welcome', flush=True)"}, "handshake-malformed", "'welcome'"),
    "hangs": ({"before": "import time; time.sleep(1000)"}, "handshake-late", "has not said within 0.7 s"),
    "other contract": ({"contract": "Other"}, "contract-unserved", "does not serve Asked.*it serves Other"),
    "other cookie": ({"value": "another"}, "program-died", "is a plugin, and not meant"),
    "other fingerprint": (
        {"change": "here = offering.contract_of; from dataclasses import replace; "
                   "offering.contract_of = lambda each: replace(here(each), fingerprint='sha256:f00')"},
        "api-forked", r"programs_api 1\.0\.0 \(fingerprint sha256:f00\).*host has programs_api 1\.0\.0 \(fingerprint sha256:",
    ),
    "other version": (
        {"change": "here = offering.contract_of; from dataclasses import replace; "
                   "offering.contract_of = lambda each: replace(here(each), version='2.1.0')"},
        "api-version", r"programs_api 2\.1\.0.*programs_api 1\.0\.0",
    ),
    "other capabilities": ({"capabilities": ("batch",)}, "capabilities-wrong", "are batch, and its manifest says none"),
}  # fmt: skip


@pytest.mark.parametrize("case", STARTS)
def test_a_start_that_fails_is_told_with_the_command_and_its_last_words(case: str, made: Forge, file: Path) -> None:
    said, code, text = STARTS[case]
    file.write_text(source(made, **said), "utf-8")  # type: ignore[arg-type]
    with managed(new_timeout=0.7 if case == "hangs" else 60.0) as manager:
        with pytest.raises(PluginLoadError, match=f"(?s){text}") as raised:
            asked(manager)
        found = raised.value.finding
        assert found.code == code
        assert "zoo-asked 1.0.0" in found.message
        if code != "capabilities-wrong":
            assert str(file) in found.message
        assert "start_timeout" not in found.hint
        assert manager.status()["asked"].state == "failed"
        assert not _children()


def _children() -> list[str]:
    """Returns what this process has started that runs a program."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(os.getpid()) == (each / "stat").read_text().rpartition(")")[2].split()[1]:
                found.append((each / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return [each for each in found if "zoo_asked" in each]


def test_init_may_refuse_and_may_hang(made: Forge) -> None:
    with managed(config={"wrong": "no such region"}) as manager:
        with pytest.raises(PluginInitError, match=r"\[init-failed\].*raised PluginError: no such region"):
            asked(manager)
        assert not _children()
    with managed(config={"hang": 1}, init_timeout=0.5) as manager:
        assert code_of(lambda: asked(manager)) == "init-timeout"
        assert not _children()


def test_a_program_that_cannot_be_started_is_refused(file: Path) -> None:
    file.chmod(0o644)
    with managed() as manager, pytest.raises(PluginHostError, match=str(file)) as raised:
        asked(manager)
    assert raised.value.finding.code == "program-unstartable"


FORKS = """
import os, sys
from pluginhost import PluginCallError, PluginManager
from programs_api import Asked

instances = {"one": {"plugin": "asked"}, "two": {"plugin": "asked"}}
with PluginManager(api="programs_api", instances=instances) as manager:
    stub = manager.get("one", Asked)
    pid = stub.do("os.getpid()")
    copy = os.fork()
    if copy == 0:
        try:
            stub.do("1")
        except PluginCallError as exc:
            print(exc.finding.code, flush=True)
        print(manager.get("two", Asked).do("os.getpid()") != pid, flush=True)
        manager.close()
        os._exit(0)
    os.waitpid(copy, 0)
    print(stub.do("os.getpid()") == pid)
"""


def test_a_copy_of_the_process_leaves_the_program_alone(made: Forge) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS], env=os.environ | {"PYTHONPATH": str(made.site)},
        capture_output=True, text=True, check=False, timeout=2 * SECONDS,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (["plugin-stopped", "True", "True"], "")


def test_instances_are_programs_of_their_own(made: Forge) -> None:
    instances: dict[str, Any] = {"one": {"plugin": "asked"}, "two": {"plugin": "asked"}}
    instances["three"] = {"plugin": "asked", "isolation": "process", "wheel": str(wheel(made, "1.2.0"))}
    for name, settings in instances.items():
        settings["config"] = {"at": name}
    with PluginManager(api="programs_api", instances=instances) as manager:
        from programs_api import Asked

        stubs = [manager.get(name, Asked) for name in instances]
        assert [each.do("Mine.given[0]['at']") for each in stubs] == [*instances]
        assert len({each.do("os.getpid()") for each in stubs}) == 3


def test_a_route_leads_to_it_and_to_another_version_when_it_is_stopped(made: Forge) -> None:
    beta = {"plugin": "asked", "isolation": "process", "wheel": str(wheel(made, "1.3.0"))}
    routes = {"Asked": {"default": "asked", "order": ["beta"]}}
    with PluginManager(api="programs_api", instances={"beta": beta}, routes=routes) as manager:
        from programs_api import Asked

        stub = manager.route(Asked)
        first = stub.do("os.getpid()")
        assert first == asked(manager).do("os.getpid()")
        manager.stop("asked")
        assert stub.do("os.getpid()") == manager.get("beta", Asked).do("os.getpid()") != first


def test_without_the_extra_it_is_refused_with_the_way_to_get_it(made: Forge) -> None:
    code = """
import sys
sys.modules["grpclib"] = None
from pluginhost import PluginManager
PluginManager(api="programs_api").start("asked")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(made.site)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "ConfigurationError" in done.stderr
    assert "[tool-missing] asked (zoo-asked 1.0.0), a program, needs grpclib, protobuf and" in done.stderr
    assert "pip install 'pluginhost[goplugin]'" in done.stderr


@pytest.mark.parametrize(("version", "agreed"), [("1.4.2", 1), ("2.0", 2), ("0.9", 0), ("", 1), (None, 1), ("x", 1)])
def test_the_protocol_version_is_the_major_version_of_the_api(version: str | None, agreed: int) -> None:
    assert programs.protocol_version(version) == agreed


def test_a_new_version_takes_over_under_its_callers(made: Forge) -> None:
    """It comes last: the version that is installed is another then."""
    new = wheel(made, "1.1.0")
    with managed() as manager:
        stub = asked(manager)
        pid, calls, failed = int(stub.do("os.getpid()")), [0], []
        is_over = threading.Event()

        def call() -> None:
            while not is_over.is_set():
                try:
                    stub.do("1")
                    assert list(stub.count(2)) == [0, 1]
                    calls[0] += 1
                except Exception as exc:
                    failed.append(exc)

        callers = [threading.Thread(target=call) for _ in range(3)]
        for each in callers:
            each.start()
        try:
            made.install(new)
            manager.reload("asked")
            done = calls[0]
            until(lambda: calls[0] > done + 3)
        finally:
            is_over.set()
            for each in callers:
                each.join()
        assert failed == []
        assert manager.handle("asked").candidate.distribution.version == "1.1.0"
        assert stub.do("os.getpid()") != str(pid)
        assert not is_alive(pid)
