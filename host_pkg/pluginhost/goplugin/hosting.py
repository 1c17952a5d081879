"""A go-plugin program's process, as its host holds it: what it writes, and its end."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import secrets
import shutil
import stat
import threading
import time
from collections import deque
from typing import IO, TYPE_CHECKING, cast

from pluginhost.child import status
from pluginhost.errors import describe, escape
from pluginhost.isolation import system
from pluginhost.isolation.groups import Group
from pluginhost.isolation.system import MARK
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from typing import Final

    from pluginhost.isolation.spawning import Nursery

_LINE: Final = 64 << 10
"""Bytes of a line; what goes on beyond is the next."""
_KEPT_LINES: Final = 5
_SAID: Final = 600
"""Of its last words, how many lines, and how many bytes, are told."""
_MOST_SOCKETS: Final = 1_000
_PANICS: Final = (b"panic: ", b"fatal error: ")
_LAST_OUTPUT_SECONDS: Final = 0.2
_END_SECONDS: Final = 1.0
_DEATH_SECONDS: Final = 2.0
"""How long a process may take to be seen to have ended, after its connection has."""


class Lines:
    """Makes lines of what comes in pieces."""

    def __init__(self, hear: Callable[[bytes], object]) -> None:
        """Makes it.

        Args:
            hear: Called with each line, without its end.
        """
        self._hear = hear
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Takes what came."""
        *lines, rest = (self._rest + data).split(b"\n") if b"\n" in data else (self._rest + data,)
        for line in lines:
            self._hear(line.removesuffix(b"\r"))
        while len(rest) >= _LINE:
            self._hear(rest[:_LINE])
            rest = rest[_LINE:]
        self._rest = rest

    def end(self) -> None:
        """Takes what is left for a line."""
        if rest := self._rest:
            self._rest = b""
            self._hear(rest)


class Program:
    """A process that runs a go-plugin program. It is for one event loop; its end is attended by a thread.

    Attributes:
        name: What it is called in messages: its command.
        code: Its exit code; `None` while it runs.
        line: Done with the first line that it writes to standard output, or with `None` when it writes none.
        ended: Done once it has ended and all that it wrote was taken.
    """

    def __init__(self, name: str, out: Callable[[bytes], object], err: Callable[[bytes], object]) -> None:
        """Makes it; `start` starts it.

        Args:
            name: What it is called.
            out: Called with what it writes to standard output, after the first line.
            err: Called with what it writes to standard error.
        """
        loop = self._loop = asyncio.get_running_loop()
        self.name = name
        self.code: int | None = None
        self.line: asyncio.Future[bytes | None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._out, self._err = out, err
        self._first = b""
        self._early, self._is_accepted = Lines(self._note), False
        self._last: deque[bytes] = deque(maxlen=_KEPT_LINES)
        self._has_panicked = False
        self._said = Lines(self._keep)
        self._pipes: list[_Pipe] = []
        self._mark = secrets.token_hex(8)
        self._began = time.monotonic()
        self._group: Group | None = None
        self._folder = ""
        self._sockets: set[str] = set()
        self._host = os.getpid()
        self._is_over = threading.Event()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._group is not None
        return self._group.process.pid

    async def start(
        self, nursery: Nursery, command: Sequence[str], environment: dict[str, str], folder: str | None
    ) -> None:
        """Starts it.

        Raises:
            OSError: It cannot be started.
            ValueError: As well.
        """
        best = system.best()
        bound = best.bound_to_host(command, environment.get("PATH"), folder)
        made = nursery.run(bound, environment | {MARK: self._mark}, folder=folder)
        try:
            process = await asyncio.wrap_future(made)
        except asyncio.CancelledError:
            made.add_done_callback(_reap_made)
            raise
        atexit.register(self._end_with_host)
        try:
            group = self._group = Group(process, best)
            for stream, take, end in (
                (process.stdout, self._take_out, self._end_out),
                (process.stderr, self.take_err, self._said.end),
            ):
                pipe = _Pipe(take, end)
                await self._loop.connect_read_pipe(lambda pipe=pipe: pipe, cast("IO[bytes]", stream))  # type: ignore[misc]
                self._pipes.append(pipe)
            HostThread(
                target=self._attend, args=(group, best), name=f"pluginhost: {self.name[:50]}", daemon=True
            ).start()
        except BaseException as exc:
            atexit.unregister(self._end_with_host)
            for pipe in self._pipes:
                pipe.close()
            _reap(process)
            if self._group is not None:
                self._group.close()
                self._group = None
            if isinstance(exc, Exception):
                raise OSError(f"it cannot be looked after: {describe(exc)}") from exc
            raise

    def owns_folder(self, path: str) -> None:
        """Has a folder removed once it has ended."""
        self._folder = path

    def owns_socket(self, network: str, address: str) -> None:
        """Has a socket's file removed once it has ended: one that is killed leaves it."""
        if network == "unix" and len(self._sockets) < _MOST_SOCKETS:
            self._sockets.add(address)

    def take_out(self, data: bytes) -> None:
        """Takes what it wrote to standard output, whatever way it came."""
        self._give(self._out, data)

    def take_err(self, data: bytes) -> None:
        """Takes what it wrote to standard error, whatever way it came."""
        self._said.feed(data)
        self._give(self._err, data)

    def _give(self, take: Callable[[bytes], object], data: bytes) -> None:
        try:
            take(data)
        except Exception as exc:  # the application's; it must not end the reading
            self._loop.call_exception_handler(
                {"message": f"what takes the output of {self.name} raised", "exception": exc}
            )

    async def has_ended(self, seconds: float = _DEATH_SECONDS) -> bool:
        """Returns whether it has ended, or does so within some seconds."""
        await asyncio.wait([self.ended], timeout=seconds)
        return self.ended.done()

    def kill(self) -> None:
        """Ends it and its group at once."""
        if self._group is not None:
            self._group.kill()

    def told(self, what: str) -> str:
        """Returns a message about it, with what it last wrote.

        Args:
            what: What is wrong; its end when empty.
        """
        if not what:
            what = f"it ended with {status(self.code)} after {time.monotonic() - self._began:.1f} s"
        said = escape(" / ".join(line.decode("utf-8", "replace").strip() for line in self._last), limit=_SAID)
        return f"{self.name}: {what}{said and f'; it last wrote: {said}'}"

    def accept(self) -> None:
        """Takes what it writes to standard output for nothing but its output from now on."""
        self._is_accepted = True

    def _take_out(self, data: bytes) -> None:
        if not self._is_accepted:
            self._early.feed(data)
        if self.line.done():
            self.take_out(data)
            return
        self._first += data
        first, end, rest = self._first.partition(b"\n")
        if end or len(first) > _LINE:
            self._first = b""
            self.line.set_result(first)
            if rest:
                self.take_out(rest)

    def _note(self, line: bytes) -> None:
        """Remembers the socket of a line that may be the handshake's, be it one that is refused or comes too late."""
        fields = line.split(b"|")
        if len(fields) >= 4 and not self._is_accepted:
            self.owns_socket(fields[2].decode("utf-8", "replace"), os.fsdecode(fields[3]))

    def _end_out(self) -> None:
        if not self.line.done():
            self.line.set_result(self._first or None)

    def _keep(self, line: bytes) -> None:
        """Keeps the last lines; of a panic in Go the first, since the last are those of its stacks."""
        if line.startswith(_PANICS) and not self._has_panicked:
            self._has_panicked = True
            self._last.clear()
        if line.strip() and not (self._has_panicked and len(self._last) == _KEPT_LINES):
            self._last.append(line[:_SAID])

    def _attend(self, group: Group, best: system.System) -> None:
        """Waits for its end, and removes what is left; on a thread, since the loop may have ended."""
        code: int | None = None
        try:
            code = group.wait()
            group.close()
            with contextlib.suppress(OSError):  # there are no descriptors left, or the processes are not to be seen
                best.kill_marked(self._mark)
            with contextlib.suppress(OSError):
                cast("IO[bytes]", group.process.stdin).close()
            for path in list(self._sockets):
                _remove_socket(path)
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)
        finally:  # whatever is left, nobody waits for ever
            atexit.unregister(self._end_with_host)
            self._is_over.set()
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._end, code)

    def _end(self, code: int | None) -> None:
        self.code = code
        self._ending = self._loop.create_task(self._take_rest())

    async def _take_rest(self) -> None:
        await asyncio.wait([pipe.ended for pipe in self._pipes], timeout=_LAST_OUTPUT_SECONDS)
        for pipe in self._pipes:
            pipe.close()  # what it started may hold the other end, and write for ever
        self._end_out()
        if not self.ended.done():
            self.ended.set_result(None)

    def _end_with_host(self) -> None:
        if os.getpid() == self._host:
            self.kill()
            self._is_over.wait(_END_SECONDS)


class _Pipe(asyncio.Protocol):
    """One stream of a program, read to its end however much comes."""

    def __init__(self, take: Callable[[bytes], object], end: Callable[[], object]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._take, self._at_end = take, end
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._at_end()
        if not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _reap_made(made: Future[subprocess.Popen[bytes]]) -> None:
    if not made.cancelled() and made.exception() is None:
        _reap(made.result())


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that nobody looks after."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError):
            cast("IO[bytes]", stream).close()


def _remove_socket(path: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        found = os.lstat(path)
        if stat.S_ISSOCK(found.st_mode) and found.st_uid == os.getuid():  # a program may name any file
            os.unlink(path)
