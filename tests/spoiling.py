"""Ways in which the folder of a cache cannot have a store of wheels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def a_file(cache: Path) -> None:
    cache.write_text("")


def open_to_others(cache: Path) -> None:
    (cache / "pluginhost" / "wheels").mkdir(parents=True)
    (cache / "pluginhost" / "wheels").chmod(0o777)


def read_only(cache: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("nothing is read-only for root")
    cache.mkdir(mode=0o500)
