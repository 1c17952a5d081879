"""The manager as an application embeds it, over installed plugins."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from forge import GREETER
from pluginhost import (
    ManagerClosed,
    PluginInitError,
    PluginLookupError,
    PluginManager,
    PluginNotFound,
    PluginRefused,
    PluginTypeError,
)

from pluginapi import Greeter, Handler, Operation, Plugin, Request, Transformer

if TYPE_CHECKING:
    from forge import Forge

LIFE = """
from pluginapi import Plugin
import pathlib

class Life(Plugin):
    def init(self, host):
        self.log = pathlib.Path(host.config["log"])
        self._write(f"init {self.name} {host.logger.name}")

    def shutdown(self):
        self._write(f"shutdown {self.name}")
        if self.name == "raises":
            raise SystemExit("no")

    def _write(self, line):
        with self.log.open("a") as log:
            log.write(line + "\\n")

def New():
    return Life()
"""


def test_get_returns_the_same_object_each_time_typed_as_the_contract() -> None:
    with PluginManager() as manager:
        greeter = manager.get("english", Greeter)
        assert isinstance(greeter, Greeter)
        assert manager.get("english", Greeter) is greeter
        assert manager.get("english", Plugin) is greeter
        assert greeter.name == "english"


def test_two_threads_that_ask_for_one_plugin_get_one_object() -> None:
    with PluginManager() as manager, ThreadPoolExecutor(8) as pool:
        assert len({id(plugin) for plugin in pool.map(lambda _: manager.get("english", Greeter), range(64))}) == 1


def test_all_returns_the_plugins_of_one_contract() -> None:
    with PluginManager() as manager:
        assert list(manager.all(Greeter)) == ["english", "persian", "spanish"]
        assert list(manager.all(Transformer)) == ["reverse", "uppercase"]
        assert list(manager.all(Handler)) == ["filter", "transform"]
        assert {name: operation.symbol for name, operation in manager.all(Operation).items()} == {
            "add": "+",
            "divide": "/",
            "multiply": "*",
            "subtract": "-",
        }
        assert len(manager.all(Plugin)) == 12


def test_all_imports_only_what_may_implement_the_contract(forge: Forge, site: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    source = f"open({str(mark)!r}, 'a').close()\n{GREETER}"
    settings = '[tool.pluginapi.plugins."pluginhost.plugins".marks]\ncontracts = ["Greeter"]'
    forge.plugin("marks", source, hook=True, settings=settings)
    with PluginManager() as manager:
        assert "marks" not in manager.all(Transformer)
        assert not mark.exists()
        assert "marks" in manager.all(Greeter)
        assert mark.exists()


def test_another_contract_than_the_plugins_is_the_callers_error_and_the_plugin_goes_on() -> None:
    with PluginManager() as manager:
        with pytest.raises(PluginTypeError, match="wrong-type"):
            manager.get("english", Transformer)
        assert manager.get("english", Greeter).greet("Ada")


def test_a_manifest_that_promises_a_contract_is_held_to_it(forge: Forge, site: Path) -> None:
    settings = '[tool.pluginapi.plugins."pluginhost.plugins".promise]\ncontracts = ["Transformer"]'
    forge.plugin("promise", hook=True, settings=settings)
    with PluginManager() as manager, pytest.raises(PluginTypeError, match=r"not a pluginapi\.contracts\.Transformer"):
        manager.get("promise", Greeter)


def test_an_unknown_name_suggests_the_near_ones() -> None:
    with PluginManager() as manager, pytest.raises(PluginNotFound, match="did you mean english"):
        manager.get("engish", Greeter)


def test_a_plugin_installed_while_the_host_runs_is_found(forge: Forge, site: Path) -> None:
    with PluginManager() as manager:
        with pytest.raises(PluginNotFound):
            manager.get("late", Greeter)
        forge.plugin("late")
        assert manager.get("late", Greeter).greet("Ada") == "some Ada"


def test_plugins_live_from_init_to_shutdown_in_reverse_order(
    forge: Forge, site: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One whose shutdown raises is logged, and the others are shut down all the same."""
    names = ["first", "raises", "last"]
    for name in names:
        forge.plugin(name, LIFE)
    log = tmp_path / "log"
    settings = {name: {"config": {"log": str(log)}} for name in names}
    with caplog.at_level(logging.ERROR), PluginManager(plugins=settings) as manager:
        for name in names:
            manager.get(name, Plugin)
    manager.close()
    assert log.read_text().splitlines() == [
        *(f"init {name} pluginhost.plugins.{name}" for name in names),
        *(f"shutdown {name}" for name in reversed(names)),
    ]
    [record] = caplog.records
    assert "[shutdown-failed]" in record.getMessage()
    with pytest.raises(ManagerClosed):
        manager.get("first", Plugin)


def test_a_failing_init_refuses_the_plugin_and_is_remembered(forge: Forge, site: Path) -> None:
    forge.plugin("life", LIFE)
    with PluginManager() as manager:
        for _ in range(2):
            with pytest.raises(PluginInitError, match=r"\[init-failed\] life .*KeyError: 'log'"):
                manager.get("life", Plugin)


def test_a_disabled_plugin_is_listed_and_not_loaded() -> None:
    with PluginManager(plugins={"english": {"enabled": False}}) as manager:
        assert {row.name: row.state for row in manager.survey()}["english"] == "disabled"
        assert "english" not in manager.all(Greeter)
        with pytest.raises(PluginRefused, match="disabled"):
            manager.get("english", Greeter)


def test_a_plugin_reads_its_configuration() -> None:
    with PluginManager(plugins={"filter": {"config": {"blocked": ["secret"]}}}) as manager:
        handler = manager.get("filter", Handler)
        assert handler.handle(Request("1", b"a secret")).status == 403
        assert handler.handle(Request("2", b"forbidden")).status == 200


def test_the_counters_symbols_are_live() -> None:
    """A bare reference to the number would go stale at the first tick."""
    with PluginManager() as manager:
        handle = manager.handle("counter")
        counter, tick = handle.lookup("Counter", int), handle.lookup("Tick", Callable[[], int])
        counter.set(0)
        for _ in range(3):
            tick()
        assert counter.get() == 3
        for symbol, kind, code in [("Conter", int, "symbol-missing"), ("Counter", str, "symbol-type")]:
            with pytest.raises(PluginLookupError) as caught:
                handle.lookup(symbol, kind)
            assert caught.value.finding.code == code


def test_eight_threads_lose_no_tick() -> None:
    with PluginManager() as manager:
        handle = manager.handle("counter")
        counter, tick = handle.lookup("Counter", int), handle.lookup("Tick", Callable[[], int])
        counter.set(0)
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(lambda: [tick() for _ in range(2_000)]) for _ in range(8)]:
                done.result()
        assert counter.get() == 16_000


def test_a_group_without_an_api_is_loaded_as_it_is(forge: Forge, site: Path) -> None:
    forge.plugin("plain", "class New:\n    def hello(self):\n        return 'hello'\n", dependencies=())
    with PluginManager(api=None) as manager:
        assert manager.handle("plain").plugin.hello() == "hello"
