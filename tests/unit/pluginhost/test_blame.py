"""Whose fault it is what a call raises, and what its caller is told."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import pickle
import signal
import sys
import threading
import types
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from pluginhost import Finding, PluginCallError, PluginStopped
from standins import Stage, stub_of

from pluginapi import Plugin, PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator as Unknown

    from elsewhere import Item  # type: ignore[import-not-found]


class Does(Plugin):
    """A contract with a method of each kind; each does what it is given."""

    @abstractmethod
    def do(self, what: Callable[[], Any]) -> Any: ...

    @abstractmethod
    async def ask(self, what: Callable[[], Any]) -> Any: ...

    @abstractmethod
    async def count(self, what: Callable[[], Any]) -> AsyncIterator[int]:
        yield 0

    @abstractmethod
    def items(self, what: Callable[[], Any]) -> Iterator[int]: ...


class Doing(Does):
    def do(self, what: Callable[[], Any]) -> Any:
        return what()

    async def ask(self, what: Callable[[], Any]) -> Any:
        found = what()
        return await found if asyncio.iscoroutine(found) else found

    async def count(self, what: Callable[[], Any]) -> AsyncIterator[int]:
        yield 1
        yield what()

    def items(self, what: Callable[[], Any]) -> Iterator[int]:
        yield 1
        yield what()


async def _listed(items: AsyncIterator[int]) -> list[int]:
    return [item async for item in items]


WAYS: dict[str, Callable[[Any, Callable[[], Any]], object]] = {
    "do": lambda stub, what: stub.do(what),
    "ask": lambda stub, what: asyncio.run(stub.ask(what)),
    "count": lambda stub, what: asyncio.run(_listed(stub.count(what))),
    "items": lambda stub, what: list(stub.items(what)),
}


def raising(exc: BaseException | type[BaseException]) -> Callable[[], None]:
    def what() -> None:
        raise exc

    return what


class Ends(PluginError, SystemExit):
    """What says that it is meant for the caller, and would end the process."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "raised",
    [
        SystemExit(0), KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, BaseException("no"), Ends("no"),
        BaseExceptionGroup("no", [SystemExit(0), KeyboardInterrupt()]), ValueError("no"), MemoryError(),
    ],
    ids=repr,
)  # fmt: skip
def test_what_a_plugin_raises_of_its_own_accord_never_passes(way: str, raised: Any) -> None:
    stub = stub_of(Doing(), Does)
    with pytest.raises(PluginCallError) as caught:
        WAYS[way](stub, raising(raised))
    kind = raised if isinstance(raised, type) else type(raised)
    assert type(caught.value.__cause__) is kind
    assert f"some (zoo-some 1.2): {way} raised {kind.__name__}" in caught.value.finding.message
    assert len(stub._pluginhost_calls.inside) == 0


@pytest.mark.parametrize("way", WAYS)
def test_its_word_to_the_caller_and_anothers_failure_pass(way: str) -> None:
    stub = stub_of(Doing(), Does)
    for error in (PluginError("no"), PluginStopped(Finding("plugin-stopped", "no", "no"))):
        with pytest.raises(type(error)) as caught:
            WAYS[way](stub, raising(error))
        assert caught.value is error


@pytest.mark.skipif(os.name != "posix", reason="the system sends no signals")
@pytest.mark.parametrize("way", WAYS)
def test_a_persons_ctrl_c_passes(way: str) -> None:
    def what() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(10**9):
            pass

    def work() -> object:
        if way not in ("ask", "count"):
            return WAYS[way](stub, what)
        # In a loop that is not `asyncio.run`'s, which would cancel the task instead.
        return loop.run_until_complete(stub.ask(what) if way == "ask" else _listed(stub.count(what)))

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    stub, loop = stub_of(Doing(), Does), asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, before)
        loop.close()
    assert len(stub._pluginhost_calls.inside) == 0


def test_off_the_main_thread_there_is_no_ctrl_c() -> None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            stub_of(Doing(), Does).do(raising(KeyboardInterrupt))
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert type(raised[0]) is PluginCallError


# Cancellation.


def test_a_task_that_is_cancelled_is_so_and_one_whose_plugin_says_so_is_not() -> None:
    async def run() -> None:
        stub = stub_of(Doing(), Does)
        task = asyncio.ensure_future(stub.ask(lambda: asyncio.sleep(30)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stub.ask(lambda: asyncio.sleep(30)), 0.01)
        with pytest.raises(PluginCallError):
            await stub.ask(raising(asyncio.CancelledError))

        async def of_another() -> None:
            other = asyncio.ensure_future(asyncio.sleep(30))
            asyncio.get_running_loop().call_soon(other.cancel)
            await other

        with pytest.raises(PluginCallError, match="ask raised CancelledError"):
            await stub.ask(of_another)
        with pytest.raises(PluginCallError, match="do raised CancelledError"):
            stub.do(raising(asyncio.CancelledError))
        assert len(stub._pluginhost_calls.inside) == 0

    asyncio.run(run())


def test_a_plain_call_in_a_task_that_is_being_cancelled_was_not_cancelled() -> None:
    async def run() -> None:
        stub = stub_of(Doing(), Does)
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        with pytest.raises(PluginCallError, match="do raised CancelledError"):
            stub.do(raising(asyncio.CancelledError))
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)

    asyncio.run(run())


@types.coroutine
def waiting() -> Generator[None, None, None]:
    yield


async def waits() -> None:
    await waiting()


async def waits_and_ends_anew() -> None:
    try:
        await waiting()
    except GeneratorExit:
        raise GeneratorExit  # noqa: B904


async def waits_and_fails() -> None:
    try:
        await waiting()
    finally:
        raise ValueError("no")


def test_a_coroutine_that_is_closed_while_it_waits_ends() -> None:
    stub = stub_of(Doing(), Does)
    for work in (waits, waits_and_ends_anew):
        coroutine = stub.ask(work)
        coroutine.send(None)
        coroutine.close()
    coroutine = stub.ask(waits_and_fails)
    coroutine.send(None)
    with pytest.raises(PluginCallError, match="ask raised ValueError: no"):
        coroutine.close()
    assert len(stub._pluginhost_calls.inside) == 0


# What is told.


def test_the_error_has_plugin_version_method_and_cause_and_survives_pickling() -> None:
    cause = ValueError("no")
    with pytest.raises(PluginCallError) as caught:
        Stage("two").run(Doing(), [Does]).require(Does).do(raising(cause))
    error = caught.value
    assert (error.plugin, error.version, error.method) == ("two", "1.2", "do")
    assert error.__cause__ is cause
    again = pickle.loads(pickle.dumps(error))
    assert (again.plugin, again.version, again.method) == ("two", "1.2", "do")
    assert (str(again), again.finding, again.more) == (str(error), error.finding, ())
    assert str(PluginCallError(error.finding)) == str(error)


def test_the_message_says_where_also_when_the_traceback_ends_in_a_library() -> None:
    with pytest.raises(PluginCallError) as caught:
        stub_of(Doing(), Does, module=__name__).do(lambda: json.loads("{"))
    message = caught.value.finding.message
    assert f", in {json.decoder.__file__}, line " in message
    assert f", called from {__file__}, line " in message


def test_wrong_arguments_are_told_without_a_place() -> None:
    class Fewer(Doing):
        def do(self) -> None:  # type: ignore[override]
            """Takes nothing."""

    with pytest.raises(PluginCallError) as caught:
        stub_of(Fewer(), Does).do(1)
    assert caught.value.finding.message.endswith("takes 1 positional argument but 2 were given")


def _cycle() -> BaseException:
    group = ExceptionGroup("g", [ValueError(number) for number in range(10_000)])
    other = ValueError("other")
    group.__cause__, other.__cause__ = other, group
    return group


class Lying(Exception):
    @property
    def __class__(self) -> Any:
        raise SystemExit(3)

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(3)


@pytest.mark.parametrize(
    "make",
    [
        _cycle,
        lambda: ValueError("\x1b[2J" * 25_000_000),
        Lying,
        lambda: KeyError("\udcff\u202e" * 10_000),
    ],
    ids=["group", "long", "lying", "surrogates"],
)
def test_whatever_is_raised_is_told_within_bounds_and_the_place_is_not_cut_off(
    make: Callable[[], BaseException],
) -> None:
    exc = make()
    with pytest.raises(PluginCallError) as caught:
        stub_of(Doing(), Does, module=__name__).do(raising(exc))
    assert caught.value.__cause__ is exc
    message = caught.value.finding.message
    assert len(str(caught.value).encode()) < 4_096
    assert f", in {__file__}, line " in message
    assert message.isprintable()


def test_a_module_in_the_place_of_asyncio_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncio", types.ModuleType("asyncio"))
    with pytest.raises(PluginCallError):
        stub_of(Doing(), Does).do(raising(ValueError))


# Items one by one.


class Streams(Plugin):
    """A contract whose methods hand out items."""

    @abstractmethod
    def any(self, *what: Any) -> Iterable[int]: ...

    @abstractmethod
    def two_way(self, *what: Any) -> Generator[int, int, str]: ...

    @abstractmethod
    def perhaps(self, *what: Any) -> Iterator[int] | None: ...

    @abstractmethod
    def unknown(self, *what: Any) -> Unknown[Item]: ...

    @abstractmethod
    def quoted(self, *what: Any) -> "Iterator[Item]": ...  # noqa: UP037

    def by_default(self, *what: Any):  # type: ignore[no-untyped-def]
        yield 0

    @abstractmethod
    def plain(self, *what: Any) -> list[int]: ...


STREAMS = ["any", "two_way", "perhaps", "quoted", "by_default"]


class Streaming(Streams):
    def __init__(self) -> None:
        self.closed = 0

    def any(self, found: Any = None, asked: int = 3) -> Any:
        return self.items(asked) if found is None else found

    two_way = perhaps = unknown = quoted = by_default = plain = any  # type: ignore[assignment]

    def items(self, asked: int) -> Generator[int, int, str]:
        try:
            for number in range(asked):
                given = yield number
                if given is not None:
                    yield given
            if asked == 2:
                raise SystemExit(0)
            return "done"
        finally:
            self.closed += 1


@pytest.mark.parametrize("name", STREAMS)
def test_items_are_handed_on_and_the_call_is_inside_until_they_end(name: str) -> None:
    plugin = Streaming()
    stub = stub_of(plugin, Streams)
    method, inside = getattr(stub, name), stub._pluginhost_calls.inside
    items = method()
    assert len(inside) == 1
    assert list(items) == [0, 1, 2]
    assert (len(inside), plugin.closed) == (0, 1)
    items = method()
    assert next(items) == 0
    items.close()
    assert (len(inside), plugin.closed) == (0, 2)


@pytest.mark.parametrize("name", STREAMS)
def test_what_is_raised_while_items_are_asked_for_is_the_plugins_failure(name: str) -> None:
    stub = stub_of(Streaming(), Streams)
    items = getattr(stub, name)(None, 2)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(PluginCallError, match=rf"{name} raised SystemExit") as caught:
        next(items)
    assert caught.value.method == name
    assert len(stub._pluginhost_calls.inside) == 0


@pytest.mark.parametrize("name", STREAMS)
def test_wrong_arguments_fail_at_the_call(name: str) -> None:
    stub = stub_of(Streaming(), Streams)
    with pytest.raises(PluginCallError, match="takes from 1 to 3 positional arguments"):
        getattr(stub, name)(1, 2, 3, 4)
    assert len(stub._pluginhost_calls.inside) == 0


def test_items_that_nobody_asks_for_leave_no_call_inside() -> None:
    stub = stub_of(Streaming(), Streams)
    for _ in range(3):
        stub.any()
    gc.collect()
    assert len(stub._pluginhost_calls.inside) == 0


@pytest.mark.parametrize("found", [[1, 2], (1,), {1}, range(3), None, "text", 7])
def test_what_is_no_iterator_is_handed_on_as_it_is(found: object) -> None:
    stub = stub_of(Streaming(), Streams)
    if found is not None:
        assert stub.any(found) is stub.perhaps(found) is found
    assert len(stub._pluginhost_calls.inside) == 0


def test_what_is_declared_otherwise_is_handed_on_as_it_is() -> None:
    stub, items = stub_of(Streaming(), Streams), iter([1])
    assert stub.plain(items) is items
    assert stub.any(items) is not items


def test_a_generator_takes_what_it_is_sent_and_returns_what_it_returns() -> None:
    stub = stub_of(Streaming(), Streams)

    def consume() -> Generator[int, int, str]:
        return (yield from stub.two_way())

    items = consume()
    assert [next(items), items.send(7), next(items), next(items)] == [0, 7, 1, 2]
    with pytest.raises(StopIteration) as end:
        next(items)
    assert end.value.value == "done"


def test_an_end_waits_for_those_who_take_items() -> None:
    stage = Stage()
    stub: Any = stage.run(Streaming(), [Streams]).require(Streams)
    items = stub.any()
    [finding] = stage.handle.end(2.0)  # half of it for the items, and half for the shutdown
    assert finding.code == "drain-timeout"
    assert list(items) == [0, 1, 2]
    with pytest.raises(PluginStopped):
        stub.any()


def test_a_generator_that_does_not_end_when_it_is_closed_is_at_fault() -> None:
    def stubborn() -> Iterator[int]:
        with contextlib.suppress(GeneratorExit):
            yield 1
        yield 2

    stub = stub_of(Streaming(), Streams)
    items = stub.any(stubborn())
    next(items)
    with pytest.raises(PluginCallError, match="any raised RuntimeError: generator ignored GeneratorExit"):
        items.close()
    assert len(stub._pluginhost_calls.inside) == 0
