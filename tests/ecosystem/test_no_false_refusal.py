"""Popular packages of other people, really installed: what the host says of them is what is so, and no more.

What to expect is told by importlib.metadata, `packaging` and the installed files, never by the host.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, cached_property
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ecosystem.loads import GRAVE, STAYS, load, told
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from pluginhost import PluginManager
from pluginhost.catalogue import CODES

if TYPE_CHECKING:
    from pluginhost.survey import Row

ROOT = Path(__file__).parent.parent.parent
OURS = {"pluginapi", "pluginhost"}
SCRIPTS = {"console_scripts", "gui_scripts", "pipx.run"}  # programs: called, they would run

# Hosts whose plugins say which versions of them they take.
HOSTS = [
    ("babel.extractors", "babel"),
    ("flake8.extension", "flake8"),
    ("hatch", "hatchling"),
    ("mkdocs.plugins", "mkdocs"),
    ("pytest11", "pytest"),
    ("sphinx.html_themes", "sphinx"),
    ("tox", "tox"),
]


class Installed:
    """A distribution as importlib.metadata has it, read once: each look at its name parses METADATA anew."""

    def __init__(self, found: Distribution) -> None:
        self.name = found.name
        self.version = found.version
        self.key = canonicalize_name(found.name)
        self.requires = [Requirement(line) for line in found.requires or ()]
        self.requires_python = SpecifierSet(found.metadata.get("Requires-Python") or "")
        self.paths = found.files or []
        self.files = {path.as_posix() for path in self.paths}

    @cached_property
    def archived(self) -> set[str]:
        """What is in the archives that it brings."""
        found: set[str] = set()
        for path in self.paths:
            if path.suffix in {".zip", ".whl", ".egg"}:
                with zipfile.ZipFile(path.locate()) as archive:
                    found.update(archive.namelist())
        return found


class Plugin:
    """An entry point and its distribution."""

    def __init__(self, found: EntryPoint, by: Installed) -> None:
        self.name = found.name
        self.value = found.value
        self.module = found.module
        self.extras = found.extras
        self.group = found.group
        self.by = by

    @cached_property
    def required(self) -> list[Requirement]:
        """What it needs here: of its distribution, and of the extras that its value names."""
        extras = ("", *self.extras)
        return [
            each
            for each in self.by.requires
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
        ]


@cache
def installed() -> dict[str, Installed]:
    """Returns every distribution by its normalised name; the first on the path counts."""
    found: dict[str, Installed] = {}
    for each in map(Installed, distributions()):
        found.setdefault(each.key, each)
    return found


@cache
def groups() -> dict[str, list[Plugin]]:
    """Returns every entry point that is installed, by its group."""
    by_name = {each.name: each for each in installed().values()}
    return {
        group: [Plugin(found, by_name[found.dist.name]) for found in entry_points(group=group) if found.dist]
        for group in sorted(entry_points().groups)
    }


def hosts(group: str) -> list[str]:
    """Returns each package, called as its distribution, that a plugin of the group requires in some version."""
    required = {
        canonicalize_name(requirement.name)
        for plugin in groups()[group]
        for requirement in plugin.by.requires
        if requirement.specifier
    }
    packages = {name: name.replace("-", "_") for name in sorted(required & set(installed()))}
    return [
        package
        for name, package in packages.items()
        if {f"{package}/__init__.py", f"{package}.py"} & installed()[name].files
    ]


def errors(row: Row) -> set[str]:
    return {finding.code for finding in row.findings if finding.severity == "error"}


def expected(plugin: Plugin, package: str) -> set[str]:
    """Returns the codes that speak truly against a plugin when a package is its API."""
    host = installed()[canonicalize_name(package)]
    found = set(expected_of_requirements(plugin, host)) | set(expected_of_name(plugin))
    if plugin.by is not host:  # what the API brings itself is made for it
        found |= set(expected_of_files(plugin, package))
    return found


def expected_of_requirements(plugin: Plugin, host: Installed) -> Iterator[str]:
    pins = [each.specifier for each in plugin.required if canonicalize_name(each.name) == host.key]
    if not any(pins) and plugin.by is not host:
        yield "pin-missing"
    elif not all(pin.contains(host.version, prereleases=True) for pin in pins):
        yield "pin-unsatisfied"
    for requirement in plugin.required:
        found = installed().get(canonicalize_name(requirement.name))
        if found is None:
            yield "dependency-missing"
        elif found is not host and not requirement.specifier.contains(found.version, prereleases=True):
            yield "dependency-unsatisfied"
    if not plugin.by.requires_python.contains(".".join(map(str, sys.version_info[:3]))):
        yield "python-unsatisfied"


def expected_of_name(plugin: Plugin) -> Iterator[str]:
    name = plugin.name
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_-]*\.?[A-Za-z0-9_-]+)*", name) or not name[-1].isalnum():
        yield "name-invalid"
    alike = {
        other.name
        for other in groups()[plugin.group]
        if other is not plugin and canonicalize_name(other.name) == canonicalize_name(name)
    }
    if alike:
        yield "name-clash" if alike == {name} else "name-confusable"


def expected_of_files(plugin: Plugin, package: str) -> Iterator[str]:
    module = plugin.module.replace(".", "/")
    if not any(file.startswith((f"{module}/__init__.", f"{module}.")) for file in plugin.by.files):
        yield "module-shadows" if module.partition("/")[0] == package else "module-foreign"
    copy = f"/{package}/__init__.py"
    if any(f"/{file}".endswith(copy) for file in plugin.by.files | plugin.by.archived):
        yield "api-vendored"


def test_the_environment_has_at_least_20_packages_with_entry_points_of_several_ecosystems() -> None:
    others = {plugin.by.name for plugin in itertools.chain(*groups().values())} - OURS
    assert len([name for name in others if not name.startswith("pluginhost-")]) >= 20
    assert {group for group, _ in HOSTS} <= set(groups())


def test_every_example_plugin_is_ready_and_starts() -> None:
    with PluginManager() as manager:
        survey = manager.survey()
        assert not survey.findings
        assert [(row.name, row.state, errors(row)) for row in survey] == [(row.name, "ready", set()) for row in survey]
        examples = {
            canonicalize_name(f"pluginhost-{path.parent.name}") for path in ROOT.glob("plugins/*/pyproject.toml")
        }
        assert {row.distribution for row in survey} == examples
        for row in survey:
            assert manager.handle(row.name).name == row.name


@pytest.mark.parametrize("group", groups())
def test_without_an_api_a_survey_gives_what_importlib_metadata_gives_and_refuses_nothing(group: str) -> None:
    survey = PluginManager(group, api=None).survey()
    found = [(row.name, row.entry_point, row.distribution, row.version) for row in survey]
    wanted = [(plugin.name, plugin.value, plugin.by.name, plugin.by.version) for plugin in groups()[group]]
    assert [str(finding) for finding in survey.findings] == []
    assert sorted(found) == sorted(wanted)
    assert {row.name: sorted(errors(row)) for row in survey if row.state != "ready"} == {}
    assert {finding.code for row in survey for finding in row.findings} <= {
        "name-invalid",
        "name-clash",
        "name-confusable",
    }


@pytest.mark.parametrize(("group", "package"), HOSTS)
def test_plugins_that_pin_a_real_host_are_ready_under_it(group: str, package: str) -> None:
    rows = list(PluginManager(group, api=package).survey())
    others = [row for row in rows if canonicalize_name(row.distribution) != canonicalize_name(package)]
    assert [row for row in others if row.state == "ready"], f"nothing in {group} is ready: {others}"


@pytest.mark.parametrize("group", groups())
def test_under_whatever_api_a_plugin_is_refused_for_what_is_so_and_for_nothing_else(group: str) -> None:
    """Each group, with each package that one of its plugins requires in a version as the API."""
    wrong = []
    for package in hosts(group):
        survey = PluginManager(group, api=package).survey()
        rows = {(row.name, row.distribution): row for row in survey}
        assert len(rows) == len(survey) == len(groups()[group])
        for plugin in groups()[group]:
            row, wanted = rows[plugin.name, plugin.by.name], expected(plugin, package)
            if errors(row) != wanted:
                told = [finding.message for finding in row.findings if finding.code not in wanted]
                wrong.append(f"{package}: {row} has {sorted(errors(row))}, not {sorted(wanted)}: {told}")
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong)


def loadable() -> dict[str, list[str]]:
    """Returns, by distribution, groups and names of up to three plugins, of as many groups as there are."""
    found: dict[str, dict[str, str]] = {}
    for group in sorted(set(groups()) - SCRIPTS):
        for plugin in groups()[group]:
            if plugin.by.name not in OURS:
                found.setdefault(plugin.by.name, {}).setdefault(group, plugin.name)
    return {name: [*itertools.chain(*list(plugins.items())[:3])] for name, plugins in sorted(found.items())}


@cache
def every_load() -> dict[str, Future[list[dict[str, Any]]]]:
    """Returns what becomes of each distribution's plugins in a process of its own; see `load.py`."""
    threads = ThreadPoolExecutor(os.cpu_count())
    return {name: threads.submit(load, name, *plugins) for name, plugins in loadable().items()}


@pytest.mark.parametrize("name", loadable())
def test_loading_ends_with_a_plugin_or_a_code_and_leaves_the_process_as_it_was(name: str) -> None:
    """A change that the host tells of is one that happens without the host too, and as grave as it is."""
    for plugin in every_load()[name].result():
        assert plugin["outcome"] == "loaded" or CODES[plugin["outcome"]].stage in {"import", "lookup", "new"}, plugin
        changed, real = told(plugin, "process-changed", "process-unsafe"), set(plugin["real"])
        assert changed <= real, plugin
        assert told(plugin, "process-unsafe") == set(filter(GRAVE.fullmatch, changed)), plugin
        if plugin["outcome"] == "loaded":
            assert changed == real, plugin
            assert {severity for severity, _, _ in plugin["told"]} <= {"WARNING"}, plugin
        assert set(plugin["left"]) <= STAYS & real, plugin


@pytest.mark.parametrize("name", loadable())
def test_a_first_load_in_a_process_of_its_own_refuses_nothing(name: str) -> None:
    """What loads without the probe loads with it, and what fails fails alike; none takes its process over."""
    for plugin in every_load()[name].result():
        probed = plugin["probed"]
        assert not any(map(GRAVE.fullmatch, plugin["real"])), plugin
        assert probed["outcome"] == plugin["outcome"], plugin
        if probed["outcome"] == "loaded":
            assert {severity for severity, _, _ in probed["told"]} <= {"WARNING"}, plugin


def test_plugins_of_at_least_20_packages_are_imported_and_made() -> None:
    made = [name for name in loadable() if any(plugin["outcome"] == "loaded" for plugin in every_load()[name].result())]
    assert len([name for name in made if not name.startswith("pluginhost-")]) >= 20, made
