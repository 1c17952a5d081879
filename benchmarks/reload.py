"""One round of what a reload costs: prints the seconds of each contestant as JSON, for run.py.

All processes are held to one core, so that what is measured is work, and not how many cores share it. Contestants take
turns, and each reload finds another source.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy
from pluginhost import PluginManager
from stevedore import DriverManager
from synthetic import install

from pluginapi import Greeter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Its table, what the table calls it, its version, and its seconds.
Row = tuple[str, str, str, float]

TAKES = 5
CALLING_SECONDS = 0.5
PYTHON, PLUGINHOST = platform.python_version(), version("pluginhost")
GROUP = "benchmarks.reload"
PLUGIN = '''
from pluginapi import Greeter


class Reloaded(Greeter):
    """Greets with its number, which its successor goes on with."""

    lang = "{number:08}"

    def greet(self, name):
        return "{number:08}"

    def export_state(self):
        return {{"greeted": 0}}

    def restore_state(self, state):
        self.greeted = state["greeted"]


New = Reloaded
'''


class Plugin:
    """A plugin of one module that is installed, and changed again and again.

    Args:
        folder: Where it is installed, which is on the path.
        name: Its name, and that of its module.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._folder = folder
        self._number = 0
        entry = f"[{GROUP}]\n{name} = {name}:New\n"
        install(folder, name, self._source(), ("pluginapi~=1.0",), {"entry_points.txt": entry})
        self._record = folder / f"{name}-1.0.dist-info" / "RECORD"
        self._files = [line.partition(",")[0] for line in self._record.read_text().splitlines()][:-1]
        self.change()

    def change(self) -> str:
        """Installs its next version, and returns what that greets with."""
        self._number += 1
        (self._folder / f"{self.name}.py").write_text(self._source())
        rows = []
        for name in self._files:
            content = (self._folder / name).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(content)}\n")
        self._record.write_text("".join(rows) + f"{self._record.relative_to(self._folder)},,\n")
        return f"{self._number:08}"

    def _source(self) -> str:
        return PLUGIN.format(number=self._number)


def changes(plugin: Plugin, once: Callable[[], str]) -> float:
    """Returns the seconds that it takes until the next version greets.

    Raises:
        SystemExit: It does not.
    """
    greeting = plugin.change()
    importlib.invalidate_caches()
    cached = sys.modules[plugin.name].__cached__
    if cached and os.path.exists(cached):
        os.remove(cached)  # stale bytecode, with which the peers would greet as the version before does
    started = time.perf_counter()
    greeted = once()
    took = time.perf_counter() - started
    if greeted != greeting:
        raise SystemExit(f"{plugin.name}: wrong answer: {greeted!r}")
    return took


def by_importlib(plugin: Plugin) -> str:
    """Reloads it as Python alone does, with new globals under the old code."""
    return str(importlib.reload(sys.modules[plugin.name]).New().greet(""))


def by_pluggy(plugin: Plugin, manager: pluggy.PluginManager) -> str:
    """Likewise, in the place of what is registered."""
    manager.unregister(name=plugin.name)
    manager.register(importlib.reload(sys.modules[plugin.name]).New(), plugin.name)
    return str(manager.get_plugin(plugin.name).greet(""))


def by_stevedore(plugin: Plugin) -> str:
    """Imports it anew for another manager."""
    del sys.modules[plugin.name]
    return str(DriverManager(GROUP, plugin.name, invoke_on_load=True).driver.greet(""))


def peers(folder: Path) -> Iterator[Row]:
    """Yields what a bare start of the interpreter takes, and what the peers can do."""
    table = "until the new version answers, nobody calling"
    bare = [sys.executable, "-c", "pass"]
    plugins = [Plugin(folder, name) for name in ("by_importlib", "by_pluggy", "by_stevedore")]
    for plugin in plugins:
        importlib.import_module(plugin.name)
    manager = pluggy.PluginManager(GROUP)
    manager.register(sys.modules["by_pluggy"].New(), "by_pluggy")
    ways: list[tuple[str, str, Callable[[], str]]] = [
        ("importlib.reload (new globals under old code)", PYTHON, functools.partial(by_importlib, plugins[0])),
        ("pluggy, register anew (the same)", pluggy.__version__, functools.partial(by_pluggy, plugins[1], manager)),
        ("stevedore, purge and a new manager", version("stevedore"), functools.partial(by_stevedore, plugins[2])),
    ]
    for _ in range(TAKES):
        started = time.perf_counter()
        subprocess.run(bare, check=True)
        yield table, "a bare start of the interpreter", PYTHON, time.perf_counter() - started
        for plugin, (name, number, once) in zip(plugins, ways, strict=True):
            yield table, name, number, changes(plugin, once)


def ours(folder: Path) -> Iterator[Row]:
    """Yields the same of pluginhost, in this process and in one of the plugin's own, and what callers have of it."""
    for where, text in (("none", ""), ("process", ", a process of its own")):
        plugin = Plugin(folder, f"by_pluginhost_{where}")
        settings = {plugin.name: {"isolation": where}}
        with PluginManager(GROUP, probe="never", plugins=settings) as manager:
            stub = manager.get(plugin.name, Greeter)
            stub.greet("")
            for _ in range(TAKES):
                yield from reloads(manager, plugin, stub, text)
            yield from calls(manager, plugin, stub, text)


def reloads(manager: PluginManager, plugin: Plugin, stub: Greeter, text: str) -> Iterator[Row]:
    """Yields what one reload takes: until calls go to what is new, and until what is old has gone."""
    table = "until the new version answers, nobody calling"
    greeting, started = plugin.change(), time.perf_counter()
    reloaded = manager.reload(plugin.name)
    took = time.perf_counter() - started
    if stub.greet("") != greeting or reloaded.findings:
        raise SystemExit(f"{plugin.name}: wrong answer, or {reloaded.findings}")
    yield table, f"pluginhost{text}: until calls go to it", PLUGINHOST, reloaded.seconds
    yield table, f"pluginhost{text}: until the one before has ended", PLUGINHOST, took


def calls(manager: PluginManager, plugin: Plugin, stub: Any, text: str) -> Iterator[Row]:
    """Yields what calls take while nothing is reloaded, and while the plugin is all the time."""
    for when in ("no reload", "reloads all the time"):
        taken: list[float] = []
        is_over = threading.Event()
        thread = threading.Thread(target=call, args=(stub, taken, is_over))
        thread.start()
        until = time.perf_counter() + CALLING_SECONDS
        while time.perf_counter() < until:
            if when == "no reload":
                time.sleep(0.01)
            else:
                plugin.change()
                manager.reload(plugin.name)
        is_over.set()
        thread.join()
        taken.sort()
        table = f"one thread that calls{text}"
        yield table, f"{when}: a call's median", PLUGINHOST, statistics.median(taken)
        yield table, f"{when}: its 99th percentile", PLUGINHOST, taken[int(len(taken) * 0.99)]
        yield table, f"{when}: the longest of {CALLING_SECONDS:g} s", PLUGINHOST, taken[-1]


def call(stub: Greeter, taken: list[float], is_over: threading.Event) -> None:
    """Takes down what each call takes, until it is over."""
    while not is_over.is_set():
        started = time.perf_counter()
        stub.greet("")
        taken.append(time.perf_counter() - started)


def main() -> None:
    """Prints what a round yields."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        sys.path.insert(0, name)
        json.dump([*peers(Path(name)), *ours(Path(name))], sys.stdout)


if __name__ == "__main__":
    main()
