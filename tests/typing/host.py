"""A host as type checkers see it; `nox -s types` checks it, and nothing runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_type

from pluginhost import PluginManager, Symbol
from pluginhost.testing import FakeHost, FakeLoader, started

from pluginapi import Greeter, Operation, Plugin


def host(manager: PluginManager) -> None:
    """Abstract contracts are accepted, and infer their own type."""
    assert_type(manager.get("english", Greeter), Greeter)
    assert_type(manager.get("english", Greeter).greet("Ada"), str)
    assert_type(manager.get("any", Plugin), Plugin)
    assert_type(manager.all(Operation), dict[str, Operation])
    handle = manager.handle("counter")
    assert_type(handle.lookup("Counter", int), Symbol[int])
    assert_type(handle.lookup("Counter", int).get(), int)
    tick = handle.lookup("Tick", Callable[[], int])
    assert_type(tick(), int)


def tests(new: Callable[[], Plugin]) -> None:
    """What authors test with has types, too."""
    host = FakeHost(config={"title": "dear"})
    assert_type(host.get("english", Greeter), Greeter)
    loader = FakeLoader()
    loader.add("english", new, capabilities={"formal"})
    assert_type(loader.manager(), PluginManager)
    with started(new, Greeter) as greeter:
        assert_type(greeter, Greeter)
