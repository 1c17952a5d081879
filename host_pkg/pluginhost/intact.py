"""Whether what is installed is whole, and what it is made of.

An installer writes one file after the other, and may be stopped between any two. What it writes last is RECORD, which
lists all files with their hashes: so that is what tells whether it has come to its end, and one version from another.
"""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import io
import os
from itertools import islice
from typing import TYPE_CHECKING

from pluginhost import index
from pluginhost.errors import Finding, PluginRefused
from pluginhost.metadata import parse_editable, parse_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from pluginhost.survey import Distribution

MOST_SOURCES: Final = 20_000
"""Sources of an editable install at most; of what has more, nobody can tell what it is made of."""

_SOURCES_LIMIT: Final = 1 << 26
_FILE_LIMIT: Final = 1 << 24
_MOST_FAULTS: Final = 3
SOURCES: Final = (".py", ".so", ".pyd")
_HASHES: Final = {"md5", "sha1", "sha224", "sha256", "sha384", "sha512"}
"""What a RECORD may have. Here they need not withstand anybody: whether a file came whole all of them tell."""

_ADDED: Final = (b"/RECORD", b"/INSTALLER", b"/REQUESTED", b"/direct_url.json", b"/uv_cache.json", b".pyc")
"""How the paths end of what an installer adds, in a RECORD."""

# Opening what is not a regular file does not block.
_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def content(distribution: Distribution) -> str:
    """Returns a digest, in hex, of what a distribution is made of; empty when that cannot be told.

    It is the same for the same files, wherever they are: what was installed from a wheel is known by what its RECORD
    has of the wheel, what is in the store by its folder's name, and an editable install by every source of its project.
    """
    if not distribution.info:  # the application's own
        return ""
    if name := _name_in_store(distribution):
        return name
    record = _record(distribution)
    place = loose(distribution)
    if not place:
        return hashlib.sha256(b"\n".join(_brought(record))).hexdigest() if record else ""
    return _content_of_sources(place, [*_brought(record), read(f"{distribution.info}{os.sep}entry_points.txt")])


def copy_of(made_of: str) -> str | None:
    """Returns the folder of the store that holds what is made of this; `None` when there is none yet.

    Args:
        made_of: What `content` returned; of what cannot be told there is nothing, now or later.
    """
    entry = os.path.join(index.store_folder(), made_of) if made_of else ""
    return entry if not entry or index.is_own_folder(entry) else None


def require_whole(distribution: Distribution) -> str:
    """Returns what `content` does, if every file that RECORD lists is there as it was installed.

    What stands without a hash there need not be, outside of the metadata: installers add such, and Python writes to
    `__pycache__`. What is outside of the folder in which the distribution is found is not looked at: no module is
    imported from there, and with `pip install --target` it is not even where RECORD says.

    Raises:
        PluginRefused: It is being installed or removed at this moment, or was left half-way, or somebody changed it.
    """
    record, made_of = _record(distribution), content(distribution)
    if os.path.isfile(distribution.origin):  # an archive: it would not have been found if it had no end
        return made_of
    faults = list(islice(_faults(distribution, record), _MOST_FAULTS + 1))
    if not faults and _brought(_record(distribution)) != _brought(record):
        faults = ["its RECORD was changed at this moment"]
    if faults:
        raise PluginRefused(_incomplete(distribution, faults))
    return made_of


def top_level(distribution: Distribution) -> frozenset[str]:
    """Returns the names of the packages and modules that a distribution installed, as they are imported.

    Of an editable install there are none: what it installed only leads to the project.
    """
    if loose(distribution):
        return frozenset()
    found = set()
    for path in parse_record(_record(distribution).decode(errors="replace")):
        top = path.partition("/")[0].partition(".")[0]
        if path.endswith((*SOURCES, ".pyc")) and top.isidentifier() and top != "__pycache__":
            found.add(top)
    return frozenset(found)


def loose(distribution: Distribution) -> str:
    """Returns where the sources of a distribution are, if its RECORD does not tell of them; else nothing.

    That is the project's folder of an editable install, or the archive on the search path that the distribution is in.
    """
    if os.path.isfile(distribution.origin):
        return distribution.origin
    return parse_editable(read(f"{distribution.info}{os.sep}direct_url.json"))


def sources(place: str) -> Iterator[str]:
    """Yields every source below a project's folder, or the archive itself."""
    if os.path.isfile(place):
        yield place
        return
    for folder, names in folders(place):
        yield from (f"{folder}{os.sep}{name}" for name in names)


def folders(place: str) -> Iterator[tuple[str, list[str]]]:
    """Yields every folder of a project in which sources are looked for, and the names of those that are there."""
    for folder, inner, files in os.walk(place):
        inner[:] = sorted(
            name
            for name in inner
            if name[0] != "." and name not in ("__pycache__", "node_modules") and not _is_environment(folder, name)
        )
        yield folder, sorted(name for name in files if name.endswith(SOURCES))


def rows(record: bytes) -> list[tuple[str, str, str]]:
    """Returns path, hash and length of each file that a RECORD lists, as they stand there.

    Raises:
        ValueError: A line is not made of these three; the message names it.
    """
    found = []
    lines = csv.reader(io.StringIO(record.decode(), newline=""), strict=True)
    try:
        for line in filter(None, lines):
            path, digest, length = line
            if not path or digest.partition("=")[0] not in {"", *_HASHES} or not f"0{length}".isdecimal():
                raise ValueError
            found.append((path.replace(os.sep, "/"), digest, length))
    except (ValueError, csv.Error):
        raise ValueError(f"line {lines.line_num} is not `path,algorithm=digest,length`") from None
    return found


def is_outside(path: str) -> bool:
    """Returns whether a path of a RECORD leads out of the folder in which the distribution is found."""
    return os.path.isabs(path) or ".." in path.split("/")


def is_compiled(path: str) -> bool:
    """Returns whether Python writes a file itself, and may write it anew, whatever an installer said of it."""
    return "__pycache__/" in path


def open_regular(path: str) -> io.FileIO:
    """Returns a regular file, open for reading; nothing blocks.

    Raises:
        OSError: It is something else, or is not there, or cannot be read.
        ValueError: Its name cannot be one.
    """
    descriptor = os.open(path, _READ)
    if not index.is_regular(os.fstat(descriptor)):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return io.FileIO(descriptor)


def read(path: str, limit: int = _FILE_LIMIT) -> bytes:
    """Returns what is in a regular file, up to a limit; nothing when there is none that can be read."""
    try:
        descriptor = os.open(path, _READ)
        try:
            status = os.fstat(descriptor)
            # No more is asked for than there is: memory is taken for all that is asked.
            return os.read(descriptor, min(status.st_size, limit)) if index.is_regular(status) else b""
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return b""


def _record(distribution: Distribution) -> bytes:
    return read(f"{distribution.info}{os.sep}RECORD")


def _brought(record: bytes) -> list[bytes]:
    """Returns the lines of a RECORD for what came with the wheel.

    pip writes the wheel's own RECORD, then compiles, and then writes one with what it has added: that is no change.
    """
    return sorted(line for line in record.splitlines() if not line.partition(b",")[0].endswith(_ADDED))


def _name_in_store(distribution: Distribution) -> str:
    """Returns the name of a distribution's folder in the store, by which its content is known; else nothing."""
    folder, _, name = distribution.origin.rpartition(os.sep)
    return name if folder == index.store_folder() else ""


def _content_of_sources(place: str, known: list[bytes]) -> str:
    digest = hashlib.sha256(repr(known).encode())
    places = list(islice(sources(place), MOST_SOURCES + 1))
    left = _SOURCES_LIMIT
    for path in places:
        data = read(path, left + 1)
        left -= len(data)
        if left < 0:
            return ""
        digest.update(f"{path[len(place) :]}\0{len(data)}\0".encode("utf-8", "surrogatepass"))
        digest.update(data)
    return digest.hexdigest() if places and len(places) <= MOST_SOURCES else ""


def _is_environment(folder: str, name: str) -> bool:
    return os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))


def _faults(distribution: Distribution, record: bytes) -> Iterator[str]:
    """Yields what is wrong with a distribution's files."""
    folder, info = os.path.split(distribution.info)
    if not record:
        yield "it has no RECORD"
        return
    try:
        listed = rows(record)
    except ValueError as exc:
        yield f"its RECORD cannot be used: {exc}"
        return
    if f"{info}/METADATA" not in {path for path, _, _ in listed}:
        yield "its RECORD does not list its METADATA"  # it is cut off, or somebody else's
    for path, digest, length in listed:
        is_judged = digest or path.startswith(f"{info}/")
        if is_judged and not is_outside(path) and not is_compiled(path):
            fault = _fault(f"{folder}{os.sep}{path}", digest, length)
            if fault:
                yield f"{path} {fault}"


def _fault(path: str, digest: str, length: str) -> str:
    """Returns what is wrong with a file; nothing when it is as its RECORD says."""
    algorithm, _, expected = digest.partition("=")
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if length and size != int(length):
                return f"has {size:,} bytes, and {int(length):,} were installed"
            if not digest:
                return ""
            found = hashlib.file_digest(file, algorithm).digest()
    except (FileNotFoundError, NotADirectoryError):
        return "is gone"
    except OSError as exc:
        return f"cannot be read: {exc.strerror}"
    except ValueError as exc:  # a path with NUL, an algorithm that this machine does not allow
        return f"cannot be read: {exc}"
    return "" if encoded(found) == expected.rstrip("=") else "is not as it was installed"


def encoded(digest: bytes) -> str:
    """Returns a hash as RECORD writes it."""
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _incomplete(distribution: Distribution, faults: list[str]) -> Finding:
    more = "; and more" if len(faults) > _MOST_FAULTS else ""
    name = distribution.name
    mend = f"reinstall it: pip install --force-reinstall {name}"
    if _name_in_store(distribution):
        mend = "have it unpacked anew: pluginhost cache --clear"
    elif project := loose(distribution):
        mend = f"install it again: pip install -e {project}"
    return Finding(
        "distribution-incomplete",
        f"{distribution} in {distribution.origin} is not whole: {'; '.join(faults[:_MOST_FAULTS])}{more}",
        f"let the install end that may go on at this moment; or {mend}",
        distribution.info,
    )
