"""The processes in which cases run: a fresh interpreter for each, or a fork of one that has imported what all import."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from forge import obey_signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from zoo.cases import Case
    from zoo.site_folder import SiteFolder

PYTHON = sys.executable  # now: a test may change it while cases run in the background
DRIVER = Path(__file__).with_name("driver.py")


class Process(Protocol):
    """What is asked of a case's process, as of a `subprocess.Popen`."""

    pid: int

    def wait(self, timeout: float | None = None) -> int: ...


def is_forked(case: Case, site: SiteFolder) -> bool:
    """Returns whether a fork does for a case.

    What is imported before the bad plugin's code runs must be all that sets it apart from a fresh interpreter. So one
    is started where that code runs earlier, and where the API's import is what the case is about, or the process's end.
    """
    code = "" if case.family == "wheels" else site.code  # there it sets the clock
    is_early = bool(code or site.path or list(site.root.glob("*.pth")))
    is_api = case.code in ("second-api-copy", "api-vendored", "api-forked")
    return sys.platform == "linux" and not is_early and not is_api and case.family not in ("calls", "shutdown")


def command(folder: Path, driver: Path = DRIVER) -> list[str]:
    """Returns the command of a driver over a folder."""
    return [PYTHON, "-I", str(driver), str(folder), str(folder / "result.json")]


def environment(folder: Path) -> dict[str, str]:
    """Returns all of the driver's environment."""
    home = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    return {"PATH": os.environ["PATH"], **home, "LC_ALL": "C.UTF-8"}


def fresh(
    folder: Path, words: Sequence[str] = (), pass_fds: Sequence[int] = (), driver: Path = DRIVER
) -> subprocess.Popen[bytes]:
    """Returns a driver, started over a folder, or with other words."""
    # Files, since what a plugin starts and leaves would hold a pipe open; a session, since it may signal its own group.
    with folder.joinpath("out").open("wb") as out, folder.joinpath("err").open("wb") as err:
        return subprocess.Popen(
            [*command(folder, driver)[:3], *words] if words else command(folder, driver),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=folder,
            env=environment(folder),
            start_new_session=True,
            preexec_fn=_give_way,
            pass_fds=pass_fds,
        )


class Forks:
    """Drivers that need not import what all import: each is forked by a process that did, and else as a fresh one is.

    Such a process waits for the case that it forked. So there are as many as cases run at a time; the first of them
    start one each.

    Args:
        modules: What they import, in this order.
        folder: Where they run.
        driver: The driver's file.
    """

    def __init__(self, modules: Sequence[str], folder: Path, driver: Path = DRIVER) -> None:
        self._modules = modules
        self._folder = folder
        self._driver = driver
        self._numbers = itertools.count()
        self._all: list[_Forker] = []
        self._idle: list[_Forker] = []

    @contextlib.contextmanager
    def forked(self, folder: Path) -> Iterator[Process]:
        """Yields the driver over a folder, forked; it has ended afterwards."""
        try:
            forker = self._idle.pop()
        except IndexError:
            forker = _Forker(self._modules, self._folder / f"forker {next(self._numbers)}", self._driver)
            self._all.append(forker)
        yield forker.fork(folder)
        self._idle.append(forker)

    def close(self) -> None:
        """Ends the processes that fork."""
        for forker in self._all:
            forker.close()


class _Forker:
    """A process that forks, as its keeper holds it."""

    def __init__(self, modules: Sequence[str], folder: Path, driver: Path) -> None:
        folder.mkdir()
        self._driver = driver
        theirs, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        words = ["--forks", str(theirs), str(answers), " ".join(modules)]
        self._process = fresh(folder, words, (theirs, answers), driver)
        self._errors = folder / "err"
        os.close(theirs)
        os.close(answers)

    def fork(self, folder: Path) -> Process:
        told = {"command": command(folder, self._driver), "environment": environment(folder), "folder": str(folder)}
        os.write(self._requests, json.dumps(told).encode())
        return _Forked(self, self.answer())

    def answer(self, timeout: float | None = None) -> int:
        """Returns the next number that it tells: the process's id, then its status."""
        if not select.select([self._answers], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self._process.args, timeout or 0)
        line = b""
        while not line.endswith(b"\n"):
            line += (read := os.read(self._answers, 1))
            assert read, self._errors.read_text("utf-8", "replace")
        return int(line)

    def close(self) -> None:
        os.close(self._requests)
        self._process.wait()
        os.close(self._answers)


class _Forked:
    def __init__(self, forker: _Forker, pid: int) -> None:
        self.pid = pid
        self._forker = forker
        self._status: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self._status is None:
            self._status = self._forker.answer(timeout)
        return self._status


def _give_way() -> None:
    """Leaves the processor to the tests that run meanwhile."""
    obey_signals()
    os.nice(5)
