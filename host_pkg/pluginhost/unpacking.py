"""A wheel's files written into a folder, as installer writes them, and nothing beside them."""

from __future__ import annotations

import os
import sys
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import installer
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile

from pluginhost.discovery import FILE_LIMIT, MANIFEST
from pluginhost.errors import describe
from pluginhost.metadata import parse_manifest

if TYPE_CHECKING:
    from typing import BinaryIO

    from installer.records import RecordEntry
    from installer.utils import Scheme

    from pluginhost.wheels import Wheel


def unpack(file: BinaryIO, wheel: Wheel, tree: str) -> None:
    """Has installer write a wheel's files into a folder, and nothing beside them.

    Raises:
        OSError: They cannot be written.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            archive.filename = os.path.basename(wheel.path)
            places = {"purelib": tree, "platlib": tree}  # any other place is an error
            destination = _Destination(places, sys.executable, "posix", programs=_programs(archive, wheel))
            installer.install(_Source(archive), destination, {})
    except OSError:
        raise
    except Exception as exc:
        wheel.tell("wheel-malformed", f"cannot be unpacked: {describe(exc)}")


class _Source(WheelFile):
    """A wheel without scripts: installer looks for entry_points.txt among these names alone, to make scripts of it."""

    @property
    def dist_info_filenames(self) -> list[str]:
        return []


@dataclass
class _Destination(SchemeDictionaryDestination):
    """A folder in which nothing is executable but programs that are plugins, if the wheel has them so."""

    programs: frozenset[str] = frozenset()

    def write_to_fs(self, scheme: Scheme, path: str, stream: BinaryIO, is_executable: bool) -> RecordEntry:
        return super().write_to_fs(scheme, path, stream, is_executable=is_executable and path in self.programs)


def _programs(archive: zipfile.ZipFile, wheel: Wheel) -> frozenset[str]:
    """Returns the files of a wheel that are plugins; what cannot be read is told when the plugins are judged."""
    try:
        size = archive.getinfo(f"{wheel.info}/{MANIFEST}").file_size
    except KeyError:
        return frozenset()
    stamp = archive.read(f"{wheel.info}/{MANIFEST}") if size <= FILE_LIMIT else b""
    return frozenset(program for *_, program in parse_manifest(stamp).plugins.values() if "/" in program)
