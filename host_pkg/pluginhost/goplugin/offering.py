"""Plugins as a go-plugin program serves them: their contracts, and beside them the service `Plugin` of each program.

A program may serve several plugins. A call names the one that it is for in the metadata `pluginhost-plugin`; one
without it goes to the first plugin that has the contract. Where there is one plugin alone, it is meant by any name.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from pluginhost import identity
from pluginhost.errors import escape
from pluginhost.goplugin.proto import PLUGIN, Description, Plugin, contract_of, file_of
from pluginhost.goplugin.statuses import status_of
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import Final, TypeAlias

    from grpclib import server

    from pluginhost.goplugin.files import Method

    Find: TypeAlias = Callable[[server.Stream[Any, Any]], object]
    Begin: TypeAlias = Callable[[dict[str, object], list[str]], object]

PICKED: Final = "pluginhost-plugin"
"""The metadata of a call that has the name of the plugin which is meant."""
_SHOWN: Final = 200


class Offer(Plugin):
    """A plugin that runs, as a program offers it; what a host calls of its life is called here.

    Attributes:
        name: What it is called.
        contracts: What it implements; each by a stub, or whatever is called for it.
    """

    def __init__(
        self,
        name: str,
        contracts: Mapping[type, object],
        capabilities: Collection[str] = (),
        *,
        begin: Begin = lambda config, capabilities: None,
        end: Callable[[], object] = lambda: None,
    ) -> None:
        """Makes an offer.

        Args:
            name: What it is called.
            contracts: What it implements.
            capabilities: What it can do beyond them.
            begin: Called with the configuration and the capabilities that the host gives it.
            end: Called when the host wants no more of it.
        """
        self.name = name
        self.contracts = contracts
        self._capabilities = capabilities
        self._begin = begin
        self._end = end

    def describe(self) -> Description:
        """Says what it was made for: what is here, and now."""
        return Description([contract_of(each) for each in self.contracts], sorted(self._capabilities))

    def init(self, name: str, config: bytes, capabilities: list[str]) -> None:
        """Has it do its work as its host wants; it is called as it is called here."""
        self._begin(msgspec.json.decode(config, type=dict[str, object]) if config else {}, capabilities)

    def validate(self) -> None:
        """It was found fit when it was started: whoever is to offer it starts it first."""

    def shutdown(self) -> None:
        """Ends its work."""
        self._end()


def contracts_of(plugin: object, known: Mapping[str, type]) -> list[type]:
    """Returns which contracts of an API a plugin implements, also those from which others of them derive.

    Args:
        plugin: What its factory returned.
        known: The API's contracts, as `identity.import_contracts` has them.
    """
    return [each for name, each in known.items() if name != "Plugin" and identity.is_a(plugin, each)]


class Offering:
    """What a program serves, as `serve` and a grpclib server take it.

    What the contracts have as plain functions runs on threads, as many at once as are called; a coroutine function
    runs in the event loop. The items of a stream are made as the other side takes them.
    """

    def __init__(self, offers: Sequence[Offer]) -> None:
        """Makes what answers each call.

        Args:
            offers: The plugins.

        Raises:
            ConfigurationError: There is nothing in protobuf for something of a contract.
        """
        self._offers = offers
        self._threads = _Threads()
        files = {contract: file_of(contract) for offer in offers for contract in offer.contracts}
        self._handlers: dict[str, Handler] = {}
        for contract, file in ({Plugin: PLUGIN} | files).items():
            find = self._finding(contract)
            for method in (*file.methods.values(), *file.reads.values(), *file.writes.values()):
                self._handlers[method.path] = self._handler(method, find)

    def __mapping__(self) -> Mapping[str, Handler]:
        return self._handlers

    def _finding(self, contract: type) -> Find:
        """Returns what finds the plugin for a call of a contract.

        What it returns raises:
            GRPCError: There is none of that name, or it does not implement the contract.
        """

        def find(stream: server.Stream[Any, Any]) -> object:
            name, offers = stream.metadata.get(PICKED) if stream.metadata else None, self._offers
            if name is not None and len(offers) > 1:
                offers = [each for each in offers if each.name == name]
                if not offers:
                    named = ", ".join(each.name for each in self._offers)
                    shown = escape(str(name), limit=_SHOWN)
                    raise GRPCError(Status.NOT_FOUND, f"no plugin {shown!r} is served, only: {named}")
            for each in offers:
                if contract is Plugin:
                    return each
                if contract in each.contracts:
                    return each.contracts[contract]
            raise GRPCError(Status.UNIMPLEMENTED, f"{offers[0].name} is no {contract.__name__}")

        return find

    def _handler(self, method: Method, find: Find) -> Handler:
        if method.is_stream:
            answer = self._items_async if method.is_async else self._items
        else:
            answer = self._call_async if method.is_async else self._call

        async def answered(stream: server.Stream[Any, Any]) -> None:
            request = await stream.recv_message()
            if request is None:
                raise GRPCError(Status.INTERNAL, f"{method.path} was called with nothing")
            await answer(method, find(stream), request, stream)

        cardinality = Cardinality.UNARY_STREAM if method.is_stream else Cardinality.UNARY_UNARY
        return Handler(answered, cardinality, _Encoded, _Encoded)

    async def _call(self, method: Method, plugin: object, request: bytes, stream: server.Stream[Any, Any]) -> None:
        def call() -> _Encoded:
            with _told():
                return _Encoded(method.pack_result(_apply(method, plugin, request)))

        await stream.send_message(await self._threads.begin(call))

    async def _call_async(
        self, method: Method, plugin: object, request: bytes, stream: server.Stream[Any, Any]
    ) -> None:
        with _told():
            reply = _Encoded(method.pack_result(await _apply(method, plugin, request)))
        await stream.send_message(reply)

    async def _items(self, method: Method, plugin: object, request: bytes, stream: server.Stream[Any, Any]) -> None:
        items = _Items(method, plugin, request)
        try:
            while (item := await self._threads.begin(items.next)) is not None:
                await stream.send_message(item)
        finally:
            self._threads.begin(items.close)  # after the step that it may be in, which nobody waits for

    async def _items_async(
        self, method: Method, plugin: object, request: bytes, stream: server.Stream[Any, Any]
    ) -> None:
        with _told():
            items = aiter(_apply(method, plugin, request))
        try:
            while True:
                with _told():
                    item = await anext(items, _END)
                    if item is _END:
                        return
                    reply = _Encoded(method.pack_result(item))
                await stream.send_message(reply)
        finally:
            if hasattr(items, "aclose"):
                await items.aclose()


class _Encoded(bytes):
    """A message that is encoded already, as grpclib wants messages."""

    @classmethod
    def FromString(cls, data: bytes) -> _Encoded:
        return cls(data)

    def SerializeToString(self) -> bytes:
        return self


class _Items:
    """The items of a stream, encoded; it is stepped through on any threads, on one at a time."""

    def __init__(self, method: Method, plugin: object, request: bytes) -> None:
        self._method = method
        self._begin: Callable[[], Iterator[Any]] = lambda: iter(_apply(method, plugin, request))
        self._items: Iterator[Any] | None = None
        self._is_over = False
        self._turn = threading.Lock()
        self._context = contextvars.copy_context()

    def next(self) -> _Encoded | None:
        """Returns the next item, or `None` after the last.

        Raises:
            GRPCError: There is none since something failed.
        """
        with self._turn, _told():
            return self._context.run(self._step)

    def close(self) -> None:
        """Ends the stream before its time, if it has not ended."""
        with self._turn:
            close = getattr(self._items, "close", None)
            if close is not None and not self._is_over:
                self._context.run(close)
            self._is_over = True

    def _step(self) -> _Encoded | None:
        if self._items is None:
            self._items = self._begin()
        item = next(self._items, _END)
        self._is_over = item is _END
        return None if item is _END else _Encoded(self._method.pack_result(item))


class _Threads:
    """Threads on which plugins are called; each takes one call after the other.

    They are daemons, which an executor's are not: a call that does not return keeps no program from its end.
    """

    def __init__(self) -> None:
        self._idle: deque[queue.SimpleQueue[Callable[[], None]]] = deque()

    def begin(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Has a thread call a function, and returns what there will be of it; called in the event loop alone."""
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        future: asyncio.Future[Any] = loop.create_future()

        def work() -> None:
            result, raised = None, None
            try:
                result = context.run(function)
            except BaseException as exc:  # a plugin's `SystemExit` ends no thread here
                raised = exc
            with contextlib.suppress(RuntimeError):  # the loop is closed: the program ends
                loop.call_soon_threadsafe(_settle, future, result, raised)

        (self._idle.pop() if self._idle else self._another()).put(work)
        return future

    def _another(self) -> queue.SimpleQueue[Callable[[], None]]:
        inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

        def serve() -> None:
            while True:
                inbox.get()()
                self._idle.append(inbox)

        HostThread(target=serve, name="pluginhost: calls from a go-plugin host", daemon=True).start()
        return inbox


def _settle(future: asyncio.Future[Any], result: object, raised: BaseException | None) -> None:
    if future.done():  # nobody wants it any more
        return
    if raised is None:
        future.set_result(result)
    else:
        future.set_exception(raised)


def _apply(method: Method, plugin: object, request: bytes) -> Any:
    """Returns what a plugin's method returns for a request; or does what else it is."""
    arguments, named = method.unpack_call(request)
    if method.kind == "read":
        return getattr(plugin, method.name)
    if method.kind == "write":
        return setattr(plugin, method.name, *arguments)
    return getattr(plugin, method.name)(*arguments, **named)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Has what is raised within told to the caller.

    Raises:
        GRPCError: Something was.
    """
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):  # the host wants no more; what a plugin raises is not this
        raise
    except BaseException as exc:
        raise status_of(exc) from None


_END: Final = object()
