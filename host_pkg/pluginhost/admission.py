"""The checks that a plugin passes before any of its code runs."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from pluginhost import copies, names, requirements
from pluginhost.discovery import MANIFEST
from pluginhost.errors import Finding
from pluginhost.survey import Row, Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

    from pluginhost.discovery import Discovery
    from pluginhost.metadata import Stamped
    from pluginhost.survey import Candidate, Distribution


LONGEST: Final = 500
"""Characters of an entry point's value at most."""

# As PEP 508 spells an extra.
_EXTRA: Final = re.compile("[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)


class Ground:
    """What candidates are judged against.

    Attributes:
        discovery: All that was found, for what else is installed.
        package: The import name of the API package.
        api: The distribution that provides it.
        clashes: What speaks against the candidates whose name is not their own.
        duplicates: What speaks against every candidate: more than one copy of the API.
        hashes: The hashes of the API's source files.
        owners: The candidates' distributions that list each file.
    """

    __slots__ = ("api", "clashes", "discovery", "duplicates", "hashes", "owners", "package")

    def __init__(self, discovery: Discovery, package: str, api: Distribution) -> None:
        self.discovery = discovery
        self.package = package
        self.api = api
        self.clashes = names.clashes(discovery.candidates)
        self.duplicates = list(copies.check_api(package, api, discovery))
        self.hashes = copies.hashes(package, api)
        self.owners = copies.Owners(discovery.candidates)

    def clash(self, candidate: Candidate) -> list[Finding]:
        """Returns what speaks against a candidate's name because of another's."""
        return [self.clashes[candidate]] if candidate in self.clashes else []


CHECKS: tuple[tuple[str, Callable[[Candidate, Ground], Iterator[Finding] | list[Finding]]], ...] = (
    ("entry point", lambda plugin, on: check_entry_point(plugin)),
    ("name", lambda plugin, on: names.check_name(plugin)),
    ("name of its own", lambda plugin, on: on.clash(plugin)),
    ("version", lambda plugin, on: requirements.check_version(plugin.distribution)),
    ("one distribution", lambda plugin, on: check_shadowed(plugin.distribution)),
    ("Python", lambda plugin, on: requirements.check_python(plugin.distribution)),
    ("pin", lambda plugin, on: requirements.check_pin(plugin, on.api)),
    ("extras", lambda plugin, on: requirements.check_extras(plugin) if is_entry_point(plugin) else []),
    ("dependencies", lambda plugin, on: requirements.check_dependencies(plugin, on.api, on.discovery)),
    ("manifest", lambda plugin, on: check_manifest(plugin, on.package, on.api)),
    ("one API", lambda plugin, on: on.duplicates),
    (
        "no copy of the API",
        lambda plugin, on: copies.check_vendored(plugin.distribution, on.package, on.api, on.hashes),
    ),
    (
        "own files",
        lambda plugin, on: (
            copies.check_program(plugin, on.owners)
            if plugin.program
            else copies.check_module(plugin, on.package, on.api, on.discovery, on.owners)
            if is_entry_point(plugin)
            else []
        ),
    ),
    ("native code", lambda plugin, on: copies.check_native(plugin.distribution)),
)
"""Every check by its title, in the order in which they are told."""


def admit(discovery: Discovery, package: str | None) -> Survey:
    """Returns the survey of what was discovered.

    Args:
        discovery: The candidates and the API distribution.
        package: The import name of the API package; `None` binds candidates to no API, and tells of names as warnings.
    """
    if package is None:
        clashes = names.clashes(discovery.candidates)
        rows = [_free_row(candidate, clashes) for candidate in discovery.candidates]
    elif discovery.api is None:
        rows = [Row(candidate, "", None, [], [_no_api(candidate, package)]) for candidate in discovery.candidates]
    else:
        ground = Ground(discovery, package, discovery.api)
        rows = [_row(candidate, ground) for candidate in discovery.candidates]
    return Survey(rows, discovery.findings)


def check_entry_point(candidate: Candidate) -> Iterator[Finding]:
    """Yields a finding when an entry point's value is neither `module` nor `module:factory`."""
    if not is_entry_point(candidate):
        yield Finding(
            "entry-point-malformed",
            f"{candidate.distribution} registers {candidate.name[:200]!a} as {candidate.value[:200]!a}",
            "an entry point is `module:New`, or `module` alone; tell the plugin's author",
            f"{candidate.distribution.info}/entry_points.txt",
        )


def is_entry_point(candidate: Candidate) -> bool:
    """Returns whether a candidate's value is `module` or `module:factory`, perhaps with extras."""
    target, bracket, extras = candidate.value.partition("[")
    if len(candidate.value) > LONGEST or target.rstrip().endswith(":"):
        return False
    named = [extra.strip() for extra in extras.rstrip()[:-1].split(",")]
    closed = extras.rstrip().endswith("]") and (named == [""] or all(map(_EXTRA.fullmatch, named)))
    parts = [part for path in (candidate.module, candidate.factory) for part in path.split(".")]
    return all(part.isidentifier() for part in parts) and (closed or not bracket)


def check_shadowed(distribution: Distribution) -> Iterator[Finding]:
    """Yields a warning when the same distribution is installed again further down the search path."""
    for info in distribution.facts.shadowed if distribution.facts else ():
        if os.path.realpath(info) == os.path.realpath(distribution.info):
            continue  # one folder by two names
        yield Finding(
            "distribution-shadowed",
            f"{distribution} in {distribution.info} hides another of that name in {info}",
            f"uninstall the one that you do not mean: pip uninstall {distribution.name}",
            info,
        )


def check_manifest(candidate: Candidate, package: str, api: Distribution) -> Iterator[Finding]:
    """Yields a finding when a manifest cannot be read, or contradicts the entry point or the API that is installed."""
    distribution = candidate.distribution
    manifest = distribution.facts and distribution.facts.manifest
    if not manifest:
        return
    path = f"{distribution.info}/{MANIFEST}"
    reinstall = f"reinstall {distribution.name}, or tell its author to build it anew"
    if manifest.malformed:
        yield Finding("manifest-malformed", f"{distribution}: {manifest.malformed}", reinstall, path)
        return
    if (stamped := _stamped(candidate)) and stamped[0] != candidate.value:
        yield Finding(
            "manifest-mismatch",
            f"{distribution} registers {candidate.name!r} as {candidate.value!r}, but was built as {stamped[0]!r}",
            reinstall,
            path,
        )
    provided = api.facts and api.facts.manifest
    own = provided.provides_fingerprint if provided and provided.provides == package else None
    if own and manifest.api == package and manifest.version == api.version and manifest.fingerprint != own:
        yield Finding(
            "api-forked",
            f"{distribution} was built against a {api} whose structure is {manifest.fingerprint}, but the one "
            f"installed has {own}",
            f"reinstall {api.name} from where {distribution.name} got it, or build {distribution.name} anew",
            path,
        )


def _row(candidate: Candidate, ground: Ground) -> Row:
    findings, passed = [], []
    for title, check in CHECKS:
        found = list(check(candidate, ground))
        findings += found
        if not found:
            passed.append(title)
    _, contracts, capabilities, requires, _ = _stamped(candidate) or ("", None, [], {}, "")
    pin = ", ".join(map(str, requirements.pins(candidate, ground.api)))
    built_against = _built_against(candidate, ground.package)
    return Row(candidate, pin, contracts, capabilities, findings, passed, requires, built_against)


def _free_row(candidate: Candidate, clashes: dict[Candidate, Finding]) -> Row:
    """Returns the row of a candidate in a group without an API, which binds nobody to our names."""
    warnings = [*names.check_name(candidate), *([clashes[candidate]] if candidate in clashes else ())]
    for finding in warnings:
        finding.severity = "warning"
    return Row(candidate, "", None, [], [*check_entry_point(candidate), *_no_contracts(candidate), *warnings])


def _no_api(candidate: Candidate, package: str) -> Finding:
    return Finding(
        "api-missing",
        f"{candidate.distribution} needs the API package {package!r}, and no installed distribution provides it",
        f"install the distribution that provides {package}, or name another with --api",
        candidate.distribution.info,
    )


def _no_contracts(candidate: Candidate) -> Iterator[Finding]:
    """Yields a finding when a program is in a group without an API: what it serves is a contract of one."""
    if candidate.program:
        yield Finding(
            "api-missing",
            f"{candidate} is the program {candidate.program!r}, and the group {candidate.group!r} has no API whose "
            f"contracts it could serve",
            "name the API that it was built against with --api",
            candidate.distribution.info,
        )


def _built_against(candidate: Candidate, package: str) -> str:
    """Returns the version of the API package that a candidate's wheel was built against; else nothing."""
    manifest = candidate.distribution.facts and candidate.distribution.facts.manifest
    return (manifest.version or "") if manifest and manifest.api == package else ""


def _stamped(candidate: Candidate) -> Stamped | None:
    """Returns what the manifest says of a candidate."""
    manifest = candidate.distribution.facts and candidate.distribution.facts.manifest
    return manifest.plugins.get((candidate.group, candidate.name)) if manifest else None
