"""Where plugins have their folders during a test."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from pluginhost.host import Kind


class Folder:
    """The folder in which plugins have theirs; one of its own is made when it is first asked for, and goes with it."""

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self._path = None if path is None else Path(path)

    def __call__(self, kind: Kind) -> Path:
        if self._path is None:
            self._path = Path(tempfile.mkdtemp(prefix="pluginhost-"))
            weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)
        return self._path / kind
