"""A contract's calls as messages: what its annotations say is what crosses.

Both sides make the same of a contract, each from the class that it has: a number for each method, and for each
attribute one to read and one to write it. Large bytes that are an argument, a result, or a field of a dataclass that is
one, are the message's body and are not encoded.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import typing
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

import pluginapi
from pluginhost.errors import ConfigurationError, Finding, PluginCallError, describe
from pluginhost.isolation import frames
from pluginhost.isolation.frames import APART, CALLS, DEEPEST, LARGE, META_LIMIT, PACKED, RAW, Message
from pluginhost.isolation.shapes import (
    STREAMS,
    Shape,
    Uncrossable,
    fields_of,
    from_wire,
    is_open,
    row_of,
    shape_of,
    table_of,
    text_of,
    to_wire,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from typing import Final

    from pluginhost.isolation.frames import Frame

_HOSTS: Final = {"name", "init", "validate", "shutdown"}
_ENCODE: Final = msgspec.msgpack.Encoder(enc_hook=to_wire).encode


class Values:
    """What crosses at one place: a method's arguments, or what it returns.

    Attributes:
        pack: Returns a value as a message; raises `PluginCallError` when it does not cross.
        unpack: Returns the value that a frame has; raises `PluginCallError` when it is not of its type, or malformed.
    """

    # Two functions, not methods: each call goes through both, on both sides.
    __slots__ = ("pack", "unpack")

    def __init__(self, kind: Any, code: str) -> None:
        """Makes what encodes and decodes a type.

        Args:
            kind: The type, or how it crosses.
            code: The code of what is not of that type.

        Raises:
            Uncrossable: It does not cross.
        """
        shape = kind if isinstance(kind, Shape) else shape_of(kind)
        leaf = None if shape.wrap else _leaf_of(kind)
        self.pack: Callable[[Any], Message] = _packing(shape.wrap, leaf, code)
        self.unpack: Callable[[Frame], Any] = _unpacking(shape, leaf, code)


def _packing(wrap: Callable[[Any], Any] | None, leaf: _Leaf | None, code: str) -> Callable[[Any], Message]:
    encode = _ENCODE if wrap is None else lambda value: _ENCODE(wrap(value))

    def pack(value: Any) -> Message:
        try:
            meta = encode(value)
        except Exception as exc:  # whatever an object raises that is looked at
            raise _wrong(code, exc) from exc
        return Message(0, meta, b"") if len(meta) < LARGE else Message(PACKED, b"", meta)

    if leaf is None:
        return pack
    size, split = leaf.size, leaf.split

    def pack_apart(value: Any) -> Message:
        try:
            if size(value) < APART:
                meta = encode(value)
                return Message(0, meta, b"") if len(meta) < LARGE else Message(PACKED, b"", meta)
            rest, body = split(value)
            meta = encode(rest)
        except Exception:  # it is not of its type, or does not cross: the other way tells
            return pack(value)
        return Message(RAW, meta, body) if len(meta) <= META_LIMIT else pack(value)

    return pack_apart


def _unpacking(shape: Shape, leaf: _Leaf | None, code: str) -> Callable[[Frame], Any]:
    decode, unwrap, has_no_end = _decoder(shape.wire), shape.unwrap, is_open(shape.wire)
    decode_rest = _decoder(leaf.rest) if leaf else None

    def value_of(frame: Frame) -> Any:
        flags, meta, body = frame.flags, frame.meta, frame.body
        if flags & RAW and leaf and decode_rest:
            return leaf.join(decode_rest(meta), body)
        if flags & PACKED:
            meta, body = body, meta
        if body:
            raise frames.malformed("it has a body where none belongs")
        if has_no_end:
            require_shallow(meta)
        value = decode(meta)
        return unwrap(value) if unwrap else value

    def unpack(frame: Frame) -> Any:
        try:
            return value_of(frame)
        except PluginCallError:
            raise
        except msgspec.ValidationError as exc:
            raise _wrong(code, exc) from exc
        except (msgspec.DecodeError, RecursionError, UnicodeError) as exc:
            raise frames.malformed(str(exc)) from exc
        except Exception as exc:  # a class of the contract's that refuses what came
            raise _wrong(code, exc) from exc

    if has_no_end or unwrap:
        return unpack

    def unpack_plain(frame: Frame) -> Any:
        if not frame.flags and not frame.body:
            try:
                return decode(frame.meta)
            except Exception:  # the other way tells
                pass
        return unpack(frame)

    return unpack_plain


def _wrong(code: str, exc: Exception) -> PluginCallError:
    what, hint = _WRONG[code]
    why = str(exc) if isinstance(exc, msgspec.ValidationError) else describe(exc)
    return frames.error(code, f"{what}: {why}", hint)


_WRONG: Final = {
    "arguments-wrong": ("the arguments do not cross", "see the annotations of the contract's method"),
    "reply-wrong": ("what was returned is not what the contract says", "tell the plugin's author, or upgrade it"),
}


class _Leaf(NamedTuple):
    """Where within a type the bytes are that may be a message's body.

    Attributes:
        path: The way to them, as Python has it: `[0].body`.
        rest: The type without them.
        size: Returns how many bytes a value has there.
        split: Returns the rest of a value, and the bytes; raises when these are no bytes, or the value not of the type.
        join: Returns the value.
    """

    path: str
    rest: Any
    size: Callable[[Any], int]
    split: Callable[[Any], tuple[Any, bytes]]
    join: Callable[[Any, bytes], Any]


def at_once(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Returns what a function returns, called in no context but this one."""
    return call(*arguments, **named)


_END: Final = object()


class Method:
    """A method as it crosses, or the reading or the writing of an attribute.

    Attributes:
        name: What it is called.
        kind: `call`, or `read` or `write` of an attribute.
        operation: Its number.
        is_stream: Whether what it returns is a stream of items.
        is_async: Whether it is a coroutine function, or its stream asynchronous.
        is_idempotent: Whether its contract says that a second call does no more than the first.
        is_plain: Whether all its arguments are given in each call, and can be given by their places.
        given: How many these are; -1 of one that is not plain.
        signature: Its parameters without `self`, and what it returns; the annotations are types.
        arguments: What crosses of a plain one's call: its arguments by their places.
        result: What crosses of what it returns, or of each item of its stream.
    """

    __slots__ = (
        "arguments", "given", "is_async", "is_idempotent", "is_plain", "is_stream", "kind", "name", "operation",
        "result", "signature",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        signature: inspect.Signature,
        kind: Literal["call", "read", "write"],
        *,
        is_async: bool = False,
        is_idempotent: bool = False,
    ) -> None:
        """Makes what encodes and decodes its arguments and what it returns; the annotations are types.

        Raises:
            Uncrossable: One of them does not cross.
        """
        self.name, self.signature, self.kind = name, signature, kind
        self.operation = 0
        self.is_idempotent = is_idempotent
        result, self.is_stream, self.is_async = signature.return_annotation, False, is_async
        if (origin := typing.get_origin(result)) in STREAMS:
            self.is_stream, self.is_async = True, STREAMS[origin] or is_async
            result, *others = typing.get_args(result)
            if any(other not in (None, type(None)) for other in others):
                raise Uncrossable(f"what it returns is {text_of(signature.return_annotation)}, and only items cross")
        parameters = list(signature.parameters.values())
        for each in parameters:
            _require_crossable(f"its {each.name}", each.annotation)
        _require_crossable("what it returns", result)
        plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self.is_plain = all(each.kind in plain and each.default is each.empty for each in parameters)
        self.given = len(parameters) if self.is_plain else -1
        kinds = [each.annotation for each in parameters]
        self.arguments = _by_place(kinds) if self.is_plain else _by_name(name, parameters)
        self.result = Values(result, "reply-wrong")

    @property
    def text(self) -> str:
        """What is called, and the types that cross."""
        takes = ", ".join(
            f"{each.name}{'' if each.default is each.empty else '='}: {text_of(each.annotation)}"
            for each in self.signature.parameters.values()
        )
        gives = text_of(self.signature.return_annotation)
        return f"{self.kind} {'async ' * self.is_async}{self.name}({takes}) -> {gives}"

    def packed(self, iterable: Iterable[Any], run: Callable[..., Any] = at_once) -> Generator[Message, None, None]:
        """Yields the items of a stream as messages; it is to be closed by its user, which closes the stream.

        Args:
            iterable: The stream.
            run: Calls a function, for each step of it.

        Raises:
            PluginCallError: One of them is not of its type.
        """
        items = run(iter, iterable)
        try:
            while (item := run(next, items, _END)) is not _END:
                yield self.result.pack(item)
        finally:
            if hasattr(items, "close"):
                run(items.close)

    def apply(self, plugin: object, frame: Frame) -> Any:
        """Returns what a plugin's method returns for a call; or does what else it is.

        Raises:
            PluginCallError: The arguments are not of their types.
        """
        if self.is_plain and self.kind == "call":
            return getattr(plugin, self.name)(*self.arguments.unpack(frame))
        arguments, named = self.unpack_call(frame)
        if self.kind == "read":
            return getattr(plugin, self.name)
        if self.kind == "write":
            return setattr(plugin, self.name, *arguments)
        return getattr(plugin, self.name)(*arguments, **named)

    def pack_call(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> Message:
        """Returns a call as a message. A default that is not overridden stays the other side's.

        Raises:
            TypeError: These are not its arguments.
            PluginCallError: One of them does not cross.
        """
        if not self.is_plain:
            return self.arguments.pack(dict(self.signature.bind(*arguments, **named).arguments))
        if named or len(arguments) != self.given:
            arguments = self.signature.bind(*arguments, **named).args
        return self.arguments.pack(arguments)

    def unpack_call(self, frame: Frame) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns the arguments of a call, by place and by name.

        Raises:
            PluginCallError: They are not of their types.
        """
        values = self.arguments.unpack(frame)
        if self.is_plain:
            return values, {}
        bound = inspect.BoundArguments(self.signature, values)
        return bound.args, bound.kwargs


class Codec:
    """What of some contracts crosses, and how.

    Attributes:
        methods: By name.
        reads: What reads an attribute, by its name.
        writes: What writes one; those that are read-only have none.
        operations: All of them by number.
        digest: The same text where the same crosses.
    """

    def __init__(self, *contracts: type) -> None:
        """Reads the annotations of contracts.

        Raises:
            ConfigurationError: Something of them does not cross.
        """
        self.methods: dict[str, Method] = {}
        self.reads: dict[str, Method] = {}
        self.writes: dict[str, Method] = {}
        for contract in contracts:
            for name, (definer, member) in _members(contract).items():
                if name not in self.methods and name not in self.reads:
                    self._add(contract, definer, name, member)
        by_kind = (self.methods, self.reads, self.writes)
        ordered = [methods[name] for methods in by_kind for name in sorted(methods)]
        self.operations = dict(enumerate(ordered, CALLS))
        for number, method in self.operations.items():
            method.operation = number
        self.digest = "; ".join(method.text for method in ordered)

    def _add(self, contract: type, definer: type, name: str, member: Any) -> None:
        try:
            if inspect.isfunction(function := getattr(member, "__func__", member)):
                self.methods[name] = method_of(name, function, skips=0 if isinstance(member, staticmethod) else 1)
                return
            kind, is_bound = _kind_of(member, definer, name)
            self.reads[name] = Method(name, inspect.Signature(return_annotation=kind), "read")
            if is_bound:
                value = inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY, annotation=kind)
                self.writes[name] = Method(name, inspect.Signature([value], return_annotation=None), "write")
        except Exception as exc:  # an annotation that is looked up may raise anything
            if name.startswith("_") and not getattr(member, "__isabstractmethod__", False):
                return  # the contract's own business
            why = str(exc) if isinstance(exc, Uncrossable) else describe(exc)
            what = f"{contract.__module__}.{contract.__qualname__}.{name} cannot cross to another process: {why}"
            hint = "annotate it with plain data, containers, dataclasses, enums or dates; or run the plugin in-process"
            finding = Finding("contract-uncrossable", what, hint)
            raise ConfigurationError(finding) from exc


@functools.cache
def codec_of(*contracts: type) -> Codec:
    """Returns the codec of some contracts, the same each time; else as `Codec`."""
    return Codec(*contracts)


def require_shallow(data: bytes) -> None:
    """Raises if lists and tables are nested deeper than may be; what they would be made into is made only then.

    Raises:
        PluginCallError: They are.
        DecodeError: They are none.
        RecursionError: They are nested deeper than can be looked into.
    """
    # Each level costs a byte that ASCII text and small numbers do not have: mostly this is all there is to do.
    if len(data) - len(data.translate(None, _OPENERS)) <= DEEPEST:
        return
    level = [msgspec.msgpack.decode(data)]
    for _ in range(DEEPEST):
        level = [inner for each in level for inner in _within(each) if isinstance(inner, dict | list | tuple)]
        if not level:
            return
    raise frames.malformed(f"lists and tables nested deeper than {DEEPEST}")


_OPENERS: Final = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
"""The bytes with which msgpack's lists and tables begin."""


def _within(value: Any) -> Iterable[Any]:
    return itertools.chain(value, value.values()) if isinstance(value, dict) else value


def _decoder(wire: Any) -> Callable[[bytes], Any]:
    return msgspec.msgpack.Decoder(wire, dec_hook=from_wire).decode


def _members(contract: type) -> dict[str, tuple[type, Any]]:
    """Returns what a contract has, by name: the class that defines it, and what stands there."""
    found: dict[str, tuple[type, Any]] = {}
    for cls in contract.__mro__:
        if cls in (object, pluginapi.Plugin) or cls.__module__ in ("abc", "typing"):
            continue
        for name in (*vars(cls), *vars(cls).get("__annotations__", ())):
            member = vars(cls).get(name, _ANNOTATED)
            is_hosts = name in _HOSTS or name in vars(object) or isinstance(member, type)
            is_machinery = name.startswith("_") and not inspect.isfunction(member)
            if not is_hosts and not is_machinery:
                found.setdefault(name, (cls, member))
    return found


_ANNOTATED: Final = object()
"""Stands for the value of an attribute that is annotated and no more."""


def method_of(name: str, function: Callable[..., Any], skips: int) -> Method:
    """Returns a function of a class as it crosses.

    Args:
        name: What it is called.
        function: The function.
        skips: How many of its first parameters no caller gives, such as `self`.

    Raises:
        Uncrossable: Something of it does not cross.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())[skips:]
    typed = [each.replace(annotation=hints.get(each.name, each.empty)) for each in parameters]
    signature = inspect.Signature(typed, return_annotation=hints.get("return", inspect.Signature.empty))
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    is_idempotent = getattr(function, "__idempotent__", False) is True
    return Method(name, signature, "call", is_async=is_async, is_idempotent=is_idempotent)


def _kind_of(member: Any, definer: type, name: str) -> tuple[Any, bool]:
    """Returns the type of an attribute, and whether it may be bound."""
    getter = getattr(member, "fget", getattr(member, "func", None))
    if isinstance(member, property | functools.cached_property) and getter:
        is_bound = not isinstance(member, property) or member.fset is not None
        return typing.get_type_hints(getter, include_extras=True).get("return", inspect.Signature.empty), is_bound
    kind = typing.get_type_hints(definer, include_extras=True).get(name, type(member))
    if typing.get_origin(kind) in (typing.ClassVar, typing.Final):
        (kind,) = typing.get_args(kind)
    return kind, True


def _require_crossable(place: str, kind: Any) -> None:
    """Raises if a type does not cross, naming the place.

    Raises:
        Uncrossable: It does not.
    """
    if kind is inspect.Parameter.empty:
        raise Uncrossable(f"{place} has no annotation")
    try:
        shape_of(kind)
    except Uncrossable as exc:
        raise Uncrossable(f"{place} is {exc}") from exc


def _by_place(kinds: list[Any]) -> Values:
    """Returns what encodes and decodes arguments that are all given, by their places."""
    return Values(row_of(kinds), "arguments-wrong")


def _by_name(name: str, parameters: list[inspect.Parameter]) -> Values:
    """Returns what encodes and decodes arguments some of which may be left out, by their names."""
    shapes = {each.name: shape_of(_given(each)) for each in parameters}
    fields = [(each, shape.wire, msgspec.UNSET) for each, shape in shapes.items()]
    table = msgspec.defstruct(f"arguments of {name}", fields, forbid_unknown_fields=True)

    def wrap(given: dict[str, Any]) -> dict[str, Any]:
        return {each: change(value) if (change := shapes[each].wrap) else value for each, value in given.items()}

    def unwrap(values: Any) -> dict[str, Any]:
        given = ((each, getattr(values, each), shape.unwrap) for each, shape in shapes.items())
        return {each: change(value) if change else value for each, value, change in given if value is not msgspec.UNSET}

    return Values(Shape(table, wrap, unwrap), "arguments-wrong")


def _given(parameter: inspect.Parameter) -> Any:
    """Returns the type of what is given for a parameter."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return row_of([parameter.annotation, ...])
    if parameter.kind is parameter.VAR_KEYWORD:
        return table_of(parameter.annotation)
    return parameter.annotation


def _leaf_of(kind: Any) -> _Leaf | None:
    """Returns where within a type the bytes are that may be a body; of several, the first."""
    if kind is bytes:
        return _Leaf("", type(None), len, _split_bytes, lambda _, body: body)
    if typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        return _leaf_within(kinds, [f"[{place}]" for place in range(len(kinds))], tuple, tuple)
    if fields := fields_of(kind):
        return _leaf_within(
            [each for _, each in fields], [f".{name}" for name, _ in fields], kind, lambda of: kind(*of)
        )
    return None


def _leaf_within(
    kinds: Sequence[Any], paths: list[str], cls: type, make: Callable[[tuple[Any, ...]], Any]
) -> _Leaf | None:
    """Returns the leaf of a type that consists of others.

    Args:
        kinds: The others.
        paths: The way to each.
        cls: The class of its values.
        make: Makes one of its parts.
    """
    shapes = [] if ... in kinds else [shape_of(kind) for kind in kinds]
    leaves = [(place, leaf) for place, kind in enumerate(kinds) if shapes and (leaf := _leaf_of(kind))]
    if not leaves or any(shape.wrap for shape in shapes):
        return None
    place, inner = leaves[0]
    rests = [shape.wire for shape in shapes]
    rests[place] = inner.rest
    # Compiled, since each call looks: only what is long enough is looked at closely.
    size = eval(f"lambda _value: len(_value{paths[place]}{inner.path})")
    take = eval(f"lambda _value: ({''.join(f'_value{path}, ' for path in paths)})")

    def split(value: Any) -> tuple[Any, bytes]:
        if type(value) is not cls:
            raise TypeError
        values = take(value)
        rest, body = inner.split(values[place])
        return (*values[:place], rest, *values[place + 1 :]), body

    def join(rest: Any, body: bytes) -> Any:
        return make((*rest[:place], inner.join(rest[place], body), *rest[place + 1 :]))

    return _Leaf(f"{paths[place]}{inner.path}", row_of(rests), size, split, join)


def _split_bytes(value: Any) -> tuple[Any, bytes]:
    if type(value) is not bytes:
        raise TypeError
    return None, value
