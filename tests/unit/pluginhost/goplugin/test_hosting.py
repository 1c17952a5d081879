"""Lines out of what a program writes in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pluginhost.goplugin.hosting import Lines


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"\n", b"\n\n", b"x\n"])))
def test_lines_are_the_same_in_whatever_pieces_they_come(pieces: list[bytes]) -> None:
    heard: list[bytes] = []
    lines = Lines(heard.append)
    for piece in pieces:
        lines.feed(piece)
    lines.end()
    whole = b"".join(pieces).split(b"\n")
    assert heard == [each.removesuffix(b"\r") for each in (whole if whole[-1] else whole[:-1])]


def test_a_line_without_end_is_handed_on_in_parts() -> None:
    heard: list[bytes] = []
    lines = Lines(heard.append)
    for _ in range(300):
        lines.feed(b"x" * 1_000)
    assert [len(each) for each in heard] == [64 << 10] * 4
    lines.end()
    assert sum(map(len, heard)) == 300_000
