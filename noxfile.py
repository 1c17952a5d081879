"""A developer runs one of these sessions by `nox -s`: build, demo, tests and more; `nox -l` tells of each."""

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
LONG = ("--override-ini", "faulthandler_timeout=0")  # one test may be at work for longer than others may hang
GO_PLUGIN = Path("/usr/share/gocode/src/github.com/hashicorp/go-plugin")  # where Debian has it


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
    """Installs everything, calls plugins, two of which are refused, upgrades one under load, and has some in Go."""
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

    session.log("Now a gateway, one of whose middleware is upgraded under load.")
    install_locked(session, "gateway")
    install = ("python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    session.run(*install, "./examples/gateway/gateway-api")  # the plugins' builds need it
    projects = [folder.parent for folder in ROOT.glob("examples/gateway/m*/*/pyproject.toml")]
    session.run(*install, *map(str, projects))
    upgrade = Path(session.create_tmp()) / "stamp"
    shutil.copytree(ROOT / "examples/gateway/middleware/stamp", upgrade, dirs_exist_ok=True)
    module = upgrade / "gateway_stamp.py"
    module.write_text(module.read_text("utf-8").replace("1.0.0", "1.1.0"), "utf-8")
    with subprocess.Popen([f"{session.bin}/python", "examples/gateway/gateway.py", "--port", "8765"]) as gateway:
        try:
            load = ("python", "examples/gateway/load.py", "--url", "http://127.0.0.1:8765/")
            session.run(*load, "--", *install, str(upgrade))
        finally:
            gateway.terminate()

    session.log("Now a plugin in Go beside those in Python, and two in Python under a host in Go.")
    if not GO_PLUGIN.exists() or not shutil.which("protoc-gen-go"):
        session.log("That is left out: examples/goplugin/README.md says what has to be installed.")
        return
    install_locked(session, "goplugin")
    example = Path(session.create_tmp()) / "goplugin"
    shutil.copytree(ROOT / "examples/goplugin", example, dirs_exist_ok=True)
    session.run("sh", f"{example}/build.sh", external=True)
    session.run(*install, f"{example}/gopher")
    session.run("pluginhost", "call", "gopher", "greet", "World")
    session.run(f"{example}/host/greet", "World", "english", "persian", external=True)


@nox.session(python=interpreters(), requires=["build"])
def tests(session: nox.Session) -> None:
    """Runs the tests against the installed wheels."""
    install_locked(session, "tests")
    install_ours(session, "pluginapi", "pluginhost*")
    # Not beside tests that wait for each other: it takes all processors for a while. Once built, they are left alone.
    session.run("python", "tests/goplugin/build.py")
    workers = str((os.cpu_count() or 1) + 1)  # one more than there are processors: much of it waits
    command = ("python", "-m", "pytest", "--numprocesses", workers, "--dist", "loadfile")
    # A process that is lost ends the run: another would begin with the test that took it, and hang in it again.
    session.run(*command, "--max-worker-restart", "0", *session.posargs, env={"PLUGINHOST_WHEELHOUSE": str(WHEELHOUSE)})


@nox.session(python=interpreters(), requires=["build"])
def zoo(session: nox.Session) -> None:
    """Meets every bad plugin, each in a process of its own; the suite has some, and one of each kind."""
    install_locked(session, "tests")
    install_ours(session, "pluginapi", "pluginhost*")
    env = {"PLUGINHOST_WHEELHOUSE": str(WHEELHOUSE), "PLUGINHOST_ZOO": "1"}
    session.run("python", "-m", "pytest", "-q", "tests/zoo/test_zoo.py", *session.posargs, env=env)


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
    install_locked(session, "goplugin")  # the reference imports it
    install_ours(session, "pluginapi", "pluginhost")
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session(python="3.12", requires=["build"])  # the figures that are told are of one Python
def bench(session: nox.Session) -> None:
    """Measures a survey, calls, routes, isolated plugins, reloads and go-plugin beside the peers; prints the tables."""
    install_locked(session, "host")
    install_locked(session, "bench")
    install_ours(session, "pluginapi", "pluginhost*")
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Writes requirements/*.txt anew from pyproject.toml; `-- --upgrade` takes newer versions."""
    session.install("uv")
    tools = ("build", "tests", "lint", "types", "docs", "bench")
    for group in ("host", *tools, "gateway", "goplugin", "ecosystem", "libraries"):
        runs_host = group in ("host", "tests", "ecosystem", "libraries")  # with what pluginhost itself needs
        host = ["pyproject.toml"] if runs_host else []
        groups = ["--group", group] if group != "host" else []
        command = ["uv", "pip", "compile", *host, *groups, "--universal", "--python-version", "3.11", "--quiet"]
        options = ["--generate-hashes", "--no-emit-package", "pluginapi", "--no-header", "--no-annotate"]
        session.run(*command, *options, "--output-file", f"requirements/{group}.txt", *session.posargs)


@nox.session(requires=["build"])
def fuzz(session: nox.Session) -> None:
    """Reads 100,000 mutated metadata files, 10,000 wheels and 1,000,000 frames, of which the suite has a fiftieth.

    And it walks a plugin's states 10,000 times; the suite does so 2,000 times.
    """
    install_locked(session, "tests")
    install_ours(session, "pluginapi", "pluginhost")
    env = {"PLUGINHOST_WHEELHOUSE": str(WHEELHOUSE), "PLUGINHOST_MUTATIONS": "100000"}
    env |= {"PLUGINHOST_WHEELS": "10000", "PLUGINHOST_FRAMES": "1000000", "PLUGINHOST_LIVES": "10000"}
    files = [f"tests/zoo/test_{what}mutations.py" for what in ("", "wheel_", "frame_")]
    files += ["tests/unit/pluginhost/test_lifecycle.py"]
    session.run("python", "-m", "pytest", "-q", *LONG, *files, *session.posargs, env=env)


@nox.session(requires=["build"])
def soak(session: nox.Session) -> None:
    """Kills isolated plugins at random for a minute while they are called, and reloads plugins under load.

    Those of this process 10,000 times, isolated ones 1,000 times; the suite does for 3 s, 80 and 5 times.
    """
    install_locked(session, "tests")
    install_ours(session, "pluginapi", "pluginhost")
    env = {"PLUGINHOST_WHEELHOUSE": str(WHEELHOUSE), "PLUGINHOST_CHAOS_SECONDS": "60"}
    env["PLUGINHOST_RELOADS"] = "10000/1000"
    files = [f"tests/integration/test_{what}.py" for what in ("isolated_chaos", "reload_soak")]
    session.run("python", "-m", "pytest", "-q", "-s", *LONG, *files, *session.posargs, env=env)
