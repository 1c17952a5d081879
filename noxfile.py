"""What a developer runs: `nox -s build | demo | tests | ecosystem | fuzz | lint | types | docs | bench | lock`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "tests"]

ROOT = Path(__file__).parent
WHEELHOUSE = ROOT / "wheelhouse"
PLUGINS = sorted(folder.parent for folder in ROOT.glob("plugins/*/pyproject.toml"))
REFUSED = ROOT / "examples" / "refused"


def interpreters() -> list[str]:
    """Returns the Pythons to test on.

    One that is missing is left to nox, which skips it on a person's machine and fails where `CI` is set. Dropped are
    an optional one that is missing, and on a person's machine a pyenv shim without an active version behind it, which
    nox would take for a Python.
    """
    required, optional = ["3.11", "3.12", "3.13"], ["3.14"]

    def runs(version: str) -> bool:
        python = shutil.which(f"python{version}")
        return bool(python) and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0

    def is_dead_shim(version: str) -> bool:
        return bool(shutil.which(f"python{version}")) and not runs(version)

    if "CI" not in os.environ:
        required = [version for version in required if not is_dead_shim(version)]
    return required + list(filter(runs, optional))


def install_locked(session: nox.Session, group: str) -> None:
    """Installs a group of other people's packages, at the versions and hashes that are locked."""
    session.install("--require-hashes", "--requirement", f"requirements/{group}.txt")


def install_ours(session: nox.Session, *wheels: str) -> None:
    """Installs wheels of ours from the wheelhouse, anew each time, and never from an index."""
    paths = [str(path) for name in wheels for path in sorted(WHEELHOUSE.glob(f"{name}-*.whl"))]
    session.install("--no-index", "--no-deps", "--force-reinstall", *paths)


@nox.session
def build(session: nox.Session) -> None:
    """Builds every wheel of ours once, and fetches what a plugin's build needs, into wheelhouse/."""
    shutil.rmtree(WHEELHOUSE, ignore_errors=True)
    install_locked(session, "build")
    wheel = ("python", "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation", "--quiet")
    session.run(*wheel, "--wheel-dir", WHEELHOUSE, "./pluginapi", ".")
    install_ours(session, "pluginapi")  # the plugins' builds take the hook from it
    session.run(*wheel, "--wheel-dir", WHEELHOUSE, *map(str, PLUGINS))
    download = ("python", "-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary", ":all:")
    session.run(*download, "--dest", WHEELHOUSE, "--requirement", "requirements/build.txt")


@nox.session(requires=["build"], reuse_venv=False)
def demo(session: nox.Session) -> None:
    """Installs everything, lists the plugins, calls one of each contract, and shows two bad ones refused."""
    install_locked(session, "host")
    install_locked(session, "build")
    install_ours(session, "pluginapi", "pluginhost*")
    session.run("pluginhost", "list")
    session.run("pluginhost", "call", "english", "greet", "World")
    session.run("pluginhost", "call", "uppercase", "transform", "some text")
    session.run("pluginhost", "call", "add", "execute", "10", "5")
    session.run("pluginhost", "call", "filter", "handle", '{"id": "1", "body": "aGVsbG8="}')
    session.run("python", "examples/greeter.py", "--all")

    session.log("Now a plugin made for pluginapi~=2.0, and one whose import fails.")
    session.install("--no-index", "--no-deps", "--no-build-isolation", str(REFUSED / "future"), str(REFUSED / "broken"))
    session.run("pluginhost", "list")
    session.run("pluginhost", "call", "future", "greet", "World", success_codes=[1])
    session.run("pluginhost", "call", "broken", "greet", "World", success_codes=[1])
    session.run("pluginhost", "call", "english", "greet", "World")
    session.run("python", "examples/greeter.py", "--all")


@nox.session(python=interpreters(), requires=["build"])
def tests(session: nox.Session) -> None:
    """Runs the tests against the installed wheels."""
    install_locked(session, "tests")
    install_ours(session, "pluginapi", "pluginhost*")
    session.run("python", "-m", "pytest", *session.posargs, env={"PLUGINHOST_WHEELHOUSE": str(WHEELHOUSE)})


@nox.session(requires=["build"])
def ecosystem(session: nox.Session) -> None:
    """Holds the host against popular packages of other people: none is refused that should not be."""
    # Packages with entry points first, then, in their place, libraries that plugins import.
    for group in ("ecosystem", "libraries"):
        install_locked(session, group)
        install_ours(session, "pluginapi", "pluginhost*")
        # The plugins of pytest are what is looked at here; none of them takes part.
        environment = {f"PLUGINHOST_{group.upper()}": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        session.run("python", "-m", "pytest", "tests/ecosystem", *session.posargs, env=environment)


@nox.session
def lint(session: nox.Session) -> None:
    """Checks style and formatting."""
    install_locked(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(requires=["build"])
def types(session: nox.Session) -> None:
    """Checks types, strictly: both packages, and the plugins and hosts that use them as installed."""
    install_locked(session, "host")
    install_locked(session, "types")
    install_ours(session, "pluginapi", "pluginhost*")
    session.run("mypy", "pluginapi/src/pluginapi", "host_pkg/pluginhost")
    apis = map(str, sorted(ROOT.glob("examples/*/*-api")))
    session.install("--no-index", "--no-deps", "--no-build-isolation", "--force-reinstall", *apis)
    globs = ("examples/*.py", "examples/*/*.py", "examples/*/*/*/*.py", "plugins/*/*.py")
    users = sorted(str(file) for each in globs for file in ROOT.glob(each))
    session.run("mypy", *users)
    session.run("pyright", *users)
    session.run("python", "-m", "pytest", "-q", "tests/typing")  # what hosts may write, and what they may not


@nox.session(requires=["build"])
def docs(session: nox.Session) -> None:
    """Builds the documentation into docs/_build/html; a warning is an error."""
    install_locked(session, "host")
    install_locked(session, "docs")
    install_ours(session, "pluginapi", "pluginhost")
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session(python="3.12", requires=["build"])  # the figures that are told are of one Python
def bench(session: nox.Session) -> None:
    """Measures a survey, a first call and later ones beside the peers, and prints the tables."""
    install_locked(session, "host")
    install_locked(session, "bench")
    install_ours(session, "pluginapi", "pluginhost*")
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Writes requirements/*.txt anew from pyproject.toml; `-- --upgrade` takes newer versions."""
    session.install("uv")
    for group in ("host", "build", "tests", "lint", "types", "docs", "bench", "ecosystem", "libraries"):
        runs_host = group in ("host", "tests", "ecosystem", "libraries")  # with what pluginhost itself needs
        host = ["pyproject.toml"] if runs_host else []
        groups = ["--group", group] if group != "host" else []
        command = ["uv", "pip", "compile", *host, *groups, "--universal", "--python-version", "3.11", "--quiet"]
        options = ["--generate-hashes", "--no-emit-package", "pluginapi", "--no-header", "--no-annotate"]
        session.run(*command, *options, "--output-file", f"requirements/{group}.txt", *session.posargs)


@nox.session(requires=["build"])
def fuzz(session: nox.Session) -> None:
    """Surveys 100,000 mutated metadata files and 10,000 mutated wheels; the suite has 2,000 and 200 of them."""
    install_locked(session, "tests")
    install_ours(session, "pluginapi", "pluginhost")
    env = {"PLUGINHOST_WHEELHOUSE": str(WHEELHOUSE), "PLUGINHOST_MUTATIONS": "100000"}
    env["PLUGINHOST_WHEELS"] = "10000"
    mutations = ("tests/zoo/test_mutations.py", "tests/zoo/test_wheel_mutations.py")
    session.run("python", "-m", "pytest", "-q", *mutations, *session.posargs, env=env)
