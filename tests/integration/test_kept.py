"""What pip and uv really install is whole, is copied, and is there to return to when they have put another in its place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from forge import BIN, GREETER, Forge
from pluginhost import PluginRefused, discovery, intact, kept

if TYPE_CHECKING:
    from pluginhost.survey import Candidate

ENTRY = 'some = "zoo_some.plugin:New"'
GREET = "import sys; sys.path.insert(0, sys.argv[1]); import zoo_some.plugin; print(zoo_some.plugin.New().greet('Ada'))"


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def wheel(forge: Forge, version: str) -> Path:
    files = {"zoo_some/__init__.py": "", "zoo_some/plugin.py": GREETER.replace("some {", f"{version} {{")}
    scripts = '[project.scripts]\nzoo = "zoo_some.plugin:New"'
    return forge.wheel("zoo-some", files, ENTRY, version=version, project=scripts)


def found(site: Path) -> Candidate:
    candidates = discovery.discover("pluginhost.plugins", path=[str(site)]).candidates
    return next(each for each in candidates if each.name == "some")


def greeting(folder: str) -> str:
    return subprocess.run([sys.executable, "-c", GREET, folder], capture_output=True, text=True, check=True).stdout


def pip(python: Path, *words: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", python]
    subprocess.run([*command, *words], check=True)


def uv(python: Path, *words: str | Path) -> None:
    """Links are what uv may install, too."""
    links = ["--link-mode", "symlink"] if words[0] == "install" else []
    environment = os.environ | {"VIRTUAL_ENV": str(python.parent.parent)}
    subprocess.run([BIN / "uv", "pip", *words, *links, "--quiet"], check=True, env=environment)


def test_a_version_is_returned_to_when_another_is_installed(forge: Forge, tmp_path: Path) -> None:
    subprocess.run([BIN / "uv", "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    [site] = tmp_path.glob("venv/lib/python*/site-packages")
    entries = {}
    for version, tool in (("1.0", pip), ("2.0", uv)):
        tool(python, "install", "--no-index", "--no-deps", wheel(forge, version))
        candidate = found(site)
        made_of = intact.require_whole(candidate.distribution)
        assert intact.top_level(candidate.distribution) == {"zoo_some"}
        entries[version] = kept.keep(candidate, made_of)
        assert Path(entries[version]).name == made_of
        assert not any(path.is_symlink() for path in Path(entries[version]).rglob("*"))
    uv(python, "uninstall", "zoo-some")
    with pytest.raises(PluginRefused, match="distribution-incomplete"):
        intact.require_whole(candidate.distribution)
    for version, entry in entries.items():
        row = kept.row(entry, candidate, "pluginapi")
        assert (row.version, row.state, row.findings) == (version, "ready", [])
        assert greeting(entry) == f"{version} Ada\n"


def test_an_editable_that_was_edited_is_returned_to(forge: Forge) -> None:
    source = wheel(forge, "1.0").parent.parent / "src" / "zoo-some-1.0-0"
    options = ["--quiet", "--offline", "--no-index", "--no-deps", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([BIN / "uv", "pip", "install", *options, "--target", forge.site, "--editable", source], check=True)
    candidate = found(forge.site)
    made_of = intact.require_whole(candidate.distribution)
    assert intact.top_level(candidate.distribution) == frozenset()
    entry = kept.keep(candidate, made_of)
    assert entry
    plugin = source / "zoo_some" / "plugin.py"
    plugin.write_text(plugin.read_text().replace("1.0", "2.0"))
    assert intact.require_whole(candidate.distribution) != made_of
    row = kept.row(entry, candidate, "pluginapi")
    assert (row.version, row.state, row.origin) == ("1.0", "ready", entry)
    assert (greeting(entry), greeting(str(source))) == ("1.0 Ada\n", "2.0 Ada\n")
