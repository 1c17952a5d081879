"""The fixtures that tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluginhost
import pytest
from forge import Command, Forge

import pluginapi

if TYPE_CHECKING:
    from collections.abc import Iterator

# Tests see what users install, never the source tree.
for package in (pluginhost, pluginapi):
    assert "site-packages" in str(package.__file__), f"{package.__name__} comes from {package.__file__}"


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the tests' index files away from the person's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def zoo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Any, Any]]:
    """The outcomes of the zoo's cases, which run from the session's beginning on, beside the other tests."""
    items = [item for item in request.session.items if item.path.name == "test_zoo.py"]
    wanted = dict.fromkeys(item.callspec.params["case"] for item in items if hasattr(item, "callspec"))
    if not wanted:
        yield {}
        return
    from zoo import keeper  # other runs do without

    with keeper.running(wanted, tmp_path_factory.mktemp("zoo")) as outcomes:
        yield outcomes


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


@pytest.fixture
def command(forge: Forge, tmp_path: Path) -> Command:
    """The command, with the forge's folder on its path."""
    return Command(forge.site, tmp_path)
