"""A program that runs a plugin of a manager, as it is looked after: its start, its life and calls, and its end.

It is a child as `isolation.supervision` has them, whose wire is gRPC.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeVar

from grpclib.exceptions import GRPCError

from pluginhost.child import status
from pluginhost.errors import GoPluginError, PluginCallError, RemoteFailure
from pluginhost.goplugin.client import AsyncGoPluginClient
from pluginhost.goplugin.far import Far
from pluginhost.isolation.channel import lost
from pluginhost.isolation.children import Pulse
from pluginhost.isolation.frames import error
from pluginhost.isolation.mortal import END_SECONDS, Mortal
from pluginhost.isolation.spawning import Nursery, passed_on
from pluginhost.settings import DAY
from pluginhost.watched import HostThread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Generator, Sequence
    from concurrent.futures import Future
    from typing import Final

    from pluginhost.goplugin.files import Method
    from pluginhost.goplugin.handshake import HandshakeConfig
    from pluginhost.goplugin.logs import Logger
    from pluginhost.goplugin.looping import LoopThread
    from pluginhost.goplugin.proto import Description
    from pluginhost.host import PluginHost
    from pluginhost.isolation.frames import Message

T = TypeVar("T")

_LOOK_SECONDS: Final = 1.0
"""What a program may take to say that it serves, when a call of it was not answered."""


class ProgramChild(Mortal):
    """A process that runs a program; other than that as `supervision.Child` has it."""

    def __init__(
        self,
        command: Sequence[str],
        handshake: HandshakeConfig,
        name: str,
        peer: str,
        *,
        loop: LoopThread,
        log: Logger,
        born: Callable[[int], object],
        start_timeout: float,
    ) -> None:
        """Makes it; `start` starts it.

        Args:
            command: The program and its arguments.
            handshake: What was agreed upon with it.
            name: The plugin's name.
            peer: What it is called in errors.
            loop: Where its connection is looked after.
            log: What takes the lines that it writes.
            born: Called with its process id, before it says anything.
            start_timeout: Seconds until it has to serve, and to say what.

        Raises:
            ConfigurationError: One of them is not possible.
        """
        super().__init__(peer)
        self._loop = loop
        self._client = _Client(command, handshake, log, born, start_timeout)
        self._far = Far(self._client, name)
        self._seconds = start_timeout
        self._starting: Future[Description] | None = None
        self._began = time.monotonic()

    @property
    def pid(self) -> int:
        """Its process id; 0 before the start."""
        return self._client.pid or 0

    def start(self, contracts: Collection[type]) -> Description:
        """Starts the program, and returns what it says of itself.

        Args:
            contracts: The host's contracts that it must serve.

        Raises:
            GoPluginError: It does not come to serve, or serves others; it has ended then, or is to be.
        """
        try:
            with self._lock:
                if self._killed:
                    raise CancelledError
                self._starting = starting = self._loop.begin(self._begin(contracts))
            try:
                return starting.result()
            finally:
                starting.cancel()  # Ctrl-C
        except CancelledError as exc:
            what = f"its start was given up, since {self._killed or 'its host ends'}"
            raise self._client.failed("program-died", what) from exc
        finally:
            if self._client.pid is None:
                self._end("it was not started")

    async def _begin(self, contracts: Collection[type]) -> Description:
        try:
            await self._client.start()
        finally:
            if self._client.pid is not None:
                self._attending = asyncio.create_task(self._attend())
        description = await self._far.describe(self._seconds)
        self._far.require(contracts, description)
        return description

    def init(self, host: PluginHost, seconds: float) -> None:
        """Calls the plugin's `init`, with its configuration and what the application offers."""
        self._ask(self._far.init(host.name, host.config, host.capabilities, seconds), seconds)

    def validate(self, seconds: float) -> None:
        """Calls the plugin's `validate`."""
        self._ask(self._far.validate(seconds), seconds)

    def shutdown(self, seconds: float) -> None:
        """Calls the plugin's `shutdown`."""
        self._ask(self._far.shutdown(seconds), seconds)

    def call(self, method: Method, request: bytes, timeout: float | None) -> bytes:
        """Returns the reply to a call."""
        return self._run(self._answered(self._far.call(method, request, timeout), timeout))

    async def call_async(self, method: Method, request: bytes, timeout: float | None) -> bytes:
        """Returns the reply to a call, awaited, in any event loop."""
        return await self._wait(self._answered(self._far.call(method, request, timeout), timeout))

    def stream(
        self, method: Method, request: bytes, timeout: float | None, failed: Callable[[PluginCallError], Exception]
    ) -> Generator[bytes, None, None]:
        """Returns the reply to a call that is a stream, which begins with its first item."""
        replies = self._far.stream(method, request, None)
        try:
            while (reply := self._run(self._answered(_next(replies, timeout), timeout))) is not None:
                yield reply
        except PluginCallError as exc:
            raise failed(exc) from exc
        finally:
            self._leave(replies)

    async def stream_async(
        self,
        method: Method,
        request: bytes,
        timeout: float | None,
        failed: Callable[[PluginCallError], Awaitable[Exception]],
    ) -> AsyncGenerator[bytes, None]:
        """Returns the reply to a call that is a stream; likewise, awaited."""
        return self._items(self._far.stream(method, request, None), timeout, failed)

    async def _items(
        self,
        replies: AsyncGenerator[bytes, None],
        timeout: float | None,
        failed: Callable[[PluginCallError], Awaitable[Exception]],
    ) -> AsyncGenerator[bytes, None]:
        try:
            while (reply := await self._wait(self._answered(_next(replies, timeout), timeout))) is not None:
                yield reply
        except PluginCallError as exc:
            raise await failed(exc) from exc
        finally:
            self._leave(replies)

    def is_callers_doing(self, message: bytes, exc: PluginCallError) -> bool:
        """Returns that it is not: there is no bound to what a request has."""
        return False

    def pulse(self, flag: Callable[[float], None]) -> Pulse:
        """Returns what sees whether it gives signs of life: it says that it serves."""
        return Pulse(self, _Health(self), flag)

    def kill(self, why: str) -> None:
        """Ends it and its group at once."""
        with self._lock:
            self._killed = self._killed or why
            starting = self._starting
        if starting is not None and not starting.done():
            starting.cancel()
        self._client.kill_at_once()

    def end(self) -> None:
        """Asks it to end, waits, and kills what is left of it and its group."""
        with self._lock:
            self._killed = self._killed or "it was told to end"
            has_begun = self._starting is not None
        if not has_begun:
            return
        try:
            self._loop.run(self._client.kill())
        except CancelledError:  # the loop has ended
            self._client.kill_at_once()
        self.ended.wait(END_SECONDS)

    def ask_health(self) -> Future[None]:
        """Returns what there will be of the question whether it serves."""
        return self._loop.begin(self._client.ping(DAY))

    async def _attend(self) -> None:
        """Waits for its end, and tells everybody."""
        await self._client.wait()
        uptime = time.monotonic() - self._began
        code = self._client.exit_code
        how = (
            f"it was killed, since {self._killed}," if self._killed and code == -9 else f"it ended with {status(code)}"
        )
        reason = self._client.failed("program-died", f"{how} after {uptime:.1f} s").finding.message
        self._end(reason)
        await self._client.kill()  # which gives back what is left

    def _end(self, reason: str) -> None:
        self.reason = reason
        self._on_loss()
        with self._lock:
            self.ended.set()
            act = self._on_end
        HostThread(target=act, name=f"pluginhost: after {self.peer}", daemon=True).start()

    def _ask(self, coroutine: Coroutine[Any, Any, None], seconds: float) -> None:
        """Has a method of its life called.

        Raises:
            RemoteFailure: It did not return.
        """
        try:
            self._run(self._answered(coroutine, seconds))
        except PluginCallError as exc:
            found = self.told(exc).finding
            rest = f" within {seconds:g} s" if found.code == "call-timeout" else f": {found.message}"
            raise RemoteFailure(found.code, f"did not return{rest}") from exc

    async def _answered(self, coroutine: Coroutine[Any, Any, T], timeout: float | None) -> T:
        """Returns what a call returns; in the loop.

        Raises:
            PluginCallError: There is no answer, as a child's caller is told of that.
            RemoteFailure: This call failed alone.
        """
        try:
            return await coroutine
        except TimeoutError as exc:
            raise self._late(timeout) from exc
        except GoPluginError as exc:
            if isinstance(exc.__cause__, TimeoutError | GRPCError):
                raise self._late(timeout) from exc
            if exc.finding.code == "program-died" or not await self._serves():
                raise lost(self.peer, exc.finding.message) from exc
            raise RemoteFailure("call-failed", f"was not answered: {exc.finding.message}") from exc

    async def _serves(self) -> bool:
        try:
            await self._client.ping(_LOOK_SECONDS)
        except GoPluginError as exc:
            return isinstance(exc.__cause__, GRPCError)  # it answers, whatever else it lacks
        return True

    def _late(self, timeout: float | None) -> PluginCallError:
        return error("call-timeout", f"{self.peer} did not answer within {timeout or 0:g} s", "")

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return self._loop.run(coroutine)
        except CancelledError as exc:
            raise lost(self.peer, "its host ends") from exc

    async def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            future = self._loop.begin(coroutine)
        except CancelledError as exc:
            raise lost(self.peer, "its host ends") from exc
        return await asyncio.wrap_future(future)

    def _leave(self, replies: AsyncGenerator[bytes, None]) -> None:
        """Has a stream ended that may be left before its end, without waiting for that."""
        with contextlib.suppress(CancelledError):  # the loop has ended, and the stream with it
            self._loop.begin(_close(replies))


class _Client(AsyncGoPluginClient):
    """A program that can be ended at once, from any thread."""

    def __init__(
        self,
        command: Sequence[str],
        handshake: HandshakeConfig,
        log: Logger,
        born: Callable[[int], object],
        start_timeout: float,
    ) -> None:
        super().__init__(command, handshake, env=passed_on(), logger=log, start_timeout=start_timeout)
        self._nursery = Nursery(born)

    def kill_at_once(self) -> None:
        if program := self._known.program:
            program.kill()


class _Health:
    """Over what a program is asked for signs of life."""

    def __init__(self, child: ProgramChild) -> None:
        self.is_open = True
        self._child = child
        self._asked: Future[None] | None = None

    def tell(self, operation: int, message: Message, timeout: float | None = None) -> None:
        try:
            self._asked = self._child.ask_health()
        except CancelledError as exc:
            raise lost(self._child.peer, "its host ends") from exc

    def has_answered(self, operation: int) -> bool:
        asked = self._asked
        if asked is None or not asked.done():
            return False
        try:
            asked.result()
        except GoPluginError as exc:
            if isinstance(exc.__cause__, GRPCError):  # it answers, whatever else it lacks
                return True
            self.is_open = exc.__cause__ is None and exc.finding.code != "program-died"  # it says that it does not
            raise error("call-failed" if self.is_open else "channel-lost", exc.finding.message, "") from exc
        except CancelledError:
            return False
        return True

    def close(self) -> None:
        if self._asked is not None:
            self._asked.cancel()


async def _next(replies: AsyncGenerator[bytes, None], timeout: float | None) -> bytes | None:
    async with asyncio.timeout(timeout):
        return await anext(replies, None)


async def _close(replies: AsyncGenerator[bytes, None]) -> None:
    await replies.aclose()
