"""Whether what a plugin returns is what its contract's annotations say.

msgspec would not do alone: it takes a dictionary for a dataclass, a set for a list, and whatever an instance of a
dataclass holds. So values are walked here, beside their annotations, and msgspec judges what its own `Meta` demands.
What is walked is the plugin's own object, past what its class may say of it, and goes on to the caller unchanged.
"""

from __future__ import annotations

import collections
import dataclasses
import inspect
import sys
import typing
from typing import TYPE_CHECKING, Any, TypeAlias

from pluginhost import hints, identity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator
    from typing import Final

    from pluginhost.errors import PluginCallError

    Fault: TypeAlias = tuple[str, str] | None
    Parts: TypeAlias = Iterator[tuple[str, Any, Any]]

DEEPEST: Final = 64
"""How many lists, tables and objects may stand in one another."""
_PATH_LIMIT: Final = 200
_MISSING: Final = object()
_PYTHONS: Final = ("builtins", "collections", "collections.abc")
_PLAIN: Final = (str, bytes, bool, int)


class Check:
    """Has what one method returns checked.

    A fault is told as the path to it and what it is, or `None` where there is none.
    """

    __slots__ = ("_fields", "_hint", "_refuse")

    def __init__(self, hint: Any, refuse: Callable[[str], PluginCallError]) -> None:
        """Takes what the contract says, and what returns the error for something that is otherwise."""
        self._hint = hint
        self._refuse = refuse
        self._fields: dict[type, dict[str, Any]] = {}

    def hold(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function whose value is checked; where that is an iterator, each of its items."""

        def call(*args: Any, **named: Any) -> Any:
            found = function(*args, **named)
            self._require(found, self._hint)
            return self._each(found) if hasattr(type(found), "__next__") else found

        return call

    def hold_async(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a coroutine function whose value is checked."""

        async def call(*args: Any, **named: Any) -> Any:
            found = await function(*args, **named)
            self._require(found, self._hint)
            return found

        return call

    def hold_items(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns an asynchronous generator function whose items are checked."""

        async def call(*args: Any, **named: Any) -> AsyncIterator[Any]:
            items, number = function(*args, **named), 0
            try:
                async for item in items:
                    self._require(item, hints.item(self._hint), f"$[{number}]")
                    yield item
                    number += 1
            finally:
                if hasattr(items, "aclose"):
                    await items.aclose()

        return call

    def _each(self, items: Any) -> Generator[Any, Any, Any]:
        number, given = 0, None
        try:
            while True:
                try:
                    item = next(items) if given is None else items.send(given)
                except StopIteration as end:
                    return end.value
                self._require(item, hints.item(self._hint), f"$[{number}]")
                given = yield item
                number += 1
        finally:
            if hasattr(items, "close"):
                items.close()

    def _require(self, value: object, hint: Any, path: str = "$") -> None:
        # What holds a thing twice, and that again, would have no end. They are held, so that no other has their id.
        seen: dict[tuple[int, int], tuple[int, object, object]] = {}
        if fault := self._fault(value, hint, 0, seen):
            path += fault[0]  # of a long one the end says most
            raise self._refuse(f"{path if len(path) <= _PATH_LIMIT else f'$…{path[-_PATH_LIMIT:]}'} {fault[1]}")

    def _fault(self, value: object, hint: Any, depth: int, seen: dict[Any, Any]) -> Fault:
        hint, meta = hints.bare(hint)
        wanted = hints.alternatives(hint)
        if len(wanted) > 1:
            fit = [each for each in wanted if _own_fault(value, hints.bare(each)[0]) is None]
            faults = [self._fault(value, each, depth, seen) for each in fit]
            nothing = f"is a {identity.class_name(value)}, not {' or '.join(map(_name, wanted))}"
            return None if None in faults else (faults or [("", nothing)])[0]
        if fault := _own_fault(value, hint) or _judged(value, hint, meta):
            return fault
        parts = self._parts(value, hint)
        if parts is None or seen.get((id(value), id(hint)), (-1,))[0] >= depth:
            return None
        if depth == DEEPEST:
            return "", f"is nested deeper than {DEEPEST}"
        seen[id(value), id(hint)] = depth, value, hint
        for path, part, said in parts:
            if part is _MISSING:
                return path, "is missing"
            if fault := self._fault(part, said, depth + 1, seen):
                return path + fault[0], fault[1]
        return None

    def _parts(self, value: Any, hint: Any) -> Parts | None:
        """Returns what a value holds: the path to each part, the part, its annotation; `None` when it holds nothing."""
        kind, args = type(value), _arguments(hint)
        if issubclass(kind, dict):
            if typing.is_typeddict(hint):
                return _keyed(value, hint)
            return _entries(value, *args) if len(args) == 2 else _entries(value, _first(args), Any)
        if _has(kind, "__dataclass_fields__") or _has(kind, "__struct_fields__"):
            return ((f".{name}", getattr(value, name, _MISSING), said) for name, said in self._said(kind).items())
        if issubclass(kind, tuple) and _has(kind, "_fields"):
            said = self._said(kind)
            return ((f".{name}", part, said[name]) for name, part in zip(said, tuple.__iter__(value), strict=False))
        if issubclass(kind, tuple) and _is_row(hint):
            return ((f"[{at}]", part, args[at]) for at, part in enumerate(tuple.__iter__(value)))
        for own in (tuple, list, collections.deque, set, frozenset):
            if issubclass(kind, own):
                return ((f"[{at}]", part, _first(args)) for at, part in enumerate(own.__iter__(value)))
        return None

    def _said(self, kind: type) -> dict[str, Any]:
        """Returns the annotation of each field of a class."""
        if kind not in self._fields:
            if dataclasses.is_dataclass(kind):
                names = [field.name for field in dataclasses.fields(kind)]
            else:
                names = list(getattr(kind, "__struct_fields__", None) or kind._fields)  # type: ignore[attr-defined]
            try:
                said = typing.get_type_hints(kind, include_extras=True)
            except Exception:  # they name what is there for type checkers alone
                said = {}
            self._fields[kind] = {name: said.get(name, Any) for name in names}
        return self._fields[kind]


def _own_fault(value: Any, hint: Any) -> Fault:
    """Returns what is wrong with a value itself, whatever it holds."""
    origin = type(None) if hint is None else typing.get_origin(hint) or hint
    if typing.is_typeddict(origin):
        origin = dict
    if origin is typing.Literal:
        if not any(value is each or _is_equal(value, each) for each in typing.get_args(hint)):
            return "", f"is a {identity.class_name(value)} that is none of {_name(hint)}"
    elif isinstance(origin, type) and origin is not Any and not identity.is_of(value, origin):
        return "", f"is a {identity.class_name(value)}, not a {_name(hint)}"
    if _is_row(hint) and tuple.__len__(value) != len(typing.get_args(hint)):
        return "", f"is a tuple of {tuple.__len__(value)}, not a {_name(hint)}"
    if issubclass(type(value), str) and not _can_be_encoded(value):
        return "", "is a text with a lone surrogate, which cannot leave the process"
    if issubclass(type(value), int) and not -(2**63) <= int.__index__(value) < 2**64:
        return "", "is a number of more than 64 bits, which cannot leave the process"
    return None


def _judged(value: object, hint: Any, meta: tuple[Any, ...]) -> Fault:
    """Returns what msgspec says of what its `Meta` demands."""
    msgspec: Any = sys.modules.get("msgspec")  # else nobody has made one
    for each in meta if msgspec else ():
        if type(each) is msgspec.Meta:
            try:
                msgspec.convert(value, typing.Annotated[hint, each])
            except msgspec.ValidationError as exc:
                return "", f"is not what the contract demands: {exc}"
            except Exception:  # it does not know the type
                return None
    return None


def _entries(value: dict[Any, Any], of_key: Any, of_value: Any) -> Parts:
    for at, (key, part) in enumerate(dict.items(value)):
        yield f".keys()[{at}]", key, of_key
        yield f"[{repr(key)[:40] if type(key) in _PLAIN else '…'}]", part, of_value


def _keyed(value: dict[Any, Any], hint: Any) -> Parts:
    """Yields the parts of a `TypedDict`; what it does not name may be there besides."""
    for key, said in typing.get_type_hints(hint, include_extras=True).items():
        part = dict.get(value, key, _MISSING)
        # Where annotations are texts, Python takes what need not be there for required.
        is_required = key in hint.__required_keys__ and typing.get_origin(said) is not typing.NotRequired
        if part is not _MISSING or is_required:
            yield f"[{key!r}]", part, said


def _arguments(hint: Any) -> tuple[Any, ...]:
    """Returns what an annotation says of what is held, where its class is Python's own: that of another may differ."""
    return typing.get_args(hint) if getattr(typing.get_origin(hint), "__module__", "") in _PYTHONS else ()


def _first(args: tuple[Any, ...]) -> Any:
    return args[0] if args else Any


def _is_row(hint: Any) -> bool:
    """Returns whether it is a tuple with an annotation for each item."""
    return typing.get_origin(hint) is tuple and typing.get_args(hint)[1:] != (...,)


def _has(kind: type, name: str) -> bool:
    return any(name in identity.defined_by(cls) for cls in type.__dict__["__mro__"].__get__(kind))


def _is_equal(value: object, literal: object) -> bool:
    return type(value) is type(literal) and type(value) in _PLAIN and value == literal


def _can_be_encoded(text: str) -> bool:
    try:
        str.encode(text)
    except UnicodeEncodeError:
        return False
    return True


def _name(hint: Any) -> str:
    return inspect.formatannotation(hint)
