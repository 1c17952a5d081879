"""Which plugins are installed, read from metadata alone; nothing of them is imported.

The common case, a folder on `sys.path`, is a plain scan. What the scan does not know (a zip, an egg, another finder)
goes through importlib-metadata. Each distribution stands alone: what is wrong with one is a finding and costs that one.
"""

from __future__ import annotations

import os
import sys

from pluginhost.errors import Finding

# `typing` is not imported on the road of a survey; type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Final, TypeAlias

    from importlib_metadata import Distribution as _Distribution

    # What a finder of importlib-metadata, or of the standard library, yields.
    Foreign: TypeAlias = _Distribution

FILE_LIMIT: Final = 1 << 20
"""Bytes of a metadata file at most; real ones have some kilobytes."""

MANIFEST: Final = "extra_metadata/pluginapi.json"


class Manifest:
    """What a wheel's build stamped into it.

    Attributes:
        api: The import name of the API built against; `None` when there is none.
        version: That API's version.
        fingerprint: That API's fingerprint.
        provides: The import name of the API package that the distribution itself provides; `None` when there is none.
        provides_fingerprint: Its fingerprint.
        plugins: By group and name, the entry point, the contracts (`None` when not told) and the capabilities.
        malformed: What is wrong with the file; empty when nothing is.
    """

    __slots__ = ("api", "fingerprint", "malformed", "plugins", "provides", "provides_fingerprint", "version")

    def __init__(self, malformed: str = "") -> None:
        self.malformed = malformed
        self.api: str | None = None
        self.version: str | None = None
        self.fingerprint: str | None = None
        self.provides: str | None = None
        self.provides_fingerprint: str | None = None
        self.plugins: dict[tuple[str, str], tuple[str, list[str] | None, list[str]]] = {}


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
        self, name: str, version: str, origin: str, info: str, requires: list[str], manifest: Manifest | None
    ) -> None:
        self.name = name
        self.version = version
        self.origin = origin
        self.info = info
        self.requires = requires
        self.manifest = manifest

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


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
    """

    __slots__ = ("api", "candidates", "findings")

    def __init__(self) -> None:
        self.candidates: list[Candidate] = []
        self.api: Distribution | None = None
        self.findings: list[Finding] = []


def discover(group: str, api: str | None = None, path: Sequence[str] | None = None) -> Discovery:
    """Returns the plugins that are installed, and the API distribution; imports nothing of either.

    Args:
        group: The entry-point group.
        api: The import name of the API package; `None` for a group that has no API.
        path: The folders and archives to search; `sys.path` and the other finders when left out.
    """
    found = Discovery()
    distributions = _first_of_each_name(path, found.findings)
    for origin, info in distributions.values():
        try:
            data = _read(info, "entry_points.txt")
            entries = parse_entry_points(data.decode(), group) if data else []
        except (OSError, ValueError) as exc:
            found.findings.append(_unreadable(info, "entry_points.txt", exc))
            continue
        if entries and (distribution := _distribution(origin, info, found.findings)):
            found.candidates += [Candidate(group, *entry, distribution) for entry in entries]
    found.candidates.sort(key=lambda candidate: (candidate.name, candidate.distribution.name))
    if api is not None:
        found.api = _api(api, distributions, found.findings)
    return found


def read_archive(path: str) -> list[Distribution]:
    """Returns the distributions in an archive, such as the one in a wheel file, without those that cannot be read."""
    return [
        distribution
        for origin, info in _first_of_each_name([path], []).values()
        if (distribution := _distribution(origin, info, []))
    ]


def parse_entry_points(text: str, group: str) -> list[tuple[str, str]]:
    """Returns the names and values of one group, in the order of the file.

    Args:
        text: The content of an `entry_points.txt`, read as importlib-metadata reads it.
        group: The group wanted; the lines of the others are checked all the same.

    Raises:
        ValueError: A line is neither a section nor `name = value`; the message names the line.
    """
    entries = []
    section = None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line.strip("[]")
        elif section is not None:
            name, equals, value = line.partition("=")
            if not equals:
                raise ValueError(f"line {number} is not `name = value`: {line!r}")
            if section == group:
                entries.append((name.strip(), value.strip()))
    return entries


def parse_metadata(text: str) -> tuple[str, str, list[str]]:
    """Returns the name, the version and the requirements that a METADATA file's header states.

    Raises:
        ValueError: There is not exactly one name and one version.
    """
    fields: dict[str, list[str]] = {"name": [], "version": [], "requires-dist": []}
    values: list[str] = []
    for line in text.splitlines():
        if not line.strip():
            break
        if line[0] in " \t":  # a folded header goes on
            if values:
                values[-1] = f"{values[-1]} {line.strip()}"
            continue
        key, _, value = line.partition(":")
        values = fields.get(key.strip().lower(), [])
        values.append(value.strip())
    for field in ("name", "version"):
        if len(fields[field]) != 1 or not fields[field][0]:
            raise ValueError(f"it has {len(fields[field])} `{field.title()}:` headers, not one")
    return fields["name"][0], fields["version"][0], fields["requires-dist"]


def parse_manifest(data: bytes) -> Manifest:
    """Returns the manifest that some JSON holds; a malformed one says what is wrong with it.

    The shape is that of `pluginapi.Manifest`, which is not used here: the API package is not imported before it is
    known to be the only one.
    """
    import json  # only those with a manifest to read pay for it

    manifest = Manifest()
    try:
        content = json.loads(data)
        if content["schema"] != 1:
            return Manifest(f"its schema is {content['schema']!r}, this pluginhost reads 1; upgrade pluginhost")
        if api := content["api"]:
            manifest.api, manifest.version = _text(api["package"]), _text(api["version"])
            manifest.fingerprint = _text(api["fingerprint"])
        if provides := content["provides"]:
            manifest.provides, manifest.provides_fingerprint = (
                _text(provides["package"]),
                _text(provides["fingerprint"]),
            )
        for plugin in content["plugins"]:
            contracts = plugin["contracts"]
            manifest.plugins[_text(plugin["group"]), _text(plugin["name"])] = (
                _text(plugin["entry_point"]),
                None if contracts is None else [_text(contract) for contract in contracts],
                [_text(capability) for capability in plugin["capabilities"]],
            )
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        return Manifest(f"{type(exc).__name__}: {exc}")
    return manifest


def normalize(name: str) -> str:
    """Returns a distribution's name as importlib-metadata compares it (PEP 503, with underscores)."""
    name = name.lower().replace("-", "_").replace(".", "_")
    while "__" in name:
        name = name.replace("__", "_")
    return name


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _first_of_each_name(path: Sequence[str] | None, findings: list[Finding]) -> dict[str, tuple[str, str | Foreign]]:
    """Returns the distributions that are not shadowed: by normalised name, where each is and what it is."""
    first: dict[str, tuple[str, str | Foreign]] = {}
    for origin, name, info in _distributions(path, findings):
        first.setdefault(name, (origin, info))
    return first


def _distributions(path: Sequence[str] | None, findings: list[Finding]) -> Iterator[tuple[str, str, str | Foreign]]:
    if path is not None:
        yield from _on_path(path, findings)
        return
    for finder in sys.meta_path:
        module = getattr(finder, "__module__", "")
        if getattr(finder, "__name__", "") == "PathFinder" and module == "_frozen_importlib_external":
            yield from _on_path(sys.path, findings)
        elif hasattr(finder, "find_distributions") and module != "importlib_metadata":
            yield from _foreign(f"finder {finder!r}", None, finder, findings)


def _on_path(path: Iterable[str], findings: list[Finding]) -> Iterator[tuple[str, str, str | Foreign]]:
    for entry in path:
        folder = entry or os.getcwd()
        if folder.lower().endswith(".egg"):
            yield from _foreign(folder, folder, None, findings)
            continue
        try:
            children = sorted(os.listdir(folder))
        except FileNotFoundError:
            continue  # as for imports, a folder that is not there is no fault
        except NotADirectoryError:
            yield from _foreign(folder, folder, None, findings)
            continue
        except (OSError, ValueError) as exc:
            findings.append(
                Finding(
                    "path-unreadable",
                    f"{folder} cannot be listed: {exc}",
                    "mend its permissions, or take it off sys.path (PYTHONPATH, a .pth file)",
                    folder,
                )
            )
            continue
        for child in children:
            low = child.lower()
            if low.endswith((".dist-info", ".egg-info")):
                name = normalize(low.rpartition(".")[0].partition("-")[0])
                yield folder, name, f"{folder}{os.sep}{child}"


def _foreign(
    origin: str, entry: str | None, finder: object, findings: list[Finding]
) -> Iterator[tuple[str, str, str | Foreign]]:
    """Yields what only importlib-metadata can read: archives, eggs, the distributions of other finders."""
    import importlib_metadata  # a survey of plain folders does without it

    try:
        if entry is not None:
            found = importlib_metadata.distributions(path=[entry])
        else:
            context = importlib_metadata.DistributionFinder.Context()  # type: ignore[no-untyped-call]
            found = finder.find_distributions(context)  # type: ignore[attr-defined]
        for distribution in found:
            yield origin, normalize(distribution.name), distribution  # type: ignore[misc]
    except Exception as exc:  # a finder is somebody's code, and may raise what it likes
        findings.append(
            Finding(
                "path-unreadable",
                f"{origin} cannot be searched: {type(exc).__name__}: {exc}",
                "take it off sys.path, or mend it",
                origin,
            )
        )


def _api(
    package: str, distributions: dict[str, tuple[str, str | Foreign]], findings: list[Finding]
) -> Distribution | None:
    """Returns the distribution that provides an API package: the one called as it, else the one stamped with it."""
    if found := distributions.get(normalize(package)):
        return _distribution(*found, findings)
    for origin, info in distributions.values():
        try:
            data = _read(info, MANIFEST)
        except OSError:
            continue
        if data and parse_manifest(data).provides == package:
            return _distribution(origin, info, findings)
    return None


def _distribution(origin: str, info: str | Foreign, findings: list[Finding]) -> Distribution | None:
    """Returns a distribution with its metadata, or leaves a finding."""
    file = "PKG-INFO" if isinstance(info, str) and info.lower().endswith(".egg-info") else "METADATA"
    try:
        data = _read(info, file)
        if data is None:
            raise OSError("the file is missing")
        name, version, requires = parse_metadata(data.decode())
        file = MANIFEST
        stamp = _read(info, file)
    except (OSError, ValueError) as exc:
        findings.append(_unreadable(info, file, exc))
        return None
    return Distribution(name, version, origin, _place(info), requires, (stamp and parse_manifest(stamp)) or None)


def _read(info: str | Foreign, file: str) -> bytes | None:
    """Returns the content of a distribution's metadata file; `None` when there is none.

    Raises:
        OSError: It cannot be read, or is too large.
    """
    if not isinstance(info, str):
        text = info.read_text(file)
        if text is None and file == "METADATA":
            text = info.read_text("PKG-INFO")
        return None if text is None else text.encode("utf-8", "surrogateescape")
    try:
        with open(f"{info}{os.sep}{file}", "rb", buffering=0) as stream:
            data = stream.read(FILE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(data) > FILE_LIMIT:
        raise OSError(f"it has more than {FILE_LIMIT:,} bytes")
    return data


def _place(info: str | Foreign) -> str:
    return info if isinstance(info, str) else str(getattr(info, "_path", info))


def _unreadable(info: str | Foreign, file: str, exc: Exception) -> Finding:
    place = f"{_place(info)}{os.sep}{file}"
    stem = os.path.basename(_place(info)).rpartition(".")[0].partition("-")[0]
    return Finding(
        "metadata-unreadable" if isinstance(exc, OSError) else "metadata-malformed",
        f"{place}: {exc}; whatever {stem} registers is left out",
        f"reinstall it (pip install --force-reinstall {stem}), or remove the folder",
        place,
    )
