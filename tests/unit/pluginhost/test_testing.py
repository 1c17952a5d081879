"""What authors test with does what the host does."""

from __future__ import annotations

import dataclasses
import gc
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pluginhost import (
    ConfigurationError,
    ManagerClosed,
    PluginFactoryError,
    PluginHostError,
    PluginImportError,
    PluginInitError,
    PluginLookupError,
    PluginNotFound,
    PluginProbeError,
    PluginRefused,
    PluginRequirementError,
    PluginStopped,
    PluginTypeError,
    testing,
)
from pluginhost.testing import FakeHost, FakeLoader, started
from pluginhost.testing.loaders import CAN_FAIL

from pluginapi import Event, Greeter, Host, Plugin, Transformer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pluginhost.errors import Finding


class English(Greeter):
    lang = "English"

    def __init__(self) -> None:
        self.title = ""

    def init(self, host: Host) -> None:
        self.host = host
        self.title = str(host.config.get("title", ""))

    def greet(self, name: str) -> str:
        return f"Hello, {self.title}{name}!"


class Upper(Transformer):
    def transform(self, text: str) -> str:
        return text.upper()


def test_the_names_that_testing_hands_on() -> None:
    assert testing.__all__ == sorted(testing.__all__)
    assert all(getattr(testing, name) for name in testing.__all__)
    assert dir(testing) == testing.__all__
    with pytest.raises(AttributeError):
        testing.no_such_name  # noqa: B018


def test_a_plugin_finds_in_a_fake_host_what_the_test_gave() -> None:
    plugin, host = English(), FakeHost("english", {"title": "dear "}, {"streaming"})
    plugin.init(host)
    assert isinstance(host, Host)
    assert plugin.greet("Ada") == "Hello, dear Ada!"
    assert host.capabilities == {"streaming"}
    assert host.logger.name == "pluginhost.plugins.english"
    with pytest.raises(TypeError):
        host.config["title"] = "other"  # type: ignore[index]


def test_capabilities_that_are_one_text_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        FakeHost(capabilities="streaming")


def test_the_folders_are_below_the_one_that_the_test_names(tmp_path: Path) -> None:
    host = FakeHost(folder=tmp_path)
    host.data_folder.joinpath("kept").write_text("x", "utf-8")
    assert host.data_folder != host.cache_folder
    assert {host.data_folder.is_relative_to(tmp_path), host.cache_folder.is_relative_to(tmp_path)} == {True}
    assert FakeHost("other", folder=tmp_path).data_folder != host.data_folder
    assert FakeHost(folder=tmp_path).data_folder.joinpath("kept").exists()


def test_a_folder_of_the_hosts_own_goes_with_the_host_and_not_before() -> None:
    host = FakeHost()
    folder = host.data_folder
    host.revoke()
    gc.collect()
    assert folder.is_dir()
    del host
    gc.collect()
    assert not folder.exists()


def test_a_fake_host_gives_the_plugins_that_the_test_handed_over() -> None:
    english, upper = English(), Upper()
    host = FakeHost(plugins={"english": english, "upper": upper, "text.upper": upper})
    assert host.get("english", Greeter) is english
    assert host.all(Transformer, {"batch"}) == {"upper": upper, "text.upper": upper}
    assert host.load("text", {"upper": {}}) == {"upper": upper}
    assert host.load("text", {"upper": {}}, Transformer) == {"upper": upper}


def test_a_plugin_that_is_not_there_or_of_another_contract_is_told() -> None:
    host = FakeHost("mine", plugins={"english": English()})
    with pytest.raises(PluginNotFound, match=r"FakeHost of mine has no plugin called 'upper': it has english"):
        host.get("upper", Transformer)
    with pytest.raises(PluginNotFound, match=r"'text.upper'"):
        host.load("text", {"upper": {}})
    with pytest.raises(PluginTypeError, match=r"English, which is not a pluginapi\.\S+Transformer"):
        host.get("english", Transformer)


def test_what_is_emitted_can_be_looked_at_and_reaches_listeners() -> None:
    host, heard = FakeHost("mine"), []
    undo = host.subscribe(heard.append, "note.")
    host.emit("note.saved", id=1)
    host.emit("other")
    undo()
    host.emit("note.saved", id=2)
    assert heard == [Event("note.saved", "mine", {"id": 1})]
    assert [event.topic for event in host.events] == ["note.saved", "other", "note.saved"]


def test_a_listener_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    host = FakeHost()
    host.subscribe(lambda event: 1 / 0)
    host.emit("note.saved")
    assert "[listener-failed]" in caplog.text


def test_a_revoked_fake_host_refuses_as_the_real_one() -> None:
    host, heard = FakeHost(), []
    host.subscribe(heard.append)
    host.undo.callback(heard.append, "undone")
    host.revoke()
    assert heard == ["undone"]
    for use in (lambda: host.config, lambda: host.data_folder, lambda: host.get("a", Plugin), lambda: host.emit("a")):
        with pytest.raises(PluginStopped, match="host-revoked"):
            use()
    assert host.events == []


def test_a_fake_loader_has_what_was_added_and_nothing_that_is_installed(tmp_path: Path) -> None:
    loader = FakeLoader(tmp_path)
    loader.add("english", English, capabilities={"formal"})
    loader.add("upper", lambda: Upper())
    with loader.manager(plugins={"english": {"config": {"title": "dear "}}}) as manager:
        rows = {row.name: (row.state, row.contracts, row.capabilities) for row in manager.survey()}
        assert rows == {"english": ("ready", ["Greeter"], ["formal"]), "upper": ("ready", None, [])}
        greeter = manager.get("english", Greeter, requires={"formal"})
        assert greeter.greet("Ada") == "Hello, dear Ada!"
        assert not isinstance(greeter, English)  # a stub
        assert [*manager.all(Plugin)] == ["english", "upper"]
        with pytest.raises(PluginNotFound):
            manager.get("persian", Greeter)
    with pytest.raises(PluginStopped):
        greeter.greet("Ada")


def test_its_plugins_go_all_the_way(tmp_path: Path) -> None:
    loader, told = FakeLoader(tmp_path), []
    loader.add("english", English)
    with loader.manager() as manager:
        manager.subscribe(lambda event: told.append(event.topic.removeprefix("plugin.")), "plugin.")
        manager.start("english")
        host = manager.handle("english").plugin.host
        assert host.data_folder.is_relative_to(tmp_path)
        manager.stop("english")
        manager.start("english")
    assert told == [*(way := ["admitted", "loaded", "created", "running", "draining", "stopped"]), "discovered", *way]


@pytest.mark.parametrize("option", ["enabled", "instances"])
def test_its_managers_take_what_managers_take(option: str) -> None:
    loader = FakeLoader()
    loader.add("english", English)
    if option == "enabled":
        with loader.manager(plugins={"english": {"enabled": False}}) as manager:
            assert manager.all(Greeter) == {}
    else:
        with loader.manager(instances={"a": {"plugin": "english"}, "b": {"plugin": "english"}}) as manager:
            assert [*manager.all(Greeter)] == ["a", "b"]


def test_its_manager_stands_for_an_applications_own() -> None:
    """It is made with the same arguments."""
    loader = FakeLoader()
    assert loader.manager("inkwell.exporters", api=None, probe="never").survey().plugins == []
    with pytest.raises(TypeError):
        loader.manager(no_such_option=1)


def test_a_name_that_is_none_is_told_as_register_tells_it() -> None:
    loader = FakeLoader()
    loader.add("not a name", English)
    with pytest.raises(ConfigurationError):
        loader.manager()


def test_closing_the_loader_closes_its_managers() -> None:
    loader = FakeLoader()
    loader.add("english", English)
    manager = loader.manager()
    greeter = manager.get("english", Greeter)
    loader.close()
    with pytest.raises(PluginStopped):
        greeter.greet("Ada")
    with pytest.raises(ManagerClosed):
        manager.get("english", Greeter)


REFUSED, BEFORE, MADE, CREATED = (
    ["refused"],
    ["admitted", "failed"],
    ["admitted", "loaded", "failed"],
    ["admitted", "loaded", "created", "failed"],
)


@pytest.mark.parametrize("is_added", [True, False], ids=["added", "not added"])
@pytest.mark.parametrize(
    ("code", "error", "states"),
    [
        ("pin-unsatisfied", PluginRefused, REFUSED),
        ("name-clash", PluginRefused, REFUSED),
        ("requirement-missing", PluginRequirementError, REFUSED),
        ("requirement-cycle", PluginRequirementError, REFUSED),
        ("probe-crashed", PluginProbeError, BEFORE),
        ("import-failed", PluginImportError, BEFORE),
        ("module-missing", PluginImportError, BEFORE),
        ("symbol-missing", PluginLookupError, BEFORE),
        ("factory-arguments", PluginFactoryError, BEFORE),
        ("factory-failed", PluginFactoryError, MADE),
        ("wrong-type", PluginTypeError, MADE),
        ("contract-broken", PluginTypeError, MADE),
        ("init-failed", PluginInitError, CREATED),
        ("validate-failed", PluginInitError, CREATED),
    ],
)
def test_a_plugin_fails_where_it_is_told_to(
    code: str, error: type[PluginHostError], states: list[str], is_added: bool, caplog: pytest.LogCaptureFixture
) -> None:
    loader, told = FakeLoader(), []
    loader.add("good", English)
    if is_added:
        loader.add("broken", English)
    loader.fail("broken", code)
    with loader.manager() as manager, caplog.at_level(logging.ERROR):
        manager.subscribe(lambda event: told.append(event.topic.removeprefix("plugin.")), "plugin.")
        with pytest.raises(error) as caught:
            manager.get("broken", Greeter)
        assert type(caught.value) is error
        assert (caught.value.finding.code, told) == (code, states)
        assert "broken" in caught.value.finding.message
        assert f"[{code}]" in caplog.text
        assert [*manager.all(Greeter)] == ["good"]
        with pytest.raises(error):
            manager.get("broken", Greeter)


@pytest.mark.parametrize("code", sorted(CAN_FAIL))
def test_each_code_is_that_of_the_error(code: str) -> None:
    loader = FakeLoader()
    loader.fail("broken", code)
    with loader.manager() as manager, pytest.raises(PluginHostError) as caught:
        manager.start("broken")
    assert caught.value.finding.code == code


@dataclasses.dataclass
class Sized:
    size: int
    unit: str = "cm"


def test_a_configuration_comes_as_the_type_that_says_what_may_be_in_it() -> None:
    assert FakeHost(config={"size": 3}).config_as(Sized) == Sized(3, "cm")
    with pytest.raises(ConfigurationError) as caught:
        FakeHost(config={"size": "3", "units": "m"}).config_as(Sized)
    told = [caught.value.finding, *caught.value.more]
    assert [finding.message for finding in told] == ["config.size is '3'", "config.units is not a setting"]
    assert told[1].hint == "did you mean unit?"


@pytest.mark.parametrize("code", ["no-such-code", "call-failed", "process-changed", "disabled", "plugin-unknown"])
def test_a_code_with_which_no_plugin_fails_to_start_is_refused(code: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{code}'(?s:.*)import-failed"):
        FakeLoader().fail("broken", code)


def test_started_yields_the_stub_and_shuts_it_down() -> None:
    with started(English, Greeter, {"title": "dear "}) as greeter:
        assert greeter.greet("Ada") == "Hello, dear Ada!"
        assert not isinstance(greeter, English)
    with pytest.raises(PluginStopped):
        greeter.greet("Ada")


class NoLang(English):
    lang = 3  # type: ignore[assignment]


class BadInit(English):
    def init(self, host: Host) -> None:
        raise ValueError("no")


class BadValidate(English):
    def validate(self) -> None:
        raise ValueError("no")


class BadShutdown(English):
    def shutdown(self) -> None:
        raise ValueError("no")


def needing(what: str) -> English:
    return English()


@pytest.mark.parametrize(
    ("factory", "code"),
    [
        (needing, "factory-arguments"),
        (lambda: 1 / 0, "factory-failed"),
        (Upper, "wrong-type"),
        (NoLang, "contract-broken"),
        (BadInit, "init-failed"),
        (BadValidate, "validate-failed"),
        (BadShutdown, "shutdown-failed"),
    ],
)
def test_started_raises_what_the_host_has_against_a_plugin(factory: Callable[[], Greeter], code: str) -> None:
    with pytest.raises(PluginHostError) as caught, started(factory, Greeter):
        pass
    finding: Finding = caught.value.finding
    assert finding.code == code


def test_what_the_test_raises_itself_comes_out_of_started() -> None:
    with pytest.raises(ZeroDivisionError), started(BadShutdown, Greeter):
        raise ZeroDivisionError
