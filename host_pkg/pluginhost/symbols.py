"""The names that a plugin's module offers, as Go's `Lookup` and `Symbol` give them."""

from __future__ import annotations

import collections.abc
import typing
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from pluginhost.errors import Finding, PluginLookupError
from pluginhost.interrupts import Interrupted, told_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import TypeForm

    from pluginhost.survey import Candidate

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


def find(module: ModuleType, symbol: str, candidate: Candidate) -> object:
    """Returns a module's symbol.

    Args:
        module: The plugin's module.
        symbol: A name, or names joined by dots.
        candidate: The plugin, for the message.

    Raises:
        PluginLookupError: There is no such symbol; the message names the nearest.
    """
    found: object = module
    for part in symbol.split("."):
        try:
            found = getattr(found, part)
        except Interrupted:
            raise
        except BaseException as exc:  # a module's __getattr__ and a class's property are the plugin's code
            near = _nearest(part, _public(found))
            raise PluginLookupError(
                Finding(
                    "symbol-missing",
                    f"{candidate}: {candidate.module} has no {symbol!r}",
                    f"did you mean {' or '.join(near)}?" if near else f"define {symbol!r} in {candidate.module}",
                    file_of(module),
                )
            ) from exc
    return found


def config_type(module: ModuleType) -> type | None:
    """Returns the type that a module declares for the plugin's configuration: its `Config`, if that describes a table.

    A dataclass, a `TypedDict` and a `msgspec.Struct` do; a class of another kind that has the name does not.
    """
    if not issubclass(type(module), ModuleType):  # an object that a plugin has put in its module's place
        return None
    found = vars(ModuleType)["__dict__"].__get__(module).get("Config")
    names: Mapping[str, object] = type.__dict__["__dict__"].__get__(found) if isinstance(found, type) else {}
    is_table = names.keys() & {"__dataclass_fields__", "__required_keys__", "__struct_fields__"}
    return cast("type", found) if is_table else None


class Symbol(Generic[T]):
    """A module's attribute, as Go's `plugin.Symbol` is a pointer to a variable.

    It reads and writes the attribute each time: a reference to the value would go stale when the plugin rebinds it.
    """

    __slots__ = ("_candidate", "_module", "_name", "_type")

    def __init__(self, module: ModuleType, name: str, type: TypeForm[T], candidate: Candidate) -> None:
        self._module = module
        self._name = name
        self._type: Any = type
        self._candidate = candidate
        self.get()  # it is there, and of that type

    def get(self) -> T:
        """Returns the attribute's value now.

        Raises:
            PluginLookupError: It is gone, or of another type than asked for.
        """
        with told_apart():
            value: Any = find(self._module, self._name, self._candidate)
        self._require_type(value)
        return typing.cast("T", value)

    def set(self, value: T) -> None:
        """Binds the attribute to a value.

        Raises:
            PluginLookupError: The value is of another type than asked for.
        """
        self._require_type(value)
        setattr(self._module, self._name, value)

    def __call__(self: Symbol[Callable[P, R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the attribute, where it is a callable."""
        return self.get()(*args, **kwargs)

    def _require_type(self, value: object) -> None:
        kind = typing.get_origin(self._type) or self._type
        fits = callable(value) if kind is collections.abc.Callable else isinstance(value, kind)
        if not fits:
            raise PluginLookupError(
                Finding(
                    "symbol-type",
                    f"{self._candidate}: {self._module.__name__}.{self._name} is a {type(value).__name__}, "
                    f"not a {getattr(kind, '__name__', kind)}",
                    "ask for the type that the plugin's documentation names",
                    file_of(self._module),
                )
            )


def file_of(module: ModuleType) -> str:
    """Returns where a module comes from."""
    try:
        return str.__str__(str(getattr(module, "__file__", None) or module.__name__))
    except BaseException:  # a plugin may put what it likes in its module's place
        return ""


def _nearest(name: str, names: list[str]) -> list[str]:
    """Returns the names that are most like another; none when the plugin left nothing to import with."""
    try:
        import difflib  # it costs milliseconds, and nearly every symbol is there
    except BaseException:
        return []
    return difflib.get_close_matches(name, names, n=3, cutoff=0.5)


def _public(found: object) -> list[str]:
    try:
        return [name for name in dir(found) if type(name) is str and not name.startswith("_")]
    except BaseException:
        return []
