"""Types as they cross: what msgspec knows, and what it is told here.

A type of a contract's crosses when both sides can tell from it alone what an object was. msgspec knows the plain ones,
containers, dataclasses, enums, dates and most unions; what is `Any` or `object` arrives as plain data. Told here are
paths and complex numbers; that a `float` may be an `int`, which it then stays; and unions whose members msgspec cannot
tell apart: each value goes in a numbered box.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import types
import typing
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pluginhost.errors import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Final

STREAMS: Final = {
    collections.abc.Iterator: False,
    collections.abc.Iterable: False,
    collections.abc.Generator: False,
    collections.abc.AsyncIterator: True,
    collections.abc.AsyncIterable: True,
    collections.abc.AsyncGenerator: True,
}
_CONTAINERS: Final = (
    *(list, set, frozenset, tuple, dict, collections.abc.Sequence, collections.abc.MutableSequence),
    *(collections.abc.Set, collections.abc.MutableSet, collections.abc.Collection),
    *(collections.abc.Mapping, collections.abc.MutableMapping),
)
_TABLES: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Uncrossable(Exception):
    """A type does not cross; the message says which, and why."""


class Shape(NamedTuple):
    """How a type crosses.

    Attributes:
        wire: The type that msgspec is given.
        wrap: Makes what is encoded of a value; `None` when it is the value.
        unwrap: Makes the value of what was decoded; likewise.
    """

    wire: Any
    wrap: Callable[[Any], Any] | None = None
    unwrap: Callable[[Any], Any] | None = None


def shape_of(kind: Any) -> Shape:
    """Returns how a type crosses.

    Raises:
        Uncrossable: It does not.
    """
    shape = _shape(kind)
    try:
        msgspec.msgpack.Decoder(shape.wire, dec_hook=from_wire)
        described = msgspec.inspect.type_info(shape.wire)
    except Exception as exc:  # msgspec's reason, or what a type of the application's raises when it is looked at
        raise Uncrossable(f"{text_of(kind)}: {describe(exc).partition(': ')[2] or describe(exc)}") from exc
    for part in _parts(described, set()):
        _require_known(kind, part)
    return shape


def is_open(wire: Any) -> bool:
    """Returns whether a type, as it crosses, lets lists and tables be nested without end."""
    described = msgspec.inspect.type_info(wire)
    # What is not msgspec's own is made of whatever came.
    loose = (msgspec.inspect.AnyType, msgspec.inspect.CustomType)
    return any(isinstance(part, loose) for part in _parts(described, set())) or _is_recursive(described, ())


def to_wire(value: Any) -> Any:
    """Returns what msgpack has of a value that is none of msgspec's own.

    Raises:
        TypeError: It does not cross.
    """
    for plain, exact in _EXACT.items():
        if isinstance(value, plain):
            return exact(value)
    if isinstance(value, complex):
        return (value.real, value.imag)
    if _is_path(type(value)):
        return str(value)
    raise TypeError(f"a {type.__dict__['__qualname__'].__get__(type(value))} does not cross")


def from_wire(kind: Any, value: Any) -> Any:
    """Returns the value of a type that is none of msgspec's own.

    Raises:
        ValueError: It is not of that type.
    """
    if kind is complex and type(value) is list and len(value) == 2:
        return complex(*value)
    if kind is object:
        return value
    if type(value) is str and isinstance(kind, type) and _is_path(kind):
        return kind(value)
    raise ValueError(f"Expected `{text_of(kind)}`")


def _is_path(kind: type) -> bool:
    import pathlib  # it costs a child milliseconds, and most contracts have no paths

    return issubclass(kind, pathlib.PurePath)


def row_of(kinds: list[Any]) -> Any:
    """Returns the type of a tuple whose items have these types."""
    of: Any = tuple
    return of[tuple(kinds)]


def table_of(kind: Any) -> Any:
    """Returns the type of a dictionary by names, of values of a type."""
    of: Any = dict
    return of[str, kind]


def text_of(kind: Any) -> str:
    """Returns a type as a person writes it."""
    return inspect.formatannotation(kind)


# A subclass of a plain type arrives as that type, past what it overrides.
_EXACT: Final[dict[type, Callable[[Any], Any]]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
}


def _shape(kind: Any) -> Shape:
    if kind is float:
        return Shape(int | float)
    if isinstance(kind, typing.NewType):
        return _shape(kind.__supertype__)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments)
    if origin in _CONTAINERS and arguments:
        return _container(origin, arguments)
    return Shape(kind)


def _union(members: tuple[Any, ...]) -> Shape:
    shapes = [_shape(member) for member in members]
    together = _any_of(shape.wire for shape in shapes)
    if not any(shape.wrap for shape in shapes):
        try:
            msgspec.msgpack.Decoder(together, dec_hook=from_wire)
        except TypeError:  # msgspec cannot tell them apart, or one of them does not cross: then no box holds it either
            pass
        else:
            return Shape(together)
    return _boxed(members, shapes)


def _any_of(kinds: Iterable[Any]) -> Any:
    return typing.Union[tuple(kinds)]  # noqa: UP007 - they are only known now


def _boxed(members: tuple[Any, ...], shapes: list[Shape]) -> Shape:
    """Returns how a union crosses each of whose values goes in a box with the number of its member."""
    boxes: dict[type, tuple[type, Callable[[Any], Any] | None]] = {}
    unwraps: dict[type, Callable[[Any], Any] | None] = {}
    for number, (member, shape) in enumerate(zip(members, shapes, strict=True)):
        cls = _class_of(member)
        if cls in boxes:
            raise Uncrossable(f"{text_of(_any_of(members))}: two of its members are a {cls.__qualname__}")
        box = msgspec.defstruct(
            f"Box{number}", [("value", shape.wire)], tag_field="member", tag=number, array_like=True, frozen=True
        )
        boxes[cls], unwraps[box] = (box, shape.wrap), shape.unwrap

    def wrap(value: Any) -> Any:
        found = boxes.get(type(value)) or next((boxes[cls] for cls in boxes if isinstance(value, cls)), None)
        if found is None and type(value) is int:
            found = boxes.get(float)
        if found is None:
            raise TypeError(f"a {type(value).__qualname__} is none of {text_of(_any_of(members))}")
        box, inner = found
        return box(inner(value) if inner else value)

    def unwrap(boxed: Any) -> Any:
        inner = unwraps[type(boxed)]
        return inner(boxed.value) if inner else boxed.value

    return Shape(_any_of(unwraps), wrap, unwrap)


def _class_of(member: Any) -> type:
    """Returns the class by which a value is known as one of a union's members."""
    cls = typing.get_origin(member) or member
    if member is None:
        return type(None)
    if not isinstance(cls, type) or cls in (object, *STREAMS):
        raise Uncrossable(f"{text_of(member)} within a union whose members must be told apart")
    return cls


def _container(origin: Any, arguments: tuple[Any, ...]) -> Shape:
    shapes = [Shape(each) if each is ... else _shape(each) for each in arguments]
    wire = origin[tuple(shape.wire for shape in shapes)]
    if not any(shape.wrap for shape in shapes):
        return Shape(wire)
    wraps = [shape.wrap or _same for shape in shapes]
    unwraps = [shape.unwrap or _same for shape in shapes]
    if origin in _TABLES:
        if shapes[0].wrap:
            raise Uncrossable(f"{text_of(arguments[0])} as the keys of a table")
        return Shape(wire, functools.partial(_mapped, wraps[1]), functools.partial(_mapped, unwraps[1]))
    if origin is tuple and ... not in arguments:
        return Shape(wire, functools.partial(_each_by, wraps), functools.partial(_each_by, unwraps))
    return Shape(wire, functools.partial(_each, wraps[0]), functools.partial(_each, unwraps[0]))


def _same(value: Any) -> Any:
    return value


def _mapped(change: Callable[[Any], Any], values: Any) -> Any:
    return {key: change(value) for key, value in values.items()}


def _each(change: Callable[[Any], Any], values: Any) -> Any:
    kind = next((kind for kind in (list, tuple, set, frozenset) if isinstance(values, kind)), list)
    return kind(map(change, values))


def _each_by(changes: list[Callable[[Any], Any]], values: Any) -> Any:
    if len(values) != len(changes):
        raise TypeError(f"{len(values)} items where {len(changes)} belong")
    return tuple(change(value) for change, value in zip(changes, values, strict=True))


def _parts(described: Any, seen: set[int]) -> Iterator[Any]:
    """Yields a type, as msgspec describes it, and all that it consists of, each once."""
    if id(described) in seen:
        return
    seen.add(id(described))
    if isinstance(described, msgspec.inspect.Type):
        yield described
    for inner in _inner(described):
        yield from _parts(inner, seen)


def _is_recursive(described: Any, within: tuple[int, ...]) -> bool:
    """Returns whether a type is part of itself."""
    if id(described) in within:
        return True
    return any(_is_recursive(inner, (*within, id(described))) for inner in _inner(described))


def _inner(described: Any) -> Iterator[Any]:
    for name in getattr(described, "__struct_fields__", ()):
        value = getattr(described, name)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, msgspec.inspect.Type | msgspec.inspect.Field):
                yield each


def _require_known(kind: Any, part: Any) -> None:
    if isinstance(part, msgspec.inspect.CustomType):
        cls = part.cls
        if cls in (object, complex) or (isinstance(cls, type) and _is_path(cls)):
            return
    elif isinstance(part, msgspec.inspect.RawType | msgspec.inspect.ExtType):
        cls = msgspec.Raw if isinstance(part, msgspec.inspect.RawType) else msgspec.msgpack.Ext
    else:
        return
    whole = typing.get_origin(kind) or kind
    raise Uncrossable(f"{text_of(kind)}, {'which' if cls is whole else f'and {text_of(cls)}'} is no plain data")


def fields_of(kind: Any) -> list[tuple[str, Any]] | None:
    """Returns a dataclass's fields and their types when it is made of them, in that order; `None` else."""
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return None
    try:
        parameters = inspect.signature(kind).parameters.values()
        hints = typing.get_type_hints(kind, include_extras=True)
    except (NameError, TypeError, ValueError):
        return None
    names = [field.name for field in dataclasses.fields(kind)]
    if [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD] != names:
        return None
    return [(name, hints[name]) for name in names] if len(parameters) == len(names) else None
