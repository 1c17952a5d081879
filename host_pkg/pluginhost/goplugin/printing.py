"""A descriptor of a file as the text of a `.proto` file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Final, TypeAlias

    from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, ServiceDescriptorProto

    Comments: TypeAlias = Mapping[str, str]


def print_file(file: FileDescriptorProto, comments: Comments, options: Mapping[str, Mapping[str, str]]) -> str:
    """Returns the text from which protoc makes a descriptor.

    Args:
        file: The descriptor; its messages have no others within them but what maps need.
        comments: What is said of the services, methods, messages and enumerations, by full name; of the file by "".
        options: What stands for options of others' making, which the descriptor has too.
    """
    return "\n".join([*_lines(file, comments, options), ""])


def _lines(file: FileDescriptorProto, comments: Comments, options: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    yield from _comment(comments.get("", ""))
    yield from ("", 'syntax = "proto3";', "", f"package {file.package};", "")
    for dependency in file.dependency:
        yield f'import "{dependency}";'
    if file.dependency:
        yield ""
    yield f'option go_package = "{file.options.go_package}";'
    for name, values in options.items():
        yield f"option ({_reference('.' + name, file, ())}) = {{"
        yield from (f"  {key}: {json.dumps(value)}" for key, value in values.items())
        yield "};"
    for service in file.service:
        yield from _service(service, file, comments)
    for message in file.message_type:
        yield from _message(message, file, comments)
    for enumeration in file.enum_type:
        yield from _enumeration(enumeration, file, comments)
    for extension in file.extension:
        yield from ("", f"extend {extension.extendee[1:]} {{")
        yield f"  {_reference(extension.type_name, file, ())} {extension.name} = {extension.number};"
        yield "}"


def _service(service: ServiceDescriptorProto, file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    yield from ("", *_comment(comments.get(service.name, "")))
    yield f"service {service.name} {{"
    for number, method in enumerate(service.method):
        if number:
            yield ""
        yield from _comment(comments.get(f"{service.name}.{method.name}", ""), "  ")
        asked, answered = (_reference(each, file, ()) for each in (method.input_type, method.output_type))
        yield f"  rpc {method.name}({asked}) returns ({'stream ' * method.server_streaming}{answered});"
    yield "}"


def _message(message: DescriptorProto, file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    yield from ("", *_comment(comments.get(message.name, "")))
    if not message.field:
        yield f"message {message.name} {{}}"
        return
    yield f"message {message.name} {{"
    entries = {f".{file.package}.{message.name}.{entry.name}": entry for entry in message.nested_type}
    within = [entry.name for entry in message.nested_type]
    is_within_one = False
    for field in message.field:
        is_of_one = field.HasField("oneof_index") and not field.proto3_optional
        if is_of_one and not is_within_one:
            yield f"  oneof {message.oneof_decl[field.oneof_index].name} {{"
        is_within_one = is_of_one
        indent = "    " if is_of_one else "  "
        if entry := entries.get(field.type_name):
            key, value = (_type(each, file, within) for each in entry.field)
            yield f"{indent}map<{key}, {value}> {field.name} = {field.number};"
        else:
            is_repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
            label = "repeated " if is_repeated else "optional " if field.proto3_optional else ""
            yield f"{indent}{label}{_type(field, file, within)} {field.name} = {field.number};"
    if is_within_one:
        yield "  }"
    yield "}"


def _enumeration(enumeration: EnumDescriptorProto, file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    yield from ("", *_comment(comments.get(enumeration.name, "")))
    yield f"enum {enumeration.name} {{"
    yield from (f"  {value.name} = {value.number};" for value in enumeration.value)
    yield "}"


def _type(field: FieldDescriptorProto, file: FileDescriptorProto, within: Iterable[str]) -> str:
    if field.type_name:
        return _reference(field.type_name, file, within)
    return _NAMES[field.type]


def _reference(name: str, file: FileDescriptorProto, within: Iterable[str]) -> str:
    """Returns how a full name is written within a file: short where that cannot be taken for another."""
    short = name.removeprefix(f".{file.package}.")
    if short != name:
        return name if short in within else short
    near = {*within, *file.package.split(".")}
    near |= {each.name for each in file.message_type} | {each.name for each in file.enum_type}
    near |= {each.name for each in file.service}
    return name if name.split(".")[1] in near else name[1:]


def _comment(text: str, indent: str = "") -> Iterator[str]:
    for line in text.splitlines():
        yield f"{indent}// {line}".rstrip()


_NAMES: Final = {
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_BYTES: "bytes",
    FieldDescriptorProto.TYPE_DOUBLE: "double",
    FieldDescriptorProto.TYPE_INT64: "int64",
    FieldDescriptorProto.TYPE_STRING: "string",
}
