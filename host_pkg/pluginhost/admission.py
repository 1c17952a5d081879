"""The checks that a plugin passes before any of its code runs."""

from __future__ import annotations

from pluginhost.discovery import Candidate, Distribution
from pluginhost.errors import Finding, PluginRefused

# `typing` is not imported on the road of a survey; type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Literal, TypeAlias

    from packaging.requirements import Requirement

    from pluginhost.discovery import Discovery

    State: TypeAlias = Literal["ready", "refused", "disabled"]


class Row:
    """One line of a survey: a candidate and what admission says of it.

    Attributes:
        candidate: What was discovered.
        name: The plugin's name.
        distribution: The distribution that registers it.
        version: That distribution's version.
        api: The pin, such as `pluginapi~=1.0`; empty when there is none.
        state: `ready`, `refused` or `disabled`.
        contracts: The contracts it says it implements; `None` while that is not known.
        capabilities: What it says it can do, beyond its contracts.
        origin: The folder or archive where it is installed.
        entry_point: The entry point's value.
        findings: What admission noticed.
        enabled: Whether the settings let it run.
    """

    __slots__ = ("api", "candidate", "capabilities", "contracts", "enabled", "findings")

    def __init__(
        self,
        candidate: Candidate,
        api: str,
        contracts: list[str] | None,
        capabilities: list[str],
        findings: list[Finding],
    ) -> None:
        self.candidate = candidate
        self.api = api
        self.contracts = contracts
        self.capabilities = capabilities
        self.findings = findings
        self.enabled = True

    @property
    def state(self) -> State:
        if not self.enabled:
            return "disabled"
        return "refused" if any(finding.severity == "error" for finding in self.findings) else "ready"

    @property
    def name(self) -> str:
        return self.candidate.name

    @property
    def distribution(self) -> str:
        return self.candidate.distribution.name

    @property
    def version(self) -> str:
        return self.candidate.distribution.version

    @property
    def origin(self) -> str:
        return self.candidate.distribution.origin

    @property
    def entry_point(self) -> str:
        return self.candidate.value

    def to_dict(self) -> dict[str, object]:
        """Returns the row's fields, for JSON."""
        return {
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "api": self.api,
            "state": self.state,
            "contracts": self.contracts or [],
            "capabilities": self.capabilities,
            "origin": self.origin,
            "entry_point": self.entry_point,
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def to_plain(self) -> object:
        """Returns the row as tuples, for the index."""
        entry = (self.candidate.group, self.candidate.name, self.candidate.value)
        findings = [finding.to_plain() for finding in self.findings]
        return entry, self.candidate.distribution.to_plain(), self.api, self.contracts, self.capabilities, findings

    @classmethod
    def from_plain(cls, plain: Any) -> Row:
        """Returns the row that `to_plain` made tuples of."""
        entry, distribution, api, contracts, capabilities, findings = plain
        group, name, value = entry
        candidate = Candidate(group, name, value, Distribution(*distribution))
        return cls(candidate, api, contracts, capabilities, [Finding(*finding) for finding in findings])

    def __repr__(self) -> str:
        return f"<Row {self.candidate}: {self.state}>"


class Survey:
    """What is installed and whether it may run; iterates over its rows.

    Attributes:
        plugins: A row for each candidate, sorted by name and distribution.
        findings: What belongs to no plugin: broken distributions, unreadable folders.
    """

    __slots__ = ("findings", "plugins")

    def __init__(self, plugins: list[Row], findings: list[Finding]) -> None:
        self.plugins = plugins
        self.findings = findings

    def __iter__(self) -> Iterator[Row]:
        return iter(self.plugins)

    def __len__(self) -> int:
        return len(self.plugins)

    def to_dict(self) -> dict[str, object]:
        """Returns the survey, for JSON."""
        return {
            "plugins": [row.to_dict() for row in self.plugins],
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def to_plain(self) -> object:
        """Returns the survey as tuples, for the index."""
        return [row.to_plain() for row in self.plugins], [finding.to_plain() for finding in self.findings]

    @classmethod
    def from_plain(cls, plain: Any) -> Survey:
        """Returns the survey that `to_plain` made tuples of."""
        rows, findings = plain
        return cls([Row.from_plain(row) for row in rows], [Finding(*finding) for finding in findings])


def admit(discovery: Discovery, api: str | None) -> Survey:
    """Returns the survey of what was discovered.

    Args:
        discovery: The candidates and the API distribution.
        api: The import name of the API package; `None` binds candidates to no API.
    """
    clashes = _clashes(discovery.candidates)
    rows = []
    for candidate in discovery.candidates:
        if api is None:
            pin, findings = "", _check_entry_point(candidate)
        else:
            pin, findings = check(candidate, api, discovery.api)
            findings += clashes.get(id(candidate), [])
        _, contracts, capabilities = _stamped(candidate) or ("", None, [])
        rows.append(Row(candidate, pin, contracts, capabilities, findings))
    return Survey(rows, discovery.findings)


def check(candidate: Candidate, package: str, api: Distribution | None) -> tuple[str, list[Finding]]:
    """Returns the candidate's pin and everything that speaks against running it; a pure check.

    Args:
        candidate: What was discovered.
        package: The import name of the API package.
        api: The distribution that provides it; `None` when it is not installed.
    """
    findings = _check_entry_point(candidate)
    if api is None:
        missing = Finding(
            "api-missing",
            f"{candidate.distribution} needs the API package {package!r}, and no installed distribution provides it",
            f"install the distribution that provides {package}, or name another with --api",
            candidate.distribution.info,
        )
        return "", [*findings, missing]
    pin, wrong = _check_pin(candidate.distribution, api)
    return pin, [*findings, *wrong, *_check_manifest(candidate, package, api)]


def require(row: Row) -> None:
    """Returns if a row's plugin may run.

    Raises:
        PluginRefused: It may not; the error holds every finding.
    """
    if row.state == "disabled":
        raise PluginRefused(
            Finding("disabled", f"{row.candidate} is disabled", f"set plugins.{row.name}.enabled to true")
        )
    if row.state == "refused":
        raise PluginRefused(*row.findings)


def _check_entry_point(candidate: Candidate) -> list[Finding]:
    if all(part.isidentifier() for path in (candidate.module, candidate.factory) for part in path.split(".")):
        return []
    return [
        Finding(
            "entry-point-malformed",
            f"{candidate.distribution} registers {candidate.name!r} as {candidate.value!r}",
            "an entry point is `module:New`, or `module` alone; tell the plugin's author",
            f"{candidate.distribution.info}/entry_points.txt",
        )
    ]


def _clashes(candidates: list[Candidate]) -> dict[int, list[Finding]]:
    """Returns, by the identity of each candidate that shares its name, the finding that says so."""
    by_name: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_name.setdefault(candidate.name, []).append(candidate)
    return {
        id(candidate): [
            Finding(
                "name-clash",
                f"{' and '.join(str(same.distribution) for same in group)} each register a plugin {name!r}",
                f"uninstall one of them: pip uninstall {candidate.distribution.name}",
                candidate.distribution.info,
            )
        ]
        for name, group in by_name.items()
        if len(group) > 1
        for candidate in group
    }


def _check_pin(distribution: Distribution, api: Distribution) -> tuple[str, list[Finding]]:
    # Imported here: packaging costs a survey as much as everything else together.
    from packaging.requirements import InvalidRequirement

    pins = []
    try:
        pins = [pin for line in distribution.requires if (pin := _pin(line, api.name))]
    except InvalidRequirement as exc:
        return "", [_pin_finding("pin-malformed", distribution, f"has a requirement that cannot be read: {exc}", api)]
    text = ", ".join(str(pin) for pin in pins)
    if not any(pin.specifier for pin in pins):
        return text, [_pin_finding("pin-missing", distribution, f"is not pinned to a version of {api.name}", api)]
    wrong = [pin for pin in pins if not pin.specifier.contains(api.version, prereleases=True)]
    if wrong:
        return text, [
            Finding(
                "pin-unsatisfied",
                f"{distribution} needs {' and '.join(map(str, wrong))}, and {api} is installed",
                f"install a {distribution.name} made for {api}, or the {api.name} that it needs",
                f"{distribution.info}/METADATA",
            )
        ]
    return text, []


def _pin(line: str, api: str) -> Requirement | None:
    """Returns a `Requires-Dist` line if it pins the API in this environment."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    requirement = Requirement(line)
    if canonicalize_name(requirement.name) != canonicalize_name(api):
        return None
    if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
        return None
    return requirement


def _pin_finding(code: str, distribution: Distribution, what: str, api: Distribution) -> Finding:
    compatible = ".".join(api.version.split(".")[:2])
    return Finding(
        code,
        f"{distribution} {what}",
        f'its author writes `dependencies = ["{api.name}~={compatible}"]` into its pyproject.toml; until then: '
        f"pip uninstall {distribution.name}",
        f"{distribution.info}/METADATA",
    )


def _check_manifest(candidate: Candidate, package: str, api: Distribution) -> list[Finding]:
    distribution, manifest = candidate.distribution, candidate.distribution.manifest
    if manifest is None:
        return []
    path = f"{distribution.info}/extra_metadata/pluginapi.json"
    reinstall = f"reinstall {distribution.name}, or tell its author to build it anew"
    if manifest.malformed:
        return [Finding("manifest-malformed", f"{distribution}: {manifest.malformed}", reinstall, path)]
    findings = []
    if (stamped := _stamped(candidate)) and stamped[0] != candidate.value:
        findings.append(
            Finding(
                "manifest-mismatch",
                f"{distribution} registers {candidate.name!r} as {candidate.value!r}, but was built as {stamped[0]!r}",
                reinstall,
                path,
            )
        )
    own = api.manifest and api.manifest.provides == package and api.manifest.provides_fingerprint
    if manifest.api == package and manifest.version == api.version and own and manifest.fingerprint != own:
        findings.append(
            Finding(
                "api-forked",
                f"{distribution} was built against a {api} whose structure is {manifest.fingerprint}, but the one "
                f"installed has {own}",
                f"reinstall {api.name} from where {distribution.name} got it, or build {distribution.name} anew",
                path,
            )
        )
    return findings


def _stamped(candidate: Candidate) -> tuple[str, list[str] | None, list[str]] | None:
    """Returns what the manifest says of a candidate: entry point, contracts, capabilities."""
    manifest = candidate.distribution.manifest
    return manifest.plugins.get((candidate.group, candidate.name)) if manifest else None
