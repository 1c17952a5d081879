from __future__ import annotations

import subprocess
import sys

import pluginhost
import pytest

import pluginapi


def test_the_names_that_pluginhost_hands_on() -> None:
    assert pluginhost.__all__ == sorted(pluginhost.__all__)
    assert all(getattr(pluginhost, name) for name in pluginhost.__all__)
    assert dir(pluginhost) == pluginhost.__all__
    with pytest.raises(AttributeError):
        pluginhost.no_such_name  # noqa: B018


def test_the_names_that_pluginapi_hands_on() -> None:
    assert pluginapi.__all__ == sorted(pluginapi.__all__)
    assert all(getattr(pluginapi, name) for name in pluginapi.__all__)
    assert dir(pluginapi) == pluginapi.__all__
    with pytest.raises(AttributeError):
        pluginapi.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_importing_pluginapi_imports_nothing_that_reads_manifests() -> None:
    """Each plugin's process imports it, and few read manifests; `Manifest` is there all the same."""
    code = "import sys, pluginapi; print(*sys.modules); from pluginapi import *; assert Manifest.__slots__"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert not {"importlib.metadata", "json", "pluginapi.manifest"} & set(done.stdout.split())


def test_importing_pluginhost_imports_nothing_else_of_it() -> None:
    code = "import sys, pluginhost; print([name for name in sys.modules if name.startswith('pluginhost.')])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_imports_point_down() -> None:
    """No module imports one of a higher floor, so there is no cycle."""
    import ast
    from pathlib import Path

    floors = [
        {"catalogue", "forks", "settings"},
        {"errors"},
        {"child", "hints", "importtime", "interrupts", "parent", "watched"},
        {"archives", "breaker", "callbacks", "exits", "index", "limits", "metadata", "process", "status"},
        {"callers", "canary", "events", "flags", "places", "shares", "survey", "validation", "watchdog"},
        {"abandon", "choice", "config", "discovery", "entries", "intact", "journal", "searchpath", "symbols"},
        {"copies", "edits", "identity", "names", "requirements", "verdicts"},
        {"factories", "handover", "replies", "unpacking", "wheels"},
        {"store"},
        {"plugin_dirs", "reimport"},
        {"admission", "blame", "host", "installs", "leaks", "loading", "sources", "stubs", "telemetry"},
        {"gate", "isolation", "kept", "leftovers", "tally", "throwaway", "turns", "unloading"},
        {"containment", "goplugin", "versions"},
        {"generations"},
        {"lifecycle", "probe"},
        {"dependencies", "registered"},
        {"registry"},
        {"runner"},
        {"replacing"},
        {"applying", "control", "reload", "routing", "watching"},
        {"doctor", "manager", "profile"},
        {"cli", "stopwatch", "testing"},
    ]
    floor = {name: number for number, names in enumerate(floors) for name in names}
    folder = Path(pluginhost.__file__).parent
    for file in [*folder.glob("*.py"), *folder.glob("isolation/*.py"), *folder.glob("goplugin/*.py")]:
        of = file.stem if file.parent == folder else file.parent.name
        if file.stem.startswith("__"):
            continue
        tree = ast.parse(file.read_text())
        typing_only = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or id(node) in typing_only:
                continue
            module = node.module or ""
            names = [alias.name for alias in node.names] if module == "pluginhost" else module.split(".")[1:2]
            if module.partition(".")[0] == "pluginhost":
                for name in names:
                    is_within = name == of and file.parent != folder  # its own floors have a test of their own
                    assert is_within or floor[name] < floor[of], f"{file.name} imports {name}"
