"""Folders of wheels: what counts, what is told, and when it is an error."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from handmade import Handmade
from pluginhost import ConfigurationError, PluginManager, index, plugin_dirs, store
from pluginhost.index import Index
from pluginhost.plugin_dirs import PluginDirs

SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    return folder


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was just written has settled."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10 * SECOND)


def look(*folders: Path) -> PluginDirs:
    return PluginDirs([*map(str, folders)], "pluginapi")


def codes(found: PluginDirs) -> list[str]:
    return [finding.code for finding in found.findings]


def versions(found: PluginDirs) -> list[str]:
    return [next(Path(entry).glob("*.dist-info")).name.removesuffix(".dist-info") for entry in found.path]


# -- what counts


def test_every_wheel_counts_and_nothing_else(folder: Path, later: None) -> None:
    Handmade().write(folder)
    Handmade("zoo-other", "1.0").write(folder)
    for name in ("README.txt", "zoo.whl.part", "zoo_bad-1.0.tar.gz"):
        folder.joinpath(name).write_text("")
    Handmade("zoo-deeper", "1.0").write(folder / "inner")
    found = look(folder)
    assert versions(found) == ["zoo_bad-1.2.3", "zoo_other-1.0"]
    assert found.findings == []


def test_the_highest_version_counts(folder: Path, later: None) -> None:
    for version in ("1.9", "1.10", "1.10rc1"):
        Handmade(version=version).write(folder)
    found = look(folder)
    assert versions(found) == ["zoo_bad-1.10"]
    assert codes(found) == ["distribution-shadowed"] * 2
    assert "zoo_bad-1.10-py3-none-any.whl" in found.findings[0].message


def test_the_next_version_counts_while_the_highest_is_faulty(folder: Path, later: None) -> None:
    Handmade(version="1.0").write(folder)
    Handmade(version="2.0").write(folder, "zoo_bad-3.0-py3-none-any.whl")
    found = look(folder)
    assert versions(found) == ["zoo_bad-1.0"]
    assert codes(found) == ["wheel-malformed"]


def test_the_best_fitting_of_one_version_counts(folder: Path, later: None) -> None:
    fitting = f"cp{sys.version_info[0]}{sys.version_info[1]}-none-any"
    Handmade().write(folder, f"zoo_bad-1.2.3-{fitting}.whl")
    Handmade().write(folder)
    Handmade().write(folder, "zoo_bad-1.2.3-cp27-cp27m-win32.whl")
    found = look(folder)
    assert len(found.path) == 1
    assert codes(found) == ["wheel-incompatible", "distribution-shadowed"]
    assert fitting in found.findings[1].message.partition("since there is")[2]


def test_the_first_folder_counts_where_both_have_a_version(folder: Path, tmp_path: Path, later: None) -> None:
    Handmade(files={"zoo_bad.py": "first = 1"}).write(folder)
    Handmade(files={"zoo_bad.py": "second = 2"}).write(tmp_path / "second")
    found = look(folder, tmp_path / "second")
    assert Path(found.path[0], "zoo_bad.py").read_text() == "first = 1"
    assert codes(found) == ["distribution-shadowed"]
    assert look(folder, folder).findings == [], "one folder twice is one folder"


def test_what_is_looked_at_is_signed(folder: Path, tmp_path: Path, later: None) -> None:
    good, missing = Handmade().write(folder), tmp_path / "missing"
    bad = folder / "bad.whl"
    bad.write_text("")
    other = Handmade("zoo-other", "1.0").write(folder, "zoo_other-1.0-cp27-cp27m-win32.whl")
    seen = look(folder, missing).seen
    for path in (folder, good, bad, other, missing):
        assert seen[str(path)] == index.signature(str(path))


# -- what is an error, and when


def test_a_faulty_wheel_settles_before_it_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / Handmade().file_name()
    path.write_bytes(Handmade().data()[:-40])
    changed = path.stat().st_ctime_ns
    monkeypatch.setattr(time, "time_ns", lambda: changed + index.SETTLED_NS - 1)
    [finding] = look(folder).findings
    assert (finding.code, finding.severity) == ("wheel-settling", "warning")
    assert "does not end as an archive does" in finding.message
    monkeypatch.setattr(time, "time_ns", lambda: changed + index.SETTLED_NS)
    [finding] = look(folder).findings
    assert (finding.code, finding.severity) == ("wheel-malformed", "error")


def test_a_faulty_wheel_that_changes_meanwhile_has_not_settled(
    folder: Path, later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / Handmade().file_name()
    path.write_bytes(Handmade().data()[:-40])
    real = store.take

    def slow(*args: object) -> object:
        with path.open("ab") as file:
            file.write(b"more")
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "take", slow)
    assert codes(look(folder)) == ["wheel-settling"]


def test_a_good_wheel_counts_at_once(folder: Path) -> None:
    Handmade().write(folder)
    found = look(folder)
    assert (versions(found), found.findings) == (["zoo_bad-1.2.3"], [])


def test_a_wheel_that_is_taken_away_meanwhile_is_no_error(
    folder: Path, later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Handmade().write(folder)
    real = plugin_dirs.open_regular

    def gone(name: str) -> object:
        path.unlink()
        return real(name)

    monkeypatch.setattr(plugin_dirs, "open_regular", gone)
    found = look(folder)
    assert (found.path, found.findings) == ([], [])


def test_a_store_that_cannot_be_written_is_told_once(folder: Path, tmp_path: Path, later: None) -> None:
    (tmp_path / "cache").write_text("")
    for number in range(3):
        Handmade(f"zoo-{number}", "1.0").write(folder)
    found = look(folder)
    assert (found.path, codes(found)) == ([], ["store-unwritable"])
    assert "zoo-0 1.0" in found.findings[0].message


def test_nothing_of_a_folder_that_everybody_may_write_is_used(folder: Path, later: None) -> None:
    Handmade().write(folder)
    folder.chmod(0o1777)
    found = look(folder)
    assert (found.path, codes(found)) == ([], ["world-writable"])


def test_opening_does_not_block_when_a_pipe_takes_the_place_of_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "pipe.whl"
    os.mkfifo(path)
    status = Path(__file__).stat()
    monkeypatch.setattr(os, "stat", lambda *args, **options: status)  # as it was a moment before
    with pytest.raises(plugin_dirs.NotRegular):
        plugin_dirs.open_regular(str(path))


# -- the manager


@pytest.mark.parametrize("wrong", ["plugins", b"plugins", Path("plugins"), [1], 1])
def test_what_is_no_list_of_folders_is_told(wrong: object) -> None:
    with pytest.raises(ConfigurationError) as raised:
        PluginManager(plugin_dirs=wrong)  # type: ignore[arg-type]
    assert raised.value.finding.code == "configuration-wrong"


def test_each_list_of_folders_has_an_index_file_of_its_own(tmp_path: Path) -> None:
    paths = {Index("g", None, dirs).path for dirs in ((), ["/a"], ["/b"], ["/a", "/b"], ["/b", "/a"])}
    assert len(paths) == 5


def test_folders_are_those_of_the_working_folder_when_the_manager_was_made(
    folder: Path, later: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Handmade().write(folder)
    monkeypatch.chdir(tmp_path)
    manager = PluginManager(plugin_dirs=[Path("plugins")])
    monkeypatch.chdir("/")
    assert "bad" in [row.name for row in manager.survey()]


# -- the index


def rows(folder: Path | None) -> list[tuple[str, str]]:
    survey = PluginManager(plugin_dirs=[folder] if folder else []).survey()
    return [(row.name, row.version) for row in survey if row.distribution.startswith("zoo")]


@pytest.fixture
def warm(folder: Path, later: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often the folder was looked through since the index answers."""
    Handmade().write(folder)
    looked: list[int] = []
    real = plugin_dirs.PluginDirs
    monkeypatch.setattr(plugin_dirs, "PluginDirs", lambda *args: looked.append(1) or real(*args))
    assert rows(folder) == rows(folder) == [("bad", "1.2.3")]
    assert looked == [1], "the index answers"
    looked.clear()
    return looked


def test_the_index_answers_for_the_same_folders_alone(warm: list[int], folder: Path) -> None:
    assert rows(None) == []
    assert rows(folder) == [("bad", "1.2.3")]
    assert warm == []


def test_the_index_answers_with_what_joins_the_path(warm: list[int], folder: Path) -> None:
    survey = PluginManager(plugin_dirs=[folder]).survey()
    assert [Path(entry, "zoo_bad.py").is_file() for entry in survey.path] == [True]
    assert warm == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("another wheel", [("bad", "1.2.3"), ("other", "1.0")]),
        ("another content", [("bad", "1.2.3"), ("more", "1.2.3")]),
        ("no wheel", []),
        ("a permission of the folder", []),
        ("a permission of the wheel", []),
        ("no store", [("bad", "1.2.3")]),
    ],
)
def test_whatever_changes_is_found_anew(
    change: str, found: list[tuple[str, str]], warm: list[int], folder: Path, tmp_path: Path
) -> None:
    wheel = folder / Handmade().file_name()
    if change == "another wheel":
        Handmade("zoo-other", "1.0").write(folder)
    elif change == "another content":
        Handmade().edit("entry_points.txt", lambda text: f"{text}more = zoo_bad:New\n").write(folder)
    elif change == "no wheel":
        wheel.unlink()
    elif change == "a permission of the folder":
        folder.chmod(0o777)
    elif change == "a permission of the wheel":
        wheel.chmod(0o666)
    else:
        shutil.rmtree(tmp_path / "cache" / "pluginhost" / "wheels")
    assert rows(folder) == found
    assert warm == [1]
    assert rows(folder) == found
    assert warm == [1], "the index answers again"
