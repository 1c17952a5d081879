"""The store of unpacked wheels: whole or not there, the owner's alone, and never written through a link."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import stat
import sys
import time
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO

import pytest
from handmade import PLUGIN, Handmade
from pluginhost import PluginRefused, index, store, wheels
from pluginhost.survey import Candidate, Distribution, Survey
from racing import at_once
from spoiling import a_file, open_to_others, read_only

if TYPE_CHECKING:
    from collections.abc import Callable

    from pluginhost.wheels import Wheel


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store, which is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pluginhost" / "wheels"


def take(path: Path) -> tuple[Wheel, Path | None]:
    check = partial(wheels.check, path=str(path), package="pluginapi", search=[])
    with path.open("rb") as file:
        wheel, entry = store.take(file, check)
    return wheel, Path(entry) if entry else None


def taken(path: Path) -> Path:
    wheel, entry = take(path)
    assert entry, wheel.findings
    return entry


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# -- what is written


def test_a_wheel_is_unpacked_into_the_folder_of_its_hash(tmp_path: Path, folder: Path) -> None:
    wheel = Handmade(files={"zoo_bad/__init__.py": PLUGIN, "zoo_bad/inner/data.txt": "data"})
    wheel.edit("entry_points.txt", lambda text: text + "[console_scripts]\nzoo = zoo_bad:main\nodd = %(\n")
    path = wheel.write(tmp_path)
    entry = taken(path)
    assert entry == folder / hashlib.sha256(path.read_bytes()).hexdigest()
    assert listing(entry) == sorted([*wheel.files, f"{wheel.info}/RECORD"]), "no script, no launcher"
    assert {name: entry.joinpath(name).read_text() for name in wheel.files} == wheel.files
    assert os.listdir(folder) == [entry.name], "nothing is left beside it"


def test_all_of_it_is_the_owners_alone_and_nothing_is_executable(tmp_path: Path, folder: Path) -> None:
    wheel = Handmade(files={"zoo_bad/__init__.py": PLUGIN})
    path = wheel.write(tmp_path)
    before = os.umask(0)
    try:
        entry = taken(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(entry.stat().st_mode) == 0o700
    assert [each for each in entry.rglob("*") if each.is_file() and each.stat().st_mode & 0o111] == []


def test_what_is_there_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Handmade().write(tmp_path)
    entry = taken(path)
    before = entry.stat()
    monkeypatch.setattr(store, "_take_new", None)
    assert taken(path) == entry
    assert entry.stat() == before


def test_a_faulty_wheel_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "cache" / "x" / Handmade().file_name()
    path.parent.mkdir(parents=True)
    path.write_bytes(Handmade().data()[:-30])
    wheel, entry = take(path)
    assert not entry
    assert not wheel.is_sound
    assert not folder.exists()


def test_a_wheel_for_another_platform_is_not_unpacked(tmp_path: Path, folder: Path) -> None:
    wheel, entry = take(Handmade().write(tmp_path, "zoo_bad-1.2.3-cp27-cp27m-win32.whl"))
    assert (wheel.is_sound, entry) == (True, None)
    assert not folder.exists()


def test_what_is_checked_is_what_is_unpacked_though_the_file_changes(tmp_path: Path, folder: Path) -> None:
    """The file is another one after it was looked at, and again after it was hashed."""
    path = Handmade().write(tmp_path)
    evil = Handmade(files={"zoo_bad.py": "", "../evil.py": ""}).data()
    calls = []

    def check(file: BinaryIO) -> Wheel:
        found = wheels.check(file, str(path), "pluginapi", [])
        calls.append(found.is_sound)
        path.write_bytes(evil)
        return found

    with path.open("rb") as file:
        wheel, entry = store.take(file, check)  # type: ignore[arg-type]
    assert calls == [True, False], "it was checked as it is unpacked"
    assert not entry
    assert not wheel.is_sound
    assert list(folder.iterdir()) == []
    assert not list(tmp_path.rglob("evil.py"))


# -- what is in the way


@pytest.mark.parametrize("damage", ["gone", "cut", "link", "other's", "empty", "a file", "a link to a folder"])
def test_what_is_damaged_is_made_anew(damage: str, tmp_path: Path, folder: Path) -> None:
    path = Handmade().write(tmp_path)
    entry = taken(path)
    module, outside = entry / "zoo_bad.py", tmp_path / "outside"
    outside.mkdir()
    outside.joinpath("kept").write_text("kept")
    if damage == "gone":
        module.unlink()
    elif damage == "cut":
        os.truncate(module, 10)
    elif damage == "link":
        module.unlink()
        module.symlink_to("/etc/passwd")
    elif damage == "other's":
        entry.chmod(0o777)
    else:
        shutil.rmtree(entry)
        if damage == "empty":
            entry.mkdir(0o700)
        elif damage == "a file":
            entry.write_text("")
        else:
            entry.symlink_to(outside)
    assert taken(path) == entry
    assert module.read_text() == Handmade().files["zoo_bad.py"]
    assert not entry.is_symlink()
    assert listing(outside) == ["kept"]
    assert os.listdir(folder) == [entry.name]


def _a_link(cache: Path) -> None:
    (cache.parent / "elsewhere").mkdir()
    (cache / "pluginhost").mkdir(parents=True)
    (cache / "pluginhost" / "wheels").symlink_to(cache.parent / "elsewhere")


@pytest.mark.parametrize("spoil", [a_file, _a_link, open_to_others, read_only])
def test_a_store_that_is_not_to_be_written_is_told(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    spoil(tmp_path / "cache")
    path = Handmade().write(tmp_path)
    with pytest.raises(store.Unwritable):
        take(path)
    assert list(tmp_path.glob("elsewhere/*")) == []
    assert store.clear() == store.prune() == 0


def test_a_full_disk_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    path = Handmade(files={"zoo_bad.py": os.urandom(5_000).hex()}).write(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
    try:
        with pytest.raises(store.Unwritable):
            take(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(folder.iterdir()) == []
    assert taken(path)


def test_leftovers_of_killed_processes_are_removed_an_hour_later(tmp_path: Path, folder: Path) -> None:
    old, young = folder / ".unpacking-old", folder / ".unpacking-young"
    for leftover in (old, young):
        (leftover / "tree").mkdir(parents=True)
    folder.chmod(0o700)
    hour = time.time() - store.LEFTOVER_SECONDS - 10
    os.utime(old, (hour, hour))
    entry = taken(Handmade().write(tmp_path))
    assert sorted(os.listdir(folder)) == sorted([young.name, entry.name])


RACE = """
import os, sys, time
from functools import partial
from pluginhost import store, wheels
path, gate = sys.argv[1:3]
open(f"{gate}.{os.getpid()}", "w").close()
while not os.path.exists(gate):
    time.sleep(0.001)
for turn in range(20):
    with open(path, "rb") as file:
        wheel, entry = store.take(file, partial(wheels.check, path=path, package=None, search=[]))
    assert entry, wheel.findings
    assert open(f"{entry}/zoo_bad/last.py").read() == "last"
"""


def test_many_processes_unpack_one_wheel_at_once(tmp_path: Path, folder: Path) -> None:
    files = {f"zoo_bad/{number:02}.py": f"# {number}" for number in range(50)} | {"zoo_bad/last.py": "last"}
    path, gate = Handmade(files=files).write(tmp_path), tmp_path / "gate"
    assert at_once([sys.executable, "-c", RACE, path, gate], gate, 6) == [b""] * 6
    assert len(os.listdir(folder)) == 1


# -- the path


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`sys.path`, as it will be again."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    return sys.path


def candidate(entry: Path) -> Candidate:
    return Candidate("group", "bad", "zoo_bad:New", Distribution("zoo-bad", "2.0", str(entry), f"{entry}/x.dist-info"))


def test_folders_come_last_and_once_and_are_no_part_of_the_search_path(tmp_path: Path, path: list[str]) -> None:
    entry, before = taken(Handmade().write(tmp_path)), [*path]
    for _ in range(2):
        store.put_on_path([str(entry)], candidate(entry))
        assert path == [*before, str(entry)]
    assert str(entry) not in index.search_path()


def test_an_older_version_makes_room_unless_it_was_imported(
    tmp_path: Path, path: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, other = (
        taken(Handmade(name, version).write(tmp_path))
        for name, version in [("zoo-bad", "1.0"), ("zoo-bad", "2.0"), ("zoo-other", "1.0")]
    )
    before = [*path]
    store.put_on_path([str(one), str(other)], candidate(one))
    store.put_on_path([str(two)], candidate(two))
    assert path == [*before, str(other), str(two)], "another manager's wheel stays"
    module = ModuleType("zoo_bad")
    module.__file__ = str(two / "zoo_bad.py")
    monkeypatch.setitem(sys.modules, "zoo_bad", module)
    with pytest.raises(PluginRefused) as refused:
        store.put_on_path([str(one)], candidate(one))
    assert refused.value.finding.code == "wheel-replaced"
    store.put_on_path([str(one), str(other)], candidate(other))
    assert path == [*before, str(other), str(two)], "what depends on it goes on with what is imported"


# -- room


def test_clear_and_prune(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, old, young = (taken(Handmade(version=version).write(tmp_path)) for version in ("1.0", "2.0", "3.0"))
    days = time.time() - store.KEPT_SECONDS - 10
    for entry in (named, old):
        os.utime(entry, (days, days))
    monkeypatch.setattr(index, "contents", lambda: [Survey([], [], [str(named)]).to_plain()])
    assert store.size() == (3, sum(each.stat().st_size for each in folder.rglob("*") if each.is_file()))
    assert store.prune() == 1
    assert sorted(os.listdir(folder)) == sorted([named.name, young.name])
    assert store.clear() == 2
    assert os.listdir(folder) == []
