"""A plugin's states: every way from one to the next, walked at random beside a model of them.

What is of the host here is the manager, the runner, the registry, handles, generations and stubs. The survey and the
import are stood in for, and the threads of a shutdown and a watchdog: they cost a hundred times as much as all of these, and have tests
of their own.
"""

from __future__ import annotations

import itertools
import os
import re
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pluginhost import (
    Finding,
    PluginFactoryError,
    PluginHostError,
    PluginManager,
    PluginsFailed,
    PluginStopped,
    loading,
)
from pluginhost.lifecycle import TRANSITIONS
from pluginhost.loading import Loaded
from pluginhost.survey import Survey
from pluginhost.watchdog import Watchdog
from standins import Stage

from pluginapi import Event, Greeter, PluginError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pluginhost.survey import Candidate

REQUIRES = {"base": [], "user": ["base"], "last": ["user"], "off": []}
"""The plugins, and what each requires; `off` is disabled."""
FAULTS = ["New", "init", "validate", "shutdown"]
NAMED = [(name,) for name in REQUIRES]
STEPS: dict[str, tuple[int, list[tuple[Any, ...]]]] = {
    "load_all": (2, [()]),
    "get": (3, NAMED),
    "start": (4, NAMED),
    "stop": (4, NAMED),
    "unload": (4, NAMED),
    "break_or_mend": (8, list(itertools.product(REQUIRES, FAULTS))),
    "call": (2, list(itertools.product(range(4), ["Ada", "wrong", "Eve"]))),
    "close": (1, [()]),
}
"""What may be done: how often beside the others, and with what. After a close there is nothing new."""
# Each step is one draw out of one list: hypothesis's own state machines draw a rule and each of its arguments, which
# takes longer than all that the manager does.
LIVES = int(os.environ.get("PLUGINHOST_LIVES", "2000"))
DRAWN = [(step, of[number % len(of)]) for step, (often, of) in STEPS.items() for number in range(12 * often)]


class Some(Greeter):
    lang = "Some"

    def __init__(self, note: Callable[[str], None], faults: set[str]) -> None:
        self._note, self._faults = note, faults
        self._step("New")

    def _step(self, name: str) -> None:
        self._note(name)
        if name in self._faults:
            raise ValueError(name)

    def init(self, host: object) -> None:
        self._step("init")

    def validate(self) -> None:
        self._step("validate")

    def shutdown(self) -> None:
        self._step("shutdown")

    def greet(self, name: str) -> str:
        if name == "wrong":
            raise PluginError(name)
        return str({"Ada": 1}[name])


class Surveyed(PluginManager):
    """A manager of registered plugins alone."""

    def survey(self) -> Survey:
        survey = Survey([], [])
        for builtin in self.registered.values():
            builtin.join(survey, self.api)
        for row in survey:
            row.barred = Finding("disabled", "it is off", "switch it on") if row.name == "off" else None
            row.requires = {"plugins": REQUIRES[row.name]} if REQUIRES[row.name] else {}
        return survey

    def tell(self, finding: Finding, about: object = None) -> None:
        """What is logged is not looked at here."""


def load(
    candidate: Candidate, contracts: object, known: object, version: object, source: loading.Source, reached: Any,
    watched: object,
) -> Loaded:  # fmt: skip
    """Stands in for `loading.load`, which looks at the whole process."""
    reached(ModuleType("zoo"))
    try:
        return Loaded(candidate, ModuleType("zoo"), source.factory(), [])  # type: ignore[misc]
    except ValueError as exc:
        raise PluginFactoryError(Finding("factory-failed", str(exc), "none")) from exc


class Model:
    """What a plugin should be."""

    def __init__(self) -> None:
        self.state = "discovered"
        self.error = ""
        self.faults: set[str] = set()
        self.handles = 0  # how many were dropped
        self.stub: object = None


class Life:
    """The manager and a model of it."""

    def __init__(self) -> None:
        self.manager = Surveyed(probe="never", shutdown_timeout=30)
        self.models = {name: Model() for name in REQUIRES}
        self.started: list[str] = []
        self.is_closed = False
        self.log: list[tuple[str, str]] = []
        self.expected: list[tuple[str, str]] = []
        self.seen = dict.fromkeys(REQUIRES, "discovered")
        self.wrong: list[object] = []
        self.kept: list[tuple[str, int, Greeter]] = []
        for name, model in self.models.items():
            self.manager.register(name, self._factory(name, model))
        self.manager.subscribe(self._see, "plugin.")

    def _factory(self, name: str, model: Model) -> Callable[[], Some]:
        return lambda: Some(lambda what: self.log.append((name, what)), model.faults)

    def _see(self, event: Event) -> None:
        name, before, state = str(event.fields["plugin"]), event.fields["before"], event.topic.removeprefix("plugin.")
        if before != self.seen[name] or state not in TRANSITIONS[before]:  # type: ignore[index]
            self.wrong.append(event)
        self.seen[name] = state

    # The model.

    def _serves(self, name: str, anew: bool = False) -> str:
        """Returns the code of the error that asking for a plugin raises; empty when it runs."""
        model = self.models[name]
        if self.is_closed:
            return "manager-closed"
        if anew and model.state in ("stopped", "failed"):
            model.state = "discovered"
        if model.state in ("stopped", "failed", "running"):
            return {"stopped": "plugin-stopped", "failed": model.error, "running": ""}[model.state]
        if name == "off":
            model.state = "disabled"
            return "disabled"
        if any(self._serves(other) for other in REQUIRES[name]):
            model.state = "refused"
            return "requirement-missing"
        for step in FAULTS[:-1]:
            self.expected.append((name, step))
            if step in model.faults:
                if step == "validate":
                    self.expected.append((name, "shutdown"))
                model.state, model.error = "failed", {"New": "factory-failed"}.get(step, f"{step}-failed")
                return model.error
        model.state = "running"
        self.started.append(name)
        return ""

    def _stops(self, name: str) -> None:
        for other in reversed(list(self.started)):
            if name in REQUIRES[other]:
                self._stops(other)
        model = self.models[name]
        if model.state == "running":
            self.started.remove(name)
            self.expected.append((name, "shutdown"))
            model.state, model.error = ("failed", "shutdown-failed") if "shutdown" in model.faults else ("stopped", "")

    # The steps.

    def break_or_mend(self, name: str, fault: str) -> None:
        self.models[name].faults ^= {fault}

    def get(self, name: str) -> None:
        code = self._serves(name)
        stub = self._raises(code, lambda: self.manager.get(name, Greeter))
        if not code:
            model = self.models[name]
            assert model.stub in (None, stub), "a plugin is asked for again, and another object stands for it"
            model.stub = stub
            self.kept.append((name, model.handles, stub))

    def start(self, name: str) -> None:
        self._raises(self._serves(name, anew=True), lambda: self.manager.start(name))

    def stop(self, name: str) -> None:
        self._stops(name)
        self.manager.stop(name)

    def unload(self, name: str) -> None:
        self._stops(name)
        assert self.manager.unload(name) == []
        model = self.models[name]
        model.state, model.error, model.stub = "discovered", "", None
        model.handles += 1
        self.seen[name] = "discovered"

    def load_all(self) -> None:
        if self.is_closed:
            return
        codes = {name: self._serves(name) for name in sorted(REQUIRES) if name != "off"}
        expected = {name: code for name, code in codes.items() if code not in ("", "plugin-stopped")}
        errors: dict[str, PluginHostError] = {}
        try:
            self.manager.load_all()
        except PluginsFailed as exc:
            errors = exc.errors
        assert {name: error.finding.code for name, error in errors.items()} == expected

    def call(self, number: int, what: str) -> None:
        """A stub answers exactly while its plugin runs; of an unloaded one, never again."""
        if not self.kept:
            return
        name, handles, stub = self.kept[number % len(self.kept)]
        if self.models[name].state != "running" or self.models[name].handles != handles:
            self._raises("plugin-stopped", lambda: stub.greet(what))
        elif what == "wrong":
            with pytest.raises(PluginError, match="wrong"):
                stub.greet(what)
        else:
            self._raises("call-failed" if what == "Eve" else "", lambda: stub.greet(what))

    def close(self) -> None:
        for name in reversed(list(self.started)):
            self._stops(name)
        self.is_closed = True
        self.manager.close()

    def _raises(self, code: str, call: Callable[[], Any]) -> Any:
        """Returns what a call returns, which raises an error of a code, if one is given, and no other."""
        result, raised = None, ""
        try:
            result = call()
        except PluginHostError as exc:
            raised = exc.finding.code
        assert raised == code
        return result

    def check(self) -> None:
        """Asserts what holds after each step."""
        assert not self.wrong, "events go one of the ways there are, and go on where the last one ended"
        assert self.log == self.expected, "each step of each generation is taken once, and in order"
        assert list(self.manager.loaded()) == self.started
        assert self.seen == {name: model.state for name, model in self.models.items()}


def test_lives_go_as_the_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "load", load)
    monkeypatch.setattr(Watchdog, "_start", lambda watchdog: None)

    @settings(max_examples=LIVES, database=None)
    @given(st.tuples(*[st.sampled_from(DRAWN)] * 6))
    def live(steps: tuple[tuple[str, tuple[Any, ...]], ...]) -> None:
        life = Life()
        life.check()
        for step, arguments in steps:
            getattr(life, step)(*arguments)
            life.check()
        life.close()
        assert life.log == life.expected

    live()


@pytest.mark.parametrize("before", TRANSITIONS)
@pytest.mark.parametrize("state", TRANSITIONS)
def test_a_handle_goes_the_ways_there_are_and_no_other(before: Any, state: Any) -> None:
    stage = Stage()
    stage.handle.state = before
    if state in TRANSITIONS[before]:
        stage.handle.move(state)
        assert stage.events == [(f"plugin.{state}", before)]
    else:
        with pytest.raises(AssertionError, match=re.escape(f"from {before} to {state}")):
            stage.handle.move(state)
        assert (stage.handle.state, stage.events) == (before, [])


def test_every_state_can_be_reached_and_left() -> None:
    reached, todo = set(), ["discovered"]
    while todo:
        state: Any = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += TRANSITIONS[state]
    assert reached == set(TRANSITIONS)
    assert all(TRANSITIONS.values())


def test_a_stub_of_a_stopped_plugin_says_why_it_does_not_run() -> None:
    class Broken(Some):
        def shutdown(self) -> None:
            raise ValueError("broken")

    stage = Stage()
    stub = stage.run(Broken(lambda what: None, set()), [Greeter]).require(Greeter)
    [finding] = stage.handle.end(5)
    assert finding.code == "shutdown-failed"
    with pytest.raises(PluginStopped, match=r"it is failed: .*shutdown raised ValueError: broken"):
        stub.greet("Ada")
