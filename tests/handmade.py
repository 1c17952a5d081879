"""Wheels written by hand: sound ones in a moment, and whatever no tool would write."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

PLUGIN = """
from pluginapi import Greeter

class Some(Greeter):
    lang = "Some"

    def greet(self, name: str) -> str:
        return f"{VERSION} {name}"

def New() -> Greeter:
    return Some()
"""
TAG = "py3-none-any"


class Handmade:
    """A wheel before it is written.

    Attributes:
        name: The distribution's name.
        version: Its version.
        files: The members but RECORD, by name.
        rows: RECORD's lines in the place of those that are right, by name; `None` leaves one out.
        infos: Members as they are, which RECORD does not list unless `rows` does.
        method: How members are compressed.
    """

    def __init__(
        self, name: str = "zoo-bad", version: str = "1.2.3", files: Mapping[str, str | bytes] | None = None
    ) -> None:
        self.name = name
        self.version = version
        module = name.replace("-", "_")
        self.info = f"{module}-{version}.dist-info"
        plugin = name.removeprefix("zoo-")
        self.files: dict[str, str | bytes] = {
            **({f"{module}.py": f"VERSION = {version!r}\n{PLUGIN}"} if files is None else files),
            f"{self.info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            "Requires-Dist: pluginapi~=1.0\n",
            f"{self.info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: {TAG}\n",
            f"{self.info}/entry_points.txt": f"[pluginhost.plugins]\n{plugin} = {module}:New\n",
        }
        self.rows: dict[str, str | None] = {}
        self.infos: list[tuple[zipfile.ZipInfo | str, bytes]] = []
        self.method = zipfile.ZIP_DEFLATED

    def edit(self, file: str, change: Callable[[str], str]) -> Handmade:
        """Returns the wheel with a dist-info file changed."""
        name = f"{self.info}/{file}"
        self.files[name] = change(str(self.files[name]))
        return self

    def record(self) -> str:
        """Returns the text of RECORD."""
        rows = {name: row(name, _bytes(content)) for name, content in self.files.items()}
        rows[f"{self.info}/RECORD"] = f"{self.info}/RECORD,,"
        return "".join(f"{line}\n" for line in (rows | self.rows).values() if line is not None)

    def data(self) -> bytes:
        """Returns the bytes of the file."""
        out = io.BytesIO()
        members: list[tuple[zipfile.ZipInfo | str, str | bytes]] = [*self.files.items(), *self.infos]
        with zipfile.ZipFile(out, "w", self.method) as archive:
            for info, content in [*members, (f"{self.info}/RECORD", self.record())]:
                archive.NameToInfo.clear()  # a name twice is meant; filters of warnings are those of all threads
                archive.writestr(member(info) if isinstance(info, str) else info, content, self.method)
        return out.getvalue()

    def file_name(self, tag: str = TAG) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}-{tag}.whl"

    def write(self, folder: Path, name: str = "") -> Path:
        """Returns the file, written into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / (name or self.file_name())
        path.write_bytes(self.data())
        return path


def member(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    """Returns a member's header, the same at whatever time."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def row(name: str, content: bytes, algorithm: str = "sha256") -> str:
    """Returns a file's line of RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.new(algorithm, content).digest()).rstrip(b"=").decode()
    return f"{name},{algorithm}={digest},{len(content)}"


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
