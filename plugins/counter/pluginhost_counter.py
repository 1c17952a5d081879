"""Counts, and shows its count as a variable.

`Counter` and `Tick` are the module's documented symbols: a host looks them up by name.
"""

import threading

from pluginapi import Plugin

Counter = 0
"""How often `Tick` was called."""

_lock = threading.Lock()


def Tick() -> int:
    """Counts one more and returns the count."""
    global Counter
    with _lock:
        Counter += 1
        return Counter


class Count(Plugin):
    """A plugin of no contract: all it offers are its symbols."""


def New() -> Count:
    """Returns the plugin."""
    return Count()
