"""The peers in Go as tests use them: a plugin to start, a host to run one of ours, and the messages of both."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COOKIE_KEY = "GREETER_PLUGIN"
COOKIE_VALUE = "f4a51ac0-96c2-4d1e-8d0e-5ee6a3b3d0d1"


@dataclass(frozen=True)
class Peers:
    """What `build` has left in a folder.

    Attributes:
        folder: That one.
    """

    folder: Path

    @property
    def plugin(self) -> str:
        """A plugin that serves `peer.Peer`; its flags are in its `main.go`."""
        return str(self.folder / "bin" / "greeter-plugin")

    @property
    def host(self) -> str:
        """A host of such plugins; its operations are in its `main.go`."""
        return str(self.folder / "bin" / "greeter-host")

    def messages(self) -> dict[str, Any]:
        """Returns the message classes of `peer.proto` by their full names."""
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

        files = descriptor_pb2.FileDescriptorSet.FromString((self.folder / "peer.desc").read_bytes()).file
        pool = descriptor_pool.DescriptorPool()
        for each in files:
            pool.Add(each)
        return dict(message_factory.GetMessageClassesForFiles([each.name for each in files], pool))

    def ask(self, words: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Returns what the host tells of a plugin that this command starts.

        Args:
            words: The host's flags and operations: `-plain greet:Ada ping`.
            command: The plugin's.
            env: More variables for both.
        """
        done = subprocess.run(
            [self.host, *words.split(), "--", *command], env=os.environ | dict(env or {}), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        assert not done.stderr, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]
