"""Who still holds a class, or a module's names, after its plugin was unloaded or replaced.

The way is walked outward, from what is held to what refers to it, until it comes to something that a person knows by
name. Nothing of the plugin runs meanwhile: what its objects say of themselves is not asked for.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
import types
import typing
from contextvars import Context
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, Final

from pluginhost.callbacks import known, name_of
from pluginhost.errors import escape
from pluginhost.identity import defined_by, real_mro

if TYPE_CHECKING:
    import weakref
    from collections.abc import Collection, Iterator, Sequence

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

_SPACE: Final = vars(types.ModuleType)["__dict__"]
_DESCRIPTORS: Final = (types.MemberDescriptorType, types.GetSetDescriptorType)
_SHOWN: Final = (BaseException, types.TracebackType, types.CellType)
"""Types of Python's own whose computed attributes may be read."""


def clear_caches() -> None:
    """Has Python forget which annotations it made.

    It gives the same `Optional["A"]` to whoever writes that. It holds the class `A` for whom it was first looked up: a
    module that is imported anew afterwards would hold the old class, and have it for its own.
    """
    for clear in vars(typing).get("_cleanups", ()):
        clear()


def collect() -> None:
    """Collects the garbage, and what Python's own caches alone hold."""
    clear_caches()
    gc.collect()


def is_gone(reference: weakref.ref[Any]) -> bool:
    """Returns whether what is referred to is no longer there, once the garbage is collected."""
    for _ in range(3):  # a finalizer may bring something back for one turn
        if reference() is None:
            return True
        collect()
    return reference() is None


def holders(
    references: Sequence[weakref.ref[Any]], threads: Sequence[weakref.ref[threading.Thread]] = (), limit: int = 5
) -> list[str]:
    """Returns who holds what is left of a plugin, in words; nothing if nobody can be found.

    What the caller's own variables refer to directly does not count. Variables of other functions that run do. The
    caller has had the garbage collected.

    Args:
        references: Classes, each of which is held by an instance, too; and specs of modules, with which a module's
            names are told from those of the same module imported anew.
        threads: Those that run on, and are told whatever they do.
        limit: How many to tell at most.
    """
    try:
        return _Search(references, threads).told(limit)
    except Exception as exc:  # only a diagnosis, of objects that may be in any state
        return [f"what holds it could not be found: {name_of(type(exc))}"]


class _Search:
    """The objects that were come to, each with the one that it refers to."""

    __slots__ = ("_ends", "_held", "_known", "_modules", "_names", "_objects", "_roots", "_threads", "_until")

    def __init__(self, references: Sequence[weakref.ref[Any]], threads: Sequence[weakref.ref[Any]]) -> None:
        roots = [_MARK, *(root for reference in references if (root := reference()) is not None)]
        specs = [_MARK, *(root for root in roots if issubclass(type(root), ModuleSpec))]
        if len(specs) > 1:
            is_of = frozenset(map(id, specs[1:]))
            found = gc.get_referrers(*specs)
            roots += [each for each in found if type(each) is dict and id(dict.get(each, "__spec__")) in is_of]
        self._objects: dict[int, Any] = {id(each): each for each in roots}
        self._roots = set(self._objects) - {id(_MARK)}
        if (listed := vars(threading).get("_active")) is not None:
            self._objects[id(listed)] = listed  # no way leads on from there: what runs is told with its place
        self._held: dict[int, int] = {}
        self._ends: list[int] = []  # referred to by nothing that Python shows
        self._threads = {(_dict_of(thread()) or {}).get("_ident") for thread in threads}
        called = list(known())
        self._known = [_MARK, *(each for _, each in called)]
        self._names = {id(each): name for name, each in called}
        self._modules = {
            id(_SPACE.__get__(module)): name
            for name, module in list(sys.modules.items())
            if type(name) is str and issubclass(type(module), types.ModuleType)
        }
        self._until = time.monotonic() + _SECONDS

    def told(self, limit: int) -> list[str]:
        """Returns what holds what is left: what runs in it, then what is nearest."""
        running = dict(self._running())
        told = dict.fromkeys(running.values())
        told.update(dict.fromkeys(self._named(limit)))
        told.update(dict.fromkeys(self._variables(running)))
        if not told:
            told.update(dict.fromkeys(self._chain(end) for end in self._ends if end not in self._roots))
        return [escape(text, limit=_LENGTH) for text in list(told)[:limit]]

    def _named(self, limit: int) -> list[str]:
        """Returns the ways from what a person knows by name: a module of this process, or what Python calls."""
        told = {self._names[root]: None for root in self._roots & self._names.keys()}
        nearest = [_MARK, *_some([self._objects[root] for root in self._roots])]
        for _ in range(_DEPTH):
            nearest = self._outward(nearest, told, limit)
            if not nearest or len(told) >= limit or time.monotonic() > self._until:
                return list(told)
        self._ends += map(id, nearest)
        return list(told)

    def _outward(self, nearest: list[Any], told: dict[str, None], limit: int) -> list[Any]:
        """Returns some of what refers to these and was not come to before; what has a name is told."""
        referrers = self._referrers(nearest)
        spaces = self._spaces(referrers)
        for held, space in list(spaces.items())[:limit]:
            told[self._path(space, held)] = None
        outward: list[Any] = []
        holds: dict[int, int] = {}
        for found, held_by_it in referrers:
            # Who else holds what has a name by now knows it by another, as all loggers do the root logger.
            rest = [held for held in held_by_it if held not in spaces or held in self._roots]
            if not rest or id(found) in self._modules:
                continue
            if id(found) in self._names:
                told[self._names[id(found)]] = None
            if id(found) not in self._objects:
                outward.append(found)
                holds[id(found)] = rest[0]
        outward = _some(outward)
        for found in outward:
            self._objects[id(found)] = found
            self._held[id(found)] = holds[id(found)]
            if type(found) is Context:
                told.update(dict.fromkeys(self._context(found)))
        return outward

    def _spaces(self, referrers: list[tuple[Any, list[int]]]) -> dict[int, Any]:
        """Returns what a module of this process names, with its namespace; of several, one that is not private."""
        spaces: dict[int, Any] = {}
        for found, held_by_it in sorted(referrers, key=lambda each: self._modules.get(id(each[0]), "_")[:1] == "_"):
            for held in held_by_it if id(found) in self._modules else ():
                spaces.setdefault(held, found)
        return spaces

    def _referrers(self, nearest: list[Any]) -> list[tuple[Any, list[int]]]:
        """Returns what refers to these, with those that it refers to."""
        ids = set(map(id, nearest)) - {id(_MARK)}
        seen: set[int] = set()
        referrers = []
        for found in gc.get_referrers(_MARK, *nearest):
            referents = gc.get_referents(found)
            # By identity: a plugin's object may be equal to anything.
            if found is nearest or any(each is _MARK for each in referents) or _is_own(found):
                continue  # of this search
            held = [id(each) for each in referents if id(each) in ids]
            if held:
                seen.update(held)
                referrers.append((found, held))
        self._ends += ids - seen
        return referrers

    def _running(self) -> Iterator[tuple[int, str]]:
        """Yields each thread that is in a function of what is left, or is told in any case; with where it is."""
        functions = [_function(part) for cls in self._classes() for part in defined_by(cls).values()]
        codes = {id(function.__code__) for function in functions if function}
        spaces = {id(function.__globals__) for function in functions if function} - self._modules.keys() | self._roots
        for thread, stack in _stacks():
            own = [frame for frame in stack if id(frame.f_code) in codes or id(frame.f_globals) in spaces]
            if own or thread in self._threads:
                yield thread, _where(thread, (own or stack)[0])

    def _classes(self) -> list[type]:
        return [self._objects[root] for root in self._roots if issubclass(type(self._objects[root]), type)]

    def _variables(self, running: Collection[int]) -> Iterator[str]:
        """Yields the functions that run and have a variable which is on a way to what is left.

        Args:
            running: Threads that are told already.
        """
        here = threading.get_ident()
        for thread, stack in _stacks():
            for frame in stack if thread not in running else ():
                if not frame.f_code.co_flags & _OPTIMIZED:
                    continue
                for name, value in _locals(frame):
                    if id(value) in self._objects and not (id(value) in self._roots and thread == here):
                        yield f"variable {name} of the {_where(thread, frame)}"

    def _context(self, context: Context) -> list[str]:
        """Returns the context variables on a way to what is left."""
        names = [variable.name for variable, value in context.items() if id(value) in self._objects]
        return [f"the context variable {name}" for name in names]

    def _path(self, space: Any, at: int) -> str:
        """Returns the way from a module's namespace to what is left, as one would write it."""
        before, holder, steps = None, space, ""
        while True:
            with contextlib.suppress(Exception):  # it may change meanwhile, in another thread
                steps += _step(before, holder, self._objects[at])
            if at in self._roots:
                steps = (
                    steps.removeprefix(".").removesuffix(".__globals__").removesuffix(".__func__")
                )  # a function says enough
                return f"module {self._modules[id(space)]}, attribute {steps}"
            before, holder, at = holder, self._objects[at], self._held[at]

    def _chain(self, at: int) -> str:
        kinds = []
        while at not in self._roots:
            kinds.append(_kind(self._objects[at]))
            at = self._held[at]
        return " held by ".join(reversed(kinds))


def _is_own(found: Any) -> bool:
    return type(found) is types.FrameType and found.f_globals is globals()


def _some(found: list[Any]) -> list[Any]:
    """Returns some objects of each type; else many instances would hide what else there is."""
    counts: dict[type, int] = {}
    chosen = []
    # A function of a module with many is held by that alone; one that is registered somewhere is by one more.
    for each in sorted(found, key=sys.getrefcount, reverse=True):
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


def _stacks() -> list[tuple[int, list[types.FrameType]]]:
    """Returns each thread that runs, with what it is in, the innermost first, but for this search."""
    stacks = []
    frame: types.FrameType | None
    for thread, frame in sys._current_frames().items():
        stack = []
        while frame is not None:  # and so no variable here is left with a frame of this module, which would hold itself
            if frame.f_globals is not globals():
                stack.append(frame)
            frame = frame.f_back
        stacks.append((thread, stack))
    return stacks


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
        return f"the function {name_of(of)}"
    return f"the class {name_of(of)}" if issubclass(type(of), type) else f"a {name_of(type(of))}"
