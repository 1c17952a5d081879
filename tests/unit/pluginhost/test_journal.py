"""The log has one line for each operation, each of which says which plugin it is about; nothing else of it is changed."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pluginhost import Finding, PluginHostError, PluginManager

import pluginapi

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS = ("plugin", "distribution", "version", "generation", "code", "stage")


class Plain(pluginapi.Plugin):
    def init(self, host: pluginapi.Host) -> None:
        self.host, self.logger = host, host.logger
        self.logger.warning("hello", extra={"plugin": "another", "colour": "red"})


class Broken(pluginapi.Plugin):
    def init(self, host: pluginapi.Host) -> None:
        host.logger.error("it goes wrong", extra={"code": "E12"})
        raise RuntimeError("no")


class Sore(pluginapi.Plugin):
    def shutdown(self) -> None:
        raise RuntimeError("no")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """All that is logged, in the test's own list: that of `caplog` is another one in each phase of a test."""
    records: list[logging.LogRecord] = []
    keep = logging.Handler()
    keep.emit = records.append  # type: ignore[method-assign]
    caplog.set_level(logging.INFO)
    logging.getLogger().addHandler(keep)
    yield records
    logging.getLogger().removeHandler(keep)


def about(record: logging.LogRecord) -> tuple[Any, ...]:
    return tuple(getattr(record, field) for field in FIELDS)


def lines(log: list[logging.LogRecord]) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.getMessage().partition(" in ")[0]) for record in log if record.name == "pluginhost"
    ]


def test_each_operation_has_a_line(log: list[logging.LogRecord]) -> None:
    with PluginManager() as manager:
        manager.register("plain", Plain)
        manager.get("plain", pluginapi.Plugin)
        manager.get("plain", pluginapi.Plugin)
        manager.stop("plain")
        manager.start("plain")
    assert lines(log) == [("INFO", "plain (built-in) started"), ("INFO", "plain (built-in) stopped")] * 2
    assert [record.generation for record in log if record.name == "pluginhost"] == [1, 1, 2, 2]  # type: ignore[attr-defined]
    assert all(record.getMessage().endswith(" s") for record in log if record.name == "pluginhost")


def test_what_fails_has_its_finding_and_no_other_line(log: list[logging.LogRecord]) -> None:
    with PluginManager() as manager:
        manager.register("broken", Broken)
        manager.register("sore", Sore)
        for _ in range(2):
            with pytest.raises(PluginHostError):
                manager.get("broken", pluginapi.Plugin)
        manager.get("sore", pluginapi.Plugin)
        manager.stop("sore")
    found = [record for record in log if record.name == "pluginhost" and record.levelno == logging.ERROR]
    assert [about(record) for record in found] == [
        ("broken", "built-in", "", 0, "init-failed", "init"),
        ("sore", "built-in", "", 1, "shutdown-failed", "shutdown"),
    ]
    assert [line for line in lines(log) if line[0] == "INFO"] == [("INFO", "sore (built-in) started")]


def test_a_failed_listener_is_its_plugins(log: list[logging.LogRecord]) -> None:
    class Listens(pluginapi.Plugin):
        def init(self, host: pluginapi.Host) -> None:
            host.subscribe(lambda event: [][1], "plugin.running")

    with PluginManager() as manager:
        manager.register("listens", Listens)
        manager.get("listens", pluginapi.Plugin)
    [told] = [record for record in log if record.levelno > logging.INFO]
    assert about(told) == ("listens", "built-in", "", 1, "listener-failed", "call")


def test_a_plugins_own_records_say_whose_they_are(log: list[logging.LogRecord]) -> None:
    with PluginManager() as manager:
        manager.register("plain", Plain)
        plain = manager.handle("plain").plugin
        assert type(plain.logger) is logging.Logger
        assert plain.logger is logging.getLogger("pluginhost.plugins.plain")
        [record] = [record for record in log if record.name == "pluginhost.plugins.plain"]
        assert about(record) == ("plain", "built-in", "", 1, "", ""), "the first generation, from its `init` on"
        assert record.colour == "red"  # type: ignore[attr-defined]
        manager.register("broken", Broken)
        with pytest.raises(PluginHostError):
            manager.get("broken", pluginapi.Plugin)
    [record] = [record for record in log if record.name == "pluginhost.plugins.broken"]
    assert about(record) == ("broken", "built-in", "", 1, "E12", "")
    assert logging.getLogger("pluginhost.plugins.plain").filters == [], "it is taken back"
    assert logging.getLogger("pluginhost.plugins.broken").filters == [], "also where the start failed"


def test_what_a_plugin_emits_is_no_line(log: list[logging.LogRecord]) -> None:
    class Forger(pluginapi.Plugin):
        def init(self, host: pluginapi.Host) -> None:
            host.emit("plugin.running", plugin="another", seconds=1.0)
            host.emit("configuration.applied")

    with PluginManager() as manager:
        manager.register("forger", Forger)
        manager.get("forger", pluginapi.Plugin)
    assert lines(log) == [("INFO", "forger (built-in) started"), ("INFO", "forger (built-in) stopped")]


def test_another_configuration_has_a_line(log: list[logging.LogRecord]) -> None:
    with PluginManager(configuration={}) as manager:
        manager.register("plain", Plain)
        manager.get("plain", pluginapi.Plugin)
        manager.apply({"plugins": {"plain": {"config": {"a": 1}}}})
    told = [record for record in log if record.name == "pluginhost"]
    assert [record.getMessage().partition(" in ")[0] for record in told] == [
        "plain (built-in) started",
        "plain (built-in) serves",
        "the configuration is applied: replaced plain",
        "plain (built-in) stopped",
    ]
    assert [record.generation for record in told] == [1, 2, 0, 2]  # type: ignore[attr-defined]


def test_a_finding_that_is_no_plugins_has_the_fields_all_the_same(log: list[logging.LogRecord]) -> None:
    PluginManager().tell(Finding("plugin-unknown", "there is no such plugin", "look again"))
    assert [about(record) for record in log] == [("", "", "", 0, "plugin-unknown", "usage")]


def test_an_applications_logging_stays_as_it_is() -> None:
    code = """
import logging, pluginapi
from pluginhost import PluginManager

def seen():
    root, own = logging.getLogger(), logging.getLogger("pluginhost")
    return root.handlers[:], root.level, root.filters[:], own.level, own.propagate, own.filters[:], logging.root.manager.disable

before = seen()
with PluginManager() as manager:
    manager.register("plain", pluginapi.Plugin)
    manager.get("plain", pluginapi.Plugin)
assert seen() == before, seen()
[handler] = logging.getLogger("pluginhost").handlers
assert type(handler) is logging.NullHandler, handler
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
