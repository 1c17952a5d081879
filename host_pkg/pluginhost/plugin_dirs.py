"""Folders of wheels: which of the files in them are plugins, and where those are unpacked.

A folder is written to while a host looks at it: by a copy that takes its time, by a deployment that replaces one
version with another. So what is faulty is no error before it has settled, and what is admitted was whole at one moment.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from pluginhost import store, wheels
from pluginhost.errors import Finding
from pluginhost.index import SETTLED_NS, is_regular, search_path, signature, signature_of, store_folder
from pluginhost.wheels import Wheel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO, Final

    from pluginhost.discovery import Discovery
    from pluginhost.index import Signature
    from pluginhost.survey import Survey

# Opening what is not a regular file does not block.
_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class NotRegular(OSError):
    """What should be a file is a folder, a pipe, a device or a link to nothing."""


class PluginDirs:
    """What some folders of wheels hold, or some wheels.

    Attributes:
        path: The folders into which the wheels that count are unpacked.
        findings: What is wrong with folders and files.
        seen: The signature of every folder and file that was looked at.
    """

    __slots__ = ("_package", "_search", "findings", "path", "seen")

    def __init__(self, folders: Sequence[str], package: str | None, files: Sequence[str] = ()) -> None:
        """Looks through the folders, and unpacks the wheels that are not yet.

        Args:
            folders: Absolute; the first counts where two have the same version of a distribution.
            package: The import name of the API package.
            files: Wheels, absolute.
        """
        self.path: list[str] = []
        self.findings: list[Finding] = []
        self.seen: dict[str, Signature] = {}
        self._package = package
        self._search = search_path()
        for entry in self._search:  # whose modules a wheel may not bring
            self.seen[entry] = signature(entry)
        by_name: dict[str, list[Wheel]] = {}
        listed = [file for folder in dict.fromkeys(folders) for file in self._list(folder)]
        for path in [*filter(self._is_safe, files), *listed]:
            wheel = Wheel(path)
            if wheel.rank is None and wheel.name:
                self.seen[path] = signature(path)
                self.findings += wheel.findings
            else:
                by_name.setdefault(wheel.name or path, []).append(wheel)
        for versions in by_name.values():
            versions.sort(key=lambda wheel: (wheel.version, -(wheel.rank or 0), wheel.build), reverse=True)
            self._take_highest(versions)

    def complete(self, found: Discovery, survey: Survey) -> None:
        """Adds to a survey what it does not know of the folders, and to what it was found in what they are like."""
        survey.findings += self.findings
        origins = found.origins()
        survey.path = [entry for entry in self.path if entry in origins]  # what is installed otherwise wins
        if found.seen is not None:
            found.seen |= self.seen  # these were taken first

    def _is_safe(self, file: str) -> bool:
        """Returns whether the folder of a wheel is one that not everybody can write to."""
        folder = os.path.dirname(file)
        self.seen[folder] = signature(folder)
        with contextlib.suppress(OSError, ValueError):  # what it is like, the file will tell
            if _is_open_to_all(os.stat(folder)):
                what = f"{folder} can be written by everybody, so {file} is not used"
                self._tell("world-writable", what, folder)
                return False
        return True

    def _list(self, folder: str) -> list[str]:
        """Returns the files of a folder that are called as wheels are."""
        self.seen[folder] = signature(folder)
        try:
            status = os.stat(folder)
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError("it is not a folder")
            if _is_open_to_all(status):
                self._tell("world-writable", f"{folder} can be written by everybody, so nothing in it is used", folder)
                return []
            names = sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError, ValueError) as exc:
            self._tell("plugin-dir-missing", f"{folder}: there is no such folder ({exc})", folder)
            return []
        except OSError as exc:
            self._tell("path-unreadable", f"{folder} cannot be listed: {exc}", folder)
            return []
        return [os.path.join(folder, name) for name in names if name.lower().endswith(".whl")]

    def _take_highest(self, versions: list[Wheel]) -> None:
        """Takes the first wheel of a distribution that nothing speaks against, and tells of the others."""
        taken = ""
        for each in versions:
            self.seen.setdefault(each.path, signature(each.path))
            if taken:
                what = f"{each}: {each.path} is passed over, since there is {taken}"
                self._tell("distribution-shadowed", what, each.path)
                continue
            wheel, entry = self._take(each.path)
            self.findings += [finding for finding in wheel.findings if finding not in self.findings]
            if entry:
                taken = wheel.path
                self.path.append(entry)

    def _take(self, path: str) -> tuple[Wheel, str]:
        """Returns what a file is, and the folder into which it is unpacked if it is to be used."""
        now = time.time_ns()
        self.seen[path] = signature(path)
        wheel, entry, last = Wheel(path), "", 0
        try:
            with open_regular(path) as file:
                before = os.fstat(file.fileno())
                wheel, entry = self._check(file, before, wheel)
                last = sys.maxsize if signature_of(os.fstat(file.fileno())) != signature_of(before) else _change(before)
        except NotRegular as exc:
            wheel.findings = [_finding("wheel-not-regular", f"{path} {exc}; it is not opened", path)]
        except FileNotFoundError:
            wheel.findings.clear()  # it was taken away meanwhile
        except (OSError, ValueError) as exc:  # a path with NUL
            wheel.findings = [_finding("path-unreadable", f"{path} cannot be read: {exc}", path)]
        if not wheel.is_sound and last > now - SETTLED_NS:
            wheel.findings = [_settling(wheel)]
        return wheel, entry

    def _check(self, file: BinaryIO, status: os.stat_result, wheel: Wheel) -> tuple[Wheel, str]:
        if _is_open_to_all(status):
            what = f"{wheel}: {wheel.path} can be written by everybody, and is not used"
            wheel.findings.append(_finding("world-writable", what, wheel.path))
            return wheel, ""
        search = [*self._search, *self.path]
        check = partial(wheels.check, path=wheel.path, package=self._package, search=search)
        try:
            return store.take(file, check)
        except store.Unwritable as exc:
            if all(finding.code != "store-unwritable" for finding in self.findings):
                what = f"{wheel} cannot be unpacked, nor can other wheels: {exc}"
                self._tell("store-unwritable", what, store_folder())
            return wheel, ""

    def _tell(self, code: str, what: str, path: str) -> None:
        self.findings.append(_finding(code, what, path))


def open_regular(path: str) -> BinaryIO:
    """Returns a regular file, open for reading; anything else is not opened, and nothing blocks.

    Raises:
        NotRegular: It is something else, or a link to nothing.
        OSError: It is not there, or cannot be read.
    """
    try:
        if not is_regular(os.stat(path)):
            raise NotRegular("is not a regular file")
    except OSError as exc:
        if os.path.islink(path) and not isinstance(exc, (NotRegular, PermissionError)):
            raise NotRegular(f"is a link to nothing ({exc.strerror})") from exc
        raise
    descriptor = os.open(path, _READ)
    if not is_regular(os.fstat(descriptor)):
        os.close(descriptor)
        raise NotRegular("is not a regular file")
    return os.fdopen(descriptor, "rb")


_HINTS: Final = {
    "plugin-dir-missing": "make the folder, or correct --plugin-dir",
    "path-unreadable": "mend its permissions",
    "world-writable": "take the permission away: chmod o-w",
    "wheel-not-regular": "remove it; wheels are regular files",
    "store-unwritable": "mend its permissions, or set XDG_CACHE_HOME to a folder that can be written",
    "distribution-shadowed": "remove the one that you do not mean",
    "wheel-settling": "let the copy end; it is looked at again at each survey",
}


def _finding(code: str, what: str, path: str) -> Finding:
    return Finding(code, what, _HINTS[code], path)


def _settling(wheel: Wheel) -> Finding:
    first = next(finding for finding in wheel.findings if finding.severity == "error")
    return _finding("wheel-settling", f"a moment ago it was still written, and so far: {first.message}", wheel.path)


def _is_open_to_all(status: os.stat_result) -> bool:
    return sys.platform != "win32" and bool(status.st_mode & stat.S_IWOTH)


def _change(status: os.stat_result) -> int:
    """Returns when a file was last changed, in nanoseconds; Windows calls something else its ctime."""
    return status.st_mtime_ns if sys.platform == "win32" else status.st_ctime_ns
