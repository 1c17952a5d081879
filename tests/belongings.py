"""What a process has that must end where it began, read from Linux's /proc."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from pathlib import Path
from typing import Any


def children() -> list[int]:
    """Returns the processes that this one has started and not reaped, sorted."""
    tasks = Path("/proc/self/task").iterdir()
    return sorted(int(pid) for task in tasks for pid in _read(task / "children").split())


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):  # that thread has ended
        return path.read_text()
    return ""


def state() -> dict[str, Any]:
    """Returns what of this process must end where it began."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    names = sorted(thread.name for thread in threading.enumerate())
    return {
        "megabytes": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": names,
        "children": children(),
    }


def at_rest() -> dict[str, Any]:
    """Returns the state once this process is alone with its main thread, or that is late."""
    return settled({"threads": ["MainThread"], "children": []})


def settled(before: dict[str, Any]) -> dict[str, Any]:
    """Returns the state, once what is on its way to its end has got there, or is late."""
    end = time.monotonic() + 60
    while True:
        now = state()
        if all(now[key] == before[key] for key in before if key != "megabytes") or time.monotonic() > end:
            return now
        time.sleep(0.05)
