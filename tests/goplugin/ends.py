"""Both ends of a connection, for tests, in one event loop; and a plugin of ours as a host starts it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from goplugin.peer_plugin import COOKIE, HANDSHAKE
from pluginhost.goplugin import listening
from pluginhost.goplugin.broker import Security
from pluginhost.goplugin.certificates import Certificate, client_context, server_context
from pluginhost.goplugin.channel import Channel
from pluginhost.goplugin.handshake import Line, environment

PLUGIN = Path(__file__).with_name("peer_plugin.py")
SECONDS = 60
"""A test that waits so long has failed."""


@contextlib.asynccontextmanager
async def connected(*services: Any) -> AsyncIterator[Channel]:
    """Serves something, and yields a channel to it."""
    with tempfile.TemporaryDirectory(prefix="ends-") as folder:
        listener = listening.listen(folder)
        served = listening.Server(listener, services, None)
        await served.begin()
        channel = channel_to(listener.network, listener.address)
        try:
            yield channel
        finally:
            await close(channel)
            served.close()


async def close(channel: Channel) -> None:
    """Closes a channel at once: TLS would wait for the other side to say goodbye, and the loop is about to end."""
    connection = getattr(channel._protocol, "connection", None)
    transport = getattr(connection, "_transport", None)
    channel.close()
    if transport:
        transport.abort()
    await asyncio.sleep(0)


def channel_to(network: Any, address: str, tls: ssl.SSLContext | None = None) -> Channel:
    return Channel(Line(0, network, address), tls)


def securities() -> tuple[Security, Security]:
    """Returns what a host and its plugin have, each with the other's certificate."""
    one, other = Certificate.make(), Certificate.make()
    return (
        Security(server_context(one, other.pem), client_context(one, other.der)),
        Security(server_context(other, one.pem), client_context(other, one.der)),
    )


class Started:
    """A plugin in Python, started as a host starts it; `with` ends it.

    Attributes:
        own: The host's certificate; `None` for connections in the clear.
        folder: Where its sockets are.
        line: What it said.
        process: Its process.
    """

    def __init__(
        self,
        *what: str,
        secure: bool = True,
        versions: tuple[int, ...] = (1, 2),
        command: tuple[str, ...] = (),
        stderr: int = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.own = Certificate.make() if secure else None
        self._undo = contextlib.ExitStack()
        self.folder = Path(self._undo.enter_context(tempfile.TemporaryDirectory(prefix="plugin-")))
        config = type(HANDSHAKE)(*next(iter(COOKIE.items())), protocol_versions=versions)
        variables = environment(config, self.own.pem if self.own else "", socket_folder=str(self.folder))
        self.process = subprocess.Popen(
            [*(command or (sys.executable, str(PLUGIN))), *what], env=variables | dict(env or {}),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True,
        )  # fmt: skip
        self._undo.callback(self._end)
        try:
            text = self.read()
            self.line = Line.parse(text)
        except BaseException:
            self._undo.close()
            raise

    def read(self) -> str:
        """Returns the next line of its standard output, and fails if there is none in time."""
        assert self.process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(SECONDS), "it says nothing"
        return self.process.stdout.readline().decode()

    def tls(self, own: Certificate | None = None) -> ssl.SSLContext | None:
        """Returns what a channel to it needs.

        Args:
            own: Another certificate to show than the one that it was told.
        """
        used = own or self.own
        return client_context(used, self.line.certificate) if used else None

    def channel(self) -> Channel:
        return channel_to(self.line.network, self.line.address, self.tls())

    def wait(self) -> tuple[int, str]:
        """Returns how it ended and what it wrote to standard error."""
        _, stderr = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, (stderr or b"").decode()

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *exc: object) -> None:
        self._undo.close()

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()
