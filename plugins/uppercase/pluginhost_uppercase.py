"""Turns text into upper case."""

from pluginapi import Transformer


class Uppercase(Transformer):
    """`str.upper`, which knows every script."""

    def transform(self, text: str) -> str:
        return text.upper()


def New() -> Uppercase:
    """Returns the plugin; the entry point names the module alone, so this is the factory."""
    return Uppercase()
