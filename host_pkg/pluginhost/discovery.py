"""Which plugins are installed, read from metadata alone; nothing of them is imported.

The common case, a folder on `sys.path`, is a plain scan. What the scan does not know (a zip, an egg, another finder)
goes through importlib-metadata. Each distribution stands alone: what is wrong with one is a finding and costs that one.
"""

from __future__ import annotations

import os
import sys

from pluginhost.errors import Finding
from pluginhost.index import is_regular, search_path, signature, signature_of
from pluginhost.metadata import (
    parse_editable,
    parse_entry_points,
    parse_manifest,
    parse_metadata,
    parse_record,
)
from pluginhost.survey import Candidate, Distribution, Facts

# `typing` is not imported on the road of a survey; type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Final, TypeAlias

    from importlib_metadata import Distribution as _Distribution

    from pluginhost.index import Signature

    # What a finder of importlib-metadata, or of the standard library, yields.
    Foreign: TypeAlias = _Distribution

FILE_LIMIT: Final = 1 << 20
"""Bytes of a metadata file at most; real ones have some kilobytes."""

RECORD_LIMIT: Final = 1 << 24
"""Bytes of a RECORD at most; that of a distribution with ten thousand files has more than a megabyte."""

# Opening what is not a regular file does not block.
_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)

MANIFEST: Final = "extra_metadata/pluginapi.json"


def discover(group: str, api: str | None = None, path: Sequence[str] | None = None) -> Discovery:
    """Returns the plugins that are installed, and the API distribution; imports nothing of either.

    Args:
        group: The entry-point group.
        api: The import name of the API package; `None` for a group that has no API.
        path: The folders and archives to search; `sys.path` and the other finders when left out.
    """
    found = Discovery(path)
    found.find_candidates(group)
    if api is not None:
        found.find_api(api)
    return found


def read_archive(path: str) -> list[Distribution]:
    """Returns the distributions in an archive, such as the one in a wheel file, without those that cannot be read."""
    return Discovery([path]).distributions()


def normalize(name: str) -> str:
    """Returns a distribution's name as importlib-metadata compares it (PEP 503, with underscores)."""
    name = name.lower().replace("-", "_").replace(".", "_")
    while "__" in name:
        name = name.replace("__", "_")
    return name


class Discovery:
    """One pass over the search path, and what it found.

    Attributes:
        path: The folders and archives that were searched.
        candidates: The plugins of one group, sorted by name and distribution.
        api: The API distribution; `None` when it is not installed or was not asked for.
        findings: What is wrong with distributions and folders.
        seen: The signature of every file and folder that was read; `None` when something has none.
    """

    __slots__ = ("_shadowed", "_unshadowed", "api", "candidates", "findings", "path", "seen")

    def __init__(self, path: Sequence[str] | None = None) -> None:
        self.path = search_path() if path is None else list(path)
        self.candidates: list[Candidate] = []
        self.api: Distribution | None = None
        self.findings: list[Finding] = []
        self.seen: dict[str, Signature] | None = {}
        self._unshadowed: dict[str, tuple[str, str | Foreign]] = {}
        self._shadowed: dict[str, list[str]] = {}
        for origin, name, info in self._everything(only_path=path is not None):
            first = self._unshadowed.setdefault(name, (origin, info))
            if first[1] is not info:
                self._shadowed.setdefault(name, []).append(_place(info))

    def find_candidates(self, group: str) -> None:
        """Finds the plugins that register under a group."""
        for name, (origin, info) in self._unshadowed.items():
            try:
                data = self._read(info, "entry_points.txt")
                entries = parse_entry_points(data.decode(), group) if data else []
            except (OSError, ValueError) as exc:
                self._unreadable(info, "entry_points.txt", exc)
                continue
            if entries and (distribution := self._distribution(name, origin, info)):
                self.candidates += [Candidate(group, *entry, distribution) for entry in entries]
        self.candidates.sort(key=lambda candidate: (candidate.name, candidate.distribution.name))

    def find_api(self, package: str) -> None:
        """Finds the distribution that provides an API package: the one called as it, else the one stamped with it."""
        key = normalize(package)
        if key in self._unshadowed:
            self.api = self._distribution(key, *self._unshadowed[key])
            return
        for name, (origin, info) in self._unshadowed.items():
            try:
                data = self._read(info, MANIFEST)
            except OSError:
                continue
            if data and parse_manifest(data).provides == package:
                self.api = self._distribution(name, origin, info)
                return

    def distributions(self) -> list[Distribution]:
        """Returns every distribution that is not shadowed and can be read."""
        found = (self._distribution(name, *where) for name, where in self._unshadowed.items())
        return [distribution for distribution in found if distribution]

    def installed(self, name: str) -> str | None:
        """Returns the version of an installed distribution; `None` when it is not installed."""
        where = self._unshadowed.get(normalize(name))
        if where is None:
            return None
        if isinstance(where[1], str):
            # The folder's name has it: `name-version.dist-info`, `name-version-py3.x.egg-info`.
            version = os.path.basename(where[1]).rpartition(".")[0].partition("-")[2].partition("-")[0]
            if version:
                return version
        distribution = self._distribution(normalize(name), *where)
        return distribution.version if distribution else None

    def sign(self, path: str) -> None:
        """Notes what a file or folder is like before it is read, so that a change meanwhile shows later."""
        if self.seen is not None:
            self.seen[path] = signature(path)

    def _distribution(self, key: str, origin: str, info: str | Foreign) -> Distribution | None:
        """Returns a distribution with all that admission judges it by, or leaves a finding."""
        file = "PKG-INFO" if isinstance(info, str) and info.lower().endswith(".egg-info") else "METADATA"
        try:
            data = self._read(info, file)
            if data is None:
                raise OSError("the file is missing")
            name, version, requires_python, requires = parse_metadata(data.decode())
            file = MANIFEST
            stamp = self._read(info, file)
            # These two only installers write, with the folder that they stand in: they need no signature of their own.
            file = "RECORD"
            record = self._read(info, file, sign=False)
            files = None if record is None else parse_record(record.decode())
            file = "direct_url.json"
            editable = parse_editable(self._read(info, file, sign=False) or b"")
        except (OSError, ValueError) as exc:
            self._unreadable(info, file, exc)
            return None
        manifest = parse_manifest(stamp) if stamp is not None else None
        facts = Facts(requires, requires_python, manifest, files, editable, self._shadowed.get(key))
        return Distribution(name, version, origin, _place(info), facts)

    def _read(self, info: str | Foreign, file: str, *, sign: bool = True) -> bytes | None:
        """Returns the content of a distribution's metadata file, and signs it; `None` when there is none.

        Raises:
            OSError: It cannot be read, or is too large.
        """
        if isinstance(info, str):
            data = self._read_file(info, file, sign=sign)
        else:
            try:
                text = info.read_text(file)
                if text is None and file == "METADATA":
                    text = info.read_text("PKG-INFO")
            except Exception as exc:  # an archive may be damaged in many ways, and a finder do what it likes
                raise OSError(f"{type(exc).__name__}: {exc}") from exc
            data = None if text is None else text.encode("utf-8", "surrogateescape")
        limit = _limit(file)
        if data is not None and len(data) > limit:
            raise OSError(f"it has more than {limit:,} bytes")
        return data

    def _read_file(self, info: str, file: str, *, sign: bool) -> bytes | None:
        # By descriptor: there are thousands of these, and an opened file is signed for less than one that is named.
        path = f"{info}{os.sep}{file}"
        try:
            descriptor = os.open(path, _READ)
        except (FileNotFoundError, NotADirectoryError):
            if sign:
                self._sign_absent(path, info)
            return None
        except OSError:
            self.sign(path)
            raise
        try:
            status = os.fstat(descriptor)
            if sign and self.seen is not None:
                self.seen[path] = signature_of(status)
            if not is_regular(status):
                raise OSError("it is not a regular file")
            return os.read(descriptor, min(status.st_size, _limit(file)) + 1)  # memory is taken for all that is asked
        finally:
            os.close(descriptor)

    def _unreadable(self, info: str | Foreign, file: str, exc: Exception) -> None:
        """Leaves the finding that a distribution's file cannot be used."""
        place = _place(info)
        stem = os.path.basename(place).rpartition(".")[0].partition("-")[0]
        self.findings.append(
            Finding(
                "metadata-unreadable" if isinstance(exc, OSError) else "metadata-malformed",
                f"{place}{os.sep}{file}: {exc}; whatever {stem} registers is left out",
                f"reinstall it (pip install --force-reinstall {stem}), or remove the folder",
                f"{place}{os.sep}{file}",
            )
        )

    def _everything(self, *, only_path: bool) -> Iterator[tuple[str, str, str | Foreign]]:
        """Yields origin, normalised name and metadata folder of every distribution, shadowed ones too."""
        if only_path:
            yield from self._on_path()
            return
        for finder in sys.meta_path:
            module = getattr(finder, "__module__", "")
            if getattr(finder, "__name__", "") == "PathFinder" and module == "_frozen_importlib_external":
                yield from self._on_path()
            elif hasattr(finder, "find_distributions") and module != "importlib_metadata":
                self.seen = None
                yield from self._foreign(f"finder {finder!r}", finder=finder)

    def _on_path(self) -> Iterator[tuple[str, str, str | Foreign]]:
        for folder in self.path:
            self.sign(folder)
            if folder.lower().endswith(".egg"):
                if os.path.isdir(folder):
                    self.seen = None
                yield from self._foreign(folder)
                continue
            try:
                children = sorted(os.listdir(folder))
            except FileNotFoundError:
                continue  # as for imports, a folder that is not there is no fault
            except NotADirectoryError:
                yield from self._foreign(folder)
                continue
            except (OSError, ValueError) as exc:
                self._unsearchable(folder, f"cannot be listed: {exc}")
                continue
            for child in children:
                low = child.lower()
                if not low.endswith((".dist-info", ".egg-info")):
                    continue
                if child.startswith("~"):
                    self._leftover(f"{folder}{os.sep}{child}")
                    continue
                name = normalize(low.rpartition(".")[0].partition("-")[0])
                yield folder, name, f"{folder}{os.sep}{child}"

    def _foreign(self, origin: str, finder: object = None) -> Iterator[tuple[str, str, Foreign]]:
        """Yields what only importlib-metadata can read: archives, eggs, the distributions of other finders."""
        import importlib_metadata  # a survey of plain folders does without it

        try:
            if finder is None:
                found = importlib_metadata.distributions(path=[origin])
            else:
                context = importlib_metadata.DistributionFinder.Context()  # type: ignore[no-untyped-call]
                found = finder.find_distributions(context)  # type: ignore[attr-defined]
            for distribution in found:
                yield origin, normalize(distribution.name), distribution  # type: ignore[misc]
        except Exception as exc:  # a finder is somebody's code, and may raise what it likes
            self._unsearchable(origin, f"cannot be searched: {type(exc).__name__}: {exc}")

    def _unsearchable(self, origin: str, what: str) -> None:
        hint = "mend its permissions, or take it off sys.path (PYTHONPATH, a .pth file)"
        self.findings.append(Finding("path-unreadable", f"{origin} {what}", hint, origin))

    def _leftover(self, path: str) -> None:
        self.findings.append(
            Finding(
                "distribution-leftover",
                f"{path} is what pip left of an uninstall that did not finish; it is passed over",
                f"remove the folder: {path}",
                path,
            )
        )

    def _sign_absent(self, path: str, info: str) -> None:
        """Notes the nearest folder that is there: it changes when the file comes."""
        if self.seen is not None:
            place = path.rpartition(os.sep)[0]
            while place != info and not os.path.isdir(place):
                place = place.rpartition(os.sep)[0]
            self.sign(place)


def _limit(file: str) -> int:
    return RECORD_LIMIT if file == "RECORD" else FILE_LIMIT


def _place(info: str | Foreign) -> str:
    return info if isinstance(info, str) else str(getattr(info, "_path", info))
