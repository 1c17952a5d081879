"""What a wheel file must be: every fault is told, a sound one has none, and memory is bounded."""

from __future__ import annotations

import io
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from comparing import same
from handmade import Handmade, member, row
from pluginhost import archives, wheels
from zoo.wheels import ENTRIES, WARNINGS, Entry

if TYPE_CHECKING:
    from pluginhost.wheels import Wheel

CHECKED = {name: entry for name, entry in ENTRIES.items() if entry.checked}
SOUND = {"", *WARNINGS}


def check(path: Path, package: str | None = "pluginapi", search: tuple[Path, ...] = ()) -> Wheel:
    with path.open("rb") as file:
        return wheels.check(file, str(path), package, [*map(str, search)])


def codes(wheel: Wheel) -> list[str]:
    return [finding.code for finding in wheel.findings]


@pytest.mark.parametrize("entry", CHECKED.values(), ids=CHECKED)
def test_every_fault_is_told_by_its_code(entry: Entry, tmp_path: Path) -> None:
    entry.put(tmp_path)
    [path] = tmp_path.iterdir()
    before = path.read_bytes()
    wheel = check(path)
    assert codes(wheel) == ([entry.code] if entry.code else []), wheel.findings
    assert wheel.is_sound is (entry.code in SOUND)
    for finding in wheel.findings:
        assert finding.hint
        assert all(part in f"{finding.message} {path}" for part in entry.known)
    assert [*tmp_path.iterdir()] == [path], "nothing is written"
    same(path.read_bytes(), before)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a zip bomb of overlapping members", "shares bytes with the next"),
        ("bytes between two members", "is followed by bytes of no member"),
        ("prefixed bytes that the table knows of", "bytes before its first member"),
        ("an encrypted member", "encrypted"),
        ("a link to /etc/passwd", "links"),
        ("60,000 members", "60,005 members"),
        ("a member a thousand times as large", "200 times as large"),
        ("a comment", "a comment, or bytes after its end"),
    ],
)
def test_a_fault_is_told_for_what_it_is(name: str, what: str, tmp_path: Path) -> None:
    ENTRIES[name].put(tmp_path)
    [path] = tmp_path.iterdir()
    assert what in check(path).findings[0].message


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    wheel = Handmade(files={"zoo_bad.py": "", "zoo_bad.pth": "", "json.py": "", "pluginapi/__init__.py": ""})
    wheel.rows["zoo_bad.py"] = row("zoo_bad.py", b"other")
    wheel.rows["x"] = row("absent.py", b"")
    wheel.edit("WHEEL", lambda text: text.replace("1.0", "2.0"))
    wheel.edit("METADATA", lambda text: text.replace("Name:", "Requires-Python: <3\nName:"))
    found = codes(check(wheel.write(tmp_path)))
    expected = ["wheel-unsafe", "module-shadows", "api-vendored", "wheel-malformed", "python-unsatisfied"]
    assert found == [*expected, "wheel-record", "wheel-record"]


def test_the_faults_of_a_table_are_told_together(tmp_path: Path) -> None:
    files = {"../a": "", "../b": "", "c\\d": "", "zoo_bad/x.py ": ""}
    [finding] = check(Handmade(files=files).write(tmp_path)).findings
    assert "2 of its members have names that are absolute" in finding.message
    assert "backslash" in finding.message
    assert "end with a dot or a space" in finding.message


def test_thousands_of_faults_make_a_short_message(tmp_path: Path) -> None:
    files = {f"../{number}": "" for number in range(5_000)}
    [finding] = check(Handmade(files=files).write(tmp_path)).findings
    assert "'../2' and 4,997 more" in finding.message


def test_another_api_package_is_not_brought_either(tmp_path: Path) -> None:
    path = Handmade(files={"zoo_bad.py": "", "ink/api/__init__.py": "", "ink/other.py": ""}).write(tmp_path)
    assert codes(check(path, "ink.api")) == ["api-vendored"]
    assert codes(check(path)) == []
    assert codes(check(path, None)) == []


# -- what tools write, and is sound


class Pipe(io.BytesIO):
    """What cannot be sought in: zipfile writes data descriptors behind the members then."""

    def seekable(self) -> bool:
        return False

    def seek(self, *args: object) -> int:
        raise OSError

    def tell(self) -> int:
        raise OSError


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_data_descriptors_are_taken(method: int, tmp_path: Path) -> None:
    wheel, out = Handmade(), Pipe()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in {**wheel.files, f"{wheel.info}/RECORD": wheel.record()}.items():
            archive.writestr(name, content)
    path = tmp_path / wheel.file_name()
    path.write_bytes(out.getvalue())
    with zipfile.ZipFile(path) as archive:
        assert all(info.flag_bits & 8 for info in archive.infolist())
    assert codes(check(path)) == []
    data = out.getvalue()
    assert data.count(b"PK\7\x08") == len(wheel.files) + 1
    path.write_bytes(data.replace(b"PK\7\x08", b"PK\7\x09", 1))
    assert codes(check(path)) == ["wheel-unsafe"], "a descriptor that is none is bytes of no member"


def test_folders_as_members_are_taken(tmp_path: Path) -> None:
    wheel = Handmade()
    wheel.infos += [(member("zoo_more/", 0o040755), b""), (member("zoo_more/inner/", 0o040755), b"")]
    assert codes(check(wheel.write(tmp_path))) == []


def test_weights_further_down_may_end_with_pth(tmp_path: Path) -> None:
    files = {"zoo_bad/__init__.py": "", "zoo_bad/model.pth": "weights", "zoo_bad/broken.zip": "PK"}
    assert codes(check(Handmade(files=files).write(tmp_path))) == []


def test_wheels_that_were_really_built_are_sound(wheelhouse: Path) -> None:
    built = [path for path in wheelhouse.glob("*.whl") if not path.name.startswith(("pluginapi-", "pluginhost-0"))]
    assert len(built) > 5
    found = {path.name: check(path).findings for path in built}
    found = {name: findings for name, findings in found.items() if findings}
    # hatchling's own dependency has a module that Python has too, and setuptools a .pth file.
    assert {name.partition("-")[0] for name in found} <= {"setuptools", "editables"}, found


# -- clashes


def test_a_namespace_package_clashes_in_the_same_files_alone(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "space").mkdir(parents=True)
    site.joinpath("space", "one.py").touch()
    (site / "other-1.0.dist-info").mkdir()
    two = Handmade(files={"space/two.py": ""}).write(tmp_path / "two")
    one = Handmade(files={"space/one.py": ""}).write(tmp_path / "one")
    all_of_it = Handmade(files={"space/__init__.py": ""}).write(tmp_path / "all")
    assert codes(check(two, search=(site,))) == []
    assert codes(check(one, search=(site,))) == ["wheel-clash"]
    assert codes(check(all_of_it, search=(site,))) == ["wheel-clash"]
    site.joinpath("space", "__init__.py").touch()
    assert codes(check(two, search=(site,))) == ["wheel-clash"]


def test_a_project_folder_beside_the_program_is_no_clash(tmp_path: Path) -> None:
    project = tmp_path / "here" / "zoo_bad" / "zoo_bad"
    project.mkdir(parents=True)
    project.joinpath("__init__.py").touch()
    path = Handmade(files={"zoo_bad/__init__.py": ""}).write(tmp_path)
    assert codes(check(path, search=(tmp_path / "here",))) == []


def test_the_same_distribution_is_no_clash(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    site.joinpath("zoo_bad.py").touch()
    path = Handmade().write(tmp_path)
    assert codes(check(path, search=(site,))) == ["wheel-clash"]
    info = site / "zoo_bad-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: zoo-bad\nVersion: 1.0\n")
    assert codes(check(path, search=(site,))) == []


def test_a_module_in_an_archive_on_the_path_is_a_clash(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "path.zip", "w") as archive:
        archive.writestr("zoo_bad.py", "")
    path = Handmade().write(tmp_path)
    assert codes(check(path, search=(tmp_path / "path.zip",))) == ["wheel-clash"]
    (tmp_path / "path.zip").write_text("none")
    assert codes(check(path, search=(tmp_path / "path.zip",))) == []


# -- bounds


def test_memory_is_bounded(tmp_path: Path) -> None:
    """A member of a hundred megabytes is hashed as it is read."""
    large = tmp_path / Handmade().file_name()
    wheel = Handmade()
    content = os.urandom(1 << 20) * 100
    wheel.files["zoo_bad/large"] = content
    wheel.method = zipfile.ZIP_STORED
    large.write_bytes(wheel.data())
    del content, wheel
    tracemalloc.start()
    try:
        assert codes(check(large)) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20, f"{peak:,} bytes"


def test_limits_leave_room_for_what_is_real() -> None:
    assert archives.TABLE_LIMIT > archives.MOST_MEMBERS * (46 + archives.NAME_LIMIT)
    assert archives.MEMBER_LIMIT < archives.ARCHIVE_LIMIT
