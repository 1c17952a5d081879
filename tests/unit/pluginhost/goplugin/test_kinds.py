from __future__ import annotations

import dataclasses
import enum
import http
import io
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ids import named
from pluginhost.errors import ConfigurationError, PluginCallError
from protos import assert_protoc_agrees, contract_of, file_of

if typing.TYPE_CHECKING:
    from pluginhost.goplugin.files import File


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    HIGH = 20
    OFF = 0
    LOW = -10


class Flags(enum.Flag):
    A = 1
    B = 2


@dataclasses.dataclass(frozen=True)
class Circle:
    radius: float


@dataclasses.dataclass
class Square:
    side: int
    name: str = "square"
    tags: list[str] = dataclasses.field(default_factory=lambda: ["new"])
    corner: Circle | None = dataclasses.field(default_factory=lambda: Circle(1.0))
    width: int | None = None
    height: int | None = 3


@dataclasses.dataclass
class Nothing:
    pass


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree] = dataclasses.field(default_factory=list)
    parent: Tree | None = None


class Point(NamedTuple):
    x: int
    y: float = 0.5


class Options(TypedDict):
    level: int
    name: typing.NotRequired[str]
    seen: typing.NotRequired[bool | None]


class Record(msgspec.Struct):
    key: str
    count: int = 7


UserId = NewType("UserId", int)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ints = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False)
moments = st.datetimes(timezones=st.just(UTC)) | st.datetimes(
    datetime(1901, 1, 1), datetime(2901, 1, 1), timezones=st.just(timezone(timedelta(hours=-3, minutes=-30)))
)
paths = texts.map(lambda text: Path("a", text.replace("\0", "")))
circles = st.builds(Circle, floats)
squares = st.builds(
    Square, ints, texts, st.lists(texts, max_size=2), circles | st.none(), ints | st.none(), ints | st.none()
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | floats | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=6,
)

LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (bool, st.booleans()),
    (int, ints),
    (float, floats),
    (str, texts),
    (bytes, st.binary(max_size=50)),
    (bytearray, st.binary(max_size=50).map(bytearray)),
    (complex, st.complex_numbers(allow_nan=False)),
    (Decimal, st.decimals(allow_nan=False)),
    (UUID, st.uuids()),
    (date, st.dates()),
    (time, st.times()),
    (datetime, moments),
    (timedelta, st.timedeltas(timedelta(days=-999_999), timedelta(days=999_999))),
    (Path, paths),
    (PurePosixPath, texts.map(PurePosixPath)),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Flags, st.sampled_from([Flags.A, Flags.B, Flags.A | Flags.B])),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (Literal[1, 3], st.sampled_from([1, 3])),
    (UserId, ints),
    (Annotated[str, msgspec.Meta(max_length=99)], texts),
    (Circle, circles),
    (Square, squares),
    (Nothing, st.just(Nothing())),
    (Tree, st.builds(Tree, ints, st.lists(st.builds(Tree, ints), max_size=3), st.none() | st.builds(Tree, ints))),
    (Point, st.builds(Point, ints, floats)),
    (Options, st.fixed_dictionaries({"level": ints}, optional={"name": texts, "seen": st.booleans() | st.none()})),
    (Record, st.builds(Record, texts, ints)),
    (Any, plain),
]
TYPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    *LEAVES,
    (None, st.none()),
    (list, st.lists(plain, max_size=3)),
    (list[int], st.lists(ints, max_size=5)),
    (list[list[int]], st.lists(st.lists(ints, max_size=3), max_size=3)),
    (list[int | None], st.lists(ints | st.none(), max_size=5)),
    (list[None], st.lists(st.none(), max_size=3)),
    (tuple[int, str], st.tuples(ints, texts)),
    (tuple[int | None, list[str] | None], st.tuples(ints | st.none(), st.lists(texts, max_size=2) | st.none())),
    (tuple[()], st.just(())),
    (tuple[Path, ...], st.lists(paths, max_size=3).map(tuple)),
    (set[str], st.sets(texts, max_size=5)),
    (frozenset[int], st.frozensets(ints, max_size=5)),
    (dict, st.dictionaries(texts, plain, max_size=2).map(dict)),
    (dict[str, list[float]], st.dictionaries(texts, st.lists(floats, max_size=3), max_size=3)),
    (dict[int, str], st.dictionaries(ints, texts, max_size=3)),
    (dict[bool, Circle], st.dictionaries(st.booleans(), circles)),
    (dict[UUID, dict[str, int]], st.dictionaries(st.uuids(), st.dictionaries(texts, ints, max_size=2), max_size=2)),
    (dict[Colour, Level], st.dictionaries(st.sampled_from(Colour), st.sampled_from(Level))),
    (dict[float, str], st.dictionaries(floats, texts, max_size=3)),
    (dict[str, object], st.dictionaries(texts, plain, max_size=3)),
    (dict[str, Circle | None], st.dictionaries(texts, circles | st.none(), max_size=3)),
    (Mapping[str, int], st.dictionaries(texts, ints, max_size=3)),
    (Sequence[str], st.lists(texts, max_size=3)),
    (Collection[str], st.lists(texts, max_size=3)),
    (int | None, ints | st.none()),
    (Colour | None, st.sampled_from(Colour) | st.none()),
    (list[int] | None, st.lists(ints, max_size=2) | st.none()),
    (Literal["a", None], st.sampled_from(["a", None])),
    (str | int | list[str], texts | ints | st.lists(texts, max_size=3)),
    (bool | int | float, st.booleans() | ints | floats),
    (Circle | Square, circles | squares),
    (Circle | Square | None, circles | squares | st.none()),
    (str | date | datetime, texts | st.dates() | moments),
    (list[Circle | Square], st.lists(circles | squares, max_size=3)),
    (frozenset[str | date], st.frozensets(texts | st.dates(), max_size=3)),
    (list[int] | dict[str, Circle | Square], st.lists(ints) | st.dictionaries(texts, circles | squares, max_size=3)),
]


def arrives(file: File, name: str, value: object) -> None:
    method = file.methods[name]
    (argument,), named = method.unpack_call(method.pack_call((value,), {}))
    assert not named
    result = method.unpack_result(method.pack_result(value))
    for back in (argument, result):
        assert back == value
        assert type(back) is type(value) or {int, float} == {type(back), type(value)}  # JSON has one kind of numbers


EVERYTHING = file_of(contract_of(*(kind for kind, _ in TYPES)))


@pytest.mark.parametrize("number", range(len(TYPES)), ids=lambda number: str(TYPES[number][0])[:40])
def test_a_value_of_every_type_arrives_as_it_was(number: int) -> None:
    @settings(max_examples=20, database=None)
    @given(TYPES[number][1])
    def each(value: object) -> None:
        arrives(EVERYTHING, f"echo{number}", value)

    each()


def test_protoc_makes_the_same_of_every_type(tmp_path: Path) -> None:
    assert_protoc_agrees(tmp_path, EVERYTHING)


@dataclasses.dataclass
class StringList:
    """Has the name that a list of texts would have within another."""

    size: int


def test_messages_that_are_named_after_their_fields_are_shared_and_take_no_ones_name(tmp_path: Path) -> None:
    file = file_of(contract_of(list[list[str]], StringList, list[set[str]], list[list[int]], set[tuple[int, ...]]))
    made = [each.name for each in file.descriptor.message_type if not each.name.startswith("Echo")]
    assert made == ["StringList2", "StringList", "Int64List"]
    for number, value in enumerate(([["a"], []], StringList(2), [{"a"}], [[1]], {(1, 2)})):
        arrives(file, f"echo{number}", value)
    assert_protoc_agrees(tmp_path, file)


def containers(inner: st.SearchStrategy[tuple[Any, Any]]) -> st.SearchStrategy[tuple[Any, Any]]:
    def made(parts: list[tuple[Any, Any]]) -> tuple[Any, Any]:
        cls = dataclasses.make_dataclass(f"Made{len(parts)}", [(f"part{n}", kind) for n, (kind, _) in enumerate(parts)])
        return cls, st.builds(cls, *(values for _, values in parts))

    return (
        inner.map(lambda of: (list[of[0]], st.lists(of[1], max_size=2)))  # type: ignore[name-defined]
        | inner.map(lambda of: (dict[str, of[0]], st.dictionaries(texts, of[1], max_size=2)))  # type: ignore[name-defined]
        | inner.map(lambda of: (of[0] | None, of[1] | st.none()))
        | st.tuples(inner, inner).map(lambda of: (tuple[of[0][0], of[1][0]], st.tuples(of[0][1], of[1][1])))  # type: ignore[name-defined]
        | st.lists(inner, max_size=3).map(made)
    )


composed = st.recursive(
    st.sampled_from([each for each in LEAVES if isinstance(each[0], type)]), containers, max_leaves=5
)


@settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.lists(composed, min_size=1, max_size=3))
def test_values_of_generated_contracts_arrive_as_they_were(data: st.DataObject, kinds: list[tuple[Any, Any]]) -> None:
    file = file_of(contract_of(*(kind for kind, _ in kinds)))
    for number, (_, values) in enumerate(kinds):
        arrives(file, f"echo{number}", data.draw(values))


def result_of(kind: Any, value: object) -> Any:
    method = file_of(contract_of(kind)).methods["echo0"]
    return method.unpack_result(method.pack_result(value))


def test_a_whole_number_stands_for_a_float() -> None:
    assert result_of(float, 3) == 3.0
    assert result_of(float | str, 3) == 3.0
    assert type(result_of(float, True)) is float


def test_a_subclass_of_a_plain_type_arrives_as_the_plain_type() -> None:
    class Loud(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise RuntimeError

    assert result_of(str, Loud("a")) == "a"
    assert result_of(str | int, Loud("a")) == "a"
    assert result_of(int, True) == 1


def test_what_is_anything_arrives_as_json_has_it() -> None:
    given = {
        "at": datetime(2024, 1, 2, tzinfo=UTC),
        "circle": Circle(1),
        "colour": Colour.RED,
        "path": Path("a"),
        "n": 2,
    }
    told = {"at": "2024-01-02T00:00:00Z", "circle": {"radius": 1}, "colour": "red", "path": "a", "n": 2}
    assert result_of(Any, given) == told
    assert type(result_of(Any, 2)) is int


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (int, "1", "result: a str where a int belongs"),
        (int, 2**63, "result: ValueError: Value out of range: 9223372036854775808"),
        (float, "1", "result: a str where a float belongs"),
        (str, "\ud800", "UnicodeEncodeError"),
        (str, None, "result: a NoneType where a str belongs"),
        (bytes, "x", "result: a str where a bytes belongs"),
        (date, datetime(2024, 1, 1), "result: a datetime where a date belongs"),
        (datetime, datetime(2024, 1, 1), "result: a datetime without a time zone, which is no moment"),
        (timedelta, timedelta.max, "which are more than a Duration may have"),
        (Any, 2**53 + 1, "larger than JSON's numbers are exact"),
        (Any, b"x", "result: a bytes, which JSON does not have"),
        (Any, {1: 2}, "result: a table with 1 as a key"),
        (Any, object(), "TypeError: a object does not cross"),
        (Literal["a", "b"], "c", "result: 'c' is none of"),
        (Circle, Square(1), "result: a Square where a Circle belongs"),
        (list[Circle], [Circle(1), Circle("wide")], r"result\.1\.radius: a str where a float belongs"),  # type: ignore[arg-type]
        (dict[str, Circle], {"a": Circle("x")}, r"result\.'a'\.radius: a str"),  # type: ignore[arg-type]
        (list[str], "text", "result: a str where a list belongs"),
        (tuple[int, int], (1,), "result: 1 items where 2 belong"),
        (Circle | Square, 1, "result: a int where a Circle or a Square belongs"),
        (None, 1, "a int where a NoneType belongs"),
    ],
    ids=named,
)  # fmt: skip
def test_a_value_of_another_type_is_told_with_its_place(kind: Any, value: object, why: str) -> None:
    method = file_of(contract_of(kind)).methods["echo0"]
    with pytest.raises(PluginCallError, match=why) as raised:
        method.pack_result(value)
    assert raised.value.finding.code == "reply-wrong"
    assert raised.value.method == "echo0"


def test_a_value_that_refers_to_itself_is_told() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(PluginCallError):
        file_of(contract_of(Any)).methods["echo0"].pack_call((endless,), {})


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        (str, b"\x0a\x01\xff", "DecodeError"),
        (str, b"\xff", "DecodeError"),
        (Circle, b"", "result: it is not set"),
        (Colour, b"", "result: the number 0, which no member of Colour has"),
        (UUID, b"", "result: ValueError: badly formed"),
        (Literal["a"], b"", "result: '' is none of"),
        (Circle | Square, b"\x0a\x00", "result: nothing is set of what it may be"),
        (list[Colour], b"\x0a\x02\x01\x09", r"result\.1: the number 9"),
    ],
    ids=named,
)  # fmt: skip
def test_what_is_no_such_message_is_told_with_its_place(kind: Any, data: bytes, why: str) -> None:
    with pytest.raises(PluginCallError, match=why):
        file_of(contract_of(kind)).methods["echo0"].unpack_result(data)


def test_what_go_leaves_out_is_zero_or_the_default() -> None:
    def unpacked(kind: Any, data: bytes) -> Any:
        return file_of(contract_of(kind)).methods["echo0"].unpack_result(data)

    assert unpacked(int, b"") == 0
    assert unpacked(str | None, b"") is None
    assert unpacked(Any, b"") is None
    assert unpacked(Level, b"") is Level.OFF
    assert unpacked(Square, b"\x0a\x00") == Square(0)
    assert unpacked(Record, b"\x0a\x00") == Record("")
    assert unpacked(Point, b"\x0a\x00") == Point(0)
    assert unpacked(Options, b"\x0a\x00") == {"level": 0}


def test_what_is_finer_than_a_microsecond_is_cut() -> None:
    """Go has nanoseconds."""
    file = file_of(contract_of(timedelta, datetime))
    duration, moment = file.methods["echo0"], file.methods["echo1"]
    lasting, at = file.message(duration.reply.name)(), file.message(moment.reply.name)()
    lasting.result.seconds, lasting.result.nanos = -1, -1_999
    at.result.seconds, at.result.nanos = -1, 1_999
    assert duration.unpack_result(lasting.SerializeToString()) == timedelta(seconds=-1, microseconds=-1)
    told = moment.unpack_result(at.SerializeToString())
    assert told == datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC)


@dataclasses.dataclass
class Alike:
    one_two: int
    oneTwo: int  # noqa: N815


@dataclasses.dataclass
class Foreign:
    größe: int


UNMAPPABLE: list[Any] = [
    object(), io.StringIO, Callable[[int], str], list[io.StringIO], type[int], range, list[int] | list[str], Literal["a", 1],
    Path | PurePosixPath, Alike, Foreign, msgspec.Raw, typing.Generic, Circle | Callable[[], int],
]  # fmt: skip


@pytest.mark.parametrize("kind", UNMAPPABLE, ids=named)
def test_what_protobuf_has_nothing_for_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match="Made") as raised:
        file_of(contract_of(kind))
    assert raised.value.finding.code == "contract-uncrossable"


def test_whole_numbers_are_an_enumerations_own() -> None:
    file = file_of(contract_of(Colour, Level, http.HTTPStatus))
    numbers = {each.name: {value.name: value.number for value in each.value} for each in file.descriptor.enum_type}
    assert numbers["Colour"] == {"COLOUR_UNSPECIFIED": 0, "COLOUR_RED": 1, "COLOUR_BLUE": 2}
    assert list(numbers["Level"].items()) == [("LEVEL_OFF", 0), ("LEVEL_HIGH", 20), ("LEVEL_LOW", -10)]
    assert numbers["HTTPStatus"]["HTTP_STATUS_NOT_FOUND"] == 404
