"""A host that serves while its plugins are upgraded, broken and mended from another process: no call fails."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from forge import BIN
from handmade import Handmade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 60
"""Seconds until something must have come about, on a busy machine; it takes few."""

MODULES = 20
"""Of the plugin: enough that an installer is seen at work."""

PLUGIN = """
import importlib, os
from pluginapi import Greeter

VERSION = {version!r}
versions = {{VERSION}} | {{importlib.import_module(f"{{__name__}}.part{{number}}").VERSION for number in range({modules})}}
if versions != {{VERSION}}:
    with open(os.environ["TORN"], "a") as file:
        print(VERSION, versions, file=file)
    raise ImportError("files of several versions")
{on_import}

class Probe(Greeter):
    lang = VERSION
    is_over = False

    def init(self, host) -> None:
        {on_init}

    def greet(self, name: str) -> str:
        assert not self.is_over, "called after its shutdown"
        assert VERSION == {version!r} == self.lang, "old code with new globals"
        return VERSION

    def shutdown(self) -> None:
        self.is_over = True

def New() -> Probe:
    return Probe()
"""
HOST = """
import json, sys, threading, time
from pluginhost import PluginManager
from pluginapi import Greeter

failed, events, over = [], [], threading.Event()
manager = PluginManager(**json.loads(sys.argv[1]))
manager.subscribe(lambda event: events.append([event.topic, dict(event.fields)]), "plugin.reload")
stub = manager.get("probe", Greeter)

def call() -> None:
    count = 0
    while not over.is_set():
        try:
            stub.greet("Ada")
            count += 1
            time.sleep(0.0002)  # the installer is to have its share of a processor, too
        except BaseException as exc:
            failed.append(repr(exc))
    counts.append(count)

counts = []
threads = [threading.Thread(target=call) for _ in range(3)]
for thread in threads:
    thread.start()
for line in sys.stdin:
    try:
        answer = stub.greet("Ada")
    except Exception as exc:
        answer = repr(exc)
    errors = [fields["error"]["code"] for topic, fields in events if topic == "plugin.reload_failed"]
    status = manager.status()["probe"]
    said = {"version": answer, "status": status.to_dict(), "errors": errors, "failed": failed[:5]}
    print(json.dumps(said), flush=True)
over.set()
for thread in threads:
    thread.join()
manager.close()
print(json.dumps({"failed": failed, "counts": counts, "threads": [each.name for each in threading.enumerate()]}))
"""


class Host:
    """A process that serves the plugin `probe` to three threads of its own, and says how that goes."""

    def __init__(self, python: Path, folder: Path, **options: Any) -> None:
        self.torn = folder / "torn"
        self._log = (folder / "log").open("w+b")
        settings = {"plugins": {"probe": {"reload": "watch"} | options.pop("settings", {})}, **options}
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TORN": str(self.torn)}
        self._process = subprocess.Popen(
            [python, "-X", "dev", "-W", "error::ResourceWarning", "-c", HOST, json.dumps(settings)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def ask(self) -> dict[str, Any]:
        """Returns how it is."""
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            print(file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, self.log()
        said: dict[str, Any] = json.loads(answer)
        assert said["failed"] == [], self.log()
        return said

    def until(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Returns how it is once a condition holds."""
        end = time.monotonic() + PATIENCE
        while not condition(said := self.ask()):
            assert time.monotonic() < end, (said, self.log())
            time.sleep(0.02)
        return said

    def serves(self, version: str) -> dict[str, Any]:
        """Returns how it is once a version answers."""
        return self.until(lambda said: said["version"] == version)

    def end(self) -> None:
        """Has it end, and asserts that no call failed and no torn install was ever loaded."""
        out, _ = self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0, self.log()
        said = json.loads(out)
        assert said["failed"] == []
        assert min(said["counts"]) > 0
        assert [name for name in said["threads"] if "watch" in name] == []
        assert not self.torn.exists(), self.torn.read_text()

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
        self._log.close()


class Installs:
    """A virtual environment, and the wheels for it."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder = folder
        self.python = folder / "venv/bin/python"
        self._wheels = wheels
        self._run(BIN / "uv", "venv", "--quiet", "--python", sys.executable, folder / "venv")
        [self.site] = folder.glob("venv/lib/python*/site-packages")
        # The host, pip and hatchling are those of the test's own environment.
        self.site.joinpath("of_the_tests.pth").write_text(sysconfig.get_paths()["purelib"])

    def install(self, tool: str, version: str) -> None:
        """Installs a version of the plugin, in place of the one that is there."""
        wheel = self._wheels / f"zoo_probe-{version}-py3-none-any.whl"
        if tool == "uv":
            self._uv("--no-index", wheel)
        elif tool == "copy":
            self._copy(wheel)
        else:
            self._run(self.python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile", wheel)

    def _copy(self, wheel: Path) -> None:
        """Installs a wheel in the worst of orders: RECORD first, then file by file over those that are there."""
        for info in self.site.glob("zoo_probe-*.dist-info"):
            shutil.rmtree(info)
        with zipfile.ZipFile(wheel) as archive:
            for member in reversed(archive.namelist()):
                time.sleep(0.005)  # it is slow
                archive.extract(member, self.site)

    def install_editable(self, project: Path) -> None:
        self._uv("--no-build-isolation", "--editable", project)

    def _uv(self, *words: str | Path) -> None:
        self._run(BIN / "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--python", self.python, *words)

    def _run(self, *command: str | Path) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "UV_NO_CONFIG": "1",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }
        done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, (done.stdout + done.stderr).decode()


def source(version: str, modules: int = MODULES, on_import: str = "", on_init: str = "pass") -> str:
    return PLUGIN.format(version=version, modules=modules, on_import=on_import, on_init=on_init)


def wheel(version: str, **breaks: str) -> Handmade:
    files = {"zoo_probe/__init__.py": source(version, **breaks)}
    parts = {f"zoo_probe/part{number}.py": f"VERSION = {version!r}\n" for number in range(MODULES)}
    return Handmade("zoo-probe", version, files | parts)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for version in ("1.0", "1.1", "1.4"):
        wheel(version).write(folder)
    wheel("1.2", on_import="raise ValueError('out of order')").write(folder)
    wheel("1.3", on_init="raise ValueError('out of order')").write(folder)
    return folder


@pytest.fixture
def installs(tmp_path: Path, wheels: Path) -> Iterator[Installs]:
    return Installs(tmp_path, wheels)


@pytest.mark.parametrize(("tool", "isolation"), [("pip", "none"), ("uv", "none"), ("uv", "process"), ("copy", "none")])
def test_an_installer_upgrades_breaks_and_mends_a_plugin_that_serves(
    installs: Installs, tmp_path: Path, tool: str, isolation: str
) -> None:
    installs.install("uv", "1.0")
    with Host(installs.python, tmp_path, settings={"isolation": isolation}) as host:
        host.serves("1.0")
        installs.install(tool, "1.1")
        host.serves("1.1")
        installs.install(tool, "1.0")
        host.serves("1.0")
        installs.install(tool, "1.2")
        said = host.until(lambda said: said["errors"] == ["import-failed"])
        assert said["version"] == "1.0"
        installs.install(tool, "1.3")
        said = host.until(lambda said: said["errors"] == ["import-failed", "init-failed"])
        assert said["version"] == "1.0"
        assert "out of order" in said["status"]["reload_error"]
        installs.install(tool, "1.4")
        said = host.serves("1.4")
        assert said["status"]["generation"] == 4
        assert said["status"]["version"] == "1.4"
        assert said["errors"] == ["import-failed", "init-failed"]
        host.end()


def test_wheels_come_to_a_plugin_folder_of_a_host_that_serves(installs: Installs, tmp_path: Path) -> None:
    """By a slow copy under the wheel's own name, by one that is renamed, and by one over the wheel that serves."""
    folder = tmp_path / "plugins"
    wheel("1.0").write(folder)
    with Host(installs.python, tmp_path, plugin_dirs=[str(folder)], probe="never") as host:
        host.serves("1.0")
        _copy_slowly(wheel("1.1").data(), folder / "zoo_probe-1.1-py3-none-any.whl", host)
        host.serves("1.1")
        _copy_slowly(wheel("1.2").data(), folder / "part", host)
        (folder / "part").rename(folder / "zoo_probe-1.2-py3-none-any.whl")
        host.serves("1.2")
        anew = wheel("1.2", on_import="VERSION = '1.2 anew'")
        anew.files["zoo_probe/__init__.py"] = (
            source("1.2").replace("self.lang,", "self.lang or True,").replace("return VERSION", "return '1.2 anew'")
        )
        _copy_slowly(anew.data(), folder / "zoo_probe-1.2-py3-none-any.whl", host)
        said = host.serves("1.2 anew")
        assert said["errors"] == []
        host.end()


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_an_edit_of_an_editable_install_is_served(installs: Installs, tmp_path: Path, isolation: str) -> None:
    """Also one of the same size and time; a mistake is told, and what was there before serves on."""
    project = tmp_path / "project"
    module = project / "zoo_probe" / "__init__.py"
    module.parent.mkdir(parents=True)

    def edit(answer: str) -> None:
        module.write_text(source("1.0", modules=0).replace("return VERSION", answer))
        os.utime(module, (1_800_000_000, 1_800_000_000))

    edit("return 'first'")
    entry = '[project.entry-points."pluginhost.plugins"]\nprobe = "zoo_probe:New"'
    build = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    about = '[project]\nname = "zoo-probe"\nversion = "1.0"\ndependencies = ["pluginapi~=1.0"]\n'
    (project / "pyproject.toml").write_text(f"{build}{about}{entry}\n")
    installs.install_editable(project)
    with Host(installs.python, tmp_path, probe="never", settings={"isolation": isolation}) as host:
        host.serves("first")
        edit("return 'other'")
        host.serves("other")
        edit("return (")
        assert host.until(lambda said: said["errors"])["version"] == "other"
        edit("return 'third'")
        host.serves("third")
        host.end()


def _copy_slowly(data: bytes, path: Path, host: Host) -> None:
    """Writes a file bit by bit, while the host serves."""
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(data), len(data) // 8):
            file.write(data[start : start + len(data) // 8])
            host.ask()
