"""What a host offers to one child: its answers to what the child's plugin asks for."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from pluginhost.errors import Finding, wrong
from pluginhost.events import failed_listener
from pluginhost.isolation import records
from pluginhost.isolation.codec import at_once, codec_of
from pluginhost.isolation.frames import CALLS, malformed
from pluginhost.isolation.outbox import Outbox
from pluginhost.isolation.services import (
    Init,
    Ref,
    Services,
    name_of,
    packed_config,
    packed_event,
    parted,
    unpacked,
)
from pluginhost.isolation.serving import answer_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextvars import Context
    from typing import Final, Literal, TypeAlias

    from pluginhost.errors import PluginCallError
    from pluginhost.host import PluginHost
    from pluginhost.isolation.channel import Channel
    from pluginhost.isolation.codec import Codec, Method
    from pluginhost.isolation.frames import Frame, Message
    from pluginhost.isolation.looping import LoopThread
    from pluginhost.isolation.outbox import Send
    from pluginhost.isolation.services import Record
    from pluginhost.isolation.serving import Items

    Open: TypeAlias = Callable[[Callable[[Channel], object], float | None], object]

_SECONDS: Final = 10.0
"""How long a child may take for a channel that it has asked for."""
_NUMBERS: Final = 1 << 16


class Offered:
    """The host of one child's plugin, as the child may call it.

    It ends with the plugin's host: `host.revoke()`.
    """

    def __init__(
        self,
        host: PluginHost,
        contracts: dict[str, type],
        open: Open,
        send: Send,
        context_of: Callable[[int], Context | None],
    ) -> None:
        """Offers a host to a child.

        Args:
            host: The plugin's host; one for each child.
            contracts: The API's own, as `identity.import_contracts` returns them: others do not cross.
            open: Has the child take a channel over which it calls: `Control.back`.
            send: Returns when the child has answered a message of the operation `EVENT`; raises when it is gone.
            context_of: Returns the context variables of the call to the child that is on its way over a channel of that
                name: `Pool.context_of`. What the child calls to answer it is part of it, as it would be in-process:
                else it would wait where one call at a time is let in.
        """
        self.host, self._send = host, send
        self._open, self._context_of = open, context_of
        self._contracts = {name_of(contract): contract for contract in contracts.values()}
        self._lock = threading.Lock()
        self._refs: dict[tuple[int, type], tuple[Ref, object]] = {}  # with the plugin, whose id may go to no other
        self._calls: dict[int, tuple[Method, Callable[..., Any]]] = {}
        codec = codec_of(Services)
        self._serve(_Answering(self), codec, CALLS)
        self._next = CALLS + len(codec.operations)
        self._looping: LoopThread | None = None

    def begin(self, timeout: float | None = None) -> None:
        """Opens the channel over which the child asks for more.

        Raises:
            PluginCallError: The child is gone, or takes too long.
        """
        self._open(self._answer_all, timeout)

    def more(self) -> None:
        """Opens another."""
        self.begin(_SECONDS)

    def init(self) -> Init:
        """Returns what the child's plugin is told with its `init`.

        Raises:
            ConfigurationError: Its configuration does not cross.
        """
        host = self.host
        level, capabilities = host.logger.getEffectiveLevel(), sorted(host.capabilities)
        config = packed_config(host.config)
        return Init(host.group, host.name, host.about.text, host.path, config, capabilities, level)

    def answer(self, frame: Frame, channel: Channel) -> Message | Items:
        """Returns the reply to a call of the child's, or the items of a stream.

        Args:
            frame: The call.
            channel: Where it came from.

        Raises:
            BaseException: Whatever was raised by what was called.
        """
        name, frame = parted(frame)
        found = self._calls.get(frame.operation)
        if found is None:
            raise malformed(f"operation {frame.operation}, which stands for nothing")
        method, call = found
        arguments, named = method.unpack_call(frame)
        context = self._context_of(name)
        run = context.copy().run if context else at_once
        value = run(call, *arguments, **named)
        if method.is_async and method.is_stream:
            return method.packed(run(self._loop().items, value, channel), run)
        if method.is_async:
            value = run(self._loop().run, value, channel)
        return method.packed(value, run) if method.is_stream else method.result.pack(value)

    def ref(self, plugin: Any, contract: type, name: str) -> Ref:
        """Returns what the child calls another plugin by: the same each time.

        Raises:
            ConfigurationError: The contract does not cross, or there are no numbers left.
        """
        codec = codec_of(contract)
        with self._lock:
            if (id(plugin), contract) not in self._refs:
                if self._next + len(codec.operations) > _NUMBERS:
                    message = f"{self.host.about.text} has asked for more other plugins than it can call"
                    raise wrong(message, "let it load its guests once, and keep them; or run it in-process")
                self._serve(plugin, codec, self._next)
                self._refs[id(plugin), contract] = Ref(self._next, getattr(plugin, "name", name)), plugin
                self._next += len(codec.operations)
            return self._refs[id(plugin), contract][0]

    def contract(self, name: str) -> type:
        """Returns the contract that the child names.

        Raises:
            ConfigurationError: It is none of the API's.
        """
        if name not in self._contracts:
            own = ", ".join(sorted(self._contracts))
            message = f"{self.host.about.text} asks for a plugin by {name}, which is no contract of the API's own"
            raise wrong(message, f"from a process of its own it can ask by {own}; or run it in-process")
        return self._contracts[name]

    def outbox(self) -> Outbox:
        """Returns where events for the child go."""
        outbox = Outbox(self._send, self._dropped)
        self.host.undo.callback(outbox.close)
        return outbox

    def _dropped(self) -> None:
        message = f"{self.host.about.text}: events come faster than its process takes them, and some were dropped"
        hint = "subscribe to fewer topics, or have its listeners return sooner"
        self.host.tell(Finding("events-dropped", message, hint))

    def _answer_all(self, channel: Channel) -> None:
        answer_all(channel, self.answer, tell=self._malformed)

    def _malformed(self, exc: PluginCallError) -> None:
        self.host.tell(Finding(exc.finding.code, f"{self.host.about.text}: {exc.finding.message}", exc.finding.hint))

    def _serve(self, of: object, codec: Codec, base: int) -> None:
        for method, call in _callables(of, codec):
            self._calls[base + method.operation - CALLS] = method, call

    def _loop(self) -> LoopThread:
        """Returns the loop in which other plugins' coroutines run that the child calls."""
        with self._lock:
            if self._looping is None:
                from pluginhost.isolation.looping import LoopThread  # asyncio is dear, and few contracts need it

                self._looping = LoopThread()
                self.host.undo.callback(self._looping.close, 1.0)
            return self._looping


class _Answering(Services):
    """What each of the calls does."""

    def __init__(self, of: Offered) -> None:
        self._of, self._host = of, of.host
        self._lock = threading.Lock()
        self._outbox: Outbox | None = None
        self._undo: dict[int, Callable[[], None]] = {}

    def more(self) -> None:
        self._of.more()

    def log(self, record: Record) -> None:
        records.handle(self._host.logger, record)

    def emit(self, topic: str, fields: bytes) -> None:
        self._host.emit(topic, **unpacked(fields, dict[str, Any]))

    def folder(self, kind: Literal["data", "cache"]) -> str:
        return str(self._host.data_folder if kind == "data" else self._host.cache_folder)

    def get(self, name: str, contract: str) -> Ref:
        wanted = self._of.contract(contract)
        return self._of.ref(self._host.get(name, wanted), wanted, name)

    def all(self, contract: str, requires: list[str]) -> dict[str, Ref]:
        wanted = self._of.contract(contract)
        return self._refs(self._host.all(wanted, requires), wanted)

    def load(self, namespace: str, configuration: bytes, contract: str) -> dict[str, Ref]:
        wanted = self._of.contract(contract)
        given = unpacked(configuration, dict[str, dict[str, Any]])
        return self._refs(self._host.load(namespace, given, wanted), wanted)

    def subscribe(self, topic: str, number: int) -> None:
        with self._lock:
            if number in self._undo:
                raise malformed(f"a subscription {number}, which there is")
            if self._outbox is None:
                self._outbox = self._of.outbox()
            put = self._outbox.put
            self._undo[number] = self._host.subscribe(lambda event: put(packed_event(number, event)), topic)

    def unsubscribe(self, number: int) -> None:
        with self._lock:
            undo = self._undo.pop(number, None)
        if undo:
            undo()

    def failed(self, topic: str, raised: str, at: str) -> None:
        self._host.tell(failed_listener(self._host.about.text, topic, raised, at))

    def _refs(self, found: dict[str, Any], contract: type) -> dict[str, Ref]:
        return {name: self._of.ref(plugin, contract, name) for name, plugin in found.items()}


def _callables(of: object, codec: Codec) -> Iterator[tuple[Method, Callable[..., Any]]]:
    """Yields each operation of an object, and what does it."""
    for name, method in codec.methods.items():
        yield method, getattr(of, name)
    for name, method in codec.reads.items():
        yield method, functools.partial(getattr, of, name)
    for name, method in codec.writes.items():
        yield method, functools.partial(setattr, of, name)
