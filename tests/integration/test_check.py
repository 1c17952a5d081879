"""The commands that explain: check, info, explain, cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from forge import GREETER
from pluginhost.catalogue import CODES

if TYPE_CHECKING:
    from pathlib import Path

    from forge import Command, Forge


def test_check_passes_a_good_wheel_and_names_every_check(forge: Forge, command: Command) -> None:
    wheel = forge.wheel("zoo-w", {"zoo_w.py": f"raise SystemExit\n{GREETER}"}, 'w = "zoo_w:New"', hook=True)
    done = command("check", wheel)
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "w (zoo-w 1.0.0): ready"
    assert all(line.startswith("  ok ") for line in lines[1:])
    for title in ("pin", "manifest", "no copy of the API", "own files"):
        assert f"  ok      {title}" in lines


def test_check_refuses_a_bad_wheel_with_all_that_is_wrong_and_exits_1(forge: Forge, command: Command) -> None:
    files = {"zoo_w/__init__.py": GREETER, "zoo_w/pluginapi/__init__.py": ""}
    wheel = forge.wheel("zoo-w", files, 'w = "zoo_w:New"', dependencies=("pluginapi>=9", "nothere"))
    done = command("check", wheel)
    assert done.returncode == 1
    shown = done.stdout.decode()
    for code in ("pin-unsatisfied", "dependency-missing", "api-vendored"):
        assert f"[{code}]" in shown


def test_check_of_an_installed_plugin_agrees_with_info_and_list(forge: Forge, command: Command) -> None:
    forge.plugin("fine")
    checked = command.json("check", "fine")["plugins"][0]
    told = command.json("info", "fine")
    assert checked["passed"] == told["passed"]
    assert checked["state"] == told["state"] == "ready"
    assert "pin" in checked["passed"]


def test_check_of_what_is_no_plugin_is_wrong_usage(command: Command, tmp_path: Path) -> None:
    assert command("check", "no-such").returncode == 2
    assert command("check", tmp_path / "no-such.whl").returncode == 2


@pytest.mark.parametrize("code", ["pin-missing", "name-clash", "process-changed"])
def test_explain_tells_meaning_cause_and_mend(command: Command, code: str) -> None:
    done = command("explain", code)
    assert done.returncode == 0
    shown = done.stdout.decode()
    for text in (CODES[code].meaning, CODES[code].cause, CODES[code].mend):
        assert text in shown


def test_explain_suggests_the_near_ones(command: Command) -> None:
    done = command("explain", "pin-mising")
    assert done.returncode == 2
    assert b"did you mean pin-missing" in done.stderr


def test_cache_tells_where_it_is_and_clears_it(command: Command, tmp_path: Path) -> None:
    cache = tmp_path / "some cache"
    env = {"XDG_CACHE_HOME": str(cache)}
    folder = cache / "pluginhost"
    folder.mkdir(parents=True)
    folder.joinpath("0123.index").write_bytes(b"damaged")
    assert command("cache", env=env).stdout.decode() == f"{folder}: 1 files, 7 bytes\n"
    assert command("cache", "--prune", env=env).stdout == b"1 files removed\n"
    assert command("cache", "--clear", env=env).stdout == b"0 files removed\n"
