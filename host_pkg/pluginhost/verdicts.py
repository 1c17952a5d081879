"""What a first load showed, remembered until the plugin's files change.

A verdict is kept beside the index of surveys, under what the plugin was made of: the RECORD of a distribution that was
installed from a wheel, and the times and sizes of every source of an editable one. One that speaks against the plugin
counts only until something is installed or removed, since what mends it may be another distribution.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from pluginhost import index
from pluginhost.errors import Finding, PluginProbeError
from pluginhost.metadata import parse_editable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from pluginhost.index import Signature
    from pluginhost.survey import Candidate, Distribution

MOST: Final = 1_000
"""Verdicts that are kept; beyond, the oldest make room."""

_MOST_SOURCES: Final = 20_000
_SOURCES: Final = (".py", ".so", ".pyd")
_FILE_LIMIT: Final = 1 << 24


def content(distribution: Distribution) -> bytes | None:
    """Returns what a distribution is made of, in 32 bytes; `None` when that cannot be told.

    What is younger than two seconds cannot: a second change could carry the same time.
    """
    record = _read(f"{distribution.info}{os.sep}RECORD")
    editable = parse_editable(_read(f"{distribution.info}{os.sep}direct_url.json"))
    if record and not editable:
        return hashlib.sha256(record).digest()
    places = list(_sources(editable or distribution.origin)) if editable or os.path.isfile(distribution.origin) else []
    signatures = {place: index.signature(place) for place in places}
    if not places or len(places) > _MOST_SOURCES or not all(map(index.is_settled, signatures.values())):
        return None
    return hashlib.sha256(repr([record, *signatures.items()]).encode("utf-8", "surrogatepass")).digest()


def recall(candidate: Candidate, made_of: bytes | None) -> list[Finding] | None:
    """Returns what was found when a plugin of this content was first loaded; `None` when nothing is known.

    Args:
        candidate: The plugin.
        made_of: What `content` returned.
    """
    if made_of is None:
        return None
    key = _key(candidate, made_of)
    stored: Any = index.read(_path(key))
    if stored is None or stored[0] != key or stored[1] not in (None, _environment()):
        return None
    return [Finding(*plain) for plain in stored[2]]


def require_harmless(found: list[Finding]) -> None:
    """Returns if nothing that was found at a first load endangers the host.

    Raises:
        PluginProbeError: Something does.
    """
    if dangers := _dangers(found):
        raise PluginProbeError(*dangers)


def remember(candidate: Candidate, made_of: bytes | None, findings: list[Finding]) -> None:
    """Stores what was found; what cannot be stored is no error.

    Args:
        candidate: The plugin.
        made_of: What `content` returned before the first load.
        findings: Errors speak against it, warnings are told each time.
    """
    if made_of is None:
        return
    key = _key(candidate, made_of)
    plain = [finding.to_plain() for finding in findings]
    index.write(_path(key), (key, _environment() if _dangers(findings) else None, plain), most=MOST)


def _dangers(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.severity == "error"]


def _key(candidate: Candidate, made_of: bytes) -> list[object]:
    of = candidate.distribution
    return [index.FORMAT, index.machine(), candidate.group, candidate.name, candidate.value, of.name, made_of]


def _path(key: list[object]) -> str:
    digest = hashlib.sha256(repr(key).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return os.path.join(index.folder(), f"{digest}.verdict")


def _environment() -> list[tuple[str, Signature]]:
    """Returns what the folders of installed distributions are like: an install or uninstall changes one of them."""
    return [(entry, index.signature(entry)) for entry in index.search_path() if _has_distributions(entry)]


def _has_distributions(entry: str) -> bool:
    try:
        return any(name.endswith((".dist-info", ".egg-info")) for name in os.listdir(entry))
    except OSError:
        return False


def _sources(place: str) -> Iterator[str]:
    """Yields every source below a project's folder, or the archive itself."""
    if os.path.isfile(place):
        yield place
        return
    for folder, folders, files in os.walk(place):
        folders[:] = sorted(
            name
            for name in folders
            if name[0] != "." and name not in ("__pycache__", "node_modules") and not _is_environment(folder, name)
        )
        yield from (f"{folder}{os.sep}{name}" for name in sorted(files) if name.endswith(_SOURCES))


def _is_environment(folder: str, name: str) -> bool:
    return os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            status = os.fstat(descriptor)
            # No more is asked for than there is: memory is taken for all that is asked.
            return os.read(descriptor, min(status.st_size, _FILE_LIMIT)) if index.is_regular(status) else b""
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return b""
