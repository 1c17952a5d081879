"""What an archive must be before anything is read out of it: a table that says one thing, however it is read.

zipfile reads archives; it believes their table. Here the table is held against the bytes: every member stands where the
table says, none shares bytes with another, none is hidden between them, and none is named or made as no file should be.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
import unicodedata
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO, Final

MOST_MEMBERS: Final = 10_000
"""Members at most; real wheels of plugins have some dozens, the largest of all some thousands."""

ARCHIVE_LIMIT: Final = 1 << 30
"""Bytes of an archive, and of all its members together, at most."""

MEMBER_LIMIT: Final = 1 << 28
"""Bytes of a member at most."""

TABLE_LIMIT: Final = 1 << 22
"""Bytes of the table of members at most: ten thousand of them, with the longest names, have half of that."""

RATIO_LIMIT: Final = 200
"""How many times as large as in the archive a member may be, from `RATIO_FLOOR` on; source code has about four."""

RATIO_FLOOR: Final = 1 << 20
"""Bytes up to which the ratio of a member does not matter: so little can be anything."""

NAME_LIMIT: Final = 200
"""Bytes of a member's name at most: file systems take 255 for each part of a path, some of them for all of it."""

_END: Final = struct.Struct("<4s4H2LH")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_DEVICES: Final = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}


class Malformed(Exception):
    """The archive is no archive, or not a whole one."""


class Unsafe(Exception):
    """The archive says two things, or is made to do harm."""


def members(file: IO[bytes]) -> zipfile.ZipFile:
    """Returns the archive that a file holds; its table and the bytes agree, and nothing was read but them.

    Args:
        file: Open, and not changed by anybody meanwhile.

    Raises:
        Malformed: It is not an archive, or not a whole one.
        Unsafe: It should not be read on: all that is wrong with the table, a line each.
    """
    size = file.seek(0, os.SEEK_END)
    count, start = _end(file, size)
    try:
        archive = zipfile.ZipFile(file)
    except Exception as exc:  # zipfile raises much more than BadZipFile
        raise Malformed(f"its table of members cannot be read: {exc}") from exc
    infos = archive.infolist()
    if len(infos) != count or archive.start_dir != start:
        raise Unsafe(f"its table has {len(infos):,} members, and its end tells of {count:,}")
    faults = list(_faults(infos))
    if faults:
        raise Unsafe("; ".join(faults))
    _check_layout(file, infos, start)
    return archive


def names(file: IO[bytes]) -> list[str]:
    """Returns the names in an archive within an archive, which nothing is taken out of; none when it is not one.

    Raises:
        Unsafe: Its table is too large to be looked through.
    """
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - (1 << 16) - _END.size))
        tail = file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) - at < _END.size:
            return []
        _, _, _, _, count, length, _, _ = _END.unpack_from(tail, at)
        if count > MOST_MEMBERS or length > TABLE_LIMIT or tail[max(0, at - 20) : at].startswith(b"PK\6\7"):
            raise Unsafe("holds an archive whose table is too large to be looked through")
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except Unsafe:
        raise
    except Exception:  # what zipfile does not read, Python does not import from
        return []


def _end(file: IO[bytes], size: int) -> tuple[int, int]:
    """Returns how many members the last bytes tell of, and where their table begins."""
    if size > ARCHIVE_LIMIT:
        raise Unsafe(f"it has {size:,} bytes, and {ARCHIVE_LIMIT:,} is the most")
    if size < _END.size:
        raise Malformed(f"it has {size:,} bytes, and is not an archive or not a whole one")
    # With the place of the 64-bit locator, which zipfile would follow to another table.
    file.seek(max(0, size - _END.size - 20))
    tail = file.read()
    mark, disk, first, here, count, length, start, comment = _END.unpack(tail[-_END.size :])
    if mark != b"PK\5\6" or comment:
        file.seek(max(0, size - (1 << 16) - _END.size))
        if b"PK\5\6" in file.read():
            raise Unsafe("it has a comment, or bytes after its end")
        raise Malformed("it does not end as an archive does: it is none, or not a whole one")
    if tail.startswith(b"PK\6\7") or disk or first or here != count:
        raise Unsafe("it is of 64 bits or of several parts, which no wheel needs to be")
    if count > MOST_MEMBERS or length > TABLE_LIMIT:
        raise Unsafe(f"it has {count:,} members in a table of {length:,} bytes, and {MOST_MEMBERS:,} are the most")
    if start + length != size - _END.size:
        raise Unsafe("its table of members does not stand where its end says: bytes were put before or between")
    return count, start


def _faults(infos: list[zipfile.ZipInfo]) -> Iterator[str]:
    """Yields what is wrong with a table, each with some of the members that it is about."""
    by_fault: dict[str, list[str]] = {}
    for info in infos:
        for fault in _faults_of(info):
            by_fault.setdefault(fault, []).append(info.orig_filename)
    for fault, about in (by_fault | _collisions(infos)).items():
        yield f"{len(about):,} of its members {fault}: {shown(about)}"
    total = sum(info.file_size for info in infos)
    if total > ARCHIVE_LIMIT:
        yield f"its members have {total:,} bytes together, and {ARCHIVE_LIMIT:,} is the most"


def _faults_of(info: zipfile.ZipInfo) -> Iterator[str]:
    if fault := _fault_of_name(info.orig_filename, is_folder=info.is_dir()):
        yield fault
    elif info.filename != info.orig_filename and os.sep == "/":  # elsewhere zipfile turns its separators
        yield "have two names"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        yield "are links, devices or what else is no regular file"
    if info.flag_bits & 0x2061:
        yield "are encrypted or patches"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield "are compressed by another method than deflate"
    elif info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        yield "have two sizes"
    if info.is_dir() and info.file_size:
        yield "are folders with content"
    if info.file_size > MEMBER_LIMIT:
        yield f"have more than {MEMBER_LIMIT:,} bytes"
    elif info.file_size > max(RATIO_FLOOR, RATIO_LIMIT * info.compress_size):
        yield f"would be more than {RATIO_LIMIT} times as large as they are in the archive"


def _fault_of_name(name: str, *, is_folder: bool) -> str:
    parts = name.removesuffix("/").split("/") if is_folder else name.split("/")
    if len(name.encode("utf-8", "surrogatepass")) > NAME_LIMIT:
        return f"have names of more than {NAME_LIMIT} bytes"
    if not name.isprintable():
        return "have characters in their names that are not printable"
    if "\\" in name or ":" in name:
        return "have a backslash or a colon in their names"
    if any(part in ("", ".", "..") for part in parts):
        return "have names that are absolute or lead out of their folder"
    if any(part[-1] in ". " for part in parts):
        return "have names whose parts end with a dot or a space"
    if sys.platform == "win32" and any(part.partition(".")[0].lower() in _DEVICES for part in parts):
        return "have the names of devices"
    return ""


def _collisions(infos: list[zipfile.ZipInfo]) -> dict[str, list[str]]:
    """Returns the members of which one would overwrite another, on whatever file system."""
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for info in infos:
        name = info.orig_filename
        key = _folded(name.removesuffix("/"))
        if key in files or (info.is_dir() and folders.get(key) == name):
            found.setdefault("are there twice, or differ only in case or in the form of their letters", []).append(name)
        elif info.is_dir():
            folders[key] = name
        else:
            files[key] = name
        folders |= {parent: folders.get(parent, "") for parent in _parents(key)}
    if both := [name for key, name in files.items() if key in folders]:
        found["are files and folders at once"] = both
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _parents(key: str) -> Iterator[str]:
    while key := key.rpartition("/")[0]:
        yield key


def _check_layout(file: IO[bytes], infos: list[zipfile.ZipInfo], end: int) -> None:
    """Asserts that members stand one after the other, from the first byte to the table, each as the table says."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    starts = [info.header_offset for info in ordered] + [end]
    if starts[0] != 0:
        raise Unsafe(f"it has {starts[0]:,} bytes before its first member")
    for info, following in zip(ordered, starts[1:], strict=True):
        at = _end_of(file, info, following)
        if at != following:
            what = "shares bytes with the next" if at > following else "is followed by bytes of no member"
            raise Unsafe(f"its member {info.orig_filename!a} {what}")


def _end_of(file: IO[bytes], info: zipfile.ZipInfo, following: int) -> int:
    """Returns where a member's bytes end."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\3\4"):
        raise Unsafe(f"its member {info.orig_filename!a} is not where its table says")
    _, _, flags, method, _, _, crc, compressed, size, name_length, extra_length = _LOCAL.unpack(header)
    name = file.read(name_length).decode("utf-8" if flags & 0x800 else "cp437", "replace")
    told, own = (info.CRC, info.compress_size, info.file_size), (crc, compressed, size)
    deferred = bool(flags & 0x8)  # sizes stand behind the content
    agree = all(mine == table or (deferred and not mine) for mine, table in zip(own, told, strict=True))
    if not agree or (name, flags, method) != (info.orig_filename, info.flag_bits, info.compress_type):
        raise Unsafe(f"its member {info.orig_filename!a} says other things of itself than the table does")
    at: int = info.header_offset + _LOCAL.size + name_length + extra_length + info.compress_size
    if deferred and at < following:
        file.seek(at)
        found = file.read(min(24, following - at))
        forms = (struct.pack(form, *told) for form in ("<3L", "<L2Q"))
        at += next((len(form) for plain in forms for form in (b"PK\7\x08" + plain, plain) if found == form), 0)
    return at


def shown(texts: Iterable[str], most: int = 3) -> str:
    """Returns some texts, the first few of them and how many there are beside."""
    texts = list(texts)
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return ", ".join(ascii(text[:100]) for text in texts[:most]) + more
