from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from configurations import RIGHT, Wrong, wrong
from hypothesis import HealthCheck, given, settings
from pluginhost import ConfigurationError, PluginManager, config
from pluginhost.config import Layer, command_layers, configuration, merged, read
from pluginhost.settings import Limits


def told(error: ConfigurationError) -> list[str]:
    return [each.message for each in (error.finding, *error.more)]


def test_what_is_left_out_has_its_default() -> None:
    made = configuration({"plugins": {"a": {}, "b": {"enabled": False, "config": {"x": 1}}}})
    assert (made.group, made.api, made.allow, made.probe_timeout) == ("pluginhost.plugins", "pluginapi", None, 20.0)
    assert (made.plugins["a"].enabled, made.plugins["a"].config) == (True, {})
    assert (made.plugins["b"].enabled, made.plugins["b"].config) == (False, {"x": 1})


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"enable": True}, "plugins.a.enable"),
        ({"enabled": 1}, "plugins.a.enabled"),
        ({"config": 3}, "plugins.a.config"),
        ({"isolation": "thread"}, "plugins.a.isolation"),
        ({"critical": "yes"}, "plugins.a.critical"),
        ({"limits": 3}, "plugins.a.limits"),
        ({"limits": {"memory": 0}}, "plugins.a.limits.memory"),
        ({"limits": {"cpu": 1.5}}, "plugins.a.limits.cpu"),
        ({"limits": {"memry": 1}}, "plugins.a.limits.memry"),
    ],
)
def test_a_wrong_setting_is_named_by_its_path(settings: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigurationError, match=path) as caught:
        PluginManager(plugins={"a": settings})
    assert caught.value.finding.code == "configuration-wrong"


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"weights": {"b": 10**400, "c": 5}}, "routes.a.weights.b"),
        ({"weights": {"b": 120.0}, "canary": {"plugin": "c"}}, "routes.a.weights.b"),
        ({"weights": {"b": 60, "c": 60}}, "routes.a.weights"),
        ({"weights": {"b": 60}, "canary": {"plugin": ["b"]}}, "routes.a.canary.plugin"),
        ({"weights": {"b": 60}, "canary": {"plugin": "b"}}, "routes.a.canary.plugin"),
    ],
)
def test_a_wrong_share_is_told_once(settings: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configuration({"routes": {"a": settings}})
    assert caught.value.finding.message.startswith(f"{path} ")
    assert caught.value.more == ()


def test_an_argument_comes_before_the_file_given_and_that_before_others(tmp_path: Path) -> None:
    file = tmp_path / "given.toml"
    file.write_text(
        'group = "file"\nprobe = "never"\nallow = ["a", "b"]\n[plugins.a]\ncall_timeout = 3\nenabled = false\n'
    )
    others = [
        Layer("first", {"group": "first", "probe": "always", "api": "first", "allow": ["c"]}),
        Layer("second", {"api": "second", "safe_mode": True, "plugins": {"a": {"concurrency": 4}}}),
    ]
    made = configuration({"group": "argument", "plugins": {"a": {"enabled": True}}}, file, others)
    assert (made.group, made.probe, made.api, made.safe_mode) == ("argument", "never", "first", True)
    assert made.allow == {"a", "b"}, "lists are not mixed"
    assert (made.plugins["a"].enabled, made.plugins["a"].call_timeout, made.plugins["a"].concurrency) == (True, 3.0, 4)


@pytest.mark.parametrize("file", [3, 1.5, ["pluginhost.toml"], b"pluginhost.toml"])
def test_what_is_neither_a_file_nor_a_table_is_told(file: Any) -> None:
    with pytest.raises(ConfigurationError, match="configuration is "):
        configuration({}, file)


def test_where_a_plugin_runs_and_what_it_may_use_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "given.toml"
    file.write_text(
        '[plugins.a]\nisolation = "process"\ncritical = true\nlimits = { memory = 512, files = 64 }\n'
        '[instances.b]\nplugin = "a"\nisolation = "process"\n[instances.b.limits]\ncpu = 60\n'
    )
    made = configuration({"plugins": {"a": {"limits": {"files": 32}}}}, file)
    plugin, instance = made.plugins["a"], made.instances["b"]
    assert (plugin.isolation, plugin.critical, plugin.limits) == ("process", True, Limits(memory=512, files=32))
    assert (instance.isolation, instance.critical, instance.limits) == ("process", False, Limits(cpu=60))
    assert configuration({"plugins": {"a": {}}}).plugins["a"].isolation is None
    with pytest.raises(ConfigurationError) as raised:
        configuration({"plugins": {"a": {"limits": {"memry": 1}}}})
    assert "did you mean memory?" in raised.value.finding.hint


def test_what_is_given_is_not_changed() -> None:
    first, second = {"plugins": {"a": {"x": 1}}}, {"plugins": {"a": {"y": 2}, "b": {}}}
    assert merged([Layer("", first), Layer("", second)]) == {"plugins": {"a": {"x": 1, "y": 2}, "b": {}}}
    assert (first, second) == ({"plugins": {"a": {"x": 1}}}, {"plugins": {"a": {"y": 2}, "b": {}}})
    inner = object()
    assert configuration({"plugins": {"a": {"config": {"live": inner}}}}).plugins["a"].config["live"] is inner


def test_none_is_no_api(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text('api = "none"\n')
    assert configuration({}, tmp_path / "f.toml").api is None
    assert configuration({"api": None}).api is None
    assert configuration({"api": "pluginapi"}, tmp_path / "f.toml").api == "pluginapi"


def test_a_file_has_its_table_in_pyproject_too(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\nname = "x"\n[tool.pluginhost.plugins.english]\nenabled = false\n')
    assert not configuration({}, file).plugins["english"].enabled
    file.write_text("[project]\n")
    assert configuration({}, file) == configuration({})
    for content in ("tool = 3", "[tool]\npluginhost = 3"):
        file.write_text(content)
        with pytest.raises(ConfigurationError, match="no table"):
            read(file)


def test_folders_of_wheels_are_as_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f.toml").write_text('plugin_dirs = ["wheels", "../other/", "/abs"]\n')
    monkeypatch.chdir(tmp_path)
    assert configuration({}, "sub/f.toml").plugin_dirs == [
        str(tmp_path / "sub" / "wheels"), str(tmp_path / "sub" / ".." / "other"), "/abs",
    ]  # fmt: skip
    assert configuration({"plugin_dirs": ("x", Path("y"))}, "sub/f.toml").plugin_dirs == [
        str(tmp_path / "x"), str(tmp_path / "y"),
    ]  # fmt: skip


def test_a_fault_names_the_file_that_has_it(tmp_path: Path) -> None:
    file = tmp_path / "pluginhost.toml"
    file.write_text('prob = "new"\n[plugins.english]\nenabled = 3\n[instances.one]\nenabled = true\n')
    with pytest.raises(ConfigurationError) as raised:
        configuration({"plugins": {"english": {"concurrency": 0}}}, file, [Layer("user.toml", {"group": 3})])
    assert told(raised.value) == [
        "user.toml: group is 3",
        f"{file}: prob is not a setting",
        f"{file}: plugins.english.enabled is 3",
        "plugins.english.concurrency is 0",
        f"{file}: instances.one.plugin is missing",
    ]
    assert {each.path for each in raised.value.more} == {str(file), ""}


def test_an_instance_has_no_distribution_but_its_plugin_may_name_one() -> None:
    with pytest.raises(ConfigurationError) as raised:
        configuration({"instances": {"a": {"plugin": "p", "distribution": "d"}, "b c": {"plugin": "p"}}})
    assert told(raised.value) == ["instances.a.distribution is not a setting", 'instances."b c" is not a name']
    assert raised.value.finding.hint == 'write plugin = "p@d"'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n[plugins", "is not TOML: .*line 2"),
        (b"a = 1\nb = '\xff'\n", r"is not UTF-8 \(at line 2\)"),
        (b"a = 1\na = 2\n", "is not TOML: .*line 2"),
        (b"a = " + b"[" * 100_000, "is not TOML"),
        (b"a = " + b"9" * 5_000, "is not TOML"),
        (b"a = 2030-02-31", "is not TOML: .*line 1"),
        (b"#" * (config.LARGEST + 1), "has more than 1,048,576 bytes"),
    ],
)
def test_a_file_that_cannot_be_taken_is_told_with_its_place(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "f.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"f.toml {said}") as raised:
        read(tmp_path / "f.toml")
    assert raised.value.finding.path == str(tmp_path / "f.toml")


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero", tmp_path / "link", tmp_path / "none", "a\0b"):
        with pytest.raises(ConfigurationError):
            read(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_the_command_reads_the_file_given_the_working_folders_and_the_users(folder: Path) -> None:
    assert command_layers(None) == ([], [])
    (folder / "pyproject.toml").write_text("[tool.pluginhost]\nsafe_mode = true\n")
    own = Path(config.user_file())
    own.parent.mkdir(parents=True)
    own.write_text("[plugins.a]\nenabled = false\n")
    (folder / "given.toml").write_text("")
    layers, findings = command_layers("given.toml")
    assert ([layer.file for layer in layers], findings) == (["given.toml", "pyproject.toml", str(own)], [])
    (folder / "pluginhost.toml").write_text("")
    assert [layer.file for layer in command_layers(None)[0]] == ["pluginhost.toml", str(own)], "one of a folder"


@pytest.mark.parametrize("content", [b"[project]\nname='x'\n", b"\xff\xfe", b"[broken"])
def test_a_pyproject_of_others_is_not_our_business(folder: Path, content: bytes) -> None:
    (folder / "pyproject.toml").write_bytes(content)
    assert command_layers(None) == ([], [])


def test_plugin_folders_of_a_working_folder_count_if_the_user_owns_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "pluginhost.toml").write_text('plugin_dirs = ["wheels"]\nsafe_mode = true\n')
    (layer,), findings = command_layers(None)
    assert (layer.values, findings) == ({"plugin_dirs": [str(folder / "wheels")], "safe_mode": True}, [])
    monkeypatch.setattr(os, "getuid", lambda: 12_345)
    (layer,), (finding,) = command_layers(None)
    assert (layer.values, finding.code, finding.severity) == ({"safe_mode": True}, "config-not-owned", "warning")
    assert "--config pluginhost.toml" in finding.hint
    assert command_layers("pluginhost.toml")[0][0].values["plugin_dirs"], "what is given counts"


def test_instances_from_wheels_of_a_working_folder_count_if_the_user_owns_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[instances.a]\nplugin = "a"\n[instances.b]\nplugin = "b"\nwheel = "b.whl"\nisolation = "process"\n'
    (folder / "pluginhost.toml").write_text(text)
    assert command_layers(None)[1] == []
    monkeypatch.setattr(os, "getuid", lambda: 12_345)
    (layer,), (finding,) = command_layers(None)
    assert (layer.values, finding.code) == ({"instances": {"a": {"plugin": "a"}}}, "config-not-owned")


def test_a_wheel_is_as_from_the_files_own_folder(folder: Path) -> None:
    (folder / "sub").mkdir()
    tables = {"a": "x.whl", "b": "../y.whl", "c": "/z.whl"}
    lines = (
        f'[instances.{name}]\nplugin = "p"\nwheel = "{path}"\nisolation = "process"\n' for name, path in tables.items()
    )
    (folder / "sub" / "f.toml").write_text("".join(lines))
    own = {"d": {"plugin": "p", "wheel": Path("own.whl"), "isolation": "process"}, "e": {"plugin": "p", "wheel": ""}}
    made = configuration({"instances": own}, "sub/f.toml").instances
    assert {name: each.wheel for name, each in made.items()} == {
        "a": str(folder / "sub" / "x.whl"),
        "b": str(folder / "sub" / "../y.whl"),
        "c": "/z.whl",
        "d": str(folder / "own.whl"),
        "e": "",
    }


def test_an_instance_from_a_wheel_must_have_a_process_of_its_own(folder: Path) -> None:
    wheel = {"plugin": "p", "wheel": "x.whl"}
    for more in ({}, {"isolation": "none"}):
        with pytest.raises(ConfigurationError, match=r"instances\.a\.wheel needs a process of its own") as error:
            configuration({"instances": {"a": {**wheel, **more}}})
        assert 'isolation = "process"' in error.value.finding.hint
    file = folder / "f.toml"
    file.write_text('[instances.a]\nisolation = "process"\n')
    assert configuration({"instances": {"a": wheel}}, file).instances["a"].wheel, "another file may say so"
    file.write_text('[instances.a]\nplugin = "p"\nwheel = "x.whl"\n')
    with pytest.raises(ConfigurationError, match=r"f\.toml: instances\.a\.wheel"):
        configuration({}, file)
    for wrong_one in (3, ["x.whl"], {"x": 1}, True):
        with pytest.raises(ConfigurationError, match=r"instances\.a\.wheel is "):
            configuration({"instances": {"a": {**wheel, "wheel": wrong_one, "isolation": "process"}}})
    with pytest.raises(ConfigurationError, match=r"plugins\.a\.wheel is not a setting"):
        configuration({"plugins": {"a": {"wheel": "x.whl"}}})


@pytest.mark.skipif(sys.platform != "linux", reason="as platformdirs has it on Linux")
def test_the_users_own_file_is_where_platformdirs_has_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from platformdirs import user_config_path

    for value in (str(folder), "", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        if value != "relative":  # which the specification says to ignore
            assert config.user_file() == str(user_config_path("pluginhost") / "pluginhost.toml")
        else:
            assert config.user_file() == os.path.expanduser("~/.config/pluginhost/pluginhost.toml")


# -- 200 wrong configurations, each a right one that was changed in one place


@given(wrong())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_wrong_configuration_is_told_with_the_path_of_the_fault(tmp_path: Path, case: Wrong) -> None:
    file = tmp_path / "pluginhost.toml"
    file.write_text(tomlkit.dumps(case.values), encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        configuration({}, file)
    error = raised.value
    assert [(each.message.partition(" is ")[0], each.path) for each in (error.finding, *error.more)] == [
        (f"{file}: {case.path}", str(file))
    ]
    assert error.finding.hint.startswith(case.hint)


@given(RIGHT)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_right_configuration_is_taken(tmp_path: Path, values: dict[str, Any]) -> None:
    file = tmp_path / "pluginhost.toml"
    file.write_text(tomlkit.dumps(values), encoding="utf-8")
    made = configuration({}, file)
    for name, table in values["plugins"].items():
        for key, value in table.items():
            assert getattr(made.plugins[name], key) == (Limits(**value) if key == "limits" else value)


def test_shares_of_100_percent_are_that_also_where_decimals_add_up_to_a_little_more() -> None:
    weights = {"a": 17.8, "b": 13.9, "c": 59.1, "d": 9.2}
    assert configuration({"routes": {"Greeter": {"weights": weights}}}).routes["Greeter"].weights == weights
    with pytest.raises(ConfigurationError, match=r"routes\.Greeter\.weights leads to 100\.1 % in all"):
        configuration({"routes": {"Greeter": {"weights": weights | {"d": 9.3}}}})


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"canary": {"plugin": ["b"]}}, "canary.plugin is"),
        ({"weights": {"b": 10**400}}, "weights.b is a number of more"),
        ({"weights": {"b": float("nan")}}, "weights.b is nan"),
        ({"weights": {"b": -1}}, "weights.b is -1"),
        ({"weights": [1]}, "weights is"),
        ({"rules": [{"weights": 3}]}, r"rules\[0\].weights is 3"),
        ({"rules": [{"weights": {"a": 60, "b": 60}}]}, r"rules\[0\].weights leads to 120 %"),
        ({"canary": {"plugin": "c"}, "weights": {"b": 96}}, "canary.share leads to 101 %"),
        ({"canary": {"plugin": "b"}, "weights": {"b": 1}}, "canary.plugin has a share already"),
    ],
)
def test_a_share_that_cannot_be_is_told_once_by_its_path(settings: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"routes\.Greeter\.{path}") as caught:
        configuration({"routes": {"Greeter": settings}})
    assert len(told(caught.value)) == 1


def test_a_canary_may_be_one_whose_share_was_taken_away() -> None:
    settings = {"canary": {"plugin": "b"}, "weights": {"b": 0, "c": 95}}
    assert configuration({"routes": {"Greeter": settings}}).routes["Greeter"].canary
