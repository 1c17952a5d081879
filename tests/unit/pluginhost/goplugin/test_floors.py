from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from pluginhost import goplugin

FLOORS = [
    {"fields", "handshake", "programs"},
    {"certificates", "hclog", "life", "plain", "records", "services", "statuses"},
    {"channel", "hosting", "kinds", "listening"},
    {"broker", "declaring", "faults", "logs", "printing", "stdio"},
    {"files", "starting"},
    {"looping", "proto"},
    {"client", "offering", "serving"},
    {"blocking", "far"},
    {"children", "remote"},
    {"loading"},
]


def test_imports_within_goplugin_point_down() -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    files = {file.stem: file for file in Path(goplugin.__path__[0]).glob("*.py") if file.stem != "__init__"}
    assert files.keys() == floor.keys()
    for name, file in files.items():
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("pluginhost.goplugin"):
                continue
            whole = node.module == "pluginhost.goplugin"
            for below in [each.name for each in node.names] if whole else [str(node.module).rpartition(".")[2]]:
                assert floor[below] <= floor[name], f"{name} imports {below}"
                assert below != name


def test_each_floor_is_drawn() -> None:
    drawing = (goplugin.__doc__ or "").partition("```")[2].partition("```")[0]
    for names in FLOORS:
        assert all(name in drawing for name in names)


def test_the_names_that_goplugin_hands_on() -> None:
    assert goplugin.__all__ == sorted(goplugin.__all__)
    assert all(getattr(goplugin, name) for name in goplugin.__all__)
    assert dir(goplugin) == goplugin.__all__
    with pytest.raises(AttributeError):
        goplugin.no_such_name  # noqa: B018


def test_each_name_is_imported_when_it_is_asked_for() -> None:
    code = "import sys, pluginhost.goplugin as g; g.HandshakeConfig; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert not {"asyncio", "grpclib", "google.protobuf", "cryptography", "ssl", "logging"} & set(done.stdout.split())


@pytest.mark.parametrize("lacks", ["grpclib", "google.protobuf", "cryptography"])
def test_who_lacks_the_extra_is_told_how_to_get_it(lacks: str) -> None:
    code = f"import sys; sys.modules[{lacks!r}] = None; from pluginhost.goplugin import AsyncGoPluginClient"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert "ConfigurationError" in done.stderr
    assert "pip install 'pluginhost[goplugin]'" in done.stderr
