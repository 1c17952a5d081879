"""A child that answers over the isolation wire, and the host's side of it, for tests; `python isolated.py …` is it."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pluginhost.isolation import channel, serving
from pluginhost.isolation.codec import Codec
from pluginhost.isolation.pool import Control, Pool
from pluginhost.isolation.system import System, named

from pluginapi import Plugin, Request, Response

if TYPE_CHECKING:
    from typing import Any

    from pluginhost.isolation.awaiting import AsyncPool
    from pluginhost.isolation.codec import Method
    from pluginhost.isolation.frames import Frame, Message
    from pluginhost.isolation.looping import LoopThread

DEATHS = ("start", "entrance", "take", "listen", "answer", "part", "stream")
"""When the child may be told to kill itself: before it has connected, before it takes a channel, before it listens, once
it has a call, within its reply, within a stream."""
PEER = "the child"


class Deeds(Plugin):
    """What the child does."""

    @abstractmethod
    def echo(self, text: str) -> str: ...

    @abstractmethod
    def handle(self, request: Request) -> Response: ...

    @abstractmethod
    def count(self, to: int) -> Iterator[int]: ...

    @abstractmethod
    def sleep(self, seconds: float) -> float: ...

    @abstractmethod
    def fail(self, kind: str) -> None: ...

    @abstractmethod
    def big(self, size: int) -> bytes: ...

    @abstractmethod
    def closed(self) -> int: ...

    @abstractmethod
    async def sleep_well(self, seconds: float) -> float: ...

    @abstractmethod
    async def fail_well(self, kind: str) -> None: ...

    @abstractmethod
    def count_well(self, to: int) -> AsyncIterator[int]: ...

    @abstractmethod
    def told(self) -> list[str]: ...


class Doing(Deeds):
    def __init__(self, death: str) -> None:
        self._death, self._closed = death, 0
        self._told: list[str] = []

    def echo(self, text: str) -> str:
        return text

    def handle(self, request: Request) -> Response:
        return Response(200, request.body)

    def count(self, to: int) -> Iterator[int]:
        try:
            for number in range(to):
                if number == 2:
                    die(self._death, "stream")
                yield number
        finally:
            self._closed += 1

    def sleep(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def fail(self, kind: str) -> None:
        raise {"value": ValueError("a ü"), "exit": SystemExit(3), "hostile": Hostile()}[kind]

    def big(self, size: int) -> bytes:
        return b"x" * size

    def closed(self) -> int:
        return self._closed

    async def sleep_well(self, seconds: float) -> float:
        try:
            self._told.append("asleep")
            await aio().sleep(seconds)
        except aio().CancelledError:
            self._told.append("cancelled")
            raise
        finally:
            self._told.append("awake")
        return seconds

    async def fail_well(self, kind: str) -> None:
        if kind == "stop":
            aio().get_running_loop().stop()
        await aio().sleep(0)
        self.fail(kind)

    async def count_well(self, to: int) -> AsyncIterator[int]:
        try:
            for number in range(to):
                self._told.append(f"made {number}")
                await aio().sleep(0)
                yield number
        finally:
            self._told.append("closed")

    def told(self) -> list[str]:
        told, self._told = self._told, []
        return told


class Hostile(BaseException):
    def __str__(self) -> str:
        raise KeyboardInterrupt


def die(death: str, step: str) -> None:
    if death == step:
        os.kill(os.getpid(), signal.SIGKILL)


def aio() -> Any:
    """Returns the module, which most children here do not need."""
    import asyncio

    return asyncio


def loop_thread() -> LoopThread:
    from pluginhost.isolation.looping import LoopThread

    return LoopThread()


def answer(death: str, codec: Codec) -> serving.Answer:
    doing = Doing(death)
    loop = functools.cache(loop_thread)
    begun = threading.Lock()

    def reply(frame: Frame, of: channel.Channel) -> Message | Iterator[Message]:
        die(death, "answer")
        method = codec.operations[frame.operation]
        arguments, named = method.unpack_call(frame)
        value = getattr(doing, method.name)(*arguments, **named)
        if method.is_async:
            with begun:
                looping = loop()
            value = looping.items(value, of) if method.is_stream else looping.run(value, of)
        return packed(method, value) if method.is_stream else method.result.pack(value)

    return reply


def packed(method: Method, values: Generator[object, None, None]) -> Iterator[Message]:
    with closing(values):
        for value in values:
            yield method.result.pack(value)


def main(name: str, invitation: str, host: str, death: str) -> None:
    die(death, "start")
    system = named(name)
    system.end_with_host(int(host), 0)
    entrance = system.enter(invitation)
    die(death, "entrance")
    take, listen = entrance.take, channel.Channel.listen

    def dying_take(kind: int) -> object:
        die(death, "take")
        return take(kind)

    def dying_listen(self: channel.Channel) -> Frame | None:
        if self._arena or name == "portable":
            die(death, "listen")
        if death == "part":
            line = self._line
            self._send = lambda data: (line.sock.send(data[: len(data) // 2]), die(death, "part"))
        return listen(self)

    entrance.take = dying_take  # type: ignore[method-assign,assignment]
    if death in ("listen", "part"):
        channel.Channel.listen = dying_listen  # type: ignore[method-assign]
    serving.serve(entrance, answer(death, Codec(Deeds)))


def holdings() -> int:
    """Returns how many sockets and pieces of shared memory this process has.

    What else it has open, and what other threads, may be the test run's own, in which other tests run beside.
    """
    number = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that which was listed with is closed
            number += os.readlink(f"/proc/self/fd/{name}").startswith(("socket:", "/memfd:"))
    return number


def threads() -> int:
    """Returns how many threads of the host's this process has."""
    return sum(thread.name.startswith("pluginhost") for thread in threading.enumerate())


@dataclass
class Child:
    process: subprocess.Popen[bytes]
    control: Control
    pool: Pool
    codec: Codec

    @functools.cached_property
    def async_pool(self) -> AsyncPool:
        from pluginhost.isolation.awaiting import AsyncPool  # the child does without it

        return AsyncPool(self.control.ends, PEER, 8)

    async def call_async(self, name: str, *arguments: object, timeout: float | None = 60.0) -> object:
        method = self.codec.methods[name]
        message = method.pack_call(arguments, {})
        return method.result.unpack(await self.async_pool.call(method.operation, message, timeout))

    def call(self, name: str, *arguments: object, timeout: float | None = 60.0) -> object:
        method = self.codec.methods[name]
        return method.result.unpack(self.pool.call(method.operation, method.pack_call(arguments, {}), timeout))


def start(system: System, death: str = "", host: int = 0) -> tuple[subprocess.Popen[bytes], Control]:
    door = system.door()
    command = [sys.executable, __file__, system.name, door.invitation, str(host or os.getpid()), death]
    process = subprocess.Popen(command, pass_fds=door.inherited, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        return process, Control(door, PEER, 60.0 if death != "start" else 0.5)
    except BaseException:
        door.close()
        process.kill()
        process.communicate()
        raise


@contextmanager
def child(system: System, death: str = "", most: int = 8) -> Iterator[Child]:
    """Yields a child that runs; it is ended then, and must have nothing to say on its standard error."""
    process, control = start(system, death)
    pool = Pool(control.open, PEER, most)
    started = Child(process, control, pool, Codec(Deeds))
    try:
        yield started
    finally:
        pool.end("it was ended")
        started.async_pool.end("it was ended")
        control.close()
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert not said, said.decode()


if __name__ == "__main__":
    main(*sys.argv[1:])
