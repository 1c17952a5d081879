"""Loads plugins of one distribution for real, in a process of its own, and prints as JSON what became of each.

Called with a distribution's name, then a group and a name for each plugin. Before the host loads a plugin, a copy of
the process imports and calls it without the host: that tells what it really changes. In another copy the host loads it
as an application's would, with a first load in a process that may be lost.
"""

from __future__ import annotations

import atexit
import builtins
import decimal
import faulthandler
import gc
import json
import locale
import logging
import os
import pickle
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import FunctionType
from typing import Any, Literal

from pluginhost import PluginHostError, PluginManager

from pluginapi import Greeter

OURS = "pluginhost.plugins"

# What everybody calls: others put there are others for all.
SHARED = (
    *(builtins, os, os.path, sys, json, logging, pickle, socket, subprocess, threading),
    *(Path, logging.Logger, threading.Thread, subprocess.Popen, PathFinder),
)
APART = {"excepthook", "displayhook", "unraisablehook", "breakpointhook", "stdin", "stdout", "stderr"}
REMOVED = "find_distributions"  # of PathFinder: `importlib_metadata` takes it off when imported, and brings its own


class Exits:
    """The exit functions that others than the standard library and the host itself register."""

    def __init__(self) -> None:
        self.functions: list[object] = []
        self._register, self._unregister = atexit.register, atexit.unregister
        atexit.register, atexit.unregister = self.register, self.unregister  # type: ignore[assignment]

    def register(self, function: Callable[..., object], *args: object, **options: object) -> object:
        modules = sys._getframe(1).f_globals.get("__name__"), getattr(function, "__module__", None)
        if any(str(name).partition(".")[0] not in {*sys.stdlib_module_names, "pluginhost"} for name in modules):
            self.functions.append(function)
        return self._register(function, *args, **options)

    def unregister(self, function: object) -> None:
        self.functions = [each for each in self.functions if each != function]
        self._unregister(function)


EXITS = Exits()


def functions() -> dict[tuple[object, str], object]:
    """Returns the functions that everybody calls, and their code, by where they are."""
    return {
        (owner, name): (value, value.__code__ if isinstance(value, FunctionType) else None)
        for owner in SHARED
        for name, value in vars(owner).items()
        if callable(value) and name not in {*APART, REMOVED}
    }


def process() -> dict[str, object]:
    """Returns what a plugin must leave as it is, by the name that the host gives it."""
    os.umask(umask := os.umask(0o077))
    state: dict[str, object] = {
        "sys.path": list(sys.path),
        "sys.argv": list(sys.argv),
        "sys.path_hooks": list(sys.path_hooks),
        "sys.meta_path": list(sys.meta_path),
        "os.environ": dict(os.environ),
        "the working folder": os.getcwd(),
        "the umask": umask,
        "the priority": os.getpriority(os.PRIO_PROCESS, 0),
        "the recursion limit": sys.getrecursionlimit(),
        "sys.setprofile": sys.getprofile(),
        "sys.settrace": sys.gettrace(),
        "threading.setprofile": threading.getprofile(),
        "threading.settrace": threading.gettrace(),
        "threading.excepthook": threading.excepthook,
        "the names of builtins": set(vars(builtins)),
        "the blocked signals": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "the warnings filters": list(warnings.filters),
        "exit functions": list(EXITS.functions),
        "the threads' stack size": threading.stack_size(),
        "the locale": locale.setlocale(locale.LC_ALL),
        "garbage collection": gc.isenabled(),
        "its thresholds": gc.get_threshold(),
        "its callbacks": list(gc.callbacks),
        "the switch interval": sys.getswitchinterval(),
        "the digits of an int": sys.get_int_max_str_digits(),
        "faulthandler": faulthandler.is_enabled(),
        "tracemalloc": tracemalloc.is_tracing(),
        "the sockets' timeout": socket.getdefaulttimeout(),
        "the decimal context": str(decimal.getcontext()),
    }
    state |= {f"sys.{hook}": getattr(sys, hook) for hook in sorted(APART)}
    state |= {f"whether sys.{name} is closed": getattr(sys, name).closed for name in ("stdin", "stdout", "stderr")}
    state |= {f"sys.{name}": getattr(sys, name) for name in ("dont_write_bytecode", "pycache_prefix", "executable")}
    state |= {f"the handler of signal {int(each)}": signal.getsignal(each) for each in signal.valid_signals()}
    timers = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
    state |= {f"interval timer {timer}": signal.getitimer(timer)[0] > 0 for timer in timers}
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    state |= {name: resource.getrlimit(getattr(resource, name)) for name in limits}
    if sys.version_info >= (3, 12):
        state["sys.monitoring"] = [sys.monitoring.get_tool(tool) for tool in range(6)]
    if threading.active_count() == 1:  # others may want numbers
        state["the random numbers' state"] = random.getstate()
    for name in ("root", "pluginhost"):
        logger = logging.getLogger(name if name != "root" else None)
        settings = logger.level, logger.disabled, logger.propagate, logger.manager.disable
        state[f"the {name} logger"] = [*settings, *logger.filters, *logger.handlers]
    return state


def changes(action: Callable[[], object]) -> list[str]:
    """Returns what an action changes, whether it succeeds or not."""
    modules, shared = dict(sys.modules), functions()
    before = process()
    try:
        action()
    except BaseException:  # what the host makes of it is looked at elsewhere
        pass
    after = process()
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    if any(sys.modules.get(name) is not module for name, module in modules.items()):
        changed.add("sys.modules")
    now = functions()
    if any(now.get(key) != value for key, value in shared.items()):
        changed.add("Python's own functions")
    return sorted(changed)


def in_a_copy(action: Callable[[], object]) -> Any:
    """Returns what an action returns in a copy of this process, which stays as it is."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        try:
            told = json.dumps(action()).encode()
            with open(send, "wb") as stream:
                stream.write(told)
        finally:
            os._exit(0)
    os.close(send)
    with open(receive, "rb") as stream:
        told = stream.read()
    os.waitpid(child, 0)
    return json.loads(told) if told else None


def make(entry_point: EntryPoint) -> None:
    """Imports and calls as the host does, but without it."""
    factory = entry_point.load()
    if not entry_point.attr:
        factory = factory.New
    factory()


class Told(logging.Handler):
    """Keeps what the host logs: severity, code and message."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append((record.levelname, record.__dict__["code"], record.getMessage()))


def attempt(group: str, plugin: str, probe: Literal["new", "never"]) -> dict[str, object]:
    """Returns what became of a plugin under the host: `loaded`, or a code; what it told; and what it left changed."""
    log = Told()
    logging.getLogger("pluginhost").addHandler(log)
    outcome = []

    def handle() -> None:
        manager = PluginManager(group, api="pluginapi" if group == OURS else None, probe=probe)
        try:
            found = manager.handle(plugin)
            if group == OURS and found.implements(Greeter):
                assert found.require(Greeter).greet("World")
            outcome.append("loaded")
        except PluginHostError as exc:
            outcome.append(exc.finding.code)

    left = changes(handle)
    logging.getLogger("pluginhost").removeHandler(log)
    return {"outcome": outcome[0], "told": log.found, "left": left}


def load(distribution: str, group: str, name: str) -> dict[str, object]:
    """Returns what a plugin changes when it is loaded without the host, and what became of it under the host."""
    found = [each for each in entry_points(group=group, name=name) if each.dist and each.dist.name == distribution]
    plugin = f"{name}@{distribution}"
    return {
        "name": name,
        "group": group,
        "real": in_a_copy(lambda: changes(lambda: make(found[0]))),
        "probed": in_a_copy(lambda: attempt(group, plugin, "new")),
        **attempt(group, plugin, "never"),
    }


if __name__ == "__main__":
    for module in ("lifecycle", "loading"):  # what the host itself changes by being imported is no plugin's doing
        import_module(f"pluginhost.{module}")
    warnings.simplefilter("ignore")  # other people's code
    output, sys.stdout = sys.stdout, sys.stderr  # whatever a plugin prints
    plugins = zip(sys.argv[2::2], sys.argv[3::2], strict=True)
    print(json.dumps([load(sys.argv[1], *plugin) for plugin in plugins]), file=output)
