"""A person's Ctrl-C, which is a real SIGINT here, is told apart from whatever else raises KeyboardInterrupt."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import re
import signal
import subprocess
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest
from pluginhost.interrupts import Interrupted, is_persons, is_raised, led_to, told_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the system sends no signals")


def press() -> None:
    """Has this process get SIGINT, as a terminal's Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


def press_soon() -> None:
    threading.Timer(0.05, press).start()


def caught(call: Callable[[], object]) -> BaseException:
    """Returns what a call raises."""
    try:
        call()
    except BaseException as exc:
        return exc
    raise AssertionError("it raised nothing")


def in_python() -> None:
    press_soon()
    while True:
        len("")


def in_a_loop_without_calls() -> None:
    press_soon()
    number = 0
    while True:
        number += 1


def in_sleep() -> None:
    press_soon()
    time.sleep(30)


def in_a_lock() -> None:
    press_soon()
    threading.Lock().acquire()
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def in_c_code() -> None:
    # From another process, since no thread of this one runs meanwhile.
    with subprocess.Popen(["sh", "-c", f"sleep 0.05; kill -INT {os.getpid()}"]):
        re.match("(a+)+$", "a" * 60 + "b")


def in_a_read() -> None:
    press_soon()
    os.read(os.pipe()[0], 1)


def at_once() -> None:
    press()
    for _ in range(10**9):
        pass


def in_a_generator() -> None:
    press_soon()
    sum(number for number in iter(int, 1))


def in_asyncio() -> None:
    press_soon()
    asyncio.run(asyncio.sleep(30))


def twice_in_asyncio() -> None:
    """The second SIGINT is raised by asyncio's handler, since the loop does not end."""

    async def spin() -> None:
        press()
        press()
        while True:
            len("")

    asyncio.run(spin())


def cleaned_up() -> None:
    try:
        in_sleep()
    finally:
        os.getpid()


def raised_on() -> None:
    try:
        in_sleep()
    except KeyboardInterrupt:
        raise


def raised_on_by_name() -> None:
    try:
        in_sleep()
    except KeyboardInterrupt as exc:
        raise exc


def raised_anew() -> None:
    try:
        in_sleep()
    except KeyboardInterrupt:
        raise KeyboardInterrupt  # noqa: B904


def raised_anew_from_it() -> None:
    try:
        in_sleep()
    except KeyboardInterrupt as exc:
        raise KeyboardInterrupt("cleaned up") from exc


def after_a_failed_cleanup() -> None:
    try:
        try:
            in_sleep()
        finally:
            {}["cleaned up"]
    except KeyError:
        raise KeyboardInterrupt  # noqa: B904


def out_of_told_apart() -> None:
    with told_apart():
        in_sleep()


PERSONS = [
    in_python, in_a_loop_without_calls, in_sleep, in_a_lock, in_c_code, in_a_read, at_once, in_a_generator, in_asyncio,
    twice_in_asyncio, cleaned_up, raised_on, raised_on_by_name, raised_anew, raised_anew_from_it, after_a_failed_cleanup,
    out_of_told_apart,
]  # fmt: skip


def raises() -> None:
    raise KeyboardInterrupt


def raises_its_own() -> None:
    class Own(KeyboardInterrupt):
        pass

    raise Own("no")


def raises_one_made_before(made: BaseException = KeyboardInterrupt()) -> None:  # noqa: B008
    raise made


def raises_in_asyncio() -> None:
    async def work() -> None:
        raises()

    asyncio.run(work())


def raises_in_a_generator() -> None:
    next(raises() for _ in "x")


def raises_through_finally() -> None:
    try:
        raises()
    finally:
        len("")


def raises_in_a_with_block() -> None:
    with contextlib.ExitStack() as stack:
        stack.callback(int)
        raises()


def raises_while_it_handles_another() -> None:
    try:
        {}["no"]
    except KeyError:
        raises()


def raises_from_one_that_nobody_raised() -> None:
    raise KeyboardInterrupt from KeyboardInterrupt()


def raises_in_a_pool() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(raises).result()


def raises_in_told_apart() -> None:
    with told_apart():
        raises()


def raises_in_a_circle() -> None:
    one, other = KeyboardInterrupt(), KeyboardInterrupt()
    one.__context__, other.__context__ = other, one
    raise one


def raises_another() -> None:
    raise ValueError


PLUGINS = [
    raises, raises_its_own, raises_one_made_before, raises_in_asyncio, raises_in_a_generator, raises_through_finally,
    raises_in_a_with_block, raises_while_it_handles_another, raises_from_one_that_nobody_raised, raises_in_a_pool,
    raises_in_told_apart, raises_in_a_circle, raises_another,
]  # fmt: skip


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("call", PERSONS)
def test_a_sigint_is_a_persons(call: Callable[[], None]) -> None:
    exc = caught(call)
    assert type(exc) is KeyboardInterrupt
    assert is_persons(exc)


@pytest.mark.parametrize("call", PLUGINS)
def test_what_code_raises_of_its_own_accord_is_nobodys_but_its_own(call: Callable[[], None]) -> None:
    assert not is_persons(caught(call))


def _deep(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def plain(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def handing_on(number: int, frame: Any) -> None:
    _deep(number, frame)


def pythons_own(number: int, frame: Any) -> None:
    signal.default_int_handler(number, frame)


class Handling:
    def method(self, number: int, frame: object) -> None:
        raise KeyboardInterrupt

    __call__ = method


@pytest.mark.parametrize(
    "handler",
    [
        plain,
        handing_on,
        pythons_own,
        functools.partial(lambda more, number, frame: plain(number, frame), 1),
        functools.partial(functools.partial(Handling().method)),
        Handling().method,
        Handling(),
    ],
)
def test_a_sigint_that_the_applications_handler_raises_is_a_persons(handler: Any) -> None:
    signal.signal(signal.SIGINT, handler)
    for call in (in_python, in_sleep, raised_anew, out_of_told_apart):
        assert is_persons(caught(call))
    assert not is_persons(caught(raises))


def test_a_handler_that_cannot_be_looked_at_does_no_harm() -> None:
    class Evil:
        def __call__(self, *args: object) -> None:
            raise KeyboardInterrupt

        def __getattribute__(self, name: str) -> Any:
            raise SystemExit(3)

        __eq__ = __hash__ = __getattribute__  # type: ignore[assignment]

    signal.signal(signal.SIGINT, Evil())
    assert not is_persons(caught(raises))
    with told_apart():
        assert not is_persons(caught(raises))
    with pytest.raises(SystemExit):  # Python compares what was there
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert not is_persons(caught(raises))


def test_while_they_are_told_apart_only_what_came_of_a_sigint_is_a_persons() -> None:
    with told_apart():
        exc = caught(in_sleep)
        assert type(exc) is Interrupted
        assert is_persons(exc)
        assert is_persons(caught(raised_anew))
        assert not is_persons(caught(raises))
        with told_apart():
            assert type(caught(in_sleep)) is Interrupted
            assert not is_persons(caught(raises))


def test_off_the_main_thread_it_is_never_a_persons() -> None:
    exc = caught(in_sleep)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert not pool.submit(is_persons, exc).result()
    assert is_persons(exc)


def test_what_is_thrown_into_code_is_not_raised_by_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2

    generator = items()
    next(generator)
    assert not is_raised(caught(lambda: generator.throw(GeneratorExit)))  # type: ignore[attr-defined]
    assert is_raised(caught(raises))
    assert is_raised(ValueError())


def test_a_traceback_of_a_plugins_making_does_no_harm() -> None:
    frame: Any = caught(raises).__traceback__.tb_frame  # type: ignore[union-attr]
    for at in (-1, -(10**6), 10**6):
        made = KeyboardInterrupt().with_traceback(TracebackType(None, frame, at, 1))
        assert is_raised(made) in (True, False)


def test_of_a_chain_without_an_end_so_much_is_looked_at_and_no_more() -> None:
    exc = last = KeyboardInterrupt()
    for _ in range(100_000):
        last.__context__ = type(last)()
        last = last.__context__  # type: ignore[assignment]
    assert len(led_to(exc)) == 100
    assert not is_persons(exc)
    while exc.__context__:  # else they would be let go of one within the other
        exc = exc.__context__  # type: ignore[assignment]
