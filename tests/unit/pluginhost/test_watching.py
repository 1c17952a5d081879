"""Plugins whose files change are reloaded: each content once, when it is whole, together with what changed with it."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import sys
import threading
import time
import weakref
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from forking import forks, holds_in_copy
from handmade import Handmade
from pluginhost import (
    ConfigurationError,
    Finding,
    ManagerClosed,
    PluginHostError,
    PluginLoadError,
    PluginManager,
    PluginRefused,
    intact,
    watching,
)
from pluginhost.watching import Watcher
from waiting import until

from pluginapi import Greeter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pluginhost import Handle

PATIENCE = 60
"""Seconds until something must be noticed, on a busy machine; it takes a fraction of one."""


class Recording(PluginManager):
    """A manager that notes what it is to reload, and only says that it did.

    Attributes:
        reloads: The names, call by call.
        told: Its findings.
        broken: The names of those that cannot be reloaded.
        error: What these fail with.
    """

    def __init__(self, *names: str, **settings: Any) -> None:
        super().__init__(plugins={name: {"reload": "watch"} for name in names}, **settings)
        self.reloads: list[tuple[str, ...]] = []
        self.told: list[Finding] = []
        self.broken: set[str] = set()
        self.error: PluginHostError = PluginRefused(Finding("import-failed", "it is broken", "mend it"))
        self.watcher_of_it = Watcher(self, self._runner.registry)

    def reload(self, *names: str) -> Any:  # type: ignore[override]
        if not self.broken & {*names}:
            for name in names:
                self.run(name)
        self.reloads.append(names)
        if self.broken & {*names}:
            raise self.error

    def tell(self, finding: Finding, about: object = None) -> None:
        self.told.append(finding)

    def run(self, name: str, state: Any = "running") -> Handle:
        """Has a plugin run, or so it seems, as it is installed now."""
        entry = self.entry(name)
        handle = self._runner.registry.of(entry)
        handle.state = state
        handle.made_of = intact.content(entry.row.candidate.distribution)
        return handle

    def look(self, *, has_changed: bool = True) -> list[tuple[str, ...]]:
        """Returns what is reloaded when files have changed."""
        before = len(self.reloads)
        self.watcher_of_it.look(has_changed=has_changed)
        return self.reloads[before:]


def installed(site: Path, name: str, version: str, files: dict[str, str] | None = None, *, most: int = 1000) -> Path:
    """Returns the dist-info of what is installed in place of another version, as if by an installer.

    Args:
        site: Where.
        name: The plugin's name.
        version: Its version.
        files: Its modules.
        most: How many files are written, of which RECORD is the last.
    """
    removed(site, name)
    wheel = Handmade(f"zoo-{name}", version, files).write(site.parent / "wheels")
    with zipfile.ZipFile(wheel) as archive:
        members = archive.namelist()
        assert members[-1].endswith("RECORD")
        for member in members[:most]:
            archive.extract(member, site)
    return site / f"zoo_{name}-{version}.dist-info"


def removed(site: Path, name: str) -> None:
    for path in site.glob(f"zoo_{name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def edited(project: Path, site: Path, name: str = "some") -> Path:
    """Returns the package of a project that is installed editable."""
    package = project / "src" / f"zoo_{name}"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("VALUE = 1\n")
    info = installed(site, name, "1.0", {f"zoo_{name}.pth": f"{package.parent}\n"})
    (info / "direct_url.json").write_text(json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}}))
    return package


def saved(file: Path, text: str, aside: Path) -> None:
    """Writes a file in one step, so that nobody sees it empty, which would be a change of its own."""
    (aside / "saved").write_text(text)
    (aside / "saved").replace(file)


@pytest.fixture
def some(site: Path) -> Recording:
    """A manager whose one plugin runs."""
    (site.parent / "wheels").mkdir()
    installed(site, "some", "1.0")
    manager = Recording("some")
    manager.run("some")
    assert manager.look(has_changed=False) == []
    return manager


@pytest.fixture
def both(site: Path) -> Recording:
    """A manager with two plugins that run."""
    (site.parent / "wheels").mkdir()
    manager = Recording("some", "other")
    for name in ("some", "other"):
        installed(site, name, "1.0")
        manager.run(name)
    return manager


@pytest.fixture
def watching_it(some: Recording) -> Iterator[Recording]:
    """The same, watched; it has looked for the first time since the system was asked."""
    looked = _counted(some)
    some.watcher_of_it.begin()
    until(lambda: looked() >= 2)
    yield some
    some.watcher_of_it.close(PATIENCE)


def _counted(manager: Recording) -> Callable[[], int]:
    """Returns what returns how many times a manager was surveyed."""
    surveys, survey = [], manager.survey

    def counting() -> Any:
        surveys.append(1)
        return survey()

    manager.survey = counting  # type: ignore[method-assign]
    return lambda: len(surveys)


def _watches() -> int:
    """Returns how many times this process asks Linux to be told of changes; 0 elsewhere."""
    found = 0
    for each in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):  # that of the listing
            found += os.readlink(each) == "anon_inode:inotify"
    return found


# -- what is reloaded, and when


def test_an_upgrade_and_a_downgrade_are_reloaded_once_each(some: Recording, site: Path) -> None:
    installed(site, "some", "1.1")
    assert some.look() == [("some",)]
    assert some.look() == []
    installed(site, "some", "1.0")
    assert some.look() == [("some",)]
    assert some.told == []


def test_what_is_installed_again_as_it_was_is_not_reloaded(some: Recording, site: Path) -> None:
    installed(site, "some", "1.0")
    assert some.look() == []


def test_what_an_installer_adds_to_the_record_at_its_end_is_no_change(some: Recording, site: Path) -> None:
    """As pip does: it writes the wheel's own RECORD, compiles, notes that it was who installed it, writes RECORD anew."""
    record = installed(site, "some", "1.1") / "RECORD"
    assert some.look() == [("some",)]
    added = ("__pycache__/zoo_some.cpython-311.pyc,,", "zoo_some-1.1.dist-info/INSTALLER,sha256=abc,4")
    record.write_text("".join(f"{line}\n" for line in reversed([*record.read_text().splitlines(), *added])))
    assert some.look() == []


def test_what_changed_together_is_reloaded_as_one(both: Recording, site: Path) -> None:
    installed(site, "third", "1.0")  # is not to be watched
    both.run("third")
    for name in ("some", "other", "third"):
        installed(site, name, "1.1")
    assert both.look() == [("some", "other")]


def test_an_install_that_is_not_whole_is_waited_for(some: Recording, site: Path) -> None:
    """Whatever of its files are there."""
    for most in range(1, 5):
        installed(site, "some", "1.1", most=most)
        began = time.monotonic()
        assert some.look() == [], f"{most} files"
        assert began < some.watcher_of_it._due < time.monotonic() + 1
    installed(site, "some", "1.1")
    until(some.watcher_of_it.is_due)
    assert some.look(has_changed=False) == [("some",)]
    assert some.told == []


def test_what_is_whole_is_reloaded_with_what_is_not_yet(both: Recording, site: Path) -> None:
    installed(site, "some", "1.1")
    installed(site, "other", "1.1", most=4)
    assert both.look() == []
    installed(site, "other", "1.1")
    assert both.look() == [("some", "other")]


def test_it_looks_again_after_longer_and_longer_and_then_tells(
    some: Recording, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = installed(site, "some", "1.1")
    (site / "zoo_some.py").write_text("cut")
    delays = []
    some.look()
    for _ in range(6):
        delays.append(some.watcher_of_it._delay)
        some.look(has_changed=False)
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    some.look()
    assert some.watcher_of_it._delay == 0.1
    assert some.told == []
    monkeypatch.setattr(watching, "_PATIENCE_SECONDS", 0)
    some.look(has_changed=False)
    assert [finding.code for finding in some.told] == ["distribution-incomplete"]
    assert not some.watcher_of_it.is_due()
    assert some.reloads == []
    assert info.exists()


def test_what_was_alone_in_its_folder_is_noticed_when_it_comes_back(some: Recording, site: Path) -> None:
    removed(site, "some")
    assert str(site) in some.watcher_of_it.look(has_changed=True)


def test_what_was_uninstalled_serves_on(some: Recording, site: Path) -> None:
    removed(site, "some")
    assert some.look() == []
    assert some.told == []
    installed(site, "some", "1.0")
    assert some.look() == []
    removed(site, "some")
    some.look()
    installed(site, "some", "1.1")
    assert some.look() == [("some",)]


def test_a_broken_content_is_tried_and_told_once_and_another_is_tried(some: Recording, site: Path) -> None:
    some.broken.add("some")
    installed(site, "some", "1.1")
    assert some.look() == [("some",)]
    assert some.look() == []
    assert some.told == [some.error.finding]
    installed(site, "some", "1.2")
    assert some.look() == [("some",)]
    installed(site, "some", "1.0")  # what serves
    assert some.look() == []
    installed(site, "some", "1.2")
    assert some.look() == [("some",)]
    some.broken.clear()
    installed(site, "some", "1.3")
    assert some.look() == [("some",)]
    assert some.look() == []


def test_one_that_is_broken_keeps_no_other_from_its_reload(both: Recording, site: Path) -> None:
    both.broken.add("other")
    for name in ("some", "other"):
        installed(site, name, "1.1")
    assert both.look() == [("some", "other"), ("some",), ("other",)]
    assert both.told == [both.error.finding]
    assert both.look() == []


def test_an_install_that_begins_while_it_is_reloaded_is_waited_for(some: Recording, site: Path) -> None:
    some.broken.add("some")
    some.error = PluginRefused(Finding("distribution-incomplete", "its RECORD was changed", "wait"))
    installed(site, "some", "1.1")
    assert some.look() == [("some",)]
    assert some.told == []
    some.broken.clear()
    until(some.watcher_of_it.is_due)
    assert some.look(has_changed=False) == [("some",)]


def test_what_an_operator_returned_to_stays_until_something_else_is_installed(some: Recording, site: Path) -> None:
    """A rollback leaves what is installed as it is."""
    before = some.run("some").made_of
    installed(site, "some", "1.1")
    some.look()
    some.run("some").made_of = before
    assert some.look() == []
    installed(site, "some", "1.2")
    assert some.look() == [("some",)]


@pytest.mark.parametrize("state", ["failed", "refused"])
def test_a_plugin_that_could_not_start_is_started_when_it_is_another(some: Recording, site: Path, state: str) -> None:
    some.run("some", state)
    assert some.look() == []
    installed(site, "some", "1.1")
    assert some.look() == [("some",)]


def test_a_plugin_that_failed_while_it_was_installed_is_started_once_it_is_whole(site: Path) -> None:
    (site.parent / "wheels").mkdir()
    installed(site, "some", "1.0")
    manager = Recording("some")
    handle = manager.run("some", "failed")
    handle.made_of = ""  # it could not be told
    assert manager.look() == [("some",)]


@pytest.mark.parametrize("state", ["stopped", "disabled", "discovered", "created", "draining"])
def test_a_plugin_that_is_to_run_no_more_or_not_yet_is_left_alone(some: Recording, site: Path, state: str) -> None:
    some.run("some", state)
    installed(site, "some", "1.1")
    assert some.look() == []


def test_whether_it_is_watched_is_as_it_is_set_now(some: Recording, site: Path) -> None:
    def configure(reload: str) -> None:
        some._set(some._configured({"plugins": {"some": {"reload": reload}}}))

    del some._given["plugins"]
    configure("ask")
    installed(site, "some", "1.1")
    assert some.look() == []
    assert some.watcher_of_it.look(has_changed=True) == frozenset()
    configure("watch")
    assert some.look() == [("some",)]


def test_instances_are_reloaded_by_their_names(site: Path) -> None:
    (site.parent / "wheels").mkdir()
    installed(site, "some", "1.0")
    instances = {"one": {"plugin": "some", "reload": "watch"}, "two": {"plugin": "some"}}
    manager = Recording(instances=instances)
    for name in ("one", "two", "some"):
        manager.run(name)
    installed(site, "some", "1.1")
    assert manager.look() == [("one",)]


def test_one_of_several_of_a_name_is_meant(site: Path) -> None:
    (site.parent / "wheels").mkdir()
    both = {}
    for distribution in ("zoo-a", "zoo-b"):
        wheel = Handmade(distribution, "1.0")
        wheel.files[f"{wheel.info}/entry_points.txt"] = (
            f"[pluginhost.plugins]\nsome = {wheel.name.replace('-', '_')}:New\n"
        )
        both[distribution] = wheel
        with zipfile.ZipFile(wheel.write(site.parent / "wheels")) as archive:
            archive.extractall(site)
    manager = Recording("some")
    manager.run("some@zoo-b")
    both["zoo-b"].files["zoo_b.py"] = "VALUE = 2\n"
    with zipfile.ZipFile(both["zoo-b"].write(site.parent / "wheels")) as archive:
        archive.extractall(site)
    assert manager.look() == [("some@zoo-b",)]


def test_what_fails_is_told_and_the_next_change_is_looked_at(some: Recording, site: Path) -> None:
    survey = some.survey

    def raising() -> Any:
        raise SystemExit("out of order")

    some.survey = raising  # type: ignore[method-assign]
    installed(site, "some", "1.1")
    assert some.look() == []
    assert [finding.code for finding in some.told] == ["watch-failed"]
    assert "SystemExit: out of order" in some.told[0].message
    some.survey = survey  # type: ignore[method-assign]
    assert some.look() == [("some",)]


def test_a_manager_that_was_closed_ends_it(some: Recording, site: Path) -> None:
    some.broken.add("some")
    some.error = ManagerClosed(Finding("manager-closed", "the manager has shut down", "make a new one"))
    installed(site, "some", "1.1")
    some.look()
    assert some.told == []
    some.watcher_of_it.begin()
    assert some.watcher_of_it._thread is None


# -- how changes are noticed


def test_nothing_is_looked_at_while_nothing_changes(watching_it: Recording, site: Path) -> None:
    """A log file in a folder of the search path, or what Python compiles, is no change."""
    looked = _counted(watching_it)
    (site / "some.log").write_text("a line")
    (site / "__pycache__").mkdir()
    (site / "__pycache__" / "zoo_some.cpython-311.pyc").write_bytes(b"")
    fence = threading.Event()
    threading.Timer(0.5, fence.set).start()
    fence.wait()
    assert looked() == 0
    assert watching_it.reloads == []


def test_an_install_is_noticed_file_by_file(watching_it: Recording, site: Path) -> None:
    """Each file comes when the one before was noticed; RECORD, inside of the dist-info, is the last."""
    removed(site, "some")
    with zipfile.ZipFile(Handmade("zoo-some", "1.1").write(site.parent / "wheels")) as archive:
        for member in archive.namelist():
            looked = _counted(watching_it)
            archive.extract(member, site)
            if ".dist-info/" in member:
                until(looked)
    until(lambda: watching_it.reloads)
    assert watching_it.reloads == [("some",)]
    assert watching_it.told == []


def test_wheels_in_a_plugin_folder_are_noticed(site: Path, tmp_path: Path) -> None:
    """One that is copied there bit by bit, and one that is written over another."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    Handmade("zoo-some", "1.0").write(folder)
    manager = Recording("some", plugin_dirs=[folder])
    made_of = manager.run("some").made_of
    manager.watcher_of_it.begin()
    (tmp_path / "wheels").mkdir()
    data = Handmade("zoo-some", "1.1").write(tmp_path / "wheels").read_bytes()
    with (folder / "zoo_some-1.1-py3-none-any.whl").open("wb", buffering=0) as file:
        for start in range(0, len(data), 200):
            file.write(data[start : start + 200])
            time.sleep(0.02)
    until(lambda: manager.reloads)
    assert manager.row("some").version == "1.1"
    (folder / "zoo_some-1.1-py3-none-any.whl").unlink()
    until(lambda: len(manager.reloads) == 2)
    assert manager.run("some").made_of == made_of
    manager.watcher_of_it.close(PATIENCE)
    assert manager.reloads == [("some",), ("some",)]


def test_edits_of_an_editable_install_are_noticed(site: Path, tmp_path: Path) -> None:
    """Also in a folder that is made later."""
    (tmp_path / "wheels").mkdir()
    package = edited(tmp_path / "project", site)
    manager = Recording("some")
    manager.run("some")
    manager.watcher_of_it.begin()
    until(lambda: str(package) in manager.watcher_of_it._paths)
    saved(package / "__init__.py", "VALUE = 2\n", tmp_path)
    until(lambda: len(manager.reloads) == 1)
    (package / "inner").mkdir()
    until(lambda: str(package / "inner") in manager.watcher_of_it._paths)
    saved(package / "inner" / "more.py", "VALUE = 3\n", tmp_path)
    until(lambda: len(manager.reloads) == 2)
    shutil.rmtree(package / "inner")
    until(lambda: len(manager.reloads) == 3)
    until(lambda: _watches() <= 1)  # what was watched before is not any more
    manager.watcher_of_it.close(PATIENCE)
    assert manager.told == []


def test_what_changed_before_it_was_watched_is_noticed(some: Recording, site: Path) -> None:
    installed(site, "some", "1.1")
    some.watcher_of_it.begin()
    until(lambda: some.reloads)
    some.watcher_of_it.close(PATIENCE)


def test_what_cannot_be_watched_is_told_and_tried_again(
    some: Recording, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import watchfiles

    watch, calls = watchfiles.watch, []

    def refusing(*paths: Any, **options: Any) -> Any:
        calls.append(paths)
        if len(calls) == 1:
            raise RuntimeError("Too many open files")
        return watch(*paths, **options)

    monkeypatch.setattr(watchfiles, "watch", refusing)
    monkeypatch.setattr(watching, "_PAUSE_SECONDS", 0.01)
    some.watcher_of_it.begin()
    until(lambda: len(calls) >= 2)
    assert [finding.code for finding in some.told] == ["watch-failed"]
    installed(site, "some", "1.1")
    until(lambda: some.reloads)
    some.watcher_of_it.close(PATIENCE)


def test_what_cannot_be_imported_is_told(some: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    monkeypatch.setattr(watching, "find_spec", lambda name: True)
    watcher = Watcher(some, some._runner.registry)
    watcher.begin()
    until(lambda: some.told)
    assert [finding.code for finding in some.told] == ["watch-failed"]
    watcher.close(PATIENCE)


# -- its beginning and its end


def test_a_plugin_that_never_started_is_started_once_it_is_mended(site: Path) -> None:
    (site.parent / "wheels").mkdir()
    installed(site, "some", "1.0", {"zoo_some.py": "raise ValueError"})
    with PluginManager(plugins={"some": {"reload": "watch"}}, probe="never") as manager:
        with pytest.raises(PluginLoadError):
            manager.get("some", Greeter)
        installed(site, "some", "1.1")
        until(lambda: manager.status()["some"].state == "running")
        assert manager.get("some", Greeter).greet("Ada") == "1.1 Ada"


def test_its_thread_ends_with_it_and_with_its_manager(site: Path) -> None:
    (site.parent / "wheels").mkdir()
    installed(site, "some", "1.0")
    managers = [Recording("some"), Recording("some")]
    threads = []
    for manager in managers:
        manager.run("some")
        manager.watcher_of_it.begin()
        manager.watcher_of_it.begin()
        threads.append(manager.watcher_of_it._thread)
    managers[0].watcher_of_it.close(PATIENCE)
    assert not threads[0].is_alive()  # type: ignore[union-attr]
    gone = weakref.ref(managers[1])
    del manager, managers
    until(lambda: (gc.collect(), gone())[1] is None)
    until(lambda: not threads[1].is_alive())  # type: ignore[union-attr]


@forks
def test_a_child_of_fork_watches_too(watching_it: Recording, site: Path) -> None:
    def watches() -> bool:
        installed(site, "some", "1.1")
        until(lambda: watching_it.reloads)
        return watching_it.reloads == [("some",)]

    assert holds_in_copy(watches)


def test_without_watchfiles_such_a_plugin_does_not_start(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.parent / "wheels").mkdir()
    installed(site, "some", "1.0")
    monkeypatch.setattr(watching, "find_spec", lambda name: None)
    with PluginManager(plugins={"some": {"reload": "watch"}}, probe="never") as manager:
        with pytest.raises(ConfigurationError, match="needs watchfiles") as raised:
            manager.get("some", Greeter)
        assert raised.value.finding.hint == "pip install 'pluginhost[watch]'"
        assert manager.status()["some"].state == "discovered"
