from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from pluginhost import reimport
from pluginhost.reimport import Renewal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Write = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes files into a folder of the path: all of them of the same time, as the files say."""
    modules, finders, path = set(sys.modules), list(sys.meta_path), list(sys.path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (site := tmp_path / "site").mkdir()
    sys.path.insert(0, str(site))
    # Other tests of this process may have reloaded something.
    sys.meta_path[:] = [finder for finder in finders if type(finder).__module__ != reimport.__name__]

    def into_site(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            file = site / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            os.utime(file, (1_600_000_000, 1_600_000_000))
        importlib.invalidate_caches()
        return site

    yield into_site
    sys.meta_path[:], sys.path[:] = finders, path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def load(name: str) -> Any:
    return importlib.import_module(name)


def seen(*packages: str) -> dict[str, dict[str, object]]:
    """Returns the modules of some packages, and of their parents, with what each has under its children's names."""
    names = {name for name in sys.modules if any(f"{name}.".startswith(f"{each}.") for each in packages)}
    names |= {each.rpartition(".")[0] for each in packages} & set(sys.modules)
    return {name: dict(vars(sys.modules[name])) | {"": sys.modules[name]} for name in names}


def test_a_file_of_the_same_size_and_time_is_not_taken_from_its_stale_bytecode(write: Write) -> None:
    site = write({"anew.py": "VALUE = 1"})
    assert load("anew").VALUE == 1
    assert list(site.glob("__pycache__/anew.*"))
    write({"anew.py": "VALUE = 2"})
    del sys.modules["anew"]
    assert load("anew").VALUE == 1  # so Python alone does
    Renewal({"anew": ""})
    assert load("anew").VALUE == 2


def test_a_package_that_is_compiled_from_its_source_is_not_taken_from_its_stale_bytecode(write: Write) -> None:
    write({"anew/__init__.py": "", "anew/part.py": "VALUE = 1"})
    assert load("anew.part").VALUE == 1
    for name in ("anew", "anew.part"):
        del sys.modules[name]
    write({"anew/part.py": "VALUE = 2"})
    reimport.by_content("anew")
    assert load("anew.part").VALUE == 2


def test_no_bytecode_is_left_that_the_next_process_could_take_for_a_later_source(write: Write) -> None:
    site = write({"anew.py": "VALUE = 1"})
    Renewal({"anew": ""})
    load("anew")
    assert not list(site.glob("__pycache__/anew.*"))


def test_modules_that_were_taken_out_go_on_to_work_with_each_other(write: Write) -> None:
    # The package's own import ends after that of its part, so it stands after it in `sys.modules`.
    write({"anew/__init__.py": "from . import part\ndef value(): return part.VALUE", "anew/part.py": "VALUE = 1"})
    old = load("anew")
    write({"anew/part.py": "VALUE = 2"})
    Renewal({"anew": ""})
    assert (load("anew").value(), old.value()) == (2, 1)


def test_a_part_that_is_imported_only_when_it_is_used_is_the_newest(write: Write) -> None:
    write(
        {"anew/__init__.py": "def value():\n    from . import late\n    return late.VALUE", "anew/late.py": "VALUE = 1"}
    )
    Renewal({"anew": ""})
    new = load("anew")
    write({"anew/late.py": "VALUE = 2"})
    assert new.value() == 2


@pytest.mark.parametrize(
    ("files", "package"),
    [
        ({"anew.py": "VALUE = {}"}, "anew"),
        ({"anew/__init__.py": "from . import part", "anew/part.py": "VALUE = {}"}, "anew"),
        ({"anew/__init__.py": "from .part import part", "anew/part.py": "def part(): return {}"}, "anew"),
        (
            {
                "anew/__init__.py": "VALUE = {}",
                "anew/sub/__init__.py": "from . import deep",
                "anew/sub/deep.py": "from ... import anew",
            },
            "anew",
        ),
        ({"anew_space/own/__init__.py": "from . import part", "anew_space/own/part.py": "V = {}"}, "anew_space.own"),
        ({"anew_space/own.py": "VALUE = {}", "anew_space/other.py": "VALUE = 0"}, "anew_space.own"),
        ({"anew/__init__.py": "import sys\nsys.modules[__name__] = type(sys)('other')"}, "anew"),
    ],
    ids=["module", "package", "a part's name is a function's", "subpackage", "namespace", "part of one", "replaced"],
)
@pytest.mark.parametrize("is_imported_anew", [True, False])
def test_what_is_undone_is_as_it_was(
    files: Mapping[str, str], package: str, is_imported_anew: bool, write: Write
) -> None:
    # A package that imports what it is in does so by its absolute name.
    texts = {name: text.replace("from ... import anew", "import anew") for name, text in files.items()}
    write({name: text.format(1) for name, text in texts.items()})
    modules = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files]
    for name in modules:
        if name.startswith(package):
            load(name)
    before, path, finders = seen(package), list(sys.path), list(sys.meta_path)
    renewal = Renewal({package: ""})
    assert package not in sys.modules
    finder = next(each for each in sys.meta_path if each not in finders)
    write({name: text.format(2) for name, text in texts.items()})
    if is_imported_anew:
        assert load(package) is not before[package][""]
    sys.path.insert(0, "/of/the/new/one")
    renewal.undo()
    assert seen(package).keys() == before.keys()
    for name, names in seen(package).items():
        assert names.keys() - {"__builtins__"} == before[name].keys() - {"__builtins__"}
        assert all(names[key] is before[name][key] for key in names if key not in ("__builtins__", "__path__"))
    assert finder.folders == {}  # type: ignore[attr-defined]
    assert [entry for entry in sys.path if entry in path] == path


def test_what_others_have_of_a_shared_namespace_stays(write: Write) -> None:
    write({"anew_space/own.py": "VALUE = 1", "anew_space/other.py": "VALUE = 1"})
    load("anew_space.own")
    space, other = load("anew_space"), load("anew_space.other")
    Renewal({"anew_space.own": ""})
    assert not hasattr(space, "own")
    assert (sys.modules["anew_space"], space.other) == (space, other)
    assert load("anew_space.own") is space.own


def test_a_package_whose_name_begins_alike_is_another(write: Write) -> None:
    write({"anew.py": "", "anew_too.py": ""})
    load("anew")
    other = load("anew_too")
    assert set(Renewal({"anew": ""}).old) == {"anew"}
    assert sys.modules["anew_too"] is other


def test_a_copy_in_another_folder_is_imported_and_nothing_of_the_version_that_is_found_otherwise(
    write: Write, tmp_path: Path
) -> None:
    site = write({"anew/__init__.py": "VALUE = 2", "anew/added.py": ""})
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "anew").mkdir()
    (copy / "anew" / "__init__.py").write_text("VALUE = 1")
    (copy / "anew" / "part.py").write_text("VALUE = 1")
    Renewal({"anew": str(copy)})
    assert (load("anew").VALUE, load("anew.part").VALUE) == (1, 1)
    with pytest.raises(ModuleNotFoundError):
        load("anew.added")
    Renewal({"anew": ""})
    assert Path(load("anew").__file__).parent.parent == site


def test_a_copy_without_the_package_is_not_made_up_for_by_another_version(write: Write, tmp_path: Path) -> None:
    write({"anew.py": ""})
    Renewal({"anew": str(tmp_path)})
    with pytest.raises(ModuleNotFoundError, match="'anew' in"):
        load("anew")


def test_one_finder_is_enough(write: Write) -> None:
    write({"anew.py": "", "anew_too.py": ""})
    before = len(sys.meta_path)
    for name in ("anew", "anew_too", "anew"):
        Renewal({name: ""})
    assert len(sys.meta_path) == before + 1


def test_compiled_modules_are_found() -> None:
    assert msgspec
    assert "msgspec._core" in reimport.compiled({"msgspec"})
    assert reimport.compiled({"pluginhost"}) == []


def test_what_is_no_name_among_the_modules_is_passed_over(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 3, sys)  # type: ignore[misc]
    write({"anew.py": ""})
    Renewal({"anew": ""}).undo()
