"""Plugins that are reloaded again and again under four calling threads, and what their callers and their host have of it.

`nox -s soak` does it 10,000 times, and 1,000 times with plugins that have processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from forge import ROOT, Forge

RELOADS = os.environ.get("PLUGINHOST_RELOADS", "80/5").split("/")
API = """
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from pluginapi import Plugin

class Counting(Plugin):
    @abstractmethod
    def check(self) -> str: ...

    @abstractmethod
    def both(self) -> str: ...

    @abstractmethod
    def stream(self, number: int) -> Iterator[str]: ...

    @abstractmethod
    async def check_well(self) -> str: ...

    @abstractmethod
    async def stream_well(self, number: int) -> AsyncIterator[str]:
        yield ""

    @abstractmethod
    def total(self) -> int: ...
"""
PARTS = """
STAMP = "0000000"

class Mark:
    pass

MARK = Mark()

def stamp():
    return STAMP
"""
PLUGIN = """
import asyncio
import functools
import threading
import time
from soak_api import Counting
from . import parts
from .parts import Mark

STAMP = "0000000"
MARK = Mark()

@functools.cache
def lazily():
    return [STAMP]

class Base:
    base = "0000000"

class Adding(Base, Counting):
    stamp = "0000000"
    taken = ()

    def __init__(self):
        self._lock = threading.Lock()
        self._number = 0
        self._other = {}

    def init(self, host):
        self._host = host

    def export_state(self):
        with self._lock:
            return {"number": self._number}

    def restore_state(self, state):
        self._number = state["number"]

    def total(self):
        return self._number

    def _count(self):
        with self._lock:
            self._number += 1

    def _look(self, before=frozenset()):
        found = {"0000000", STAMP, parts.STAMP, parts.stamp(), self.stamp, type(self).stamp, self.base, *lazily()}
        found |= before
        return found

    def _told(self, found):
        return found.pop() if len(found) == 1 else f"torn between {sorted(found)}"

    def check(self):
        self._count()
        return self._told(self._look())

    def both(self):
        found = self._look()
        time.sleep(0.001)
        name = "partner" if self.name == "tally" else "tally"
        found.add(self._host.get(name, Counting).check())
        self._count()
        return self._told(self._look(found))

    def stream(self, number: int):
        self._count()
        found = set()
        for _ in range(number):
            found = self._look(found)
            time.sleep(0.001)
            yield self._told({*self._look(found)})

    async def check_well(self):
        found = self._look()
        await asyncio.sleep(0.001)
        self._count()
        return self._told(self._look(found))

    async def stream_well(self, number: int):
        self._count()
        found = set()
        for _ in range(number):
            found = self._look(found)
            await asyncio.sleep(0.001)
            yield self._told({*self._look(found)})

New = Adding
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has is read from Linux's /proc")
@pytest.mark.parametrize(("where", "reloads"), [("none", RELOADS[0]), ("process", RELOADS[1])])
def test_no_call_fails_or_is_torn_each_is_counted_once_and_nothing_is_left(
    where: str, reloads: str, forge: Forge
) -> None:
    provides = {"hook": True, "settings": '[tool.pluginapi]\nprovides = "soak_api"'}
    api = forge.wheel("soak-api", {"soak_api/__init__.py": API}, **provides)
    files = {"soak_plugin/__init__.py": PLUGIN, "soak_plugin/parts.py": PARTS}
    entry_points = 'tally = "soak_plugin:New"\npartner = "soak_plugin:New"'
    forge.install(api, forge.wheel("soak", files, entry_points, dependencies=("soak-api~=1.0",)))
    temporary = forge.folder / "temporary"
    temporary.mkdir()
    command = [sys.executable, ROOT / "tests" / "reloads.py", where, reloads, temporary]
    environment = os.environ | {"PYTHONPATH": str(forge.site), "HOME": str(forge.folder), "TMPDIR": str(temporary)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240 + 3 * int(reloads))
    assert done.returncode == 0, done.stderr[-4000:]
    said = json.loads(done.stdout)
    before, after = said.pop("before"), said.pop("after")
    print(where, json.dumps(said))
    assert said["wrong"] == []
    assert said["counted"] == said["returned"] > 4 * int(reloads)
    # Two classes and two namespaces: those of one generation.
    assert said["most alive"] <= 4
    assert said["grown"] < 10
    assert after == before
