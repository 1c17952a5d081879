"""The side that answers, mostly the child: a thread for each channel, which answers one call after the other."""

from __future__ import annotations

import sys
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from pluginhost.errors import PluginCallError, describe
from pluginhost.isolation.channel import Channel
from pluginhost.isolation.failures import Failure
from pluginhost.isolation.frames import (
    BACK,
    CLOSE,
    EMPTY,
    HEAD,
    MORE,
    NEXT,
    OPEN,
    PING,
    STOP,
    Message,
    malformed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import TypeAlias

    from pluginhost.isolation.frames import Frame
    from pluginhost.isolation.system import Ends, Entrance

    Items: TypeAlias = Generator[Message, None, None]
    Answer: TypeAlias = Callable[[Frame, Channel], Message | Items]


def serve(
    entrance: Entrance,
    answer: Answer,
    back: Callable[[Ends], object] | None = None,
    text: Callable[[BaseException], str] = describe,
) -> None:
    """Serves the channels that the host opens, until it says that it is enough or is gone.

    Args:
        entrance: Where the channels come from.
        answer: Returns the reply to a call that came over a channel, or the items of a stream; what it raises becomes
            a failure. It is called on many threads.
        back: Takes a channel over which it is this side that calls.
        text: Returns what is told of an exception.

    Raises:
        PluginCallError: What came over the control channel is nothing that a host says.
    """
    control = Channel(entrance.control, None, "the host", HEAD)
    while (frame := control.listen()) and frame.operation != STOP:
        take_back = back if frame.operation == BACK else None
        if frame.operation != OPEN and take_back is None:
            raise malformed(f"operation {frame.operation} over the control channel")
        try:
            ends = entrance.take(frame.operation)
            if take_back:
                take_back(ends)
                continue
            channel = Channel(ends.line, ends.arena, "the host")
            served = (channel, answer, text)
            threading.Thread(target=answer_all, args=served, name="pluginhost: calls", daemon=True).start()
        except (OSError, RuntimeError) as exc:  # a limit of the system's: the host sees that nobody took its channel
            print(f"a channel could not be taken: {exc}", file=sys.stderr)


def _say(exc: PluginCallError) -> None:
    print(exc, file=sys.stderr)


def answer_all(
    channel: Channel,
    answer: Answer,
    text: Callable[[BaseException], str] = describe,
    tell: Callable[[PluginCallError], object] = _say,
) -> None:
    """Answers what comes over a channel, one call after the other, until it is closed or something else comes.

    Args:
        channel: The channel.
        answer: As for `serve`.
        text: As for `serve`.
        tell: Told of what came that is no call.
    """
    ANSWERED.set(channel.name)
    listen, reply = channel.listen, channel.answer
    try:
        while frame := listen():
            if frame.operation > PING:
                try:
                    message = answer(frame, channel)
                except BaseException as exc:  # a plugin's `SystemExit` ends no thread here, as it ends no host
                    message = Failure.of(exc, text).pack()
            elif frame.operation == PING:
                message = EMPTY
            else:
                raise malformed(f"operation {frame.operation} outside a stream")
            if not isinstance(message, Message):
                _answer_stream(channel, frame, message, text)
                continue
            try:
                reply(frame, message)
            except PluginCallError as exc:  # it is too large
                reply(frame, Failure.of(exc).pack())
    except PluginCallError as exc:
        tell(exc)
    finally:
        channel.close()


def _answer_stream(channel: Channel, begun: Frame, items: Items, text: Callable[[BaseException], str]) -> None:
    """Answers a call with a stream, an item whenever one is asked for, until it ends.

    Raises:
        PluginCallError: Something else is asked for.
    """
    channel.answer(begun, _GOES_ON)
    try:
        while frame := channel.listen():
            if frame.operation not in (NEXT, CLOSE):
                raise malformed(f"operation {frame.operation} within a stream")
            message = _item(items, text) if frame.operation == NEXT else _closed(items, text)
            try:
                channel.answer(frame, message)
            except PluginCallError as exc:  # it is too large
                message = Failure.of(exc).pack()
                channel.answer(frame, message)
            if not message.flags & MORE:
                return
    finally:
        _closed(items, text)


def _item(items: Items, text: Callable[[BaseException], str]) -> Message:
    try:
        item = next(items)
    except StopIteration:
        return EMPTY
    except BaseException as exc:  # as above
        return Failure.of(exc, text).pack()
    return Message(item.flags | MORE, item.meta, item.body)


def _closed(items: Items, text: Callable[[BaseException], str]) -> Message:
    try:
        items.close()
    except BaseException as exc:  # as above
        return Failure.of(exc, text).pack()
    return EMPTY


ANSWERED: Final = ContextVar("answered", default=0)
"""The name of the channel whose call is being answered: what the answer calls in its turn is part of that call."""
_GOES_ON: Final = Message(MORE, b"", b"")
