"""Lines out of what a program writes in pieces, and its end."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from pluginhost.goplugin.hosting import Lines, Program
from pluginhost.isolation import system
from pluginhost.isolation.spawning import Nursery

if TYPE_CHECKING:
    import pytest


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"\n", b"\n\n", b"x\n"])))
def test_lines_are_the_same_in_whatever_pieces_they_come(pieces: list[bytes]) -> None:
    heard: list[bytes] = []
    lines = Lines(heard.append)
    for piece in pieces:
        lines.feed(piece)
    lines.end()
    *whole, rest = b"".join(pieces).split(b"\n")
    assert heard == [*(each.removesuffix(b"\r") for each in whole), *([rest] if rest else [])]


def test_a_line_without_end_is_handed_on_in_parts() -> None:
    heard: list[bytes] = []
    lines = Lines(heard.append)
    for _ in range(300):
        lines.feed(b"x" * 1_000)
    assert [len(each) for each in heard] == [64 << 10] * 4
    lines.end()
    assert sum(map(len, heard)) == 300_000


def test_the_end_is_told_though_it_cannot_be_seen_what_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise OSError("too many open files")

    async def test() -> None:
        nursery = Nursery()
        program = Program("it", lambda _: None, lambda _: None)
        program.owns_folder(str(tmp_path))
        await program.start(nursery, [sys.executable, "-I", "-c", ""], dict(os.environ), None)
        assert await program.has_ended(60)
        assert program.code == 0
        assert not tmp_path.exists()
        nursery.close()

    monkeypatch.setattr(type(system.best()), "kill_marked", fail)
    asyncio.run(test())
