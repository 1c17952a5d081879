"""Isolated plugins whose processes are killed at random, and what their callers and their host have of it.

`nox -s soak` does the same for a minute.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from forge import ROOT, Forge

SECONDS = os.environ.get("PLUGINHOST_CHAOS_SECONDS", "3")
API = """
from abc import abstractmethod
from pluginapi import Plugin

class Deeds(Plugin):
    @abstractmethod
    def echo(self, text: str) -> str: ...

    @abstractmethod
    def blob(self, data: bytes) -> bytes: ...

    @abstractmethod
    async def echo_well(self, text: str) -> str: ...
"""
PLUGIN = """
import os
import time
from chaos_api import Deeds

class Doing(Deeds):
    def init(self, host):
        self._file = os.open(f"{host.config['folder']}/{self.name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def echo(self, text: str) -> str:
        os.write(self._file, f"{text}\\n".encode())
        time.sleep(0.001)  # so that many are killed between the deed and the reply
        return text

    def blob(self, data: bytes) -> bytes:
        self.echo(data.rstrip().decode())
        return data

    async def echo_well(self, text: str) -> str:
        return self.echo(text)

New = Doing
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has is read from Linux's /proc")
def test_each_call_is_answered_once_with_its_own_reply_or_fails_with_a_code_and_nothing_is_left(forge: Forge) -> None:
    provides = {"hook": True, "settings": '[tool.pluginapi]\nprovides = "chaos_api"'}
    api = forge.wheel("chaos-api", {"chaos_api/__init__.py": API}, **provides)
    files = {"chaos_plugin.py": PLUGIN}
    entry_points = 'plain = "chaos_plugin:New"\ncritical = "chaos_plugin:New"'
    forge.install(api, forge.wheel("chaos", files, entry_points, dependencies=("chaos-api~=1.0",)))
    command = [sys.executable, ROOT / "tests" / "chaos.py", SECONDS, "7", forge.folder]
    environment = os.environ | {"PYTHONPATH": str(forge.site), "HOME": str(forge.folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=float(SECONDS) + 300)
    assert done.returncode == 0, done.stderr[-4000:]
    said = json.loads(done.stdout)
    print(json.dumps({key: said[key] for key in said if key not in ("before", "after")}))
    before, after = said.pop("before"), said.pop("after")
    print(f"{before['megabytes']:.1f} MB before, {after['megabytes']:.1f} MB after")
    assert (said["wrong"], said["done twice"], said["answered and not done"]) == ([], [], [])
    # What the host says of a call whose process is gone, or is away for a moment.
    assert set(said["failed"]) <= {"channel-lost", "child-restarting", "call-timeout", "plugin-stopped"}
    assert said["failed"]["channel-lost"] > 0
    assert said["answered"] > 100
    assert said["longest"] < 30
    assert after.pop("megabytes") - before.pop("megabytes") < 20
    assert after == before
