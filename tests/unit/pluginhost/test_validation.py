from __future__ import annotations

import datetime
import enum
import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NewType, NotRequired, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pluginhost import ConfigurationError
from pluginhost.settings import Range
from pluginhost.validation import faults, joined, require, schema, shown

Text = NewType("Text", str)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Retry(msgspec.Struct):
    times: int
    pauses: list[float] = []


class Server(TypedDict):
    host: str
    port: NotRequired[Annotated[int, Range(1, 65_536)]]


@dataclass
class Bounds:
    low: int
    high: int = 3

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is more than high")


@dataclass
class Config:
    url: str
    retries: list[Retry] = field(default_factory=list)
    servers: dict[str, Server] = field(default_factory=dict)
    mode: Literal["fast", "safe"] = "fast"
    colour: Colour = Colour.RED
    size: int | str = 3
    pair: tuple[int, str] = (1, "a")
    tags: frozenset[str] = frozenset()
    until: datetime.date | None = None
    bounds: Bounds | None = None
    title: Text = Text("")
    short: Annotated[list[int], msgspec.Meta(max_length=2)] = field(default_factory=list)
    seconds: Annotated[float, Range(0, 10)] = 1.0
    extra: object = None


RIGHT: dict[str, Any] = {
    "url": "http://example",
    "retries": [{"times": 1}, {"times": 2, "pauses": [0.5, 1]}],
    "servers": {"odd name": {"host": "a", "port": 80}, "plain": {"host": "b"}},
    "mode": "safe",
    "colour": "blue",
    "size": "big",
    "pair": [1, "b"],
    "tags": ["x", "y"],
    "until": datetime.date(2030, 1, 1),
    "bounds": {"low": 1},
    "title": "T",
    "short": [1, 2],
    "seconds": 3,
    "extra": {"any": [math.nan]},
}


def test_what_is_right_has_no_fault_and_becomes_its_type() -> None:
    assert list(faults(RIGHT, Config)) == []
    made = require(RIGHT, Config, "plugins.a.config")
    assert made.retries[1] == Retry(2, [0.5, 1.0])
    assert (made.colour, made.pair, made.tags) == (Colour.BLUE, (1, "b"), {"x", "y"})


@pytest.mark.parametrize(
    ("change", "path", "what", "hint"),
    [
        ({"url": 3}, "url", "is 3", "write a text"),
        ({"url": True}, "url", "is true", "write a text"),
        ({"retris": 3}, "retris", "is not a setting", "did you mean retries?"),
        ({"nonsense": 3}, "nonsense", "is not a setting", "there are: url, retries"),
        ({"retries": 3}, "retries", "is 3", "write a list"),
        ({"retries": "x"}, "retries", "is 'x'", 'write a list: ["x"]'),
        ({"retries": [{"times": 1}, {"times": True}]}, "retries[1].times", "is true", "write a whole number"),
        ({"retries": [{"times": 10.0}]}, "retries[0].times", "is 10.0", "write a whole number"),
        ({"retries": [{}]}, "retries[0].times", "is missing", "write a whole number"),
        ({"retries": [{"times": 1, "pauses": [1, "2"]}]}, "retries[0].pauses[1]", "is '2'", "write a number"),
        ({"servers": {"odd name": {}}}, 'servers."odd name".host', "is missing", "write a text"),
        ({"servers": {"a.b": {"host": 1}}}, 'servers."a.b".host', "is 1", "write a text"),
        (
            {"servers": {"a": {"host": "x", "port": 0}}},
            "servers.a.port",
            "is 0",
            "write a whole number, at least 1 and",
        ),
        ({"servers": {"a": 3}}, "servers.a", "is 3", "write a table"),
        ({"mode": "slow"}, "mode", "is 'slow'", "write 'fast' or 'safe'"),
        ({"colour": "green"}, "colour", "is 'green'", "write 'red' or 'blue'"),
        ({"size": 1.5}, "size", "is 1.5", "write a whole number or a text"),
        ({"pair": [1]}, "pair", "is [1]", "write a list of 2"),
        ({"pair": [1, 2]}, "pair[1]", "is 2", "write a text"),
        ({"tags": ["x", 3]}, "tags[1]", "is 3", "write a text"),
        ({"until": datetime.time(1, 2)}, "until", "is 01:02:00", "write a date"),
        ({"bounds": {"low": "1"}}, "bounds.low", "is '1'", "write a whole number"),
        ({"bounds": {"low": 9}}, "bounds", "is {'low': 9}", "low is more than high"),
        ({"title": 3}, "title", "is 3", "write a text"),
        ({"short": [1, 2, 3]}, "short", "is [1, 2, 3]", "Expected `array` of length <= 2"),
        ({"seconds": math.nan}, "seconds", "is nan", "write a number, more than 0 and less than 10"),
        ({"seconds": math.inf}, "seconds", "is inf", "write a number"),
        ({"seconds": False}, "seconds", "is false", "write a number"),
        ({"seconds": 10**5000}, "seconds", "is a number of more than 70 digits", "write a number"),
    ],
)
def test_a_fault_has_its_path_what_is_there_and_what_should_be(
    change: dict[str, object], path: str, what: str, hint: str
) -> None:
    (fault,) = faults(RIGHT | change, Config, "plugins.a.config")
    assert (fault.path, fault.what) == (f"plugins.a.config.{path}", what)
    assert fault.hint.startswith(hint)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as raised:
        require({"ur": 1, "retries": [{}, 3], "mode": "x"}, Config, "c")
    error = raised.value
    assert error.finding.code == "configuration-wrong"
    messages = [each.message for each in (error.finding, *error.more)]
    assert messages == [
        "c.ur is not a setting", "c.retries[0].times is missing", "c.retries[1] is 3", "c.mode is 'x'", "c.url is missing",
    ]  # fmt: skip


class Node(msgspec.Struct):
    inner: Node | None = None


def test_what_is_nested_too_deep_is_a_fault() -> None:
    value: dict[str, object] = {}
    for _ in range(50_000):
        value = {"inner": value}
    (fault,) = faults(value, Node)
    assert fault.what == "is nested too deep"
    while value:
        value = value.pop("inner")  # type: ignore[assignment]  # by hand: freeing it at once overflows the stack


class Unknown:
    ghost: NotThere  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("kind", ["a text", dataclass(Unknown), Bounds | Config, Annotated[str, msgspec.Meta(ge=3)]])
def test_a_type_that_is_none_is_told_as_well(kind: object) -> None:
    (fault,) = faults({"low": 1}, kind, "c")
    assert fault.path == "c"
    assert fault.what.startswith("cannot be checked: ")


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_what_cannot_be_shown_is_told_all_the_same() -> None:
    assert "Unprintable" in shown(Unprintable())
    (fault,) = faults({"low": Unprintable()}, Bounds)
    assert fault.path == "low"


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes() | st.dates() | st.times(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(plain | st.dictionaries(st.sampled_from(sorted(RIGHT)), plain))
def test_no_value_whatever_is_a_traceback(value: object) -> None:
    """What has no fault can be made; what has any is an error of ours."""
    if list(faults(value, Config, "c")):
        with pytest.raises(ConfigurationError):
            require(value, Config, "c")
    else:
        require(value, Config, "c")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_a_path_is_the_way_to_the_value_in_toml(keys: list[str]) -> None:
    import tomllib

    value: Any = tomllib.loads(f"{joined('', tuple(keys))} = 1")
    for key in keys:
        assert list(value) == [key]
        value = value[key]


def test_a_schema_has_bounds_and_takes_no_unknown_keys() -> None:
    made = schema(Config)["$defs"]
    assert made["Config"]["properties"]["seconds"]["exclusiveMinimum"] == 0
    assert (
        made["Server"]["properties"]["port"] | {"minimum": 1, "exclusiveMaximum": 65_536}
        == (made["Server"]["properties"]["port"])
    )
    assert {each["additionalProperties"] for each in made.values() if "properties" in each} == {False}
