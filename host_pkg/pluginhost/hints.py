"""What a contract's annotations say of what its methods return."""

from __future__ import annotations

import builtins
import collections.abc
import inspect
import typing
from types import SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

UNSAID: Final = inspect.Signature.empty
"""What stands for no annotation."""
_WRAPPERS: Final = (typing.Required, typing.NotRequired, typing.Final, typing.ClassVar)
_STREAMS: Final = (collections.abc.Iterator, collections.abc.Generator, collections.abc.Iterable)


class _Names(dict[str, Any]):
    """The names that an annotation may use; of those that are there for type checkers alone, anything."""

    def __missing__(self, name: str) -> Any:
        for names in (vars(builtins), vars(collections.abc), vars(typing)):
            if name in names:
                return names[name]
        return Any


def returned(function: Callable[..., object] | None) -> Any:
    """Returns what a function's annotation says that it returns; `UNSAID` when it says nothing that can be known."""
    if function is None or hasattr(function, "__wrapped__"):  # a decorator may have it return something else
        return UNSAID
    try:
        said = function.__annotations__.get("return", UNSAID)
        if said is UNSAID:
            return UNSAID
        names = _Names(function.__globals__)
        alone: Any = SimpleNamespace(__annotations__={"return": said})
        return typing.get_type_hints(alone, names, names, include_extras=True)["return"]
    except Exception:  # it is no annotation, or names an attribute of what is there for type checkers alone
        return UNSAID


def is_stream(function: Callable[..., object] | None) -> bool:
    """Returns whether a function that is no coroutine hands out its items one by one."""
    return inspect.isgeneratorfunction(function) or any(
        (typing.get_origin(each) or each) in _STREAMS for each in alternatives(returned(function))
    )


def bare(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Returns the type that an annotation stands for, and what it is annotated with beside."""
    extras: tuple[Any, ...] = ()
    while True:
        if isinstance(hint, typing.TypeVar):
            hint = hint.__bound__ or Any
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif typing.get_origin(hint) is typing.Annotated:
            hint, extras = hint.__origin__, (*extras, *hint.__metadata__)
        elif typing.get_origin(hint) in _WRAPPERS:
            hint = typing.get_args(hint)[0]
        elif type(hint).__name__ == "TypeAliasType":  # the statement `type`, from Python 3.12 on
            hint = hint.__value__
        else:
            return hint, extras


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Returns the types of which a value may have any."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, UnionType) else (hint,)


def item(hint: Any) -> Any:
    """Returns what an annotation says of each item of a stream; `Any` when nothing."""
    for each in alternatives(hint):
        origin = typing.get_origin(each)
        if isinstance(origin, type) and issubclass(origin, collections.abc.Iterable | collections.abc.AsyncIterable):
            return typing.get_args(each)[0]
    return Any
