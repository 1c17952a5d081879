"""What of the process a plugin must leave as it found it: a change is told, and undone where it can be."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from pluginhost.watched import Functions, everything, is_same

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pluginhost.watched import Read


class Change(NamedTuple):
    """Something of the process that is not as it was.

    Attributes:
        what: What it is, how it differs, and whether it is now as it was.
        is_grave: Whether it takes the process out of its application's hands.
    """

    what: str
    is_grave: bool


class ProcessState:
    """What the process was like when this was made."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values = {each.name: _value(each.read) for each in everything()}

    def restore(self) -> Iterator[Change]:
        """Yields what has changed since; all of it is put back where that can be."""
        for name, read, write, is_grave in everything():
            if name not in self._values:
                continue  # of a module that was imported since: nobody else has set it
            before = self._values[name]
            if is_same(before, after := _value(read)):
                continue
            with contextlib.suppress(BaseException):  # what a plugin put there may raise even while it is replaced
                write(before)
            undone = is_same(before, _value(read))
            what = f"{name} ({_difference(before, after)}), " + ("undone" if undone else "which stays so")
            yield Change(what, is_grave(before, after))


class Modules:
    """The modules that were imported when this was made.

    Attributes:
        changed: The names of those that were removed or replaced since, and put back.
    """

    __slots__ = ("_held", "_modules", "changed")

    def __init__(self) -> None:
        self.changed: list[str] = []
        self._modules = sys.modules
        self._held = dict(sys.modules)

    def restore(self) -> None:
        """Puts back what was removed or replaced; the host's own next import may hang on it."""
        found = sys.modules
        changed = [name for name, module in self._held.items() if found.get(name, self) is not module]
        if found is not self._modules:
            self._modules.update({name: module for name, module in found.items() if type(name) is str})
            sys.modules = self._modules
        self._modules.update({name: self._held[name] for name in changed})
        self.changed += changed


def _value(read: Read) -> Any:
    try:
        return read()
    except BaseException as exc:  # signal.getsignal compares the handler, which may raise
        return exc


def _shown(value: object) -> str:
    try:
        return str.__str__(str(value))
    except BaseException:  # what a plugin put there may raise
        return f"a {type(value).__name__} that cannot be printed"


def _difference(before: object, after: object) -> str:
    if isinstance(before, Functions) and isinstance(after, Functions):
        return ", ".join(sorted(before.replaced_in(after)))
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in before.keys() | after.keys() if not is_same(before.get(key), after.get(key))]
        return ", ".join(sorted("another object" if key is None else key for key in keys))
    if isinstance(before, list) and isinstance(after, list):
        if not is_same(before[0], after[0]):
            return "another object"
        added = [item for item in after if not any(is_same(item, other) for other in before)]
        removed = [item for item in before if not any(is_same(item, other) for other in after)]
        return (
            "; ".join(
                f"{what} {', '.join(map(_shown, items))}"
                for what, items in (("added", added), ("removed", removed))
                if items
            )
            or "in another order"
        )
    if isinstance(before, tuple) and isinstance(after, tuple) and set(map(type, (*before, *after))) == {str}:
        return ", ".join(sorted(set(before) ^ set(after)))
    return f"{_shown(before)} to {_shown(after)}"
