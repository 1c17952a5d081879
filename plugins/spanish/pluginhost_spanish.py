"""Greets in Spanish."""

from pluginapi import Greeter


class Spanish(Greeter):
    """A greeter with an inverted exclamation mark."""

    lang = "Español"

    def greet(self, name: str) -> str:
        return f"¡Hola, {name}! Mucho gusto."


def New() -> Spanish:
    """Returns the plugin."""
    return Spanish()
