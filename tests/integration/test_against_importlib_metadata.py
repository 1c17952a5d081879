"""What is discovered equals what importlib-metadata finds, wherever that one answers.

Both oracles are asked: the standard library's, and the package that the host depends on. They search the same generated
folders. Ours differs in three things, all on purpose: what is malformed costs only its own distribution, where theirs
raises for everybody; a folder that pip left of an unfinished uninstall (`~`) is passed over; and a distribution without
exactly one name and one version is refused, with a finding.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import random
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import importlib_metadata
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pluginhost import admission, discovery

if TYPE_CHECKING:
    from collections.abc import Iterator

# Both oracles leave it to the garbage collector to close an archive, and it may come upon the file first.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

GROUP = "pluginhost.plugins"
ORACLES = [importlib.metadata, importlib_metadata]


@pytest.fixture(autouse=True)
def _archives_are_closed() -> Iterator[None]:
    yield
    for of in ORACLES:
        of.FastPath.__new__.cache_clear()  # type: ignore[attr-defined]
    gc.collect()


# -- generated folders

NAMES = ["foo", "Foo", "foo.bar", "foo_bar", "Foo__Bar", "foo-bar", "bar", "b.a-r", "~oo", "é"]

entry_line = st.one_of(
    st.just(f"[{GROUP}]"),
    st.sampled_from(
        [
            "[other]",
            f"[[{GROUP}]]",
            f"  [{GROUP}]  ",
            f"[{GROUP.upper()}]",
            "",
            "   ",
            "# comment = no",
            "; comment = yes",
            "a = pkg",
            "a = pkg.mod:New",
            "a=pkg:New [extra, other]",
            "  b  =  pkg : New  ",
            "b = pkg[x]",
            "material/blog = pkg:x.y",
            "two = words = pkg:New",
            "é = pkg:é",
            "a = pkg # no comment",
            "no equals sign",
            "[not closed = x",
            "a\x0cb = pkg",
            "a = pkg\x85b = other",
        ]
    ),
    st.builds("{} = {}".format, st.text("ab.-_ ", max_size=4), st.text("ab.:[]=# ", max_size=6)),
)
newline = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"])


@st.composite
def entry_points(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(entry_line, max_size=7))
    if draw(st.booleans()):
        lines.insert(0, f"[{GROUP}]")
    end = draw(newline)
    return end.join(lines).encode() + draw(st.sampled_from([b"", b"", b"", end.encode(), b"\xff"]))


metadata_line = st.sampled_from(
    [
        "Metadata-Version: 2.1",
        "Summary: one line",
        "Summary: a page\x0cbreak",
        "Summary: a line\u2028separator: and more",
        "Summary: next\x85Name: other",
        "License: folded\n        \n        and: on\n\tand on",
        "License: a page\n        \x0c\n        break",
        "Description: folded\n  Name: other\n  Version: 9",
        "Requires-Dist: pluginapi~=1.0",
        "Keywords:",
        ": no key",
        "Name : not a header",
        "no header at all",
        "Näme: not a header",
        "Name: second",
        "version: 2.0",
    ]
)


@st.composite
def metadata(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from([*NAMES, *NAMES, "folded\n name", ""]))
    head = [
        f"{draw(st.sampled_from(['Name', 'Name', 'name', 'NAME']))}:{draw(st.sampled_from([' ', '', '  ']))}{name}",
        f"Version: {draw(st.sampled_from(['1.0', '2.0 ', '0', 'odd']))}",
    ]
    for line in draw(st.lists(metadata_line, max_size=3)):
        head.insert(draw(st.integers(0, len(head))), line)
    if draw(st.integers(0, 9)) == 0:
        head.pop(draw(st.integers(0, len(head) - 1)))
    body = draw(st.sampled_from(["", "\n\nName: body\n", "\n\nVersion: 3\n\nName: body\n"]))
    end = draw(newline)
    return ("\n".join(head) + body).replace("\n", end).encode() + draw(st.sampled_from([b"", b"", b"", b"\xff"]))


class Info(NamedTuple):
    """A metadata folder: by their names its files, `None` for a folder in a file's place."""

    name: str
    files: dict[str, bytes | None]


@st.composite
def info(draw: st.DrawFn) -> Info:
    kind = draw(st.sampled_from([".dist-info", ".dist-info", ".dist-info", ".egg-info"]))
    name = draw(st.sampled_from(NAMES))
    version = draw(st.sampled_from(["-1.0", "-1.0", "-2.0", "", "-1.0-py3.11"]))
    files: dict[str, bytes | None] = {}
    for file, odds in (("METADATA", kind == ".dist-info"), ("PKG-INFO", kind == ".egg-info")):
        if draw(st.integers(0, 9)) < (9 if odds else 1):
            files[file] = draw(metadata())
    if draw(st.integers(0, 9)):
        files["entry_points.txt"] = draw(st.one_of(entry_points(), entry_points(), entry_points(), st.none()))
    return Info(f"{name}{version}{kind}", files)


class Entry(NamedTuple):
    """An entry of the path: what it is, and what is in it."""

    kind: str
    infos: list[Info]

    def write(self, folder: Path) -> Path:
        """Returns the entry, made in a folder."""
        if self.kind in ("folder", "egg"):
            entry = folder / ("old-1.0-py3.egg" if self.kind == "egg" else "site")
            entry.mkdir()
            entry.joinpath("module.py").touch()
            entry.joinpath("flat-1.0.egg-info").write_text("Metadata-Version: 1.0\nName: flat\nVersion: 1.0\n")
            for name, files in self.infos:
                entry.joinpath(name).mkdir()
                for file, content in files.items():
                    if content is None:
                        entry.joinpath(name, file).mkdir()
                    else:
                        entry.joinpath(name, file).write_bytes(content)
            return entry
        entry = folder / "entry.zip"
        if self.kind == "zip":
            with zipfile.ZipFile(entry, "w") as archive:
                for name, files in self.infos:
                    for file, content in files.items():
                        if content is not None:
                            archive.writestr(f"{name}/{file}", content)
        elif self.kind == "no zip":
            entry.write_bytes(b"no archive")
        return entry  # of the kind "missing" there is nothing


@st.composite
def entry(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(["folder"] * 6 + ["zip", "egg", "no zip", "missing"]))
    infos = draw(st.lists(info(), max_size=4, unique_by=lambda each: each.name))
    if kind == "egg" and draw(st.booleans()):
        infos.append(Info("EGG-INFO", draw(info()).files))
    return Entry(kind, infos)


# -- the two answers


class Answer(NamedTuple):
    """What an oracle finds, and the metadata folders that register plugins and that we refuse."""

    found: list[tuple[str, str, str, str]]
    refused: list[str]


def oracle(of: Any, path: list[str]) -> Answer:
    """Returns what `entry_points()` returns for a path, distribution for distribution."""
    of.FastPath.__new__.cache_clear()  # it remembers listings
    answer = Answer([], [])
    names = set()
    context = of.DistributionFinder.Context(path=path)
    for distribution in of.MetadataPathFinder.find_distributions(context):
        where = str(distribution._path)
        parent, child = os.path.split(where)
        if child.startswith("~") and not parent.endswith(".egg"):  # pip leaves none in an egg or an archive
            continue
        try:
            name = distribution._normalized_name
            if name in names:
                continue
            names.add(name)
            points = [point for point in distribution.entry_points if point.group == GROUP]
        except Exception:  # it does not answer, for anybody
            continue
        try:
            headers = distribution.metadata
            [name], [version] = (headers.get_all(field) or [] for field in ("Name", "Version"))
        except Exception:
            name = version = ""
        name, version = " ".join(name.split()), version.strip()
        if name and version:
            answer.found.extend((point.name, point.value, name, version) for point in points)
        elif points:
            answer.refused.append(where)
    return answer


def ours(path: list[str]) -> tuple[list[tuple[str, str, str, str]], list[str]]:
    """Returns candidates and the paths of findings, in our order."""
    importlib_metadata.FastPath.__new__.cache_clear()  # type: ignore[attr-defined]
    result = discovery.discover(GROUP, path=path)
    of = [(each, each.distribution) for each in result.candidates]
    found = [(each.name, each.value, " ".join(dist.name.split()), dist.version) for each, dist in of]
    return found, [finding.path for finding in result.findings]


def listing(arrange: Any) -> Any:
    """Returns a patch: folders list their children as arranged."""
    real = os.listdir
    return mock.patch.object(os, "listdir", lambda *args: arrange(real(*args)))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(entries=st.lists(entry(), min_size=1, max_size=3), seed=st.integers(0, 1000))
def test_candidates_equal_those_of_importlib_metadata(tmp_path: Path, entries: list[Entry], seed: int) -> None:
    """The same plugins of the same distributions; and our order is the same however a folder lists its children."""
    parent = Path(tempfile.mkdtemp(dir=tmp_path))  # both libraries remember folders by name: none comes twice
    path = []
    for number, each in enumerate(entries):
        folder = parent / str(number)
        folder.mkdir()
        path.append(str(each.write(folder)))

    found, findings = ours(path)
    for of in ORACLES:
        with listing(sorted):  # of two versions in one folder, theirs takes the one that is listed first
            expected = oracle(of, path)
        assert sorted(found) == sorted(expected.found), of.__name__
        for where in expected.refused:
            assert any(told.startswith(where.rstrip("/")) for told in findings), where

    shuffled = random.Random(seed)
    for arrange in (lambda names: sorted(names)[::-1], lambda names: shuffled.sample(names, len(names))):
        with listing(arrange):
            assert ours(path) == (found, findings)


def test_a_folded_header_may_have_empty_lines_and_form_feeds(tmp_path: Path) -> None:
    """Licences are written so by setuptools, and the requirements stand behind them."""
    head = "Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n"
    licence = "License: first\n        \n        second\n        \x0c\n        third\x0cName: x\u2028Version: y\n"
    info = tmp_path / "foo-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(f"{head}{licence}Requires-Python: >=3.11\nRequires-Dist: bar\n\nbody\n")
    info.joinpath("entry_points.txt").write_text(f"[{GROUP}]\na = foo\n")
    [distribution] = [each.distribution for each in discovery.discover(GROUP, path=[str(tmp_path)]).candidates]
    assert distribution.facts is not None
    oracle = importlib.metadata.PathDistribution(info)
    assert distribution.facts.requires == oracle.requires == ["bar"]
    assert distribution.facts.requires_python == oracle.metadata["Requires-Python"]


@pytest.mark.parametrize("name", ["archive.zip", "old-1.0-py3.egg"])
def test_one_distribution_without_a_name_costs_an_archive_only_that_one(tmp_path: Path, name: str) -> None:
    """importlib-metadata finds nothing at all where one has no metadata; whichever comes first, the others serve."""
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        for project in "abc":
            archive.writestr(f"{project}-1.0.dist-info/entry_points.txt", f"[{GROUP}]\n{project} = module\n")
            if project != "b":
                archive.writestr(f"{project}-1.0.dist-info/METADATA", f"Name: {project}\nVersion: 1.0\n")
    found, findings = ours([str(tmp_path / name)])
    assert [each[0] for each in found] == ["a", "c"]
    assert ["b-1.0.dist-info" in path for path in findings] == [True]


def test_a_damaged_archive_is_a_finding(tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a-1.0.dist-info/METADATA", "Name: a\nVersion: 1.0\n")
        opened.writestr("a-1.0.dist-info/entry_points.txt", f"[{GROUP}]\na = module\n")
    archive.write_bytes(archive.read_bytes().replace(b"a = module", b"b = module"))  # its checksum is wrong now
    found, findings = ours([str(archive)])
    assert found == []
    assert len(findings) == 1


def test_a_folder_that_is_on_the_path_twice_hides_nothing(tmp_path: Path) -> None:
    """As `lib` and `lib64` are one folder in many environments."""
    Entry(
        "folder",
        [
            Info(
                "a-1.0.dist-info",
                {"METADATA": b"Name: a\nVersion: 1.0\n", "entry_points.txt": f"[{GROUP}]\na = b".encode()},
            )
        ],
    ).write(tmp_path)
    site, link = tmp_path / "site", tmp_path / "link"
    link.symlink_to(site)
    [candidate] = discovery.discover(GROUP, path=[str(site), str(link), str(site)]).candidates
    assert list(admission.check_shadowed(candidate.distribution)) == []
