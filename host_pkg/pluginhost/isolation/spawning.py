"""Who starts children: one thread, which lasts.

The signal that ends a child with its host comes when the *thread* that started it ends, so that must be none of the
application's.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from pluginhost.isolation.system import ENVIRONMENT
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final, TypeAlias

    Order: TypeAlias = tuple[
        Sequence[str], dict[str, str], Sequence[int], str | None, "Future[subprocess.Popen[bytes]]"
    ]

_PASSED_ON: Final = {
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV",
    "SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR",
}  # fmt: skip
"""What a child finds of the host's environment, and `LC_*`; keys and tokens that the host was given stay there."""

# `gc`, `sys` and `marshal` are the interpreter's own: nothing can stand in for them before the path is the host's.
# What the worker imports lasts, so no collector looks through it. Of typing_extensions, where it is installed, msgspec
# takes what has long been `typing`'s own; to import it for that takes as long as two starts of the interpreter.
_START: Final = (
    "import gc, marshal, sys; gc.disable(); job = marshal.load(sys.stdin.buffer); sys.path[:] = job['path']; "
    "sys.modules.setdefault('typing_extensions'); import msgspec; "
    "sys.modules['typing_extensions'] or sys.modules.pop('typing_extensions'); "
    "from pluginhost.isolation.worker import main; gc.freeze(); gc.enable(); main(job)"
)


class Nursery:
    """Starts children, each in a session of its own."""

    def __init__(self, born: Callable[[int], object] = int) -> None:
        """Makes it; the thread begins with the first child.

        Args:
            born: Called, on the thread, with the process id of each; what it raises as `OSError` ends that one.
        """
        self._born = born
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: HostThread | None = None
        self._process = 0

    def start(self, inherited: Sequence[int], more: dict[str, str]) -> subprocess.Popen[bytes]:
        """Returns a process that waits for its job on standard input.

        Args:
            inherited: The descriptors that it has beside the standard three.
            more: What its environment has besides.

        Raises:
            OSError: It cannot be started.
        """
        # As the standard library's multiprocessing does, so that the flags of this interpreter hold there too.
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        command = [sys.executable, *flags, "-c", _START]
        return self.run(command, passed_on() | ENVIRONMENT | more, inherited).result()

    def run(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        inherited: Sequence[int] = (),
        folder: str | None = None,
    ) -> Future[subprocess.Popen[bytes]]:
        """Returns what will be the process of any program, or an `OSError` or `ValueError` if it cannot be started.

        Args:
            command: The program and its arguments.
            environment: All of its environment.
            inherited: The descriptors that it has beside the standard three, which are pipes.
            folder: Its working folder; this process's when `None`.

        Raises:
            OSError: There are no more threads.
        """
        made: Future[subprocess.Popen[bytes]] = Future()
        with self._lock:  # also for the order: behind the one to end, nobody would take it
            if self._thread is None or self._process != os.getpid():  # a copy of this process has no threads of it
                self._orders, self._process = queue.SimpleQueue(), os.getpid()
                thread = HostThread(
                    target=_run, args=(self._orders, self._born), name="pluginhost: starts children", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError as exc:
                    raise OSError(f"nothing can be started: {exc}") from exc
                self._thread = thread
            self._orders.put((command, environment, inherited, folder, made))
        return made

    def close(self) -> None:
        """Ends the thread, once there are no children any more."""
        with self._lock:
            if self._thread is not None:
                self._orders.put(None)
                self._thread = None


def passed_on() -> dict[str, str]:
    """Returns what a child finds of the host's environment."""
    return {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("LC_")}


def _run(orders: queue.SimpleQueue[Order | None], born: Callable[[int], object]) -> None:
    while (order := orders.get()) is not None:
        command, environment, inherited, folder, made = order
        if not made.set_running_or_notify_cancel():  # nobody wants it any more; who comes from now on gets it to end it
            continue
        try:
            process = subprocess.Popen(
                command, env=environment, pass_fds=inherited, cwd=folder, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            try:
                born(process.pid)
            except BaseException:
                process.kill()
                process.communicate()
                raise
        except BaseException as exc:
            made.set_exception(exc)
        else:
            made.set_result(process)
        del order, made
