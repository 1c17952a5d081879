"""What a message's field holds: how a value is put there, and taken from it.

A message is protobuf's own; what is here knows what of it stands for which value. All that a value may raise when it is
looked at is told with the place of the value.
"""

from __future__ import annotations

import collections.abc
from typing import TYPE_CHECKING, Any, Protocol

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from pluginhost.errors import describe
from pluginhost.identity import class_name

if TYPE_CHECKING:
    import enum
    from collections.abc import Callable, Iterable, Iterator
    from typing import Final

    from google.protobuf.descriptor_pb2 import DescriptorProto

OMITTED: Final = object()
"""Stands for a value that was left out, so that a default holds."""


class Misfit(Exception):
    """A value is not of its type.

    Attributes:
        place: The fields on the way to it, joined by dots; empty when it is the value itself.
        why: What is wrong with it.
    """

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place}: {why}" if place else why)
        self.place = place
        self.why = why


def misfit(field: str, exc: Exception) -> Misfit:
    """Returns what was raised for the value of a field, with its place."""
    if isinstance(exc, Misfit):
        return Misfit(f"{field}.{exc.place}" if exc.place else field, exc.why)
    return Misfit(field, describe(exc))


def misplaced(value: object, accepts: tuple[type, ...]) -> Misfit:
    """Returns the error that a value is of none of some classes."""
    belongs = " or ".join(f"a {cls.__name__}" for cls in accepts)
    return Misfit("", f"a {class_name(value)} where {belongs} belongs")


class Kind(Protocol):
    """How a type stands in a field.

    Attributes:
        label: Its part in the name of a message that is named after it.
        accepts: The classes by which a value is known as one of a union's members.
    """

    @property
    def label(self) -> str: ...

    @property
    def accepts(self) -> tuple[type, ...]: ...

    def declare(self, field: FieldDescriptorProto, within: DescriptorProto) -> None:
        """Writes the type of a field, and into its message what that needs."""

    def put(self, message: Any, name: str, value: Any) -> None:
        """Puts a value into a message's field."""

    def take(self, message: Any, name: str) -> Any:
        """Returns the value of a message's field."""


class One(Kind, Protocol):
    """What can be repeated, and a member of a union."""

    def add(self, values: Any, value: Any) -> None:
        """Adds a value to those of a repeated field."""

    def enter(self, table: Any, key: Any, value: Any) -> None:
        """Adds a value to a map."""

    def value_of(self, item: Any) -> Any:
        """Returns the value that an item of a repeated field or a map is."""


class Scalar:
    """What is a number, text or bytes there.

    Attributes:
        of: The type there.
        encode: Returns what stands for a value of its classes.
        decode: Returns the value.
    """

    __slots__ = ("accepts", "decode", "encode", "label", "of")

    def __init__(
        self,
        label: str,
        of: FieldDescriptorProto.Type.ValueType,
        accepts: tuple[type, ...],
        encode: Callable[[Any], Any],
        decode: Callable[[Any], Any],
    ) -> None:
        self.label = label
        self.of = of
        self.accepts = accepts
        self.encode = encode
        self.decode = decode

    def declare(self, field: FieldDescriptorProto, within: DescriptorProto) -> None:
        field.type = self.of

    def put(self, message: Any, name: str, value: Any) -> None:
        setattr(message, name, self.encoded(value))

    def take(self, message: Any, name: str) -> Any:
        return self.decode(getattr(message, name))

    def add(self, values: Any, value: Any) -> None:
        values.append(self.encoded(value))

    def enter(self, table: Any, key: Any, value: Any) -> None:
        table[key] = self.encoded(value)

    def value_of(self, item: Any) -> Any:
        return self.decode(item)

    def encoded(self, value: Any) -> Any:
        """Returns what stands for a value.

        Raises:
            Misfit: It is of another type.
        """
        if not isinstance(value, self.accepts):
            raise misplaced(value, self.accepts)
        return self.encode(value)


class Number(Scalar):
    """A floating-point number, for which a whole one may stand."""

    __slots__ = ()

    def encoded(self, value: Any) -> Any:
        if not isinstance(value, int):
            return super().encoded(value)
        return self.encode(value)


class Enumeration(Scalar):
    """An enumeration; its numbers are its values, where all are whole numbers, else they count from 1."""

    __slots__ = ("cls", "members", "name")

    def __init__(self, cls: type[enum.Enum]) -> None:
        self.cls = cls
        self.name = ""  # known once all are
        members = list(cls)
        if all(type(each.value) is int and -(2**31) <= each.value < 2**31 for each in members):
            self.members = {each.value: each for each in members}
        else:
            self.members = dict(enumerate(members, 1))
        numbers = {each: number for number, each in self.members.items()}
        super().__init__(cls.__name__, FieldDescriptorProto.TYPE_ENUM, (cls,), numbers.__getitem__, self._member)

    def declare(self, field: FieldDescriptorProto, within: DescriptorProto) -> None:
        field.type, field.type_name = self.of, self.name

    def _member(self, number: int) -> enum.Enum:
        if number not in self.members:
            raise Misfit("", f"the number {number}, which no member of {self.cls.__name__} has")
        return self.members[number]


class Message:
    """What is a message of its own there; `fill` and `read` are what its kinds differ in.

    Attributes:
        name: Its full name, with a dot before it.
    """

    __slots__ = ("accepts", "label", "name")

    accepts: tuple[type, ...]
    label: str
    name: str

    def declare(self, field: FieldDescriptorProto, within: DescriptorProto) -> None:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, self.name

    def put(self, message: Any, name: str, value: Any) -> None:
        part = getattr(message, name)
        part.SetInParent()  # though it may be empty
        self.fill(part, value)

    def take(self, message: Any, name: str) -> Any:
        if not message.HasField(name):
            return self.absent()
        return self.read(getattr(message, name))

    def add(self, values: Any, value: Any) -> None:
        self.fill(values.add(), value)

    def enter(self, table: Any, key: Any, value: Any) -> None:
        self.fill(table[key], value)

    def value_of(self, item: Any) -> Any:
        return self.read(item)

    def absent(self) -> Any:
        """Returns the value where there is no message.

        Raises:
            Misfit: There must be one.
        """
        raise Misfit("", "it is not set")

    def fill(self, message: Any, value: Any) -> None:
        """Writes a value into an empty message."""
        raise NotImplementedError

    def read(self, message: Any) -> Any:
        """Returns the value that a message is."""
        raise NotImplementedError


class Field:
    """A field of a message.

    Attributes:
        name: What it is called.
        number: Its number.
        kind: How its type stands there.
        is_tracked: Whether it can be told whether it was set.
        is_nullable: Whether it stands for `None` when it is not set, or else was left out.
    """

    __slots__ = ("is_nullable", "is_tracked", "kind", "name", "number")

    def __init__(
        self, name: str, number: int, kind: Kind, *, is_tracked: bool = False, is_nullable: bool = False
    ) -> None:
        self.name = name
        self.number = number
        self.kind = kind
        self.is_tracked = is_tracked
        self.is_nullable = is_nullable

    def put(self, message: Any, value: Any) -> None:
        """Puts a value into the field."""
        if value is OMITTED or (value is None and self.is_nullable):
            return
        self.kind.put(message, self.name, value)

    def take(self, message: Any) -> Any:
        """Returns the field's value; `OMITTED` for one that was left out."""
        if self.is_tracked and not message.HasField(self.name):
            return None if self.is_nullable else OMITTED
        return self.kind.take(message, self.name)

    def declare(self, within: DescriptorProto) -> None:
        """Adds the field to its message."""
        field = within.field.add(name=self.name, number=self.number, label=FieldDescriptorProto.LABEL_OPTIONAL)
        self.kind.declare(field, within)
        if self.is_tracked and isinstance(self.kind, Scalar):
            field.proto3_optional = True
            # As protoc has it: a `oneof` of its own, which no code sees.
            field.oneof_index = len(within.oneof_decl)
            within.oneof_decl.add(name=f"_{self.name}")


class Foreign(Message):
    """A message of protobuf's own.

    Attributes:
        file: The file that has it.
    """

    __slots__ = ("_absent", "_fill", "_read", "file")

    def __init__(
        self,
        label: str,
        accepts: tuple[type, ...],
        file: str,
        fill: Callable[[Any, Any], None],
        read: Callable[[Any], Any],
        absent: Any = OMITTED,
    ) -> None:
        self.label = label
        self.accepts = accepts
        self.file = f"google/protobuf/{file}.proto"
        self.name = f".google.protobuf.{label}"
        self._fill = fill
        self._read = read
        self._absent = absent

    def fill(self, message: Any, value: Any) -> None:
        if not isinstance(value, self.accepts):
            raise misplaced(value, self.accepts)
        self._fill(message, value)

    def read(self, message: Any) -> Any:
        return self._read(message)

    @property
    def is_absent_fine(self) -> bool:
        """Whether there is a value where there is no message."""
        return self._absent is not OMITTED

    def absent(self) -> Any:
        return self._absent if self.is_absent_fine else super().absent()


class Many:
    """A repeated field."""

    __slots__ = ("_item", "_make", "_parts", "accepts")

    def __init__(
        self,
        item: One,
        accepts: tuple[type, ...],
        make: Callable[[Iterable[Any]], Any],
        parts: Callable[[Any], Iterable[Any]] = iter,
    ) -> None:
        self._item = item
        self._make = make
        self._parts = parts
        self.accepts = accepts

    @property
    def label(self) -> str:
        return f"{self._item.label}List"

    def declare(self, field: FieldDescriptorProto, within: DescriptorProto) -> None:
        self._item.declare(field, within)
        field.label = FieldDescriptorProto.LABEL_REPEATED

    def put(self, message: Any, name: str, value: Any) -> None:
        if not isinstance(value, collections.abc.Collection) or isinstance(value, str | bytes | bytearray):
            raise misplaced(value, self.accepts)
        values = getattr(message, name)
        for number, each in enumerate(self._parts(value)):
            try:
                self._item.add(values, each)
            except Exception as exc:
                raise misfit(str(number), exc) from exc

    def take(self, message: Any, name: str) -> Any:
        return self._make(self._values(getattr(message, name)))

    def _values(self, values: Any) -> Iterator[Any]:
        for number, each in enumerate(values):
            try:
                yield self._item.value_of(each)
            except Exception as exc:
                raise misfit(str(number), exc) from exc


class Table:
    """A map."""

    __slots__ = ("_key", "_value", "accepts")

    def __init__(self, key: Scalar, value: One, accepts: tuple[type, ...]) -> None:
        self._key = key
        self._value = value
        self.accepts = accepts

    @property
    def label(self) -> str:
        return f"{self._key.label}{self._value.label}Map"

    def declare(self, field: FieldDescriptorProto, within: DescriptorProto) -> None:
        entry = within.nested_type.add(name=f"{camel(field.name)}Entry")
        entry.options.map_entry = True
        Field("key", 1, self._key).declare(entry)
        Field("value", 2, self._value).declare(entry)
        field.label, field.type = FieldDescriptorProto.LABEL_REPEATED, FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = entry.name  # its full name is the message's business

    def put(self, message: Any, name: str, value: Any) -> None:
        if not isinstance(value, collections.abc.Mapping):
            raise misplaced(value, self.accepts)
        table = getattr(message, name)
        for key, each in value.items():
            try:
                self._value.enter(table, self._key.encoded(key), each)
            except Exception as exc:
                raise misfit(describe_key(key), exc) from exc

    def take(self, message: Any, name: str) -> Any:
        values = {}
        for key, each in getattr(message, name).items():
            try:
                values[self._key.decode(key)] = self._value.value_of(each)
            except Exception as exc:
                raise misfit(describe_key(key), exc) from exc
        return values


class Maybe:
    """What may be `None`: it is a field's own, or in a box."""

    __slots__ = ("inner",)

    def __init__(self, inner: One) -> None:
        self.inner = inner


def describe_key(key: object) -> str:
    """Returns a table's key as the place of a value."""
    return repr(key)[:40] if type(key) in (str, int, bool) else f"a {class_name(key)}"


def camel(name: str) -> str:
    """Returns a name as protobuf writes those of messages and methods: `ModifyRequest` for `modify_request`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
