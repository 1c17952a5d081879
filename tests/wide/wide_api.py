"""An API whose contract has whatever may cross to another process."""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import uuid
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pluginapi import Greeter, Plugin, PluginError, idempotent

__all__ = [
    "Colour", "Config", "Greeter", "Level", "Moments", "Named", "Nested", "Plugin", "PluginError", "Point", "Refused",
    "Tree", "Wide",
]  # fmt: skip


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float
    label: str | None = None
    colour: Colour = Colour.RED


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)


@dataclass(frozen=True)
class Moments:
    at: datetime.datetime
    day: datetime.date
    time: datetime.time
    took: datetime.timedelta
    amount: decimal.Decimal
    id: uuid.UUID


@dataclass(frozen=True)
class Nested:
    rows: dict[str, list[tuple[int, Point]]]
    seen: frozenset[int]
    either: int | str | Point | list[Colour] | None


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is configured for a plugin of `Wide`."""

    size: int
    words: list[str] = field(default_factory=list)


class Refused(PluginError):
    """What is asked for is refused."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(code, why)
        self.code, self.why = code, why

    def __str__(self) -> str:
        return f"{self.code}: {self.why}"


class Named(Plugin):
    """What a second contract of the same plugin has."""

    title: str

    @abstractmethod
    def named(self) -> str: ...


class Wide(Plugin):
    """Whatever a contract may have."""

    unit: str
    limit: int = 3

    @property
    @abstractmethod
    def level(self) -> Level: ...

    @level.setter
    @abstractmethod
    def level(self, value: Level) -> None: ...

    @property
    @abstractmethod
    def size(self) -> int: ...

    @property
    @abstractmethod
    def broken(self) -> int: ...

    @broken.setter
    @abstractmethod
    def broken(self, value: int) -> None: ...

    # -- arguments

    @abstractmethod
    def defaults(self, a: int, b: int = 2, /, c: int = 3, *, d: int = 4) -> list[int]: ...

    @abstractmethod
    def variadic(self, first: str, *rest: float, **named: Point) -> tuple[str, list[float], dict[str, Point]]: ...

    def inherited(self, text: str = "default") -> str:
        """Returns what the contract itself makes of a text."""
        return text.title()

    # -- values

    @abstractmethod
    def numbers(self, whole: int, real: float, odd: complex, flag: bool) -> tuple[int, float, complex, bool]: ...

    @abstractmethod
    def data(self, value: bytes) -> bytes: ...

    @abstractmethod
    def tree(self, value: Tree) -> Tree: ...

    @abstractmethod
    def moments(self, value: Moments) -> Moments: ...

    @abstractmethod
    def nested(self, value: Nested) -> Nested: ...

    @abstractmethod
    def either(self, value: Point | Tree | int | str | None) -> Point | Tree | int | str | None: ...

    @abstractmethod
    def enums(self, colour: Colour, levels: Mapping[Colour, Level]) -> list[Colour | Level]: ...

    @abstractmethod
    def path(self, value: pathlib.Path, others: Sequence[pathlib.PurePosixPath]) -> pathlib.Path: ...

    @abstractmethod
    def anything(self, value: object) -> object: ...

    @abstractmethod
    def nothing(self) -> None: ...

    # -- what goes wrong

    @abstractmethod
    def fail(self, kind: str) -> int: ...

    @abstractmethod
    def wrong_reply(self) -> int: ...

    # -- streams

    @abstractmethod
    def count(self, to: int) -> Iterator[int]: ...

    @abstractmethod
    def did(self) -> list[str]:
        """Returns what has happened since it was last asked for."""

    # -- coroutines

    @abstractmethod
    async def later(self, value: Point) -> Point: ...

    @abstractmethod
    async def wait(self, seconds: float) -> str: ...

    @abstractmethod
    async def fail_later(self, kind: str) -> int: ...

    @abstractmethod
    async def count_later(self, to: int) -> AsyncIterator[Point]:
        yield Point(0, 0)

    # -- Python's protocols

    @abstractmethod
    def __call__(self, x: int, *, times: int = 1) -> int: ...

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, key: str) -> int: ...

    @abstractmethod
    def __setitem__(self, key: str, value: int) -> None: ...

    @abstractmethod
    def __contains__(self, key: object) -> bool: ...

    @abstractmethod
    def __iter__(self) -> Iterator[str]: ...

    # -- the host's services

    @abstractmethod
    def configured(self) -> list[object]: ...

    @abstractmethod
    def say(self, text: str) -> None:
        """Logs a text, and emits it."""

    @abstractmethod
    def heard(self) -> list[tuple[str, str, str]]: ...

    @abstractmethod
    def keep(self, text: str) -> pathlib.Path: ...

    @abstractmethod
    def ask(self, name: str, whom: str) -> str: ...

    @abstractmethod
    def greetings(self) -> dict[str, str]: ...

    # -- its process

    @abstractmethod
    def pid(self) -> int: ...

    @abstractmethod
    def overlaps(self) -> int:
        """Returns how many calls are inside, this one among them."""

    @idempotent
    @abstractmethod
    def survive(self, marker: pathlib.Path) -> int:
        """Ends the process at the first call, and returns its number at the second."""

    @abstractmethod
    def survive_not(self, marker: pathlib.Path) -> int:
        """Does likewise; its contract does not say that it may be called twice."""

    @idempotent
    @abstractmethod
    async def survive_later(self, marker: pathlib.Path) -> int:
        """Does likewise."""
