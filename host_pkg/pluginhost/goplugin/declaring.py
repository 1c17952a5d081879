"""Messages and enumerations as a file declares them, and their names."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto

from pluginhost.goplugin.kinds import snake
from pluginhost.goplugin.records import Union
from pluginhost.isolation.shapes import Uncrossable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from pluginhost.goplugin.fields import Enumeration
    from pluginhost.goplugin.kinds import Made
    from pluginhost.goplugin.records import Box, Record


class Names:
    """The names of a file's messages and enumerations: each once."""

    def __init__(self, package: str, service: str) -> None:
        for part in (*package.split("."), service):
            require_name(part)
        self._package = package
        self._taken = {service, *_RESERVED}

    def give(self, made: Made, label: str) -> None:
        """Gives a message or enumeration its full name."""
        made.name = f".{self._package}.{self.free(label)}"

    def share(self, made: Box | Record | Union, declared: dict[str, DescriptorProto]) -> None:
        """Declares a message that is named after its fields, unless there is one of that name and the same fields.

        Args:
            made: The message.
            declared: Those that were declared, by full name.
        """
        for name in self._numbered(made.label):
            made.name = f".{self._package}.{name}"
            if name not in self._taken:
                self._taken.add(name)
                declared[made.name] = message_of(made)
                return
            if declared.get(made.name) == message_of(made):
                return

    def free(self, label: str) -> str:
        """Returns a name that nothing else has: with a number after it, where it is taken."""
        require_name(label)
        name = next(name for name in self._numbered(label) if name not in self._taken)
        self._taken.add(name)
        return name

    @staticmethod
    def _numbered(label: str) -> Iterator[str]:
        yield label
        yield from (f"{label}{number}" for number in itertools.count(2))


def require_name(name: str) -> None:
    """Raises if nothing can be called so.

    Raises:
        Uncrossable: It is so.
    """
    if not _NAME.fullmatch(name):
        raise Uncrossable(f"nothing can be called {name!r} there")


def message_of(made: Box | Record | Union) -> DescriptorProto:
    """Returns what declares a message.

    Raises:
        Uncrossable: Its fields cannot have their names.
    """
    message = DescriptorProto(name=made.name.rpartition(".")[2])
    seen: dict[str, str] = {}
    for field in made.fields:
        require_name(field.name)
        # What protobuf asks for: they must differ in JSON too, whatever writes it.
        if (other := seen.setdefault(field.name.replace("_", "").lower(), field.name)) != field.name:
            raise Uncrossable(f"{made.label}.{field.name}: there, its name is too like {other}")
        field.declare(message)
    if isinstance(made, Union):
        message.oneof_decl.add(name="value")
    for each in message.field:
        if isinstance(made, Union):
            each.oneof_index = 0
        if each.type_name and not each.type_name.startswith("."):  # of a map, whose type is within the message
            each.type_name = f"{made.name}.{each.type_name}"
    return message


def enum_of(made: Enumeration, names: Names) -> EnumDescriptorProto:
    """Returns what declares an enumeration, whose members' names begin with its own: they stand beside it."""
    enumeration = EnumDescriptorProto(name=made.name.rpartition(".")[2])
    prefix = snake(enumeration.name).upper()
    numbered = {number: snake(member.name).upper() for number, member in made.members.items()}
    for number in (0, *filter(None, numbered)):  # protobuf asks for the zero first
        name = names.free(f"{prefix}_{numbered.get(number, 'UNSPECIFIED')}")
        enumeration.value.add(name=name, number=number)
    return enumeration


_NAME: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*")
# What means something of its own where a type is named.
_RESERVED: Final = (
    *("bool", "bytes", "double", "enum", "extend", "extensions", "fixed32", "fixed64", "float", "group", "import"),
    *("int32", "int64", "map", "max", "message", "oneof", "option", "optional", "package", "public", "repeated"),
    *("required", "reserved", "returns", "rpc", "service", "sfixed32", "sfixed64", "sint32", "sint64", "stream"),
    *("string", "syntax", "to", "uint32", "uint64", "weak"),
)
