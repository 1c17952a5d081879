from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pluginhost import PluginTypeError, identity
from pluginhost.survey import Candidate, Distribution

from pluginapi import Greeter, Request, Transformer

if TYPE_CHECKING:
    from collections.abc import Callable

CANDIDATE = Candidate("pluginhost.plugins", "some", "some:New", Distribution("some", "1.0", "", ""))


class Good(Greeter):
    lang = "Good"

    def greet(self, name: str) -> str:
        return name


class Liar:
    """Says that it is a Greeter whenever it is asked politely."""

    lang = "Liar"

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return Greeter

    def greet(self, name: str) -> str:
        return name


class Silent(Greeter):
    def greet(self, name: str) -> str:
        return name


class Wrong(Silent):
    lang = 3  # type: ignore[assignment]


class Raising(Silent):
    @property
    def lang(self) -> str:  # type: ignore[override]
        raise RuntimeError


class Async(Good):
    async def greet(self, name: str) -> str:  # type: ignore[override]
        return name


def require(obj: object) -> None:
    identity.require_contracts(obj, [Greeter], CANDIDATE)


def test_an_instance_of_the_hosts_class_passes() -> None:
    require(Good())


def test_a_slotted_class_passes_whose_instances_refuse_attributes() -> None:
    class Slotted(Greeter):
        __slots__ = ()
        lang = "Slotted"

        def greet(self, name: str) -> str:
            return name

    require(Slotted())


@pytest.mark.parametrize("make", [Liar, dict, lambda: Good, lambda: None])
def test_what_is_not_the_hosts_class_is_refused_whatever_it_says(make: Callable[[], object]) -> None:
    with pytest.raises(PluginTypeError) as caught:
        require(make())
    assert caught.value.finding.code == "wrong-type"


def test_a_registered_virtual_subclass_is_refused() -> None:
    class Stranger:
        pass

    Greeter.register(Stranger)
    assert isinstance(Stranger(), Greeter)
    with pytest.raises(PluginTypeError, match="wrong-type"):
        require(Stranger())


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (Silent, "`lang` is missing"),
        (Wrong, "`lang` is a int, not a str"),
        (Raising, "`lang` raised RuntimeError"),
        (Async, "`greet` is `async def`"),
    ],
)
def test_a_contract_that_is_not_kept_is_told_in_full(make: type, what: str) -> None:
    with pytest.raises(PluginTypeError) as caught:
        require(make())
    assert caught.value.finding.code == "contract-broken"
    assert what in caught.value.finding.message


def test_the_contracts_are_the_host_packages_own() -> None:
    contracts = identity.import_contracts("pluginapi")
    assert contracts["Greeter"] is Greeter
    assert contracts["Transformer"] is Transformer
    assert identity.import_contracts(None) == {}


def test_what_msgspec_notes_on_a_class_of_the_apis_is_no_change_of_the_api() -> None:
    """It reads them for whoever checks replies or has a plugin isolated, on any thread, while another is loaded."""
    import msgspec

    if "__msgspec_cache__" in vars(Request):
        del Request.__msgspec_cache__
    held = identity.HeldApi([Greeter])
    assert msgspec.convert({"id": "1", "body": ""}, Request) == Request("1", b"")
    assert "__msgspec_cache__" in vars(Request)
    assert held.restore() == []
    Request.added = 1  # type: ignore[attr-defined]
    assert held.restore() == ["Request.added"]
