"""The fixtures that pluginhost brings to pytest.

A run that asks for none of them has imported this module, `pluginhost.testing` and `pluginhost`, which import nothing.
"""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pluginhost import PluginManager
    from pluginhost.testing import FakeHost, FakeLoader


@pytest.fixture
def fake_host(tmp_path: Path) -> Callable[..., FakeHost]:
    """Makes a host for a plugin's `init`, its folders below `tmp_path`: `fake_host(config={"title": "dear"})`."""
    from functools import partial

    from pluginhost.testing import FakeHost

    return partial(FakeHost, folder=tmp_path)


@pytest.fixture
def fake_loader(tmp_path: Path) -> Iterator[FakeLoader]:
    """Gives plugins that are not installed to managers, which are closed when the test ends."""
    from pluginhost.testing import FakeLoader

    loader = FakeLoader(tmp_path)
    yield loader
    loader.close()


@pytest.fixture
def plugin_manager(tmp_path: Path) -> Iterator[PluginManager]:
    """Has the plugins that are installed, with folders below `tmp_path`, and is closed when the test ends."""
    from pluginhost import PluginManager
    from pluginhost.testing.folders import Folder

    with PluginManager(probe="never") as manager:
        manager.folder = Folder(tmp_path)
        yield manager
