"""Popular libraries, each imported by a plugin of its own: a first load in a lost process refuses none of them.

What importing a library really changes is looked at in a copy of the process, without the host; see `load.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import entry_points, packages_distributions
from typing import Any

import pytest
from ecosystem.loads import GRAVE, STAYS, load, told
from forge import GREETER, Forge

EXAMPLES = {each.name: each.dist.name for each in entry_points(group="pluginhost.plugins") if each.dist}
LIBRARIES = [
    *("aiohttp", "boto3", "celery", "cryptography.x509", "dask.array", "django", "django.http", "eventlet", "fastapi"),
    *("flask", "gevent", "google.protobuf.message", "grpc", "httpx", "importlib_metadata", "kombu", "lxml.etree"),
    *("matplotlib", "matplotlib.pyplot", "networkx", "numpy", "pandas", "PIL.Image", "polars", "psutil", "pydantic"),
    *("requests", "rich.console", "scipy.stats", "sentry_sdk", "sklearn.ensemble", "sqlalchemy.orm", "sympy"),
    *("tornado.web", "tqdm", "trio", "twisted.internet.reactor", "urllib3", "uvicorn", "yaml", "zmq"),
]

# What importing them changes is told.
CHANGED = {
    "matplotlib.pyplot": "exit functions",
    "numpy": "the warnings filters",
    "pandas": "the warnings filters",
    "requests": "the warnings filters",
}


def name_of(library: str) -> str:
    return f"uses-{library.lower().replace('.', '-').replace('_', '-')}"


@pytest.fixture(scope="module")
def loads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[list[dict[str, Any]]]]]:
    """What becomes of each library's plugin, and of each example."""
    forge = Forge(tmp_path_factory.mktemp("libraries"))
    wheels = []
    for library in LIBRARIES:
        name = name_of(library)
        module = name.replace("-", "_")
        files = {f"{module}.py": f"import {library}\n{GREETER}"}
        wheels.append(forge.wheel(f"zoo-{name}", files, f'{name} = "{module}:New"'))
    site = forge.install(*wheels)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        plugins = {name: f"zoo-{name}" for name in map(name_of, LIBRARIES)} | EXAMPLES
        yield {
            name: threads.submit(load, distribution, "pluginhost.plugins", name, path=site)
            for name, distribution in plugins.items()
        }


def test_at_least_24_libraries_are_imported() -> None:
    installed = packages_distributions()
    assert len({installed[library.partition(".")[0]][0] for library in LIBRARIES}) >= 24


@pytest.mark.parametrize("name", [*map(name_of, LIBRARIES), *EXAMPLES])
def test_a_plugin_is_usable_after_its_first_load_in_a_process_of_its_own(
    name: str, loads: dict[str, Future[list[dict[str, Any]]]]
) -> None:
    [plugin] = loads[name].result()
    assert plugin["probed"]["outcome"] == "loaded", plugin
    assert {severity for severity, _, _ in plugin["probed"]["told"]} <= {"WARNING"}, plugin
    assert {code for _, code, _ in plugin["probed"]["told"]} <= {"process-changed", "work-begun"}, plugin


@pytest.mark.parametrize("name", [*map(name_of, LIBRARIES), *EXAMPLES])
def test_what_an_import_changes_of_the_process_is_told_and_nothing_else_is(
    name: str, loads: dict[str, Future[list[dict[str, Any]]]]
) -> None:
    [plugin] = loads[name].result()
    assert plugin["outcome"] == "loaded"
    assert told(plugin, "process-changed") == set(plugin["real"]), plugin
    assert told(plugin["probed"], "process-changed") == set(plugin["real"]), plugin
    assert not any(map(GRAVE.fullmatch, plugin["real"])), plugin
    assert set(plugin["left"]) <= STAYS & set(plugin["real"]), plugin
    assert plugin["probed"]["left"] == plugin["left"], plugin


@pytest.mark.parametrize("library", CHANGED)
def test_what_known_libraries_change_is_told(library: str, loads: dict[str, Future[list[dict[str, Any]]]]) -> None:
    [plugin] = loads[name_of(library)].result()
    assert CHANGED[library] in told(plugin, "process-changed"), plugin


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_is_told_of_the_examples(name: str, loads: dict[str, Future[list[dict[str, Any]]]]) -> None:
    [plugin] = loads[name].result()
    assert (plugin["told"], plugin["probed"]["told"], plugin["real"]) == ([], [], [])
