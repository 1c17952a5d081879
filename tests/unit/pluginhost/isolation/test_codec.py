from __future__ import annotations

import dataclasses
import enum
import functools
import io
import typing
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ids import named
from pluginhost.errors import ConfigurationError, PluginCallError
from pluginhost.isolation.codec import Codec, Method, Values, require_shallow
from pluginhost.isolation.frames import CALLS, DEEPEST, LARGE, META_LIMIT, PACKED, RAW, Frame, Message
from pluginhost.isolation.shapes import Uncrossable, shape_of

from pluginapi import Greeter, Handler, Operation, Plugin, Request, Response, Transformer

if typing.TYPE_CHECKING:
    from logging import Logger

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Flags(enum.Flag):
    A = 1
    B = 2


@dataclasses.dataclass(frozen=True)
class Circle:
    radius: float


@dataclasses.dataclass
class Square:
    side: int
    name: str = ""


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Mail:
    to: list[str]
    when: datetime
    path: Path
    attachment: bytes
    colour: Colour | None = None


class Point(NamedTuple):
    x: int
    y: float


class Options(TypedDict):
    level: int
    name: str


class Record(msgspec.Struct):
    key: str
    count: int


UserId = NewType("UserId", int)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ints = st.integers(-(2**63), 2**64 - 1)
floats = st.floats(allow_nan=False)
dates = st.dates()
moments = st.datetimes(timezones=st.just(UTC)) | st.datetimes()
paths = texts.map(lambda text: Path("a", text.replace("\0", "")))
circles, squares = st.builds(Circle, floats), st.builds(Square, ints, texts)

TYPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (None, st.none()),
    (bool, st.booleans()),
    (int, ints),
    (float, floats | ints),
    (complex, st.complex_numbers(allow_nan=False)),
    (str, texts),
    (bytes, st.binary(max_size=50)),
    (bytearray, st.binary(max_size=50).map(bytearray)),
    (Decimal, st.decimals(allow_nan=False)),
    (UUID, st.uuids()),
    (date, dates),
    (time, st.times()),
    (datetime, moments),
    (timedelta, st.timedeltas(timedelta(days=-9999), timedelta(days=9999))),
    (Path, paths),
    (PurePosixPath, texts.map(PurePosixPath)),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Flags, st.sampled_from([Flags.A, Flags.B, Flags.A | Flags.B])),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (UserId, ints),
    (list[int], st.lists(ints, max_size=5)),
    (tuple[int, str], st.tuples(ints, texts)),
    (tuple[Path, ...], st.lists(paths, max_size=3).map(tuple)),
    (set[str], st.sets(texts, max_size=5)),
    (frozenset[int], st.frozensets(ints, max_size=5)),
    (dict[str, list[float]], st.dictionaries(texts, st.lists(floats, max_size=3), max_size=3)),
    (dict[int, str], st.dictionaries(ints, texts, max_size=3)),
    (Mapping[str, int], st.dictionaries(texts, ints, max_size=3)),
    (Sequence[str], st.lists(texts, max_size=3)),
    (Collection[str], st.lists(texts, max_size=3)),
    (int | None, ints | st.none()),
    (str | int | list[str], texts | ints | st.lists(texts, max_size=3)),
    (Circle, circles),
    (Square, squares),
    (Tree, st.builds(Tree, ints, st.lists(st.builds(Tree, ints), max_size=3))),
    (Point, st.builds(Point, ints, floats)),
    (Options, st.fixed_dictionaries({"level": ints, "name": texts})),
    (Record, st.builds(Record, texts, ints)),
    (
        Mail,
        st.builds(Mail, st.lists(texts, max_size=2), moments, paths, st.binary(max_size=9), st.sampled_from(Colour)),
    ),
    (
        Any,
        st.recursive(st.none() | ints | floats | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)),
    ),
    # What msgspec cannot tell apart goes in boxes.
    (Circle | Square, circles | squares),
    (Circle | Square | None, circles | squares | st.none()),
    (str | date, texts | dates),
    (float | Circle | Square, floats | ints | circles | squares),
    (list[Circle | Square], st.lists(circles | squares, max_size=3)),
    (tuple[str | Path, int], st.tuples(texts | paths, ints)),
    (dict[str, Circle | Square], st.dictionaries(texts, circles | squares, max_size=3)),
    (frozenset[str | date], st.frozensets(texts | dates, max_size=3)),
    (list[int] | dict[str, Circle | Square], st.lists(ints) | st.dictionaries(texts, circles | squares, max_size=3)),
]


def crossed(values: Values, value: object) -> Any:
    message = values.pack(value)
    assert len(message.meta) <= META_LIMIT
    return values.unpack(Frame(CALLS, 1, message.flags, message.meta, message.body))


@pytest.mark.parametrize(("kind", "strategy"), TYPES, ids=lambda each: str(each)[:40])
def test_a_value_of_every_type_arrives_as_it_was(kind: Any, strategy: st.SearchStrategy[Any]) -> None:
    values = Values(kind, "reply-wrong")

    @settings(max_examples=25, database=None)
    @given(strategy)
    def arrives(value: object) -> None:
        back = crossed(values, value)
        assert back == value
        assert type(back) is type(value)

    arrives()


UNCROSSABLE: list[Any] = [
    object(), io.StringIO, Callable[[int], str], list[io.StringIO], type[int], memoryview | io.IOBase, Iterator[int], range,
    Circle | list[int] | tuple[int, ...] | Callable[[], int], list[int] | list[str] | str | date, msgspec.Raw, dict[Circle | Square, int],
]  # fmt: skip


@pytest.mark.parametrize("kind", UNCROSSABLE, ids=named)
def test_a_type_that_does_not_cross_is_refused(kind: Any) -> None:
    with pytest.raises(Uncrossable):
        shape_of(kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(2**64, int), ("\ud800", str), (object(), Any), (1, Circle | Square), ([[]] * 3, tuple[str | date]), (io, str)],
    ids=named,
)
def test_a_value_that_does_not_cross_is_told(value: object, kind: Any) -> None:
    with pytest.raises(PluginCallError) as raised:
        Values(kind, "arguments-wrong").pack(value)
    assert raised.value.finding.code == "arguments-wrong"


def test_a_value_that_refers_to_itself_is_told() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(PluginCallError) as raised:
        Values(Any, "arguments-wrong").pack(endless)
    assert raised.value.finding.code == "arguments-wrong"


def test_a_value_of_another_type_is_told_with_its_place() -> None:
    message = Values(Any, "reply-wrong").pack([{"radius": "wide"}])
    with pytest.raises(PluginCallError, match=r"\$\[0\].radius") as raised:
        Values(list[Circle], "reply-wrong").unpack(Frame(CALLS, 1, 0, message.meta, b""))
    assert raised.value.finding.code == "reply-wrong"


def test_what_is_no_msgpack_is_malformed() -> None:
    for meta in (b"", b"\xc1", b"\x92\x01", b"\x01\x02"):
        with pytest.raises(PluginCallError) as raised:
            Values(int, "reply-wrong").unpack(Frame(CALLS, 1, 0, meta, b""))
        assert raised.value.finding.code in ("frame-malformed", "reply-wrong")


def test_a_subclass_of_a_plain_type_arrives_as_the_plain_type() -> None:
    class Loud(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise RuntimeError

    class Bool(int):
        def __int__(self) -> int:
            raise RuntimeError

    assert crossed(Values(str, "reply-wrong"), Loud("a")) == "a"
    assert crossed(Values(int, "reply-wrong"), Bool(3)) == 3
    assert type(crossed(Values(str, "reply-wrong"), Loud("a"))) is str


LARGE_BYTES = bytes(range(256)) * 256


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (bytes, LARGE_BYTES),
        (Request, Request("1", LARGE_BYTES)),
        (Response, Response(200, LARGE_BYTES)),
        (tuple[int, Request], (1, Request("1", LARGE_BYTES))),
        (tuple[bytes, bytes], (LARGE_BYTES, LARGE_BYTES[:100])),
        (Mail, Mail(["a"], datetime(2020, 1, 1), Path("a"), LARGE_BYTES, Colour.RED)),
    ],
    ids=named,
)
def test_large_bytes_are_the_body(kind: Any, value: object) -> None:
    values = Values(kind, "reply-wrong")
    message = values.pack(value)
    assert (message.flags, message.body) == (RAW, LARGE_BYTES)
    assert LARGE_BYTES[:300] not in message.meta
    assert crossed(values, value) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (str, "x" * LARGE),
        (list[bytes], [LARGE_BYTES]),
        (Request, Request("x" * META_LIMIT, LARGE_BYTES)),
        (tuple[bytes, bytes], (b"", LARGE_BYTES)),
        (tuple[bytes, ...], (LARGE_BYTES, LARGE_BYTES)),
        (bytes | Circle | Square, LARGE_BYTES),
    ],
    ids=lambda each: str(each)[:20],
)
def test_what_else_is_large_is_packed_as_the_body(kind: Any, value: object) -> None:
    values = Values(kind, "reply-wrong")
    assert values.pack(value).flags == PACKED
    assert crossed(values, value) == value


def test_large_bytes_of_another_type_than_annotated_are_not_taken_apart() -> None:
    class Own(Request):
        __slots__ = ()

    for value in (bytearray(LARGE_BYTES), Own("1", LARGE_BYTES), "x" * LARGE):
        assert Values(bytes if value != Own else Request, "reply-wrong").pack(value).flags == PACKED


@pytest.mark.parametrize("flags", [RAW, PACKED, RAW | PACKED])
def test_a_body_where_none_belongs_is_malformed(flags: int) -> None:
    with pytest.raises(PluginCallError) as raised:
        Values(int, "reply-wrong").unpack(Frame(CALLS, 1, flags, b"\x01", b"\x01"))
    assert raised.value.finding.code == "frame-malformed"


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\x01"


def test_lists_and_tables_are_nested_only_so_deep() -> None:
    require_shallow(nested(DEEPEST))
    require_shallow(msgspec.msgpack.encode([[]] * 1000 + [1.5] * 1000))
    for bomb in (nested(DEEPEST + 1), b"\x81\xa1a" * (DEEPEST + 1) + b"\x01", b"\x92\x01" * 100 + b"\x01"):
        with pytest.raises(PluginCallError) as raised:
            require_shallow(bomb)
        assert raised.value.finding.code == "frame-malformed"
    for kind in (Any, list[Any], dict[str, list[object]] | int):
        with pytest.raises(PluginCallError, match="nested deeper than 64"):
            Values(kind, "reply-wrong").unpack(Frame(CALLS, 1, 0, nested(DEEPEST + 1), b""))
    for kind in (Any, list[Any], Tree, dict[str, object], list, Path, complex):
        with pytest.raises(PluginCallError) as raised:
            Values(kind, "reply-wrong").unpack(Frame(CALLS, 1, 0, nested(60_000), b""))
        assert raised.value.finding.code in ("frame-malformed", "reply-wrong")


class Wide(Plugin):
    """Has one of each kind of method and attribute."""

    title: str
    limit = 3
    tags: typing.ClassVar[tuple[str, ...]] = ()

    class Inner:
        """Stands in the contract and is none of its members."""

    @property
    @abstractmethod
    def size(self) -> int: ...

    @property
    def place(self) -> Path:
        return Path()

    @place.setter
    def place(self, value: Path) -> None: ...

    @functools.cached_property
    def slow(self) -> list[str]:
        return []

    @abstractmethod
    def plain(self, a: int, b: str) -> Circle: ...

    @abstractmethod
    def optional(
        self, a: int, b: str = "b", *rest: float, c: Circle | Square, d: Path | None = None, **more: int
    ) -> None: ...

    @abstractmethod
    def nothing(self) -> None: ...

    @abstractmethod
    async def slowly(self, a: int) -> str: ...

    @abstractmethod
    def items(self) -> Iterator[Circle]: ...

    @abstractmethod
    def made(self) -> Generator[int, None, None]: ...

    @abstractmethod
    def flow(self) -> AsyncIterator[str]: ...

    @staticmethod
    def static(a: int) -> int:
        return a

    @classmethod
    def of_class(cls, a: int) -> int:
        return a

    def _own(self, logger):  # type: ignore[no-untyped-def]
        """Is the contract's own business."""


def call(method: Method, *arguments: object, **named: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    message = method.pack_call(arguments, named)
    return method.unpack_call(Frame(method.operation, 1, message.flags, message.meta, message.body))


def test_what_a_contract_has_is_numbered_alike_on_both_sides() -> None:
    codec, again = Codec(Wide), Codec(Wide)
    assert list(codec.operations) == list(range(CALLS, CALLS + len(codec.operations)))
    numbers = {(each.name, number) for number, each in codec.operations.items()}
    assert numbers == {(each.name, number) for number, each in again.operations.items()}
    assert set(codec.methods) == {
        *("plain", "optional", "nothing", "slowly", "items", "made", "flow", "static", "of_class")
    }
    assert set(codec.reads) == {"title", "limit", "tags", "size", "place", "slow"}
    assert set(codec.writes) == {"title", "limit", "tags", "place", "slow"}


def test_arguments_arrive_by_place_and_name_and_defaults_stay_the_other_sides() -> None:
    codec = Codec(Wide)
    plain, optional = codec.methods["plain"], codec.methods["optional"]
    assert call(plain, 1, "b") == call(plain, b="b", a=1) == ((1, "b"), {})
    assert call(codec.methods["nothing"]) == ((), {})
    assert call(codec.methods["static"], 1) == call(codec.methods["of_class"], 1) == ((1,), {})
    assert call(optional, 1, c=Square(2)) == ((1,), {"c": Square(2)})
    given = call(optional, 1, "x", 1.5, 2, c=Circle(1), d=Path("p"), e=5, f=6)
    assert given == ((1, "x", 1.5, 2), {"c": Circle(1), "d": Path("p"), "e": 5, "f": 6})
    assert call(codec.writes["place"], Path("a")) == ((Path("a"),), {})
    assert call(codec.reads["size"]) == ((), {})
    for wrong in (lambda: call(plain, 1), lambda: call(plain, 1, "b", 2), lambda: call(optional, 1)):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(PluginCallError):
        call(plain, "1", "b")


def test_streams_and_coroutines_are_known() -> None:
    methods = Codec(Wide).methods
    assert {name for name, each in methods.items() if each.is_stream} == {"items", "made", "flow"}
    assert {name for name, each in methods.items() if each.is_async} == {"slowly", "flow"}
    assert crossed(methods["items"].result, Circle(2)) == Circle(2)
    assert crossed(methods["slowly"].result, "done") == "done"


def test_the_contracts_of_the_api_cross() -> None:
    codec = Codec(Greeter, Transformer, Operation, Handler)
    assert set(codec.methods) == {"greet", "transform", "execute", "handle"}
    assert set(codec.reads) == {"lang", "symbol"}
    assert call(codec.methods["execute"], 10, 5.5) == ((10, 5.5), {})
    assert type(call(codec.methods["execute"], 10, 5.5)[0][0]) is int


def with_method(function: object) -> type:
    return type("Odd", (Plugin,), {"deed": function, "__module__": "app"})


def untyped(self, a): ...  # type: ignore[no-untyped-def]
def returns_nothing(self: object, a: int): ...  # type: ignore[no-untyped-def]
def takes_function(self: object, a: Callable[[], int]) -> None: ...
def takes_stream(self: object, a: Iterable[int]) -> None: ...
def for_checkers(self: object, a: Logger) -> None: ...
def sends(self: object) -> Generator[int, str, None]: ...
def streams_files(self: object) -> Iterator[io.StringIO]: ...


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (untyped, "its a has no annotation"),
        (returns_nothing, "what it returns has no annotation"),
        (takes_function, "its a is collections.abc.Callable[[], int], which is no plain data"),
        (takes_stream, "its a is collections.abc.Iterable[int], which is"),
        (for_checkers, "'Logger' is not defined"),
        (sends, "only items cross"),
        (streams_files, "what it returns is _io.StringIO, which is no plain data"),
        (property(returns_nothing), "no annotation"),
    ],
    ids=named,
)
def test_a_contract_that_cannot_cross_is_refused_with_method_and_type(function: object, what: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Codec(with_method(function))
    assert raised.value.finding.code == "contract-uncrossable"
    assert raised.value.finding.message.startswith("app.Odd.deed cannot cross")
    assert what in raised.value.finding.message


def test_a_message_is_not_changed() -> None:
    with pytest.raises(AttributeError):
        Message(0, b"", b"").flags = 1  # type: ignore[misc]
