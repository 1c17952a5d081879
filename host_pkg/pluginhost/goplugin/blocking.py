"""The client for those who do not await: the same, in an event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from pluginhost.errors import wrong
from pluginhost.goplugin.client import AsyncGoPluginClient
from pluginhost.goplugin.looping import LoopThread
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self, Unpack

    from pluginhost.errors import ConfigurationError
    from pluginhost.goplugin.broker import Broker
    from pluginhost.goplugin.channel import Channel
    from pluginhost.goplugin.handshake import HandshakeConfig
    from pluginhost.goplugin.logs import Logger

T = TypeVar("T")


class Options(TypedDict, total=False):
    """What may be said of a program; as for `AsyncGoPluginClient`."""

    auto_mtls: bool
    env: Mapping[str, str] | None
    cwd: str | os.PathLike[str] | None
    start_timeout: float
    checksum: str | Mapping[str, str]
    max_message: int | None
    stdout: Callable[[bytes], object] | None
    stderr: Callable[[bytes], object] | None
    logger: Logger | None


class GoPluginClient:
    """A go-plugin program that runs as a plugin of this process, for any of its threads.

    It is a context manager: the program is started on the way in, and ended on the way out.
    """

    def __init__(self, command: Sequence[str], handshake: HandshakeConfig, **options: Unpack[Options]) -> None:
        """Makes a client; nothing is started.

        Args:
            command: As for `AsyncGoPluginClient`, as are the others.
            handshake: What was agreed upon with the program.
            options: As there. What is called, is called on a thread of the client's.

        Raises:
            ConfigurationError: One of them is not possible.
        """
        self._client = AsyncGoPluginClient(command, handshake, **options)
        self._lock = threading.Lock()
        self._has_begun = False
        self._loop: LoopThread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def asynchronous(self) -> AsyncGoPluginClient:
        """The client that it is for those who await; its coroutines are for `run`."""
        return self._client

    @property
    def channel(self) -> Channel:
        """A channel to the plugin; what a stub on it returns is for `run`."""
        return self._client.channel

    @property
    def broker(self) -> Broker:
        """Connections beside the first; its coroutines are for `run`."""
        return self._client.broker

    @property
    def version(self) -> int:
        """The version of the application's protocol that was agreed upon."""
        return self._client.version

    @property
    def pid(self) -> int | None:
        """The id of its process; `None` before the start."""
        return self._client.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit code, or below 0 the number of the signal that ended it; `None` before its end."""
        return self._client.exit_code

    def start(self) -> None:
        """Starts the program, and returns when it serves; raises as `AsyncGoPluginClient.start` does."""
        with self._lock:
            if not self._has_begun:
                self._loop, self._has_begun = LoopThread(), True
        try:
            self.run(self._client.start())
        except BaseException:
            if self._client.pid is None or self._client.exit_code is not None:  # else it was started before
                self.kill()
            raise

    def kill(self) -> None:
        """Asks the plugin to end, and ends it if it does not; nothing of it is left then."""
        self._require_outside()
        loop = self._loop
        if loop is None:
            return
        try:  # under no lock: who waits for its end may be interrupted by a handler that kills, too
            with contextlib.suppress(CancelledError):  # another thread has ended it meanwhile
                loop.run(self._client.kill())
        finally:
            loop.close()
            self._loop = None

    def wait(self) -> int | None:
        """Waits for the program's end, whatever the reason, and returns its exit code."""
        return self.run(self._client.wait()) if self._loop else self.exit_code

    def ping(self, timeout: float = 5.0) -> None:
        """Returns if the plugin says that it serves; raises `GoPluginError` if it does not."""
        self.run(self._client.ping(timeout))

    def call(
        self,
        method: str,
        request: bytes,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
    ) -> bytes:
        """Returns the reply to one request; as `AsyncGoPluginClient.call`."""
        return self.run(self._client.call(method, request, timeout=timeout, metadata=metadata))

    def stream(
        self,
        method: str,
        requests: bytes | Iterable[bytes],
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
    ) -> Iterator[bytes]:
        """Yields replies as they come; as `AsyncGoPluginClient.stream`.

        A stream of requests is gone through on a thread of its own.
        """
        sent = requests if isinstance(requests, bytes) else _awaited(requests)
        replies = self._client.stream(method, sent, timeout=timeout, metadata=metadata)
        try:
            while (reply := self.run(_next(replies))) is not None:
                yield reply
        finally:
            if self._loop is not None:
                self.run(_close(replies))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Returns what a coroutine returns, which runs in the client's event loop; raises what it raises.

        Args:
            coroutine: Such as a stub's call: `client.run(GreeterStub(client.channel).Greet(name))`.

        Raises:
            ConfigurationError: The client has not started, or has ended; or it is called in that loop.
        """
        try:
            self._require_outside()
            loop = self._loop
            if loop is None:
                raise _unusable()
        except BaseException:
            coroutine.close()
            raise
        try:
            return loop.run(coroutine)
        except CancelledError:  # another thread has ended it meanwhile
            raise _unusable() from None

    def _require_outside(self) -> None:
        """Returns if this is not the thread of its event loop, which would wait for itself."""
        loop = self._loop
        if loop is not None and loop.is_here:
            raise wrong("a GoPluginClient was used in its own event loop", "there, await what its channel offers")


def _unusable() -> ConfigurationError:
    return wrong("a GoPluginClient was used that does not run", "use it between `start` and `kill`")


async def _next(replies: AsyncIterator[bytes]) -> bytes | None:
    return await anext(replies, None)


async def _close(replies: Any) -> None:
    await replies.aclose()


async def _awaited(requests: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yields items that a thread takes out of an iterable, one after the other; it may wait for each."""
    loop, taken = asyncio.get_running_loop(), asyncio.Queue[tuple[bytes | None, BaseException | None]]()
    wanted = threading.Semaphore(0)
    is_over = False

    def take() -> None:
        last: tuple[bytes | None, BaseException | None] = (None, None)
        try:
            for request in requests:
                wanted.acquire()
                if is_over:
                    return
                loop.call_soon_threadsafe(taken.put_nowait, (request, None))
        except BaseException as exc:  # the application's; it is raised where the replies are
            last = (None, exc)
        try:
            loop.call_soon_threadsafe(taken.put_nowait, last)
        except RuntimeError:  # the client has ended
            pass

    HostThread(target=take, name="pluginhost: requests to a go-plugin", daemon=True).start()
    try:
        while True:
            wanted.release()
            request, exc = await taken.get()
            if exc is not None:
                raise exc
            if request is None:
                return
            yield request
    finally:
        is_over = True
        wanted.release()
