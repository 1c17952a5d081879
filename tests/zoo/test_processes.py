"""A driver that was forked is as one that was started: cases are told no difference."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from zoo import processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="drivers are forked on Linux alone")

BEGINNING = """
import __main__, gc, json, resource, signal, threading, warnings
print("standard output"); print("standard error", file=sys.stderr)
umask = os.umask(0)
os.umask(umask)
streams = (sys.stdin, sys.stdout, sys.stderr)
limits = [getattr(resource, name) for name in sorted(dir(resource)) if name.startswith("RLIMIT_")]
Path("began").write_text(json.dumps({
    "program": [sys.executable, sys.argv, sys.orig_argv, sys.path, sys.prefix, str(sys.flags), sys.warnoptions],
    "environment": list(os.environ.items()),
    "folder": os.getcwd(),
    "descriptors": {n: os.readlink(f"/proc/self/fd/{n}") for n in range(100) if os.path.exists(f"/proc/self/fd/{n}")},
    "offsets": [os.lseek(n, 0, os.SEEK_CUR) for n in (1, 2)],
    "streams": [[repr(each), each.isatty(), each.seekable(), each.line_buffering, each.write_through] for each in streams],
    "the first": [sys.__stdin__ is sys.stdin, sys.__stdout__ is sys.stdout, sys.__stderr__ is sys.stderr],
    "leads": [os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()],
    "signals": [[str(signal.getsignal(each)) for each in sorted(signal.valid_signals())], str(signal.pthread_sigmask(0, []))],
    "limits": [list(map(resource.getrlimit, limits)), os.nice(0), umask],
    "threads": [threading.active_count(), threading.current_thread() is threading.main_thread(), threading.get_ident() > 0],
    "collection": [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), len(gc.callbacks)],
    "hooks": [sys.excepthook is sys.__excepthook__, sys.gettrace(), [getattr(each, "__name__", type(each).__name__) for each in sys.meta_path], len(sys.path_hooks)],
    "warnings": list(map(str, warnings.filters)),
    "module": [sorted(vars(__main__)), __main__.__file__, len(__main__.MODULES), __main__.FINDERS == sys.meta_path],
    "frames": [sys._getframe(1).f_code.co_name, sys._getframe(2).f_code.co_name, sys._getframe(2).f_back is None],
}))
raise SystemExit(5)
"""


def driven(folder: Path, code: str) -> Path:
    """Returns a new folder whose driver executes some code."""
    folder.joinpath("site").mkdir(parents=True)
    folder.joinpath("case.json").write_text(json.dumps({"path": [], "code": code}))
    return folder


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[processes.Forks]:
    with contextlib.closing(
        processes.Forks(["pluginapi", "pluginhost.manager", "pluginhost.runner"], tmp_path)
    ) as found:
        yield found


def test_a_forked_driver_begins_and_ends_as_a_fresh_one(tmp_path: Path, forks: processes.Forks) -> None:
    folder, ways = tmp_path / "case", []
    for way in ("fresh", "forked", "forked"):
        driven(folder, BEGINNING)
        one = contextlib.nullcontext(processes.fresh(folder)) if way == "fresh" else forks.forked(folder)
        with one as process:
            status = process.wait(30)
        assert status == 5, folder.joinpath("err").read_text()
        began = json.loads(folder.joinpath("began").read_text())
        ways.append([began, folder.joinpath("out").read_text(), folder.joinpath("err").read_text()])
        folder.rename(tmp_path / f"case {len(ways)}")
    assert ways[0] == ways[1] == ways[2]
    assert ways[0][1:] == ["standard output\n", "standard error\n"]


def test_one_that_hangs_or_is_killed_costs_its_case_alone(tmp_path: Path, forks: processes.Forks) -> None:
    with forks.forked(driven(tmp_path / "hangs", "import time\ntime.sleep(1000)")) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    with forks.forked(driven(tmp_path / "ends", "raise SystemExit(3)")) as process:
        assert process.wait(30) == 3
