"""Runs one case of `reloads`, or one scene of `reload_scenes`, and writes down as JSON what the host said.

Run as `driver.py` is. The exit status is 7 when all was as it must be; else the file has what was not.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import site
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluginhost.events import TOPICS

sys.path.insert(0, str(Path(__file__).parent.parent))
from zoo import driver, reload_scenes, reloads

del sys.path[0]
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zoo.reloads import Case

SECONDS = 60
"""How long is waited for what must come, on a busy machine."""
HELD = "pluginhost.reimport"
"""Of whose class the finder is that stays after a reload."""


class Stage:
    """A host with two good plugins and one whose next version is bad.

    Attributes:
        folder: Where all is.
        site: What is installed.
        manager: The host.
        log: The findings that were told.
        events: What happened to plugins.
        wrong: What callers got that they must not get.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, reloads.Site(folder / "site")
        self.log: list[Any] = []
        self.events: list[Any] = []
        self.wrong: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: self.log.append(record.args[0])  # type: ignore[method-assign, index]
        logging.getLogger("pluginhost").addHandler(handler)
        site.addsitedir(str(self.site.root))
        for name in ("a", "z"):
            package = f"zoo_good_{name}"
            files = reloads.source(1, package=package)
            self.site.install("1.0.0", files, f"{name}-good = {package}:New", distribution=f"zoo-good-{name}")
        self.install(1)

    def install(self, number: int, **how: str) -> None:
        """Installs a version of the bad plugin; a good one where nothing is said."""
        self.site.install(f"{number}.0.0", reloads.source(number, **how))

    def open(self, plugins: dict[str, Any] | None = None, **configuration: Any) -> None:
        """Makes the host, whose plugins serve."""
        from pluginhost import PluginManager

        from pluginapi import Greeter

        self.settings = {"probe": "never", "plugins": plugins or {}, **configuration}
        self.manager = PluginManager(configuration=self.settings)
        self.manager.subscribe(self.events.append, "plugin.")
        self.stubs = {name: self.manager.get(name, Greeter) for name in ("a-good", "bad", "z-good")}
        assert self.greet() == "1 1 Ada"

    def greet(self, name: str = "bad") -> str:
        return self.stubs[name].greet("Ada")

    @contextlib.contextmanager
    def called(self) -> Iterator[None]:
        """Has two threads call all three plugins all the time; no call fails, or is half of one version."""
        ends, rounds = threading.Event(), [0, 0]

        def call(number: int) -> None:
            good = {f"{number} {number} Ada" for number in range(1, 10)}
            while not ends.is_set():
                for name in self.stubs:
                    try:
                        got = self.greet(name)
                    except BaseException:
                        got = traceback.format_exc()
                    if got not in (good if name in ("bad", *self.served) else {"1 1 Ada"}):
                        self.wrong.append(got)
                rounds[number] += 1
                time.sleep(0.0005)

        threads = [threading.Thread(target=call, args=(number,), name=f"caller {number}") for number in range(2)]
        for thread in threads:
            thread.start()
        try:
            self.until(lambda: min(rounds) > 2)
            yield
            more = min(rounds) + 3
            self.until(lambda: min(rounds) > more)
        finally:
            ends.set()
            for thread in threads:
                thread.join()
        assert self.wrong == [], self.wrong[0]

    served: tuple[str, ...] = ()
    """The plugins beside the bad one that may come to be of another version."""

    def error(self, *names: str, back: bool = False) -> Any:
        """Returns the error that a reload must raise."""
        from pluginhost import PluginHostError

        try:
            done = self.manager.rollback(*names) if back else self.manager.reload(*(names or ("bad",)))
        except PluginHostError as exc:
            return exc
        raise AssertionError(f"it reloaded {done}, which says {self.greet()!r}")

    def codes(self) -> list[str]:
        return [finding.code for finding in self.log]

    def topics(self, topic: str) -> list[Any]:
        return [event for event in self.events if event.topic == topic]

    def notes(self) -> list[str]:
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def state(self) -> dict[str, Any]:
        """Returns what a reload that fails must leave as it was."""
        names = [thread.name for thread in threading.enumerate()]
        return {
            "modules": {name: id(sys.modules[name]) for name in list(sys.modules) if name.startswith("zoo_")},
            "path": list(sys.path),
            "finders": [id(each) for each in sys.meta_path if type(each).__module__ != HELD],
            "class": [id(type(handle.plugin)) for handle in self.manager.loaded().values()],
            "generations": [handle.generation for handle in self.manager.loaded().values()],
            "threads": sorted(name for name in names if "watchdog" not in name and not name.startswith("caller")),
            "descriptors": 0 if children() else descriptors(),  # a call may open another channel
            "children": len(children()),
            "process": [os.getcwd(), dict(os.environ), id(sys.stdout), id(sys.modules["pluginapi"])],
        }

    def until(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + SECONDS
        while not is_so():
            assert time.monotonic() < end, "it never came"
            time.sleep(0.002)

    def as_before(self, before: dict[str, Any]) -> None:
        """Returns if the state is as it was, or comes to be: what was given up may end later."""
        end = time.monotonic() + SECONDS
        while (after := self.state()) != before and time.monotonic() < end:
            gc.collect()
            time.sleep(0.01)
        if others := [(key, before[key], after[key]) for key in after if after[key] != before[key]]:
            raise AssertionError(f"it is not as before: {others}")

    def failed(self, error: Any, name: str = "bad") -> None:
        """Returns if all is told of a reload that failed."""
        status = self.manager.status()[name]
        assert status.state == "running"
        assert status.reload_error == str(error), status
        told = [event.fields for event in self.topics("plugin.reload_failed") if event.fields["plugin"] == name]
        assert told[-1]["error"]["code"] == error.finding.code, told
        assert set(told[-1]) == set(TOPICS["plugin.reload_failed"].fields)
        assert error.finding.code in self.codes(), self.codes()

    def mended(self, number: int, *names: str, starts: bool = False, **how: str) -> None:
        """Returns if a good version comes to serve; `starts` says that none did."""
        self.site.uninstall("zoo-other")
        self.install(number, **{"more": "def restore_state(self, state): pass", **how})
        done = self.manager.reload(*(names or ("bad",)))
        assert done.plugins == [*(names or ("bad",))], done
        assert self.greet() == f"{number} {number} Ada"
        status = self.manager.status()["bad"]
        assert status.reload_error is None
        assert status.version == f"{number}.0.0"
        if starts:
            return
        assert status.reload_seconds == done.seconds > 0
        [*_, last] = self.topics("plugin.reloaded")
        assert set(last.fields) == set(TOPICS["plugin.reloaded"].fields)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> list[int]:
    """Returns the processes that this one has, and that live."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state not in "ZX":
                found.append(int(pid))
    return found


def ask(stage: Stage, case: Case, where: str) -> dict[str, Any]:
    """Returns what the host says of a bad second version."""
    isolated = {"isolation": "process"} if where == "child" else {}
    opened = descriptors()
    stage.install(1, **case.first)
    settings = {"bad": {**case.settings, **isolated}}
    stage.open(settings, **{"shutdown_timeout": 4.0, **case.more, "probe": "never"})
    before = stage.state()
    if "probe" in case.more:  # from now on: the good ones need none
        stage.manager.apply({**stage.settings, **case.more})
    said: dict[str, Any] = {}
    with contextlib.ExitStack() as calling:
        calling.enter_context(stage.called())
        hung = threading.Thread(target=stage.stubs["bad"].greet, args=("hang",), name="caller that hangs")
        if "a call" in case.name:
            hung.start()
            time.sleep(0.05)
        stage.install(2, **case.second)
        case.change(stage.site)
        stage.log.clear()
        if case.code:
            error = stage.error()
            said["error"] = [finding.to_dict() for finding in (error.finding, *error.more)]
            said["text"] = len(str(error).encode("utf-8", "replace"))
            assert stage.greet() == "1 1 Ada"
            stage.failed(error)
            stage.as_before(before)
            assert stage.notes().count("shutdown of zoo_bad 1") == 0
            first = 1
        else:
            done = stage.manager.reload("bad")
            assert done.plugins == ["bad"]
            assert stage.greet() == "2 2 Ada"
            assert stage.manager.status()["bad"].reload_error is None
            stage.until(lambda: stage.notes().count("shutdown of zoo_bad 1") == 1)
            first = 2
        said["log"] = [finding.to_dict() for finding in stage.log]
        assert stage.notes().count("shutdown of zoo_bad 2") == case.ends, stage.notes()
        if "probe" in case.more:
            stage.manager.apply(stage.settings)
        ends_first = case.family == "state" and (
            "export_state" in case.name or case.version == "1.0.0"
        )  # it cannot give its state
        Path(os.environ["HOME"], "go").touch()  # what hangs ends now
        if ends_first:
            calling.close()
            stage.manager.stop("bad")
        stage.mended(3, starts=ends_first, **case.third)
        assert stage.notes().count(f"shutdown of zoo_bad {first}") == 1 + (case.ends if first == 2 else 0)
        if hung.ident:
            hung.join()
    stage.manager.close()
    ends = {f"shutdown of zoo_good_{name} 1" for name in "az"} | {"shutdown of zoo_bad 1", "shutdown of zoo_bad 3"}
    notes = [note for note in stage.notes() if note.startswith("shutdown") and note != "shutdown of zoo_bad 2"]
    assert sorted(notes) == sorted(ends), notes
    assert "heard" not in stage.notes()
    stage.until(lambda: not children() and descriptors() <= opened)
    return said


def main(folder: str, result: str) -> int:
    """Returns the exit status."""
    told = json.loads(Path(folder, "case.json").read_text())
    write, said = Path.write_text, {}
    try:
        stage = Stage(Path(folder))
        if told["scene"]:
            reload_scenes.SCENES[told["scene"]](stage)
        else:
            said = ask(stage, reloads.CASES[told["number"]], told["where"])
    except BaseException:
        said["uncoded"] = traceback.format_exc()[-6000:]
    write(Path(result), json.dumps(said))
    return 1 if "uncoded" in said else driver.STATUS


if __name__ == "__main__":
    if sys.argv[1] == "--forks":
        driver.forked(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split())
    status = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
