"""Who calls a program's plugin while the event loop ends in which its connection is looked after."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from goplugin.peer_plugin import HANDSHAKE
from pluginhost.errors import GoPluginError
from pluginhost.goplugin import AsyncGoPluginClient, remote
from pluginhost.goplugin.far import Far
from pluginhost.goplugin.looping import LoopThread
from waiting import until


class Caller(threading.Thread):
    """Calls something on a thread of its own, and keeps what it is told."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.call = call
        self.told: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.call()
        except BaseException as exc:
            self.told = exc

    def require_told(self) -> None:
        until(lambda: self.told, "the end of the call")
        assert isinstance(self.told, GoPluginError)
        assert self.told.finding.code == "program-died"
        assert "it does not run any more" in str(self.told)


async def dispensed(thread: LoopThread | None = None) -> remote._Dispensed:
    client = AsyncGoPluginClient(["program"], HANDSHAKE)
    return remote._Dispensed(client, Far(client, "it"), None, thread)


@pytest.mark.parametrize("is_awaited", [True, False], ids=["awaited", "blocking"])
def test_nobody_waits_for_a_loop_that_was_closed_before_it_began(is_awaited: bool) -> None:
    loop = asyncio.new_event_loop()
    plugin = loop.run_until_complete(dispensed())
    before = len(loop._ready)  # type: ignore[attr-defined]
    if is_awaited:
        caller = Caller(lambda: asyncio.run(plugin._wait(plugin._far.validate(None))))
    else:
        caller = Caller(plugin.shutdown)
    until(lambda: len(loop._ready) > before, "the call")  # type: ignore[attr-defined]
    loop.close()
    caller.require_told()


@pytest.mark.parametrize("is_awaited", [True, False], ids=["awaited", "blocking"])
def test_who_waits_when_the_loop_ends_is_told(is_awaited: bool) -> None:
    loop = LoopThread()
    plugin = loop.run(dispensed(loop))
    begun = threading.Event()

    async def last() -> None:
        begun.set()
        await asyncio.Event().wait()

    caller = Caller(lambda: asyncio.run(plugin._wait(last())) if is_awaited else plugin._run(last()))
    until(begun.is_set)
    loop.close()
    caller.require_told()


def test_who_calls_while_a_clients_loop_ends_is_told_at_once() -> None:
    loop = LoopThread()
    plugin = loop.run(dispensed(loop))
    is_ending, may_end = threading.Event(), threading.Event()

    async def hold() -> None:
        try:
            await asyncio.Event().wait()
        finally:  # all that there was has been cancelled
            is_ending.set()
            may_end.wait(60)

    holding = loop.begin(hold())
    loop.run(asyncio.sleep(0))
    closing = Caller(loop.close)
    until(is_ending.is_set)
    caller = Caller(lambda: plugin._run(asyncio.Event().wait()))
    try:
        caller.require_told()
    finally:
        may_end.set()
        closing.join()
    assert holding.cancelled()
