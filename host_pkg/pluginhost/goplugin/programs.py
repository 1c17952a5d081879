"""Programs that are plugins: where they are. Nothing of the extra is imported here."""

from __future__ import annotations

import os
import shutil
import sysconfig
from typing import TYPE_CHECKING

from pluginhost import index, intact
from pluginhost.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from pluginhost.survey import Candidate

COOKIE_KEY: Final = "PLUGINHOST_PLUGIN"
"""The magic cookie of programs that are plugins; its value is the import name of the API package."""


def protocol_version(version: str | None) -> int:
    """Returns the protocol version that is agreed upon with programs that are plugins: the API's major version.

    Args:
        version: The API's; `None` when it states none, which counts as its first.
    """
    major = (version or "").partition(".")[0]
    return int(major) if major.isascii() and major.isdecimal() else 1


def find(candidate: Candidate) -> str:
    """Returns the path of the program that a candidate is, absolute; empty when there is none.

    A file of its distribution is below the folder in which that is found; of an editable install, below the folder of
    its project that is imported from. A name without a folder is looked up beside the interpreter's scripts, where an
    installer puts those of a wheel, and then on PATH.

    Args:
        candidate: A plugin with a `program`.
    """
    program = candidate.program
    if "/" not in program:
        return shutil.which(program, path=sysconfig.get_path("scripts")) or shutil.which(program) or ""
    folders = [candidate.distribution.origin]
    project = intact.loose(candidate.distribution)
    if os.path.isdir(project):
        own = [entry for entry in index.search_path() if f"{entry}{os.sep}".startswith(f"{project}{os.sep}")]
        folders = [*own, os.path.join(project, "src"), project]
    files = (os.path.join(folder, *program.split("/")) for folder in folders)
    return next(filter(os.path.isfile, files), "")


def check(candidate: Candidate) -> Iterator[Finding]:
    """Yields a finding when the program that a candidate is cannot be started: not there, or not executable.

    Args:
        candidate: A plugin with a `program`.
    """
    path, of, program = find(candidate), candidate.distribution, candidate.program
    reinstall = f"reinstall it: pip install --force-reinstall --no-deps {of.name}=={of.version}"
    if os.path.dirname(of.origin) == index.store_folder():
        reinstall = "have it unpacked anew: pluginhost cache --clear"
    elif project := intact.loose(of):
        reinstall = f"build {program} in {project}"
        if os.path.isfile(project):
            reinstall = f"install it; nothing can be started out of {project}"
    if not path and "/" in program:
        message = f"{candidate} is the program {program!r}, and there is no such file in {of.origin}"
        yield Finding("program-missing", message, reinstall, f"{of.origin}/{program}")
    elif not path:
        message = f"{candidate} is the program {program!r}, which is neither beside this Python's scripts nor on PATH"
        yield Finding("program-missing", message, f"install what brings {program}, or correct PATH", of.info)
    elif not os.access(path, os.X_OK):
        message = f"{candidate} is the program {path}, which is not executable"
        yield Finding("program-unstartable", message, f"next: chmod +x {path}; or {reinstall}", path)
