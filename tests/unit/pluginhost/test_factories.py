from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from pluginhost import PluginFactoryError, PluginImportError, PluginLookupError, factories
from pluginhost.survey import Candidate, Distribution

if TYPE_CHECKING:
    from collections.abc import Callable

HEAVY = {"stevedore", "logging", "importlib.metadata", "importlib_metadata", "pathlib", "urllib", "subprocess"}
HEAVY |= {"difflib", "email", "tempfile"}


def candidate(value: str = "zoo_some:New") -> Candidate:
    return Candidate("pluginhost.plugins", "some", value, Distribution("zoo-some", "1.2", "", ""))


def module(source: str) -> ModuleType:
    module = ModuleType("zoo_some")
    exec(source, vars(module))
    return module


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes the plugin's module to where it is imported from."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "zoo_some", raising=False)

    def write(source: str) -> None:
        (tmp_path / "zoo_some.py").write_text(source)
        importlib.invalidate_caches()

    return write


def test_a_module_that_is_not_there_is_told_from_one_that_fails(site: Callable[[str], None]) -> None:
    with pytest.raises(PluginImportError) as missing:
        factories.import_module(candidate())
    site("import zoo_nothing")
    with pytest.raises(PluginImportError) as failed:
        factories.import_module(candidate())
    assert [caught.value.finding.code for caught in (missing, failed)] == ["module-missing", "import-failed"]
    assert "zoo_some.py, line 1" in failed.value.finding.message


@pytest.mark.parametrize(
    ("source", "error", "code"),
    [
        ("", PluginLookupError, "symbol-missing"),
        ("New = 7", PluginFactoryError, "factory-not-callable"),
        ("def New(host): ...", PluginFactoryError, "factory-arguments"),
        ("def New(): raise SystemExit(3)", PluginFactoryError, "factory-failed"),
    ],
)
def test_each_step_to_what_a_factory_makes_fails_with_its_own_code(
    source: str, error: type[PluginFactoryError | PluginLookupError], code: str
) -> None:
    with pytest.raises(error) as caught:
        factories.make(factories.find(module(source), candidate()), candidate())
    assert caught.value.finding.code == code


@pytest.mark.parametrize("source", ["def New(): return {}", "New = dict", "New = lambda *args, debug=False: {}"])
def test_what_a_factory_makes_is_returned(source: str) -> None:
    assert factories.make(factories.find(module(source), candidate()), candidate()) == {}


def test_what_the_plugin_changed_is_put_back_before_its_failure_is_told(site: Callable[[str], None]) -> None:
    """To tell of it takes what the plugin may have broken."""
    site("import sys\nsys.modules['pluginhost.catalogue'] = None\nraise KeyError\n")
    held = sys.modules["pluginhost.catalogue"]

    def restore() -> None:
        sys.modules["pluginhost.catalogue"] = held

    with pytest.raises(PluginImportError):
        factories.import_module(candidate(), restore)
    new = module("import sys\ndef New():\n    sys.modules['pluginhost.catalogue'] = None\n    raise KeyError\n").New
    with pytest.raises(PluginFactoryError):
        factories.make(new, candidate(), restore)


@pytest.mark.parametrize(
    ("source", "code"), [("raise KeyError", "import-failed"), ("", "symbol-missing"), ("Now = 1", "symbol-missing")]
)
def test_a_plugin_after_which_nothing_can_be_imported_is_told_of(tmp_path: Path, source: str, code: str) -> None:
    (tmp_path / "zoo_some.py").write_text(f"import sys\nsys.path.clear()\nsys.path_hooks.clear()\n{source}\n")
    program = f"""
import sys
from pluginhost import PluginLoadError, factories
from pluginhost.survey import Candidate, Distribution
sys.path.insert(0, {str(tmp_path)!r})
some = Candidate("group", "some", "zoo_some:New", Distribution("zoo-some", "1.2", "", "/zoo-some.dist-info"))
try:
    factories.find(factories.import_module(some), some)
except PluginLoadError as exc:
    print(exc.finding.code)
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{code}\n"


def test_where_the_plugins_own_code_begins_and_ends_is_audited() -> None:
    """In a process of its own, since nobody can take a hook away; one that raises changes nothing."""
    code = """
import sys
from pluginhost import factories
from pluginhost.survey import Candidate, Distribution
heard = []
def hook(event, args):
    if event == factories.STAGE:
        heard.append((*args, "json.tool" in sys.modules))
        raise RuntimeError
sys.addaudithook(hook)
some = Candidate("group", "some", "json.tool:main", Distribution("zoo-some", "1.2", "", ""))
factories.import_module(some)
factories.make(lambda: heard.append("made"), some)
print(heard)
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert eval(done.stdout) == [
        ("some", "import", False),
        ("some", "", True),
        ("some", "new", True),
        "made",
        ("some", "", True),
    ]


@pytest.mark.parametrize("name", ["factories", "identity", "interrupts", "places", "symbols", "survey", "catalogue"])
def test_what_a_plugins_process_imports_is_light(name: str) -> None:
    """Not even by way of something else; no `.pth` file has a say."""
    folder = Path(factories.__file__).parents[1]
    code = f"import sys; sys.path.append({str(folder)!r}); import pluginhost.{name}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
