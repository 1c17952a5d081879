"""Plugins from wheels in a folder: the command, an example, what depends on what, and a folder that changes meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from forge import GREETER, ROOT
from handmade import PLUGIN, Handmade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forge import Command, Forge

POWER = """
from pluginapi import Operation

class Power(Operation):
    name = "power"
    symbol = "^"

    def execute(self, a: float, b: float) -> float:
        return a ** b

def New() -> Power:
    return Power()
"""
PATIENCE = 60
"""Seconds until something must have happened; it takes some hundredths."""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    return folder


def named(said: dict[str, Any], name: str = "bad") -> dict[str, Any] | None:
    return next((row for row in said["plugins"] if row["name"] == name), None)


# -- the command


def test_the_command_takes_plugins_from_folders(command: Command, plugins: Path, tmp_path: Path) -> None:
    Handmade().write(plugins)
    Handmade("zoo-more", "2.0").write(tmp_path / "more folder")
    options = ("--plugin-dir", plugins, "--plugin-dir", tmp_path / "more folder")
    for _ in range(2):
        said = command.json("list", *options)
        assert [(row["name"], row["state"]) for row in said["plugins"] if row["distribution"].startswith("zoo")] == [
            ("bad", "ready"),
            ("more", "ready"),
        ]
    assert command("call", "bad", "greet", "Ada", *options).stdout == b"1.2.3 Ada\n"
    assert command("call", "more", "greet", "Ada", *options).stdout == b"2.0 Ada\n"
    assert command("check", "more", *options).returncode == 0
    info = command.json("info", "bad", *options)
    assert info["version"] == "1.2.3"
    assert Path(info["origin"]).parent == tmp_path / ".cache" / "pluginhost" / "wheels"
    assert named(command.json("list")) is None, "without the option it is not there"


def test_a_folder_that_is_not_there_is_one_finding(command: Command, tmp_path: Path) -> None:
    done = command("list", "--plugin-dir", tmp_path / "missing")
    assert done.returncode == 0
    assert done.stderr.count(b"[plugin-dir-missing]") == 1
    assert b"english" in done.stdout


def test_check_tells_what_is_wrong_with_a_wheel_file(command: Command, tmp_path: Path) -> None:
    good = Handmade().write(tmp_path)
    assert command("check", good).returncode == 0
    wheel = Handmade(files={"zoo_bad.py": PLUGIN, "zoo_bad.pth": "", "json.py": ""})
    done = command("check", wheel.write(tmp_path / "bad"))
    assert done.returncode == 1
    for part in (b"[wheel-unsafe]", b"[module-shadows]", b"bad (zoo-bad 1.2.3): ready", b"ok      pin"):
        assert part in done.stdout
    told = json.loads(command("check", tmp_path / "bad" / wheel.file_name(), "--json").stdout)
    assert [finding["code"] for finding in told["findings"]] == ["wheel-unsafe", "module-shadows"]


def test_check_reads_nothing_of_what_is_not_safe_and_does_not_block(command: Command, tmp_path: Path) -> None:
    half = tmp_path / Handmade().file_name()
    half.write_bytes(Handmade().data()[:500])
    done = command("check", half)
    assert (done.returncode, b"[wheel-malformed]" in done.stdout) == (1, True)
    done = command("info", half)
    assert (done.returncode, b"[wheel-unreadable]" in done.stderr) == (2, True)
    os.mkfifo(tmp_path / "pipe.whl")
    for subcommand in ("check", "info"):
        done = command(subcommand, tmp_path / "pipe.whl")
        assert (done.returncode, b"[wheel-unreadable]" in done.stderr) == (2, True)


def test_cache_tells_of_wheels_and_removes_them(command: Command, plugins: Path) -> None:
    Handmade().write(plugins)
    command("list", "--plugin-dir", plugins)
    assert b"1 wheels and copies, " in command("cache").stdout
    assert b"wheels" not in command("cache", "--prune").stdout, "it is young"
    assert b", 1 wheels and copies" in command("cache", "--clear").stdout
    assert command("call", "bad", "greet", "Ada", "--plugin-dir", plugins).stdout == b"1.2.3 Ada\n"


def test_the_calculator_gains_an_operation(forge: Forge, tmp_path: Path, plugins: Path) -> None:
    def calculate(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", ROOT / "examples" / "calculator.py", *words]
        environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert calculate("--plugin-dir", plugins, "2", "^", "8").returncode == 1
    built = forge.wheel("zoo-power", {"zoo_power.py": POWER}, 'power = "zoo_power:New"', hook=True)
    built.rename(plugins / built.name)
    assert calculate("--plugin-dir", plugins, "2", "^", "8").stdout == "power(2, 8) = 256.00\n"
    assert calculate("--plugin-dir", plugins, "2", "+", "8").stdout == "add(2, 8) = 10.00\n"


# -- what depends on what


def test_a_wheel_may_need_another_of_the_folder(command: Command, plugins: Path) -> None:
    user = Handmade("zoo-user", "1.0", {"zoo_user.py": f"from zoo_helper import VERSION\n{PLUGIN}"})
    user.edit("METADATA", lambda text: f"{text}Requires-Dist: zoo-helper>=3\n").write(plugins)
    said = named(command.json("list", "--plugin-dir", plugins), "user")
    assert said
    assert [finding["code"] for finding in said["findings"]] == ["dependency-missing"]
    Handmade("zoo-helper", "3.1").write(plugins)
    assert command("call", "user", "greet", "Ada", "--plugin-dir", plugins).stdout == b"3.1 Ada\n"


def test_what_is_installed_wins(forge: Forge, command: Command, plugins: Path) -> None:
    source = GREETER.replace("some ", "installed ")
    forge.install(forge.wheel("zoo-bad", {"zoo_bad.py": source}, 'bad = "zoo_bad:New"', version="1.0"))
    Handmade(version="9.0", files={"zoo_bad.py": PLUGIN, "zoo_only_in_nine.py": ""}).write(plugins)
    said = named(command.json("list", "--plugin-dir", plugins))
    assert said
    assert (said["version"], said["state"]) == ("1.0", "ready")
    assert [finding["code"] for finding in said["findings"]] == ["distribution-shadowed"]
    assert command("call", "bad", "greet", "Ada", "--plugin-dir", plugins).stdout == b"installed Ada\n"
    path = (
        "import sys; from pluginhost import PluginManager as M; m = M(plugin_dirs=sys.argv[1:]); print(m.survey().path)"
    )
    done = subprocess.run(
        [sys.executable, "-c", path, plugins], env={"PYTHONPATH": str(forge.site)}, capture_output=True, check=True
    )
    assert done.stdout == b"[]\n", "nothing of the other is mixed in"


# -- a folder that changes while a host surveys it

HOST = """
import json, os, sys
from pluginhost import PluginManager
manager = PluginManager(plugin_dirs=sys.argv[1:])
while True:
    survey = manager.survey()
    rows = [row for row in survey if row.name == "bad"]
    print(json.dumps({
        "versions": [row.version for row in rows],
        "states": [row.state for row in rows],
        "trees": [
            {open(os.path.join(entry, "zoo_bad", part)).read() for part in ("__init__.py", "inner.py")} == {f"VERSION = '{row.version}'"}
            for row in rows
            for entry in [row.origin]
        ],
        "findings": [finding.code for finding in survey.findings],
        "known": len(survey.path) == len(rows),
    }), flush=True)
"""


class Host:
    """A process that surveys a folder in a loop, and what it said each time."""

    def __init__(self, folder: Path, cache: Path) -> None:
        environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
        command = [sys.executable, "-c", HOST, folder]
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.said: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.said.append(json.loads(line))

    def wait(self, fits: Callable[[dict[str, Any]], bool] = lambda said: True) -> None:
        """Returns once a survey that began later says what fits."""
        seen, deadline = len(self.said) + 1, time.monotonic() + PATIENCE  # the one that runs may have begun before
        while not any(map(fits, self.said[seen:])):
            assert self._process.poll() is None, self._process.stderr and self._process.stderr.read().decode()
            assert time.monotonic() < deadline, f"it says {self.said[-1:]}"
            time.sleep(0.001)

    def stop(self) -> None:
        self._process.terminate()
        self._thread.join()
        self._process.communicate()


@pytest.fixture
def host(plugins: Path, tmp_path: Path) -> Iterator[Host]:
    host = Host(plugins, tmp_path / "cache")
    yield host
    host.stop()


def tree(version: str) -> Handmade:
    text = f"VERSION = '{version}'"
    return Handmade(version=version, files={"zoo_bad/__init__.py": text, "zoo_bad/inner.py": text})


def is_ready(version: str) -> Callable[[dict[str, Any]], bool]:
    return lambda said: (said["versions"], said["states"], said["findings"]) == ([version], ["ready"], [])


def check_all(host: Host, versions: set[str], findings: set[str]) -> None:
    for said in host.said:
        assert set(said["findings"]) <= findings, said
        assert set(said["versions"]) <= versions, said
        assert len(said["versions"]) <= 1, said
        assert set(said["states"]) <= {"ready"}, said
        assert all(said["trees"]), said
        assert said["known"], said


def test_a_wheel_that_is_copied_byte_by_byte_is_never_an_error(host: Host, plugins: Path) -> None:
    """The host surveys at least once for each piece of the file; what it finds is not there, or settling, or ready."""
    data = tree("1.0").data()
    host.wait()
    with (plugins / tree("1.0").file_name()).open("wb", buffering=0) as file:
        for number in range(len(data)):
            file.write(data[number : number + 1])
            if number % 40 == 0 or number > len(data) - 3:
                host.wait()
    host.wait(is_ready("1.0"))
    check_all(host, {"1.0"}, {"wheel-settling"})
    assert any(said["findings"] == ["wheel-settling"] for said in host.said), "it was seen while it was copied"


def test_half_a_wheel_that_stays_is_an_error(host: Host, plugins: Path) -> None:
    data = tree("1.0").data()
    (plugins / tree("1.0").file_name()).write_bytes(data[: len(data) // 2])
    host.wait(lambda said: said["findings"] == ["wheel-malformed"])
    check_all(host, set(), {"wheel-settling", "wheel-malformed"})
    (plugins / tree("1.0").file_name()).write_bytes(data)
    host.wait(is_ready("1.0"))


def test_a_wheel_that_is_replaced_is_never_a_mixed_tree(host: Host, plugins: Path) -> None:
    """By a new name, by a rename onto the old one, and in its place, whatever the length."""
    for turn in range(5):
        one, two = tree("1.0"), tree("2.0")
        path = one.write(plugins)
        host.wait(is_ready("1.0"))
        two.write(plugins)
        host.wait(lambda said: said["versions"] == ["2.0"])
        path.unlink()
        host.wait(is_ready("2.0"))
        other = Handmade(version="2.0", files={**two.files, "zoo_bad/more.py": "#" * turn})
        other.write(plugins, "unfinished.part").rename(plugins / two.file_name())
        host.wait(is_ready("2.0"))
        with (plugins / two.file_name()).open("r+b", buffering=0) as file:
            for byte in two.data():
                file.write(bytes([byte]))
            file.truncate()
        host.wait(is_ready("2.0"))
        (plugins / two.file_name()).unlink()
        host.wait(lambda said: not said["versions"])
    check_all(host, {"1.0", "2.0"}, {"wheel-settling", "distribution-shadowed"})


def test_a_running_plugin_stays_what_it_is_while_its_wheel_is_replaced(plugins: Path, tmp_path: Path) -> None:
    program = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from handmade import Handmade
from pluginapi import Greeter
from pluginhost import PluginManager, PluginRefused
folder = Path(sys.argv[1])
first = Handmade(version="1.0").write(folder)
with PluginManager(plugin_dirs=[folder]) as manager:
    assert manager.get("bad", Greeter).greet("a") == "1.0 a"
    Handmade(version="2.0").write(folder)
    first.unlink()
    assert manager.row("bad").version == "2.0"
    assert manager.get("bad", Greeter).greet("a") == "1.0 a"
try:
    PluginManager(plugin_dirs=[folder]).get("bad", Greeter)
except PluginRefused as exc:
    assert exc.finding.code == "wheel-replaced"
else:
    raise AssertionError
"""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", program, plugins, Path(__file__).parent.parent]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
