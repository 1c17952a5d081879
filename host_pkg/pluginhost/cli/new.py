"""`pluginhost new`: a plugin project to start from."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from pluginhost.cli import output
from pluginhost.errors import ConfigurationError, Finding, escape

CONTRACTS = ("Greeter", "Handler", "Operation", "Transformer")

# Modules that the plugin's own would shadow, or be shadowed by. `test` is the standard library's too, but not listed.
_TAKEN = {*sys.stdlib_module_names, "test", "tests", "pluginapi", "pluginhost"}


@click.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--contract", type=click.Choice(CONTRACTS), default="Greeter", show_default=True, help="What it implements."
)
@click.option("--into", type=click.Path(path_type=Path), help="The folder to write; by default ./NAME.")
def new(name: str, contract: str, into: Path | None) -> None:
    """Writes a plugin project that builds, tests itself and, installed, is listed."""
    import tempfile  # here and below: the other subcommands start without what only this one needs
    from importlib.util import find_spec

    target = into or Path(name)
    _require_name(name)
    if os.path.lexists(target):
        raise _wrong("target-exists", f"{target} exists already", "choose another NAME or --into")
    if find_spec("copier") is None:
        raise _wrong("tool-missing", "`pluginhost new` needs copier", "pip install copier")
    try:
        # Beside the target, so that the finished project is moved there whole or not at all.
        with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent.resolve()) as folder:
            _render(name, contract, Path(folder)).rename(target)
    except OSError as exc:
        raise _wrong("target-unwritable", f"{target} cannot be written: {exc}", "choose another --into") from exc
    output.write(escape(f"{target}: {contract} {name}; {target / 'README.md'} says how to install it"))


def _require_name(name: str) -> None:
    import keyword

    from packaging.utils import is_normalized_name

    module = name.replace("-", "_")
    if not (is_normalized_name(name) and module.isidentifier()):
        why = f"{name!r} cannot name a distribution and its module"
        raise _wrong("arguments-wrong", why, "begin with a letter, then a-z, 0-9 and single -, such as my-plugin")
    if keyword.iskeyword(module) or module in _TAKEN:
        why = f"{name!r} cannot name a plugin's module: Python, pluginhost or the project's tests use the name"
        raise _wrong("arguments-wrong", why, f"choose another, such as my-{name}")


def _render(name: str, contract: str, folder: Path) -> Path:
    """Has copier write the project into an empty folder, and returns where."""
    import subprocess
    from importlib.resources import as_file, files

    project = folder / name
    # A process of its own keeps out what would change the outcome: warnings, modules of the current folder, the
    # person's settings, and git, which copier asks about each file and which inside a git hook answers wrongly.
    command = (sys.executable, "-P", "-W", "ignore", "-m", "copier", "copy", "--defaults", "--quiet")
    answers = ("--data", f"distribution={name}", "--data", f"contract={contract}")
    environment = {**os.environ, "PATH": str(folder), "COPIER_SETTINGS_PATH": str(folder / "none")}
    with as_file(files("pluginhost") / "template") as template:
        done = subprocess.run(
            [*command, *answers, str(template), str(project)], env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, encoding="utf-8", errors="replace", check=False,
        )  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise _wrong("tool-failed", f"copier ended with {done.returncode}: {last}", "pip install --upgrade copier")
    return project


def _wrong(code: str, message: str, hint: str) -> ConfigurationError:
    return ConfigurationError(Finding(code, message, hint))
