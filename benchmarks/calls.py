"""One round of what a call costs inside a process: prints the nanoseconds of each contestant as JSON, for run.py."""

from __future__ import annotations

import functools
import json
import os
import platform
import statistics
import sys
import threading
import time
import timeit
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pluggy
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider
from pluginhost import PluginCallError, PluginManager, context
from stevedore import DriverManager, ExtensionManager
from stevedore.extension import Extension

from pluginapi import Greeter

if TYPE_CHECKING:
    from collections.abc import Callable

# What the tables call it, the package whose version is told, what is timed, and the `it` in that.
Contestant = tuple[str, str, str, object]

GREETING = "Hello, Ada!"
TAKES = 5
# Compiled once for each plugin: functions of one code object would be one function to the interpreter.
PLUGIN = '''
class English(Greeter):
    """Greets in English."""

    lang = "English"

    def greet(self, name):
        return f"Hello, {name}!"
'''
hookspec, hookimpl = pluggy.HookspecMarker("benchmarks"), pluggy.HookimplMarker("benchmarks")


class Hooks:
    """What pluggy's plugins may implement."""

    @hookspec
    def greet(self, name: str) -> str:
        """Returns a greeting."""
        raise NotImplementedError


class Forwarding:
    """A proxy as it is written by hand: it forwards what it does not know, and guards nothing."""

    def __init__(self, plugin: object) -> None:
        self._plugin = plugin

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plugin, name)


class Counting(Forwarding):
    """Such a proxy that guards: it counts who is inside, and says whose error it is."""

    def __init__(self, plugin: Any) -> None:
        super().__init__(plugin)
        self._inside, self._lock = 0, threading.Lock()
        self.greet = self._guarded(plugin.greet)

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            with self._lock:
                self._inside += 1
            try:
                return function(*args, **named)
            except Exception as exc:
                raise RuntimeError(f"{function.__qualname__} raised {exc}") from exc
            finally:
                with self._lock:
                    self._inside -= 1

        return call


def make_plugins(number: int) -> dict[str, Any]:
    """Returns plugins by name, each of a class of its own, whose method is a hook to pluggy, too."""
    plugins = {}
    for name in (f"english{each}" for each in range(number)):
        names: dict[str, Any] = {"__name__": name, "Greeter": Greeter}
        exec(compile(PLUGIN, name, "exec"), names)
        plugins[name] = names["English"]()
        hookimpl(names["English"].greet)
    return plugins


def itself(plugin: Greeter) -> Callable[[], Greeter]:
    """Returns a factory of a plugin that is there."""
    return lambda: plugin


def with_pluginhost(plugins: dict[str, Any], **settings: object) -> list[Greeter]:
    """Returns the stubs of the plugins."""
    manager = PluginManager("benchmarks.calls", plugins=dict.fromkeys(plugins, settings))
    for name, plugin in plugins.items():
        manager.register(name, itself(plugin))
    return list(manager.all(Greeter).values())


def with_pluggy(plugins: dict[str, Any]) -> pluggy.PluginManager:
    """Returns pluggy's manager of the plugins."""
    manager = pluggy.PluginManager("benchmarks")
    manager.add_hookspecs(Hooks)
    for name, plugin in plugins.items():
        manager.register(plugin, name)
    return manager


def with_stevedore(plugins: dict[str, Any]) -> list[Extension[Any]]:
    """Returns what stevedore makes of the plugins."""
    nowhere: Any = None  # they have no entry point
    return [Extension(name, nowhere, type(plugin), plugin) for name, plugin in plugins.items()]


def guarded() -> list[Contestant]:
    """Returns who takes part in one call of one plugin."""
    plugins = make_plugins(1)
    (plugin,) = plugins.values()
    driver = DriverManager.make_test_instance(with_stevedore(plugins)[0])
    (deadline,) = with_pluginhost(make_plugins(1), call_timeout=5)
    return [
        ("the plugin itself, unguarded", "", "it.greet('Ada')", plugin),
        ("pluginhost, a stub", "pluginhost", "it.greet('Ada')", with_pluginhost(plugins)[0]),
        ("pluginhost, a stub with a deadline", "pluginhost", "it.greet('Ada')", deadline),
        ("pluggy, a hook (names the argument)", "pluggy", "it.hook.greet(name='Ada')", with_pluggy(plugins)),
        ("stevedore, the manager's driver (unguarded)", "stevedore", "it.driver.greet('Ada')", driver),
        ("by hand, __getattr__ (unguarded)", "", "it.greet('Ada')", Forwarding(plugin)),
        ("by hand, a wrapper with try and a locked count", "", "it.greet('Ada')", Counting(plugin)),
    ]


class Failing(Greeter):
    """Always fails."""

    lang = "None"

    def greet(self, name: str) -> str:
        """Raises."""
        raise ValueError(name)


def refused() -> Callable[[], str]:
    """Returns a call that an open breaker refuses, in place of which its caller has an answer."""
    (stub,) = with_pluginhost({"failing": Failing()}, breaker_failures=1, breaker_seconds=3600)

    def call() -> str:
        try:
            return stub.greet("Ada")
        except PluginCallError as exc:
            return GREETING if exc.finding.code == "breaker-open" else ""

    call()
    return call


def contained() -> list[Contestant]:
    """Returns who takes part in a call that is refused, or made on a thread of its own."""
    (plugin,) = make_plugins(1).values()
    (abandoning,) = with_pluginhost(make_plugins(1), call_timeout=5, on_timeout="abandon")
    return [
        ("the plugin itself, unguarded", "", "it.greet('Ada')", plugin),
        ("pluginhost, an open breaker's refusal", "pluginhost", "it()", refused()),
        ("pluginhost, a call that may be abandoned, on time", "pluginhost", "it.greet('Ada')", abandoning),
    ]


def with_route(**settings: object) -> Greeter:
    """Returns the stub of a route with two plugins, and what is set for it."""
    manager = PluginManager("benchmarks.calls", routes={"Greeter": settings})
    for name, plugin in make_plugins(2).items():
        manager.register(name, itself(plugin))
    return manager.route(Greeter)


def routed() -> list[Contestant]:
    """Returns who takes part in one call of which a route decides who serves it, the plain stub first."""
    texts = {"greeter": "english1", "greeting": GREETING}
    api.set_provider_and_wait(
        InMemoryProvider({name: InMemoryFlag("on", {"on": text}) for name, text in texts.items()})
    )
    evaluation = api.get_client(), EvaluationContext("c-7", {"key": "c-7", "tenant": "acme"})
    evaluate = "it[0].get_string_value('greeting', '', it[1])"
    context(key="c-7", tenant="acme").__enter__()  # which holds for all that is timed
    rules = [{"when": {"tenant": ["apex"]}, "use": "english0"}, {"when": {"tenant": ["acme"]}, "use": "english1"}]
    return [
        ("pluginhost, a stub", "pluginhost", "it.greet('Ada')", with_pluginhost(make_plugins(1))[0]),
        ("a route for which nothing is set", "pluginhost", "it.greet('Ada')", with_route()),
        ("a route with a default", "pluginhost", "it.greet('Ada')", with_route(default="english1")),
        ("a route with a share, by a key", "pluginhost", "it.greet('Ada')", with_route(weights={"english1": 10})),
        ("a route with rules, of which the second fits", "pluginhost", "it.greet('Ada')", with_route(rules=rules)),
        ("OpenFeature, an evaluation alone, in memory", "openfeature-sdk", evaluate, evaluation),
        ("a route whose plugin that evaluation names", "pluginhost", "it.greet('Ada')", with_route(flag="greeter")),
    ]


def fan_out() -> list[Contestant]:
    """Returns who takes part in one call of each of ten plugins."""
    plugins = make_plugins(10)
    manager = ExtensionManager.make_test_instance(with_stevedore(plugins))
    each = "[each.greet('Ada') for each in it]"
    return [
        ("pluginhost, the stubs in a list", "pluginhost", each, with_pluginhost(plugins)),
        ("the plugins themselves in a list, unguarded", "", each, list(plugins.values())),
        ("pluggy, a hook", "pluggy", "it.hook.greet(name='Ada')", with_pluggy(plugins)),
        ("stevedore, map", "stevedore", "it.map(lambda each, name: each.obj.greet(name), 'Ada')", manager),
    ]


# By the names that run.py has for them: who takes part, and how often each is called for one take.
SCENARIOS = {
    "guarded": (guarded, 20_000),
    "fan-out": (fan_out, 2_000),
    "contained": (contained, 1_000),
    "routed": (routed, 2_000),
}


def main() -> None:
    """Prints the version and the nanoseconds of each, the empty loop first.

    Raises:
        SystemExit: One of them answers wrong.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    make, number = SCENARIOS[sys.argv[1]]
    contestants = make()
    for name, _, statement, it in contestants:
        answer = eval(statement, {"it": it})
        if {GREETING} != set(answer if isinstance(answer, list) else [answer]):
            raise SystemExit(f"{name}: wrong answer: {answer!r}")

    contestants.insert(0, ("an empty loop", "", "pass", None))
    # Each has a loop compiled for it alone, so that the interpreter may specialise each for what it calls.
    timers = [
        timeit.Timer(statement, "it = given", time.process_time, {"given": it}) for _, _, statement, it in contestants
    ]
    for timer in timers:
        timer.timeit(number)
    takes = [[timer.timeit(number) / number * 1e9 for timer in timers] for _ in range(TAKES)]
    medians = map(statistics.median, zip(*takes, strict=True))
    versions = [version(package) if package else platform.python_version() for _, package, _, _ in contestants]
    names = [name for name, _, _, _ in contestants]
    json.dump(list(zip(names, versions, medians, strict=True)), sys.stdout)


main()
