"""What crosses between host and child: a frame is a head, its meta (msgpack) and its body (raw bytes).

The head has the lengths of meta and body, so that a bound is held before memory is taken. Channels carry one call
after the other and need no number to find whose reply it is; the sequence number is there so that a frame that is
stale, or comes twice, is seen.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec

from pluginhost.errors import Finding, PluginCallError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

LIMIT: Final = 16 << 20
"""Bytes of a body at most."""
META_LIMIT: Final = 64 << 10
"""Bytes of a meta at most."""
LARGE: Final = 8 << 10
"""Bytes from which on what would be a meta is a body."""
APART: Final = 64 << 10
"""Bytes from which on a value of bytes is taken out of what it is part of, to be a body that is not encoded."""
DEEPEST: Final = 64
"""How deep lists and tables may be nested in a message."""

RAW: Final = 1
"""The body is a value that the meta leaves out."""
PACKED: Final = 2
"""The body is what would be the meta, were it not large."""
FAILED: Final = 4
"""The reply is a failure."""
MORE: Final = 8
"""The reply is an item, or the beginning, of a stream that goes on."""
IN_ARENA: Final = 16
"""The body is in the channel's arena."""

OPEN: Final = 1
STOP: Final = 2
BACK: Final = 3
"""What a host tells its child over the control channel: to take another channel, to end, and to take a channel over
which it is the child that calls."""

NEXT: Final = 1
CLOSE: Final = 2
PING: Final = 3
HELLO: Final = 4
IMPORT: Final = 5
NEW: Final = 6
INIT: Final = 7
VALIDATE: Final = 8
SHUTDOWN: Final = 9
EVENT: Final = 10
EXPORT: Final = 11
RESTORE: Final = 12
CALLS: Final = 16
"""What is asked for over any other: a stream's next item, its end, a sign of life; who is there; the plugin's life,
what it has subscribed to, its state; from the last on, what a contract has."""

_HEAD: Final = struct.Struct("<IIIHH")
pack_head, unpack_head = _HEAD.pack, _HEAD.unpack_from
"""A head's bytes, of the lengths of meta and body, the sequence number, the operation and the flags; and back."""
_FLAGS: Final = RAW | PACKED | FAILED | MORE | IN_ARENA  # each bit up to the highest
SEQUENCES: Final = 1 << 32

HEAD: Final = _HEAD.size
FIRST: Final = HEAD + META_LIMIT
"""Bytes of the head; and what one look at a socket asks for, which is all of most frames."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """What one side has to say, before it is a frame.

    Attributes:
        flags: What meta and body are.
        meta: msgpack, 64 KiB at most.
        body: Raw bytes.
    """

    flags: int
    meta: bytes
    body: bytes


EMPTY: Final = Message(0, b"", b"")


class Frame(msgspec.Struct, frozen=True, gc=False):
    """What has crossed.

    Attributes:
        operation: What is asked for; a reply has that of its call.
        sequence: How many calls came before it on its channel.
        flags: What meta and body are.
        meta: msgpack.
        body: Raw bytes.
    """

    operation: int
    sequence: int
    flags: int
    meta: bytes
    body: bytes


def error(code: str, message: str, hint: str) -> PluginCallError:
    """Returns an error of a call that did not get through."""
    return PluginCallError(Finding(code, message, hint))


def malformed(why: str) -> PluginCallError:
    """Returns the error that what came is not a frame, or not the one that must come."""
    hint = "the channel is closed; something other than the host's own code wrote to it, or the two are of two versions"
    return error("frame-malformed", f"what came over the channel is no frame of the call's: {why}", hint)


def too_large(meta_length: int, body_length: int) -> PluginCallError:
    """Returns the error that a frame is larger than it may be."""
    of_meta = meta_length > META_LIMIT
    what, length, limit = ("meta", meta_length, META_LIMIT) if of_meta else ("body", body_length, LIMIT)
    hint = "pass less at once: a part for each call, or a stream of parts"
    return error("frame-too-large", f"a message's {what} has {length:,} bytes, and {limit:,} may cross", hint)


def message(data: bytes) -> Message:
    """Returns the message that some msgpack is: the body, where it is large. Its reader takes what there is."""
    return Message(0, data, b"") if len(data) < LARGE else Message(0, b"", data)


def is_too_large(message: Message) -> bool:
    """Returns whether a message cannot cross."""
    return len(message.meta) > META_LIMIT or len(message.body) > LIMIT


def encode(operation: int, sequence: int, flags: int, meta: bytes, body: bytes) -> bytes:
    """Returns a frame's bytes; with `IN_ARENA` those of the body are left out.

    Raises:
        PluginCallError: It is too large.
    """
    meta_length, body_length = len(meta), len(body)
    if meta_length > META_LIMIT or body_length > LIMIT:
        raise too_large(meta_length, body_length)
    head = pack_head(meta_length, body_length, sequence, operation, flags)
    if not body_length or flags & IN_ARENA:
        return head + meta
    return head + meta + body


def decode(data: bytes, more: Sequence[bytes] = ()) -> Frame | int:
    """Returns the frame that some bytes are, or how many are missing; a body in an arena is left empty.

    Args:
        data: The bytes.
        more: What came after them, so that a large body is put together once.

    Raises:
        PluginCallError: They cannot be a frame, or are more than one, or it is too large.
    """
    have = len(data)
    if have < HEAD:
        return HEAD - have
    meta_length, body_length, sequence, operation, flags = unpack_head(data)
    end = HEAD + meta_length
    if have == end <= FIRST and not body_length and flags <= _FLAGS:  # as most are
        return Frame(operation, sequence, flags, data[HEAD:], b"")
    if meta_length > META_LIMIT or body_length > LIMIT:
        raise too_large(meta_length, body_length)
    if flags > _FLAGS:
        raise malformed(f"flags {flags:#x}")
    whole: int = end if flags & IN_ARENA else end + body_length
    have += sum(map(len, more))
    if have < whole:
        return whole - have
    if have > whole:
        raise malformed(f"{have:,} bytes where {whole:,} are announced")
    if len(data) < end:
        data, more = b"".join((data, *more)), ()
    return Frame(operation, sequence, flags, data[HEAD:end], b"".join((data[end:], *more)))


def body_length(data: bytes) -> int:
    """Returns how many bytes the body has of a frame that begins with some."""
    head: tuple[int, ...] = unpack_head(data)
    return head[1]
