"""A process and all that it starts in its session, which end together."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

    from pluginhost.isolation.system import System


class Group:
    """A process that has a session of its own, until it is reaped.

    Attributes:
        process: The process.
    """

    def __init__(self, process: subprocess.Popen[bytes], system: System) -> None:
        """Looks after a process.

        Raises:
            OSError: There are no descriptors left.
        """
        self.process = process
        self._watch = system.watch(process)
        self._lock = threading.Lock()
        self._is_reaped = False

    def wait(self) -> int:
        """Waits for its end, and returns its exit code, once what is left of the group is killed and it is reaped."""
        self._watch.wait(None)
        self.kill()
        with self._lock:
            code, self._is_reaped = self.process.wait(), True
        return code

    def kill(self) -> None:
        """Ends all of it at once."""
        with self._lock, contextlib.suppress(OSError):  # nothing of it is left
            if self._is_reaped:
                return  # the number may be another's
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()

    def close(self) -> None:
        """Gives back what it holds, after the end."""
        self._watch.close()
