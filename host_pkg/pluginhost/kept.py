"""Copies of what is installed, in the store: what a host can return to.

An installer takes away the version that it replaces, and an editor overwrites it. So a copy is made while it is there.
As with wheels, whoever finds a folder in the store finds all of it, under the name of its content.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from typing import TYPE_CHECKING, NamedTuple

from pluginhost import index, intact, store
from pluginhost.copies import places
from pluginhost.errors import Finding, PluginRefused
from pluginhost.metadata import parse_entry_points

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Final

    from pluginhost.discovery import Discovery
    from pluginhost.survey import Candidate, Distribution, Row

LIMIT: Final = 1 << 28
"""Bytes of a copy at most; what has more is not kept."""

_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class _Unkept(Exception):
    """A copy would not be what is installed."""


class _File(NamedTuple):
    """A file that is to be copied.

    Attributes:
        path: Where it stands in the copy, with forward slashes.
        source: Where it is.
        digest: The hash that RECORD has of it; empty when it has none.
        root: Without a hash, the folder that no link may lead out of.
    """

    path: str
    source: str
    digest: str
    root: str


def keep(candidate: Candidate, made_of: str) -> str:
    """Returns the store's folder that holds a copy of a plugin's distribution; it is made if it is not there.

    Of an editable install, the packages of its plugins are copied, with all their files.

    Args:
        candidate: The plugin.
        made_of: What `intact.content` returned when the plugin was imported.

    Returns:
        Nothing when there is no copy: the store cannot be written, the files are not those of `made_of` any more, or
        they are an archive's, or too large; or it is the program of an editable install, which `made_of` does not know.
    """
    of = candidate.distribution
    if os.path.dirname(of.origin) == index.store_folder():
        return of.origin
    if candidate.program and intact.loose(of):
        return ""
    copy = intact.copy_of(made_of)
    if copy is not None:
        return copy
    if os.path.isfile(of.origin):
        return ""
    try:
        with store.temporary() as folder:
            tree = os.path.join(folder, "tree")
            os.mkdir(tree, 0o700)
            _copy_all(list(_files(candidate)), tree, os.path.basename(of.info))
            if intact.content(of) != made_of:  # it was changed meanwhile
                return ""
            return store.put(tree, os.path.join(index.store_folder(), made_of), os.path.basename(of.info))
    except (OSError, ValueError, _Unkept):
        return ""


def row(entry: str, candidate: Candidate, api: str | None, unpacked: Sequence[str] = ()) -> Row:
    """Returns the survey's row of a plugin as it is in a folder of the store, judged by what is installed now.

    Args:
        entry: What `keep` returned.
        candidate: The plugin, of whatever version.
        api: The import name of the API package; `None` when there is none.
        unpacked: The folders of unpacked wheels in which its dependencies may be.

    Raises:
        PluginRefused: The copy is gone, or not whole.
    """
    if not index.is_own_folder(entry):
        raise _unknown(candidate, f"there is no copy of it{entry and f' in {entry}'}")
    of = candidate.distribution
    own, _ = rows(entry, candidate.group, api, unpacked)
    kept = next((each for each in own if each.name == candidate.name and _is_named(each.distribution, of.name)), None)
    if kept is None:
        raise _unknown(candidate, f"its copy in {entry} has no such plugin")
    try:
        intact.require_whole(kept.candidate.distribution)
    except PluginRefused as exc:
        raise _unknown(candidate, exc.finding.message) from exc
    kept.candidate.distribution.name = of.name  # however its metadata spells that
    return kept


def rows(entry: str, group: str, api: str | None, unpacked: Sequence[str]) -> tuple[list[Row], Discovery]:
    """Returns the rows of the plugins in a folder of the store, judged by what is installed now, and all that was read.

    They are judged as if they were installed: in the place of another version of their distribution, with which they
    neither clash nor share files, and picked where others have their name.

    Args:
        entry: The folder.
        group: The entry-point group.
        api: The import name of the API package; `None` when there is none.
        unpacked: The folders of unpacked wheels in which their dependencies may be.
    """
    from pluginhost import admission, discovery  # few return, or have two versions

    inside, found = discovery.discover(group, path=[entry]), discovery.discover(group, api, unpacked=unpacked)
    own = inside.candidates
    names = {discovery.normalize(each.distribution.name) for each in own}
    others = [each for each in found.candidates if discovery.normalize(each.distribution.name) not in names]
    found.candidates = [*others, *own]
    judged = [each for each in admission.admit(found, api) if each.candidate in own]
    for each in judged:
        each.pick()
    found.findings = inside.findings
    found.seen = found.seen and inside.seen and found.seen | inside.seen
    return judged, found


def _is_named(distribution: str, name: str) -> bool:
    from pluginhost import discovery

    return discovery.normalize(distribution) == discovery.normalize(name)


def _files(candidate: Candidate) -> Iterator[_File]:
    """Yields what a copy of a plugin's distribution is made of.

    Raises:
        _Unkept: The sources of an editable install are not found.
        ValueError: Its RECORD cannot be used.
    """
    of = candidate.distribution
    record = intact.read(f"{of.info}{os.sep}RECORD")
    project = intact.loose(of)
    folder, info = os.path.dirname(of.info), f"{os.path.basename(of.info)}/"
    without = {f"{info}RECORD", f"{info}direct_url.json"}  # the copy has its own, and was not installed from anywhere
    for path, digest, _ in intact.rows(record):
        is_copied = path not in without and not intact.is_outside(path) and not intact.is_compiled(path)
        if is_copied and (not project or path.startswith(info)):
            yield _File(path, f"{folder}{os.sep}{path}", digest, folder)
    if project:
        yield from _sources(candidate, project)


def _sources(candidate: Candidate, project: str) -> Iterator[_File]:
    """Yields the files of the packages in which an editable install's plugins are."""
    entries = intact.read(f"{candidate.distribution.info}{os.sep}entry_points.txt").decode()
    values = [value for _, value in parse_entry_points(entries, candidate.group)]
    modules = [value.partition("[")[0].partition(":")[0].strip() for value in values]
    found: dict[str, _File] = {}
    for module in modules:
        name, place = _own_package(module, project)
        if module == candidate.module and not place:
            raise _Unkept
        top = name.replace(".", "/")
        if os.path.basename(place) == "__init__.py":
            folder = os.path.dirname(place)
            paths = {f"{top}/{each}": os.path.join(folder, each) for each in _listing(folder)}
        else:
            paths = {f"{top}.py": place} if place else {}
        found |= {path: _File(path, source, "", project) for path, source in paths.items()}
    yield from found.values()


def _own_package(module: str, project: str) -> tuple[str, str]:
    """Returns the outermost package of a module that is not shared, as a namespace package is, and its first file."""
    # A project may be on the path from the next start on; and there are finders that know of it alone.
    path = [*index.search_path(), os.path.join(project, "src"), project]
    parts = module.split(".")
    for number in range(1, len(parts) + 1):
        name = ".".join(parts[:number])
        for place in places(name, path):
            if _is_within(place, project):
                return name, place
    return module, ""


def _listing(folder: str) -> Iterator[str]:
    """Yields the files below a folder, as paths from there."""
    for parent, folders, names in os.walk(folder, onerror=_fail):
        for name in folders:
            if os.path.islink(os.path.join(parent, name)):
                raise _Unkept  # what is behind it may be anything
        folders[:] = [name for name in folders if name != "__pycache__"]
        here = os.path.relpath(parent, folder)
        yield from (os.path.normpath(os.path.join(here, name)).replace(os.sep, "/") for name in names)


def _fail(exc: OSError) -> None:
    raise exc


def _copy_all(files: list[_File], tree: str, info: str) -> None:
    """Copies files into a folder, and writes a RECORD of them.

    Raises:
        _Unkept: One is not what it should be, or all of them are too large.
        OSError: One cannot be read or written.
    """
    if sum(os.stat(file.source).st_size for file in files) > LIMIT:
        raise _Unkept
    rows: list[tuple[str, str, int | str]] = []
    for file in files:
        if not file.digest and not _is_within(file.source, file.root):
            raise _Unkept
        target = os.path.join(tree, *file.path.split("/"))
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        with intact.open_regular(file.source) as source:
            algorithm, _, expected = file.digest.partition("=")
            found, size = _copy(source, target, algorithm or "sha256")
        if file.digest and found != expected.rstrip("="):
            raise _Unkept
        rows.append((file.path, f"{algorithm or 'sha256'}={found}", size))
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([*rows, (f"{info}/RECORD", "", "")])
    with open(os.open(os.path.join(tree, info, "RECORD"), _WRITE, 0o600), "wb") as record:
        record.write(text.getvalue().encode())


def _copy(source: io.FileIO, target: str, algorithm: str) -> tuple[str, int]:
    """Returns the hash, as RECORD writes it, and the length of a file that is copied."""
    digest, size = hashlib.new(algorithm), 0
    mode = 0o600 | (os.fstat(source.fileno()).st_mode & 0o100)  # a plugin may bring programs, and start them
    with open(os.open(target, _WRITE, mode), "wb") as file:
        while data := source.read(store.CHUNK):
            size += len(data)
            digest.update(data)
            file.write(data)
    return intact.encoded(digest.digest()), size


def _is_within(path: str, folder: str) -> bool:
    """Returns whether no link leads from below a folder out of it."""
    return os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ""))


def _unknown(candidate: Candidate, what: str) -> PluginRefused:
    of: Distribution = candidate.distribution
    return PluginRefused(
        Finding(
            "rollback-unknown",
            f"{candidate} cannot be returned to: {what}",
            f"install the version that you want, and reload; next: pip install {of.name}==VERSION",
            of.info,
        )
    )
