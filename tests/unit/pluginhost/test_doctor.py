from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name
from pluginhost import requirements, sources
from pluginhost.catalogue import CODES
from pluginhost.discovery import Discovery, discover
from pluginhost.doctor import CHECKS, OF_API, OF_FOLDERS, OF_PROGRAMS, Diagnosis, Verdict, examine
from pluginhost.errors import Finding, PluginHostError
from pluginhost.survey import Distribution, Facts, Row

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "some.group"


class Report:
    """What the probe would return."""

    def __init__(self, reached: str = "imported", *findings: Finding, missing: str = "") -> None:
        self.reached = reached
        self.findings = list(findings)
        self.missing = missing
        self.seconds = 0.25
        self.habits: list[tuple[str, str]] = []


def install(folder: Path, name: str, *lines: str, entry_points: str = "", version: str = "1.0") -> Path:
    """Returns the dist-info folder of a distribution with one module, as an installer leaves it."""
    module = name.replace("-", "_")
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    header = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *lines]
    (info / "METADATA").write_text("\n".join(header) + "\n")
    if entry_points:
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entry_points}\n")
    (folder / f"{module}.py").write_text("def New(): ...\n")
    (info / "RECORD").write_text(f"{module}.py,,\n{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
    return info


def codes(diagnosis: Diagnosis) -> dict[str, list[str]]:
    """Returns the codes that each check found, without those of this process's own search path."""
    return {
        check.title: [finding.code for finding in check.findings]
        for check in diagnosis.checks
        if check.findings and check.title != "search path"
    }


def diagnose(folder: Path, package: str | None = None, **options: object) -> Diagnosis:
    return examine(discover(GROUP, package, [str(folder)]), GROUP, package, **options)  # type: ignore[arg-type]


def failed(message: str = "import some raised ImportError: no", **options: str) -> Report:
    return Report("registered", Finding("import-failed", message, "pip check", stage="import"), **options)


def test_each_code_that_needs_no_load_is_told_by_one_check() -> None:
    titles = [title for title, codes in CHECKS.items() for _ in codes]
    told = {code for codes in CHECKS.values() for code in codes}
    assert len(titles) == len(told)
    early = {code for code, entry in CODES.items() if entry.stage in {"discovery", "admission"}}
    assert early - {"disabled", "not-allowed", "safe-mode"} <= told  # the settings are the application's
    assert set(CHECKS) >= OF_API


def test_what_is_whole_is_ok(tmp_path: Path) -> None:
    install(tmp_path, "some", entry_points="some = some:New")
    assert codes(diagnose(tmp_path)) == {}


def test_without_an_api_its_checks_are_left_out(tmp_path: Path) -> None:
    titles = [check.title for check in diagnose(tmp_path).checks]
    assert titles == [title for title in CHECKS if title not in {*OF_API, OF_FOLDERS, OF_PROGRAMS}]


def test_an_api_that_is_not_there_is_told_once_and_without_any_plugin(tmp_path: Path) -> None:
    assert codes(diagnose(tmp_path, "nothere")) == {"one copy of the API": ["api-missing"]}
    for name in ("some", "other"):
        install(tmp_path, name, entry_points=f"{name} = {name}:New")
    assert codes(diagnose(tmp_path, "nothere")) == {"one copy of the API": ["api-missing"]}


@pytest.mark.parametrize(
    ("file", "content", "code"),
    [
        ("METADATA", b"Name: other\n", "metadata-malformed"),
        ("METADATA", b"\xff\xfe", "metadata-malformed"),
        ("entry_points.txt", b"[a]\nnonsense\n", "metadata-malformed"),
        ("RECORD", b"\xff\xff", "metadata-malformed"),
        ("RECORD", b"some.py,deadbeef,1\n", "metadata-malformed"),
    ],
)
def test_malformed_metadata_of_any_distribution_is_told(tmp_path: Path, file: str, content: bytes, code: str) -> None:
    install(tmp_path, "fine")
    (install(tmp_path, "some") / file).write_bytes(content)
    assert codes(diagnose(tmp_path)) == {"metadata": [code]}


def test_a_version_or_name_that_is_none_is_a_warning_where_nothing_binds_it(tmp_path: Path) -> None:
    install(tmp_path, "some", version="2004d")
    install(tmp_path, "other").joinpath("METADATA").write_text("Name: rival\nVersion: 1\n")
    diagnosis = diagnose(tmp_path)
    assert codes(diagnosis) == {"metadata": ["version-invalid"], "names": ["name-invalid"]}
    assert diagnosis.state == "warning"


def test_metadata_in_one_file_as_distutils_wrote_it_is_none_of_the_malformed(tmp_path: Path) -> None:
    (tmp_path / "old-1.0.egg-info").write_text("Metadata-Version: 1.0\nName: old\nVersion: 1.0\n")
    found = Discovery([str(tmp_path)])
    assert [str(each) for each in found.distributions()] == ["old 1.0"]
    assert codes(diagnose(tmp_path)) == {}


def test_a_record_whose_files_are_mostly_gone_is_half_an_uninstall(tmp_path: Path) -> None:
    info = install(tmp_path, "some")
    record = "".join(f"some{number}.py,,\n" for number in range(4))
    (info / "RECORD").write_text(record + f"{info.name}/RECORD,,\n")
    for number in range(4):
        (tmp_path / f"some{number}.py").touch()
    assert codes(diagnose(tmp_path)) == {}
    (tmp_path / "some0.py").unlink()
    (tmp_path / "some1.py").unlink()
    assert codes(diagnose(tmp_path)) == {}  # images are slimmed by removing tests and the like
    (tmp_path / "some2.py").unlink()
    assert codes(diagnose(tmp_path)) == {"whole installs": ["distribution-incomplete"]}


@pytest.mark.parametrize(("installer", "found"), [("pip", 1), ("uv", 1), ("", 1), ("debian", 0)])
def test_a_record_may_be_missing_where_the_system_installs(tmp_path: Path, installer: str, found: int) -> None:
    info = install(tmp_path, "some")
    (info / "RECORD").unlink()
    (info / "INSTALLER").write_text(f"{installer}\n")
    diagnosis = diagnose(tmp_path)
    assert sum(len(each) for each in codes(diagnosis).values()) == found
    assert diagnosis.state in {"ok", "warning"}


def test_a_plugin_whose_module_is_gone_is_incomplete(tmp_path: Path) -> None:
    info = install(tmp_path, "some", entry_points="some = some:New")
    record = (info / "RECORD").read_text()
    (info / "RECORD").write_text(record + "more.py,,\nmuch.py,,\n")
    for name in ("more.py", "much.py"):
        (tmp_path / name).touch()
    (tmp_path / "some.py").unlink()
    assert codes(diagnose(tmp_path)) == {"whole installs": ["distribution-incomplete"]}


def test_what_is_declared_is_a_warning_without_an_api(tmp_path: Path) -> None:
    install(tmp_path, "some", "Requires-Dist: nothere", "Requires-Python: <3", entry_points="some = some:New")
    diagnosis = diagnose(tmp_path)
    assert codes(diagnosis) == {"dependencies": ["python-unsatisfied", "dependency-missing"]}
    assert diagnosis.state == "warning"


def test_the_extra_that_an_entry_point_names_is_what_is_to_be_installed(tmp_path: Path) -> None:
    lines = ("Provides-Extra: all", "Provides-Extra: more")
    needs = ('Requires-Dist: nothere>=2; extra == "all" or extra == "more"', 'Requires-Dist: x; extra == "all"')
    install(tmp_path, "some", *lines, *needs, entry_points="some = some:New [more]")
    [finding] = next(check for check in diagnose(tmp_path).checks if check.title == "dependencies").findings
    assert finding.hint == "pip install 'some[more]'"


def distribution(name: str, *requires: str, extras: tuple[str, ...] = ()) -> Distribution:
    return Distribution(name, "1.0", "/site", f"/site/{name}", Facts([*requires], extras=[*extras]))


PLUGIN = distribution(
    "some",
    "plain>=1",
    'lazy.thing; extra == "fast"',
    'lazy.thing; extra == "all"',
    'other-thing; extra == "all"',
    "middle",
    extras=("all", "fast"),
)
MIDDLE = distribution("middle", "deep", extras=("more",))
DEEP = distribution("deep", 'bottom; extra == "more"', extras=("more",))


@pytest.mark.parametrize(
    ("module", "hint"),
    [
        ("plain", "pip install 'plain>=1'"),
        ("lazy_thing", "pip install 'some[fast]'"),  # the smaller of two extras
        ("lazy.thing.part", "pip install 'some[fast]'"),
        ("other_thing.part", "pip install 'some[all]'"),
        ("bottom", "pip install 'deep[more]'"),
        ("middle.nothere", "middle 1.0 has no module 'middle.nothere'"),
        ("unheard", "one of its extras may bring it: pip install 'some[fast]', or pip install 'some[all]'"),
    ],
)
def test_a_missing_module_is_brought_by(module: str, hint: str) -> None:
    installed = {canonicalize_name(each.name): each for each in (PLUGIN, MIDDLE, DEEP)}
    assert requirements.bringing(module, PLUGIN, installed).startswith(hint)


def test_a_module_that_nobody_declares_is_named() -> None:
    assert "has the module 'unheard'" in requirements.bringing("unheard.part", DEEP, {"bottom": MIDDLE})


def test_what_an_error_mentions_is_brought_by_an_extra() -> None:
    assert requirements.mentioned("ImportError: lazy_thing is not installed.", PLUGIN, {}) == "pip install 'some[fast]'"
    assert requirements.mentioned("RuntimeError: no luck", PLUGIN, {}) == ""


def loaded(folder: Path, report: Report, *lines: str) -> Verdict:
    install(folder, "some", *lines, entry_points="some = some:New")
    [verdict] = diagnose(folder, load=lambda row: report).plugins
    return verdict


@pytest.mark.parametrize(
    ("reached", "word"),
    [("registered", "registered"), ("imported", "importable"), ("made", "constructible"), ("usable", "usable")],
)
def test_how_far_a_load_came(tmp_path: Path, reached: str, word: str) -> None:
    verdict = loaded(tmp_path, Report(reached))
    assert (verdict.reached, verdict.state, verdict.seconds) == (word, "ok", 0.25)


def test_a_load_that_lacks_a_module_has_the_extra_as_its_mend(tmp_path: Path) -> None:
    lines = ("Provides-Extra: fast", 'Requires-Dist: lazy-thing; extra == "fast"')
    verdict = loaded(tmp_path, failed(missing="lazy_thing"), *lines)
    [finding] = verdict.findings
    assert (finding.code, finding.stage, finding.severity) == ("dependency-missing", "import", "error")
    assert finding.hint == "pip install 'some[fast]'"
    assert verdict.state == "error"


def test_a_load_that_says_itself_what_it_lacks_has_the_extra_as_its_mend(tmp_path: Path) -> None:
    lines = ("Provides-Extra: fast", 'Requires-Dist: lazy-thing; extra == "fast"')
    [finding] = loaded(tmp_path, failed("ImportError: get lazy-thing"), *lines).findings
    assert (finding.code, finding.hint) == ("dependency-missing", "pip install 'some[fast]'")


def test_a_load_that_lacks_a_part_of_what_is_installed_is_no_missing_dependency(tmp_path: Path) -> None:
    install(tmp_path, "other")
    [finding] = loaded(tmp_path, failed(missing="other.part")).findings
    assert finding.code == "import-failed"
    assert finding.hint.startswith("other 1.0 has no module 'other.part'")


def test_another_failure_keeps_its_mend(tmp_path: Path) -> None:
    [finding] = loaded(tmp_path, failed()).findings
    assert (finding.code, finding.hint) == ("import-failed", "pip check")


def test_habits_are_warnings_one_for_each_kind(tmp_path: Path) -> None:
    report = Report()
    report.habits = [("reads-files", f"/{number}") for number in range(5)] + [("starts-threads", "Thread-1")]
    verdict = loaded(tmp_path, report)
    assert [finding.code for finding in verdict.findings] == ["import-habit", "import-habit"]
    assert "its import reads files: /0, /1, /2 and 2 more" in verdict.findings[0].message
    assert verdict.state == "warning"


def test_what_is_refused_is_not_loaded_and_a_clash_is(tmp_path: Path) -> None:
    for name in ("some", "other"):
        install(tmp_path / name, name, "Requires-Dist: api~=1.0", entry_points="twice = " + f"{name}:New")
    install(tmp_path / "api", "api")
    install(tmp_path / "free", "free", entry_points="free = free:New")
    asked: list[str] = []

    def load(row: Row) -> Report:
        asked.append(row.distribution)
        return Report("usable")

    found = discover(GROUP, "api", [str(folder) for folder in sorted(tmp_path.iterdir())])
    diagnosis = examine(found, GROUP, "api", load)
    assert sorted(asked) == ["other", "some"]
    told = {verdict.row.distribution: (verdict.reached, verdict.state) for verdict in diagnosis.plugins}
    assert told == {"some": ("usable", "ok"), "other": ("usable", "ok"), "free": ("registered", "error")}
    assert diagnosis.checks[-1].extent == "2 of 3 plugins"


def test_a_load_that_could_not_be_tried_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    for name in ("other", "some"):
        install(tmp_path, name, entry_points=f"{name} = {name}:New")

    def load(row: Row) -> Report:
        if row.name == "some":
            raise PluginHostError(Finding("probe-failed", "no process", "mend"))
        return Report()

    done = []
    diagnosis = diagnose(tmp_path, load=load, advance=lambda: done.append(1))
    told = {verdict.row.name: (verdict.reached, verdict.state) for verdict in diagnosis.plugins}
    assert told == {"other": ("importable", "ok"), "some": ("registered", "error")}
    assert [finding.code for finding in diagnosis.checks[-1].findings] == ["probe-failed"]
    assert len(done) == 2


def habits(folder: Path, source: str, *, name: str = "some") -> list[str]:
    (folder / f"{name}.py").write_text(source)
    files = {f"{name}.py": ""}
    of = Distribution(name, "1.0", str(folder), f"{folder}/{name}", Facts(files=files))
    return [finding.message for finding in sources.check_sources(of, [name], [str(folder)])]


@pytest.mark.parametrize(
    "source",
    [
        "import pluginhost\n",
        "from pluginhost.errors import Finding\n",
        "def later():\n    from pluginhost import PluginManager\n",
        "from host import registry\nclass Some: ...\nregistry.register(Some)\n",
        "from host import registry\ndef New(): ...\nregistry.register('some', New)\n",
        "from host import registry\nclass Some: ...\nregistry.register('some', Some())\n",
        "import host\n@host.registry.register\nclass Some: ...\n",
        "import host\n@host.register('some')\nclass Some: ...\n",
        "import host\nclass Some: ...\nif True:\n    host.plugins().register(plugin=Some)\n",
    ],
)
def test_a_source_with_a_habit_is_told(tmp_path: Path, source: str) -> None:
    assert len(habits(tmp_path, source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import pluginhost_english\n",
        "from . import pluginhost\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pluginhost import Symbol\n",
        "import numbers\nclass Some: ...\nnumbers.Number.register(Some)\n",
        "from collections.abc import Mapping\nclass Some: ...\nMapping.register(Some)\n",
        "from functools import singledispatch\n@singledispatch\ndef f(x): ...\nclass Some: ...\n@f.register\ndef _(x: Some): ...\n",
        "class Base: ...\nclass Some: ...\nBase.register(Some)\n",
        "from some.registry import own\nclass Some: ...\nown.register(Some)\n",
        "from .registry import own\nclass Some: ...\nown.register(Some)\n",
        "from host import registry\nclass Some: ...\ndef setup():\n    registry.register(Some)\n",
        "import pluginhost this does not parse\n",
    ],
)
def test_a_source_without_a_habit_is_not(tmp_path: Path, source: str) -> None:
    assert habits(tmp_path, source) == []


def test_the_hosts_own_distributions_have_no_habits(tmp_path: Path) -> None:
    assert habits(tmp_path, "import pluginhost\n", name="pluginhost") == []
