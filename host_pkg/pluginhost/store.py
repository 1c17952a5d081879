"""The store of unpacked wheels: a folder for each, named by the hash of the file that it came from.

Beside them are the copies of what was installed otherwise, which `kept` makes, by the names of their content.

Whoever finds a folder there finds all of it: it is written elsewhere in the store and renamed when it is whole. So a
host never sees half a wheel, nor one that is made of two, whatever other processes do.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import shutil
import sys
import tempfile
import time
from types import ModuleType
from typing import TYPE_CHECKING

from pluginhost import index
from pluginhost.errors import Finding, PluginRefused
from pluginhost.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO, BinaryIO, Final

    from pluginhost.survey import Candidate
    from pluginhost.wheels import Wheel

CHUNK: Final = 1 << 20
"""Bytes that are copied at once."""

LEFTOVER_SECONDS: Final = 3_600
"""From this age on, what a process has not finished writing is of one that was killed."""

KEPT_SECONDS: Final = 86_400
"""What was written later than this is not pruned: its survey may not be in the index yet, or a host return to it."""

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
    if _is_whole(entry, wheel.info):
        return wheel, entry
    try:
        return _take_new(file, check)
    except OSError as exc:
        raise Unwritable(str(exc)) from exc


def _take_new(file: BinaryIO, check: Callable[[IO[bytes]], Wheel]) -> tuple[Wheel, str]:
    from pluginhost import unpacking  # slow to import, and needed for a new wheel alone

    with temporary() as folder:
        tree = os.path.join(folder, "tree")
        os.mkdir(tree, 0o700)
        with open(os.path.join(folder, "wheel"), "x+b") as own:
            entry = os.path.join(index.store_folder(), _copy(file, own))
            wheel = check(own)
            if wheel.is_sound:
                unpacking.unpack(own, wheel, tree)
        return (wheel, put(tree, entry, wheel.info)) if wheel.is_sound else (wheel, "")


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
    """Returns how many wheels and copies were there; all of them are removed."""
    return sum(map(_remove, _entries()))


def prune() -> int:
    """Returns how many wheels and copies were removed because no survey in the index names them; it names no copy."""
    named = {entry for content in index.contents() for entry in Survey.from_plain(content).path}
    young = time.time() - KEPT_SECONDS
    old = [entry for entry in _entries() if entry not in named and _changed(entry) < young]
    return sum(map(_remove, old))


def size() -> tuple[int, int]:
    """Returns how many wheels and copies are there, and their bytes."""
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
def temporary() -> Iterator[str]:
    """Yields a folder in the store, which is removed afterwards with what is left of it."""
    store = index.store_folder()
    os.makedirs(store, mode=0o700, exist_ok=True)
    if not index.is_own_folder(store):
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


def put(tree: str, entry: str, info: str) -> str:
    """Returns a folder of the store, to which one that is whole is renamed; or which another process made first.

    Args:
        tree: The folder, in `temporary()`.
        entry: What it is called in the store: its content's name.
        info: The name of its dist-info folder.

    Raises:
        OSError: It cannot be renamed.
    """
    for _ in range(2):
        try:
            os.rename(tree, entry)
        except OSError:
            if _is_whole(entry, info):
                break
            if not os.path.lexists(entry):
                raise
            _remove(entry)  # something that is not ours, or what is left of it
        else:
            break
    return entry


def _is_whole(entry: str, info: str) -> bool:
    """Returns whether a folder of the store is ours and has every file that its RECORD lists, as long as it was."""
    if not index.is_own_folder(entry):
        return False
    try:
        with open(os.path.join(entry, info, "RECORD"), encoding="utf-8", newline="") as record:
            for path, _, length in csv.reader(record):
                status = os.lstat(os.path.join(entry, path))
                if not index.is_regular(status) or (length and status.st_size != int(length)):
                    return False
    except (OSError, ValueError, csv.Error):
        return False
    return True


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
            with temporary() as folder:  # so that nobody finds half of it
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
