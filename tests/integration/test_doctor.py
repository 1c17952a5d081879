"""The doctor, in environments of their own: each fault is really made, with the tools that make it in life."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from forge import BIN, GREETER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from forge import Command, Forge

PYPROJECT = """
[build-system]
requires = ["hatchling", "pluginapi"]
build-backend = "hatchling.build"

[project]
name = "zoo-edit"
version = "1.0.0"
dependencies = ["pluginapi~=1.0"]

[project.entry-points."pluginhost.plugins"]
edit = "zoo_edit:New"

[tool.pluginapi.plugins."pluginhost.plugins".edit]
contracts = ["Greeter"]

[tool.hatch.build.targets.wheel]
only-include = ["zoo_edit.py"]

[tool.hatch.build.targets.wheel.hooks.pluginapi]
"""


class Environment:
    """A virtual environment with pluginhost and an example plugin, and nothing in it that no installer put there."""

    def __init__(self, folder: Path, wheelhouse: Path) -> None:
        self.folder = folder
        self.bin = folder / "env" / "bin"
        venv.create(folder / "env", symlinks=True)
        self.site = next(folder.glob("env/lib/python*/site-packages"))
        for entry in Path(sysconfig.get_path("purelib")).iterdir():  # what the tests themselves are run with
            if not entry.name.startswith(("pluginhost", "pluginapi")) and entry.suffix != ".pth":
                (self.site / entry.name).symlink_to(entry)
        names = ("pluginapi-", "pluginhost-", "pluginhost_english-")
        self.install(*(wheel for name in names for wheel in wheelhouse.glob(f"{name}*.whl")))

    def install(self, *words: str | Path) -> None:
        """Installs with uv, really, and without an index."""
        uv = [BIN / "uv", "pip", "install", "--quiet", "--offline", "--no-index", "--no-deps", "--no-build-isolation"]
        subprocess.run([*uv, "--python", self.bin / "python", *words], check=True)

    def project(self, pyproject: str = PYPROJECT, **files: str) -> Path:
        """Returns a plugin's project, which is installed as editable."""
        project = self.folder / "project"
        project.mkdir()
        for name, content in {"zoo_edit": GREETER, **files}.items():
            (project / f"{name}.py").write_text(content)
        (project / "pyproject.toml").write_text(pyproject)
        self.install("--editable", project)
        return project

    def __call__(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Returns the finished `pluginhost doctor`."""
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C.UTF-8", **(env or {})}
        command = [self.bin / "pluginhost", "doctor", *words]
        return subprocess.run(
            command, env=variables, cwd=self.folder, capture_output=True, check=False, text=True, timeout=60
        )

    def found(self, *words: str, status: int, env: Mapping[str, str] | None = None) -> dict[str, list[dict[str, str]]]:
        """Returns the findings by the check that has them."""
        done = self(*words, "--json", env=env)
        assert done.returncode == status, done.stdout + done.stderr
        data: dict[str, Any] = json.loads(done.stdout)
        assert data["state"] == max((check["state"] for check in data["checks"]), key=["ok", "warning", "error"].index)
        return {check["title"]: check["findings"] for check in data["checks"] if check["findings"]}

    def only(self, *words: str, status: int, env: Mapping[str, str] | None = None) -> tuple[str, str, str, str]:
        """Returns check, code, message and hint of the one finding that there is."""
        [(title, findings)] = self.found(*words, status=status, env=env).items()
        assert len(findings) == 1, findings
        return title, findings[0]["code"], findings[0]["message"], findings[0]["hint"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Path) -> Environment:
    return Environment(tmp_path_factory.mktemp("made"), wheelhouse)


@pytest.fixture
def env(made: Environment, tmp_path: Path) -> Iterator[Environment]:
    """The environment; what a test does to its site-packages is undone afterwards."""
    before = {entry.name: entry for entry in made.site.iterdir()}
    kept = tmp_path / "kept"
    shutil.copytree(made.site, kept, symlinks=True)
    made.folder = tmp_path
    yield made
    shutil.rmtree(made.site)
    shutil.copytree(kept, made.site, symlinks=True)
    assert {entry.name for entry in made.site.iterdir()} == set(before)


def test_an_environment_of_wheels_is_all_ok(env: Environment) -> None:
    done = env("--strict")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith("ok       ")] == []
    assert f"ok       one copy of the API  pluginapi 1.0.0 in {env.site}" in lines
    assert "ok       pins                 1 plugin" in lines


def test_an_environment_with_an_editable_is_all_ok(env: Environment) -> None:
    env.project()
    done = env("--strict")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok       manifests            3 manifests, 1 editable install" in done.stdout.splitlines()


def test_a_group_of_another_program_is_examined_without_an_api(env: Environment) -> None:
    done = env("--group", "console_scripts", "--api", "none", "--strict")
    assert "one copy of the API" not in done.stdout
    assert "ok       names " in done.stdout


def test_the_shape_of_the_json(env: Environment) -> None:
    data = json.loads(env("--json").stdout)
    assert sorted(data) == ["checks", "plugins", "state"]
    assert (data["state"], data["plugins"]) == ("ok", [])
    assert all(sorted(check) == ["extent", "findings", "state", "title"] for check in data["checks"])


def test_wrong_usage_ends_with_2(env: Environment) -> None:
    assert env("--no-such").returncode == 2
    assert env("a-word").returncode == 2


def test_an_api_that_is_not_installed(env: Environment) -> None:
    title, code, _, hint = env.only("--api", "nothere", status=1)
    assert (title, code) == ("one copy of the API", "api-missing")
    assert "--api" in hint


def test_two_copies_of_the_api(env: Environment, forge: Forge, wheelhouse: Path) -> None:
    forge.install(*wheelhouse.glob("pluginapi-*.whl"))
    found = env.found(status=1, env={"PYTHONPATH": str(forge.site)})
    assert [finding["code"] for finding in found["one copy of the API"]] == ["api-duplicated"]
    assert "distribution-shadowed" in [finding["code"] for finding in found["no shadowing"]]
    assert str(env.site) in found["one copy of the API"][0]["message"]


def test_a_pin_that_excludes_the_api(env: Environment, forge: Forge) -> None:
    wheel = forge.wheel("zoo-late", {"zoo_late.py": GREETER}, 'late = "zoo_late:New"', dependencies=("pluginapi~=2.0",))
    env.install(wheel)
    title, code, message, _ = env.only(status=1)
    assert (title, code) == ("pins", "pin-unsatisfied")
    assert "zoo-late 1.0.0 needs pluginapi~=2.0" in message


def test_a_missing_dependency_and_a_missing_extra(env: Environment, forge: Forge) -> None:
    project = '[project.optional-dependencies]\nfast = ["neither>=2"]'
    dependencies = ("pluginapi~=1.0", "nothere")
    entry = 'lack = "zoo_lack:New [fast]"'
    env.install(forge.wheel("zoo-lack", {"zoo_lack.py": GREETER}, entry, dependencies=dependencies, project=project))
    found = env.found(status=1)
    assert {finding["code"] for finding in found["dependencies"]} == {"dependency-missing"}
    assert {finding["hint"] for finding in found["dependencies"]} == {
        "pip install 'nothere'",
        "pip install 'zoo-lack[fast]'",
    }


def test_a_name_that_two_bring(env: Environment, forge: Forge) -> None:
    env.install(forge.wheel("zoo-twin", {"zoo_twin.py": GREETER}, 'english = "zoo_twin:New"'))
    found = env.found(status=1)
    assert [finding["code"] for finding in found["names"]] == ["name-clash", "name-clash"]


def test_malformed_metadata_of_a_distribution_that_has_no_plugin(env: Environment, forge: Forge) -> None:
    env.install(forge.wheel("zoo-plain", {"zoo_plain.py": ""}))
    metadata = env.site / "zoo_plain-1.0.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Name: zoo-plain\n", ""))
    title, code, message, hint = env.only(status=1)
    assert (title, code) == ("metadata", "metadata-malformed")
    assert str(metadata) in message
    assert "pip install --force-reinstall zoo_plain" in hint


def test_what_an_uninstall_left_behind(env: Environment, forge: Forge) -> None:
    (env.site / "~lugin_old-1.0.dist-info").mkdir()
    title, code, _, hint = env.only(status=0)
    assert (title, code, hint) == (
        "whole installs",
        "distribution-leftover",
        f"remove the folder: {env.site / '~lugin_old-1.0.dist-info'}",
    )
    assert env("--strict").returncode == 1


def test_a_dist_info_without_metadata(env: Environment, forge: Forge) -> None:
    env.install(forge.wheel("zoo-plain", {"zoo_plain.py": ""}))
    (env.site / "zoo_plain-1.0.0.dist-info" / "METADATA").unlink()
    title, code, *_ = env.only(status=1)
    assert (title, code) == ("metadata", "metadata-unreadable")


def test_half_an_uninstall(env: Environment, forge: Forge) -> None:
    files = {f"zoo_half/{name}.py": "" for name in ("__init__", "one", "two")}
    env.install(forge.wheel("zoo-half", files))
    for file in ("one.py", "two.py"):
        (env.site / "zoo_half" / file).unlink()
    title, code, message, hint = env.only(status=1)
    assert (title, code) == ("whole installs", "distribution-incomplete")
    assert "zoo-half 1.0.0 lists 3 files, of which 2 are gone" in message
    assert "pip install --force-reinstall --no-deps zoo-half==1.0.0" in hint


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ('edit = "zoo_edit:New"', 'edit = "zoo_edit:Other"', "the entry point 'edit' is 'zoo_edit:Other'"),
        ('edit = "zoo_edit:New"', 'edit = "zoo_edit:New"\nmore = "zoo_edit:New"', "the entry point 'more' is new"),
        ('edit = "zoo_edit:New"', "", "the entry point 'edit' is no longer there"),
        ("pluginapi~=1.0", "pluginapi~=2.0", "the pin is pluginapi~=2.0, pluginapi~=1.0 is installed"),
        ('version = "1.0.0"', 'version = "1.1.0"', "the version is 1.1.0, 1.0.0 is installed"),
        ('contracts = ["Greeter"]', 'contracts = ["Handler"]', "the contracts or capabilities of 'edit' are others"),
        ('["Greeter"]', '["Greeter"]\ncapabilities = ["x"]', "the contracts or capabilities of 'edit' are others"),
        ('["Greeter"]', '["Greeter"]\nrequires.plugins = ["english"]', "what 'edit' requires is something else"),
        ("[project]", "[project", "its pyproject.toml cannot be read"),
    ],
)
def test_an_editable_whose_project_changed(env: Environment, old: str, new: str, difference: str) -> None:
    project = env.project()
    assert old in PYPROJECT
    (project / "pyproject.toml").write_text(PYPROJECT.replace(old, new, 1))
    title, code, message, hint = env.only(status=1)
    assert (title, code) == ("manifests", "manifest-stale")
    assert difference in message
    assert hint == f"install it again: pip install -e {project}"
    if "capabilities" in new or "requires" in new or "1.1.0" in new:  # the others do not build, which the hook tells
        env.install("--editable", project)
        assert env("--strict").returncode == 0


def test_an_editable_that_says_the_same_in_other_words(env: Environment) -> None:
    project = env.project(PYPROJECT + '[project.optional-dependencies]\nlater = ["pluginapi>=1.0"]\n')
    assert env("--strict").returncode == 0
    same = PYPROJECT.replace('"1.0.0"', '"v1.0.0"').replace("pluginapi~=1.0", "PluginAPI ~= 1.0")
    (project / "pyproject.toml").write_text(same.replace('"zoo_edit:New"', '"zoo_edit : New"'))
    assert env("--strict").returncode == 0


def test_an_editable_with_its_first_plugin(env: Environment) -> None:
    project = env.project(PYPROJECT.partition("[project.entry-points")[0] + "[tool.hatch.build.targets.wheel]\n"
                          'only-include = ["zoo_edit.py"]\n')  # fmt: skip
    assert env("--strict").returncode == 0
    (project / "pyproject.toml").write_text(PYPROJECT)
    assert "the entry point 'edit' is new" in env.only(status=1)[2]


def test_an_editable_whose_project_is_gone(env: Environment) -> None:
    shutil.rmtree(env.project())
    title, code, message, hint = env.only(status=1)
    assert (title, code) == ("whole installs", "distribution-incomplete")
    assert "which is not there" in message
    assert "pip uninstall zoo-edit" in hint


def test_an_editable_api_whose_structure_changed(env: Environment) -> None:
    """The API of an application, installed as editable; a comment changes nothing, an argument does."""
    project = env.folder / "api"
    (project / "zoo_api").mkdir(parents=True)
    module = project / "zoo_api" / "__init__.py"
    module.write_text("from pluginapi import Plugin\n\nclass Paint(Plugin):\n    def paint(self) -> None: ...\n")
    (project / "pyproject.toml").write_text(
        PYPROJECT.partition("[project.entry-points")[0].replace("zoo-edit", "zoo-api")
        + '[tool.pluginapi]\nprovides = "zoo_api"\n[tool.hatch.build.targets.wheel]\npackages = ["zoo_api"]\n'
        + "[tool.hatch.build.targets.wheel.hooks.pluginapi]\n"
    )
    env.install("--editable", project)
    words = ("--api", "zoo_api", "--group", "zoo.plugins")
    module.write_text(f"# a comment\n{module.read_text()}")
    assert env(*words, "--strict").returncode == 0
    module.write_text(module.read_text().replace("(self)", "(self, colour: str)"))
    title, code, message, hint = env.only(*words, status=1)
    assert (title, code) == ("manifests", "manifest-stale")
    assert "the structure of zoo_api is sha256:" in message
    assert hint == f"install it again: pip install -e {project}"
    env.install("--editable", project)
    assert env(*words, "--strict").returncode == 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{there}", "PYTHONPATH adds {there}"),
        ("{there}/gone", "PYTHONPATH adds {there}/gone, which is not there"),
        ("relative", "PYTHONPATH adds 'relative', which is relative"),
    ],
)
def test_pythonpath(env: Environment, tmp_path: Path, value: str, message: str) -> None:
    there = tmp_path / "there"
    there.mkdir()
    title, code, told, _ = env.only(status=0, env={"PYTHONPATH": value.format(there=there)})
    assert (title, code) == ("search path", "path-edited")
    assert told.startswith(message.format(there=there))
    assert env("--strict", env={"PYTHONPATH": value.format(there=there)}).returncode == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{there}", "adds {there}, and is no editable install's"),
        ("{there}/gone", "adds {there}/gone, which is not there"),
        ("import sys; sys.path.append('{there}')", "runs code each time Python starts, and no distribution brings it"),
    ],
)
def test_a_pth_file_that_no_distribution_brought(env: Environment, tmp_path: Path, line: str, told: str) -> None:
    there = tmp_path / "there"
    there.mkdir()
    pth = env.site / "mine.pth"
    pth.write_text(f"# a comment\n{line.format(there=there)}\n")
    findings = env.found(status=0)["search path"]
    assert findings[0]["code"] == "path-edited"
    assert f"{pth} {told.format(there=there)}" in findings[0]["message"]
    if line.startswith("import"):  # what it added is seen too
        assert f"{there} is on sys.path" in findings[1]["message"]
    else:
        assert len(findings) == 1


def test_a_pth_file_of_a_wheel(env: Environment, forge: Forge, tmp_path: Path) -> None:
    """What it runs, and adds within its own folder, is its affair, as with coverage and pywin32; a far folder is not."""
    far = tmp_path / "far"
    far.mkdir()
    files = {"zoo_pth.pth": "import os\nzoo_pth\n", "zoo_pth/__init__.py": ""}
    env.install(forge.wheel("zoo-pth", files))
    assert env("--strict").returncode == 0
    files["zoo_pth.pth"] += f"{far}\n"
    env.install(forge.wheel("zoo-pth", files, version="1.1.0"))
    assert f"adds {far}, by zoo-pth 1.1.0, which is no editable install" in env.only(status=0)[2]


def test_what_a_virtualenv_writes_is_no_edit(env: Environment) -> None:
    (env.site / "_virtualenv.pth").write_text("import _virtualenv")
    (env.site / "_virtualenv.py").touch()
    assert env("--strict").returncode == 0


def test_a_folder_that_anybody_may_write_to(env: Environment, tmp_path: Path) -> None:
    env.site.chmod(0o777)
    try:
        title, code, message, hint = env.only(status=0)
    finally:
        env.site.chmod(0o755)
    assert (title, code) == ("search path", "path-edited")
    assert "anybody may write modules into it" in message
    assert hint == f"forbid it: chmod o-w {env.site}"


def test_a_plugin_that_imports_the_host_or_registers_itself(env: Environment, forge: Forge) -> None:
    source = f"import pluginhost\nimport click\n{GREETER}\nclick.register(Some)\n"
    env.install(forge.wheel("zoo-habit", {"zoo_habit.py": source}, 'habit = "zoo_habit:New"'))
    findings = env.found(status=0)["habits"]
    assert [finding["code"] for finding in findings] == ["import-habit", "import-habit"]
    assert [finding["message"].rpartition(" ")[2] for finding in findings] == ["1", "15"]


def test_findings_follow_with_their_mend(env: Environment) -> None:
    (env.site / "~lugin_old-1.0.dist-info").mkdir()
    done = env()
    assert "warning  whole installs " in done.stdout
    assert done.stderr.startswith("\n[distribution-leftover] ")
    assert "\nhint: remove the folder: " in done.stderr


def test_a_folder_of_packages_on_pythonpath_is_examined_too(forge: Forge, command: Command) -> None:
    forge.plugin("fine")
    done = command("doctor")
    assert done.returncode == 0
    assert b"[path-edited] PYTHONPATH adds" in done.stderr


FAILING = {
    "lacks": ("import nothere\n", "registered", "dependency-missing", "one of its extras may bring it"),
    "extra": ("import fast_thing\n", "registered", "dependency-missing", "pip install 'zoo-extra[fast]'"),
    "says": (
        "raise ImportError('get fast-thing')\n",
        "registered",
        "dependency-missing",
        "pip install 'zoo-says[fast]'",
    ),
    "older": ("import click.nothere\n", "registered", "import-failed", "has no module 'click.nothere'"),
    "raises": ("1 / 0\n", "registered", "import-failed", "tell the author of zoo-raises"),
    "exits": ("import os\nos._exit(3)\n", "registered", "probe-crashed", "tell the author of zoo-exits"),
    "empty": ("x = 1\n", "importable", "symbol-missing", "define 'New'"),
    "made": ("def New():\n    1 / 0\n", "importable", "factory-failed", "tell the author of zoo-made"),
    "wrong": ("def New():\n    return 1\n", "constructible", "wrong-type", ""),
}


def verdicts(env: Environment, *words: str, status: int) -> dict[str, dict[str, Any]]:
    """Returns what `doctor --load` says of each plugin of the forge's."""
    done = env("--load", "--json", *words)
    assert done.returncode == status, done.stdout + done.stderr
    return {plugin["name"]: plugin for plugin in json.loads(done.stdout)["plugins"] if plugin["name"] != "english"}


def test_what_fails_to_load_is_told_by_its_cause_with_a_mend_and_what_loads_is_not(
    env: Environment, forge: Forge
) -> None:
    project = '[project.optional-dependencies]\nfast = ["fast-thing"]'
    for name, (source, *_) in {**FAILING, "fine": (GREETER,)}.items():
        env.install(
            forge.wheel(f"zoo-{name}", {f"zoo_{name}.py": source}, f'{name} = "zoo_{name}:New"', project=project)
        )
    found = verdicts(env, status=1)
    assert set(found) == {*FAILING, "fine"}
    assert (found["fine"]["reached"], found["fine"]["state"], found["fine"]["findings"]) == ("usable", "ok", [])
    for name, (_, reached, code, hint) in FAILING.items():
        [finding] = found[name]["findings"]
        assert (found[name]["reached"], found[name]["state"], finding["code"]) == (reached, "error", code), name
        assert hint in finding["hint"], name


def test_a_group_without_an_api_is_imported_and_nothing_is_called(env: Environment, forge: Forge) -> None:
    """What it does to the process is a warning there: it loads."""
    sources = {
        "called": "def New():\n    raise SystemExit\n",
        "module": "",
        "unsafe": "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ndef New(): ...\n",
        "broken": "import nothere\n",
    }
    for name, source in sources.items():
        value = f"zoo_{name}" if name == "module" else f"zoo_{name}:New"
        env.install(forge.wheel(f"zoo-{name}", {f"zoo_{name}.py": source}, f'{name} = "{value}"', dependencies=()))
    found = verdicts(env, "--api", "none", status=1)
    assert [finding["code"] for finding in found["unsafe"]["findings"]] == ["process-unsafe"]
    assert {name: (each["reached"], each["state"]) for name, each in found.items()} == {
        "called": ("importable", "ok"),
        "module": ("importable", "ok"),
        "unsafe": ("importable", "warning"),
        "broken": ("registered", "error"),
    }


def test_habits_at_import_are_told(env: Environment, forge: Forge, tmp_path: Path) -> None:
    read = tmp_path / "read.txt"
    read.touch()
    source = f"""
import socket, threading
open({str(read)!r}).close()
socket.socket().close()
threading.Thread(target=threading.Event().wait, name="zoo", daemon=True).start()
{GREETER}"""
    env.install(forge.wheel("zoo-habit", {"zoo_habit.py": source}, 'habit = "zoo_habit:New"'))
    habit = verdicts(env, status=0)["habit"]
    assert (habit["reached"], habit["state"]) == ("usable", "warning")
    assert {finding["code"] for finding in habit["findings"]} == {"import-habit", "work-begun"}
    messages = " ".join(finding["message"] for finding in habit["findings"])
    for told in (f"its import reads files: {read}", "its import opens sockets: ", "started threads: zoo"):
        assert told in messages


def test_a_group_whose_plugins_are_not_pinned_has_no_api(env: Environment) -> None:
    checks = [check["title"] for check in json.loads(env("--group", "console_scripts", "--json").stdout)["checks"]]
    assert "pins" not in checks
    asked = env("--group", "console_scripts", "--api", "pluginapi", "--json")
    assert "pins" in [check["title"] for check in json.loads(asked.stdout)["checks"]]
    assert "pin-missing" in asked.stdout


def test_what_is_refused_is_not_loaded(env: Environment, forge: Forge, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    source = f"open({str(mark)!r}, 'w').close()\n{GREETER}"
    wheel = forge.wheel("zoo-late", {"zoo_late.py": source}, 'late = "zoo_late:New"', dependencies=("pluginapi~=2.0",))
    env.install(wheel)
    late = verdicts(env, status=1)["late"]
    assert (late["reached"], late["state"]) == ("registered", "error")
    assert not mark.exists()


def test_a_terminal_sees_progress_and_a_pipe_does_not(env: Environment) -> None:
    assert env("--load").stderr == ""
    first, second = pty.openpty()
    with subprocess.Popen(
        [env.bin / "pluginhost", "doctor", "--load"],
        env={"PATH": os.environ["PATH"], "HOME": str(env.folder), "TERM": "xterm"},
        stdout=subprocess.DEVNULL, stderr=second, cwd=env.folder,
    ) as process:  # fmt: skip
        os.close(second)
        seen = b""
        while True:
            try:
                data = os.read(first, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            seen += data
    os.close(first)
    assert process.returncode == 0
    assert b"loading" in seen
