"""Environments of any size, so that what a survey costs can be seen to grow with what is installed."""

from __future__ import annotations

import shutil
import sysconfig
import venv
from typing import TYPE_CHECKING

from pluginapi.manifest import BuiltAgainst, Manifest, PluginEntry
from pluginapi.version import API_VERSION, fingerprint

if TYPE_CHECKING:
    from pathlib import Path

# The size of the METADATA of a middling package: some 4 KB, most of it description.
REQUIRES = ("click>=8.1", 'tomli>=2; python_version < "3.11"', "packaging>=23", 'pytest>=8; extra == "tests"')
CLASSIFIERS = "".join(f"Classifier: Programming Language :: Python :: 3.{minor}\n" for minor in range(9, 15))
DESCRIPTION = "\n" + "A line of the description, as long as such lines are wont to be.\n" * 50

PLUGIN = '''\
"""Greets in English."""

from pluginapi import Greeter


class English(Greeter):
    """A greeter."""

    lang = "English"

    def greet(self, name: str) -> str:
        return f"Hello, {name}! Nice to meet you."


def New() -> English:
    """Returns the plugin."""
    return English()
'''


def make_environment(folder: Path, group: str, distributions: int, plugins: int) -> list[str]:
    """Returns the names of the plugins in a new environment, whose interpreter is `bin/python`.

    Its site-packages has the host and its peers, copied from the running environment, and generated distributions with
    all that an installer writes. A generated plugin is as `pluginapi`'s build hook makes it; every second one of the
    others has entry points, of another group.

    Args:
        folder: Where to make it.
        group: The entry-point group of the plugins.
        distributions: How many there are in all.
        plugins: How many of them register a plugin, each one.

    Raises:
        SystemExit: There is no room for the host and its peers.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    site = folder / sysconfig.get_path("purelib", "venv", {"base": ""}).lstrip("/")
    # Left out are the example plugins, and what stands in no environment but the one that was copied.
    left_out = shutil.ignore_patterns("pluginhost_*", "pip", "pip-*", "*.pth", "__pycache__")
    for source in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        shutil.copytree(source, site, dirs_exist_ok=True, ignore=left_out)
    others = distributions - plugins - len(list(site.glob("*.dist-info")))
    if others < 0:
        raise SystemExit(f"{distributions}/{plugins} leaves no room for the host and its peers, {-others} more")

    against = BuiltAgainst("pluginapi", "pluginapi", API_VERSION, fingerprint())
    names = [f"plugin{number:04}" for number in range(plugins)]
    for name in names:
        entry = PluginEntry(group, name, f"synthetic_{name}:New", ("Greeter",), ())
        manifest = Manifest(against, plugins=(entry,)).to_json()
        metadata = {"entry_points.txt": f"[{group}]\n{name} = {entry.entry_point}\n", Manifest.FILE: manifest}
        install(site, f"synthetic_{name}", PLUGIN, ("pluginapi~=1.0", *REQUIRES), metadata)
    for number in range(others):
        name = f"synthetic_other{number:04}"
        metadata = {"entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n"} if number % 2 else {}
        install(site, name, "def main() -> None:\n    pass\n", REQUIRES, metadata)
    return names


def install(site: Path, name: str, module: str, requires: tuple[str, ...], metadata: dict[str, str]) -> None:
    """Writes a distribution of one module, with its metadata, into a folder of an import path."""
    header = f"Metadata-Version: 2.4\nName: {name.replace('_', '-')}\nVersion: 1.0\nSummary: Made to be measured.\n"
    header += CLASSIFIERS + "".join(f"Requires-Dist: {line}\n" for line in requires)
    info = f"{name}-1.0.dist-info"
    files = {f"{name}.py": module, f"{info}/METADATA": header + DESCRIPTION, f"{info}/INSTALLER": "pip\n"}
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: synthetic\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files |= {f"{info}/{file}": text for file, text in metadata.items()}
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    for file, text in files.items():
        path = site / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
