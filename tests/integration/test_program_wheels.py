"""Plugins that are programs, as data: what is known of them before one is started, and that nothing of them is."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from forge import BIN
from pluginhost import PluginManager, intact, kept
from pluginhost.goplugin import programs
from pluginhost.survey import Candidate, Distribution

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from forge import Command, Forge
    from pluginhost import Row

SETTINGS = '[tool.pluginapi.plugins."pluginhost.plugins".gopher]\ncontracts = ["Greeter"]\nprogram = "zoo_gopher/greet"'
FILES = {
    "zoo_gopher/greet": "#!/bin/sh\necho started > started\n",
    "zoo_gopher/other": "#!/bin/sh\n",
    "zoo_gopher/__init__.py": "raise SystemExit('imported')\n",
}
"""The program leaves a trace if it is started, and the module if it is imported."""


def wheel(forge: Forge, distribution: str = "zoo-gopher", settings: str = SETTINGS, **files: str) -> Path:
    name = distribution.partition("-")[2]
    settings = settings.replace(".gopher]", f".{name}]")
    return forge.wheel(distribution, FILES | files, f'{name} = "zoo_gopher"', hook=True, settings=settings)


def row(name: str = "gopher", **options: Any) -> Row:
    with PluginManager(**options) as manager:
        return manager.entry(name).row


def codes(found: Row) -> list[str]:
    return [finding.code for finding in found.findings]


def is_executable(file: Path) -> bool:
    return bool(file.stat().st_mode & stat.S_IXUSR)


def rewrite(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_program_is_listed_with_what_its_stamp_says_and_is_not_started(forge: Forge, site: Path) -> None:
    forge.install(wheel(forge))
    found = row()
    assert (found.state, found.contracts, found.candidate.program) == ("ready", ["Greeter"], "zoo_gopher/greet")
    assert (found.entry_point, found.api, codes(found)) == ("zoo_gopher", "pluginapi~=1.0", [])
    assert row("english").candidate.program == ""
    assert programs.find(found.candidate) == str(site / "zoo_gopher/greet")
    assert list(programs.check(found.candidate)) == []


def test_the_commands_that_look_at_plugins_tell_of_the_program_and_run_nothing(
    forge: Forge, command: Command, tmp_path: Path
) -> None:
    forge.install(wheel(forge))
    [listed] = [each for each in command.json("list")["plugins"] if each["name"] == "gopher"]
    told = command.json("info", "gopher")
    assert listed["program"] == told["program"] == "zoo_gopher/greet"
    assert "own files" in told["passed"]
    done = command("config", "schema", "gopher")
    assert done.returncode == 1
    assert b"zoo_gopher/greet declares no type for its configuration" in done.stderr
    done = command("profile", "gopher")
    assert b"is the program 'zoo_gopher/greet', of which nothing is imported" in done.stderr
    (tmp_path / "pluginhost.toml").write_text('allow = ["gopher"]\n')  # the others have no part in this
    done = command("config", "check")
    assert (done.returncode, done.stdout) == (0, b""), done.stdout.decode()
    assert command("profile").stderr.startswith(b"no plugins")
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ('"zoo_gopher/great"', "program-missing"),
        ('"no-such-program"', ""),
        ('"../greet"', "manifest-malformed"),
        ('"/bin/sh"', "manifest-malformed"),
        ("7", "manifest-malformed"),
    ],
)
def test_a_program_that_is_not_the_wheels_own_is_refused(forge: Forge, site: Path, program: str, told: str) -> None:
    """But for a name: that is looked up when the plugin is started, by no survey."""
    forge.install(wheel(forge))
    [stamp] = site.glob("zoo_gopher-*/extra_metadata/pluginapi.json")
    rewrite(stamp, '"zoo_gopher/greet"', program)
    found = row()
    assert codes(found) == [told] * bool(told)
    assert found.state == ("refused" if told else "ready")


def test_a_program_that_another_distribution_has_overwritten_is_refused(forge: Forge, site: Path) -> None:
    forge.install(wheel(forge))
    forge.install(wheel(forge, "zoo-mole", **{"zoo_gopher/greet": "#!/bin/sh\nanother\n"}))
    assert codes(row("gopher")) == ["module-foreign"]
    assert "the program 'zoo_gopher/greet', whose zoo_gopher/greet zoo-mole 1.0.0" in row("gopher").findings[0].message
    assert codes(row("mole")) == []


def test_a_group_without_an_api_has_nothing_that_a_program_could_serve(forge: Forge, site: Path) -> None:
    forge.install(wheel(forge))
    assert codes(row(api=None)) == ["api-missing"]


def test_of_an_unpacked_wheel_the_program_is_executable_and_nothing_else(forge: Forge, site: Path) -> None:
    """Whether it is from a plugin folder or that of an instance."""
    folder = forge.folder / "plugins"
    folder.mkdir()
    built = shutil.copy(wheel(forge), folder)
    version = {"other": {"plugin": "gopher", "wheel": str(built), "isolation": "process"}}
    for found in (row(plugin_dirs=[folder]), row("other", instances=version)):
        assert (found.state, found.candidate.program) == ("ready", "zoo_gopher/greet")
        program = programs.find(found.candidate)
        assert program.startswith(found.origin)
        assert is_executable(forge.folder / program)
        assert not is_executable(forge.folder / found.origin / "zoo_gopher/other")


def test_a_copy_to_return_to_has_the_program(forge: Forge, site: Path) -> None:
    forge.install(wheel(forge))
    installed = row().candidate
    entry = kept.keep(installed, intact.content(installed.distribution))
    found = kept.row(entry, installed, "pluginapi")
    assert (found.state, found.candidate.program) == ("ready", "zoo_gopher/greet")
    program = programs.find(found.candidate)
    assert program.startswith(entry)
    assert is_executable(forge.folder / program)


def test_a_program_of_an_editable_install_is_the_projects(forge: Forge, site: Path) -> None:
    wheel(forge)
    [source] = forge.folder.glob("src/zoo-gopher-*")
    uv = [BIN / "uv", "pip", "install", "--quiet", "--offline", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*uv, "--python", sys.executable, "--target", site, "--editable", source], check=True)
    found = row()
    assert (found.state, codes(found)) == ("ready", [])
    assert programs.find(found.candidate) == str(source / "zoo_gopher/greet")
    made_of = intact.content(found.candidate.distribution)
    assert kept.keep(found.candidate, made_of) == "", "one that is built anew would be taken for this one"
    (source / "zoo_gopher/greet").unlink()
    [finding] = programs.check(found.candidate)
    assert (finding.code, finding.hint) == ("program-missing", f"build zoo_gopher/greet in {source}")


def test_the_doctor_tells_why_a_program_cannot_be_started_and_the_way_out(forge: Forge, command: Command) -> None:
    def told() -> list[tuple[str, str]]:
        said = json.loads(command("doctor", "--json").stdout)
        [checked] = [each for each in said["checks"] if each["title"] == "programs"]
        return [(each["code"], each["hint"]) for each in checked["findings"]]

    forge.install(wheel(forge))
    program = forge.site / "zoo_gopher/greet"
    reinstall = "reinstall it: pip install --force-reinstall --no-deps zoo-gopher==1.0.0"
    program.chmod(0o644)
    assert told() == [("program-unstartable", f"next: chmod +x {program}; or {reinstall}")]
    program.unlink()
    assert told() == [("program-missing", reinstall)]
    [stamp] = forge.site.glob("zoo_gopher-*/extra_metadata/pluginapi.json")
    rewrite(stamp, '"zoo_gopher/greet"', '"no-such-program"')
    assert told() == [("program-missing", "install what brings no-such-program, or correct PATH")]
    rewrite(stamp, '"no-such-program"', '"zoo_gopher/great"')
    [(code, hint)] = told()
    assert code == "program-missing"
    assert "its author adds it to the wheel" in hint


def test_a_name_is_looked_up_beside_the_interpreters_scripts_and_then_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(program: str) -> str:
        of = Distribution("zoo-gopher", "1.0.0", str(tmp_path), str(tmp_path / "zoo_gopher-1.0.0.dist-info"))
        return programs.find(Candidate("pluginhost.plugins", "gopher", "zoo_gopher", of, program))

    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("pytest", "zoo-greet"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert found("pytest").startswith(sys.prefix)
    assert found("zoo-greet") == str(tmp_path / "zoo-greet")
    assert found("no-such-program") == ""
