"""The seven refusals: each has its own code and hint, and two good plugins serve beside them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from forge import GREETER
from pluginhost import (
    PluginFactoryError,
    PluginHostError,
    PluginImportError,
    PluginLookupError,
    PluginManager,
    PluginRefused,
    PluginTypeError,
)

import pluginapi
from pluginapi import Greeter

if TYPE_CHECKING:
    from forge import Command, Forge

REFUSALS = {
    "no-pin": ("pin-missing", "admission", PluginRefused),
    "other-pin": ("pin-unsatisfied", "admission", PluginRefused),
    "no-module": ("module-missing", "import", PluginImportError),
    "no-symbol": ("symbol-missing", "lookup", PluginLookupError),
    "raises": ("factory-failed", "new", PluginFactoryError),
    "other-type": ("wrong-type", "type", PluginTypeError),
    "second-copy": ("second-api-copy", "type", PluginTypeError),
}


@pytest.fixture
def installed(forge: Forge) -> Path:
    """Seven bad plugins between two good ones, each a wheel of its own."""
    contracts = Path(pluginapi.__file__).with_name("contracts.py").read_text()
    forge.plugin("a-good", GREETER)
    forge.plugin("z-good", GREETER, hook=True)
    forge.plugin("no-pin", GREETER, dependencies=())
    forge.plugin("other-pin", GREETER, dependencies=("pluginapi>=2",))
    forge.install(forge.wheel("zoo-no-module", {"zoo_no_module.py": GREETER}, 'no-module = "zoo_other:New"'))
    forge.plugin("no-symbol", GREETER.replace("def New()", "def Now()"))
    forge.plugin("raises", GREETER.replace("return Some()", "raise SystemExit(3)"))
    forge.plugin("other-type", GREETER.replace("return Some()", "return {}").replace("-> Some", "-> dict"))
    # Renamed and changed, so that no file tells it: what is left to see is the class.
    files = {
        "zoo_second_copy/__init__.py": GREETER.replace("from pluginapi", "from zoo_second_copy.inner.contracts"),
        "zoo_second_copy/inner/__init__.py": "",
        "zoo_second_copy/inner/contracts.py": f"{contracts}\n# changed\n",
    }
    return forge.install(forge.wheel("zoo-second-copy", files, 'second-copy = "zoo_second_copy:New"'))


@pytest.mark.usefixtures("installed")
def test_each_refusal_has_its_own_code_stage_and_hint_and_good_plugins_serve(site: Path) -> None:
    with PluginManager() as manager:
        for name, (code, stage, kind) in REFUSALS.items():
            with pytest.raises(kind) as caught:
                manager.get(name, Greeter)
            finding = caught.value.finding
            assert (finding.code, finding.stage, finding.severity) == (code, stage, "error")
            assert f"zoo-{name} 1.0.0" in finding.message
            assert finding.hint
            assert finding.path
            assert manager.get("a-good", Greeter).greet("Ada") == "some Ada"
            assert manager.get("z-good", Greeter).greet("Ada") == "some Ada"
    assert len({code for code, _, _ in REFUSALS.values()}) == len(REFUSALS)


@pytest.mark.usefixtures("installed")
def test_all_leaves_out_what_fails_and_logs_each_once(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), PluginManager() as manager:
        for _ in range(2):
            assert {"a-good", "z-good"} <= set(manager.all(Greeter))
            assert not set(REFUSALS) & set(manager.all(Greeter))
    logged = [record.getMessage() for record in caplog.records if record.name == "pluginhost"]
    assert sorted(line.partition("]")[0].strip("[") for line in logged) == sorted(
        code for code, *_ in REFUSALS.values()
    )
    assert all("hint: " in line for line in logged)
    assert not [record for record in caplog.records if record.name.startswith("stevedore")]


@pytest.mark.usefixtures("installed")
def test_a_failure_is_remembered_and_not_tried_again(site: Path) -> None:
    manager = PluginManager()
    errors = []
    for _ in range(2):
        with pytest.raises(PluginHostError) as caught:
            manager.get("raises", Greeter)
        errors.append(caught.value)
    assert errors[0] is errors[1]


@pytest.mark.usefixtures("installed")
def test_the_second_copy_names_both_files(site: Path) -> None:
    with pytest.raises(PluginTypeError) as caught:
        PluginManager().get("second-copy", Greeter)
    message = caught.value.finding.message
    assert str(site / "zoo_second_copy" / "inner" / "contracts.py") in message
    assert str(Path(pluginapi.__file__).with_name("contracts.py")) in message


@pytest.mark.usefixtures("installed")
def test_the_missing_symbol_names_the_nearest(site: Path) -> None:
    with pytest.raises(PluginLookupError) as caught:
        PluginManager().get("no-symbol", Greeter)
    assert caught.value.finding.hint == "did you mean Now?"


@pytest.mark.usefixtures("installed")
def test_the_command_shows_them_and_ends_with_1(command: Command) -> None:
    states = {row["name"]: row["state"] for row in command.json("list")["plugins"]}
    assert states["no-pin"] == states["other-pin"] == "refused"
    assert states["a-good"] == states["z-good"] == "ready"
    for name, (code, _, _) in REFUSALS.items():
        done = command("call", name, "greet", "Ada")
        lines = done.stderr.decode().splitlines()
        assert done.returncode == 1
        assert lines[0].startswith(f"error: [{code}] ")
        assert lines[1].startswith("hint: ")
        assert [line for line in lines[2:] if not line.startswith("next: ")] == [], "no traceback unless asked for"
    assert command("call", "z-good", "greet", "Ada").stdout == b"some Ada\n"
