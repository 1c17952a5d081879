"""Plugins that import a popular library each: `profile` names the slowest as `python -X importtime` does.

The two are measured by turns, so that what disturbs the machine disturbs both.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forge import GREETER, Forge

LIBRARIES = [
    *("aiohttp", "boto3", "celery", "cryptography.x509", "dask.array", "django.http", "fastapi", "flask", "grpc"),
    *("httpx", "lxml.etree", "matplotlib.pyplot", "networkx", "numpy", "pandas", "polars", "pydantic", "requests"),
    *("sklearn.ensemble", "sqlalchemy.orm", "sympy", "trio"),
]
ROUNDS = 3
CLEAR = 1.15
"""Of two times the longer is so many times the shorter, or which is longer is a matter of chance."""


def plain(library: str) -> float:
    """Returns the milliseconds that Python says an import takes: of the library and of the packages that it is in."""
    command = [sys.executable, "-X", "importtime", "-c", f"import {library}"]
    told = subprocess.run(command, capture_output=True, check=True, text=True, timeout=120).stderr
    lines = [line.split("|") for line in told.splitlines() if line.startswith("import time:")]
    names = {library[:end] for end in range(len(library) + 1) if library[end : end + 1] in {"", "."}}
    return sum(int(cumulative) for _, cumulative, name in lines if name.startswith(" ") and name[1:] in names) / 1000


@pytest.fixture(scope="module")
def times(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, float]]:
    """The milliseconds of each library's import, as Python tells them and as `profile` does."""
    forge = Forge(tmp_path_factory.mktemp("profiled"))
    modules = {library: f"uses_{library.lower().replace('.', '_')}" for library in LIBRARIES}
    names = {library: module.replace("_", "-") for library, module in modules.items()}
    for library, module in modules.items():
        plain(library)  # what is compiled is compiled now
        files = {f"{module}.py": f"import {library}\n{GREETER}"}
        forge.install(forge.wheel(f"zoo-{names[library]}", files, f'{names[library]} = "{module}:New"'))
    command = [Path(sys.executable).parent / "pluginhost", "profile", "--repeat", "1", "--json", *names.values()]
    environment = {**os.environ, "PYTHONPATH": str(forge.site)}
    python: dict[str, list[float]] = {library: [] for library in LIBRARIES}
    ours: dict[str, list[float]] = {library: [] for library in LIBRARIES}
    for _ in range(ROUNDS):
        done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=600)
        told = {each["name"]: each for each in json.loads(done.stdout)["plugins"]}
        for library in LIBRARIES:
            ours[library].append(told[names[library]]["total_ms"])
            python[library].append(plain(library))
    found = {each: (min(python[each]), min(ours[each])) for each in LIBRARIES}  # what disturbs only makes it longer
    for library, (of_python, of_ours) in sorted(found.items(), key=lambda each: -each[1][1]):
        print(f"{library:<20}{of_python:>10.1f}{of_ours:>10.1f}")
    return found


def test_there_are_20_of_them() -> None:
    assert len({library.partition(".")[0] for library in LIBRARIES}) >= 20


def test_the_slowest_three_are_those_that_python_names(times: dict[str, tuple[float, float]]) -> None:
    by_python = sorted(times, key=lambda each: times[each][0], reverse=True)[:3]
    by_profile = sorted(times, key=lambda each: times[each][1], reverse=True)[:3]
    for library in set(by_profile) - set(by_python):
        assert times[library][0] * CLEAR > times[by_python[2]][0], times
    for slower, faster in itertools.combinations(by_profile, 2):
        assert times[slower][0] * CLEAR > times[faster][0], times
