"""The on-disk index that makes a survey fast, and can never make it wrong.

A file for each search path holds what was found there, and the signature of everything that it was found in: every
folder on the path, every `entry_points.txt` (or the folder where there is none), every match's metadata. All of them
are compared at each reading; whatever differs, or does not decode, is found anew. Modification times of folders alone
would not do: an edit inside a dist-info folder changes no folder's time, and installers may keep a file's.
"""

from __future__ import annotations

import _imp  # CPython's own hash of its cached files: at hand in every process, where hashlib is an import more
import marshal
import os
import sys
import time
from _operator import attrgetter  # operator itself is an import more

# `typing` is not imported on the road of a survey; type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final, TypeAlias

    Signature: TypeAlias = "tuple[int, int, int, int] | None"

FORMAT: Final = 1
"""Raised whenever what is stored, or what it is judged by, changes."""

SETTLED_NS: Final = 2_000_000_000
"""What changed later than this before the scan is not stored: a second change could carry the same time."""

_MAGIC = b"pluginhost index\n"
_SIGNATURE = attrgetter("st_mtime_ns", "st_ctime_ns", "st_ino", "st_size")


def signature(path: str) -> Signature:
    """Returns what a file or folder is like: times, inode and size; `None` when it is not there."""
    try:
        found: Signature = _SIGNATURE(os.stat(path))
    except (OSError, ValueError):
        return None
    return found


def folder() -> str:
    """Returns the folder of this user's index files, as platformdirs would, without importing it."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
        return os.path.join(base, "pluginhost", "Cache")
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return os.path.join(base, "pluginhost")
    return os.path.expanduser("~/Library/Caches/pluginhost" if sys.platform == "darwin" else "~/.cache/pluginhost")


def search_path() -> list[str]:
    """Returns the entries of `sys.path` as imports see them now, absolute."""
    try:
        here = os.getcwd()
    except OSError:
        here = ""
    entries = [entry if os.path.isabs(entry) else here and os.path.join(here, entry) for entry in sys.path]
    return [entry.rstrip(os.sep) or os.sep for entry in entries if entry]


class Index:
    """The index of one group and API over the present search path.

    Attributes:
        path: The file; it need not exist.
    """

    __slots__ = ("_key", "_started", "path")

    def __init__(self, group: str, api: str | None) -> None:
        # Markers are judged by the interpreter and the machine.
        machine = (sys.version, sys.platform, *getattr(os, "uname", tuple)())
        self._key = [FORMAT, machine, search_path(), group, api]
        self._started = time.time_ns()
        self.path = os.path.join(folder(), f"{_hash(marshal.dumps(self._key)).hex()}.index")

    def load(self) -> object:
        """Returns what was stored, if all that it was found in is as it was then; else `None`."""
        stored = _stored(self.path)
        if stored is None:
            return None
        key, places, signatures, content = stored
        return content if key == self._key and _are_unchanged(places, signatures) else None

    def store(self, seen: dict[str, Signature] | None, content: Any) -> None:
        """Stores what was found for the next process; what cannot be stored is no error.

        Args:
            seen: The signatures, each taken before its file was read; `None` when something has none.
            content: What marshal takes.
        """
        if seen is None or not all(self._is_settled(found) for found in seen.values()):
            return
        data = marshal.dumps((self._key, list(seen), list(seen.values()), content))
        temporary = f"{self.path}.{os.getpid()}.{time.monotonic_ns()}"
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                file.write(_MAGIC + _hash(data) + data)
            os.replace(temporary, self.path)
        except OSError:
            _remove(temporary)

    def _is_settled(self, found: Signature) -> bool:
        return found is None or max(found[:2]) < self._started - SETTLED_NS


def clear() -> int:
    """Returns how many index files there were; all of them are removed."""
    return sum(map(_remove, _files()))


def prune() -> int:
    """Returns how many index files were removed because they would not be used again."""
    return sum(_remove(path) for path in _files() if not _is_current(path))


def size() -> tuple[int, int]:
    """Returns how many index files there are, and their bytes."""
    sizes = [found[3] for path in _files() if (found := signature(path))]
    return len(sizes), sum(sizes)


def _is_current(path: str) -> bool:
    stored = _stored(path)
    return stored is not None and stored[0][0] == FORMAT and _are_unchanged(stored[1], stored[2])


def _stored(path: str) -> tuple[list[object], list[str], list[Signature], object] | None:
    """Returns the content of an index file; `None` when it is not there, not ours, or damaged."""
    try:
        # Nothing but a regular file is read, and opening anything else does not block.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
        with open(descriptor, "rb", buffering=0) as file:
            if not _is_own(os.fstat(descriptor)):
                return None
            data = file.read()
        start = len(_MAGIC) + 8
        body = data[start:]
        if data[:start] != _MAGIC + _hash(body):
            return None
        stored: tuple[list[object], list[str], list[Signature], object] = marshal.loads(body)
    except (OSError, ValueError, EOFError, TypeError):
        return None
    return stored


def _are_unchanged(places: list[str], signatures: list[Signature]) -> bool:
    try:
        # Both loops run in C: thousands of files are compared at each survey.
        return list(map(_SIGNATURE, map(os.stat, places))) == signatures
    except (OSError, ValueError):  # something is not there: it was not there before, or it is gone
        return list(map(signature, places)) == signatures


def _is_own(status: os.stat_result) -> bool:
    """Returns whether a file is a regular one that only this user can have written."""
    if sys.platform == "win32":
        return True
    return status.st_mode & 0o170022 == 0o100000 and status.st_uid == os.geteuid()


def _files() -> Iterator[str]:
    try:
        names = sorted(os.listdir(folder()))
    except OSError:
        return
    yield from (os.path.join(folder(), name) for name in names if ".index" in name)


def _remove(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def _hash(data: bytes) -> bytes:
    return _imp.source_hash(FORMAT, data)
