"""Processes that do one thing at once."""

from __future__ import annotations

import subprocess
from pathlib import Path

from waiting import until


def at_once(command: list[str | Path], gate: Path, many: int) -> list[bytes]:
    """Returns what each of some processes wrote to standard error.

    Args:
        command: What each runs. It writes a file whose name begins with the gate's and a dot once it is ready, and goes
            on when the gate is there.
        gate: A path.
        many: How many there are.
    """
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(many)]

    def are_ready() -> bool:
        here = len(list(gate.parent.glob(f"{gate.name}.*")))
        return here == many or any(each.poll() is not None for each in workers)

    try:
        until(are_ready, "all at the gate")
        gate.touch()
        return [worker.communicate(timeout=120)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
