"""This process as a go-plugin host: a program, in whatever language, as a plugin.

```python
async with AsyncGoPluginClient(["./greeter"], HandshakeConfig("GREETER_PLUGIN", "hello")) as client:
    print(await GreeterStub(client.channel).Greet(Name(name="Ada")))
```
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from typing import TYPE_CHECKING, Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pluginhost.errors import escape, wrong
from pluginhost.goplugin import channel as channels
from pluginhost.goplugin.broker import Broker
from pluginhost.goplugin.channel import LOST, Aborted
from pluginhost.goplugin.faults import Faults
from pluginhost.goplugin.listening import listen
from pluginhost.goplugin.logs import Log, logger_of
from pluginhost.goplugin.services import SHUTDOWN, STREAM_STDIO, Empty, StdioData, is_serving
from pluginhost.goplugin.starting import Plan, begin, status_of
from pluginhost.isolation.spawning import Nursery

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Final, Self

    from pluginhost.errors import GoPluginError
    from pluginhost.goplugin.channel import Channel
    from pluginhost.goplugin.handshake import HandshakeConfig
    from pluginhost.goplugin.hosting import Program
    from pluginhost.goplugin.logs import Logger
    from pluginhost.goplugin.starting import Started

END_SECONDS: Final = 2.0
"""What a plugin may take to answer that it shall end, once all came that it had printed, and then to end; as in Go."""
_LAST_OUTPUT: Final = 64 << 20
"""Bytes that may come of it until then; our own plugins keep no more (`stdio.LIMIT`)."""
_STEADY_OUTPUT: Final = 32 << 10
"""Bytes within `END_SECONDS`, read on a busy machine, that tell what it had printed from what it prints on and on."""
_KILL_SECONDS: Final = 5.0
_PING_SECONDS: Final = 5.0
_NAME: Final = 200


class AsyncGoPluginClient:
    """A go-plugin program that runs as a plugin of this process, for the event loop in which it is started.

    It is an asynchronous context manager: the program is started on the way in, and ended on the way out.

    Attributes:
        broker: Connections beside the first; from the start on.
        version: The version of the application's protocol that was agreed upon; from the start on.
    """

    broker: Broker
    version: int

    def __init__(
        self,
        command: Sequence[str],
        handshake: HandshakeConfig,
        *,
        auto_mtls: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        start_timeout: float = 60.0,
        checksum: str | Mapping[str, str] = "",
        max_message: int | None = None,
        stdout: Callable[[bytes], object] | None = None,
        stderr: Callable[[bytes], object] | None = None,
        logger: Logger | None = None,
    ) -> None:
        """Makes a client; nothing is started.

        Args:
            command: The program and its arguments.
            handshake: What was agreed upon with it.
            auto_mtls: Whether both sides make certificates, and trust nobody else. Without it, every process of this
                user can talk to the plugin, and to this one through the broker.
            env: All of its environment, but for what go-plugin adds; this process's when `None`. Variables of
                go-plugin's that are in it are left out.
            cwd: Its working folder; this process's when `None`.
            start_timeout: Seconds until it has to answer.
            checksum: The SHA-256 of the program, in hexadecimal; it is not started when that differs. Where the program
                is an interpreter, give the checksums of files by their paths: its own, and that of what it runs.
            max_message: Bytes of the largest message that is taken; any when `None`.
            stdout: Called, in the loop, with what the plugin prints; the lines are logged when `None`.
            stderr: Called, in the loop, with what it writes to standard error, of which the lines are logged too.
            logger: Its log; `pluginhost.goplugin.` and the program's name when `None`.

        Raises:
            ConfigurationError: One of them is not possible.
        """
        if isinstance(command, str) or not command:
            raise wrong(f"the command {command!r} is no list", "give the program and its arguments, each as a text")
        words = tuple(os.fspath(each) for each in command)
        sums = {words[0]: checksum} if isinstance(checksum, str) else checksum
        self._log = Log(logger or logger_of(words[0]), stdout, stderr)
        self._plan = Plan(
            words,
            handshake,
            auto_mtls,
            env,
            None if cwd is None else os.fspath(cwd),
            start_timeout,
            {path: digest for path, digest in sums.items() if digest},
            max_message,
            self._log.take_out,
            self._log.take_err,
        )
        self._known = Faults(escape(shlex.join(words), limit=_NAME))
        self._nursery = Nursery()
        self._starting: asyncio.Future[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._reading: asyncio.Task[None] | None = None
        self._heard = 0
        self._ending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    @property
    def channel(self) -> Channel:
        """A channel to the plugin, of grpclib's kind.

        Raises:
            GoPluginError: It does not run.
        """
        channel = self._known.channel
        if channel is None or self._ending is not None:
            raise self._known.failed("program-died", f"it does not run{' any more' if self._ending else ''}")
        return channel

    @property
    def pid(self) -> int | None:
        """The id of its process; `None` before the start."""
        return program.pid if (program := self._known.program) else None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, or below 0 the number of the signal that ended it; `None` before its end."""
        return program.code if (program := self._known.program) else None

    async def start(self) -> None:
        """Starts the program, and returns when it serves.

        Raises:
            GoPluginError: It does not come to serve; nothing of it is left then.
            ConfigurationError: It was started before.
        """
        if self._starting is not None or self._ending is not None:
            raise wrong(f"{self._known.name} was started before", "make another client for another process")
        starting = self._starting = asyncio.get_running_loop().create_future()
        try:
            started = await begin(self._plan, self._known, self._nursery)
            if self._ending is not None:
                raise self._known.failed("program-died", "it was ended while it was started")
            self._attend_to(started)
        except BaseException:
            await self._finish(self._end(gently=False))
            raise
        finally:
            starting.set_result(None)

    async def kill(self) -> None:
        """Asks the plugin to end, and ends it if it does not; nothing of it is left then."""
        if self._ending is None:
            await self._finish(self._end(gently=True))
        else:
            await asyncio.shield(self._ending)
        if self._starting is not None:
            await asyncio.shield(self._starting)  # whose process was just being made: it has seen to it

    async def wait(self) -> int | None:
        """Waits for the program's end, whatever the reason, and returns its exit code."""
        if program := self._known.program:
            await asyncio.shield(program.ended)
        return self.exit_code

    async def ping(self, timeout: float = _PING_SECONDS) -> None:
        """Returns if the plugin says that it serves.

        Args:
            timeout: Seconds that it may take.

        Raises:
            GoPluginError: It does not.
        """
        try:
            if await is_serving(self.channel, timeout):
                return
            what = "it says that it does not serve"
        except GRPCError as exc:
            what = f"it does not say whether it serves: {status_of(exc)}"
        except LOST as exc:
            raise await self._known.lost(exc, "it does not say whether it serves", timeout) from exc
        raise self._known.failed("peer-failed", what)

    async def call(
        self,
        method: str,
        request: bytes,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
    ) -> bytes:
        """Returns the reply to one request, without a stub.

        Args:
            method: `/package.Service/Method`.
            request: A message, encoded.
            timeout: Seconds that it may take; for ever when `None`.
            metadata: What goes beside the request.

        Raises:
            GRPCError: The plugin says that the call failed.
            GoPluginError: The plugin is gone, or does not answer in time.
        """
        try:
            return await channels.call(self.channel, method, request, timeout, metadata)
        except GRPCError as exc:
            if timeout is None or exc.status is not Status.DEADLINE_EXCEEDED:
                raise
            raise self._known.late(method, timeout) from exc  # it has looked at the clock first
        except LOST as exc:
            raise await self._known.lost(exc, method, timeout) from exc

    async def stream(
        self,
        method: str,
        requests: bytes | AsyncIterable[bytes],
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
    ) -> AsyncIterator[bytes]:
        """Yields the replies of a method that takes or returns a stream, without a stub; as they come.

        Args:
            method: `/package.Service/Method`.
            requests: One request, or a stream of them, which is gone through beside.
            timeout: Seconds that all of it may take; for ever when `None`.
            metadata: What goes beside the requests.

        Raises:
            GRPCError: The plugin says that the call failed.
            GoPluginError: The plugin is gone, or does not end in time.
        """
        replies = channels.stream(self.channel, method, requests, timeout, metadata)
        try:
            async with contextlib.aclosing(replies):
                async for reply in replies:
                    yield reply
        except Aborted as exc:
            raise exc.error from None
        except GRPCError as exc:
            if timeout is None or exc.status is not Status.DEADLINE_EXCEEDED:
                raise
            raise self._known.late(method, timeout) from exc
        except LOST as exc:
            raise await self._known.lost(exc, method, timeout) from exc

    def failed(self, code: str, what: str, hint: str = "") -> GoPluginError:
        """Returns an error about the program: it has its command, and what it last wrote to standard error.

        Args:
            code: A key of the catalogue.
            what: What is wrong.
            hint: What to do about it; what is to be done about any of that code when empty.
        """
        return self._known.failed(code, what, hint)

    def _attend_to(self, started: Started) -> None:
        program, channel, security, folder, self.version = started
        self.broker = Broker(lambda: listen(folder), security, program.owns_socket)
        self._reading = asyncio.create_task(self._read(channel, program))
        self._tasks += [
            self._reading,
            asyncio.create_task(self.broker.run(channel)),
            asyncio.create_task(self._attend(program, channel, self._reading)),
        ]

    async def _read(self, channel: Channel, program: Program) -> None:
        """Takes what the plugin prints, as long as it runs: one that is not read from stands still."""
        with contextlib.suppress(GRPCError, *LOST):  # it is gone; or older than this service
            async with STREAM_STDIO.open(channel) as stream:
                await stream.send_message(STREAM_STDIO.request(), end=True)
                async for came in stream:
                    self._heard += len(came.data)
                    if came.channel == StdioData.STDERR:
                        program.take_err(came.data)
                    elif came.channel == StdioData.STDOUT:
                        program.take_out(came.data)

    async def _attend(self, program: Program, channel: Channel, reading: asyncio.Task[None]) -> None:
        """Gives back what the plugin took of this process, once it has ended."""
        await asyncio.shield(program.ended)
        await asyncio.wait([reading], timeout=_KILL_SECONDS)  # it has what was sent; a connection ends with its owner
        self._log.end()
        self.broker.close()
        channel.end("the plugin has ended")
        self._nursery.close()

    async def _finish(self, ending: Any) -> None:
        self._ending = asyncio.create_task(ending)
        await asyncio.shield(self._ending)  # who is cancelled meanwhile leaves nothing

    async def _end(self, *, gently: bool) -> None:
        self._known.is_unwanted = True
        program, channel = self._known.program, self._known.channel
        if program is not None:
            if gently and channel is not None and self._tasks and not program.ended.done():
                self.broker.close()
                await self._shut_down(channel)
            if channel is not None:
                channel.end("the plugin was ended")
            if gently:
                await program.has_ended(END_SECONDS)
            program.kill()
            await program.has_ended(_KILL_SECONDS)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_KILL_SECONDS)
        self._nursery.close()

    async def _shut_down(self, channel: Channel) -> None:
        """Asks the plugin to end, and takes what it had printed, as long as some of that comes."""
        asking = asyncio.create_task(_ask_to_end(channel))
        waited = {asking, *([self._reading] if self._reading else [])}
        first = self._heard
        while waited and self._heard - first < _LAST_OUTPUT:
            before = self._heard
            _, waited = await asyncio.wait(waited, timeout=END_SECONDS)
            if self._heard - before < _STEADY_OUTPUT:
                break
        asking.cancel()


async def _ask_to_end(channel: Channel) -> None:
    with contextlib.suppress(GRPCError, *LOST):  # most end at once, and answer nothing
        await SHUTDOWN.call(channel, Empty())
