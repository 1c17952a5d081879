"""The names that plugins go by: which are allowed, and which two could be taken for one another."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pluginhost.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

    from pluginhost.survey import Candidate, Distribution

LONGEST: Final = 128
"""Characters of a name at most."""


def check_name(candidate: Candidate) -> Iterator[Finding]:
    """Yields a finding for a plugin's and a distribution's name that could be a path, a control or another's double."""
    if not _is_plain(candidate.name):
        yield _not_allowed("plugin", candidate.name, candidate.distribution)
    yield from check_distribution(candidate.distribution)


def check_distribution(distribution: Distribution) -> Iterator[Finding]:
    """Yields a finding for a distribution's name that is not allowed, or not that of its folder."""
    if not _is_plain(distribution.name):
        yield _not_allowed("distribution", distribution.name, distribution)
        return
    folder = os.path.basename(distribution.info)
    if folder.lower().endswith(".dist-info"):
        stem = folder.rpartition(".")[0].partition("-")[0]
        if _folded(stem) != _folded(distribution.name):
            yield Finding(
                "name-invalid",
                f"{distribution} is not the distribution that its folder is named after: {folder}",
                f"remove the folder, or reinstall: pip install --force-reinstall {distribution.name}",
                distribution.info,
            )


def clashes(candidates: Iterable[Candidate]) -> dict[Candidate, Finding]:
    """Returns what speaks against each candidate whose name is not its own.

    Two distributions with one name, or names that differ only in case and separators, are told of each other; there is
    no silent winner.
    """
    by_name: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_name.setdefault(_folded(candidate.name), []).append(candidate)
    return {
        candidate: _clash(candidate, [other for other in group if other is not candidate])
        for group in by_name.values()
        if len(group) > 1
        for candidate in group
    }


def _clash(candidate: Candidate, others: list[Candidate]) -> Finding:
    same = all(other.name == candidate.name for other in others)
    rivals = " and ".join(f"{other.name!a} of {other.distribution}" for other in others[:5])
    rivals += f" and {len(others) - 5:,} more" if len(others) > 5 else ""
    return Finding(
        "name-clash" if same else "name-confusable",
        f"{candidate.name!a} of {candidate.distribution} has the {'same' if same else 'like'} name as {rivals}",
        f"name the one you mean: {candidate.name}@{candidate.distribution.name}; or set "
        f'plugins.{candidate.name}.distribution = "{candidate.distribution.name}"; or uninstall the other',
        candidate.distribution.info,
    )


def _not_allowed(what: str, name: str, distribution: Distribution) -> Finding:
    return Finding(
        "name-invalid",
        f"{distribution}: its {what}'s name {name[:LONGEST]!a} is not allowed",
        f"its author uses ASCII letters, digits, `-`, `_` and single dots, {LONGEST} characters at most",
        f"{distribution.info}/entry_points.txt",
    )


def _folded(name: str) -> str:
    return "-".join(part for part in name.lower().replace("_", "-").replace(".", "-").split("-") if part)


def _is_plain(name: str) -> bool:
    if not (name.isascii() and 0 < len(name) <= LONGEST and name[0].isalnum() and name[-1].isalnum()):
        return False
    return all(part.replace("-", "").replace("_", "").isalnum() for part in name.split("."))
