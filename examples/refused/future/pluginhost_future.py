"""Made for an API that is not there yet."""

from pluginapi import Greeter


class Future(Greeter):
    """A greeter for pluginapi 2."""

    lang = "Future"

    def greet(self, name: str) -> str:
        return f"Hello from tomorrow, {name}!"


def New() -> Future:
    """Returns the plugin."""
    return Future()
