"""Frames, mutated by a seeded chance: whatever comes over a channel, nothing without a code comes out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MUTATIONS = int(os.environ.get("PLUGINHOST_FRAMES", "20000"))
GROWTH = 64.0
"""MB by which a process may grow: four bodies of the largest size."""


@pytest.mark.skipif(sys.platform != "linux", reason="the memory that a process has is read from /proc")
def test_mutated_frames_are_read_or_refused_by_a_code() -> None:
    command = [sys.executable, str(Path(__file__).with_name("frame_mutations.py")), str(MUTATIONS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not done.stderr, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said["uncoded"] == []
    assert said["grown"] < GROWTH
    assert {"", "frame-malformed", "frame-too-large", "reply-wrong", "arguments-wrong", "channel-lost"} <= {
        *said["codes"]
    }
