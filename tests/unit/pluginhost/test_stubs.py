"""What a stub forwards and how, and what of a plugin's errors its caller is told."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pluginhost import ConfigurationError, PluginCallError, PluginStopped, PluginTypeError, stubs
from standins import Stage, stub_of

from pluginapi import Greeter, Plugin, PluginError, Transformer

if TYPE_CHECKING:
    from types import FrameType

T = TypeVar("T")


def calls_of(stub: Any) -> stubs.Calls:
    calls: stubs.Calls = stub._pluginhost_calls
    return calls


class Wide(Plugin):
    """A contract with a method of each kind."""

    LIMIT = 3
    title: str
    _hidden: str

    class Options:
        """What a contract brings along."""

    @abstractmethod
    def plain(self, a: object, b: object) -> object: ...

    @abstractmethod
    def only(self, a: object, /, *, b: object) -> object: ...

    def default(self, a: object = "the contract's", *, b: object = "the contract's") -> object:
        return "the contract", a, b

    @abstractmethod
    def many(this, /, *args: object, **named: object) -> object: ...  # noqa: N805

    @abstractmethod
    def collide(this, self: object, _calls: object, _args: object, *, _self: object) -> object: ...  # noqa: N805

    @abstractmethod
    def also(this, self: object, name: object) -> object: ...  # noqa: N805

    @abstractmethod
    def _private(self, a: object) -> object: ...

    @property
    @abstractmethod
    def fixed(self) -> str: ...

    @property
    def level(self) -> int:
        return 0

    @level.setter
    def level(self, value: int) -> None: ...

    @staticmethod
    def static(a: object, b: object) -> object:
        return "the contract", a, b

    @classmethod
    def made(cls, a: object, b: object = 0) -> object:
        return "the contract", a, b

    def told(self) -> object:
        return "the contract"


class WideOne(Wide):
    LIMIT = 4
    title = "one"
    fixed = "stays"  # type: ignore[assignment]

    def __init__(self) -> None:
        self.at = 5

    def plain(self, x: object, y: object) -> object:
        return "plain", x, y

    def only(self, a: object, /, *, b: object) -> object:
        return "only", a, b

    def default(self, a: object = "its own", *, b: object = "its own") -> object:
        return "default", a, b

    def many(this, /, *args: object, **named: object) -> object:  # noqa: N805
        return args, named

    def collide(this, self: object, _calls: object, _args: object, *, _self: object) -> object:  # noqa: N805
        return self, _calls, _args, _self

    def also(this, self: object, name: object) -> object:  # noqa: N805
        return self, name

    def _private(self, a: object) -> object:
        return "private", a

    @property
    def level(self) -> int:
        return self.at

    @level.setter
    def level(self, value: int) -> None:
        self.at = value

    @staticmethod
    def static(a: object, b: object) -> object:
        return "static", a, b

    @classmethod
    def made(cls, a: object, b: object = 1) -> object:
        return cls, a, b


@pytest.fixture
def wide() -> Any:
    return stub_of(WideOne(), Wide)


def test_arguments_come_as_they_were_given(wide: Any) -> None:
    assert wide.plain(1, 2) == wide.plain(1, b=2) == wide.plain(b=2, a=1) == ("plain", 1, 2)
    assert wide.only(1, b=2) == ("only", 1, 2)
    assert wide.many(1, *[2, 3], self=4, name=5, _self=6) == ((1, 2, 3), {"self": 4, "name": 5, "_self": 6})
    assert wide._private(1) == ("private", 1)


def test_what_is_left_out_has_the_plugins_own_default(wide: Any) -> None:
    assert wide.default() == ("default", "its own", "its own")
    assert wide.default(1) == ("default", 1, "its own")
    assert wide.default(b=1) == ("default", "its own", 1)


def test_parameters_may_be_called_as_the_generated_code_calls_its_own(wide: Any) -> None:
    assert wide.collide(1, 2, 3, _self=4) == wide.collide(self=1, _calls=2, _args=3, _self=4) == (1, 2, 3, 4)
    assert wide.also(1, 2) == wide.also(name=2, self=1) == (1, 2)


class Chain(Plugin):
    """Its methods and their arguments have the names of what Python has built in."""

    @abstractmethod
    def next(self, hasattr: object, BaseException: object) -> object: ...  # noqa: N803

    @abstractmethod
    async def handle(self, request: object, next: object) -> object: ...

    @abstractmethod
    def _now(self) -> object: ...


class OneChain(Chain):
    def next(self, hasattr: object, BaseException: object) -> object:  # noqa: N803
        return hasattr, BaseException

    async def handle(self, request: object, next: object) -> object:
        return request, next

    def _now(self) -> object:
        return "now"


def test_methods_and_parameters_may_be_called_as_what_is_built_in() -> None:
    chain = stub_of(OneChain(), Chain)
    for _ in range(3):  # also those calls that are timed
        assert chain.next(1, 2) == chain.next(hasattr=1, BaseException=2) == (1, 2)
        assert asyncio.run(chain.handle(1, 2)) == (1, 2)  # type: ignore[arg-type]
        assert chain._now() == "now"


def test_static_and_class_methods_are_the_plugins(wide: Any) -> None:
    assert wide.static(1, 2) == wide.static(1, b=2) == ("static", 1, 2)
    assert wide.made(1) == wide.made(a=1) == (WideOne, 1, 1)


def test_the_contracts_own_method_serves_where_the_plugin_has_none(wide: Any) -> None:
    assert wide.told() == "the contract"


def test_attributes_and_properties_are_read_and_bound_on_the_plugin() -> None:
    plugin = WideOne()
    stub = stub_of(plugin, Wide)
    assert (stub.title, stub.fixed, stub.level, stub.LIMIT) == ("one", "stays", 5, 4)
    stub.title, stub.level = "another", 6
    assert (plugin.title, plugin.at) == (stub.title, stub.level) == ("another", 6)
    assert WideOne.title == "one"
    with pytest.raises(AttributeError):
        stub.fixed = "moves"
    assert stub.Options is Wide.Options
    assert not hasattr(stub, "_hidden")


def test_a_stub_is_of_its_contracts_type_named_and_shown_as_what_it_stands_for(wide: Any) -> None:
    assert isinstance(wide, Wide)
    assert type(wide).__name__ == "WideStub"
    assert wide.name == "some"
    assert repr(wide) == "<some (zoo-some 1.2), as Wide>"
    assert type(wide).__doc__ == Wide.__doc__


@pytest.mark.parametrize("name", [name for name, value in vars(Wide).items() if inspect.isfunction(value)])
def test_the_signature_of_a_method_is_the_contracts(wide: Any, name: str) -> None:
    assert inspect.signature(getattr(type(wide), name)) == inspect.signature(getattr(Wide, name))


@pytest.mark.parametrize("name", ["plain", "static", "made"])
def test_the_signature_of_a_bound_method_is_the_plugins(wide: Any, name: str) -> None:
    """A caller that asks the stub and one that asks the contract are told the same."""
    declared = inspect.signature(getattr(object.__new__(WideOne), name)).parameters
    assert len(inspect.signature(getattr(wide, name)).parameters) == len(declared)


def test_the_host_alone_initialises_validates_and_shuts_down(wide: Any) -> None:
    for call in (lambda: wide.init(None), wide.validate, wide.shutdown):
        with pytest.raises(PluginCallError, match=r"\[method-unknown\] some \(zoo-some 1\.2\)") as caught:
            call()
        assert "manager.stop" in caught.value.finding.hint


def test_the_class_is_compiled_once_for_each_contract() -> None:
    assert type(stub_of(WideOne(), Wide)) is type(stub_of(WideOne(), Wide))
    assert stubs.stub_class((Wide,)) is stubs.stub_class((Wide,))


def test_no_method_or_class_of_a_stub_keeps_a_stopped_plugin_alive() -> None:
    stage = Stage()
    plugin = WideOne()
    import weakref

    gone = weakref.ref(plugin)
    stub = stage.run(plugin, [Wide]).require(Wide)
    stage.handle.end(5)
    del plugin
    gc.collect()
    assert gone() is None
    with pytest.raises(PluginStopped):
        stub.plain(1, 2)


# What contracts may be besides.


class Box(Plugin, Generic[T]):
    __slots__ = ("content",)
    content: T

    @abstractmethod
    def put(self, content: T) -> T: ...


class Texts(Box[str]):
    def put(self, content: str) -> str:
        self.content = content
        return content


def test_a_generic_contract_with_slots_of_its_own() -> None:
    plugin = Texts()
    stub = stub_of(plugin, Box)
    assert stub.put("in") == stub.content == plugin.content == "in"
    stub.content = "other"
    assert plugin.content == "other"


def test_a_generic_contract_may_be_asked_for_with_its_arguments() -> None:
    handle = Stage().run(Texts(), [Box])
    assert handle.require(Box[str]) is handle.require(Box)
    assert handle.implements(Box[str])


@pytest.mark.parametrize("contract", ["Box", Box | Greeter, T, 3])
def test_what_is_no_class_is_no_contract(contract: Any) -> None:
    """Type checkers take it for one: it may be an annotation."""
    with pytest.raises(PluginTypeError, match=r"\[wrong-type\]"):
        Stage().run(Texts(), [Box]).require(contract)


class Shouter(Greeter):
    """A contract that derives from another."""

    __slots__ = ()

    @abstractmethod
    def shout(self, name: str) -> str: ...

    @abstractmethod
    def greet(self, name: str, loud: bool = False) -> str: ...


class Loud(Shouter):
    lang = "Loud"

    def shout(self, name: str) -> str:
        return name.upper()

    def greet(self, name: str, loud: bool = True) -> str:
        return f"{name}{loud}"


def test_a_contract_that_derives_from_one_is_both() -> None:
    handle = Stage().run(Loud(), [Shouter, Greeter, Plugin])
    stub = handle.require(Shouter)
    assert handle.require(Greeter) is handle.require(Plugin) is stub
    assert (stub.shout("a"), stub.greet("a"), stub.lang) == ("A", "aTrue", "Loud")


class Both(Greeter, Transformer):
    lang = "Both"

    def greet(self, name: str) -> str:
        return name

    def transform(self, text: str) -> str:
        return text[::-1]


def test_a_plugin_of_two_contracts_has_one_stub_that_is_both() -> None:
    handle = Stage().run(Both(), [Greeter, Transformer])
    greeter, transformer = handle.require(Greeter), handle.require(Transformer)
    assert greeter is transformer
    assert isinstance(greeter, Greeter)
    assert isinstance(greeter, Transformer)
    assert (greeter.greet("a"), transformer.transform("ab")) == ("a", "ba")
    assert type(greeter).__name__ == "GreeterAndTransformerStub"


class Table(Plugin, Mapping[str, int]):
    __slots__ = ()

    @abstractmethod
    def __call__(self, a: int) -> int: ...


class Dictionary(Table):
    def __init__(self) -> None:
        self.items_ = {"a": 1, "b": 2}

    def __call__(self, a: int) -> int:
        return a + 1

    def __getitem__(self, key: str) -> int:
        return self.items_[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.items_)

    def __len__(self) -> int:
        return len(self.items_)


def test_what_python_itself_calls_is_forwarded() -> None:
    table = stub_of(Dictionary(), Table)
    assert (table(1), len(table), list(table), table["a"]) == (2, 2, ["a", "b"], 1)
    assert dict(table) == {**table} == {"a": 1, "b": 2}
    assert (list(table.keys()), list(table.items()), table.get("c", 3)) == (["a", "b"], [("a", 1), ("b", 2)], 3)
    assert "b" in table
    assert "c" not in table


class Numbers(Plugin, Sequence[int]):
    __slots__ = ()


class Three(Numbers):
    def __getitem__(self, index: int) -> int:  # type: ignore[override]
        return [1, 2, 3][index]

    def __len__(self) -> int:
        return 3


class Old(Plugin):
    """Iterated by its items alone, as before there were iterators."""

    @abstractmethod
    def __getitem__(self, index: int) -> int: ...


class OldThree(Old):
    def __getitem__(self, index: int) -> int:
        return [1, 2, 3][index]


class Steps(Plugin, Iterator[int]):
    __slots__ = ()


class ThreeSteps(Steps):
    def __init__(self) -> None:
        self.at = 0

    def __next__(self) -> int:
        if self.at == 3:
            raise StopIteration
        self.at += 1
        return self.at


class Ticks(Plugin, AsyncIterator[int]):
    __slots__ = ()


class ThreeTicks(Ticks):
    def __init__(self) -> None:
        self.at = 0

    async def __anext__(self) -> int:
        if self.at == 3:
            raise StopAsyncIteration
        self.at += 1
        return self.at


@pytest.mark.parametrize(("plugin", "contract"), [(Three, Numbers), (OldThree, Old), (ThreeSteps, Steps)])
def test_what_ends_an_iteration_is_no_failure(plugin: type, contract: type) -> None:
    assert list(stub_of(plugin(), contract)) == [1, 2, 3]


def test_an_iterator_ends_as_iterators_do() -> None:
    steps = stub_of(ThreeSteps(), Steps)
    assert [next(steps), next(steps), next(steps), next(steps, "end")] == [1, 2, 3, "end"]


def test_what_is_not_in_a_collection_is_told_as_python_tells_it() -> None:
    with pytest.raises(KeyError):
        stub_of(Dictionary(), Table)["c"]
    with pytest.raises(IndexError):
        stub_of(Three(), Numbers)[3]


def test_what_ends_an_asynchronous_iteration_is_no_failure() -> None:
    async def run() -> list[int]:
        ticks = stub_of(ThreeTicks(), Ticks)
        numbers = [await anext(ticks), *[number async for number in ticks]]
        with pytest.raises(StopAsyncIteration):
            await anext(ticks)
        return numbers

    assert asyncio.run(run()) == [1, 2, 3]


class Managed(Plugin):
    @abstractmethod
    def __enter__(self) -> str: ...

    @abstractmethod
    def __exit__(self, *raised: object) -> bool: ...


class Suppressing(Managed):
    def __enter__(self) -> str:
        return "in"

    def __exit__(self, *raised: object) -> bool:
        return raised[0] is ValueError


def test_a_contract_may_be_a_context_manager() -> None:
    with stub_of(Suppressing(), Managed) as entered:
        assert entered == "in"
        raise ValueError


class Frozen(Plugin):
    """A contract that refuses attributes."""

    size: int

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class FrozenTwo(Frozen):
    size = 2


def test_a_contract_that_refuses_attributes_has_a_stub() -> None:
    assert stub_of(FrozenTwo(), Frozen).size == 2


class Named(Plugin):
    """A contract with a `name` of its own."""

    @property
    def name(self) -> str:  # type: ignore[override]
        return "its own"

    @abstractmethod
    def size(self) -> int: ...


class NamedTwo(Named):
    def size(self) -> int:
        return 2


def test_a_contract_that_has_a_name_of_its_own_has_a_stub() -> None:
    stub = stub_of(NamedTwo(), Named)
    assert (stub.size(), stub.name) == (2, "its own")


class Arguments(Plugin):
    def __init_subclass__(cls, *, colour: str) -> None: ...


class Red(Arguments, colour="red"): ...


class Ordered(Plugin):
    """Python looks such a method up in `object`, too: nothing tells that it is to be forwarded."""

    @abstractmethod
    def __lt__(self, other: object) -> bool: ...


class OrderedOne(Ordered):
    def __lt__(self, other: object) -> bool:
        return True


@pytest.mark.parametrize(
    ("plugin", "contract", "why"),
    [(Red, Arguments, "a subclass of it cannot be made"), (OrderedOne, Ordered, "__lt__ cannot be forwarded")],
)
def test_a_contract_that_cannot_have_a_stub_is_unfit(plugin: type, contract: type, why: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"\[contract-unfit\] \S+{contract.__name__} .*{why}"):
        stub_of(plugin(), contract)


# Coroutines and asynchronous generators.


class Asked(Plugin):
    @abstractmethod
    async def ask(self, what: str = "") -> str: ...

    @abstractmethod
    async def count(self, to: int) -> AsyncIterator[int]:
        yield 0


class Answers(Asked):
    def __init__(self) -> None:
        self.closed: list[int] = []
        self.entered, self.go_on = asyncio.Event(), asyncio.Event()

    async def ask(self, what: str = "what?") -> str:
        if what == "wait":
            self.entered.set()
            await self.go_on.wait()
        if what == "raise":
            raise ValueError(what)
        if what == "cancelled":
            raise asyncio.CancelledError
        return what

    async def count(self, to: int) -> AsyncIterator[int]:
        try:
            for number in range(to):
                yield number
            if to == 2:
                raise ValueError(to)
        finally:
            await asyncio.sleep(0)
            self.closed.append(to)


def test_a_coroutine_is_one_and_is_counted_until_it_ends() -> None:
    async def run() -> None:
        plugin = Answers()
        stub = stub_of(plugin, Asked)
        assert inspect.iscoroutinefunction(stub.ask)
        assert await stub.ask() == "what?"
        task = asyncio.ensure_future(stub.ask("wait"))
        await plugin.entered.wait()
        assert len(calls_of(stub).inside) == 1
        plugin.go_on.set()
        assert await task == "wait"
        assert len(calls_of(stub).inside) == 0
        with pytest.raises(PluginCallError, match="ask raised ValueError: raise"):
            await stub.ask("raise")
        assert len(calls_of(stub).inside) == 0

    asyncio.run(run())


def test_a_cancelled_coroutine_is_cancelled_and_nobodys_failure() -> None:
    async def run() -> None:
        plugin = Answers()
        stub = stub_of(plugin, Asked)
        task = asyncio.ensure_future(stub.ask("wait"))
        await plugin.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(calls_of(stub).inside) == 0

    asyncio.run(run())


def test_an_asynchronous_generator_is_counted_from_its_first_item_to_its_end() -> None:
    async def run() -> None:
        plugin = Answers()
        stub = stub_of(plugin, Asked)
        assert inspect.isasyncgenfunction(stub.count)
        assert [number async for number in stub.count(3)] == [0, 1, 2]
        assert plugin.closed == [3]
        items = stub.count(to=5)
        assert len(calls_of(stub).inside) == 0
        assert await anext(items) == 0
        assert len(calls_of(stub).inside) == 1
        await items.aclose()
        assert plugin.closed == [3, 5]
        assert len(calls_of(stub).inside) == 0
        with pytest.raises(PluginCallError, match="count raised ValueError: 2"):
            [number async for number in stub.count(2)]
        assert len(calls_of(stub).inside) == 0

    asyncio.run(run())


def test_an_asynchronous_generator_of_a_stopped_plugin_refuses_at_its_first_item() -> None:
    async def run() -> None:
        stage = Stage()
        stub: Any = stage.run(Answers(), [Asked]).require(Asked)
        items, answer = stub.count(3), stub.ask()
        stage.handle.end(5)
        with pytest.raises(PluginStopped):
            await anext(items)
        with pytest.raises(PluginStopped):
            await answer

    asyncio.run(run())


# Errors.


class Raises(Plugin):
    value: int
    error: ClassVar[BaseException | None] = None

    @abstractmethod
    def fail(self) -> None: ...

    def newer(self) -> str:
        raise NotImplementedError


class Own(PluginError):
    """An error that an API package defines."""


class Raising(Raises):
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def fail(self) -> None:
        raise self._error

    @property
    def value(self) -> int:  # type: ignore[override]
        raise self._error

    @value.setter
    def value(self, value: int) -> None:
        raise self._error


def read(stub: Any) -> object:
    return stub.value


def write(stub: Any) -> None:
    stub.value = 1


@pytest.mark.parametrize("call", [lambda stub: stub.fail(), read, write], ids=["call", "read", "write"])
@pytest.mark.parametrize(
    "error",
    [PluginError("no"), Own("no"), PluginStopped(stub_of)],  # type: ignore[arg-type]
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_the_plugins_failure_passes_as_it_is(error: BaseException, call: Callable[[Any], object]) -> None:
    stub = stub_of(Raising(error), Raises)
    with pytest.raises(type(error)) as caught:
        call(stub)
    assert caught.value is error
    assert len(calls_of(stub).inside) == 0


@pytest.mark.parametrize(("call", "name"), [(lambda stub: stub.fail(), "fail"), (read, "value"), (write, "value")])
@pytest.mark.parametrize(
    "error",
    [ValueError("no"), SystemExit("no"), AttributeError("no"), StopIteration(), asyncio.CancelledError(), KeyError(1)],
    ids=lambda error: type(error).__name__,
)
def test_any_other_error_names_plugin_version_and_method(
    error: BaseException, call: Callable[[Any], object], name: str
) -> None:
    stub = stub_of(Raising(error), Raises)
    with pytest.raises(PluginCallError) as caught:
        call(stub)
    assert caught.value.__cause__ is error
    assert caught.value.finding.code == "call-failed"
    assert f"some (zoo-some 1.2): {name} raised {type(error).__name__}" in caught.value.finding.message
    assert len(calls_of(stub).inside) == 0


def test_another_plugins_failure_passes_through_and_names_that_one() -> None:
    class Asking(Raising):
        def fail(self) -> None:
            inner.fail()

    cause = ValueError("inner")
    inner = Stage("inner").run(Raising(cause), [Raises]).require(Raises)
    outer = Stage("outer").run(Asking(cause), [Raises]).require(Raises)
    with pytest.raises(PluginCallError, match=r"inner, some \(zoo-some 1\.2\): fail raised ValueError") as caught:
        outer.fail()
    assert caught.value.__cause__ is cause


def test_what_a_plugin_of_an_older_api_lacks_is_told_as_that() -> None:
    class Older(Raises):
        def fail(self) -> None:
            raise AttributeError

    Older.__module__ = "zoo"  # whose name the API's begins with
    stub = stub_of(Older(), Raises, built_against="1.0", module="zoo")
    for call in (stub.newer, lambda: stub.value):
        with pytest.raises(PluginCallError, match=r"\[method-missing\].*built for the API 1\.0"):
            call()
    with pytest.raises(PluginCallError, match=r"\[call-failed\]"):
        stub.fail()


def test_a_default_of_an_api_whose_name_begins_as_the_plugins_is_not_the_plugins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Older(Raises):
        def fail(self) -> None: ...

    monkeypatch.setattr(Older, "__module__", "acme")
    monkeypatch.setattr(Raises, "__module__", "acme_api")
    with pytest.raises(PluginCallError, match=r"\[method-missing\]"):
        stub_of(Older(), Raises, built_against="1.0", module="acme").newer()


# The same, of signatures that nobody has thought of.

NAMES = st.sampled_from(["a", "b", "self", "_self", "_calls", "_args", "_named", "_exc", "_item", "c", "args"])


SELDOM = st.sampled_from([False, False, False, True])


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, list[tuple[list[int], dict[str, int]]]]:
    """Returns the text of a method's parameters after its first, and several arguments that may do for them."""
    names = draw(st.lists(NAMES, unique=True, max_size=5))
    plain = draw(st.integers(0, len(names))) if draw(SELDOM) else len(names)
    defaults = draw(st.integers(0, plain)) if draw(SELDOM) else plain  # from which on they have one
    texts = [f"{name}='{name} of {{who}}'" if at >= defaults else name for at, name in enumerate(names[:plain])]
    if plain and draw(SELDOM):
        texts.insert(draw(st.integers(1, plain)), "/")
    if draw(SELDOM):
        texts.append("*more")
    elif plain < len(names):
        texts.append("*")
    texts += [f"{name}='{name} of {{who}}'" if draw(SELDOM) else name for name in names[plain:]]
    if draw(SELDOM):
        texts.append("**others")
    mixed = draw(st.integers(0, plain))
    numbers = range(len(names))
    given = [
        (list(numbers), {}),
        ([], dict(zip(names, numbers, strict=True))),
        (list(numbers[:mixed]), dict(zip(names[mixed:], numbers[mixed:], strict=True))),
        (list(range(draw(st.integers(0, 6)))), draw(st.dictionaries(NAMES, st.integers(), max_size=3))),
    ]
    return ", ".join(texts), given


def outcome(call: Callable[..., object], args: list[int], named: dict[str, int]) -> object:
    try:
        return call(*args, **named)
    except (TypeError, PluginCallError):
        return "refused"


@settings(max_examples=500)
@given(calls())
def test_any_signature_forwards_what_a_direct_call_gets(
    call: tuple[str, list[tuple[list[int], dict[str, int]]]],
) -> None:
    signature, arguments = call
    source = "class Made({base}):\n    def method(this, {takes}):\n        return locals() | {{'this': None}}"
    names: dict[str, Any] = {"Plugin": Plugin, "__name__": "acme_api"}
    exec(source.format(base="Plugin", takes=signature.replace("{who}", "the contract")), names)
    contract = names["Contract"] = names["Made"]
    exec(source.format(base="Contract", takes=signature.replace("{who}", "the plugin")), names)
    plugin = names["Made"]()
    stub = stub_of(plugin, contract)
    for args, named in arguments:
        assert outcome(stub.method, args, named) == outcome(plugin.method, args, named), (signature, args, named)
    assert len(calls_of(stub).inside) == 0


# Ends that come at the worst moment.


def at_line(text: str, do: Callable[[], object], call: Callable[[], object]) -> object:
    """Calls, and does something else when it comes to a line of a stub's code."""
    [number, *_] = [at for at, line in enumerate(stubs._CALL.splitlines(), 1) if text in line]

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith("<the stub's"):
            return None
        if event == "line" and frame.f_lineno == number and todo:
            todo.pop()()
        return trace

    todo = [do]
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return call()
    finally:
        sys.settrace(before)
        assert not todo, "it did not come to that line"


def test_a_plugin_that_stops_between_a_calls_look_and_its_entry_is_not_called() -> None:
    stage = Stage()
    stub: Any = stage.run(WideOne(), [Wide]).require(Wide)
    with pytest.raises(PluginStopped):
        at_line("_inside.append(None)", lambda: stage.handle.end(5), lambda: stub.plain(1, 2))


def test_a_plugin_that_is_started_anew_meanwhile_is_called_as_what_it_is_now() -> None:
    stage, second = Stage(), WideOne()
    stub: Any = stage.run(WideOne(), [Wide]).require(Wide)

    def renew() -> None:
        stage.handle.end(5)
        stage.run(second, [Wide])
        second.at = 7

    assert at_line("_inside.append(None)", renew, lambda: stub.level) == 7
    assert len(calls_of(stub).inside) == 0


def test_a_plugin_is_not_shut_down_under_a_call_that_has_entered() -> None:
    ended: list[int] = []

    class Inside(WideOne):
        def plain(self, x: object, y: object) -> object:
            thread.start()
            thread.join(0.1)  # so long it would have time to end
            return list(ended)

        def shutdown(self) -> None:
            ended.append(1)

    stage = Stage()
    stub: Any = stage.run(Inside(), [Wide]).require(Wide)
    thread = threading.Thread(target=lambda: stage.handle.end(30))
    assert stub.plain(1, 2) == []
    thread.join(30)
    assert ended == [1]


def test_a_call_that_does_not_return_is_told_and_the_plugin_is_shut_down_under_it() -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Stuck(WideOne):
        def plain(self, x: object, y: object) -> object:
            entered.set()
            go_on.wait(30)
            return x

    stage = Stage()
    stub: Any = stage.run(Stuck(), [Wide]).require(Wide)
    thread = threading.Thread(target=lambda: stub.plain(1, 2))
    thread.start()
    assert entered.wait(30)
    [finding] = stage.handle.end(2.0)  # half of it for the call, and half for the shutdown
    go_on.set()
    thread.join(30)
    assert (finding.code, stage.handle.state) == ("drain-timeout", "stopped")


def test_threads_that_ask_for_more_contracts_do_not_get_in_each_others_way() -> None:
    """Each contract has a stub of its own, which is added while others look for theirs."""
    contracts = [type(f"C{number}", (Wide,), {"__module__": "acme"}) for number in range(200)]
    handle = Stage().run(type("Many", (WideOne, *contracts), {})(), [Wide])
    raised: list[BaseException] = []

    def ask(order: int) -> None:
        try:
            for contract in contracts[::order]:
                assert isinstance(handle.require(contract), contract)
        except BaseException as exc:
            raised.append(exc)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask, args=(order,)) for order in (1, -1, 3, -3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert raised == []


# What it costs.


def profile(call: Callable[[], object]) -> list[str]:
    """Returns the calls that are made in a call, and its own; noise-free, where a time would not be."""
    seen: list[str] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            seen.append(f"{event} {argument.__name__ if event == 'c_call' else frame.f_code.co_name}")

    call()  # what is done once is done
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    seen.remove("c_call setprofile")
    return seen


def test_a_stub_costs_one_python_call_an_append_a_turn_and_a_pop() -> None:
    plugin = WideOne()
    stub, direct = stub_of(plugin, Wide), plugin.plain
    assert profile(lambda: direct(1, 2)) == ["call <lambda>", "call plain"]
    assert profile(lambda: stub.plain(1, 2)) == [
        "call <lambda>",
        "call plain",
        "c_call append",
        "c_call next",
        "call plain",
        "c_call pop",
    ]


def test_eight_threads_leave_no_call_counted() -> None:
    stub = stub_of(WideOne(), Wide)
    threads = [threading.Thread(target=lambda: [stub.plain(1, 2) for _ in range(2_000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls_of(stub).inside) == 0
