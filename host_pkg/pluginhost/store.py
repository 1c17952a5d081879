"""The store of unpacked wheels: a folder for each, named by the hash of the file that it came from.

Whoever finds a folder there finds all of it: it is written elsewhere in the store and renamed when it is whole. So a
host never sees half a wheel, nor one that is made of two, whatever other processes do.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import installer
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile

from pluginhost import index
from pluginhost.errors import Finding, PluginRefused, describe
from pluginhost.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO, BinaryIO, Final

    from installer.records import RecordEntry
    from installer.utils import Scheme

    from pluginhost.survey import Candidate
    from pluginhost.wheels import Wheel

CHUNK: Final = 1 << 20
"""Bytes that are copied at once."""

LEFTOVER_SECONDS: Final = 3_600
"""From this age on, what a process has not finished writing is of one that was killed."""

KEPT_SECONDS: Final = 86_400
"""What was unpacked later than this is not pruned: its survey may not be in the index yet."""

_TEMPORARY: Final = ".unpacking-"


class Unwritable(Exception):
    """The store cannot be written."""


def take(file: BinaryIO, check: Callable[[IO[bytes]], Wheel]) -> tuple[Wheel, str]:
    """Returns what a wheel file is, and the folder into which it is unpacked; without one if anything is wrong with it.

    Args:
        file: The file, open. It may change meanwhile: what is checked and what is unpacked are one state of it.
        check: Returns what is wrong with a wheel.

    Raises:
        Unwritable: The store is.
        OSError: The file cannot be read.
    """
    wheel = check(file)
    if not wheel.is_sound or wheel.rank is None:
        return wheel, ""
    entry = os.path.join(index.store_folder(), _copy(file, None))
    if _is_whole(entry, wheel):
        return wheel, entry
    try:
        return _take_new(file, check)
    except OSError as exc:
        raise Unwritable(str(exc)) from exc


def _take_new(file: BinaryIO, check: Callable[[IO[bytes]], Wheel]) -> tuple[Wheel, str]:
    with _temporary() as folder:
        tree = os.path.join(folder, "tree")
        os.mkdir(tree, 0o700)
        with open(os.path.join(folder, "wheel"), "x+b") as own:
            entry = os.path.join(index.store_folder(), _copy(file, own))
            wheel = check(own)
            if wheel.is_sound:
                _unpack(own, wheel, tree)
        return (wheel, _put(tree, entry, wheel)) if wheel.is_sound else (wheel, "")


def put_on_path(entries: Sequence[str], candidate: Candidate) -> None:
    """Puts folders of the store at the end of `sys.path`, in the place of older versions that were not imported.

    Args:
        entries: What the survey says.
        candidate: The plugin that is to be imported.

    Raises:
        PluginRefused: Modules of another version of the plugin's distribution are imported already.
    """
    inside = f"{index.store_folder()}{os.sep}"
    present = {_distribution(entry): entry for entry in sys.path if type(entry) is str and entry.startswith(inside)}
    for entry in entries:
        older = present.get(_distribution(entry), "")
        if older == entry:
            continue
        if older and (module := _imported_from(older)):
            if candidate.distribution.origin == entry:
                raise _replaced(candidate, module, older)
            continue
        if older:
            sys.path.remove(older)
        sys.path.append(entry)


def clear() -> int:
    """Returns how many wheels were unpacked there; all of them are removed."""
    return sum(map(_remove, _entries()))


def prune() -> int:
    """Returns how many wheels were removed because no survey in the index names them."""
    named = {entry for content in index.contents() for entry in Survey.from_plain(content).path}
    young = time.time() - KEPT_SECONDS
    old = [entry for entry in _entries() if entry not in named and _changed(entry) < young]
    return sum(map(_remove, old))


def size() -> tuple[int, int]:
    """Returns how many wheels are unpacked there, and their bytes."""
    entries = list(_entries())
    files = (os.path.join(folder, name) for entry in entries for folder, _, names in os.walk(entry) for name in names)
    return len(entries), sum(found[3] for file in files if (found := index.signature(file)))


def _copy(file: BinaryIO, to: BinaryIO | None) -> str:
    """Returns the hash of a file, which is copied meanwhile."""
    digest = hashlib.sha256()
    file.seek(0)
    while data := file.read(CHUNK):
        digest.update(data)
        if to is not None:
            to.write(data)
    return digest.hexdigest()


@contextlib.contextmanager
def _temporary() -> Iterator[str]:
    """Yields a folder in the store, which is removed afterwards with what is left of it."""
    store = index.store_folder()
    os.makedirs(store, mode=0o700, exist_ok=True)
    if not _is_own_folder(store):
        raise OSError(f"{store} is a link, or others may write into it")
    for leftover in _leftovers(store):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=_TEMPORARY, dir=store)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _leftovers(store: str) -> list[str]:
    old = time.time() - LEFTOVER_SECONDS
    temporary = [os.path.join(store, name) for name in os.listdir(store) if name.startswith(_TEMPORARY)]
    return [path for path in temporary if _changed(path) < old]


class _Source(WheelFile):
    """A wheel without scripts: installer looks for entry_points.txt among these names alone, to make scripts of it."""

    @property
    def dist_info_filenames(self) -> list[str]:
        return []


@dataclass
class _Destination(SchemeDictionaryDestination):
    """A folder in which nothing is executable."""

    def write_to_fs(self, scheme: Scheme, path: str, stream: BinaryIO, is_executable: bool) -> RecordEntry:
        return super().write_to_fs(scheme, path, stream, is_executable=False)


def _unpack(file: BinaryIO, wheel: Wheel, tree: str) -> None:
    """Has installer write a wheel's files into a folder, and nothing beside them.

    Raises:
        OSError: They cannot be written.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            archive.filename = os.path.basename(wheel.path)
            places = {"purelib": tree, "platlib": tree}  # any other place is an error
            installer.install(_Source(archive), _Destination(places, sys.executable, "posix"), {})
    except OSError:
        raise
    except Exception as exc:
        wheel.tell("wheel-malformed", f"cannot be unpacked: {describe(exc)}")


def _put(tree: str, entry: str, wheel: Wheel) -> str:
    """Returns the store's folder of a wheel, which is renamed to it, or which another process was the first to make."""
    for _ in range(2):
        try:
            os.rename(tree, entry)
        except OSError:
            if _is_whole(entry, wheel):
                break
            if not os.path.lexists(entry):
                raise
            _remove(entry)  # something that is not ours, or what is left of it
        else:
            break
    return entry


def _is_whole(entry: str, wheel: Wheel) -> bool:
    """Returns whether a folder of the store is ours and has every file that its RECORD lists, as long as it was."""
    if not _is_own_folder(entry):
        return False
    try:
        with open(os.path.join(entry, wheel.info, "RECORD"), encoding="utf-8", newline="") as record:
            for path, _, length in csv.reader(record):
                status = os.lstat(os.path.join(entry, path))
                if not index.is_regular(status) or (length and status.st_size != int(length)):
                    return False
    except (OSError, ValueError, csv.Error):
        return False
    return True


def _is_own_folder(path: str) -> bool:
    """Returns whether it is a folder, not a link to one, into which only this user can have written."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    own = sys.platform == "win32" or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)
    return stat.S_ISDIR(status.st_mode) and own


def _entries() -> Iterator[str]:
    store = index.store_folder()
    try:
        names = sorted(os.listdir(store))
    except OSError:
        return
    yield from (os.path.join(store, name) for name in names if not name.startswith(_TEMPORARY))


def _changed(path: str) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return time.time()


def _remove(path: str) -> bool:
    """Returns whether something was removed; a link is, and what it leads to stays."""
    try:
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
        else:
            with _temporary() as folder:  # so that nobody finds half of it
                os.rename(path, os.path.join(folder, "tree"))
    except OSError:
        return False
    return True


def _distribution(entry: str) -> str:
    """Returns which distribution a folder of the store holds; the folder itself if that is not to be seen."""
    try:
        names = os.listdir(entry)
    except OSError:
        return entry
    infos = (name.partition("-")[0].lower() for name in names if name.endswith(".dist-info"))
    return next(infos, entry)


def _imported_from(entry: str) -> str:
    """Returns the name of a module that was imported from a folder; empty when there is none."""
    for name, module in list(sys.modules.items()):
        file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
        if isinstance(file, str) and file.startswith(f"{entry}{os.sep}"):
            return name
    return ""


def _replaced(candidate: Candidate, module: str, older: str) -> PluginRefused:
    what = f"{candidate} was replaced while the application runs: {module} is imported from {older}"
    return PluginRefused(Finding("wheel-replaced", what, "start the application anew", older))
