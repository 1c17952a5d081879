"""`pluginhost new`: a plugin project to start from."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import click

from pluginhost.cli import output
from pluginhost.errors import ConfigurationError, Finding

CONTRACTS = ("Greeter", "Handler", "Operation", "Transformer")


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--contract", type=click.Choice(CONTRACTS), default="Greeter", show_default=True, help="What it implements.")
@click.option("--into", type=click.Path(path_type=Path), help="The folder to write; by default ./NAME.")
def new(name: str, contract: str, into: Path | None) -> None:
    """Writes a plugin project that builds, tests itself and, installed, is listed."""
    target = into or Path(name)
    if not (name.replace("-", "_").isidentifier() and name.isascii() and name == name.lower()):
        raise _wrong("arguments-wrong", f"{name!r} cannot name a distribution", "use a-z, 0-9 and -, such as my-plugin")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise _wrong("target-exists", f"{target} exists and is not empty", "choose another NAME or --into")
    try:
        from copier import run_copy
    except ImportError as exc:
        raise _wrong("tool-missing", "`pluginhost new` needs copier", "pip install copier") from exc
    with as_file(files("pluginhost") / "template") as template:
        run_copy(str(template), target, {"distribution": name, "contract": contract}, defaults=True, quiet=True)
    output.write(f"{target}: a {contract} called {name}; read {target / 'README.md'} next")


def _wrong(code: str, message: str, hint: str) -> ConfigurationError:
    return ConfigurationError(Finding(code, message, hint))
