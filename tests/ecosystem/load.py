"""Loads plugins of one distribution for real, in a process of its own, and prints as JSON what became of each.

Called with a distribution's name, then a group and a name for each plugin. Before the host loads a plugin, a copy of
the process imports and calls it without the host: that tells what it really changes.
"""

from __future__ import annotations

import builtins
import json
import logging
import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from pluginhost import PluginHostError, PluginManager


def process() -> dict[str, object]:
    """Returns what a plugin must leave as it is, by the name that the host gives it."""
    os.umask(umask := os.umask(0o077))
    hooks = ("excepthook", "displayhook", "unraisablehook", "breakpointhook", "stdin", "stdout", "stderr")
    state: dict[str, object] = {
        "sys.path": list(sys.path),
        "sys.path_hooks": list(sys.path_hooks),
        "sys.meta_path": list(sys.meta_path),
        "os.environ": dict(os.environ),
        "the working folder": os.getcwd(),
        "the umask": umask,
        "threading.excepthook": threading.excepthook,
        "builtins.__import__": builtins.__import__,
        "builtins.open": builtins.open,
    }
    state |= {f"sys.{hook}": getattr(sys, hook) for hook in hooks}
    state |= {f"the handler of signal {int(each)}": signal.getsignal(each) for each in signal.valid_signals()}
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    state |= {name: resource.getrlimit(getattr(resource, name)) for name in limits}
    return state


def changes(action: Callable[[], object]) -> list[str]:
    """Returns what an action changes, whether it succeeds or not."""
    before = process()
    try:
        action()
    except BaseException:  # what the host makes of it is looked at elsewhere
        pass
    after = process()
    return [name for name in before if before[name] != after[name]]


def changes_in_a_copy(action: Callable[[], object]) -> list[str]:
    """Returns what an action would change; this process stays as it is."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        try:
            told = json.dumps(changes(action)).encode()
            os.write(send, told)
        finally:
            os._exit(0)
    os.close(send)
    with open(receive, "rb") as stream:
        told = stream.read()
    os.waitpid(child, 0)
    return json.loads(told) if told else ["it ended the process"]


def make(entry_point: EntryPoint) -> None:
    """Imports and calls as the host does, but without it."""
    factory = entry_point.load()
    if not entry_point.attr:
        factory = factory.New
    factory()


class Codes(logging.Handler):
    """Keeps what the host logs: code and message."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append((record.__dict__["code"], record.getMessage()))


def load(distribution: str, group: str, name: str) -> dict[str, object]:
    """Returns what became of one plugin, and what it changes when it is loaded without the host."""
    found = [each for each in entry_points(group=group, name=name) if each.dist and each.dist.name == distribution]
    real = changes_in_a_copy(lambda: make(found[0]))
    log = Codes()
    logging.getLogger("pluginhost").addHandler(log)
    outcome = []

    def handle() -> None:
        try:
            PluginManager(group, api=None).handle(f"{name}@{distribution}")
            outcome.append("loaded")
        except PluginHostError as exc:
            outcome.append(exc.finding.code)

    left = changes(handle)
    logging.getLogger("pluginhost").removeHandler(log)
    told = [message for code, message in log.found if code == "process-changed"]
    return {"name": name, "group": group, "outcome": outcome[0], "real": real, "left": left, "told": told}


if __name__ == "__main__":
    for module in ("lifecycle", "loading"):  # what the host itself changes by being imported is no plugin's doing
        import_module(f"pluginhost.{module}")
    warnings.simplefilter("ignore")  # other people's code
    output, sys.stdout = sys.stdout, sys.stderr  # whatever a plugin prints
    plugins = zip(sys.argv[2::2], sys.argv[3::2], strict=True)
    print(json.dumps([load(sys.argv[1], *plugin) for plugin in plugins]), file=output)
