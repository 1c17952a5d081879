"""The configuration as an operator meets it: files, switches, and what is told of a fault, all by the real command."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomlkit
from configurations import Wrong, wrong
from forge import BIN, GREETER
from hypothesis import HealthCheck, given, settings

if TYPE_CHECKING:
    from forge import Command, Forge


@given(wrong())
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
def test_a_wrong_configuration_is_an_error_with_its_path_and_no_traceback(
    command: Command, tmp_path: Path, case: Wrong
) -> None:
    (tmp_path / "pluginhost.toml").write_text(tomlkit.dumps(case.values), encoding="utf-8")
    done = command("list")
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"error: [configuration-wrong] pluginhost.toml: {case.path} is ")
    assert b"Traceback" not in done.stderr


# -- a broken plugin, from the first crash to the uninstall

CRASH = """
import os
with open({marker!r}, "a") as file:
    file.write("imported\\n")
os._exit(7)
"""

APPLICATION = """
from pluginhost import PluginManager
from pluginapi import Greeter
with PluginManager(configuration="pluginhost.toml", probe="never") as manager:
    print(manager.get("english", Greeter).greet("Ada"), sorted(manager.all(Greeter)))
"""


def test_a_plugin_is_switched_off_whatever_else_is_wrong_in_the_file(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text('prob = "new"\n')
    assert command("list", "--config", file).returncode == 2
    done = command("disable", "english", "--config", file)
    assert (done.returncode, done.stderr) == (0, b"")
    assert file.read_text() == 'prob = "new"\n\n[plugins.english]\nenabled = false\n'


def test_a_broken_plugin_is_found_disabled_and_uninstalled_by_what_never_imports_it(
    forge: Forge, tmp_path: Path
) -> None:
    """The application starts again after either."""
    marker = tmp_path / "marker"
    wheel = forge.wheel("zoo-crash", {"zoo_crash.py": CRASH.format(marker=str(marker))}, 'crash = "zoo_crash:New"')
    home = tmp_path / "home"
    venv.create(home / "env")
    python = home / "env" / "bin" / "python"
    site = next((home / "env").glob("lib/python*/site-packages"))
    (site / "ours.pth").write_text(sysconfig.get_path("purelib"))
    uv = [BIN / "uv", "pip", "install", "--quiet", "--offline", "--no-index", "--no-deps", "--python", python, wheel]
    subprocess.run(uv, check=True)
    configuration = home / "pluginhost.toml"
    configuration.write_text("# the application's own\n[plugins.english]  # kept\ncall_timeout = 5\n")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(home), "PATH": f"{python.parent}"}
        return subprocess.run(
            [python, *words], cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    def application() -> tuple[int, str]:
        done = run("-c", APPLICATION)
        return done.returncode, done.stdout

    works = 0, "Hello, Ada! Nice to meet you. ['english', 'persian', 'spanish']\n"
    assert application() == (7, ""), "it takes the application with it"
    marker.unlink()

    found = json.loads(run("-m", "pluginhost", "list", "--json").stdout)
    assert [row["state"] for row in found["plugins"] if row["name"] == "crash"] == ["ready"]
    assert run("-m", "pluginhost", "check", "crash").stdout.startswith("crash (zoo-crash 1.0.0): ready\n")
    assert run("-m", "pluginhost", "info", "crash").returncode == 0
    assert "no shadowing" in run("-m", "pluginhost", "doctor").stdout
    done = run("-m", "pluginhost", "disable", "crash")
    assert (done.stdout, done.stderr) == ("plugins.crash.enabled = false  # pluginhost.toml\n", "")
    assert configuration.read_text() == (
        "# the application's own\n[plugins.english]  # kept\ncall_timeout = 5\n\n[plugins.crash]\nenabled = false\n"
    )
    assert not marker.exists(), "nothing of that imported it"
    assert application() == works

    assert run("-m", "pluginhost", "enable", "crash").returncode == 0
    done = run("-m", "pip", "uninstall", "--yes", "--quiet", "zoo-crash")
    assert done.returncode == 0, done.stderr
    assert not (site / "zoo_crash.py").exists()
    assert application() == works
    assert run("-m", "pluginhost", "disable", "crash").returncode == 0, "uninstalled, but it is in the file"
    assert not marker.exists()


# -- whose word counts


@pytest.fixture
def user(tmp_path: Path) -> Path:
    file = tmp_path / ".config" / "pluginhost" / "pluginhost.toml"
    file.parent.mkdir(parents=True)
    return file


def states(command: Command, *words: str | Path) -> dict[str, str]:
    return {row["name"]: row["state"] for row in command.json("list", *words)["plugins"]}


def test_the_file_given_comes_before_the_working_folders_and_that_before_the_users(
    command: Command, tmp_path: Path, user: Path
) -> None:
    user.write_text("[plugins]\nenglish.enabled = false\nspanish.enabled = false\npersian.enabled = false\n")
    (tmp_path / "pyproject.toml").write_text(
        "[tool.pluginhost.plugins]\nspanish.enabled = true\npersian.enabled = true\n"
    )
    (tmp_path / "given.toml").write_text(
        "[plugins.persian]\nenabled = false\nisolation = 'process'\nlimits = { memory = 512 }\n"
    )
    found = states(command, "--config", "given.toml")
    assert [found[name] for name in ("english", "spanish", "persian", "reverse")] == [
        "disabled",
        "ready",
        "disabled",
        "ready",
    ]
    shown = command("config", "show", "--config", "given.toml", "--without", "reverse").stdout.decode()
    assert shown.splitlines() == [
        f"plugins.english.enabled = false  # {user}",
        "plugins.spanish.enabled = true  # pyproject.toml",
        "plugins.persian.enabled = false  # given.toml",
        'plugins.persian.isolation = "process"  # given.toml',
        "plugins.persian.limits.memory = 512  # given.toml",
        "plugins.reverse.enabled = false  # option",
    ]
    shown = command("config", "show", "--only", "english", "--plugin-dir", "wheels", "--safe-mode").stdout.decode()
    assert shown.endswith(
        f'plugin_dirs = ["{tmp_path}/wheels"]  # option\nsafe_mode = true  # option\nallow = ["english"]  # option\n'
    )
    assert command.json("config", "show")[0] == {"path": "plugins.english.enabled", "value": False, "file": str(user)}


def test_a_file_may_name_group_and_api(command: Command, tmp_path: Path) -> None:
    (tmp_path / "pluginhost.toml").write_text('group = "hatch"\napi = "none"\n')
    assert states(command) == {"pluginapi": "ready"}
    assert "english" in states(command, "--group", "pluginhost.plugins")


def test_only_without_and_safe_mode_hold_for_one_command(command: Command) -> None:
    assert {name for name, state in states(command, "--only", "english, add").items() if state == "ready"} == {
        "add",
        "english",
    }
    found = states(command, "--without", "english,spanish")
    assert (found["english"], found["spanish"], found["persian"]) == ("disabled", "disabled", "ready")
    assert set(states(command, "--safe-mode").values()) == {"disabled"}
    done = command("call", "english", "greet", "Ada", "--safe-mode")
    assert (done.returncode, b"[safe-mode]" in done.stderr) == (1, True)
    for option in ("--only", "--without"):
        done = command("list", option, "english,spansh")
        assert done.returncode == 2
        assert b"[plugin-unknown]" in done.stderr
        assert b"did you mean spanish?" in done.stderr


def test_without_a_file_nothing_is_imported_that_reads_or_checks_one(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pluginhost.cli import main\nsys.argv = ['pluginhost', 'list']\ntry:\n    main()\n"
        "except SystemExit:\n    print({'tomllib', 'tomlkit', 'msgspec', 'pluginhost.validation'} & set(sys.modules))"
    )
    environment = {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.endswith("\nset()\n"), done.stdout + done.stderr


# -- the switch


def test_the_switch_goes_to_the_users_file_where_there_is_no_other(
    command: Command, tmp_path: Path, user: Path
) -> None:
    assert command.json("disable", "english", "spanish") == {
        "file": str(user),
        "changed": True,
        "set": {"plugins.english.enabled": False, "plugins.spanish.enabled": False},
    }
    assert user.read_text() == "[plugins.english]\nenabled = false\n\n[plugins.spanish]\nenabled = false\n"
    assert command("disable", "english").stdout.decode() == f"plugins.english.enabled = false  # {user}, as it was\n"
    (tmp_path / "given.toml").write_text("# mine\n")
    assert command("enable", "english", "--config", "given.toml").returncode == 0
    assert (tmp_path / "given.toml").read_text() == "# mine\n\n[plugins.english]\nenabled = true\n"
    assert "enabled = false\n\n[plugins.spanish]" in user.read_text(), "that of the user is as it was"


def test_a_plugin_that_is_refused_can_be_switched_and_an_instance_too(
    command: Command, forge: Forge, tmp_path: Path
) -> None:
    forge.plugin("future", dependencies=("pluginapi~=9.0",))
    file = tmp_path / "pluginhost.toml"
    file.write_text('instances = { one = { plugin = "english" } } # inline\n')
    assert command("disable", "future", "one").returncode == 0
    assert file.read_text() == (
        'instances = { one = { plugin = "english", enabled = false} } # inline\n\n[plugins.future]\nenabled = false\n'
    )


def test_what_cannot_be_switched_is_told_and_the_file_left(command: Command, tmp_path: Path, user: Path) -> None:
    done = command("disable", "spanish", "englsh")
    assert (done.returncode, b"did you mean english?" in done.stderr, user.exists()) == (2, True, False)
    done = command("disable", "english@pluginhost-english")
    assert (done.returncode, b"by its name alone" in done.stderr) == (2, True)
    (tmp_path / "pluginhost.toml").write_text("[plugins\n")
    done = command("disable", "english")
    assert done.returncode == 2
    assert done.stderr.decode().startswith("error: [configuration-wrong] pluginhost.toml is not TOML: ")
    assert (tmp_path / "pluginhost.toml").read_text() == "[plugins\n"


# -- what is wrong, and what may be set

DECLARED = f"""
import os
from dataclasses import dataclass, field

open(os.environ["MARKER"], "a").write(f"{{os.getppid()}} ")

@dataclass
class Retry:
    times: int = 3

@dataclass
class Config:
    url: str
    retries: list[Retry] = field(default_factory=list)
{GREETER}
"""


def test_config_check_tells_all_faults_of_all_files_at_once(command: Command, tmp_path: Path, user: Path) -> None:
    user.write_text("prob = 1\n")
    (tmp_path / "pluginhost.toml").write_text("[plugins.english]\nenabled = 3\ncall_timeout = nan\n")
    done = command("config", "check")
    assert done.returncode == 1
    assert [line for line in done.stdout.decode().splitlines() if line.startswith("error")] == [
        f"error   [configuration-wrong] {user}: prob is not a setting",
        "error   [configuration-wrong] pluginhost.toml: plugins.english.enabled is 3",
        "error   [configuration-wrong] pluginhost.toml: plugins.english.call_timeout is nan",
    ]


def test_config_check_holds_each_plugins_config_against_what_it_declares(
    command: Command, forge: Forge, tmp_path: Path
) -> None:
    """In a process that is not the command's own."""
    forge.plugin("declared", DECLARED)
    forge.plugin("crash", "import os; os._exit(3)")
    file, marker = tmp_path / "pluginhost.toml", tmp_path / "marker"
    file.write_text('[plugins]\nenglsh.enabled = true\n[plugins.declared.config]\nurl = "x"\nretries = [{times = 1}]\n')
    done = command("config", "check", "--only", "declared", "--json", env={"MARKER": str(marker)})
    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"]) == (0, ["plugins.declared.config"])
    assert [(each["code"], each["severity"]) for each in said["findings"]] == [("plugin-unknown", "warning")]
    assert "did you mean english?" in said["findings"][0]["hint"]
    assert len(marker.read_text().split()) == 1

    file.write_text(
        "[plugins.declared.config]\nretries = [{times = 1}, {times = true, tims = 3}]\n"
        '[instances.one]\nplugin = "declared"\nconfig = {url = "x"}\n[instances.two]\nplugin = "declared"\n'
        "config = {url = 1, retries = [{}, 3]}\n"
    )
    done = command("config", "check", "--only", "declared,crash", "--json", env={"MARKER": str(marker)})
    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"]) == (1, [])
    told = "declared (zoo-declared 1.0.0): instances.two.config"
    messages = [each["message"] for each in said["findings"] if each["code"] == "config-wrong"]
    assert messages == [f"{told}.url is 1", f"{told}.retries[1] is 3"]
    assert [each["code"] for each in said["findings"]] == ["config-wrong", "config-wrong", "probe-crashed"]

    file.write_text('[instances.english]\nplugin = "spanish"\n')
    done = command("config", "check", "--only", "english")
    assert done.returncode == 1
    assert "[configuration-wrong] instances.english: there is a plugin called 'english' already" in done.stdout.decode()

    file.write_text("[plugins.declared.config]\nretries = [{times = 1}, {times = true, tims = 3}]\n")
    done = command("config", "check", "--only", "declared", env={"MARKER": str(marker)})
    assert done.stdout.decode().splitlines() == [
        "error   [config-wrong] declared (zoo-declared 1.0.0): plugins.declared.config.retries[1].times is true",
        "        hint: write a whole number",
        "error   [config-wrong] declared (zoo-declared 1.0.0): plugins.declared.config.retries[1].tims is not a setting",
        "        hint: did you mean times?",
        "error   [config-wrong] declared (zoo-declared 1.0.0): plugins.declared.config.url is missing",
        "        hint: write a text",
    ]


def test_config_schema_describes_the_file_and_a_plugins_config(command: Command, forge: Forge, tmp_path: Path) -> None:
    forge.plugin("declared", DECLARED)
    done = command("config", "schema", "declared", env={"MARKER": str(tmp_path / "marker")})
    made = json.loads(done.stdout)["$defs"]["Config"]
    assert (made["properties"]["url"], made["required"]) == ({"type": "string"}, ["url"])
    done = command("config", "schema", "english")
    assert (done.returncode, b"declares no type" in done.stderr) == (1, True)
    made = json.loads(command("config", "schema").stdout)["$defs"]
    assert made["Configuration"]["properties"]["allow"]["type"] == "array"
    assert made["PluginSettings"]["properties"]["call_timeout"] == {
        "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 86_400.0,
    }  # fmt: skip
    assert made["PluginSettings"]["properties"]["isolation"]["enum"] == ["none", "process"]
    assert made["Limits"]["properties"]["memory"] == {
        "type": "integer",
        "minimum": 1,
        "exclusiveMaximum": 1_000_000_000,
    }
    assert "distribution" not in made["InstanceSettings"]["properties"]
