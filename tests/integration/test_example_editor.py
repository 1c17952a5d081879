"""The example editor: its languages are wheels that were really built and installed, and one that fails costs no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from forge import ROOT, Forge

EDITOR = ROOT / "examples" / "editor"

LANGUAGE = """
from editor_api import Entry, Language, PluginError, Problem

class Some(Language):
    suffixes = (".some",)

    def outline(self, text: str) -> list[Entry]:
        return [Entry(1, 1, "some")]

    def check(self, text: str) -> list[Problem]:
        return []

def New() -> Some:
    return Some()
"""

BROKEN = {
    "import-failed": f"1 / 0\n{LANGUAGE}",
    "symbol-missing": LANGUAGE.replace("def New()", "def Now()"),
    "factory-failed": LANGUAGE.replace("return Some()", "raise ValueError('no')"),
    "wrong-type": "def New() -> object:\n    return object()\n",
    "contract-broken": LANGUAGE.replace("suffixes = ", "endings = "),
    "init-failed": LANGUAGE.replace("    def check", "    def init(self, host):\n        1 / 0\n\n    def check"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the API and the languages of the example are installed."""
    forge = Forge(tmp_path_factory.mktemp("editor"))
    forge.install(*forge.build(EDITOR / "editor-api"))
    return forge.install(*forge.build(*EDITOR.glob("languages/*")))


def language(forge: Forge, name: str, source: str = LANGUAGE, pin: str = "editor-api~=1.0") -> None:
    """Installs a language of one module, without a manifest."""
    module = f"zoo_{name.replace('-', '_')}"
    entry_point = f'[project.entry-points."editor.languages"]\n{name} = "{module}:New"'
    forge.install(forge.wheel(f"zoo-{name}", {f"{module}.py": source}, project=entry_point, dependencies=(pin,)))


def edit(folder: Path, *words: str, path: list[Path]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-W", "error", EDITOR / "editor.py", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, check=False, encoding="utf-8", timeout=60
    )


@pytest.mark.parametrize(
    ("file", "text", "outline", "problems"),
    [
        ("a.md", "# A\n\n```\n# no heading\n```\n\n## B ##\n", ["1: A", "7:   B"], []),
        (
            "a.md",
            "## B\n#### D\n~~~sh\n```\n",
            ["1:   B", "2:       D"],
            [
                "1: problem: this heading of level 2 follows none",
                "2: problem: this heading of level 4 follows one of level 2",
                "3: problem: this block of code does not end",
            ],
        ),
        ("a.json", '{"a": [{"b": "c: {"}],\n "d": 1}', ["1: a", "1:     b", "2: d"], []),
        ("a.json", '{"a": 1,\n "a": 2}', ["1: a", "2: a"], ["2: problem: the key a is here twice"]),
        ("a.json", '{"a": 1,\n}', ["1: a"], None),
        (
            "a.py",
            "class A:\n    async def b(self): pass\ndef c(): pass\n",
            ["1: class A", "2:   async def b", "3: def c"],
            [],
        ),
        ("a.py", "def a(:\n", ["1: def a"], None),
        ("a.py", "a = '\\d'\n", [], None),
        (
            "a.py",
            "def a(b={}):\n    try: b()\n    except: pass\n",
            ["1: def a"],
            [
                "1: problem: all calls share this default, and see its changes",
                "3: problem: this `except` catches Ctrl-C too; name what it should catch",
            ],
        ),
    ],
)
def test_each_language_has_outlines_and_problems(
    tmp_path: Path, site: Path, file: str, text: str, outline: list[str], problems: list[str] | None
) -> None:
    """`None` stands for one problem, whose words are those of the Python that runs this."""
    (tmp_path / file).write_text(text, "utf-8")
    both = edit(tmp_path, file, path=[site])
    shown = [line.removeprefix(f"{file}:") for line in both.stdout.splitlines()]
    assert shown[: len(outline)] == outline
    found = shown[len(outline) :]
    assert found == problems or (problems is None and len(found) == 1)
    assert (both.stderr, both.returncode) == ("", 1 if found else 0)


def test_outline_and_check_can_be_asked_for_alone(tmp_path: Path, site: Path) -> None:
    (tmp_path / "a.md").write_text("## B\n")
    done = edit(tmp_path, "a.md", "--outline", path=[site])
    assert (done.stdout, done.returncode) == ("a.md:1:   B\n", 0)
    done = edit(tmp_path, "a.md", "--check", path=[site])
    assert (done.stdout, done.returncode) == ("a.md:1: problem: this heading of level 2 follows none\n", 1)


@pytest.mark.parametrize(
    ("file", "text", "formatted"),
    [
        ("a.md", "# A\nb  \nc \n\n\n##  B ##\n```\n# x \n\n\n```", "# A\n\nb  \nc\n\n## B\n\n```\n# x \n\n\n```\n"),
        ("a.json", '{"ä": [1, {}]}', '{\n  "ä": [\n    1,\n    {}\n  ]\n}\n'),
    ],
)
def test_format_writes_the_file_anew_and_a_second_time_does_nothing(
    tmp_path: Path, site: Path, file: str, text: str, formatted: str
) -> None:
    (tmp_path / file).write_text(text, "utf-8")
    for told in ("formatted", "nothing to format"):
        done = edit(tmp_path, "--format", file, path=[site])
        assert (done.stdout, done.stderr, done.returncode) == (f"{file}: {told}\n", "", 0)
        assert (tmp_path / file).read_text("utf-8") == formatted


def test_what_cannot_be_done_is_told_and_the_other_files_are_done(tmp_path: Path, site: Path) -> None:
    files = {"a.py": "x=1\n", "b.rs": "", "Makefile": "", "c.json": '{"a": 1, "a": 2}', "e.md": "# E"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "f.md").write_bytes(b"\xff")
    done = edit(tmp_path, "--format", "a.py", "b.rs", "Makefile", "c.json", "d.md", "e.md", "f.md", path=[site])
    assert (done.stdout, done.returncode) == ("e.md: formatted\n", 1)
    *told, missing, undecodable = done.stderr.splitlines()
    assert told == [
        "a.py: python does not format; languages that do: json, markdown",
        "b.rs: no language for .rs; there are: .json, .markdown, .md, .py, .pyi",
        "Makefile: no language for a name without suffix; there are: .json, .markdown, .md, .py, .pyi",
        "c.json: line 1: the key a is here twice",
    ]
    assert missing.startswith("d.md: ")
    assert undecodable.startswith("f.md: ")
    assert {name: (tmp_path / name).read_text() for name in files} == files | {"e.md": "# E\n"}


def test_a_broken_language_of_each_kind_is_told_and_skipped(tmp_path: Path, site: Path, forge: Forge) -> None:
    for code, source in BROKEN.items():
        language(forge, code, source)
    language(forge, "pin-unsatisfied", pin="editor-api~=2.0")
    (tmp_path / "a.md").write_text("# A\n")
    done = edit(tmp_path, "a.md", path=[site, forge.site])
    assert (done.stdout, done.returncode) == ("a.md:1: A\n", 0)
    for code in (*BROKEN, "pin-unsatisfied"):
        assert f"[{code}] " in done.stderr, code
    assert done.stderr.count("hint: ") == len(BROKEN) + 1


def test_a_language_whose_method_fails_costs_only_its_files(tmp_path: Path, site: Path, forge: Forge) -> None:
    language(forge, "fails", LANGUAGE.replace("return []", "raise KeyError('oops')"))
    (tmp_path / "a.some").touch()
    (tmp_path / "b.md").write_text("# B\n")
    done = edit(tmp_path, "a.some", "b.md", path=[site, forge.site])
    assert done.stdout == "a.some:1: some\nb.md:1: B\n"
    where = f"in {forge.site}/zoo_fails.py, line 11"
    told = f"a.some: its language failed: fails (zoo-fails 1.0.0): check raised KeyError: 'oops', {where}\n"
    assert (done.stderr, done.returncode) == (told, 1)


def test_two_languages_of_one_suffix_are_told(tmp_path: Path, site: Path, forge: Forge) -> None:
    language(forge, "other", LANGUAGE.replace(".some", ".md"))
    (tmp_path / "a.md").touch()
    done = edit(tmp_path, "a.md", path=[site, forge.site])
    assert done.stderr == "a.md: .md belongs to markdown and to other; uninstall all but one of them\n"
    assert done.returncode == 1


def test_what_a_language_says_of_itself_agrees(site: Path) -> None:
    """A module's `Capabilities` are those of its manifest."""
    code = """
from pluginhost import PluginManager
with PluginManager(group="editor.languages", api="editor_api") as manager:
    for row in manager.survey():
        said = manager.handle(row.name).lookup("Capabilities", tuple[str, ...]).get()
        print(row.name, row.state, row.contracts, list(said) == row.capabilities, *said)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "json ready ['Language'] True format",
        "markdown ready ['Language'] True format",
        "python ready ['Language'] True",
    ]


def test_the_host_is_short() -> None:
    assert len((EDITOR / "editor.py").read_text("utf-8").splitlines()) < 150
