from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from pluginhost import isolation

FLOORS = [
    {"frames"},
    {"arena", "failures", "lines", "shapes"},
    {"codec", "system"},
    {"channel", "groups", "handshake", "reports", "restarts", "services", "spawning"},
    {"looping", "pool", "serving"},
    {"back", "outbox", "output", "records", "remote"},
    {"awaiting", "far", "mortal", "offered"},
    {"children", "supervision"},
    {"plugins"},
    {"starting"},
    {"loading", "worker"},
]


def test_imports_within_the_wire_point_down() -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    files = {file.stem: file for file in Path(isolation.__path__[0]).glob("*.py") if file.stem != "__init__"}
    assert files.keys() == floor.keys()
    for name, file in files.items():
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("pluginhost.isolation"):
                continue
            below = node.module.rpartition(".")[2] if node.module != "pluginhost.isolation" else node.names[0].name  # type: ignore[union-attr]
            assert floor[below] <= floor[name], f"{name} imports {below}"
            assert below != name


def test_each_floor_is_drawn() -> None:
    drawing = (isolation.__doc__ or "").partition("```")[2].partition("```")[0]
    for names in FLOORS:
        assert all(name in drawing for name in names)


def test_a_childs_side_imports_little() -> None:
    """A child is started often: what it needs for the wire is not what a host needs for plugins."""
    ours = ("factories", "identity", "isolation.worker")
    code = f"import sys, {', '.join(f'pluginhost.{name}' for name in ours)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert not {
        "asyncio",
        "logging",
        "ssl",
        "rich",
        "click",
        "stevedore",
        "importlib_metadata",
        "ctypes",
        "multiprocessing",
        "subprocess",
        "pathlib",
        "difflib",
        "hmac",
        "secrets",
        "json",
        "importlib.metadata",
    } & set(done.stdout.split())
