"""How a test waits: for a condition, never for a time that has always been enough."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def until(holds: Callable[[], object], what: str = "", seconds: float = 60) -> None:
    """Waits until something holds; fails with what was awaited after a minute, which no machine needs."""
    __tracebackhide__ = True  # pytest shows the line that waits
    for pause in _pauses(what, seconds):
        if holds():
            return
        time.sleep(pause)


async def until_async(holds: Callable[[], object], what: str = "", seconds: float = 60) -> None:
    """Does the same while the event loop goes on."""
    __tracebackhide__ = True
    for pause in _pauses(what, seconds):
        if holds():
            return
        await asyncio.sleep(pause)


def is_alive(pid: int | None) -> bool:
    """Returns whether a process has not ended, be it that nobody has asked yet how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def stop(pid: int) -> None:
    """Stops a process, and waits until it is: its threads stop one after the other, and one that runs may answer."""
    os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task")
    until(lambda: all(file.read_text().rpartition(")")[2].split()[0] == "T" for file in tasks.glob("*/stat")))


def _pauses(what: str, seconds: float) -> Iterator[float]:
    """Yields how long to sleep before the next look, and fails when it is too late for one."""
    __tracebackhide__ = True
    end, pause = time.monotonic() + seconds, 0.0002
    while True:
        yield pause
        assert time.monotonic() < end, f"{what or 'it'} did not come to be within {seconds} s"
        pause = min(2 * pause, 0.01)  # what is soon so is seen soon, and what takes long has the processor
