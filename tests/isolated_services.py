"""A child whose plugin uses its host, and the host's side of it, for tests."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from pluginhost import identity
from pluginhost.errors import Finding, PluginHostError, PluginNotFound
from pluginhost.events import About, Events
from pluginhost.host import PluginHost, Services
from pluginhost.isolation import remote, serving
from pluginhost.isolation.back import Back
from pluginhost.isolation.codec import Codec
from pluginhost.isolation.far import FarHost
from pluginhost.isolation.frames import EVENT, Frame
from pluginhost.isolation.offered import Offered
from pluginhost.isolation.pool import Control, Pool
from pluginhost.isolation.services import Init
from pluginhost.isolation.system import System, named
from pluginhost.limits import Limit

from pluginapi import Event, Greeter, Plugin, PluginError

if TYPE_CHECKING:
    from pluginhost.isolation.channel import Channel
    from pluginhost.isolation.codec import Method
    from pluginhost.isolation.frames import Message

PEER = "the child"
ABOUT = About("some (zoo-some 1.2)", "some", "zoo-some", "1.2", 3)


class Deeds(Plugin):
    """What the child does; what its host gives it under the name `me`, too."""

    @abstractmethod
    def begin(self, init: bytes) -> None: ...

    @abstractmethod
    def deliver(self, flags: int, meta: bytes, body: bytes) -> None: ...

    @abstractmethod
    def log(self, text: str, level: int) -> None: ...

    @abstractmethod
    def emit(self, topic: str, number: int) -> None: ...

    @abstractmethod
    def subscribe(self, topic: str) -> None: ...

    @abstractmethod
    def seen(self) -> list[tuple[str, str, dict[str, int]]]: ...

    @abstractmethod
    def greet(self, name: str) -> str: ...

    @abstractmethod
    def greet_at_once(self, number: int) -> list[str]: ...

    @abstractmethod
    def refusal(self) -> str: ...

    @abstractmethod
    def error(self, name: str) -> list[str]: ...

    @abstractmethod
    def counted(self, to: int) -> list[int]: ...

    @abstractmethod
    def count(self, to: int) -> Iterator[int]: ...

    @abstractmethod
    def nest(self, name: str, depth: int) -> int: ...


class Doing(Deeds):
    """A child's plugin and its worker."""

    def __init__(self, back: Back) -> None:
        self._back = back
        self._seen: list[Event] = []

    def begin(self, init: bytes) -> None:
        self._host = FarHost(self._back, msgspec.msgpack.decode(init, type=Init))

    def deliver(self, flags: int, meta: bytes, body: bytes) -> None:
        self._host.deliver(Frame(EVENT, 1, flags, meta, body))

    def log(self, text: str, level: int) -> None:
        self._host.logger.getChild("sub").log(level, text)

    def emit(self, topic: str, number: int) -> None:
        self._host.emit(topic, number=number)

    def subscribe(self, topic: str) -> None:
        self._host.subscribe(self._seen.append, topic)

    def seen(self) -> list[tuple[str, str, dict[str, int]]]:
        return [(event.topic, event.source, event.fields) for event in self._seen]  # type: ignore[misc]

    def greet(self, name: str) -> str:
        return self._host.get("english", Greeter).greet(name)

    def greet_at_once(self, number: int) -> list[str]:
        said: list[str] = []
        threads = [threading.Thread(target=lambda: said.append(self.greet("all"))) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return said

    def refusal(self) -> str:
        try:
            return self._host.get("english", Greeter).greet("")
        except PluginError as exc:
            return f"{type(exc).__name__}: {exc}"

    def error(self, name: str) -> list[str]:
        try:
            return [self._host.get(name, Greeter).lang]
        except PluginHostError as exc:
            return [type(exc).__name__, exc.finding.code]

    def counted(self, to: int) -> list[int]:
        return list(self._host.get("me", Deeds).count(to))

    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    def nest(self, name: str, depth: int) -> int:
        return 1 + self._host.get(name, Deeds).nest(name, depth - 1) if depth else 0


class English(Greeter):
    """A plugin of the host's own process, whose greeting of `all` waits until eight others are in it."""

    lang = "English"

    def __init__(self) -> None:
        self._together = threading.Barrier(8, timeout=60)

    def greet(self, name: str) -> str:
        if name == "all":
            self._together.wait()
        if not name:
            raise PluginError("nobody to greet")
        return f"Hello {name}"


def main(name: str, invitation: str, host: str) -> None:
    system = named(name)
    system.end_with_host(int(host), 0)
    back, codec = Back(), Codec(Deeds)
    doing = Doing(back)

    def answer(frame: Frame, channel: Channel) -> Message | Iterator[Message]:
        method = codec.operations[frame.operation]
        arguments, named = method.unpack_call(frame)
        value = getattr(doing, method.name)(*arguments, **named)
        return (method.result.pack(item) for item in value) if method.is_stream else method.result.pack(value)

    serving.serve(system.enter(invitation), answer, back.take)


class _Peer:
    """The child, as the host calls it."""

    is_judged = True
    known = (PluginError,)

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def call(self, method: Method, message: Message) -> Frame:
        return self._pool.call(method.operation, message, 60.0)

    def stream(self, method: Method, message: Message) -> remote.Frames:
        return self._pool.stream(method.operation, message, 60.0)


class _OneAtATime:
    """The child's plugin, which takes one call at a time."""

    def __init__(self, deeds: Any) -> None:
        limit = Limit(1)
        for name in Codec(Deeds).methods:
            setattr(self, name, limit.hold(getattr(deeds, name)))


class Host:
    """A host with one child.

    Attributes:
        host: What the child's plugin has.
        deeds: The child's plugin.
        one: The same, which takes one call at a time.
        process: The child.
        control: Its control channel.
        offered: What the child is offered.
        events: The listeners.
        told: The findings.
        logged: The records of its logger.
    """

    def __init__(self, process: subprocess.Popen[bytes], control: Control, pool: Pool, folder: Path) -> None:
        self.process = process
        self.told: list[Finding] = []
        self.logged: list[logging.LogRecord] = []
        self.events = Events(lambda finding, about: self.told.append(finding))
        services: Any = Services(ABOUT, self._get, None, None, frozenset(), self.events, lambda kind: folder)  # type: ignore[arg-type]
        self.host = PluginHost("wire", "child", {"day": 1}, services)
        self.control = control
        self.deeds: Any = remote.make((Deeds,), Codec(Deeds), _Peer(pool))  # type: ignore[arg-type]
        self._plugins = {"english": English(), "me": self.deeds, "one": _OneAtATime(self.deeds)}
        self.one: Any = self._plugins["one"]
        contracts = identity.import_contracts("pluginapi") | {"Deeds": Deeds}
        self.offered = Offered(self.host, contracts, control.back, self._send, pool.context_of)
        self.offered.begin(10.0)
        self.deeds.begin(msgspec.msgpack.encode(self.offered.init()))

    def _get(self, name: str, contract: Any) -> Any:
        if name not in self._plugins:
            raise PluginNotFound(Finding("plugin-unknown", f"no {name}", "see the list"))
        return self._plugins[name]

    def _send(self, message: Message) -> None:
        self.deeds.deliver(message.flags, message.meta, message.body)


@contextmanager
def running(system: System, folder: Path) -> Iterator[Host]:
    """Yields a host whose child runs; both are ended then, and the child must have nothing to say."""
    door = system.door()
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); import isolated_services; isolated_services.main(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), system.name, door.invitation, str(os.getpid())]
    process = subprocess.Popen(command, pass_fds=door.inherited, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    control = Control(door, PEER, 60.0)
    pool = Pool(control.open, PEER)
    host = Host(process, control, pool, folder)
    handler = logging.Handler()
    handler.emit = host.logged.append  # type: ignore[method-assign]
    host.host.logger.addHandler(handler)
    try:
        yield host
    finally:
        logging.getLogger("wire.child").removeHandler(handler)
        host.host.revoke()
        pool.end("it was ended")
        control.close()
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert not said, said.decode()
