"""Every entry point of other people's packages, loaded by the doctor and by importlib.metadata: they tell the same.

What to expect is told by `EntryPoint.load()` in a process of its own, and by the metadata of what is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import EntryPoint, distributions, entry_points
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BIN = Path(sys.executable).parent
OURS = ("pluginapi", "pluginhost")

# Prints what an entry point's load raises: the exception's class, the module that it names, its message.
LOAD = """
import json, os, sys
from importlib.metadata import EntryPoint
output = os.dup(1)
os.dup2(2, 1)
told = None
try:
    EntryPoint(*sys.argv[1:]).load()
except BaseException as exc:
    told = type(exc).__name__, getattr(exc, "name", None), str(exc)
os.write(output, json.dumps(told).encode())
os._exit(0)
"""


@cache
def groups() -> dict[str, list[EntryPoint]]:
    """Returns every entry point that is installed, by its group, without our own."""
    found = {
        group: [each for each in entry_points(group=group) if each.dist and not each.dist.name.startswith(OURS)]
        for group in sorted(entry_points().groups)
    }
    return {group: entries for group, entries in found.items() if entries}


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, capture_output=True, check=False, text=True, stdin=subprocess.DEVNULL, timeout=900, cwd=BIN
    )


def failure(entry_point: EntryPoint) -> tuple[str, str | None, str] | None:
    """Returns what an entry point's load raises; `None` when it loads."""
    done = run(sys.executable, "-W", "ignore", "-c", LOAD, entry_point.name, entry_point.value, entry_point.group)
    assert done.stdout, done.stderr
    told: tuple[str, str | None, str] | None = json.loads(done.stdout)
    return told


@cache
def failures(group: str) -> dict[tuple[str, str, str], tuple[str, str | None, str] | None]:
    """Returns what each load of a group raises, by name, distribution and value."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = list(threads.map(failure, groups()[group]))
    return {
        (each.name, each.dist.name, each.value): told
        for each, told in zip(groups()[group], found, strict=True)
        if each.dist
    }


@cache
def told(group: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Returns what the doctor says of each entry point, by the same."""
    done = run(BIN / "pluginhost", "doctor", "--load", "--api", "none", "--group", group, "--json")
    assert done.returncode in (0, 1), done.stderr
    plugins = json.loads(done.stdout)["plugins"]
    found = {(each["name"], each["distribution"], each["entry_point"]): each for each in plugins}
    assert len(found) == len(plugins)
    return {key: each for key, each in found.items() if not key[1].startswith(OURS)}


def missing(error: tuple[str, str | None, str], own: str) -> str:
    """Returns the module that a failed load lacks; empty when that is not why it failed."""
    kind, name, _ = error
    return name if kind == "ModuleNotFoundError" and name and not f"{own}.".startswith(f"{name}.") else ""


def causes(error: tuple[str, str | None, str], entry_point: EntryPoint) -> set[str]:
    """Returns the codes that tell a failure truly."""
    kind, name, message = error
    if missing(error, entry_point.module):
        return {"dependency-missing"}
    if kind == "ModuleNotFoundError" and name:
        return {"module-missing"}
    if kind == "AttributeError" and any(repr(part) in message for part in entry_point.attr.split(".")):
        return {"symbol-missing"}
    # What a package says itself of what it lacks is told by the words alone.
    return {"import-failed", "dependency-missing"} if issubclass(_class(kind), ImportError) else {"import-failed"}


def extras(distribution: str, module: str) -> set[str]:
    """Returns the extras of a distribution that bring a module whose distribution is called as it."""
    [found] = [each for each in distributions() if each.name == distribution]
    asked = [Requirement(line) for line in found.requires or ()]
    names = found.metadata.get_all("Provides-Extra") or []
    return {
        extra
        for extra in names
        for each in asked
        if canonicalize_name(each.name) == canonicalize_name(module.partition(".")[0])
        and each.marker
        and each.marker.evaluate({"extra": extra})
        and not each.marker.evaluate({"extra": ""})
    }


def _class(name: str) -> type:
    found = __builtins__[name] if isinstance(__builtins__, dict) else getattr(__builtins__, name, Exception)
    return found if isinstance(found, type) else Exception


def test_the_environment_is_large_and_some_of_it_fails_to_load() -> None:
    names = {each.dist.name for found in groups().values() for each in found if each.dist}
    assert len(names) >= 40
    assert len({group for group in groups() if group not in {"console_scripts", "gui_scripts"}}) >= 10
    failing = [key for group in groups() for key, error in failures(group).items() if error]
    assert len({distribution for _, distribution, _ in failing}) >= 5, failing


@pytest.mark.parametrize("group", groups())
def test_what_fails_is_told_with_its_cause_and_mend_and_what_loads_is_not(group: str) -> None:
    wanted, found = failures(group), told(group)
    assert set(found) == set(wanted)
    for key, error in wanted.items():
        verdict = found[key]
        errors = [finding for finding in verdict["findings"] if finding["severity"] == "error"]
        if error is None:
            assert (verdict["reached"], errors) == ("importable", []), key
            continue
        name, distribution, value = key
        [told_of] = errors
        entry_point = EntryPoint(name, value, group)
        assert verdict["state"] == "error"
        assert told_of["code"] in causes(error, entry_point), (key, error, told_of)
        assert told_of["hint"], key
        assert distribution in told_of["message"]
        if bringing := extras(distribution, missing(error, entry_point.module)):
            commands = {f"pip install '{distribution}[{extra}]'" for extra in bringing}
            assert told_of["hint"] in commands, (key, error, told_of)
        elif lacking := missing(error, entry_point.module):
            assert "pip install" in told_of["hint"] or lacking.partition(".")[0] in told_of["hint"]


def test_the_mend_of_what_lacks_an_extra_is_that_extra() -> None:
    """Some of what is in `requirements/ecosystem.txt` for this."""
    hints = {
        key[:2]: finding["hint"]
        for group in ("opentelemetry_instrumentor", "dask.array.backends", "console_scripts", "bandit.formatters")
        for key, verdict in told(group).items()
        for finding in verdict["findings"]
        if finding["severity"] == "error"
    }
    for name, distribution, extra in (
        ("flask", "opentelemetry-instrumentation-flask", "instruments"),
        ("cupy", "dask", "array"),
        ("blackd", "black", "d"),
        ("sarif", "bandit", "sarif"),
    ):
        assert hints[name, distribution] == f"pip install '{distribution}[{extra}]'"
