"""What `load.py` tells of plugins, for the tests to hold against each other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

STAYS = {"sys.meta_path", "the warnings filters", "exit functions"}  # modules of a library may hang on them

# What takes the process out of its application's hands.
GRAVE = re.compile(
    r"sys\.(\w*hook|setprofile|settrace|monitoring)|threading\..*|whether .* is closed|Python's own functions|"
    r"the (working folder|umask|priority|blocked signals|handler of .*)|interval timer .*|RLIMIT_\w+"
)


def load(*words: str, path: Path | None = None) -> list[dict[str, Any]]:
    """Returns what becomes of a distribution's plugins in a process of its own.

    Args:
        words: The distribution's name, then a group and a name for each plugin.
        path: Where it is installed, if not in this environment.
    """
    with TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-P", Path(__file__).with_name("load.py"), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
            cwd=folder,
            env={**os.environ, **({"PYTHONPATH": str(path)} if path else {})},
            timeout=180,
        )
    assert done.returncode == 0, done.stderr
    plugins: list[dict[str, Any]] = json.loads(done.stdout)
    return plugins


def told(plugin: dict[str, Any], *codes: str) -> set[str]:
    """Returns what of the process the host says that a plugin changed, by what it calls that."""
    found = [re.search(r"\(\) changed (.*?) \(", message) for _, code, message in plugin["told"] if code in codes]
    return {each[1] for each in found if each}
