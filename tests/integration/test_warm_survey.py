"""A survey that the index answers: what it imports and what it opens, told without a clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from forge import Forge
from waiting import until

HEAVY = {"stevedore", "importlib.metadata", "importlib_metadata", "packaging", "click", "dataclasses", "typing", "re"}
HEAVY |= {"argparse", "logging", "platformdirs", "tomllib", "pluginapi"}

OURS = ["pluginhost", "pluginhost.errors", "pluginhost.index", "pluginhost.manager", "pluginhost.survey"]

PROGRAM = """
import os, sys
before = set(sys.modules)
events = []
sys.addaudithook(lambda event, args: events.append((event, args[0])) if event in WATCHED else None)
WATCHED = {"open", "os.listdir", "os.scandir", "import", "subprocess.Popen", "socket.__new__"}
from pluginhost import PluginManager
manager = PluginManager()
road = len(events)
survey = manager.survey()
names = [row.name for row in survey]
WATCHED = set()
after = set(sys.modules)
from pluginhost.index import Index
import json
print(json.dumps({
    "imported": sorted(after - before),
    "before": sorted(before),
    "import of the manager": [(event, str(what)) for event, what in events[:road]],
    "survey": [(event, str(what)) for event, what in events[road:]],
    "index": Index("pluginhost.plugins", "pluginapi").path,
    "names": names,
    "findings": [finding.code for row in survey for finding in row.findings],
}))
"""


def run(site: Path, folder: Path, *, bare: bool = False) -> dict[str, Any]:
    """Returns what a new process says of its survey; a bare one has no site, so that no .pth file imports anything."""
    packages = sysconfig.get_paths()["purelib"]
    program = f"import sys; sys.path.append({packages!r})\n{PROGRAM}" if bare else PROGRAM
    environment = {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder)}
    command = [sys.executable, *(["-S"] if bare else []), "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def warm(site: Path, folder: Path, *, bare: bool = False) -> dict[str, Any]:
    """Returns the same, once the index answers: what was installed must be two seconds old."""
    said: dict[str, Any] = {}

    def is_warm() -> bool:
        said.update(run(site, folder, bare=bare))
        return "pluginhost.discovery" not in said["imported"]

    until(is_warm, "a warm index")
    return said


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plugins that are ready, and others with findings, which a survey from the index must make anew."""
    forge = Forge(tmp_path_factory.mktemp("forge"))
    forge.plugin("stamped", hook=True)
    forge.plugin("unpinned", dependencies=())
    forge.plugin("future", dependencies=("pluginapi~=9.0",))
    return forge.site


@pytest.mark.parametrize("bare", [False, True], ids=["site", "bare"])
def test_it_imports_little_and_opens_the_index_alone(site: Path, tmp_path: Path, bare: bool) -> None:
    """Counted against what the interpreter, with whatever .pth files there are, has imported before it."""
    said = warm(site, tmp_path, bare=bare)
    assert {"stamped", "unpinned", "future", "english"} <= set(said["names"])
    assert {"pin-missing", "pin-unsatisfied"} <= set(said["findings"])

    assert HEAVY.isdisjoint(said["imported"])
    if bare:
        assert HEAVY.isdisjoint(said["before"]), "nothing was there already"
    assert [name for name in said["imported"] if name.startswith("pluginhost")] == OURS
    foreign = {name.partition(".")[0] for name in said["imported"]} - {"pluginhost"}
    assert foreign <= {"__future__", "_operator"}, "a module more is time at each start"

    assert said["survey"] == [["open", said["index"]]], "all is imported and nothing listed; one file is read"
    opened = [path for event, path in said["import of the manager"] if event == "open"]
    folder = f"{os.sep}pluginhost{os.sep}"
    assert [path for path in opened if not path.endswith((".py", ".pyc"))] == []
    assert [path for path in opened if folder not in path and "__future__" not in path] == []


def test_what_does_not_come_from_the_index_would_be_noticed(site: Path, tmp_path: Path) -> None:
    """The counts above mean something: without an index the same program imports and opens more."""
    said = run(site, tmp_path, bare=True)
    assert {"packaging", "re", "typing", "pluginhost.discovery"} <= set(said["imported"])
    assert any(path.endswith("entry_points.txt") for _, path in said["survey"])
