"""What a plugin in a child asks of its host, as it crosses: the calls, and the data that has no type of its own.

Host and child have the same of it: the host answers (`offered`), the child calls (`far`).
"""

from __future__ import annotations

import marshal
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import msgspec

import pluginapi
from pluginhost.errors import PluginCallError, describe, wrong
from pluginhost.isolation import frames
from pluginhost.isolation.codec import require_shallow
from pluginhost.isolation.failures import clean
from pluginhost.isolation.frames import LARGE, PACKED, Message

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from pluginhost.isolation.frames import Frame

T = TypeVar("T")

TEXT_LIMIT: Final = 8 << 10
"""Bytes of one text of a record, and of what stands for a field that does not cross."""


class Record(NamedTuple):
    """A record of the plugin's logger.

    Attributes:
        suffix: What its logger's name has behind that of the plugin's logger.
        level: Its level.
        message: What it says.
        trace: The traceback, and the stack, that it has; empty when it has none.
        path: The file that logged.
        line: The line there.
        function: The function there.
        thread: The thread's name.
        created: When it was, in seconds since 1970.
    """

    suffix: str
    level: int
    message: str
    trace: str
    path: str
    line: int
    function: str
    thread: str
    created: float


class Ref(NamedTuple):
    """Another plugin, as a child can call it.

    Attributes:
        base: The number of its contract's first operation.
        name: Its name.
    """

    base: int
    name: str


class Services(pluginapi.Plugin):
    """The calls. A contract is named by `name_of`; bytes are what `packed` returns."""

    __slots__ = ()

    @abstractmethod
    def more(self) -> None:
        """Has the host open another channel for the child's calls."""

    @abstractmethod
    def log(self, record: Record) -> None:
        """Hands a record to the plugin's logger."""

    @abstractmethod
    def emit(self, topic: str, fields: bytes) -> None:
        """As `pluginapi.Host.emit`."""

    @abstractmethod
    def folder(self, kind: Literal["data", "cache"]) -> str:
        """Returns the path of the plugin's folder of a kind."""

    @abstractmethod
    def get(self, name: str, contract: str) -> Ref:
        """As `pluginapi.Host.get`."""

    @abstractmethod
    def all(self, contract: str, requires: list[str]) -> dict[str, Ref]:
        """As `pluginapi.Host.all`."""

    @abstractmethod
    def load(self, namespace: str, configuration: bytes, contract: str) -> dict[str, Ref]:
        """As `pluginapi.Host.load`."""

    @abstractmethod
    def subscribe(self, topic: str, number: int) -> None:
        """Has events sent to the child, with the number that it gives here."""

    @abstractmethod
    def unsubscribe(self, number: int) -> None:
        """Has no more of them sent."""

    @abstractmethod
    def failed(self, topic: str, raised: str, at: str) -> None:
        """Tells that a listener for a topic raised when it was told of an event."""


class Init(msgspec.Struct, frozen=True):
    """What a child's plugin is told with its `init`, and no more asks for.

    Attributes:
        group: The plugin's group.
        name: Its name.
        text: The plugin as a message names it.
        path: Where its configuration is set, for a message.
        config: Its configuration, as `packed_config` has it.
        capabilities: What the application offers.
        level: From which level on its logger takes records.
    """

    group: str
    name: str
    text: str
    path: str
    config: bytes
    capabilities: list[str]
    level: int


def name_of(contract: type) -> str:
    """Returns what a contract is called on both sides."""
    module: str = type.__dict__["__module__"].__get__(contract)
    name: str = type.__dict__["__qualname__"].__get__(contract)
    return f"{module}.{name}"


def within(name: int, message: Message) -> Message:
    """Returns a child's call that says to answer which channel's call it is made; 0 for none."""
    return Message(message.flags, name.to_bytes(_NAME, "little") + message.meta, message.body)


def parted(frame: Frame) -> tuple[int, Frame]:
    """Returns the name that such a call has, and the call.

    Raises:
        PluginCallError: It has none.
    """
    if len(frame.meta) < _NAME:
        raise frames.malformed("a call that does not say for which call it is made")
    name = int.from_bytes(frame.meta[:_NAME], "little")
    return name, frames.Frame(frame.operation, frame.sequence, frame.flags, frame.meta[_NAME:], frame.body)


_NAME: Final = 8


def packed(value: object) -> bytes:
    """Returns plain data as it crosses.

    Raises:
        PluginCallError: It is none, or nested too deeply.
    """
    hint = "numbers, text, bytes, dates, and lists and tables of them do"
    try:
        data = msgspec.msgpack.encode(value)
        require_shallow(data)
    except PluginCallError as exc:
        raise frames.error("arguments-wrong", f"the arguments do not cross: {exc.finding.message}", hint) from exc
    except Exception as exc:  # whatever an object raises that is looked at
        raise frames.error("arguments-wrong", f"the arguments do not cross: {describe(exc)}", hint) from exc
    return data


def unpacked(data: bytes, kind: type[T]) -> T:
    """Returns the plain data that crossed.

    Raises:
        PluginCallError: It is not of that type, or nested too deeply.
    """
    try:
        require_shallow(data)
        return msgspec.msgpack.decode(data, type=kind)
    except PluginCallError:
        raise
    except (msgspec.MsgspecError, RecursionError, ValueError, TypeError) as exc:
        raise frames.malformed(str(exc)) from exc


def packed_config(config: Mapping[str, object]) -> bytes:
    """Returns a configuration for a child: the application's own objects, too, which msgpack has not.

    Raises:
        ConfigurationError: Something in it cannot be had by another process.
    """
    try:
        return _MARSHALLED + marshal.dumps(dict(config))
    except ValueError:  # a date, for instance
        import pickle  # few need it

    try:
        return _PICKLED + pickle.dumps(dict(config))
    except Exception as exc:  # whatever an object raises that is looked at
        message = f"the plugin's configuration does not cross to its process: {describe(exc)}"
        raise wrong(message, "set numbers, text, dates, and lists and tables of them; or run it in-process") from exc


def unpacked_config(data: bytes) -> dict[str, object]:
    """Returns the configuration that the host sent; only a child trusts what came so.

    Raises:
        ConfigurationError: It has an object whose class the child does not have.
    """
    if data[:1] == _MARSHALLED:
        found: dict[str, object] = marshal.loads(data[1:])
        return found
    import pickle  # as above

    try:
        found = pickle.loads(data[1:])
    except Exception as exc:  # whatever a class raises that is made anew
        message = f"the plugin's configuration cannot be had by its process: {describe(exc)}"
        raise wrong(message, "set numbers, text, dates, and lists and tables of them; or run it in-process") from exc
    return found


_MARSHALLED: Final = b"m"
_PICKLED: Final = b"p"


def packed_event(number: int, event: pluginapi.Event) -> Message:
    """Returns an event as it crosses to a child: a field that does not cross, as its text.

    Args:
        number: The child's number of what it has subscribed to.
        event: The event.
    """
    topic, source = clean(event.topic, TEXT_LIMIT), clean(event.source, TEXT_LIMIT)
    try:
        data = packed((number, topic, source, event.fields))
    except PluginCallError:
        fields = {clean(str(name), TEXT_LIMIT): _plain(value) for name, value in dict(event.fields).items()}
        data = packed((number, topic, source, fields))
    return Message(0, data, b"") if len(data) < LARGE else Message(PACKED, b"", data)


def unpacked_event(frame: Frame) -> tuple[int, pluginapi.Event]:
    """Returns the number and the event that a frame has.

    Raises:
        PluginCallError: It has none.
    """
    number, topic, source, fields = unpacked(frame.body if frame.flags & PACKED else frame.meta, _Event)
    return number, pluginapi.Event(topic, source, fields)


class _Event(NamedTuple):
    number: int
    topic: str
    source: str
    fields: dict[str, Any]


def _plain(value: object) -> object:
    try:
        packed({"": value})  # as deep as it will be
    except PluginCallError:
        try:
            return clean(str.__str__(str(value)), TEXT_LIMIT)
        except BaseException as exc:  # it refuses to be printed
            return f"<its text raised {describe(exc)}>"
    return value
