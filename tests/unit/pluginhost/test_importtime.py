"""What `-X importtime` writes is read whatever stands around it."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st
from pluginhost import importtime
from pluginhost.importtime import Module

TEXT = b"""import time: self [us] | cumulative | imported package
import time:        30 |         30 |     c
import time:        20 |         50 |   b
import time:        40 |         40 |   d
import time:        10 |        100 | a
import time:         7 |          7 | e
"""


def test_a_parent_stands_before_its_children_which_follow_each_other_from_its_beginning_on() -> None:
    assert importtime.read(TEXT) == [
        Module("a", 0, 0, 100, 10),
        Module("b", 1, 0, 50, 20),
        Module("c", 2, 0, 30, 30),
        Module("d", 1, 50, 40, 40),
        Module("e", 0, 100, 7, 7),
    ]


def test_the_module_that_the_host_imports_is_the_parent_of_all() -> None:
    top, *others = importtime.read(TEXT, "plugin", 1_000)
    assert top == Module("plugin", 0, 0, 1_000, 893)
    assert [(each.name, each.depth) for each in others] == [("a", 1), ("b", 2), ("c", 3), ("d", 2), ("e", 1)]
    assert importtime.read(b"", "plugin", 5) == [Module("plugin", 0, 0, 5, 5)]


def test_text_before_a_line_and_between_lines_is_passed_over() -> None:
    lines = [b"no line break" + line + b"\nTraceback: \xff\x00\n" for line in TEXT.splitlines()]
    assert importtime.read(b"".join(lines)) == importtime.read(TEXT)
    assert importtime.without(b"".join(lines)).count(b"import time") == 1  # the heading


def test_what_this_python_writes_is_read() -> None:
    command = [sys.executable, "-I", "-S", "-X", "importtime", "-c", "import json"]
    found = importtime.read(subprocess.run(command, capture_output=True, check=True).stderr)
    names = [each.name for each in found]
    package = found[names.index("json")]
    inside = found[names.index("json.decoder")]
    assert inside.depth == package.depth + 1
    assert package.start <= inside.start <= package.start + package.cumulative


LINES = st.builds(
    lambda before, own, cumulative, depth, name: (
        b"%simport time: %9d | %10d | %s%s\n" % (before, own, cumulative, b"  " * depth, name)
    ),
    st.sampled_from([b"", b"x ", b"import time: "]),
    st.integers(-(10**16), 10**16),
    st.integers(-(10**16), 10**16),
    st.integers(0, 1_500),
    st.binary(max_size=20),
)


@given(st.lists(st.one_of(st.binary(), LINES)).map(b"".join))
def test_nothing_that_a_plugin_writes_breaks_it(text: bytes) -> None:
    found = importtime.read(text, "plugin", 1)
    assert found[0].name == "plugin"
    assert all(each.depth >= 1 and each.start >= 0 and each.cumulative >= 0 and each.own >= 0 for each in found[1:])
    importtime.without(text)


def test_a_forged_tree_of_any_depth_is_read() -> None:
    text = b"".join(b"import time: 1 | 1 | %sm%d\n" % (b"  " * (999 - depth), depth) for depth in range(1_000)) * 3
    assert max(each.depth for each in importtime.read(text)) == 999
