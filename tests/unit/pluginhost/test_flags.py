"""A flag's text is what the application's own provider says, and empty where nobody says anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from openfeature import api
from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider
from pluginhost import ConfigurationError, flags

if TYPE_CHECKING:
    from openfeature.evaluation_context import EvaluationContext


@pytest.fixture(autouse=True)
def _no_provider() -> Iterator[None]:
    yield
    api.shutdown()


def by_tenant(flag: InMemoryFlag[str], asked: EvaluationContext) -> FlagResolutionDetails[str]:
    variant = (
        "new" if asked.attributes.get("tenant") == "acme" or asked.targeting_key == "c-7" else flag.default_variant
    )
    return FlagResolutionDetails(flag.variants[variant], variant=variant)


def provider() -> InMemoryProvider:
    variants: dict[str, Any] = {"old": "english", "new": "english-next"}
    return InMemoryProvider(
        {
            "greeter": InMemoryFlag("old", variants),
            "by-tenant": InMemoryFlag("old", variants, context_evaluator=by_tenant),
            "number": InMemoryFlag("one", {"one": 1}),
        }
    )


def test_the_provider_names_the_plugin() -> None:
    api.set_provider_and_wait(provider())
    read = flags.reader("routes.Greeter.flag")
    assert read("greeter", None, {}) == "english"
    assert read("by-tenant", None, {}) == "english"


def test_the_provider_is_told_of_the_key_and_of_the_context() -> None:
    api.set_provider_and_wait(provider())
    read = flags.reader("routes.Greeter.flag")
    assert read("by-tenant", "c-7", {}) == "english-next"
    assert read("by-tenant", "c-8", {"tenant": "acme"}) == "english-next"
    assert read("by-tenant", "c-8", {"tenant": "apex"}) == "english"


def test_one_that_is_set_later_decides_from_then_on() -> None:
    read = flags.reader("routes.Greeter.flag")
    assert read("greeter", None, {}) == ""
    api.set_provider_and_wait(provider())
    assert read("greeter", None, {}) == "english"


class Fails(InMemoryProvider):
    """A provider whose service is down."""

    def resolve_string_details(self, *asked: Any, **named: Any) -> FlagResolutionDetails[str]:
        raise ConnectionError("nobody answers")


class Answers(InMemoryProvider):
    """A provider that has a null for a text."""

    def resolve_string_details(self, *asked: Any, **named: Any) -> FlagResolutionDetails[str]:
        nothing: Any = None
        return FlagResolutionDetails(nothing)


@pytest.mark.parametrize(
    ("by", "flag"),
    [(provider(), "unknown"), (provider(), "number"), (Fails({}), "greeter"), (Answers({}), "greeter")],
    ids=["unknown", "no text", "raises", "nothing"],
)
def test_where_nobody_decides_the_text_is_empty(by: InMemoryProvider, flag: str) -> None:
    api.set_provider_and_wait(by)
    assert flags.reader("routes.Greeter.flag")(flag, "c-7", {"tenant": "acme"}) == ""


def test_without_a_provider_the_text_is_empty() -> None:
    assert flags.reader("routes.Greeter.flag")("greeter", "c-7", {}) == ""


def test_without_openfeature_a_flag_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openfeature", None)
    with pytest.raises(ConfigurationError) as caught:
        flags.reader("routes.Greeter.flag")
    finding = caught.value.finding
    assert (finding.code, finding.hint) == ("configuration-wrong", "pip install 'pluginhost[flags]'")
    assert finding.message == "routes.Greeter.flag needs openfeature-sdk"


def test_a_route_without_a_flag_needs_no_openfeature() -> None:
    script = """
import sys
from pluginapi import Greeter
from pluginhost import PluginManager

class Hello(Greeter):
    lang = "en"
    def greet(self, name): return name

with PluginManager(routes={"Greeter": {"weights": {"hello": 50}, "default": "hello"}}, api="pluginapi") as plugins:
    plugins.register("hello", Hello)
    assert plugins.route(Greeter).greet("Ada") == "Ada"
assert "openfeature" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
