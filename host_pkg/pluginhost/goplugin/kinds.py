"""Types as protobuf has them: what stands in a message for a value of a contract's type.

| in the contract | in the message |
| --- | --- |
| `bool`, `int`, `float`, `str`, `bytes` | `bool`, `int64`, `double`, `string`, `bytes` |
| `Path`, `Decimal`, `UUID`, `date`, `time` | `string`, the last three as RFC 9562 and ISO 8601 write them |
| `datetime` with a time zone, `timedelta` | `google.protobuf.Timestamp`, `google.protobuf.Duration` |
| lists, sets, `tuple[X, ...]` | `repeated` |
| tables | `map`; a list of entries where the keys are neither text nor whole numbers nor `bool` |
| dataclasses, named tuples, `TypedDict`, `msgspec.Struct` | a message of that name, its fields in their order |
| `tuple[X, Y]`, `complex` | a message of `item1`, `item2`; of `real`, `imag` |
| enumerations | an `enum`; of whole numbers, these are the numbers, else they count from 1 |
| flags, `Literal` | what their values are: `int64`, `string` |
| `X | None` | `optional`, or a message that is not there |
| other unions | a message with a `oneof`, its members in their order |
| `object`, `Any` | `google.protobuf.Value`: what JSON has |

Where protobuf allows no `repeated`, `map` or `optional`, within another or a `oneof`, a message holds it. It is named
after what is in it: `StringList`, `StringDoubleMap`, `OptionalInt64`.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import pathlib
import re
import types
import typing
from typing import TYPE_CHECKING, Any

import msgspec
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from pluginhost.errors import describe
from pluginhost.goplugin.fields import OMITTED, Enumeration, Field, Foreign, Many, Maybe, Misfit, Scalar, Table
from pluginhost.goplugin.plain import FOREIGN, INT, SCALARS, TEXT
from pluginhost.goplugin.records import Box, Record, Union
from pluginhost.isolation.shapes import Uncrossable, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Final, TypeAlias, TypeVar

    from pluginhost.goplugin.fields import Kind, One

    Made: TypeAlias = Record | Box | Union | Enumeration
    K = TypeVar("K", bound=Made)


class Kinds:
    """How the types of a contract stand in messages, each class by a message or an enumeration of its own.

    Attributes:
        made: The messages and enumerations that must be declared, in the order in which the contract mentions them.
        files: The files of protobuf's own that they need.
    """

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.files: set[str] = set()
        self._classes: dict[type, One] = {}

    def field(self, name: str, number: int, kind: Any, default: Callable[[], Any] | None = None) -> Field:
        """Returns a field of a type.

        Args:
            name: What it is called.
            number: Its number.
            kind: The type.
            default: Returns what holds when it is left out, `OMITTED` when that is not known; `None` when it must not.

        Raises:
            Uncrossable: There is nothing in protobuf for that type.
        """
        found = self._of(kind)
        of: Kind = found.inner if isinstance(found, Maybe) else found
        is_nullable = isinstance(found, Maybe)
        if default is None:
            return Field(name, number, of, is_tracked=is_nullable, is_nullable=is_nullable)
        value = default()
        if isinstance(found, Maybe) and value is not None:
            of = self._boxed(found)  # else nothing tells `None` from what is left out
        elif isinstance(of, Many | Table) and (value is OMITTED or len(value)):
            of = self._boxed(of)
        is_told = isinstance(of, Many | Table) or (isinstance(of, Scalar) and not is_nullable and _is_zero(of, value))
        return Field(name, number, of, is_tracked=not is_told, is_nullable=is_nullable and value is None)

    def _of(self, kind: Any) -> One | Many | Table | Maybe:
        kind = _bare(kind)
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            return self._union(kind, arguments)
        if origin is typing.Literal:
            return self._literal(kind, arguments)
        if (cls := origin or kind) in _MAKERS:
            return self._many(cls, arguments[0] if arguments else Any)
        if cls in _TABLES:
            return self._table(cls, *(arguments or (Any, Any)))
        if cls is tuple and arguments[1:] == (...,):
            return self._many(list, arguments[0], tuple)
        if cls is tuple:
            return self._tuple(arguments) if arguments or origin else self._many(list, Any, tuple)
        if kind in SCALARS:
            return SCALARS[kind]
        if kind in FOREIGN:
            self.files.add(FOREIGN[kind].file)
            return FOREIGN[kind]
        if kind is complex:
            return self._complex()
        if origin is None and isinstance(kind, type):
            if kind not in self._classes:
                self._add_class(kind)
            return self._classes[kind]
        raise Uncrossable(f"{text_of(kind)}, for which there is nothing in protobuf")

    def _one(self, kind: Any) -> One:
        """Returns how a type stands where it may be repeated."""
        found = self._of(kind)
        return self._boxed(found) if isinstance(found, Many | Table | Maybe) else found

    def _boxed(self, kind: Many | Table | Maybe) -> One:
        if isinstance(kind, Maybe):
            field = Field("value", 1, kind.inner, is_tracked=True, is_nullable=True)
            box = Box(field, f"Optional{kind.inner.label}", (types.NoneType, *kind.inner.accepts))
        else:
            box = Box(Field("items", 1, kind), kind.label, kind.accepts)
        return self._made(box)

    def _made(self, kind: K) -> K:
        self.made.append(kind)
        return kind

    def _union(self, kind: Any, members: tuple[Any, ...]) -> One | Many | Table | Maybe:
        rest = [member for member in members if member is not types.NoneType]
        if any(_bare(member) in (Any, object) for member in rest):
            return self._of(object)
        if len(rest) == 1:
            found = self._of(rest[0])
            if isinstance(found, Maybe) or (isinstance(found, Foreign) and found.is_absent_fine):
                return found
            return Maybe(self._boxed(found) if isinstance(found, Many | Table) else found)
        parts = [self._one(member) for member in rest]
        classes = [cls for part in parts for cls in part.accepts]
        if types.NoneType in classes:
            raise Uncrossable(f"{text_of(kind)}: write its None apart")
        for cls in classes:
            if classes.count(cls) > 1:
                raise Uncrossable(f"{text_of(kind)}: two of its members are a {cls.__qualname__}")
        fields = [Field(f"{snake(part.label)}_value", number, part) for number, part in enumerate(parts, 1)]
        union = self._made(Union(fields))
        return Maybe(union) if len(rest) < len(members) else union

    def _literal(self, kind: Any, values: tuple[Any, ...]) -> One | Many | Table | Maybe:
        allowed = {value for value in values if value is not None}
        classes = set(map(type, allowed))
        of = SCALARS.get(classes.pop()) if len(classes) == 1 else None
        if of is None:
            raise Uncrossable(f"{text_of(kind)}, whose values are not of one type")

        def known(value: Any) -> Any:
            if value not in allowed:
                raise Misfit("", f"{value!r} is none of {text_of(kind)}")
            return value

        literal = Scalar(of.label, of.of, of.accepts, known, known)
        return Maybe(literal) if None in values else literal

    def _many(self, cls: type, item: Any, make: Callable[[Iterable[Any]], Any] | None = None) -> Many:
        make = make or _MAKERS[cls]
        return Many(self._one(item), (tuple if make is tuple else cls,), make)

    def _table(self, cls: type, key: Any, value: Any) -> Many | Table:
        by, of = self._one(key), self._one(value)
        if isinstance(by, Scalar) and by.of in _KEYS:
            return Table(by, of, (cls,))
        label = f"{by.label}{of.label}Entry"
        entry = Record(label, (tuple,), iter, lambda parts: (parts["key"], parts["value"]))
        entry.fields = [Field("key", 1, by), Field("value", 2, of)]
        return Many(self._made(entry), (cls,), dict, lambda table: table.items())

    def _tuple(self, items: tuple[Any, ...]) -> One:
        fields = [self.field(f"item{number}", number, item) for number, item in enumerate(items, 1)]
        label = "".join(_label_of(field) for field in fields)

        def split(value: Any) -> Iterable[Any]:
            if len(value) != len(fields):
                raise Misfit("", f"{len(value)} items where {len(fields)} belong")
            return typing.cast("Iterable[Any]", value)

        record = Record(f"{label}Tuple", (tuple,), split, lambda parts: tuple(parts.values()))
        record.fields = fields
        return self._made(record)

    def _complex(self) -> One:
        record = Record("Complex", (complex,), lambda of: (of.real, of.imag), lambda parts: complex(**parts))
        record.fields = [self.field(name, number, float) for number, name in enumerate(("real", "imag"), 1)]
        return self._made(record)

    def _add_class(self, cls: type) -> None:
        if issubclass(cls, enum.Flag):
            self._classes[cls] = Scalar(cls.__name__, INT.of, (cls,), lambda flag: flag.value, cls)
        elif issubclass(cls, enum.Enum):
            if not len(cls):
                raise Uncrossable(f"{text_of(cls)}, which has no members")
            self._classes[cls] = self._made(Enumeration(cls))
        elif issubclass(cls, pathlib.PurePath):
            self._classes[cls] = Scalar(cls.__name__, TEXT.of, (pathlib.PurePath,), str, cls)
        else:
            self._add_record(cls)

    def _add_record(self, cls: type) -> None:
        described = parts_of(cls)
        if described is None:
            raise Uncrossable(f"{text_of(cls)}, for which there is nothing in protobuf")
        accepts = (dict,) if typing.is_typeddict(cls) else (cls,)
        record = Record(cls.__name__, accepts, iter, lambda parts: cls(**parts), cls)
        self._classes[cls] = self._made(record)  # before its fields, one of which may be of the class
        record.fields = [
            self.field(name, number, kind, default) for number, (name, kind, default) in enumerate(described, 1)
        ]
        names = [field.name for field in record.fields]
        if typing.is_typeddict(cls):
            record.split = lambda value: [value.get(name, OMITTED) for name in names]
        else:
            record.split = lambda value: [getattr(value, name) for name in names]


def parts_of(cls: type) -> list[tuple[str, Any, Callable[[], Any] | None]] | None:
    """Returns what a class consists of: names, types, and what returns the default; `None` when it is not plain data.

    Raises:
        Uncrossable: Its annotations cannot be looked up.
    """
    is_record = dataclasses.is_dataclass(cls) or typing.is_typeddict(cls) or issubclass(cls, msgspec.Struct)
    if not is_record and not (issubclass(cls, tuple) and hasattr(cls, "_field_defaults")):
        return None
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception as exc:  # they name what is not there, or are what raises when it is looked at
        raise Uncrossable(f"{text_of(cls)}, whose annotations cannot be looked up: {describe(exc)}") from exc
    return [(name, hints[name], default) for name, default in _defaults_of(cls, hints)]


def _defaults_of(cls: Any, hints: dict[str, Any]) -> Iterator[tuple[str, Callable[[], Any] | None]]:
    if typing.is_typeddict(cls):
        for name, hint in hints.items():
            # What the class itself knows of them is not so where its annotations are text.
            said = typing.get_origin(hint)
            is_required = said is typing.Required or (name in cls.__required_keys__ and said is not typing.NotRequired)
            yield name, None if is_required else _unknown
    elif dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            if field.init:
                none = dataclasses.MISSING
                made = field.default_factory if field.default_factory is not none else None
                yield field.name, made if field.default is none else functools.partial(_same, field.default)
    elif issubclass(cls, msgspec.Struct):
        for info in msgspec.structs.fields(cls):
            given = None if info.default is msgspec.NODEFAULT else functools.partial(_same, info.default)
            yield info.name, given if info.default_factory is msgspec.NODEFAULT else info.default_factory
    else:
        for name in cls._fields:
            has = name in cls._field_defaults
            yield name, functools.partial(_same, cls._field_defaults[name]) if has else None


def _unknown() -> Any:
    return OMITTED


def _same(value: Any) -> Any:
    return value


def _label_of(field: Field) -> str:
    return f"Optional{field.kind.label}" if field.is_nullable else field.kind.label


def _bare(kind: Any) -> Any:
    """Returns a type without what only names it or is said of it."""
    while True:
        if isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        elif typing.get_origin(kind) in (typing.Annotated, typing.Required, typing.NotRequired):
            kind = typing.get_args(kind)[0]
        elif hasattr(typing, "TypeAliasType") and isinstance(kind, typing.TypeAliasType):
            kind = kind.__value__
        else:
            return types.NoneType if kind is None else kind


def _is_zero(of: Scalar, value: Any) -> bool:
    """Returns whether a value is what a field has that is not set."""
    try:
        encoded = of.encoded(value)
    except Exception:  # it is not of its type: a mark that it was left out
        return False
    return not encoded and str(encoded) != "-0.0"


def snake(name: str) -> str:
    """Returns a name as protobuf writes those of fields: `string_list` for `StringList`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


_KEYS: Final = (FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_INT64, FieldDescriptorProto.TYPE_BOOL)
"""What the keys of a map may be there."""
_MAKERS: Final[dict[Any, Callable[[Iterable[Any]], Any]]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}
"""What makes a container of its items, by the class that the contract names."""
_TABLES: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
