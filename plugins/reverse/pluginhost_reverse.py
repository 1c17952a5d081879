"""Turns text back to front."""

from pluginapi import Transformer


class Reverse(Transformer):
    """Code points in reverse order."""

    def transform(self, text: str) -> str:
        return text[::-1]


def New() -> Reverse:
    """Returns the plugin."""
    return Reverse()
