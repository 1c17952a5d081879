from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import CancelledError

import pytest
from pluginhost.goplugin.looping import LoopThread

SECONDS = 60


async def _answer(value: int) -> int:
    if value < 0:
        raise ValueError(value)
    return value


def test_it_begins_with_the_first_coroutine_and_ends_when_it_is_closed() -> None:
    before = {*threading.enumerate()}  # of which some may end meanwhile, that an earlier test began
    loop = LoopThread()
    assert {*threading.enumerate()} <= before
    assert loop.run(_answer(1)) == 1
    with pytest.raises(ValueError, match="-1"):
        loop.run(_answer(-1))
    assert len({*threading.enumerate()} - before) == 1
    assert not loop.is_here
    loop.close()
    loop.close()
    assert {*threading.enumerate()} <= before


def test_nobody_waits_for_a_loop_that_has_ended() -> None:
    loop = LoopThread()
    waiting = loop.begin(asyncio.sleep(1000))
    loop.close()
    for ask in (lambda: waiting.result(SECONDS), lambda: loop.run(_answer(1)), lambda: loop.begin(_answer(1))):
        with pytest.raises(CancelledError):
            ask()


def test_a_copy_of_the_process_has_none_of_it() -> None:
    loop = LoopThread()
    loop.forked()
    assert loop.is_closed
    with pytest.raises(CancelledError):
        loop.run(_answer(1))


def test_one_that_was_never_used_is_closed() -> None:
    LoopThread().close()


def test_one_that_cannot_be_made_is_told_and_the_next_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> asyncio.AbstractEventLoop:
        raise OSError("no descriptors")

    loop = LoopThread()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", fail)
        with pytest.raises(OSError, match="no descriptors"):
            loop.begin(_answer(1))
    assert loop.run(_answer(1)) == 1
    loop.close()


def test_what_would_end_the_main_thread_ends_no_loop() -> None:
    async def leave() -> None:
        sys.exit(3)

    async def leave_later() -> None:
        asyncio.get_running_loop().call_soon(sys.exit, 3)

    loop = LoopThread()
    with pytest.raises(SystemExit):
        loop.begin(leave()).result(SECONDS)
    assert loop.begin(_answer(1)).result(SECONDS) == 1
    loop.begin(leave_later()).result(SECONDS)
    assert loop.begin(_answer(2)).result(SECONDS) == 2
    loop.close()
