"""Plain values, as TOML gives them, held against a type: every fault with its exact path."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import functools
import itertools
import json
import re
import reprlib
import types
import typing
from collections.abc import Collection, Iterator, Mapping, MutableMapping, MutableSequence, Sequence, Set
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from pluginhost import hints
from pluginhost.errors import ConfigurationError, Finding, describe, wrong
from pluginhost.settings import Range

if TYPE_CHECKING:
    from datetime import date, time

T = TypeVar("T")
Keys: TypeAlias = tuple[str | int, ...]

MISSING: Final = "is missing"
UNKNOWN: Final = "is not a setting"
DEEPEST: Final = 100
MOST: Final = 100
"""How deep a value is looked into, and how many faults an error carries."""

_TABLES: Final = (dict, Mapping, MutableMapping)
_LISTS: Final = (list, set, frozenset, tuple, Sequence, MutableSequence, Set, Collection)
_WORDS: Final[dict[object, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    dict: "a table",
    list: "a list",
}


class Fault(NamedTuple):
    """What is wrong with a value, and where.

    Attributes:
        keys: The way to it, from the value that was checked: the keys of tables, and places in lists.
        path: The same as text, behind the path that was given: `plugins."odd name".config.retries[2]`.
        what: What is there: `is 3`.
        hint: What should be.
    """

    keys: Keys
    path: str
    what: str
    hint: str

    def finding(self, file: str = "") -> Finding:
        """Returns the fault as a finding, which names the file that has it."""
        return Finding("configuration-wrong", f"{file and f'{file}: '}{self.path} {self.what}", self.hint, file)


def faults(value: object, kind: object, path: str = "") -> Iterator[Fault]:
    """Yields all that is wrong with a value.

    Args:
        value: Tables, lists and what else TOML has.
        kind: A type: a dataclass, a `msgspec.Struct`, a `TypedDict`, or whatever else `msgspec.convert` takes. Numbers
            may be `Annotated` with a `Range`.
        path: The path of the value itself.
    """
    try:
        for keys, what, hint in _walk(value, kind, ()):
            yield Fault(keys, joined(path, keys), what, hint)
    except Exception as exc:  # the type is the plugin's: its annotations may name what is not there
        hint = "tell the author of the type: its fields are annotated with what msgspec knows"
        yield Fault((), path, f"cannot be checked: {describe(exc)}", hint)


def require(value: object, kind: type[T], path: str = "") -> T:
    """Returns a value as a type's object.

    Args:
        value: As for `faults`.
        kind: As for `faults`.
        path: As for `faults`.

    Raises:
        ConfigurationError: Something is wrong with it; `more` has what else.
    """
    if found := list(itertools.islice(faults(value, kind, path), MOST)):
        raise ConfigurationError(*(fault.finding() for fault in found))
    try:
        return msgspec.convert(value, kind)
    except Exception as exc:  # a `__post_init__` that thinks better of it
        raise wrong(f"{path} cannot be read: {describe(exc)}", "tell the author of the type") from exc


def schema(kind: object) -> dict[str, Any]:
    """Returns the JSON schema of a type.

    Raises:
        TypeError: It has none.
    """
    made = msgspec.json.schema(kind, schema_hook=lambda _: {"description": "any value"})
    for cls in _tables_in(kind, []):
        properties = made.get("$defs", {}).get(cls.__name__, {}).get("properties", {})
        for name, field in (_fields(cls) or {}).items():
            _add_bounds(properties.get(name, {}), field.kind)
    for definition in made.get("$defs", {}).values():
        if "properties" in definition:
            definition["additionalProperties"] = False
        if "description" in definition:
            definition["description"] = definition["description"].partition("\n\n")[0]
    return made


def _tables_in(kind: object, known: list[type]) -> list[type]:
    """Returns the classes within a type that describe tables, and those within them."""
    kind, _ = hints.bare(kind)
    for inner in typing.get_args(kind):
        _tables_in(inner, known)
    if isinstance(kind, type) and kind not in known and (fields := _fields(kind)):
        known.append(kind)
        for field in fields.values():
            _tables_in(field.kind, known)
    return known


def _add_bounds(node: dict[str, Any], kind: object) -> None:
    kind, extras = hints.bare(kind)
    for inner in typing.get_args(kind):
        _add_bounds(node, inner)
    for bounds in extras:
        for each in node.get("anyOf", [node]):
            if isinstance(bounds, Range) and each.get("type") in ("integer", "number"):
                each["minimum" if kind is int or bounds.is_closed else "exclusiveMinimum"] = bounds.low
                each["maximum" if bounds.is_closed else "exclusiveMaximum"] = bounds.high


def joined(path: str, keys: Keys) -> str:
    """Returns a path as text, its keys spelt as in TOML."""
    for key in keys:
        if isinstance(key, int):
            path += f"[{key}]"
        else:
            path += f"{path and '.'}{spelt(key)}"
    return path


def spelt(key: str) -> str:
    """Returns a key as TOML has it: in quotes, unless it is plain."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", key):
        return key
    return json.dumps(key, ensure_ascii=False).replace("\x7f", "\\u007f")


def suggestion(name: str, there: Collection[str]) -> str:
    """Returns the hint for a name that is unknown."""
    near = difflib.get_close_matches(name, there, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(there) or 'none'}"


_Found: TypeAlias = Iterator[tuple[Keys, str, str]]


def _walk(value: object, annotated: object, keys: Keys) -> _Found:
    kind, extras = hints.bare(annotated)
    if kind in (Any, object):
        return
    if len(keys) > DEEPEST:
        yield keys, "is nested too deep", f"write {DEEPEST} tables and lists within one another at most"
        return
    origin = typing.get_origin(kind) or kind
    if origin in (typing.Union, types.UnionType):
        yield from _union(value, annotated, kind, keys)
        return
    fields = _fields(origin if origin is kind else None)
    if fields is not None:
        found = _table(value, fields, keys)
    elif origin in _TABLES:
        found = _mapping(value, typing.get_args(kind), keys)
    elif origin in _LISTS:
        found = _list(value, origin, typing.get_args(kind), keys)
    else:
        yield from _leaf(value, annotated, keys)
        return
    inner = list(found)
    yield from inner
    if not inner and (fields is not None or extras):  # its length, or what its class says of all of it
        yield from _leaf(value, annotated, keys)


class _Field(NamedTuple):
    kind: object
    is_required: bool


def _fields(kind: object) -> dict[str, _Field] | None:
    """Returns the keys of a table that a class describes; `None` when it is of another kind."""
    if not isinstance(kind, type):
        return None
    # A plugin's own classes are not kept: they could never be unloaded.
    return _kept_fields(kind) if kind.__module__ == Range.__module__ else _read_fields(kind)


def _read_fields(kind: type) -> dict[str, _Field] | None:
    if issubclass(kind, msgspec.Struct):
        if kind.__struct_config__.array_like:
            return None
        found = {each.encode_name: _Field(each.type, each.required) for each in msgspec.structs.fields(kind)}
        if tag := kind.__struct_config__.tag_field:
            found[tag] = _Field(Any, is_required=False)  # it says which struct of a union is meant
        return found
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        nothing = dataclasses.MISSING
        return {
            each.name: _Field(hints[each.name], each.default is nothing and each.default_factory is nothing)
            for each in dataclasses.fields(kind)
            if each.init
        }
    if hasattr(kind, "__required_keys__"):  # a TypedDict, typing's or the backport's
        hints = typing.get_type_hints(kind, include_extras=True)
        return {name: _key(hint, is_required=name in kind.__required_keys__) for name, hint in hints.items()}
    return None


_kept_fields: Final = functools.cache(_read_fields)


def _key(hint: object, *, is_required: bool) -> _Field:
    """Returns a TypedDict's key; that it must or need not be there may be seen in what it is annotated with alone."""
    while (origin := typing.get_origin(hint)) in (typing.Required, typing.NotRequired):
        is_required = origin is typing.Required
        (hint,) = typing.get_args(hint)
    return _Field(hint, is_required)


def _table(value: object, fields: dict[str, _Field], keys: Keys) -> _Found:
    if not isinstance(value, Mapping):
        yield keys, f"is {shown(value)}", "write a table"
        return
    for key, inner in value.items():
        if not isinstance(key, str) or key not in fields:
            yield (*keys, str(key)), UNKNOWN, suggestion(str(key), fields)
        else:
            yield from _walk(inner, fields[key].kind, (*keys, key))
    for name, field in fields.items():
        if field.is_required and name not in value:
            yield (*keys, name), MISSING, f"write {_what(field.kind)}"


def _mapping(value: object, of: tuple[object, ...], keys: Keys) -> _Found:
    if not isinstance(value, Mapping):
        yield keys, f"is {shown(value)}", "write a table"
        return
    key_kind, kind = of or (Any, Any)
    for key, inner in value.items():
        way = (*keys, key if isinstance(key, str) else str(key))
        if key_kind is not Any and (wrong_key := list(_leaf(key, key_kind, ()))):
            yield way, "is not a key here", wrong_key[0][2]
        else:
            yield from _walk(inner, kind, way)


def _list(value: object, origin: object, of: tuple[object, ...], keys: Keys) -> _Found:
    if not isinstance(value, (list, tuple, set, frozenset)):
        quoted = f": [{json.dumps(value)}]" if isinstance(value, str) and len(value) < 200 else ""
        yield keys, f"is {shown(value)}", f"write a list{quoted}"
        return
    if origin is tuple and of and of[-1] is not ...:
        kinds = [] if of == ((),) else list(of)
        if len(kinds) != len(value):
            yield keys, f"is {shown(value)}", f"write a list of {len(kinds)}"
            return
    else:
        kinds = [of[0] if of else Any] * len(value)
    for place, (inner, kind) in enumerate(zip(value, kinds, strict=True)):
        yield from _walk(inner, kind, (*keys, place))


def _union(value: object, annotated: object, kind: object, keys: Keys) -> _Found:
    """Looks into what a value can only be; else leaves it to msgspec, which picks."""
    members = [each for each in typing.get_args(kind) if each is not types.NoneType]
    if value is None and len(members) < len(typing.get_args(kind)):
        return
    if len(members) > 1:
        shape = dict if isinstance(value, Mapping) else list if isinstance(value, (list, tuple)) else None
        members = [each for each in members if shape and _shape(each) is shape]
    if len(members) == 1:
        yield from _walk(value, members[0], keys)
    else:
        yield from _leaf(value, annotated, keys)


def _shape(kind: object) -> object:
    """Returns whether a type is of tables, of lists, or of neither."""
    kind, _ = hints.bare(kind)
    origin = typing.get_origin(kind) or kind
    return dict if _fields(kind) is not None or origin in _TABLES else list if origin in _LISTS else None


def _leaf(value: object, annotated: object, keys: Keys) -> _Found:
    """Yields what msgspec says of a value, and of its range."""
    try:
        msgspec.convert(value, annotated)
    except msgspec.ValidationError as exc:
        said, _, place = str(exc).partition(" - at `")
        inner = _steps(place)
        there = f"is {shown(_at(value, inner))}"
        yield (*keys, *inner), there, f"write {_what(annotated)}" if _is_of_type(said, inner) else said
        return
    bounds = next((each for each in hints.bare(annotated)[1] if isinstance(each, Range)), None)
    if bounds and isinstance(value, (int, float)):
        is_whole = hints.bare(annotated)[0] is int
        is_end = (is_whole and value == bounds.low) or (bounds.is_closed and value in (bounds.low, bounds.high))
        if not (bounds.low < value < bounds.high or is_end):
            yield keys, f"is {shown(value)}", f"write {_what(annotated)}"


def _is_of_type(said: str, inner: Keys) -> bool:
    """Returns whether msgspec found another type, or another word, than those that are asked for."""
    return not inner and (", got `" in said or said.startswith(("Invalid enum value", "Number out of range")))


def _steps(place: str) -> Keys:
    """Returns the keys in the path that msgspec tells: `$.retries[2]`."""
    found = re.finditer(r"\.(\w+)|\[(\d+)\]|\[(\.\.\.)\]", place)
    return tuple(int(step[2]) if step[2] else step[1] or "..." for step in found)


def _at(value: Any, keys: Keys) -> object:
    try:
        for key in keys:
            value = value[key]
    except (LookupError, TypeError):  # msgspec does not tell which key of a table it was
        pass
    return value


def _what(annotated: object) -> str:
    """Returns what to write where a type is asked for."""
    kind, extras = hints.bare(annotated)
    origin = typing.get_origin(kind) or kind
    if origin in (typing.Union, types.UnionType):
        members = (each for each in typing.get_args(kind) if each is not types.NoneType)
        return " or ".join(dict.fromkeys(map(_what, members)))
    if origin is Literal:
        return _either(typing.get_args(kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _either([each.value for each in kind])
    word = _WORDS.get(origin) or _WORDS.get(_shape(kind)) or f"a {getattr(kind, '__name__', kind)}"
    for bounds in extras:
        if isinstance(bounds, Range):
            low, high = (f"{each:,.0f}" if each == int(each) else f"{each:g}" for each in (bounds.low, bounds.high))
            above = "at least" if origin is int or bounds.is_closed else "more than"
            word += f", {above} {low} and {'at most' if bounds.is_closed else 'less than'} {high}"
    return word


def _either(values: Collection[object]) -> str:
    *others, last = map(shown, values)
    return f"{', '.join(others)} or {last}" if others else last


class _Shown(reprlib.Repr):
    """Values as they would stand in the file, and cut."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80

    def repr_bool(self, value: bool, level: int) -> str:
        return str(value).lower()

    def repr_int(self, value: int, level: int) -> str:
        return str(value) if value.bit_length() < 256 else "a number of more than 70 digits"

    def repr_datetime(self, value: date | time, level: int) -> str:
        return value.isoformat()

    repr_date = repr_time = repr_datetime


_SHOWN: Final = _Shown()


def shown(value: object) -> str:
    """Returns a value as a person sees it in a message; a long one is cut."""
    try:
        return _SHOWN.repr(value)
    except Exception as exc:  # an object of the application's that cannot be shown
        return f"what cannot be shown ({describe(exc)})"
