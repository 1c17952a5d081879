"""What a child writes to standard output and standard error: the plugin's log, and its last words."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import IO, TYPE_CHECKING

from pluginhost.errors import escape
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

_PIECE: Final = 64 << 10
_LINE: Final = 2_000
"""Characters of a line; what goes on beyond is the next."""
_LINES: Final = 100
"""Lines of one stream that become records in one second; of a flood, the rest is read and only counted."""
_KEPT: Final = 8 << 10
"""Bytes that are kept for the message which tells of the child's end."""


class Output:
    """One stream of a child, read to its end by a thread of its own, however much comes."""

    def __init__(self, stream: IO[bytes], hear: Callable[[str], None], name: str) -> None:
        self._stream = stream
        self._hear = hear
        self._last: deque[bytes] = deque()
        self._kept = 0
        self._second, self._told, self._left_out = 0, 0, 0
        self._thread = HostThread(target=self._run, name=f"pluginhost: output of {name}", daemon=True)
        self._thread.start()

    @property
    def last(self) -> bytes:
        """The last that came."""
        return b"".join(self._last)[-_KEPT:]

    def end(self, seconds: float) -> None:
        """Waits until all is read, which it may never be: a grandchild may hold the other end."""
        self._thread.join(seconds)

    def _run(self) -> None:
        rest = b""
        with self._stream, contextlib.suppress(OSError, ValueError):
            while data := self._stream.read1(_PIECE):  # type: ignore[attr-defined]
                self._keep(data)
                if self._is_full() and len(rest) + len(data) > _LINE:
                    self._left_out += data.count(b"\n")
                    rest = b""
                    continue
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._tell(line)
                if len(rest) > _LINE:
                    self._tell(rest)
                    rest = b""
        if rest:
            self._tell(rest)
        self._tell_of_rest()

    def _keep(self, data: bytes) -> None:
        self._last.append(data[-_KEPT:])
        self._kept += min(len(data), _KEPT)
        while self._kept - len(self._last[0]) >= _KEPT:
            self._kept -= len(self._last.popleft())

    def _is_full(self) -> bool:
        now = int(time.monotonic())
        if now != self._second:
            self._tell_of_rest()
            self._second, self._told = now, 0
        return self._told >= _LINES

    def _tell(self, line: bytes) -> None:
        if self._is_full():
            self._left_out += 1
        elif text := line.decode("utf-8", "replace").rstrip():
            self._told += 1
            self._hear(escape(text[:_LINE], keep="\t"))

    def _tell_of_rest(self) -> None:
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            self._hear(f"… {left_out:,} lines more, which came faster than {_LINES} in a second")
