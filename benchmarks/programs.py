"""One round of what a call costs over go-plugin: prints the seconds of each call as JSON, for run.py.

All processes are held to one core, so that what is measured is work, and not how many cores share it. Contestants take
turns. The peers in Go, and what they all serve, are those of tests/goplugin/; where Go is missing, it prints that.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpclib.server
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.config import Configuration
from pluginhost.goplugin import GoPluginClient, dispense
from pluginhost.goplugin.certificates import NAME, Certificate, server_context
from pluginhost.goplugin.handshake import CLIENT_CERTIFICATE, Line
from pluginhost.goplugin.services import SHUTDOWN, Empty, Served, health

from pluginapi import Greeter

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from goplugin.build import build, missing
from goplugin.ends import PLUGIN, Started, close
from goplugin.peer_plugin import COOKIE, GREET, HANDSHAKE
from goplugin.peers import Peers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    # Makes some calls, and returns the seconds of each.
    Take = Callable[[], list[float]]
    # What the tables call it, its version, and its takes.
    Contestant = tuple[str, str, Take]

TAKES, CALLS = 6, 20
PLUGINHOST, GRPCLIB, GRPCIO = version("pluginhost"), version("grpclib"), grpc.__version__
asked = functools.partial(GREET.request, name="Ada")


class Python:
    """A host in Python: a client of ours, and others that share its event loop, which is on a thread of its own."""

    def __init__(self, undo: ExitStack, command: list[str], bare: list[str], *, secure: bool) -> None:
        self.client = undo.enter_context(GoPluginClient(command, HANDSHAKE, auto_mtls=secure))
        self._loop = self.client.run(running())
        # Our client's certificate is known to its plugin alone, so the others have another.
        self._started = undo.enter_context(Started(secure=secure, command=tuple(bare), stderr=subprocess.DEVNULL))
        self.path = self._started.line.address
        self._channel = self.run(self._connect())
        undo.callback(lambda: self.run(close(self._channel)))

    def run(self, coroutine: Any) -> Any:
        """Returns what a coroutine returns, as asyncio alone has it for one who does not await."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def awaited(self, once: Callable[[], Awaitable[Any]]) -> Take:
        """Returns what times calls within the event loop."""
        require_right(self.run(once()))
        return lambda: self.run(seconds_awaited(once))

    def bare(self) -> Any:
        """Calls by grpclib alone, by a stub as it generates them."""
        return UnaryUnaryMethod(self._channel, GREET.path, GREET.request, GREET.reply)(asked())

    def bare_beside(self) -> Any:
        """Likewise, for one who does not await."""
        return self.run(self.bare())

    def stub(self) -> Any:
        """Calls by such a stub on our channel."""
        return UnaryUnaryMethod(self.client.channel, GREET.path, GREET.request, GREET.reply)(asked())

    async def called(self) -> Any:
        """Calls as our client does for one who has no stub."""
        client = self.client.asynchronous
        return GREET.reply.FromString(await client.call(GREET.path, asked().SerializeToString()))

    def called_beside(self) -> Any:
        """Likewise, for one who does not await."""
        return GREET.reply.FromString(self.client.call(GREET.path, asked().SerializeToString()))

    async def _connect(self) -> Channel:
        config = Configuration(ssl_target_name_override=NAME)
        return Channel(path=self.path, ssl=self._started.tls(), config=config)


async def running() -> asyncio.AbstractEventLoop:
    """Returns the event loop that it runs in."""
    return asyncio.get_running_loop()


def with_grpcio(undo: ExitStack, path: str) -> Callable[[], Any]:
    """Returns a function that calls by grpcio."""
    channel = undo.enter_context(grpc.insecure_channel(f"unix:{path}"))
    request, reply = GREET.request.SerializeToString, GREET.reply.FromString
    call = channel.unary_unary(GREET.path, request_serializer=request, response_deserializer=reply)
    return lambda: call(asked())


def with_contract(undo: ExitStack) -> Callable[[], str]:
    """Returns a function that calls an object of a contract, whose plugin our command serves."""
    cookie = [f"--cookie-{name}={text}" for name, text in zip(("key", "value"), *COOKIE.items(), strict=True)]
    command = [sys.executable, "-m", "pluginhost", "serve", "english", *cookie]
    greeter = dispense(undo.enter_context(GoPluginClient(command, HANDSHAKE)), Greeter, "english")
    return lambda: greeter.greet("Ada")


def with_go(undo: ExitStack, host: str, command: list[str], *, secure: bool) -> Take:
    """Returns what has a host in Go call a plugin, and take the time itself."""
    words = ["-level=error", *([] if secure else ["-plain"]), "greet:Ada", f"turns:{CALLS}"]
    process = subprocess.Popen([host, *words, "--", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    undo.callback(process.communicate)  # it ends its plugin when it is asked no more, and is not to be cut short
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None
    started, greeted = json.loads(stdout.readline()), json.loads(stdout.readline())
    require_right(greeted.get("text", started))

    def take() -> list[float]:
        os.write(stdin.fileno(), b"\n")
        return [each / 1e6 for each in json.loads(stdout.readline())["microseconds"]]

    return take


def require_right(answer: Any) -> None:
    """Returns if an answer is that of a plugin that greets."""
    text = getattr(answer, "text", answer)
    assert text.startswith("Hello, Ada!"), text


def timed(once: Callable[[], Any]) -> Take:
    """Returns what times calls that block."""
    require_right(once())
    return functools.partial(seconds, once)


def seconds(once: Callable[[], Any]) -> list[float]:
    """Returns what each call takes."""
    taken = []
    for _ in range(CALLS):
        started = time.perf_counter()
        once()
        taken.append(time.perf_counter() - started)
    return taken


async def seconds_awaited(once: Callable[[], Awaitable[Any]]) -> list[float]:
    """Returns what each call takes, within the event loop."""
    taken = []
    for _ in range(CALLS):
        started = time.perf_counter()
        await once()
        taken.append(time.perf_counter() - started)
    return taken


async def bare_plugin() -> None:
    """Serves a call by grpclib alone, as a plugin that a host can start, and end."""
    own, host, ended = Certificate.make(), os.environ.get(CLIENT_CERTIFICATE), asyncio.Event()

    async def end(stream: grpclib.server.Stream[Any, Any]) -> None:
        await stream.send_message(Empty())
        ended.set()

    server = grpclib.server.Server([Served({GREET: greet, SHUTDOWN: end}), health()])
    path = os.path.join(tempfile.mkdtemp(), "plugin")
    await server.start(path=path, ssl=server_context(own, host) if host else None)
    print(Line(1, "unix", path, own.der if host else b""), flush=True)
    await ended.wait()


async def greet(stream: grpclib.server.Stream[Any, Any]) -> None:
    """Answers as the other plugins do."""
    asked = await stream.recv_message()
    await stream.send_message(GREET.reply(text=f"Hello, {asked.name}!", version=1))


def tables(undo: ExitStack, peers: Peers) -> Iterator[tuple[str, list[Contestant]]]:
    """Yields what a table is called and who takes part; the first is what the others are measured by."""
    in_go, ours, bare = [peers.plugin], [sys.executable, str(PLUGIN)], [sys.executable, __file__, "plugin"]
    for secure, how in ((True, "AutoMTLS"), (False, "in the clear")):
        host = Python(undo, in_go, in_go, secure=secure)
        contestants: list[Contestant] = [
            ("grpclib, a stub", GRPCLIB, host.awaited(host.bare)),
            ("pluginhost, a stub on the client's channel (goal: 1.15)", PLUGINHOST, host.awaited(host.stub)),
            ("pluginhost, AsyncGoPluginClient.call (goal: 1.15)", PLUGINHOST, host.awaited(host.called)),
        ]
        if not secure:
            title = "grpcio, which blocks (it has no P-521, so no AutoMTLS with Go)"
            contestants.append((title, GRPCIO, timed(with_grpcio(undo, host.path))))
        contestants.append((*peers_in_go(), with_go(undo, peers.host, in_go, secure=secure)))
        yield f"a host in Python awaits a plugin in Go, {how}", contestants
        if secure:
            contestants = [
                ("grpclib, in an event loop's thread", GRPCLIB, timed(host.bare_beside)),
                ("pluginhost, GoPluginClient.call (goal: 1.15)", PLUGINHOST, timed(host.called_beside)),
            ]
            yield f"a host in Python calls a plugin in Go, and does not await, {how}", contestants

    host = Python(undo, ours, bare, secure=True)
    contestants = [
        ("grpclib, a stub and a server", GRPCLIB, host.awaited(host.bare)),
        ("pluginhost, AsyncGoPluginClient.call and serve (goal: 1.15)", PLUGINHOST, host.awaited(host.called)),
        ("pluginhost, a contract's method, which blocks (no goal)", PLUGINHOST, timed(with_contract(undo))),
    ]
    yield "a host in Python awaits a plugin in Python, AutoMTLS", contestants

    for secure, how in ((True, "AutoMTLS"), (False, "in the clear")):
        contestants = [
            ("grpclib, a server", GRPCLIB, with_go(undo, peers.host, bare, secure=secure)),
            ("pluginhost, serve (goal: 1.15)", PLUGINHOST, with_go(undo, peers.host, ours, secure=secure)),
        ]
        yield f"a host in Go calls a plugin in Python, {how}", contestants


def peers_in_go() -> tuple[str, str]:
    """Returns what the tables call a host in Go, and its version."""
    go = subprocess.run(["go", "version"], capture_output=True, text=True, check=True).stdout.split()[2]
    title = f"go-plugin, a host in Go ({go}, grpc-go {packaged('golang-google-grpc-dev')})"
    return title, packaged("golang-github-hashicorp-go-plugin-dev")


def packaged(name: str) -> str:
    """Returns the version of what Debian packages."""
    command = ["dpkg-query", "--show", "--showformat=${Version}", name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("-")[0]


def measured() -> Iterator[tuple[str, str, str, float]]:
    """Yields of each contestant its table, name and version, and the seconds of a call."""
    with tempfile.TemporaryDirectory() as sockets, ExitStack() as undo:
        os.environ["TMPDIR"] = sockets
        for table, contestants in list(tables(undo, Peers(build()))):
            for _, _, take in contestants:
                take()
            for turn in range(TAKES):
                # There and back: who always came after the same one would find the caches as that one leaves them.
                for name, number, take in reversed(contestants) if turn % 2 else contestants:
                    yield from ((table, name, number, each) for each in take())


def main() -> None:
    """Prints what each call took, or why none can be made; or is a plugin."""
    if sys.argv[1] == "plugin":
        return asyncio.run(bare_plugin())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    json.dump(missing() or list(measured()), sys.stdout)
    return None


if __name__ == "__main__":
    main()
