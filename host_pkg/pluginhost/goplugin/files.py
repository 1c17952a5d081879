"""A contract as a `.proto` file has it, and its calls as messages.

What a contract's file says follows from the contract alone:

- The contract `Greeter` of the API package `pluginapi` is the service `pluginapi.greeter.Greeter`, in the file
  `pluginapi/greeter.proto`; its Go package is `pluginapi/greeterpb`. Each contract has a protobuf package of its own:
  a program that implements several has no name twice.
- Its method `modify_request` is called `/pluginapi.greeter.Greeter/ModifyRequest`. It takes a `ModifyRequestRequest`, a
  field for each parameter, and gives a `ModifyRequestResponse`, whose field `result` is what it returns; `None` is no
  field. One that returns an iterator, asynchronous or not, gives a stream of such responses.
- An attribute or property `lang` is read by `GetLang`; a property with a setter is written by `SetLang`.
- A field may be left out where its parameter or attribute has a default, which then holds. It is `optional` if that is
  anything else than protobuf's own: zero, nothing, empty.
- Fields are numbered from 1 in the order of parameters and of a class's fields. So what is appended, with a default,
  changes no number; and neither does a further method. Nothing may be inserted, removed or moved but with a new major
  version of the API.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from pluginhost.errors import ConfigurationError, Finding, PluginCallError, describe
from pluginhost.goplugin.declaring import Names, enum_of, message_of, require_name
from pluginhost.goplugin.fields import OMITTED, Enumeration, Misfit, camel
from pluginhost.goplugin.kinds import Kinds, snake
from pluginhost.goplugin.printing import print_file
from pluginhost.goplugin.records import Record
from pluginhost.identity import module_of
from pluginhost.isolation.shapes import Uncrossable, row_of, table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Final

    from pluginhost.isolation import codec


class Method:
    """A method as it is called there, or the reading or the writing of an attribute.

    Attributes:
        name: What it is called in the contract.
        kind: `call`, or `read` or `write` of an attribute.
        rpc: What it is called there.
        path: `/package.Service/Method`.
        is_stream: Whether what it returns is a stream of items.
        is_async: Whether it is a coroutine function, or its stream asynchronous.
        is_idempotent: Whether its contract says that a second call does no more than the first.
        request: The message of its arguments.
        reply: The message of what it returns, or of each item of its stream.
    """

    __slots__ = (
        "_defaults", "_file", "_is_by_place", "_signature", "is_async", "is_idempotent", "is_stream", "kind", "name",
        "path", "reply", "request", "rpc",
    )  # fmt: skip

    def __init__(self, of: codec.Method, file: File, kinds: Kinds) -> None:
        """Makes its messages.

        Raises:
            Uncrossable: There is nothing in protobuf for one of its types.
        """
        self.name, self.kind = of.name, of.kind
        self.is_stream, self.is_async, self.is_idempotent = of.is_stream, of.is_async, of.is_idempotent
        self.rpc = _rpc(of)
        self.path = f"/{file.service}/{self.rpc}"
        self._file = file
        self._signature = of.signature
        parameters = of.signature.parameters.values()
        self._is_by_place = any(each.kind in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL) for each in parameters)
        self.request = _request(f"{self.rpc}Request", parameters, kinds)
        self.reply = _reply(f"{self.rpc}Response", of, kinds)
        self._defaults: dict[str, Any] | None = None

    def pack_call(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> bytes:
        """Returns the request of a call. The contract's defaults are in it: the other side need not know them.

        Raises:
            TypeError: These are not its arguments.
            PluginCallError: One of them is not of its type.
        """
        bound = self._signature.bind(*arguments, **named)
        if self._defaults is None:
            self._defaults = self._sendable()
        return self._packed(self.request, self._defaults | bound.arguments, "arguments-wrong")

    def unpack_call(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns the arguments of a request, by place and by name.

        Raises:
            PluginCallError: They are not of their types.
        """
        bound = inspect.BoundArguments(self._signature, self._unpacked(self.request, data, "arguments-wrong"))
        if self._is_by_place:
            bound.apply_defaults()  # what follows one that was left out could not be given
        return bound.args, bound.kwargs

    def pack_result(self, value: object) -> bytes:
        """Returns the response for what was returned, or for an item of the stream.

        Raises:
            PluginCallError: It is not of its type.
        """
        return self._packed(self.reply, value, "reply-wrong")

    def unpack_result(self, data: bytes) -> Any:
        """Returns what was returned, or an item of the stream.

        Raises:
            PluginCallError: It is not of its type.
        """
        return self._unpacked(self.reply, data, "reply-wrong")

    def _sendable(self) -> dict[str, Any]:
        """Returns the defaults that are values of their types, and no marks that nothing was given."""
        defaults = {}
        for field, each in zip(self.request.fields, self._signature.parameters.values(), strict=True):
            if each.default is not each.empty:
                try:
                    field.put(self._file.message(self.request.name)(), each.default)
                except Exception:  # whatever an object raises that is looked at
                    continue
                defaults[each.name] = each.default
        return defaults

    def _packed(self, record: Record, value: object, code: str) -> bytes:
        message = self._file.message(record.name)()
        try:
            record.fill(message, value)
            data: bytes = message.SerializeToString()
        except Exception as exc:  # whatever an object raises that is looked at
            raise self._wrong(code, exc) from exc
        return data

    def _unpacked(self, record: Record, data: bytes, code: str) -> Any:
        try:
            return record.read(self._file.message(record.name).FromString(data))
        except Exception as exc:  # it is no such message, or a class of the contract's refuses what came
            raise self._wrong(code, exc) from exc

    def _wrong(self, code: str, exc: Exception) -> PluginCallError:
        what, hint = _WRONG[code]
        why = str(exc) if isinstance(exc, Misfit) else describe(exc)
        return PluginCallError(Finding(code, f"{self.path}: {what}: {why}", hint), method=self.name)


_WRONG: Final = {
    "arguments-wrong": ("the arguments are not what the contract says", "see the annotations of the contract's method"),
    "reply-wrong": ("what was returned is not what the contract says", "tell the plugin's author, or upgrade it"),
}


class File:
    """A contract's `.proto` file.

    Attributes:
        name: What it is called: `pluginapi/greeter.proto`.
        api: The package that defines the contract.
        service: The full name of its service.
        descriptor: What it declares.
        methods: By their names in the contract.
        reads: What reads an attribute, by its name.
        writes: What writes one.
    """

    def __init__(self, contract: type, calls: Iterable[codec.Method]) -> None:
        """Declares what a contract needs.

        Args:
            contract: The contract.
            calls: What of it can be called, as it crosses to another process.

        Raises:
            ConfigurationError: There is nothing in protobuf for something of it.
        """
        self.api, of = module_of(contract).partition(".")[0], snake(contract.__name__)
        self.name = f"{self.api}/{of}.proto"
        self.methods: dict[str, Method] = {}
        self.reads: dict[str, Method] = {}
        self.writes: dict[str, Method] = {}
        self.descriptor = FileDescriptorProto(name=self.name, package=f"{self.api}.{of}", syntax="proto3")
        self.descriptor.options.go_package = f"{self.api}/{of.replace('_', '')}pb"
        self.service = f"{self.descriptor.package}.{contract.__name__}"
        self._contract = contract
        self._options: dict[str, dict[str, str]] = {}
        self._needs: list[File] = []
        self._comments = {contract.__name__: _doc_of(contract)}
        kinds = Kinds()
        for each in calls:
            try:
                self._add(each, kinds)
            except Exception as exc:
                raise self._uncrossable(each.name, exc) from exc
        try:
            self._declare(kinds)
        except Uncrossable as exc:
            raise self._uncrossable("", exc) from exc

    @property
    def text(self) -> str:
        """The text of the file, without a word of where it comes from."""
        return print_file(self.descriptor, self._comments, self._options)

    def explain(self, comment: str) -> None:
        """Puts a comment at the file's beginning."""
        self._comments[""] = comment

    def define(self, option: str, number: int, of: str) -> None:
        """Adds an option that other files may have.

        Args:
            option: What it is called.
            number: Its number.
            of: The message that it is.
        """
        self.descriptor.dependency.append("google/protobuf/descriptor.proto")
        self.descriptor.extension.add(
            name=option, number=number, extendee=".google.protobuf.FileOptions", label=1, type=11,
            type_name=f".{self.descriptor.package}.{of}",
        )  # fmt: skip

    def state(self, by: File, option: str, values: dict[str, str]) -> None:
        """Sets an option that another file defines.

        Args:
            by: The other file.
            option: What it is called there.
            values: What it says.
        """
        name = f"{by.descriptor.package}.{option}"
        options = by.message(".google.protobuf.FileOptions")()
        stated = options.Extensions[by.pool.FindExtensionByName(name)]
        stated.SetInParent()
        for key, value in values.items():
            setattr(stated, key, value)
        self.descriptor.options.MergeFromString(options.SerializeToString())
        self.descriptor.dependency.append(by.name)
        self._needs.append(by)
        self._options[name] = values

    @functools.cached_property
    def pool(self) -> DescriptorPool:
        """All that the file declares and needs: a pool of its own, since another contract may have the same names."""
        pool = DescriptorPool()
        for each in (descriptor_pb2, timestamp_pb2, duration_pb2, struct_pb2, empty_pb2):
            pool.AddSerializedFile(each.DESCRIPTOR.serialized_pb)
        for file in (*self._needs, self):
            pool.AddSerializedFile(file.descriptor.SerializeToString())
        return pool

    def message(self, name: str) -> Any:
        """Returns the class of a message, by its full name with a dot before it."""
        if name not in self._classes:
            self._classes[name] = GetMessageClass(self.pool.FindMessageTypeByName(name[1:]))
        return self._classes[name]

    @functools.cached_property
    def _classes(self) -> dict[str, Any]:
        return {}

    @property
    def _all(self) -> Iterator[Method]:
        yield from (*self.methods.values(), *self.reads.values(), *self.writes.values())

    def _add(self, call: codec.Method, kinds: Kinds) -> None:
        member = inspect.getattr_static(self._contract, call.name, None)
        is_own = call.name.startswith("_") and not call.name.endswith("__")
        if is_own and not getattr(member, "__isabstractmethod__", False):
            return  # the contract's own business
        if call.kind == "write" and not isinstance(member, property):
            return  # it is what the plugin says of itself
        method = Method(call, self, kinds)
        require_name(method.rpc)
        if other := next((each for each in self._all if each.rpc == method.rpc), None):
            raise Uncrossable(f"it and {other.name} are both called {method.rpc} there")
        {"call": self.methods, "read": self.reads, "write": self.writes}[call.kind][call.name] = method
        if call.kind != "write" and isinstance(member, _DESCRIBED):
            self._comments[f"{self._contract.__name__}.{method.rpc}"] = inspect.cleandoc(member.__doc__ or "")

    def _declare(self, kinds: Kinds) -> None:
        """Names what must be declared, and declares it.

        Raises:
            Uncrossable: Something cannot have its name there.
        """
        names = Names(self.descriptor.package, self._contract.__name__)
        of_classes = [made for made in kinds.made if isinstance(made, Enumeration | Record) and made.cls]
        for made in of_classes:
            names.give(made, made.label)
        declared: dict[str, DescriptorProto] = {}
        for each in kinds.made:
            if not isinstance(each, Enumeration) and each not in of_classes:
                names.share(each, declared)  # those within it were made before it, and so have their names
        asked = [record for method in self._all for record in (method.request, method.reply)]
        for record in asked:
            names.give(record, record.label)
        declared |= {made.name: message_of(made) for made in of_classes if isinstance(made, Record)}
        declared = {each.name: declared[each.name] for each in kinds.made if each.name in declared}
        self.descriptor.message_type.extend([*map(message_of, asked), *declared.values()])
        self.descriptor.enum_type.extend(enum_of(made, names) for made in of_classes if isinstance(made, Enumeration))
        self.descriptor.dependency.extend(sorted(kinds.files))
        service = self.descriptor.service.add(name=self._contract.__name__)
        for method in self._all:
            rpc = service.method.add(name=method.rpc, input_type=method.request.name, output_type=method.reply.name)
            if method.is_stream:
                rpc.server_streaming = True
        for made in of_classes:
            self._comments[made.name.rpartition(".")[2]] = _doc_of(made.cls or object)

    def _uncrossable(self, name: str, exc: Exception) -> ConfigurationError:
        why = str(exc) if isinstance(exc, Uncrossable) else describe(exc)
        where = ".".join(each for each in (module_of(self._contract), self._contract.__qualname__, name) if each)
        what = f"{where} cannot be called by way of protobuf: {why}"
        hint = "annotate it with plain data, containers, dataclasses, enums or dates; or have a Python plugin for it"
        return ConfigurationError(Finding("contract-uncrossable", what, hint))


def _rpc(of: codec.Method) -> str:
    return {"call": "", "read": "Get", "write": "Set"}[of.kind] + camel(of.name)


def _request(label: str, parameters: Iterable[inspect.Parameter], kinds: Kinds) -> Record:
    """Returns the message of a method's arguments, whose value is a dictionary of what is given."""
    record = Record(label, (dict,), lambda given: [given.get(each.name, OMITTED) for each in record.fields], dict)
    for number, each in enumerate(parameters, 1):
        kind: Any = each.annotation
        default: Callable[[], Any] | None = None if each.default is each.empty else lambda given=each.default: given
        if each.kind is each.VAR_POSITIONAL:
            kind, default = row_of([kind, ...]), tuple
        elif each.kind is each.VAR_KEYWORD:
            kind, default = table_of(kind), dict
        try:
            record.fields.append(kinds.field(each.name, number, kind, default))
        except Uncrossable as exc:
            raise Uncrossable(f"its {each.name} is {exc}") from exc
    return record


def _reply(label: str, of: codec.Method, kinds: Kinds) -> Record:
    """Returns the message of what a method returns, or of an item of its stream."""
    kind = of.signature.return_annotation
    if of.is_stream:
        kind = typing.get_args(kind)[0]
    if kind in (None, type(None)):
        return Record(label, (type(None),), lambda value: [], lambda parts: None)
    record = Record(label, (object,), lambda value: [value], lambda parts: parts["result"])
    try:
        record.fields.append(kinds.field("result", 1, kind))
    except Uncrossable as exc:
        raise Uncrossable(f"what it returns is {exc}") from exc
    return record


def _doc_of(cls: type) -> str:
    doc = vars(cls).get("__doc__")
    # Else it is what a dataclass says of itself.
    return inspect.cleandoc(doc) if type(doc) is str and not doc.startswith(f"{cls.__name__}(") else ""


_DESCRIBED: Final = (types.FunctionType, property, functools.cached_property, staticmethod, classmethod)
