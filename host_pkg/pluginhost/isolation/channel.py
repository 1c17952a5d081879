"""One call after the other over a socket: what is sent is answered before anything else is sent.

There is no thread that reads and no number by which a reply finds its call. A call whose time is over, or whose reply
is not what must come, ends the channel, so that no late reply is taken for that of the next call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluginhost.isolation import frames
from pluginhost.isolation.frames import (
    FIRST,
    HEAD,
    IN_ARENA,
    META_LIMIT,
    SEQUENCES,
    Frame,
    Message,
    error,
    malformed,
    pack_head,
    unpack_head,
)

if TYPE_CHECKING:
    from contextvars import Context

    from pluginhost.errors import PluginCallError
    from pluginhost.isolation.arena import Arena
    from pluginhost.isolation.lines import Line


class Channel:
    """One side's end of a channel, used by one thread at a time: to call, or to listen and answer, without end.

    Attributes:
        is_open: Whether it can be used.
        name: That of its line.
        context: The context variables of the call that is on its way; `None` when there is none.
    """

    __slots__ = (
        *("_arena", "_exchange", "_first", "_line", "_peer", "_receive", "_send", "_sequence"),
        *("context", "is_open", "name"),
    )

    def __init__(self, line: Line, arena: Arena | None, peer: str, first: int = FIRST) -> None:
        """Takes over a socket and an arena.

        Args:
            line: The socket.
            arena: What both sides share; `None` when bodies go over the socket.
            peer: What the other side is called in errors.
            first: How many bytes the first look for a frame asks for: `HEAD` where another may be behind it, since
                they are told and not asked.
        """
        self._line = line
        self._exchange, self._send, self._receive = line.exchange, line.send, line.receive
        self._arena = arena
        self._peer, self._first = peer, first
        self._sequence = 0
        self.is_open = True
        self.name = line.name
        self.context: Context | None = None

    def call(self, operation: int, message: Message, timeout: float | None = None) -> Frame:
        """Returns the reply to a message.

        Args:
            operation: What is asked for.
            message: What is said.
            timeout: Seconds that it may take.

        Raises:
            PluginCallError: The message is too large, and the channel stays as it is; or the other side is gone
                (`channel-lost`), does not answer in time (`call-timeout`) or answers what is no reply
                (`frame-malformed`, `frame-too-large`), and the channel is closed.
        """
        sequence = (self._sequence + 1) % SEQUENCES
        meta = message.meta
        if message.body or len(meta) > META_LIMIT:
            data = encoded(operation, sequence, message, self._arena)
        else:  # here and below, most frames have no body, and neither a call of a function
            data = pack_head(len(meta), 0, sequence, operation, message.flags) + meta
        self._sequence = sequence
        try:
            data = self._exchange(data, self._first, timeout)
            if len(data) >= HEAD:
                meta_length, body_length, came, of, flags = unpack_head(data)
                is_whole = HEAD + meta_length == len(data) and not body_length and flags < IN_ARENA
                if is_whole and came == sequence and of == operation:
                    return Frame(of, came, flags, data[HEAD:], b"")
            frame = self._completed(data)
            if frame.sequence != sequence or frame.operation != operation:
                raise mistaken(frame, operation, sequence)
        except (OSError, EOFError) as exc:
            self.close()
            raise self._failed(exc, timeout) from exc
        except BaseException:  # an interrupt, too: the reply would be that of the next call
            self.close()
            raise
        return frame

    def tell(self, operation: int, message: Message, timeout: float | None = None) -> None:
        """Sends a message that is not answered; other than that as `call`."""
        if not self.is_open:
            raise lost(self._peer, "the channel is closed")
        sequence = (self._sequence + 1) % SEQUENCES
        data = encoded(operation, sequence, message, self._arena)
        self._sequence = sequence
        try:
            self._line.begin(timeout)
            self._line.send(data)
        except OSError as exc:
            self.close()
            raise self._failed(exc, timeout) from exc
        except BaseException:
            self.close()
            raise

    def has_answered(self, operation: int) -> bool:
        """Returns whether the reply to what was told last has come, and takes it; it does not wait.

        Raises:
            PluginCallError: Something else came, or the other side is gone. The channel is closed.
        """
        try:
            if not self._line.has_come():
                return False
            self._line.begin(None)
            data = self._receive(self._first)
            frame = frames.decode(data) if data else 0
            if type(frame) is not Frame:
                raise malformed(f"{len(data)} bytes in place of a reply")
            if frame.sequence != self._sequence or frame.operation != operation:
                raise mistaken(frame, operation, self._sequence)
        except OSError as exc:
            self.close()
            raise self._failed(exc, None) from exc
        except BaseException:
            self.close()
            raise
        return True

    def listen(self) -> Frame | None:
        """Returns the next message of the other side; `None` when it is gone.

        Raises:
            PluginCallError: What came is no message. The channel is closed.
        """
        try:
            data = self._receive(self._first)
            frame = None
            if len(data) >= HEAD:
                meta_length, body_length, sequence, operation, flags = unpack_head(data)
                if HEAD + meta_length == len(data) and not body_length and flags < IN_ARENA:
                    frame = Frame(operation, sequence, flags, data[HEAD:], b"")
            if frame is None:
                frame = self._completed(data)
            expected = (self._sequence + 1) % SEQUENCES
            if frame.sequence != expected:
                raise malformed(f"call {frame.sequence} came in place of {expected}")
            self._sequence = expected
        except (OSError, EOFError):
            self.close()
            return None
        except BaseException:
            self.close()
            raise
        return frame

    def answer(self, frame: Frame, message: Message) -> bool:
        """Sends the reply to a message, and returns whether the other side was there to be sent it.

        Raises:
            PluginCallError: It is too large; another can be sent.
        """
        meta = message.meta
        if message.body or len(meta) > META_LIMIT:
            data = encoded(frame.operation, frame.sequence, message, self._arena)
        else:
            data = pack_head(len(meta), 0, frame.sequence, frame.operation, message.flags) + meta
        try:
            self._send(data)
        except OSError:
            self.close()
            return False
        except BaseException:
            self.close()
            raise
        return True

    def fileno(self) -> int:
        """Returns the number of its socket's descriptor, by which its end can be waited for."""
        return self._line.sock.fileno()

    def cut(self) -> None:
        """Has a call that waits fail at once; for another thread than that of the call."""
        self._line.cut()

    def close(self) -> None:
        """Closes it; for the thread that uses it."""
        self.is_open = False
        self._line.close()
        if self._arena:
            self._arena.close()

    def _completed(self, data: bytes) -> Frame:
        """Returns the frame that begins with what came first.

        Raises:
            EOFError: The other side closed the channel before it, or within it.
        """
        frame = frames.decode(data)
        while isinstance(frame, int):
            more = self._line.receive_more(frame) if data else []
            if sum(map(len, more)) < frame:
                raise EOFError("the channel was closed" + (" within a frame" if data else ""))
            frame = frames.decode(data, more) if len(data) >= HEAD else frames.decode(data := b"".join((data, *more)))
        return with_body(frame, data, self._arena) if frame.flags & IN_ARENA else frame

    def _failed(self, exc: Exception, timeout: float | None) -> PluginCallError:
        if isinstance(exc, TimeoutError | BlockingIOError):
            return late(self._peer, timeout)
        return lost(self._peer, str(exc))


def encoded(operation: int, sequence: int, message: Message, arena: Arena | None) -> bytes:
    """Returns what of a message goes over a socket; a body goes through the arena, where there is one.

    Raises:
        PluginCallError: It is too large.
    """
    body = message.body
    if not body or arena is None:
        return frames.encode(operation, sequence, message.flags, message.meta, body)
    data = frames.encode(operation, sequence, message.flags | IN_ARENA, message.meta, body)
    arena.write(body)
    return data


def with_body(frame: Frame, data: bytes, arena: Arena | None) -> Frame:
    """Returns a frame with the body that it has in the arena.

    Args:
        frame: The frame without it.
        data: What came over the socket; the head is enough.
        arena: Where the body is.

    Raises:
        PluginCallError: It is not there.
    """
    length = frames.body_length(data)
    body = arena.read(length) if arena else b""
    if len(body) != length:
        raise malformed(f"a body of {length:,} bytes in an arena that has {len(body):,} of them")
    return Frame(frame.operation, frame.sequence, frame.flags & ~IN_ARENA, frame.meta, body)


def mistaken(frame: Frame, operation: int, sequence: int) -> PluginCallError:
    """Returns the error that a frame is not the reply to a call."""
    what = f"the reply to call {frame.sequence} of operation {frame.operation}"
    return malformed(f"{what} came in place of that to call {sequence} of operation {operation}")


def late(peer: str, timeout: float | None) -> PluginCallError:
    """Returns the error that the other side did not answer in time."""
    hint = "the channel is given up, and with it the reply, should there be one"
    return error("call-timeout", f"{peer} did not answer within {timeout} s", hint)


def lost(peer: str, why: str) -> PluginCallError:
    """Returns the error that the other side is gone."""
    hint = "see what its process last said; a call is never made a second time by itself"
    return error("channel-lost", f"{peer} is gone: {why}", hint)
