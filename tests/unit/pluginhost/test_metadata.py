from __future__ import annotations

import importlib.metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pluginhost import metadata

GROUP = "pluginhost.plugins"

line = st.one_of(
    st.sampled_from(
        ["[pluginhost.plugins]", "[other]", "[[pluginhost.plugins]]", " [pluginhost.plugins] ", "", "# note"]
    ),
    st.builds("{} = {}".format, st.text("ab.-_ ", max_size=4), st.text("ab.:[]=# ", max_size=6)),
    st.text("ab=[]#. \t", max_size=8),
)


@given(st.lists(line, max_size=8).map("\n".join))
def test_entry_points_are_read_as_importlib_metadata_reads_them(text: str) -> None:
    """The same names and values in the same order, or both refuse."""
    try:
        expected = [
            (point.name, point.value)
            for point in importlib.metadata.EntryPoints._from_text(text)  # type: ignore[attr-defined]
            if point.group == GROUP
        ]
    except TypeError:
        with pytest.raises(ValueError, match=r"line \d+"):
            metadata.parse_entry_points(text, GROUP)
    else:
        assert metadata.parse_entry_points(text, GROUP) == expected


def test_folded_and_repeated_headers_are_read() -> None:
    text = "Name: a\nVersion: 1\nRequires-Dist: pluginapi\n  ~=1.0\nrequires-dist: b\n\nName: in the body\n"
    assert metadata.parse_metadata(text) == ("a", "1", "", ["pluginapi ~=1.0", "b"], [])


@pytest.mark.parametrize(
    "text", ["", "Name: a\n", "Version: 1\n", "Name: a\nName: b\nVersion: 1\n", "Name:\nVersion: 1"]
)
def test_metadata_without_one_name_and_one_version_is_malformed(text: str) -> None:
    with pytest.raises(ValueError, match="not one"):
        metadata.parse_metadata(text)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"schema": 2}', b"\xff", b"[" * 100_000, b'{"schema": 1, "api": {"package": 1}}'],
)
def test_a_malformed_manifest_says_what_is_wrong(data: bytes) -> None:
    assert metadata.parse_manifest(data).malformed


def test_only_what_a_plugin_requires_is_told() -> None:
    data = b"""{"schema": 1, "api": null, "provides": null, "plugins": [{
        "group": "g", "name": "n", "entry_point": "m:New", "contracts": null, "capabilities": ["loud"],
        "requires": {"later": [], "host": ["streaming"], "contracts": [], "plugins": ["b", "a"]}}]}"""
    read = metadata.parse_manifest(data).plugins["g", "n"]
    assert read == ("m:New", None, ["loud"], {"plugins": ["b", "a"], "host": ["streaming"]}, "")
    assert [*read[3]] == ["plugins", "host"]
