"""One copy of the API: every way in which a second one arises is told before anything is imported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from forge import GREETER
from waiting import until

import pluginapi

if TYPE_CHECKING:
    from forge import Command, Forge

CONTRACTS = Path(pluginapi.__file__).with_name("contracts.py")


def row(command: Command, name: str, **env: str) -> Any:
    done = command("list", "--json", env=env)
    assert done.returncode == 0, done.stderr.decode()
    [found] = [row for row in json.loads(done.stdout)["plugins"] if row["name"] == name]
    return found


def codes(command: Command, name: str, **env: str) -> list[str]:
    return [finding["code"] for finding in row(command, name, **env)["findings"]]


def vendor(forge: Forge, files: dict[str, str]) -> None:
    forge.install(forge.wheel("zoo-vendor", {"zoo_vendor/__init__.py": GREETER, **files}, 'vendor = "zoo_vendor:New"'))


@pytest.mark.parametrize(
    "files",
    [
        {"zoo_vendor/pluginapi/__init__.py": ""},
        {"zoo_vendor/_vendor/renamed/whatever.py": CONTRACTS.read_text()},
        {"pluginapi/__init__.py": ""},
    ],
    ids=["vendored", "renamed", "top level"],
)
def test_a_copy_among_a_plugins_files_is_refused(forge: Forge, command: Command, files: dict[str, str]) -> None:
    vendor(forge, files)
    assert "api-vendored" in codes(command, "vendor")
    [finding] = [each for each in row(command, "vendor")["findings"] if each["code"] == "api-vendored"]
    for told in ("zoo-vendor 1.0.0", "pluginapi", pluginapi.API_VERSION):
        assert told in finding["message"]
    assert "pip uninstall zoo-vendor" in finding["hint"]


def test_a_copy_in_an_archive_among_a_plugins_files_is_refused(forge: Forge, command: Command, tmp_path: Path) -> None:
    vendor(forge, {"zoo_vendor/inner.zip": ""})
    with zipfile.ZipFile(forge.site / "zoo_vendor" / "inner.zip", "w") as archive:
        archive.writestr("pluginapi/__init__.py", "")
    assert codes(command, "vendor") == ["api-vendored"]


def test_a_copy_that_a_pth_file_would_add_is_refused(forge: Forge, command: Command) -> None:
    vendor(forge, {"zoo_vendor.pth": "zoo_vendor/lib\n", "zoo_vendor/lib/pluginapi/__init__.py": ""})
    assert codes(command, "vendor") == ["api-vendored"]


def second_by_target(forge: Forge, wheelhouse: Path) -> Path:
    [wheel] = wheelhouse.glob("pluginapi-*.whl")
    return forge.install(wheel)


def second_by_folder(forge: Forge, wheelhouse: Path) -> Path:
    return Path(shutil.copytree(CONTRACTS.parent, forge.site / "pluginapi")).parent


def second_by_zip(forge: Forge, wheelhouse: Path) -> Path:
    path = forge.folder / "second.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in CONTRACTS.parent.glob("*.py"):
            archive.write(file, f"pluginapi/{file.name}")
    return path


@pytest.mark.parametrize("second", [second_by_target, second_by_folder, second_by_zip])
def test_a_second_copy_on_the_path_refuses_every_plugin_and_names_both(
    forge: Forge, command: Command, wheelhouse: Path, second: Any
) -> None:
    path = second(forge, wheelhouse)
    done = command("list", "--json", env={"PYTHONPATH": str(path)})
    plugins = json.loads(done.stdout)["plugins"]
    assert plugins
    for plugin in plugins:
        [finding] = [each for each in plugin["findings"] if each["code"] == "api-duplicated"]
        assert str(CONTRACTS.parent.resolve()) in finding["message"]
        assert str(path) in finding["message"]
        assert finding["hint"]


def test_the_same_folder_by_two_names_is_one_copy(command: Command, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(CONTRACTS.parent.parent, target_is_directory=True)
    assert codes(command, "english", PYTHONPATH=str(link)) == []
    assert command("call", "english", "greet", "Ada").returncode == 0


def test_a_namespace_folder_of_that_name_is_no_copy(command: Command, tmp_path: Path) -> None:
    """Such as a checkout that has a folder called pluginapi, with the project in it."""
    tmp_path.joinpath("pluginapi", "src").mkdir(parents=True)
    assert codes(command, "english", PYTHONPATH=str(tmp_path)) == []


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("json", "module-shadows"),
        ("pluginhost", "module-shadows"),
        ("pluginapi", "module-shadows"),
        ("zoo_good", "module-foreign"),
    ],
)
def test_a_module_that_is_not_the_plugins_own_is_refused(
    forge: Forge, command: Command, module: str, code: str
) -> None:
    forge.plugin("good")
    forge.install(forge.wheel("zoo-thief", {"zoo_thief.py": ""}, f'thief = "{module}:New"'))
    assert codes(command, "thief") == [code]
    assert codes(command, "good") == []


def test_a_file_that_two_distributions_bring_is_told_of_both(forge: Forge, command: Command) -> None:
    forge.plugin("good")
    forge.install(forge.wheel("zoo-over", {"zoo_good.py": GREETER}, 'over = "zoo_good:New"'))
    assert codes(command, "good") == codes(command, "over") == ["module-foreign"]


def test_an_extension_module_for_another_python_is_refused(forge: Forge, command: Command) -> None:
    forge.plugin("native")
    [record] = forge.site.glob("zoo_native-*.dist-info/RECORD")
    record.write_text(record.read_text() + "zoo_fast.cpython-27m-win32.so,,\n")
    assert codes(command, "native") == ["native-incompatible"]
    record.write_text(
        record.read_text() + f"zoo_fast.{sys.implementation.cache_tag}-nowhere.so,,\nzoo_fast.abi3.so,,\n"
    )
    assert codes(command, "native") == []


def test_a_plugin_that_replaces_the_api_is_refused_and_the_api_put_back(forge: Forge, command: Command) -> None:
    source = f"import sys, types\nsys.modules['pluginapi'] = types.ModuleType('pluginapi')\nsys.modules['pluginapi'].Greeter = object\n{GREETER}"
    forge.plugin("fake", source)
    done = command("call", "fake", "greet", "Ada")
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: [api-replaced] fake (zoo-fake 1.0.0)")


def test_what_a_plugin_changes_of_the_process_is_told_and_undone(forge: Forge, tmp_path: Path) -> None:
    forge.plugin(
        "rude", f"import os, sys\nos.environ['RUDE'] = '1'\nsys.path.insert(0, '/rude')\nos.chdir('/')\n{GREETER}"
    )
    script = """
import logging, os, sys
logging.basicConfig(format="%(levelname)s %(message)s")
from pluginapi import Greeter
from pluginhost import PluginManager
print(PluginManager(probe="never").get("rude", Greeter).greet("Ada"), os.getcwd(), "RUDE" in os.environ, "/rude" in sys.path)
"""
    environment = {"PYTHONPATH": str(forge.site), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )
    assert done.stdout == f"some Ada {tmp_path} False False\n"
    assert done.stderr.count("WARNING [process-changed] rude (zoo-rude 1.0.0)") == 2
    assert done.stderr.count("WARNING [process-unsafe] rude (zoo-rude 1.0.0)") == 1, "the working folder"


def test_a_clash_is_settled_by_name_at_distribution_or_by_the_settings(
    forge: Forge, command: Command, site: Path
) -> None:
    from pluginhost import PluginManager, PluginRefused

    from pluginapi import Greeter

    forge.plugin("twice")
    forge.install(
        forge.wheel("zoo-other", {"zoo_other.py": GREETER.replace("some {", "other {")}, 'twice = "zoo_other:New"')
    )
    assert command("call", "twice", "greet", "Ada").returncode == 1
    assert command("call", "twice@zoo-other", "greet", "Ada").stdout == b"other Ada\n"
    assert command("call", "twice@nobody", "greet", "Ada").returncode == 2
    with PluginManager() as manager:
        assert manager.get("twice@zoo-other", Greeter).greet("Ada") == "other Ada"
        with pytest.raises(PluginRefused, match="name-clash"):
            manager.get("twice", Greeter)
        assert manager.get("twice@zoo-twice", Greeter).greet("Ada") == "some Ada"
        assert manager.get("twice@zoo-other", Greeter).greet("Ada") == "other Ada"
    with PluginManager(plugins={"twice": {"distribution": "zoo-other"}}) as manager:
        assert manager.get("twice", Greeter).greet("Ada") == "other Ada"


def test_a_copy_that_comes_to_be_in_a_folder_that_was_there_is_seen(command: Command, tmp_path: Path) -> None:
    """The folder's parent does not change then, and a survey before it was kept in the index."""
    folder = tmp_path / "pluginapi"
    folder.mkdir()
    cache = tmp_path / "cache"
    cache.mkdir()
    env = {"PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(cache)}

    def is_kept() -> bool:
        assert codes(command, "english", **env) == []
        return bool(list(cache.rglob("*.index")))

    until(is_kept, "an index")  # only what has settled is kept
    folder.joinpath("__init__.py").touch()
    assert codes(command, "english", **env) == ["api-duplicated"]
