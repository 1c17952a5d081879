"""A plugin ends when its host does.

Nobody ends a plugin whose host was killed. The signal that Linux can send at a parent's death is not for it: it comes
when the *thread* ends that started the child, and a host in Go starts its plugins from any.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

_GRACE: Final = 2.0
"""Seconds to end in an orderly way, as a host gives them too."""
_LOOK: Final = 1.0
"""Seconds from look to look whether the parent is still the same, where the system does not tell."""


def end_with_host(end: Callable[[], object], last: Callable[[], object]) -> None:
    """Has this process end when its host does, whatever it is just doing; from now on, for as long as it lives.

    The host is gone when this process's parent is, or when nobody can read its standard error any more: the parent may
    be a launcher that outlives the host.

    Args:
        end: Asks for an orderly end; called in a thread of its own.
        last: Called there just before the process is ended by force, some seconds later.
    """
    parent, log = os.getppid(), -1
    with contextlib.suppress(OSError):  # there is no standard error
        log = os.dup(2)

    def run() -> None:
        _wait(parent, log)
        end()
        time.sleep(_GRACE)
        last()
        os._exit(1)

    threading.Thread(target=run, name="pluginhost: the host's life", daemon=True).start()


def _wait(parent: int, log: int) -> None:
    """Returns when the host is gone.

    Args:
        parent: The process that was this one's parent.
        log: A copy of standard error; -1 when there is none.
    """
    if sys.platform == "win32":
        import _winapi

        synchronize = 0x100000
        with contextlib.suppress(OSError):  # it is gone
            _winapi.WaitForSingleObject(_winapi.OpenProcess(synchronize, False, parent), _winapi.INFINITE)
        return
    poll = select.poll()
    if log >= 0:
        poll.register(log, 0)  # errors and hang-ups are told unasked
    timeout: float | None = _LOOK * 1_000
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or it is gone, or of another namespace
        poll.register(os.pidfd_open(parent), select.POLLIN)
        timeout = None
    while os.getppid() == parent:
        if poll.poll(timeout):
            return
