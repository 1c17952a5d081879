"""What is installed is whole, or it is said what is wrong with it; and what it is made of has a name."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from handmade import PLUGIN, Handmade, row
from pluginhost import PluginRefused, discovery, index, intact, verdicts
from pluginhost.survey import Distribution

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = {"zoo_bad/__init__.py": PLUGIN, "zoo_bad/inner/data.txt": "some data", "zoo_bad/last.py": ""}


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder into which tests install."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "site"


def wheel() -> Handmade:
    return Handmade(files=FILES)


def unpacked(what: Handmade, site: Path) -> Distribution:
    zipfile.ZipFile(io.BytesIO(what.data())).extractall(site)
    return at(what, site)


def at(what: Handmade, site: Path) -> Distribution:
    return Distribution(what.name, what.version, str(site), f"{site}/{what.info}")


def refusal(distribution: Distribution) -> str:
    with pytest.raises(PluginRefused) as refused:
        intact.require_whole(distribution)
    assert refused.value.finding.code == "distribution-incomplete"
    return str(refused.value)


# -- whole, or not


def test_what_is_whole_is_told_by_its_content(site: Path) -> None:
    distribution = unpacked(wheel(), site)
    assert intact.require_whole(distribution) == intact.content(distribution) != ""


@pytest.mark.parametrize("first", [False, True], ids=["RECORD last", "RECORD first"])
def test_an_install_is_whole_when_its_last_file_is_and_not_before(site: Path, first: bool) -> None:
    made = wheel()
    names = [*made.files, f"{made.info}/RECORD"]
    names = names[-1:] + names[:-1] if first else names
    with zipfile.ZipFile(io.BytesIO(made.data())) as archive:
        for name in names:
            assert "is not whole: " in refusal(at(made, site))
            archive.extract(name, site)
    assert intact.require_whole(at(made, site))


def _cut(path: Path) -> None:
    os.truncate(path, 5)


def _changed(path: Path) -> None:
    path.write_text("other data"[-path.stat().st_size :])


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _foreign(path: Path) -> None:
    path.unlink()
    path.symlink_to("../__init__.py")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (Path.unlink, "is gone"),
        (_cut, "has 5 bytes, and 9 were installed"),
        (_changed, "is not as it was installed"),
        (_fifo, "cannot be read: it is not a regular file"),
        (_folder, "cannot be read: it is not a regular file"),
        (_device, "cannot be read: it is not a regular file"),
        (_dangling, "is gone"),
        (_foreign, f"has {len(PLUGIN)} bytes, and 9 were installed"),
    ],
)
def test_a_file_that_is_not_what_was_installed_is_named(site: Path, spoil: Callable[[Path], None], told: str) -> None:
    distribution = unpacked(wheel(), site)
    before = intact.content(distribution)
    spoil(site / "zoo_bad/inner/data.txt")
    message = refusal(distribution)
    assert f"zoo_bad/inner/data.txt {told}" in message
    assert "pip install --force-reinstall zoo-bad" in message
    assert intact.content(distribution) == before, "it is known by RECORD alone"


def test_a_link_to_what_was_installed_is_as_good_as_the_file(site: Path, tmp_path: Path) -> None:
    """Uv installs such, with `--link-mode symlink`."""
    distribution = unpacked(wheel(), site)
    site.joinpath("zoo_bad").rename(tmp_path / "elsewhere")
    site.joinpath("zoo_bad").symlink_to(tmp_path / "elsewhere")
    assert intact.require_whole(distribution)


def test_three_faults_are_told_and_that_there_are_more(site: Path) -> None:
    distribution = unpacked(wheel(), site)
    for name in [*FILES, f"{wheel().info}/WHEEL"]:
        site.joinpath(name).unlink()
    message = refusal(distribution)
    assert message.count("is gone") == 3
    assert "; and more" in message


@pytest.mark.parametrize("name", ["RECORD", "METADATA", "entry_points.txt"])
def test_without_a_file_of_its_metadata_it_is_not_whole(site: Path, name: str) -> None:
    made = wheel()
    made.rows = {f"{made.info}/{name}": f"{made.info}/{name},,"}  # also when there is no hash of it
    distribution = unpacked(made, site)
    assert intact.require_whole(distribution)
    site.joinpath(made.info, name).unlink()
    assert name in refusal(distribution)


@pytest.mark.parametrize(
    "line",
    [
        "zoo_bad/last.py",
        "zoo_bad/last.py,sha256=abc",
        "zoo_bad/last.py,sha256=abc,1,2",
        "zoo_bad/last.py,abc,1",
        "zoo_bad/last.py,shake_128=abc,1",
        "zoo_bad/last.py,sha256=abc,-1",
        "zoo_bad/last.py,sha256=abc,many",
        ",sha256=abc,1",
        '"zoo_bad/last.py,sha256=abc,1',
        '"zoo_bad/last.py"x,sha256=abc,1',
        "\xff",
    ],
)
def test_a_record_with_a_line_that_is_none_tells_of_nothing(site: Path, line: str) -> None:
    distribution = unpacked(wheel(), site)
    record = site / wheel().info / "RECORD"
    record.write_bytes(record.read_bytes() + line.encode("latin-1"))
    assert "its RECORD cannot be used" in refusal(distribution)


def test_a_record_that_is_cut_off_at_a_line_is_no_whole_one(site: Path) -> None:
    made = wheel()
    distribution = unpacked(made, site)
    record = site / made.info / "RECORD"
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(line for line in lines if "METADATA" not in line))
    assert "does not list its METADATA" in refusal(distribution)


def test_names_may_have_commas_quotes_and_separators_of_lines(site: Path) -> None:
    made = Handmade(files={'zoo_bad/a,"b"\u2028\x0b.txt': "data"})
    made.rows = {name: row('"' + name.replace('"', '""') + '"', b"data") for name in [*made.files][:1]}
    distribution = unpacked(made, site)
    assert intact.require_whole(distribution)
    next(site.joinpath("zoo_bad").iterdir()).write_text("tada")
    assert "is not as it was installed" in refusal(distribution)


def test_what_stands_without_a_hash_or_outside_is_passed_over(site: Path) -> None:
    """Python compiles anew what an installer compiled; scripts are elsewhere with `pip install --target`."""
    made = wheel()
    lines = [
        "zoo_bad/__pycache__/last.cpython-311.pyc,,",
        "zoo_bad/__pycache__/last.cpython-311.opt-1.pyc,sha256=abc,3",
        "../../../bin/zoo,sha256=abc,3",
        "/etc/zoo.conf,sha256=abc,3",
        "",
    ]
    made.rows = {str(number): line for number, line in enumerate(lines)}
    assert intact.require_whole(unpacked(made, site))


def test_a_record_that_changes_meanwhile_is_no_whole_one(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution = unpacked(wheel(), site)
    record = site / wheel().info / "RECORD"
    judge = intact._fault

    def judged(*args: str) -> str:
        record.write_text(record.read_text() + "zoo_bad/new.py,,\n")
        return judge(*args)

    monkeypatch.setattr(intact, "_fault", judged)
    assert "its RECORD was changed at this moment" in refusal(distribution)


# -- what it is made of


def test_the_same_files_are_the_same_content_wherever_they_are(tmp_path: Path) -> None:
    one, other = (unpacked(wheel(), tmp_path / name) for name in ("one", "other"))
    assert intact.content(one) == intact.content(other)
    third = unpacked(Handmade(files=FILES | {"zoo_bad/last.py": " "}), tmp_path / "third")
    assert intact.content(third) not in ("", intact.content(one))


def test_a_wheel_in_the_store_is_known_by_its_folder(tmp_path: Path) -> None:
    distribution = unpacked(wheel(), Path(index.store_folder()) / "abc")
    assert intact.content(distribution) == intact.require_whole(distribution) == "abc"
    Path(distribution.origin, "zoo_bad/last.py").write_text(" ")
    assert "pluginhost cache --clear" in refusal(distribution)


@pytest.mark.parametrize("info", ["", "/nowhere/zoo_bad-1.2.3.dist-info"])
def test_nobody_can_tell_what_has_no_record(info: str) -> None:
    assert intact.content(Distribution("zoo-bad", "1.2.3", "/nowhere", info)) == ""


def test_an_archive_on_the_path_is_whole_when_it_is_found(tmp_path: Path) -> None:
    archive = Handmade().write(tmp_path)
    [distribution] = discovery.read_archive(str(archive))
    before = intact.require_whole(distribution)
    assert before == intact.content(distribution) != ""
    Handmade(files={"zoo_bad.py": ""}).write(tmp_path)
    assert intact.content(distribution) not in ("", before)


def editable(site: Path, project: Path) -> Distribution:
    """Returns a distribution that is installed as editable from a project which may have sources."""
    made = Handmade(files={"_zoo_bad.pth": f"{project}\n"})
    made.files[f"{made.info}/direct_url.json"] = json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}})
    return unpacked(made, site)


def test_an_editable_is_made_of_its_sources(site: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    distribution = editable(site, project)
    assert intact.content(distribution) == "", "it has none"
    ignored = ["venv/x.py", ".git/x.py", "pkg/__pycache__/x.py", "pkg/data.txt"]
    for name in ["pkg/__init__.py", *ignored]:
        project.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        project.joinpath(name).write_text("1")
    project.joinpath("venv/pyvenv.cfg").touch()
    seen = {intact.require_whole(distribution)}
    assert verdicts.content(distribution) == "", "by their times, they may change once more"
    for name in ignored:
        project.joinpath(name).write_text("2")
    assert {intact.content(distribution)} == seen
    status = project.joinpath("pkg/__init__.py").stat()
    for change in [
        lambda: project.joinpath("pkg/__init__.py").write_text("2"),  # of the same length, and then of the same time
        lambda: project.joinpath("pkg/__init__.py").rename(project / "pkg/other.py"),
        lambda: site.joinpath(wheel().info, "entry_points.txt").write_text("[other]\n"),
        lambda: os.mkfifo(project / "pkg/fifo.py"),
    ]:
        change()
        os.utime(next(project.glob("pkg/[_o]*.py")), ns=(status.st_atime_ns, status.st_mtime_ns))
        assert intact.content(distribution) not in seen
        seen.add(intact.content(distribution))
    assert "entry_points.txt has 8 bytes" in refusal(distribution)
    assert f"pip install -e {project}" in refusal(distribution)


def test_too_many_sources_cannot_be_told(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution = editable(site, tmp_path / "project")
    tmp_path.joinpath("project").mkdir()
    for number in range(3):
        tmp_path.joinpath(f"project/{number}.py").write_text("123")
    assert intact.content(distribution)
    with monkeypatch.context() as patch:
        patch.setattr(intact, "_SOURCES_LIMIT", 8)
        assert intact.content(distribution) == ""
        patch.setattr(intact, "_SOURCES_LIMIT", 9)
        assert intact.content(distribution)
    monkeypatch.setattr(intact, "MOST_SOURCES", 2)
    assert intact.content(distribution) == verdicts.content(distribution) == ""


# -- what is imported


def test_the_names_that_it_brings(site: Path, tmp_path: Path) -> None:
    names = [
        "zoo_bad/inner/a.py",
        "zoo_one.py",
        "zoo_native.cpython-311-x86_64-linux-gnu.so",
        "zoo_space/part/x.pyd",
        "zoo_old.pyc",
        "zoo_docs/read.txt",
        "not-a-name/x.py",
        "__pycache__/zoo_one.cpython-311.pyc",
        "../../bin/zoo.py",
        "zoo.pth",
    ]
    distribution = unpacked(Handmade(files=dict.fromkeys(names[:8], "")), site)
    record = site / wheel().info / "RECORD"
    record.write_text(record.read_text() + "".join(f"{name},,\n" for name in names[8:]))
    assert intact.top_level(distribution) == {"zoo_bad", "zoo_one", "zoo_native", "zoo_space", "zoo_old"}
    assert intact.top_level(editable(tmp_path / "other", tmp_path)) == frozenset()
    assert intact.top_level(at(wheel(), tmp_path / "nowhere")) == frozenset()
