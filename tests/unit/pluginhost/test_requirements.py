from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from pluginhost import requirements
from pluginhost.discovery import Discovery
from pluginhost.survey import Candidate, Distribution, Facts

if TYPE_CHECKING:
    from pathlib import Path

API = Distribution("pluginapi", "1.0", "", "/api", Facts())
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


def install(folder: Path, name: str, version: str, *requires: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = "".join(f"Requires-Dist: {line}\n" for line in requires)
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}")


def dependencies(folder: Path, *requires: str, value: str = "some:New") -> list[tuple[str, str]]:
    distribution = Distribution("some", "1.0", "", "/some", Facts([*requires]))
    candidate = Candidate("pluginhost.plugins", "some", value, distribution)
    found = requirements.check_dependencies(candidate, API, Discovery([str(folder)]))
    return [(finding.code, finding.message) for finding in found]


def test_what_is_installed_as_needed_passes(tmp_path: Path) -> None:
    install(tmp_path, "Other.Thing", "2.1")
    assert dependencies(tmp_path, "other-thing~=2.0", "pluginapi~=1.0", "windows; sys_platform == 'nowhere'") == []


def test_a_missing_dependency_is_named(tmp_path: Path) -> None:
    [(code, message)] = dependencies(tmp_path, "nothere>=1")
    assert code == "dependency-missing"
    assert "some 1.0 needs nothere>=1" in message


def test_a_wrong_version_names_wanted_found_and_who_else_needs_it(tmp_path: Path) -> None:
    install(tmp_path, "other", "1.0")
    install(tmp_path, "rival", "3.0", "other<2")
    [(code, message)] = dependencies(tmp_path, "other>=2")
    assert code == "dependency-unsatisfied"
    assert "some 1.0 needs other>=2, and other 1.0 is installed, which rival 3.0 needs as <2" in message


def test_the_extras_of_the_entry_point_are_needed_and_no_others(tmp_path: Path) -> None:
    lines = ["first; extra == 'a'", "second; extra == 'b'"]
    assert dependencies(tmp_path, *lines) == []
    [(_, message)] = dependencies(tmp_path, *lines, value="some:New [b]")
    assert "second" in message


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [("", True), (f">={RUNNING}", True), (f"=={RUNNING}.*", True), ("<3", False), (">=4", False), ("banana", False)],
)
def test_the_required_python_is_judged(wanted: str, fits: bool) -> None:
    found = list(requirements.check_python(Distribution("some", "1.0", "", "/some", Facts(requires_python=wanted))))
    assert [finding.code for finding in found] == ([] if fits else ["python-unsatisfied"])


@pytest.mark.parametrize(
    ("version", "valid"), [("1.0", True), ("1.0rc1", True), ("banana", False), ("1" * 20_000, False)]
)
def test_the_version_is_judged_in_bounded_time(version: str, valid: bool) -> None:
    found = list(requirements.check_version(Distribution("some", version, "", "/some")))
    assert [finding.code for finding in found] == ([] if valid else ["version-invalid"])
    assert all(len(finding.message) < 4_000 for finding in found)
