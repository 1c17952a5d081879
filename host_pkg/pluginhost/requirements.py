"""What a distribution requires, judged by `packaging` and by nothing else: the pin, Python, other distributions."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from pluginhost.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from pluginhost.discovery import Discovery
    from pluginhost.survey import Candidate, Distribution, Facts

LONGEST: Final = 1_000
"""Characters of a version or a requirement at most: parsing longer ones takes time, and none are real."""


def check_version(distribution: Distribution) -> Iterator[Finding]:
    """Yields a finding when a distribution's version is none."""
    if len(distribution.version) > LONGEST or not _is_version(distribution.version):
        yield Finding(
            "version-invalid",
            f"{distribution.name}: its version {distribution.version[:LONGEST]!r} is not one",
            f"tell its author to follow PEP 440; until then: pip uninstall {distribution.name}",
            f"{distribution.info}/METADATA",
        )


def pins(candidate: Candidate, api: Distribution) -> list[Requirement]:
    """Returns the requirements by which a candidate pins the API, in this environment and with its extras."""
    found = (_parsed(line) for line in _facts(candidate.distribution).requires)
    name = canonicalize_name(api.name)
    ours = [pin for pin in found if pin and canonicalize_name(pin.name) == name]
    return [pin for pin in ours if any(_applies(pin, extra) for extra in ("", *candidate.extras))]


def check_pin(candidate: Candidate, api: Distribution) -> Iterator[Finding]:
    """Yields a finding when a candidate does not say, or excludes, the API that is installed."""
    distribution = candidate.distribution
    if distribution.info == api.info:  # what the API itself brings is made for it
        return
    for line in _facts(distribution).requires:
        if _parsed(line) is None:
            yield _pin_finding("pin-malformed", distribution, f"has a requirement that cannot be read: {line!r}", api)
            return
    found = pins(candidate, api)
    if not any(pin.specifier for pin in found):
        yield _pin_finding("pin-missing", distribution, f"is not pinned to a version of {api.name}", api)
    elif wrong := [str(pin) for pin in found if not pin.specifier.contains(api.version, prereleases=True)]:
        yield Finding(
            "pin-unsatisfied",
            f"{distribution} needs {' and '.join(wrong)}, and {api} is installed",
            f"install a {distribution.name} made for {api}, or the {api.name} that it needs",
            f"{distribution.info}/METADATA",
        )


def check_python(distribution: Distribution) -> Iterator[Finding]:
    """Yields a finding when a distribution is not made for this Python."""
    wanted = _facts(distribution).requires_python
    running = ".".join(map(str, sys.version_info[:3]))
    try:
        if len(wanted) > LONGEST:
            raise InvalidSpecifier
        if SpecifierSet(wanted).contains(running, prereleases=True):
            return
        what = f"needs Python {wanted}, and this is {running}"
    except InvalidSpecifier:
        what = f"has a Requires-Python that cannot be read: {wanted!r}"
    yield Finding(
        "python-unsatisfied",
        f"{distribution} {what}",
        f"install a {distribution.name} made for Python {running}, or run the application on one that it takes",
        f"{distribution.info}/METADATA",
    )


def check_extras(candidate: Candidate) -> Iterator[Finding]:
    """Yields a finding for each extra that a candidate's value names and its distribution does not have."""
    distribution = candidate.distribution
    offered = {canonicalize_name(extra) for extra in _facts(distribution).extras}
    for extra in candidate.extras:
        if canonicalize_name(extra) not in offered:
            yield Finding(
                "dependency-missing",
                f"{distribution} registers {candidate.name!a} with the extra {extra!r}, which it does not have",
                "its author names an extra of `[project.optional-dependencies]`, or none",
                f"{distribution.info}/entry_points.txt",
            )


def check_dependencies(candidate: Candidate, api: Distribution, discovery: Discovery) -> Iterator[Finding]:
    """Yields a finding for each other distribution that a candidate needs and that is not there as it needs it."""
    distribution = candidate.distribution
    for line in _facts(distribution).requires:
        requirement = _parsed(line)
        if requirement is None or canonicalize_name(requirement.name) == canonicalize_name(api.name):
            continue
        if not any(_applies(requirement, extra) for extra in ("", *candidate.extras)):
            continue
        found = discovery.installed(requirement.name)
        if found is None:
            yield Finding(
                "dependency-missing",
                f"{distribution} needs {requirement}, and {requirement.name} is not installed",
                f"pip install '{requirement}'",
                f"{distribution.info}/METADATA",
            )
        elif requirement.specifier and not (
            _is_version(found) and requirement.specifier.contains(found, prereleases=True)
        ):
            others = ", ".join(_who_else(requirement.name, distribution, discovery))
            yield Finding(
                "dependency-unsatisfied",
                f"{distribution} needs {requirement}, and {requirement.name} {found} is installed"
                + (f", which {others}" if others else ""),
                f"pip install '{requirement}', if the others that need it agree; pip check tells",
                f"{distribution.info}/METADATA",
            )


def _who_else(name: str, than: Distribution, discovery: Discovery) -> Iterator[str]:
    for other in discovery.distributions():
        if other.name == than.name:
            continue
        for line in _facts(other).requires:
            requirement = _parsed(line)
            if requirement and requirement.specifier and canonicalize_name(requirement.name) == canonicalize_name(name):
                yield f"{other} needs as {requirement.specifier}"


def _facts(distribution: Distribution) -> Facts:
    assert distribution.facts is not None, "what comes from the index was judged before"
    return distribution.facts


@lru_cache(maxsize=4096)  # plugins of one host have most of their lines in common
def _parsed(line: str) -> Requirement | None:
    if len(line) > LONGEST:
        return None
    try:
        requirement = Requirement(line)
        _applies(requirement)  # a marker may parse and yet not be one that can be judged
    except (ValueError, KeyError, RecursionError):  # what packaging's errors derive from
        return None
    return requirement


def _applies(requirement: Requirement, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})  # `_parsed` has tried it


def _is_version(text: str) -> bool:
    try:
        Version(text[: LONGEST + 1])
    except ValueError:
        return False
    return len(text) <= LONGEST


def _pin_finding(code: str, distribution: Distribution, what: str, api: Distribution) -> Finding:
    compatible = ".".join(api.version.split(".")[:2])
    return Finding(
        code,
        f"{distribution} {what}",
        f'its author writes `dependencies = ["{api.name}~={compatible}"]` into its pyproject.toml; until then: '
        f"pip uninstall {distribution.name}",
        f"{distribution.info}/METADATA",
    )
