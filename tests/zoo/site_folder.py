"""A folder of installed plugins that a case of the zoo damages: a bad plugin between two good ones."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forge import Forge

GOOD = """
from {package} import Greeter

class Good(Greeter):
    lang = "Good"

    def greet(self, name: str) -> str:
        return f"good {{name}}"

def New() -> Greeter:
    return Good()
"""
BAD = GOOD.format(package="pluginapi")


def install_template(forge: Forge) -> Path:
    """Returns a folder with three plugins, all sound, from wheels that were really built and installed."""
    for name, package, version in [
        ("a-good", "pluginapi", "1.0.0"),
        ("bad", "pluginapi", "1.2.3"),
        ("z-good", "pluginapi.contracts", "1.0.0"),
    ]:
        forge.plugin(name, GOOD.format(package=package), version=version, hook=True)
    return forge.site


class SiteFolder:
    """A case's own copy of the template.

    Attributes:
        root: The folder, which the driver puts on its path.
        info: The bad plugin's dist-info.
        path: Further entries for the driver's path.
        code: What the driver executes before it asks the host, for what no file can hold.
        plugin_dirs: Folders of wheels that the driver's manager is given.
        plugins: The settings of plugins that it is given, by name.
    """

    def __init__(self, template: Path, root: Path) -> None:
        self.root = Path(shutil.copytree(template, root, symlinks=True))
        self.info = root / "zoo_bad-1.2.3.dist-info"
        self.path: list[str] = []
        self.code = ""
        self.plugin_dirs: list[str] = []
        self.plugins: dict[str, dict[str, object]] = {}

    @property
    def manifest(self) -> Path:
        return self.info / "extra_metadata" / "pluginapi.json"

    @property
    def wheels(self) -> Path:
        """A folder for wheels, beside the site folder; it need not be there."""
        return self.root.parent / "wheels"

    def uninstall(self) -> None:
        """Removes the bad plugin, which is to come from elsewhere."""
        shutil.rmtree(self.info)
        self.root.joinpath("zoo_bad.py").unlink()

    def module(self, source: str) -> None:
        """Writes the bad plugin's module."""
        self.write("zoo_bad.py", source)

    def write(self, path: str, content: str | bytes, *, info: Path | None = None) -> Path:
        """Returns a file of the bad plugin, or of another distribution, that its RECORD lists."""
        data = content.encode() if isinstance(content, str) else content
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        self.record(path, f"sha256={digest},{len(data)}", info=info)
        return target

    def record(self, path: str, rest: str = ",", *, info: Path | None = None) -> None:
        """Lists a file in RECORD, in the place of the line that there is."""
        record = (info or self.info) / "RECORD"
        lines = [line for line in record.read_text().splitlines() if not line.startswith(f"{path},")]
        record.write_text("\n".join([*lines, f"{path},{rest}", ""]))

    def entry_points(self, *lines: str, group: str = "pluginhost.plugins") -> None:
        """Writes the bad plugin's entry points, and leaves it without a manifest that would contradict them."""
        self.info.joinpath("entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
        self.manifest.unlink(missing_ok=True)

    def replace(self, file: str, old: str, new: str) -> None:
        """Replaces some text of a file of the bad plugin's dist-info, which must be there."""
        path = self.info / file
        text = path.read_text()
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new))

    def header(self, *lines: str) -> None:
        """Adds lines to the header of the bad plugin's METADATA."""
        path = self.info / "METADATA"
        path.write_text("\n".join([path.read_text().partition("\n\n")[0].rstrip(), *lines, "", ""]))

    def pin(self, *lines: str) -> None:
        """Puts other requirements in the place of the bad plugin's pin."""
        self.replace("METADATA", "Requires-Dist: pluginapi~=1.0\n", "")
        self.header(*(f"Requires-Dist: {line}" for line in lines))

    def distribution(self, name: str, version: str, *requires: str, files: dict[str, str] | None = None) -> Path:
        """Returns the dist-info of another distribution, written by hand."""
        info = self.root / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {line}" for line in requires]
        info.joinpath("METADATA").write_text("\n".join([*lines, "", ""]))
        info.joinpath("RECORD").write_text("")
        for path, content in (files or {}).items():
            self.write(path, content, info=info)
        return info

    def edit_manifest(self, **changes: object) -> None:
        """Changes values at the top of the bad plugin's manifest."""
        self.manifest.write_text(json.dumps(json.loads(self.manifest.read_text()) | changes))
