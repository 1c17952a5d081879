"""Runs cases of `children` in one host, one after the other, and writes down as JSON what it said.

Run as `python children_driver.py FOLDER`, where `batch.json` says what is to be done. The exit status is 7 when nothing
but our errors came out of the host.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import shutil
import site
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

STATUS = 7
SECONDS = 60
"""How long is waited for what must come, on a busy machine."""
SECRET = "zoo-secret-of-the-host"


def processes(home: str) -> dict[int, str]:
    """Returns the state of each process that has a home folder, or is a child of this one."""
    found = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
            is_of = f"HOME={home}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if (is_of or int(parent) == os.getpid()) and pid != os.getpid():
                found[pid] = state
    return found


class Host:
    """The manager, with what is known of its process before there is a bad plugin."""

    def __init__(self, folder: Path, batch: dict[str, Any]) -> None:
        from pluginhost import PluginManager
        from pluginhost.isolation import children, system

        self.folder, self.log, self.lines = folder, [], []
        if batch["system"] == "portable":
            system.best = lambda: system.PORTABLE
        if batch["is_slow"]:
            children.FLAG_SECONDS, children.KILL_SECONDS = 0.3, 2.5
            children.Child.end.__defaults__ = (0.5,)
        handler = logging.Handler()
        handler.emit = self._take  # type: ignore[method-assign]
        logging.getLogger("pluginhost").addHandler(handler)
        logging.getLogger("pluginhost").setLevel(logging.INFO)
        good = {"isolation": "process"}
        plugins = {name: {"isolation": "process", **set_for} for name, set_for in batch["plugins"].items()}
        self.manager = PluginManager(api="zoo_api", probe="never", plugins={"z-good": good, **plugins})
        self.events: list[Any] = []
        self.manager.subscribe(self.events.append, "plugin.")
        from zoo_api import Zoo  # type: ignore[import-not-found]

        self.contract = Zoo
        self.good()
        self.before = self.state()

    def _take(self, record: logging.LogRecord) -> None:
        from pluginhost.errors import Finding

        what = record.args[0] if record.args else None  # type: ignore[index]
        if isinstance(what, Finding):
            self.log.append(what.to_dict())
        elif record.name != "pluginhost":
            self.lines.append([record.name, record.getMessage()])

    def good(self) -> list[str]:
        return [self.manager.get(name, self.contract).greet("Ada") for name in ("a-good", "z-good")]

    def state(self) -> dict[str, Any]:
        """Returns what a bad plugin must leave as it was."""
        threads = sorted(thread.name for thread in threading.enumerate())
        # The watchdog's own ends when there is nothing more to watch.
        found = {"threads": [name for name in threads if "watchdog" not in name]}
        found["descriptors"] = len(os.listdir("/proc/self/fd"))  # type: ignore[assignment]
        return found | {"processes": processes(str(self.folder)).keys()}

    def ask(self, case: dict[str, Any]) -> dict[str, Any]:
        """Returns what the host says of one bad plugin."""
        from pluginhost import PluginHostError

        name, notes = case["plugin"], self.folder / "notes"
        notes.write_text("")
        self.log.clear()
        self.lines.clear()
        self.events.clear()
        said: dict[str, Any] = {"codes": []}
        hosts = [
            os.readlink(f"/proc/self/fd/{fd}")
            for fd in os.listdir("/proc/self/fd")
            if Path(f"/proc/self/fd/{fd}").exists()
        ]
        started = time.monotonic()
        try:
            with self.killing(case["where"]):
                stub = self.manager.get(name, self.contract)
        except PluginHostError as exc:
            said["start"] = exc.finding.to_dict()
            said["seconds"] = time.monotonic() - started
        else:
            spare = self.spare(name) if case["settings"].get("critical") else 0
            started = time.monotonic()
            if case["where"] == "call":
                self.call(stub, case["method"], said)
                said["seconds"] = time.monotonic() - started
                for _ in case["more"]:
                    self.call(stub, case["method"] if case["code"] else "greet", said)
            said["greets"], said["codes met"] = self.greets(stub, soon=case["again"] == "soon")
            if "child-died" in case["told"]:
                self.until(lambda: any(event.topic == "plugin.restarted" for event in self.events))
                pids = [event.fields["pid"] for event in self.events if event.topic == "plugin.restarted"]
                said["took over"] = not spare or pids == [spare]
        said["good"] = self.good()
        # What came over another channel than the call's is told by another thread, which the stop may forestall.
        aside = {code for code in case["told"].split() if code.startswith("frame-")}
        self.until(lambda: aside <= {finding["code"] for finding in self.log})
        self.manager.stop(name)
        self.until(lambda: self.state() == self.before)
        after = self.state()
        said["left"] = {
            key: [str(self.before[key]), str(after[key])] for key in after if after[key] != self.before[key]
        }
        said["zombies"] = [pid for pid, state in processes(str(self.folder)).items() if state == "Z"]
        said["log"], said["lines"] = list(self.log), list(self.lines)
        said["notes"] = notes.read_text().splitlines()
        said["hosts"] = hosts
        said["written"] = sorted(path.name for path in self.folder.iterdir())
        return said

    @contextlib.contextmanager
    def killing(self, where: str) -> Iterator[None]:
        """Has a child killed before it has anything of the plugin: at its spawn, or in its hello."""
        from pluginhost.isolation.spawning import Nursery

        start, marker = Nursery.start, self.folder / "kill in hello"

        def killed(*args: Any) -> Any:
            process = start(*args)
            process.kill()
            return process

        if where == "spawn":
            Nursery.start = killed  # type: ignore[method-assign]
        if where == "hello":
            marker.touch()
        try:
            yield
        finally:
            Nursery.start = start  # type: ignore[method-assign]
            marker.unlink(missing_ok=True)

    def call(self, stub: Any, method: str, said: dict[str, Any]) -> None:
        from pluginhost import PluginHostError

        try:
            got = stub.greet("Ada") if method == "greet" else getattr(stub, method)()
            if method == "later":
                got = asyncio.run(got)
            said["gets"] = repr(list(got) if method == "count" else got)
            if method == "names":
                said["names"] = got
        except PluginHostError as exc:
            said["codes"].append(exc.finding.code)
            said.setdefault("finding", exc.finding.to_dict())
            said["bytes"] = len(str(exc).encode("utf-8", "replace"))

    def greets(self, stub: Any, *, soon: bool) -> tuple[str, list[str]]:
        """Returns what the bad plugin's good method answers, and the codes that were met before it did."""
        from pluginhost import PluginHostError

        met: list[str] = []
        end = time.monotonic() + SECONDS
        while True:
            try:
                return stub.greet("Ada"), met
            except PluginHostError as exc:
                met.append(exc.finding.code)
                if not soon or time.monotonic() > end:
                    return str(exc), met
            time.sleep(0.02)

    def spare(self, name: str) -> int:
        """Returns the process id of a critical plugin's second process, once it stands by."""
        supervisor = self.supervisor(name)
        self.until(lambda: supervisor._spare is not None)
        return int(supervisor._spare.pid)

    def supervisor(self, name: str) -> Any:
        return self.manager.handle(name).serving.loaded.end.__self__

    def until(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + SECONDS
        while not is_so() and time.monotonic() < end:
            gc.collect()
            time.sleep(0.01)


def cases(host: Host, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for case in batch["cases"]:
        yield case["name"], host.ask(case)


def traffic(host: Host, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Two threads call the good plugins all the time, while the bad ones do their deeds."""
    from pluginhost import PluginHostError

    stubs = {name: host.manager.get(name, host.contract) for name in batch["plugins"]}
    good = [host.manager.get(name, host.contract) for name in ("a-good", "z-good")]
    is_over, calls, failed, codes = threading.Event(), [0, 0], [], {name: [] for name in stubs}  # type: ignore[var-annotated]

    def serve(number: int) -> None:
        while not is_over.is_set():
            try:
                if good[number].greet("Ada") != "good Ada":
                    failed.append("another's reply")
            except BaseException:
                failed.append(traceback.format_exc())
            calls[number] += 1

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    served = []
    for name, stub in stubs.items():
        for _ in range(2):
            try:
                stub.do()
            except PluginHostError as exc:
                codes[name].append(exc.finding.code)
            served.append(host.greets(stub, soon=True)[0])
    more = [number + 100 for number in calls]
    host.until(lambda: all(number >= wanted for number, wanted in zip(calls, more, strict=True)))
    is_over.set()
    for thread in threads:
        thread.join()
    yield "traffic", {"failed": failed[:3], "calls": calls, "codes": codes, "served": served}


def stays(host: Host, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Runs until it is killed, which it tells when to do."""
    for name in batch["plugins"]:
        host.manager.get(name, host.contract)
        host.spare(name)
    print(json.dumps(list(processes(str(host.folder)))), flush=True)
    threading.Event().wait()
    yield from ()


def upgrade(host: Host, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Has a file changed that the host has read, and then its plugin's process end."""
    from pluginhost import PluginHostError
    from pluginhost.isolation import restarts

    restarts.FIRST_PAUSE = 0.001
    [name] = batch["plugins"]
    stub = host.manager.get(name, host.contract)
    file, old, new = batch["change"]
    path = Path(batch["site"], file)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    shutil.rmtree(path.with_name("__pycache__"), ignore_errors=True)
    with contextlib.suppress(PluginHostError):
        stub.do()
    host.until(lambda: host.manager.status()[name].state == "failed")
    said, met = host.greets(stub, soon=False)
    good = host.good()
    host.until(lambda: host.state() == host.before)
    yield (
        "upgrade",
        {"said": said, "met": met, "good": good, "left": host.state()["processes"] != host.before["processes"]},
    )


KINDS = {"cases": cases, "traffic": traffic, "stays": stays, "upgrade": upgrade}


def main(folder: str) -> int:
    """Returns the exit status."""
    batch = json.loads(Path(folder, "batch.json").read_text())
    site.addsitedir(batch["site"])
    os.environ["ZOO_TOKEN"] = SECRET
    marker = os.open(Path(folder, "host-marker"), os.O_CREAT | os.O_RDWR)
    os.set_inheritable(marker, True)
    said: dict[str, Any] = {}
    status = STATUS
    host = None
    try:
        host = Host(Path(folder), batch)
        said |= KINDS[batch["kind"]](host, batch)
        host.manager.close()
        said["closed"] = {"processes": processes(folder)}
    except BaseException:
        said["uncoded"] = traceback.format_exc()[-6000:]
        status = 1
    Path(folder, "result.json").write_text(json.dumps(said))
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
