"""Two versions of a plugin at once: the installed one, and another from a wheel, in a process of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from handmade import Handmade
from pluginhost import ConfigurationError, PluginCallError, PluginManager, PluginRefused, context
from waiting import until

from pluginapi import Event, Greeter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from forge import Command, Forge

PLUGIN = """
import importlib.metadata, os
from pluginapi import Greeter
from zoo_next.part import VERSION

class Next(Greeter):
    lang = VERSION

    def greet(self, name: str) -> str:
        return f"{VERSION} {importlib.metadata.version('zoo-next')} {os.getpid()}"

def New() -> Next:
    return Next()
"""
INFO = "zoo_next-{}.dist-info"


def handmade(version: str) -> Handmade:
    """Returns the wheel of a version of `next`, which tells its own, that of its metadata, and its process."""
    files = {"zoo_next/__init__.py": PLUGIN, "zoo_next/part.py": f"VERSION = {version!r}\n"}
    return Handmade("zoo-next", version, files)


def install(forge: Forge, version: str) -> None:
    """Has a version installed in the place of another, as an installer writes it."""
    for found in forge.site.glob("zoo_next*"):
        shutil.rmtree(found)
    with zipfile.ZipFile(handmade(version).write(forge.folder / "installed")) as archive:
        archive.extractall(forge.site)


@pytest.fixture
def wheel(forge: Forge, site: Path) -> Path:
    """The wheel of 1.1.0, beside which 1.0.0 is installed."""
    install(forge, "1.0.0")
    return handmade("1.1.0").write(forge.folder / "new")


def instance(wheel: Path, **more: object) -> dict[str, dict[str, object]]:
    return {"next": {"plugin": "next", "wheel": str(wheel), "isolation": "process", **more}}


def of(wheel: Path, name: str = "beta", **more: object) -> PluginManager:
    return PluginManager(probe="never", instances={name: instance(wheel, **more)["next"]})


def version(stub: Greeter) -> str:
    """Returns the version that answers, whose code and metadata must be of it."""
    code, metadata, _ = stub.greet("Ada").split()
    assert code == metadata == stub.lang
    return code


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each is not threading.main_thread()]


def code(error: Any) -> str:
    return str(error.value.finding.code)


# -- both at once


def test_both_answer_at_once_each_from_its_own_wheel(forge: Forge, site: Path) -> None:
    """Really built, and installed by uv; the close leaves neither process nor folder."""
    files = {"zoo_next/__init__.py": PLUGIN, "zoo_next/part.py": "VERSION = '1.0.0'\n"}
    forge.install(forge.wheel("zoo-next", files, 'next = "zoo_next:New"', hook=True))
    files["zoo_next/part.py"] = "VERSION = '1.1.0'\n"
    wheel = forge.wheel("zoo-next", files, 'next = "zoo_next:New"', version="1.1.0", hook=True)
    with of(wheel) as manager:
        old, new = manager.get("next", Greeter), manager.get("beta", Greeter)
        assert (version(old), version(new)) == ("1.0.0", "1.1.0")
        assert old.greet("Ada").split()[2] == str(os.getpid())
        pid = int(new.greet("Ada").split()[2])
        assert pid != os.getpid()
        assert {"next", "beta"} <= {each.name for each in manager.entries()}, "all of them are run"
        said = {name: (each.distribution, each.version) for name, each in manager.status().items()}
        assert (said["next"], said["beta"]) == (("zoo-next", "1.0.0"), ("zoo-next", "1.1.0"))
        assert [row.version for row in manager.survey() if row.name == "next"] == ["1.0.0"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert "zoo_next" not in os.listdir(forge.folder)


def test_a_wheel_that_a_plugin_folder_has_too_comes_first_in_its_process(wheel: Path, forge: Forge) -> None:
    """The folder's is on the path of this process, behind what was installed since."""
    shutil.rmtree(forge.site / "zoo_next")
    shutil.rmtree(forge.site / INFO.format("1.0.0"))
    with PluginManager(probe="never", plugin_dirs=[wheel.parent], instances={"beta": instance(wheel)["next"]}) as both:
        assert version(both.get("next", Greeter)) == "1.1.0"
        install(forge, "1.0.0")
        assert version(both.get("beta", Greeter)) == "1.1.0"
        assert both.unload("next") == [], "the other is in another process, and holds nothing here"


# -- its life


def test_a_reload_takes_the_new_wheel_and_leaves_the_installed_one(wheel: Path) -> None:
    with of(wheel) as manager:
        old, new = manager.get("next", Greeter), manager.get("beta", Greeter)
        handmade("1.2.0").write(wheel.parent, wheel.name)
        with pytest.raises(PluginRefused) as error:
            manager.reload("beta")
        assert code(error) == "wheel-settling", "its name says 1.1.0"
        assert manager.status()["beta"].reload_error
        assert version(new) == "1.1.0"
        files = handmade("1.1.0")
        files.files["zoo_next/part.py"] = "VERSION = '1.1.0'\nIS_OTHER = True\n"
        files.files["zoo_next/__init__.py"] = PLUGIN.replace("{os.getpid()}", "other")
        files.write(wheel.parent)
        assert manager.reload("beta").plugins == ["beta"]
        assert (new.greet("Ada"), manager.loaded()["beta"].generation) == ("1.1.0 1.1.0 other", 2)
        assert (version(old), manager.loaded()["next"].generation) == ("1.0.0", 1)
        assert manager.rollback("beta").plugins == ["beta"]
        assert new.greet("Ada").split()[2].isdigit()
        assert manager.reload("next").plugins == ["next"]
        manager.stop("beta")
        manager.start("beta")
        assert new.greet("Ada") == "1.1.0 1.1.0 other"
        assert manager.unload("beta") == []
        assert version(old) == "1.0.0"


def test_another_wheel_is_applied_while_it_runs(forge: Forge, site: Path) -> None:
    """And none need be installed."""
    wheel, later = (handmade(number).write(forge.folder / "new") for number in ("1.1.0", "1.2.0"))
    with PluginManager(probe="never", configuration={"instances": {"beta": instance(wheel)["next"]}}) as manager:
        new = manager.get("beta", Greeter)
        assert version(new) == "1.1.0"
        manager.apply({"instances": {"beta": instance(later)["next"]}})
        assert version(new) == "1.2.0"
        with pytest.raises(PluginRefused):
            manager.apply({"instances": {"beta": instance(wheel.with_name("zoo_next-9-py3-none-any.whl"))["next"]}})
        assert version(new) == "1.2.0"


def test_a_watched_wheel_is_reloaded_when_it_is_replaced(wheel: Path) -> None:
    """Each time; also after one that was cut off, during which the version before goes on."""
    with of(wheel, reload="watch") as manager:
        new = manager.get("beta", Greeter)
        for word in ("second", "third"):
            data = handmade("1.1.0")
            data.files["zoo_next/__init__.py"] = PLUGIN.replace("{os.getpid()}", word)
            wheel.write_bytes(data.data()[:-50])
            assert version(new) == "1.1.0"
            wheel.write_bytes(data.data())
            until(lambda: new.greet("Ada") == f"1.1.0 1.1.0 {word}")  # noqa: B023 - called at once
        assert manager.status()["beta"].generation == 3


# -- what is refused


def test_it_cannot_run_in_this_process(wheel: Path) -> None:
    with of(wheel) as manager, pytest.raises(ConfigurationError, match="needs a process of its own"):
        manager.get("beta", Greeter, isolation="none")


def missing(wheel: Path) -> str:
    wheel.unlink()
    return "wheel-unreadable"


def folder(wheel: Path) -> str:
    wheel.unlink()
    wheel.mkdir()
    return "wheel-not-regular"


def malformed(wheel: Path) -> str:
    wheel.write_bytes(b"PK")
    return "is not a wheel"


def damaged(wheel: Path) -> str:
    made = handmade("1.1.0")
    made.rows["zoo_next/part.py"] = "zoo_next/part.py,sha256=AAAA,1"
    made.write(wheel.parent)
    return "is not what its RECORD says"


def no_plugin(wheel: Path) -> str:
    handmade("1.1.0").edit("entry_points.txt", lambda _: "[console_scripts]\n").write(wheel.parent)
    return "plugin-unknown"


def another_plugin(wheel: Path) -> str:
    handmade("1.1.0").edit("entry_points.txt", lambda text: text.replace("next =", "other =")).write(wheel.parent)
    return "plugin-unknown"


def needy(wheel: Path) -> str:
    made = handmade("1.1.0").edit("METADATA", lambda text: text + "Requires-Dist: not-there>=1\n")
    made.write(wheel.parent)
    return "dependency-missing"


def another_api(wheel: Path) -> str:
    handmade("1.1.0").edit("METADATA", lambda text: text.replace("~=1.0", "~=7.0")).write(wheel.parent)
    return "pin-unsatisfied"


def greedy(wheel: Path) -> str:
    """A module that the installed version does not have, and another distribution does: it would come first."""
    made = handmade("1.1.0")
    made.files["msgspec/__init__.py"] = ""
    made.write(wheel.parent)
    return "brings what is there already"


def exposed(wheel: Path) -> str:
    wheel.parent.chmod(0o777)
    return "world-writable"


FAULTS = [missing, folder, malformed, damaged, no_plugin, another_plugin, needy, another_api, greedy, exposed]


@pytest.mark.parametrize("break_", FAULTS)
def test_what_is_wrong_with_a_wheel_is_told_and_all_else_goes_on(break_: Callable[[Path], str], wheel: Path) -> None:
    expected = break_(wheel)
    with of(wheel) as manager:
        with pytest.raises(PluginRefused) as error:
            manager.get("beta", Greeter)
        found = error.value.finding
        assert expected in (found.code, *(each.code for each in error.value.more)) or expected in found.message
        if expected not in ("dependency-missing", "pin-unsatisfied"):
            assert found.message.startswith("beta: ")
            assert str(wheel) in found.message
        assert manager.versions()["beta"].state == "refused"
        assert {"next", "beta"} <= {each.name for each in manager.entries()}
        assert version(manager.get("next", Greeter)) == "1.0.0"


def test_a_wheel_of_another_distribution_than_the_one_named_is_refused(wheel: Path) -> None:
    with of(wheel, plugin="next@zoo-other") as manager, pytest.raises(PluginRefused, match="has no plugin") as error:
        manager.get("beta", Greeter)
    assert "next@zoo-next" in error.value.finding.hint


def test_what_bars_the_plugin_bars_its_other_version(wheel: Path) -> None:
    settings = instance(wheel)["next"]
    for more in ({"safe_mode": True}, {"allow": ["english"]}, {"plugins": {"next": {"enabled": False}}}):
        manager = PluginManager(instances={"beta": settings}, **more)  # type: ignore[arg-type]
        assert manager.versions()["beta"].state == "disabled"
    assert of(wheel, enabled=False).versions()["beta"].state == "disabled"


# -- the command


def test_the_command_tells_both(forge: Forge, command: Command, tmp_path: Path) -> None:
    """In a group of their own, of which a first load takes no others."""
    for number in ("1.0.0", "1.1.0"):
        handmade(number).edit("entry_points.txt", lambda text: text.replace("pluginhost.", "zoo.")).write(tmp_path)
    with zipfile.ZipFile(tmp_path / handmade("1.0.0").file_name()) as archive:
        archive.extractall(forge.site)
    wheel = tmp_path / handmade("1.1.0").file_name()
    (tmp_path / "pluginhost.toml").write_text(
        'group = "zoo.plugins"\napi = "pluginapi"\n[instances.beta]\n'
        f'plugin = "next"\nwheel = "{wheel.name}"\nisolation = "process"\n'
    )
    said = [(row["name"], row["version"]) for row in command.json("list")["plugins"]]
    assert said == [("beta", "1.1.0"), ("next", "1.0.0")]
    verdicts = command.json("doctor", "--load")["plugins"]
    assert [(each["name"], each["version"], each["reached"]) for each in verdicts] == [
        ("next", "1.0.0", "usable"),
        ("beta", "1.1.0", "usable"),
    ]
    wheel.unlink()
    done = command("config", "check")
    assert done.returncode == 1
    assert b"[wheel-unreadable] beta: " in done.stdout
    assert b"plugins.next.config" in done.stdout, "all else is checked"


@pytest.mark.parametrize(("failing", "topic", "serves"), [("", "route.promoted", "1.1.0"),
                                                          ("Grace", "route.rolled_back", "1.0.0")])  # fmt: skip
def test_a_route_tries_another_version_on_a_share_of_the_calls_and_decides_by_itself(
    forge: Forge, site: Path, failing: str, topic: str, serves: str
) -> None:
    install(forge, "1.0.0")
    new = handmade("1.1.0")
    said = 'return f"{VERSION}'
    plugin = PLUGIN.replace(said, f"assert name != {failing!r}\n        {said}")
    new.files["zoo_next/__init__.py"] = plugin
    told: list[Event] = []
    canary = {"plugin": "beta", "share": 30, "calls": 50, "slower": 100}
    routes = {"Greeter": {"default": "next", "key": "customer", "canary": canary}}
    beta = instance(new.write(forge.folder / "new"))["next"]
    with PluginManager(probe="never", instances={"beta": beta}, routes=routes) as manager:
        manager.subscribe(told.append, "route.")
        greeter = manager.route(Greeter)
        by_customer: dict[str, set[str]] = {}
        for number in itertools.count():
            if told:
                break
            customer = f"c-{number % 100}"
            with context(customer=customer), contextlib.suppress(PluginCallError):
                name = "Grace" if number % 3 == 0 else "Ada"
                answer = greeter.greet(name).split()[0]
                by_customer.setdefault(customer, set()).add(answer)
        assert all(len(versions) == 1 for versions in by_customer.values())
        assert {"1.0.0", "1.1.0"} == set().union(*by_customer.values())
        assert (told[0].topic, told[0].fields["plugin"]) == (topic, "beta")
        assert version(greeter) == serves
        figures = manager.routes()["Greeter"]
        assert figures.canary is None
        assert figures.verdict
