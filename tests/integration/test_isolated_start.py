"""What the process of an isolated plugin has when the plugin is imported: what it needs, since its start takes time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pluginhost import PluginManager

from pluginapi import Greeter

if TYPE_CHECKING:
    from forge import Forge

PLUGIN = """
import gc, sys
from pluginapi import Greeter

LOADED = set(sys.modules)

class Some(Greeter):
    lang = "Some"

    def greet(self, name: str) -> str:
        if name == "modules":
            return " ".join(LOADED)
        if name == "collector":
            return f"{gc.isenabled()} {gc.get_freeze_count() > 10_000}"
        return __import__(name).__name__

New = Some
"""
DEAR = {
    "asyncio", "email", "importlib.metadata", "importlib_metadata", "json", "logging", "pathlib", "platformdirs",
    "pluginhost.manager", "stevedore", "subprocess", "tempfile", "typing_extensions",
}  # fmt: skip


def test_a_child_imports_little_and_a_plugin_finds_python_as_ever(forge: Forge, site: Path) -> None:
    forge.plugin("some", PLUGIN)
    with PluginManager(probe="never") as manager:
        some = manager.get("some", Greeter, isolation="process")
        assert set(some.greet("modules").split()) & DEAR == set()
        assert some.greet("collector") == "True True"
        assert some.greet("typing_extensions") == "typing_extensions"
