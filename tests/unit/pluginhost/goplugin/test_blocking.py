"""A client for those who do not await, of a program that is none."""

from __future__ import annotations

import asyncio
import threading

from goplugin.peer_plugin import HANDSHAKE
from pluginhost.errors import ConfigurationError
from pluginhost.goplugin import AsyncGoPluginClient, GoPluginClient
from waiting import until


class Program(AsyncGoPluginClient):
    """Is ended by two calls, in the first of which it calls its client's `kill`, as what takes its output may do."""

    def __init__(self, client: GoPluginClient) -> None:
        super().__init__(["program"], HANDSHAKE)
        self.client = client
        self.calls = 0
        self.told: ConfigurationError | None = None

    async def start(self) -> None:
        pass

    async def kill(self) -> None:
        self.calls += 1
        try:
            self.client.kill()
        except ConfigurationError as exc:
            self.told = exc
        while self.calls < 2:
            await asyncio.sleep(0.001)


def test_any_number_of_threads_may_end_it_and_its_own_is_told_that_it_may_not() -> None:
    client = GoPluginClient(["program"], HANDSHAKE)
    client._client = program = Program(client)
    client.start()
    threads = [threading.Thread(target=client.kill, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: not any(thread.is_alive() for thread in threads), "the end")
    assert "in its own event loop" in str(program.told)
    client.kill()
    assert program.calls == 2
