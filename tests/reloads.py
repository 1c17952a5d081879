"""Four threads call two plugins that are reloaded again and again, each time from another source.

Run as `python reloads.py none|process RELOADS FOLDER`, with the plugins of `test_reload_soak.py` on the path. Prints as
JSON what came of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import py_compile
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from belongings import at_rest, settled, state
from handmade import row
from pluginhost import PluginManager
from soak_api import Counting  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGINS = ("tally", "partner")
WRITTEN = 1_600_000_000
"""When every source was written, as its file says."""
SWITCH_SECONDS = 0.0001
"""How long a thread may hold the interpreter: a reload takes its turn many times among those that call."""
PAUSE_SECONDS = 0.002
"""How long a caller waits now and then, so that there is something left for the reloads."""


class Source:
    """The plugins' source as it is installed, stamped with a number that each of its parts has.

    Attributes:
        number: What it is stamped with now.
    """

    def __init__(self) -> None:
        site = next(Path(entry) for entry in sys.path if Path(entry, "soak_plugin").is_dir())
        self._files = {path: path.read_text() for path in sorted(site.glob("soak_plugin/*.py"))}
        self._record = next(site.glob("soak-*.dist-info/RECORD"))
        self._site = site
        self.number = 0
        self.stamp()

    def stamp(self) -> None:
        """Writes all of it anew: as long as before, and as old as before by the file's time."""
        self.number += 1
        rows = {}
        for path, text in self._files.items():
            content = text.replace("0000000", f"{self.number:07}").encode()
            path.write_bytes(content)
            os.utime(path, (WRITTEN, WRITTEN))
            name = path.relative_to(self._site).as_posix()
            rows[name] = row(name, content)
        lines = [line for line in self._record.read_text().splitlines() if line.partition(",")[0] not in rows]
        self._record.write_text("".join(f"{line}\n" for line in [*lines, *rows.values()]))

    def compile(self) -> None:
        """Leaves bytecode of the source as it is now, which passes for that of every later one."""
        for path in self._files:
            py_compile.compile(str(path), doraise=True)


class Soak:
    """What the callers do, and what came of it.

    Attributes:
        calls: How many calls returned, by caller.
        wrong: What must not be.
        longest: Seconds that a call took.
    """

    def __init__(self, where: str, source: Source) -> None:
        self.calls: dict[str, int] = {}
        self.counted = 0
        self.wrong: list[str] = []
        self.longest = 0.0
        self.swaps: list[float] = []
        self.most_alive = 0
        self._where = where
        self._source = source
        self._since = source.number  # what calls that begin now are answered by, or newer
        self._is_over = threading.Event()
        self._old: list[weakref.ref[Any]] = []

    def run(self, reloads: int, warm: Callable[[], None] = lambda: None) -> None:
        """Reloads the plugins some times while they are called; `warm` is called after a fifth of that."""
        self._source.compile()
        of = {name: {"isolation": self._where} for name in PLUGINS}
        with PluginManager(api="soak_api", probe="never", plugins=of) as manager:
            stubs = [manager.get(name, Counting) for name in PLUGINS]
            self._expect(stubs[0].check(), self._source.number)
            work = [self._check, self._both, self._stream, lambda stubs: asyncio.run(self._await(stubs))]
            threads = [threading.Thread(target=self._guarded, args=(each, stubs), daemon=True) for each in work]
            for thread in threads:
                thread.start()
            for number in range(reloads):
                if number == reloads // 5:
                    warm()
                self._reload(manager, stubs)
            self._is_over.set()
            for thread in threads:
                thread.join(30)
                if thread.is_alive():
                    self.wrong.append("a call hangs")
            self.counted = sum(stub.total() for stub in stubs)

    def _reload(self, manager: PluginManager, stubs: list[Any]) -> None:
        if self._where == "none":
            kinds = [type(manager.loaded()[name].plugin) for name in PLUGINS]
            marks = [vars(sys.modules[name])["MARK"] for name in ("soak_plugin", "soak_plugin.parts")]
            self._old += map(weakref.ref, [*kinds, *marks])
            del kinds, marks
        self._source.stamp()
        try:
            done = manager.reload(PLUGINS[0])
        except Exception as exc:
            self.wrong.append(f"reload {self._source.number}: {exc!r}")
            return
        self.swaps.append(done.seconds)
        self.wrong += [f"reload {self._source.number}: {finding.message}" for finding in done.findings]
        self._since = self._source.number
        self._expect(stubs[1].check(), self._source.number)
        self._old = [each for each in self._old if each() is not None]
        self.most_alive = max(self.most_alive, len(self._old))

    def _expect(self, stamp: str, least: int) -> None:
        """Takes the answer of a call that was made by the main thread, or any other's."""
        if not stamp.isdigit() or not least <= int(stamp) <= self._source.number:
            self.wrong.append(f"{stamp} came from a call that began when {least} served")
        name = threading.current_thread().name
        self.calls[name] = self.calls.get(name, 0) + 1

    def _guarded(self, work: Callable[[list[Any]], None], stubs: list[Any]) -> None:
        try:
            work(stubs)
        except BaseException as exc:
            self.wrong.append(f"a call failed: {exc!r}")

    def _check(self, stubs: list[Any]) -> None:
        """Calls in quick succession."""
        while not self._is_over.is_set():
            for stub in stubs * 10:
                self._timed(stub.check)
            time.sleep(PAUSE_SECONDS)

    def _both(self, stubs: list[Any]) -> None:
        """Calls what calls the other plugin; where a child may not wait for one that waits for it, one way only."""
        while not self._is_over.is_set():
            for stub in stubs if self._where == "none" else stubs[1:]:
                self._timed(stub.both, 2)

    def _stream(self, stubs: list[Any]) -> None:
        while not self._is_over.is_set():
            for stub in stubs:
                since = self._since
                self._all_of(list(stub.stream(3)), since)

    async def _await(self, stubs: list[Any]) -> None:
        async def items(stub: Any) -> None:
            since = self._since
            self._all_of([item async for item in stub.stream_well(3)], since)

        async def check(stub: Any) -> None:
            since = self._since
            self._expect(await stub.check_well(), since)

        while not self._is_over.is_set():
            await asyncio.gather(*(call(stub) for stub in stubs for call in (items, check)))

    def _timed(self, call: Callable[[], str], times: int = 1) -> None:
        since, began = self._since, time.monotonic()
        stamp = call()
        self.longest = max(self.longest, time.monotonic() - began)
        for _ in range(times):
            self._expect(stamp, since)

    def _all_of(self, stamps: list[str], since: int) -> None:
        if len(set(stamps)) != 1 or len(stamps) != 3:
            self.wrong.append(f"one stream: {stamps}")
        self._expect(stamps[0], since)


def main() -> None:
    """Prints what came of it."""
    where, reloads, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    sys.setswitchinterval(SWITCH_SECONDS)
    source = Source()
    Soak(where, source).run(1)  # what is imported and kept once, is
    before = {**at_rest(), "folders": _folders(folder)}
    warm: dict[str, float] = {}
    soak = Soak(where, source)
    began = time.monotonic()
    soak.run(reloads, lambda: warm.update(state()))
    took = time.monotonic() - began
    after = {**settled({key: before[key] for key in before if key != "folders"}), "folders": _folders(folder)}
    swaps = sorted(soak.swaps) or [0.0]
    said = {
        "returned": sum(soak.calls.values()),
        "counted": soak.counted,
        "wrong": soak.wrong[:20],
        "most alive": soak.most_alive,
        "longest": soak.longest,
        "seconds": took,
        "swap p50": swaps[len(swaps) // 2],
        "swap p99": swaps[int(len(swaps) * 0.99)],
        "grown": after.pop("megabytes") - warm["megabytes"],
    }
    del before["megabytes"]
    print(json.dumps(said | {"before": before, "after": after}))


def _folders(folder: Path) -> list[str]:
    """Returns what of a process's own there is in the folder of temporary files."""
    return sorted(os.listdir(folder))


if __name__ == "__main__":
    main()
