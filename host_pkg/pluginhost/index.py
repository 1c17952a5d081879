"""The on-disk index that makes a survey fast, and can never make it wrong.

A file for each search path holds what was found there, and the signature of everything that it was found in: every
folder on the path, every `entry_points.txt` (or the folder where there is none), every match's metadata. All of them
are compared at each reading; whatever differs, or does not decode, is found anew. Modification times of folders alone
would not do: an edit inside a dist-info folder changes no folder's time, and installers may keep a file's.
"""

import _imp  # CPython's own hash of its cached files: at hand in every process, where hashlib is an import more
import marshal
import os
import sys
import time
from _operator import attrgetter  # operator itself is an import more

from pluginhost.errors import wrong

# Neither `typing` nor `__future__` is imported on the road of a survey, so annotations are quoted where they must be.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Final, TypeAlias

    Signature: TypeAlias = "tuple[int, int, int, int] | None"
    # The key, what was not there, what was there, the digest of its signatures, and what was found in it.
    Stored: TypeAlias = "tuple[list[object], list[str], str, bytes, object]"

FORMAT: "Final" = 5
"""Raised whenever what is stored, or what it is judged by, changes."""

SETTLED_NS: "Final" = 2_000_000_000
"""What changed later than this before the scan is not stored: a second change could carry the same time."""

MOST_FILES: "Final" = 64
"""Files that are kept; beyond, the oldest make room. Each search path that a host runs with has one for each group."""

_MAGIC = b"pluginhost index\n"
_SIGNATURE = attrgetter("st_mtime_ns", "st_ctime_ns", "st_ino", "st_size")


def signature(path: str) -> "Signature":
    """Returns what a file or folder is like: times, inode and size; `None` when it is not there."""
    try:
        return signature_of(os.stat(path))
    except (OSError, ValueError):
        return None


def signature_of(status: "os.stat_result") -> "Signature":
    """Returns the same, of a file that is open."""
    found: Signature = _SIGNATURE(status)
    return found


def is_settled(found: "Signature") -> bool:
    """Returns whether something is there, and old enough that a second change cannot carry the same time."""
    return found is not None and max(found[:2]) < time.time_ns() - SETTLED_NS


def is_regular(status: "os.stat_result") -> bool:
    """Returns whether it is the status of a regular file."""
    return status.st_mode & 0o170000 == 0o100000


def is_own_folder(path: str) -> bool:
    """Returns whether it is a folder, not a link to one, into which only this user can have written."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return False
    own = sys.platform == "win32" or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)
    return status.st_mode & 0o170000 == 0o040000 and own


def folder() -> str:
    """Returns the folder of this user's index files, as platformdirs would, without importing it."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
        return os.path.join(base, "pluginhost", "Cache")
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return os.path.join(base, "pluginhost")
    return os.path.join(home(), *(("Library", "Caches") if sys.platform == "darwin" else (".cache",)), "pluginhost")


def home() -> str:
    """Returns the user's home; where there is none, a folder that cannot be: without a cache all goes on."""
    named = os.environ.get("HOME", "")
    if not os.path.isabs(named):
        import pwd  # a user without a HOME is rare

        try:
            named = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            named = ""
    return named.rstrip("/") or "/" if os.path.isabs(named) else os.devnull


def store_folder() -> str:
    """Returns the folder of the wheels that were unpacked for this user."""
    return os.path.join(folder(), "wheels")


def search_path() -> list[str]:
    """Returns the entries of `sys.path` as imports see them now, absolute.

    Unpacked wheels are not among them: which of these count is told by the folders that they come from.
    """
    entries = absolute([entry for entry in sys.path if type(entry) is str])  # imports pass over what is no text
    unpacked = store_folder() + os.sep
    return [entry for entry in entries if not entry.startswith(unpacked)]


def path_with(origin: str) -> list[str]:
    """Returns `sys.path` for another process that is to import what is in an origin, and not another version of it.

    An unpacked wheel comes before all else there, whether it is on the path or not.
    """
    path = [entry for entry in sys.path if type(entry) is str]
    if os.path.dirname(origin) != store_folder():
        return path
    return [origin, *(entry for entry in path if entry != origin)]


def absolute(paths: "Sequence[str | os.PathLike[str]]") -> list[str]:
    """Returns paths as they are from the working folder; without one, those alone that need none.

    Raises:
        ConfigurationError: It is one path instead of several, or not a path.
    """
    if isinstance(paths, (str, bytes, os.PathLike)):
        raise wrong(f"plugin_dirs is {paths!r}", f"write a list: plugin_dirs=[{paths!r}]")
    try:
        names = [os.fsdecode(path) for path in paths]
    except TypeError as exc:
        raise wrong(f"plugin_dirs is {paths!r}: {exc}", "write a list of paths") from exc
    try:
        here = os.getcwd()
    except OSError:
        here = ""
    names = [path if os.path.isabs(path) else here and os.path.join(here, path) for path in names]
    return [path.rstrip(os.sep) or os.sep for path in names if path]


class Index:
    """The index of one group and API over the present search path, and folders of wheels.

    Attributes:
        path: The file; it need not exist.
    """

    __slots__ = ("_key", "_started", "path")

    def __init__(self, group: str, api: str | None, plugin_dirs: "Sequence[str]" = ()) -> None:
        self._key = [FORMAT, machine(), search_path(), group, api, list(plugin_dirs)]
        self._started = time.time_ns()
        self.path = os.path.join(folder(), f"{_hash(marshal.dumps(self._key, 2)).hex()}.index")

    def load(self) -> object:
        """Returns what was stored, if all that it was found in is as it was then; else `None`."""
        stored: Stored | None = read(self.path)
        if stored is None or _has_foreign_finder():
            return None
        key, content = stored[0], stored[-1]
        return content if key == self._key and _is_unchanged(stored) else None

    def store(self, seen: "dict[str, Signature] | None", content: "Any") -> None:
        """Stores what was found for the next process; what cannot be stored is no error.

        Args:
            seen: The signatures, each taken before its file was read; `None` when something has none.
            content: What marshal takes.
        """
        if seen is None:
            return
        there = {place: found for place, found in seen.items() if found is not None}
        if any(max(found[:2]) >= self._started - SETTLED_NS for found in there.values()):
            return
        absent = [place for place in seen if place not in there]
        if any("\n" in place for place in seen):
            return
        write(self.path, (self._key, absent, "\n".join(there), _digest(list(there.values())), content), MOST_FILES)


def machine() -> "tuple[str, ...]":
    """Returns what judgements hang on beside files: the interpreter, and the machine as markers see it."""
    return (sys.version, sys.platform, *getattr(os, "uname", tuple)())


def read(path: str) -> "Any":
    """Returns the content of a file of ours; `None` when it is not there, not ours, or damaged."""
    try:
        # Nothing but a regular file is read, and opening anything else does not block.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
        try:
            status = os.fstat(descriptor)
            data = memoryview(os.read(descriptor, status.st_size) if _is_own(status) else b"")
        finally:
            os.close(descriptor)
        start = len(_MAGIC) + 8
        body = data[start:]
        if data[:start] != _MAGIC + _hash(body):
            return None
        return marshal.loads(body)
    except (OSError, ValueError, EOFError, TypeError):
        return None


def write(path: str, content: "Any", most: int) -> None:
    """Stores content for the next process, whole or not at all; what cannot be stored is no error.

    Args:
        path: A file in `folder()`.
        content: What marshal takes.
        most: How many files of its kind are kept; beyond, the oldest make room.
    """
    data = marshal.dumps(content)
    temporary = f"{path}.{os.getpid()}.{time.monotonic_ns()}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(_MAGIC + _hash(data) + data)
        os.replace(temporary, path)
    except OSError:
        _remove(temporary)
        return
    files = list(_files(path[path.rindex(".") :]))
    if len(files) > most:
        files.sort(key=lambda path: (signature(path) or (0, 0))[0])
        for path in files[:-most]:
            _remove(path)


def clear() -> int:
    """Returns how many files there were; all of them are removed."""
    return sum(map(_remove, _files()))


def prune() -> int:
    """Returns how many index files were removed because they would not be used again."""
    return sum(_remove(path) for path in _files(".index") if not _is_current(path))


def contents() -> "list[object]":
    """Returns what is stored and would be used again, of all search paths."""
    return [stored[-1] for path in _files(".index") if _is_current(path) and (stored := read(path))]


def size() -> tuple[int, int]:
    """Returns how many files there are, and their bytes."""
    sizes = [found[3] for path in _files() if (found := signature(path))]
    return len(sizes), sum(sizes)


def _has_foreign_finder() -> bool:
    """Returns whether somebody's finder provides distributions: the search path does not tell which."""
    own = ("_frozen_importlib_external", "importlib_metadata")
    return any(
        hasattr(finder, "find_distributions") and getattr(finder, "__module__", "") not in own
        for finder in sys.meta_path
    )


def _is_current(path: str) -> bool:
    # What ends otherwise is a killed process's temporary file, even if it is whole.
    stored: Stored | None = read(path) if path.endswith(".index") else None
    return stored is not None and stored[0][0] == FORMAT and _is_unchanged(stored)


def _is_unchanged(stored: "Stored") -> bool:
    _, absent, there, digest, _ = stored
    try:
        # The loops run in C: thousands of files are compared at each survey.
        return _digest(list(map(_SIGNATURE, map(os.stat, there.split("\n"))))) == digest and not any(
            map(signature, absent)
        )
    except (OSError, ValueError):  # something is gone
        return False


def _is_own(status: "os.stat_result") -> bool:
    """Returns whether a file is a regular one that only this user can have written."""
    if sys.platform == "win32":
        return True
    return is_regular(status) and not status.st_mode & 0o022 and status.st_uid == os.geteuid()


def _files(*kinds: str) -> "Iterator[str]":
    """Yields our files, and what killed processes left of such."""
    try:
        names = sorted(os.listdir(folder()))
    except OSError:
        return
    yield from (
        os.path.join(folder(), name) for name in names for kind in kinds or (".index", ".verdict") if kind in name
    )


def _remove(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def _digest(signatures: "list[Signature]") -> bytes:
    return _hash(marshal.dumps(signatures, 2))  # later versions of the format write the same value in several ways


def _hash(data: bytes | memoryview) -> bytes:
    return _imp.source_hash(FORMAT, data)
