"""The fixtures that pluginhost brings to pytest, in runs of pytest of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

FIXTURES = """
from pluginapi import Greeter, Plugin
from pluginhost import PluginHostError, PluginManager
from pluginhost.testing import FakeHost, FakeLoader
import pytest

class Polite(Greeter):
    lang = "English"

    def init(self, host):
        self.title = host.config["title"]
        host.data_folder.joinpath("begun").touch()

    def greet(self, name):
        return f"Good day, {self.title} {name}."

made = []

def test_fake_host(fake_host, tmp_path):
    plugin, host = Polite(), fake_host(config={"title": "dear"})
    assert isinstance(host, FakeHost)
    plugin.init(host)
    assert plugin.greet("Ada") == "Good day, dear Ada."
    assert [*tmp_path.rglob("begun")]

def test_fake_loader(fake_loader, tmp_path):
    assert isinstance(fake_loader, FakeLoader)
    fake_loader.add("polite", Polite)
    fake_loader.fail("broken", "import-failed")
    manager = fake_loader.manager(plugins={"polite": {"config": {"title": "dear"}}})
    made.append(manager.get("polite", Greeter))
    assert [*manager.all(Plugin)] == ["polite"]
    assert [*tmp_path.rglob("begun")]

def test_plugin_manager(plugin_manager, tmp_path):
    assert isinstance(plugin_manager, PluginManager)
    made.append(plugin_manager.get("english", Greeter))
    assert made[-1].greet("Ada")
    assert plugin_manager.configuration.probe == "never"

def test_those_before_were_closed():
    assert len(made) == 2
    for greeter in made:
        with pytest.raises(PluginHostError):
            greeter.greet("Ada")
"""

LOOKS = """
import json, pathlib, sys

def test_it_looks(pytestconfig):
    pathlib.Path("seen.json").write_text(json.dumps(sorted(sys.modules)))
"""


def run(
    folder: Path, test: str, *options: str, code: str = "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
) -> subprocess.CompletedProcess[str]:
    """Returns a run of pytest over one test file, in which a warning is an error."""
    folder.joinpath("test_it.py").write_text(test, "utf-8")
    words = (*options, "-p", "no:cacheprovider", "-W", "error", "--strict-markers", "-v", "test_it.py")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-c", f"import sys; {code}", *words], cwd=folder, env=environment, capture_output=True,
        text=True, check=False, timeout=120,
    )  # fmt: skip


def test_the_fixtures_give_what_they_say(tmp_path: Path) -> None:
    done = run(tmp_path, FIXTURES)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def test_a_run_that_uses_none_of_it_imports_three_modules_that_import_nothing(tmp_path: Path) -> None:
    def seen(*options: str) -> set[str]:
        done = run(tmp_path, LOOKS, *options)
        assert done.returncode == 0, done.stdout
        return set(json.loads(tmp_path.joinpath("seen.json").read_text("utf-8")))

    ours = {"pluginhost", "pluginhost.testing", "pluginhost.testing.pytest_plugin"}
    assert seen() - seen("-p", "no:pluginhost") == ours


@pytest.mark.parametrize("autoload", [True, False])
def test_a_run_can_do_without(tmp_path: Path, autoload: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    without = "" if autoload else "import os; os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'; "
    code = f"{without}import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    done = run(tmp_path, "def test_it(fake_host): pass", *(["-p", "no:pluginhost"] if autoload else []), code=code)
    assert done.returncode == 1
    assert "fixture 'fake_host' not found" in done.stdout


def test_a_program_that_runs_pytest_itself_may_have_imported_pluginhost_before(tmp_path: Path) -> None:
    """Pytest would warn that it cannot rewrite what is imported already; there, a warning is an error."""
    done = run(tmp_path, LOOKS, code="import pluginhost.manager, pytest; sys.exit(pytest.main(sys.argv[1:]))")
    assert (done.returncode, done.stderr) == (0, "")
    assert "warning" not in done.stdout
