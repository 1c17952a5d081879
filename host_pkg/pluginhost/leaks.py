"""Who still holds a class after its plugin was unloaded.

The way is walked outward, from the class to what refers to it, until it comes to something that a person knows by name.
Nothing of the plugin runs meanwhile: what its objects say of themselves is not asked for.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
import types
from typing import TYPE_CHECKING, Any, Final

from pluginhost.errors import escape
from pluginhost.identity import defined_by, real_mro

if TYPE_CHECKING:
    import weakref
    from collections.abc import Iterator

_DEPTH: Final = 12
_OF_A_TYPE: Final = 40
_WIDTH: Final = 200
"""How many objects are gone on from at each distance: of many instances some tell enough, and each costs time."""
_SECONDS: Final = 3.0
_LENGTH: Final = 200
_OPTIMIZED: Final = 0x01
"""The code flag of a function: its `f_locals` is not its namespace itself."""

_MARK: Final = object()
"""What holds it is of this search."""

_NAME: Final = type.__dict__["__name__"]
_MODULE: Final = type.__dict__["__module__"]  # each past what a metaclass may say
_SPACE: Final = vars(types.ModuleType)["__dict__"]
_DESCRIPTORS: Final = (types.MemberDescriptorType, types.GetSetDescriptorType)
_SHOWN: Final = (BaseException, types.TracebackType, types.CellType)
"""Types of Python's own whose computed attributes may be read."""


def is_gone(reference: weakref.ref[Any]) -> bool:
    """Returns whether what is referred to is no longer there, once the garbage is collected."""
    for _ in range(3):  # a finalizer may bring something back for one turn
        if reference() is None:
            return True
        gc.collect()
    return reference() is None


def holders(cls: type, limit: int = 5) -> list[str]:
    """Returns who holds a class or an instance of it, in words; nothing if nobody can be found.

    What the caller's own variables refer to directly does not count. Variables of other functions that run do.

    Args:
        cls: The class.
        limit: How many to tell at most.
    """
    try:
        gc.collect()
        return _Search(cls).told(limit)
    except Exception as exc:  # only a diagnosis, of objects that may be in any state
        return [f"what holds it could not be found: {_name_of(type(exc))}"]


class _Search:
    """The objects that were come to, each with the one that it refers to."""

    __slots__ = ("_ends", "_held", "_modules", "_objects", "_root", "_until")

    def __init__(self, cls: type) -> None:
        self._root = id(cls)
        self._objects: dict[int, Any] = {id(_MARK): _MARK, id(cls): cls}
        self._held: dict[int, int] = {}
        self._ends: list[int] = []  # referred to by nothing that Python shows
        self._modules = {
            id(_SPACE.__get__(module)): name
            for name, module in list(sys.modules.items())
            if type(name) is str and issubclass(type(module), types.ModuleType)
        }
        self._until = time.monotonic() + _SECONDS

    def told(self, limit: int) -> list[str]:
        """Returns what holds the class: what runs in it, then what is nearest."""
        told = dict.fromkeys(self._running())
        told.update(dict.fromkeys(self._named(limit)))
        told.update(dict.fromkeys(self._variables()))
        if not told:
            told.update(dict.fromkeys(self._chain(end) for end in self._ends if end != self._root))
        return [escape(text, limit=_LENGTH) for text in list(told)[:limit]]

    def _named(self, limit: int) -> list[str]:
        """Returns the ways to the class from a module of this process."""
        told: dict[str, None] = {}
        nearest = [self._objects[self._root]]
        for _ in range(_DEPTH):
            outward: list[Any] = []
            holds: dict[int, int] = {}
            for found, held in self._referrers(nearest):
                if id(found) in self._modules:
                    for each in held[:limit]:  # no generator: its closure would hold what is looked for
                        told[self._path(found, each)] = None
                elif id(found) not in self._objects:
                    outward.append(found)
                    holds[id(found)] = held[0]
            nearest = _some(outward)
            for found in nearest:
                self._objects[id(found)] = found
                self._held[id(found)] = holds[id(found)]
            if not nearest or len(told) >= limit or time.monotonic() > self._until:
                return list(told)
        self._ends += map(id, nearest)
        return list(told)

    def _referrers(self, nearest: list[Any]) -> list[tuple[Any, list[int]]]:
        """Returns what refers to these, with those that it refers to."""
        ids = set(map(id, nearest))
        seen: set[int] = set()
        referrers = []
        for found in gc.get_referrers(_MARK, *nearest):
            referents = gc.get_referents(found)
            # By identity: a plugin's object may be equal to anything.
            if found is nearest or any(each is _MARK for each in referents):
                continue  # of this search
            held = [id(each) for each in referents if id(each) in ids]
            if held:
                seen.update(held)
                referrers.append((found, held))
        self._ends += ids - seen
        return referrers

    def _running(self) -> Iterator[str]:
        """Yields the functions of the class, and of its module if that is gone, in which a thread is."""
        functions = [_function(part) for part in defined_by(self._objects[self._root]).values()]
        codes = {id(function.__code__) for function in functions if function}
        spaces = {id(function.__globals__) for function in functions if function} - self._modules.keys()
        for thread, frame in _frames():
            if id(frame.f_code) in codes or id(frame.f_globals) in spaces:
                yield _where(thread, frame)

    def _variables(self) -> Iterator[str]:
        """Yields the functions that run and have a variable which is on a way to the class."""
        here = threading.get_ident()
        for thread, frame in _frames():
            if frame.f_globals is globals() or not frame.f_code.co_flags & _OPTIMIZED:
                continue
            for name, value in _locals(frame):
                if id(value) in self._objects and not (id(value) == self._root and thread == here):
                    yield f"variable {name} of the {_where(thread, frame)}"

    def _path(self, space: Any, at: int) -> str:
        """Returns the way from a module's namespace to the class, as one would write it."""
        before, holder, steps = None, space, ""
        while True:
            with contextlib.suppress(Exception):  # it may change meanwhile, in another thread
                steps += _step(before, holder, self._objects[at])
            if at == self._root:
                return f"module {self._modules[id(space)]}, attribute {steps.removeprefix('.')}"
            before, holder, at = holder, self._objects[at], self._held[at]

    def _chain(self, at: int) -> str:
        kinds = []
        while at != self._root:
            kinds.append(_kind(self._objects[at]))
            at = self._held[at]
        return " held by ".join(reversed(kinds))


def _some(found: list[Any]) -> list[Any]:
    """Returns some objects of each type; else many instances would hide what else there is."""
    counts: dict[type, int] = {}
    chosen = []
    for each in found:
        counts[type(each)] = counts.get(type(each), 0) + 1
        if counts[type(each)] <= _OF_A_TYPE:
            chosen.append(each)
    return chosen[:_WIDTH]


def _step(before: Any, holder: Any, held: Any) -> str:
    """Returns how one gets from an object to one that it refers to, such as `.name` or `[0]`."""
    kind = type(holder)
    if issubclass(kind, dict):
        is_namespace = before is None or _owns(before, holder)
        for key, value in dict.items(holder):
            if value is held:
                return f".{key}" if is_namespace and type(key) is str else f"[{_key(key)}]"
        return " (a key)"
    if issubclass(kind, (list, tuple)):
        items = list.__iter__(holder) if issubclass(kind, list) else tuple.__iter__(holder)
        return f"[{next(number for number, value in enumerate(items) if value is held)}]"
    if issubclass(kind, (set, frozenset)):
        return " (an item)"
    if kind is types.FrameType:
        name = next(name for name, value in _locals(holder) if value is held)
        return f", variable {name} of {holder.f_code.co_qualname}"
    if _owns(holder, held):
        return ""
    if held is kind:
        return " (an instance)"
    for name, value in _attributes(holder):
        if value is held:
            return f".{name}"
    return f" ({_kind(holder)})"


def _owns(holder: Any, namespace: Any) -> bool:
    """Returns whether it is the holder's `__dict__`."""
    if issubclass(type(holder), type):
        return any(each is namespace for each in gc.get_referents(defined_by(holder)))
    return namespace is _dict_of(holder)


def _attributes(holder: Any) -> Iterator[tuple[str, Any]]:
    """Yields the attributes that can be read without running what is not Python's own."""
    own = defined_by(holder) if issubclass(type(holder), type) else _dict_of(holder) or {}
    yield from own.items()
    for base in real_mro(holder):
        for name, value in defined_by(base).items():
            if type(value) is _DESCRIPTORS[0] or (type(value) in _DESCRIPTORS and any(base is each for each in _SHOWN)):
                with contextlib.suppress(AttributeError, ValueError):  # a slot or a cell that is empty
                    yield name, value.__get__(holder)


def _dict_of(holder: Any) -> dict[str, Any] | None:
    """Returns an object's `__dict__`, unless its class says by code of its own what that is."""
    for base in real_mro(holder):
        if (described := defined_by(base).get("__dict__")) is not None:
            own = described.__get__(holder) if type(described) in _DESCRIPTORS else None
            return own if type(own) is dict else None
    return None


def _function(part: Any) -> types.FunctionType | None:
    """Returns the function that a class's attribute runs, if it is one of Python."""
    if type(part) is property:
        part = part.fget
    elif type(part) in (classmethod, staticmethod):
        part = part.__func__
    return part if type(part) is types.FunctionType else None


def _frames() -> Iterator[tuple[int, types.FrameType]]:
    for thread, innermost in sys._current_frames().items():
        frame: types.FrameType | None = innermost
        while frame is not None:
            yield thread, frame
            frame = frame.f_back


def _locals(frame: types.FrameType) -> list[tuple[str, Any]]:
    """Returns a frame's variables."""
    variables = frame.f_locals
    if sys.version_info < (3, 13):
        if type(variables) is not dict:
            return []  # what a metaclass prepared
        found = list(variables.items())
        is_copy = frame.f_code.co_flags & _OPTIMIZED and frame.f_trace is None
        if is_copy and sys.getrefcount(variables) == 3:  # the frame's, ours and the call's: nobody called locals()
            variables.clear()  # else the frame would go on to hold what its variables no longer do
        return found
    return list(variables.items()) if frame.f_code.co_flags & _OPTIMIZED or type(variables) is dict else []


def _where(thread: int, frame: types.FrameType) -> str:
    code = frame.f_code
    spaces = [_dict_of(each) or {} for each in threading.enumerate()]
    name = next((space.get("_name") for space in spaces if space.get("_ident") == thread), "that Python did not start")
    return f"function {code.co_qualname} in {code.co_filename}, line {frame.f_lineno}, of the thread {name}"


def _key(key: Any) -> str:
    return repr(key)[:40] if type(key) in (str, bytes, int, float, bool, type(None)) else _kind(key)


def _kind(of: Any) -> str:
    """Returns what an object is, in a few words."""
    if type(of) is types.FunctionType:
        return f"the function {of.__code__.co_qualname}"
    return f"the class {_name_of(of)}" if issubclass(type(of), type) else f"a {_name_of(type(of))}"


def _name_of(cls: type) -> str:
    module, name = _MODULE.__get__(cls), _NAME.__get__(cls)
    return f"{module}.{name}" if type(module) is str and module != "builtins" else f"{name}"
