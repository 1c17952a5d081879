from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from pluginhost.errors import PluginRequirementError
from pluginhost.lifecycle import Handle
from pluginhost.registry import Registry
from standins import CANDIDATE


@pytest.fixture
def registry() -> Registry:
    return Registry(lambda finding, about: None)


def made(registry: Registry, *names: str) -> list[Handle]:
    return [Handle(name, CANDIDATE, registry.events) for name in names]


def on_another_thread(call: Callable[[], object]) -> str:
    """Returns what a call raised on a thread for which this one waits, as a start in another process has it."""
    raised: list[str] = []

    def run() -> None:
        try:
            call()
        except PluginRequirementError as exc:
            raised.append(str(exc))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    return "".join(raised)


def take(registry: Registry, asking: Handle, wanted: Handle, then: Callable[[], object] = lambda: None) -> None:
    with registry.asking(asking), registry.turn(wanted):
        then()


def test_a_plugin_that_asks_for_itself_on_another_thread_gets_an_error(registry: Registry) -> None:
    (one,) = made(registry, "one")
    with registry.turn(one):
        assert "one" in on_another_thread(lambda: take(registry, one, one))


def test_a_circle_over_threads_that_ask_for_one_another_is_an_error(registry: Registry) -> None:
    one, two, three = made(registry, "one", "two", "three")
    said: list[str] = []
    with registry.turn(one):
        on_another_thread(
            lambda: take(
                registry,
                one,
                two,
                lambda: said.append(on_another_thread(lambda: take(registry, two, one))),
            )
        )
    assert "one" in said[0]
    assert "two" in said[0]
    with registry.turn(one):
        assert not on_another_thread(lambda: take(registry, one, two, lambda: take(registry, two, three)))
    assert not registry._asks
    assert not registry._turns


def test_what_no_circle_is_waits_its_turn(registry: Registry) -> None:
    one, two = made(registry, "one", "two")
    with registry.turn(one):
        waiting = threading.Thread(target=lambda: take(registry, two, one), daemon=True)
        waiting.start()
    waiting.join(60)
    assert not waiting.is_alive()
