"""Eight threads and an event loop call two isolated plugins, whose processes are killed at random.

Run as `python chaos.py SECONDS SEED FOLDER`, with the plugins of `test_isolated_chaos.py` on the path. Prints as JSON
what came of it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from belongings import at_rest, children, settled
from chaos_api import Deeds  # type: ignore[import-not-found]
from pluginhost import PluginCallError, PluginManager
from pluginhost.isolation import restarts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS = 8
PLUGINS = ("plain", "critical")
LARGE = 100_000
"""Bytes that go through an arena."""


class Chaos:
    """What the callers do, and what came of it.

    Attributes:
        answered: How many calls were answered. Their payloads go to a file of that name: in a list they would be most
            of the memory that is looked at.
        failed: How many calls failed, by code.
        wrong: What must not be.
        longest: Seconds that a call took.
        kills: How many processes were killed.
    """

    def __init__(self, folder: Path) -> None:
        self.answered = 0
        self.failed: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.longest, self.kills = 0.0, 0
        self._folder = folder
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._file = (folder / "answered").open("w")

    def run(self, seconds: float, seed: int) -> None:
        """Starts the plugins, has them called and killed for some seconds, and shuts them down."""
        config = {"folder": str(self._folder)}
        of = {"isolation": "process", "call_timeout": 5, "breaker_failures": 1_000_000, "config": config}
        plugins = {name: {**of, "critical": name == "critical"} for name in PLUGINS}
        with PluginManager(api="chaos_api", probe="never", plugins=plugins) as manager:
            stubs = [manager.get(name, Deeds) for name in PLUGINS]
            work: list[Callable[[], None]] = [lambda n=n: self._call(stubs, n) for n in range(THREADS)]  # type: ignore[misc]
            work.append(lambda: asyncio.run(self._await(stubs)))
            threads = [threading.Thread(target=each, daemon=True) for each in work]
            for thread in threads:
                thread.start()
            self._kill(seconds, random.Random(seed))
            for thread in threads:
                thread.join(60)
                if thread.is_alive():
                    self.wrong.append("a call hangs")
            for stub in stubs:  # once nobody kills it any more, each serves again
                self._serves(stub)
        self._file.close()

    def _call(self, stubs: list[Any], thread: int) -> None:
        for number, stub in self._turns(stubs):
            payload = f"{thread} {number}"
            with self._counted():
                if number % 10 == 9:
                    data = payload.encode().ljust(LARGE)
                    self._take(payload, stub.blob(data) == data)
                else:
                    self._take(payload, stub.echo(payload) == payload)

    async def _await(self, stubs: list[Any]) -> None:
        for number, stub in self._turns(stubs):
            payload = f"awaited {number}"
            with self._counted():
                self._take(payload, await stub.echo_well(payload) == payload)
            await asyncio.sleep(0)

    def _turns(self, stubs: list[Any]) -> Iterator[tuple[int, Any]]:
        number = 0
        while not self._is_over.is_set():
            yield number, stubs[number % len(stubs)]
            number += 1

    def _take(self, payload: str, is_own: bool) -> None:
        if is_own:
            with self._lock:
                self.answered += 1
                self._file.write(f"{payload}\n")
        else:
            self.wrong.append(f"{payload} was answered with what is not its reply")

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except PluginCallError as exc:
            self.failed[exc.finding.code] += 1
            time.sleep(0.002)  # what is refused at once is not to be all there is
        except BaseException as exc:
            self.wrong.append(repr(exc))
        self.longest = max(self.longest, time.monotonic() - began)

    def _kill(self, seconds: float, chance: random.Random) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.05, 0.5))
            if pids := children():
                os.kill(chance.choice(pids), signal.SIGKILL)  # it may serve, stand by, or be on its way
                self.kills += 1
        self._is_over.set()

    def _serves(self, stub: Any) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(PluginCallError):
                return stub.echo(f"last {os.urandom(4).hex()}") and None
            time.sleep(0.01)
        self.wrong.append("it does not serve again")
        return None


def main() -> None:
    """Prints what came of it."""
    seconds, seed, folder = float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    # So that no plugin is given up, and none is away for long.
    restarts.DEATHS, restarts.WINDOW_SECONDS = 1000, 1.0  # type: ignore[misc]
    restarts.FIRST_PAUSE, restarts.LONGEST_PAUSE = 0.01, 0.05  # type: ignore[misc]
    (folder / "first").mkdir()
    Chaos(folder / "first").run(0.5, seed)  # what is imported and kept once, is
    before = at_rest()
    (folder / "second").mkdir()
    chaos = Chaos(folder / "second")
    chaos.run(seconds, seed)
    after = settled(before)
    done = collections.Counter(line for name in PLUGINS for line in (folder / "second" / name).read_text().splitlines())
    answered = set((folder / "second" / "answered").read_text().splitlines())
    said = {
        "answered": chaos.answered,
        "failed": chaos.failed,
        "kills": chaos.kills,
        "longest": chaos.longest,
        "wrong": chaos.wrong[:20],
        "done twice": [payload for payload, times in done.items() if times > 1][:20],
        "answered and not done": sorted(answered - set(done))[:20],
    }
    print(json.dumps(said | {"before": before, "after": after}))


if __name__ == "__main__":
    main()
