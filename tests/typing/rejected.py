"""What type checkers reject, each line with the code of mypy and the rule of pyright; nothing runs it."""

from __future__ import annotations

from pluginhost import PluginManager, Symbol

from pluginapi import Event, Greeter, Host, Operation, Plugin, Transformer


class Stranger:
    """It is of no contract."""


class Loud(Greeter):
    """A plugin whose method takes another argument than its contract's."""

    lang = "Loud"

    def greet(self, name: int) -> str:  # rejected: override, reportIncompatibleMethodOverride
        return str(name)


def host(manager: PluginManager) -> None:
    """What is asked of a manager that it does not give."""
    greeter = manager.get("english", Greeter)
    greeter.greet(3)  # rejected: arg-type, reportArgumentType
    greeter.greet()  # rejected: call-arg, reportCallIssue
    greeter.transform("a")  # rejected: attr-defined, reportAttributeAccessIssue
    print(greeter.greet("Ada") + 1)  # rejected: operator, reportOperatorIssue
    other: Transformer = manager.get("english", Greeter)  # rejected: assignment, reportAssignmentType
    others: dict[str, Operation] = manager.all(Greeter)  # rejected: arg-type, reportAssignmentType
    print(other, others)
    manager.get("english", Stranger)  # rejected: type-var, reportArgumentType
    manager.all(Stranger)  # rejected: type-var, reportArgumentType
    manager.get("english")  # rejected: call-arg, reportCallIssue
    manager.get("english", Greeter, requires=3)  # rejected: arg-type, reportArgumentType


def life(manager: PluginManager) -> None:
    """What a manager is given that it does not take."""
    manager.register("own", Stranger)  # rejected: arg-type, reportArgumentType
    manager.register("own", Greeter.greet)  # rejected: arg-type, reportArgumentType
    manager.subscribe(told)  # rejected: arg-type, reportArgumentType
    counter: Symbol[str] = manager.handle("counter").lookup("Counter", int)  # rejected: arg-type, reportAssignmentType
    print(counter)
    PluginManager(probe="sometimes")  # rejected: arg-type, reportArgumentType
    PluginManager(instances={"north": "filter"})  # rejected: dict-item, reportArgumentType


def told(event: str) -> None:
    """A listener that takes no event."""


def at_init(host: Host, event: Event) -> None:
    """What a plugin asks of its host."""
    guests: dict[str, Greeter] = host.load("a", {"b": {}})  # rejected: assignment, reportAssignmentType
    plugin: Greeter = host.get("english", Plugin)  # rejected: assignment, reportAssignmentType
    print(guests, plugin)
    event.topic = "other"  # rejected: misc, reportAttributeAccessIssue
