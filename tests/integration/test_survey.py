"""A survey imports nothing of a plugin and shows what its metadata says."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from forge import GREETER

if TYPE_CHECKING:
    from pathlib import Path

    from forge import Command, Forge


def test_list_imports_no_plugin(forge: Forge, command: Command, tmp_path: Path) -> None:
    """A plugin whose import leaves a mark leaves none when it is listed or told of, and leaves it when it is called."""
    mark = tmp_path / "mark"
    forge.plugin("marks", f"open({str(mark)!r}, 'w').close()\n{GREETER}", hook=True)
    for words in (["list"], ["list", "--json"], ["info", "marks"]):
        done = command(*words)
        assert done.returncode == 0, done.stderr.decode()
        assert "marks" in done.stdout.decode()
        assert not mark.exists()
    assert command("call", "marks", "greet", "Ada").returncode == 0
    assert mark.exists(), "the mark works"


def test_a_survey_imports_neither_the_api_nor_what_loads_plugins(tmp_path: Path) -> None:
    code = """
import sys
from pluginhost import PluginManager
assert len(PluginManager().survey()) > 5
heavy = "pluginapi stevedore importlib.metadata importlib_metadata click argparse platformdirs tomllib"
print([name for name in heavy.split() if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True, cwd=tmp_path, text=True)
    assert done.stdout == "[]\n"


def test_the_json_has_the_documented_shape(forge: Forge, command: Command) -> None:
    forge.plugin("alone", hook=False)
    forge.plugin("unpinned", dependencies=())
    listed = command.json("list")
    assert set(listed) == {"plugins", "findings"}
    rows = {row["name"]: row for row in listed["plugins"]}
    assert rows["filter"] == {
        "name": "filter",
        "distribution": "pluginhost-filter",
        "version": "1.0.0",
        "api": "pluginapi~=1.0",
        "state": "ready",
        "contracts": ["Handler"],
        "capabilities": ["filter", "batch"],
        "requires": {},
        "origin": rows["english"]["origin"],
        "entry_point": "pluginhost_filter:New",
        "program": "",
        "findings": [],
    }
    assert rows["alone"]["contracts"] == [], "a wheel without a manifest is admitted; its contracts are not known yet"
    assert rows["alone"]["state"] == "ready"
    [finding] = rows["unpinned"]["findings"]
    assert set(finding) == {"code", "severity", "stage", "message", "hint", "path"}
    assert [row["name"] for row in listed["plugins"]] == sorted(rows)


def test_a_broken_distribution_costs_only_itself(forge: Forge, command: Command) -> None:
    """importlib.metadata raises for everybody here; we tell, with the file and the line, and go on."""
    forge.plugin("fine")
    broken = forge.site / "other-1.0.dist-info"
    broken.mkdir()
    broken.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    broken.joinpath("entry_points.txt").write_text("[console_scripts]\nthis line has no equals sign\n")
    listed = command.json("list")
    assert "fine" in [row["name"] for row in listed["plugins"]]
    [finding] = listed["findings"]
    assert finding["code"] == "metadata-malformed"
    assert finding["path"] == str(broken / "entry_points.txt")
    assert "line 2" in finding["message"]


def test_two_distributions_with_one_name_are_both_refused(forge: Forge, command: Command) -> None:
    forge.plugin("twice")
    forge.install(forge.wheel("zoo-other", {"zoo_other.py": ""}, 'twice = "zoo_other:New"'))
    rows = [row for row in command.json("list")["plugins"] if row["name"] == "twice"]
    assert [row["distribution"] for row in rows] == ["zoo-other", "zoo-twice"]
    for row in rows:
        assert row["state"] == "refused"
        assert [finding["code"] for finding in row["findings"]] == ["name-clash"]


def test_a_fork_of_the_api_is_refused(forge: Forge, command: Command) -> None:
    """Same version, other structure: the stamp in the plugin's wheel and the API's own disagree."""
    site = forge.plugin("forked", hook=True)
    [manifest] = site.glob("zoo_forked-*.dist-info/extra_metadata/pluginapi.json")
    manifest.write_text(manifest.read_text().replace('"sha256:', '"sha256:0'))
    [row] = [row for row in command.json("list")["plugins"] if row["name"] == "forked"]
    assert row["state"] == "refused"
    assert [finding["code"] for finding in row["findings"]] == ["api-forked"]


def test_groups_of_other_ecosystems_are_listed_without_an_api(command: Command) -> None:
    rows = command.json("list", "--group", "hatch", "--api", "none")["plugins"]
    assert [(row["name"], row["state"], row["entry_point"]) for row in rows] == [
        ("pluginapi", "ready", "pluginapi._hatch")
    ]


def test_a_missing_api_refuses_every_plugin_and_says_so(command: Command) -> None:
    rows = command.json("list", "--api", "not_there")["plugins"]
    assert {row["state"] for row in rows} == {"refused"}
    assert {finding["code"] for row in rows for finding in row["findings"]} == {"api-missing"}
