"""Every example plugin answers the same in this process, in one of its own, and when it is called directly."""

from __future__ import annotations

import contextlib
import importlib
import io
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import hatchling.build
import pytest
from comparing import same
from forge import ROOT, Forge
from pluginhost import PluginLookupError, PluginManager
from pluginhost.testing import FakeHost

import pluginapi

EXAMPLES = {
    "pluginhost.plugins": ("pluginapi", None, "plugins/*"),
    "editor.languages": ("editor_api", "examples/editor/editor-api", "examples/editor/languages/*"),
    "build.tasks": ("build_api", "examples/build_tool/build-api", "examples/build_tool/tasks/*"),
    "gateway.plugins": ("gateway_api", "examples/gateway/gateway-api", "examples/gateway/modifiers/*"),
}
"""By group: its API, and the projects of that and of its plugins."""

HANDLED = [
    "handle(Request('1', b'some text'))",
    "handle(Request('2', b''))",
    "handle(Request('3', b'a forbidden word'))",
]
LARGE = [
    *HANDLED,
    "handle(Request('4', b'secret'))",
    "handle(Request('5', b'\\xff'))",
    "handle(Request('6', b'x' * 2**20))",
]
LANGUAGE = ["suffixes", *(f"{do}({text!r})" for do in ("outline", "check", "format") for text in (
    "## B\n#### D\n~~~sh\n", '{"a": [{"b": 1}], "a": 2}', '{"a": 1,\n}', "class A:\n    def b(self): pass\n", "", "ä" * 99,
))]  # fmt: skip
MODIFIED = [
    *(f"modify_request(Request('POST', '/', 'a=b', {{'x-a': 'b'}}, {body!r}, {{'rename': {{'a': 'b'}}}}))" for body in (
        b'{"a": [1, null]}', b'["a"]', b"{", b"",
    )),
    "modify_response(Request('GET', '/'), Response(200, {'x-a': 'b'}, b'ab' * 70_000))",
]  # fmt: skip
RUN = ["run(context)", "run(context)", "run(Context(root / 'empty', root / 'empty' / 'src', root / 'empty' / 'dist'))"]
CALLS: dict[str, tuple[list[str], list[str]]] = {
    "english": (["Greeter"], ["lang", "greet('Ada')", "greet('')", "greet('ü' * 70_000)"]),
    "persian": (["Greeter"], ["lang", "greet('Ada')"]),
    "spanish": (["Greeter"], ["lang", "greet('Ada')"]),
    "add": (["Operation"], ["symbol", "execute(1, 2)", "execute(1.5, float('inf'))"]),
    "subtract": (["Operation"], ["symbol", "execute(1, 2)"]),
    "multiply": (["Operation"], ["symbol", "execute(2, 2.5)"]),
    "divide": (["Operation"], ["symbol", "execute(1, 2)", "execute(1, 0)"]),
    "reverse": (["Transformer"], ["transform('abc')", "transform('')"]),
    "uppercase": (["Transformer"], ["transform('straße')"]),
    "filter": (["Handler"], LARGE),
    "transform": (["Handler"], LARGE),
    "counter": (["Plugin"], []),
    "json": (["Language"], LANGUAGE),
    "markdown": (["Language"], LANGUAGE),
    "python": (["Language"], LANGUAGE),
    "clean": (["Task"], RUN),
    "compile": (["Task"], RUN),
    "archive": (["Task"], RUN),
    "checksum": (["Task"], RUN),
    "rename": (["Modifier"], MODIFIED),
    "shout": (["Modifier"], MODIFIED),
}
"""By plugin: its contracts, and what is asked of it."""
CONFIG = {
    "filter": {"blocked": ["secret"]}, "compile": {"optimize": 2}, "archive": {"name": "hello.zip"},
    "checksum": {"file": "sums.txt"},
}  # fmt: skip
GROUP_OF = {
    **dict.fromkeys(("json", "markdown", "python"), "editor.languages"),
    **dict.fromkeys(("clean", "compile", "archive", "checksum"), "build.tasks"),
    **dict.fromkeys(("rename", "shout"), "gateway.plugins"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the APIs and the plugins of the example hosts are installed; it is on the path."""
    forge = Forge(tmp_path_factory.mktemp("examples"))
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(forge.site))
        for _, api, plugins in EXAMPLES.values():
            if api:
                forge.install(built(forge, ROOT / api))
                forge.install(*(built(forge, project) for project in ROOT.glob(plugins)))
        yield forge.site
    for name in set(sys.modules) - before:
        if str(forge.site) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def built(forge: Forge, project: Path) -> Path:
    """Returns the wheel of a project, built by its own pyproject.toml within this process."""
    out = forge.folder / "wheels"
    out.mkdir(exist_ok=True)
    with contextlib.chdir(project), contextlib.redirect_stdout(io.StringIO()):
        return out / hatchling.build.build_wheel(str(out))


@pytest.fixture(scope="module", params=["none", "process"])
def managers(request: pytest.FixtureRequest, site: Path) -> Iterator[dict[str, PluginManager]]:
    """A manager for each group, whose plugins all run."""
    with contextlib.ExitStack() as stack:
        made = {}
        for group, (api, *_) in EXAMPLES.items():
            names = [name for name in CALLS if GROUP_OF.get(name, "pluginhost.plugins") == group]
            plugins = {name: {"isolation": request.param, "config": CONFIG.get(name, {})} for name in names}
            made[group] = stack.enter_context(PluginManager(group, api, plugins=plugins, probe="never"))
            made[group].load_all()
            assert sorted(made[group].loaded()) == sorted(names), "each example is in the table"
        yield made


@pytest.fixture
def project(tmp_path: Path) -> Callable[[], Path]:
    """Returns the root of a project that is new, each time at the same place."""
    root = tmp_path / "project"

    def make() -> Path:
        shutil.rmtree(root, ignore_errors=True)
        (root / "src" / "words").mkdir(parents=True)
        (root / "src" / "__main__.py").write_text("from words import hello\n")
        (root / "src" / "words" / "hello.py").write_text("TEXT = 'Hello'\n")
        (root / "dist").mkdir()
        (root / "dist" / "old.txt").write_text("old")
        (root / "empty" / "src").mkdir(parents=True)
        return root

    return make


def answers(plugin: Any, calls: list[str], api: Any, root: Path) -> list[object]:
    """Returns what a plugin answers, and what it raises that its contract tells of."""
    names = vars(api) | {"plugin": plugin, "root": root}
    if hasattr(api, "Context"):
        names["context"] = api.Context(root, root / "src", root / "dist")
    found: list[object] = []
    for call in calls:
        try:
            answer = eval(f"plugin.{call}", names)
        except pluginapi.PluginError as exc:
            found.append((type(exc), exc.args))
        else:
            found.append((type(answer), repr(answer)))
    files = {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    return [*found, files]


@pytest.mark.parametrize("name", CALLS)
def test_an_example_answers_as_it_does_when_called_directly(
    managers: dict[str, PluginManager], project: Callable[[], Path], name: str
) -> None:
    group = GROUP_OF.get(name, "pluginhost.plugins")
    manager, api = managers[group], importlib.import_module(EXAMPLES[group][0])
    contracts, calls = CALLS[name]
    (entry_point,) = entry_points(group=group, name=name)
    loaded: Any = entry_point.load()
    direct = loaded.New() if hasattr(loaded, "New") else loaded()
    direct.init(FakeHost(name, CONFIG.get(name)))
    for contract in (getattr(api, each, getattr(pluginapi, each, None)) for each in contracts):
        assert contract is not None
        plugin = manager.get(name, contract)
        assert isinstance(plugin, contract)
        assert plugin is manager.get(name, contract)
        assert plugin.name == name
        assert plugin.concurrency is direct.concurrency is None
        same(answers(plugin, calls, api, project()), answers(direct, calls, api, project()))
    capabilities = getattr(sys.modules[entry_point.module], "Capabilities", ())
    assert manager.handle(name).capabilities == set(capabilities)


def is_isolated(manager: PluginManager, name: str) -> bool:
    return manager.handle(name).settings.isolation == "process"


def test_all_returns_the_plugins_of_a_contract(managers: dict[str, PluginManager]) -> None:
    manager = managers["pluginhost.plugins"]
    assert sorted(manager.all(pluginapi.Greeter)) == ["english", "persian", "spanish"]
    assert sorted(manager.all(pluginapi.Operation)) == ["add", "divide", "multiply", "subtract"]
    assert list(manager.all(pluginapi.Handler, requires={"batch"})) == ["filter"]
    language = importlib.import_module("editor_api").Language
    assert sorted(managers["editor.languages"].all(language, requires={"format"})) == ["json", "markdown"]


def test_wrong_arguments_are_pythons_error(managers: dict[str, PluginManager]) -> None:
    greeter: Any = managers["pluginhost.plugins"].get("english", pluginapi.Greeter)
    for arguments in ((), ("a", "b")):
        with pytest.raises(TypeError, match=r"greet\(\)"):
            greeter.greet(*arguments)


def test_a_symbol_is_looked_up_in_this_process_alone(managers: dict[str, PluginManager]) -> None:
    manager = managers["pluginhost.plugins"]
    handle = manager.handle("counter")
    if not is_isolated(manager, "counter"):
        assert handle.lookup("Counter", int).get() == 0
        return
    with pytest.raises(PluginLookupError, match=r"\[lookup-isolated\] counter .*'Counter'.*\nhint: add a method"):
        handle.lookup("Counter", int)


def test_an_example_lives_as_often_as_it_is_started(managers: dict[str, PluginManager]) -> None:
    manager = managers["pluginhost.plugins"]
    plugin = manager.get("filter", pluginapi.Handler)
    request = pluginapi.Request("1", b"secret")
    manager.stop("filter")
    with pytest.raises(Exception, match=r"\[plugin-stopped\]"):
        plugin.handle(request)
    manager.start("filter")
    assert plugin.handle(request).status == 403
    manager.unload("filter")
    again = manager.get("filter", pluginapi.Handler)
    assert again.handle(request).status == 403
