from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pluginapi.manifest import BuiltAgainst, PluginEntry, Provides
from pluginhost import metadata

from pluginapi import Manifest, ManifestError

texts = st.lists(st.text()).map(tuple)
plugins = st.builds(PluginEntry, st.text(), st.text(), st.text(), st.none() | texts, texts)
manifests = st.builds(
    Manifest,
    st.none() | st.builds(BuiltAgainst, st.text(), st.text(), st.text(), st.text()),
    st.none() | st.builds(Provides, st.text(), st.text(), texts),
    st.lists(plugins).map(tuple),
)


@given(manifests)
def test_a_manifest_survives_json(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(manifests)
def test_the_host_reads_what_pluginapi_writes(manifest: Manifest) -> None:
    """The host has a reader of its own, since it must not import the API package in a survey: both agree."""
    read = metadata.parse_manifest(manifest.to_json().encode())
    assert read.malformed == ""
    assert read.api == (manifest.api.package if manifest.api else None)
    assert read.fingerprint == (manifest.api.fingerprint if manifest.api else None)
    assert read.provides == (manifest.provides.package if manifest.provides else None)
    for plugin in manifest.plugins:
        assert (plugin.group, plugin.name) in read.plugins


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["schema", "api", "plugins", "provides"]), inner),
)


@given(
    json_values
    | st.fixed_dictionaries({"schema": st.just(1), "api": json_values, "provides": json_values, "plugins": json_values})
)
def test_whatever_is_not_a_manifest_is_refused_by_both_readers_alike(value: object) -> None:
    text = json.dumps(value)
    malformed = metadata.parse_manifest(text.encode()).malformed
    try:
        Manifest.from_json(text)
    except ManifestError:
        pass
    else:
        assert malformed == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', "[" * 100_000])
def test_a_malformed_manifest_is_one_clear_error(text: str) -> None:
    with pytest.raises(ManifestError, match="manifest"):
        Manifest.from_json(text)
