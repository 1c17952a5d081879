"""Every example of README.md, docs/ and examples/ runs and prints what the page shows.

How a page is read:

- A `console` block is typed line by line: `$ command`, then what the command prints. `...` stands for any text; alone on
  a line, for any number of lines. A command that fails must be shown to fail: its next command is `echo $?`.
- Any other block whose introducing line ends with the name of a file and a colon is written to that file.
- A `python` block without such a name is run, and prints nothing. A `json` block without one is JSON.
- A `sh` block holds what cannot be run in a test: the commands of `NOT_RUN` and no other.
- A `go` block is a part of a program in `examples/`, which the page or the example's own test builds.
- A `text` block is a drawing, not an example.

All blocks of a page run one after the other, in a copy of the checkout and in an environment of the page's own.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shutil
import subprocess
import sysconfig
import venv
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pluginhost
import pytest
from forge import BIN
from goplugin.build import missing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

ROOT = Path(__file__).parent.parent.parent
WRITTEN = {ROOT / "docs" / "_build", ROOT / "docs" / "codes"}  # what building the documentation writes
DOCS = [page for page in ROOT.glob("docs/**/*.md") if not WRITTEN & {*page.parents}]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("examples/*/README.md"), *DOCS])
OF_GO = {ROOT / "docs" / "go.md", ROOT / "examples" / "goplugin" / "README.md"}  # these build programs in Go

# These build or fetch what the tests themselves are run with.
NOT_RUN = {
    "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox -s demo",
    "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox -s tests",
    ".venv/bin/nox -s build",
}

FENCE = re.compile(r"(`{3,})(\S*)\s*")
FILE = re.compile(r"`([\w./-]+\.\w+)`[^`]*:$")
MARK = "\x1e"


class Block(NamedTuple):
    """A fenced block: where it stands, its language, the file that its introduction names, and its text."""

    line: int
    language: str
    file: str
    text: str


class Step(NamedTuple):
    """A command of a `console` block, and what the page says that it prints."""

    command: str
    shown: str


def blocks(page: str) -> Iterator[Block]:
    """Yields a page's fenced blocks, without MyST's directives."""
    introduction, lines = "", iter(enumerate(page.splitlines(), 1))
    for number, line in lines:
        if fence := FENCE.fullmatch(line):
            body = []
            for _, inner in lines:
                if inner == fence[1]:
                    break
                body.append(inner)
            else:
                raise ValueError(f"line {number}: the block does not end")
            if not fence[2].startswith("{"):
                file = FILE.search(introduction)
                yield Block(number, fence[2], file[1] if file else "", "".join(f"{inner}\n" for inner in body))
        introduction = line.strip() or introduction


def steps(console: str) -> Iterator[Step]:
    """Yields a `console` block's commands; what stands before the first one is an error."""
    before, *commands = re.split(r"^\$ ", console, flags=re.MULTILINE)
    if before:
        raise ValueError(f"not a command: {before!r}")
    for command in commands:
        line, _, shown = command.partition("\n")
        yield Step(line, shown)


def agree(shown: str, printed: str) -> bool:
    """Returns whether a command printed what the page shows; blanks at the ends of lines do not count."""
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == "..." else re.escape(line.rstrip()).replace(r"\.\.\.", ".*") + r"\n"
        for line in shown.strip("\n").splitlines()
    )
    text = "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())
    return re.fullmatch(pattern, text) is not None


class Environment:
    """A copy of the checkout, and an environment in which others' packages are installed, and some of ours."""

    def __init__(self, folder: Path, wheelhouse: Path, *, with_ours: bool) -> None:
        self.folder = folder / "checkout"
        self.folder.mkdir()
        for name in ("examples", "plugins", "requirements"):
            shutil.copytree(ROOT / name, self.folder / name)
        (self.folder / "wheelhouse").symlink_to(wheelhouse)
        self._bin = folder / "env" / "bin"
        self._make(folder / "env")
        runtime = folder / "run"
        runtime.mkdir(0o700)
        dropped = ("PYTHON", "VIRTUAL_ENV", "XDG_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
        self.variables = {
            **kept,
            "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",  # standard output and error in the order of a terminal
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "LC_ALL": "C.UTF-8",
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(runtime),  # hosts of other tests are none of the page's
            "COLUMNS": "120",
        }
        self._cwd = self.folder
        if with_ours:
            wheels = [path for name in ("pluginapi", "pluginhost") for path in wheelhouse.glob(f"{name}[-_]*.whl")]
            uv = [BIN / "uv", "pip", "install", "--quiet", "--offline", "--no-index", "--no-deps"]  # pip takes longer
            subprocess.run([*uv, "--python", self._bin / "python", *wheels], check=True)

    def run(self, commands: list[str]) -> list[tuple[str, int]]:
        """Returns what each command prints, and its exit status; the shell's folder is kept for the next block."""
        mark = f"__status=$?; printf '{MARK}%s{MARK}' $__status; (exit $__status)"
        script = "".join(f"{command}\n{mark}\n" for command in commands)
        done = subprocess.run(
            ["sh", "-c", script + "pwd"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._cwd,
            env=self.variables,
            encoding="utf-8",
            check=False,
            timeout=300,
        )
        *parts, folder = done.stdout.split(MARK)
        assert len(parts) == 2 * len(commands), f"the shell gave up:\n{done.stdout}"
        self._cwd = Path(folder.strip())
        return [(parts[i], int(parts[i + 1])) for i in range(0, len(parts), 2)]

    def write(self, file: str, text: str) -> None:
        """Writes a file that the page names."""
        target = self._cwd / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")

    def _make(self, env: Path) -> None:
        """Makes an environment with the packages of the tests' own, except ours."""
        venv.create(env, symlinks=True)
        site = next(env.glob("lib/python*/site-packages"))
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if not entry.name.startswith(("pluginhost", "pluginapi")) and entry.suffix != ".pth":
                (site / entry.name).symlink_to(entry)
        for tool in ("pip", "pytest"):
            script = env / "bin" / tool
            script.write_text(f'#!/bin/sh\nexec "{env}/bin/python" -m {tool} "$@"\n')
            script.chmod(0o755)


def problems(block: Block, environment: Environment) -> Iterator[str]:
    """Runs a block, and yields what it does otherwise than its page shows."""
    if block.file:
        environment.write(block.file, block.text)
    elif block.language == "console":
        todo = list(steps(block.text))
        done = environment.run([step.command for step in todo])
        following = [step.command for step in todo[1:]] + [""]
        for step, (printed, status), after in zip(todo, done, following, strict=True):
            if not agree(step.shown, printed):
                yield f"$ {step.command}\nthe page shows:\n{step.shown}\nit prints:\n{printed}"
            if status and after != "echo $?":
                yield f"$ {step.command}\nfails with {status}, and the page does not show it:\n{printed}"
    elif block.language == "python":
        environment.write("example.py", block.text)
        [(printed, status)] = environment.run(["python example.py"])
        if printed or status:
            yield f"the example ends with {status} and prints:\n{printed}"
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "go":
        if not any(block.text in program.read_text("utf-8") for program in ROOT.glob("examples/*/*/*.go")):
            yield f"no program in examples/ has this:\n{block.text}"
    elif block.language == "sh":
        yield from (f"{line} is not run" for line in block.text.splitlines() if line not in NOT_RUN)
    elif block.language != "text":
        yield f"a block of the language {block.language!r} is not checked by anything"


@contextlib.contextmanager
def running(pages: Collection[Path], folder: Path, wheelhouse: Path) -> Iterator[dict[Path, Future[list[str]]]]:
    """Yields what will be wrong with each page's examples; one page runs at a time.

    The environments are made before: meanwhile, tests may change what this process is like.
    """
    with ThreadPoolExecutor(1) as background:
        outcomes = {}
        for number, page in enumerate(pages):
            if page in OF_GO and missing():
                continue
            own = folder / str(number)
            own.mkdir()
            # README begins at a clean clone; who reads on has installed what it shows.
            environment = Environment(own, wheelhouse, with_ours=page != ROOT / "README.md")
            outcomes[page] = background.submit(wrong, page, environment)
        yield outcomes
        background.shutdown(cancel_futures=True)


def wrong(page: Path, environment: Environment) -> list[str]:
    """Returns what a page's examples do otherwise than it shows."""
    examples = [block for block in blocks(page.read_text("utf-8")) if block.language != "text"]
    return [f"{page.name}:{block.line}: {problem}" for block in examples for problem in problems(block, environment)]


@pytest.fixture(scope="module")
def pages(
    request: pytest.FixtureRequest, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Path, Future[list[str]]]]:
    """What is wrong with the examples of each page that is asked for."""
    items = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    wanted = dict.fromkeys(item.callspec.params["page"] for item in items if "page" in item.callspec.params)
    with running(wanted, tmp_path_factory.mktemp("pages"), wheelhouse) as outcomes:
        yield outcomes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_do_what_the_page_shows(
    page: Path, pages: dict[Path, Future[list[str]]], request: pytest.FixtureRequest
) -> None:
    if page in OF_GO:
        request.getfixturevalue("go")
    found = pages[page].result()
    assert not found, "\n\n".join(found)


def test_only_these_commands_are_not_run() -> None:
    found = [block for page in PAGES for block in blocks(page.read_text("utf-8")) if block.language == "sh"]
    assert {line for block in found for line in block.text.splitlines()} == NOT_RUN


def test_readme_has_its_two_commands_on_lines_of_their_own() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    start = "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox -s"
    assert [line for line in lines if start in line] == [f"{start} demo", f"{start} tests"]


def test_nox_sessions_that_pages_name_exist() -> None:
    tree = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))
    sessions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list}
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for named in re.findall(r"nox -s ((?:[a-z]+ ?)+)", page.read_text("utf-8")):
            assert set(named.split()) <= sessions, f"{page.name}: nox -s {named}"


def test_files_that_the_architecture_names_exist() -> None:
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    named = set(re.findall(r"`((?:\w+/)?\w+\.py)`", page))
    installed = Path(str(pluginhost.__file__)).parent
    assert named
    assert [file for file in named if not (installed / file.removeprefix("pluginhost/")).is_file()] == []


# The tests of the test: an example that is wrong is found.


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Path) -> Environment:
    return Environment(tmp_path_factory.mktemp("bare"), wheelhouse, with_ours=False)


@pytest.mark.parametrize(
    ("shown", "printed", "agrees"),
    [
        ("a\n", "a\n", True),
        ("a\n", "a  \n", True),
        ("a\n", "b\n", False),
        ("a\n", "a\nb\n", False),
        ("a\nb\n", "a\n", False),
        ("", "", True),
        ("", "a\n", False),
        ("a ... c\n", "a b c\n", True),
        ("a ... c\n", "a b\nx c\n", False),
        ("...\nc\n", "a\nb\nc\n", True),
        ("...\nc\n", "c\n", True),
        ("...\nc\n", "a\nb\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_output_agrees_with_what_is_shown(shown: str, printed: str, agrees: bool) -> None:
    assert agree(shown, printed) is agrees


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("```console\n$ echo a\na\n```\n", 0),
        ("```console\n$ echo a\nb\n```\n", 1),
        ("```console\n$ false\n```\n", 1),
        ("```console\n$ false\n$ echo $?\n1\n```\n", 0),
        ("```console\n$ cd examples\n```\n\n```console\n$ test -f greeter.py\n$ cd ..\n```\n", 0),
        ("`hello.py`:\n\n```python\nprint('hello')\n```\n\n```console\n$ python hello.py\nhello\n```\n", 0),
        ("```python\nx = 1\n```\n", 0),
        ("```python\nraise SystemExit(1)\n```\n", 1),
        ("```python\nprint(1)\n```\n", 1),
        ("```ruby\nputs 1\n```\n", 1),
        ("```go\nfunc main() {\n```\n", 0),
        ("```go\nfunc main() int {\n```\n", 1),
        ("```sh\nrm -rf wheelhouse\n```\n", 1),
        ("```{toctree}\nruby\n```\n", 0),
    ],
)
def test_wrong_examples_are_found(text: str, count: int, bare: Environment) -> None:
    assert len([problem for block in blocks(text) for problem in problems(block, bare)]) == count


def test_examples_see_installed_wheels_only(tmp_path: Path, wheelhouse: Path) -> None:
    environment = Environment(tmp_path, wheelhouse, with_ours=True)
    command = "python -c 'import pluginhost, pluginapi; print(pluginhost.__file__, pluginapi.__file__)'"
    [(printed, status)] = environment.run([command])
    assert status == 0
    assert all(file.startswith(str(tmp_path / "env")) for file in printed.split())
