from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

TOLD = {"sys.path", "sys.path_hooks", "sys.meta_path", "the recursion limit", "sys.stdout"}
"""What real libraries change too; all else is grave."""

CHANGES = {
    "sys.path": "sys.path.insert(0, '/evil')",
    "sys.path_hooks": "sys.path_hooks.clear()",
    "sys.meta_path": "del sys.meta_path[0]",
    "os.environ": "os.environ['PYTHONPATH'] = '/evil'; os.environ.pop('HOME')",
    "the working folder": "os.chdir('/')",
    "the umask": "os.umask(0)",
    "sys.excepthook": "sys.excepthook = print",
    "threading.excepthook": "import threading; threading.excepthook = print",
    "sys.stdout": "sys.stdout = None",
    "Python's own functions (builtins.open)": "import builtins; builtins.open = print",
    "Python's own functions (json.dumps, os.listdir)": "json.dumps = os.listdir = print",
    f"the handler of signal {int(signal.SIGTERM)}": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    f"interval timer {int(signal.ITIMER_REAL)}": "signal.setitimer(signal.ITIMER_REAL, 100)",
    "RLIMIT_CORE": "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))",
}

SCRIPT = """
import json, os, resource, signal, sys
from pluginhost.process import ProcessState
os.chdir({folder!r})
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
state = ProcessState()
quiet = list(state.restore())
{change}
told = list(state.restore())
print(json.dumps([quiet, told, list(state.restore())]))
"""


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_told_and_undone(what: str, tmp_path: os.PathLike[str]) -> None:
    script = SCRIPT.format(folder=str(tmp_path), change=CHANGES[what])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    quiet, told, again = json.loads(done.stdout)
    if what == "RLIMIT_CORE" and not told:
        pytest.skip("this machine's limit of core files is 0 already")
    assert quiet == [], "nothing is told where nothing changed"
    assert [line for line, is_grave in told if line.startswith(what) and is_grave == (what not in TOLD)], told
    assert all(line.endswith("undone") for line, _ in told)
    assert again == []


def test_a_finder_that_was_added_stays_since_modules_may_hang_on_it() -> None:
    script = SCRIPT.format(folder="/", change="sys.meta_path.append(type('F', (), {'find_spec': lambda *a: None})())")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    _, told, _ = json.loads(done.stdout)
    assert len(told) == 1
    [[what, is_grave]] = told
    assert what.startswith("sys.meta_path (added ")
    assert what.endswith("which stays so")
    assert not is_grave


def test_the_watch_leaves_no_trace() -> None:
    """What reads the state (the umask can only be read by setting it) leaves it as it was."""
    before = os.umask(0o027)
    try:
        from pluginhost.process import ProcessState

        timeout = socket.getdefaulttimeout()
        assert list(ProcessState().restore()) == []
        assert os.umask(0o027) == 0o027
        assert socket.getdefaulttimeout() == timeout
    finally:
        os.umask(before)
