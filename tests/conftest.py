"""The fixtures that tests share."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pluginhost
import pytest
from forge import Command, Forge
from goplugin.build import CACHE, build, missing
from goplugin.peers import Peers

import pluginapi

if TYPE_CHECKING:
    from collections.abc import Iterator

# Tests see what users install, never the source tree.
for package in (pluginhost, pluginapi):
    assert "site-packages" in str(package.__file__), f"{package.__name__} comes from {package.__file__}"

if find_spec("hypothesis"):  # where types alone are tested, it is not installed
    from hypothesis import HealthCheck, settings

    # What an example takes says more of the machine than of what is tested. All else stays as Hypothesis has it here.
    passed_over = [*settings().suppress_health_check, HealthCheck.too_slow]
    settings.register_profile("tests", deadline=None, suppress_health_check=passed_over)
    settings.load_profile("tests")


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the tests' index files away from the person's, and what Go compiled for later runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GOCACHE", str(CACHE / "cache"))
        yield


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path)


@pytest.fixture
def site(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The forge's folder, on this process's path; what was imported from it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(forge.site))
    yield forge.site
    for name in set(sys.modules) - before:
        if str(forge.site) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture(scope="session")
def wheelhouse() -> Path:
    return Path(os.environ["PLUGINHOST_WHEELHOUSE"])


@pytest.fixture(scope="session")
def go() -> None:
    """Go, and what is built with it: without it a test is skipped, and in CI it fails."""
    if lacks := missing():
        (pytest.fail if "CI" in os.environ else pytest.skip)(lacks)


@pytest.fixture(scope="session")
def peers(go: None) -> Peers:
    return Peers(build())


@pytest.fixture(scope="module")
def patience() -> Iterator[None]:
    """Go-plugin programs have half a minute to end by themselves: the usual 2 s are few on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pluginhost.goplugin.client.END_SECONDS", 30.0)
        yield


@pytest.fixture
def command(forge: Forge, tmp_path: Path) -> Command:
    """The command, with the forge's folder on its path."""
    return Command(forge.site, tmp_path)
