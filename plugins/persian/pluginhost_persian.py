"""Greets in Persian."""

from pluginapi import Greeter


class Persian(Greeter):
    """A greeter in a script that runs from right to left."""

    lang = "فارسی"

    def greet(self, name: str) -> str:
        return f"سلام، {name}! خوشوقتم."


def New() -> Persian:
    """Returns the plugin."""
    return Persian()
