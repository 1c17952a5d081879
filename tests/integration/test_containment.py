"""What plugins from really built wheels are held to, and processes that end although one of them hangs."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from pluginhost import PluginImportError, PluginManager, PluginStopped
from waiting import until

from pluginapi import Greeter

if TYPE_CHECKING:
    from pathlib import Path

    from forge import Forge

SLOW_IMPORT = """
import time
import zoo_ended
from pluginapi import Greeter

end = time.monotonic() + 60
while time.monotonic() < end and not zoo_ended.may_end():
    time.sleep(0.01)

class Some(Greeter):
    lang = "Some"
    def greet(self, name):
        return name

def New():
    return Some()
"""

APPLICATION = """
import sys, threading
from pluginapi import Greeter
from pluginhost import PluginCallError, PluginManager

class Hanging(Greeter):
    lang = "None"
    def greet(self, name):
        threading.Event().wait()

plugins = PluginManager("zoo.containment", plugins={"hanging": {"call_timeout": 0.1, "on_timeout": "abandon"}})
plugins.register("hanging", Hanging)
try:
    plugins.get("hanging", Greeter).greet("Ada")
except PluginCallError as exc:
    print(exc.finding.code)
if "close" in sys.argv:
    plugins.close()
sys.exit(3)
"""


def test_an_import_that_takes_too_long_is_told_while_it_does_and_the_start_fails(
    forge: Forge, site: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge.plugin("slow", SLOW_IMPORT)
    ended: Any = ModuleType("zoo_ended")
    ended.may_end = lambda: caplog.messages
    monkeypatch.setitem(sys.modules, "zoo_ended", ended)
    threads = threading.enumerate()
    with PluginManager(probe="never", plugins={"slow": {"import_timeout": 0.5}}) as plugins:
        with pytest.raises(
            PluginImportError, match=r"the import of zoo_slow took \d+\.\d s, and may take 0.5 s"
        ) as caught:
            plugins.get("slow", Greeter)
        assert caught.value.finding.code == "import-timeout"
        first, *_ = caplog.messages
        where = f"the import of zoo_slow has not ended within 0.5 s, in {site / 'zoo_slow.py'}, line "
        assert first.startswith("[import-timeout] ")
        assert where in first
        assert plugins.status()["slow"].state == "failed"
        assert plugins.status()["slow"].version == "1.0.0"
    until(lambda: threading.enumerate() == threads, "the end of its threads")


def test_the_status_is_of_every_plugin_that_was_asked_for(forge: Forge, site: Path) -> None:
    forge.plugin("one")
    forge.plugin("two")
    with PluginManager(probe="never", plugins={"two": {"enabled": False}}) as plugins:
        assert plugins.status() == {}
        plugins.get("one", Greeter).greet("Ada")
        with pytest.raises(Exception, match="disabled"):
            plugins.get("two", Greeter)
        status = plugins.status()
        assert {name: each.state for name, each in status.items()} == {"one": "running", "two": "disabled"}
        assert status["one"].to_dict() == {
            "plugin": "one", "distribution": "zoo-one", "version": "1.0.0", "state": "running", "generation": 1,
            "calls": 1, "failures": 0, "p50": status["one"].p50, "p99": status["one"].p50, "max": status["one"].p50,
            "breaker": "closed", "abandoned": 0, "error": None, "reload_seconds": None, "reload_error": None,
        }  # fmt: skip
        assert "disabled" in (status["two"].error or "")
        stub = plugins.get("one", Greeter)
        plugins.stop("one")
        with pytest.raises(PluginStopped):
            stub.greet("Ada")
        assert (plugins.status()["one"].state, plugins.status()["one"].calls) == ("stopped", 1)


@pytest.mark.parametrize("how", ["close", "no"])
def test_a_process_ends_with_its_exit_code_although_a_call_was_given_up(how: str, tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    command = [sys.executable, "-W", "error", str(tmp_path / "application.py"), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, "call-timeout\n"), done.stderr
