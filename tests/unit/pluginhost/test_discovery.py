from __future__ import annotations

import importlib.metadata
import os
import sys
import tracemalloc
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pluginhost import discovery

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "pluginhost.plugins"


def write(folder: Path, name: str, entry_points: str, *, version: str = "1.0", requires: str = "") -> Path:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}\n")
    info.joinpath("entry_points.txt").write_text(entry_points)
    return info


def found(*path: Path) -> list[tuple[str, str, str]]:
    candidates = discovery.discover(GROUP, path=[str(folder) for folder in path]).candidates
    return [(each.name, each.value, str(each.distribution)) for each in candidates]


@given(st.text("aB1-_.", max_size=12))
def test_names_are_normalised_as_importlib_metadata_does(name: str) -> None:
    assert discovery.normalize(name) == importlib.metadata.Prepared.normalize(name)  # type: ignore[attr-defined]


def test_metadata_that_would_be_too_large_is_not_read_out_of_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb-1.0.dist-info/METADATA", "Name: bomb\nVersion: 1.0\n")
        archive.writestr("bomb-1.0.dist-info/entry_points.txt", b" " * (discovery.FILE_LIMIT * 64))
    tracemalloc.start()
    try:
        survey = discovery.discover(GROUP, path=[str(tmp_path / "archive.zip")])
        assert tracemalloc.get_traced_memory()[1] < discovery.FILE_LIMIT * 8
    finally:
        tracemalloc.stop()
    assert [finding.code for finding in survey.findings] == ["metadata-unreadable"]


def test_the_first_distribution_of_a_name_on_the_path_shadows_the_others(tmp_path: Path) -> None:
    write(tmp_path / "one", "Some.Name", f"[{GROUP}]\nx = a:New\n", version="2.0")
    write(tmp_path / "two", "some_name", f"[{GROUP}]\nx = b:New\ny = b:New\n")
    assert found(tmp_path / "one", tmp_path / "two") == [("x", "a:New", "Some.Name 2.0")]
    assert found(tmp_path / "two", tmp_path / "one") == [
        ("x", "b:New", "some_name 1.0"),
        ("y", "b:New", "some_name 1.0"),
    ]


def test_the_order_does_not_depend_on_the_folders_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "dbca":
        write(tmp_path, name, f"[{GROUP}]\nplugin-{name} = {name}\n")
    first = found(tmp_path)
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listdir(folder)[::-1])
    assert found(tmp_path) == first
    assert [name for name, _, _ in first] == ["plugin-a", "plugin-b", "plugin-c", "plugin-d"]


def test_a_zip_and_an_egg_are_searched_too(tmp_path: Path) -> None:
    info = write(tmp_path / "tree", "zipped", f"[{GROUP}]\nz = zipped:New\n")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for file in info.iterdir():
            archive.write(file, f"{info.name}/{file.name}")
    egg = tmp_path / "old-1.0-py3.egg" / "EGG-INFO"
    egg.mkdir(parents=True)
    egg.joinpath("PKG-INFO").write_text("Metadata-Version: 1.0\nName: old\nVersion: 1.0\n")
    egg.joinpath("entry_points.txt").write_text(f"[{GROUP}]\no = old:New\n")
    assert found(tmp_path / "archive.zip", egg.parent) == [
        ("o", "old:New", "old 1.0"),
        ("z", "zipped:New", "zipped 1.0"),
    ]


def test_another_finder_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = write(tmp_path, "elsewhere", f"[{GROUP}]\ne = elsewhere:New\n")

    class Finder:
        @staticmethod
        def find_spec(*args: object) -> None:
            return None

        @staticmethod
        def find_distributions(context: object) -> list[importlib.metadata.Distribution]:
            return [importlib.metadata.PathDistribution(info)]

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert "e" in [candidate.name for candidate in discovery.discover(GROUP).candidates]


@pytest.mark.parametrize(
    ("file", "content", "code"),
    [
        ("entry_points.txt", b"\xff\xfe[\n", "metadata-malformed"),
        ("entry_points.txt", b"[other]\nno equals sign\n", "metadata-malformed"),
        ("entry_points.txt", b"#" * (discovery.FILE_LIMIT + 1), "metadata-unreadable"),
        ("METADATA", None, "metadata-unreadable"),
        ("METADATA", b"", "metadata-malformed"),
        ("METADATA", b"\xff", "metadata-malformed"),
        ("METADATA", b"x" * (discovery.FILE_LIMIT + 1), "metadata-unreadable"),
    ],
)
def test_what_is_wrong_with_one_distribution_costs_only_that_one(
    tmp_path: Path, file: str, content: bytes | None, code: str
) -> None:
    bad = write(tmp_path, "bad", f"[{GROUP}]\nbad = bad:New\n") / file
    write(tmp_path, "good", f"[{GROUP}]\ngood = good:New\n")
    bad.unlink() if content is None else bad.write_bytes(content)
    result = discovery.discover(GROUP, path=[str(tmp_path)])
    assert [candidate.name for candidate in result.candidates] == ["good"]
    [finding] = result.findings
    assert (finding.code, finding.path) == (code, str(bad))
    assert "bad" in finding.hint


def test_a_folder_that_is_not_there_is_no_fault(tmp_path: Path) -> None:
    assert discovery.discover(GROUP, path=[str(tmp_path / "nowhere")]).findings == []


def test_an_unreadable_folder_is_one_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: str) -> list[str]:
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "listdir", refuse)
    [finding] = discovery.discover(GROUP, path=[str(tmp_path)]).findings
    assert finding.code == "path-unreadable"


def test_the_api_is_found_by_its_name_or_by_its_stamp(tmp_path: Path) -> None:
    write(tmp_path, "acme-api", "", version="2.5")
    stamped = write(tmp_path, "other-name", "", version="3.0") / discovery.MANIFEST
    stamped.parent.mkdir()
    stamped.write_text(
        '{"schema": 1, "api": null, "plugins": [], "provides": {"package": "acme.ui", "fingerprint": "f"}}'
    )
    for package, expected in [("acme_api", "acme-api 2.5"), ("acme.ui", "other-name 3.0"), ("nobody", "None")]:
        assert str(discovery.discover(GROUP, package, [str(tmp_path)]).api) == expected
