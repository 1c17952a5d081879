"""What differs between systems and is not held by tests with real children."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pluginhost.isolation.system import LINUX, PORTABLE

PATH = os.environ["PATH"]
on_linux = pytest.mark.skipif(sys.platform != "linux" or not shutil.which("setpriv"), reason="needs util-linux")


@on_linux
def test_a_program_is_bound_to_its_host_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The signal is set in the very process, and is SIGKILL."""
    (tmp_path / "python").symlink_to(sys.executable)
    code = "import ctypes, os; n = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(n)); print(os.getpid(), n.value)"
    bound = LINUX.bound_to_host(["./python", "-ISc", code], PATH, str(tmp_path))
    with subprocess.Popen(bound, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.read().split() == [str(process.pid), "9"]


@on_linux
def test_what_cannot_be_started_fails_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell would run a text that is none of its scripts; and not each `setpriv` can do it."""
    text = tmp_path / "text"
    text.write_text("echo hello\n")
    text.chmod(0o755)
    for command in (["/no/such/program"], ["no-such-program"], [str(tmp_path)], [str(text)]):
        assert LINUX.bound_to_host(command, PATH, None) is command
        with pytest.raises(OSError):  # noqa: PT011 - each another one
            subprocess.run(command, check=False)
    other = tmp_path / "setpriv"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    for found in (str(tmp_path), ""):
        monkeypatch.setenv("PATH", found)
        command = ["true"]
        assert LINUX.bound_to_host(command, PATH, None) is command


def test_elsewhere_a_program_is_started_as_it_is() -> None:
    command = [sys.executable]
    assert PORTABLE.bound_to_host(command, PATH, None) is command
