"""A forge that really builds and installs wheels, and the command as a process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hatchling.build

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

GREETER = """
from pluginapi import Greeter

class Some(Greeter):
    lang = "Some"

    def greet(self, name: str) -> str:
        return f"some {name}"

def New() -> Some:
    return Some()
"""


def obey_signals() -> None:
    """Makes a new process obey what a shell has those ignore that it runs in the background, and all that they start."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP) if os.name == "posix" else ():
        signal.signal(number, signal.SIG_DFL)


class Forge:
    """Builds wheels with hatchling and installs them with uv, into a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.site.mkdir()

    def wheel(
        self,
        distribution: str,
        files: Mapping[str, str],
        entry_points: str = "",
        *,
        version: str = "1.0.0",
        dependencies: tuple[str, ...] = ("pluginapi~=1.0",),
        hook: bool = False,
        settings: str = "",
        project: str = "",
    ) -> Path:
        """Returns a wheel, built from files and the lines of `[project.entry-points."pluginhost.plugins"]`.

        What begins with `#!` is executable.
        """
        source = self.folder / "src" / f"{distribution}-{version}-{len(list(self.folder.glob('src/*')))}"
        for name, content in files.items():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, "utf-8")
            if content.startswith("#!"):
                target.chmod(0o755)
        group = f'[project.entry-points."pluginhost.plugins"]\n{entry_points}' if entry_points else ""
        source.joinpath("pyproject.toml").write_text(
            f"""
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{distribution}"
version = "{version}"
dependencies = {json.dumps(dependencies)}
{project}
{group}
{settings}
[tool.hatch.build.targets.wheel]
core-metadata-version = "2.4"
only-include = {json.dumps(list(files))}
{"[tool.hatch.build.targets.wheel.hooks.pluginapi]" if hook else ""}
""",
            "utf-8",
        )
        out = self.folder / "wheels"
        out.mkdir(exist_ok=True)
        with contextlib.chdir(source), contextlib.redirect_stdout(io.StringIO()):
            return out / hatchling.build.build_wheel(str(out))

    def build(self, *projects: Path) -> list[Path]:
        """Returns the wheels of projects, each built by its own pyproject.toml against what is in the folder so far."""
        out = self.folder / "wheels"
        known = {*out.glob("*.whl")}
        uv = [
            BIN / "uv",
            "build",
            "--quiet",
            "--offline",
            "--wheel",
            "--no-build-isolation",
        ]  # pip takes 4 times as long
        environment = os.environ | {"PYTHONPATH": str(self.site)}
        for project in projects:
            subprocess.run([*uv, "--python", sys.executable, "--out-dir", out, project], check=True, env=environment)
        return sorted({*out.glob("*.whl")} - known)

    def install(self, *wheels: Path) -> Path:
        """Returns the folder into which the wheels are installed."""
        uv = [
            BIN / "uv",
            "pip",
            "install",
            "--quiet",
            "--offline",
            "--no-index",
            "--no-deps",
            "--python",
            sys.executable,
        ]
        subprocess.run([*uv, "--target", self.site, *wheels], check=True)
        return self.site

    def plugin(self, name: str, source: str = GREETER, **options: Any) -> Path:
        """Returns the folder into which a plugin of one module is built and installed; all is named after the plugin."""
        module = f"zoo_{name.replace('-', '_')}"
        wheel = self.wheel(f"zoo-{name}", {f"{module}.py": source}, f'{name} = "{module}:New"', **options)
        return self.install(wheel)

    def metadata(self, wheel: Path, file: str) -> str:
        """Returns a file of a wheel's dist-info."""
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if name.endswith(f".dist-info/{file}"))
            return archive.read(name).decode()


class Command:
    """The `pluginhost` command, in a process of its own."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._environment = {"PYTHONPATH": str(path), "PATH": os.environ["PATH"], "HOME": str(folder)}
        self._folder = folder

    def __call__(
        self, *words: str | Path, env: Mapping[str, str] | None = None, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Returns the finished process."""
        command = [sys.executable, "-X", "dev", "-W", "error", "-m", "pluginhost", *words]
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            check=False,
            cwd=self._folder,
            env={"LC_ALL": "C.UTF-8", **self._environment, **(env or {})},
            timeout=60,
        )

    def json(self, *words: str | Path) -> Any:
        """Returns the JSON that the command prints, which must end with 0."""
        done = self(*words, "--json")
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)
