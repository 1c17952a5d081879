"""Greets in English."""

from pluginapi import Greeter


class English(Greeter):
    """A greeter for whoever reads this."""

    lang = "English"

    def greet(self, name: str) -> str:
        return f"Hello, {name}! Nice to meet you."


def New() -> English:
    """Returns the plugin."""
    return English()
