"""The examination of an environment: everything that bears upon plugins, by what was looked at, with a mend for each.

Most checks are those that admission makes, told by subject and not by plugin. What comes on top looks beyond the
plugins: at every distribution, at the search path, at the projects of editable installs, at a first load.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pluginhost import admission, copies, installs, names, requirements, searchpath, sources
from pluginhost.errors import Finding, PluginHostError
from pluginhost.goplugin import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Final, Literal, TypeAlias

    from pluginhost.discovery import Discovery
    from pluginhost.probe import Report
    from pluginhost.survey import Candidate, Distribution, Row

    State: TypeAlias = Literal["ok", "warning", "error"]
    Load: TypeAlias = Callable[[Row], Report]

LOADS: Final = "first load"

CHECKS: Final = {
    "search path": {"path-unreadable", "path-edited"},
    "metadata": {"metadata-unreadable", "metadata-malformed", "version-invalid"},
    "plugin folders": {
        "plugin-dir-missing",
        "world-writable",
        "wheel-not-regular",
        "wheel-settling",
        "wheel-malformed",
        "wheel-record",
        "wheel-unsafe",
        "wheel-clash",
        "wheel-incompatible",
        "wheel-unreadable",
        "store-unwritable",
        "plugin-unknown",
    },
    "whole installs": {"distribution-leftover", "distribution-incomplete"},
    "one copy of the API": {"api-missing", "api-duplicated", "api-vendored"},
    "pins": {"pin-missing", "pin-malformed", "pin-unsatisfied"},
    "dependencies": {"python-unsatisfied", "dependency-missing", "dependency-unsatisfied"},
    "names": {"entry-point-malformed", "name-invalid", "name-clash", "name-confusable"},
    "no shadowing": {"distribution-shadowed"},
    "manifests": {"manifest-malformed", "manifest-mismatch", "manifest-stale", "api-forked"},
    "modules": {"module-shadows", "module-foreign", "native-incompatible"},
    "programs": {"program-missing", "program-unstartable"},
    "habits": {"import-habit"},
}
"""The codes that belong to each check, by its title, in the order in which they are told."""

OF_API: Final = {"one copy of the API", "pins"}
"""The checks that are left out for a group without an API."""

OF_FOLDERS: Final = "plugin folders"
"""The check that is left out where neither a folder is given nor a wheel."""

OF_PROGRAMS: Final = "programs"
"""The check that is left out where no plugin is a program."""

# How far a first load came, in the words of the report.
REACHED: Final = {
    "registered": "registered",
    "imported": "importable",
    "made": "constructible",
    "usable": "usable",
}

# These keep a plugin from being taken by its name alone; one of them may well work.
_CLASHES: Final = {"name-clash", "name-confusable"}


class Check:
    """One thing that was looked at.

    Attributes:
        title: What it was.
        extent: How much of it there was, such as `85 distributions`.
        findings: What is wrong, errors first.
        state: `error`, `warning`, or `ok` where there are no findings.
    """

    __slots__ = ("extent", "findings", "title")

    def __init__(self, title: str, extent: str, findings: Iterable[Finding]) -> None:
        self.title = title
        self.extent = extent
        # Each once: what is wrong with a distribution is found by each of its plugins.
        self.findings = sorted(dict.fromkeys(findings), key=lambda finding: finding.severity)

    @property
    def state(self) -> State:
        return _state(self.findings)

    def to_dict(self) -> dict[str, object]:
        """Returns the check's fields, for JSON."""
        return {
            "title": self.title,
            "extent": self.extent,
            "state": self.state,
            "findings": [finding.to_dict() for finding in self.findings],
        }


class Verdict:
    """What became of a plugin that was loaded in a process of its own.

    Attributes:
        name: The plugin's name, or that of an instance from a wheel.
        row: The plugin.
        reached: `registered`, `importable`, `constructible` or `usable`: the last that it is.
        findings: What is wrong, errors first; a plugin that was refused was not loaded.
        seconds: How long it took.
    """

    __slots__ = ("findings", "name", "reached", "row", "seconds")

    def __init__(self, name: str, row: Row, reached: str, findings: Iterable[Finding], seconds: float) -> None:
        self.name = name
        self.row = row
        self.reached = reached
        self.findings = sorted(findings, key=lambda finding: finding.severity)
        self.seconds = seconds

    @property
    def state(self) -> State:
        return _state(self.findings)

    def to_dict(self) -> dict[str, object]:
        """Returns the verdict's fields, for JSON."""
        return {
            "name": self.name,
            "distribution": self.row.distribution,
            "version": self.row.version,
            "entry_point": self.row.entry_point,
            "reached": self.reached,
            "state": self.state,
            "seconds": round(self.seconds, 3),
            "findings": [finding.to_dict() for finding in self.findings],
        }


class Diagnosis:
    """What an examination found.

    Attributes:
        checks: All that was looked at.
        plugins: What became of each plugin that was to be loaded; empty when none was.
    """

    __slots__ = ("checks", "plugins")

    def __init__(self, checks: list[Check], plugins: list[Verdict]) -> None:
        self.checks = checks
        self.plugins = plugins

    @property
    def state(self) -> State:
        return _state(finding for check in self.checks for finding in check.findings)

    def to_dict(self) -> dict[str, object]:
        """Returns the diagnosis, for JSON."""
        return {
            "state": self.state,
            "checks": [check.to_dict() for check in self.checks],
            "plugins": [verdict.to_dict() for verdict in self.plugins],
        }


def examine(
    found: Discovery,
    group: str,
    package: str | None,
    load: Load | None = None,
    advance: Callable[[], None] = lambda: None,
    folders: int = 0,
    versions: Mapping[str, Row] = MappingProxyType({}),
) -> Diagnosis:
    """Returns what is wrong in the environment of a group's plugins.

    Args:
        found: The group's candidates and the API distribution.
        group: The entry-point group.
        package: The import name of the API package; `None` for a group that has none.
        load: What loads a plugin in a process of its own; `None` to load nothing. It is called from several threads.
        advance: Is called when a plugin is done with.
        folders: How many plugin folders there are; what is wrong with them is among the findings of `found`.
        versions: The rows of instances from wheels, by the instances' names.
    """
    distributions = found.distributions()
    installed: dict[str, Distribution] = {canonicalize_name(each.name): each for each in distributions}
    rows = admission.admit(found, package if found.api else None).plugins
    findings = [*_of_environment(found, distributions), *_of_api(found, package), *_of_plugins(found, rows)]
    findings += [finding for row in versions.values() for finding in row.findings]
    of_programs = [row for row in (*rows, *versions.values()) if row.candidate.program]
    findings += [finding for row in of_programs for finding in _of_program(row)]
    findings += [*_of_editables(found, group, distributions), *found.findings]  # last: the others may have read more
    extents = {**_extents(found, distributions), OF_FOLDERS: _of_wheels(folders, len(versions))}
    extents[OF_PROGRAMS] = _counted(len(of_programs), "program")
    is_left_out = {OF_FOLDERS: not (folders or versions), OF_PROGRAMS: not of_programs}
    checks = [
        Check(title, extents[title], (finding for finding in findings if finding.code in codes))
        for title, codes in CHECKS.items()
        if (package is not None or title not in OF_API) and not is_left_out.get(title)
    ]
    if load is None or (package is not None and found.api is None):
        return Diagnosis(checks, [])
    named = [*((row.name, row) for row in rows), *versions.items()]
    verdicts = list(_verdicts(named, load, advance, installed))
    if package is None:
        _pardon(verdicts)
    loaded = [verdict for verdict in verdicts if _may_load(verdict.row)]
    extent = f"{len(loaded):,} of {_counted(len(named), 'plugin')}"
    checks.append(Check(LOADS, extent, (finding for verdict in loaded for finding in verdict.findings)))
    return Diagnosis(checks, verdicts)


def _of_environment(found: Discovery, distributions: list[Distribution]) -> Iterator[Finding]:
    """Yields what is wrong with the search path and with each distribution, whether it has plugins or not."""
    yield from searchpath.check_path(found.path, distributions)
    held = {candidate.distribution.info for candidate in found.candidates} if found.api else set()
    for distribution in distributions:
        for finding in (*requirements.check_version(distribution), *names.check_distribution(distribution)):
            if distribution.info not in held:
                finding.severity = "warning"
            yield finding
        yield from installs.check_files(distribution)


def _of_api(found: Discovery, package: str | None) -> Iterator[Finding]:
    if package is None:
        return
    if found.api is None:
        yield Finding(
            "api-missing",
            f"no installed distribution provides the API package {package!r}",
            f"install the one that provides {package}, or name another with --api; none is for groups without one",
        )
        return
    yield from copies.check_api(package, found.api, found)
    yield from admission.check_shadowed(found.api)


def _of_plugins(found: Discovery, rows: Iterable[Row]) -> Iterator[Finding]:
    by_info: dict[str, list[Candidate]] = {}
    for row in rows:
        yield from row.findings
        if not found.api:
            yield from _declared(row.candidate, found)
        if row.candidate.program:
            continue
        yield from installs.check_module(row.candidate)
        if admission.is_entry_point(row.candidate):
            by_info.setdefault(row.candidate.distribution.info, []).append(row.candidate)
    for candidates in by_info.values():
        modules = [candidate.module for candidate in candidates]
        yield from sources.check_sources(candidates[0].distribution, modules, found.path)


def _of_program(row: Row) -> Iterator[Finding]:
    if all(finding.code != "program-missing" for finding in row.findings):  # else admission has told it
        yield from programs.check(row.candidate)


def _of_editables(found: Discovery, group: str, distributions: list[Distribution]) -> Iterator[Finding]:
    """Yields what is wrong with editable installs; one whose first plugin is new has none that was found."""
    registered: dict[str, dict[str, str]] = {}
    for candidate in found.candidates:
        registered.setdefault(candidate.distribution.info, {})[candidate.name] = candidate.value
    for distribution in distributions:
        own = registered.get(distribution.info, {})
        yield from installs.check_editable(distribution, group, own, found.api, found.path)


def _declared(candidate: Candidate, found: Discovery) -> Iterator[Finding]:
    """Yields, as warnings, what admission asks of plugins with an API alone; whether it fails, a load tells."""
    for finding in (
        *requirements.check_python(candidate.distribution),
        *(requirements.check_extras(candidate) if admission.is_entry_point(candidate) else ()),
        *requirements.check_dependencies(candidate, None, found),
        *admission.check_shadowed(candidate.distribution),
        *copies.check_native(candidate.distribution),
    ):
        finding.severity = "warning"
        yield finding


def _extents(found: Discovery, distributions: list[Distribution]) -> dict[str, str]:
    """Returns how much each check looked at."""
    plugins = _counted(len(found.candidates), "plugin")
    bringing = len({candidate.distribution.info for candidate in found.candidates})
    of = {candidate.distribution.info: candidate.distribution for candidate in found.candidates}
    if found.api:
        of[found.api.info] = found.api
    files = sum(len(each.facts.files or ()) for each in distributions if each.facts)
    stamped = [each for each in of.values() if each.facts and each.facts.manifest]
    editable = [each for each in distributions if each.facts and each.facts.editable]
    everything = _counted(len(distributions), "distribution")
    return {
        "search path": _counted(len(found.path), "entry", "entries"),
        "metadata": everything,
        "whole installs": f"{everything}, {_counted(files, 'file')}",
        "one copy of the API": f"{found.api} in {found.api.origin}" if found.api else "none",
        "pins": plugins,
        "dependencies": f"{plugins} of {_counted(bringing, 'distribution')}",
        "names": plugins,
        "no shadowing": _counted(len(of), "distribution"),
        "manifests": f"{_counted(len(stamped), 'manifest')}, {_counted(len(editable), 'editable install')}",
        "modules": plugins,
        "habits": plugins,
    }


def _verdicts(
    rows: Sequence[tuple[str, Row]], load: Load, advance: Callable[[], None], installed: Mapping[str, Distribution]
) -> Iterator[Verdict]:
    """Yields what became of each plugin; a few are loaded at a time."""

    def judge(named: tuple[str, Row]) -> Verdict:
        name, row = named
        try:
            report = load(row) if _may_load(row) else None
        except PluginHostError as exc:
            return Verdict(name, row, "registered", [exc.finding, *exc.more], 0.0)
        finally:
            advance()
        if report is None:
            return Verdict(name, row, "registered", row.findings, 0.0)
        findings = [*(_mended(finding, report, row, installed) for finding in report.findings), *_habits(report, row)]
        return Verdict(name, row, REACHED[report.reached], findings, report.seconds)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        yield from threads.map(judge, rows)


def _pardon(verdicts: Iterable[Verdict]) -> None:
    """Makes warnings of what a plugin does to the process: without an API nothing binds it, and it does load."""
    for verdict in verdicts:
        for finding in verdict.findings:
            if verdict.reached == "importable" and finding.code != "symbol-missing":
                finding.severity = "warning"


def _may_load(row: Row) -> bool:
    """Returns whether nothing but its name speaks against a plugin."""
    return not any(finding.severity == "error" and finding.code not in _CLASHES for finding in row.findings)


def _mended(finding: Finding, report: Report, row: Row, installed: Mapping[str, Distribution]) -> Finding:
    """Returns a finding of a failed import with the mend that what is installed tells."""
    if finding.code != "import-failed":
        return finding
    distribution = row.candidate.distribution
    if not report.missing:
        hint = requirements.mentioned(finding.message, distribution, installed)
    else:
        hint = requirements.bringing(report.missing, distribution, installed)
    is_there = report.missing and requirements.called_as(report.missing, installed)
    code = finding.code if is_there or not hint else "dependency-missing"
    return Finding(code, finding.message, hint or finding.hint, finding.path, finding.severity, finding.stage)


def _habits(report: Report, row: Row) -> Iterator[Finding]:
    """Yields a warning for each kind of thing that a plugin did while it was imported."""
    by_kind: dict[str, list[str]] = {}
    for kind, what in report.habits:
        by_kind.setdefault(kind, []).append(what)
    for kind, things in by_kind.items():
        more = f" and {len(things) - 3:,} more" if len(things) > 3 else ""
        yield Finding(
            "import-habit",
            f"{row.candidate}: its import {kind.replace('-', ' ')}: {', '.join(things[:3])}{more}",
            f"tell the author of {row.distribution}: a plugin begins its work in `init`",
            row.origin,
        )


def _state(findings: Iterable[Finding]) -> State:
    found = {finding.severity for finding in findings}
    return "error" if "error" in found else "warning" if found else "ok"


def _of_wheels(folders: int, wheels: int) -> str:
    counted = [_counted(number, thing) for number, thing in ((folders, "folder"), (wheels, "wheel")) if number]
    return ", ".join(counted)


def _counted(number: int, thing: str, things: str = "") -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {things or f'{thing}s'}"
