"""The example build tool: its tasks are wheels that were really built and installed, and one that fails costs no other."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from forge import ROOT, Forge

BUILD_TOOL = ROOT / "examples" / "build_tool"


TASK = """
from build_api import Context, PluginError, Result, Task

class Some(Task):
    def run(self, context: Context) -> Result:
        return Result("some")

def New() -> Some:
    return Some()
"""

BROKEN = {
    "import-failed": f"1 / 0\n{TASK}",
    "symbol-missing": TASK.replace("def New()", "def Now()"),
    "factory-failed": TASK.replace("return Some()", "raise ValueError('no')"),
    "wrong-type": "def New() -> object:\n    return object()\n",
    "contract-broken": TASK.replace("def run(self, context: Context)", "def run(self)"),
    "init-failed": TASK.replace("    def run", "    def init(self, host):\n        1 / 0\n\n    def run"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    """A forge with the wheels of the API and the tasks of the example, and a folder in which they are installed."""
    forge = Forge(tmp_path_factory.mktemp("build_tool"))
    forge.install(*forge.build(BUILD_TOOL / "build-api"))
    tasks = shutil.copytree(BUILD_TOOL / "tasks", forge.folder / "tasks")
    forge.install(*forge.build(*tasks.iterdir()))
    return forge


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of three modules."""
    folder = tmp_path / "project"
    (folder / "src" / "words").mkdir(parents=True)
    (folder / "src" / "__main__.py").write_text("from words import hello\nprint(hello.TEXT)\n")
    (folder / "src" / "words" / "__init__.py").touch()
    (folder / "src" / "words" / "hello.py").write_text("TEXT = 'Hello'\n")
    return folder


def task(forge: Forge, name: str, source: str = TASK, pin: str = "build-api~=1.0") -> None:
    """Installs a task of one module, without a manifest."""
    module = f"zoo_{name.replace('-', '_')}"
    entry_point = f'[project.entry-points."build.tasks"]\n{name} = "{module}:New"'
    forge.install(forge.wheel(f"zoo-{name}", {f"{module}.py": source}, project=entry_point, dependencies=(pin,)))


def stamped_task(forge: Forge, name: str, requires: str) -> None:
    """Installs a task whose manifest tells of the tasks that it requires; the API is in the same folder already."""
    folder = forge.folder / "tasks" / name
    shutil.copytree(BUILD_TOOL / "tasks" / "clean", folder)
    (folder / "build_clean.py").rename(folder / f"build_{name}.py").write_text(TASK)
    pyproject = (folder / "pyproject.toml").read_text().replace("clean", name)
    contracts = 'contracts = ["Task"]\n'
    told = f"{contracts}requires = {{ plugins = {json.dumps(requires.split())} }}\n"
    (folder / "pyproject.toml").write_text(pyproject.replace(contracts, told))
    forge.install(*forge.build(folder))


def build(project: Path, *tasks: str, path: list[Path]) -> subprocess.CompletedProcess[str]:
    """Returns the finished build, without the seconds that each task took."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-W", "error", BUILD_TOOL / "build.py", *tasks]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, check=False, encoding="utf-8", timeout=60
    )
    done.stdout = re.sub(r" \(\d+\.\d\d s\)$", "", done.stdout, flags=re.MULTILINE)
    return done


def test_each_task_does_its_part(project: Path, built: Forge) -> None:
    done = build(project, "clean", "compile", "archive", "checksum", path=[built.site])
    assert done.stdout.splitlines() == [
        "clean: there is no dist",
        "compile: sources compiled: 3",
        "archive: dist/app.zip, files in it: 3",
        "checksum: dist/SHA256SUMS, files summed: 4",
    ]
    assert (done.stderr, done.returncode) == ("", 0)
    dist = project / "dist"
    sums = [line.split("  ") for line in (dist / "SHA256SUMS").read_text().splitlines()]
    assert [name for _, name in sums] == [
        "app.zip",
        "compiled/__main__.pyc",
        *(f"compiled/words/{name}.pyc" for name in ("__init__", "hello")),
    ]
    assert [digest for digest, _ in sums] == [
        hashlib.sha256((dist / name).read_bytes()).hexdigest() for _, name in sums
    ]
    program = subprocess.run([sys.executable, dist / "app.zip"], capture_output=True, text=True, check=True)
    assert program.stdout == "Hello\n"
    assert build(project, "clean", path=[built.site]).stdout == "clean: removed dist\n"
    assert not dist.exists()


def test_the_same_sources_are_the_same_archive(project: Path, built: Forge) -> None:
    archives = []
    for time in (1_000_000_000, 1_700_000_000):
        os.utime(project / "src" / "__main__.py", (time, time))
        (project / "src" / "__main__.py").chmod(0o600 if archives else 0o755)
        build(project, "clean", "compile", "archive", path=[built.site])
        archives.append((project / "dist" / "app.zip").read_bytes())
    assert archives[0] == archives[1]


def test_options_come_from_build_toml(project: Path, built: Forge) -> None:
    (project / "build.toml").write_text(
        '[tasks.archive]\nname = "ä.zip"\n[tasks.checksum]\nfile = "SUMS"\n[tasks.compile]\noptimize = 2\n'
    )
    done = build(project, "compile", "archive", "checksum", path=[built.site])
    assert (done.stderr, done.returncode) == ("", 0)
    assert {"compiled", "SUMS", "ä.zip"} == {path.name for path in (project / "dist").iterdir()}


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        (b"[tasks", "build.toml: "),
        (b"\xff", "build.toml: "),
        (b"tasks = 3", "build.toml: tasks is 3; write a table [tasks.NAME] for each task\n"),
        (b"tasks.clean = 3", "[configuration-wrong] plugins.clean.config is 3\nhint: write a table\n"),
    ],
)
def test_a_build_toml_that_is_wrong_is_told(project: Path, built: Forge, toml: bytes, told: str) -> None:
    (project / "build.toml").write_bytes(toml)
    done = build(project, "clean", path=[built.site])
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith(told)
    assert "Traceback" not in done.stderr


def test_options_of_a_task_that_is_not_there_are_told(project: Path, built: Forge) -> None:
    (project / "build.toml").write_text("[tasks.arkive]\n")
    done = build(project, "clean", path=[built.site])
    assert (done.stdout, done.returncode) == ("clean: there is no dist\n", 0)
    assert done.stderr == "build.toml: there is no task arkive; did you mean archive?\n"


def test_an_unknown_task_is_told_with_those_of_near_names(project: Path, built: Forge) -> None:
    for name, near in [("arkive", "did you mean archive?"), ("xyz", "there are: archive, checksum, clean, compile")]:
        done = build(project, "clean", name, path=[built.site])
        assert (done.stdout, done.returncode) == ("", 1)
        assert done.stderr == f"there is no task {name}; {near}\n"


def test_a_broken_task_of_each_kind_is_told_and_skipped(project: Path, built: Forge, forge: Forge) -> None:
    for code, source in BROKEN.items():
        task(forge, code, source)
    task(forge, "pin-unsatisfied", pin="build-api~=2.0")
    done = build(project, "clean", "compile", path=[built.site, forge.site])
    assert done.stdout.splitlines() == ["clean: there is no dist", "compile: sources compiled: 3"]
    assert done.returncode == 0
    for code in (*BROKEN, "pin-unsatisfied"):
        assert f"[{code}] " in done.stderr, code
    done = build(project, "clean", "init-failed", path=[built.site, forge.site])
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.endswith("\nthe task init-failed is installed, but cannot run; the reason stands above\n")


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("raise PluginError('no disk')", "no disk"),
        (
            "raise KeyError('oops')",
            "fails (zoo-fails 1.0.0): run raised KeyError: 'oops', in {site}/zoo_fails.py, line 6",
        ),
        ("raise SystemExit(0)", "fails (zoo-fails 1.0.0): run raised SystemExit: 0, in {site}/zoo_fails.py, line 6"),
        ("return Result('x', (context.output / 'x',))", "it says that it wrote {dist}/x, which is not there"),
    ],
)
def test_a_task_that_fails_is_told_and_others_run(
    project: Path, built: Forge, forge: Forge, does: str, told: str
) -> None:
    task(forge, "fails", TASK.replace('return Result("some")', does))
    done = build(project, "fails", "clean", path=[built.site, forge.site])
    told = told.format(dist=project.resolve() / "dist", site=forge.site)
    assert done.stdout.splitlines() == [f"fails: failed: {told}", "clean: there is no dist"]
    assert (done.stderr, done.returncode) == ("", 1)


def test_a_source_that_does_not_compile_is_told(project: Path, built: Forge) -> None:
    (project / "src" / "words" / "hello.py").write_text("x = (\n")
    done = build(project, "compile", path=[built.site])
    assert done.stdout.splitlines()[-1] == "compile: failed: src/words/hello.py:1: '(' was never closed"
    assert done.returncode == 1


def test_a_task_runs_after_all_that_it_requires(project: Path, built: Forge) -> None:
    listed = build(project, path=[built.site])
    assert listed.stdout == "archive: requires compile\nchecksum: requires archive\nclean\ncompile: requires clean\n"
    for tasks in (["checksum"], ["checksum", "clean"], ["archive", "checksum", "compile"]):
        done = build(project, *tasks, path=[built.site])
        assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
            "clean",
            "compile",
            "archive",
            "checksum",
        ]


def test_a_task_that_fails_stops_those_that_depend_on_it(project: Path, built: Forge, forge: Forge) -> None:
    task(forge, "other")
    (project / "src" / "__main__.py").write_text("x = (\n")
    done = build(project, "checksum", "other", path=[built.site, forge.site])
    assert sorted(done.stdout.splitlines()) == [
        "archive: not run, since it requires compile",
        "checksum: not run, since it requires archive",
        "clean: there is no dist",
        "compile: failed: src/__main__.py:1: '(' was never closed",
        "other: some",
    ]
    assert (done.stderr, done.returncode) == ("", 1)


@pytest.mark.parametrize(("name", "told"), [("one", "two"), ("two", "one"), ("three", "absent")])
def test_tasks_that_require_each_other_or_one_that_is_missing_do_not_run(
    project: Path, built: Forge, forge: Forge, name: str, told: str
) -> None:
    """The host's own word, or the build tool's, names the other."""
    forge.install(*built.folder.glob("wheels/*.whl"))
    for each, requires in [("one", "two"), ("two", "clean one"), ("three", "absent")]:
        stamped_task(forge, each, requires)
    done = build(project, name, path=[forge.site])
    assert (done.stdout, done.returncode) == ("", 1)
    assert name in done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert build(project, "clean", path=[forge.site]).stdout == "clean: there is no dist\n"


def test_the_host_is_short() -> None:
    assert len((BUILD_TOOL / "build.py").read_text("utf-8").splitlines()) < 150
