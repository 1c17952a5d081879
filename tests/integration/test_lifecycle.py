"""Plugins from really built wheels, from their start to their end: what they require, are given and leave behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from forge import GREETER, Forge
from pluginhost import (
    ConfigurationError,
    PluginCallError,
    PluginHostError,
    PluginInitError,
    PluginLoadError,
    PluginManager,
    PluginRefused,
    PluginRequirementError,
    PluginsFailed,
    PluginStopped,
    PluginTypeError,
)

from pluginapi import Event, Greeter, Plugin, Transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOTES = """
import builtins, sys
from pluginapi import Greeter, Plugin, Transformer

class Noting(Plugin):
    def __new__(cls):
        self = super().__new__(cls)
        sys.modules["zoo_notes"].notes.append("New")
        return self
    def _note(self, what):
        notes = sys.modules["zoo_notes"]
        notes.notes.append(f"{what} {self.name}")
        if f"{what} {self.name}" in notes.fail:
            raise ValueError(what)
    def init(self, host):
        self.host = host
        self._note("init")
        self.then(host)
    def then(self, host):
        pass
    def validate(self):
        self._note("validate")
    def shutdown(self):
        self._note("shutdown")

New = Noting
"""
ASKS = (
    NOTES
    + """
class New(Noting):
    def then(self, host):
        self.others = [host.get(name, Plugin) for name in host.config.get("asks", ())]
"""
)
GUESTS = (
    NOTES
    + """
class New(Noting):
    def then(self, host):
        self.guests = host.load("http.handlers", host.config["handlers"], Plugin)
"""
)


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the plugins note, and where they are to fail."""
    module: Any = ModuleType("zoo_notes")
    module.notes, module.fail = [], set()
    monkeypatch.setitem(sys.modules, "zoo_notes", module)
    return module


def table(name: str, lines: str) -> dict[str, Any]:
    """Returns what a forged plugin's settings are."""
    return {"hook": True, "settings": f'[tool.pluginapi.plugins."pluginhost.plugins"."{name}"]\n{lines}'}


def manage(**options: Any) -> PluginManager:
    return PluginManager(**({"probe": "never"} | options))


def codes(error: PluginHostError) -> list[str]:
    return [finding.code for finding in (error.finding, *error.more)]


# From start to end.


def test_a_plugin_is_made_initialised_validated_and_shut_down_once_each(forge: Forge, site: Path, notes: Any) -> None:
    forge.plugin("p", NOTES)
    with manage() as manager:
        assert manager.get("p", Plugin) is manager.get("p", Plugin)
        assert notes.notes == ["New", "init p", "validate p"]
    manager.close()
    assert notes.notes == ["New", "init p", "validate p", "shutdown p"]


@pytest.mark.parametrize(
    ("fails", "code", "ends"),
    [("init p", "init-failed", []), ("validate p", "validate-failed", ["validate p", "shutdown p"])],
)
def test_what_fails_is_unwound_remembered_and_may_be_started_again(
    forge: Forge, site: Path, notes: Any, fails: str, code: str, ends: list[str]
) -> None:
    """`init` ends itself what it began, as `__enter__` does; after `validate`, `shutdown` is called."""
    forge.plugin("p", NOTES)
    notes.fail.add(fails)
    with manage() as manager:
        for _ in range(2):
            with pytest.raises(PluginInitError) as caught:
                manager.get("p", Plugin)
            assert codes(caught.value) == [code]
        assert notes.notes == ["New", "init p", *ends]
        notes.fail.clear()
        manager.start("p")
        assert manager.get("p", Plugin).name == "p"
        assert manager.handle("p").generation == 1


@pytest.mark.parametrize("returns", ["self", "(lambda: (yield))()"])
def test_an_init_that_returns_something_is_refused(forge: Forge, site: Path, returns: str) -> None:
    forge.plugin(
        "p", f"from pluginapi import Plugin\nclass New(Plugin):\n    def init(self, host):\n        return {returns}\n"
    )
    with manage() as manager, pytest.raises(PluginInitError, match=r"\[init-failed\].* init returned a"):
        manager.get("p", Plugin)


def test_every_change_of_state_is_told(forge: Forge, site: Path, notes: Any) -> None:
    forge.plugin("p", NOTES)
    told: list[Event] = []
    with manage() as manager:
        undo = manager.subscribe(told.append, "plugin.")
        manager.get("p", Plugin)
        manager.stop("p")
        undo()
        manager.start("p")
    states = ["discovered", "admitted", "loaded", "created", "running", "draining", "stopped"]
    assert [(event.fields["before"], event.topic) for event in told] == [
        (before, f"plugin.{state}") for before, state in itertools.pairwise(states)
    ]
    assert told[-1].fields["seconds"] > 0
    assert told[-1].fields | {"seconds": 0} == {
        "plugin": "p", "distribution": "zoo-p", "version": "1.0.0", "generation": 1, "before": "draining", "error": None,
        "seconds": 0,
    }  # fmt: skip


def test_load_all_tells_all_failures_together_and_starts_the_others(forge: Forge, site: Path, notes: Any) -> None:
    for name in ("bad", "good", "worse"):
        forge.plugin(name, NOTES)
    notes.fail |= {"init bad", "validate worse"}
    with manage() as manager:
        with pytest.raises(PluginsFailed) as caught:
            manager.load_all()
        assert {name: codes(error) for name, error in caught.value.errors.items()} == {
            "bad": ["init-failed"],
            "worse": ["validate-failed"],
        }
        assert codes(caught.value) == ["init-failed", "validate-failed"]
        assert {"good", "english"} <= manager.loaded().keys()


def test_a_stop_lasts_until_a_start_and_the_same_stub_serves_again(forge: Forge, site: Path, notes: Any) -> None:
    forge.plugin("p", NOTES)
    with manage() as manager:
        stub = manager.get("p", Plugin)
        manager.stop("p")
        for ask in (lambda: manager.get("p", Plugin), lambda: manager.handle("p")):
            with pytest.raises(PluginStopped, match=r"manager\.start\('p'\)"):
                ask()
        manager.load_all()
        assert "p" not in manager.loaded()
        manager.start("p")
        assert manager.get("p", Plugin) is stub
        assert manager.handle("p").generation == 2


def test_a_shutdown_that_hangs_is_given_up_and_leaves_time_to_the_others(
    forge: Forge, site: Path, notes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = notes.go_on = threading.Event()
    source = NOTES + "class New(Noting):\n    def shutdown(self):\n        sys.modules['zoo_notes'].go_on.wait(1000)\n"
    forge.plugin("hangs", source)
    forge.plugin("p", NOTES)
    with manage(shutdown_timeout=1.4) as manager:
        manager.get("p", Plugin)
        manager.get("hangs", Plugin)
        began = time.monotonic()
        with caplog.at_level(logging.ERROR):
            manager.close()
        go_on.set()
    assert time.monotonic() - began < 60
    assert "[shutdown-timeout]" in caplog.text
    assert "zoo_hangs.py, line" in caplog.text
    assert "shutdown p" in notes.notes


def test_a_shutdown_that_says_its_thread_never_began_is_given_up_as_any_other(
    forge: Forge, site: Path, notes: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that begins the thread is held up here until the plugin has said so, as a busy machine may do."""
    notes.go_on, notes.has_said = threading.Event(), threading.Event()
    shutdown = "notes, own = sys.modules['zoo_notes'], sys.modules['threading'].current_thread()"
    shutdown += "; own._started.clear(); notes.has_said.set(); notes.go_on.wait(1000)"
    forge.plugin("denies", NOTES + f"class New(Noting):\n    def shutdown(self):\n        {shutdown}\n")
    begin = "_start_joinable_thread" if sys.version_info >= (3, 13) else "_start_new_thread"
    begin_thread = getattr(threading, begin)

    def begin_slowly(*args: Any, **named: Any) -> Any:
        begun = begin_thread(*args, **named)
        notes.has_said.wait(0.5)
        return begun

    with manage(shutdown_timeout=1.4) as manager:
        manager.get("denies", Plugin)
        monkeypatch.setattr(threading, begin, begin_slowly)
        closes = threading.Thread(target=manager.close, daemon=True)
        with caplog.at_level(logging.ERROR):
            closes.start()
            closes.join(60)
        assert not closes.is_alive()
        notes.go_on.set()
    assert "[shutdown-timeout]" in caplog.text


def test_a_shutdown_has_its_half_of_the_time_though_the_machine_stood_still_before(
    forge: Forge, site: Path, notes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pluginhost.generations import Generation

    forge.plugin("p", NOTES)
    got: list[float] = []
    with manage(shutdown_timeout=0.4) as manager:
        manager.get("p", Plugin)
        with monkeypatch.context() as patch:
            patch.setattr(Generation, "drain", lambda self, seconds: time.sleep(1.5 * seconds) or 0)
            patch.setattr(Generation, "shutdown", lambda self, seconds: got.append(seconds))
            manager.stop("p")
    assert got == [0.1]  # a half of its share, which is a half of all


def test_ctrl_c_while_a_plugin_stops_ends_it_once_and_it_can_be_started_again(
    forge: Forge, site: Path, notes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge.plugin("p", NOTES)
    with manage() as manager:
        stub = manager.get("p", Plugin)
        from pluginhost.generations import Generation

        def interrupt(self: object, seconds: float) -> int:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Generation, "drain", interrupt)
            with pytest.raises(KeyboardInterrupt):
                manager.stop("p")
        assert notes.notes.count("shutdown p") == 1
        assert manager.loaded() == {}
        assert manager.get("p", Plugin) is stub
    assert notes.notes.count("shutdown p") == 2


# What plugins require.

OFF = {name: {"enabled": False} for name in ("filter", "transform", "reverse", "uppercase")}


@pytest.mark.parametrize(
    "requires", ['plugins = ["z-base"]', 'contracts = ["Transformer"]', 'capabilities = ["loud"]', 'host = ["tls"]']
)
def test_what_is_required_is_started_first_and_ends_last(forge: Forge, site: Path, notes: Any, requires: str) -> None:
    transforms = NOTES + "class New(Noting, Transformer):\n    def transform(self, text):\n        return text\n"
    forge.plugin("z-base", transforms, **table("z-base", 'contracts = ["Transformer"]\ncapabilities = ["loud"]'))
    forge.plugin("user", NOTES, **table("user", f"requires = {{ {requires} }}"))
    with manage(capabilities={"tls"}, plugins=OFF) as manager:
        manager.get("user", Plugin)
        if not requires.startswith("host"):
            assert [note for note in notes.notes if "init" in note] == ["init z-base", "init user"]
            manager.stop("z-base")
            assert [note for note in notes.notes if "shut" in note] == ["shutdown user", "shutdown z-base"]
            with pytest.raises(
                PluginRequirementError, match=r"\[requirement-missing\] user .*(plugin-stopped|not run)"
            ):
                manager.start("user")
            manager.start("z-base")
            manager.start("user")
            assert list(manager.loaded())[-2:] == ["z-base", "user"]


@pytest.mark.parametrize(
    ("requires", "told"),
    [
        ('plugins = ["nobody"]', "the plugin 'nobody'"),
        ('contracts = ["Handler"]', "a plugin of the contract Handler"),
        ('contracts = ["Transformer"]', "a plugin of the contract Transformer"),
        ('capabilities = ["flight"]', "a plugin with the capability 'flight'"),
        ('host = ["tls"]', "the host's capability 'tls'"),
    ],
)
def test_what_is_not_there_refuses_the_plugin_before_its_import(
    forge: Forge, site: Path, notes: Any, requires: str, told: str
) -> None:
    own = 'contracts = ["Transformer"]\n' * ("Transformer" in requires)  # itself, it does not count
    forge.plugin("user", NOTES, **table("user", f"{own}requires = {{ {requires} }}"))
    with manage(plugins=OFF) as manager:
        with pytest.raises(PluginRequirementError, match=r"\[requirement-missing\]") as caught:
            manager.get("user", Plugin)
        assert f"user (zoo-user 1.0.0) requires {told}: " in str(caught.value)
        assert manager.loaded() == {}
    assert "zoo_user" not in sys.modules
    assert notes.notes == []


def test_a_cycle_of_manifests_is_shown(forge: Forge, site: Path, notes: Any) -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        forge.plugin(name, NOTES, **table(name, f'requires = {{ plugins = ["{other}"] }}'))
    with manage() as manager, pytest.raises(PluginRequirementError, match=r"\[requirement-cycle\].*a -> b -> c -> a"):
        manager.get("a", Plugin)
    assert notes.notes == []


def test_a_cycle_of_inits_is_shown_and_unwound(forge: Forge, site: Path, notes: Any) -> None:
    for name in ("a", "b"):
        forge.plugin(name, ASKS)
    settings = {"a": {"config": {"asks": ["b"]}}, "b": {"config": {"asks": ["a"]}}}
    with manage(plugins=settings) as manager:
        with pytest.raises(PluginInitError, match=r"\[requirement-cycle\].*a -> b -> a"):
            manager.get("a", Plugin)
        assert manager.loaded() == {}
    assert [note for note in notes.notes if "shutdown" in note] == []


def test_who_was_asked_for_in_init_ends_after_the_one_who_asked(forge: Forge, site: Path, notes: Any) -> None:
    for name in ("a", "b"):
        forge.plugin(name, ASKS)
    with manage(plugins={"a": {"config": {"asks": ["b"]}}}) as manager:
        manager.get("b", Plugin)
        manager.get("a", Plugin)
        assert manager.handle("a").plugin.others == [manager.get("b", Plugin)]
        manager.stop("b")
        assert notes.notes[-2:] == ["shutdown a", "shutdown b"]


# Unloading.


def test_an_unloaded_plugins_class_is_gone_and_the_next_is_another(forge: Forge, site: Path, notes: Any) -> None:
    forge.plugin("p", NOTES)
    with manage() as manager:
        stub, handle = manager.get("p", Plugin), manager.handle("p")
        old = handle.last_class
        assert old is not None
        assert old() is not None
        assert manager.unload("p") == []
        assert old() is None
        assert "zoo_p" not in sys.modules
        with pytest.raises(PluginStopped):
            handle.require(Plugin)
        assert manager.get("p", Plugin) is not stub
        assert notes.notes.count("New") == 2


def test_a_class_that_a_list_of_another_module_holds_is_told_with_its_place(
    forge: Forge, site: Path, notes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    forge.plugin("p", NOTES)
    with manage() as manager:
        manager.get("p", Plugin)
        notes.kept = [type(manager.handle("p").plugin)]
        [finding] = manager.unload("p")
        assert (finding.code, finding.severity) == ("leak", "warning")
        assert "module zoo_notes, attribute kept" in finding.message
        assert "[leak]" in caplog.text
        notes.kept.clear()


def test_of_two_plugins_of_one_module_the_other_is_told_to_hold_it(forge: Forge, site: Path, notes: Any) -> None:
    wheel = forge.wheel("zoo-two", {"zoo_two.py": NOTES}, 'one = "zoo_two:New"\ntwo = "zoo_two:New"')
    forge.install(wheel)
    with manage() as manager:
        manager.get("one", Plugin)
        manager.get("two", Plugin)
        [finding] = manager.unload("one")
        assert "two (zoo-two 1.0.0), which is of the same module" in finding.message
        assert "zoo_two" in sys.modules
        assert manager.unload("two") == []
        gc.collect()


# Instances and guests.


def test_instances_are_plugins_of_their_own(forge: Forge, site: Path, notes: Any) -> None:
    forge.plugin("p", NOTES)
    instances = {name: {"plugin": "p", "config": {"me": name}} for name in ("north", "south")}
    instances["off"] = {"plugin": "p", "enabled": False}
    with manage(instances=instances) as manager:
        found = manager.all(Plugin)
        assert {"north", "south"} <= found.keys()
        assert not {"p", "off"} & found.keys()
        hosts = {name: manager.handle(name).plugin.host for name in ("north", "south")}
        for name, host in hosts.items():
            assert dict(host.config) == {"me": name}
            assert host.logger.name == f"pluginhost.plugins.{name}"
            assert found[name].name == name
        assert found["north"] is not found["south"]
        assert notes.notes.count("New") == 2
        manager.stop("north")
        assert found["south"] is manager.get("south", Plugin)
        with pytest.raises(PluginRefused, match="disabled"):
            manager.get("off", Plugin)
        assert manager.get("p", Plugin).name == "p"


def test_an_instance_with_the_name_of_a_plugin_is_an_error(forge: Forge, site: Path, notes: Any) -> None:
    forge.plugin("p", NOTES)
    with manage(instances={"english": {"plugin": "p"}}) as manager, pytest.raises(ConfigurationError, match="english"):
        manager.all(Plugin)


HANDLERS = {"rate": {"limit": 3}, "log": {}}


def forge_guests(forge: Forge) -> None:
    files = {"zoo_http.py": NOTES}
    points = "\n".join(f'"http.handlers.{name}" = "zoo_http:New"' for name in HANDLERS)
    forge.install(forge.wheel("zoo-http", files, points))
    forge.plugin("server", GUESTS)


def test_guests_are_made_for_their_owner_and_end_with_it(forge: Forge, site: Path, notes: Any) -> None:
    forge_guests(forge)
    with manage(plugins={"server": {"config": {"handlers": HANDLERS}}}) as manager:
        manager.get("server", Plugin)
        owner = manager.handle("server").plugin
        assert list(owner.guests) == list(HANDLERS)
        names = ["server/http.handlers.rate", "server/http.handlers.log"]
        assert [guest.name for guest in owner.guests.values()] == names
        assert set(names) < set(manager.loaded())
        assert dict(manager.loaded()[names[0]].plugin.host.config) == {"limit": 3}
        manager.stop("server")
        assert notes.notes[-3:] == ["shutdown server", *(f"shutdown {name}" for name in reversed(names))]
        assert manager.loaded() == {}
        with pytest.raises(PluginStopped):
            owner.host.load("http.handlers", {})


def test_a_guest_that_fails_takes_the_others_down_and_leaves_nothing(forge: Forge, site: Path, notes: Any) -> None:
    """The next start finds the names free: a guest's folders are called after it."""
    forge_guests(forge)
    notes.fail.add("init server/http.handlers.log")
    with manage(plugins={"server": {"config": {"handlers": HANDLERS}}}) as manager:
        for _ in range(2):
            with pytest.raises(PluginInitError, match=r"\[init-failed\] server .*http\.handlers\.log"):
                manager.start("server")
            assert notes.notes[-1] == "shutdown server/http.handlers.rate"
            assert manager.loaded() == {}
        assert [handle.name for handle in manager._runner.registry.known()] == ["server"]
        notes.fail.clear()
        manager.start("server")
        assert list(manager.loaded()) == [*(f"server/http.handlers.{name}" for name in HANDLERS), "server"]


# What a host gives.


def test_a_plugin_has_folders_of_its_own_that_nobody_else_may_read(
    forge: Forge, site: Path, notes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forge.plugin("p", NOTES)
    with manage() as manager:
        manager.get("p", Plugin)
        host = manager.handle("p").plugin.host
        assert not (tmp_path / "data").exists()
        assert host.data_folder == tmp_path / "data" / "pluginhost" / "pluginhost.plugins" / "p"
        assert host.cache_folder == tmp_path / "cache" / "pluginhost" / "plugins" / "pluginhost.plugins" / "p"
        for folder in (host.data_folder, host.cache_folder):
            assert folder.is_dir()
            assert os.stat(folder).st_mode & 0o777 == 0o700
            assert os.stat(folder.parent).st_mode & 0o777 == 0o700


def test_plugins_hear_of_each_other_until_they_are_shut_down(forge: Forge, site: Path, notes: Any) -> None:
    for name in ("hears", "tells"):
        forge.plugin(name, NOTES)
    with manage() as manager:
        manager.get("hears", Plugin)
        manager.get("tells", Plugin)
        hears, tells = (manager.handle(name).plugin.host for name in ("hears", "tells"))
        heard: list[Event] = []
        hears.subscribe(heard.append, "news.")
        tells.emit("news.first", number=1)
        tells.emit("other")
        manager.stop("hears")
        tells.emit("news.second")
        assert heard == [Event("news.first", "tells", {"number": 1})]


def test_a_listener_that_raises_is_told_and_the_others_are_called(
    forge: Forge, site: Path, notes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []
    with manage() as manager:
        manager.subscribe(lambda event: heard[1000], "plugin.running")
        manager.subscribe(lambda event: heard.append(event.topic), "plugin.running")
        manager.get("english", Greeter)
    assert heard == ["plugin.running"]
    assert "[listener-failed]" in caplog.text


def test_a_host_is_revoked_at_shutdown(forge: Forge, site: Path, notes: Any) -> None:
    forge.plugin("p", NOTES)
    with manage() as manager:
        manager.get("p", Plugin)
        host = manager.handle("p").plugin.host
        assert host.get("english", Greeter).greet("Ada")
        assert "english" in host.all(Greeter)
        manager.stop("p")
        uses: list[Callable[[], object]] = [
            lambda: host.logger, lambda: host.config, lambda: host.capabilities, lambda: host.data_folder,
            lambda: host.cache_folder, lambda: host.get("english", Greeter), lambda: host.all(Greeter),
            lambda: host.load("x", {}), lambda: host.subscribe(print), lambda: host.emit("x"),
        ]  # fmt: skip
        for use in uses:
            with pytest.raises(PluginStopped, match=r"\[host-revoked\]"):
                use()


# How many calls at once.

ONE = """
import asyncio, threading
from pluginapi import Greeter

class New(Greeter):
    lang = "One"
    concurrency = 1
    inside = most = 0

    def greet(self, name):
        self.inside += 1
        self.most = max(self.most, self.inside)
        other.wait(0.05)  # so long others have time to come in
        self.inside -= 1
        return again.greet("inner") if name == "outer" else name

other = threading.Event()
"""


def test_one_call_at_a_time_where_the_plugin_says_so_and_none_waits_for_itself(forge: Forge, site: Path) -> None:
    forge.plugin("one", ONE)
    with manage() as manager:
        stub, handle = manager.get("one", Greeter), manager.handle("one")
        vars(sys.modules["zoo_one"])["again"] = stub
        threads = [threading.Thread(target=lambda: stub.greet("a"), daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert handle.plugin.most == 1
        done: list[str] = []
        outer = threading.Thread(target=lambda: done.append(stub.greet("outer")), daemon=True)
        outer.start()
        outer.join(30)
        assert done == ["inner"]


@pytest.mark.parametrize("concurrency", ["0", "True", "'1'", "1.0"])
def test_a_concurrency_that_is_no_number_of_calls_breaks_the_contract(
    forge: Forge, site: Path, concurrency: str
) -> None:
    forge.plugin("one", ONE.replace("concurrency = 1", f"concurrency = {concurrency}"))
    with manage() as manager, pytest.raises(PluginTypeError, match=r"\[contract-broken\].*concurrency"):
        manager.get("one", Greeter)


# Plugins that were built for an older minor version of an API.

API = """
import asyncio
from abc import abstractmethod
from pluginapi import Plugin

API_VERSION = "1.0"

class Shape(Plugin):
    @abstractmethod
    def area(self, size: float) -> float: ...

    async def draw(self, text: str) -> str:
        return text
"""
NEWER = (
    API.replace('"1.0"', '"1.1"').replace("size: float)", "size: float, unit: str = 'm')")
    + """
    colour: str

    def twice(self, size: float) -> float:
        return 2 * self.area(size)

    def edges(self) -> int:
        raise NotImplementedError
"""
)
SQUARE = """
from acme_api import Shape

class New(Shape):
    concurrency = 1
    def area(self, size):
        return size * size
    async def draw(self, text):
        import asyncio
        await asyncio.sleep(0)
        return text * 2
"""
PROVIDES = {"hook": True, "settings": '[tool.pluginapi]\nprovides = "acme_api"'}
BUILD = """
import sys; sys.path[:0] = [{site!r}, {tests!r}]
from pathlib import Path
from forge import Forge
folder = Path({folder!r}); folder.mkdir()
settings = '[tool.pluginapi]\\napi = "acme_api"\\n[tool.pluginapi.plugins."pluginhost.plugins".square]\\ncontracts = ["Shape"]\\n' + {more!r}
print(Forge(folder).wheel("zoo-square", {{"zoo_square.py": {source!r}}}, 'square = "zoo_square:New"', hook=True,
      settings=settings, dependencies=("acme-shapes~=1.0",)))
"""


@pytest.fixture
def built(forge: Forge, site: Path, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Installs a plugin that was built against the API 1.0, and the API 1.1."""

    def build(source: str = SQUARE, api: str = NEWER, more: str = "") -> None:
        folder = tmp_path / "older"
        folder.mkdir()
        older = Forge(folder)
        older.install(older.wheel("acme-shapes", {"acme_api/__init__.py": API}, version="1.0", **PROVIDES))
        tests = str(Path(__file__).parent.parent)
        code = BUILD.format(site=str(older.site), tests=tests, folder=str(folder / "plugin"), source=source, more=more)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        newer = forge.wheel("acme-shapes", {"acme_api/__init__.py": api}, version="1.1", **PROVIDES)
        forge.install(newer, Path(done.stdout.strip()))

    yield build
    for name in ("acme_api", "zoo_square"):
        sys.modules.pop(name, None)


def test_a_plugin_of_an_older_minor_runs_and_lacks_only_what_came_since(built: Callable[..., None]) -> None:
    built()
    with manage(api="acme_api") as manager:
        import acme_api

        shape = manager.get("square", acme_api.Shape)
        assert manager.handle("square")._running().built_against == "1.0"
        assert (shape.area(3), shape.twice(3)) == (9, 18)
        for call in (shape.edges, lambda: shape.colour):
            with pytest.raises(PluginCallError, match=r"\[method-missing\] square .*built for the API 1\.0"):
                call()
        with pytest.raises(PluginCallError, match=r"\[call-failed\].*TypeError"):
            shape.area(3, "cm")

        async def draw() -> list[str]:
            return await asyncio.wait_for(asyncio.gather(*(shape.draw("a") for _ in range(20))), 30)

        assert asyncio.run(draw()) == ["aa"] * 20


def test_a_plugin_of_the_hosts_own_minor_may_lack_nothing(forge: Forge, site: Path, built: Callable[..., None]) -> None:
    built(api=NEWER.replace('"1.1"', '"1.0"'))
    with manage(api="acme_api") as manager:
        import acme_api

        with pytest.raises(PluginTypeError, match=r"\[contract-broken\].*`colour` is missing"):
            manager.get("square", acme_api.Shape)


def test_an_api_version_that_is_later_than_the_stamp_is_a_lie(built: Callable[..., None]) -> None:
    built(SQUARE + '\nAPIVersion = "1.1"\n')
    with manage(api="acme_api") as manager:
        import acme_api

        with pytest.raises(PluginTypeError, match=r"\[api-version\].*APIVersion is '1\.1'.*built against 1\.0"):
            manager.get("square", acme_api.Shape)


@pytest.mark.parametrize(
    ("module", "manifest", "told"),
    [
        ('("loud",)', '["loud"]', ""),
        ('["loud", "fast"]', '["fast", "loud"]', ""),
        ("()", '["loud"]', "its Capabilities are none, and its manifest says loud"),
        ('("fast",)', '["loud"]', "its Capabilities are fast, and its manifest says loud"),
        ('"loud"', '["loud"]', "its Capabilities are 'loud'"),
        ("(1,)", '["loud"]', r"its Capabilities are \(1,\)"),
    ],
)
def test_capabilities_are_the_manifests(forge: Forge, site: Path, module: str, manifest: str, told: str) -> None:
    forge.plugin("p", f"{GREETER}\nCapabilities = {module}\n", **table("p", f"capabilities = {manifest}"))
    with manage() as manager:
        if told:
            with pytest.raises(PluginTypeError, match=rf"\[capabilities-wrong\].*{told}"):
                manager.get("p", Greeter)
            return
        assert "loud" in manager.handle("p").capabilities
        assert manager.get("p", Greeter, requires={"loud"}).lang == "Some"
        assert list(manager.all(Greeter, requires={"loud"})) == ["p"]
        with pytest.raises(PluginRefused, match=r"\[capability-missing\].*silent"):
            manager.get("p", Greeter, requires={"silent"})
        with pytest.raises(PluginRefused, match=r"(?s)\[capability-missing\].*these have it: p"):
            manager.get("english", Greeter, requires={"loud"})


# The application's own plugins.


class Own(Greeter):
    lang = "Own"

    def greet(self, name: str) -> str:
        return f"own {name}"


@pytest.mark.parametrize("distribution", ["aaa-first", "zoo-last"])
def test_a_registered_plugin_hides_an_installed_one(forge: Forge, site: Path, distribution: str) -> None:
    """Whatever the distribution is called; by its name the hidden one can still be asked for."""
    forge.install(forge.wheel(distribution, {"zoo_hidden.py": GREETER}, 'hidden = "zoo_hidden:New"'))
    with manage() as manager:
        manager.register("hidden", Own, capabilities={"loud"})
        assert manager.get("hidden", Greeter, requires={"loud"}).greet("Ada") == "own Ada"
        assert manager.all(Greeter)["hidden"].greet("Ada") == "own Ada"
        manager.load_all()
        assert manager.get(f"hidden@{distribution}", Greeter).greet("Ada") == "some Ada"
        with pytest.raises(ConfigurationError, match="hidden"):
            manager.register("hidden", Own)
        assert manager.unload("hidden") == []
        assert manager.get("hidden", Greeter).greet("Ada") == "own Ada"


@pytest.mark.parametrize(("name", "factory"), [("", Own), ("a b\n", Own), ("own", 3)])
def test_what_cannot_be_registered_is_an_error(name: str, factory: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"\[configuration-wrong\]"):
        manage().register(name, factory)


def test_a_registered_factory_that_makes_no_plugin_is_refused() -> None:
    with manage() as manager:
        manager.register("none", lambda: 3)  # type: ignore[arg-type, return-value]
        with pytest.raises(PluginLoadError, match=r"\[wrong-type\]"):
            manager.get("none", Transformer)
