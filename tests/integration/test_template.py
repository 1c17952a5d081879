"""`pluginhost new` writes projects that build, test themselves and, installed, are listed and called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
WHEELHOUSE = Path(os.environ["PLUGINHOST_WHEELHOUSE"])

CALLS = [
    # contract, NAME, method and arguments, result; the names are also those that are hard to make a module of
    ("Greeter", "my-plugin", ["greet", "Ada"], "Hello, Ada!"),
    ("Transformer", "plugin2", ["transform", "Hello"], "hELLO"),
    ("Operation", "a-b-c", ["execute", "17", "5"], 2.0),
    ("Handler", "new", ["handle", '{"id": "1", "body": "aGVsbG8="}'], {"status": 200, "body": "SEVMTE8="}),
]


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True,
        encoding="utf-8", check=False,
    )  # fmt: skip


def output_of(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = run(*command, cwd=cwd, **environment)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def new(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(BIN / "pluginhost", "new", *arguments, cwd=cwd, **environment)


def install(project: Path, site: Path, *, isolated: bool) -> None:
    """Builds the project's wheel as its README tells, and installs it into a folder."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    index = ("--no-index", "--find-links", str(WHEELHOUSE))
    isolation = () if isolated else ("--no-build-isolation",)
    output_of(*pip, "wheel", *index, *isolation, "--no-deps", "--wheel-dir", "dist", ".", cwd=project)
    (wheel,) = project.glob("dist/*.whl")
    output_of(*pip, "install", "--no-index", "--no-deps", "--target", str(site), str(wheel), cwd=project)


@pytest.mark.parametrize(("contract", "name", "call", "result"), CALLS, ids=[call[0] for call in CALLS])
def test_a_new_project_works(tmp_path: Path, contract: str, name: str, call: list[str], result: object) -> None:
    """A project of each contract builds, is listed with its contract, is called, and passes its own tests.

    Greeter's is built in isolation, with nothing but the wheelhouse to take the build's requirements from.
    """
    made = new(name, "--contract", contract, cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    assert str(Path(name, "README.md")) in made.stdout
    assert list(tmp_path.iterdir()) == [tmp_path / name]

    project, site = tmp_path / name, tmp_path / "site"
    install(project, site, isolated=contract == "Greeter")
    path = {"PYTHONPATH": str(site)}

    survey = json.loads(output_of(BIN / "pluginhost", "list", "--json", cwd=tmp_path, **path))
    (row,) = [row for row in survey["plugins"] if row["name"] == name]
    assert (row["distribution"], row["state"], row["findings"]) == (name, "ready", [])
    assert row["contracts"] == [contract]

    called = json.loads(output_of(BIN / "pluginhost", "call", "--json", name, *call, cwd=tmp_path, **path))
    assert called["result"] == result

    tested = output_of(BIN / "pytest", "-v", "-W", "error", "-p", "no:cacheprovider", cwd=project, **path)
    assert f"test_{name.replace('-', '_')}.py::test_a_host_gets_it_as_installed PASSED" in tested


def test_a_project_has_only_what_its_author_needs(tmp_path: Path) -> None:
    """The project is these files, with no trace of the template in their names or text."""
    assert new("my-plugin", cwd=tmp_path).returncode == 0
    project = tmp_path / "my-plugin"
    written = {file.relative_to(project).as_posix(): file for file in project.rglob("*") if file.is_file()}
    assert sorted(written) == [".gitignore", "README.md", "my_plugin.py", "pyproject.toml", "tests/test_my_plugin.py"]
    for name, file in written.items():
        text = file.read_text("utf-8")
        assert "{{" not in text, name
        assert "{%" not in text, name
        assert text.endswith("\n"), name
        assert not text.endswith("\n\n"), name
    assert "pip install --no-index --find-links WHEELHOUSE ." in written["README.md"].read_text("utf-8")


def test_it_leaves_nothing_to_chance(tmp_path: Path) -> None:
    """Copier's settings, a module called copier where the person stands, and git change nothing; git is not run."""
    tmp_path.joinpath("settings.yml").write_text("defaults: {module: other, class_name: Other}\n", "utf-8")
    tmp_path.joinpath("copier.py").write_text("raise SystemExit('not this one')\n", "utf-8")
    git = tmp_path / "git"
    git.write_text(f"#!/bin/sh\ntouch '{tmp_path}/git-ran'\n", "utf-8")
    git.chmod(0o755)
    environment = {"COPIER_SETTINGS_PATH": str(tmp_path / "settings.yml"), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    made = new("my-plugin", cwd=tmp_path, **environment)
    assert (made.returncode, made.stderr) == (0, "")
    assert "class MyPluginGreeter(Greeter)" in (tmp_path / "my-plugin" / "my_plugin.py").read_text("utf-8")
    assert not tmp_path.joinpath("git-ran").exists()


MALFORMED = ["My-Plugin", "my_plugin", "my.plugin", "my plugin", "2plugin", "a--b", "a-", "../a", "café", "", "a\n"]
TAKEN = ["class", "json", "test", "tests", "pluginapi", "pluginhost"]


@pytest.mark.parametrize("name", [*MALFORMED, *TAKEN])
def test_a_name_that_cannot_be_used_is_refused(tmp_path: Path, name: str) -> None:
    """What is no distribution's name, or whose module is a keyword or taken, ends with status 2 and leaves nothing."""
    refused = new(name, cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: [arguments-wrong] ")
    assert "\nhint: " in refused.stderr
    assert not list(tmp_path.iterdir())


def test_an_unknown_contract_is_refused(tmp_path: Path) -> None:
    """It ends with status 2, and names those that there are."""
    refused = new("my-plugin", "--contract", "Greter", cwd=tmp_path)
    assert refused.returncode == 2
    assert "'Greeter', 'Handler', 'Operation', 'Transformer'" in refused.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_a_target_that_exists_is_refused(tmp_path: Path, kind: str) -> None:
    """Whatever stands at the target stays as it is; the command ends with status 2."""
    target = tmp_path / "my-plugin"
    if kind == "folder":
        target.mkdir()
    elif kind == "file":
        target.write_text("mine", "utf-8")
    else:
        target.symlink_to("nowhere")
    refused = new("my-plugin", cwd=tmp_path)
    assert refused.returncode == 2
    assert "[target-exists] my-plugin exists already" in refused.stderr
    assert list(tmp_path.iterdir()) == [target]
    assert target.is_dir() == (kind == "folder")
    assert target.is_symlink() == (kind == "dangling link")
    assert kind != "file" or target.read_text("utf-8") == "mine"


def test_a_target_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A folder to write into that is not there is named, without a traceback, and status is 2."""
    refused = new("my-plugin", "--into", str(Path("missing", "target")), cwd=tmp_path)
    assert refused.returncode == 2
    assert f"[target-unwritable] {Path('missing', 'target')} cannot be written" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list(tmp_path.iterdir())


def test_copier_missing_is_told(tmp_path: Path) -> None:
    """Without copier the command says what to install, ends with status 2 and leaves nothing."""
    site, work = tmp_path / "site", tmp_path / "work"
    site.mkdir()
    work.mkdir()
    site.joinpath("sitecustomize.py").write_text("import sys; sys.modules['copier'] = None\n", "utf-8")
    refused = new("my-plugin", cwd=work, PYTHONPATH=str(site))
    assert refused.returncode == 2
    assert refused.stderr == "error: [tool-missing] `pluginhost new` needs copier\nhint: pip install copier\n"
    assert not list(work.iterdir())


def test_a_project_half_written_is_taken_away(tmp_path: Path) -> None:
    """When copier fails midway, the command tells its last word, ends with status 2 and leaves nothing."""
    fails, work = tmp_path / "site" / "copier", tmp_path / "work"
    fails.mkdir(parents=True)
    work.mkdir()
    fails.joinpath("__init__.py").touch()
    half = "from pathlib import Path; Path(sys.argv[-1], 'tests').mkdir(parents=True)"
    fails.joinpath("__main__.py").write_text(f"import sys; {half}; sys.exit('much\\nno room left')\n", "utf-8")
    refused = new("my-plugin", cwd=work, PYTHONPATH=str(fails.parent))
    assert refused.returncode == 2
    assert "error: [tool-failed] copier ended with 1: no room left" in refused.stderr
    assert not list(work.iterdir())
