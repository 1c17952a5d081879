"""The example of Go: a program in a wheel is a Greeter like those in Python, and a host in Go has Greeters in Python."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from forge import BIN, ROOT, Forge
from pluginhost import PluginManager
from pluginhost.goplugin import GoPluginClient, HandshakeConfig, dispense
from waiting import until

from pluginapi import Greeter, PluginError


@pytest.fixture(scope="module")
def example(go: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example's folder, in which its programs are built."""
    folder = tmp_path_factory.mktemp("example") / "goplugin"
    shutil.copytree(ROOT / "examples" / "goplugin", folder)
    done = run(folder / "build.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, capture_output=True, check=False, encoding="utf-8", env=env, timeout=120)


@pytest.fixture(scope="module")
def site(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on this process's path, in which the program's wheel is installed."""
    forge = Forge(tmp_path_factory.mktemp("gopher"))
    (wheel,) = forge.build(example / "gopher")
    assert not wheel.name.endswith("-any.whl")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(forge.install(wheel)))
        yield forge.site


def test_a_host_in_go_greets_with_plugins_in_python(example: Path) -> None:
    done = run(example / "host" / "greet", "Ada", "english", "persian")
    greeted = "english: Hello, Ada! Nice to meet you.\npersian: سلام، Ada! خوشوقتم.\n"
    assert (done.stdout, done.stderr, done.returncode) == (greeted, "", 0)


def test_a_host_in_go_is_told_why_a_plugin_does_not_start(example: Path) -> None:
    done = run(example / "host" / "greet", "-v", "Ada", "english", "nobody")
    assert (done.stdout, done.returncode) == ("", 1)
    assert "[DEBUG] pluginhost: error: [plugin-unknown]" in done.stderr


@pytest.mark.usefixtures("patience")
def test_a_program_in_go_is_called_by_the_contract(example: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pluginhost")
    program = example / "gopher" / "pluginhost_gopher" / "greeter"
    with GoPluginClient([str(program)], HandshakeConfig("PLUGINHOST_PLUGIN", "pluginapi")) as client:
        gopher = dispense(client, Greeter, "gopher", config={"word": "Servus"})
        assert (gopher.lang, gopher.greet("Ada")) == ("Deutsch", "Servus, Ada!")
        with pytest.raises(PluginError, match=r"^whom shall I greet\?$"):
            gopher.greet("")
    assert client.exit_code == 0
    (record,) = (each for each in caplog.records if "ready" in each.getMessage())
    assert (record.name, record.levelname) == ("pluginhost.goplugin.greeter", "INFO")
    assert record.__dict__["fields"] == {"name": "gopher", "word": "Servus"}


def test_a_program_in_go_is_a_plugin_beside_those_in_python(site: Path) -> None:
    with PluginManager() as plugins:
        rows = {row.name: row for row in plugins.survey()}
        gopher, english = rows["gopher"], rows["english"]
        assert (gopher.state, gopher.api, gopher.contracts) == (english.state, english.api, english.contracts)
        greeters = plugins.all(Greeter)
        assert {"gopher", "english"} <= greeters.keys()
        assert all(isinstance(each, Greeter) for each in greeters.values())
        assert (greeters["gopher"].lang, greeters["gopher"].greet("Ada")) == ("Deutsch", "Grüß dich, Ada!")
        with pytest.raises(PluginError, match=r"whom shall I greet\?"):
            greeters["gopher"].greet("")


def test_a_program_in_go_that_is_killed_is_started_anew(site: Path) -> None:
    program = site / "pluginhost_gopher" / "greeter"
    with PluginManager() as plugins:
        gopher = plugins.get("gopher", Greeter)
        (first,) = running(program)
        os.kill(first, signal.SIGKILL)
        until(lambda: running(program) not in ([], [first]))
        assert gopher.greet("Ada") == "Grüß dich, Ada!"
    assert not running(program)


def running(program: Path) -> list[int]:
    """Returns the processes of a program."""
    return [int(each.parent.name) for each in Path("/proc").glob("[0-9]*/exe") if is_link_to(each, program)]


def is_link_to(link: Path, target: Path) -> bool:
    try:
        return link.readlink() == target
    except OSError:  # another user's, or it is gone
        return False
