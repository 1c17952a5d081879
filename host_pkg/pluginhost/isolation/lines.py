"""Bytes over a socket, until a deadline.

A line is used by one thread at a time; another may only `cut` it. What raises `TimeoutError` or `OSError` leaves it in
no known state: whoever uses it closes it then.
"""

from __future__ import annotations

import select
import socket
import struct
from time import monotonic as _now
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

_PIECE: Final = 1 << 18
_NO_SIGNAL: Final = getattr(socket, "MSG_NOSIGNAL", 0)
"""An application may have given SIGPIPE its deadly default back."""
AT_ONCE: Final = _NO_SIGNAL | getattr(socket, "MSG_DONTWAIT", 0)
"""What is sent with these flags is sent without waiting."""


class Line:
    """A socket, by what every system has: each send and each look at it begins with a look at the clock.

    Attributes:
        sock: The socket.
        receive: Returns bytes that have come, at least one and at most so many, and none when the other side is gone;
            raises `TimeoutError` or `BlockingIOError` when none come in time, `OSError` when the other side is gone.
        name: A number by which both sides know it, apart from all others that they have; 0 when it has none.
    """

    __slots__ = ("_deadline", "name", "receive", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.name = 0
        self.receive: Callable[[int], bytes] = self._receive_in_time
        self._deadline: float | None = None

    def begin(self, timeout: float | None) -> None:
        """Sets how many seconds what follows may take together."""
        self._deadline = None if timeout is None else _now() + timeout

    def send(self, data: bytes) -> None:
        """Sends all of some bytes.

        Raises:
            TimeoutError: The other side does not take them in time.
            OSError: It is gone.
        """
        self.sock.settimeout(self._left())
        self.sock.sendall(data, _NO_SIGNAL)

    def receive_more(self, number: int) -> list[bytes]:
        """Returns so many bytes more, in pieces; fewer when the other side is gone. Memory is taken as they come.

        Of packets, the last may have more bytes than these.

        Raises:
            TimeoutError: They do not come in time.
            OSError: The other side is gone.
        """
        pieces = []
        while number > 0 and (piece := self._receive_in_time(min(number, _PIECE))):
            pieces.append(piece)
            number -= len(piece)
        return pieces

    def exchange(self, data: bytes, most: int, timeout: float | None) -> bytes:
        """Does what `begin`, `send` and `receive` do together."""
        self.begin(timeout)
        self.send(data)
        return self.receive(most)

    def has_come(self) -> bool:
        """Returns whether there is something to receive, be it the end; it does not wait.

        Raises:
            OSError: The other side is gone.
        """
        self.sock.setblocking(False)
        try:
            return self.sock.recv(1, socket.MSG_PEEK) is not None
        except BlockingIOError:
            return False
        finally:
            self.sock.setblocking(True)

    def cut(self) -> None:
        """Ends what waits on it, from any thread; it is closed by its owner."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # it is closed, or its other side is
            pass

    def close(self) -> None:
        """Closes it."""
        self.cut()
        self.sock.close()

    def _receive_in_time(self, most: int) -> bytes:
        self.sock.settimeout(self._left())
        return self.sock.recv(most)

    def _left(self) -> float | None:
        """Returns the seconds that are left.

        Raises:
            TimeoutError: None are.
        """
        if self._deadline is None:
            return None
        left = self._deadline - _now()
        if left <= 0:
            raise TimeoutError
        return left


class LinuxLine(Line):
    """A socket whose waiting for a reply the kernel ends, so that a call takes one system call each way.

    What is sent goes without waiting; only where the other side does not take it, or where a reply comes in parts, is
    the clock looked at again.
    """

    __slots__ = ("_least", "_send", "_timeout")

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        sock.setblocking(True)
        self.receive, self._send = sock.recv, sock.send
        self._timeout: float | None = None
        # What is not taken of a packet is lost.
        self._least = _PIECE if sock.type == socket.SOCK_SEQPACKET else 0

    def begin(self, timeout: float | None) -> None:
        if timeout is None:
            self._deadline = None
        else:
            self._deadline = _now() + timeout
        if timeout != self._timeout:
            self._set(timeout)

    def send(self, data: bytes) -> None:
        try:
            sent = self._send(data, AT_ONCE)
        except BlockingIOError:
            sent = 0
        if sent != len(data):
            self._send_late(memoryview(data)[sent:])

    def exchange(self, data: bytes, most: int, timeout: float | None) -> bytes:
        # The way of every call: the three are one function, since a call of a function is what costs here.
        self._deadline = None if timeout is None else _now() + timeout
        if timeout != self._timeout:
            self._set(timeout)
        try:
            sent = self._send(data, AT_ONCE)
        except BlockingIOError:
            sent = 0
        if sent != len(data):
            self._send_late(memoryview(data)[sent:])
        return self.receive(most)

    def _receive_in_time(self, most: int) -> bytes:
        while True:
            self.wait(select.POLLIN)
            try:
                return self.sock.recv(max(most, self._least), socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass

    def _send_late(self, data: memoryview) -> None:
        while data:
            self.wait(select.POLLOUT)
            try:
                data = data[self._send(data, AT_ONCE) :]
            except BlockingIOError:
                pass
        if self._deadline is not None:
            self._set(self._left())

    def wait(self, event: int) -> None:
        """Waits until the socket can be read or written.

        Raises:
            TimeoutError: It cannot in time.
        """
        left = self._left()
        poll = select.poll()
        poll.register(self.sock, event)
        if not poll.poll(None if left is None else left * 1000):
            raise TimeoutError

    def _set(self, timeout: float | None) -> None:
        """Has the kernel wait so long; to it, no time is for ever.

        Raises:
            TimeoutError: There is no time.
        """
        if timeout is not None and timeout <= 0:
            raise TimeoutError
        seconds = timeout or 0.0
        value = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000) or int(0 < seconds < 1))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self._timeout = timeout
