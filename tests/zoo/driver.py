"""Asks the host about one case of the zoo, in a process of its own, and writes down as JSON what it said.

Run as `python driver.py SITE RESULT`. The exit status is 7 when nothing but our errors came out of the host. What it
logs, and the state that each plugin reaches, stand line by line in the file `log`, up to the end of the process.

Run as `python driver.py --forks REQUESTS ANSWERS MODULES`, it imports modules and forks such a process for each request.
"""

from __future__ import annotations

import _locale
import _tracemalloc
import builtins
import gc
import json
import logging
import os
import signal
import site
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS = 7
HOSTS_OWN = ("a-good", "z-good")
NOTES_SECONDS = 60
"""How long is waited for what a plugin's threads note after its shutdown."""

FINDERS = list(sys.meta_path)
MODULES = dict(sys.modules)


def loaded(module: str, read: Callable[[Any], object], default: object) -> object:
    """Returns what a module says, or what it would say, without importing it: a plugin may be the first to do that."""
    return read(sys.modules[module]) if sys.modules.get(module) else default


def process() -> dict[str, object]:
    """Returns what of this process a plugin must leave alone, or the host puts back."""
    umask = os.umask(0o022)
    os.umask(umask)
    return posix() | {
        "modules": [name for name, module in MODULES.items() if sys.modules.get(name) is not module],
        "finders": [name for name in FINDERS if name not in sys.meta_path],
        "path hooks": list(map(id, sys.path_hooks)),
        "hooks": [id(sys.displayhook), id(sys.unraisablehook), id(threading.excepthook), id(builtins.__import__)],
        "functions": list(map(id, (open, print, json.dumps, os.listdir, os.open, len, time.sleep))),
        "profile": [sys.getprofile(), sys.gettrace()],
        "descriptors": [os.fstat(fd)[1:3] for fd in (0, 1, 2)],
        "warnings": list(map(str, warnings.filters)),
        "logging": [logging.root.manager.disable, logging.getLogger("pluginhost").disabled],
        "collection": [gc.isenabled(), gc.get_threshold(), len(gc.callbacks)],
        "switch interval": sys.getswitchinterval(),
        "bytecode": [sys.dont_write_bytecode, sys.pycache_prefix],
        "program": [sys.executable, *sys.argv],
        "locale": _locale.setlocale(_locale.LC_ALL),
        "memory": _tracemalloc.is_tracing(),
        "faults": loaded("faulthandler", lambda module: module.is_enabled(), False),
        "chance": loaded("random", lambda module: module.getstate() == module.Random(0).getstate(), False),
        "decimal": loaded("decimal", lambda module: module.getcontext().prec, 28),
        "sockets": loaded("socket", lambda module: module.getdefaulttimeout(), None),
        "path": list(map(str, sys.path)),
        "environment": dict(os.environ),
        "folder": os.stat(".").st_ino,
        "umask": umask,
        "handler": str(signal.getsignal(signal.SIGTERM)),
        "hook": sys.excepthook is sys.__excepthook__,
        "streams": [sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
        "recursion": sys.getrecursionlimit(),
    }


def posix() -> dict[str, object]:
    """Returns what only POSIX has."""
    if os.name != "posix":
        return {}
    import resource

    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {
        "handlers": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "timers": [signal.getitimer(timer)[0] > 0 for timer in range(3)],
        "limits": [resource.getrlimit(getattr(resource, name)) for name in limits],
        "priority": os.nice(0),
    }


def ask(folder: str, case: dict[str, Any], log: Callable[[str, object], object]) -> dict[str, object]:
    """Returns what the host says of the plugins in a folder, and what those that serve answer."""
    global manager
    from pluginhost import PluginHostError, PluginManager

    from pluginapi import Greeter

    said: dict[str, object] = {}
    root = logging.getLogger("pluginhost")
    root.addFilter(lambda record: bool(log("finding", record.args[0].to_dict())))  # type: ignore
    before = process()
    started, clock = time.monotonic(), time.monotonic
    manager = PluginManager(**case["settings"])
    manager.subscribe(lambda event: log("state", [event.fields["plugin"], event.topic]), "plugin.")
    said["first"] = manager.get("a-good", Greeter).greet("Ada")
    said["modules"] = list(sys.modules)
    survey = manager.survey()
    said["survey_seconds"] = time.monotonic() - started
    json.dumps(survey.to_dict())
    rows = [row for row in survey if row.origin.startswith(folder)]
    said["findings"] = [finding.to_dict() for finding in survey.findings]
    said["good"] = {row.name: [row.state, *row.to_dict()["findings"]] for row in rows if row.name in HOSTS_OWN}
    bad = [row for row in rows if row.name not in HOSTS_OWN]
    said["rows"] = [row.to_dict() for row in bad[:20]]
    said["row_count"] = len(bad)
    said["answers"], said["errors"] = [], []
    for row in bad[:3]:
        try:
            plugin = manager.get(row.name, Greeter)
            said["answers"].append(plugin.greet("Ada"))
        except PluginHostError as exc:
            str(exc)
            said["errors"].append([finding.to_dict() for finding in (exc.finding, *exc.more)])
    said["calls"] = [called(manager, number, *call) for number, call in enumerate(case["calls"])]
    if case["ends"] == "stop":
        manager.stop("bad")
    said["last"] = manager.get("z-good", Greeter).greet("Ada")
    said["again"] = manager.get("a-good", Greeter).greet("Ada")
    said["all"] = sorted(set(manager.all(Greeter)) & set(HOSTS_OWN))
    begun = clock()
    if case["ends"] != "exit":
        manager.close()
    said["close_seconds"] = clock() - begun
    wait_for_notes(Path(folder, "notes"), case["notes"])
    after = process()
    before["path"] += [entry for entry in survey.path if entry in after["path"]]  # what the host itself adds
    said["changed"] = [name for name in before if before[name] != after[name]]
    said["seconds"] = clock() - started
    return said


def called(
    manager: Any,
    number: int,
    kind: str,
    way: str,
    goes_on: bool,
    wait: float,
) -> dict[str, object]:
    """Returns what a caller of a bad call gets, and what those get who call next."""
    from pluginhost import PluginHostError
    from zoo_contract import Caller  # type: ignore[import-not-found]

    from pluginapi import Greeter

    stub, name = manager.get("bad", Caller), f"call_{number}"
    time.sleep(wait)
    started = time.monotonic()
    said: dict[str, object] = {}
    try:
        said["gets"] = repr(got(getattr(stub, name), kind, way))
    except PluginHostError as exc:
        told = [getattr(exc, each, "") for each in ("plugin", "version", "method")]
        said |= {"finding": exc.finding.to_dict(), "told": told, "more": len(exc.more), "text": len(str(exc).encode())}
        said["cause"] = exc.__cause__ is not None
    except BaseException as exc:
        said["gets"] = type(exc).__name__
    said["seconds"] = time.monotonic() - started
    said["goes_on"] = stub.fine() if goes_on else "fine"
    said["good"] = [manager.get(name, Greeter).greet("Ada") for name in HOSTS_OWN]
    return said


def got(method: Callable[[], Any], kind: str, way: str) -> object:
    """Returns what a method of some kind returns, or all its items."""

    async def items() -> list[object]:
        return [item async for item in method()]

    async def plain() -> object:
        return list(method()) if kind == "generator" else method()

    if kind in ("coroutine", "asynchronous generator") or way:
        import asyncio

        return asyncio.run({"coroutine": method, "asynchronous generator": items}.get(kind, plain)())
    return list(method()) if kind == "generator" else method()


def wait_for_notes(path: Path, lines: int) -> None:
    """Returns once a plugin has written down what it should, or after some time."""
    deadline = time.monotonic() + NOTES_SECONDS
    while lines and time.monotonic() < deadline and (not path.exists() or len(path.read_bytes().splitlines()) < lines):
        time.sleep(0.01)


def main(folder: str, result: str) -> int:
    """Returns the exit status."""
    case = json.loads(Path(folder, "case.json").read_text())
    site.addsitedir(os.path.join(folder, "site"))  # as a site folder: after the host's own, .pth files are obeyed
    sys.path += case["path"]
    exec(case["code"], {"sys": sys, "os": os, "Path": Path})
    write = Path.write_text  # what a plugin may have put in its place by then is not used
    dumps, format_exc = json.dumps, traceback.format_exc
    out = Path(folder, "log").open("ab", buffering=0)  # noqa: SIM115 - to the end of the process
    try:
        said = ask(folder, case, lambda kind, what: out.write(dumps({kind: what}).encode() + b"\n"))
    except BaseException:
        said = {"uncoded": format_exc()[-6000:]}
    write(Path(result), dumps(said))
    return 1 if "uncoded" in said else STATUS


def forked(requests: int, answers: int, modules: list[str]) -> None:
    """Returns in a process of its own for each request; the one that forks ends when nobody is left to ask.

    It has a single thread, and one case at a time. Each is answered with a line when it begins and one when it ends.
    """
    for name in modules:
        __import__(name)
    while request := os.read(requests, 1 << 16):
        pid = os.fork()
        if not pid:
            os.close(requests)
            os.close(answers)
            return become(**json.loads(request))
        os.write(answers, b"%d\n" % pid)
        os.write(answers, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    sys.exit(0)


def become(command: list[str], environment: dict[str, str], folder: str) -> None:
    """Makes a forked process what it would be had it been started: see `processes.fresh`."""
    os.setsid()
    os.chdir(folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, (path, mode) in enumerate([(os.devnull, os.O_RDWR), ("out", flags), ("err", flags)]):
        descriptor = os.open(path, mode, 0o666)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.orig_argv[:] = command
    sys.argv[:] = command[-3:]
    os.environ.update(environment)  # of the same names


if __name__ == "__main__":
    if sys.argv[1] == "--forks":
        forked(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split())
    sys.exit(main(*sys.argv[1:]))
