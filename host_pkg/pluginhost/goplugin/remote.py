"""Objects of contracts whose calls a go-plugin program answers.

```python
with GoPluginClient(["./greeter"], HandshakeConfig("GREETER_PLUGIN", "hello")) as client:
    print(dispense(client, Greeter, "english").greet("Ada"))
```
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

import pluginapi
from pluginhost import identity
from pluginhost.errors import GoPluginError, PluginCallError, RemoteFailure, wrong
from pluginhost.goplugin.blocking import GoPluginClient
from pluginhost.goplugin.far import Far, value
from pluginhost.goplugin.proto import file_of

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Collection,
        Coroutine,
        Generator,
        Iterator,
        Mapping,
    )
    from concurrent.futures import Future
    from typing import Final

    from typing_extensions import TypeForm

    from pluginapi import Host
    from pluginhost.goplugin.client import AsyncGoPluginClient
    from pluginhost.goplugin.files import Method
    from pluginhost.goplugin.looping import LoopThread

P = TypeVar("P", bound=pluginapi.Plugin)
T = TypeVar("T")

_LOOK_SECONDS: Final = 1.0
"""How often who waits for an application's event loop looks whether it is there still."""


@overload
def dispense(
    client: GoPluginClient,
    contract: TypeForm[P],
    name: str,
    *,
    config: Mapping[str, object] | None = None,
    capabilities: Collection[str] = (),
    timeout: float | None = None,
) -> P: ...


@overload
def dispense(
    client: AsyncGoPluginClient,
    contract: TypeForm[P],
    name: str,
    *,
    config: Mapping[str, object] | None = None,
    capabilities: Collection[str] = (),
    timeout: float | None = None,
) -> Awaitable[P]: ...


def dispense(
    client: GoPluginClient | AsyncGoPluginClient,
    contract: TypeForm[P],
    name: str,
    *,
    config: Mapping[str, object] | None = None,
    capabilities: Collection[str] = (),
    timeout: float | None = None,
) -> P | Awaitable[P]:
    """Returns what stands for a program's plugin, of a contract's type, once the plugin is fit to be called.

    Methods of the contract that are coroutine functions are awaited, in any event loop. The others may be called on any
    thread; with an `AsyncGoPluginClient`, on any but that of its event loop.

    Args:
        client: The program, which runs. Where it is an `AsyncGoPluginClient`, what is returned is to be awaited.
        contract: The contract, such as `Greeter`.
        name: The plugin's name; of a program that serves several, it picks one.
        config: The plugin's own configuration.
        capabilities: What the application offers to it.
        timeout: Seconds that each call may take, and each stream in all; for ever when `None`.

    Returns:
        An object whose calls raise a `pluginapi.PluginError`, the plugin's own word; a `PluginCallError` when the call
        fails; a `GoPluginError` when the program is gone or does not answer in time.

    Raises:
        GoPluginError: It does not serve the contract, or was made for another API than this one.
        PluginError: It refuses to be started, and says why.
        PluginCallError: It does not start.
        ConfigurationError: There is nothing in protobuf for something of the contract, or of the configuration.
    """
    cls = identity.contract_class(contract)
    if isinstance(client, GoPluginClient):
        thread = client._loop
        making = _dispense(client.asynchronous, cls, name, config or {}, capabilities, timeout, thread)
        return cast("P", client.run(making))
    return cast("Awaitable[P]", _dispense(client, cls, name, config or {}, capabilities, timeout))


async def _dispense(
    client: AsyncGoPluginClient,
    contract: type,
    name: str,
    config: Mapping[str, object],
    capabilities: Collection[str],
    timeout: float | None,
    thread: LoopThread | None = None,
) -> pluginapi.Plugin:
    far = Far(client, name)
    peer = _Dispensed(client, far, timeout, thread)
    made = make((contract,), name, peer, peer.value)
    with peer.told("init"):
        far.require((contract,), await far.describe(timeout))
        await far.init(name, config, capabilities, timeout)
    with peer.told("validate"):
        await far.validate(timeout)
    return made


class Peer(Protocol):
    """A program's plugin, as its callers have it: of one program, or of whichever of several serves."""

    def init(self, host: Any) -> None:
        """Starts the plugin's work, with what its host offers it."""

    def validate(self) -> None:
        """Returns if the plugin says that it is fit to be called."""

    def shutdown(self) -> None:
        """Ends the plugin's work."""

    def call(self, method: Method, request: bytes) -> bytes:
        """Returns the reply to a call."""

    def stream(self, method: Method, request: bytes) -> Generator[bytes, None, None]:
        """Returns the reply to a call that is a stream."""

    async def call_async(self, method: Method, request: bytes) -> bytes:
        """Returns the reply to a call, awaited."""

    async def stream_async(self, method: Method, request: bytes) -> AsyncGenerator[bytes, None]:
        """Returns the reply to a call that is a stream, awaited."""


class _Dispensed:
    """The plugin of a program that its caller has started; for any thread, and any event loop."""

    def __init__(self, client: AsyncGoPluginClient, far: Far, timeout: float | None, thread: LoopThread | None) -> None:
        self._client, self._far, self._timeout, self._thread = client, far, timeout, thread
        self._loop = asyncio.get_running_loop()
        self._look = None if thread else _LOOK_SECONDS  # what comes to a thread of ours comes to its end

    def init(self, host: Host) -> None:
        with self.told("init"):
            self._run(self._far.init(self._far.name, host.config, host.capabilities, self._timeout))

    def validate(self) -> None:
        with self.told("validate"):
            self._run(self._far.validate(self._timeout))

    def shutdown(self) -> None:
        with self.told("shutdown"):
            self._run(self._far.shutdown(self._timeout))

    def call(self, method: Method, request: bytes) -> bytes:
        with self.told(method.name):
            return self._run(self._far.call(method, request, self._timeout))

    async def call_async(self, method: Method, request: bytes) -> bytes:
        with self.told(method.name):
            return await self._wait(self._far.call(method, request, self._timeout))

    def stream(self, method: Method, request: bytes) -> Generator[bytes, None, None]:
        replies = self._far.stream(method, request, self._timeout)
        try:
            with self.told(method.name):
                while (reply := self._run(_next(replies))) is not None:
                    yield reply
        finally:
            with contextlib.suppress(GoPluginError):
                self._begin(_close(replies))

    async def stream_async(self, method: Method, request: bytes) -> AsyncGenerator[bytes, None]:
        return self._items(method, self._far.stream(method, request, self._timeout))

    async def _items(self, method: Method, replies: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        try:
            with self.told(method.name):
                while (reply := await self._wait(_next(replies))) is not None:
                    yield reply
        finally:
            await self._wait(_close(replies))

    def value(self, method: Method, reply: bytes) -> Any:
        """Returns what a reply has; raises `PluginCallError` if it is not of its type."""
        with self.told(method.name):
            return value(method, reply)

    @contextlib.contextmanager
    def told(self, name: str) -> Iterator[None]:
        """Has the caller of a method told of its failure: nobody else judges it.

        Raises:
            PluginCallError: It failed.
        """
        try:
            yield
        except RemoteFailure as exc:
            hint = exc.hint or "other arguments may do; else tell the author of the program"
            finding = self._client.failed(exc.code, f"{name} {exc.what}", hint).finding
            raise PluginCallError(finding, plugin=self._far.name, method=name) from exc.__cause__

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Returns what a coroutine returns that runs in the client's event loop, on any other thread."""
        if asyncio._get_running_loop() is self._loop:
            coroutine.close()
            hint = "call it on another thread, as `asyncio.to_thread` does; or use a GoPluginClient"
            raise wrong("a method that is no coroutine function was called in the event loop of its client", hint)
        future = self._begin(coroutine)
        try:
            return self._result(future, coroutine)
        except CancelledError as exc:
            raise self._gone() from exc
        except BaseException:  # Ctrl-C, or what the coroutine raised
            future.cancel()
            raise

    def _result(self, future: Future[T], coroutine: Coroutine[Any, Any, T]) -> T:
        while True:
            try:
                return future.result(self._look)
            except TimeoutError:
                if future.done():  # it may be the coroutine's
                    return future.result()
                self._require_loop(future, coroutine)

    async def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Returns what a coroutine returns that runs in the client's event loop, in any."""
        if asyncio.get_running_loop() is self._loop:
            return await coroutine
        future = self._begin(coroutine)
        waiting = asyncio.wrap_future(future)
        try:
            while not (await asyncio.wait([waiting], timeout=self._look))[0]:
                self._require_loop(future, coroutine)
        except CancelledError as exc:
            raise self._gone() from exc
        except asyncio.CancelledError:
            waiting.cancel()
            raise
        if waiting.cancelled():  # by the loop's end; it is no cancellation of who waits
            raise self._gone()
        return waiting.result()

    def _begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        try:
            if self._thread is not None:
                return self._thread.begin(coroutine)
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except (RuntimeError, CancelledError) as exc:
            coroutine.close()
            raise self._gone() from exc

    def _require_loop(self, future: Future[T], coroutine: Coroutine[Any, Any, T]) -> None:
        """Returns if a coroutine may still come to its end.

        Raises:
            CancelledError: The loop has ended without it; it came when all had been cancelled already.
        """
        if self._loop.is_closed() and not future.done():
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()
            raise CancelledError("the event loop is closed")

    def _gone(self) -> GoPluginError:
        return self._client.failed("program-died", "it does not run any more")


def make(
    contracts: tuple[type, ...], name: str, peer: Peer, value: Callable[[Method, bytes], Any] = value
) -> pluginapi.Plugin:
    """Returns an object of some contracts, each of whose calls goes to a program's plugin.

    Its `init`, `validate` and `shutdown` go there, too: it is what a manager starts and ends as it does any other.

    Args:
        contracts: None of them derives from another.
        name: The plugin's name.
        peer: Who answers.
        value: Returns what a reply has.

    Raises:
        ConfigurationError: There is nothing in protobuf for something of a contract.
    """
    names: dict[str, Any] = {"__slots__": ("_pluginhost_peer",), "__module__": __name__, **_LIFE}
    for contract in contracts:
        file = file_of(contract)
        for called, method in file.methods.items():
            names.setdefault(called, _forward(method, value))
        for called, read in file.reads.items():
            writes = _forward(file.writes[called], value) if called in file.writes else None
            names.setdefault(called, property(_forward(read, value), writes))
    title = f"Remote{'And'.join(contract.__name__ for contract in contracts)}"
    cls = type(contracts[0])(title, contracts, names)
    made: object = object.__new__(cls)  # no `__init__` of a contract has a part in it, and no `__setattr__`
    cls.__dict__["_pluginhost_peer"].__set__(made, peer)
    pluginapi.Plugin.__dict__["name"].__set__(made, name)
    return cast("pluginapi.Plugin", made)


def _init(self: Any, host: Host) -> None:
    self._pluginhost_peer.init(host)


def _validate(self: Any) -> None:
    self._pluginhost_peer.validate()


def _shutdown(self: Any) -> None:
    self._pluginhost_peer.shutdown()


_LIFE: Final = {"init": _init, "validate": _validate, "shutdown": _shutdown}


def _forward(method: Method, value: Callable[[Method, bytes], Any]) -> Callable[..., Any]:
    if method.is_async:
        made = _stream_async(method, value) if method.is_stream else _call_async(method, value)
    else:
        made = _stream(method, value) if method.is_stream else _call(method, value)
    made.__name__ = method.name
    return made


# Arguments and results are encoded where the call is made: the event loop has enough to do.


def _call(method: Method, value: Callable[[Method, bytes], Any]) -> Callable[..., Any]:
    def call(self: Any, /, *args: Any, **named: Any) -> Any:
        return value(method, self._pluginhost_peer.call(method, method.pack_call(args, named)))

    return call


def _call_async(method: Method, value: Callable[[Method, bytes], Any]) -> Callable[..., Any]:
    async def call(self: Any, /, *args: Any, **named: Any) -> Any:
        return value(method, await self._pluginhost_peer.call_async(method, method.pack_call(args, named)))

    return call


def _stream(method: Method, value: Callable[[Method, bytes], Any]) -> Callable[..., Any]:
    def items(peer: Peer, request: bytes) -> Iterator[Any]:
        with contextlib.closing(peer.stream(method, request)) as replies:
            for reply in replies:
                yield value(method, reply)

    def call(self: Any, /, *args: Any, **named: Any) -> Iterator[Any]:
        return items(self._pluginhost_peer, method.pack_call(args, named))

    return call


def _stream_async(method: Method, value: Callable[[Method, bytes], Any]) -> Callable[..., Any]:
    async def call(self: Any, /, *args: Any, **named: Any) -> AsyncIterator[Any]:
        peer: Peer = self._pluginhost_peer
        async with contextlib.aclosing(await peer.stream_async(method, method.pack_call(args, named))) as replies:
            async for reply in replies:
                yield value(method, reply)

    return call


async def _next(replies: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(replies, None)


async def _close(replies: AsyncGenerator[bytes, None]) -> None:
    await replies.aclose()
