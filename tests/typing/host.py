"""A host as type checkers see it; both type checkers accept it, and nothing runs it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import assert_type

from pluginhost import Finding, Handle, PluginManager, PluginsFailed, Status, Symbol
from pluginhost.testing import FakeHost, FakeLoader, started

from pluginapi import Event, Greeter, Host, Operation, Plugin, Transformer


class Own(Greeter):
    """A plugin of the application's own."""

    lang = "Own"

    def greet(self, name: str) -> str:
        return name


def host(manager: PluginManager) -> None:
    """Abstract contracts are accepted, and infer their own type."""
    assert_type(manager.get("english", Greeter), Greeter)
    assert_type(manager.get("english", Greeter).greet("Ada"), str)
    assert_type(manager.get("english", Greeter).lang, str)
    assert_type(manager.get("any", Plugin), Plugin)
    assert_type(manager.route(Greeter), Greeter)
    assert_type(manager.route(Greeter, "farewells").greet("Ada"), str)
    assert_type(manager.get("english", Greeter, requires={"loud"}), Greeter)
    assert_type(manager.get("english", Greeter, ["loud"]), Greeter)
    assert_type(manager.all(Operation), dict[str, Operation])
    assert_type(manager.all(Operation, requires=("exact",)), dict[str, Operation])
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


def life(manager: PluginManager) -> None:
    """What starts, stops and is told."""
    manager.start("english")
    manager.stop("english")
    assert_type(manager.unload("english"), list[Finding])
    assert_type(manager.loaded(), dict[str, Handle])
    assert_type(manager.loaded()["english"].capabilities, frozenset[str])
    assert_type(manager.loaded()["english"].require(Greeter), Greeter)
    undo = manager.subscribe(told, "plugin.")
    assert_type(undo, Callable[[], None])
    manager.subscribe(lambda event: print(event.topic, event.fields["plugin"]))
    manager.register("own", Own)
    manager.register("own-too", lambda: Own(), capabilities={"loud"})
    try:
        manager.load_all()
    except PluginsFailed as exc:
        print({name: error.finding.code for name, error in exc.errors.items()})


def told(event: Event) -> None:
    """What a listener is told."""
    assert_type(event.topic, str)
    assert_type(event.fields, Mapping[str, object])


def made(names: Collection[str]) -> PluginManager:
    """Settings as a person writes them, and as they come from a file."""
    settings: dict[str, dict[str, object]] = {"english": {"enabled": True, "config": {"loud": True}}}
    return PluginManager(
        plugins=settings,
        instances={"north": {"plugin": "filter", "config": {"blocked": ["secret"]}}},
        capabilities=names,
        plugin_dirs=["plugins", Path("more")],
        probe="never",
    )


def set_anew(manager: PluginManager) -> list[float]:
    """From a file, from a table, and how it goes on."""
    manager.apply(Path("pluginhost.toml"))
    manager.apply({"plugins": {"english": {"call_timeout": 1.5}}})
    assert_type(manager.status(), dict[str, Status])
    return [status.p99 for status in manager.status().values() if status.p99 is not None and status.state == "running"]


@dataclass
class Config:
    """What a plugin lets be set."""

    size: int = 3


class Asking(Transformer):
    """A plugin that uses its host."""

    def init(self, host: Host) -> None:
        assert_type(host.config_as(Config), Config)
        self.greeter = host.get("english", Greeter)
        assert_type(self.greeter, Greeter)
        assert_type(host.all(Greeter, requires={"loud"}), dict[str, Greeter])
        assert_type(host.load("http.handlers", {"rate": {"limit": 3}}), dict[str, Plugin])
        assert_type(host.load("http.handlers", {"rate": {}}, Transformer), dict[str, Transformer])
        assert_type(host.data_folder, Path)
        assert_type(host.subscribe(told, "news."), Callable[[], None])
        host.emit("news.first", number=1)

    def transform(self, text: str) -> str:
        return self.greeter.greet(text)
