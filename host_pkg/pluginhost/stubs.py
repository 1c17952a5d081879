"""Objects of a contract's type that forward each call to whatever serves at that moment.

A stub is a subclass of the contract, so type checkers and `isinstance` see the contract. Its class is compiled once for
each contract, from text, as `dataclasses` and `namedtuple` make theirs: a proxy with `__getattr__` would cost each call
several times as much. Each of its methods does four things and no more:

- It takes the callable of the generation that serves from one attribute, so a swap of generations is one store.
- It enters that generation and looks again, so that nobody calls one whose end has been decided. Who is inside is
  counted by a deque, whose append and pop need no lock; a generation is drained when its deque is empty.
- It takes its turn from an iterator, by which calls are counted. That says whether this one writes down when it began,
  for whoever watches deadlines: each does that has one. Of the others a few do, to tell how long calls take.
- It hands what is raised to `blame`, which says whose fault it is.

A call that hands out items one by one, by a generator or another iterator, is inside until these have ended.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import pluginapi
from pluginhost import hints
from pluginhost.errors import ConfigurationError, Finding, PluginCallError, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from types import FrameType
    from typing import Final, TypeAlias

    Blame: TypeAlias = Callable[[str, BaseException], None]

FILE: Final = "<the stub's "
"""What the file names of their code begin with."""
GRACE: Final = 1.0
"""By how many seconds a call is watched for longer that has a deadline of its own: whether that works."""

TIMED: Final = 16
"""Of the calls that write down when they began, one in so many is timed, by its number: a power of 2."""

_CALL: Final = """
{kind}def {name}(_self, {takes}):
    _calls = _self._pluginhost_calls
    _inside = _calls.inside
    _inside.append(None)
    while _calls is not _self._pluginhost_calls:  # another generation serves since
        _inside.pop()
        _calls = _self._pluginhost_calls
        _inside = _calls.inside
        _inside.append(None)
    _number = _next(_calls.turns, 0){begins}
    try:
        {forwards}
    except _BaseException as _exc:
        _calls.blame({name!r}, _exc)
        raise
    finally:
        _inside.pop(){ends}
"""
_BEGINS: Final = """
    if _number is not None:
        _running = _calls.running
        _number = _number or _calls.renew()
        _running[_number] = _since = _now(){grace}"""
_ENDS: Final = """
        if _number is not None:
            del _running[_number]
            if not _number & {others}:  # a second look at the clock costs as much as a call
                _calls.took(_now(){grace} - _since)"""
# How long a consumer takes is not the plugin's doing.
_UNTIMED: Final = """
    if _number == 0:
        _calls.renew()"""
_FORWARDS: Final = {
    "": "return _calls.{slot}({gives})",
    "stream": "return _stream(_calls, {name!r}, _calls.{slot}({gives}))",
    "async ": "return await _calls.{slot}({gives})",
    "async generator": """_items = _calls.{slot}({gives})
        try:
            async for _item in _items:
                yield _item
        finally:
            if _hasattr(_items, "aclose"):
                await _items.aclose()""",
}
# Python's own, and what makes a class rather than belongs to it.
_NOT_FORWARDED: Final = {"__annotate__", "__annotate_func__", "__class_getitem__", "__del__", "__getattr__"}
_HOSTS: Final = ("init", "validate", "shutdown")


class Calls:
    """Where the calls of a stub go: one generation's callables, or those that refuse.

    A subclass for each contract has a slot for each method.

    Attributes:
        blame: Called with a method's name and what it raised; it raises what the caller is told, or returns.
        inside: Has an item for each call that is in it now.
        pause: How many items `turns` had when it was put there.
        read: Returns an attribute by its name.
        renew: Returns the number of the call that found `turns` at its end, and puts another one there.
        running: Has the time when it began for each call that has a number.
        took: Called with the seconds that a call took.
        turns: Yields a number for a call that writes down when it began, and else `None`; it may end.
        write: Binds an attribute.
    """

    __slots__ = ("blame", "inside", "pause", "read", "renew", "running", "took", "turns", "write")

    def __init__(self, blame: Blame, read: Callable[[str], object], write: Callable[[str, object], None]) -> None:
        self.blame, self.read, self.write = blame, read, write
        self.inside: deque[None] = deque()
        self.turns: Iterator[int | None] = itertools.repeat(None)  # counts nothing
        self.pause = 0
        self.renew: Callable[[], int] = int
        self.running: dict[int, float] = {}
        self.took: Callable[[float], object] = int


class StubClass:
    """The compiled class of the stubs of some contracts.

    Attributes:
        contracts: The contracts, none of which derives from another of them.
        methods: The names of the methods that are forwarded.
        coroutines: Those that are `async def`.
        generators: Those that are asynchronous generators.
        waiting: Those whose callers may end them while they wait: coroutines, generators of both kinds.
    """

    def __init__(self, contracts: tuple[type, ...]) -> None:
        self.contracts = contracts
        members = dict(_members(contracts))
        self.methods = [name for name, member in members.items() if not isinstance(member, property)]
        self.coroutines = {name for name in self.methods if inspect.iscoroutinefunction(members[name])}
        self.generators = {name for name in self.methods if inspect.isasyncgenfunction(members[name])}
        declared = {name: getattr(members[name], "__wrapped__", None) for name in self.methods}
        streams = {name for name in self.methods if name not in self.coroutines and hints.is_stream(declared[name])}
        self.waiting = self.coroutines | self.generators | streams
        self._declared: dict[str, Callable[..., object] | None] = declared
        slots = ("_pluginhost_calls", "_pluginhost_of")
        names: dict[str, Any] = {
            "__slots__": slots,
            "__module__": contracts[0].__module__,
            "__repr__": _shown,
            "__doc__": contracts[0].__doc__,
        }
        names |= {name: _hosts_own(name) for name in _HOSTS}
        try:
            title = f"{'And'.join(contract.__name__ for contract in contracts)}Stub"
            self._stub = type(contracts[0])(title, contracts, names | members)
            left = getattr(self._stub, "__abstractmethods__", ())
        except Exception as exc:  # a metaclass, or `__init_subclass__`, of the application's
            raise _unfit(contracts, f"a subclass of it cannot be made: {describe(exc)}") from exc
        if left:
            raise _unfit(contracts, f"{', '.join(sorted(left))} cannot be forwarded")
        self._calls = type("Calls", (Calls,), {"__slots__": tuple(map(_slot, self.methods))})

    def make(self, name: str, of: object, calls: Calls) -> pluginapi.Plugin:
        """Returns a new stub.

        Args:
            name: What the plugin is called.
            of: What its text says it is a stub of.
            calls: Where its calls go.
        """
        # No `__init__` of a contract has a part in it, and no `__setattr__`.
        stub: object = object.__new__(self._stub)
        pluginapi.Plugin.__dict__["name"].__set__(stub, name)
        object.__setattr__(stub, "_pluginhost_of", of)
        object.__setattr__(stub, "_pluginhost_calls", calls)
        return cast("pluginapi.Plugin", stub)

    def returns(self, name: str) -> Any:
        """Returns what the contract's annotation says that a method returns; `hints.UNSAID` when it says nothing."""
        return hints.returned(self._declared[name])

    def to(self, find: Callable[[str], Callable[..., object]], read: Callable[[str], object],
           write: Callable[[str, object], None], blame: Blame) -> Calls:  # fmt: skip
        """Returns where calls go.

        Args:
            find: Returns the callable that stands for a method.
            read: Returns an attribute's value.
            write: Binds an attribute.
            blame: As `Calls` has it.
        """
        calls: Calls = self._calls(blame, read, write)
        for name in self.methods:
            setattr(calls, _slot(name), find(name))
        return calls

    def roads(self, calls: Calls) -> dict[str, tuple[str, Callable[..., Any]]]:
        """Returns where calls go now: by attribute of `calls`, the method's name and what is called.

        For reading and binding attributes, the name is empty: it comes as the first argument.
        """
        ways = {_slot(name): name for name in self.methods} | {"read": "", "write": ""}
        return {way: (name, getattr(calls, way)) for way, name in ways.items()}


@functools.cache
def stub_class(contracts: tuple[type, ...]) -> StubClass:
    """Returns the class of the stubs of some contracts, the same each time.

    Raises:
        ConfigurationError: A contract has something that cannot be forwarded.
    """
    return StubClass(contracts)


def swap(stub: pluginapi.Plugin, calls: Calls) -> Calls:
    """Has a stub's calls go elsewhere from now on, and returns where they went."""
    before: Calls = cast("Any", stub)._pluginhost_calls
    object.__setattr__(stub, "_pluginhost_calls", calls)
    return before


def blame_nobody(name: str, exc: BaseException) -> None:
    """Has a caller told what was raised: it comes from this host, which has said why."""


def is_inside(calls: Collection[Calls]) -> bool:
    """Returns whether this is called, on its thread or in its task, by one of the calls that went some ways."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is _forwarded.__code__ or frame.f_code.co_filename.startswith(FILE):
            names = frame.f_locals
            entered = names.get("_calls", names.get("calls"))
            if any(entered is each for each in calls):
                return True
        frame = frame.f_back
    return False


def _members(contracts: tuple[type, ...]) -> Iterator[tuple[str, object]]:
    """Yields what a stub has in place of each member of its contracts, once."""
    taken = {"name", *_HOSTS, *vars(object), *_NOT_FORWARDED}
    for cls in dict.fromkeys(cls for contract in contracts for cls in contract.__mro__):
        if cls in (object, pluginapi.Plugin) or cls.__module__ == "typing":
            continue
        for name, value in vars(cls).items():
            if isinstance(value, type) and name not in _annotated(cls):
                continue  # a class that stands in the contract
            is_machinery = name.startswith("_") and not getattr(value, "__isabstractmethod__", False)
            if name in taken or (is_machinery and not inspect.isfunction(value)):
                continue
            taken.add(name)
            yield name, _member(name, value)
        for name in _annotated(cls):
            if name not in taken and not name.startswith("_"):
                taken.add(name)
                yield name, _attribute(name, True)


def _member(name: str, value: object) -> object:
    function = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    if inspect.isfunction(function):
        return _method(name, function, skips=0 if isinstance(value, staticmethod) else 1)
    if isinstance(value, property):
        return _attribute(name, value.fset is not None)
    return _method(name, None) if callable(value) else _attribute(name, True)


def _method(name: str, function: Callable[..., object] | None, skips: int = 1) -> object:
    """Returns the method that forwards; one whose arguments have defaults leaves these to the plugin."""
    parameters = list(inspect.signature(function).parameters.values())[skips:] if function else []
    plain = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    if function and all(
        each.kind in plain and each.default is each.empty and not each.name.startswith("_") for each in parameters
    ):
        names = [each.name for each in parameters]
        only = sum(each.kind is each.POSITIONAL_ONLY for each in parameters)
        takes = "".join(f"{each}, " for each in [*names[:only], *["/"][:only], *names[only:]])
        gives = ", ".join(names)
    else:
        takes, gives = "/, *_args, **_named", "*_args, **_named"
    kind = "async " if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function) else ""
    road = "async generator" if inspect.isasyncgenfunction(function) else kind
    if not kind and hints.is_stream(function):
        road = "stream"
    made: Any = _compiled(name, kind, takes, _FORWARDS[road].format(name=name, slot=_slot(name), gives=gives))
    if function:
        functools.update_wrapper(made, function, updated=())  # without its attributes: it may be abstract
    if function and not skips:  # the stub's has a `self`, as that of any method
        own = [inspect.Parameter("_self", inspect.Parameter.POSITIONAL_ONLY), *parameters]
        made.__signature__ = inspect.signature(function).replace(parameters=own)
    return made


def _attribute(name: str, is_bound: bool) -> property:
    getter = _compiled(name, "", "", f"return _calls.read({name!r})")
    setter = _compiled(name, "", "_value", f"_calls.write({name!r}, _value)")
    return property(getter, setter if is_bound else None)


def _compiled(name: str, kind: str, takes: str, forwards: str) -> Any:
    later = kind and f" + {GRACE}"
    begins, ends = _BEGINS.format(grace=later), _ENDS.format(grace=later, others=TIMED - 1)
    if "yield" in forwards:
        begins, ends = _UNTIMED, ""
    text = _CALL.format(kind=kind, name=name, takes=takes, forwards=forwards, begins=begins, ends=ends)
    made: dict[str, Any] = {}  # apart from what it uses: a contract may have a method called `_now`
    exec(compile(text, f"{FILE}{name}>", "exec"), _USED.copy(), made)
    return made[name]


def _stream(calls: Calls, name: str, items: Any) -> Any:
    """Returns what hands on the items of a call, whose failures are the call's; what is no iterator stays as it is."""
    if not hasattr(type(items), "__next__"):
        return items
    forwarded = _forwarded(calls, name, items)
    next(forwarded)  # from here on its end is noticed, even when nobody asks for an item
    return forwarded


def _forwarded(calls: Calls, name: str, items: Iterator[Any]) -> Iterator[Any]:
    calls.inside.append(None)
    try:
        yield
        return (yield from items)
    except BaseException as exc:
        calls.blame(name, exc)
        raise
    finally:
        calls.inside.pop()


# Python's own names, too: an argument may be called `next`.
_USED: Final = {
    "_BaseException": BaseException,
    "_hasattr": hasattr,
    "_next": next,
    "_now": time.monotonic,
    "_stream": _stream,
}


def _slot(name: str) -> str:
    return f"m_{name}"


def _annotated(cls: type) -> list[str]:
    try:
        return list(inspect.get_annotations(cls))
    except NameError:  # from Python 3.14 on, an annotation that names what only type checkers see
        import annotationlib  # type: ignore[import-not-found,unused-ignore]

        return list(annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF))


def _shown(stub: Any) -> str:
    return f"<{stub._pluginhost_of}, as {type(stub).__bases__[0].__name__}>"


def _hosts_own(name: str) -> Callable[..., object]:
    def refuse(stub: Any, *args: object) -> None:
        hint = "the manager calls it; `manager.start(name)` and `manager.stop(name)` are yours"
        raise PluginCallError(Finding("method-unknown", f"{stub._pluginhost_of}: {name} is not a caller's", hint))

    return refuse


def _unfit(contracts: tuple[type, ...], why: str) -> ConfigurationError:
    of = " and ".join(f"{contract.__module__}.{contract.__qualname__}" for contract in contracts)
    hint = "a contract has methods, properties and annotated attributes, and its subclasses need no arguments"
    return ConfigurationError(Finding("contract-unfit", f"{of} does not do as a contract: {why}", hint))
