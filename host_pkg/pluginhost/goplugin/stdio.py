"""What a plugin prints while it serves, on its way to the host: GRPCStdio.

Standard output itself becomes a pipe, for what native code and other programs write there too. Of standard error only
Python's `sys.stderr` does: the interpreter's last words at a crash are not for a pipe that dies with it, and a host
takes what comes there for the log.

Threads read the pipes at once, so that nobody who prints waits for the event loop, which may be who prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from pluginhost.goplugin.services import STREAM_STDIO, Served, StdioData

if TYPE_CHECKING:
    from typing import Final

    from grpclib import server

CHUNK: Final = 1 << 10
"""Bytes of one message, as in Go."""
LIMIT: Final = 64 << 20
"""Bytes that are kept for a host which reads."""
UNREAD: Final = 64 << 10
"""Bytes that are kept for a host which does not: the last."""
PATIENCE: Final = 5.0
"""Seconds without the host reading anything, once all room is taken, after which it is one that does not."""
_PIECE: Final = 64 << 10
_END: Final = 0.5
"""Seconds to wait for a pipe's end, which may be held open by a program that the plugin started."""


class Backlog:
    """What was printed and not yet sent: filled by threads, emptied in the event loop.

    Who prints waits when it is full, but not for ever: after some time the oldest is dropped, and counted.

    Attributes:
        taken: How often something was taken.
    """

    def __init__(self, limit: int = LIMIT, unread: int = UNREAD, patience: float = PATIENCE) -> None:
        self._most, self._unread, self._patience = limit, unread, patience
        self._limit = limit
        self._pieces: deque[tuple[int, bytearray]] = deque()
        self._size, self.taken, self._lost = 0, 0, 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def put(self, channel: int, data: bytes) -> None:
        """Adds what was printed; in any thread but the loop's."""
        with self._changed:
            while self._pieces and self._size + len(data) > self._limit and not self._is_closed:
                is_unread = self._limit < self._most
                if is_unread or not self._is_read():
                    self._drop(len(data))
            if self._pieces and self._pieces[-1][0] == channel and len(self._pieces[-1][1]) < _PIECE:
                self._pieces[-1][1].extend(data)
            else:
                self._pieces.append((channel, bytearray(data)))
            self._size += len(data)
            self._wake()

    def close(self) -> None:
        """Says that nothing more comes."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            self._wake()

    async def take(self) -> tuple[int, bytes] | None:
        """Returns the oldest piece and what it was printed to, once there is one; `None` when no more comes."""
        while True:
            with self._changed:
                if piece := self._oldest():
                    return piece
                if self._is_closed:
                    return None
                event = asyncio.Event()
                self._waiting = asyncio.get_running_loop(), event
            await event.wait()

    def rest(self) -> bytes:
        """Returns the last of what nobody has taken, and says how much more there was."""
        with self._changed:
            self._drop(0)
            found = []
            while piece := self._oldest():
                found.append(piece[1])
        return b"".join(found)

    def give_back(self, channel: int, data: bytes) -> None:
        """Puts back at the front what was taken and could not be sent."""
        with self._changed:
            self._pieces.appendleft((channel, bytearray(data)))
            self._size += len(data)

    def _oldest(self) -> tuple[int, bytes] | None:
        if self._lost:
            lost, self._lost = self._lost, 0
            return StdioData.STDERR, f"\n… {lost:,} bytes were printed before this, and nobody read them\n".encode()
        if not self._pieces:
            return None
        channel, data = self._pieces.popleft()
        self._size -= len(data)
        self.taken += 1
        self._limit = self._most
        self._changed.notify_all()
        return channel, bytes(data)

    def _is_read(self) -> bool:
        """Waits until something is taken, and returns whether that was so."""
        taken = self.taken
        return self._changed.wait_for(lambda: taken != self.taken or self._is_closed, self._patience)

    def _drop(self, room: int) -> None:
        self._limit = self._unread
        while self._pieces and self._size + room > self._limit:
            _, data = self._pieces.popleft()
            self._size -= len(data)
            self._lost += len(data)

    def _wake(self) -> None:
        if self._waiting:
            (loop, event), self._waiting = self._waiting, None
            with contextlib.suppress(RuntimeError):  # it is closed: nobody waits any more
                loop.call_soon_threadsafe(event.set)


class Stdio:
    """Takes what this process prints, for its host to read."""

    def __init__(self) -> None:
        self.backlog = Backlog()
        self._readers: list[threading.Thread] = []
        self._turn = asyncio.Lock()
        self._undo = contextlib.ExitStack()

    def service(self) -> Served:
        """Returns what the host reads it by."""
        return Served({STREAM_STDIO: self._answer})

    def take_over(self) -> None:
        """Begins: from now on, what is printed is for the host. What standard output still held goes there too."""
        pipe = self._pipe(StdioData.STDOUT)
        os.dup2(pipe, 1)
        os.close(pipe)
        self._replace("stdout", 1)
        self._replace("stderr", self._pipe(StdioData.STDERR))

    async def end(self, seconds: float) -> None:
        """Gives back standard output and standard error, and waits until a host that reads has read all.

        What is printed from now on goes to standard error, which is the log.

        Args:
            seconds: How long it may read nothing.
        """
        await asyncio.to_thread(self.give_back)
        taken = -1
        while self._turn.locked() and taken != self.backlog.taken:
            taken = self.backlog.taken
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds), self._turn:
                    pass

    def close(self) -> None:
        """Gives both back at once. The last of what the host has not read goes to standard error."""
        self.give_back()
        with contextlib.suppress(OSError):  # the host is gone
            os.write(2, self.backlog.rest())

    def give_back(self) -> None:
        """Gives both back; the host may still read what was printed."""
        self._undo.close()
        for reader in self._readers:
            reader.join(_END)
        self.backlog.close()

    async def _answer(self, stream: server.Stream[Any, Any]) -> None:
        await stream.recv_message()
        await stream.send_initial_metadata()
        async with self._turn:  # a host that asks twice is one that lost the first stream
            while piece := await self.backlog.take():
                channel, data = piece
                sent = 0
                try:
                    while sent < len(data):
                        await stream.send_message(StdioData(channel=channel, data=data[sent : sent + CHUNK]))
                        sent += CHUNK
                    await asyncio.sleep(0)  # sending waits for nobody as long as there is room
                except BaseException:
                    self.backlog.give_back(channel, data[sent:])
                    raise

    def _pipe(self, channel: int) -> int:
        """Returns where to write what goes to one of the two; a thread reads it."""
        ours, theirs = os.pipe()
        name = f"pluginhost: {StdioData.Channel.Name(channel).lower()}"
        reader = threading.Thread(target=self._read, args=(ours, channel), name=name, daemon=True)
        reader.start()
        self._readers.append(reader)
        return theirs

    def _read(self, fd: int, channel: int) -> None:
        while data := os.read(fd, _PIECE):
            self.backlog.put(channel, data)
        os.close(fd)

    def _replace(self, name: str, fd: int) -> None:
        before = getattr(sys, name)
        if before is not None:
            with contextlib.suppress(OSError, ValueError):
                before.flush()
        # A host reads UTF-8; and each line is for it to see when it is printed.
        after = open(  # noqa: SIM115 - it stays open
            fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=fd != 1
        )

        def restore() -> None:
            with contextlib.suppress(OSError, ValueError):
                after.flush()
            setattr(sys, name, before)
            with contextlib.suppress(OSError):  # there is no standard error
                os.dup2(2, fd, inheritable=fd == 1)  # whoever still has it may use it; the pipe ends

        setattr(sys, name, after)
        self._undo.callback(restore)
