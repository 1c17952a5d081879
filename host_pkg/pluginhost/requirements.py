"""What a distribution requires, judged by `packaging` and by nothing else: the pin, Python, other distributions."""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from pluginhost.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
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


def check_dependencies(candidate: Candidate, api: Distribution | None, discovery: Discovery) -> Iterator[Finding]:
    """Yields a finding for each other distribution that a candidate needs and that is not there as it needs it.

    Args:
        candidate: The plugin.
        api: The API distribution, which is `check_pin`'s; `None` for a group that has none.
        discovery: All that was found.
    """
    distribution = candidate.distribution
    for line in _facts(distribution).requires:
        requirement = _parsed(line)
        if requirement is None or (api and canonicalize_name(requirement.name) == canonicalize_name(api.name)):
            continue
        if not any(_applies(requirement, extra) for extra in ("", *candidate.extras)):
            continue
        found = discovery.installed(requirement.name)
        if found is None:
            yield Finding(
                "dependency-missing",
                f"{distribution} needs {requirement}, and {requirement.name} is not installed",
                _install(requirement, distribution),
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


def bringing(module: str, distribution: Distribution, installed: Mapping[str, Distribution]) -> str:
    """Returns the hint how to bring a module that is not there and that a distribution's import asked for.

    A requirement is known by its name alone, which mostly is the module's: that of the distribution, or of one that it
    needs. Else the extras that were not asked for are named.

    Args:
        module: The module that a ModuleNotFoundError named.
        distribution: Whose import failed.
        installed: What is installed, by canonical name.
    """
    if other := called_as(module, installed):
        return f"{other} has no module {module!r}: pip check tells who needs another version of it"
    for name in _called(module):
        for each in (distribution, *_needed(distribution, installed)):
            for requirement in _requirements(each):
                if canonicalize_name(requirement.name) == name:
                    return _install(requirement, each)
    return _extras_left(distribution, installed) or (
        f"install the distribution that has the module {module.partition('.')[0]!r}; {distribution.name} does not "
        "declare it under that name, but pip check tells what it lacks"
    )


def called_as(module: str, installed: Mapping[str, Distribution]) -> Distribution | None:
    """Returns the installed distribution that is called as a module or as one of its packages."""
    return next((installed[name] for name in _called(module) if name in installed), None)


def mentioned(message: str, distribution: Distribution, installed: Mapping[str, Distribution]) -> str:
    """Returns the hint how to bring what an error's message names and an extra of the distribution has; else nothing.

    Some packages catch a ModuleNotFoundError, and say in an error of their own what is missing.
    """
    words = {
        canonicalize_name(word.strip(".")) for word in re.findall(r"(?<![\w./-])[\w.-]+(?![\w./-])", message)
    }  # no parts of paths
    for requirement in _requirements(distribution):
        name = canonicalize_name(requirement.name)
        if name in words and name not in installed and not _applies(requirement):
            return _install(requirement, distribution)
    return ""


def _extras_left(distribution: Distribution, installed: Mapping[str, Distribution]) -> str:
    """Returns the hint that names the extras of a distribution of which something is not installed; else nothing."""
    left = {
        extra: None
        for requirement in _requirements(distribution)
        if canonicalize_name(requirement.name) not in installed and not _applies(requirement)
        for extra in _extras(requirement, distribution)
    }
    commands = [f"pip install '{distribution.name}[{extra}]'" for extra in left]
    more = f", or one of {len(commands) - 5} more" if len(commands) > 5 else ""
    return f"one of its extras may bring it: {', or '.join(commands[:5])}{more}" if commands else ""


def _called(module: str) -> list[str]:
    """Returns the names, the longest first, that a distribution with a module may have."""
    parts = module.split(".")
    return [canonicalize_name(".".join(parts[:end])) for end in range(len(parts), 0, -1)]


def _needed(distribution: Distribution, installed: Mapping[str, Distribution]) -> Iterator[Distribution]:
    """Yields the installed distributions that one needs, and those that they need."""
    seen, todo = {canonicalize_name(distribution.name)}, [distribution]
    while todo:
        for requirement in _requirements(todo.pop()):
            name = canonicalize_name(requirement.name)
            if name in installed and name not in seen and _applies(requirement):
                seen.add(name)
                todo.append(installed[name])
                yield installed[name]


def _requirements(distribution: Distribution) -> list[Requirement]:
    return [found for line in _facts(distribution).requires if (found := _parsed(line))]


def _install(requirement: Requirement, distribution: Distribution) -> str:
    """Returns the command that brings a requirement: by the extra, where only an extra asks for it."""
    extras = [] if _applies(requirement) else _extras(requirement, distribution)
    return f"pip install '{distribution.name}[{extras[0]}]'" if extras else f"pip install '{requirement}'"


def _extras(requirement: Requirement, distribution: Distribution) -> list[str]:
    """Returns the extras of a distribution that ask for a requirement, here; those that ask for less come first."""
    asking = [extra for extra in _facts(distribution).extras if _applies(requirement, extra)]
    sizes = {extra: sum(_applies(each, extra) for each in _requirements(distribution)) for extra in asking}
    return sorted(asking, key=lambda extra: sizes[extra])


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
