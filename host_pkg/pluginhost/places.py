"""Where an exception arose: the innermost line of the plugin's own, and the library's in which the traceback ends."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from pluginhost.errors import RemoteFailure, describe, escape
from pluginhost.exits import module_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_DEEPEST: Final = 100_000
"""How many entries of a traceback are looked at; whoever raises the limit of recursion can make it any length."""
_TEXT_LIMIT: Final = 800
_PATH_LIMIT: Final = 250
"""Of a message's 1,600 bytes: what an exception says, and each of two paths. The places must not be what is cut."""


class Place(NamedTuple):
    """A line of somebody's code.

    Attributes:
        module: The module's name; empty when it has none.
        file: The file, as its code names it.
        line: The line's number; 0 when it is not known.
    """

    module: str
    file: str
    line: int

    def __str__(self) -> str:
        file = escape(self.file)
        file = file if len(file) <= _PATH_LIMIT else f"…{file[-_PATH_LIMIT:]}"  # its end says most
        return f"{file}, line {self.line}" if self.line else file


def own_package(module: str) -> str:
    """Returns the outermost package that a module stands in and that is not shared, as a namespace package is."""
    parts = module.split(".")
    for number in range(1, len(parts)):
        name = ".".join(parts[:number])
        if getattr(sys.modules.get(name), "__file__", None):
            return name
    return module


def raised(exc: BaseException, module: str) -> str:
    """Returns what was raised and where: `raised KeyError: 'x', in …/plugin.py, line 12`.

    Args:
        exc: What a plugin raised; its class may be the plugin's, too.
        module: The plugin's module.
    """
    if type(exc) is RemoteFailure:
        return exc.what
    where = place(exc, module)
    return f"raised {escape(describe(exc), limit=_TEXT_LIMIT)}{where and f', {where}'}"


def place(exc: BaseException, module: str) -> str:
    """Returns where an exception arose: `in …/adapters.py, line 519, called from …/plugin.py, line 12`.

    Args:
        exc: What a plugin raised.
        module: The plugin's module; all of its package is the plugin's.

    Returns:
        Nothing when it arose neither in the plugin nor beyond, as where the host could not even call it.
    """
    own, last = places(exc, module)
    if last is None:
        return ""
    return f"in {last}" if own in (None, last) else f"in {last}, called from {own}"


def places(exc: BaseException, module: str) -> tuple[Place | None, Place | None]:
    """Returns the innermost line of a plugin's own, and the line where the exception arose; the host's is none."""
    own = last = None
    package = own_package(module)
    for each in _walked(exc):
        if is_own(each.module, package):
            own = last = each
        elif not _is_hosts(each):
            last = each
        else:
            last = own  # the plugin asked its host, which refused: the plugin's line says more
    compiled = _compiled(exc)
    return own, compiled or last


def is_own(module: str, package: str) -> bool:
    """Returns whether a module is a plugin's: of its package, or a parent, whose import comes before its own."""
    return is_within(module, package) or is_within(package, module)


def is_within(module: str, package: str) -> bool:
    """Returns whether a module is a package or stands in it."""
    return f"{module}.".startswith(f"{package}.")


def _walked(exc: BaseException) -> Iterator[Place]:
    """Yields the traceback's places, the outermost first; past what the exception's class may say."""
    entry: TracebackType | None = vars(BaseException)["__traceback__"].__get__(exc)
    for _ in itertools.repeat(None, _DEEPEST):
        if entry is None:
            return
        frame, line = entry.tb_frame, entry.tb_lineno
        yield Place(module_of(frame), str.__str__(frame.f_code.co_filename), line or 0)
        entry = entry.tb_next


def _is_hosts(place: Place) -> bool:
    """Returns whether a place is this package's, a stub's, or that of the import that was asked for."""
    is_text = place.file.startswith(("<the stub's ", "<frozen importlib"))
    return is_text or place.module.partition(".")[0] in ("pluginhost", "importlib")


def _compiled(exc: BaseException) -> Place | None:
    """Returns the place in a source that could not be compiled: no code of it ran, so no traceback has it."""
    if not issubclass(type(exc), SyntaxError):
        return None
    file, line = (vars(SyntaxError)[name].__get__(exc) for name in ("filename", "lineno"))
    if type(file) is not str:  # a plugin's own, raised with a message alone
        return None
    return Place("", file, line if type(line) is int else 0)
