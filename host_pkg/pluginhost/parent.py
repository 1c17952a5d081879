"""The way from a child process to the host that started it; the host's end is `child.Child`."""

from __future__ import annotations

import _thread
import faulthandler
import json
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

_SOON: Final = 0.01
"""Seconds until the place is told where the time is over before it began."""


class Parent:
    """The way to the host, out of the plugin's reach.

    Attributes:
        stderr: A copy of standard error that stays when the plugin closes the other.
    """

    __slots__ = ("_encode", "_nonce", "_process", "_stdout", "stderr")

    def __init__(self, nonce: str) -> None:
        self._nonce, self._process = nonce, os.getpid()
        job, self._stdout, self.stderr = os.dup(0), os.dup(1), os.dup(2)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)  # what a plugin prints is nobody's word
        self._encode = json.JSONEncoder().encode
        runs = _thread.allocate_lock()
        with runs:
            _thread.start_new_thread(_end_with_host, (job, runs))
        while not runs.locked():  # what threads there are is looked at afterwards
            time.sleep(0)

    def tell_place(self, until: float) -> None:
        """Has standard error tell where the process is when it crashes, and once it is held up.

        Args:
            until: When it counts as held up, by `time.monotonic`. The host says when: the start of this process
                may have taken most of the time, and soon after the host kills it.
        """
        faulthandler.enable(self.stderr, all_threads=False)
        faulthandler.dump_traceback_later(max(_SOON, until - time.monotonic()), file=self.stderr)

    def send(self, **fields: object) -> None:
        """Tells the host of the stage that was reached, and in the end of what was found."""
        if os.getpid() != self._process:
            os._exit(1)  # a fork that native code made, which is nobody
        try:
            os.write(self._stdout, self._encode({"nonce": self._nonce, **fields}).encode() + b"\n")
        except OSError:  # the plugin closed it
            os._exit(1)


def _end_with_host(job: int, runs: _thread.LockType) -> None:
    """Ends the process once the host is gone, or has heard enough."""
    runs.acquire()
    while os.read(job, 1):
        pass
    os._exit(1)
