"""How many calls at once a plugin takes: those that wait come in one after the other, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

import pytest
from forking import forks, holds_in_copy
from pluginhost.limits import Limit

if TYPE_CHECKING:
    from collections.abc import Callable


class Meter:
    """What is limited, and how many were inside at once."""

    def __init__(self) -> None:
        self.inside = self.most = self.calls = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def counted(self) -> object:
        with self._lock:
            self.inside += 1
            self.calls += 1
            self.most = max(self.most, self.inside)
        try:
            yield
        finally:
            with self._lock:
                self.inside -= 1


def in_threads(number: int, call: Callable[[], object]) -> None:
    threads = [threading.Thread(target=call, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a call waits for ever"


@pytest.mark.parametrize("limit", [1, 3])
def test_so_many_are_inside_at_once_and_no_more(limit: int) -> None:
    meter, all_in = Meter(), threading.Barrier(limit)

    def work() -> None:
        with meter.counted():
            all_in.wait(60)  # no fewer, either

    in_threads(limit * 4, Limit(limit).hold(work))
    assert (meter.most, meter.calls) == (limit, limit * 4)


def test_tasks_of_several_loops_and_threads_without_one_wait_for_each_other() -> None:
    limit, meter = Limit(1), Meter()

    def plain() -> None:
        with meter.counted():
            pass

    async def work() -> None:
        with meter.counted():
            await asyncio.sleep(0)

    held, held_async = limit.hold(plain), limit.hold_async(work)

    async def many() -> None:
        await asyncio.gather(*(held_async() for _ in range(50)))

    jobs = iter([lambda: asyncio.run(many()), lambda: [held() for _ in range(50)]] * 3)
    in_threads(6, lambda: next(jobs)())
    assert (meter.most, meter.calls) == (1, 300)


def test_those_that_wait_leave_the_loops_threads_to_the_one_inside() -> None:
    """There are few of them: were they to wait there, what the one inside hands to a thread would never begin."""
    limit = Limit(1)

    async def work() -> int:
        return await asyncio.to_thread(lambda: 1)

    held = limit.hold_async(work)

    async def many() -> list[int]:
        return await asyncio.wait_for(asyncio.gather(*(held() for _ in range(100))), 60)

    assert asyncio.run(many()) == [1] * 100


def test_one_that_is_cancelled_while_it_waits_takes_no_place() -> None:
    limit = Limit(1)

    async def run() -> None:
        inside, go_on = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            inside.set()
            await go_on.wait()

        held = limit.hold_async(work)
        first = asyncio.ensure_future(held())
        await inside.wait()
        waiting = [asyncio.ensure_future(held()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        go_on.set()  # the place goes to one that may be cancelled in the same turn of the loop
        await first
        waiting[1].cancel()
        done = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 60)
        assert isinstance(done[0], asyncio.CancelledError)
        assert done[2] is None
        await asyncio.wait_for(held(), 60)

    asyncio.run(run())


def test_a_call_that_comes_back_on_the_way_of_another_is_part_of_it() -> None:
    limit = Limit(1)
    held = limit.hold(lambda depth: held(depth - 1) + 1 if depth else 0)
    assert held(3) == 3

    async def again(depth: int) -> int:
        return await held_async(depth - 1) + 1 if depth else held(0)

    held_async = limit.hold_async(again)
    assert asyncio.run(asyncio.wait_for(held_async(3), 60)) == 3


def test_a_call_that_raises_gives_its_place_back() -> None:
    limit = Limit(1)

    def work() -> None:
        raise ValueError

    async def work_async() -> None:
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011
            limit.hold(work)()
        with pytest.raises(ValueError):  # noqa: PT011
            asyncio.run(limit.hold_async(work_async)())


@forks
@pytest.mark.parametrize("is_inside", [False, True])
def test_a_copy_of_the_process_has_the_places_of_other_threads_free(is_inside: bool) -> None:
    limit, may_end, has_begun = Limit(2), threading.Event(), threading.Event()

    def hold() -> None:
        has_begun.set()
        may_end.wait(60)

    def are_free() -> bool:
        """Returns whether two calls can be in it at once, and no third."""
        places = 2 - is_inside
        return [limit._take() for _ in range(places)] == [None] * places and limit._take() is not None

    def are_free_in_copy() -> bool:
        return holds_in_copy(are_free)

    thread = threading.Thread(target=limit.hold(hold))
    thread.start()
    has_begun.wait(60)
    assert limit.hold(are_free_in_copy)() if is_inside else are_free_in_copy()
    may_end.set()
    thread.join(60)
