"""The index on disk: where it is, what it takes, and that nothing found in its place makes an answer wrong."""

from __future__ import annotations

import importlib.metadata
import os
import pwd
import resource
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import importlib_metadata
import platformdirs
import pytest
from pluginhost import PluginManager, admission, catalogue, discovery, index
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP = "some.group"

# The survey imports them on its way, and the path of these tests has no standard library.
assert admission
assert catalogue
assert importlib_metadata

SECOND = 1_000_000_000


def write(site: Path, name: str = "probe", *names: str) -> Path:
    """Returns the dist-info of a distribution that registers one entry point for each name, or one of its own name."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text(
        "\n".join([f"[{GROUP}]", *(f"{each} = module:New" for each in names or [name])])
    )
    return info


def survey() -> list[str]:
    return [row.name for row in PluginManager(GROUP, None).survey()]


def this() -> index.Index:
    return index.Index(GROUP, None)


def files() -> list[str]:
    return sorted(path.name for path in Path(index.folder()).iterdir())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the path, with one distribution; the cache is the test's own."""
    site = tmp_path / "site"
    write(site)
    monkeypatch.setattr(sys, "path", [str(site)])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return site


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was just written is old enough to be stored."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10 * SECOND)


@pytest.fixture
def warm(site: Path, later: None) -> Path:
    """The index file, stored and valid."""
    assert survey() == ["probe"]
    assert this().load() is not None
    return Path(this().path)


@pytest.fixture
def poisoned(warm: Path) -> Path:
    """The index file, valid, with a wrong answer in it: whoever reads it is found out."""
    seen = discovery.discover(GROUP).seen
    content = PluginManager(GROUP, None).survey()
    content.plugins[0].candidate.name = "poison"
    this().store(seen, content.to_plain())
    assert survey() == ["poison"], "the index would be believed"
    return warm


# -- where


@pytest.mark.parametrize(
    "cache", [None, "", "relative", "~/tilde", "/absolute", "/absolute/", "//double", "/with/../dots"]
)
@pytest.mark.parametrize("home", [None, "", "relative", "/home/somebody", "/home/somebody/", "/"])
def test_the_folder_is_the_one_of_platformdirs(
    cache: str | None, home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("XDG_CACHE_HOME", cache), ("HOME", home)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert index.folder() == platformdirs.user_cache_dir("pluginhost", appauthor=False)


def test_without_any_home_nothing_is_written_into_the_working_folder(
    site: Path, later: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under a number nobody has a name for: there is no cache, and that is no error."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert survey() == survey() == ["probe"]
    assert os.listdir(here) == []


def test_files_and_folder_are_the_owners_alone(site: Path, later: None) -> None:
    before = os.umask(0)
    try:
        survey()
    finally:
        os.umask(before)
    [file] = files()
    assert stat.S_IMODE(os.stat(index.folder()).st_mode) == 0o700
    assert stat.S_IMODE(Path(index.folder(), file).stat().st_mode) == 0o600


def test_each_path_group_api_and_working_folder_has_a_file_of_its_own(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [this().path, index.Index(GROUP, "some_api").path, index.Index("other", None).path]
    for entries in ([tmp_path, site], [site, tmp_path], [""]):
        monkeypatch.setattr(sys, "path", list(map(str, entries)))
        paths.append(this().path)
    monkeypatch.chdir(tmp_path)
    paths.append(this().path)
    assert len(set(paths)) == len(paths)
    monkeypatch.setattr(sys, "path", [f"{site}/", ""])
    again = this().path
    monkeypatch.setattr(sys, "path", [str(site), str(tmp_path)])
    assert this().path == again == paths[4], "the same folders are the same path, however they are spelled"


def test_equal_paths_have_one_file_however_their_texts_came_about(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same text may be one object in a list or several, interned or not: the file's name does not depend on it."""
    text = str(site)
    paths = set()
    for entries in ([text, text], [text, "".join(list(text))], [sys.intern(text), "".join(list(text))]):
        monkeypatch.setattr(sys, "path", entries)
        paths.add(this().path)
        kept = [*entries, *entries]
        paths.add(this().path)
        del kept
    assert len(paths) == 1


def test_pythonpath_and_working_folder_of_a_process_make_the_key(tmp_path: Path) -> None:
    code = "from pluginhost.index import Index; print(Index('g', None).path)"

    def path(here: Path, pythonpath: str) -> str:
        environment = {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": pythonpath}
        done = subprocess.run([sys.executable, "-c", code], cwd=here, env=environment, capture_output=True, check=True)
        return done.stdout.decode()

    (tmp_path / "a").mkdir()
    assert path(tmp_path, "/x") == path(tmp_path, "/x")
    assert len({path(tmp_path, "/x"), path(tmp_path, "/y"), path(tmp_path / "a", "/x"), path(tmp_path, "/x:/y")}) == 4


# -- when


def test_what_was_found_is_stored_and_read_again(warm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*args: object) -> None:
        raise AssertionError("the index knows the answer")

    monkeypatch.setattr(discovery, "discover", unexpected)
    before = warm.stat()
    assert survey() == ["probe"]
    assert warm.stat() == before


@pytest.mark.parametrize("changed", [".", "probe-1.0.dist-info/entry_points.txt", "probe-1.0.dist-info/METADATA"])
def test_nothing_younger_than_two_seconds_is_stored(changed: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of the last change of a file counts, even when its time of modification was set back."""
    os.utime(site / changed, (1, 1))
    now = (site / changed).stat().st_ctime_ns
    monkeypatch.setattr(time, "time_ns", lambda: now + 2 * SECOND)
    assert survey() == ["probe"]
    assert not os.path.exists(this().path)
    monkeypatch.setattr(time, "time_ns", lambda: now + 2 * SECOND + 1)
    assert survey() == ["probe"]
    assert os.path.exists(this().path)


def test_a_time_in_the_future_is_not_stored(site: Path, later: None) -> None:
    ahead = time.time() + 1000
    os.utime(site / "probe-1.0.dist-info/METADATA", (ahead, ahead))
    assert survey() == ["probe"]
    assert not os.path.exists(this().path)


def test_another_finder_is_asked_although_the_index_knows_the_path(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a finder of distributions is there is not to be seen from the path."""
    info = write(tmp_path / "elsewhere", "found")

    class Finder:
        @staticmethod
        def find_spec(*args: object) -> None:
            return None

        @staticmethod
        def find_distributions(context: object) -> list[importlib.metadata.Distribution]:
            return [importlib.metadata.PathDistribution(info)]

    with monkeypatch.context() as patch:
        patch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
        assert survey() == ["found", "probe"]
    assert survey() == ["probe"]


# -- damaged, foreign, unwritable


def test_every_flipped_byte_is_noticed(poisoned: Path) -> None:
    good = poisoned.read_bytes()
    for position in range(len(good)):
        poisoned.write_bytes(good[:position] + bytes([good[position] ^ 1 << position % 8]) + good[position + 1 :])
        assert this().load() is None, f"bit {position % 8} of byte {position}"
    assert survey() == ["probe"]
    assert this().load() is not None, "it was stored anew"


def test_every_truncation_is_noticed(poisoned: Path) -> None:
    good = poisoned.read_bytes()
    for length in range(len(good)):
        poisoned.write_bytes(good[:length])
        assert this().load() is None, f"{length} bytes"
    assert survey() == ["probe"]
    assert this().load() is not None, "it was stored anew"


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"garbage", b"\0" * 1_000_000, b"pluginhost index\n", b"pluginhost index\n" * 100]
)
def test_garbage_is_no_error_and_is_replaced(content: bytes, poisoned: Path) -> None:
    poisoned.write_bytes(content)
    assert survey() == ["probe"]
    assert poisoned.read_bytes() != content
    assert this().load() is not None


def test_the_index_of_another_path_under_this_ones_name_is_not_believed(
    poisoned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "other", "other")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "other")])
    shutil.copy(poisoned, this().path)
    assert survey() == ["other"]


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_what_others_may_write_is_not_believed(mode: int, poisoned: Path) -> None:
    poisoned.chmod(mode)
    assert survey() == ["probe"]
    assert stat.S_IMODE(poisoned.stat().st_mode) == 0o600, "it was stored anew"


def test_a_file_of_another_user_is_not_believed(poisoned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    assert survey() == ["probe"]


def test_a_symbolic_link_is_not_believed_and_its_target_stays(poisoned: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    poisoned.rename(target)
    poisoned.symlink_to(target)
    before = target.read_bytes()
    assert survey() == ["probe"]
    assert not poisoned.is_symlink()
    assert target.read_bytes() == before


def test_a_pipe_in_its_place_does_not_block(warm: Path) -> None:
    warm.unlink()
    os.mkfifo(warm)
    answers: list[list[str]] = []
    thread = threading.Thread(target=lambda: answers.append(survey()), daemon=True)
    thread.start()
    thread.join(30)
    assert answers == [["probe"]]
    assert warm.is_file(), "it was stored anew"


def test_a_folder_in_its_place_is_no_error_and_nothing_is_left_open(warm: Path) -> None:
    warm.unlink()
    warm.mkdir()
    before = os.listdir("/dev/fd") if os.path.isdir("/dev/fd") else []
    for _ in range(3):
        assert survey() == ["probe"]
    assert len(os.listdir("/dev/fd") if os.path.isdir("/dev/fd") else []) == len(before)
    assert files() == [warm.name]


def _under_a_file(cache: Path) -> None:
    cache.write_text("")


def _a_file(cache: Path) -> None:
    cache.mkdir()
    cache.joinpath("pluginhost").write_text("")


def _a_dangling_link(cache: Path) -> None:
    cache.mkdir()
    cache.joinpath("pluginhost").symlink_to(cache / "nowhere" / "at-all")


def _a_loop(cache: Path) -> None:
    cache.symlink_to(cache)


def _read_only(cache: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("nothing is read-only for root")
    cache.mkdir()
    cache.joinpath("pluginhost").mkdir(mode=0o500)


@pytest.mark.parametrize("spoil", [_under_a_file, _a_file, _a_dangling_link, _a_loop, _read_only])
def test_a_folder_that_cannot_be_written_is_no_error(spoil: Callable[[Path], None], site: Path, later: None) -> None:
    spoil(site.parent / "cache")
    assert survey() == survey() == ["probe"]
    assert index.clear() == index.prune() == 0
    assert index.size() == (0, 0)


def test_a_full_disk_is_no_error_and_leaves_nothing(site: Path, later: None) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))  # bytes; writing more fails, as on a full disk
    try:
        found = survey()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found == ["probe"]
    assert files() == []


# -- many processes

WORKER = """
import os, sys, time
from pluginhost import PluginManager, admission, catalogue, discovery, index
site, gate, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
real = time.time_ns
time.time_ns = lambda: real() + 10_000_000_000
sys.path[:] = [site]
manager = PluginManager("some.group", None)
path = index.Index("some.group", None).path
open(f"{gate}.{number}", "w").close()
while not os.path.exists(gate):
    time.sleep(0.001)
scanned = 0
discover = discovery.discover
def counted(*args, **options):
    global scanned
    scanned += 1
    return discover(*args, **options)
discovery.discover = counted
for turn in range(60):
    found = [row.name for row in manager.survey()]
    assert found == [f"{os.path.basename(site)}-{letter}" for letter in "abc"], found
    try:
        if (turn + number) % 3 == 0:
            os.unlink(path)
        elif (turn + number) % 3 == 1:
            os.truncate(path, 100 + turn)
    except FileNotFoundError:
        pass
print(scanned)
"""


def test_many_processes_at_once_are_never_wrong_and_leave_nothing(tmp_path: Path) -> None:
    """Eight processes survey two paths, remove and cut off each other's files, and store them anew all the time."""
    for site in ("one", "two"):
        write(tmp_path / site, site, *(f"{site}-{letter}" for letter in "abc"))
    gate = tmp_path / "gate"
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", WORKER]
    workers = [
        subprocess.Popen(
            [*command, tmp_path / ("one", "two")[number % 2], gate, str(number)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(8)
    ]
    try:
        until(
            lambda: (
                len(list(tmp_path.glob("gate.*"))) == len(workers) or any(each.poll() is not None for each in workers)
            )
        )
        gate.touch()
        done = [(worker.communicate(timeout=60), worker.returncode) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [(code, err.decode()) for (_, err), code in done] == [(0, "")] * len(workers)
    assert all(int(out) > 5 for (out, _), _ in done), "each had something to write"
    left = sorted(path.name for path in tmp_path.joinpath("cache/pluginhost").iterdir())
    assert len(left) <= 2
    assert all(name.endswith(".index") for name in left)


# -- clear, prune, size


def test_clear_removes_every_file_and_says_how_many(warm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, "/nowhere"])
    survey()
    warm.with_name(f"{warm.name}.1.2").write_bytes(b"of a process that was killed")
    assert len(files()) == 3
    assert index.clear() == 3
    assert files() == []
    assert index.clear() == 0
    assert survey() == ["probe"]


def test_size_counts_files_and_bytes(warm: Path) -> None:
    assert index.size() == (1, warm.stat().st_size)
    warm.with_name("0.index").write_bytes(b"12345")
    assert index.size() == (2, warm.stat().st_size + 5)
    index.clear()
    assert index.size() == (0, 0)


def test_prune_removes_what_would_not_be_used_again_and_keeps_the_rest(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept is what still answers for some path, also for another than this process's."""
    other = write(tmp_path / "other", "other")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "other")])
    assert survey() == ["other"]
    useless = {
        "damaged.index": warm.read_bytes()[:-1],
        "empty.index": b"",
        f"{warm.name}.1.2": b"half of what a killed process",
        f"{warm.name}.3.4": warm.read_bytes(),  # all of it, but nobody will rename it
    }
    for name, content in useless.items():
        warm.with_name(name).write_bytes(content)
        warm.with_name(name).chmod(0o600)
    assert index.prune() == len(useless)
    assert files() == sorted([warm.name, os.path.basename(this().path)])
    assert index.prune() == 0
    shutil.rmtree(other)
    assert index.prune() == 1
    assert files() == [warm.name]


def test_the_oldest_files_make_room(warm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are never more than so many, and the one just written is among them."""
    site = sys.path[0]
    for number in range(index.MOST_FILES + 3):
        monkeypatch.setattr(sys, "path", [site, f"/nowhere/{number}"])
        assert survey() == ["probe"]
        assert this().load() is not None
    assert len(files()) == index.MOST_FILES
    assert not warm.exists()


def test_prune_and_clear_survive_what_is_no_file(warm: Path) -> None:
    warm.with_name("folder.index").mkdir()
    os.mkfifo(warm.with_name("pipe.index"))
    warm.with_name("link.index").symlink_to(warm)
    warm.with_name("unrelated").touch()
    assert index.prune() == 2
    assert files() == sorted([warm.name, "folder.index", "unrelated"])
    assert index.clear() == 1
    assert files() == ["folder.index", "unrelated"]


def test_an_unpacked_wheel_comes_before_all_else_for_the_process_that_imports_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another version may be installed, and the wheel be on the path behind that."""
    entry = os.path.join(index.store_folder(), "abc")
    monkeypatch.setattr(sys, "path", ["/site", entry, "/other"])
    assert index.path_with(entry) == [entry, "/site", "/other"]
    monkeypatch.setattr(sys, "path", ["/site", Path("/other")])
    assert index.path_with(entry) == [entry, "/site"]
    assert index.path_with("/site") == ["/site"]
