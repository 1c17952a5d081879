"""What a first load showed, remembered until the plugin's files change.

A verdict is kept beside the index of surveys, under what the plugin was made of: the RECORD of a distribution that was
installed from a wheel, and the times and sizes of every source of an editable one. One that speaks against the plugin
counts only until something is installed or removed, since what mends it may be another distribution.
"""

from __future__ import annotations

import hashlib
import os
from itertools import islice
from typing import TYPE_CHECKING

from pluginhost import index, intact
from pluginhost.errors import Finding, PluginProbeError

if TYPE_CHECKING:
    from typing import Any, Final

    from pluginhost.index import Signature
    from pluginhost.survey import Candidate, Distribution

MOST: Final = 1_000
"""Verdicts that are kept; beyond, the oldest make room."""


def content(distribution: Distribution) -> str:
    """Returns what a distribution is made of; empty when that cannot be told.

    That is what `intact.content` returns, but for what is not known by its RECORD. Of this the times and sizes count
    here, and not the bytes: it is asked for at each start, and to read a few hundred sources takes three times as long.
    So what is younger than two seconds cannot be told: a second change could carry the same time.
    """
    place = intact.loose(distribution)
    if not place:
        return intact.content(distribution)
    places = list(islice(intact.sources(place), intact.MOST_SOURCES + 1))
    signatures = {each: index.signature(each) for each in places}
    if not places or len(places) > intact.MOST_SOURCES or not all(map(index.is_settled, signatures.values())):
        return ""
    known = [intact.read(f"{distribution.info}{os.sep}RECORD"), *signatures.items()]
    return hashlib.sha256(repr(known).encode("utf-8", "surrogatepass")).hexdigest()


def recall(candidate: Candidate, made_of: str) -> list[Finding] | None:
    """Returns what was found when a plugin of this content was first loaded; `None` when nothing is known.

    Args:
        candidate: The plugin.
        made_of: What `content` returned.
    """
    if not made_of:
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


def remember(candidate: Candidate, made_of: str, findings: list[Finding]) -> None:
    """Stores what was found; what cannot be stored is no error.

    Args:
        candidate: The plugin.
        made_of: What `content` returned before the first load.
        findings: Errors speak against it, warnings are told each time.
    """
    if not made_of:
        return
    key = _key(candidate, made_of)
    plain = [finding.to_plain() for finding in findings]
    index.write(_path(key), (key, _environment() if _dangers(findings) else None, plain), most=MOST)


def _dangers(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.severity == "error"]


def _key(candidate: Candidate, made_of: str) -> list[object]:
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
