"""A route's stub decides at each call who serves it, and never has a thing done twice."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from abc import abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from pluginhost import (
    ConfigurationError,
    PluginCallError,
    PluginHostError,
    PluginManager,
    PluginNotFound,
    containment,
    context,
    stubs,
)
from pluginhost.events import TOPICS
from waiting import until

from pluginapi import Event, Plugin, PluginError, idempotent

GROUP = "zoo.routing"


class Wide(Plugin):
    """A contract with a method of each kind, one of each marked as idempotent, and an attribute."""

    title: str

    @abstractmethod
    def plain(self, number: int) -> str: ...

    @idempotent
    @abstractmethod
    def again(self, number: int) -> str: ...

    @abstractmethod
    def stream(self, number: int) -> Iterator[str]: ...

    @abstractmethod
    async def later(self, number: int) -> str: ...

    @idempotent
    @abstractmethod
    async def later_again(self, number: int) -> str: ...

    @abstractmethod
    async def stream_later(self, number: int) -> AsyncIterator[str]:
        yield ""

    @idempotent
    @abstractmethod
    async def stream_later_again(self, number: int) -> AsyncIterator[str]:
        yield ""


class Made(Wide):
    """Answers with its title; it may be made to raise, and counts what it was asked."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.asked: Counter[str] = Counter()
        self.raises: Callable[[], BaseException | None] = lambda: None
        self.after = 0

    def init(self, host: object) -> None:
        self.raised("init")

    def raised(self, method: str) -> str:
        self.asked[method] += 1
        exc = self.raises()
        try:
            if exc is not None and not self.after:
                raise exc
        finally:
            del exc  # which would hold itself
        return self.title

    def plain(self, number: int) -> str:
        return self.raised("plain")

    def again(self, number: int) -> str:
        return self.raised("again")

    def stream(self, number: int) -> Iterator[str]:
        yield self.raised("stream")

    async def later(self, number: int) -> str:
        return self.raised("later")

    async def later_again(self, number: int) -> str:
        return self.raised("later_again")

    async def stream_later(self, number: int) -> AsyncIterator[str]:
        yield self.raised("stream_later")
        if exc := self.raises():
            raise exc

    async def stream_later_again(self, number: int) -> AsyncIterator[str]:
        yield self.raised("stream_later_again")
        if exc := self.raises():
            raise exc


class Other(Plugin):
    """Another contract."""

    @abstractmethod
    def other(self) -> None: ...


@pytest.fixture(autouse=True)
def told() -> Iterator[list[Event]]:
    """What routes tell in a test, held against the catalogue of events."""
    House.told = told = []
    yield told
    for event in told:
        assert list(event.fields) == list(TOPICS[event.topic].fields), event.topic
        assert event.source == ""


class House:
    """A manager with three plugins of one contract, `one`, `two` and `three`, and what it tells of its route."""

    told: ClassVar[list[Event]] = []

    def __init__(self, route: dict[str, object] | None = None, **settings: Any) -> None:
        self.plugins = {name: Made(name) for name in ("one", "two", "three")}
        self.manager = PluginManager(GROUP, None, routes={"Wide": route or {}}, **settings)
        for name, plugin in self.plugins.items():
            can = ("quick",) if name == "two" else ()
            self.manager.register(name, lambda plugin=plugin: plugin, capabilities=can)  # type: ignore[misc]
        self.events: list[Event] = []
        self.manager.subscribe(self.events.append, "route.")
        self.manager.subscribe(self.told.append, "route.")
        self.wide = self.manager.route(Wide)

    def asked(self, method: str) -> list[str]:
        """Returns whom a method came to, in the order of their names."""
        return [name for name, plugin in self.plugins.items() for _ in range(plugin.asked[method])]

    def fallbacks(self) -> list[tuple[object, object, object]]:
        """Returns who did not answer, who was asked then, and why."""
        of = [event.fields for event in self.events if event.topic == "route.fallback"]
        return [(fields["plugin"], fields["to"], fields["error"]["code"]) for fields in of]  # type: ignore[index]


def called(wide: Any, method: str) -> str:
    """Returns the only thing that a method answers, whatever its kind."""
    if "later" not in method:
        answer = getattr(wide, method)(1)
        return answer if isinstance(answer, str) else next(answer)

    async def wait() -> str:
        answer = getattr(wide, method)(1)
        return await anext(answer) if hasattr(answer, "__aiter__") else await answer

    return asyncio.run(wait())


METHODS = ["plain", "again", "stream", "later", "later_again", "stream_later", "stream_later_again"]
AGAIN = [method for method in METHODS if method.endswith("again")]


# -- who serves


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ({}, "one"),
        ({"default": "two"}, "two"),
        ({"order": ["three", "one"]}, "three"),
        ({"off": ["one"]}, "three"),  # by name: one, three, two
        ({"capabilities": ["quick"]}, "two"),
        ({"default": "one", "weights": {"three": 100}}, "three"),
        ({"default": "one", "weights": {"three": 0}}, "one"),
        ({"default": "one", "weights": {"three": 100}, "off": ["three"]}, "one"),
        ({"default": "one", "order": ["two"], "off": ["one"]}, "two"),
        ({"default": "one", "rules": [{"when": {"tenant": ["a", "b"]}, "use": "three"}]}, "three"),
        ({"default": "one", "rules": [{"when": {"tenant": ["c"]}, "use": "three"}]}, "one"),
        ({"default": "one", "rules": [{"when": {"tenant": ["a"], "size": ["big"]}, "use": "three"}]}, "one"),
        ({"default": "one", "rules": [{"when": {"tenant": ["a"]}, "weights": {"two": 100}}]}, "two"),
        ({"default": "one", "rules": [{"when": {"tenant": ["a"]}}], "weights": {"two": 100}}, "one"),
        ({"default": "one", "rules": [{"use": "two"}, {"use": "three"}]}, "two"),
        ({"default": "one", "rules": [{"use": "three"}], "off": ["three"]}, "one"),
        ({"default": "one", "canary": {"plugin": "two", "share": 100}}, "two"),
    ],
)
def test_what_is_set_decides_who_serves(route: dict[str, object], expected: str) -> None:
    house = House(route)
    with context(tenant="a"):
        assert {house.wide.plain(1) for _ in range(5)} == {expected}
        assert house.wide.title == expected
    assert house.manager.routes()["Wide"].fallbacks == 0


def test_each_call_is_drawn_anew_unless_its_context_has_the_key() -> None:
    house = House({"default": "one", "weights": {"two": 50}, "key": "customer"})
    assert {house.wide.plain(1) for _ in range(200)} == {"one", "two"}
    for customer in map(str, range(50)):
        with context(customer=customer):
            assert len({house.wide.plain(1) for _ in range(5)}) == 1


def test_no_plugin_is_started_before_a_call_goes_to_it() -> None:
    house = House({"default": "one", "order": ["two"], "weights": {"three": 1}})
    assert house.manager.status() == {}
    with context(key="some"):
        house.wide.plain(1)
    assert list(house.manager.status()) == ["one"]


def test_a_routes_stub_is_one_object_of_the_contracts_type_and_says_whose_it_is() -> None:
    house = House()
    assert house.manager.route(Wide) is house.wide is house.manager.route(Wide, "Wide")
    assert isinstance(house.wide, Wide)
    assert repr(house.wide) == "<route Wide, as Wide>"
    assert house.manager.route(Wide, "other") is not house.wide
    with pytest.raises(PluginCallError, match="method-unknown"):
        house.wide.shutdown()


def test_attributes_are_read_and_bound_where_a_call_would_go() -> None:
    house = House({"default": "two"})
    house.wide.title = "new"
    assert (house.plugins["two"].title, house.wide.title) == ("new", "new")


# -- who answers when that one does not


def stopped(house: House) -> None:
    house.manager.get("one", Wide)
    house.manager.stop("one")


def broken(house: House) -> None:
    house.plugins["one"].raises = lambda: ValueError("it cannot begin")


def open_breaker(house: House) -> None:
    one = house.manager.get("one", Wide)
    house.plugins["one"].raises = lambda: ValueError("once more")
    with pytest.raises(PluginCallError):
        one.plain(1)
    house.plugins["one"].raises = lambda: None
    house.plugins["one"].asked.clear()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("become", "code"), [(stopped, "plugin-stopped"), (broken, "init-failed"), (open_breaker, "breaker-open")]
)
def test_who_cannot_be_called_is_passed_by_whatever_the_method(
    become: Callable[[House], None], code: str, method: str
) -> None:
    house = House({"default": "one", "order": ["one", "two", "three"]}, plugins={"one": {"breaker_failures": 1}})
    become(house)
    assert called(house.wide, method) == "two"
    assert house.asked(method) == ["two"]
    assert house.fallbacks() == [("one", "two", code)]


@pytest.mark.parametrize("method", METHODS)
def test_a_failed_call_goes_to_the_next_only_if_the_contract_says_that_it_may_be_made_twice(method: str) -> None:
    house = House({"default": "one", "order": ["two", "three"]})
    house.manager.load_all()
    house.plugins["one"].raises = house.plugins["two"].raises = lambda: ValueError("no")
    if method in AGAIN:
        assert called(house.wide, method) == "three"
        assert house.asked(method) == ["one", "two", "three"]
        assert house.fallbacks() == [("one", "two", "call-failed"), ("two", "three", "call-failed")]
    else:
        with pytest.raises(PluginCallError, match="call-failed"):
            called(house.wide, method)
        assert house.asked(method) == ["one"]
        assert house.fallbacks() == []
    assert house.manager.routes()["Wide"].plugins[0].failures == 1


@pytest.mark.parametrize("method", METHODS)
def test_when_nobody_answers_the_caller_is_told_what_the_one_that_was_chosen_failed_with(method: str) -> None:
    house = House({"default": "one", "order": ["two", "three"]})
    house.manager.load_all()
    for name in house.plugins:
        house.manager.stop(name)
    with pytest.raises(PluginHostError, match=r"one .* does not run"):
        called(house.wide, method)
    assert len(house.fallbacks()) == 2


def test_once_a_stream_has_begun_nobody_else_goes_on_with_it() -> None:
    house = House({"default": "one", "order": ["two"]})
    house.manager.load_all()
    house.plugins["one"].raises, house.plugins["one"].after = lambda: ValueError("in the middle"), 1
    got: list[str] = []

    async def read() -> None:
        items = house.wide.stream_later_again(1)
        got.append(await anext(items))
        await anext(items)

    with pytest.raises(PluginCallError, match="in the middle"):
        asyncio.run(read())
    assert (got, house.asked("stream_later_again"), house.fallbacks()) == (["one"], ["one"], [])


@pytest.mark.parametrize("method", METHODS)
def test_a_plugins_own_word_reaches_the_caller_and_nobody_else_is_asked(method: str) -> None:
    house = House({"default": "one", "order": ["two"]})
    house.manager.load_all()
    house.plugins["one"].raises = lambda: PluginError("not found")
    with pytest.raises(PluginError, match="not found"):
        called(house.wide, method)
    assert house.asked(method) == ["one"]


def test_what_fails_within_a_call_since_another_plugin_is_stopped_is_no_refusal_of_this_one() -> None:
    """The call came to it, and may have done something."""
    house = House({"default": "one", "order": ["three"]})
    house.manager.load_all()
    two = house.manager.get("two", Wide)
    house.manager.stop("two")

    def asks_two() -> BaseException | None:
        two.plain(1)
        return None

    house.plugins["one"].raises = asks_two
    with pytest.raises(PluginHostError, match="two"):
        house.wide.plain(1)
    assert (house.asked("plain"), house.fallbacks()) == (["one"], [])


def test_a_call_that_is_late_goes_to_the_next_only_if_it_may_be_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    # Who calls is the one to give it up, although on a busy machine it may wake late.
    monkeypatch.setattr(containment, "stubs", SimpleNamespace(GRACE=60.0, FILE=stubs.FILE))
    late = {"call_timeout": 0.3, "on_timeout": "abandon", "breaker_failures": 100}
    house = House({"default": "one", "order": ["two"]}, plugins={"one": late})
    house.manager.load_all()
    go = threading.Event()
    house.plugins["one"].raises = lambda: [go.wait(60)].clear()  # type: ignore[func-returns-value]
    try:
        assert house.wide.again(1) == "two"
        assert house.fallbacks() == [("one", "two", "call-timeout")]
        with pytest.raises(PluginCallError, match="call-timeout"):
            house.wide.plain(1)
        assert house.asked("plain") == ["one"]
    finally:
        go.set()
    house.manager.close()


@pytest.mark.parametrize("of", ["weights", "rules", "canary", "flag"])
def test_who_was_chosen_for_some_callers_and_cannot_be_called_leaves_them_to_the_default(of: str) -> None:
    chosen: dict[str, dict[str, object]] = {
        "weights": {"weights": {"three": 100}},
        "rules": {"rules": [{"use": "three"}]},
        "canary": {"canary": {"plugin": "three", "share": 100}},
        "flag": {"flag": "who"},
    }
    from openfeature import api
    from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

    api.set_provider(InMemoryProvider({"who": InMemoryFlag("a", {"a": "three"})}))
    try:
        house = House({"default": "one", **chosen[of]})
        assert house.wide.plain(1) == "three"
        house.manager.stop("three")
        assert house.wide.plain(1) == "one"
        house.manager.start("three")
        assert house.wide.plain(1) == "three"
    finally:
        api.clear_providers()


def test_without_a_default_whoever_implements_the_contract_stands_in() -> None:
    house = House({"rules": [{"use": "nobody"}]})
    assert house.wide.plain(1) == "one"
    assert house.fallbacks() == [("nobody", "one", "plugin-unknown")]


def test_a_name_that_nobody_has_is_told_once_and_the_default_serves() -> None:
    told = []
    house = House({"default": "one", "weights": {"twoo": 100}})
    house.manager.tell = lambda finding, *about: told.append(finding)  # type: ignore[method-assign]
    assert {house.wide.plain(1) for _ in range(20)} == {"one"}
    assert {finding.code for finding in told} == {"plugin-unknown"}
    assert "did you mean two" in told[0].hint
    assert len(told) == 1


def test_who_lacks_a_capability_or_has_another_contract_is_passed_by() -> None:
    house = House({"default": "one", "order": ["two"], "capabilities": ["quick"]})
    assert house.wide.plain(1) == "two"
    assert house.fallbacks() == [("one", "two", "capability-missing")]
    other = House({"default": "odd", "order": ["two"]})

    class Odd(Other):
        def other(self) -> None: ...

    other.manager.register("odd", Odd)
    assert other.wide.plain(1) == "two"
    assert other.fallbacks() == [("odd", "two", "wrong-type")]


# -- the value that stands for an answer


def test_a_value_stands_in_when_all_have_failed() -> None:
    house = House({"default": "one", "order": ["two"], "static": {"plain": "none", "later": "none"}})
    house.manager.load_all()
    house.plugins["one"].raises = house.plugins["two"].raises = lambda: ValueError("no")
    assert (called(house.wide, "plain"), called(house.wide, "later")) == ("none", "none")
    assert house.asked("plain") == ["one"], "the second may not be asked, and a value does nothing twice"
    assert house.fallbacks() == [("one", "", "call-failed")] * 2
    with pytest.raises(PluginCallError):
        called(house.wide, "again")
    house.manager.stop("one")
    house.manager.stop("two")
    assert called(house.wide, "plain") == "none"
    assert house.fallbacks()[-2:] == [("one", "two", "plugin-stopped"), ("two", "", "plugin-stopped")]


class Lists(Plugin):
    @abstractmethod
    def all(self) -> list[int]: ...


def test_a_value_that_stands_in_is_made_anew_for_each_caller() -> None:
    manager = PluginManager(GROUP, None, routes={"Lists": {"default": "none", "static": {"all": [1]}}})
    lists = manager.route(Lists)
    lists.all().append(2)
    assert lists.all() == [1]


@pytest.mark.parametrize(
    ("static", "said"),
    [
        ({"plain": 3}, "routes.Wide.static.plain is 3"),
        ({"plan": ""}, "did you mean plain"),
        ({"stream": []}, "stands for a stream"),
        ({"stream_later": ""}, "stands for a stream"),
        ({"title": ""}, "is no method"),
    ],
)
def test_a_value_that_cannot_stand_in_is_refused_when_the_route_is_asked_for(
    static: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        House({"static": static})


# -- changes


def test_another_configuration_holds_from_the_next_call_on_and_a_wrong_one_changes_nothing() -> None:
    house = House({"default": "one"})
    plugins = house.wide.plain
    assert plugins(1) == "one"
    with pytest.raises(ConfigurationError, match="static"):
        manager_routes(house, {"default": "two", "static": {"plain": 3}})
    assert plugins(1) == "one"


def manager_routes(house: House, route: dict[str, object]) -> None:
    house.manager._given.pop("routes", None)  # what was given as an argument stays
    house.manager.apply({"routes": {"Wide": route}})


def test_apply_leaves_alone_what_an_operator_changed_unless_what_is_configured_is_another() -> None:
    house = House({"default": "one"})
    house.manager.reroute("Wide", {"default": "three"})
    manager_routes(house, {"default": "one"})
    assert house.wide.plain(1) == "three"
    manager_routes(house, {"default": "two"})
    assert house.wide.plain(1) == "two"


def test_an_operators_change_sets_what_it_names_and_is_told() -> None:
    house = House({"default": "one", "weights": {"two": 100}})
    house.manager.reroute("Wide", {"weights": {"two": 99, "three": 0.5}, "off": ["two"]})
    status = house.manager.routes()["Wide"]
    assert (status.weights, status.off, status.default) == ({"two": 99, "three": 0.5}, ["two"], "one")
    assert house.events[-1].topic == "route.changed"
    assert house.events[-1].fields == {"route": "Wide", "changed": ["off", "weights"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": {"two": 120}}, "write a number, at least 0 and at most 100"),
        ({"weights": {"two": 60, "three": 60}}, "leads to 120 %"),
        ({"canary": {"plugin": "two", "share": 60}, "weights": {"three": 60}}, "leads to 120 %"),
        ({"canary": {"plugin": "two"}, "weights": {"two": 1}}, "has a share already"),
        ({"rules": [{"weights": {"two": 60, "three": 60}}]}, "rules.0..weights leads to 120 %"),
        ({"defaults": "two"}, "did you mean default"),
        ({"canary": {"share": 3}}, "plugin is missing"),
    ],
)
def test_a_wrong_change_is_refused_whole(changes: dict[str, object], said: str) -> None:
    house = House({"default": "one"})
    before = house.manager.routes()
    with pytest.raises(ConfigurationError, match=said):
        house.manager.reroute("Wide", changes)
    assert house.manager.routes() == before
    with pytest.raises(ConfigurationError, match=said):
        PluginManager(GROUP, None, routes={"Wide": changes})


def test_what_is_no_route_or_no_contract_is_refused() -> None:
    house = House()
    with pytest.raises(ConfigurationError, match="did you mean Wide"):
        house.manager.reroute("Wid", {})
    with pytest.raises(ConfigurationError, match="tries nobody"):
        house.manager.settle("Wide", is_good=True)
    with pytest.raises(ConfigurationError, match="of Wide, not of Other"):
        house.manager.route(Other, "Wide")
    with pytest.raises(PluginNotFound, match="route-nowhere"):
        house.manager.route(Other).other()
    house.manager.close()
    with pytest.raises(PluginHostError, match="manager-closed"):
        house.manager.route(Wide)
    with pytest.raises(PluginHostError, match="manager-closed"):
        house.wide.plain(1)


def test_when_all_that_are_named_are_off_nobody_else_serves() -> None:
    house = House({"default": "one", "order": ["two"], "off": ["one", "two"], "static": {"later": "none"}})
    with pytest.raises(PluginNotFound, match="all that may serve the route Wide are off: one, two"):
        house.wide.plain(1)
    assert called(house.wide, "later") == "none"
    assert house.manager.status() == {}
    house.manager.reroute("Wide", {"off": ["one"]})
    assert (house.wide.plain(1), house.manager.routes()["Wide"].default) == ("two", "two")


def test_a_route_that_is_changed_again_and_again_grows_by_nothing() -> None:
    house = House({"default": "one"})
    for number in range(50):
        house.manager.reroute("Wide", {"weights": {"two": number, "three": 0}, "key": str(number)})
        house.wide.plain(1)
    route = house.manager._routes._known["Wide"]
    assert [len(leg.tally._calls) for leg in route._made.values()] == [1] * len(route._made)
    assert house.manager.routes()["Wide"].weights == {"two": 49}
    assert sum(leg.calls for leg in house.manager.routes()["Wide"].plugins) == 50


# -- canaries


def test_a_canary_that_fails_is_rolled_back_on_its_own_and_told() -> None:
    house = House({"default": "one", "canary": {"plugin": "two", "share": 50, "calls": 100}})
    house.manager.load_all()
    house.plugins["two"].raises = lambda: ValueError("no")
    failed = 0
    for _ in range(2000):
        try:
            house.wide.plain(1)
        except PluginCallError:
            failed += 1
    assert 0 < failed < 100
    (event,) = (event for event in house.events if event.topic == "route.rolled_back")
    assert event.fields["plugin"] == "two"
    assert event.fields["was"] == "one"
    status = house.manager.routes()["Wide"]
    assert (status.default, status.canary) == ("one", None)
    assert status.verdict.startswith("two was rolled back: ")


def test_a_good_canary_is_promoted_on_its_own_and_told() -> None:
    house = House({"default": "one", "canary": {"plugin": "two", "share": 50, "calls": 100, "slower": 100}})
    for _ in range(5000):
        house.wide.plain(1)
    (event,) = (event for event in house.events if event.topic == "route.promoted")
    assert (event.fields["plugin"], event.fields["was"]) == ("two", "one")
    assert house.manager.routes()["Wide"].default == "two"
    assert {house.wide.plain(1) for _ in range(20)} == {"two"}


def test_a_canary_that_cannot_be_started_is_rolled_back_and_the_default_has_answered() -> None:
    house = House({"default": "one", "canary": {"plugin": "two", "share": 50, "calls": 100}})
    house.plugins["two"].raises = lambda: ValueError("it cannot begin")
    assert {house.wide.plain(1) for _ in range(2000)} == {"one"}
    assert [event.topic for event in house.events if event.topic != "route.fallback"] == ["route.rolled_back"]


@pytest.mark.parametrize(("is_good", "serves"), [(True, "two"), (False, "one")])
def test_an_operator_may_end_the_trial(is_good: bool, serves: str) -> None:
    house = House({"default": "one", "canary": {"plugin": "two", "share": 50}})
    house.manager.settle("Wide", is_good=is_good)
    assert {house.wide.plain(1) for _ in range(50)} == {serves}
    assert house.events[-1].topic == ("route.promoted" if is_good else "route.rolled_back")
    assert house.events[-1].fields["reason"] == "by its operator"


def test_a_change_does_not_bring_back_a_canary_whose_trial_is_over() -> None:
    house = House({"default": "one", "canary": {"plugin": "two", "share": 50}})
    route = house.manager._routes._known["Wide"]
    ready, trial = threading.Event(), route.plan.trial
    require_fit = route.require_fit

    def settled_meanwhile(settings: Any) -> None:
        ready.set()
        time.sleep(0.05)  # the other thread waits for the change, if it may not come between
        require_fit(settings)

    route.require_fit = settled_meanwhile  # type: ignore[method-assign]
    changing = threading.Thread(target=lambda: house.manager.reroute("Wide", {"order": ["three"]}))
    changing.start()
    assert ready.wait(60)
    assert trial is not None
    house.manager.settle("Wide", is_good=False)
    changing.join()
    status = house.manager.routes()["Wide"]
    assert (status.canary, status.order) == (None, ["three"])
    with pytest.raises(ConfigurationError, match="tries nobody: two was rolled back: by its operator"):
        house.manager.settle("Wide", is_good=True)


def test_calls_that_a_rule_sends_somewhere_say_nothing_of_the_canary() -> None:
    rules = [{"when": {"tenant": ["a"]}, "use": "two"}]
    house = House({"default": "one", "rules": rules, "canary": {"plugin": "two", "share": 50}})
    with context(tenant="a"):
        for _ in range(100):
            house.wide.plain(1)
    canary = house.manager.routes()["Wide"].canary
    assert canary is not None
    assert canary.tried.calls == canary.baseline.calls == 0


# -- at once


def test_each_call_of_many_threads_answers_while_the_route_is_changed_and_its_plugins_reloaded() -> None:
    house = House({"default": "one", "order": ["two", "three"]})
    house.manager.load_all()
    over, failed, answers = threading.Event(), [], Counter[str]()

    def call() -> None:
        while not over.is_set():
            try:
                answers[house.wide.plain(1)] += 1
            except BaseException as exc:
                failed.append(exc)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(9):
        name = ("one", "two", "three")[number % 3]
        house.manager.reroute("Wide", {"default": name, "weights": {"one": 9 * number}})
        before = answers[name]
        until(lambda name=name, before=before: answers[name] != before or failed)
        if name != "three":
            house.manager.stop(name)
            house.manager.start(name)
    over.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert set(answers) == {"one", "two", "three"}
    status = house.manager.routes()["Wide"]
    assert sum(each.calls - each.failures for each in status.plugins) == sum(answers.values())
    house.manager.close()


def test_the_numbers_of_a_route_are_those_of_its_calls() -> None:
    house = House({"default": "one", "order": ["two"]})
    house.manager.load_all()
    for _ in range(300):
        house.wide.again(1)
    house.plugins["one"].raises = lambda: ValueError("no")
    for _ in range(3):
        house.wide.again(1)
    house.manager.get("one", Wide)
    one, two = house.manager.routes()["Wide"].plugins
    assert (one.plugin, one.calls, one.failures) == ("one", 303, 3)
    assert (two.plugin, two.calls, two.failures) == ("two", 3, 0)
    assert one.p50 is not None
    assert house.manager.routes()["Wide"].fallbacks == 3
    assert house.manager.status()["one"].calls == 303


def test_a_call_that_fell_back_holds_nothing_that_it_was_given() -> None:
    house = House({"default": "one", "order": ["two"]})
    house.manager.load_all()
    house.plugins["one"].raises = lambda: ValueError("no")

    class Given:
        pass

    given = Given()
    gone = weakref.ref(given)
    gc.disable()
    try:
        house.wide.again(given)  # type: ignore[arg-type]
        house.events.clear()
        house.told.clear()
        del given
        assert gone() is None
    finally:
        gc.enable()
