"""Which plugins are installed, read from metadata alone; nothing of them is imported.

The common case, a folder on `sys.path`, is a plain scan. What the scan does not know (a zip, an egg, another finder)
goes through importlib-metadata. Each distribution stands alone: what is wrong with one is a finding and costs that one.
"""

from __future__ import annotations

import os
import sys

from pluginhost.errors import Finding
from pluginhost.index import search_path, signature

# `typing` is not imported on the road of a survey; type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Final, TypeAlias

    from importlib_metadata import Distribution as _Distribution

    from pluginhost.index import Signature
    from pluginhost.metadata import Manifest

    # What a finder of importlib-metadata, or of the standard library, yields.
    Foreign: TypeAlias = _Distribution

FILE_LIMIT: Final = 1 << 20
"""Bytes of a metadata file at most; real ones have some kilobytes."""

MANIFEST: Final = "extra_metadata/pluginapi.json"


class Distribution:
    """An installed distribution, as far as admission needs it.

    Attributes:
        name: Its name as its metadata writes it.
        version: Its version.
        origin: The folder or archive on the search path where it is found.
        info: Its metadata folder.
        requires: Its `Requires-Dist` lines.
        manifest: What its build stamped; `None` for a wheel of another build backend.
    """

    __slots__ = ("info", "manifest", "name", "origin", "requires", "version")

    def __init__(
        self,
        name: str,
        version: str,
        origin: str,
        info: str,
        requires: list[str] | None = None,
        manifest: Manifest | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.origin = origin
        self.info = info
        self.requires = requires or []
        self.manifest = manifest

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def to_plain(self) -> tuple[str, str, str, str]:
        """Returns what identifies it, for the index; what it was judged from stays behind."""
        return self.name, self.version, self.origin, self.info


class Candidate:
    """A discovered plugin, nothing of it imported.

    Attributes:
        group: The entry-point group.
        name: The entry point's name.
        value: The entry point's value as written.
        distribution: The distribution that registers it. Group, name and distribution are its identity.
        module: The module that the value names.
        factory: The factory that the value names; `New` when it names a module alone.
    """

    __slots__ = ("distribution", "factory", "group", "module", "name", "value")

    def __init__(self, group: str, name: str, value: str, distribution: Distribution) -> None:
        self.group = group
        self.name = name
        self.value = value
        self.distribution = distribution
        module, _, factory = value.partition("[")[0].partition(":")
        self.module = module.strip()
        self.factory = factory.strip() or "New"

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution})"


class Discovery:
    """What there is.

    Attributes:
        candidates: The plugins of one group, sorted by name and distribution.
        api: The API distribution; `None` when it is not installed or was not asked for.
        findings: What is wrong with distributions and folders.
        seen: The signature of every file and folder that this was read from; `None` when some of it has none.
    """

    __slots__ = ("api", "candidates", "findings", "seen")

    def __init__(self) -> None:
        self.candidates: list[Candidate] = []
        self.api: Distribution | None = None
        self.findings: list[Finding] = []
        self.seen: dict[str, Signature] | None = {}


def discover(group: str, api: str | None = None, path: Sequence[str] | None = None) -> Discovery:
    """Returns the plugins that are installed, and the API distribution; imports nothing of either.

    Args:
        group: The entry-point group.
        api: The import name of the API package; `None` for a group that has no API.
        path: The folders and archives to search; `sys.path` and the other finders when left out.
    """
    from pluginhost.metadata import parse_entry_points  # what the index answers does without it

    scan = _Scan()
    for origin, info in scan.unshadowed(path):
        try:
            data = scan.read(info, "entry_points.txt")
            entries = parse_entry_points(data.decode(), group) if data else []
        except (OSError, ValueError) as exc:
            scan.report(info, "entry_points.txt", exc)
            continue
        if entries and (distribution := scan.distribution(origin, info)):
            scan.found.candidates += [Candidate(group, *entry, distribution) for entry in entries]
    scan.found.candidates.sort(key=lambda candidate: (candidate.name, candidate.distribution.name))
    if api is not None:
        scan.found.api = scan.api(api)
    return scan.found


def read_archive(path: str) -> list[Distribution]:
    """Returns the distributions in an archive, such as the one in a wheel file, without those that cannot be read."""
    scan = _Scan()
    return [found for origin, info in scan.unshadowed([path]) if (found := scan.distribution(origin, info))]


def normalize(name: str) -> str:
    """Returns a distribution's name as importlib-metadata compares it (PEP 503, with underscores)."""
    name = name.lower().replace("-", "_").replace(".", "_")
    while "__" in name:
        name = name.replace("__", "_")
    return name


class _Scan:
    """One pass over the search path, and what it left: distributions, findings, signatures."""

    __slots__ = ("_distributions", "found")

    def __init__(self) -> None:
        self.found = Discovery()
        self._distributions: dict[str, tuple[str, str | Foreign]] = {}

    def unshadowed(self, path: Sequence[str] | None) -> Iterable[tuple[str, str | Foreign]]:
        """Returns where each distribution is and what it is; the first of a name on the path shadows the others."""
        for origin, name, info in self._everything(path):
            self._distributions.setdefault(name, (origin, info))
        return self._distributions.values()

    def distribution(self, origin: str, info: str | Foreign) -> Distribution | None:
        """Returns a distribution with its metadata, or leaves a finding."""
        from pluginhost.metadata import parse_manifest, parse_metadata

        file = "PKG-INFO" if isinstance(info, str) and info.lower().endswith(".egg-info") else "METADATA"
        try:
            data = self.read(info, file)
            if data is None:
                raise OSError("the file is missing")
            name, version, requires = parse_metadata(data.decode())
            file = MANIFEST
            stamp = self.read(info, file)
        except (OSError, ValueError) as exc:
            self.report(info, file, exc)
            return None
        return Distribution(name, version, origin, _place(info), requires, (stamp and parse_manifest(stamp)) or None)

    def api(self, package: str) -> Distribution | None:
        """Returns the distribution that provides an API package: the one called as it, else the one stamped with it."""
        from pluginhost.metadata import parse_manifest

        if found := self._distributions.get(normalize(package)):
            return self.distribution(*found)
        for origin, info in self._distributions.values():
            try:
                data = self.read(info, MANIFEST)
            except OSError:
                continue
            if data and parse_manifest(data).provides == package:
                return self.distribution(origin, info)
        return None

    def read(self, info: str | Foreign, file: str) -> bytes | None:
        """Returns the content of a distribution's metadata file; `None` when there is none.

        Raises:
            OSError: It cannot be read, or is too large.
        """
        if not isinstance(info, str):
            text = info.read_text(file)
            if text is None and file == "METADATA":
                text = info.read_text("PKG-INFO")
            return None if text is None else text.encode("utf-8", "surrogateescape")
        path = f"{info}{os.sep}{file}"
        self._sign(path)
        try:
            with open(path, "rb", buffering=0) as stream:
                data = stream.read(FILE_LIMIT + 1)
        except (FileNotFoundError, NotADirectoryError):
            if self.found.seen is not None:
                del self.found.seen[path]
                self._sign(os.path.dirname(path))  # the folder shows when the file comes
            return None
        if len(data) > FILE_LIMIT:
            raise OSError(f"it has more than {FILE_LIMIT:,} bytes")
        return data

    def report(self, info: str | Foreign, file: str, exc: Exception) -> None:
        """Leaves the finding that a distribution's file cannot be used."""
        place = _place(info)
        stem = os.path.basename(place).rpartition(".")[0].partition("-")[0]
        self.found.findings.append(
            Finding(
                "metadata-unreadable" if isinstance(exc, OSError) else "metadata-malformed",
                f"{place}{os.sep}{file}: {exc}; whatever {stem} registers is left out",
                f"reinstall it (pip install --force-reinstall {stem}), or remove the folder",
                f"{place}{os.sep}{file}",
            )
        )

    def _everything(self, path: Sequence[str] | None) -> Iterator[tuple[str, str, str | Foreign]]:
        """Yields origin, normalised name and metadata folder of every distribution, shadowed ones too."""
        if path is not None:
            yield from self._on_path(path)
            return
        for finder in sys.meta_path:
            module = getattr(finder, "__module__", "")
            if getattr(finder, "__name__", "") == "PathFinder" and module == "_frozen_importlib_external":
                yield from self._on_path(search_path())
            elif hasattr(finder, "find_distributions") and module != "importlib_metadata":
                self.found.seen = None
                yield from self._foreign(f"finder {finder!r}", finder=finder)

    def _on_path(self, path: Iterable[str]) -> Iterator[tuple[str, str, str | Foreign]]:
        for folder in path:
            self._sign(folder)
            if folder.lower().endswith(".egg"):
                if os.path.isdir(folder):
                    self.found.seen = None
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
                if low.endswith((".dist-info", ".egg-info")):
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
        self.found.findings.append(Finding("path-unreadable", f"{origin} {what}", hint, origin))

    def _sign(self, path: str) -> None:
        """Notes what a file or folder is like before it is read, so that a change meanwhile shows later."""
        if self.found.seen is not None:
            self.found.seen[path] = signature(path)


def _place(info: str | Foreign) -> str:
    return info if isinstance(info, str) else str(getattr(info, "_path", info))
