"""A copy of what is installed: all of it or none, the owner's alone, and judged by what is installed now."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from handmade import PLUGIN, Handmade
from pluginhost import PluginRefused, discovery, intact, kept, store
from racing import at_once
from spoiling import a_file, open_to_others, read_only

if TYPE_CHECKING:
    from collections.abc import Callable

    from pluginhost import Row
    from pluginhost.survey import Candidate

GROUP = "pluginhost.plugins"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store, which is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pluginhost" / "wheels"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder into which tests install; it is on the path."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


def wheel(version: str = "1.2.3", **files: str | bytes) -> Handmade:
    return Handmade(version=version, files={"zoo_bad/__init__.py": PLUGIN, "zoo_bad/data.txt": version} | files)


def install(what: Handmade, site: Path) -> Candidate:
    """Returns the plugin of a wheel that is installed in the place of what is there."""
    for info in site.glob(f"{what.name.replace('-', '_')}-*"):
        for file in [*info.rglob("*")]:
            file.unlink()
        info.rmdir()
    zipfile.ZipFile(io.BytesIO(what.data())).extractall(site)
    return next(each for each in found(site) if each.distribution.name == what.name)


def found(site: Path) -> list[Candidate]:
    return discovery.discover(GROUP, path=[str(site)]).candidates


def keep(candidate: Candidate) -> Path | None:
    entry = kept.keep(candidate, intact.content(candidate.distribution))
    return Path(entry) if entry else None


def copied(candidate: Candidate) -> Path:
    entry = keep(candidate)
    assert entry
    return entry


def returned(entry: Path, candidate: Candidate) -> Row:
    return kept.row(str(entry), candidate, "pluginapi")


def refusal(entry: str | Path, candidate: Candidate) -> str:
    with pytest.raises(PluginRefused) as refused:
        kept.row(str(entry), candidate, "pluginapi")
    assert refused.value.finding.code == "rollback-unknown"
    return str(refused.value)


def listing(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(files)}


# -- what is copied


def test_a_copy_has_what_was_installed_and_is_whole(site: Path, folder: Path) -> None:
    made = wheel(**{"zoo_bad/inner/__init__.py": ""})
    more = ["zoo_bad/__pycache__/x.pyc,,", "../../bin/zoo,sha256=abc,3", f"{made.info}/direct_url.json,sha256=abc,3"]
    made.rows = {str(number): line for number, line in enumerate(more)}
    candidate = install(made, site)
    site.joinpath("zoo_bad/__pycache__").mkdir()
    site.joinpath("zoo_bad/__pycache__/x.pyc").touch()
    site.joinpath("zoo_bad/beside.py").touch()
    entry = copied(candidate)
    assert entry == folder / intact.content(candidate.distribution)
    assert os.listdir(folder) == [entry.name], "nothing is left beside it"
    files = listing(entry)
    record = files.pop(f"{made.info}/RECORD")
    assert files == made.files
    assert f"{made.info}/RECORD,,\n" in record
    [copy] = found(entry)
    assert intact.require_whole(copy.distribution) == intact.content(candidate.distribution), "it is the same content"
    assert store._is_whole(str(entry), made.info)


def test_a_copy_is_the_owners_alone_and_programs_stay_programs(site: Path, folder: Path) -> None:
    candidate = install(wheel(**{"zoo_bad/tool.sh": "#!/bin/sh\n"}), site)
    site.joinpath("zoo_bad/tool.sh").chmod(0o777)
    before = os.umask(0)
    try:
        entry = copied(candidate)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(entry.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in entry.rglob("*") if path.is_file()}
    assert modes.pop("tool.sh") == 0o700
    assert set(modes.values()) == {0o600}


def test_what_is_kept_already_is_returned(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = install(wheel(), site)
    made_of = intact.content(candidate.distribution)
    entry = copied(candidate)
    monkeypatch.setattr(kept, "_files", None)
    assert copied(candidate) == entry
    install(wheel("2.0"), site)
    assert kept.keep(candidate, made_of) == str(entry), "also when it is not installed any more"


def test_what_is_in_the_store_needs_no_copy(folder: Path) -> None:
    candidate = install(wheel(), folder / "abc")
    assert copied(candidate) == folder / "abc"
    assert os.listdir(folder) == ["abc"]
    assert returned(folder / "abc", candidate).state == "ready"


def test_links_are_followed_only_to_what_was_installed(site: Path, tmp_path: Path) -> None:
    """Uv installs links to its cache when it is told to; RECORD proves what is behind them."""
    candidate = install(wheel(), site)
    site.joinpath("zoo_bad/data.txt").rename(tmp_path / "elsewhere")
    site.joinpath("zoo_bad/data.txt").symlink_to(tmp_path / "elsewhere")
    data = copied(candidate) / "zoo_bad/data.txt"
    assert (data.read_text(), data.is_symlink()) == ("1.2.3", False)


# -- what is not kept


def _changed(site: Path) -> None:
    site.joinpath("zoo_bad/data.txt").write_text("3.2.1")


def _gone(site: Path) -> None:
    site.joinpath("zoo_bad/data.txt").unlink()


def _fifo(site: Path) -> None:
    _gone(site)
    os.mkfifo(site / "zoo_bad/data.txt")


def _link_out(site: Path) -> None:
    """Of what has no hash nobody can tell whether it is meant."""
    _gone(site)
    site.joinpath("zoo_bad/data.txt").symlink_to("/etc/passwd")
    record = next(site.glob("*/RECORD"))
    lines = record.read_text().splitlines()
    record.write_text("".join("zoo_bad/data.txt,,\n" if "data.txt" in line else f"{line}\n" for line in lines))


def _malformed(site: Path) -> None:
    record = next(site.glob("*/RECORD"))
    record.write_text(record.read_text() + "zoo_bad/x.py\n")


def _no_record(site: Path) -> None:
    next(site.glob("*/RECORD")).unlink()


@pytest.mark.parametrize("spoil", [_changed, _gone, _fifo, _link_out, _malformed, _no_record])
def test_of_what_is_not_whole_nothing_is_kept(site: Path, folder: Path, spoil: Callable[[Path], None]) -> None:
    candidate = install(wheel(), site)
    spoil(site)
    assert keep(candidate) is None
    assert not folder.exists() or os.listdir(folder) == []


def test_what_has_another_content_by_now_is_not_kept(site: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = install(wheel(), site)
    made_of = intact.content(candidate.distribution)
    install(wheel("2.0"), site)
    assert kept.keep(candidate, made_of) == ""
    candidate, copy = install(wheel(), site), kept._copy_all

    def copy_all(*args: object) -> None:
        copy(*args)  # type: ignore[arg-type]
        install(wheel("2.0"), site)

    monkeypatch.setattr(kept, "_copy_all", copy_all)
    assert kept.keep(candidate, made_of) == "", "nor when it changes meanwhile"
    assert os.listdir(folder) == []


def test_what_is_too_large_or_an_archive_is_not_kept(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Handmade().write(tmp_path)
    [candidate] = discovery.discover(GROUP, path=[str(archive)]).candidates
    assert keep(candidate) is None
    made = wheel()
    candidate, size = install(made, site), sum(map(len, made.files.values()))
    monkeypatch.setattr(kept, "LIMIT", size - 1)
    assert keep(candidate) is None
    monkeypatch.setattr(kept, "LIMIT", size)
    assert keep(candidate)


@pytest.mark.parametrize("spoil", [a_file, open_to_others, read_only])
def test_without_a_store_nothing_is_kept(site: Path, tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(tmp_path / "cache")
    assert keep(install(wheel(), site)) is None


@pytest.mark.parametrize("what", ["a file", "a link", "another's"])
def test_what_is_in_the_way_makes_room(site: Path, tmp_path: Path, folder: Path, what: str) -> None:
    candidate = install(wheel(), site)
    entry = folder / intact.content(candidate.distribution)
    folder.mkdir(parents=True, mode=0o700)
    if what == "a file":
        entry.write_text("")
    elif what == "a link":
        entry.symlink_to(tmp_path)
    else:
        entry.mkdir()
        entry.chmod(0o777)
    assert copied(candidate) == entry
    assert not entry.is_symlink()
    assert returned(entry, candidate).state == "ready"


RACE = """
import os, sys, time
from pluginhost import discovery, intact, kept
site, gate = sys.argv[1:3]
[candidate] = discovery.discover("pluginhost.plugins", path=[site]).candidates
made_of = intact.content(candidate.distribution)
open(f"{gate}.{os.getpid()}", "w").close()
while not os.path.exists(gate):
    time.sleep(0.001)
entry = kept.keep(candidate, made_of)
assert open(f"{entry}/zoo_bad/last.py").read() == "last"
"""


def test_two_processes_keep_one_plugin_at_once(site: Path, tmp_path: Path, folder: Path) -> None:
    files = {f"zoo_bad/{number:02}.py": f"# {number}" for number in range(50)} | {"zoo_bad/last.py": "last"}
    candidate, gate = install(wheel(**files), site), tmp_path / "gate"
    assert at_once([sys.executable, "-c", RACE, site, gate], gate, 2) == [b""] * 2
    assert os.listdir(folder) == [intact.content(candidate.distribution)]


# -- editable installs


def editable(
    site: Path, project: Path, *, on_path: Path | None = None, plugins: str = "bad = zoo_bad:New"
) -> Candidate:
    """Returns the first plugin of a project."""
    made = Handmade(files={"_zoo_bad.pth": f"{on_path or project}\n"})
    made.edit("entry_points.txt", lambda text: f"[{GROUP}]\n{plugins}\n")
    made.files[f"{made.info}/direct_url.json"] = json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}})
    if on_path:
        sys.path.append(str(on_path))  # the fixture undoes it
    return install(made, site)


def project(folder: Path, **files: str) -> Path:
    for name, text in {"zoo_bad/__init__.py": PLUGIN, "zoo_bad/data.txt": "1", **files}.items():
        folder.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        folder.joinpath(name).write_text(text)
    return folder


def test_of_an_editable_the_packages_of_its_plugins_are_copied(site: Path, tmp_path: Path) -> None:
    files = {"src/zoo_bad/__init__.py": PLUGIN, "src/zoo_bad/data.txt": "1", "src/zoo_bad/a/b.py": "2"}
    files |= {"src/zoo_one.py": PLUGIN, "src/zoo_space/part/__init__.py": PLUGIN, "src/zoo_bad/__pycache__/x.pyc": ""}
    there = project(tmp_path / "project", **files, **{"pyproject.toml": "", "src/zoo_space/other/__init__.py": ""})
    plugins = "bad = zoo_bad.a.b:New\none = zoo_one\nspace = zoo_space.part.mod [x]\nbroken = nowhere:New"
    candidate = editable(site, there, on_path=there / "src", plugins=plugins)
    made_of = intact.content(candidate.distribution)
    entry = copied(candidate)
    info = os.path.basename(candidate.distribution.info)
    assert [name for name in listing(entry) if not name.startswith(info)] == [
        "zoo_bad/__init__.py", "zoo_bad/a/b.py", "zoo_bad/data.txt", "zoo_one.py", "zoo_space/part/__init__.py",
    ]  # fmt: skip
    assert sorted(path.name for path in entry.joinpath(info).iterdir()) == [
        "METADATA", "RECORD", "WHEEL", "entry_points.txt",
    ]  # fmt: skip
    [copy, *_] = found(entry)
    assert intact.require_whole(copy.distribution) == made_of
    assert copy.distribution.facts is not None
    assert copy.distribution.facts.editable == ""
    assert intact.top_level(copy.distribution) == {"zoo_bad", "zoo_one", "zoo_space"}
    there.joinpath("src/zoo_bad/a/b.py").write_text("3")
    assert copied(editable(site, there, plugins=plugins)) != entry
    assert entry.joinpath("zoo_bad/a/b.py").read_text() == "2"


def test_an_editable_that_is_not_on_the_path_is_found_in_its_project(site: Path, tmp_path: Path) -> None:
    """What a finder of the build backend leads to, and what is on the path only from the next start on."""
    site.joinpath("zoo_bad").mkdir(parents=True)
    site.joinpath("zoo_bad/__init__.py").touch()  # another's
    entry = copied(editable(site, project(tmp_path / "project")))
    assert entry.joinpath("zoo_bad/__init__.py").read_text() == PLUGIN


def _nothing(project: Path) -> None:
    project.joinpath("zoo_bad/__init__.py").rename(project / "zoo_bad/other.py")


def _file_link_out(project: Path) -> None:
    project.joinpath("zoo_bad/link").symlink_to("/etc/passwd")


def _folder_link(project: Path) -> None:
    project.joinpath("zoo_bad/link").symlink_to("/etc")


def _pipe(project: Path) -> None:
    os.mkfifo(project / "zoo_bad/pipe")


@pytest.mark.parametrize("spoil", [_nothing, _file_link_out, _folder_link, _pipe])
def test_of_an_editable_no_part_is_kept(
    site: Path, tmp_path: Path, folder: Path, spoil: Callable[[Path], None]
) -> None:
    there = project(tmp_path / "project")
    spoil(there)
    assert keep(editable(site, there)) is None
    assert os.listdir(folder) == []


def test_a_link_within_the_project_is_copied_asa_file(site: Path, tmp_path: Path) -> None:
    there = project(tmp_path / "project", **{"common.txt": "common"})
    there.joinpath("zoo_bad/link.txt").symlink_to("../common.txt")
    link = copied(editable(site, there)) / "zoo_bad/link.txt"
    assert (link.read_text(), link.is_symlink()) == ("common", False)


# -- what is returned to


def test_the_row_of_a_copy_is_judged_as_if_it_were_installed(site: Path) -> None:
    """What has its name, its distribution's name and its files is no rival: the version in whose place it comes."""
    candidate = install(wheel(), site)
    entry = copied(candidate)
    now = install(wheel("2.0"), site)
    for each in (candidate, now):
        row = returned(entry, each)
        assert (row.version, row.state, row.findings) == ("1.2.3", "ready", [])
        assert row.origin == str(entry)
    assert [row.version for row in [kept.row(str(entry), candidate, None)]] == ["1.2.3"]
    site.joinpath("zoo_bad/__init__.py").unlink()
    assert returned(entry, candidate).state == "ready", "whatever is left of what was installed"


def test_the_row_of_an_editables_copy(site: Path, tmp_path: Path) -> None:
    there = project(tmp_path / "project")
    candidate = editable(site, there, on_path=there)
    entry = copied(candidate)
    there.joinpath("zoo_bad/__init__.py").write_text("1 / 0")
    row = returned(entry, candidate)
    assert (row.state, row.findings, row.origin) == ("ready", [], str(entry))


def test_what_speaks_against_a_copy_now_refuses_it(site: Path) -> None:
    made = wheel().edit("METADATA", lambda text: text + "Requires-Dist: zoo-other>=1\n")
    other = Handmade("zoo-other", "1.0")
    install(other, site)
    candidate = install(made, site)
    entry = copied(candidate)
    assert returned(entry, candidate).state == "ready"
    install(Handmade("zoo-other", "0.9"), site)
    row = returned(entry, candidate)
    assert ([finding.code for finding in row.findings], row.state) == (["dependency-unsatisfied"], "refused")


def test_what_a_copy_depends_on_may_be_in_a_wheel(site: Path, tmp_path: Path) -> None:
    made = wheel().edit("METADATA", lambda text: text + "Requires-Dist: zoo-other>=1\n")
    candidate = install(made, site)
    install(Handmade("zoo-other", "1.0"), tmp_path / "unpacked")
    entry = copied(candidate)
    assert returned(entry, candidate).state == "refused"
    row = kept.row(str(entry), candidate, "pluginapi", unpacked=[str(tmp_path / "unpacked")])
    assert row.state == "ready"


def test_it_is_the_one_that_was_meant_of_those_that_have_its_name(site: Path) -> None:
    candidate = install(wheel(), site)
    install(Handmade("zoo-rival").edit("entry_points.txt", lambda text: text.replace("rival =", "bad =")), site)
    assert returned(copied(candidate), candidate).state == "ready"


def _no_folder(entry: Path) -> None:
    entry.rename(entry.with_name("other"))


def _linked(entry: Path) -> None:
    _no_folder(entry)
    entry.symlink_to(entry.with_name("other"))


def _by_others(entry: Path) -> None:
    entry.chmod(0o770)


def _no_file(entry: Path) -> None:
    entry.joinpath("zoo_bad/data.txt").unlink()


def _other_byte(entry: Path) -> None:
    entry.joinpath("zoo_bad/data.txt").write_text("1.2.4")


def _no_metadata(entry: Path) -> None:
    next(entry.glob("*/METADATA")).unlink()


def _no_entry_points(entry: Path) -> None:
    next(entry.glob("*/entry_points.txt")).unlink()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_no_folder, "there is no copy of it in"),
        (_linked, "there is no copy of it in"),
        (_by_others, "there is no copy of it in"),
        (_no_file, "zoo_bad/data.txt is gone"),
        (_other_byte, "zoo_bad/data.txt is not as it was installed"),
        (_no_record, "it has no RECORD"),
        (_no_metadata, "has no such plugin"),
        (_no_entry_points, "has no such plugin"),
    ],
)
def test_a_damaged_copy_is_not_returned_to(site: Path, spoil: Callable[[Path], None], told: str) -> None:
    candidate = install(wheel(), site)
    entry = copied(candidate)
    spoil(entry)
    assert told in refusal(entry, candidate)


def test_without_a_copy_there_is_nothing_to_return_to(site: Path) -> None:
    assert "zoo-bad 1.2.3) cannot be returned to: there is no copy of it\n" in refusal("", install(wheel(), site))


# -- room


def test_copies_go_as_unpacked_wheels_do(site: Path, folder: Path) -> None:
    old, young = (copied(install(wheel(version), site)) for version in ("1.0", "2.0"))
    days = time.time() - store.KEPT_SECONDS - 10
    os.utime(old, (days, days))
    assert store.size()[0] == 2
    assert store.prune() == 1
    assert os.listdir(folder) == [young.name]
    assert store.clear() == 1
    assert "there is no copy of it in" in refusal(young, install(wheel(), site))
