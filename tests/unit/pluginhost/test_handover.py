"""A plugin's state as it goes from one generation to the next, and what is not one."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pluginhost import PluginHostError, handover
from pluginhost.errors import PluginTypeError
from pluginhost.handover import Stated
from standins import CANDIDATE

from pluginapi import Plugin

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(datetime.UTC)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(-(2**63), 2**64 - 1), inner),
)


class Bare(Plugin):
    """Has no state."""


class Keeping(Plugin):
    """Has what it was given."""

    def __init__(self, state: object = None) -> None:
        self.state = state

    def export_state(self) -> object:
        return self.state

    def restore_state(self, state: object) -> None:
        self.state = state


class Hostile:
    """Raises at whatever it is asked."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(name)

    def __eq__(self, other: object) -> bool:
        raise SystemExit

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise SystemExit

    __str__ = __bool__ = __iter__ = __len__ = __repr__  # type: ignore[assignment]


def stated(**names: object) -> Stated:
    cls = type("Some", (Keeping,), {})
    for name, value in names.items():  # a class that is made looks at its values, which may be hostile
        setattr(cls, name, value)
    return handover.stated(cls(), CANDIDATE)


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(PluginHostError) as caught:
        call()
    assert "zoo-some" in caught.value.finding.hint
    return caught.value.finding.code


def test_a_plugin_says_nothing_of_a_state_that_it_does_not_have() -> None:
    assert handover.stated(Bare(), CANDIDATE) == Stated()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({}, Stated(True, True)),
        ({"state_version": 3}, Stated(True, True, 3, frozenset({3}))),
        ({"state_version": 3, "state_accepts": {1, 2}}, Stated(True, True, 3, frozenset({1, 2}))),
        ({"state_accepts": ()}, Stated(True, True, 1, frozenset())),
        ({"state_accepts": [1, 4]}, Stated(True, True, 1, frozenset({1, 4}))),
        ({"state_snapshot": True}, Stated(True, True, is_snapshot=True)),
        ({"restore_state": None}, Stated(True, False)),
        ({"export_state": None}, Stated(False, True)),
    ],
)
def test_what_a_class_says_of_its_state_is_read(names: dict[str, object], said: Stated) -> None:
    assert stated(**names) == said


@pytest.mark.parametrize("name", ["state_version", "state_accepts", "state_snapshot"])
@pytest.mark.parametrize(
    "kind", ["text", "float", "nothing", "texts", "truths", "hostile", "hostile inside", "property"]
)
def test_what_is_said_wrongly_is_told_with_what_its_author_writes(name: str, kind: str) -> None:
    values = {
        "text": "1",
        "float": 1.0,
        "nothing": None,
        "texts": {"1"},
        "truths": (True,),
        "hostile": Hostile(),
        "hostile inside": [Hostile()],
        "property": property(lambda self: 1),
    }
    with pytest.raises(PluginTypeError) as caught:
        stated(**{name: values[kind]})
    assert caught.value.finding.code == "contract-broken"
    assert name in caught.value.finding.message


def test_true_is_no_version_and_one_is_no_yes() -> None:
    for names in ({"state_version": True}, {"state_snapshot": 1}):
        assert code_of(lambda names=names: stated(**names)) == "contract-broken"


def test_an_object_is_not_asked_what_its_class_says() -> None:
    class Asked(Keeping):
        def __getattribute__(self, name: str) -> Any:
            raise SystemExit(name)

    assert handover.stated(Asked(), CANDIDATE) == Stated(True, True)


def test_an_objects_own_attributes_are_not_its_classs() -> None:
    plugin = Bare()
    vars(plugin)["export_state"] = plugin.shutdown
    assert handover.stated(plugin, CANDIDATE) == Stated()


@pytest.mark.parametrize(
    ("before", "after", "is_taken"),
    [
        ({}, {}, True),
        ({"state_version": 1}, {"state_version": 2}, False),
        ({"state_version": 1}, {"state_version": 2, "state_accepts": {1, 2}}, True),
        ({"state_version": 2}, {"state_version": 1}, False),  # a way back
        ({"state_version": 2}, {"state_version": 1, "state_accepts": {1, 2}}, True),
        ({}, {"state_accepts": ()}, False),
        ({}, {"restore_state": None}, False),
        ({"restore_state": None}, {}, True),
    ],
)
def test_a_state_is_taken_by_a_generation_that_accepts_its_version(
    before: dict[str, object], after: dict[str, object], is_taken: bool
) -> None:
    def require() -> None:
        handover.require_taken(stated(**before), stated(**after), CANDIDATE)

    if is_taken:
        return require()
    assert code_of(require) == "state-refused"
    return None


def test_a_refusal_says_which_versions_are_taken_and_how_to_begin_without() -> None:
    with pytest.raises(PluginHostError) as caught:
        handover.require_taken(stated(state_version=7), stated(state_accepts={10, 9}), CANDIDATE)
    assert "version 7 of the state; it takes 9, 10" in caught.value.finding.message
    assert "cold_start" in caught.value.finding.hint


@given(PLAIN)
def test_plain_data_comes_as_it_went(state: object) -> None:
    after = Keeping()
    handover.restore(after, handover.export(Keeping(state), CANDIDATE), CANDIDATE)
    assert after.state == state
    assert type(after.state) is type(state)


@pytest.mark.parametrize(("went", "comes"), [((1, 2), [1, 2]), ({3}, [3]), (bytearray(b"a"), b"a")])
def test_what_has_no_like_in_the_packing_comes_as_what_is_nearest(went: object, comes: object) -> None:
    after = Keeping()
    handover.restore(after, handover.export(Keeping(went), CANDIDATE), CANDIDATE)
    assert after.state == comes


def test_what_comes_is_another_object_than_what_went() -> None:
    before, after = Keeping({"a": [1]}), Keeping()
    handover.restore(after, handover.export(before, CANDIDATE), CANDIDATE)
    after.state["a"].append(2)  # type: ignore[index]
    assert before.state == {"a": [1]}


def endless() -> list[object]:
    found: list[object] = []
    found.append(found)
    return found


STATES: dict[str, object] = {
    "an object": object(),
    "a hostile one": Hostile(),
    "a hostile one inside": [Hostile()],
    "a large number": 2**64,
    "an endless list": endless(),
    "a function": endless,
    "an object inside": {"a": object()},
    "a class as a key": {Bare: 1},
}


@pytest.mark.parametrize("state", STATES)
def test_what_is_no_plain_data_does_not_go(state: str) -> None:
    assert code_of(lambda: handover.export(Keeping(STATES[state]), CANDIDATE)) == "state-failed"


@pytest.mark.parametrize("error", [ValueError("a fault"), SystemExit(3), GeneratorExit(), KeyboardInterrupt()])
def test_what_either_raises_is_told_of_and_is_no_end_of_the_host(error: BaseException) -> None:
    class Raising(Keeping):
        def export_state(self) -> object:
            raise error

        def restore_state(self, state: object) -> None:
            raise error

    assert code_of(lambda: handover.export(Raising(), CANDIDATE)) == "state-failed"
    assert code_of(lambda: handover.restore(Raising(), b"\xc0", CANDIDATE)) == "state-refused"


def test_what_returns_something_in_place_of_taking_the_state_has_not_taken_it() -> None:
    class Returning(Keeping):
        def restore_state(self, state: object) -> None:
            return 3  # type: ignore[return-value]

    assert code_of(lambda: handover.restore(Returning(), b"\xc0", CANDIDATE)) == "state-refused"
