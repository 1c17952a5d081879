"""A route's plan decides by rules, then by its flag, then by shares, and else by its default."""

from __future__ import annotations

from typing import Any

import pluginhost
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openfeature import api
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider
from pluginhost.choice import Choice, Plan
from pluginhost.config import configuration

KEYS = [f"customer-{number}" for number in range(2_000)]


def plan(before: Plan | None = None, /, **values: Any) -> Plan:
    return Plan("Greeter", configuration({"routes": {"Greeter": values}}).routes["Greeter"], before)


def chosen(by: Plan, **values: str) -> str:
    with pluginhost.context(**values):
        return by.choose().plugin


def by_key(by: Plan) -> dict[str, str]:
    return {key: chosen(by, key=key) for key in KEYS}


@pytest.mark.parametrize(
    ("values", "plugin"),
    [
        ({}, ""),
        ({"default": "a"}, "a"),
        ({"order": ["a", "b"]}, "a"),
        ({"default": "c", "order": ["a", "b"]}, "c"),
        ({"default": "a", "off": ["a"]}, ""),
        ({"default": "a", "order": ["a", "b"], "off": ["a"]}, "b"),
        ({"order": ["a", "b"], "off": ["a", "b"]}, ""),
    ],
)
def test_where_nothing_else_decides_the_default_serves_or_the_first_in_order(values: Any, plugin: str) -> None:
    assert chosen(plan(**values)) == plugin


RULES = [
    {"when": {"tenant": ["acme"], "region": ["eu", "us"]}, "use": "a"},
    {"when": {"tenant": ["acme", "apex"]}, "use": "b"},
    {"when": {"beta": ["yes"]}},
    {"when": {"tenant": ["zeta"]}, "use": "gone"},
]


@pytest.mark.parametrize(
    ("values", "plugin"),
    [
        ({"tenant": "acme", "region": "us"}, "a"),
        ({"tenant": "acme", "region": "cn"}, "b"),
        ({"tenant": "apex"}, "b"),
        ({"tenant": "apex", "beta": "yes"}, "b"),
        ({"beta": "yes"}, "d"),
        ({"tenant": "zeta"}, "d"),
        ({"region": "eu"}, "d"),
        ({}, "d"),
    ],
)
def test_the_first_rule_of_which_all_fits_decides(values: dict[str, str], plugin: str) -> None:
    assert chosen(plan(default="d", rules=RULES, off=["gone"]), **values) == plugin


def test_a_rule_may_have_shares_of_its_own_and_one_that_asks_for_nothing_fits_all() -> None:
    by = plan(default="d", rules=[{"weights": {"a": 25}, "use": "b"}], weights={"c": 100})
    found = by_key(by)
    assert {*found.values()} == {"a", "b"}
    assert 400 < list(found.values()).count("a") < 600
    assert found == by_key(by)
    assert by_key(plan(rules=[{"weights": {"a": 25}, "use": "b"}], off=["a"])) == dict.fromkeys(KEYS, "b")
    without = by_key(plan(default="d", rules=[{"weights": {"a": 25}, "use": "b"}], off=["b"]))
    assert without == {key: "a" if found[key] == "a" else "d" for key in KEYS}


def test_rules_come_before_the_flag_and_that_before_shares() -> None:
    api.set_provider_and_wait(InMemoryProvider({"greeter": InMemoryFlag("on", {"on": "f", "off": ""})}))
    try:
        others: dict[str, Any] = {"flag": "greeter", "weights": {"w": 100}, "default": "d"}
        rules = [{"when": {"tenant": ["acme"]}, "use": "r"}]
        assert chosen(plan(rules=rules, **others), tenant="acme") == "r"
        assert chosen(plan(rules=rules, **others), tenant="apex") == "f"
        assert chosen(plan(off=["f"], **others)) == "w"
        assert chosen(plan(off=["f", "w"], **others)) == "d"
    finally:
        api.clear_providers()
    assert chosen(plan(**others)) == "w"


def test_the_value_that_shares_stick_to_has_the_name_that_is_set() -> None:
    by = plan(key="customer", weights={"a": 50})
    found = {key: {chosen(by, customer=key) for _ in range(5)} for key in KEYS[:100]}
    assert {len(names) for names in found.values()} == {1}
    assert {name for names in found.values() for name in names} == {"a", ""}
    assert {chosen(by, key="c-1") for _ in range(100)} == {"a", ""}  # that is none: each is drawn


def shares_of(weights: list[int]) -> dict[str, float]:
    return {f"p{at}": weight * 100 / max(sum(weights), 100) for at, weight in enumerate(weights)}


@settings(max_examples=50)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=4).map(shares_of), st.data())
def test_what_is_off_leaves_its_share_to_the_default_and_others_keep_theirs(weights: Any, data: st.DataObject) -> None:
    off = data.draw(st.sampled_from(sorted(weights)))
    on, without = plan(default="d", weights=weights), plan(default="d", weights=weights, off=[off])
    for key in data.draw(st.lists(st.text(), min_size=1, max_size=20)):
        before = chosen(on, key=key)
        assert chosen(without, key=key) == ("d" if before == off else before)


def test_of_a_canary_and_the_default_in_its_place_is_known_that_they_are_tried() -> None:
    by = plan(default="d", canary={"plugin": "c", "share": 30}, weights={"w": 30})
    with_key = {}
    for key in KEYS[:200]:
        with pluginhost.context(key=key):
            with_key[key] = by.choose()
    assert {*with_key.values()} == {Choice("c", True), Choice("w", False), Choice("d", True)}
    # Who is sent elsewhere is sent there for a reason, and says nothing of either.
    by = plan(default="d", canary={"plugin": "c"}, rules=[{"use": "c"}])
    assert by.choose() == Choice("c", False)


def test_a_canary_leaves_to_others_the_keys_that_they_have() -> None:
    """Also one that had a share, which was taken away."""
    before = by_key(plan(default="d", weights={"w": 30, "c": 0}))
    while_tried = by_key(plan(default="d", weights={"w": 30, "c": 0}, canary={"plugin": "c", "share": 30}))
    assert {key for key in KEYS if before[key] == "w"} == {key for key in KEYS if while_tried[key] == "w"}
    assert 500 < list(while_tried.values()).count("c") < 700


def test_a_canary_that_is_off_serves_nobody() -> None:
    assert {*by_key(plan(default="d", canary={"plugin": "c", "share": 50}, off=["c"])).values()} == {"d"}


def test_a_trial_goes_on_under_other_settings_unless_the_canary_is_another() -> None:
    first = plan(canary={"plugin": "c"})
    assert first.trial is not None
    assert plan(first, canary={"plugin": "c"}, default="d", off=["x"]).trial is first.trial
    assert plan(first, canary={"plugin": "c", "share": 10}).trial not in (first.trial, None)
    assert plan(first).trial is None


@pytest.mark.parametrize(
    ("name", "names"),
    [("a", ["b", "c"]), ("b", ["a", "c"]), ("x", ["a", "b", "c"])],
)
def test_who_is_asked_next_are_the_default_and_those_in_order_but_the_one_that_was(name: str, names: list[str]) -> None:
    by = plan(default="a", order=["b", "a", "gone", "c"], off=["gone"])
    assert by.line(Choice(name, False)) == names
