"""The search path: who adds to it beside Python and what is installed.

Told as warnings: that somebody edits the path is no fault, but it is what explains a module that nobody installed.
"""

from __future__ import annotations

import os
import re
import site
import sys
import sysconfig
from typing import TYPE_CHECKING

from pluginhost.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Final

    from pluginhost.survey import Distribution

PTH_LIMIT: Final = 1 << 16
"""Bytes of a .pth file at most; real ones have a line or two."""

# Written by virtualenv and uv into each environment, by Debian's setuptools, and for namespace packages of old; no
# RECORD lists them.
_KNOWN: Final = re.compile(r"_virtualenv\.pth|distutils-precedence\.pth|.+-nspkg\.pth")


def check_path(path: list[str], distributions: Iterable[Distribution]) -> Iterator[Finding]:
    """Yields a finding for each entry of the search path that neither Python nor an installed distribution adds.

    Args:
        path: The search path.
        distributions: What is installed.
    """
    sites = [folder for folder in dict.fromkeys(map(_real, _site_folders())) if folder in set(map(_real, path))]
    files = [file for folder in sites for file in _pth_files(folder)]
    owners = {
        _real(os.path.join(distribution.origin, file)): distribution
        for distribution in distributions
        for file in (distribution.facts.files if distribution.facts else None) or ()
        if file.endswith(".pth")
    }
    origins = {_real(distribution.origin) for distribution in distributions}
    explained = {*sites, *map(_real, _python_folders())}
    for entry in _environment():
        explained.add(_real(os.path.abspath(entry)))
        yield _edited(f"PYTHONPATH adds {_described(entry)}", "unset PYTHONPATH, or take it out there", entry)
    for file in files:
        for line in _lines(file):
            if not line.startswith(("import ", "import\t")):
                explained.add(_real(os.path.join(os.path.dirname(file), line)))
            if what := _unowned(line, file, owners, origins):
                yield _edited(f"{file} {what}", "remove the line, or the file if nothing else is in it", file)
    for entry in path[1:] if not sys.flags.safe_path else path:  # the first is where the program stands
        if not os.path.isdir(entry):
            continue
        if _real(entry) not in explained:
            hint = "look for what changes sys.path: sitecustomize, usercustomize, a line of a .pth file that runs code"
            yield _edited(f"{entry} is on sys.path, and neither PYTHONPATH nor a .pth file names it", hint, entry)
        if _is_open(entry):
            hint = f"forbid it: chmod o-w {entry}"
            yield _edited(f"{entry} is on sys.path, and anybody may write modules into it", hint, entry)


def _unowned(line: str, file: str, owners: Mapping[str, Distribution], origins: set[str]) -> str:
    """Returns what is unexpected about a line of a .pth file; empty when nothing is."""
    owner = owners.get(_real(file))
    if line.startswith(("import ", "import\t")):
        is_known = owner or _KNOWN.fullmatch(os.path.basename(file))
        return "" if is_known else f"runs code each time Python starts, and no distribution brings it: {line[:200]}"
    added = os.path.join(os.path.dirname(file), line)
    is_inside = f"{_real(added)}{os.sep}".startswith(f"{_real(os.path.dirname(file))}{os.sep}")
    if owner and (is_inside or (owner.facts and owner.facts.editable)):
        return ""
    if not owner and _real(added) in origins and any(name.endswith(".egg-info") for name in _listed(added)):
        return ""  # what `setup.py develop` wrote
    by = f", by {owner}, which is no editable install" if owner else ", and is no editable install's"
    return f"adds {_described(added)}{by}"


def _described(entry: str) -> str:
    """Returns an entry, and what else is wrong with it."""
    if not os.path.isabs(entry):
        return f"{entry!r}, which is relative: it depends on the folder that Python is started in"
    if not os.path.exists(entry):
        return f"{entry}, which is not there"
    return entry


def _environment() -> list[str]:
    """Returns the entries of PYTHONPATH; an empty one between two means the current folder."""
    value = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    return value.split(os.pathsep) if value else []


def _site_folders() -> list[str]:
    if sys.flags.no_site:
        return []
    return [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]


def _python_folders() -> Iterator[str]:
    """Yields the folders of the standard library."""
    for name in ("stdlib", "platstdlib"):
        if folder := sysconfig.get_path(name):
            yield folder
            yield os.path.join(folder, "lib-dynload")
    yield os.path.join(sys.base_exec_prefix, "DLLs")
    yield sys.base_prefix  # on Windows


def _pth_files(folder: str) -> list[str]:
    names = (name for name in _listed(folder) if name.endswith(".pth") and not name.startswith("."))
    return [os.path.join(folder, name) for name in sorted(names)]


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _lines(file: str) -> list[str]:
    """Returns the lines of a .pth file that Python heeds."""
    if not os.path.isfile(file):
        return []  # opening a FIFO would block
    try:
        with open(file, encoding="utf-8-sig", errors="replace") as opened:
            lines = opened.read(PTH_LIMIT).splitlines()
    except OSError:
        return []
    return [line.rstrip() for line in lines if line.strip() and not line.startswith("#")]


def _is_open(folder: str) -> bool:
    """Returns whether anybody may write into a folder; on Windows modes do not tell."""
    try:
        return sys.platform != "win32" and bool(os.stat(folder).st_mode & 0o002)
    except OSError:
        return False


def _real(path: str) -> str:
    return os.path.realpath(path)


def _edited(what: str, hint: str, path: str) -> Finding:
    return Finding("path-edited", what, hint, path)
