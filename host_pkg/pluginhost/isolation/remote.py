"""Objects of contracts whose calls another process answers: a plugin in a child, or in a child the host's others."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from pluginhost.blame import ANSWERS
from pluginhost.catalogue import CODES
from pluginhost.errors import Finding, PluginCallError, RemoteFailure
from pluginhost.isolation.failures import Failure
from pluginhost.isolation.frames import FAILED, error, malformed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    import pluginapi
    from pluginhost.isolation.codec import Codec, Method
    from pluginhost.isolation.frames import Frame, Message


class Frames(Protocol):
    """The frames of a stream.

    Attributes:
        first: What answered the call itself: the stream's beginning, or a failure.
    """

    first: Frame

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Ends it before its time."""


class AsyncFrames(Protocol):
    """The frames of an asynchronous stream; likewise."""

    first: Frame

    def __aiter__(self) -> AsyncIterator[Frame]: ...

    async def aclose(self) -> None:
        """Ends it before its time."""


class Answerer(Protocol):
    """The process that answers, as what it raised is told here.

    Attributes:
        known: The exceptions that arrive as themselves.
        is_judged: Whether `Blame` has the last word on what is raised here, as it does of a child's plugin. What a
            child's plugin gets from its host has been judged there.
    """

    known: tuple[type[BaseException], ...]
    is_judged: bool


class Peer(Answerer, Protocol):
    """The process that answers, as its callers have it."""

    def call(self, method: Method, message: Message) -> Frame:
        """Returns the reply to a call."""

    def stream(self, method: Method, message: Message) -> Frames:
        """Returns the reply to a call that is a stream."""

    async def call_async(self, method: Method, message: Message) -> Frame:
        """Returns the reply to a call, awaited."""

    async def stream_async(self, method: Method, message: Message) -> AsyncFrames:
        """Returns the reply to a call that is a stream, awaited."""


def make(
    contracts: tuple[type, ...], codec: Codec, peer: Peer, own: Mapping[str, Any] | None = None
) -> pluginapi.Plugin:
    """Returns an object of some contracts, each of whose calls goes to a peer.

    Args:
        contracts: None of them derives from another.
        codec: That of these contracts.
        peer: Who answers.
        own: What its class has besides.
    """
    names: dict[str, Any] = {"__slots__": ("_pluginhost_peer",), "__module__": __name__, **(own or {})}
    for name, method in codec.methods.items():
        names[name] = _forward(method)
    for name, read in codec.reads.items():
        writes = _forward(codec.writes[name]) if name in codec.writes else None
        names[name] = property(_forward(read), writes)
    title = f"Remote{'And'.join(contract.__name__ for contract in contracts)}"
    cls = type(contracts[0])(title, contracts, names)
    made: object = object.__new__(cls)
    cls.__dict__["_pluginhost_peer"].__set__(made, peer)
    return cast("pluginapi.Plugin", made)


def _forward(method: Method) -> Callable[..., Any]:
    if method.is_async:
        made = _stream_async(method) if method.is_stream else _call_async(method)
    else:
        made = _stream(method) if method.is_stream else _call(method)
    made.__name__ = method.name
    return made


def _call(method: Method) -> Callable[..., Any]:
    pack, take = method.pack_call, functools.partial(_value, method)
    pack_given, unpack, given = method.arguments.pack, method.result.unpack, method.given

    def call(self: Any, /, *args: Any, **named: Any) -> Any:
        peer = self._pluginhost_peer
        # Most calls give all their arguments by their places, and go the shortest way.
        message = pack_given(args) if len(args) == given and not named else pack(args, named)
        frame = peer.call(method, message)
        if frame.flags & FAILED:
            return take(peer, frame)
        try:
            return unpack(frame)
        except PluginCallError as exc:
            raise _own(peer, exc.finding) from exc

    return call


def _call_async(method: Method) -> Callable[..., Any]:
    async def call(self: Any, /, *args: Any, **named: Any) -> Any:
        peer = self._pluginhost_peer
        return _value(method, peer, await peer.call_async(method, method.pack_call(args, named)))

    return call


def _stream(method: Method) -> Callable[..., Any]:
    def items(peer: Peer, frames: Frames) -> Iterator[Any]:
        try:
            for frame in frames:
                yield _value(method, peer, frame)
        finally:
            frames.close()

    def call(self: Any, /, *args: Any, **named: Any) -> Any:
        peer = self._pluginhost_peer
        frames = peer.stream(method, method.pack_call(args, named))
        if frames.first.flags & FAILED:
            return _value(method, peer, frames.first)
        return items(peer, frames)

    return call


def _stream_async(method: Method) -> Callable[..., Any]:
    async def call(self: Any, /, *args: Any, **named: Any) -> AsyncIterator[Any]:
        peer = self._pluginhost_peer
        frames = await peer.stream_async(method, method.pack_call(args, named))
        if frames.first.flags & FAILED:
            _value(method, peer, frames.first)
        try:
            async for frame in frames:
                yield _value(method, peer, frame)
        finally:
            await frames.aclose()

    return call


def _value(method: Method, peer: Answerer, frame: Frame) -> Any:
    """Returns what a reply has; raises what it says was raised."""
    try:
        if not frame.flags & FAILED:
            return method.result.unpack(frame)
        failure = Failure.unpack(frame)
    except PluginCallError as exc:
        raise _own(peer, exc.finding) from exc
    raise raised(method.name, peer, failure)


def raised(name: str, peer: Answerer, failure: Failure) -> BaseException:
    """Returns what a caller gets for a failure: the exception itself where both sides have its type.

    Args:
        name: The method that was called.
        peer: Who answered.
        failure: What it answered.
    """
    if failure.code in CODES:
        raised = failure.host_error()
        if failure.code == "arguments-wrong" and peer.is_judged:  # its caller's doing
            finding = Finding(failure.code, f"{name}: {failure.message}", failure.hint)
            return PluginCallError(finding, method=name)
        # One with a plugin's name is another plugin's, that came through it.
        is_own = peer.is_judged and failure.code in _PLUGINS_OWN and not any(failure.call)
        return _own(peer, raised.finding) if is_own else raised
    if failure.code:
        return _own(peer, malformed(f"a failure of the code {failure.code!r}").finding)
    answers = ANSWERS.get(name, ())
    answering = tuple(kind for kind in _ANSWERING if issubclass(kind, answers))
    known = failure.revived((*peer.known, *answering))
    return known if known is not None else _failed(peer, "call-failed", failure.message, "", failure.traceback)


def _own(peer: Answerer, finding: Finding) -> Exception:
    """Returns what was wrong with a reply, as whoever judges a plugin's failures takes it."""
    return _failed(peer, finding.code, f"was answered with what is no answer: {finding.message}", finding.hint, "")


def _failed(peer: Answerer, code: str, what: str, hint: str, traceback: str) -> Exception:
    if peer.is_judged:
        return RemoteFailure(code, what, hint, traceback)
    return error(code, f"the call {what}", hint or "other arguments may do; else tell the plugin's author")


_ANSWERING: Final = (StopIteration, StopAsyncIteration, KeyError, IndexError, LookupError)
_PLUGINS_OWN: Final = frozenset({"reply-wrong", "frame-too-large", "frame-malformed"})
"""What the host's code in the child says of what the plugin returned; all else came to the plugin from its host."""
