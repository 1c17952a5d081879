"""A headless Chromium, driven over its DevTools protocol: https://chromedevtools.github.io/devtools-protocol/."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# It reads commands from descriptor 3 and writes to 4. Not by `preexec_fn`: this process has threads.
AS_3_AND_4 = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(given), fcntl.F_DUPFD, 10) for given in sys.argv[1:3])  # neither is 3 or 4 already
os.dup2(reads, 3), os.dup2(writes, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
OPTIONS = ["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run"]
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
"""It asks nobody else on the network."""


class Browser:
    """A page of a browser of its own.

    Attributes:
        errors: What scripts raised, and what the console has of errors.
    """

    def __init__(self, folder: Path) -> None:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            (pytest.fail if "CI" in os.environ else pytest.skip)("there is no chromium here; apt-get install chromium")
        reads, self._writes = os.pipe()
        self._reads, writes = os.pipe()
        self.errors: list[Any] = []
        self._process = subprocess.Popen(
            [sys.executable, "-c", AS_3_AND_4, str(reads), str(writes), program, *OPTIONS, *QUIET,
             f"--user-data-dir={folder / 'browser'}", "about:blank"],
            pass_fds=[reads, writes], env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(reads)
        os.close(writes)
        self._left, self._number, self._session = b"", 0, ""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._ask(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Opens a page; its scripts may still be at work."""
        assert "errorText" not in self._ask("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Returns the value of an expression, once that is settled."""
        done = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def show(self, width: int, scheme: str) -> None:
        """Has the window as wide as this, and the person prefer `light` or `dark`."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self._ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self) -> bytes:
        """Returns the whole page as a PNG."""
        return base64.b64decode(self._ask("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def _ask(self, method: str, **params: object) -> dict[str, Any]:
        self._number += 1
        to = {"sessionId": self._session} if self._session else {}
        os.write(
            self._writes, json.dumps({"id": self._number, "method": method, "params": params} | to).encode() + b"\0"
        )
        while True:
            message = self._next()
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            if message["method"] == "Runtime.exceptionThrown":
                self.errors.append(message["params"])
            if message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.errors.append(message["params"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            more = os.read(self._reads, 1 << 20)
            assert more, f"the browser has ended, with {self._process.wait()}"
            self._left += more
        first, self._left = self._left.split(b"\0", 1)
        message: dict[str, Any] = json.loads(first)
        return message

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *raised: object) -> None:
        os.close(self._writes)  # by which it ends
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._reads)
