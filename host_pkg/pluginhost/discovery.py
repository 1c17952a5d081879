"""Which plugins are installed, read from metadata alone; nothing of them is imported.

The common case, a folder on `sys.path`, is a plain scan. What the scan does not know (a zip, an egg, another finder)
goes through importlib-metadata. Each distribution stands alone: what is wrong with one is a finding and costs that one.
"""

from __future__ import annotations

import os
import sys
from itertools import chain

from pluginhost.errors import Finding, describe
from pluginhost.index import is_regular, search_path, signature, signature_of
from pluginhost.metadata import (
    parse_editable,
    parse_entry_points,
    parse_manifest,
    parse_metadata,
    parse_record,
    stray_line,
)
from pluginhost.survey import Candidate, Distribution, Facts

# `typing` is not imported on the road of a survey; type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, Final, TypeAlias

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

# What pip puts in the place of the first letter; digits too, which begin names of their own: `names` sees those.
_LEFTOVER: Final = "~-.=%"

MANIFEST: Final = "extra_metadata/pluginapi.json"


def discover(
    group: str, api: str | None = None, path: Sequence[str] | None = None, unpacked: Sequence[str] = ()
) -> Discovery:
    """Returns the plugins that are installed, and the API distribution; imports nothing of either.

    Args:
        group: The entry-point group.
        api: The import name of the API package; `None` for a group that has no API.
        path: The folders and archives to search; `sys.path` and the other finders when left out.
        unpacked: The folders of unpacked wheels; what is installed otherwise comes before them.
    """
    found = Discovery(path, unpacked)
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

    def __init__(self, path: Sequence[str] | None = None, unpacked: Sequence[str] = ()) -> None:
        searched = search_path() if path is None else list(path)
        self.path = [*searched, *unpacked]
        self.candidates: list[Candidate] = []
        self.api: Distribution | None = None
        self.findings: list[Finding] = []
        self.seen: dict[str, Signature] | None = {}
        self._unshadowed: dict[str, tuple[str, str | Foreign]] = {}
        self._shadowed: dict[str, list[str]] = {}
        found = self._on_path(searched) if path is not None else self._everything(searched)
        for origin, name, info in chain(found, self._on_path(unpacked)):
            first = self._unshadowed.setdefault(name, (origin, info))
            if first[1] is not info:
                self._shadowed.setdefault(name, []).append(_place(info))

    def find_candidates(self, group: str) -> None:
        """Finds the plugins that register under a group."""
        for name, (origin, info) in self._unshadowed.items():
            try:
                data = self._read(info, "entry_points.txt")
                text = data.decode() if data else ""
                entries = parse_entry_points(text, group)
            except (OSError, ValueError) as exc:
                self._unreadable(info, "entry_points.txt", exc)
                continue
            if line := stray_line(text):
                self._stray(info, line)
            if data is None and isinstance(info, str) and not _has_metadata(info):
                self._unreadable(info, "METADATA", OSError("the file is missing"))
            if entries and (distribution := self._distribution(name, origin, info)):
                self.candidates += [_candidate(group, *entry, distribution) for entry in entries]
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
        distribution = self.distribution(name)
        return distribution.version if distribution else None

    def distribution(self, name: str) -> Distribution | None:
        """Returns an installed distribution; `None` when it is not installed, or cannot be read."""
        where = self._unshadowed.get(normalize(name))
        return self._distribution(normalize(name), *where) if where else None

    def origins(self) -> set[str]:
        """Returns the folders and archives in which there are distributions that are not shadowed."""
        return {origin for origin, _ in self._unshadowed.values()}

    def sign_module(self, module: str) -> None:
        """Notes the folders in which a module's file is or would be: they change when it comes or goes."""
        relative = module.replace(".", os.sep)
        for entry in self.path:
            for file in (f"{relative}{os.sep}__init__.py", f"{relative}.py"):
                self._sign_absent(f"{entry}{os.sep}{file}", entry)

    def _sign(self, path: str) -> None:
        """Notes what a file or folder is like before it is read, so that a change meanwhile shows later."""
        if self.seen is not None:
            self.seen[path] = signature(path)

    def _distribution(self, key: str, origin: str, info: str | Foreign) -> Distribution | None:
        """Returns a distribution with all that admission judges it by, or leaves a finding."""
        file = "METADATA"
        try:
            data = self._read(info, file)
            if data is None:
                data = self._read(info, "PKG-INFO")
            if data is None and isinstance(info, str) and os.path.isfile(info):  # distutils wrote a file, not a folder
                data = self._read(*os.path.split(info))
            if data is None:
                raise OSError("the file is missing")
            name, version, requires_python, requires, extras = parse_metadata(data.decode())
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
        facts = Facts(requires, requires_python, manifest, files, editable, self._shadowed.get(key), extras)
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
                if _inflated(info, file) > _limit(file):
                    raise OSError(f"it has more than {_limit(file):,} bytes")
                text = info.read_text(file)
            except KeyboardInterrupt:
                raise
            except OSError:
                raise
            except BaseException as exc:  # an archive may be damaged in many ways, and a finder do what it likes
                raise OSError(describe(exc)) from exc
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
            if os.path.islink(path):
                self._sign(path)
                raise OSError("it is a link to nothing") from None
            if sign:
                self._sign_absent(path, info)
            return None
        except OSError:
            self._sign(path)
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
        if isinstance(exc, UnicodeDecodeError):
            line = exc.object.count(b"\n", 0, exc.start) + 1
            exc = ValueError(f"line {line} is not {exc.encoding.upper()}: {exc.reason}")
        place = _place(info)
        stem = os.path.basename(place).rpartition(".")[0].partition("-")[0]
        self._leave(
            Finding(
                "metadata-unreadable" if isinstance(exc, OSError) else "metadata-malformed",
                f"{place}{os.sep}{file}: {exc}; whatever {stem} registers is left out",
                f"reinstall it (pip install --force-reinstall {stem}), or remove the folder",
                f"{place}{os.sep}{file}",
            )
        )

    def _stray(self, info: str | Foreign, line: int) -> None:
        place = f"{_place(info)}{os.sep}entry_points.txt"
        what = f"{place}: line {line} stands before the first `[group]`, and is passed over as importlib.metadata does"
        self._leave(Finding("metadata-malformed", what, "reinstall the distribution, or tell its author", place))

    def _everything(self, searched: Sequence[str]) -> Iterator[tuple[str, str, str | Foreign]]:
        """Yields origin, normalised name and metadata folder of every distribution, shadowed ones too."""
        for finder in sys.meta_path:
            module = getattr(finder, "__module__", "")
            if getattr(finder, "__name__", "") == "PathFinder" and module == "_frozen_importlib_external":
                yield from self._on_path(searched)
            elif hasattr(finder, "find_distributions") and module != "importlib_metadata":
                self.seen = None
                yield from self._foreign(f"finder {_shown(finder)}", finder=finder)

    def _on_path(self, folders: Sequence[str]) -> Iterator[tuple[str, str, str | Foreign]]:
        for folder in folders:
            self._sign(folder)
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
                if _is_archive(folder):
                    yield from self._foreign(folder)
                elif os.path.exists(folder):
                    self._unsearchable(folder, "is neither a folder nor an archive that can be read")
                continue
            except (OSError, ValueError) as exc:
                self._unsearchable(folder, f"cannot be listed: {exc}")
                continue
            for child in children:
                low = child.lower()
                if not low.endswith((".dist-info", ".egg-info")):
                    continue
                if child[0] in _LEFTOVER and low.rpartition(".")[0]:
                    self._leftover(f"{folder}{os.sep}{child}")
                    continue
                name = normalize(low.rpartition(".")[0].partition("-")[0])
                yield folder, name, f"{folder}{os.sep}{child}"

    def _foreign(self, origin: str, finder: object = None) -> Iterator[tuple[str, str, Foreign]]:
        """Yields what only importlib-metadata can read: archives, eggs, the distributions of other finders."""
        import importlib_metadata  # a survey of plain folders does without it

        try:
            if finder is None:
                found: Iterable[Any] = importlib_metadata.distributions(path=[origin])
                if os.path.isdir(origin):  # an egg; the order of its listing is none
                    found = sorted(
                        found, key=lambda each: (_place(each).lower().endswith(f"{os.sep}egg-info"), _place(each))
                    )
            else:
                context = importlib_metadata.DistributionFinder.Context()  # type: ignore[no-untyped-call]
                found = finder.find_distributions(context)  # type: ignore[attr-defined]
            for distribution in found:
                try:
                    name = getattr(distribution, "_normalized_name", None) or normalize(distribution.name)
                except Exception as exc:  # it has no name, and costs none of the others
                    self._unreadable(distribution, "METADATA", OSError(f"{describe(exc)}, from {origin}"))
                    continue
                yield origin, name, distribution
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # a finder is somebody's code, and may raise what it likes
            self._unsearchable(origin, f"cannot be searched: {describe(exc)}")

    def _leave(self, finding: Finding) -> None:
        """Leaves a finding; a distribution that is read again is not told of again."""
        if finding not in self.findings:
            self.findings.append(finding)

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
            self._sign(place)


def _candidate(group: str, name: str, value: str, distribution: Distribution) -> Candidate:
    manifest = distribution.facts and distribution.facts.manifest
    stamped = manifest.plugins.get((group, name)) if manifest else None
    return Candidate(group, name, value, distribution, stamped[4] if stamped else "")


def _limit(file: str) -> int:
    return RECORD_LIMIT if file == "RECORD" else FILE_LIMIT


def _inflated(info: Foreign, file: str) -> int:
    """Returns how large a metadata file in an archive would be, before it is read; 0 where that cannot be told."""
    place = getattr(info, "_path", None)
    try:
        size: int = place.root.getinfo(f"{place.at}{file}").file_size  # type: ignore[union-attr]
    except (AttributeError, KeyError):
        return 0
    return size


def _place(info: str | Foreign) -> str:
    return info if isinstance(info, str) else str(getattr(info, "_path", info))


def _shown(finder: object) -> str:
    try:
        return repr(finder)
    except BaseException as exc:
        return f"of {type(finder).__name__}, whose repr raised {type(exc).__name__}"


def _is_archive(path: str) -> bool:
    """Returns whether a path names an archive that can be read, without opening what would block."""
    import zipfile

    try:
        if not os.path.isfile(path):
            return False
        with zipfile.ZipFile(path):
            return True
    except Exception:  # zipfile raises much more than BadZipFile
        return False


def _has_metadata(info: str) -> bool:
    """Returns whether a distribution without entry points is one at all, or what some failure left."""
    if info.lower().endswith(".egg-info"):
        return True  # a file, or a folder of some old tool
    return os.path.exists(f"{info}{os.sep}METADATA")
