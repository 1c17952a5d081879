"""What a method returns is checked against its contract's annotation, where that is asked for."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import enum
import math
import subprocess
import sys
import types
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Protocol,
    TypedDict,
    TypeVar,
)  # fmt: skip

import msgspec
import pytest
from ids import named
from pluginhost import PluginCallError, hints
from pluginhost.replies import DEEPEST, Check
from standins import Stage

from pluginapi import Plugin, Response

if TYPE_CHECKING:
    from collections.abc import Set as Unknown

    from elsewhere import Item  # type: ignore[import-not-found]

T = TypeVar("T")
B = TypeVar("B", bound=int)


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Body:
    text: str
    size: int = 0
    more: Body | None = None


@dataclasses.dataclass
class Of(Generic[T]):
    part: T


@dataclasses.dataclass
class Hidden:
    known: int
    item: Item


class Point(NamedTuple):
    x: int
    y: str


class Record(msgspec.Struct):
    name: str
    parts: list[int] = []


class Keyed(TypedDict):
    name: str
    size: NotRequired[int]


class Sized(Protocol):
    size: int


class Own:
    """A class that nothing is known of."""


UserId = NewType("UserId", int)


class Texts(list[str]):
    """A list of its own, which says that it is empty."""

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def nested(depth: int, make: Callable[[Any], Any] = lambda inner: [inner]) -> Any:
    found: Any = 1
    for _ in range(depth):
        found = make(found)
    return found


def fault(value: object, hint: Any) -> str:
    """Returns what is told of a value; empty when nothing is."""
    told: list[str] = []

    def refuse(text: str) -> Any:
        told.append(text)
        return LookupError(text)

    try:
        assert Check(hint, refuse).hold(lambda: value)() is value or hasattr(type(value), "__next__")
    except LookupError:
        pass
    return "".join(told)


@pytest.mark.parametrize(
    ("hint", "values"),
    [
        (str, ["", "Ada", "می\u200c", "x" * 10**6]),
        (int, [0, True, 2**64 - 1, -(2**63)]),
        (float, [1.5, 1, math.nan, math.inf]),
        (bytes, [b"", b"\xff"]),
        (None, [None]),
        (type(None), [None]),
        (Any, [None, object(), nested(DEEPEST), {1: {2, 3}}, "x"]),
        (object, [None, object(), nested(DEEPEST)]),
        (int | None, [None, 1]),
        (str | list[int] | list[str], ["", [1], ["x"], []]),
        (list[int], [[], [1, 2]]),
        (list, [[1, "x"]]),
        (Sequence[int], [[1], (1, 2), range(3)]),
        (Iterable[int], [[1], (1, 2), range(3), {1}, {1: "x"}]),
        (Mapping[str, int], [{"x": 1}, collections.OrderedDict(x=1), types.MappingProxyType({})]),
        (collections.Counter[str], [collections.Counter("Ada")]),
        (dict[str, list[Body]], [{"x": [Body("x", 1, Body("y"))]}]),
        (set[int], [set(), {1}]),
        (frozenset[str], [frozenset({"x"})]),
        (collections.deque[int], [collections.deque([1])]),
        (tuple[int, str], [(1, "x")]),
        (tuple[int, ...], [(), (1, 2)]),
        (tuple[()], [()]),
        (tuple, [(1, "x")]),
        (Body, [Body("x")]),
        (Of[int], [Of(1)]),
        (Hidden, [Hidden(1, object())]),
        (Point, [Point(1, "x")]),
        (Record, [Record("x", [1])]),
        (Keyed, [{"name": "x"}, {"name": "x", "size": 1}, {"name": "x", "other": b""}]),
        (Colour, [Colour.RED]),
        (Literal["a", 1, None], ["a", 1, None]),
        (UserId, [UserId(1)]),
        (Annotated[int, "more"], [1]),
        (Annotated[int, msgspec.Meta(ge=1)], [1]),
        (Annotated[Own, msgspec.Meta(description="no")], [Own()]),
        (T, [1, "x"]),
        (B, [1]),
        (Own, [Own()]),
        (Sized, [Own(), Body("x")]),
        (Callable[[int], str], [str, len]),
        (type[int], [int, bool]),
        (Iterator[int], [iter([1])]),
        (datetime.date, [datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1)]),
        (Response, [Response(200, b"")]),
    ],
    ids=lambda hint: named(hint)[:40],
)
def test_what_a_type_checker_accepts_is_not_refused(hint: Any, values: list[object]) -> None:
    assert [fault(value, hint) for value in values] == [""] * len(values)


@pytest.mark.parametrize(
    ("hint", "value", "told"),
    [
        (str, b"x", "$ is a bytes, not a str"),
        (str, 10**5000, "$ is a int, not a str"),
        (str, "x\udcff", "$ is a text with a lone surrogate, which cannot leave the process"),
        (Any, {"x": ["\ud800"]}, "$['x'][0] is a text with a lone surrogate, which cannot leave the process"),
        (int, math.nan, "$ is a float, not a int"),
        (int, 10**5000, "$ is a number of more than 64 bits, which cannot leave the process"),
        (int, -(2**63) - 1, "$ is a number of more than 64 bits, which cannot leave the process"),
        (int, "1", "$ is a str, not a int"),
        (bool, 1, "$ is a int, not a bool"),
        (None, 0, "$ is a int, not a None"),
        (int | None, "x", "$ is a str, not int or None"),
        (list[int] | dict[str, int], [1, "x"], "$[1] is a str, not a int"),
        (list[int], {1}, "$ is a set, not a list[int]"),
        (list[int], (1,), "$ is a tuple, not a list[int]"),
        (list[int], [1, [2]], "$[1] is a list, not a int"),
        (list[str], Texts([7]), "$[0] is a int, not a str"),  # type: ignore[list-item]
        (dict[str, int], {"x": 1, "y": "z"}, "$['y'] is a str, not a int"),
        (dict[str, int], {1: 1}, "$.keys()[0] is a int, not a str"),
        (Mapping[str, int], {"x": None}, "$['x'] is a NoneType, not a int"),
        (Iterable[int], {"x": 1}, "$.keys()[0] is a str, not a int"),
        (set[int], {"x"}, "$[0] is a str, not a int"),
        (tuple[int, str], (1,), "$ is a tuple of 1, not a tuple[int, str]"),
        (tuple[int, str], (1, 2), "$[1] is a int, not a str"),
        (tuple[int, ...], (1, "x"), "$[1] is a str, not a int"),
        (Body, {"text": "x"}, "$ is a dict, not a "),
        (Body, Body(7), "$.text is a int, not a str"),  # type: ignore[arg-type]
        (Body, Body("x", 1, Body("y", "z")), "$.more.size is a str, not a int"),  # type: ignore[arg-type]
        (Body, object.__new__(Body), "$.text is missing"),
        (list[Body], [Body("x"), Body(b"x")], "$[1].text is a bytes, not a str"),  # type: ignore[arg-type]
        (Any, [Body(7)], "$[0].text is a int, not a str"),  # type: ignore[arg-type]
        (Point, Point(1, 2), "$.y is a int, not a str"),  # type: ignore[arg-type]
        (Record, Record("x", ["y"]), "$.parts[0] is a str, not a int"),  # type: ignore[list-item]
        (Keyed, {"size": 1}, "$['name'] is missing"),
        (Keyed, {"name": "x", "size": "y"}, "$['size'] is a str, not a int"),
        (Colour, "red", "$ is a str, not a "),
        (Literal["a", 1], "b", "$ is a str that is none of Literal['a', 1]"),
        (Literal[1], True, "$ is a bool that is none of Literal[1]"),
        (Annotated[int, msgspec.Meta(ge=1)], 0, "$ is not what the contract demands: Expected `int` >= 1"),
        (UserId, "x", "$ is a str, not a int"),
        (B, "x", "$ is a str, not a int"),
        (Own, Body("x"), "$ is a Body, not a "),
        (Any, nested(DEEPEST + 1), f"$…{'[0]' * 64} is nested deeper than 64"),
        (Any, nested(100_000), " is nested deeper than 64"),
        (Any, nested(100_000, lambda inner: {"x" * 100: inner}), " is nested deeper than 64"),
        (Any, nested(100_000, lambda inner: (inner,)), " is nested deeper than 64"),
        (Any, nested(1_000, Of), " is nested deeper than 64"),
    ],
    ids=lambda value: "",
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_path(hint: Any, value: object, told: str) -> None:
    found = fault(value, hint)
    assert found.startswith(told) or found.endswith(told) or (told.startswith("$…") and found.endswith(told[70:]))
    assert 0 < len(found) < 400


def test_what_holds_itself_or_one_thing_many_times_is_looked_at_once() -> None:
    itself: list[Any] = []
    itself.append(itself)
    assert "nested deeper" in fault(itself, Any)
    assert fault(nested(60, lambda inner: [inner, inner]), Any) == ""
    wrong = nested(60, lambda inner: [inner, inner])
    assert fault([wrong, "\ud800"], Any).startswith("$[1] is a text")


class Returns(Plugin):
    """A contract with a method of each kind."""

    @abstractmethod
    def one(self, what: Any) -> list[Body]: ...

    @abstractmethod
    def unsaid(self, what: Any): ...  # type: ignore[no-untyped-def]

    @abstractmethod
    def unknown(self, what: Any) -> Unknown[Item]: ...

    @abstractmethod
    def items(self, what: Any) -> Iterator[int]: ...

    @abstractmethod
    def two_way(self, what: Any) -> Generator[int, int, str]: ...

    @abstractmethod
    async def ask(self, what: Any) -> int: ...

    @abstractmethod
    async def count(self, what: Any) -> AsyncIterator[int]:
        yield 0


class Returning(Returns):
    def one(self, what: Any) -> Any:
        return what

    unsaid = unknown = one  # type: ignore[assignment]

    def items(self, what: Any) -> Iterator[int]:
        yield from what

    def two_way(self, what: Any) -> Any:
        given = yield 1
        yield given
        return "done"

    async def ask(self, what: Any) -> int:
        return what  # type: ignore[no-any-return]

    async def count(self, what: Any) -> AsyncIterator[int]:
        for each in what:
            yield each


@pytest.fixture
def stub() -> Any:
    return Stage(check_replies=True).run(Returning(), [Returns]).require(Returns)


async def _listed(items: AsyncIterator[int]) -> list[int]:
    return [item async for item in items]


def test_a_wrong_reply_names_plugin_method_path_and_type(stub: Any) -> None:
    with pytest.raises(PluginCallError) as caught:
        stub.one([Body("x"), Body(b"x")])
    error = caught.value
    assert (error.finding.code, error.plugin, error.method) == ("reply-wrong", "some", "one")
    assert error.finding.message == "some (zoo-some 1.2): one returned $[1].text is a bytes, not a str"
    assert error.__cause__ is None


def test_a_right_reply_is_the_plugins_own_object(stub: Any) -> None:
    value = [Body("x")]
    assert stub.one(value) is value
    assert asyncio.run(stub.ask(7)) == 7


def test_where_nothing_is_said_nothing_is_checked(stub: Any) -> None:
    deep = nested(100_000)
    assert stub.unsaid(deep) is deep
    assert stub.unsaid("\ud800") == "\ud800"
    assert stub.unknown([1]) == [1]


def test_items_are_checked_one_by_one(stub: Any) -> None:
    items = stub.items([1, 2, "x"])
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(PluginCallError, match=r"items returned \$\[2\] is a str, not a int") as caught:
        next(items)
    assert caught.value.finding.code == "reply-wrong"
    assert asyncio.run(_listed(stub.count([1]))) == [1]
    with pytest.raises(PluginCallError, match=r"count returned \$\[1\] is a str, not a int"):
        asyncio.run(_listed(stub.count([1, "x"])))
    assert len(stub._pluginhost_calls.inside) == 0


def test_a_coroutines_reply_is_checked(stub: Any) -> None:
    with pytest.raises(PluginCallError, match=r"ask returned \$ is a str, not a int"):
        asyncio.run(stub.ask("x"))


def test_a_generator_takes_what_it_is_sent_and_returns_what_it_returns(stub: Any) -> None:
    items = stub.two_way(None)
    assert [next(items), items.send(7)] == [1, 7]
    with pytest.raises(StopIteration) as end:
        next(items)
    assert end.value.value == "done"


def test_nothing_is_checked_unless_it_is_asked_for() -> None:
    stub: Any = Stage().run(Returning(), [Returns]).require(Returns)
    assert stub.one("x") == "x"
    code = "import sys, pluginhost.generations; print({'msgspec', 'pluginhost.replies'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_checked_value_whose_class_raises_is_the_plugins_failure(stub: Any) -> None:
    class Evil(Body):
        def __init__(self) -> None:
            pass

        text = property(lambda self: 1 / 0)  # type: ignore[assignment]

    with pytest.raises(PluginCallError, match="one raised ZeroDivisionError"):
        stub.one([Evil()])


def test_annotations_that_cannot_be_known_say_nothing() -> None:
    def broken() -> Item.of[1]:  # type: ignore[name-defined]
        """Names an attribute of what is not there."""

    assert hints.returned(broken) is hints.UNSAID
    assert hints.returned(None) is hints.UNSAID
    assert not hints.is_stream(broken)
