"""What a plugin in a child receives with its `init`: its host, which is in another process."""

from __future__ import annotations

import functools
import itertools
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import pluginapi
from pluginhost import forks, identity
from pluginhost.errors import describe, revoked
from pluginhost.events import require_listener, require_text
from pluginhost.isolation.back import HOST, Back
from pluginhost.isolation.channel import lost
from pluginhost.isolation.codec import codec_of
from pluginhost.isolation.failures import clean
from pluginhost.isolation.frames import CALLS
from pluginhost.isolation.pool import Pool
from pluginhost.isolation.services import (
    TEXT_LIMIT,
    Services,
    name_of,
    packed,
    unpacked_config,
    unpacked_event,
    within,
)
from pluginhost.isolation.serving import ANSWERED

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from typing_extensions import TypeForm

    from pluginhost.isolation import remote
    from pluginhost.isolation.awaiting import AsyncPool
    from pluginhost.isolation.codec import Method
    from pluginhost.isolation.frames import Frame, Message
    from pluginhost.isolation.services import Init, Ref
    from pluginhost.isolation.system import Ends

P = TypeVar("P", bound=pluginapi.Plugin)
T = TypeVar("T")


class FarHost(pluginapi.Host):
    """The host of the plugin of this process, a child, until its shutdown."""

    __slots__ = (
        "_asking",
        "_config",
        "_found",
        "_init",
        "_listeners",
        "_lock",
        "_logger",
        "_numbers",
        "_pools",
        "_text",
        "_undo",
    )

    def __init__(self, back: Back, init: Init) -> None:
        """Makes the host.

        Args:
            back: Where channels to it come from.
            init: What it said with the plugin's `init`.

        Raises:
            ConfigurationError: Something in the configuration cannot be had by this process.
        """
        self._init: Init | None = init
        self._text = init.text
        self._config = MappingProxyType(unpacked_config(init.config))
        self._pools = _Pools(back)
        self._asking: Services | None = None
        self._lock = threading.RLock()
        self._logger: logging.Logger | None = None
        self._undo: Callable[[], None] | None = None  # of the logger
        self._found: dict[int, pluginapi.Plugin] = {}
        self._numbers = itertools.count()
        self._listeners: dict[int, tuple[str, Callable[[pluginapi.Event], object]]] = {}

    @property
    def logger(self) -> logging.Logger:
        init = self._require_open()
        with self._lock:
            if self._logger is None:
                self._logger, self._undo = self._forwarding(init)
            return self._logger

    @property
    def config(self) -> Mapping[str, object]:
        self._require_open()
        return self._config

    def config_as(self, type: TypeForm[T]) -> T:
        from pluginhost import validation  # most plugins take it as it is

        found: T = validation.require(dict(self.config), cast("Any", type), self._require_open().path)
        return found

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset(self._require_open().capabilities)

    @property
    def data_folder(self) -> Path:
        return self._own("data")

    @property
    def cache_folder(self) -> Path:
        return self._own("cache")

    def _own(self, kind: Literal["data", "cache"]) -> Path:
        from pathlib import Path  # dear at a start, and most plugins never ask

        self._require_open()
        return Path(self._calls.folder(kind))

    def get(self, name: str, contract: TypeForm[P]) -> P:
        self._require_open()
        cls = identity.contract_class(contract)
        return cast("P", self._object(self._calls.get(name, name_of(cls)), cls))

    def all(self, contract: TypeForm[P], requires: Collection[str] = ()) -> dict[str, P]:
        self._require_open()
        cls = identity.contract_class(contract)
        return self._objects(self._calls.all(name_of(cls), list(requires)), cls)

    def load(
        self, namespace: str, configuration: Mapping[str, Mapping[str, object]], contract: object = None
    ) -> dict[str, Any]:
        self._require_open()
        cls = identity.contract_class(contract or pluginapi.Plugin)
        given = packed({key: dict(config) for key, config in configuration.items()})
        return self._objects(self._calls.load(namespace, given, name_of(cls)), cls)

    def subscribe(self, listener: Callable[[pluginapi.Event], object], topic: str = "") -> Callable[[], None]:
        self._require_open()
        require_listener(listener, topic)
        number = next(self._numbers)
        self._listeners[number] = topic, listener  # before the host knows: an event may come at once

        def undo() -> None:
            if self._listeners.pop(number, None) and self._init is not None:
                self._calls.unsubscribe(number)

        try:
            self._calls.subscribe(topic, number)
        except BaseException:
            del self._listeners[number]
            raise
        return undo

    def emit(self, topic: str, **fields: object) -> None:
        self._require_open()
        require_text("emit", topic)
        self._calls.emit(topic, packed(fields))

    def deliver(self, frame: Frame) -> None:
        """Calls the listener that an event is for; what it raises is told to the host, and to nobody else.

        Raises:
            PluginCallError: The frame has no event.
        """
        number, event = unpacked_event(frame)
        topic, listener = self._listeners.get(number, ("", None))
        if listener is None:  # it has unsubscribed meanwhile
            return
        try:
            listener(event)
        except BaseException as exc:  # whatever a listener may raise
            self._calls.failed(topic, clean(describe(exc), TEXT_LIMIT), event.topic)

    def revoke(self) -> None:
        """Ends the plugin's use of its host."""
        with self._lock:
            self._init = None
            self._listeners.clear()
            if self._undo:
                self._undo()

    def _require_open(self) -> Init:
        if (init := self._init) is None:
            raise revoked(self._text)
        return init

    @property
    def _calls(self) -> Services:
        """What asks the host."""
        if self._asking is None:
            with self._lock:
                self._asking = self._asking or cast("Services", self._made(Services, CALLS))
        return self._asking

    def _forwarding(self, init: Init) -> tuple[logging.Logger, Callable[[], None]]:
        import logging  # many plugins do without

        from pluginhost.isolation.records import Forwarding

        logger = logging.getLogger(f"{init.group}.{init.name}")
        handler = Forwarding(logger, self._calls.log)
        logger.setLevel(init.level)
        logger.propagate = False
        logger.addHandler(handler)
        return logger, lambda: logger.removeHandler(handler)

    def _objects(self, refs: dict[str, Ref], contract: type) -> dict[str, Any]:
        return {name: self._object(ref, contract) for name, ref in refs.items()}

    def _object(self, ref: Ref, contract: type) -> pluginapi.Plugin:
        """Returns what stands for another plugin: the same object for the same reference."""
        with self._lock:
            if ref.base not in self._found:
                made = self._made(contract, ref.base)
                pluginapi.Plugin.__dict__["name"].__set__(made, ref.name)
                self._found[ref.base] = made
            return self._found[ref.base]

    def _made(self, contract: type, base: int) -> pluginapi.Plugin:
        from pluginhost.isolation import remote  # many plugins ask their host for nothing

        return remote.make((contract,), codec_of(contract), _Peer(self._pools, base))


class _Pools:
    """The channels to the host: for threads, and for event loops."""

    def __init__(self, back: Back) -> None:
        self._back = back
        self.calling = Pool(back.open, HOST)
        self._left: tuple[object, ...] = ()
        forks.tell(self)

    def forked(self) -> None:
        """Leaves the channels alone: this process is a copy of the plugin's, and what answers it is for that one."""
        self._left = self._back, self.calling, vars(self).pop("awaiting", None)  # collected, they would be closed
        self._back = _NoWay()
        self.calling = Pool(self._back.open, HOST)

    @functools.cached_property
    def awaiting(self) -> AsyncPool:
        from pluginhost.isolation.awaiting import AsyncPool  # asyncio is dear, and few plugins need it

        return AsyncPool(self._back.ends, HOST)


class _NoWay(Back):
    """What a copy of the plugin's process has in the place of a way to the host."""

    def ends(self, timeout: float | None = None) -> Ends:
        raise lost(HOST, "it answers the process alone from which this one was forked")


class _Peer:
    """Another plugin that the host has, or the host itself: what answers is the host."""

    __slots__ = ("_base", "_pools", "is_judged", "known")

    def __init__(self, pools: _Pools, base: int) -> None:
        self._pools, self._base = pools, base - CALLS
        self.is_judged = False  # here; it has been, in the host
        self.known = tuple(_derived(pluginapi.PluginError))

    def _to(self, method: Method, message: Message) -> tuple[int, Message]:
        return self._base + method.operation, within(ANSWERED.get(), message)

    def call(self, method: Method, message: Message) -> Frame:
        return self._pools.calling.call(*self._to(method, message))

    def stream(self, method: Method, message: Message) -> remote.Frames:
        return self._pools.calling.stream(*self._to(method, message))

    async def call_async(self, method: Method, message: Message) -> Frame:
        frame: Frame = await self._pools.awaiting.call(*self._to(method, message))
        return frame

    async def stream_async(self, method: Method, message: Message) -> remote.AsyncFrames:
        found: remote.AsyncFrames = await self._pools.awaiting.stream(*self._to(method, message))
        return found


def _derived(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    """Yields an exception and all that derive from it."""
    yield kind
    for each in type.__subclasses__(kind):
        yield from _derived(each)
