"""What is known of a call beside its arguments, such as on whose behalf it is made: by that, routes decide."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING

from pluginhost.errors import wrong

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Final

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_VALUES: Final[ContextVar[Mapping[str, str]]] = ContextVar("pluginhost.context", default=_NOTHING)


@contextlib.contextmanager
def context(**values: str) -> Iterator[None]:
    """Says on whose behalf the calls of a `with` block are made, on this thread or in this task.

    One within another adds to it, and comes first.

    Args:
        values: Texts by name, such as `customer="c-7"`.

    Raises:
        ConfigurationError: A value is no text.
    """
    for name, value in values.items():
        if type(value) is not str:
            raise wrong(f"context: {name} is no text", f"give one: {name}=str(…)")
    before = _VALUES.set({**_VALUES.get(), **values})
    try:
        yield
    finally:
        _VALUES.reset(before)


def current() -> Mapping[str, str]:
    """Returns what is known of the calls that are made here; it is not to be changed."""
    return _VALUES.get()
